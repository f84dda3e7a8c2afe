// SPDX-License-Identifier: Apache-2.0
// Whether refusals have to do with how much is sent at all. One of five replicas behind a balancer that refuses everything looks like a limit
// at any rate: without doubt the rate would fall for ever.
//
// Below a limit nothing is refused, and above it as much is taken as at it. So a refusal far from any other is none of a limit. And where but
// a fourth is sent of what was once taken in a second, and exports still are refused, one here and one there, either the limit has come down
// or they are chance. A trial tells: as much is sent as before. A limit refuses most of that at once; then the rate goes back, and what was
// taken before is forgotten. Chance refuses the part that it always does: from then on only more than that part counts as a refusal, until
// there are none for long, and for a minute or some (then it has to be shown again).
#include "relay/governor_priv.h"

#define LONE_ANSWERS 20 // since the refusal before it
#define PEAK_TAKEN   8  // what was taken in a second, or in longer, counts if it was so much
#define PEAK_LESS    64 // and by so small a part less with each second
#define PEAK_LEAST                                                                                                     \
    8 // a second: thousands may share an upstream, and who gets less than this sees the load of all others as chance
#define LOW           4    // so small a part of the peak
#define LOW_REFUSALS  3    // there, each behind one that was taken
#define LOW_MAX       1000 // exports that those are sought among
#define PART_OF       32   // exports that the part is smoothed over
#define TRIAL         48   // exports
#define LIMIT_REFUSES 0.75 // of what is sent in a trial, or more
#define TRIAL_PART    0.6  // of the way from chance to that: it is a limit
#define MORE          0.15 // more than by chance, and a fifth of that: too much is sent
#define MORE_PART     0.2
#define CHANCE_MAX    0.6
#define NONE          20 // times as many as go between two refusals by chance, and none of them refused: chance is over
#define DEAF_MS       UINT64_C(60000)
#define DEAF_MAX_MS   (16 * DEAF_MS)

// What goes out is a small part of what was taken.
static bool is_low(const struct governor *governor, uint64_t now_ns)
{
    double rate = governor_known_rate(governor, now_ns), peak = governor->doubt.peak, pace = peak;
    if (governor->latency_ns > 0)
        pace = smaller(pace, governor->window_bytes / governor->mean_bytes / governor->latency_ns * NS_PER_S);
    if (rate > 0)
        pace = smaller(pace, rate);
    return peak >= PEAK_LEAST && pace < peak / LOW;
}

static void note_peak(struct governor_doubt *doubt, uint64_t now_ns)
{
    double passed_ns = larger((double)(now_ns - doubt->second_ns), NS_PER_S);
    if (++doubt->taken < PEAK_TAKEN)
        return;
    double rate = doubt->taken / (passed_ns / NS_PER_S);
    if (rate > doubt->peak) {
        doubt->peak = rate;
        doubt->low_taken = doubt->low_refusals = 0;
    }
    if (passed_ns <= NS_PER_S)
        return;
    doubt->peak -= doubt->peak / PEAK_LESS;
    doubt->second_ns = now_ns;
    doubt->taken = 0;
}

// One export of a trial more. The last one: it is chance.
static void note_trial(struct governor *governor, uint64_t now_ns)
{
    struct governor_doubt *doubt = &governor->doubt;
    if (doubt->trial == 0 || --doubt->trial > 0)
        return;
    doubt->deaf_ms = doubt->deaf_ms == 0                ? DEAF_MS
                     : doubt->deaf_ms * 2 < DEAF_MAX_MS ? doubt->deaf_ms * 2
                                                        : DEAF_MAX_MS;
    doubt->until_ns = now_ns + doubt->deaf_ms * NS_PER_MS;
    governor_rate_set(governor, now_ns, governor->rate_refused, true);
}

void governor_doubt_forget(struct governor *governor)
{
    struct governor_doubt *doubt = &governor->doubt;
    doubt->peak = doubt->chance = 0;
    doubt->low_taken = doubt->low_refusals = doubt->trial = 0;
    doubt->deaf_ms = 0;
}

