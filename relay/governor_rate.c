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

// Exports a second that may be started; 0: no limit is known.
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

void governor_rate_was_refused(struct governor *governor, uint64_t now_ns, const struct governor_end *end)
{
    double rate = governor_known_rate(governor, now_ns);
    bool was_used = governor->limited_ns >= now_ns - end->latency_ns;
    if (rate <= 0 || !was_used)
        rate = rate > 0 ? smaller(rate, present_rate(governor)) : present_rate(governor);
    if (governor->refusals > 1 && governor->rate_fell <= 0)
        governor->rate_fell = rate;
    else if (governor->refusals == 1)
        governor->rate_fell = 0;
    if (governor->refusals > 1) // again at once: far too much was sent
        rate /= 4;
    else if (governor->answers <= 2)
        rate *= 0.7;
    else if (governor->refused_part > 4 * GOVERNOR_REFUSED_LESS) // most of it
        rate *= 1 - governor->refused_part / 2;
    governor->rate_refused = larger(rate, 1 / GOVERNOR_SLOWEST_S);
    governor->refused_ns = now_ns;
    double climb_s = CLIMB_S / sqrt(governor->rate_refused) + CLIMB_DELAYS * (double)end->retry_after_ms / 1e3;
    governor->climb_ns = smaller(climb_s, CLIMB_MAX_S) * NS_PER_S;
}

void governor_rate_forget(struct governor *governor, uint64_t now_ns)
{
    if (governor->rate_refused > 0 && governor_known_rate(governor, now_ns) > FORGOTTEN * governor->rate_refused)
        governor->rate_refused = 0;
}

// A row of refusals let the rate fall by leaps: it may have gone far below what is accepted, and comes back twice an answer.
void governor_rate_was_taken(struct governor *governor, uint64_t now_ns)
{
    if (governor->rate_fell <= 0 || governor->rate_refused <= 0)
        return;
    governor->rate_refused *= 2;
    if (governor->rate_refused >= governor->rate_fell / 2) {
        governor->rate_refused = larger(governor->rate_fell / 2, governor->rate_refused / 2);
        governor->rate_fell = 0;
    }
    governor->refused_ns = now_ns;
    governor->climb_ns = smaller(CLIMB_S / sqrt(governor->rate_refused), CLIMB_MAX_S) * NS_PER_S;
}
