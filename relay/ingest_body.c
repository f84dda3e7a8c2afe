// SPDX-License-Identifier: Apache-2.0
// The body of one request: room for it, decompression with the limit, JSON to protobuf. What a function refuses is gone when it returns false.
#include "proto/otlp_json.h"
#include "relay/ingest_priv.h"

#include <inttypes.h>

#define BUSY_TEXT          "too much data waits to become durable: try again shortly"
#define FIRST_BUFFER_BYTES (256u * 1024u) // a declared length is believed so far at once, the rest as it comes

// --- decoders, reused --------------------------------------------------------------------------------

static struct decoder *decoder_take(struct ingest *ingest, enum encoding encoding)
{
    uint32_t *count = &ingest->decoder_count[encoding];
    if (*count == 0)
        return decoder_new(encoding, ingest->options.max_request_bytes);
    struct decoder *decoder = ingest->decoders[encoding][--*count];
    decoder_reset(decoder, ingest->options.max_request_bytes);
    return decoder;
}

void ingest_decoder_give(struct request *request)
{
    struct ingest *ingest = request->ingest;
    if (request->decoder == NULL)
        return;
    uint32_t *count = &ingest->decoder_count[request->encoding];
    // Of the two that everybody uses: the others keep more memory, or little worth keeping.
    bool usual = request->encoding == ENCODING_GZIP || request->encoding == ENCODING_ZSTD;
    if (usual && *count < INGEST_SPARE_DECODERS)
        ingest->decoders[request->encoding][(*count)++] = request->decoder;
    else
        decoder_free(request->decoder);
    request->decoder = NULL;
}

// --- the body --------------------------------------------------------------------------------

bool ingest_take_length(struct request *request, uint64_t length)
{
    uint64_t max = request->ingest->options.max_request_bytes;
    uint64_t framing = request->transport == EXCHANGE_GRPC ? GRPC_PREFIX_LEN : 0;
    request->declared_bytes = length > framing ? length - framing : 0;
    if (request->declared_bytes > max) {
        char text[128];
        snprintf(text, sizeof(text), "the body has %" PRIu64 " bytes; the limit is %" PRIu64, length, max);
        ingest_request_refuse(request, REFUSAL_TOO_LARGE, text);
        return false;
    }
    if (!ingest_promise_ahead(request)) {
        ingest_request_refuse(request, REFUSAL_BUSY, BUSY_TEXT);
        return false;
    }
    return true;
}

bool ingest_take_prefix(struct request *request)
{
    const struct grpc_deframer *deframer = &request->deframer;
    if (deframer->length > request->ingest->options.max_request_bytes) {
        char text[128];
        snprintf(text, sizeof(text), "the message has %" PRIu32 " bytes; the limit is %" PRIu64, deframer->length,
                 request->ingest->options.max_request_bytes);
        ingest_request_refuse(request, REFUSAL_TOO_LARGE, text);
        return false;
    }
    if (deframer->compressed && request->encoding == ENCODING_IDENTITY) {
        ingest_request_refuse(request, REFUSAL_FRAMING,
                              "the message is marked compressed, but grpc-encoding names no encoding");
        return false;
    }
    request->plain = !deframer->compressed;
    request->declared_bytes = deframer->length;
    if (!ingest_promise_ahead(request)) {
        ingest_request_refuse(request, REFUSAL_BUSY, BUSY_TEXT);
        return false;
    }
    return true;
}

// Appends plain bytes, growing the buffer no further than the declared length needs.
static bool append_plain(struct request *request, struct weir_slice data)
{
    size_t need = request->raw.len + data.len;
    if (need > request->raw.cap) {
        size_t cap = need + need / 2;
        if (request->declared_bytes >= need &&
            (cap > request->declared_bytes || request->declared_bytes <= FIRST_BUFFER_BYTES))
            cap = request->declared_bytes;
        if (!weir_buf_reserve(&request->raw, cap - request->raw.len))
            return false;
    }
    return weir_buf_append(&request->raw, data.data, data.len);
}

