// SPDX-License-Identifier: Apache-2.0
// For the tests of retention and replay: a clock that is set by hand, events that are kept, two blocks a segment.
#ifndef TESTS_UNIT_RETENTION_RIG_H
#define TESTS_UNIT_RETENTION_RIG_H

#include "spool_kit.h"
#include "storage/keeper.h"
#include "storage/spool_priv.h"

#define BLOCK_BYTES 400000u // two of them fill a segment of 1 MiB
#define EVENTS_MAX  512u

// Block `seed` is received at 1000 + seed (kit_block).
#define RECEIVED(seed) (1000u + (seed))

static _Atomic uint64_t rig_now_ns;

static uint64_t rig_clock(void)
{
    return atomic_load(&rig_now_ns);
}

struct rig_events {
    pthread_mutex_t lock;
    size_t n;
    struct spool_event at[EVENTS_MAX];
    uint64_t items[SPOOL_LOSSES];
};

static struct rig_events rig_events = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void rig_on_event(void *ctx, const struct spool_event *event)
{
    (void)ctx;
    if (event->kind != SPOOL_EVENT_EVICTED)
        return;
    pthread_mutex_lock(&rig_events.lock);
    if (rig_events.n < EVENTS_MAX)
        rig_events.at[rig_events.n++] = *event;
    rig_events.items[event->loss] += event->items;
    pthread_mutex_unlock(&rig_events.lock);
}

__attribute__((unused)) static size_t rig_event_count(void)
{
    pthread_mutex_lock(&rig_events.lock);
    size_t n = rig_events.n;
    pthread_mutex_unlock(&rig_events.lock);
    return n;
}

__attribute__((unused)) static struct spool_options rig_options(const char *dir, uint64_t max_mib)
{
    struct spool_options options = kit_options(dir, max_mib);
    options.unix_ns = rig_clock;
    options.on_event = rig_on_event;
    return options;
}

__attribute__((unused)) static struct spool *rig_open(const struct spool_options *options)
{
    struct weir_err err = {0};
    struct spool *spool;
    cr_assert_eq(spool_open(options, &spool, NULL, &err), WEIR_OK, "%s", err.text);
    return spool;
}

// Appends blocks of traces with the seeds [first, end), one commit each.
__attribute__((unused)) static void rig_fill(struct spool *spool, uint64_t first, uint64_t end)
{
    for (; first < end; first++)
        cr_assert_eq(kit_append(spool, WEIR_TRACES, first, BLOCK_BYTES), WEIR_OK, "block %llu",
                     (unsigned long long)first);
}

__attribute__((unused)) static uint64_t rig_items(uint64_t first, uint64_t end)
{
    uint64_t items = 0;
    for (; first < end; first++)
        items += kit_items(first);
    return items;
}

__attribute__((unused)) static void rig_deliver(struct spool_lane *lane, uint64_t first, uint64_t end)
{
    struct spool_outcome outcome = {.delivered = rig_items(first, end)};
    spool_lane_settle(lane, first, end, &outcome);
}

// Returns after the keeper has been through all segments at least once since the call.
__attribute__((unused)) static void rig_keeper_round(struct spool *spool)
{
    for (int i = 0; i < 2; i++) { // the second begins after the first has ended
        atomic_store(&spool->retention_due, true);
        keeper_wake(spool);
        KIT_UNTIL(!atomic_load(&spool->retention_due));
    }
}

__attribute__((unused)) static bool rig_has(const char *dir, uint64_t first)
{
    char name[64];
    snprintf(name, sizeof(name), SPOOL_SEGMENT_NAME, (unsigned long long)first);
    return kit_files(dir, name, NULL, 0) == 1;
}

__attribute__((unused)) static struct spool_stats rig_stats(struct spool *spool)
{
    struct spool_stats stats;
    spool_stats_get(spool, &stats);
    return stats;
}

// Blocks on disk of all files, counted anew.
static uint64_t rig_sum_bytes(const char *dir)
{
    uint64_t bytes = 0;
    struct dirent **names;
    int n = scandir(dir, &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char path[1024];
        struct stat st;
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]->d_name);
        if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
            bytes += (uint64_t)st.st_blocks * 512;
        free(names[i]);
    }
    free(names);
    return bytes;
}

// A file that is renamed or made while its directory is read counts twice or not at all, which no disk does: until two readings agree.
__attribute__((unused)) static uint64_t rig_disk_bytes(const char *dir)
{
    uint64_t before, bytes = rig_sum_bytes(dir);
    do {
        before = bytes;
        bytes = rig_sum_bytes(dir);
    } while (bytes != before);
    return bytes;
}

#endif
