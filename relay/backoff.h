// SPDX-License-Identifier: Apache-2.0
// How long to wait after a failure: exponential with jitter, at least what the server asked for, without an end. Pure
// arithmetic on a given clock and a given random number; a struct belongs to one thread.
#ifndef WEIR_RELAY_BACKOFF_H
#define WEIR_RELAY_BACKOFF_H

#include "proto/base.h"

struct backoff_policy {
    uint64_t initial_ms; // after the first failure
    uint64_t max_ms;     // of the doubling; jitter goes no further either
};

// Zero: nothing has failed.
struct backoff {
    uint32_t failures;  // in a row
    uint64_t until_ns;  // monotonic; no attempt before
    uint64_t failed_ns; // when the last failure was counted
};

#define BACKOFF_SERVER_DELAY_MAX_MS (5u * 60u * 1000u) // a server's own delay is honoured so far (E26: up to 300 s)

// The delay before attempt number `failures` + 1: initial × 2^(failures-1), at most max, scaled by 0.5 … 1 (`random` is 0 … 1, so
// that replicas drift apart); never less than the server's delay (U2), which jitter lengthens by up to a tenth.
uint64_t backoff_delay_ms(const struct backoff_policy *policy, uint32_t failures, uint64_t server_delay_ms,
                          double random);

// One more failure at `now_ns`.
void backoff_fail(struct backoff *backoff, const struct backoff_policy *policy, uint64_t server_delay_ms, double random,
                  uint64_t now_ns);
// An attempt that began before the last failure has failed, too: that is the same failure, but the server's delay holds.
void backoff_extend(struct backoff *backoff, uint64_t server_delay_ms, double random, uint64_t now_ns);
// Whether an attempt began before the last failure, or with it (a coarse clock; there is a wait behind a failure): its end says nothing of what
// came after it.
static inline bool backoff_is_older(const struct backoff *backoff, uint64_t started_ns)
{
    return backoff->failed_ns > 0 && started_ns <= backoff->failed_ns;
}
static inline void backoff_reset(struct backoff *backoff)
{
    *backoff = (struct backoff){0};
}
static inline bool backoff_waits(const struct backoff *backoff, uint64_t now_ns)
{
    return now_ns < backoff->until_ns;
}

#endif
