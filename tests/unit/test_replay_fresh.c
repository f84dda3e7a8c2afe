// SPDX-License-Identifier: Apache-2.0
// While a backlog drains the newest data has its share: by the order in which a real upstream gets it, never by time.
#include "tests/unit/replay_rig.h"

TestSuite(replay_fresh, .timeout = 60);

#define OLD_NS  (10ull * 1000000000) // a backlog
#define LATE_NS (1500ull * 1000000)  // no backlog yet, but not the newest any more
#define BYTES   1000
#define NEW_IDS 100

// One block an export, one export at a time: the order of arrival is the order of taking.
static struct config_upstream one_by_one(unsigned share)
{
    return (struct config_upstream){.fresh_share = share,
                                    .max_request_size_bytes = BYTES,
                                    .max_in_flight = 1,
                                    .order = {[WEIR_TRACES] = CONFIG_ORDER_RELAXED}};
}

// The first `poison` requests wait for rig_release.
static struct rig_answer hold_the_first(struct replay_rig *rig, const struct rig_seen *seen)
{
    return (struct rig_answer){.status = 0, .hold = seen->index < rig->poison};
}

static void append(struct replay_rig *rig, unsigned first, unsigned count, uint64_t age_ns)
{
    rig->age_ns = age_ns;
    for (unsigned i = first; i < first + count; i++)
        rig_append(rig, WEIR_TRACES, i, 1, BYTES);
}

// Lets the held one through, when it is there.
static void pass_one(struct replay_rig *rig)
{
    KIT_UNTIL(atomic_load(&rig->held_count) == 1);
    rig_release(rig, (struct rig_answer){0});
}

// How many of the first `count` that arrived were new; each kind came in its own order.
static unsigned newest_among(struct replay_rig *rig, size_t count)
{
    unsigned newest = 0;
    uint64_t last[2] = {0, 0};
    pthread_mutex_lock(&rig->lock);
    cr_assert_geq(rig->order_count, count);
    for (size_t i = 0; i < rig->order_count; i++) {
        uint64_t id = rig->order[i];
        bool is_new = id >= NEW_IDS;
        cr_expect(i == 0 || id == 0 || id == NEW_IDS || id > last[is_new], "%u came behind %u", (unsigned)id,
                  (unsigned)last[is_new]);
        last[is_new] = id;
        newest += is_new && i < count;
    }
    pthread_mutex_unlock(&rig->lock);
    return newest;
}

