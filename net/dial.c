// SPDX-License-Identifier: Apache-2.0
#include "net/dial.h"

#include <errno.h>
#include <h2o.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <pthread.h>
#include <signal.h>

#define USER_TIMEOUT_MS                                                                                                \
    20000 // sent bytes that nobody acknowledges for so long end the connection, as in gRPC's own clients

// One getaddrinfo in a thread of its own. `abandoned` decides, under the mutex, who frees it: the loop, when the thread has sent the
// message, else the thread, which then must not touch the loop.
struct dial_lookup {
    struct loop_message message;
    pthread_mutex_t mutex;
    bool abandoned, sent;
    struct loop *loop;
    struct dial *dial; // NULL: nobody waits any more
    int error;         // EAI_…
    int system_error;
    struct addrinfo *addresses;
    char port[8];
    char host[256];
};

static void dial_next(struct dial *dial);

static void lookup_free(struct dial_lookup *lookup)
{
    if (lookup->addresses != NULL)
        freeaddrinfo(lookup->addresses);
    pthread_mutex_destroy(&lookup->mutex);
    free(lookup);
}

static int resolve(const char *host, const char *port, int flags, struct addrinfo **addresses)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_protocol = IPPROTO_TCP,
                             .ai_flags = flags | AI_NUMERICSERV};
    return getaddrinfo(host, port, &hints, addresses);
}

static void take_addresses(struct dial *dial, struct addrinfo *addresses)
{
    dial->addresses = dial->current = addresses;
    dial->left = 0;
    for (const struct addrinfo *at = addresses; at != NULL; at = at->ai_next)
        dial->left++;
    for (unsigned i = dial->left > 0 ? dial->turn % dial->left : 0; i > 0; i--)
        dial->current = dial->current->ai_next;
}

static void *lookup_thread(void *arg)
{
    struct dial_lookup *lookup = arg;
    lookup->error = resolve(lookup->host, lookup->port, 0, &lookup->addresses);
    lookup->system_error = errno;
    pthread_mutex_lock(&lookup->mutex);
    bool abandoned = lookup->abandoned;
    if (!abandoned) {
        lookup->sent = true;
        loop_send(lookup->loop, &lookup->message);
    }
    pthread_mutex_unlock(&lookup->mutex);
    if (abandoned)
        lookup_free(lookup);
    return NULL;
}

static void dial_end(struct dial *dial)
{
    enum client_error error = dial->error;
    dial_cancel(dial);
    dial->done(dial, NULL, error, dial->text);
}

static void on_lookup(struct loop_message *message)
{
    struct dial_lookup *lookup = WEIR_CONTAINER_OF(message, struct dial_lookup, message);
    pthread_mutex_lock(&lookup->mutex); // the thread sends with the mutex held: wait until it has let go
    pthread_mutex_unlock(&lookup->mutex);
    struct dial *dial = lookup->dial;
    if (dial == NULL) {
        lookup_free(lookup);
        return;
    }
    dial->lookup = NULL;
    if (lookup->error != 0) {
        dial->error = CLIENT_E_RESOLVE;
        snprintf(dial->text, sizeof(dial->text), "look up %.128s: %s", dial->host,
                 lookup->error == EAI_SYSTEM ? strerror(lookup->system_error) : gai_strerror(lookup->error));
        lookup_free(lookup);
        dial_end(dial);
        return;
    }
    take_addresses(dial, lookup->addresses);
    lookup->addresses = NULL;
    lookup_free(lookup);
    dial_next(dial);
}

