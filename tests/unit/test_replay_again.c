// SPDX-License-Identifier: Apache-2.0
// Effectively once, the origin's side as a whole: an upstream that judges as a weir does (origins.h), whose answers are lost, which has something in
// front of it that refuses single items; and an origin that dies anywhere, and joins and splits its blocks differently afterwards.
//
// WEIR_TEST_AGAIN=1500 is the long form (2 minutes): so many rounds of each.
#include "tests/unit/split_rig.h"

#include "relay/handoff.h"
#include "storage/spool_priv.h"
#include "tests/unit/inspect_kit.h"

TestSuite(replay_again, .timeout = 1200);

#define BLOCKS_MAX 24
#define SCOPES_MAX 16
#define ITEMS_MAX  300

// The origin's blocks, by their numbers: those of the lane have items.
static struct {
    uint64_t first, items;
} blocks[BLOCKS_MAX];
static uint64_t block_count, item_count;

// The upstream, under the rig's lock.
static struct scope {
    uint64_t name;
    struct position_set held;
} scopes[SCOPES_MAX];
static size_t scope_count;
static unsigned stored[ITEMS_MAX];
static uint64_t chance_state;
static int judged, dies_at; // requests; from that one on nothing is taken
static int lost_of_100;
static char part[HANDOFF_REPEAT_MAX];

// random_state is the test's thread's.
static uint64_t chance(uint64_t below)
{
    chance_state = chance_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (chance_state >> 33) % below;
}

static struct scope *scope_of(uint64_t name)
{
    for (size_t i = 0; i < scope_count; i++)
        if (scopes[i].name == name)
            return &scopes[i];
    cr_assert_lt(scope_count, SCOPES_MAX);
    scopes[scope_count] = (struct scope){.name = name};
    return &scopes[scope_count++];
}

static uint64_t place_of(struct position position)
{
    if (position.block >= block_count)
        return item_count;
    return blocks[position.block].first + position.item;
}

static struct handoff read_handoff(const struct rig_seen *seen)
{
    char batch[160];
    struct handoff handoff = {0};
    snprintf(batch, sizeof(batch), "0f8fad5b-d9cb-469f-a165-70867728950e%s", strchr(seen->batch, '/'));
    cr_assert(handoff_parse((struct weir_slice){(const uint8_t *)batch, strlen(batch)},
                            (struct weir_slice){(const uint8_t *)seen->handoff, strlen(seen->handoff)}, seen->signal,
                            &handoff),
              "%s %s", batch, seen->handoff);
    uint64_t from = place_of(handoff.span.from), to = place_of(handoff.span.to);
    cr_assert_eq(seen->id_count, to - from, "%s: %zu items", seen->handoff, seen->id_count);
    for (uint64_t i = 0; i < to - from; i++)
        cr_assert_eq(seen->ids[i], from + i, "%s", seen->handoff);
    return handoff;
}

static struct rig_answer store(const struct rig_seen *seen, const struct handoff *handoff)
{
    struct position_set *held = &scope_of(handoff->scope)->held;
    positions_pass(held, (struct position){handoff->low, 0});
    switch (positions_look(held, handoff->span)) {
    case POSITIONS_ALL:
        return (struct rig_answer){.repeat = "all"};
    case POSITIONS_PART:
        handoff_format_part(positions_change(held, handoff->span), part);
        return (struct rig_answer){.status = GRPC_OUT_OF_RANGE, .repeat = part};
    case POSITIONS_NONE:
        break;
    }
    if (chance(100) < 10) // a copy of it is being stored, or there is no room now
        return (struct rig_answer){.status = GRPC_ABORTED};
    cr_assert(positions_add(held, handoff->span));
    for (size_t i = 0; i < seen->id_count; i++)
        stored[seen->ids[i]]++;
    return (struct rig_answer){0};
}

