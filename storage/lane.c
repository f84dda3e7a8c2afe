// SPDX-License-Identifier: Apache-2.0
// Lanes and their ledgers. `accepted` comes from the stored blocks' cumulative counts, the other columns from what was settled; what is
// pending is the difference of marks. All are read under one lock from one "now", so they add up at every moment; intervals and columns
// are stored in one transaction, so they add up after a crash too.
#include "storage/spool_priv.h"

static struct mark lane_now(const struct spool_lane *lane)
{
    return spool_now(lane->spool, lane->record.signal);
}

static uint64_t lane_accepted(const struct lane_record *r, const struct mark *now)
{
    return r->accepted_before + (r->following ? now->items - r->follow_from.items : 0);
}

static void lane_changed(struct spool_lane *lane)
{
    lane->dirty = true;
    lane->spool->lanes_dirty = true;
}

// Under lanes_lock.
static void update_passed(struct spool *spool)
{
    uint64_t passed = spool->lanes_n > 0 ? atomic_load(&spool->next_block) : 0;
    for (size_t i = 0; i < spool->lanes_n; i++) {
        const struct interval_set *set = &spool->lanes[i]->record.set;
        if (set->n > 0 && set->at[0].first.number < passed)
            passed = set->at[0].first.number;
    }
    atomic_store(&spool->passed, passed);
}

void lanes_update_passed(struct spool *spool)
{
    pthread_mutex_lock(&spool->lanes_lock);
    update_passed(spool);
    pthread_mutex_unlock(&spool->lanes_lock);
}

int lane_load(void *ctx, const struct lane_record *record, struct weir_err *err)
{
    struct spool *spool = ctx;
    if (spool->lanes_n == STATE_LANES_MAX)
        return weir_fail(err, WEIR_E_CORRUPT, "state: more than %u lanes", STATE_LANES_MAX);
    struct spool_lane *lane = calloc(1, sizeof(*lane));
    if (lane == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "state: out of memory");
    lane->spool = spool;
    lane->record = *record;
    lane->oldest_number = UINT64_MAX;
    spool->lanes[spool->lanes_n++] = lane;
    return WEIR_OK;
}

// A lane gets new blocks only while somebody has it open. Everything on disk when the spool opens is still its own: the state is
// behind the blocks after a crash, and those were promised to it.
void lanes_stop_following(struct spool *spool)
{
    pthread_mutex_lock(&spool->lanes_lock);
    for (size_t i = 0; i < spool->lanes_n; i++) {
        struct spool_lane *lane = spool->lanes[i];
        struct mark now = lane_now(lane);
        lane->record.accepted_before = lane_accepted(&lane->record, &now);
        lane->record.following = false;
        intervals_stop_following(&lane->record.set, &now);
        lane_changed(lane);
    }
    update_passed(spool);
    pthread_mutex_unlock(&spool->lanes_lock);
}

// Under lanes_lock: the lane gets all from `from` on, which is not after now.
static bool lane_follow(struct spool_lane *lane, struct mark from, const struct mark *now)
{
    struct mark end = {.number = SPOOL_END};
    struct interval_sum added = {0};
    if (!intervals_add(&lane->record.set, from, end, now, &added))
        return false;
    // Accepted now is what was, and what the lane gets of the blocks already there.
    lane->record.accepted_before = lane_accepted(&lane->record, now) + added.items;
    lane->record.following = true;
    lane->record.follow_from = *now;
    lane->attached = true;
    lane_changed(lane);
    update_passed(lane->spool);
    return true;
}

static struct spool_lane *lane_find(struct spool *spool, const char *upstream, enum weir_signal signal)
{
    for (size_t i = 0; i < spool->lanes_n; i++)
        if (spool->lanes[i]->record.signal == signal && strcmp(spool->lanes[i]->record.upstream, upstream) == 0)
            return spool->lanes[i];
    return NULL;
}

