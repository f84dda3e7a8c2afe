// SPDX-License-Identifier: Apache-2.0
// Finding blocks in a segment, and a sealed segment's map.
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/segment.h"
#include "storage/tree_check.h"

MDB_txn *segment_db_begin(const struct segment_db *db)
{
    MDB_txn *txn = NULL;
    return mdb_txn_begin(db->env, NULL, MDB_RDONLY, &txn) == 0 ? txn : NULL;
}

void segment_db_end(MDB_txn *txn)
{
    mdb_txn_abort(txn);
}

// Seeks in one signal's database and leaves key and value where LMDB has them.
static int seek(const struct segment_db *db, MDB_txn *txn, enum weir_signal signal, MDB_cursor_op op, uint64_t *number,
                struct weir_slice *value)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, db->signal[signal], &cursor);
    if (rc != 0)
        return lmdb_code(rc);
    uint64_t key = *number;
    MDB_val k = {sizeof(key), &key}, v;
    rc = mdb_cursor_get(cursor, &k, &v, op);
    mdb_cursor_close(cursor);
    if (rc != 0)
        return lmdb_code(rc);
    memcpy(number, k.mv_data, sizeof(*number));
    *value = (struct weir_slice){v.mv_data, v.mv_size};
    return WEIR_OK;
}

int segment_db_find(const struct segment_db *db, MDB_txn *txn, enum weir_signal signal, uint64_t from, uint64_t *number,
                    struct weir_slice *value)
{
    *number = from;
    return seek(db, txn, signal, MDB_SET_RANGE, number, value);
}

uint64_t segment_db_blocks(const struct segment_db *db, MDB_txn *txn)
{
    uint64_t blocks = 0;
    for (unsigned i = 0; i < WEIR_SIGNALS; i++) {
        MDB_stat stat;
        if (mdb_stat(txn, db->signal[i], &stat) == 0)
            blocks += stat.ms_entries;
    }
    return blocks;
}

bool segment_db_header(const struct segment_db *db, MDB_txn *txn, uint64_t number, struct block_header *out)
{
    for (unsigned i = 0; i < WEIR_SIGNALS; i++) {
        uint64_t found = number;
        struct weir_slice value = {0};
        if (seek(db, txn, (enum weir_signal)i, MDB_SET_KEY, &found, &value) == WEIR_OK)
            return block_header_get(value, out, NULL) == WEIR_OK && out->number == number;
    }
    return false;
}

bool segment_db_counts(const struct segment_db *db, MDB_txn *txn, uint64_t number, struct spool_counts *out)
{
    struct block_header h;
    if (segment_db_header(db, txn, number, &h)) {
        *out = h.before;
        return true;
    }
    if (number > 0 && segment_db_header(db, txn, number - 1, &h)) {
        *out = h.before;
        spool_counts_add(out, &h);
        return true;
    }
    for (uint64_t more = segment_db_blocks(db, txn); more > 0; more--) {
        if (segment_db_header(db, txn, ++number, &h)) {
            *out = h.before;
            return true;
        }
    }
    return false;
}

// LMDB does not tell where its map is. Every tree page starts with its own number (part of the file format), so the page that holds
// a known record tells; compared with the file to be sure.
static void map_find_base(struct segment_map *map, const uint8_t *record)
{
    uint8_t *page = (uint8_t *)((uintptr_t)record & ~(uintptr_t)(SEGMENT_PAGE - 1));
    uint64_t offset = weir_get_u64(page) * SEGMENT_PAGE;
    uint8_t head[16];
    if (offset >= map->bytes || pread(map->fd, head, sizeof(head), (off_t)offset) != sizeof(head) ||
        memcmp(head, page, sizeof(head)) != 0)
        return;
    map->base = page - offset;
    madvise(map->base, map->bytes, MADV_SEQUENTIAL); // 3300 MB/s instead of 720 on a cold file
}

// Where the segment ends, in number and counts.
static void map_find_end(struct segment_map *map, MDB_txn *txn)
{
    map->end = map->record.first + segment_db_blocks(&map->db, txn);
    map->end_counts = map->record.before;
    struct block_header h;
    for (uint64_t n = map->end; n > map->record.first; n--) {
        if (segment_db_header(&map->db, txn, n - 1, &h)) {
            map->end_counts = h.before;
            spool_counts_add(&map->end_counts, &h);
            return;
        }
    }
}

