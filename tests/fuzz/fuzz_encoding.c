// SPDX-License-Identifier: Apache-2.0
// The decoders and encoders. Input: a byte for the encoding, one for the size of the pieces, then encoded data.
#include "proto/encoding.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define CAP_BYTES ((size_t)100000)
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

static int decode(struct decoder *decoder, struct weir_slice in, size_t piece, struct weir_buf *out)
{
    decoder_reset(decoder, CAP_BYTES);
    for (size_t at = 0; at < in.len; at += piece) {
        struct weir_slice part = {in.data + at, in.len - at < piece ? in.len - at : piece};
        int code = decoder_feed(decoder, part, out, NULL);
        CHECK(out->len <= CAP_BYTES);
        if (code != WEIR_OK)
            return code;
    }
    return decoder_finish(decoder, out, NULL);
}

// How the input is cut into pieces must not decide whether it is taken, nor what it decodes to. (But libzstd 1.5 takes an empty
// compressed block in pieces and not when the whole frame is there; nothing is lost by that.)
static void check_pieces(int encoding, struct decoder *decoder, struct weir_slice in, size_t piece)
{
    struct weir_buf whole = {0}, parts = {0};
    bool taken = decode(decoder, in, in.len + 1, &whole) == WEIR_OK;
    bool taken_in_parts = decode(decoder, in, piece, &parts) == WEIR_OK;
    CHECK(taken == taken_in_parts || encoding == ENCODING_ZSTD);
    CHECK(!taken || !taken_in_parts || whole.len == parts.len);
    size_t common = whole.len < parts.len ? whole.len : parts.len;
    CHECK(common == 0 || memcmp(whole.data, parts.data, common) == 0);
    weir_buf_free(&whole);
    weir_buf_free(&parts);
}

static void check_roundtrip(struct encoder *encoder, struct decoder *decoder, struct weir_slice in, size_t piece)
{
    struct weir_buf wire = {0}, back = {0};
    encoder_reset(encoder);
    for (size_t at = 0; at < in.len; at += piece) {
        struct weir_slice part = {in.data + at, in.len - at < piece ? in.len - at : piece};
        CHECK(encoder_feed(encoder, part, &wire, NULL) == WEIR_OK);
    }
    CHECK(encoder_finish(encoder, &wire, NULL) == WEIR_OK);
    if (in.len <= CAP_BYTES) {
        CHECK(decode(decoder, (struct weir_slice){wire.data, wire.len}, piece + 1, &back) == WEIR_OK);
        CHECK(back.len == in.len && (in.len == 0 || memcmp(back.data, in.data, in.len) == 0));
    }
    weir_buf_free(&wire);
    weir_buf_free(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct decoder *decoders[ENCODINGS];
    static struct encoder *encoders[ENCODINGS];
    for (int i = 0; i < ENCODINGS && decoders[i] == NULL; i++) {
        decoders[i] = decoder_new((enum encoding)i, CAP_BYTES);
        encoders[i] = i < ENCODINGS_SENT ? encoder_new((enum encoding)i, 0) : NULL;
        CHECK(decoders[i] != NULL);
    }
    if (len < 2)
        return 0;
    int encoding = data[0] % ENCODINGS;
    struct weir_slice in = {data + 2, len - 2};
    check_pieces(encoding, decoders[encoding], in, 1 + data[1] % 32);
    if (encoding < ENCODINGS_SENT)
        check_roundtrip(encoders[encoding], decoders[encoding], in, 1 + data[1]);
    return 0;
}
