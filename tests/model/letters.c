// SPDX-License-Identifier: Apache-2.0
// Dead letters.
#include "tests/model/rig.h"

static struct model_letter *letter_slot(struct rig *rig, uint64_t upstream, uint64_t block, uint64_t request)
{
    struct model_letter *free_one = NULL;
    for (unsigned i = 0; i < MODEL_LETTERS; i++) {
        struct model_letter *l = &rig->m.letters[i];
        if (!l->there && !l->unsure)
            free_one = free_one != NULL ? free_one : l;
        else if (l->upstream == upstream && l->block == block && l->request == request)
            return l;
    }
    if (free_one != NULL) // the items follow from the key: putting it again changes nothing
        *free_one = (struct model_letter){false, false, upstream, block, request, 1 + (block * 7 + request * 3) % 9};
    return free_one;
}

static unsigned letters_unsure(const struct rig *rig)
{
    unsigned n = 0;
    for (unsigned i = 0; i < MODEL_LETTERS; i++)
        n += rig->m.letters[i].unsure;
    return n;
}

bool rig_play_letter(struct rig *rig, uint64_t upstream, uint64_t block, uint64_t request, unsigned size)
{
    static const uint32_t bytes[] = {100, 20000, 200000};
    static uint8_t raw[200000];
    for (uint32_t i = 0; i < bytes[size % 3]; i++)
        raw[i] = (uint8_t)((i * 2654435761u + block) >> 13);
    struct model_letter *slot = letter_slot(rig, upstream, block, request);
    if (rig->options.evict_oldest) // the keeper would make room for it at a moment of its own
        return false;
    if (slot == NULL || letters_unsure(rig) >= 8)
        return false;
    struct spool_stats before;
    struct weir_err err = {0};
    spool_stats_get(rig->spool, &before);
    unsigned failed = calls_failed();
    uint64_t used = rig_directory_bytes(rig->directory);
    const struct spool_dead_letter letter = {.upstream = rig_upstreams[upstream],
                                             .code = "INVALID_ARGUMENT",
                                             .message = "no",
                                             .attempts = 1,
                                             .block = block,
                                             .item = request,
                                             .items = slot->items,
                                             .received_ns = rig_clock(),
                                             .raw = {raw, bytes[size % 3]}};
    int code = spool_dead_letter_put(rig->spool, &letter, &err);
    if (code == WEIR_OK) {
        slot->there = true;
        slot->unsure = false;
        return true;
    }
    uint64_t quota = rig->options.max_bytes / 8, need = bytes[size % 3] + 16 * 4096;
    uint64_t used_after = rig_directory_bytes(rig->directory);
    used = used > used_after ? used : used_after;
    RIG_CHECK(calls_failed() != failed || (code == WEIR_E_FULL && (before.dead_letter_bytes + need > quota ||
                                                                   used + need > rig->options.max_bytes)),
              "dead letter of %u bytes beside %llu of %llu: %s", bytes[size % 3],
              (unsigned long long)before.dead_letter_bytes, (unsigned long long)quota, err.text);
    slot->unsure = !slot->there && calls_failed() != failed;
    return false;
}
