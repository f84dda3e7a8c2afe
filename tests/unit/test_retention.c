// SPDX-License-Identifier: Apache-2.0
// Which segment goes now and why: the decision alone, without files.
#include <criterion/criterion.h>

#include "storage/retention.h"

#define NOW 10000u

struct expected {
    const char *what;
    struct retention_limits limits;
    enum retention_why why;
    size_t which;
};

static void check(const struct retention_segment *list, size_t n, const struct expected *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t which = 99;
        struct retention_limits limits = cases[i].limits;
        limits.now_ns = NOW;
        cr_expect_eq(retention_next(list, n, &limits, &which), cases[i].why, "%s", cases[i].what);
        if (cases[i].why != RETENTION_NONE)
            cr_expect_eq(which, cases[i].which, "%s: %zu", cases[i].what, which);
    }
}

Test(retention, the_first_rule_that_holds)
{
    static const struct retention_segment list[] = {
        {.needed = true, .received_last_ns = 100}, {.passed_ns = 9000, .received_last_ns = 200},
        {.needed = true, .received_last_ns = 300}, {.passed_ns = 8000, .received_last_ns = 400},
        {.passed_ns = 1, .received_last_ns = 1}, // the last one: written
    };
    static const struct expected cases[] = {
        {"what nobody needs, wherever it lies", {0}, RETENTION_PASSED, 1},
        {"only what was kept long enough", {.keep_delivered_ns = 1500}, RETENTION_PASSED, 3},
        {"to the nanosecond", {.keep_delivered_ns = 2000}, RETENTION_PASSED, 3},
        {"all is kept", {.keep_delivered_ns = 2001}, RETENTION_NONE, 0},
        {"kept, but there is no room: the oldest", {.keep_delivered_ns = 2001, .room_needed = true}, RETENTION_KEPT, 1},
        {"before anything is lost",
         {.keep_delivered_ns = 2001, .room_needed = true, .evict_oldest = true},
         RETENTION_KEPT,
         1},
        {"too old, needed or not", {.keep_delivered_ns = 2001, .max_age_ns = 9899}, RETENTION_AGE, 0},
        {"just old enough to stay", {.keep_delivered_ns = 2001, .max_age_ns = 9900}, RETENTION_NONE, 0},
        {"age does not wait for room",
         {.keep_delivered_ns = 9999, .max_age_ns = 1, .room_needed = true},
         RETENTION_AGE,
         0},
    };
    check(list, WEIR_COUNT(list), cases, WEIR_COUNT(cases));
}

Test(retention, the_oldest_is_evicted_only_for_room)
{
    static const struct retention_segment list[] = {{.needed = true}, {.needed = true}, {.needed = true}};
    static const struct expected cases[] = {
        {"refuse", {.room_needed = true}, RETENTION_NONE, 0},
        {"no need", {.evict_oldest = true}, RETENTION_NONE, 0},
        {"evict", {.evict_oldest = true, .room_needed = true}, RETENTION_FULL, 0},
        {"no time of receipt is not old", {.max_age_ns = 1}, RETENTION_NONE, 0},
    };
    check(list, WEIR_COUNT(list), cases, WEIR_COUNT(cases));
    static const struct expected last[] = {
        {"never the last one", {.evict_oldest = true, .room_needed = true, .max_age_ns = 1}, RETENTION_NONE, 0}};
    static const struct retention_segment one[] = {{.received_last_ns = 1}};
    check(one, 1, last, 1);
    check(one, 0, last, 1);
}

Test(retention, a_clock_that_was_set_back_makes_nothing_older)
{
    static const struct retention_segment list[] = {
        {.needed = true, .received_last_ns = NOW + 5}, {.passed_ns = NOW + 5, .received_last_ns = NOW + 5}, {0}};
    static const struct expected cases[] = {
        {"from the future", {.max_age_ns = 1, .keep_delivered_ns = 1}, RETENTION_NONE, 0}};
    check(list, WEIR_COUNT(list), cases, WEIR_COUNT(cases));
    cr_expect_not(retention_begin_new(NOW + 5, 8, NOW));
}

Test(retention, a_new_segment_each_eighth)
{
    cr_expect(retention_begin_new(NOW - 101, 800, NOW));
    cr_expect_not(retention_begin_new(NOW - 100, 800, NOW));
    cr_expect_not(retention_begin_new(0, 800, NOW), "an empty one");
    cr_expect_not(retention_begin_new(1, 0, NOW), "no limit");
}