static int thread_start(void *(*run)(void *), void *arg)
{
    pthread_attr_t attr;
    int error = pthread_attr_init(&attr);
    if (error != 0)
        return error;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    error = pthread_create(&thread, &attr, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return error;
}

static void lookup_start(struct dial *dial, const char *port)
{
    struct dial_lookup *lookup = calloc(1, sizeof(*lookup));
    int error = ENOMEM;
    if (lookup != NULL) {
        lookup->message.run = on_lookup;
        lookup->loop = dial->loop;
        lookup->dial = dial;
        snprintf(lookup->host, sizeof(lookup->host), "%s", dial->host);
        snprintf(lookup->port, sizeof(lookup->port), "%s", port);
        pthread_mutex_init(&lookup->mutex, NULL);
        error = thread_start(lookup_thread, lookup);
    }
    if (error == 0) {
        dial->lookup = lookup;
        return;
    }
    if (lookup != NULL)
        lookup_free(lookup);
    dial->error = CLIENT_E_RESOLVE;
    snprintf(dial->text, sizeof(dial->text), "look up %.128s: %s", dial->host, strerror(error));
    dial_end(dial);
}

void dial_start(struct dial *dial)
{
    assert(dial->lookup == NULL && dial->sock == NULL && dial->addresses == NULL);
    char port[8];
    snprintf(port, sizeof(port), "%u", dial->port);
    dial->stage = "name look-up";
    struct addrinfo *addresses = NULL;
    if (resolve(dial->host, port, AI_NUMERICHOST, &addresses) == 0) {
        take_addresses(dial, addresses);
        dial_next(dial);
        return;
    }
    lookup_start(dial, port);
}

static void close_attempt(struct dial *dial)
{
    loop_timer_clear(&dial->attempt);
    if (dial->sock != NULL)
        h2o_socket_close(dial->sock);
    dial->sock = NULL;
}

void dial_cancel(struct dial *dial)
{
    close_attempt(dial);
    if (dial->addresses != NULL)
        freeaddrinfo(dial->addresses);
    dial->addresses = dial->current = NULL;
    struct dial_lookup *lookup = dial->lookup;
    if (lookup == NULL)
        return;
    dial->lookup = NULL;
    pthread_mutex_lock(&lookup->mutex);
    if (lookup->sent)
        lookup->dial = NULL; // its message lies in the loop's queue
    else
        lookup->abandoned = true;
    pthread_mutex_unlock(&lookup->mutex);
}

// --- one address ----------------------------------------------------------------------------------------------------

// "connect to collector:4317 (10.1.2.3): Connection refused"
static void attempt_failed(struct dial *dial, enum client_error error, const char *reason)
{
    char address[64] = "";
    const struct addrinfo *at = dial->current;
    getnameinfo(at->ai_addr, at->ai_addrlen, address, sizeof(address), NULL, 0, NI_NUMERICHOST);
    dial->error = error;
    const char *doing = error == CLIENT_E_TLS || error == CLIENT_E_PROTOCOL ? "TLS with" : "connect to";
    if (strcmp(address, dial->host) == 0 || address[0] == '\0')
        snprintf(dial->text, sizeof(dial->text), "%s %.120s: %.80s", doing, dial->peer, reason);
    else
        snprintf(dial->text, sizeof(dial->text), "%s %.80s (%s): %.60s", doing, dial->peer, address, reason);
    close_attempt(dial);
    dial->current = at->ai_next != NULL ? at->ai_next : dial->addresses;
    dial->left--;
}

static void on_attempt_timeout(struct loop_timer *timer)
{
    struct dial *dial = WEIR_CONTAINER_OF(timer, struct dial, attempt);
    attempt_failed(dial, CLIENT_E_CONNECT, "timed out");
    dial_next(dial);
}

static void dial_succeeded(struct dial *dial)
{
    h2o_socket_t *sock = dial->sock;
    dial->sock = NULL;
    dial_cancel(dial);
    dial->done(dial, sock, CLIENT_OK, "");
}

// h2o checks the name in its own way after OpenSSL has (and only sometimes): its two verdicts on that do not count. All its other errors
// are of the handshake itself.
static bool handshake_ok(const char *err)
{
    return err == NULL || err == h2o_socket_error_ssl_cert_name_mismatch || err == h2o_socket_error_ssl_cert_invalid;
}

static void on_handshake(h2o_socket_t *sock, const char *err)
{
    struct dial *dial = sock->data;
    unsigned long code = ERR_peek_last_error();
    ERR_clear_error();
    if (handshake_ok(err)) {
        h2o_iovec_t protocol = h2o_socket_ssl_get_selected_protocol(sock);
        if (protocol.len == 2 && memcmp(protocol.base, "h2", 2) == 0) {
            dial_succeeded(dial);
            return;
        }
        attempt_failed(dial, CLIENT_E_PROTOCOL, "the peer does not offer HTTP/2 (no \"h2\" by ALPN)");
    } else {
        const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
        bool verify = code != 0 && ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED;
        attempt_failed(dial, CLIENT_E_TLS, reason != NULL && !verify ? reason : err);
    }
    dial_next(dial);
}

// A port of the ephemeral range that nobody listens on can be given to the connecting socket itself, which then talks to itself.
static bool connected_to_itself(int fd)
{
    struct sockaddr_storage here, there;
    memset(&here, 0, sizeof(here));
    memset(&there, 0, sizeof(there));
    socklen_t here_len = sizeof(here), there_len = sizeof(there);
    return getsockname(fd, (struct sockaddr *)&here, &here_len) == 0 &&
           getpeername(fd, (struct sockaddr *)&there, &there_len) == 0 && here_len == there_len &&
           memcmp(&here, &there, here_len) == 0;
}

static void on_connect(h2o_socket_t *sock, const char *err)
{
    struct dial *dial = sock->data;
    int fd = h2o_socket_get_fd(sock);
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    if (error == 0 && connected_to_itself(fd))
        error = ECONNREFUSED;
    if (error != 0) {
        attempt_failed(dial, CLIENT_E_CONNECT, strerror(error));
        dial_next(dial);
        return;
    }
    if (dial->tls == NULL) {
        dial_succeeded(dial);
        return;
    }
    dial->stage = "TLS handshake";
    ERR_clear_error();
    h2o_socket_ssl_handshake(sock, dial->tls, dial->sni, on_handshake);
}

static int connect_address(struct dial *dial)
{
    const struct addrinfo *at = dial->current;
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    if (fd < 0)
        return errno;
    int on = 1;
    unsigned user_timeout_ms = USER_TIMEOUT_MS;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms, sizeof(user_timeout_ms));
    if (connect(fd, at->ai_addr, at->ai_addrlen) != 0 && errno != EINPROGRESS) {
        int error = errno;
        close(fd);
        return error;
    }
    // Not by h2o_socket_connect: that loses the reason of a failure.
    dial->sock = h2o_evloop_socket_create(loop_evloop(dial->loop), fd, 0);
    dial->sock->data = dial;
    h2o_socket_notify_write(dial->sock, on_connect);
    return 0;
}

static void dial_next(struct dial *dial)
{
    dial->stage = "TCP";
    while (dial->left > 0) {
        int error = connect_address(dial);
        if (error == 0)
            break;
        attempt_failed(dial, CLIENT_E_CONNECT, strerror(error));
    }
    if (dial->left == 0) {
        dial_end(dial);
        return;
    }
    uint64_t now_ns = weir_now_ns();
    if (dial->left > 1 && dial->deadline_ns > now_ns)
        loop_timer_set(dial->loop, &dial->attempt, (dial->deadline_ns - now_ns) / 1000000 / dial->left,
                       on_attempt_timeout);
}
