// SPDX-License-Identifier: Apache-2.0
// Which blocks of a lane come next: the oldest, or while a backlog drains the oldest and the newest by their shares (fresh.h), joined up to
// what an export may have.
#include "relay/replay_priv.h"

#include "relay/log.h"

#define JOIN_READS_MAX EXPORT_BLOCKS_MAX

void lane_lose(struct replay_lane *lane, uint64_t first, uint64_t end, const struct weir_err *err)
{
    uint64_t items = spool_lane_lost(lane->spool_lane, first, end);
    todo_take(&lane->todo, first, end);
    static struct log_limit limit = LOG_LIMIT(10000);
    if (items > 0)
        log_event_limited(&limit, LOG_ERROR, "blocks_lost", "stored blocks cannot be read: they are counted as evicted",
                          LOG_STR("upstream", lane->replay->upstream->name),
                          LOG_STR("signal", weir_signal_name(lane->signal)), LOG_U64("first_block", first),
                          LOG_U64("end_block", end), LOG_U64("items", items), LOG_ERR(err));
}

// Before anything is sent with it.
static int check_envelope(const struct block_view *view, struct weir_err *err)
{
    struct envelope envelope;
    return view->envelope.len == 0 ? WEIR_OK : envelope_decode(view->envelope, &envelope, err);
}

// Reads the first block of the stretch at or behind `from`. WEIR_E_AGAIN: none. The lane is kept moving over what is not its own.
static int read_block(struct replay_lane *lane, const struct spool_interval *stretch, uint64_t from,
                      struct block_view *view, struct weir_err *err)
{
    uint64_t skip_to = from;
    int rc = spool_reader_next(lane->replay->reader, lane->signal, from, stretch->end, view, &skip_to, err);
    if (rc == WEIR_OK && (rc = check_envelope(view, err)) != WEIR_OK) {
        skip_to = view->number + 1;
        block_view_release(view);
    }
    if (from != stretch->first || rc == WEIR_OK)
        return rc;
    if (skip_to > stretch->end)
        skip_to = stretch->end;
    // At the lane's front alone: in the middle that would only make intervals, and what comes next there settles it, too.
    if (rc == WEIR_E_AGAIN && skip_to > from && from == lane->todo.at[0].first) {
        struct spool_outcome nothing = {0};
        spool_lane_settle(lane->spool_lane, from, skip_to, &nothing);
        handoff_skipped(lane, from, skip_to);
        todo_take(&lane->todo, from, skip_to);
    } else if (rc == WEIR_E_CORRUPT && skip_to > from) {
        lane_lose(lane, from, skip_to, err);
    }
    return rc;
}

static uint64_t join_bytes_max(const struct export *export)
{
    uint64_t bytes = lane_bytes_max(export->lane), now = flow_export_bytes(export->replay);
    if (export->too_old) // that goes to the dead letters
        return bytes > OLD_LETTER_BYTES_MAX ? OLD_LETTER_BYTES_MAX : bytes;
    return bytes < now ? bytes : now;
}

// Whether `view` may travel in one request with what the export holds already.
static bool joins(const struct export *export, const struct block_view *view)
{
    const struct block_view *before = &export->views[export->view_count - 1];
    if (lane_too_old(export->lane, view) != export->too_old)
        return false;
    return export->lane->signal != WEIR_PROFILES && export->raw_bytes + view->raw_bytes <= join_bytes_max(export) &&
           envelopes_join(before->envelope, view->envelope) &&
           handoff_joins(export->lane, before->number, view->number);
}

static void take_view(struct export *export, const struct block_view *view)
{
    if (export->view_count == 0)
        export->oldest_received_ns = view->received_first_ns;
    export->views[export->view_count++] = *view;
    export->items += view->items;
    export->raw_bytes += view->raw_bytes;
    export->end = view->number + 1;
}

// What comes next in the lane cannot be read, and is not damaged: the lane waits with it. `code`: why.
static void cannot_read(struct replay_lane *lane, int code, const struct weir_err *err)
{
    static struct log_limit limit = LOG_LIMIT(10000);
    lane->held = code == WEIR_E_FORMAT; // a person must run that version again
    log_event_limited(
        &limit, LOG_ERROR, "spool_read_failed",
        lane->held ? "a newer weir wrote what comes next: it stays in the spool until that version runs here again"
                   : "cannot read the spool: trying again",
        LOG_STR("upstream", lane->replay->upstream->name), LOG_STR("signal", weir_signal_name(lane->signal)),
        LOG_ERR(err));
    replay_note_here(lane, lane->held ? "newer_format" : "spool_unreadable", err->text);
    lane_fail_here(lane);
}

// --- cursors ----------------------------------------------------------------------------------------------------------------

