// SPDX-License-Identifier: Apache-2.0
// Content encodings of request bodies, both ways, as streams with a total cap. An object belongs to one thread at a time.
#ifndef WEIR_PROTO_ENCODING_H
#define WEIR_PROTO_ENCODING_H

#include "proto/base.h"
#include "proto/err.h"

enum encoding { ENCODING_IDENTITY = 0, ENCODING_GZIP, ENCODING_ZSTD };
#define ENCODINGS 3

// What is accepted, as grpc-accept-encoding and Accept-Encoding list it: "identity,gzip,zstd".
extern const char encoding_accept[];
const char *encoding_name(enum encoding encoding);
// Any letter case (P5); "" counts as identity. False when weir does not know it.
bool encoding_by_name(const char *name, size_t len, enum encoding *encoding);

// Decoder: bytes in, decoded bytes appended to a buffer, never more than `max_bytes` in all, over all frames or members
// (G14, G15, P7). gzip may have several members, zstd several frames and skippable ones, window at most 8 MiB; what is left
// behind the last one is an error (Z1, Z4, Z6, Z9).
struct decoder;
struct decoder *decoder_new(enum encoding encoding, size_t max_bytes); // NULL: out of memory
// Makes a used decoder like new, keeping its memory. Same encoding.
void decoder_reset(struct decoder *decoder, size_t max_bytes);
// WEIR_E_LIMIT when the output would pass max_bytes (at most max_bytes were appended), WEIR_E_INVALID for corrupt input, WEIR_E_NOMEM.
int decoder_feed(struct decoder *decoder, struct weir_slice in, struct weir_buf *out, struct weir_err *err);
// Input has ended: WEIR_E_INVALID when it ended inside a frame or member. Zero input bytes are an empty output.
int decoder_finish(struct decoder *decoder, struct weir_err *err);
void decoder_free(struct decoder *decoder); // NULL is fine

// Encoder: one gzip member or one zstd frame around all that is fed (Z6). `level` 0 = the encoding's default (gzip 1 for speed, zstd 1).
struct encoder;
struct encoder *encoder_new(enum encoding encoding, int level);
void encoder_reset(struct encoder *encoder);
int encoder_feed(struct encoder *encoder, struct weir_slice in, struct weir_buf *out, struct weir_err *err);
int encoder_finish(struct encoder *encoder, struct weir_buf *out, struct weir_err *err);
void encoder_free(struct encoder *encoder);

#endif
