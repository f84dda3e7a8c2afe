// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>

#include "relay/spool_events.h"
#include "relay/status.h"
#include "snapshot_fixture.h"

static struct snapshot snap; // large

static const json_t *at(const json_t *json, const char *path)
{
    char name[64];
    while (json != NULL && *path != '\0') {
        size_t len = strcspn(path, ".");
        snprintf(name, sizeof(name), "%.*s", (int)len, path);
        json = json_is_array(json) ? json_array_get(json, (size_t)atoi(name)) : json_object_get(json, name);
        path += len + (path[len] == '.');
    }
    return json;
}

Test(status, has_every_member_of_the_contract)
{
    static const struct {
        const char *path;
        json_type type;
    } rows[] = {
        {"weir.version", JSON_STRING},
        {"weir.instance", JSON_STRING},
        {"weir.started", JSON_STRING},
        {"weir.uptime_seconds", JSON_REAL},
        {"weir.phase", JSON_STRING},
        {"weir.ready", JSON_TRUE},
        {"weir.reason", JSON_NULL},
        {"receiver.grpc", JSON_STRING},
        {"receiver.http", JSON_NULL}, // off
        {"receiver.connections", JSON_INTEGER},
        {"receiver.unwritten_bytes", JSON_INTEGER},
        {"receiver.signals.traces.requests", JSON_INTEGER},
        {"receiver.signals.metrics.items", JSON_INTEGER},
        {"receiver.signals.logs.bytes", JSON_INTEGER},
        {"receiver.signals.profiles.refused_requests", JSON_INTEGER},
        {"receiver.signals.traces.last_received", JSON_STRING},
        {"receiver.signals.logs.last_received", JSON_NULL},
        {"spool.state", JSON_STRING},
        {"spool.directory", JSON_STRING},
        {"spool.used_bytes", JSON_INTEGER},
        {"spool.max_bytes", JSON_INTEGER},
        {"spool.disk_free_bytes", JSON_INTEGER},
        {"spool.segments", JSON_INTEGER},
        {"spool.oldest", JSON_STRING},
        {"spool.compression_ratio", JSON_REAL},
        {"spool.commits", JSON_INTEGER},
        {"spool.requests_per_commit", JSON_REAL},
        {"spool.full_in_seconds", JSON_NULL},
        {"upstreams.0.name", JSON_STRING},
        {"upstreams.0.endpoint", JSON_STRING},
        {"upstreams.0.state", JSON_STRING},
        {"upstreams.0.since", JSON_STRING},
        {"upstreams.0.last_error.time", JSON_STRING},
        {"upstreams.0.last_error.code", JSON_STRING},
        {"upstreams.0.last_error.message", JSON_STRING},
        {"upstreams.0.next_attempt_seconds", JSON_REAL},
        {"upstreams.0.eta_seconds", JSON_NULL},
        {"upstreams.0.backlog.items", JSON_INTEGER},
        {"upstreams.0.backlog.bytes", JSON_INTEGER},
        {"upstreams.0.backlog.oldest_age_seconds", JSON_REAL},
        {"upstreams.0.rates.in_items", JSON_REAL},
        {"upstreams.0.rates.out_items", JSON_REAL},
        {"upstreams.0.rates.in_bytes", JSON_REAL},
        {"upstreams.0.rates.out_bytes", JSON_REAL},
        {"upstreams.0.lanes.traces.state", JSON_STRING},
        {"upstreams.0.lanes.traces.items.accepted", JSON_INTEGER},
        {"upstreams.0.lanes.traces.items.delivered", JSON_INTEGER},
        {"upstreams.0.lanes.traces.items.pending", JSON_INTEGER},
        {"upstreams.0.lanes.traces.items.dead_lettered", JSON_INTEGER},
        {"upstreams.0.lanes.traces.items.evicted", JSON_INTEGER},
        {"upstreams.0.lanes.traces.items.discarded", JSON_INTEGER},
        {"upstreams.0.lanes.traces.items.rejected_by_upstream", JSON_INTEGER},
        {"upstreams.0.lanes.traces.intervals.0.0", JSON_INTEGER},
        {"upstreams.0.lanes.traces.intervals.1.1", JSON_INTEGER},
        {"upstreams.0.lanes.traces.oldest_age_seconds", JSON_REAL},
        {"dead_letters.requests", JSON_INTEGER},
        {"dead_letters.items", JSON_INTEGER},
        {"dead_letters.bytes", JSON_INTEGER},
        {"dead_letters.max_bytes", JSON_INTEGER},
        {"dead_letters.to_redrive", JSON_INTEGER},
        {"dead_letters.redriven", JSON_INTEGER},
        {"dead_letters.purged", JSON_INTEGER},
        {"dead_letters.evicted", JSON_INTEGER},
        {"spool.kept_bytes", JSON_INTEGER},
        {"spool.when_full", JSON_STRING},
        {"spool.max_age_seconds", JSON_NULL},
        {"spool.keep_delivered_seconds", JSON_REAL},
        {"spool.damaged_files", JSON_INTEGER},
        {"spool.scrubbed_bytes", JSON_INTEGER},
        {"spool.scrub_finished", JSON_STRING},
        {"upstreams.0.lanes.traces.items.replayed", JSON_INTEGER},
        {"upstreams.0.lanes.traces.evicted.received_first", JSON_STRING},
        {"upstreams.0.lanes.traces.evicted.received_last", JSON_STRING},
    };
    fixture_fill(&snap);
    json_t *status = status_json(&snap);
    cr_assert_not_null(status);
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        const json_t *member = at(status, rows[i].path);
        cr_assert_not_null(member, "%s is missing", rows[i].path);
        cr_expect_eq(json_typeof(member), rows[i].type, "%s has JSON type %d", rows[i].path, json_typeof(member));
    }
    json_decref(status);
}

