// SPDX-License-Identifier: Apache-2.0
// The OTLP/HTTP client against scripted peers on real sockets.
#include "tests/unit/client_calls.h"
#include "tests/unit/client_peer_h1.h"

#include <sched.h>

TestSuite(client_http, .timeout = 60);

static struct peer peer;
static struct client *client;

static struct client *new_client(const char *host, uint16_t port, uint32_t connect_timeout_ms)
{
    struct client_options options = {.host = host,
                                     .port = port,
                                     .connect_timeout_ms = connect_timeout_ms,
                                     .max_in_flight = 4,
                                     .max_response_bytes = 65536,
                                     .user_agent = "weir/test"};
    struct client *made = NULL;
    struct weir_err err = {0};
    cr_assert_eq(client_http_new(&options, &made, &err), WEIR_OK, "%s", err.text);
    return made;
}

static void with_peer(void (*serve)(struct peer_conn *conn))
{
    peer = (struct peer){.serve = serve};
    peer_start(&peer);
    client = new_client("127.0.0.1", peer.port, 10000);
}

static void setup_h1(void)
{
    // Proxies of the environment must not matter.
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    with_peer(h1_serve);
}

static void teardown(void)
{
    client_free(client);
    peer_stop(&peer);
}

static void expect_ok(struct test_call *test)
{
    cr_expect_error(test, CLIENT_OK);
    cr_expect_eq(test->call.http_status, 200);
    cr_expect_str_eq(test->answer, "hello");
    cr_expect(test->call.bytes_sent);
}

Test(client_http, answers, .init = setup_h1, .fini = teardown)
{
    cr_expect_eq(client_connection(client), 0);
    for (int i = 0; i < 3; i++) {
        struct test_call test;
        test_call_run(client, &test, "/ok");
        expect_ok(&test);
        cr_expect_eq(test.call.connection, 1, "the connection is used again");
        cr_expect_eq(client_connection(client), 1);
    }
    cr_expect_eq(peer.accepted, 1);
}

// U25.
Test(client_http, sends_these_headers, .init = setup_h1, .fini = teardown)
{
    struct test_call test;
    test_call_run(client, &test, "/ok");
    pthread_mutex_lock(&peer.mutex);
    static const char *const there[] = {"post /ok http/1.1\r\n",           "\r\ncontent-length: 10\r\n",
                                        "\r\nuser-agent: weir/test\r\n",   "\r\ncontent-type: application/grpc\r\n",
                                        "\r\nx-scope-orgid: tenant-1\r\n", "\r\nhost: 127.0.0.1:"};
    for (size_t i = 0; i < WEIR_COUNT(there); i++)
        cr_expect(strstr(peer.last_head, there[i]) != NULL, "%s in %s", there[i], peer.last_head);
    static const char *const absent[] = {"expect:", "accept-encoding:", "transfer-encoding:", "proxy-connection:"};
    for (size_t i = 0; i < WEIR_COUNT(absent); i++)
        cr_expect(strstr(peer.last_head, absent[i]) == NULL, "%s in %s", absent[i], peer.last_head);
    pthread_mutex_unlock(&peer.mutex);
}

Test(client_http, reads_chunks_and_trailers, .init = setup_h1, .fini = teardown)
{
    struct test_call test;
    test_call_run(client, &test, "/chunked");
    expect_ok(&test);
    cr_expect_str_eq(test.grpc_status, "0", "the trailer wins");
    cr_expect_str_eq(test.hash, "", "an interim answer's header is no header of the answer");
}

Test(client_http, hands_out_any_status, .init = setup_h1, .fini = teardown)
{
    struct test_call test;
    test_call_run(client, &test, "/429");
    cr_expect_error(&test, CLIENT_OK);
    cr_expect_eq(test.call.http_status, 429);
    cr_expect_str_eq(test.answer, "busy");
    test_call_run(client, &test, "/redirect");
    cr_expect_error(&test, CLIENT_OK);
    cr_expect_eq(test.call.http_status, 307);
}

