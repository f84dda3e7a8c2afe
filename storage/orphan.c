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
