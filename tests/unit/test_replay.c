// SPDX-License-Identifier: Apache-2.0
// The replay worker against a real upstream that answers as each test wants: what is sent, and how.
#include "relay/envelope.h"
#include "tests/unit/replay_rig.h"

TestSuite(replay, .timeout = 60);

// --- what is sent -----------------------------------------------------------------------------------------------------------

// The stored frames of [0, blocks) of a signal, back to back.
static struct weir_buf stored_frames(struct replay_rig *rig, enum weir_signal signal, unsigned blocks)
{
    struct weir_buf all = {0};
    struct spool_reader *reader = spool_reader_new(rig->spool);
    for (uint64_t from = 0; blocks > 0; blocks--) {
        struct block_view view;
        uint64_t skip_to;
        cr_assert_eq(spool_reader_next(reader, signal, from, SPOOL_END, &view, &skip_to, NULL), WEIR_OK);
        weir_buf_append(&all, view.frame.data, view.frame.len);
        from = view.number + 1;
        block_view_release(&view);
    }
    spool_reader_free(reader);
    return all;
}

// Z2, C1, C6.
Test(replay, sends_stored_zstd_frames_as_they_lie_and_joined)
{
    struct replay_rig *rig = rig_new((struct config_upstream){.compression = CONFIG_COMPRESSION_AUTO});
    for (unsigned i = 0; i < 5; i++)
        rig_append(rig, WEIR_TRACES, i * 3, 3, 200);
    struct weir_buf frames = stored_frames(rig, WEIR_TRACES, 5);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    rig_expect_each_once(rig, 15);
    cr_expect_eq(rig->seen_count, 1, "five blocks, one export");
    cr_expect_eq(rig->seen[0].encoding, ENCODING_ZSTD);
    cr_assert_eq(rig->last_body.len, frames.len);
    cr_expect(memcmp(rig->last_body.data, frames.data, frames.len) == 0, "not a byte is changed");
    cr_expect_str_eq(rig->seen[0].batch, "0123-instance/traces/0-4");
    cr_expect_eq(rig_ledger(rig, WEIR_TRACES).delivered, 30);
    weir_buf_free(&frames);
    rig_free(rig);
}

Test(replay, encodes_anew_for_others)
{
    static const struct {
        enum config_compression compression;
        enum encoding encoding;
    } cases[] = {{CONFIG_COMPRESSION_GZIP, ENCODING_GZIP}, {CONFIG_COMPRESSION_NONE, ENCODING_IDENTITY}};
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        struct replay_rig *rig = rig_new((struct config_upstream){.compression = cases[i].compression});
        rig_append(rig, WEIR_LOGS, 0, 3, 200);
        rig_append(rig, WEIR_LOGS, 3, 3, 200);
        rig_start(rig);
        RIG_DRAINED(rig, WEIR_LOGS);
        rig_expect_each_once(rig, 6);
        cr_expect_eq(rig->seen_count, 1);
        cr_expect_eq(rig->seen[0].encoding, cases[i].encoding);
        rig_free(rig);
    }
}

// An endpoint may have 2048 characters: what was cut from it would be another URL.
Test(replay, sends_to_the_whole_of_a_long_base_path)
{
    static char base[1500];
    memset(base, 'b', sizeof(base) - 1);
    base[0] = '/';
    struct replay_rig *rig =
        rig_new((struct config_upstream){.target = {.protocol = CONFIG_PROTOCOL_HTTP, .base_path = base}});
    rig_append(rig, WEIR_METRICS, 0, 3, 200);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_METRICS);
    rig_expect_each_once(rig, 3);
    rig_free(rig);
}

// C2.
Test(replay, never_joins_profiles)
{
    struct replay_rig *rig = rig_new((struct config_upstream){0});
    for (unsigned i = 0; i < 4; i++)
        rig_append(rig, WEIR_PROFILES, i, 1, 100);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_PROFILES);
    rig_expect_each_once(rig, 4);
    cr_expect_eq(rig->seen_count, 4);
    rig_free(rig);
}

// C4.
Test(replay, joins_neither_other_envelopes_nor_what_must_be_alone)
{
    static const uint8_t bytes[] = {ENVELOPE_ALONE, ENVELOPE_HEADERS, 1, 'a', 1, 'b'};
    static const struct weir_slice none = {NULL, 0}, alone = {bytes, 1}, tenant = {bytes + 1, 5};
    const struct weir_slice blocks[] = {none, none, alone, alone, tenant, tenant, none};
    struct replay_rig *rig = rig_new((struct config_upstream){0});
    for (unsigned i = 0; i < WEIR_COUNT(blocks); i++)
        rig_append_in(rig, WEIR_TRACES, blocks[i], i, 1, 100);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    rig_expect_each_once(rig, WEIR_COUNT(blocks));
    static const size_t ids[] = {2, 1, 1, 2, 1};
    cr_assert_eq(rig->seen_count, WEIR_COUNT(ids));
    for (size_t i = 0; i < WEIR_COUNT(ids); i++)
        cr_expect_eq(rig->seen[i].id_count, ids[i], "export %zu has %zu requests", i, rig->seen[i].id_count);
    rig_free(rig);
}

