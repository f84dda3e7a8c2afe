// SPDX-License-Identifier: Apache-2.0
// An upstream with several endpoints: the first that answers is used, and the first of the list again after a while.
#include "relay/replay_priv.h"
#include "tests/unit/client_peer.h"
#include "tests/unit/replay_rig.h"

TestSuite(replay_endpoints, .timeout = 120);

static char first_text[] = "grpc://first", second_text[] = "grpc://second";

// `rig` sends to itself first, and then to `port`; or the other way round.
static void with_second(struct replay_rig *rig, uint16_t port, bool second_is_first)
{
    struct config_upstream *upstream = &rig->upstream;
    rig_end_replay(rig);
    upstream->target.text = first_text;
    upstream->alternates[0] = upstream->target;
    upstream->alternates[0].text = second_text;
    upstream->alternate_count = 1;
    (second_is_first ? &upstream->target : &upstream->alternates[0])->port = port;
    rig_new_replay(rig);
}

#define PATIENT                                                                                                        \
    {                                                                                                                  \
        .initial_ms = 3600000, .max_ms = 3600000                                                                       \
    } // whatever is backed off from does not end in time

Test(replay_endpoints, the_next_is_tried_at_once)
{
    uint16_t port;
    int refusing = peer_bind(&port); // nobody listens
    for (int http = 0; http < 2; http++) {
        enum config_protocol protocol = http ? CONFIG_PROTOCOL_HTTP : CONFIG_PROTOCOL_GRPC;
        struct replay_rig *rig = rig_new((struct config_upstream){.target = {.protocol = protocol}, .retry = PATIENT});
        with_second(rig, port, true);
        for (unsigned i = 0; i < 5; i++)
            rig_append(rig, WEIR_TRACES, i, 1, 100);
        cr_expect_str_eq(rig_stats(rig).endpoint, first_text);
        rig_start(rig);
        RIG_DRAINED(rig, WEIR_TRACES);
        rig_expect_each_once(rig, 5);
        cr_expect_str_eq(rig_stats(rig).endpoint, second_text);
        cr_expect_str_eq(rig_stats(rig).error_code, "connect");
        rig_free(rig);
    }
    close(refusing);
}

Test(replay_endpoints, a_whole_round_without_an_answer_is_backed_off_from)
{
    uint16_t port;
    int refusing = peer_bind(&port);
    struct replay_rig *rig = rig_new((struct config_upstream){.retry = PATIENT});
    with_second(rig, port, true);
    rig_end_replay(rig);
    rig->upstream.alternates[0].port = port;
    rig_new_replay(rig);
    rig_append(rig, WEIR_TRACES, 0, 1, 100);
    rig_start(rig);
    KIT_UNTIL(rig_stats(rig).state == REPLAY_BACKING_OFF && rig_stats(rig).lanes[WEIR_TRACES].exports >= 2);
    cr_expect_eq(rig_stats(rig).lanes[WEIR_TRACES].exports, 2, "once to each");
    rig_free(rig);
    close(refusing);
}

static struct rig_answer unavailable(struct replay_rig *rig, const struct rig_seen *seen)
{
    bool grpc = rig->upstream.target.protocol == CONFIG_PROTOCOL_GRPC;
    if (atomic_load(&rig->limit) == 0)
        return (struct rig_answer){.status = grpc ? GRPC_UNAVAILABLE : 503};
    return (struct rig_answer){.status = grpc ? 0 : 200};
}

Test(replay_endpoints, unavailable_is_as_good_as_no_answer_and_the_first_is_used_again)
{
    for (int http = 0; http < 2; http++) {
        struct config_upstream upstream = {.target = {.protocol = http ? CONFIG_PROTOCOL_HTTP : CONFIG_PROTOCOL_GRPC},
                                           .retry = PATIENT};
        struct replay_rig *first = rig_new(upstream), *second = rig_new(upstream);
        first->decide = unavailable;
        with_second(first, second->upstream.target.port, false);
        atomic_load(&first->replay)->endpoints.home_wait_ms = 100;
        rig_append(first, WEIR_TRACES, 0, 1, 100);
        rig_start(first);
        RIG_DRAINED(first, WEIR_TRACES);
        rig_expect_each_once(second, 1);
        cr_expect_eq(rig_seen_count(first), 1);
        cr_expect_str_eq(rig_stats(first).endpoint, second_text);
        atomic_store(&first->limit, 1); // it is well again
        KIT_UNTIL(strcmp(rig_stats(first).endpoint, first_text) == 0);
        rig_append(first, WEIR_TRACES, 1, 1, 100);
        RIG_DRAINED(first, WEIR_TRACES);
        cr_expect_eq(first->delivered[1], 1);
        cr_expect_eq(rig_seen_count(second), 1);
        rig_free(first);
        rig_free(second);
    }
}

