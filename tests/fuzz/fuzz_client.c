// SPDX-License-Identifier: Apache-2.0
// An upstream that answers with anything, over gRPC and HTTP: each call ends once, with an answer within its limits or an error that has a
// text. Input: one byte (which client, and how the pieces are sized), then what the peer says.
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)
#define RESPONSE_MAX 4096
#define CALL_NS      UINT64_C(200000000)

static int listening = -1;
static uint16_t port;
static struct client *clients[2];

static void set_up(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t at_len = sizeof(at);
    struct weir_err err = {0};
    signal(SIGPIPE, SIG_IGN);
    listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CHECK(bind(listening, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(listening, 16) == 0);
    CHECK(getsockname(listening, (struct sockaddr *)&at, &at_len) == 0);
    port = ntohs(at.sin_port);
    struct client_options options = {.host = "127.0.0.1",
                                     .port = port,
                                     .connect_timeout_ms = 100,
                                     .max_in_flight = 1,
                                     .max_response_bytes = RESPONSE_MAX,
                                     .user_agent = "fuzz"};
    CHECK(client_grpc_new(&options, &clients[0], &err) == WEIR_OK);
    CHECK(client_http_new(&options, &clients[1], &err) == WEIR_OK);
}

static void on_done(struct client_call *call)
{
    int *ended = call->user;
    CHECK((*ended)++ == 0);
    CHECK(call->error != CLIENT_OK || (call->http_status >= 100 && call->http_status <= 999));
    CHECK(call->error == CLIENT_OK || call->error_text[0] != '\0');
    CHECK(memchr(call->error_text, '\0', sizeof(call->error_text)) != NULL);
    CHECK(call->response_body.len <= RESPONSE_MAX);
    static const char *const names[] = {"grpc-status", "grpc-message", "retry-after", "content-type",
                                        "grpc-status-details-bin"};
    static volatile uint8_t sum;
    for (size_t i = 0; i < WEIR_COUNT(names); i++) {
        struct weir_slice value = client_call_header(call, names[i]);
        for (size_t j = 0; j < value.len; j++)
            sum = (uint8_t)(sum ^ value.data[j]);
    }
}

// A reset when it is closed, so that no port is kept for a minute.
static void close_hard(int fd)
{
    struct linger linger = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (listening < 0)
        set_up();
    if (len < 1)
        return 0;
    struct client *client = clients[data[0] & 1];
    size_t piece = data[0] < 2 ? len : data[0] >> 1, at = 1;
    static const struct client_header headers[] = {{"content-type", "application/grpc"}};
    struct weir_slice body = {(const uint8_t *)"\0\0\0\0\2\x0a\0", 7};
    int ended = 0, fd = -1;
    char sent[4096];
    struct client_call call = {.path = "/x",
                               .headers = headers,
                               .header_count = 1,
                               .body = &body,
                               .body_count = 1,
                               .timeout_ns = CALL_NS,
                               .done = on_done,
                               .user = &ended};
    client_start(client, &call);
    uint64_t give_up = weir_now_ns() + 20 * CALL_NS;
    while (ended == 0) {
        CHECK(weir_now_ns() < give_up);
        client_poll(client, fd < 0 || at >= len ? 1 : 0);
        int other = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (other >= 0 && fd >= 0)
            close_hard(other); // once is enough
        else if (other >= 0)
            fd = other;
        if (fd < 0)
            continue;
        bool heard = false;
        while (recv(fd, sent, sizeof(sent), MSG_DONTWAIT) > 0)
            heard = true;
        if (!heard && at == 1)
            continue; // it speaks first
        ssize_t n = at < len ? send(fd, data + at, len - at < piece ? len - at : piece, MSG_NOSIGNAL) : 0;
        at = n < 0 && errno != EAGAIN ? len : at + (n > 0 ? (size_t)n : 0);
        if (at >= len)
            shutdown(fd, SHUT_WR);
    }
    if (fd >= 0)
        close_hard(fd);
    client_poll(client, 0); // sees it
    return 0;
}
