// SPDX-License-Identifier: Apache-2.0
// Protobuf written field by field into a buffer: independent of the code under test and fast enough to saturate it.
#ifndef WEIR_TOOLS_EMIT_H
#define WEIR_TOOLS_EMIT_H

#include "proto/base.h"

struct emitter { // zero-initialise; `failed` sticks when memory runs out
    struct weir_buf buf;
    bool failed;
};

void emit_varint(struct emitter *out, uint32_t field, uint64_t value);
void emit_fixed64(struct emitter *out, uint32_t field, uint64_t value);
void emit_bytes(struct emitter *out, uint32_t field, const void *data, size_t len);
void emit_string(struct emitter *out, uint32_t field, const char *text);
// A nested message: everything between begin and end is its content. `expected_bytes` saves a move when it has the right magnitude.
size_t emit_begin(struct emitter *out, uint32_t field, size_t expected_bytes);
void emit_end(struct emitter *out, size_t mark, size_t expected_bytes);

#endif
