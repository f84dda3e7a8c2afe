// SPDX-License-Identifier: Apache-2.0
#include "storage/retention.h"

#define PARTS_OF_AGE 8u // data is held for max_age and an eighth of it at most

// A clock that was set back makes data younger, never older than it can be.
static uint64_t age(uint64_t then_ns, uint64_t now_ns)
{
    return now_ns > then_ns ? now_ns - then_ns : 0;
}

static bool goes(const struct retention_segment *segment, const struct retention_limits *limits, enum retention_why why)
{
    if (segment->tried)
        return false;
    switch (why) {
    case RETENTION_PASSED:
        return !segment->needed && age(segment->passed_ns, limits->now_ns) >= limits->keep_delivered_ns;
    case RETENTION_AGE:
        return limits->max_age_ns != 0 && segment->received_last_ns != 0 &&
               age(segment->received_last_ns, limits->now_ns) > limits->max_age_ns;
    case RETENTION_KEPT:
        return limits->room_needed && !segment->damaged && !segment->needed;
    case RETENTION_FULL:
        return limits->room_needed && !segment->damaged && limits->evict_oldest;
    case RETENTION_NONE:
        break;
    }
    return false;
}

enum retention_why retention_next(const struct retention_segment *list, size_t n, const struct retention_limits *limits,
                                  size_t *which)
{
    static const enum retention_why order[] = {RETENTION_PASSED, RETENTION_AGE, RETENTION_KEPT, RETENTION_FULL};
    for (size_t i = 0; i < WEIR_COUNT(order); i++)
        for (*which = 0; *which + 1 < n; (*which)++)
            if (goes(&list[*which], limits, order[i]))
                return order[i];
    return RETENTION_NONE;
}

bool retention_begin_new(uint64_t received_first_ns, uint64_t max_age_ns, uint64_t now_ns)
{
    return max_age_ns != 0 && received_first_ns != 0 && age(received_first_ns, now_ns) > max_age_ns / PARTS_OF_AGE;
}
