// SPDX-License-Identifier: Apache-2.0
#include "proto/grpc.h"
#include "proto/otlp.h"
#include "proto/verdict.h"
#include "tests/tools/gen/gen.h"

#include <stdio.h>

enum slot_state { SLOT_IDLE, SLOT_SENDING, SLOT_WAITING };

struct slot {
    struct worker *worker;
    enum slot_state state;
    struct client_call call;
    struct client_header headers[GEN_HEADERS + 5];
    struct weir_slice body[2];
    uint8_t prefix[GRPC_PREFIX_LEN];
    char timeout_text[16], stream[96];
    struct payload payload;
    struct emitter raw;
    struct weir_buf encoded;
    struct encoder *encoder;
    uint64_t first_id, items;
    uint32_t tries;
    uint64_t started_ns, due_ns;
};

struct worker {
    struct gen *gen;
    struct client *client;
    struct slot *slots;
    struct gen_counts counts;
    bool ending; // what comes back now was cut off by ourselves
};

static struct weir_slice body_of(const struct slot *slot, bool grpc)
{
    struct weir_slice body = slot->call.response_body;
    if (!grpc)
        return body;
    return body.len < GRPC_PREFIX_LEN ? (struct weir_slice){0}
                                      : (struct weir_slice){body.data + GRPC_PREFIX_LEN, body.len - GRPC_PREFIX_LEN};
}

static struct verdict verdict_of(const struct slot *slot)
{
    const struct gen_options *options = &slot->worker->gen->options;
    struct verdict verdict;
    if (slot->call.error != CLIENT_OK) {
        verdict_transport(client_error_name(slot->call.error), slot->call.error_text, &verdict);
        return verdict;
    }
    struct verdict_answer answer = {
        .http_status = slot->call.http_status,
        .content_type = client_call_header(&slot->call, "content-type"),
        .grpc_status = client_call_header(&slot->call, "grpc-status"),
        .grpc_message = client_call_header(&slot->call, "grpc-message"),
        .grpc_details = client_call_header(&slot->call, "grpc-status-details-bin"),
        .retry_after = client_call_header(&slot->call, "retry-after"),
        .body = body_of(slot, options->grpc),
        .sent_compressed = options->encoding != ENCODING_IDENTITY,
        .sent_raw_bytes = slot->raw.buf.len,
        .now_unix_ns = weir_now_unix_ns(),
    };
    (options->grpc ? verdict_grpc : verdict_http)(&answer, &verdict);
    return verdict;
}

static void acknowledged(struct slot *slot, uint64_t now_ns)
{
    struct gen_counts *counts = &slot->worker->counts;
    counts->acked_items += slot->items;
    counts->raw_bytes += slot->raw.buf.len;
    counts->wire_bytes += slot->encoded.len;
    histogram_add(&counts->latency_us, (now_ns - slot->started_ns) / 1000);
    gen_acked(slot->worker->gen, slot->first_id, slot->items);
    slot->state = SLOT_IDLE;
}

// Exponential from 20 ms, or what the server asked for, but never above --retry-max-ms: tests want pressure, not politeness.
static uint64_t retry_delay_ms(const struct slot *slot, const struct verdict *verdict)
{
    uint64_t delay = (uint64_t)20 << (slot->tries < 10 ? slot->tries : 10);
    if (verdict->retry_after_ms > delay)
        delay = verdict->retry_after_ms;
    uint32_t max = slot->worker->gen->options.retry_max_ms;
    return delay < max ? delay : max;
}

static void call_done(struct client_call *call)
{
    struct slot *slot = call->user;
    struct worker *worker = slot->worker;
    struct gen_counts *counts = &worker->counts;
    uint64_t now_ns = weir_now_ns();
    struct verdict verdict = verdict_of(slot);
    counts->requests++;
    if (verdict.kind == VERDICT_DELIVERED) {
        acknowledged(slot, now_ns);
        return;
    }
    gen_count_status(counts, verdict.code, 1);
    counts->delayed += verdict.retry_after_ms > 0;
    if (call->error != CLIENT_OK && call->bytes_sent)
        counts->uncertain_items += slot->items;
    if (verdict.kind == VERDICT_RETRY && worker->gen->options.retry && !worker->ending) {
        slot->due_ns = now_ns + retry_delay_ms(slot, &verdict) * 1000000;
        slot->state = SLOT_WAITING;
        return;
    }
    counts->failed_items += slot->items;
    slot->state = SLOT_IDLE;
}

