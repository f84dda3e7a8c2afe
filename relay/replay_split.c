// SPDX-License-Identifier: Apache-2.0
// A block that was refused, or that is larger than an export may be: sent in parts of whole requests, halved until a refused part is
// one request, which alone goes to the dead letters. The block is settled once, when every part has an end; a crash before that
// repeats the block.
#include "relay/replay_priv.h"

#include "relay/log.h"

void split_dispose(struct split *split)
{
    if (!split->active)
        return;
    block_view_release(&split->view);
    weir_buf_free(&split->raw);
    free(split->entries);
    free(split->offsets);
    *split = (struct split){0};
}

static void push(struct split *split, uint32_t from, uint32_t to)
{
    assert(from < to && split->todo_count < SPLIT_DEPTH_MAX);
    split->todo[split->todo_count].from = from;
    split->todo[split->todo_count++].to = to;
}

static void push_halves(struct split *split, uint32_t from, uint32_t to)
{
    uint32_t middle = from + (to - from) / 2;
    push(split, middle, to); // taken from the end: the front half goes first
    push(split, from, middle);
}

// Reads the request table: where each request lies in the decoded bytes.
static int read_table(struct split *split, struct weir_err *err)
{
    size_t cursor = 0;
    uint64_t offset = 0;
    for (uint32_t i = 0; i < split->view.requests; i++) {
        if (block_table_next(&split->view, &cursor, &split->entries[i]) != WEIR_OK)
            return weir_fail(err, WEIR_E_CORRUPT, "the request table ends after %u of %u requests", i,
                             split->view.requests);
        split->offsets[i] = offset;
        offset += split->entries[i].raw_bytes;
    }
    split->offsets[split->view.requests] = offset;
    if (offset != split->raw.len)
        return weir_fail(err, WEIR_E_CORRUPT, "the requests have %llu bytes, the block %zu", (unsigned long long)offset,
                         split->raw.len);
    return WEIR_OK;
}

int split_begin(struct replay_lane *lane, uint64_t first, uint64_t end, const struct block_view *view,
                struct weir_err *err)
{
    struct split *split = &lane->split;
    assert(!split->active);
    *split = (struct split){.active = true, .first = first, .end = end, .view = *view};
    split->entries = calloc(view->requests, sizeof(*split->entries));
    split->offsets = calloc((size_t)view->requests + 1, sizeof(*split->offsets));
    int rc = split->entries == NULL || split->offsets == NULL ? weir_fail(err, WEIR_E_NOMEM, "out of memory") : WEIR_OK;
    if (rc == WEIR_OK)
        rc = block_view_decode(view, &split->raw, err);
    if (rc == WEIR_OK)
        rc = read_table(split, err);
    if (rc != WEIR_OK) {
        split->view.pin = NULL; // stays the caller's
        split_dispose(split);
        return rc;
    }
    if (view->requests > 1)
        push_halves(split, 0, view->requests);
    else
        push(split, 0, 1);
    return WEIR_OK;
}

static void finish(struct replay_lane *lane)
{
    struct split *split = &lane->split;
    spool_lane_settle(lane->spool_lane, split->first, split->end, &split->outcome);
    split_dispose(split);
}

static uint64_t items_of(const struct split *split, uint32_t from, uint32_t to)
{
    uint64_t items = 0;
    for (uint32_t i = from; i < to; i++)
        items += split->entries[i].items;
    return items;
}

