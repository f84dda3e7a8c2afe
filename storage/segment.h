// SPDX-License-Identifier: Apache-2.0
// One LMDB file of blocks, while it is written by appending. From when it is sealed on it is only read, by segment_read.h. Private to storage.
#ifndef WEIR_STORAGE_SEGMENT_H
#define WEIR_STORAGE_SEGMENT_H

#include "storage/format.h"
#include "storage/lmdb_error.h"

#define SEGMENT_PAGE        4096u
#define SEGMENT_PAGES_SPARE 40u // kept free in every file, for the tree's own pages

// An environment with one database per signal, keys are block numbers.
struct segment_db {
    MDB_env *env;
    MDB_dbi main;
    MDB_dbi signal[WEIR_SIGNALS];
};
// A read transaction, only while the writer is kept out (turn.h): nothing found may be
// used after segment_db_end. NULL: out of memory or the environment has failed.
MDB_txn *segment_db_begin(const struct segment_db *db);
void segment_db_end(MDB_txn *txn);
// The first block of the signal at or after `from`. WEIR_E_NOT_FOUND, WEIR_E_IO.
int segment_db_find(const struct segment_db *db, MDB_txn *txn, enum weir_signal signal, uint64_t from, uint64_t *number,
                    struct weir_slice *value);
// How many blocks of all signals the file holds: their numbers follow each other, so that its end is known without trusting a key.
uint64_t segment_db_blocks(const struct segment_db *db, MDB_txn *txn);
// The header of exactly that block, of whatever signal. WEIR_E_NOT_FOUND: not there or damaged. Any other code: it cannot be told now.
int segment_db_header(const struct segment_db *db, MDB_txn *txn, uint64_t number, struct block_header *out);
// The cumulative counts before `number`: from the block itself, else the one before it, else the next that can be read. Codes as above.
int segment_db_counts(const struct segment_db *db, MDB_txn *txn, uint64_t number, struct spool_counts *out);

// --- writing: one thread at a time -----------------------------------------------------------------------------------
struct segment_file {
    struct segment_db db;
    uint64_t bytes;     // of the file, all of them taken from the disk when it was made
    uint64_t last_page; // that is used
    uint64_t written;   // up to here the extents have been written once
};
// Makes `path` anew with its space allocated, so that a full disk is met here and not in a commit. Durable apart from its name.
// WEIR_E_FULL, WEIR_E_IO.
int segment_file_create(const char *path, uint64_t bytes, struct segment_file **out, struct weir_err *err);
// Writes zeros behind what was written so far, on stable storage when it returns. An extent that was allocated and never written is
// converted at its first flush, which costs that commit a transaction of the file system's journal. Only before
// segment_file_start. After an error the file must be thrown away.
int segment_file_write_ahead(struct segment_file *file, uint64_t bytes, struct weir_err *err);
// Writes the segment's record, the first thing a new segment gets. Durable.
int segment_file_start(struct segment_file *file, const struct segment_record *record, struct weir_err *err);
// Whether a value of that length fits beside `pages` that others of the same transaction take; adds its own to *pages.
bool segment_file_fits(const struct segment_file *file, size_t value_bytes, uint64_t *pages);
// Size of the file that a value of that length needs for itself.
uint64_t segment_bytes_for(size_t value_bytes);
// Puts `n` blocks of the chain in one transaction, numbered from `number`; stamps their headers and moves *counts on.
// WEIR_OK: on stable storage. WEIR_E_FULL with *again: the map was full, nothing happened to the file. Else the file must not be written again.
int segment_file_append(struct segment_file *file, struct block *chain, size_t n, uint64_t number,
                        struct spool_counts *counts, bool *again, struct weir_err *err);
// Puts blocks that have their numbers and counts already, ascending, in one transaction. WEIR_OK: on stable storage.
struct segment_value {
    uint64_t number;
    enum weir_signal signal;
    struct weir_slice value;
};
int segment_file_copy(struct segment_file *file, const struct segment_value *values, size_t n, struct weir_err *err);
// Closes it. With `path`, gives back the disk space behind its last page.
void segment_file_close(struct segment_file *file, const char *path);

#endif
