// SPDX-License-Identifier: Apache-2.0
// Everything that can be seen of the spool, beside what the model says.
#include <unistd.h>

#include "tests/model/rig.h"

#define INTERVALS 256u

struct seen {
    struct spool_lane_stats is;
    bool pending[MODEL_BLOCKS];
    bool follows;
};

static void look(struct rig *rig, unsigned lane, struct seen *out)
{
    struct spool_interval in[INTERVALS];
    memset(out, 0, sizeof(*out));
    spool_lane_stats_get(rig->lanes[lane], &out->is);
    size_t n = spool_lane_intervals(rig->lanes[lane], in, INTERVALS);
    RIG_CHECK(n <= INTERVALS, "lane %u has %zu intervals", lane, n);
    for (size_t i = 0; i < n; i++) {
        RIG_CHECK(in[i].first < in[i].end && (i == 0 || in[i - 1].end < in[i].first), "lane %u: interval %llu-%llu",
                  lane, (unsigned long long)in[i].first, (unsigned long long)in[i].end);
        out->follows = in[i].end == SPOOL_END;
        for (uint64_t b = in[i].first; b < in[i].end && b < rig->m.now.n; b++)
            out->pending[b] = rig->m.blocks[b].signal == model_signal(lane);
    }
}

void rig_look_pending(struct rig *rig, unsigned lane, bool pending[MODEL_BLOCKS])
{
    struct seen seen;
    look(rig, lane, &seen);
    memcpy(pending, seen.pending, sizeof(seen.pending));
}

// What a start or a crash left in the ledger that nobody told of: the loss of blocks that were never acknowledged, and what was evicted
// before the end. The ledger must name exactly the items that are missing.
static void absorb_losses(struct rig *rig, unsigned lane, const struct seen *seen)
{
    struct spool_lane_stats *is = &rig->m.now.lanes[lane].is;
    uint64_t evicted = 0;
    for (unsigned b = 0; b < rig->m.now.n; b++) {
        if (!rig->m.now.lanes[lane].pending[b] || seen->pending[b])
            continue;
        if (rig->m.blocks[b].unsure)
            model_evict(&rig->m, lane, b, b + 1, SPOOL_LOSS_DAMAGE);
        else if (rig->evicts)
            evicted += rig->m.blocks[b].items;
    }
    uint64_t full = seen->is.evicted_by[SPOOL_LOSS_FULL] - is->evicted_by[SPOOL_LOSS_FULL];
    uint64_t age = seen->is.evicted_by[SPOOL_LOSS_AGE] - is->evicted_by[SPOOL_LOSS_AGE];
    if (evicted == 0 || evicted != full + age)
        return;
    for (unsigned b = 0; b < rig->m.now.n; b++)
        rig->m.now.lanes[lane].pending[b] = rig->m.now.lanes[lane].pending[b] && seen->pending[b];
    is->evicted += evicted;
    is->evicted_by[SPOOL_LOSS_FULL] += full;
    is->evicted_by[SPOOL_LOSS_AGE] += age;
}

