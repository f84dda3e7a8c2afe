// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/governor_rig.h"

#include <signal.h>

#define START (1000 * S)

// --- states ----------------------------------------------------------------------------------------------------------------------

Test(governor, every_move_is_allowed_or_not_by_the_table)
{
    // to:                                     idle deliv replay prob back held paused
    static const char allowed[REPLAY_STATES][REPLAY_STATES + 1] = {
        [REPLAY_IDLE] = "1111111",    [REPLAY_DELIVERING] = "1110111",  [REPLAY_REPLAYING] = "1110111",
        [REPLAY_PROBING] = "1111111", [REPLAY_BACKING_OFF] = "1001111", [REPLAY_HELD] = "1001111",
        [REPLAY_PAUSED] = "1000001",
    };
    for (int from = 0; from < REPLAY_STATES; from++)
        for (int to = 0; to < REPLAY_STATES; to++) {
            bool may = allowed[from][to] == '1';
            cr_assert_eq(replay_may_move((enum replay_state)from, (enum replay_state)to), may, "%s -> %s",
                         replay_state_name((enum replay_state)from), replay_state_name((enum replay_state)to));
            if (!may)
                continue;
            enum replay_state state = (enum replay_state)from;
            cr_assert_eq(replay_move(&state, (enum replay_state)to), from != to);
            cr_assert_eq(state, (enum replay_state)to);
        }
}

Test(governor, a_move_that_is_not_allowed_ends_the_program, .signal = SIGABRT)
{
    enum replay_state state = REPLAY_BACKING_OFF;
    replay_move(&state, REPLAY_DELIVERING);
}

Test(governor, states_follow_what_happens)
{
    struct rig rig = rig_make(upstream_fast);
    struct governor *governor = &rig.governor;
    cr_assert_eq(governor->state, REPLAY_IDLE);
    governor_started(governor, START, 100, false);
    cr_assert_eq(governor->state, REPLAY_DELIVERING);
    governor_started(governor, START, 100, true);
    cr_assert_eq(governor->state, REPLAY_REPLAYING);
    struct governor_end lost = {GOVERNOR_LOST, 100, 1 * MS, 0}, delivered = {GOVERNOR_DELIVERED, 100, 1 * MS, 0};
    governor_ended(governor, START + 1 * MS, &lost, 0.5);
    governor_ended(governor, START + 1 * MS, &lost, 0.5);
    cr_assert_eq(governor->state, REPLAY_BACKING_OFF);
    cr_assert_eq(governor->backoff.failures, 1, "under way together: one failure");
    uint64_t wake_ns, then_ns = START + 1000 * MS;
    cr_assert_not(governor_may_start(governor, START + 1 * MS, 100, &wake_ns));
    cr_assert(wake_ns > START + 500 * MS && wake_ns <= START + 1001 * MS);
    governor_rest(governor);
    cr_assert_eq(governor->state, REPLAY_IDLE, "what it waited with was evicted");
    cr_assert_not(governor_may_start(governor, START + 2 * MS, 100, &wake_ns));
    cr_assert_eq(governor->state, REPLAY_BACKING_OFF, "and now there is something again");
    cr_assert(governor_may_start(governor, then_ns, 100, &wake_ns));
    cr_assert(governor_probes(governor));
    cr_assert_eq(governor_export_bytes(governor), GOVERNOR_PROBE_BYTES);
    governor_started(governor, then_ns, 100, true);
    cr_assert_eq(governor->state, REPLAY_PROBING);
    cr_assert_not(governor_may_start(governor, then_ns, 100, &wake_ns), "one probe");
    cr_assert_eq(wake_ns, UINT64_MAX);
    governor_pause(governor, true);
    cr_assert_eq(governor->state, REPLAY_PAUSED);
    governor_ended(governor, then_ns + 1 * MS, &delivered, 0.5);
    cr_assert_eq(governor->state, REPLAY_PAUSED);
    cr_assert_not(governor_may_start(governor, then_ns + 1 * S, 100, &wake_ns));
    governor_pause(governor, false);
    cr_assert_eq(governor->state, REPLAY_IDLE);
    cr_assert(governor_may_start(governor, then_ns + 1 * S, 100, &wake_ns));
    cr_assert_not(governor_probes(governor), "it answered while it was paused");
    governor_hold(governor);
    cr_assert_eq(governor->state, REPLAY_HELD);
    governor_started(governor, then_ns + 1 * S, 100, false);
    cr_assert_eq(governor->state, REPLAY_PROBING);
    governor_dropped(governor, 100);
    governor_rest(governor);
    cr_assert_eq(governor->in_flight, 0);
}