bool lane_is_strict(const struct replay_lane *lane)
{
    return lane->replay->upstream->order[lane->signal] == CONFIG_ORDER_STRICT;
}

// Where the cursor takes from. False: nothing.
static bool find_stretch(const struct replay_lane *lane, enum fresh_cursor cursor, struct spool_interval *out)
{
    const struct fresh *fresh = &lane->fresh;
    bool newest = cursor == FRESH_NEWEST;
    if (newest && (!fresh->active || fresh->dry))
        return false;
    uint64_t from = newest ? fresh->from : 0, to = fresh->active && !newest ? fresh->from : SPOOL_END;
    return todo_find(&lane->todo, from, to, out);
}

// By how old the cursor's next block is: begins two cursors, or moves the newest one up. False: the block is not the cursor's any more.
static bool keep_fresh(struct replay_lane *lane, enum fresh_cursor cursor, const struct block_view *view)
{
    struct fresh *fresh = &lane->fresh;
    uint64_t now_ns = weir_now_unix_ns();
    uint64_t age_ns = now_ns > view->received_first_ns ? now_ns - view->received_first_ns : 0;
    if (cursor == FRESH_NEWEST && age_ns > fresh_late_ns(lane->todo.count)) {
        fresh_move(fresh, spool_next_block(lane->replay->spool));
        return false;
    }
    bool shares = !lane_is_strict(lane) && lane->replay->upstream->fresh_share > 0;
    if (!fresh->active && shares && age_ns > BEHIND_NS && lane->todo.count < FRESH_INTERVALS_MAX)
        fresh_begin(fresh, spool_next_block(lane->replay->spool));
    return true;
}

// --- taking -----------------------------------------------------------------------------------------------------------------

// Joins what may travel with the export's first block.
static void take_more(struct export *export, const struct spool_interval *stretch)
{
    struct replay_lane *lane = export->lane;
    const struct lane_cursor *cursor = &lane->cursors[export->cursor];
    struct block_view view;
    struct weir_err err;
    while (export->view_count < JOIN_READS_MAX && export->end >= cursor->single_until && export->end < stretch->end &&
           export->raw_bytes < join_bytes_max(export)) {
        if (read_block(lane, stretch, export->end, &view, &err) != WEIR_OK)
            break;
        if (!joins(export, &view)) {
            block_view_release(&view);
            break;
        }
        take_view(export, &view);
    }
}

// Fills the export with its cursor's next blocks. WEIR_E_AGAIN: there are none now. Else why they cannot be read.
static int take_blocks(struct export *export, struct weir_err *err)
{
    struct replay_lane *lane = export->lane;
    struct spool_interval stretch;
    struct block_view view;
    uint64_t tried = SPOOL_END;
    int rc = WEIR_E_AGAIN;
    while (find_stretch(lane, export->cursor, &stretch) && stretch.first != tried) {
        tried = stretch.first;
        rc = read_block(lane, &stretch, tried, &view, err);
        if (rc == WEIR_OK)
            break;
    }
    if (rc != WEIR_OK)
        return find_stretch(lane, export->cursor, &stretch) ? rc : WEIR_E_AGAIN;
    if (!keep_fresh(lane, export->cursor, &view)) {
        block_view_release(&view);
        return WEIR_E_AGAIN;
    }
    if (export->cursor == FRESH_BACKLOG)
        find_stretch(lane, export->cursor, &stretch); // up to where the newest begins by now
    export->first = stretch.first;
    export->too_old = lane_too_old(lane, &view);
    take_view(export, &view);
    take_more(export, &stretch);
    todo_take(&lane->todo, export->first, export->end);
    return WEIR_OK;
}

bool lane_take(struct export *export)
{
    struct replay_lane *lane = export->lane;
    struct fresh *fresh = &lane->fresh;
    struct spool_interval stretch;
    struct weir_err err = {0};
    for (;;) {
        if (fresh->active && !todo_find(&lane->todo, 0, fresh->from, &stretch))
            fresh_end(fresh);
        bool backlog = find_stretch(lane, FRESH_BACKLOG, &stretch), newest = find_stretch(lane, FRESH_NEWEST, &stretch);
        if (!backlog && !newest) {
            lane->dry = lane->todo.count == 0;
            return false;
        }
        export->cursor = fresh_next(fresh, lane->replay->upstream->fresh_share, backlog, newest);
        int rc = take_blocks(export, &err);
        if (rc == WEIR_OK)
            return true;
        if (rc != WEIR_E_AGAIN) {
            cannot_read(lane, rc, &err);
            return false;
        }
        if (export->cursor == FRESH_NEWEST) {
            fresh->dry = true;
        } else if (!fresh->active || find_stretch(lane, FRESH_BACKLOG, &stretch)) {
            lane->dry = true;
            return false;
        }
    }
}
