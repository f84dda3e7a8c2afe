// SPDX-License-Identifier: Apache-2.0
// Which segment goes now, and why: pure, from a list of facts, the limits and the time. evict.c gathers the facts and does what is decided.
// Private to storage.
#ifndef WEIR_STORAGE_RETENTION_H
#define WEIR_STORAGE_RETENTION_H

#include "proto/base.h"

// A segment as the decision sees it. The list is in order of the segments' numbers, the last one included.
struct retention_segment {
    bool needed;               // a lane has a block of it still to deliver, or it is not known whether one has
    uint64_t passed_ns;        // since when nobody needs it, as far as known in this run
    uint64_t received_last_ns; // of its newest block; 0: not known, or it has none
    bool tried;                // it had to go, and could not now
    bool damaged;              // its file is kept as *.damaged: that it goes makes no room
};

struct retention_limits {
    uint64_t now_ns;     // Unix ns, of the same clock as all times
    uint64_t max_age_ns; // 0: none
    uint64_t keep_delivered_ns;
    bool evict_oldest;
    bool room_needed; // something cannot be written for lack of room
};

enum retention_why {
    RETENTION_NONE,
    RETENTION_PASSED, // nobody needs it, and it was kept long enough
    RETENTION_KEPT,   // nobody needs it; it was to be kept, but there is no room
    RETENTION_AGE,
    RETENTION_FULL,
};

// The next segment to go and why; RETENTION_NONE: none. Never the last one: it is being written, or its name may be given again. What
// nobody needs goes before what would be lost, the oldest first.
enum retention_why retention_next(const struct retention_segment *list, size_t n, const struct retention_limits *limits,
                                  size_t *which);

// Whether the last segment is to be closed and another begun, so that its oldest data can go in time. `received_first_ns`: of its first
// block, 0: it has none.
bool retention_begin_new(uint64_t received_first_ns, uint64_t max_age_ns, uint64_t now_ns);

#endif
