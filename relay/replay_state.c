// SPDX-License-Identifier: Apache-2.0
// What a replay worker shows of itself: its state and its lanes', what went wrong last, and the lines in the log about it.
#include "relay/replay_priv.h"

#include "relay/log.h"
#include "storage/stats.h"

// Copies what went wrong. True: in other words than the last time.
static bool set_error(uint64_t *unix_ns, char code[32], char message[256], const struct verdict *verdict)
{
    bool changed = strncmp(code, verdict->code, 31) != 0 || strncmp(message, verdict->message, 255) != 0;
    *unix_ns = weir_now_unix_ns();
    snprintf(code, 32, "%s", verdict->code);
    snprintf(message, 256, "%s", verdict->message);
    return changed;
}

static bool set_upstream_error(struct replay_stats *stats, const struct verdict *verdict)
{
    return set_error(&stats->error_unix_ns, stats->error_code, stats->error_message, verdict);
}

void replay_note_unreachable(struct replay *replay, const struct verdict *verdict)
{
    pthread_mutex_lock(&replay->lock);
    bool news = set_upstream_error(&replay->stats, verdict) || !replay->failure_told;
    pthread_mutex_unlock(&replay->lock);
    replay->failure_told = replay->backlog_news = true;
    log_event(news ? LOG_WARN : LOG_DEBUG, "export_failed",
              "the upstream was not reached: its data stays in the spool and goes again",
              LOG_STR("upstream", replay->upstream->name), LOG_STR("code", verdict->code),
              LOG_STR("error", verdict->message));
}

void replay_note_refusal(struct replay_lane *lane, const struct verdict *verdict)
{
    struct replay *replay = lane->replay;
    struct replay_lane_stats *stats = &replay->stats.lanes[lane->signal];
    bool passes = verdict->kind == VERDICT_RETRY, held = verdict->kind == VERDICT_HOLD, other_held = false;
    for (int i = 0; i < WEIR_SIGNALS; i++)
        other_held = other_held || replay->lanes[i].held;
    pthread_mutex_lock(&replay->lock);
    bool news = set_error(&stats->error_unix_ns, stats->error_code, stats->error_message, verdict);
    if (held || !other_held) // what a person must mend stays in sight
        set_upstream_error(&replay->stats, verdict);
    pthread_mutex_unlock(&replay->lock);
    // A refusal for good is told as a dead letter, when it has come down to single requests.
    enum log_level level = (passes || held) && (news || !lane->failure_told) ? LOG_WARN : LOG_DEBUG;
    if (passes || held)
        lane->failure_told = replay->backlog_news = true;
    log_event(level, "export_failed",
              held     ? "the upstream refuses by a setting: the data waits in the spool until a person mends it"
              : passes ? "the upstream put an export off: its data stays in the spool and goes again"
                       : "the upstream refused an export: it goes again in parts",
              LOG_STR("upstream", replay->upstream->name), LOG_STR("signal", weir_signal_name(lane->signal)),
              LOG_STR("code", verdict->code), LOG_STR("error", verdict->message));
}

void replay_note_here(struct replay_lane *lane, const char *code, const char *message)
{
    struct replay *replay = lane->replay;
    struct replay_lane_stats *stats = &replay->stats.lanes[lane->signal];
    struct verdict verdict = {.kind = VERDICT_RETRY};
    snprintf(verdict.code, sizeof(verdict.code), "%s", code);
    snprintf(verdict.message, sizeof(verdict.message), "%s", message);
    pthread_mutex_lock(&replay->lock);
    set_error(&stats->error_unix_ns, stats->error_code, stats->error_message, &verdict);
    set_upstream_error(&replay->stats, &verdict);
    pthread_mutex_unlock(&replay->lock);
}

static enum replay_state lane_state(const struct replay_lane *lane, uint64_t now_ns)
{
    const struct replay *replay = lane->replay;
    bool work = lane->in_flight > 0 || split_has_work(lane) || !lane->dry;
    if (replay_is_paused(replay))
        return REPLAY_PAUSED;
    if (lane->held)
        return REPLAY_HELD;
    if (backoff_waits(&lane->backoff, now_ns) || flow_waits(replay, now_ns))
        return REPLAY_BACKING_OFF;
    if (!work) // whatever failed: what it was tried with was evicted or given up meanwhile
        return REPLAY_IDLE;
    if (lane->backoff.failures > 0 || governor_probes(&replay->flow.governor))
        return REPLAY_PROBING;
    return lane->behind ? REPLAY_REPLAYING : REPLAY_DELIVERING;
}

static uint64_t pending_items(const struct replay *replay)
{
    uint64_t items = 0;
    for (int i = 0; i < WEIR_SIGNALS; i++) {
        struct spool_lane_stats ledger = {0};
        if (replay->lanes[i].spool_lane != NULL)
            spool_lane_stats_get(replay->lanes[i].spool_lane, &ledger);
        items += ledger.pending;
    }
    return items;
}

