// SPDX-License-Identifier: Apache-2.0
// Requests and answers on a gRPC connection.
//
//   on_begin_headers ─> on_header* ─> stream_begin ─> on_data* ─> stream_end ─> answer ─> on_stream_close
//        receive timer runs ─────────────────────────────────────┘        └ write timer runs ┘
//
// A stream that was answered before its body was complete is reset with NO_ERROR behind the answer (G26), and the body that is
// still on its way counts for the connection window alone.
#include "net/grpc_server.h"

#define HEADER_EXCESS 8 // times the limit: ends the connection, not the stream alone

static void on_receive_timer(struct loop_timer *timer);
static void answer_too_large(struct grpc_stream *stream);

static struct grpc_stream *stream_of(nghttp2_session *session, int32_t id)
{
    return nghttp2_session_get_stream_user_data(session, id);
}

// --- life -----------------------------------------------------------------------------------------------------------

static struct grpc_stream *stream_new(struct grpc_conn *grpc, int32_t id)
{
    struct grpc_stream *stream = calloc(1, sizeof(*stream));
    if (stream == NULL)
        return NULL;
    stream->conn = grpc;
    stream->id = id;
    stream->method_at = stream->path_at = SIZE_MAX;
    stream->headers = stream->inline_headers;
    stream->header_cap = GRPC_HEADERS_INLINE;
    stream->next = grpc->streams;
    if (stream->next != NULL)
        stream->next->prev = stream;
    grpc->streams = stream;
    if (grpc->stream_count++ == 0)
        grpc->conn.since_ns = weir_now_ns();
    grpc_conn_idle_update(grpc);
    loop_timer_set(grpc->conn.home->loop, &stream->timer, conn_limits(&grpc->conn)->receive_timeout_ms,
                   on_receive_timer);
    return stream;
}

void grpc_stream_gone(struct grpc_stream *stream)
{
    if (!stream->live)
        return;
    stream->live = false;
    const struct exchange_handler *handler = conn_handler(&stream->conn->conn);
    handler->gone(handler->ctx, &stream->exchange);
}

void grpc_stream_free(struct grpc_stream *stream)
{
    struct grpc_conn *grpc = stream->conn;
    loop_timer_clear(&stream->timer);
    grpc_stream_gone(stream);
    if (stream->prev != NULL)
        stream->prev->next = stream->next;
    else
        grpc->streams = stream->next;
    if (stream->next != NULL)
        stream->next->prev = stream->prev;
    grpc->stream_count--;
    weir_buf_free(&stream->text);
    if (stream->headers != stream->inline_headers)
        free(stream->headers);
    free(stream->answer);
    free(stream->push);
    free(stream);
}

void grpc_stream_rst(struct grpc_stream *stream, uint32_t error)
{
    if (nghttp2_submit_rst_stream(stream->conn->session, NGHTTP2_FLAG_NONE, stream->id, error) != 0)
        conn_doom(&stream->conn->conn);
    else
        conn_schedule(&stream->conn->conn);
}

// No answer in time: the client will send it again (P18 says the same of HTTP).
static void on_receive_timer(struct loop_timer *timer)
{
    struct grpc_stream *stream = WEIR_CONTAINER_OF(timer, struct grpc_stream, timer);
    if (!stream->live && !stream->refused && !stream->answered) {
        conn_doom(&stream->conn->conn); // in the middle of a header block nothing else can be sent or received
        return;
    }
    grpc_stream_gone(stream);
    grpc_stream_rst(stream, NGHTTP2_CANCEL);
}

// --- headers --------------------------------------------------------------------------------------------------------

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct grpc_conn *grpc = ctx;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct grpc_stream *stream = stream_new(grpc, frame->hd.stream_id);
    if (stream == NULL)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, stream);
    return 0;
}

