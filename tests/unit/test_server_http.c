// SPDX-License-Identifier: Apache-2.0
// The HTTP/1.1 codec over real sockets.
#include "server_rig.h"

#include <strings.h>

struct reply {
    int status;
    char head[4096];
    size_t body_len;
    char body[512]; // its beginning
};

static int http_connect(const struct rig *rig)
{
    return rig_connect(server_http_address(rig->server));
}

static void say(int fd, const char *text)
{
    rig_send(fd, text, strlen(text));
}

// Reads one answer to its last byte and no further.
static struct reply reply_read(int fd)
{
    struct reply reply = {0};
    size_t len = 0;
    while (strstr(reply.head, "\r\n\r\n") == NULL) {
        cr_assert_lt(len, sizeof(reply.head) - 1);
        ssize_t n = recv(fd, reply.head + len, 1, 0);
        cr_assert_eq(n, 1, "no answer: %s after \"%s\"", n == 0 ? "closed" : strerror(errno), reply.head);
        len++;
    }
    cr_assert_eq(sscanf(reply.head, "HTTP/1.1 %d ", &reply.status), 1, "%s", reply.head);
    const char *length = strstr(reply.head, "content-length: ");
    size_t left = length != NULL ? strtoul(length + 16, NULL, 10) : 0;
    while (left > 0) {
        char buf[65536];
        ssize_t n = recv(fd, buf, left < sizeof(buf) ? left : sizeof(buf), 0);
        cr_assert_gt(n, 0, "body cut");
        for (ssize_t i = 0; i < n && reply.body_len + (size_t)i < sizeof(reply.body) - 1; i++)
            reply.body[reply.body_len + (size_t)i] = buf[i];
        reply.body_len += (size_t)n;
        left -= (size_t)n;
    }
    return reply;
}

static bool closed(int fd)
{
    char byte;
    return recv(fd, &byte, 1, 0) <= 0;
}

static void expect_status(int fd, int status)
{
    struct reply reply = reply_read(fd);
    cr_assert_eq(reply.status, status, "%s", reply.head);
}

// Sends and expects the refusal and the end of the connection.
static void expect_refusal(struct rig *rig, const char *request, int status)
{
    int fd = http_connect(rig);
    say(fd, request);
    struct reply reply = reply_read(fd);
    cr_assert_eq(reply.status, status, "for \"%s\": %s", request, reply.head);
    cr_assert_not_null(strstr(reply.head, "connection: close\r\n"));
    cr_assert_gt(reply.body_len, 0, "bad_request gives a body");
    cr_assert(closed(fd));
    close(fd);
}

#define CHUNKS     POST("/sink") "Transfer-Encoding: chunked\r\n\r\n"
#define POST(path) "POST " path " HTTP/1.1\r\nHost: x\r\n"

// P12.
Test(server_http, content_length_and_keep_alive)
{
    struct rig *rig = rig_new(1, NULL);
    int fd = http_connect(rig);
    for (int i = 0; i < 50; i++) {
        say(fd, POST("/sink?query=1") "Content-Length: 3\r\n\r\nabc");
        struct reply reply = reply_read(fd);
        cr_assert_eq(reply.status, 200);
        cr_assert_str_eq(reply.body, "3 294");
        cr_assert_null(strstr(reply.head, "connection:"));
        cr_assert_not_null(strstr(reply.head, "content-type: application/x-protobuf\r\n"));
    }
    say(fd, POST("/sink") "\r\n");
    struct reply empty = reply_read(fd);
    cr_assert_str_eq(empty.body, "0 0");
    cr_assert_eq(server_connections(rig->server), 1);
    close(fd);
    RIG_WAIT(server_connections(rig->server) == 0);
    rig_free(rig);
}

Test(server_http, every_byte_alone)
{
    static const char request[] = "POST /sink HTTP/1.1\r\nhOsT: x\r\nTransfer-Encoding: Chunked\r\n\r\n"
                                  "3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: t\r\n\r\n"
                                  "POST /sink HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nzz";
    struct rig *rig = rig_new(1, NULL);
    int fd = http_connect(rig);
    for (size_t i = 0; i < sizeof(request) - 1; i++)
        rig_send(fd, request + i, 1);
    struct reply reply = reply_read(fd);
    cr_assert_str_eq(reply.body, "5 495");
    reply = reply_read(fd);
    cr_assert_str_eq(reply.body, "2 244");
    close(fd);
    rig_free(rig);
}

