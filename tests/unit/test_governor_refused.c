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

// Exports of 8 KiB, 32 KiB in flight, after an outage.
static struct rig rig_make_small(uint64_t seed, uint64_t capacity, uint64_t latency_ns)
{
    struct rig rig = rig_make(upstream_limited);
    rig.random += seed * 0x9E3779B97F4A7C15u;
    rig.governor.policy.export_bytes = rig.export_bytes = 8 * KIB;
    rig.governor.policy.max_in_flight_bytes = 32 * KIB;
    rig.governor.threshold_bytes = 32. * KIB;
    rig.governor.window_bytes = rig.governor.mean_bytes = 8. * KIB;
    rig.capacity = capacity;
    rig.latency_ns = latency_ns;
    rig.down = true;
    rig_run(&rig, START + 10 * S);
    rig.down = false;
    return rig;
}

// Also where a window far below one export holds nothing up, since there is next to no latency: the rate has to.
Test(governor, half_a_minute_after_an_outage_the_rate_is_found)
{
    static const uint64_t capacities[] = {5, 10, 20, 50, 100, 400}, latencies_us[] = {300, 4000, 60000};
    for (uint64_t i = 0; i < WEIR_COUNT(capacities) * WEIR_COUNT(latencies_us) * 10; i++) {
        uint64_t seed = i % 10, capacity = capacities[i / 10 % WEIR_COUNT(capacities)];
        uint64_t latency_us = latencies_us[i / 10 / WEIR_COUNT(capacities)];
        if (capacity * latency_us > 4 * 900000) // it cannot be used with four in flight
            continue;
        struct rig rig = rig_make_small(seed, capacity, latency_us * 1000);
        rig_run(&rig, START + 40 * S);
        rig_clear(&rig);
        rig_run(&rig, START + 100 * S);
        double used = (double)rig.delivered / (double)(capacity * 60);
        double refused = (double)rig.throttled / (double)rig.starts;
        cr_assert(used >= 0.9 && refused <= 0.05, "%lu/s, %lu us, seed %lu: %.3f used, %.3f refused", capacity,
                  latency_us, seed, used, refused);
    }
}

// Refuses the export whose number `capacity` is; takes all others.
static void upstream_refuses_one(struct rig *rig, struct governor_end *end)
{
    rig->tokens += 1;
    if ((uint64_t)rig->tokens == rig->capacity)
        end->outcome = GOVERNOR_THROTTLED;
}

Test(governor, one_refusal_among_the_first_exports_teaches_no_rate)
{
    static const uint64_t sizes[] = {8 * KIB, 4 * MIB};
    for (uint64_t i = 0; i < 40; i++) {
        struct rig rig = rig_make(upstream_refuses_one);
        rig.random += i * 0x9E3779B97F4A7C15u;
        rig.capacity = i % 4 + 1;
        rig.export_bytes = sizes[i / 4 % 2];
        rig_run(&rig, START + 5 * S);
        cr_assert_eq(rig.throttled, 1);
        rig_clear(&rig);
        rig_run(&rig, START + 6 * S);
        cr_assert_geq(rig.delivered, 990, "number %lu of %lu KiB refused: %lu of 1000 in a second", rig.capacity,
                      rig.export_bytes / KIB, rig.delivered);
    }
}

// A limit that comes down to a tenth looks like chance, for a moment: refusals far below what was taken before.
Test(governor, a_limit_that_comes_down_is_no_chance)
{
    static const uint64_t capacities[][2] = {{400, 40}, {400, 5}, {50, 10}, {20, 4}};
    for (uint64_t i = 0; i < WEIR_COUNT(capacities) * 5; i++) {
        uint64_t before = capacities[i / 5][0], capacity = capacities[i / 5][1];
        struct rig rig = rig_make_small(i % 5, before, 4 * MS);
        rig_run(&rig, START + 60 * S);
        rig.capacity = capacity;
        rig_run(&rig, START + 100 * S);
        rig_clear(&rig);
        rig_run(&rig, START + 160 * S);
        double used = (double)rig.delivered / (double)(capacity * 60);
        double refused = (double)rig.throttled / (double)rig.starts;
        cr_assert(used >= 0.9 && refused <= 0.05, "%lu/s, then %lu, seed %lu: %.3f used, %.3f refused", before,
                  capacity, i % 5, used, refused);
    }
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

// One of three replicas begins to refuse everything: what the others take goes on.
Test(governor, one_in_three_refused_leaves_most_of_what_is_taken)
{
    static const uint64_t latencies_us[] = {300, 4000, 60000};
    for (size_t i = 0; i < WEIR_COUNT(latencies_us); i++) {
        double most = 4 / ((double)latencies_us[i] / 1e6) * 2 / 3, delivered = 0;
        for (uint64_t seed = 0; seed < 5; seed++) {
            struct rig rig = rig_make_small(seed, 3, latencies_us[i] * 1000);
            rig.upstream = upstream_fast;
            rig_run(&rig, START + 40 * S);
            rig.upstream = upstream_flaky;
            rig_run(&rig, START + 70 * S);
            rig_clear(&rig);
            rig_run(&rig, START + 100 * S);
            delivered += (double)rig.delivered / 30 / 5;
        }
        cr_assert_geq(delivered, most / 2, "%lu us: %.1f a second of %.1f", latencies_us[i], delivered, most);
    }
}

// The same with little to send: what there is goes, and a few refusals among the first that are looked at are no limit.
Test(governor, one_in_three_refused_leaves_all_that_there_is_to_send)
{
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct rig rig = rig_make(upstream_fast);
        rig.random += seed * 0x9E3779B97F4A7C15u;
        rig.every_ns = 100 * MS;
        rig.sent = rig.now_ns / rig.every_ns;
        rig_run(&rig, START + 60 * S);
        rig.upstream = upstream_flaky;
        rig.capacity = 3;
        rig_clear(&rig);
        rig_run(&rig, START + 240 * S);
        cr_assert_geq(rig.delivered, 1700, "seed %lu: %lu of 1800", seed, rig.delivered);
    }
}

// However little is taken, and however low the rate comes to be: retry.max is the longest wait between two attempts.
Test(governor, no_rate_is_lower_than_an_attempt_each_retry_max)
{
    static const uint64_t max_ms[] = {400, 2000, 30000}, one_of[] = {2, 3, 5};
    for (size_t i = 0; i < WEIR_COUNT(max_ms) * WEIR_COUNT(one_of); i++) {
        struct rig rig = rig_make(upstream_flaky);
        uint64_t starts = 0, last_ns = rig.now_ns;
        rig.governor.policy.retry = (struct backoff_policy){.initial_ms = 100, .max_ms = max_ms[i % 3]};
        rig.capacity = one_of[i / 3];
        while (rig.now_ns < START + 600 * S) {
            rig_run(&rig, rig.now_ns + 10 * MS);
            last_ns = rig.starts > starts ? rig.now_ns : last_ns;
            starts = rig.starts;
            cr_assert_leq(rig.now_ns - last_ns, max_ms[i % 3] * MS + 50 * MS, "one of %lu, %lu ms, after %lu",
                          rig.capacity, max_ms[i % 3], rig.starts);
        }
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
