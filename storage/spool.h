// SPDX-License-Identifier: Apache-2.0
// The spool: append a batch -> durable; read from; settle. Nothing of the store behind it shows here, so that another
// store can serve the same interface.
//
// Blocks of all signals are numbered 0, 1, 2, … in one sequence. A lane (one upstream × one signal) has a set of
// half-open intervals [first, end) of block numbers still to deliver; blocks of other signals in an interval are not its
// business. The ledger of a lane always adds up, in items: accepted = delivered + pending + dead_lettered + evicted + discarded.
#ifndef WEIR_STORAGE_SPOOL_H
#define WEIR_STORAGE_SPOOL_H

#include "storage/block.h"

#define SPOOL_END UINT64_MAX // end of an interval that follows new blocks

struct spool;
struct spool_lane;
struct spool_reader;

// --- what a person must be told ----------------------------------------------------------------------------------------

// Why data left a lane undelivered.
enum spool_loss {
    SPOOL_LOSS_FULL,
    SPOOL_LOSS_AGE,
    SPOOL_LOSS_DAMAGE,
    SPOOL_LOSS_LETTERS
}; // LETTERS: their quota was full
#define SPOOL_LOSSES 4
enum spool_event_kind {
    SPOOL_EVENT_EVICTED, // a lane lost data: it is in the ledger's `evicted` already, durably
    SPOOL_EVENT_DAMAGED, // a file is damaged: found at start, by a reader or by the keeper's scrubbing
    SPOOL_EVENT_CLOCK,   // the wall clock was set, and max_age goes by it
};
// Valid during the callback.
struct spool_event {
    enum spool_event_kind kind;
    uint64_t first, end; // block numbers [first, end) it is about
    const char
        *text; // DAMAGED: the file's name, what is wrong with it and what happens next; CLOCK: what happened; else NULL
    // EVICTED; first and end lie around all that was lost
    const char *upstream;
    enum weir_signal signal;
    enum spool_loss loss;
    uint64_t items;
    uint64_t received_first_ns, received_last_ns; // of the lost blocks, Unix ns, as far as known; 0: not known
};

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
    // Called by the spool's threads, by the caller of spool_open before it returns, and by readers, for what a person must be told. Must not
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

// --- lanes -----------------------------------------------------------------------------------------------------------

enum spool_start { SPOOL_START_NOW, SPOOL_START_OLDEST };
// Finds the lane of that name and signal in the state, or makes it and makes it durable. Valid until spool_close.
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

// Blocks with a lower number are committed, those to come have this one or a higher one. Any thread, one atomic read.
uint64_t spool_next_block(const struct spool *spool);

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

// --- the past ----------------------------------------------------------------------------------------------------------

// What a replay adds to a lane. What is pending or under way at that moment is not added: it is delivered once, and its settlement counts
// for it. A lane's numbers that were added are pending like all others: their settlement delivers them, their loss evicts them.
struct spool_replay {
    uint64_t first, end; // numbers, as narrow as the files that there are allow; equal: nothing is there any more
    uint64_t blocks, items,
        raw_bytes; // of the lane's signal that files hold in there and that the lane has not pending already
    uint64_t received_first_ns, received_last_ns;
};
// The numbers of the blocks that were received in [since, until), Unix ns, as far as files hold them. Exact to the block while the wall
// clock went forward (blocks of several ingest loops may be up to 64 numbers out of order). Few reads. WEIR_E_NOT_FOUND: none. WEIR_E_IO.
int spool_find_received(struct spool *spool, uint64_t since_ns, uint64_t until_ns, uint64_t *first, uint64_t *end,
                        struct weir_err *err);
// Adds to the lane's intervals what files hold of its signal in [first, end) and is not pending: it is delivered again. The ledger's
// accepted and pending grow by it. Durable when it returns, unless `dry_run`, which only counts. Any thread. WEIR_E_NOT_FOUND: nothing
// is there; WEIR_E_LIMIT: the lane has too many intervals; WEIR_E_IO: nothing was added.
int spool_lane_replay(struct spool_lane *lane, uint64_t first, uint64_t end, bool dry_run, struct spool_replay *out,
                      struct weir_err *err);

// --- notes -------------------------------------------------------------------------------------------------------------

// Small named values that the relay must remember: kept in memory, and durable in the same transaction as the lanes' state. A note that
// was put (or removed) before a settlement is durable before it or with it, never after it. A crash goes back to what was durable last.
#define SPOOL_NOTE_KEY_BYTES   128u                 // 1 to so many, any but 0
#define SPOOL_NOTE_VALUE_BYTES (16u * 1024u)        // 0 to so many
#define SPOOL_NOTES_MAX        4096u                // removed ones count until their removal is durable
#define SPOOL_NOTES_BYTES      (2u * 1024u * 1024u) // of all keys and values
#define SPOOL_NOTE_LOCAL                                                                                               \
    '.' // a key that begins so is of this directory alone: a salvage, which may bring back what was lost, leaves it out
