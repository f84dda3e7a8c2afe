// SPDX-License-Identifier: Apache-2.0
// The keeper's slow reading of cold segments. Private to storage.
#ifndef WEIR_STORAGE_SCRUB_H
#define WEIR_STORAGE_SCRUB_H

#include "storage/spool.h"

#define SCRUB_BYTES_PER_SECOND (4u * 1024u * 1024u)
#define SCRUB_PAUSE_NS         (24ull * 3600u * 1000000000u) // between two passes over all of it

// Where the keeper's reading of cold segments is.
struct scrub {
    uint64_t number, cursor; // the segment that holds that number, and how far in it
    uint64_t stepped_ns;     // when it last read
    uint64_t resume_ns;      // the pause between two passes ends
    uint64_t bytes_total;    // under spool.lock
    uint64_t finished_ns;    // under spool.lock; Unix time
};

// Reads and checks the next part of the cold segments, about `budget_bytes`. Returns whether there was something to read. The keeper.
bool scrub_step(struct spool *spool, uint64_t budget_bytes);
// As much of it as the time since the last call allows. The keeper, each time it is up.
void scrub_tick(struct spool *spool);

#endif
