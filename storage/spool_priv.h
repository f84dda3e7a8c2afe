// SPDX-License-Identifier: Apache-2.0
// The spool's inside, shared by the files that make it: spool_open (life), catalog (segments), position (cumulative counts), writer,
// keeper, lane (ledger), reader, dead_letter, stats. Private to storage.
//
// Locks, in the order in which they may be taken: retention_lock, state_lock, lanes_lock, segment.open_lock, turn, spare_making, spare_lock, lock, then newest.lock
// and borders_lock. `lock` and `lanes_lock` are never held over disk I/O, and no lock over a callback but retention_lock, which may be when
// damage is told.
// retention_lock: between the look at which segments there are and what is done about it (removal, replay, a lane that begins at the oldest).
#ifndef WEIR_STORAGE_SPOOL_PRIV_H
#define WEIR_STORAGE_SPOOL_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "storage/intervals.h"
#include "storage/newest.h"
#include "storage/segment.h"
#include "storage/segment_read.h"
#include "storage/spool.h"
#include "storage/state.h"
#include "storage/turn.h"

#define SPOOL_TXN_BYTES         (32u * 1024u * 1024u) // of values in one transaction
#define SPOOL_DISK_RESERVE      (8u * 1024u * 1024u)  // of the file system, never given to a segment
#define SPOOL_STATE_INTERVAL_NS 100000000u
#define SPOOL_STATE_BLOCKS      64u
#define SPOOL_PROBE_INTERVAL_NS 1000000000u
#define SPOOL_LOOK_INTERVAL_NS                                                                                         \
    15000000000u // between full looks at the directory: what a person added or removed counts by then
#define SPOOL_UNSETTLED_MAX 512u
// The next segment is written with zeros ahead of its use, 4 MiB every 100 ms at most: acknowledgements are a fifth faster on a disk with
// room to spare, and a busy one is spared from writing everything twice.
#define SPOOL_AHEAD_STEP         (512u * 1024u)
#define SPOOL_AHEAD_STEPS        8u
#define SPOOL_TRUNCATE_STEP      (16u * 1024u * 1024u)
#define SPOOL_PATH_MAX           4096u
#define SPOOL_BORDERS            1024u
#define SPOOL_SEGMENT_NAME       "seg-%020llu.mdb"
#define SPOOL_SEGMENT_NAME_BYTES 28u

// A segment in the catalog. The active one has a file, a sealed one is open for reading while somebody uses it. Pinned only while
// somebody looks something up in it: what readers are given is a copy.
struct segment {
    struct spool *spool;
    uint64_t first;
    struct segment_file *file; // set and cleared by the writer, in its turn
    pthread_mutex_t open_lock;
    struct segment_read *read; // opened under open_lock; closed by the keeper when refs is 0
    unsigned refs;             // under spool.lock, like all below
    bool removed;              // from the catalog: freed with the last pin
    bool damaged;              // and a person was told so: it is kept as *.damaged in the end
    uint64_t used_ns;          // when it was last pinned
    bool end_known;            // end and end_counts
    uint64_t end;
    struct spool_counts end_counts;
    bool facts_known; // of a sealed segment: counts before its first block, times of its first and newest block
    struct spool_counts begin_counts;
    uint64_t received_first_ns, received_last_ns; // 0: no block. Of the active segment too, once it has one
    uint64_t disk_bytes;                          // 0: not known yet; of a sealed segment it does not change
    uint64_t passed_ns;                           // Unix ns, since when no lane needs it; 0: one does
    uint64_t tried_round;                         // under retention_lock: of retention, in which it could not go
};

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
};

// A settlement that waits, because a segment could not be read to know how much it is, or there would be too many intervals.
struct unsettled {
    struct spool_lane *lane;
    uint64_t first, end;
    struct spool_outcome outcome;
    bool lost; // all of it is evicted by damage
};

struct dead_letters; // dead_letter.c

// All under lanes_lock. In order of keys.
struct note {
    char *key;
    uint8_t *value;
    size_t len;
    bool removed; // stays until that is durable
    bool dirty;   // not durable as it is
    bool saving;  // a commit under way has it as it was at its beginning
};
struct notes {
    struct note *at;
    size_t n, cap;
    uint64_t bytes;    // of keys and values of those that are not removed
    uint64_t reserved; // of the file, for them and the lanes
};

