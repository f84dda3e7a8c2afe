// SPDX-License-Identifier: Apache-2.0
// Dead letters: every one that is whole. They change places in their file as others come and go, so a page-by-page search of a damaged
// file may also find one that was removed: rather one too many than one lost.
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "storage/letter_format.h"
#include "storage/letters_priv.h"
#include "storage/salvage_priv.h"
#include "storage/segment.h"

#define SCAN_PAGE    4096u
#define SCAN_ROUNDS  4u // of the file's length: no more is read, whatever lengths its letters name
#define LETTERS_ROOM (1024u * 1024u)

struct letters_walk {
    salvage_letter_fn each;
    void *ctx;
    uint64_t *lost;
};

static int give_whole(void *ctx, struct weir_slice key, struct weir_slice value, const struct letter_view *view,
                      const struct remark *remark, const char *damage, struct weir_err *err)
{
    (void)key;
    struct letters_walk *walk = ctx;
    if (damage == NULL)
        return walk->each(walk->ctx, value, view, remark, err);
    ++*walk->lost;
    return WEIR_OK;
}

// A letter begins with its magic, anywhere in a page of the tree or at the beginning of pages of its own.
static int scan_page(struct letters_walk *walk, int fd, const uint8_t *page, uint64_t offset, uint64_t *budget,
                     struct weir_err *err)
{
    struct weir_buf value = {0};
    static const struct remark unknown;
    int code = WEIR_OK;
    for (size_t at = 0; code == WEIR_OK && at + 12 <= SCAN_PAGE; at++) {
        if (memcmp(page + at, "WDLT", 4) != 0)
            continue;
        uint32_t len = weir_get_u32(page + at + 8);
        struct letter_view view;
        if (len < LETTER_HEAD_V1_BYTES + 8 || len > *budget)
            continue;
        *budget -= len;
        value.len = 0;
        if (!weir_buf_reserve(&value, len))
            code = weir_fail(err, WEIR_E_NOMEM, "dead letters: out of memory");
        else if (pread(fd, value.data, len, (off_t)(offset + at)) == (ssize_t)len &&
                 letter_view_parse((struct weir_slice){value.data, len}, &view, NULL) == WEIR_OK)
            code = walk->each(walk->ctx, (struct weir_slice){value.data, len}, &view, &unknown, err);
    }
    weir_buf_free(&value);
    return code;
}

static int scan(struct inspect *inspect, struct letters_walk *walk, struct weir_err *err)
{
    char path[INSPECT_PATH_MAX];
    uint8_t page[SCAN_PAGE];
    int code = inspect_path(inspect, "deadletter.mdb", path, err);
    if (code != WEIR_OK)
        return code;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return WEIR_OK; // nothing in it can be saved
    uint64_t bytes = inspect_file_of(inspect, INSPECT_DEAD_LETTERS)->bytes, budget = SCAN_ROUNDS * bytes;
    for (uint64_t offset = 0; code == WEIR_OK && offset < bytes; offset += SCAN_PAGE) {
        ssize_t n = pread(fd, page, sizeof(page), (off_t)offset);
        if (n <= 0) // a bad sector: the next page may be read
            continue;
        memset(page + n, 0, sizeof(page) - (size_t)n);
        code = scan_page(walk, fd, page, offset, &budget, err);
    }
    close(fd);
    return code;
}

int salvage_letters_walk(struct inspect *inspect, salvage_letter_fn each, void *ctx, uint64_t *lost, bool *scanned,
                         struct weir_err *err)
{
    struct letters_walk walk = {each, ctx, lost};
    struct inspect_letters told;
    *lost = 0;
    *scanned = false;
    inspect_letters(inspect, &told);
    if (told.code == WEIR_E_NOT_FOUND)
        return WEIR_OK;
    if (told.code == WEIR_E_FORMAT || told.code == WEIR_E_NOMEM)
        return weir_fail(err, told.code, "deadletter.mdb: %s", told.text);
    int code = inspect_letters_walk(inspect, give_whole, &walk, err);
    if (code != WEIR_E_CORRUPT && code != WEIR_E_IO)
        return code;
    *scanned = true;
    return scan(inspect, &walk, err);
}

// --- writing ------------------------------------------------------------------------------------------------------------------

struct letters_file {
    struct lmdb_txn t;
    MDB_dbi main, letters, lanes, remarks;
    struct letter_totals totals;
    struct letter_lanes of;
    const struct inspect *inspect;
    struct salvage_letters *counts;
};

// A letter of a block that is to be delivered again is forgotten by the relay, and counts in no ledger.
static bool count_ledger(struct letters_file *f, const struct letter_view *view, const struct remark *remark)
{
    struct letter_lane *lane =
        letter_lane_find(&f->counts->lanes, (const char *)view->upstream.data, view->upstream.len, view->signal, true);
    if (lane == NULL)
        return false;
    if (!remark->settling || !inspect_letter_pending(f->inspect, view))
        lane->items += view->items;
    return true;
}

