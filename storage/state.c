// SPDX-License-Identifier: Apache-2.0
#include "storage/state.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include "storage/tree_check.h"

#define STATE_RECORD_BYTES (16u + 8u + SPOOL_COUNTS_BYTES + 16u + 8u)
#define LANE_HEAD_BYTES    152u
#define MARK_BYTES         32u
#define LANE_BYTES_MAX     (LANE_HEAD_BYTES + INTERVALS_MAX * 2 * MARK_BYTES + 8u)
// A commit that writes all lanes anew, with all their intervals, needs the room of three such states. That much is never allocated ahead.
#define STATE_MAP_BYTES (2u * STATE_BYTES)

struct state {
    MDB_env *env;
    MDB_dbi main, lanes;
};

static void mark_put(uint8_t *p, struct mark mark)
{
    weir_put_u64(p, mark.number);
    weir_put_u64(p + 8, mark.blocks);
    weir_put_u64(p + 16, mark.items);
    weir_put_u64(p + 24, mark.raw_bytes);
}

static struct mark mark_get(const uint8_t *p)
{
    return (struct mark){weir_get_u64(p), weir_get_u64(p + 8), weir_get_u64(p + 16), weir_get_u64(p + 24)};
}

void state_instance_format(const uint8_t uuid[16], char out[37])
{
    size_t at = 0;
    for (int i = 0; i < 16; i++)
        at += (size_t)snprintf(out + at, 37 - at, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
}

static uint32_t lane_put(uint8_t *p, const struct lane_record *lane)
{
    uint32_t bytes = (uint32_t)(LANE_HEAD_BYTES + lane->set.n * 2 * MARK_BYTES + 8);
    record_begin(p, "WLAN", bytes);
    weir_put_u32(p + 12, lane->following);
    weir_put_u64(p + 16, lane->accepted_before);
    weir_put_u64(p + 24, lane->delivered);
    weir_put_u64(p + 32, lane->rejected_by_upstream);
    weir_put_u64(p + 40, lane->dead_lettered);
    weir_put_u64(p + 48, lane->discarded);
    for (size_t i = 0; i < SPOOL_LOSSES; i++)
        weir_put_u64(p + 56 + i * 8, lane->evicted_by[i]);
    weir_put_u64(p + 80, lane->evicted_received_first_ns);
    weir_put_u64(p + 88, lane->evicted_received_last_ns);
    weir_put_u64(p + 96, lane->replayed);
    mark_put(p + 104, lane->follow_from);
    weir_put_u64(p + 136, lane->set.n);
    for (size_t i = 0; i < lane->set.n; i++) {
        mark_put(p + LANE_HEAD_BYTES + i * 2 * MARK_BYTES, lane->set.at[i].first);
        mark_put(p + LANE_HEAD_BYTES + i * 2 * MARK_BYTES + MARK_BYTES, lane->set.at[i].end);
    }
    record_seal(p, bytes);
    return bytes;
}

static int lane_get(struct weir_slice key, struct weir_slice value, struct lane_record *out, struct weir_err *err)
{
    if (key.len < 2 || key.len > 1 + STATE_UPSTREAM_BYTES || key.data[0] >= WEIR_SIGNALS)
        return weir_fail(err, WEIR_E_CORRUPT, "lane: key of %zu bytes", key.len);
    int rc = record_check(value, "WLAN", LANE_HEAD_BYTES + 8, err);
    if (rc != WEIR_OK)
        return rc;
    const uint8_t *p = value.data;
    uint64_t n = weir_get_u64(p + 136);
    if (n > INTERVALS_MAX || weir_get_u32(p + 8) != LANE_HEAD_BYTES + n * 2 * MARK_BYTES + 8)
        return weir_fail(err, WEIR_E_CORRUPT, "lane: %llu intervals in %zu bytes", (unsigned long long)n, value.len);
    memset(out, 0, sizeof(*out));
    out->signal = (enum weir_signal)key.data[0];
    memcpy(out->upstream, key.data + 1, key.len - 1);
    out->following = weir_get_u32(p + 12) != 0;
    out->accepted_before = weir_get_u64(p + 16);
    out->delivered = weir_get_u64(p + 24);
    out->rejected_by_upstream = weir_get_u64(p + 32);
    out->dead_lettered = weir_get_u64(p + 40);
    out->discarded = weir_get_u64(p + 48);
    for (size_t i = 0; i < SPOOL_LOSSES; i++)
        out->evicted_by[i] = weir_get_u64(p + 56 + i * 8);
    out->evicted_received_first_ns = weir_get_u64(p + 80);
    out->evicted_received_last_ns = weir_get_u64(p + 88);
    out->replayed = weir_get_u64(p + 96);
    out->follow_from = mark_get(p + 104);
    out->set.n = n;
    for (size_t i = 0; i < n; i++) {
        out->set.at[i].first = mark_get(p + LANE_HEAD_BYTES + i * 2 * MARK_BYTES);
        out->set.at[i].end = mark_get(p + LANE_HEAD_BYTES + i * 2 * MARK_BYTES + MARK_BYTES);
    }
    return intervals_sane(&out->set) ? WEIR_OK : weir_fail(err, WEIR_E_CORRUPT, "lane %s: intervals", out->upstream);
}

void state_close(struct state *state)
{
    if (state == NULL)
        return;
    if (state->env != NULL)
        mdb_env_close(state->env);
    free(state);
}

static int state_env(const char *path, unsigned flags, struct state **out, struct weir_err *err)
{
    struct state *state = calloc(1, sizeof(*state));
    if (state == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "%s: out of memory", path);
    int rc = mdb_env_create(&state->env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(state->env, STATE_MAP_BYTES);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(state->env, 1);
    if (rc == 0)
        rc = mdb_env_open(state->env, path, MDB_NOSUBDIR | MDB_NOLOCK | flags, 0600);
    if (rc != 0) {
        state_close(state);
        return lmdb_open_fail(err, rc, path);
    }
    *out = state;
    return WEIR_OK;
}

int state_create(const char *path, struct state **out, struct weir_err *err)
{
    *out = NULL;
    if (unlink(path) != 0 && errno != ENOENT)
        return errno_fail(err, "remove", path);
    struct state *state = NULL;
    int code = state_env(path, 0, &state, err);
    if (code != WEIR_OK)
        return code;
    assert(state != NULL);
    int fd;
    int rc = mdb_env_get_fd(state->env, &fd);
    if (rc == 0)
        rc = posix_fallocate(fd, 0, STATE_BYTES);
    if (rc == 0) {
        struct lmdb_txn t;
        lmdb_begin(&t, state->env);
        if (t.rc == 0)
            t.rc = mdb_dbi_open(t.txn, NULL, 0, &state->main);
        if (t.rc == 0)
            t.rc = mdb_dbi_open(t.txn, "lanes", MDB_CREATE, &state->lanes);
        rc = lmdb_commit(&t);
    }
    struct state_record none = {0};
    // A UUID of version 4 (RFC 9562, section 5.4).
    if (getrandom(none.instance, sizeof(none.instance), 0) != (ssize_t)sizeof(none.instance))
        rc = errno;
    none.instance[6] = (uint8_t)((none.instance[6] & 0x0f) | 0x40);
    none.instance[8] = (uint8_t)((none.instance[8] & 0x3f) | 0x80);
    code = rc == 0 ? state_save(state, &none, NULL, 0, err) : lmdb_fail(err, rc, path);
    if (code != WEIR_OK) {
        state_close(state);
        unlink(path);
        return code;
    }
    *out = state;
    return WEIR_OK;
}

static int state_open_with(const char *path, unsigned flags, struct state **out, struct weir_err *err)
{
    *out = NULL;
    int code = tree_check_file(path, err);
    if (code != WEIR_OK)
        return code;
    struct state *state = NULL;
    code = state_env(path, flags, &state, err);
    if (code != WEIR_OK)
        return code;
    assert(state != NULL);
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(state->env, NULL, MDB_RDONLY, &txn);
    if (rc == 0)
        rc = mdb_dbi_open(txn, NULL, 0, &state->main);
    if (rc == 0)
        rc = mdb_dbi_open(txn, "lanes", 0, &state->lanes);
    if (rc == 0)
        rc = mdb_txn_commit(txn);
    else
        mdb_txn_abort(txn);
    if (rc != 0) {
        state_close(state);
        return weir_fail(err, rc == MDB_NOTFOUND ? WEIR_E_CORRUPT : lmdb_code(rc), "%s: %s", path, mdb_strerror(rc));
    }
    *out = state;
    return WEIR_OK;
}

int state_open(const char *path, struct state **out, struct weir_err *err)
{
    return state_open_with(path, 0, out, err);
}

int state_open_read_only(const char *path, struct state **out, struct weir_err *err)
{
    return state_open_with(path, MDB_RDONLY, out, err);
}

static int load_lanes(struct state *state, MDB_txn *txn, state_lane_fn each, void *ctx, struct weir_err *err)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, state->lanes, &cursor);
    if (rc != 0)
        return lmdb_fail(err, rc, "lanes");
    int code = WEIR_OK;
    MDB_val k, v;
    for (rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST); rc == 0 && code == WEIR_OK;
         rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
        struct lane_record lane;
        code =
            lane_get((struct weir_slice){k.mv_data, k.mv_size}, (struct weir_slice){v.mv_data, v.mv_size}, &lane, err);
        if (code == WEIR_OK)
            code = each(ctx, &lane, err);
    }
    mdb_cursor_close(cursor);
    if (code == WEIR_OK && rc != MDB_NOTFOUND)
        return lmdb_fail(err, rc, "lanes");
    return code;
}

