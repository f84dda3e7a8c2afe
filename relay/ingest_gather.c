// SPDX-License-Identifier: Apache-2.0
// Requests whose envelope is not empty: gathered by it, so that no block holds two tenants' data.
//
// Happy path: a request joins those of its envelope; when the writer is free each gathering becomes a block, in the order they were begun.
// One that is full goes at once; so does the oldest when there would be too many. Failure modes: no memory to gather, compress or seal ->
// the requests concerned are refused, retryable; the other gatherings do not suffer.
#include "relay/envelope.h"
#include "relay/ingest_priv.h"

static struct weir_slice trimmed(const struct exchange_header *header)
{
    struct weir_slice value = {(const uint8_t *)header->value, header->value_len};
    for (; value.len > 0 && (value.data[0] == ' ' || value.data[0] == '\t'); value.len--)
        value.data++;
    while (value.len > 0 && (value.data[value.len - 1] == ' ' || value.data[value.len - 1] == '\t'))
        value.len--;
    return value;
}

bool ingest_read_envelope(struct request *request, bool alone, enum refusal *why, struct weir_err *err)
{
    struct ingest *ingest = request->ingest;
    const struct exchange *exchange = request->exchange;
    struct envelope envelope = {.alone = alone};
    uint8_t handoff[HANDOFF_BYTES];
    if (request->claim.origin != NULL) {
        handoff_put(&request->claim.handoff, handoff);
        envelope.handoff = (struct weir_slice){handoff, sizeof(handoff)};
    }
    ingest->envelope.len = 0;
    for (size_t k = 0; k < ingest->options.keep_header_count; k++) {
        const char *name = ingest->options.keep_headers[k];
        size_t name_len = strlen(name);
        for (size_t i = 0; i < exchange->header_count; i++) {
            const struct exchange_header *h = &exchange->headers[i];
            if (h->name_len != name_len || memcmp(h->name, name, name_len) != 0)
                continue;
            if (envelope.count == ENVELOPE_HEADERS_MAX) {
                *why = REFUSAL_HEADERS;
                weir_fail(err, WEIR_E_LIMIT, "more than %u headers are to be kept", ENVELOPE_HEADERS_MAX);
                return false;
            }
            struct envelope_header *kept = &envelope.headers[envelope.count++];
            kept->name = (struct weir_slice){(const uint8_t *)name, name_len};
            kept->value = trimmed(h);
        }
    }
    int rc = envelope_encode(&envelope, &ingest->envelope, err);
    *why = rc == WEIR_E_NOMEM ? REFUSAL_INTERNAL : rc == WEIR_E_LIMIT ? REFUSAL_HEADERS : REFUSAL_MALFORMED;
    return rc == WEIR_OK;
}

// --- to the writer ----------------------------------------------------------------------------------------------------------

// Puts the requests into the block. What they hold is not needed afterwards; their promise stands until the answer.
static int compress(struct block_builder *builder, const struct gathering *g, struct weir_err *err)
{
    int rc = block_builder_set_envelope(builder, (struct weir_slice){g->envelope.data, g->envelope.len}, err);
    for (struct request *r = g->first; r != NULL && rc == WEIR_OK; r = r->next) {
        struct block_request kept = {.items = r->items,
                                     .time_min_ns = r->time_min_ns,
                                     .time_max_ns = r->time_max_ns,
                                     .received_ns = r->received_unix_ns};
        rc = block_builder_add(builder, (struct weir_slice){r->raw.data, r->raw_bytes}, &kept, err);
        if (r->raw.cap > INGEST_RAW_KEPT_BYTES)
            weir_buf_free(&r->raw);
    }
    return rc;
}

