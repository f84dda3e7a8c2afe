// SPDX-License-Identifier: Apache-2.0
// Answers that are streams, and connections that reach their age: what long-lived clients see.
#include "net/conn.h"
#include "server_peer.h"

TestSuite(server_stream, .timeout = 60);

static struct call *watch(struct peer *peer, const char *want)
{
    struct call *call = call_of(peer, submit(peer, "/watch", ""));
    PEER_UNTIL(peer, call->body_len >= strlen(want));
    cr_assert_eq(call->status, 200);
    cr_assert_str_eq(call->body, want);
    return call;
}

Test(server_stream, says_what_is_new_and_ends_with_its_client)
{
    struct rig *rig = rig_new(1, NULL);
    struct peer *peer = peer_new(rig);
    struct call *call = watch(peer, "0000");
    rig_push(rig, 1, 1);
    PEER_UNTIL(peer, call->body_len >= 8);
    rig_push(rig, 2, 2);
    PEER_UNTIL(peer, call->body_len >= 12);
    cr_assert_str_eq(call->body, "000000010002");
    cr_assert_not(call->ended);
    expect_ok(peer, submit(peer, "/sink", "others are served meanwhile"));
    nghttp2_submit_rst_stream(peer->session, NGHTTP2_FLAG_NONE, 1, NGHTTP2_CANCEL);
    peer_flush(peer);
    RIG_WAIT(atomic_load(&rig->gones) == 1);
    cr_assert_eq(atomic_load(&rig->held), 0);
    rig_push(rig, 3, 3); // to nobody
    expect_ok(peer, submit(peer, "/sink", ""));
    peer_free(peer);
    rig_free(rig);
}

// Its window is shut: of a thousand messages it gets the first, which was on its way, and the last.
Test(server_stream, a_slow_reader_gets_the_newest_alone)
{
    struct rig *rig = rig_new(1, NULL);
    nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 2}};
    struct peer *peer = peer_new_with(rig, settings, 1);
    struct call *call = call_of(peer, submit(peer, "/watch", ""));
    PEER_UNTIL(peer, call->body_len == 2);
    rig_push(rig, 1, 1000);
    nghttp2_submit_window_update(peer->session, NGHTTP2_FLAG_NONE, 1, 100);
    PEER_UNTIL(peer, call->body_len >= 8);
    cr_assert_str_eq(call->body, "00001000");
    rig_push(rig, 1001, 1001);
    PEER_UNTIL(peer, call->body_len >= 12);
    cr_assert_str_eq(call->body, "000010001001");
    peer_free(peer);
    rig_free(rig);
}

Test(server_stream, shutdown_ends_streams_with_unavailable)
{
    struct rig *rig = rig_new(2, NULL);
    struct peer *peer = peer_new(rig), *shut;
    nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0}};
    struct call *call = watch(peer, "0000");
    shut = peer_new_with(rig, settings, 1);
    submit(shut, "/watch", "");
    peer_flush(shut);
    RIG_WAIT(atomic_load(&rig->held) == 2);
    server_shutdown(rig->server, rig_on_done, rig);
    PEER_UNTIL(peer, call->closed);
    cr_assert(call->ended);
    cr_assert_str_eq(call->grpc_status, "14");
    cr_assert_not(call->in_headers);
    cr_assert_eq(peer->goaways, 2);
    RIG_WAIT(atomic_load(&rig->gones) == 2);
    peer_free(shut); // would be reset by its timer
    peer_free(peer);
    rig_free(rig);
}

// --- age (G40) --------------------------------------------------------------------------------------------------------

Test(server_stream, an_old_connection_says_goaway_twice_and_finishes_its_calls)
{
    struct server_limits limits = {.grpc_max_age_ms = 100};
    struct rig *rig = rig_new(1, &limits);
    struct peer *peer = peer_new(rig);
    int32_t held = submit(peer, "/hold", "abc");
    struct call *watched = call_of(peer, submit(peer, "/watch", ""));
    PEER_UNTIL(peer, peer->goaways == 2);
    cr_assert_eq(peer->goaway_first, 0x7fffffff);
    cr_assert_eq(peer->goaway_last, 3);
    cr_assert_eq(peer->goaway_code, NGHTTP2_NO_ERROR);
    PEER_UNTIL(peer, watched->closed);
    cr_assert_str_eq(watched->grpc_status, "14", "a stream has no end of its own");
    rig_release(rig);
    expect_ok(peer, held);
    read_to_end(peer);
    struct peer *next = peer_new(rig); // the server goes on
    expect_ok(next, submit(next, "/sink", ""));
    peer_free(next);
    peer_free(peer);
    rig_free(rig);
}

Test(server_stream, the_grace_of_an_old_connection_ends)
{
    struct server_limits limits = {.grpc_max_age_ms = 10, .grpc_max_age_grace_ms = 10};
    struct rig *rig = rig_new(1, &limits);
    struct peer *peer = peer_new(rig);
    submit(peer, "/hold", "");
    peer_flush(peer);
    read_to_end(peer);
    cr_assert_eq(peer->goaways, 2);
    RIG_WAIT(atomic_load(&rig->gones) == 1);
    peer_free(peer);
    rig_free(rig);
}

Test(server_stream, ages_differ_by_a_tenth_each_way)
{
    uint64_t least = UINT64_MAX, most = 0;
    for (int i = 0; i < 10000; i++) {
        uint64_t age_ms = conn_age_ms(1000);
        least = age_ms < least ? age_ms : least;
        most = age_ms > most ? age_ms : most;
    }
    cr_assert(least >= 900 && least < 910, "%llu", (unsigned long long)least);
    cr_assert(most <= 1100 && most > 1090, "%llu", (unsigned long long)most);
    cr_assert_leq(conn_age_ms(UINT64_C(365) * 86400000), UINT64_C(402) * 86400000);
}

// Nothing is closed in between: the answer behind the age says that it is the last.
Test(server_stream, an_old_http_connection_ends_with_an_answer)
{
    struct server_limits limits = {.http_max_age_ms = 1};
    struct rig *rig = rig_new(1, &limits);
    int fd = rig_connect(server_http_address(rig->server));
    static const char request[] = "POST /sink HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    char text[4096];
    size_t len = 0;
    rig_turn(rig);
    uint64_t old_ns = weir_now_ns() + 5000000;
    while (weir_now_ns() < old_ns)
        rig_turn(rig);
    rig_send(fd, request, sizeof(request) - 1);
    for (ssize_t n; (n = recv(fd, text + len, sizeof(text) - 1 - len, 0)) > 0;)
        len += (size_t)n;
    text[len] = '\0';
    cr_assert_not_null(strstr(text, "HTTP/1.1 200"), "%s", text);
    cr_assert_not_null(strstr(text, "connection: close\r\n"), "%s", text);
    close(fd);
    rig_free(rig);

    rig = rig_new(1, NULL); // without one it stays
    fd = rig_connect(server_http_address(rig->server));
    for (int i = 0; i < 3; i++) {
        rig_send(fd, request, sizeof(request) - 1);
        ssize_t n = recv(fd, text, sizeof(text) - 1, 0);
        cr_assert_gt(n, 0);
        text[n] = '\0';
        cr_assert_null(strstr(text, "connection: close"));
    }
    close(fd);
    rig_free(rig);
}