static void expect_number(const json_t *status, const char *path, double expected)
{
    const json_t *member = at(status, path);
    cr_assert(json_is_number(member), "%s", path);
    cr_expect_float_eq(json_number_value(member), expected, 1e-9, "%s is %f, not %f", path, json_number_value(member),
                       expected);
}

static void expect_text(const json_t *status, const char *path, const char *expected)
{
    const char *text = json_string_value(at(status, path));
    cr_assert_not_null(text, "%s", path);
    cr_expect_str_eq(text, expected, "%s is %s", path, text);
}

Test(status, shows_the_numbers)
{
    fixture_fill(&snap);
    json_t *status = status_json(&snap);
    expect_text(status, "weir.started", "2026-11-20T07:58:30.500Z");
    expect_text(status, "weir.phase", "outage");
    expect_number(status, "receiver.signals.traces.requests", 7);
    expect_number(status, "receiver.signals.traces.items", 70);
    expect_number(status, "receiver.signals.traces.bytes", 700);
    expect_number(status, "receiver.signals.traces.refused_requests", 3);
    expect_number(status, "receiver.refused_requests_of_no_signal", 6);
    expect_text(status, "spool.state", "ok");
    expect_text(status, "spool.oldest", "2026-11-20T07:59:00.500Z");
    expect_number(status, "spool.compression_ratio", 8);
    expect_number(status, "spool.requests_per_commit", 4);
    expect_text(status, "upstreams.0.state", "backing_off");
    expect_text(status, "upstreams.0.last_error.time", "2026-11-20T07:59:59.500Z");
    expect_number(status, "upstreams.0.next_attempt_seconds", 2.5);
    expect_number(status, "upstreams.0.backlog.items", 900);
    expect_number(status, "upstreams.0.backlog.bytes", 90000);
    expect_number(status, "upstreams.0.backlog.oldest_age_seconds", 60);
    cr_expect(json_is_null(at(status, "upstreams.0.eta_seconds")), "nothing goes out: the rates of before do not tell");
    expect_number(status, "upstreams.0.lanes.metrics.intervals.0.1", 40);
    expect_number(status, "upstreams.0.lanes.metrics.intervals.1.1", 99); // open end: the spool's
    cr_assert_null(at(status, "upstreams.0.lanes.logs"), "a lane that the upstream does not have");
    json_decref(status);

    snap.upstreams[0].replay.state = REPLAY_REPLAYING;
    snapshot_conclude_upstream(&snap.upstreams[0]);
    status = status_json(&snap);
    expect_number(status, "upstreams.0.eta_seconds", 30); // 900 / (40 - 10)
    json_decref(status);
}

