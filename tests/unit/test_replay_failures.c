// SPDX-License-Identifier: Apache-2.0
// The replay worker when the upstream refuses, waits, breaks off or says nothing: what comes again, when, and the ledger.
#include "tests/unit/client_peer.h"
#include "tests/unit/replay_rig.h"
#include "tests/unit/spool_records.h"

#include <nghttp2/nghttp2.h>

TestSuite(replay_failures, .timeout = 60);

static const struct rig_answer as_decided = {.status = -1};

// --- failures that pass -----------------------------------------------------------------------------------------------------

static struct rig_answer throttle_once(struct replay_rig *rig, const struct rig_seen *seen)
{
    if (seen->index > 0)
        return (struct rig_answer){0};
    return (struct rig_answer){.status = GRPC_RESOURCE_EXHAUSTED, .retry_info = true, .retry_ms = 150};
}

Test(replay_failures, waits_as_long_as_the_upstream_asks)
{
    struct replay_rig *rig = rig_new((struct config_upstream){.order = {[WEIR_TRACES] = CONFIG_ORDER_RELAXED}});
    rig->decide = throttle_once;
    rig_append(rig, WEIR_TRACES, 0, 3, 100);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    rig_expect_each_once(rig, 3);
    cr_assert_eq(rig->seen_count, 2);
    cr_expect_geq(rig->seen[1].at_ns - rig->seen[0].at_ns, 150000000u);
    cr_expect_str_eq(rig->seen[0].batch, rig->seen[1].batch, "the same data, the same name");
    rig_free(rig);
}

static struct rig_answer hold_first_four(struct replay_rig *rig, const struct rig_seen *seen)
{
    if (seen->index == 1)
        return (struct rig_answer){.status = GRPC_UNAVAILABLE, .retry_info = true, .retry_ms = 400, .hold = true};
    return (struct rig_answer){.hold = seen->index < 4};
}

// One of four parallel exports is told to wait; the other three succeed right after it, in the same write.
Test(replay_failures, success_of_older_exports_does_not_cut_a_wait_short)
{
    struct replay_rig *rig = rig_new(
        (struct config_upstream){.order = {[WEIR_TRACES] = CONFIG_ORDER_RELAXED}, .signals = 1u << WEIR_TRACES});
    rig->decide = hold_first_four;
    rig_append_apart(rig, WEIR_TRACES, 0, 8, 600);
    rig_start(rig);
    KIT_UNTIL(atomic_load(&rig->held_count) == 4);
    uint64_t answered_ns = weir_now_ns();
    rig_release(rig, as_decided);
    RIG_DRAINED(rig, WEIR_TRACES);
    rig_expect_each_once(rig, 8);
    cr_expect_geq(rig->seen[4].at_ns - answered_ns, 400000000u, "the next export came after %llu ms",
                  (unsigned long long)(rig->seen[4].at_ns - answered_ns) / 1000000);
    rig_free(rig);
}

static struct rig_answer second_asks_for_more(struct replay_rig *rig, const struct rig_seen *seen)
{
    if (seen->index < 2)
        return (struct rig_answer){
            .status = GRPC_UNAVAILABLE, .retry_info = seen->index == 1, .retry_ms = 400, .hold = true};
    return (struct rig_answer){0};
}

Test(replay_failures, longest_of_parallel_delays_counts)
{
    struct replay_rig *rig = rig_new((struct config_upstream){.order = {[WEIR_TRACES] = CONFIG_ORDER_RELAXED}});
    rig->decide = second_asks_for_more;
    rig_append_apart(rig, WEIR_TRACES, 0, 2, 600);
    rig_start(rig);
    KIT_UNTIL(atomic_load(&rig->held_count) == 2);
    uint64_t answered_ns = weir_now_ns();
    rig_release(rig, as_decided);
    RIG_DRAINED(rig, WEIR_TRACES);
    rig_expect_each_once(rig, 2);
    cr_expect_geq(rig->seen[2].at_ns - answered_ns, 400000000u);
    rig_free(rig);
}

