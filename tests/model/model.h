// SPDX-License-Identifier: Apache-2.0
// The spool as one would explain it: a list of blocks, and for every lane the set of blocks it has still to get and what became of the
// others. No disk, no threads. The real spool must look like this after every step.
#ifndef TESTS_MODEL_MODEL_H
#define TESTS_MODEL_MODEL_H

#include "storage/event.h"
#include "storage/lane.h"
#include "storage/stats.h"

#define MODEL_BLOCKS    512u
#define MODEL_UPSTREAMS 3u
#define MODEL_LANES     (MODEL_UPSTREAMS * WEIR_SIGNALS)
#define MODEL_LETTERS   64u
#define MODEL_NOTES     8u

struct model_block {
    enum weir_signal signal;
    uint64_t seed; // its content
    uint64_t items, raw_bytes, received_ns;
    bool unsure; // its commit failed, yet it counts as stored: it may be lost
};

struct model_lane {
    bool exists, follows;
    bool pending[MODEL_BLOCKS];
    uint64_t dead[MODEL_BLOCKS]; // items in the dead letter of that block; 0: none
    struct spool_lane_stats is;  // the columns; what follows from `pending` is left 0
};

// All that the spool's state file tells. A crash goes back to an earlier one.
struct model_ledger {
    unsigned n; // blocks there were
    struct model_lane lanes[MODEL_LANES];
    unsigned notes[MODEL_NOTES]; // version of the value; 0: not there
};

struct model_letter {
    bool there, unsure;
    uint64_t upstream, block, request, items;
};

struct model {
    struct model_block blocks[MODEL_BLOCKS];
    struct model_ledger now;
    struct model_ledger *past; // what a crash may go back to: the last durable one and all since, `now` included
    size_t past_n, past_cap;
    struct model_letter letters[MODEL_LETTERS];
};

struct model_lane *model_lane(struct model *m, uint64_t upstream, enum weir_signal signal);
enum weir_signal model_signal(unsigned lane);

void model_append(struct model *m, const struct model_block *block);
void model_settle(struct model *m, unsigned lane, uint64_t first, uint64_t end, const struct spool_outcome *outcome);
// The dead letter of a block: delivered after all, or given up.
void model_letter_gone(struct model *m, unsigned lane, uint64_t block, bool redriven);
// Out of the lane's work, undelivered.
void model_evict(struct model *m, unsigned lane, uint64_t first, uint64_t end, enum spool_loss loss);
// Out of the lane's work, all of it, by command.
void model_discard(struct model *m, unsigned lane);
// Again into the lane's work, where it is not any more.
void model_replay(struct model *m, unsigned lane, uint64_t block);
// The lane gets all new blocks.
void model_follow(struct model *m, unsigned lane);
void model_stop_following(struct model *m);

// What a crash may go back to: one more, or only this one.
void model_changed(struct model *m);
void model_durable(struct model *m);
// The ledger `back` as it looks when the spool is opened on `n` blocks: what came after it is pending in the lanes that followed.
void model_reopened(struct model *m, const struct model_ledger *back, unsigned n, struct model_ledger *out);

uint64_t model_items(const struct model *m, const struct model_lane *lane, uint64_t first, uint64_t end);
uint64_t model_pending_bytes(const struct model *m, const struct model_lane *lane);
bool model_needed(const struct model *m, uint64_t block); // some lane has it pending

#endif
