// SPDX-License-Identifier: Apache-2.0
// Letters between being put and being settled. A letter is put before its block is settled, in another file: until the settlement is durable
// too, its remark says so. A crash in between finds the block still to deliver, and forgets the letter: what becomes of the block is found
// out again, and must not count twice.
#include "storage/letters_priv.h"
#include "storage/spool_priv.h"

#define FLUSH_AT_ONCE 256u

static bool is_of(const struct letter_settling *s, const struct spool_lane *lane, uint64_t first, uint64_t end)
{
    return s->lane == lane && s->block >= first && s->block < end;
}

// Under settling_lock. The one of that key, taken out; its lane is NULL when there is none.
static struct letter_settling settling_take(struct dead_letters *d, const struct spool_lane *lane,
                                            const struct spool_dead_letter *letter)
{
    struct letter_settling taken = {0};
    for (size_t i = d->settling_n; i > 0 && taken.lane == NULL; i--) {
        struct letter_settling *s = &d->settling[i - 1];
        if (s->lane != lane || s->block != letter->block || s->item != letter->item)
            continue;
        taken = *s;
        d->decided_n -= s->fate != SETTLING_WAITS;
        memmove(s, s + 1, (d->settling_n-- - i) * sizeof(*s));
    }
    return taken;
}

bool letters_settling_add(struct spool *spool, struct spool_lane *lane, const struct spool_dead_letter *letter,
                          struct letter_settling *before)
{
    struct dead_letters *d = spool->dead_letters;
    pthread_mutex_lock(&d->settling_lock);
    *before = settling_take(d, lane, letter); // the newest is last
    if (d->settling_n == d->settling_cap) {
        size_t cap = d->settling_cap > 0 ? 2 * d->settling_cap : 64;
        struct letter_settling *more = realloc(d->settling, cap * sizeof(*more));
        if (more != NULL) {
            d->settling = more;
            d->settling_cap = cap;
        }
    }
    bool room = d->settling_n < d->settling_cap;
    if (room)
        d->settling[d->settling_n++] =
            (struct letter_settling){lane, letter->block, letter->item, letter->items, false, SETTLING_WAITS};
    pthread_mutex_unlock(&d->settling_lock);
    return room;
}

void letters_settling_failed(struct spool *spool, struct spool_lane *lane, const struct spool_dead_letter *letter,
                             const struct letter_settling *before, bool nothing)
{
    struct dead_letters *d = spool->dead_letters;
    pthread_mutex_lock(&d->settling_lock);
    struct letter_settling now = settling_take(d, lane, letter);
    now.unsure = true;
    if (nothing)
        now = *before;
    if (now.lane != NULL && d->settling_n < d->settling_cap) { // there is room, or the next start finds it
        d->settling[d->settling_n++] = now;
        d->decided_n += now.fate != SETTLING_WAITS;
    }
    pthread_mutex_unlock(&d->settling_lock);
}

uint64_t letters_settled(struct spool_lane *lane, uint64_t first, uint64_t end, uint64_t items)
{
    struct dead_letters *d = lane->spool->dead_letters;
    uint64_t counted = 0;
    pthread_mutex_lock(&d->settling_lock);
    for (size_t i = d->settling_n; i > 0; i--) { // the last attempt's come first
        struct letter_settling *s = &d->settling[i - 1];
        if (s->fate != SETTLING_WAITS || !is_of(s, lane, first, end))
            continue;
        bool is = !s->unsure && s->items <= items - counted; // who put an unsure one was told that it failed
        s->fate = is ? SETTLING_COUNTED : SETTLING_STALE;
        counted += is ? s->items : 0;
        d->decided_n++;
    }
    pthread_mutex_unlock(&d->settling_lock);
    return counted;
}

// Takes out up to FLUSH_AT_ONCE letters whose fate is known.
static size_t take_decided(struct dead_letters *d, struct letter_settling *out)
{
    size_t n = 0, kept = 0;
    pthread_mutex_lock(&d->settling_lock);
    for (size_t i = 0; i < d->settling_n && d->decided_n > 0; i++) {
        if (d->settling[i].fate != SETTLING_WAITS && n < FLUSH_AT_ONCE)
            out[n++] = d->settling[i];
        else
            d->settling[kept++] = d->settling[i];
    }
    d->settling_n = d->decided_n > 0 ? kept : d->settling_n;
    d->decided_n -= n;
    pthread_mutex_unlock(&d->settling_lock);
    return n;
}

static void give_back(struct dead_letters *d, const struct letter_settling *some, size_t n)
{
    pthread_mutex_lock(&d->settling_lock);
    for (size_t i = 0; i < n && d->settling_n < d->settling_cap; i++) { // else the next start finds it
        d->settling[d->settling_n++] = some[i];
        d->decided_n++;
    }
    pthread_mutex_unlock(&d->settling_lock);
}

