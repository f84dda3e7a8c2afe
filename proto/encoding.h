// SPDX-License-Identifier: Apache-2.0
// Content encodings of request bodies, both ways, as streams with a total cap. An object belongs to one thread at a time.
#ifndef WEIR_PROTO_ENCODING_H
#define WEIR_PROTO_ENCODING_H

#include "proto/base.h"
#include "proto/err.h"

enum encoding {
    ENCODING_IDENTITY = 0,
    ENCODING_GZIP,
    ENCODING_ZSTD,
    ENCODING_ZLIB,          // "deflate" and "zlib": what HTTP calls deflate has zlib's head and checksum (P6)
    ENCODING_SNAPPY,        // block format, as HTTP's "snappy" means it
    ENCODING_SNAPPY_FRAMED, // framing format, as gRPC's "snappy" means it (G12)
    ENCODING_LZ4,           // LZ4 frames
};
#define ENCODINGS      7
#define ENCODINGS_SENT 3 // the first ones have an encoder

// The same name may mean two things.
enum encoding_use { ENCODING_OF_HTTP = 1, ENCODING_OF_GRPC = 2 };

// What is accepted, as Accept-Encoding and grpc-accept-encoding list it: "identity,gzip,zstd,…".
const char *encoding_accept(enum encoding_use use);
// As it is written in a request of ours.
const char *encoding_name(enum encoding encoding);
// Any letter case (P5); "" counts as identity. False when weir does not know it.
bool encoding_by_name(enum encoding_use use, const char *name, size_t len, enum encoding *encoding);

// Decoder: bytes in, decoded bytes appended to a buffer, never more than `max_bytes` in all, over all frames or members
// (G14, G15, P7). gzip may have several members, zstd and LZ4 several frames and skippable ones, zstd's window at most 8 MiB; what is left
// behind the last one is an error (Z1, Z4, Z6, Z9), and so is anything behind the one stream of zlib (Z7). Where snappy's block format
// is meant and the framing format begins, that is taken (P6).
struct decoder;
struct decoder *decoder_new(enum encoding encoding, size_t max_bytes); // NULL: out of memory
// Makes a used decoder like new, keeping its memory. Same encoding.
void decoder_reset(struct decoder *decoder, size_t max_bytes);
// WEIR_E_LIMIT when the output would pass max_bytes (at most max_bytes were appended), WEIR_E_INVALID for corrupt input, WEIR_E_NOMEM.
int decoder_feed(struct decoder *decoder, struct weir_slice in, struct weir_buf *out, struct weir_err *err);
// Input has ended: WEIR_E_INVALID when it ended inside a frame or member. Zero input bytes are an empty output. Snappy's block format
// is decoded only here: WEIR_E_NOMEM.
int decoder_finish(struct decoder *decoder, struct weir_buf *out, struct weir_err *err);
// Bytes that the decoder holds or will need beside the output so far, and that grow with the input: snappy's block format alone.
size_t decoder_held_bytes(const struct decoder *decoder);
void decoder_free(struct decoder *decoder); // NULL is fine

// Encoder: one gzip member or one zstd frame around all that is fed (Z6). `level` 0 = the encoding's default (gzip 1 for speed, zstd 1).
// Of the first ENCODINGS_SENT encodings.
struct encoder;
struct encoder *encoder_new(enum encoding encoding, int level);
void encoder_reset(struct encoder *encoder);
int encoder_feed(struct encoder *encoder, struct weir_slice in, struct weir_buf *out, struct weir_err *err);
int encoder_finish(struct encoder *encoder, struct weir_buf *out, struct weir_err *err);
void encoder_free(struct encoder *encoder);

#endif