Test(replay_endpoints, a_first_that_stays_away_is_tried_ever_more_seldom)
{
    struct replay_rig *first = rig_new((struct config_upstream){.retry = PATIENT}),
                      *second = rig_new((struct config_upstream){.retry = PATIENT});
    first->decide = unavailable;
    with_second(first, second->upstream.target.port, false);
    atomic_load(&first->replay)->endpoints.home_wait_ms = 20;
    rig_start(first);
    unsigned id = 0;
    while (rig_seen_count(first) < 4) {
        rig_append(first, WEIR_TRACES, id++, 1, 100);
        RIG_DRAINED(first, WEIR_TRACES);
    }
    rig_expect_each_once(second, id);
    rig_end_replay(first);
    rig_new_replay(first);
    rig_free(first);
    rig_free(second);
}

static struct rig_answer delayed(struct replay_rig *rig, const struct rig_seen *seen)
{
    return (struct rig_answer){.status = seen->index == 0 ? GRPC_UNAVAILABLE : 0, .retry_info = true, .retry_ms = 50};
}

// Whoever asks for a pause is there: leaving would only move its load.
Test(replay_endpoints, a_peer_that_asks_for_a_pause_is_not_left)
{
    struct replay_rig *first = rig_new((struct config_upstream){.retry = {.initial_ms = 10, .max_ms = 10}}),
                      *second = rig_new((struct config_upstream){0});
    first->decide = delayed;
    with_second(first, second->upstream.target.port, false);
    rig_append(first, WEIR_TRACES, 0, 1, 100);
    rig_start(first);
    RIG_DRAINED(first, WEIR_TRACES);
    cr_expect_eq(first->delivered[0], 1);
    cr_expect_eq(rig_seen_count(second), 0);
    rig_free(first);
    rig_free(second);
}

static struct rig_answer refuse_logs(struct replay_rig *rig, const struct rig_seen *seen)
{
    return (struct rig_answer){.status = seen->signal == WEIR_LOGS ? GRPC_UNAVAILABLE : 0};
}

// One signal's backend is away behind every endpoint: its lane waits alone, with ever longer waits, and the others go on.
Test(replay_endpoints, a_lane_that_all_of_them_refuse_waits_alone)
{
    struct config_upstream upstream = {.retry = {.initial_ms = 20, .max_ms = 600000}};
    struct replay_rig *first = rig_new(upstream), *second = rig_new(upstream);
    first->decide = second->decide = refuse_logs;
    with_second(first, second->upstream.target.port, false);
    rig_append(first, WEIR_LOGS, 0, 1, 100);
    rig_start(first);
    for (unsigned tries = 1; tries <= 16; tries++) {
        KIT_UNTIL(rig_stats(first).lanes[WEIR_LOGS].exports >= tries);
        rig_append(first, WEIR_METRICS, tries, 1, 100);
        RIG_DRAINED(first, WEIR_METRICS);
    }
    KIT_UNTIL(rig_stats(first).lanes[WEIR_LOGS].state == REPLAY_BACKING_OFF);
    cr_expect_neq(rig_stats(first).lanes[WEIR_METRICS].state, REPLAY_BACKING_OFF);
    rig_free(first);
    rig_free(second);
}

// However much of the others' data is taken meanwhile, and however rarely it is tried.
Test(replay_endpoints, a_lane_that_is_refused_does_not_hold_up_the_others)
{
    struct config_upstream upstream = {.retry = PATIENT};
    struct replay_rig *first = rig_new(upstream), *second = rig_new(upstream);
    first->decide = second->decide = refuse_logs;
    with_second(first, second->upstream.target.port, false);
    rig_start(first);
    rig_append(first, WEIR_METRICS, 0, 1, 100);
    RIG_DRAINED(first, WEIR_METRICS);
    rig_append(first, WEIR_LOGS, 0, 1, 100);
    for (unsigned id = 1; id < 100; id++)
        rig_append(first, WEIR_METRICS, id, 1, 100);
    RIG_DRAINED(first, WEIR_METRICS);
    KIT_UNTIL(rig_stats(first).lanes[WEIR_LOGS].state == REPLAY_BACKING_OFF);
    cr_expect_leq(rig_stats(first).lanes[WEIR_LOGS].exports, 4, "%llu attempts",
                  (unsigned long long)rig_stats(first).lanes[WEIR_LOGS].exports);
    rig_free(first);
    rig_free(second);
}

static struct rig_answer refuse_logs_hold_the_rest(struct replay_rig *rig, const struct rig_seen *seen)
{
    bool logs = seen->signal == WEIR_LOGS;
    return (struct rig_answer){.status = logs ? GRPC_UNAVAILABLE : 0, .hold = !logs};
}

