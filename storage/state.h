// SPDX-License-Identifier: Apache-2.0
// state.mdb: where every lane stands and its ledger, in one transaction each time. A few pages, allocated when it is made, so that a
// full disk cannot stop deliveries from being recorded; and the notes, in the same transaction. Private to storage.
#ifndef WEIR_STORAGE_STATE_H
#define WEIR_STORAGE_STATE_H

#include "storage/event.h"
#include "storage/format.h"
#include "storage/intervals.h"
#include "storage/lane.h"
#include "storage/lmdb_error.h"

#define STATE_BYTES (4u * 1024u * 1024u)
#define STATE_LANES_MAX                                                                                                \
    SPOOL_LANES_MAX // 32 upstreams of 4 signals, and as many of a former configuration as fit: with every interval used, more than half of STATE_BYTES
#define STATE_UPSTREAM_BYTES 255u // of a name
// Notes take up to twice their bytes in pages, and a commit that writes all of them anew needs that three times over, like that of the
// lanes: so much room is allocated before one is taken. The first bytes of notes find it in STATE_BYTES.
#define STATE_NOTES_INCLUDED (64u * 1024u)
#define STATE_NOTES_FACTOR   6u

struct state_note {
    const char *key;
    struct weir_slice value;
    bool removed; // from the file
};

// How dead letters left a lane, in items.
struct letter_moves {
    uint64_t delivered, rejected, discarded, evicted; // rejected: part of delivered
};

struct lane_record {
    enum weir_signal signal;
    char upstream[STATE_UPSTREAM_BYTES + 1];
    // Items. accepted = accepted_before + what came since follow_from while following.
    uint64_t accepted_before, delivered, rejected_by_upstream, dead_lettered, discarded;
    uint64_t evicted_by[SPOOL_LOSSES];
    uint64_t replayed; // part of accepted
    // What the columns know of this deadletter.mdb: its moves beyond are still to be entered.
    uint64_t letters_file_id; // 0: of none
    struct letter_moves letters_entered;
    uint64_t evicted_received_first_ns,
        evicted_received_last_ns; // of all that was evicted, as far as known; 0: nothing
    bool following;
    struct mark follow_from;
    struct interval_set set;
};

struct state_record {
    uint8_t instance[16]; // UUID, version 4, made with the state
    uint64_t next_block;  // at least: numbers below it have been used
    struct spool_counts counts;
    const struct state_note *notes; // to be saved with it; state_load leaves none here
    size_t notes_n;
    const struct lane_record *const
        *gone; // lanes to be removed with it, before those that are saved; state_load leaves none here
    size_t gone_n;
};

void state_instance_format(const uint8_t uuid[16], char out[37]);

struct state;
// Opens what is there (not written before the first state_save), after a check. WEIR_E_NOT_FOUND, _CORRUPT, _FORMAT, _IO.
int state_open(const char *path, struct state **out, struct weir_err *err);
// The same for state_load alone: the file may be one that this process must not write.
int state_open_read_only(const char *path, struct state **out, struct weir_err *err);
// Makes `path`: allocated, durable apart from its name. WEIR_E_FULL, WEIR_E_IO.
int state_create(const char *path, struct state **out, struct weir_err *err);
void state_close(struct state *state);
// Calls `each` for every lane; a code other than WEIR_OK from it ends the walk and is returned.
typedef int (*state_lane_fn)(void *ctx, const struct lane_record *lane, struct weir_err *err);
int state_load(struct state *state, struct state_record *out, state_lane_fn each, void *ctx, struct weir_err *err);
// The same for the notes, in order of their keys. `damage` NULL: it is whole; else why not, and the value is empty (and the key that of the
// file, cut at its first 0). WEIR_E_FORMAT: a newer version wrote one.
typedef int (*state_note_fn)(void *ctx, const char *key, struct weir_slice value, const char *damage,
                             struct weir_err *err);
int state_load_notes(struct state *state, state_note_fn each, void *ctx, struct weir_err *err);
// How long the file must be so that notes of that many bytes, keys included, can always be saved; how much of that is not allocated yet; and
// allocating it. WEIR_E_FULL, WEIR_E_IO.
uint64_t state_bytes_for_notes(uint64_t bytes);
int state_missing(struct state *state, uint64_t file_bytes, uint64_t *out, struct weir_err *err);
int state_reserve(struct state *state, uint64_t file_bytes, struct weir_err *err);
// One durable transaction. After a failure the state must be closed and opened again.
int state_save(struct state *state, const struct state_record *record, const struct lane_record *const *lanes, size_t n,
               struct weir_err *err);

#endif
