// SPDX-License-Identifier: Apache-2.0
// Kept headers on their way out.
#include "relay/envelope.h"
#include "storage/inspect.h"
#include "tests/unit/replay_rig.h"

TestSuite(replay_kept, .timeout = 60);

#define BYTES(text)                                                                                                    \
    {                                                                                                                  \
        (const uint8_t *)(text), sizeof(text) - 1                                                                      \
    }
#define OF_A                                                                                                           \
    "\x02\x03x-a\x05"                                                                                                  \
    "alpha"
#define OF_B                                                                                                           \
    "\x02\x03x-a\x04"                                                                                                  \
    "beta\x03x-b\x01"                                                                                                  \
    "1\x03x-b\x01"                                                                                                     \
    "2\x03x-c\x00"

static const enum config_protocol protocols[] = {CONFIG_PROTOCOL_GRPC, CONFIG_PROTOCOL_HTTP};

static int by_first_id(const void *a, const void *b)
{
    const struct rig_seen *x = a, *y = b;
    return x->ids[0] < y->ids[0] ? -1 : x->ids[0] > y->ids[0];
}

Test(replay_kept, go_out_with_their_data_over_both_transports)
{
    static const struct weir_slice none = {NULL, 0}, a = BYTES(OF_A), b = BYTES(OF_B);
    const struct weir_slice blocks[] = {a, a, none, b, a, b, b};
    for (size_t p = 0; p < WEIR_COUNT(protocols); p++) {
        struct replay_rig *rig = rig_new((struct config_upstream){.target = {.protocol = protocols[p]}});
        for (unsigned i = 0; i < WEIR_COUNT(blocks); i++)
            rig_append_in(rig, WEIR_LOGS, blocks[i], i, 1, 100);
        rig_start(rig);
        RIG_DRAINED(rig, WEIR_LOGS);
        rig_expect_each_once(rig, WEIR_COUNT(blocks));
        static const struct {
            size_t ids;
            const char *kept;
        } expected[] = {{2, "x-a=alpha "},
                        {1, ""},
                        {1, "x-a=beta x-b=1 x-b=2 x-c= "},
                        {1, "x-a=alpha "},
                        {2, "x-a=beta x-b=1 x-b=2 x-c= "}};
        cr_assert_eq(rig->seen_count, WEIR_COUNT(expected));
        qsort(rig->seen, WEIR_COUNT(expected), sizeof(rig->seen[0]), by_first_id); // several are under way at once
        for (size_t i = 0; i < WEIR_COUNT(expected); i++) {
            cr_expect_eq(rig->seen[i].id_count, expected[i].ids);
            cr_expect_str_eq(rig->seen[i].kept, expected[i].kept);
        }
        rig_free(rig);
    }
}

Test(replay_kept, what_the_upstream_is_configured_with_overrules)
{
    static char name[] = "x-a", value[] = "mine";
    static struct config_header items[] = {{.name = name, .value = value}};
    static const struct weir_slice b = BYTES(OF_B);
    struct replay_rig *rig = rig_new((struct config_upstream){.headers = {.items = items, .count = 1}});
    rig_append_in(rig, WEIR_LOGS, b, 0, 1, 100);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_LOGS);
    cr_expect_str_eq(rig->seen[0].kept, "x-a=mine x-b=1 x-b=2 x-c= ");
    rig_free(rig);
}

static struct rig_answer refuse_id_2(struct replay_rig *rig, const struct rig_seen *seen)
{
    for (size_t i = 0; i < seen->id_count; i++)
        if (seen->ids[i] == 2)
            return (struct rig_answer){.status = GRPC_INVALID_ARGUMENT};
    return (struct rig_answer){.status = 0};
}

struct letters {
    unsigned count;
    struct weir_slice envelope;
};

static int see_letter(void *ctx, const struct inspect_letter *letter, struct weir_err *err)
{
    struct letters *letters = ctx;
    letters->count++;
    cr_expect_eq(letter->letter.envelope.len, letters->envelope.len);
    cr_expect(memcmp(letter->letter.envelope.data, letters->envelope.data, letters->envelope.len) == 0);
    return WEIR_OK;
}

