// SPDX-License-Identifier: Apache-2.0
// A relay as the OpenTelemetry Collector is by its defaults: a queue, oldest first; 10 consumers, each of which sends a batch and retries
// it: 5 s, times 1.5 each time, +-50 %, to 30 s, and given up after 5 minutes (configretry's NewDefaultBackOffConfig, exporterhelper's
// NewDefaultQueueConfig). What is better here than by default: the queue is on disk and large enough for the backlog, and each batch is
// as large as weir's exports.
#include "tests/sim/sim.h"

#define INITIAL_S  5.0
#define TIMES      1.5
#define MAX_S      30.0
#define SPREAD     0.5
#define BATCH_NONE UINT32_MAX

struct consumer {
    uint32_t batch; // BATCH_NONE: it waits for one
    double interval_s;
    uint64_t since_ns; // its first attempt
};

struct relay {
    uint32_t next, backlog; // batches: the next to take, how many are backlog
    uint32_t backlog_left;  // not delivered, not given up
    bool done;
    uint64_t phase_ns; // the first live batch comes then
};

struct world {
    struct relay *relays;
    struct consumer *consumers;
};

static uint64_t every_ns(const struct sim *sim)
{
    return (uint64_t)((double)sim->plan->export_bytes / sim->plan->live_bytes_per_s * 1e9);
}

static uint64_t batch_ns(const struct sim *sim, const struct relay *relay, uint32_t batch)
{
    return relay->phase_ns + (batch - relay->backlog) * every_ns(sim);
}

static void send_batch(struct sim *sim, uint32_t id)
{
    const struct world *world = sim->relays;
    struct request request = {.relay = id / sim->plan->consumers,
                              .consumer = id,
                              .count = world->consumers[id].batch,
                              .bytes = (uint32_t)sim->plan->export_bytes};
    sim_send(sim, &request);
}

// Takes the next batch, or waits for it.
static void take(struct sim *sim, uint32_t id)
{
    struct world *world = sim->relays;
    struct relay *relay = &world->relays[id / sim->plan->consumers];
    uint32_t batch = relay->next;
    if (batch >= relay->backlog && batch_ns(sim, relay, batch) > sim->now_ns) {
        world->consumers[id].batch = BATCH_NONE;
        if (relay->backlog_left == 0 &&
            !relay->done) { // nothing waits, neither of the backlog nor of what has come since
            relay->done = true;
            sim_relay_done(sim);
        }
        sim_at(sim, batch_ns(sim, relay, batch), EVENT_TIMER, id);
        return;
    }
    relay->next++;
    world->consumers[id] = (struct consumer){batch, INITIAL_S, sim->now_ns};
    send_batch(sim, id);
}

static void collector_timer(struct sim *sim, uint32_t id)
{
    const struct world *world = sim->relays;
    if (world->consumers[id].batch == BATCH_NONE)
        take(sim, id);
    else
        send_batch(sim, id);
}

static void over(struct sim *sim, uint32_t id, bool delivered)
{
    struct world *world = sim->relays;
    struct relay *relay = &world->relays[id / sim->plan->consumers];
    uint32_t batch = world->consumers[id].batch;
    if (!delivered && sim->now_ns >= sim->return_ns)
        sim->result->lost_bytes += (double)sim->plan->export_bytes;
    if (batch >= relay->backlog && delivered) // its data came evenly while it filled
        sim_live_delivered(sim, (double)sim->plan->export_bytes,
                           (double)(sim->now_ns - batch_ns(sim, relay, batch)) / 1e9);
    relay->backlog_left -= batch < relay->backlog;
    take(sim, id);
}

static void collector_answer(struct sim *sim, struct request *request, enum governor_outcome outcome)
{
    struct world *world = sim->relays;
    struct consumer *consumer = &world->consumers[request->consumer];
    if (outcome == GOVERNOR_DELIVERED) {
        over(sim, request->consumer, true);
        return;
    }
    double wait_s = consumer->interval_s * (1 - SPREAD + 2 * SPREAD * sim_random(sim));
    consumer->interval_s = consumer->interval_s * TIMES < MAX_S ? consumer->interval_s * TIMES : MAX_S;
    double elapsed_s = (double)(sim->now_ns - consumer->since_ns) / 1e9;
    if (sim->plan->max_elapsed_s > 0 && elapsed_s + wait_s > sim->plan->max_elapsed_s)
        over(sim, request->consumer, false);
    else
        sim_at(sim, sim->now_ns + (uint64_t)(wait_s * 1e9), EVENT_TIMER, request->consumer);
}

static void collector_start(struct sim *sim)
{
    const struct plan *plan = sim->plan;
    struct world *world = calloc(1, sizeof(*world));
    assert(world != NULL);
    world->relays = calloc(plan->relays, sizeof(*world->relays));
    world->consumers = calloc((size_t)plan->relays * plan->consumers, sizeof(*world->consumers));
    assert(world->relays != NULL && world->consumers != NULL);
    sim->relays = world;
    double batch_bytes = (double)plan->export_bytes;
    // What it gives up before the return is counted in its favour: the backlog at the return is what weir has, too.
    double given_up = plan->max_elapsed_s > 0 ? plan->consumers * plan->down_s / plan->max_elapsed_s : 0;
    for (uint32_t i = 0; i < plan->relays; i++) {
        struct relay *relay = &world->relays[i];
        relay->backlog = (uint32_t)(plan->live_bytes_per_s * plan->backlog_s / batch_bytes + given_up + 0.5);
        relay->backlog_left = relay->backlog;
        relay->phase_ns = sim->return_ns + (uint64_t)(sim_random(sim) * (double)every_ns(sim));
        for (uint32_t j = 0; j < plan->consumers; j++) {
            uint32_t id = i * plan->consumers + j;
            world->consumers[id].batch = BATCH_NONE;
            // Each somewhere within its five minutes.
            sim_at(sim, (uint64_t)((plan->before_s + sim_random(sim) * plan->down_s / 2) * 1e9), EVENT_TIMER, id);
        }
    }
}

static void collector_returned(struct sim *sim)
{
    (void)sim; // its consumers find out
}

static void collector_stop(struct sim *sim)
{
    struct world *world = sim->relays;
    free(world->relays);
    free(world->consumers);
    free(world);
}

const struct system system_collector = {"collector",    collector_start, collector_returned,
                                        collector_stop, collector_timer, collector_answer};
