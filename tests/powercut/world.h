// SPDX-License-Identifier: Apache-2.0
// What was promised to whom, block by block: the reference that a spool found after a power cut is judged by.
#ifndef TESTS_POWERCUT_WORLD_H
#define TESTS_POWERCUT_WORLD_H

#include "storage/block.h"
#include "tests/powercut/trace.h"

#define WORLD_SEEDS     2048u
#define WORLD_UPSTREAMS 3u
#define WORLD_LANES     (WORLD_UPSTREAMS * WEIR_SIGNALS)

// One block in one lane.
enum {
    OWED = 1,      // it was handed over when the lane was there
    MAY_LACK = 2,  // it was settled
    MAY_HAVE = 4,  // it was not, or nobody was told that this is durable
    BURIED = 8,    // it was settled as a dead letter
    REPLAYED = 16, // a replay brought it, or may have
    UNSURE = 32,   // the lane was begun with what the spool held, and may have got it
    GONE = 64,     // it was evicted
};

struct world {
    uint32_t seeds; // handed over so far: a block's content follows from its number among them
    struct {
        uint32_t len;
        uint8_t signal, stream;
        bool acked;
    } seed[WORLD_SEEDS];
    uint8_t in_lane[WORLD_LANES][WORLD_SEEDS];
    bool lane_there[WORLD_LANES];
    uint64_t delivered_least[WORLD_LANES], delivered_most[WORLD_LANES]; // items, each time counted
    uint64_t evicted_again[WORLD_LANES]; // items that were evicted and came back by a replay: the file was still there
    uint64_t buried_least[WORLD_LANES], buried_most[WORLD_LANES];
    uint8_t letter[WORLD_UPSTREAMS][WORLD_SEEDS]; // 1: may be there, 2: is
    uint64_t acked;
};

void world_apply(struct world *world, const struct promise *promise);
// Applies it, and puts it into the record.
void world_promise(struct world *world, const struct promise *promise);
// The number of the next block, taken and entered in one step.
uint32_t world_append(struct world *world, enum weir_signal signal, uint8_t stream, uint32_t len);

extern const char *const world_upstreams[WORLD_UPSTREAMS];
uint64_t world_items(uint32_t seed);
struct block *world_block(enum weir_signal signal, uint32_t seed, uint32_t len);
// The content of a block that was found: its seed. UINT32_MAX, and `why`: not one that was handed over.
uint32_t world_recognize(const struct world *world, const struct block_view *view, char *why, size_t cap);
void world_fill(uint8_t *p, size_t len, uint32_t seed);

#endif
