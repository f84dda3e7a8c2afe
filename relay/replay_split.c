// SPDX-License-Identifier: Apache-2.0
// An export that was refused, or a block that is larger than an export may be: sent in parts, in order, until what the upstream will not
// take stands alone, which goes to the dead letters (or is dropped).
//
// All before `at` has an end. [at, bad_end) is known to hold something that is refused: its front half goes next. When that is taken, the
// rest holds it and is not sent as a whole; when not, what lies behind the half is not known to be bad any more. When the culprit is found
// all that is left goes in one export. So one item among n costs log2(n) exports to find, one to see it refused by itself, and one for the
// rest. Where there are more, each would send all behind it twice more: from the second on what is left goes in parts that begin about as
// large as they lie apart, and grow. A block is settled when all of it has an end; a crash before that repeats the block.
#include "relay/replay_priv.h"

#include "relay/log.h"

// --- ends -----------------------------------------------------------------------------------------------------------------

static void finish(struct replay_lane *lane)
{
    struct split *split = &lane->split;
    struct export *whole = split->whole;
    part_block_close(&split->block);
    weir_buf_free(&split->joined);
    *split = (struct split){0};
    export_free(whole);
}

// All up to `to` has an end. Whole blocks of it are settled.
static void advance(struct replay_lane *lane, uint64_t to)
{
    struct split *split = &lane->split;
    split->at = to;
    split->tries = 0;
    if (split->bad_end < to)
        split->bad_end = to;
    if (split->lesson_bytes > 0 && to >= split->lesson_end) {
        size_limit_refused(&lane->size_limit, split->lesson_bytes);
        split->lesson_bytes = 0;
    }
    if (split_at_block_start(split, to)) {
        bool all = to == split_total(split);
        uint64_t end = all ? split->whole->end : split->whole->views[split_block_of(split, to) - 1].number + 1;
        spool_lane_settle(lane->spool_lane, split->settled, end, &split->outcome);
        split->settled = end;
        split->outcome = (struct spool_outcome){0};
    }
    if (to == split_total(split))
        finish(lane);
}

// The block at `at` gets no further end here.
static void pass_block(struct replay_lane *lane)
{
    lane->split.lesson_bytes = 0;
    advance(lane, lane->split.starts[split_block_of(&lane->split, lane->split.at) + 1]);
}

// The block at `at` cannot be read: it is entered in the ledger, and the rest goes on behind it.
static void lose_block(struct replay_lane *lane)
{
    struct split *split = &lane->split;
    uint64_t end = split->whole->views[split_block_of(split, split->at)].number + 1;
    lane_lose(lane, split->settled, end, &split->err);
    split->outcome = (struct spool_outcome){0};
    split->settled = end;
    pass_block(lane);
}

// Memory or damage is in the way of the block at `at`.
static void cannot_go_on(struct replay_lane *lane, int code)
{
    if (code == WEIR_E_CORRUPT)
        lose_block(lane);
    else
        lane_fail_here(lane);
}

static void tell_given_up(const struct replay_lane *lane, const struct verdict *verdict, uint64_t items, bool dropped)
{
    static struct log_limit limit = LOG_LIMIT(1000);
    log_event_limited(&limit, LOG_WARN, dropped ? "items_dropped" : "dead_letter",
                      dropped ? "the upstream refused items for good: they are dropped, as on_reject says"
                              : "the upstream refused items for good: they are kept as a dead letter",
                      LOG_STR("upstream", lane->replay->upstream->name),
                      LOG_STR("signal", weir_signal_name(lane->signal)), LOG_U64("items", items),
                      LOG_STR("code", verdict->code), LOG_STR("message", verdict->message));
}

