// SPDX-License-Identifier: Apache-2.0
// HTTP/2 connections by prior knowledge (G1): an nghttp2 session on a socket.
//
//   bytes ──> nghttp2_session_mem_recv ──> callbacks (grpc_stream.c) ──> exchanges
//   answers queue frames in the session; the end of the turn collects them with nghttp2_session_mem_send into one write
//
// nghttp2 limits what a stream may cost it; what a *pattern* of streams costs us is limited here: streams that end before we answered
// (rapid reset, CVE-2023-44487, and resets provoked from our side, CVE-2025-8671) draw on an allowance. nghttp2's own
// limiter counts every RST_STREAM, and honest clients (libcurl 7.88) send one per finished request, so that one is set out of reach.
#include "net/grpc_server.h"

#define STREAM_WINDOW_BYTES     (1 << 20) // 1 MiB bodies: 1858/s, with 64 KiB 991/s, with 8 MiB 1120/s
#define CONNECTION_WINDOW_BYTES (4 << 20)
#define RESET_BURST             200u
#define RESETS_A_SECOND         20u
#define OUTBOUND_ACKS           100  // PING and SETTINGS answers waiting for a peer that does not read
#define CONTINUATIONS           8    // CVE-2024-28182
#define OUTBOUND_FRAMES         1000 // behind a write that is stuck: more are not provoked
#define AGE_NOTICE_MS           200  // between the two GOAWAYs of a connection that is old

static struct grpc_conn *grpc_of(struct conn *conn)
{
    assert(conn->type == &grpc_conn_type);
    return (struct grpc_conn *)conn;
}

static int session_new(struct grpc_conn *grpc)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    int rc = nghttp2_session_callbacks_new(&callbacks);
    if (rc == 0)
        rc = nghttp2_option_new(&option);
    if (rc == 0) {
        grpc_stream_callbacks(callbacks);
        nghttp2_option_set_no_auto_window_update(option, 1);
        nghttp2_option_set_no_closed_streams(option, 1);
        nghttp2_option_set_max_outbound_ack(option, OUTBOUND_ACKS);
        nghttp2_option_set_max_continuations(option, CONTINUATIONS);
        nghttp2_option_set_stream_reset_rate_limit(option, UINT64_MAX / 2, UINT64_MAX / 2);
        rc = nghttp2_session_server_new2(&grpc->session, callbacks, grpc, option);
    }
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return rc;
}

static void on_age(struct loop_timer *timer);

static bool grpc_open(struct conn *conn)
{
    struct grpc_conn *grpc = grpc_of(conn);
    const struct server_limits *limits = conn_limits(conn);
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits->streams},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits->header_list_bytes},
    };
    grpc->reset_credit = RESET_BURST * 1000u;
    grpc->reset_credit_ns = weir_now_ns();
    if (session_new(grpc) != 0 ||
        nghttp2_submit_settings(grpc->session, NGHTTP2_FLAG_NONE, settings, WEIR_COUNT(settings)) != 0 ||
        nghttp2_session_set_local_window_size(grpc->session, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW_BYTES) != 0)
        return false;
    grpc_conn_idle_update(grpc);
    if (limits->grpc_max_age_ms > 0)
        loop_timer_set(conn->home->loop, &grpc->age_timer, conn_age_ms(limits->grpc_max_age_ms), on_age);
    conn_schedule(conn);
    return true;
}

// Requests can cost us a frame each that nghttp2 does not count, as refusals of streams before our SETTINGS were acknowledged. A peer that
// sends such and does not read would fill the memory until its write timer: it is not read any further until it has taken some.
static void read_update(struct grpc_conn *grpc)
{
    struct conn *conn = &grpc->conn;
    conn->want_read = !conn->writing || nghttp2_session_get_outbound_queue_size(grpc->session) <= OUTBOUND_FRAMES;
    conn_read_update(conn);
}

static void grpc_receive(struct conn *conn, uint8_t *data, size_t len)
{
    struct grpc_conn *grpc = grpc_of(conn);
    // Protocol errors end in a GOAWAY that nghttp2 queues itself; below zero are floods, no HTTP/2 at all, and lack of memory.
    if (nghttp2_session_mem_recv(grpc->session, data, len) < 0) {
        conn_doom(conn);
        return;
    }
    read_update(grpc);
    conn_schedule(conn);
}

static void grpc_eof(struct conn *conn)
{
    conn_doom(conn);
}

// Collects frames until the scratch is nearly full; SIZE_MAX on failure.
static size_t collect(struct grpc_conn *grpc)
{
    uint8_t *scratch = grpc->conn.home->write_scratch;
    size_t len = 0;
    while (len < CONN_WRITE_BYTES - CONN_WRITE_BYTES / 3) {
        const uint8_t *frame;
        ssize_t n = nghttp2_session_mem_send(grpc->session, &frame);
        if (n < 0 || (size_t)n > CONN_WRITE_BYTES - len)
            return SIZE_MAX;
        if (n == 0)
            break;
        memcpy(scratch + len, frame, (size_t)n);
        len += (size_t)n;
    }
    return len;
}

