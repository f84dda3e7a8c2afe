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
