// SPDX-License-Identifier: Apache-2.0
// Ingest behind a real server, on a real spool. The writer can be held up after a commit and before its word: what lies in between
// (memory promised, reading paused, deadlines, clients that leave) is then looked at without any hurry.
#ifndef WEIR_TESTS_INGEST_RIG_H
#define WEIR_TESTS_INGEST_RIG_H

#include "relay/ingest_priv.h"
#include "storage/stats.h"
#include "tests/unit/client_calls.h"
#include "tests/unit/spool_kit.h"
#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>

static const char *const *rig_keep_headers; // of the next rig
static size_t rig_keep_header_count;
static uint32_t rig_in_flight = 64; // requests of its client at once

struct rig {
    char *directory;
    struct spool *spool;
    struct loop *loop;
    pthread_t thread;
    struct origins *origins;
    struct ingest *ingest;
    struct ingest_set set;
    struct ingest_budget budget;
    atomic_bool refusing;
    struct server *server;
    pthread_mutex_t gate; // held by a test: the writer stops after its commit
    atomic_uint ended;
    struct loop_message message;
    void (*look)(struct rig *rig);
    atomic_bool looked;
    bool paused;
    struct client *client;
};

__attribute__((unused)) static void on_commit(void *ctx, unsigned signals)
{
    struct rig *rig = ctx;
    pthread_mutex_lock(&rig->gate);
    pthread_mutex_unlock(&rig->gate);
}

__attribute__((unused)) static void *run_loop(void *loop)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    loop_run(loop);
    return NULL;
}

__attribute__((unused)) static struct client *new_client(const char *address)
{
    struct weir_err err = {0};
    struct client *client = NULL;
    struct client_options options = {.host = "127.0.0.1",
                                     .port = (uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10),
                                     .max_in_flight = rig_in_flight};
    cr_assert_eq(client_grpc_new(&options, &client, &err), WEIR_OK, "%s", err.text);
    return client;
}