// What lies in [at, to) of one block, as a letter. WEIR_E_CORRUPT: the block is. Else the dead letters' errors.
static int put_letter(struct replay_lane *lane, uint64_t to, const struct verdict *verdict, uint64_t items)
{
    struct split *split = &lane->split;
    size_t index = split_block_of(split, split->at);
    const struct block_view *view = &split->whole->views[index];
    uint64_t start = split->starts[index];
    struct spool_dead_letter letter = {
        .upstream = lane->replay->upstream->name,
        .signal = lane->signal,
        .code = verdict->code,
        .message = verdict->message,
        .attempts = split->attempts,
        .block = view->number,
        .item = split->at - start,
        .items = items,
        .received_ns = view->received_first_ns,
        .envelope = view->envelope,
    };
    int rc = split_open_block(split, index, &split->err);
    if (rc == WEIR_OK)
        rc = part_make(&split->block, split->at - start, to - start, &letter.raw, &split->err);
    if (rc == WEIR_OK)
        letter_find_times(&letter);
    return rc == WEIR_OK ? spool_dead_letter_put(lane->replay->spool, &letter, &split->err) : rc;
}

// Keeps [at, to), or drops it where the upstream is configured so. As put_letter.
static int let_go(struct replay_lane *lane, uint64_t to, const struct verdict *verdict, uint64_t items)
{
    bool drop = lane->replay->upstream->on_reject == CONFIG_REJECT_DROP;
    struct replay_lane_stats *stats = &lane->replay->stats.lanes[lane->signal];
    struct spool_outcome *outcome = &lane->split.outcome;
    int rc = drop ? WEIR_OK : put_letter(lane, to, verdict, items);
    if (rc == WEIR_E_LIMIT) { // waiting would help nobody
        lane_letter_lost(lane, items, &lane->split.err);
        outcome->evicted += items;
        return WEIR_OK;
    }
    if (rc != WEIR_OK)
        return rc;
    *(drop ? &outcome->discarded : &outcome->dead_lettered) += items;
    pthread_mutex_lock(&lane->replay->lock);
    stats->dropped_items += drop ? items : 0;
    stats->dead_letter_requests += !drop;
    pthread_mutex_unlock(&lane->replay->lock);
    tell_given_up(lane, verdict, items, drop);
    return WEIR_OK;
}

// [at, to), which lies in one block, is what the upstream will not take.
static void give_up(struct replay_lane *lane, uint64_t to, const struct verdict *verdict)
{
    struct split *split = &lane->split;
    uint64_t items = split->whole->views[split_block_of(split, split->at)].items > 0 ? to - split->at : 0;
    int rc = let_go(lane, to, verdict, items);
    if (rc == WEIR_E_CORRUPT || rc == WEIR_E_NOMEM) {
        cannot_go_on(lane, rc);
        return;
    }
    if (rc != WEIR_OK) {
        lane_cannot_keep(lane, &split->err);
        return;
    }
    split->lesson_bytes = 0; // that was why, not the size
    split->max_bytes = UINT64_MAX;
    lane->refused_in_a_row++;
    split->attempts = split->whole->was_refused; // so often what follows was refused so far
    split->reach = split->given_up > 0 ? SPLIT_REACH * (to - split->given_up) : 0;
    split->given_up = split->bad_end = to;
    advance(lane, to);
}

// --- verdicts -------------------------------------------------------------------------------------------------------------

// [at, to), which was sent as `export`, was taken before in part. What is there ends or begins where the answer says; an upstream that does
// not say it is asked by halves. False: neither helps with what is left.
static bool find_same(struct replay_lane *lane, uint64_t to, const struct export *export)
{
    struct split *split = &lane->split;
    bool exact = split->repeated;
    split->repeated = true;
    lane->refused_in_a_row = 0; // it takes data: down to the single item
    split->same_end = split_ordinal_of(split, export->same_to);
    split->bad_end = split->at;
    if (split->same_end > split->at && split->same_end < to && split_may_cut(split, split->same_end))
        return true;
    split->same_end = 0;
    return !exact; // once more, without the emptiness before it
}

