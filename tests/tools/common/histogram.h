// SPDX-License-Identifier: Apache-2.0
// Latencies in logarithmic buckets: 16 per power of two, so that a percentile is at most 6 % too high.
#ifndef WEIR_TOOLS_HISTOGRAM_H
#define WEIR_TOOLS_HISTOGRAM_H

#include "proto/base.h"

#define HISTOGRAM_BUCKETS (16 * 40)

struct histogram { // zero-initialise
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t count;
    uint64_t max;
};

void histogram_add(struct histogram *histogram, uint64_t value);
void histogram_merge(struct histogram *into, const struct histogram *from);
// Upper bound of the bucket that holds the `percent`-th percentile; 0 when empty.
uint64_t histogram_percentile(const struct histogram *histogram, double percent);

#endif