__attribute__((unused)) static struct rig *rig_new(uint64_t max_request_bytes, uint64_t max_unwritten_bytes)
{
    struct weir_err err = {0};
    struct spool_report report = {0};
    struct rig *rig = calloc(1, sizeof(*rig));
    signal(SIGPIPE, SIG_IGN);
    pthread_mutex_init(&rig->gate, NULL);
    rig->budget.max_bytes = max_unwritten_bytes;
    rig->directory = kit_fast_directory();
    if (rig->directory == NULL)
        rig->directory = kit_directory();
    struct spool_options spool = kit_options(rig->directory, 64);
    spool.on_commit = on_commit;
    spool.ctx = rig;
    cr_assert_eq(spool_open(&spool, &rig->spool, &report, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(loop_new(&rig->loop, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(origins_open(rig->spool, &rig->origins, &err), WEIR_OK, "%s", err.text);
    struct ingest_options options = {.loop = rig->loop,
                                     .origins = rig->origins,
                                     .keep_headers = rig_keep_headers,
                                     .keep_header_count = rig_keep_header_count,
                                     .spool = rig->spool,
                                     .budget = &rig->budget,
                                     .max_request_bytes = max_request_bytes,
                                     .refusing = &rig->refusing};
    rig->ingest = ingest_new(&options);
    cr_assert_not_null(rig->ingest);
    rig->set = (struct ingest_set){.ingests = &rig->ingest, .loops = &rig->loop, .count = 1};
    struct server_options server = {.loops = &rig->loop,
                                    .loop_count = 1,
                                    .grpc_endpoint = "127.0.0.1:0",
                                    .http_endpoint = "127.0.0.1:0",
                                    .limits = {.body_bytes = UINT64_MAX, .streams = rig_in_flight},
                                    .grpc = ingest_grpc_handler,
                                    .http = ingest_http_handler,
                                    .bad_request = ingest_bad_request};
    server.grpc.ctx = server.http.ctx = &rig->set;
    cr_assert_eq(server_new(&server, &rig->server, &err), WEIR_OK, "%s", err.text);
    ingest_set_server(rig->ingest, rig->server);
    cr_assert_eq(pthread_create(&rig->thread, NULL, run_loop, rig->loop), 0);
    server_start(rig->server);
    rig->client = new_client(server_grpc_address(rig->server));
    return rig;
}

__attribute__((unused)) static void on_ended(void *ctx)
{
    atomic_fetch_add(&((struct rig *)ctx)->ended, 1);
}

// Ends everything as run.c does; nothing may be promised or unwritten then.
__attribute__((unused)) static void rig_free(struct rig *rig)
{
    client_free(rig->client);
    server_shutdown(rig->server, on_ended, rig);
    KIT_UNTIL(atomic_load(&rig->ended) == 1);
    ingest_finish(rig->ingest, on_ended, rig);
    KIT_UNTIL(atomic_load(&rig->ended) == 2);
    cr_expect_eq(atomic_load(&rig->budget.promised), 0);
    cr_expect_eq(atomic_load(&rig->budget.unwritten), 0);
    spool_close(rig->spool);
    loop_stop(rig->loop);
    pthread_join(rig->thread, NULL);
    server_free(rig->server);
    ingest_free(rig->ingest);
    origins_close(rig->origins);
    loop_free(rig->loop);
    kit_remove_directory(rig->directory);
    pthread_mutex_destroy(&rig->gate);
    free(rig);
}

__attribute__((unused)) static void on_look(struct loop_message *message)
{
    struct rig *rig = WEIR_CONTAINER_OF(message, struct rig, message);
    rig->look(rig);
    atomic_store(&rig->looked, true);
}

// Calls `look` in the loop's thread.
__attribute__((unused)) static void in_loop(struct rig *rig, void (*look)(struct rig *rig))
{
    rig->look = look;
    rig->message.run = on_look;
    atomic_store(&rig->looked, false);
    loop_send(rig->loop, &rig->message);
    KIT_UNTIL(atomic_load(&rig->looked));
}

__attribute__((unused)) static void see_paused(struct rig *rig)
{
    rig->paused = rig->ingest->paused;
}

__attribute__((unused)) static uint64_t items_stored(struct rig *rig)
{
    struct spool_stats stats;
    spool_stats_get(rig->spool, &stats);
    return stats.items_total[WEIR_TRACES];
}

__attribute__((unused)) static uint64_t refused(struct rig *rig, enum exchange_transport transport, enum refusal why)
{
    uint64_t n = 0;
    for (int signal = 0; signal <= WEIR_SIGNALS; signal++)
        n += atomic_load(&ingest_counters(rig->ingest)->refused[transport][signal][why]);
    return n;
}

// --- requests -----------------------------------------------------------------------------------------------------------

// One span, and a resource's schema URL that makes up the length. At most 1 MiB.
__attribute__((unused)) static struct weir_buf spans(size_t len)
{
    static const uint8_t span[] = {0x0a, 0x80, 0x80, 0x80, 0, 0x12, 0x02, 0x12, 0x00, 0x1a, 0x80, 0x80, 0x80, 0};
    struct weir_buf out = {0};
    cr_assert(len >= sizeof(span) && len <= 1u << 20);
    weir_buf_append(&out, span, sizeof(span));
    while (out.len < len)
        weir_buf_append(&out, "x", 1);
    size_t outer = len - 5, inner = len - sizeof(span);
    for (int i = 0; i < 3; i++) { // varints of four bytes
        out.data[1 + i] = (uint8_t)(0x80 | (outer >> 7 * i & 0x7f));
        out.data[10 + i] = (uint8_t)(0x80 | (inner >> 7 * i & 0x7f));
    }
    return out;
}

__attribute__((unused)) static struct weir_buf encoded(struct weir_buf plain, enum encoding encoding)
{
    struct weir_buf out = {0};
    struct encoder *encoder = encoder_new(encoding, 0);
    cr_assert_eq(encoder_feed(encoder, (struct weir_slice){plain.data, plain.len}, &out, NULL), WEIR_OK);
    cr_assert_eq(encoder_finish(encoder, &out, NULL), WEIR_OK);
    encoder_free(encoder);
    weir_buf_free(&plain);
    return out;
}

struct grpc_request {
    struct test_call test;
    struct weir_buf body;
    struct client_header headers[4];
    uint8_t prefix[GRPC_PREFIX_LEN];
};

// Takes the body.
__attribute__((unused)) static void grpc_prepare(struct grpc_request *request, struct weir_buf body,
                                                 enum encoding encoding, const char *timeout)
{
    test_call_init(&request->test, otlp_services[WEIR_TRACES].grpc_path);
    request->body = body;
    grpc_prefix_write(request->prefix, encoding != ENCODING_IDENTITY, (uint32_t)body.len);
    request->test.ranges[0] = (struct weir_slice){request->prefix, GRPC_PREFIX_LEN};
    request->test.ranges[1] = (struct weir_slice){body.data, body.len};
    request->test.call.body_count = 2;
    request->headers[0] = (struct client_header){"content-type", "application/grpc"};
    request->headers[1] = (struct client_header){"grpc-encoding", encoding_name(encoding)};
    request->headers[2] = (struct client_header){"grpc-timeout", timeout};
    request->test.call.headers = request->headers;
    request->test.call.header_count = timeout != NULL ? 3 : 2;
}

__attribute__((unused)) static void grpc_start(struct rig *rig, struct grpc_request *request, struct weir_buf body,
                                               enum encoding encoding, const char *timeout)
{
    grpc_prepare(request, body, encoding, timeout);
    client_start(rig->client, &request->test.call);
}

__attribute__((unused)) static const char *grpc_wait(struct rig *rig, struct grpc_request *request)
{
    test_call_wait(rig->client, &request->test);
    cr_assert_eq(request->test.call.error, CLIENT_OK, "%s", request->test.call.error_text);
    weir_buf_free(&request->body);
    return request->test.grpc_status;
}

// Polls the client until `condition` holds: its requests must get out.
#define CLIENT_UNTIL(rig, condition)                                                                                   \
    do {                                                                                                               \
        while (!(condition))                                                                                           \
            client_poll((rig)->client, 1);                                                                             \
    } while (0)

__attribute__((unused)) static int http_connect(struct rig *rig)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        .sin_port = htons((uint16_t)strtoul(strrchr(server_http_address(rig->server), ':') + 1, NULL, 10))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

__attribute__((unused)) static void http_send(int fd, const char *headers, size_t length, const void *body, size_t len)
{
    char head[1024];
    int n = snprintf(head, sizeof(head),
                     "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n%s"
                     "content-length: %zu\r\n\r\n",
                     headers, length);
    cr_assert_eq(send(fd, head, (size_t)n, MSG_NOSIGNAL), n);
    for (size_t at = 0; at < len;) {
        ssize_t sent = send(fd, (const char *)body + at, len - at, MSG_NOSIGNAL);
        if (sent <= 0)
            return; // refused early
        at += (size_t)sent;
    }
}

// The answer's head, lower case as the server writes it; the status.
__attribute__((unused)) static int http_answer(int fd, char head[2048])
{
    size_t len = 0;
    head[0] = '\0';
    while (len < 2047 && strstr(head, "\r\n\r\n") == NULL && recv(fd, head + len, 1, 0) == 1)
        head[++len] = '\0';
    int status = 0;
    cr_assert_eq(sscanf(head, "HTTP/1.1 %d", &status), 1, "no answer");
    return status;
}

__attribute__((unused)) static int http_post(struct rig *rig, const char *headers, struct weir_buf body,
                                             char head[2048])
{
    int fd = http_connect(rig);
    http_send(fd, headers, body.len, body.data, body.len);
    int status = http_answer(fd, head);
    close(fd);
    weir_buf_free(&body);
    return status;
}

#endif
