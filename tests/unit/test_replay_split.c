// SPDX-License-Identifier: Apache-2.0
// What is refused, part by part: real requests whose items are told apart by their times, and an upstream that refuses some of them.
#include <criterion/criterion.h>

#include "proto/otlp_split.h"
#include "proto/walk.h"
#include "proto/wire.h"
#include "storage/format.h"
#include "tests/unit/replay_rig.h"

TestSuite(replay_split, .timeout = 120);

// --- data -------------------------------------------------------------------------------------------------------------------

static uint64_t random_state;
static uint64_t rnd(uint64_t below)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (random_state >> 33) % below;
}

static void nest(struct weir_buf *out, uint32_t number, struct weir_buf *content)
{
    cr_assert(wire_put_bytes(out, number, content->data, content->len));
    weir_buf_free(content);
}

// Its time is its id and 1, so that none has none. `filling`: bytes besides.
static void put_item(struct weir_buf *out, enum weir_signal signal, uint64_t id, size_t filling)
{
    struct weir_buf item = {0};
    uint8_t time[9] = {WIRE_TAG(1, WIRE_FIXED64)};
    if (signal == WEIR_METRICS || signal == WEIR_PROFILES)
        time[0] = WIRE_TAG(3, WIRE_FIXED64);
    if (signal == WEIR_TRACES)
        time[0] = WIRE_TAG(7, WIRE_FIXED64);
    weir_put_u64(time + 1, id + 1);
    cr_assert(weir_buf_append(&item, time, sizeof(time)));
    char *text = calloc(1, filling + 1);
    memset(text, 'x', filling);
    if (filling > 0 &&
        signal !=
            WEIR_PROFILES) // severity_text, trace_state: a string, or for points a field that a newer OTLP may have
        cr_assert(wire_put_bytes(&item, signal == WEIR_METRICS ? 99 : 3, text, filling));
    free(text);
    nest(out, signal == WEIR_METRICS ? 1 : 2, &item);
}

// `count` items from `id` on in resources, scopes and metrics of random sizes.
static struct weir_buf make_request(enum weir_signal signal, uint64_t id, uint64_t count, size_t filling)
{
    struct weir_buf request = {0};
    for (uint64_t end = id + count; id < end;) {
        struct weir_buf resource = {0}, scope = {0};
        uint64_t items = 1 + rnd(end - id);
        while (items > 0) {
            uint64_t some = signal == WEIR_METRICS ? 1 + rnd(items) : items;
            struct weir_buf metric = {0}, data = {0};
            struct weir_buf *holder = signal == WEIR_METRICS ? &data : &scope;
            for (uint64_t i = 0; i < some; i++)
                put_item(holder, signal, id++, filling);
            items -= some;
            if (signal != WEIR_METRICS)
                continue;
            cr_assert(wire_put_bytes(&metric, 1, "name", 4));
            nest(&metric, 5, &data);
            nest(&scope, 2, &metric);
        }
        nest(&resource, 2, &scope);
        nest(&request, 1, &resource);
    }
    if (signal == WEIR_PROFILES) // a dictionary with one string
        cr_assert(wire_put_bytes(&request, 2,
                                 "\x2a\x03"
                                 "cpu",
                                 5));
    return request;
}

// The times of all items: by cutting them out one by one.
static void read_items(enum weir_signal signal, struct rig_seen *seen, struct weir_slice raw)
{
    uint64_t items;
    struct weir_buf one = {0};
    cr_assert_eq(otlp_split_count(signal, raw, &items, NULL), WEIR_OK);
    cr_assert_leq(items, RIG_IDS_MAX);
    for (uint64_t i = 0; i < items; i++) {
        struct otlp_summary summary;
        struct weir_err err = {0};
        one.len = 0;
        cr_assert_eq(otlp_split_part(signal, raw, i, i + 1, &one, &err), WEIR_OK, "%s", err.text);
        cr_assert_eq(otlp_walk(signal, one.data, one.len, NULL, &summary, &err), WEIR_OK, "%s", err.text);
        cr_assert_eq(summary.items, 1);
        seen->ids[seen->id_count++] = summary.time_max_ns - 1;
    }
    weir_buf_free(&one);
}

static void read_request(struct rig_seen *seen, struct weir_slice raw)
{
    read_items(seen->signal, seen, raw);
}

// Turns a bit in the middle of the frame, with a checksum that says that it was always so.
static void spoil(struct weir_buf *value)
{
    uint8_t *body = value->data + BLOCK_HEADER_BYTES;
    uint64_t before = format_checksum(body, value->len - BLOCK_HEADER_BYTES);
    body[(value->len - BLOCK_HEADER_BYTES) / 2] ^= 0x10;
    for (size_t at = 0; at + 8 <= BLOCK_HEADER_BYTES; at++)
        if (weir_get_u64(value->data + at) == before)
            weir_put_u64(value->data + at, format_checksum(body, value->len - BLOCK_HEADER_BYTES));
}

static bool spoil_next;

