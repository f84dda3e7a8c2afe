// SPDX-License-Identifier: Apache-2.0
// What both transports have in common: options, records, kept headers, delivery of results.
//
// A call is in one list at a time: waiting or under way (the transport's), then finished (ours). `done` is called from
// client_deliver alone, which runs when no transport code is on the stack, so that it may start and cancel calls freely.
#include "net/tls_client.h"

#include <stdarg.h>
#include <stdio.h>

const char *client_error_name(enum client_error error)
{
    static const char *const names[] = {
        [CLIENT_OK] = "ok",
        [CLIENT_E_RESOLVE] = "resolve",
        [CLIENT_E_CONNECT] = "connect",
        [CLIENT_E_TLS] = "tls",
        [CLIENT_E_TIMEOUT] = "timeout",
        [CLIENT_E_RESET] = "reset",
        [CLIENT_E_NOT_PROCESSED] = "not_processed",
        [CLIENT_E_PROTOCOL] = "protocol",
        [CLIENT_E_RESPONSE_TOO_LARGE] = "response_too_large",
        [CLIENT_E_CANCELLED] = "cancelled",
    };
    assert((unsigned)error < WEIR_COUNT(names));
    return names[error];
}

// --- the interface --------------------------------------------------------------------------------------------------

void client_start(struct client *client, struct client_call *call)
{
    client->vtable->start(client, call);
}

void client_cancel(struct client *client, struct client_call *call)
{
    client->vtable->cancel(client, call);
}

void client_poll(struct client *client, int timeout_ms)
{
    client->vtable->poll(client, timeout_ms);
}

void client_wake(struct client *client)
{
    client->vtable->wake(client);
}

uint64_t client_connection(const struct client *client)
{
    return client->vtable->connection(client);
}

int client_reload(struct client *client, bool *changed, struct weir_err *err)
{
    *changed = false;
    return client->tls != NULL ? tls_client_load(client, changed, err) : WEIR_OK;
}

struct tls_validity client_certificate(const struct client *client)
{
    return client->certificate;
}

void client_free(struct client *client)
{
    if (client != NULL)
        client->vtable->free(client);
}

// --- headers --------------------------------------------------------------------------------------------------------

void client_headers_add(struct client_headers *headers, struct weir_slice name, struct weir_slice value)
{
    size_t need = 4 + name.len + value.len;
    if (headers->count == CLIENT_HEADERS_MAX || name.len > CLIENT_HEADER_BYTES_MAX ||
        value.len > CLIENT_HEADER_BYTES_MAX || headers->bytes.len + need > CLIENT_HEADER_BYTES_MAX)
        return;
    if (!weir_buf_reserve(&headers->bytes, need))
        return;
    uint8_t lengths[4];
    weir_put_u16(lengths, (uint16_t)name.len);
    weir_put_u16(lengths + 2, (uint16_t)value.len);
    weir_buf_append(&headers->bytes, lengths, sizeof(lengths));
    weir_buf_append(&headers->bytes, name.data, name.len);
    weir_buf_append(&headers->bytes, value.data, value.len);
    headers->count++;
}

void client_headers_clear(struct client_headers *headers)
{
    headers->bytes.len = 0;
    headers->count = 0;
}

static struct weir_slice headers_find(const struct client_headers *headers, const char *name)
{
    size_t name_len = strlen(name);
    const uint8_t *at = headers->bytes.data;
    for (size_t i = 0; i < headers->count; i++) {
        size_t len = weir_get_u16(at), value_len = weir_get_u16(at + 2);
        if (len == name_len && memcmp(at + 4, name, len) == 0)
            return (struct weir_slice){.data = at + 4 + len, .len = value_len};
        at += 4 + len + value_len;
    }
    return (struct weir_slice){0};
}

struct weir_slice client_call_header(const struct client_call *call, const char *name)
{
    const struct client_record *record = call->internal;
    if (record == NULL)
        return (struct weir_slice){0};
    struct weir_slice value = headers_find(&record->trailers, name);
    return value.data != NULL ? value : headers_find(&record->headers, name);
}

// --- options --------------------------------------------------------------------------------------------------------

// Replaces *text, which may be NULL, by our own copy; an empty one becomes NULL.
static bool own_text(const char **text)
{
    if (*text == NULL || **text == '\0') {
        *text = NULL;
        return true;
    }
    *text = strdup(*text);
    return *text != NULL;
}