static bool text_append(struct grpc_stream *stream, const uint8_t *data, size_t len)
{
    return weir_buf_reserve(&stream->text, stream->text.len == 0 ? 512 : len + 1) &&
           weir_buf_append(&stream->text, data, len) && weir_buf_append(&stream->text, "", 1);
}

static bool header_slot(struct grpc_stream *stream)
{
    if (stream->header_count < stream->header_cap)
        return true;
    assert(stream->header_cap >= GRPC_HEADERS_INLINE);
    size_t cap = stream->header_cap * 2;
    bool is_inline = stream->headers == stream->inline_headers;
    struct exchange_header *headers =
        realloc(is_inline ? NULL : stream->headers, cap * sizeof(*headers)); // at most GRPC_HEADERS_MAX rounded up
    if (headers == NULL)
        return false;
    if (is_inline)
        memcpy(headers, stream->inline_headers, sizeof(stream->inline_headers));
    stream->headers = headers;
    stream->header_cap = cap;
    return true;
}

static bool header_add(struct grpc_stream *stream, const uint8_t *name, size_t name_len, struct weir_slice value)
{
    if (name_len > 0 && name[0] == ':') {
        size_t at = stream->text.len;
        if (name_len == 7 && memcmp(name, ":method", 7) == 0)
            stream->method_at = at;
        else if (name_len == 5 && memcmp(name, ":path", 5) == 0)
            stream->path_at = at;
        else
            return true;
        return text_append(stream, value.data, value.len);
    }
    if (stream->header_count == 0)
        stream->headers_at = stream->text.len;
    if (!header_slot(stream) || !text_append(stream, name, name_len) || !text_append(stream, value.data, value.len))
        return false;
    stream->headers[stream->header_count++] = (struct exchange_header){.name_len = name_len, .value_len = value.len};
    return true;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *ctx)
{
    struct grpc_stream *stream = stream_of(session, frame->hd.stream_id);
    if (stream == NULL)
        return 0;
    size_t limit = conn_limits(&stream->conn->conn)->header_list_bytes;
    stream->header_list_bytes += name_len + value_len + 32;
    // A few bytes can name a large entry of HPACK's table thousands of times: that is no mistake any more.
    if (stream->header_list_bytes > HEADER_EXCESS * limit)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST || stream->refused)
        return 0; // trailers of a request mean nothing in gRPC
    struct weir_slice slice = {value, value_len};
    if (stream->header_list_bytes > limit || stream->header_count >= GRPC_HEADERS_MAX ||
        !header_add(stream, name, name_len, slice)) {
        // The rest of the block must still run through HPACK (G35), but not for ever.
        stream->refused = true;
        grpc_stream_rst(stream, NGHTTP2_FRAME_SIZE_ERROR);
    }
    return 0;
}

static void exchange_fill(struct grpc_stream *stream)
{
    struct exchange *exchange = &stream->exchange;
    const char *text = (const char *)stream->text.data;
    const char *at = text + stream->headers_at;
    for (size_t i = 0; i < stream->header_count; i++) {
        struct exchange_header *header = &stream->headers[i];
        header->name = at;
        header->value = at + header->name_len + 1;
        at = header->value + header->value_len + 1;
    }
    const char *method = text + stream->method_at, *path = text + stream->path_at;
    exchange->transport = EXCHANGE_GRPC;
    exchange->loop = stream->conn->conn.home->loop;
    exchange->method = (struct weir_slice){(const uint8_t *)method, strlen(method)};
    exchange->path = (struct weir_slice){(const uint8_t *)path, strcspn(path, "?")};
    exchange->headers = stream->headers;
    exchange->header_count = stream->header_count;
    exchange->peer = stream->conn->conn.peer;
    const struct exchange_header *length = exchange_header(exchange, "content-length");
    // nghttp2 has checked its form and holds the body to it.
    exchange->content_length = length != NULL ? strtoull(length->value, NULL, 10) : UINT64_MAX;
}

