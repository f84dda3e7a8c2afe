// SPDX-License-Identifier: Apache-2.0
// The past: finding a time in it, giving a lane a part of it again, and lanes that begin with the oldest.
#include <errno.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "retention_rig.h"
#include "storage/past.h"

// Takes libc's place: flushes that fail.
static atomic_bool flushes_fail;

int fdatasync(int fd)
{
    if (!atomic_load(&flushes_fail))
        return (int)syscall(SYS_fdatasync, fd);
    errno = EIO;
    return -1;
}

static struct spool *open_kept(const char *dir)
{
    struct spool_options options = rig_options(dir, 64);
    options.keep_delivered_ns = UINT64_MAX;
    return rig_open(&options);
}

static struct spool_replay replay(struct spool_lane *lane, uint64_t first, uint64_t end, bool dry_run)
{
    struct spool_replay out;
    struct weir_err err = {0};
    cr_assert_eq(spool_lane_replay(lane, first, end, dry_run, &out, &err), WEIR_OK, "%s", err.text);
    return out;
}

static int refused(struct spool_lane *lane, uint64_t first, uint64_t end)
{
    struct spool_replay out;
    struct weir_err err = {0};
    struct spool_lane_stats before = kit_ledger(lane), after;
    int code = spool_lane_replay(lane, first, end, false, &out, &err);
    after = kit_ledger(lane);
    cr_expect_eq(memcmp(&before, &after, sizeof(before)), 0, "nothing was added");
    cr_expect(code == WEIR_OK || err.text[0] != '\0');
    return code;
}

static void note(void *ctx, uint64_t number, uint64_t seed)
{
    cr_assert_eq(number, seed);
    ((uint8_t *)ctx)[number]++;
}

Test(spool_replay, what_was_delivered_is_delivered_again, .timeout = 60)
{
    char *dir = kit_directory();
    struct spool *spool = open_kept(dir);
    struct spool_lane *a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    struct spool_lane *m = kit_lane(spool, "a", WEIR_METRICS, SPOOL_START_NOW);
    rig_fill(spool, 0, 12);
    rig_deliver(a, 0, 10);
    struct spool_replay dry = replay(a, 3, 8, true);
    cr_expect(dry.first == 3 && dry.end == 8 && dry.blocks == 5 && dry.items == rig_items(3, 8));
    cr_expect_eq(dry.raw_bytes, 5 * BLOCK_BYTES);
    cr_expect(dry.received_first_ns == RECEIVED(3) && dry.received_last_ns == RECEIVED(7));
    cr_expect_eq(kit_ledger(a).replayed, 0);
    struct spool_replay wet = replay(a, 3, 8, false);
    cr_expect_eq(memcmp(&dry, &wet, sizeof(dry)), 0);
    struct spool_lane_stats s = kit_ledger(a);
    cr_expect(s.replayed == rig_items(3, 8) && s.accepted == rig_items(0, 12) + rig_items(3, 8));
    cr_expect_eq(s.pending, rig_items(3, 8) + rig_items(10, 12));
    // Twice is once, as long as it is pending; beyond what there is is what there is.
    cr_expect_eq(refused(a, 3, 8), WEIR_E_NOT_FOUND);
    wet = replay(a, 2, 1000, false);
    cr_expect(wet.first == 2 && wet.end == 10 && wet.blocks == 3);
    cr_expect_eq(kit_ledger(a).replayed, rig_items(2, 10));
    cr_expect_eq(refused(m, 0, 1000), WEIR_E_NOT_FOUND); // nothing of that signal
    cr_expect_eq(refused(a, 12, 14), WEIR_E_NOT_FOUND);
    cr_expect_eq(refused(a, 5, 5), WEIR_E_NOT_FOUND);
    spool_close(spool);
    // It survives, and is what is delivered next.
    spool = open_kept(dir);
    a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    uint8_t seen[12] = {0};
    cr_expect_eq(kit_drain(spool, a, WEIR_TRACES, 100, note, seen), 10);
    for (unsigned i = 0; i < 12; i++)
        cr_expect_eq(seen[i], i >= 2);
    s = kit_ledger(a);
    cr_expect_eq(s.delivered, rig_items(0, 12) + rig_items(2, 10));
    cr_expect_eq(s.evicted + s.pending, 0);
    spool_close(spool);
    kit_remove_directory(dir);
}

