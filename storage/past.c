// SPDX-License-Identifier: Apache-2.0
// The past: what files still hold, where a time lies in it, and giving a lane a part of it again.
#include "storage/past.h"
#include "storage/letters_priv.h"
#include "storage/spool_priv.h"

#define OUT_OF_ORDER 64u // blocks of several ingest loops are received side by side

// --- what files hold --------------------------------------------------------------------------------------------------------

static bool piece_add(struct interval *out, size_t *n, struct mark first, struct mark end)
{
    if (*n > 0 && out[*n - 1].end.number == first.number) {
        out[*n - 1].end = end;
        return true;
    }
    if (*n == INTERVALS_MAX)
        return false;
    out[(*n)++] = (struct interval){first, end};
    return true;
}

// The part of [from, end) that the pinned segment holds.
static int piece_of(struct segment *segment, uint64_t limit, enum weir_signal signal, uint64_t from, uint64_t *end,
                    struct interval *out)
{
    struct spool *spool = segment->spool;
    struct spool_counts counts;
    uint64_t stop = atomic_load(&spool->next_block);
    int code = WEIR_OK;
    bool sealed = !segment_is_active(segment);
    if (sealed)
        code = segment_end(segment, limit, &stop, &counts, NULL);
    stop = stop < limit ? stop : limit;
    *end = *end < stop ? *end : stop;
    if (code != WEIR_OK || from >= *end)
        return code == WEIR_OK || code == WEIR_E_CORRUPT ? WEIR_E_NOT_FOUND : code;
    code = spool_mark_at(spool, signal, from, &out->first);
    // Not by the next segment where this one ends: when that is damaged, what it lost would count as this one's.
    if (code == WEIR_OK && sealed && *end == stop)
        out->end = mark_of(&counts, signal, stop);
    else if (code == WEIR_OK)
        code = spool_mark_at(spool, signal, *end, &out->end);
    return code;
}

int past_pieces(struct spool *spool, enum weir_signal signal, struct spool_interval range,
                struct interval out[INTERVALS_MAX], size_t *n)
{
    uint64_t next = atomic_load(&spool->next_block), limit;
    *n = 0;
    for (uint64_t from = range.first, end = range.end < next ? range.end : next; from < end; from = limit) {
        struct segment *segment = catalog_pin(spool, from, &limit);
        if (segment == NULL)
            continue;
        struct interval piece;
        uint64_t stop = end;
        int code = piece_of(segment, limit, signal, from, &stop, &piece);
        segment_unpin(segment);
        if (code == WEIR_OK && !piece_add(out, n, piece.first, piece.end))
            return WEIR_E_LIMIT;
        if (code != WEIR_OK && code != WEIR_E_NOT_FOUND)
            return code;
    }
    return WEIR_OK;
}

// --- replay -----------------------------------------------------------------------------------------------------------------

struct fresh {
    struct interval at[2 * INTERVALS_MAX + 1];
    size_t n;
    struct interval_sum sum;
};

// Under lanes_lock: what of the pieces the lane has not pending. False: too many parts.
static bool fresh_find(const struct interval_set *set, const struct interval *pieces, size_t n, const struct mark *now,
                       struct fresh *out)
{
    struct interval_set one = {.n = 0};
    for (size_t i = 0; i < n; i++) {
        struct interval_sum added = {0}, removed = {0};
        one.n = 0;
        intervals_add(&one, pieces[i].first, pieces[i].end, now, &added);
        for (size_t k = 0; k < set->n; k++)
            if (!intervals_subtract(&one, set->at[k].first, set->at[k].end, now, &removed))
                return false;
        for (size_t k = 0; k < one.n; k++) {
            struct interval_sum sum = intervals_overlap(&one, one.at[k].first, one.at[k].end, now);
            if (sum.blocks == 0)
                continue;
            assert(out->n < WEIR_COUNT(out->at)); // each piece, and one more for each of the lane's intervals
            out->at[out->n++] = one.at[k];
            out->sum.blocks += sum.blocks;
            out->sum.items += sum.items;
            out->sum.raw_bytes += sum.raw_bytes;
        }
    }
    return true;
}