int state_load(struct state *state, struct state_record *out, state_lane_fn each, void *ctx, struct weir_err *err)
{
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(state->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return lmdb_fail(err, rc, "state");
    MDB_val k = {4, (void *)(uintptr_t) "weir"}, v;
    rc = mdb_get(txn, state->main, &k, &v);
    int code = rc == 0 ? record_check((struct weir_slice){v.mv_data, v.mv_size}, "WSTA", STATE_RECORD_BYTES, err)
                       : weir_fail(err, WEIR_E_CORRUPT, "state record: %s", mdb_strerror(rc));
    if (code == WEIR_OK) {
        out->next_block = weir_get_u64((uint8_t *)v.mv_data + 16);
        spool_counts_get((uint8_t *)v.mv_data + 24, &out->counts);
        memcpy(out->instance, (uint8_t *)v.mv_data + 24 + SPOOL_COUNTS_BYTES, sizeof(out->instance));
        code = load_lanes(state, txn, each, ctx, err);
    }
    mdb_txn_abort(txn);
    return code;
}

int state_save(struct state *state, const struct state_record *record, const struct lane_record *const *lanes, size_t n,
               struct weir_err *err)
{
    uint8_t head[STATE_RECORD_BYTES];
    record_begin(head, "WSTA", STATE_RECORD_BYTES);
    weir_put_u64(head + 16, record->next_block);
    spool_counts_put(head + 24, &record->counts);
    memcpy(head + 24 + SPOOL_COUNTS_BYTES, record->instance, sizeof(record->instance));
    record_seal(head, STATE_RECORD_BYTES);
    struct lmdb_txn t;
    lmdb_begin(&t, state->env);
    lmdb_put(&t, state->main, (struct weir_slice){(const uint8_t *)"weir", 4}, (struct weir_slice){head, sizeof(head)},
             0);
    for (size_t i = 0; i < n; i++) {
        uint8_t key[1 + STATE_UPSTREAM_BYTES], value[LANE_BYTES_MAX];
        size_t name = strlen(lanes[i]->upstream);
        key[0] = (uint8_t)lanes[i]->signal;
        memcpy(key + 1, lanes[i]->upstream, name);
        uint32_t bytes = lane_put(value, lanes[i]);
        lmdb_put(&t, state->lanes, (struct weir_slice){key, 1 + name}, (struct weir_slice){value, bytes}, 0);
    }
    int rc = lmdb_commit(&t);
    return rc == 0 ? WEIR_OK : lmdb_fail(err, rc, "commit state");
}
