// SPDX-License-Identifier: Apache-2.0
// A gRPC connection and its streams, private to net/: grpc_server.c is the connection, grpc_stream.c the requests on it,
// grpc_push.c the answers that are streams themselves.
#ifndef WEIR_NET_GRPC_SERVER_H
#define WEIR_NET_GRPC_SERVER_H

#include "net/conn.h"

#include <nghttp2/nghttp2.h>

#define GRPC_HEADERS_INLINE 16
#define GRPC_HEADERS_MAX    100

struct grpc_conn {
    struct conn conn;
    nghttp2_session *session;
    struct grpc_stream *streams; // doubly linked
    uint32_t stream_count;
    struct loop_timer idle_timer; // only while there are no streams
    struct loop_timer age_timer;  // its age, then what is left of the connection's end
    uint64_t reset_credit;        // in thousandths of a reset
    uint64_t reset_credit_ns;     // when it was last filled up
    bool draining;
};

struct grpc_push;

struct grpc_stream {
    struct exchange exchange; // first: answers find their way by it
    struct grpc_stream *prev, *next;
    struct grpc_conn *conn;
    int32_t id;
    struct loop_timer timer; // receiving, then the peer's taking of the answer
    uint64_t received_bytes;
    size_t header_list_bytes;  // as SETTINGS_MAX_HEADER_LIST_SIZE counts
    struct weir_buf text;      // method, path, then name NUL value NUL of each header in order
    size_t headers_at;         // where the headers begin in it
    size_t method_at, path_at; // SIZE_MAX: not there
    size_t header_count, header_cap;
    struct exchange_header *headers;
    struct exchange_header inline_headers[GRPC_HEADERS_INLINE];
    bool refused;  // headers beyond the limits: reset, nobody was told
    bool live;     // the handler knows of it and has not answered
    bool received; // to its last byte
    bool answered;
    uint8_t *answer; // one block: trailers, their text, body
    struct weir_slice body;
    nghttp2_nv *trailers;
    size_t trailer_count;
    struct grpc_push *push; // NULL: one answer
};

// Callbacks of the session, run inside nghttp2_session_mem_recv: they only queue, nothing is written or freed but streams.
void grpc_stream_callbacks(nghttp2_session_callbacks *callbacks);
// Frees without telling the session; a live exchange is gone.
void grpc_stream_free(struct grpc_stream *stream);
// Tells the handler, once, that nobody waits any more.
void grpc_stream_gone(struct grpc_stream *stream);
void grpc_stream_rst(struct grpc_stream *stream, uint32_t error);
// So long the peer may take to let the rest of its answer in.
void grpc_stream_await_taken(struct grpc_stream *stream);
nghttp2_nv grpc_nv(const struct exchange_header *header);
// Submits HEADERS; `provider` NULL: with END_STREAM. False: the session cannot.
bool grpc_stream_respond(struct grpc_stream *stream, const struct exchange_answer *answer,
                         const nghttp2_data_provider *provider);

// The connection ends: each streamed answer on it does, too.
void grpc_push_end_all(struct grpc_conn *grpc);

// A stream ended that was never answered: takes from the allowance, and ends the connection when it is used up.
void grpc_conn_count_reset(struct grpc_conn *grpc);
// A stream was added or has left.
void grpc_conn_idle_update(struct grpc_conn *grpc);

#endif
