// SPDX-License-Identifier: Apache-2.0
// The window and the latency that moves it.
#include "relay/governor_priv.h"

#include <math.h>

// The window.
#define WINDOW_LEAST  64    // part of an export that the window never falls below
#define GROW          0.25  // of an export, in a round trip: what a window of one or more grows by
#define GROW_SMALL    0.02  // and what much smaller ones grow by, in the same time
#define GROW_PART_MAX 0.015 // but over its root, by no more than this part of itself at once
#define SHRINK        0.3   // times the part of the latency that is too much ...
#define SHRINK_MAX    0.3   // ... but no more than this at once
#define PERIOD_NS     (3600 * UINT64_C(1000000000)) // the least latency is that of one to two of them
#define RECENT_NS     (30 * UINT64_C(1000000000))   // a mean latency says something of now for so long
// So long may an export wait at the upstream: a fixed time, since all who share it wait the same, near or far; but a part of the least
// latency where that is more. And a part more, over the root of the exports that are sent in RATE_NS: small ones gain on large ones.
#define QUEUE_NS    50e6
#define QUEUE_LEAST 0.2
#define QUEUE_SMALL 0.45
#define RATE_NS     100e6
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

static void note_latency(struct governor *governor, uint64_t now_ns, uint64_t bytes, double latency_ns)
{
    if (now_ns - governor->period_ns > PERIOD_NS) {
        for (size_t i = 0; i < GOVERNOR_SIZES; i++) {
            governor->sizes[i].least[1] = governor->sizes[i].least[0];
            governor->sizes[i].least[0] = (struct governor_least){0};
        }
        governor->period_ns = now_ns;
    }
    struct governor_size *size = &governor->sizes[size_class(bytes)];
    struct governor_least *least = &size->least[0];
    if (least->ns <= 0 || latency_ns * (double)least->bytes < least->ns * (double)bytes)
        *least = (struct governor_least){latency_ns, bytes};
    size->mean_ns += size->mean_ns > 0 ? (latency_ns - size->mean_ns) / 8 : latency_ns;
    size->mean_bytes += size->mean_bytes > 0 ? ((double)bytes - size->mean_bytes) / 8 : (double)bytes;
    size->seen_ns = now_ns;
    governor->sizes_seen |= 1u << (size - governor->sizes);
}

// A bound for the least of `bytes` by another measurement: a smaller export takes no longer than a larger one, which takes no longer than
// in proportion.
static double bound_ns(const struct governor_least *least, double bytes)
{
    if (least->ns <= 0)
        return (double)INFINITY;
    return least->ns * (bytes > (double)least->bytes ? bytes / (double)least->bytes : 1);
}

// The least known, of this size or by what others say. Smaller ones that wait longer than they once did wait in the same queue: what they
// wait is no part of the least of the larger ones either. (Who has known the upstream under load alone learns it so.)
static double least_latency_ns(const struct governor *governor, uint64_t now_ns, uint64_t bytes)
{
    const struct governor_size *own = &governor->sizes[size_class(bytes)];
    double least_ns = own->mean_ns;
    for (uint32_t seen = governor->sizes_seen; seen != 0; seen &= seen - 1) {
        const struct governor_size *size = &governor->sizes[__builtin_ctz(seen)];
        double known_ns = smaller(bound_ns(&size->least[0], (double)bytes), bound_ns(&size->least[1], (double)bytes));
        least_ns = smaller(least_ns, known_ns);
        if (size >= own || now_ns - size->seen_ns > RECENT_NS)
            continue;
        double once_ns =
            smaller(bound_ns(&size->least[0], size->mean_bytes), bound_ns(&size->least[1], size->mean_bytes));
        double waits_ns = size->mean_ns - once_ns;
        if (waits_ns > 0)
            least_ns = smaller(least_ns, larger(own->mean_ns - waits_ns, once_ns));
    }
    return least_ns;
}

// What the latency may be before it counts as a queue. (With a window of an export or more, one may wait while another is served: else
// the upstream would have nothing to do between two.)
static double target_ns(const struct governor *governor, double least_ns)
{
    double window = governor->window_bytes / governor_unit(governor), exports = window / governor->latency_ns * RATE_NS;
    double part = QUEUE_LEAST + (1 - QUEUE_LEAST) * smaller(window * window, 1);
    return least_ns + larger(part * least_ns, QUEUE_NS) * (1 + QUEUE_SMALL / sqrt(exports));
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
    for (size_t i = 0; i < GOVERNOR_SIZES; i++) {
        governor->sizes[i].least[0].ns *= governor->above_excess;
        governor->sizes[i].least[1].ns *= governor->above_excess;
    }
    governor->slow_start = true;
    governor->threshold_bytes = governor->above_window;
    governor->above_ns = 0;
}

static void shrink(struct governor *governor, uint64_t now_ns, double latency_ns, double target, double least_ns)
{
    double part = smaller(SHRINK * (latency_ns - target) / (target - least_ns), SHRINK_MAX);
    governor->slow_start = false;
    governor->shrunk_ns = now_ns;
    governor_set_window(governor, governor->window_bytes * (1 - part));
    judge_episode(governor, now_ns, latency_ns / least_ns);
}

// `room`: 0 ... 1, how far the latency is below what it may be.
static void grow(struct governor *governor, double bytes, double room)
{
    double more = smaller(bytes, governor->window_bytes); // slow start: twice a round trip
    if (!governor->slow_start) {
        double window = governor->window_bytes / governor_unit(governor);
        double grow = window < 1 ? GROW_SMALL + GROW * window * window * window * window : GROW_SMALL + GROW;
        more *= smaller(grow / (window * window), GROW_PART_MAX / sqrt(window)) * room;
    }
    governor_set_window(governor, governor->window_bytes + more);
    if (governor->window_bytes >= governor->threshold_bytes)
        governor->slow_start = false;
}

void governor_learn_latency(struct governor *governor, uint64_t now_ns, const struct governor_end *end)
{
    uint64_t latency_ns = end->latency_ns > 0 ? end->latency_ns : 1, started_ns = now_ns - end->latency_ns;
    note_latency(governor, now_ns, end->bytes, (double)latency_ns);
    double least_ns = least_latency_ns(governor, now_ns, end->bytes);
    double latency = (double)latency_ns, target = target_ns(governor, least_ns);
    governor->least_ns += governor->latency_ns > 0 ? (least_ns - governor->least_ns) / 8 : least_ns;
    governor->latency_ns += governor->latency_ns > 0 ? (latency - governor->latency_ns) / 8 : latency;
    bool held_up = governor->limited_ns > 0 && governor->limited_ns >= started_ns;
    if (latency <= target)
        governor->above_ns = 0;
    if (!held_up)
        return; // traffic that needs less than the window tells nothing of it
    if (latency <= target)
        grow(governor, (double)end->bytes, smaller((target - latency) / (target - least_ns), 1));
    else if (started_ns >= governor->shrunk_ns)
        shrink(governor, now_ns, latency, target, least_ns);
}
