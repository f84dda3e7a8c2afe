// SPDX-License-Identifier: Apache-2.0
#include "net/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <h2o.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <unistd.h>

#define BACKLOG            1024
#define ACCEPTS_A_WAKEUP   16
#define ACCEPT_RETRY_MS    100
#define CROWD_RETRY_MS     100
#define HOST_BYTES         256
#define MALFORMED_ENDPOINT "listen on %s: not host:port, [IPv6 address]:port or :port"

static void on_acceptable(h2o_socket_t *sock, const char *err);

// --- endpoints ------------------------------------------------------------------------------------------------------

static bool is_port(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    return digits > 0 && digits <= 5 && text[digits] == '\0' && strtoul(text, NULL, 10) <= 65535;
}

static int split_endpoint(const char *endpoint, char *host, const char **port, struct weir_err *err)
{
    const char *colon = strrchr(endpoint, ':');
    if (colon == NULL || !is_port(colon + 1))
        return weir_fail(err, WEIR_E_INVALID, MALFORMED_ENDPOINT, endpoint);
    const char *from = endpoint;
    size_t len = (size_t)(colon - endpoint);
    if (len >= 2 && from[0] == '[' && from[len - 1] == ']') {
        from++;
        len -= 2;
        if (len == 0)
            return weir_fail(err, WEIR_E_INVALID, MALFORMED_ENDPOINT, endpoint);
    } else if (memchr(from, ':', len) != NULL) {
        return weir_fail(err, WEIR_E_INVALID, MALFORMED_ENDPOINT, endpoint);
    }
    if (len >= HOST_BYTES)
        return weir_fail(err, WEIR_E_INVALID, "listen on %s: host name too long", endpoint);
    memcpy(host, from, len);
    host[len] = '\0';
    *port = colon + 1;
    return WEIR_OK;
}

static void address_text(const struct sockaddr_storage *address, char *out, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (address->ss_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, address, sizeof(v6));
        bool mapped = IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr);
        inet_ntop(mapped ? AF_INET : AF_INET6, &v6.sin6_addr.s6_addr[mapped ? 12 : 0], host, sizeof(host));
        snprintf(out, size, mapped ? "%s:%u" : "[%s]:%u", host, ntohs(v6.sin6_port));
        return;
    }
    struct sockaddr_in v4;
    memcpy(&v4, address, sizeof(v4));
    inet_ntop(AF_INET, &v4.sin_addr, host, sizeof(host));
    snprintf(out, size, "%s:%u", host, ntohs(v4.sin_port));
}

// A bound and listening socket, or -1 with errno.
static int try_address(const struct sockaddr *address, socklen_t len)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    int on = 1, off = 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (address->sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (bind(fd, address, len) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

static int bind_any(const char *port)
{
    uint16_t number = (uint16_t)strtoul(port, NULL, 10);
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(number), .sin6_addr = IN6ADDR_ANY_INIT};
    int fd = try_address((const struct sockaddr *)&v6, sizeof(v6));
    if (fd >= 0 || (errno != EAFNOSUPPORT && errno != EADDRNOTAVAIL))
        return fd;
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(number)}; // a host without IPv6
    return try_address((const struct sockaddr *)&v4, sizeof(v4));
}

static int bind_host(const char *host, const char *port, const char **why)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(host, port, &hints, &list);
    if (rc != 0) {
        *why = rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc);
        return -1;
    }
    int fd = -1;
    for (struct addrinfo *ai = list; ai != NULL && fd < 0; ai = ai->ai_next)
        fd = try_address(ai->ai_addr, ai->ai_addrlen);
    if (fd < 0)
        *why = strerror(errno);
    freeaddrinfo(list);
    return fd;
}

int listener_bind(struct listener *listener, const char *endpoint, struct weir_err *err)
{
    listener->fd = -1;
    if (endpoint == NULL || strcmp(endpoint, "off") == 0)
        return WEIR_OK;
    char host[HOST_BYTES] = "";
    const char *port = NULL;
    int code = split_endpoint(endpoint, host, &port, err);
    if (code != WEIR_OK)
        return code;
    const char *why = NULL;
    int fd = host[0] == '\0' ? bind_any(port) : bind_host(host, port, &why);
    if (fd < 0)
        return weir_fail(err, WEIR_E_IO, "listen on %s: %s", endpoint, why != NULL ? why : strerror(errno));
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof(address);
    if (getsockname(fd, (struct sockaddr *)&address, &len) != 0) {
        code = weir_fail(err, WEIR_E_IO, "listen on %s: %s", endpoint, strerror(errno));
        close(fd);
        return code;
    }
    address_text(&address, listener->address, sizeof(listener->address));
    listener->fd = fd;
    return WEIR_OK;
}

// --- accepting ------------------------------------------------------------------------------------------------------

static void set_accepting(struct listener *listener, bool accept)
{
    if (listener->sock == NULL || accept == listener->accepting)
        return;
    listener->accepting = accept;
    if (accept)
        h2o_socket_read_start(listener->sock, on_acceptable);
    else
        h2o_socket_read_stop(listener->sock);
}

void listener_start(struct listener *listener, struct loop *loop)
{
    if (listener->fd < 0 || listener->sock != NULL)
        return;
    listener->loop = loop;
    listener->sock = h2o_evloop_socket_create(loop_evloop(loop), listener->fd, H2O_SOCKET_FLAG_DONT_READ);
    listener->sock->data = listener;
    listener_update(listener);
}

void listener_update(struct listener *listener)
{
    // In a crowd it looks on: only when somebody comes is room made.
    bool open = !server_full(listener->server, listener->type) || server_crowded(listener->server);
    set_accepting(listener, listener->retry_timer.due_ns == 0 && open);
}

void listener_close(struct listener *listener)
{
    loop_timer_clear(&listener->retry_timer);
    if (listener->sock != NULL)
        h2o_socket_close(listener->sock);
    else if (listener->fd >= 0)
        close(listener->fd);
    listener->sock = NULL;
    listener->fd = -1;
}

void listener_has_room(struct listener *listener)
{
    loop_timer_clear(&listener->retry_timer);
    listener_update(listener);
}

static void on_retry(struct loop_timer *timer)
{
    listener_update(WEIR_CONTAINER_OF(timer, struct listener, retry_timer));
}

static void take_connections(struct listener *listener, int most)
{
    for (int i = 0; i < most; i++) {
        if (server_full(listener->server, listener->type)) {
            if (server_crowded(listener->server)) {
                server_make_room(listener->server);
                loop_timer_set(listener->loop, &listener->retry_timer, CROWD_RETRY_MS, on_retry);
            }
            break;
        }
        struct sockaddr_storage address = {0};
        socklen_t len = sizeof(address);
        int fd = accept4(listener->fd, (struct sockaddr *)&address, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
            // The listener stays readable: without a pause the loop would spin.
            loop_timer_set(listener->loop, &listener->retry_timer, ACCEPT_RETRY_MS, on_retry);
            break;
        }
        if (fd < 0 && errno == EAGAIN)
            break;
        if (fd < 0)
            continue; // the peer gave up already, or a signal
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        char peer[64];
        address_text(&address, peer, sizeof(peer));
        server_accepted(listener->server, listener->type, fd, peer);
    }
    listener_update(listener);
}

static void on_acceptable(h2o_socket_t *sock, const char *err)
{
    take_connections(sock->data, ACCEPTS_A_WAKEUP);
}

void listener_take_waiting(struct listener *listener)
{
    if (listener->sock != NULL)
        take_connections(listener, BACKLOG);
}
