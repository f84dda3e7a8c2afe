// SPDX-License-Identifier: Apache-2.0
// One OTLP request: its bytes are kept as they came until the end, then decoded, judged by the rules, recorded and answered.
#include "proto/grpc.h"
#include "proto/otlp.h"
#include "tests/tools/sink/extract.h"
#include "tests/tools/sink/sink.h"

#include <zstd.h>

struct request {
    struct sink *sink;
    struct exchange *exchange;
    enum weir_signal signal;
    enum encoding encoding;
    struct weir_buf wire; // the body; for gRPC the message without its prefix
    struct weir_buf raw;  // decoded
    struct grpc_deframer deframer;
    struct weir_err err; // first thing that is wrong with it
    int err_status;
    struct rule rule;
    struct loop_timer timer;
    json_t *attempt;
};

static void request_free(struct request *request)
{
    if (request->timer.due_ns != 0)
        loop_timer_clear(&request->timer);
    json_decref(request->attempt);
    weir_buf_free(&request->wire);
    weir_buf_free(&request->raw);
    free(request);
}

static void refuse(struct request *request, int status, const char *message)
{
    struct sink_refusal refusal = {.status = status,
                                   .message = message,
                                   .has_retry_delay = request->rule.has_retry_delay,
                                   .retry_delay_ms = request->rule.retry_delay_ms};
    request->sink->records[request->signal].refused_requests++;
    json_object_set_new(request->attempt, "outcome", json_integer(status));
    sink_answer_refused(request->exchange, &refusal);
    request_free(request);
}

static void keep_attempt(struct request *request)
{
    struct sink *sink = request->sink;
    json_t *headers = json_object();
    for (size_t i = 0; i < request->exchange->header_count; i++) {
        const struct exchange_header *h = &request->exchange->headers[i];
        json_object_setn_new(headers, h->name, h->name_len, json_stringn(h->value, h->value_len));
    }
    request->attempt =
        json_pack("{s:s, s:s, s:I, s:s, s:o}", "signal", weir_signal_name(request->signal), "transport",
                  request->exchange->transport == EXCHANGE_GRPC ? "grpc" : "http", "at_ms",
                  (json_int_t)(weir_now_ns() / 1000000), "peer", request->exchange->peer, "headers", headers);
    json_t **slot = &sink->attempts[sink->attempt_count++ % SINK_ATTEMPTS];
    json_decref(*slot);
    *slot = json_incref(request->attempt);
}

static bool find_encoding(struct exchange *exchange, const char *name, enum encoding *encoding)
{
    const struct exchange_header *h = exchange_header(exchange, name);
    *encoding = ENCODING_IDENTITY;
    enum encoding_use use = exchange->transport == EXCHANGE_GRPC ? ENCODING_OF_GRPC : ENCODING_OF_HTTP;
    return h == NULL || encoding_by_name(use, h->value, h->value_len, encoding);
}

static void begin(void *ctx, struct exchange *exchange)
{
    bool grpc = exchange->transport == EXCHANGE_GRPC;
    const char *path = (const char *)exchange->path.data;
    enum weir_signal signal;
    bool known = grpc ? otlp_signal_by_grpc_path(path, exchange->path.len, &signal)
                      : otlp_signal_by_http_path(path, exchange->path.len, &signal);
    struct request *request = calloc(1, sizeof(*request));
    if (request == NULL || !known) {
        free(request);
        struct sink_refusal refusal = {.status = GRPC_UNIMPLEMENTED, .message = "no such service"};
        sink_answer_refused(exchange, &refusal);
        return;
    }
    exchange->user = request;
    request->sink = ctx;
    request->exchange = exchange;
    request->signal = signal;
    keep_attempt(request);
    if (!find_encoding(exchange, grpc ? "grpc-encoding" : "content-encoding", &request->encoding)) {
        exchange->user = NULL;
        refuse(request, grpc ? GRPC_UNIMPLEMENTED : 415, "unknown encoding");
    }
}

static void fail(struct request *request, int status)
{
    if (request->err_status == 0)
        request->err_status = status;
}

static void take_bytes(struct request *request, struct weir_slice data)
{
    if (!weir_buf_append(&request->wire, data.data, data.len)) {
        weir_fail(&request->err, WEIR_E_NOMEM, "out of memory");
        fail(request, GRPC_UNAVAILABLE);
    }
}

