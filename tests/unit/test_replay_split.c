// SPDX-License-Identifier: Apache-2.0
// What is refused for its content, part by part.
#include "relay/handoff.h"
#include "tests/unit/split_rig.h"

TestSuite(replay_split, .timeout = 120);

// --- one poison item ----------------------------------------------------------------------------------------------------

// 2·log2(n), rounded down.
static int two_log2(uint64_t n)
{
    int k = 0;
    while (UINT64_C(2) << k <= n * n)
        k++;
    return k;
}

static void one_poison(int round)
{
    static const enum weir_signal signals[] = {WEIR_LOGS, WEIR_METRICS, WEIR_TRACES};
    enum weir_signal signal = signals[round % 3];
    enum config_order order = round % 2 ? CONFIG_ORDER_STRICT : CONFIG_ORDER_RELAXED;
    struct replay_rig *rig = new_rig(signal, order, round % 4 < 2 ? CONFIG_PROTOCOL_GRPC : CONFIG_PROTOCOL_HTTP);
    uint64_t items = append_random(rig, signal, 1 + rnd(8), 1 + rnd(15));
    uint64_t places[] = {0, items - 1, items / 2, rnd(items)};
    uint64_t poison = places[round / 4 % 4];
    poison_ids[poison] = true;
    rig_start(rig);
    RIG_DRAINED(rig, signal);
    cr_expect_leq(rig->seen_count - 1, two_log2(items), "round %d: %d extra exports for item %llu of %llu", round,
                  rig->seen_count - 1, (unsigned long long)poison, (unsigned long long)items);
    cr_expect_eq(rig_stats(rig).lanes[signal].dead_letter_requests, 1);
    expect_all_but_poison_once(rig, signal, items);
    for (size_t i = 1; i < rig->order_count; i++)
        cr_expect_lt(rig->order[i - 1], rig->order[i], "parts go in order");
    rig_free(rig);
}

Test(replay_split, one_poison_item_costs_two_log2_n_exports_and_nothing_else)
{
    random_state = seed();
    for (int round = 0; round < 96; round++)
        one_poison(round);
}

// --- one among few ------------------------------------------------------------------------------------------------------

// Even: of about one size. Else: one item each, and one block with the rest.
struct blocks {
    size_t count;
    uint64_t items[5];
};

static struct blocks share_out(uint64_t n, size_t count, bool even)
{
    struct blocks blocks = {.count = count};
    for (size_t i = 0; i < count; i++)
        blocks.items[i] = even ? n / count + (i < n % count) : 1;
    if (!even)
        blocks.items[n % count] = n - (count - 1);
    return blocks;
}

// What delivering them takes beyond one export, with one of them refused.
static int extra_exports(struct replay_rig *rig, const struct blocks *blocks, uint64_t n, uint64_t poison)
{
    struct spool_lane_stats before = rig_ledger(rig, WEIR_LOGS);
    replay_pause(rig->replay, true);
    pthread_mutex_lock(&rig->lock);
    memset(rig->delivered, 0, sizeof(rig->delivered));
    memset(poison_ids, 0, sizeof(poison_ids));
    poison_ids[poison] = true;
    rig->seen_count = 0;
    rig->order_count = 0;
    pthread_mutex_unlock(&rig->lock);
    uint64_t id = 0;
    for (size_t i = 0; i < blocks->count; id += blocks->items[i++])
        append_block(rig, WEIR_LOGS, id, &blocks->items[i], 1, 0);
    replay_pause(rig->replay, false);
    RIG_DRAINED(rig, WEIR_LOGS);
    struct spool_lane_stats after = rig_ledger(rig, WEIR_LOGS);
    cr_assert_eq(rig->seen[0].id_count, n, "all go together at first");
    cr_assert_eq(after.delivered - before.delivered, n - 1);
    cr_assert_eq(after.dead_lettered - before.dead_lettered, 1);
    for (uint64_t i = 0; i < n; i++)
        cr_assert_eq(rig->delivered[i], i != poison);
    for (size_t i = 1; i < rig->order_count; i++)
        cr_assert_lt(rig->order[i - 1], rig->order[i], "parts go in order");
    return rig->seen_count - 1;
}

static const size_t block_counts[] = {1, 2, 3, 5};