// What became of the wall clock in this run. Under retention_lock.
struct retention_clock {
    uint64_t wall_ns, steady_ns; // when it was asked last; 0: not yet
    uint64_t ahead_ns;           // that it was set ahead in all
    uint64_t border;             // blocks below were received before it was set last
    int64_t untold_ns;
};

// Where the keeper's reading of cold segments is.
struct scrub {
    uint64_t number, cursor; // the segment that holds that number, and how far in it
    uint64_t stepped_ns;     // when it last read
    uint64_t resume_ns;      // the pause between two passes ends
    uint64_t bytes_total;    // under spool.lock
    uint64_t finished_ns;    // under spool.lock; Unix time
};

struct spool {
    char *directory;
    int directory_fd, lock_fd;
    uint64_t max_bytes, segment_bytes, dead_letter_bytes;
    void (*on_commit)(void *ctx, unsigned signals);
    void (*on_event)(void *ctx, const struct spool_event *event);
    void *ctx;

    bool evict_oldest;
    uint64_t max_age_ns, keep_delivered_ns;
    uint64_t (*unix_ns)(void);
    pthread_mutex_t retention_lock;
    struct retention_clock clock;
    uint64_t retention_round;   // under retention_lock
    uint64_t learn_from;        // the keeper's
    _Atomic bool retention_due; // lanes moved, or segments changed, since it was last looked

    pthread_mutex_t lock; // catalog, position, statistics
    struct segment **segments;
    size_t segments_n, segments_cap;
    struct segment *active; // the last of the catalog while it has a file
    uint64_t files_opened;
    uint32_t set_aside;         // damaged files, in this run
    uint32_t damaged_known;     // segments found damaged that have their names still
    struct scrub scrub;         // the keeper's
    struct spool_counts counts; // before next_block
    _Atomic uint64_t next_block;
    _Atomic int state;
    _Atomic uint64_t active_room_pages;
    char reason[256];
    uint64_t used_bytes, disk_free_bytes;
    uint64_t claimed_bytes; // of files that are being made: space_claim
    uint64_t unmade_bytes;  // part of them: space_made has not come yet
    uint64_t files_made;    // how often it has
    uint64_t written_pages; // that commits took in segments
    uint64_t other_bytes,
        kept_bytes;       // in used_bytes: files besides segments, state and dead letters; segments that nobody needs
    uint32_t aside_files; // *.damaged in the directory
    uint64_t looked_ns;   // at the whole directory
    _Atomic bool look_wanted;
    uint64_t commits, committed_requests, commit_failures, state_failures;
    struct spool_histogram commit_seconds, requests_per_commit;
    pthread_mutex_t spare_making; // while the keeper makes one: before spare_lock
    pthread_mutex_t
        spare_lock; // over `spare`, also while the keeper writes to it: from being taken on it is the writer's alone
    struct segment_file *spare; // the next segment, made ahead
    char spare_path[SPOOL_PATH_MAX];
    uint64_t temporaries; // names handed out

    struct turn turn; // who may use the active segment's file
    struct newest newest;

    pthread_mutex_t borders_lock; // counts at numbers that were passed lately
    struct {
        uint64_t number_plus_1; // 0: empty
        struct spool_counts counts;
    } borders[SPOOL_BORDERS];

    pthread_mutex_t lanes_lock;
    struct spool_lane *lanes[STATE_LANES_MAX];
    size_t lanes_n;
    struct unsettled unsettled[SPOOL_UNSETTLED_MAX];
    size_t unsettled_n;
    uint64_t settlements_dropped;
    bool losses_untold;
    struct notes notes;
    unsigned settled_blocks; // since the last state commit
    bool lanes_dirty;
    bool state_was_lost;     // lanes made in this run start at the oldest block: rather twice than never
    _Atomic uint64_t passed; // every lane is beyond all numbers below it

    pthread_mutex_t state_lock;
    struct state *lane_state;
    uint8_t instance[16];
    char instance_text[37];

    struct dead_letters *dead_letters;

    pthread_mutex_t queue_lock;
    pthread_cond_t queue_filled;
    struct block *queue_head, **queue_tail;
    bool queue_closed;
    bool begin_new; // the writer shall begin a new segment
    pthread_t writer;
    bool writer_started;

