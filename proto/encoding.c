// SPDX-License-Identifier: Apache-2.0
#include "proto/encoding.h"

#include <strings.h>

#define ZLIB_CONST
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#define WINDOW_LOG_MAX    23 // 8 MiB: what RFC 8878 asks decoders to take, and no more (Z5)
#define GZIP_WINDOW       (15 + 16)
#define GZIP_MEM_LEVEL    8
#define ZSTD_HEAD_MAX     18 // of a frame: magic number, descriptor, window, dictionary, content size
#define OUT_CHUNK         ((size_t)32 << 10)
#define ZSTD_WINDOW_LEVEL 20 // from this level on, zstd would choose windows above 8 MiB

const char encoding_accept[] = "identity,gzip,zstd";
static const char *const names[ENCODINGS] = {"identity", "gzip", "zstd"};

const char *encoding_name(enum encoding encoding)
{
    assert((unsigned)encoding < ENCODINGS);
    return names[encoding];
}

bool encoding_by_name(const char *name, size_t len, enum encoding *encoding)
{
    *encoding = ENCODING_IDENTITY;
    if (len == 0)
        return true;
    for (int i = 0; i < ENCODINGS; i++) {
        if (len == strlen(names[i]) && strncasecmp(name, names[i], len) == 0) {
            *encoding = (enum encoding)i;
            return true;
        }
    }
    return false;
}

// --- decoder --------------------------------------------------------------------------------------------------------
struct decoder {
    enum encoding encoding;
    size_t max_bytes;
    size_t total;                // bytes decoded so far
    bool inside;                 // of a frame or member that has not ended
    uint8_t head[ZSTD_HEAD_MAX]; // zstd: the first bytes of the frame at hand
    uint8_t head_len;
    size_t frame_in;  // zstd: bytes taken of that frame
    size_t frame_out; // zstd: bytes it has decoded to
    z_stream gzip;
    ZSTD_DCtx *zstd;
};

struct decoder *decoder_new(enum encoding encoding, size_t max_bytes)
{
    struct decoder *decoder = (struct decoder *)calloc(1, sizeof(*decoder));
    if (decoder == NULL)
        return NULL;
    decoder->encoding = encoding;
    decoder->max_bytes = max_bytes;
    bool ok = true;
    if (encoding == ENCODING_GZIP)
        ok = inflateInit2(&decoder->gzip, GZIP_WINDOW) == Z_OK;
    if (encoding == ENCODING_ZSTD) {
        decoder->zstd = ZSTD_createDCtx();
        ok = decoder->zstd != NULL &&
             !ZSTD_isError(ZSTD_DCtx_setParameter(decoder->zstd, ZSTD_d_windowLogMax, WINDOW_LOG_MAX));
    }
    if (ok)
        return decoder;
    ZSTD_freeDCtx(decoder->zstd);
    free(decoder);
    return NULL;
}

void decoder_reset(struct decoder *decoder, size_t max_bytes)
{
    decoder->max_bytes = max_bytes;
    decoder->total = 0;
    decoder->inside = false;
    decoder->head_len = 0;
    decoder->frame_in = decoder->frame_out = 0;
    if (decoder->encoding == ENCODING_GZIP)
        inflateReset(&decoder->gzip);
    if (decoder->encoding == ENCODING_ZSTD)
        ZSTD_DCtx_reset(decoder->zstd, ZSTD_reset_session_only);
}

void decoder_free(struct decoder *decoder)
{
    if (decoder == NULL)
        return;
    if (decoder->encoding == ENCODING_GZIP)
        inflateEnd(&decoder->gzip);
    ZSTD_freeDCtx(decoder->zstd);
    free(decoder);
}

// One step of a decoder: takes from *in, writes at most `cap` bytes to `to`, adds what it wrote to *made.
typedef int decode_step(struct decoder *decoder, struct weir_slice *in, uint8_t *to, size_t cap, size_t *made,
                        struct weir_err *err);

static int step_gzip(struct decoder *decoder, struct weir_slice *in, uint8_t *to, size_t cap, size_t *made,
                     struct weir_err *err)
{
    z_stream *z = &decoder->gzip;
    if (!decoder->inside && in->len > 0) { // the first member, or one more behind the last (Z6)
        inflateReset(z);
        decoder->inside = true;
    }
    uInt in_len = in->len < UINT_MAX ? (uInt)in->len : UINT_MAX;
    z->next_in = in->data;
    z->avail_in = in_len;
    z->next_out = to;
    z->avail_out = (uInt)cap;
    int code = inflate(z, Z_NO_FLUSH);
    size_t used = in_len - z->avail_in;
    in->data += used;
    in->len -= used;
    *made = cap - z->avail_out;
    if (code == Z_STREAM_END)
        decoder->inside = false;
    if (code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR) // Z_BUF_ERROR: nothing to do just now
        return WEIR_OK;
    if (code == Z_MEM_ERROR)
        return weir_fail(err, WEIR_E_NOMEM, "gzip: out of memory");
    return weir_fail(err, WEIR_E_INVALID, "gzip: %s", z->msg != NULL ? z->msg : "corrupt data");
}

