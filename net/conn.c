// SPDX-License-Identifier: Apache-2.0
// Connections read into and write from buffers that belong to their loop: an idle one costs its record and the kernel's.
#include "net/conn.h"

#include <errno.h>
#include <h2o.h>
#include <sys/socket.h>
#include <unistd.h>

#define READS_A_WAKEUP 4 // then others get their turn; the poll is level-triggered

static void on_readable(h2o_socket_t *sock, const char *err);
static void on_written(h2o_socket_t *sock, const char *err);
static void on_later(struct loop_later *later);

const struct server_limits *conn_limits(const struct conn *conn)
{
    return &server_options_of(conn->home->server)->limits;
}

const struct exchange_handler *conn_handler(const struct conn *conn)
{
    const struct server_options *options = server_options_of(conn->home->server);
    return conn->type->transport == EXCHANGE_GRPC ? &options->grpc : &options->http;
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
    if (!conn->type->open(conn)) {
        conn_doom(conn);
        return;
    }
    if (home->draining)
        conn->type->drain(conn, false);
    conn_read_update(conn);
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
    else if (!conn->writing && !conn->lingering)
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
    // What a lingering connection reads is thrown away: back-pressure need not hold it.
    return conn->want_read && !conn->doomed && (!conn->home->paused || conn->lingering);
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
}

bool conn_has_input(const struct conn *conn)
{
    uint8_t byte;
    return recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
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
    ssize_t n = read(conn->fd, scratch, CONN_READ_BYTES);
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
    return (size_t)n == CONN_READ_BYTES;
}

static void on_readable(h2o_socket_t *sock, const char *err)
{
    struct conn *conn = sock->data;
    for (int i = 0; i < READS_A_WAKEUP; i++)
        if (!may_read(conn) || !read_once(conn))
            break;
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
        ssize_t n = send(conn->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
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
    h2o_iovec_t vec = h2o_iovec_init(conn->out.data, conn->out.len);
    h2o_socket_write(conn->sock, &vec, 1, on_written);
    return false;
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
    shutdown(conn->fd, SHUT_WR);
    conn->want_read = true;
    conn_read_update(conn);
    loop_timer_set(conn->home->loop, &conn->write_timer, linger_ms, on_write_timer);
}