static struct rig_answer every_third_fails(struct replay_rig *rig, const struct rig_seen *seen)
{
    return (struct rig_answer){.status = seen->index % 3 == 0 ? GRPC_ABORTED : 0};
}

Test(replay_failures, strict_lane_keeps_its_order_through_failures)
{
    struct replay_rig *rig =
        rig_new((struct config_upstream){.max_request_size_bytes = 1000, .retry = {.initial_ms = 1, .max_ms = 2}});
    rig->decide = every_third_fails;
    for (unsigned i = 0; i < 20; i++)
        rig_append(rig, WEIR_METRICS, i, 1, 600);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_METRICS);
    rig_expect_each_once(rig, 20);
    for (unsigned i = 0; i < 20; i++)
        cr_expect_eq(rig->order[i], i);
    cr_expect_eq(rig_stats(rig).lanes[WEIR_METRICS].retries, 10);
    rig_free(rig);
}

static struct rig_answer hold_and_fail_the_middle(struct replay_rig *rig, const struct rig_seen *seen)
{
    bool first = seen->index < 4;
    return (struct rig_answer){.hold = first, .status = first && seen->ids[0] % 2 == 1 ? GRPC_UNAVAILABLE : 0};
}

// U28.
Test(replay_failures, relaxed_lane_has_several_in_flight_and_settles_what_arrived)
{
    struct replay_rig *rig = rig_new(
        (struct config_upstream){.order = {[WEIR_TRACES] = CONFIG_ORDER_RELAXED}, .signals = 1u << WEIR_TRACES});
    rig->decide = hold_and_fail_the_middle;
    rig_append_apart(rig, WEIR_TRACES, 0, 12, 600);
    rig_start(rig);
    KIT_UNTIL(atomic_load(&rig->held_count) == 4);
    cr_expect_eq(rig_ledger(rig, WEIR_TRACES).pending, 24);
    rig_release(rig, as_decided);
    RIG_DRAINED(rig, WEIR_TRACES);
    rig_expect_each_once(rig, 12);
    struct spool_interval in[4];
    cr_assert_eq(spool_lane_intervals(rig_stats(rig).lanes[WEIR_TRACES].lane, in, 4), 1, "nothing is left behind");
    cr_expect_eq(in[0].first, 12);
    rig_free(rig);
}

static struct rig_answer unauthenticated_until_allowed(struct replay_rig *rig, const struct rig_seen *seen)
{
    return (struct rig_answer){.status = atomic_load(&rig->limit) == 0 ? GRPC_UNAUTHENTICATED : 0};
}

Test(replay_failures, holds_everything_while_a_setting_is_wrong)
{
    struct replay_rig *rig = rig_new((struct config_upstream){0});
    rig->decide = unauthenticated_until_allowed;
    rig_append(rig, WEIR_LOGS, 0, 5, 100);
    rig_start(rig);
    KIT_UNTIL(rig_stats(rig).lanes[WEIR_LOGS].exports >= 3);
    struct replay_stats stats = rig_stats(rig);
    cr_expect_eq(stats.state, REPLAY_HELD);
    cr_expect_str_eq(stats.error_code, "UNAUTHENTICATED");
    struct spool_lane_stats ledger = rig_ledger(rig, WEIR_LOGS);
    cr_expect_eq(ledger.pending, 10);
    cr_expect_eq(ledger.dead_lettered + ledger.evicted, 0);
    atomic_store(&rig->limit, 1);
    RIG_DRAINED(rig, WEIR_LOGS);
    rig_expect_each_once(rig, 5);
    KIT_UNTIL(rig_stats(rig).state == REPLAY_IDLE);
    rig_free(rig);
}