Test(spool_replay, what_is_under_way_is_delivered_once, .timeout = 60)
{
    char *dir = kit_directory();
    struct spool *spool = open_kept(dir);
    struct spool_lane *a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    rig_fill(spool, 0, 6);
    rig_deliver(a, 0, 2);
    // 2 and 3 are under way: they are pending, so only 0 and 1 are added, and the answer settles what it was asked for.
    struct spool_replay out = replay(a, 0, 4, false);
    cr_expect(out.first == 0 && out.end == 2 && out.items == rig_items(0, 2));
    rig_deliver(a, 2, 4);
    struct spool_lane_stats s = kit_ledger(a);
    cr_expect_eq(s.delivered, rig_items(0, 4));
    cr_expect_eq(s.pending, rig_items(0, 2) + rig_items(4, 6));
    cr_expect_eq(s.replayed, rig_items(0, 2));
    spool_close(spool);
    kit_remove_directory(dir);
}

static void remove_segment_file(const char *dir, unsigned long long first)
{
    char path[1024];
    snprintf(path, sizeof(path), "%s/" SPOOL_SEGMENT_NAME, dir, first);
    cr_assert_eq(unlink(path), 0);
}

Test(spool_replay, holes_are_left_out, .timeout = 60)
{
    char *dir = kit_directory();
    struct spool *spool = open_kept(dir);
    struct spool_lane *a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    rig_fill(spool, 0, 14);
    rig_deliver(a, 0, 14);
    spool_close(spool);
    remove_segment_file(dir, 0);
    remove_segment_file(dir, 4);
    remove_segment_file(dir, 8);
    spool = open_kept(dir);
    a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    struct spool_replay out = replay(a, 0, 13, false);
    cr_expect(out.first == 2 && out.end == 13 && out.blocks == 7);
    cr_expect_eq(out.items, rig_items(2, 4) + rig_items(6, 8) + rig_items(10, 13));
    struct spool_interval in[8];
    cr_assert_eq(spool_lane_intervals(a, in, 8), 4); // and the one that follows
    cr_expect(in[0].first == 2 && in[0].end == 4 && in[1].first == 6 && in[1].end == 8);
    cr_expect(in[2].first == 10 && in[2].end == 13);
    cr_expect_eq(refused(a, 4, 6), WEIR_E_NOT_FOUND);
    // A new lane from the oldest gets the same pieces, and no loss.
    struct spool_lane *b = kit_lane(spool, "b", WEIR_TRACES, SPOOL_START_OLDEST);
    cr_assert_eq(spool_lane_intervals(b, in, 8), 3);
    cr_expect(in[2].first == 10 && in[2].end == SPOOL_END);
    rig_fill(spool, 14, 16);
    spool_close(spool);
    spool = open_kept(dir);
    a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    b = kit_lane(spool, "b", WEIR_TRACES, SPOOL_START_OLDEST); // it has a place by now, and keeps it
    cr_expect_eq(kit_ledger(b).accepted, rig_items(2, 4) + rig_items(6, 8) + rig_items(10, 16));
    cr_expect_eq(kit_drain(spool, a, WEIR_TRACES, 100, NULL, NULL), 9);
    cr_expect_eq(kit_drain(spool, b, WEIR_TRACES, 100, NULL, NULL), 10);
    cr_expect_eq(kit_ledger(a).evicted + kit_ledger(b).evicted, 0);
    cr_expect_eq(kit_ledger(a).pending + kit_ledger(b).pending, 0);
    spool_close(spool);
    cr_expect_eq(rig_event_count(), 0);
    kit_remove_directory(dir);
}

Test(spool_replay, oldest_is_what_eviction_left, .timeout = 120)
{
    char *dir = kit_directory();
    struct spool_options options = rig_options(dir, 12);
    options.evict_oldest = true;
    struct spool *spool = rig_open(&options);
    kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    rig_fill(spool, 0, 40);
    spool_close(spool);
    spool = rig_open(&options);
    rig_keeper_round(spool);
    uint64_t first = rig_stats(spool).first_block;
    cr_expect(first > 20 && first < 40);
    struct spool_lane *b = kit_lane(spool, "b", WEIR_TRACES, SPOOL_START_OLDEST);
    cr_expect_eq(kit_ledger(b).accepted, rig_items(first, 40));
    uint64_t received_first, received_end;
    cr_expect_eq(spool_find_received(spool, 0, UINT64_MAX, &received_first, &received_end, NULL), WEIR_OK);
    cr_expect(received_first == first && received_end == 40);
    cr_expect_eq(kit_drain(spool, b, WEIR_TRACES, 100, NULL, NULL), 40 - first);
    cr_expect_eq(kit_ledger(b).evicted, 0);
    spool_close(spool);
    kit_remove_directory(dir);
}

