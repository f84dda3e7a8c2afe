// SPDX-License-Identifier: Apache-2.0
// All that weir knows about LMDB's failures (0.9.24, measured by making its calls fail), in one place.
//
// Commit. mdb_txn_commit writes the dirty pages, then fdatasync, then the 120 bytes of a meta page through a second descriptor
// opened with O_DSYNC. Only when it returns 0 is the transaction on stable storage, and only in the default mode: MDB_NOSYNC,
// MDB_NOMETASYNC and MDB_WRITEMAP lose acknowledged or keep torn data after a power loss. weir never sets them.
//   - It consumes the transaction whatever it returns. An abort afterwards is a double free: lmdb_commit clears the pointer.
//   - A short write is reported as EIO, and that is what a full disk looks like from a commit (on ext4, tmpfs, RLIMIT_FSIZE);
//     ENOSPC only comes when nothing was written. Neither can happen in a file whose space posix_fallocate has taken.
//   - After a failed data write or fdatasync the environment goes on working, but what the kernel did with the pages that it could
//     not write is not known (a second fdatasync may say 0 without them). So an environment whose commit failed is not
//     written again, ever: the segment is sealed and its blocks are done again elsewhere.
//   - After a failed meta write every later call returns MDB_PANIC, reads too; closing and opening again helps. Whether the
//     transaction is then visible is open: LMDB writes the old meta page back, but that write can fail as well.
// Full. MDB_MAP_FULL comes from mdb_put: abort, the environment is fine. A map filled to the last page cannot even delete while a
//     reader holds old pages: weir never deletes in a segment, and stops well below the map's end.
// Opening. posix_fallocate comes after mdb_env_open, never before: LMDB takes a file of zeros for a damaged one (MDB_INVALID).
//   - A file of length 0 opened read-only is EBADF.
//   - A truncated file opens without an error, and the first access behind its end is SIGBUS: check the length against the last
//     page number first. LMDB has no page checksums either: a flipped bit in a tree page sends it through a wild pointer.
//     tree_check.c looks at both before LMDB does; sealed segments are not opened by LMDB at all (segment_read.h).
//   - A read of the meta pages that comes back short is MDB_INVALID, like damage. weir has looked at them before: lmdb_open_fail.
//   - MDB_NOLOCK: no lock file, no reader table, so pages of the last transaction but one are used again under a reader. Hence
//     the writer and the readers of the segment in use take turns (turn.h). A sealed file is never written: no turn needed.
// Forgetting pages. posix_fadvise(DONTNEED) does nothing for pages that are mapped.
// Sizes. A value of n bytes beyond ~2 KB takes ceil((n + 16) / 4096) pages.
#include "storage/lmdb_error.h"

#include <errno.h>

static const struct {
    int rc, code;
} meanings[] = {
    {0, WEIR_OK},
    {ENOSPC, WEIR_E_FULL},
    {EDQUOT, WEIR_E_FULL},
    {EFBIG, WEIR_E_FULL},
    {EROFS, WEIR_E_READ_ONLY},
    {MDB_MAP_FULL, WEIR_E_FULL},
    {MDB_TXN_FULL, WEIR_E_FULL},
    {ENOMEM, WEIR_E_NOMEM},
    {MDB_NOTFOUND, WEIR_E_NOT_FOUND},
    {ENOENT, WEIR_E_NOT_FOUND},
    {MDB_VERSION_MISMATCH, WEIR_E_FORMAT},
    {MDB_INVALID, WEIR_E_CORRUPT},
    {MDB_CORRUPTED, WEIR_E_CORRUPT},
    {MDB_PAGE_NOTFOUND, WEIR_E_CORRUPT},
    {MDB_INCOMPATIBLE, WEIR_E_CORRUPT},
    {MDB_BAD_DBI, WEIR_E_CORRUPT},
};

int lmdb_code(int rc)
{
    for (size_t i = 0; i < WEIR_COUNT(meanings); i++)
        if (meanings[i].rc == rc)
            return meanings[i].code;
    return WEIR_E_IO;
}

int lmdb_fail(struct weir_err *err, int rc, const char *what)
{
    return weir_fail(err, lmdb_code(rc), "%s: %s", what, mdb_strerror(rc));
}

int lmdb_open_fail(struct weir_err *err, int rc, const char *path)
{
    if (lmdb_code(rc) != WEIR_E_CORRUPT)
        return lmdb_fail(err, rc, path);
    return weir_fail(err, WEIR_E_IO, "%s: its first pages could be read in part only", path);
}

int errno_fail(struct weir_err *err, const char *what, const char *path)
{
    int saved = errno;
    return weir_fail(err, lmdb_code(saved), "%s %s: %s", what, path, strerror(saved));
}

void lmdb_begin(struct lmdb_txn *t, MDB_env *env)
{
    t->txn = NULL;
    t->rc = mdb_txn_begin(env, NULL, 0, &t->txn);
}

void lmdb_put(struct lmdb_txn *t, MDB_dbi dbi, struct weir_slice key, struct weir_slice value, unsigned flags)
{
    if (t->rc != 0)
        return;
    MDB_val k = {key.len, (void *)(uintptr_t)key.data};
    MDB_val v = {value.len, (void *)(uintptr_t)value.data};
    t->rc = mdb_put(t->txn, dbi, &k, &v, flags);
}

int lmdb_commit(struct lmdb_txn *t)
{
    MDB_txn *txn = t->txn;
    t->txn = NULL;
    if (txn == NULL)
        return t->rc;
    if (t->rc != 0)
        mdb_txn_abort(txn);
    else
        t->rc = mdb_txn_commit(txn);
    return t->rc;
}
