// SPDX-License-Identifier: Apache-2.0
// The clock: events in the order of their time, and what the two systems share.
#include "tests/sim/sim.h"

#include <math.h>

#define NONE UINT32_MAX

double sim_random(struct sim *sim)
{
    uint64_t x = sim->random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    sim->random = x;
    return (double)((x * 0x2545F4914F6CDD1Dull) >> 11) / (double)(1ull << 53);
}

// --- the queue of events: a heap of four branches -----------------------------------------------------------------------------------

static void push(struct sim *sim, struct event event)
{
    if (sim->event_count == sim->event_room) {
        sim->event_room = sim->event_room > 0 ? 2 * sim->event_room : 1 << 16;
        sim->events = realloc(sim->events, sim->event_room * sizeof(*sim->events));
        assert(sim->events != NULL);
    }
    uint32_t i = sim->event_count++;
    for (; i > 0 && event.ns < sim->events[(i - 1) / 4].ns; i = (i - 1) / 4)
        sim->events[i] = sim->events[(i - 1) / 4];
    sim->events[i] = event;
}

static struct event pop(struct sim *sim)
{
    struct event *events = sim->events, first = events[0], last = events[--sim->event_count];
    uint32_t count = sim->event_count, i = 0;
    for (;;) {
        uint32_t child = 4 * i + 1, least = child;
        if (child >= count)
            break;
        for (uint32_t j = child + 1; j < child + 4 && j < count; j++)
            if (events[j].ns < events[least].ns)
                least = j;
        if (events[least].ns >= last.ns)
            break;
        events[i] = events[least];
        i = least;
    }
    events[i] = last;
    return first;
}

void sim_at(struct sim *sim, uint64_t ns, enum event_kind kind, uint32_t id)
{
    assert(ns >= sim->now_ns);
    bool request = kind == EVENT_ARRIVAL || kind == EVENT_END;
    uint16_t generation = request ? sim->requests[id].generation : 0;
    push(sim, (struct event){ns, id, generation, (uint16_t)kind});
}

// --- requests ---------------------------------------------------------------------------------------------------------------------

static void more_requests(struct sim *sim)
{
    uint32_t room = sim->request_room > 0 ? 2 * sim->request_room : 1 << 14;
    sim->requests = realloc(sim->requests, room * sizeof(*sim->requests));
    assert(sim->requests != NULL);
    for (uint32_t i = sim->request_room; i < room; i++)
        sim->requests[i] = (struct request){.state = REQUEST_FREE, .next = i + 1 < room ? i + 1 : NONE};
    sim->request_spare = sim->request_room;
    sim->request_room = room;
}

void sim_send(struct sim *sim, const struct request *request)
{
    if (sim->request_spare == NONE)
        more_requests(sim);
    uint32_t id = sim->request_spare;
    struct request *slot = &sim->requests[id];
    uint16_t generation = slot->generation;
    sim->request_spare = slot->next;
    *slot = *request;
    slot->generation = generation;
    slot->state = REQUEST_ON_WAY;
    slot->started_ns = sim->now_ns;
    sim_at(sim, sim->now_ns + sim->rtt_ns[request->relay], EVENT_ARRIVAL, id);
}

// --- what is counted ----------------------------------------------------------------------------------------------------------------

struct second *sim_second(struct sim *sim)
{
    if (sim->now_ns < sim->return_ns)
        return NULL;
    uint32_t index = (uint32_t)((sim->now_ns - sim->return_ns) / S);
    assert(index <= (uint32_t)sim->plan->limit_s);
    if (index >= sim->result->second_count)
        sim->result->second_count = index + 1;
    return &sim->result->seconds[index];
}

void sim_relay_done(struct sim *sim)
{
    struct result *result = sim->result;
    result->done_s[result->relays - sim->unfinished--] = ((double)sim->now_ns - (double)sim->return_ns) / 1e9;
    struct second *second = sim_second(sim);
    if (second != NULL)
        second->done++;
}

void sim_live_delivered(struct sim *sim, double bytes, double delay_s)
{
    struct second *second = sim_second(sim);
    if (second == NULL)
        return;
    second->live_bytes += bytes;
    second->live_delay_s += bytes * delay_s;
    uint32_t bucket = delay_s > DELAY_LEAST_S ? (uint32_t)(DELAY_PER_TEN * log10(delay_s / DELAY_LEAST_S)) + 1 : 0;
    bucket = bucket < DELAY_BUCKETS ? bucket : DELAY_BUCKETS - 1;
    sim->result->live_buckets[bucket] += bytes;
}

// --- the run ------------------------------------------------------------------------------------------------------------------------

static void handle(struct sim *sim, const struct event *event)
{
    if (event->kind == EVENT_TIMER) {
        sim->system->timer(sim, event->id);
    } else if (event->kind == EVENT_SWITCH) {
        upstream_switch(sim);
    } else if (sim->requests[event->id].generation == event->generation) { // else it was lost meanwhile
        if (event->kind == EVENT_ARRIVAL)
            upstream_arrival(sim, event->id);
        else
            upstream_end(sim, event->id);
    }
}

void sim_run(const struct plan *plan, const struct system *system, struct result *result)
{
    clock_t began = clock();
    struct sim sim = {.plan = plan, .system = system, .result = result, .random = plan->seed | 1};
    sim.return_ns = (uint64_t)((plan->before_s + plan->down_s) * 1e9);
    sim.request_spare = NONE;
    sim.unfinished = plan->relays;
    sim.rtt_ns = calloc(plan->relays, sizeof(*sim.rtt_ns));
    *result = (struct result){.name = system->name, .relays = plan->relays};
    result->seconds = calloc((size_t)plan->limit_s + 2, sizeof(*result->seconds));
    result->done_s = calloc(plan->relays, sizeof(*result->done_s));
    assert(sim.rtt_ns != NULL && result->seconds != NULL && result->done_s != NULL);
    for (uint32_t i = 0; i < plan->relays; i++)
        sim.rtt_ns[i] = (uint64_t)((5 + 45 * sim_random(&sim)) * 1e6); // near ones and far ones
    result->capacity_bytes_per_s = upstream_capacity(plan);
    result->backlog_bytes = plan->relays * plan->live_bytes_per_s * plan->backlog_s;
    upstream_start(&sim);
    system->start(&sim);
    uint64_t limit_ns = sim.return_ns + (uint64_t)(plan->limit_s * 1e9), more_ns = 0;
    while (sim.event_count > 0) {
        struct event event = pop(&sim);
        if (event.ns >= limit_ns)
            break;
        sim.now_ns = event.ns;
        handle(&sim, &event);
        result->events++;
        if (sim.unfinished == 0 && more_ns == 0) {
            more_ns = sim.now_ns + 60 * S; // the live traffic alone
            limit_ns = more_ns < limit_ns ? more_ns : limit_ns;
        }
    }
    for (; sim.unfinished > 0; sim.unfinished--)
        result->done_s[plan->relays - sim.unfinished] = (double)INFINITY;
    system->stop(&sim);
    free(sim.rtt_ns);
    free(sim.requests);
    free(sim.events);
    result->cpu_s = (double)(clock() - began) / CLOCKS_PER_SEC;
    figures_of(plan, result);
}
