// SPDX-License-Identifier: Apache-2.0
// Parts of one block. Private to the replay worker, in its thread.
#ifndef WEIR_RELAY_REPLAY_PART_H
#define WEIR_RELAY_REPLAY_PART_H

#include "proto/base.h"
#include "proto/err.h"
#include "storage/block.h"

struct otlp_split_index;

// A block that is sent in parts: decoded, with a table of its requests.
struct part_block {
    bool open;
    enum weir_signal signal;
    uint32_t count; // of requests
    struct part_request {
        uint64_t offset, item;          // in raw; ordinal of its first item in the block
        struct otlp_split_index *index; // once it was cut; NULL: not yet, or for want of memory
    } * requests;                       // and one more, for the end
    struct weir_buf raw, made;
};

// Decodes the block; what was open before is closed. WEIR_E_CORRUPT, WEIR_E_NOMEM.
int part_block_open(struct part_block *block, const struct block_view *view, struct weir_err *err);
void part_block_close(struct part_block *block);
// A place to cut [from, to), at `wanted` or, where that makes better parts, near it. 0: it cannot be cut.
uint64_t part_cut(struct part_block *block, uint64_t from, uint64_t to, uint64_t wanted);
// A request with the items [from, to), valid until the next one or the close. WEIR_E_NOMEM.
int part_make(struct part_block *block, uint64_t from, uint64_t to, struct weir_slice *out, struct weir_err *err);

#endif
