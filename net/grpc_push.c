// SPDX-License-Identifier: Apache-2.0
// Answers that are streams: one message on its way, the newest one behind it.
//
//   put ──> next ──(the one before is out, the windows are open)──> now ──> DATA
//            └ a newer one takes its place
#include "net/grpc_server.h"

struct grpc_push {
    uint8_t now[EXCHANGE_STREAM_MESSAGE_MAX], next[EXCHANGE_STREAM_MESSAGE_MAX];
    size_t now_len, now_at, next_len; // next_len 0: nothing waits
    bool ending;
};

static ssize_t end_stream(nghttp2_session *session, int32_t id, uint32_t *flags)
{
    static const struct exchange_header status = {"grpc-status", 11, "14", 2};
    static const struct exchange_header message = {"grpc-message", 12, "the connection ends: ask again on another", 41};
    const nghttp2_nv trailers[] = {grpc_nv(&status), grpc_nv(&message)};
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    return nghttp2_submit_trailer(session, id, trailers, WEIR_COUNT(trailers)) == 0 ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static ssize_t on_push_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t room, uint32_t *flags,
                            nghttp2_data_source *source, void *ctx)
{
    struct grpc_push *push = source->ptr;
    if (push->now_at == push->now_len && push->next_len > 0) {
        memcpy(push->now, push->next, push->next_len);
        push->now_len = push->next_len;
        push->now_at = push->next_len = 0;
    }
    size_t left = push->now_len - push->now_at, len = left < room ? left : room;
    if (len == 0)
        return push->ending ? end_stream(session, id, flags) : NGHTTP2_ERR_DEFERRED;
    memcpy(buf, push->now + push->now_at, len);
    push->now_at += len;
    return (ssize_t)len;
}

static void put(struct grpc_push *push, struct weir_slice message)
{
    assert(message.len <= sizeof(push->next));
    if (message.len > 0)
        memcpy(push->next, message.data, message.len);
    push->next_len = message.len;
}

// Not an error when the provider waits for nothing: it reads on by itself then.
static void resume(struct grpc_stream *stream)
{
    int rc = nghttp2_session_resume_data(stream->conn->session, stream->id);
    if (rc != 0 && rc != NGHTTP2_ERR_INVALID_ARGUMENT)
        conn_doom(&stream->conn->conn);
    else
        conn_schedule(&stream->conn->conn);
}

void grpc_exchange_stream(struct exchange *exchange, const struct exchange_answer *answer)
{
    struct grpc_stream *stream = WEIR_CONTAINER_OF(exchange, struct grpc_stream, exchange);
    assert(stream->live && stream->received && stream->push == NULL);
    stream->push = calloc(1, sizeof(*stream->push));
    nghttp2_data_provider provider = {.source.ptr = stream->push, .read_callback = on_push_read};
    if (stream->push == NULL || !grpc_stream_respond(stream, answer, &provider)) {
        grpc_stream_rst(stream, NGHTTP2_INTERNAL_ERROR); // `gone` comes when it is out
        return;
    }
    put(stream->push, answer->body);
    conn_schedule(&stream->conn->conn);
}

void grpc_exchange_stream_put(struct exchange *exchange, struct weir_slice message)
{
    struct grpc_stream *stream = WEIR_CONTAINER_OF(exchange, struct grpc_stream, exchange);
    assert(stream->live);
    if (stream->push == NULL)
        return; // memory was out
    put(stream->push, message);
    resume(stream);
}

void grpc_push_end_all(struct grpc_conn *grpc)
{
    for (struct grpc_stream *stream = grpc->streams; stream != NULL; stream = stream->next) {
        if (stream->push == NULL || stream->push->ending)
            continue;
        stream->push->ending = true;
        grpc_stream_gone(stream);
        grpc_stream_await_taken(stream);
        resume(stream);
    }
}
