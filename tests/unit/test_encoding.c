// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <zstd.h>

#include "proto/encoding.h"

#define CAP ((size_t)1 << 20)

static struct weir_buf bytes_of(const void *data, size_t len)
{
    struct weir_buf out = {0};
    cr_assert(weir_buf_append(&out, data, len));
    return out;
}

static void add_encoded(struct weir_buf *out, enum encoding encoding, const void *data, size_t len)
{
    struct encoder *encoder = encoder_new(encoding, 0);
    cr_assert_not_null(encoder);
    cr_assert_eq(encoder_feed(encoder, (struct weir_slice){(const uint8_t *)data, len}, out, NULL), WEIR_OK);
    cr_assert_eq(encoder_finish(encoder, out, NULL), WEIR_OK);
    encoder_free(encoder);
}

// Decodes `in`, fed in pieces; the code of the first call that failed, or of the end.
static int decode(enum encoding encoding, struct weir_buf in, size_t piece, size_t cap, struct weir_buf *out)
{
    struct decoder *decoder = decoder_new(encoding, cap);
    cr_assert_not_null(decoder);
    int code = WEIR_OK;
    struct weir_err err = {0};
    for (size_t at = 0; at < in.len && code == WEIR_OK; at += piece) {
        size_t len = in.len - at < piece ? in.len - at : piece;
        uint8_t *copy = (uint8_t *)malloc(len); // exact size, for the sanitizers
        memcpy(copy, in.data + at, len);
        code = decoder_feed(decoder, (struct weir_slice){copy, len}, out, &err);
        free(copy);
    }
    if (code == WEIR_OK)
        code = decoder_finish(decoder, out, &err);
    cr_assert(code == WEIR_OK || err.text[0] != '\0');
    decoder_free(decoder);
    return code;
}

static const size_t pieces[] = {1, 2, 3, 7, 100, 4093, SIZE_MAX / 2};

static void expect_all_pieces(enum encoding encoding, struct weir_buf in, int code, const char *text)
{
    for (size_t i = 0; i < WEIR_COUNT(pieces); i++) {
        struct weir_buf out = {0};
        int got = decode(encoding, in, pieces[i], CAP, &out);
        cr_expect_eq(got, code, "%s in pieces of %zu: %d", encoding_name(encoding), pieces[i], got);
        if (code == WEIR_OK)
            cr_expect(out.len == strlen(text) && (out.len == 0 || memcmp(out.data, text, out.len) == 0),
                      "%s in pieces of %zu", encoding_name(encoding), pieces[i]);
        weir_buf_free(&out);
    }
}

Test(encoding, names_P5)
{
    static const struct {
        const char *name;
        int encoding; // -1: unknown
    } cases[] = {{"", ENCODING_IDENTITY},
                 {"identity", ENCODING_IDENTITY},
                 {"gzip", ENCODING_GZIP},
                 {"GZIP", ENCODING_GZIP},
                 {"zstd", ENCODING_ZSTD},
                 {"Zstd", ENCODING_ZSTD},
                 {"br", -1},
                 {"gzip, zstd", -1},
                 {"gzi", -1},
                 {"gzip ", -1}};
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        enum encoding encoding;
        bool known = encoding_by_name(ENCODING_OF_HTTP, cases[i].name, strlen(cases[i].name), &encoding);
        cr_expect_eq(known ? (int)encoding : -1, cases[i].encoding, "\"%s\"", cases[i].name);
    }
}