// A newer version ran here and wrote a block. The relay cannot read it, and does not take it for damage.
Test(replay_failures, holds_a_lane_at_what_a_newer_version_wrote)
{
    struct replay_rig *rig = rig_new((struct config_upstream){0});
    char path[700];
    for (unsigned i = 0; i < 5; i++)
        rig_append(rig, WEIR_METRICS, i, 1, 100);
    rig_append(rig, WEIR_LOGS, 5, 1, 100);
    rig_end_replay(rig);
    spool_close(rig->spool);
    cr_assert_eq(kit_files(rig->directory, "seg-", path, sizeof(path)), 1);
    cr_assert_gt(records_make_newer(path, "WBLK", 3), 0);
    rig_open_spool(rig);
    rig_new_replay(rig);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_LOGS);
    KIT_UNTIL(rig_stats(rig).lanes[WEIR_METRICS].state == REPLAY_HELD && rig_ledger(rig, WEIR_METRICS).pending == 4);
    struct replay_stats stats = rig_stats(rig);
    cr_expect_str_eq(stats.lanes[WEIR_METRICS].error_code, "newer_format");
    char reason[64];
    snprintf(reason, sizeof(reason), "has format %d, this weir knows up to %d", FORMAT_VERSION + 1, FORMAT_VERSION);
    cr_expect_not_null(strstr(stats.lanes[WEIR_METRICS].error_message, reason), "%s",
                       stats.lanes[WEIR_METRICS].error_message);
    cr_expect_eq(rig_ledger(rig, WEIR_METRICS).evicted, 0);
    cr_expect_eq(kit_files(rig->directory, ".damaged", NULL, 0), 0);
    rig_free(rig);
}

static struct rig_answer silent_until_allowed(struct replay_rig *rig, const struct rig_seen *seen)
{
    return (struct rig_answer){.hold = atomic_load(&rig->limit) == 0};
}

Test(replay_failures, keeps_what_was_not_answered_in_time)
{
    struct replay_rig *rig = rig_new((struct config_upstream){.timeout_ms = 50});
    rig->decide = silent_until_allowed;
    rig_append(rig, WEIR_TRACES, 0, 3, 100);
    rig_start(rig);
    KIT_UNTIL(rig_stats(rig).lanes[WEIR_TRACES].exports >= 2);
    cr_expect_str_eq(rig_stats(rig).error_code, "timeout");
    cr_expect_eq(rig_ledger(rig, WEIR_TRACES).pending, 6);
    atomic_store(&rig->limit, 1);
    RIG_DRAINED(rig, WEIR_TRACES);
    rig_expect_each_once(rig, 3);
    rig_free(rig);
}

Test(replay_failures, keeps_what_was_under_way_when_it_stops)
{
    struct replay_rig *rig = rig_new((struct config_upstream){.order = {[WEIR_TRACES] = CONFIG_ORDER_RELAXED}});
    rig->decide = silent_until_allowed;
    for (unsigned i = 0; i < 3; i++)
        rig_append(rig, WEIR_TRACES, i, 1, 100);
    rig_start(rig);
    KIT_UNTIL(atomic_load(&rig->held_count) > 0);
    rig_end_replay(rig);
    rig_new_replay(rig);
    cr_expect_eq(rig_ledger(rig, WEIR_TRACES).pending, 6);
    atomic_store(&rig->limit, 1);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    rig_expect_each_once(rig, 3);
    rig_free(rig);
}

// --- data that is refused ---------------------------------------------------------------------------------------------------

static struct rig_answer poisoned(struct replay_rig *rig, const struct rig_seen *seen)
{
    for (size_t i = 0; i < seen->id_count; i++)
        if (seen->ids[i] == (uint64_t)rig->poison)
            return (struct rig_answer){.status = GRPC_INVALID_ARGUMENT};
    return (struct rig_answer){0};
}

