// SPDX-License-Identifier: Apache-2.0
// The set of blocks still to take, against a bit per number.
#include "relay/todo.h"

#include <criterion/criterion.h>

#define NUMBERS 200u

static void compare(const struct todo *todo, const bool bits[NUMBERS])
{
    bool seen[NUMBERS] = {false};
    for (size_t i = 0; i < todo->count; i++) {
        cr_assert_lt(todo->at[i].first, todo->at[i].end, "no empty interval");
        if (i > 0)
            cr_assert_lt(todo->at[i - 1].end, todo->at[i].first, "ascending and apart");
        for (uint64_t n = todo->at[i].first; n < todo->at[i].end; n++)
            seen[n] = true;
    }
    cr_assert_arr_eq(seen, bits, sizeof(seen));
}

Test(todo, takes_and_puts_back_like_a_set)
{
    uint32_t random = 20261120;
    for (int round = 0; round < 300; round++) {
        struct todo todo = {.at = {{0, NUMBERS}}, .count = 1};
        bool bits[NUMBERS];
        memset(bits, true, sizeof(bits));
        for (int step = 0; step < 200; step++) {
            random = random * 1664525 + 1013904223;
            uint32_t a = (random >> 8) % 12 + 1, b = (random >> 20) % (NUMBERS - 12);
            if ((random & 3) == 1 && todo.count > 0) { // off the front
                uint64_t first = todo.at[0].first, end = first + a < todo.at[0].end ? first + a : todo.at[0].end;
                todo_take(&todo, first, end);
                memset(bits + first, false, end - first);
            } else if ((random & 3) != 0) { // anywhere
                todo_take(&todo, b, b + a);
                memset(bits + b, false, a);
            } else {
                todo_put_back(&todo, b, b + a);
                memset(bits + b, true, a);
            }
            compare(&todo, bits);
        }
    }
}

Test(todo, finds_the_first_stretch_between_two_numbers)
{
    const struct todo todo = {.at = {{10, 20}, {30, 40}, {50, SPOOL_END}}, .count = 3};
    static const struct {
        uint64_t from, to;
        bool found;
        struct spool_interval stretch;
    } cases[] = {
        {0, SPOOL_END, true, {10, 20}},         {0, 15, true, {10, 15}},  {0, 10, false, {0, 0}},
        {12, SPOOL_END, true, {12, 20}},        {20, 35, true, {30, 35}}, {40, 50, false, {0, 0}},
        {60, SPOOL_END, true, {60, SPOOL_END}},
    };
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        struct spool_interval stretch;
        cr_assert_eq(todo_find(&todo, cases[i].from, cases[i].to, &stretch), cases[i].found, "case %zu", i);
        if (cases[i].found)
            cr_assert(stretch.first == cases[i].stretch.first && stretch.end == cases[i].stretch.end, "case %zu", i);
    }
}

Test(todo, leaves_out_the_far_end_when_full)
{
    struct todo todo = {0};
    for (uint64_t i = 1; i <= TODO_INTERVALS_MAX; i++)
        todo_put_back(&todo, 10 * i, 10 * i + 5);
    cr_assert_eq(todo.count, TODO_INTERVALS_MAX);
    todo_put_back(&todo, 0, 1);
    cr_assert_eq(todo.count, TODO_INTERVALS_MAX);
    cr_assert_eq(todo.at[0].first, 0);
    cr_assert_eq(todo.at[TODO_INTERVALS_MAX - 1].first, 10 * (TODO_INTERVALS_MAX - 1));
    todo_put_back(&todo, 1000000, 1000001);
    cr_assert_eq(todo.at[TODO_INTERVALS_MAX - 1].first, 10 * (TODO_INTERVALS_MAX - 1), "what is farthest is left out");
}

Test(todo, joins_what_it_touches_on_both_sides)
{
    struct todo todo = {.at = {{0, 5}, {10, 15}, {20, SPOOL_END}}, .count = 3};
    todo_put_back(&todo, 5, 10);
    cr_assert_eq(todo.count, 2);
    todo_put_back(&todo, 15, 20);
    cr_assert_eq(todo.count, 1);
    cr_assert_eq(todo.at[0].first, 0);
    cr_assert_eq(todo.at[0].end, SPOOL_END);
}
