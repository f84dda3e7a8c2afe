// SPDX-License-Identifier: Apache-2.0
// What goes with a block's requests into the spool, which does not look at it, and out again to every upstream.
//   empty    nothing
//   byte 0   flags: 1 its one request travels alone, 2 headers follow, 4 a handoff follows; others: a newer weir wrote it
//   then, with flag 4: HANDOFF_BYTES (handoff.h) of the one request, which came from another weir; they are for weir itself, never sent on
//   then, with flag 2, to the end, at least once:
//            length of the name, name, length of the value, value     lengths: LEB128, as short as they can be
// Names are in lower case and in the order of the configuration's list, which is sorted; a repeated header stands there as often, in the
// order it came. So requests with the same kept headers have the same bytes: they are compared as such.
#ifndef WEIR_RELAY_ENVELOPE_H
#define WEIR_RELAY_ENVELOPE_H

#include "proto/base.h"
#include "proto/err.h"
#include "relay/handoff.h"

#define ENVELOPE_ALONE                                                                                                 \
    0x01u // its one request has a root field that does not just repeat: back to back with others it would be another (C3)
#define ENVELOPE_HEADERS 0x02u
#define ENVELOPE_HANDOFF 0x04u

#define ENVELOPE_HEADERS_MAX 32u   // of one request
#define ENVELOPE_BYTES_MAX   4096u // of one that is made here: upstreams take 8 KiB of headers in all, some of them

struct envelope_header {
    struct weir_slice name, value;
};
struct envelope {
    bool alone;
    struct weir_slice handoff; // data == NULL: none; else HANDOFF_BYTES
    size_t count;
    struct envelope_header headers[ENVELOPE_HEADERS_MAX];
};

// Appends the envelope's bytes: none when it says nothing. WEIR_E_LIMIT: too many headers or bytes; WEIR_E_INVALID: one that cannot
// be sent on; WEIR_E_NOMEM. The texts name no value.
int envelope_encode(const struct envelope *envelope, struct weir_buf *out, struct weir_err *err);
// Takes stored bytes apart; the slices point into them. WEIR_E_CORRUPT: not what envelope_encode makes; WEIR_E_FORMAT: a newer weir's.
int envelope_decode(struct weir_slice bytes, struct envelope *out, struct weir_err *err);

static inline bool envelope_is_alone(struct weir_slice envelope)
{
    return envelope.len > 0 && (envelope.data[0] & ENVELOPE_ALONE) != 0;
}

// Without its handoff, which does not matter to what is sent. *flags: the others.
static inline struct weir_slice envelope_sent(struct weir_slice envelope, uint8_t *flags)
{
    size_t skip = envelope.len == 0 ? 0 : (envelope.data[0] & ENVELOPE_HANDOFF) != 0 ? 1 + HANDOFF_BYTES : 1;
    *flags = envelope.len == 0 ? 0 : (uint8_t)(envelope.data[0] & ~ENVELOPE_HANDOFF);
    return skip > envelope.len ? (struct weir_slice){NULL, 0}
                               : (struct weir_slice){envelope.data + skip, envelope.len - skip};
}

// Whether blocks of these, which envelope_decode has found sound, may travel in one request.
static inline bool envelopes_join(struct weir_slice a, struct weir_slice b)
{
    uint8_t flags_a, flags_b;
    a = envelope_sent(a, &flags_a);
    b = envelope_sent(b, &flags_b);
    return flags_a == flags_b && (flags_a & ENVELOPE_ALONE) == 0 && a.len == b.len &&
           (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

#endif
