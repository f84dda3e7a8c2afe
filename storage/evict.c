// SPDX-License-Identifier: Apache-2.0
// Segments go here, and only here. The order is what makes it safe: the loss is entered in the ledgers and the range taken out of every
// lane, then the state that says so is made durable, then the file is unlinked, then a person is told. A crash leaves either the file and
// lanes that need it, or lanes that do not.
#include "storage/evict.h"
#include "storage/keeper.h"
#include "storage/retention.h"
#include "storage/space.h"
#include "storage/spool_priv.h"

#define LEARN_AT_ONCE 16u // segments of former runs that are opened to see what they hold

// --- which one ----------------------------------------------------------------------------------------------------------------

// Under lanes_lock and lock: marks the segments of which the lane still has a block to get, as far as it is known what they hold.
static void mark_needed(const struct spool_lane *lane, struct retention_segment *list, size_t n)
{
    const struct spool *spool = lane->spool;
    const struct interval_set *set = &lane->record.set;
    for (size_t i = 0, at = 0; i < n && at < set->n;) {
        const struct segment *segment = spool->segments[i];
        const struct interval *in = &set->at[at];
        uint64_t limit = i + 1 < spool->segments_n ? spool->segments[i + 1]->first : UINT64_MAX;
        if (limit <= in->first.number) {
            i++;
        } else if (in->end.number <= segment->first) {
            at++;
        } else {
            struct mark begin = mark_of(&segment->begin_counts, lane->record.signal, segment->first);
            struct mark end = mark_of(&segment->end_counts, lane->record.signal, segment->end);
            struct mark a = in->first.number > begin.number ? in->first : begin;
            struct mark b = in->end.number < end.number ? in->end : end;
            bool known = segment->facts_known && segment->end_known;
            if (!known || (a.number < b.number && a.blocks < b.blocks))
                list[i].needed = true;
            if (in->end.number < limit)
                at++;
            else
                i++;
        }
    }
}

// Under lanes_lock and lock: the facts of the first n segments.
static void gather(struct spool *spool, struct retention_segment *list, size_t n, uint64_t now_ns)
{
    uint64_t kept_bytes = 0;
    for (size_t i = 0; i < n; i++)
        list[i] = (struct retention_segment){.needed = spool->lanes_n == 0,
                                             .received_last_ns = retention_received(spool, spool->segments[i]),
                                             .tried = spool->segments[i]->tried_round == spool->retention_round,
                                             .damaged = spool->segments[i]->damaged};
    for (size_t i = 0; i < spool->lanes_n; i++)
        mark_needed(spool->lanes[i], list, n);
    for (size_t i = 0; i < n; i++) {
        struct segment *segment = spool->segments[i];
        if (list[i].needed)
            segment->passed_ns = 0;
        else if (segment->passed_ns == 0 || segment->passed_ns > now_ns) // the clock was set back
            segment->passed_ns = now_ns;
        list[i].passed_ns = segment->passed_ns;
        kept_bytes += list[i].needed || segment == spool->active ? 0 : segment->disk_bytes;
    }
    spool->kept_bytes = kept_bytes;
}

// The next segment that must go, pinned, and where the one behind it begins.
static enum retention_why choose(struct spool *spool, uint64_t room_bytes, struct segment **out, uint64_t *limit)
{
    struct retention_limits limits = {.now_ns = retention_now(spool),
                                      .max_age_ns = spool->max_age_ns,
                                      .keep_delivered_ns = spool->keep_delivered_ns,
                                      .evict_oldest = spool->evict_oldest && space_can_be_made(spool, room_bytes),
                                      .room_needed = room_bytes > 0};
    pthread_mutex_lock(&spool->lock);
    size_t n = spool->segments_n, which;
    pthread_mutex_unlock(&spool->lock);
    struct retention_segment *list = calloc(n > 0 ? n : 1, sizeof(*list));
    if (list == NULL)
        return RETENTION_NONE;
    pthread_mutex_lock(&spool->lanes_lock);
    pthread_mutex_lock(&spool->lock);
    n = spool->segments_n < n ? spool->segments_n : n; // the last of the list never goes, be it the last of all or not
    gather(spool, list, n, limits.now_ns);
    enum retention_why why = retention_next(list, n, &limits, &which);
    if (why != RETENTION_NONE) {
        *out = spool->segments[which];
        (*out)->refs++;
        *limit = spool->segments[which + 1]->first;
    }
    pthread_mutex_unlock(&spool->lock);
    pthread_mutex_unlock(&spool->lanes_lock);
    free(list);
    return why;
}

