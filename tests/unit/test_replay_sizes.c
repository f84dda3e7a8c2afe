// SPDX-License-Identifier: Apache-2.0
// What is refused for its size, or cut before it is sent; and parts whose blocks are damaged or evicted.
#include "tests/unit/split_rig.h"

TestSuite(replay_sizes, .timeout = 120);

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

Test(replay_sizes, a_refusal_for_size_teaches_the_lane_its_limit_U16_U17)
{
    too_large(CONFIG_PROTOCOL_GRPC);
    too_large(CONFIG_PROTOCOL_HTTP);
}

// A request of 200 items in a block larger than an export may be is sent in parts from the start.
Test(replay_sizes, a_request_above_max_request_size_is_cut)
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
Test(replay_sizes, a_damaged_block_is_lost_alone)
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
Test(replay_sizes, what_is_evicted_meanwhile_is_not_sent)
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

// --- not only for its size ----------------------------------------------------------------------------------------------

static struct rig_answer exhausted_by_poison(struct replay_rig *rig, const struct rig_seen *seen)
{
    (void)rig;
    for (size_t i = 0; i < seen->id_count; i++)
        if (poison_ids[seen->ids[i]])
            return (struct rig_answer){.status = GRPC_RESOURCE_EXHAUSTED, .message = "no"};
    return (struct rig_answer){.status = 0};
}

// Down to the single item parts are made ever smaller; what that was for ends with the item.
Test(replay_sizes, what_follows_an_item_that_is_too_large_by_itself_does_not_go_item_by_item)
{
    random_state = seed();
    struct replay_rig *rig = new_rig(WEIR_LOGS, CONFIG_ORDER_STRICT, CONFIG_PROTOCOL_GRPC);
    rig->decide = exhausted_by_poison;
    append_block(rig, WEIR_LOGS, 0, (uint64_t[]){RIG_IDS_MAX}, 1, 20);
    poison_ids[3] = true;
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_LOGS);
    expect_all_but_poison_once(rig, WEIR_LOGS, RIG_IDS_MAX);
    cr_expect_leq(rig->seen_count - 1, 18, "%d exports more, 2·log2(n) is 18", rig->seen_count - 1);
    rig_free(rig);
}

#define TRIES 10

static struct rig_answer data_loss_at_first(struct replay_rig *rig, const struct rig_seen *seen)
{
    (void)rig;
    return (struct rig_answer){.status = seen->index < TRIES - 1 ? GRPC_DATA_LOSS : 0};
}

// Also when it was alone from the start.
Test(replay_sizes, a_single_item_whose_refusal_may_pass_is_tried_again_U17)
{
    random_state = seed();
    struct replay_rig *rig = new_rig(WEIR_LOGS, CONFIG_ORDER_STRICT, CONFIG_PROTOCOL_GRPC);
    rig->decide = data_loss_at_first;
    append_block(rig, WEIR_LOGS, 0, (uint64_t[]){1}, 1, 0);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_LOGS);
    expect_all_but_poison_once(rig, WEIR_LOGS, 1);
    cr_expect_eq(rig->seen_count, TRIES);
    rig_free(rig);
}

#define DICTIONARY 100000

static struct rig_answer takes_a_dictionary(struct replay_rig *rig, const struct rig_seen *seen)
{
    (void)rig;
    return (struct rig_answer){.status = seen->raw_bytes > DICTIONARY + 2000 ? GRPC_OUT_OF_RANGE : 0};
}

// It goes into every part, so that half of the items is far more than half of the bytes.
Test(replay_sizes, a_large_dictionary_does_not_go_once_for_each_profile)
{
    random_state = seed();
    struct replay_rig *rig = new_rig(WEIR_PROFILES, CONFIG_ORDER_STRICT, CONFIG_PROTOCOL_GRPC);
    struct weir_buf raw = make_request(WEIR_PROFILES, 0, RIG_IDS_MAX, 0), dictionary = {0};
    static char text[DICTIONARY];
    rig->decide = takes_a_dictionary;
    cr_assert(wire_put_bytes(&dictionary, 5, text, sizeof(text)));
    nest(&raw, 2, &dictionary);
    append_raw(rig, WEIR_PROFILES, &raw, RIG_IDS_MAX);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_PROFILES);
    expect_all_but_poison_once(rig, WEIR_PROFILES, RIG_IDS_MAX);
    cr_expect_leq(rig->seen_count, 40, "%d exports", rig->seen_count);
    rig_free(rig);
}

static struct rig_answer takes_less_than_tonic(struct replay_rig *rig, const struct rig_seen *seen)
{
    (void)rig;
    if (seen->raw_bytes <= TAKES)
        return (struct rig_answer){.status = 0};
    return (struct rig_answer){.status = GRPC_OUT_OF_RANGE,
                               .message = "Error, decoded message length too large: found"};
}

// What waits behind it does not wait for ten tries and their delays.
Test(replay_sizes, an_item_that_tonic_calls_too_large_goes_once)
{
    random_state = seed();
    struct replay_rig *rig = new_rig(WEIR_LOGS, CONFIG_ORDER_STRICT, CONFIG_PROTOCOL_GRPC);
    rig->decide = takes_less_than_tonic;
    append_block(rig, WEIR_LOGS, 0, (uint64_t[]){1}, 1, TAKES + 1);
    poison_ids[0] = true;
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_LOGS);
    expect_all_but_poison_once(rig, WEIR_LOGS, 1);
    cr_expect_eq(rig->seen_count, 1);
    rig_free(rig);
}
