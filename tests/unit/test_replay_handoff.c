// SPDX-License-Identifier: Apache-2.0
// What an export says of itself to an upstream that may be a weir: the same data the same positions, and other data never.
#include <criterion/criterion.h>

#include "relay/handoff.h"
#include "relay/positions.h"
#include "storage/past.h"
#include "storage/spool_priv.h"
#include "tests/unit/replay_rig.h"

TestSuite(replay_handoff, .timeout = 60);

#define INSTANCE "0f8fad5b-d9cb-469f-a165-70867728950e/traces/0-0"

static struct handoff handoff_of(const struct rig_seen *seen)
{
    struct handoff out = {0};
    cr_assert(handoff_parse((struct weir_slice){(const uint8_t *)INSTANCE, strlen(INSTANCE)},
                            (struct weir_slice){(const uint8_t *)seen->handoff, strlen(seen->handoff)}, WEIR_TRACES,
                            &out),
              "%s", seen->handoff);
    return out;
}

static void restart(struct replay_rig *rig)
{
    rig_end_replay(rig);
    spool_close(rig->spool);
    rig_open_spool(rig);
    rig_new_replay(rig);
}

static struct rig_answer away_until_allowed(struct replay_rig *rig, const struct rig_seen *seen)
{
    return (struct rig_answer){.status = atomic_load(&rig->limit) == 0 ? GRPC_UNAVAILABLE : 0};
}

Test(replay_handoff, a_run_keeps_its_name_and_another_process_writes_another)
{
    struct replay_rig *rig = rig_new((struct config_upstream){0});
    rig->decide = away_until_allowed;
    rig_append(rig, WEIR_LOGS, 100, 1, 100);
    rig_append(rig, WEIR_TRACES, 0, 1, 100); // blocks 1 and 3
    rig_append(rig, WEIR_LOGS, 101, 1, 100);
    rig_append(rig, WEIR_TRACES, 1, 1, 100);
    rig->upstream.signals = 1u << WEIR_TRACES;
    restart(rig);
    rig_append(rig, WEIR_TRACES, 2, 1, 100); // block 4, of another process
    rig_start(rig);
    KIT_UNTIL(rig_seen_count(rig) > 2);
    struct handoff first = handoff_of(&rig->seen[0]), again = handoff_of(&rig->seen[1]);
    cr_expect(first.span.from.block == 0 && first.span.to.block == 4 && first.low == 0, "%s", rig->seen[0].handoff);
    cr_expect_eq(first.scope, again.scope);
    rig_end_replay(rig);
    rig_new_replay(rig);
    atomic_store(&rig->limit, 1);
    int before = rig_seen_count(rig);
    rig->started = false;
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    cr_assert_eq(rig_seen_count(rig), before + 2, "runs are not joined");
    struct handoff old = handoff_of(&rig->seen[before]), new = handoff_of(&rig->seen[before + 1]);
    cr_expect(old.scope == first.scope && old.span.to.block == 4);
    cr_expect(new.scope != first.scope &&new.span.from.block == 4 && new.span.to.block == 5);
    rig_expect_each_once(rig, 3);
    rig_free(rig);
}

Test(replay_handoff, a_replay_of_the_past_is_another_scope)
{
    struct replay_rig *rig =
        rig_new_on((struct rig_spool){.keep_delivered_ns = 3600000000000ull}, (struct config_upstream){0});
    rig_append(rig, WEIR_TRACES, 0, 1, 100);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    for (unsigned i = 1; i <= 2; i++) {
        struct spool_replay added = {0};
        struct spool_lane *lane = rig_stats(rig).lanes[WEIR_TRACES].lane;
        cr_assert_eq(replay_name_anew(rig->spool, lane, NULL), WEIR_OK);
        cr_assert_eq(spool_lane_replay(lane, 0, 1, false, &added, NULL), WEIR_OK);
        replay_look_again(atomic_load(&rig->replay));
        KIT_UNTIL(rig_ledger(rig, WEIR_TRACES).delivered == 2 + 2 * i);
    }
    uint64_t scopes[] = {handoff_of(&rig->seen[0]).scope, handoff_of(&rig->seen[1]).scope,
                         handoff_of(&rig->seen[2]).scope};
    cr_expect(scopes[0] != scopes[1] && scopes[1] != scopes[2] && scopes[0] != scopes[2]);
    rig_free(rig);
}