// Looks at the start of a frame as its bytes come in (RFC 8878, 3.1.1); what is wrong with it, or NULL. For two things that
// libzstd would let pass: the formats of before version 0.8, whose decoders in Debian's build know no limit on windows, and a
// large window when a whole small frame happens to be fed at once.
static const char *zstd_head_fault(struct decoder *decoder, const struct weir_slice *in)
{
    static const uint8_t frame[] = {0x28, 0xb5, 0x2f, 0xfd};
    static const uint8_t skippable[] = {0x50, 0x2a, 0x4d, 0x18};
    uint8_t *head = decoder->head;
    while (decoder->head_len < ZSTD_HEAD_MAX && decoder->head_len - decoder->frame_in < in->len) {
        head[decoder->head_len] = in->data[decoder->head_len - decoder->frame_in];
        decoder->head_len++;
    }
    bool skips = decoder->head_len > 0 && (head[0] & 0xf0) == skippable[0];
    for (size_t i = skips; i < sizeof(frame) && i < decoder->head_len; i++)
        if (head[i] != (skips ? skippable : frame)[i])
            return "no frame begins where one should";
    if (skips || decoder->head_len < 6 || head[4] & 0x20) // single segment: no window is given
        return NULL;
    unsigned exponent = 10 + (head[5] >> 3), mantissa = head[5] & 7;
    return exponent > WINDOW_LOG_MAX || (exponent == WINDOW_LOG_MAX && mantissa > 0) ? "window above 8 MiB" : NULL;
}

// At the end of a frame: whether it held what it said. libzstd does not ask when the last block is empty and the frame came
// in pieces; a sender that lost bytes must not get an OK for the rest.
static bool zstd_frame_is_whole(const struct decoder *decoder)
{
    if ((decoder->head[0] & 0xf0) == 0x50) // skippable
        return true;
    unsigned long long declared = ZSTD_getFrameContentSize(decoder->head, decoder->head_len);
    return declared == ZSTD_CONTENTSIZE_UNKNOWN || declared == decoder->frame_out;
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
    size_t left = ZSTD_decompressStream(decoder->zstd, &out, &from);
    *made = out.pos;
    in->data += from.pos;
    in->len -= from.pos;
    if (ZSTD_isError(left)) {
        bool memory = ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation;
        return weir_fail(err, memory ? WEIR_E_NOMEM : WEIR_E_INVALID, "zstd: %s", ZSTD_getErrorName(left));
    }
    if (from.pos == 0 && out.pos == 0) // nothing done: what is left to do then speaks of the next frame
        return WEIR_OK;
    decoder->frame_in += from.pos;
    decoder->frame_out += out.pos;
    decoder->inside = left != 0;
    if (decoder->inside)
        return WEIR_OK;
    bool whole = zstd_frame_is_whole(decoder);
    decoder->frame_in = decoder->frame_out = 0;
    decoder->head_len = 0;
    return whole ? WEIR_OK : weir_fail(err, WEIR_E_INVALID, "zstd: the frame's content is not as long as it says");
}

static int step_identity(struct decoder *decoder, struct weir_slice *in, uint8_t *to, size_t cap, size_t *made,
                         struct weir_err *err)
{
    *made = in->len < cap ? in->len : cap;
    if (*made > 0)
        memcpy(to, in->data, *made);
    in->data += *made;
    in->len -= *made;
    return WEIR_OK;
}

int decoder_feed(struct decoder *decoder, struct weir_slice in, struct weir_buf *out, struct weir_err *err)
{
    static decode_step *const steps[ENCODINGS] = {step_identity, step_gzip, step_zstd};
    for (bool full = false; in.len > 0 || full;) {
        // At the cap one more byte is asked for, into a spare: whether it comes tells the limit from the end.
        size_t room = decoder->max_bytes - decoder->total;
        size_t cap = room < OUT_CHUNK ? room : OUT_CHUNK;
        uint8_t spare;
        if (cap > 0 && !weir_buf_reserve(out, cap))
            return weir_fail(err, WEIR_E_NOMEM, "%s: out of memory", encoding_name(decoder->encoding));
        size_t made = 0, before = in.len;
        uint8_t *to = cap > 0 ? out->data + out->len : &spare;
        int code = steps[decoder->encoding](decoder, &in, to, cap > 0 ? cap : 1, &made, err);
        if (cap == 0 && made > 0)
            return weir_fail(err, WEIR_E_LIMIT, "%s: decodes to more than %zu bytes", encoding_name(decoder->encoding),
                             decoder->max_bytes);
        out->len += made;
        decoder->total += made;
        if (code != WEIR_OK)
            return code;
        full = made > 0 && made == cap;
        if (made == 0 && in.len > 0 && in.len == before)
            return weir_fail(err, WEIR_E_INVALID, "%s: no way forward", encoding_name(decoder->encoding));
    }
    return WEIR_OK;
}

int decoder_finish(struct decoder *decoder, struct weir_err *err)
{
    if (!decoder->inside)
        return WEIR_OK;
    return weir_fail(err, WEIR_E_INVALID, "%s: the data ends too early", encoding_name(decoder->encoding));
}

