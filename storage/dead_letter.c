// SPDX-License-Identifier: Apache-2.0
// Putting a dead letter: within the quota, for which the oldest go, and within the room that the whole spool has.
#include "storage/keeper.h"
#include "storage/letters_priv.h"
#include "storage/space.h"
#include "storage/spool_priv.h"

#define EVICT_PART    64u // of the quota that goes at least, so that not every letter has to make room
#define EVICT_AT_ONCE 256u

static struct spool_lane *lane_of(struct spool *spool, const struct spool_dead_letter *letter)
{
    struct spool_lane *lane = NULL;
    pthread_mutex_lock(&spool->lanes_lock);
    for (size_t i = 0; i < spool->lanes_n && lane == NULL; i++) {
        const struct lane_record *r = &spool->lanes[i]->record;
        if (r->signal == letter->signal && strcmp(r->upstream, letter->upstream) == 0)
            lane = spool->lanes[i];
    }
    pthread_mutex_unlock(&spool->lanes_lock);
    return lane;
}

// Collects the oldest letters that may go, of at least `want` bytes if there are.
static size_t find_oldest(struct letters_txn *x, uint64_t want, struct letter_key *out, size_t max)
{
    struct dead_letters *d = x->spool->dead_letters;
    MDB_cursor *cursor = NULL;
    MDB_val k, v;
    size_t n = 0;
    uint64_t bytes = 0;
    if (x->t.rc == 0)
        x->t.rc = mdb_cursor_open(x->t.txn, d->letters, &cursor);
    if (x->t.rc != 0)
        return 0;
    int rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST);
    for (; rc == 0 && n < max && bytes < want; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
        uint8_t copy[REMARK_BYTES_MAX];
        struct remark remark;
        struct letter_key *key = &out[n];
        if (k.mv_size > sizeof(key->bytes))
            continue;
        memcpy(key->bytes, k.mv_data, k.mv_size);
        key->len = k.mv_size;
        letters_remark_get(x, key, copy, &remark);
        if (remark.settling || letters_is_busy(x->spool, key))
            continue;
        bytes += letter_pages_bytes(v.mv_size);
        n++;
    }
    mdb_cursor_close(cursor);
    if (rc != 0 && rc != MDB_NOTFOUND)
        x->t.rc = rc;
    return n;
}

// The oldest go, in transactions of a few each. What they free is used again from the transaction after the next on. Returns the bytes.
static uint64_t evict_oldest(struct spool *spool, uint64_t want)
{
    struct dead_letters *d = spool->dead_letters;
    struct letter_key *keys = calloc(EVICT_AT_ONCE, sizeof(*keys));
    bool more = keys != NULL && letters_ready(spool, NULL) == WEIR_OK; // a commit that failed leaves none open
    uint64_t before = d->totals.bytes;
    while (more) {
        uint64_t gone = before - d->totals.bytes;
        struct letters_txn x;
        letters_limit_file(spool, true);
        if (letters_begin(spool, &x, NULL) != WEIR_OK)
            break;
        size_t n = gone < want ? find_oldest(&x, want - gone, keys, EVICT_AT_ONCE) : 0;
        for (size_t i = 0; i < n; i++)
            letters_remove(&x, &keys[i], LETTER_EVICTED, 0);
        more = letters_commit(&x, NULL) == WEIR_OK && n > 0; // the last one, of nothing, makes room
    }
    free(keys);
    return before > d->totals.bytes ? before - d->totals.bytes : 0;
}

static bool letter_settling(struct letters_txn *x, const struct letter_key *key)
{
    uint8_t copy[REMARK_BYTES_MAX];
    struct remark remark;
    letters_remark_get(x, key, copy, &remark);
    return remark.settling;
}

// One transaction. *aborted: nothing of it is there.
static int letter_store(struct spool *spool, const struct letter_key *key, struct weir_slice value, bool settling,
                        bool *aborted, struct weir_err *err)
{
    struct letters_txn x;
    struct letter_view view;
    bool is = letter_view_head(value, &view);
    assert(is); // made here
    *aborted = true;
    int code = letters_begin(spool, &x, err);
    if (code != WEIR_OK)
        return code;
    // The same from before a replay: its items were accepted anew, so it is the old letter that ends.
    letters_remove(&x, key, letter_settling(&x, key) ? LETTER_FORGOTTEN : LETTER_PURGED, 0);
    letters_add(&x, key, &view, value, &(struct remark){.settling = settling});
    *aborted = x.t.rc != 0;
    code = letters_commit(&x, err);
    *aborted = *aborted || spool->dead_letters->env != NULL;
    return code;
}

