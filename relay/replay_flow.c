// SPDX-License-Identifier: Apache-2.0
// How much goes to the upstream, and when: the worker asks the governor before each export and tells it how each one ended.
//
// Whatever says something of the upstream as a whole goes to the governor: that it cannot be reached, that it throttles. What is a lane's own
// makes that lane alone wait: its settings, its own memory, and a refusal for now that it gets again while others are taken.
#include "relay/replay_priv.h"

static uint64_t in_flight_bytes_max(const struct replay *replay)
{
    uint64_t exports = 0;
    for (int i = 0; i < WEIR_SIGNALS; i++)
        if (replay->lanes[i].spool_lane != NULL)
            exports += lane_is_strict(&replay->lanes[i]) ? 1 : replay->upstream->max_in_flight;
    return (exports > 0 ? exports : 1) * replay->upstream->max_request_size_bytes;
}

void flow_open(struct replay *replay)
{
    const struct governor_policy policy = {
        .export_bytes = replay->upstream->max_request_size_bytes,
        .max_in_flight_bytes = in_flight_bytes_max(replay),
        .rate_limit_bytes_per_s = replay->upstream->rate_limit_bytes,
        .retry = replay_policy(replay),
    };
    governor_init(&replay->flow.governor, &policy, weir_now_ns(), replay_random(replay));
}

bool flow_waits(const struct replay *replay, uint64_t now_ns)
{
    return backoff_waits(&replay->flow.governor.backoff, now_ns);
}

void flow_hurry(struct replay *replay)
{
    replay->flow.governor.backoff.until_ns = 0;
}

// --- starting -----------------------------------------------------------------------------------------------------------------

void flow_turn(struct replay *replay)
{
    struct flow *flow = &replay->flow;
    bool paused = replay_is_paused(replay);
    flow->blocked = false;
    flow->wake_ns = UINT64_MAX;
    if (paused != (flow->governor.state == REPLAY_PAUSED))
        governor_pause(&flow->governor, paused);
    for (int i = 0; i < WEIR_SIGNALS; i++) {
        struct replay_lane *lane = &replay->lanes[i];
        bool probes = governor_probes(&flow->governor) || endpoint_on_trial(replay);
        bool too_large = probes && lane->ready != NULL && lane->ready->view_count > 1;
        if (paused || too_large)
            lane_drop_ready(lane);
    }
}

// What a lane sends that the endpoint before did not take may be that lane's own trouble: its trial is none for the others.
static bool trial_is_under_way(const struct replay *replay)
{
    bool sent = false;
    for (int i = 0; i < WEIR_SIGNALS; i++)
        sent = sent || (replay->lanes[i].in_flight > 0 && replay->lanes[i].turned_away == 0);
    return sent && endpoint_on_trial(replay);
}

bool flow_may_start(struct replay *replay, uint64_t bytes)
{
    struct flow *flow = &replay->flow;
    uint64_t wake_ns = UINT64_MAX;
    if (!trial_is_under_way(replay) && governor_may_start(&flow->governor, weir_now_ns(), bytes, &wake_ns))
        return true;
    flow->blocked = true;
    if (wake_ns < flow->wake_ns)
        flow->wake_ns = wake_ns;
    return false;
}

uint64_t flow_export_bytes(const struct replay *replay)
{
    uint64_t bytes = governor_export_bytes(&replay->flow.governor);
    return endpoint_on_trial(replay) && bytes > GOVERNOR_PROBE_BYTES ? GOVERNOR_PROBE_BYTES : bytes;
}

void flow_started(struct export *export)
{
    struct replay *replay = export->replay;
    export->started_ns = weir_now_ns();
    export->flow_bytes = export->raw_bytes;
    governor_started(&replay->flow.governor, export->started_ns, export->flow_bytes, export->lane->behind);
}

// --- ending -------------------------------------------------------------------------------------------------------------------

static void end(struct export *export, enum governor_outcome outcome, uint64_t retry_after_ms)
{
    struct replay *replay = export->replay;
    uint64_t now_ns = weir_now_ns();
    const struct governor_end what = {outcome, export->flow_bytes, now_ns - export->started_ns, retry_after_ms};
    governor_ended(&replay->flow.governor, now_ns, &what, replay_random(replay));
}

void flow_dropped(struct export *export)
{
    governor_dropped(&export->replay->flow.governor, export->flow_bytes);
}