Test(status, tells_of_retention)
{
    fixture_fill(&snap);
    snap.evict_oldest = true;
    snap.max_age_ms = 86400500;
    snap.keep_delivered_ms = 3600000;
    snap.spool.kept_bytes = 777;
    json_t *status = status_json(&snap);
    expect_text(status, "spool.when_full", "evict_oldest");
    expect_number(status, "spool.max_age_seconds", 86400.5);
    expect_number(status, "spool.keep_delivered_seconds", 3600);
    expect_number(status, "spool.kept_bytes", 777);
    expect_number(status, "spool.damaged_files", 2);
    expect_number(status, "spool.scrubbed_bytes", 123456);
    expect_text(status, "spool.scrub_finished", "2026-11-20T07:59:00.500Z");
    expect_number(status, "upstreams.0.lanes.metrics.items.evicted", 60);
    expect_number(status, "upstreams.0.lanes.metrics.evicted.full", 40);
    expect_number(status, "upstreams.0.lanes.metrics.evicted.age", 14);
    expect_number(status, "upstreams.0.lanes.metrics.evicted.damage", 6);
    expect_text(status, "upstreams.0.lanes.metrics.evicted.received_first", "2026-11-20T07:00:00.500Z");
    expect_text(status, "upstreams.0.lanes.metrics.evicted.received_last", "2026-11-20T07:58:00.500Z");
    expect_number(status, "upstreams.0.lanes.metrics.items.replayed", 8);
    expect_number(status, "dead_letters.max_bytes", 1250000);
    expect_number(status, "dead_letters.to_redrive", 2);
    expect_number(status, "dead_letters.redriven", 7);
    expect_number(status, "dead_letters.purged", 8);
    expect_number(status, "dead_letters.evicted", 9);
    json_decref(status);
    static const enum spool_state states[] = {SPOOL_OK, SPOOL_FULL, SPOOL_FAILED, SPOOL_READ_ONLY};
    static const char *const names[] = {"ok", "full", "failed", "read_only"};
    for (size_t i = 0; i < WEIR_COUNT(states); i++) {
        snap.spool.state = states[i];
        status = status_json(&snap);
        expect_text(status, "spool.state", names[i]);
        json_decref(status);
    }
}

Test(status, the_ledger_of_each_lane_adds_up)
{
    fixture_fill(&snap);
    json_t *status = status_json(&snap);
    const char *name;
    json_t *lane;
    size_t lanes = 0;
    json_object_foreach((json_t *)at(status, "upstreams.0.lanes"), name, lane)
    {
        json_int_t sum = 0;
        static const char *const parts[] = {"delivered", "pending", "dead_lettered", "evicted", "discarded"};
        for (size_t i = 0; i < WEIR_COUNT(parts); i++)
            sum += json_integer_value(json_object_get(json_object_get(lane, "items"), parts[i]));
        cr_assert_eq(sum, json_integer_value(at(lane, "items.accepted")), "%s", name);
        json_int_t lost = 0;
        for (int i = 0; i < SPOOL_LOSSES; i++)
            lost += json_integer_value(json_object_get(at(lane, "evicted"), spool_loss_name((enum spool_loss)i)));
        cr_assert_eq(lost, json_integer_value(at(lane, "items.evicted")), "%s", name);
        lanes++;
    }
    cr_assert_eq(lanes, 2);
    json_decref(status);
}

Test(status, what_is_not_known_is_null)
{
    memset(&snap, 0, sizeof(snap));
    snap.upstream_count = 1;
    snap.upstreams[0].name = "new";
    snap.upstreams[0].endpoint = "grpc://x:1";
    snap.upstreams[0].rates.in_items = 5;
    snap.upstreams[0].lanes[WEIR_LOGS].replay.open = true;
    snap.upstreams[0].lanes[WEIR_LOGS].ledger.pending = 7;
    snapshot_conclude_upstream(&snap.upstreams[0]);
    snapshot_conclude_spool(&snap);
    snapshot_conclude(&snap, false);
    json_t *status = status_json(&snap);
    cr_assert_not_null(status);
    static const char *const nulls[] = {
        "receiver.grpc",
        "receiver.http",
        "spool.oldest",
        "spool.compression_ratio",
        "spool.full_in_seconds",
        "spool.scrub_finished",
        "upstreams.0.lanes.logs.evicted.received_first",
        "upstreams.0.lanes.logs.evicted.received_last",
        "spool.requests_per_commit",
        "upstreams.0.last_error.time",
        "upstreams.0.last_error.code",
        "upstreams.0.eta_seconds",
        "upstreams.0.next_attempt_seconds",
        "upstreams.0.backlog.oldest_age_seconds",
    };
    for (size_t i = 0; i < WEIR_COUNT(nulls); i++)
        cr_expect(json_is_null(at(status, nulls[i])), "%s", nulls[i]);
    json_decref(status);
}