Test(server_http, pipelined_requests_are_answered_in_order)
{
    struct rig *rig = rig_new(1, NULL);
    int fd = http_connect(rig);
    static char out[300 * 128];
    size_t len = 0;
    for (int i = 0; i < 300; i++)
        len += (size_t)snprintf(out + len, sizeof(out) - len,
                                i % 2 ? POST("/sink") "Content-Length: 1\r\n\r\n%c"
                                      : POST("/sink") "Transfer-Encoding: chunked\r\n\r\n1\r\n%c\r\n0\r\n\r\n",
                                33 + i % 90);
    rig_send(fd, out, len);
    for (int i = 0; i < 300; i++) {
        char want[32];
        snprintf(want, sizeof(want), "1 %d", 33 + i % 90);
        struct reply reply = reply_read(fd);
        cr_assert_str_eq(reply.body, want);
    }
    close(fd);
    rig_free(rig);
}

Test(server_http, pipelined_requests_wait_for_the_one_before)
{
    struct rig *rig = rig_new(1, NULL);
    int fd = http_connect(rig);
    say(fd, POST("/hold") "\r\n" POST("/sink") "\r\n");
    RIG_WAIT(atomic_load(&rig->held) == 1);
    say(fd, POST("/early") "\r\n");
    cr_assert_eq(atomic_load(&rig->begins), 1);
    rig_release(rig);
    expect_status(fd, 200);
    expect_status(fd, 200);
    expect_status(fd, 503);
    close(fd);
    rig_free(rig);
}

Test(server_http, large_bodies_stream)
{
    enum { LEN = 3 << 20 };
    struct rig *rig = rig_new(1, NULL);
    uint8_t *body = malloc(LEN);
    uint64_t sum = 0;
    for (size_t i = 0; i < LEN; i++) {
        body[i] = (uint8_t)(i * 31 >> 3);
        sum += body[i];
    }
    char want[64], head[64];
    snprintf(want, sizeof(want), "%d %llu", LEN, (unsigned long long)sum);
    int fd = http_connect(rig);
    say(fd, POST("/sink") "Content-Length: 3145728\r\n\r\n");
    rig_send(fd, body, LEN);
    struct reply reply = reply_read(fd);
    cr_assert_str_eq(reply.body, want);
    say(fd, POST("/sink") "Transfer-Encoding: chunked\r\n\r\n");
    for (size_t at = 0, n; at < LEN; at += n) {
        n = LEN - at < 70001 ? LEN - at : 70001;
        snprintf(head, sizeof(head), "%zx\r\n", n);
        say(fd, head);
        rig_send(fd, body + at, n);
        say(fd, "\r\n");
    }
    say(fd, "0\r\n\r\n");
    reply = reply_read(fd);
    cr_assert_str_eq(reply.body, want);
    free(body);
    close(fd);
    rig_free(rig);
}

Test(server_http, old_version_closes_unless_asked_to_stay)
{
    struct rig *rig = rig_new(1, NULL);
    int fd = http_connect(rig);
    say(fd, "POST /sink HTTP/1.0\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\na");
    struct reply reply = reply_read(fd);
    cr_assert_not_null(strstr(reply.head, "connection: keep-alive\r\n"));
    say(fd, "POST /sink HTTP/1.0\r\nContent-Length: 1\r\n\r\na");
    reply = reply_read(fd);
    cr_assert_eq(reply.status, 200);
    cr_assert_not_null(strstr(reply.head, "connection: close\r\n"));
    cr_assert(closed(fd));
    close(fd);
    rig_free(rig);
}

