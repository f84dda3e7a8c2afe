// SPDX-License-Identifier: Apache-2.0
// The notes inside. Private to storage.
#ifndef WEIR_STORAGE_NOTE_PRIV_H
#define WEIR_STORAGE_NOTE_PRIV_H

#include "storage/note.h"
#include "storage/state.h"

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

// Before there are threads: what the state has; those that are damaged are forgotten, and counted.
int notes_load(struct spool *spool, struct state *state, uint32_t *damaged, struct weir_err *err);
void notes_clear(struct spool *spool);
// Under lanes_lock: what changed, as state_save takes it, copied and marked as stored. Released with free (one block). WEIR_E_NOMEM: nothing
// was marked.
int notes_copy_changed(struct spool *spool, struct state_note **out, size_t *n, struct weir_err *err);
// After the commit they were copied for.
void notes_saved(struct spool *spool, bool durable);

#endif
