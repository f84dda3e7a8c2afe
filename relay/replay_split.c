// SPDX-License-Identifier: Apache-2.0
// An export that was refused, or a block that is larger than an export may be: sent in parts, in order, until what the upstream will not
// take stands alone, which goes to the dead letters (or is dropped).
//
// All before `at` has an end. [at, bad_end) is known to hold something that is refused: its front half goes next. When that is taken, the
// rest holds it and is not sent as a whole; when not, what lies behind the half is not known to be bad any more. When the culprit is found
// all that is left goes in one export. So one item among n costs log2(n) exports to find, one to see it refused by itself, and one for the
// rest. A block is settled when all of it has an end; a crash before that repeats the block.
#include "relay/replay_priv.h"

#include "relay/log.h"

// --- where things are ----------------------------------------------------------------------------------------------------

static uint64_t total(const struct split *split)
{
    return split->starts[split->whole->view_count];
}

static size_t block_of(const struct split *split, uint64_t at)
{
    size_t block = 0;
    while (split->starts[block + 1] <= at)
        block++;
    return block;
}

static bool is_block_start(const struct split *split, uint64_t at)
{
    return at == total(split) || split->starts[block_of(split, at)] == at;
}

// The decoded form of the block; the one before it is forgotten.
static int open_block(struct split *split, size_t index, struct weir_err *err)
{
    if (split->block.open && split->block_index == index)
        return WEIR_OK;
    split->block_index = index;
    return part_block_open(&split->block, &split->whole->views[index], err);
}

static uint64_t nearest_block(const struct split *split, uint64_t from, uint64_t to, uint64_t wanted)
{
    uint64_t best = 0;
    for (size_t i = 1; i < split->whole->view_count; i++) {
        uint64_t start = split->starts[i];
        uint64_t far = start > wanted ? start - wanted : wanted - start;
        if (start > from && start < to && (best == 0 || far < (best > wanted ? best - wanted : wanted - best)))
            best = start;
    }
    return best;
}

// A place to cut [from, to) near `wanted`; 0: there is none. Between blocks where there are several, else within the one.
static int cut(struct split *split, uint64_t from, uint64_t to, uint64_t wanted, uint64_t *out)
{
    *out = 0;
    if (to - from < 2)
        return WEIR_OK;
    size_t index = block_of(split, from);
    uint64_t start = split->starts[index];
    if (to > split->starts[index + 1]) {
        *out = nearest_block(split, from, to, wanted);
        return WEIR_OK;
    }
    int rc = open_block(split, index, &split->err);
    if (rc == WEIR_OK && (*out = part_cut(&split->block, from - start, to - start, wanted - start)) > 0)
        *out += start;
    return rc;
}

// How many items may be given up together. One, but an upstream that takes nothing at all must not be asked item by item for ever:
// after many refusals in a row the unit doubles with each, until something is taken again.
static uint64_t unit(const struct replay_lane *lane)
{
    uint32_t more = lane->refused_in_a_row;
    if (more < SPLIT_SINGLES)
        return 1;
    return UINT64_C(1) << (more - SPLIT_SINGLES < 20 ? more - SPLIT_SINGLES + 1 : 21);
}

// Where the next part of a range that is known to be bad ends: its half, or all of it when it is not divided further.
static int halve(struct replay_lane *lane, uint64_t from, uint64_t to, uint64_t *out)
{
    struct split *split = &lane->split;
    *out = to;
    if (to - from <= unit(lane) && to <= split->starts[block_of(split, from) + 1])
        return WEIR_OK;
    uint64_t middle;
    int rc = cut(split, from, to, from + (to - from) / 2, &middle);
    if (rc == WEIR_OK && middle > 0)
        *out = middle;
    return rc;
}

// --- ends -----------------------------------------------------------------------------------------------------------------

static void start_next(struct replay_lane *lane);

