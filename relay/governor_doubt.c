// SPDX-License-Identifier: Apache-2.0
// Whether refusals have to do with how much is sent at all. One of five replicas behind a balancer that refuses everything looks like a limit
// at any rate: without doubt the rate would fall for ever.
//
// A limit refuses nearly everything above it, and nothing below. So a refusal far from any other is none of a limit; and refusals with
// answers between them, each at a rate that was accepted a moment before, down to a fourth of where that began, are not either: that
// rate is taken up again, and for a while such refusals say nothing.
#include "relay/governor_priv.h"

#define LONE_ANSWERS 20  // since the refusal before it
#define EARLY        0.8 // of the time in which the rate is back where it was
#define FALL         4   // of the rate ...
#define SINGLES      6   // ... by so many refusals or more that had answers between them
#define DEAF_MS      60000u
#define DEAF_MAX_MS  (16u * 60000u)

void governor_doubt_answered(struct governor *governor)
{
    if (governor->doubt.answers < UINT32_MAX)
        governor->doubt.answers++;
}

// The rate has fallen for nothing.
static void take_up_again(struct governor *governor, uint64_t now_ns)
{
    struct governor_doubt *doubt = &governor->doubt;
    doubt->deaf_ms = doubt->deaf_ms == 0 ? DEAF_MS : smaller(doubt->deaf_ms * 2, DEAF_MAX_MS);
    doubt->deaf_until_ns = now_ns + (uint64_t)doubt->deaf_ms * NS_PER_MS;
    governor->rate_refused = doubt->rate;
    governor->refused_ns = now_ns;
    governor->climb_ns /= 2;
    governor->next_ns = now_ns;
    doubt->rate = 0;
}

bool governor_doubts(struct governor *governor, uint64_t now_ns, bool delayed)
{
    struct governor_doubt *doubt = &governor->doubt;
    bool lone = doubt->answers >= LONE_ANSWERS, single = doubt->answers > 1;
    doubt->answers = 0;
    if (lone)
        doubt->rate_before = governor->rate_refused;
    if (delayed)
        return false;
    if (governor_is_deaf(governor, now_ns))
        return true;
    if (governor->refusals > 1)
        return false;
    bool early = (double)(now_ns - governor->refused_ns) < EARLY * governor->climb_ns;
    if (governor->rate_refused <= 0 || !early) {
        doubt->rate = 0;
        return governor->rate_refused <= 0 && lone;
    }
    if (doubt->rate <= 0) {
        doubt->rate = governor->rate_refused;
        doubt->singles = 0;
    }
    doubt->singles += single;
    if (doubt->singles < SINGLES || governor->rate_refused > doubt->rate / FALL)
        return false;
    take_up_again(governor, now_ns);
    return true;
}

void governor_take_back(struct governor *governor)
{
    governor->rate_refused = governor->doubt.rate_before;
    governor->doubt.rate = 0;
    governor->refusals = 0;
    if (!governor->down)
        governor->next_ns = 0;
}
