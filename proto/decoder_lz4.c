// SPDX-License-Identifier: Apache-2.0
// LZ4 frames, one after the other, with the checksums they have.
#include "proto/decoder_priv.h"

static bool open_lz4(struct decoder *decoder)
{
    return !LZ4F_isError(LZ4F_createDecompressionContext(&decoder->lz4, LZ4F_VERSION));
}

static void reset_lz4(struct decoder *decoder)
{
    LZ4F_resetDecompressionContext(decoder->lz4);
}

static void close_lz4(struct decoder *decoder)
{
    if (decoder->lz4 != NULL)
        LZ4F_freeDecompressionContext(decoder->lz4);
}

static int step_lz4(struct decoder *decoder, struct weir_slice *in, uint8_t *to, size_t cap, size_t *made,
                    struct weir_err *err)
{
    size_t taken = in->len, wrote = cap;
    if (in->len == 0 && !decoder->inside)
        return WEIR_OK;
    size_t left = LZ4F_decompress(decoder->lz4, to, &wrote, in->data, &taken, NULL);
    if (LZ4F_isError(left)) {
        bool memory = strstr(LZ4F_getErrorName(left), "allocation") != NULL;
        return weir_fail(err, memory ? WEIR_E_NOMEM : WEIR_E_INVALID, "lz4: %s", LZ4F_getErrorName(left));
    }
    *made = wrote;
    in->data += taken;
    in->len -= taken;
    if (taken > 0 || wrote > 0)
        decoder->inside = left != 0;
    return WEIR_OK;
}

const struct decoder_codec decoder_lz4 = {open_lz4, reset_lz4, close_lz4, step_lz4};
