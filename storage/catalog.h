// SPDX-License-Identifier: Apache-2.0
// Which segments there are, what is known of each, and their files while they are read: catalog.c, segment_damage.c, facts.c. Private to storage.
#ifndef WEIR_STORAGE_CATALOG_H
#define WEIR_STORAGE_CATALOG_H

#include <pthread.h>

#include "storage/segment.h"
#include "storage/segment_read.h"
#include "storage/spool.h"

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

// --- catalog.c
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
// Closes files that nobody used for a second.
void catalog_close_idle(struct spool *spool);

// --- segment_damage.c
#define SPOOL_TRUNCATE_STEP (16u * 1024u * 1024u)
// A pinned, sealed segment's file; opened when it is not. WEIR_E_CORRUPT: nothing in it can be read, or it is gone: it was set aside and left the
// catalog.
int segment_get_read(struct segment *segment, struct segment_read **out, struct weir_err *err);
// Tells a person when damage was found in a pinned segment, once. No lock may be held.
void segment_tell_damage(struct segment *segment);
// Takes the file of a pinned segment that nobody needs any more out of the directory: unlinks it, or sets it aside when it is damaged.
void segment_remove_file(struct segment *segment);

// --- facts.c
bool segment_is_active(struct segment *segment);
// Reads what retention needs to know of a pinned sealed segment, unless it is known. WEIR_E_CORRUPT: it left the catalog.
int segment_learn(struct segment *segment, uint64_t limit, struct weir_err *err);

#endif