static void grpc_flush(struct conn *conn)
{
    struct grpc_conn *grpc = grpc_of(conn);
    size_t len;
    while ((len = collect(grpc)) > 0) {
        if (len == SIZE_MAX) {
            conn_doom(conn);
            return;
        }
        if (!conn_write(conn, conn->home->write_scratch, len))
            break;
    }
    if (conn->doomed)
        return;
    read_update(grpc);
    if (conn->writing)
        return;
    if (!nghttp2_session_want_read(grpc->session) && !nghttp2_session_want_write(grpc->session))
        conn_linger(conn, CONN_LINGER_MS);
}

// Twice GOAWAY (G41): the notice lets requests that are on their way come in, the second names the last one taken.
static void grpc_drain(struct conn *conn, bool last)
{
    struct grpc_conn *grpc = grpc_of(conn);
    int rc;
    grpc->draining = true;
    if (last)
        grpc_push_end_all(grpc);
    if (!last)
        rc = nghttp2_submit_shutdown_notice(grpc->session);
    else
        rc = nghttp2_submit_goaway(grpc->session, NGHTTP2_FLAG_NONE,
                                   nghttp2_session_get_last_proc_stream_id(grpc->session), NGHTTP2_NO_ERROR, NULL, 0);
    if (rc != 0)
        conn_doom(conn);
    else
        conn_schedule(conn);
}

// A connection that reached its age (G40) ends as all do when the server ends, and what is under way gets its grace.
static void on_age_grace(struct loop_timer *timer)
{
    conn_doom(&WEIR_CONTAINER_OF(timer, struct grpc_conn, age_timer)->conn);
}

static void on_age_last(struct loop_timer *timer)
{
    struct conn *conn = &WEIR_CONTAINER_OF(timer, struct grpc_conn, age_timer)->conn;
    if (conn->doomed || conn->lingering)
        return;
    grpc_drain(conn, true);
    loop_timer_set(conn->home->loop, timer, conn_limits(conn)->grpc_max_age_grace_ms, on_age_grace);
}

static void on_age(struct loop_timer *timer)
{
    struct grpc_conn *grpc = WEIR_CONTAINER_OF(timer, struct grpc_conn, age_timer);
    if (grpc->draining || grpc->conn.doomed || grpc->conn.lingering)
        return;
    grpc_drain(&grpc->conn, false);
    loop_timer_set(grpc->conn.home->loop, timer, AGE_NOTICE_MS, on_age_last);
}

static void grpc_close(struct conn *conn)
{
    struct grpc_conn *grpc = grpc_of(conn);
    while (grpc->streams != NULL)
        grpc_stream_free(grpc->streams);
    loop_timer_clear(&grpc->idle_timer);
    loop_timer_clear(&grpc->age_timer);
    nghttp2_session_del(grpc->session);
}

static void on_idle(struct loop_timer *timer)
{
    struct grpc_conn *grpc = WEIR_CONTAINER_OF(timer, struct grpc_conn, idle_timer);
    if (nghttp2_session_terminate_session(grpc->session, NGHTTP2_NO_ERROR) != 0)
        conn_doom(&grpc->conn);
    else
        conn_schedule(&grpc->conn);
}

void grpc_conn_idle_update(struct grpc_conn *grpc)
{
    if (grpc->stream_count > 0)
        loop_timer_clear(&grpc->idle_timer);
    else if (grpc->idle_timer.due_ns == 0)
        loop_timer_set(grpc->conn.home->loop, &grpc->idle_timer, conn_limits(&grpc->conn)->idle_timeout_ms, on_idle);
}

void grpc_conn_count_reset(struct grpc_conn *grpc)
{
    uint64_t now_ns = weir_now_ns();
    uint64_t elapsed_ms = (now_ns - grpc->reset_credit_ns) / 1000000u;
    // Only when it counts for something, lest many short steps round down to nothing.
    if (elapsed_ms > 0) {
        uint64_t full = RESET_BURST * 1000u;
        uint64_t more = elapsed_ms > full ? full : elapsed_ms * RESETS_A_SECOND;
        grpc->reset_credit = grpc->reset_credit + more > full ? full : grpc->reset_credit + more;
        grpc->reset_credit_ns = now_ns;
    }
    if (grpc->reset_credit >= 1000u)
        grpc->reset_credit -= 1000u;
    else if (nghttp2_session_terminate_session(grpc->session, NGHTTP2_ENHANCE_YOUR_CALM) != 0)
        conn_doom(&grpc->conn);
}

static enum conn_state grpc_state(const struct conn *conn)
{
    const struct grpc_conn *grpc = (const struct grpc_conn *)conn;
    for (const struct grpc_stream *stream = grpc->streams; stream != NULL; stream = stream->next)
        if (stream->live && stream->received)
            return CONN_WAITING;
    return grpc->streams != NULL ? CONN_SENDING : CONN_IDLE;
}

const struct conn_type grpc_conn_type = {
    .transport = EXCHANGE_GRPC,
    .size = sizeof(struct grpc_conn),
    .open = grpc_open,
    .receive = grpc_receive,
    .eof = grpc_eof,
    .flush = grpc_flush,
    .drain = grpc_drain,
    .close = grpc_close,
    .state = grpc_state,
};
