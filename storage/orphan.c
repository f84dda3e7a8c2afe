// SPDX-License-Identifier: Apache-2.0
// Lanes that nobody opened since start: their upstream, or that signal of it, left the configuration.
#include "storage/keeper.h"
#include "storage/spool_priv.h"

size_t spool_orphan_lanes(struct spool *spool, struct spool_lane **out, size_t max)
{
    size_t n = 0;
    pthread_mutex_lock(&spool->lanes_lock);
    for (size_t i = 0; i < spool->lanes_n; i++) {
        if (spool->lanes[i]->attached)
            continue;
        if (n < max)
            out[n] = spool->lanes[i];
        n++;
    }
    pthread_mutex_unlock(&spool->lanes_lock);
    return n;
}

const char *spool_lane_upstream(const struct spool_lane *lane)
{
    return lane->record.upstream; // does not change
}

enum weir_signal spool_lane_signal(const struct spool_lane *lane)
{
    return lane->record.signal;
}

void spool_orphans(struct spool *spool, spool_orphan_fn each, void *ctx)
{
    struct spool_lane *lanes[STATE_LANES_MAX];
    size_t n = spool_orphan_lanes(spool, lanes, STATE_LANES_MAX);
    for (size_t i = 0; i < n; i++) {
        pthread_mutex_lock(&spool->lanes_lock);
        struct mark now = lane_now(lanes[i]);
        uint64_t pending = intervals_count(&lanes[i]->record.set, &now).items;
        pthread_mutex_unlock(&spool->lanes_lock);
        each(ctx, lanes[i]->record.upstream, lanes[i]->record.signal, pending);
    }
}

// Under lanes_lock: nobody has it open, and nothing of it is left but its ledger.
static bool is_over(const struct spool_lane *lane)
{
    struct mark now = lane_now(lane);
    bool told = true;
    for (unsigned why = 0; why < SPOOL_LOSSES; why++)
        told = told && lane->untold[why].items == 0;
    return !lane->attached && told && lane->record.dead_lettered == 0 &&
           intervals_count(&lane->record.set, &now).blocks == 0;
}

// The one with the fewest items that were ever accepted: least is forgotten with it.
struct spool_lane *lane_forget(struct spool *spool)
{
    size_t at = spool->lanes_n;
    for (size_t i = 0; i < spool->lanes_n; i++)
        if (is_over(spool->lanes[i]) && (at == spool->lanes_n || spool->lanes[i]->record.accepted_before <
                                                                     spool->lanes[at]->record.accepted_before))
            at = i;
    if (at == spool->lanes_n)
        return NULL;
    struct spool_lane *lane = spool->lanes[at];
    memmove(spool->lanes + at, spool->lanes + at + 1, (--spool->lanes_n - at) * sizeof(struct spool_lane *));
    lane->forgotten_next = spool->forgotten; // whoever has it may go on looking at it
    spool->forgotten = lane;
    lane_changed(lane);
    return lane;
}

void lane_tell_forgotten(const struct spool_lane *lane)
{
    const struct spool *spool = lane->spool;
    const struct lane_record *r = &lane->record; // does not change any more
    struct spool_lane_stats s;
    char text[256];
    lane_record_stats(r, &(struct mark){0}, &s);
    snprintf(text, sizeof(text), "%llu items were accepted: %llu delivered, %llu evicted, %llu discarded",
             (unsigned long long)s.accepted, (unsigned long long)s.delivered, (unsigned long long)s.evicted,
             (unsigned long long)s.discarded);
    struct spool_event event = {
        .kind = SPOOL_EVENT_FORGOTTEN, .text = text, .upstream = r->upstream, .signal = r->signal};
    if (spool->on_event != NULL)
        spool->on_event(spool->ctx, &event);
}

int spool_lane_discard(struct spool_lane *lane, uint64_t *items, struct weir_err *err)
{
    struct spool *spool = lane->spool;
    *items = 0;
    pthread_mutex_lock(&spool->lanes_lock);
    bool used = lane->attached;
    if (!used && lane->record.set.n > 0) {
        struct mark now = lane_now(lane);
        *items = intervals_count(&lane->record.set, &now).items;
        lane->record.set.n = 0;
        lane->record.discarded += *items;
        lane_changed(lane);
        update_passed(spool);
    }
    pthread_mutex_unlock(&spool->lanes_lock);
    if (used)
        return weir_fail(err, WEIR_E_INVALID, "lane %s/%s is in use", lane->record.upstream,
                         weir_signal_name(lane->record.signal));
    int code = state_commit(spool, false, err); // also what an earlier one could not make durable
    keeper_wake(spool);
    return code;
}
