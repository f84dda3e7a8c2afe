// SPDX-License-Identifier: Apache-2.0
// Dead letters that are sent again. Private to the replay worker, in its thread.
#ifndef WEIR_RELAY_REPLAY_REDRIVE_H
#define WEIR_RELAY_REPLAY_REDRIVE_H

#include "proto/verdict.h"
#include "relay/backoff.h"
#include "storage/letters.h"
#include <stdatomic.h>

struct export;
struct replay;

struct redrive {
    atomic_bool news;      // letters were marked
    bool some;             // there may be marked ones
    bool under_way;        // `letter` is
    bool progressed;       // since the first of them was looked for
    bool has_after;        // the next one is behind `after`
    struct letter *letter; // taken; NULL: none
    struct letter_id after;
    struct weir_buf raw;
    uint64_t look_ns, taken_ns;
    uint32_t tries; // in a row that came to a SPLIT which may pass
    struct backoff backoff;
};

// Sends the next dead letter that is marked, if it may. `first`: before the lanes, which it does only after a wait.
void redrive_turn(struct replay *replay, bool first);
void redrive_done(struct export *export, const struct verdict *verdict);
void redrive_dispose(struct replay *replay);

#endif
