// SPDX-License-Identifier: Apache-2.0
// The loop that all decoders share and that knows the limit; gzip and zlib, and no encoding at all.
#include "proto/decoder_priv.h"

#define GZIP_WINDOW (15 + 16)
#define ZLIB_WINDOW 15
#define OUT_CHUNK   ((size_t)32 << 10)

// --- identity ---------------------------------------------------------------------------------------------------------

static bool open_nothing(struct decoder *decoder)
{
    return true;
}

static void reset_nothing(struct decoder *decoder)
{
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

static const struct decoder_codec identity = {open_nothing, reset_nothing, reset_nothing, step_identity};

// --- gzip and zlib ------------------------------------------------------------------------------------------------------

static bool open_zlib(struct decoder *decoder)
{
    return inflateInit2(&decoder->zlib.stream, decoder->encoding == ENCODING_GZIP ? GZIP_WINDOW : ZLIB_WINDOW) == Z_OK;
}

static void reset_zlib(struct decoder *decoder)
{
    decoder->zlib.ended = false;
    inflateReset(&decoder->zlib.stream);
}

static void close_zlib(struct decoder *decoder)
{
    inflateEnd(&decoder->zlib.stream);
}

static int step_zlib(struct decoder *decoder, struct weir_slice *in, uint8_t *to, size_t cap, size_t *made,
                     struct weir_err *err)
{
    z_stream *z = &decoder->zlib.stream;
    const char *name = encoding_name(decoder->encoding);
    if (!decoder->inside && in->len > 0) { // the first member, or one more behind the last (Z6)
        if (decoder->zlib.ended)
            return weir_fail(err, WEIR_E_INVALID, "%s: data behind the end of the stream", name);
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
    if (code == Z_STREAM_END) {
        decoder->inside = false;
        decoder->zlib.ended = decoder->encoding == ENCODING_ZLIB; // others ignore what follows: a silent loss (Z7)
    }
    if (code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR) // Z_BUF_ERROR: nothing to do just now
        return WEIR_OK;
    if (code == Z_MEM_ERROR)
        return weir_fail(err, WEIR_E_NOMEM, "%s: out of memory", name);
    return weir_fail(err, WEIR_E_INVALID, "%s: %s", name, z->msg != NULL ? z->msg : "corrupt data");
}

static const struct decoder_codec zlib = {open_zlib, reset_zlib, close_zlib, step_zlib};

// --- all ----------------------------------------------------------------------------------------------------------------

static const struct decoder_codec *const codecs[ENCODINGS] = {
    [ENCODING_IDENTITY] = &identity,     [ENCODING_GZIP] = &zlib,
    [ENCODING_ZSTD] = &decoder_zstd,     [ENCODING_ZLIB] = &zlib,
    [ENCODING_SNAPPY] = &decoder_snappy, [ENCODING_SNAPPY_FRAMED] = &decoder_snappy,
    [ENCODING_LZ4] = &decoder_lz4,
};

struct decoder *decoder_new(enum encoding encoding, size_t max_bytes)
{
    struct decoder *decoder = (struct decoder *)calloc(1, sizeof(*decoder));
    if (decoder == NULL)
        return NULL;
    decoder->encoding = encoding;
    decoder->max_bytes = max_bytes;
    if (!codecs[encoding]->open(decoder)) {
        decoder_free(decoder);
        return NULL;
    }
    codecs[encoding]->reset(decoder);
    return decoder;
}

void decoder_reset(struct decoder *decoder, size_t max_bytes)
{
    decoder->max_bytes = max_bytes;
    decoder->total = 0;
    decoder->inside = false;
    codecs[decoder->encoding]->reset(decoder);
}

void decoder_free(struct decoder *decoder)
{
    if (decoder == NULL)
        return;
    codecs[decoder->encoding]->close(decoder);
    free(decoder);
}

int decoder_feed(struct decoder *decoder, struct weir_slice in, struct weir_buf *out, struct weir_err *err)
{
    const struct decoder_codec *codec = codecs[decoder->encoding];
    for (bool full = false; in.len > 0 || full;) {
        // At the cap one more byte is asked for, into a spare: whether it comes tells the limit from the end.
        size_t room = decoder->max_bytes - decoder->total;
        size_t cap = room < OUT_CHUNK ? room : OUT_CHUNK;
        uint8_t spare;
        if (cap > 0 && !weir_buf_reserve(out, cap))
            return weir_fail(err, WEIR_E_NOMEM, "%s: out of memory", encoding_name(decoder->encoding));
        size_t made = 0, before = in.len;
        uint8_t *to = cap > 0 ? out->data + out->len : &spare;
        int code = codec->step(decoder, &in, to, cap > 0 ? cap : 1, &made, err);
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

int decoder_finish(struct decoder *decoder, struct weir_buf *out, struct weir_err *err)
{
    if (decoder->encoding == ENCODING_SNAPPY && !decoder->snappy.framed)
        return decoder_snappy_finish(decoder, out, err);
    if (!decoder->inside)
        return WEIR_OK;
    return weir_fail(err, WEIR_E_INVALID, "%s: the data ends too early", encoding_name(decoder->encoding));
}
