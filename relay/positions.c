// SPDX-License-Identifier: Apache-2.0
#include "relay/positions.h"

static void drop(struct position_set *set, uint32_t first, uint32_t n)
{
    memmove(&set->at[first], &set->at[first + n], (set->n - first - n) * sizeof(set->at[0]));
    set->n -= n;
}

void positions_raise(struct position_set *set, struct position low)
{
    uint32_t n = 0;
    if (position_before(set->low, low))
        set->low = low;
    for (; n < set->n && !position_before(set->low, set->at[n].from); n++)
        if (position_before(set->low, set->at[n].to))
            set->low = set->at[n].to;
    drop(set, 0, n);
}

bool positions_add(struct position_set *set, struct position_span span)
{
    bool room = true;
    uint32_t first = 0, end;
    assert(position_before(span.from, span.to));
    if (!position_before(set->low, span.from)) {
        positions_raise(set, span.to);
        return true;
    }
    while (first < set->n && position_before(set->at[first].to, span.from))
        first++;
    // Those from `first` to `end` touch it: they become one.
    for (end = first; end < set->n && !position_before(span.to, set->at[end].from); end++) {
        if (position_before(set->at[end].from, span.from))
            span.from = set->at[end].from;
        if (position_before(span.to, set->at[end].to))
            span.to = set->at[end].to;
    }
    if (end > first) {
        set->at[first] = span;
        drop(set, first + 1, end - first - 1);
        return true;
    }
    if (set->n == POSITIONS_MAX) {
        room = false;
        if (first == 0) // it is the lowest itself
            return false;
        drop(set, 0, 1);
        first--;
    }
    memmove(&set->at[first + 1], &set->at[first], (set->n - first) * sizeof(set->at[0]));
    set->at[first] = span;
    set->n++;
    return room;
}

enum positions_held positions_look(const struct position_set *set, struct position_span span)
{
    enum positions_held held = POSITIONS_NONE;
    if (!position_before(set->low, span.to))
        return POSITIONS_ALL;
    if (position_before(span.from, set->low))
        held = POSITIONS_PART; // what is above `low` does not touch it
    for (uint32_t i = 0; i < set->n && held == POSITIONS_NONE; i++) {
        const struct position_span *at = &set->at[i];
        if (!position_spans_meet(at, &span))
            continue;
        bool all = !position_before(span.from, at->from) && !position_before(at->to, span.to);
        held = all ? POSITIONS_ALL : POSITIONS_PART;
    }
    return held;
}

bool positions_sane(const struct position_set *set)
{
    struct position before = set->low;
    if (set->n > POSITIONS_MAX)
        return false;
    for (uint32_t i = 0; i < set->n; i++) {
        if (!position_before(before, set->at[i].from) || !position_before(set->at[i].from, set->at[i].to))
            return false;
        before = set->at[i].to;
    }
    return true;
}