static void data(void *ctx, struct exchange *exchange, struct weir_slice data)
{
    struct request *request = exchange->user;
    if (exchange->transport == EXCHANGE_HTTP) {
        take_bytes(request, data);
        return;
    }
    while (data.len > 0 && request->err_status == 0) {
        struct weir_slice payload = {0};
        if (grpc_deframer_feed(&request->deframer, &data, &payload, &request->err) != WEIR_OK)
            fail(request, GRPC_INTERNAL);
        else
            take_bytes(request, payload);
    }
}

static size_t count_frames(const struct weir_buf *wire)
{
    size_t frames = 0;
    for (size_t at = 0; at < wire->len; frames++) {
        size_t len = ZSTD_findFrameCompressedSize(wire->data + at, wire->len - at);
        if (ZSTD_isError(len))
            break;
        at += len;
    }
    return frames;
}

static void decode(struct request *request)
{
    bool grpc = request->exchange->transport == EXCHANGE_GRPC;
    if (grpc && request->err_status == 0 && grpc_deframer_finish(&request->deframer, &request->err) != WEIR_OK)
        fail(request, GRPC_INTERNAL);
    if (grpc && !request->deframer.compressed)
        request->encoding = ENCODING_IDENTITY;
    if (request->err_status != 0)
        return;
    struct decoder *decoder = decoder_new(request->encoding, (size_t)request->sink->max_request_bytes);
    struct weir_slice wire = {request->wire.data, request->wire.len};
    int code = decoder ? decoder_feed(decoder, wire, &request->raw, &request->err) : WEIR_E_NOMEM;
    if (code == WEIR_OK)
        code = decoder_finish(decoder, &request->raw, &request->err);
    decoder_free(decoder);
    if (code == WEIR_E_LIMIT)
        fail(request, grpc ? GRPC_RESOURCE_EXHAUSTED : 413);
    else if (code != WEIR_OK)
        fail(request, GRPC_INVALID_ARGUMENT);
}

struct search {
    int64_t id;
    bool found;
};

static void search_item(void *ctx, const char *stream, int64_t id)
{
    struct search *search = ctx;
    search->found |= id == search->id;
}

// What the rule says about this request. 0: it is taken.
static int judge(struct request *request, const char **why)
{
    const struct rule *rule = &request->rule;
    bool grpc = request->exchange->transport == EXCHANGE_GRPC;
    if (rule->refuse >> request->encoding & 1) {
        *why = "this encoding was switched off";
        return grpc ? GRPC_UNIMPLEMENTED : 415;
    }
    if (rule->limit_bytes != 0 && request->raw.len > rule->limit_bytes) {
        *why = "larger than the limit that was set";
        return grpc ? GRPC_RESOURCE_EXHAUSTED : 413;
    }
    *why = "weir-sink was told to refuse";
    if (rule->poison_id < 0)
        return rule->action == RULE_STATUS ? rule->status : 0;
    struct search search = {.id = rule->poison_id};
    struct weir_slice raw = {request->raw.data, request->raw.len};
    if (extract_items(request->signal, raw, search_item, &search, NULL) != WEIR_OK || !search.found)
        return 0;
    return rule->action == RULE_STATUS ? rule->status : GRPC_INVALID_ARGUMENT;
}

static void write_body(struct sink *sink, const struct request *request)
{
    uint8_t head[5];
    weir_put_u32(head, (uint32_t)request->raw.len);
    head[4] = (uint8_t)request->signal;
    bool written = fwrite(head, sizeof(head), 1, sink->bodies) == 1 &&
                   (request->raw.len == 0 || fwrite(request->raw.data, request->raw.len, 1, sink->bodies) == 1);
    if (!written || fflush(sink->bodies) != 0) {
        perror("weir-sink: --record");
        abort(); // a comparison with a record that lacks requests would mislead
    }
}

struct placing {
    struct record *record;
    const struct exchange_header *header;
};

static void place_item(void *ctx, const char *stream, int64_t id)
{
    struct placing *placing = ctx;
    const struct exchange_header *h = placing->header;
    if (h == NULL || h->value_len != strlen(stream) || memcmp(h->value, stream, h->value_len) != 0)
        placing->record->misplaced++;
    record_item(placing->record, stream, id);
}

