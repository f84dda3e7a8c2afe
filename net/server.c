// SPDX-License-Identifier: Apache-2.0
// The server as a whole: hands sockets to loops, counts them, and ends.
//
// The graceful end: the first loop closes the listeners and tells every loop. Messages of one sender arrive in order, so that
// a connection handed over before is there when its loop hears of the end. Each loop drains its own connections and reports
// when the last has gone; `done` follows the last report.
#include "net/listener.h"

#include <stdatomic.h>

#define GOAWAY_GRACE_MS 200 // between the notice and the last word: what was on its way arrives

struct server {
    struct server_options options;
    struct server_loop *loops;
    struct listener grpc, http;
    size_t next_loop;
    atomic_uint connections, handshakes;
    atomic_bool room_wanted; // accepting has paused: the next that leaves wakes it
    atomic_bool room_queued; // room_message is under way
    struct loop_message start_message, room_message, shutdown_message;
    atomic_bool shutdown_asked;
    bool closing;
    size_t loops_left;
    void (*done)(void *ctx);
    void *done_ctx;
};

static const struct server_limits default_limits = {
    .connections = 1024,
    .streams = 128,
    .header_list_bytes = 16 * 1024,
    .body_bytes = 64u << 20,
    .receive_timeout_ms = 30000,
    .write_stall_ms = 10000,
    .idle_timeout_ms = 300000,
    .shutdown_ms = 10000,
    .handshake_timeout_ms = 10000,
    .handshakes = 256,
    .grpc_max_age_grace_ms = 30000,
};

static void limits_fill(struct server_limits *limits)
{
#define FILL(field)                                                                                                    \
    do {                                                                                                               \
        if (limits->field == 0)                                                                                        \
            limits->field = default_limits.field;                                                                      \
    } while (0)
    FILL(connections);
    FILL(streams);
    FILL(header_list_bytes);
    FILL(body_bytes);
    FILL(receive_timeout_ms);
    FILL(write_stall_ms);
    FILL(idle_timeout_ms);
    FILL(shutdown_ms);
    FILL(handshake_timeout_ms);
    FILL(handshakes);
    FILL(grpc_max_age_grace_ms);
#undef FILL
}

const struct server_options *server_options_of(const struct server *server)
{
    return &server->options;
}

// --- life -----------------------------------------------------------------------------------------------------------

static int loops_new(struct server *server, struct weir_err *err)
{
    size_t count = server->options.loop_count;
    server->loops = calloc(count, sizeof(*server->loops));
    if (server->loops == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "new server: out of memory");
    for (size_t i = 0; i < count; i++) {
        struct server_loop *home = &server->loops[i];
        home->server = server;
        home->loop = server->options.loops[i];
        home->read_scratch = malloc(CONN_READ_BYTES);
        home->write_scratch = malloc(CONN_WRITE_BYTES);
        if (home->read_scratch == NULL || home->write_scratch == NULL)
            return weir_fail(err, WEIR_E_NOMEM, "new server: out of memory");
    }
    return WEIR_OK;
}

static int bind_named(struct listener *listener, const char *endpoint, const char *setting, struct weir_err *err)
{
    int code = listener_bind(listener, endpoint, err);
    return code == WEIR_OK || setting == NULL ? code : weir_wrap(err, "%s", setting);
}

int server_new(const struct server_options *options, struct server **out, struct weir_err *err)
{
    assert(options->loop_count > 0);
    struct server *server = calloc(1, sizeof(*server));
    if (server == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "new server: out of memory");
    server->options = *options;
    limits_fill(&server->options.limits);
    server->grpc = (struct listener){.server = server, .type = &grpc_conn_type, .fd = -1};
    server->http = (struct listener){.server = server, .type = &http_conn_type, .fd = -1};
    int code = loops_new(server, err);
    if (code == WEIR_OK)
        code = bind_named(&server->grpc, options->grpc_endpoint, options->grpc_setting, err);
    if (code == WEIR_OK)
        code = bind_named(&server->http, options->http_endpoint, options->http_setting, err);
    if (code != WEIR_OK) {
        server_free(server);
        return code;
    }
    server->options.grpc_endpoint = server->options.http_endpoint = NULL; // the caller's
    server->options.grpc_setting = server->options.http_setting = NULL;
    server->options.loops = NULL;
    *out = server;
    return WEIR_OK;
}

