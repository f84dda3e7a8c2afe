// SPDX-License-Identifier: Apache-2.0
// An HTTP/2 peer that does what the request's path says: an nghttp2 server session over blocking reads and writes.
#ifndef WEIR_TESTS_CLIENT_PEER_H2_H
#define WEIR_TESTS_CLIENT_PEER_H2_H

#include "tests/unit/client_peer.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>

struct h2_request {
    struct h2_request *next;
    int32_t id;
    char path[64], tenant[32], te[16], agent[32], authority[64], scheme[8];
    uint64_t hash;
    size_t len;
    const char *answer;
    size_t answer_len, answer_at;
    bool trailers;
};

struct h2_peer {
    struct peer_conn *conn;
    nghttp2_session *session;
    struct h2_request *requests; // all of the connection
    int32_t rst_after;
    int32_t held; // a stream whose answer waits for another request; 0: none
    bool cut;     // end the connection once what is queued was written
};

static inline nghttp2_nv h2_nv(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name), strlen(value), 0};
}

static inline ssize_t h2_answer_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length, uint32_t *flags,
                                     nghttp2_data_source *source, void *user)
{
    struct h2_request *request = source->ptr;
    size_t left = request->answer_len - request->answer_at;
    size_t take = left < length ? left : length;
    if (request->answer != NULL)
        memcpy(buf, request->answer + request->answer_at, take);
    else
        memset(buf, 'x', take);
    request->answer_at += take;
    if (request->answer_at == request->answer_len) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (request->trailers) {
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            nghttp2_nv trailers[] = {h2_nv("grpc-status", "0"), h2_nv("grpc-message", "fine")};
            nghttp2_submit_trailer(session, id, trailers, 2);
        }
    }
    return (ssize_t)take;
}

static inline void h2_answer(struct h2_peer *peer, struct h2_request *request, const char *body, size_t len)
{
    char hash[32];
    snprintf(hash, sizeof(hash), "%016llx/%zu", (unsigned long long)request->hash, request->len);
    // grpc-status among the headers too: the trailer must win.
    nghttp2_nv headers[] = {h2_nv(":status", "200"), h2_nv("content-type", "application/grpc"), h2_nv("x-hash", hash),
                            h2_nv("grpc-status", "99")};
    request->answer = body;
    request->answer_len = len;
    request->trailers = true;
    nghttp2_data_provider provider = {.source.ptr = request, .read_callback = h2_answer_read};
    nghttp2_submit_response(peer->session, request->id, headers, 4, &provider);
}

static inline struct h2_request *h2_find(struct h2_peer *peer, int32_t id)
{
    struct h2_request *request = peer->requests;
    while (request != NULL && request->id != id)
        request = request->next;
    return request;
}

static inline void h2_do_ok(struct h2_peer *peer, struct h2_request *request)
{
    h2_answer(peer, request, "hello", 5);
    if (peer->held != 0) {
        h2_answer(peer, h2_find(peer, peer->held), "held", 4);
        peer->held = 0;
    }
}

static inline void h2_do_trailers_only(struct h2_peer *peer, struct h2_request *request)
{
    nghttp2_nv headers[] = {h2_nv(":status", "200"), h2_nv("grpc-status", "14"), h2_nv("grpc-message", "busy")};
    nghttp2_submit_response(peer->session, request->id, headers, 3, NULL);
}

static inline void h2_do_interim(struct h2_peer *peer, struct h2_request *request)
{
    nghttp2_nv interim[] = {h2_nv(":status", "103"), h2_nv("x-hash", "interim")};
    nghttp2_submit_headers(peer->session, NGHTTP2_FLAG_NONE, request->id, NULL, interim, 2, NULL);
    h2_do_ok(peer, request);
}

static inline void h2_do_rst(struct h2_peer *peer, struct h2_request *request)
{
    nghttp2_submit_rst_stream(peer->session, 0, request->id,
                              (uint32_t)strtoul(request->path + strlen("/rst/"), NULL, 10));
}

// The answer is complete although more of the request might follow; then RST(NO_ERROR).
static inline void h2_do_answer_rst(struct h2_peer *peer, struct h2_request *request)
{
    h2_do_trailers_only(peer, request);
    peer->rst_after = request->id; // once it was sent: nghttp2 would drop the answer
}

static inline void h2_do_hold(struct h2_peer *peer, struct h2_request *request)
{
    peer->held = request->id;
}

static inline void h2_do_never(struct h2_peer *peer, struct h2_request *request)
{
}

static inline void h2_do_huge(struct h2_peer *peer, struct h2_request *request)
{
    h2_answer(peer, request, NULL, 300000);
}

// GOAWAY whose last id is below this request's: it was not processed, the held one (below) is still answered.
static inline void h2_do_goaway_below(struct h2_peer *peer, struct h2_request *request)
{
    nghttp2_submit_goaway(peer->session, 0, request->id - 2, NGHTTP2_NO_ERROR, (const uint8_t *)"max_age", 7);
    if (peer->held != 0)
        h2_answer(peer, h2_find(peer, peer->held), "held", 4);
    peer->held = 0;
}

static inline void h2_do_goaway_after(struct h2_peer *peer, struct h2_request *request)
{
    nghttp2_submit_goaway(peer->session, 0, request->id, NGHTTP2_NO_ERROR, NULL, 0);
    h2_answer(peer, request, "last", 4);
}

static inline void h2_do_cut(struct h2_peer *peer, struct h2_request *request)
{
    peer->cut = true;
}

