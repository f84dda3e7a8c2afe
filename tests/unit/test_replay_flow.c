// SPDX-License-Identifier: Apache-2.0
// How much the replay worker sends, and when: paused, after an outage, at the upstream's pace.
#include "tests/unit/replay_rig.h"

TestSuite(replay_flow, .timeout = 60);

static struct rig_answer hold(struct replay_rig *rig, const struct rig_seen *seen)
{
    return (struct rig_answer){.status = 0, .hold = seen->index < rig->poison};
}

// --- pause ------------------------------------------------------------------------------------------------------------------

Test(replay_flow, pause_before_the_start_sends_nothing)
{
    struct replay_rig *rig = rig_new((struct config_upstream){0});
    replay_pause(rig->replay, true);
    cr_expect_eq(rig_stats(rig).state, REPLAY_PAUSED);
    rig_start(rig);
    rig_append(rig, WEIR_TRACES, 0, 3, 200);
    rig_append(rig, WEIR_METRICS, 3, 3, 200);
    for (int i = 0; i < 100; i++) // turns of the worker
        replay_wake(rig->replay, WEIR_ALL_SIGNALS);
    cr_expect_eq(rig_stats(rig).lanes[WEIR_METRICS].exports, 0);
    cr_expect_eq(rig_ledger(rig, WEIR_TRACES).pending, 6);
    replay_pause(rig->replay, false);
    RIG_DRAINED(rig, WEIR_TRACES);
    RIG_DRAINED(rig, WEIR_METRICS);
    rig_expect_each_once(rig, 6);
    KIT_UNTIL(rig_stats(rig).state == REPLAY_IDLE);
    rig_free(rig);
}

Test(replay_flow, pause_lets_what_is_under_way_end_and_starts_nothing)
{
    struct replay_rig *rig = rig_new((struct config_upstream){.max_in_flight = 2});
    rig->decide = hold;
    rig->poison = 1;
    rig_append(rig, WEIR_METRICS, 0, 3, 200); // strict: one at a time
    rig_start(rig);
    KIT_UNTIL(atomic_load(&rig->held_count) == 1);
    replay_pause(rig->replay, true);
    rig_append(rig, WEIR_METRICS, 3, 3, 200);
    rig_release(rig, (struct rig_answer){.status = 0});
    KIT_UNTIL(rig_ledger(rig, WEIR_METRICS).delivered == 6);
    KIT_UNTIL(rig_stats(rig).lanes[WEIR_METRICS].state == REPLAY_PAUSED);
    for (int i = 0; i < 100; i++)
        replay_wake(rig->replay, WEIR_ALL_SIGNALS);
    cr_expect_eq(rig_stats(rig).lanes[WEIR_METRICS].exports, 1);
    cr_expect_eq(rig_ledger(rig, WEIR_METRICS).pending, 6);
    cr_expect(replay_is_paused(rig->replay));
    replay_pause(rig->replay, false);
    RIG_DRAINED(rig, WEIR_METRICS);
    rig_expect_each_once(rig, 6);
    rig_free(rig);
}

// --- outages ----------------------------------------------------------------------------------------------------------------

static struct rig_answer away_until_allowed(struct replay_rig *rig, const struct rig_seen *seen)
{
    return (struct rig_answer){.status = atomic_load(&rig->limit) == 0 ? GRPC_UNAVAILABLE : 0};
}

// What is tried while nothing is taken is one block, however much would fit into an export; then all of it.
Test(replay_flow, a_probe_is_one_block)
{
    struct replay_rig *rig = rig_new((struct config_upstream){.order = {[WEIR_TRACES] = CONFIG_ORDER_RELAXED}});
    rig->decide = away_until_allowed;
    for (unsigned i = 0; i < 20; i++)
        rig_append(rig, WEIR_TRACES, i, 1, 50000);
    rig_start(rig);
    KIT_UNTIL(rig_stats(rig).state == REPLAY_BACKING_OFF || rig_stats(rig).state == REPLAY_PROBING);
    int down = rig_seen_count(rig);
    KIT_UNTIL(rig_seen_count(rig) >= down + 5);
    atomic_store(&rig->limit, 1);
    RIG_DRAINED(rig, WEIR_TRACES);
    rig_expect_each_once(rig, 20);
    pthread_mutex_lock(&rig->lock);
    cr_expect_eq(rig->seen[0].id_count, 20, "nothing has failed yet");
    for (int i = down + 1; i < down + 5; i++)
        cr_expect_eq(rig->seen[i].id_count, 1, "probe %d has %zu blocks", i, rig->seen[i].id_count);
    pthread_mutex_unlock(&rig->lock);
    rig_free(rig);
}

