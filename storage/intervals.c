// SPDX-License-Identifier: Apache-2.0
#include "storage/intervals.h"

#define FOLLOWS UINT64_MAX

static struct mark lower(struct mark a, struct mark b)
{
    return a.number <= b.number ? a : b;
}

static struct mark higher(struct mark a, struct mark b)
{
    return a.number >= b.number ? a : b;
}

static void add_range(struct interval_sum *sum, struct mark first, struct mark end, const struct mark *now)
{
    if (end.number == FOLLOWS)
        end = *now;
    // Counts come from stored headers: a lost stretch may leave marks that are not in order. Never wrap around.
    sum->blocks += end.blocks > first.blocks ? end.blocks - first.blocks : 0;
    sum->items += end.items > first.items ? end.items - first.items : 0;
    sum->raw_bytes += end.raw_bytes > first.raw_bytes ? end.raw_bytes - first.raw_bytes : 0;
}

struct interval_sum intervals_count(const struct interval_set *set, const struct mark *now)
{
    struct interval_sum sum = {0};
    for (size_t i = 0; i < set->n; i++)
        add_range(&sum, set->at[i].first, set->at[i].end, now);
    return sum;
}

struct interval_sum intervals_overlap(const struct interval_set *set, struct mark first, struct mark end,
                                      const struct mark *now)
{
    struct interval_sum sum = {0};
    for (size_t i = 0; i < set->n; i++) {
        struct mark a = higher(set->at[i].first, first), b = lower(set->at[i].end, end);
        if (a.number < b.number)
            add_range(&sum, a, b, now);
    }
    return sum;
}

bool intervals_contain(const struct interval_set *set, uint64_t number)
{
    for (size_t i = 0; i < set->n; i++)
        if (number >= set->at[i].first.number && number < set->at[i].end.number)
            return true;
    return false;
}

bool intervals_add(struct interval_set *set, struct mark first, struct mark end, const struct mark *now,
                   struct interval_sum *added)
{
    if (first.number >= end.number)
        return true;
    // [from, to) of the array touch or overlap the new range.
    size_t from = 0;
    while (from < set->n && set->at[from].end.number < first.number)
        from++;
    size_t to = from;
    while (to < set->n && set->at[to].first.number <= end.number)
        to++;
    if (from == to && set->n == INTERVALS_MAX)
        return false;
    struct interval_sum before = {0}, after = {0};
    struct interval joined = {first, end};
    for (size_t i = from; i < to; i++) {
        add_range(&before, set->at[i].first, set->at[i].end, now);
        joined.first = lower(set->at[i].first, joined.first);
        joined.end = higher(set->at[i].end, joined.end);
    }
    add_range(&after, joined.first, joined.end, now);
    memmove(&set->at[from + 1], &set->at[to], (set->n - to) * sizeof(set->at[0]));
    set->at[from] = joined;
    set->n = set->n + 1 - (to - from);
    added->blocks += after.blocks - before.blocks;
    added->items += after.items - before.items;
    added->raw_bytes += after.raw_bytes - before.raw_bytes;
    return true;
}

bool intervals_subtract(struct interval_set *set, struct mark first, struct mark end, const struct mark *now,
                        struct interval_sum *removed)
{
    struct interval_set out = {.n = 0};
    struct interval_sum sum = {0};
    for (size_t i = 0; i < set->n; i++) {
        struct interval in = set->at[i];
        struct mark a = higher(in.first, first), b = lower(in.end, end);
        if (a.number >= b.number) { // nothing in common
            if (out.n == INTERVALS_MAX)
                return false;
            out.at[out.n++] = in;
            continue;
        }
        add_range(&sum, a, b, now);
        bool left = in.first.number < a.number, right = b.number < in.end.number;
        if (out.n + left + right > INTERVALS_MAX)
            return false;
        if (left)
            out.at[out.n++] = (struct interval){in.first, a};
        if (right)
            out.at[out.n++] = (struct interval){b, in.end};
    }
    removed->blocks += sum.blocks;
    removed->items += sum.items;
    removed->raw_bytes += sum.raw_bytes;
    memcpy(set->at, out.at, out.n * sizeof(out.at[0]));
    set->n = out.n;
    return true;
}

bool intervals_stop_following(struct interval_set *set, const struct mark *now)
{
    if (set->n == 0 || set->at[set->n - 1].end.number != FOLLOWS)
        return false;
    struct interval *last = &set->at[set->n - 1];
    if (last->first.number >= now->number)
        set->n--;
    else
        last->end = *now;
    return true;
}

bool intervals_sane(const struct interval_set *set)
{
    for (size_t i = 0; i < set->n; i++) {
        const struct interval *in = &set->at[i];
        if (in->first.number >= in->end.number || (i > 0 && set->at[i - 1].end.number >= in->first.number))
            return false;
        if (in->end.number != FOLLOWS && (in->end.items < in->first.items || in->end.blocks < in->first.blocks))
            return false;
    }
    return set->n <= INTERVALS_MAX;
}