static void one_poisoned(enum config_order order)
{
    struct replay_rig *rig =
        rig_new((struct config_upstream){.order = {[WEIR_TRACES] = order}, .signals = 1u << WEIR_TRACES});
    rig->decide = poisoned;
    rig->poison = 13;
    for (unsigned i = 0; i < 5; i++)
        rig_append(rig, WEIR_TRACES, i * 5, 5, 100);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    for (unsigned i = 0; i < 25; i++)
        cr_expect_eq(rig->delivered[i], i != 13, "request %u: %u times", i, rig->delivered[i]);
    struct spool_lane_stats ledger = rig_ledger(rig, WEIR_TRACES);
    cr_expect_eq(ledger.delivered, 48);
    cr_expect_eq(ledger.dead_lettered, 2);
    cr_expect_eq(ledger.evicted, 0);
    struct spool_stats stats;
    spool_stats_get(rig->spool, &stats);
    cr_expect_eq(stats.dead_letter_requests, 1);
    cr_expect_eq(stats.dead_letter_items, 2);
    cr_expect_eq(rig_stats(rig).lanes[WEIR_TRACES].dead_letter_requests, 1);
    rig_free(rig);
}

// C5.
Test(replay_failures, one_refused_request_among_joined_blocks_is_one_dead_letter)
{
    one_poisoned(CONFIG_ORDER_STRICT);
    one_poisoned(CONFIG_ORDER_RELAXED);
}

// Prometheus refuses the whole request over one sample out of order, with 400, or 500 for what it has no word for.
static struct rig_answer out_of_order(struct replay_rig *rig, const struct rig_seen *seen)
{
    for (size_t i = 0; i < seen->id_count; i++)
        if (seen->ids[i] == (uint64_t)rig->poison)
            return (struct rig_answer){.status = seen->ids[i] % 2 == 0 ? 400 : 500};
    return (struct rig_answer){.status = 200};
}

Test(replay_failures, good_points_arrive_beside_one_out_of_order_U30_U31)
{
    for (int poison = 7; poison < 9; poison++) {
        struct replay_rig *rig = rig_new((struct config_upstream){.target = {.protocol = CONFIG_PROTOCOL_HTTP},
                                                                  .compression = CONFIG_COMPRESSION_GZIP});
        rig->decide = out_of_order;
        rig->poison = poison;
        for (unsigned i = 0; i < 5; i++)
            rig_append(rig, WEIR_METRICS, i * 4, 4, 100);
        rig_start(rig);
        RIG_DRAINED(rig, WEIR_METRICS);
        for (unsigned i = 0; i < 20; i++)
            cr_expect_eq(rig->delivered[i], i != (unsigned)poison, "request %u: %u times", i, rig->delivered[i]);
        struct spool_lane_stats ledger = rig_ledger(rig, WEIR_METRICS);
        cr_expect_eq(ledger.delivered, 38);
        cr_expect_eq(ledger.dead_lettered, 2);
        rig_free(rig);
    }
}

// tonic's "too large", which U1 calls retryable: made smaller until it fits, and what does not fit alone ends as a dead letter.
static struct rig_answer tonic(struct replay_rig *rig, const struct rig_seen *seen)
{
    return (struct rig_answer){.status = seen->raw_bytes > 3000 ? GRPC_OUT_OF_RANGE : 0};
}

Test(replay_failures, out_of_range_is_split_and_never_loops_U17)
{
    struct replay_rig *rig = rig_new((struct config_upstream){.retry = {.initial_ms = 10, .max_ms = 10}});
    rig->decide = tonic;
    rig_append(rig, WEIR_TRACES, 0, 16, 900);
    rig_append(rig, WEIR_TRACES, 16, 1, 5000);
    rig_append(rig, WEIR_TRACES, 17, 16, 900);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    for (unsigned i = 0; i < 33; i++)
        cr_expect_eq(rig->delivered[i], i != 16, "request %u: %u times", i, rig->delivered[i]);
    cr_expect_eq(rig_ledger(rig, WEIR_TRACES).dead_lettered, 2);
    unsigned tries = 0;
    for (int i = 0; i < rig->seen_count; i++)
        tries += rig->seen[i].id_count == 1 && rig->seen[i].ids[0] == 16;
    cr_expect_geq(tries, 10, "it may have been a failure that passes: %u tries", tries);
    cr_expect_leq(tries, 11);
    rig_free(rig);
}

