// SPDX-License-Identifier: Apache-2.0
// Kept headers on their way in: requests of different ones never share a block.
#include "relay/envelope.h"
#include "tests/unit/ingest_rig.h"

TestSuite(ingest_gather, .timeout = 60);

#define TENANTS 200 // more than may be gathered at once

static const char *const keep[] = {"x-a", "x-b"};

static struct rig *keeping_rig(void)
{
    rig_keep_headers = keep;
    rig_keep_header_count = WEIR_COUNT(keep);
    return rig_new(1 << 20, 64 << 20);
}

// A request of that tenant is as long as no other's.
static size_t length_of(unsigned tenant)
{
    return 100 + tenant;
}

struct tenant_request {
    struct grpc_request grpc;
    char value[16];
};

static void send_of(struct rig *rig, struct tenant_request *request, unsigned tenant, struct weir_buf body)
{
    snprintf(request->value, sizeof(request->value), "tenant-%u", tenant);
    grpc_prepare(&request->grpc, body, ENCODING_IDENTITY, NULL);
    request->grpc.headers[2] = (struct client_header){"x-a", request->value};
    request->grpc.headers[3] = (struct client_header){"x-secret", "is-not-kept"};
    request->grpc.test.call.header_count = 4;
    client_start(rig->client, &request->grpc.test.call);
}

// The tenant that the block's envelope names; all of its requests must be that tenant's.
static unsigned tenant_of(const struct block_view *view)
{
    struct envelope envelope;
    char value[16];
    unsigned tenant;
    cr_assert_eq(envelope_decode(view->envelope, &envelope, NULL), WEIR_OK);
    cr_assert_eq(envelope.count, 1);
    cr_assert(envelope.headers[0].name.len == 3 && memcmp(envelope.headers[0].name.data, "x-a", 3) == 0);
    snprintf(value, sizeof(value), "%.*s", (int)envelope.headers[0].value.len,
             (const char *)envelope.headers[0].value.data);
    cr_assert_eq(sscanf(value, "tenant-%u", &tenant), 1, "%s", value);
    struct block_entry entry;
    size_t cursor = 0;
    while (block_table_next(view, &cursor, &entry) == WEIR_OK)
        cr_assert_eq(entry.raw_bytes, length_of(tenant) + (envelope.alone ? 2 : 0), "another tenant's request");
    return tenant;
}

static bool next_block(struct spool_reader *reader, uint64_t *from, struct block_view *view)
{
    uint64_t skip_to;
    int rc = spool_reader_next(reader, WEIR_TRACES, *from, SPOOL_END, view, &skip_to, NULL);
    cr_assert(rc == WEIR_OK || rc == WEIR_E_AGAIN);
    *from = rc == WEIR_OK ? view->number + 1 : *from;
    return rc == WEIR_OK;
}

Test(ingest_gather, many_tenants_at_once_are_never_mixed)
{
    static struct tenant_request requests[2 * TENANTS + 1];
    static unsigned seen[TENANTS];
    rig_in_flight = 2 * TENANTS + 1;
    struct rig *rig = keeping_rig();
    size_t n = 0;
    pthread_mutex_lock(&rig->gate);
    send_of(rig, &requests[n++], 0, spans(length_of(0)));
    CLIENT_UNTIL(rig, items_stored(rig) == 1);
    uint64_t bytes = length_of(0);
    for (unsigned round = 0; round < 2; round++) { // the writer is held up: all of them wait
        for (unsigned tenant = 0; tenant < TENANTS; tenant++) {
            send_of(rig, &requests[n++], tenant, spans(length_of(tenant)));
            bytes += length_of(tenant);
            if (n % 50 == 0)
                CLIENT_UNTIL(rig, atomic_load(&rig->budget.unwritten) == bytes);
        }
    }
    CLIENT_UNTIL(rig, atomic_load(&rig->budget.unwritten) == bytes);
    pthread_mutex_unlock(&rig->gate);
    for (size_t i = 0; i < n; i++)
        cr_expect_str_eq(grpc_wait(rig, &requests[i].grpc), "0");
    struct spool_reader *reader = spool_reader_new(rig->spool);
    struct block_view view;
    for (uint64_t from = 0; next_block(reader, &from, &view);) {
        seen[tenant_of(&view)] += view.requests;
        block_view_release(&view);
    }
    spool_reader_free(reader);
    for (unsigned tenant = 0; tenant < TENANTS; tenant++)
        cr_expect_eq(seen[tenant], 2 + (tenant == 0), "tenant %u: %u requests", tenant, seen[tenant]);
    rig_free(rig);
}

