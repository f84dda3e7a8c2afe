// SPDX-License-Identifier: Apache-2.0
// weir-gen probe: what is asked and what came back. HTTP/1.1 goes through libcurl, HTTP/2 through nghttp2 on a blocking socket:
// neither shares code with weir's own clients.
#ifndef WEIR_GEN_PROBE_H
#define WEIR_GEN_PROBE_H

#include <jansson.h>

#include "proto/base.h"

#define PROBE_HEADERS 32

struct probe_header {
    char name[64]; // lower case
    char value[256];
};

struct probe {
    bool grpc;
    char host[256];
    uint16_t port;
    const char *path, *method, *file;
    int flag; // -1: no prefix
    uint64_t timeout_ms;
    struct probe_header headers[PROBE_HEADERS];
    size_t header_count;
    struct weir_buf request;
    // The answer.
    long status; // 0: none came
    json_t *response_headers, *trailers;
    struct weir_buf response;
    char error[256];
};

void probe_http(struct probe *probe);
void probe_grpc(struct probe *probe);

#endif
