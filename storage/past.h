// SPDX-License-Identifier: Apache-2.0
// The past: what files still hold of what was received, and giving a lane a part of it again.
#ifndef WEIR_STORAGE_PAST_H
#define WEIR_STORAGE_PAST_H

#include "storage/lane.h"

// What a replay adds to a lane. What is pending or under way at that moment is not added: it is delivered once, and its settlement counts
// for it. A lane's numbers that were added are pending like all others: their settlement delivers them, their loss evicts them.
struct spool_replay {
    uint64_t first, end; // numbers, as narrow as the files that there are allow; equal: nothing is there any more
    uint64_t blocks, items,
        raw_bytes; // of the lane's signal that files hold in there and that the lane has not pending already
    uint64_t received_first_ns, received_last_ns;
};
// The numbers of the blocks that were received in [since, until), Unix ns, as far as files hold them. Exact to the block while the wall
// clock went forward (blocks of several ingest loops may be up to 64 numbers out of order). Few reads. WEIR_E_NOT_FOUND: none. WEIR_E_IO.
int spool_find_received(struct spool *spool, uint64_t since_ns, uint64_t until_ns, uint64_t *first, uint64_t *end,
                        struct weir_err *err);
// Adds to the lane's intervals what files hold of its signal in [first, end) and is not pending: it is delivered again. The ledger's
// accepted and pending grow by it. Durable when it returns, unless `dry_run`, which only counts. Any thread. WEIR_E_NOT_FOUND: nothing
// is there; WEIR_E_LIMIT: the lane has too many intervals; WEIR_E_IO: nothing was added.
int spool_lane_replay(struct spool_lane *lane, uint64_t first, uint64_t end, bool dry_run, struct spool_replay *out,
                      struct weir_err *err);

#endif