Test(ingest_gather, those_of_one_tenant_share_a_block)
{
    static struct tenant_request requests[31];
    struct rig *rig = keeping_rig();
    pthread_mutex_lock(&rig->gate);
    send_of(rig, &requests[0], 0, spans(length_of(0)));
    CLIENT_UNTIL(rig, items_stored(rig) == 1);
    uint64_t bytes = length_of(0);
    for (unsigned i = 1; i < 31; i++) {
        send_of(rig, &requests[i], i % 3, spans(length_of(i % 3)));
        bytes += length_of(i % 3);
    }
    CLIENT_UNTIL(rig, atomic_load(&rig->budget.unwritten) == bytes);
    pthread_mutex_unlock(&rig->gate);
    for (unsigned i = 0; i < 31; i++)
        cr_expect_str_eq(grpc_wait(rig, &requests[i].grpc), "0");
    struct spool_reader *reader = spool_reader_new(rig->spool);
    struct block_view view;
    uint64_t from = 0;
    for (unsigned i = 0; i < 4; i++) { // the first one, then three in the order in which they came first
        cr_assert(next_block(reader, &from, &view));
        cr_expect_eq(tenant_of(&view), i % 4 == 0 ? 0 : i % 3);
        cr_expect_eq(view.requests, i == 0 ? 1 : 10);
        block_view_release(&view);
    }
    cr_expect(!next_block(reader, &from, &view));
    spool_reader_free(reader);
    rig_free(rig);
}

Test(ingest_gather, a_full_block_goes_at_once)
{
    static struct tenant_request requests[4];
    struct rig *rig = keeping_rig();
    static const size_t lengths[] = {600000, 600000, 100, 1 << 20};
    pthread_mutex_lock(&rig->gate);
    for (unsigned i = 0; i < 4; i++) {
        send_of(rig, &requests[i], 7, spans(lengths[i]));
        CLIENT_UNTIL(rig, atomic_load(&rig->budget.unwritten) >= (i == 0   ? 600000u
                                                                  : i == 1 ? 1200000u
                                                                  : i == 2 ? 1200100u
                                                                           : 2248676u));
    }
    pthread_mutex_unlock(&rig->gate);
    for (unsigned i = 0; i < 4; i++)
        cr_expect_str_eq(grpc_wait(rig, &requests[i].grpc), "0");
    struct spool_reader *reader = spool_reader_new(rig->spool);
    struct block_view view;
    static const uint64_t raw_bytes[] = {600000, 600100, 1 << 20};
    uint64_t from = 0;
    for (unsigned i = 0; i < 3; i++) {
        cr_assert(next_block(reader, &from, &view));
        cr_expect_eq(view.raw_bytes, raw_bytes[i]);
        struct weir_buf decoded = {0};
        cr_expect_eq(block_view_decode(&view, &decoded, NULL), WEIR_OK);
        weir_buf_free(&decoded);
        block_view_release(&view);
    }
    spool_reader_free(reader);
    rig_free(rig);
}

