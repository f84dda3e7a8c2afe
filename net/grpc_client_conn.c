// SPDX-License-Identifier: Apache-2.0
// One HTTP/2 connection of the gRPC client: its life, reading, and writing without copies.
//
// nghttp2's callbacks (grpc_client_stream.c) only note what happened; grpc_conn_advance, called when none of them is on the stack,
// acts on it. One write is under way at a time: it gathers frame headers (copied) and pointers into the callers' bodies.
#include "net/grpc_client_stream.h"

#include <h2o.h>
#include <stdio.h>

static struct grpc_call *from_link(struct client_link *link)
{
    return WEIR_CONTAINER_OF(link, struct grpc_call, record.link);
}

// --- the end --------------------------------------------------------------------------------------------------------

static void forget_conn(struct grpc_client *client, struct grpc_conn *conn)
{
    if (client->current == conn) {
        client->current = NULL;
        return;
    }
    struct grpc_conn **at = &client->draining;
    while (*at != conn)
        at = &(*at)->next;
    *at = conn->next;
}

static void fail_calls(struct client_link *calls, enum client_error error, const char *text)
{
    while (!client_list_empty(calls)) {
        struct grpc_call *call = from_link(calls->next);
        bool unsent = call->conn != NULL && !call->headers_sent && error != CLIENT_E_CANCELLED;
        if (call->answered) // only the rest of its body was still on the way
            client_record_decide(&call->record, CLIENT_OK, "%s", "");
        client_record_decide(&call->record, unsent ? CLIENT_E_NOT_PROCESSED : error, "%s", text);
        grpc_call_finish(call);
    }
}

void grpc_conn_end(struct grpc_conn *conn, enum client_error error, const char *text)
{
    struct grpc_client *client = conn->client;
    forget_conn(client, conn);
    loop_timer_clear(&conn->connect_timer);
    loop_timer_clear(&conn->ping_timer);
    dial_cancel(&conn->dial);
    if (conn->sock != NULL)
        h2o_socket_close(conn->sock); // whatever was being written is let go of
    nghttp2_session_del(conn->session);
    for (struct client_link *link = conn->open.next; link != &conn->open; link = link->next)
        client->open_count--;
    fail_calls(&conn->open, error, text);
    fail_calls(&conn->lingering, error, text);
    // Else a peer that takes connections and ends them unused would be dialled again and again, without a pause.
    if (!conn->used) {
        client->turn++;
        fail_calls(&client->waiting, error, text);
    }
    SSL_CTX_free(conn->dial.tls);
    free(conn);
}

static void conn_lost(struct grpc_conn *conn, const char *reason)
{
    char text[320];
    const char *peer = conn->client->base.peer;
    if (conn->state == CONN_SETTINGS) {
        bool tls = conn->client->base.tls != NULL && reason != h2o_socket_error_closed;
        snprintf(text, sizeof(text), "connect to %.120s: ended before HTTP/2 settings came: %.40s", peer, reason);
        grpc_conn_end(conn, tls ? CLIENT_E_TLS : CLIENT_E_CONNECT, text);
        return;
    }
    bool goaway = conn->got_goaway;
    snprintf(text, sizeof(text), "connection to %.120s lost: %.90s", peer, goaway ? conn->goaway_text : reason);
    grpc_conn_end(conn, conn->used ? CLIENT_E_RESET : CLIENT_E_CONNECT, text);
}

// --- writing --------------------------------------------------------------------------------------------------------

static void on_write(h2o_socket_t *sock, const char *err)
{
    struct grpc_conn *conn = sock->data;
    conn->writing = false;
    conn->batch_done = conn->batch;
    while (!client_list_empty(&conn->lingering))
        grpc_call_finish(from_link(conn->lingering.next));
    if (err != NULL)
        conn_lost(conn, err);
    else
        grpc_conn_advance(conn);
}