static struct rig_answer refuse_one_hold_the_rest(struct replay_rig *rig, const struct rig_seen *seen)
{
    if (seen->ids[0] == 0)
        return (struct rig_answer){.status = GRPC_INVALID_ARGUMENT};
    return (struct rig_answer){.hold = rig->seen_count < 4 || seen->index < 4};
}

// The ledger has the items of a letter as replayed whose block was lost, or evicted, before it was settled. Nothing was told to go again.
Test(replay_handoff, a_block_that_is_lost_beside_its_letter_changes_no_scope)
{
    struct replay_rig *rig = rig_new((struct config_upstream){.order = {[WEIR_TRACES] = CONFIG_ORDER_RELAXED}});
    rig->decide = refuse_one_hold_the_rest;
    rig_append(rig, WEIR_TRACES, 0, 2, 100);
    rig_start(rig);
    KIT_UNTIL(atomic_load(&rig->held_count) == 1);
    rig_append(rig, WEIR_TRACES, 2, 1, 100);
    KIT_UNTIL(atomic_load(&rig->held_count) == 2);
    cr_assert_eq(spool_lane_lost(rig_stats(rig).lanes[WEIR_TRACES].lane, 0, 1), 4);
    replay_look_again(atomic_load(&rig->replay));
    rig_release(rig, (struct rig_answer){.status = GRPC_ABORTED});
    RIG_DRAINED(rig, WEIR_TRACES);
    cr_expect_gt(rig_ledger(rig, WEIR_TRACES).replayed, 0);
    cr_assert_eq(rig->seen_count, 5);
    cr_expect_str_eq(rig->seen[4].handoff, rig->seen[3].handoff);
    rig_free(rig);
}

static struct rig_answer hold_the_first(struct replay_rig *rig, const struct rig_seen *seen)
{
    return (struct rig_answer){.hold = seen->ids[0] == 0};
}

// What is under way may have to go again.
Test(replay_handoff, low_is_never_above_what_is_under_way)
{
    struct replay_rig *rig = rig_new((struct config_upstream){.order = {[WEIR_TRACES] = CONFIG_ORDER_RELAXED}});
    rig->decide = hold_the_first;
    rig_append(rig, WEIR_LOGS, 100, 1, 100);
    rig_append_apart(rig, WEIR_TRACES, 0, 5, 600);
    rig_start(rig);
    KIT_UNTIL(rig_ledger(rig, WEIR_TRACES).delivered == 8);
    for (int i = 0; i < rig->seen_count; i++)
        if (rig->seen[i].signal == WEIR_TRACES)
            cr_expect_leq(handoff_of(&rig->seen[i]).low, 1, "%s", rig->seen[i].handoff);
    rig_release(rig, (struct rig_answer){0});
    RIG_DRAINED(rig, WEIR_TRACES);
    cr_assert_eq(spool_sync_state(rig->spool, NULL), WEIR_OK);
    rig_append(rig, WEIR_TRACES, 5, 1, 600);
    RIG_DRAINED(rig, WEIR_TRACES);
    cr_expect_eq(handoff_of(&rig->seen[rig->seen_count - 1]).low, 6);
    rig_free(rig);
}

static struct rig_answer refuse_the_first(struct replay_rig *rig, const struct rig_seen *seen)
{
    return (struct rig_answer){.status = seen->ids[0] == 0 ? GRPC_INVALID_ARGUMENT : 0};
}

