// SPDX-License-Identifier: Apache-2.0
#include "relay/snapshot.h"
#include "relay/version.h"

#include <stdio.h>

const char *snapshot_phase_name(enum snapshot_phase phase)
{
    static const char *const names[SNAPSHOT_PHASES] = {"delivering", "replaying", "outage", "draining",
                                                       "drained",    "stopping",  "failed"};
    assert((unsigned)phase < SNAPSHOT_PHASES);
    return names[phase];
}

const char *snapshot_spool_state_name(enum spool_state state)
{
    static const char *const names[SNAPSHOT_SPOOL_STATES] = {"ok", "full", "failed", "read_only"};
    assert((unsigned)state < SNAPSHOT_SPOOL_STATES);
    return names[state];
}

// --- conclusions ------------------------------------------------------------------------------------------------------

void snapshot_conclude_upstream(struct snapshot_upstream *upstream)
{
    upstream->backlog_items = upstream->backlog_bytes = upstream->oldest_received_unix_ns = 0;
    for (size_t i = 0; i < WEIR_SIGNALS; i++) {
        if (!upstream->lanes[i].replay.open)
            continue;
        const struct spool_lane_stats *ledger = &upstream->lanes[i].ledger;
        upstream->backlog_items += ledger->pending;
        upstream->backlog_bytes += ledger->pending_bytes;
        uint64_t oldest = ledger->oldest_received_ns;
        if (oldest != 0 && (upstream->oldest_received_unix_ns == 0 || oldest < upstream->oldest_received_unix_ns))
            upstream->oldest_received_unix_ns = oldest;
    }
    // While nothing goes out, rates that still fade away say nothing of when the backlog will be gone.
    enum replay_state state = upstream->replay.state;
    bool moving = state == REPLAY_IDLE || state == REPLAY_DELIVERING || state == REPLAY_REPLAYING;
    double eta_seconds = rate_eta_seconds(upstream->backlog_items, upstream->rates.in_items, upstream->rates.out_items);
    upstream->eta_seconds = moving || upstream->backlog_items == 0 ? eta_seconds : RATE_UNKNOWN;
}

// What a byte of telemetry takes on the disk: as it is now, or while nothing comes, as it was in the whole of the spool's life.
static double disk_per_raw(const struct snapshot *snapshot)
{
    const struct spool_stats *spool = &snapshot->spool;
    if (snapshot->raw_bytes_rate > 0 && snapshot->written_bytes_rate > 0)
        return snapshot->written_bytes_rate / snapshot->raw_bytes_rate;
    return spool->raw_bytes_total > 0 ? (double)spool->stored_bytes_total / (double)spool->raw_bytes_total : 1;
}

// Room for new data without refusing any and without losing what was not delivered: what was kept for a replay gives way.
static uint64_t free_bytes_of(const struct spool_stats *spool)
{
    uint64_t kept = spool->kept_bytes < spool->used_bytes ? spool->kept_bytes : spool->used_bytes;
    uint64_t used = spool->used_bytes - kept;
    uint64_t free_bytes = spool->max_bytes > used ? spool->max_bytes - used : 0;
    if (spool->disk_free_bytes + kept < free_bytes)
        free_bytes = spool->disk_free_bytes + kept;
    return free_bytes + spool->room_bytes;
}

// The spool grows as fast as its slowest upstream falls behind; segments come and go in steps far too coarse to be measured.
void snapshot_conclude_spool(struct snapshot *snapshot)
{
    double ratio = disk_per_raw(snapshot), growth = 0;
    for (size_t i = 0; i < snapshot->upstream_count; i++) {
        double behind = snapshot->upstreams[i].rates.in_bytes - snapshot->upstreams[i].rates.out_bytes;
        growth = behind > growth ? behind : growth;
    }
    snapshot->full_in_seconds =
        rate_full_in_seconds(free_bytes_of(&snapshot->spool), growth * ratio, snapshot->received_bytes_rate * ratio);
}

static bool is_outage(const struct snapshot_upstream *upstream)
{
    enum replay_state state = upstream->replay.state;
    return upstream->backlog_items > 0 &&
           (state == REPLAY_BACKING_OFF || state == REPLAY_HELD || state == REPLAY_PROBING);
}

static enum snapshot_phase find_phase(const struct snapshot *snapshot, bool stopping)
{
    if (snapshot->spool.state == SPOOL_FAILED)
        return PHASE_FAILED;
    if (stopping)
        return PHASE_STOPPING;
    if (snapshot->drain.draining)
        return snapshot->drain.drained ? PHASE_DRAINED : PHASE_DRAINING;
    enum snapshot_phase phase = PHASE_DELIVERING;
    for (size_t i = 0; i < snapshot->upstream_count; i++) {
        const struct snapshot_upstream *upstream = &snapshot->upstreams[i];
        if (is_outage(upstream))
            return PHASE_OUTAGE;
        if (upstream->replay.state == REPLAY_REPLAYING && upstream->backlog_items > 0)
            phase = PHASE_REPLAYING;
    }
    return phase;
}

