// SPDX-License-Identifier: Apache-2.0
// weir-sink: an upstream that records the numbers it got and misbehaves on command. One loop, one thread: nothing is locked.
#ifndef WEIR_SINK_SINK_H
#define WEIR_SINK_SINK_H

#include "net/server.h"
#include "tests/tools/sink/record.h"
#include "tests/tools/sink/rules.h"

#define SINK_ATTEMPTS 512 // the last requests, with their headers and what became of them

struct sink {
    struct loop *loop;
    struct tls_listen *grpc_tls, *http_tls;  // NULL: plaintext
    struct server *server;                   // the OTLP listeners; NULL while they are closed
    struct server *control;                  // the control port
    char grpc_address[64], http_address[64]; // kept while the listeners are closed
    struct rules rules;
    struct record records[WEIR_SIGNALS];
    json_t *attempts[SINK_ATTEMPTS]; // ring
    uint64_t attempt_count;
    uint64_t max_request_bytes;
    const char *stream_header; // its value must be the stream of each item in the request; NULL: not looked at
    FILE *bodies;              // --record: (u32 length, u8 signal, bytes) of every request taken; NULL: none
    struct exchange *closing;  // the control request that waits for the listeners to be closed
    struct loop_message closed;
};

// The OTLP side (receive.c).
extern const struct exchange_handler sink_grpc_handler, sink_http_handler; // ctx still to be set
void sink_too_large(enum exchange_transport transport, const struct exchange *exchange, struct exchange_answer *answer);

// What is answered (answer.c).
struct sink_refusal {
    int status; // as in struct rule
    const char *message;
    bool has_retry_delay;
    uint32_t retry_delay_ms;
};
void sink_answer_taken(struct exchange *exchange, int64_t rejected);
void sink_answer_refused(struct exchange *exchange, const struct sink_refusal *refusal);
// Both end the exchange's connection, and `gone` follows: after a part of an answer, or after GOAWAY.
void sink_cut(const struct exchange *exchange);
void sink_goaway(const struct exchange *exchange);

// Opens the OTLP listeners on grpc_address and http_address. WEIR_E_IO.
int sink_open(struct sink *sink, struct weir_err *err);

// The control port (control.c): GET /stats, /ids/SIGNAL, /attempts; POST /mode, /listen (on=0, on=1), /reset. Parameters
// come as a body or as a query.
extern const struct exchange_handler sink_control_handler;

#endif
