// SPDX-License-Identifier: Apache-2.0
// The receiving side: listeners, connections, limits and timers, graceful end. gRPC over HTTP/2 with prior knowledge
// (nghttp2) and HTTP/1.1 (a streaming codec on picohttpparser), both on h2o sockets, both as exchanges.
#ifndef WEIR_NET_SERVER_H
#define WEIR_NET_SERVER_H

#include "net/exchange.h"
#include "net/tls.h"

struct server;

struct server_limits { // 0 takes the default in brackets
    uint32_t
        connections;  // [1024] over all listeners; for one more, those that do nothing make room, else accepting pauses
    uint32_t streams; // [128] concurrent, per HTTP/2 connection
    uint32_t header_list_bytes; // [16 KiB]
    uint64_t
        body_bytes; // [64 MiB] on the wire; declared or crossed: answered by `too_large`. UINT64_MAX: no limit here, the handlers have one
    uint32_t receive_timeout_ms;   // [30 s] for one whole request, from its first byte to its last
    uint32_t write_stall_ms;       // [10 s] a peer that does not read its answers
    uint32_t idle_timeout_ms;      // [5 min] without a request under way
    uint32_t shutdown_ms;          // [10 s] after which a graceful end turns hard
    uint32_t handshake_timeout_ms; // [10 s] of TLS
    uint32_t handshakes;           // [256] under way at once; at the limit accepting pauses
    // Age of a connection, give or take a tenth, so that those of one moment do not end in one moment; 0: none. HTTP/2 gets GOAWAY twice and
    // its requests under way the grace [30 s]; HTTP/1.1 gets Connection: close with the next answer.
    uint64_t grpc_max_age_ms, grpc_max_age_grace_ms;
    uint64_t http_max_age_ms;
};

struct server_options {
    // Loops that serve connections; the first one accepts and hands sockets round-robin. Owned by the caller, not yet running or running.
    struct loop *const *loops;
    size_t loop_count;
    const char *grpc_endpoint; // "0.0.0.0:4317", "[::1]:0", ":4317"; NULL or "off": none
    const char *http_endpoint;
    const char *grpc_setting, *http_setting; // what the user calls the two, for errors; may be NULL
    struct tls_listen *grpc_tls, *http_tls;  // NULL: plaintext; the caller's, until server_free
    struct server_limits limits;
    struct exchange_handler grpc, http;
    // A TLS handshake failed; `why` is valid during the call, "" when the peer left in the middle of it. In a loop's thread; may be NULL.
    void (*handshake_failed)(void *ctx, enum exchange_transport transport, const char *peer, const char *why);
    void *handshake_ctx;
    // Fills the answer for a body that is larger than limits.body_bytes. The strings must be static. When the length was declared the
    // handler never hears of the request; when the body crossed the limit it gets `gone` first.
    void (*too_large)(enum exchange_transport transport, const struct exchange *exchange,
                      struct exchange_answer *answer);
    // Fills the answer for bytes that are no acceptable HTTP/1.1 request (400, 417, 431, 501): OTLP wants a Status body (P15). `why` and
    // http_status are set; the strings must be static. NULL: an empty body. The connection is closed after it.
    void (*bad_request)(int http_status, const char *why, struct exchange_answer *answer);
};

// Binds and listens, does not accept yet. WEIR_E_IO with setting and endpoint in the text ("receiver.grpc.endpoint: listen on
// 0.0.0.0:4317: Address already in use"), WEIR_E_INVALID for a malformed endpoint.
int server_new(const struct server_options *options, struct server **out, struct weir_err *err);
// "127.0.0.1:43817": the address really bound; NULL when that listener is off.
const char *server_grpc_address(const struct server *server);
const char *server_http_address(const struct server *server);
// Starts accepting. Any thread.
void server_start(struct server *server);

// Back-pressure, in the thread of that loop: no connection of the loop reads until server_resume. Bytes that are read already are
// still handed out.
void server_pause(struct server *server, struct loop *loop);
void server_resume(struct server *server, struct loop *loop);

// Graceful end, any thread: listeners take what has connected already and close, HTTP/2 connections get GOAWAY twice (2^31-1, 200 ms
// later the last id), requests under way are answered, answers carry Connection: close. HTTP/1.1 knows no GOAWAY: an idle connection may bring
// one more request for 500 ms and is closed then (E28, P12). `done` is called in the first loop's thread when the last connection has
// gone, or after limits.shutdown_ms when the rest were cut.
void server_shutdown(struct server *server, void (*done)(void *ctx), void *ctx);
// After done, with all loops stopped (or in their threads).
void server_free(struct server *server);

uint32_t server_connections(const struct server *server); // any thread

#endif