Test(server_http, connection_close_of_either_side)
{
    struct rig *rig = rig_new(1, NULL);
    int fd = http_connect(rig);
    say(fd, POST("/sink") "Connection: foo, close\r\n\r\n");
    expect_status(fd, 200);
    cr_assert(closed(fd));
    close(fd);
    fd = http_connect(rig);
    say(fd, POST("/close") "\r\n");
    expect_status(fd, 200);
    cr_assert(closed(fd));
    close(fd);
    rig_free(rig);
}

Test(server_http, half_closed_client_still_gets_its_answers)
{
    struct rig *rig = rig_new(1, NULL);
    int fd = http_connect(rig);
    say(fd, POST("/hold") "\r\n" POST("/sink") "Content-Length: 1\r\n\r\nx");
    shutdown(fd, SHUT_WR);
    RIG_WAIT(atomic_load(&rig->held) == 1);
    rig_release(rig);
    expect_status(fd, 200);
    expect_status(fd, 200);
    cr_assert(closed(fd));
    close(fd);
    rig_free(rig);
}

Test(server_http, head_has_no_body)
{
    struct rig *rig = rig_new(1, NULL);
    int fd = http_connect(rig);
    say(fd, "HEAD /sink HTTP/1.1\r\nHost: x\r\n\r\n" POST("/sink") "\r\n");
    char head[512] = {0};
    size_t len = 0;
    while (strstr(head, "\r\n\r\n") == NULL)
        len += (size_t)recv(fd, head + len, 1, 0);
    cr_assert_not_null(strstr(head, "content-length: 3\r\n"));
    expect_status(fd, 200); // the next answer follows at once
    close(fd);
    rig_free(rig);
}

// --- expectations ---------------------------------------------------------------------------------------------------

