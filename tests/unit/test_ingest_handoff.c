// SPDX-License-Identifier: Apache-2.0
// Exports of another weir on their way in: stored once, answered as often as they come.
#include "relay/envelope.h"
#include "tests/unit/ingest_rig.h"

TestSuite(ingest_handoff, .timeout = 60);

#define BATCH "weir-batch: 0f8fad5b-d9cb-469f-a165-70867728950e/traces/17-41\r\n"

static int post(struct rig *rig, const char *handoff, char head[2048])
{
    char headers[512];
    snprintf(headers, sizeof(headers), "%sweir-handoff: %s\r\n", BATCH, handoff);
    return http_post(rig, headers, spans(100), head);
}

Test(ingest_handoff, http_says_what_is_there)
{
    struct rig *rig = rig_new(1 << 20, 1 << 30);
    char head[2048];
    cr_expect_eq(post(rig, "8f14e45fceea167a/10/42/9", head), 200);
    cr_expect_null(strstr(head, "weir-repeat"));
    cr_expect_eq(items_stored(rig), 1);
    cr_expect_eq(post(rig, "8f14e45fceea167a/10/42/9", head), 200);
    cr_expect_not_null(strstr(head, "weir-repeat: all"), "%s", head);
    cr_expect_eq(items_stored(rig), 1);
    cr_expect_eq(post(rig, "8f14e45fceea167a/20.3/20.4/9", head), 200);
    cr_expect_eq(items_stored(rig), 1);
    cr_expect_eq(post(rig, "8f14e45fceea167a/10/50/9", head), 413);
    cr_expect_not_null(strstr(head, "weir-repeat: part"), "%s", head);
    cr_expect_eq(post(rig, "8f14e45fceea167a/42/50/9", head), 200);
    cr_expect_eq(items_stored(rig), 2);
    cr_expect_eq(post(rig, "8f14e45fceea167a/10/50/9", head), 200);
    cr_expect_eq(post(rig, "8f14e45fceea167b/10/42/9", head), 200);
    cr_expect_eq(items_stored(rig), 3, "another scope");
    cr_expect_eq(post(rig, "not a handoff", head), 200);
    cr_expect_eq(post(rig, "not a handoff", head), 200);
    cr_expect_eq(items_stored(rig), 5, "as anybody's");
    cr_expect_eq(refused(rig, EXCHANGE_HTTP, REFUSAL_REPEATED_PART), 1);
    rig_free(rig);
}

static void start(struct rig *rig, struct grpc_request *request, const char *handoff)
{
    grpc_prepare(request, spans(100), ENCODING_IDENTITY, NULL);
    request->headers[2] = (struct client_header){"weir-batch", "0f8fad5b-d9cb-469f-a165-70867728950e/traces/17-41"};
    request->headers[3] = (struct client_header){"weir-handoff", handoff};
    request->test.call.header_count = 4;
    client_start(rig->client, &request->test.call);
}

// The first one's answer is not said before the disk's; meanwhile nobody gets an OK for the same data, and nothing of it is stored again.
Test(ingest_handoff, what_is_on_its_way_to_the_disk_is_put_off)
{
    struct rig *rig = rig_new(1 << 20, 1 << 30);
    struct grpc_request first, again, behind;
    pthread_mutex_lock(&rig->gate); // the commit is made, and not told
    start(rig, &first, "8f14e45fceea167a/10/42/9");
    CLIENT_UNTIL(rig, items_stored(rig) == 1);
    start(rig, &behind, "8f14e45fceea167a/42/43/9"); // waits for the writer
    start(rig, &again, "8f14e45fceea167a/41/43/9");
    CLIENT_UNTIL(rig, again.test.done == 1);
    cr_expect_str_eq(grpc_wait(rig, &again), "14");
    cr_expect_eq(first.test.done, 0);
    pthread_mutex_unlock(&rig->gate);
    cr_expect_str_eq(grpc_wait(rig, &first), "0");
    cr_expect_str_eq(grpc_wait(rig, &behind), "0");
    start(rig, &again, "8f14e45fceea167a/41/43/9");
    cr_expect_str_eq(grpc_wait(rig, &again), "0");
    start(rig, &again, "8f14e45fceea167a/42/44/9");
    cr_expect_str_eq(grpc_wait(rig, &again), "11", "OUT_OF_RANGE");
    cr_expect_eq(items_stored(rig), 2);
    cr_expect_eq(refused(rig, EXCHANGE_GRPC, REFUSAL_BEING_STORED), 1);
    cr_expect_eq(refused(rig, EXCHANGE_GRPC, REFUSAL_REPEATED_PART), 1);
    rig_free(rig);
}

// The handoff is for the next start alone: a block of its own, and it travels with others' data as if it had none.
Test(ingest_handoff, is_kept_beside_the_data)
{
    struct rig *rig = rig_new(1 << 20, 1 << 30);
    struct spool_reader *reader = spool_reader_new(rig->spool);
    struct block_view view;
    struct envelope envelope;
    struct handoff handoff;
    uint64_t skip_to;
    char head[2048];
    cr_expect_eq(post(rig, "8f14e45fceea167a/10/42/9", head), 200);
    cr_assert_eq(spool_reader_next(reader, WEIR_TRACES, 0, SPOOL_END, &view, &skip_to, NULL), WEIR_OK);
    cr_assert_eq(envelope_decode(view.envelope, &envelope, NULL), WEIR_OK);
    cr_expect(envelope.count == 0 && !envelope.alone);
    cr_assert(handoff_get(envelope.handoff, WEIR_TRACES, &handoff));
    cr_expect_eq(handoff.scope, weir_get_u64((const uint8_t *)"\x8f\x14\xe4\x5f\xce\xea\x16\x7a"));
    cr_expect(handoff.span.from.block == 10 && handoff.span.to.block == 42 && handoff.low == 9);
    cr_expect(envelopes_join(view.envelope, (struct weir_slice){NULL, 0}));
    block_view_release(&view);
    spool_reader_free(reader);
    rig_free(rig);
}
