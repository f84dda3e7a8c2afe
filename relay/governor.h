// SPDX-License-Identifier: Apache-2.0
// How much may be sent to one upstream, and when. Pure arithmetic on a given clock and given random numbers; no sockets, no memory of its
// own but the struct, which belongs to one thread.
//
// Three limits hold together:
//  - the *window*, bytes in flight. It opens fast (slow start: twice a round trip) until latency says that exports queue up at the
//    upstream; then it grows while less than a fixed time's worth waits there, and shrinks while more does. Below one export it is a
//    gap between exports, window / latency being the rate: thousands of relays share one upstream so. Small windows may see a longer
//    queue than large ones, and so come to be as large.
//  - the *rate*, exports a second, known only where the upstream refused (429, RESOURCE_EXHAUSTED, UNAVAILABLE) without a queue before: a
//    little below what it was then, back to it, a long while there, then gently and ever faster above (the cubic curve of TCP CUBIC), until
//    it is forgotten. By the first refusals it is not known well: it is searched for by ever smaller steps. (governor_doubt.c: not all
//    refusals have to do with the rate.)
//  - rate_limit, the user's own: a token bucket.
// Traffic that needs less than the window neither grows nor shrinks it, and is not delayed by it.
//
// A failure, a delay that the server asks for, a row of refusals, and a refusal before anything was ever taken stop all; then one small
// export, the probe, goes first, and slow start begins again, the lower the more often that happens.
#ifndef WEIR_RELAY_GOVERNOR_H
#define WEIR_RELAY_GOVERNOR_H

#include "relay/backoff.h"
#include "relay/replay_moves.h"

#define GOVERNOR_PROBE_BYTES    (64u * 1024) // a probe is not larger, where blocks allow it
#define GOVERNOR_UNREACHABLE_MS 5000u        // attempts to connect are cheap: not further apart than this
#define GOVERNOR_REFUSED_MS     10000u       // nor small probes that are refused without a delay of the server's own
#define GOVERNOR_STEADY_MS      30000u // up for so long: the next failure is a new outage, not the last one's flapping
#define GOVERNOR_SIZES          32 // classes of sizes, powers of two, whose latencies are compared with each other alone
#define GOVERNOR_RECENT         16 // starts from which the present rate is taken

struct governor_policy {
    uint64_t export_bytes;           // raw, of the largest export: max_request_size
    uint64_t max_in_flight_bytes;    // the window's upper end
    uint64_t rate_limit_bytes_per_s; // 0: none
    struct backoff_policy retry;
};

enum governor_outcome {
    GOVERNOR_DELIVERED,
    GOVERNOR_REFUSED,     // for what was in it: says nothing of the upstream's health, but that it answers
    GOVERNOR_HELD,        // by a setting; the same
    GOVERNOR_THROTTLED,   // for now: 429, 503, RESOURCE_EXHAUSTED, UNAVAILABLE ..., with or without a delay
    GOVERNOR_AWAY,        // every endpoint of it says that it can take nothing now
    GOVERNOR_UNREACHABLE, // no connection: it cost nobody anything
    GOVERNOR_LOST,        // no answer to what was sent: a timeout, a broken connection
};

// The least latency of a class of sizes, and the size it was measured with; 0: none.
struct governor_least {
    double ns;
    uint64_t bytes;
};
struct governor_size {
    struct governor_least least[2]; // of this period, and of the one before
    double mean_ns, mean_bytes;     // smoothed; 0: none was seen
    uint64_t seen_ns;
};

// Whether refusals have to do with the rate.
struct governor_doubt {
    uint32_t answers;            // since the last refusal
    double rate_before;          // before the latest refusals that lie close together
    uint64_t second_ns;          // when the present second began
    uint32_t taken;              // exports, in it
    double peak;                 // and at most in a second, of late
    uint32_t low_taken;          // while but a part of that was sent
    uint32_t low_refusals;       // and refused then
    uint32_t trial;              // exports left of it; 0: there is none
    double rate_low, window_low; // before it
    double chance;               // this part is refused by chance; 0: that is not so
    double least;                // and it is this part at least
    double part;                 // of the latest exports that was refused, smoothed
    uint64_t until_ns;           // so long that counts
    uint64_t deaf_ms;            // so long it counted the last time
};