// What it still answers of other signals does not say that it takes this one's.
Test(replay_endpoints, the_next_is_tried_though_the_first_takes_other_signals)
{
    struct replay_rig *first = rig_new((struct config_upstream){.retry = PATIENT}),
                      *second = rig_new((struct config_upstream){0});
    first->decide = refuse_logs_hold_the_rest;
    with_second(first, second->upstream.target.port, false);
    rig_append(first, WEIR_METRICS, 0, 1, 100);
    rig_start(first);
    KIT_UNTIL(atomic_load(&first->held_count) == 1);
    rig_append(first, WEIR_LOGS, 1, 1, 100);
    KIT_UNTIL(rig_stats(first).lanes[WEIR_LOGS].exports == 1);
    rig_release(first, (struct rig_answer){0});
    RIG_DRAINED(first, WEIR_LOGS);
    cr_expect_eq(second->delivered[1], 1);
    cr_expect_eq(rig_seen_count(first), 2, "one of each");
    rig_free(first);
    rig_free(second);
}

static struct rig_answer hold_logs(struct replay_rig *rig, const struct rig_seen *seen)
{
    return (struct rig_answer){.status = 0, .hold = seen->signal == WEIR_LOGS};
}

// One signal is never answered, by none of them, and others are all the time: it is not sent round and round without a wait.
Test(replay_endpoints, a_lane_that_none_of_them_answers_waits_alone)
{
    struct config_upstream upstream = {.retry = PATIENT, .timeout_ms = 300};
    struct replay_rig *first = rig_new(upstream), *second = rig_new(upstream);
    first->decide = second->decide = hold_logs;
    with_second(first, second->upstream.target.port, false);
    rig_append(first, WEIR_LOGS, 0, 1, 100);
    rig_start(first);
    unsigned id = 1;
    while (rig_stats(first).lanes[WEIR_LOGS].state != REPLAY_BACKING_OFF) {
        cr_assert_lt(rig_stats(first).lanes[WEIR_LOGS].exports, 6);
        rig_append(first, WEIR_METRICS, id++ % RIG_IDS_MAX, 1, 100);
        RIG_DRAINED(first, WEIR_METRICS);
    }
    rig_append(first, WEIR_METRICS, id % RIG_IDS_MAX, 1, 100);
    RIG_DRAINED(first, WEIR_METRICS);
    cr_expect_eq(rig_stats(first).lanes[WEIR_LOGS].exports, 2, "once to each");
    rig_free(first);
    rig_free(second);
}

// --- all of them away ---------------------------------------------------------------------------------------------------------

#define LIST 3

// list[0] sends to the others in their order, itself first.
static void with_list(struct replay_rig *list[LIST])
{
    static char names[LIST][16] = {"grpc://first", "grpc://second", "grpc://third"};
    struct config_upstream *upstream = &list[0]->upstream;
    rig_end_replay(list[0]);
    upstream->target.text = names[0];
    for (size_t i = 1; i < LIST; i++) {
        upstream->alternates[i - 1] = list[i]->upstream.target;
        upstream->alternates[i - 1].text = names[i];
    }
    upstream->alternate_count = LIST - 1;
    rig_new_replay(list[0]);
}

static void new_list(struct replay_rig *list[LIST], struct config_upstream upstream,
                     struct rig_answer (*decide)(struct replay_rig *rig, const struct rig_seen *seen))
{
    for (size_t i = 0; i < LIST; i++) {
        list[i] = rig_new(upstream);
        list[i]->decide = decide;
    }
    with_list(list);
}

static void free_list(struct replay_rig *list[LIST])
{
    for (size_t i = 0; i < LIST; i++)
        rig_free(list[i]);
}

static struct rig_answer silent(struct replay_rig *rig, const struct rig_seen *seen)
{
    return (struct rig_answer){.hold = true};
}

static void append_everything(struct replay_rig *rig, unsigned blocks)
{
    for (unsigned signal = 0; signal < WEIR_SIGNALS; signal++)
        rig_append_apart(rig, (enum weir_signal)signal, (uint64_t)signal * blocks, blocks, 100);
}

