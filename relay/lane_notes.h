// SPDX-License-Identifier: Apache-2.0
// Notes that belong to lanes, and go with them.
#ifndef WEIR_RELAY_LANE_NOTES_H
#define WEIR_RELAY_LANE_NOTES_H

#include "storage/lane.h"
#include "storage/note.h"

// The note's key for a lane.
typedef void (*lane_note_key_fn)(const struct spool_lane *lane, char key[SPOOL_NOTE_KEY_BYTES + 1]);

// Removes the notes that begin with `prefix` and are no lane's of the spool any more. Before any lane is opened. As spool_notes_each and
// spool_note_remove.
int lane_notes_forget(struct spool *spool, const char *prefix, lane_note_key_fn key_of, struct weir_err *err);

#endif