// Read what you like; only the functions below change it.
struct governor {
    struct governor_policy policy;
    enum replay_state state; // of the flow; moves by replay_move
    struct backoff backoff;  // until when nothing may start
    bool down;               // the next export is a probe
    bool keep_window;        // the server asked for a pause: behind the probe it goes on as before
    bool unreachable;        // the last failure was to reach it
    bool heard;              // it has taken something, ever: refusals before that are an outage
    uint32_t flaps;          // outages in a row, each soon after the last one's end
    uint64_t up_ns;          // since when it answers

    double window_bytes, threshold_bytes; // slow start ends at the threshold
    bool slow_start;
    uint64_t in_flight_bytes;
    uint32_t in_flight;
    uint64_t limited_ns; // when an export was last started that the window had held up
    bool held_up;        // the next one is such
    uint64_t shrunk_ns;  // what began before says nothing that the last shrinking has not answered

    struct governor_size sizes[GOVERNOR_SIZES];
    uint32_t sizes_seen;         // a bit each
    uint64_t period_ns;          // when this period began
    uint64_t above_ns;           // since when all latencies are too long; 0: they are not
    double above_window;         // then
    double above_excess;         // the least of them, as a multiple of the least known
    double latency_ns, least_ns; // smoothed; and so the least known

    double rate_refused;      // exports a second at which it refused; 0: not known
    uint64_t refused_ns;      // when
    double climb_ns;          // from then until that rate is reached again
    bool all_refused;         // the row of refusals went on with a probe
    double rate_fell;         // from here, in a row of refusals, and is not half of it again; 0: it did not
    double search;            // the rate is searched for: up by this factor, step by step; 0: it is not
    uint32_t search_refusals; // since that began
    uint32_t steps;           // without a refusal
    uint32_t step_answers;    // since the last one
    uint64_t step_ns;         // when that was
    uint64_t flows_ns;        // since the last pause
    uint32_t refusals;        // in a row
    uint64_t pause_ms;        // the last one made in that row
    uint32_t up_answers;      // since it came up, as far as that matters
    uint32_t answers;         // since the last refusal
    double refused_part;      // of the latest exports, smoothed: 0 ... 1
    double mean_bytes;        // of an export, smoothed
    uint64_t starts_ns[GOVERNOR_RECENT];
    uint32_t start_count;

    struct governor_doubt doubt;

    uint64_t next_ns;    // when the next export may start by window and rate
    double credit_bytes; // of rate_limit; below 0: owed
    uint64_t credit_ns;  // as of when
    double random;
};

// `random` (0 ... 1, here and below) sets replicas apart.
void governor_init(struct governor *governor, const struct governor_policy *policy, uint64_t now_ns, double random);
// The address behind the upstream's name has changed: what was measured does not hold. Call it also for another endpoint of a list.
void governor_moved(struct governor *governor);

// Whether an export of so many raw bytes may start now. Ask only with one at hand: a no is taken as a sign that more would be sent.
// False: *wake_ns is when to ask again, UINT64_MAX: when something under way has ended.
bool governor_may_start(struct governor *governor, uint64_t now_ns, uint64_t bytes, uint64_t *wake_ns);
// Whether the next export is a probe: alone, and small.
static inline bool governor_probes(const struct governor *governor)
{
    return governor->down;
}
// How large the next export should be at most.
uint64_t governor_export_bytes(const struct governor *governor);

// It was started, `backlog`: with data that is older than a moment.
void governor_started(struct governor *governor, uint64_t now_ns, uint64_t bytes, bool backlog);

struct governor_end {
    enum governor_outcome outcome;
    uint64_t bytes;          // as it was started
    uint64_t latency_ns;     // since it was started
    uint64_t retry_after_ms; // the server's own delay, 0: none. The longest of several counts
};
void governor_ended(struct governor *governor, uint64_t now_ns, const struct governor_end *end, double random);
// The latest refusals were about something else than this upstream's load: what was learnt from them does not hold.
void governor_take_back(struct governor *governor);
// It was started and is over without an answer, by our own doing.
void governor_dropped(struct governor *governor, uint64_t bytes);

// Nothing is left to send and nothing is under way: idle. What is known of the upstream stays known.
void governor_rest(struct governor *governor);
// The lanes wait for a person: held, until the next start.
void governor_hold(struct governor *governor);
// A person's: nothing starts while paused; what is under way ends. Going on begins as idle.
void governor_pause(struct governor *governor, bool paused);

// To show: bytes a second that may be sent now, by window, rate and limit; 0: no limit is known.
double governor_rate(const struct governor *governor, uint64_t now_ns);

#endif
