// SPDX-License-Identifier: Apache-2.0
// The real spool and the model side by side.
#ifndef TESTS_MODEL_RIG_H
#define TESTS_MODEL_RIG_H

#include <pthread.h>
#include <stdatomic.h>

#include "storage/letters.h"
#include "tests/model/action.h"
#include "tests/model/calls.h"
#include "tests/model/model.h"
#include "tests/model/run.h"

#define RIG_SEGMENT_BYTES (1024ull * 1024)
#define RIG_MAX_AGE_NS    (30 * 60000000000ull)
#define RIG_KEEP_NS       (20 * 60000000000ull)
#define RIG_VIEWS         4u
#define RIG_CHAIN         8u
#define RIG_EVENTS        256u

struct rig_view {
    struct block_view view;
    bool held;
    struct model_block block; // what it must hold, whatever happens meanwhile
};

struct rig_event {
    struct spool_event event;
    unsigned upstream;
};

struct rig {
    struct model m;
    struct spool *spool;
    struct spool_lane *lanes[MODEL_LANES]; // NULL: not opened
    struct spool_reader *reader;
    struct spool_options options;
    char directory[256];
    struct rig_view views[RIG_VIEWS];
    uint64_t seeds; // handed out
    uint64_t note_versions;
    bool faults;                          // something is broken just now
    struct model_block flying[RIG_CHAIN]; // handed over and not acknowledged when the crash came
    size_t flying_n;
    pthread_mutex_t events_lock;
    struct rig_event events[RIG_EVENTS];
    size_t events_n;
    uint64_t needed_ns[MODEL_BLOCKS]; // when a lane needed it last, as far as seen
    bool evicts;                      // segments may go by themselves
};

// Ends the process: the sequence has found something.
__attribute__((format(printf, 1, 2), noreturn)) void rig_fail(const char *fmt, ...);
#define RIG_CHECK(condition, ...)                                                                                      \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            rig_fail(__VA_ARGS__);                                                                                     \
    } while (0)

extern const char *const rig_upstreams[MODEL_UPSTREAMS];

// --- rig.c
void rig_configure(struct rig *rig, const struct action *config);
void rig_open(struct rig *rig); // the spool alone: it must go well
void rig_open_lane(struct rig *rig, unsigned lane, bool oldest);
void rig_drop_views(struct rig *rig);
void rig_reopen(struct rig *rig, unsigned upstreams, bool oldest);
void rig_recover(struct rig *rig, unsigned calls_before_next); // from calls_die_after
void rig_heal(struct rig *rig);
// Reads every pending block of every lane.
void rig_read_all(struct rig *rig);
// Everything delivered: the spool gives the disk back, and takes data.
void rig_drain_all(struct rig *rig);
void rig_wait_removed(struct rig *rig);
void rig_end(struct rig *rig);

// --- blocks.c
struct model_block rig_block_plan(struct rig *rig, enum weir_signal signal, unsigned size);
struct block *rig_block_make(const struct model_block *plan);
void rig_block_check(const struct block_view *view, const struct model_block *plan, const char *where);
uint64_t rig_clock(void); // Unix ns, of the sequence
void rig_clock_add(uint64_t ns);
uint64_t rig_directory_bytes(const char *directory);
bool rig_has_spare(const char *directory);
// First numbers of the segment files, ascending.
size_t rig_segments(const char *directory, uint64_t *first, size_t max);

// --- past.c
void rig_play_replay(struct rig *rig, const unsigned *arg);
void rig_play_find(struct rig *rig, const unsigned *arg);
void rig_note_needed(struct rig *rig);
// Until nothing is left that age or want of room makes go: what goes next is then the next action's doing.
void rig_wait_quiet(struct rig *rig);

// --- letters.c
bool rig_play_letter(struct rig *rig, uint64_t upstream, uint64_t block, uint64_t request, unsigned size);
bool rig_bury(struct rig *rig, unsigned lane, uint64_t block, uint64_t items);
void rig_play_letters(struct rig *rig, const unsigned *arg);
void rig_compare_letters(struct rig *rig);
// Those that no lane has. False: they cannot be read now.
bool rig_free_letters(struct rig *rig, uint64_t *requests, uint64_t *items);

// --- orphans.c
void rig_play_discard(struct rig *rig, const unsigned *arg);

// --- notes.c
void rig_play_note(struct rig *rig, const unsigned *arg);
bool rig_notes_match(struct rig *rig, char *why, size_t cap);

// --- play.c
void rig_play(struct rig *rig, const struct action *action);

// --- compare.c
void rig_compare(struct rig *rig);
bool rig_lanes_match(struct rig *rig, bool opened, char *why, size_t cap);
// What the lane still has to get.
void rig_look_pending(struct rig *rig, unsigned lane, bool pending[MODEL_BLOCKS]);
// What the reader says at `from` is what the model allows. A view in `keep` when given; else released.
int rig_read(struct rig *rig, enum weir_signal signal, uint64_t from, uint64_t end, struct block_view *keep,
             uint64_t *skip_to);
// Enters what the spool said it evicted.
void rig_take_events(struct rig *rig);

#endif
