// SPDX-License-Identifier: Apache-2.0
#include "relay/governor_priv.h"

// Behind a probe the window is this part of an export, halved by each flap that counts.
#define FIRST_SHARE 8
#define FLAPS_MAX   3

// Refusals while latency is above so many times the least; the window shrinks by so much then.
#define QUEUED      1.4
#define QUEUED_LESS 0.2
#define QUEUED_NS   10e6 // and by so much: near upstreams vary by more than their latency

#define SETTLED      5                // answers after an outage, before which no rate is known
#define REFUSALS_MAX 5                // in a row: an outage
#define DEAF_MORE    4                // times as many where they come by chance
#define CATCH_UP_NS  (20 * NS_PER_MS) // a late start may be made up for by so much: timers are coarse

void governor_init(struct governor *governor, const struct governor_policy *policy, uint64_t now_ns, double random)
{
    assert(policy->export_bytes > 0 && policy->max_in_flight_bytes >= policy->export_bytes);
    assert(random >= 0 && random <= 1);
    *governor = (struct governor){.policy = *policy, .slow_start = true, .random = random};
    governor->threshold_bytes = (double)policy->max_in_flight_bytes;
    governor->period_ns = governor->credit_ns = now_ns;
    governor->mean_bytes = governor_unit(governor);
    governor_set_window(governor, governor_unit(governor));
}

void governor_moved(struct governor *governor)
{
    memset(governor->sizes, 0, sizeof(governor->sizes));
    governor->sizes_seen = 0;
    governor->latency_ns = 0;
    governor->rate_refused = 0;
    governor_doubt_forget(governor);
    governor->refused_part = 0;
    governor->next_ns = 0;
    governor->above_ns = 0;
}

// --- the user's limit -------------------------------------------------------------------------------------------------------------

// A quarter of a second of it may gather; an export may start as soon as nothing is owed, and is paid for afterwards.
static void gather_credit(struct governor *governor, uint64_t now_ns)
{
    double rate = (double)governor->policy.rate_limit_bytes_per_s;
    uint64_t passed_ns = now_ns > governor->credit_ns ? now_ns - governor->credit_ns : 0;
    governor->credit_bytes = smaller(governor->credit_bytes + rate * ((double)passed_ns / NS_PER_S), rate / 4);
    governor->credit_ns = now_ns;
}

static uint64_t credit_wake_ns(const struct governor *governor, uint64_t now_ns)
{
    double rate = (double)governor->policy.rate_limit_bytes_per_s;
    return now_ns + (uint64_t)(-governor->credit_bytes / rate * NS_PER_S) + 1;
}

// --- starting -------------------------------------------------------------------------------------------------------------------

static bool window_has_room(const struct governor *governor, uint64_t bytes)
{
    return governor->in_flight == 0 || (double)governor->in_flight_bytes + (double)bytes <= governor->window_bytes;
}

bool governor_may_start(struct governor *governor, uint64_t now_ns, uint64_t bytes, uint64_t *wake_ns)
{
    *wake_ns = UINT64_MAX;
    if (governor->state == REPLAY_PAUSED || (governor->down && governor->in_flight > 0))
        return false;
    if (backoff_waits(&governor->backoff, now_ns)) {
        *wake_ns = governor->backoff.until_ns;
        if (governor->state == REPLAY_IDLE) // there was nothing to wait with, and now there is
            replay_move(&governor->state, REPLAY_BACKING_OFF);
        return false;
    }
    if (governor->policy.rate_limit_bytes_per_s > 0) {
        gather_credit(governor, now_ns);
        if (governor->credit_bytes < 0) {
            *wake_ns = credit_wake_ns(governor, now_ns);
            return false;
        }
    }
    if (governor->down)
        return true;
    if (now_ns < governor->next_ns) {
        governor->held_up = true;
        *wake_ns = governor->next_ns;
        return false;
    }
    if (!window_has_room(governor, bytes)) {
        governor->held_up = true;
        return false;
    }
    return true;
}

uint64_t governor_export_bytes(const struct governor *governor)
{
    uint64_t most = governor->policy.export_bytes;
    return governor->down && most > GOVERNOR_PROBE_BYTES ? GOVERNOR_PROBE_BYTES : most;
}

