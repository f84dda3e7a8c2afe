// SPDX-License-Identifier: Apache-2.0
// Rates out of counters, and what they foretell. Pure arithmetic on a clock that is given: one owner, no locks.
#ifndef WEIR_RELAY_RATES_H
#define WEIR_RELAY_RATES_H

#include "proto/base.h"

#define RATE_WINDOW_SECONDS 10.0 // a sample weighs about 1/e after so long

// An exponentially weighted mean of a counter's speed. Zero-initialise. The weights of all samples so far are kept, so that
// the first seconds after start show the speed itself and not a climb from zero.
struct rate {
    uint64_t last_value, last_ns;
    bool started;
    double weighted_sum, weight;
};
// The counter stands at `value` at `now_ns` (monotonic). A counter that fell started anew: that sample counts as zero.
void rate_sample(struct rate *rate, uint64_t value, uint64_t now_ns);
// Per second; 0 before two samples were taken.
double rate_per_second(const struct rate *rate);

#define RATE_UNKNOWN (-1.0)
// Seconds until a backlog is gone: 0 when it is empty, RATE_UNKNOWN when it does not shrink (or not in ten years).
double rate_eta_seconds(uint64_t backlog, double in_per_second, double out_per_second);
// Seconds until `free_bytes` are used up at `growth` bytes a second; RATE_UNKNOWN when there is no growth to speak of (less than
// a twentieth of what comes in: that is the rates' own noise).
double rate_full_in_seconds(uint64_t free_bytes, double growth_per_second, double in_per_second);

#endif
