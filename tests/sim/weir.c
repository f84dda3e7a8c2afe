// SPDX-License-Identifier: Apache-2.0
// A relay as weir is: the real governor, the backlog in exports as large as they may be, live data in blocks as they come. Newest data
// flows at its share while a backlog drains; the backlog takes what that leaves.
#include "tests/sim/sim.h"

#define FRESH_SHARE 0.5
#define AGAIN_MAX   8
#define LIVE_MAX    2 // blocks that may wait when a relay counts as having caught up

struct relay {
    struct governor governor;
    double backlog_bytes; // not sent yet, or sent in vain
    double backlog_under_way;
    bool done;
    uint64_t phase_ns; // its first live block comes then
    uint32_t block;    // the next live one to send
    struct {
        uint32_t first, count;
    } again[AGAIN_MAX]; // live blocks that were sent in vain
    uint32_t again_count;
    double owed_fresh; // bytes that live data may still have, by its share
    uint64_t timer_ns;
};

static struct relay *relay_of(struct sim *sim, uint32_t id)
{
    return &((struct relay *)sim->relays)[id];
}

static uint64_t every_ns(const struct sim *sim)
{
    return (uint64_t)(sim->plan->live_every_s * 1e9);
}

static uint64_t block_ns(const struct sim *sim, const struct relay *relay, uint32_t block)
{
    return relay->phase_ns + block * every_ns(sim);
}

static double block_bytes(const struct sim *sim)
{
    return sim->plan->live_bytes_per_s * sim->plan->live_every_s;
}

static uint32_t blocks_come(const struct sim *sim, const struct relay *relay)
{
    return sim->now_ns < relay->phase_ns ? 0 : (uint32_t)((sim->now_ns - relay->phase_ns) / every_ns(sim)) + 1;
}

static uint32_t blocks_at_most(const struct sim *sim, const struct relay *relay)
{
    uint32_t most = (uint32_t)((double)governor_export_bytes(&relay->governor) / block_bytes(sim));
    return most > 0 ? most : 1;
}

// The next live export. False: there is none.
static bool take_fresh(struct sim *sim, struct relay *relay, struct request *request)
{
    uint32_t most = blocks_at_most(sim, relay), come = blocks_come(sim, relay) - relay->block;
    if (relay->again_count > 0) {
        uint32_t i = relay->again_count - 1;
        request->first = relay->again[i].first;
        request->count = relay->again[i].count < most ? relay->again[i].count : most;
    } else if (come > 0) {
        request->first = relay->block;
        request->count = come < most ? come : most;
    } else {
        return false;
    }
    request->bytes = (uint32_t)(request->count * block_bytes(sim));
    return true;
}

static bool take_backlog(const struct relay *relay, struct request *request)
{
    double most = (double)governor_export_bytes(&relay->governor);
    request->count = 0;
    request->bytes = (uint32_t)(relay->backlog_bytes < most ? relay->backlog_bytes : most);
    return request->bytes > 0;
}

static void taken(struct relay *relay, const struct request *request)
{
    if (request->count == 0) {
        relay->backlog_bytes -= request->bytes;
        relay->backlog_under_way += request->bytes;
        relay->owed_fresh += request->bytes * FRESH_SHARE / (1 - FRESH_SHARE);
        return;
    }
    relay->owed_fresh -= request->bytes;
    if (relay->again_count == 0) {
        relay->block += request->count;
        return;
    }
    uint32_t i = relay->again_count - 1;
    relay->again[i].first += request->count;
    relay->again[i].count -= request->count;
    relay->again_count -= relay->again[i].count == 0;
}

