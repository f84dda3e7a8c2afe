// SPDX-License-Identifier: Apache-2.0
#include "storage/state.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/note.h"
#include "storage/tree_check.h"

#define STATE_RECORD_BYTES (16u + 8u + SPOOL_COUNTS_BYTES + 16u + 8u)
#define LANE_HEAD_V1_BYTES 152u
#define LANE_HEAD_BYTES    192u
#define MARK_BYTES         32u
#define LANE_BYTES_MAX     (LANE_HEAD_BYTES + INTERVALS_MAX * 2 * MARK_BYTES + 8u)
#define NOTE_HEAD_BYTES    16u
// A commit that writes all lanes anew, with all their intervals, needs the room of three such states. That much is never allocated ahead.
#define STATE_MAP_BYTES (2u * STATE_BYTES + STATE_NOTES_FACTOR * SPOOL_NOTES_BYTES)

struct state {
    MDB_env *env;
    MDB_dbi main, lanes, notes;
    bool has_notes; // the database is there: made with the first note
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

// Where a lane's evicted columns are, by reason. The last came with version 2.
static const unsigned evicted_at[SPOOL_LOSSES] = {56, 64, 72, 184};

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
        weir_put_u64(p + evicted_at[i], lane->evicted_by[i]);
    weir_put_u64(p + 80, lane->evicted_received_first_ns);
    weir_put_u64(p + 88, lane->evicted_received_last_ns);
    weir_put_u64(p + 96, lane->replayed);
    mark_put(p + 104, lane->follow_from);
    weir_put_u64(p + 136, lane->set.n);
    weir_put_u64(p + 144, lane->letters_file_id);
    weir_put_u64(p + 152, lane->letters_entered.delivered);
    weir_put_u64(p + 160, lane->letters_entered.rejected);
    weir_put_u64(p + 168, lane->letters_entered.discarded);
    weir_put_u64(p + 176, lane->letters_entered.evicted);
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
    int rc = record_check(value, "WLAN", LANE_HEAD_V1_BYTES + 8, err);
    if (rc != WEIR_OK)
        return rc;
    const uint8_t *p = value.data;
    bool old = weir_get_u16(p + 4) == 1;
    unsigned head = old ? LANE_HEAD_V1_BYTES : LANE_HEAD_BYTES;
    uint64_t n = weir_get_u64(p + 136);
    if (n > INTERVALS_MAX || weir_get_u32(p + 8) != head + n * 2 * MARK_BYTES + 8)
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
        out->evicted_by[i] = old && evicted_at[i] >= 144 ? 0 : weir_get_u64(p + evicted_at[i]);
    out->evicted_received_first_ns = weir_get_u64(p + 80);
    out->evicted_received_last_ns = weir_get_u64(p + 88);
    out->replayed = weir_get_u64(p + 96);
    out->follow_from = mark_get(p + 104);
    if (!old) {
        out->letters_file_id = weir_get_u64(p + 144);
        out->letters_entered = (struct letter_moves){weir_get_u64(p + 152), weir_get_u64(p + 160),
                                                     weir_get_u64(p + 168), weir_get_u64(p + 176)};
    }
    out->set.n = n;
    for (size_t i = 0; i < n; i++) {
        out->set.at[i].first = mark_get(p + head + i * 2 * MARK_BYTES);
        out->set.at[i].end = mark_get(p + head + i * 2 * MARK_BYTES + MARK_BYTES);
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
        rc = mdb_env_set_maxdbs(state->env, 2);
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
    if (rc == 0) {
        rc = mdb_dbi_open(txn, "notes", 0, &state->notes);
        state->has_notes = rc == 0;
        rc = rc == MDB_NOTFOUND ? 0 : rc;
    }
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
        out->notes = NULL;
        out->notes_n = 0;
        out->gone = NULL;
        out->gone_n = 0;
        code = load_lanes(state, txn, each, ctx, err);
    }
    mdb_txn_abort(txn);
    return code;
}

// --- notes ----------------------------------------------------------------------------------------------------------------

// The key is in the record too: its checksum goes over it.
static int note_get(struct weir_slice key, struct weir_slice value, struct weir_slice *out, struct weir_err *err)
{
    int code = record_check(value, "WNOT", NOTE_HEAD_BYTES + 8, err);
    if (code != WEIR_OK)
        return code;
    size_t bytes = weir_get_u32(value.data + 8), name = weir_get_u16(value.data + 12);
    if (key.len == 0 || key.len > SPOOL_NOTE_KEY_BYTES || name != key.len || NOTE_HEAD_BYTES + name + 8 > bytes ||
        bytes - NOTE_HEAD_BYTES - name - 8 > SPOOL_NOTE_VALUE_BYTES || memchr(key.data, 0, key.len) != NULL ||
        memcmp(key.data, value.data + NOTE_HEAD_BYTES, name) != 0)
        return weir_fail(err, WEIR_E_CORRUPT, "note: key of %zu bytes, record of %zu", key.len, bytes);
    *out = (struct weir_slice){value.data + NOTE_HEAD_BYTES + name, bytes - NOTE_HEAD_BYTES - name - 8};
    return WEIR_OK;
}

