// SPDX-License-Identifier: Apache-2.0
// What the spool's tests share: directories of their own, blocks whose content can be told again, appends that wait.
#ifndef TESTS_UNIT_SPOOL_KIT_H
#define TESTS_UNIT_SPOOL_KIT_H

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/lane.h"
#include "storage/spool.h"
#include "storage/stats.h"

#define MIB (1024ull * 1024)

// In memory where there is such a place: for tests of many short runs that do not need a disk.
__attribute__((unused)) static char *kit_fast_directory(void)
{
    char path[64] = "/dev/shm/weir-spool-XXXXXX";
    return mkdtemp(path) != NULL ? strdup(path) : NULL;
}

__attribute__((unused)) static char *kit_directory(void)
{
    const char *base = getenv("TMPDIR");
    char path[512];
    snprintf(path, sizeof(path), "%s/weir-spool-XXXXXX", base != NULL ? base : "/tmp");
    cr_assert_not_null(mkdtemp(path));
    return strdup(path);
}

__attribute__((unused)) static void kit_empty_directory(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir != NULL)
        closedir(dir);
}

__attribute__((unused)) static void kit_remove_directory(char *path)
{
    kit_empty_directory(path);
    rmdir(path);
    free(path);
}

// Files in the directory whose name holds `part`; the first one's path in `out` when given.
__attribute__((unused)) static unsigned kit_files(const char *path, const char *part, char *out, size_t cap)
{
    struct dirent **names;
    unsigned found = 0;
    int n = scandir(path, &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        if (strstr(names[i]->d_name, part) != NULL && found++ == 0 && out != NULL)
            snprintf(out, cap, "%s/%s", path, names[i]->d_name);
        free(names[i]);
    }
    if (n >= 0)
        free(names);
    return found;
}

// Bytes that follow from a seed and do not compress.
__attribute__((unused)) static void kit_fill(uint8_t *p, size_t len, uint64_t seed)
{
    uint64_t x = seed * 0x9E3779B97F4A7C15ull + 1;
    for (size_t i = 0; i < len; i++) {
        if (i % 8 == 0) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
        }
        p[i] = (uint8_t)(x >> 8 * (i % 8));
    }
    if (len >= 8)
        weir_put_u64(p, seed);
}

// One request of `len` bytes from `seed`, with 1 + seed % 5 items.
__attribute__((unused)) static uint64_t kit_items(uint64_t seed)
{
    return 1 + seed % 5;
}

__attribute__((unused)) static struct block *kit_block(enum weir_signal signal, uint64_t seed, size_t len)
{
    struct weir_err err = {0};
    struct block_builder *builder = block_builder_new(signal, (struct weir_slice){(const uint8_t *)"tenant", 6}, 1);
    uint8_t *raw = malloc(len + 1);
    kit_fill(raw, len, seed);
    struct block_request request = {
        .items = kit_items(seed), .received_ns = 1000 + seed, .time_min_ns = 5, .time_max_ns = 9};
    cr_assert_eq(block_builder_add(builder, (struct weir_slice){raw, len}, &request, &err), WEIR_OK, "%s", err.text);
    struct block *block;
    cr_assert_eq(block_builder_seal(builder, &block, &err), WEIR_OK, "%s", err.text);
    block_builder_free(builder);
    free(raw);
    return block;
}

// The seed of a block that kit_block made, after its content is found to be what the seed says.
__attribute__((unused)) static uint64_t kit_check_view(const struct block_view *view)
{
    struct weir_err err = {0};
    struct weir_buf raw = {0};
    cr_assert_eq(block_view_decode(view, &raw, &err), WEIR_OK, "%s", err.text);
    cr_assert_geq(raw.len, 8);
    assert(raw.data != NULL);
    uint64_t seed = weir_get_u64(raw.data);
    uint8_t *expected = malloc(raw.len);
    kit_fill(expected, raw.len, seed);
    cr_assert(memcmp(raw.data, expected, raw.len) == 0, "block %llu holds other bytes",
              (unsigned long long)view->number);
    cr_assert_eq(view->items, kit_items(seed));
    free(expected);
    weir_buf_free(&raw);
    return seed;
}

// Counts completions; a block's owner is the struct.
struct kit_wait {
    pthread_mutex_t lock;
    pthread_cond_t done;
    unsigned pending, ok, failed;
    int last;
};
#define KIT_WAIT                                                                                                       \
    {                                                                                                                  \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0, 0                                                \
    }

__attribute__((unused)) static void kit_done(struct block *block, int result)
{
    struct kit_wait *wait = block->owner;
    block_free(block);
    pthread_mutex_lock(&wait->lock);
    wait->pending--;
    wait->ok += result == WEIR_OK;
    wait->failed += result != WEIR_OK;
    wait->last = result;
    pthread_cond_signal(&wait->done);
    pthread_mutex_unlock(&wait->lock);
}

