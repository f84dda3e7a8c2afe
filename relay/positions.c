// SPDX-License-Identifier: Apache-2.0
#include "relay/positions.h"

#include <stdlib.h>

#define ROOM_MIN 4u // most origins need less: what is delivered in order has no gaps

void positions_free(struct position_set *set)
{
    free(set->at);
    *set = (struct position_set){0};
}

static bool make_room(struct position_set *set, uint32_t n)
{
    uint32_t room = set->room > 0 ? set->room : ROOM_MIN;
    while (room < n)
        room *= 2;
    if (n > POSITIONS_MAX)
        return false;
    struct position_span *at = room > set->room ? realloc(set->at, room * sizeof(*at)) : set->at;
    if (at == NULL)
        return false;
    set->at = at;
    set->room = room;
    return true;
}

bool positions_set(struct position_set *set, struct position low, const struct position_span *spans, uint32_t n)
{
    *set = (struct position_set){.low = low};
    if (n > 0 && !make_room(set, n))
        return false;
    for (; set->n < n; set->n++)
        set->at[set->n] = spans[set->n];
    return true;
}

static void drop(struct position_set *set, uint32_t first, uint32_t n)
{
    if (n == 0)
        return;
    memmove(&set->at[first], &set->at[first + n], (set->n - first - n) * sizeof(set->at[0]));
    set->n -= n;
    if (set->n == 0 && set->room > ROOM_MIN) {
        free(set->at);
        set->at = NULL;
        set->room = 0;
    }
}

void positions_pass(struct position_set *set, struct position passed)
{
    if (position_before(set->passed, passed))
        set->passed = passed;
}

// All below `low` is in the set from here on.
static void raise_low(struct position_set *set, struct position low)
{
    uint32_t n = 0;
    if (position_before(set->low, low))
        set->low = low;
    for (; n < set->n && !position_before(set->low, set->at[n].from); n++)
        if (position_before(set->low, set->at[n].to))
            set->low = set->at[n].to;
    drop(set, 0, n);
}

// How far apart they are: in blocks, and within one in items.
static struct position width(struct position from, struct position to)
{
    uint64_t blocks = to.block - from.block;
    return (struct position){blocks, blocks == 0 ? to.item - from.item : 0};
}

// False: no gap may be closed.
static bool close_gap(struct position_set *set)
{
    struct position narrowest = {0}, before = set->low;
    uint32_t found = POSITIONS_MAX; // the span behind the gap
    for (uint32_t i = 0; i < set->n && !position_before(set->passed, set->at[i].from); i++) {
        struct position gap = width(before, set->at[i].from);
        if (found == POSITIONS_MAX || position_before(gap, narrowest)) {
            found = i;
            narrowest = gap;
        }
        before = set->at[i].to;
    }
    if (found == POSITIONS_MAX)
        return false;
    if (found == 0) {
        raise_low(set, set->at[0].to);
    } else {
        set->at[found - 1].to = set->at[found].to;
        drop(set, found, 1);
    }
    return true;
}

// False: there is no room.
static bool put(struct position_set *set, struct position_span span)
{
    uint32_t first = 0, end;
    if (!position_before(set->low, span.from)) {
        raise_low(set, span.to);
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
    if (!make_room(set, set->n + 1))
        return false;
    memmove(&set->at[first + 1], &set->at[first], (set->n - first) * sizeof(set->at[0]));
    set->at[first] = span;
    set->n++;
    return true;
}

bool positions_add(struct position_set *set, struct position_span span)
{
    assert(position_before(span.from, span.to));
    if (put(set, span) || (close_gap(set) && put(set, span)))
        return true;
    if (set->n > 0 && position_before(set->at[0].from, span.from)) { // else it is the lowest itself
        memmove(&set->at[0], &set->at[1], (set->n - 1) * sizeof(set->at[0]));
        set->n--;
        put(set, span);
    }
    return false;
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

struct position positions_change(const struct position_set *set, struct position_span span)
{
    if (position_before(span.from, set->low))
        return set->low;
    for (uint32_t i = 0; i < set->n; i++) {
        const struct position_span *at = &set->at[i];
        if (position_spans_meet(at, &span))
            return position_before(span.from, at->from) ? at->from : at->to;
    }
    return span.to;
}

bool positions_sane(const struct position_set *set)
{
    struct position before = set->low;
    if (set->n > set->room || set->n > POSITIONS_MAX)
        return false;
    for (uint32_t i = 0; i < set->n; i++) {
        if (!position_before(before, set->at[i].from) || !position_before(set->at[i].from, set->at[i].to))
            return false;
        before = set->at[i].to;
    }
    return true;
}
