// SPDX-License-Identifier: Apache-2.0
// What /metrics exposes, one row a metric. Below the emitters: each walks over one dimension of the snapshot.
#include "relay/metrics.h"
#include "relay/spool_events.h"

#define LABEL(name, value) ((struct metric_label){(name), (value)})

static const char *const transport_names[INGEST_TRANSPORTS] = {[EXCHANGE_GRPC] = "grpc", [EXCHANGE_HTTP] = "http"};

// The offset of a field, which must be of that type.
#define FIELD_OF(type, record, field)                                                                                  \
    (offsetof(record, field) + 0 * sizeof(char[_Generic(((record *)0)->field, type : 1)]))
#define U64(record, field) FIELD_OF(uint64_t, record, field)
#define U32(record, field) FIELD_OF(uint32_t, record, field)
#define F64(record, field) FIELD_OF(double, record, field)

static uint64_t u64_at(const void *record, size_t offset)
{
    uint64_t value;
    memcpy(&value, (const char *)record + offset, sizeof(value));
    return value;
}

// To a millisecond: more digits would be lost in a double, and noise.
static double unix_seconds(uint64_t unix_ns)
{
    uint64_t ms = unix_ns / 1000000u;
    return (double)ms / 1e3;
}

static double age_seconds(const struct snapshot *s, uint64_t then_unix_ns)
{
    return then_unix_ns == 0 || then_unix_ns > s->unix_ns ? 0 : (double)(s->unix_ns - then_unix_ns) / 1e9;
}

// --- the whole relay --------------------------------------------------------------------------------------------------

static void emit_u64(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s)
{
    metrics_put_u64(w, NULL, 0, u64_at(s, row->field));
}

static void emit_u32(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s)
{
    uint32_t value;
    memcpy(&value, (const char *)s + row->field, sizeof(value));
    metrics_put_u64(w, NULL, 0, value);
}

static void emit_f64(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s)
{
    double value;
    memcpy(&value, (const char *)s + row->field, sizeof(value));
    metrics_put(w, NULL, 0, value);
}

static void emit_build(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s)
{
    metrics_put_u64(w, &LABEL("version", s->version), 1, 1);
}

static void emit_ready(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s)
{
    metrics_put_u64(w, NULL, 0, s->ready);
}

static void emit_phase(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s)
{
    for (int i = 0; i < SNAPSHOT_PHASES; i++)
        metrics_put_u64(w, &LABEL("phase", snapshot_phase_name((enum snapshot_phase)i)), 1, s->phase == (unsigned)i);
}

// --- receiver ---------------------------------------------------------------------------------------------------------

static void emit_received(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s)
{
    for (size_t t = 0; t < INGEST_TRANSPORTS; t++)
        for (size_t i = 0; i < WEIR_SIGNALS; i++) {
            const struct metric_label labels[] = {LABEL("signal", weir_signal_name((enum weir_signal)i)),
                                                  LABEL("transport", transport_names[t])};
            metrics_put_u64(w, labels, 2, u64_at(&s->received[t][i], row->field));
        }
}

static void emit_refused(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s)
{
    for (size_t t = 0; t < INGEST_TRANSPORTS; t++)
        for (size_t i = 0; i <= WEIR_SIGNALS; i++)
            for (size_t r = 0; r < REFUSALS; r++) {
                const char *signal = i == INGEST_NO_SIGNAL ? "unknown" : weir_signal_name((enum weir_signal)i);
                const struct metric_label labels[] = {LABEL("signal", signal), LABEL("transport", transport_names[t]),
                                                      LABEL("reason", refusal_rows[r].reason)};
                metrics_put_u64(w, labels, 3, s->refused[t][i][r]);
            }
}

static void emit_ack_duration(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s)
{
    for (size_t t = 0; t < INGEST_TRANSPORTS; t++)
        for (size_t i = 0; i < WEIR_SIGNALS; i++) {
            const struct metric_label labels[] = {LABEL("signal", weir_signal_name((enum weir_signal)i)),
                                                  LABEL("transport", transport_names[t])};
            const struct snapshot_received *received = &s->received[t][i];
            const struct metric_histogram histogram = {ingest_ack_bounds, received->ack_buckets, INGEST_ACK_BUCKETS,
                                                       received->ack_seconds_sum};
            metrics_put_histogram(w, labels, 2, &histogram);
        }
}

