// SPDX-License-Identifier: Apache-2.0
// An upstream that costs next to nothing: takes every export over gRPC or HTTP, throws it away, says OK. Only for timing what is in front
// of it. Prints {"grpc": ADDRESS, "http": ADDRESS} and runs until SIGTERM.
#include "net/server.h"

#include <signal.h>
#include <stdio.h>

static void on_begin(void *ctx, struct exchange *exchange)
{
}

static void on_data(void *ctx, struct exchange *exchange, struct weir_slice data)
{
}

static void on_end(void *ctx, struct exchange *exchange)
{
    static const uint8_t empty[5] = {0};
    static const struct exchange_header grpc[] = {{"content-type", 12, "application/grpc", 16}};
    static const struct exchange_header http[] = {{"content-type", 12, "application/x-protobuf", 22}};
    static const struct exchange_header trailers[] = {{"grpc-status", 11, "0", 1}};
    if (exchange->transport == EXCHANGE_GRPC)
        exchange_answer(exchange, &(struct exchange_answer){.http_status = 200,
                                                            .headers = grpc,
                                                            .header_count = 1,
                                                            .body = {empty, sizeof(empty)},
                                                            .trailers = trailers,
                                                            .trailer_count = 1});
    else
        exchange_answer(exchange, &(struct exchange_answer){.http_status = 200, .headers = http, .header_count = 1});
}

static void too_large(enum exchange_transport transport, const struct exchange *exchange,
                      struct exchange_answer *answer)
{
    *answer = (struct exchange_answer){.http_status = 413};
}

int main(void)
{
    struct loop *loop = NULL;
    struct server *server = NULL;
    struct weir_err err = {0};
    const struct exchange_handler handler = {.begin = on_begin, .data = on_data, .end = on_end, .gone = on_begin};
    signal(SIGPIPE, SIG_IGN);
    if (loop_new(&loop, &err) != WEIR_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    struct server_options options = {.loops = &loop,
                                     .loop_count = 1,
                                     .grpc_endpoint = "127.0.0.1:0",
                                     .http_endpoint = "127.0.0.1:0",
                                     .grpc = handler,
                                     .http = handler,
                                     .too_large = too_large};
    if (server_new(&options, &server, &err) != WEIR_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    server_start(server);
    printf("{\"grpc\": \"%s\", \"http\": \"%s\"}\n", server_grpc_address(server), server_http_address(server));
    fflush(stdout);
    loop_run(loop);
    return 0;
}