Test(status, text_that_is_no_utf8_does_no_harm)
{
    fixture_fill(&snap);
    snap.directory = "/data/\xff\xfe";
    json_t *status = status_json(&snap);
    cr_assert_not_null(status);
    expect_text(status, "spool.directory", "/data/??");
    json_decref(status);
}

Test(status, text_is_one_line_of_json)
{
    fixture_fill(&snap);
    struct weir_buf out = {0};
    cr_assert(status_text(&snap, &out));
    cr_assert_eq(out.data[out.len - 1], '\n');
    cr_assert_null(memchr(out.data, '\n', out.len - 1));
    json_error_t why;
    json_t *read_back = json_loadb((const char *)out.data, out.len, JSON_REJECT_DUPLICATES, &why);
    cr_assert_not_null(read_back, "%s", why.text);
    json_t *direct = status_json(&snap);
    cr_assert(json_equal(read_back, direct));
    json_decref(direct);
    json_decref(read_back);
    weir_buf_free(&out);
}

// Two weeks before its end, or in the last third of a shorter life.
Test(status, age_of_a_certificate)
{
    enum { DAY = 86400, NOW = 1000 * DAY };
    static const struct {
        int64_t not_before, not_after;
        enum certificate_age age;
    } rows[] = {
        {0, 0, CERTIFICATE_GOOD},
        {NOW - 300 * DAY, NOW + 15 * DAY, CERTIFICATE_GOOD},
        {NOW - 300 * DAY, NOW + 14 * DAY, CERTIFICATE_EXPIRES_SOON},
        {NOW - 300 * DAY, NOW + 1, CERTIFICATE_EXPIRES_SOON},
        {NOW - 300 * DAY, NOW, CERTIFICATE_EXPIRED},
        {NOW - 1 * DAY, NOW + 1 * DAY, CERTIFICATE_GOOD},
        {NOW - 3 * DAY, NOW + 1 * DAY, CERTIFICATE_EXPIRES_SOON},
        {NOW + 1, NOW + 300 * DAY, CERTIFICATE_TOO_EARLY},
        {NOW + 1, NOW - 1, CERTIFICATE_EXPIRED},
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++)
        cr_expect_eq(certificate_age((struct tls_validity){rows[i].not_before, rows[i].not_after}, NOW), rows[i].age,
                     "row %zu", i);
}

Test(status, time_format)
{
    char text[STATUS_TIME_LEN];
    status_time_format(1000000, text);
    cr_assert_str_eq(text, "1970-01-01T00:00:00.001Z");
    status_time_format(1709210096999999999ull, text); // a 29 February; cut, not rounded into the next second
    cr_assert_str_eq(text, "2024-02-29T12:34:56.999Z");
}

// --- phase and readiness ----------------------------------------------------------------------------------------------

Test(status, phase)
{
    static const struct {
        enum spool_state spool;
        bool stopping;
        enum replay_state upstream;
        uint64_t backlog;
        enum snapshot_phase phase;
        bool ready;
    } rows[] = {
        {SPOOL_OK, false, REPLAY_IDLE, 0, PHASE_DELIVERING, true},
        {SPOOL_OK, false, REPLAY_DELIVERING, 10, PHASE_DELIVERING, true},
        {SPOOL_OK, false, REPLAY_REPLAYING, 10, PHASE_REPLAYING, true},
        {SPOOL_OK, false, REPLAY_BACKING_OFF, 10, PHASE_OUTAGE, true},
        {SPOOL_OK, false, REPLAY_BACKING_OFF, 0, PHASE_DELIVERING, true}, // nobody waits for it
        {SPOOL_OK, false, REPLAY_PROBING, 10, PHASE_OUTAGE, true},
        {SPOOL_OK, false, REPLAY_HELD, 10, PHASE_OUTAGE, true},
        {SPOOL_OK, true, REPLAY_HELD, 10, PHASE_STOPPING, false},
        {SPOOL_FULL, false, REPLAY_BACKING_OFF, 10, PHASE_OUTAGE, false},
        {SPOOL_FULL, false, REPLAY_REPLAYING, 10, PHASE_REPLAYING, false},
        {SPOOL_READ_ONLY, false, REPLAY_IDLE, 0, PHASE_DELIVERING, false},
        {SPOOL_FAILED, false, REPLAY_IDLE, 0, PHASE_FAILED, false},
        {SPOOL_FAILED, true, REPLAY_IDLE, 0, PHASE_FAILED, false},
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        memset(&snap, 0, sizeof(snap));
        snap.spool.state = rows[i].spool;
        snap.upstream_count = 1;
        snap.upstreams[0].replay.state = rows[i].upstream;
        snap.upstreams[0].backlog_items = rows[i].backlog;
        snapshot_conclude(&snap, rows[i].stopping);
        cr_expect_eq(snap.phase, rows[i].phase, "row %zu: %s", i, snapshot_phase_name(snap.phase));
        cr_expect_eq(snap.ready, rows[i].ready, "row %zu", i);
        cr_expect_eq(snap.ready, snap.reason[0] == '\0', "row %zu: %s", i, snap.reason);
    }
}

