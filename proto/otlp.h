// SPDX-License-Identifier: Apache-2.0
// OTLP's services, paths and export responses. Pure functions, any thread.
#ifndef WEIR_PROTO_OTLP_H
#define WEIR_PROTO_OTLP_H

#include "proto/base.h"
#include "proto/err.h"

// One row a signal: everything about its service that a transport needs (OTLP.md G2, P1, M2).
struct otlp_service {
    const char *grpc_path; // "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
    const char *http_path; // "/v1/traces"
    const char *item;      // what rejected_* counts: "span", "data point", "log record", "profile"
};
extern const struct otlp_service otlp_services[WEIR_SIGNALS];

// Exact, case-sensitive comparison of the whole path (G2, P27; a query must be cut off by the caller).
bool otlp_signal_by_grpc_path(const char *path, size_t len, enum weir_signal *signal);
bool otlp_signal_by_http_path(const char *path, size_t len, enum weir_signal *signal);

// Export*ServiceResponse.partial_success: the same field numbers in all four signals.
struct otlp_partial_success {
    int64_t rejected;  // items the server refused for good; 0 = none
    char message[256]; // cut to fit, always valid UTF-8
};

// Reads an Export*ServiceResponse; absent or empty partial_success gives zeros (P14, U6). Unknown fields are skipped.
// WEIR_E_INVALID when the bytes are no such message, WEIR_E_LIMIT above OTLP_RESPONSE_MAX_BYTES (U8).
#define OTLP_RESPONSE_MAX_BYTES (4u << 20)
int otlp_response_decode(struct weir_slice body, struct otlp_partial_success *out, struct weir_err *err);

// Appends an Export*ServiceResponse to `out`; a NULL or all-zero `partial` appends nothing: full success is an empty
// message (G19, P13). Used by test peers; weir itself never answers a partial success of its own.
// WEIR_E_NOMEM.
int otlp_response_encode(const struct otlp_partial_success *partial, struct weir_buf *out);

#endif
