// SPDX-License-Identifier: Apache-2.0
// Ingest behind a real server, on a real spool. The writer can be held up after a commit and before its word: what lies in between
// (memory promised, reading paused, deadlines, clients that leave) is then looked at without any hurry.
#include "proto/utf8.h"
#include "relay/envelope.h"
#include "relay/ingest_priv.h"
#include "tests/unit/client_calls.h"
#include "tests/unit/spool_kit.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>

TestSuite(ingest, .timeout = 60);

struct rig {
    char *directory;
    struct spool *spool;
    struct loop *loop;
    pthread_t thread;
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

static void on_commit(void *ctx)
{
    struct rig *rig = ctx;
    pthread_mutex_lock(&rig->gate);
    pthread_mutex_unlock(&rig->gate);
}

static void *run_loop(void *loop)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    loop_run(loop);
    return NULL;
}

static struct client *new_client(const char *address)
{
    struct weir_err err = {0};
    struct client *client = NULL;
    struct client_options options = {
        .host = "127.0.0.1", .port = (uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10), .max_in_flight = 64};
    cr_assert_eq(client_grpc_new(&options, &client, &err), WEIR_OK, "%s", err.text);
    return client;
}

static struct rig *rig_new(uint64_t max_request_bytes, uint64_t max_unwritten_bytes)
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
    struct ingest_options options = {.loop = rig->loop,
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
                                    .limits = {.body_bytes = UINT64_MAX},
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

static void on_ended(void *ctx)
{
    atomic_fetch_add(&((struct rig *)ctx)->ended, 1);
}

// Ends everything as run.c does; nothing may be promised or unwritten then.
static void rig_free(struct rig *rig)
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
    loop_free(rig->loop);
    kit_remove_directory(rig->directory);
    pthread_mutex_destroy(&rig->gate);
    free(rig);
}

static void on_look(struct loop_message *message)
{
    struct rig *rig = WEIR_CONTAINER_OF(message, struct rig, message);
    rig->look(rig);
    atomic_store(&rig->looked, true);
}

// Calls `look` in the loop's thread.
static void in_loop(struct rig *rig, void (*look)(struct rig *rig))
{
    rig->look = look;
    rig->message.run = on_look;
    atomic_store(&rig->looked, false);
    loop_send(rig->loop, &rig->message);
    KIT_UNTIL(atomic_load(&rig->looked));
}

static void see_paused(struct rig *rig)
{
    rig->paused = rig->ingest->paused;
}

static uint64_t items_stored(struct rig *rig)
{
    struct spool_stats stats;
    spool_stats_get(rig->spool, &stats);
    return stats.items_total[WEIR_TRACES];
}

static uint64_t refused(struct rig *rig, enum exchange_transport transport, enum refusal why)
{
    uint64_t n = 0;
    for (int signal = 0; signal <= WEIR_SIGNALS; signal++)
        n += atomic_load(&ingest_counters(rig->ingest)->refused[transport][signal][why]);
    return n;
}

// --- requests -----------------------------------------------------------------------------------------------------------

// One span, and a resource's schema URL that makes up the length. At most 1 MiB.
static struct weir_buf spans(size_t len)
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

static struct weir_buf encoded(struct weir_buf plain, enum encoding encoding)
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
static void grpc_start(struct rig *rig, struct grpc_request *request, struct weir_buf body, enum encoding encoding,
                       const char *timeout)
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
    client_start(rig->client, &request->test.call);
}

static const char *grpc_wait(struct rig *rig, struct grpc_request *request)
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