static void finish(struct replay_lane *lane)
{
    struct split *split = &lane->split;
    struct export *whole = split->whole;
    part_block_close(&split->block);
    *split = (struct split){0};
    export_free(whole);
    start_next(lane);
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
    if (is_block_start(split, to)) {
        bool all = to == total(split);
        uint64_t end = all ? split->whole->end : split->whole->views[block_of(split, to) - 1].number + 1;
        spool_lane_settle(lane->spool_lane, split->settled, end, &split->outcome);
        split->settled = end;
        split->outcome = (struct spool_outcome){0};
    }
    if (to == total(split))
        finish(lane);
}

// The block at `at` cannot be read: it is entered in the ledger, and the rest goes on behind it.
static void lose_block(struct replay_lane *lane)
{
    struct split *split = &lane->split;
    size_t index = block_of(split, split->at);
    uint64_t end = split->whole->views[index].number + 1;
    lane_lose(lane, split->settled, end, &split->err);
    split->outcome = (struct spool_outcome){0};
    split->settled = end;
    advance(lane, split->starts[index + 1]);
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
    size_t index = block_of(split, split->at);
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
    int rc = open_block(split, index, &split->err);
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
    uint64_t items = split->whole->views[block_of(split, split->at)].items > 0 ? to - split->at : 0;
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
    lane->refused_in_a_row++;
    split->bad_end = to;
    advance(lane, to);
}

// --- verdicts -------------------------------------------------------------------------------------------------------------

// [at, to) was refused as it was, with `bytes`.
static void refused(struct replay_lane *lane, uint64_t to, uint64_t bytes, const struct verdict *verdict)
{
    struct split *split = &lane->split;
    uint64_t middle;
    if (verdict->repeated) { // it takes data: down to the single item
        split->repeated = true;
        lane->refused_in_a_row = 0;
    }
    int rc = halve(lane, split->at, to, &middle);
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
    if (split->by_size) {
        split->lesson_end = to;
        split->lesson_bytes = verdict->repeated ? 0 : bytes; // that says nothing of sizes
        split->max_bytes = bytes / 2 > 0 ? bytes / 2 : 1;
    }
}

// What cannot be made smaller goes again, for by U1 its failure may pass, but not without an end (U17).
static bool may_still_pass(struct replay_lane *lane, uint64_t to, const struct verdict *verdict)
{
    struct split *split = &lane->split;
    uint64_t middle;
    if (verdict->kind != VERDICT_SPLIT || !verdict->passes || halve(lane, split->at, to, &middle) != WEIR_OK ||
        middle != to)
        return false;
    return ++split->tries < SPLIT_TRIES_MAX;
}

static void taken(struct replay_lane *lane, const struct export *export, const struct verdict *verdict)
{
    struct split *split = &lane->split;
    uint64_t rejected = verdict->rejected_items > 0 ? (uint64_t)verdict->rejected_items : 0;
    split->outcome.delivered += export->items;
    split->outcome.rejected_by_upstream += rejected < export->items ? rejected : export->items;
    lane->refused_in_a_row = 0;
    size_limit_taken(&lane->size_limit, export->raw_bytes);
    if (split->by_size) // the rest is smaller now: it may be taken as it is
        split->bad_end = split->to;
    advance(lane, split->to);
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
        refused(lane, split->to, export->raw_bytes, verdict);
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
    split->attempts = 1;
    refused(lane, total(split), whole->raw_bytes, &whole->refusal);
}

static void start_next(struct replay_lane *lane)
{
    struct export *next = lane->refused;
    if (next == NULL)
        return;
    lane->refused = next->next;
    lane->refused_count--;
    start(lane, next);
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
    if (!lane->split.active)
        start_next(lane);
}

