// SPDX-License-Identifier: Apache-2.0
// What happens to letters, in one transaction each, and then to the lanes' ledgers.
//
// The file says how letters left each lane since it began, in the transaction that takes them out; each lane's record in state.mdb says how
// much of that its columns have. So a crash between the two is made up at the next start, and neither file waits for the other.
#include <errno.h>

#include "storage/letters_priv.h"
#include "storage/spool_priv.h"

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

// --- changes --------------------------------------------------------------------------------------------------------------

int letters_begin(struct spool *spool, struct letters_txn *x, struct weir_err *err)
{
    struct dead_letters *d = spool->dead_letters;
    *x = (struct letters_txn){.spool = spool, .totals = d->totals};
    x->lanes.at = calloc(d->lanes.n + 1, sizeof(*x->lanes.at));
    if (x->lanes.at == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "dead letters: out of memory");
    if (d->lanes.n > 0)
        memcpy(x->lanes.at, d->lanes.at, d->lanes.n * sizeof(*x->lanes.at));
    x->lanes.n = d->lanes.n;
    x->lanes.cap = d->lanes.n + 1;
    lmdb_begin(&x->t, d->env);
    if (x->t.rc == 0)
        return WEIR_OK;
    free(x->lanes.at);
    return lmdb_fail(err, x->t.rc, "dead letters");
}

void letters_abort(struct letters_txn *x)
{
    if (x->t.txn != NULL)
        mdb_txn_abort(x->t.txn);
    x->t.txn = NULL;
    free(x->lanes.at);
}

// As they are stored.
static bool differ(const struct letter_lane *a, const struct letter_lane *b)
{
    uint8_t x[LETTER_LANE_BYTES], y[LETTER_LANE_BYTES];
    letter_lane_put(x, a);
    letter_lane_put(y, b);
    return memcmp(x, y, sizeof(x)) != 0;
}

int letters_commit(struct letters_txn *x, struct weir_err *err)
{
    struct dead_letters *d = x->spool->dead_letters;
    for (size_t i = 0; i < x->lanes.n; i++)
        if (i >= d->lanes.n || differ(&x->lanes.at[i], &d->lanes.at[i]))
            letters_put_lane(&x->t, d, &x->lanes.at[i]);
    letters_put_totals(&x->t, d, &x->totals);
    bool aborted = x->t.rc != 0;
    int rc = lmdb_commit(&x->t);
    if (rc != 0) {
        if (!aborted)
            letters_drop_env(d); // whether the commit is there shows when it is opened again
        free(x->lanes.at);
        return lmdb_fail(err, rc, "dead letters");
    }
    free(d->lanes.at);
    d->lanes = x->lanes;
    d->totals = x->totals;
    letters_enter_moves(x->spool, false);
    return WEIR_OK;
}

// --- within a transaction --------------------------------------------------------------------------------------------------

bool letters_value(struct letters_txn *x, const struct letter_key *key, struct weir_slice *out)
{
    MDB_val k = {key->len, (void *)(uintptr_t)key->bytes}, v;
    int rc = x->t.rc == 0 ? mdb_get(x->t.txn, x->spool->dead_letters->letters, &k, &v) : MDB_NOTFOUND;
    if (rc != 0 && rc != MDB_NOTFOUND)
        x->t.rc = rc;
    if (rc == 0)
        *out = (struct weir_slice){v.mv_data, v.mv_size};
    return rc == 0;
}

void letters_remark_read(MDB_txn *txn, MDB_dbi remarks, const struct letter_key *key, uint8_t copy[REMARK_BYTES_MAX],
                         struct remark *out)
{
    MDB_val k = {key->len, (void *)(uintptr_t)key->bytes}, v;
    *out = (struct remark){0};
    if (mdb_get(txn, remarks, &k, &v) != 0 || v.mv_size > REMARK_BYTES_MAX)
        return;
    memcpy(copy, v.mv_data, v.mv_size);
    remark_get((struct weir_slice){copy, v.mv_size}, out, NULL); // a damaged one says nothing
}

void letters_remark_get(struct letters_txn *x, const struct letter_key *key, uint8_t copy[REMARK_BYTES_MAX],
                        struct remark *out)
{
    *out = (struct remark){0};
    if (x->t.rc == 0)
        letters_remark_read(x->t.txn, x->spool->dead_letters->remarks, key, copy, out);
}