static void emit_last_received(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s)
{
    for (size_t i = 0; i < WEIR_SIGNALS; i++) {
        uint64_t last = 0;
        for (size_t t = 0; t < INGEST_TRANSPORTS; t++)
            if (s->received[t][i].last_received_unix_ns > last)
                last = s->received[t][i].last_received_unix_ns;
        metrics_put(w, &LABEL("signal", weir_signal_name((enum weir_signal)i)), 1, unix_seconds(last));
    }
}

// --- spool ------------------------------------------------------------------------------------------------------------

static void emit_spool_state(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s)
{
    for (int i = 0; i < SNAPSHOT_SPOOL_STATES; i++)
        metrics_put_u64(w, &LABEL("state", snapshot_spool_state_name((enum spool_state)i)), 1,
                        s->spool.state == (unsigned)i);
}

static void emit_spool_oldest(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s)
{
    metrics_put(w, NULL, 0, age_seconds(s, s->spool.oldest_received_ns));
}

static void emit_scrub_finished(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s)
{
    metrics_put(w, NULL, 0, unix_seconds(s->spool.scrub_finished_ns));
}

static void emit_spool_histogram(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s)
{
    const struct spool_histogram *from = (const void *)((const char *)s + row->field);
    uint64_t counts[SPOOL_HISTOGRAM_BUCKETS]; // the spool's buckets are cumulated already
    for (size_t i = 0; i < SPOOL_HISTOGRAM_BUCKETS; i++)
        counts[i] = from->counts[i] - (i > 0 ? from->counts[i - 1] : 0);
    const struct metric_histogram histogram = {from->bounds, counts, SPOOL_HISTOGRAM_BUCKETS, from->sum};
    metrics_put_histogram(w, NULL, 0, &histogram);
}

// --- upstreams and lanes ----------------------------------------------------------------------------------------------

static void emit_upstream_state(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s)
{
    for (size_t u = 0; u < s->upstream_count; u++)
        for (int i = 0; i < SNAPSHOT_REPLAY_STATES; i++) {
            const struct metric_label labels[] = {LABEL("upstream", s->upstreams[u].name),
                                                  LABEL("state", replay_state_name((enum replay_state)i))};
            metrics_put_u64(w, labels, 2, s->upstreams[u].replay.state == (unsigned)i);
        }
}

static void emit_upstream_error_time(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s)
{
    for (size_t u = 0; u < s->upstream_count; u++)
        metrics_put(w, &LABEL("upstream", s->upstreams[u].name), 1, unix_seconds(s->upstreams[u].replay.error_unix_ns));
}

static void emit_orphan(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s)
{
    for (size_t i = 0; i < s->orphan_count; i++) {
        const struct metric_label labels[] = {LABEL("upstream", s->orphans[i].upstream),
                                              LABEL("signal", weir_signal_name(s->orphans[i].signal))};
        metrics_put_u64(w, labels, 2, u64_at(&s->orphans[i], row->field));
    }
}

static void emit_upstream_window(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s)
{
    for (size_t u = 0; u < s->upstream_count; u++)
        metrics_put_u64(w, &LABEL("upstream", s->upstreams[u].name), 1, u64_at(&s->upstreams[u].replay, row->field));
}

static void emit_upstream_rate(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s)
{
    for (size_t u = 0; u < s->upstream_count; u++)
        metrics_put(w, &LABEL("upstream", s->upstreams[u].name), 1, s->upstreams[u].replay.rate_bytes);
}

typedef void (*emit_lane_fn)(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s,
                             const struct snapshot_lane *lane, const struct metric_label labels[2]);

