// SPDX-License-Identifier: Apache-2.0
// The gRPC server over real sockets: an nghttp2 client session, and raw frames where no client would send such.
#include "server_peer.h"

// --- requests and answers -------------------------------------------------------------------------------------------

Test(server_grpc, message_and_trailers)
{
    struct rig *rig = rig_new(1, NULL);
    struct peer *peer = peer_new(rig);
    for (int i = 0; i < 20; i++) {
        int32_t id = submit(peer, "/sink", "abc");
        expect_ok(peer, id);
        cr_assert_str_eq(call_of(peer, id)->body, "3 294");
    }
    peer_free(peer);
    RIG_WAIT(server_connections(rig->server) == 0);
    rig_free(rig);
}

Test(server_grpc, errors_are_trailers_only)
{
    struct rig *rig = rig_new(1, NULL);
    struct peer *peer = peer_new(rig);
    struct call *call = finish(peer, submit(peer, "/early", ""));
    cr_assert_str_eq(call->grpc_status, "14");
    cr_assert(call->in_headers, "one HEADERS with END_STREAM (G20)");
    cr_assert(call->ended);
    cr_assert_eq(call->body_len, 0);
    peer_free(peer);
    rig_free(rig);
}

Test(server_grpc, every_byte_alone)
{
    struct rig *rig = rig_new(1, NULL);
    struct peer *peer = peer_new(rig);
    int32_t id = submit(peer, "/sink?query", "hello");
    cr_assert_eq(nghttp2_session_send(peer->session), 0);
    for (size_t i = 0; i < peer->out.len; i++)
        rig_send(peer->fd, peer->out.data + i, 1);
    peer->out.len = 0;
    expect_ok(peer, id);
    cr_assert_str_eq(call_of(peer, id)->body, "5 532");
    peer_free(peer);
    rig_free(rig);
}

// G34.
Test(server_grpc, large_bodies_pass_the_windows)
{
    enum { LEN = 12 << 20 };
    struct rig *rig = rig_new(1, NULL);
    struct peer *peer = peer_new(rig);
    uint8_t *body = malloc(LEN);
    uint64_t sum = 0;
    for (size_t i = 0; i < LEN; i++) {
        body[i] = (uint8_t)(i * 31 >> 3);
        sum += body[i];
    }
    int32_t ids[3];
    for (int i = 0; i < 3; i++)
        ids[i] = submit_with(peer, "/sink", (struct weir_slice){body, LEN}, false, NULL);
    char want[64];
    snprintf(want, sizeof(want), "%d %llu", LEN, (unsigned long long)sum);
    for (int i = 0; i < 3; i++) {
        expect_ok(peer, ids[i]);
        cr_assert_str_eq(call_of(peer, ids[i])->body, want);
    }
    free(body);
    peer_free(peer);
    rig_free(rig);
}

Test(server_grpc, large_answers_arrive_whole)
{
    struct rig *rig = rig_new(1, NULL);
    struct peer *peer = peer_new(rig);
    int32_t big = submit(peer, "/big", ""), other = submit(peer, "/sink", "a");
    expect_ok(peer, other);
    expect_ok(peer, big);
    cr_assert_eq(call_of(peer, big)->body_len, RIG_BIG_BYTES);
    peer_free(peer);
    rig_free(rig);
}

Test(server_grpc, answers_of_one_turn_leave_in_one_write)
{
    enum { N = 60 };
    struct rig *rig = rig_new(1, NULL);
    struct peer *peer = peer_new(rig);
    expect_ok(peer, submit(peer, "/sink", "")); // settings are out of the way
    int32_t ids[N];
    for (int i = 0; i < N; i++)
        ids[i] = submit(peer, "/hold", "");
    peer_flush(peer);
    RIG_WAIT(atomic_load(&rig->held) == N);
    rig_release(rig);
    cr_assert(peer_read(peer));
    for (int i = 0; i < N; i++)
        cr_assert(call_of(peer, ids[i])->closed, "answer %d came later", i);
    peer_free(peer);
    rig_free(rig);
}

