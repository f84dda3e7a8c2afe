// SPDX-License-Identifier: Apache-2.0
// What an upstream's answer means for the data that was sent: one table for gRPC, one for HTTP. Pure, any thread.
#ifndef WEIR_PROTO_VERDICT_H
#define WEIR_PROTO_VERDICT_H

#include "proto/base.h"
#include "proto/err.h"
#include "proto/grpc.h"

enum verdict_kind {
    VERDICT_DELIVERED, // the upstream has it; a partial success is counted, never resent (U6)
    VERDICT_RETRY,     // try again, after retry_after_ms or the backoff, whichever is longer (U2)
    VERDICT_SPLIT,     // too large as it is: try smaller parts (U16, U17, C5)
    VERDICT_REJECT,    // this data will never be taken: parts singly, then dead letter
    VERDICT_HOLD,      // a wrong setting on one side: keep the data, retry slowly, tell a person (U27)
};

struct verdict {
    enum verdict_kind kind;
    bool throttled; // the upstream asked for less: a delay of its own, 429, RESOURCE_EXHAUSTED
    bool passes;    // with SPLIT: may be a failure that passes, so that a single request is tried some times more (U17)
    bool unavailable;      // nobody there can take data now: another endpoint of the same upstream may
    bool repeated;         // it was taken before, with SPLIT some of it; not proto's to say
    bool refuses_encoding; // UNIMPLEMENTED, 400 or 415 while a compression was used: try the next encoding first (U24)
    uint64_t retry_after_ms; // 0: none given
    int64_t rejected_items;  // from a partial success
    char code[32];           // "UNAVAILABLE", "HTTP 503", "connect": for status and logs
    char message[256];       // the upstream's own words, valid UTF-8, cut to fit
};

// What came back for one export. Strings are not NUL-terminated; absent ones have data == NULL.
struct verdict_answer {
    int http_status; // :status or the status line's code
    struct weir_slice content_type;
    struct weir_slice grpc_status; // from trailers, or from headers when Trailers-Only
    struct weir_slice grpc_message;
    struct weir_slice grpc_details; // grpc-status-details-bin, base64
    struct weir_slice retry_after;  // HTTP Retry-After: seconds or IMF-fixdate (U4)
    struct weir_slice body;         // decoded body: HTTP body, or the gRPC response message without its prefix
    // What was sent, where the meaning depends on it:
    bool sent_compressed;    // gzip or zstd was used
    uint64_t sent_raw_bytes; // raw size of the export (U17: above 1 MiB, 8 without RetryInfo means SPLIT)
    uint64_t now_unix_ns;    // for Retry-After dates
};

// U1, U2, U6-U10, U17, U27. No grpc-status: by the HTTP status (U9).
void verdict_grpc(const struct verdict_answer *answer, struct verdict *out);
// U3, U4, U6, U7, U26, U27. 413 is SPLIT. A 2xx that brings a web page is HOLD: a captive portal or a web server answered, and nobody has
// the data.
void verdict_http(const struct verdict_answer *answer, struct verdict *out);
// No answer at all: connect failure, reset, timeout, GOAWAY... always RETRY (U10, U13). `code` e.g. "timeout".
void verdict_transport(const char *code, const char *message, struct verdict *out);

#endif
