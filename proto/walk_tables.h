// SPDX-License-Identifier: Apache-2.0
// OTLP's messages as the walker needs them: per message and field number, what is to be found there.
#ifndef WEIR_PROTO_WALK_TABLES_H
#define WEIR_PROTO_WALK_TABLES_H

#include "proto/base.h"

enum walk_kind {
    WALK_UNKNOWN = 0,
    WALK_VARINT,
    WALK_FIXED32,
    WALK_FIXED64,
    WALK_TIME, // fixed64 that tells when an item was; `size` is its slot in the item
    WALK_STRING,
    WALK_BYTES, // `size` 0: any length, else 0 or that many bytes
    WALK_PACKED_VARINT,
    WALK_PACKED_FIXED64,
    WALK_MESSAGE,
    WALK_ATTRIBUTE, // a KeyValue: a message with a short cut
};

// What entering a message means for the counts.
enum walk_role {
    WALK_PLAIN = 0,
    WALK_RESOURCE,
    WALK_ITEM,   // counted
    WALK_METRIC, // holds items in a oneof (M3)
    WALK_MEMBER, // one of that oneof
};

struct walk_message;
struct walk_field {
    const char *name;
    const struct walk_message *child;
    uint8_t tag; // the tag as one byte (as two bytes' value above field 15); 0: no such field
    uint8_t kind;
    uint8_t size;
    uint8_t role;
    bool repeated;
};

// Row 0 is no field's and holds this, lest the byte 0 be taken for the tag of a row that is not there.
#define WALK_NO_TAG 0xff
#define WALK_FIELDS 17 // OTLP's highest field number is Span.flags, 16
struct walk_message {
    struct walk_field fields[WALK_FIELDS];
};

extern const struct walk_message *const walk_requests[WEIR_SIGNALS];

#endif
