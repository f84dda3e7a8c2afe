// SPDX-License-Identifier: Apache-2.0
// Connections read into and write from buffers that belong to their loop: an idle one costs its record and the kernel's.
#include "net/conn_tls.h"

#include <errno.h>
#include <h2o.h>
#include <sys/socket.h>
#include <unistd.h>

#define LAST_HANDSHAKE_MS   500 // of the graceful end
#define HANDSHAKE_LINGER_MS 500 // for the peer to read why it failed
#define READS_A_WAKEUP      4   // then others get their turn; the poll is level-triggered

static void on_readable(h2o_socket_t *sock, const char *err);
static void on_written(h2o_socket_t *sock, const char *err);
static void on_tls_writable(h2o_socket_t *sock, const char *err);
static void on_later(struct loop_later *later);
static void on_handshake_timer(struct loop_timer *timer);
static void handshake_start(struct conn *conn);
static void handshake_not_started(struct conn *conn);
static void handshake_step(struct conn *conn);
static void conn_open(struct conn *conn);

const struct server_limits *conn_limits(const struct conn *conn)
{
    return &server_options_of(conn->home->server)->limits;
}

const struct exchange_handler *conn_handler(const struct conn *conn)
{
    const struct server_options *options = server_options_of(conn->home->server);
    return conn->type->transport == EXCHANGE_GRPC ? &options->grpc : &options->http;
}

uint64_t conn_age_ms(uint64_t age_ms)
{
    uint64_t fifth = age_ms / 5;
    return age_ms - age_ms / 10 + arc4random_uniform(fifth < UINT32_MAX ? (uint32_t)fifth + 1 : UINT32_MAX);
}

// --- life -----------------------------------------------------------------------------------------------------------

struct conn *conn_new(struct server_loop *home, const struct conn_type *type, int fd, const char *peer)
{
    struct conn *conn = calloc(1, type->size);
    if (conn == NULL) {
        close(fd);
        return NULL;
    }
    conn->type = type;
    conn->home = home;
    conn->fd = fd;
    conn->since_ns = weir_now_ns();
    snprintf(conn->peer, sizeof(conn->peer), "%s", peer);
    return conn;
}

void conn_start(struct conn *conn)
{
    struct server_loop *home = conn->home;
    conn->next = home->conns;
    if (conn->next != NULL)
        conn->next->prev = conn;
    home->conns = conn;
    conn->sock = h2o_evloop_socket_create(loop_evloop(home->loop), conn->fd,
                                          H2O_SOCKET_FLAG_DONT_READ | H2O_SOCKET_FLAG_IS_ACCEPTED_CONNECTION);
    conn->sock->data = conn;
    conn->want_read = true;
    struct tls_listen *listen = server_tls(home->server, conn->type);
    if (listen == NULL)
        conn_open(conn);
    else if ((conn->tls = conn_tls_new(listen, conn->fd)) != NULL)
        handshake_start(conn);
    else
        handshake_not_started(conn);
    conn_read_update(conn);
}

static void conn_open(struct conn *conn)
{
    conn->open = conn->type->open(conn);
    if (!conn->open) {
        conn_doom(conn);
        return;
    }
    if (conn->home->draining)
        conn_drain(conn, false);
    if (conn->home->said_last)
        conn_drain(conn, true);
}

void conn_drain(struct conn *conn, bool last)
{
    if (conn->doomed || conn->lingering)
        return;
    if (conn->open)
        conn->type->drain(conn, last);
    else if (!last)
        loop_timer_set(conn->home->loop, &conn->write_timer, LAST_HANDSHAKE_MS, on_handshake_timer);
}

void conn_doom(struct conn *conn)
{
    conn->doomed = true;
    conn->want_read = false;
    conn_read_update(conn);
    loop_later_set(conn->home->loop, &conn->later, on_later);
}

void conn_free(struct conn *conn)
{
    struct server_loop *home = conn->home;
    loop_later_clear(&conn->later);
    loop_timer_clear(&conn->write_timer);
    conn->type->close(conn);
    if (conn->tls != NULL && conn->tls->handshaking)
        server_handshake_ended(conn, NULL);
    if (conn->tls != NULL)
        conn_tls_say_goodbye(conn->tls);
    conn_tls_free(conn->tls);
    if (conn->prev != NULL)
        conn->prev->next = conn->next;
    else
        home->conns = conn->next;
    if (conn->next != NULL)
        conn->next->prev = conn->prev;
    h2o_socket_close(conn->sock);
    weir_buf_free(&conn->out);
    free(conn);
    server_conn_closed(home);
}

