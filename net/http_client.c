// SPDX-License-Identifier: Apache-2.0
// The OTLP/HTTP client: HTTP/1.1 by libcurl's multi interface, keep-alive connections, at most max_in_flight at once.
//
// Usual way: start → waiting → an easy handle in the multi handle → finished → done. Nothing of curl points into a call once its easy
// handle was removed, so that a call can be ended at any time, except from a curl callback. curl itself sends a request again when a kept
// connection turns out to be closed before a byte of the answer came (U14); it follows no redirect (U26).
#include "net/http_client_priv.h"
#include "net/tls_client.h"

#include <pthread.h>
#include <stdio.h>

static struct http_client *from_base(const struct client *client)
{
    return WEIR_CONTAINER_OF(client, struct http_client, base);
}

static struct http_call *from_link(struct client_link *link)
{
    return WEIR_CONTAINER_OF(link, struct http_call, record.link);
}

// --- calls ----------------------------------------------------------------------------------------------------------

// Lets go of curl's side of it and hands it to the finished ones.
static void end_call(struct http_call *call)
{
    if (call->easy != NULL) {
        curl_multi_remove_handle(call->client->multi, call->easy);
        curl_easy_cleanup(call->easy);
        call->easy = NULL;
        call->client->active_count--;
    }
    curl_slist_free_all(call->headers);
    call->headers = NULL;
    client_record_finish(&call->client->base, &call->record);
}

static void activate(struct http_call *call, uint64_t now_ns)
{
    struct http_client *client = call->client;
    call->easy = curl_easy_init();
    bool ok = false;
    if (call->easy != NULL) {
        client->active_count++;
        ok = http_request_prepare(call, now_ns) && curl_multi_add_handle(client->multi, call->easy) == CURLM_OK;
    }
    if (!ok) {
        client_record_decide(&call->record, CLIENT_E_NOT_PROCESSED, "not sent to %s: out of memory", client->base.peer);
        end_call(call);
        return;
    }
    client_list_remove(&call->record.link);
    client_list_append(&client->active, &call->record.link);
}

static void collect_ended(struct http_client *client)
{
    int left;
    const CURLMsg *message;
    while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
        char *private = NULL;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private);
        struct http_call *call = (struct http_call *)(void *)private;
        http_request_decide(call, message->data.result);
        end_call(call); // the message goes with the handle
    }
}

// --- the interface --------------------------------------------------------------------------------------------------

static void http_start(struct client *base, struct client_call *call)
{
    struct http_client *client = from_base(base);
    struct http_call *record = client_record_new(base, call, sizeof(*record));
    if (record == NULL)
        return;
    record->client = client;
    uint64_t now_ns = weir_now_ns();
    record->deadline_ns = call->timeout_ns < UINT64_MAX - now_ns ? now_ns + call->timeout_ns : UINT64_MAX;
    client_list_append(&client->waiting, &record->record.link);
}

static void http_cancel(struct client *base, struct client_call *call)
{
    struct http_call *record = call->internal;
    if (record == NULL || record->record.decided)
        return;
    client_record_decide(&record->record, CLIENT_E_CANCELLED, "cancelled");
    end_call(record);
}

// Ends waiting calls whose time is over, activates others as far as there is room. Returns the milliseconds until the next must be ended.
static int start_waiting(struct http_client *client)
{
    uint64_t now_ns = weir_now_ns(), next_ns = UINT64_MAX;
    struct client_link *link = client->waiting.next;
    while (link != &client->waiting) {
        struct http_call *call = from_link(link);
        link = link->next;
        if (call->deadline_ns <= now_ns) {
            client_record_decide(&call->record, CLIENT_E_TIMEOUT, "not sent to %s within %llu ms: no free connection",
                                 client->base.peer, (unsigned long long)(call->record.call->timeout_ns / 1000000));
            end_call(call);
        } else if (client->active_count < client->base.options.max_in_flight) {
            activate(call, now_ns);
        } else if (call->deadline_ns < next_ns) {
            next_ns = call->deadline_ns;
        }
    }
    uint64_t wait_ms = next_ns == UINT64_MAX ? INT32_MAX : (next_ns - now_ns) / 1000000 + 1;
    return wait_ms < INT32_MAX ? (int)wait_ms : INT32_MAX;
}

