// SPDX-License-Identifier: Apache-2.0
// OTLP's messages with names and types: the descriptors that protoc-c makes from the schema next door. The walker has tables of its
// own, because it is in the path of every byte; what is off that path reads these. Pure, any thread.
#ifndef WEIR_PROTO_OTLP_SCHEMA_H
#define WEIR_PROTO_OTLP_SCHEMA_H

#include <protobuf-c/protobuf-c.h>

#include "proto/base.h"

#define OTLP_FIELDS_MAX 16 // of one message: Span has the most

// The export requests.
extern const ProtobufCMessageDescriptor *const otlp_requests[WEIR_SIGNALS];

// Index in message->fields of the field with that number; -1: there is none.
int otlp_field_index(const ProtobufCMessageDescriptor *message, uint32_t number);
// The field of that name, in lowerCamelCase or as in the schema (OTLP.md J7); NULL: there is none. Keys mostly come in the schema's order:
// *guess, 0 at first, is where to look, and moves behind what was found.
const ProtobufCFieldDescriptor *otlp_field_by_json_name(const ProtobufCMessageDescriptor *message,
                                                        struct weir_slice key, unsigned *guess);
// enum wire_type of one value.
uint8_t otlp_wire_type(ProtobufCType type);
// Whether the two are members of one oneof. (`optional` fields are a oneof of one member.)
bool otlp_same_oneof(const ProtobufCFieldDescriptor *a, const ProtobufCFieldDescriptor *b);
// Whether its presence counts, whatever its value.
bool otlp_has_presence(const ProtobufCFieldDescriptor *field);
// Bytes that JSON has in hex instead of base64 (OTLP.md J1, J2).
bool otlp_is_id(const ProtobufCFieldDescriptor *field);

#endif