// How long after this one the next may start, by window and by rate.
static double gap_ns(const struct governor *governor, uint64_t now_ns, double bytes)
{
    double gap = 0, rate = governor_known_rate(governor, now_ns);
    if (bytes > governor->window_bytes)
        gap = smaller(bytes / governor->window_bytes * governor->latency_ns, GOVERNOR_SLOWEST_S * NS_PER_S);
    if (rate > 0) // small ones are paid for in proportion: whether requests or bytes are refused is not known
        gap = larger(gap, smaller(bytes / governor->mean_bytes, 1) / rate * NS_PER_S);
    return gap;
}

// However low the rate: so far apart attempts may be.
static uint64_t gap_end_ns(const struct governor *governor, uint64_t from_ns, double gap)
{
    return from_ns + (uint64_t)smaller(gap, (double)governor->policy.retry.max_ms * (double)NS_PER_MS);
}

static void leave_gap(struct governor *governor, uint64_t now_ns, double bytes)
{
    double gap = gap_ns(governor, now_ns, bytes);
    if (gap <= 0)
        return;
    uint64_t late_ns = now_ns - (now_ns > governor->next_ns ? governor->next_ns : now_ns);
    uint64_t from_ns = late_ns < CATCH_UP_NS ? governor->next_ns : now_ns;
    governor->next_ns = gap_end_ns(governor, from_ns, gap * (0.98 + governor->random / 25));
}

void governor_started(struct governor *governor, uint64_t now_ns, uint64_t bytes, bool backlog)
{
    assert(governor->state != REPLAY_PAUSED && !backoff_waits(&governor->backoff, now_ns));
    assert(!governor->down || governor->in_flight == 0);
    bool probing = governor->down || governor->state == REPLAY_HELD;
    if (governor->state != REPLAY_PROBING)
        replay_move(&governor->state, probing ? REPLAY_PROBING : backlog ? REPLAY_REPLAYING : REPLAY_DELIVERING);
    governor->in_flight++;
    governor->in_flight_bytes += bytes;
    if (governor->held_up || (double)governor->in_flight_bytes > governor->window_bytes / 2)
        governor->limited_ns = now_ns;
    governor->held_up = false;
    governor->mean_bytes += ((double)bytes - governor->mean_bytes) / 8;
    if (governor->mean_bytes < 1)
        governor->mean_bytes = 1;
    governor->starts_ns[governor->start_count++ % GOVERNOR_RECENT] = now_ns;
    if (governor->start_count == UINT32_MAX - UINT32_MAX % GOVERNOR_RECENT)
        governor->start_count = GOVERNOR_RECENT;
    if (governor->policy.rate_limit_bytes_per_s > 0)
        governor->credit_bytes -= (double)bytes;
    if (!governor->down)
        leave_gap(governor, now_ns, (double)bytes);
}

// --- ends -----------------------------------------------------------------------------------------------------------------------

// From now on one probe at a time. `keep`: the server asked for a pause, and behind the probe it goes on as before; else the window that
// slow start begins with is set now.
static void go_down(struct governor *governor, uint64_t now_ns, bool keep)
{
    if (!keep && (!governor->down || governor->keep_window)) {
        bool soon = now_ns - governor->up_ns < GOVERNOR_STEADY_MS * NS_PER_MS;
        governor->flaps = !soon ? 0 : governor->flaps < FLAPS_MAX ? governor->flaps + 1 : FLAPS_MAX;
        if (!soon)
            backoff_reset(&governor->backoff);
        governor->threshold_bytes = larger(governor->window_bytes, governor_unit(governor) / FIRST_SHARE);
        double first = governor_unit(governor) / (double)(FIRST_SHARE << governor->flaps);
        governor_set_window(governor, smaller(governor->window_bytes, first));
        governor->slow_start = true;
    }
    governor->keep_window = keep && (!governor->down || governor->keep_window);
    governor->down = true;
    replay_move(&governor->state, REPLAY_BACKING_OFF);
}

static void come_up(struct governor *governor, uint64_t now_ns)
{
    if (!governor->keep_window) {
        governor->up_ns = now_ns;
        governor->up_answers = 0;
    }
    governor->down = governor->keep_window = false;
    governor->next_ns = now_ns + (uint64_t)(governor->latency_ns * governor->random);
    governor_rate_flows(governor, now_ns);
    governor->refusals = 0;
    if (governor->all_refused) // however little was sent: that was no rate, and all may go on as before
        governor->rate_refused = governor->doubt.rate_before;
    governor->all_refused = false;
    governor->limited_ns = now_ns;
    governor->shrunk_ns = now_ns;
    governor->above_ns = 0;
    governor->backoff.until_ns = 0;
    // The rate that was refused before a long outage is forgotten; else it is climbed to once more, and the probe was the first.
    governor_rate_forget(governor, now_ns);
    if (governor->rate_refused <= 0)
        return;
    governor->next_ns = gap_end_ns(governor, now_ns, NS_PER_S / governor_known_rate(governor, now_ns));
}