// A dead letter whose settlement a crash forgets is forgotten with it: its block goes again, and nobody has it.
Test(replay_handoff, low_is_never_above_what_a_crash_goes_back_to)
{
    struct replay_rig *rig = rig_new((struct config_upstream){0});
    rig->decide = refuse_the_first;
    rig_start(rig);
    pthread_mutex_lock(&rig->spool->state_lock); // nothing becomes durable
    for (unsigned i = 0; i < 3; i++) {
        rig_append(rig, WEIR_TRACES, i, 1, 100);
        RIG_DRAINED(rig, WEIR_TRACES);
    }
    pthread_mutex_unlock(&rig->spool->state_lock);
    cr_expect_eq(rig_ledger(rig, WEIR_TRACES).dead_lettered, 2);
    for (int i = 0; i < rig->seen_count; i++)
        cr_expect_eq(handoff_of(&rig->seen[i]).low, 0, "%s", rig->seen[i].handoff);
    cr_assert_eq(spool_sync_state(rig->spool, NULL), WEIR_OK);
    rig_append(rig, WEIR_TRACES, 3, 1, 100);
    RIG_DRAINED(rig, WEIR_TRACES);
    cr_expect_eq(handoff_of(&rig->seen[rig->seen_count - 1]).low, 3);
    rig_free(rig);
}

// A weir that holds ids 0 to 2: it says so of all of them or of some, and takes the others. An older one does not say which.
static struct rig_answer holds_three(struct replay_rig *rig, const struct rig_seen *seen)
{
    unsigned held = 0;
    for (size_t i = 0; i < seen->id_count; i++)
        held += seen->ids[i] < 3;
    if (held > 0 && held < seen->id_count)
        return (struct rig_answer){.status = GRPC_OUT_OF_RANGE, .repeat = "part/999999"};
    return (struct rig_answer){.repeat = held > 0 ? "all" : NULL};
}

Test(replay_handoff, what_is_there_in_part_goes_in_parts)
{
    struct replay_rig *rig = rig_new((struct config_upstream){.order = {[WEIR_TRACES] = CONFIG_ORDER_STRICT}});
    rig->decide = holds_three;
    rig_append(rig, WEIR_TRACES, 0, 2, 100);
    rig_append(rig, WEIR_TRACES, 2, 2, 100);
    for (unsigned i = 4; i < 8; i++)
        rig_append(rig, WEIR_TRACES, i, 1, 100);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    rig_expect_each_once(rig, 8);
    cr_expect_eq(rig_ledger(rig, WEIR_TRACES).delivered, 16);
    cr_expect_eq(rig_ledger(rig, WEIR_TRACES).dead_lettered, 0);
    cr_expect_leq(rig->seen_count, 10);
    struct replay_stats stats = rig_stats(rig);
    cr_expect_str_eq(stats.lanes[WEIR_TRACES].error_code, "", "that is no error");
    // And no lesson about sizes.
    rig->decide = away_until_allowed;
    for (unsigned i = 10; i < 18; i++)
        rig_append(rig, WEIR_TRACES, i, 1, 100);
    atomic_store(&rig->limit, 1);
    RIG_DRAINED(rig, WEIR_TRACES);
    size_t most = 0;
    for (int i = 8; i < rig->seen_count; i++)
        most = rig->seen[i].id_count > most ? rig->seen[i].id_count : most;
    cr_expect_geq(most, 4);
    rig_free(rig);
}

// A weir's judgement of what it gets, as it was when it came in.
static struct position_set taken;
static char part[HANDOFF_REPEAT_MAX];

static struct rig_answer judge_positions(struct replay_rig *rig, const struct rig_seen *seen)
{
    struct handoff handoff = handoff_of(seen);
    if (seen->signal != WEIR_TRACES)
        return (struct rig_answer){0};
    if (handoff.low > 0)
        positions_add(&taken, (struct position_span){{0, 0}, {handoff.low, 0}});
    switch (positions_look(&taken, handoff.span)) {
    case POSITIONS_ALL:
        return (struct rig_answer){.repeat = "all"};
    case POSITIONS_PART:
        handoff_format_part(positions_change(&taken, handoff.span), part);
        return (struct rig_answer){.status = GRPC_OUT_OF_RANGE, .repeat = part};
    case POSITIONS_NONE:
        break;
    }
    if (seen->ids[0] == 0 && atomic_load(&rig->limit) == 0)
        return (struct rig_answer){.hold = true};
    positions_add(&taken, handoff.span);
    return (struct rig_answer){0};
}

