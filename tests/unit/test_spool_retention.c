// SPDX-License-Identifier: Apache-2.0
// Which segments go, what that costs whom, and that every item of it is told once.
#include <sys/syscall.h>
#include <sys/wait.h>

#include "retention_rig.h"
#include "storage/past.h"

// Takes libc's place: a crash between the state that says a segment is gone, and the segment's end.
static atomic_bool die_at_unlink;

int unlink(const char *path)
{
    if (atomic_load(&die_at_unlink) && strstr(path, "/seg-") != NULL)
        _exit(7);
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

// One event, as it must be.
static void check_event(size_t i, const char *upstream, enum spool_loss loss, uint64_t first, uint64_t end)
{
    struct spool_event *e = &rig_events.at[i];
    cr_assert_lt(i, rig_events.n);
    cr_expect_str_eq(e->upstream, upstream, "event %zu", i);
    cr_expect_eq(e->loss, loss, "event %zu", i);
    cr_expect_eq(e->first, first, "event %zu: first %llu", i, (unsigned long long)e->first);
    cr_expect_eq(e->end, end, "event %zu: end %llu", i, (unsigned long long)e->end);
    cr_expect_eq(e->items, rig_items(first, end), "event %zu: %llu items", i, (unsigned long long)e->items);
    cr_expect_eq(e->received_first_ns, RECEIVED(first), "event %zu: %llu", i, (unsigned long long)e->received_first_ns);
    cr_expect_eq(e->received_last_ns, RECEIVED(end - 1), "event %zu: %llu", i, (unsigned long long)e->received_last_ns);
}

Test(spool_retention, what_nobody_needs_goes_wherever_it_lies, .timeout = 60)
{
    char *dir = kit_directory();
    struct spool_options options = rig_options(dir, 64);
    for (int run = 0; run < 2; run++) {
        struct spool *spool = rig_open(&options);
        struct spool_lane *a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
        struct spool_lane *b = kit_lane(spool, "b", WEIR_TRACES, SPOOL_START_NOW);
        kit_lane(spool, "b", WEIR_PROFILES, SPOOL_START_NOW); // never gets anything, and holds nothing
        if (run == 0) {
            rig_fill(spool, 0, 12);
            rig_deliver(a, 4, 8);
            rig_deliver(b, 3, 6);
            KIT_UNTIL(!rig_has(dir, 4));
        }
        rig_keeper_round(spool);
        for (uint64_t first = 0; first < 12; first += 2)
            cr_expect_eq(rig_has(dir, first), first != 4, "segment %llu", (unsigned long long)first);
        if (run == 1) { // and nothing is in memory
            // Who reads there all the same, with a look at the lane from before, misses nothing.
            struct spool_reader *reader = spool_reader_new(spool);
            struct block_view view;
            uint64_t skip_to;
            cr_expect_eq(spool_reader_next(reader, WEIR_TRACES, 4, 6, &view, &skip_to, NULL), WEIR_E_AGAIN);
            cr_expect_eq(skip_to, 6);
            cr_expect_eq(spool_reader_next(reader, WEIR_TRACES, 4, SPOOL_END, &view, &skip_to, NULL), WEIR_OK);
            cr_expect_eq(view.number, 6);
            block_view_release(&view);
            spool_reader_free(reader);
            cr_expect_eq(kit_drain(spool, a, WEIR_TRACES, 100, NULL, NULL), 8);
            cr_expect_eq(kit_drain(spool, b, WEIR_TRACES, 100, NULL, NULL), 9);
            KIT_UNTIL(kit_files(dir, "seg-", NULL, 0) == 1); // the last one stays
        }
        cr_expect_eq(kit_ledger(a).evicted + kit_ledger(b).evicted, 0);
        spool_close(spool);
    }
    cr_expect_eq(rig_event_count(), 0);
    kit_remove_directory(dir);
}

Test(spool_retention, delivered_data_is_kept_for_its_time, .timeout = 60)
{
    char *dir = kit_directory();
    struct spool_options options = rig_options(dir, 64);
    options.keep_delivered_ns = 500;
    atomic_store(&rig_now_ns, 10000);
    struct spool *spool = rig_open(&options);
    struct spool_lane *a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    rig_fill(spool, 0, 8);
    rig_deliver(a, 0, 2);
    rig_keeper_round(spool); // passed at 10000
    atomic_store(&rig_now_ns, 10100);
    rig_deliver(a, 2, 6);
    rig_keeper_round(spool);
    KIT_UNTIL(rig_stats(spool).kept_bytes > 2 * MIB);
    atomic_store(&rig_now_ns, 10499);
    rig_keeper_round(spool);
    cr_expect(rig_has(dir, 0) && rig_has(dir, 2) && rig_has(dir, 4));
    atomic_store(&rig_now_ns, 10500);
    rig_keeper_round(spool);
    cr_expect(!rig_has(dir, 0) && rig_has(dir, 2) && rig_has(dir, 4));
    // Replayed, it is needed, and kept anew from when it was passed again.
    struct spool_replay out;
    cr_assert_eq(spool_lane_replay(a, 2, 4, false, &out, NULL), WEIR_OK);
    atomic_store(&rig_now_ns, 10700);
    rig_keeper_round(spool);
    cr_expect(rig_has(dir, 2) && !rig_has(dir, 4));
    rig_deliver(a, 2, 4);
    rig_keeper_round(spool);
    cr_expect(rig_has(dir, 2));
    spool_close(spool);
    // When it was passed is not stored: it counts from the start.
    atomic_store(&rig_now_ns, 20000);
    spool = rig_open(&options);
    rig_keeper_round(spool);
    atomic_store(&rig_now_ns, 20499);
    rig_keeper_round(spool);
    cr_expect(rig_has(dir, 2) && rig_has(dir, 6));
    atomic_store(&rig_now_ns, 20500);
    rig_keeper_round(spool);
    cr_expect(!rig_has(dir, 2) && rig_has(dir, 6));
    cr_expect_eq(rig_stats(spool).kept_bytes, 0);
    spool_close(spool);
    cr_expect_eq(rig_event_count(), 0);
    kit_remove_directory(dir);
}

Test(spool_retention, kept_data_makes_room_before_anybody_is_refused, .timeout = 120)
{
    char *dir = kit_directory();
    struct spool_options options = rig_options(dir, 12);
    options.keep_delivered_ns = UINT64_MAX;
    atomic_store(&rig_now_ns, 10000);
    struct spool *spool = rig_open(&options);
    struct spool_lane *a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    for (uint64_t i = 0; i < 60; i++) {
        rig_fill(spool, i, i + 1);
        rig_deliver(a, i, i + 1);
        cr_expect_leq(rig_stats(spool).used_bytes, 12 * MIB);
    }
    cr_expect(!rig_has(dir, 0));
    KIT_UNTIL(rig_stats(spool).kept_bytes > 2 * MIB);
    cr_expect_eq(rig_stats(spool).state, SPOOL_OK);
    cr_expect_eq(rig_stats(spool).commit_failures, 0);
    spool_close(spool);
    cr_expect_eq(rig_event_count(), 0);
    kit_remove_directory(dir);
}

Test(spool_retention, what_is_too_old_goes_delivered_or_not, .timeout = 60)
{
    char *dir = kit_directory();
    struct spool_options options = rig_options(dir, 64);
    options.max_age_ns = 8000;
    atomic_store(&rig_now_ns, RECEIVED(0));
    struct spool *spool = rig_open(&options);
    struct spool_lane *a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    struct spool_lane *b = kit_lane(spool, "b", WEIR_TRACES, SPOOL_START_NOW);
    rig_fill(spool, 0, 7);
    rig_deliver(a, 1, 5); // 0, 5 and 6 are pending
    rig_deliver(b, 0, 3); // 3 to 6 are pending
    rig_keeper_round(spool);
    atomic_store(&rig_now_ns, RECEIVED(3) + 8000);
    rig_keeper_round(spool);
    cr_assert_eq(rig_event_count(), 1);
    check_event(0, "a", SPOOL_LOSS_AGE, 0, 1); // of the first segment only
    cr_expect(!rig_has(dir, 0) && rig_has(dir, 2) && rig_has(dir, 4));
    atomic_store(&rig_now_ns, RECEIVED(3) + 8001);
    rig_keeper_round(spool);
    cr_assert_eq(rig_event_count(), 2);
    check_event(1, "b", SPOOL_LOSS_AGE, 3, 4);
    cr_expect(!rig_has(dir, 2) && rig_has(dir, 4));
    // Nothing comes any more: the segment that is written goes too, once another was begun.
    atomic_store(&rig_now_ns, RECEIVED(6) + 8001);
    KIT_UNTIL(rig_has(dir, 7) && !rig_has(dir, 6));
    KIT_UNTIL(rig_event_count() == 6);
    cr_expect_eq(kit_ledger(a).evicted_by[SPOOL_LOSS_AGE], rig_items(0, 1) + rig_items(5, 7));
    cr_expect_eq(kit_ledger(b).evicted_by[SPOOL_LOSS_AGE], rig_items(3, 7));
    cr_expect_eq(kit_ledger(b).evicted_received_first_ns, RECEIVED(3));
    cr_expect_eq(kit_ledger(b).evicted_received_last_ns, RECEIVED(6));
    cr_expect_eq(kit_ledger(a).pending + kit_ledger(b).pending, 0);
    // An empty one is not replaced.
    atomic_store(&rig_now_ns, RECEIVED(6) + 100000);
    rig_keeper_round(spool);
    cr_expect_eq(kit_files(dir, "seg-", NULL, 0), 1);
    spool_close(spool);
    // Nor does the last one of another run outlive its time.
    spool = rig_open(&options);
    kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    atomic_store(&rig_now_ns, RECEIVED(7));
    rig_fill(spool, 7, 8);
    spool_close(spool);
    atomic_store(&rig_now_ns, RECEIVED(7) + 8001);
    spool = rig_open(&options);
    KIT_UNTIL(!rig_has(dir, 7));
    spool_close(spool);
    kit_remove_directory(dir);
}

Test(spool_retention, the_oldest_goes_instead_of_new_data, .timeout = 120)
{
    char *dir = kit_directory();
    struct spool_options options = rig_options(dir, 12);
    options.evict_oldest = true;
    struct spool *spool = rig_open(&options);
    struct spool_lane *a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    struct spool_lane *b = kit_lane(spool, "b", WEIR_TRACES, SPOOL_START_NOW);
    rig_fill(spool, 0, 8);
    rig_deliver(b, 0, 3);
    for (uint64_t i = 8; i < 80; i++) { // nobody is refused
        rig_fill(spool, i, i + 1);
        cr_expect_leq(rig_stats(spool).used_bytes, 12 * MIB);
        kit_ledger(a);
    }
    cr_expect_leq(rig_disk_bytes(dir), 12 * MIB);
    struct spool_interval in[2];
    rig_keeper_round(spool);
    size_t n = rig_event_count();
    cr_assert_eq(spool_lane_intervals(a, in, 2), 1);
    cr_expect_gt(in[0].first, 60);
    // One event a lane and segment, in order, each item in one.
    uint64_t next[2] = {0, 3};
    for (size_t i = 0; i < n; i++) {
        unsigned lane = strcmp(rig_events.at[i].upstream, "b") == 0;
        check_event(i, lane ? "b" : "a", SPOOL_LOSS_FULL, next[lane], next[lane] % 2 == 0 ? next[lane] + 2 : 4);
        next[lane] = rig_events.at[i].end;
    }
    cr_expect(next[0] == in[0].first && next[1] == in[0].first);
    cr_expect_eq(kit_ledger(a).evicted_by[SPOOL_LOSS_FULL], rig_items(0, in[0].first));
    cr_expect_eq(kit_ledger(b).evicted, rig_items(3, in[0].first));
    cr_expect_eq(kit_drain(spool, a, WEIR_TRACES, 1000, NULL, NULL), 80 - in[0].first);
    struct spool_lane_stats before = kit_ledger(a);
    spool_close(spool);
    spool = rig_open(&options);
    struct spool_lane_stats after = kit_ledger(kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW));
    cr_expect_eq(memcmp(&before, &after, sizeof(before)), 0);
    spool_close(spool);
    kit_remove_directory(dir);
}