    pthread_mutex_t keeper_lock;
    pthread_cond_t keeper_woken;
    pthread_cond_t room_answered;
    uint64_t room_wanted; // the writer waits until the keeper has made that much room, or could not
    int room_code;
    _Atomic uint64_t letter_room_wanted;
    _Atomic bool letter_room_denied; // there was nothing to make it of
    bool keeper_wake, keeper_stop;
    pthread_t keeper;
    bool keeper_started;
};

// --- spool_dir.c: the directory and its files ---------------------------------------------------------------------------
int spool_path(const struct spool *spool, const char *name, char out[SPOOL_PATH_MAX], struct weir_err *err);
int spool_segment_path(const struct spool *spool, uint64_t first, char out[SPOOL_PATH_MAX], struct weir_err *err);
int spool_sync_directory(struct spool *spool, struct weir_err *err);
// Makes the directory's own name durable: before anything in a new spool is.
int spool_sync_parent(struct spool *spool, struct weir_err *err);
// Number in a segment's name; false: it is not one.
bool spool_segment_number(const char *name, uint64_t *first);
// Whether it is a file that salvaging has not finished: as long as there is one, the directory is no spool.
#define SPOOL_UNFINISHED ".unfinished"
bool spool_name_unfinished(const char *name);
int spool_set_aside(struct spool *spool, const char *name, struct weir_err *err); // to <name>.damaged
// Opens, checks and locks the directory. Nothing in it is changed but LOCK, and that only by spool_dir_sign.
int spool_dir_open(struct spool *spool, const struct spool_options *options, struct weir_err *err);
int spool_dir_sign(struct spool *spool, const char *holder, struct weir_err *err);
typedef int (*spool_file_fn)(void *ctx, const char *name, struct weir_err *err);
int spool_dir_each(const struct spool *spool, spool_file_fn each, void *ctx, struct weir_err *err);

// --- catalog.c ----------------------------------------------------------------------------------------------------------
struct segment *segment_new(struct spool *spool, uint64_t first);
void segment_free(struct segment *segment);
// Adds it in order of `first`. An entry with the same number must be gone.
bool catalog_add(struct spool *spool, struct segment *segment);
// By someone who has it pinned: nobody new pins it, and it is freed with the last pin. False: somebody else did so before.
bool catalog_remove(struct spool *spool, struct segment *segment);
// Pins the segment that `number` falls in: the last that begins at or before it. *limit: where the next begins, UINT64_MAX for the last
// one; whatever the segment holds from there on does not count. NULL: before the first segment, *limit is its number.
struct segment *catalog_pin(struct spool *spool, uint64_t number, uint64_t *limit);
void segment_unpin(struct segment *segment);
// A pinned, sealed segment's file; opened when it is not. WEIR_E_CORRUPT: nothing in it can be read, or it is gone: it was set aside and left the
// catalog.
int segment_get_read(struct segment *segment, struct segment_read **out, struct weir_err *err);
// Tells a person when damage was found in a pinned segment, once. No lock may be held.
void segment_tell_damage(struct segment *segment);
// Takes the file of a pinned segment that nobody needs any more out of the directory: unlinks it, or sets it aside when it is damaged.
void segment_remove_file(struct segment *segment);
// Closes files that nobody used for a second.
void catalog_close_idle(struct spool *spool);

// --- position.c: cumulative counts at any number ------------------------------------------------------------------------
struct mark mark_of(const struct spool_counts *counts, enum weir_signal signal, uint64_t number);
struct mark spool_now(struct spool *spool, enum weir_signal signal);
void spool_note_border(struct spool *spool, uint64_t number, const struct spool_counts *counts);
bool spool_border_get(struct spool *spool, uint64_t number, struct spool_counts *out);
// The mark at `number`, or now if that is later. WEIR_E_IO, WEIR_E_NOMEM: a segment cannot be read now, and no guess will do: a mark that
// is too high makes a backlog look passed.
int spool_mark_at(struct spool *spool, enum weir_signal signal, uint64_t number, struct mark *out);
// The counts where a pinned sealed segment ends, and its end.
int segment_end(struct segment *segment, uint64_t limit, uint64_t *end, struct spool_counts *counts,
                struct weir_err *err);
