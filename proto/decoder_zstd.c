// SPDX-License-Identifier: Apache-2.0
#include <zstd_errors.h>

#include "proto/decoder_priv.h"

#define WINDOW_LOG_MAX 23 // 8 MiB: what RFC 8878 asks decoders to take, and no more (Z5)

static bool open_zstd(struct decoder *decoder)
{
    decoder->zstd.context = ZSTD_createDCtx();
    return decoder->zstd.context != NULL &&
           !ZSTD_isError(ZSTD_DCtx_setParameter(decoder->zstd.context, ZSTD_d_windowLogMax, WINDOW_LOG_MAX));
}

static void reset_zstd(struct decoder *decoder)
{
    decoder->zstd.head_len = 0;
    decoder->zstd.frame_in = decoder->zstd.frame_out = 0;
    ZSTD_DCtx_reset(decoder->zstd.context, ZSTD_reset_session_only);
}

static void close_zstd(struct decoder *decoder)
{
    ZSTD_freeDCtx(decoder->zstd.context);
}

// Looks at the start of a frame as its bytes come in (RFC 8878, 3.1.1); what is wrong with it, or NULL. For two things that
// libzstd would let pass: the formats of before version 0.8, whose decoders in Debian's build know no limit on windows, and a
// large window when a whole small frame happens to be fed at once.
static const char *zstd_head_fault(struct decoder *decoder, const struct weir_slice *in)
{
    static const uint8_t frame[] = {0x28, 0xb5, 0x2f, 0xfd};
    static const uint8_t skippable[] = {0x50, 0x2a, 0x4d, 0x18};
    uint8_t *head = decoder->zstd.head;
    while (decoder->zstd.head_len < ZSTD_HEAD_MAX && decoder->zstd.head_len - decoder->zstd.frame_in < in->len) {
        head[decoder->zstd.head_len] = in->data[decoder->zstd.head_len - decoder->zstd.frame_in];
        decoder->zstd.head_len++;
    }
    bool skips = decoder->zstd.head_len > 0 && (head[0] & 0xf0) == skippable[0];
    for (size_t i = skips; i < sizeof(frame) && i < decoder->zstd.head_len; i++)
        if (head[i] != (skips ? skippable : frame)[i])
            return "no frame begins where one should";
    if (skips || decoder->zstd.head_len < 6 || head[4] & 0x20) // single segment: no window is given
        return NULL;
    unsigned exponent = 10 + (head[5] >> 3), mantissa = head[5] & 7;
    return exponent > WINDOW_LOG_MAX || (exponent == WINDOW_LOG_MAX && mantissa > 0) ? "window above 8 MiB" : NULL;
}

// At the end of a frame: whether it held what it said. libzstd does not ask when the last block is empty and the frame came
// in pieces; a sender that lost bytes must not get an OK for the rest.
static bool zstd_frame_is_whole(const struct decoder *decoder)
{
    if ((decoder->zstd.head[0] & 0xf0) == 0x50) // skippable
        return true;
    unsigned long long declared = ZSTD_getFrameContentSize(decoder->zstd.head, decoder->zstd.head_len);
    return declared == ZSTD_CONTENTSIZE_UNKNOWN || declared == decoder->zstd.frame_out;
}

static int step_zstd(struct decoder *decoder, struct weir_slice *in, uint8_t *to, size_t cap, size_t *made,
                     struct weir_err *err)
{
    const char *wrong = zstd_head_fault(decoder, in);
    if (wrong != NULL)
        return weir_fail(err, WEIR_E_INVALID, "zstd: %s", wrong);
    ZSTD_inBuffer from = {in->data, in->len, 0};
    ZSTD_outBuffer out = {.size = cap};
    out.dst = to;
    size_t left = ZSTD_decompressStream(decoder->zstd.context, &out, &from);
    *made = out.pos;
    in->data += from.pos;
    in->len -= from.pos;
    if (ZSTD_isError(left)) {
        bool memory = ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation;
        return weir_fail(err, memory ? WEIR_E_NOMEM : WEIR_E_INVALID, "zstd: %s", ZSTD_getErrorName(left));
    }
    if (from.pos == 0 && out.pos == 0) // nothing done: what is left to do then speaks of the next frame
        return WEIR_OK;
    decoder->zstd.frame_in += from.pos;
    decoder->zstd.frame_out += out.pos;
    decoder->inside = left != 0;
    if (decoder->inside)
        return WEIR_OK;
    bool whole = zstd_frame_is_whole(decoder);
    decoder->zstd.frame_in = decoder->zstd.frame_out = 0;
    decoder->zstd.head_len = 0;
    return whole ? WEIR_OK : weir_fail(err, WEIR_E_INVALID, "zstd: the frame's content is not as long as it says");
}

const struct decoder_codec decoder_zstd = {open_zstd, reset_zstd, close_zstd, step_zstd};
