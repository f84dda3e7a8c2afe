// SPDX-License-Identifier: Apache-2.0
// Whether refusals have to do with how much is sent at all. One of five replicas behind a balancer that refuses everything looks like a limit
// at any rate: without doubt the rate would fall for ever.
//
// Below a limit nothing is refused, and above it as much is taken as at it. So a refusal far from any other is none of a limit. And where the
// rate has fallen to a fourth, less than half of what was taken before is taken, and there still are refusals, soon after a rate that was
// accepted, they are chance: the rate from before is taken up again, and for a while they say nothing.
#include "relay/governor_priv.h"

#define LONE_ANSWERS 20   // since the refusal before it
#define EARLY        0.8  // of the time in which the rate is back where it was
#define FALL         4    // of the rate
#define TAKEN        8    // exports, to know what is taken in a time
#define REFUSALS     3    // refusals since the fall
#define MOST         0.75 // refused of late: that is no chance
#define DEAF_MS      60000u
#define DEAF_MAX_MS  (16u * 60000u)

void governor_doubt_answered(struct governor *governor, uint64_t now_ns)
{
    struct governor_doubt *doubt = &governor->doubt;
    if (doubt->answers < UINT32_MAX)
        doubt->answers++;
    if (doubt->began_ns == 0)
        return;
    doubt->taken++;
    if (doubt->rate <= 0 && doubt->taken >= TAKEN) { // what is taken at this rate is known
        doubt->rate = governor->rate_refused;
        doubt->taken_per_ns = (double)(doubt->taken - 1) / (double)(now_ns - doubt->began_ns + 1);
    }
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
    doubt->began_ns = 0;
}

static void begin(struct governor_doubt *doubt, uint64_t now_ns)
{
    doubt->began_ns = now_ns;
    doubt->rate = 0;
    doubt->taken = doubt->refusals = 0;
    doubt->fallen_ns = 0;
}

// An early refusal. True: the rate has fallen far enough to tell that it is chance.
static bool is_chance(struct governor *governor, uint64_t now_ns)
{
    struct governor_doubt *doubt = &governor->doubt;
    if (doubt->began_ns == 0)
        begin(doubt, now_ns);
    if (doubt->rate <= 0 || governor->rate_refused > doubt->rate / FALL)
        return false;
    if (doubt->fallen_ns == 0) {
        doubt->fallen_ns = now_ns;
        doubt->taken = 0;
    }
    doubt->refusals++;
    double before = doubt->taken_per_ns * (double)(now_ns - doubt->fallen_ns); // would have been taken since then
    if (doubt->refusals < REFUSALS || before < TAKEN)
        return false;
    bool chance = (double)doubt->taken < before / 2;
    if (!chance)
        begin(doubt, now_ns);
    return chance;
}

bool governor_doubts(struct governor *governor, uint64_t now_ns, bool delayed)
{
    struct governor_doubt *doubt = &governor->doubt;
    bool lone = doubt->answers >= LONE_ANSWERS;
    doubt->answers = 0;
    if (lone)
        doubt->rate_before = governor->rate_refused;
    if (governor->refused_part > MOST)
        doubt->deaf_until_ns = 0;
    if (delayed)
        return false;
    if (governor_is_deaf(governor, now_ns))
        return true;
    bool early = (double)(now_ns - governor->refused_ns) < EARLY * governor->climb_ns;
    if (governor->rate_refused <= 0 || !early) {
        doubt->began_ns = 0;
        return governor->rate_refused <= 0 && lone && governor->refusals == 1;
    }
    if (!is_chance(governor, now_ns))
        return false;
    take_up_again(governor, now_ns);
    return true;
}

void governor_take_back(struct governor *governor)
{
    governor->rate_refused = governor->doubt.rate_before;
    governor->doubt.began_ns = 0;
    governor->refusals = 0;
    if (!governor->down)
        governor->next_ns = 0;
}
