// SPDX-License-Identifier: Apache-2.0
#include "proto/refusal.h"

// Delays are short (E26): an SDK gives up after about ten seconds, and sooner when told to wait longer than it can.
enum { SOON_MS = 1000, LATER_MS = 3000 };

const struct refusal_row refusal_rows[REFUSALS] = {
    [REFUSAL_MALFORMED] = {"malformed", GRPC_INVALID_ARGUMENT, 200, 400, 0},
    [REFUSAL_CORRUPT_ENCODING] = {"corrupt_encoding", GRPC_INTERNAL, 200, 400, 0},
    [REFUSAL_CONTENT_TYPE] = {"content_type", GRPC_INVALID_ARGUMENT, 415, 415, 0},
    [REFUSAL_TOO_LARGE] = {"too_large", GRPC_RESOURCE_EXHAUSTED, 200, 413, 0},
    [REFUSAL_ENCODING] = {"unknown_encoding", GRPC_UNIMPLEMENTED, 200, 415, 0},
    [REFUSAL_UNKNOWN_PATH] = {"unknown_path", GRPC_UNIMPLEMENTED, 200, 404, 0},
    [REFUSAL_METHOD] = {"method", GRPC_INTERNAL, 405, 405, 0},
    [REFUSAL_SPOOL_FULL] = {"spool_full", GRPC_UNAVAILABLE, 200, 503, LATER_MS},
    [REFUSAL_BUSY] = {"busy", GRPC_UNAVAILABLE, 200, 503, SOON_MS},
    [REFUSAL_SHUTTING_DOWN] = {"shutting_down", GRPC_UNAVAILABLE, 200, 503, SOON_MS},
    [REFUSAL_DISK_FAILED] = {"disk_failed", GRPC_UNAVAILABLE, 200, 503, LATER_MS},
    [REFUSAL_INTERNAL] = {"internal", GRPC_UNAVAILABLE, 200, 503, SOON_MS},
    [REFUSAL_DEADLINE] = {"deadline", GRPC_DEADLINE_EXCEEDED, 200, 503, SOON_MS},
    [REFUSAL_FRAMING] = {"framing", GRPC_INTERNAL, 200, 400, 0},
    [REFUSAL_DRAINING] = {"draining", GRPC_UNAVAILABLE, 200, 503, LATER_MS},
    [REFUSAL_HEADERS] = {"kept_headers", GRPC_RESOURCE_EXHAUSTED, 200, 431, 0},
    [REFUSAL_REPEATED_PART] = {"repeated_part", GRPC_OUT_OF_RANGE, 200, 413, 0},
    [REFUSAL_BEING_STORED] = {"being_stored", GRPC_UNAVAILABLE, 200, 503, SOON_MS},
    [REFUSAL_UNAUTHENTICATED] = {"unauthenticated", GRPC_UNAUTHENTICATED, 200, 401, 0},
};
