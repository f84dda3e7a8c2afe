// SPDX-License-Identifier: Apache-2.0
// A lane: when it sends, and what a verdict does to its blocks.
//
// `todo` is what the spool's lane holds less what is under way. Blocks are taken from it (replay_take.c), the oldest first; what is not
// delivered is put back and comes next again. Only a verdict takes blocks out of the spool's lane (settle), so a crash repeats what was
// under way and skips nothing.
#include "relay/replay_priv.h"

#include "relay/log.h"

static void fill_todo(struct replay_lane *lane)
{
    uint64_t front = lane->todo.count > 0 ? lane->todo.at[0].first : UINT64_MAX;
    size_t count = spool_lane_intervals(lane->spool_lane, lane->todo.at, TODO_INTERVALS_MAX);
    lane->todo.count = count < TODO_INTERVALS_MAX ? count : TODO_INTERVALS_MAX;
    handoff_filled(lane);
    // What is damaged lies ahead of older data now, which may not be.
    if (count > 0 && lane->todo.at[0].first < front)
        memset(lane->cursors, 0, sizeof(lane->cursors));
}

int lane_open(struct replay *replay, enum weir_signal signal, struct weir_err *err)
{
    struct replay_lane *lane = &replay->lanes[signal];
    *lane = (struct replay_lane){.replay = replay, .signal = signal};
    if ((replay->upstream->signals & (1u << signal)) == 0)
        return WEIR_OK;
    for (size_t i = 0; i < replay->endpoints.count; i++) {
        const struct config_target *target = endpoint_target(replay, i);
        bool grpc = target->protocol == CONFIG_PROTOCOL_GRPC;
        if (asprintf(&lane->paths[i], "%s%s", grpc ? "" : target->base_path,
                     grpc ? otlp_services[signal].grpc_path : otlp_services[signal].http_path) < 0) {
            lane->paths[i] = NULL;
            return weir_fail(err, WEIR_E_NOMEM, "out of memory");
        }
    }
    enum spool_start start = replay->upstream->start == CONFIG_START_OLDEST ? SPOOL_START_OLDEST : SPOOL_START_NOW;
    int rc = spool_lane_open(replay->spool, replay->upstream->name, signal, start, &lane->spool_lane, err);
    if (rc != WEIR_OK)
        return rc;
    fill_todo(lane);
    return handoff_open(lane, err);
}

void lane_put_back(struct replay_lane *lane, uint64_t first, uint64_t end)
{
    todo_put_back(&lane->todo, first, end);
    lane->dry = lane->fresh.dry = false;
}

bool lane_may_send(const struct replay_lane *lane, uint64_t now_ns)
{
    const struct replay *replay = lane->replay;
    if (lane->spool_lane == NULL || lane->buried_turn == replay->turn)
        return false;
    if (backoff_waits(&lane->backoff, now_ns))
        return false;
    if (endpoint_on_trial(replay) && lane->turned_away > 0 && replay->in_flight > 0)
        return false;
    // After a failure one export shows whether it has passed, and the rest waits for it.
    bool one = lane->backoff.failures > 0 || lane_is_strict(lane);
    return lane->in_flight < (one ? 1 : replay->upstream->max_in_flight);
}

void lanes_forget_limits(struct replay *replay)
{
    for (int i = 0; i < WEIR_SIGNALS; i++)
        replay->lanes[i].size_limit = (struct size_limit){0};
}

uint64_t lane_bytes_max(const struct replay_lane *lane)
{
    uint64_t bytes = lane->replay->export_bytes, learnt = lane->size_limit.bytes;
    return learnt > 0 && learnt < bytes ? learnt : bytes;
}

// --- sending -----------------------------------------------------------------------------------------------------------------

void lane_damaged(struct replay_lane *lane, const struct export *export, const struct weir_err *err)
{
    if (export->view_count == 1)
        lane_lose(lane, export->first, export->end, err);
    else
        lane->cursors[export->cursor].single_until = export->end; // one by one, to find the damaged one
}

static bool send_blocks(struct export *export)
{
    struct replay_lane *lane = export->lane;
    struct weir_err err = {0};
    lane->behind = lane->fresh.active || weir_now_unix_ns() > export->oldest_received_ns + BEHIND_NS;
    int rc = export_send(export, NULL, &err);
    if (rc == WEIR_OK)
        return true;
    lane_put_back(lane, export->first, export->end);
    if (rc == WEIR_E_CORRUPT)
        lane_damaged(lane, export, &err);
    else
        lane_fail_here(lane);
    export_free(export);
    return true;
}

void lane_drop_ready(struct replay_lane *lane)
{
    struct export *export = lane->ready;
    if (export == NULL)
        return;
    lane->ready = NULL;
    lane_put_back(lane, export->first, export->end);
    export_free(export);
}

