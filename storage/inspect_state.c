// SPDX-License-Identifier: Apache-2.0
// Where the lanes of a spool at rest stand, by state.mdb and the blocks that came after it was last written.
#include "storage/inspect_priv.h"
#include "storage/lane_priv.h"
#include "storage/letters_priv.h"
#include "storage/note.h"

static int by_upstream(const void *a, const void *b)
{
    const struct lane_record *x = a, *y = b;
    int order = strcmp(x->upstream, y->upstream);
    return order != 0 ? order : (int)x->signal - (int)y->signal;
}

static int keep_lane(void *ctx, const struct lane_record *lane, struct weir_err *err)
{
    struct inspect *inspect = ctx;
    if (inspect->lanes_n == STATE_LANES_MAX)
        return weir_fail(err, WEIR_E_CORRUPT, "state: more than %u lanes", STATE_LANES_MAX);
    inspect->lanes[inspect->lanes_n++] = *lane;
    return WEIR_OK;
}

// Where the pieces lie is entered in notes_point, when the text does not move any more: until then `key` and `value.data` are NULL.
static int keep_note(void *ctx, const char *key, struct weir_slice value, const char *damage, struct weir_err *err)
{
    struct inspect *inspect = ctx;
    struct weir_buf *text = &inspect->notes_text;
    if (inspect->notes_n == SPOOL_NOTES_MAX)
        return weir_fail(err, WEIR_E_CORRUPT, "state: more than %u notes", SPOOL_NOTES_MAX);
    if (inspect->notes == NULL)
        inspect->notes = calloc(SPOOL_NOTES_MAX, sizeof(*inspect->notes));
    if (inspect->notes == NULL || !weir_buf_append(text, key, strlen(key) + 1) ||
        !weir_buf_append(text, value.data, value.len) ||
        (damage != NULL && !weir_buf_append(text, damage, strlen(damage) + 1)))
        return weir_fail(err, WEIR_E_NOMEM, "state: out of memory");
    inspect->notes[inspect->notes_n++] = (struct inspect_note){.value.len = value.len, .damage = damage};
    return WEIR_OK;
}

static void notes_point(struct inspect *inspect)
{
    const char *at = (const char *)inspect->notes_text.data;
    for (size_t i = 0; i < inspect->notes_n; i++) {
        struct inspect_note *note = &inspect->notes[i];
        note->key = at;
        at += strlen(at) + 1;
        note->value.data = (const uint8_t *)at;
        at += note->value.len;
        if (note->damage == NULL)
            continue;
        note->damage = at;
        at += strlen(at) + 1;
    }
}

static int load(struct inspect *inspect, struct weir_err *err)
{
    char path[INSPECT_PATH_MAX];
    struct state *state = NULL;
    uint64_t bytes;
    if (inspect_file_of(inspect, INSPECT_STATE) == NULL)
        return weir_fail(err, WEIR_E_NOT_FOUND, "there is no state.mdb");
    int code = inspect_path(inspect, "state.mdb", path, err);
    if (code == WEIR_OK)
        code = inspect_read_through(path, &bytes, err);
    if (code == WEIR_OK)
        code = state_open_read_only(path, &state, err);
    if (code == WEIR_OK)
        code = state_load(state, &inspect->state, keep_lane, inspect, err);
    if (code == WEIR_OK)
        code = state_load_notes(state, keep_note, inspect, err);
    state_close(state);
    return code;
}

// The last segment that can be read says how far numbers were used since the state was written; as spool_open has it.
static int find_position(struct inspect *inspect, struct weir_err *err)
{
    inspect->next_block = inspect->state.next_block;
    inspect->counts = inspect->state.counts;
    for (size_t i = inspect->segments_n; i > 0; i--) {
        struct inspect_source *last = &inspect->sources[i - 1];
        int code = inspect_source_open(inspect, last, err);
        if (code == WEIR_E_NOMEM)
            return code;
        if (code != WEIR_OK)
            continue;
        uint64_t end = segment_read_end(last->read);
        if (end <= inspect->next_block)
            return WEIR_OK;
        struct spool_counts before, after;
        segment_read_counts(last->read, &before, &after);
        if (after.stored_bytes > inspect->counts.stored_bytes)
            inspect->counts = after;
        inspect->next_block = end;
        return WEIR_OK;
    }
    return WEIR_OK;
}

// When the first block of each lane was received: now, since a callback that asks for a lane must not change which segment is open.
static int find_oldest(struct inspect *inspect, struct weir_err *err)
{
    inspect->oldest_ns = calloc(inspect->lanes_n + 1, sizeof(*inspect->oldest_ns));
    if (inspect->oldest_ns == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "%s: out of memory", inspect->directory);
    for (size_t i = 0; i < inspect->lanes_n; i++) {
        const struct lane_record *r = &inspect->lanes[i];
        struct inspect_block block;
        for (size_t k = 0; k < r->set.n && inspect->oldest_ns[i] == 0; k++)
            if (inspect_block_next(inspect, r->signal, r->set.at[k].first.number, r->set.at[k].end.number, false,
                                   &block, NULL) == WEIR_OK)
                inspect->oldest_ns[i] = block.received_first_ns;
    }
    return WEIR_OK;
}

