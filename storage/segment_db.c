// SPDX-License-Identifier: Apache-2.0
// Finding blocks in the segment that is being written.
#include "storage/segment.h"

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

int segment_db_header(const struct segment_db *db, MDB_txn *txn, uint64_t number, struct block_header *out)
{
    for (unsigned i = 0; i < WEIR_SIGNALS; i++) {
        uint64_t found = number;
        struct weir_slice value = {0};
        int code = seek(db, txn, (enum weir_signal)i, MDB_SET_KEY, &found, &value);
        if (code == WEIR_OK)
            return block_header_get(value, out, NULL) == WEIR_OK && out->number == number ? WEIR_OK : WEIR_E_NOT_FOUND;
        if (code != WEIR_E_NOT_FOUND) // out of memory: it may be there
            return code;
    }
    return WEIR_E_NOT_FOUND;
}

int segment_db_counts(const struct segment_db *db, MDB_txn *txn, uint64_t number, struct spool_counts *out)
{
    struct block_header h = {0};
    int code = segment_db_header(db, txn, number, &h);
    *out = h.before;
    if (code == WEIR_E_NOT_FOUND && number > 0) {
        code = segment_db_header(db, txn, number - 1, &h);
        *out = h.before;
        if (code == WEIR_OK)
            spool_counts_add(out, &h);
    }
    for (uint64_t more = segment_db_blocks(db, txn); code == WEIR_E_NOT_FOUND && more > 0; more--) {
        code = segment_db_header(db, txn, ++number, &h);
        *out = h.before;
    }
    return code;
}