// Whether no file holds block `number` (< next_block); *end is then the first number that one may hold.
bool spool_gap_at(struct spool *spool, uint64_t number, uint64_t *end);

// --- state of the spool (spool.c) -----------------------------------------------------------------------------------------
void spool_set_state(struct spool *spool, enum spool_state state, const char *reason);
int spool_state_of(int code); // WEIR_E_FULL -> SPOOL_FULL, WEIR_E_READ_ONLY -> SPOOL_READ_ONLY, else SPOOL_FAILED
void spool_destroy(struct spool *spool);

// --- lane.c ---------------------------------------------------------------------------------------------------------------
int lane_load(void *ctx, const struct lane_record *record, struct weir_err *err); // a state_lane_fn; ctx: spool
void lanes_stop_following(struct spool *spool);
void lanes_update_passed(struct spool *spool);
void update_passed(struct spool *spool); // under lanes_lock
struct mark lane_now(const struct spool_lane *lane);
void lane_changed(struct spool_lane *lane); // under lanes_lock

// --- settle.c: what leaves a lane -------------------------------------------------------------------------------------------
// Enters the settlements that could not be entered when they came, as far as they can now. The keeper.
void lanes_settle_again(struct spool *spool);
// The ledger as a person sees it, but for the time of the oldest block.
void lane_record_stats(const struct lane_record *record, const struct mark *now, struct spool_lane_stats *out);
// Under lanes_lock: adds to the ledger's evicted, and to what a person must be told.
void lane_enter_loss(struct spool_lane *lane, enum spool_loss why, const struct lane_loss *loss);
// Tells what was lost and not told yet. No lock held.
void lanes_tell_losses(struct spool *spool);

// --- lane_state.c -----------------------------------------------------------------------------------------------------------
// Makes the state durable when something changed since, or `always`. WEIR_E_IO, WEIR_E_FULL: it will be tried again.
int state_commit(struct spool *spool, bool always, struct weir_err *err);
// Allocates state.mdb so far, if max_bytes and the disk have the room. WEIR_E_FULL, WEIR_E_IO.
int state_make_longer(struct spool *spool, uint64_t file_bytes, struct weir_err *err);

// --- note.c -------------------------------------------------------------------------------------------------------------------
// Before there are threads: what the state has; those that are damaged are forgotten, and counted.
int notes_load(struct spool *spool, struct state *state, uint32_t *damaged, struct weir_err *err);
void notes_clear(struct spool *spool);
// Under lanes_lock: what changed, as state_save takes it, copied and marked as stored. Released with free (one block). WEIR_E_NOMEM: nothing
// was marked.
int notes_copy_changed(struct spool *spool, struct state_note **out, size_t *n, struct weir_err *err);
// After the commit they were copied for.
void notes_saved(struct spool *spool, bool durable);

// The first number in [from, end) that a lane has still to get, end: none has.
uint64_t lanes_first_needed(struct spool *spool, uint64_t from, uint64_t end);

// --- facts.c: headers and segments --------------------------------------------------------------------------------------------
// Header of exactly that block, wherever it is. WEIR_E_NOT_FOUND: no file has a whole one. WEIR_E_IO, WEIR_E_NOMEM: not now.
int spool_header_at(struct spool *spool, uint64_t number, struct block_header *out, struct weir_err *err);
bool segment_is_active(struct segment *segment);
// Reads what retention needs to know of a pinned sealed segment, unless it is known. WEIR_E_CORRUPT: it left the catalog.
int segment_learn(struct segment *segment, uint64_t limit, struct weir_err *err);

// --- evict.c ------------------------------------------------------------------------------------------------------------------
// Removes what retention says must go. The keeper, or the opener before there is one.
void evict_due(struct spool *spool);
// Removes segments until `bytes` more fit, if that is allowed. WEIR_OK: they fit. WEIR_E_FULL. Nothing is lost in vain: when even all of
// them would not be enough, what somebody needs stays.
int evict_for_room(struct spool *spool, uint64_t bytes, struct weir_err *err);
// Asks the writer to begin a new segment when the last one has grown too old to be evicted in time.
void evict_begin_new(struct spool *spool);

