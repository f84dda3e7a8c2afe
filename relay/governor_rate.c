// SPDX-License-Identifier: Apache-2.0
// The rate: exports a second, where the upstream refused without a sign of load before.
#include "relay/governor_priv.h"

#include <math.h>

// Refused, it falls by a part, and is back after a time over its root (the fewer exports, the slower it is) and some of the server's own
// delays; at twice that time it has doubled. Past FORGOTTEN times what was refused that was something else.
#define CLIMB_S       52.0
#define CLIMB_DELAYS  20.0
#define CLIMB_MAX_S   250.0
#define CLIMB_ABOVE   1.0
#define FORGOTTEN     4.0
#define FIRST_SPAN_NS 100e6 // for a first export alone

// Refused again before it took a few, it falls by more.
#define ROW_PART     0.25 // nothing taken in between: far too much was sent
#define EARLY_PART   0.85
#define DELAYED_PART 0.5 // each refusal costs the server's own delay: rather too low, and up again

// A few exports are a burst or a pause: what the rate is is not known by the first refusal. So it is searched for from some rate, up by a
// factor step by step, until it is refused; from the step before that by the root of the factor, and so on.
#define SEARCH_FIRST 2.0
#define SEARCH_LAST  1.1 // a smaller factor is none: then it is known
#define SEARCH_REFUSALS                                                                                                \
    8           // each behind something taken: then it ends. Thousands that share an upstream would search for ever
#define STEPS 3 // taken in a row: more than was refused. The factor grows again
#define STEP_ANSWERS                                                                                                   \
    3 // a step is to be taken for so many exports, and so long: a limit lets some pass that come too early
#define STEP_NS  250e6
#define FALL_MAX 8 // it does not fall to a smaller part of what was taken in a second

double governor_known_rate(const struct governor *governor, uint64_t now_ns)
{
    if (governor->rate_refused <= 0)
        return 0;
    double x = ((double)(now_ns - governor->refused_ns) - governor->climb_ns) / governor->climb_ns; // -1 ... 0 ...
    return governor->rate_refused * (1 + (x < 0 ? GOVERNOR_REFUSED_LESS : CLIMB_ABOVE) * x * x * x);
}

// When the latest export was started (0), the one before it (1), ...
static uint64_t start_ns(const struct governor *governor, uint32_t back)
{
    return governor->starts_ns[(governor->start_count - 1 - back) % GOVERNOR_RECENT];
}

// Exports a second, by the latest starts: those of a second or some round trips; where there was one alone, those before it.
static double present_rate(const struct governor *governor)
{
    uint32_t known = governor->start_count < GOVERNOR_RECENT ? governor->start_count : GOVERNOR_RECENT, count = 1;
    if (known == 0)
        return 1;
    double span_ns = larger(8 * governor->latency_ns, NS_PER_S), passed_ns = 0, before_ns = 0;
    for (uint32_t i = 1; i < known; i++) {
        passed_ns = (double)(start_ns(governor, 0) - start_ns(governor, i));
        if (passed_ns > span_ns)
            break;
        before_ns = passed_ns;
        count++;
    }
    if (count == GOVERNOR_RECENT)
        return (count - 1) / larger(before_ns / NS_PER_S, 1e-6);
    if (count == known) // all there were since the flow began
        return count / (larger(passed_ns, governor->latency_ns > 0 ? governor->latency_ns : FIRST_SPAN_NS) / NS_PER_S);
    if (count > 1)
        return count / (span_ns / NS_PER_S);
    uint32_t back = known > 4 ? 4 : known - 1;
    passed_ns = (double)(start_ns(governor, 0) - start_ns(governor, back));
    return back / smaller(passed_ns / NS_PER_S, back * GOVERNOR_SLOWEST_S);
}

static void begin_step(struct governor *governor, uint64_t now_ns, double factor)
{
    governor->search = factor > SEARCH_LAST ? factor : 0;
    governor->step_ns = now_ns;
    governor->step_answers = governor->steps = 0;
}

static void begin_search(struct governor *governor, uint64_t now_ns)
{
    begin_step(governor, now_ns, SEARCH_FIRST);
    governor->search_refusals = 0;
    governor->rate_fell = 0;
}

// From now on this is the rate to climb to.
static void set_rate(struct governor *governor, uint64_t now_ns, double rate, uint64_t delay_ms)
{
    governor->rate_refused = rate;
    governor->refused_ns = now_ns;
    double climb_s = CLIMB_S / sqrt(rate) + CLIMB_DELAYS * (double)delay_ms / 1e3;
    governor->climb_ns = smaller(climb_s, CLIMB_MAX_S) * NS_PER_S;
}

