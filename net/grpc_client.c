// SPDX-License-Identifier: Apache-2.0
// The gRPC client: calls wait in order, go to the current connection, end with an answer, an error or their deadline.
//
// Usual way: start → waiting → (dial) → open stream on the current connection → stream closed and no write points into the body any
// longer → finished → done. A connection that cannot be made fails all that wait, at once: the owner decides when to try again. A call
// whose deadline has passed gives up its stream and is finished as soon as the write under way has let go of its body; a peer that
// holds that write up any longer loses the connection.
#include "net/grpc_client_priv.h"
#include "net/tls_client.h"

#include <stdio.h>

// No PING without calls; the first is always allowed, the next no sooner than gRPC's servers bear it (U12).
#define QUIET_MS         30000
#define PING_MS          20000
#define PING_INTERVAL_MS (5u * 60 * 1000)
#define GRACE_MS         2000

static struct grpc_client *from_base(const struct client *client)
{
    return WEIR_CONTAINER_OF(client, struct grpc_client, base);
}

static struct grpc_call *from_link(struct client_link *link)
{
    return WEIR_CONTAINER_OF(link, struct grpc_call, record.link);
}

void grpc_call_finish(struct grpc_call *call)
{
    loop_timer_clear(&call->deadline);
    client_record_finish(&call->client->base, &call->record);
}

void grpc_client_drain(struct grpc_client *client, struct grpc_conn *conn)
{
    assert(client->current == conn && conn->state == CONN_READY);
    conn->state = CONN_DRAINING;
    client->current = NULL;
    conn->next = client->draining;
    client->draining = conn;
}

// --- calls ----------------------------------------------------------------------------------------------------------

static void on_deadline(struct loop_timer *timer)
{
    struct grpc_call *call = WEIR_CONTAINER_OF(timer, struct grpc_call, deadline);
    struct grpc_conn *conn = call->conn;
    unsigned long long timeout_ms = call->record.call->timeout_ns / 1000000;
    if (conn == NULL) {
        client_record_decide(&call->record, CLIENT_E_TIMEOUT, "not sent to %s within %llu ms: no free connection",
                             call->client->base.peer, timeout_ms);
        grpc_call_finish(call);
        return;
    }
    if (call->grace) {
        grpc_conn_end(conn, CLIENT_E_RESET, "the peer has stopped reading");
        return;
    }
    call->grace = true;
    loop_timer_set(call->client->loop, &call->deadline, GRACE_MS, on_deadline);
    client_record_decide(&call->record, CLIENT_E_TIMEOUT, "no answer from %s within %llu ms", call->client->base.peer,
                         timeout_ms);
    grpc_conn_reset(call);
    // Not a byte since it was sent: the peer may have vanished without a word, and only a new connection tells. It may lead elsewhere, too.
    if (conn->heard_ns < call->submitted_ns && conn->state == CONN_READY) {
        call->client->turn++;
        grpc_client_drain(call->client, conn);
    }
    grpc_conn_advance(conn);
}

static void grpc_start(struct client *base, struct client_call *call)
{
    struct grpc_client *client = from_base(base);
    struct grpc_call *record = client_record_new(base, call, sizeof(*record));
    if (record == NULL)
        return;
    record->client = client;
    for (size_t i = 0; i < call->body_count; i++)
        record->unframed += call->body[i].len;
    client_list_append(&client->waiting, &record->record.link);
    uint64_t delay_ms = call->timeout_ns / 1000000 + (call->timeout_ns % 1000000 != 0);
    loop_timer_set(client->loop, &record->deadline, delay_ms, on_deadline);
}

static void grpc_cancel(struct client *base, struct client_call *call)
{
    struct grpc_call *record = call->internal;
    if (record == NULL || record->record.decided)
        return;
    client_record_decide(&record->record, CLIENT_E_CANCELLED, "cancelled");
    if (record->conn == NULL) {
        grpc_call_finish(record);
        return;
    }
    grpc_conn_reset(record);
    grpc_conn_advance(record->conn);
}

// --- the loop -------------------------------------------------------------------------------------------------------

