// SPDX-License-Identifier: Apache-2.0
// What a spool tells a person: its on_event.
#ifndef WEIR_STORAGE_EVENT_H
#define WEIR_STORAGE_EVENT_H

#include "proto/base.h"

// Why data left a lane undelivered.
enum spool_loss {
    SPOOL_LOSS_FULL,
    SPOOL_LOSS_AGE,
    SPOOL_LOSS_DAMAGE,
    SPOOL_LOSS_LETTERS
}; // LETTERS: their quota was full
#define SPOOL_LOSSES 4
enum spool_event_kind {
    SPOOL_EVENT_EVICTED,   // a lane lost data: it is in the ledger's `evicted` already, durably
    SPOOL_EVENT_DAMAGED,   // a file is damaged: found at start, by a reader or by the keeper's scrubbing
    SPOOL_EVENT_CLOCK,     // the wall clock was set, and max_age goes by it
    SPOOL_EVENT_FORGOTTEN, // a lane that nobody has open and of which nothing is left made room for a new one
};
// Valid during the callback.
struct spool_event {
    enum spool_event_kind kind;
    uint64_t first, end; // block numbers [first, end) it is about
    const char *
        text; // DAMAGED: the file's name, what is wrong with it and what happens next; CLOCK: what happened; FORGOTTEN: its ledger; else NULL
    // EVICTED, where first and end lie around all that was lost, and FORGOTTEN
    const char *upstream;
    enum weir_signal signal;
    enum spool_loss loss; // EVICTED, like all below
    uint64_t items;
    uint64_t received_first_ns, received_last_ns; // of the lost blocks, Unix ns, as far as known; 0: not known
};

#endif