Test(ingest_gather, what_travels_alone_keeps_its_headers_and_its_place)
{
    static const uint8_t unknown_root_field[] = {0x7a, 0x00};
    static struct tenant_request requests[4];
    struct rig *rig = keeping_rig();
    pthread_mutex_lock(&rig->gate);
    uint64_t bytes = 0;
    for (unsigned i = 0; i < 4; i++) {
        struct weir_buf body = spans(length_of(5));
        if (i == 2)
            weir_buf_append(&body, unknown_root_field, sizeof(unknown_root_field));
        bytes += body.len;
        send_of(rig, &requests[i], 5, body);
        CLIENT_UNTIL(rig, atomic_load(&rig->budget.unwritten) == bytes);
    }
    pthread_mutex_unlock(&rig->gate);
    for (unsigned i = 0; i < 4; i++)
        cr_expect_str_eq(grpc_wait(rig, &requests[i].grpc), "0");
    struct spool_reader *reader = spool_reader_new(rig->spool);
    struct block_view view;
    uint64_t from = 0;
    for (unsigned i = 0; i < 4; i++) {
        cr_assert(next_block(reader, &from, &view));
        cr_expect_eq(tenant_of(&view), 5);
        cr_expect_eq(envelope_is_alone(view.envelope), i == 2);
        block_view_release(&view);
    }
    spool_reader_free(reader);
    rig_free(rig);
}

// Over HTTP/1.1: case of names, blanks around values, a header twice, one that is not listed, and none at all.
Test(ingest_gather, keeps_the_listed_headers_and_no_others)
{
    static const struct {
        const char *headers, *envelope;
    } cases[] = {
        {"", ""},
        {"x-other: secret\r\n", ""},
        {"X-B: 2\r\nX-Other: secret\r\nx-A: \t one two \r\n", "\x02\x03x-a\x07one two\x03x-b\x01"
                                                              "2"},
        {"x-a: 2\r\nx-b:\r\nx-a: 1\r\n", "\x02\x03x-a\x01"
                                         "2\x03x-a\x01"
                                         "1\x03x-b"},
    };
    struct rig *rig = keeping_rig();
    struct spool_reader *reader = spool_reader_new(rig->spool);
    uint64_t from = 0;
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        char head[2048];
        struct block_view view;
        cr_assert_eq(http_post(rig, cases[i].headers, spans(100), head), 200);
        cr_assert(next_block(reader, &from, &view));
        size_t len = strlen(cases[i].envelope) + (i == 3); // whose last byte is the length 0
        cr_assert_eq(view.envelope.len, len, "case %zu", i);
        cr_expect(len == 0 || memcmp(view.envelope.data, cases[i].envelope, len) == 0, "case %zu", i);
        block_view_release(&view);
    }
    spool_reader_free(reader);
    rig_free(rig);
}

Test(ingest_gather, refuses_headers_that_are_too_large_or_cannot_be_sent_on)
{
    static char large[ENVELOPE_BYTES_MAX];
    struct rig *rig = keeping_rig();
    char head[2048];
    memset(large, 'x', sizeof(large) - 1);
    struct grpc_request request;
    grpc_prepare(&request, spans(100), ENCODING_IDENTITY, NULL);
    request.headers[2] = (struct client_header){"x-a", large};
    request.test.call.header_count = 3;
    client_start(rig->client, &request.test.call);
    cr_expect_str_eq(grpc_wait(rig, &request), "8");
    cr_expect_eq(refused(rig, EXCHANGE_GRPC, REFUSAL_HEADERS), 1);
    char many[400] = "";
    for (unsigned i = 0; i <= ENVELOPE_HEADERS_MAX; i++)
        snprintf(many + i * 8, sizeof(many) - i * 8, "x-b: 1\r\n");
    cr_expect_eq(http_post(rig, many, spans(100), head), 431);
    cr_expect_eq(refused(rig, EXCHANGE_HTTP, REFUSAL_HEADERS), 1);
    cr_expect_eq(http_post(rig, "x-a: \xc3\xa4\r\n", spans(100), head), 400);
    cr_expect_eq(refused(rig, EXCHANGE_HTTP, REFUSAL_MALFORMED), 1);
    cr_expect_eq(http_post(rig, "x-other: \xc3\xa4\r\n", spans(100), head), 200);
    cr_expect_eq(items_stored(rig), 1);
    rig_free(rig);
}
