// SPDX-License-Identifier: Apache-2.0
// Snapshot: all numbers that a person or a scraper is shown, gathered from the relay once, so that the status, the metrics
// and the page agree with each other, and so that their text is built and tested without a relay.
#ifndef WEIR_RELAY_SNAPSHOT_H
#define WEIR_RELAY_SNAPSHOT_H

#include "relay/process.h"
#include "relay/rates.h"
#include "relay/relay.h"
#include "storage/stats.h"

#define SNAPSHOT_INTERVALS 16 // of a lane, at most; the first ones

enum snapshot_phase { // CONTRACT: weir.phase
    PHASE_DELIVERING,
    PHASE_REPLAYING, // a backlog is being emptied
    PHASE_OUTAGE,    // an upstream does not take its backlog
    PHASE_DRAINING,  // by command: nothing is taken, everything goes out
    PHASE_DRAINED,   // and has gone out
    PHASE_STOPPING,
    PHASE_FAILED, // the spool cannot write
};
#define SNAPSHOT_PHASES 7
const char *snapshot_phase_name(enum snapshot_phase phase);
const char *snapshot_spool_state_name(enum spool_state state); // "ok", "full", "failed", "read_only"
#define SNAPSHOT_SPOOL_STATES  4
#define SNAPSHOT_REPLAY_STATES REPLAY_STATES

struct snapshot_received { // of one transport and signal, all workers together
    uint64_t requests, items, bytes;
    uint64_t last_received_unix_ns;           // 0: none since start
    uint64_t ack_buckets[INGEST_ACK_BUCKETS]; // each bucket alone, not cumulated
    double ack_seconds_sum;
};

struct snapshot_lane {
    struct replay_lane_stats replay; // replay.open: this upstream takes this signal
    struct spool_lane_stats ledger;
    struct spool_interval intervals[SNAPSHOT_INTERVALS];
    size_t interval_count; // copied here
    size_t intervals_all;  // that there are
};

struct snapshot_rates { // per second; what came in for the upstream, what it took
    double in_items, out_items, in_bytes, out_bytes;
};

struct snapshot_upstream {
    const char *name, *endpoint;
    uint64_t export_bytes;      // max_request_size
    struct replay_stats replay; // its lanes are in `lanes`
    struct certificate_state tls;
    struct snapshot_lane lanes[WEIR_SIGNALS];
    uint64_t backlog_items, backlog_bytes;
    uint64_t oldest_received_unix_ns; // 0: no backlog
    struct snapshot_rates rates;
    double eta_seconds; // or RATE_UNKNOWN
};

struct snapshot_orphan { // a lane of an upstream that is not configured
    const char *upstream;
    enum weir_signal signal;
    struct spool_lane_stats ledger;
};
#define SNAPSHOT_ORPHANS 64

struct snapshot {
    uint64_t unix_ns, now_ns; // when it was taken: wall clock, monotonic
    const char *version, *instance;
    uint64_t started_unix_ns;
    double uptime_seconds;
    enum snapshot_phase phase;
    bool ready;       // data can be taken durably
    char reason[320]; // why not; "" when ready

    const char *grpc_address, *http_address; // NULL: off
    uint32_t connections;
    uint64_t unwritten_bytes, promised_bytes, promised_max_bytes;
    struct snapshot_received received[INGEST_TRANSPORTS][WEIR_SIGNALS];
    uint64_t refused[INGEST_TRANSPORTS][WEIR_SIGNALS + 1][REFUSALS];
    double received_items_rate, received_bytes_rate;
    struct origins_stats origins;

    struct certificate_state tls[CERTIFICATE_LISTENERS];
    char token_error[256]; // of receiver.auth

    const char *directory;
    struct spool_stats spool;
    bool evict_oldest; // spool.when_full
    uint64_t max_age_ms, keep_delivered_ms, dead_letter_max_bytes;
    double raw_bytes_rate, written_bytes_rate; // of what the spool stores: as it came, and on the disk
    double full_in_seconds;                    // until senders are refused, or eviction begins; or RATE_UNKNOWN

    struct snapshot_upstream upstreams[CONFIG_MAX_UPSTREAMS];
    size_t upstream_count;
    struct drain_state drain;
    struct snapshot_orphan orphans[SNAPSHOT_ORPHANS]; // the first ones
    size_t orphan_count;                              // copied here
    size_t orphans_all;                               // that there are
    struct process_stats process;
};

// The memory of the rates: sampled once a second and at no other time, by the thread that takes the snapshots.
struct snapshot_sampler {
    struct rate received_items, received_bytes, raw_bytes, written_bytes;
    struct {
        struct rate in_items, out_items, in_bytes, out_bytes;
    } upstreams[CONFIG_MAX_UPSTREAMS];
};

// Fills *out from the relay. `sampler` is read only. Strings are the relay's. The relay must not be freed meanwhile; nothing waits.
void snapshot_take(struct relay *relay, const struct snapshot_sampler *sampler, struct snapshot *out);
// Feeds the counters of *taken to the rates.
void snapshot_sample(struct snapshot_sampler *sampler, const struct snapshot *taken);

// The parts of snapshot_take that are arithmetic; each fills fields of the snapshot from its other fields.
void snapshot_conclude_upstream(struct snapshot_upstream *upstream); // backlog, oldest, eta_seconds
void snapshot_conclude_spool(struct snapshot *snapshot);             // full_in_seconds
void snapshot_conclude(struct snapshot *snapshot, bool stopping);    // phase, ready, reason

#endif