// --- out of the lanes ---------------------------------------------------------------------------------------------------------

// What of [first, end) lies in the set, from its first number to its last. Empty: end 0.
static struct lane_loss hull(const struct interval_set *set, uint64_t first, uint64_t end)
{
    struct lane_loss out = {0};
    for (size_t i = 0; i < set->n; i++) {
        uint64_t a = set->at[i].first.number > first ? set->at[i].first.number : first;
        uint64_t b = set->at[i].end.number < end ? set->at[i].end.number : end;
        if (a >= b)
            continue;
        out.first = out.end == 0 ? a : out.first;
        out.end = b;
    }
    return out;
}

static bool would_split(const struct interval_set *set, uint64_t first, uint64_t end)
{
    for (size_t i = 0; i < set->n; i++)
        if (set->at[i].first.number < first && set->at[i].end.number > end)
            return set->n == INTERVALS_MAX;
    return false;
}

// A sealed segment whose facts are known.
struct leaving {
    uint64_t first, end;
    struct spool_counts begin_counts, end_counts;
    uint64_t received_first_ns, received_last_ns;
    struct lane_loss losses[STATE_LANES_MAX]; // by lane
};

// Takes the segment out of all lanes, or out of none. Under lanes_lock.
static bool lanes_leave(struct spool *spool, struct leaving *l, enum spool_loss why, bool may_lose)
{
    for (size_t i = 0; i < spool->lanes_n; i++) {
        struct spool_lane *lane = spool->lanes[i];
        struct mark now = lane_now(lane), a = mark_of(&l->begin_counts, lane->record.signal, l->first),
                    b = mark_of(&l->end_counts, lane->record.signal, l->end);
        if ((!may_lose && intervals_overlap(&lane->record.set, a, b, &now).blocks > 0) ||
            would_split(&lane->record.set, l->first, l->end))
            return false;
    }
    for (size_t i = 0; i < spool->lanes_n; i++) {
        struct spool_lane *lane = spool->lanes[i];
        struct mark now = lane_now(lane), a = mark_of(&l->begin_counts, lane->record.signal, l->first),
                    b = mark_of(&l->end_counts, lane->record.signal, l->end);
        struct interval_sum removed = {0};
        l->losses[i] = hull(&lane->record.set, l->first, l->end);
        if (l->losses[i].end == 0)
            continue;
        bool done = intervals_subtract(&lane->record.set, a, b, &now, &removed);
        assert(done);
        l->losses[i].items = removed.items;
        if (removed.items > 0)
            lane_enter_loss(lane, why, &l->losses[i]);
        lane_changed(lane);
    }
    update_passed(spool);
    return true;
}

// Between which receipts the losses lie. The file is still there.
static void enter_times(struct spool *spool, struct leaving *l, enum spool_loss why)
{
    for (size_t i = 0; i < STATE_LANES_MAX; i++) {
        struct lane_loss *loss = &l->losses[i];
        struct block_header h;
        if (loss->items == 0)
            continue;
        loss->received_first_ns = l->received_first_ns;
        loss->received_last_ns = l->received_last_ns;
        if (loss->first > l->first && spool_header_at(spool, loss->first, &h, NULL) == WEIR_OK)
            loss->received_first_ns = h.received_first_ns;
        if (loss->end < l->end && spool_header_at(spool, loss->end - 1, &h, NULL) == WEIR_OK)
            loss->received_last_ns = h.received_last_ns;
        loss->items = 0; // they are entered
        pthread_mutex_lock(&spool->lanes_lock);
        lane_enter_loss(spool->lanes[i], why, loss);
        pthread_mutex_unlock(&spool->lanes_lock);
    }
}

static bool take_out_of_lanes(struct spool *spool, struct segment *segment, uint64_t limit, enum retention_why why)
{
    // What nobody needs loses nothing, unless counts around a damaged stretch disagree.
    static const enum spool_loss losses[] = {
        [RETENTION_NONE] = SPOOL_LOSS_DAMAGE, [RETENTION_PASSED] = SPOOL_LOSS_DAMAGE,
        [RETENTION_KEPT] = SPOOL_LOSS_DAMAGE, [RETENTION_AGE] = SPOOL_LOSS_AGE,
        [RETENTION_FULL] = SPOOL_LOSS_FULL,
    };
    if (lanes_first_needed(spool, segment->first, limit) == limit)
        return true; // in no lane's intervals: nothing needs to be read
    struct leaving *l = calloc(1, sizeof(*l));
    if (l == NULL || segment_learn(segment, limit, NULL) != WEIR_OK) {
        free(l);
        return false;
    }
    pthread_mutex_lock(&spool->lock);
    l->first = segment->first;
    l->end = segment->end;
    l->begin_counts = segment->begin_counts;
    l->end_counts = segment->end_counts;
    l->received_first_ns = segment->received_first_ns;
    l->received_last_ns = segment->received_last_ns;
    pthread_mutex_unlock(&spool->lock);
    pthread_mutex_lock(&spool->lanes_lock);
    bool gone = lanes_leave(spool, l, losses[why], why == RETENTION_AGE || why == RETENTION_FULL);
    pthread_mutex_unlock(&spool->lanes_lock);
    if (gone)
        enter_times(spool, l, losses[why]);
    free(l);
    return gone;
}