// One that covers emptiness before it, some of which counts as taken by then: what cannot be divided must not be given up for that.
Test(replay_handoff, emptiness_that_was_passed_gives_nothing_up)
{
    struct replay_rig *rig = rig_new(
        (struct config_upstream){.max_request_size_bytes = 700, .order = {[WEIR_TRACES] = CONFIG_ORDER_RELAXED}});
    rig->decide = judge_positions;
    rig_start(rig);
    for (unsigned i = 0; i < 4; i++) {
        rig_append(rig, WEIR_LOGS, 100 + i, 1, 600);
        RIG_DRAINED(rig, WEIR_LOGS);
    }
    replay_look_again(atomic_load(&rig->replay));
    struct spool_interval pending;
    struct spool_lane *lane = rig_stats(rig).lanes[WEIR_TRACES].lane;
    KIT_UNTIL(spool_lane_intervals(lane, &pending, 1) == 1 && pending.first == 4);
    rig_append(rig, WEIR_TRACES, 0, 1, 600);
    KIT_UNTIL(atomic_load(&rig->held_count) == 1);
    rig_append(rig, WEIR_TRACES, 1, 1, 600);
    KIT_UNTIL(rig_ledger(rig, WEIR_TRACES).delivered == 2);
    atomic_store(&rig->limit, 1);
    rig_release(rig, (struct rig_answer){.status = GRPC_UNAVAILABLE});
    RIG_DRAINED(rig, WEIR_TRACES);
    cr_expect_eq(rig_ledger(rig, WEIR_TRACES).dead_lettered, 0);
    cr_expect_eq(rig_ledger(rig, WEIR_TRACES).delivered, 4);
    cr_expect_eq(rig->delivered[0], 1);
    cr_expect_eq(rig->delivered[1], 1);
    rig_free(rig);
}

// Each place where what is there ends, or begins, costs one refusal and one export, however much lies between.
Test(replay_handoff, what_is_there_in_part_is_cut_where_it_changes)
{
    struct replay_rig *rig = rig_new((struct config_upstream){.order = {[WEIR_TRACES] = CONFIG_ORDER_STRICT}});
    rig->decide = judge_positions;
    atomic_store(&rig->limit, 1);
    rig_append(rig, WEIR_TRACES, 0, 100, 100); // block 0, of 200 items
    rig_append(rig, WEIR_TRACES, 100, 20, 100);
    rig_append(rig, WEIR_TRACES, 120, 20, 100);
    positions_free(&taken);
    cr_assert(positions_add(&taken, (struct position_span){{0, 74}, {0, 134}}));
    cr_assert(positions_add(&taken, (struct position_span){{1, 0}, {2, 2}}));
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    cr_expect_eq(rig_ledger(rig, WEIR_TRACES).delivered, 280);
    cr_expect_eq(rig_ledger(rig, WEIR_TRACES).dead_lettered, 0);
    cr_expect_eq(rig->seen_count, 9, "%d exports: 4 changes, 5 parts", rig->seen_count);
    cr_expect(taken.n == 0 && taken.low.block == 3);
    rig_free(rig);
}

// What an upstream says may be anything: it must come to an end, with each item once in the ledger.
static struct rig_answer says_part_of(struct replay_rig *rig, const struct rig_seen *seen)
{
    static const char *const places[] = {
        "part/0", "part/0.1", "part/0.3", "part/0.4", "part/0.4294967295", "part/9223372036854775807", "part/1"};
    return (struct rig_answer){.status = GRPC_OUT_OF_RANGE,
                               .repeat = places[(unsigned)rig->seen_count % WEIR_COUNT(places)]};
}