Test(client_http, keeps_a_bounded_number_of_headers, .init = setup_h1, .fini = teardown)
{
    struct test_call test;
    test_call_run(client, &test, "/many-headers");
    cr_expect_error(&test, CLIENT_OK);
    cr_expect_str_eq(test.hash, "kept");
    cr_expect_str_eq(test.grpc_message, "");
}

static uint8_t *big_body(size_t len)
{
    uint8_t *body = malloc(len);
    cr_assert_not_null(body);
    for (size_t i = 0; i < len; i++)
        body[i] = (uint8_t)(i * 2654435761u >> 13);
    return body;
}

static void set_ranges(struct test_call *test, const uint8_t *body, size_t len)
{
    const size_t cuts[] = {0, 5, 5, 700, 100000, 100001, len / 2, len - 3, len};
    for (size_t i = 0; i + 1 < WEIR_COUNT(cuts); i++)
        test->ranges[i] = (struct weir_slice){.data = body + cuts[i], .len = cuts[i + 1] - cuts[i]};
    test->call.body_count = 8;
}

static void expect_hash(const struct test_call *test, const uint8_t *body, size_t len)
{
    char expected[64];
    snprintf(expected, sizeof(expected), "%016llx/%zu", (unsigned long long)peer_hash(PEER_HASH_START, body, len), len);
    cr_expect_str_eq(test->hash, expected);
}

// More calls than connections: some wait.
Test(client_http, sends_big_bodies_of_many_ranges, .init = setup_h1, .fini = teardown)
{
    uint8_t *body = big_body(3000000);
    struct test_call tests[9];
    for (size_t i = 0; i < WEIR_COUNT(tests); i++) {
        test_call_init(&tests[i], "/ok");
        set_ranges(&tests[i], body, 3000000);
        client_start(client, &tests[i].call);
    }
    for (size_t i = 0; i < WEIR_COUNT(tests); i++) {
        test_call_wait(client, &tests[i]);
        expect_ok(&tests[i]);
        expect_hash(&tests[i], body, 3000000);
        cr_expect(tests[i].call.connection >= 1 && tests[i].call.connection <= 4);
    }
    cr_expect_leq(peer.accepted, 4);
    free(body);
}

Test(client_http, sends_no_body, .init = setup_h1, .fini = teardown)
{
    struct test_call test;
    test_call_init(&test, "/ok");
    test.call.body_count = 0;
    client_start(client, &test.call);
    test_call_wait(client, &test);
    expect_ok(&test);
}

Test(client_http, gives_up_at_the_deadline, .init = setup_h1, .fini = teardown)
{
    struct test_call test;
    test_call_init(&test, "/never");
    test.call.timeout_ns = 100000000;
    client_start(client, &test.call);
    test_call_wait(client, &test);
    cr_expect_error(&test, CLIENT_E_TIMEOUT);
    cr_expect_text(&test, "within 100 ms");
    cr_expect(test.call.bytes_sent);
    test_call_run(client, &test, "/ok");
    expect_ok(&test);
    cr_expect_eq(test.call.connection, 2);
}

Test(client_http, gives_up_waiting_calls_at_the_deadline, .init = setup_h1, .fini = teardown)
{
    struct test_call stuck[4], waiting;
    for (size_t i = 0; i < WEIR_COUNT(stuck); i++) {
        test_call_init(&stuck[i], "/never");
        stuck[i].call.timeout_ns = 300000000;
        client_start(client, &stuck[i].call);
    }
    test_call_init(&waiting, "/ok");
    waiting.call.timeout_ns = 100000000;
    client_start(client, &waiting.call);
    test_call_wait(client, &waiting);
    cr_expect_error(&waiting, CLIENT_E_TIMEOUT);
    cr_expect_not(waiting.call.bytes_sent);
    for (size_t i = 0; i < WEIR_COUNT(stuck); i++) {
        test_call_wait(client, &stuck[i]);
        cr_expect_error(&stuck[i], CLIENT_E_TIMEOUT);
    }
}

