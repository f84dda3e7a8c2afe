// SPDX-License-Identifier: Apache-2.0
// The flow of one request: admission, deframing, decompression, validation. See ingest.h for the picture.
#include "relay/ingest_priv.h"
#include "relay/log.h"

#include <math.h>

const double ingest_ack_bounds[INGEST_ACK_BUCKETS] = {
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, (double)INFINITY};

#define SPARE_BUFFER_BYTES (64u * 1024u) // a spare request keeps at most so much

static inline void add(atomic_uint_fast64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

// --- requests, reused ------------------------------------------------------------------------------------

static struct request *request_new(struct ingest *ingest, struct exchange *exchange)
{
    struct request *request = ingest->spare;
    struct weir_buf raw = {0};
    if (request != NULL) {
        ingest->spare = request->next;
        ingest->spare_count--;
        raw = request->raw;
        raw.len = 0;
    } else if ((request = malloc(sizeof(*request))) == NULL) {
        return NULL;
    }
    *request = (struct request){.ingest = ingest,
                                .exchange = exchange,
                                .transport = exchange->transport,
                                .raw = raw,
                                .started_ns = weir_now_ns(),
                                .received_unix_ns = weir_now_unix_ns()};
    return request;
}

void ingest_request_free(struct request *request)
{
    struct ingest *ingest = request->ingest;
    loop_timer_clear(&request->deadline);
    origins_release(ingest->options.origins, &request->claim);
    ingest_receiving_remove(request);
    ingest_promise_earned(request, true);
    ingest_decoder_give(request);
    atomic_fetch_sub_explicit(&ingest->options.budget->promised, request->promised_bytes, memory_order_relaxed);
    if (request->exchange != NULL)
        request->exchange->user = NULL;
    if (request->raw.cap > SPARE_BUFFER_BYTES)
        weir_buf_free(&request->raw);
    if (ingest->spare_count >= INGEST_SPARE_REQUESTS) {
        weir_buf_free(&request->raw);
        free(request);
        return;
    }
    request->next = ingest->spare;
    ingest->spare = request;
    ingest->spare_count++;
}

// --- ends -------------------------------------------------------------------------------------------------------------

static void count_refusal(struct ingest *ingest, enum exchange_transport transport, unsigned signal, enum refusal why)
{
    add(&ingest->counters.refused[transport][signal][why], 1);
}

// What is refused for good its sender drops: a person should hear who sends what. Refusals that pass are told by what causes them.
static void tell_refusal(const struct request *request, enum refusal why, const char *text)
{
    static struct log_limit limit = LOG_LIMIT(10000);
    if (refusal_rows[why].retry_after_ms > 0 || request->exchange == NULL)
        return;
    log_event_limited(&limit, LOG_WARN, "request_refused", "a request was refused for good: its sender will drop it",
                      LOG_STR("reason", refusal_rows[why].reason), LOG_STR("peer", request->exchange->peer),
                      LOG_STR("signal", request->signal < WEIR_SIGNALS ? weir_signal_name(request->signal) : ""),
                      LOG_STR("error", text));
}

void ingest_request_refuse(struct request *request, enum refusal why, const char *text)
{
    count_refusal(request->ingest, request->transport, request->signal, why);
    tell_refusal(request, why, text);
    struct exchange *exchange = request->exchange;
    ingest_request_free(request);
    if (exchange != NULL)
        ingest_answer_refusal(exchange, why, text);
}

void ingest_request_refuse_part(struct request *request, const char *repeat)
{
    struct exchange *exchange = request->exchange;
    count_refusal(request->ingest, request->transport, request->signal, REFUSAL_REPEATED_PART);
    ingest_request_free(request);
    ingest_answer_part(exchange, repeat);
}

void ingest_request_accept(struct request *request)
{
    struct ingest_counters *counters = &request->ingest->counters;
    uint64_t ack_ns = weir_now_ns() - request->started_ns;
    size_t bucket = 0;
    while ((double)ack_ns / 1e9 > ingest_ack_bounds[bucket])
        bucket++;
    add(&counters->accepted[request->transport][request->signal].requests, 1);
    add(&counters->accepted[request->transport][request->signal].items, request->items);
    add(&counters->accepted[request->transport][request->signal].bytes, request->raw_bytes);
    add(&counters->accepted[request->transport][request->signal].ack_buckets[bucket], 1);
    add(&counters->accepted[request->transport][request->signal].ack_sum_us, ack_ns / 1000);
    atomic_store_explicit(&counters->accepted[request->transport][request->signal].last_received_unix_ns,
                          request->received_unix_ns, memory_order_relaxed);
    struct exchange *exchange = request->exchange;
    ingest_request_free(request);
    if (exchange != NULL)
        ingest_answer_ok(exchange, false);
}

static void on_deadline(struct loop_timer *timer)
{
    struct request *request = WEIR_CONTAINER_OF(timer, struct request, deadline);
    struct exchange *exchange = request->exchange;
    if (exchange == NULL)
        return;
    // In a block already: it becomes durable all the same, and the client's retry a duplicate (G37).
    bool in_block = request->raw_bytes > 0;
    count_refusal(request->ingest, request->transport, request->signal, REFUSAL_DEADLINE);
    exchange->user = NULL;
    request->exchange = NULL;
    if (!in_block)
        ingest_request_free(request);
    ingest_answer_refusal(exchange, REFUSAL_DEADLINE, "the deadline passed before the data was durable");
}

// --- the handler ------------------------------------------------------------------------------------------------------

static struct ingest *ingest_of(void *ctx, const struct exchange *exchange)
{
    const struct ingest_set *set = ctx;
    for (size_t i = 0; i < set->count; i++)
        if (set->loops[i] == exchange->loop)
            return set->ingests[i];
    assert(!"an exchange of a loop that is not ours");
    return NULL;
}

#define DRAINING_TEXT "weir drains, by command, and takes no data: try again, another replica or this one will take it"

static bool is_draining(const struct ingest *ingest)
{
    const atomic_bool *draining = ingest->options.draining;
    return draining != NULL && atomic_load(draining);
}

// Whether data can be taken at all just now: before a byte of the body is read (E12, E14, E15).
static bool admits(struct ingest *ingest, enum refusal *why, const char **text)
{
    if (atomic_load_explicit(ingest->options.refusing, memory_order_relaxed)) {
        *why = REFUSAL_SHUTTING_DOWN;
        *text = "weir is shutting down: try again, another replica or the restarted one will take it";
        return false;
    }
    if (is_draining(ingest)) {
        *why = REFUSAL_DRAINING;
        *text = DRAINING_TEXT;
        return false;
    }
    switch (spool_state_now(ingest->options.spool)) {
    case SPOOL_OK:
        return true;
    case SPOOL_FULL:
        *why = REFUSAL_SPOOL_FULL;
        *text = "the spool is full: data is taken again as soon as the upstreams have taken some";
        return false;
    case SPOOL_FAILED:
    case SPOOL_READ_ONLY:
        break;
    }
    *why = REFUSAL_DISK_FAILED;
    *text = "the spool's disk fails: nothing can be made durable";
    return false;
}

// Before anything else is looked at (P24), and before a byte of the body is read (E10, G44).
static bool is_admitted(const struct ingest *ingest, const struct exchange *exchange, const char **text)
{
    if (ingest->options.tokens == NULL)
        return true;
    const struct exchange_header *header = exchange_header(exchange, "authorization");
    *text =
        header == NULL ? "a token is needed: authorization: Bearer TOKEN" : "this is not a token that is known here";
    return header != NULL &&
           tokens_admit(ingest->options.tokens, (struct weir_slice){(const uint8_t *)header->value, header->value_len});
}

static void on_begin(void *ctx, struct exchange *exchange)
{
    struct ingest *ingest = ingest_of(ctx, exchange);
    struct request *request = request_new(ingest, exchange);
    if (request == NULL) {
        count_refusal(ingest, exchange->transport, INGEST_NO_SIGNAL, REFUSAL_INTERNAL);
        ingest_answer_refusal(exchange, REFUSAL_INTERNAL, "out of memory");
        return;
    }
    enum refusal why = REFUSAL_INTERNAL;
    const char *text = NULL;
    uint64_t timeout_ns = 0;
    struct weir_err err = {0};
    request->signal = INGEST_NO_SIGNAL;
    if (!is_admitted(ingest, exchange, &text)) {
        ingest_request_refuse(request, REFUSAL_UNAUTHENTICATED, text);
        return;
    }
    if (!ingest_read_head(exchange, request, &timeout_ns, &why, &err)) {
        ingest_request_refuse(request, why, err.text);
        return;
    }
    // Known to be too much before its body comes; it is kept once the body is in.
    if (ingest->options.keep_header_count > 0 && !ingest_read_envelope(request, false, &why, &err)) {
        ingest_request_refuse(request, why, err.text);
        return;
    }
    if (!admits(ingest, &why, &text)) {
        ingest_request_refuse(request, why, text);
        return;
    }
    ingest_receiving_add(request);
    if (exchange->content_length != UINT64_MAX && !ingest_take_length(request, exchange->content_length))
        return;
    if (!ingest_take_encoding(request))
        return;
    exchange->user = request;
    if (timeout_ns > 0)
        loop_timer_set(ingest->options.loop, &request->deadline, timeout_ns / 1000000, on_deadline);
}

static void on_data_grpc(void *ctx, struct exchange *exchange, struct weir_slice data)
{
    struct request *request = exchange->user;
    while (data.len > 0) {
        struct weir_slice payload = {0};
        struct weir_err err = {0};
        bool had_prefix = request->deframer.prefix_len == GRPC_PREFIX_LEN;
        if (grpc_deframer_feed(&request->deframer, &data, &payload, &err) != WEIR_OK) {
            ingest_request_refuse(request, REFUSAL_FRAMING, err.text);
            return;
        }
        if (!had_prefix && request->deframer.prefix_len == GRPC_PREFIX_LEN && !ingest_take_prefix(request))
            return;
        if (payload.len > 0 && !ingest_take_payload(request, payload))
            return;
    }
}

static void on_data_http(void *ctx, struct exchange *exchange, struct weir_slice data)
{
    ingest_take_payload(exchange->user, data);
}

static void on_end(void *ctx, struct exchange *exchange)
{
    struct request *request = exchange->user;
    struct weir_err err = {0};
    if (request->transport == EXCHANGE_GRPC && grpc_deframer_finish(&request->deframer, &err) != WEIR_OK) {
        ingest_request_refuse(request, REFUSAL_FRAMING, err.text);
        return;
    }
    if (!ingest_take_end(request))
        return;
    // Again, now that the body is promised: "drained" means that nothing comes behind it, and it waits for what is promised.
    atomic_thread_fence(memory_order_seq_cst);
    if (is_draining(request->ingest)) {
        ingest_request_refuse(request, REFUSAL_DRAINING, DRAINING_TEXT);
        return;
    }
    struct otlp_walk_options options = {.pass_bad_utf8 = request->ingest->options.pass_bad_utf8};
    struct otlp_summary summary;
    if (otlp_walk(request->signal, request->raw.data, request->raw.len, &options, &summary, &err) != WEIR_OK) {
        ingest_request_refuse(request, REFUSAL_MALFORMED, err.text);
        return;
    }
    // Nothing in it: OK, and nothing to keep (E22, G30).
    if (summary.items == 0) {
        ingest_request_accept(request);
        return;
    }
    ingest_batch_add(request, &summary);
}

static void on_gone(void *ctx, struct exchange *exchange)
{
    struct request *request = exchange->user;
    if (request == NULL)
        return;
    request->exchange = NULL;
    loop_timer_clear(&request->deadline);
    if (request->raw_bytes == 0)
        ingest_request_free(request); // the body was still coming: nothing is stored (E23)
}

const struct exchange_handler ingest_grpc_handler = {
    .begin = on_begin, .data = on_data_grpc, .end = on_end, .gone = on_gone};
const struct exchange_handler ingest_http_handler = {
    .begin = on_begin, .data = on_data_http, .end = on_end, .gone = on_gone};

// --- life -------------------------------------------------------------------------------------------------------------

struct ingest *ingest_new(const struct ingest_options *options)
{
    struct ingest *ingest = calloc(1, sizeof(*ingest));
    if (ingest == NULL)
        return NULL;
    ingest->options = *options;
    if (ingest_batch_init(ingest) != WEIR_OK) {
        ingest_free(ingest);
        return NULL;
    }
    return ingest;
}

void ingest_set_server(struct ingest *ingest, struct server *server)
{
    ingest->server = server;
}

void ingest_free(struct ingest *ingest)
{
    if (ingest == NULL)
        return;
    assert(ingest->at_writer == 0);
    ingest_batch_dispose(ingest);
    while (ingest->spare != NULL) {
        struct request *request = ingest->spare;
        ingest->spare = request->next;
        weir_buf_free(&request->raw);
        free(request);
    }
    for (int encoding = 0; encoding < ENCODINGS; encoding++)
        while (ingest->decoder_count[encoding] > 0)
            decoder_free(ingest->decoders[encoding][--ingest->decoder_count[encoding]]);
    free(ingest);
}

const struct ingest_counters *ingest_counters(const struct ingest *ingest)
{
    return &ingest->counters;
}