static void append_block(struct replay_rig *rig, enum weir_signal signal, uint64_t id, const uint64_t *requests,
                         size_t count, size_t filling)
{
    struct block_builder *builder = block_builder_new(signal, (struct weir_slice){NULL, 0}, 1);
    for (size_t i = 0; i < count; id += requests[i++]) {
        struct weir_buf raw = make_request(signal, id, requests[i], filling);
        struct block_request request = {.items = requests[i], .received_ns = weir_now_unix_ns()};
        cr_assert_eq(block_builder_add(builder, (struct weir_slice){raw.data, raw.len}, &request, NULL), WEIR_OK);
        weir_buf_free(&raw);
    }
    struct block *block;
    struct kit_wait wait = KIT_WAIT;
    cr_assert_eq(block_builder_seal(builder, &block, NULL), WEIR_OK);
    if (spoil_next)
        spoil(&block->value);
    spoil_next = false;
    kit_send(rig->spool, &wait, block);
    cr_assert_eq(kit_join(&wait), WEIR_OK);
    block_builder_free(builder);
}

// Up to `blocks` blocks of up to 4 requests. Returns the items.
static uint64_t append_random(struct replay_rig *rig, enum weir_signal signal, size_t blocks, uint64_t items_max)
{
    uint64_t id = 0;
    for (size_t b = 0; b < blocks; b++) {
        uint64_t requests[4];
        size_t count = 1 + rnd(4);
        uint64_t before = id;
        for (size_t i = 0; i < count; i++)
            id += requests[i] = 1 + rnd(items_max);
        append_block(rig, signal, before, requests, count, 0);
    }
    return id;
}

// --- upstreams ----------------------------------------------------------------------------------------------------------

static bool poison_ids[RIG_IDS_MAX];
static int weather; // of 100 answers, so many are "not now"

static struct rig_answer refuse_poison(struct replay_rig *rig, const struct rig_seen *seen)
{
    bool grpc = rig->upstream.target.protocol == CONFIG_PROTOCOL_GRPC;
    if (weather > 0 && (int)rnd(100) < weather)
        return (struct rig_answer){.status = grpc ? GRPC_UNAVAILABLE : 503};
    for (size_t i = 0; i < seen->id_count; i++)
        if (poison_ids[seen->ids[i]])
            return (struct rig_answer){.status = grpc ? GRPC_INVALID_ARGUMENT : 400, .message = "poison"};
    return (struct rig_answer){.status = grpc ? 0 : 200};
}

static struct replay_rig *new_rig(enum weir_signal signal, enum config_order order, enum config_protocol protocol)
{
    struct config_upstream upstream = {.target = {.protocol = protocol}, .signals = 1u << signal};
    upstream.compression =
        CONFIG_COMPRESSION_GZIP; // auto would ask at a first 400 whether it is the encoding that is refused
    upstream.order[signal] = order;
    struct replay_rig *rig = rig_new(upstream);
    rig->read = read_request;
    rig->decide = refuse_poison;
    memset(poison_ids, 0, sizeof(poison_ids));
    weather = 0;
    return rig;
}

static void expect_all_but_poison_once(struct replay_rig *rig, enum weir_signal signal, uint64_t items)
{
    uint64_t poisoned = 0;
    for (uint64_t i = 0; i < items; i++) {
        poisoned += poison_ids[i];
        cr_expect_eq(rig->delivered[i], !poison_ids[i], "item %llu: %u times", (unsigned long long)i,
                     rig->delivered[i]);
    }
    struct spool_lane_stats ledger = rig_ledger(rig, signal);
    struct spool_stats stats;
    spool_stats_get(rig->spool, &stats);
    cr_expect_eq(ledger.delivered, items - poisoned);
    cr_expect_eq(ledger.dead_lettered, poisoned);
    cr_expect_eq(ledger.evicted, 0);
    cr_expect_eq(stats.dead_letter_items, poisoned);
}

static uint64_t seed(void)
{
    const char *text = getenv("WEIR_TEST_SEED");
    uint64_t value = text != NULL ? strtoull(text, NULL, 0) : 20261120;
    printf("replay_split: WEIR_TEST_SEED=%llu\n", (unsigned long long)value);
    return value;
}

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
    // Of few items in several blocks up to two more: the rest of the block and the rest of the blocks go apart.
    cr_expect_leq(rig->seen_count - 1, two_log2(items) + (items < 32 ? 2 : 0),
                  "round %d: %d extra exports for item %llu of %llu", round, rig->seen_count - 1,
                  (unsigned long long)poison, (unsigned long long)items);
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

// --- too large ------------------------------------------------------------------------------------------------------------

#define TAKES 20000

static struct rig_answer takes_so_much(struct replay_rig *rig, const struct rig_seen *seen)
{
    bool grpc = rig->upstream.target.protocol == CONFIG_PROTOCOL_GRPC;
    if (seen->raw_bytes > TAKES)
        return (struct rig_answer){.status = grpc ? GRPC_OUT_OF_RANGE : 413};
    return (struct rig_answer){.status = grpc ? 0 : 200};
}