Test(encoding, roundtrip_at_sizes_and_pieces_G12_G13)
{
    static const size_t sizes[] = {0, 1, 255, 32768, 32769, 300000};
    for (int encoding = 0; encoding < ENCODINGS_SENT; encoding++) {
        struct encoder *encoder = encoder_new((enum encoding)encoding, 0);
        struct decoder *decoder = decoder_new((enum encoding)encoding, 0);
        for (size_t i = 0; i < WEIR_COUNT(sizes); i++) {
            struct weir_buf raw = {0}, wire = {0}, back = {0};
            for (size_t k = 0; k < sizes[i]; k++) {
                uint8_t byte = (uint8_t)(k * k >> 7 ^ k);
                cr_assert(weir_buf_append(&raw, &byte, 1));
            }
            encoder_reset(encoder); // the objects are used again and again
            for (size_t at = 0; at < raw.len; at += 777) {
                size_t len = raw.len - at < 777 ? raw.len - at : 777;
                cr_assert_eq(encoder_feed(encoder, (struct weir_slice){raw.data + at, len}, &wire, NULL), WEIR_OK);
            }
            cr_assert_eq(encoder_finish(encoder, &wire, NULL), WEIR_OK);
            decoder_reset(decoder, raw.len); // exactly enough
            for (size_t at = 0; at < wire.len; at += 555) {
                size_t len = wire.len - at < 555 ? wire.len - at : 555;
                cr_assert_eq(decoder_feed(decoder, (struct weir_slice){wire.data + at, len}, &back, NULL), WEIR_OK);
            }
            cr_assert_eq(decoder_finish(decoder, &back, NULL), WEIR_OK);
            cr_assert_eq(back.len, raw.len);
            cr_assert(raw.len == 0 || memcmp(back.data, raw.data, raw.len) == 0);
            weir_buf_free(&raw);
            weir_buf_free(&wire);
            weir_buf_free(&back);
        }
        encoder_free(encoder);
        decoder_free(decoder);
    }
}

Test(encoding, no_input_is_empty_output_Z4_P28)
{
    for (int encoding = 0; encoding < ENCODINGS; encoding++)
        expect_all_pieces((enum encoding)encoding, (struct weir_buf){0}, WEIR_OK, "");
}

Test(encoding, several_members_and_frames_Z1_Z6_Z9)
{
    static const enum encoding both[] = {ENCODING_GZIP, ENCODING_ZSTD};
    for (size_t e = 0; e < WEIR_COUNT(both); e++) {
        struct weir_buf in = {0};
        add_encoded(&in, both[e], "one ", 4);
        add_encoded(&in, both[e], "", 0);
        add_encoded(&in, both[e], "two", 3);
        expect_all_pieces(both[e], in, WEIR_OK, "one two");
        // Cut anywhere but between members: an end inside one; between them: what was whole.
        for (size_t cut = 1; cut < in.len; cut++) {
            struct weir_buf out = {0};
            int code = decode(both[e], (struct weir_buf){in.data, cut, cut}, 5, CAP, &out);
            cr_expect(code == WEIR_E_INVALID || (code == WEIR_OK && out.len == 4), "cut at %zu: %d", cut, code);
            weir_buf_free(&out);
        }
        static const char *const tails[] = {
            "x", "\0", "\x1f", "\x28", "\x28\xb5\x2f", "\x1f\x8b\x08", "trailing garbage"};
        for (size_t i = 0; i < WEIR_COUNT(tails); i++) {
            struct weir_buf garbage = bytes_of(in.data, in.len);
            cr_assert(weir_buf_append(&garbage, tails[i], tails[i][0] ? strlen(tails[i]) : 1));
            expect_all_pieces(both[e], garbage, WEIR_E_INVALID, NULL);
            weir_buf_free(&garbage);
        }
        weir_buf_free(&in);
    }
}

Test(encoding, skippable_zstd_frames_Z1)
{
    struct weir_buf in = {0};
    cr_assert(weir_buf_append(&in, "\x50\x2a\x4d\x18\x03\0\0\0abc", 11));
    add_encoded(&in, ENCODING_ZSTD, "one ", 4);
    cr_assert(weir_buf_append(&in, "\x5f\x2a\x4d\x18\0\0\0\0", 8));
    add_encoded(&in, ENCODING_ZSTD, "two", 3);
    cr_assert(weir_buf_append(&in, "\x53\x2a\x4d\x18\x01\0\0\0z", 9));
    expect_all_pieces(ENCODING_ZSTD, in, WEIR_OK, "one two");
    in.len -= 1;
    expect_all_pieces(ENCODING_ZSTD, in, WEIR_E_INVALID, NULL);
    weir_buf_free(&in);
}

Test(encoding, old_zstd_formats_are_no_zstd)
{
    static const uint8_t magic[] = {0x27, 0xb5, 0x2f, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0};
    for (uint8_t version = 0x22; version <= 0x27; version++) {
        struct weir_buf in = bytes_of(magic, sizeof(magic));
        in.data[0] = version;
        expect_all_pieces(ENCODING_ZSTD, in, WEIR_E_INVALID, NULL);
        weir_buf_free(&in);
    }
}

