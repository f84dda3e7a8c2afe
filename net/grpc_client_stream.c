// SPDX-License-Identifier: Apache-2.0
// nghttp2 calls into this file from mem_send and mem_recv: nothing here writes to the socket or frees the connection.
#include "net/grpc_client_stream.h"

#include <stdio.h>

#define SMALL_BYTES        512 // shorter ranges are copied: cheaper than an iovec, and it bounds the iovecs of one frame
#define FRAME_IOVS         (2 * (CONN_FRAME_BYTES / SMALL_BYTES) + 2)
#define HEADER_LIST_BYTES  (16 * 1024)
#define GOAWAY_DEBUG_BYTES 48

// --- gathering ------------------------------------------------------------------------------------------------------

bool grpc_stream_has_room(const struct grpc_conn *conn)
{
    // One frame from a body, and after it one that nghttp2 hands out in the same call.
    return conn->batch_bytes < CONN_BATCH_BYTES && conn->iov_count + FRAME_IOVS + 1 <= CONN_IOV_MAX &&
           conn->control_len + 2 * CONN_FRAME_BYTES <= CONN_CONTROL_BYTES;
}

static void gather(struct grpc_conn *conn, const uint8_t *data, size_t len)
{
    conn->batch_bytes += len;
    struct iovec *last = conn->iov_count > 0 ? &conn->iov[conn->iov_count - 1] : NULL;
    if (last != NULL && (const uint8_t *)last->iov_base + last->iov_len == data) {
        last->iov_len += len;
        return;
    }
    assert(conn->iov_count < CONN_IOV_MAX);
    conn->iov[conn->iov_count++] = (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = len};
}

void grpc_stream_gather_copy(struct grpc_conn *conn, const uint8_t *data, size_t len)
{
    assert(conn->control_len + len <= CONN_CONTROL_BYTES);
    uint8_t *copy = conn->control + conn->control_len;
    memcpy(copy, data, len);
    conn->control_len += len;
    gather(conn, copy, len);
}

static void gather_body(struct grpc_conn *conn, struct grpc_call *call, size_t len)
{
    const struct weir_slice *body = call->record.call->body;
    while (len > 0) {
        assert(call->range < call->record.call->body_count);
        const struct weir_slice *range = &body[call->range];
        size_t take = range->len - call->offset < len ? range->len - call->offset : len;
        if (take > 0 && take < SMALL_BYTES)
            grpc_stream_gather_copy(conn, range->data + call->offset, take);
        else if (take > 0)
            gather(conn, range->data + call->offset, take);
        len -= take;
        call->offset += take;
        if (call->offset == range->len) {
            call->range++;
            call->offset = 0;
        }
    }
}

static ssize_t on_body_wanted(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t length, uint32_t *flags,
                              nghttp2_data_source *source, void *user)
{
    struct grpc_call *call = source->ptr;
    size_t take = call->unframed < length ? call->unframed : length;
    call->unframed -= take;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (call->unframed == 0)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)take;
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *framehd, size_t length,
                        nghttp2_data_source *source, void *user)
{
    struct grpc_conn *conn = user;
    struct grpc_call *call = source->ptr;
    if (!grpc_stream_has_room(conn))
        return NGHTTP2_ERR_WOULDBLOCK;
    grpc_stream_gather_copy(conn, framehd, 9);
    gather_body(conn, call, length);
    call->batch = conn->batch;
    return 0;
}

// --- what the peer says ---------------------------------------------------------------------------------------------

