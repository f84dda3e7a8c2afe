// SPDX-License-Identifier: Apache-2.0
// Cumulative counts at any block number: each block stores what came before it, so a backlog is one subtraction and nothing is
// scanned. Numbers that readers passed lately are remembered, so that settling them reads nothing.
#include "storage/spool_priv.h"

struct mark mark_of(const struct spool_counts *counts, enum weir_signal signal, uint64_t number)
{
    return (struct mark){number, counts->blocks[signal], counts->items[signal], counts->raw_bytes[signal]};
}

struct mark spool_now(struct spool *spool, enum weir_signal signal)
{
    pthread_mutex_lock(&spool->lock);
    struct mark now = mark_of(&spool->counts, signal, atomic_load(&spool->next_block));
    pthread_mutex_unlock(&spool->lock);
    return now;
}

void spool_note_border(struct spool *spool, uint64_t number, const struct spool_counts *counts)
{
    pthread_mutex_lock(&spool->borders_lock);
    spool->borders[number % SPOOL_BORDERS].number_plus_1 = number + 1;
    spool->borders[number % SPOOL_BORDERS].counts = *counts;
    pthread_mutex_unlock(&spool->borders_lock);
}

bool spool_border_get(struct spool *spool, uint64_t number, struct spool_counts *out)
{
    pthread_mutex_lock(&spool->borders_lock);
    bool found = spool->borders[number % SPOOL_BORDERS].number_plus_1 == number + 1;
    if (found)
        *out = spool->borders[number % SPOOL_BORDERS].counts;
    pthread_mutex_unlock(&spool->borders_lock);
    return found;
}

// From the segment that is being written, in the readers' turn. WEIR_E_NOT_FOUND: it was sealed meanwhile, or does not know.
static int active_counts(struct segment *segment, uint64_t number, struct spool_counts *out)
{
    struct spool *spool = segment->spool;
    int code = WEIR_E_NOT_FOUND;
    turn_take(&spool->turn);
    if (segment->file != NULL) {
        MDB_txn *txn = segment_db_begin(&segment->file->db);
        code = txn == NULL ? WEIR_E_IO : segment_db_counts(&segment->file->db, txn, number, out);
        segment_db_end(txn);
    }
    turn_give(&spool->turn);
    return code;
}

static bool is_active(struct segment *segment)
{
    pthread_mutex_lock(&segment->spool->lock);
    bool active = segment->spool->active == segment;
    pthread_mutex_unlock(&segment->spool->lock);
    return active;
}

// Inside a stretch of lost blocks: the counts where it ends. WEIR_E_NOT_FOUND: it does not know.
static int sealed_counts(struct segment *segment, uint64_t number, struct spool_counts *out, bool *exact)
{
    struct segment_read *read;
    struct segment_counts counts;
    int code = segment_get_read(segment, &read, NULL);
    if (code != WEIR_OK)
        return code == WEIR_E_CORRUPT ? WEIR_E_NOT_FOUND : code;
    code = segment_read_counts_at(read, number, &counts, NULL);
    *out = counts.exact ? counts.low : counts.high;
    *exact = counts.exact;
    return code;
}

// Counts at a number in [first block on disk, next_block). In a gap: those where the gap ends. WEIR_E_NOT_FOUND: nothing is left behind
// it. Any other code: it cannot be told now.
static int stored_counts(struct spool *spool, uint64_t number, struct spool_counts *out, bool *exact)
{
    bool moved = false;
    while (number < atomic_load(&spool->next_block)) {
        *exact = true;
        uint64_t limit;
        struct segment *segment = catalog_pin(spool, number, &limit);
        int code = WEIR_E_NOT_FOUND;
        if (segment != NULL) {
            if (is_active(segment))
                code = active_counts(segment, number, out);
            if (code == WEIR_E_NOT_FOUND && !is_active(segment))
                code = sealed_counts(segment, number, out, exact);
            segment_unpin(segment);
        }
        if (code != WEIR_E_NOT_FOUND) {
            *exact = *exact && !moved;
            return code;
        }
        if (limit == UINT64_MAX)
            break;
        number = limit;
        moved = true;
    }
    return WEIR_E_NOT_FOUND;
}

int spool_mark_at(struct spool *spool, enum weir_signal signal, uint64_t number, struct mark *out)
{
    struct mark now = spool_now(spool, signal);
    struct spool_counts counts;
    struct block_header h;
    *out = now;
    if (number >= now.number)
        return WEIR_OK;
    if (spool_border_get(spool, number, &counts)) {
        *out = mark_of(&counts, signal, number);
        return WEIR_OK;
    }
    if (newest_header(&spool->newest, number, &h)) {
        *out = mark_of(&h.before, signal, number);
        return WEIR_OK;
    }
    bool exact;
    int code = stored_counts(spool, number, &counts, &exact);
    if (code == WEIR_OK) {
        if (exact)
            spool_note_border(spool, number, &counts);
        *out = mark_of(&counts, signal, number);
    }
    out->number = number; // when nothing is left behind it: with the counts of now
    return code == WEIR_E_NOT_FOUND ? WEIR_OK : code;
}

int segment_end(struct segment *segment, uint64_t limit, uint64_t *end, struct spool_counts *counts,
                struct weir_err *err)
{
    struct spool *spool = segment->spool;
    pthread_mutex_lock(&spool->lock);
    bool known = segment->end_known;
    *end = segment->end;
    *counts = segment->end_counts;
    pthread_mutex_unlock(&spool->lock);
    if (known)
        return WEIR_OK;
    struct segment_read *read;
    int code = segment_get_read(segment, &read, err);
    if (code != WEIR_OK)
        return code;
    *end = segment_read_end(read);
    segment_read_counts(read, NULL, counts);
    if (*end > limit) { // its last transaction was never acknowledged and was done again in the next segment
        struct segment_counts there;
        code = segment_read_counts_at(read, limit, &there, err);
        if (code != WEIR_OK && code != WEIR_E_NOT_FOUND)
            return code;
        *end = limit;
        *counts = there.low;
    }
    // The last one shows blocks of a commit that failed, and the writer is about to do them again in another or to count them here: not known
    // yet, and what is noted here stays.
    if (*end > atomic_load(&spool->next_block))
        return weir_fail(err, WEIR_E_IO, "its last commit is not decided yet");
    pthread_mutex_lock(&spool->lock);
    segment->end_known = true;
    segment->end = *end;
    segment->end_counts = *counts;
    pthread_mutex_unlock(&spool->lock);
    return WEIR_OK;
}

bool spool_gap_at(struct spool *spool, uint64_t number, uint64_t *end)
{
    uint64_t next = atomic_load(&spool->next_block), limit, segment_stop;
    struct spool_counts counts;
    struct segment *segment = catalog_pin(spool, number, &limit);
    bool gap = segment == NULL;
    if (segment != NULL) {
        if (!is_active(segment)) {
            int code = segment_end(segment, limit, &segment_stop, &counts, NULL);
            gap = code == WEIR_E_CORRUPT || (code == WEIR_OK && number >= segment_stop);
        }
        segment_unpin(segment);
    }
    *end = limit < next ? limit : next;
    return gap && number < next;
}