static void each_lane(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s,
                      emit_lane_fn emit)
{
    for (size_t u = 0; u < s->upstream_count; u++)
        for (size_t i = 0; i < WEIR_SIGNALS; i++) {
            const struct snapshot_lane *lane = &s->upstreams[u].lanes[i];
            const struct metric_label labels[2] = {LABEL("upstream", s->upstreams[u].name),
                                                   LABEL("signal", weir_signal_name((enum weir_signal)i))};
            if (lane->replay.open)
                emit(w, row, s, lane, labels);
        }
}

static void one_lane(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s,
                     const struct snapshot_lane *lane, const struct metric_label labels[2])
{
    metrics_put_u64(w, labels, 2, u64_at(lane, row->field));
}

static void emit_lane(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s)
{
    each_lane(w, row, s, one_lane);
}

static void one_lane_evicted(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s,
                             const struct snapshot_lane *lane, const struct metric_label labels[2])
{
    for (int i = 0; i < SPOOL_LOSSES; i++) {
        const struct metric_label all[] = {labels[0], labels[1], LABEL("reason", spool_loss_name((enum spool_loss)i))};
        metrics_put_u64(w, all, 3, lane->ledger.evicted_by[i]);
    }
}

static void emit_lane_evicted(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s)
{
    each_lane(w, row, s, one_lane_evicted);
}

static void one_lane_age(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s,
                         const struct snapshot_lane *lane, const struct metric_label labels[2])
{
    metrics_put(w, labels, 2, age_seconds(s, lane->ledger.oldest_received_ns));
}

static void emit_lane_age(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s)
{
    each_lane(w, row, s, one_lane_age);
}

static void one_lane_sending(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s,
                             const struct snapshot_lane *lane, const struct metric_label labels[2])
{
    const struct metric_histogram histogram = {replay_send_bounds, lane->replay.send_buckets, REPLAY_SEND_BUCKETS,
                                               lane->replay.send_seconds_sum};
    metrics_put_histogram(w, labels, 2, &histogram);
}

static void emit_lane_sending(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s)
{
    each_lane(w, row, s, one_lane_sending);
}

static void put_expiry(struct metrics_writer *w, const char *role, const char *name,
                       const struct certificate_state *tls)
{
    const struct metric_label labels[] = {LABEL("role", role), LABEL("name", name)};
    if (tls->used && tls->validity.not_after_unix > 0)
        metrics_put(w, labels, 2, (double)tls->validity.not_after_unix);
}

static void emit_expiry(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s)
{
    for (int i = 0; i < CERTIFICATE_LISTENERS; i++)
        put_expiry(w, "listener", certificate_listener_names[i], &s->tls[i]);
    for (size_t i = 0; i < s->upstream_count; i++)
        put_expiry(w, "upstream", s->upstreams[i].name, &s->upstreams[i].tls);
}

static void emit_refused_files(struct metrics_writer *w, const struct metric_row *row, const struct snapshot *s)
{
    uint64_t refused = s->token_error[0] != '\0';
    for (int i = 0; i < CERTIFICATE_LISTENERS; i++)
        refused += s->tls[i].error[0] != '\0';
    for (size_t i = 0; i < s->upstream_count; i++)
        refused += (s->upstreams[i].tls.error[0] != '\0') + (s->upstreams[i].replay.token_error[0] != '\0');
    metrics_put_u64(w, NULL, 0, refused);
}

// --- the table --------------------------------------------------------------------------------------------------------

#define C  METRIC_COUNTER
#define G  METRIC_GAUGE
#define H  METRIC_HISTOGRAM
#define S  struct snapshot
#define R  struct snapshot_received
#define L  struct snapshot_lane
#define ST "signal, transport"
#define US "upstream, signal"