Test(replay_handoff, an_upstream_that_says_part_of_everything)
{
    struct replay_rig *rig = rig_new((struct config_upstream){.order = {[WEIR_TRACES] = CONFIG_ORDER_STRICT}});
    rig->decide = says_part_of;
    rig_append(rig, WEIR_TRACES, 0, 4, 100);
    rig_append(rig, WEIR_TRACES, 4, 4, 100);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    cr_expect_eq(rig_ledger(rig, WEIR_TRACES).dead_lettered, 16);
    cr_expect_eq(rig_ledger(rig, WEIR_TRACES).delivered, 0);
    rig_free(rig);
}

Test(replay_handoff, only_a_position_is_one)
{
    static const char *const others[] = {"part", "part/", "part/-1", "part/0.0", "part/0.2/", "part/01", "all", ""};
    struct position position;
    for (size_t i = 0; i < WEIR_COUNT(others); i++)
        cr_expect_not(handoff_parse_part((struct weir_slice){(const uint8_t *)others[i], strlen(others[i])}, &position),
                      "%s", others[i]);
    cr_assert(handoff_parse_part((struct weir_slice){(const uint8_t *)"part/17.40", 10}, &position));
    cr_expect(position.block == 17 && position.item == 40);
}

// A relay that is killed again and again in a long outage: all of its data has names, as far as a note has room for.
Test(replay_handoff, many_restarts_with_a_backlog)
{
    struct replay_rig *rig = rig_new((struct config_upstream){0});
    rig->decide = judge_positions;
    atomic_store(&rig->limit, 1);
    positions_free(&taken);
    for (unsigned i = 0; i < 100; i++) {
        rig_append(rig, WEIR_TRACES, i, 1, 100);
        restart(rig);
    }
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    cr_expect_eq(rig->seen_count, 100, "runs are not joined");
    for (int i = 0; i < rig->seen_count; i++)
        cr_expect_neq(handoff_of(&rig->seen[i]).scope, handoff_of(&rig->seen[(i + 1) % 100]).scope);
    rig_free(rig);
}

static unsigned fill_notes(struct replay_rig *rig)
{
    static const uint8_t filling[SPOOL_NOTE_VALUE_BYTES];
    unsigned notes = 0;
    for (size_t len = sizeof(filling); len > 0;) {
        char key[32];
        snprintf(key, sizeof(key), "z%u", notes++);
        int code = spool_note_put(rig->spool, key, (struct weir_slice){filling, len}, false, NULL);
        cr_assert(code == WEIR_OK || code == WEIR_E_LIMIT);
        if (code != WEIR_OK)
            len /= 2;
    }
    return notes;
}

// No room for a further name: the oldest goes without, and a start does not fail for that.
Test(replay_handoff, no_room_for_a_name)
{
    struct replay_rig *rig = rig_new((struct config_upstream){0});
    rig_append(rig, WEIR_TRACES, 0, 1, 100);
    fill_notes(rig);
    restart(rig);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    cr_expect_str_eq(rig->seen[0].handoff, "");
    rig_free(rig);
}

// Not when there is room again, either: in that run the next block may have been another one, of a spool that was set back.
Test(replay_handoff, what_was_written_without_room_is_not_of_the_run_before)
{
    struct replay_rig *rig = rig_new((struct config_upstream){0});
    rig_append(rig, WEIR_TRACES, 0, 1, 100);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    unsigned notes = fill_notes(rig);
    restart(rig);
    rig_append(rig, WEIR_TRACES, 1, 1, 100);
    for (unsigned i = 0; i < notes; i++) {
        char key[32];
        snprintf(key, sizeof(key), "z%u", i);
        cr_assert_eq(spool_note_remove(rig->spool, key, false, NULL), WEIR_OK);
    }
    restart(rig);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    cr_assert_eq(rig->seen_count, 2);
    cr_expect_neq(handoff_of(&rig->seen[1]).scope, handoff_of(&rig->seen[0]).scope);
    rig_free(rig);
}