Test(encoding, a_zstd_frame_holds_what_it_declares)
{
    // Single segment; 146 or 0 bytes declared, an empty last block. libzstd takes the first one when it comes in pieces.
    struct weir_buf lies = bytes_of("\x28\xb5\x2f\xfd\x20\x92\x01\0\0", 9);
    struct weir_buf empty = bytes_of("\x28\xb5\x2f\xfd\x20\x00\x01\0\0", 9);
    expect_all_pieces(ENCODING_ZSTD, lies, WEIR_E_INVALID, NULL);
    expect_all_pieces(ENCODING_ZSTD, empty, WEIR_OK, "");
    weir_buf_free(&lies);
    weir_buf_free(&empty);
}

Test(encoding, a_small_frame_with_a_large_window_is_refused_however_it_comes_Z9)
{
    // Windows of 8, 9 and 16 MiB, no content size; one raw block, "abc".
    static const char *const heads[] = {"\x28\xb5\x2f\xfd\x00\x68", "\x28\xb5\x2f\xfd\x00\x69",
                                        "\x28\xb5\x2f\xfd\x00\x70"};
    for (size_t i = 0; i < WEIR_COUNT(heads); i++) {
        struct weir_buf in = bytes_of(heads[i], 6);
        cr_assert(weir_buf_append(&in,
                                  "\x19\0\0"
                                  "abc",
                                  6));
        expect_all_pieces(ENCODING_ZSTD, in, i == 0 ? WEIR_OK : WEIR_E_INVALID, "abc");
        weir_buf_free(&in);
    }
}

Test(encoding, corrupt_data_is_invalid_E3)
{
    static const enum encoding both[] = {ENCODING_GZIP, ENCODING_ZSTD};
    for (size_t e = 0; e < WEIR_COUNT(both); e++) {
        struct weir_buf in = {0};
        static const char text[] = "the quick brown fox jumps over the lazy dog";
        add_encoded(&in, both[e], text, 43);
        for (size_t at = 0; at < in.len; at++) {
            in.data[at] ^= 0x10;
            struct weir_buf out = {0};
            int code = decode(both[e], in, 9, CAP, &out);
            cr_expect(code == WEIR_OK || code == WEIR_E_INVALID, "byte %zu: %d", at, code);
            // gzip has a CRC: what passes in spite of a changed bit (in the header's time, in padding) is what was sent
            cr_expect(both[e] != ENCODING_GZIP || code != WEIR_OK || (out.len == 43 && memcmp(out.data, text, 43) == 0),
                      "byte %zu", at);
            weir_buf_free(&out);
            in.data[at] ^= 0x10;
        }
        weir_buf_free(&in);
    }
}

Test(encoding, bombs_stop_at_the_cap_G14_G15)
{
    size_t raw_len = (size_t)32 << 20;
    uint8_t *zeros = (uint8_t *)calloc(1, raw_len);
    for (int encoding = 0; encoding < ENCODINGS_SENT; encoding++) {
        struct weir_buf in = {0};
        add_encoded(&in, (enum encoding)encoding, zeros, raw_len);
        static const size_t caps[] = {0, 1, 1000, 32768, 1 << 20, ((size_t)32 << 20) - 1};
        for (size_t i = 0; i < WEIR_COUNT(caps); i++) {
            struct weir_buf out = {0};
            cr_expect_eq(decode((enum encoding)encoding, in, 4096, caps[i], &out), WEIR_E_LIMIT, "%s, cap %zu",
                         encoding_name((enum encoding)encoding), caps[i]);
            cr_expect_eq(out.len, caps[i], "%s", encoding_name((enum encoding)encoding));
            cr_expect_leq(out.cap, 2 * caps[i] + 65536, "%s: %zu bytes reserved",
                          encoding_name((enum encoding)encoding), out.cap);
            weir_buf_free(&out);
        }
        struct weir_buf out = {0};
        cr_expect_eq(decode((enum encoding)encoding, in, 4096, raw_len, &out), WEIR_OK);
        weir_buf_free(&out);
        weir_buf_free(&in);
    }
    free(zeros);
}

