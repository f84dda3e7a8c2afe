// SPDX-License-Identifier: Apache-2.0
// Putting a dead letter: a request that an upstream will not take, kept for a person.
#ifndef WEIR_STORAGE_DEAD_LETTER_H
#define WEIR_STORAGE_DEAD_LETTER_H

#include "storage/spool.h"

struct spool_dead_letter {
    const char *upstream;
    enum weir_signal signal;
    const char *code; // "INVALID_ARGUMENT", "HTTP 400"
    const char *message;
    uint32_t attempts;
    uint64_t block, item; // where it came from: block number, and how many items of the block lie before its first
    uint64_t items;
    uint64_t received_ns;
    uint64_t time_min_ns, time_max_ns; // of its items, as the client says; 0: not known
    struct weir_slice envelope;
    struct weir_slice raw; // the request as the client sent it, decoded
};
// Durable when it returns WEIR_OK, and counted with the settlement of its block, which must name it: a crash before forgets it. When the quota
// is full the oldest letters go first, and are counted as evicted. WEIR_E_FULL, WEIR_E_IO: try again later; WEIR_E_LIMIT: it is larger than the
// quota, or than what others leave of it that are being settled too: it cannot be kept, and goes into the outcome as `evicted`. Any thread.
// Storing the same (upstream, block, item) again replaces it. What becomes of letters: letters.h.
int spool_dead_letter_put(struct spool *spool, const struct spool_dead_letter *letter, struct weir_err *err);

#endif
