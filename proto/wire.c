// SPDX-License-Identifier: Apache-2.0
#include "proto/wire.h"

struct wire_reader wire_reader_of(struct weir_slice message)
{
    return (struct wire_reader){message.data, message.len ? message.data + message.len : message.data};
}

static const uint8_t *read_fixed(const uint8_t *p, const uint8_t *end, size_t len, uint64_t *value)
{
    if ((size_t)(end - p) < len)
        return NULL;
    *value = len == 4 ? weir_get_u32(p) : weir_get_u64(p);
    return p + len;
}

int wire_next(struct wire_reader *reader, struct wire_field *field)
{
    if (reader->p == reader->end)
        return 0;
    uint32_t tag;
    const uint8_t *end = reader->end;
    const uint8_t *p = wire_tag(reader->p, end, &tag);
    if (p == NULL)
        return -1;
    *field = (struct wire_field){.number = tag >> 3, .type = tag & 7};
    switch (field->type) {
    case WIRE_VARINT:
        p = wire_varint(p, end, &field->value);
        break;
    case WIRE_FIXED64:
        p = read_fixed(p, end, 8, &field->value);
        break;
    case WIRE_FIXED32:
        p = read_fixed(p, end, 4, &field->value);
        break;
    case WIRE_LEN:
        p = wire_length(p, end, &field->bytes.len);
        field->bytes.data = p;
        p = p == NULL ? NULL : p + field->bytes.len;
        break;
    default:
        return -1;
    }
    if (p == NULL)
        return -1;
    reader->p = p;
    return 1;
}

static bool put_raw(struct weir_buf *out, uint64_t value)
{
    uint8_t bytes[WIRE_VARINT_MAX];
    size_t len = 0;
    for (; value >= 0x80; value >>= 7)
        bytes[len++] = (uint8_t)(value | 0x80);
    bytes[len++] = (uint8_t)value;
    return weir_buf_append(out, bytes, len);
}

bool wire_put_varint(struct weir_buf *out, uint32_t number, uint64_t value)
{
    return value == 0 || (put_raw(out, WIRE_TAG(number, WIRE_VARINT)) && put_raw(out, value));
}

bool wire_put_bytes(struct weir_buf *out, uint32_t number, const void *data, size_t len)
{
    return put_raw(out, WIRE_TAG(number, WIRE_LEN)) && put_raw(out, len) && weir_buf_append(out, data, len);
}
