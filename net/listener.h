// SPDX-License-Identifier: Apache-2.0
// A listening socket, private to net/. Bound in any thread, accepting in one loop's.
#ifndef WEIR_NET_LISTENER_H
#define WEIR_NET_LISTENER_H

#include "net/conn.h"

struct listener {
    struct server *server;
    const struct conn_type *type;
    int fd; // -1: off or closed
    char address[64];
    struct st_h2o_socket_t *sock; // NULL until started
    struct loop *loop;
    bool accepting;
    struct loop_timer retry_timer; // out of descriptors or memory
};

// "host:port", "[v6]:port", ":port" (IPv6 and IPv4), port 0 for any free one. NULL or "off": stays off. WEIR_E_INVALID, WEIR_E_IO.
int listener_bind(struct listener *listener, const char *endpoint, struct weir_err *err);
// In the loop's thread from here on.
void listener_start(struct listener *listener, struct loop *loop);
// Stops accepting while the server is full, starts again when it is not.
void listener_update(struct listener *listener);
// Somebody has left: what made it wait may be over.
void listener_has_room(struct listener *listener);
// Takes what has connected as far as the server has room: closing would reset it.
void listener_take_waiting(struct listener *listener);
void listener_close(struct listener *listener);

#endif
