// SPDX-License-Identifier: Apache-2.0
// The set of block numbers that a lane still has to deliver: pure, bounded, ascending, never touching. Each border carries the lane's
// signal's cumulative counts at that number, so that what an interval holds is one subtraction and nothing is read from disk.
// Private to storage.
#ifndef WEIR_STORAGE_INTERVALS_H
#define WEIR_STORAGE_INTERVALS_H

#include "proto/base.h"

#define INTERVALS_MAX 128u

// A place between two blocks: before block `number`. The counts are those of one signal since the spool began.
struct mark {
    uint64_t number;
    uint64_t blocks, items, raw_bytes;
};

// [first, end). end.number == UINT64_MAX follows new blocks; its counts are then those of "now", given with each call.
struct interval {
    struct mark first, end;
};

struct interval_set {
    struct interval at[INTERVALS_MAX];
    size_t n;
};

// What blocks, items and bytes a set or a part of one holds.
struct interval_sum {
    uint64_t blocks, items, raw_bytes;
};

// Adds [first, end), joined with what it touches or overlaps. Adds to *added what was not in the set before. False: no room, set unchanged.
bool intervals_add(struct interval_set *set, struct mark first, struct mark end, const struct mark *now,
                   struct interval_sum *added);
// Takes [first, end) out. Adds to *removed what was in the set. False: it would split an interval and there is no room for
// one more; set unchanged.
bool intervals_subtract(struct interval_set *set, struct mark first, struct mark end, const struct mark *now,
                        struct interval_sum *removed);
// What [first, end) holds of the set. Where a border of the set lies inside, its counts are taken, else those given.
struct interval_sum intervals_overlap(const struct interval_set *set, struct mark first, struct mark end,
                                      const struct mark *now);
bool intervals_contain(const struct interval_set *set, uint64_t number);
struct interval_sum intervals_count(const struct interval_set *set, const struct mark *now);
// An interval that follows new blocks ends at `now` from here on. False: there was none.
bool intervals_stop_following(struct interval_set *set, const struct mark *now);
// Ascending, not empty, not touching, counts not falling: what must hold after every change.
bool intervals_sane(const struct interval_set *set);

#endif