void governor_doubt_answered(struct governor *governor, uint64_t now_ns)
{
    struct governor_doubt *doubt = &governor->doubt;
    if (doubt->answers < UINT32_MAX)
        doubt->answers++;
    doubt->part -= doubt->part / PART_OF;
    note_peak(doubt, now_ns);
    note_trial(governor, now_ns);
    if (doubt->chance > 0 && doubt->answers * doubt->least > NONE)
        governor_doubt_forget(governor);
    else if (doubt->chance > 0 && doubt->trial == 0 && now_ns >= doubt->until_ns)
        doubt->chance = 0;
    if (is_low(governor, now_ns) && ++doubt->low_taken >= LOW_MAX) {
        doubt->low_taken /= 2;
        doubt->low_refusals /= 2;
    }
}

static void begin_trial(struct governor *governor, uint64_t now_ns)
{
    struct governor_doubt *doubt = &governor->doubt;
    doubt->least = (double)doubt->low_refusals / (doubt->low_refusals + doubt->low_taken);
    doubt->chance = doubt->part = smaller(larger(doubt->least, doubt->part), CHANCE_MAX);
    doubt->low_taken = doubt->low_refusals = 0;
    doubt->trial = TRIAL;
    doubt->rate_low = governor->rate_refused > 0 ? governor->rate_refused : doubt->peak / LOW;
    doubt->window_low = governor->window_bytes;
    governor_rate_set(governor, now_ns, doubt->peak, false);
    governor_set_window(governor, larger(governor->window_bytes, governor_unit(governor)));
    governor->slow_start = true;
    governor->next_ns = now_ns;
}

// It is a limit, and lower than it was.
static void end_trial(struct governor *governor, uint64_t now_ns)
{
    struct governor_doubt *doubt = &governor->doubt;
    governor_doubt_forget(governor);
    doubt->peak = doubt->rate_low;
    governor_rate_set(governor, now_ns, doubt->rate_low, true);
    governor_set_window(governor, doubt->window_low);
    governor->slow_start = false;
}

// Whether no more is refused than by chance.
static bool is_chance(struct governor *governor, uint64_t now_ns)
{
    struct governor_doubt *doubt = &governor->doubt;
    if (doubt->trial > 0) {
        if (doubt->part <= doubt->chance + (LIMIT_REFUSES - doubt->chance) * TRIAL_PART)
            return true;
        end_trial(governor, now_ns);
        return false;
    }
    if (doubt->part <= doubt->chance * (1 + MORE_PART) + MORE)
        return true;
    doubt->chance = doubt->part = smaller((doubt->chance + doubt->part) / 2, CHANCE_MAX);
    return false;
}

bool governor_doubts(struct governor *governor, uint64_t now_ns, bool clear)
{
    struct governor_doubt *doubt = &governor->doubt;
    bool lone = doubt->answers >= LONE_ANSWERS, alone = doubt->answers > 0;
    doubt->answers = 0;
    doubt->part += (1 - doubt->part) / PART_OF;
    if (lone)
        doubt->rate_before = governor->rate_refused;
    if (!clear)
        return false;
    note_trial(governor, now_ns);
    if (governor_is_deaf(governor))
        return is_chance(governor, now_ns);
    if (alone && is_low(governor, now_ns))
        doubt->low_refusals++;
    if (doubt->low_refusals >= LOW_REFUSALS && doubt->low_refusals <= doubt->low_taken) {
        begin_trial(governor, now_ns);
        return true;
    }
    return governor->rate_refused <= 0 && lone && governor->refusals == 1;
}

void governor_take_back(struct governor *governor)
{
    governor->rate_refused = governor->doubt.rate_before;
    governor->search = 0;
    governor->doubt.low_taken = governor->doubt.low_refusals = governor->doubt.trial = 0;
    governor->doubt.chance = 0;
    governor->refusals = 0;
    if (!governor->down)
        governor->next_ns = 0;
}
