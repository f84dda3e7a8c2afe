// SPDX-License-Identifier: Apache-2.0
// The gRPC client against scripted peers on real sockets.
#include "net/grpc_client_priv.h"
#include "tests/unit/client_calls.h"
#include "tests/unit/client_peer_h2.h"

#include <poll.h>
#include <sched.h>

TestSuite(client_grpc, .timeout = 60);

static struct client *new_client(const struct peer *peer, uint32_t max_in_flight)
{
    struct client_options options = {.host = "127.0.0.1",
                                     .port = peer->port,
                                     .connect_timeout_ms = 10000,
                                     .max_in_flight = max_in_flight,
                                     .max_response_bytes = 65536,
                                     .user_agent = "weir/test"};
    struct client *client = NULL;
    struct weir_err err = {0};
    cr_assert_eq(client_grpc_new(&options, &client, &err), WEIR_OK, "%s", err.text);
    return client;
}

// A peer and a client of it, with at most 4 calls at once.
static struct peer peer;
static struct client *client;

static void with_peer(void (*serve)(struct peer_conn *conn))
{
    peer = (struct peer){.serve = serve};
    peer_start(&peer);
    client = new_client(&peer, 4);
}

static void setup_h2(void)
{
    with_peer(h2_serve);
}

static void teardown(void)
{
    client_free(client);
    peer_stop(&peer);
}

static void expect_ok(struct test_call *test, const char *answer)
{
    cr_expect_error(test, CLIENT_OK);
    cr_expect_eq(test->call.http_status, 200);
    cr_expect_str_eq(test->answer, answer);
    cr_expect_str_eq(test->grpc_status, "0");
    cr_expect_str_eq(test->grpc_message, "fine");
    cr_expect(test->call.bytes_sent);
}

Test(client_grpc, answers_with_trailers, .init = setup_h2, .fini = teardown)
{
    cr_expect_eq(client_connection(client), 0);
    struct test_call test;
    test_call_run(client, &test, "/ok");
    expect_ok(&test, "hello");
    cr_expect_eq(test.call.connection, 1);
    cr_expect_eq(client_connection(client), 1);
    test_call_run(client, &test, "/ok");
    expect_ok(&test, "hello");
    cr_expect_eq(test.call.connection, 1, "the connection is used again");
    cr_expect_eq(peer.accepted, 1);
}

Test(client_grpc, answers_trailers_only, .init = setup_h2, .fini = teardown)
{
    struct test_call test;
    test_call_run(client, &test, "/trailers-only");
    cr_expect_error(&test, CLIENT_OK);
    cr_expect_str_eq(test.grpc_status, "14");
    cr_expect_str_eq(test.grpc_message, "busy");
    cr_expect_eq(test.answer_len, 0);
}

Test(client_grpc, skips_interim_answers, .init = setup_h2, .fini = teardown)
{
    struct test_call test;
    test_call_run(client, &test, "/interim");
    expect_ok(&test, "hello");
    cr_expect_str_neq(test.hash, "interim");
}

Test(client_grpc, hands_out_http_errors, .init = setup_h2, .fini = teardown)
{
    struct test_call test;
    test_call_run(client, &test, "/503");
    cr_expect_error(&test, CLIENT_OK);
    cr_expect_eq(test.call.http_status, 503);
    cr_expect_str_eq(test.grpc_status, "");
}

Test(client_grpc, tells_resets_apart, .init = setup_h2, .fini = teardown)
{
    static const struct {
        const char *path;
        enum client_error error;
        const char *text;
    } cases[] = {
        {"/rst/0", CLIENT_E_RESET, "NO_ERROR"},
        {"/rst/1", CLIENT_E_RESET, "PROTOCOL_ERROR"},
        {"/rst/2", CLIENT_E_RESET, "INTERNAL_ERROR"},
        {"/rst/3", CLIENT_E_RESET, "FLOW_CONTROL_ERROR"},
        {"/rst/7", CLIENT_E_NOT_PROCESSED, "REFUSED_STREAM"},
        {"/rst/8", CLIENT_E_RESET, "CANCEL"},
        {"/rst/11", CLIENT_E_RESET, "ENHANCE_YOUR_CALM"},
        {"/rst/12", CLIENT_E_RESET, "INADEQUATE_SECURITY"},
    };
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        struct test_call test;
        test_call_run(client, &test, cases[i].path);
        cr_expect_error(&test, cases[i].error);
        cr_expect_text(&test, cases[i].text);
    }
    struct test_call test;
    test_call_run(client, &test, "/ok");
    expect_ok(&test, "hello");
    cr_expect_eq(peer.accepted, 1, "the connection outlives its streams");
}