// --- early answers --------------------------------------------------------------------------------------------------

Test(server_grpc, early_answer_resets_with_no_error_and_keeps_the_connection)
{
    struct rig *rig = rig_new(1, NULL);
    struct peer *peer = peer_new(rig);
    for (int i = 0; i < 400; i++) { // more than the allowance of unanswered resets
        struct weir_slice one = {(const uint8_t *)"x", 1};
        struct call *call = finish(peer, submit_with(peer, i % 2 ? "/early" : "/mid", one, true, NULL));
        cr_assert_str_eq(call->grpc_status, "14");
        cr_assert(call->ended);
        cr_assert(call->reset, "the client still sends (G26)");
        cr_assert_eq(call->reset_code, NGHTTP2_NO_ERROR);
    }
    expect_ok(peer, submit(peer, "/sink", "still here"));
    peer_free(peer);
    rig_free(rig);
}

Test(server_grpc, refused_bodies_do_not_use_up_the_connection_window)
{
    enum { LEN = 1 << 20 };
    struct rig *rig = rig_new(1, NULL);
    struct peer *peer = peer_new(rig);
    uint8_t *body = calloc(1, LEN);
    for (int round = 0; round < 20; round++) {
        int32_t id = submit_with(peer, "/mid", (struct weir_slice){body, LEN}, true, NULL);
        peer_flush(peer); // as much as the windows let go, before the refusal is read
        finish(peer, id);
    }
    expect_ok(peer, submit_with(peer, "/sink", (struct weir_slice){body, LEN}, false, NULL));
    free(body);
    peer_free(peer);
    rig_free(rig);
}

Test(server_grpc, too_large_declared_or_crossed)
{
    struct server_limits limits = {.body_bytes = 50000};
    struct rig *rig = rig_new(1, &limits);
    struct peer *peer = peer_new(rig);
    static const uint8_t body[50001];
    nghttp2_nv length = NV("content-length", "50001");
    struct call *call = finish(peer, submit_with(peer, "/sink", (struct weir_slice){body, 100}, true, &length));
    cr_assert_str_eq(call->grpc_status, "8");
    cr_assert(call->in_headers);
    cr_assert_eq(atomic_load(&rig->begins), 0);
    call = finish(peer, submit_with(peer, "/sink", (struct weir_slice){body, 50001}, false, NULL));
    cr_assert_str_eq(call->grpc_status, "8");
    cr_assert_eq(atomic_load(&rig->gones), 1);
    expect_ok(peer, submit_with(peer, "/sink", (struct weir_slice){body, 50000}, false, NULL));
    peer_free(peer);
    rig_free(rig);
}

// --- limits ---------------------------------------------------------------------------------------------------------

// G35, E19.
Test(server_grpc, headers_beyond_the_limit_reset_their_stream_alone)
{
    struct server_limits limits = {.header_list_bytes = 2000};
    struct rig *rig = rig_new(1, &limits);
    struct peer *peer = peer_new(rig);
    char value[1900];
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    nghttp2_nv extra = NV("x-large", value);
    struct call *call = finish(peer, submit_with(peer, "/sink", (struct weir_slice){0}, false, &extra));
    cr_assert(call->reset);
    cr_assert_eq(call->reset_code, NGHTTP2_FRAME_SIZE_ERROR);
    value[1500] = '\0';
    extra.valuelen = 1500;
    expect_ok(peer, submit_with(peer, "/sink", (struct weir_slice){0}, false, &extra));
    cr_assert_eq(atomic_load(&rig->begins), 1);
    peer_free(peer);
    rig_free(rig);
}

