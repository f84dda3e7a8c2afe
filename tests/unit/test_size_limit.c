// SPDX-License-Identifier: Apache-2.0
// What is learnt of the sizes that an upstream takes.
#include <criterion/criterion.h>

#include "relay/size_limit.h"

TestSuite(size_limit, .timeout = 10);

Test(size_limit, lies_between_what_was_taken_and_what_was_refused)
{
    struct size_limit limit = {0};
    size_limit_taken(&limit, 1000);
    cr_expect_eq(limit.bytes, 0, "nothing was refused: no limit");
    size_limit_refused(&limit, 1500);
    cr_expect_eq(limit.bytes, 1000, "what was taken, when that is more than half of what was refused");
    size_limit_refused(&limit, 4000);
    cr_expect_eq(limit.bytes, 1000, "one that was under way meanwhile, and tells nothing new");
    size_limit_refused(&limit, 900);
    cr_expect_eq(limit.bytes, 1000, "it took 1000: for this once, something else");
    size_limit_refused(&limit, 900);
    cr_expect_eq(limit.bytes, 450, "it took 1000 once, and no longer");
    size_limit_refused(&limit, 1);
    cr_expect_eq(limit.bytes, 1, "never nothing");
}

// An upstream that takes `takes` bytes and always has more than that waiting.
Test(size_limit, costs_little_and_finds_a_raised_limit)
{
    struct size_limit limit = {0};
    uint64_t takes = 4000000, refused = 0;
    size_limit_refused(&limit, 8000000);
    for (int i = 0; i < 10000; i++) {
        if (i == 5000)
            takes = 16000000;
        uint64_t bytes = limit.bytes;
        if (bytes <= takes) {
            size_limit_taken(&limit, bytes);
            continue;
        }
        refused++;
        size_limit_taken(&limit, bytes / 2);
        size_limit_refused(&limit, bytes);
        cr_expect_geq(limit.bytes, takes / 2);
    }
    cr_expect_leq(refused, 10000 / 64, "%llu", (unsigned long long)refused);
    cr_expect_gt(limit.bytes, 12000000, "%llu", (unsigned long long)limit.bytes);
}

// Who is short of something else now and then says the same words as to what is too large.
Test(size_limit, one_refusal_in_a_hundred_does_not_make_exports_ever_smaller)
{
    struct size_limit limit = {0};
    uint64_t random = 1, sent = 0;
    for (int i = 0; i < 10000; i++) {
        uint64_t bytes = limit.bytes > 0 && limit.bytes < 4000000 ? limit.bytes : 4000000;
        random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        sent += bytes;
        size_limit_taken(&limit, (random >> 33) % 100 == 0 ? bytes / 2 : bytes);
        if ((random >> 33) % 100 == 0)
            size_limit_refused(&limit, bytes);
    }
    cr_expect_gt(sent / 10000, 3000000, "%llu bytes an export", (unsigned long long)(sent / 10000));
}

Test(size_limit, more_that_was_taken_raises_it)
{
    struct size_limit limit = {0};
    size_limit_refused(&limit, 1000);
    size_limit_taken(&limit, 800);
    cr_expect_eq(limit.bytes, 800);
}

Test(size_limit, a_refusal_that_a_larger_success_contradicts_is_dropped)
{
    struct size_limit limit = {0};
    size_limit_refused(&limit, 100);
    size_limit_taken(&limit, 5000);
    cr_expect_eq(limit.refused, 0);
}