Test(spool_replay, too_many_pieces_add_nothing, .timeout = 60)
{
    char *dir = kit_directory();
    struct spool *spool = open_kept(dir);
    struct spool_lane *a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    struct kit_wait wait = KIT_WAIT;
    for (uint64_t i = 0; i < 260; i++)
        kit_send(spool, &wait, kit_block(WEIR_TRACES, i, 100));
    cr_assert_eq(kit_join(&wait), WEIR_OK);
    rig_deliver(a, 0, 2);
    for (uint64_t i = 3; i < 255; i += 2) // 127 intervals: 2, 4, 6 … and the last
        rig_deliver(a, i, i + 1);
    rig_fill(spool, 260, 264);
    cr_expect_eq(spool_lane_intervals(a, NULL, 0), 127);
    replay(a, 0, 1, false);   // the 128th
    rig_deliver(a, 258, 259); // waits: it would be the 129th
    cr_expect_eq(rig_stats(spool).settlements_waiting, 1);
    rig_deliver(a, 2, 3);
    rig_deliver(a, 4, 5);
    KIT_UNTIL(rig_stats(spool).settlements_waiting == 0);
    rig_deliver(a, 260, 261);
    cr_expect_eq(spool_lane_intervals(a, NULL, 0), 128);
    cr_expect_eq(refused(a, 3, 4), WEIR_E_LIMIT);       // apart from all others
    struct spool_replay out = replay(a, 5, 300, false); // joins them: fewer than before
    cr_expect_eq(out.end, 261);
    cr_expect_eq(spool_lane_intervals(a, NULL, 0), 2);
    kit_ledger(a);
    spool_close(spool);
    kit_remove_directory(dir);
}

Test(spool_replay, what_is_not_durable_was_not_added, .timeout = 60)
{
    char *dir = kit_directory();
    struct spool *spool = open_kept(dir);
    struct spool_lane *a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    rig_fill(spool, 0, 6);
    rig_deliver(a, 0, 4);
    atomic_store(&flushes_fail, true);
    cr_expect_eq(refused(a, 0, 3), WEIR_E_IO);
    atomic_store(&flushes_fail, false);
    replay(a, 0, 3, false);
    // Durable when it returns: a process that dies then has added it.
    spool_close(spool);
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct spool_options options = rig_options(dir, 64);
        struct spool_replay out;
        options.keep_delivered_ns = UINT64_MAX;
        if (spool_open(&options, &spool, NULL, NULL) == WEIR_OK &&
            spool_lane_open(spool, "a", WEIR_TRACES, SPOOL_START_NOW, &a, NULL) == WEIR_OK &&
            spool_lane_replay(a, 3, 4, false, &out, NULL) == WEIR_OK)
            _exit(7); // nothing is closed, and nothing said goodbye
        _exit(1);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 7, "%x", status);
    spool = open_kept(dir);
    a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    cr_expect_eq(kit_ledger(a).replayed, rig_items(0, 4));
    cr_expect_eq(kit_drain(spool, a, WEIR_TRACES, 100, NULL, NULL), 6);
    spool_close(spool);
    kit_remove_directory(dir);
}

static void check_found(struct spool *spool, uint64_t since, uint64_t until, uint64_t first, uint64_t end)
{
    uint64_t a = 0, b = 0;
    struct weir_err err = {0};
    int code = spool_find_received(spool, since, until, &a, &b, &err);
    cr_expect_eq(code, first < end ? WEIR_OK : WEIR_E_NOT_FOUND, "%llu to %llu: %s", (unsigned long long)since,
                 (unsigned long long)until, err.text);
    if (first < end)
        cr_expect(a == first && b == end, "%llu to %llu: %llu to %llu", (unsigned long long)since,
                  (unsigned long long)until, (unsigned long long)a, (unsigned long long)b);
}