__attribute__((unused)) static void kit_send(struct spool *spool, struct kit_wait *wait, struct block *chain)
{
    pthread_mutex_lock(&wait->lock);
    for (struct block *block = chain; block != NULL; block = block->next) {
        block->owner = wait;
        wait->pending++;
    }
    pthread_mutex_unlock(&wait->lock);
    spool_append(spool, chain, kit_done);
}

__attribute__((unused)) static int kit_join(struct kit_wait *wait)
{
    pthread_mutex_lock(&wait->lock);
    while (wait->pending > 0)
        pthread_cond_wait(&wait->done, &wait->lock);
    int last = wait->last;
    pthread_mutex_unlock(&wait->lock);
    return last;
}

// One block, durable or refused when it returns.
__attribute__((unused)) static int kit_append(struct spool *spool, enum weir_signal signal, uint64_t seed, size_t len)
{
    struct kit_wait wait = KIT_WAIT;
    kit_send(spool, &wait, kit_block(signal, seed, len));
    return kit_join(&wait);
}

__attribute__((unused)) static struct spool_options kit_options(const char *directory, uint64_t max_mib)
{
    return (struct spool_options){
        .directory = directory, .max_bytes = max_mib * MIB, .segment_bytes = MIB, .holder = "weir test"};
}

__attribute__((unused)) static struct spool *kit_open(const char *directory, uint64_t max_mib,
                                                      struct spool_report *report)
{
    struct weir_err err = {0};
    struct spool_options options = kit_options(directory, max_mib);
    struct spool *spool;
    cr_assert_eq(spool_open(&options, &spool, report, &err), WEIR_OK, "%s", err.text);
    return spool;
}

__attribute__((unused)) static struct spool_lane *kit_lane(struct spool *spool, const char *upstream,
                                                           enum weir_signal signal, enum spool_start start)
{
    struct weir_err err = {0};
    struct spool_lane *lane;
    cr_assert_eq(spool_lane_open(spool, upstream, signal, start, &lane, &err), WEIR_OK, "%s", err.text);
    return lane;
}

// The ledger of a lane, which must add up whenever it is looked at.
__attribute__((unused)) static struct spool_lane_stats kit_ledger(struct spool_lane *lane)
{
    struct spool_lane_stats s;
    spool_lane_stats_get(lane, &s);
    cr_assert_eq(s.accepted, s.delivered + s.pending + s.dead_lettered + s.evicted + s.discarded,
                 "accepted %llu = %llu delivered + %llu pending + %llu dead + %llu evicted + %llu discarded",
                 (unsigned long long)s.accepted, (unsigned long long)s.delivered, (unsigned long long)s.pending,
                 (unsigned long long)s.dead_lettered, (unsigned long long)s.evicted, (unsigned long long)s.discarded);
    return s;
}

// Waits for something the keeper does in its own time. Fails the test after 20 s.
#define KIT_UNTIL(condition)                                                                                           \
    do {                                                                                                               \
        uint64_t kit_deadline = weir_now_ns() + 20000000000ull;                                                        \
        while (!(condition)) {                                                                                         \
            cr_assert_lt(weir_now_ns(), kit_deadline, "%s", "waited in vain for " #condition);                         \
            struct timespec kit_pause = {0, 1000000};                                                                  \
            nanosleep(&kit_pause, NULL);                                                                               \
        }                                                                                                              \
    } while (0)

// Delivers everything pending in a lane, block by block; returns how many. `seen` (may be NULL) is told each one's seed.
__attribute__((unused)) static unsigned kit_drain(struct spool *spool, struct spool_lane *lane, enum weir_signal signal,
                                                  unsigned most,
                                                  void (*seen)(void *ctx, uint64_t number, uint64_t seed), void *ctx)
{
    struct spool_reader *reader = spool_reader_new(spool);
    unsigned n = 0;
    struct spool_interval in;
    while (n < most && spool_lane_intervals(lane, &in, 1) > 0) {
        struct block_view view;
        struct weir_err err = {0};
        uint64_t skip_to;
        int rc = spool_reader_next(reader, signal, in.first, in.end, &view, &skip_to, &err);
        if (rc == WEIR_E_AGAIN && skip_to <= in.first)
            break;
        if (rc == WEIR_E_AGAIN) { // nothing of this lane up to there
            struct spool_outcome nothing = {0};
            spool_lane_settle(lane, in.first, skip_to, &nothing);
            continue;
        }
        if (rc == WEIR_E_CORRUPT) {
            spool_lane_lost(lane, view.number, skip_to);
            continue;
        }
        if (rc == WEIR_E_IO || rc == WEIR_E_FULL) // a disk that fails on purpose; elsewhere the count is too small
            break;
        cr_assert_eq(rc, WEIR_OK, "%s", err.text);
        uint64_t seed = kit_check_view(&view);
        if (seen != NULL)
            seen(ctx, view.number, seed);
        struct spool_outcome outcome = {.delivered = view.items};
        uint64_t number = view.number;
        block_view_release(&view);
        spool_lane_settle(lane, in.first, number + 1, &outcome);
        n++;
    }
    spool_reader_free(reader);
    return n;
}

#endif