void split_dispose(struct replay_lane *lane)
{
    part_block_close(&lane->split.block);
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

static uint64_t part_bytes_max(const struct replay_lane *lane)
{
    uint64_t max_bytes = lane_bytes_max(lane);
    return lane->split.max_bytes < max_bytes ? lane->split.max_bytes : max_bytes;
}

// Whole blocks from `at` on, up to `to` and what an export may have. False: the first block alone is too much, or `to` lies in it.
static bool take_blocks(const struct replay_lane *lane, uint64_t to, struct export *part)
{
    const struct split *split = &lane->split;
    const struct export *whole = split->whole;
    uint64_t max_bytes = part_bytes_max(lane);
    if (!is_block_start(split, split->at))
        return false;
    for (size_t i = block_of(split, split->at); i < whole->view_count && split->starts[i + 1] <= to; i++) {
        const struct block_view *view = &whole->views[i];
        bool divisible = part->view_count > 0 || view->items > 1;
        if ((part->raw_bytes + view->raw_bytes > max_bytes && divisible) ||
            (part->view_count > 0 && split->one_by_one > split->at))
            break;
        part->views[part->view_count] = *view;
        part->views[part->view_count++].pin = NULL; // stays the whole's
        part->items += view->items;
        part->raw_bytes += view->raw_bytes;
    }
    return part->view_count > 0;
}

// Items of the block at `at`, up to `to` and what an export may have.
static int take_items(struct replay_lane *lane, uint64_t to, struct export *part, struct weir_slice *raw)
{
    struct split *split = &lane->split;
    size_t index = block_of(split, split->at);
    uint64_t start = split->starts[index], end = split->starts[index + 1], max_bytes = part_bytes_max(lane);
    int rc = open_block(split, index, &split->err);
    if (to > end)
        to = end;
    while (rc == WEIR_OK) {
        uint64_t items = to - split->at, smaller = 0;
        rc = part_make(&split->block, split->at - start, to - start, raw, &split->err);
        if (rc != WEIR_OK || raw->len <= max_bytes || items < 2)
            break;
        uint64_t fits = (uint64_t)((double)items * ((double)max_bytes / (double)raw->len));
        fits = fits < 1 ? 1 : fits > items - 1 ? items - 1 : fits;
        rc = cut(split, split->at, to, split->at + fits, &smaller);
        if (rc == WEIR_OK && smaller == 0)
            break;
        to = smaller;
    }
    part->views[0] = split->whole->views[index]; // for the head; there is no view to release
    part->views[0].pin = NULL;
    part->items = to - split->at;
    part->raw_bytes = raw->len;
    if (split->at > start || to < end) {
        part->item_from = (uint32_t)(split->at - start);
        part->item_to = (uint32_t)(to - start);
    }
    return rc;
}

// Where the next part ends, as far as what was refused says.
static int next_end(struct replay_lane *lane, uint64_t *to)
{
    struct split *split = &lane->split;
    *to = total(split);
    if (split->bad_end > split->at)
        return halve(lane, split->at, split->bad_end, to);
    if (lane->refused_in_a_row < SPLIT_ADJACENT)
        return WEIR_OK;
    // What is refused lies side by side: what is next to it is more likely refused than not, and not worth a search.
    uint64_t middle = 0, end = split->starts[block_of(split, split->at) + 1], next = split->at + unit(lane);
    if (next >= end) {
        *to = end;
        return WEIR_OK;
    }
    int rc = cut(split, split->at, end, next, &middle);
    *to = middle > 0 ? middle : end;
    return rc;
}

// Fills the part with what goes next.
static int choose(struct replay_lane *lane, struct export *part, struct weir_slice *raw)
{
    struct split *split = &lane->split;
    uint64_t to;
    int rc = next_end(lane, &to);
    if (rc != WEIR_OK)
        return rc;
    if (take_blocks(lane, to, part)) {
        split->to = split->starts[block_of(split, split->at) + part->view_count];
        return WEIR_OK;
    }
    rc = take_items(lane, to, part, raw);
    split->to = split->at + part->items;
    return rc;
}

bool split_send_next(struct replay_lane *lane)
{
    struct split *split = &lane->split;
    struct export *part = export_new(lane);
    struct weir_slice raw = {NULL, 0};
    if (part == NULL) {
        lane_fail_here(lane);
        return false;
    }
    part->part = true;
    int rc = choose(lane, part, &raw);
    part->first = part->views[0].number;
    if (rc == WEIR_OK)
        rc = export_send(part, part->view_count > 0 ? NULL : &raw, &split->err);
    if (rc == WEIR_OK) {
        split->under_way = true;
        split->attempts++;
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
