// SPDX-License-Identifier: Apache-2.0
// Which part of what was refused goes next: between blocks where there are several, else between the items of one.
#include "relay/replay_priv.h"

uint64_t split_total(const struct split *split)
{
    return split->starts[split->whole->view_count];
}

size_t split_block_of(const struct split *split, uint64_t at)
{
    size_t block = 0;
    while (split->starts[block + 1] <= at)
        block++;
    return block;
}

uint64_t split_ordinal_of(const struct split *split, struct position position)
{
    const struct export *whole = split->whole;
    size_t block = 0;
    while (block < whole->view_count && whole->views[block].number < position.block)
        block++;
    if (block == whole->view_count || whole->views[block].number > position.block)
        return split->starts[block];
    uint64_t ordinal = split->starts[block] + position.item;
    return ordinal < split->starts[block + 1] ? ordinal : split->starts[block + 1];
}

bool split_may_cut(struct split *split, uint64_t at)
{
    if (split_at_block_start(split, at))
        return true;
    size_t index = split_block_of(split, at);
    uint64_t item = at - split->starts[index];
    return split_open_block(split, index, &split->err) == WEIR_OK &&
           part_cut(&split->block, item - 1, item + 1, item) == item;
}

bool split_at_block_start(const struct split *split, uint64_t at)
{
    return at == split_total(split) || split->starts[split_block_of(split, at)] == at;
}

int split_open_block(struct split *split, size_t index, struct weir_err *err)
{
    if (split->block.open && split->block_index == index)
        return WEIR_OK;
    split->block_index = index;
    return part_block_open(&split->block, &split->whole->views[index], err);
}

static uint64_t nearest_block(const struct split *split, uint64_t from, uint64_t to, uint64_t wanted)
{
    uint64_t best = 0;
    for (size_t i = 1; i < split->whole->view_count; i++) {
        uint64_t start = split->starts[i];
        uint64_t far = start > wanted ? start - wanted : wanted - start;
        if (start > from && start < to && (best == 0 || far < (best > wanted ? best - wanted : wanted - best)))
            best = start;
    }
    return best;
}

// A place to cut [from, to) near `wanted`; 0: there is none. Between blocks where there are several, else within the one.
static int cut(struct split *split, uint64_t from, uint64_t to, uint64_t wanted, uint64_t *out)
{
    *out = 0;
    if (to - from < 2)
        return WEIR_OK;
    size_t index = split_block_of(split, from);
    uint64_t start = split->starts[index];
    if (to > split->starts[index + 1]) {
        *out = nearest_block(split, from, to, wanted);
        return WEIR_OK;
    }
    int rc = split_open_block(split, index, &split->err);
    if (rc == WEIR_OK && (*out = part_cut(&split->block, from - start, to - start, wanted - start)) > 0)
        *out += start;
    return rc;
}

// How many items may be given up together. One, but an upstream that takes nothing at all must not be asked item by item for ever:
// after many refusals in a row the unit doubles with each, until something is taken again.
static uint64_t unit(const struct replay_lane *lane)
{
    uint32_t more = lane->refused_in_a_row;
    if (more < SPLIT_SINGLES)
        return 1;
    return UINT64_C(1) << (more - SPLIT_SINGLES < 20 ? more - SPLIT_SINGLES + 1 : 21);
}

int split_halve(struct replay_lane *lane, uint64_t from, uint64_t to, uint64_t *out)
{
    struct split *split = &lane->split;
    *out = to;
    if (to - from <= unit(lane) && to <= split->starts[split_block_of(split, from) + 1])
        return WEIR_OK;
    uint64_t middle;
    int rc = cut(split, from, to, from + (to - from) / 2, &middle);
    if (rc == WEIR_OK && middle > 0)
        *out = middle;
    return rc;
}

// --- sending --------------------------------------------------------------------------------------------------------------

static uint64_t part_bytes_max(const struct replay_lane *lane)
{
    uint64_t max_bytes = lane_bytes_max(lane);
    return lane->split.max_bytes < max_bytes ? lane->split.max_bytes : max_bytes;
}

