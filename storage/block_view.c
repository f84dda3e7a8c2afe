// SPDX-License-Identifier: Apache-2.0
// Reading a block. What is stored is input like any other: lengths are checked before they are used.
#include <pthread.h>
#include <zstd.h>

#include "storage/format.h"

int block_view_parse(struct weir_slice value, struct block_view *out, struct weir_err *err)
{
    struct block_header h;
    *out = (struct block_view){0};
    int rc = block_header_get(value, &h, err);
    if (rc != WEIR_OK)
        return rc;
    const uint8_t *body = value.data + BLOCK_HEADER_BYTES;
    if (format_checksum(body, value.len - BLOCK_HEADER_BYTES) != h.body_checksum)
        return weir_fail(err, WEIR_E_CORRUPT, "block %llu: checksum of its %zu bytes does not match",
                         (unsigned long long)h.number, value.len);
    *out = (struct block_view){
        .number = h.number,
        .signal = h.signal,
        .codec = (enum block_codec)h.codec,
        .requests = h.requests,
        .items = h.items,
        .raw_bytes = h.raw_bytes,
        .received_first_ns = h.received_first_ns,
        .received_last_ns = h.received_last_ns,
        .time_min_ns = h.time_min_ns,
        .time_max_ns = h.time_max_ns,
        .items_before = h.before.items[h.signal],
        .raw_bytes_before = h.before.raw_bytes[h.signal],
        .envelope = {body, h.envelope_bytes},
        .frame = {body + h.envelope_bytes, h.frame_bytes},
        .table = {body + h.envelope_bytes + h.frame_bytes, h.table_bytes},
    };
    return WEIR_OK;
}

static bool get_varint(struct weir_slice in, size_t *cursor, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; shift < 64 && *cursor < in.len; shift += 7) {
        uint8_t byte = in.data[(*cursor)++];
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return shift < 63 || byte <= 1;
    }
    return false;
}

int block_table_next(const struct block_view *view, size_t *cursor, struct block_entry *out)
{
    if (*cursor >= view->table.len)
        return WEIR_E_AGAIN;
    if (!get_varint(view->table, cursor, &out->raw_bytes) || !get_varint(view->table, cursor, &out->items) ||
        out->raw_bytes > view->raw_bytes)
        return WEIR_E_CORRUPT;
    return WEIR_OK;
}

// One decompression context a thread: making one costs as much as decoding a small block.
static pthread_key_t dctx_key;
static pthread_once_t dctx_once = PTHREAD_ONCE_INIT;
static bool dctx_key_made;

static void dctx_free(void *dctx)
{
    ZSTD_freeDCtx(dctx);
}

static void dctx_key_make(void)
{
    dctx_key_made = pthread_key_create(&dctx_key, dctx_free) == 0;
}

static ZSTD_DCtx *dctx_of_thread(void)
{
    pthread_once(&dctx_once, dctx_key_make);
    if (!dctx_key_made)
        return NULL;
    ZSTD_DCtx *dctx = pthread_getspecific(dctx_key);
    if (dctx != NULL)
        return dctx;
    dctx = ZSTD_createDCtx();
    if (dctx != NULL && pthread_setspecific(dctx_key, dctx) != 0) {
        ZSTD_freeDCtx(dctx);
        return NULL;
    }
    return dctx;
}

int block_view_decode(const struct block_view *view, struct weir_buf *out, struct weir_err *err)
{
    unsigned long long number = view->number;
    if (view->codec == BLOCK_CODEC_NONE) {
        if (view->frame.len != view->raw_bytes)
            return weir_fail(err, WEIR_E_CORRUPT, "block %llu: %zu bytes stored, %llu expected", number,
                             view->frame.len, (unsigned long long)view->raw_bytes);
        return weir_buf_append(out, view->frame.data, view->frame.len)
                   ? WEIR_OK
                   : weir_fail(err, WEIR_E_NOMEM, "block %llu: no memory for %zu bytes", number, view->frame.len);
    }
    ZSTD_DCtx *dctx = dctx_of_thread();
    if (dctx == NULL || !weir_buf_reserve(out, view->raw_bytes + 1))
        return weir_fail(err, WEIR_E_NOMEM, "block %llu: no memory for %llu bytes", number,
                         (unsigned long long)view->raw_bytes);
    // zstd never writes past the capacity given, and reads concatenated frames to the end of its input.
    size_t n = ZSTD_decompressDCtx(dctx, out->data + out->len, view->raw_bytes, view->frame.data, view->frame.len);
    if (ZSTD_isError(n))
        return weir_fail(err, WEIR_E_CORRUPT, "block %llu: zstd: %s", number, ZSTD_getErrorName(n));
    if (n != view->raw_bytes)
        return weir_fail(err, WEIR_E_CORRUPT, "block %llu: decodes to %zu bytes, not %llu", number, n,
                         (unsigned long long)view->raw_bytes);
    out->len += n;
    return WEIR_OK;
}