// Adds a letter to the totals, or takes it out.
static bool count(struct letters_file *f, const struct letter_view *view, const struct remark *remark, size_t len,
                  bool in)
{
    struct letter_lane *lane =
        letter_lane_find(&f->of, (const char *)view->upstream.data, view->upstream.len, view->signal, true);
    if (lane == NULL)
        return false;
    uint64_t one = in ? 1 : UINT64_MAX, items = in ? view->items : -view->items;
    uint64_t bytes = in ? letter_pages_bytes(len) : -letter_pages_bytes(len);
    f->totals.requests += one;
    f->totals.items += items;
    f->totals.bytes += bytes;
    lane->requests += one;
    lane->items += items;
    lane->bytes += bytes;
    lane->marked += remark->redrive;
    return true;
}

static int put_letter(void *ctx, struct weir_slice value, const struct letter_view *view, const struct remark *remark,
                      struct weir_err *err)
{
    struct letters_file *f = ctx;
    struct letter_key key;
    letter_key_put(&key, view->block, view->item, (const char *)view->upstream.data, view->upstream.len);
    MDB_val k = {key.len, key.bytes}, v;
    struct letter_view other;
    uint8_t record[REMARK_BYTES_MAX];
    bool again = f->t.rc == 0 && mdb_get(f->t.txn, f->letters, &k, &v) == 0;
    if (again && letter_view_parse((struct weir_slice){v.mv_data, v.mv_size}, &other, NULL) == WEIR_OK) {
        if (other.stored_ns >= view->stored_ns)
            return WEIR_OK; // an older copy of the same
        count(f, &other, &(struct remark){0}, v.mv_size, false);
        struct letter_lane *lane = letter_lane_find(&f->counts->lanes, (const char *)other.upstream.data,
                                                    other.upstream.len, other.signal, false);
        if (lane != NULL) // found page by page: no remarks, all were counted
            lane->items -= other.items;
    }
    lmdb_put(&f->t, f->letters, (struct weir_slice){key.bytes, key.len}, value, 0);
    if (remark->settling || remark->redrive || remark->redrives > 0)
        lmdb_put(&f->t, f->remarks, (struct weir_slice){key.bytes, key.len},
                 (struct weir_slice){record, remark_put(record, remark)}, 0);
    if (!count(f, view, remark, value.len, true) || !count_ledger(f, view, remark))
        return weir_fail(err, WEIR_E_NOMEM, "dead letters: out of memory");
    return f->t.rc == 0 ? WEIR_OK : lmdb_fail(err, f->t.rc, "dead letters");
}

int salvage_letters_write(struct inspect *inspect, const char *path, uint64_t *saved, struct salvage_letters *counts,
                          struct weir_err *err)
{
    const struct inspect_file *old = inspect_file_of(inspect, INSPECT_DEAD_LETTERS);
    struct letters_file f = {.inspect = inspect, .counts = counts};
    uint8_t totals[LETTER_TOTALS_BYTES];
    uint64_t lost;
    bool scanned;
    MDB_env *env = NULL;
    int rc = mdb_env_create(&env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(env, (2 * old->bytes + LETTERS_ROOM) / SEGMENT_PAGE * SEGMENT_PAGE);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(env, LETTERS_DATABASES);
    if (rc == 0)
        rc = mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK, 0600);
    if (rc == 0) {
        lmdb_begin(&f.t, env);
        if (f.t.rc == 0)
            f.t.rc = mdb_dbi_open(f.t.txn, NULL, 0, &f.main);
        if (f.t.rc == 0)
            f.t.rc = mdb_dbi_open(f.t.txn, "letters", MDB_CREATE, &f.letters);
        if (f.t.rc == 0)
            f.t.rc = mdb_dbi_open(f.t.txn, "lanes", MDB_CREATE, &f.lanes);
        if (f.t.rc == 0)
            f.t.rc = mdb_dbi_open(f.t.txn, "remarks", MDB_CREATE, &f.remarks);
        rc = f.t.rc;
    }
    int code = rc == 0 ? salvage_letters_walk(inspect, put_letter, &f, &lost, &scanned, err) : lmdb_fail(err, rc, path);
    if (code == WEIR_OK) {
        f.totals.file_id = counts->file_id = letter_file_id();
        letter_totals_put(totals, &f.totals);
        for (size_t i = 0; i < f.of.n; i++) {
            uint8_t key[1 + STATE_UPSTREAM_BYTES], lane[LETTER_LANE_BYTES];
            size_t len = letter_lane_key(key, &f.of.at[i]);
            letter_lane_put(lane, &f.of.at[i]);
            lmdb_put(&f.t, f.lanes, (struct weir_slice){key, len}, (struct weir_slice){lane, sizeof(lane)}, 0);
        }
        lmdb_put(&f.t, f.main, (struct weir_slice){(const uint8_t *)"weir", 4},
                 (struct weir_slice){totals, sizeof(totals)}, 0);
        rc = lmdb_commit(&f.t);
        code = rc == 0 ? WEIR_OK : lmdb_fail(err, rc, path);
    } else if (f.t.txn != NULL) {
        mdb_txn_abort(f.t.txn);
    }
    if (env != NULL)
        mdb_env_close(env);
    free(f.of.at);
    *saved = f.totals.requests;
    return code;
}