static void fail(struct governor *governor, uint64_t now_ns, const struct governor_end *end, double random)
{
    struct backoff_policy policy = governor->policy.retry;
    bool cheap = end->outcome == GOVERNOR_UNREACHABLE;
    bool refused = end->outcome == GOVERNOR_THROTTLED || end->outcome == GOVERNOR_AWAY;
    uint64_t most_ms = cheap ? GOVERNOR_UNREACHABLE_MS : refused ? GOVERNOR_REFUSED_MS : policy.max_ms;
    if (policy.max_ms > most_ms)
        policy.max_ms = most_ms;
    go_down(governor, now_ns, false);
    // It answers, if only by a refusal: how often it could not be reached before says nothing of how long this takes.
    if (!cheap && governor->unreachable && governor->backoff.failures > governor->flaps)
        governor->backoff.failures = governor->flaps;
    governor->unreachable = cheap;
    // A row of refusals has made pauses of its own: this one is no shorter.
    while (governor->refusals > 0 && governor->backoff.failures < governor->refusals &&
           backoff_delay_ms(&policy, governor->backoff.failures + 1, 0, 0) < governor->pause_ms)
        governor->backoff.failures++;
    governor->pause_ms = 0;
    backoff_fail(&governor->backoff, &policy, end->retry_after_ms, random, now_ns);
}

// After a refusal, where nobody has said how long: not much longer than a failure would make it wait, and never longer than failures can. How
// far apart attempts are is for retry to say.
static double most_pause_ns(const struct governor *governor, double random)
{
    const struct backoff_policy *policy = &governor->policy.retry;
    double wait_ms = 4 * (double)backoff_delay_ms(policy, governor->refusals, 0, random);
    double most_ms = smaller((double)policy->max_ms, GOVERNOR_REFUSED_MS);
    return smaller(wait_ms, most_ms) * (double)NS_PER_MS;
}

static void throttled(struct governor *governor, uint64_t now_ns, const struct governor_end *end, double random)
{
    governor->refused_part += (1 - governor->refused_part) / 8;
    uint64_t started_ns = now_ns - end->latency_ns;
    bool older = started_ns < governor->shrunk_ns || backoff_is_older(&governor->backoff, started_ns);
    if (!older) {
        governor->refusals++;
        if (governor->down || !governor->heard ||
            governor->refusals >= REFUSALS_MAX * (governor_is_deaf(governor) ? DEAF_MORE : 1)) {
            governor->all_refused = governor->down || !governor->heard; // even a probe, even the first
            fail(governor, now_ns, end, random);
            return;
        }
        bool queued = governor->latency_ns > QUEUED * governor->least_ns + QUEUED_NS;
        if (governor_doubts(governor, now_ns, end->retry_after_ms == 0 && !queued))
            return;
        bool much = governor->slow_start || governor->refusals > 1;
        // While latency tells how much it takes the window follows that; and slow start has to find the end of the window first, where the
        // window is one that holds anything up: below an export, and with next to no latency, it is not.
        bool settled = !governor->slow_start && governor->up_answers >= SETTLED;
        bool holds_up = governor->latency_ns > QUEUED_NS || governor->window_bytes > governor_unit(governor);
        if (queued || (!settled && holds_up)) {
            governor_set_window(governor, governor->window_bytes * (much ? 0.5 : 1 - QUEUED_LESS));
        } else {
            governor_rate_was_refused(governor, now_ns, end);
            double window = governor->window_bytes * (much ? 0.5 : 1 - GOVERNOR_REFUSED_LESS);
            governor_set_window(governor, larger(window, smaller(governor->window_bytes, governor_unit(governor))));
        }
        governor->slow_start = false;
        governor->shrunk_ns = now_ns;
        governor->answers = 0;
        double gap = larger(gap_ns(governor, now_ns, governor->mean_bytes), governor->latency_ns) * (0.5 + random);
        governor->next_ns = now_ns + (uint64_t)smaller(gap, most_pause_ns(governor, random));
        governor->pause_ms = (governor->next_ns - now_ns) / NS_PER_MS;
    }
    if (end->retry_after_ms > 0) {
        go_down(governor, now_ns, true);
        governor->backoff.failed_ns = now_ns;
        backoff_extend(&governor->backoff, end->retry_after_ms, random, now_ns);
    }
}

