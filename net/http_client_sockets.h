// SPDX-License-Identifier: Apache-2.0
// The sockets that curl has open for one client: numbers its connections, which libcurl 7.88 does not. For net/http_client.c.
#ifndef WEIR_NET_HTTP_CLIENT_SOCKETS_H
#define WEIR_NET_HTTP_CLIENT_SOCKETS_H

#include "proto/base.h"

#include <curl/curl.h>

struct http_socket {
    int fd;
    uint64_t number; // 0: no request went over it yet
    uint64_t used;   // higher: later
};

// Zero-initialise.
struct http_sockets {
    struct http_socket *list;
    size_t count, cap;
    uint64_t numbers, uses;
};

// Makes curl open and close sockets through us, with TCP_USER_TIMEOUT set. `sockets` must outlive the multi handle.
void http_sockets_watch(struct http_sockets *sockets, CURL *easy);
// A request goes out from that local port. Returns the connection's number, from 1; 0: not known.
uint64_t http_sockets_use(struct http_sockets *sockets, int local_port);
// Number of the open connection that was used last; 0: none.
uint64_t http_sockets_latest(const struct http_sockets *sockets);
void http_sockets_dispose(struct http_sockets *sockets);

#endif