static bool encode(struct slot *slot)
{
    struct weir_slice raw = {slot->raw.buf.data, slot->raw.buf.len};
    slot->encoded.len = 0;
    encoder_reset(slot->encoder);
    return encoder_feed(slot->encoder, raw, &slot->encoded, NULL) == WEIR_OK &&
           encoder_finish(slot->encoder, &slot->encoded, NULL) == WEIR_OK;
}

static void add_header(struct slot *slot, const char *name, const char *value)
{
    slot->headers[slot->call.header_count++] = (struct client_header){name, value};
}

static void send_slot(struct slot *slot)
{
    const struct gen_options *options = &slot->worker->gen->options;
    const struct otlp_service *service = &otlp_services[options->signal];
    bool encoded = options->encoding != ENCODING_IDENTITY;
    slot->call = (struct client_call){.path = options->grpc ? service->grpc_path : service->http_path,
                                      .headers = slot->headers,
                                      .timeout_ns = (uint64_t)options->timeout_ms * 1000000,
                                      .done = call_done,
                                      .user = slot};
    add_header(slot, "content-type", options->grpc ? "application/grpc" : "application/x-protobuf");
    if (options->grpc)
        add_header(slot, "grpc-timeout", slot->timeout_text);
    if (encoded)
        add_header(slot, options->grpc ? "grpc-encoding" : "content-encoding", encoding_name(options->encoding));
    for (size_t i = 0; i < options->header_count; i++)
        add_header(slot, options->headers[i].name, options->headers[i].value);
    if (options->tenants > 0)
        add_header(slot, options->tenant_header, slot->stream);
    grpc_prefix_write(slot->prefix, encoded, (uint32_t)slot->encoded.len);
    slot->body[0] = (struct weir_slice){slot->prefix, sizeof(slot->prefix)};
    slot->body[1] = (struct weir_slice){slot->encoded.data, slot->encoded.len};
    slot->call.body = options->grpc ? slot->body : slot->body + 1;
    slot->call.body_count = options->grpc ? 2 : 1;
    if (slot->tries++ > 0)
        slot->worker->counts.retries++;
    else
        slot->worker->counts.sent_items += slot->items;
    slot->state = SLOT_SENDING;
    slot->started_ns = weir_now_ns();
    client_start(slot->worker->client, &slot->call);
}

// Builds and sends a new request in an idle slot. False: there is nothing to send now.
static bool next_request(struct slot *slot, uint64_t *wait_ms)
{
    slot->items = gen_claim(slot->worker->gen, &slot->first_id, wait_ms);
    if (slot->items == 0)
        return false;
    slot->tries = 0;
    const struct gen_options *options = &slot->worker->gen->options;
    if (options->tenants > 0)
        snprintf(slot->stream, sizeof(slot->stream), "tenant-%u",
                 (unsigned)(slot->first_id / options->items_per_request % options->tenants));
    if (!payload_build(&slot->payload, slot->first_id, slot->items, &slot->raw) || !encode(slot)) {
        fputs("weir-gen: out of memory\n", stderr);
        abort();
    }
    send_slot(slot);
    return true;
}

// Starts what can be started. Returns how many slots are busy; lowers *wait_ms to when the next one wants attention.
static uint32_t turn(struct worker *worker, uint64_t *wait_ms)
{
    uint32_t busy = 0;
    bool more = true;
    for (uint32_t i = 0; i < worker->gen->options.in_flight; i++) {
        struct slot *slot = &worker->slots[i];
        uint64_t now_ns = weir_now_ns();
        if (slot->state == SLOT_WAITING && slot->due_ns <= now_ns)
            send_slot(slot);
        else if (slot->state == SLOT_IDLE && more)
            more = next_request(slot, wait_ms);
        if (slot->state == SLOT_WAITING && (slot->due_ns - now_ns) / 1000000 < *wait_ms)
            *wait_ms = (slot->due_ns - now_ns) / 1000000 + 1;
        busy += slot->state != SLOT_IDLE;
    }
    return busy;
}

