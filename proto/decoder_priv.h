// SPDX-License-Identifier: Apache-2.0
// The decoder's inside: one row of functions an encoding. decoder.c has the loop around them, which knows the limit.
#ifndef WEIR_PROTO_DECODER_PRIV_H
#define WEIR_PROTO_DECODER_PRIV_H

#include <lz4frame.h>
#define ZLIB_CONST
#include <zlib.h>
#include <zstd.h>

#include "proto/encoding.h"

#define ZSTD_HEAD_MAX     18            // of a frame: magic number, descriptor, window, dictionary, content size
#define SNAPPY_CHUNK_MAX  65536u        // of a chunk of the framing format, decoded
#define SNAPPY_CHUNK_WIRE (76490u + 4u) // the same as compressed at worst, and its checksum

struct decoder {
    enum encoding encoding;
    size_t max_bytes;
    size_t total; // bytes decoded so far
    bool inside;  // of a frame, member, chunk or block that has not ended
    struct {
        z_stream stream;
        bool ended; // zlib: the one stream there may be
    } zlib;
    struct {
        ZSTD_DCtx *context;
        uint8_t head[ZSTD_HEAD_MAX]; // the first bytes of the frame at hand
        uint8_t head_len;
        size_t frame_in, frame_out; // bytes taken of that frame, and what they have decoded to
    } zstd;
    LZ4F_dctx *lz4;
    struct {
        struct weir_buf wire; // block format: all of the input; framing format: the chunk at hand, with its head
        bool framed;          // the framing format, asked for or found
        bool begun;           // its identifier was there
        size_t skip;          // bytes of a skippable chunk still to come
        uint8_t *chunk;       // a decoded chunk, SNAPPY_CHUNK_MAX
        size_t chunk_at, chunk_len;
    } snappy;
};

struct decoder_codec {
    bool (*open)(struct decoder *decoder); // false: out of memory
    void (*reset)(struct decoder *decoder);
    void (*close)(struct decoder *decoder); // also after a failed open
    // One step: takes from *in, writes at most `cap` bytes to `to`, says in *made how many.
    int (*step)(struct decoder *decoder, struct weir_slice *in, uint8_t *to, size_t cap, size_t *made,
                struct weir_err *err);
};
extern const struct decoder_codec decoder_zstd, decoder_snappy, decoder_lz4;
// The whole of a block, when the input has ended. The rest is done by the framing format's steps.
int decoder_snappy_finish(struct decoder *decoder, struct weir_buf *out, struct weir_err *err);

#endif