Test(encoding, the_cap_is_over_all_frames_Z9)
{
    static const enum encoding both[] = {ENCODING_GZIP, ENCODING_ZSTD};
    for (size_t e = 0; e < WEIR_COUNT(both); e++) {
        struct weir_buf in = {0}, out = {0};
        for (int i = 0; i < 10; i++)
            add_encoded(&in, both[e], "0123456789", 10);
        cr_expect_eq(decode(both[e], in, 1, 100, &out), WEIR_OK);
        out.len = 0;
        cr_expect_eq(decode(both[e], in, 1, 99, &out), WEIR_E_LIMIT);
        cr_expect_eq(out.len, 99);
        weir_buf_free(&in);
        weir_buf_free(&out);
    }
}

static int decode_with_window(int window_log)
{
    size_t raw_len = (size_t)16 << 20;
    uint8_t *zeros = (uint8_t *)calloc(1, raw_len);
    ZSTD_CCtx *cctx = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(cctx, ZSTD_c_windowLog, window_log);
    struct weir_buf in = {0}, out = {0};
    cr_assert(weir_buf_reserve(&in, ZSTD_compressBound(raw_len)));
    ZSTD_inBuffer from = {zeros, raw_len, 0};
    ZSTD_outBuffer to = {in.data, in.cap, 0};
    // Fed without a known size, so that the frame declares its window.
    cr_assert_not(ZSTD_isError(ZSTD_compressStream2(cctx, &to, &from, ZSTD_e_continue)));
    cr_assert_eq(ZSTD_compressStream2(cctx, &to, &from, ZSTD_e_end), 0);
    in.len = to.pos;
    int code = decode(ENCODING_ZSTD, in, 4096, raw_len, &out);
    ZSTD_freeCCtx(cctx);
    weir_buf_free(&in);
    weir_buf_free(&out);
    free(zeros);
    return code;
}

Test(encoding, windows_above_8_MiB_are_refused_Z5_Z9)
{
    cr_assert_eq(decode_with_window(23), WEIR_OK);
    cr_assert_eq(decode_with_window(24), WEIR_E_INVALID);
    cr_assert_eq(decode_with_window(27), WEIR_E_INVALID);
}

Test(encoding, a_decoder_is_like_new_after_an_error)
{
    for (int encoding = 1; encoding < ENCODINGS_SENT; encoding++) {
        struct weir_buf good = {0}, out = {0};
        add_encoded(&good, (enum encoding)encoding, "good", 4);
        struct decoder *decoder = decoder_new((enum encoding)encoding, CAP);
        struct weir_slice whole = {good.data, good.len}, half = {good.data, good.len / 2},
                          bad = {(const uint8_t *)"bad!!", 5};
        cr_assert_eq(decoder_feed(decoder, bad, &out, NULL), WEIR_E_INVALID);
        decoder_reset(decoder, CAP);
        cr_assert_eq(decoder_feed(decoder, half, &out, NULL), WEIR_OK);
        cr_assert_eq(decoder_finish(decoder, &out, NULL), WEIR_E_INVALID);
        decoder_reset(decoder, CAP);
        out.len = 0;
        cr_assert_eq(decoder_feed(decoder, whole, &out, NULL), WEIR_OK);
        cr_assert_eq(decoder_finish(decoder, &out, NULL), WEIR_OK);
        cr_assert(out.len == 4 && memcmp(out.data, "good", 4) == 0);
        decoder_free(decoder);
        weir_buf_free(&good);
        weir_buf_free(&out);
    }
    decoder_free(NULL);
    encoder_free(NULL);
}

Test(encoding, levels_stay_within_the_window)
{
    static const int levels[] = {1, 3, 9, 19, 22};
    for (size_t i = 0; i < WEIR_COUNT(levels); i++) {
        struct encoder *encoder = encoder_new(ENCODING_ZSTD, levels[i]);
        struct weir_buf wire = {0}, out = {0};
        cr_assert_not_null(encoder);
        cr_assert_eq(encoder_feed(encoder, (struct weir_slice){(const uint8_t *)"abc", 3}, &wire, NULL), WEIR_OK);
        cr_assert_eq(encoder_finish(encoder, &wire, NULL), WEIR_OK);
        cr_assert_eq(decode(ENCODING_ZSTD, wire, 1, CAP, &out), WEIR_OK, "level %d", levels[i]);
        encoder_free(encoder);
        weir_buf_free(&wire);
        weir_buf_free(&out);
    }
    cr_assert_null(encoder_new(ENCODING_GZIP, 10));
}