// E20.
Test(server_grpc, streams_beyond_the_limit_are_refused)
{
    struct server_limits limits = {.streams = 4};
    struct rig *rig = rig_new(1, &limits);
    struct peer *peer = peer_new(rig);
    int32_t ids[10];
    for (int i = 0; i < 10; i++)
        ids[i] = submit(peer, "/hold", ""); // before the settings have come
    for (int i = 4; i < 10; i++)
        cr_assert_eq(finish(peer, ids[i])->reset_code, NGHTTP2_REFUSED_STREAM);
    RIG_WAIT(atomic_load(&rig->held) == 4);
    rig_release(rig);
    for (int i = 0; i < 4; i++)
        expect_ok(peer, ids[i]);
    peer_free(peer);
    rig_free(rig);
}

Test(server_grpc, rapid_resets_end_the_connection)
{
    struct rig *rig = rig_new(1, NULL);
    struct peer *peer = peer_new(rig);
    for (int i = 0; i < 300; i++) {
        int32_t id = submit_with(peer, "/sink", (struct weir_slice){0}, true, NULL);
        cr_assert_eq(nghttp2_session_send(peer->session), 0);
        nghttp2_submit_rst_stream(peer->session, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
        cr_assert_eq(nghttp2_session_send(peer->session), 0);
    }
    peer_flush(peer);
    read_to_end(peer);
    cr_assert_eq(peer->goaways, 1);
    cr_assert_eq(peer->goaway_code, NGHTTP2_ENHANCE_YOUR_CALM);
    unsigned begins = atomic_load(&rig->begins);
    cr_assert(begins > 200 && begins < 300, "%u", begins);
    peer_free(peer);
    rig_free(rig);
}

// libcurl 7.88 sends an RST_STREAM for each finished request.
Test(server_grpc, resets_after_the_answer_are_no_offence)
{
    struct rig *rig = rig_new(1, NULL);
    struct peer *peer = peer_new(rig);
    for (int i = 0; i < 2000; i++) {
        int32_t id = submit(peer, "/sink", "a");
        expect_ok(peer, id);
        uint8_t rst[13] = {0, 0, 4, NGHTTP2_RST_STREAM, 0, 0, 0, (uint8_t)(id >> 8), (uint8_t)id, 0, 0, 0, 8};
        rig_send(peer->fd, rst, sizeof(rst));
    }
    cr_assert_eq(peer->goaways, 0);
    peer_free(peer);
    rig_free(rig);
}

// RST_STREAMs that the client provokes from our side (CVE-2025-8671).
Test(server_grpc, provoked_resets_end_the_connection)
{
    struct rig *rig = rig_new(1, NULL);
    struct peer *peer = peer_new(rig);
    for (int i = 0; i < 300 && peer->goaways == 0; i++) {
        int32_t id = submit_with(peer, "/sink", (struct weir_slice){0}, true, NULL);
        uint8_t update[13] = {0,   0,   4,  NGHTTP2_WINDOW_UPDATE, 0, 0, 0, (uint8_t)(id >> 8), (uint8_t)id, 0x7f,
                              255, 255, 255};
        peer_flush(peer);
        rig_send(peer->fd, update, sizeof(update)); // overflows the stream's window
        PEER_UNTIL(peer, call_of(peer, id)->reset || peer->goaways > 0);
    }
    read_to_end(peer);
    cr_assert_eq(peer->goaway_code, NGHTTP2_ENHANCE_YOUR_CALM);
    peer_free(peer);
    rig_free(rig);
}

// Sends one frame over and over: the server must hang up.
static void flood(const struct rig *rig, const uint8_t *first, size_t first_len, const uint8_t *frame, size_t len)
{
    struct peer *peer = peer_new(rig);
    peer_flush(peer);
    if (first_len > 0)
        rig_send(peer->fd, first, first_len);
    uint8_t block[16384];
    size_t each = sizeof(block) / len;
    for (size_t i = 0; i < each; i++)
        memcpy(block + i * len, frame, len);
    for (size_t frames = 0; frames < 50000; frames += each)
        if (send(peer->fd, block, each * len, MSG_NOSIGNAL) < 0)
            break;
    ssize_t n;
    while ((n = recv(peer->fd, block, sizeof(block), 0)) > 0)
        ;
    cr_assert(n == 0 || errno != EAGAIN, "still connected");
    peer_free(peer);
    RIG_WAIT(server_connections(rig->server) == 0);
}

Test(server_grpc, floods_are_cut)
{
    static const uint8_t ping[17] = {0, 0, 8, NGHTTP2_PING};
    static const uint8_t settings[9] = {0, 0, 0, NGHTTP2_SETTINGS};
    static const uint8_t headers[10] = {0, 0, 1, NGHTTP2_HEADERS, 0, 0, 0, 0, 1, 0x83};
    static const uint8_t continuation[9] = {0, 0, 0, NGHTTP2_CONTINUATION, 0, 0, 0, 0, 1};
    struct rig *rig = rig_new(1, NULL);
    flood(rig, NULL, 0, ping, sizeof(ping));
    flood(rig, NULL, 0, settings, sizeof(settings));
    flood(rig, headers, sizeof(headers), continuation, sizeof(continuation));
    rig_free(rig);
}

// Before it has acknowledged our SETTINGS, a client may be refused any number of streams; one that does not read the refusals must not
// make us keep them.
Test(server_grpc, refusals_that_nobody_reads_are_not_piled_up)
{
    struct server_limits limits = {.write_stall_ms = 1000};
    struct rig *rig = rig_new(1, &limits);
    int fd = rig_connect_buffered(server_grpc_address(rig->server), 4096);
    rig_send(fd, NGHTTP2_CLIENT_MAGIC "\0\0\0\4\0\0\0\0", NGHTTP2_CLIENT_MAGIC_LEN + 9);
    // :method POST, :scheme http, :path /, :authority x; the body does not come
    static const uint8_t headers[15] = {
        0, 0, 6, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 0, 0, 0, 0, 0x83, 0x86, 0x84, 1, 1, 'x'};
    uint8_t block[1024 * sizeof(headers)];
    size_t sent = 0;
    int32_t id = 1;
    ssize_t n = 1;
    while (n > 0) {
        for (size_t i = 0; i < sizeof(block); i += sizeof(headers), id += 2) {
            const uint8_t id_bytes[4] = {(uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};
            memcpy(block + i, headers, sizeof(headers));
            memcpy(block + i + 5, id_bytes, sizeof(id_bytes));
        }
        for (size_t at = 0; at < sizeof(block) && n > 0; at += (size_t)n)
            n = send(fd, block + at, sizeof(block) - at, MSG_NOSIGNAL);
        sent += n > 0 ? sizeof(block) : 0;
        cr_assert_lt(sent, 16u << 20, "it reads on and on");
    }
    close(fd);
    RIG_WAIT(server_connections(rig->server) == 0);
    rig_free(rig);
}

Test(server_grpc, what_is_not_http2_is_closed)
{
    struct rig *rig = rig_new(1, NULL);
    static const char *const rows[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\x02\x01\x01\x01\xfc\x03\x03"};
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        int fd = rig_connect(server_grpc_address(rig->server));
        rig_send(fd, rows[i], strlen(rows[i]));
        char buf[256];
        while (recv(fd, buf, sizeof(buf), 0) > 0)
            ;
        close(fd);
    }
    RIG_WAIT(server_connections(rig->server) == 0);
    rig_free(rig);
}

// --- clients that leave or dawdle -----------------------------------------------------------------------------------

// G38.
Test(server_grpc, cancelled_and_broken_requests_are_gone)
{
    struct rig *rig = rig_new(1, NULL);
    struct peer *peer = peer_new(rig);
    int32_t id = submit(peer, "/hold", "");
    int32_t unfinished = submit_with(peer, "/sink", (struct weir_slice){0}, true, NULL);
    peer_flush(peer);
    RIG_WAIT(atomic_load(&rig->held) == 1);
    nghttp2_submit_rst_stream(peer->session, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
    peer_flush(peer);
    RIG_WAIT(atomic_load(&rig->gones) == 1);
    cr_assert_gt(unfinished, id);
    expect_ok(peer, submit(peer, "/sink", ""));
    peer_free(peer);
    RIG_WAIT(atomic_load(&rig->gones) == 2);
    rig_free(rig);
}

// E23.
Test(server_grpc, slow_bodies_are_reset_and_the_connection_stays)
{
    struct server_limits limits = {.receive_timeout_ms = 60};
    struct rig *rig = rig_new(1, &limits);
    struct peer *peer = peer_new(rig);
    struct weir_slice some = {(const uint8_t *)"abc", 3};
    struct call *call = finish(peer, submit_with(peer, "/sink", some, true, NULL));
    cr_assert(call->reset);
    cr_assert_eq(call->reset_code, NGHTTP2_CANCEL);
    cr_assert_eq(call->status, 0, "no answer");
    cr_assert_eq(atomic_load(&rig->gones), 1);
    expect_ok(peer, submit(peer, "/sink", ""));
    peer_free(peer);
    rig_free(rig);
}

Test(server_grpc, a_header_block_that_does_not_end_closes_the_connection)
{
    static const uint8_t headers[10] = {0, 0, 1, NGHTTP2_HEADERS, 0, 0, 0, 0, 1, 0x83};
    struct server_limits limits = {.receive_timeout_ms = 60};
    struct rig *rig = rig_new(1, &limits);
    struct peer *peer = peer_new(rig);
    rig_send(peer->fd, headers, sizeof(headers));
    read_to_end(peer);
    cr_assert_eq(atomic_load(&rig->begins), 0);
    peer_free(peer);
    rig_free(rig);
}

Test(server_grpc, idle_connections_get_goaway_and_waiting_ones_do_not)
{
    struct server_limits limits = {.idle_timeout_ms = 60};
    struct rig *rig = rig_new(1, &limits);
    struct peer *waiting = peer_new(rig), *idle = peer_new(rig);
    int32_t id = submit(waiting, "/hold", "");
    peer_flush(waiting);
    expect_ok(idle, submit(idle, "/sink", ""));
    read_to_end(idle);
    cr_assert_eq(idle->goaways, 1);
    cr_assert_eq(idle->goaway_code, NGHTTP2_NO_ERROR);
    RIG_WAIT(atomic_load(&rig->held) == 1);
    rig_release(rig);
    expect_ok(waiting, id);
    peer_free(idle);
    peer_free(waiting);
    rig_free(rig);
}

Test(server_grpc, a_shut_window_does_not_hold_an_answer_for_ever)
{
    struct server_limits limits = {.write_stall_ms = 60};
    struct rig *rig = rig_new(1, &limits);
    nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0}};
    struct peer *peer = peer_new_with(rig, settings, 1);
    struct call *call = finish(peer, submit(peer, "/sink", "abc"));
    cr_assert_eq(call->status, 200);
    cr_assert(call->reset);
    cr_assert_eq(call->reset_code, NGHTTP2_CANCEL);
    peer_free(peer);
    rig_free(rig);
}

Test(server_grpc, a_peer_that_does_not_read_is_cut)
{
    struct server_limits limits = {.write_stall_ms = 60};
    struct rig *rig = rig_new(1, &limits);
    nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1u << 30}};
    struct peer *peer = peer_new_with(rig, settings, 1);
    nghttp2_submit_window_update(peer->session, NGHTTP2_FLAG_NONE, 0, 1 << 30);
    int on = 1;
    setsockopt(peer->fd, SOL_SOCKET, SO_RCVBUF, &on, sizeof(on));
    submit(peer, "/big", "");
    peer_flush(peer);
    RIG_WAIT(atomic_load(&rig->answers) == 1);
    RIG_WAIT(server_connections(rig->server) == 0);
    peer_free(peer);
    rig_free(rig);
}

