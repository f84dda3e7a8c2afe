// SPDX-License-Identifier: Apache-2.0
// Lanes and their ledgers. `accepted` comes from the stored blocks' cumulative counts, the other columns from what was settled; what is
// pending is the difference of marks. All are read under one lock from one "now", so they add up at every moment; intervals and columns
// are stored in one transaction, so they add up after a crash too.
#include "storage/file_read.h"
#include "storage/letters_priv.h"
#include "storage/spool_priv.h"

#define PATIENCE 10u // segments with a bad sector, until each is known to be one

struct mark lane_now(const struct spool_lane *lane)
{
    return spool_now(lane->spool, lane->record.signal);
}

static uint64_t lane_accepted(const struct lane_record *r, const struct mark *now)
{
    return r->accepted_before + (r->following ? now->items - r->follow_from.items : 0);
}

void lane_changed(struct spool_lane *lane)
{
    lane->dirty = true;
    lane->spool->lanes_dirty = true;
    atomic_store(&lane->spool->retention_due, true);
}

void update_passed(struct spool *spool)
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

uint64_t lanes_first_needed(struct spool *spool, uint64_t from, uint64_t end)
{
    pthread_mutex_lock(&spool->lanes_lock);
    for (size_t i = 0; i < spool->lanes_n; i++) {
        const struct interval_set *set = &spool->lanes[i]->record.set;
        size_t at = 0;
        while (at < set->n && set->at[at].end.number <= from)
            at++;
        if (at < set->n && set->at[at].first.number < end)
            end = set->at[at].first.number > from ? set->at[at].first.number : from;
    }
    pthread_mutex_unlock(&spool->lanes_lock);
    return end;
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
    lane->first_durable = record->set.n > 0 ? record->set.at[0].first.number : 0;
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

// What a new lane begins with: what files hold, without the holes between them, which are nobody's loss.
struct start {
    uint64_t next; // block, when it was looked
    struct interval pieces[INTERVALS_MAX];
    size_t n;
};

// Under lanes_lock: the lane gets the pieces and all that is new.
static bool lane_follow(struct spool_lane *lane, const struct start *start, const struct mark *now)
{
    struct interval_set set = lane->record.set;
    struct mark end = {.number = SPOOL_END}, from = *now;
    struct interval_sum added = {0};
    for (size_t i = 0; i < start->n; i++) {
        if (start->pieces[i].end.number >= start->next) // what came since goes with it
            from = start->pieces[i].first;
        else if (!intervals_add(&set, start->pieces[i].first, start->pieces[i].end, now, &added))
            return false;
    }
    if (!intervals_add(&set, from, end, now, &added))
        return false;
    lane->record.set = set;
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

static int lane_open_locked(struct spool *spool, const struct lane_record *wanted, const struct start *oldest,
                            struct spool_lane **out, struct spool_lane **gone, struct weir_err *err)
{
    struct mark now = spool_now(spool, wanted->signal);
    struct spool_lane *lane = lane_find(spool, wanted->upstream, wanted->signal);
    bool known = lane != NULL;
    if (!known) {
        if (spool->lanes_n == STATE_LANES_MAX && (*gone = lane_forget(spool)) == NULL)
            return weir_fail(
                err, WEIR_E_LIMIT,
                "more than %u lanes (upstreams times signals, removed ones with a backlog or dead letters too)",
                STATE_LANES_MAX);
        int code = lane_load(spool, wanted, err);
        if (code != WEIR_OK)
            return code;
        lane = spool->lanes[spool->lanes_n - 1];
    }
    *out = lane;
    if (lane->attached)
        return WEIR_OK;
    static const struct start from_now;
    if (!lane_follow(lane, known ? &from_now : oldest, &now))
        return weir_fail(err, WEIR_E_LIMIT, "lane %s/%s: too many intervals", wanted->upstream,
                         weir_signal_name(wanted->signal));
    return WEIR_OK;
}

// In more pieces than a lane can have: one from the first to now, and what is missing in between counts as lost.
static int find_oldest(struct spool *spool, enum weir_signal signal, struct start *out)
{
    out->next = atomic_load(&spool->next_block);
    int code = past_pieces(spool, signal, (struct spool_interval){0, out->next}, out->pieces, &out->n);
    if (code == WEIR_OK && out->n < INTERVALS_MAX)
        return code;
    if (code != WEIR_OK && code != WEIR_E_LIMIT)
        return code;
    out->n = 1;
    return spool_mark_at(spool, signal, out->next, &out->pieces[0].end);
}

static int lane_open_from(struct spool *spool, const struct lane_record *wanted, bool from_oldest,
                          struct spool_lane **out, struct spool_lane **gone, struct weir_err *err)
{
    struct start oldest = {.n = 0};
    int code = WEIR_OK;
    pthread_mutex_lock(&spool->retention_lock); // what it begins with stays
    if (from_oldest) {
        code = find_oldest(spool, wanted->signal, &oldest);
        if (code != WEIR_OK)
            weir_fail(err, code, "a segment cannot be read now");
    }
    if (code == WEIR_OK) {
        pthread_mutex_lock(&spool->lanes_lock);
        code = lane_open_locked(spool, wanted, &oldest, out, gone, err);
        pthread_mutex_unlock(&spool->lanes_lock);
    }
    pthread_mutex_unlock(&spool->retention_lock);
    return code;
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
    struct spool_lane *gone = NULL;
    unsigned tries = 0;
    int code;
    do { // a bad sector in any segment must not keep the relay from starting
        code = lane_open_from(spool, &wanted, start == SPOOL_START_OLDEST || spool->state_was_lost, out, &gone, err);
    } while (code == WEIR_E_IO && file_read_try_again(&tries, PATIENCE * file_read_patience.tries));
    if (gone != NULL)
        lane_tell_forgotten(gone);
    if (code == WEIR_OK) {
        letters_lane_begin(*out);
        code = state_commit(spool, false, err);
    }
    if (code != WEIR_OK)
        weir_wrap(err, "open lane %s/%s", upstream, weir_signal_name(signal));
    return code;
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

uint64_t spool_lane_passed(struct spool_lane *lane)
{
    pthread_mutex_lock(&lane->spool->lanes_lock);
    const struct interval_set *set = &lane->record.set;
    uint64_t passed = lane->first_durable;
    if (set->n > 0 && set->at[0].first.number < passed) // added by a replay
        passed = set->at[0].first.number;
    pthread_mutex_unlock(&lane->spool->lanes_lock);
    return passed;
}

void lane_record_stats(const struct lane_record *r, const struct mark *now, struct spool_lane_stats *out)
{
    struct interval_sum pending = intervals_count(&r->set, now);
    *out = (struct spool_lane_stats){
        .accepted = lane_accepted(r, now),
        .delivered = r->delivered,
        .pending = pending.items,
        .dead_lettered = r->dead_lettered,
        .discarded = r->discarded,
        .rejected_by_upstream = r->rejected_by_upstream,
        .pending_bytes = pending.raw_bytes,
        .replayed = r->replayed,
        .evicted_received_first_ns = r->evicted_received_first_ns,
        .evicted_received_last_ns = r->evicted_received_last_ns,
    };
    for (size_t i = 0; i < SPOOL_LOSSES; i++) {
        out->evicted_by[i] = r->evicted_by[i];
        out->evicted += r->evicted_by[i];
    }
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
