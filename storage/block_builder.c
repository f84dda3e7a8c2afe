// SPDX-License-Identifier: Apache-2.0
// Writing a block: requests are compressed as they come, so that no raw copy is kept. The value is built in place:
// [header, filled at the end][envelope][frame, growing] and, when sealed, [request table].
#include <zstd.h>

#include "storage/format.h"

struct block_builder {
    ZSTD_CCtx *zstd;
    enum weir_signal signal;
    struct weir_buf envelope;
    struct weir_buf value; // empty, or header + envelope + frame so far
    struct weir_buf table;
    struct block_header header; // what is known so far
    bool broken;                // a frame half-fed: only discard helps
};

struct block_builder *block_builder_new(enum weir_signal signal, struct weir_slice envelope, int level)
{
    assert((unsigned)signal < WEIR_SIGNALS && envelope.len <= BLOCK_ENVELOPE_BYTES_MAX);
    struct block_builder *builder = calloc(1, sizeof(*builder));
    if (builder == NULL)
        return NULL;
    builder->signal = signal;
    builder->zstd = ZSTD_createCCtx();
    if (builder->zstd == NULL || !weir_buf_append(&builder->envelope, envelope.data, envelope.len) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(builder->zstd, ZSTD_c_compressionLevel, level)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(builder->zstd, ZSTD_c_checksumFlag, 1))) {
        block_builder_free(builder);
        return NULL;
    }
    return builder;
}

void block_builder_free(struct block_builder *builder)
{
    if (builder == NULL)
        return;
    ZSTD_freeCCtx(builder->zstd);
    weir_buf_free(&builder->envelope);
    weir_buf_free(&builder->value);
    weir_buf_free(&builder->table);
    free(builder);
}

// Open and empty again; memory for compression and table is kept.
static void builder_reset(struct block_builder *builder)
{
    ZSTD_CCtx_reset(builder->zstd, ZSTD_reset_session_only);
    builder->table.len = 0;
    builder->header = (struct block_header){0};
    builder->broken = false;
}

void block_builder_discard(struct block_builder *builder)
{
    builder->value.len = 0;
    builder_reset(builder);
}

int block_builder_set_envelope(struct block_builder *builder, struct weir_slice envelope, struct weir_err *err)
{
    assert(builder->header.requests == 0 && builder->value.len == 0 && envelope.len <= BLOCK_ENVELOPE_BYTES_MAX);
    size_t before = builder->envelope.len;
    builder->envelope.len = 0;
    if (weir_buf_append(&builder->envelope, envelope.data, envelope.len))
        return WEIR_OK;
    builder->envelope.len = before;
    return weir_fail(err, WEIR_E_NOMEM, "block: no memory for an envelope of %zu bytes", envelope.len);
}

size_t block_builder_raw_bytes(const struct block_builder *builder)
{
    return builder->header.raw_bytes;
}

uint32_t block_builder_requests(const struct block_builder *builder)
{
    return builder->header.requests;
}

bool block_builder_full(const struct block_builder *builder)
{
    return builder->header.raw_bytes >= BLOCK_RAW_BYTES_TARGET || builder->header.requests >= BLOCK_REQUESTS_MAX ||
           (builder->signal == WEIR_PROFILES && builder->header.requests > 0);
}

static void put_varint(struct weir_buf *buf, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf->data[buf->len++] = (uint8_t)(v | 0x80);
    buf->data[buf->len++] = (uint8_t)v;
}

// Feeds `raw` to the frame; with ZSTD_e_end until the frame is whole.
static int builder_compress(struct block_builder *builder, struct weir_slice raw, ZSTD_EndDirective end,
                            struct weir_err *err)
{
    ZSTD_inBuffer in = {raw.data, raw.len, 0};
    for (;;) {
        struct weir_buf *value = &builder->value;
        if (!weir_buf_reserve(value, 2048 + raw.len / 4))
            return weir_fail(err, WEIR_E_NOMEM, "block: no memory for its frame behind %zu bytes", value->len);
        ZSTD_outBuffer out = {value->data + value->len, value->cap - value->len, 0};
        size_t left = ZSTD_compressStream2(builder->zstd, &out, &in, end);
        value->len += out.pos;
        if (ZSTD_isError(left))
            return weir_fail(err, WEIR_E_NOMEM, "block: zstd: %s", ZSTD_getErrorName(left));
        if (end == ZSTD_e_end ? left == 0 : in.pos == in.size)
            return WEIR_OK;
    }
}

