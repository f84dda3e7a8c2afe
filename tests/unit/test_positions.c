// SPDX-License-Identifier: Apache-2.0
#include "relay/positions.h"

#include <criterion/criterion.h>

TestSuite(positions, .timeout = 60);

static struct position at(uint64_t block, uint32_t item)
{
    return (struct position){block, item};
}

static struct position_span span(uint64_t from, uint64_t to)
{
    return (struct position_span){{from, 0}, {to, 0}};
}

Test(positions, parts_of_blocks_and_whole_ones_make_one)
{
    struct position_set set = {0};
    cr_assert(positions_add(&set, span(3, 5)));
    cr_assert(positions_add(&set, (struct position_span){{6, 0}, {6, 100}}));
    cr_expect_eq(positions_look(&set, span(3, 5)), POSITIONS_ALL);
    cr_expect_eq(positions_look(&set, span(4, 5)), POSITIONS_ALL);
    cr_expect_eq(positions_look(&set, (struct position_span){{4, 7}, {4, 9}}), POSITIONS_ALL);
    cr_expect_eq(positions_look(&set, span(4, 6)), POSITIONS_PART);
    cr_expect_eq(positions_look(&set, span(5, 6)), POSITIONS_NONE);
    cr_expect_eq(positions_look(&set, span(6, 7)), POSITIONS_PART);
    cr_expect_eq(positions_look(&set, (struct position_span){{6, 100}, {7, 0}}), POSITIONS_NONE);
    cr_expect_eq(positions_look(&set, span(0, 10)), POSITIONS_PART);
    cr_assert(positions_add(&set, (struct position_span){{6, 100}, {7, 0}}));
    cr_expect_eq(positions_look(&set, span(6, 7)), POSITIONS_ALL);
    cr_assert(positions_add(&set, span(5, 6)));
    cr_expect_eq(set.n, 1);
    cr_expect_eq(positions_look(&set, span(3, 7)), POSITIONS_ALL);
    positions_pass(&set, at(5, 0));
    positions_pass(&set, at(4, 0));
    cr_expect_eq(set.passed.block, 5, "never lower");
    cr_expect_eq(positions_look(&set, span(0, 3)), POSITIONS_NONE, "what was passed is not held for that");
    cr_assert(positions_add(&set, span(0, 3)));
    cr_expect(set.n == 0 && set.low.block == 7 && set.low.item == 0, "from the beginning on, all of it");
    cr_expect_eq(positions_look(&set, span(0, 7)), POSITIONS_ALL);
    cr_expect_eq(positions_look(&set, span(6, 8)), POSITIONS_PART);
    positions_free(&set);
}

Test(positions, the_lowest_span_goes_when_there_is_no_room)
{
    struct position_set set = {0};
    for (uint64_t i = 1; i <= POSITIONS_MAX; i++)
        cr_assert(positions_add(&set, span(10 * i, 10 * i + 5)));
    cr_expect_not(positions_add(&set, span(10000, 10001)));
    cr_expect_eq(set.n, POSITIONS_MAX);
    cr_expect(positions_sane(&set));
    cr_expect_eq(positions_look(&set, span(10, 15)), POSITIONS_NONE);
    cr_expect_eq(positions_look(&set, span(20, 25)), POSITIONS_ALL);
    cr_expect_eq(positions_look(&set, span(10000, 10001)), POSITIONS_ALL);
    cr_expect_not(positions_add(&set, span(10, 11)), "the lowest is the new one");
    cr_expect_eq(positions_look(&set, span(10, 11)), POSITIONS_NONE);
    cr_expect_not(positions_add(&set, span(27, 28)));
    cr_expect_eq(positions_look(&set, span(27, 28)), POSITIONS_ALL);
    cr_expect_eq(positions_look(&set, span(20, 25)), POSITIONS_NONE);
    cr_expect(positions_sane(&set));
    positions_free(&set);
}

// Gaps of 5 blocks, but for one of a single block and one of two items.
static struct position_set full(void)
{
    struct position_set set = {0};
    for (uint64_t i = 1; i <= POSITIONS_MAX; i++)
        cr_assert(positions_add(&set, span(10 * i, i == 30 ? 309 : 10 * i + 5)));
    set.at[39].to = at(409, 0); // [400, 409), and [409.2, 415) behind it
    set.at[40].from = at(409, 2);
    cr_assert(positions_sane(&set));
    return set;
}

Test(positions, a_narrow_gap_that_was_passed_is_closed_first)
{
    struct position_set set = full();
    positions_pass(&set, at(409, 0)); // not behind the gap of two items
    cr_assert(positions_add(&set, span(10000, 10001)));
    cr_expect_eq(positions_look(&set, span(309, 310)), POSITIONS_ALL, "the one of a block");
    cr_expect_eq(positions_look(&set, (struct position_span){{409, 0}, {409, 2}}), POSITIONS_NONE);
    positions_pass(&set, at(420, 0));
    cr_assert(positions_add(&set, span(10010, 10011)));
    cr_expect_eq(positions_look(&set, span(400, 415)), POSITIONS_ALL, "the one of items");
    cr_assert(positions_add(&set, span(10020, 10021)));
    cr_expect_eq(positions_look(&set, span(15, 20)), POSITIONS_ALL, "the lowest of equals");
    cr_expect_eq(positions_look(&set, span(0, 10)), POSITIONS_NONE);
    cr_expect_eq(set.n, POSITIONS_MAX);
    unsigned closed = 0;
    for (; set.low.block == 0; closed++)
        cr_assert(positions_add(&set, span(20000 + 10 * closed, 20001 + 10 * closed)));
    cr_expect_eq(closed, 39, "the widest comes last");
    cr_expect_not(positions_add(&set, span(30000, 30001)), "no other was passed");
    cr_expect(positions_sane(&set));
    positions_free(&set);
}

// Against one flag a position: blocks 0 to 29 of 4 items each.
#define ITEMS 4
#define ALL   (30 * ITEMS)

static struct position of(unsigned i)
{
    return at(i / ITEMS, i % ITEMS);
}

Test(positions, are_what_a_list_of_flags_says)
{
    uint64_t x = 88172645463325252u;
    for (unsigned round = 0; round < 300; round++) {
        struct position_set set = {0};
        bool flags[ALL] = {false};
        for (unsigned step = 0; step < 40; step++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            unsigned from = (unsigned)(x % (ALL - 1)), len = 1 + (unsigned)(x >> 32) % 9;
            unsigned to = from + len < ALL ? from + len : ALL;
            struct position_span s = {of(from), of(to)};
            if ((x >> 60) == 0 && from > 0) {
                positions_pass(&set, of(from)); // changes nothing while there is room
                positions_add(&set, (struct position_span){of(0), of(from)});
                memset(flags, 1, from);
            }
            unsigned held = 0;
            for (unsigned i = from; i < to; i++)
                held += flags[i];
            cr_assert_eq(positions_look(&set, s), held == to - from ? POSITIONS_ALL
                                                  : held > 0        ? POSITIONS_PART
                                                                    : POSITIONS_NONE);
            if (held > 0 && held < to - from) {
                unsigned change = from + 1;
                while (flags[change] == flags[from])
                    change++;
                struct position at_change = positions_change(&set, s);
                cr_assert(at_change.block == of(change).block && at_change.item == of(change).item);
            }
            cr_assert(positions_add(&set, s));
            memset(flags + from, 1, to - from);
            cr_assert(positions_sane(&set));
        }
        positions_free(&set);
    }
}