// What letters did since the state was written, as the relay enters it at its next start.
static int enter_letters(struct inspect *inspect, struct weir_err *err)
{
    struct letter_totals totals;
    struct letter_lanes lanes;
    struct weir_err why = {0};
    int code = inspect_letter_lanes(inspect, &totals, &lanes, &why);
    for (size_t i = 0; code == WEIR_OK && totals.file_id != 0 && i < inspect->lanes_n; i++) {
        struct lane_record *r = &inspect->lanes[i];
        const struct letter_lane *is = letter_lane_find(&lanes, r->upstream, strlen(r->upstream), r->signal, false);
        if (is != NULL && letters_record_knows(r, totals.file_id, &is->moves))
            r->evicted_by[SPOOL_LOSS_LETTERS] += letters_enter_record(r, &is->moves);
    }
    free(lanes.at);
    return code == WEIR_E_NOMEM ? weir_fail(err, code, "%s", why.text) : WEIR_OK; // of damage others tell
}

int inspect_state_load(struct inspect *inspect, struct weir_err *err)
{
    struct weir_err why = {0};
    inspect->lanes = calloc(STATE_LANES_MAX, sizeof(*inspect->lanes));
    if (inspect->lanes == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "%s: out of memory", inspect->directory);
    inspect->state_code = load(inspect, &why);
    if (inspect->state_code == WEIR_E_FORMAT || inspect->state_code == WEIR_E_NOMEM)
        return weir_fail(err, inspect->state_code, "%s: %s", inspect->directory, why.text);
    if (inspect->state_code != WEIR_OK) {
        snprintf(inspect->state_text, sizeof(inspect->state_text), "%s", why.text);
        inspect->state = (struct state_record){0};
        inspect->lanes_n = inspect->notes_n = 0;
    }
    notes_point(inspect);
    int code = enter_letters(inspect, err);
    if (code != WEIR_OK)
        return code;
    qsort(inspect->lanes, inspect->lanes_n, sizeof(*inspect->lanes), by_upstream);
    inspect->intervals = calloc(inspect->lanes_n + 1, sizeof(*inspect->intervals));
    if (inspect->intervals == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "%s: out of memory", inspect->directory);
    for (size_t i = 0; i < inspect->lanes_n; i++)
        for (size_t k = 0; k < inspect->lanes[i].set.n; k++)
            inspect->intervals[i][k] = (struct spool_interval){inspect->lanes[i].set.at[k].first.number,
                                                               inspect->lanes[i].set.at[k].end.number};
    code = find_position(inspect, err);
    return code == WEIR_OK ? find_oldest(inspect, err) : code;
}

void inspect_state_free(struct inspect *inspect)
{
    free(inspect->lanes);
    free(inspect->intervals);
    free(inspect->oldest_ns);
    free(inspect->notes);
    weir_buf_free(&inspect->notes_text);
}

size_t inspect_notes(const struct inspect *inspect, const struct inspect_note **out)
{
    *out = inspect->notes;
    return inspect->notes_n;
}

void inspect_state(struct inspect *inspect, struct inspect_state *out)
{
    *out = (struct inspect_state){.code = inspect->state_code,
                                  .next_block = inspect->next_block,
                                  .next_in_state = inspect->state.next_block,
                                  .stored_bytes_total = inspect->counts.stored_bytes};
    memcpy(out->text, inspect->state_text, sizeof(out->text));
    memcpy(out->items_total, inspect->counts.items, sizeof(out->items_total));
    memcpy(out->raw_bytes_total, inspect->counts.raw_bytes, sizeof(out->raw_bytes_total));
    if (inspect->state_code == WEIR_OK)
        state_instance_format(inspect->state.instance, out->instance);
}

bool inspect_lane_needs(const struct lane_record *lane, uint64_t first, uint64_t end)
{
    for (size_t i = 0; i < lane->set.n; i++)
        if (lane->set.at[i].first.number < end && lane->set.at[i].end.number > first)
            return true;
    return false;
}

bool inspect_letter_pending(const struct inspect *inspect, const struct letter_view *view)
{
    for (size_t i = 0; i < inspect->lanes_n; i++) {
        const struct lane_record *r = &inspect->lanes[i];
        if (r->signal == view->signal && strlen(r->upstream) == view->upstream.len &&
            memcmp(r->upstream, view->upstream.data, view->upstream.len) == 0)
            return inspect_lane_needs(r, view->block, view->block + 1);
    }
    return false;
}

int inspect_lane(struct inspect *inspect, size_t n, struct inspect_lane *out)
{
    if (n >= inspect->lanes_n)
        return WEIR_E_NOT_FOUND;
    const struct lane_record *r = &inspect->lanes[n];
    struct mark now = {inspect->next_block, inspect->counts.blocks[r->signal], inspect->counts.items[r->signal],
                       inspect->counts.raw_bytes[r->signal]};
    struct interval_sum pending = intervals_count(&r->set, &now);
    *out = (struct inspect_lane){.signal = r->signal,
                                 .following = r->following,
                                 .pending_blocks = pending.blocks,
                                 .intervals = inspect->intervals[n],
                                 .intervals_n = r->set.n};
    memcpy(out->upstream, r->upstream, sizeof(out->upstream));
    lane_record_stats(r, &now, &out->stats);
    out->stats.oldest_received_ns = inspect->oldest_ns[n];
    return WEIR_OK;
}