// By command: it says so before anything but what it cannot do at all.
Test(status, phase_of_a_drain)
{
    static const struct {
        bool drained, stopping;
        enum spool_state spool;
        uint64_t backlog;
        enum snapshot_phase phase;
        const char *reason;
    } rows[] = {
        {false, false, SPOOL_OK, 10, PHASE_DRAINING, "draining, by command: 10 items are left"},
        {false, false, SPOOL_FULL, 10, PHASE_DRAINING, "draining, by command: 10 items are left"},
        {true, false, SPOOL_OK, 0, PHASE_DRAINED, "drained, by command"},
        {true, true, SPOOL_OK, 0, PHASE_STOPPING, "stopping"},
        {false, false, SPOOL_FAILED, 10, PHASE_FAILED, "draining, by command"},
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        memset(&snap, 0, sizeof(snap));
        snap.spool.state = rows[i].spool;
        snap.upstream_count = 1;
        snap.upstreams[0].replay.state = REPLAY_BACKING_OFF;
        snap.upstreams[0].backlog_items = rows[i].backlog;
        snap.drain = (struct drain_state){true, rows[i].drained, rows[i].drained, 1, rows[i].backlog};
        snapshot_conclude(&snap, rows[i].stopping);
        cr_expect_eq(snap.phase, rows[i].phase, "row %zu: %s", i, snapshot_phase_name(snap.phase));
        cr_expect(!snap.ready);
        cr_expect_eq(strncmp(snap.reason, rows[i].reason, strlen(rows[i].reason)), 0, "row %zu: %s", i, snap.reason);
    }
}

Test(status, an_outage_of_one_upstream_shows_beside_another_that_replays)
{
    memset(&snap, 0, sizeof(snap));
    snap.upstream_count = 2;
    snap.upstreams[0].replay.state = REPLAY_REPLAYING;
    snap.upstreams[1].replay.state = REPLAY_HELD;
    snap.upstreams[0].backlog_items = snap.upstreams[1].backlog_items = 1;
    snapshot_conclude(&snap, false);
    cr_assert_eq(snap.phase, PHASE_OUTAGE);
}

Test(status, the_reason_says_what_the_spool_says)
{
    memset(&snap, 0, sizeof(snap));
    snap.spool.state = SPOOL_FULL;
    snprintf(snap.spool.reason, sizeof(snap.spool.reason), "10.0 GiB of 10 GiB used");
    snapshot_conclude(&snap, false);
    cr_assert_str_eq(snap.reason, "the spool is full: 10.0 GiB of 10 GiB used");
    json_t *status = status_json(&snap);
    cr_assert(json_is_false(at(status, "weir.ready")));
    expect_text(status, "weir.reason", snap.reason);
    json_decref(status);
}

// --- the rates of a snapshot ------------------------------------------------------------------------------------------

