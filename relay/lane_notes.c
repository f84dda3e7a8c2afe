// SPDX-License-Identifier: Apache-2.0
#include "relay/lane_notes.h"

struct known_lanes {
    struct spool *spool;
    lane_note_key_fn key_of;
    struct spool_lane *lanes[SPOOL_LANES_MAX];
    size_t n;
};

static int forget_unknown(void *ctx, const char *key, struct weir_slice value, struct weir_err *err)
{
    (void)value;
    struct known_lanes *known = ctx;
    for (size_t i = 0; i < known->n; i++) {
        char own[SPOOL_NOTE_KEY_BYTES + 1];
        known->key_of(known->lanes[i], own);
        if (strcmp(own, key) == 0)
            return WEIR_OK;
    }
    return spool_note_remove(known->spool, key, false, err);
}

int lane_notes_forget(struct spool *spool, const char *prefix, lane_note_key_fn key_of, struct weir_err *err)
{
    struct known_lanes known = {.spool = spool, .key_of = key_of};
    known.n = spool_orphan_lanes(spool, known.lanes, SPOOL_LANES_MAX);
    return spool_notes_each(spool, prefix, forget_unknown, &known, err);
}
