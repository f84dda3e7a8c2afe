// SPDX-License-Identifier: Apache-2.0
// The spool inside: all its fields, and its locks. What works on them: spool_dir.h (files), catalog.h (segments), position.h (what is at a
// number), lane_priv.h (ledgers), note_priv.h, letters_priv.h (dead letters), clock.h, space.h and evict.h (retention), keeper.h (the two
// threads), scrub.h. Private to storage.
//
// Locks, in the order in which they may be taken: retention_lock, state_lock, lanes_lock, segment.open_lock, turn, spare_making, spare_lock, lock, then newest.lock
// and borders_lock. `lock` and `lanes_lock` are never held over disk I/O, and no lock over a callback but retention_lock, which may be when
// damage is told.
// retention_lock: between the look at which segments there are and what is done about it (removal, replay, a lane that begins at the oldest).
#ifndef WEIR_STORAGE_SPOOL_PRIV_H
#define WEIR_STORAGE_SPOOL_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "storage/catalog.h"
#include "storage/clock.h"
#include "storage/lane_priv.h"
#include "storage/newest.h"
#include "storage/note_priv.h"
#include "storage/position.h"
#include "storage/scrub.h"
#include "storage/spool.h"
#include "storage/spool_dir.h"
#include "storage/state.h"
#include "storage/stats.h"
#include "storage/turn.h"

struct dead_letters; // letters_priv.h

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
    struct spool_lane *forgotten; // no more of them than lanes that were made in this run
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

// --- spool.c
void spool_set_state(struct spool *spool, enum spool_state state, const char *reason);
int spool_state_of(int code); // WEIR_E_FULL -> SPOOL_FULL, WEIR_E_READ_ONLY -> SPOOL_READ_ONLY, else SPOOL_FAILED
void spool_destroy(struct spool *spool);

// --- stats.c
void histograms_init(struct spool *spool);
void histogram_add(struct spool_histogram *histogram, double value); // under spool.lock

#endif