// P10.
Test(server_http, expect_100_continue)
{
    struct rig *rig = rig_new(1, NULL);
    int fd = http_connect(rig);
    for (int i = 0; i < 2; i++) {
        say(fd, POST("/sink") "Expect: 100-Continue\r\nContent-Length: 2\r\n\r\n");
        expect_status(fd, 100);
        say(fd, "ab");
        expect_status(fd, 200);
    }
    say(fd, POST("/sink") "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nab"); // did not wait
    expect_status(fd, 200);
    say(fd, POST("/early") "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    struct reply reply = reply_read(fd);
    cr_assert_eq(reply.status, 503);
    cr_assert_not_null(strstr(reply.head, "connection: close\r\n"), "the body may come or not");
    cr_assert(closed(fd));
    close(fd);
    rig_free(rig);
}

// --- refusals by the codec ------------------------------------------------------------------------------------------

// E24, E25.
Test(server_http, bad_requests)
{
    static const struct {
        const char *request;
        int status;
    } rows[] = {
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400},
        {"\x16\x03\x01\x02\x01\x01\x01\xfc\x03\x03", 400},
        {"nonsense\r\n\r\n", 400},
        {"POST /sink HTTP/1.1\r\n\r\n", 400},
        {"POST /sink HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
        {POST("/sink") "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {POST("/sink") "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400},
        {POST("/sink") "Content-Length: 3, 3\r\n\r\nabc", 400},
        {POST("/sink") "Content-Length: -1\r\n\r\n", 400},
        {POST("/sink") "Content-Length:\r\n\r\n", 400},
        {POST("/sink") "Content-Length: 99999999999999999999999\r\n\r\n", 400},
        {POST("/sink") "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
        {POST("/sink") "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", 501},
        {POST("/sink") "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {"POST /sink HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {POST("/sink") "Expect: miracles\r\nContent-Length: 1\r\n\r\na", 417},
        {POST("/sink") "Bad Name: 1\r\n\r\n", 400},
        {POST("/sink") "Good: 1\r\n folded\r\n\r\n", 400},
        {CHUNKS "zz\r\n", 400},
        {CHUNKS "\r\n", 400},
        {CHUNKS " 5\r\nhello\r\n0\r\n\r\n", 400},
        {CHUNKS "0x5\r\n\r\n", 400},
        {CHUNKS "5zz\r\nhello\r\n0\r\n\r\n", 400},
        {CHUNKS "5 zz\r\nhello\r\n0\r\n\r\n", 400},
        {CHUNKS "5\nhello\r\n0\r\n\r\n", 400},
        {CHUNKS "5\r\r\nhello\r\n0\r\n\r\n", 400},
        {CHUNKS "5;a\nhello\r\n0\r\n\r\n", 400},
        {CHUNKS "5;a\rb\r\nhello\r\n0\r\n\r\n", 400},
        {CHUNKS "5\r\nhello\n0\r\n\r\n", 400},
        {CHUNKS "5\r\nhello\r0\r\n\r\n", 400},
        {CHUNKS "5\r\nhelloX\r\n0\r\n\r\n", 400},
        {CHUNKS "0\r\n\n", 400},
        {CHUNKS "0\r\nA: b\n\r\n", 400},
        {CHUNKS "00000000000000005\r\nhello\r\n0\r\n\r\n", 400},
    };
    struct rig *rig = rig_new(1, NULL);
    for (size_t i = 0; i < WEIR_COUNT(rows); i++)
        expect_refusal(rig, rows[i].request, rows[i].status);
    cr_assert_eq(atomic_load(&rig->ends), 0);
    rig_free(rig);
}

// P11.
Test(server_http, harmless_oddities_are_taken)
{
    static const char *const rows[] = {
        POST("/sink") "Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
        POST("/sink") "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
        "POST http://x/sink?a=b HTTP/1.1\r\nHost: x\r\n\r\n",
        "\r\n" POST("/sink") "\r\n",
        CHUNKS "5  \r\nhello\r\n000\r\n\r\n",
        CHUNKS "0000000000000005 ;a=\"b;\"\r\nhello\r\nA\r\n0123456789\r\n0;z\r\nA: b\r\nC: d\r\n\r\n",
    };
    struct rig *rig = rig_new(1, NULL);
    int fd = http_connect(rig);
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        say(fd, rows[i]);
        expect_status(fd, 200);
    }
    close(fd);
    rig_free(rig);
}

Test(server_http, header_limits)
{
    struct server_limits limits = {.header_list_bytes = 4096};
    struct rig *rig = rig_new(1, &limits);
    struct weir_buf many = {0};
    cr_assert(weir_buf_append(&many, POST("/sink"), strlen(POST("/sink"))));
    for (int i = 0; i < 99; i++)
        cr_assert(weir_buf_append(&many, "a: b\r\n", 6));
    struct weir_buf fits = {0};
    cr_assert(weir_buf_append(&fits, many.data, many.len) && weir_buf_append(&fits, "\r\n", 3));
    int fd = http_connect(rig);
    say(fd, (const char *)fits.data);
    expect_status(fd, 200);
    close(fd);
    cr_assert(weir_buf_append(&many, "a: b\r\n\r\n", 9));
    expect_refusal(rig, (const char *)many.data, 431);
    char large[6000];
    int n = snprintf(large, sizeof(large), POST("/sink") "x: ");
    memset(large + n, 'y', sizeof(large) - (size_t)n - 1);
    large[sizeof(large) - 1] = '\0';
    expect_refusal(rig, large, 431);
    weir_buf_free(&many);
    weir_buf_free(&fits);
    rig_free(rig);
}

Test(server_http, body_limit)
{
    struct server_limits limits = {.body_bytes = 100000};
    struct rig *rig = rig_new(1, &limits);
    int fd = http_connect(rig);
    say(fd, POST("/sink") "Content-Length: 100001\r\n\r\n");
    expect_status(fd, 413);
    cr_assert(closed(fd));
    close(fd);
    cr_assert_eq(atomic_load(&rig->begins), 0);
    fd = http_connect(rig);
    say(fd, POST("/sink") "Transfer-Encoding: chunked\r\n\r\n186a1\r\n");
    char body[100001];
    memset(body, 'x', sizeof(body));
    rig_send(fd, body, sizeof(body));
    expect_status(fd, 413);
    cr_assert(closed(fd));
    close(fd);
    cr_assert_eq(atomic_load(&rig->gones), 1);
    fd = http_connect(rig);
    say(fd, POST("/sink") "Content-Length: 100000\r\n\r\n");
    rig_send(fd, body, 100000);
    expect_status(fd, 200);
    close(fd);
    rig_free(rig);
}

Test(server_http, chunk_overhead_is_bounded)
{
    struct rig *rig = rig_new(1, NULL);
    int fd = http_connect(rig);
    say(fd, POST("/sink") "Transfer-Encoding: chunked\r\n\r\n1;");
    char extension[40000];
    memset(extension, 'x', sizeof(extension));
    rig_send(fd, extension, sizeof(extension));
    expect_status(fd, 400);
    cr_assert(closed(fd));
    close(fd);
    rig_free(rig);
}

// --- early answers --------------------------------------------------------------------------------------------------

Test(server_http, early_answer_keeps_the_connection_when_the_rest_is_small)
{
    struct rig *rig = rig_new(1, NULL);
    int fd = http_connect(rig);
    char body[60000];
    memset(body, 'x', sizeof(body));
    for (int i = 0; i < 4; i++) {
        say(fd, i % 2 ? POST("/early") "Content-Length: 60000\r\n\r\n" : POST("/mid") "Content-Length: 60000\r\n\r\n");
        rig_send(fd, body, sizeof(body));
        expect_status(fd, 503);
    }
    say(fd, POST("/early") "Transfer-Encoding: chunked\r\n\r\n");
    expect_status(fd, 503); // before a byte of it was sent
    say(fd, "3\r\nabc\r\n0\r\n\r\n" POST("/sink") "\r\n");
    expect_status(fd, 200);
    close(fd);
    rig_free(rig);
}

Test(server_http, early_answer_can_be_read_though_the_body_goes_on)
{
    struct rig *rig = rig_new(1, NULL);
    static char body[700000];
    memset(body, 'x', sizeof(body));
    int fd = http_connect(rig);
    say(fd, POST("/early") "Content-Length: 700000\r\n\r\n");
    rig_send(fd, body, sizeof(body));
    struct reply reply = reply_read(fd);
    cr_assert_eq(reply.status, 503);
    cr_assert_not_null(strstr(reply.head, "connection: close\r\n"));
    cr_assert(closed(fd));
    close(fd);
    fd = http_connect(rig);
    say(fd, POST("/early") "Transfer-Encoding: chunked\r\n\r\nAAE60\r\n");
    rig_send(fd, body, sizeof(body));
    expect_status(fd, 503);
    cr_assert(closed(fd));
    close(fd);
    rig_free(rig);
}

// --- clients that leave or dawdle -----------------------------------------------------------------------------------

// P23.
Test(server_http, incomplete_body_is_gone_and_unanswered)
{
    struct rig *rig = rig_new(1, NULL);
    static const char *const rows[] = {
        POST("/sink") "Content-Length: 5\r\n\r\nabc",
        POST("/sink") "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        int fd = http_connect(rig);
        say(fd, rows[i]);
        shutdown(fd, SHUT_WR);
        cr_assert(closed(fd));
        close(fd);
        cr_assert_eq(atomic_load(&rig->gones), i + 1);
    }
    cr_assert_eq(atomic_load(&rig->ends), 0);
    rig_free(rig);
}

Test(server_http, a_client_that_leaves_while_its_request_waits_is_gone)
{
    struct server_limits limits = {.shutdown_ms = 100};
    struct rig *rig = rig_new(1, &limits);
    int fd = http_connect(rig);
    say(fd, POST("/hold") "\r\n");
    RIG_WAIT(atomic_load(&rig->held) == 1);
    struct linger reset = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    close(fd);
    RIG_WAIT(atomic_load(&rig->gones) == 1);
    rig_free(rig);
}

Test(server_http, slow_requests_are_closed_without_an_answer)
{
    struct server_limits limits = {.receive_timeout_ms = 60};
    struct rig *rig = rig_new(1, &limits);
    static const char *const rows[] = {"P", POST("/sink"), POST("/sink") "Content-Length: 5\r\n\r\nab",
                                       POST("/sink") "Transfer-Encoding: chunked\r\n\r\n5\r\nab"};
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        int fd = http_connect(rig);
        say(fd, POST("/sink") "\r\n");
        expect_status(fd, 200);
        say(fd, rows[i]);
        cr_assert(closed(fd));
        close(fd);
    }
    cr_assert_eq(atomic_load(&rig->gones), 2);
    rig_free(rig);
}

Test(server_http, idle_connections_are_closed_and_waiting_ones_are_not)
{
    struct server_limits limits = {.idle_timeout_ms = 60, .receive_timeout_ms = 60};
    struct rig *rig = rig_new(1, &limits);
    int silent = http_connect(rig), kept = http_connect(rig), waiting = http_connect(rig);
    say(waiting, POST("/hold") "\r\n");
    say(kept, POST("/sink") "\r\n");
    expect_status(kept, 200);
    RIG_WAIT(atomic_load(&rig->held) == 1);
    cr_assert(closed(silent));
    cr_assert(closed(kept));
    rig_release(rig);
    expect_status(waiting, 200);
    close(silent);
    close(kept);
    close(waiting);
    rig_free(rig);
}

Test(server_http, a_peer_that_does_not_read_is_cut)
{
    struct server_limits limits = {.write_stall_ms = 60};
    struct rig *rig = rig_new(1, &limits);
    int fd = http_connect(rig);
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &on, sizeof(on));
    say(fd, POST("/big") "\r\n");
    RIG_WAIT(atomic_load(&rig->answers) == 1);
    RIG_WAIT(server_connections(rig->server) == 0);
    close(fd);
    rig_free(rig);
}