// Under lanes_lock. False: too many intervals, nothing was added.
static bool fresh_add(struct spool_lane *lane, const struct fresh *fresh, const struct mark *now)
{
    struct interval_set set = lane->record.set;
    struct interval_sum added = {0};
    for (size_t i = 0; i < fresh->n; i++)
        if (!intervals_add(&set, fresh->at[i].first, fresh->at[i].end, now, &added))
            return false;
    lane->record.set = set;
    lane->record.accepted_before += added.items;
    lane->record.replayed += added.items;
    lane_changed(lane);
    update_passed(lane->spool);
    return true;
}

// Its state could not be made durable. What was delivered of it meanwhile stays, in all columns.
static void fresh_take_back(struct spool_lane *lane, const struct fresh *fresh)
{
    pthread_mutex_lock(&lane->spool->lanes_lock);
    struct mark now = lane_now(lane);
    struct interval_sum removed = {0};
    for (size_t i = 0; i < fresh->n; i++)
        intervals_subtract(&lane->record.set, fresh->at[i].first, fresh->at[i].end, &now, &removed);
    lane->record.accepted_before -= removed.items;
    lane->record.replayed -= removed.items;
    lane_changed(lane);
    update_passed(lane->spool);
    pthread_mutex_unlock(&lane->spool->lanes_lock);
}

static void tell_fresh(struct spool_lane *lane, const struct fresh *fresh, struct spool_replay *out)
{
    struct spool *spool = lane->spool;
    struct block_header h;
    uint64_t first = fresh->at[0].first.number, end = fresh->at[fresh->n - 1].end.number;
    *out = (struct spool_replay){first, end, fresh->sum.blocks, fresh->sum.items, fresh->sum.raw_bytes, 0, 0};
    out->received_first_ns = spool_received_at(spool, lane->record.signal, first, end);
    if (spool_header_at(spool, end - 1, &h, NULL) == WEIR_OK)
        out->received_last_ns = h.received_last_ns;
}

static int replay_locked(struct spool_lane *lane, struct spool_interval range, bool dry_run, struct fresh *fresh,
                         struct weir_err *err)
{
    struct spool *spool = lane->spool;
    struct interval pieces[INTERVALS_MAX];
    size_t n;
    int code = past_pieces(spool, lane->record.signal, range, pieces, &n);
    if (code == WEIR_E_LIMIT)
        return weir_fail(err, code, "what files hold in there lies in more than %u pieces: name a shorter range",
                         INTERVALS_MAX);
    if (code != WEIR_OK)
        return weir_fail(err, WEIR_E_IO, "a segment cannot be read now");
    pthread_mutex_lock(&spool->lanes_lock);
    struct mark now = lane_now(lane);
    bool fits = fresh_find(&lane->record.set, pieces, n, &now, fresh) &&
                (dry_run || fresh->n == 0 || fresh_add(lane, fresh, &now));
    pthread_mutex_unlock(&spool->lanes_lock);
    if (fits && fresh->n == 0)
        return weir_fail(err, WEIR_E_NOT_FOUND, "no file holds anything of it that is not pending already");
    if (!fits)
        return weir_fail(err, WEIR_E_LIMIT, "the lane would have more than %u intervals: wait until some are delivered",
                         INTERVALS_MAX);
    code = dry_run ? WEIR_OK : state_commit(spool, false, err);
    if (code == WEIR_OK)
        return WEIR_OK;
    fresh_take_back(lane, fresh);
    return weir_fail(err, WEIR_E_IO, "the state cannot be written now: nothing was added");
}