static struct grpc_call *call_of(nghttp2_session *session, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(session, stream_id);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    struct grpc_call *call = call_of(session, frame->hd.stream_id);
    if (call == NULL || frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    if (name_len == 7 && memcmp(name, ":status", 7) == 0) { // nghttp2 lets only three digits through
        call->record.call->http_status = (value[0] - '0') * 100 + (value[1] - '0') * 10 + (value[2] - '0');
        call->in_headers = true;
        return 0;
    }
    client_headers_add(call->in_headers ? &call->record.headers : &call->record.trailers,
                       (struct weir_slice){.data = name, .len = name_len},
                       (struct weir_slice){.data = value, .len = value_len});
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data, size_t len,
                   void *user)
{
    struct grpc_conn *conn = user;
    struct grpc_call *call = call_of(session, stream_id);
    if (call == NULL || call->record.decided)
        return 0;
    size_t max = conn->client->base.options.max_response_bytes;
    if (len > max - call->record.body.len) {
        client_record_decide(&call->record, CLIENT_E_RESPONSE_TOO_LARGE, "the answer is larger than %zu bytes", max);
        grpc_conn_reset(call);
    } else if (!weir_buf_append(&call->record.body, data, len)) {
        client_record_decide(&call->record, CLIENT_E_RESET, "no memory for the answer");
        grpc_conn_reset(call);
    }
    return 0;
}

static void on_goaway(struct grpc_conn *conn, const nghttp2_goaway *goaway)
{
    conn->got_goaway = true;
    static const char too_many[] = "too_many_pings";
    if (goaway->error_code == NGHTTP2_ENHANCE_YOUR_CALM && goaway->opaque_data_len == sizeof(too_many) - 1 &&
        memcmp(goaway->opaque_data, too_many, sizeof(too_many) - 1) == 0 &&
        conn->client->ping_interval_ms < UINT32_MAX / 4) // U12
        conn->client->ping_interval_ms *= 2;
    char debug[GOAWAY_DEBUG_BYTES + 1] = "";
    size_t len = 0;
    for (size_t i = 0; i < goaway->opaque_data_len && len < GOAWAY_DEBUG_BYTES; i++) {
        uint8_t byte = goaway->opaque_data[i];
        debug[len++] = byte >= 0x20 && byte < 0x7f ? (char)byte : '.';
    }
    snprintf(conn->goaway_text, sizeof(conn->goaway_text), "the peer says GOAWAY (%s%s%s)",
             nghttp2_http2_strerror(goaway->error_code), len > 0 ? ": " : "", debug);
}

// A complete header block: of an interim answer, of the answer, or of its trailers.
static void on_header_block(struct grpc_call *call)
{
    if (call->in_headers && call->record.call->http_status < 200) // interim: skipped (U9)
        client_headers_clear(&call->record.headers);
    call->in_headers = false;
}

static void on_answer_end(nghttp2_session *session, struct grpc_call *call)
{
    call->answered = true;
    // Answered before all was sent: the rest is not wanted. As grpc-go does it.
    if (nghttp2_session_get_stream_local_close(session, call->stream_id) == 0)
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, call->stream_id, NGHTTP2_NO_ERROR);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct grpc_conn *conn = user;
    uint8_t type = frame->hd.type;
    if (type == NGHTTP2_SETTINGS && !(frame->hd.flags & NGHTTP2_FLAG_ACK))
        conn->got_settings = true;
    if (type == NGHTTP2_GOAWAY)
        on_goaway(conn, &frame->goaway);
    struct grpc_call *call = frame->hd.stream_id != 0 ? call_of(session, frame->hd.stream_id) : NULL;
    if (call == NULL)
        return 0;
    if (type == NGHTTP2_RST_STREAM)
        call->peer_reset = true;
    if (type == NGHTTP2_HEADERS)
        on_header_block(call);
    if ((type == NGHTTP2_HEADERS || type == NGHTTP2_DATA) && frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        on_answer_end(session, call);
    return 0;
}

// --- streams --------------------------------------------------------------------------------------------------------

static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    struct grpc_call *call = call_of(session, frame->hd.stream_id);
    if (call != NULL) {
        call->headers_sent = true;
        call->record.call->bytes_sent = true;
    }
    return 0;
}

