// SPDX-License-Identifier: Apache-2.0
// A server on its own loops and threads, with a handler that does what the path says, for test_server_*.c:
//   /sink   answers at the end of the body: 200, body "<bytes> <sum of the bytes>"
//   /early  answers 503 in begin            /mid    answers 503 at the first byte
//   /close  as /sink, with close set        /big    as /sink, with a body of RIG_BIG_BYTES
//   /hold   keeps the exchange until rig_release (one exchange at a time is answered per loop turn, in order)
//   /watch  answers with a stream that says "0000", and what rig_push has it say; it stays until it is gone
#ifndef WEIR_TESTS_SERVER_RIG_H
#define WEIR_TESTS_SERVER_RIG_H

#include "net/server.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#define RIG_LOOPS     2
#define RIG_BIG_BYTES (8u << 20)

struct rig;
struct rig_request {
    struct rig_request *next; // in held
    struct rig_loop *at;
    struct exchange *exchange;
    uint64_t bytes, sum;
    char path[32];
    bool streams;
};
struct rig_loop {
    struct rig *rig;
    struct loop *loop;
    pthread_t thread;
    struct rig_request *held, **held_tail;
    struct loop_message message;
    int command;  // 0 release, 1 pause, 2 resume, 3 nothing, 4 push
    int from, to; // of a push: every number, in one turn
    atomic_bool busy;
};
struct rig {
    struct rig_loop loops[RIG_LOOPS];
    size_t loop_count;
    struct server *server;
    struct server_options options;
    atomic_uint begins, ends, gones, answers, held, done;
    _Atomic uint64_t bytes;
    atomic_bool gone_after_answer;
    atomic_uint handshakes_failed;
    char handshake_why[200]; // of the last one; with one loop
};

