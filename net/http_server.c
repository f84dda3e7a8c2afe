// SPDX-License-Identifier: Apache-2.0
// HTTP/1.1 connections: a streaming codec, one request at a time.
//
//   HEAD ──> BODY ──> WAIT ──(answer is out)──> HEAD
//              └──(early answer)── the rest of the body is thrown away, or the connection ends
//
// h2o's own HTTP/1.1 server holds whole bodies before it calls anyone; here a body goes on as it comes, so that admission can refuse
// before it and memory stays bounded. What arrives while a request waits stays with us up to one read, then in the kernel.
// Times that run out close without an answer: 408 would tell exporters to drop their data (P18).
#include "net/http_server.h"

#define DISCARD_BYTES   (64u * 1024) // of an early answered body, rather than lose the connection
#define LAST_REQUEST_MS 500          // of the graceful end, for a request that is on its way
#define IDLE_LINGER_MS  100          // nothing was said: only what crosses our close has to be taken
#define CHUNK_OVERHEAD  (16u * 1024) // chunk heads, extensions and trailers: this and 8 bytes for each of the body

static struct http_conn *http_of(struct conn *conn)
{
    assert(conn->type == &http_conn_type);
    return (struct http_conn *)conn;
}

static void on_timer(struct loop_timer *timer)
{
    conn_doom(&WEIR_CONTAINER_OF(timer, struct http_conn, timer)->conn);
}

static void set_timer(struct http_conn *http, uint32_t delay_ms)
{
    loop_timer_set(http->conn.home->loop, &http->timer, delay_ms, on_timer);
}

static void await_last_request(struct http_conn *http);

static void on_no_last_request(struct loop_timer *timer)
{
    struct http_conn *http = WEIR_CONTAINER_OF(timer, struct http_conn, timer);
    if (conn_has_input(&http->conn))
        await_last_request(http); // one has come: reading pauses, or it came just now
    else
        conn_linger(&http->conn, IDLE_LINGER_MS);
}

// A client may be sending on its idle connection just now, and many take a close under their request for a failure that is final (E28,
// P12). So in a graceful end it gets a while yet: a request that comes is answered, with Connection: close.
static void await_last_request(struct http_conn *http)
{
    loop_timer_set(http->conn.home->loop, &http->timer, LAST_REQUEST_MS, on_no_last_request);
}

static void http_gone(struct http_conn *http)
{
    if (!http->live)
        return;
    http->live = false;
    const struct exchange_handler *handler = conn_handler(&http->conn);
    handler->gone(handler->ctx, &http->exchange);
}

// --- head -----------------------------------------------------------------------------------------------------------

static void refuse(struct http_conn *http, int status, const char *why)
{
    const struct server_options *options = server_options_of(http->conn.home->server);
    struct exchange_answer answer = {.http_status = status};
    if (options->bad_request != NULL)
        options->bad_request(status, why, &answer);
    http->state = HTTP_WAIT;
    http->close_after = true;
    http_answer_send(http, &answer);
}

static void answer_too_large(struct http_conn *http)
{
    struct exchange_answer answer = {0};
    server_options_of(http->conn.home->server)->too_large(EXCHANGE_HTTP, &http->exchange, &answer);
    http->close_after = true;
    http_answer_send(http, &answer);
}

static bool exchange_fill(struct http_conn *http, const struct http_head *head)
{
    size_t bytes = head->header_count * sizeof(struct exchange_header);
    http->headers = malloc(bytes > 0 ? bytes : 1);
    if (http->headers == NULL)
        return false;
    memcpy(http->headers, head->headers, bytes);
    http->exchange = (struct exchange){
        .transport = EXCHANGE_HTTP,
        .loop = http->conn.home->loop,
        .method = head->method,
        .path = head->path,
        .query = head->query,
        .headers = http->headers,
        .header_count = head->header_count,
        .content_length = head->chunked ? UINT64_MAX : head->content_length,
        .peer = http->conn.peer,
    };
    http->old = head->old;
    http->close_after = !head->keep_alive;
    http->no_body = head->method.len == 4 && memcmp(head->method.data, "HEAD", 4) == 0;
    http->chunked = head->chunked;
    http->chunks = (struct http_chunks){0};
    http->left = head->content_length;
    http->expect = head->expect_continue && (head->chunked || head->content_length > 0);
    return true;
}

static void body_done(struct http_conn *http)
{
    http->state = HTTP_WAIT;
    http->expect = false;
    loop_timer_clear(&http->timer);
    if (http->live) {
        const struct exchange_handler *handler = conn_handler(&http->conn);
        handler->end(handler->ctx, &http->exchange);
    } else {
        conn_schedule(&http->conn);
    }
}

