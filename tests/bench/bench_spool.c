// SPDX-License-Identifier: Apache-2.0
// Durable appends to the spool beside the machine's own append + fdatasync of the same bytes, in turns in the same run.
//   usage: bench_spool [DIRECTORY]   (default: $TMPDIR or /tmp; it makes a directory in there and removes it)
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "storage/spool.h"

#define REQUEST_BYTES 8192u
#define ROUNDS        12u
#define ROUND_NS      400000000ull
#define SAMPLES_MAX   (1u << 20)

struct samples {
    uint64_t *ns;
    size_t n;
};

struct wait {
    pthread_mutex_t lock;
    pthread_cond_t done;
    unsigned pending;
};

static void fail(const char *what)
{
    fprintf(stderr, "bench_spool: %s\n", what);
    exit(1);
}

static void add(struct samples *samples, uint64_t ns)
{
    if (samples->ns == NULL)
        samples->ns = malloc(SAMPLES_MAX * sizeof(uint64_t));
    if (samples->ns == NULL || samples->n == SAMPLES_MAX)
        fail("too many samples");
    samples->ns[samples->n++] = ns;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static double at(struct samples *samples, double part)
{
    qsort(samples->ns, samples->n, sizeof(uint64_t), by_value);
    return (double)samples->ns[(size_t)((double)(samples->n - 1) * part)] / 1000;
}

static void done(struct block *block, int result)
{
    struct wait *wait = block->owner;
    block_free(block);
    if (result != WEIR_OK)
        fail("an append was refused");
    pthread_mutex_lock(&wait->lock);
    if (--wait->pending == 0)
        pthread_cond_signal(&wait->done);
    pthread_mutex_unlock(&wait->lock);
}

// One block of n requests, as an ingest loop hands over what came during a commit. Their bytes do not compress, so that the spool and the
// file store the same amount.
static struct block *make_block(struct block_builder *builder, unsigned n, struct wait *wait)
{
    static uint64_t x = 88172645463325252ull;
    struct block *block;
    for (unsigned i = 0; i < n; i++) {
        uint64_t raw[REQUEST_BYTES / 8];
        for (size_t j = 0; j < WEIR_COUNT(raw); j++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            raw[j] = x;
        }
        struct block_request request = {.items = 10, .received_ns = 1};
        if (block_builder_add(builder, (struct weir_slice){(uint8_t *)raw, sizeof(raw)}, &request, NULL) != WEIR_OK)
            fail("no memory");
    }
    if (block_builder_seal(builder, &block, NULL) != WEIR_OK)
        fail("no memory");
    block->owner = wait;
    return block;
}

static uint64_t time_spool(struct spool *spool, struct block *block, struct wait *wait)
{
    wait->pending = 1;
    uint64_t begun = weir_now_ns();
    spool_append(spool, block, done);
    pthread_mutex_lock(&wait->lock);
    while (wait->pending > 0)
        pthread_cond_wait(&wait->done, &wait->lock);
    pthread_mutex_unlock(&wait->lock);
    return weir_now_ns() - begun;
}

static uint64_t time_raw(int fd, const uint8_t *bytes, unsigned n)
{
    uint64_t begun = weir_now_ns();
    if (write(fd, bytes, (size_t)n * REQUEST_BYTES) != (ssize_t)((size_t)n * REQUEST_BYTES) || fdatasync(fd) != 0)
        fail("write");
    return weir_now_ns() - begun;
}

static void remove_directory(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir != NULL)
        closedir(dir);
    rmdir(path);
}

// Takes turns of 0.4 s, so that both see the same disk.
static void measure(struct spool *spool, struct spool_lane *lane, const char *file, unsigned n)
{
    struct wait wait = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    struct samples raw = {0}, durable = {0};
    struct block_builder *builder = block_builder_new(WEIR_TRACES, (struct weir_slice){0}, 1);
    uint8_t *bytes = malloc((size_t)n * REQUEST_BYTES);
    int fd = open(file, O_CREAT | O_TRUNC | O_WRONLY | O_APPEND, 0600);
    if (builder == NULL || bytes == NULL || fd < 0)
        fail("setup");
    memset(bytes, 0x5a, (size_t)n * REQUEST_BYTES);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (uint64_t begun = weir_now_ns(); weir_now_ns() - begun < ROUND_NS;)
            add(&raw, time_raw(fd, bytes, n));
        for (uint64_t begun = weir_now_ns(); weir_now_ns() - begun < ROUND_NS;)
            add(&durable, time_spool(spool, make_block(builder, n, &wait), &wait));
        struct spool_stats stats; // let go of what was written
        spool_stats_get(spool, &stats);
        struct spool_outcome outcome = {.delivered = stats.items_total[WEIR_TRACES]};
        spool_lane_settle(lane, 0, stats.next_block, &outcome);
        if (ftruncate(fd, 0) != 0)
            fail("truncate");
    }
    printf("%3u requests of 8 KiB   append+fdatasync p50 %6.0f us p99 %6.0f us   spool p50 %6.0f us p99 %6.0f us   p50 "
           "%.2f x\n",
           n, at(&raw, 0.5), at(&raw, 0.99), at(&durable, 0.5), at(&durable, 0.99), at(&durable, 0.5) / at(&raw, 0.5));
    close(fd);
    unlink(file);
    free(bytes);
    free(raw.ns);
    free(durable.ns);
    block_builder_free(builder);
}

int main(int argc, char **argv)
{
    char path[512], file[600];
    const char *base = argc > 1 ? argv[1] : getenv("TMPDIR");
    snprintf(path, sizeof(path), "%s/weir-bench-XXXXXX", base != NULL ? base : "/tmp");
    if (mkdtemp(path) == NULL)
        fail("make directory");
    struct spool_options options = {
        .directory = path, .max_bytes = 8ull << 30, .segment_bytes = 64u << 20, .holder = "bench_spool"};
    struct spool *spool;
    struct spool_lane *lane;
    struct weir_err err;
    if (spool_open(&options, &spool, NULL, &err) != WEIR_OK ||
        spool_lane_open(spool, "bench", WEIR_TRACES, SPOOL_START_NOW, &lane, &err) != WEIR_OK)
        fail(err.text);
    snprintf(file, sizeof(file), "%s.raw", path);
    static const unsigned groups[] = {1, 8, 64};
    for (size_t i = 0; i < WEIR_COUNT(groups); i++)
        measure(spool, lane, file, groups[i]);
    spool_close(spool);
    remove_directory(path);
    return 0;
}