static int worst_of(struct replay_rig *rig, uint64_t n, uint64_t step)
{
    int worst = 0;
    for (size_t k = 0; k < WEIR_COUNT(block_counts) && block_counts[k] <= n; k++)
        for (int even = 0; even < 2; even++) {
            struct blocks blocks = share_out(n, block_counts[k], even);
            for (uint64_t poison = n % step; poison < n; poison += step) {
                int extra = extra_exports(rig, &blocks, n, poison);
                cr_expect_leq(extra, two_log2(n), "%d extra exports for item %llu of %llu in %zu %s blocks", extra,
                              (unsigned long long)poison, (unsigned long long)n, blocks.count,
                              even ? "even" : "uneven");
                worst = extra > worst ? extra : worst;
            }
        }
    return worst;
}

// Every number up to 64, of which parts may begin and end within blocks, and some above.
Test(replay_split, among_any_number_of_items_in_any_blocks_one_costs_two_log2_n_exports)
{
    const char *all = getenv("WEIR_TEST_POISON_ALL");
    random_state = seed() + 4;
    printf("replay_split: items, worst of extra exports (bound):");
    for (uint64_t n = 2; n <= 72; n++) {
        struct replay_rig *rig = new_rig(WEIR_LOGS, CONFIG_ORDER_STRICT, CONFIG_PROTOCOL_GRPC);
        rig_start(rig);
        int worst = worst_of(rig, n, all != NULL || n <= 32 ? 1 : n / 6);
        printf(" %d %d (%d)", (int)n, worst, two_log2(n));
        rig_free(rig);
    }
    printf("\n");
}

Test(replay_split, a_part_is_a_range_of_items_in_its_batch_id)
{
    struct replay_rig *rig = new_rig(WEIR_LOGS, CONFIG_ORDER_STRICT, CONFIG_PROTOCOL_GRPC);
    append_block(rig, WEIR_LOGS, 0, (uint64_t[]){2, 2}, 2, 0);
    append_block(rig, WEIR_LOGS, 4, (uint64_t[]){4}, 1, 0);
    poison_ids[6] = true;
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_LOGS);
    static const char *const ids[] = {"/logs/0-1", "/logs/0-0", "/logs/1-1/0-1", "/logs/1-1/2-2", "/logs/1-1/3-3"};
    cr_assert_eq(rig->seen_count, (int)WEIR_COUNT(ids));
    for (size_t i = 0; i < WEIR_COUNT(ids); i++)
        cr_expect_str_eq(strchr(rig->seen[i].batch, '/'), ids[i]);
    rig_free(rig);
}

// The rest of its batch id, and of its handoff what it covers.
static void expect_sent(const struct rig_seen *seen, const char *batch, const char *span)
{
    const char *covered = strchr(seen->handoff, '/');
    cr_expect_str_eq(strchr(seen->batch, '/'), batch);
    cr_assert_not_null(covered);
    cr_expect(strncmp(covered + 1, span, strlen(span)) == 0 && covered[1 + strlen(span)] == '/', "%s, not %s",
              seen->handoff, span);
}

static uint64_t settled[6]; // items that the ledger has as delivered when each export comes

static struct rig_answer refuse_and_look(struct replay_rig *rig, const struct rig_seen *seen)
{
    if (seen->index < 6)
        settled[seen->index] = rig_ledger(rig, WEIR_LOGS).delivered;
    return refuse_poison(rig, seen);
}