// [at, to), which was sent as `export`, was refused. The last try of several counts once.
static void refused(struct replay_lane *lane, uint64_t to, const struct export *export, const struct verdict *verdict)
{
    struct split *split = &lane->split;
    uint64_t middle;
    split->attempts += split->tries == 0;
    if (verdict->repeated && find_same(lane, to, export))
        return;
    split->same_end = 0;
    int rc = split_halve(lane, split->at, to, &middle);
    if (rc != WEIR_OK) {
        cannot_go_on(lane, rc);
        return;
    }
    if (middle == to) {
        give_up(lane, to, verdict);
        return;
    }
    split->bad_end = to;
    // RESOURCE_EXHAUSTED is what most servers say to a request above their limit, wherever that lies.
    split->by_size = verdict->kind == VERDICT_SPLIT || verdict->throttled;
    if (split->by_size && !verdict->repeated) { // a repetition says nothing of sizes
        split->lesson_end = to;
        split->lesson_bytes = export->raw_bytes;
        split->max_bytes = export->raw_bytes / 2 > 0 ? export->raw_bytes / 2 : 1;
    }
}

// What cannot be made smaller goes again, for by U1 its failure may pass, but not without an end (U17).
static bool may_still_pass(struct replay_lane *lane, uint64_t to, const struct verdict *verdict)
{
    struct split *split = &lane->split;
    uint64_t middle;
    if (verdict->kind != VERDICT_SPLIT || !verdict->passes || split_halve(lane, split->at, to, &middle) != WEIR_OK ||
        middle != to)
        return false;
    split->attempts++;
    return ++split->tries < SPLIT_TRIES_MAX;
}

// [at, to) was taken; so many of what was have been rejected, which it takes its share of.
static void deliver(struct replay_lane *lane, uint64_t to, uint64_t *rejected)
{
    struct split *split = &lane->split;
    uint64_t items = split_items(split, split->at, to), share = *rejected < items ? *rejected : items;
    *rejected -= share;
    split->outcome.delivered += items;
    split->outcome.rejected_by_upstream += share;
    advance(lane, to);
}

static void taken(struct replay_lane *lane, const struct export *export, const struct verdict *verdict)
{
    struct split *split = &lane->split;
    uint64_t rejected = verdict->rejected_items > 0 ? (uint64_t)verdict->rejected_items : 0, to = split->to;
    uint64_t whole_end = split_at_block_start(split, to) ? to : split->starts[split_block_of(split, to)];
    lane->refused_in_a_row = 0;
    size_limit_taken(&lane->size_limit, export->raw_bytes);
    if (split->bad_end <= split->at && split->reach <= split_total(split))
        split->reach *= SPLIT_REACH_GROWS;
    if (split->by_size) // the rest is smaller now: it may be taken as it is
        split->bad_end = to;
    if (whole_end > split->at) // what is whole is settled, though the part ends within a block
        deliver(lane, whole_end, &rejected);
    if (to > whole_end)
        deliver(lane, to, &rejected);
}

void split_part_done(struct export *export, const struct verdict *verdict)
{
    struct replay_lane *lane = export->lane;
    struct split *split = &lane->split;
    split->under_way = false;
    bool again = verdict->kind == VERDICT_RETRY || verdict->kind == VERDICT_HOLD;
    if (again || may_still_pass(lane, split->to, verdict)) {
        if (export->lane_waits)
            lane_fail(lane, export, verdict);
        return;
    }
    lane_recover(lane, export);
    if (verdict->kind == VERDICT_DELIVERED)
        taken(lane, export, verdict);
    else
        refused(lane, split->to, export, verdict);
}

// --- beginning ------------------------------------------------------------------------------------------------------------

