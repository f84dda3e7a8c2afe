// SPDX-License-Identifier: Apache-2.0
// The inside of salvage.h. Private to storage.
#ifndef WEIR_STORAGE_SALVAGE_PRIV_H
#define WEIR_STORAGE_SALVAGE_PRIV_H

#include "storage/inspect_priv.h"
#include "storage/salvage.h"

#define SALVAGE_SEGMENT_BYTES (64u * 1024u * 1024u)
// What a block's value takes in a segment, its share of the tree too.
static inline uint64_t salvage_pages_bytes(uint64_t value_bytes)
{
    return ((value_bytes + 16 + 4095) / 4096 + 1) * 4096;
}

// A whole block on its way.
struct salvage_block {
    struct segment_block where;
    struct block_header header;
    struct inspect_source *source;
    struct weir_buf value; // the walk's: may be taken away
};
typedef int (*salvage_block_fn)(void *ctx, struct salvage_block *block, struct weir_err *err);
// Every block that is whole, in order of numbers, from segments and files set aside. A code other than WEIR_OK from `each` ends the walk.
int salvage_walk(struct inspect *inspect, salvage_progress_fn progress, void *ctx, salvage_block_fn each,
                 void *each_ctx, struct weir_err *err);

// --- salvage_letters.c
// Every dead letter that is whole: by the file's tree, or found page by page when that is damaged. *lost: those that are not whole.
// *remark: what the tree says of it.
typedef int (*salvage_letter_fn)(void *ctx, struct weir_slice value, const struct letter_view *view,
                                 const struct remark *remark, struct weir_err *err);
int salvage_letters_walk(struct inspect *inspect, salvage_letter_fn each, void *ctx, uint64_t *lost, bool *scanned,
                         struct weir_err *err);
// Writes them into a new file. *saved: how many; *counts: its id, and the items of each lane that count in its ledger, for the caller to free.
struct salvage_letters {
    uint64_t file_id;
    struct letter_lanes lanes;
};
int salvage_letters_write(struct inspect *inspect, const char *path, uint64_t *saved, struct salvage_letters *counts,
                          struct weir_err *err);

// --- salvage_plan.c
// The lane as it is to go on: with what files set aside give back. Returns the items that adds.
uint64_t salvage_lane_give(const struct inspect *inspect, const struct salvage_plan *shown, struct lane_record *lane);

#endif
