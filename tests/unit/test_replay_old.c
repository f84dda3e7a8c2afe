// SPDX-License-Identifier: Apache-2.0
// upstreams[].max_data_age: what is older when its turn comes goes to the dead letters, all of it, and holds up nobody else.
#include <criterion/criterion.h>

#include "tests/unit/replay_rig.h"

TestSuite(replay_old, .timeout = 60);

#define MINUTE_MS 60000ull
#define HOUR_NS   3600000000000ull

static struct spool_stats letters(struct replay_rig *rig)
{
    struct spool_stats stats;
    spool_stats_get(rig->spool, &stats);
    return stats;
}

Test(replay_old, old_data_is_kept_as_dead_letters_and_young_data_is_sent)
{
    struct replay_rig *rig = rig_new((struct config_upstream){.max_data_age_ms = 10 * MINUTE_MS});
    rig_append(rig, WEIR_LOGS, 0, 2, 100);
    rig->age_ns = HOUR_NS;
    for (unsigned i = 0; i < 5; i++)
        rig_append(rig, WEIR_LOGS, 10 + i, 3, 100);
    rig->age_ns = 0;
    rig_append(rig, WEIR_LOGS, 2, 2, 100);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_LOGS);
    rig_expect_each_once(rig, 4);
    struct spool_lane_stats ledger = rig_ledger(rig, WEIR_LOGS);
    cr_expect_eq(ledger.delivered, 8);
    cr_expect_eq(ledger.dead_lettered, 30);
    cr_expect_eq(letters(rig).dead_letter_items, 30);
    cr_expect_eq(letters(rig).dead_letter_requests, 1, "five blocks that may be joined are one letter");
    cr_expect_eq(rig_stats(rig).lanes[WEIR_LOGS].dead_letter_requests, 1);
    rig_free(rig);
}

Test(replay_old, without_a_limit_all_is_sent)
{
    struct replay_rig *rig = rig_new((struct config_upstream){0});
    rig->age_ns = 1000 * HOUR_NS;
    rig_append(rig, WEIR_LOGS, 0, 4, 100);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_LOGS);
    rig_expect_each_once(rig, 4);
    rig_free(rig);
}

Test(replay_old, letters_hold_neither_other_envelopes_nor_two_profiles)
{
    struct replay_rig *rig = rig_new((struct config_upstream){.max_data_age_ms = MINUTE_MS});
    rig->age_ns = HOUR_NS;
    rig_append_in(rig, WEIR_LOGS, (struct weir_slice){(const uint8_t *)"\2\1x\1a", 5}, 0, 1, 100);
    rig_append_in(rig, WEIR_LOGS, (struct weir_slice){(const uint8_t *)"\2\1x\1b", 5}, 1, 1, 100);
    rig_append(rig, WEIR_PROFILES, 2, 1, 100);
    rig_append(rig, WEIR_PROFILES, 3, 1, 100);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_LOGS);
    RIG_DRAINED(rig, WEIR_PROFILES);
    cr_expect_eq(letters(rig).dead_letter_requests, 4);
    cr_expect_eq(rig->order_count, 0, "nothing was sent");
    rig_free(rig);
}

static struct rig_answer unreachable_in_a_way(struct replay_rig *rig, const struct rig_seen *seen)
{
    return (struct rig_answer){.status = GRPC_UNAVAILABLE};
}

Test(replay_old, data_that_ages_while_the_upstream_is_away_goes_when_its_turn_comes)
{
    struct replay_rig *rig = rig_new((struct config_upstream){.max_data_age_ms = 200});
    rig->decide = unreachable_in_a_way;
    rig_append(rig, WEIR_LOGS, 0, 4, 100);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_LOGS);
    cr_expect_eq(rig_ledger(rig, WEIR_LOGS).dead_lettered, 8);
    cr_expect_eq(rig_ledger(rig, WEIR_LOGS).delivered, 0);
    rig_free(rig);
}

static struct rig_answer watch_the_old(struct replay_rig *rig, const struct rig_seen *seen)
{
    if (seen->ids[0] == 1)
        atomic_store(&rig->limit, (int)rig_ledger(rig, WEIR_TRACES).pending);
    return (struct rig_answer){.status = 0};
}