static void start(struct replay_lane *lane, struct export *whole)
{
    struct split *split = &lane->split;
    assert(!split->active);
    *split = (struct split){.active = true, .whole = whole, .settled = whole->first, .max_bytes = UINT64_MAX};
    for (size_t i = 0; i < whole->view_count;
         i++) // a block without items counts as one, which has to have an end as well
        split->starts[i + 1] = split->starts[i] + (whole->views[i].items > 0 ? whole->views[i].items : 1);
    if (!whole->was_refused)
        return;
    if (may_still_pass(lane, split_total(split), &whole->refusal))
        lane_fail(lane, whole, &whole->refusal);
    else
        refused(lane, split_total(split), whole, &whole->refusal);
}

static void start_next(struct replay_lane *lane)
{
    struct export *next = lane->refused;
    lane->refused = next->next;
    lane->refused_count--;
    start(lane, next);
}

bool split_has_work(const struct replay_lane *lane)
{
    return lane->split.active || lane->refused != NULL;
}

void split_take_over(struct export *export, const struct verdict *refusal)
{
    struct replay_lane *lane = export->lane;
    export->taken_over = true;
    export->was_refused = refusal != NULL;
    if (refusal != NULL)
        export->refusal = *refusal;
    struct export **last = &lane->refused;
    while (*last != NULL)
        last = &(*last)->next;
    export->next = NULL;
    *last = export;
    lane->refused_count++;
}

// Whether the lane has nothing of [first, end) any more.
static bool is_gone(const struct spool_interval *intervals, size_t count, uint64_t first, uint64_t end)
{
    for (size_t i = 0; i < count; i++)
        if (intervals[i].first < end && first < intervals[i].end)
            return false;
    return count < TODO_INTERVALS_MAX || end <= intervals[TODO_INTERVALS_MAX - 1].end;
}

void split_drop_gone(struct replay_lane *lane)
{
    struct spool_interval intervals[TODO_INTERVALS_MAX];
    struct split *split = &lane->split;
    size_t count = spool_lane_intervals(lane->spool_lane, intervals, TODO_INTERVALS_MAX);
    if (count > TODO_INTERVALS_MAX)
        count = TODO_INTERVALS_MAX;
    while (split->active) {
        uint64_t number = split->whole->views[split_block_of(split, split->at)].number;
        if (!is_gone(intervals, count, number, number + 1))
            break;
        pass_block(lane); // settled all the same: letters of it count
    }
    for (struct export **at = &lane->refused; *at != NULL;) {
        struct export *export = *at;
        if (!is_gone(intervals, count, export->first, export->end)) {
            at = &export->next;
            continue;
        }
        *at = export->next;
        lane->refused_count--;
        export_free(export);
    }
}

void split_dispose(struct replay_lane *lane)
{
    part_block_close(&lane->split.block);
    weir_buf_free(&lane->split.joined);
    if (lane->split.active)
        export_free(lane->split.whole);
    lane->split = (struct split){0};
    while (lane->refused != NULL) {
        struct export *export = lane->refused;
        lane->refused = export->next;
        export_free(export);
    }
    lane->refused_count = 0;
}

// --- sending --------------------------------------------------------------------------------------------------------------

bool split_send_next(struct replay_lane *lane)
{
    struct split *split = &lane->split;
    if (!split->active) {
        start_next(lane); // a single item is given up by now
        return true;
    }
    struct export *part = export_new(lane);
    struct weir_slice raw = {NULL, 0};
    if (part == NULL) {
        lane_fail_here(lane);
        return false;
    }
    part->part = true;
    int rc = split_choose(lane, part, &raw);
    part->first = part->views[0].number;
    if (rc == WEIR_OK)
        rc = export_send(part, part->view_count > 0 ? NULL : &raw, &split->err);
    if (rc == WEIR_OK) {
        split->under_way = true;
        return true;
    }
    bool several = part->view_count > 1;
    export_free(part);
    if (rc == WEIR_E_CORRUPT && several)
        split->one_by_one = split->to; // to find the damaged one
    else
        cannot_go_on(lane, rc);
    return rc == WEIR_E_CORRUPT;
}