static int lane_open_locked(struct spool *spool, const struct lane_record *wanted, struct mark oldest,
                            struct spool_lane **out, struct weir_err *err)
{
    struct mark now = spool_now(spool, wanted->signal);
    struct spool_lane *lane = lane_find(spool, wanted->upstream, wanted->signal);
    bool known = lane != NULL;
    if (!known) {
        if (spool->lanes_n == STATE_LANES_MAX)
            return weir_fail(err, WEIR_E_LIMIT,
                             "more than %u lanes (upstreams times signals, removed ones with a backlog too)",
                             STATE_LANES_MAX);
        int code = lane_load(spool, wanted, err);
        if (code != WEIR_OK)
            return code;
        lane = spool->lanes[spool->lanes_n - 1];
    }
    *out = lane;
    if (lane->attached)
        return WEIR_OK;
    bool from_oldest = !known && oldest.number < now.number;
    if (!lane_follow(lane, from_oldest ? oldest : now, &now))
        return weir_fail(err, WEIR_E_LIMIT, "lane %s/%s: too many intervals", wanted->upstream,
                         weir_signal_name(wanted->signal));
    return WEIR_OK;
}

int spool_lane_open(struct spool *spool, const char *upstream, enum weir_signal signal, enum spool_start start,
                    struct spool_lane **out, struct weir_err *err)
{
    *out = NULL;
    size_t len = strlen(upstream);
    if (len == 0 || len > STATE_UPSTREAM_BYTES)
        return weir_fail(err, WEIR_E_INVALID, "upstream name of %zu bytes: 1 to %u", len, STATE_UPSTREAM_BYTES);
    struct lane_record wanted = {.signal = signal};
    memcpy(wanted.upstream, upstream, len);
    struct mark oldest = {.number = SPOOL_END};
    if (start == SPOOL_START_OLDEST || spool->state_was_lost) {
        pthread_mutex_lock(&spool->lock);
        uint64_t first = spool->segments_n > 0 ? spool->segments[0]->first : atomic_load(&spool->next_block);
        pthread_mutex_unlock(&spool->lock);
        int code = spool_mark_at(spool, signal, first, &oldest);
        if (code != WEIR_OK)
            return weir_fail(err, code, "open lane %s/%s: the oldest segment cannot be read", upstream,
                             weir_signal_name(signal));
    }
    pthread_mutex_lock(&spool->lanes_lock);
    int code = lane_open_locked(spool, &wanted, oldest, out, err);
    pthread_mutex_unlock(&spool->lanes_lock);
    if (code == WEIR_OK)
        code = state_commit(spool, false, err);
    if (code != WEIR_OK)
        weir_wrap(err, "open lane %s/%s", upstream, weir_signal_name(signal));
    return code;
}

void spool_orphans(struct spool *spool, spool_orphan_fn each, void *ctx)
{
    for (size_t i = 0;; i++) {
        pthread_mutex_lock(&spool->lanes_lock);
        bool more = i < spool->lanes_n;
        struct spool_lane *lane = more && !spool->lanes[i]->attached ? spool->lanes[i] : NULL;
        uint64_t pending = 0;
        if (lane != NULL) {
            struct mark now = lane_now(lane);
            pending = intervals_count(&lane->record.set, &now).items;
        }
        pthread_mutex_unlock(&spool->lanes_lock);
        if (!more)
            return;
        if (lane != NULL) // a lane lives as long as the spool, and its name does not change
            each(ctx, lane->record.upstream, lane->record.signal, pending);
    }
}

size_t spool_lane_intervals(struct spool_lane *lane, struct spool_interval *out, size_t max)
{
    pthread_mutex_lock(&lane->spool->lanes_lock);
    const struct interval_set *set = &lane->record.set;
    for (size_t i = 0; i < set->n && i < max; i++)
        out[i] = (struct spool_interval){set->at[i].first.number, set->at[i].end.number};
    size_t n = set->n;
    pthread_mutex_unlock(&lane->spool->lanes_lock);
    return n;
}

static uint64_t take(uint64_t *from, uint64_t most)
{
    uint64_t n = *from < most ? *from : most;
    *from -= n;
    return n;
}

// Enters `items` that left the intervals. What the outcome names beyond them was settled before (part of the range may have been
// lost or settled meanwhile) and does not count twice; what it does not name is lost to this lane, and says so.
static void ledger_enter(struct lane_record *r, const struct spool_outcome *outcome, uint64_t items)
{
    uint64_t dead_lettered = outcome->dead_lettered, discarded = outcome->discarded, delivered = outcome->delivered;
    dead_lettered = take(&items, dead_lettered);
    discarded = take(&items, discarded);
    delivered = take(&items, delivered);
    r->dead_lettered += dead_lettered;
    r->discarded += discarded;
    r->delivered += delivered;
    r->rejected_by_upstream += outcome->rejected_by_upstream < delivered ? outcome->rejected_by_upstream : delivered;
    r->evicted += items;
}

