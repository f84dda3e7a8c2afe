// SPDX-License-Identifier: Apache-2.0
// Finds the answers in what a server sends: HTTP/1.1's heads, and the frames that end a gRPC call.
#ifndef WEIR_CHAOS_ANSWERS_H
#define WEIR_CHAOS_ANSWERS_H

#include "proto/base.h"

struct answers {
    enum { ANSWERS_UNKNOWN, ANSWERS_HTTP1, ANSWERS_HTTP2 } protocol;
    uint8_t frame[9]; // HTTP/2: length, type, flags, stream
    size_t have;      // of it
    size_t skip;      // bytes of the frame's payload still to come
};

// How many answers there are in the next bytes of one connection. HTTP/1.1: a read is at most one.
unsigned answers_count(struct answers *answers, const uint8_t *bytes, size_t len);

#endif