static uint8_t *big_body(size_t len)
{
    uint8_t *body = malloc(len);
    cr_assert_not_null(body);
    for (size_t i = 0; i < len; i++)
        body[i] = (uint8_t)(i * 2654435761u >> 13);
    return body;
}

// Ranges of very different sizes over the whole of `body`.
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

static void send_big_bodies(uint32_t window, size_t len)
{
    peer = (struct peer){.serve = h2_serve, .window = window};
    peer_start(&peer);
    client = new_client(&peer, 4);
    uint8_t *body = big_body(len);
    struct test_call tests[4];
    for (size_t i = 0; i < 4; i++) {
        test_call_init(&tests[i], "/ok");
        set_ranges(&tests[i], body, len);
        client_start(client, &tests[i].call);
    }
    for (size_t i = 0; i < 4; i++) {
        test_call_wait(client, &tests[i]);
        expect_ok(&tests[i], "hello");
        expect_hash(&tests[i], body, len);
    }
    free(body);
    teardown();
}

Test(client_grpc, sends_big_bodies_of_many_ranges)
{
    send_big_bodies(0, 3000000);
}

Test(client_grpc, sends_through_tiny_windows)
{
    send_big_bodies(1024, 3000000);
}

Test(client_grpc, sends_through_wide_windows)
{
    send_big_bodies(8 << 20, 3000000);
}

Test(client_grpc, sends_thousands_of_tiny_ranges, .init = setup_h2, .fini = teardown)
{
    enum { COUNT = 60000 };
    uint8_t *body = big_body(COUNT);
    struct weir_slice *ranges = calloc(COUNT, sizeof(*ranges));
    cr_assert_not_null(ranges);
    for (size_t i = 0; i < COUNT; i++)
        ranges[i] = (struct weir_slice){.data = body + i, .len = 1};
    struct test_call test;
    test_call_init(&test, "/ok");
    test.call.body = ranges;
    test.call.body_count = COUNT;
    client_start(client, &test.call);
    test_call_wait(client, &test);
    expect_ok(&test, "hello");
    expect_hash(&test, body, COUNT);
    free(ranges);
    free(body);
}

Test(client_grpc, sends_no_body, .init = setup_h2, .fini = teardown)
{
    struct test_call test;
    test_call_init(&test, "/ok");
    test.call.body_count = 0;
    client_start(client, &test.call);
    test_call_wait(client, &test);
    expect_ok(&test, "hello");
}

// The answer comes while most of the body has not been sent: with RST(NO_ERROR) behind it, and without.
static void early_answer(const char *path)
{
    uint8_t *body = big_body(3000000);
    struct test_call test;
    test_call_init(&test, path);
    set_ranges(&test, body, 3000000);
    client_start(client, &test.call);
    test_call_wait(client, &test);
    cr_expect_error(&test, CLIENT_OK);
    cr_expect_str_eq(test.grpc_status, "14");
    free(body); // nothing may point into it any longer
    test_call_run(client, &test, "/ok");
    expect_ok(&test, "hello");
    cr_expect_eq(peer.accepted, 1);
}

Test(client_grpc, takes_an_early_answer, .init = setup_h2, .fini = teardown)
{
    early_answer("/early");
    early_answer("/answer-rst");
}

// U29.
Test(client_grpc, gives_up_at_the_deadline, .init = setup_h2, .fini = teardown)
{
    struct test_call test;
    test_call_run(client, &test, "/ok");
    test_call_init(&test, "/never");
    test.call.timeout_ns = 100000000;
    client_start(client, &test.call);
    test_call_wait(client, &test);
    cr_expect_error(&test, CLIENT_E_TIMEOUT);
    cr_expect_text(&test, "within 100 ms");
    cr_expect(test.call.bytes_sent);
    test_call_run(client, &test, "/ok");
    expect_ok(&test, "hello");
    cr_expect_eq(test.call.connection, 2, "nothing came over the first: it may lead nowhere");
}

Test(client_grpc, answers_in_any_order, .init = setup_h2, .fini = teardown)
{
    struct test_call slow, quick;
    test_call_start(client, &slow, "/hold");
    test_call_start(client, &quick, "/ok");
    test_call_wait(client, &quick);
    test_call_wait(client, &slow);
    expect_ok(&quick, "hello");
    expect_ok(&slow, "held");
}

