// SPDX-License-Identifier: Apache-2.0
// Fills a spool for a relay to find: logs of numbered items (weir.test.id from 0 on, one a request) that do not compress.
//   usage: fill DIRECTORY MIB UPSTREAM [SEGMENT_MIB]        prints the number of requests
#include <inttypes.h>

#include "storage/lane.h"
#include "tests/bench/bench_kit.h"
#include "tests/tools/common/payload.h"

#define MIB              (1024ull * 1024)
#define RANDOM_BYTES     (64u * 1024u)
#define REQUESTS_PER_MIB 16u

// A log record whose body is random bytes, in front of the numbered one.
static void put_random(struct emitter *out)
{
    static uint64_t x = 88172645463325252ull, words[RANDOM_BYTES / 8];
    for (size_t i = 0; i < WEIR_COUNT(words); i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        words[i] = x;
    }
    size_t resource = emit_begin(out, 1, RANDOM_BYTES), scope = emit_begin(out, 2, RANDOM_BYTES);
    size_t record = emit_begin(out, 2, RANDOM_BYTES), body = emit_begin(out, 5, RANDOM_BYTES);
    emit_bytes(out, 7, words, sizeof(words));
    emit_end(out, body, RANDOM_BYTES);
    emit_end(out, record, RANDOM_BYTES);
    emit_end(out, scope, RANDOM_BYTES);
    emit_end(out, resource, RANDOM_BYTES);
}

static void fill(struct spool *spool, struct block_builder *builder, uint64_t mib)
{
    struct bench_wait wait = BENCH_WAIT;
    struct payload payload = {.signal = WEIR_LOGS, .stream = "fill", .base_unix_ns = weir_now_unix_ns(), .random = 1};
    struct emitter numbered = {0}, random = {0};
    struct block *block;
    for (uint64_t id = 0; id < mib * REQUESTS_PER_MIB;) {
        for (unsigned i = 0; i < REQUESTS_PER_MIB; i++, id++) {
            struct block_request request = {.items = 2, .received_ns = weir_now_unix_ns()};
            random.buf.len = 0;
            put_random(&random);
            if (random.failed || !payload_build(&payload, id, 1, &numbered) ||
                !weir_buf_append(&random.buf, numbered.buf.data, numbered.buf.len) ||
                block_builder_add(builder, (struct weir_slice){random.buf.data, random.buf.len}, &request, NULL) !=
                    WEIR_OK)
                bench_fail("no memory");
        }
        if (block_builder_seal(builder, &block, NULL) != WEIR_OK)
            bench_fail("no memory");
        block->owner = &wait;
        bench_append(spool, block, &wait);
    }
    weir_buf_free(&numbered.buf);
    weir_buf_free(&random.buf);
    printf("%" PRIu64 "\n", mib * REQUESTS_PER_MIB);
}

int main(int argc, char **argv)
{
    uint64_t mib = argc >= 4 ? strtoull(argv[2], NULL, 10) : 0;
    uint64_t segment_mib = argc > 4 ? strtoull(argv[4], NULL, 10) : 64;
    if (mib == 0) {
        fputs("usage: fill DIRECTORY MIB UPSTREAM [SEGMENT_MIB]\n", stderr);
        return 2;
    }
    struct spool_options options = {.directory = argv[1],
                                    .max_bytes = (mib * 2 + 4 * segment_mib + 64) * MIB,
                                    .segment_bytes = segment_mib * MIB,
                                    .holder = "fill"};
    struct spool *spool = NULL;
    struct spool_lane *lane;
    struct weir_err err;
    struct block_builder *builder = block_builder_new(WEIR_LOGS, (struct weir_slice){0}, 1);
    if (builder == NULL || spool_open(&options, &spool, NULL, &err) != WEIR_OK ||
        spool_lane_open(spool, argv[3], WEIR_LOGS, SPOOL_START_NOW, &lane, &err) != WEIR_OK)
        bench_fail(builder == NULL ? "no memory" : err.text);
    fill(spool, builder, mib);
    spool_close(spool);
    block_builder_free(builder);
    return 0;
}
