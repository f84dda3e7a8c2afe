// SPDX-License-Identifier: Apache-2.0
// gRPC over HTTP/2 as bytes and strings: message framing, statuses and their details, timeouts. Pure, any thread.
#ifndef WEIR_PROTO_GRPC_H
#define WEIR_PROTO_GRPC_H

#include "proto/base.h"
#include "proto/err.h"

enum grpc_status {
    GRPC_OK = 0,
    GRPC_CANCELLED,
    GRPC_UNKNOWN,
    GRPC_INVALID_ARGUMENT,
    GRPC_DEADLINE_EXCEEDED,
    GRPC_NOT_FOUND,
    GRPC_ALREADY_EXISTS,
    GRPC_PERMISSION_DENIED,
    GRPC_RESOURCE_EXHAUSTED,
    GRPC_FAILED_PRECONDITION,
    GRPC_ABORTED,
    GRPC_OUT_OF_RANGE,
    GRPC_UNIMPLEMENTED,
    GRPC_INTERNAL,
    GRPC_UNAVAILABLE,
    GRPC_DATA_LOSS,
    GRPC_UNAUTHENTICATED,
};
#define GRPC_STATUSES 17

const char *grpc_status_name(int status);                          // "UNAVAILABLE"; "UNRECOGNIZED" for numbers above 16
bool grpc_status_parse(const char *text, size_t len, int *status); // decimal header value
bool grpc_status_by_name(const char *name, int *status);

#define GRPC_PREFIX_LEN 5
void grpc_prefix_write(uint8_t prefix[GRPC_PREFIX_LEN], bool compressed, uint32_t len);

// Takes a request or response body apart as it arrives, in pieces of any size (G8). Zero-initialise.
struct grpc_deframer {
    uint8_t prefix[GRPC_PREFIX_LEN];
    uint8_t prefix_len;
    bool compressed; // valid once prefix_len == GRPC_PREFIX_LEN
    uint32_t length; // declared length of the message, before decompression
    uint32_t got;    // payload bytes handed out so far
};
// Consumes from *data the prefix and then payload; on return `payload` is the (possibly empty) part of the message found at *data,
// and *data has moved past it. Call until data->len is 0. WEIR_E_INVALID: flag above 1 (G10), or bytes behind the one
// message that a unary call has (G16).
int grpc_deframer_feed(struct grpc_deframer *deframer, struct weir_slice *data, struct weir_slice *payload,
                       struct weir_err *err);
// At end of stream: WEIR_OK when exactly one whole message came, else WEIR_E_INVALID (G16).
int grpc_deframer_finish(const struct grpc_deframer *deframer, struct weir_err *err);

// grpc-timeout: 1-8 digits and one of H M S m u n (G6). False when malformed. Never above INT64_MAX (292 years).
bool grpc_timeout_parse(const char *text, size_t len, uint64_t *timeout_ns);
// "10000m" and so on, rounded up to what 8 digits can say.
void grpc_timeout_format(uint64_t timeout_ns, char buf[16]);

// grpc-message: percent-encoding of everything outside 0x20-0x7E and of '%' (G21). Output is NUL-terminated and cut at a
// whole escape when `cap` is short.
void grpc_message_encode(const char *text, char *out, size_t cap);
void grpc_message_decode(const char *text, size_t len, char *out, size_t cap);

// google.rpc.Status (code=1, message=2, details=3 Any) with an optional google.rpc.RetryInfo (G22).
struct rpc_status {
    int code; // enum grpc_status
    char message[512];
    bool has_retry_info; // presence alone makes RESOURCE_EXHAUSTED retryable (U2)
    uint64_t retry_delay_ms;
};
// The protobuf bytes: the body of an OTLP/HTTP error (P15) and, in base64, grpc-status-details-bin. WEIR_E_NOMEM.
int rpc_status_encode(const struct rpc_status *status, struct weir_buf *out);
// WEIR_E_INVALID: no such message; WEIR_E_LIMIT: above RPC_STATUS_MAX_BYTES. The text comes out as valid UTF-8, cut to fit.
#define RPC_STATUS_MAX_BYTES (64u << 10)
int rpc_status_decode(struct weir_slice body, struct rpc_status *out, struct weir_err *err);
// The raw google.rpc.RetryInfo message for google.rpc.retryinfo-bin (G23). WEIR_E_NOMEM.
int rpc_retry_info_encode(uint64_t delay_ms, struct weir_buf *out);

// Base64 of one "-bin" value: unpadded on output (G22), padded or not on input (G7). Append to `out`. WEIR_E_INVALID, WEIR_E_NOMEM.
int grpc_bin_encode(struct weir_slice data, struct weir_buf *out);
int grpc_bin_decode(const char *text, size_t len, struct weir_buf *out, struct weir_err *err);

#endif
