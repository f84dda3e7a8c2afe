// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/common/emit.h"

enum { EMIT_VARINT = 0, EMIT_FIXED64 = 1, EMIT_LEN = 2 };

static size_t varint_write(uint8_t *out, uint64_t value)
{
    size_t n = 0;
    while (value >= 0x80) {
        out[n++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    out[n++] = (uint8_t)value;
    return n;
}

static size_t varint_size(uint64_t value)
{
    size_t n = 1;
    for (; value >= 0x80; value >>= 7)
        n++;
    return n;
}

static void put(struct emitter *out, const void *data, size_t len)
{
    if (!weir_buf_append(&out->buf, data, len))
        out->failed = true;
}

static void put_varint(struct emitter *out, uint64_t value)
{
    uint8_t bytes[10];
    put(out, bytes, varint_write(bytes, value));
}

void emit_varint(struct emitter *out, uint32_t field, uint64_t value)
{
    put_varint(out, field << 3 | EMIT_VARINT);
    put_varint(out, value);
}

void emit_fixed64(struct emitter *out, uint32_t field, uint64_t value)
{
    uint8_t bytes[8];
    weir_put_u64(bytes, value);
    put_varint(out, field << 3 | EMIT_FIXED64);
    put(out, bytes, sizeof(bytes));
}

void emit_bytes(struct emitter *out, uint32_t field, const void *data, size_t len)
{
    put_varint(out, field << 3 | EMIT_LEN);
    put_varint(out, len);
    put(out, data, len);
}

void emit_string(struct emitter *out, uint32_t field, const char *text)
{
    emit_bytes(out, field, text, strlen(text));
}

size_t emit_begin(struct emitter *out, uint32_t field, size_t expected_bytes)
{
    static const uint8_t room[10];
    put_varint(out, field << 3 | EMIT_LEN);
    put(out, room, varint_size(expected_bytes));
    return out->buf.len;
}

// The length was given expected_bytes' width; where the real one has another, the content moves.
void emit_end(struct emitter *out, size_t mark, size_t expected_bytes)
{
    size_t len = out->failed ? 0 : out->buf.len - mark;
    size_t had = varint_size(expected_bytes), needs = varint_size(len);
    if (out->failed || (needs > had && !weir_buf_reserve(&out->buf, needs - had))) {
        out->failed = true;
        return;
    }
    uint8_t *at = out->buf.data + mark - had;
    if (needs != had)
        memmove(at + needs, at + had, len);
    out->buf.len = mark - had + needs + len;
    varint_write(at, len);
}
