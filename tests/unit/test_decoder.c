// SPDX-License-Identifier: Apache-2.0
// The encodings that weir takes and never writes: zlib, snappy's two formats, LZ4. (gzip and zstd: test_encoding.c.)
#include <criterion/criterion.h>
#include <lz4frame.h>
#include <snappy-c.h>
#include <zlib.h>

#include "proto/encoding.h"

static const char text[] = "weir keeps it. weir keeps it.\n";
#define TEXT_LEN (sizeof(text) - 1)

// The same text as other implementations of the formats wrote it.
static const uint8_t framed[] = {0xff, 0x06, 0x00, 0x00, 0x73, 0x4e, 0x61, 0x50, 0x70, 0x59, 0x01, 0x22,
                                 0x00, 0x00, 0x3a, 0x51, 0xd6, 0x48, 0x77, 0x65, 0x69, 0x72, 0x20, 0x6b,
                                 0x65, 0x65, 0x70, 0x73, 0x20, 0x69, 0x74, 0x2e, 0x20, 0x77, 0x65, 0x69,
                                 0x72, 0x20, 0x6b, 0x65, 0x65, 0x70, 0x73, 0x20, 0x69, 0x74, 0x2e, 0x0a};
static const uint8_t lz4[] = {0x04, 0x22, 0x4d, 0x18, 0x54, 0x40, 0xae, 0x19, 0x00, 0x00, 0x00, 0xf6,
                              0x00, 0x77, 0x65, 0x69, 0x72, 0x20, 0x6b, 0x65, 0x65, 0x70, 0x73, 0x20,
                              0x69, 0x74, 0x2e, 0x20, 0x0f, 0x00, 0x50, 0x20, 0x69, 0x74, 0x2e, 0x0a,
                              0xec, 0x39, 0xd5, 0x9f, 0x00, 0x00, 0x00, 0x00, 0xcd, 0x85, 0xb9, 0xb6};

#define SLICE(bytes) ((struct weir_slice){(bytes), sizeof(bytes)})

// Decodes `in`, fed in pieces of exact size, for the sanitizers. The code of the first call that failed, or of the end.
static int decode(struct decoder *decoder, struct weir_slice in, size_t piece, struct weir_buf *out)
{
    struct weir_err err = {0};
    int code = WEIR_OK;
    for (size_t at = 0; at < in.len && code == WEIR_OK; at += piece) {
        size_t len = in.len - at < piece ? in.len - at : piece;
        uint8_t *copy = (uint8_t *)malloc(len);
        memcpy(copy, in.data + at, len);
        code = decoder_feed(decoder, (struct weir_slice){copy, len}, out, &err);
        free(copy);
    }
    if (code == WEIR_OK)
        code = decoder_finish(decoder, out, &err);
    cr_assert(code == WEIR_OK || err.text[0] != '\0');
    return code;
}

static const size_t pieces[] = {1, 2, 3, 7, 10, 11, 100, SIZE_MAX / 2};

static void expect(enum encoding encoding, struct weir_slice in, size_t cap, int code, const void *want,
                   size_t want_len)
{
    struct decoder *decoder = decoder_new(encoding, cap);
    for (size_t i = 0; i < WEIR_COUNT(pieces); i++) {
        struct weir_buf out = {0};
        decoder_reset(decoder, cap);
        int got = decode(decoder, in, pieces[i], &out);
        cr_expect_eq(got, code, "%s in pieces of %zu: %d", encoding_name(encoding), pieces[i], got);
        cr_expect_leq(out.len, cap);
        if (code == WEIR_OK)
            cr_expect(out.len == want_len && (want_len == 0 || memcmp(out.data, want, want_len) == 0), "%s in %zu",
                      encoding_name(encoding), pieces[i]);
        weir_buf_free(&out);
    }
    decoder_free(decoder);
}