static int decode_payload(struct request *request, struct weir_slice data, struct weir_err *err)
{
    uint64_t max = request->ingest->options.max_request_bytes;
    request->wire_bytes += data.len;
    // Also what decompresses to little or nothing: the limit holds on the wire, too (G14, P7).
    if (request->wire_bytes > max)
        return weir_fail(err, WEIR_E_LIMIT, "the request is larger than the limit of %" PRIu64 " bytes", max);
    if (request->decoder == NULL || request->plain) {
        if (!ingest_promise(request, request->raw.len + data.len))
            return WEIR_E_FULL;
        if (!append_plain(request, data))
            return weir_fail(err, WEIR_E_NOMEM, "out of memory");
        ingest_promise_earned(request, false);
        return WEIR_OK;
    }
    int rc = decoder_feed(request->decoder, data, &request->raw, err);
    uint64_t needed = request->raw.len + decoder_held_bytes(request->decoder);
    if (rc == WEIR_OK && !ingest_promise(request, needed))
        return WEIR_E_FULL;
    ingest_promise_earned(request, false);
    return rc;
}

// What became of decoding. False: the request was refused and is gone.
static bool is_decoded(struct request *request, int code, const struct weir_err *err)
{
    switch (code) {
    case WEIR_OK:
        return true;
    case WEIR_E_LIMIT:
        ingest_request_refuse(request, REFUSAL_TOO_LARGE, err->text);
        break;
    case WEIR_E_FULL:
        ingest_request_refuse(request, REFUSAL_BUSY, BUSY_TEXT);
        break;
    case WEIR_E_INVALID:
        ingest_request_refuse(request, REFUSAL_CORRUPT_ENCODING, err->text);
        break;
    default:
        ingest_request_refuse(request, REFUSAL_INTERNAL, err->text);
    }
    return false;
}

bool ingest_take_payload(struct request *request, struct weir_slice data)
{
    struct weir_err err = {0};
    return is_decoded(request, decode_payload(request, data, &err), &err);
}

// Puts the protobuf of a JSON body in its place. False: the request was refused and is gone.
static bool transcode(struct request *request)
{
    const struct ingest_options *ingest = &request->ingest->options;
    struct otlp_json_options options = {.max_bytes = ingest->max_request_bytes, .pass_bad_utf8 = ingest->pass_bad_utf8};
    struct weir_slice json = {request->raw.data, request->raw.len};
    struct weir_buf wire = {0};
    struct weir_err err = {0};
    // Both are there for a moment; protobuf is mostly the smaller of the two.
    if (!ingest_promise(request, 2 * (uint64_t)json.len)) {
        ingest_request_refuse(request, REFUSAL_BUSY, BUSY_TEXT);
        return false;
    }
    int code = otlp_json_read(request->signal, json, &options, &wire, &err);
    weir_buf_free(&request->raw);
    request->raw = wire;
    if (code == WEIR_E_INVALID) {
        ingest_request_refuse(request, REFUSAL_MALFORMED, err.text);
        return false;
    }
    if (code == WEIR_OK && !ingest_promise(request, wire.len))
        code = WEIR_E_FULL;
    return is_decoded(request, code, &err);
}

bool ingest_take_encoding(struct request *request)
{
    if (request->encoding == ENCODING_IDENTITY)
        return true;
    request->decoder = decoder_take(request->ingest, request->encoding);
    if (request->decoder == NULL)
        ingest_request_refuse(request, REFUSAL_INTERNAL, "out of memory");
    return request->decoder != NULL;
}

bool ingest_take_end(struct request *request)
{
    struct weir_err err = {0};
    ingest_receiving_remove(request);
    ingest_promise_earned(request, true);
    if (request->decoder != NULL && !request->plain &&
        !is_decoded(request, decoder_finish(request->decoder, &request->raw, &err), &err))
        return false;
    ingest_decoder_give(request);
    return !request->json || transcode(request);
}