// By a coarse clock an export is started when another one fails, and is answered when the wait is over: it is no probe, and a probe goes first.
Test(governor, what_began_with_a_failure_does_not_end_the_outage)
{
    struct rig rig = rig_make(upstream_fast);
    struct governor *governor = &rig.governor;
    uint64_t wake_ns, then_ns = START + 1 * MS, late_ns = then_ns + 2 * S;
    const struct governor_end lost = {GOVERNOR_LOST, 100, 1 * MS, 0}, late = {GOVERNOR_DELIVERED, 100, 2 * S, 0};
    governor_started(governor, START, 100, true);
    governor_started(governor, then_ns, 100, true);
    governor_ended(governor, then_ns, &lost, 1);
    governor_ended(governor, late_ns, &late, 1);
    cr_assert_eq(governor->state, REPLAY_BACKING_OFF);
    cr_assert(governor_may_start(governor, late_ns, 100, &wake_ns));
    governor_started(governor, late_ns, 100, true);
    cr_assert_eq(governor->state, REPLAY_PROBING);
    governor_dropped(governor, 100);
}

// --- the window ------------------------------------------------------------------------------------------------------------------

Test(governor, a_fast_upstream_has_all_in_flight_after_a_few_round_trips)
{
    struct rig rig = rig_make(upstream_fast);
    rig_run(&rig, START + 4 * rig.latency_ns);
    cr_assert_eq(rig.most_in_flight, 4);
    rig_clear(&rig);
    rig_run(&rig, rig.now_ns + 1 * S);
    cr_assert_geq(rig.delivered_bytes, UINT64_C(4000) * MIB, "16 MiB every 4 ms: %lu", rig.delivered_bytes / MIB);
}

Test(governor, after_an_outage_a_probe_then_slow_start)
{
    struct rig rig = rig_make(upstream_fast);
    rig_run(&rig, START + 40 * S);
    rig.down = true;
    rig_run(&rig, START + 140 * S);
    cr_assert_eq(rig.governor.state, REPLAY_BACKING_OFF);
    rig_clear(&rig);
    rig_run(&rig, START + 240 * S);
    cr_assert(rig.starts >= 20 && rig.starts <= 40, "attempts to connect are 2.5 to 5 s apart: %lu", rig.starts);
    rig.down = false;
    rig_clear(&rig);
    while (rig.delivered == 0)
        rig_run(&rig, rig.now_ns + rig.latency_ns / 4);
    cr_assert_leq(rig.first_ns, START + 245 * S + 4 * MS);
    cr_assert_eq(rig.starts, 1);
    cr_assert_eq(rig.delivered_bytes, GOVERNOR_PROBE_BYTES);
    cr_assert_leq(rig.governor.window_bytes, 1. * MIB);
    double before = rig.governor.window_bytes;
    rig_run(&rig, rig.now_ns + rig.latency_ns); // not more than one is under way
    cr_assert_leq(rig.starts, 2);
    rig_run(&rig, rig.now_ns + 40 * rig.latency_ns);
    cr_assert_gt(rig.governor.window_bytes, 8 * before);
    rig_clear(&rig);
    rig_run(&rig, rig.now_ns + 1 * S);
    cr_assert_geq(rig.delivered_bytes, UINT64_C(3900) * MIB, "open again: %lu", rig.delivered_bytes / MIB);
}

// 40 MB/s and 20 ms: an export takes 105 ms. Two in flight keep the link busy; 16 would take 1.7 s each.
Test(governor, latency_that_rises_with_load_is_held_near_its_knee)
{
    struct rig rig = rig_make(upstream_queue);
    rig.governor.policy.max_in_flight_bytes = 64 * MIB;
    rig.governor.threshold_bytes = 64. * MIB;
    rig.capacity = 40000000;
    rig.latency_ns = 20 * MS;
    rig_run(&rig, START + 20 * S);
    rig_clear(&rig);
    rig_run(&rig, START + 120 * S);
    double mean_ms = (double)rig.latency_sum_ns / (double)rig.delivered / 1e6, alone_ms = 20 + 4 * MIB / 40e3;
    cr_assert_geq((double)rig.delivered_bytes, 0.95 * 40e6 * 100, "the link is used: %.1f MB/s",
                  (double)rig.delivered_bytes / 1e8);
    cr_assert_leq(mean_ms, 2.5 * alone_ms, "%.1f ms, alone %.1f ms", mean_ms, alone_ms);
}

