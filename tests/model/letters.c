// SPDX-License-Identifier: Apache-2.0
// Dead letters.
#include "tests/model/rig.h"

// Upstreams that have no lanes: what becomes of their letters is in no ledger.
static const char *const free_names[MODEL_UPSTREAMS] = {"x", "y", "z"};

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
    if (before.dead_letter_bytes + bytes[size % 3] + 16 * 4096 > rig->options.max_bytes / 8)
        return false; // the oldest would go
    const struct spool_dead_letter letter = {.upstream = free_names[upstream],
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
    uint64_t need = bytes[size % 3] + 16 * 4096;
    uint64_t used_after = rig_directory_bytes(rig->directory);
    used = used > used_after ? used : used_after;
    RIG_CHECK(calls_failed() != failed || (code == WEIR_E_FULL && used + need > rig->options.max_bytes),
              "dead letter of %u bytes: %s", bytes[size % 3], err.text);
    slot->unsure = !slot->there && calls_failed() != failed;
    return false;
}

// --- of lanes -------------------------------------------------------------------------------------------------------------

// `items` of a block that the lane has to deliver end as a dead letter. False: they could not.
bool rig_bury(struct rig *rig, unsigned lane, uint64_t block, uint64_t items)
{
    struct model_lane *l = &rig->m.now.lanes[lane];
    struct spool_stats before;
    uint8_t raw[100] = {(uint8_t)block};
    spool_stats_get(rig->spool, &before);
    if (before.dead_letter_bytes + 16 * 4096 > rig->options.max_bytes / 8 || rig->options.evict_oldest)
        return false;
    // The letter of before a replay goes at once, in a transaction of its own: from one known ledger to another.
    if (l->dead[block] > 0 && (rig->faults || spool_sync_state(rig->spool, NULL) != WEIR_OK))
        return false;
    const struct spool_dead_letter letter = {.upstream = rig_upstreams[lane / WEIR_SIGNALS],
                                             .signal = model_signal(lane),
                                             .code = "INVALID_ARGUMENT",
                                             .message = "no",
                                             .block = block,
                                             .items = items,
                                             .raw = {raw, sizeof(raw)}};
    struct weir_err err = {0};
    unsigned failed = calls_failed();
    int code = spool_dead_letter_put(rig->spool, &letter, &err);
    RIG_CHECK(code == WEIR_OK || calls_failed() != failed || code == WEIR_E_FULL, "dead letter: %s", err.text);
    if (code != WEIR_OK)
        return false;
    if (l->dead[block] > 0) {
        model_letter_gone(&rig->m, lane, block, false);
        model_changed(&rig->m);
    }
    return true;
}

// What is done with a lane's letters, while the disk works.
void rig_play_letters(struct rig *rig, const unsigned *arg)
{
    unsigned lane = arg[0] % MODEL_LANES, left = arg[1];
    struct model_lane *l = &rig->m.now.lanes[lane];
    struct weir_err err = {0};
    struct letter_id id = {0};
    unsigned block = 0;
    while (block < rig->m.now.n && (l->dead[block] == 0 || l->pending[block] || left-- > 0))
        block++;
    if (rig->faults || block == rig->m.now.n || spool_sync_state(rig->spool, NULL) != WEIR_OK)
        return;
    id.block = block;
    snprintf(id.upstream, sizeof(id.upstream), "%s", rig_upstreams[lane / WEIR_SIGNALS]);
    bool redriven = arg[2] % 2 == 0;
    int code = redriven ? spool_letter_delivered(rig->spool, &id, 0, &err)
                        : spool_letter_change(rig->spool, LETTERS_PURGE, &id, &err);
    if (code == WEIR_E_AGAIN) // the keeper has yet to write down that it is settled
        return;
    RIG_CHECK(code == WEIR_OK, "the letter of block %u: %s", block, err.text);
    model_letter_gone(&rig->m, lane, block, redriven);
    model_changed(&rig->m);
}

static void count_items(void *ctx, const struct letter_info *info)
{
    uint64_t *items = ctx;
    *items += info->items;
}

bool rig_free_letters(struct rig *rig, uint64_t *requests, uint64_t *items)
{
    *requests = *items = 0;
    for (unsigned i = 0; i < MODEL_UPSTREAMS; i++) {
        const struct letter_filter filter = {.upstream = free_names[i], .signal = -1};
        struct letters_walked walked;
        if (spool_letters_list(rig->spool, &filter, NULL, MODEL_BLOCKS, count_items, items, &walked, NULL) != WEIR_OK)
            return false;
        *requests += walked.letters;
    }
    return true;
}

// The letters of each lane against its ledger.
void rig_compare_letters(struct rig *rig)
{
    for (unsigned i = 0; i < MODEL_LANES; i++) {
        const struct letter_filter filter = {.upstream = rig_upstreams[i / WEIR_SIGNALS],
                                             .signal = (int)model_signal(i)};
        struct letters_walked walked;
        uint64_t items = 0;
        if (rig->lanes[i] == NULL || rig->faults)
            continue;
        int code = spool_letters_list(rig->spool, &filter, NULL, MODEL_BLOCKS, count_items, &items, &walked, NULL);
        RIG_CHECK(code != WEIR_OK || items == rig->m.now.lanes[i].is.dead_lettered,
                  "lane %u: %llu items in dead letters, not %llu", i, (unsigned long long)items,
                  (unsigned long long)rig->m.now.lanes[i].is.dead_lettered);
    }
}
