// SPDX-License-Identifier: Apache-2.0
// h2o's own HTTP/1.1 server, with HTTP/2 off. Every handler answers at once: a connection is either being read or being written.
//
// What h2o does not do is done here: at most CONNECTIONS_MAX connections (the oldest makes room), an end to peers that do not read their
// answer, and a shutdown that closes idle connections. h2o_context_request_shutdown is not used: it arms an HTTP/2 timer that
// would outlive the context.
#include "relay/admin.h"

#include <errno.h>
#include <h2o.h>
#include <h2o/http1.h>
#include <openssl/err.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/socket.h>

#include "net/listener.h"
#include "relay/admin_routes.h"
#include "relay/log.h"

#define CONNECTIONS_MAX  64
#define REQUEST_BYTES    (64u * 1024u)
#define REQUEST_MS       10000 // for a whole request; also how long an idle connection is kept
#define UNREAD_ANSWER_NS 10000000000u
#define BURST_REQUESTS   16u // of one connection
#define BURST_NS         1000000000u
#define CROWD_UNREAD_NS  1000000000u // when others wait for its place
#define HANDSHAKE_NS     10000000000u
#define SAMPLE_MS        1000
#define STOP_MS          1000
#define ANY_PORT         65535 // h2o: the host answers whatever port was asked

struct admin_connection {
    struct admin_connection *prev, *next;
    struct admin *admin;
    h2o_socket_t *sock;
    SSL *ssl; // h2o's, once the handshake is done; NULL: plaintext
    uint64_t burst_since_ns;
    uint32_t burst;              // requests since then
    uint64_t writing_since_ns;   // 0: nothing is being written
    uint64_t handshake_since_ns; // 0: none is under way
    SSL_CTX *tls;                // h2o does not hold it itself
};

struct admin {
    struct admin_view view;
    struct loop *loop; // the thread's: made, run and freed in it
    pthread_t thread;
    sem_t started, stop_sent;
    int start_code; // valid once `started`
    struct weir_err start_err;
    struct listener listener; // bound by net, accepting here
    h2o_socket_t *listening;  // NULL: not any more
    h2o_globalconf_t config;
    h2o_context_t context;
    h2o_accept_ctx_t accept;
    struct admin_connection connections; // head of the list
    size_t connection_count;
    bool accepting, stopping;
    struct loop_timer sample_timer, stop_timer;
    struct loop_message stop;
};

struct admin_handler {
    h2o_handler_t super;
    struct admin_view *view;
};

// h2o takes all requests that lie behind each other in one turn of the loop, whoever else waits: thousands of them kept health checks out for
// minutes. So a connection that asks so much so fast has had its last answer.
static void bound_burst(h2o_req_t *req)
{
    h2o_socket_t *sock = req->conn->callbacks->get_socket(req->conn);
    struct admin_connection *connection = sock->on_close.data;
    uint64_t now_ns = weir_now_ns();
    if (now_ns - connection->burst_since_ns > BURST_NS) {
        connection->burst_since_ns = now_ns;
        connection->burst = 0;
    }
    if (++connection->burst >= BURST_REQUESTS)
        req->http1_is_persistent = 0;
}

static int on_request(h2o_handler_t *handler, h2o_req_t *req)
{
    bound_burst(req);
    admin_route(((struct admin_handler *)handler)->view, req);
    return 0;
}

// --- connections ------------------------------------------------------------------------------------------------------

static void on_acceptable(h2o_socket_t *listening, const char *err);

static void set_accepting(struct admin *admin, bool accept)
{
    if (admin->listening == NULL || accept == admin->accepting)
        return;
    admin->accepting = accept;
    if (accept)
        h2o_socket_read_start(admin->listening, on_acceptable);
    else
        h2o_socket_read_stop(admin->listening);
}

static void on_connection_close(void *data)
{
    struct admin_connection *connection = data;
    struct admin *admin = connection->admin;
    connection->prev->next = connection->next;
    connection->next->prev = connection->prev;
    SSL_CTX_free(connection->tls);
    free(connection);
    admin->connection_count--;
    set_accepting(admin, true);
    if (admin->stopping && admin->connection_count == 0)
        loop_stop(admin->loop);
}

static void serve_connection(struct admin_connection *connection)
{
    struct timeval now;
    gettimeofday(&now, NULL);
    h2o_http1_accept(&connection->admin->accept, connection->sock, now);
}

static void on_ssl_info(const SSL *ssl, int where, int code)
{
    h2o_socket_t *sock = BIO_get_data(SSL_get_rbio(ssl)); // h2o's own
    if ((where & SSL_CB_HANDSHAKE_DONE) != 0)
        ((struct admin_connection *)sock->data)->ssl = (SSL *)ssl;
}

// In TLS 1.3 a request may come in one segment with the last of the handshake. h2o 2.2.5 would look at it when more comes, and the client waits.
static void take_early_bytes(struct admin_connection *connection)
{
    h2o_socket_t *sock = connection->sock;
    char bytes[4096];
    int n;
    while (connection->ssl != NULL && sock->input->size < REQUEST_BYTES &&
           (n = SSL_read(connection->ssl, bytes, sizeof(bytes))) > 0) {
        h2o_iovec_t room = h2o_buffer_reserve(&sock->input, (size_t)n);
        memcpy(room.base, bytes, (size_t)n);
        sock->input->size += (size_t)n;
    }
    ERR_clear_error();
}