Test(decoder, names_mean_what_each_transport_means_P5_P6_G12)
{
    static const struct {
        const char *name;
        int http, grpc; // -1: unknown
    } cases[] = {{"deflate", ENCODING_ZLIB, ENCODING_ZLIB},
                 {"zlib", ENCODING_ZLIB, -1},
                 {"snappy", ENCODING_SNAPPY, ENCODING_SNAPPY_FRAMED},
                 {"Snappy", ENCODING_SNAPPY, ENCODING_SNAPPY_FRAMED},
                 {"x-snappy-framed", ENCODING_SNAPPY_FRAMED, -1},
                 {"lz4", ENCODING_LZ4, -1},
                 {"zstd", ENCODING_ZSTD, ENCODING_ZSTD},
                 {"br", -1, -1}};
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        enum encoding encoding;
        bool known = encoding_by_name(ENCODING_OF_HTTP, cases[i].name, strlen(cases[i].name), &encoding);
        cr_expect_eq(known ? (int)encoding : -1, cases[i].http, "HTTP %s", cases[i].name);
        cr_expect(cases[i].http < 0 || strcasestr(encoding_accept(ENCODING_OF_HTTP), cases[i].name) != NULL);
        known = encoding_by_name(ENCODING_OF_GRPC, cases[i].name, strlen(cases[i].name), &encoding);
        cr_expect_eq(known ? (int)encoding : -1, cases[i].grpc, "gRPC %s", cases[i].name);
        cr_expect(cases[i].grpc < 0 || strcasestr(encoding_accept(ENCODING_OF_GRPC), cases[i].name) != NULL);
    }
}

Test(decoder, what_others_wrote_is_read)
{
    expect(ENCODING_SNAPPY_FRAMED, SLICE(framed), 1000, WEIR_OK, text, TEXT_LEN);
    expect(ENCODING_SNAPPY, SLICE(framed), 1000, WEIR_OK, text, TEXT_LEN); // sniffed, as others do (P6)
    expect(ENCODING_LZ4, SLICE(lz4), 1000, WEIR_OK, text, TEXT_LEN);
}

Test(decoder, no_byte_of_them_can_change_unseen)
{
    static const struct {
        enum encoding encoding;
        struct weir_slice wire;
    } cases[] = {{ENCODING_SNAPPY_FRAMED, {framed, sizeof(framed)}}, {ENCODING_LZ4, {lz4, sizeof(lz4)}}};
    for (size_t c = 0; c < WEIR_COUNT(cases); c++) {
        struct decoder *decoder = decoder_new(cases[c].encoding, 1000);
        uint8_t copy[64];
        for (size_t bit = 0; bit < cases[c].wire.len * 8; bit++) {
            struct weir_buf out = {0};
            memcpy(copy, cases[c].wire.data, cases[c].wire.len);
            copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
            decoder_reset(decoder, 1000);
            int code = decode(decoder, (struct weir_slice){copy, cases[c].wire.len}, 5, &out);
            // (But a chunk's type may become one that the framing format says to skip.)
            bool skipped = cases[c].encoding == ENCODING_SNAPPY_FRAMED && bit == 10 * 8 + 7;
            cr_expect(skipped || code != WEIR_OK, "%s: bit %zu", encoding_name(cases[c].encoding), bit);
            weir_buf_free(&out);
        }
        for (size_t cut = 1; cut < cases[c].wire.len; cut++) {
            struct weir_buf out = {0};
            decoder_reset(decoder, 1000);
            int code = decode(decoder, (struct weir_slice){cases[c].wire.data, cut}, 5, &out);
            cr_expect(code == WEIR_E_INVALID || (code == WEIR_OK && cut == 10 && out.len == 0), "%s: cut at %zu: %d",
                      encoding_name(cases[c].encoding), cut, code);
            weir_buf_free(&out);
        }
        decoder_free(decoder);
    }
}

static struct weir_buf some_bytes(size_t len)
{
    struct weir_buf raw = {0};
    cr_assert(weir_buf_reserve(&raw, len + 1));
    for (size_t i = 0; i < len; i++)
        raw.data[i] = (uint8_t)(i * i >> 9 ^ i >> 3);
    raw.len = len;
    return raw;
}

static const size_t sizes[] = {0, 1, 59, 65535, 65536, 65537, 700000};

