// SPDX-License-Identifier: Apache-2.0
// What a person sees of a spool and its lanes: any thread, cheap, nothing grows with the backlog.
#ifndef WEIR_STORAGE_STATS_H
#define WEIR_STORAGE_STATS_H

#include "storage/event.h"
#include "storage/lane.h"

#define SPOOL_HISTOGRAM_BUCKETS 16
struct spool_histogram { // counts[i]: values <= bounds[i], those of lower buckets too; the last bound is infinite
    double bounds[SPOOL_HISTOGRAM_BUCKETS];
    uint64_t counts[SPOOL_HISTOGRAM_BUCKETS];
    double sum;
    uint64_t count;
};

struct spool_stats {
    enum spool_state state;
    char reason[256];    // why it is not OK; "" when it is
    uint64_t used_bytes; // blocks on disk of all files
    uint64_t max_bytes;
    uint64_t disk_free_bytes;
    uint64_t room_bytes;          // of used_bytes: the newest segment has them and holds nothing in them yet
    uint64_t written_bytes_total; // since start: whole pages that new blocks took in segments; what fills the disk
    uint32_t segments;
    uint64_t first_block, next_block;
    uint64_t oldest_received_ns;                  // of the oldest block a lane still needs; 0 = none
    uint64_t raw_bytes_total, stored_bytes_total; // since the spool began: their quotient is the compression ratio
    uint64_t commits, committed_requests, commit_failures;
    uint64_t
        state_failures; // of the lanes' state: deliveries would be repeated after a crash, no segment is freed meanwhile
    struct spool_histogram commit_seconds, requests_per_commit;
    uint64_t items_total[WEIR_SIGNALS], raw_bytes_by_signal[WEIR_SIGNALS]; // accepted since the spool began
    uint64_t dead_letter_requests, dead_letter_items, dead_letter_bytes;
    uint64_t dead_letters_marked; // to be sent again
    uint64_t dead_letters_redriven, dead_letters_purged,
        dead_letters_evicted;     // requests, since deadletter.mdb was made
    uint64_t kept_bytes;          // of used_bytes: delivered and kept for a replay; goes first when room is needed
    uint64_t settlements_waiting; // that could not be entered yet, and are tried again
    uint64_t
        settlements_dropped; // more waited than there is room for: their blocks stay pending, delivered again after a restart
    uint32_t damaged_files;        // in the directory: set aside, or found damaged and still being read
    uint64_t scrubbed_bytes_total; // read and checked by the keeper since start
    uint64_t scrub_finished_ns;    // Unix ns: when it last had been through all sealed segments; 0: not yet
};
void spool_stats_get(struct spool *spool, struct spool_stats *out);

struct spool_lane_stats {
    uint64_t accepted, delivered, pending, dead_lettered, evicted, discarded; // items
    uint64_t rejected_by_upstream;
    uint64_t evicted_by[SPOOL_LOSSES]; // items; their sum is `evicted`
    uint64_t evicted_received_first_ns,
        evicted_received_last_ns; // of all that was evicted, Unix ns; 0: nothing, or not known
    uint64_t replayed;            // items that were added by spool_lane_replay, part of accepted
    uint64_t pending_bytes;       // raw
    uint64_t oldest_received_ns;  // of the first pending block; 0 when nothing is pending
};
void spool_lane_stats_get(struct spool_lane *lane, struct spool_lane_stats *out);

#endif
