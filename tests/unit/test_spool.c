// SPDX-License-Identifier: Apache-2.0
#include <stdatomic.h>

#include "spool_kit.h"
#include "storage/dead_letter.h"

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

Test(spool, rotates_serves_several_lanes_and_unlinks_what_all_passed)
{
    char *dir = kit_directory();
    struct spool *spool = kit_open(dir, 64, NULL);
    struct spool_lane *a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    struct spool_lane *m = kit_lane(spool, "a", WEIR_METRICS, SPOOL_START_NOW);
    struct spool_lane *b = kit_lane(spool, "b", WEIR_TRACES, SPOOL_START_NOW);
    struct spool_lane *idle = kit_lane(spool, "b", WEIR_PROFILES, SPOOL_START_NOW);
    struct spool_stats stats;
    for (uint64_t i = 0; i < 120; i++)
        cr_assert_eq(kit_append(spool, i % 3 == 0 ? WEIR_METRICS : WEIR_TRACES, i, 60000), WEIR_OK);
    spool_stats_get(spool, &stats);
    cr_assert_geq(stats.segments, 7);
    cr_assert_eq(stats.commits, 120);
    cr_assert_eq(stats.committed_requests, 120);
    cr_assert_eq(stats.commit_seconds.counts[SPOOL_HISTOGRAM_BUCKETS - 1], 120);
    cr_assert_eq(stats.oldest_received_ns, 1000);
    cr_assert_eq(kit_ledger(a).pending, kit_ledger(b).pending);

    cr_assert_eq(kit_drain(spool, a, WEIR_TRACES, 1000, NULL, NULL), 80);
    cr_assert_eq(kit_drain(spool, m, WEIR_METRICS, 1000, NULL, NULL), 40);
    cr_assert_eq(kit_ledger(a).pending + kit_ledger(m).pending, 0);
    spool_stats_get(spool, &stats);
    cr_assert_geq(stats.segments, 7, "lane b still needs them");
    cr_assert_eq(kit_drain(spool, b, WEIR_TRACES, 40, NULL, NULL), 40);
    KIT_UNTIL((spool_stats_get(spool, &stats), stats.first_block >= 39));
    cr_assert_leq(stats.first_block, 60);
    cr_assert_eq(kit_drain(spool, b, WEIR_TRACES, 1000, NULL, NULL), 40);
    KIT_UNTIL((spool_stats_get(spool, &stats), stats.segments == 1));
    cr_assert_eq(kit_files(dir, "seg-", NULL, 0), 1);
    cr_assert_eq(stats.next_block, 120);
    cr_assert_eq(kit_ledger(idle).accepted, 0);
    spool_close(spool);
    kit_remove_directory(dir);
}

Test(spool, a_view_outlives_the_removal_of_its_segment)
{
    char *dir = kit_directory();
    struct spool *spool = kit_open(dir, 64, NULL);
    struct spool_lane *lane = kit_lane(spool, "a", WEIR_LOGS, SPOOL_START_NOW);
    struct spool_reader *reader = spool_reader_new(spool);
    for (uint64_t i = 0; i < 200; i++) // more than is kept in memory
        cr_assert_eq(kit_append(spool, WEIR_LOGS, i, 60000), WEIR_OK);
    struct block_view view;
    uint64_t skip_to;
    cr_assert_eq(spool_reader_next(reader, WEIR_LOGS, 0, SPOOL_END, &view, &skip_to, NULL), WEIR_OK);
    cr_assert_eq(kit_drain(spool, lane, WEIR_LOGS, 1000, NULL, NULL), 200);
    struct spool_stats stats;
    KIT_UNTIL((spool_stats_get(spool, &stats), stats.segments == 1));
    cr_assert_eq(kit_check_view(&view), 0);
    block_view_release(&view);
    cr_assert_null(view.pin);
    cr_assert_eq(spool_reader_next(reader, WEIR_LOGS, 0, SPOOL_END, &view, &skip_to, NULL), WEIR_OK,
                 "what every lane passed is gone, and not missing");
    cr_assert_geq(view.number, stats.first_block);
    block_view_release(&view);
    spool_reader_free(reader);
    spool_close(spool);
    kit_remove_directory(dir);
}