int spool_lane_replay(struct spool_lane *lane, uint64_t first, uint64_t end, bool dry_run, struct spool_replay *out,
                      struct weir_err *err)
{
    struct spool *spool = lane->spool;
    *out = (struct spool_replay){0};
    struct fresh *fresh = calloc(1, sizeof(*fresh));
    if (fresh == NULL)
        return weir_fail(err, WEIR_E_IO, "replay: out of memory");
    letters_flush(spool);                       // letters of these blocks are settled, whatever becomes of the replay
    pthread_mutex_lock(&spool->retention_lock); // what it finds stays
    int code = replay_locked(lane, (struct spool_interval){first, end}, dry_run, fresh, err);
    if (code == WEIR_OK)
        tell_fresh(lane, fresh, out);
    pthread_mutex_unlock(&spool->retention_lock);
    free(fresh);
    if (code != WEIR_OK)
        weir_wrap(err, "replay blocks %llu to %llu in lane %s/%s", (unsigned long long)first, (unsigned long long)end,
                  lane->record.upstream, weir_signal_name(lane->record.signal));
    return code;
}

// --- times ------------------------------------------------------------------------------------------------------------------

// Of the first block at or after *number in [*number, end) whose header can be read.
static int header_from(struct spool *spool, uint64_t *number, uint64_t end, struct block_header *out)
{
    int code = WEIR_E_NOT_FOUND;
    while (*number < end && (code = spool_header_at(spool, *number, out, NULL)) == WEIR_E_NOT_FOUND)
        ++*number;
    return code;
}

// The first number in [low, high) whose block was received at `ns` or later: by its last request, or by its first. `high`: none.
static int first_received(struct spool *spool, struct spool_interval range, uint64_t ns, bool by_last, uint64_t *out)
{
    uint64_t low = range.first, high = range.end;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2, at = middle;
        struct block_header h;
        int code = header_from(spool, &at, high, &h);
        if (code != WEIR_OK && code != WEIR_E_NOT_FOUND)
            return code;
        if (code == WEIR_E_NOT_FOUND || (by_last ? h.received_last_ns : h.received_first_ns) >= ns)
            high = middle;
        else
            low = at + 1;
    }
    *out = low;
    return WEIR_OK;
}

// The numbers that the segment at `number` holds, and when its newest block was received. WEIR_E_NOT_FOUND: it holds none.
static int segment_range(struct spool *spool, uint64_t number, struct spool_interval *range, uint64_t *last_ns)
{
    uint64_t limit;
    struct segment *segment = catalog_pin(spool, number, &limit);
    if (segment == NULL)
        return WEIR_E_NOT_FOUND;
    struct block_header h;
    int code = segment_is_active(segment) ? WEIR_OK : segment_learn(segment, limit, NULL);
    uint64_t next = atomic_load(&spool->next_block);
    pthread_mutex_lock(&spool->lock);
    *range = (struct spool_interval){segment->first, segment->end_known ? segment->end : limit};
    *last_ns = segment->received_last_ns;
    pthread_mutex_unlock(&spool->lock);
    range->end = range->end < next ? range->end : next;
    if (code == WEIR_OK && range->first >= range->end)
        code = WEIR_E_NOT_FOUND;
    if (code == WEIR_OK && *last_ns == 0 && spool_header_at(spool, range->end - 1, &h, NULL) == WEIR_OK)
        *last_ns = h.received_last_ns;
    segment_unpin(segment);
    return code == WEIR_E_CORRUPT ? WEIR_E_NOT_FOUND : code;
}