// A block is settled when all of it has an end, also when the part with that ends in the next one.
Test(replay_split, of_few_items_a_part_begins_and_ends_within_blocks)
{
    static const struct {
        uint64_t poison;
        const char *sent[6][2];
        uint64_t settled[6];
    } cases[] = {
        {1,
         {{"/logs/0-2", "0/3"},
          {"/logs/0-1/0-0", "0/1.1"},
          {"/logs/0-0", "0/1"},
          {"/logs/1-1/0-0", "1/1.1"},
          {"/logs/1-2/1-1", "1.1/3"}},
         {0, 0, 0, 1, 1}},
        {2,
         {{"/logs/0-2", "0/3"}, {"/logs/0-1/0-0", "0/1.1"}, {"/logs/1-1/1-1", "1.1/2"}, {"/logs/2-2", "2/3"}},
         {0, 0, 1, 2}},
        {4,
         {{"/logs/0-2", "0/3"},
          {"/logs/0-1/0-0", "0/1.1"},
          {"/logs/1-1/1-1", "1.1/2"},
          {"/logs/2-2/0-0", "2/2.1"},
          {"/logs/2-2/1-1", "2.1/3"}},
         {0, 0, 1, 3, 3}},
    };
    for (size_t c = 0; c < WEIR_COUNT(cases); c++) {
        struct replay_rig *rig = new_rig(WEIR_LOGS, CONFIG_ORDER_STRICT, CONFIG_PROTOCOL_GRPC);
        append_block(rig, WEIR_LOGS, 0, (uint64_t[]){1}, 1, 0);
        append_block(rig, WEIR_LOGS, 1, (uint64_t[]){2}, 1, 0);
        append_block(rig, WEIR_LOGS, 3, (uint64_t[]){2}, 1, 0);
        poison_ids[cases[c].poison] = true;
        rig->decide = refuse_and_look;
        rig_start(rig);
        RIG_DRAINED(rig, WEIR_LOGS);
        int n = 0;
        for (; n < 6 && cases[c].sent[n][0] != NULL && n < rig->seen_count; n++) {
            expect_sent(&rig->seen[n], cases[c].sent[n][0], cases[c].sent[n][1]);
            cr_expect_eq(settled[n], cases[c].settled[n], "%d at %s", (int)settled[n], cases[c].sent[n][0]);
        }
        cr_expect(rig->seen_count == n && cases[c].sent[n][0] == NULL, "%d exports", rig->seen_count);
        expect_all_but_poison_once(rig, WEIR_LOGS, 5);
        rig_free(rig);
    }
}

// Where a position lies among the items of four blocks.
static uint64_t place_of(struct position position, const uint64_t items[4])
{
    uint64_t at = 0;
    for (uint64_t b = 0; b < 4 && b < position.block; b++)
        at += items[b];
    return at + position.item;
}

// What it says of itself is what is in it: else an upstream takes for stored what it has not got.
static void expect_says_what_is_in_it(const struct rig_seen *seen, const uint64_t items[4])
{
    static const char batch[] = "0f8fad5b-d9cb-469f-a165-70867728950e/logs/0-0";
    struct handoff handoff = {0};
    cr_assert(handoff_parse((struct weir_slice){(const uint8_t *)batch, strlen(batch)},
                            (struct weir_slice){(const uint8_t *)seen->handoff, strlen(seen->handoff)}, WEIR_LOGS,
                            &handoff),
              "%s", seen->handoff);
    uint64_t from = place_of(handoff.span.from, items), to = place_of(handoff.span.to, items);
    cr_expect(seen->ids[seen->id_count - 1] == to - 1 && seen->ids[0] >= from &&
                  (handoff.span.from.item == 0 || seen->ids[0] == from),
              "%s has items %d to %d", seen->handoff, (int)seen->ids[0], (int)seen->ids[seen->id_count - 1]);
}

// A block that is found damaged when it is opened for a part is lost alone, wherever the part began; what is poison beside it is found.
Test(replay_split, of_few_items_a_damaged_block_is_lost_alone)
{
    for (int damaged = 0; damaged < 4; damaged++)
        for (uint64_t poison = 0; poison < 16; poison++) {
            struct replay_rig *rig = new_rig(WEIR_LOGS, CONFIG_ORDER_STRICT, CONFIG_PROTOCOL_GRPC);
            static const uint64_t items[] = {3, 6, 5, 2};
            uint64_t id = 0, lost_from = 0;
            for (int b = 0; b < 4; id += items[b++]) {
                spoil_table_next = b == damaged;
                lost_from = b == damaged ? id : lost_from;
                append_block(rig, WEIR_LOGS, id, &items[b], 1, 0);
            }
            uint64_t lost_to = lost_from + items[damaged];
            poison_ids[poison] = true;
            rig_start(rig);
            RIG_DRAINED(rig, WEIR_LOGS);
            struct spool_lane_stats ledger = rig_ledger(rig, WEIR_LOGS);
            uint64_t in_it = 0; // delivered with whole blocks, which need no table
            for (uint64_t i = 0; i < 16; i++) {
                bool doubtful = i >= lost_from && i < lost_to;
                cr_expect(rig->delivered[i] == (i != poison) || (doubtful && rig->delivered[i] == 0),
                          "item %d of a spool with block %d damaged and item %d poison: %u times", (int)i, damaged,
                          (int)poison, rig->delivered[i]);
                in_it += doubtful && rig->delivered[i] > 0;
            }
            for (int i = 0; i < rig->seen_count; i++)
                expect_says_what_is_in_it(&rig->seen[i], items);
            bool in_damaged = poison >= lost_from && poison < lost_to;
            cr_expect_eq(ledger.dead_lettered, !in_damaged);
            cr_expect_eq(ledger.delivered, in_it + 16 - items[damaged] - !in_damaged);
            cr_expect_eq(ledger.evicted, items[damaged] - in_it);
            rig_free(rig);
        }
}