void flow_unanswered(struct export *export, bool counts)
{
    enum client_error error = export->call.error;
    bool cheap = error == CLIENT_E_CONNECT || error == CLIENT_E_RESOLVE ||
                 (error == CLIENT_E_TIMEOUT && !export->call.bytes_sent);
    if (!counts) {
        flow_dropped(export);
        return;
    }
    for (int i = 0; i < WEIR_SIGNALS; i++) // now all wait together
        export->replay->lanes[i].turned_away = 0;
    end(export, cheap ? GOVERNOR_UNREACHABLE : error == CLIENT_OK ? GOVERNOR_AWAY : GOVERNOR_LOST, 0);
}

// Going round would not end while others are taken: one signal's backend may be away behind all of them.
bool flow_turned_away(struct replay_lane *lane)
{
    bool all = ++lane->turned_away >= lane->replay->endpoints.count;
    if (all)
        lane->turned_away = 0;
    return all;
}

// Whoever is away as a whole has not been heard of by others for nearly as long.
static bool others_are_answered(const struct export *export)
{
    const struct replay *replay = export->replay;
    uint64_t middle_ns = export->started_ns + (weir_now_ns() - export->started_ns) / 2;
    bool answered = false;
    for (int i = 0; i < WEIR_SIGNALS; i++)
        if (&replay->lanes[i] != export->lane && replay->lanes[i].delivered_ns > middle_ns)
            answered = true;
    return answered && export->call.error == CLIENT_E_TIMEOUT && export->call.bytes_sent;
}

bool flow_own_silence(const struct export *export, bool round_over)
{
    struct replay_lane *lane = export->lane;
    if (lane->turned_away == 0)
        lane->alone_silent = false;
    lane->alone_silent = lane->alone_silent || others_are_answered(export);
    return flow_turned_away(lane) && (!round_over || lane->alone_silent);
}

// Refused for now, and not for the first time, while others were taken: that is this lane's trouble, not the upstream's.
static bool is_own_trouble(struct replay_lane *lane, const struct export *export)
{
    uint64_t others = lane->replay->flow.delivered - lane->delivered;
    if (lane->put_off_ns != 0 && export->started_ns < lane->put_off_ns)
        return lane->put_off_own; // it was under way with one that was put off: the same trouble
    if (lane->put_off_ns == 0)
        lane->put_off_others = others;
    bool own = lane->put_off_ns != 0 && others > lane->put_off_others;
    if (own && !lane->put_off_own)
        governor_take_back(&lane->replay->flow.governor);
    lane->put_off_own = own;
    lane->put_off_ns = weir_now_ns();
    return lane->put_off_own;
}

// When all have said so, and nobody has taken anything since the first of them did, that is an outage, as if none had answered; else it is a
// refusal for now like any other, of this lane.
bool flow_asks_another(struct export *export)
{
    struct replay_lane *lane = export->lane;
    const struct endpoints *endpoints = &export->replay->endpoints;
    if (endpoints->count == 1 || export->started_ns < lane->put_off_ns)
        return false;
    if (export->started_ns < export->replay->flow.unreachable_ns) // that one is left already
        return true;
    if (!flow_turned_away(lane))
        return true;
    return endpoints->failed + 1 >= endpoints->count && !is_own_trouble(lane, export);
}

void flow_answered(struct export *export, const struct verdict *verdict)
{
    struct replay_lane *lane = export->lane;
    enum governor_outcome outcome = GOVERNOR_REFUSED;
    if (verdict->kind != VERDICT_RETRY && export->started_ns >= lane->put_off_ns)
        lane->put_off_ns = lane->turned_away = 0;
    if (verdict->kind == VERDICT_DELIVERED) {
        outcome = GOVERNOR_DELIVERED;
        lane->delivered++;
        lane->delivered_ns = weir_now_ns();
        lane->replay->flow.delivered++;
    } else if (verdict->kind == VERDICT_HOLD) {
        outcome = GOVERNOR_HELD;
    } else if (verdict->kind == VERDICT_RETRY && (verdict->throttled || verdict->unavailable) && export->lane_waits &&
               !is_own_trouble(lane, export)) {
        outcome = GOVERNOR_THROTTLED;
        export->lane_waits = false;
    }
    end(export, outcome, outcome == GOVERNOR_THROTTLED ? verdict->retry_after_ms : 0);
}

// --- states -------------------------------------------------------------------------------------------------------------------

void flow_show(struct replay *replay, enum replay_state shown)
{
    struct governor *governor = &replay->flow.governor;
    if (governor->in_flight > 0 || governor->state == REPLAY_PAUSED)
        return;
    if (shown == REPLAY_IDLE)
        governor_rest(governor);
    else if (shown == REPLAY_HELD)
        governor_hold(governor);
}
