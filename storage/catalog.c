// SPDX-License-Identifier: Apache-2.0
// Which segments there are, in order. Most of them are closed files known by name alone.
#include "storage/spool_priv.h"

struct segment *segment_new(struct spool *spool, uint64_t first)
{
    struct segment *segment = calloc(1, sizeof(*segment));
    if (segment == NULL)
        return NULL;
    segment->spool = spool;
    segment->first = first;
    segment->used_ns = weir_now_ns();
    pthread_mutex_init(&segment->open_lock, NULL);
    return segment;
}

void segment_free(struct segment *segment)
{
    if (segment == NULL)
        return;
    assert(segment->refs == 0 && segment->file == NULL);
    segment_read_close(segment->read);
    pthread_mutex_destroy(&segment->open_lock);
    free(segment);
}

// Index of the first segment that begins after `number`.
static size_t catalog_after(const struct spool *spool, uint64_t number)
{
    size_t low = 0, high = spool->segments_n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (spool->segments[middle]->first <= number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool list_reserve(struct segment ***list, size_t n, size_t *cap)
{
    if (n < *cap)
        return true;
    size_t more = *cap ? *cap * 2 : 64;
    struct segment **grown = realloc(*list, more * sizeof(grown[0]));
    if (grown == NULL)
        return false;
    *list = grown;
    *cap = more;
    return true;
}

bool catalog_add(struct spool *spool, struct segment *segment)
{
    pthread_mutex_lock(&spool->lock);
    bool room = list_reserve(&spool->segments, spool->segments_n, &spool->segments_cap);
    if (room) {
        size_t at = catalog_after(spool, segment->first);
        assert(at == 0 || spool->segments[at - 1]->first != segment->first);
        memmove(spool->segments + at + 1, spool->segments + at, (spool->segments_n - at) * sizeof(spool->segments[0]));
        spool->segments[at] = segment;
        spool->segments_n++;
    }
    pthread_mutex_unlock(&spool->lock);
    return room;
}

bool catalog_remove(struct spool *spool, struct segment *segment)
{
    pthread_mutex_lock(&spool->lock);
    assert(segment->refs > 0);
    bool there = !segment->removed;
    for (size_t i = 0; i < spool->segments_n && there; i++) {
        if (spool->segments[i] != segment)
            continue;
        spool->segments_n--;
        memmove(spool->segments + i, spool->segments + i + 1, (spool->segments_n - i) * sizeof(spool->segments[0]));
        segment->removed = true;
        spool->damaged_known -= segment->damaged; // it is about to be set aside
        spool->aside_files += segment->damaged;
        break;
    }
    pthread_mutex_unlock(&spool->lock);
    return there;
}

struct segment *catalog_pin(struct spool *spool, uint64_t number, uint64_t *limit)
{
    pthread_mutex_lock(&spool->lock);
    size_t after = catalog_after(spool, number);
    *limit = after < spool->segments_n ? spool->segments[after]->first : UINT64_MAX;
    struct segment *segment = after > 0 ? spool->segments[after - 1] : NULL;
    if (segment != NULL)
        segment->refs++;
    pthread_mutex_unlock(&spool->lock);
    return segment;
}

void segment_unpin(struct segment *segment)
{
    struct spool *spool = segment->spool;
    pthread_mutex_lock(&spool->lock);
    assert(segment->refs > 0);
    segment->refs--;
    segment->used_ns = weir_now_ns();
    bool last = segment->refs == 0 && segment->removed;
    pthread_mutex_unlock(&spool->lock);
    if (last)
        segment_free(segment);
}

void catalog_close_idle(struct spool *spool)
{
    for (bool more = true; more;) {
        uint64_t now = weir_now_ns();
        struct segment_read *read = NULL;
        pthread_mutex_lock(&spool->lock);
        for (size_t i = 0; i < spool->segments_n && read == NULL; i++) {
            struct segment *segment = spool->segments[i];
            // What was searched page by page stays open: to search it again would cost more than the little memory.
            if (segment->refs == 0 && segment->read != NULL && !segment->damaged &&
                now > segment->used_ns + 1000000000u) {
                read = segment->read; // refs is 0: no one is about to use it, and pinning needs this lock
                segment->read = NULL;
            }
        }
        pthread_mutex_unlock(&spool->lock);
        more = read != NULL;
        segment_read_close(read);
    }
}