static void work(struct sim *sim, uint32_t id)
{
    struct relay *relay = relay_of(sim, id);
    uint64_t wake_ns = UINT64_MAX;
    for (;;) {
        struct request request = {.relay = id};
        double burst = (double)sim->plan->export_bytes;
        if (relay->owed_fresh > burst) // live data needed less than its share
            relay->owed_fresh = burst;
        bool fresh = (relay->owed_fresh >= 0 || relay->backlog_bytes < 1) && take_fresh(sim, relay, &request);
        if (!fresh && !take_backlog(relay, &request) && !take_fresh(sim, relay, &request)) {
            wake_ns = block_ns(sim, relay, relay->block);
            break;
        }
        if (!governor_may_start(&relay->governor, sim->now_ns, request.bytes, &wake_ns))
            break;
        governor_started(&relay->governor, sim->now_ns, request.bytes, request.count == 0);
        taken(relay, &request);
        sim_send(sim, &request);
    }
    if (wake_ns < UINT64_MAX && wake_ns != relay->timer_ns) {
        relay->timer_ns = wake_ns;
        sim_at(sim, wake_ns, EVENT_TIMER, id);
    }
}

static void weir_timer(struct sim *sim, uint32_t id)
{
    struct relay *relay = relay_of(sim, id);
    if (relay->timer_ns != sim->now_ns) // there is another by now
        return;
    relay->timer_ns = 0;
    work(sim, id);
}

static uint32_t live_waits(const struct sim *sim, const struct relay *relay)
{
    uint32_t count = blocks_come(sim, relay) - relay->block;
    for (uint32_t i = 0; i < relay->again_count; i++)
        count += relay->again[i].count;
    return count;
}

static void delivered(struct sim *sim, struct relay *relay, const struct request *request)
{
    for (uint32_t i = 0; i < request->count; i++) {
        uint64_t delay_ns = sim->now_ns - block_ns(sim, relay, request->first + i);
        sim_live_delivered(sim, block_bytes(sim), (double)delay_ns / 1e9);
    }
    bool left = relay->backlog_bytes >= 1 || relay->backlog_under_way >= 1;
    if (sim->now_ns >= sim->return_ns && !relay->done && !left && live_waits(sim, relay) <= LIVE_MAX) {
        relay->done = true;
        sim_relay_done(sim);
    }
}

static void weir_answer(struct sim *sim, struct request *request, enum governor_outcome outcome)
{
    struct relay *relay = relay_of(sim, request->relay);
    struct governor_end end = {outcome, request->bytes, sim->now_ns - request->started_ns, 0};
    governor_ended(&relay->governor, sim->now_ns, &end, sim_random(sim));
    if (request->count == 0)
        relay->backlog_under_way -= request->bytes;
    if (outcome == GOVERNOR_DELIVERED) {
        delivered(sim, relay, request);
    } else if (request->count == 0) {
        relay->backlog_bytes += request->bytes;
    } else {
        assert(relay->again_count < AGAIN_MAX);
        relay->again[relay->again_count].first = request->first;
        relay->again[relay->again_count++].count = request->count;
        relay->owed_fresh += request->bytes;
    }
    work(sim, request->relay);
}

static void weir_start(struct sim *sim)
{
    const struct plan *plan = sim->plan;
    const struct governor_policy policy = {.export_bytes = plan->export_bytes,
                                           .max_in_flight_bytes = 4 * plan->export_bytes,
                                           .retry = {.initial_ms = 1000, .max_ms = 30000}};
    struct relay *relays = calloc(plan->relays, sizeof(*relays));
    assert(relays != NULL);
    sim->relays = relays;
    for (uint32_t i = 0; i < plan->relays; i++) {
        governor_init(&relays[i].governor, &policy, 0, sim_random(sim));
        relays[i].timer_ns = relays[i].phase_ns = (uint64_t)(plan->live_every_s * sim_random(sim) * 1e9);
        sim_at(sim, relays[i].timer_ns, EVENT_TIMER, i);
    }
}

// What came during the outage, all its hours, is the backlog: live is what comes from now on.
static void weir_returned(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->plan->relays; i++) {
        struct relay *relay = relay_of(sim, i);
        relay->backlog_bytes = sim->plan->live_bytes_per_s * sim->plan->backlog_s;
        relay->block = blocks_come(sim, relay);
        relay->again_count = 0;
        relay->owed_fresh = 0;
    }
}

static void weir_stop(struct sim *sim)
{
    free(sim->relays);
}

const struct system system_weir = {"weir", weir_start, weir_returned, weir_stop, weir_timer, weir_answer};
