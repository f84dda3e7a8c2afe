// SPDX-License-Identifier: Apache-2.0
// The keeper reads cold segments slowly and checks all in them, so that damage is known before the data is needed. It begins with the oldest
// at each start, and rests a day between two passes.
#include "storage/file_read.h"
#include "storage/spool_priv.h"

#define BUDGET_MIN (256u * 1024u)

// The sealed segment that begins at `number`, or the first behind it; pinned. *limit: where the next begins. NULL: none.
static struct segment *pin_sealed(struct spool *spool, uint64_t number, uint64_t *limit)
{
    struct segment *segment = catalog_pin(spool, number, limit);
    if (segment != NULL && segment->first != number) {
        segment_unpin(segment);
        segment = NULL;
    }
    if (segment == NULL && *limit != UINT64_MAX)
        segment = catalog_pin(spool, *limit, limit);
    if (segment == NULL)
        return NULL;
    pthread_mutex_lock(&spool->lock);
    bool active = segment == spool->active;
    pthread_mutex_unlock(&spool->lock);
    if (!active)
        return segment;
    segment_unpin(segment);
    return NULL;
}

// Whether some lane stands in that segment, or in the last numbers before it: then what was read stays in memory.
static bool soon_needed(struct spool *spool, const struct segment *segment, uint64_t limit)
{
    bool needed = false;
    uint64_t size = limit - segment->first, from = segment->first > size ? segment->first - size : 0;
    pthread_mutex_lock(&spool->lanes_lock);
    for (size_t i = 0; i < spool->lanes_n; i++) {
        const struct interval_set *set = &spool->lanes[i]->record.set;
        for (size_t j = 0; j < set->n && !needed; j++)
            needed = set->at[j].first.number >= from && set->at[j].first.number < limit;
    }
    pthread_mutex_unlock(&spool->lanes_lock);
    return needed;
}

// Goes on in one pinned segment. WEIR_E_IO: it stays for the next time.
static int scrub_segment(struct spool *spool, struct segment *segment, uint64_t limit, uint64_t budget)
{
    struct segment_read *read;
    int code = segment_get_read(segment, &read, NULL);
    if (code != WEIR_OK)
        return code;
    uint64_t before = segment_read_verified_bytes(read);
    code = segment_read_verify(read, budget, &spool->scrub.cursor, NULL);
    uint64_t bytes = segment_read_verified_bytes(read) - before;
    pthread_mutex_lock(&spool->lock);
    spool->scrub.bytes_total += bytes;
    pthread_mutex_unlock(&spool->lock);
    if (code == WEIR_E_CORRUPT)
        segment_tell_damage(segment);
    if (!soon_needed(spool, segment, limit))
        segment_read_drop(read, 0, UINT64_MAX);
    return code;
}

bool scrub_step(struct spool *spool, uint64_t budget_bytes)
{
    struct scrub *scrub = &spool->scrub;
    uint64_t limit;
    struct segment *segment = pin_sealed(spool, scrub->number, &limit);
    if (segment == NULL) {
        scrub->number = scrub->cursor = 0;
        scrub->resume_ns = weir_now_ns() + SCRUB_PAUSE_NS;
        pthread_mutex_lock(&spool->lock);
        scrub->finished_ns = weir_now_unix_ns();
        pthread_mutex_unlock(&spool->lock);
        return false;
    }
    if (segment->first != scrub->number) { // another than last time
        scrub->number = segment->first;
        scrub->cursor = 0;
    }
    int code = scrub_segment(spool, segment, limit, budget_bytes);
    // What cannot be read now is left for the next pass, when it was not damaged: one bad file must not keep the others from being read.
    if (scrub->cursor == UINT64_MAX || (code != WEIR_OK && code != WEIR_E_NOMEM && !file_read_waits())) {
        scrub->number = limit;
        scrub->cursor = 0;
    }
    segment_unpin(segment);
    return true;
}

void scrub_tick(struct spool *spool)
{
    struct scrub *scrub = &spool->scrub;
    uint64_t now = weir_now_ns(), since = now - scrub->stepped_ns;
    if (now < scrub->resume_ns)
        return;
    if (since > 1000000000u)
        since = 1000000000u;
    uint64_t budget = since * SCRUB_BYTES_PER_SECOND / 1000000000u;
    if (budget < BUDGET_MIN && scrub->stepped_ns != 0)
        return; // little by little would be more calls than bytes
    scrub->stepped_ns = now;
    scrub_step(spool, budget);
}
