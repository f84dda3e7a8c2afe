// SPDX-License-Identifier: Apache-2.0
// Durable appends to the spool beside the machine's own append + fdatasync of the same bytes, in turns in the same run.
//   usage: bench_spool [DIRECTORY]   (default: $TMPDIR or /tmp; it makes a directory in there and removes it)
#include "storage/lane.h"
#include "storage/stats.h"
#include "tests/bench/bench_kit.h"

#define ROUNDS   12u
#define ROUND_NS 400000000ull

static uint64_t time_raw(int fd, const uint8_t *bytes, unsigned n)
{
    uint64_t begun = weir_now_ns();
    if (write(fd, bytes, (size_t)n * BENCH_REQUEST_BYTES) != (ssize_t)((size_t)n * BENCH_REQUEST_BYTES) ||
        fdatasync(fd) != 0)
        bench_fail("write");
    return weir_now_ns() - begun;
}

// Takes turns of 0.4 s, so that both see the same disk.
static void measure(struct spool *spool, struct spool_lane *lane, const char *file, unsigned n)
{
    struct bench_wait wait = BENCH_WAIT;
    struct bench_samples raw = {0}, durable = {0};
    struct block_builder *builder = block_builder_new(WEIR_TRACES, (struct weir_slice){0}, 1);
    uint8_t *bytes = malloc((size_t)n * BENCH_REQUEST_BYTES);
    int fd = open(file, O_CREAT | O_TRUNC | O_WRONLY | O_APPEND, 0600);
    if (builder == NULL || bytes == NULL || fd < 0)
        bench_fail("setup");
    memset(bytes, 0x5a, (size_t)n * BENCH_REQUEST_BYTES);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (uint64_t begun = weir_now_ns(); weir_now_ns() - begun < ROUND_NS;)
            bench_add(&raw, time_raw(fd, bytes, n));
        for (uint64_t begun = weir_now_ns(); weir_now_ns() - begun < ROUND_NS;)
            bench_add(&durable, bench_append(spool, bench_block(builder, n, &wait), &wait));
        struct spool_stats stats; // let go of what was written
        spool_stats_get(spool, &stats);
        struct spool_outcome outcome = {.delivered = stats.items_total[WEIR_TRACES]};
        spool_lane_settle(lane, 0, stats.next_block, &outcome);
        if (ftruncate(fd, 0) != 0)
            bench_fail("truncate");
    }
    printf("%3u requests of 8 KiB   append+fdatasync p50 %6.0f us p99 %6.0f us   spool p50 %6.0f us p99 %6.0f us   p50 "
           "%.2f x\n",
           n, bench_at(&raw, 0.5), bench_at(&raw, 0.99), bench_at(&durable, 0.5), bench_at(&durable, 0.99),
           bench_at(&durable, 0.5) / bench_at(&raw, 0.5));
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
        bench_fail("make directory");
    struct spool_options options = {
        .directory = path, .max_bytes = 8ull << 30, .segment_bytes = 64u << 20, .holder = "bench_spool"};
    struct spool *spool;
    struct spool_lane *lane;
    struct weir_err err;
    if (spool_open(&options, &spool, NULL, &err) != WEIR_OK ||
        spool_lane_open(spool, "bench", WEIR_TRACES, SPOOL_START_NOW, &lane, &err) != WEIR_OK)
        bench_fail(err.text);
    snprintf(file, sizeof(file), "%s.raw", path);
    static const unsigned groups[] = {1, 8, 64};
    for (size_t i = 0; i < WEIR_COUNT(groups); i++)
        measure(spool, lane, file, groups[i]);
    spool_close(spool);
    bench_remove_directory(path);
    return 0;
}