Test(server_http, large_answers_arrive_whole)
{
    struct rig *rig = rig_new(1, NULL);
    int fd = http_connect(rig);
    say(fd, POST("/big") "\r\n" POST("/sink") "\r\n");
    struct reply reply = reply_read(fd);
    cr_assert_eq(reply.body_len, RIG_BIG_BYTES);
    expect_status(fd, 200);
    close(fd);
    rig_free(rig);
}

// --- the server -----------------------------------------------------------------------------------------------------

Test(server_http, connection_limit_makes_the_next_wait)
{
    struct server_limits limits = {.connections = 2};
    struct rig *rig = rig_new(2, &limits);
    for (int round = 0; round < 20; round++) {
        int a = http_connect(rig), b = http_connect(rig);
        RIG_WAIT(server_connections(rig->server) == 2);
        int c = http_connect(rig);
        say(c, POST("/sink") "\r\n");
        say(a, POST("/sink") "\r\n");
        expect_status(a, 200);
        char byte;
        cr_assert_eq(recv(c, &byte, 1, MSG_DONTWAIT), -1);
        close(a);
        expect_status(c, 200);
        close(b);
        close(c);
        RIG_WAIT(server_connections(rig->server) == 0);
    }
    rig_free(rig);
}

// Connections that say nothing must not keep others out; those that wait for our answer are never let go.
Test(server_http, in_a_crowd_the_silent_make_room)
{
    struct server_limits limits = {.connections = 6};
    struct rig *rig = rig_new(2, &limits);
    int waiting = http_connect(rig), proven = http_connect(rig), silent[4];
    say(waiting, POST("/hold") "\r\n");
    RIG_WAIT(atomic_load(&rig->held) == 1);
    say(proven, POST("/sink") "\r\n");
    expect_status(proven, 200);
    for (size_t i = 0; i < WEIR_COUNT(silent); i++)
        silent[i] = http_connect(rig);
    say(silent[0], "POST /sink HTTP/1.1\r\nHos"); // not worth more than silence
    RIG_WAIT(server_connections(rig->server) == 6);
    int newcomer = http_connect(rig);
    say(newcomer, POST("/sink") "\r\n");
    expect_status(newcomer, 200);
    for (size_t i = 0; i < WEIR_COUNT(silent); i++) {
        cr_expect(closed(silent[i]), "silent connection %zu", i);
        close(silent[i]);
    }
    say(proven, POST("/sink") "\r\n");
    expect_status(proven, 200);
    rig_release(rig);
    expect_status(waiting, 200);
    close(waiting);
    close(proven);
    close(newcomer);
    rig_free(rig);
}

