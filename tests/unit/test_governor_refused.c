// SPDX-License-Identifier: Apache-2.0
// What the governor makes of refusals for now.
#include "tests/unit/governor_rig.h"

#define START (1000 * S)

static void assert_steady(uint64_t capacity, uint64_t retry_after_ms, uint64_t latency_ns)
{
    struct rig rig = rig_make(upstream_limited);
    rig.capacity = capacity;
    rig.retry_after_ms = retry_after_ms;
    rig.latency_ns = latency_ns;
    rig_run(&rig, START + 120 * S);
    rig_clear(&rig);
    rig_run(&rig, START + 420 * S);
    double used = (double)rig.delivered / (double)(capacity * 300);
    double refused = (double)rig.throttled / (double)rig.starts;
    cr_assert(used >= 0.9 && refused <= 0.05, "%lu/s, delay %lu ms, latency %lu ms: %.3f used, %.3f refused", capacity,
              retry_after_ms, latency_ns / MS, used, refused);
}

Test(governor, nine_tenths_of_what_is_accepted_are_used_and_few_refused)
{
    static const uint64_t capacities[] = {2, 5, 10, 20, 50, 100, 200, 500, 900};
    for (size_t i = 0; i < WEIR_COUNT(capacities); i++)
        assert_steady(capacities[i], 0, 4 * MS);
    for (size_t i = 0; i < 5; i++)
        assert_steady(capacities[i], 0, 60 * MS);
    for (size_t i = 1; i < 7; i++)
        assert_steady(capacities[i], 1000, 4 * MS);
}

// Behind an outage, with next to no latency, a window far below one export holds nothing up: the rate has to.
Test(governor, a_near_upstream_that_takes_few_is_not_flooded_after_an_outage)
{
    struct rig rig = rig_make(upstream_limited);
    rig.governor.policy.export_bytes = rig.export_bytes = 8 * KIB;
    rig.governor.policy.max_in_flight_bytes = 64 * KIB;
    rig.governor.window_bytes = 8 * KIB;
    rig.governor.mean_bytes = 8. * KIB;
    rig.capacity = 5;
    rig.latency_ns = 300000;
    rig.down = true;
    rig_run(&rig, START + 10 * S);
    rig.down = false;
    rig_run(&rig, START + 70 * S);
    rig_clear(&rig);
    rig_run(&rig, START + 370 * S);
    cr_assert(rig.delivered >= 1350 && rig.throttled <= 75, "%lu of 1500, %lu refused", rig.delivered, rig.throttled);
}

// One of five replicas refuses everything: the other four are not left idle for it, however slowly it were asked.
Test(governor, refusals_that_have_nothing_to_do_with_the_rate_do_not_slow_it_down)
{
    static const uint64_t one_of[] = {5, 10, 20, 100};
    for (size_t i = 0; i < WEIR_COUNT(one_of); i++) {
        struct rig rig = rig_make(upstream_flaky);
        rig.capacity = one_of[i];
        rig_run(&rig, START + 60 * S);
        rig_clear(&rig);
        rig_run(&rig, START + 660 * S);
        cr_assert_geq(rig.delivered, 600 * 300, "one of %lu: %.1f exports a second", one_of[i],
                      (double)rig.delivered / 600);
    }
}

// A minute in which everything is refused, as while a collector behind a proxy is started anew, is an outage and not a slow upstream.
Test(governor, after_an_outage_of_refusals_it_goes_on_as_before)
{
    struct rig rig = rig_make(upstream_fast);
    rig_run(&rig, START + 30 * S);
    rig.upstream = upstream_limited;
    rig.capacity = 0;
    rig.tokens_ns = rig.now_ns;
    rig_run(&rig, START + 90 * S);
    rig_clear(&rig);
    rig.upstream = upstream_fast;
    rig_run(&rig, START + 130 * S); // the next probe comes within 30 s
    cr_assert_leq(rig.first_ns, START + 121 * S);
    cr_assert_geq(rig.delivered, 1000, "%lu", rig.delivered);
}