// A link that others have filled: the window falls below an export, and pacing follows it.
Test(governor, a_window_below_one_export_is_a_gap_between_exports)
{
    struct rig rig = rig_make(upstream_fast);
    rig.latency_ns = 100 * MS;
    rig_run(&rig, START + 10 * S);
    rig.latency_ns = 400 * MS; // whatever this one does
    rig_run(&rig, START + 20 * S);
    cr_assert_lt(rig.governor.window_bytes, 4. * MIB / 4);
    rig_clear(&rig);
    rig_run(&rig, START + 30 * S);
    cr_assert_leq(rig.most_in_flight, 1);
    cr_assert(rig.starts >= 2 && rig.starts <= 6, "a share of one request at a time: %lu in 10 s", rig.starts);
    // It was not a queue but a longer path: shrinking is given up.
    rig_run(&rig, START + 90 * S);
    rig_clear(&rig);
    rig_run(&rig, START + 100 * S);
    cr_assert_geq(rig.delivered, 90, "%lu", rig.delivered);
}

Test(governor, light_traffic_is_never_held_up_and_moves_nothing)
{
    struct rig rig = rig_make(upstream_fast);
    rig.export_bytes = 10 * KIB;
    rig.every_ns = 10 * MS;
    rig.sent = START / rig.every_ns;
    double window = rig.governor.window_bytes;
    rig_run(&rig, START + 20 * S);
    rig.latency_ns = 200 * MS; // others fill the upstream: twenty are in flight now, still far below the window
    rig_run(&rig, START + 40 * S);
    rig.latency_ns = 4 * MS;
    rig_run(&rig, START + 60 * S);
    cr_assert_eq(rig.held_up_ns, 0);
    cr_assert_geq(rig.delivered, 5970);
    cr_assert_eq(rig.governor.window_bytes, window);
}

// --- the user's limit --------------------------------------------------------------------------------------------------------------

Test(governor, rate_limit_holds_and_its_burst_is_bounded)
{
    struct rig rig = rig_make(upstream_fast);
    rig.governor.policy.rate_limit_bytes_per_s = 10 * MIB;
    rig_run(&rig, START + 100 * S);
    cr_assert_leq(rig.delivered_bytes, 1007 * MIB);
    cr_assert_geq(rig.delivered_bytes, 993 * MIB);
    rig.every_ns = UINT64_MAX / 2; // nothing for an hour
    rig.sent = rig.arrived = 0;
    rig_run(&rig, START + 3600 * S);
    rig.every_ns = 0;
    rig_clear(&rig);
    rig_run(&rig, START + 3601 * S);
    cr_assert_leq(rig.delivered_bytes, 17 * MIB, "%lu: a second, a quarter of one, and an export",
                  rig.delivered_bytes / MIB);
}

// --- coming and going --------------------------------------------------------------------------------------------------------------

Test(governor, flapping_is_damped)
{
    struct rig rig = rig_make(upstream_fast);
    rig_run(&rig, START + 60 * S);
    double first_window = 0, window = 0;
    uint32_t failures = 0;
    for (int i = 0; i < 6; i++) {
        rig.down = true;
        rig_run(&rig, rig.now_ns + 3 * S);
        cr_assert_gt(rig.governor.backoff.failures, failures, "backoff does not begin anew");
        failures = rig.governor.backoff.failures;
        window = rig.governor.window_bytes;
        if (i == 0)
            first_window = window;
        rig.down = false;
        rig_run(&rig, rig.now_ns + 8 * S);
        cr_assert_not(rig.governor.down);
    }
    cr_assert_leq(window, first_window / 8);
    rig_run(&rig, rig.now_ns + 60 * S);
    cr_assert_eq(rig.governor.backoff.failures, 0, "it has been up for long");
    rig.down = true;
    rig_run(&rig, rig.now_ns + 3 * S);
    cr_assert_eq(rig.governor.window_bytes, first_window);
}

