// SPDX-License-Identifier: Apache-2.0
// Small named values that the relay must remember: kept in memory, and durable in the same transaction as the lanes' state. A note that
// was put (or removed) before a settlement is durable before it or with it, never after it. A crash goes back to what was durable last.
#ifndef WEIR_STORAGE_NOTE_H
#define WEIR_STORAGE_NOTE_H

#include "storage/spool.h"

#define SPOOL_NOTE_KEY_BYTES   128u                 // 1 to so many, any but 0
#define SPOOL_NOTE_VALUE_BYTES (16u * 1024u)        // 0 to so many
#define SPOOL_NOTES_MAX        20480u               // removed ones count until their removal is durable
#define SPOOL_NOTES_BYTES      (8u * 1024u * 1024u) // of all keys and values
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

#endif
