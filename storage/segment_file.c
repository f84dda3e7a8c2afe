// SPDX-License-Identifier: Apache-2.0
// A segment while it is written. lmdb_error.c has what can go wrong in here and why things are in this order.
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/segment.h"

static int file_allocate(struct segment_file *file, const char *path, struct weir_err *err)
{
    int fd;
    int rc = mdb_env_get_fd(file->db.env, &fd);
    if (rc == 0)
        rc = posix_fallocate(fd, 0, (off_t)file->bytes);
    return rc == 0 ? WEIR_OK
                   : weir_fail(err, lmdb_code(rc), "allocate %llu bytes for %s: %s", (unsigned long long)file->bytes,
                               path, strerror(rc));
}

static void file_note_last_page(struct segment_file *file)
{
    MDB_envinfo info;
    if (mdb_env_info(file->db.env, &info) == 0)
        file->last_page = info.me_last_pgno;
}

static int file_databases(struct segment_file *file)
{
    struct lmdb_txn t;
    lmdb_begin(&t, file->db.env);
    if (t.rc == 0)
        t.rc = mdb_dbi_open(t.txn, NULL, 0, &file->db.main);
    for (unsigned i = 0; i < WEIR_SIGNALS && t.rc == 0; i++)
        t.rc = mdb_dbi_open(t.txn, weir_signal_name((enum weir_signal)i), MDB_CREATE | MDB_INTEGERKEY,
                            &file->db.signal[i]);
    return lmdb_commit(&t);
}

int segment_file_create(const char *path, uint64_t bytes, struct segment_file **out, struct weir_err *err)
{
    *out = NULL;
    if (unlink(path) != 0 && errno != ENOENT)
        return errno_fail(err, "remove", path);
    struct segment_file *file = calloc(1, sizeof(*file));
    if (file == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "make %s: out of memory", path);
    file->bytes = bytes;
    int rc = mdb_env_create(&file->db.env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(file->db.env, bytes);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(file->db.env, WEIR_SIGNALS);
    if (rc == 0)
        rc = mdb_env_open(file->db.env, path, MDB_NOSUBDIR | MDB_NOLOCK, 0600);
    int code = rc == 0 ? file_allocate(file, path, err) : lmdb_fail(err, rc, path);
    if (code == WEIR_OK && (rc = file_databases(file)) != 0)
        code = lmdb_fail(err, rc, path);
    if (code != WEIR_OK)
        goto fail;
    file_note_last_page(file);
    file->written = (file->last_page + 1) * SEGMENT_PAGE;
    *out = file;
    return WEIR_OK;
fail:
    segment_file_close(file, NULL);
    unlink(path);
    return code;
}

int segment_file_write_ahead(struct segment_file *file, uint64_t bytes, struct weir_err *err)
{
    static const uint8_t zeros[64 * 1024];
    int fd;
    int rc = mdb_env_get_fd(file->db.env, &fd);
    uint64_t begin = file->written, end = file->bytes - begin < bytes ? file->bytes : begin + bytes;
    while (rc == 0 && file->written < end) {
        uint64_t len = end - file->written < sizeof(zeros) ? end - file->written : sizeof(zeros);
        ssize_t n = pwrite(fd, zeros, len, (off_t)file->written);
        if (n <= 0)
            rc = n < 0 ? errno : EIO;
        else
            file->written += (uint64_t)n;
    }
    if (rc == 0 && fdatasync(fd) != 0)
        rc = errno;
    posix_fadvise(fd, (off_t)begin, (off_t)(end - begin),
                  POSIX_FADV_DONTNEED); // nobody reads zeros: memory for what is read
    return rc == 0 ? WEIR_OK : weir_fail(err, lmdb_code(rc), "write the next segment ahead: %s", strerror(rc));
}

int segment_file_start(struct segment_file *file, const struct segment_record *record, struct weir_err *err)
{
    uint8_t bytes[SEGMENT_RECORD_BYTES];
    segment_record_put(bytes, record);
    struct lmdb_txn t;
    lmdb_begin(&t, file->db.env);
    lmdb_put(&t, file->db.main, (struct weir_slice){(const uint8_t *)"weir", 4},
             (struct weir_slice){bytes, sizeof(bytes)}, 0);
    int rc = lmdb_commit(&t);
    file_note_last_page(file);
    return rc == 0 ? WEIR_OK : lmdb_fail(err, rc, "write segment record");
}

static uint64_t pages_of(size_t value_bytes)
{
    return (value_bytes + 16 + SEGMENT_PAGE - 1) / SEGMENT_PAGE + 1; // and a share of the tree
}

bool segment_file_fits(const struct segment_file *file, size_t value_bytes, uint64_t *pages)
{
    uint64_t all = *pages + pages_of(value_bytes);
    if (file->last_page + 1 + all + SEGMENT_PAGES_SPARE > file->bytes / SEGMENT_PAGE)
        return false;
    *pages = all;
    return true;
}

uint64_t segment_bytes_for(size_t value_bytes)
{
    uint64_t mib = 1024 * 1024;
    uint64_t bytes = (pages_of(value_bytes) + 2 * SEGMENT_PAGES_SPARE) * SEGMENT_PAGE;
    return (bytes + mib - 1) / mib * mib;
}

int segment_file_append(struct segment_file *file, struct block *chain, size_t n, uint64_t number,
                        struct spool_counts *counts, bool *again, struct weir_err *err)
{
    *again = false;
    struct spool_counts after = *counts;
    struct lmdb_txn t;
    lmdb_begin(&t, file->db.env);
    for (; n > 0 && t.rc == 0; n--, chain = chain->next, number++) {
        block_header_stamp(chain->value.data, number, &after);
        struct weir_slice value = {chain->value.data, chain->value.len};
        lmdb_put(&t, file->db.signal[chain->signal], (struct weir_slice){(const uint8_t *)&number, sizeof(number)},
                 value, MDB_APPEND);
        after.blocks[chain->signal]++;
        after.items[chain->signal] += chain->items;
        after.raw_bytes[chain->signal] += chain->raw_bytes;
        after.stored_bytes += value.len;
    }
    *again = t.rc == MDB_MAP_FULL || t.rc == MDB_TXN_FULL; // from a put: aborted, and the file is what it was
    int rc = lmdb_commit(&t);
    if (rc != 0)
        return lmdb_fail(err, rc, "commit");
    file_note_last_page(file);
    *counts = after;
    return WEIR_OK;
}

int segment_file_copy(struct segment_file *file, const struct segment_value *values, size_t n, struct weir_err *err)
{
    struct lmdb_txn t;
    lmdb_begin(&t, file->db.env);
    for (size_t i = 0; i < n && t.rc == 0; i++)
        lmdb_put(&t, file->db.signal[values[i].signal],
                 (struct weir_slice){(const uint8_t *)&values[i].number, sizeof(values[i].number)}, values[i].value,
                 MDB_APPEND);
    int rc = lmdb_commit(&t);
    if (rc != 0)
        return lmdb_fail(err, rc, "commit");
    file_note_last_page(file);
    return WEIR_OK;
}

void segment_file_close(struct segment_file *file, const char *path)
{
    if (file == NULL)
        return;
    mdb_env_close(file->db.env);
    // Durable or not does not matter: at worst the space comes back with the whole file. Behind the last page nothing is ever read.
    if (path != NULL && truncate(path, (off_t)((file->last_page + 1) * SEGMENT_PAGE)) != 0)
        errno = 0;
    free(file);
}
