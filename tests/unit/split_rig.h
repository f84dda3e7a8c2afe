// SPDX-License-Identifier: Apache-2.0
// A replay rig with real requests, whose items are told apart by their times, and an upstream that refuses some of them. Header-only.
#ifndef WEIR_TESTS_SPLIT_RIG_H
#define WEIR_TESTS_SPLIT_RIG_H

#include <criterion/criterion.h>

#include "proto/otlp_split.h"
#include "proto/walk.h"
#include "proto/wire.h"
#include "storage/format.h"
#include "tests/unit/replay_rig.h"

// --- data -------------------------------------------------------------------------------------------------------------------

static uint64_t random_state;
__attribute__((unused)) static uint64_t rnd(uint64_t below)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (random_state >> 33) % below;
}

__attribute__((unused)) static void nest(struct weir_buf *out, uint32_t number, struct weir_buf *content)
{
    cr_assert(wire_put_bytes(out, number, content->data, content->len));
    weir_buf_free(content);
}

// Its time is its id and 1, so that none has none. `filling`: bytes besides.
__attribute__((unused)) static void put_item(struct weir_buf *out, enum weir_signal signal, uint64_t id, size_t filling)
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
__attribute__((unused)) static struct weir_buf make_request(enum weir_signal signal, uint64_t id, uint64_t count,
                                                            size_t filling)
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
__attribute__((unused)) static void read_items(enum weir_signal signal, struct rig_seen *seen, struct weir_slice raw)
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

__attribute__((unused)) static void read_request(struct rig_seen *seen, struct weir_slice raw)
{
    read_items(seen->signal, seen, raw);
}

// Turns a bit there, with a checksum that says that it was always so.
__attribute__((unused)) static void spoil(struct weir_buf *value, size_t place)
{
    uint8_t *body = value->data + BLOCK_HEADER_BYTES;
    uint64_t before = format_checksum(body, value->len - BLOCK_HEADER_BYTES);
    value->data[place] ^= 0x10;
    for (size_t at = 0; at + 8 <= BLOCK_HEADER_BYTES; at++)
        if (weir_get_u64(value->data + at) == before)
            weir_put_u64(value->data + at, format_checksum(body, value->len - BLOCK_HEADER_BYTES));
}

static bool spoil_next;       // in the middle of the frame: it cannot be decoded
static bool spoil_table_next; // in the request table: whole it can be sent, but not in parts

__attribute__((unused)) static void append_built(struct replay_rig *rig, struct block_builder *builder)
{
    struct block *block;
    struct kit_wait wait = KIT_WAIT;
    cr_assert_eq(block_builder_seal(builder, &block, NULL), WEIR_OK);
    if (spoil_next)
        spoil(&block->value, BLOCK_HEADER_BYTES + (block->value.len - BLOCK_HEADER_BYTES) / 2);
    if (spoil_table_next)
        spoil(&block->value, block->value.len - 1);
    spoil_next = spoil_table_next = false;
    kit_send(rig->spool, &wait, block);
    cr_assert_eq(kit_join(&wait), WEIR_OK);
    block_builder_free(builder);
}

static void add_request(struct block_builder *builder, struct weir_buf *raw, uint64_t items)
{
    struct block_request request = {.items = items, .received_ns = weir_now_unix_ns()};
    cr_assert_eq(block_builder_add(builder, (struct weir_slice){raw->data, raw->len}, &request, NULL), WEIR_OK);
    weir_buf_free(raw);
}

// A block of this one request.
__attribute__((unused)) static void append_raw(struct replay_rig *rig, enum weir_signal signal, struct weir_buf *raw,
                                               uint64_t items)
{
    struct block_builder *builder = block_builder_new(signal, (struct weir_slice){NULL, 0}, 1);
    add_request(builder, raw, items);
    append_built(rig, builder);
}

__attribute__((unused)) static void append_block(struct replay_rig *rig, enum weir_signal signal, uint64_t id,
                                                 const uint64_t *requests, size_t count, size_t filling)
{
    struct block_builder *builder = block_builder_new(signal, (struct weir_slice){NULL, 0}, 1);
    for (size_t i = 0; i < count; id += requests[i++]) {
        struct weir_buf raw = make_request(signal, id, requests[i], filling);
        add_request(builder, &raw, requests[i]);
    }
    append_built(rig, builder);
}

// Up to `blocks` blocks of up to 4 requests. Returns the items.
__attribute__((unused)) static uint64_t append_random(struct replay_rig *rig, enum weir_signal signal, size_t blocks,
                                                      uint64_t items_max)
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

__attribute__((unused)) static struct rig_answer refuse_poison(struct replay_rig *rig, const struct rig_seen *seen)
{
    bool grpc = rig->upstream.target.protocol == CONFIG_PROTOCOL_GRPC;
    if (weather > 0 && (int)rnd(100) < weather)
        return (struct rig_answer){.status = grpc ? GRPC_ABORTED : 408};
    for (size_t i = 0; i < seen->id_count; i++)
        if (poison_ids[seen->ids[i]])
            return (struct rig_answer){.status = grpc ? GRPC_INVALID_ARGUMENT : 400, .message = "poison"};
    return (struct rig_answer){.status = grpc ? 0 : 200};
}

__attribute__((unused)) static struct replay_rig *new_rig(enum weir_signal signal, enum config_order order,
                                                          enum config_protocol protocol)
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

__attribute__((unused)) static void expect_all_but_poison_once(struct replay_rig *rig, enum weir_signal signal,
                                                               uint64_t items)
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

__attribute__((unused)) static uint64_t seed(void)
{
    const char *text = getenv("WEIR_TEST_SEED");
    uint64_t value = text != NULL ? strtoull(text, NULL, 0) : 20261120;
    printf("replay_split: WEIR_TEST_SEED=%llu\n", (unsigned long long)value);
    return value;
}

#endif