static void options_texts(struct client_options *options, const char **texts[9])
{
    texts[0] = &options->host;
    texts[1] = &options->user_agent;
    texts[2] = &options->tls.ca_file;
    texts[3] = &options->tls.cert_file;
    texts[4] = &options->tls.key_file;
    texts[5] = &options->tls.server_name;
    texts[6] = &options->tls.min_version;
    texts[7] = &options->http_proxy;
    texts[8] = NULL;
}

int client_init(struct client *client, const struct client_vtable *vtable, const struct client_options *options,
                struct weir_err *err)
{
    client->vtable = vtable;
    client->options = *options;
    client_list_init(&client->finished);
    if (client->options.connect_timeout_ms == 0)
        client->options.connect_timeout_ms = 10000;
    if (client->options.max_response_bytes == 0)
        client->options.max_response_bytes = 4u << 20;
    if (client->options.max_in_flight == 0)
        client->options.max_in_flight = 1;
    const char **texts[9];
    options_texts(&client->options, texts);
    bool owned = true;
    for (size_t i = 0; texts[i] != NULL; i++) {
        if (!own_text(texts[i])) // NULL then: client_dispose may follow
            owned = false;
    }
    if (!owned)
        return weir_fail(err, WEIR_E_NOMEM, "new client: out of memory");
    const char *host = client->options.host;
    if (host == NULL || options->port == 0 || strlen(host) > 255)
        return weir_fail(err, WEIR_E_INVALID,
                         "upstream host \"%s\", port %u: a name or address and a port from 1 to 65535 are needed",
                         host != NULL ? host : "", options->port);
    bool ipv6 = strchr(host, ':') != NULL;
    snprintf(client->peer, sizeof(client->peer), ipv6 ? "[%s]:%u" : "%s:%u", host, options->port);
    return WEIR_OK;
}

void client_dispose(struct client *client)
{
    SSL_CTX_free(client->tls);
    client->tls = NULL;
    const char **texts[9];
    options_texts(&client->options, texts);
    for (size_t i = 0; texts[i] != NULL; i++) {
        free((char *)(uintptr_t)*texts[i]);
        *texts[i] = NULL;
    }
}

// --- records --------------------------------------------------------------------------------------------------------

void *client_record_new(struct client *client, struct client_call *call, size_t size)
{
    call->error = CLIENT_OK;
    call->error_text[0] = '\0';
    call->http_status = 0;
    call->response_body = (struct weir_slice){0};
    call->connection = 0;
    call->bytes_sent = false;
    struct client_record *record = client->closing ? NULL : calloc(1, size);
    if (record == NULL) {
        call->error = CLIENT_E_CANCELLED;
        snprintf(call->error_text, sizeof(call->error_text), "%s",
                 client->closing ? "the client is being freed" : "out of memory");
        call->internal = client->unrecorded;
        client->unrecorded = call;
        return NULL;
    }
    record->call = call;
    call->internal = record;
    return record;
}

void client_record_decide(struct client_record *record, enum client_error error, const char *fmt, ...)
{
    if (record->decided)
        return;
    record->decided = true;
    record->call->error = error;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(record->call->error_text, sizeof(record->call->error_text), fmt, ap);
    va_end(ap);
}

void client_record_finish(struct client *client, struct client_record *record)
{
    assert(record->decided);
    client_list_remove(&record->link);
    client_list_append(&client->finished, &record->link);
}

bool client_has_finished(const struct client *client)
{
    return client->unrecorded != NULL || !client_list_empty(&client->finished);
}

static void deliver_record(struct client_record *record)
{
    struct client_call *call = record->call;
    call->response_body = (struct weir_slice){.data = record->body.data, .len = record->body.len};
    call->done(call); // the call may be gone after this
    weir_buf_free(&record->headers.bytes);
    weir_buf_free(&record->trailers.bytes);
    weir_buf_free(&record->body);
    free(record);
}

void client_deliver(struct client *client)
{
    while (client_has_finished(client)) {
        struct client_call *call = client->unrecorded;
        if (call != NULL) {
            client->unrecorded = call->internal;
            call->internal = NULL;
            call->done(call);
            continue;
        }
        deliver_record(WEIR_CONTAINER_OF(client_list_take(&client->finished), struct client_record, link));
    }
}
