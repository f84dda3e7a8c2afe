// SPDX-License-Identifier: Apache-2.0
// A large backlog beside a small one: commits, drain, disk and start-up, in turns in the same run, and a second fill beside the first.
//   usage: bench_backlog [GIB [DIRECTORY]]   (default: 8, $TMPDIR or /tmp; it makes directories in there and removes them)
#include <sys/stat.h>

#include "storage/lane.h"
#include "storage/stats.h"
#include "tests/bench/bench_kit.h"

#define MIB         (1024ull * 1024)
#define GIB         (1024 * MIB)
#define SMALL       (8 * MIB)
#define ROUNDS      60u
#define FILL_BLOCK  128u // requests, 1 MiB
#define STEP_BLOCK  8u   // 64 KiB
#define CURVE_STEPS 16u

struct side {
    char path[512];
    struct spool_options options;
    struct spool *spool;
    struct spool_lane *lane;
    struct spool_reader *reader;
    struct block_builder *builder;
    struct bench_wait wait;
    uint64_t at; // the next block to drain
    struct bench_samples commits;
    uint64_t drained_bytes, drained_ns;
};

static uint64_t side_open(struct side *side)
{
    struct weir_err err;
    uint64_t begun = weir_now_ns();
    if (spool_open(&side->options, &side->spool, NULL, &err) != WEIR_OK ||
        spool_lane_open(side->spool, "bench", WEIR_TRACES, SPOOL_START_NOW, &side->lane, &err) != WEIR_OK)
        bench_fail(err.text);
    uint64_t took = weir_now_ns() - begun;
    side->reader = spool_reader_new(side->spool);
    if (side->reader == NULL)
        bench_fail("no memory");
    return took;
}

static void side_close(struct side *side)
{
    spool_reader_free(side->reader);
    spool_close(side->spool);
}

static void side_make(struct side *side, const char *base, uint64_t max_bytes)
{
    snprintf(side->path, sizeof(side->path), "%s/weir-bench-XXXXXX", base);
    if (mkdtemp(side->path) == NULL)
        bench_fail("make directory");
    side->options = (struct spool_options){
        .directory = side->path, .max_bytes = max_bytes, .segment_bytes = 64 * MIB, .holder = "bench_backlog"};
    side->wait = (struct bench_wait)BENCH_WAIT;
    side->builder = block_builder_new(WEIR_TRACES, (struct weir_slice){0}, 1);
    if (side->builder == NULL)
        bench_fail("no memory");
    side_open(side);
}

static uint64_t pending(struct side *side)
{
    struct spool_lane_stats stats;
    spool_lane_stats_get(side->lane, &stats);
    return stats.pending_bytes;
}

// What the file system has given to the spool's files.
static uint64_t disk_bytes(const struct side *side)
{
    uint64_t bytes = 0;
    struct stat st;
    struct dirent *entry;
    DIR *dir = opendir(side->path);
    while (dir != NULL && (entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.' && fstatat(dirfd(dir), entry->d_name, &st, 0) == 0)
            bytes += (uint64_t)st.st_blocks * 512;
    if (dir != NULL)
        closedir(dir);
    return bytes;
}

// Forgets the files' pages, so that a drain reads the disk as after a long outage.
static void drop_cache(const struct side *side)
{
    struct dirent *entry;
    DIR *dir = opendir(side->path);
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        int fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
            posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
            close(fd);
        }
    }
    if (dir != NULL)
        closedir(dir);
}

static void append(struct side *side, unsigned requests, struct bench_samples *samples)
{
    bench_add(samples, bench_append(side->spool, bench_block(side->builder, requests, &side->wait), &side->wait));
}

// Fills by commits of one block of 1 MiB each; `other` beside it, block by block, when there is one, so that both see the same disk.
static void fill(struct side *side, struct side *other, uint64_t bytes)
{
    struct side *sides[] = {side, other};
    for (size_t s = 0; s < 2 && sides[s] != NULL; s++)
        sides[s]->commits.n = 0;
    while (pending(side) < bytes)
        for (size_t s = 0; s < 2 && sides[s] != NULL; s++)
            append(sides[s], FILL_BLOCK, &sides[s]->commits);
}

// The second fill of one spool beside the first of another.
static void fill_again(struct side *again, struct side *fresh, uint64_t bytes)
{
    struct side *sides[] = {fresh, again};
    double p50[2], p99[2];
    fill(again, fresh, bytes);
    for (size_t s = 0; s < 2; s++) {
        p50[s] = bench_at(&sides[s]->commits, 0.5);
        p99[s] = bench_at(&sides[s]->commits, 0.99);
    }
    printf("second fill beside a first one: commits of 1 MiB: p50 %.0f us, first %.0f us: %.2f x; p99 %.0f us, first "
           "%.0f us: %.2f x\n",
           p50[1], p50[0], p50[1] / p50[0], p99[1], p99[0], p99[1] / p99[0]);
    fflush(stdout);
}