static bool lane_matches(struct rig *rig, unsigned lane, const struct seen *seen, char *why, size_t cap)
{
    const struct model_lane *l = &rig->m.now.lanes[lane];
    unsigned first = 0;
    while (first < rig->m.now.n && !l->pending[first])
        first++;
    const struct {
        const char *name;
        uint64_t is, expected;
    } columns[] = {
        {"accepted", seen->is.accepted, l->is.accepted},
        {"delivered", seen->is.delivered, l->is.delivered},
        {"rejected", seen->is.rejected_by_upstream, l->is.rejected_by_upstream},
        {"dead-lettered", seen->is.dead_lettered, l->is.dead_lettered},
        {"evicted", seen->is.evicted, l->is.evicted},
        {"evicted for room", seen->is.evicted_by[SPOOL_LOSS_FULL], l->is.evicted_by[SPOOL_LOSS_FULL]},
        {"evicted for age", seen->is.evicted_by[SPOOL_LOSS_AGE], l->is.evicted_by[SPOOL_LOSS_AGE]},
        {"damaged", seen->is.evicted_by[SPOOL_LOSS_DAMAGE], l->is.evicted_by[SPOOL_LOSS_DAMAGE]},
        {"replayed", seen->is.replayed, l->is.replayed},
        {"discarded", seen->is.discarded, l->is.discarded},
        {"pending", seen->is.pending, model_items(&rig->m, l, 0, SPOOL_END)},
        {"pending bytes", seen->is.pending_bytes, model_pending_bytes(&rig->m, l)},
        {"oldest", seen->is.oldest_received_ns, first < rig->m.now.n ? rig->m.blocks[first].received_ns : 0},
    };
    for (unsigned b = 0; b < rig->m.now.n; b++) {
        if (seen->pending[b] == l->pending[b])
            continue;
        snprintf(why, cap, "lane %s/%s: block %u is %spending", rig_upstreams[lane / WEIR_SIGNALS],
                 weir_signal_name(model_signal(lane)), b, seen->pending[b] ? "" : "not ");
        return false;
    }
    for (size_t i = 0; i < WEIR_COUNT(columns); i++) {
        if (columns[i].is == columns[i].expected)
            continue;
        snprintf(why, cap, "lane %s/%s: %s is %llu, not %llu", rig_upstreams[lane / WEIR_SIGNALS],
                 weir_signal_name(model_signal(lane)), columns[i].name, (unsigned long long)columns[i].is,
                 (unsigned long long)columns[i].expected);
        return false;
    }
    return true;
}

struct orphans {
    struct rig *rig;
    bool seen[MODEL_LANES];
    char why[256];
};

static void see_orphan(void *ctx, const char *upstream, enum weir_signal signal, uint64_t pending)
{
    struct orphans *o = ctx;
    for (unsigned u = 0; u < MODEL_UPSTREAMS; u++) {
        if (strcmp(upstream, rig_upstreams[u]) != 0)
            continue;
        unsigned lane = u * WEIR_SIGNALS + (unsigned)signal;
        uint64_t expected = model_items(&o->rig->m, &o->rig->m.now.lanes[lane], 0, SPOOL_END);
        o->seen[lane] = true;
        if (pending != expected)
            snprintf(o->why, sizeof(o->why), "orphan %s/%s: %llu pending, not %llu", upstream, weir_signal_name(signal),
                     (unsigned long long)pending, (unsigned long long)expected);
        return;
    }
    snprintf(o->why, sizeof(o->why), "orphan %s that nobody made", upstream);
}

bool rig_lanes_match(struct rig *rig, bool opened, char *why, size_t cap)
{
    struct orphans orphans = {.rig = rig};
    spool_orphans(rig->spool, see_orphan, &orphans);
    for (unsigned i = 0; i < MODEL_LANES; i++) {
        bool orphan = rig->m.now.lanes[i].exists && rig->lanes[i] == NULL;
        if (orphans.seen[i] != orphan && orphans.why[0] == '\0')
            snprintf(orphans.why, sizeof(orphans.why), "lane %s/%s is %san orphan", rig_upstreams[i / WEIR_SIGNALS],
                     weir_signal_name(model_signal(i)), orphans.seen[i] ? "" : "not ");
    }
    if (orphans.why[0] != '\0') {
        snprintf(why, cap, "%s", orphans.why);
        return false;
    }
    for (unsigned i = 0; i < MODEL_LANES; i++) {
        if (rig->lanes[i] == NULL)
            continue;
        struct seen seen;
        look(rig, i, &seen);
        if (opened)
            absorb_losses(rig, i, &seen);
        if (!seen.follows) {
            snprintf(why, cap, "an open lane does not follow");
            return false;
        }
        if (!lane_matches(rig, i, &seen, why, cap))
            return false;
    }
    return rig_notes_match(rig, why, cap);
}