Test(client_grpc, follows_goaway, .init = setup_h2, .fini = teardown)
{
    struct test_call held, above, next;
    test_call_start(client, &held, "/hold");
    test_call_start(client, &above, "/goaway-below");
    test_call_wait(client, &above);
    cr_expect_error(&above, CLIENT_E_NOT_PROCESSED);
    cr_expect_text(&above, "max_age");
    test_call_wait(client, &held);
    expect_ok(&held, "held");
    cr_expect_eq(client_connection(client), 0);
    test_call_run(client, &next, "/ok");
    expect_ok(&next, "hello");
    cr_expect_eq(next.call.connection, 2);
}

Test(client_grpc, finishes_what_goaway_includes, .init = setup_h2, .fini = teardown)
{
    for (int i = 0; i < 3; i++) {
        struct test_call test;
        test_call_run(client, &test, "/goaway-after");
        expect_ok(&test, "last");
        cr_expect_eq(test.call.connection, (uint64_t)i + 1);
    }
}

Test(client_grpc, reports_a_cut_connection, .init = setup_h2, .fini = teardown)
{
    uint8_t *body = big_body(3000000);
    struct test_call test;
    test_call_init(&test, "/cut-body");
    set_ranges(&test, body, 3000000);
    client_start(client, &test.call);
    test_call_wait(client, &test);
    cr_expect_error(&test, CLIENT_E_RESET);
    cr_expect(test.call.bytes_sent);
    free(body);
    test_call_run(client, &test, "/cut-answer");
    cr_expect_error(&test, CLIENT_E_RESET);
    test_call_run(client, &test, "/ok");
    expect_ok(&test, "hello");
    cr_expect_eq(test.call.connection, 3);
}

Test(client_grpc, refuses_an_answer_without_status, .init = setup_h2, .fini = teardown)
{
    struct test_call test;
    test_call_run(client, &test, "/bad-answer");
    cr_expect_error(&test, CLIENT_E_PROTOCOL);
}

Test(client_grpc, limits_the_answer, .init = setup_h2, .fini = teardown)
{
    struct test_call test;
    test_call_run(client, &test, "/huge");
    cr_expect_error(&test, CLIENT_E_RESPONSE_TOO_LARGE);
    test_call_run(client, &test, "/ok");
    expect_ok(&test, "hello");
    cr_expect_eq(peer.accepted, 1);
}

Test(client_grpc, keeps_to_the_peers_streams)
{
    peer = (struct peer){.serve = h2_serve, .max_streams = 1};
    peer_start(&peer);
    client = new_client(&peer, 16);
    struct test_call tests[16];
    for (size_t i = 0; i < WEIR_COUNT(tests); i++)
        test_call_start(client, &tests[i], "/ok");
    for (size_t i = 0; i < WEIR_COUNT(tests); i++) {
        test_call_wait(client, &tests[i]);
        expect_ok(&tests[i], "hello");
        cr_expect(i + 1 == WEIR_COUNT(tests) || tests[i + 1].done == 0 || tests[i].done == 1, "in order");
    }
    teardown();
}

Test(client_grpc, queues_beyond_max_in_flight, .init = setup_h2, .fini = teardown)
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
    test_call_run(client, &waiting, "/ok");
    expect_ok(&waiting, "hello");
}

// --- connections that come to nothing -------------------------------------------------------------------------------

Test(client_grpc, reports_a_refused_connection)
{
    struct peer none = {0};
    int fd = peer_bind(&none.port); // bound, not listening
    client = new_client(&none, 4);
    struct test_call tests[2];
    test_call_start(client, &tests[0], "/ok");
    test_call_start(client, &tests[1], "/ok");
    for (int i = 0; i < 2; i++) {
        test_call_wait(client, &tests[i]);
        cr_expect_error(&tests[i], CLIENT_E_CONNECT);
        cr_expect_text(&tests[i], "connect to 127.0.0.1:");
        cr_expect_text(&tests[i], "Connection refused");
        cr_expect_not(tests[i].call.bytes_sent);
        cr_expect_eq(tests[i].call.connection, 0);
    }
    client_free(client);
    close(fd);
}

// A label of more than 63 characters fails without asking anybody.
#define BAD_LABEL "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.invalid"

static struct client *new_named(const char *host, uint16_t port)
{
    struct client_options options = {.host = host, .port = port, .connect_timeout_ms = 10000, .max_in_flight = 2};
    struct client *named = NULL;
    cr_assert_eq(client_grpc_new(&options, &named, NULL), WEIR_OK);
    return named;
}