// --- the server -----------------------------------------------------------------------------------------------------

Test(server_grpc, pause_stops_reading_and_answers_still_go_out)
{
    struct rig *rig = rig_new(2, NULL);
    struct peer *peer = peer_new(rig);
    int32_t held = submit(peer, "/hold", "");
    peer_flush(peer);
    RIG_WAIT(atomic_load(&rig->held) == 1);
    rig_pause(rig);
    int32_t late = submit(peer, "/sink", "late");
    peer_flush(peer);
    rig_release(rig);
    expect_ok(peer, held);
    rig_pause(rig);
    cr_assert_eq(atomic_load(&rig->begins), 1);
    rig_resume(rig);
    expect_ok(peer, late);
    peer_free(peer);
    rig_free(rig);
}

// G41.
Test(server_grpc, shutdown_says_goaway_twice_and_answers_all)
{
    enum { PEERS = 6, EACH = 20 };
    struct rig *rig = rig_new(2, NULL);
    struct peer *peers[PEERS];
    int32_t ids[PEERS][EACH];
    for (int p = 0; p < PEERS; p++) {
        peers[p] = peer_new(rig);
        for (int i = 0; i < EACH; i++)
            ids[p][i] = submit(peers[p], "/hold", "abc");
        peer_flush(peers[p]);
    }
    RIG_WAIT(atomic_load(&rig->held) == PEERS * EACH);
    server_shutdown(rig->server, rig_on_done, rig);
    for (int p = 0; p < PEERS; p++) {
        PEER_UNTIL(peers[p], peers[p]->goaways == 2);
        cr_assert_eq(peers[p]->goaway_first, 0x7fffffff);
        cr_assert_eq(peers[p]->goaway_last, ids[p][EACH - 1]);
        cr_assert_eq(peers[p]->goaway_code, NGHTTP2_NO_ERROR);
    }
    cr_assert_eq(atomic_load(&rig->done), 0);
    rig_release(rig);
    for (int p = 0; p < PEERS; p++) {
        for (int i = 0; i < EACH; i++)
            expect_ok(peers[p], ids[p][i]);
        read_to_end(peers[p]);
        peer_free(peers[p]);
    }
    rig_free(rig);
}