static void request_begin(struct http_conn *http, const struct http_head *head)
{
    if (!exchange_fill(http, head)) {
        conn_doom(&http->conn);
        return;
    }
    http->state = HTTP_BODY;
    http->conn.since_ns = weir_now_ns();
    if (!http->chunked && http->left > conn_limits(&http->conn)->body_bytes) {
        answer_too_large(http);
        return;
    }
    const struct exchange_handler *handler = conn_handler(&http->conn);
    http->live = true;
    handler->begin(handler->ctx, &http->exchange);
    if (!http->chunked && http->left == 0)
        body_done(http);
}

// Returns how many of the bytes belonged to the head.
static size_t feed_head(struct http_conn *http, const uint8_t *data, size_t len)
{
    size_t limit = conn_limits(&http->conn)->header_list_bytes, before = http->head.len;
    if (before == 0)
        set_timer(http, conn_limits(&http->conn)->receive_timeout_ms);
    size_t take = len < limit - before ? len : limit - before;
    if (!weir_buf_append(&http->head, data, take)) {
        conn_doom(&http->conn);
        return len;
    }
    struct http_head head;
    ssize_t n = http_head_parse(&head, (char *)http->head.data, http->head.len, before);
    if (n == HTTP_HEAD_INCOMPLETE && http->head.len < limit)
        return len;
    if (n <= 0) {
        bool too_long = n == HTTP_HEAD_INCOMPLETE;
        refuse(http, too_long ? 431 : head.refuse_status, too_long ? "headers too large" : head.refuse_why);
        return len;
    }
    size_t used = (size_t)n - before;
    http->head.len = (size_t)n;
    request_begin(http, &head);
    // The client waits for leave to send its body, if it has not begun already (P10).
    if (http->live && http->expect && used == len) {
        static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
        conn_write(&http->conn, (const uint8_t *)go_on, sizeof(go_on) - 1);
    }
    http->expect = http->expect && !http->live; // from here on: "was not told to send"
    return used;
}

// --- body -----------------------------------------------------------------------------------------------------------

// The answer is out or on its way, the rest of the body not worth or past reading: the connection ends.
static void end_early(struct http_conn *http)
{
    http->close_after = true;
    conn_schedule(&http->conn);
}

static void body_bytes(struct http_conn *http, const uint8_t *data, size_t len)
{
    http->received_bytes += len;
    if (http->live && http->received_bytes > conn_limits(&http->conn)->body_bytes) {
        http_gone(http);
        answer_too_large(http);
        return;
    }
    if (http->live && len > 0) {
        const struct exchange_handler *handler = conn_handler(&http->conn);
        handler->data(handler->ctx, &http->exchange, (struct weir_slice){data, len});
        return;
    }
    if (!http->live) {
        http->discarded_bytes += len;
        if (http->discarded_bytes > DISCARD_BYTES && !http->close_after)
            end_early(http); // lingering goes on with it
    }
}

static size_t feed_length(struct http_conn *http, const uint8_t *data, size_t len)
{
    size_t take = len < http->left ? len : (size_t)http->left;
    http->left -= take;
    body_bytes(http, data, take);
    if (http->left == 0)
        body_done(http);
    return take;
}

static size_t feed_chunks(struct http_conn *http, uint8_t *data, size_t len)
{
    size_t decoded = len;
    ssize_t rest = http_chunks_decode(&http->chunks, data, &decoded);
    size_t used = rest >= 0 ? len - (size_t)rest : len;
    http->overhead_bytes += used - decoded;
    body_bytes(http, data, decoded);
    if (rest == HTTP_CHUNKS_MALFORMED || http->overhead_bytes > CHUNK_OVERHEAD + 8 * http->received_bytes) {
        http_gone(http);
        if (http->answered)
            end_early(http);
        else
            refuse(http, 400, "malformed chunk");
        return len;
    }
    if (rest >= 0)
        body_done(http);
    return used;
}

// Hands bytes out until they are used up or a request waits for its answer. Returns how many were used.
static size_t feed(struct http_conn *http, uint8_t *data, size_t len)
{
    size_t used = 0;
    while (used < len && !http->conn.doomed) {
        // An ending connection has no more requests; what is left of a body is thrown away.
        if (http->answered && http->close_after)
            return len;
        if (http->state == HTTP_HEAD)
            used += feed_head(http, data + used, len - used);
        else if (http->state == HTTP_BODY && http->chunked)
            used += feed_chunks(http, data + used, len - used);
        else if (http->state == HTTP_BODY)
            used += feed_length(http, data + used, len - used);
        else
            break;
    }
    return used;
}