// clang-format off
const struct metric_row metric_rows[] = {
    {"weir_build_info", G, "", "version", "Constant 1; the version is its label.", emit_build, 0},
    {"weir_ready", G, "", "", "1 while data can be taken durably, as /readyz says.", emit_ready, 0},
    {"weir_phase", G, "", "phase", "1 for what the relay as a whole is doing now, 0 for the others.", emit_phase, 0},

    {"weir_receiver_requests", C, "", ST, "Requests made durable and acknowledged.", emit_received, U64(R, requests)},
    {"weir_receiver_items", C, "", ST, "Spans, data points, log records and profiles acknowledged.", emit_received, U64(R, items)},
    {"weir_receiver_bytes", C, "bytes", ST, "Bytes of acknowledged requests, decompressed.", emit_received, U64(R, bytes)},
    {"weir_receiver_refused_requests", C, "", "signal, transport, reason", "Requests answered with an error.", emit_refused, 0},
    {"weir_receiver_repeated_requests", C, "", "", "Requests of another weir that had been stored before: acknowledged, and not stored again.", emit_u64, U64(S, origins.repeats)},
    {"weir_receiver_origins", G, "", "", "Runs of data of other weirs whose repetitions are known.", emit_u64, U64(S, origins.scopes)},
    {"weir_receiver_origins_forgotten", C, "", "", "Times that something of that was forgotten, because there was too much: its repetitions are stored again.", emit_u64, U64(S, origins.forgotten)},
    {"weir_receiver_ack_duration_seconds", H, "seconds", ST, "Time from a request's first byte to its durable acknowledgement.", emit_ack_duration, 0},
    {"weir_receiver_last_received_timestamp_seconds", G, "seconds", "signal", "When the last acknowledged request came; 0 when none has come since start.", emit_last_received, 0},
    {"weir_receiver_connections", G, "", "", "Open client connections.", emit_u32, U32(S, connections)},
    {"weir_receiver_unwritten_bytes", G, "bytes", "", "Bytes received whole that wait for their commit.", emit_u64, U64(S, unwritten_bytes)},
    {"weir_receiver_promised_bytes", G, "bytes", "", "Memory promised to requests that are not durable yet.", emit_u64, U64(S, promised_bytes)},
    {"weir_receiver_promised_limit_bytes", G, "bytes", "", "What may be promised at most (spool.max_unwritten); above it requests are refused.", emit_u64, U64(S, promised_max_bytes)},

    {"weir_spool_state", G, "", "state", "1 for the spool's state, 0 for the others.", emit_spool_state, 0},
    {"weir_spool_bytes", G, "bytes", "", "Disk used by all files of the spool.", emit_u64, U64(S, spool.used_bytes)},
    {"weir_spool_limit_bytes", G, "bytes", "", "Disk the spool may use (spool.max_size).", emit_u64, U64(S, spool.max_bytes)},
    {"weir_spool_disk_free_bytes", G, "bytes", "", "Free disk below the spool's directory.", emit_u64, U64(S, spool.disk_free_bytes)},
    {"weir_spool_kept_bytes", G, "bytes", "", "Disk used by delivered data that is kept for a replay (spool.keep_delivered); it gives way to new data.", emit_u64, U64(S, spool.kept_bytes)},
    {"weir_spool_segments", G, "", "", "Segment files.", emit_u32, U32(S, spool.segments)},
    {"weir_spool_oldest_age_seconds", G, "seconds", "", "Age of the oldest data that an upstream still needs; 0 when there is none.", emit_spool_oldest, 0},
    {"weir_spool_raw_bytes", C, "bytes", "", "Telemetry stored since the spool began, before compression.", emit_u64, U64(S, spool.raw_bytes_total)},
    {"weir_spool_stored_bytes", C, "bytes", "", "The same after compression.", emit_u64, U64(S, spool.stored_bytes_total)},
    {"weir_spool_commits", C, "", "", "Durable commits.", emit_u64, U64(S, spool.commits)},
    {"weir_spool_commit_failures", C, "", "", "Commits that failed; their requests were refused.", emit_u64, U64(S, spool.commit_failures)},
    {"weir_spool_state_failures", C, "", "", "Attempts to make the lanes' state durable that failed: a crash would repeat deliveries, and no segment is freed.", emit_u64, U64(S, spool.state_failures)},
    {"weir_spool_settlements_waiting", G, "", "", "Deliveries that could not be entered in the ledger yet; a crash would repeat them.", emit_u64, U64(S, spool.settlements_waiting)},
    {"weir_spool_settlements_dropped", C, "", "", "Deliveries that there was no room to enter: they stay pending and are repeated after a restart.", emit_u64, U64(S, spool.settlements_dropped)},
    {"weir_spool_damaged_files", G, "", "", "Damaged files in the spool's directory, set aside or still being read.", emit_u32, U32(S, spool.damaged_files)},
    {"weir_spool_scrubbed_bytes", C, "bytes", "", "Stored data read and checked ahead of its use.", emit_u64, U64(S, spool.scrubbed_bytes_total)},
    {"weir_spool_scrub_finished_timestamp_seconds", G, "seconds", "", "When all sealed segments had last been checked; 0 when they have not been yet.", emit_scrub_finished, 0},
    {"weir_spool_commit_duration_seconds", H, "seconds", "", "Time of a durable commit, sync included.", emit_spool_histogram, offsetof(S, spool.commit_seconds)},
    {"weir_spool_requests_per_commit", H, "", "", "Requests that one commit made durable.", emit_spool_histogram, offsetof(S, spool.requests_per_commit)},

    {"weir_lane_pending_items", G, "", US, "Items the upstream has still to get.", emit_lane, U64(L, ledger.pending)},
    {"weir_lane_pending_bytes", G, "bytes", US, "Bytes the upstream has still to get, decompressed.", emit_lane, U64(L, ledger.pending_bytes)},
    {"weir_lane_oldest_age_seconds", G, "seconds", US, "Age of the oldest pending data; 0 when nothing is pending.", emit_lane_age, 0},
    {"weir_lane_accepted_items", C, "", US, "Items taken for this lane: the sum of delivered, pending, dead-lettered, evicted and discarded.", emit_lane, U64(L, ledger.accepted)},
    {"weir_lane_delivered_items", C, "", US, "Items the upstream has acknowledged.", emit_lane, U64(L, ledger.delivered)},
    {"weir_lane_rejected_items", C, "", US, "Delivered items that partial successes of the upstream refused.", emit_lane, U64(L, ledger.rejected_by_upstream)},
    {"weir_lane_dead_lettered_items", G, "", US, "Items the upstream would not take, kept as dead letters.", emit_lane, U64(L, ledger.dead_lettered)},
    {"weir_lane_evicted_items", C, "", "upstream, signal, reason", "Items lost undelivered: the spool was full, they were too old, a file was damaged, the dead letters were full.", emit_lane_evicted, 0},
    {"weir_lane_replayed_items", C, "", US, "Items added again by `weir replay`, part of accepted.", emit_lane, U64(L, ledger.replayed)},
    {"weir_lane_discarded_items", C, "", US, "Items given up by command, or dropped by on_reject.", emit_lane, U64(L, ledger.discarded)},
    {"weir_lane_exports", C, "", US, "Exports that ended, well or not.", emit_lane, U64(L, replay.exports)},
    {"weir_lane_retries", C, "", US, "Exports that failed and go again.", emit_lane, U64(L, replay.retries)},
    {"weir_lane_repeated_exports", C, "", US, "Exports that the upstream, which is a weir, had stored before and did not store again.", emit_lane, U64(L, replay.repeats)},
    {"weir_lane_dead_letter_requests", C, "", US, "Requests given to the dead letters.", emit_lane, U64(L, replay.dead_letter_requests)},
    {"weir_lane_dropped_items", C, "", US, "Items the upstream would not take, dropped by on_reject: part of discarded.", emit_lane, U64(L, replay.dropped_items)},
    {"weir_lane_export_limit_bytes", G, "bytes", US, "Decompressed size that an export may have: max_request_size, or less since more was not taken.", emit_lane, U64(L, replay.export_max_bytes)},
    {"weir_lane_sent_bytes", C, "bytes", US, "Delivered telemetry, decompressed.", emit_lane, U64(L, replay.sent_raw_bytes)},
    {"weir_lane_sent_wire_bytes", C, "bytes", US, "Delivered telemetry as it was sent.", emit_lane, U64(L, replay.sent_wire_bytes)},
    {"weir_lane_send_duration_seconds", H, "seconds", US, "Time from an export's start to the upstream's answer.", emit_lane_sending, 0},

    {"weir_orphan_pending_items", G, "", US, "Items of a lane whose upstream is not configured: kept until `weir discard`.", emit_orphan, U64(struct snapshot_orphan, ledger.pending)},
    {"weir_orphan_pending_bytes", G, "bytes", US, "The same in bytes, decompressed.", emit_orphan, U64(struct snapshot_orphan, ledger.pending_bytes)},
    {"weir_orphan_discarded_items", C, "", US, "Items of such a lane that were given up by `weir discard`.", emit_orphan, U64(struct snapshot_orphan, ledger.discarded)},

    {"weir_upstream_state", G, "", "upstream, state", "1 for the upstream's state, 0 for the others.", emit_upstream_state, 0},
    {"weir_upstream_last_error_timestamp_seconds", G, "seconds", "upstream", "When the last error came; 0 when none has come since start.", emit_upstream_error_time, 0},
    {"weir_upstream_window_bytes", G, "bytes", "upstream", "Raw bytes of exports that may be under way at once now.", emit_upstream_window, offsetof(struct replay_stats, window_bytes)},
    {"weir_upstream_in_flight_bytes", G, "bytes", "upstream", "Raw bytes of exports that are under way.", emit_upstream_window, offsetof(struct replay_stats, in_flight_bytes)},
    {"weir_upstream_rate_bytes_per_second", G, "", "upstream", "Raw bytes a second that may be sent now, by rate_limit and by what was refused; 0 where no limit is known.", emit_upstream_rate, 0},

    {"weir_certificate_expiry_timestamp_seconds", G, "seconds", "role, name", "When a certificate that weir shows expires: a listener's, or the one for an upstream.", emit_expiry, 0},
    {"weir_secrets_refused", G, "", "", "Files of certificates, keys or tokens that have changed and cannot be used, so that the last good ones hold.", emit_refused_files, 0},

    {"weir_dead_letter_requests", G, "", "", "Dead letters kept.", emit_u64, U64(S, spool.dead_letter_requests)},
    {"weir_dead_letter_items", G, "", "", "Items in the dead letters kept.", emit_u64, U64(S, spool.dead_letter_items)},
    {"weir_dead_letter_bytes", G, "bytes", "", "Bytes of the dead letters kept.", emit_u64, U64(S, spool.dead_letter_bytes)},
    {"weir_dead_letter_marked_requests", G, "", "", "Dead letters that are to be sent again.", emit_u64, U64(S, spool.dead_letters_marked)},
    {"weir_dead_letter_redriven_requests", C, "", "", "Dead letters that were sent again and delivered.", emit_u64, U64(S, spool.dead_letters_redriven)},
    {"weir_dead_letter_purged_requests", C, "", "", "Dead letters that were removed by command, or replaced by a replay.", emit_u64, U64(S, spool.dead_letters_purged)},
    {"weir_dead_letter_evicted_requests", C, "", "", "Dead letters that went for newer ones (dead_letters.max_size).", emit_u64, U64(S, spool.dead_letters_evicted)},
    {"weir_dead_letter_limit_bytes", G, "bytes", "", "Bytes that the dead letters may use (dead_letters.max_size).", emit_u64, U64(S, dead_letter_max_bytes)},

    {"process_cpu_seconds", C, "seconds", "", "Total user and system CPU time spent in seconds.", emit_f64, F64(S, process.cpu_seconds)},
    {"process_resident_memory_bytes", G, "bytes", "", "Resident memory size in bytes.", emit_u64, U64(S, process.resident_bytes)},
    {"process_virtual_memory_bytes", G, "bytes", "", "Virtual memory size in bytes.", emit_u64, U64(S, process.virtual_bytes)},
    {"process_open_fds", G, "", "", "Number of open file descriptors.", emit_u64, U64(S, process.open_fds)},
    {"process_max_fds", G, "", "", "Maximum number of open file descriptors.", emit_u64, U64(S, process.max_fds)},
    {"process_start_time_seconds", G, "seconds", "", "Start time of the process since unix epoch in seconds.", emit_f64, F64(S, process.start_unix_seconds)},
};
// clang-format on
const size_t metric_row_count = WEIR_COUNT(metric_rows);
