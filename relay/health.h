// SPDX-License-Identifier: Apache-2.0
// grpc.health.v1 on the gRPC port, for load balancers and Kubernetes: Check, and Watch as a stream. It stands in front of ingest and answers
// whatever ingest refuses, without credentials too. SERVING while data can be taken, the same for "" and each OTLP service.
#ifndef WEIR_RELAY_HEALTH_H
#define WEIR_RELAY_HEALTH_H

#include "net/exchange.h"
#include "proto/err.h"

#define HEALTH_WATCHERS 256 // of one loop; more are refused with RESOURCE_EXHAUSTED
#define HEALTH_LOOK_MS  100 // how often a watched state is looked at; with no watcher, never

struct health_options {
    struct loop *const *loops;
    size_t loop_count;
    bool (*serving)(void *ctx); // whether data can be taken; in the loops' threads
    void *ctx;
    struct exchange_handler next; // what is no question about health goes there
};

struct health;
int health_new(const struct health_options *options, struct health **out, struct weir_err *err); // WEIR_E_NOMEM
// The server has ended, and its loops have stopped.
void health_free(struct health *health);
// For server_options.grpc; valid until health_free.
struct exchange_handler health_handler(struct health *health);

#endif