static bool worker_init(struct worker *worker, const struct worker_start *start, struct weir_err *err)
{
    const struct gen_options *options = &start->gen->options;
    struct client_options to = {.host = options->host,
                                .port = options->port,
                                .use_tls = options->tls.ca_file != NULL,
                                .tls = options->tls,
                                .connect_timeout_ms = 10000,
                                .max_in_flight = options->in_flight,
                                .max_response_bytes = 4u << 20,
                                .user_agent = "weir-gen/1.0"};
    worker->gen = start->gen;
    worker->slots = calloc(options->in_flight, sizeof(*worker->slots));
    if (worker->slots == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "out of memory") == WEIR_OK;
    if ((options->grpc ? client_grpc_new : client_http_new)(&to, &worker->client, err) != WEIR_OK)
        return false;
    for (uint32_t i = 0; i < options->in_flight; i++) {
        struct slot *slot = &worker->slots[i];
        slot->worker = worker;
        grpc_timeout_format((uint64_t)options->timeout_ms * 1000000, slot->timeout_text);
        snprintf(slot->stream, sizeof(slot->stream), "%.60s-%u-%u", options->stream, start->index, i);
        slot->payload = (struct payload){.signal = options->signal,
                                         .stream = slot->stream,
                                         .base_unix_ns = start->gen->base_unix_ns,
                                         .random = options->seed * 1000003 + start->index * 1009 + i + 1,
                                         .target_bytes = (size_t)options->payload_bytes};
        slot->encoder = encoder_new(options->encoding, 0);
        if (slot->encoder == NULL || !payload_fit(&slot->payload, options->items_per_request))
            return weir_fail(err, WEIR_E_NOMEM, "out of memory") == WEIR_OK;
    }
    return true;
}

static void worker_end(struct worker *worker)
{
    worker->ending = true;
    client_free(worker->client); // cuts off what the deadline found under way
    for (uint32_t i = 0; i < worker->gen->options.in_flight; i++) {
        struct slot *slot = &worker->slots[i];
        if (slot->state == SLOT_WAITING)
            worker->counts.failed_items += slot->items;
        encoder_free(slot->encoder);
        weir_buf_free(&slot->raw.buf);
        weir_buf_free(&slot->encoded);
    }
    free(worker->slots);
}

static void add_counts(struct gen *gen, const struct gen_counts *counts)
{
    pthread_mutex_lock(&gen->lock);
    struct gen_counts *total = &gen->total;
    total->sent_items += counts->sent_items;
    total->acked_items += counts->acked_items;
    total->failed_items += counts->failed_items;
    total->uncertain_items += counts->uncertain_items;
    total->delayed += counts->delayed;
    total->requests += counts->requests;
    total->retries += counts->retries;
    total->raw_bytes += counts->raw_bytes;
    total->wire_bytes += counts->wire_bytes;
    for (size_t i = 0; i < GEN_STATUSES && counts->statuses[i].count > 0; i++)
        gen_count_status(total, counts->statuses[i].code, counts->statuses[i].count);
    histogram_merge(&total->latency_us, &counts->latency_us);
    pthread_mutex_unlock(&gen->lock);
}

void *worker_run(void *arg)
{
    struct worker_start *start = arg;
    struct gen *gen = start->gen;
    struct weir_err err = {0};
    struct worker *worker = calloc(1, sizeof(*worker));
    if (worker == NULL || !worker_init(worker, start, &err)) {
        fprintf(stderr, "weir-gen: %s\n", err.text);
        exit(1);
    }
    uint64_t deadline_ns = gen->start_ns + gen->options.deadline_ms * 1000000;
    for (;;) {
        uint64_t now_ns = weir_now_ns(), wait_ms = 100;
        if (now_ns >= deadline_ns)
            break;
        uint32_t busy = turn(worker, &wait_ms);
        bool claimed_all =
            gen->options.items != 0 && atomic_load(&gen->next_id) >= gen->options.first_id + gen->options.items;
        if (busy == 0 && (claimed_all || atomic_load(&gen->stop)))
            break;
        client_poll(worker->client, (int)wait_ms);
    }
    worker_end(worker);
    add_counts(gen, &worker->counts);
    free(worker);
    return NULL;
}