void snapshot_conclude(struct snapshot *snapshot, bool stopping)
{
    static const char *const spool_reasons[SNAPSHOT_SPOOL_STATES] = {NULL, "the spool is full", "the spool has failed",
                                                                     "the spool is read-only"};
    snapshot->phase = find_phase(snapshot, stopping);
    snapshot->reason[0] = '\0';
    enum spool_state state = snapshot->spool.state;
    if (stopping)
        snprintf(snapshot->reason, sizeof(snapshot->reason), "stopping");
    else if (snapshot->drain.drained)
        snprintf(snapshot->reason, sizeof(snapshot->reason), "drained, by command: weir drain --cancel takes it back");
    else if (snapshot->drain.draining)
        snprintf(snapshot->reason, sizeof(snapshot->reason),
                 "draining, by command: %llu items are left; weir drain --cancel takes it back",
                 (unsigned long long)snapshot->drain.pending_items);
    else if (state != SPOOL_OK)
        snprintf(snapshot->reason, sizeof(snapshot->reason), "%s%s%s", spool_reasons[state],
                 snapshot->spool.reason[0] != '\0' ? ": " : "", snapshot->spool.reason);
    snapshot->ready = snapshot->reason[0] == '\0';
}

// --- gathering --------------------------------------------------------------------------------------------------------

static void take_refused(const struct ingest_counters *counters, struct snapshot *out)
{
    for (size_t t = 0; t < INGEST_TRANSPORTS; t++)
        for (size_t s = 0; s <= WEIR_SIGNALS; s++)
            for (size_t r = 0; r < REFUSALS; r++)
                out->refused[t][s][r] += atomic_load_explicit(&counters->refused[t][s][r], memory_order_relaxed);
}

static void take_received(const struct ingest_counters *counters, struct snapshot *out)
{
    for (size_t cell = 0; cell < INGEST_TRANSPORTS * WEIR_SIGNALS; cell++) {
        struct snapshot_received *to = &out->received[cell / WEIR_SIGNALS][cell % WEIR_SIGNALS];
        const __auto_type from = &counters->accepted[cell / WEIR_SIGNALS][cell % WEIR_SIGNALS];
        to->requests += atomic_load_explicit(&from->requests, memory_order_relaxed);
        to->items += atomic_load_explicit(&from->items, memory_order_relaxed);
        to->bytes += atomic_load_explicit(&from->bytes, memory_order_relaxed);
        to->ack_seconds_sum += (double)atomic_load_explicit(&from->ack_sum_us, memory_order_relaxed) / 1e6;
        uint64_t last = atomic_load_explicit(&from->last_received_unix_ns, memory_order_relaxed);
        if (last > to->last_received_unix_ns)
            to->last_received_unix_ns = last;
        for (size_t i = 0; i < INGEST_ACK_BUCKETS; i++)
            to->ack_buckets[i] += atomic_load_explicit(&from->ack_buckets[i], memory_order_relaxed);
    }
}

static void take_receiver(const struct relay *relay, struct snapshot *out)
{
    if (relay->server != NULL) {
        out->grpc_address = server_grpc_address(relay->server);
        out->http_address = server_http_address(relay->server);
        out->connections = server_connections(relay->server);
    }
    out->unwritten_bytes = atomic_load_explicit(&relay->budget.unwritten, memory_order_relaxed);
    out->promised_bytes = atomic_load_explicit(&relay->budget.promised, memory_order_relaxed);
    out->promised_max_bytes = relay->budget.max_bytes;
    if (relay->origins != NULL)
        origins_stats_get(relay->origins, &out->origins);
    for (size_t i = 0; i < relay->workers; i++) {
        const struct ingest_counters *counters = ingest_counters(relay->ingests[i]);
        take_received(counters, out);
        take_refused(counters, out);
    }
}

static void take_lane(const struct replay_lane_stats *replay, struct snapshot_lane *out)
{
    out->replay = *replay;
    if (!replay->open || replay->lane == NULL)
        return;
    spool_lane_stats_get(replay->lane, &out->ledger);
    out->intervals_all = spool_lane_intervals(replay->lane, out->intervals, SNAPSHOT_INTERVALS);
    out->interval_count = out->intervals_all < SNAPSHOT_INTERVALS ? out->intervals_all : SNAPSHOT_INTERVALS;
}

static void take_upstreams(const struct relay *relay, const struct snapshot_sampler *sampler, struct snapshot *out)
{
    out->upstream_count = relay->replay_count;
    for (size_t i = 0; i < relay->replay_count; i++) {
        struct snapshot_upstream *upstream = &out->upstreams[i];
        const struct config_upstream *config = replay_upstream(relay->replays[i]);
        upstream->name = config->name;
        upstream->endpoint = config->endpoint;
        upstream->export_bytes = config->max_request_size_bytes;
        replay_stats_get(relay->replays[i], &upstream->replay);
        upstream->tls = replay_certificate(relay->replays[i]);
        for (size_t s = 0; s < WEIR_SIGNALS; s++)
            take_lane(&upstream->replay.lanes[s], &upstream->lanes[s]);
        upstream->rates = (struct snapshot_rates){
            .in_items = rate_per_second(&sampler->upstreams[i].in_items),
            .out_items = rate_per_second(&sampler->upstreams[i].out_items),
            .in_bytes = rate_per_second(&sampler->upstreams[i].in_bytes),
            .out_bytes = rate_per_second(&sampler->upstreams[i].out_bytes),
        };
        snapshot_conclude_upstream(upstream);
    }
}