static void read_profiles(struct rig_seen *seen, struct weir_slice raw)
{
    static const char dictionary[] = "\x12\x05\x2a\x03"
                                     "cpu";
    cr_expect_not_null(memmem(raw.data, raw.len, dictionary, sizeof(dictionary) - 1), "each part has the dictionary");
    read_items(WEIR_PROFILES, seen, raw);
}

Test(replay_split, profiles_are_split_each_part_with_the_dictionary_C7)
{
    random_state = seed() + 3;
    struct replay_rig *rig = new_rig(WEIR_PROFILES, CONFIG_ORDER_RELAXED, CONFIG_PROTOCOL_GRPC);
    rig->read = read_profiles;
    append_block(rig, WEIR_PROFILES, 0, (uint64_t[]){60}, 1, 0);
    append_block(rig, WEIR_PROFILES, 60, (uint64_t[]){1}, 1, 0);
    poison_ids[37] = true;
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_PROFILES);
    expect_all_but_poison_once(rig, WEIR_PROFILES, 61);
    cr_expect_leq(rig->seen_count - 2, two_log2(60));
    rig_free(rig);
}

// --- more of them -------------------------------------------------------------------------------------------------------

Test(replay_split, each_of_several_costs_its_own_bisection_in_any_weather)
{
    random_state = seed() + 1;
    for (int round = 0; round < 30; round++) {
        enum weir_signal signal = round % 2 ? WEIR_METRICS : WEIR_LOGS;
        struct replay_rig *rig = new_rig(signal, round % 3 ? CONFIG_ORDER_RELAXED : CONFIG_ORDER_STRICT,
                                         round % 4 < 2 ? CONFIG_PROTOCOL_GRPC : CONFIG_PROTOCOL_HTTP);
        uint64_t items = append_random(rig, signal, 5, 12);
        uint64_t poisons = 1 + rnd(6);
        for (uint64_t i = 0; i < poisons; i++)
            poison_ids[rnd(items)] = true;
        weather = round < 15 ? 0 : 20;
        rig_start(rig);
        RIG_DRAINED(rig, signal);
        expect_all_but_poison_once(rig, signal, items);
        if (weather == 0)
            cr_expect_leq(rig->seen_count - 1, (int)poisons * (two_log2(items) + 1));
        rig_free(rig);
    }
}

static int exports;
static uint64_t items_sent;

static struct rig_answer refuse_and_count(struct replay_rig *rig, const struct rig_seen *seen)
{
    exports++;
    items_sent += seen->id_count;
    return refuse_poison(rig, seen);
}

// Were all that is left sent after each of them, twice for the search, half of them poison would cost n²/2 items.
Test(replay_split, of_many_none_sends_all_behind_it_again)
{
    for (uint64_t step = 2; step <= 64; step *= 2) {
        struct replay_rig *rig = new_rig(WEIR_LOGS, CONFIG_ORDER_STRICT, CONFIG_PROTOCOL_GRPC);
        rig->decide = refuse_and_count;
        exports = 0;
        items_sent = 0;
        append_block(rig, WEIR_LOGS, 0, (uint64_t[]){500}, 1, 0);
        append_block(rig, WEIR_LOGS, 500, (uint64_t[]){1, 1, 10}, 3, 0);
        for (uint64_t i = 0; i < RIG_IDS_MAX; i += step)
            poison_ids[i] = true;
        rig_start(rig);
        RIG_DRAINED(rig, WEIR_LOGS);
        expect_all_but_poison_once(rig, WEIR_LOGS, RIG_IDS_MAX);
        cr_expect_leq(items_sent, 10 * RIG_IDS_MAX, "one in %d: %d items sent", (int)step, (int)items_sent);
        cr_expect_leq(exports, (int)(RIG_IDS_MAX / step) * two_log2(2 * step) + 20, "one in %d: %d exports", (int)step,
                      exports);
        rig_free(rig);
    }
}