static struct rig_answer out_of_range_for_a_while(struct replay_rig *rig, const struct rig_seen *seen)
{
    return (struct rig_answer){.status = seen->index < 8 ? GRPC_DATA_LOSS : 0};
}

Test(replay_failures, data_loss_that_passes_costs_nothing_U17)
{
    struct replay_rig *rig = rig_new((struct config_upstream){.retry = {.initial_ms = 10, .max_ms = 10}});
    rig->decide = out_of_range_for_a_while;
    rig_append(rig, WEIR_TRACES, 0, 4, 100);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    rig_expect_each_once(rig, 4);
    cr_expect_eq(rig_ledger(rig, WEIR_TRACES).dead_lettered, 0);
    rig_free(rig);
}

static struct rig_answer partial(struct replay_rig *rig, const struct rig_seen *seen)
{
    return (struct rig_answer){.rejected = 3};
}

Test(replay_failures, counts_a_partial_success_and_sends_nothing_again)
{
    struct replay_rig *rig = rig_new((struct config_upstream){0});
    rig->decide = partial;
    rig_append(rig, WEIR_LOGS, 0, 5, 100);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_LOGS);
    rig_expect_each_once(rig, 5);
    struct spool_lane_stats ledger = rig_ledger(rig, WEIR_LOGS);
    cr_expect_eq(ledger.delivered, 10);
    cr_expect_eq(ledger.rejected_by_upstream, 3);
    rig_free(rig);
}

static struct rig_answer gzipped(struct replay_rig *rig, const struct rig_seen *seen)
{
    return (struct rig_answer){.rejected = 3, .gzip = true, .bomb = (size_t)rig->poison << 20};
}

// grpc-go's servers answer in the request's encoding, and gzip is what we advertise. A bomb is read up to 4 MiB: the status has said OK.
Test(replay_failures, reads_gzipped_answers_within_bounds_U8_U23)
{
    for (int mib = 0; mib <= 64; mib += 64) {
        struct replay_rig *rig = rig_new((struct config_upstream){.signals = 1u << WEIR_LOGS});
        rig->decide = gzipped;
        rig->poison = mib;
        rig_append(rig, WEIR_LOGS, 0, 5, 100);
        rig_start(rig);
        RIG_DRAINED(rig, WEIR_LOGS);
        rig_expect_each_once(rig, 5);
        cr_expect_eq(rig_ledger(rig, WEIR_LOGS).delivered, 10);
        cr_expect_eq(rig_ledger(rig, WEIR_LOGS).rejected_by_upstream, mib == 0 ? 3 : 0);
        rig_free(rig);
    }
}

static struct rig_answer talks_too_much(struct replay_rig *rig, const struct rig_seen *seen)
{
    return (struct rig_answer){.status = rig->poison, .talk = 5u << 20};
}

static void too_large_an_answer(enum config_protocol protocol, int status, uint64_t delivered)
{
    struct replay_rig *rig =
        rig_new((struct config_upstream){.target = {.protocol = protocol}, .signals = 1u << WEIR_LOGS});
    rig->decide = talks_too_much;
    rig->poison = status;
    rig_append(rig, WEIR_LOGS, 0, 1, 100);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_LOGS);
    cr_expect_eq(rig_ledger(rig, WEIR_LOGS).delivered, delivered);
    cr_expect_eq(rig_ledger(rig, WEIR_LOGS).dead_lettered, 2 - delivered);
    rig_free(rig);
}

