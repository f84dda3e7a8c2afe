// SPDX-License-Identifier: Apache-2.0
// weir-gen: sends numbered OTLP and records which numbers were acknowledged. One thread and one client a connection; each
// of a connection's slots has at most one request under way and is a stream of its own, so numbers ascend in a stream.
#ifndef WEIR_GEN_GEN_H
#define WEIR_GEN_GEN_H

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>

#include "net/client.h"
#include "proto/encoding.h"
#include "tests/tools/common/histogram.h"
#include "tests/tools/common/payload.h"

#define GEN_STATUSES 24 // kinds of failures told apart
#define GEN_HEADERS  16

struct gen_options {
    bool grpc; // else OTLP/HTTP
    char host[256];
    uint16_t port;
    enum weir_signal signal;
    uint64_t items; // 0: until the deadline or SIGTERM
    uint64_t items_per_request;
    uint64_t first_id;
    uint32_t in_flight, connections; // in_flight: per connection
    uint64_t rate;                   // items per second over all connections; 0: flat out
    enum encoding encoding;
    uint64_t payload_bytes;
    const char *stream;
    bool retry;
    uint32_t retry_max_ms; // no wait between tries is longer, whatever the server asks for
    uint64_t deadline_ms;  // of the whole run
    uint32_t timeout_ms;   // of one request
    const char *acked_path;
    uint64_t seed;
    uint32_t tenants; // each request is one tenant's, in turn: its stream, and the value of tenant_header; 0: none
    const char *tenant_header;
    struct client_header headers[GEN_HEADERS];
    size_t header_count;
    struct client_tls tls; // with a ca_file: over TLS
};

struct gen_counts {
    uint64_t sent_items, acked_items, failed_items; // sent: tried at least once; failed: given up
    uint64_t
        uncertain_items; // tries whose outcome is unknown: at most so many items can arrive twice because of the generator
    uint64_t delayed;    // refusals that told how long to wait (RetryInfo, Retry-After)
    uint64_t requests, retries;     // tries that ended; tries after the first
    uint64_t raw_bytes, wire_bytes; // acknowledged
    struct {
        char code[32];
        uint64_t count;
    } statuses[GEN_STATUSES];
    struct histogram latency_us; // of acknowledged tries
};

struct gen {
    struct gen_options options;
    atomic_uint_fast64_t next_id;
    atomic_bool stop; // finish what is under way
    int acked_fd;     // -1: none
    uint64_t base_unix_ns, start_ns;
    pthread_mutex_t lock; // of total
    struct gen_counts total;
};

// Claims the next numbers. 0: none left, or the rate does not allow more yet (then *wait_ms says how long).
uint64_t gen_claim(struct gen *gen, uint64_t *first_id, uint64_t *wait_ms);
void gen_count_status(struct gen_counts *counts, const char *code, uint64_t count);
// Appends "first-last\n" with one write, so that a killed generator leaves whole lines.
void gen_acked(struct gen *gen, uint64_t first_id, uint64_t items);

// A connection's thread (worker.c). `arg` is a struct worker_start.
struct worker_start {
    struct gen *gen;
    uint32_t index;
    pthread_t thread;
};
void *worker_run(void *arg);

// weir-gen probe: one odd request, the answer as JSON (probe.c). Returns the exit code.
int probe_main(int argc, char **argv);

#endif