// Header space and envelope, before the first byte of the frame.
static bool builder_begin(struct block_builder *builder)
{
    if (builder->value.len > 0)
        return true;
    if (!weir_buf_reserve(&builder->value, BLOCK_HEADER_BYTES + builder->envelope.len + 4096))
        return false;
    builder->value.len = BLOCK_HEADER_BYTES;
    return weir_buf_append(&builder->value, builder->envelope.data, builder->envelope.len);
}

static uint64_t earlier(uint64_t a, uint64_t b) // 0 = none
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

int block_builder_add(struct block_builder *builder, struct weir_slice raw, const struct block_request *request,
                      struct weir_err *err)
{
    struct block_header *h = &builder->header;
    if (builder->broken)
        return weir_fail(err, WEIR_E_NOMEM, "block: an earlier request failed half-way");
    if (raw.len > BLOCK_RAW_BYTES_MAX - h->raw_bytes || h->requests >= BLOCK_REQUESTS_MAX ||
        (builder->signal == WEIR_PROFILES && h->requests > 0))
        return weir_fail(err, WEIR_E_LIMIT, "block: %zu more bytes do not fit with %u requests of %llu bytes", raw.len,
                         h->requests, (unsigned long long)h->raw_bytes);
    builder->broken = true;
    if (!weir_buf_reserve(&builder->table, 20) || !builder_begin(builder))
        return weir_fail(err, WEIR_E_NOMEM, "block: no memory for a request of %zu bytes", raw.len);
    int rc = builder_compress(builder, raw, ZSTD_e_continue, err);
    if (rc != WEIR_OK)
        return rc;
    put_varint(&builder->table, raw.len);
    put_varint(&builder->table, request->items);
    h->requests++;
    h->items += request->items;
    h->raw_bytes += raw.len;
    h->received_first_ns = earlier(h->received_first_ns, request->received_ns);
    h->time_min_ns = earlier(h->time_min_ns, request->time_min_ns);
    if (request->received_ns > h->received_last_ns)
        h->received_last_ns = request->received_ns;
    if (request->time_max_ns > h->time_max_ns)
        h->time_max_ns = request->time_max_ns;
    builder->broken = false;
    return WEIR_OK;
}

int block_builder_seal(struct block_builder *builder, struct block **out, struct weir_err *err)
{
    assert(builder->header.requests > 0);
    *out = NULL;
    if (builder->broken)
        return weir_fail(err, WEIR_E_NOMEM, "block: a request failed half-way");
    builder->broken = true;
    int rc = builder_compress(builder, (struct weir_slice){0}, ZSTD_e_end, err);
    if (rc != WEIR_OK)
        return rc;
    struct weir_buf *value = &builder->value;
    size_t body = BLOCK_HEADER_BYTES;
    struct block_header *h = &builder->header;
    h->signal = builder->signal;
    h->codec = BLOCK_CODEC_ZSTD;
    h->envelope_bytes = (uint32_t)builder->envelope.len;
    h->frame_bytes = value->len - body - builder->envelope.len;
    h->table_bytes = (uint32_t)builder->table.len;
    struct block *block = calloc(1, sizeof(*block));
    if (block == NULL || !weir_buf_append(value, builder->table.data, builder->table.len)) {
        free(block);
        return weir_fail(err, WEIR_E_NOMEM, "block: no memory to seal %zu bytes", value->len);
    }
    h->body_checksum = format_checksum(value->data + body, value->len - body);
    block_header_put(value->data, h);
    block->signal = h->signal;
    block->requests = h->requests;
    block->items = h->items;
    block->raw_bytes = h->raw_bytes;
    block->value = *value;
    *value = (struct weir_buf){0};
    builder_reset(builder);
    *out = block;
    return WEIR_OK;
}

void block_free(struct block *block)
{
    if (block == NULL)
        return;
    weir_buf_free(&block->value);
    free(block);
}