Test(spool_retention, what_is_under_way_when_it_is_evicted_counts_once, .timeout = 60)
{
    char *dir = kit_directory();
    struct spool_options options = rig_options(dir, 64);
    options.max_age_ns = 8000;
    atomic_store(&rig_now_ns, RECEIVED(0));
    struct spool *spool = rig_open(&options);
    struct spool_lane *a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    rig_fill(spool, 0, 6);
    struct spool_reader *reader = spool_reader_new(spool);
    struct block_view views[3];
    uint64_t skip_to;
    for (uint64_t i = 0; i < 3; i++)
        cr_assert_eq(spool_reader_next(reader, WEIR_TRACES, i, 6, &views[i], &skip_to, NULL), WEIR_OK);
    atomic_store(&rig_now_ns, RECEIVED(1) + 8001);
    rig_keeper_round(spool);
    cr_assert(!rig_has(dir, 0) && rig_has(dir, 2));
    for (uint64_t i = 0; i < 3; i++) {
        cr_expect_eq(kit_check_view(&views[i]), i); // the bytes stay as long as somebody looks at them
        block_view_release(&views[i]);
    }
    rig_deliver(a, 0, 3); // one export of three: two are evicted already, and whatever became of them, they stay so
    struct spool_lane_stats s = kit_ledger(a);
    cr_expect_eq(s.evicted, rig_items(0, 2));
    cr_expect_eq(s.delivered, rig_items(2, 3));
    cr_expect_eq(s.pending, rig_items(3, 6));
    spool_lane_lost(a, 0, 2); // nor are they lost a second time
    cr_expect_eq(kit_ledger(a).evicted, rig_items(0, 2));
    cr_expect_eq(rig_event_count(), 1);
    spool_reader_free(reader);
    spool_close(spool);
    kit_remove_directory(dir);
}

