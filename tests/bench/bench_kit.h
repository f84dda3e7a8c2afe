// SPDX-License-Identifier: Apache-2.0
// What the spool's benches share: samples and their percentiles, blocks that do not compress, an append that is waited for.
#ifndef WEIR_TESTS_BENCH_KIT_H
#define WEIR_TESTS_BENCH_KIT_H

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "storage/spool.h"

#define BENCH_SAMPLES_MAX   (1u << 20)
#define BENCH_REQUEST_BYTES 8192u

struct bench_samples {
    uint64_t *ns;
    size_t n;
};

struct bench_wait {
    pthread_mutex_t lock;
    pthread_cond_t done;
    unsigned pending;
};
#define BENCH_WAIT                                                                                                     \
    {                                                                                                                  \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0                                                         \
    }

static inline void bench_fail(const char *what)
{
    fprintf(stderr, "bench: %s\n", what);
    exit(1);
}

static inline void bench_add(struct bench_samples *samples, uint64_t ns)
{
    if (samples->ns == NULL)
        samples->ns = malloc(BENCH_SAMPLES_MAX * sizeof(uint64_t));
    if (samples->ns == NULL || samples->n == BENCH_SAMPLES_MAX)
        bench_fail("too many samples");
    samples->ns[samples->n++] = ns;
}

static inline int bench_by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

// The value that `part` of the samples do not exceed, in microseconds.
static inline double bench_at(struct bench_samples *samples, double part)
{
    if (samples->n == 0)
        return 0;
    qsort(samples->ns, samples->n, sizeof(uint64_t), bench_by_value);
    return (double)samples->ns[(size_t)((double)(samples->n - 1) * part)] / 1000;
}

static inline void bench_done(struct block *block, int result)
{
    struct bench_wait *wait = block->owner;
    block_free(block);
    if (result != WEIR_OK)
        bench_fail("an append was refused");
    pthread_mutex_lock(&wait->lock);
    if (--wait->pending == 0)
        pthread_cond_signal(&wait->done);
    pthread_mutex_unlock(&wait->lock);
}

// One block of n requests, as an ingest loop hands over what came during a commit. Their bytes do not compress, so that a spool stores as
// much as a file would.
static inline struct block *bench_block(struct block_builder *builder, unsigned n, struct bench_wait *wait)
{
    static uint64_t x = 88172645463325252ull;
    struct block *block;
    for (unsigned i = 0; i < n; i++) {
        uint64_t raw[BENCH_REQUEST_BYTES / 8];
        for (size_t j = 0; j < WEIR_COUNT(raw); j++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            raw[j] = x;
        }
        struct block_request request = {.items = 10, .received_ns = 1};
        if (block_builder_add(builder, (struct weir_slice){(uint8_t *)raw, sizeof(raw)}, &request, NULL) != WEIR_OK)
            bench_fail("no memory");
    }
    if (block_builder_seal(builder, &block, NULL) != WEIR_OK)
        bench_fail("no memory");
    block->owner = wait;
    return block;
}

// Appends it and waits until it is durable; returns how long that took, in ns.
static inline uint64_t bench_append(struct spool *spool, struct block *block, struct bench_wait *wait)
{
    wait->pending = 1;
    uint64_t begun = weir_now_ns();
    spool_append(spool, block, bench_done);
    pthread_mutex_lock(&wait->lock);
    while (wait->pending > 0)
        pthread_cond_wait(&wait->done, &wait->lock);
    pthread_mutex_unlock(&wait->lock);
    return weir_now_ns() - begun;
}

static inline void bench_remove_directory(const char *path)
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

#endif
