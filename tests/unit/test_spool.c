// SPDX-License-Identifier: Apache-2.0
#include "spool_kit.h"

static void seen_count(void *ctx, uint64_t number, uint64_t seed)
{
    (void)number;
    uint64_t *next = ctx;
    cr_assert_eq(seed, *next, "in order: %llu after %llu", (unsigned long long)seed, (unsigned long long)*next);
    (*next)++;
}

Test(spool, appends_reads_and_settles)
{
    char *dir = kit_directory();
    struct spool_report report;
    struct spool *spool = kit_open(dir, 64, &report);
    cr_assert_eq(report.next_block, 0);
    struct spool_lane *lane = kit_lane(spool, "central", WEIR_TRACES, SPOOL_START_NOW);
    struct spool_lane *idle = kit_lane(spool, "central", WEIR_LOGS, SPOOL_START_NOW);
    uint64_t items = 0;
    for (uint64_t i = 0; i < 20; i++) {
        cr_assert_eq(kit_append(spool, WEIR_TRACES, i, 5000), WEIR_OK);
        items += kit_items(i);
        struct spool_lane_stats s = kit_ledger(lane);
        cr_assert_eq(s.pending, items);
        cr_assert_eq(s.pending_bytes, 5000 * (i + 1));
        cr_assert_eq(s.oldest_received_ns, 1000);
    }
    cr_assert_eq(kit_ledger(idle).accepted, 0);
    uint64_t next = 0;
    cr_assert_eq(kit_drain(spool, lane, WEIR_TRACES, 7, seen_count, &next), 7);
    cr_assert_eq(kit_ledger(lane).oldest_received_ns, 1007);
    spool_close(spool);

    spool = kit_open(dir, 64, &report);
    cr_assert_eq(report.next_block, 20);
    cr_assert_eq(report.segments, 1);
    cr_assert_eq(report.segments_opened, 1);
    lane = kit_lane(spool, "central", WEIR_TRACES, SPOOL_START_NOW);
    struct spool_lane_stats s = kit_ledger(lane);
    cr_assert_eq(s.accepted, items);
    cr_assert_gt(s.delivered, 0);
    cr_assert_eq(kit_drain(spool, lane, WEIR_TRACES, 100, seen_count, &next), 13);
    s = kit_ledger(lane);
    cr_assert_eq(s.delivered, items);
    cr_assert_eq(s.pending, 0);
    cr_assert_eq(s.oldest_received_ns, 0);
    spool_close(spool);
    kit_remove_directory(dir);
}
