// SPDX-License-Identifier: Apache-2.0
// Protobuf's wire format, field by field, for the small messages that are read and written by hand: statuses and
// responses. It allocates nothing and does not recurse, so a hostile answer costs no more than its own length.
// Pure, any thread.
#ifndef WEIR_PROTO_WIRE_H
#define WEIR_PROTO_WIRE_H

#include "proto/base.h"

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_LEN = 2, WIRE_FIXED32 = 5 };

#define WIRE_FIELD_MAX  536870911u // highest field number: 2^29-1
#define WIRE_LENGTH_MAX INT32_MAX  // of one field: what protobuf libraries agree on
#define WIRE_VARINT_MAX 10         // bytes
#define WIRE_TAG(n, t)  ((n) << 3 | (t))
#define WIRE_HIGH_BITS  UINT64_C(0x8080808080808080)
#define WIRE_TAG_MAX    5 // bytes; also of a length

static inline uint64_t wire_load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

// Reads a varint of at most 64 bits. Returns the byte behind it, or NULL when it is cut off or too long.
static inline const uint8_t *wire_varint(const uint8_t *p, const uint8_t *end, uint64_t *value)
{
    uint64_t v = 0;
    for (int i = 0; i < WIRE_VARINT_MAX && p + i < end; i++) {
        uint8_t byte = p[i];
        if (i == WIRE_VARINT_MAX - 1 && byte > 1)
            return NULL;
        v |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            *value = v;
            return p + i + 1;
        }
    }
    return NULL;
}

// A tag: at most 5 bytes, field number 1 to 2^29-1. NULL when it is none. The wire type is not looked at.
static inline const uint8_t *wire_tag(const uint8_t *p, const uint8_t *end, uint32_t *tag)
{
    uint64_t v;
    const uint8_t *next = wire_varint(p, end, &v);
    if (next == NULL || next - p > WIRE_TAG_MAX || v > UINT32_MAX || v >> 3 == 0)
        return NULL;
    *tag = (uint32_t)v;
    return next;
}

// A length and its bytes, which lie before `end`. NULL when they do not, or the length is written in more than 5 bytes.
static inline const uint8_t *wire_length(const uint8_t *p, const uint8_t *end, size_t *len)
{
    uint64_t v;
    const uint8_t *next = wire_varint(p, end, &v);
    if (next == NULL || next - p > WIRE_TAG_MAX || v > WIRE_LENGTH_MAX || v > (uint64_t)(end - next))
        return NULL;
    *len = (size_t)v;
    return next;
}

struct wire_field {
    uint32_t number;
    uint8_t type;            // enum wire_type
    uint64_t value;          // varint or fixed
    struct weir_slice bytes; // WIRE_LEN: into the input
};

struct wire_reader {
    const uint8_t *p;
    const uint8_t *end;
};

struct wire_reader wire_reader_of(struct weir_slice message);
// 1: `field` is the next field. 0: the message has ended. -1: it is broken (groups count as broken, M6).
int wire_next(struct wire_reader *reader, struct wire_field *field);

// Writers append one field; false when memory is out. Proto3 leaves out defaults: so do these with 0.
bool wire_put_varint(struct weir_buf *out, uint32_t number, uint64_t value);
bool wire_put_bytes(struct weir_buf *out, uint32_t number, const void *data, size_t len); // also when empty

#endif