void letters_remark_set(struct letters_txn *x, const struct letter_key *key, struct letter_lane *lane,
                        const struct remark *remark)
{
    MDB_dbi dbi = x->spool->dead_letters->remarks;
    uint8_t record[REMARK_BYTES_MAX], copy[REMARK_BYTES_MAX];
    struct remark old;
    letters_remark_get(x, key, copy, &old);
    lane->marked += remark->redrive && !old.redrive;
    lane->marked -= !remark->redrive && old.redrive && lane->marked > 0;
    if (remark->settling || remark->redrive || remark->redrives > 0) {
        uint32_t bytes = remark_put(record, remark);
        lmdb_put(&x->t, dbi, (struct weir_slice){key->bytes, key->len}, (struct weir_slice){record, bytes}, 0);
    } else if (x->t.rc == 0) {
        MDB_val k = {key->len, (void *)(uintptr_t)key->bytes};
        int rc = mdb_del(x->t.txn, dbi, &k, NULL);
        x->t.rc = rc == MDB_NOTFOUND ? 0 : rc;
    }
}

struct letter_lane *letters_lane_of(struct letters_txn *x, const struct letter_view *view)
{
    struct letter_lane *lane =
        letter_lane_find(&x->lanes, (const char *)view->upstream.data, view->upstream.len, view->signal, true);
    if (lane == NULL && x->t.rc == 0)
        x->t.rc = ENOMEM;
    return lane;
}

static void count_end(struct letter_lane *lane, const struct letter_view *view, enum letter_end end, uint64_t rejected)
{
    lane->redriven_requests += end == LETTER_REDRIVEN;
    lane->purged_requests += end == LETTER_PURGED;
    lane->evicted_requests += end == LETTER_EVICTED;
    if (end == LETTER_REDRIVEN) {
        lane->moves.delivered += view->items;
        lane->moves.rejected += least(rejected, view->items);
    } else if (end == LETTER_PURGED) {
        lane->moves.discarded += view->items;
    } else if (end == LETTER_EVICTED) {
        struct letter_loss *loss = &lane->loss;
        lane->moves.evicted += view->items;
        if (loss->end == 0 || view->block < loss->first)
            loss->first = view->block;
        loss->end = view->block >= loss->end ? view->block + 1 : loss->end;
        if (loss->received_first_ns == 0 || view->received_ns < loss->received_first_ns)
            loss->received_first_ns = view->received_ns;
        if (view->received_ns > loss->received_last_ns)
            loss->received_last_ns = view->received_ns;
    }
}

bool letters_remove(struct letters_txn *x, const struct letter_key *key, enum letter_end end, uint64_t rejected)
{
    static const struct remark none;
    struct dead_letters *d = x->spool->dead_letters;
    struct weir_slice value;
    struct letter_view view;
    MDB_val k = {key->len, (void *)(uintptr_t)key->bytes};
    if (!letters_value(x, key, &value))
        return false;
    bool whole = letter_view_head(value, &view);
    struct letter_lane *lane = whole ? letters_lane_of(x, &view) : NULL;
    uint64_t bytes = letter_pages_bytes(value.len), items = whole ? view.items : 0;
    x->totals.requests -= least(1, x->totals.requests);
    x->totals.items -= least(items, x->totals.items);
    x->totals.bytes -= least(bytes, x->totals.bytes);
    if (lane != NULL) {
        lane->requests -= least(1, lane->requests);
        lane->items -= least(items, lane->items);
        lane->bytes -= least(bytes, lane->bytes);
        count_end(lane, &view, end, rejected);
        letters_remark_set(x, key, lane, &none);
    }
    if (x->t.rc == 0)
        x->t.rc = mdb_del(x->t.txn, d->letters, &k, NULL);
    return x->t.rc == 0;
}

void letters_add(struct letters_txn *x, const struct letter_key *key, const struct letter_view *view,
                 struct weir_slice value, const struct remark *remark)
{
    struct letter_lane *lane = letters_lane_of(x, view);
    x->totals.requests++;
    x->totals.items += view->items;
    x->totals.bytes += letter_pages_bytes(value.len);
    lmdb_put(&x->t, x->spool->dead_letters->letters, (struct weir_slice){key->bytes, key->len}, value, 0);
    if (lane == NULL)
        return;
    lane->requests++;
    lane->items += view->items;
    lane->bytes += letter_pages_bytes(value.len);
    letters_remark_set(x, key, lane, remark);
}