static void compare_letters(struct rig *rig, const struct spool_stats *stats)
{
    uint64_t requests = 0, items = 0, unsure_requests = 0, unsure_items = 0;
    for (unsigned i = 0; i < MODEL_LETTERS; i++) {
        const struct model_letter *l = &rig->m.letters[i];
        requests += l->there && !l->unsure;
        items += l->there && !l->unsure ? l->items : 0;
        unsure_requests += l->unsure;
        unsure_items += l->unsure ? l->items : 0;
    }
    uint64_t there, there_items;
    if (!rig_free_letters(rig, &there, &there_items))
        return;
    RIG_CHECK(there >= requests && there <= requests + unsure_requests && there_items >= items &&
                  there_items <= items + unsure_items,
              "%llu dead letters of %llu items, not %llu of %llu (and %llu of %llu that may be there)",
              (unsigned long long)there, (unsigned long long)there_items, (unsigned long long)requests,
              (unsigned long long)items, (unsigned long long)unsure_requests, (unsigned long long)unsure_items);
    RIG_CHECK(stats->dead_letter_bytes <= rig->options.max_bytes / 8, "dead letters beyond their quota");
}

static void compare_spool(struct rig *rig)
{
    struct spool_stats stats;
    uint64_t items[WEIR_SIGNALS] = {0}, raw[WEIR_SIGNALS] = {0};
    spool_stats_get(rig->spool, &stats);
    RIG_CHECK(stats.next_block == rig->m.now.n, "the next block is %llu, not %u", (unsigned long long)stats.next_block,
              rig->m.now.n);
    for (unsigned i = 0; i < rig->m.now.n; i++) {
        items[rig->m.blocks[i].signal] += rig->m.blocks[i].items;
        raw[rig->m.blocks[i].signal] += rig->m.blocks[i].raw_bytes;
    }
    for (unsigned i = 0; i < WEIR_SIGNALS; i++)
        RIG_CHECK(stats.items_total[i] == items[i] && stats.raw_bytes_by_signal[i] == raw[i],
                  "%s: %llu items of %llu bytes in all, not %llu of %llu", weir_signal_name((enum weir_signal)i),
                  (unsigned long long)stats.items_total[i], (unsigned long long)stats.raw_bytes_by_signal[i],
                  (unsigned long long)items[i], (unsigned long long)raw[i]);
    for (uint64_t i = 0; i < stats.first_block && i < rig->m.now.n; i++)
        RIG_CHECK(!model_needed(&rig->m, i), "block %llu is needed, the first one there is %llu", (unsigned long long)i,
                  (unsigned long long)stats.first_block);
    uint64_t used = rig_directory_bytes(rig->directory);
    RIG_CHECK(used <= rig->options.max_bytes, "%llu bytes on disk of at most %llu", (unsigned long long)used,
              (unsigned long long)rig->options.max_bytes);
    RIG_CHECK(stats.damaged_files == 0, "%u damaged files", stats.damaged_files);
    RIG_CHECK(stats.state == SPOOL_OK || stats.reason[0] != '\0', "not well, and no reason");
    compare_letters(rig, &stats);
    rig_compare_letters(rig);
}