// No two blocks join: as many letters as blocks, and of the strict lane one export waits for the other's answer.
Test(replay_old, a_backlog_that_is_too_old_does_not_hold_up_another_lane)
{
    struct replay_rig *rig = rig_new((struct config_upstream){
        .max_data_age_ms = MINUTE_MS, .max_request_size_bytes = 1000, .order = {[WEIR_METRICS] = CONFIG_ORDER_STRICT}});
    rig->decide = watch_the_old;
    atomic_store(&rig->limit, -1);
    rig->age_ns = HOUR_NS;
    for (unsigned i = 0; i < 2000; i++)
        rig_append(rig, WEIR_TRACES, i % RIG_IDS_MAX, 1, 600);
    rig->age_ns = 0;
    for (unsigned i = 0; i < 2; i++)
        rig_append(rig, WEIR_METRICS, i, 1, 600);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_METRICS);
    RIG_DRAINED(rig, WEIR_TRACES);
    rig_expect_each_once(rig, 2);
    cr_expect_gt(atomic_load(&rig->limit), 0, "the second metrics went out only after the old traces");
    cr_expect_eq(rig_ledger(rig, WEIR_TRACES).dead_lettered, 4000);
    cr_expect_eq(letters(rig).dead_letter_requests, 2000);
    rig_free(rig);
}

Test(replay_old, when_the_dead_letters_are_full_the_oldest_go)
{
    struct replay_rig *rig =
        rig_new_on((struct rig_spool){.dead_letter_bytes = 256 * 1024},
                   (struct config_upstream){.max_data_age_ms = MINUTE_MS, .max_request_size_bytes = 2000});
    rig->age_ns = HOUR_NS;
    for (unsigned i = 0; i < 300; i++)
        rig_append(rig, WEIR_TRACES, i, 1, 1500);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    struct spool_lane_stats ledger = rig_ledger(rig, WEIR_TRACES);
    cr_expect_gt(ledger.dead_lettered, 0);
    cr_expect_gt(ledger.evicted, 0);
    cr_expect_eq(ledger.evicted, ledger.evicted_by[SPOOL_LOSS_LETTERS]);
    cr_expect_eq(ledger.accepted, ledger.evicted + ledger.dead_lettered);
    cr_expect_eq(letters(rig).dead_letter_items, ledger.dead_lettered);
    cr_expect_leq(letters(rig).dead_letter_bytes, 256 * 1024);
    cr_expect_eq(ledger.accepted, 600);
    rig_free(rig);
}

Test(replay_old, a_letter_larger_than_all_their_room_is_evicted_and_does_not_block)
{
    struct replay_rig *rig =
        rig_new_on((struct rig_spool){.dead_letter_bytes = 64 * 1024},
                   (struct config_upstream){.max_data_age_ms = MINUTE_MS, .max_request_size_bytes = 4000000});
    rig->age_ns = HOUR_NS;
    rig_append(rig, WEIR_TRACES, 0, 1, 1000000);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    struct spool_lane_stats ledger = rig_ledger(rig, WEIR_TRACES);
    cr_expect_eq(ledger.evicted_by[SPOOL_LOSS_LETTERS], ledger.accepted);
    cr_expect_eq(ledger.dead_lettered, 0);
    cr_expect_eq(letters(rig).dead_letter_items, 0);
    rig_free(rig);
}

// The answer may come late or not at all: what was put to the dead letters and not yet settled is put there again, as the same letters.
Test(replay_old, stopped_anywhere_it_counts_each_item_once)
{
    struct replay_rig *rig =
        rig_new((struct config_upstream){.max_data_age_ms = MINUTE_MS, .max_request_size_bytes = 1000});
    rig->age_ns = HOUR_NS;
    for (unsigned i = 0; i < 200; i++)
        rig_append(rig, WEIR_TRACES, i, 1, 600);
    for (unsigned i = 0; i < 10; i++) {
        rig_start(rig);
        KIT_UNTIL(rig_ledger(rig, WEIR_TRACES).dead_lettered >= i * 30);
        rig_end_replay(rig);
        rig_new_replay(rig);
    }
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    cr_expect_eq(rig_ledger(rig, WEIR_TRACES).dead_lettered, 400);
    cr_expect_eq(letters(rig).dead_letter_items, 400);
    rig_free(rig);
}
