// SPDX-License-Identifier: Apache-2.0
// A lane whose intervals change under the worker: a replay adds to them, eviction takes from them.
#include <criterion/criterion.h>

#include "storage/past.h"
#include "tests/unit/replay_rig.h"

TestSuite(replay_past, .timeout = 60);

#define KEPT ((struct rig_spool){.keep_delivered_ns = 3600000000000ull})

static struct spool_lane *lane_of(struct replay_rig *rig, enum weir_signal signal)
{
    return rig_stats(rig).lanes[signal].lane;
}

// What the admin port does.
static struct spool_replay add(struct replay_rig *rig, uint64_t first, uint64_t end)
{
    struct spool_replay added = {0};
    struct weir_err err = {0};
    cr_assert_eq(spool_lane_replay(lane_of(rig, WEIR_TRACES), first, end, false, &added, &err), WEIR_OK, "%s",
                 err.text);
    replay_look_again(atomic_load(&rig->replay));
    return added;
}

static void expect_times(struct replay_rig *rig, unsigned from, unsigned to, unsigned times)
{
    for (unsigned i = from; i < to; i++)
        cr_expect_eq(rig->delivered[i], times, "request %u was accepted %u times", i, rig->delivered[i]);
}

Test(replay_past, what_was_delivered_goes_once_more_before_what_is_new)
{
    struct replay_rig *rig = rig_new_on(KEPT, (struct config_upstream){.max_request_size_bytes = 1000});
    for (unsigned i = 0; i < 10; i++)
        rig_append(rig, WEIR_TRACES, i, 1, 600);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    cr_expect_eq(add(rig, 2, 5).items, 6);
    rig_append(rig, WEIR_TRACES, 10, 1, 600);
    KIT_UNTIL(rig_ledger(rig, WEIR_TRACES).delivered == 28);
    expect_times(rig, 0, 2, 1);
    expect_times(rig, 2, 5, 2);
    expect_times(rig, 5, 11, 1);
    cr_expect_eq(rig_ledger(rig, WEIR_TRACES).replayed, 6);
    rig_free(rig);
}

static struct rig_answer hold_the_first(struct replay_rig *rig, const struct rig_seen *seen)
{
    return (struct rig_answer){.hold = seen->index == 0};
}

// Exports under way are pending, so they are not added; the worker must not take them for new ones.
Test(replay_past, what_is_under_way_is_not_sent_twice)
{
    struct replay_rig *rig =
        rig_new_on(KEPT, (struct config_upstream){.max_request_size_bytes = 1000,
                                                  .order = {[WEIR_TRACES] = CONFIG_ORDER_RELAXED}});
    rig_append(rig, WEIR_TRACES, 0, 1, 600);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    rig->decide = hold_the_first;
    rig->seen_count = 0; // nothing is under way
    rig_append(rig, WEIR_TRACES, 1, 1, 600);
    KIT_UNTIL(atomic_load(&rig->held_count) == 1);
    cr_expect_eq(add(rig, 0, 2).items, 2, "block 1 is pending");
    rig_append(rig, WEIR_TRACES, 2, 1, 600);
    rig_release(rig, (struct rig_answer){0});
    KIT_UNTIL(rig_ledger(rig, WEIR_TRACES).delivered == 8);
    expect_times(rig, 0, 1, 2);
    expect_times(rig, 1, 3, 1);
    rig_free(rig);
}

static struct rig_answer away_until_allowed(struct replay_rig *rig, const struct rig_seen *seen)
{
    bool away = seen->signal == WEIR_TRACES && atomic_load(&rig->limit) == 0;
    return (struct rig_answer){.status = away ? GRPC_ABORTED : 0};
}

// The worker has blocks to put back and to try again, and memory still holds them; those that were evicted meanwhile are lost, and stay so.
Test(replay_past, what_was_evicted_is_not_sent)
{
    struct replay_rig *rig = rig_new_on((struct rig_spool){.max_age_ns = 300000000}, (struct config_upstream){0});
    rig->decide = away_until_allowed;
    for (unsigned i = 0; i < 3; i++)
        rig_append(rig, WEIR_TRACES, i, 1, 600);
    rig_start(rig);
    KIT_UNTIL(rig_ledger(rig, WEIR_TRACES).evicted == 6);
    replay_look_again(atomic_load(&rig->replay));
    rig_append(rig, WEIR_LOGS, 100, 1, 600);
    RIG_DRAINED(rig, WEIR_LOGS); // it has looked, and what was under way has its answer
    KIT_UNTIL(rig_stats(rig).lanes[WEIR_TRACES].state == REPLAY_IDLE);
    atomic_store(&rig->limit, 1);
    rig_append(rig, WEIR_TRACES, 3, 1, 600);
    RIG_DRAINED(rig, WEIR_TRACES);
    cr_expect_eq(rig_ledger(rig, WEIR_TRACES).delivered, 2);
    expect_times(rig, 0, 3, 0);
    rig_free(rig);
}

static struct rig_answer refuse_the_poison(struct replay_rig *rig, const struct rig_seen *seen)
{
    for (size_t i = 0; i < seen->id_count; i++)
        if (seen->ids[i] == 7)
            return (struct rig_answer){.status = GRPC_INVALID_ARGUMENT};
    return (struct rig_answer){.status = 0};
}

// A refusal makes the worker go block by block up to there; what lies before it and was never refused travels joined again.
Test(replay_past, older_data_is_joined_in_spite_of_a_later_refusal)
{
    struct replay_rig *rig = rig_new_on(KEPT, (struct config_upstream){0});
    rig->decide = refuse_the_poison;
    for (unsigned i = 0; i < 10; i++)
        rig_append(rig, WEIR_TRACES, i, 1, 600);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    cr_expect_eq(rig_ledger(rig, WEIR_TRACES).dead_lettered, 2);
    int before = rig_seen_count(rig);
    cr_expect_eq(add(rig, 0, 5).items, 10);
    KIT_UNTIL(rig_ledger(rig, WEIR_TRACES).delivered == 28);
    cr_expect_eq(rig_seen_count(rig), before + 1);
    rig_free(rig);
}