// However many exports are under way when the first one fails: the others are asked once each, and then all wait.
Test(replay_endpoints, a_full_outage_costs_one_attempt_at_each)
{
    static const struct {
        enum config_protocol protocol;
        struct rig_answer (*decide)(struct replay_rig *rig, const struct rig_seen *seen);
        uint64_t timeout_ms;
    } rows[] = {
        {CONFIG_PROTOCOL_GRPC, unavailable, 0},
        {CONFIG_PROTOCOL_HTTP, unavailable, 0},
        {CONFIG_PROTOCOL_GRPC, silent, 200},
        {CONFIG_PROTOCOL_HTTP, silent, 200},
    };
    for (size_t row = 0; row < WEIR_COUNT(rows); row++)
        for (int many = 0; many < 2; many++) {
            struct replay_rig *list[LIST];
            struct config_upstream upstream = {
                .target = {.protocol = rows[row].protocol}, .retry = PATIENT, .timeout_ms = rows[row].timeout_ms};
            new_list(list, upstream, rows[row].decide);
            if (many)
                append_everything(list[0], 20);
            else
                rig_append(list[0], WEIR_METRICS, 0, 1, 100);
            rig_start(list[0]);
            KIT_UNTIL(rig_stats(list[0]).state == REPLAY_BACKING_OFF);
            if (!many)
                cr_expect_eq(rig_seen_count(list[0]), 1, "row %zu: %d at the first", row, rig_seen_count(list[0]));
            cr_expect_eq(rig_seen_count(list[1]), 1, "row %zu: %d at the second", row, rig_seen_count(list[1]));
            cr_expect_eq(rig_seen_count(list[2]), 1, "row %zu: %d at the third", row, rig_seen_count(list[2]));
            free_list(list);
        }
}

// Round and round, in their order, one export each; and whichever is back first has it all, without a failure counted against it.
Test(replay_endpoints, rounds_go_on_in_order_until_one_is_back)
{
    for (int back = 0; back < LIST; back++) {
        struct replay_rig *list[LIST];
        new_list(list, (struct config_upstream){.retry = {.initial_ms = 1, .max_ms = 2}}, unavailable);
        append_everything(list[0], 5);
        rig_start(list[0]);
        KIT_UNTIL(rig_seen_count(list[LIST - 1]) >= 10);
        int seen[LIST];
        for (int i = 0; i < LIST; i++)
            seen[i] = rig_seen_count(list[i]);
        cr_expect_leq(seen[1] - seen[2], 1, "%d and %d", seen[1], seen[2]);
        cr_expect_leq(seen[2], seen[1]);
        atomic_store(&list[back]->limit, 1);
        for (unsigned signal = 0; signal < WEIR_SIGNALS; signal++)
            RIG_DRAINED(list[0], (enum weir_signal)signal);
        rig_expect_each_once(list[back], WEIR_SIGNALS * 5);
        free_list(list);
    }
}

static struct rig_answer hold_from_two(struct replay_rig *rig, const struct rig_seen *seen)
{
    return atomic_load(&rig->limit) == 2 ? (struct rig_answer){.hold = true} : unavailable(rig, seen);
}

// What is tried again now and then is tried with one small export, not with all there is; and so is the one that is gone back to.
Test(replay_endpoints, a_first_that_is_still_away_is_asked_once)
{
    struct replay_rig *list[LIST];
    new_list(list, (struct config_upstream){.retry = PATIENT}, hold_from_two);
    atomic_store(&list[1]->limit, 1);
    atomic_load(&list[0]->replay)->endpoints.home_wait_ms = 20;
    rig_append(list[0], WEIR_METRICS, 0, 1, 100);
    rig_start(list[0]);
    RIG_DRAINED(list[0], WEIR_METRICS);
    KIT_UNTIL(strcmp(rig_stats(list[0]).endpoint, "grpc://first") == 0); // it is due, and nothing is under way
    atomic_store(&list[1]->limit, 2);
    replay_pause(atomic_load(&list[0]->replay), true); // until all of it is there
    append_everything(list[0], 20);
    replay_pause(atomic_load(&list[0]->replay), false);
    KIT_UNTIL(atomic_load(&list[1]->held_count) > 0);
    cr_expect_eq(rig_seen_count(list[0]), 2, "once at first, once again: %d", rig_seen_count(list[0]));
    cr_expect_eq(rig_seen_count(list[1]), 2, "all, and a trial: %d", rig_seen_count(list[1]));
    cr_expect_eq(rig_seen_count(list[2]), 0);
    free_list(list);
}

// The second one does not answer what the first has refused: others' data that comes meanwhile does not wait until it is known that it never does.
Test(replay_endpoints, a_lanes_own_trial_does_not_hold_up_the_others)
{
    struct replay_rig *list[LIST];
    new_list(list, (struct config_upstream){.retry = PATIENT}, hold_logs);
    list[0]->decide = refuse_logs;
    rig_append(list[0], WEIR_LOGS, 0, 1, 100);
    rig_start(list[0]);
    KIT_UNTIL(atomic_load(&list[1]->held_count) == 1);
    rig_append(list[0], WEIR_METRICS, 1, 1, 100);
    RIG_DRAINED(list[0], WEIR_METRICS);
    cr_expect_eq(list[1]->delivered[1], 1);
    cr_expect_eq(atomic_load(&list[1]->held_count), 1, "the logs are under way still");
    free_list(list);
}
