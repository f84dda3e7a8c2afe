// SPDX-License-Identifier: Apache-2.0
#include "relay/backoff.h"

#include <criterion/criterion.h>

static const struct backoff_policy policy = {.initial_ms = 1000, .max_ms = 30000};

// U5, U15.
Test(backoff, doubles_to_the_maximum_and_stays_there)
{
    static const uint64_t longest_ms[] = {1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000};
    for (uint32_t i = 0; i < WEIR_COUNT(longest_ms); i++) {
        cr_assert_eq(backoff_delay_ms(&policy, i + 1, 0, 1.0), longest_ms[i]);
        cr_assert_eq(backoff_delay_ms(&policy, i + 1, 0, 0.0), longest_ms[i] / 2, "jitter halves at most");
    }
    cr_assert_eq(backoff_delay_ms(&policy, UINT32_MAX, 0, 1.0), 30000, "there is no last attempt");
}

Test(backoff, server_delay_is_a_lower_bound_and_itself_bounded)
{
    cr_assert_eq(backoff_delay_ms(&policy, 1, 5000, 0.0), 5000);
    cr_assert_eq(backoff_delay_ms(&policy, 1, 5000, 1.0), 5500, "and jitter only lengthens it");
    cr_assert_eq(backoff_delay_ms(&policy, 6, 5000, 1.0), 30000, "the longer of the two counts");
    cr_assert_eq(backoff_delay_ms(&policy, 1, UINT64_MAX, 0.0), BACKOFF_SERVER_DELAY_MAX_MS);
}

Test(backoff, waits_until_its_time_and_forgets_on_success)
{
    struct backoff backoff = {0};
    cr_assert_not(backoff_waits(&backoff, 0));
    backoff_fail(&backoff, &policy, 0, 1.0, 5000000000);
    cr_assert_eq(backoff.failures, 1);
    cr_assert(backoff_waits(&backoff, 5999999999));
    cr_assert_not(backoff_waits(&backoff, 6000000000));
    backoff_fail(&backoff, &policy, 0, 1.0, 6000000000);
    cr_assert(backoff_waits(&backoff, 7999999999));
    backoff_reset(&backoff);
    cr_assert_eq(backoff.failures, 0);
    cr_assert_not(backoff_waits(&backoff, 0));
}

Test(backoff, initial_above_maximum_is_the_maximum)
{
    const struct backoff_policy held = {.initial_ms = 30000, .max_ms = 30000};
    for (uint32_t failures = 1; failures < 5; failures++)
        cr_assert_eq(backoff_delay_ms(&held, failures, 0, 1.0), 30000);
}

Test(backoff, attempts_that_were_under_way_together_are_one_failure)
{
    struct backoff backoff = {0};
    cr_assert_not(backoff_is_older(&backoff, 0));
    backoff_fail(&backoff, &policy, 0, 1.0, 5000000000);
    cr_assert(backoff_is_older(&backoff, 4999999999));
    cr_assert(backoff_is_older(&backoff, 5000000000), "what begins after it waits first");
    cr_assert_not(backoff_is_older(&backoff, 5000000001));
    backoff_extend(&backoff, 0, 1.0, 5500000000);
    backoff_extend(&backoff, 300, 1.0, 5500000000);
    cr_assert_eq(backoff.until_ns, 6000000000, "a shorter delay changes nothing");
    backoff_extend(&backoff, 3000, 0.0, 5500000000);
    cr_assert_eq(backoff.until_ns, 8500000000);
    cr_assert_eq(backoff.failures, 1);
}