static struct rig_answer judge(struct replay_rig *rig, const struct rig_seen *seen)
{
    static const struct rig_answer not_now = {.status = GRPC_ABORTED};
    struct handoff handoff = read_handoff(seen);
    if (judged++ >= dies_at)
        return not_now;
    struct rig_answer answer = refuse_poison(rig, seen);
    if (answer.status == 0)
        answer = store(seen, &handoff);
    return (int)chance(100) < lost_of_100 ? not_now : answer;
}

// --- the origin -------------------------------------------------------------------------------------------------------------

static void open_again(struct replay_rig *rig)
{
    rig_open_spool(rig);
    rig->upstream.max_request_size_bytes = rnd(2) ? 60 + rnd(2000) : 4u << 20;
    rig_new_replay(rig);
    rig->started = false;
}

static void append_some(struct replay_rig *rig, enum weir_signal signal)
{
    static const uint64_t most[] = {1, 3, 8, 40};
    for (uint64_t n = 1 + rnd(8); n > 0; n--) {
        bool other = rnd(3) == 0;
        uint64_t requests[3], count = 1 + rnd(3), items = 0, widest = most[rnd(4)];
        for (uint64_t i = 0; i < count; i++)
            items += requests[i] = 1 + rnd(widest);
        if (item_count + items > ITEMS_MAX || block_count == BLOCKS_MAX)
            return;
        uint64_t first = item_count;
        pthread_mutex_lock(&rig->lock); // of what was sent before something may still come in
        blocks[block_count].first = item_count;
        item_count += blocks[block_count++].items = other ? 0 : items;
        pthread_mutex_unlock(&rig->lock);
        append_block(rig, other ? WEIR_TRACES : signal, first, requests, count, 0);
    }
}

static int judged_so_far(struct replay_rig *rig)
{
    pthread_mutex_lock(&rig->lock);
    int count = judged;
    pthread_mutex_unlock(&rig->lock);
    return count;
}

// It works until the upstream has died, or all is delivered, and is killed: what was not durable by then is forgotten.
static void live_and_die(struct replay_rig *rig, enum weir_signal signal, bool forgets)
{
    char *directory = kit_fast_directory();
    if (directory == NULL)
        directory = kit_directory();
    pthread_mutex_lock(&rig->lock);
    judged = 0;
    dies_at = 1 + (int)rnd(12);
    pthread_mutex_unlock(&rig->lock);
    if (forgets)
        pthread_mutex_lock(&rig->spool->state_lock);
    rig_start(rig);
    KIT_UNTIL(judged_so_far(rig) > dies_at + 6 || rig_ledger(rig, signal).pending == 0);
    if (!forgets)
        pthread_mutex_lock(&rig->spool->state_lock);
    kit_copy_directory(rig->directory, directory);
    pthread_mutex_unlock(&rig->spool->state_lock);
    rig_end_replay(rig);
    spool_close(rig->spool);
    kit_remove_directory(rig->directory);
    rig->directory = directory;
    open_again(rig);
}

static void begin(struct replay_rig *rig, enum weir_signal signal)
{
    rig->upstream.retry.initial_ms = 1;
    rig->upstream.retry.max_ms = 4;
    block_count = item_count = scope_count = 0;
    memset(scopes, 0, sizeof(scopes));
    memset(stored, 0, sizeof(stored));
    do
        append_some(rig, signal);
    while (item_count == 0);
}