bool split_send_next(struct replay_lane *lane)
{
    struct split *split = &lane->split;
    if (split->todo_count == 0) {
        finish(lane);
        return true;
    }
    split->todo_count--;
    uint32_t from = split->todo[split->todo_count].from, to = split->todo[split->todo_count].to;
    uint64_t max_bytes = lane->replay->export_bytes;
    while (to - from > 1 && split->offsets[to] - split->offsets[from] > max_bytes) {
        uint32_t middle = from + (to - from) / 2;
        push(split, middle, to);
        to = middle;
    }
    struct export *export = export_new(lane);
    struct weir_err err = {0};
    int rc = WEIR_E_NOMEM;
    split->from = from;
    split->to = to;
    if (export != NULL) {
        struct weir_slice raw = {split->raw.data + split->offsets[from], split->offsets[to] - split->offsets[from]};
        export->part = true;
        export->first = split->first;
        export->end = split->end;
        export->items = items_of(split, from, to);
        export->raw_bytes = raw.len;
        export->views[0].number = split->view.number; // for the batch id; there is no view to release
        rc = export_send(export, &raw, &err);
    }
    if (rc == WEIR_OK) {
        split->under_way = true;
        split->attempts++;
        return true;
    }
    if (export != NULL)
        export_free(export);
    push(split, from, to);
    lane_fail_here(lane);
    return false;
}

// One request that the upstream will not take. False: it could not be kept; the lane waits to try it again.
static bool bury(struct replay_lane *lane, const struct verdict *verdict)
{
    struct split *split = &lane->split;
    uint32_t index = split->from;
    struct weir_err err = {0};
    struct spool_dead_letter letter = {
        .upstream = lane->replay->upstream->name,
        .signal = lane->signal,
        .code = verdict->code,
        .message = verdict->message,
        .attempts = split->attempts,
        .block = split->view.number,
        .request = index,
        .items = split->entries[index].items,
        .received_ns = split->view.received_first_ns,
        .envelope = split->view.envelope,
        .raw = {split->raw.data + split->offsets[index], split->entries[index].raw_bytes},
    };
    if (spool_dead_letter_put(lane->replay->spool, &letter, &err) != WEIR_OK) {
        lane_cannot_keep(lane, &err);
        return false;
    }
    static struct log_limit limit = LOG_LIMIT(1000);
    log_event_limited(&limit, LOG_WARN, "dead_letter",
                      "the upstream refused a request for good: it is kept as a dead letter",
                      LOG_STR("upstream", letter.upstream), LOG_STR("signal", weir_signal_name(lane->signal)),
                      LOG_U64("items", letter.items), LOG_STR("code", letter.code), LOG_STR("message", letter.message));
    split->outcome.dead_lettered += letter.items;
    pthread_mutex_lock(&lane->replay->lock);
    lane->replay->stats.lanes[lane->signal].dead_letter_requests++;
    pthread_mutex_unlock(&lane->replay->lock);
    return true;
}

// A single request cannot be made smaller: by U1 it goes again, but not without an end (U17).
static bool may_still_pass(struct split *split, const struct verdict *verdict)
{
    if (verdict->kind != VERDICT_SPLIT || !verdict->passes || split->to - split->from > 1)
        return false;
    return ++split->tries < SPLIT_TRIES_MAX;
}

void split_part_done(struct export *export, const struct verdict *verdict)
{
    struct replay_lane *lane = export->lane;
    struct split *split = &lane->split;
    uint32_t from = split->from, to = split->to;
    split->under_way = false;
    if (may_still_pass(split, verdict)) {
        push(split, from, to);
        lane_fail(lane, export, verdict);
        return;
    }
    switch (verdict->kind) {
    case VERDICT_DELIVERED: {
        uint64_t rejected = verdict->rejected_items > 0 ? (uint64_t)verdict->rejected_items : 0;
        split->outcome.delivered += export->items;
        split->outcome.rejected_by_upstream += rejected < export->items ? rejected : export->items;
        break;
    }
    case VERDICT_RETRY:
    case VERDICT_HOLD:
        push(split, from, to);
        if (export->lane_waits)
            lane_fail(lane, export, verdict);
        return;
    case VERDICT_SPLIT:
    case VERDICT_REJECT:
        if (to - from > 1) {
            push_halves(split, from, to);
        } else if (!bury(lane, verdict)) {
            push(split, from, to);
            return;
        }
        break;
    }
    split->tries = 0;
    lane_recover(lane, export);
    if (split->todo_count == 0)
        finish(lane);
}