static void expect_share(unsigned share, unsigned among_the_first_20, unsigned tolerance)
{
    struct replay_rig *rig = rig_new(one_by_one(share));
    rig->decide = hold_the_first;
    rig->poison = 1;
    append(rig, 0, 40, OLD_NS);
    rig_start(rig);
    KIT_UNTIL(atomic_load(&rig->held_count) == 1); // the upstream is back, the lane knows that it is behind
    append(rig, NEW_IDS, 20, 0);
    cr_expect_eq(rig_stats(rig).lanes[WEIR_TRACES].state, REPLAY_REPLAYING);
    pass_one(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    unsigned newest = newest_among(rig, 20);
    cr_expect(newest + tolerance >= among_the_first_20 && newest <= among_the_first_20 + tolerance,
              "share %u: %u of the first 20 were new", share, newest);
    cr_expect_eq(rig->order_count, 60);
    for (unsigned i = 0; i < 40; i++)
        cr_expect_eq(rig->delivered[i], 1);
    for (unsigned i = NEW_IDS; i < NEW_IDS + 20; i++)
        cr_expect_eq(rig->delivered[i], 1);
    rig_free(rig);
}

Test(replay_fresh, the_newest_has_its_share_and_the_backlog_the_rest)
{
    expect_share(500, 10, 1);
    expect_share(250, 5, 1);
    expect_share(800, 16, 1);
    expect_share(1000, 19, 0); // all but the one under way
    expect_share(0, 0, 0);
}

Test(replay_fresh, the_backlog_takes_what_the_newest_does_not_need)
{
    struct replay_rig *rig = rig_new(one_by_one(900));
    rig->decide = hold_the_first;
    rig->poison = 1;
    append(rig, 0, 30, OLD_NS);
    rig_start(rig);
    KIT_UNTIL(atomic_load(&rig->held_count) == 1);
    append(rig, NEW_IDS, 2, 0);
    pass_one(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    cr_expect_eq(newest_among(rig, 4), 2, "the newest went first, then the backlog alone");
    cr_expect_eq(rig->order_count, 32);
    rig_free(rig);
}

// Newest data that had to wait itself is backlog: what comes now goes before it.
Test(replay_fresh, what_fell_behind_makes_room_for_the_newest)
{
    struct replay_rig *rig = rig_new(one_by_one(500));
    rig->decide = hold_the_first;
    rig->poison = 2;
    append(rig, 0, 10, OLD_NS);
    rig_start(rig);
    KIT_UNTIL(atomic_load(&rig->held_count) == 1);
    append(rig, 50, 10, LATE_NS); // came behind the backlog, and is late
    pass_one(rig);                // the worker finds it late
    KIT_UNTIL(atomic_load(&rig->held_count) == 1);
    append(rig, NEW_IDS, 5, 0);
    pass_one(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    cr_expect_geq(newest_among(rig, 12), 5, "the late ones were backlog");
    cr_expect_eq(rig->order_count, 25);
    rig_free(rig);
}

// A crash in the middle: the intervals are what the spool has, and each block is delivered once.
Test(replay_fresh, a_restart_in_the_middle_loses_and_repeats_nothing_that_was_settled)
{
    struct replay_rig *rig = rig_new(one_by_one(500));
    rig->decide = hold_the_first;
    rig->poison = 1;
    append(rig, 0, 20, OLD_NS);
    rig_start(rig);
    KIT_UNTIL(atomic_load(&rig->held_count) == 1);
    append(rig, NEW_IDS, 10, 0);
    pthread_mutex_lock(&rig->lock);
    rig->poison = 100;
    pthread_mutex_unlock(&rig->lock);
    for (unsigned i = 0; i < 8; i++)
        pass_one(rig);
    KIT_UNTIL(atomic_load(&rig->held_count) == 1); // the ninth is under way
    cr_expect(rig->order_count == 8 && newest_among(rig, 8) >= 3);
    struct spool_interval intervals[8];
    cr_expect_geq(spool_lane_intervals(rig_stats(rig).lanes[WEIR_TRACES].lane, intervals, 8), 2,
                  "taken out of the middle");
    rig_end_replay(rig);
    KIT_UNTIL(atomic_load(&rig->gone_count) == 1);
    spool_close(rig->spool);
    rig_open_spool(rig);
    rig_new_replay(rig);
    pthread_mutex_lock(&rig->lock);
    rig->poison = 0;
    pthread_mutex_unlock(&rig->lock);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    cr_expect_eq(rig->order_count, 30);
    for (unsigned i = 0; i < 20; i++)
        cr_expect_eq(rig->delivered[i], 1, "%u: %u times", i, rig->delivered[i]);
    for (unsigned i = NEW_IDS; i < NEW_IDS + 10; i++)
        cr_expect_eq(rig->delivered[i], 1, "%u: %u times", i, rig->delivered[i]);
    struct spool_lane_stats ledger = rig_ledger(rig, WEIR_TRACES);
    cr_expect(ledger.accepted == 60 && ledger.delivered == 60);
    rig_free(rig);
}

Test(replay_fresh, a_strict_lane_keeps_its_order)
{
    struct config_upstream upstream = one_by_one(500);
    upstream.order[WEIR_TRACES] = CONFIG_ORDER_STRICT;
    struct replay_rig *rig = rig_new(upstream);
    rig->decide = hold_the_first;
    rig->poison = 1;
    append(rig, 0, 20, OLD_NS);
    rig_start(rig);
    KIT_UNTIL(atomic_load(&rig->held_count) == 1);
    append(rig, NEW_IDS, 20, 0);
    pass_one(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    cr_expect_eq(newest_among(rig, 20), 0);
    cr_expect_eq(rig->order_count, 40);
    rig_free(rig);
}

static struct rig_answer refuse_the_third(struct replay_rig *rig, const struct rig_seen *seen)
{
    bool poison = seen->ids[0] == 3;
    return (struct rig_answer){.status = poison ? GRPC_INVALID_ARGUMENT : 0,
                               .hold = seen->index < rig->poison || poison};
}

static unsigned times_delivered(struct replay_rig *rig, unsigned id)
{
    pthread_mutex_lock(&rig->lock);
    unsigned times = rig->delivered[id];
    pthread_mutex_unlock(&rig->lock);
    return times;
}

// What the backlog holds up does not hold up the newest.
Test(replay_fresh, the_newest_goes_on_beside_a_refused_block)
{
    struct config_upstream upstream = one_by_one(500);
    upstream.max_in_flight = 2;
    struct replay_rig *rig = rig_new(upstream);
    rig->decide = refuse_the_third;
    append(rig, 0, 20, OLD_NS);
    rig_start(rig);
    for (unsigned tries = 0; rig_ledger(rig, WEIR_TRACES).dead_lettered == 0; tries++) {
        KIT_UNTIL(atomic_load(&rig->held_count) == 1 || rig_ledger(rig, WEIR_TRACES).dead_lettered > 0);
        append(rig, NEW_IDS + tries, 1, 0);
        KIT_UNTIL(times_delivered(rig, NEW_IDS + tries) == 1); // while the refusal is under way
        cr_assert_lt(tries, 10);
        rig_release(rig, (struct rig_answer){.status = -1});
    }
    RIG_DRAINED(rig, WEIR_TRACES);
    cr_expect_eq(rig_ledger(rig, WEIR_TRACES).dead_lettered, 2);
    for (unsigned i = 0; i < 20; i++)
        cr_expect_eq(rig->delivered[i], i != 3);
    rig_free(rig);
}