// At which rate it has just refused.
static double rate_now(const struct governor *governor, uint64_t now_ns, const struct governor_end *end)
{
    double rate = governor_known_rate(governor, now_ns), present = present_rate(governor);
    bool was_used = governor->limited_ns >= now_ns - end->latency_ns;
    if (rate <= 0)
        return present;
    return was_used && rate <= 2 * present ? rate : smaller(rate, present);
}

// A refusal at a rate that is known.
static double fall(struct governor *governor, double rate)
{
    if (governor->refusals > 1 && governor->rate_fell <= 0)
        governor->rate_fell = rate;
    else if (governor->refusals == 1)
        governor->rate_fell = 0;
    if (governor->refusals > 1)
        return rate * ROW_PART;
    if (governor->answers < STEP_ANSWERS)
        return rate * EARLY_PART;
    if (governor->refused_part > 4 * GOVERNOR_REFUSED_LESS) // most of it
        return rate * (1 - governor->refused_part / 2);
    return rate;
}

// A refusal while the rate is searched for.
static double search_below(struct governor *governor, uint64_t now_ns, double rate, bool delayed)
{
    if (governor->refusals > 1) {
        begin_step(governor, now_ns, SEARCH_FIRST);
        return rate * ROW_PART;
    }
    if (++governor->search_refusals > SEARCH_REFUSALS) {
        governor->search = 0;
        return rate;
    }
    if (governor->answers < STEP_ANSWERS) {
        begin_step(governor, now_ns, SEARCH_FIRST);
        return rate * (delayed ? DELAYED_PART : EARLY_PART);
    }
    // It is between the last step and this one.
    rate /= governor->search * (1 - GOVERNOR_REFUSED_LESS);
    begin_step(governor, now_ns, governor->steps > 0 ? sqrt(governor->search) : governor->search);
    return rate;
}

void governor_rate_was_refused(struct governor *governor, uint64_t now_ns, const struct governor_end *end)
{
    double rate = rate_now(governor, now_ns, end), passed_ns = (double)(now_ns - governor->flows_ns);
    bool burst = end->retry_after_ms > 0 && passed_ns < STEP_NS && rate * passed_ns / NS_PER_S > 2;
    if (governor->rate_refused <= 0 || burst)
        begin_search(governor, now_ns);
    if (burst) // what gathered in the pause was taken, and then no more
        rate *= DELAYED_PART;
    else if (governor->search > 0)
        rate = search_below(governor, now_ns, rate, end->retry_after_ms > 0);
    else
        rate = fall(governor, rate);
    rate = larger(rate, larger(governor->doubt.peak / FALL_MAX, 1 / GOVERNOR_SLOWEST_S));
    set_rate(governor, now_ns, rate, end->retry_after_ms);
}

// A row of refusals let a rate that was known fall by leaps: it may have gone far below what is accepted, and comes back twice an answer.
static void come_back(struct governor *governor, uint64_t now_ns)
{
    double rate = governor->rate_refused * 2;
    if (rate >= governor->rate_fell / 2) {
        rate = larger(governor->rate_fell / 2, governor->rate_refused);
        governor->rate_fell = 0;
    }
    set_rate(governor, now_ns, rate, 0);
}

void governor_rate_was_taken(struct governor *governor, uint64_t now_ns, uint64_t started_ns)
{
    if (governor->rate_refused <= 0)
        return;
    if (governor->rate_fell > 0)
        come_back(governor, now_ns);
    if (governor->search <= 0)
        return;
    if (governor->limited_ns < started_ns || governor->rate_refused > 2 * present_rate(governor))
        return; // not that much is sent
    governor->step_answers++;
    if (governor->step_answers < STEP_ANSWERS || (double)(now_ns - governor->step_ns) < STEP_NS)
        return;
    if (++governor->steps > STEPS)
        governor->search = smaller(governor->search * governor->search, SEARCH_FIRST);
    governor->step_answers = 0;
    governor->step_ns = now_ns;
    set_rate(governor, now_ns, governor->rate_refused * governor->search, 0);
}

void governor_rate_set(struct governor *governor, uint64_t now_ns, double rate, bool search)
{
    set_rate(governor, now_ns, rate, 0);
    governor->rate_fell = governor->search = 0;
    if (search)
        begin_search(governor, now_ns);
}

void governor_rate_flows(struct governor *governor, uint64_t now_ns)
{
    governor->flows_ns = governor->step_ns = now_ns;
    governor->step_answers = 0;
    governor->start_count = 0;
}

void governor_rate_forget(struct governor *governor, uint64_t now_ns)
{
    if (governor->rate_refused > 0 && governor_known_rate(governor, now_ns) > FORGOTTEN * governor->rate_refused)
        governor->rate_refused = 0;
}