// U16, C7.
Test(replay, sends_a_block_above_max_request_size_in_parts_of_whole_requests)
{
    struct replay_rig *rig = rig_new((struct config_upstream){.max_request_size_bytes = 3000});
    rig_append(rig, WEIR_TRACES, 0, 8, 1000);
    rig_append(rig, WEIR_TRACES, 8, 1, 9000); // one request: cannot be made smaller
    rig_append(rig, WEIR_TRACES, 9, 2, 1000);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    rig_expect_each_once(rig, 11);
    for (int i = 0; i < rig->seen_count; i++)
        cr_expect(rig->seen[i].raw_bytes <= 3000 || rig->seen[i].id_count == 1, "export %d: %zu bytes", i,
                  rig->seen[i].raw_bytes);
    struct spool_lane_stats ledger = rig_ledger(rig, WEIR_TRACES);
    cr_expect_eq(ledger.delivered, 22);
    cr_expect_eq(ledger.dead_lettered, 0);
    rig_free(rig);
}

// --- compression: auto ------------------------------------------------------------------------------------------------------

static struct rig_answer gzip_at_most(struct replay_rig *rig, const struct rig_seen *seen)
{
    bool grpc = rig->upstream.target.protocol == CONFIG_PROTOCOL_GRPC;
    if (seen->encoding == ENCODING_ZSTD)
        return (struct rig_answer){.status = grpc ? GRPC_UNIMPLEMENTED : 415, .close = rig->poison};
    return (struct rig_answer){.status = grpc ? 0 : 200};
}

static void falls_back(enum config_protocol protocol, bool closes)
{
    struct replay_rig *rig = rig_new((struct config_upstream){
        .target = {.protocol = protocol}, .compression = CONFIG_COMPRESSION_AUTO, .signals = 1u << WEIR_METRICS});
    rig->decide = gzip_at_most;
    rig->poison = closes;
    rig_start(rig);
    for (unsigned i = 0; i < 6; i++) {
        rig_append(rig, WEIR_METRICS, i, 1, 300);
        RIG_DRAINED(rig, WEIR_METRICS);
    }
    unsigned refused = 0;
    for (int i = 0; i < rig->seen_count; i++)
        refused += rig->seen[i].encoding == ENCODING_ZSTD;
    cr_expect_eq(refused, 1, "tried %u times", refused);
    cr_expect_str_eq(rig_stats(rig).encoding, "gzip");
    cr_expect_eq(rig_stats(rig).lanes[WEIR_METRICS].state, REPLAY_IDLE);
    rig_expect_each_once(rig, 6);
    rig_free(rig);
}

Test(replay, auto_falls_back_to_gzip_and_stays_for_the_connection)
{
    falls_back(CONFIG_PROTOCOL_GRPC, false);
    falls_back(CONFIG_PROTOCOL_HTTP, false);
}

Test(replay, auto_finds_out_once_though_the_refusal_ends_the_connection)
{
    falls_back(CONFIG_PROTOCOL_HTTP, true);
}

// --- lanes ------------------------------------------------------------------------------------------------------------------

// An upstream that was out of the configuration for a while has an old interval with an end, and nothing of its signal may lie at that end.
Test(replay, goes_on_behind_an_interval_without_data)
{
    struct replay_rig *rig = rig_new((struct config_upstream){.signals = 1u << WEIR_LOGS});
    rig_append(rig, WEIR_LOGS, 0, 1, 100);
    rig_append(rig, WEIR_TRACES, 50, 1, 100);
    rig_end_replay(rig);
    spool_close(rig->spool);
    rig_open_spool(rig); // nobody opens the lane
    kit_lane(rig->spool, "another", WEIR_LOGS, SPOOL_START_NOW);
    rig_append(rig, WEIR_LOGS, 60, 1, 100);
    spool_close(rig->spool);
    rig_open_spool(rig);
    rig_new_replay(rig);
    rig_append(rig, WEIR_LOGS, 1, 1, 100);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_LOGS);
    rig_expect_each_once(rig, 2);
    rig_free(rig);
}

// --- life -------------------------------------------------------------------------------------------------------------------

Test(replay, stops_at_any_moment)
{
    struct replay_rig *rig = rig_new((struct config_upstream){0});
    rig_append(rig, WEIR_TRACES, 0, 1, 100);
    for (int i = 0; i < 200; i++) {
        rig_start(rig);
        for (int spin = 0; spin < i * 20; spin++)
            replay_wake(atomic_load(&rig->replay), WEIR_ALL_SIGNALS);
        rig_end_replay(rig);
        rig_new_replay(rig);
    }
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    rig_free(rig);
}
