// SPDX-License-Identifier: Apache-2.0
// Ingest: from an exchange to a durable block. One ingest a loop, in that loop's thread.
//
//   begin   path, content type, encoding, room?            else refused before the body is read
//   data    deframe (gRPC), decompress, under one cap
//   end     walk the bytes, compress them into the open block of their signal; with kept headers: gather them by those
//           nothing of ours at the writer: hand the open blocks over; else they grow until the writer is free
//   done    the commit is durable: OK to every request in the block. It is said nowhere else.
#ifndef WEIR_RELAY_INGEST_H
#define WEIR_RELAY_INGEST_H

#include "net/exchange.h"
#include "net/server.h"
#include "proto/refusal.h"
#include "relay/origins.h"
#include "relay/tokens.h"
#include "storage/spool.h"

#include <stdatomic.h>

// Memory that is promised to requests which are not durable yet, of all loops together.
struct ingest_budget {
    uint64_t max_bytes;            // spool.max_unwritten
    atomic_uint_fast64_t promised; // from the first sign of a body's size until its answer
    atomic_uint_fast64_t ahead;    // the part of it that was declared and has not come: half of max_bytes at most
    atomic_uint_fast64_t
        unwritten; // in open blocks and at the writer: above a quarter of max_bytes the loop stops reading
};

struct ingest_options {
    struct loop *loop;
    struct spool *spool;
    struct ingest_budget *budget;
    uint64_t max_request_bytes; // before and after decompression
    bool pass_bad_utf8;
    const char *const *keep_headers; // names in lower case, sorted: stored with the data (receiver.keep_headers)
    size_t keep_header_count;
    const atomic_bool *refusing; // shutting down: nothing new is taken
    const atomic_bool *draining; // the same, by command; NULL: never
    struct origins *origins;     // tells what another weir sends again; NULL: nobody does
    struct tokens *tokens;       // that senders must show one of; NULL: open to everybody
};

struct ingest;
struct ingest *ingest_new(const struct ingest_options *options); // NULL: out of memory
// The server whose reading is paused when the writer falls behind; once, before server_start.
void ingest_set_server(struct ingest *ingest, struct server *server);
// Once the server has ended: hands over what is still open, waits for the writer's answers and calls `done` in the loop's thread. Then
// nothing of this ingest is in the spool's hands any more. Any thread.
void ingest_finish(struct ingest *ingest, void (*done)(void *ctx), void *ctx);
// Its loop has stopped, after ingest_finish.
void ingest_free(struct ingest *ingest);
// What the server calls. The server's handler context is an array of ingests, found by the exchange's loop.
struct ingest_set {
    struct ingest *const *ingests;
    struct loop *const *loops;
    size_t count;
};
extern const struct exchange_handler ingest_grpc_handler,
    ingest_http_handler; // ctx still to be set to a struct ingest_set
// For server_options.bad_request.
void ingest_bad_request(int http_status, const char *why, struct exchange_answer *answer);

#define INGEST_TRANSPORTS  2            // enum exchange_transport
#define INGEST_NO_SIGNAL   WEIR_SIGNALS // refused before its signal was known
#define INGEST_ACK_BUCKETS 16
extern const double ingest_ack_bounds[INGEST_ACK_BUCKETS]; // seconds, the last is infinite

// Read by the status at any time, written by the loop: relaxed atomics.
struct ingest_counters {
    struct {
        atomic_uint_fast64_t requests, items, bytes; // acknowledged; raw bytes
        atomic_uint_fast64_t last_received_unix_ns;
        atomic_uint_fast64_t ack_buckets[INGEST_ACK_BUCKETS]; // from the request's first byte to its OK
        atomic_uint_fast64_t ack_sum_us;
    } accepted[INGEST_TRANSPORTS][WEIR_SIGNALS];
    atomic_uint_fast64_t refused[INGEST_TRANSPORTS][WEIR_SIGNALS + 1][REFUSALS]; // requests
};
const struct ingest_counters *ingest_counters(const struct ingest *ingest);

#endif