// The segment and its loss, durably. False: not now; nothing was lost then, or the next try finishes it.
static bool remove_segment(struct spool *spool, struct segment *segment, uint64_t limit, enum retention_why why)
{
    if (!take_out_of_lanes(spool, segment, limit, why)) {
        segment->tried_round = spool->retention_round;
        return false;
    }
    if (state_commit(spool, true, NULL) != WEIR_OK)
        return false;
    segment_remove_file(segment);
    return true;
}

// One segment, for that much room when it is not 0. One that cannot be read, so that its loss could not be counted, is passed over: it must
// not keep the others. False: none has to go, or it cannot be done now.
static bool evict_one(struct spool *spool, uint64_t room_bytes)
{
    struct segment *segment;
    uint64_t limit;
    bool gone = false, again = true;
    pthread_mutex_lock(&spool->retention_lock);
    spool->retention_round++;
    while (!gone && again) {
        enum retention_why why = choose(spool, room_bytes, &segment, &limit);
        if (why == RETENTION_NONE)
            break;
        gone = remove_segment(spool, segment, limit, why);
        again = segment->tried_round == spool->retention_round;
        segment_unpin(segment);
    }
    pthread_mutex_unlock(&spool->retention_lock);
    if (gone)
        lanes_tell_losses(spool);
    return gone;
}

// --- when -----------------------------------------------------------------------------------------------------------------------

// The next sealed segment from *from on of which it is not known what it holds, pinned. NULL: none.
static struct segment *unknown_segment(struct spool *spool, uint64_t *from, uint64_t *limit)
{
    struct segment *found = NULL;
    pthread_mutex_lock(&spool->lock);
    for (size_t i = 0; i < spool->segments_n && found == NULL; i++) {
        struct segment *segment = spool->segments[i];
        if (segment->first < *from || segment->facts_known || segment == spool->active)
            continue;
        found = segment;
        found->refs++;
        *limit = i + 1 < spool->segments_n ? spool->segments[i + 1]->first : UINT64_MAX;
        *from = segment->first + 1;
    }
    if (found == NULL)
        *from = 0; // those that could not be read are tried again, in their turn
    pthread_mutex_unlock(&spool->lock);
    return found;
}

static void learn_some(struct spool *spool)
{
    uint64_t limit;
    for (unsigned i = 0; i < LEARN_AT_ONCE; i++) {
        struct segment *segment = unknown_segment(spool, &spool->learn_from, &limit);
        if (segment == NULL)
            return;
        segment_learn(segment, limit, NULL);
        segment_unpin(segment);
    }
}

void evict_due(struct spool *spool)
{
    learn_some(spool);
    while (evict_one(spool, 0)) {
        if (!keeper_is_awaited(spool))
            continue;
        atomic_store(&spool->retention_due, true); // the rest after what cannot wait
        break;
    }
    clock_tell(spool);
}

int evict_for_room(struct spool *spool, uint64_t bytes, struct weir_err *err)
{
    int code;
    do {
        code = space_for(spool, bytes, err);
    } while (code == WEIR_E_FULL && evict_one(spool, bytes));
    return code;
}

void evict_begin_new(struct spool *spool)
{
    if (spool->max_age_ns == 0)
        return;
    pthread_mutex_lock(&spool->lock);
    uint64_t received_ns =
        spool->segments_n > 0 ? spool->segments[spool->segments_n - 1]->received_first_ns : 0; // 0 too: not known yet
    pthread_mutex_unlock(&spool->lock);
    if (!retention_begin_new(received_ns, spool->max_age_ns, spool_unix_ns(spool)))
        return;
    pthread_mutex_lock(&spool->queue_lock);
    spool->begin_new = true;
    pthread_cond_signal(&spool->queue_filled);
    pthread_mutex_unlock(&spool->queue_lock);
}