// Evicts by age in a process that dies before the first file is unlinked.
static void die_between(const struct spool_options *options)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct spool *spool;
        struct spool_lane *lane;
        if (spool_open(options, &spool, NULL, NULL) != WEIR_OK ||
            spool_lane_open(spool, "a", WEIR_TRACES, SPOOL_START_NOW, &lane, NULL) != WEIR_OK)
            _exit(1);
        atomic_store(&die_at_unlink, true);
        atomic_store(&rig_now_ns, RECEIVED(3) + 8001);
        atomic_store(&spool->retention_due, true);
        keeper_wake(spool);
        for (;;)
            pause();
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 7, "%x", status);
}

Test(spool_retention, a_crash_before_the_unlink_loses_nothing_twice, .timeout = 60)
{
    char *dir = kit_directory();
    struct spool_options options = rig_options(dir, 64);
    options.max_age_ns = 8000;
    atomic_store(&rig_now_ns, RECEIVED(0));
    struct spool *spool = rig_open(&options);
    struct spool_lane *a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    rig_fill(spool, 0, 6);
    rig_deliver(a, 0, 1);
    spool_close(spool);
    die_between(&options);
    cr_assert(rig_has(dir, 0) && rig_has(dir, 2)); // dead before the first unlink
    spool = rig_open(&options);
    a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    cr_expect_eq(kit_ledger(a).evicted_by[SPOOL_LOSS_AGE], rig_items(1, 2)); // the state said so
    KIT_UNTIL(!rig_has(dir, 0));                                             // and nobody needs it
    cr_expect_eq(rig_event_count(), 0);
    atomic_store(&rig_now_ns, RECEIVED(3) + 8001);
    rig_keeper_round(spool);
    cr_expect_eq(kit_ledger(a).evicted_by[SPOOL_LOSS_AGE], rig_items(1, 4));
    cr_assert_eq(rig_event_count(), 1);
    check_event(0, "a", SPOOL_LOSS_AGE, 2, 4);
    spool_close(spool);
    kit_remove_directory(dir);
}

