// SPDX-License-Identifier: Apache-2.0
// What leaves a lane's intervals: by a settlement, or because it can no longer be read. Intervals and ledger change together, by the same
// number of items, so whatever is told twice, or of what was evicted meanwhile, counts once.
#include "storage/keeper.h"
#include "storage/letters_priv.h"
#include "storage/spool_priv.h"

static uint64_t take(uint64_t *from, uint64_t most)
{
    uint64_t n = *from < most ? *from : most;
    *from -= n;
    return n;
}

// Enters `items` that left the intervals. What the outcome names beyond them was settled before (part of the range may have been
// lost or settled meanwhile) and does not count twice. Returns what it does not name: lost to this lane.
static uint64_t ledger_enter(struct lane_record *r, const struct spool_outcome *outcome, uint64_t items,
                             uint64_t *evicted)
{
    uint64_t dead_lettered = take(&items, outcome->dead_lettered);
    uint64_t discarded = take(&items, outcome->discarded);
    uint64_t delivered = take(&items, outcome->delivered);
    *evicted = take(&items, outcome->evicted);
    r->dead_lettered += dead_lettered;
    r->discarded += discarded;
    r->delivered += delivered;
    r->rejected_by_upstream += outcome->rejected_by_upstream < delivered ? outcome->rejected_by_upstream : delivered;
    return items;
}

static void widen(uint64_t *first_ns, uint64_t *last_ns, const struct lane_loss *loss)
{
    if (loss->received_first_ns != 0 && (*first_ns == 0 || loss->received_first_ns < *first_ns))
        *first_ns = loss->received_first_ns;
    if (loss->received_last_ns > *last_ns)
        *last_ns = loss->received_last_ns;
}

void lane_enter_loss(struct spool_lane *lane, enum spool_loss why, const struct lane_loss *loss)
{
    struct lane_record *r = &lane->record;
    struct lane_loss *untold = &lane->untold[why];
    r->evicted_by[why] += loss->items;
    widen(&r->evicted_received_first_ns, &r->evicted_received_last_ns, loss);
    if (untold->items == 0) {
        *untold = *loss;
    } else {
        untold->items += loss->items;
        untold->first = loss->first < untold->first ? loss->first : untold->first;
        untold->end = loss->end > untold->end ? loss->end : untold->end;
        widen(&untold->received_first_ns, &untold->received_last_ns, loss);
    }
    lane->spool->losses_untold = true;
    lane_changed(lane);
}

// The next one that was not told, taken out. Under lanes_lock.
static bool untold_take(struct spool *spool, struct spool_event *out)
{
    for (size_t i = 0; i < spool->lanes_n && spool->losses_untold; i++) {
        struct spool_lane *lane = spool->lanes[i];
        for (unsigned why = 0; why < SPOOL_LOSSES; why++) {
            struct lane_loss loss = lane->untold[why];
            if (loss.items == 0)
                continue;
            lane->untold[why] = (struct lane_loss){0};
            *out = (struct spool_event){.kind = SPOOL_EVENT_EVICTED,
                                        .first = loss.first,
                                        .end = loss.end,
                                        .upstream = lane->record.upstream, // both stay as long as the spool
                                        .signal = lane->record.signal,
                                        .loss = (enum spool_loss)why,
                                        .items = loss.items,
                                        .received_first_ns = loss.received_first_ns,
                                        .received_last_ns = loss.received_last_ns};
            return true;
        }
    }
    spool->losses_untold = false;
    return false;
}

void lanes_tell_losses(struct spool *spool)
{
    struct spool_event event;
    for (bool more = true; more;) {
        pthread_mutex_lock(&spool->lanes_lock);
        more = untold_take(spool, &event);
        pthread_mutex_unlock(&spool->lanes_lock);
        if (more && spool->on_event != NULL)
            spool->on_event(spool->ctx, &event);
    }
}

// --- settling ---------------------------------------------------------------------------------------------------------------

// Under lanes_lock: keeps it for lanes_settle_again, joined with its neighbour if there is one. Without room for it the blocks stay
// pending, and that is counted.
static void settle_later(struct spool *spool, const struct unsettled *what)
{
    for (size_t i = 0; i < spool->unsettled_n; i++) {
        struct unsettled *u = &spool->unsettled[i];
        if (u->lane != what->lane || u->lost != what->lost || (u->end != what->first && what->end != u->first))
            continue;
        u->first = what->first < u->first ? what->first : u->first;
        u->end = what->end > u->end ? what->end : u->end;
        u->outcome.delivered += what->outcome.delivered;
        u->outcome.rejected_by_upstream += what->outcome.rejected_by_upstream;
        u->outcome.dead_lettered += what->outcome.dead_lettered;
        u->outcome.discarded += what->outcome.discarded;
        u->outcome.evicted += what->outcome.evicted;
        return;
    }
    if (spool->unsettled_n < SPOOL_UNSETTLED_MAX)
        spool->unsettled[spool->unsettled_n++] = *what;
    else
        spool->settlements_dropped++;
}