static void decide_closed(const struct grpc_conn *conn, struct grpc_call *call, uint32_t code)
{
    struct client_record *record = &call->record;
    const char *name = nghttp2_http2_strerror(code);
    if (call->answered)
        client_record_decide(record, CLIENT_OK, "%s", "");
    else if (code == NGHTTP2_REFUSED_STREAM || !call->headers_sent)
        client_record_decide(record, CLIENT_E_NOT_PROCESSED, "not processed by %s: %s", conn->client->base.peer,
                             !call->peer_reset && conn->got_goaway ? conn->goaway_text : name);
    else if (call->peer_reset)
        client_record_decide(record, CLIENT_E_RESET, "stream reset by %s: %s", conn->client->base.peer, name);
    else
        client_record_decide(record, CLIENT_E_PROTOCOL, "the answer of %s breaks the rules of HTTP/2: %s",
                             conn->client->base.peer, name);
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t code, void *user)
{
    struct grpc_conn *conn = user;
    struct grpc_call *call = call_of(session, stream_id);
    if (call == NULL)
        return 0;
    nghttp2_session_set_stream_user_data(session, stream_id, NULL);
    call->closed = true;
    conn->client->open_count--;
    decide_closed(conn, call, code);
    if (call->batch <= conn->batch_done) {
        grpc_call_finish(call);
    } else {
        client_list_remove(&call->record.link);
        client_list_append(&conn->lingering, &call->record.link);
    }
    return 0;
}

void grpc_conn_reset(struct grpc_call *call)
{
    nghttp2_session *session = call->conn->session;
    // A stream that is closed already only waits for its write.
    if (!call->closed && nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, call->stream_id, NGHTTP2_CANCEL) != 0)
        call->conn->out_of_memory = true;
}

static nghttp2_nv make_nv(const char *name, const char *value)
{
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                        .value = (uint8_t *)(uintptr_t)value,
                        .namelen = strlen(name),
                        .valuelen = strlen(value),
                        .flags = NGHTTP2_NV_FLAG_NONE};
}

bool grpc_stream_submit(struct grpc_conn *conn, struct grpc_call *call)
{
    struct grpc_client *client = conn->client;
    const struct client_call *request = call->record.call;
    nghttp2_nv *nva = malloc((request->header_count + 6) * sizeof(*nva));
    if (nva == NULL) {
        conn->out_of_memory = true;
        return false;
    }
    size_t count = 0;
    nva[count++] = make_nv(":method", "POST");
    nva[count++] = make_nv(":scheme", client->base.tls != NULL ? "https" : "http");
    nva[count++] = make_nv(":path", request->path);
    nva[count++] = make_nv(":authority", client->base.peer);
    nva[count++] = make_nv("te", "trailers");
    if (client->base.options.user_agent != NULL)
        nva[count++] = make_nv("user-agent", client->base.options.user_agent);
    for (size_t i = 0; i < request->header_count; i++)
        nva[count++] = make_nv(request->headers[i].name, request->headers[i].value);
    nghttp2_data_provider body = {.source.ptr = call, .read_callback = on_body_wanted};
    int32_t id = nghttp2_submit_request(conn->session, NULL, nva, count, call->unframed > 0 ? &body : NULL, call);
    free(nva);
    if (id == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE) { // 2^30 streams were opened: time for a new connection
        grpc_client_drain(client, conn);
        return false;
    }
    if (id < 0) {
        conn->out_of_memory = true;
        return false;
    }
    call->conn = conn;
    call->stream_id = id;
    call->submitted_ns = weir_now_ns();
    call->record.call->connection = conn->number;
    client->open_count++;
    client_list_remove(&call->record.link);
    client_list_append(&conn->open, &call->record.link);
    return true;
}

// --- the session ----------------------------------------------------------------------------------------------------

bool grpc_stream_session_new(struct grpc_conn *conn)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    bool ok = nghttp2_session_callbacks_new(&callbacks) == 0 && nghttp2_option_new(&option) == 0;
    if (ok) {
        nghttp2_session_callbacks_set_send_data_callback(callbacks, on_send_data);
        nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
        nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
        nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_sent);
        nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
        nghttp2_option_set_max_outbound_ack(option, 100);
        nghttp2_settings_entry settings[] = {
            {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
            {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEADER_LIST_BYTES},
        };
        ok = nghttp2_session_client_new2(&conn->session, callbacks, conn, option) == 0 &&
             nghttp2_submit_settings(conn->session, NGHTTP2_FLAG_NONE, settings, WEIR_COUNT(settings)) == 0;
    }
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return ok;
}
