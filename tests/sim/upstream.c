// SPDX-License-Identifier: Apache-2.0
// An upstream of fixed capacity: so many workers, a small queue before them, and a refusal for what comes when that is full. Latency
// rises with load twice: a worker is slower the more of them are busy, and then requests wait.
#include "tests/sim/sim.h"

#define NONE UINT32_MAX

static double full_share(const struct plan *plan, uint64_t bytes)
{
    return (double)bytes / (double)plan->export_bytes;
}

double upstream_capacity(const struct plan *plan)
{
    return plan->workers / (plan->fixed_s + plan->full_s) * (double)plan->export_bytes;
}

void upstream_start(struct sim *sim)
{
    sim->upstream = (struct upstream){.up = true, .first = NONE, .last = NONE};
    sim_at(sim, (uint64_t)(sim->plan->before_s * 1e9), EVENT_SWITCH, 0);
}

static void serve(struct sim *sim, uint32_t id)
{
    const struct plan *plan = sim->plan;
    struct upstream *upstream = &sim->upstream;
    struct request *request = &sim->requests[id];
    upstream->busy++;
    double load = (double)upstream->busy / plan->workers;
    double takes_s = plan->fixed_s + plan->full_s * full_share(plan, request->bytes);
    takes_s *= plan->idle_part + (1 - plan->idle_part) * load;
    takes_s *= 0.8 + 0.4 * sim_random(sim); // not all are alike
    double owed_s = upstream->debt_s < takes_s ? upstream->debt_s : takes_s;
    upstream->debt_s -= owed_s;
    request->state = REQUEST_SERVED;
    sim_at(sim, sim->now_ns + (uint64_t)((takes_s + owed_s) * 1e9), EVENT_END, id);
}

static void answer(struct sim *sim, uint32_t id, enum governor_outcome outcome)
{
    struct request *request = &sim->requests[id];
    struct second *second = sim_second(sim);
    if (second != NULL) {
        second->requests++;
        sim->result->requests++;
        second->refused += outcome == GOVERNOR_THROTTLED;
        sim->result->refused += outcome == GOVERNOR_THROTTLED;
        sim->result->lost_exports += outcome == GOVERNOR_LOST;
        sim->result->unreachable += outcome == GOVERNOR_UNREACHABLE;
        if (outcome == GOVERNOR_DELIVERED) {
            second->accepted_bytes += request->bytes;
            sim->result->accepted_bytes += request->bytes;
        }
    }
    struct request ended = *request;
    request->state = REQUEST_FREE;
    request->generation++;
    request->next = sim->request_spare;
    sim->request_spare = id;
    sim->system->answer(sim, &ended, outcome);
}

void upstream_arrival(struct sim *sim, uint32_t id)
{
    const struct plan *plan = sim->plan;
    struct upstream *upstream = &sim->upstream;
    if (!upstream->up) {
        answer(sim, id, GOVERNOR_UNREACHABLE);
    } else if (upstream->busy < plan->workers) {
        serve(sim, id);
    } else if (upstream->waiting < plan->queue_s * plan->workers / (plan->fixed_s + plan->full_s)) {
        if (upstream->first == NONE)
            upstream->first = id;
        else
            sim->requests[upstream->last].next = id;
        upstream->last = id;
        sim->requests[id].next = NONE;
        sim->requests[id].state = REQUEST_WAITS;
        upstream->waiting++;
    } else {
        upstream->debt_s += plan->refuse_part * (plan->fixed_s + plan->full_s);
        answer(sim, id, GOVERNOR_THROTTLED);
    }
}

void upstream_end(struct sim *sim, uint32_t id)
{
    struct upstream *upstream = &sim->upstream;
    upstream->busy--;
    if (upstream->waiting > 0) {
        uint32_t next = upstream->first;
        upstream->first = sim->requests[next].next;
        upstream->waiting--;
        serve(sim, next);
    }
    answer(sim, id, GOVERNOR_DELIVERED);
}

// When the switch number `count`, from 0, is: away, back, and the flaps.
static uint64_t switch_ns(const struct sim *sim, uint32_t count)
{
    const struct plan *plan = sim->plan;
    if (count <= 1)
        return count == 0 ? (uint64_t)(plan->before_s * 1e9) : sim->return_ns;
    uint32_t flap = count / 2 - 1;
    double at_s = plan->flap_at_s + flap * (plan->flap_down_s + plan->flap_up_s);
    return sim->return_ns + (uint64_t)((at_s + (count % 2 == 1 ? plan->flap_down_s : 0)) * 1e9);
}

// Returns or goes away; what it had then is lost without an answer.
void upstream_switch(struct sim *sim)
{
    struct upstream *upstream = &sim->upstream;
    if (upstream->switches == 1)
        sim->system->returned(sim);
    if (++upstream->switches < 2 + 2 * sim->plan->flaps)
        sim_at(sim, switch_ns(sim, upstream->switches), EVENT_SWITCH, 0);
    upstream->up = !upstream->up;
    if (upstream->up)
        return;
    *upstream = (struct upstream){.first = NONE, .last = NONE, .switches = upstream->switches};
    for (uint32_t i = 0; i < sim->request_room; i++)
        if (sim->requests[i].state == REQUEST_WAITS || sim->requests[i].state == REQUEST_SERVED)
            answer(sim, i, GOVERNOR_LOST);
}