void rig_compare(struct rig *rig)
{
    char why[512] = "";
    // Only the keeper's evictions come by themselves, and it tells of them after they are in the ledger.
    bool match = false;
    uint64_t deadline = weir_now_ns() + 10000000000u;
    for (bool more = true; more && !match; more = rig->evicts && weir_now_ns() < deadline) {
        rig_take_events(rig);
        match = rig_lanes_match(rig, false, why, sizeof(why));
        if (!match && rig->evicts)
            nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    RIG_CHECK(match, "%s", why);
    compare_spool(rig);
    rig_note_needed(rig);
}

// Whether a lane needs a block that a reader has just passed over. The keeper tells of an eviction when it is in the ledger already.
static bool still_needed(struct rig *rig, unsigned block)
{
    uint64_t deadline = weir_now_ns() + 10000000000u;
    while (rig->evicts && model_needed(&rig->m, block) && weir_now_ns() < deadline) {
        nanosleep(&(struct timespec){0, 1000000}, NULL);
        rig_take_events(rig);
    }
    return model_needed(&rig->m, block);
}

int rig_read(struct rig *rig, enum weir_signal signal, uint64_t from, uint64_t end, struct block_view *keep,
             uint64_t *skip_to)
{
    struct weir_err err = {0};
    struct block_view view;
    uint64_t stop = end < rig->m.now.n ? end : rig->m.now.n;
    int code = spool_reader_next(rig->reader, signal, from, end, &view, skip_to, &err);
    RIG_CHECK(code == WEIR_OK || code == WEIR_E_AGAIN || code == WEIR_E_CORRUPT, "read %s from %llu: %s",
              weir_signal_name(signal), (unsigned long long)from, err.text);
    uint64_t to = code == WEIR_OK ? view.number : *skip_to;
    RIG_CHECK(from > stop || (to >= from && to <= stop), "read %s from %llu to %llu: goes to %llu",
              weir_signal_name(signal), (unsigned long long)from, (unsigned long long)end, (unsigned long long)to);
    for (uint64_t b = from; b < to && b < rig->m.now.n; b++)
        RIG_CHECK(rig->m.blocks[b].signal != signal || (code == WEIR_E_CORRUPT && rig->m.blocks[b].unsure) ||
                      !still_needed(rig, b),
                  "read %s from %llu: block %llu is passed over (%s)", weir_signal_name(signal),
                  (unsigned long long)from, (unsigned long long)b, code == WEIR_OK ? "found a later one" : err.text);
    if (code == WEIR_E_AGAIN)
        RIG_CHECK(from >= stop || to == stop, "read %s from %llu: ends at %llu", weir_signal_name(signal),
                  (unsigned long long)from, (unsigned long long)to);
    if (code != WEIR_OK)
        return code;
    RIG_CHECK(view.number < stop, "read %s from %llu: block %llu", weir_signal_name(signal), (unsigned long long)from,
              (unsigned long long)view.number);
    rig_block_check(&view, &rig->m.blocks[view.number], "read");
    run_counts->reads++;
    if (keep != NULL)
        *keep = view;
    else
        block_view_release(&view);
    *skip_to = to;
    return WEIR_OK;
}

// The spool let go of data by itself. It may only do what it is told to, and must say how much it was.
static void take_eviction(struct rig *rig, const struct spool_event *e, unsigned lane)
{
    uint64_t items = model_items(&rig->m, &rig->m.now.lanes[lane], e->first, e->end);
    bool told_to = e->loss == SPOOL_LOSS_FULL ? rig->options.evict_oldest : rig->options.max_age_ns != 0;
    RIG_CHECK(told_to && items == e->items, "evicted %llu to %llu of lane %u for %d: %llu items, not %llu",
              (unsigned long long)e->first, (unsigned long long)e->end, lane, (int)e->loss,
              (unsigned long long)e->items, (unsigned long long)items);
    for (uint64_t b = 0; b < e->end && b < rig->m.now.n; b++) {
        if (!rig->m.now.lanes[lane].pending[b])
            continue;
        RIG_CHECK(e->loss != SPOOL_LOSS_FULL || b >= e->first, "block %llu is older than those that went for room",
                  (unsigned long long)b);
        RIG_CHECK(e->loss != SPOOL_LOSS_AGE || b < e->first ||
                      rig->m.blocks[b].received_ns + RIG_MAX_AGE_NS < rig_clock(),
                  "block %llu is not old enough to go", (unsigned long long)b);
    }
    model_evict(&rig->m, lane, e->first, e->end, e->loss);
    model_changed(&rig->m);
}

void rig_take_events(struct rig *rig)
{
    pthread_mutex_lock(&rig->events_lock);
    for (size_t i = 0; i < rig->events_n; i++) {
        const struct spool_event *e = &rig->events[i].event;
        RIG_CHECK(e->kind == SPOOL_EVENT_EVICTED, "damage: %s", e->text);
        if (e->loss != SPOOL_LOSS_DAMAGE) // of those the model knows
            take_eviction(rig, e, rig->events[i].upstream * WEIR_SIGNALS + (unsigned)e->signal);
    }
    rig->events_n = 0;
    pthread_mutex_unlock(&rig->events_lock);
}