// Copies. Durable within half a second, together with all else that waits, or when it returns with `durable_now`. The same value again costs
// nothing. Any thread. WEIR_E_INVALID: key or value too long; WEIR_E_LIMIT: too many notes, or bytes; WEIR_E_FULL: no room on the disk for
// them (a note that does not grow always has room); WEIR_E_NOMEM: nothing was put. After WEIR_E_IO and others with `durable_now` it was
// put, and goes on being tried: spool_note_get finds it.
int spool_note_put(struct spool *spool, const char *key, struct weir_slice value, bool durable_now,
                   struct weir_err *err);
// The same the other way. There need not be one.
int spool_note_remove(struct spool *spool, const char *key, bool durable_now, struct weir_err *err);
// Appends the value to `out`. WEIR_E_NOT_FOUND, WEIR_E_NOMEM. Any thread.
int spool_note_get(struct spool *spool, const char *key, struct weir_buf *out, struct weir_err *err);
// Calls `each` for a copy of every note whose key begins with `prefix`, in order of keys; a code other than WEIR_OK ends it and is
// returned. No lock is held. WEIR_E_NOMEM. Any thread.
typedef int (*spool_note_fn)(void *ctx, const char *key, struct weir_slice value, struct weir_err *err);
int spool_notes_each(struct spool *spool, const char *prefix, spool_note_fn each, void *ctx, struct weir_err *err);

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
// Enters a damaged or missing stretch into the lane's ledger as evicted (SPOOL_LOSS_DAMAGE) and takes it out of its intervals. The number of items comes
// from the cumulative counts around it, so that the ledger still adds up. Returns the items lost.
uint64_t spool_lane_lost(struct spool_lane *lane, uint64_t first, uint64_t end);

// --- dead letters ----------------------------------------------------------------------------------------------------

// A request that an upstream will not take, kept for a person.
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

// --- what a person sees: any thread, cheap, nothing grows with the backlog ------------------------------------------------

#define SPOOL_HISTOGRAM_BUCKETS 16
struct spool_histogram { // counts[i]: values <= bounds[i], those of lower buckets too; the last bound is infinite
    double bounds[SPOOL_HISTOGRAM_BUCKETS];
    uint64_t counts[SPOOL_HISTOGRAM_BUCKETS];
    double sum;
    uint64_t count;
};

struct spool_stats {
    enum spool_state state;
    char reason[256];    // why it is not OK; "" when it is
    uint64_t used_bytes; // blocks on disk of all files
    uint64_t max_bytes;
    uint64_t disk_free_bytes;
    uint64_t room_bytes;          // of used_bytes: the newest segment has them and holds nothing in them yet
    uint64_t written_bytes_total; // since start: whole pages that new blocks took in segments; what fills the disk
    uint32_t segments;
    uint64_t first_block, next_block;
    uint64_t oldest_received_ns;                  // of the oldest block a lane still needs; 0 = none
    uint64_t raw_bytes_total, stored_bytes_total; // since the spool began: their quotient is the compression ratio
    uint64_t commits, committed_requests, commit_failures;
    uint64_t
        state_failures; // of the lanes' state: deliveries would be repeated after a crash, no segment is freed meanwhile
    struct spool_histogram commit_seconds, requests_per_commit;
    uint64_t items_total[WEIR_SIGNALS], raw_bytes_by_signal[WEIR_SIGNALS]; // accepted since the spool began
    uint64_t dead_letter_requests, dead_letter_items, dead_letter_bytes;
    uint64_t dead_letters_marked; // to be sent again
    uint64_t dead_letters_redriven, dead_letters_purged,
        dead_letters_evicted;     // requests, since deadletter.mdb was made
    uint64_t kept_bytes;          // of used_bytes: delivered and kept for a replay; goes first when room is needed
    uint64_t settlements_waiting; // that could not be entered yet, and are tried again
    uint64_t
        settlements_dropped; // more waited than there is room for: their blocks stay pending, delivered again after a restart
    uint32_t damaged_files;        // in the directory: set aside, or found damaged and still being read
    uint64_t scrubbed_bytes_total; // read and checked by the keeper since start
    uint64_t scrub_finished_ns;    // Unix ns: when it last had been through all sealed segments; 0: not yet
};
void spool_stats_get(struct spool *spool, struct spool_stats *out);

struct spool_lane_stats {
    uint64_t accepted, delivered, pending, dead_lettered, evicted, discarded; // items
    uint64_t rejected_by_upstream;
    uint64_t evicted_by[SPOOL_LOSSES]; // items; their sum is `evicted`
    uint64_t evicted_received_first_ns,
        evicted_received_last_ns; // of all that was evicted, Unix ns; 0: nothing, or not known
    uint64_t replayed;            // items that were added by spool_lane_replay, part of accepted
    uint64_t pending_bytes;       // raw
    uint64_t oldest_received_ns;  // of the first pending block; 0 when nothing is pending
};
void spool_lane_stats_get(struct spool_lane *lane, struct spool_lane_stats *out);

#endif