static void stream_begin(struct grpc_stream *stream)
{
    // nghttp2 has refused requests without them by now (CONNECT is the exception).
    if (stream->method_at == SIZE_MAX || stream->path_at == SIZE_MAX) {
        stream->refused = true;
        grpc_stream_rst(stream, NGHTTP2_PROTOCOL_ERROR);
        return;
    }
    exchange_fill(stream);
    struct exchange *exchange = &stream->exchange;
    if (exchange->content_length != UINT64_MAX &&
        exchange->content_length > conn_limits(&stream->conn->conn)->body_bytes) {
        answer_too_large(stream);
        return;
    }
    const struct exchange_handler *handler = conn_handler(&stream->conn->conn);
    stream->live = true;
    handler->begin(handler->ctx, exchange);
}

// --- body -----------------------------------------------------------------------------------------------------------

static void stream_data(struct grpc_stream *stream, const uint8_t *data, size_t len)
{
    stream->received_bytes += len;
    if (stream->received_bytes > conn_limits(&stream->conn->conn)->body_bytes) {
        grpc_stream_gone(stream);
        answer_too_large(stream);
        return;
    }
    const struct exchange_handler *handler = conn_handler(&stream->conn->conn);
    handler->data(handler->ctx, &stream->exchange, (struct weir_slice){data, len});
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t len, void *ctx)
{
    struct grpc_stream *stream = stream_of(session, id);
    if (stream != NULL && stream->live)
        stream_data(stream, data, len);
    // What nobody wants any more must not eat the connection's window (G34).
    int rc = stream != NULL && stream->live ? nghttp2_session_consume(session, id, len)
                                            : nghttp2_session_consume_connection(session, len);
    return rc == 0 ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static void stream_end(struct grpc_stream *stream)
{
    stream->received = true;
    if (!stream->live)
        return;
    loop_timer_clear(&stream->timer);
    const struct exchange_handler *handler = conn_handler(&stream->conn->conn);
    handler->end(handler->ctx, &stream->exchange);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    struct grpc_stream *stream = stream_of(session, frame->hd.stream_id);
    if (stream == NULL || stream->refused)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        stream_begin(stream);
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
        stream_end(stream);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *ctx)
{
    struct grpc_conn *grpc = ctx;
    struct grpc_stream *stream = stream_of(session, id);
    if (stream == NULL)
        return 0;
    bool answered = stream->answered;
    nghttp2_session_set_stream_user_data(session, id, NULL);
    grpc_stream_free(stream);
    grpc_conn_idle_update(grpc);
    if (!answered) {
        grpc_conn_count_reset(grpc);
        return 0;
    }
    grpc->conn.proven = true;
    if (grpc->stream_count == 0)
        grpc->conn.since_ns = weir_now_ns();
    return 0;
}

// --- answers --------------------------------------------------------------------------------------------------------

nghttp2_nv grpc_nv(const struct exchange_header *header)
{
    return (nghttp2_nv){(uint8_t *)header->name, (uint8_t *)header->value, header->name_len, header->value_len,
                        NGHTTP2_NV_FLAG_NONE};
}

static uint8_t *put(uint8_t *at, const void *data, size_t len)
{
    if (len > 0)
        memcpy(at, data, len);
    return at + len;
}

// Body and trailers are read when the session gets to them: kept in one block until the stream ends.
static bool answer_keep(struct grpc_stream *stream, const struct exchange_answer *answer)
{
    size_t count = answer->trailer_count;
    if (count == 0 && answer->body.len == 0)
        return true;
    size_t bytes = count * sizeof(nghttp2_nv) + answer->body.len;
    for (size_t i = 0; i < count; i++)
        bytes += answer->trailers[i].name_len + answer->trailers[i].value_len;
    stream->answer = malloc(bytes);
    if (stream->answer == NULL)
        return false;
    stream->trailers = (nghttp2_nv *)(void *)stream->answer;
    stream->trailer_count = count;
    uint8_t *at = stream->answer + count * sizeof(nghttp2_nv);
    for (size_t i = 0; i < count; i++) {
        nghttp2_nv *nv = &stream->trailers[i];
        *nv = grpc_nv(&answer->trailers[i]);
        uint8_t *name = at;
        at = put(at, nv->name, nv->namelen);
        nv->name = name;
        uint8_t *value = at;
        at = put(at, nv->value, nv->valuelen);
        nv->value = value;
    }
    put(at, answer->body.data, answer->body.len);
    stream->body = (struct weir_slice){at, answer->body.len};
    return true;
}

static ssize_t on_answer_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t room, uint32_t *flags,
                              nghttp2_data_source *source, void *ctx)
{
    struct grpc_stream *stream = source->ptr;
    size_t len = stream->body.len < room ? stream->body.len : room;
    put(buf, stream->body.data, len);
    stream->body.data += len;
    stream->body.len -= len;
    if (stream->body.len > 0)
        return (ssize_t)len;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (stream->trailer_count > 0) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        if (nghttp2_submit_trailer(session, id, stream->trailers, stream->trailer_count) != 0)
            return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    return (ssize_t)len;
}