Test(client_http, reports_a_cut_connection, .init = setup_h1, .fini = teardown)
{
    static const char *const paths[] = {"/cut", "/cut-answer"};
    for (size_t i = 0; i < WEIR_COUNT(paths); i++) {
        struct test_call test;
        test_call_run(client, &test, paths[i]);
        cr_expect_error(&test, CLIENT_E_RESET);
        cr_expect_text(&test, "POST to 127.0.0.1:");
        cr_expect(test.call.bytes_sent);
    }
    uint8_t *body = big_body(3000000);
    struct test_call test;
    test_call_init(&test, "/cut-body");
    set_ranges(&test, body, 3000000);
    client_start(client, &test.call);
    test_call_wait(client, &test);
    cr_expect_error(&test, CLIENT_E_RESET);
    free(body);
}

// 413 in the middle of a large body, and one whose own body is cut off.
Test(client_http, takes_early_refusals, .init = setup_h1, .fini = teardown)
{
    size_t len = 20000000;
    uint8_t *body = big_body(len);
    static const struct {
        const char *path, *answer;
    } cases[] = {{"/early-413", "much"}, {"/cut-413", "half"}};
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        struct test_call test;
        test_call_init(&test, cases[i].path);
        set_ranges(&test, body, len);
        client_start(client, &test.call);
        test_call_wait(client, &test);
        cr_expect_error(&test, CLIENT_OK);
        cr_expect_eq(test.call.http_status, 413);
        cr_expect_str_eq(test.answer, cases[i].answer);
    }
    free(body);
}

Test(client_http, recognises_other_protocols, .init = setup_h1, .fini = teardown)
{
    struct test_call test;
    test_call_run(client, &test, "/garbage");
    cr_expect_error(&test, CLIENT_E_PROTOCOL);
    test_call_run(client, &test, "/no-status");
    cr_expect_error(&test, CLIENT_E_PROTOCOL);
    test_call_run(client, &test, "/http2");
    cr_expect_error(&test, CLIENT_E_PROTOCOL);
    cr_expect_text(&test, "OTLP/gRPC port?");
}

Test(client_http, limits_the_answer, .init = setup_h1, .fini = teardown)
{
    struct test_call test;
    test_call_run(client, &test, "/huge");
    cr_expect_error(&test, CLIENT_E_RESPONSE_TOO_LARGE);
}

// The server closes a kept connection; the next call finds out and goes over a new one, without an error.
Test(client_http, survives_closed_connections, .init = setup_h1, .fini = teardown)
{
    struct test_call test;
    test_call_run(client, &test, "/close");
    expect_ok(&test);
    cr_expect_eq(client_connection(client), 0);
    test_call_run(client, &test, "/ok");
    expect_ok(&test);
    cr_expect_eq(test.call.connection, 2);
    pthread_mutex_lock(&peer.mutex);
    shutdown(peer.conns[1].fd, SHUT_RDWR);
    pthread_mutex_unlock(&peer.mutex);
    test_call_run(client, &test, "/ok");
    expect_ok(&test);
    cr_expect_eq(test.call.connection, 3);
}

Test(client_http, reports_a_refused_connection)
{
    uint16_t port;
    int fd = peer_bind(&port); // bound, not listening
    client = new_client("127.0.0.1", port, 10000);
    struct test_call test;
    test_call_run(client, &test, "/ok");
    cr_expect_error(&test, CLIENT_E_CONNECT);
    cr_expect_text(&test, "connect to 127.0.0.1:");
    cr_expect_text(&test, "Connection refused");
    cr_expect_not(test.call.bytes_sent);
    cr_expect_eq(test.call.connection, 0);
    client_free(client);
    close(fd);
}

// A label of more than 63 characters fails without asking anybody.
#define BAD_LABEL "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.invalid"

