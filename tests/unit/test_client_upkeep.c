// SPDX-License-Identifier: Apache-2.0
// What keeps a gRPC connection honest: PINGs and their pace, and connections that have gone silent.
#include "net/grpc_client_priv.h"
#include "tests/unit/client_calls.h"
#include "tests/unit/client_peer_h2.h"

TestSuite(client_upkeep, .timeout = 60);

static struct peer peer;
static struct client *client;

static void with_peer(void (*serve)(struct peer_conn *conn))
{
    peer = (struct peer){.serve = serve};
    peer_start(&peer);
    struct client_options options = {
        .host = "127.0.0.1", .port = peer.port, .connect_timeout_ms = 10000, .max_in_flight = 4};
    struct weir_err err = {0};
    cr_assert_eq(client_grpc_new(&options, &client, &err), WEIR_OK, "%s", err.text);
}

static void teardown(void)
{
    client_free(client);
    peer_stop(&peer);
}

static void run_for(struct test_call *test, const char *path, uint64_t timeout_ms)
{
    test_call_init(test, path);
    test->call.timeout_ns = timeout_ms * 1000000;
    client_start(client, &test->call);
    test_call_wait(client, test);
}

// --- an HTTP/2 peer by hand: settings, then it counts PINGs ----------------------------------------------------------------

static atomic_int pings, goaway_at;

static bool read_whole(struct peer_conn *conn, uint8_t *out, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = peer_read(conn, out + at, len - at);
        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

static void serve_pings(struct peer_conn *conn)
{
    uint8_t head[9], body[16384], preface[24];
    static const uint8_t goaway[] = "\0\0\x16\7\0\0\0\0\0\0\0\0\1\0\0\0\x0btoo_many_pings";
    peer_write(conn, "\0\0\0\4\0\0\0\0\0", 9);
    if (!read_whole(conn, preface, sizeof(preface)))
        return;
    while (read_whole(conn, head, sizeof(head))) {
        size_t len = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
        if (len > sizeof(body) || !read_whole(conn, body, len))
            return;
        if (head[3] != 6)
            continue;
        if (atomic_fetch_add(&pings, 1) + 1 == atomic_load(&goaway_at)) {
            peer_write(conn, goaway, sizeof(goaway) - 1);
            return;
        }
        uint8_t answer[17] = {0, 0, 8, 6, 1};
        memcpy(answer + 9, body, 8);
        peer_write(conn, answer, sizeof(answer));
    }
}

// gRPC's servers bear one PING in five minutes: another one would cost the connection.
Test(client_upkeep, pings_come_no_more_often_than_servers_bear_U12)
{
    with_peer(serve_pings);
    grpc_client_set_keepalive(client, 10, 1000, 300000);
    struct test_call test;
    run_for(&test, "/never", 400);
    cr_expect_error(&test, CLIENT_E_TIMEOUT);
    cr_expect_eq(atomic_load(&pings), 1);
    teardown();
}

Test(client_upkeep, pings_go_on_at_their_interval)
{
    with_peer(serve_pings);
    grpc_client_set_keepalive(client, 10, 200, 50);
    struct test_call test;
    run_for(&test, "/never", 1500);
    cr_expect_error(&test, CLIENT_E_TIMEOUT);
    cr_expect_geq(atomic_load(&pings), 3);
    cr_expect_leq(atomic_load(&pings), 20);
    teardown();
}

Test(client_upkeep, too_many_pings_doubles_their_interval_U12)
{
    with_peer(serve_pings);
    atomic_store(&goaway_at, 2);
    grpc_client_set_keepalive(client, 10, 1000, 20);
    struct test_call test;
    run_for(&test, "/never", 10000);
    cr_expect_error(&test, CLIENT_E_RESET);
    cr_expect_text(&test, "too_many_pings");
    cr_expect_eq(grpc_client_ping_interval_ms(client), 40);
    teardown();
}

Test(client_upkeep, there_is_no_ping_without_a_call_U12)
{
    with_peer(h2_serve);
    grpc_client_set_keepalive(client, 5, 5, 0);
    struct test_call test;
    test_call_run(client, &test, "/ok");
    uint64_t until_ns = weir_now_ns() + 200000000;
    while (weir_now_ns() < until_ns)
        client_poll(client, 10);
    test_call_run(client, &test, "/ok");
    cr_expect_error(&test, CLIENT_OK);
    cr_expect_eq(test.call.connection, 1, "an unanswered PING would have ended it");
    teardown();
}

// --- half-open connections ---------------------------------------------------------------------------------------------------

// The first connection answers once, then swallows everything, as a firewall does that has forgotten it.
static void serve_until_it_vanishes(struct peer_conn *conn)
{
    if (conn->index > 0) {
        h2_serve(conn);
        return;
    }
    peer_write(conn, "\0\0\0\4\0\0\0\0\0", 9);
    peer_drain(conn);
}

Test(client_upkeep, a_silent_connection_is_left_at_the_first_timeout)
{
    with_peer(serve_until_it_vanishes);
    struct test_call test;
    run_for(&test, "/ok", 200);
    cr_expect_error(&test, CLIENT_E_TIMEOUT);
    cr_expect_eq(client_connection(client), 0);
    test_call_run(client, &test, "/ok");
    cr_expect_error(&test, CLIENT_OK);
    cr_expect_eq(test.call.connection, 2);
    teardown();
}

Test(client_upkeep, a_slow_answer_does_not_cost_the_connection)
{
    with_peer(h2_serve);
    struct test_call slow, quick;
    test_call_init(&slow, "/never");
    slow.call.timeout_ns = 200000000;
    client_start(client, &slow.call);
    client_poll(client, 1);
    test_call_run(client, &quick, "/ok");
    test_call_wait(client, &slow);
    cr_expect_error(&slow, CLIENT_E_TIMEOUT);
    test_call_run(client, &quick, "/ok");
    cr_expect_eq(quick.call.connection, 1, "others were answered meanwhile");
    teardown();
}
