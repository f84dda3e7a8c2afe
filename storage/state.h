// SPDX-License-Identifier: Apache-2.0
// state.mdb: where every lane stands and its ledger, in one transaction each time. A few pages, allocated when it is made, so that a
// full disk cannot stop deliveries from being recorded. Private to storage.
#ifndef WEIR_STORAGE_STATE_H
#define WEIR_STORAGE_STATE_H

#include "storage/format.h"
#include "storage/intervals.h"
#include "storage/lmdb_error.h"
#include "storage/spool.h"

#define STATE_BYTES (4u * 1024u * 1024u)
#define STATE_LANES_MAX                                                                                                \
    192u // 32 upstreams of 4 signals, and as many of a former configuration as fit: with every interval used, more than half of STATE_BYTES
#define STATE_UPSTREAM_BYTES 255u // of a name

struct lane_record {
    enum weir_signal signal;
    char upstream[STATE_UPSTREAM_BYTES + 1];
    // Items. accepted = accepted_before + what came since follow_from while following.
    uint64_t accepted_before, delivered, rejected_by_upstream, dead_lettered, discarded;
    uint64_t evicted_by[SPOOL_LOSSES];
    uint64_t replayed; // part of accepted
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
// One durable transaction. After a failure the state must be closed and opened again.
int state_save(struct state *state, const struct state_record *record, const struct lane_record *const *lanes, size_t n,
               struct weir_err *err);

#endif