Test(client_http, reports_an_unknown_name)
{
    client = new_client(BAD_LABEL, 4318, 10000);
    struct test_call test;
    test_call_run(client, &test, "/ok");
    cr_expect_error(&test, CLIENT_E_RESOLVE);
    cr_expect_text(&test, "look up " BAD_LABEL);
    client_free(client);
}

Test(client_http, frees_during_a_look_up)
{
    for (int i = 0; i < 20; i++) {
        client = new_client(BAD_LABEL, 4318, 10000);
        struct test_call test;
        test_call_start(client, &test, "/ok");
        client_poll(client, 0);
        client_free(client);
        cr_expect_eq(test.done, 1);
        cr_expect(test.call.error == CLIENT_E_CANCELLED || test.call.error == CLIENT_E_RESOLVE);
    }
}

Test(client_http, cancels, .init = setup_h1, .fini = teardown)
{
    struct test_call sent, queued, next;
    test_call_start(client, &sent, "/never");
    while (client_connection(client) == 0)
        client_poll(client, 1000);
    test_call_start(client, &queued, "/ok");
    client_cancel(client, &queued.call);
    client_cancel(client, &sent.call);
    client_cancel(client, &sent.call);
    cr_expect_eq(sent.done + queued.done, 0);
    client_poll(client, 1000);
    cr_expect_eq(sent.done, 1);
    cr_expect_eq(queued.done, 1);
    cr_expect_error(&sent, CLIENT_E_CANCELLED);
    cr_expect_error(&queued, CLIENT_E_CANCELLED);
    cr_expect_not(queued.call.bytes_sent);
    test_call_run(client, &next, "/ok");
    expect_ok(&next);
}

static struct test_call second;

static void start_second(struct test_call *first)
{
    test_call_start(first->client, &second, "/ok");
}

Test(client_http, starts_calls_from_done, .init = setup_h1, .fini = teardown)
{
    struct test_call first;
    test_call_start(client, &first, "/ok");
    first.then = start_second;
    test_call_wait(client, &first);
    test_call_wait(client, &second);
    expect_ok(&second);
}

Test(client_http, frees_with_calls_under_way)
{
    with_peer(h1_serve);
    uint8_t *body = big_body(3000000);
    struct test_call tests[8];
    for (size_t i = 0; i < WEIR_COUNT(tests); i++) {
        test_call_init(&tests[i], "/never");
        tests[i].client = client;
        set_ranges(&tests[i], body, 3000000);
        client_start(client, &tests[i].call);
    }
    tests[0].then = start_second;
    while (client_connection(client) == 0)
        client_poll(client, 1000);
    client_free(client);
    for (size_t i = 0; i < WEIR_COUNT(tests); i++) {
        cr_expect_eq(tests[i].done, 1);
        cr_expect_error(&tests[i], CLIENT_E_CANCELLED);
    }
    cr_expect_eq(second.done, 1, "a call started meanwhile ends too");
    cr_expect_error(&second, CLIENT_E_CANCELLED);
    free(body);
    peer_stop(&peer);
}

static atomic_bool stop_waking;
static atomic_int polls_done;

static void *wake_many(void *arg)
{
    while (!atomic_load(&stop_waking)) {
        int before = atomic_load(&polls_done);
        client_wake(arg);
        client_wake(arg);
        while (atomic_load(&polls_done) == before && !atomic_load(&stop_waking))
            sched_yield();
    }
    return NULL;
}

// Each poll would wait for an hour: only wakes end them.
Test(client_http, wakes_from_another_thread, .init = setup_h1, .fini = teardown)
{
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, wake_many, client), 0);
    for (int i = 0; i < 200; i++) {
        client_poll(client, 3600 * 1000);
        atomic_fetch_add(&polls_done, 1);
    }
    atomic_store(&stop_waking, true);
    pthread_join(thread, NULL);
    struct test_call test;
    test_call_run(client, &test, "/ok");
    expect_ok(&test);
}