Test(server_http, pause_stops_reading_and_resume_goes_on)
{
    struct rig *rig = rig_new(1, NULL);
    int fd = http_connect(rig);
    say(fd, POST("/sink") "Content-Length: 4\r\n\r\nab");
    RIG_WAIT(atomic_load(&rig->bytes) == 2);
    rig_pause(rig);
    say(fd, "cd");
    int other = http_connect(rig);
    say(other, POST("/sink") "\r\n");
    RIG_WAIT(server_connections(rig->server) == 2);
    rig_pause(rig); // a turn of the loop has passed with both readable
    cr_assert_eq(atomic_load(&rig->bytes), 2);
    cr_assert_eq(atomic_load(&rig->begins), 1);
    rig_resume(rig);
    expect_status(fd, 200);
    expect_status(other, 200);
    close(fd);
    close(other);
    rig_free(rig);
}

Test(server_http, shutdown_answers_what_is_under_way_and_closes_the_idle)
{
    enum { N = 40 };
    struct rig *rig = rig_new(2, NULL);
    int fds[N], idle[N];
    for (int i = 0; i < N; i++) {
        fds[i] = http_connect(rig);
        say(fds[i], POST("/hold") "\r\n");
        idle[i] = http_connect(rig);
    }
    RIG_WAIT(atomic_load(&rig->held) == N && server_connections(rig->server) == 2 * N);
    server_shutdown(rig->server, rig_on_done, rig);
    for (int i = 0; i < N; i++)
        cr_assert(closed(idle[i]));
    cr_assert_eq(atomic_load(&rig->done), 0);
    rig_release(rig);
    for (int i = 0; i < N; i++) {
        struct reply reply = reply_read(fds[i]);
        cr_assert_eq(reply.status, 200);
        cr_assert_not_null(strstr(reply.head, "connection: close\r\n"));
        cr_assert(closed(fds[i]));
        close(fds[i]);
        close(idle[i]);
    }
    rig_free(rig); // waits for done
}

