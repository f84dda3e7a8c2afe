// SPDX-License-Identifier: Apache-2.0
// Saves what is whole of a damaged spool into a new directory: blocks under their old numbers, lanes with their ledgers, dead letters. The
// old spool is only read. What was lost becomes `evicted` when a relay opens the new one: the counts around it say how much.
#ifndef WEIR_STORAGE_SALVAGE_H
#define WEIR_STORAGE_SALVAGE_H

#include "storage/inspect.h"

// A stretch of block numbers, and what it holds of each signal.
struct salvage_range {
    uint64_t first, end;
    bool items_known;
    uint64_t items[WEIR_SIGNALS];
};
// What becomes of one lane, for inspect_lane's n.
struct salvage_lane {
    uint64_t lost_items, lost_first, lost_end; // that it still had to get; equal: nothing
    bool lost_known;                           // whether all of lost_items is known
    uint64_t again_items;                      // of files set aside, entered as evicted then: it gets them after all
};
struct salvage_plan {
    uint64_t blocks, items[WEIR_SIGNALS], stored_bytes; // that are whole
    uint64_t aside_blocks;                              // of them, in files that were set aside and in no segment
    struct salvage_range *lost;                         // numbers that lanes need and nothing has, ascending
    size_t lost_n;
    struct salvage_lane *lanes;
    size_t lanes_n;
    bool state_saved; // false: lanes are not known; a relay starts every lane at the oldest block
    char state_text[512];
    uint64_t letters_saved, letters_lost;
    bool
        letters_scanned; // the file's tree is damaged: letters were looked for page by page, and ones that were removed may come back
    uint64_t disk_bytes; // that the new spool takes, at most
};

typedef void (*salvage_progress_fn)(void *ctx, uint64_t done_bytes, uint64_t total_bytes);
// Reads everything, writes nothing. `progress` may be NULL. WEIR_E_FORMAT: a file was written by a newer version; WEIR_E_NOMEM.
int salvage_plan_make(struct inspect *inspect, salvage_progress_fn progress, void *ctx, struct salvage_plan **out,
                      struct weir_err *err);
void salvage_plan_free(struct salvage_plan *shown);

// Whether `to` may take the plan: it does not exist or is empty, does not lie in the old spool, and has the room. Makes nothing.
// WEIR_E_INVALID, WEIR_E_FULL, WEIR_E_IO.
int salvage_check(const struct inspect *inspect, const struct salvage_plan *plan, const char *to, struct weir_err *err);
// Writes it, durable when it returns WEIR_OK. Until then no relay takes the directory for a spool. After a failure what was made is
// removed, and the directory too if it was made. *saved: what was written, to be compared with the plan. WEIR_E_FULL, WEIR_E_IO, ...
struct salvage_saved {
    uint64_t blocks, items[WEIR_SIGNALS], segments, letters;
};
int salvage_write(struct inspect *inspect, const struct salvage_plan *plan, const char *to,
                  salvage_progress_fn progress, void *ctx, struct salvage_saved *saved, struct weir_err *err);

#endif