// Whole blocks from `at` on, up to `to` and what an export may have. False: the first block alone is too much, or `to` lies in it.
static bool take_blocks(const struct replay_lane *lane, uint64_t to, struct export *part)
{
    const struct split *split = &lane->split;
    const struct export *whole = split->whole;
    uint64_t max_bytes = part_bytes_max(lane);
    if (!split_at_block_start(split, split->at))
        return false;
    for (size_t i = split_block_of(split, split->at); i < whole->view_count && split->starts[i + 1] <= to; i++) {
        const struct block_view *view = &whole->views[i];
        bool divisible = part->view_count > 0 || view->items > 1;
        if ((part->raw_bytes + view->raw_bytes > max_bytes && divisible) ||
            (part->view_count > 0 && split->one_by_one > split->at))
            break;
        part->views[part->view_count] = *view;
        part->views[part->view_count++].pin = NULL; // stays the whole's
        part->items += view->items;
        part->raw_bytes += view->raw_bytes;
    }
    return part->view_count > 0;
}

// [at, *to) of the open block, with less items when that is above `max_bytes`.
static int make_within(struct split *split, uint64_t max_bytes, uint64_t *to, struct weir_slice *raw)
{
    uint64_t start = split->starts[split->block_index];
    for (;;) {
        uint64_t items = *to - split->at, smaller = 0;
        int rc = part_make(&split->block, split->at - start, *to - start, raw, &split->err);
        if (rc != WEIR_OK || raw->len <= max_bytes || items < 2)
            return rc;
        uint64_t fits = (uint64_t)((double)items * ((double)max_bytes / (double)raw->len));
        fits -= fits / 16; // items differ: rather a little less than once more
        fits = fits < 1 ? 1 : fits > items - 1 ? items - 1 : fits;
        rc = cut(split, split->at, *to, split->at + fits, &smaller);
        if (rc != WEIR_OK || smaller == 0)
            return rc;
        *to = smaller;
    }
}

// Items of the block at `at`, up to `to` and what an export may have.
static int take_items(struct replay_lane *lane, uint64_t to, struct export *part, struct weir_slice *raw)
{
    struct split *split = &lane->split;
    size_t index = split_block_of(split, split->at);
    uint64_t start = split->starts[index], end = split->starts[index + 1], max_bytes = part_bytes_max(lane);
    uint64_t wanted = to = to < end ? to : end;
    int rc = split_open_block(split, index, &split->err);
    if (rc == WEIR_OK)
        rc = make_within(split, max_bytes, &to, raw);
    // Above the limit with one profile is the dictionary, which goes into every part: it is not to go once for each profile.
    if (rc == WEIR_OK && lane->signal == WEIR_PROFILES && raw->len > max_bytes && to < wanted) {
        to = wanted;
        rc = make_within(split, 2 * raw->len, &to, raw);
    }
    part->views[0] = split->whole->views[index]; // for the head; there is no view to release
    part->views[0].pin = NULL;
    part->items = to - split->at;
    part->raw_bytes = raw->len;
    if (split->at > start || to < end) {
        part->item_from = (uint32_t)(split->at - start);
        part->item_to = (uint32_t)(to - start);
    }
    return rc;
}

// Where the next part ends, as far as what was refused says.
static int next_end(struct replay_lane *lane, uint64_t *to)
{
    struct split *split = &lane->split;
    *to = split->same_end;
    if (split->same_end > split->at)
        return WEIR_OK;
    *to = split_total(split);
    if (split->bad_end > split->at)
        return split_halve(lane, split->at, split->bad_end, to);
    // What is refused lies side by side: what is next to it is more likely refused than not, and not worth a search.
    bool adjacent = lane->refused_in_a_row >= SPLIT_ADJACENT;
    uint64_t reach = adjacent ? unit(lane) : split->reach;
    if (reach == 0 || reach >= *to - split->at)
        reach = *to - split->at;
    uint64_t middle = 0, end = split->starts[split_block_of(split, split->at) + 1], next = split->at + reach;
    if (next == *to && !adjacent)
        return WEIR_OK;
    if (next >= end) {
        *to = adjacent ? end : nearest_block(split, split->at, *to, next);
        return WEIR_OK;
    }
    int rc = cut(split, split->at, end, next, &middle);
    *to = middle > 0 ? middle : end;
    return rc;
}

int split_choose(struct replay_lane *lane, struct export *part, struct weir_slice *raw)
{
    struct split *split = &lane->split;
    uint64_t to;
    int rc = next_end(lane, &to);
    if (rc != WEIR_OK)
        return rc;
    if (take_blocks(lane, to, part)) {
        split->to = split->starts[split_block_of(split, split->at) + part->view_count];
        return WEIR_OK;
    }
    rc = take_items(lane, to, part, raw);
    split->to = split->at + part->items;
    return rc;
}