// The export that was taken before, or the next blocks. NULL: nothing is to be sent; *more: there may be, after something else.
static struct export *next_export(struct replay_lane *lane, bool *more)
{
    struct export *export = lane->ready;
    *more = false;
    lane->ready = NULL;
    if (export != NULL)
        return export;
    export = export_new(lane);
    if (export == NULL || !lane_take(export)) {
        if (export != NULL)
            export_free(export);
        return NULL;
    }
    if (export->too_old) {
        lane_bury_old(export);
        *more = true;
        return NULL;
    }
    fresh_sent(&lane->fresh, lane->replay->upstream->fresh_share, export->cursor, export->raw_bytes,
               lane->replay->export_bytes);
    return export;
}

bool lane_send_next(struct replay_lane *lane)
{
    struct replay *replay = lane->replay;
    if (split_has_work(lane) && !lane->split.under_way) {
        if (lane->look_again)
            split_drop_gone(lane);
        if (split_has_work(lane)) // how large its next part is shows when it is made
            return flow_may_start(replay, GOVERNOR_PROBE_BYTES) && split_send_next(lane);
    }
    if (lane->look_again)
        lane_drop_ready(lane);
    bool all_ended = lane->in_flight == 0 && !split_has_work(lane) && lane->ready == NULL;
    if (lane->look_again && !all_ended)
        return false; // what is under way is in the spool's intervals, too
    if (all_ended && (lane->look_again || lane->todo.count == 0))
        fill_todo(lane);
    lane->look_again = false;
    // What is refused waits in memory: so it counts as if it were under way.
    bool full = lane_is_strict(lane) || lane->in_flight + lane->refused_count >= replay->upstream->max_in_flight;
    if ((lane->dry && lane->ready == NULL) || (lane->split.active && full))
        return false;
    bool more;
    struct export *export = next_export(lane, &more);
    if (export == NULL)
        return more;
    if (export->raw_bytes > lane_bytes_max(lane) && export->items > 1) {
        split_take_over(export, NULL);
        return true;
    }
    if (flow_may_start(replay, export->raw_bytes))
        return send_blocks(export);
    lane->ready = export;
    return false;
}

// --- verdicts ---------------------------------------------------------------------------------------------------------------

void lane_fail(struct replay_lane *lane, const struct export *export, const struct verdict *verdict)
{
    struct backoff_policy policy = replay_policy(lane->replay);
    uint64_t now_ns = weir_now_ns();
    double random = replay_random(lane->replay);
    // Exports that were under way together and fail together are one failure; the longest delay that one was told counts (U2).
    if (backoff_is_older(&lane->backoff, export->started_ns)) {
        backoff_extend(&lane->backoff, verdict->retry_after_ms, random, now_ns);
        return;
    }
    lane->held = verdict->kind == VERDICT_HOLD;
    if (lane->held) // a person is needed: slowly, but never given up
        policy.initial_ms = policy.max_ms;
    backoff_fail(&lane->backoff, &policy, verdict->retry_after_ms, random, now_ns);
}

void lane_fail_here(struct replay_lane *lane)
{
    struct backoff_policy policy = replay_policy(lane->replay);
    backoff_fail(&lane->backoff, &policy, 0, replay_random(lane->replay), weir_now_ns());
}

void lane_cannot_keep(struct replay_lane *lane, const struct weir_err *err)
{
    static struct log_limit limit = LOG_LIMIT(10000);
    log_event_limited(&limit, LOG_ERROR, "dead_letter_failed",
                      "cannot keep what the upstream will not get: the lane waits with it",
                      LOG_STR("upstream", lane->replay->upstream->name),
                      LOG_STR("signal", weir_signal_name(lane->signal)), LOG_ERR(err));
    replay_note_here(lane, err->code == WEIR_E_FULL ? "dead_letters_full" : "dead_letters", err->text);
    lane->cannot_keep = true;
    lane_fail_here(lane);
}

void lane_recover(struct replay_lane *lane, const struct export *export)
{
    if (backoff_is_older(&lane->backoff, export->started_ns))
        return;
    lane->held = lane->cannot_keep = false;
    lane->failure_told = false;
    backoff_reset(&lane->backoff);
}

void lane_export_done(struct export *export, const struct verdict *verdict)
{
    struct replay_lane *lane = export->lane;
    if (verdict->kind == VERDICT_DELIVERED) {
        uint64_t rejected = verdict->rejected_items > 0 ? (uint64_t)verdict->rejected_items : 0;
        struct spool_outcome outcome = {.delivered = export->items,
                                        .rejected_by_upstream = rejected < export->items ? rejected : export->items};
        spool_lane_settle(lane->spool_lane, export->first, export->end, &outcome);
        lane->refused_in_a_row = 0;
        size_limit_taken(&lane->size_limit, export->raw_bytes);
        lane_recover(lane, export);
        return;
    }
    if (verdict->kind == VERDICT_SPLIT || verdict->kind == VERDICT_REJECT) {
        lane_recover(lane, export);
        split_take_over(export, verdict);
        return;
    }
    lane_put_back(lane, export->first, export->end);
    if (export->lane_waits)
        lane_fail(lane, export, verdict);
}