void server_free(struct server *server)
{
    if (server == NULL)
        return;
    listener_close(&server->grpc);
    listener_close(&server->http);
    server->closing = true;
    for (size_t i = 0; server->loops != NULL && i < server->options.loop_count; i++) {
        struct server_loop *home = &server->loops[i];
        home->drained = true;
        while (home->conns != NULL)
            conn_free(home->conns);
        loop_timer_clear(&home->goaway_timer);
        loop_timer_clear(&home->hard_timer);
        free(home->read_scratch);
        free(home->write_scratch);
    }
    free(server->loops);
    free(server);
}

const char *server_grpc_address(const struct server *server)
{
    return server->grpc.address[0] != '\0' ? server->grpc.address : NULL;
}

const char *server_http_address(const struct server *server)
{
    return server->http.address[0] != '\0' ? server->http.address : NULL;
}

uint32_t server_connections(const struct server *server)
{
    return atomic_load_explicit(&server->connections, memory_order_relaxed);
}

// --- connections ----------------------------------------------------------------------------------------------------

static void on_start(struct loop_message *message)
{
    struct server *server = WEIR_CONTAINER_OF(message, struct server, start_message);
    if (server->closing)
        return;
    listener_start(&server->grpc, server->loops[0].loop);
    listener_start(&server->http, server->loops[0].loop);
}

void server_start(struct server *server)
{
    server->start_message.run = on_start;
    loop_send(server->loops[0].loop, &server->start_message);
}

static void on_conn_start(struct loop_message *message)
{
    conn_start(WEIR_CONTAINER_OF(message, struct conn, start_message));
}

void server_accepted(struct server *server, const struct conn_type *type, int fd, const char *peer)
{
    struct server_loop *home = &server->loops[server->next_loop];
    server->next_loop = (server->next_loop + 1) % server->options.loop_count;
    struct conn *conn = conn_new(home, type, fd, peer);
    if (conn == NULL)
        return;
    atomic_fetch_add(&server->connections, 1);
    if (server_tls(server, type) != NULL)
        atomic_fetch_add(&server->handshakes, 1);
    if (home == &server->loops[0]) {
        conn_start(conn);
        return;
    }
    conn->start_message.run = on_conn_start;
    loop_send(home->loop, &conn->start_message);
}

static bool is_full(struct server *server, const struct conn_type *type)
{
    const struct server_limits *limits = &server->options.limits;
    return atomic_load(&server->connections) >= limits->connections ||
           (server_tls(server, type) != NULL && atomic_load(&server->handshakes) >= limits->handshakes);
}

bool server_full(struct server *server, const struct conn_type *type)
{
    if (!is_full(server, type))
        return false;
    // Say that we wait before looking again: one that leaves in between either is seen here or sees the flag.
    atomic_store(&server->room_wanted, true);
    return is_full(server, type);
}

bool server_crowded(struct server *server)
{
    return atomic_load(&server->connections) >= server->options.limits.connections;
}

static void on_crowd(struct loop_message *message)
{
    struct server_loop *home = WEIR_CONTAINER_OF(message, struct server_loop, crowd_message);
    atomic_store(&home->crowd_queued, false);
    crowd_make_room(home);
}

void server_make_room(struct server *server)
{
    for (size_t i = 0; i < server->options.loop_count; i++) {
        struct server_loop *home = &server->loops[i];
        if (atomic_exchange(&home->crowd_queued, true))
            continue;
        home->crowd_message.run = on_crowd;
        loop_send(home->loop, &home->crowd_message);
    }
}

static void on_room(struct loop_message *message)
{
    struct server *server = WEIR_CONTAINER_OF(message, struct server, room_message);
    atomic_store(&server->room_queued, false);
    if (server->closing)
        return;
    listener_has_room(&server->grpc);
    listener_has_room(&server->http);
}

static void tell_room(struct server_loop *home)
{
    struct server *server = home->server;
    if (!atomic_exchange(&server->room_wanted, false) || atomic_exchange(&server->room_queued, true))
        return;
    server->room_message.run = on_room;
    loop_send(server->loops[0].loop, &server->room_message);
}

static void loop_report_drained(struct server_loop *home);

void server_conn_closed(struct server_loop *home)
{
    struct server *server = home->server;
    atomic_fetch_sub(&server->connections, 1);
    if (home->draining && home->conns == NULL)
        loop_report_drained(home);
    // After the report: `done` may free the server, but a server with messages under way has not reported from every loop.
    else
        tell_room(home);
}

