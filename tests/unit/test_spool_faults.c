// SPDX-License-Identifier: Apache-2.0
// Failures that have a story. test_spool_calls.c has every call fail in turn.
#include "faults_kit.h"

// Flushes fail for a while: refused and failed, then by itself well again.
Test(spool_faults, heals_when_the_disk_does)
{
    char *dir = kit_directory();
    struct seeds seeds = {0};
    struct spool *spool = kit_open(dir, 64, NULL);
    struct spool_lane *traces = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    kit_lane(spool, "a", WEIR_METRICS, SPOOL_START_NOW);
    cr_assert_eq(seeds_send(spool, &seeds, 2, 1000), WEIR_OK);
    faults_arm(FAULTS(FAULT_FLUSH) | FAULTS(FAULT_FSYNC), EIO, 0, true);
    cr_assert_eq(seeds_send(spool, &seeds, 3, 1000), WEIR_E_IO);
    cr_assert_eq(spool_state_now(spool), SPOOL_FAILED);
    struct spool_stats stats;
    spool_stats_get(spool, &stats);
    cr_assert_neq(stats.reason[0], '\0');
    cr_assert_geq(stats.commit_failures, 1);
    cr_assert_eq(seeds_send(spool, &seeds, 1, 1000), WEIR_E_IO);
    kit_ledger(traces);
    // A delivery that cannot be recorded is counted and recorded later.
    uint64_t first = 0;
    spool_lane_settle(traces, first, first + 1, &(struct spool_outcome){.delivered = 1});
    cr_assert_neq(spool_sync_state(spool, NULL), WEIR_OK);
    KIT_UNTIL((spool_stats_get(spool, &stats), stats.state_failures) > 0);
    faults_disarm();
    KIT_UNTIL(spool_sync_state(spool, NULL) == WEIR_OK);
    KIT_UNTIL(spool_state_now(spool) == SPOOL_OK);
    cr_assert_eq(seeds_send(spool, &seeds, 2, 1000), WEIR_OK);
    spool_close(spool);
    seeds_verify(dir, &seeds);
    cr_assert(seeds.acked[6] && seeds.acked[7]);
    kit_remove_directory(dir);
}

// A delivery in a segment that cannot be opened just now: it counts later, and nothing that is pending looks passed meanwhile.
Test(spool_faults, a_delivery_is_entered_when_its_segment_can_be_read)
{
    char *dir = kit_directory();
    struct seeds seeds = {0};
    struct spool *spool = kit_open(dir, 64, NULL);
    kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    cr_assert_eq(seeds_send(spool, &seeds, 20, 150000), WEIR_OK);
    spool_close(spool);
    spool = kit_open(dir, 64, NULL);
    struct spool_lane *lane = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    struct spool_lane_stats before = kit_ledger(lane);
    faults_arm(FAULTS_DISK | FAULTS(FAULT_READ), EIO, 0, true);
    spool_lane_settle(lane, 7, 8, &(struct spool_outcome){.delivered = kit_items(7)});
    struct spool_lane_stats s = kit_ledger(lane);
    faults_disarm();
    cr_assert_eq(s.evicted, 0);
    cr_assert_eq(s.pending, before.pending);
    KIT_UNTIL(kit_ledger(lane).delivered == kit_items(7));
    s = kit_ledger(lane);
    cr_assert_eq(s.evicted, 0);
    cr_assert_eq(s.pending, before.pending - kit_items(7));
    spool_close(spool);
    kit_remove_directory(dir);
}

// A settlement in the segment that is being written, of blocks that are not among the newest, while there is no memory to look them up: it
// counts later, and what else is pending is not taken for passed.
Test(spool_faults, a_delivery_is_entered_when_there_is_memory)
{
    if (!faults_can(FAULT_MEMORY))
        return;
    char *dir = kit_directory();
    struct seeds seeds = {0};
    struct spool_options options = kit_options(dir, 128);
    options.segment_bytes = 16 * MIB;
    struct spool *spool;
    cr_assert_eq(spool_open(&options, &spool, NULL, NULL), WEIR_OK);
    struct spool_lane *lane = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    cr_assert_eq(seeds_send(spool, &seeds, 14, MIB), WEIR_OK); // 8 MiB of them are kept in memory
    uint64_t items = kit_items(1) + kit_items(2);
    struct spool_lane_stats before = kit_ledger(lane), s;
    // The counts there are known from now on: those at 3 alone are looked up.
    spool_lane_settle(lane, 0, 1, &(struct spool_outcome){0});
    int failed = 0;
    for (int i = 0; i < 4; i++) { // each of the calls that this takes
        faults_arm(FAULTS(FAULT_MEMORY), ENOMEM, i, true);
        FAULTS_IN(spool_lane_settle(lane, 1, 3, &(struct spool_outcome){.delivered = items}));
        faults_disarm();
        failed += atomic_load(&faults.failures) > 0;
        s = kit_ledger(lane);
        cr_assert_eq(s.evicted, 0, "%llu items of a settlement that failed are lost", (unsigned long long)s.evicted);
    }
    cr_assert_geq(failed, 2);
    KIT_UNTIL(kit_ledger(lane).delivered == items);
    s = kit_ledger(lane);
    cr_assert_eq(s.evicted, 0);
    cr_assert_eq(s.pending, before.pending - items);
    spool_close(spool);
    kit_remove_directory(dir);
}

// The next segment has its name already when the flush of the directory fails. What the segment before it still had room for would lie
// behind that name after a restart: nothing may be acknowledged there.
Test(spool_faults, the_flush_of_a_name_fails)
{
    char *dir = kit_directory();
    struct seeds seeds = {0};
    struct spool *spool = kit_open(dir, 64, NULL);
    kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    kit_lane(spool, "a", WEIR_METRICS, SPOOL_START_NOW);
    cr_assert_eq(seeds_send(spool, &seeds, 5, 150000), WEIR_OK);
    faults_arm(FAULTS(FAULT_FSYNC), EIO, 0, false);
    cr_assert_eq(seeds_send(spool, &seeds, 1, 150000), WEIR_E_IO);
    cr_assert_eq(atomic_load(&faults.failures), 1);
    faults_disarm();
    cr_assert_eq(seeds_send(spool, &seeds, 1, 1000), WEIR_OK);
    cr_assert_eq(seeds_send(spool, &seeds, 1, 150000), WEIR_OK);
    spool_close(spool);
    seeds_verify(dir, &seeds);
    kit_remove_directory(dir);
}

// Default durability: the data is flushed, then the meta page is written through, before the acknowledgement.
Test(spool_faults, an_acknowledgement_comes_after_the_flushes)
{
    char *dir = kit_directory();
    struct spool *spool = kit_open(dir, 64, NULL);
    cr_assert_eq(kit_append(spool, WEIR_TRACES, 0, 1000), WEIR_OK);
    // The keeper writes the next segment ahead, and flushes too: wait until it has done so.
    struct spool_stats stats;
    KIT_UNTIL((spool_stats_get(spool, &stats), atomic_load(&faults.flushes) >= 8));
    for (uint64_t i = 1; i < 20; i++) {
        int flushed = atomic_load(&faults.flushes), written = atomic_load(&faults.metas);
        cr_assert_eq(kit_append(spool, WEIR_TRACES, i, 1000), WEIR_OK);
        cr_assert_geq(atomic_load(&faults.flushes), flushed + 1);
        cr_assert_geq(atomic_load(&faults.metas), written + 1);
    }
    spool_close(spool);
    kit_remove_directory(dir);
}
