// SPDX-License-Identifier: Apache-2.0
#include "net/http_client_sockets.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#define USER_TIMEOUT_MS 20000 // as the gRPC client's

// Where memory is out the socket is used all the same, without a number.
static void remember(struct http_sockets *sockets, int fd)
{
    if (sockets->count == sockets->cap) {
        size_t cap = sockets->cap ? sockets->cap * 2 : 8;
        struct http_socket *list = realloc(sockets->list, cap * sizeof(*list));
        if (list == NULL)
            return;
        sockets->list = list;
        sockets->cap = cap;
    }
    sockets->list[sockets->count++] = (struct http_socket){.fd = fd};
}

static curl_socket_t on_open(void *user, curlsocktype purpose, struct curl_sockaddr *address)
{
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd < 0)
        return CURL_SOCKET_BAD;
    unsigned timeout_ms = USER_TIMEOUT_MS;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
    remember(user, fd);
    return fd;
}

static int on_close(void *user, curl_socket_t fd)
{
    struct http_sockets *sockets = user;
    for (size_t i = 0; i < sockets->count; i++) {
        if (sockets->list[i].fd == fd) {
            sockets->list[i] = sockets->list[--sockets->count];
            break;
        }
    }
    return close(fd);
}

void http_sockets_watch(struct http_sockets *sockets, CURL *easy)
{
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, sockets);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, sockets);
}

static int local_port_of(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address = {.v6 = {0}};
    socklen_t len = sizeof(address);
    if (getsockname(fd, &address.any, &len) != 0)
        return -1;
    return ntohs(address.any.sa_family == AF_INET ? address.v4.sin_port : address.v6.sin6_port);
}

uint64_t http_sockets_use(struct http_sockets *sockets, int local_port)
{
    for (size_t i = 0; i < sockets->count; i++) {
        struct http_socket *socket = &sockets->list[i];
        if (local_port_of(socket->fd) != local_port)
            continue;
        if (socket->number == 0)
            socket->number = ++sockets->numbers;
        socket->used = ++sockets->uses;
        return socket->number;
    }
    return 0;
}

uint64_t http_sockets_latest(const struct http_sockets *sockets)
{
    uint64_t number = 0, used = 0;
    for (size_t i = 0; i < sockets->count; i++) {
        if (sockets->list[i].used > used) {
            used = sockets->list[i].used;
            number = sockets->list[i].number;
        }
    }
    return number;
}

void http_sockets_dispose(struct http_sockets *sockets)
{
    free(sockets->list);
    *sockets = (struct http_sockets){0};
}
