// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/sink/sink.h"

#include "proto/otlp.h"

static void answer(struct exchange *exchange, int status, const char *type, struct weir_slice body)
{
    struct exchange_header headers[] = {{"content-type", 12, type, strlen(type)}};
    struct exchange_answer answer = {.http_status = status, .headers = headers, .header_count = 1, .body = body};
    exchange_answer(exchange, &answer);
}

static void answer_text(struct exchange *exchange, int status, const char *text)
{
    answer(exchange, status, "text/plain", (struct weir_slice){(const uint8_t *)text, strlen(text)});
}

static void answer_json(struct exchange *exchange, json_t *json)
{
    char *text = json_dumps(json, JSON_INDENT(1));
    json_decref(json);
    if (text == NULL)
        abort();
    answer(exchange, 200, "application/json", (struct weir_slice){(const uint8_t *)text, strlen(text)});
    free(text);
}

static void get_stats(struct sink *sink, struct exchange *exchange, struct weir_slice form)
{
    json_t *out = json_object(), *signals = json_object();
    for (int i = 0; i < WEIR_SIGNALS; i++)
        json_object_set_new(signals, weir_signal_name((enum weir_signal)i), record_json(&sink->records[i]));
    json_object_set_new(out, "signals", signals);
    json_object_set_new(out, "listening", json_boolean(sink->server != NULL));
    json_object_set_new(out, "attempts", json_integer((json_int_t)sink->attempt_count));
    json_object_set_new(out, "connections", json_integer(sink->server ? server_connections(sink->server) : 0));
    answer_json(exchange, out);
}

static void get_attempts(struct sink *sink, struct exchange *exchange, struct weir_slice form)
{
    json_t *out = json_array();
    uint64_t first = sink->attempt_count > SINK_ATTEMPTS ? sink->attempt_count - SINK_ATTEMPTS : 0;
    for (uint64_t i = first; i < sink->attempt_count; i++)
        json_array_append(out, sink->attempts[i % SINK_ATTEMPTS]);
    answer_json(exchange, out);
}

static void get_ids(struct sink *sink, struct exchange *exchange, enum weir_signal signal)
{
    struct weir_buf out = {0};
    if (!idset_print(&sink->records[signal].ids, &out))
        abort();
    answer(exchange, 200, "text/plain", (struct weir_slice){out.data, out.len});
    weir_buf_free(&out);
}

static void get_traces(struct sink *sink, struct exchange *exchange, struct weir_slice form)
{
    get_ids(sink, exchange, WEIR_TRACES);
}

static void get_metrics(struct sink *sink, struct exchange *exchange, struct weir_slice form)
{
    get_ids(sink, exchange, WEIR_METRICS);
}

static void get_logs(struct sink *sink, struct exchange *exchange, struct weir_slice form)
{
    get_ids(sink, exchange, WEIR_LOGS);
}

static void post_mode(struct sink *sink, struct exchange *exchange, struct weir_slice form)
{
    struct weir_err err;
    if (rules_add(&sink->rules, form, &err) == WEIR_OK)
        answer_text(exchange, 200, "ok\n");
    else
        answer_text(exchange, 400, err.text);
}

static void post_reset(struct sink *sink, struct exchange *exchange, struct weir_slice form)
{
    for (int i = 0; i < WEIR_SIGNALS; i++)
        record_clear(&sink->records[i]);
    for (int i = 0; i < SINK_ATTEMPTS; i++) {
        json_decref(sink->attempts[i]);
        sink->attempts[i] = NULL;
    }
    sink->attempt_count = 0;
    sink->rules.count = 0;
    answer_text(exchange, 200, "ok\n");
}

// In a turn of its own: the server must not be freed under the call that said it is done.
static void run_closed(struct loop_message *message)
{
    struct sink *sink = WEIR_CONTAINER_OF(message, struct sink, closed);
    server_free(sink->server);
    sink->server = NULL;
    struct exchange *exchange = sink->closing;
    sink->closing = NULL;
    if (exchange != NULL)
        answer_text(exchange, 200, "closed\n");
}

static void on_closed(void *ctx)
{
    struct sink *sink = ctx;
    sink->closed.run = run_closed;
    loop_send(sink->loop, &sink->closed);
}

static void post_listen(struct sink *sink, struct exchange *exchange, struct weir_slice form)
{
    struct weir_err err;
    bool on = form.len >= 4 && memcmp(form.data, "on=1", 4) == 0;
    if (!on && (form.len < 4 || memcmp(form.data, "on=0", 4) != 0)) {
        answer_text(exchange, 400, "on=0 or on=1 is needed\n");
    } else if (sink->closing != NULL) {
        answer_text(exchange, 409, "the listeners are being closed\n");
    } else if (on == (sink->server != NULL)) {
        answer_text(exchange, 200, "already\n");
    } else if (!on) {
        sink->closing = exchange;
        server_shutdown(sink->server, on_closed, sink);
    } else if (sink_open(sink, &err) == WEIR_OK) {
        answer_text(exchange, 200, "open\n");
    } else {
        answer_text(exchange, 500, err.text);
    }
}

static const struct {
    const char *method, *path;
    void (*run)(struct sink *sink, struct exchange *exchange, struct weir_slice form);
} routes[] = {
    {"GET", "/stats", get_stats},         {"GET", "/attempts", get_attempts}, {"GET", "/ids/traces", get_traces},
    {"GET", "/ids/metrics", get_metrics}, {"GET", "/ids/logs", get_logs},     {"POST", "/mode", post_mode},
    {"POST", "/listen", post_listen},     {"POST", "/reset", post_reset},
};

static bool is(struct weir_slice slice, const char *text)
{
    return slice.len == strlen(text) && memcmp(slice.data, text, slice.len) == 0;
}

static void begin(void *ctx, struct exchange *exchange)
{
    struct weir_buf *form = calloc(1, sizeof(*form));
    if (form == NULL)
        abort();
    exchange->user = form;
}

static void data(void *ctx, struct exchange *exchange, struct weir_slice data)
{
    if (!weir_buf_append(exchange->user, data.data, data.len))
        abort();
}

static void end(void *ctx, struct exchange *exchange)
{
    struct weir_buf *form = exchange->user;
    exchange->user = NULL;
    for (size_t i = 0; i < WEIR_COUNT(routes); i++) {
        if (is(exchange->method, routes[i].method) && is(exchange->path, routes[i].path)) {
            // Parameters come as a body or as a query.
            struct weir_slice body = {form->data, form->len};
            routes[i].run(ctx, exchange, body.len > 0 ? body : exchange->query);
            exchange = NULL;
            break;
        }
    }
    if (exchange != NULL)
        answer_text(exchange, 404, "GET /stats /attempts /ids/SIGNAL, POST /mode /listen /reset\n");
    weir_buf_free(form);
    free(form);
}

static void gone(void *ctx, struct exchange *exchange)
{
    struct sink *sink = ctx;
    struct weir_buf *form = exchange->user;
    if (sink->closing == exchange)
        sink->closing = NULL;
    if (form != NULL)
        weir_buf_free(form);
    free(form);
}

const struct exchange_handler sink_control_handler = {.begin = begin, .data = data, .end = end, .gone = gone};
