// SPDX-License-Identifier: Apache-2.0
// What goes with a block's requests into the spool, which does not look at it, and out again to every upstream.
//   empty    nothing
//   byte 0   flags
#ifndef WEIR_RELAY_ENVELOPE_H
#define WEIR_RELAY_ENVELOPE_H

#include "proto/base.h"

#define ENVELOPE_ALONE                                                                                                 \
    0x01u // its one request has a root field that does not just repeat: back to back with others it would be another (C3)

static inline bool envelope_is_alone(struct weir_slice envelope)
{
    return envelope.len > 0 && (envelope.data[0] & ENVELOPE_ALONE) != 0;
}

// Whether blocks of these may travel in one request.
static inline bool envelopes_join(struct weir_slice a, struct weir_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0) && !envelope_is_alone(a);
}

#endif