Test(spool, settles_out_of_order_and_remembers_it)
{
    char *dir = kit_directory();
    struct spool *spool = kit_open(dir, 64, NULL);
    struct spool_lane *lane = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    uint64_t items = 0, open_items = 0;
    for (uint64_t i = 0; i < 60; i++) {
        cr_assert_eq(kit_append(spool, WEIR_TRACES, i, 30000), WEIR_OK);
        items += kit_items(i);
    }
    for (uint64_t i = 59; i < 60; i -= 2) { // every second one, from the end
        struct spool_outcome outcome = {
            .delivered = kit_items(i) - 1, .dead_lettered = 1, .rejected_by_upstream = i % 2};
        struct spool_dead_letter letter = {.upstream = "a", .code = "c", .message = "m", .block = i, .items = 1};
        cr_assert_eq(spool_dead_letter_put(spool, &letter, NULL), WEIR_OK);
        spool_lane_settle(lane, i, i + 1, &outcome);
        cr_assert_eq(kit_ledger(lane).accepted, items);
    }
    struct spool_interval in[64];
    cr_assert_eq(spool_lane_intervals(lane, in, 64), 31);
    for (uint64_t i = 0; i < 30; i++) {
        cr_assert_eq(in[i].first, 2 * i);
        cr_assert_eq(in[i].end, 2 * i + 1);
        open_items += kit_items(2 * i);
    }
    cr_assert_eq(in[30].first, 60);
    cr_assert_eq(in[30].end, SPOOL_END);
    struct spool_lane_stats before = kit_ledger(lane);
    cr_assert_eq(before.pending, open_items);
    cr_assert_eq(before.dead_lettered, 30);
    spool_close(spool);

    spool = kit_open(dir, 64, NULL);
    lane = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    struct spool_lane_stats after = kit_ledger(lane);
    cr_assert_arr_eq(&after, &before, sizeof(before));
    cr_assert_eq(spool_lane_intervals(lane, in, 64), 31);
    // The same range again, and one that overlaps what is settled: nothing counts twice.
    struct spool_outcome outcome = {.delivered = 1000};
    spool_lane_settle(lane, 59, 60, &outcome);
    cr_assert_eq(kit_ledger(lane).delivered, before.delivered);
    spool_lane_settle(lane, 0, 60, &outcome);
    after = kit_ledger(lane);
    cr_assert_eq(after.pending, 0);
    cr_assert_eq(after.delivered, before.delivered + open_items);
    // An outcome that forgets items: they are lost, and the ledger says so.
    cr_assert_eq(kit_append(spool, WEIR_TRACES, 4, 100), WEIR_OK);
    outcome = (struct spool_outcome){.delivered = 2, .discarded = 1};
    spool_lane_settle(lane, 60, 61, &outcome);
    after = kit_ledger(lane);
    cr_assert_eq(after.evicted, 2);
    cr_assert_eq(after.discarded, 1);
    spool_close(spool);
    kit_remove_directory(dir);
}

Test(spool, more_gaps_than_a_lane_can_hold_are_delivered_again)
{
    char *dir = kit_directory();
    struct spool *spool = kit_open(dir, 64, NULL);
    struct spool_lane *lane = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    struct kit_wait wait = KIT_WAIT;
    for (uint64_t i = 0; i < 400; i++)
        kit_send(spool, &wait, kit_block(WEIR_TRACES, i, 50));
    kit_join(&wait);
    for (uint64_t i = 1; i < 400; i += 2) {
        struct spool_outcome outcome = {.delivered = kit_items(i)};
        spool_lane_settle(lane, i, i + 1, &outcome);
        kit_ledger(lane);
    }
    cr_assert_eq(spool_lane_intervals(lane, NULL, 0), 128);
    cr_assert_geq(kit_drain(spool, lane, WEIR_TRACES, 1000, NULL, NULL), 200);
    cr_assert_eq(kit_ledger(lane).pending, 0);
    cr_assert_eq(kit_ledger(lane).evicted, 0);
    spool_close(spool);
    kit_remove_directory(dir);
}

Test(spool, restarts_at_every_stage)
{
    char *dir = kit_directory();
    uint64_t sent = 0, next = 0;
    struct spool_lane_stats before = {0};
    for (unsigned round = 0; round < 12; round++) {
        struct spool_report report;
        struct spool *spool = kit_open(dir, 64, &report);
        cr_assert_eq(report.next_block, sent);
        cr_assert_eq(report.damaged + report.lost_blocks, 0);
        cr_assert_leq(report.segments_opened, 2);
        struct spool_lane *lane = kit_lane(spool, "a", WEIR_METRICS, SPOOL_START_NOW);
        struct spool_lane_stats now = kit_ledger(lane);
        cr_assert_eq(now.accepted, before.accepted);
        cr_assert_eq(now.delivered, before.delivered);
        cr_assert_eq(now.pending, before.pending);
        for (unsigned i = 0; i < round * 3; i++)
            cr_assert_eq(kit_append(spool, WEIR_METRICS, sent++, 50000), WEIR_OK);
        kit_drain(spool, lane, WEIR_METRICS, round * 2, seen_count, &next);
        before = kit_ledger(lane);
        spool_close(spool);
    }
    struct spool *spool = kit_open(dir, 64, NULL);
    struct spool_lane *lane = kit_lane(spool, "a", WEIR_METRICS, SPOOL_START_NOW);
    kit_drain(spool, lane, WEIR_METRICS, 10000, seen_count, &next);
    cr_assert_eq(next, sent);
    cr_assert_eq(kit_ledger(lane).pending, 0);
    spool_close(spool);
    kit_remove_directory(dir);
}