static int store_fates(struct spool *spool, const struct letter_settling *some, size_t n)
{
    struct letters_txn x;
    int code = letters_ready(spool, NULL);
    if (code != WEIR_OK)
        return code == WEIR_E_NOT_FOUND ? WEIR_OK : code;
    letters_limit_file(spool, true);
    code = letters_begin(spool, &x, NULL);
    if (code != WEIR_OK)
        return code;
    for (size_t i = 0; i < n; i++) {
        const struct lane_record *r = &some[i].lane->record; // its name does not change
        uint8_t copy[REMARK_BYTES_MAX];
        struct remark remark;
        struct letter_key key;
        struct letter_lane *lane = letter_lane_find(&x.lanes, r->upstream, strlen(r->upstream), r->signal, false);
        letter_key_put(&key, some[i].block, some[i].item, r->upstream, strlen(r->upstream));
        letters_remark_get(&x, &key, copy, &remark);
        if (!remark.settling || lane == NULL)
            continue;
        remark.settling = false;
        if (some[i].fate == SETTLING_STALE)
            letters_remove(&x, &key, LETTER_FORGOTTEN, 0);
        else
            letters_remark_set(&x, &key, lane, &remark);
    }
    return letters_commit(&x, NULL);
}

void letters_flush(struct spool *spool)
{
    struct dead_letters *d = spool->dead_letters;
    struct letter_settling some[FLUSH_AT_ONCE];
    pthread_mutex_lock(&d->flush_lock);
    for (size_t n = take_decided(d, some); n > 0; n = take_decided(d, some)) {
        int code = state_commit(spool, false, NULL); // the settlement first
        pthread_mutex_lock(&d->lock);
        if (code == WEIR_OK)
            code = store_fates(spool, some, n);
        pthread_mutex_unlock(&d->lock);
        if (code != WEIR_OK) {
            give_back(d, some, n);
            break;
        }
    }
    pthread_mutex_unlock(&d->flush_lock);
}

// --- at start --------------------------------------------------------------------------------------------------------------

// Whether the lane still has to deliver that block.
static bool is_pending(struct spool *spool, const struct letter_lane *lane, uint64_t block)
{
    bool pending = false;
    pthread_mutex_lock(&spool->lanes_lock);
    for (size_t i = 0; i < spool->lanes_n; i++) {
        const struct lane_record *r = &spool->lanes[i]->record;
        if (r->signal != lane->signal || strcmp(r->upstream, lane->upstream) != 0)
            continue;
        for (size_t k = 0; k < r->set.n && !pending; k++)
            pending = r->set.at[k].first.number <= block && block < r->set.at[k].end.number;
    }
    pthread_mutex_unlock(&spool->lanes_lock);
    return pending;
}

static void resolve(struct letters_txn *x, const struct letter_key *key, struct remark *remark)
{
    struct weir_slice value;
    struct letter_view view;
    struct letter_lane *lane =
        letters_value(x, key, &value) && letter_view_head(value, &view) ? letters_lane_of(x, &view) : NULL;
    if (lane == NULL) {
        MDB_val k = {key->len, (void *)(uintptr_t)key->bytes};
        if (x->t.rc == 0)
            x->t.rc = mdb_del(x->t.txn, x->spool->dead_letters->remarks, &k, NULL);
        return;
    }
    remark->settling = false;
    if (is_pending(x->spool, lane, view.block))
        letters_remove(x, key, LETTER_FORGOTTEN, 0);
    else
        letters_remark_set(x, key, lane, remark);
}

// Collects up to `max` keys behind *after that are being settled. Returns how many.
static size_t find_settling(struct letters_txn *x, struct letter_key *out, size_t max)
{
    struct dead_letters *d = x->spool->dead_letters;
    MDB_cursor *cursor = NULL;
    MDB_val k, v;
    size_t n = 0;
    if (x->t.rc == 0)
        x->t.rc = mdb_cursor_open(x->t.txn, d->remarks, &cursor);
    if (x->t.rc != 0)
        return 0;
    int rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST);
    for (; rc == 0 && n < max; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
        struct remark remark;
        bool settling = remark_get((struct weir_slice){v.mv_data, v.mv_size}, &remark, NULL) == WEIR_OK &&
                        remark.settling && k.mv_size <= sizeof(out->bytes);
        if (!settling)
            continue;
        memcpy(out[n].bytes, k.mv_data, k.mv_size);
        out[n++].len = k.mv_size;
    }
    mdb_cursor_close(cursor);
    if (rc != 0 && rc != MDB_NOTFOUND)
        x->t.rc = rc;
    return n;
}

int letters_resolve(struct spool *spool, struct weir_err *err)
{
    struct letter_key *keys = calloc(FLUSH_AT_ONCE, sizeof(*keys));
    int code = keys != NULL ? WEIR_OK : weir_fail(err, WEIR_E_NOMEM, "dead letters: out of memory");
    for (bool more = true; more && code == WEIR_OK;) {
        struct letters_txn x;
        letters_limit_file(spool, true);
        code = letters_begin(spool, &x, err);
        if (code != WEIR_OK)
            break;
        size_t n = find_settling(&x, keys, FLUSH_AT_ONCE);
        for (size_t i = 0; i < n; i++) {
            uint8_t copy[REMARK_BYTES_MAX];
            struct remark remark;
            letters_remark_get(&x, &keys[i], copy, &remark);
            resolve(&x, &keys[i], &remark);
        }
        more = n == FLUSH_AT_ONCE;
        if (n == 0 && x.t.rc == 0)
            letters_abort(&x); // nothing to write
        else
            code = letters_commit(&x, err);
    }
    free(keys);
    return code;
}