// A crash in the middle repeats the block that was not settled: what is refused is one dead letter all the same.
Test(replay_split, stopped_anywhere_nothing_is_lost_and_each_poison_is_one_letter)
{
    random_state = seed() + 2;
    for (int stop_after = 1; stop_after < 14; stop_after++) {
        struct replay_rig *rig = new_rig(WEIR_LOGS, CONFIG_ORDER_STRICT, CONFIG_PROTOCOL_GRPC);
        uint64_t items = append_random(rig, WEIR_LOGS, 4, 10);
        poison_ids[items / 3] = poison_ids[items - 1] = true;
        rig_start(rig);
        KIT_UNTIL(rig_seen_count(rig) >= stop_after || rig_ledger(rig, WEIR_LOGS).pending == 0);
        rig_end_replay(rig);
        rig_new_replay(rig);
        rig_start(rig);
        RIG_DRAINED(rig, WEIR_LOGS);
        for (uint64_t i = 0; i < items; i++)
            cr_expect(poison_ids[i] ? rig->delivered[i] == 0 : rig->delivered[i] > 0);
        struct spool_stats stats;
        spool_stats_get(rig->spool, &stats);
        cr_expect_eq(stats.dead_letter_items, 2);
        cr_expect_eq(rig_ledger(rig, WEIR_LOGS).dead_lettered, 2);
        cr_expect_eq(rig_ledger(rig, WEIR_LOGS).delivered, items - 2);
        rig_free(rig);
    }
}

// An upstream that takes nothing is not asked item by item without an end: 500 refused items are 16 single letters and few larger ones.
Test(replay_split, what_is_refused_altogether_is_given_up_in_ever_larger_parts)
{
    struct replay_rig *rig = new_rig(WEIR_LOGS, CONFIG_ORDER_STRICT, CONFIG_PROTOCOL_GRPC);
    memset(poison_ids, true, sizeof(poison_ids));
    for (uint64_t b = 0; b < 5; b++)
        append_block(rig, WEIR_LOGS, b * 100, (uint64_t[]){60, 40}, 2, 0);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_LOGS);
    struct spool_stats stats;
    spool_stats_get(rig->spool, &stats);
    cr_expect_eq(stats.dead_letter_items, 500);
    cr_expect_eq(rig_ledger(rig, WEIR_LOGS).dead_lettered, 500);
    cr_expect_gt(stats.dead_letter_requests, 16);
    cr_expect_lt(stats.dead_letter_requests, 32);
    cr_expect_lt(rig->seen_count, 60, "%d", rig->seen_count);
    rig_free(rig);
}

Test(replay_split, on_reject_drop_counts_and_keeps_nothing)
{
    struct replay_rig *rig =
        rig_new((struct config_upstream){.on_reject = CONFIG_REJECT_DROP, .signals = 1u << WEIR_LOGS});
    rig->read = read_request;
    rig->decide = refuse_poison;
    memset(poison_ids, 0, sizeof(poison_ids));
    weather = 0;
    poison_ids[7] = true;
    append_block(rig, WEIR_LOGS, 0, (uint64_t[]){20}, 1, 0);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_LOGS);
    struct spool_lane_stats ledger = rig_ledger(rig, WEIR_LOGS);
    struct spool_stats stats;
    spool_stats_get(rig->spool, &stats);
    cr_expect_eq(ledger.discarded, 1);
    cr_expect_eq(ledger.delivered, 19);
    cr_expect_eq(ledger.dead_lettered + stats.dead_letter_items, 0);
    cr_expect_eq(rig_stats(rig).lanes[WEIR_LOGS].dropped_items, 1);
    cr_expect_eq(rig_stats(rig).lanes[WEIR_LOGS].dead_letter_requests, 0);
    rig_free(rig);
}
