// SPDX-License-Identifier: Apache-2.0
// Which segments there are, in order. Most of them are closed files known by name alone.
#include <unistd.h>

#include "storage/spool_priv.h"

static void segment_pin_release(struct pin *pin)
{
    segment_unpin(WEIR_CONTAINER_OF(pin, struct segment, pin));
}

struct segment *segment_new(struct spool *spool, uint64_t first)
{
    struct segment *segment = calloc(1, sizeof(*segment));
    if (segment == NULL)
        return NULL;
    segment->pin.release = segment_pin_release;
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
    segment_map_close(segment->map);
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
    // Room among the doomed as well, so that a removal can never fail for memory.
    bool room = list_reserve(&spool->segments, spool->segments_n, &spool->segments_cap) &&
                list_reserve(&spool->doomed, spool->doomed_n + spool->segments_n + 1, &spool->doomed_cap);
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

void catalog_remove(struct spool *spool, struct segment *segment)
{
    pthread_mutex_lock(&spool->lock);
    for (size_t i = 0; i < spool->segments_n; i++) {
        if (spool->segments[i] != segment)
            continue;
        spool->segments_n--;
        memmove(spool->segments + i, spool->segments + i + 1, (spool->segments_n - i) * sizeof(spool->segments[0]));
        spool->doomed[spool->doomed_n++] = segment;
        break;
    }
    pthread_mutex_unlock(&spool->lock);
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

void segment_pin(struct segment *segment)
{
    pthread_mutex_lock(&segment->spool->lock);
    assert(segment->refs > 0);
    segment->refs++;
    pthread_mutex_unlock(&segment->spool->lock);
}

void segment_unpin(struct segment *segment)
{
    struct spool *spool = segment->spool;
    pthread_mutex_lock(&spool->lock);
    assert(segment->refs > 0);
    segment->refs--;
    segment->used_ns = weir_now_ns();
    pthread_mutex_unlock(&spool->lock);
}

int segment_get_map(struct segment *segment, struct segment_map **out, struct weir_err *err)
{
    struct spool *spool = segment->spool;
    char path[SPOOL_PATH_MAX];
    int code = spool_segment_path(spool, segment->first, path, err);
    if (code != WEIR_OK)
        return code;
    pthread_mutex_lock(&segment->open_lock);
    bool opened = false;
    if (segment->map == NULL) {
        struct segment_map *map;
        code = segment_map_open(path, segment->first, &map, err);
        opened = code == WEIR_OK;
        pthread_mutex_lock(&spool->lock);
        if (opened) {
            segment->map = map;
            spool->maps_opened++;
        }
        pthread_mutex_unlock(&spool->lock);
    }
    *out = segment->map;
    pthread_mutex_unlock(&segment->open_lock);
    if (code == WEIR_E_NOT_FOUND || code == WEIR_E_CORRUPT) {
        // Kept for a person, out of the way of everything else. Its numbers are a gap from now on. When two readers find the damage at
        // once, the second rename fails, which is as well.
        if (code == WEIR_E_CORRUPT) {
            char name[64];
            snprintf(name, sizeof(name), SPOOL_SEGMENT_NAME, (unsigned long long)segment->first);
            bool aside = spool_set_aside(spool, name, NULL) == WEIR_OK;
            pthread_mutex_lock(&spool->lock);
            spool->set_aside += aside;
            pthread_mutex_unlock(&spool->lock);
        }
        catalog_remove(spool, segment);
        return WEIR_E_CORRUPT;
    }
    return code;
}