static int map_databases(struct segment_map *map, uint64_t first, struct weir_err *err)
{
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(map->db.env, NULL, MDB_RDONLY, &txn);
    if (rc == 0)
        rc = mdb_dbi_open(txn, NULL, 0, &map->db.main);
    for (unsigned i = 0; i < WEIR_SIGNALS && rc == 0; i++)
        rc = mdb_dbi_open(txn, weir_signal_name((enum weir_signal)i), MDB_INTEGERKEY, &map->db.signal[i]);
    MDB_val k = {4, (void *)(uintptr_t) "weir"}, v;
    if (rc == 0)
        rc = mdb_get(txn, map->db.main, &k, &v);
    if (rc != 0) {
        mdb_txn_abort(txn);
        // A database or record that is not there is damage: every segment gets them before it gets its name.
        return weir_fail(err, rc == MDB_NOTFOUND ? WEIR_E_CORRUPT : lmdb_code(rc), "segment record: %s",
                         mdb_strerror(rc));
    }
    int code = segment_record_get((struct weir_slice){v.mv_data, v.mv_size}, &map->record, err);
    if (code == WEIR_OK && map->record.first != first)
        code = weir_fail(err, WEIR_E_CORRUPT, "its record says it begins at block %llu",
                         (unsigned long long)map->record.first);
    if (code == WEIR_OK) {
        map_find_base(map, v.mv_data);
        map_find_end(map, txn);
        rc = mdb_txn_commit(txn); // keeps the database handles
        return rc == 0 ? WEIR_OK : lmdb_fail(err, rc, "read");
    }
    mdb_txn_abort(txn);
    return code;
}

int segment_map_open(const char *path, uint64_t first, struct segment_map **out, struct weir_err *err)
{
    *out = NULL;
    int code = tree_check_file(path, 0, err);
    if (code != WEIR_OK)
        return code;
    struct segment_map *map = calloc(1, sizeof(*map));
    if (map == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "%s: out of memory", path);
    struct stat st;
    int rc = stat(path, &st) == 0 ? 0 : errno;
    map->bytes = (uint64_t)st.st_size / SEGMENT_PAGE * SEGMENT_PAGE;
    if (rc == 0)
        rc = mdb_env_create(&map->db.env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(map->db.env, map->bytes);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(map->db.env, WEIR_SIGNALS);
    if (rc == 0)
        rc = mdb_env_open(map->db.env, path, MDB_RDONLY | MDB_NOSUBDIR | MDB_NOLOCK, 0600);
    if (rc == 0)
        rc = mdb_env_get_fd(map->db.env, &map->fd);
    if (rc != 0) {
        code = lmdb_fail(err, rc, path);
    } else {
        code = map_databases(map, first, err);
        if (code != WEIR_OK)
            weir_wrap(err, "%s", path);
    }
    if (code != WEIR_OK) {
        segment_map_close(map);
        return code;
    }
    *out = map;
    return WEIR_OK;
}

void segment_map_close(struct segment_map *map)
{
    if (map == NULL)
        return;
    if (map->db.env != NULL)
        mdb_env_close(map->db.env);
    free(map);
}

static void map_drop(struct segment_map *map, uint64_t end)
{
    uint64_t begin = map->dropped / SEGMENT_PAGE * SEGMENT_PAGE;
    end = end / SEGMENT_PAGE * SEGMENT_PAGE;
    if (end <= begin)
        return;
    madvise(map->base + begin, end - begin, MADV_DONTNEED); // first: fadvise does nothing for mapped pages
    posix_fadvise(map->fd, (off_t)begin, (off_t)(end - begin), POSIX_FADV_DONTNEED);
    map->dropped = end;
}

void segment_map_passed(struct segment_map *map, const uint8_t *value, uint64_t number, uint64_t passed)
{
    if (map->base == NULL || value < map->base)
        return;
    uint64_t offset = (uint64_t)(value - map->base);
    uint64_t last = map->steps_n > 0 ? map->steps[map->steps_n - 1].offset : map->dropped;
    if (offset >= last + SEGMENT_DROP_STEP && map->steps_n < SEGMENT_DROP_STEPS_MAX) {
        map->steps[map->steps_n].number = number;
        map->steps[map->steps_n++].offset = offset;
    }
    size_t gone = 0;
    while (gone < map->steps_n && map->steps[gone].number <= passed)
        gone++;
    if (gone == 0)
        return;
    map_drop(map, map->steps[gone - 1].offset);
    map->steps_n -= gone;
    memmove(map->steps, map->steps + gone, map->steps_n * sizeof(map->steps[0]));
}
