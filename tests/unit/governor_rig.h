// SPDX-License-Identifier: Apache-2.0
// A worker and an upstream in virtual time around the real governor.
#ifndef WEIR_TESTS_GOVERNOR_RIG_H
#define WEIR_TESTS_GOVERNOR_RIG_H

#include "relay/governor.h"

#include <criterion/criterion.h>

#define MIB   (UINT64_C(1) << 20)
#define KIB   (UINT64_C(1) << 10)
#define MS    UINT64_C(1000000)
#define S     UINT64_C(1000000000)
#define CALLS 256

struct rig;
// What becomes of an export that is started now: the outcome, latency and delay of *end.
typedef void (*rig_upstream)(struct rig *rig, struct governor_end *end);

struct rig {
    struct governor governor;
    uint64_t now_ns, random;
    rig_upstream upstream;
    uint64_t export_bytes; // of each export
    uint64_t every_ns;     // 0: a backlog without an end; else one export's worth comes so often
    uint64_t arrived, sent;
    struct call {
        struct governor_end end;
        uint64_t end_ns;
    } calls[CALLS];
    uint32_t call_count;
    // of the upstream
    uint64_t capacity; // of exports a second, in flight, or bytes a second, as the upstream has it
    double tokens;     // of a capacity a second
    uint64_t tokens_ns;
    uint64_t busy_ns;    // a link that is shared: until when it is taken
    uint64_t latency_ns; // without load
    uint64_t retry_after_ms;
    bool down;
    // counts since they were last cleared
    uint64_t delivered, delivered_bytes, throttled, failed, starts, held_up_ns, most_in_flight, first_ns;
    uint64_t latency_sum_ns;
};

static inline double rig_random(struct rig *rig)
{
    rig->random ^= rig->random >> 12;
    rig->random ^= rig->random << 25;
    rig->random ^= rig->random >> 27;
    return (double)((rig->random * 0x2545F4914F6CDD1Dull) >> 11) / (double)(1ull << 53);
}

static inline void rig_clear(struct rig *rig)
{
    rig->delivered = rig->delivered_bytes = rig->throttled = rig->failed = rig->starts = rig->held_up_ns = 0;
    rig->most_in_flight = rig->first_ns = rig->latency_sum_ns = 0;
}

static inline void rig_start(struct rig *rig, uint64_t bytes)
{
    cr_assert_lt(rig->call_count, CALLS);
    struct call *call = &rig->calls[rig->call_count++];
    governor_started(&rig->governor, rig->now_ns, bytes, rig->every_ns == 0);
    *call = (struct call){.end = {.outcome = GOVERNOR_DELIVERED, .bytes = bytes, .latency_ns = rig->latency_ns}};
    if (rig->down)
        call->end = (struct governor_end){GOVERNOR_UNREACHABLE, bytes, 1 * MS, 0};
    else
        rig->upstream(rig, &call->end);
    call->end_ns = rig->now_ns + call->end.latency_ns;
    rig->starts++;
    rig->sent++;
    if (rig->governor.in_flight > rig->most_in_flight)
        rig->most_in_flight = rig->governor.in_flight;
}

static inline void rig_end(struct rig *rig, uint32_t i)
{
    struct call call = rig->calls[i];
    rig->calls[i] = rig->calls[--rig->call_count];
    governor_ended(&rig->governor, rig->now_ns, &call.end, rig_random(rig));
    if (call.end.outcome == GOVERNOR_DELIVERED) {
        rig->delivered++;
        rig->delivered_bytes += call.end.bytes;
        rig->latency_sum_ns += call.end.latency_ns;
        if (rig->first_ns == 0)
            rig->first_ns = rig->now_ns;
    } else {
        rig->sent--; // it goes again
        rig->throttled += call.end.outcome == GOVERNOR_THROTTLED;
        rig->failed += call.end.outcome >= GOVERNOR_UNREACHABLE;
    }
}

