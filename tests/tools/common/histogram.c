// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/common/histogram.h"

static size_t bucket_of(uint64_t value)
{
    if (value < 16)
        return (size_t)value;
    unsigned log2 = 63 - (unsigned)__builtin_clzll(value);
    size_t bucket = (log2 - 3) * 16 + (value >> (log2 - 4) & 15);
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

static uint64_t upper_bound(size_t bucket)
{
    if (bucket < 16)
        return bucket;
    unsigned log2 = (unsigned)(bucket / 16 + 3);
    return ((uint64_t)1 << log2) + ((uint64_t)(bucket % 16 + 1) << (log2 - 4)) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram->counts[bucket_of(value)]++;
    histogram->count++;
    if (value > histogram->max)
        histogram->max = value;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->counts[i] += from->counts[i];
    into->count += from->count;
    if (from->max > into->max)
        into->max = from->max;
}

uint64_t histogram_percentile(const struct histogram *histogram, double percent)
{
    uint64_t rank = (uint64_t)((double)histogram->count * percent / 100.0), seen = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->counts[i];
        if (seen > rank)
            return upper_bound(i) < histogram->max ? upper_bound(i) : histogram->max;
    }
    return histogram->max;
}
