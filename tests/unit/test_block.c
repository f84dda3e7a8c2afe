// SPDX-License-Identifier: Apache-2.0
#include <zstd.h>

#include "spool_kit.h"
#include "storage/format.h"

static struct block *three_requests(struct weir_buf *raw)
{
    struct weir_err err = {0};
    struct block_builder *builder = block_builder_new(WEIR_LOGS, (struct weir_slice){(const uint8_t *)"env", 3}, 1);
    static const size_t lengths[] = {10, 0, 300000};
    for (size_t i = 0; i < 3; i++) {
        cr_assert(weir_buf_reserve(raw, lengths[i] + 1));
        for (size_t j = 0; j < lengths[i]; j++)
            raw->data[raw->len + j] = (uint8_t)(j * j >> 7 ^ i);
        struct weir_slice one = {raw->data + raw->len, lengths[i]};
        raw->len += lengths[i];
        struct block_request request = {
            .items = i, .received_ns = 100 - i, .time_min_ns = i == 1 ? 0 : 50 + i, .time_max_ns = 60 + i};
        cr_assert_eq(block_builder_add(builder, one, &request, &err), WEIR_OK, "%s", err.text);
        cr_assert_eq(block_builder_requests(builder), i + 1);
        cr_assert_eq(block_builder_raw_bytes(builder), raw->len);
    }
    struct block *block;
    cr_assert_eq(block_builder_seal(builder, &block, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(block_builder_requests(builder), 0);
    block_builder_free(builder);
    struct spool_counts before = {.items = {1, 2, 3, 4}, .raw_bytes = {5, 6, 7, 8}};
    block_header_stamp(block->value.data, 42, &before);
    return block;
}

Test(block, round_trip)
{
    struct weir_buf raw = {0}, decoded = {0};
    struct weir_err err = {0};
    struct block *block = three_requests(&raw);
    struct block_view view;
    cr_assert_eq(block->requests, 3);
    cr_assert_eq(block->items, 3);
    cr_assert_eq(block->raw_bytes, raw.len);
    cr_assert_eq(block_view_parse((struct weir_slice){block->value.data, block->value.len}, &view, &err), WEIR_OK, "%s",
                 err.text);
    cr_assert_eq(view.number, 42);
    cr_assert_eq(view.signal, WEIR_LOGS);
    cr_assert_eq(view.codec, BLOCK_CODEC_ZSTD);
    cr_assert_eq(view.requests, 3);
    cr_assert_eq(view.items, 3);
    cr_assert_eq(view.items_before, 3);
    cr_assert_eq(view.raw_bytes_before, 7);
    cr_assert_eq(view.received_first_ns, 98);
    cr_assert_eq(view.received_last_ns, 100);
    cr_assert_eq(view.time_min_ns, 50);
    cr_assert_eq(view.time_max_ns, 62);
    cr_assert_eq(view.envelope.len, 3);
    cr_assert_arr_eq(view.envelope.data, "env", 3);
    static const struct block_entry expected[] = {{10, 0}, {0, 1}, {300000, 2}};
    size_t cursor = 0;
    struct block_entry entry;
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(block_table_next(&view, &cursor, &entry), WEIR_OK);
        cr_assert_eq(entry.raw_bytes, expected[i].raw_bytes);
        cr_assert_eq(entry.items, expected[i].items);
    }
    cr_assert_eq(block_table_next(&view, &cursor, &entry), WEIR_E_AGAIN);
    weir_buf_append(&decoded, "x", 1); // it appends
    cr_assert_eq(block_view_decode(&view, &decoded, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(decoded.len, raw.len + 1);
    cr_assert_arr_eq(decoded.data + 1, raw.data, raw.len);
    block_free(block);
    weir_buf_free(&raw);
    weir_buf_free(&decoded);
}

Test(block, an_empty_request_is_a_block_too)
{
    struct block *block = kit_block(WEIR_TRACES, 3, 8);
    struct weir_buf out = {0};
    struct block_view view;
    struct spool_counts before = {0};
    block_header_stamp(block->value.data, 0, &before);
    cr_assert_eq(block_view_parse((struct weir_slice){block->value.data, block->value.len}, &view, NULL), WEIR_OK);
    cr_assert_eq(kit_check_view(&view), 3);
    block_free(block);
    weir_buf_free(&out);
}

Test(block, a_builder_is_used_again_after_seal_and_discard)
{
    struct weir_err err = {0};
    struct block_builder *builder = block_builder_new(WEIR_TRACES, (struct weir_slice){0}, 1);
    for (unsigned i = 0; i < 6; i++) {
        uint8_t raw[2000];
        kit_fill(raw, sizeof(raw), i);
        struct block_request request = {.items = kit_items(i)};
        cr_assert_eq(block_builder_add(builder, (struct weir_slice){raw, sizeof(raw)}, &request, &err), WEIR_OK);
        if (i % 2 == 0) {
            block_builder_discard(builder);
            cr_assert_eq(block_builder_raw_bytes(builder), 0);
            continue;
        }
        struct block *block;
        struct block_view view;
        struct spool_counts before = {0};
        cr_assert_eq(block_builder_seal(builder, &block, &err), WEIR_OK);
        block_header_stamp(block->value.data, i, &before);
        cr_assert_eq(block_view_parse((struct weir_slice){block->value.data, block->value.len}, &view, &err), WEIR_OK);
        cr_assert_eq(kit_check_view(&view), i);
        block_free(block);
    }
    block_builder_free(builder);
}

Test(block, limits)
{
    struct weir_err err = {0};
    uint8_t raw[100] = {0};
    struct block_request request = {.items = 1};
    struct block_builder *builder = block_builder_new(WEIR_PROFILES, (struct weir_slice){0}, 1);
    cr_assert_not(block_builder_full(builder));
    cr_assert_eq(block_builder_add(builder, (struct weir_slice){raw, 100}, &request, &err), WEIR_OK);
    cr_assert(block_builder_full(builder), "profiles: one request a block");
    cr_assert_eq(block_builder_add(builder, (struct weir_slice){raw, 100}, &request, &err), WEIR_E_LIMIT);
    struct block *block;
    cr_assert_eq(block_builder_seal(builder, &block, &err), WEIR_OK, "a refused request leaves it as it was");
    cr_assert_eq(block->requests, 1);
    block_free(block);
    block_builder_free(builder);

    builder = block_builder_new(WEIR_TRACES, (struct weir_slice){0}, 1);
    for (unsigned i = 0; i < BLOCK_REQUESTS_MAX; i++)
        cr_assert_eq(block_builder_add(builder, (struct weir_slice){raw, 1}, &request, &err), WEIR_OK);
    cr_assert(block_builder_full(builder));
    cr_assert_eq(block_builder_add(builder, (struct weir_slice){raw, 1}, &request, &err), WEIR_E_LIMIT);
    block_builder_discard(builder);
    struct weir_slice huge = {raw, (size_t)BLOCK_RAW_BYTES_MAX + 1};
    cr_assert_eq(block_builder_add(builder, huge, &request, &err), WEIR_E_LIMIT);
    block_builder_free(builder);
}

Test(block, frames_of_blocks_are_one_zstd_stream)
{
    struct weir_buf frames = {0}, raw = {0};
    for (unsigned i = 0; i < 40; i++) {
        struct block *block = kit_block(WEIR_LOGS, i, 1000 + i * 100);
        struct block_view view;
        struct spool_counts before = {0};
        block_header_stamp(block->value.data, i, &before);
        cr_assert_eq(block_view_parse((struct weir_slice){block->value.data, block->value.len}, &view, NULL), WEIR_OK);
        weir_buf_append(&frames, view.frame.data, view.frame.len);
        cr_assert_eq(block_view_decode(&view, &raw, NULL), WEIR_OK);
        block_free(block);
    }
    uint8_t *out = malloc(raw.len);
    ZSTD_DStream *stream = ZSTD_createDStream();
    ZSTD_inBuffer in = {frames.data, frames.len, 0};
    ZSTD_outBuffer to = {out, raw.len, 0};
    size_t left = 1;
    while (in.pos < in.size) {
        left = ZSTD_decompressStream(stream, &to, &in);
        cr_assert_not(ZSTD_isError(left), "%s", ZSTD_getErrorName(left));
    }
    cr_assert_eq(left, 0);
    cr_assert_eq(to.pos, raw.len);
    cr_assert_arr_eq(out, raw.data, raw.len);
    ZSTD_freeDStream(stream);
    free(out);
    weir_buf_free(&frames);
    weir_buf_free(&raw);
}

// Every value that is not what was stored is found out, or holds the same.
Test(block, mutated_values)
{
    struct weir_buf raw = {0};
    struct block *block = three_requests(&raw);
    size_t len = block->value.len;
    uint64_t x = 88172645463325252ull;
    for (unsigned round = 0; round < 20000; round++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        size_t cut = round % 4 == 0 ? x % (len + 1) : len;
        uint8_t *copy = malloc(cut + 1);
        memcpy(copy, block->value.data, cut);
        size_t at = round < len * 2 ? round % len : (x >> 20) % len; // every byte of a small block at least once
        if (at < cut)
            copy[at] ^= (uint8_t)(1u << (x >> 50) % 8);
        struct block_view view;
        int code = block_view_parse((struct weir_slice){copy, cut}, &view, NULL);
        bool same = cut == len && at >= cut;
        cr_assert(same ? code == WEIR_OK : code == WEIR_E_CORRUPT, "byte %zu of %zu, cut at %zu: %d", at, len, cut,
                  code);
        free(copy);
    }
    block_free(block);
    weir_buf_free(&raw);
}

// Headers with a right checksum and wrong lengths: what a bug or a malicious file would hold.
Test(block, lengths_are_not_trusted)
{
    struct weir_buf raw = {0};
    struct block *block = three_requests(&raw);
    static const struct {
        unsigned at, bytes;
        uint64_t value;
        int code;
    } cases[] = {
        {6, 1, 4, WEIR_E_CORRUPT},           {7, 1, 2, WEIR_E_CORRUPT},
        {16, 4, UINT32_MAX, WEIR_E_CORRUPT}, {20, 4, UINT32_MAX, WEIR_E_CORRUPT},
        {24, 8, UINT64_MAX, WEIR_E_CORRUPT}, {24, 8, 1, WEIR_E_CORRUPT},
        {40, 8, UINT64_MAX, WEIR_E_CORRUPT}, {4, 2, FORMAT_VERSION + 1, WEIR_E_FORMAT},
        {4, 2, 0, WEIR_E_CORRUPT},           {12, 4, UINT32_MAX, WEIR_E_CORRUPT},
        {12, 4, 0, WEIR_E_CORRUPT},          {12, 4, 5, WEIR_E_CORRUPT},
    };
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        struct weir_buf copy = {0};
        cr_assert(weir_buf_append(&copy, block->value.data, block->value.len));
        assert(copy.data != NULL);
        for (unsigned b = 0; b < cases[i].bytes; b++)
            copy.data[cases[i].at + b] = (uint8_t)(cases[i].value >> (8 * b));
        record_seal(copy.data, BLOCK_HEADER_BYTES);
        struct block_view view;
        cr_assert_eq(block_view_parse((struct weir_slice){copy.data, copy.len}, &view, NULL), cases[i].code, "case %zu",
                     i);
        weir_buf_free(&copy);
    }
    // A table that says more than there is, and a raw length that is too small or too large for the frame.
    struct block_view view;
    struct block_entry entry;
    cr_assert_eq(block_view_parse((struct weir_slice){block->value.data, block->value.len}, &view, NULL), WEIR_OK);
    static const uint8_t tables[][12] = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
                                         {0x80}};
    for (size_t i = 0; i < 2; i++) {
        size_t cursor = 0;
        view.table = (struct weir_slice){tables[i], i == 0 ? 12 : 1};
        cr_assert_eq(block_table_next(&view, &cursor, &entry), WEIR_E_CORRUPT);
    }
    for (int delta = -1; delta <= 1; delta += 2) {
        struct weir_buf out = {0};
        view.raw_bytes = raw.len + (uint64_t)(int64_t)delta;
        cr_assert_eq(block_view_decode(&view, &out, NULL), WEIR_E_CORRUPT);
        cr_assert_eq(out.len, 0);
        weir_buf_free(&out);
    }
    block_free(block);
    weir_buf_free(&raw);
}