static void on_answer_timer(struct loop_timer *timer)
{
    grpc_stream_rst(WEIR_CONTAINER_OF(timer, struct grpc_stream, timer), NGHTTP2_CANCEL);
}

void grpc_stream_await_taken(struct grpc_stream *stream)
{
    // The peer's windows may be shut: the socket's own timer would not see that.
    const struct conn *conn = &stream->conn->conn;
    loop_timer_set(conn->home->loop, &stream->timer, conn_limits(conn)->write_stall_ms, on_answer_timer);
}

bool grpc_stream_respond(struct grpc_stream *stream, const struct exchange_answer *answer,
                         const nghttp2_data_provider *provider)
{
    nghttp2_nv headers[1 + GRPC_HEADERS_MAX];
    char status[8];
    assert(answer->header_count <= GRPC_HEADERS_MAX && answer->http_status >= 200 && answer->http_status <= 599);
    snprintf(status, sizeof(status), "%d", answer->http_status);
    headers[0] = grpc_nv(&(struct exchange_header){":status", 7, status, 3});
    for (size_t i = 0; i < answer->header_count; i++)
        headers[1 + i] = grpc_nv(&answer->headers[i]);
    stream->answered = true;
    return nghttp2_submit_response(stream->conn->session, stream->id, headers, 1 + answer->header_count, provider) == 0;
}

static void stream_answer(struct grpc_stream *stream, const struct exchange_answer *answer)
{
    nghttp2_data_provider provider = {.source.ptr = stream, .read_callback = on_answer_read};
    stream->live = false;
    stream->answered = true;
    if (!answer_keep(stream, answer) ||
        !grpc_stream_respond(stream, answer, stream->answer != NULL ? &provider : NULL)) {
        grpc_stream_rst(stream, NGHTTP2_INTERNAL_ERROR);
        return;
    }
    grpc_stream_await_taken(stream);
    conn_schedule(&stream->conn->conn);
}

void grpc_exchange_answer(struct exchange *exchange, const struct exchange_answer *answer)
{
    struct grpc_stream *stream = WEIR_CONTAINER_OF(exchange, struct grpc_stream, exchange);
    assert(stream->live);
    stream_answer(stream, answer);
}

static void answer_too_large(struct grpc_stream *stream)
{
    struct exchange_answer answer = {0};
    server_options_of(stream->conn->conn.home->server)->too_large(EXCHANGE_GRPC, &stream->exchange, &answer);
    stream_answer(stream, &answer);
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    if ((frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) ||
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0)
        return 0;
    struct grpc_stream *stream = stream_of(session, frame->hd.stream_id);
    if (stream != NULL && !stream->received)
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    return 0;
}

void grpc_stream_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
}
