// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>

#include "storage/intervals.h"

#define END UINT64_MAX

// Each number holds one block of two items and ten bytes.
static struct mark at(uint64_t number)
{
    return number == END ? (struct mark){.number = END} : (struct mark){number, number, number * 2, number * 10};
}

static void check(const struct interval_set *set, size_t n, const uint64_t borders[])
{
    cr_assert(intervals_sane(set));
    cr_assert_eq(set->n, n);
    for (size_t i = 0; i < n; i++) {
        cr_assert_eq(set->at[i].first.number, borders[2 * i]);
        cr_assert_eq(set->at[i].end.number, borders[2 * i + 1]);
    }
}

Test(intervals, add_joins_and_subtract_splits)
{
    struct interval_set set = {.n = 0};
    struct interval_sum sum = {0};
    struct mark now = at(1000);
    cr_assert(intervals_add(&set, at(10), at(20), &now, &sum));
    cr_assert(intervals_add(&set, at(30), at(40), &now, &sum));
    check(&set, 2, (uint64_t[]){10, 20, 30, 40});
    cr_assert_eq(sum.items, 40);
    cr_assert(intervals_add(&set, at(15), at(30), &now, &sum));
    check(&set, 1, (uint64_t[]){10, 40});
    cr_assert_eq(sum.items, 60, "only what was new");
    sum = (struct interval_sum){0};
    cr_assert(intervals_subtract(&set, at(15), at(20), &now, &sum));
    check(&set, 2, (uint64_t[]){10, 15, 20, 40});
    cr_assert_eq(sum.items, 10);
    cr_assert_eq(sum.blocks, 5);
    cr_assert_eq(sum.raw_bytes, 50);
    cr_assert(intervals_subtract(&set, at(0), at(12), &now, &sum));
    check(&set, 2, (uint64_t[]){12, 15, 20, 40});
    cr_assert(intervals_subtract(&set, at(14), at(25), &now, &sum));
    check(&set, 2, (uint64_t[]){12, 14, 25, 40});
    cr_assert(intervals_contain(&set, 13));
    cr_assert_not(intervals_contain(&set, 14));
    cr_assert(intervals_contain(&set, 25));
    cr_assert_not(intervals_contain(&set, 40));
    cr_assert(intervals_subtract(&set, at(0), at(100), &now, &sum));
    check(&set, 0, NULL);
}

Test(intervals, one_that_follows)
{
    struct interval_set set = {.n = 0};
    struct interval_sum sum = {0};
    struct mark now = at(100);
    cr_assert(intervals_add(&set, at(90), at(END), &now, &sum));
    cr_assert_eq(sum.items, 20);
    now = at(150);
    cr_assert_eq(intervals_count(&set, &now).items, 120);
    cr_assert(intervals_subtract(&set, at(90), at(150), &now, &sum));
    check(&set, 1, (uint64_t[]){150, END});
    cr_assert_eq(intervals_count(&set, &now).items, 0);
    now = at(160);
    cr_assert(intervals_stop_following(&set, &now));
    check(&set, 1, (uint64_t[]){150, 160});
    cr_assert_not(intervals_stop_following(&set, &now));
    cr_assert(intervals_add(&set, at(160), at(END), &now, &sum));
    check(&set, 1, (uint64_t[]){150, END});
    cr_assert(intervals_subtract(&set, at(150), at(160), &now, &sum));
    cr_assert(intervals_stop_following(&set, &now));
    check(&set, 0, NULL);
}

Test(intervals, bounded)
{
    struct interval_set set = {.n = 0};
    struct interval_sum sum = {0};
    struct mark now = at(100000);
    for (uint64_t i = 0; i < INTERVALS_MAX; i++)
        cr_assert(intervals_add(&set, at(i * 10), at(i * 10 + 5), &now, &sum));
    sum = (struct interval_sum){0};
    struct interval_set before = set;
    cr_assert_not(intervals_add(&set, at(50000), at(50001), &now, &sum));
    cr_assert_not(intervals_subtract(&set, at(1), at(2), &now, &sum));
    cr_assert_eq(sum.items, 0);
    cr_assert_arr_eq(&set, &before, sizeof(set));
    cr_assert(intervals_add(&set, at(5), at(10), &now, &sum), "joining takes no room");
    cr_assert(intervals_subtract(&set, at(1), at(2), &now, &sum));
    cr_assert(intervals_sane(&set));
}

// Against a bitmap, over random operations.
Test(intervals, agrees_with_a_bitmap)
{
    struct interval_set set = {.n = 0};
    bool in[200] = {0};
    struct mark now = at(200);
    uint64_t x = 42;
    for (unsigned round = 0; round < 20000; round++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        uint64_t a = (x >> 8) % 200, b = (x >> 24) % 200, changed = 0;
        struct interval_sum sum = {0};
        bool add = (x >> 40) % 2;
        if (a > b) {
            uint64_t swap = a;
            a = b, b = swap;
        }
        for (uint64_t i = a; i < b; i++) {
            changed += in[i] != add;
            in[i] = add;
        }
        cr_assert(add ? intervals_add(&set, at(a), at(b), &now, &sum)
                      : intervals_subtract(&set, at(a), at(b), &now, &sum));
        cr_assert_eq(sum.blocks, changed);
        cr_assert(intervals_sane(&set));
        uint64_t held = 0;
        for (uint64_t i = 0; i < 200; i++) {
            held += in[i];
            cr_assert_eq(intervals_contain(&set, i), in[i]);
        }
        cr_assert_eq(intervals_count(&set, &now).items, held * 2);
    }
}
