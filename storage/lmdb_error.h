// SPDX-License-Identifier: Apache-2.0
// LMDB's return codes in weir's words, and in lmdb_error.c all that is to be known about its failures. Private to storage.
#ifndef WEIR_STORAGE_LMDB_ERROR_H
#define WEIR_STORAGE_LMDB_ERROR_H

#include <lmdb.h>

#include "proto/base.h"
#include "proto/err.h"

// What an LMDB or errno code means to weir: WEIR_E_FULL, _READ_ONLY, _IO, _CORRUPT, _FORMAT, _NOMEM, _NOT_FOUND.
int lmdb_code(int rc);
// Fills `err` with "<what>: <LMDB's text>" and returns lmdb_code(rc).
int lmdb_fail(struct weir_err *err, int rc, const char *what);
// Of mdb_env_open for a file whose pages were found to be sound before: what looks like damage is then a read that came back short, WEIR_E_IO.
int lmdb_open_fail(struct weir_err *err, int rc, const char *path);
// The same for a failed system call, from errno.
int errno_fail(struct weir_err *err, const char *what, const char *path);

// A write transaction with a sticky error: the first failure is kept, later steps do nothing, and the commit is then an abort.
struct lmdb_txn {
    MDB_txn *txn;
    int rc; // of the first step that failed; an LMDB code
};
void lmdb_begin(struct lmdb_txn *t, MDB_env *env);
void lmdb_put(struct lmdb_txn *t, MDB_dbi dbi, struct weir_slice key, struct weir_slice value, unsigned flags);
// Consumes the transaction whatever it returns (0 or an LMDB code).
int lmdb_commit(struct lmdb_txn *t);

#endif