bool letters_is_busy(const struct spool *spool, const struct letter_key *key)
{
    const struct dead_letters *d = spool->dead_letters;
    for (size_t i = 0; i < LETTERS_BUSY; i++)
        if (d->busy[i].len == key->len && memcmp(d->busy[i].bytes, key->bytes, key->len) == 0)
            return true;
    return false;
}

// --- the ledgers ------------------------------------------------------------------------------------------------------------

uint64_t letters_enter_record(struct lane_record *r, const struct letter_moves *to)
{
    const struct letter_moves *from = &r->letters_entered;
    uint64_t delivered = least(r->dead_lettered, to->delivered - from->delivered);
    r->dead_lettered -= delivered;
    r->delivered += delivered;
    r->rejected_by_upstream += least(delivered, to->rejected - from->rejected);
    uint64_t discarded = least(r->dead_lettered, to->discarded - from->discarded);
    r->dead_lettered -= discarded;
    r->discarded += discarded;
    uint64_t evicted = least(r->dead_lettered, to->evicted - from->evicted);
    r->dead_lettered -= evicted;
    r->letters_entered = *to;
    return evicted;
}

static void enter(struct spool_lane *lane, const struct letter_moves *to, const struct letter_loss *loss)
{
    struct lane_loss lost = {.first = loss->first,
                             .end = loss->end,
                             .items = letters_enter_record(&lane->record, to),
                             .received_first_ns = loss->received_first_ns,
                             .received_last_ns = loss->received_last_ns};
    if (lost.items > 0)
        lane_enter_loss(lane, SPOOL_LOSS_LETTERS, &lost);
}

bool letters_record_knows(const struct lane_record *record, uint64_t file_id, const struct letter_moves *moves)
{
    const struct letter_moves *entered = &record->letters_entered;
    // A file that was put back from a copy knows less than the ledger: then the letters alone say what is there.
    bool behind = moves->delivered < entered->delivered || moves->rejected < entered->rejected ||
                  moves->discarded < entered->discarded || moves->evicted < entered->evicted;
    return record->letters_file_id == file_id && !behind;
}

// What the file has beyond the ledger is taken for accepted again, like a replay; what it has not is lost.
uint64_t letters_adopt_record(struct lane_record *r, uint64_t items)
{
    uint64_t lost = items < r->dead_lettered ? r->dead_lettered - items : 0;
    uint64_t again = items > r->dead_lettered ? items - r->dead_lettered : 0;
    r->accepted_before += again;
    r->replayed += again;
    r->dead_lettered = items;
    return lost;
}

static void adopt_items(struct spool_lane *lane, uint64_t items)
{
    struct lane_loss lost = {.items = letters_adopt_record(&lane->record, items)};
    if (lost.items > 0)
        lane_enter_loss(lane, SPOOL_LOSS_DAMAGE, &lost);
    lane_changed(lane);
}

// Under lanes_lock.
static void enter_lane(struct spool_lane *lane, bool adopt)
{
    struct dead_letters *d = lane->spool->dead_letters;
    struct lane_record *r = &lane->record;
    static const struct letter_lane none;
    struct letter_lane *mine = letter_lane_find(&d->lanes, r->upstream, strlen(r->upstream), r->signal, false);
    const struct letter_lane *is = mine != NULL ? mine : &none;
    bool known = letters_record_knows(r, d->totals.file_id, &is->moves);
    bool moved = memcmp(&r->letters_entered, &is->moves, sizeof(is->moves)) != 0;
    if (known && moved)
        enter(lane, &is->moves, &is->loss);
    if (mine != NULL)
        mine->loss = (struct letter_loss){0};
    r->letters_file_id = d->totals.file_id;
    r->letters_entered = is->moves;
    if (!known || moved)
        lane_changed(lane);
    if (adopt && r->dead_lettered != is->items)
        adopt_items(lane, is->items);
}

void letters_enter_moves(struct spool *spool, bool adopt)
{
    pthread_mutex_lock(&spool->lanes_lock);
    for (size_t i = 0; i < spool->lanes_n; i++)
        enter_lane(spool->lanes[i], adopt);
    pthread_mutex_unlock(&spool->lanes_lock);
}

void letters_lane_begin(struct spool_lane *lane)
{
    struct dead_letters *d = lane->spool->dead_letters;
    pthread_mutex_lock(&d->lock);
    pthread_mutex_lock(&lane->spool->lanes_lock);
    if (d->started && lane->record.letters_file_id != d->totals.file_id)
        enter_lane(lane, true);
    pthread_mutex_unlock(&lane->spool->lanes_lock);
    pthread_mutex_unlock(&d->lock);
}
