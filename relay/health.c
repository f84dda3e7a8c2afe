// SPDX-License-Identifier: Apache-2.0
// Watchers hang in their loop's list and are looked at by one timer, so that a state which changes in any thread reaches
// each of them without a word between threads.
#include "relay/health.h"

#include "net/loop.h"
#include "proto/encoding.h"
#include "proto/grpc.h"
#include "proto/otlp.h"
#include "proto/wire.h"

#define PREFIX        "/grpc.health.v1.Health/"
#define REQUEST_BYTES 4096 // a service's name, compressed or not

enum serving_status { STATUS_SERVING = 1, STATUS_NOT_SERVING = 2, STATUS_SERVICE_UNKNOWN = 3 };

struct question {
    struct question *prev, *next; // while it watches
    struct health_loop *home;
    struct exchange *exchange;
    bool watch;
    enum encoding encoding;
    struct grpc_deframer deframer;
    struct weir_buf body;
    bool known; // the service
    enum serving_status told;
};

struct health_loop {
    struct health *health;
    struct loop *loop;
    struct question *watchers;
    unsigned watcher_count;
    struct loop_timer timer;
};

struct health {
    struct health_options options;
    struct health_loop *loops;
};

static bool is_ours(const struct exchange *exchange)
{
    return exchange->path.len >= sizeof(PREFIX) - 1 && memcmp(exchange->path.data, PREFIX, sizeof(PREFIX) - 1) == 0;
}

static struct health_loop *home_of(struct health *health, const struct exchange *exchange)
{
    size_t i = 0;
    while (health->loops[i].loop != exchange->loop)
        i++;
    assert(i < health->options.loop_count);
    return &health->loops[i];
}

// --- answers --------------------------------------------------------------------------------------------------------------

static const struct exchange_header grpc_type = {"content-type", 12, "application/grpc", 16};

// Trailers-Only.
static void answer_error(struct question *question, int http_status, enum grpc_status code, const char *text)
{
    char number[12], message[256];
    snprintf(number, sizeof(number), "%d", (int)code);
    grpc_message_encode(text, message, sizeof(message));
    const char *accept = encoding_accept(ENCODING_OF_GRPC);
    const struct exchange_header headers[] = {grpc_type,
                                              {"grpc-status", 11, number, strlen(number)},
                                              {"grpc-message", 12, message, strlen(message)},
                                              {"grpc-accept-encoding", 20, accept, strlen(accept)}};
    struct exchange *exchange = question->exchange;
    exchange->user = NULL;
    weir_buf_free(&question->body);
    free(question);
    exchange_answer(exchange, &(struct exchange_answer){.http_status = http_status,
                                                        .headers = headers,
                                                        .header_count = code == GRPC_UNIMPLEMENTED ? 4 : 3});
}

#define MESSAGE_BYTES (GRPC_PREFIX_LEN + 2)
static void message_write(uint8_t message[MESSAGE_BYTES], enum serving_status status)
{
    grpc_prefix_write(message, false, 2);
    message[GRPC_PREFIX_LEN] = WIRE_TAG(1, WIRE_VARINT);
    message[GRPC_PREFIX_LEN + 1] = (uint8_t)status;
}

static enum serving_status status_of(const struct question *question)
{
    const struct health_options *options = &question->home->health->options;
    if (!question->known)
        return STATUS_SERVICE_UNKNOWN;
    return options->serving(options->ctx) ? STATUS_SERVING : STATUS_NOT_SERVING;
}

static void answer_check(struct question *question)
{
    if (!question->known) {
        answer_error(question, 200, GRPC_NOT_FOUND, "unknown service");
        return;
    }
    uint8_t message[MESSAGE_BYTES];
    message_write(message, status_of(question));
    const struct exchange_header trailer = {"grpc-status", 11, "0", 1};
    struct exchange *exchange = question->exchange;
    exchange->user = NULL;
    weir_buf_free(&question->body);
    free(question);
    exchange_answer(exchange, &(struct exchange_answer){.http_status = 200,
                                                        .headers = &grpc_type,
                                                        .header_count = 1,
                                                        .body = {message, sizeof(message)},
                                                        .trailers = &trailer,
                                                        .trailer_count = 1});
}

// --- watching -------------------------------------------------------------------------------------------------------------