// It would come again and again, and the lane would never get past it (U8).
Test(replay_failures, takes_an_answer_that_is_too_large_for_what_it_says)
{
    too_large_an_answer(CONFIG_PROTOCOL_HTTP, 200, 2);
    too_large_an_answer(CONFIG_PROTOCOL_HTTP, 422, 0);
    too_large_an_answer(CONFIG_PROTOCOL_GRPC, 0, 0); // its status would have come behind the message
}

// --- everything at once -----------------------------------------------------------------------------------------------------

static bool is_poison(uint64_t id)
{
    return id % 37 == 5;
}

// What depends on the data comes out the same each time; the rest is the weather.
static struct rig_answer weather(struct replay_rig *rig, const struct rig_seen *seen)
{
    bool grpc = rig->upstream.target.protocol == CONFIG_PROTOCOL_GRPC;
    uint64_t random = ((uint64_t)seen->index + 1) * 0x9E3779B97F4A7C15ull >> 32;
    unsigned percent = random % 100;
    if (percent < 2)
        return (struct rig_answer){.hold = true}; // until its time is over
    if (percent < 20)
        return (struct rig_answer){.status = grpc ? GRPC_ABORTED : 408, .close = percent < 4};
    if (percent < 22)
        return (struct rig_answer){.status = grpc ? GRPC_UNAVAILABLE : 503};
    if (percent < 24)
        return (struct rig_answer){.status = grpc ? GRPC_UNAUTHENTICATED : 401};
    if (percent < 28 && grpc)
        return (struct rig_answer){.status = GRPC_RESOURCE_EXHAUSTED, .retry_info = true, .retry_ms = 3};
    for (size_t i = 0; i < seen->id_count; i++)
        if (is_poison(seen->ids[i]))
            return (struct rig_answer){.status = grpc ? GRPC_INVALID_ARGUMENT : 422};
    if (seen->id_count > 9 && !grpc)
        return (struct rig_answer){.status = 413};
    return (struct rig_answer){.status = grpc ? 0 : 200};
}

static void weather_out(enum config_protocol protocol, enum config_compression compression, bool restarts)
{
    struct replay_rig *rig = rig_new((struct config_upstream){
        .target = {.protocol = protocol},
        .order = {CONFIG_ORDER_RELAXED, CONFIG_ORDER_STRICT, CONFIG_ORDER_RELAXED, CONFIG_ORDER_STRICT},
        .compression = compression,
        .max_request_size_bytes = 1000,
        .timeout_ms = 250,
        .retry = {.initial_ms = 1, .max_ms = 3}});
    uint64_t items[WEIR_SIGNALS] = {0}, poisoned_items[WEIR_SIGNALS] = {0};
    rig->decide = weather;
    rig_start(rig);
    int seen_before = 0;
    unsigned count = 0;
    for (unsigned block = 0; count < 400; block++) {
        if (restarts && block % 10 == 9) { // wherever it is: in a split, in a wait, with exports under way
            KIT_UNTIL(rig_seen_count(rig) > seen_before);
            seen_before = rig_seen_count(rig);
            rig_end_replay(rig);
            rig_new_replay(rig);
            rig_start(rig);
        }
        enum weir_signal signal = (enum weir_signal)(block * 7 / 3 % WEIR_SIGNALS);
        unsigned requests = signal == WEIR_PROFILES ? 1 : 1 + block * 5 % 7;
        rig_append(rig, signal, count, requests, 60 + block * 31 % 300);
        for (unsigned i = 0; i < requests; i++, count++)
            *(is_poison(count) ? &poisoned_items[signal] : &items[signal]) += 2;
    }
    for (int signal = 0; signal < WEIR_SIGNALS; signal++) {
        RIG_DRAINED(rig, (enum weir_signal)signal);
        struct spool_lane_stats ledger = rig_ledger(rig, (enum weir_signal)signal);
        cr_expect_eq(ledger.delivered, items[signal]);
        cr_expect_eq(ledger.dead_lettered, poisoned_items[signal]);
        struct spool_interval in[4];
        cr_expect_eq(spool_lane_intervals(rig_stats(rig).lanes[signal].lane, in, 4), 1);
        cr_expect_eq(in[0].end, SPOOL_END);
    }
    for (unsigned i = 0; i < count; i++)
        cr_expect(is_poison(i) ? rig->delivered[i] == 0 : rig->delivered[i] > 0, "request %u: %u times", i,
                  rig->delivered[i]);
    rig_free(rig);
}