// Without the counts at its borders. Out of memory too: it stays pending, and is delivered again after a restart.
static void settle_later(struct spool_lane *lane, uint64_t first, uint64_t end, const struct spool_outcome *outcome)
{
    struct unsettled *later = malloc(sizeof(*later));
    if (later == NULL)
        return;
    pthread_mutex_lock(&lane->spool->lanes_lock);
    *later = (struct unsettled){lane->spool->unsettled, lane, first, end, *outcome};
    lane->spool->unsettled = later;
    pthread_mutex_unlock(&lane->spool->lanes_lock);
}

static struct interval_sum lane_take_out(struct spool_lane *lane, uint64_t first, uint64_t end,
                                         const struct spool_outcome *outcome)
{
    struct spool *spool = lane->spool;
    struct mark a, b;
    struct interval_sum removed = {0};
    bool wake = false;
    if (spool_mark_at(spool, lane->record.signal, first, &a) != WEIR_OK || // may read: before the lock
        spool_mark_at(spool, lane->record.signal, end, &b) != WEIR_OK) {
        settle_later(lane, first, end, outcome);
        return removed;
    }
    pthread_mutex_lock(&spool->lanes_lock);
    struct mark now = lane_now(lane);
    // No room to split an interval: it stays pending whole and will be delivered again. At least once, never less.
    if (intervals_subtract(&lane->record.set, a, b, &now, &removed)) {
        ledger_enter(&lane->record, outcome, removed.items);
        lane_changed(lane);
        update_passed(spool);
        spool->settled_blocks += (unsigned)(removed.blocks < SPOOL_STATE_BLOCKS ? removed.blocks : SPOOL_STATE_BLOCKS);
        wake = spool->settled_blocks >= SPOOL_STATE_BLOCKS;
        if (wake)
            spool->settled_blocks = 0;
    }
    pthread_mutex_unlock(&spool->lanes_lock);
    if (wake)
        keeper_wake(spool);
    return removed;
}

void spool_lane_settle(struct spool_lane *lane, uint64_t first, uint64_t end, const struct spool_outcome *outcome)
{
    if (first < end)
        lane_take_out(lane, first, end, outcome);
}

uint64_t spool_lane_lost(struct spool_lane *lane, uint64_t first, uint64_t end)
{
    static const struct spool_outcome nothing; // of what there was: all of it is evicted
    return first < end ? lane_take_out(lane, first, end, &nothing).items : 0;
}

void lanes_settle_again(struct spool *spool)
{
    pthread_mutex_lock(&spool->lanes_lock);
    struct unsettled *list = spool->unsettled;
    spool->unsettled = NULL;
    pthread_mutex_unlock(&spool->lanes_lock);
    for (struct unsettled *next; list != NULL; list = next) {
        next = list->next;
        lane_take_out(list->lane, list->first, list->end, &list->outcome);
        free(list);
    }
}

// Under lanes_lock: moves the lane's first intervals to `end` as far as they hold no block of it. False: there is one.
static bool lane_move_past(struct spool_lane *lane, struct mark end)
{
    struct interval_set *set = &lane->record.set;
    struct mark now = lane_now(lane);
    while (set->n > 0 && set->at[0].first.number < end.number) {
        struct mark stop = set->at[0].end.number < end.number ? set->at[0].end : end;
        struct interval_sum removed = {0};
        if (stop.blocks > set->at[0].first.blocks || !intervals_subtract(set, set->at[0].first, stop, &now, &removed))
            return false;
        lane->record.evicted += removed.items; // 0, unless counts around a lost stretch disagree
        lane_changed(lane);
    }
    return true;
}

bool lanes_passed(struct spool *spool, struct segment *segment, uint64_t limit)
{
    if (atomic_load(&spool->passed) >= limit)
        return true;
    uint64_t end;
    struct spool_counts counts;
    if (segment_end(segment, limit, &end, &counts, NULL) != WEIR_OK)
        return false;
    pthread_mutex_lock(&spool->lanes_lock);
    bool all = spool->lanes_n > 0;
    for (size_t i = 0; i < spool->lanes_n; i++)
        if (!lane_move_past(spool->lanes[i], mark_of(&counts, spool->lanes[i]->record.signal, end)))
            all = false;
    update_passed(spool);
    pthread_mutex_unlock(&spool->lanes_lock);
    return all;
}

