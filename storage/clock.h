// SPDX-License-Identifier: Apache-2.0
// The time that retention goes by. Private to storage.
#ifndef WEIR_STORAGE_CLOCK_H
#define WEIR_STORAGE_CLOCK_H

#include "storage/catalog.h"

// What became of the wall clock in this run. Under retention_lock.
struct retention_clock {
    uint64_t wall_ns, steady_ns; // when it was asked last; 0: not yet
    uint64_t ahead_ns;           // that it was set ahead in all
    uint64_t border;             // blocks below were received before it was set last
    int64_t untold_ns;
};

uint64_t spool_unix_ns(const struct spool *spool);
// Unix ns; looks whether the clock was set since it was asked last. Under retention_lock.
uint64_t retention_now(struct spool *spool);
// When a segment's newest block was received, by the clock as it goes now. 0: not known. Under retention_lock and lock.
uint64_t retention_received(const struct spool *spool, const struct segment *segment);
void clock_tell(struct spool *spool); // that it was set, when max_age goes by it. No lock held

#endif
