// SPDX-License-Identifier: Apache-2.0
// What governor.c (when an export may start, outages, the rate that was refused) and governor_window.c (the window) share.
#ifndef WEIR_RELAY_GOVERNOR_PRIV_H
#define WEIR_RELAY_GOVERNOR_PRIV_H

#include "relay/governor.h"

#define NS_PER_S  1e9
#define NS_PER_MS UINT64_C(1000000)

static inline double larger(double a, double b)
{
    return a > b ? a : b;
}

static inline double smaller(double a, double b)
{
    return a < b ? a : b;
}

static inline double governor_unit(const struct governor *governor)
{
    return (double)governor->policy.export_bytes;
}

// As near to it as the policy allows.
void governor_set_window(struct governor *governor, double bytes);
// What an export that was delivered tells of the upstream's load.
void governor_learn_latency(struct governor *governor, uint64_t now_ns, const struct governor_end *end);

// Refusals have been found to come by chance.
static inline bool governor_is_deaf(const struct governor *governor, uint64_t now_ns)
{
    return now_ns < governor->doubt.deaf_until_ns;
}
// An export was judged. (governor_doubt.c)
void governor_doubt_answered(struct governor *governor, uint64_t now_ns);
// It was refused for now, `delayed`: the server said for how long. True: that says nothing of how much may be sent. (governor_doubt.c)
bool governor_doubts(struct governor *governor, uint64_t now_ns, bool delayed);

#endif