static void on_later(struct loop_later *later)
{
    struct conn *conn = WEIR_CONTAINER_OF(later, struct conn, later);
    if (conn->doomed)
        conn_free(conn);
    else if (!conn->writing && !conn->lingering && conn->open)
        conn->type->flush(conn);
}

void conn_schedule(struct conn *conn)
{
    if (!conn->writing && !conn->lingering)
        loop_later_set(conn->home->loop, &conn->later, on_later);
}

// --- reading --------------------------------------------------------------------------------------------------------

static bool may_read(const struct conn *conn)
{
    // What a lingering connection reads is thrown away, and a handshake brings no data: back-pressure need not hold them.
    return conn->want_read && !conn->doomed && (!conn->home->paused || conn->lingering || !conn->open);
}

static void on_again(struct loop_timer *timer);

// Without TLS, and once a lingering connection reads what it does not want to know, all there is to read lies in the kernel.
static bool has_buffered(const struct conn *conn)
{
    return conn->tls != NULL && conn->open && !conn->lingering && !conn->tls->drained;
}

void conn_read_update(struct conn *conn)
{
    bool read = may_read(conn);
    if (read == conn->reading || conn->sock == NULL)
        return;
    conn->reading = read;
    if (read)
        h2o_socket_read_start(conn->sock, on_readable);
    else
        h2o_socket_read_stop(conn->sock);
    if (read && has_buffered(conn))
        loop_timer_set(conn->home->loop, &conn->tls->again_timer, 0, on_again);
}

bool conn_has_input(const struct conn *conn)
{
    uint8_t byte;
    return has_buffered(conn) || recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static void take_bytes(struct conn *conn, uint8_t *data, size_t len)
{
    if (!conn->lingering) {
        conn->type->receive(conn, data, len);
        return;
    }
    conn->lingered_bytes += len;
    if (conn->lingered_bytes > CONN_LINGER_BYTES)
        conn_doom(conn);
}

// Returns false when there is nothing more for now.
static bool read_once(struct conn *conn)
{
    uint8_t *scratch = conn->home->read_scratch;
    bool decrypts = conn->tls != NULL && !conn->lingering;
    ssize_t n =
        decrypts ? conn_tls_read(conn->tls, scratch, CONN_READ_BYTES) : read(conn->fd, scratch, CONN_READ_BYTES);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n < 0 || (n == 0 && conn->lingering)) {
        conn_doom(conn);
        return false;
    }
    if (n == 0) {
        conn->eof = true;
        conn->want_read = false;
        conn->type->eof(conn);
        return false;
    }
    take_bytes(conn, scratch, (size_t)n);
    return decrypts ? !conn->tls->drained : (size_t)n == CONN_READ_BYTES;
}

static void read_some(struct conn *conn)
{
    for (int i = 0; i < READS_A_WAKEUP; i++)
        if (!may_read(conn) || !read_once(conn))
            break;
    conn_read_update(conn);
    if (conn->reading && has_buffered(conn))
        loop_timer_set(conn->home->loop, &conn->tls->again_timer, 0, on_again);
}

static void on_readable(h2o_socket_t *sock, const char *err)
{
    struct conn *conn = sock->data;
    if (conn->open || conn->lingering)
        read_some(conn);
    else
        handshake_step(conn);
}

static void on_again(struct loop_timer *timer)
{
    struct conn *conn = WEIR_CONTAINER_OF(timer, struct conn_tls, again_timer)->conn;
    if (conn->reading && has_buffered(conn))
        read_some(conn);
}

// --- TLS handshakes -------------------------------------------------------------------------------------------------

static void handshake_failed(struct conn *conn, const char *why)
{
    conn->tls->handshaking = false;
    conn->tls->broken = true;
    loop_timer_clear(&conn->write_timer);
    server_handshake_ended(conn, why);
    if (conn->writing) // for room in the socket: nobody reads there
        conn_doom(conn);
    else
        conn_linger(conn, HANDSHAKE_LINGER_MS);
}