#define RIG_WAIT(condition)                                                                                            \
    do {                                                                                                               \
        uint64_t give_up_ = weir_now_ns() + 20000000000u;                                                              \
        while (!(condition)) {                                                                                         \
            cr_assert_lt(weir_now_ns(), give_up_, "waited in vain for: %s", #condition);                               \
            sched_yield();                                                                                             \
        }                                                                                                              \
    } while (0)

// --- the handler ----------------------------------------------------------------------------------------------------

static inline bool rig_path_is(const struct rig_request *request, const char *path)
{
    return strcmp(request->path, path) == 0;
}

#define RIG_HEADER(name, value)                                                                                        \
    (struct exchange_header)                                                                                           \
    {                                                                                                                  \
        name, sizeof(name) - 1, value, sizeof(value) - 1                                                               \
    }

// gRPC: 200 with message and trailer; refusals Trailers-Only. HTTP: the status.
static inline void rig_answer(struct rig_request *request, int http_status, const char *grpc_status)
{
    struct exchange *exchange = request->exchange;
    struct rig *rig = request->at->rig;
    bool grpc = exchange->transport == EXCHANGE_GRPC, ok = http_status == 200;
    char text[64];
    int len =
        snprintf(text, sizeof(text), "%llu %llu", (unsigned long long)request->bytes, (unsigned long long)request->sum);
    struct weir_slice body = {(const uint8_t *)text, (size_t)len};
    uint8_t *big = NULL;
    if (rig_path_is(request, "/big")) {
        big = malloc(RIG_BIG_BYTES);
        memset(big, 'b', RIG_BIG_BYTES);
        body = (struct weir_slice){big, RIG_BIG_BYTES};
    }
    struct exchange_header type =
        grpc ? RIG_HEADER("content-type", "application/grpc") : RIG_HEADER("content-type", "application/x-protobuf");
    struct exchange_header status = {"grpc-status", 11, grpc_status, strlen(grpc_status)};
    struct exchange_header headers[2] = {type, status};
    struct exchange_answer answer = {
        .http_status = grpc ? 200 : http_status,
        .headers = headers,
        .header_count = grpc && !ok ? 2 : 1,
        .body = grpc && !ok ? (struct weir_slice){0} : body,
        .trailers = &status,
        .trailer_count = grpc && ok ? 1 : 0,
        .close = rig_path_is(request, "/close"),
    };
    request->exchange = NULL;
    exchange->user = NULL;
    exchange_answer(exchange, &answer);
    free(big);
    free(request);
    atomic_fetch_add(&rig->answers, 1);
}

static inline struct rig_loop *rig_loop_of(struct rig *rig, const struct loop *loop)
{
    for (size_t i = 0; i < rig->loop_count; i++)
        if (rig->loops[i].loop == loop)
            return &rig->loops[i];
    cr_assert(false, "a loop of nobody");
    return NULL;
}

static inline void rig_begin(void *ctx, struct exchange *exchange)
{
    struct rig *rig = ctx;
    struct rig_request *request = calloc(1, sizeof(*request));
    request->at = rig_loop_of(rig, exchange->loop);
    request->exchange = exchange;
    snprintf(request->path, sizeof(request->path), "%.*s", (int)exchange->path.len, (const char *)exchange->path.data);
    exchange->user = request;
    atomic_fetch_add(&rig->begins, 1);
    if (rig_path_is(request, "/early"))
        rig_answer(request, 503, "14");
}

static inline void rig_data(void *ctx, struct exchange *exchange, struct weir_slice data)
{
    struct rig *rig = ctx;
    struct rig_request *request = exchange->user;
    cr_assert_not_null(request, "data after the answer");
    request->bytes += data.len;
    for (size_t i = 0; i < data.len; i++)
        request->sum += data.data[i];
    atomic_fetch_add(&rig->bytes, data.len);
    if (rig_path_is(request, "/mid"))
        rig_answer(request, 503, "14");
}

static inline void rig_end(void *ctx, struct exchange *exchange)
{
    struct rig *rig = ctx;
    struct rig_request *request = exchange->user;
    cr_assert_not_null(request, "end after the answer");
    atomic_fetch_add(&rig->ends, 1);
    if (rig_path_is(request, "/hold")) {
        struct rig_loop *at = request->at;
        *at->held_tail = request;
        at->held_tail = &request->next;
        atomic_fetch_add(&rig->held, 1);
        return;
    }
    if (rig_path_is(request, "/watch")) {
        const struct exchange_header type = RIG_HEADER("content-type", "application/grpc");
        const struct exchange_answer answer = {
            .http_status = 200, .headers = &type, .header_count = 1, .body = {(const uint8_t *)"0000", 4}};
        request->streams = true;
        *request->at->held_tail = request;
        request->at->held_tail = &request->next;
        atomic_fetch_add(&rig->held, 1);
        exchange_stream(exchange, &answer);
        return;
    }
    rig_answer(request, 200, "0");
}

static inline void rig_gone(void *ctx, struct exchange *exchange)
{
    struct rig *rig = ctx;
    struct rig_request *request = exchange->user;
    if (request == NULL) {
        atomic_store(&rig->gone_after_answer, true);
        return;
    }
    struct rig_loop *at = request->at;
    for (struct rig_request **ref = &at->held; *ref != NULL; ref = &(*ref)->next) {
        if (*ref != request)
            continue;
        *ref = request->next;
        atomic_fetch_sub(&rig->held, 1);
        break;
    }
    at->held_tail = &at->held;
    while (*at->held_tail != NULL)
        at->held_tail = &(*at->held_tail)->next;
    free(request);
    atomic_fetch_add(&rig->gones, 1);
}

static inline void rig_too_large(enum exchange_transport transport, const struct exchange *exchange,
                                 struct exchange_answer *answer)
{
    static const struct exchange_header grpc[] = {{"content-type", 12, "application/grpc", 16},
                                                  {"grpc-status", 11, "8", 1}};
    answer->http_status = transport == EXCHANGE_GRPC ? 200 : 413;
    if (transport == EXCHANGE_GRPC) {
        answer->headers = grpc;
        answer->header_count = 2;
    }
}

static inline void rig_bad_request(int http_status, const char *why, struct exchange_answer *answer)
{
    answer->body = (struct weir_slice){(const uint8_t *)why, strlen(why)};
}

// --- life -----------------------------------------------------------------------------------------------------------

static inline void *rig_thread(void *loop)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    loop_run(loop);
    return NULL;
}

static inline void rig_handshake_failed(void *ctx, enum exchange_transport transport, const char *peer, const char *why)
{
    struct rig *rig = ctx;
    snprintf(rig->handshake_why, sizeof(rig->handshake_why), "%s", why);
    atomic_fetch_add(&rig->handshakes_failed, 1);
}

typedef void (*rig_change_fn)(void *ctx, struct server_options *options);
// `change` may put other handlers in front, or change whatever else.
static inline struct rig *rig_new_changed(size_t loops, const struct server_limits *limits, rig_change_fn change,
                                          void *ctx)
{
    struct weir_err err = {0};
    struct rig *rig = calloc(1, sizeof(*rig));
    struct loop *list[RIG_LOOPS];
    rig->loop_count = loops;
    for (size_t i = 0; i < loops; i++) {
        cr_assert_eq(loop_new(&list[i], &err), WEIR_OK, "%s", err.text);
        rig->loops[i].rig = rig;
        rig->loops[i].loop = list[i];
        rig->loops[i].held_tail = &rig->loops[i].held;
    }
    struct exchange_handler handler = {rig, rig_begin, rig_data, rig_end, rig_gone};
    rig->options = (struct server_options){
        .loops = list,
        .loop_count = loops,
        .grpc_endpoint = "127.0.0.1:0",
        .http_endpoint = "127.0.0.1:0",
        .grpc = handler,
        .http = handler,
        .too_large = rig_too_large,
        .bad_request = rig_bad_request,
        .handshake_failed = rig_handshake_failed,
        .handshake_ctx = rig,
    };
    if (limits != NULL)
        rig->options.limits = *limits;
    if (change != NULL)
        change(ctx, &rig->options);
    cr_assert_eq(server_new(&rig->options, &rig->server, &err), WEIR_OK, "%s", err.text);
    for (size_t i = 0; i < loops; i++)
        cr_assert_eq(pthread_create(&rig->loops[i].thread, NULL, rig_thread, list[i]), 0);
    server_start(rig->server);
    return rig;
}