Test(spool_retention, damage_is_told_as_such, .timeout = 60)
{
    char *dir = kit_directory();
    struct spool_options options = rig_options(dir, 64);
    struct spool *spool = rig_open(&options);
    kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    rig_fill(spool, 0, 6);
    spool_close(spool);
    char path[1024];
    snprintf(path, sizeof(path), "%s/" SPOOL_SEGMENT_NAME, dir, 2ull);
    cr_assert_eq(unlink(path), 0); // a person's mistake
    spool = rig_open(&options);
    struct spool_lane *a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    cr_expect_eq(kit_drain(spool, a, WEIR_TRACES, 100, NULL, NULL), 4);
    KIT_UNTIL(rig_event_count() == 1);
    cr_expect_eq(rig_events.at[0].loss, SPOOL_LOSS_DAMAGE);
    cr_expect_eq(rig_events.at[0].items, rig_items(2, 4));
    cr_expect(rig_events.at[0].first == 2 && rig_events.at[0].end == 4);
    cr_expect_eq(rig_events.at[0].received_first_ns, RECEIVED(1)); // its neighbours say between when
    cr_expect_eq(rig_events.at[0].received_last_ns, RECEIVED(4));
    cr_expect_eq(kit_ledger(a).evicted_by[SPOOL_LOSS_DAMAGE], rig_items(2, 4));
    spool_close(spool);
    kit_remove_directory(dir);
}
