// SPDX-License-Identifier: Apache-2.0
// Exchange: one request and its answer, the same for HTTP/2 (gRPC) and HTTP/1.1. It lives in one loop's thread and is
// touched nowhere else.
//
//   begin ──> data* ──> end ──> exchange_answer          the usual way
//     └─────────┴───────┴─────> exchange_answer          early refusal: the rest of the body is thrown away
//   gone                                                 the client left, or its deadline passed, before the answer
//   end ──> exchange_stream ──> exchange_stream_put* ──> gone     a streamed answer, HTTP/2 alone
#ifndef WEIR_NET_EXCHANGE_H
#define WEIR_NET_EXCHANGE_H

#include "net/loop.h"

enum exchange_transport { EXCHANGE_GRPC, EXCHANGE_HTTP };

struct exchange_header {
    const char *name; // lower case
    size_t name_len;
    const char *value;
    size_t value_len;
};

#define EXCHANGE_EXTRA 4

struct exchange {
    enum exchange_transport transport;
    struct loop *loop;
    struct weir_slice method;              // "POST"
    struct weir_slice path;                // as sent, without the query
    struct weir_slice query;               // HTTP/1.1: behind the '?', as sent; may be empty
    const struct exchange_header *headers; // without pseudo-headers; valid until the answer or gone
    size_t header_count;
    uint64_t content_length; // UINT64_MAX: not given
    const char *peer;        // "10.1.2.3:4444", for logs
    void *user;              // the handler's
    // HTTP/1.1: headers of whatever the answer will be, set in begin by a handler in front of another. Not copied: static, or the request's own.
    struct exchange_header extra[EXCHANGE_EXTRA];
    size_t extra_count;
};

// First header of that (lower-case) name, or NULL.
const struct exchange_header *exchange_header(const struct exchange *exchange, const char *name);

// Called in the loop's thread. From begin, data and end the handler may answer.
struct exchange_handler {
    void *ctx;
    void (*begin)(void *ctx, struct exchange *exchange); // headers are in, no byte of the body has been read
    void (*data)(void *ctx, struct exchange *exchange, struct weir_slice data); // next bytes, valid during the call
    void (*end)(void *ctx, struct exchange *exchange);                          // the body is complete
    void (*gone)(void *ctx,
                 struct exchange *exchange); // never after exchange_answer; the exchange is invalid afterwards
};

struct exchange_answer {
    int http_status;
    const struct exchange_header *headers; // copied
    size_t header_count;
    struct weir_slice body; // copied
    // HTTP/2 only. With trailers: HEADERS, DATA when there is a body, trailers. Without: HEADERS with END_STREAM when the body is empty
    // (gRPC's Trailers-Only: put grpc-status into the headers).
    const struct exchange_header *trailers;
    size_t trailer_count;
    bool close; // HTTP/1.1: Connection: close afterwards
};
// Once an exchange, in its loop's thread; the exchange is invalid afterwards (clear your pointers to it first).
void exchange_answer(struct exchange *exchange, const struct exchange_answer *answer);

// A streamed answer instead (a gRPC server stream): HEADERS now, and answer->body and each message after it as they come. What is on its
// way goes out whole; of what waits behind it only the newest message is kept, so that a peer which reads slowly or not at all costs no
// more than one that reads. Only when the request has ended. The exchange lives until `gone`: the peer left, or its connection ends
// by its age or by the server's end, where the peer is told UNAVAILABLE.
#define EXCHANGE_STREAM_MESSAGE_MAX 64 // bytes, gRPC's prefix included
void exchange_stream(struct exchange *exchange, const struct exchange_answer *answer);
void exchange_stream_put(struct exchange *exchange, struct weir_slice message);

#endif
