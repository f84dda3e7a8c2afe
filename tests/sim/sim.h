// SPDX-License-Identifier: Apache-2.0
// Many relays in front of one upstream, in virtual time. main.c says what it is for, RESULTS.md what came out.
#ifndef WEIR_TESTS_SIM_H
#define WEIR_TESTS_SIM_H

#include "relay/governor.h"

#include <stdio.h>

#define MS UINT64_C(1000000)
#define S  UINT64_C(1000000000)

// The upstream is up for `before_s`, with live traffic alone, then away for `down_s`; its return is the 0 of all that is reported.
struct plan {
    uint32_t relays;
    double live_bytes_per_s; // of each relay
    double backlog_s;        // of live data that each has kept when the upstream returns
    double before_s, down_s; // `down_s`: of the outage, what is simulated
    uint64_t export_bytes;
    double live_every_s; // a relay has a block of live data so often
    // The upstream.
    uint32_t workers;
    double fixed_s, full_s; // of a worker: for any request, and for one of export_bytes, when all workers are busy
    double idle_part;       // alone it takes this part of that
    double queue_s;         // of work may wait; what comes then is refused
    double refuse_part;     // of a worker's time for a full request that a refusal costs
    // Flaps, after the return.
    double flap_at_s, flap_down_s, flap_up_s;
    uint32_t flaps;
    double limit_s; // after the return
    // The collector's.
    uint32_t consumers;
    double max_elapsed_s; // of a batch's attempts; 0: without an end
    uint32_t seed;
};

// One second of what is reported.
struct second {
    double accepted_bytes;
    uint32_t requests, refused;
    double live_delay_s; // times bytes
    double live_bytes;
    uint32_t done; // relays that have no backlog any more
};

#define DELAY_BUCKETS 160 // of delays: the first to DELAY_LEAST_S, then so many for each factor of ten
#define DELAY_PER_TEN 20.0
#define DELAY_LEAST_S 1e-3

struct result {
    const char *name;
    struct second *seconds;
    uint32_t second_count;
    double *done_s; // of each relay, sorted
    uint32_t relays;
    double capacity_bytes_per_s, backlog_bytes;
    uint64_t requests, refused, lost_exports, unreachable;
    double accepted_bytes, lost_bytes;
    double live_buckets[DELAY_BUCKETS]; // bytes of live data, by delay
    double cpu_s;
    uint64_t events;
    double
        goodput; // 0 ... 1, of the capacity, from 30 s after the return (and after each flap) until 95 % are delivered
    double refused_part;   // from the return until all have finished
    double refused_steady; // in the same seconds as goodput
    double done_p50_s, done_p99_s, done_last_s;
    double live_p50_s, live_p99_s;
};

// --- run.c: events and the clock ---------------------------------------------------------------------------------------------------

enum event_kind { EVENT_TIMER, EVENT_ARRIVAL, EVENT_END, EVENT_SWITCH };
struct event {
    uint64_t ns;
    uint32_t id; // of the relay's timer, or of the request
    uint16_t generation;
    uint16_t kind;
};

enum request_state { REQUEST_FREE, REQUEST_ON_WAY, REQUEST_WAITS, REQUEST_SERVED };
struct request {
    uint32_t relay, bytes;
    uint64_t started_ns;
    uint32_t first, count; // live blocks; or count 0: of the backlog
    uint32_t consumer, next;
    uint16_t generation, state;
};

struct sim;
struct system { // weir, or the collector
    const char *name;
    void (*start)(struct sim *sim);
    void (*returned)(struct sim *sim); // just before the upstream does
    void (*stop)(struct sim *sim);
    void (*timer)(struct sim *sim, uint32_t id);
    void (*answer)(struct sim *sim, struct request *request, enum governor_outcome outcome);
};
extern const struct system system_weir, system_collector;

struct upstream {
    bool up;
    uint32_t busy, waiting, switches;
    uint32_t first, last; // of those that wait
    double debt_s;        // of a worker: refusals cost time, too
};

struct sim {
    const struct plan *plan;
    const struct system *system;
    struct result *result;
    uint64_t now_ns, return_ns, random;
    struct event *events;
    uint32_t event_count, event_room;
    struct request *requests;
    uint32_t request_room, request_spare;
    uint64_t *rtt_ns; // of each relay
    struct upstream upstream;
    void *relays; // the system's own
    uint32_t unfinished;
};

void sim_run(const struct plan *plan, const struct system *system, struct result *result);
void sim_at(struct sim *sim, uint64_t ns, enum event_kind kind, uint32_t id);
double sim_random(struct sim *sim); // 0 ... 1
// Sends a request; the system's answer() is called when there is one.
void sim_send(struct sim *sim, const struct request *request);
void sim_relay_done(struct sim *sim); // one has no backlog any more
void sim_live_delivered(struct sim *sim, double bytes, double delay_s);
struct second *sim_second(struct sim *sim); // NULL before the return

// --- upstream.c --------------------------------------------------------------------------------------------------------------------

void upstream_start(struct sim *sim);
void upstream_switch(struct sim *sim);
void upstream_arrival(struct sim *sim, uint32_t id);
void upstream_end(struct sim *sim, uint32_t id);
double upstream_capacity(const struct plan *plan); // bytes a second

// --- figures.c, svg.c, report.c ------------------------------------------------------------------------------------------------------

void figures_of(const struct plan *plan, struct result *result);
void figures_print(const struct result *results, size_t count, FILE *out);
// Whether the bounds hold, and the collector is worse in each figure (in a short form but for the spread); what does not is printed.
bool figures_hold(const struct result *weir, const struct result *collector, bool short_form);

struct svg_line {
    const char *name, *colour;
    const double *x, *y;
    uint32_t count;
};
struct svg_chart {
    const char *title, *x_label, *y_label;
    double x_max, y_max, y_min;
    bool log_y; // from y_min
    const struct svg_line *lines;
    uint32_t line_count;
    const double *shade; // pairs of x between which the upstream is away
    uint32_t shade_count;
    double mark_y; // a line across, with mark_label; 0: none
    const char *mark_label;
};
int svg_write(const char *path, const struct svg_chart *chart); // 0, or -1 with errno

int report_write(const char *directory, const struct plan *plan, const struct result *results, size_t count);

#endif
