// SPDX-License-Identifier: Apache-2.0
// A snapshot filled by hand: one upstream `central` that is in an outage, with numbers that are easy to tell apart.
#ifndef WEIR_TESTS_SNAPSHOT_FIXTURE_H
#define WEIR_TESTS_SNAPSHOT_FIXTURE_H

#include <math.h>
#include <stdio.h>

#include "relay/snapshot.h"

#define FIXTURE_NOW 1795161600500000000ull // 2026-11-20T08:00:00.500Z
#define FIXTURE_AGE 60000000000ull         // of the oldest data: a minute

static inline void fixture_lane(struct snapshot_lane *lane, uint64_t scale)
{
    lane->replay.open = true;
    lane->replay.state = REPLAY_BACKING_OFF;
    lane->replay.exports = 9 * scale;
    lane->replay.retries = 2 * scale;
    lane->replay.sent_raw_bytes = 7000 * scale;
    lane->replay.sent_wire_bytes = 700 * scale;
    lane->replay.send_buckets[0] = 3;
    lane->replay.send_buckets[REPLAY_SEND_BUCKETS - 1] = 1;
    lane->replay.send_seconds_sum = 12.5;
    lane->ledger = (struct spool_lane_stats){
        .accepted = 1000 * scale,
        .delivered = 600 * scale,
        .pending = 300 * scale,
        .dead_lettered = 60 * scale,
        .evicted = 30 * scale,
        .discarded = 10 * scale,
        .rejected_by_upstream = 5 * scale,
        .evicted_by = {[SPOOL_LOSS_FULL] = 20 * scale, [SPOOL_LOSS_AGE] = 7 * scale, [SPOOL_LOSS_DAMAGE] = 3 * scale},
        .evicted_received_first_ns = FIXTURE_NOW - 60 * FIXTURE_AGE,
        .evicted_received_last_ns = FIXTURE_NOW - 2 * FIXTURE_AGE,
        .replayed = 4 * scale,
        .pending_bytes = 30000 * scale,
        .oldest_received_ns = FIXTURE_NOW - FIXTURE_AGE,
    };
    lane->intervals[0] = (struct spool_interval){10 * scale, 20 * scale};
    lane->intervals[1] = (struct spool_interval){30 * scale, SPOOL_END};
    lane->interval_count = lane->intervals_all = 2;
}

static inline void fixture_spool(struct spool_stats *spool)
{
    spool->used_bytes = 4000000;
    spool->max_bytes = 10000000;
    spool->disk_free_bytes = 50000000;
    spool->segments = 3;
    spool->next_block = 99;
    spool->oldest_received_ns = FIXTURE_NOW - FIXTURE_AGE;
    spool->raw_bytes_total = 8000000;
    spool->stored_bytes_total = 1000000;
    spool->commits = 50;
    spool->committed_requests = 200;
    spool->dead_letter_requests = 4;
    spool->dead_letter_items = 180;
    spool->dead_letter_bytes = 4096;
    spool->dead_letters_marked = 2;
    spool->dead_letters_redriven = 7;
    spool->dead_letters_purged = 8;
    spool->dead_letters_evicted = 9;
    spool->damaged_files = 2;
    spool->scrubbed_bytes_total = 123456;
    spool->scrub_finished_ns = FIXTURE_NOW - FIXTURE_AGE;
    for (int i = 0; i < SPOOL_HISTOGRAM_BUCKETS; i++) {
        spool->commit_seconds.bounds[i] = spool->requests_per_commit.bounds[i] =
            i == SPOOL_HISTOGRAM_BUCKETS - 1 ? INFINITY : i + 1;
        // Cumulated, as the spool keeps them: 0, 1 and 2 more in turn.
        spool->commit_seconds.counts[i] = (i > 0 ? spool->commit_seconds.counts[i - 1] : 0) + (uint64_t)(i % 3);
    }
}

static inline void fixture_fill(struct snapshot *s)
{
    memset(s, 0, sizeof(*s));
    s->unix_ns = FIXTURE_NOW;
    s->now_ns = 1000000000000ull;
    s->version = "1.2.3";
    s->instance = "0b2c3d4e-0000-4000-8000-000000000001";
    s->started_unix_ns = FIXTURE_NOW - 90000000000ull;
    s->uptime_seconds = 90;
    s->grpc_address = "127.0.0.1:4317";
    s->connections = 12;
    s->unwritten_bytes = 777;
    s->received[EXCHANGE_GRPC][WEIR_TRACES] =
        (struct snapshot_received){.requests = 3, .items = 30, .bytes = 300, .last_received_unix_ns = FIXTURE_NOW};
    s->received[EXCHANGE_HTTP][WEIR_TRACES] = (struct snapshot_received){.requests = 4, .items = 40, .bytes = 400};
    s->received[EXCHANGE_GRPC][WEIR_TRACES].ack_buckets[2] = 3;
    s->refused[EXCHANGE_GRPC][WEIR_TRACES][REFUSAL_SPOOL_FULL] = 2;
    s->refused[EXCHANGE_HTTP][WEIR_TRACES][REFUSAL_MALFORMED] = 1;
    s->refused[EXCHANGE_HTTP][INGEST_NO_SIGNAL][REFUSAL_UNKNOWN_PATH] = 6;
    s->directory = "/var/lib/weir";
    fixture_spool(&s->spool);
    s->dead_letter_max_bytes = 1250000;
    s->upstream_count = 1;
    s->tls[CERTIFICATE_HTTP] =
        (struct certificate_state){.used = true, .validity = {1795000000, 1797000000}, .loaded_unix_ns = 1};
    struct snapshot_upstream *central = &s->upstreams[0];
    central->name = "central";
    central->endpoint = "grpc://collector:4317";
    central->export_bytes = 4194304;
    central->replay.state = REPLAY_BACKING_OFF;
    central->replay.since_unix_ns = FIXTURE_NOW - 5000000000ull;
    central->replay.error_unix_ns = FIXTURE_NOW - 1000000000ull;
    snprintf(central->replay.error_code, sizeof(central->replay.error_code), "UNAVAILABLE");
    snprintf(central->replay.error_message, sizeof(central->replay.error_message), "connection refused");
    central->replay.next_attempt_ns = s->now_ns + 2500000000ull;
    central->replay.encoding = "zstd";
    central->rates = (struct snapshot_rates){.in_items = 10, .out_items = 40, .in_bytes = 1000, .out_bytes = 4000};
    fixture_lane(&central->lanes[WEIR_TRACES], 1);
    fixture_lane(&central->lanes[WEIR_METRICS], 2);
    s->orphan_count = s->orphans_all = 1;
    s->orphans[0] = (struct snapshot_orphan){.upstream = "gone",
                                             .signal = WEIR_LOGS,
                                             .ledger = {.accepted = 50,
                                                        .pending = 40,
                                                        .discarded = 10,
                                                        .pending_bytes = 4000,
                                                        .oldest_received_ns = FIXTURE_NOW - FIXTURE_AGE}};
    snapshot_conclude_upstream(central);
    snapshot_conclude_spool(s);
    snapshot_conclude(s, false);
}

#endif
