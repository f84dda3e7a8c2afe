// SPDX-License-Identifier: Apache-2.0
// The OTLP/HTTP client's two halves: http_client.c (calls, limits, the multi handle) and http_client_request.c (one request as curl sees it).
#ifndef WEIR_NET_HTTP_CLIENT_PRIV_H
#define WEIR_NET_HTTP_CLIENT_PRIV_H

#include "net/client_priv.h"
#include "net/http_client_sockets.h"

#include <curl/curl.h>

struct http_client {
    struct client base;
    CURLM *multi;
    struct http_sockets sockets;
    struct client_link waiting, active;
    uint32_t active_count;
    bool failed;                   // the last request that ended got no answer
    char url_base[300];            // "https://name:4318"
    char host_header[300];         // "host: …"; empty: curl's own
    struct curl_slist *connect_to; // with a server name: where that name really is
};

struct http_call {
    struct client_record record;
    struct http_client *client;
    CURL *easy; // NULL: waiting
    struct curl_slist *headers;
    uint64_t deadline_ns;
    size_t range, offset; // how far the body was read
    bool final_headers;   // complete: what follows are trailers
    char error_text[CURL_ERROR_SIZE];
};

// Appends a copy of the line. false: no memory, the list is as it was.
bool http_append_header(struct curl_slist **list, const char *line);
// Sets up call->easy for the call: target, headers, body, limits, callbacks. false: no memory.
bool http_request_prepare(struct http_call *call, uint64_t now_ns);
// Decides the outcome of a call that curl ended with `code`.
void http_request_decide(struct http_call *call, CURLcode code);

#endif
