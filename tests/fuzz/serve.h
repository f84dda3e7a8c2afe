// SPDX-License-Identifier: Apache-2.0
// One connection of the real server in the fuzzer's own thread: bytes in as a peer would send them, and every request answered or gone.
// The first byte of the input sizes the pieces, the second says how requests are answered.
#ifndef WEIR_TESTS_FUZZ_SERVE_H
#define WEIR_TESTS_FUZZ_SERVE_H

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/conn.h"
#include "net/loop.h"

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

#define TURNS_MAX 1000

enum { SERVE_AT_END, SERVE_AT_BEGIN, SERVE_AT_DATA, SERVE_LATE };

struct serve_request {
    struct exchange *exchange;
    struct serve_request *next;
    bool ended;
};

static struct serve {
    struct loop *loop;
    struct server *server;
    struct serve_request *late;
    int how, live;
    volatile uint8_t sum;
} serve;

static inline void serve_answer(struct serve_request *request)
{
    static const struct exchange_header type = {"content-type", 12, "application/grpc", 16},
                                        status = {"grpc-status", 11, "0", 1};
    struct exchange_answer answer = {.http_status = 200,
                                     .headers = &type,
                                     .header_count = 1,
                                     .body = {(const uint8_t *)"\0\0\0\0\0", 5},
                                     .trailers = &status,
                                     .trailer_count = request->exchange->transport == EXCHANGE_GRPC};
    struct exchange *exchange = request->exchange;
    exchange->user = NULL;
    free(request);
    serve.live--;
    exchange_answer(exchange, &answer);
}

static inline void serve_begin(void *ctx, struct exchange *exchange)
{
    struct serve_request *request = calloc(1, sizeof(*request));
    CHECK(request != NULL);
    request->exchange = exchange;
    exchange->user = request;
    serve.live++;
    uint8_t sum = 0; // all of it can be read
    for (size_t i = 0; i < exchange->path.len; i++)
        sum ^= exchange->path.data[i];
    for (size_t i = 0; i < exchange->method.len; i++)
        sum ^= exchange->method.data[i];
    for (size_t i = 0; i < exchange->header_count; i++) {
        const struct exchange_header *header = &exchange->headers[i];
        for (size_t j = 0; j < header->name_len; j++) {
            CHECK(header->name[j] < 'A' || header->name[j] > 'Z');
            sum ^= (uint8_t)header->name[j];
        }
        for (size_t j = 0; j < header->value_len; j++)
            sum ^= (uint8_t)header->value[j];
    }
    serve.sum = sum;
    if (serve.how == SERVE_AT_BEGIN)
        serve_answer(request);
}

static inline void serve_data(void *ctx, struct exchange *exchange, struct weir_slice data)
{
    struct serve_request *request = exchange->user;
    CHECK(request != NULL && !request->ended && data.len > 0);
    if (serve.how == SERVE_AT_DATA)
        serve_answer(request);
}

static inline void serve_end(void *ctx, struct exchange *exchange)
{
    struct serve_request *request = exchange->user;
    CHECK(request != NULL && !request->ended);
    request->ended = true;
    if (serve.how != SERVE_LATE) {
        serve_answer(request);
        return;
    }
    request->next = serve.late;
    serve.late = request;
}

static inline void serve_gone(void *ctx, struct exchange *exchange)
{
    struct serve_request *request = exchange->user;
    CHECK(request != NULL);
    struct serve_request **ref = &serve.late;
    while (*ref != NULL && *ref != request)
        ref = &(*ref)->next;
    if (*ref != NULL)
        *ref = request->next;
    exchange->user = NULL;
    free(request);
    serve.live--;
}

static inline void serve_too_large(enum exchange_transport transport, const struct exchange *exchange,
                                   struct exchange_answer *answer)
{
    answer->http_status = transport == EXCHANGE_GRPC ? 200 : 413;
}

static inline void serve_start(void)
{
    static const struct exchange_handler handler = {
        .begin = serve_begin, .data = serve_data, .end = serve_end, .gone = serve_gone};
    signal(SIGPIPE, SIG_IGN);
    CHECK(loop_new(&serve.loop, NULL) == WEIR_OK);
    struct server_options options = {.loops = &serve.loop,
                                     .loop_count = 1,
                                     .limits = {.body_bytes = 100000, .header_list_bytes = 4096, .streams = 8},
                                     .grpc = handler,
                                     .http = handler,
                                     .too_large = serve_too_large};
    CHECK(server_new(&options, &serve.server, NULL) == WEIR_OK);
}

static inline void serve_poll(void)
{
    loop_poll(serve.loop, 0);
    if (serve.late == NULL)
        return;
    struct serve_request *request = serve.late;
    serve.late = request->next;
    serve_answer(request);
    loop_poll(serve.loop, 0);
}

static inline void serve_turn(int fd)
{
    char answers[4096];
    serve_poll();
    while (recv(fd, answers, sizeof(answers), MSG_DONTWAIT) > 0)
        ;
}

static inline void serve_bytes(const struct conn_type *type, const uint8_t *start, size_t start_len,
                               const uint8_t *data, size_t len)
{
    int pair[2];
    if (len < 2)
        return;
    size_t piece = data[0] == 0 ? len : data[0];
    serve.how = data[1] % 4;
    bool leave = (data[1] & 0x80) != 0; // in the middle of it all, unread answers and all
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    server_accepted(serve.server, type, pair[0], "fuzz");
    if (start_len > 0)
        CHECK(send(pair[1], start, start_len, MSG_NOSIGNAL) == (ssize_t)start_len);
    for (size_t at = 2; at < len;) {
        ssize_t n = send(pair[1], data + at, len - at < piece ? len - at : piece, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            break; // the server has closed
        at += n > 0 ? (size_t)n : 0;
        serve_turn(pair[1]);
        if (server_connections(serve.server) == 0)
            break;
    }
    if (!leave) {
        shutdown(pair[1], SHUT_WR);
        for (int turn = 0; turn < 4; turn++)
            serve_turn(pair[1]);
    }
    close(pair[1]);
    for (int turn = 0; server_connections(serve.server) > 0 && turn < TURNS_MAX; turn++)
        serve_poll();
    CHECK(server_connections(serve.server) == 0);
    CHECK(serve.live == 0 && serve.late == NULL);
}

#endif