static void conn_flush(struct grpc_conn *conn)
{
    if (conn->writing)
        return;
    conn->batch++;
    conn->batch_bytes = conn->iov_count = conn->control_len = 0;
    while (grpc_stream_has_room(conn)) {
        const uint8_t *data;
        ssize_t len = nghttp2_session_mem_send(conn->session, &data);
        if (len < 0)
            conn->out_of_memory = true;
        if (len <= 0)
            break;
        grpc_stream_gather_copy(conn, data, (size_t)len);
    }
    if (conn->iov_count == 0) {
        conn->batch_done = conn->batch;
        return;
    }
    conn->writing = true;
    conn->client->wrote = true;
    h2o_iovec_t bufs[CONN_IOV_MAX];
    for (size_t i = 0; i < conn->iov_count; i++)
        bufs[i] = h2o_iovec_init(conn->iov[i].iov_base, conn->iov[i].iov_len);
    h2o_socket_write(conn->sock, bufs, conn->iov_count, on_write);
}

// --- moving on ------------------------------------------------------------------------------------------------------

static void on_ping_timer(struct loop_timer *timer)
{
    struct grpc_conn *conn = WEIR_CONTAINER_OF(timer, struct grpc_conn, ping_timer);
    struct grpc_client *client = conn->client;
    bool unanswered = conn->pinged_ns != 0 && conn->received_ns < conn->pinged_ns;
    conn->pinged_ns = 0;
    if (client_list_empty(&conn->open))
        return;
    if (unanswered) {
        grpc_conn_end(conn, CLIENT_E_RESET, "connection lost: no answer to a PING");
        return;
    }
    uint64_t now_ns = weir_now_ns();
    uint64_t quiet_ms = (now_ns - conn->received_ns) / 1000000;
    if (quiet_ms < client->quiet_ms) {
        loop_timer_set(client->loop, timer, client->quiet_ms - quiet_ms, on_ping_timer);
        return;
    }
    uint64_t since_ms = conn->last_ping_ns == 0 ? UINT32_MAX : (now_ns - conn->last_ping_ns) / 1000000;
    if (since_ms < client->ping_interval_ms) {
        loop_timer_set(client->loop, timer, client->ping_interval_ms - since_ms, on_ping_timer);
        return;
    }
    conn->pinged_ns = conn->last_ping_ns = now_ns;
    if (nghttp2_submit_ping(conn->session, NGHTTP2_FLAG_NONE, NULL) != 0)
        conn->out_of_memory = true;
    loop_timer_set(client->loop, timer, client->ping_ms, on_ping_timer);
    grpc_conn_advance(conn);
}

