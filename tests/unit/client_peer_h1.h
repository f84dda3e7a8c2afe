// SPDX-License-Identifier: Apache-2.0
// An HTTP/1.1 peer that does what the request's path says: raw bytes over blocking reads and writes.
#ifndef WEIR_TESTS_CLIENT_PEER_H1_H
#define WEIR_TESTS_CLIENT_PEER_H1_H

#include "tests/unit/client_peer.h"

#include <stdio.h>

struct h1_request {
    char head[8192]; // request line and headers, lower-cased
    char path[64];
    uint64_t hash;
    size_t len;
};

// One byte at a time: simple, and nothing of the next request is taken.
static inline bool h1_read_head(struct peer_conn *conn, struct h1_request *request)
{
    size_t len = 0;
    while (len + 1 < sizeof(request->head)) {
        char byte;
        if (peer_read(conn, &byte, 1) != 1)
            return false;
        request->head[len++] = byte;
        request->head[len] = '\0';
        if (len >= 4 && memcmp(request->head + len - 4, "\r\n\r\n", 4) == 0)
            break;
    }
    if (sscanf(request->head, "POST %63s HTTP/1.1", request->path) != 1)
        return false;
    for (char *at = request->head; *at != '\0'; at++)
        *at = *at >= 'A' && *at <= 'Z' ? (char)(*at + 32) : *at;
    return true;
}

static inline bool h1_read_body(struct peer_conn *conn, struct h1_request *request, size_t upto)
{
    const char *length = strstr(request->head, "\r\ncontent-length: ");
    size_t left = length != NULL ? strtoull(length + 18, NULL, 10) : 0;
    if (left > upto)
        left = upto;
    request->hash = PEER_HASH_START;
    static _Thread_local uint8_t buf[65536];
    while (left > 0) {
        ssize_t n = peer_read(conn, buf, left < sizeof(buf) ? left : sizeof(buf));
        if (n <= 0)
            return false;
        request->hash = peer_hash(request->hash, buf, (size_t)n);
        request->len += (size_t)n;
        left -= (size_t)n;
    }
    return true;
}

static inline bool h1_say(struct peer_conn *conn, const char *text)
{
    return peer_write(conn, text, strlen(text));
}

// Returns whether the connection goes on.
static inline bool h1_answer(struct peer_conn *conn, const struct h1_request *request)
{
    char text[512];
    if (strcmp(request->path, "/ok") == 0) {
        snprintf(text, sizeof(text),
                 "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nX-Hash:  %016llx/%zu \r\n"
                 "Content-Length: 5\r\n\r\nhello",
                 (unsigned long long)request->hash, request->len);
        return h1_say(conn, text);
    }
    if (strcmp(request->path, "/chunked") == 0)
        return h1_say(conn,
                      "HTTP/1.1 103 Early\r\nx-hash: interim\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
                      "grpc-status: 99\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\ngrpc-status: 0\r\n\r\n");
    if (strcmp(request->path, "/429") == 0)
        return h1_say(conn, "HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy");
    if (strcmp(request->path, "/redirect") == 0)
        return h1_say(conn, "HTTP/1.1 307 There\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n");
    if (strcmp(request->path, "/close") == 0) {
        h1_say(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello");
        return false;
    }
    if (strcmp(request->path, "/huge") == 0) {
        bool ok = h1_say(conn, "HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n");
        for (int i = 0; ok && i < 3000; i++)
            ok = peer_write(conn,
                            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
                            100);
        return ok;
    }
    if (strcmp(request->path, "/many-headers") == 0) {
        bool ok = h1_say(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Hash: kept\r\n");
        for (int i = 0; ok && i < 90; i++)
            ok = h1_say(conn,
                        "X-Filler: fillerfillerfillerfillerfillerfillerfillerfillerfillerfillerfillerfillerfiller\r\n");
        return ok && h1_say(conn, "grpc-message: beyond\r\n\r\n");
    }
    if (strcmp(request->path, "/cut-answer") == 0)
        h1_say(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
    else if (strcmp(request->path, "/cut-413") == 0)
        h1_say(conn, "HTTP/1.1 413 Too Large\r\nContent-Length: 100\r\n\r\nhalf");
    else if (strcmp(request->path, "/garbage") == 0)
        h1_say(conn, "220 mail.example.org ESMTP\r\n");
    else if (strcmp(request->path, "/no-status") == 0)
        h1_say(conn, "HTTP/1.1 01.0 OK\r\nContent-Length: 0\r\n\r\n");
    else if (strcmp(request->path, "/http2") == 0)
        peer_write(conn, "\0\0\0\4\0\0\0\0\0", 9);
    else if (strcmp(request->path, "/never") == 0)
        peer_drain(conn);
    return false; // "/cut" among them
}

static inline void h1_serve(struct peer_conn *conn)
{
    struct h1_request request;
    do {
        memset(&request, 0, sizeof(request));
        if (!h1_read_head(conn, &request))
            return;
        if (strcmp(request.path, "/early-413") == 0) { // before the body, which is thrown away until the client stops
            h1_say(conn, "HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nmuch");
            peer_drain(conn);
            return;
        }
        bool cut = strcmp(request.path, "/cut-body") == 0;
        if (!h1_read_body(conn, &request, cut ? 1000 : SIZE_MAX) || cut) {
            peer_abort(conn);
            return;
        }
        pthread_mutex_lock(&conn->peer->mutex);
        snprintf(conn->peer->last_head, sizeof(conn->peer->last_head), "%s", request.head);
        pthread_mutex_unlock(&conn->peer->mutex);
    } while (h1_answer(conn, &request));
}

#endif