int state_load_notes(struct state *state, state_note_fn each, void *ctx, struct weir_err *err)
{
    MDB_txn *txn = NULL;
    MDB_cursor *cursor;
    MDB_val k, v;
    int code = WEIR_OK;
    if (!state->has_notes)
        return code;
    int rc = mdb_txn_begin(state->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return lmdb_fail(err, rc, "notes");
    rc = mdb_cursor_open(txn, state->notes, &cursor);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return lmdb_fail(err, rc, "notes");
    }
    for (rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST); rc == 0 && code == WEIR_OK;
         rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
        struct weir_err why = {0};
        struct weir_slice value = {0};
        char key[SPOOL_NOTE_KEY_BYTES + 1];
        code = note_get((struct weir_slice){k.mv_data, k.mv_size}, (struct weir_slice){v.mv_data, v.mv_size}, &value,
                        &why);
        snprintf(key, sizeof(key), "%.*s", (int)k.mv_size, (const char *)k.mv_data);
        if (code == WEIR_OK || code == WEIR_E_CORRUPT)
            code = each(ctx, key, value, code == WEIR_OK ? NULL : why.text, err);
        else
            weir_fail(err, code, "%s", why.text);
    }
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    if (code == WEIR_OK && rc != MDB_NOTFOUND)
        return lmdb_fail(err, rc, "notes");
    return code;
}

uint64_t state_bytes_for_notes(uint64_t bytes)
{
    return STATE_BYTES + (bytes > STATE_NOTES_INCLUDED ? (bytes - STATE_NOTES_INCLUDED) * STATE_NOTES_FACTOR : 0);
}

int state_missing(struct state *state, uint64_t file_bytes, uint64_t *out, struct weir_err *err)
{
    int fd;
    struct stat st;
    int rc = mdb_env_get_fd(state->env, &fd);
    if (rc == 0 && fstat(fd, &st) != 0)
        rc = errno;
    if (rc != 0)
        return lmdb_fail(err, rc, "state.mdb");
    *out = (uint64_t)st.st_size < file_bytes ? file_bytes - (uint64_t)st.st_size : 0;
    return WEIR_OK;
}

int state_reserve(struct state *state, uint64_t file_bytes, struct weir_err *err)
{
    int fd;
    int rc = mdb_env_get_fd(state->env, &fd);
    do {
        rc = rc == 0 || rc == EINTR ? posix_fallocate(fd, 0, (off_t)file_bytes) : rc;
    } while (rc == EINTR);
    return rc == 0 ? WEIR_OK : lmdb_fail(err, rc, "state.mdb: room for notes");
}

static void put_note(struct lmdb_txn *t, struct state *state, const struct state_note *note)
{
    size_t name = strlen(note->key);
    struct weir_slice key = {(const uint8_t *)note->key, name};
    MDB_val k = {name, (void *)(uintptr_t)note->key};
    if (note->removed) {
        if (t->rc == 0 && state->has_notes) {
            int rc = mdb_del(t->txn, state->notes, &k, NULL);
            t->rc = rc == MDB_NOTFOUND ? 0 : rc;
        }
        return;
    }
    if (t->rc == 0 && !state->has_notes) {
        t->rc = mdb_dbi_open(t->txn, "notes", MDB_CREATE, &state->notes);
        state->has_notes = t->rc == 0;
    }
    uint8_t record[NOTE_HEAD_BYTES + SPOOL_NOTE_KEY_BYTES + SPOOL_NOTE_VALUE_BYTES + 8];
    uint32_t bytes = (uint32_t)(NOTE_HEAD_BYTES + name + note->value.len + 8);
    record_begin(record, "WNOT", bytes);
    weir_put_u16(record + 12, (uint16_t)name);
    weir_put_u16(record + 14, 0);
    memcpy(record + NOTE_HEAD_BYTES, note->key, name);
    if (note->value.len > 0)
        memcpy(record + NOTE_HEAD_BYTES + name, note->value.data, note->value.len);
    record_seal(record, bytes);
    lmdb_put(t, state->notes, key, (struct weir_slice){record, bytes}, 0);
}

static size_t lane_key(uint8_t out[1 + STATE_UPSTREAM_BYTES], const struct lane_record *lane)
{
    size_t name = strlen(lane->upstream);
    out[0] = (uint8_t)lane->signal;
    memcpy(out + 1, lane->upstream, name);
    return 1 + name;
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
    for (size_t i = 0; i < record->gone_n; i++) {
        uint8_t key[1 + STATE_UPSTREAM_BYTES];
        MDB_val k = {lane_key(key, record->gone[i]), key};
        int rc = t.rc == 0 ? mdb_del(t.txn, state->lanes, &k, NULL) : 0;
        t.rc = rc != 0 && rc != MDB_NOTFOUND ? rc : t.rc;
    }
    for (size_t i = 0; i < n; i++) {
        uint8_t key[1 + STATE_UPSTREAM_BYTES], value[LANE_BYTES_MAX];
        size_t key_bytes = lane_key(key, lanes[i]);
        uint32_t bytes = lane_put(value, lanes[i]);
        lmdb_put(&t, state->lanes, (struct weir_slice){key, key_bytes}, (struct weir_slice){value, bytes}, 0);
    }
    for (size_t i = 0; i < record->notes_n; i++)
        put_note(&t, state, &record->notes[i]);
    int rc = lmdb_commit(&t);
    return rc == 0 ? WEIR_OK : lmdb_fail(err, rc, "commit state");
}
