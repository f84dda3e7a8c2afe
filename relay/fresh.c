// SPDX-License-Identifier: Apache-2.0
#include "relay/fresh.h"

#define LATE_STEP 4u // intervals after which the newest may be twice as old

enum fresh_cursor fresh_next(const struct fresh *fresh, unsigned share, bool backlog, bool newest)
{
    assert(backlog || newest);
    assert(share <= FRESH_SHARE_ALL);
    if (!backlog || !newest)
        return newest ? FRESH_NEWEST : FRESH_BACKLOG;
    if (share == 0 || share == FRESH_SHARE_ALL)
        return share == 0 ? FRESH_BACKLOG : FRESH_NEWEST;
    return fresh->balance <= 0 ? FRESH_NEWEST : FRESH_BACKLOG;
}

void fresh_sent(struct fresh *fresh, unsigned share, enum fresh_cursor cursor, uint64_t bytes, uint64_t most)
{
    if (!fresh->active)
        return;
    // Each pays what the other is due: newest × (1 - share) is backlog × share when both have theirs.
    int64_t owed = (int64_t)bytes * (cursor == FRESH_NEWEST ? FRESH_SHARE_ALL - share : share);
    int64_t limit = (int64_t)most * 2 * FRESH_SHARE_ALL;
    fresh->balance += cursor == FRESH_NEWEST ? owed : -owed;
    if (fresh->balance > limit)
        fresh->balance = limit;
    if (fresh->balance < -limit)
        fresh->balance = -limit;
}

uint64_t fresh_late_ns(size_t intervals)
{
    return intervals >= FRESH_INTERVALS_MAX ? UINT64_MAX : FRESH_LATE_NS << (intervals / LATE_STEP);
}
