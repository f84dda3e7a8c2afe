// SPDX-License-Identifier: Apache-2.0
// What each export says of itself to an upstream that is a weir. Private to the replay worker, in its thread.
#ifndef WEIR_RELAY_REPLAY_HANDOFF_H
#define WEIR_RELAY_REPLAY_HANDOFF_H

#include "proto/verdict.h"
#include "relay/handoff.h"
#include "storage/lane.h"

struct export;
struct replay;
struct replay_lane;

#define HANDOFF_RUNS_MAX 1024 // as many as a note has room for
// How its blocks are named to an upstream that is a weir, see replay_handoff.c.
struct handoff_runs {
    struct handoff_run {
        uint64_t first; // block; up to the next one's
        uint64_t name;
    } at[HANDOFF_RUNS_MAX];
    size_t count;
    bool named; // durably: else none is used
    struct spool_interval
        empty[4]; // stretches without a block of the lane's, found lately: what comes behind covers them
    size_t empty_next;
};

// Names the blocks that this process will write, in a note that is durable with the next state. Without room for it none is used. WEIR_E_NOMEM,
// WEIR_E_IO: no random numbers.
int handoff_open(struct replay_lane *lane, struct weir_err *err);
// The names are not durable: none is used.
void handoffs_give_up(struct replay *replay, const struct weir_err *err);
void handoff_filled(struct replay_lane *lane); // `todo` has just been filled from the spool's intervals
// Whether two blocks may travel in one request.
bool handoff_joins(const struct replay_lane *lane, uint64_t block, uint64_t other);
// There is no block of the lane's in there.
void handoff_skipped(struct replay_lane *lane, uint64_t first, uint64_t end);
// The header's value. False: there is none for this export.
bool handoff_write(const struct export *export, char out[HANDOFF_TEXT_MAX]);
// What a weir adds to its answer.
void handoff_judge(struct export *export, struct verdict *verdict);

#endif
