// SPDX-License-Identifier: Apache-2.0
// Snappy's two formats (google/snappy, format_description.txt and framing_format.txt). The block format says its length first and can only
// be decoded whole; the framing format has chunks of at most 64 KiB, each with a CRC-32C.
#include <snappy-c.h>

#include "proto/decoder_priv.h"

#define CHUNK_HEAD 4u // type, length in three bytes
#define CRC_BYTES  4u

static const uint8_t identifier[] = {0xff, 0x06, 0x00, 0x00, 's', 'N', 'a', 'P', 'p', 'Y'};
enum chunk_type { CHUNK_COMPRESSED = 0x00, CHUNK_PLAIN = 0x01, CHUNK_SKIPPABLE = 0x80, CHUNK_IDENTIFIER = 0xff };

static bool open_snappy(struct decoder *decoder)
{
    decoder->snappy.chunk = (uint8_t *)malloc(SNAPPY_CHUNK_MAX);
    return decoder->snappy.chunk != NULL;
}

static void reset_snappy(struct decoder *decoder)
{
    weir_buf_free(&decoder->snappy.wire);
    decoder->snappy.framed = decoder->encoding == ENCODING_SNAPPY_FRAMED;
    decoder->snappy.begun = false;
    decoder->snappy.skip = decoder->snappy.chunk_at = decoder->snappy.chunk_len = 0;
}

static void close_snappy(struct decoder *decoder)
{
    weir_buf_free(&decoder->snappy.wire);
    free(decoder->snappy.chunk);
}

static int bad(struct weir_err *err, const char *what)
{
    return weir_fail(err, WEIR_E_INVALID, "snappy: %s", what);
}