// A request that crosses the beginning of the end is answered; who sends none sees a clean end of the stream, soon.
Test(server_http, shutdown_answers_a_last_request_on_idle_connections)
{
    enum { N = 20 };
    struct rig *rig = rig_new(2, NULL);
    int fds[N], silent = http_connect(rig);
    for (int i = 0; i < N; i++) {
        fds[i] = http_connect(rig);
        if (i % 2 == 0)
            continue; // fresh ones, too
        say(fds[i], POST("/sink") "\r\n");
        expect_status(fds[i], 200);
    }
    RIG_WAIT(server_connections(rig->server) == N + 1);
    rig_pause(rig); // so that they all send in time, however slow the machine is
    server_shutdown(rig->server, rig_on_done, rig);
    rig_turn(rig); // all loops have heard of it
    for (int i = 0; i < N; i++)
        say(fds[i], POST("/sink") "Content-Length: 1\r\n\r\na");
    rig_resume(rig);
    for (int i = 0; i < N; i++) {
        struct reply reply = reply_read(fds[i]);
        cr_assert_eq(reply.status, 200, "%s", reply.head);
        cr_assert_not_null(strstr(reply.head, "connection: close\r\n"));
        close(fds[i]);
    }
    char byte;
    cr_assert_eq(recv(silent, &byte, 1, 0), 0, "%s", strerror(errno));
    say(silent, POST("/sink") "\r\n"); // too late: thrown away, and no reset as long as the connection lingers
    RIG_WAIT(atomic_load(&rig->done) == 1);
    close(silent);
    rig_free(rig);
}

struct blocker {
    struct loop_message message;
    atomic_int state; // 1 runs, 2 may end
};
static void on_blocked(struct loop_message *message)
{
    struct blocker *blocker = WEIR_CONTAINER_OF(message, struct blocker, message);
    atomic_store(&blocker->state, 1);
    RIG_WAIT(atomic_load(&blocker->state) == 2);
}

