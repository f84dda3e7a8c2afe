// SPDX-License-Identifier: Apache-2.0
// The window and the latency that moves it.
#include "relay/governor_priv.h"

// The window.
#define WINDOW_LEAST  64                           // part of an export that the window never falls below
#define GROW_SLOWLY   0.002                        // of an export, per export: what a window far below one grows by ...
#define GROW          0.25                         // ... and one of an export or more, per round trip
#define GROW_PART_MAX 0.1                          // but no window by more than this part of itself at once
#define SHRINK        0.4                          // times the part of the latency that is too much ...
#define SHRINK_MAX    0.3                          // ... but no more than this at once
#define PERIOD_NS     (300 * UINT64_C(1000000000)) // the least latency is that of one to two of them
#define SLACK_NS      20e6                         // of latency, beyond twice the least, is no sign of a queue
// For so long, and to this part, the window shrinks before that counts as in vain.
#define IN_VAIN_NS (30 * UINT64_C(1000000000))
#define IN_VAIN    16

void governor_set_window(struct governor *governor, double bytes)
{
    double most = (double)governor->policy.max_in_flight_bytes, least = governor_unit(governor) / WINDOW_LEAST;
    governor->window_bytes = larger(smaller(bytes, most), least);
}

static size_t size_class(uint64_t bytes)
{
    size_t class = 0;
    while (bytes > 1 && class < GOVERNOR_SIZES - 1) {
        bytes /= 2;
        class ++;
    }
    return class;
}

// Larger ones of a class may take longer in proportion.
static double scaled_least_ns(const struct governor_least *least, uint64_t bytes)
{
    return (double)least->ns * (bytes > least->bytes ? (double)bytes / (double)least->bytes : 1);
}

// Notes the latency. Returns the least known of its like, in ns.
static double least_latency_ns(struct governor *governor, uint64_t now_ns, uint64_t bytes, uint64_t latency_ns)
{
    if (now_ns - governor->period_ns > PERIOD_NS) {
        memcpy(governor->least[1], governor->least[0], sizeof(governor->least[1]));
        memset(governor->least[0], 0, sizeof(governor->least[0]));
        governor->period_ns = now_ns;
    }
    size_t class = size_class(bytes);
    struct governor_least *now = &governor->least[0][class], *before = &governor->least[1][class];
    if (now->ns == 0 || (double)latency_ns < scaled_least_ns(now, bytes))
        *now = (struct governor_least){latency_ns, bytes};
    double least_ns = scaled_least_ns(now, bytes);
    return before->ns > 0 ? smaller(least_ns, scaled_least_ns(before, bytes)) : least_ns;
}

// What the latency may be before it counts as a queue. Smaller windows may have more, so that those who share an upstream become equal.
static double target_ns(const struct governor *governor, double least_ns)
{
    double parts = 0, window = governor->window_bytes / governor_unit(governor);
    for (; window < 1 && parts < 8; window *= 2)
        parts++;
    return least_ns * (2 + parts / 8) + SLACK_NS;
}

// Shrinking does not help: the window is a small part of what it was, or as small as latency makes it, and all the while the latency has
// not come down. So it is the path that is longer, not a queue: what counts as the least is that from now on.
static void judge_episode(struct governor *governor, uint64_t now_ns, double excess)
{
    if (governor->above_ns == 0) {
        governor->above_ns = now_ns;
        governor->above_window = governor->window_bytes;
        governor->above_excess = excess;
    }
    governor->above_excess = smaller(governor->above_excess, excess);
    double least = governor_unit(governor) / WINDOW_LEAST;
    bool small = governor->window_bytes <= larger(least, governor->above_window / IN_VAIN);
    if (!small || now_ns - governor->above_ns < IN_VAIN_NS)
        return;
    for (size_t i = 0; i < 2 * GOVERNOR_SIZES; i++) {
        uint64_t *least_ns = &governor->least[i / GOVERNOR_SIZES][i % GOVERNOR_SIZES].ns;
        *least_ns = (uint64_t)((double)*least_ns * governor->above_excess);
    }
    governor->slow_start = true;
    governor->threshold_bytes = governor->above_window;
    governor->above_ns = 0;
}

static void shrink(struct governor *governor, uint64_t now_ns, double latency_ns, double target, double least_ns)
{
    double part = smaller(SHRINK * (latency_ns - target) / latency_ns, SHRINK_MAX);
    governor->slow_start = false;
    governor->shrunk_ns = now_ns;
    governor_set_window(governor, governor->window_bytes * (1 - part));
    judge_episode(governor, now_ns, latency_ns / least_ns);
}

// `room`: 0 ... 1, how far the latency is below what it may be.
static void grow(struct governor *governor, double bytes, double room)
{
    double unit = governor_unit(governor), window = governor->window_bytes / unit;
    double more = smaller(bytes, governor->window_bytes); // slow start
    if (!governor->slow_start) {
        more = window >= 1 ? GROW * bytes / window : (GROW_SLOWLY + GROW * window * window) * bytes;
        more = smaller(more, GROW_PART_MAX * governor->window_bytes) * room;
    }
    governor_set_window(governor, governor->window_bytes + more);
    if (governor->window_bytes >= governor->threshold_bytes)
        governor->slow_start = false;
}

void governor_learn_latency(struct governor *governor, uint64_t now_ns, const struct governor_end *end)
{
    uint64_t latency_ns = end->latency_ns > 0 ? end->latency_ns : 1, started_ns = now_ns - end->latency_ns;
    double least_ns = least_latency_ns(governor, now_ns, end->bytes, latency_ns);
    double latency = (double)latency_ns, target = target_ns(governor, least_ns);
    governor->latency_ns += governor->latency_ns > 0 ? (latency - governor->latency_ns) / 8 : latency;
    bool held_up = governor->limited_ns > 0 && governor->limited_ns >= started_ns;
    if (latency <= target)
        governor->above_ns = 0;
    if (!held_up)
        return; // traffic that needs less than the window tells nothing of it
    if (latency <= target)
        grow(governor, (double)end->bytes, (target - latency) / target);
    else if (started_ns >= governor->shrunk_ns)
        shrink(governor, now_ns, latency, target, least_ns);
}
