// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <math.h>

#include "relay/rates.h"

#define SECOND 1000000000ull

// Counter `value` grows by `step` a second for `seconds`; returns the time after.
static uint64_t run(struct rate *rate, uint64_t *value, uint64_t step, uint64_t now_ns, int seconds)
{
    for (int i = 0; i < seconds; i++) {
        *value += step;
        now_ns += SECOND;
        rate_sample(rate, *value, now_ns);
    }
    return now_ns;
}

Test(rates, unknown_before_two_samples)
{
    struct rate rate = {0};
    cr_assert_eq(rate_per_second(&rate), 0);
    rate_sample(&rate, 1000000, 5 * SECOND);
    cr_assert_eq(rate_per_second(&rate), 0, "the first value is where counting begins, not speed");
}

Test(rates, shows_the_speed_from_the_first_second_on)
{
    struct rate rate = {0};
    rate_sample(&rate, 500, SECOND);
    rate_sample(&rate, 600, 2 * SECOND);
    cr_assert_float_eq(rate_per_second(&rate), 100, 1e-9);
}

Test(rates, is_independent_of_the_sampling_interval)
{
    struct rate rate = {0};
    uint64_t at[] = {1000, 1500, 4000, 4100, 9000}; // ms, at 2 a ms
    for (size_t i = 0; i < WEIR_COUNT(at); i++)
        rate_sample(&rate, at[i] * 2, at[i] * 1000000);
    cr_assert_float_eq(rate_per_second(&rate), 2000, 1e-6);
}

Test(rates, follows_a_change_within_its_window)
{
    struct rate rate = {0};
    uint64_t value = 0, now = SECOND;
    rate_sample(&rate, value, now);
    now = run(&rate, &value, 1000, now, 60);
    cr_assert_float_eq(rate_per_second(&rate), 1000, 1);
    now = run(&rate, &value, 0, now, 10);
    double after_window = rate_per_second(&rate);
    cr_assert(after_window > 300 && after_window < 450, "1/e of it after one window, got %f", after_window);
    run(&rate, &value, 0, now, 600);
    cr_assert_eq(rate_per_second(&rate), 0, "an old burst fades to nothing");
}

Test(rates, a_counter_that_starts_anew_counts_as_zero)
{
    struct rate rate = {0};
    rate_sample(&rate, 1000, SECOND);
    rate_sample(&rate, 10, 2 * SECOND);
    cr_assert_eq(rate_per_second(&rate), 0);
    rate_sample(&rate, 110, 3 * SECOND);
    cr_assert(rate_per_second(&rate) > 0);
}

Test(rates, a_clock_that_stands_changes_nothing)
{
    struct rate rate = {0};
    rate_sample(&rate, 0, SECOND);
    rate_sample(&rate, 100, 2 * SECOND);
    rate_sample(&rate, 900, 2 * SECOND);
    cr_assert_float_eq(rate_per_second(&rate), 100, 1e-9);
    rate_sample(&rate, 200, 3 * SECOND); // what the skipped sample saw is not lost to the next
    cr_assert_float_eq(rate_per_second(&rate), 100, 1e-9);
}

Test(rates, eta)
{
    static const struct {
        uint64_t backlog;
        double in, out, expected;
    } rows[] = {
        {0, 0, 0, 0},
        {0, 500, 0, 0},
        {1000, 0, 100, 10},
        {1000, 50, 100, 20},
        {1000, 100, 100, RATE_UNKNOWN},
        {1000, 200, 100, RATE_UNKNOWN},
        {1000, 0, 0, RATE_UNKNOWN},
        {UINT64_MAX, 0, 1e-9, RATE_UNKNOWN}, // in the year 600 billion
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++)
        cr_assert_float_eq(rate_eta_seconds(rows[i].backlog, rows[i].in, rows[i].out), rows[i].expected, 1e-9,
                           "row %zu", i);
}

Test(rates, full_in)
{
    cr_assert_float_eq(rate_full_in_seconds(1000, 100, 100), 10, 1e-9);
    cr_assert_eq(rate_full_in_seconds(1000, 0, 100), RATE_UNKNOWN);
    cr_assert_eq(rate_full_in_seconds(1000, -5, 100), RATE_UNKNOWN);
    cr_assert_eq(rate_full_in_seconds(1000, 4, 100), RATE_UNKNOWN, "less than a twentieth is noise");
    cr_assert_float_eq(rate_full_in_seconds(0, 100, 100), 0, 1e-9);
}