// CRC-32C, four bits at a time, masked as the framing format has it.
static uint32_t masked_crc(const uint8_t *data, size_t len)
{
    static const uint32_t table[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
                                       0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                                       0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        crc = table[crc & 15] ^ crc >> 4;
        crc = table[crc & 15] ^ crc >> 4;
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

// --- block format -------------------------------------------------------------------------------------------------------

// The length that a block begins with: a varint of at most 32 bits. False: not all of it is there.
static bool block_length(const struct weir_buf *wire, size_t *length)
{
    return wire->len > 0 && snappy_uncompressed_length((const char *)wire->data, wire->len, length) == SNAPPY_OK;
}

static int take_block(struct decoder *decoder, struct weir_slice *in, struct weir_err *err)
{
    struct weir_buf *wire = &decoder->snappy.wire;
    size_t length;
    // A few bytes first: what follows them may be too much.
    size_t n = wire->len < sizeof(identifier) && in->len > sizeof(identifier) - wire->len
                   ? sizeof(identifier) - wire->len
                   : in->len;
    if (wire->len + n > snappy_max_compressed_length(decoder->max_bytes))
        return weir_fail(err, WEIR_E_LIMIT, "snappy: more input than %zu bytes can be compressed to",
                         decoder->max_bytes);
    if (!weir_buf_append(wire, in->data, n))
        return weir_fail(err, WEIR_E_NOMEM, "snappy: out of memory");
    in->data += n;
    in->len -= n;
    decoder->inside = true;
    if (wire->len < sizeof(identifier))
        return WEIR_OK;
    if (memcmp(wire->data, identifier, sizeof(identifier)) == 0) {
        decoder->snappy.framed = decoder->snappy.begun = true;
        decoder->inside = false;
        weir_buf_free(wire);
        return WEIR_OK;
    }
    if (!block_length(wire, &length))
        return bad(err, "no length at the beginning");
    if (length > decoder->max_bytes)
        return weir_fail(err, WEIR_E_LIMIT, "snappy: decodes to more than %zu bytes", decoder->max_bytes);
    return wire->len > snappy_max_compressed_length(length) ? bad(err, "longer than its content can be") : WEIR_OK;
}

int decoder_snappy_finish(struct decoder *decoder, struct weir_buf *out, struct weir_err *err)
{
    struct weir_buf *wire = &decoder->snappy.wire;
    size_t length;
    if (wire->len == 0)
        return WEIR_OK;
    if (!block_length(wire, &length))
        return bad(err, "the data ends too early");
    if (length > decoder->max_bytes)
        return weir_fail(err, WEIR_E_LIMIT, "snappy: decodes to more than %zu bytes", decoder->max_bytes);
    if (!weir_buf_reserve(out, length + 1))
        return weir_fail(err, WEIR_E_NOMEM, "snappy: out of memory");
    if (snappy_uncompress((const char *)wire->data, wire->len, (char *)out->data + out->len, &length) != SNAPPY_OK)
        return bad(err, "corrupt data");
    out->len += length;
    decoder->total += length;
    decoder->inside = false;
    weir_buf_free(wire);
    return WEIR_OK;
}

size_t decoder_held_bytes(const struct decoder *decoder)
{
    size_t length = 0;
    if (decoder->encoding != ENCODING_SNAPPY || decoder->snappy.framed)
        return 0;
    if (!block_length(&decoder->snappy.wire, &length) || length > decoder->max_bytes)
        length = 0;
    return decoder->snappy.wire.len + length;
}

// --- framing format -----------------------------------------------------------------------------------------------------

// A chunk with data is whole.
static int decode_chunk(struct decoder *decoder, struct weir_err *err)
{
    const uint8_t *head = decoder->snappy.wire.data, *data = head + CHUNK_HEAD + CRC_BYTES;
    size_t len = decoder->snappy.wire.len - CHUNK_HEAD - CRC_BYTES, length = len;
    if (head[0] == CHUNK_COMPRESSED) {
        if (snappy_uncompressed_length((const char *)data, len, &length) != SNAPPY_OK || length > SNAPPY_CHUNK_MAX)
            return bad(err, "a chunk of more than 64 KiB, or without a length");
        if (snappy_uncompress((const char *)data, len, (char *)decoder->snappy.chunk, &length) != SNAPPY_OK)
            return bad(err, "corrupt chunk");
    } else if (len > SNAPPY_CHUNK_MAX) {
        return bad(err, "a chunk of more than 64 KiB");
    } else {
        memcpy(decoder->snappy.chunk, data, len);
    }
    if (masked_crc(decoder->snappy.chunk, length) != weir_get_u32(head + CHUNK_HEAD))
        return bad(err, "checksum of a chunk");
    decoder->snappy.chunk_at = 0;
    decoder->snappy.chunk_len = length;
    return WEIR_OK;
}

// The head of a chunk is there: how long the chunk may be, and which comes first.
static int check_chunk(struct decoder *decoder, size_t len, struct weir_err *err)
{
    const uint8_t *head = decoder->snappy.wire.data;
    if (!decoder->snappy.begun && head[0] != CHUNK_IDENTIFIER)
        return bad(err, "the framing format begins with another chunk");
    if (head[0] == CHUNK_IDENTIFIER)
        return len == sizeof(identifier) - CHUNK_HEAD ? WEIR_OK : bad(err, "stream identifier");
    if (head[0] >= CHUNK_SKIPPABLE) {
        decoder->snappy.skip = len;
        decoder->snappy.wire.len = 0;
        return WEIR_OK;
    }
    if (head[0] > CHUNK_PLAIN)
        return bad(err, "a chunk of an unknown type that must not be skipped");
    return len >= CRC_BYTES && len <= SNAPPY_CHUNK_WIRE ? WEIR_OK : bad(err, "length of a chunk");
}

// Moves input up to `want` bytes of the chunk at hand. False: out of memory.
static bool gather(struct weir_buf *wire, struct weir_slice *in, size_t want)
{
    size_t n = want - wire->len < in->len ? want - wire->len : in->len;
    if (!weir_buf_append(wire, in->data, n))
        return false;
    in->data += n;
    in->len -= n;
    return true;
}

static int take_chunk(struct decoder *decoder, struct weir_slice *in, struct weir_err *err)
{
    struct weir_buf *wire = &decoder->snappy.wire;
    if (decoder->snappy.skip > 0) {
        size_t n = decoder->snappy.skip < in->len ? decoder->snappy.skip : in->len;
        decoder->snappy.skip -= n;
        in->data += n;
        in->len -= n;
        return WEIR_OK;
    }
    bool head_was_there = wire->len >= CHUNK_HEAD;
    if (!head_was_there && !gather(wire, in, CHUNK_HEAD))
        return weir_fail(err, WEIR_E_NOMEM, "snappy: out of memory");
    if (wire->len < CHUNK_HEAD)
        return WEIR_OK;
    size_t len = (size_t)wire->data[1] | (size_t)wire->data[2] << 8 | (size_t)wire->data[3] << 16;
    int code = head_was_there ? WEIR_OK : check_chunk(decoder, len, err);
    if (code != WEIR_OK || wire->len == 0)
        return code;
    if (!gather(wire, in, CHUNK_HEAD + len))
        return weir_fail(err, WEIR_E_NOMEM, "snappy: out of memory");
    if (wire->len < CHUNK_HEAD + len)
        return WEIR_OK;
    if (wire->data[0] != CHUNK_IDENTIFIER)
        code = decode_chunk(decoder, err);
    else if (memcmp(wire->data, identifier, sizeof(identifier)) == 0)
        decoder->snappy.begun = true;
    else
        code = bad(err, "stream identifier");
    wire->len = 0;
    return code;
}

static int step_snappy(struct decoder *decoder, struct weir_slice *in, uint8_t *to, size_t cap, size_t *made,
                       struct weir_err *err)
{
    if (!decoder->snappy.framed)
        return take_block(decoder, in, err);
    int code = WEIR_OK;
    if (decoder->snappy.chunk_at == decoder->snappy.chunk_len && in->len > 0)
        code = take_chunk(decoder, in, err);
    size_t left = decoder->snappy.chunk_len - decoder->snappy.chunk_at;
    *made = left < cap ? left : cap;
    if (code == WEIR_OK && *made > 0)
        memcpy(to, decoder->snappy.chunk + decoder->snappy.chunk_at, *made);
    decoder->snappy.chunk_at += *made;
    decoder->inside = decoder->snappy.wire.len > 0 || decoder->snappy.skip > 0 ||
                      decoder->snappy.chunk_at < decoder->snappy.chunk_len;
    return code;
}

const struct decoder_codec decoder_snappy = {open_snappy, reset_snappy, close_snappy, step_snappy};