// Half an answer, then the end of the connection.
static inline void h2_do_cut_answer(struct h2_peer *peer, struct h2_request *request)
{
    nghttp2_nv headers[] = {h2_nv(":status", "200"), h2_nv("content-type", "application/grpc")};
    nghttp2_submit_headers(peer->session, NGHTTP2_FLAG_NONE, request->id, NULL, headers, 2, NULL);
    peer->cut = true;
}

static inline void h2_do_no_status(struct h2_peer *peer, struct h2_request *request)
{
    nghttp2_nv headers[] = {h2_nv(":status", "503"), h2_nv("retry-after", "7")};
    nghttp2_submit_response(peer->session, request->id, headers, 2, NULL);
}

static inline void h2_do_bad_answer(struct h2_peer *peer, struct h2_request *request)
{
    // A HEADERS frame with no :status at all, by hand: literal "x: y".
    static const uint8_t frame[] = {0, 0, 5, 1, 4, 0, 0, 0, 1, 0x00, 1, 'x', 1, 'y'};
    peer_write(peer->conn, frame, sizeof(frame));
}

struct h2_action {
    const char *prefix;
    bool at_headers; // before the body
    void (*act)(struct h2_peer *peer, struct h2_request *request);
};
static const struct h2_action h2_actions[] = {
    {"/ok", false, h2_do_ok},
    {"/trailers-only", false, h2_do_trailers_only},
    {"/interim", false, h2_do_interim},
    {"/rst/", true, h2_do_rst},
    {"/answer-rst", true, h2_do_answer_rst},
    {"/early", true, h2_do_trailers_only},
    {"/hold", false, h2_do_hold},
    {"/never", false, h2_do_never},
    {"/huge", false, h2_do_huge},
    {"/goaway-below", false, h2_do_goaway_below},
    {"/goaway-after", false, h2_do_goaway_after},
    {"/cut-answer", false, h2_do_cut_answer},
    {"/cut-body", true, h2_do_cut},
    {"/503", false, h2_do_no_status},
    {"/bad-answer", true, h2_do_bad_answer},
};

static inline void h2_act(struct h2_peer *peer, struct h2_request *request, bool at_headers)
{
    for (size_t i = 0; i < WEIR_COUNT(h2_actions); i++) {
        const struct h2_action *action = &h2_actions[i];
        if (strncmp(request->path, action->prefix, strlen(action->prefix)) == 0 && action->at_headers == at_headers)
            action->act(peer, request);
    }
}

static inline int h2_on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_peer *peer = user;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct h2_request *request = calloc(1, sizeof(*request));
    request->id = frame->hd.stream_id;
    request->hash = PEER_HASH_START;
    request->next = peer->requests;
    peer->requests = request;
    return 0;
}

static inline int h2_on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                               size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    struct h2_request *request = h2_find(user, frame->hd.stream_id);
    struct {
        const char *name;
        char *to;
        size_t cap;
    } kept[] = {{":path", request->path, sizeof(request->path)},
                {":authority", request->authority, sizeof(request->authority)},
                {":scheme", request->scheme, sizeof(request->scheme)},
                {"x-scope-orgid", request->tenant, sizeof(request->tenant)},
                {"te", request->te, sizeof(request->te)},
                {"user-agent", request->agent, sizeof(request->agent)}};
    for (size_t i = 0; i < WEIR_COUNT(kept); i++) {
        if (strcmp((const char *)name, kept[i].name) == 0)
            snprintf(kept[i].to, kept[i].cap, "%.*s", (int)value_len, (const char *)value);
    }
    return 0;
}

static inline int h2_on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
                             void *user)
{
    struct h2_request *request = h2_find(user, id);
    request->hash = peer_hash(request->hash, data, len);
    request->len += len;
    return 0;
}

static inline int h2_on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_request *request = frame->hd.stream_id != 0 ? h2_find(user, frame->hd.stream_id) : NULL;
    if (request == NULL)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS)
        h2_act(user, request, true);
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM &&
        (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA))
        h2_act(user, request, false);
    return 0;
}

static inline int h2_on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_peer *peer = user;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->hd.stream_id == peer->rst_after)
        nghttp2_submit_rst_stream(session, 0, peer->rst_after, NGHTTP2_NO_ERROR);
    return 0;
}

static inline bool h2_flush(struct h2_peer *peer)
{
    const uint8_t *data;
    ssize_t len;
    while ((len = nghttp2_session_mem_send(peer->session, &data)) > 0) {
        if (!peer_write(peer->conn, data, (size_t)len))
            return false;
    }
    return true;
}

static inline void h2_serve(struct peer_conn *conn)
{
    struct h2_peer peer = {.conn = conn};
    nghttp2_session_callbacks *callbacks;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, h2_on_begin);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, h2_on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, h2_on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, h2_on_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, h2_on_frame_sent);
    nghttp2_session_server_new(&peer.session, callbacks, &peer);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_settings_entry settings[2];
    size_t count = 0;
    if (conn->peer->window != 0)
        settings[count++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, conn->peer->window};
    if (conn->peer->max_streams != 0)
        settings[count++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, conn->peer->max_streams};
    nghttp2_submit_settings(peer.session, 0, settings, count);
    uint8_t buf[65536];
    while (h2_flush(&peer) && !peer.cut &&
           (nghttp2_session_want_read(peer.session) || nghttp2_session_want_write(peer.session))) {
        ssize_t len = peer_read(conn, buf, sizeof(buf));
        if (len <= 0 || nghttp2_session_mem_recv(peer.session, buf, (size_t)len) < 0)
            break;
    }
    nghttp2_session_del(peer.session);
    while (peer.requests != NULL) {
        struct h2_request *next = peer.requests->next;
        free(peer.requests);
        peer.requests = next;
    }
}

#endif
