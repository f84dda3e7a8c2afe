// SPDX-License-Identifier: Apache-2.0
// Whose turn it is while a backlog drains: counted in bytes over many exports.
#include "relay/fresh.h"

#include <criterion/criterion.h>

#define MOST (4u << 20)

// Sends `exports` in the order that fresh_next wants; each of its cursor's size. Returns the newest's share of the bytes, in thousandths.
static unsigned share_sent(struct fresh *fresh, unsigned share, unsigned exports, uint64_t backlog, uint64_t newest)
{
    uint64_t sent[FRESH_CURSORS] = {0};
    for (unsigned i = 0; i < exports; i++) {
        enum fresh_cursor cursor = fresh_next(fresh, share, backlog > 0, newest > 0);
        uint64_t bytes = cursor == FRESH_NEWEST ? newest : backlog;
        fresh_sent(fresh, share, cursor, bytes, MOST);
        sent[cursor] += bytes;
    }
    return (unsigned)(sent[FRESH_NEWEST] * FRESH_SHARE_ALL / (sent[FRESH_NEWEST] + sent[FRESH_BACKLOG]));
}

Test(fresh, shares_by_bytes_whatever_the_sizes_of_exports)
{
    static const uint64_t sizes[] = {1000, 70000, 1u << 20, MOST};
    for (unsigned share = 0; share <= FRESH_SHARE_ALL; share += 50)
        for (size_t i = 0; i < WEIR_COUNT(sizes); i++)
            for (size_t j = 0; j < WEIR_COUNT(sizes); j++) {
                struct fresh fresh = {0};
                fresh_begin(&fresh, 1);
                // Long enough for the larger size to come a hundred times.
                unsigned exports = sizes[i] == sizes[j] ? 1000 : 500000;
                unsigned got = share_sent(&fresh, share, exports, sizes[i], sizes[j]);
                cr_assert(got + 20 >= share && got <= share + 20, "%u of %u with %zu and %zu", got, share,
                          (size_t)sizes[i], (size_t)sizes[j]);
            }
}

Test(fresh, the_newest_goes_first_when_the_lane_goes_on)
{
    struct fresh fresh = {0};
    fresh_begin(&fresh, 1);
    cr_assert_eq(fresh_next(&fresh, 1, true, true), FRESH_NEWEST);
}

Test(fresh, what_one_does_not_need_the_other_takes_and_nothing_is_saved_up)
{
    struct fresh fresh = {0};
    fresh_begin(&fresh, 1);
    cr_assert_eq(share_sent(&fresh, 500, 1000, MOST, 0), 0);
    // A thousand exports without it do not make the newest's next thousand go alone: two exports' worth at most.
    unsigned alone = 0;
    while (fresh_next(&fresh, 500, true, true) == FRESH_NEWEST && alone < 100) {
        fresh_sent(&fresh, 500, FRESH_NEWEST, MOST, MOST);
        alone++;
    }
    cr_assert(alone >= 1 && alone <= 5, "%u", alone);
    cr_assert_eq(share_sent(&fresh, 500, 1000, 0, MOST), FRESH_SHARE_ALL);
    for (alone = 0; fresh_next(&fresh, 500, true, true) == FRESH_BACKLOG && alone < 100; alone++)
        fresh_sent(&fresh, 500, FRESH_BACKLOG, MOST, MOST);
    cr_assert(alone >= 1 && alone <= 5, "%u", alone);
}

Test(fresh, moves_ever_more_seldom_the_more_intervals_there_are)
{
    cr_assert_eq(fresh_late_ns(1), FRESH_LATE_NS);
    for (size_t i = 1; i < FRESH_INTERVALS_MAX; i++)
        cr_assert_geq(fresh_late_ns(i), fresh_late_ns(i - 1));
    cr_assert_gt(fresh_late_ns(FRESH_INTERVALS_MAX - 1), 3600 * 1000000000ull);
    cr_assert_eq(fresh_late_ns(FRESH_INTERVALS_MAX), UINT64_MAX);
}

Test(fresh, without_a_backlog_nothing_is_counted)
{
    struct fresh fresh = {0};
    fresh_sent(&fresh, 500, FRESH_BACKLOG, MOST, MOST);
    cr_assert_eq(fresh.balance, 0);
}
