// SPDX-License-Identifier: Apache-2.0
// What a person sees of the spool.
#include <math.h>

#include "storage/letters_priv.h"
#include "storage/spool_priv.h"

void histograms_init(struct spool *spool)
{
    for (size_t i = 0; i < SPOOL_HISTOGRAM_BUCKETS; i++) {
        bool last = i == SPOOL_HISTOGRAM_BUCKETS - 1;
        spool->commit_seconds.bounds[i] = last ? INFINITY : 0.0001 * (double)(1u << i); // 100 us ... 1.6 s
        spool->requests_per_commit.bounds[i] = last ? INFINITY : (double)(1u << i);
    }
}

void histogram_add(struct spool_histogram *histogram, double value)
{
    for (size_t i = 0; i < SPOOL_HISTOGRAM_BUCKETS; i++) // cumulative, as Prometheus has them
        histogram->counts[i] += value <= histogram->bounds[i];
    histogram->sum += value;
    histogram->count++;
}

uint64_t spool_next_block(const struct spool *spool)
{
    return atomic_load(&spool->next_block);
}

void spool_stats_get(struct spool *spool, struct spool_stats *out)
{
    memset(out, 0, sizeof(*out));
    pthread_mutex_lock(&spool->lock);
    out->state = (enum spool_state)atomic_load(&spool->state);
    memcpy(out->reason, spool->reason, sizeof(out->reason));
    out->used_bytes = spool->used_bytes;
    out->max_bytes = spool->max_bytes;
    out->kept_bytes = spool->kept_bytes;
    out->damaged_files = spool->aside_files;
    out->disk_free_bytes = spool->disk_free_bytes;
    out->room_bytes = atomic_load(&spool->active_room_pages) * SEGMENT_PAGE;
    out->written_bytes_total = spool->written_pages * SEGMENT_PAGE;
    out->segments = (uint32_t)spool->segments_n;
    out->next_block = atomic_load(&spool->next_block);
    out->first_block = spool->segments_n > 0 ? spool->segments[0]->first : out->next_block;
    for (size_t i = 0; i < WEIR_SIGNALS; i++) {
        out->items_total[i] = spool->counts.items[i];
        out->raw_bytes_by_signal[i] = spool->counts.raw_bytes[i];
        out->raw_bytes_total += spool->counts.raw_bytes[i];
    }
    out->stored_bytes_total = spool->counts.stored_bytes;
    out->commits = spool->commits;
    out->committed_requests = spool->committed_requests;
    out->commit_failures = spool->commit_failures;
    out->state_failures = spool->state_failures;
    out->commit_seconds = spool->commit_seconds;
    out->requests_per_commit = spool->requests_per_commit;
    out->damaged_files = spool->aside_files + spool->damaged_known;
    out->scrubbed_bytes_total = spool->scrub.bytes_total;
    out->scrub_finished_ns = spool->scrub.finished_ns;
    pthread_mutex_unlock(&spool->lock);
    dead_letters_stats(spool, out);
    pthread_mutex_lock(&spool->lanes_lock);
    out->settlements_waiting = spool->unsettled_n;
    out->settlements_dropped = spool->settlements_dropped;
    pthread_mutex_unlock(&spool->lanes_lock);
    for (size_t i = 0;; i++) {
        pthread_mutex_lock(&spool->lanes_lock);
        struct spool_lane *lane = i < spool->lanes_n ? spool->lanes[i] : NULL;
        pthread_mutex_unlock(&spool->lanes_lock);
        if (lane == NULL)
            return;
        struct spool_lane_stats stats;
        spool_lane_stats_get(lane, &stats);
        if (stats.oldest_received_ns != 0 &&
            (out->oldest_received_ns == 0 || stats.oldest_received_ns < out->oldest_received_ns))
            out->oldest_received_ns = stats.oldest_received_ns;
    }
}