static void on_look(struct loop_timer *timer)
{
    struct health_loop *home = WEIR_CONTAINER_OF(timer, struct health_loop, timer);
    uint8_t message[MESSAGE_BYTES];
    for (struct question *question = home->watchers; question != NULL; question = question->next) {
        enum serving_status status = status_of(question);
        if (status == question->told)
            continue;
        question->told = status;
        message_write(message, status);
        exchange_stream_put(question->exchange, (struct weir_slice){message, sizeof(message)});
    }
    if (home->watchers != NULL)
        loop_timer_set(home->loop, timer, HEALTH_LOOK_MS, on_look);
}

static void answer_watch(struct question *question)
{
    struct health_loop *home = question->home;
    if (home->watcher_count >= HEALTH_WATCHERS) {
        answer_error(question, 200, GRPC_RESOURCE_EXHAUSTED, "too many watch already: ask again, or Check");
        return;
    }
    weir_buf_free(&question->body);
    question->next = home->watchers;
    if (question->next != NULL)
        question->next->prev = question;
    home->watchers = question;
    home->watcher_count++;
    question->told = status_of(question);
    uint8_t message[MESSAGE_BYTES];
    message_write(message, question->told);
    exchange_stream(question->exchange, &(struct exchange_answer){.http_status = 200,
                                                                  .headers = &grpc_type,
                                                                  .header_count = 1,
                                                                  .body = {message, sizeof(message)}});
    if (home->timer.due_ns == 0)
        loop_timer_set(home->loop, &home->timer, HEALTH_LOOK_MS, on_look);
}

static void leave(struct question *question)
{
    struct health_loop *home = question->home;
    bool watches = question->prev != NULL || home->watchers == question;
    if (question->prev != NULL)
        question->prev->next = question->next;
    else if (watches)
        home->watchers = question->next;
    if (question->next != NULL)
        question->next->prev = question->prev;
    home->watcher_count -= watches;
    if (home->watchers == NULL)
        loop_timer_clear(&home->timer);
    weir_buf_free(&question->body);
    free(question);
}

// --- questions ------------------------------------------------------------------------------------------------------------

// "" is weir as a whole; the others are the services' names as gRPC has them, between the slashes of the path.
static bool service_known(struct weir_slice name)
{
    if (name.len == 0)
        return true;
    for (int signal = 0; signal < WEIR_SIGNALS; signal++) {
        const char *service = otlp_services[signal].grpc_path + 1;
        if (strcspn(service, "/") == name.len && memcmp(service, name.data, name.len) == 0)
            return true;
    }
    return false;
}

// HealthCheckRequest{1 service}. False: not one.
static bool read_request(struct question *question, struct weir_slice message)
{
    struct wire_reader reader = wire_reader_of(message);
    struct wire_field field;
    struct weir_slice name = {0};
    int rc;
    while ((rc = wire_next(&reader, &field)) > 0)
        if (field.number == 1 && field.type == WIRE_LEN)
            name = field.bytes;
    question->known = rc == 0 && service_known(name);
    return rc == 0;
}

static bool decode_request(struct question *question)
{
    struct weir_slice wire = {question->body.data, question->body.len};
    if (!question->deframer.compressed)
        return read_request(question, wire);
    if (question->encoding == ENCODING_IDENTITY)
        return false; // G10
    struct decoder *decoder = decoder_new(question->encoding, REQUEST_BYTES);
    struct weir_buf plain = {0};
    bool ok = decoder != NULL && decoder_feed(decoder, wire, &plain, NULL) == WEIR_OK &&
              decoder_finish(decoder, &plain, NULL) == WEIR_OK &&
              read_request(question, (struct weir_slice){plain.data, plain.len});
    decoder_free(decoder);
    weir_buf_free(&plain);
    return ok;
}

static bool method_is(const struct exchange *exchange, const char *name)
{
    size_t len = exchange->path.len - (sizeof(PREFIX) - 1);
    return len == strlen(name) && memcmp(exchange->path.data + sizeof(PREFIX) - 1, name, len) == 0;
}