Test(client_grpc, reports_an_unknown_name)
{
    client = new_named(BAD_LABEL, 4317);
    struct test_call test;
    for (int i = 0; i < 2; i++) {
        test_call_run(client, &test, "/ok");
        cr_expect_error(&test, CLIENT_E_RESOLVE);
        cr_expect_text(&test, "look up " BAD_LABEL);
    }
    client_free(client);
}

Test(client_grpc, frees_during_a_look_up)
{
    for (int i = 0; i < 20; i++) {
        client = new_named(BAD_LABEL, 4317);
        struct test_call test;
        test_call_start(client, &test, "/ok");
        client_poll(client, 0);
        client_free(client);
        cr_expect_eq(test.done, 1);
        cr_expect(test.call.error == CLIENT_E_CANCELLED || test.call.error == CLIENT_E_RESOLVE);
    }
}

Test(client_grpc, looks_up_names)
{
    peer = (struct peer){.serve = h2_serve};
    peer_start(&peer);
    client = new_named("localhost", peer.port);
    struct test_call test;
    test_call_run(client, &test, "/ok");
    expect_ok(&test, "hello");
    teardown();
}

static void serve_silence(struct peer_conn *conn)
{
    peer_drain(conn);
}

Test(client_grpc, gives_up_on_a_silent_peer)
{
    peer = (struct peer){.serve = serve_silence};
    peer_start(&peer);
    struct client_options options = {
        .host = "127.0.0.1", .port = peer.port, .connect_timeout_ms = 100, .max_in_flight = 2};
    cr_assert_eq(client_grpc_new(&options, &client, NULL), WEIR_OK);
    struct test_call test;
    test_call_run(client, &test, "/ok");
    cr_expect_error(&test, CLIENT_E_CONNECT);
    cr_expect_text(&test, "timed out after 100 ms (HTTP/2 settings)");
    cr_expect_not(test.call.bytes_sent);
    teardown();
}

static void serve_http1(struct peer_conn *conn)
{
    char buf[256];
    if (peer_read(conn, buf, sizeof(buf)) > 0)
        peer_write(conn, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", 47);
    peer_drain(conn);
}

Test(client_grpc, recognises_http1)
{
    with_peer(serve_http1);
    struct test_call test;
    test_call_run(client, &test, "/ok");
    cr_expect_error(&test, CLIENT_E_PROTOCOL);
    cr_expect_text(&test, "does not speak HTTP/2");
    cr_expect_text(&test, "OTLP/HTTP port?");
    cr_expect_not(test.call.bytes_sent);
    teardown();
}

static void serve_garbage(struct peer_conn *conn)
{
    peer_write(conn, "220 mail.example.org ESMTP ready\r\n", 34);
    peer_drain(conn);
}

static void serve_tls_alert(struct peer_conn *conn)
{
    peer_write(conn, "\x15\x03\x01\x00\x02\x02\x46", 7);
    peer_drain(conn);
}

static void serve_nothing(struct peer_conn *conn)
{
}

// SETTINGS and GOAWAY at once: must not become a loop of connections.
static void serve_goaway(struct peer_conn *conn)
{
    static const char frames[] = "\0\0\0\4\0\0\0\0\0"
                                 "\0\0\x08\7\0\0\0\0\0"
                                 "\0\0\0\0\0\0\0\x0b";
    peer_write(conn, frames, sizeof(frames) - 1);
    peer_drain(conn);
}

Test(client_grpc, fails_on_peers_of_other_kinds)
{
    static const struct {
        void (*serve)(struct peer_conn *conn);
        enum client_error error;
        const char *text;
    } cases[] = {
        {serve_garbage, CLIENT_E_PROTOCOL, "does not speak HTTP/2"},
        {serve_tls_alert, CLIENT_E_PROTOCOL, "speaks TLS"},
        {serve_nothing, CLIENT_E_CONNECT, "ended before HTTP/2 settings"},
        {serve_goaway, CLIENT_E_CONNECT, "ENHANCE_YOUR_CALM"},
    };
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        with_peer(cases[i].serve);
        struct test_call test;
        test_call_run(client, &test, "/ok");
        cr_expect_error(&test, cases[i].error);
        cr_expect_text(&test, cases[i].text);
        cr_expect_eq(peer.accepted, 1);
        teardown();
    }
}