static void on_handshake(h2o_socket_t *sock, const char *err)
{
    struct admin_connection *connection = sock->data;
    static struct log_limit limit = LOG_LIMIT(10000);
    unsigned long code = ERR_peek_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
    connection->handshake_since_ns = 0;
    if (err == NULL) {
        take_early_bytes(connection);
        serve_connection(connection);
        return;
    }
    log_event_limited(reason == NULL ? NULL : &limit, reason == NULL ? LOG_DEBUG : LOG_WARN, "tls_handshake_failed",
                      "a TLS handshake failed", LOG_STR("transport", "admin"),
                      LOG_STR("error", reason != NULL ? reason : err));
    ERR_clear_error();
    h2o_socket_close(sock);
}

// Past the limit the oldest goes that is not taking an answer, so that connections which do nothing do not keep health checks out; of those that
// take one, who has not for a second.
static void make_room(struct admin *admin)
{
    uint64_t now_ns = weir_now_ns();
    set_accepting(admin, false); // until one has gone
    for (struct admin_connection *it = admin->connections.prev; it != &admin->connections; it = it->prev) {
        if (h2o_socket_is_writing(it->sock) &&
            (it->writing_since_ns == 0 || now_ns - it->writing_since_ns < CROWD_UNREAD_NS))
            continue;
        shutdown(h2o_socket_get_fd(it->sock), SHUT_RDWR);
        return;
    }
}

static void on_acceptable(h2o_socket_t *listening, const char *err)
{
    struct admin *admin = listening->data;
    h2o_socket_t *sock = h2o_evloop_socket_accept(listening);
    if (sock == NULL) {
        // Out of descriptors the listener stays readable, and the loop would spin: go on at the next sample.
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            set_accepting(admin, false);
        return;
    }
    struct admin_connection *connection = calloc(1, sizeof(*connection));
    if (connection == NULL) {
        h2o_socket_close(sock);
        return;
    }
    connection->admin = admin;
    connection->sock = sock;
    connection->prev = &admin->connections;
    connection->next = admin->connections.next;
    connection->next->prev = admin->connections.next = connection;
    sock->on_close.cb = on_connection_close;
    sock->on_close.data = connection;
    if (++admin->connection_count > CONNECTIONS_MAX)
        make_room(admin);
    struct tls_listen *tls = certificates_of(admin->view.relay->certificates, CERTIFICATE_ADMIN);
    if (tls == NULL) {
        serve_connection(connection);
        return;
    }
    connection->tls = tls_listen_context(tls);
    SSL_CTX_set_info_callback(connection->tls, on_ssl_info);
    connection->handshake_since_ns = weir_now_ns();
    sock->data = connection;
    ERR_clear_error();
    h2o_socket_ssl_handshake(sock, connection->tls, NULL, on_handshake);
}

static void shut_connections(struct admin *admin, int how)
{
    for (struct admin_connection *it = admin->connections.next; it != &admin->connections; it = it->next)
        shutdown(h2o_socket_get_fd(it->sock), how);
}

// h2o has no timeout for handshakes and for writing: without this, as many peers that do not read as there may be connections would close the port.
static void cut_unread_answers(struct admin *admin, uint64_t now_ns)
{
    for (struct admin_connection *it = admin->connections.next; it != &admin->connections; it = it->next) {
        if (it->handshake_since_ns != 0 && now_ns - it->handshake_since_ns > HANDSHAKE_NS)
            shutdown(h2o_socket_get_fd(it->sock), SHUT_RDWR);
        if (!h2o_socket_is_writing(it->sock))
            it->writing_since_ns = 0;
        else if (it->writing_since_ns == 0)
            it->writing_since_ns = now_ns;
        else if (now_ns - it->writing_since_ns > UNREAD_ANSWER_NS)
            shutdown(h2o_socket_get_fd(it->sock), SHUT_RDWR);
    }
}

static void await(sem_t *sem)
{
    while (sem_wait(sem) != 0)
        assert(errno == EINTR);
}

// --- the thread -------------------------------------------------------------------------------------------------------

static void on_sample(struct loop_timer *timer)
{
    struct admin *admin = WEIR_CONTAINER_OF(timer, struct admin, sample_timer);
    snapshot_take(admin->view.relay, &admin->view.sampler, &admin->view.snapshot);
    snapshot_sample(&admin->view.sampler, &admin->view.snapshot);
    cut_unread_answers(admin, weir_now_ns());
    if (admin->connection_count > CONNECTIONS_MAX)
        make_room(admin);
    else
        set_accepting(admin, true);
    loop_timer_set(admin->loop, timer, SAMPLE_MS, on_sample);
}

static void on_stop_late(struct loop_timer *timer)
{
    shut_connections(WEIR_CONTAINER_OF(timer, struct admin, stop_timer), SHUT_RDWR);
}