// In parts, joined again after a failure, or in the dead letters: the headers stay with their data.
Test(replay_kept, stay_with_the_parts_of_a_refused_block)
{
    static const struct weir_slice a = BYTES(OF_A), b = BYTES(OF_B);
    struct replay_rig *rig = rig_new((struct config_upstream){0});
    rig->decide = refuse_id_2;
    rig_append_in(rig, WEIR_LOGS, a, 0, 4, 100);
    rig_append_in(rig, WEIR_LOGS, b, 4, 2, 100);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_LOGS);
    for (int i = 0; i < rig->seen_count; i++)
        cr_expect_str_eq(rig->seen[i].kept, rig->seen[i].ids[0] < 4 ? "x-a=alpha " : "x-a=beta x-b=1 x-b=2 x-c= ");
    cr_expect_eq(rig_ledger(rig, WEIR_LOGS).dead_lettered, 2);
    cr_expect_eq(rig_ledger(rig, WEIR_LOGS).delivered, 10);
    rig_end_replay(rig);
    spool_close(rig->spool);
    struct inspect *inspect;
    struct letters letters = {.envelope = a};
    struct weir_err err = {0};
    cr_assert_eq(inspect_open(rig->directory, &inspect, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(inspect_letters_each(inspect, false, see_letter, &letters, &err), WEIR_OK, "%s", err.text);
    cr_expect_eq(letters.count, 1);
    inspect_close(inspect);
    rig_open_spool(rig);
    rig_new_replay(rig);
    rig_free(rig);
}

// Nothing of what does not come from us is sent: the block counts as damaged, and the lane goes on.
Test(replay_kept, of_a_hostile_block_are_not_sent)
{
    static const struct weir_slice a = BYTES(OF_A),
                                   injects = BYTES("\x02\x03x-a\x0d"
                                                   "b\r\nx-evil: 1\r\n"),
                                   cut = BYTES("\x02\x03x-");
    const struct weir_slice blocks[] = {a, injects, a, cut, cut, a};
    struct replay_rig *rig = rig_new((struct config_upstream){0});
    for (unsigned i = 0; i < WEIR_COUNT(blocks); i++)
        rig_append_in(rig, WEIR_TRACES, blocks[i], i, 1, 100);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    for (unsigned i = 0; i < WEIR_COUNT(blocks); i++)
        cr_expect_eq(rig->delivered[i], blocks[i].data == a.data, "block %u", i);
    for (int i = 0; i < rig->seen_count; i++)
        cr_expect_str_eq(rig->seen[i].kept, "x-a=alpha ");
    struct spool_lane_stats ledger = rig_ledger(rig, WEIR_TRACES);
    cr_expect_eq(ledger.delivered, 6);
    cr_expect_eq(ledger.evicted, 6);
    rig_free(rig);
}

// What a newer version put there is no damage: the lane waits with it, and loses nothing.
Test(replay_kept, of_a_newer_weir_hold_the_lane)
{
    static const struct weir_slice a = BYTES(OF_A), newer = BYTES("\x0a\x03x-a\x05"
                                                                  "alpha");
    struct replay_rig *rig = rig_new((struct config_upstream){0});
    rig_append_in(rig, WEIR_METRICS, a, 0, 1, 100);
    rig_append_in(rig, WEIR_METRICS, newer, 1, 1, 100);
    rig_start(rig);
    KIT_UNTIL(rig_stats(rig).lanes[WEIR_METRICS].state == REPLAY_HELD && rig_ledger(rig, WEIR_METRICS).pending == 2);
    cr_expect_str_eq(rig_stats(rig).lanes[WEIR_METRICS].error_code, "newer_format");
    struct spool_lane_stats ledger = rig_ledger(rig, WEIR_METRICS);
    cr_expect_eq(ledger.delivered, 2);
    cr_expect_eq(ledger.evicted, 0);
    cr_expect_eq(rig->delivered[1], 0);
    rig_free(rig);
}
