// SPDX-License-Identifier: Apache-2.0
// The TLS of one accepted connection, private to net/. OpenSSL works on the socket itself; h2o only says when it is ready, as without TLS,
// so that back-pressure, lingering and the rest are conn.c's alone.
#ifndef WEIR_NET_CONN_TLS_H
#define WEIR_NET_CONN_TLS_H

#include "net/conn.h"

#include <openssl/ssl.h>

struct conn_tls {
    SSL *ssl;
    struct conn *conn;
    bool handshaking;
    bool broken;                   // nothing more may be said, not even goodbye
    bool drained;                  // its last word was that it needs more from the socket
    size_t out_at;                 // [0, out_at) of the connection's `out` is sent
    struct loop_timer again_timer; // bytes that no readiness will tell of: they are in OpenSSL's buffer
};

// NULL: out of memory.
struct conn_tls *conn_tls_new(struct tls_listen *listen, int fd);
void conn_tls_free(struct conn_tls *tls);
// One step. 1: done; 0: `*wants_write` says what it waits for; -1: failed, and `why` says how ("" when the peer just left).
int conn_tls_handshake(struct conn_tls *tls, bool *wants_write, char *why, size_t why_size);
// As read() and send() on the socket: bytes, 0 at the peer's last word, -1 with errno; EAGAIN is not a failure.
ssize_t conn_tls_read(struct conn_tls *tls, void *out, size_t size);
ssize_t conn_tls_write(struct conn_tls *tls, const void *data, size_t len);
// Says that nothing more will come, as far as the socket takes it at once.
void conn_tls_say_goodbye(struct conn_tls *tls);

#endif
