// SPDX-License-Identifier: Apache-2.0
// What was refused, or is too large, sent in parts (replay_split.c), and which part is next (replay_halve.c). Private to the replay worker, in
// its thread.
#ifndef WEIR_RELAY_REPLAY_SPLIT_H
#define WEIR_RELAY_REPLAY_SPLIT_H

#include "relay/positions.h"
#include "relay/replay_export.h"
#include "relay/replay_part.h"
#include "storage/lane.h"

struct replay_lane;

#define SPLIT_FEW         64 // items of an export, up to which its parts may begin and end within blocks
#define SPLIT_SLACK_PART  8  // a cut may lie so much of the shorter side off the wanted place, for a better boundary
#define SPLIT_TRIES_MAX   10 // of one item whose refusal may pass (U17), before it counts as refused for good
#define SPLIT_ADJACENT    2  // given up side by side: then what is next to them goes by itself
#define SPLIT_SINGLES     16 // items given up one by one, before more are given up together
#define SPLIT_REACH       2  // from the second given up on: the next part goes so many times as far as they lay apart
#define SPLIT_REACH_GROWS 4  // times, with each part that is taken

// An export that was refused, or a block that is larger than an export may be, which is sent in parts. Places in it are ordinals of items, over
// all its blocks.
struct split {
    bool active, under_way;
    struct export *whole;
    uint64_t starts[EXPORT_BLOCKS_MAX + 1]; // ordinal of each block's first item, and one more
    uint64_t at;                            // everything before has an end
    uint64_t bad_end;    // [at, bad_end) holds something that is refused; at or below `at`: nothing is known
    uint64_t same_end;   // [at, same_end) was taken before, or not: as a whole; at or below `at`: nothing is known
    uint64_t to;         // the part under way is [at, to)
    uint64_t one_by_one; // below it, one block a part: one of them is damaged
    bool by_size;        // bad for its size
    bool repeated;       // some of it was taken before
    uint64_t max_bytes;  // of a part: less was refused for its size
    uint64_t given_up;   // end of what was given up last; 0: nothing yet
    uint64_t reach;      // items of a part of which nothing is known; 0: all that is left
    uint64_t lesson_end, lesson_bytes; // refused for its size; true when all up to lesson_end is taken in parts
    uint64_t settled;                  // block numbers below it are settled
    struct spool_outcome outcome;      // of what lies between there and `at`
    uint32_t attempts;                 // refusals of what [at, bad_end) lies in
    uint32_t tries;                    // in a row, of the single item under way, that came to a SPLIT which may pass
    struct part_block block;
    size_t block_index;
    struct weir_buf joined; // a part of several blocks
    struct weir_err err;
};

// replay_split.c
// Takes over an export that has ended, or was not sent, with its views: what is in it goes in parts, after what the split has already.
// `refusal`: the upstream's, NULL: it is too large.
void split_take_over(struct export *export, const struct verdict *refusal);
bool split_has_work(const struct replay_lane *lane);
// Where it has work and nothing under way. False: it cannot send now.
bool split_send_next(struct replay_lane *lane);
// The lane's intervals changed: forgets blocks that were evicted since, while nothing of the split is under way.
void split_drop_gone(struct replay_lane *lane);
void split_part_done(struct export *export, const struct verdict *verdict);
void split_dispose(struct replay_lane *lane);

// replay_halve.c
uint64_t split_total(const struct split *split);
uint64_t split_items(const struct split *split, uint64_t from, uint64_t to); // there is none in a block without items
size_t split_block_of(const struct split *split, uint64_t at);
uint64_t split_ordinal_of(const struct split *split, struct position position); // of the first item behind it
bool split_at_block_start(const struct split *split, uint64_t at);
bool split_may_cut(struct split *split, uint64_t at); // there, and not just near it
// Decodes the block; the one before it is forgotten. As part_block_open.
int split_open_block(struct split *split, size_t index, struct weir_err *err);
// Where the next part of [from, to), which is known to be bad, ends: its half, or all of it when it is not divided further.
int split_halve(struct replay_lane *lane, uint64_t from, uint64_t to, uint64_t *out);
// Fills the part with what goes next: blocks, or `raw`. Sets split->to.
int split_choose(struct replay_lane *lane, struct export *part, struct weir_slice *raw);

#endif
