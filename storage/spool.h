// SPDX-License-Identifier: Apache-2.0
// The spool: append a batch -> durable; read from; settle. Nothing of the store behind it shows here, so that another
// store can serve the same interface.
//
// Blocks of all signals are numbered 0, 1, 2, … in one sequence. A lane (one upstream × one signal) has a set of
// half-open intervals [first, end) of block numbers still to deliver; blocks of other signals in an interval are not its
// business. The ledger of a lane always adds up, in items: accepted = delivered + pending + dead_lettered + evicted + discarded.
//
// This is its life, the way in and the way out. Beside it: lane.h (what an upstream still has to get, and settling it), event.h (what a person
// must be told), stats.h (what a person sees), past.h (what was received once, given again), note.h (small values that the relay must
// remember), dead_letter.h (putting one) and letters.h (what becomes of them).
#ifndef WEIR_STORAGE_SPOOL_H
#define WEIR_STORAGE_SPOOL_H

#include "storage/block.h"

#define SPOOL_END UINT64_MAX // end of an interval that follows new blocks

struct spool;
struct spool_reader;
struct spool_event;

// --- life ------------------------------------------------------------------------------------------------------------

struct spool_options {
    const char *directory;      // made when missing (its parent must exist)
    uint64_t max_bytes;         // of disk, all files together
    uint64_t segment_bytes;     // 1 MiB (tests) … 1 GiB, multiple of 1 MiB
    uint64_t dead_letter_bytes; // of disk, part of max_bytes; 0: an eighth of max_bytes
    bool allow_network_filesystem;
    // Retention. Segments go whole, never the one that is written: one is too old when its newest block is.
    // When there is no room, by max_bytes or on the disk: the oldest segment goes, delivered or not, instead of refusing new data. That is
    // done ahead, when the next segment is made; a writer that is faster waits for it, it is not refused.
    bool evict_oldest;
    // Since its receipt, 0: no limit; older data goes, delivered or not. A new segment is begun each eighth of it, so that no data is
    // held longer than max_age and an eighth, also when nothing comes any more.
    // When the system's clock is set ahead, what was received before in this run does not get older by that.
    uint64_t max_age_ns;
    // What every lane has passed stays so long for a replay, as far as there is room; 0: it goes at once. When it was passed is known in
    // this run only: what was passed before counts from the start.
    uint64_t keep_delivered_ns;
    uint64_t (*unix_ns)(void); // the wall clock that ages are measured with; NULL: the system's
    const char *holder;        // written into LOCK, e.g. "weir pid 12 on host-a"
    // Called by the writer thread after each commit, when new blocks can be read. Must not block. May be NULL.
    // `signals`: a bit mask of theirs.
    void (*on_commit)(void *ctx, unsigned signals);
    // Called by the spool's threads, by the callers of spool_open and spool_lane_open before they return, and by readers, for what a person must be told. Must not
    // call the spool. Losses: once they are in the ledger and its state is durable, one event a lane and segment; those of damage that come
    // shortly one after the other in one lane are one event. A crash in between leaves the ledger's word alone. May be NULL.
    void (*on_event)(void *ctx, const struct spool_event *event);
    void *ctx;
};

// The least max_bytes for segments of that size: one is written, one is prepared, one is drained and unlinked meanwhile; and the state.
uint64_t spool_bytes_min(uint64_t segment_bytes);

// What start-up found and did, for the log.
struct spool_report {
    uint64_t first_block, next_block;
    uint32_t segments;        // that exist
    uint32_t segments_opened; // that had to be opened: the last one and those that hold a lane's position
    uint32_t temporaries_removed;
    uint32_t damaged;       // files set aside as *.damaged
    uint32_t damaged_notes; // forgotten
    uint64_t lost_blocks;   // block numbers that no file holds any more though a lane needed them: entered as evicted
};

// Opens or creates, locks, recovers from any crash state, starts the writer and the keeper thread.
// WEIR_E_HELD (text names the holder), WEIR_E_FORMAT (newer version: nothing was touched), WEIR_E_IO, WEIR_E_INVALID (not a
// directory, not empty and no spool, network file system).
int spool_open(const struct spool_options *options, struct spool **out, struct spool_report *report,
               struct weir_err *err);
// Everything appended before is committed, states are made durable, threads end. Readers and views must be gone.
void spool_close(struct spool *spool);
// UUID ("xxxxxxxx-xxxx-…", 36 characters) made with the spool and kept in its state: the same across restarts.
const char *spool_instance(const struct spool *spool);

// --- in: any ingest loop ---------------------------------------------------------------------------------------------

// Called by the writer thread, once a block, after the commit that made it durable (result WEIR_OK) or gave it up
// (WEIR_E_FULL, WEIR_E_IO, WEIR_E_CLOSED). The block is the callee's again (block_free). Must not block.
typedef void (*spool_done_fn)(struct block *block, int result);
// Hands a chain of blocks over, in order. Everything that waits when the writer becomes free goes into one transaction.
void spool_append(struct spool *spool, struct block *chain, spool_done_fn done);

enum spool_state { SPOOL_OK, SPOOL_FULL, SPOOL_FAILED, SPOOL_READ_ONLY };
// Whether new data can be taken: one atomic read, for every request before its body. All heal by themselves, READ_ONLY when the file system
// can be written again.
enum spool_state spool_state_now(const struct spool *spool);

// Blocks with a lower number are committed, those to come have this one or a higher one. Any thread, one atomic read.
uint64_t spool_next_block(const struct spool *spool);

// --- out: one reader a thread ----------------------------------------------------------------------------------------

struct spool_reader *spool_reader_new(struct spool *spool);
void spool_reader_free(struct spool_reader *reader);
// The first block of `signal` with number in [from, end). WEIR_OK: `*view`. WEIR_E_AGAIN: there is none yet; *skip_to is the
// number below which there is certainly none, so that the caller can settle [from, *skip_to) with an empty outcome and a lane
// without data never holds a segment. WEIR_E_CORRUPT: what lies in [from, *skip_to) is damaged or missing: the caller enters it
// by spool_lane_lost and goes on from *skip_to (what every lane has passed is skipped, not missing). WEIR_E_NOMEM, WEIR_E_IO:
// try again later (a place that the disk keeps refusing counts as damaged in the end). WEIR_E_FORMAT: a newer version wrote it: it is no
// damage and stays where it is, and nothing behind it is read until that version runs here again. Nothing is held afterwards: the view has a
// copy.
// Sequential use is fast: the segment stays open and read ahead, what is behind is dropped from memory.
int spool_reader_next(struct spool_reader *reader, enum weir_signal signal, uint64_t from, uint64_t end,
                      struct block_view *view, uint64_t *skip_to, struct weir_err *err);
void block_view_release(struct block_view *view);

#endif