void lane_record_stats(const struct lane_record *r, const struct mark *now, struct spool_lane_stats *out)
{
    struct interval_sum pending = intervals_count(&r->set, now);
    *out = (struct spool_lane_stats){
        .accepted = lane_accepted(r, now),
        .delivered = r->delivered,
        .pending = pending.items,
        .dead_lettered = r->dead_lettered,
        .evicted = r->evicted,
        .discarded = r->discarded,
        .rejected_by_upstream = r->rejected_by_upstream,
        .pending_bytes = pending.raw_bytes,
    };
}

void spool_lane_stats_get(struct spool_lane *lane, struct spool_lane_stats *out)
{
    struct spool *spool = lane->spool;
    pthread_mutex_lock(&spool->lanes_lock);
    const struct lane_record *r = &lane->record;
    struct mark now = lane_now(lane);
    struct interval_sum pending = intervals_count(&r->set, &now);
    lane_record_stats(r, &now, out);
    struct spool_interval first = {0};
    for (size_t i = 0; i < r->set.n && pending.blocks > 0; i++) {
        const struct interval *in = &r->set.at[i];
        if ((in->end.number == SPOOL_END ? now.blocks : in->end.blocks) > in->first.blocks) {
            first = (struct spool_interval){in->first.number, in->end.number};
            break;
        }
    }
    bool known = first.end == 0 || (lane->oldest_number == first.first && lane->oldest_received_ns != 0);
    out->oldest_received_ns = first.end == 0 ? 0 : lane->oldest_received_ns;
    pthread_mutex_unlock(&spool->lanes_lock);
    if (known)
        return;
    out->oldest_received_ns = spool_received_at(spool, r->signal, first.first, first.end);
    pthread_mutex_lock(&spool->lanes_lock);
    lane->oldest_number = first.first;
    lane->oldest_received_ns = out->oldest_received_ns;
    pthread_mutex_unlock(&spool->lanes_lock);
}

// Copies what changed, and marks it as stored: whatever happens after the copy is for the next commit. Under lanes_lock.
static size_t copy_changed(struct spool *spool, struct lane_record *copies, struct spool_lane **from)
{
    size_t n = 0;
    for (size_t i = 0; i < spool->lanes_n; i++) {
        if (!spool->lanes[i]->dirty)
            continue;
        spool->lanes[i]->dirty = false;
        copies[n] = spool->lanes[i]->record;
        from[n++] = spool->lanes[i];
    }
    spool->lanes_dirty = false;
    return n;
}

static int state_commit_locked(struct spool *spool, bool always, struct weir_err *err)
{
    char path[SPOOL_PATH_MAX];
    int code = spool_path(spool, "state.mdb", path, err);
    if (code == WEIR_OK && spool->lane_state == NULL) // an earlier commit failed: that environment is not used again
        code = state_open(path, &spool->lane_state, err);
    if (code != WEIR_OK)
        return code;
    struct lane_record *copies = malloc(STATE_LANES_MAX * sizeof(*copies));
    if (copies == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "state: out of memory");
    struct spool_lane *from[STATE_LANES_MAX];
    const struct lane_record *list[STATE_LANES_MAX];
    struct state_record record;
    pthread_mutex_lock(&spool->lanes_lock);
    bool changed = spool->lanes_dirty;
    size_t n = copy_changed(spool, copies, from);
    pthread_mutex_lock(&spool->lock);
    record.next_block = atomic_load(&spool->next_block);
    record.counts = spool->counts;
    memcpy(record.instance, spool->instance, sizeof(record.instance));
    pthread_mutex_unlock(&spool->lock);
    pthread_mutex_unlock(&spool->lanes_lock);
    for (size_t i = 0; i < n; i++)
        list[i] = &copies[i];
    if (changed || always)
        code = state_save(spool->lane_state, &record, list, n, err);
    free(copies);
    if (code == WEIR_OK)
        return code;
    state_close(spool->lane_state);
    spool->lane_state = NULL;
    pthread_mutex_lock(&spool->lanes_lock);
    for (size_t i = 0; i < n; i++)
        lane_changed(from[i]);
    spool->lanes_dirty = true;
    pthread_mutex_unlock(&spool->lanes_lock);
    return code;
}

int state_commit(struct spool *spool, bool always, struct weir_err *err)
{
    pthread_mutex_lock(&spool->state_lock);
    int code = state_commit_locked(spool, always, err);
    pthread_mutex_unlock(&spool->state_lock);
    return code;
}

int spool_sync_state(struct spool *spool, struct weir_err *err)
{
    return state_commit(spool, false, err);
}