Test(governor, the_servers_own_delay_is_honoured_and_the_longest_counts)
{
    struct rig rig = rig_make(upstream_fast);
    struct governor *governor = &rig.governor;
    for (int i = 0; i < 3; i++)
        governor_started(governor, START, 100, false);
    uint64_t wake_ns;
    static const uint64_t delays_ms[] = {2000, 7000, 3000};
    for (int i = 0; i < 3; i++) {
        struct governor_end end = {GOVERNOR_THROTTLED, 100, 10 * MS, delays_ms[i]};
        governor_ended(governor, START + 10 * MS, &end, 0.0);
    }
    cr_assert_eq(governor->state, REPLAY_BACKING_OFF);
    cr_assert_not(governor_may_start(governor, START + 7009 * MS, 100, &wake_ns));
    cr_assert_eq(wake_ns, START + 7010 * MS);
    cr_assert(governor_may_start(governor, START + 7010 * MS, 100, &wake_ns));
    cr_assert(governor_probes(governor));
}

Test(governor, refusals_alone_back_off_to_a_small_probe_now_and_then)
{
    struct rig rig = rig_make(upstream_limited);
    rig.capacity = 0;
    rig.tokens_ns = START;
    rig_run(&rig, START + 300 * S);
    cr_assert_eq(rig.delivered, 0);
    rig_clear(&rig);
    rig_run(&rig, START + 900 * S);
    cr_assert(rig.starts >= 59 && rig.starts <= 121, "5 to 10 s apart: %lu in 600 s", rig.starts);
}

// When exports were started, up to `most`, by an upstream that refuses all from now on.
static size_t refused_starts(struct rig *rig, uint64_t *starts_ns, size_t most)
{
    rig->upstream = upstream_limited;
    rig->capacity = 0;
    rig->tokens = 0;
    rig_clear(rig);
    for (size_t i = 0; i < most; i++) {
        while (rig->starts == i)
            rig_run(rig, rig->now_ns + 1 * MS);
        starts_ns[i] = rig->now_ns;
    }
    return most;
}

// Nothing was ever taken: an outage from the first refusal on. The clock of the rig goes by steps of 1 ms.
Test(governor, refusals_before_anything_was_taken_back_off_by_the_policy)
{
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct rig rig = rig_make(upstream_limited);
        rig.random = seed * 0x9E3779B97F4A7C15u;
        rig.governor.policy.retry = (struct backoff_policy){20, 400};
        uint64_t starts_ns[20], nominal_ms = 20, before_ms = 0;
        size_t count = refused_starts(&rig, starts_ns, WEIR_COUNT(starts_ns));
        for (size_t i = 1; i < count; i++) {
            uint64_t wait_ms = (starts_ns[i] - starts_ns[i - 1] - rig.latency_ns) / MS;
            cr_assert(wait_ms + 1 >= nominal_ms / 2 && wait_ms <= nominal_ms + 1, "seed %lu, wait %zu: %lu ms of %lu",
                      seed, i, wait_ms, nominal_ms);
            cr_assert(wait_ms + 1 >= before_ms || nominal_ms == 400, "it grows up to the limit");
            before_ms = wait_ms;
            nominal_ms = nominal_ms * 2 < 400 ? nominal_ms * 2 : 400;
        }
        cr_assert_eq(rig.governor.backoff.failures, 19, "one failure each");
    }
}

// It took some before: the first refusals may be a limit's, but their pauses are no longer than a failure's may be, and none that follow
// are much shorter.
Test(governor, a_row_of_refusals_pauses_ever_longer_and_never_beyond_the_policy)
{
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct rig rig = rig_make(upstream_fast);
        rig.random = seed * 0x9E3779B97F4A7C15u;
        rig.governor.policy.retry = (struct backoff_policy){20, 400};
        rig.governor.policy.max_in_flight_bytes = rig.export_bytes; // one at a time
        while (rig.delivered < seed % 5 + 1)
            rig_run(&rig, rig.now_ns + 1 * MS);
        rig_run(&rig, rig.now_ns + (seed % 3) * S);
        uint64_t starts_ns[16];
        double longest_ms = 0;
        size_t count = refused_starts(&rig, starts_ns, WEIR_COUNT(starts_ns));
        for (size_t i = 1; i < count; i++) {
            double wait_ms = (double)(starts_ns[i] - starts_ns[i - 1] - rig.latency_ns) / 1e6;
            cr_assert_leq(wait_ms, 402, "seed %lu, wait %zu", seed, i);
            cr_assert_geq(2 * wait_ms + 4, longest_ms, "seed %lu, wait %zu: %.1f ms after %.1f", seed, i, wait_ms,
                          longest_ms);
            longest_ms = wait_ms > longest_ms ? wait_ms : longest_ms;
        }
        cr_assert_geq(longest_ms, 200);
    }
}