static int step(struct http_client *client)
{
    int running;
    int wait_ms = start_waiting(client);
    curl_multi_perform(client->multi, &running);
    collect_ended(client);
    return wait_ms;
}

static void http_poll(struct client *base, int timeout_ms)
{
    struct http_client *client = from_base(base);
    int wait_ms = step(client);
    if (!client_has_finished(base)) {
        if (timeout_ms >= 0 && timeout_ms < wait_ms)
            wait_ms = timeout_ms;
        curl_multi_poll(client->multi, NULL, 0, wait_ms, NULL);
        step(client);
    }
    client_deliver(base);
}

static void http_wake(struct client *base)
{
    curl_multi_wakeup(from_base(base)->multi);
}

static uint64_t http_connection(const struct client *base)
{
    return http_sockets_latest(&from_base(base)->sockets);
}

static void cancel_all(struct client_link *calls)
{
    while (!client_list_empty(calls)) {
        struct http_call *call = from_link(calls->next);
        client_record_decide(&call->record, CLIENT_E_CANCELLED, "the client is being freed");
        end_call(call);
    }
}

static void http_free(struct client *base)
{
    struct http_client *client = from_base(base);
    base->closing = true;
    cancel_all(&client->waiting);
    cancel_all(&client->active);
    client_deliver(base);
    curl_multi_cleanup(client->multi);
    curl_slist_free_all(client->connect_to);
    http_sockets_dispose(&client->sockets);
    client_dispose(base);
    free(client);
}

static const struct client_vtable http_vtable = {
    .start = http_start,
    .cancel = http_cancel,
    .poll = http_poll,
    .wake = http_wake,
    .connection = http_connection,
    .free = http_free,
};

static void curl_init(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

// curl checks the certificate for the URL's name: a server name of its own becomes that, and CONNECT_TO leads it to the real host.
static int set_target(struct http_client *client, struct weir_err *err)
{
    const struct client_options *options = &client->base.options;
    const char *name = options->use_tls ? options->tls.server_name : NULL;
    if (name == NULL) {
        snprintf(client->url_base, sizeof(client->url_base), "%s://%s", options->use_tls ? "https" : "http",
                 client->base.peer);
        return WEIR_OK;
    }
    if (strlen(name) > 255)
        return weir_fail(err, WEIR_E_INVALID, "tls.server_name is longer than 255 bytes");
    char route[600];
    snprintf(client->url_base, sizeof(client->url_base), "https://%s:%u", name, options->port);
    snprintf(client->host_header, sizeof(client->host_header), "host: %s", client->base.peer);
    snprintf(route, sizeof(route), "%s:%u:%s", name, options->port, client->base.peer);
    if (!http_append_header(&client->connect_to, route))
        return weir_fail(err, WEIR_E_NOMEM, "new client: out of memory");
    return WEIR_OK;
}

int client_http_new(const struct client_options *options, struct client **out, struct weir_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, curl_init);
    struct http_client *client = calloc(1, sizeof(*client));
    if (client == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "new client: out of memory");
    client_list_init(&client->waiting);
    client_list_init(&client->active);
    int code = client_init(&client->base, &http_vtable, options, err);
    if (code == WEIR_OK &&
        options->use_tls) { // curl would read the files itself, at each connection, whatever they hold just then
        bool changed;
        code = tls_client_load(&client->base, &changed, err);
    }
    if (code == WEIR_OK)
        code = set_target(client, err);
    if (code == WEIR_OK) {
        client->multi = curl_multi_init();
        if (client->multi == NULL)
            code = weir_fail(err, WEIR_E_NOMEM, "new client: out of memory");
    }
    if (code != WEIR_OK) {
        http_free(&client->base);
        return code;
    }
    curl_multi_setopt(client->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long)client->base.options.max_in_flight);
    *out = &client->base;
    return WEIR_OK;
}
