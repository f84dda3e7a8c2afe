// SPDX-License-Identifier: Apache-2.0
// A peer for the clients' tests: listens on 127.0.0.1:0, a thread per connection, which a function of the test serves with blocking
// calls. A silent or stuck connection ends when peer_stop shuts its socket down.
#ifndef WEIR_TESTS_CLIENT_PEER_H
#define WEIR_TESTS_CLIENT_PEER_H

#include "proto/base.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#define PEER_CONNECTIONS 64

struct peer;
struct peer_conn {
    struct peer *peer;
    int fd;
    SSL *ssl;
    int index; // from 0
    pthread_t thread;
};

struct peer {
    void (*serve)(struct peer_conn *conn);
    SSL_CTX *tls;                 // NULL: plaintext
    uint32_t window, max_streams; // of the HTTP/2 peer; 0: default
    int listen_fd;
    uint16_t port;
    pthread_t thread;
    pthread_mutex_t mutex;
    bool stopping;
    atomic_int accepted;
    char last_head[8192]; // of the HTTP/1 peer, under the mutex
    struct peer_conn conns[PEER_CONNECTIONS];
};

static inline ssize_t peer_read(struct peer_conn *conn, void *buf, size_t len)
{
    if (conn->ssl != NULL)
        return SSL_read(conn->ssl, buf, (int)len);
    return recv(conn->fd, buf, len, 0);
}

static inline bool peer_write(struct peer_conn *conn, const void *data, size_t len)
{
    const char *at = data;
    while (len > 0) {
        ssize_t n = conn->ssl != NULL ? SSL_write(conn->ssl, at, (int)len) : send(conn->fd, at, len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

// Reads until the client has gone.
static inline void peer_drain(struct peer_conn *conn)
{
    char buf[4096];
    while (peer_read(conn, buf, sizeof(buf)) > 0)
        ;
}

// Closing a socket with unread bytes, or with this option, makes the kernel send a RST.
static inline void peer_abort(struct peer_conn *conn)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

static inline void *peer_conn_thread(void *arg)
{
    struct peer_conn *conn = arg;
    bool ok = true;
    if (conn->peer->tls != NULL) {
        conn->ssl = SSL_new(conn->peer->tls);
        SSL_set_fd(conn->ssl, conn->fd);
        ok = SSL_accept(conn->ssl) == 1;
    }
    if (ok)
        conn->peer->serve(conn);
    SSL_free(conn->ssl);
    pthread_mutex_lock(&conn->peer->mutex);
    close(conn->fd);
    conn->fd = -1;
    pthread_mutex_unlock(&conn->peer->mutex);
    return NULL;
}

static inline void *peer_thread(void *arg)
{
    struct peer *peer = arg;
    for (int i = 0; i < PEER_CONNECTIONS; i++) {
        int fd = accept(peer->listen_fd, NULL, NULL);
        if (fd < 0)
            break;
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        pthread_mutex_lock(&peer->mutex);
        if (peer->stopping) {
            close(fd);
        } else {
            peer->conns[i] = (struct peer_conn){.peer = peer, .fd = fd, .index = i};
            atomic_fetch_add(&peer->accepted, 1);
            pthread_create(&peer->conns[i].thread, NULL, peer_conn_thread, &peer->conns[i]);
        }
        pthread_mutex_unlock(&peer->mutex);
    }
    return NULL;
}

// A socket bound to 127.0.0.1:0; its port.
static inline int peer_bind(uint16_t *port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, len), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

static inline void peer_start(struct peer *peer)
{
    signal(SIGPIPE, SIG_IGN);
    peer->listen_fd = peer_bind(&peer->port);
    cr_assert_eq(listen(peer->listen_fd, 64), 0);
    pthread_mutex_init(&peer->mutex, NULL);
    cr_assert_eq(pthread_create(&peer->thread, NULL, peer_thread, peer), 0);
}

static inline void peer_stop(struct peer *peer)
{
    pthread_mutex_lock(&peer->mutex);
    peer->stopping = true;
    for (int i = 0; i < peer->accepted; i++) {
        if (peer->conns[i].fd >= 0)
            shutdown(peer->conns[i].fd, SHUT_RDWR);
    }
    pthread_mutex_unlock(&peer->mutex);
    shutdown(peer->listen_fd, SHUT_RDWR);
    pthread_join(peer->thread, NULL);
    for (int i = 0; i < peer->accepted; i++)
        pthread_join(peer->conns[i].thread, NULL);
    close(peer->listen_fd);
    pthread_mutex_destroy(&peer->mutex);
}

// FNV-1a, to compare bodies.
static inline uint64_t peer_hash(uint64_t hash, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ data[i]) * 0x100000001b3u;
    return hash;
}
#define PEER_HASH_START 0xcbf29ce484222325u

#endif