Test(server_grpc, shutdown_turns_hard)
{
    struct server_limits limits = {.shutdown_ms = 50};
    struct rig *rig = rig_new(2, &limits);
    struct peer *peer = peer_new(rig);
    submit(peer, "/hold", "");
    peer_flush(peer);
    RIG_WAIT(atomic_load(&rig->held) == 1);
    server_shutdown(rig->server, rig_on_done, rig);
    read_to_end(peer);
    RIG_WAIT(atomic_load(&rig->gones) == 1);
    peer_free(peer);
    rig_free(rig);
}

struct worker {
    const struct rig *rig;
    int answered;
};
static void *work(void *arg)
{
    struct worker *worker = arg;
    for (int round = 0; round < 10; round++) {
        struct peer *peer = peer_new(worker->rig);
        int32_t ids[20];
        for (int i = 0; i < 20; i++)
            ids[i] = submit(peer, i % 5 == 4 ? "/early" : "/sink", "abcdef");
        for (int i = 0; i < 20; i++)
            worker->answered += finish(peer, ids[i])->status == 200;
        peer_free(peer);
    }
    return NULL;
}

Test(server_grpc, many_connections_on_two_loops)
{
    struct rig *rig = rig_new(2, NULL);
    struct worker workers[4];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        workers[i] = (struct worker){.rig = rig};
        cr_assert_eq(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        cr_assert_eq(workers[i].answered, 200);
    }
    rig_free(rig);
}