// Between which receipts a stretch lies that cannot be read itself, as far as its neighbours can.
static void neighbours_times(struct spool *spool, struct lane_loss *loss)
{
    struct block_header h;
    if (spool_header_at(spool, loss->first, &h, NULL) == WEIR_OK)
        loss->received_first_ns = h.received_first_ns;
    else if (loss->first > 0 && spool_header_at(spool, loss->first - 1, &h, NULL) == WEIR_OK)
        loss->received_first_ns = h.received_last_ns;
    if (spool_header_at(spool, loss->end - 1, &h, NULL) == WEIR_OK)
        loss->received_last_ns = h.received_last_ns;
    else if (spool_header_at(spool, loss->end, &h, NULL) == WEIR_OK)
        loss->received_last_ns = h.received_first_ns;
    if (loss->received_first_ns == 0 || loss->received_last_ns < loss->received_first_ns)
        loss->received_first_ns = loss->received_last_ns;
    if (loss->received_last_ns == 0)
        loss->received_last_ns = loss->received_first_ns;
}

// Under lanes_lock: `items` left the intervals. Letters of blocks that were evicted before they could be settled are there: they are taken
// for accepted again.
static void enter(const struct unsettled *what, uint64_t items, struct lane_loss loss)
{
    struct spool_lane *lane = what->lane;
    struct lane_record *r = &lane->record;
    uint64_t before = r->dead_lettered, evicted;
    loss.items = ledger_enter(r, &what->outcome, items, &evicted);
    uint64_t letters =
        letters_settled(lane, what->first, what->end, what->lost ? UINT64_MAX : what->outcome.dead_lettered);
    if (letters > r->dead_lettered - before) {
        uint64_t again = letters - (r->dead_lettered - before);
        r->accepted_before += again;
        r->replayed += again;
        r->dead_lettered += again;
    }
    if (loss.items > 0)
        lane_enter_loss(lane, SPOOL_LOSS_DAMAGE, &loss);
    loss.items = evicted;
    if (evicted > 0)
        lane_enter_loss(lane, SPOOL_LOSS_LETTERS, &loss);
    lane_changed(lane);
}

static uint64_t take_out(const struct unsettled *what)
{
    struct spool_lane *lane = what->lane;
    struct spool *spool = lane->spool;
    struct mark a, b;
    struct interval_sum removed = {0};
    struct lane_loss loss = {what->first, what->end, 0, 0, 0};
    bool wake = false;
    bool known = spool_mark_at(spool, lane->record.signal, what->first, &a) == WEIR_OK && // may read: before the lock
                 spool_mark_at(spool, lane->record.signal, what->end, &b) == WEIR_OK;
    if (known && what->lost)
        neighbours_times(spool, &loss);
    pthread_mutex_lock(&spool->lanes_lock);
    struct mark now = lane_now(lane);
    if (known && intervals_subtract(&lane->record.set, a, b, &now, &removed)) {
        enter(what, removed.items, loss);
        update_passed(spool);
        spool->settled_blocks += (unsigned)(removed.blocks < SPOOL_STATE_BLOCKS ? removed.blocks : SPOOL_STATE_BLOCKS);
        wake = spool->settled_blocks >= SPOOL_STATE_BLOCKS;
        if (wake)
            spool->settled_blocks = 0;
    } else {
        settle_later(spool, what);
    }
    pthread_mutex_unlock(&spool->lanes_lock);
    if (wake)
        keeper_wake(spool);
    return removed.items;
}

void spool_lane_settle(struct spool_lane *lane, uint64_t first, uint64_t end, const struct spool_outcome *outcome)
{
    struct unsettled what = {lane, first, end, *outcome, false};
    if (first < end)
        take_out(&what);
}

uint64_t spool_lane_lost(struct spool_lane *lane, uint64_t first, uint64_t end)
{
    struct unsettled what = {.lane = lane, .first = first, .end = end, .lost = true};
    return first < end ? take_out(&what) : 0;
}

void lanes_settle_again(struct spool *spool)
{
    pthread_mutex_lock(&spool->lanes_lock);
    size_t n = spool->unsettled_n;
    pthread_mutex_unlock(&spool->lanes_lock);
    for (; n > 0; n--) { // each once: what must wait on goes to the end again
        pthread_mutex_lock(&spool->lanes_lock);
        bool more = spool->unsettled_n > 0;
        struct unsettled what = spool->unsettled[0];
        if (more)
            memmove(spool->unsettled, spool->unsettled + 1, --spool->unsettled_n * sizeof(what));
        pthread_mutex_unlock(&spool->lanes_lock);
        if (!more)
            return;
        take_out(&what);
    }
}
