// SPDX-License-Identifier: Apache-2.0
// Lanes: what each upstream still has to get of a signal, and settling it. spool.h says what a lane and its ledger are.
#ifndef WEIR_STORAGE_LANE_H
#define WEIR_STORAGE_LANE_H

#include "storage/spool.h"

struct spool_lane;

enum spool_start { SPOOL_START_NOW, SPOOL_START_OLDEST };
// Finds the lane of that name and signal in the state, or makes it and makes it durable. Valid until spool_close. When there are
// SPOOL_LANES_MAX, a lane that nobody has open and of which nothing is left, no block to get and no dead letter, makes room: it is told
// (SPOOL_EVENT_FORGOTTEN), and that name is a new one then. So lanes that there are must be opened before those that are new.
// WEIR_E_LIMIT: there is none.
int spool_lane_open(struct spool *spool, const char *upstream, enum weir_signal signal, enum spool_start start,
                    struct spool_lane **out, struct weir_err *err);
// Lanes in the state that nobody opened since start (an upstream left the configuration): they keep their data, but get no
// new blocks. Calls `each` for every one.
typedef void (*spool_orphan_fn)(void *ctx, const char *upstream, enum weir_signal signal, uint64_t pending_items);
void spool_orphans(struct spool *spool, spool_orphan_fn each, void *ctx);
// The same as lanes, for spool_lane_stats_get and spool_lane_discard. Copies up to `max`; returns how many there are. Any thread.
size_t spool_orphan_lanes(struct spool *spool, struct spool_lane **out, size_t max);
#define SPOOL_LANES_MAX 192u
const char *spool_lane_upstream(const struct spool_lane *lane); // valid until spool_close
enum weir_signal spool_lane_signal(const struct spool_lane *lane);
// Gives up all that a lane which nobody opened has still to get: it counts as discarded, durably, and holds no segment any more. *items: how
// many; none the second time. Any thread. WEIR_E_INVALID: somebody has it open. WEIR_E_IO, ...: it is given up, and making it durable is
// tried again.
int spool_lane_discard(struct spool_lane *lane, uint64_t *items, struct weir_err *err);

struct spool_interval {
    uint64_t first, end;
};
// Copies up to `max` intervals, ascending; returns how many there are. Any thread.
size_t spool_lane_intervals(struct spool_lane *lane, struct spool_interval *out, size_t max);

// Below this number the lane has nothing to get any more, also when the process dies now and its state is as it was made durable last. Any thread.
uint64_t spool_lane_passed(struct spool_lane *lane);

// How `items` of settled blocks ended; the sum is what the settled blocks of this lane's signal hold.
struct spool_outcome {
    uint64_t delivered;
    uint64_t rejected_by_upstream; // part of delivered: items a partial success refused
    uint64_t dead_lettered;
    uint64_t discarded;
    uint64_t evicted; // for spool_dead_letter_put's WEIR_E_LIMIT: could not be kept
};
// Takes [first, end) out of the lane's intervals and adds the outcome to its ledger, both in one durable step, later (100 ms or
// 64 blocks): a crash before repeats the delivery, never skips it. Any thread. The range may be part of an interval. When its segment cannot be read
// at the moment, it is entered as soon as it can; so is what would make too many intervals. What is no longer in the lane's intervals (evicted or lost
// meanwhile) is in the ledger already and does not count twice.
void spool_lane_settle(struct spool_lane *lane, uint64_t first, uint64_t end, const struct spool_outcome *outcome);
// Makes all settlements so far durable before it returns. WEIR_E_IO.
int spool_sync_state(struct spool *spool, struct weir_err *err);
// Enters a damaged or missing stretch into the lane's ledger as evicted (SPOOL_LOSS_DAMAGE) and takes it out of its intervals. The number of items comes
// from the cumulative counts around it, so that the ledger still adds up. Returns the items lost.
uint64_t spool_lane_lost(struct spool_lane *lane, uint64_t first, uint64_t end);

#endif