// Reads, checks and settles `bytes` block by block, as a replay worker does without its socket.
static void drain(struct side *side, uint64_t bytes)
{
    struct block_view view;
    struct weir_err err;
    uint64_t begun = weir_now_ns(), done = 0, skip_to;
    while (done < bytes) {
        int code = spool_reader_next(side->reader, WEIR_TRACES, side->at, SPOOL_END, &view, &skip_to, &err);
        if (code == WEIR_E_AGAIN)
            break;
        if (code != WEIR_OK)
            bench_fail(err.text);
        struct spool_outcome outcome = {.delivered = view.items};
        uint64_t number = view.number;
        done += view.raw_bytes;
        block_view_release(&view);
        spool_lane_settle(side->lane, side->at, number + 1, &outcome);
        side->at = number + 1;
    }
    side->drained_bytes += done;
    side->drained_ns += weir_now_ns() - begun;
}

static double drain_mb(const struct side *side)
{
    return (double)side->drained_bytes * 1000 / (double)side->drained_ns;
}

// Both at a backlog that stays as it is: 8 MiB in by commits of 64 KiB, 8 MiB out.
static void steady(struct side *small, struct side *large, const char *what, bool cold)
{
    struct side *sides[] = {small, large};
    for (size_t s = 0; s < 2; s++) {
        sides[s]->commits.n = 0;
        sides[s]->drained_bytes = sides[s]->drained_ns = 0;
    }
    for (unsigned round = 0; round < ROUNDS; round++)
        for (size_t s = 0; s < 2; s++) {
            struct side *side = sides[(s + round) % 2];
            for (unsigned i = 0; i < SMALL / (STEP_BLOCK * BENCH_REQUEST_BYTES); i++)
                append(side, STEP_BLOCK, &side->commits);
            if (cold)
                drop_cache(side);
            drain(side, SMALL);
        }
    double p50[2], p99[2];
    for (size_t s = 0; s < 2; s++) {
        p50[s] = bench_at(&sides[s]->commits, 0.5);
        p99[s] = bench_at(&sides[s]->commits, 0.99);
    }
    printf("%s: commits of 64 KiB: p50 %.0f us with 8 MiB, %.0f us with the large backlog: %.2f x; p99 %.0f, %.0f us: "
           "%.2f x; drain %.0f, %.0f MB/s\n",
           what, p50[0], p50[1], p50[1] / p50[0], p99[0], p99[1], p99[1] / p99[0], drain_mb(small), drain_mb(large));
    fflush(stdout);
}

// What the disk gives back while the backlog goes.
static void drain_all(struct side *side, const char *what)
{
    uint64_t whole = pending(side), left = whole, most = 0;
    side->drained_bytes = side->drained_ns = 0;
    printf("%s: pending / on disk, MiB:", what);
    for (unsigned step = 0; left > 0; step++) {
        uint64_t disk = disk_bytes(side);
        if (step > 0 && disk > left)
            most = disk - left > most ? disk - left : most;
        printf(" %llu/%llu", (unsigned long long)(left / MIB), (unsigned long long)(disk / MIB));
        drain(side, whole / CURVE_STEPS);
        left = pending(side);
    }
    printf("; %.0f MB/s; at most %llu MiB more than pending\n", drain_mb(side), (unsigned long long)(most / MIB));
    fflush(stdout);
}

static double reopen_ms(struct side *side, bool cold)
{
    side_close(side);
    if (cold)
        drop_cache(side);
    return (double)side_open(side) / 1e6;
}

static void side_remove(struct side *side)
{
    side_close(side);
    block_builder_free(side->builder);
    free(side->commits.ns);
    bench_remove_directory(side->path);
}

int main(int argc, char **argv)
{
    const char *base = argc > 2 ? argv[2] : getenv("TMPDIR");
    uint64_t gib = argc > 1 ? strtoull(argv[1], NULL, 10) : 8;
    static struct side small, large, fresh;
    if (gib == 0 || gib > 64)
        bench_fail("usage: bench_backlog [GIB [DIRECTORY]]");
    base = base != NULL ? base : "/tmp";
    side_make(&small, base, GIB);
    side_make(&large, base, (gib + 2) * GIB);
    fill(&small, NULL, SMALL);
    fill(&large, NULL, gib * GIB);
    for (unsigned run = 0; run < 2; run++) {
        steady(&small, &large, "beside each other, warm", false);
        steady(&small, &large, "beside each other, cold", true);
    }
    double start[4] = {reopen_ms(&small, false), reopen_ms(&large, false), reopen_ms(&small, true),
                       reopen_ms(&large, true)};
    printf("start-up: warm %.1f ms with 8 MiB, %.1f with the large backlog; cold %.1f, %.1f ms\n", start[0], start[1],
           start[2], start[3]);
    drop_cache(&large);
    drain_all(&large, "first drain, cold");
    side_make(&fresh, base, (gib + 2) * GIB);
    fill_again(&large, &fresh, gib * GIB);
    side_remove(&fresh);
    steady(&small, &large, "after the second fill, warm", false);
    drain_all(&large, "second drain, warm");
    side_remove(&large);
    side_remove(&small);
    return 0;
}