static void begin(struct health *health, struct exchange *exchange)
{
    struct question *question = calloc(1, sizeof(*question));
    if (question == NULL) {
        static const struct exchange_header headers[] = {{"content-type", 12, "application/grpc", 16},
                                                         {"grpc-status", 11, "14", 2}};
        exchange_answer(exchange, &(struct exchange_answer){.http_status = 200, .headers = headers, .header_count = 2});
        return;
    }
    question->home = home_of(health, exchange);
    question->exchange = exchange;
    question->watch = method_is(exchange, "Watch");
    exchange->user = question;
    const struct exchange_header *type = exchange_header(exchange, "content-type");
    const struct exchange_header *encoding = exchange_header(exchange, "grpc-encoding");
    if (exchange->method.len != 4 || memcmp(exchange->method.data, "POST", 4) != 0)
        answer_error(question, 405, GRPC_INTERNAL, "gRPC calls are POST");
    else if (type == NULL || type->value_len < 16 || memcmp(type->value, "application/grpc", 16) != 0)
        answer_error(question, 415, GRPC_INVALID_ARGUMENT, "content-type must be application/grpc");
    else if (!question->watch && !method_is(exchange, "Check"))
        answer_error(question, 200, GRPC_UNIMPLEMENTED, "unknown method: Check and Watch are known");
    else if (encoding != NULL &&
             !encoding_by_name(ENCODING_OF_GRPC, encoding->value, encoding->value_len, &question->encoding))
        answer_error(question, 200, GRPC_UNIMPLEMENTED, "unsupported grpc-encoding");
}

static void take(struct question *question, struct weir_slice data)
{
    while (data.len > 0) {
        struct weir_slice payload = {0};
        struct weir_err err = {0};
        if (grpc_deframer_feed(&question->deframer, &data, &payload, &err) != WEIR_OK) {
            answer_error(question, 200, GRPC_INTERNAL, err.text);
            return;
        }
        if (question->body.len + payload.len > REQUEST_BYTES) {
            answer_error(question, 200, GRPC_RESOURCE_EXHAUSTED, "too large for a question about health");
            return;
        }
        if (!weir_buf_append(&question->body, payload.data, payload.len)) {
            answer_error(question, 200, GRPC_UNAVAILABLE, "out of memory");
            return;
        }
    }
}

static void end(struct question *question)
{
    struct weir_err err = {0};
    if (grpc_deframer_finish(&question->deframer, &err) != WEIR_OK)
        answer_error(question, 200, GRPC_INTERNAL, err.text);
    else if (!decode_request(question))
        answer_error(question, 200, GRPC_INTERNAL, "not a HealthCheckRequest");
    else if (question->watch)
        answer_watch(question);
    else
        answer_check(question);
}

// --- the handler ------------------------------------------------------------------------------------------------------------

static void on_begin(void *ctx, struct exchange *exchange)
{
    struct health *health = ctx;
    if (is_ours(exchange))
        begin(health, exchange);
    else
        health->options.next.begin(health->options.next.ctx, exchange);
}

static void on_data(void *ctx, struct exchange *exchange, struct weir_slice data)
{
    struct health *health = ctx;
    if (is_ours(exchange))
        take(exchange->user, data);
    else
        health->options.next.data(health->options.next.ctx, exchange, data);
}

static void on_end(void *ctx, struct exchange *exchange)
{
    struct health *health = ctx;
    if (is_ours(exchange))
        end(exchange->user);
    else
        health->options.next.end(health->options.next.ctx, exchange);
}

static void on_gone(void *ctx, struct exchange *exchange)
{
    struct health *health = ctx;
    if (!is_ours(exchange))
        health->options.next.gone(health->options.next.ctx, exchange);
    else if (exchange->user != NULL)
        leave(exchange->user);
}

struct exchange_handler health_handler(struct health *health)
{
    return (struct exchange_handler){.ctx = health, .begin = on_begin, .data = on_data, .end = on_end, .gone = on_gone};
}

// --- life -------------------------------------------------------------------------------------------------------------------

int health_new(const struct health_options *options, struct health **out, struct weir_err *err)
{
    struct health *health = calloc(1, sizeof(*health));
    if (health == NULL || (health->loops = calloc(options->loop_count, sizeof(*health->loops))) == NULL) {
        free(health);
        return weir_fail(err, WEIR_E_NOMEM, "out of memory");
    }
    health->options = *options;
    for (size_t i = 0; i < options->loop_count; i++)
        health->loops[i] = (struct health_loop){.health = health, .loop = options->loops[i]};
    health->options.loops = NULL; // the caller's
    *out = health;
    return WEIR_OK;
}

void health_free(struct health *health)
{
    if (health == NULL)
        return;
    for (size_t i = 0; i < health->options.loop_count; i++)
        assert(health->loops[i].watchers == NULL);
    free(health->loops);
    free(health);
}