Test(governor, replicas_drift_apart)
{
    uint64_t slots[10] = {0};
    for (uint64_t i = 0; i < 1000; i++) {
        struct rig rig = rig_make(upstream_fast);
        rig.random += i * 0x9E3779B97F4A7C15u;
        rig.down = true;
        rig_run(&rig, START + 60 * S);
        rig.down = false;
        rig_clear(&rig);
        rig_run(&rig, START + 66 * S);
        cr_assert(rig.first_ns > START + 60 * S && rig.first_ns < START + 65100 * MS);
        slots[(rig.first_ns - START - 60 * S) / (500 * MS) % 10]++;
    }
    for (int i = 0; i < 8; i++)
        cr_assert(slots[i] < 250, "%lu of 1000 came within the same half second", slots[i]);
}

// --- anything at all ---------------------------------------------------------------------------------------------------------------

static void upstream_any(struct rig *rig, struct governor_end *end)
{
    static const uint64_t delays_ms[] = {0, 0, 0, 1, 900, 45000};
    end->outcome = (enum governor_outcome)((uint64_t)(rig_random(rig) * 12));
    if (end->outcome > GOVERNOR_LOST)
        end->outcome = GOVERNOR_DELIVERED;
    end->latency_ns = (uint64_t)(rig_random(rig) * rig_random(rig) * rig_random(rig) * 20e9);
    if (end->outcome == GOVERNOR_THROTTLED)
        end->retry_after_ms = delays_ms[(size_t)(rig_random(rig) * 6) % 6];
}

static void assert_sane(const struct rig *rig)
{
    const struct governor *governor = &rig->governor;
    double most = (double)governor->policy.max_in_flight_bytes;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < rig->call_count; i++)
        bytes += rig->calls[i].end.bytes;
    cr_assert_eq(governor->in_flight, rig->call_count);
    cr_assert_eq(governor->in_flight_bytes, bytes);
    cr_assert(bytes <= most);
    cr_assert(governor->window_bytes > 0 && governor->window_bytes <= most);
    cr_assert(governor->refused_part >= 0 && governor->refused_part <= 1);
    cr_assert(governor->rate_refused >= 0 && governor->rate_refused < 1e9);
    cr_assert(governor_rate(governor, rig->now_ns) >= 0);
    cr_assert(governor->backoff.until_ns <= rig->now_ns + 331 * S, "no wait is longer than the server may ask for");
    cr_assert(governor->next_ns <= rig->now_ns + 7200 * S);
}

Test(governor, random_sequences_of_events_keep_it_sane)
{
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct rig rig = rig_make(upstream_any);
        rig.random = seed * 0x9E3779B97F4A7C15u;
        if (seed % 3 == 0)
            rig.governor.policy.rate_limit_bytes_per_s = 1 + (uint64_t)(rig_random(&rig) * 1e8);
        for (int i = 0; i < 200; i++) {
            rig.down = rig_random(&rig) < 0.2;
            rig.every_ns = rig_random(&rig) < 0.5 ? 0 : 1 + (uint64_t)(rig_random(&rig) * 1e9);
            rig.sent = rig.every_ns > 0 ? rig.now_ns / rig.every_ns : 0;
            rig.export_bytes = 1 + (uint64_t)(rig_random(&rig) * 4e6);
            rig_run(&rig, rig.now_ns + (uint64_t)(rig_random(&rig) * 5e9));
            governor_pause(&rig.governor, rig_random(&rig) < 0.1);
            if (rig_random(&rig) < 0.05)
                governor_hold(&rig.governor);
            if (rig_random(&rig) < 0.05)
                governor_moved(&rig.governor);
            if (rig.call_count == 0 && rig_random(&rig) < 0.3)
                governor_rest(&rig.governor);
            assert_sane(&rig);
        }
        // Whatever happened: a good upstream gets its data in the end.
        governor_pause(&rig.governor, false);
        rig.upstream = upstream_fast;
        rig.down = false;
        rig.every_ns = 0;
        rig.governor.policy.rate_limit_bytes_per_s = 0;
        rig.latency_ns = 50 * MS;
        rig_run(&rig, rig.now_ns + 1200 * S);
        rig_clear(&rig);
        rig_run(&rig, rig.now_ns + 10 * S);
        cr_assert_geq(rig.delivered, 790, "seed %lu: %lu in 10 s", seed, rig.delivered);
    }
}