static void answered(struct governor *governor, uint64_t now_ns, const struct governor_end *end)
{
    governor->refused_part -= governor->refused_part / 8;
    governor->heard = true;
    governor_doubt_answered(governor, now_ns);
    if (governor->answers < UINT32_MAX)
        governor->answers++;
    if (governor->up_answers < SETTLED)
        governor->up_answers++;
    uint64_t started_ns = now_ns - end->latency_ns;
    if (governor->down) {
        if (backoff_is_older(&governor->backoff, started_ns) || backoff_waits(&governor->backoff, now_ns))
            return; // it was under way when the others failed
        come_up(governor, now_ns);
    }
    if (started_ns >= governor->shrunk_ns) {
        governor->refusals = 0;
        governor_rate_was_taken(governor, now_ns, started_ns);
    }
    if (now_ns - governor->up_ns > GOVERNOR_STEADY_MS * NS_PER_MS)
        backoff_reset(&governor->backoff);
    if (governor->state == REPLAY_PROBING)
        replay_move(&governor->state, REPLAY_DELIVERING);
    governor_rate_forget(governor, now_ns);
    if (end->outcome == GOVERNOR_DELIVERED)
        governor_learn_latency(governor, now_ns, end);
}

void governor_dropped(struct governor *governor, uint64_t bytes)
{
    assert(governor->in_flight > 0 && governor->in_flight_bytes >= bytes);
    governor->in_flight--;
    governor->in_flight_bytes -= bytes;
}

void governor_ended(struct governor *governor, uint64_t now_ns, const struct governor_end *end, double random)
{
    assert(random >= 0 && random <= 1 && end->latency_ns <= now_ns);
    bool paused = governor->state == REPLAY_PAUSED;
    if (paused)
        governor->state = REPLAY_IDLE; // what it would be
    governor->random = random;
    switch (end->outcome) {
    case GOVERNOR_DELIVERED:
    case GOVERNOR_REFUSED:
    case GOVERNOR_HELD:
        answered(governor, now_ns, end);
        break;
    case GOVERNOR_THROTTLED:
        throttled(governor, now_ns, end, random);
        break;
    case GOVERNOR_AWAY:
    case GOVERNOR_UNREACHABLE:
    case GOVERNOR_LOST:
        if (!backoff_is_older(&governor->backoff, now_ns - end->latency_ns)) // else the same failure
            fail(governor, now_ns, end, random);
        governor_doubt_forget(governor);
        break;
    }
    governor_dropped(governor, end->bytes);
    if (paused)
        replay_move(&governor->state, REPLAY_PAUSED);
}

// --- what the worker says ---------------------------------------------------------------------------------------------------------

void governor_rest(struct governor *governor)
{
    assert(governor->in_flight == 0);
    if (governor->state != REPLAY_PAUSED)
        replay_move(&governor->state, REPLAY_IDLE);
}

void governor_hold(struct governor *governor)
{
    if (governor->state != REPLAY_PAUSED)
        replay_move(&governor->state, REPLAY_HELD);
}

void governor_pause(struct governor *governor, bool paused)
{
    if (paused)
        replay_move(&governor->state, REPLAY_PAUSED);
    else if (governor->state == REPLAY_PAUSED)
        replay_move(&governor->state, REPLAY_IDLE);
}

double governor_rate(const struct governor *governor, uint64_t now_ns)
{
    double rate = governor_known_rate(governor, now_ns) * governor->mean_bytes;
    double limit = (double)governor->policy.rate_limit_bytes_per_s;
    double window = governor->latency_ns > 0 ? governor->window_bytes / governor->latency_ns * NS_PER_S : 0;
    bool windowed = window > 0 && governor->window_bytes < governor_unit(governor);
    double least = rate;
    if (limit > 0 && (least <= 0 || limit < least))
        least = limit;
    if (windowed && (least <= 0 || window < least))
        least = window;
    return least;
}
