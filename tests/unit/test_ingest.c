// SPDX-License-Identifier: Apache-2.0
#include "proto/utf8.h"
#include "relay/envelope.h"
#include "tests/unit/ingest_rig.h"

TestSuite(ingest, .timeout = 60);

// --- the usual way --------------------------------------------------------------------------------------------------------

// P13.
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

// G30, P28, E22.
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

// E14.
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

// P17.
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

// G45.
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

// G37, E17.
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

// Each declares as much as is promised ahead at most and sends nothing: without a bound they would hold all there is.
Test(ingest, heads_alone_hold_half_of_the_room_at_most)
{
    struct rig *rig = rig_new(4 << 20, 4 << 20);
    int silent[8];
    struct weir_buf body = spans(1 << 20);
    char head[2048];
    for (size_t i = 0; i < WEIR_COUNT(silent); i++) {
        silent[i] = http_connect(rig);
        http_send(silent[i], "", 1 << 20, body.data, 1);
    }
    cr_expect_eq(http_post(rig, "", body, head), 200);
    cr_expect_leq(atomic_load(&rig->budget.ahead), 2 << 20);
    cr_expect_eq(refused(rig, EXCHANGE_HTTP, REFUSAL_BUSY), 0);
    for (size_t i = 0; i < WEIR_COUNT(silent); i++)
        close(silent[i]);
    KIT_UNTIL(atomic_load(&rig->budget.promised) == 0);
    cr_expect_eq(atomic_load(&rig->budget.ahead), 0);
    rig_free(rig);
}

Test(ingest, what_comes_slowly_makes_place_for_others)
{
    struct rig *rig = rig_new(1 << 20, 1 << 20);
    struct weir_buf body = spans(1000000);
    char head[2048];
    int slow = http_connect(rig);
    http_send(slow, "", body.len, body.data, 900000); // nearly all there is, and then no more
    KIT_UNTIL(atomic_load(&rig->budget.promised) >= 900000);
    cr_expect_eq(http_post(rig, "", spans(400000), head), 503, "it may yet be an honest one");
    KIT_UNTIL(http_post(rig, "", spans(400000), head) == 200);
    cr_expect_eq(http_answer(slow, head), 503);
    cr_expect(strstr(head, "retry-after: 1\r\n"));
    close(slow);
    KIT_UNTIL(atomic_load(&rig->budget.promised) == 0);
    cr_expect_eq(atomic_load(&rig->budget.ahead), 0);
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