static int http_connect(struct rig *rig)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        .sin_port = htons((uint16_t)strtoul(strrchr(server_http_address(rig->server), ':') + 1, NULL, 10))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static void http_send(int fd, const char *headers, size_t length, const void *body, size_t len)
{
    char head[512];
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
static int http_answer(int fd, char head[2048])
{
    size_t len = 0;
    head[0] = '\0';
    while (len < 2047 && strstr(head, "\r\n\r\n") == NULL && recv(fd, head + len, 1, 0) == 1)
        head[++len] = '\0';
    int status = 0;
    cr_assert_eq(sscanf(head, "HTTP/1.1 %d", &status), 1, "no answer");
    return status;
}

static int http_post(struct rig *rig, const char *headers, struct weir_buf body, char head[2048])
{
    int fd = http_connect(rig);
    http_send(fd, headers, body.len, body.data, body.len);
    int status = http_answer(fd, head);
    close(fd);
    weir_buf_free(&body);
    return status;
}

// --- the usual way --------------------------------------------------------------------------------------------------------

Test(ingest, acknowledges_what_is_stored_in_every_encoding)
{
    struct rig *rig = rig_new(1 << 20, 16 << 20);
    static const char *const http_headers[ENCODINGS_SENT] = {"", "content-encoding: gzip\r\n",
                                                             "content-encoding: ZSTD\r\n"};
    char head[2048];
    for (int i = 0; i < ENCODINGS_SENT; i++) {
        struct grpc_request request;
        enum encoding encoding = (enum encoding)i;
        grpc_start(rig, &request, encoded(spans(5000), encoding), encoding, NULL);
        cr_expect_str_eq(grpc_wait(rig, &request), "0");
        cr_expect_eq(request.test.answer_len, 5, "an empty message, not none (G18)");
        cr_expect_eq(items_stored(rig), (uint64_t)i * 2 + 1, "durable before the answer");
        cr_expect_eq(http_post(rig, http_headers[i], encoded(spans(5000), encoding), head), 200);
        cr_expect(strstr(head, "content-type: application/x-protobuf\r\n") && strstr(head, "content-length: 0\r\n"));
        cr_expect_eq(items_stored(rig), (uint64_t)i * 2 + 2);
    }
    cr_expect_eq(atomic_load(&ingest_counters(rig->ingest)->accepted[EXCHANGE_GRPC][WEIR_TRACES].bytes), 15000);
    cr_expect_eq(atomic_load(&ingest_counters(rig->ingest)->accepted[EXCHANGE_HTTP][WEIR_TRACES].items), 3);
    rig_free(rig);
}

Test(ingest, acknowledges_an_empty_request_and_stores_nothing)
{
    struct rig *rig = rig_new(1 << 20, 16 << 20);
    struct grpc_request request;
    char head[2048];
    for (int i = 0; i < ENCODINGS_SENT; i++) { // flag 1 and no byte behind it: an empty stream is an empty message
        grpc_start(rig, &request, (struct weir_buf){0}, (enum encoding)i, NULL);
        cr_expect_str_eq(grpc_wait(rig, &request), "0");
    }
    cr_expect_eq(http_post(rig, "", (struct weir_buf){0}, head), 200);
    struct spool_stats stats;
    spool_stats_get(rig->spool, &stats);
    cr_expect_eq(stats.next_block, 0);
    rig_free(rig);
}

Test(ingest, marks_what_must_not_be_joined)
{
    struct rig *rig = rig_new(1 << 20, 16 << 20);
    static const uint8_t unknown_root_field[] = {0x7a, 0x00};
    struct grpc_request requests[4];
    pthread_mutex_lock(&rig->gate);
    grpc_start(rig, &requests[0], spans(100), ENCODING_IDENTITY, NULL);
    CLIENT_UNTIL(rig, items_stored(rig) == 1);
    for (int i = 1; i < 4; i++) {
        struct weir_buf body = spans(100);
        if (i == 2)
            weir_buf_append(&body, unknown_root_field, sizeof(unknown_root_field));
        grpc_start(rig, &requests[i], body, ENCODING_IDENTITY, NULL);
    }
    CLIENT_UNTIL(rig, atomic_load(&rig->budget.unwritten) == 402);
    pthread_mutex_unlock(&rig->gate);
    for (int i = 0; i < 4; i++)
        cr_expect_str_eq(grpc_wait(rig, &requests[i]), "0");
    struct spool_reader *reader = spool_reader_new(rig->spool);
    for (uint64_t i = 0; i < 4; i++) { // in the order they came
        struct block_view view;
        uint64_t skip_to;
        cr_assert_eq(spool_reader_next(reader, WEIR_TRACES, i, SPOOL_END, &view, &skip_to, NULL), WEIR_OK);
        cr_expect_eq(view.number, i);
        cr_expect_eq(envelope_is_alone(view.envelope), i == 2);
        cr_expect_eq(view.raw_bytes, i == 2 ? 102 : 100);
        block_view_release(&view);
    }
    spool_reader_free(reader);
    rig_free(rig);
}

// --- refusals -------------------------------------------------------------------------------------------------------------

Test(ingest, refuses_what_is_too_large_for_good)
{
    struct rig *rig = rig_new(10000, 16 << 20);
    static const char gzip[] = "content-encoding: gzip\r\n";
    struct grpc_request request;
    char head[2048];
    for (int i = 0; i < ENCODINGS_SENT; i++) { // on the wire, then decompressed
        grpc_start(rig, &request, encoded(spans(10001), (enum encoding)i), (enum encoding)i, NULL);
        cr_expect_str_eq(grpc_wait(rig, &request), "8");
        cr_expect_eq(client_connection(rig->client), 1, "the connection goes on");
    }
    for (size_t size = 10001; size < 1000000; size *= 5) {
        cr_expect_eq(http_post(rig, "", spans(size), head), 413);
        cr_expect(strstr(head, "retry-after") == NULL);
        cr_expect_eq(http_post(rig, gzip, encoded(spans(size), ENCODING_GZIP), head), 413);
    }
    grpc_start(rig, &request, spans(10000), ENCODING_IDENTITY, NULL);
    cr_expect_str_eq(grpc_wait(rig, &request), "0", "the limit itself is allowed");
    cr_expect_eq(http_post(rig, "", spans(10000), head), 200);
    cr_expect_eq(items_stored(rig), 2);
    rig_free(rig);
}

Test(ingest, refuses_new_requests_while_it_shuts_down)
{
    struct rig *rig = rig_new(1 << 20, 16 << 20);
    struct grpc_request request;
    char head[2048];
    atomic_store(&rig->refusing, true);
    grpc_start(rig, &request, spans(100), ENCODING_IDENTITY, NULL);
    cr_expect_str_eq(grpc_wait(rig, &request), "14");
    cr_expect_eq(http_post(rig, "", spans(100), head), 503);
    cr_expect(strstr(head, "connection: close\r\n") && strstr(head, "retry-after: 1\r\n"));
    cr_expect_eq(items_stored(rig), 0);
    rig_free(rig);
}

Test(ingest, refuses_for_a_while_what_it_has_no_memory_for)
{
    struct rig *rig = rig_new(1 << 20, 100000);
    struct grpc_request first, second;
    char head[2048];
    pthread_mutex_lock(&rig->gate);
    grpc_start(rig, &first, spans(20000), ENCODING_IDENTITY, NULL);
    CLIENT_UNTIL(rig, items_stored(rig) == 1);
    cr_expect_eq(atomic_load(&rig->budget.promised), 20000, "it stands until the answer");
    grpc_start(rig, &second, spans(90000), ENCODING_IDENTITY, NULL);
    cr_expect_str_eq(grpc_wait(rig, &second), "14");
    cr_expect_eq(http_post(rig, "", spans(90000), head), 503);
    cr_expect(strstr(head, "retry-after: 1\r\n"));
    // Small when compressed: found out as it grows.
    cr_expect_eq(http_post(rig, "content-encoding: zstd\r\n", encoded(spans(90000), ENCODING_ZSTD), head), 503);
    cr_expect_eq(refused(rig, EXCHANGE_GRPC, REFUSAL_BUSY), 1);
    cr_expect_eq(refused(rig, EXCHANGE_HTTP, REFUSAL_BUSY), 2);
    cr_expect_eq(atomic_load(&rig->budget.promised), 20000);
    pthread_mutex_unlock(&rig->gate);
    cr_expect_str_eq(grpc_wait(rig, &first), "0");
    cr_expect_eq(http_post(rig, "", spans(90000), head), 200, "and takes it afterwards");
    rig_free(rig);
}

// A client's own bytes come back in the message of a Status, which is a proto3 string or JSON: valid UTF-8 whatever they were.
Test(ingest, refuses_in_valid_utf8_whatever_it_was_sent)
{
    struct rig *rig = rig_new(1 << 20, 16 << 20);
    static const char *const heads[] = {
        "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: te\xff\xfext\r\ncontent-length: 0\r\n\r\n",
        "POST /v1/\xc3(x HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 0\r\n\r\n",
    };
    for (size_t i = 0; i < WEIR_COUNT(heads); i++) {
        int fd = http_connect(rig);
        char head[2048];
        uint8_t body[1024];
        size_t len = 0;
        send(fd, heads[i], strlen(heads[i]), MSG_NOSIGNAL);
        cr_expect_eq(http_answer(fd, head), i == 0 ? 415 : 404);
        const char *length = strstr(head, "content-length: ");
        size_t expected = length != NULL ? strtoull(length + 16, NULL, 10) : 0;
        cr_expect_gt(expected, 0, "a Status is due (P15)");
        for (ssize_t n; len < expected && (n = recv(fd, body + len, sizeof(body) - len, 0)) > 0;)
            len += (size_t)n;
        cr_expect(utf8_is_valid(body, len), "not UTF-8");
        close(fd);
    }
    rig_free(rig);
}

// --- while the writer works -----------------------------------------------------------------------------------------------

Test(ingest, stops_reading_while_too_much_is_unwritten)
{
    struct rig *rig = rig_new(1 << 20, 100000);
    struct grpc_request first, second;
    pthread_mutex_lock(&rig->gate);
    grpc_start(rig, &first, spans(30000), ENCODING_IDENTITY, NULL); // above a quarter
    CLIENT_UNTIL(rig, items_stored(rig) == 1);
    in_loop(rig, see_paused);
    cr_expect(rig->paused);
    grpc_start(rig, &second, spans(30000), ENCODING_IDENTITY, NULL);
    int fd = http_connect(rig);
    struct weir_buf third = spans(30000);
    http_send(fd, "", third.len, third.data, third.len);
    for (int i = 0; i < 20; i++)
        client_poll(rig->client, 1);
    cr_expect_eq(atomic_load(&rig->budget.promised), 30000, "nobody reads them");
    pthread_mutex_unlock(&rig->gate);
    char head[2048];
    cr_expect_str_eq(grpc_wait(rig, &first), "0");
    cr_expect_str_eq(grpc_wait(rig, &second), "0");
    cr_expect_eq(http_answer(fd, head), 200);
    in_loop(rig, see_paused);
    cr_expect_not(rig->paused);
    close(fd);
    weir_buf_free(&third);
    rig_free(rig);
}

Test(ingest, collects_one_block_while_the_writer_is_busy)
{
    struct rig *rig = rig_new(1 << 20, 16 << 20);
    struct grpc_request requests[20];
    pthread_mutex_lock(&rig->gate);
    grpc_start(rig, &requests[0], spans(100), ENCODING_IDENTITY, NULL);
    CLIENT_UNTIL(rig, items_stored(rig) == 1);
    for (int i = 1; i < 20; i++)
        grpc_start(rig, &requests[i], spans(100), ENCODING_IDENTITY, NULL);
    CLIENT_UNTIL(rig, atomic_load(&rig->budget.unwritten) == 2000);
    for (int i = 0; i < 20; i++)
        cr_expect_eq(requests[i].test.done, 0, "nothing is said before it is durable");
    pthread_mutex_unlock(&rig->gate);
    for (int i = 0; i < 20; i++)
        cr_expect_str_eq(grpc_wait(rig, &requests[i]), "0");
    struct spool_stats stats;
    spool_stats_get(rig->spool, &stats);
    cr_expect_eq(stats.next_block, 2);
    cr_expect_eq(stats.committed_requests, 20);
    rig_free(rig);
}

Test(ingest, tells_of_a_deadline_and_keeps_the_data)
{
    struct rig *rig = rig_new(1 << 20, 16 << 20);
    struct grpc_request request;
    pthread_mutex_lock(&rig->gate);
    grpc_start(rig, &request, spans(100), ENCODING_IDENTITY, "20m");
    cr_expect_str_eq(grpc_wait(rig, &request), "4");
    cr_expect_eq(refused(rig, EXCHANGE_GRPC, REFUSAL_DEADLINE), 1);
    pthread_mutex_unlock(&rig->gate);
    KIT_UNTIL(atomic_load(&rig->budget.promised) == 0);
    cr_expect_eq(items_stored(rig), 1);
    rig_free(rig);
}

Test(ingest, keeps_the_data_of_a_client_that_left_while_it_was_written)
{
    struct rig *rig = rig_new(1 << 20, 16 << 20);
    struct grpc_request request;
    pthread_mutex_lock(&rig->gate);
    struct weir_buf body = spans(100);
    int fd = http_connect(rig);
    http_send(fd, "", body.len, body.data, body.len);
    grpc_start(rig, &request, spans(100), ENCODING_IDENTITY, NULL);
    CLIENT_UNTIL(rig, atomic_load(&rig->budget.unwritten) == 200);
    struct linger reset = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    close(fd);
    client_free(rig->client); // resets nothing, closes
    KIT_UNTIL(server_connections(rig->server) == 0);
    cr_expect_eq(atomic_load(&rig->budget.promised), 200);
    pthread_mutex_unlock(&rig->gate);
    KIT_UNTIL(atomic_load(&rig->budget.promised) == 0);
    cr_expect_eq(items_stored(rig), 2);
    rig->client = new_client(server_grpc_address(rig->server));
    weir_buf_free(&body);
    weir_buf_free(&request.body);
    rig_free(rig);
}

Test(ingest, forgets_a_body_that_was_cut_off)
{
    struct rig *rig = rig_new(1 << 20, 16 << 20);
    int fd = http_connect(rig);
    struct weir_buf body = spans(1000);
    http_send(fd, "", body.len, body.data, 500);
    KIT_UNTIL(atomic_load(&rig->budget.promised) == 1000);
    close(fd);
    KIT_UNTIL(atomic_load(&rig->budget.promised) == 0);
    cr_expect_eq(items_stored(rig), 0);
    weir_buf_free(&body);
    rig_free(rig);
}

Test(ingest, a_head_alone_does_not_use_up_the_room_of_all)
{
    struct rig *rig = rig_new(16 << 20, 16 << 20);
    int silent = http_connect(rig), fd = http_connect(rig);
    struct weir_buf body = spans(30000);
    http_send(silent, "", 16 << 20, body.data, 1); // declares the whole budget and sends a byte of it
    KIT_UNTIL(atomic_load(&rig->budget.promised) == 1 << 20);
    char head[2048];
    http_send(fd, "", body.len, body.data, body.len);
    cr_expect_eq(http_answer(fd, head), 200);
    close(silent);
    KIT_UNTIL(atomic_load(&rig->budget.promised) == 0);
    close(fd);
    weir_buf_free(&body);
    rig_free(rig);
}

// --- many tiny requests -----------------------------------------------------------------------------------------------------

#define TINY (BLOCK_REQUESTS_MAX + 1000)

static void add_tiny(struct rig *rig)
{
    static const uint8_t span[] = {0x0a, 0x04, 0x12, 0x02, 0x12, 0x00};
    for (unsigned i = 0; i < TINY; i++) {
        struct request *request = calloc(1, sizeof(*request));
        *request = (struct request){.ingest = rig->ingest, .transport = EXCHANGE_GRPC, .signal = WEIR_TRACES};
        weir_buf_append(&request->raw, span, sizeof(span));
        struct otlp_summary summary = {.items = 1, .mergeable = true};
        ingest_batch_add(request, &summary);
    }
}

Test(ingest, begins_another_block_when_one_has_as_many_requests_as_it_may)
{
    struct rig *rig = rig_new(1 << 20, 1 << 30);
    pthread_mutex_lock(&rig->gate);
    struct grpc_request first;
    grpc_start(rig, &first, spans(100), ENCODING_IDENTITY, NULL);
    CLIENT_UNTIL(rig, items_stored(rig) == 1);
    in_loop(rig, add_tiny);
    pthread_mutex_unlock(&rig->gate);
    cr_expect_str_eq(grpc_wait(rig, &first), "0");
    KIT_UNTIL(atomic_load(&rig->budget.unwritten) == 0);
    cr_expect_eq(items_stored(rig), TINY + 1);
    cr_expect_eq(refused(rig, EXCHANGE_GRPC, REFUSAL_INTERNAL), 0);
    rig_free(rig);
}
