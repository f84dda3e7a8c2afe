// SPDX-License-Identifier: Apache-2.0
// Single headers, and what retention needs to know of a segment. Of what was sealed in this run the writer has told all; of older
// segments it is read once.
#include "storage/spool_priv.h"

#define LAST_TRIES 8u // blocks at the end whose headers may be damaged

// WEIR_E_AGAIN: it was sealed meanwhile.
static int active_header(struct segment *segment, uint64_t number, struct block_header *out)
{
    struct spool *spool = segment->spool;
    int code = WEIR_E_AGAIN;
    turn_take(&spool->turn);
    if (segment->file != NULL) {
        MDB_txn *txn = segment_db_begin(&segment->file->db);
        code = WEIR_E_IO;
        if (txn != NULL) {
            code = segment_db_header(&segment->file->db, txn, number, out);
            segment_db_end(txn);
        }
    }
    turn_give(&spool->turn);
    return code;
}

static int sealed_header(struct segment *segment, uint64_t number, struct block_header *out, struct weir_err *err)
{
    struct segment_read *read;
    int code = segment_get_read(segment, &read, err);
    if (code != WEIR_OK)
        return code == WEIR_E_CORRUPT ? WEIR_E_NOT_FOUND : code;
    return segment_read_header(read, number, out, err);
}

bool segment_is_active(struct segment *segment)
{
    pthread_mutex_lock(&segment->spool->lock);
    bool active = segment->spool->active == segment;
    pthread_mutex_unlock(&segment->spool->lock);
    return active;
}

int spool_header_at(struct spool *spool, uint64_t number, struct block_header *out, struct weir_err *err)
{
    uint64_t limit;
    if (number >= atomic_load(&spool->next_block))
        return WEIR_E_NOT_FOUND;
    if (newest_header(&spool->newest, number, out))
        return WEIR_OK;
    struct segment *segment = catalog_pin(spool, number, &limit);
    if (segment == NULL)
        return WEIR_E_NOT_FOUND;
    int code = WEIR_E_AGAIN;
    if (segment_is_active(segment))
        code = active_header(segment, number, out);
    if (code == WEIR_E_AGAIN)
        code = sealed_header(segment, number, out, err);
    segment_unpin(segment);
    return code;
}

// When its first and its newest block were received. What is damaged counts as old as the file; what cannot be read just now (WEIR_E_IO,
// WEIR_E_NOMEM) is asked again: an age that is too high would be an eviction.
static int learn_times(struct segment *segment, uint64_t end, uint64_t created_ns, uint64_t times[2])
{
    struct block_header h;
    times[0] = times[1] = 0;
    if (end <= segment->first)
        return WEIR_OK;
    times[0] = times[1] = created_ns;
    int code = spool_header_at(segment->spool, segment->first, &h, NULL);
    if (code == WEIR_OK)
        times[0] = h.received_first_ns;
    for (uint64_t n = end; (code == WEIR_OK || code == WEIR_E_NOT_FOUND) && n > segment->first && end - n < LAST_TRIES;
         n--) {
        code = spool_header_at(segment->spool, n - 1, &h, NULL);
        if (code != WEIR_OK)
            continue;
        times[1] = h.received_last_ns;
        break;
    }
    return code == WEIR_E_NOT_FOUND ? WEIR_OK : code;
}

int segment_learn(struct segment *segment, uint64_t limit, struct weir_err *err)
{
    struct spool *spool = segment->spool;
    struct spool_counts counts;
    struct segment_read *read;
    uint64_t end, times[2];
    pthread_mutex_lock(&spool->lock);
    bool known = segment->facts_known;
    pthread_mutex_unlock(&spool->lock);
    if (known)
        return WEIR_OK;
    int code = segment_end(segment, limit, &end, &counts, err);
    if (code == WEIR_OK)
        code = segment_get_read(segment, &read, err);
    if (code != WEIR_OK)
        return code;
    code = learn_times(segment, end, segment_read_created_ns(read), times);
    if (code != WEIR_OK)
        return code;
    segment_read_counts(read, &counts, NULL);
    pthread_mutex_lock(&spool->lock);
    segment->facts_known = true;
    segment->begin_counts = counts;
    segment->received_first_ns = times[0];
    segment->received_last_ns = times[1];
    pthread_mutex_unlock(&spool->lock);
    return WEIR_OK;
}