static void take_orphans(const struct relay *relay, struct snapshot *out)
{
    struct spool_lane *lanes[SNAPSHOT_ORPHANS];
    out->orphans_all = spool_orphan_lanes(relay->spool, lanes, SNAPSHOT_ORPHANS);
    out->orphan_count = out->orphans_all < SNAPSHOT_ORPHANS ? out->orphans_all : SNAPSHOT_ORPHANS;
    for (size_t i = 0; i < out->orphan_count; i++) {
        out->orphans[i].upstream = spool_lane_upstream(lanes[i]);
        out->orphans[i].signal = spool_lane_signal(lanes[i]);
        spool_lane_stats_get(lanes[i], &out->orphans[i].ledger);
    }
}

void snapshot_take(struct relay *relay, const struct snapshot_sampler *sampler, struct snapshot *out)
{
    memset(out, 0, sizeof(*out));
    out->unix_ns = weir_now_unix_ns();
    out->now_ns = weir_now_ns();
    out->version = weir_version;
    out->instance = relay->instance;
    out->started_unix_ns = relay->started_unix_ns;
    out->uptime_seconds = (double)(out->now_ns - relay->started_ns) / 1e9;
    out->directory = relay->config->spool.directory;
    for (int i = 0; i < CERTIFICATE_LISTENERS; i++)
        out->tls[i] = certificates_get(relay->certificates, (enum certificate_listener)i);
    if (relay->tokens != NULL)
        tokens_error(relay->tokens, out->token_error, sizeof(out->token_error));
    out->evict_oldest = relay->config->spool.when_full == CONFIG_FULL_EVICT_OLDEST;
    out->max_age_ms = relay->config->spool.max_age_ms;
    out->keep_delivered_ms = relay->config->spool.keep_delivered_ms;
    out->dead_letter_max_bytes = relay->config->dead_letters.max_size_bytes;
    out->received_items_rate = rate_per_second(&sampler->received_items);
    out->received_bytes_rate = rate_per_second(&sampler->received_bytes);
    out->raw_bytes_rate = rate_per_second(&sampler->raw_bytes);
    out->written_bytes_rate = rate_per_second(&sampler->written_bytes);
    take_receiver(relay, out);
    orders_drain_state(relay, &out->drain);
    take_upstreams(relay, sampler, out);
    take_orphans(relay, out);
    spool_stats_get(relay->spool, &out->spool);
    process_stats_get(&out->process);
    snapshot_conclude_spool(out);
    snapshot_conclude(out, atomic_load_explicit(&relay->stopping, memory_order_relaxed));
}

// --- rates ------------------------------------------------------------------------------------------------------------

void snapshot_sample(struct snapshot_sampler *sampler, const struct snapshot *taken)
{
    uint64_t items = 0, bytes = 0;
    for (size_t t = 0; t < INGEST_TRANSPORTS; t++)
        for (size_t s = 0; s < WEIR_SIGNALS; s++) {
            items += taken->received[t][s].items;
            bytes += taken->received[t][s].bytes;
        }
    rate_sample(&sampler->received_items, items, taken->now_ns);
    rate_sample(&sampler->received_bytes, bytes, taken->now_ns);
    rate_sample(&sampler->raw_bytes, taken->spool.raw_bytes_total, taken->now_ns);
    rate_sample(&sampler->written_bytes, taken->spool.written_bytes_total, taken->now_ns);
    for (size_t i = 0; i < taken->upstream_count; i++) {
        uint64_t in_items = 0, out_items = 0, in_bytes = 0, out_bytes = 0;
        for (size_t s = 0; s < WEIR_SIGNALS; s++) {
            const struct snapshot_lane *lane = &taken->upstreams[i].lanes[s];
            if (!lane->replay.open)
                continue;
            const struct spool_lane_stats *ledger = &lane->ledger;
            in_items += ledger->accepted - ledger->replayed;
            out_items += ledger->accepted - ledger->pending - ledger->evicted; // what was lost did not go out
            in_bytes += taken->spool.raw_bytes_by_signal[s];
            out_bytes += lane->replay.sent_raw_bytes;
        }
        rate_sample(&sampler->upstreams[i].in_items, in_items, taken->now_ns);
        rate_sample(&sampler->upstreams[i].out_items, out_items, taken->now_ns);
        rate_sample(&sampler->upstreams[i].in_bytes, in_bytes, taken->now_ns);
        rate_sample(&sampler->upstreams[i].out_bytes, out_bytes, taken->now_ns);
    }
}