static inline void rig_set_tls(void *ctx, struct server_options *options)
{
    struct tls_listen **tls = ctx;
    options->grpc_tls = tls[0];
    options->http_tls = tls[1];
}

static inline struct rig *rig_new_tls(size_t loops, const struct server_limits *limits, struct tls_listen *grpc_tls,
                                      struct tls_listen *http_tls)
{
    struct tls_listen *tls[] = {grpc_tls, http_tls};
    return rig_new_changed(loops, limits, rig_set_tls, tls);
}

static inline struct rig *rig_new(size_t loops, const struct server_limits *limits)
{
    return rig_new_changed(loops, limits, NULL, NULL);
}

static inline void rig_on_done(void *ctx)
{
    atomic_fetch_add(&((struct rig *)ctx)->done, 1);
}

static inline void rig_free(struct rig *rig)
{
    server_shutdown(rig->server, rig_on_done, rig);
    RIG_WAIT(atomic_load(&rig->done) == 1);
    for (size_t i = 0; i < rig->loop_count; i++) {
        loop_stop(rig->loops[i].loop);
        pthread_join(rig->loops[i].thread, NULL);
    }
    cr_assert_eq(server_connections(rig->server), 0);
    cr_assert_not(atomic_load(&rig->gone_after_answer));
    cr_assert_eq(atomic_load(&rig->begins), atomic_load(&rig->answers) + atomic_load(&rig->gones),
                 "each exchange ends once");
    server_free(rig->server);
    for (size_t i = 0; i < rig->loop_count; i++)
        loop_free(rig->loops[i].loop);
    free(rig);
}

static inline void rig_on_command(struct loop_message *message)
{
    struct rig_loop *at = WEIR_CONTAINER_OF(message, struct rig_loop, message);
    if (at->command == 1)
        server_pause(at->rig->server, at->loop);
    else if (at->command == 2)
        server_resume(at->rig->server, at->loop);
    for (int n = at->from; at->command == 4 && n <= at->to; n++) {
        char text[8];
        snprintf(text, sizeof(text), "%04d", n);
        for (struct rig_request *request = at->held; request != NULL; request = request->next)
            exchange_stream_put(request->exchange, (struct weir_slice){(const uint8_t *)text, 4});
    }
    while (at->command == 0 && at->held != NULL) {
        struct rig_request *request = at->held;
        at->held = request->next;
        if (at->held == NULL)
            at->held_tail = &at->held;
        atomic_fetch_sub(&at->rig->held, 1);
        rig_answer(request, 200, "0");
    }
    atomic_store(&at->busy, false);
}

static inline void rig_command(struct rig *rig, int command)
{
    for (size_t i = 0; i < rig->loop_count; i++) {
        struct rig_loop *at = &rig->loops[i];
        at->message.run = rig_on_command;
        at->command = command;
        atomic_store(&at->busy, true);
        loop_send(at->loop, &at->message);
    }
    for (size_t i = 0; i < rig->loop_count; i++)
        RIG_WAIT(!atomic_load(&rig->loops[i].busy));
}
static inline void rig_release(struct rig *rig)
{
    rig_command(rig, 0);
}
static inline void rig_push(struct rig *rig, int from, int to)
{
    for (size_t i = 0; i < rig->loop_count; i++) {
        rig->loops[i].from = from;
        rig->loops[i].to = to;
    }
    rig_command(rig, 4);
}
static inline void rig_pause(struct rig *rig)
{
    rig_command(rig, 1);
}
static inline void rig_resume(struct rig *rig)
{
    rig_command(rig, 2);
}
// Every loop has run what was sent to it before.
static inline void rig_turn(struct rig *rig)
{
    rig_command(rig, 3);
    rig_command(rig, 3); // the first loop's messages to the others
}

// --- raw client -----------------------------------------------------------------------------------------------------

static inline int rig_connect_buffered(const char *address, int receive_bytes)
{
    char host[64];
    snprintf(host, sizeof(host), "%s", address);
    char *colon = strrchr(host, ':');
    *colon = '\0';
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10))};
    cr_assert_eq(inet_pton(AF_INET, host, &to.sin_addr), 1);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval patience = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (receive_bytes > 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof(receive_bytes));
    cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0, "%s", strerror(errno));
    return fd;
}

static inline int rig_connect(const char *address)
{
    return rig_connect_buffered(address, 0);
}

static inline void rig_send(int fd, const void *data, size_t len)
{
    const char *at = data;
    while (len > 0) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        cr_assert_gt(n, 0, "send: %s", strerror(errno));
        at += n;
        len -= (size_t)n;
    }
}

#endif
