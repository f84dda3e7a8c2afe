// SPDX-License-Identifier: Apache-2.0
// Item numbers of an OTLP request, read through protobuf-c: a decoder that shares no code with what weir checks requests with.
#ifndef WEIR_SINK_EXTRACT_H
#define WEIR_SINK_EXTRACT_H

#include "proto/base.h"
#include "proto/err.h"

// One item: `stream` is the resource's weir.test.stream ("" without one), `id` its weir.test.id, -1 without one.
typedef void (*extract_fn)(void *ctx, const char *stream, int64_t id);

// Calls `each` for every item in the order of the bytes. Nested requests that would overrun protobuf-c's stack are refused first.
// WEIR_E_INVALID, WEIR_E_LIMIT; then `each` was never called.
int extract_items(enum weir_signal signal, struct weir_slice request, extract_fn each, void *ctx, struct weir_err *err);

#endif
