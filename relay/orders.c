// SPDX-License-Identifier: Apache-2.0
#include "relay/orders.h"

#include <stdio.h>

#include "relay/lane_notes.h"
#include "relay/log.h"
#include "relay/relay.h"
#include "storage/note.h"
#include "storage/stats.h"

#define DRAIN_KEY     "draining"
#define PAUSED_PREFIX "paused/"

// Names in the configuration have 64 characters at most.
static void paused_key(const char *upstream, char key[SPOOL_NOTE_KEY_BYTES + 1])
{
    snprintf(key, SPOOL_NOTE_KEY_BYTES + 1, PAUSED_PREFIX "%.120s", upstream);
}

// The note holds since when. False: there is none.
static bool read_order(struct relay *relay, const char *key, uint64_t *since_ns, struct weir_err *err, int *code)
{
    struct weir_buf value = {0};
    *code = spool_note_get(relay->spool, key, &value, err);
    *since_ns = *code == WEIR_OK && value.len == 8 ? weir_get_u64(value.data) : 0;
    weir_buf_free(&value);
    return *code == WEIR_OK;
}

static int write_order(struct relay *relay, const char *key, bool on, struct weir_err *err)
{
    uint8_t since[8];
    weir_put_u64(since, weir_now_unix_ns());
    return on ? spool_note_put(relay->spool, key, (struct weir_slice){since, sizeof(since)}, true, err)
              : spool_note_remove(relay->spool, key, true, err);
}

// What was ordered before: its note may not have been put, or may not be durable.
static int write_again(struct relay *relay, const char *key, bool on, struct weir_err *err)
{
    int code;
    uint64_t since_ns;
    bool there = read_order(relay, key, &since_ns, NULL, &code);
    return there && on ? spool_sync_state(relay->spool, err) : write_order(relay, key, on, err);
}

static void paused_key_of(const struct spool_lane *lane, char key[SPOOL_NOTE_KEY_BYTES + 1])
{
    paused_key(spool_lane_upstream(lane), key);
}

int orders_forget_removed(struct spool *spool, struct weir_err *err)
{
    return lane_notes_forget(spool, PAUSED_PREFIX, paused_key_of, err);
}

int orders_restore(struct relay *relay, struct weir_err *err)
{
    int code;
    uint64_t since_ns;
    if (read_order(relay, DRAIN_KEY, &since_ns, err, &code)) {
        atomic_store(&relay->orders.since_ns, since_ns);
        atomic_store(&relay->orders.draining, true);
        log_event(LOG_WARN, "draining", "weir drains, as it did before: it takes no data until `weir drain --cancel`");
    }
    for (size_t i = 0; i < relay->replay_count && code != WEIR_E_NOMEM; i++) {
        const char *name = replay_upstream(relay->replays[i])->name;
        char key[SPOOL_NOTE_KEY_BYTES + 1];
        paused_key(name, key);
        if (!read_order(relay, key, &since_ns, err, &code))
            continue;
        replay_pause(relay->replays[i], true);
        log_event(LOG_WARN, "upstream_paused", "the upstream is paused, as it was before: `weir resume` lets it go on",
                  LOG_STR("upstream", name));
    }
    return code == WEIR_E_NOMEM ? code : WEIR_OK;
}

int orders_drain(struct relay *relay, bool on, bool *changed, struct weir_err *err)
{
    struct orders *orders = &relay->orders;
    *changed = atomic_load(&orders->draining) != on;
    if (*changed) {
        atomic_store(&orders->since_ns, on ? weir_now_unix_ns() : 0);
        atomic_store(&orders->synced, false);
        atomic_store(&orders->draining, on);
        log_event(LOG_WARN, on ? "draining" : "drain_cancelled",
                  on ? "weir drains, by command: it takes no data, and delivers what it has"
                     : "the draining was taken back, by command: weir takes data again");
        return write_order(relay, DRAIN_KEY, on, err);
    }
    return write_again(relay, DRAIN_KEY, on, err);
}

int orders_pause(struct relay *relay, struct replay *replay, bool paused, bool *changed, struct weir_err *err)
{
    const char *name = replay_upstream(replay)->name;
    char key[SPOOL_NOTE_KEY_BYTES + 1];
    *changed = replay_is_paused(replay) != paused;
    paused_key(name, key);
    if (!*changed)
        return write_again(relay, key, paused, err);
    replay_pause(replay, paused);
    log_event(LOG_WARN, paused ? "upstream_paused" : "upstream_resumed",
              paused ? "the upstream is paused, by command: its data waits in the spool"
                     : "the upstream is resumed, by command",
              LOG_STR("upstream", name));
    return write_order(relay, key, paused, err);
}

int orders_forget(struct relay *relay, const char *upstream, struct weir_err *err)
{
    char key[SPOOL_NOTE_KEY_BYTES + 1];
    paused_key(upstream, key);
    return write_order(relay, key, false, err);
}

void orders_drain_state(struct relay *relay, struct drain_state *out)
{
    *out = (struct drain_state){.draining = atomic_load(&relay->orders.draining),
                                .since_unix_ns = atomic_load(&relay->orders.since_ns)};
    // In this order: a request that passed ingest before it saw the order holds a promise until its data is in the lanes.
    atomic_thread_fence(memory_order_seq_cst);
    bool waits = atomic_load(&relay->budget.promised) > 0;
    for (size_t i = 0; i < relay->replay_count; i++) {
        struct replay_stats stats;
        replay_stats_get(relay->replays[i], &stats);
        for (int signal = 0; signal < WEIR_SIGNALS; signal++) {
            struct spool_lane_stats ledger = {0};
            if (stats.lanes[signal].lane != NULL)
                spool_lane_stats_get(stats.lanes[signal].lane, &ledger);
            out->pending_items += ledger.pending;
        }
    }
    out->empty = out->draining && !waits && out->pending_items == 0;
    out->drained = out->empty && atomic_load(&relay->orders.synced);
}

void orders_look(struct relay *relay)
{
    struct orders *orders = &relay->orders;
    struct drain_state state = {0};
    if (atomic_load(&orders->draining))
        orders_drain_state(relay, &state);
    if (state.empty != state.drained || !state.empty)
        atomic_store(&orders->synced, state.empty && spool_sync_state(relay->spool, NULL) == WEIR_OK);
    state.drained = state.empty && atomic_load(&orders->synced);
    if (state.drained && !orders->told_drained)
        log_event(LOG_INFO, "drained", "weir is drained: everything that it took is delivered, and it takes no data");
    orders->told_drained = state.drained;
}