struct orphans {
    unsigned n;
    uint64_t pending;
};

static void count_orphan(void *ctx, const char *upstream, enum weir_signal signal, uint64_t pending_items)
{
    struct orphans *orphans = ctx;
    cr_assert_str_eq(upstream, "gone");
    cr_assert_eq(signal, WEIR_LOGS);
    orphans->n++;
    orphans->pending = pending_items;
}

Test(spool, orphan_lanes_keep_their_data_and_get_no_more)
{
    char *dir = kit_directory();
    struct spool *spool = kit_open(dir, 64, NULL);
    kit_lane(spool, "gone", WEIR_LOGS, SPOOL_START_NOW);
    for (uint64_t i = 0; i < 30; i++)
        cr_assert_eq(kit_append(spool, WEIR_LOGS, i, 60000), WEIR_OK);
    spool_close(spool);
    uint64_t items = 2 * 45; // 30 of 1..5

    spool = kit_open(dir, 64, NULL);
    struct spool_lane *stays = kit_lane(spool, "stays", WEIR_LOGS, SPOOL_START_NOW);
    struct orphans orphans = {0};
    spool_orphans(spool, count_orphan, &orphans);
    cr_assert_eq(orphans.n, 1);
    cr_assert_eq(orphans.pending, items);
    for (uint64_t i = 30; i < 60; i++)
        cr_assert_eq(kit_append(spool, WEIR_LOGS, i, 60000), WEIR_OK);
    orphans = (struct orphans){0};
    spool_orphans(spool, count_orphan, &orphans);
    cr_assert_eq(orphans.pending, items);
    cr_assert_eq(kit_drain(spool, stays, WEIR_LOGS, 1000, NULL, NULL), 30);
    struct spool_stats stats;
    spool_stats_get(spool, &stats);
    cr_assert_eq(stats.first_block, 0, "the orphan's data is still there");
    spool_close(spool);

    // It comes back: its old data is there, what came while it was away is not its own.
    spool = kit_open(dir, 64, NULL);
    struct spool_lane *back = kit_lane(spool, "gone", WEIR_LOGS, SPOOL_START_OLDEST);
    cr_assert_eq(kit_ledger(back).accepted, items);
    cr_assert_eq(kit_append(spool, WEIR_LOGS, 60, 1000), WEIR_OK);
    cr_assert_eq(kit_ledger(back).accepted, items + 1);
    cr_assert_eq(kit_drain(spool, back, WEIR_LOGS, 1000, NULL, NULL), 31);
    cr_assert_eq(kit_ledger(back).delivered, items + 1);
    spool_close(spool);
    kit_remove_directory(dir);
}

Test(spool, a_new_lane_starts_now_or_at_the_oldest)
{
    char *dir = kit_directory();
    struct spool *spool = kit_open(dir, 64, NULL);
    kit_lane(spool, "first", WEIR_LOGS, SPOOL_START_NOW);
    for (uint64_t i = 0; i < 20; i++)
        cr_assert_eq(kit_append(spool, WEIR_LOGS, i, 60000), WEIR_OK);
    struct spool_lane *now = kit_lane(spool, "now", WEIR_LOGS, SPOOL_START_NOW);
    struct spool_lane *oldest = kit_lane(spool, "oldest", WEIR_LOGS, SPOOL_START_OLDEST);
    cr_assert_eq(kit_ledger(now).accepted, 0);
    cr_assert_eq(kit_ledger(oldest).pending, 60);
    cr_assert_eq(kit_append(spool, WEIR_LOGS, 20, 60000), WEIR_OK);
    cr_assert_eq(kit_ledger(now).pending, 1);
    cr_assert_eq(kit_drain(spool, oldest, WEIR_LOGS, 1000, NULL, NULL), 21);
    spool_close(spool);
    kit_remove_directory(dir);
}

