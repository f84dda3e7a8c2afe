// SPDX-License-Identifier: Apache-2.0
#include "proto/otlp_schema.h"

#include "opentelemetry/proto/collector/logs/v1/logs_service.pb-c.h"
#include "opentelemetry/proto/collector/metrics/v1/metrics_service.pb-c.h"
#include "opentelemetry/proto/collector/profiles/v1development/profiles_service.pb-c.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.pb-c.h"
#include "proto/wire.h"

const ProtobufCMessageDescriptor *const otlp_requests[WEIR_SIGNALS] = {
    [WEIR_TRACES] = &opentelemetry__proto__collector__trace__v1__export_trace_service_request__descriptor,
    [WEIR_METRICS] = &opentelemetry__proto__collector__metrics__v1__export_metrics_service_request__descriptor,
    [WEIR_LOGS] = &opentelemetry__proto__collector__logs__v1__export_logs_service_request__descriptor,
    [WEIR_PROFILES] =
        &opentelemetry__proto__collector__profiles__v1development__export_profiles_service_request__descriptor,
};

int otlp_field_index(const ProtobufCMessageDescriptor *message, uint32_t number)
{
    // Fields ascend by number from 1 on, with few gaps: a field lies at its number or shortly before.
    unsigned i = number < message->n_fields ? number : message->n_fields;
    while (i > 0 && message->fields[i - 1].id > number)
        i--;
    return i > 0 && message->fields[i - 1].id == number ? (int)i - 1 : -1;
}

bool otlp_has_presence(const ProtobufCFieldDescriptor *field)
{
    return (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 || field->type == PROTOBUF_C_TYPE_MESSAGE;
}

bool otlp_same_oneof(const ProtobufCFieldDescriptor *a, const ProtobufCFieldDescriptor *b)
{
    return (a->flags & b->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 && a->quantifier_offset == b->quantifier_offset;
}

bool otlp_is_id(const ProtobufCFieldDescriptor *field)
{
    static const char *const names[] = {"trace_id", "span_id", "parent_span_id", "profile_id"};
    for (size_t i = 0; i < WEIR_COUNT(names) && field->type == PROTOBUF_C_TYPE_BYTES; i++)
        if (strcmp(field->name, names[i]) == 0)
            return true;
    return false;
}

uint8_t otlp_wire_type(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return WIRE_FIXED32;
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return WIRE_FIXED64;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return WIRE_LEN;
    default:
        return WIRE_VARINT;
    }
}

// Whether a key is the field's name, in lowerCamelCase or as in the schema (J7).
static bool is_name(const char *name, const uint8_t *key, size_t len)
{
    size_t i = 0;
    for (; *name != '\0' && i < len; name++, i++) {
        bool folded = name[0] == '_' && key[i] != '_';
        name += folded;
        if (key[i] != (uint8_t)(folded ? *name - 'a' + 'A' : *name))
            return false;
    }
    return *name == '\0' && i == len;
}

const ProtobufCFieldDescriptor *otlp_field_by_json_name(const ProtobufCMessageDescriptor *message,
                                                        struct weir_slice key, unsigned *guess)
{
    for (unsigned i = 0; i < message->n_fields; i++) {
        unsigned at = *guess + i < message->n_fields ? *guess + i : *guess + i - message->n_fields;
        if (is_name(message->fields[at].name, key.data, key.len)) {
            *guess = at + 1 < message->n_fields ? at + 1 : 0;
            return &message->fields[at];
        }
    }
    return NULL;
}