Test(decoder, snappy_blocks_P6_P8)
{
    for (size_t i = 0; i < WEIR_COUNT(sizes); i++) {
        struct weir_buf raw = some_bytes(sizes[i]), wire = {0};
        size_t len = snappy_max_compressed_length(raw.len);
        cr_assert(weir_buf_reserve(&wire, len));
        cr_assert_eq(snappy_compress((const char *)raw.data, raw.len, (char *)wire.data, &len), SNAPPY_OK);
        struct weir_slice in = {wire.data, len};
        expect(ENCODING_SNAPPY, in, raw.len, WEIR_OK, raw.data, raw.len);
        if (raw.len > 0)
            expect(ENCODING_SNAPPY, in, raw.len - 1, WEIR_E_LIMIT, NULL, 0);
        if (len > 3) {
            in.len--;
            expect(ENCODING_SNAPPY, in, raw.len, WEIR_E_INVALID, NULL, 0);
        }
        weir_buf_free(&raw);
        weir_buf_free(&wire);
    }
    // The declared length is looked at before anything is allocated for it.
    static const uint8_t bomb[] = {0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, 'a', 'b', 'c', 'd', 'e'};
    static const uint8_t endless[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    expect(ENCODING_SNAPPY, SLICE(bomb), 1 << 20, WEIR_E_LIMIT, NULL, 0);
    expect(ENCODING_SNAPPY, SLICE(endless), 1 << 20, WEIR_E_INVALID, NULL, 0);
}

// P8.
Test(decoder, a_block_says_what_it_holds_before_it_is_decoded)
{
    struct decoder *decoder = decoder_new(ENCODING_SNAPPY, 1 << 20);
    struct weir_buf out = {0};
    static const uint8_t begins[] = {0x80, 0x80, 0x20, 0xf0, 30, 'a', 'a', 'a', 'a', 'a', 'a', 'a'}; // of 512 KiB
    cr_assert_eq(decoder_feed(decoder, SLICE(begins), &out, NULL), WEIR_OK);
    cr_expect_eq(decoder_held_bytes(decoder), sizeof(begins) + (512u << 10));
    decoder_reset(decoder, 1 << 20);
    cr_expect_eq(decoder_held_bytes(decoder), 0);
    cr_assert_eq(decoder_feed(decoder, SLICE(framed), &out, NULL), WEIR_OK);
    cr_expect_eq(decoder_held_bytes(decoder), 0);
    decoder_free(decoder);
    weir_buf_free(&out);
}

// A chunk of the framing format as the specification has it; the checksum is that of `text`.
static void add_chunk(struct weir_buf *wire, uint8_t type, const void *data, size_t len)
{
    uint8_t head[4] = {type, (uint8_t)len, (uint8_t)(len >> 8), (uint8_t)(len >> 16)};
    cr_assert(weir_buf_append(wire, head, sizeof(head)) && weir_buf_append(wire, data, len));
}

Test(decoder, chunks_of_the_framing_format)
{
    static const uint8_t identifier[] = {'s', 'N', 'a', 'P', 'p', 'Y'}, zeros[70000] = {0};
    uint8_t compressed[4 + 100];
    size_t len = sizeof(compressed) - 4;
    memcpy(compressed, framed + 14, 4); // the masked checksum
    cr_assert_eq(snappy_compress(text, TEXT_LEN, (char *)compressed + 4, &len), SNAPPY_OK);
    struct weir_buf wire = {0};
    add_chunk(&wire, 0xff, identifier, 6);
    add_chunk(&wire, 0x00, compressed, 4 + len);
    add_chunk(&wire, 0xfe, zeros, sizeof(zeros)); // padding
    add_chunk(&wire, 0x80, zeros, 0);             // reserved, skippable
    add_chunk(&wire, 0xff, identifier, 6);        // concatenated
    add_chunk(&wire, 0x01, framed + 14, 4 + TEXT_LEN);
    struct weir_slice in = {wire.data, wire.len};
    struct weir_buf twice = {0};
    cr_assert(weir_buf_append(&twice, text, TEXT_LEN) && weir_buf_append(&twice, text, TEXT_LEN));
    expect(ENCODING_SNAPPY_FRAMED, in, 1000, WEIR_OK, twice.data, twice.len);
    expect(ENCODING_SNAPPY, in, 1000, WEIR_OK, twice.data, twice.len);
    expect(ENCODING_SNAPPY_FRAMED, in, twice.len - 1, WEIR_E_LIMIT, NULL, 0);
    static const struct {
        uint8_t type;
        size_t len;
    } wrong[] = {{0x02, 10},    {0x7f, 10},    {0x00, 3}, {0x00, 4}, {0x01, 3},
                 {0x01, 65541}, {0x01, 70000}, {0xff, 5}, {0xff, 6}};
    for (size_t i = 0; i < WEIR_COUNT(wrong); i++) {
        wire.len = in.len;
        add_chunk(&wire, wrong[i].type, zeros, wrong[i].len);
        expect(ENCODING_SNAPPY_FRAMED, (struct weir_slice){wire.data, wire.len}, 1000, WEIR_E_INVALID, NULL, 0);
    }
    wire.len = 0;
    add_chunk(&wire, 0x01, framed + 14, 4 + TEXT_LEN); // no identifier
    expect(ENCODING_SNAPPY_FRAMED, (struct weir_slice){wire.data, wire.len}, 1000, WEIR_E_INVALID, NULL, 0);
    weir_buf_free(&wire);
    weir_buf_free(&twice);
}

Test(decoder, lz4_frames)
{
    for (size_t i = 0; i < WEIR_COUNT(sizes); i++) {
        struct weir_buf raw = some_bytes(sizes[i]), wire = {0}, twice = {0};
        cr_assert(weir_buf_append(&twice, raw.data, raw.len) && weir_buf_append(&twice, raw.data, raw.len));
        for (int n = 0; n < 2; n++) { // concatenated, a skippable frame between
            static const uint8_t skippable[] = {0x50, 0x2a, 0x4d, 0x18, 0x03, 0, 0, 0, 'a', 'b', 'c'};
            if (n > 0)
                cr_assert(weir_buf_append(&wire, skippable, sizeof(skippable)));
            cr_assert(weir_buf_reserve(&wire, LZ4F_compressFrameBound(raw.len, NULL)));
            assert(wire.data != NULL);
            size_t len = LZ4F_compressFrame(wire.data + wire.len, wire.cap - wire.len, raw.data, raw.len, NULL);
            cr_assert_not(LZ4F_isError(len));
            wire.len += len;
        }
        struct weir_slice in = {wire.data, wire.len};
        expect(ENCODING_LZ4, in, twice.len, WEIR_OK, twice.data, twice.len);
        if (raw.len > 0)
            expect(ENCODING_LZ4, in, twice.len - 1, WEIR_E_LIMIT, NULL, 0);
        cr_assert(weir_buf_append(&wire, "garbage", 7));
        expect(ENCODING_LZ4, (struct weir_slice){wire.data, wire.len}, twice.len + 1, WEIR_E_INVALID, NULL, 0);
        weir_buf_free(&raw);
        weir_buf_free(&wire);
        weir_buf_free(&twice);
    }
}

Test(decoder, one_zlib_stream_and_nothing_behind_it_Z7)
{
    uint8_t wire[200];
    uLongf len = sizeof(wire);
    cr_assert_eq(compress(wire, &len, (const Bytef *)text, TEXT_LEN), Z_OK);
    expect(ENCODING_ZLIB, (struct weir_slice){wire, len}, TEXT_LEN, WEIR_OK, text, TEXT_LEN);
    expect(ENCODING_ZLIB, (struct weir_slice){wire, len}, TEXT_LEN - 1, WEIR_E_LIMIT, NULL, 0);
    expect(ENCODING_ZLIB, (struct weir_slice){wire, len - 1}, TEXT_LEN, WEIR_E_INVALID, NULL, 0);
    uLongf more = sizeof(wire) - len;
    cr_assert_eq(compress(wire + len, &more, (const Bytef *)text, TEXT_LEN), Z_OK);
    expect(ENCODING_ZLIB, (struct weir_slice){wire, len + more}, 1000, WEIR_E_INVALID, NULL, 0);
    expect(ENCODING_ZLIB, (struct weir_slice){wire, len + 1}, 1000, WEIR_E_INVALID, NULL, 0);
}