// Records what is in the request.
static int record_items(struct request *request)
{
    const char *name = request->sink->stream_header;
    struct weir_slice raw = {request->raw.data, request->raw.len};
    struct placing placing = {.record = &request->sink->records[request->signal]};
    if (name == NULL)
        return extract_items(request->signal, raw, record_item, placing.record, &request->err);
    placing.header = exchange_header(request->exchange, name);
    return extract_items(request->signal, raw, place_item, &placing, &request->err);
}

// Records the request. False: it is not what its signal says.
static bool take(struct request *request)
{
    struct sink *sink = request->sink;
    struct record *record = &sink->records[request->signal];
    if (record_items(request) != WEIR_OK)
        return false;
    struct record_request entry = {.encoding = request->encoding,
                                   .raw_bytes = request->raw.len,
                                   .wire_bytes = request->wire.len,
                                   .frames = request->encoding == ENCODING_ZSTD ? count_frames(&request->wire) : 0};
    record_request(record, &entry);
    record->rejected_items += (uint64_t)request->rule.partial;
    if (sink->bodies != NULL)
        write_body(sink, request);
    return true;
}

static void conclude(struct request *request)
{
    const char *why = request->err.text;
    int status = request->err_status;
    uint64_t items = request->sink->records[request->signal].items;
    if (status == 0)
        status = judge(request, &why);
    if (status == 0 && !take(request)) {
        status = GRPC_INVALID_ARGUMENT;
        why = request->err.text;
    }
    json_object_set_new(request->attempt, "encoding", json_string(encoding_name(request->encoding)));
    json_object_set_new(request->attempt, "raw_bytes", json_integer((json_int_t)request->raw.len));
    json_object_set_new(request->attempt, "wire_bytes", json_integer((json_int_t)request->wire.len));
    items = request->sink->records[request->signal].items - items;
    json_object_set_new(request->attempt, "items", json_integer((json_int_t)items));
    if (status != 0) {
        request->exchange->user = NULL;
        refuse(request, status, why);
        return;
    }
    if (request->rule.action == RULE_CUT) {
        json_object_set_new(request->attempt, "outcome", json_string("cut"));
        sink_cut(request->exchange); // stays until the server notices and calls gone
        return;
    }
    json_object_set_new(request->attempt, "outcome", json_integer(0));
    sink_answer_taken(request->exchange, request->rule.partial);
    request_free(request);
}

static void delay_over(struct loop_timer *timer)
{
    conclude(WEIR_CONTAINER_OF(timer, struct request, timer));
}

static void go_away(struct request *request)
{
    json_object_set_new(request->attempt, "outcome", json_string("goaway"));
    sink_goaway(request->exchange); // stays until the server notices and calls gone
}

static void end(void *ctx, struct exchange *exchange)
{
    struct request *request = exchange->user;
    request->rule = rules_take(&request->sink->rules, exchange->transport, request->signal, weir_now_ns());
    decode(request);
    if (request->rule.action == RULE_HANG)
        json_object_set_new(request->attempt, "outcome", json_string("hang"));
    else if (request->rule.action == RULE_GOAWAY)
        go_away(request);
    else if (request->rule.delay_ms > 0)
        loop_timer_set(request->sink->loop, &request->timer, request->rule.delay_ms, delay_over);
    else
        conclude(request);
}

static void gone(void *ctx, struct exchange *exchange)
{
    struct request *request = exchange->user;
    if (request != NULL)
        request_free(request);
}

void sink_too_large(enum exchange_transport transport, const struct exchange *exchange, struct exchange_answer *answer)
{
    static const struct exchange_header headers[] = {{"content-type", 12, "application/grpc", 16},
                                                     {"grpc-status", 11, "8", 1}};
    *answer = (struct exchange_answer){.http_status = transport == EXCHANGE_GRPC ? 200 : 413,
                                       .headers = headers,
                                       .header_count = transport == EXCHANGE_GRPC ? 2 : 0,
                                       .close = transport == EXCHANGE_HTTP};
}

const struct exchange_handler sink_grpc_handler = {.begin = begin, .data = data, .end = end, .gone = gone};
const struct exchange_handler sink_http_handler = {.begin = begin, .data = data, .end = end, .gone = gone};