// --- the upstream's and the lane's ------------------------------------------------------------------------------------------

static struct rig_answer refuse_logs(struct replay_rig *rig, const struct rig_seen *seen)
{
    bool refused = seen->signal == WEIR_LOGS && atomic_load(&rig->limit) == 0;
    return (struct rig_answer){.status = refused ? GRPC_UNAVAILABLE : 0};
}

// One signal's backend is away: its lane waits alone, with ever longer waits, and the others go on.
Test(replay_flow, a_lane_that_alone_is_refused_waits_alone)
{
    struct replay_rig *rig = rig_new((struct config_upstream){.retry = {.initial_ms = 20, .max_ms = 600000}});
    rig->decide = refuse_logs;
    rig_append(rig, WEIR_LOGS, 0, 1, 100);
    rig_start(rig);
    for (unsigned tries = 1; tries <= 6; tries++) {
        KIT_UNTIL(rig_stats(rig).lanes[WEIR_LOGS].exports >= tries);
        rig_append(rig, WEIR_METRICS, tries, 1, 100);
        RIG_DRAINED(rig, WEIR_METRICS);
    }
    KIT_UNTIL(rig_stats(rig).lanes[WEIR_LOGS].state == REPLAY_BACKING_OFF);
    cr_expect_neq(rig_stats(rig).lanes[WEIR_METRICS].state, REPLAY_BACKING_OFF);
    rig_free(rig);
}

// --- limits -----------------------------------------------------------------------------------------------------------------

// A quarter of a second's worth may go at once and one export more; the rest takes its time.
Test(replay_flow, rate_limit_is_of_all_lanes_together)
{
    struct replay_rig *rig =
        rig_new((struct config_upstream){.rate_limit_bytes = 100000, .max_request_size_bytes = 5000});
    for (unsigned i = 0; i < 20; i++)
        rig_append(rig, i % 2 == 0 ? WEIR_TRACES : WEIR_METRICS, i, 1, 4000);
    uint64_t began_ns = weir_now_ns();
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    RIG_DRAINED(rig, WEIR_METRICS);
    double seconds = (double)(weir_now_ns() - began_ns) / 1e9;
    cr_expect_geq(seconds, (80000 - 25000 - 4000) / 100000., "80000 bytes in %.2f s", seconds);
    rig_expect_each_once(rig, 20);
    rig_free(rig);
}

// What waits for its turn has not left the lane: a worker that is stopped then gives it to the next.
Test(replay_flow, what_waits_is_not_lost_by_a_stop)
{
    struct replay_rig *rig =
        rig_new((struct config_upstream){.rate_limit_bytes = 10000, .max_request_size_bytes = 5000});
    for (unsigned i = 0; i < 6; i++)
        rig_append(rig, WEIR_TRACES, i, 1, 4000);
    rig_start(rig);
    KIT_UNTIL(rig_seen_count(rig) >= 1);
    rig_end_replay(rig);
    rig->upstream.rate_limit_bytes = 0;
    rig_new_replay(rig);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    for (unsigned i = 0; i < 6; i++)
        cr_expect_geq(rig->delivered[i], 1, "request %u", i);
    rig_free(rig);
}

// --- states -----------------------------------------------------------------------------------------------------------------

// What is shown goes from any state to any other by one or two moves of the table.
Test(replay_flow, every_state_is_two_moves_away)
{
    for (unsigned from = 0; from < REPLAY_STATES; from++)
        for (unsigned to = 0; to < REPLAY_STATES; to++) {
            bool found = replay_may_move((enum replay_state)from, (enum replay_state)to);
            for (unsigned by = 0; by < REPLAY_STATES; by++)
                found = found || (by != REPLAY_PAUSED && by != REPLAY_HELD &&
                                  replay_may_move((enum replay_state)from, (enum replay_state)by) &&
                                  replay_may_move((enum replay_state)by, (enum replay_state)to));
            cr_expect(found, "%s to %s", replay_state_name((enum replay_state)from),
                      replay_state_name((enum replay_state)to));
        }
}