static void http_receive(struct conn *conn, uint8_t *data, size_t len)
{
    struct http_conn *http = http_of(conn);
    size_t used = http->pending.len > 0 ? 0 : feed(http, data, len);
    if (used == len || conn->doomed)
        return;
    conn->want_read = false;
    if (!weir_buf_append(&http->pending, data + used, len - used))
        conn_doom(conn);
}

// --- from one request to the next -----------------------------------------------------------------------------------

// No more bytes will come: what waits for some will wait for ever.
static void http_starve(struct http_conn *http)
{
    if (http->pending.len == 0 && http->state != HTTP_WAIT && !http->conn.writing && http->answer.len == 0)
        conn_doom(&http->conn);
}

static void http_eof(struct conn *conn)
{
    struct http_conn *http = http_of(conn);
    if (http->state == HTTP_BODY && http->answered)
        end_early(http);
    http_starve(http);
}

static void request_free(struct http_conn *http)
{
    free(http->headers);
    http->headers = NULL;
    weir_buf_free(&http->head);
}

static void next_request(struct http_conn *http)
{
    struct conn *conn = &http->conn;
    request_free(http);
    conn->since_ns = weir_now_ns();
    conn->proven = true;
    http->state = HTTP_HEAD;
    http->exchange.extra_count = 0;
    http->answered = http->expect = http->no_body = http->old = false;
    http->received_bytes = http->discarded_bytes = http->overhead_bytes = 0;
    if (conn->home->draining)
        await_last_request(http);
    else
        set_timer(http, conn_limits(conn)->idle_timeout_ms);
    if (http->pending.len > 0) {
        http->pending_at += feed(http, http->pending.data + http->pending_at, http->pending.len - http->pending_at);
        if (http->pending_at < http->pending.len)
            return;
        weir_buf_free(&http->pending);
        http->pending_at = 0;
    }
    conn->want_read = !conn->eof && !conn->doomed;
    if (conn->eof)
        http_starve(http);
    conn_read_update(conn);
}

static void http_flush(struct conn *conn)
{
    struct http_conn *http = http_of(conn);
    if (!http->answered)
        return;
    if (http->answer.len > 0) {
        bool sent = conn_write(conn, http->answer.data, http->answer.len);
        weir_buf_free(&http->answer);
        if (!sent)
            return;
    }
    if (http->close_after)
        conn_linger(conn, CONN_LINGER_MS);
    else if (http->state == HTTP_WAIT)
        next_request(http);
}

static bool http_open(struct conn *conn)
{
    uint64_t age_ms = conn_limits(conn)->http_max_age_ms;
    if (age_ms > 0)
        http_of(conn)->expires_ns = weir_now_ns() + conn_age_ms(age_ms) * 1000000u;
    set_timer(http_of(conn), conn_limits(conn)->idle_timeout_ms);
    return true;
}

static void http_drain(struct conn *conn, bool last)
{
    struct http_conn *http = http_of(conn);
    if (!last && http->state == HTTP_HEAD && http->head.len == 0 && http->pending.len == 0)
        await_last_request(http);
}

static void http_close(struct conn *conn)
{
    struct http_conn *http = http_of(conn);
    loop_timer_clear(&http->timer);
    http_gone(http);
    request_free(http);
    weir_buf_free(&http->pending);
    weir_buf_free(&http->answer);
}

static enum conn_state http_state(const struct conn *conn)
{
    const struct http_conn *http = (const struct http_conn *)conn;
    if (http->state == HTTP_WAIT && http->live)
        return CONN_WAITING;
    // A head is not worth more than silence: it may come byte by byte.
    return http->state == HTTP_HEAD ? CONN_IDLE : CONN_SENDING;
}

const struct conn_type http_conn_type = {
    .transport = EXCHANGE_HTTP,
    .size = sizeof(struct http_conn),
    .open = http_open,
    .receive = http_receive,
    .eof = http_eof,
    .flush = http_flush,
    .drain = http_drain,
    .close = http_close,
    .state = http_state,
};

// --- answers --------------------------------------------------------------------------------------------------------

// Whether the rest of a body that is not wanted any more is small enough to be read and thrown away.
static bool rest_is_small(const struct http_conn *http)
{
    if (http->expect)
        return false; // it may or may not come
    return http->chunked || http->left <= DISCARD_BYTES;
}

void http_exchange_answer(struct exchange *exchange, const struct exchange_answer *answer)
{
    struct http_conn *http = WEIR_CONTAINER_OF(exchange, struct http_conn, exchange);
    assert(http->live);
    http->live = false;
    if (answer->close || (http->state == HTTP_BODY && !rest_is_small(http)))
        http->close_after = true;
    http_answer_send(http, answer);
}
