// SPDX-License-Identifier: Apache-2.0
// An HTTP/2 client for the server's tests: an nghttp2 session on a socket, read only where a test says so.
#ifndef WEIR_TESTS_SERVER_PEER_H
#define WEIR_TESTS_SERVER_PEER_H

#include "server_rig.h"

#include <nghttp2/nghttp2.h>

#define CALLS_MAX 4096

struct call {
    int status;
    char grpc_status[8];
    bool in_headers; // the grpc-status came with the first HEADERS
    bool first_seen;
    char body[64];
    size_t body_len;
    bool ended; // END_STREAM came
    bool reset; // RST_STREAM came
    uint32_t reset_code;
    bool closed;
    const uint8_t *data;
    size_t left;
    bool more; // its body does not end
};

struct peer {
    int fd;
    nghttp2_session *session;
    struct weir_buf out;
    struct call *calls; // by stream id / 2
    int goaways;
    int32_t goaway_first, goaway_last;
    uint32_t goaway_code;
    unsigned pongs;
    uint8_t pong[8]; // of the last
    bool eof;
};

// --- the client -----------------------------------------------------------------------------------------------------

static inline struct call *call_of(struct peer *peer, int32_t id)
{
    cr_assert(id > 0 && id / 2 < CALLS_MAX);
    return &peer->calls[id / 2];
}

static inline ssize_t on_send(nghttp2_session *session, const uint8_t *data, size_t len, int flags, void *ctx)
{
    cr_assert(weir_buf_append(&((struct peer *)ctx)->out, data, len));
    return (ssize_t)len;
}

static inline int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                            const uint8_t *value, size_t value_len, uint8_t flags, void *ctx)
{
    struct call *call = call_of(ctx, frame->hd.stream_id);
    if (name_len == 7 && memcmp(name, ":status", 7) == 0)
        call->status = (int)strtol((const char *)value, NULL, 10);
    if (name_len == 11 && memcmp(name, "grpc-status", 11) == 0) {
        snprintf(call->grpc_status, sizeof(call->grpc_status), "%.*s", (int)value_len, (const char *)value);
        call->in_headers = frame->headers.cat == NGHTTP2_HCAT_RESPONSE;
    }
    return 0;
}

static inline int on_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
                           void *ctx)
{
    struct call *call = call_of(ctx, id);
    for (size_t i = 0; i < len && call->body_len + i < sizeof(call->body) - 1; i++)
        call->body[call->body_len + i] = (char)data[i];
    call->body_len += len;
    return 0;
}

static inline int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct peer *peer = ctx;
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        if (peer->goaways++ == 0)
            peer->goaway_first = frame->goaway.last_stream_id;
        peer->goaway_last = frame->goaway.last_stream_id;
        peer->goaway_code = frame->goaway.error_code;
    }
    if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0) {
        peer->pongs++;
        memcpy(peer->pong, frame->ping.opaque_data, sizeof(peer->pong));
    }
    if (frame->hd.stream_id == 0)
        return 0;
    struct call *call = call_of(peer, frame->hd.stream_id);
    if (frame->hd.type == NGHTTP2_RST_STREAM) {
        call->reset = true;
        call->reset_code = frame->rst_stream.error_code;
    } else if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
        call->ended = true;
    }
    return 0;
}

static inline int on_close(nghttp2_session *session, int32_t id, uint32_t error, void *ctx)
{
    call_of(ctx, id)->closed = true;
    return 0;
}

static inline ssize_t on_body(nghttp2_session *session, int32_t id, uint8_t *buf, size_t room, uint32_t *flags,
                              nghttp2_data_source *source, void *ctx)
{
    struct call *call = source->ptr;
    size_t len = call->left < room ? call->left : room;
    if (len > 0)
        memcpy(buf, call->data, len);
    call->data = len > 0 ? call->data + len : call->data;
    call->left -= len;
    if (call->left == 0 && !call->more)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    else if (len == 0)
        return NGHTTP2_ERR_DEFERRED;
    return (ssize_t)len;
}

