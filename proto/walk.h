// SPDX-License-Identifier: Apache-2.0
// The wire walker: one pass over an Export*ServiceRequest in protobuf that proves it is what it claims to be and
// counts what is in it, without building a tree. Pure, any thread, no allocation, bounded stack.
#ifndef WEIR_PROTO_WALK_H
#define WEIR_PROTO_WALK_H

#include "proto/base.h"
#include "proto/err.h"

#define OTLP_DEPTH_MAX 64 // nested messages below the request (OTLP.md J16)

struct otlp_summary {
    uint64_t items;       // spans, data points, log records, profiles (OTLP.md M1, M2)
    uint64_t resources;   // ResourceSpans and so on at the root
    uint64_t time_min_ns; // earliest and latest item time (Unix ns); both 0 when no item has a time
    uint64_t time_max_ns;
    bool mergeable; // every root tag is field 1 LEN and the signal is not profiles (C1-C3)
};

struct otlp_walk_options {
    bool pass_bad_utf8; // receiver.utf8: pass
};

// Checks and counts `len` bytes of one request.
// Refused with WEIR_E_INVALID and a text that names the field's path, e.g. "resource_spans[3].scope_spans[0].spans[7].name:
// not UTF-8": truncated or over-long fields, field number 0, wire types 3, 4, 6, 7 (M4, M6), varints above 10 bytes, a known field
// with the wrong wire type (M4), bad UTF-8 in a string field (M5, section 0), trace_id not of 0 or 16 and span_id not of 0
// or 8 bytes (J4), packed fixed fields whose length is no multiple of the element. WEIR_E_LIMIT: deeper than OTLP_DEPTH_MAX.
// Unknown fields are skipped and kept (the bytes are stored as they came). `out` is filled on WEIR_OK only.
// Never accepts what protobuf-c rejects, but for one bug of protobuf-c 1.4: a message field that comes twice, with a oneof
// unset in both, is sound (protobuf merges the two, M8), and protobuf-c cannot merge it.
int otlp_walk(enum weir_signal signal, const uint8_t *data, size_t len, const struct otlp_walk_options *options,
              struct otlp_summary *out, struct weir_err *err);

#endif