static void too_large(enum config_protocol protocol)
{
    struct replay_rig *rig = new_rig(WEIR_LOGS, CONFIG_ORDER_STRICT, protocol);
    rig->decide = takes_so_much;
    uint64_t id = 0;
    for (int b = 0; b < 40; b++, id += 10)
        append_block(rig, WEIR_LOGS, id, (uint64_t[]){10}, 1, 400);
    append_block(rig, WEIR_LOGS, id, (uint64_t[]){1}, 1, TAKES + 1);
    poison_ids[id++] = true;
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_LOGS);
    expect_all_but_poison_once(rig, WEIR_LOGS, id);
    uint64_t limit = rig_stats(rig).lanes[WEIR_LOGS].export_max_bytes;
    cr_expect(limit > TAKES / 4 && limit <= TAKES, "%llu", (unsigned long long)limit);
    int before = rig->seen_count;
    for (int b = 0; b < 10; b++, id += 10)
        append_block(rig, WEIR_LOGS, id, (uint64_t[]){10}, 1, 400);
    RIG_DRAINED(rig, WEIR_LOGS);
    expect_all_but_poison_once(rig, WEIR_LOGS, id);
    for (int i = before; i < rig->seen_count; i++)
        cr_expect_leq(rig->seen[i].raw_bytes, limit, "what was learnt is kept to");
    rig_free(rig);
}

Test(replay_split, a_refusal_for_size_teaches_the_lane_its_limit_U16_U17)
{
    too_large(CONFIG_PROTOCOL_GRPC);
    too_large(CONFIG_PROTOCOL_HTTP);
}

// A request of 200 items in a block larger than an export may be is sent in parts from the start.
Test(replay_split, a_request_above_max_request_size_is_cut)
{
    struct replay_rig *rig =
        rig_new((struct config_upstream){.max_request_size_bytes = 4096, .signals = 1u << WEIR_TRACES});
    rig->read = read_request;
    append_block(rig, WEIR_TRACES, 0, (uint64_t[]){200}, 1, 80);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    rig_expect_each_once(rig, 200);
    for (int i = 0; i < rig->seen_count; i++)
        cr_expect_leq(rig->seen[i].raw_bytes, 4096);
    cr_expect_leq(rig->seen_count, 8);
    rig_free(rig);
}

// A block that cannot be decoded is lost and no other, wherever it lies in what is sent in parts.
Test(replay_split, a_damaged_block_is_lost_alone)
{
    for (int damaged = 0; damaged < 3; damaged++) {
        struct replay_rig *rig = rig_new((struct config_upstream){
            .max_request_size_bytes = 1024, .compression = CONFIG_COMPRESSION_GZIP, .signals = 1u << WEIR_LOGS});
        rig->read = read_request;
        for (int b = 0; b < 3; b++) {
            spoil_next = b == damaged;
            append_block(rig, WEIR_LOGS, (uint64_t)b * 50, (uint64_t[]){20, 30}, 2, 40);
        }
        rig_start(rig);
        RIG_DRAINED(rig, WEIR_LOGS);
        for (int i = 0; i < 150; i++)
            cr_expect_eq(rig->delivered[i], i / 50 != damaged, "item %d: %u times", i, rig->delivered[i]);
        cr_expect_eq(rig_ledger(rig, WEIR_LOGS).delivered, 100);
        cr_expect_eq(rig_ledger(rig, WEIR_LOGS).evicted, 50);
        rig_free(rig);
    }
}

static struct rig_answer away_after_the_first(struct replay_rig *rig, const struct rig_seen *seen)
{
    if (atomic_load(&rig->limit) > 0)
        return (struct rig_answer){.status = 0};
    return (struct rig_answer){.status = seen->index == 0 ? GRPC_INVALID_ARGUMENT : GRPC_UNAVAILABLE};
}

// What is evicted while its parts wait for the upstream is not sent when that is back.
Test(replay_split, what_is_evicted_meanwhile_is_not_sent)
{
    struct replay_rig *rig = new_rig(WEIR_LOGS, CONFIG_ORDER_STRICT, CONFIG_PROTOCOL_GRPC);
    rig->decide = away_after_the_first;
    for (uint64_t b = 0; b < 4; b++)
        append_block(rig, WEIR_LOGS, b * 10, (uint64_t[]){10}, 1, 0);
    rig_start(rig);
    KIT_UNTIL(rig_seen_count(rig) >= 3);
    cr_assert_eq(spool_lane_lost(rig_stats(rig).lanes[WEIR_LOGS].lane, 0, 2), 20);
    replay_look_again(atomic_load(&rig->replay));
    int seen = rig_seen_count(rig);
    KIT_UNTIL(rig_seen_count(rig) >= seen + 3); // one that was under way, and what came next
    atomic_store(&rig->limit, 1);
    RIG_DRAINED(rig, WEIR_LOGS);
    for (int i = 0; i < 40; i++)
        cr_expect_eq(rig->delivered[i], i >= 20, "item %d: %u times", i, rig->delivered[i]);
    cr_expect_eq(rig_ledger(rig, WEIR_LOGS).delivered, 20);
    cr_expect_eq(rig_ledger(rig, WEIR_LOGS).evicted, 20);
    rig_free(rig);
}