static void on_handshake_timer(struct loop_timer *timer)
{
    struct conn *conn = WEIR_CONTAINER_OF(timer, struct conn, write_timer);
    handshake_failed(conn, "timed out");
}

static void handshake_start(struct conn *conn)
{
    conn->tls->conn = conn;
    loop_timer_set(conn->home->loop, &conn->write_timer, server_handshake_ms(conn->home->server), on_handshake_timer);
}

static void handshake_not_started(struct conn *conn)
{
    server_handshake_ended(conn, "out of memory");
    conn_doom(conn);
}

static void on_handshake_writable(h2o_socket_t *sock, const char *err)
{
    struct conn *conn = sock->data;
    conn->writing = false;
    conn->want_read = true;
    if (!conn->doomed && !conn->lingering)
        handshake_step(conn);
}

static void handshake_step(struct conn *conn)
{
    bool wants_write = false;
    char why[200];
    if (conn->writing)
        return;
    int rc = conn_tls_handshake(conn->tls, &wants_write, why, sizeof(why));
    if (rc < 0) {
        handshake_failed(conn, why);
        return;
    }
    if (rc == 0 && wants_write) {
        conn->writing = true;
        conn->want_read = false; // it would go on telling of bytes that nobody takes now
        h2o_socket_notify_write(conn->sock, on_handshake_writable);
    }
    if (rc == 1) {
        loop_timer_clear(&conn->write_timer);
        server_handshake_ended(conn, NULL);
        conn_open(conn);
        read_some(conn); // the first request may have come with the last of the handshake
        return;
    }
    conn_read_update(conn);
}

// --- writing --------------------------------------------------------------------------------------------------------

static void on_write_timer(struct loop_timer *timer)
{
    conn_doom(WEIR_CONTAINER_OF(timer, struct conn, write_timer));
}

bool conn_write(struct conn *conn, const uint8_t *data, size_t len)
{
    assert(!conn->writing);
    while (len > 0) {
        ssize_t n = conn->tls != NULL ? conn_tls_write(conn->tls, data, len)
                                      : send(conn->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            conn_doom(conn);
            return false;
        }
        data += n;
        len -= (size_t)n;
    }
    if (len == 0)
        return true;
    conn->out.len = 0;
    if (!weir_buf_append(&conn->out, data, len)) {
        conn_doom(conn);
        return false;
    }
    conn->writing = true;
    loop_timer_set(conn->home->loop, &conn->write_timer, conn_limits(conn)->write_stall_ms, on_write_timer);
    if (conn->tls != NULL) {
        conn->tls->out_at = 0;
        h2o_socket_notify_write(conn->sock, on_tls_writable);
        return false;
    }
    h2o_iovec_t vec = h2o_iovec_init(conn->out.data, conn->out.len);
    h2o_socket_write(conn->sock, &vec, 1, on_written);
    return false;
}

static void on_tls_writable(h2o_socket_t *sock, const char *err)
{
    struct conn *conn = sock->data;
    struct conn_tls *tls = conn->tls;
    while (err == NULL && tls->out_at < conn->out.len) {
        ssize_t n = conn_tls_write(tls, conn->out.data + tls->out_at, conn->out.len - tls->out_at);
        if (n < 0 && errno == EAGAIN) {
            h2o_socket_notify_write(sock, on_tls_writable);
            return;
        }
        if (n < 0)
            err = "TLS";
        else
            tls->out_at += (size_t)n;
    }
    on_written(sock, err);
}

static void on_written(h2o_socket_t *sock, const char *err)
{
    struct conn *conn = sock->data;
    conn->writing = false;
    loop_timer_clear(&conn->write_timer);
    weir_buf_free(&conn->out);
    if (err != NULL)
        conn_doom(conn);
    else
        conn_schedule(conn);
}

void conn_linger(struct conn *conn, uint32_t linger_ms)
{
    if (conn->lingering || conn->doomed)
        return;
    assert(!conn->writing);
    conn->lingering = true;
    if (conn->eof) {
        conn_doom(conn);
        return;
    }
    if (conn->tls != NULL)
        conn_tls_say_goodbye(conn->tls);
    shutdown(conn->fd, SHUT_WR);
    conn->want_read = true;
    conn_read_update(conn);
    loop_timer_set(conn->home->loop, &conn->write_timer, linger_ms, on_write_timer);
}
