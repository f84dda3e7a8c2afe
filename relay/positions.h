// SPDX-License-Identifier: Apache-2.0
// Sets of positions in the data of an origin (another weir): bounded, no larger than what is in them. A position is a place before an item of a block, so that it
// does not matter how blocks were joined into requests, or split over several.
#ifndef WEIR_RELAY_POSITIONS_H
#define WEIR_RELAY_POSITIONS_H

#include "proto/base.h"

#define POSITIONS_MAX 64u // spans above `low`

struct position {
    uint64_t block;
    uint32_t item; // of the block's, in the order they are stored; 0: before all of them
};
struct position_span { // [from, to)
    struct position from, to;
};
// All below `low`, and the spans: ascending, above it, not empty, not touching. A gap below `passed` may count as held when there is no room.
// Zeroed it is empty.
struct position_set {
    struct position low, passed;
    uint32_t n, room;
    struct position_span *at; // room for so many; the set's own
};

void positions_free(struct position_set *set); // empty again

static inline bool position_before(struct position a, struct position b)
{
    return a.block != b.block ? a.block < b.block : a.item < b.item;
}

static inline bool position_spans_meet(const struct position_span *a, const struct position_span *b)
{
    return position_before(a->from, b->to) && position_before(b->from, a->to);
}

// What lies below is not needed any more: `passed` is not lower from here on.
void positions_pass(struct position_set *set, struct position passed);
// Adds a span that is not empty. When there is no room for one more, or no memory, the narrowest gap below `passed` is closed. False: there was none, so that
// the lowest span of all is forgotten.
bool positions_add(struct position_set *set, struct position_span span);
// An empty set of these spans, which need not be sound: see positions_sane. False: no memory, or too many.
bool positions_set(struct position_set *set, struct position low, const struct position_span *spans, uint32_t n);
enum positions_held { POSITIONS_NONE, POSITIONS_PART, POSITIONS_ALL };
// How much of a span, which is not empty, is in the set.
enum positions_held positions_look(const struct position_set *set, struct position_span span);
// Of a span that is there in part: the first place behind its beginning where what is there ends, or begins.
struct position positions_change(const struct position_set *set, struct position_span span);
// What must hold after every change, and of what was read from a disk.
bool positions_sane(const struct position_set *set);

#endif