Test(spool, a_second_process_is_told_who_holds_it)
{
    char *dir = kit_directory();
    struct spool *spool = kit_open(dir, 64, NULL), *second;
    struct spool_options options = kit_options(dir, 64);
    struct weir_err err = {0};
    cr_assert_eq(spool_open(&options, &second, NULL, &err), WEIR_E_HELD);
    cr_assert_not_null(strstr(err.text, "weir test"), "%s", err.text);
    cr_assert_not_null(strstr(err.text, dir), "%s", err.text);
    spool_close(spool);
    spool_close(kit_open(dir, 64, NULL));
    kit_remove_directory(dir);
}

Test(spool, refuses_what_is_no_spool_and_wrong_sizes)
{
    char *dir = kit_directory();
    char path[600];
    snprintf(path, sizeof(path), "%s/letter.txt", dir);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    struct spool *spool;
    struct weir_err err = {0};
    struct spool_options options = kit_options(dir, 64);
    cr_assert_eq(spool_open(&options, &spool, NULL, &err), WEIR_E_INVALID);
    cr_assert_not_null(strstr(err.text, "letter.txt"), "%s", err.text);
    cr_assert_eq(kit_files(dir, "", NULL, 0), 3, "nothing was made in it"); // . and ..
    options.directory = path;
    cr_assert_eq(spool_open(&options, &spool, NULL, &err), WEIR_E_INVALID);
    snprintf(path, sizeof(path), "%s/none/none", dir);
    cr_assert_eq(spool_open(&options, &spool, NULL, &err), WEIR_E_IO == err.code ? WEIR_E_IO : WEIR_E_NOT_FOUND);
    options = kit_options(dir, 6);
    cr_assert_eq(spool_open(&options, &spool, NULL, &err), WEIR_E_INVALID);
    options = kit_options(dir, 64);
    options.segment_bytes = MIB + 4096;
    cr_assert_eq(spool_open(&options, &spool, NULL, &err), WEIR_E_INVALID);
    kit_remove_directory(dir);
}

Test(spool, full_refuses_drains_and_heals)
{
    char *dir = kit_directory();
    struct spool *spool = kit_open(dir, 12, NULL);
    struct spool_lane *lane = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    struct spool_stats stats;
    uint64_t sent = 0, next = 0;
    for (unsigned round = 0; round < 3; round++) {
        int code;
        while ((code = kit_append(spool, WEIR_TRACES, sent, 60000)) == WEIR_OK) {
            sent++;
            cr_assert_lt(sent, 1000);
            spool_stats_get(spool, &stats);
            cr_assert_leq(stats.used_bytes, 12 * MIB);
        }
        cr_assert_eq(code, WEIR_E_FULL);
        cr_assert_eq(spool_state_now(spool), SPOOL_FULL);
        spool_stats_get(spool, &stats);
        cr_assert_neq(stats.reason[0], '\0');
        cr_assert_eq(stats.next_block, sent);
        kit_drain(spool, lane, WEIR_TRACES, 10000, seen_count, &next);
        cr_assert_eq(next, sent);
        kit_ledger(lane);
        KIT_UNTIL(spool_state_now(spool) == SPOOL_OK);
        spool_stats_get(spool, &stats);
        cr_assert_eq(stats.reason[0], '\0', "%s", stats.reason);
    }
    cr_assert_gt(sent, 200);
    spool_close(spool);
    kit_remove_directory(dir);
}

Test(spool, a_block_larger_than_a_segment_gets_its_own)
{
    char *dir = kit_directory();
    struct spool *spool = kit_open(dir, 64, NULL);
    struct spool_lane *lane = kit_lane(spool, "a", WEIR_LOGS, SPOOL_START_NOW);
    uint64_t next = 0;
    cr_assert_eq(kit_append(spool, WEIR_LOGS, 0, 1000), WEIR_OK);
    cr_assert_eq(kit_append(spool, WEIR_LOGS, 1, 5 * MIB), WEIR_OK);
    cr_assert_eq(kit_append(spool, WEIR_LOGS, 2, MIB), WEIR_OK);
    cr_assert_eq(kit_append(spool, WEIR_LOGS, 3, 80 * MIB), WEIR_E_FULL);
    KIT_UNTIL(spool_state_now(spool) == SPOOL_OK);
    cr_assert_eq(kit_append(spool, WEIR_LOGS, 3, 1000), WEIR_OK);
    cr_assert_eq(kit_drain(spool, lane, WEIR_LOGS, 10, seen_count, &next), 4);
    spool_close(spool);
    kit_remove_directory(dir);
}