// Seals gathering `i`, which is spare then.
static void seal(struct ingest *ingest, struct gatherings *all, size_t i, struct block ***last)
{
    struct gathering *g = all->at[i];
    struct weir_err err = {0};
    struct block *block = NULL;
    all->count--;
    memmove(&all->at[i], &all->at[i + 1], (all->count - i) * sizeof(all->at[0]));
    all->at[all->count] = g;
    if (compress(all->builder, g, &err) == WEIR_OK) {
        block = ingest_batch_seal(ingest, all->builder, g->first);
    } else {
        block_builder_discard(all->builder);
        ingest_refuse_all(g->first, REFUSAL_INTERNAL, err.text);
        ingest_batch_count(ingest, -(int64_t)g->raw_bytes);
    }
    g->first = NULL;
    if (block == NULL)
        return;
    **last = block;
    *last = &block->next;
}

void ingest_gather_seal(struct ingest *ingest, enum weir_signal signal, struct block ***last)
{
    struct gatherings *all = &ingest->gatherings[signal];
    while (all->count > 0)
        seal(ingest, all, 0, last);
}

// --- in ---------------------------------------------------------------------------------------------------------------------

static size_t find(const struct gatherings *all, const struct weir_buf *envelope)
{
    size_t i = 0;
    while (i < all->count && (all->at[i]->envelope.len != envelope->len ||
                              memcmp(all->at[i]->envelope.data, envelope->data, envelope->len) != 0))
        i++;
    return i;
}

// A further gathering, for ingest->envelope. NULL: out of memory.
static struct gathering *begin(struct ingest *ingest, enum weir_signal signal, struct block ***last)
{
    struct gatherings *all = &ingest->gatherings[signal];
    if (all->count == INGEST_GATHERINGS)
        seal(ingest, all, 0, last);
    if (all->builder == NULL && (all->builder = block_builder_new(signal, (struct weir_slice){.data = NULL, .len = 0},
                                                                  INGEST_ZSTD_LEVEL)) == NULL)
        return NULL;
    if (all->at[all->count] == NULL && (all->at[all->count] = calloc(1, sizeof(struct gathering))) == NULL)
        return NULL;
    struct gathering *g = all->at[all->count];
    g->envelope.len = 0;
    if (!weir_buf_append(&g->envelope, ingest->envelope.data, ingest->envelope.len))
        return NULL;
    g->first = NULL;
    g->last = &g->first;
    g->requests = 0;
    g->raw_bytes = 0;
    all->count++;
    return g;
}

void ingest_gather(struct request *request, bool alone, struct block ***last)
{
    struct ingest *ingest = request->ingest;
    struct gatherings *all = &ingest->gatherings[request->signal];
    size_t i = find(all, &ingest->envelope);
    if (i < all->count && (all->at[i]->raw_bytes + request->raw.len > BLOCK_RAW_BYTES_TARGET ||
                           all->at[i]->requests == BLOCK_REQUESTS_MAX)) {
        seal(ingest, all, i, last);
        i = all->count;
    }
    struct gathering *g = i < all->count ? all->at[i] : begin(ingest, request->signal, last);
    if (g == NULL) {
        ingest_request_refuse(request, REFUSAL_INTERNAL, "out of memory");
        return;
    }
    request->raw_bytes = request->raw.len;
    request->next = NULL;
    *g->last = request;
    g->last = &request->next;
    g->requests++;
    g->raw_bytes += request->raw_bytes;
    ingest_batch_count(ingest, (int64_t)request->raw_bytes);
    // A block of profiles is full with one (C2).
    if (alone || request->signal == WEIR_PROFILES || g->raw_bytes >= BLOCK_RAW_BYTES_TARGET)
        seal(ingest, all, find(all, &g->envelope), last);
}

void ingest_gather_dispose(struct ingest *ingest)
{
    for (int signal = 0; signal < WEIR_SIGNALS; signal++) {
        struct gatherings *all = &ingest->gatherings[signal];
        assert(all->count == 0);
        for (size_t i = 0; i < INGEST_GATHERINGS && all->at[i] != NULL; i++) {
            weir_buf_free(&all->at[i]->envelope);
            free(all->at[i]);
        }
        block_builder_free(all->builder);
    }
    weir_buf_free(&ingest->envelope);
}