static inline void peer_flush(struct peer *peer)
{
    cr_assert_eq(nghttp2_session_send(peer->session), 0);
    rig_send(peer->fd, peer->out.data, peer->out.len);
    peer->out.len = 0;
}

static inline struct peer *peer_new_with(const struct rig *rig, const nghttp2_settings_entry *settings, size_t count)
{
    struct peer *peer = calloc(1, sizeof(*peer));
    peer->calls = calloc(CALLS_MAX, sizeof(*peer->calls));
    peer->fd = rig_connect(server_grpc_address(rig->server));
    nghttp2_session_callbacks *callbacks;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_send_callback(callbacks, on_send);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_session_client_new(&peer->session, callbacks, peer);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(peer->session, NGHTTP2_FLAG_NONE, settings, count);
    peer_flush(peer);
    return peer;
}

static inline struct peer *peer_new(const struct rig *rig)
{
    return peer_new_with(rig, NULL, 0);
}

static inline void peer_free(struct peer *peer)
{
    close(peer->fd);
    nghttp2_session_del(peer->session);
    weir_buf_free(&peer->out);
    free(peer->calls);
    free(peer);
}

#define NV(name, value)                                                                                                \
    {                                                                                                                  \
        (uint8_t *)(name), (uint8_t *)(value), strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE                       \
    }

static inline int32_t submit_with(struct peer *peer, const char *path, struct weir_slice body, bool more,
                                  const nghttp2_nv *extra)
{
    nghttp2_nv headers[] = {NV(":method", "POST"), NV(":scheme", "http"), NV(":authority", "x"),
                            NV(":path", path),     NV("te", "trailers"),  NV("content-type", "application/grpc"),
                            NV("x-extra", "none")};
    if (extra != NULL)
        headers[6] = *extra;
    int32_t next = (int32_t)nghttp2_session_get_next_stream_id(peer->session);
    struct call *call = call_of(peer, next);
    call->data = body.data;
    call->left = body.len;
    call->more = more;
    nghttp2_data_provider provider = {.source.ptr = call, .read_callback = on_body};
    int32_t id = nghttp2_submit_request(peer->session, NULL, headers, WEIR_COUNT(headers), &provider, NULL);
    cr_assert_eq(id, next);
    return id;
}

static inline int32_t submit(struct peer *peer, const char *path, const char *body)
{
    return submit_with(peer, path, (struct weir_slice){(const uint8_t *)body, strlen(body)}, false, NULL);
}

// One read; false at the end.
static inline bool peer_read(struct peer *peer)
{
    uint8_t buf[65536];
    ssize_t n = recv(peer->fd, buf, sizeof(buf), 0);
    if (n <= 0) {
        peer->eof = true;
        return false;
    }
    cr_assert_eq(nghttp2_session_mem_recv(peer->session, buf, (size_t)n), n);
    return true;
}

#define PEER_UNTIL(peer, condition)                                                                                    \
    do {                                                                                                               \
        peer_flush(peer);                                                                                              \
        while (!(condition)) {                                                                                         \
            cr_assert(peer_read(peer), "closed before: %s", #condition);                                               \
            peer_flush(peer);                                                                                          \
        }                                                                                                              \
    } while (0)

static inline struct call *finish(struct peer *peer, int32_t id)
{
    struct call *call = call_of(peer, id);
    PEER_UNTIL(peer, call->closed);
    return call;
}

static inline void expect_ok(struct peer *peer, int32_t id)
{
    struct call *call = finish(peer, id);
    cr_assert_eq(call->status, 200);
    cr_assert_str_eq(call->grpc_status, "0");
    cr_assert_not(call->in_headers);
    cr_assert_not(call->reset);
}

static inline void read_to_end(struct peer *peer)
{
    while (peer_read(peer))
        ;
}

#endif
