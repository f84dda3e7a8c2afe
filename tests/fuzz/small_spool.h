// SPDX-License-Identifier: Apache-2.0
// A small real spool in memory: some blocks of three signals and some dead letters. Gone at the end.
#ifndef WEIR_TESTS_FUZZ_SMALL_SPOOL_H
#define WEIR_TESTS_FUZZ_SMALL_SPOOL_H

#include <ftw.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "storage/dead_letter.h"
#include "storage/spool.h"

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)
#define BLOCKS 12u

static char directory[64];

static inline int remove_entry(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
    return remove(path);
}

static inline void remove_all(void)
{
    nftw(directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static inline int small_spool_open(struct spool **out, struct weir_err *err)
{
    struct spool_report report;
    struct spool_options options = {.directory = directory,
                                    .max_bytes = 64u << 20,
                                    .segment_bytes = 1u << 20,
                                    .keep_delivered_ns = UINT64_MAX / 4,
                                    .holder = "fuzz"};
    return spool_open(&options, out, &report, err);
}

static atomic_uint written;

static inline void on_written(struct block *block, int result)
{
    CHECK(result == WEIR_OK);
    block_free(block);
    atomic_fetch_add(&written, 1);
}

static inline void small_spool_fill(struct spool *spool)
{
    uint8_t raw[300] = {0};
    struct block_request request = {.items = 2, .received_ns = 1000};
    for (unsigned i = 0; i < BLOCKS; i++) {
        struct block_builder *builder =
            block_builder_new((enum weir_signal)(i % 3), (struct weir_slice){.data = NULL}, 1);
        struct block *block;
        CHECK(builder != NULL &&
              block_builder_add(builder, (struct weir_slice){raw, sizeof(raw)}, &request, NULL) == 0);
        CHECK(block_builder_seal(builder, &block, NULL) == WEIR_OK);
        block_builder_free(builder);
        spool_append(spool, block, on_written);
        while (atomic_load(&written) == i)
            sched_yield();
    }
    for (uint64_t i = 0; i < 3; i++) {
        struct spool_dead_letter letter = {.upstream = "a",
                                           .signal = WEIR_TRACES,
                                           .code = "X",
                                           .message = "no",
                                           .block = i,
                                           .items = 2,
                                           .received_ns = 1000,
                                           .raw = {raw, sizeof(raw)}};
        CHECK(spool_dead_letter_put(spool, &letter, NULL) == WEIR_OK);
    }
}

static inline void small_spool_make(void)
{
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(directory, sizeof(directory), "%s/weir-fuzz-XXXXXX", base);
    CHECK(mkdtemp(directory) != NULL);
    atexit(remove_all);
}

#endif