static void submit_waiting(struct grpc_conn *conn)
{
    struct grpc_client *client = conn->client;
    uint32_t peer_max = nghttp2_session_get_remote_settings(conn->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    uint32_t here = 0;
    for (struct client_link *link = conn->open.next; link != &conn->open; link = link->next)
        here++;
    while (!client_list_empty(&client->waiting) && here < peer_max &&
           client->open_count < client->base.options.max_in_flight) {
        struct grpc_call *call = from_link(client->waiting.next);
        if (!grpc_stream_submit(conn, call))
            break;
        here++;
        conn->used = true;
        if (conn->ping_timer.due_ns == 0) {
            // What was quiet while nothing was asked does not count.
            conn->received_ns = weir_now_ns();
            loop_timer_set(client->loop, &conn->ping_timer, client->quiet_ms, on_ping_timer);
        }
    }
}

static void become_ready(struct grpc_conn *conn)
{
    loop_timer_clear(&conn->connect_timer);
    conn->state = CONN_READY;
    conn->number = ++conn->client->connections;
}

void grpc_conn_advance(struct grpc_conn *conn)
{
    struct grpc_client *client = conn->client;
    if (conn->state == CONN_DIALLING)
        return;
    if (conn->state == CONN_SETTINGS && conn->got_settings)
        become_ready(conn);
    if (conn->state == CONN_READY && conn->got_goaway) {
        if (!conn->used) {
            conn_lost(conn, conn->goaway_text);
            return;
        }
        grpc_client_drain(client, conn);
    }
    if (conn->state == CONN_READY)
        submit_waiting(conn);
    conn_flush(conn);
    if (conn->out_of_memory) {
        grpc_conn_end(conn, CLIENT_E_RESET, "connection given up: out of memory");
        return;
    }
    if (conn->writing)
        return;
    if (conn->state == CONN_DRAINING && client_list_empty(&conn->open)) {
        grpc_conn_end(conn, CLIENT_E_RESET, "");
    } else if (!nghttp2_session_want_read(conn->session) && !nghttp2_session_want_write(conn->session)) {
        // nghttp2 has ended the session over an error of the peer's.
        char text[240];
        bool settings = conn->state == CONN_SETTINGS;
        snprintf(text, sizeof(text), settings ? "%.120s does not speak HTTP/2" : "%.120s broke the rules of HTTP/2",
                 client->base.peer);
        grpc_conn_end(conn, CLIENT_E_PROTOCOL, text);
    }
}

// --- reading --------------------------------------------------------------------------------------------------------

// What the first bytes tell of a peer that is something else. NULL: may well be HTTP/2.
static const char *foreign_speech(const struct grpc_conn *conn, const char *bytes, size_t len)
{
    if (len >= 5 && memcmp(bytes, "HTTP/", 5) == 0)
        return "does not speak HTTP/2 but HTTP/1: is this an OTLP/HTTP port?";
    if (conn->client->base.tls == NULL && len >= 2 && bytes[0] == 0x15 && bytes[1] == 0x03)
        return "speaks TLS: use grpcs:// or https://";
    return NULL;
}

static void on_read(h2o_socket_t *sock, const char *err)
{
    struct grpc_conn *conn = sock->data;
    if (sock->input->size > 0) {
        conn->received_ns = conn->heard_ns = weir_now_ns();
        const char *foreign =
            conn->state == CONN_SETTINGS ? foreign_speech(conn, sock->input->bytes, sock->input->size) : NULL;
        ssize_t used = 0;
        if (foreign == NULL)
            used = nghttp2_session_mem_recv(conn->session, (const uint8_t *)sock->input->bytes, sock->input->size);
        if (foreign != NULL || used < 0) {
            char text[240];
            snprintf(text, sizeof(text), "%.120s %s", conn->client->base.peer,
                     foreign != NULL ? foreign : nghttp2_strerror((int)used));
            grpc_conn_end(conn, CLIENT_E_PROTOCOL, text);
            return;
        }
        h2o_buffer_consume(&sock->input, (size_t)used);
    }
    if (err != NULL)
        conn_lost(conn, err);
    else
        grpc_conn_advance(conn);
}

// --- the beginning --------------------------------------------------------------------------------------------------

static void on_connect_timeout(struct loop_timer *timer)
{
    struct grpc_conn *conn = WEIR_CONTAINER_OF(timer, struct grpc_conn, connect_timer);
    char text[240];
    snprintf(text, sizeof(text), "connect to %.120s: timed out after %u ms (%s)", conn->client->base.peer,
             conn->client->base.options.connect_timeout_ms,
             conn->state == CONN_DIALLING ? conn->dial.stage : "HTTP/2 settings");
    grpc_conn_end(conn, CLIENT_E_CONNECT, text);
}

static void on_dialled(struct dial *dial, h2o_socket_t *sock, enum client_error error, const char *text)
{
    struct grpc_conn *conn = WEIR_CONTAINER_OF(dial, struct grpc_conn, dial);
    if (sock == NULL) {
        grpc_conn_end(conn, error, text);
        return;
    }
    conn->sock = sock;
    sock->data = conn;
    conn->state = CONN_SETTINGS;
    if (!grpc_stream_session_new(conn)) {
        grpc_conn_end(conn, CLIENT_E_CONNECT, "connection given up: out of memory");
        return;
    }
    h2o_socket_read_start(sock, on_read);
    grpc_conn_advance(conn);
}

bool grpc_conn_open(struct grpc_client *client)
{
    const struct client_options *options = &client->base.options;
    struct grpc_conn *conn = calloc(1, sizeof(*conn));
    if (conn == NULL)
        return false;
    conn->client = client;
    client_list_init(&conn->open);
    client_list_init(&conn->lingering);
    client->current = conn;
    loop_timer_set(client->loop, &conn->connect_timer, options->connect_timeout_ms, on_connect_timeout);
    conn->dial = (struct dial){
        .loop = client->loop,
        .host = options->host,
        .port = options->port,
        .peer = client->base.peer,
        .turn = client->turn,
        .tls = client->base.tls,
        .sni = options->tls.server_name != NULL ? options->tls.server_name : options->host,
        .deadline_ns = weir_now_ns() + (uint64_t)options->connect_timeout_ms * 1000000,
        .done = on_dialled,
    };
    if (conn->dial.tls != NULL)
        SSL_CTX_up_ref(conn->dial.tls); // the client's may be replaced meanwhile
    dial_start(&conn->dial);
    return true;
}
