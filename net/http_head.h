// SPDX-License-Identifier: Apache-2.0
// The head of an HTTP/1.1 request and what it says about its body (RFC 9112). Pure, private to net/.
#ifndef WEIR_NET_HTTP_HEAD_H
#define WEIR_NET_HTTP_HEAD_H

#include "net/exchange.h"

#define HTTP_HEADERS_MAX 100

struct http_head {
    struct weir_slice method;
    struct weir_slice path;  // without the query; of an absolute target only the path
    struct weir_slice query; // behind the '?'
    size_t header_count;
    bool old;                // HTTP/1.0
    bool keep_alive;         // the connection may carry another request
    bool chunked;            // else content_length
    bool expect_continue;    // P10
    uint64_t content_length; // 0 when neither is given
    bool has_length;
    bool has_encoding;
    unsigned hosts;
    int refuse_status; // when HTTP_HEAD_REFUSED
    const char *refuse_why;
    struct exchange_header headers[HTTP_HEADERS_MAX]; // last, so that the rest is cleared in one go
};

enum { HTTP_HEAD_INCOMPLETE = 0, HTTP_HEAD_REFUSED = -1 };

// Parses `len` bytes, of which `seen` were there at the last call. Returns the length of the head, or one of the two above. Names are
// lowered in place; the slices point into `buf`.
ssize_t http_head_parse(struct http_head *head, char *buf, size_t len, size_t seen);

#endif