Test(replay_failures, loses_nothing_in_any_weather_over_grpc)
{
    weather_out(CONFIG_PROTOCOL_GRPC, CONFIG_COMPRESSION_AUTO, false);
}

Test(replay_failures, loses_nothing_in_any_weather_over_http)
{
    weather_out(CONFIG_PROTOCOL_HTTP, CONFIG_COMPRESSION_GZIP, false);
}

Test(replay_failures, loses_nothing_when_it_is_stopped_anywhere)
{
    weather_out(CONFIG_PROTOCOL_GRPC, CONFIG_COMPRESSION_ZSTD, true);
    weather_out(CONFIG_PROTOCOL_HTTP, CONFIG_COMPRESSION_NONE, true);
}

// --- a peer that refuses streams unprocessed --------------------------------------------------------------------------------

// The first four streams are refused together, once all of them are there; everything after that is taken.
struct refusing {
    int32_t ids[4];
    int count;
};

static int refusing_on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct refusing *refusing = user;
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0 || frame->hd.type > NGHTTP2_HEADERS)
        return 0;
    if (refusing->count == 4) {
        nghttp2_nv ok[] = {{(uint8_t *)":status", (uint8_t *)"200", 7, 3, 0},
                           {(uint8_t *)"grpc-status", (uint8_t *)"0", 11, 1, 0}};
        return nghttp2_submit_response(session, frame->hd.stream_id, ok, 2, NULL);
    }
    refusing->ids[refusing->count++] = frame->hd.stream_id;
    for (int i = 0; i < 4 && refusing->count == 4; i++)
        nghttp2_submit_rst_stream(session, 0, refusing->ids[i], NGHTTP2_REFUSED_STREAM);
    return 0;
}

static void refusing_serve(struct peer_conn *conn)
{
    struct refusing refusing = {.count = 0};
    nghttp2_session_callbacks *callbacks;
    nghttp2_session *session;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, refusing_on_frame);
    nghttp2_session_server_new(&session, callbacks, &refusing);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(session, 0, NULL, 0);
    uint8_t buf[65536];
    ssize_t len = 0;
    do {
        const uint8_t *data;
        if (len < 0 || nghttp2_session_mem_recv(session, buf, (size_t)len) < 0)
            break;
        for (ssize_t n; (n = nghttp2_session_mem_send(session, &data)) > 0;)
            peer_write(conn, data, (size_t)n);
    } while ((len = peer_read(conn, buf, sizeof(buf))) > 0);
    nghttp2_session_del(session);
}

// Backed off from, they would come again after half an hour at the earliest.
Test(replay_failures, streams_refused_together_go_again_at_once)
{
    struct peer peer = {.serve = refusing_serve};
    peer_start(&peer);
    struct replay_rig *rig = rig_new((struct config_upstream){.order = {[WEIR_TRACES] = CONFIG_ORDER_RELAXED},
                                                              .retry = {.initial_ms = 3600000, .max_ms = 3600000}});
    rig_end_replay(rig);
    rig->upstream.target.port = peer.port;
    rig_new_replay(rig);
    rig_append_apart(rig, WEIR_TRACES, 0, 4, 600);
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    cr_expect_eq(rig_ledger(rig, WEIR_TRACES).delivered, 8);
    cr_expect_str_eq(rig_stats(rig).error_code, "", "nothing to tell a person");
    rig_free(rig);
    peer_stop(&peer);
}
