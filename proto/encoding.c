// SPDX-License-Identifier: Apache-2.0
// Names of encodings, and the encoder.
#include "proto/encoding.h"

#include <strings.h>

#define ZLIB_CONST
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#define GZIP_WINDOW       (15 + 16)
#define GZIP_MEM_LEVEL    8
#define WINDOW_LOG_MAX    23
#define ZSTD_WINDOW_LEVEL 20 // from this level on, zstd would choose windows above 8 MiB

// The first row of an encoding has the name that weir itself writes.
static const struct {
    const char *name;
    unsigned uses;
    enum encoding encoding;
} rows[] = {
    {"identity", ENCODING_OF_HTTP | ENCODING_OF_GRPC, ENCODING_IDENTITY},
    {"gzip", ENCODING_OF_HTTP | ENCODING_OF_GRPC, ENCODING_GZIP},
    {"zstd", ENCODING_OF_HTTP | ENCODING_OF_GRPC, ENCODING_ZSTD},
    {"deflate", ENCODING_OF_HTTP | ENCODING_OF_GRPC, ENCODING_ZLIB},
    {"zlib", ENCODING_OF_HTTP, ENCODING_ZLIB},
    {"snappy", ENCODING_OF_HTTP, ENCODING_SNAPPY},
    {"snappy", ENCODING_OF_GRPC, ENCODING_SNAPPY_FRAMED},
    {"x-snappy-framed", ENCODING_OF_HTTP, ENCODING_SNAPPY_FRAMED},
    {"lz4", ENCODING_OF_HTTP, ENCODING_LZ4},
};

const char *encoding_accept(enum encoding_use use)
{
    return use == ENCODING_OF_GRPC ? "identity,gzip,zstd,deflate,snappy"
                                   : "identity,gzip,zstd,deflate,zlib,snappy,x-snappy-framed,lz4";
}

const char *encoding_name(enum encoding encoding)
{
    for (size_t i = 0; i < WEIR_COUNT(rows); i++)
        if (rows[i].encoding == encoding)
            return rows[i].encoding == ENCODING_SNAPPY_FRAMED ? "x-snappy-framed" : rows[i].name;
    assert(!"an encoding without a name");
    return "";
}

bool encoding_by_name(enum encoding_use use, const char *name, size_t len, enum encoding *encoding)
{
    *encoding = ENCODING_IDENTITY;
    if (len == 0)
        return true;
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        if (rows[i].uses & use && len == strlen(rows[i].name) && strncasecmp(name, rows[i].name, len) == 0) {
            *encoding = rows[i].encoding;
            return true;
        }
    }
    return false;
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
    assert(encoding < ENCODINGS_SENT);
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