// Runs until then. Afterwards nothing has happened later.
static inline void rig_run(struct rig *rig, uint64_t until_ns)
{
    while (rig->now_ns < until_ns) {
        uint64_t next_ns = until_ns, wake_ns = UINT64_MAX;
        if (rig->every_ns > 0) {
            rig->arrived = rig->now_ns / rig->every_ns;
            next_ns = (rig->arrived + 1) * rig->every_ns;
        }
        bool work = rig->every_ns == 0 || rig->sent < rig->arrived;
        uint64_t bytes = rig->export_bytes, most = governor_export_bytes(&rig->governor);
        bytes = bytes < most ? bytes : most;
        if (work && rig->call_count < CALLS && governor_may_start(&rig->governor, rig->now_ns, bytes, &wake_ns)) {
            rig_start(rig, bytes);
            continue;
        }
        cr_assert(wake_ns > rig->now_ns);
        uint64_t from_ns = rig->now_ns;
        next_ns = next_ns < until_ns ? next_ns : until_ns;
        next_ns = next_ns < wake_ns ? next_ns : wake_ns;
        uint32_t first = UINT32_MAX;
        for (uint32_t i = 0; i < rig->call_count; i++)
            if (rig->calls[i].end_ns <= next_ns) {
                next_ns = rig->calls[i].end_ns;
                first = i;
            }
        cr_assert(next_ns < UINT64_MAX && next_ns >= rig->now_ns);
        rig->now_ns = next_ns;
        if (work)
            rig->held_up_ns += next_ns - from_ns;
        if (first != UINT32_MAX)
            rig_end(rig, first);
    }
}

static inline struct rig rig_make(rig_upstream upstream)
{
    static const struct governor_policy policy = {
        .export_bytes = 4 * MIB, .max_in_flight_bytes = 16 * MIB, .retry = {.initial_ms = 1000, .max_ms = 30000}};
    struct rig rig = {.now_ns = 1000 * S, .random = 88172645463325252u, .upstream = upstream, .export_bytes = 4 * MIB};
    rig.latency_ns = 4 * MS;
    governor_init(&rig.governor, &policy, rig.now_ns, 0.5);
    return rig;
}

// --- upstreams -------------------------------------------------------------------------------------------------------------------

// As fast as it can be: nothing depends on the load.
static inline void upstream_fast(struct rig *rig, struct governor_end *end)
{
    (void)rig, (void)end;
}

// Takes `capacity` exports a second, a tenth of a second's worth at once; refuses what is beyond, as quickly.
static inline void upstream_limited(struct rig *rig, struct governor_end *end)
{
    double capacity = (double)rig->capacity, most = capacity / 10 > 1 ? capacity / 10 : 1;
    rig->tokens += capacity * ((double)(rig->now_ns - rig->tokens_ns) / 1e9);
    rig->tokens = rig->tokens < most ? rig->tokens : most;
    rig->tokens_ns = rig->now_ns;
    if (rig->tokens >= 1) {
        rig->tokens -= 1;
        return;
    }
    end->outcome = GOVERNOR_THROTTLED;
    end->retry_after_ms = rig->retry_after_ms;
}

// One of `capacity` exports is refused, whatever their rate.
static inline void upstream_flaky(struct rig *rig, struct governor_end *end)
{
    if (rig_random(rig) * (double)rig->capacity < 1)
        end->outcome = GOVERNOR_THROTTLED;
}

// One after the other, `capacity` bytes a second: what is sent beyond waits, and latency is the queue.
static inline void upstream_queue(struct rig *rig, struct governor_end *end)
{
    uint64_t from_ns = rig->busy_ns > rig->now_ns ? rig->busy_ns : rig->now_ns;
    rig->busy_ns = from_ns + (uint64_t)((double)end->bytes / (double)rig->capacity * 1e9);
    end->latency_ns = rig->busy_ns - rig->now_ns + rig->latency_ns;
}

#endif
