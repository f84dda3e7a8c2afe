// SPDX-License-Identifier: Apache-2.0
// What governor.c (when an export may start, outages), governor_rate.c, governor_window.c and governor_doubt.c share.
#ifndef WEIR_RELAY_GOVERNOR_PRIV_H
#define WEIR_RELAY_GOVERNOR_PRIV_H

#include "relay/governor.h"

#define NS_PER_S  1e9
#define NS_PER_MS UINT64_C(1000000)

#define GOVERNOR_REFUSED_LESS 0.08 // a refusal takes off so much of rate and window
#define GOVERNOR_SLOWEST_S    30.0 // between exports: no rate counts as less

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

// --- governor_rate.c ----------------------------------------------------------------------------------------------------------------

// Exports a second that may be started; 0: no limit is known.
double governor_known_rate(const struct governor *governor, uint64_t now_ns);
// It was refused for what seems to be the rate.
void governor_rate_was_refused(struct governor *governor, uint64_t now_ns, const struct governor_end *end);
// What was started then was taken.
void governor_rate_was_taken(struct governor *governor, uint64_t now_ns, uint64_t started_ns);
// It goes on from this one, and up by search or by and by.
void governor_rate_set(struct governor *governor, uint64_t now_ns, double rate, bool search);
// Something flows again: the pause was no low rate.
void governor_rate_flows(struct governor *governor, uint64_t now_ns);
// Where it has been climbed past there was no limit.
void governor_rate_forget(struct governor *governor, uint64_t now_ns);

// --- governor_doubt.c ---------------------------------------------------------------------------------------------------------------

// Refusals have been found to come by chance.
static inline bool governor_is_deaf(const struct governor *governor)
{
    return governor->doubt.chance > 0;
}
// An export was judged.
void governor_doubt_answered(struct governor *governor, uint64_t now_ns);
// It was refused for now, `clear`: with no sign of load, and no delay of the server's own. True: that says nothing of how much may be sent.
bool governor_doubts(struct governor *governor, uint64_t now_ns, bool clear);
// It was away, or is another: what was taken before says nothing.
void governor_doubt_forget(struct governor *governor);

#endif
