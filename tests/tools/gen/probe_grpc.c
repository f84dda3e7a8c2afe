// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <netdb.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/tools/gen/probe.h"

struct session {
    struct probe *probe;
    nghttp2_session *h2;
    size_t sent;
    bool headers_over, closed;
};

static ssize_t read_request(nghttp2_session *h2, int32_t stream, uint8_t *out, size_t size, uint32_t *flags,
                            nghttp2_data_source *source, void *ctx)
{
    struct session *session = source->ptr;
    size_t left = session->probe->request.len - session->sent, take = left < size ? left : size;
    if (take > 0)
        memcpy(out, session->probe->request.data + session->sent, take);
    session->sent += take;
    if (take == left)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)take;
}

static int on_header(nghttp2_session *h2, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *ctx)
{
    struct session *session = ctx;
    struct probe *probe = session->probe;
    if (name_len == 7 && memcmp(name, ":status", 7) == 0)
        probe->status = strtol((const char *)value, NULL, 10);
    else
        json_object_setn_new(session->headers_over ? probe->trailers : probe->response_headers, (const char *)name,
                             name_len, json_stringn((const char *)value, value_len));
    return 0;
}

static int on_frame(nghttp2_session *h2, const nghttp2_frame *frame, void *ctx)
{
    struct session *session = ctx;
    if (frame->hd.type == NGHTTP2_HEADERS)
        session->headers_over = true;
    return 0;
}

static int on_data(nghttp2_session *h2, uint8_t flags, int32_t stream, const uint8_t *data, size_t len, void *ctx)
{
    struct session *session = ctx;
    return weir_buf_append(&session->probe->response, data, len) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_close(nghttp2_session *h2, int32_t stream, uint32_t code, void *ctx)
{
    struct session *session = ctx;
    session->closed = true;
    if (code != NGHTTP2_NO_ERROR)
        snprintf(session->probe->error, sizeof(session->probe->error), "stream reset: %s",
                 nghttp2_http2_strerror(code));
    return 0;
}

static int connect_to(struct probe *probe)
{
    char port[8];
    snprintf(port, sizeof(port), "%u", probe->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    if (getaddrinfo(probe->host, port, &hints, &found) != 0)
        return -1;
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval timeout = {.tv_sec = (time_t)(probe->timeout_ms / 1000),
                              .tv_usec = (suseconds_t)(probe->timeout_ms % 1000 * 1000)};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    bool connected = fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) == 0;
    freeaddrinfo(found);
    if (!connected && fd >= 0)
        close(fd);
    return connected ? fd : -1;
}

static nghttp2_nv pair(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name), strlen(value), 0};
}

static bool submit(struct session *session)
{
    struct probe *probe = session->probe;
    char authority[300];
    snprintf(authority, sizeof(authority), "%s:%u", probe->host, probe->port);
    nghttp2_nv headers[4 + PROBE_HEADERS] = {pair(":method", probe->method), pair(":scheme", "http"),
                                             pair(":authority", authority), pair(":path", probe->path)};
    for (size_t i = 0; i < probe->header_count; i++)
        headers[4 + i] = pair(probe->headers[i].name, probe->headers[i].value);
    nghttp2_data_provider body = {.source.ptr = session, .read_callback = read_request};
    return nghttp2_submit_settings(session->h2, NGHTTP2_FLAG_NONE, NULL, 0) == 0 &&
           nghttp2_submit_request(session->h2, NULL, headers, 4 + probe->header_count, &body, NULL) > 0;
}

// Sends all that may be sent now. A peer that has closed may still have answered: what it said is read afterwards.
static bool send_all(struct session *session, int fd)
{
    const uint8_t *data;
    ssize_t len;
    while ((len = nghttp2_session_mem_send(session->h2, &data)) > 0) {
        for (ssize_t at = 0; at < len;) {
            ssize_t sent = send(fd, data + at, (size_t)(len - at), MSG_NOSIGNAL);
            if (sent <= 0)
                return false;
            at += sent;
        }
    }
    return len == 0;
}

static void exchange(struct session *session, int fd)
{
    struct probe *probe = session->probe;
    bool sending = true;
    while (!session->closed) {
        uint8_t data[65536];
        if (sending)
            sending = send_all(session, fd);
        if (session->closed)
            break;
        ssize_t len = recv(fd, data, sizeof(data), 0);
        if (len <= 0) {
            snprintf(probe->error, sizeof(probe->error), "%s", len == 0 ? "connection closed" : strerrordesc_np(errno));
            break;
        }
        ssize_t used = nghttp2_session_mem_recv(session->h2, data, (size_t)len);
        if (used < 0) {
            snprintf(probe->error, sizeof(probe->error), "%s", nghttp2_strerror((int)used));
            break;
        }
    }
}

void probe_grpc(struct probe *probe)
{
    struct session session = {.probe = probe};
    nghttp2_session_callbacks *callbacks;
    int fd = connect_to(probe);
    if (fd < 0) {
        snprintf(probe->error, sizeof(probe->error), "cannot connect");
        return;
    }
    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        abort();
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    if (nghttp2_session_client_new(&session.h2, callbacks, &session) != 0 || !submit(&session))
        abort();
    exchange(&session, fd);
    nghttp2_session_del(session.h2);
    nghttp2_session_callbacks_del(callbacks);
    close(fd);
}