static void again(int round)
{
    static const enum weir_signal signals[] = {WEIR_LOGS, WEIR_METRICS};
    enum weir_signal signal = signals[round % 2];
    enum config_order order = round / 2 % 2 ? CONFIG_ORDER_STRICT : CONFIG_ORDER_RELAXED;
    struct replay_rig *rig = new_rig(signal, order, CONFIG_PROTOCOL_GRPC);
    begin(rig, signal);
    rig->decide = judge;
    lost_of_100 = round / 4 % 2 ? 60 : 20;
    for (uint64_t n = rnd(3); n > 0; n--)
        poison_ids[rnd(item_count)] = true;
    for (uint64_t n = 1 + rnd(4); n > 0; n--) {
        live_and_die(rig, signal, rnd(2));
        if (rnd(4) == 0)
            append_some(rig, signal);
    }
    pthread_mutex_lock(&rig->lock);
    dies_at = INT32_MAX;
    lost_of_100 = 0;
    pthread_mutex_unlock(&rig->lock);
    rig_start(rig);
    RIG_DRAINED(rig, signal);
    uint64_t poisoned = 0;
    pthread_mutex_lock(&rig->lock);
    for (uint64_t i = 0; i < item_count; i++) {
        poisoned += poison_ids[i];
        cr_expect_eq(stored[i], !poison_ids[i], "round %d: item %d was stored %u times", round, (int)i, stored[i]);
    }
    pthread_mutex_unlock(&rig->lock);
    struct spool_lane_stats ledger = rig_ledger(rig, signal);
    cr_expect_eq(ledger.delivered, item_count - poisoned, "round %d: %d delivered", round, (int)ledger.delivered);
    cr_expect_eq(ledger.dead_lettered, poisoned, "round %d: %d of %d", round, (int)ledger.dead_lettered, (int)poisoned);
    for (size_t i = 0; i < scope_count; i++)
        positions_free(&scopes[i].held);
    rig_free(rig);
}

Test(replay_again, each_item_is_stored_once_whatever_is_lost_and_refused)
{
    const char *rounds = getenv("WEIR_TEST_AGAIN");
    random_state = chance_state = seed();
    for (int round = 0, end = rounds != NULL ? atoi(rounds) : 80; round < end; round++)
        again(round);
}

// --- an upstream that says anything --------------------------------------------------------------------------------------------

static struct rig_answer says_anything(struct replay_rig *rig, const struct rig_seen *seen)
{
    static const int refusals[] = {GRPC_OUT_OF_RANGE, GRPC_INVALID_ARGUMENT, GRPC_OUT_OF_RANGE, GRPC_ABORTED,
                                   GRPC_INTERNAL};
    struct handoff handoff = read_handoff(seen);
    uint64_t span = handoff.span.to.block - handoff.span.from.block;
    struct position there = {handoff.span.from.block + chance(span + 2), chance(2) ? (uint32_t)chance(9) : 0};
    struct rig_answer answer = {0};
    if (chance(100) < 70 && seen->id_count > 0)
        answer.status = refusals[chance(WEIR_COUNT(refusals))];
    if (chance(3) == 0)
        handoff_format_part(there, part);
    else
        snprintf(part, sizeof(part), chance(2) ? "all" : "part/9");
    if (chance(2))
        answer.repeat = part;
    for (size_t i = 0; i < seen->id_count && answer.status == 0; i++)
        stored[seen->ids[i]]++;
    return answer;
}

Test(replay_again, an_upstream_that_says_anything_gets_each_item_once)
{
    random_state = chance_state = seed() + 1;
    const char *rounds = getenv("WEIR_TEST_AGAIN");
    for (int round = 0, end = rounds != NULL ? atoi(rounds) : 80; round < end; round++) {
        struct replay_rig *rig =
            new_rig(WEIR_LOGS, round % 2 ? CONFIG_ORDER_STRICT : CONFIG_ORDER_RELAXED, CONFIG_PROTOCOL_GRPC);
        begin(rig, WEIR_LOGS);
        rig->decide = says_anything;
        rig_start(rig);
        RIG_DRAINED(rig, WEIR_LOGS);
        struct spool_lane_stats ledger = rig_ledger(rig, WEIR_LOGS);
        uint64_t taken = 0;
        pthread_mutex_lock(&rig->lock);
        for (uint64_t i = 0; i < item_count; i++) {
            cr_expect_leq(stored[i], 1, "round %d: item %d went %u times", round, (int)i, stored[i]);
            taken += stored[i];
        }
        pthread_mutex_unlock(&rig->lock);
        cr_expect_eq(ledger.delivered, taken);
        cr_expect_eq(ledger.dead_lettered, item_count - taken, "round %d", round);
        rig_free(rig);
    }
}