// The kernel completes connections before we accept them: closing the listener would reset those, and their requests with them.
// E28.
Test(server_http, shutdown_takes_what_has_connected_already)
{
    struct rig *rig = rig_new(1, NULL);
    struct blocker first = {.message.run = on_blocked}, second = {.message.run = on_blocked};
    loop_send(rig->loops[0].loop, &first.message);
    RIG_WAIT(atomic_load(&first.state) == 1);
    // One turn takes both: between them nothing is accepted.
    loop_send(rig->loops[0].loop, &second.message);
    server_shutdown(rig->server, rig_on_done, rig);
    atomic_store(&first.state, 2);
    RIG_WAIT(atomic_load(&second.state) == 1);
    int fd = http_connect(rig);
    say(fd, POST("/sink") "\r\n");
    atomic_store(&second.state, 2);
    expect_status(fd, 200);
    close(fd);
    rig_free(rig);
}

Test(server_http, shutdown_turns_hard)
{
    struct server_limits limits = {.shutdown_ms = 50};
    struct rig *rig = rig_new(2, &limits);
    int a = http_connect(rig), b = http_connect(rig);
    say(a, POST("/hold") "\r\n");
    say(b, POST("/hold") "\r\n");
    RIG_WAIT(atomic_load(&rig->held) == 2);
    server_shutdown(rig->server, rig_on_done, rig);
    cr_assert(closed(a));
    cr_assert(closed(b));
    RIG_WAIT(atomic_load(&rig->done) == 1);
    cr_assert_eq(atomic_load(&rig->gones), 2);
    close(a);
    close(b);
    rig_free(rig);
}

Test(server_http, endpoints)
{
    static const struct {
        const char *endpoint;
        int code;
        const char *text; // of the address, or of the error
    } rows[] = {
        {"127.0.0.1:0", WEIR_OK, "127.0.0.1:"},
        {"localhost:0", WEIR_OK, ":"},
        {":0", WEIR_OK, "["},
        {"off", WEIR_OK, NULL},
        {"127.0.0.1", WEIR_E_INVALID, "receiver.http.endpoint: listen on 127.0.0.1: not host:port"},
        {"127.0.0.1:x", WEIR_E_INVALID, "receiver.http.endpoint: listen on 127.0.0.1:x"},
        {"127.0.0.1:65536", WEIR_E_INVALID, "65536"},
        {"::1:80", WEIR_E_INVALID, "::1:80"},
        {"[]:80", WEIR_E_INVALID, "[]:80"},
        {"192.0.2.1:0", WEIR_E_IO, "receiver.http.endpoint: listen on 192.0.2.1:0: Cannot assign requested address"},
    };
    struct weir_err err;
    struct loop *loop;
    cr_assert_eq(loop_new(&loop, &err), WEIR_OK);
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        struct server_options options = {.loops = &loop,
                                         .loop_count = 1,
                                         .http_endpoint = rows[i].endpoint,
                                         .too_large = rig_too_large,
                                         .http_setting = "receiver.http.endpoint"};
        struct server *server = NULL;
        int code = server_new(&options, &server, &err);
        cr_assert_eq(code, rows[i].code, "%s: %d", rows[i].endpoint, code);
        const char *text = code == WEIR_OK ? server_http_address(server) : err.text;
        if (rows[i].text == NULL)
            cr_assert_null(text);
        else
            cr_assert_not_null(strstr(text, rows[i].text), "%s: %s", rows[i].endpoint, text);
        cr_assert(code != WEIR_OK || server_grpc_address(server) == NULL);
        if (code == WEIR_OK)
            server_free(server);
    }
    loop_free(loop);
}

Test(server_http, a_taken_port_is_named)
{
    struct rig *rig = rig_new(1, NULL);
    struct weir_err err = {0};
    struct server *server = NULL;
    struct server_options options = rig->options;
    struct loop *loop = rig->loops[0].loop;
    options.loops = &loop;
    options.grpc_endpoint = NULL;
    options.http_endpoint = server_http_address(rig->server);
    cr_assert_eq(server_new(&options, &server, &err), WEIR_E_IO);
    cr_assert_not_null(strstr(err.text, ": Address already in use"), "%s", err.text);
    cr_assert_not_null(strstr(err.text, options.http_endpoint));
    rig_free(rig);
}