// Why it does not fit: the disk, or the spool's other files.
static int explain(struct spool *spool, int code, size_t len, uint64_t room, struct weir_err *err)
{
    if (code == WEIR_E_FULL) {
        atomic_store(&spool->letter_room_wanted, len + SEGMENT_PAGE * SEGMENT_PAGES_SPARE);
        keeper_wake(spool);
        return weir_fail(err, WEIR_E_FULL, "dead letter of %zu bytes: the spool has room for %llu", len,
                         (unsigned long long)room);
    }
    space_count(spool); // an I/O error is also what a full disk looks like from a commit
    pthread_mutex_lock(&spool->lock);
    uint64_t free_bytes = spool->disk_free_bytes;
    pthread_mutex_unlock(&spool->lock);
    if (code == WEIR_E_IO && free_bytes < len + SEGMENT_PAGE * SEGMENT_PAGES_SPARE)
        return weir_fail(err, WEIR_E_FULL, "dead letter of %zu bytes: the disk has %llu left", len,
                         (unsigned long long)free_bytes);
    return code;
}

// Makes the quota's room. WEIR_E_LIMIT: it cannot.
static int make_room(struct spool *spool, uint64_t need, struct weir_err *err)
{
    struct dead_letters *d = spool->dead_letters;
    uint64_t quota = spool->dead_letter_bytes, over = d->totals.bytes + need;
    if (over <= quota)
        return WEIR_OK;
    over -= quota;
    if (need <= quota)
        evict_oldest(spool, over > quota / EVICT_PART ? over : quota / EVICT_PART);
    if (d->env == NULL) // a commit failed
        return letters_ready(spool, err);
    if (d->totals.bytes + need <= quota)
        return WEIR_OK;
    return weir_fail(
        err, WEIR_E_LIMIT, "a dead letter of %llu bytes does not fit into dead_letters.max_size (%llu bytes)%s",
        (unsigned long long)need, (unsigned long long)quota, need <= quota ? " beside the others of its block" : "");
}

static int put_locked(struct spool *spool, const struct spool_dead_letter *letter, struct weir_slice value,
                      struct weir_err *err)
{
    struct spool_lane *lane = lane_of(spool, letter);
    struct letter_key key;
    struct letter_settling before;
    bool nothing = true; // of any try
    uint64_t room = 0;
    letter_key_put(&key, letter->block, letter->item, letter->upstream, strlen(letter->upstream));
    int code = make_room(spool, letter_pages_bytes(value.len), err);
    if (code != WEIR_OK)
        return code;
    if (lane != NULL && !letters_settling_add(spool, lane, letter, &before))
        return weir_fail(err, WEIR_E_NOMEM, "dead letter: out of memory");
    for (unsigned tries = 0; tries < 2; tries++) {
        bool aborted;
        code = letters_ready(spool, err);
        if (code != WEIR_OK)
            break;
        room = letters_limit_file(spool, false);
        code = letter_store(spool, &key, value, lane != NULL, &aborted, err);
        nothing = nothing && aborted;
        // Nothing else can make room for it, as was found since it was last tried: then older letters must.
        if (code != WEIR_E_FULL || !atomic_exchange(&spool->letter_room_denied, false) ||
            evict_oldest(spool, letter_pages_bytes(value.len) + SEGMENT_PAGE * SEGMENT_PAGES_SPARE) == 0)
            break;
    }
    if (code != WEIR_OK && lane != NULL)
        letters_settling_failed(spool, lane, letter, &before, nothing);
    return code == WEIR_OK || code == WEIR_E_NOMEM ? code : explain(spool, code, value.len, room, err);
}

int spool_dead_letter_put(struct spool *spool, const struct spool_dead_letter *letter, struct weir_err *err)
{
    struct dead_letters *d = spool->dead_letters;
    struct weir_buf value = {0};
    int code = letter_encode(letter, &value, err);
    if (code != WEIR_OK) {
        weir_buf_free(&value);
        return code;
    }
    pthread_mutex_lock(&d->lock);
    bool tight = d->totals.bytes + letter_pages_bytes(value.len) > spool->dead_letter_bytes;
    pthread_mutex_unlock(&d->lock);
    if (tight)
        letters_flush(spool); // what is settled may go
    pthread_mutex_lock(&d->lock);
    code = letters_make(spool, err);
    if (code == WEIR_OK)
        code = put_locked(spool, letter, (struct weir_slice){value.data, value.len}, err);
    pthread_mutex_unlock(&d->lock);
    weir_buf_free(&value);
    return code;
}