// The first number whose block was received at `ns` or later; next_block: none. First the segment, then in it.
static int find_time(struct spool *spool, const uint64_t *firsts, size_t n, uint64_t ns, bool by_last, uint64_t *out)
{
    size_t low = 0, high = n;
    struct spool_interval best = {0};
    *out = atomic_load(&spool->next_block);
    while (low < high) {
        size_t middle = (low + high) / 2, at = middle;
        struct spool_interval range;
        uint64_t last_ns = 0;
        int code = WEIR_E_NOT_FOUND;
        while (at < high && (code = segment_range(spool, firsts[at], &range, &last_ns)) == WEIR_E_NOT_FOUND)
            at++;
        if (code != WEIR_OK && code != WEIR_E_NOT_FOUND)
            return code;
        if (code == WEIR_OK && last_ns < ns) {
            low = at + 1;
            continue;
        }
        high = middle;
        if (code == WEIR_OK)
            best = range;
    }
    return best.end > 0 ? first_received(spool, best, ns, by_last, out) : WEIR_OK;
}

static bool received_in(struct spool *spool, uint64_t number, uint64_t since_ns, uint64_t until_ns)
{
    struct block_header h;
    return spool_header_at(spool, number, &h, NULL) == WEIR_OK && h.received_last_ns >= since_ns &&
           h.received_first_ns < until_ns;
}

// Takes in neighbours that belong to it though they lie out of order, and leaves out those at its ends that do not.
static void widen(struct spool *spool, uint64_t since_ns, uint64_t until_ns, struct spool_interval *range)
{
    uint64_t first = range->first, end = range->end;
    for (uint64_t n = first; n > 0 && first - n < OUT_OF_ORDER; n--)
        if (received_in(spool, n - 1, since_ns, until_ns))
            range->first = n - 1;
    for (uint64_t n = end; n - end < OUT_OF_ORDER && n < atomic_load(&spool->next_block); n++)
        if (received_in(spool, n, since_ns, until_ns))
            range->end = n + 1;
    for (unsigned i = 0; i < OUT_OF_ORDER && range->first < range->end; i++, range->first++)
        if (received_in(spool, range->first, since_ns, until_ns))
            break;
    for (unsigned i = 0; i < OUT_OF_ORDER && range->first < range->end; i++, range->end--)
        if (received_in(spool, range->end - 1, since_ns, until_ns))
            break;
}

static int find_received(struct spool *spool, uint64_t since_ns, uint64_t until_ns, struct spool_interval *out)
{
    pthread_mutex_lock(&spool->lock);
    size_t n = spool->segments_n;
    pthread_mutex_unlock(&spool->lock);
    uint64_t *firsts = calloc(n > 0 ? n : 1, sizeof(*firsts));
    if (firsts == NULL)
        return WEIR_E_NOMEM;
    pthread_mutex_lock(&spool->lock);
    n = spool->segments_n < n ? spool->segments_n : n;
    for (size_t i = 0; i < n; i++)
        firsts[i] = spool->segments[i]->first;
    pthread_mutex_unlock(&spool->lock);
    int code = find_time(spool, firsts, n, since_ns, true, &out->first);
    if (code == WEIR_OK)
        code = find_time(spool, firsts, n, until_ns, false, &out->end);
    free(firsts);
    return code;
}

int spool_find_received(struct spool *spool, uint64_t since_ns, uint64_t until_ns, uint64_t *first, uint64_t *end,
                        struct weir_err *err)
{
    struct spool_interval range = {0};
    *first = *end = 0;
    pthread_mutex_lock(&spool->retention_lock);
    int code = since_ns < until_ns ? find_received(spool, since_ns, until_ns, &range) : WEIR_E_NOT_FOUND;
    if (code == WEIR_OK) {
        if (range.end < range.first)
            range.end = range.first;
        widen(spool, since_ns, until_ns, &range);
        if (range.first == range.end)
            code = WEIR_E_NOT_FOUND;
    }
    pthread_mutex_unlock(&spool->retention_lock);
    if (code == WEIR_E_NOT_FOUND)
        return weir_fail(err, code, "no block was received in that time, as far as there are files");
    if (code != WEIR_OK)
        return weir_fail(err, WEIR_E_IO, "a segment cannot be read now");
    *first = range.first;
    *end = range.end;
    return WEIR_OK;
}