Test(client_grpc, connects_again_after_an_idle_close)
{
    with_peer(h2_serve);
    struct test_call test;
    test_call_run(client, &test, "/ok");
    expect_ok(&test, "hello");
    pthread_mutex_lock(&peer.mutex);
    shutdown(peer.conns[0].fd, SHUT_RDWR);
    pthread_mutex_unlock(&peer.mutex);
    while (client_connection(client) != 0)
        client_poll(client, 1000);
    test_call_run(client, &test, "/ok");
    expect_ok(&test, "hello");
    cr_expect_eq(test.call.connection, 2);
    teardown();
}

// Takes the preface and settings, then stops reading: the body gets stuck in the socket.
static void serve_stuck(struct peer_conn *conn)
{
    // SETTINGS with INITIAL_WINDOW_SIZE 2^31-1, and WINDOW_UPDATE of the connection by 2^30.
    static const char frames[] = "\0\0\6\4\0\0\0\0\0"
                                 "\0\4\x7f\xff\xff\xff"
                                 "\0\0\4\x08\0\0\0\0\0"
                                 "\x40\0\0\0";
    peer_write(conn, frames, sizeof(frames) - 1);
    struct pollfd end = {.fd = conn->fd, .events = POLLRDHUP};
    poll(&end, 1, -1);
}

Test(client_grpc, lets_go_of_a_peer_that_stopped_reading)
{
    with_peer(serve_stuck);
    size_t len = 64u << 20; // more than any socket takes
    uint8_t *body = big_body(len);
    struct test_call test;
    test_call_init(&test, "/ok");
    set_ranges(&test, body, len);
    test.call.timeout_ns = 100000000;
    client_start(client, &test.call);
    test_call_wait(client, &test);
    cr_expect_error(&test, CLIENT_E_TIMEOUT);
    free(body);
    cr_expect_eq(client_connection(client), 0, "the connection is given up");
    teardown();
}

static void serve_settings_then_silence(struct peer_conn *conn)
{
    peer_write(conn, "\0\0\0\4\0\0\0\0\0", 9);
    peer_drain(conn);
}

Test(client_grpc, gives_up_when_a_ping_is_not_answered)
{
    with_peer(serve_settings_then_silence);
    grpc_client_set_keepalive(client, 50, 50, 0);
    struct test_call test;
    test_call_run(client, &test, "/ok");
    cr_expect_error(&test, CLIENT_E_RESET);
    cr_expect_text(&test, "PING");
    teardown();
}

Test(client_grpc, goes_on_when_pings_are_answered, .init = setup_h2, .fini = teardown)
{
    grpc_client_set_keepalive(client, 20, 10000, 0);
    struct test_call test;
    test_call_init(&test, "/never");
    test.call.timeout_ns = 200000000;
    client_start(client, &test.call);
    test_call_wait(client, &test);
    cr_expect_error(&test, CLIENT_E_TIMEOUT);
    cr_expect_eq(client_connection(client), 1);
}

// --- the owner's side -----------------------------------------------------------------------------------------------

Test(client_grpc, cancels, .init = setup_h2, .fini = teardown)
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
    expect_ok(&next, "hello");
}

static struct test_call second;

static void start_second(struct test_call *first)
{
    test_call_start(first->client, &second, "/ok");
    if (first->call.error == CLIENT_E_CANCELLED) // client_free is at work
        cr_expect_eq(second.done, 0);
}

Test(client_grpc, starts_calls_from_done, .init = setup_h2, .fini = teardown)
{
    struct test_call first;
    test_call_start(client, &first, "/ok");
    first.then = start_second;
    test_call_wait(client, &first);
    test_call_wait(client, &second);
    expect_ok(&second, "hello");
}

Test(client_grpc, frees_with_calls_under_way)
{
    with_peer(h2_serve);
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
Test(client_grpc, wakes_from_another_thread, .init = setup_h2, .fini = teardown)
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
    expect_ok(&test, "hello");
}

Test(client_grpc, refuses_bad_options)
{
    struct client_options options = {.host = "", .port = 4317};
    struct weir_err err = {0};
    struct client *none = NULL;
    cr_expect_eq(client_grpc_new(&options, &none, &err), WEIR_E_INVALID);
    options = (struct client_options){.host = "localhost", .port = 0};
    cr_expect_eq(client_grpc_new(&options, &none, &err), WEIR_E_INVALID);
    cr_expect(strstr(err.text, "localhost") != NULL);
    cr_expect_null(none);
}

Test(client_grpc, names_every_error)
{
    for (int error = CLIENT_OK; error <= CLIENT_E_CANCELLED; error++)
        cr_expect(strlen(client_error_name((enum client_error)error)) > 1);
}