// --- handshakes -----------------------------------------------------------------------------------------------------

struct tls_listen *server_tls(const struct server *server, const struct conn_type *type)
{
    return type->transport == EXCHANGE_GRPC ? server->options.grpc_tls : server->options.http_tls;
}

uint32_t server_handshake_ms(struct server *server)
{
    const struct server_limits *limits = &server->options.limits;
    bool many = atomic_load(&server->handshakes) > limits->handshakes / 2;
    return many ? limits->handshake_timeout_ms / 5 : limits->handshake_timeout_ms;
}

void server_handshake_ended(struct conn *conn, const char *why)
{
    struct server *server = conn->home->server;
    atomic_fetch_sub(&server->handshakes, 1);
    if (why != NULL && server->options.handshake_failed != NULL)
        server->options.handshake_failed(server->options.handshake_ctx, conn->type->transport, conn->peer, why);
    tell_room(conn->home);
}

// --- back-pressure --------------------------------------------------------------------------------------------------

static void set_paused(struct server *server, struct loop *loop, bool paused)
{
    for (size_t i = 0; i < server->options.loop_count; i++) {
        struct server_loop *home = &server->loops[i];
        if (home->loop != loop || home->paused == paused)
            continue;
        home->paused = paused;
        for (struct conn *conn = home->conns; conn != NULL; conn = conn->next)
            conn_read_update(conn);
    }
}

void server_pause(struct server *server, struct loop *loop)
{
    set_paused(server, loop, true);
}

void server_resume(struct server *server, struct loop *loop)
{
    set_paused(server, loop, false);
}

// --- the end --------------------------------------------------------------------------------------------------------

static void on_drained(struct loop_message *message)
{
    struct server_loop *home = WEIR_CONTAINER_OF(message, struct server_loop, drained_message);
    struct server *server = home->server;
    assert(server->loops_left > 0);
    if (--server->loops_left == 0)
        server->done(server->done_ctx);
}

static void loop_report_drained(struct server_loop *home)
{
    if (home->drained)
        return;
    home->drained = true;
    loop_timer_clear(&home->goaway_timer);
    loop_timer_clear(&home->hard_timer);
    home->drained_message.run = on_drained;
    loop_send(home->server->loops[0].loop, &home->drained_message);
}

static void on_goaway(struct loop_timer *timer)
{
    struct server_loop *home = WEIR_CONTAINER_OF(timer, struct server_loop, goaway_timer);
    home->said_last = true;
    for (struct conn *conn = home->conns; conn != NULL; conn = conn->next)
        conn_drain(conn, true);
}

static void on_hard(struct loop_timer *timer)
{
    struct server_loop *home = WEIR_CONTAINER_OF(timer, struct server_loop, hard_timer);
    for (struct conn *conn = home->conns; conn != NULL; conn = conn->next)
        conn_doom(conn);
}

static void on_drain(struct loop_message *message)
{
    struct server_loop *home = WEIR_CONTAINER_OF(message, struct server_loop, drain_message);
    home->draining = true;
    for (struct conn *conn = home->conns; conn != NULL; conn = conn->next)
        conn_drain(conn, false);
    if (home->conns == NULL) {
        loop_report_drained(home);
        return;
    }
    loop_timer_set(home->loop, &home->goaway_timer, GOAWAY_GRACE_MS, on_goaway);
    loop_timer_set(home->loop, &home->hard_timer, home->server->options.limits.shutdown_ms, on_hard);
}

static void on_shutdown(struct loop_message *message)
{
    struct server *server = WEIR_CONTAINER_OF(message, struct server, shutdown_message);
    server->closing = true;
    listener_take_waiting(&server->grpc);
    listener_take_waiting(&server->http);
    listener_close(&server->grpc);
    listener_close(&server->http);
    server->loops_left = server->options.loop_count;
    for (size_t i = 0; i < server->options.loop_count; i++) {
        struct server_loop *home = &server->loops[i];
        home->drain_message.run = on_drain;
        loop_send(home->loop, &home->drain_message);
    }
}

void server_shutdown(struct server *server, void (*done)(void *ctx), void *ctx)
{
    if (atomic_exchange(&server->shutdown_asked, true))
        return;
    server->done = done;
    server->done_ctx = ctx;
    server->shutdown_message.run = on_shutdown;
    loop_send(server->loops[0].loop, &server->shutdown_message);
}