Test(spool_replay, times_are_found_to_the_block, .timeout = 120)
{
    enum { BLOCKS = 41 };
    char *dir = kit_directory();
    struct spool *spool = open_kept(dir);
    check_found(spool, 0, UINT64_MAX, 0, 0);
    kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    for (uint64_t i = 0; i < BLOCKS; i++) // one each 10 ns
        cr_assert_eq(kit_append(spool, i % 3 == 0 ? WEIR_LOGS : WEIR_TRACES, i * 10, BLOCK_BYTES), WEIR_OK);
    for (int run = 0; run < 2; run++) { // with the segment that is written, and without
        for (uint64_t i = 0; i < BLOCKS; i += 3)
            for (uint64_t n = 1; i + n <= BLOCKS; n += 7) {
                check_found(spool, RECEIVED(i * 10), RECEIVED((i + n) * 10), i, i + n);
                check_found(spool, RECEIVED(i * 10) - 5, RECEIVED((i + n) * 10) - 5, i, i + n);
                check_found(spool, RECEIVED(i * 10) + 1, RECEIVED(i * 10) + 9, 0, 0); // between two
            }
        check_found(spool, 0, RECEIVED(0), 0, 0);
        check_found(spool, 0, RECEIVED(0) + 1, 0, 1);
        check_found(spool, RECEIVED(BLOCKS * 10 - 10), UINT64_MAX, BLOCKS - 1, BLOCKS);
        check_found(spool, RECEIVED(BLOCKS * 10), UINT64_MAX, 0, 0);
        check_found(spool, 50, 50, 0, 0);
        spool_close(spool);
        spool = open_kept(dir);
    }
    spool_close(spool);
    remove_segment_file(dir, 10);
    spool = open_kept(dir);
    check_found(spool, RECEIVED(100), RECEIVED(120), 0, 0); // exactly what is missing
    check_found(spool, RECEIVED(80), RECEIVED(130), 8, 13);
    spool_close(spool);
    kit_remove_directory(dir);
}

// Blocks of several ingest loops lie side by side, not in the order of their receipt.
Test(spool_replay, times_out_of_order_are_found_too, .timeout = 60)
{
    static const uint64_t received[] = {0, 10, 20, 35, 30, 25, 40, 50, 45, 60};
    char *dir = kit_directory();
    struct spool *spool = open_kept(dir);
    for (size_t i = 0; i < WEIR_COUNT(received); i++)
        cr_assert_eq(kit_append(spool, WEIR_TRACES, received[i], 100), WEIR_OK);
    check_found(spool, RECEIVED(30), RECEIVED(31), 4, 5);
    check_found(spool, RECEIVED(25), RECEIVED(36), 3, 6);
    check_found(spool, RECEIVED(45), RECEIVED(46), 8, 9);
    check_found(spool, RECEIVED(50), RECEIVED(60), 7, 8);
    spool_close(spool);
    kit_remove_directory(dir);
}

// A replay and the keeper that would remove what it names, at the same time.
Test(spool_replay, what_it_finds_is_not_removed_under_it, .timeout = 120)
{
    char *dir = kit_directory();
    struct spool_options options = rig_options(dir, 64);
    struct spool *spool = rig_open(&options);
    struct spool_lane *a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    uint64_t replayed = 0, end = 0;
    for (unsigned i = 0; i < 30; i++, end += 3) {
        struct spool_replay out = {0};
        rig_fill(spool, end, end + 3);
        rig_deliver(a, end, end + 3);
        atomic_store(&spool->retention_due, true);
        keeper_wake(spool);
        int code = spool_lane_replay(a, 0, SPOOL_END, false, &out, NULL);
        cr_assert(code == WEIR_OK || code == WEIR_E_NOT_FOUND);
        replayed += out.items;
        if (i % 2 == 0)
            kit_drain(spool, a, WEIR_TRACES, 1000, NULL, NULL);
        kit_ledger(a);
    }
    kit_drain(spool, a, WEIR_TRACES, 1000, NULL, NULL);
    struct spool_lane_stats s = kit_ledger(a);
    cr_expect_eq(s.replayed, replayed);
    cr_expect_eq(s.delivered, rig_items(0, end) + replayed);
    cr_expect_eq(s.evicted, 0);
    spool_close(spool);
    kit_remove_directory(dir);
}
