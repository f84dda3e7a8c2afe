// SPDX-License-Identifier: Apache-2.0
// An HTTP/1.1 connection, private to net/: http_server.c takes requests, http_answer.c writes answers, http_head.c and
// http_chunks.c parse.
#ifndef WEIR_NET_HTTP_SERVER_H
#define WEIR_NET_HTTP_SERVER_H

#include "net/conn.h"
#include "net/http_chunks.h"
#include "net/http_head.h"

enum http_state {
    HTTP_HEAD, // before and in the head
    HTTP_BODY,
    HTTP_WAIT, // all received: for the answer, and then until it is written
};

struct http_conn {
    struct conn conn;
    struct exchange exchange;
    enum http_state state;
    uint64_t expires_ns;     // its age: the answer behind it is the last; 0: none
    struct loop_timer timer; // receiving a request, or idle between two
    struct weir_buf head;    // the request's head, kept for its exchange
    struct exchange_header *headers;
    struct weir_buf pending; // came behind the request under way
    size_t pending_at;       // [0, pending_at) is done with
    struct weir_buf answer;  // formed, not written
    struct http_chunks chunks;
    uint64_t left;           // of a body with a length
    uint64_t received_bytes; // body, decoded
    uint64_t overhead_bytes; // wire bytes of a chunked body that are not body
    uint64_t discarded_bytes;
    bool chunked;
    bool old;         // HTTP/1.0
    bool no_body;     // HEAD: the answer has none
    bool expect;      // waits to be told that it may send its body
    bool live;        // the handler knows of it and has not answered
    bool answered;    // since the head: by the handler or by us
    bool close_after; // the answer
};

// Forms the answer; the end of the turn writes it. Closes the connection when it cannot be formed.
void http_answer_send(struct http_conn *http, const struct exchange_answer *answer);

#endif