static void on_stop(struct loop_message *message)
{
    struct admin *admin = WEIR_CONTAINER_OF(message, struct admin, stop);
    admin->stopping = true;
    loop_timer_clear(&admin->sample_timer);
    h2o_socket_close(admin->listening);
    admin->listening = NULL;
    admin->context.shutdown_requested = 1; // answers say Connection: close
    shut_connections(admin, SHUT_RD);      // those that are idle see an end of file
    if (admin->connection_count == 0)
        loop_stop(admin->loop);
    else
        loop_timer_set(admin->loop, &admin->stop_timer, STOP_MS, on_stop_late);
}

static void set_up_h2o(struct admin *admin)
{
    h2o_config_init(&admin->config);
    admin->config.server_name = h2o_iovec_init(H2O_STRLIT("weir"));
    admin->config.http1.upgrade_to_http2 = 0; // neither by preface nor by Upgrade: this h2o's HTTP/2 has known holes
    admin->config.http1.req_timeout = REQUEST_MS;
    admin->config.max_request_entity_size = REQUEST_BYTES;
    h2o_hostconf_t *host = h2o_config_register_host(&admin->config, h2o_iovec_init(H2O_STRLIT("default")), ANY_PORT);
    h2o_pathconf_t *path = h2o_config_register_path(host, "/", 0);
    struct admin_handler *handler = (struct admin_handler *)h2o_create_handler(path, sizeof(*handler));
    handler->super.on_req = on_request;
    handler->view = &admin->view;
    h2o_context_init(&admin->context, loop_evloop(admin->loop), &admin->config);
    admin->accept.ctx = &admin->context;
    admin->accept.hosts = admin->config.hosts;
}

static void serve(struct admin *admin)
{
    set_up_h2o(admin);
    admin->listening =
        h2o_evloop_socket_create(loop_evloop(admin->loop), admin->listener.fd, H2O_SOCKET_FLAG_DONT_READ);
    admin->listening->data = admin;
    on_sample(&admin->sample_timer); // the first one; it also starts to accept
    loop_run(admin->loop);
    loop_timer_clear(&admin->stop_timer);
    loop_poll(admin->loop, 0); // h2o frees closed sockets in its next turn
    h2o_context_dispose(&admin->context);
    h2o_config_dispose(&admin->config);
}

// h2o's sockets take their buffers from a cache of the thread that made them, without a lock: the loop must live and die in the
// one thread that uses it.
static void *run(void *data)
{
    struct admin *admin = data;
    pthread_setname_np(pthread_self(), "admin");
    admin->start_code = loop_new(&admin->loop, &admin->start_err);
    bool started = admin->start_code == WEIR_OK;
    sem_post(&admin->started);
    if (!started)
        return NULL;
    serve(admin);
    await(&admin->stop_sent); // the sender has left loop_send
    loop_free(admin->loop);
    return NULL;
}

static int start_thread(struct admin *admin, struct weir_err *err)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&admin->thread, NULL, run, admin);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc == 0 ? WEIR_OK : weir_fail(err, WEIR_E_NOMEM, "start the admin thread: %s", strerror(rc));
}

int admin_start(struct relay *relay, struct admin **out, struct weir_err *err)
{
    *out = NULL;
    if (strcmp(relay->config->admin.endpoint, "off") == 0)
        return WEIR_OK;
    struct admin *admin = calloc(1, sizeof(*admin));
    if (admin == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "admin: out of memory");
    admin->view.relay = relay;
    admin->connections.prev = admin->connections.next = &admin->connections;
    const char *setting = "admin.token_file";
    int code = admin_auth_open(&admin->view.auth, relay->config->admin.token_file, err);
    if (code == WEIR_OK) {
        setting = "admin.endpoint";
        code = listener_bind(&admin->listener, relay->config->admin.endpoint, err);
    }
    if (code != WEIR_OK) {
        weir_wrap(err, "%s", setting);
        goto fail;
    }
    sem_init(&admin->started, 0, 0);
    sem_init(&admin->stop_sent, 0, 0);
    code = start_thread(admin, err);
    if (code != WEIR_OK)
        goto fail_listener;
    await(&admin->started);
    code = admin->start_code;
    if (code != WEIR_OK)
        goto fail_thread;
    *out = admin;
    return WEIR_OK;

fail_thread:
    pthread_join(admin->thread, NULL);
    if (err != NULL)
        *err = admin->start_err;
fail_listener:
    sem_destroy(&admin->started);
    sem_destroy(&admin->stop_sent);
    listener_close(&admin->listener);
fail:
    admin_auth_close(&admin->view.auth);
    free(admin);
    assert(code != WEIR_OK);
    return code;
}

const char *admin_address(const struct admin *admin)
{
    return admin != NULL ? admin->listener.address : NULL;
}

void admin_stop(struct admin *admin)
{
    if (admin == NULL)
        return;
    admin->stop.run = on_stop;
    loop_send(admin->loop, &admin->stop);
    sem_post(&admin->stop_sent);
    pthread_join(admin->thread, NULL);
    sem_destroy(&admin->started);
    sem_destroy(&admin->stop_sent);
    admin_auth_close(&admin->view.auth);
    free(admin);
}
