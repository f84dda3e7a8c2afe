// SPDX-License-Identifier: Apache-2.0
// What weir answers when it does not take a request: one row per situation, both transports (OTLP.md section 4, E1-E28).
#ifndef WEIR_PROTO_REFUSAL_H
#define WEIR_PROTO_REFUSAL_H

#include "proto/grpc.h"

enum refusal {
    REFUSAL_MALFORMED,        // E1 undecodable protobuf, bad UTF-8, bad id length, too deep
    REFUSAL_CORRUPT_ENCODING, // E3 compressed data is broken
    REFUSAL_CONTENT_TYPE,     // E4 E5 not OTLP, or none; JSON until weir speaks it
    REFUSAL_TOO_LARGE,        // E6 larger than max_request_size, on the wire or decompressed: never with a delay
    REFUSAL_ENCODING,         // E7 unknown compression; the answer lists what is known
    REFUSAL_UNKNOWN_PATH,     // E8
    REFUSAL_METHOD,           // E9 not POST
    REFUSAL_SPOOL_FULL,       // E12
    REFUSAL_BUSY,             // E13 memory promised to undurable requests is used up
    REFUSAL_SHUTTING_DOWN,    // E14
    REFUSAL_DISK_FAILED,      // E15 write or sync failed
    REFUSAL_INTERNAL,         // E16 our own fault: retryable, so that the sender keeps its data
    REFUSAL_DEADLINE,         // E17 the client's deadline passed before the data was durable
    REFUSAL_FRAMING,          // E18 broken gRPC framing
    REFUSAL_DRAINING,         // weir drain
    REFUSAL_HEADERS,          // E19 the headers that are to be kept are too large
    REFUSAL_UNAUTHENTICATED,  // E10 no token, or none that is known
    REFUSAL_REPEATED_PART,    // another weir's, of which some was stored before: it comes in smaller parts
    REFUSAL_BEING_STORED,     // the same, of which some is on its way to the disk
};
#define REFUSALS 19

struct refusal_row {
    const char *reason; // label of metrics and logs: "spool_full"
    int grpc_status;
    int grpc_http_status; // 200, or 415/405 where gRPC itself answers by HTTP status (G3, G4)
    int http_status;
    uint32_t retry_after_ms; // 0: permanent. Short on purpose (E26: 1-3 s)
};
extern const struct refusal_row refusal_rows[REFUSALS];

#endif