Test(status, sampled_rates)
{
    static struct snapshot_sampler sampler;
    fixture_fill(&snap);
    snapshot_sample(&sampler, &snap);
    snap.now_ns += 1000000000;
    snap.received[EXCHANGE_HTTP][WEIR_LOGS].items += 500;
    snap.received[EXCHANGE_HTTP][WEIR_LOGS].bytes += 5000;
    snap.upstreams[0].lanes[WEIR_TRACES].ledger.accepted += 100; // 300 taken, 100 came: 200 less to do
    snap.upstreams[0].lanes[WEIR_TRACES].ledger.delivered += 300;
    snap.upstreams[0].lanes[WEIR_METRICS].ledger.accepted +=
        70; // 70 came again, 40 were lost: neither came in, nor went out
    snap.upstreams[0].lanes[WEIR_METRICS].ledger.replayed += 70;
    snap.upstreams[0].lanes[WEIR_METRICS].ledger.pending += 30;
    snap.upstreams[0].lanes[WEIR_METRICS].ledger.evicted += 40;
    snap.upstreams[0].lanes[WEIR_TRACES].ledger.pending -= 200;
    snap.upstreams[0].lanes[WEIR_TRACES].replay.sent_raw_bytes += 3000;
    snap.spool.raw_bytes_by_signal[WEIR_TRACES] += 1000;
    snap.spool.raw_bytes_by_signal[WEIR_LOGS] += 5000; // no lane of this upstream
    snap.spool.raw_bytes_total += 6000;
    snap.spool.written_bytes_total += 8192;
    snapshot_sample(&sampler, &snap);
    cr_expect_float_eq(rate_per_second(&sampler.raw_bytes), 6000, 1e-6);
    cr_expect_float_eq(rate_per_second(&sampler.written_bytes), 8192, 1e-6);
    cr_expect_float_eq(rate_per_second(&sampler.received_items), 500, 1e-6);
    cr_expect_float_eq(rate_per_second(&sampler.received_bytes), 5000, 1e-6);
    cr_expect_float_eq(rate_per_second(&sampler.upstreams[0].in_items), 100, 1e-6);
    cr_expect_float_eq(rate_per_second(&sampler.upstreams[0].out_items), 300, 1e-6);
    cr_expect_float_eq(rate_per_second(&sampler.upstreams[0].in_bytes), 1000, 1e-6);
    cr_expect_float_eq(rate_per_second(&sampler.upstreams[0].out_bytes), 3000, 1e-6);
}

Test(status, full_in_follows_the_slowest_upstream_and_the_scarcer_room)
{
    fixture_fill(&snap); // 8:1 compressed, 6 MB of the quota left
    snap.received_bytes_rate = 8000;
    snap.upstream_count = 2;
    snap.upstreams[0].rates = (struct snapshot_rates){.in_bytes = 8000, .out_bytes = 8000};
    snap.upstreams[1].rates = (struct snapshot_rates){.in_bytes = 8000, .out_bytes = 0};
    snapshot_conclude_spool(&snap);
    cr_expect_float_eq(snap.full_in_seconds, 6000, 1e-6);
    snap.spool.disk_free_bytes = 1000000;
    snapshot_conclude_spool(&snap);
    cr_expect_float_eq(snap.full_in_seconds, 1000, 1e-6);
    snap.upstreams[1].rates.out_bytes = 9000;
    snapshot_conclude_spool(&snap);
    cr_expect_eq(snap.full_in_seconds, RATE_UNKNOWN);
}

Test(status, full_in_counts_pages_as_they_are_written_now)
{
    fixture_fill(&snap); // 6 MB of the quota left
    snap.received_bytes_rate = snap.raw_bytes_rate = 8000;
    snap.written_bytes_rate = 4000; // it was 8:1 over the spool's life
    snap.upstreams[0].rates = (struct snapshot_rates){.in_bytes = 8000, .out_bytes = 0};
    snapshot_conclude_spool(&snap);
    cr_expect_float_eq(snap.full_in_seconds, 1500, 1e-6);
    snap.spool.room_bytes = 400000; // allocated, and empty
    snapshot_conclude_spool(&snap);
    cr_expect_float_eq(snap.full_in_seconds, 1600, 1e-6);
}

Test(status, what_is_kept_for_a_replay_is_no_obstacle)
{
    fixture_fill(&snap);
    snap.received_bytes_rate = snap.raw_bytes_rate = snap.written_bytes_rate = 1000;
    snap.upstreams[0].rates = (struct snapshot_rates){.in_bytes = 1000, .out_bytes = 0};
    snap.spool.used_bytes = snap.spool.max_bytes;
    snap.spool.kept_bytes = 3000000;
    snapshot_conclude_spool(&snap);
    cr_expect_float_eq(snap.full_in_seconds, 3000, 1e-6);
    snap.spool.disk_free_bytes = 0;
    snap.spool.used_bytes = 4000000; // the disk is the limit: what is kept there gives way, too
    snapshot_conclude_spool(&snap);
    cr_expect_float_eq(snap.full_in_seconds, 3000, 1e-6);
}
