// SPDX-License-Identifier: Apache-2.0
// The newest data's share while a backlog drains. A relaxed lane with a backlog has two cursors: one takes from the lane's front, the oldest first,
// the other from `from` on, where the newest began when the lane went on. Whose turn it is goes by bytes sent. Pure.
//
//   [front ········ backlog ········ from) [from ···· newest ···· )
//    ^ FRESH_BACKLOG                        ^ FRESH_NEWEST
//
// What one cursor does not need, the other takes; nothing is saved up for later but two exports' worth.
#ifndef WEIR_RELAY_FRESH_H
#define WEIR_RELAY_FRESH_H

#include "proto/base.h"

enum fresh_cursor { FRESH_BACKLOG = 0, FRESH_NEWEST };
#define FRESH_CURSORS       2
#define FRESH_SHARE_ALL     1000u // shares are in thousandths
#define FRESH_INTERVALS_MAX 64u   // with so many intervals in the lane no further one is begun
#define FRESH_LATE_NS       1000000000ull

struct fresh { // zero: there is no backlog, one cursor takes everything
    bool active;
    bool dry;        // nothing from `from` on until the next commit
    uint64_t from;   // block number
    int64_t balance; // in thousandths of bytes; below or at 0 it is the newest's turn
};

// The lane is behind: what is stored from block `from` on is the newest.
static inline void fresh_begin(struct fresh *fresh, uint64_t from)
{
    *fresh = (struct fresh){.active = true, .from = from};
}
static inline void fresh_end(struct fresh *fresh)
{
    *fresh = (struct fresh){0};
}
// The newest begins at `from` now, what lies before it is backlog.
static inline void fresh_move(struct fresh *fresh, uint64_t from)
{
    assert(fresh->active && from >= fresh->from);
    fresh->from = from;
    fresh->dry = false;
}
// Whose turn it is, where at least one has something to send. `share`: of the newest, 0 … FRESH_SHARE_ALL.
enum fresh_cursor fresh_next(const struct fresh *fresh, unsigned share, bool backlog, bool newest);
// The cursor has sent `bytes`; an export has at most `most`.
void fresh_sent(struct fresh *fresh, unsigned share, enum fresh_cursor cursor, uint64_t bytes, uint64_t most);
// How old the newest cursor's next block may be: beyond that `from` moves up. Each move leaves one more interval behind, so with many
// there are it moves ever more seldom: so much newest data, and so little share of it, is a backlog whatever one does.
uint64_t fresh_late_ns(size_t intervals);

#endif
