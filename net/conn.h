// SPDX-License-Identifier: Apache-2.0
// One accepted connection, private to net/: reading, writing, closing and its place in a loop. What the bytes mean is
// the type's matter (grpc_server.c, http_server.c). All of it belongs to the connection's loop; nothing is freed in the
// middle of a turn, so callbacks may doom a connection at any time.
#ifndef WEIR_NET_CONN_H
#define WEIR_NET_CONN_H

#include "net/server.h"

#include <stdatomic.h>

#define CONN_READ_BYTES   (64u * 1024)
#define CONN_WRITE_BYTES  (96u * 1024)
#define CONN_LINGER_BYTES (128u << 20) // at most this much is thrown away so that the peer can read the last answer
#define CONN_LINGER_MS    2000         // behind an answer

struct conn;

enum conn_state {
    CONN_IDLE,    // no request under way
    CONN_SENDING, // the peer has still to send what we could answer, or to read
    CONN_WAITING, // for our answer
};

struct conn_type {
    enum exchange_transport transport;
    size_t size; // of the record that begins with struct conn
    bool (*open)(struct conn *conn);
    void (*receive)(struct conn *conn, uint8_t *data, size_t len); // may change the bytes
    void (*eof)(struct conn *conn);                                // no more will come
    void (*flush)(struct conn *conn);                              // end of a turn, no write in flight
    void (*drain)(struct conn *conn, bool last);                   // graceful end: notice, then the last word
    void (*close)(struct conn *conn);                              // exchanges are gone, own memory is freed
    enum conn_state (*state)(const struct conn *conn);
};
extern const struct conn_type grpc_conn_type;
extern const struct conn_type http_conn_type;

// What one loop has of the server.
struct server_loop {
    struct server *server;
    struct loop *loop;
    struct conn *conns; // doubly linked
    bool paused;
    bool draining, drained;
    bool said_last; // the last word of the graceful end
    uint8_t *read_scratch,
        *write_scratch; // CONN_READ_BYTES, CONN_WRITE_BYTES: shared, so that idle connections hold none
    struct loop_message drain_message, drained_message, crowd_message;
    atomic_bool crowd_queued; // crowd_message is under way
    struct loop_timer goaway_timer, hard_timer;
};

struct conn {
    struct conn *prev, *next;
    const struct conn_type *type;
    struct server_loop *home;
    struct st_h2o_socket_t *sock; // NULL until its loop has started it
    int fd;
    struct conn_tls *tls; // NULL: plaintext
    char peer[64];
    struct loop_message start_message;
    struct loop_later later;
    struct loop_timer write_timer; // the handshake, a stalled write, then the linger
    struct weir_buf out;           // what the kernel did not take at once
    size_t lingered_bytes;
    uint64_t since_ns; // accepted, or began or ended its last request
    bool proven;       // has had an answer
    bool want_read;    // the type's wish; a paused loop reads nothing all the same
    bool reading;
    bool writing;
    bool lingering;
    bool open; // the type's, which is told nothing before its handshake is done
    bool eof;  // the peer has said its last word
    bool doomed;
};

const struct server_limits *conn_limits(const struct conn *conn);
const struct exchange_handler *conn_handler(const struct conn *conn);

// An age with its share of chance: nine to eleven tenths of it.
uint64_t conn_age_ms(uint64_t age_ms);

// In the accepting thread. Takes fd; NULL (fd closed) when memory is out.
struct conn *conn_new(struct server_loop *home, const struct conn_type *type, int fd, const char *peer);
// In home's thread.
void conn_start(struct conn *conn);
void conn_read_update(struct conn *conn);
// Whether bytes lie in the kernel that were not read yet.
bool conn_has_input(const struct conn *conn);
// Calls flush at the end of the turn, unless a write is in flight: then when it has ended.
void conn_schedule(struct conn *conn);
// Sends at once what the kernel takes and keeps the rest. True when all is out; else `flush` is called when it is. Only with no write in flight.
bool conn_write(struct conn *conn, const uint8_t *data, size_t len);
// Half-closes and throws input away, at most so long: a close with unread input would make the kernel reset, and the peer lose its answer.
void conn_linger(struct conn *conn, uint32_t linger_ms);
// The graceful end, for whom it still concerns.
void conn_drain(struct conn *conn, bool last);
// Frees it at the end of the turn.
void conn_doom(struct conn *conn);
void conn_free(struct conn *conn);

// Server's side of it (server.c).
const struct server_options *server_options_of(const struct server *server);
void server_conn_closed(struct server_loop *home);
// NULL: connections of this type are plaintext.
struct tls_listen *server_tls(const struct server *server, const struct conn_type *type);
// How long a handshake that begins now may take: less while many are under way, so that those who stall do not keep others out.
uint32_t server_handshake_ms(struct server *server);
// Every connection over TLS, once: its handshake is done, or has failed with `why` ("": the peer left; NULL: our own doing).
void server_handshake_ended(struct conn *conn, const char *why);
// Takes a freshly accepted socket (listener.c).
void server_accepted(struct server *server, const struct conn_type *type, int fd, const char *peer);
// Full, and somebody waits: whom we can do without is let go, in every loop (crowd.c). Accepting thread.
void server_make_room(struct server *server);
// Full because of connections, so that letting some go would help.
bool server_crowded(struct server *server);
// In its thread.
void crowd_make_room(struct server_loop *home);
// No more connections of this type for now; the accepting loop's listeners are told (listener_update) when there is room again.
bool server_full(struct server *server, const struct conn_type *type);

void grpc_exchange_answer(struct exchange *exchange, const struct exchange_answer *answer);
void http_exchange_answer(struct exchange *exchange, const struct exchange_answer *answer);
void grpc_exchange_stream(struct exchange *exchange, const struct exchange_answer *answer);
void grpc_exchange_stream_put(struct exchange *exchange, struct weir_slice message);

#endif