static void on_wake(struct loop_message *message)
{
    struct grpc_client *client = WEIR_CONTAINER_OF(message, struct grpc_client, wake);
    atomic_store(&client->wake_sent, false);
    client->woken = true;
}

static void grpc_wake(struct client *base)
{
    struct grpc_client *client = from_base(base);
    if (!atomic_exchange(&client->wake_sent, true))
        loop_send(client->loop, &client->wake);
}

static void start_waiting(struct grpc_client *client)
{
    if (client_list_empty(&client->waiting))
        return;
    if (client->current != NULL) {
        grpc_conn_advance(client->current);
        return;
    }
    if (grpc_conn_open(client))
        return;
    while (!client_list_empty(&client->waiting)) {
        struct grpc_call *call = from_link(client->waiting.next);
        client_record_decide(&call->record, CLIENT_E_CONNECT, "connect to %s: out of memory", client->base.peer);
        grpc_call_finish(call);
    }
}

static void grpc_poll(struct client *base, int timeout_ms)
{
    struct grpc_client *client = from_base(base);
    client->woken = false;
    start_waiting(client);
    if (client->wrote) {
        client->wrote = false;
        loop_poll(client->loop, 0);
    }
    if (!client_has_finished(base) && !client->woken)
        loop_poll(client->loop, timeout_ms);
    client->wrote = false;
    client_deliver(base);
}

static uint64_t grpc_connection(const struct client *base)
{
    const struct grpc_conn *conn = from_base(base)->current;
    return conn != NULL ? conn->number : 0;
}

void grpc_client_set_keepalive(struct client *base, uint32_t quiet_ms, uint32_t ping_ms, uint32_t ping_interval_ms)
{
    struct grpc_client *client = from_base(base);
    client->quiet_ms = quiet_ms;
    client->ping_ms = ping_ms;
    client->ping_interval_ms = ping_interval_ms;
}

uint32_t grpc_client_ping_interval_ms(const struct client *base)
{
    return from_base(base)->ping_interval_ms;
}

// --- life -----------------------------------------------------------------------------------------------------------

static void grpc_free(struct client *base)
{
    struct grpc_client *client = from_base(base);
    base->closing = true;
    if (client->loop != NULL) {
        while (!client_list_empty(&client->waiting)) {
            struct grpc_call *call = from_link(client->waiting.next);
            client_record_decide(&call->record, CLIENT_E_CANCELLED, "the client is being freed");
            grpc_call_finish(call);
        }
        if (client->current != NULL)
            grpc_conn_end(client->current, CLIENT_E_CANCELLED, "the client is being freed");
        while (client->draining != NULL)
            grpc_conn_end(client->draining, CLIENT_E_CANCELLED, "the client is being freed");
        client_deliver(base);
        loop_poll(client->loop, 0); // runs the messages that are left, and lets h2o free closed sockets
        loop_free(client->loop);
    }
    client_dispose(base);
    free(client);
}

static const struct client_vtable grpc_vtable = {
    .start = grpc_start,
    .cancel = grpc_cancel,
    .poll = grpc_poll,
    .wake = grpc_wake,
    .connection = grpc_connection,
    .free = grpc_free,
};

int client_grpc_new(const struct client_options *options, struct client **out, struct weir_err *err)
{
    struct grpc_client *client = calloc(1, sizeof(*client));
    if (client == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "new client: out of memory");
    client_list_init(&client->waiting);
    client->wake.run = on_wake;
    client->quiet_ms = QUIET_MS;
    client->ping_ms = PING_MS;
    client->ping_interval_ms = PING_INTERVAL_MS;
    int code = client_init(&client->base, &grpc_vtable, options, err);
    bool changed;
    if (code == WEIR_OK && options->use_tls)
        code = tls_client_load(&client->base, &changed, err);
    if (code == WEIR_OK)
        code = loop_new(&client->loop, err);
    if (code != WEIR_OK) {
        grpc_free(&client->base);
        return code;
    }
    *out = &client->base;
    return WEIR_OK;
}