static bool still_fails(const struct replay *replay)
{
    bool fails = governor_probes(&replay->flow.governor);
    for (int i = 0; i < WEIR_SIGNALS; i++)
        fails = fails || replay->lanes[i].backoff.failures > 0;
    return fails;
}

// At level info an outage is a handful of lines however long it takes: that it began, that it is over, that the backlog is gone.
static void log_state(struct replay *replay, enum replay_state before, enum replay_state state, uint64_t wait_ns)
{
    bool trouble = state >= REPLAY_PROBING, was_trouble = before >= REPLAY_PROBING;
    const char *message = "the upstream's state changed";
    bool news = trouble && (!was_trouble || (state == REPLAY_HELD) != (before == REPLAY_HELD));
    if (state == REPLAY_PAUSED) {
        message = "the upstream is paused: its data waits in the spool until it is resumed";
        news = true;
    } else if (before == REPLAY_PAUSED) {
        message = "the upstream is resumed";
        news = true;
    } else if (state == REPLAY_HELD) {
        message = "the upstream refuses by a setting: its data waits in the spool, attempts go on slowly";
    } else if (trouble) {
        message = "the upstream does not take its data: it waits in the spool, attempts go on";
    } else if (was_trouble) {
        message = still_fails(replay) ? "nothing waits for the upstream any more: whether it takes data is not known"
                                      : "the upstream takes data again";
        news = true;
    } else if (state == REPLAY_REPLAYING && replay->backlog_news) {
        message = "a backlog is being delivered";
        news = true;
    } else if (before == REPLAY_REPLAYING && replay->backlog_told) {
        message = "the backlog is delivered";
        news = true;
        replay->backlog_told = false;
    }
    if (state == REPLAY_REPLAYING && replay->backlog_news) {
        replay->backlog_told = true;
        replay->backlog_news = false;
    }
    uint64_t wait_ms = wait_ns / 1000000;
    log_event(news ? LOG_INFO : LOG_DEBUG, "upstream_state", message, LOG_STR("upstream", replay->upstream->name),
              LOG_STR("from", replay_state_name(before)), LOG_STR("to", replay_state_name(state)),
              LOG_U64("pending_items", pending_items(replay)),
              wait_ms > 0 ? LOG_F64("next_attempt_seconds", (double)wait_ms / 1e3) : (struct log_field){0});
}

// What is shown moves by the table, too. Between two looks more may have happened than one move: by a wait, a probe, or having nothing to do.
static void show(enum replay_state *shown, enum replay_state state)
{
    static const enum replay_state between[] = {REPLAY_PROBING, REPLAY_BACKING_OFF, REPLAY_IDLE};
    for (size_t i = 0; i < WEIR_COUNT(between) && !replay_may_move(*shown, state); i++)
        if (replay_may_move(*shown, between[i]) && replay_may_move(between[i], state))
            replay_move(shown, between[i]);
    replay_move(shown, state);
}

// The upstream's state is that of its lane that needs a person most: the enum is in that order but for replaying and delivering.
void replay_update_state(struct replay *replay)
{
    uint64_t now_ns = weir_now_ns(), next_ns = replay->flow.governor.backoff.until_ns;
    enum replay_state states[WEIR_SIGNALS] = {REPLAY_IDLE}, state = REPLAY_IDLE;
    for (int i = 0; i < WEIR_SIGNALS; i++) {
        const struct replay_lane *lane = &replay->lanes[i];
        if (lane->spool_lane == NULL)
            continue;
        states[i] = lane_state(lane, now_ns);
        if (states[i] > state)
            state = states[i];
        if (lane->backoff.until_ns > now_ns && (next_ns <= now_ns || lane->backoff.until_ns < next_ns))
            next_ns = lane->backoff.until_ns;
    }
    flow_show(replay, state);
    pthread_mutex_lock(&replay->lock);
    enum replay_state before = replay->stats.state;
    replay->stats.next_attempt_ns = next_ns > now_ns ? next_ns : 0;
    replay->stats.encoding = encoding_name(replay->encoding);
    for (int i = 0; i < WEIR_SIGNALS; i++) {
        show(&replay->stats.lanes[i].state, states[i]);
        replay->stats.window_bytes = (uint64_t)replay->flow.governor.window_bytes;
        replay->stats.in_flight_bytes = replay->flow.governor.in_flight_bytes;
        replay->stats.rate_bytes = governor_rate(&replay->flow.governor, now_ns);
        replay->stats.lanes[i].export_max_bytes = lane_bytes_max(&replay->lanes[i]);
    }
    if (state != before) {
        show(&replay->stats.state, state);
        replay->stats.since_unix_ns = weir_now_unix_ns();
    }
    pthread_mutex_unlock(&replay->lock);
    if (state != before)
        log_state(replay, before, state, next_ns > now_ns ? next_ns - now_ns : 0);
}

void replay_stats_get(struct replay *replay, struct replay_stats *out)
{
    pthread_mutex_lock(&replay->lock);
    *out = replay->stats;
    pthread_mutex_unlock(&replay->lock);
}