// --- encoder --------------------------------------------------------------------------------------------------------
struct encoder {
    enum encoding encoding;
    z_stream gzip;
    ZSTD_CCtx *zstd;
};

struct encoder *encoder_new(enum encoding encoding, int level)
{
    struct encoder *encoder = (struct encoder *)calloc(1, sizeof(*encoder));
    if (encoder == NULL)
        return NULL;
    encoder->encoding = encoding;
    level = level == 0 ? 1 : level;
    bool ok = true;
    if (encoding == ENCODING_GZIP)
        ok = deflateInit2(&encoder->gzip, level, Z_DEFLATED, GZIP_WINDOW, GZIP_MEM_LEVEL, Z_DEFAULT_STRATEGY) == Z_OK;
    if (encoding == ENCODING_ZSTD) {
        int window_log = level < ZSTD_WINDOW_LEVEL ? 0 : WINDOW_LOG_MAX;
        encoder->zstd = ZSTD_createCCtx();
        ok = encoder->zstd != NULL &&
             !ZSTD_isError(ZSTD_CCtx_setParameter(encoder->zstd, ZSTD_c_compressionLevel, level)) &&
             !ZSTD_isError(ZSTD_CCtx_setParameter(encoder->zstd, ZSTD_c_windowLog, window_log));
    }
    if (ok)
        return encoder;
    ZSTD_freeCCtx(encoder->zstd);
    free(encoder);
    return NULL;
}

void encoder_reset(struct encoder *encoder)
{
    if (encoder->encoding == ENCODING_GZIP)
        deflateReset(&encoder->gzip);
    if (encoder->encoding == ENCODING_ZSTD)
        ZSTD_CCtx_reset(encoder->zstd, ZSTD_reset_session_only);
}

void encoder_free(struct encoder *encoder)
{
    if (encoder == NULL)
        return;
    if (encoder->encoding == ENCODING_GZIP)
        deflateEnd(&encoder->gzip);
    ZSTD_freeCCtx(encoder->zstd);
    free(encoder);
}

// Both run one step into out's free room; *done when all input is taken and, at the end, all output written.
static int step_deflate(struct encoder *encoder, struct weir_slice *in, struct weir_buf *out, bool end, bool *done)
{
    z_stream *z = &encoder->gzip;
    uInt in_len = in->len < UINT_MAX ? (uInt)in->len : UINT_MAX;
    size_t room = out->cap - out->len < UINT_MAX ? out->cap - out->len : UINT_MAX;
    z->next_in = in->data;
    z->avail_in = in_len;
    z->next_out = out->data + out->len;
    z->avail_out = (uInt)room;
    int code = deflate(z, end ? Z_FINISH : Z_NO_FLUSH);
    size_t used = in_len - z->avail_in;
    in->data += used;
    in->len -= used;
    out->len += room - z->avail_out;
    *done = end ? code == Z_STREAM_END : in->len == 0;
    return code == Z_STREAM_ERROR ? WEIR_E_INVALID : WEIR_OK;
}

static int step_compress(struct encoder *encoder, struct weir_slice *in, struct weir_buf *out, bool end, bool *done)
{
    ZSTD_inBuffer from = {in->data, in->len, 0};
    ZSTD_outBuffer to = {out->data + out->len, out->cap - out->len, 0};
    size_t left = ZSTD_compressStream2(encoder->zstd, &to, &from, end ? ZSTD_e_end : ZSTD_e_continue);
    if (ZSTD_isError(left))
        return ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation ? WEIR_E_NOMEM : WEIR_E_INVALID;
    in->data += from.pos;
    in->len -= from.pos;
    out->len += to.pos;
    *done = end ? left == 0 : in->len == 0;
    return WEIR_OK;
}

static int encode(struct encoder *encoder, struct weir_slice in, struct weir_buf *out, bool end, struct weir_err *err)
{
    static const uint8_t nothing[1];
    const char *name = encoding_name(encoder->encoding);
    if (in.data == NULL) // of an empty input: pointers are moved below
        in.data = nothing;
    if (encoder->encoding == ENCODING_IDENTITY) {
        if (weir_buf_append(out, in.data, in.len))
            return WEIR_OK;
        return weir_fail(err, WEIR_E_NOMEM, "%s: out of memory", name);
    }
    for (bool done = in.len == 0 && !end; !done;) {
        if (!weir_buf_reserve(out, in.len / 4 + 1024))
            return weir_fail(err, WEIR_E_NOMEM, "%s: out of memory", name);
        int code = encoder->encoding == ENCODING_GZIP ? step_deflate(encoder, &in, out, end, &done)
                                                      : step_compress(encoder, &in, out, end, &done);
        if (code != WEIR_OK)
            return weir_fail(err, code, "%s: encoder failed", name);
    }
    return WEIR_OK;
}

int encoder_feed(struct encoder *encoder, struct weir_slice in, struct weir_buf *out, struct weir_err *err)
{
    return encode(encoder, in, out, false, err);
}

int encoder_finish(struct encoder *encoder, struct weir_buf *out, struct weir_err *err)
{
    return encode(encoder, (struct weir_slice){0}, out, true, err);
}
