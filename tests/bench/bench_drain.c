// SPDX-License-Identifier: Apache-2.0
// How fast a backlog is read from sealed segments, checksums included, for blocks of several sizes: with the files in the page cache, and dropped
// from it before.
//   usage: bench_drain [DIRECTORY [MIB]]   (default: $TMPDIR or /tmp, 256 MiB; it makes a directory in there and removes it)
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "storage/lane.h"
#include "storage/spool.h"

#define ROUNDS 5u

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t done_one = PTHREAD_COND_INITIALIZER;
static unsigned waiting;

static void fail(const char *what)
{
    fprintf(stderr, "bench_drain: %s\n", what);
    exit(1);
}

static void done(struct block *block, int result)
{
    block_free(block);
    if (result != WEIR_OK)
        fail("an append was refused");
    pthread_mutex_lock(&lock);
    waiting--;
    pthread_cond_signal(&done_one);
    pthread_mutex_unlock(&lock);
}

static void fill(struct spool *spool, size_t block_bytes, uint64_t bytes)
{
    struct block_builder *builder = block_builder_new(WEIR_LOGS, (struct weir_slice){0}, 1);
    uint64_t x = 88172645463325252ull, *raw = malloc(block_bytes + 8);
    if (builder == NULL || raw == NULL)
        fail("no memory");
    for (uint64_t stored = 0; stored < bytes; stored += block_bytes) {
        struct block *block;
        struct block_request request = {.items = 1, .received_ns = 1};
        for (size_t i = 0; i < block_bytes / 8; i++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            raw[i] = x;
        }
        if (block_builder_add(builder, (struct weir_slice){(uint8_t *)raw, block_bytes}, &request, NULL) != WEIR_OK ||
            block_builder_seal(builder, &block, NULL) != WEIR_OK)
            fail("no memory");
        pthread_mutex_lock(&lock);
        while (waiting * block_bytes >= 16u << 20)
            pthread_cond_wait(&done_one, &lock);
        waiting++;
        pthread_mutex_unlock(&lock);
        spool_append(spool, block, done);
    }
    pthread_mutex_lock(&lock);
    while (waiting > 0)
        pthread_cond_wait(&done_one, &lock);
    pthread_mutex_unlock(&lock);
    block_builder_free(builder);
    free(raw);
}

static void each_file(const char *path, bool remove)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        int fd = openat(dirfd(dir), entry->d_name, O_RDONLY);
        if (fd >= 0) {
            fdatasync(fd);
            posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
            close(fd);
        }
        if (remove)
            unlinkat(dirfd(dir), entry->d_name, 0);
    }
    if (dir != NULL)
        closedir(dir);
}

// Reads all there is, without settling it. MB/s of stored bytes.
static double drain(struct spool *spool)
{
    struct spool_reader *reader = spool_reader_new(spool);
    uint64_t begun = weir_now_ns(), bytes = 0, from = 0, skip_to;
    struct block_view view;
    while (spool_reader_next(reader, WEIR_LOGS, from, SPOOL_END, &view, &skip_to, NULL) == WEIR_OK) {
        bytes += view.frame.len;
        from = view.number + 1;
        block_view_release(&view);
    }
    spool_reader_free(reader);
    return (double)bytes * 1000 / (double)(weir_now_ns() - begun);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void measure(const char *path, size_t block_bytes, uint64_t bytes)
{
    struct spool_options options = {
        .directory = path, .max_bytes = 64ull << 30, .segment_bytes = 64u << 20, .holder = "bench_drain"};
    struct weir_err err;
    struct spool *spool;
    struct spool_lane *lane;
    double warm[ROUNDS], cold[ROUNDS];
    if (spool_open(&options, &spool, NULL, &err) != WEIR_OK ||
        spool_lane_open(spool, "bench", WEIR_LOGS, SPOOL_START_NOW, &lane, &err) != WEIR_OK)
        fail(err.text);
    fill(spool, block_bytes, bytes);
    spool_close(spool); // and open again: nothing is in memory, all is sealed
    if (spool_open(&options, &spool, NULL, &err) != WEIR_OK)
        fail(err.text);
    for (unsigned i = 0; i < ROUNDS; i++) {
        drain(spool);
        warm[i] = drain(spool);
        spool_close(spool);
        each_file(path, false);
        if (spool_open(&options, &spool, NULL, &err) != WEIR_OK)
            fail(err.text);
        cold[i] = drain(spool);
    }
    qsort(warm, ROUNDS, sizeof(double), by_value);
    qsort(cold, ROUNDS, sizeof(double), by_value);
    printf("blocks of %7zu bytes   in memory %6.0f MB/s   from disk %6.0f MB/s\n", block_bytes, warm[ROUNDS / 2],
           cold[ROUNDS / 2]);
    spool_close(spool);
    each_file(path, true);
}

int main(int argc, char **argv)
{
    char path[512];
    const char *base = argc > 1 ? argv[1] : getenv("TMPDIR");
    uint64_t mib = argc > 2 ? strtoull(argv[2], NULL, 10) : 256;
    snprintf(path, sizeof(path), "%s/weir-bench-XXXXXX", base != NULL ? base : "/tmp");
    if (mkdtemp(path) == NULL)
        fail("make directory");
    static const size_t sizes[] = {1024, 8192, 65536, 1048576};
    for (size_t i = 0; i < WEIR_COUNT(sizes); i++)
        measure(path, sizes[i], mib << 20);
    rmdir(path);
    return 0;
}
