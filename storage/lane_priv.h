// SPDX-License-Identifier: Apache-2.0
// Lanes inside: lane.c, settle.c, lane_state.c. Private to storage.
#ifndef WEIR_STORAGE_LANE_PRIV_H
#define WEIR_STORAGE_LANE_PRIV_H

#include "storage/event.h"
#include "storage/lane.h"
#include "storage/state.h"
#include "storage/stats.h"

#define SPOOL_UNSETTLED_MAX 512u

// Data that left a lane undelivered.
struct lane_loss {
    uint64_t first, end, items;
    uint64_t received_first_ns, received_last_ns; // 0: not known
};

struct spool_lane {
    struct spool *spool;
    struct lane_record record; // under lanes_lock, like all below
    bool attached;
    bool dirty;
    uint64_t first_durable;                     // pending block, of the state that a crash goes back to
    uint64_t oldest_number, oldest_received_ns; // of the first pending block, as last looked up
    struct lane_loss untold[SPOOL_LOSSES];      // in the ledger, and no event yet; items 0: nothing
    struct spool_lane *forgotten_next;          // of those that are no lanes any more; dirty: but in the file
};

// A settlement that waits, because a segment could not be read to know how much it is, or there would be too many intervals.
struct unsettled {
    struct spool_lane *lane;
    uint64_t first, end;
    struct spool_outcome outcome;
    bool lost; // all of it is evicted by damage
};

// --- lane.c
int lane_load(void *ctx, const struct lane_record *record, struct weir_err *err); // a state_lane_fn; ctx: spool
void lanes_stop_following(struct spool *spool);
void lanes_update_passed(struct spool *spool);
void update_passed(struct spool *spool); // under lanes_lock
struct mark lane_now(const struct spool_lane *lane);
void lane_changed(struct spool_lane *lane); // under lanes_lock
// The first number in [from, end) that a lane has still to get, end: none has.
uint64_t lanes_first_needed(struct spool *spool, uint64_t from, uint64_t end);
// The ledger as a person sees it, but for the time of the oldest block.
void lane_record_stats(const struct lane_record *record, const struct mark *now, struct spool_lane_stats *out);

// --- orphan.c
// Under lanes_lock: takes out the lane that has made room for another, among them the one that had least. NULL: none can go.
struct spool_lane *lane_forget(struct spool *spool);
void lane_tell_forgotten(const struct spool_lane *lane); // no lock held

// --- settle.c: what leaves a lane
// Enters the settlements that could not be entered when they came, as far as they can now. The keeper.
void lanes_settle_again(struct spool *spool);
// Under lanes_lock: adds to the ledger's evicted, and to what a person must be told.
void lane_enter_loss(struct spool_lane *lane, enum spool_loss why, const struct lane_loss *loss);
// Tells what was lost and not told yet. No lock held.
void lanes_tell_losses(struct spool *spool);

// --- lane_state.c
// Makes the state durable when something changed since, or `always`. WEIR_E_IO, WEIR_E_FULL: it will be tried again.
int state_commit(struct spool *spool, bool always, struct weir_err *err);
// Allocates state.mdb so far, if max_bytes and the disk have the room. WEIR_E_FULL, WEIR_E_IO.
int state_make_longer(struct spool *spool, uint64_t file_bytes, struct weir_err *err);

#endif