// --- clock.c ------------------------------------------------------------------------------------------------------------------
uint64_t spool_unix_ns(const struct spool *spool);
// Unix ns; looks whether the clock was set since it was asked last. Under retention_lock.
uint64_t retention_now(struct spool *spool);
// When a segment's newest block was received, by the clock as it goes now. 0: not known. Under retention_lock and lock.
uint64_t retention_received(const struct spool *spool, const struct segment *segment);
void clock_tell(struct spool *spool); // that it was set, when max_age goes by it. No lock held

// --- past.c -----------------------------------------------------------------------------------------------------------------
// What files hold of [first, end), with the marks of the signal. WEIR_E_LIMIT: more than INTERVALS_MAX pieces. WEIR_E_IO, WEIR_E_NOMEM.
int past_pieces(struct spool *spool, enum weir_signal signal, struct spool_interval range,
                struct interval out[INTERVALS_MAX], size_t *n);

// --- space.c ------------------------------------------------------------------------------------------------------------------
// Counts the disk: files that change each time, sealed segments once. Any thread.
void space_count(struct spool *spool);
// The full look, and whether it is time for one. The keeper, or the opener before there is one.
void space_look(struct spool *spool);
bool space_look_due(struct spool *spool);
// Whether a file of that size may be made, by the size limit and the file system's free space. WEIR_OK, WEIR_E_FULL.
int space_for(struct spool *spool, uint64_t bytes, struct weir_err *err);
// The same, and the room belongs to a file that the caller makes now, until space_give: the keeper and the writer may both be making one, and what has
// no name in the catalog yet is not counted. space_made follows when the disk knows of it, or it could not be made: else two that are made at once
// would both find the same free space. space_keep claims without asking, for a file that is there already.
int space_claim(struct spool *spool, uint64_t bytes, struct weir_err *err);
void space_made(struct spool *spool, uint64_t bytes);
void space_keep(struct spool *spool, uint64_t bytes);
void space_give(struct spool *spool, uint64_t bytes);
// Whether it might be made if segments went: what else lies in the directory, and on the disk, leaves so much.
bool space_can_be_made(struct spool *spool, uint64_t bytes);

// --- reader.c -------------------------------------------------------------------------------------------------------------
// When the first block of `signal` in [from, end) was received; 0 when there is none that can be read.
uint64_t spool_received_at(struct spool *spool, enum weir_signal signal, uint64_t from, uint64_t end);

// --- stats.c --------------------------------------------------------------------------------------------------------------
void histograms_init(struct spool *spool);
void histogram_add(struct spool_histogram *histogram, double value); // under spool.lock

// --- writer.c, keeper.c -----------------------------------------------------------------------------------------------------
void *writer_main(void *arg); // arg: the spool
void *keeper_main(void *arg);
void keeper_wake(struct spool *spool);
// Whether a file of that size may be made; when eviction is allowed the keeper makes room first. The writer. WEIR_OK, WEIR_E_FULL.
int keeper_ask_room(struct spool *spool, uint64_t bytes, struct weir_err *err);
bool keeper_is_awaited(struct spool *spool); // by the writer
void keeper_make_spare(struct spool *spool);
// Gives the spare up. False: there was none.
bool keeper_drop_spare(struct spool *spool);

// --- scrub.c ------------------------------------------------------------------------------------------------------------
#define SCRUB_BYTES_PER_SECOND (4u * 1024u * 1024u)
#define SCRUB_PAUSE_NS         (24ull * 3600u * 1000000000u) // between two passes over all of it
// Reads and checks the next part of the cold segments, about `budget_bytes`. Returns whether there was something to read. The keeper.
bool scrub_step(struct spool *spool, uint64_t budget_bytes);
// As much of it as the time since the last call allows. The keeper, each time it is up.
void scrub_tick(struct spool *spool);

// --- letters_file.c ---------------------------------------------------------------------------------------------------------
int dead_letters_open(struct spool *spool, bool *damaged, struct weir_err *err);
// Makes letters and ledgers agree: when the lanes and where they stand are known, and the state says that this version writes here.
void dead_letters_start(struct spool *spool);
void dead_letters_close(struct spool *spool);
void dead_letters_stats(struct spool *spool, struct spool_stats *out);
uint64_t dead_letters_reserve(struct spool *spool); // bytes of the quota that segments leave free

#endif
