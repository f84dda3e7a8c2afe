// SPDX-License-Identifier: Apache-2.0
// Chunked bodies (RFC 9112, 7.1), decoded in place. Pure, private to net/.
//
// picohttpparser's decoder ends a chunk's head or data at a bare LF and takes anything behind the digits for an extension. A proxy before
// us that reads those bytes otherwise sees other requests than we do, and hands our answers to the wrong clients. Here every line ends in
// CR LF, and what the grammar does not know is malformed.
#ifndef WEIR_NET_HTTP_CHUNKS_H
#define WEIR_NET_HTTP_CHUNKS_H

#include "proto/base.h"

#include <sys/types.h>

struct http_chunks { // zero-initialise
    uint64_t left;   // of the chunk
    uint8_t digits;  // of its size so far
    uint8_t state;
};

enum { HTTP_CHUNKS_MORE = -2, HTTP_CHUNKS_MALFORMED = -1 };

// Takes *len bytes and moves those of the body to their beginning; *len becomes their number, also of what came before an error. Returns how many
// bytes at the end, left where they are, lie behind the body and its trailers, or one of the two above.
ssize_t http_chunks_decode(struct http_chunks *chunks, uint8_t *data, size_t *len);

#endif