Test(spool, dead_letters_are_durable_replaced_and_limited)
{
    char *dir = kit_directory();
    struct spool_options options = kit_options(dir, 64);
    options.dead_letter_bytes = MIB;
    struct weir_err err = {0};
    struct spool *spool;
    cr_assert_eq(spool_open(&options, &spool, NULL, &err), WEIR_OK, "%s", err.text);
    uint8_t raw[50000];
    kit_fill(raw, sizeof(raw), 7);
    struct spool_dead_letter letter = {.upstream = "a",
                                       .signal = WEIR_TRACES,
                                       .code = "INVALID_ARGUMENT",
                                       .message = "no",
                                       .attempts = 1,
                                       .items = 3,
                                       .raw = {raw, sizeof(raw)}};
    for (unsigned twice = 0; twice < 2; twice++)
        for (letter.block = 0; letter.block < 5; letter.block++)
            cr_assert_eq(spool_dead_letter_put(spool, &letter, &err), WEIR_OK, "%s", err.text);
    struct spool_stats stats;
    spool_stats_get(spool, &stats);
    cr_assert_eq(stats.dead_letter_requests, 5);
    cr_assert_eq(stats.dead_letter_items, 15);
    cr_assert_geq(stats.dead_letter_bytes, 250000);
    spool_close(spool);
    cr_assert_eq(spool_open(&options, &spool, NULL, &err), WEIR_OK, "%s", err.text);
    spool_stats_get(spool, &stats);
    cr_assert_eq(stats.dead_letter_items, 15);
    for (; letter.block < 100; letter.block++) { // the oldest go
        cr_assert_eq(spool_dead_letter_put(spool, &letter, &err), WEIR_OK, "%s", err.text);
        spool_stats_get(spool, &stats);
        cr_assert_leq(stats.dead_letter_bytes, MIB);
    }
    cr_assert_geq(stats.dead_letter_requests, 15);
    cr_assert_leq(stats.dead_letter_requests, 20);
    static uint8_t large[2 * MIB];
    kit_fill(large, sizeof(large), 8);
    letter.raw = (struct weir_slice){large, sizeof(large)};
    cr_assert_eq(spool_dead_letter_put(spool, &letter, &err), WEIR_E_LIMIT, "%s", err.text);
    cr_assert_eq(kit_append(spool, WEIR_TRACES, 1, 1000), WEIR_OK, "a full dead letter file stops nothing else");
    spool_close(spool);
    kit_remove_directory(dir);
}

struct traffic {
    struct spool *spool;
    struct spool_lane *lane;
    enum weir_signal signal;
    atomic_bool *sending;
    uint64_t first;
};

static void *send_traffic(void *arg)
{
    struct traffic *t = arg;
    for (uint64_t i = 0; i < 150; i++)
        cr_assert_eq(kit_append(t->spool, t->signal, t->first + i, 20000 + i % 7 * 3000), WEIR_OK);
    return NULL;
}

static void *drain_traffic(void *arg)
{
    struct traffic *t = arg;
    bool last = false;
    while (!last) {
        last = !atomic_load(t->sending);
        kit_drain(t->spool, t->lane, t->signal, 1000, NULL, NULL);
        kit_ledger(t->lane);
        struct spool_stats stats;
        spool_stats_get(t->spool, &stats);
    }
    return NULL;
}

Test(spool, many_threads_at_once)
{
    char *dir = kit_directory();
    struct spool *spool = kit_open(dir, 64, NULL);
    atomic_bool sending = true;
    struct traffic traffic[4];
    pthread_t senders[4], drainers[4];
    for (unsigned i = 0; i < 4; i++) {
        enum weir_signal signal = i % 2 == 0 ? WEIR_TRACES : WEIR_METRICS;
        traffic[i] = (struct traffic){spool, kit_lane(spool, i < 2 ? "a" : "b", signal, SPOOL_START_NOW), signal,
                                      &sending, i * 1000};
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_create(&senders[i], NULL, send_traffic, &traffic[i]);
        pthread_create(&drainers[i], NULL, drain_traffic, &traffic[i]);
    }
    for (unsigned i = 0; i < 4; i++)
        pthread_join(senders[i], NULL);
    atomic_store(&sending, false);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(drainers[i], NULL);
    for (unsigned i = 0; i < 4; i++) {
        struct spool_lane_stats s = kit_ledger(traffic[i].lane);
        cr_assert_eq(s.delivered, 900); // two senders of 150 blocks, 3 items on average
        cr_assert_eq(s.pending, 0);
    }
    spool_close(spool);
    kit_remove_directory(dir);
}
