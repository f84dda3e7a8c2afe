// SPDX-License-Identifier: Apache-2.0
// Reading and writing the records of deadletter.mdb. What is stored is input like any other: lengths are checked before they are used.
#include "storage/dead_letter.h"
#include "storage/segment.h"
#include "storage/state.h"

void letter_totals_put(uint8_t out[LETTER_TOTALS_BYTES], const struct letter_totals *totals)
{
    record_begin(out, "WDLS", LETTER_TOTALS_BYTES);
    weir_put_u64(out + 16, totals->requests);
    weir_put_u64(out + 24, totals->items);
    weir_put_u64(out + 32, totals->bytes);
    record_seal(out, LETTER_TOTALS_BYTES);
}

int letter_totals_get(struct weir_slice value, struct letter_totals *out, struct weir_err *err)
{
    int code = record_check(value, "WDLS", LETTER_TOTALS_BYTES, err);
    if (code == WEIR_OK)
        *out = (struct letter_totals){weir_get_u64(value.data + 16), weir_get_u64(value.data + 24),
                                      weir_get_u64(value.data + 32)};
    return code;
}

uint64_t letter_pages_bytes(size_t len)
{
    return (len + 16 + SEGMENT_PAGE - 1) / SEGMENT_PAGE * SEGMENT_PAGE;
}

size_t letter_key_put(uint8_t *out, uint64_t block, uint64_t request, const char *upstream, size_t upstream_bytes)
{
    for (unsigned i = 0; i < 8; i++) {
        out[i] = (uint8_t)(block >> (56 - 8 * i));
        out[8 + i] = (uint8_t)(request >> (56 - 8 * i));
    }
    memcpy(out + LETTER_KEY_BYTES, upstream, upstream_bytes);
    return LETTER_KEY_BYTES + upstream_bytes;
}

int letter_view_parse(struct weir_slice value, struct letter_view *out, struct weir_err *err)
{
    int code = record_check(value, "WDLT", LETTER_HEAD_BYTES + 8, err);
    if (code != WEIR_OK)
        return code;
    const uint8_t *p = value.data;
    *out = (struct letter_view){
        .attempts = weir_get_u32(p + 12),
        .block = weir_get_u64(p + 16),
        .request = weir_get_u64(p + 24),
        .items = weir_get_u64(p + 32),
        .received_ns = weir_get_u64(p + 40),
        .stored_ns = weir_get_u64(p + 48),
        .raw_bytes = weir_get_u64(p + 56),
        .signal = (enum weir_signal)p[82],
        .codec = p[83],
    };
    uint64_t frame = weir_get_u64(p + 64);
    struct {
        struct weir_slice *slice;
        uint64_t len;
    } parts[] = {{&out->upstream, weir_get_u16(p + 76)},
                 {&out->code, weir_get_u16(p + 78)},
                 {&out->message, weir_get_u16(p + 80)},
                 {&out->envelope, weir_get_u32(p + 72)},
                 {&out->frame, frame}};
    uint64_t at = LETTER_HEAD_BYTES, end = weir_get_u32(p + 8) - 8;
    for (size_t i = 0; i < WEIR_COUNT(parts); i++) {
        if (parts[i].len > end - at)
            return weir_fail(err, WEIR_E_CORRUPT, "dead letter of block %llu: lengths do not add up",
                             (unsigned long long)out->block);
        *parts[i].slice = (struct weir_slice){p + at, parts[i].len};
        at += parts[i].len;
    }
    if (at != end || p[82] >= WEIR_SIGNALS || out->codec > BLOCK_CODEC_ZSTD || out->raw_bytes > BLOCK_RAW_BYTES_MAX ||
        out->upstream.len == 0 || out->upstream.len > STATE_UPSTREAM_BYTES)
        return weir_fail(err, WEIR_E_CORRUPT, "dead letter of block %llu: signal %u, codec %u, %llu bytes",
                         (unsigned long long)out->block, p[82], out->codec, (unsigned long long)out->raw_bytes);
    return WEIR_OK;
}

int letter_view_decode(const struct letter_view *view, struct weir_buf *out, struct weir_err *err)
{
    // The same kind of frame as a block's.
    const struct block_view block = {.number = view->block,
                                     .codec = (enum block_codec)view->codec,
                                     .raw_bytes = view->raw_bytes,
                                     .frame = view->frame};
    int code = block_view_decode(&block, out, err);
    return code == WEIR_OK ? code : weir_wrap(err, "dead letter");
}
