// SPDX-License-Identifier: Apache-2.0
// Which part of what was refused goes next: between blocks where there are several, else between the items of one. Of few items a part may
// begin and end within blocks: whole blocks are the cheaper parts, but to find an item between blocks first and then in one takes up to two
// exports more than by its items at once, and what is left then one more, which is too much where 2·log2(n) are few.
#include "relay/replay_priv.h"

uint64_t split_total(const struct split *split)
{
    return split->starts[split->whole->view_count];
}

uint64_t split_items(const struct split *split, uint64_t from, uint64_t to)
{
    uint64_t items = to - from;
    for (size_t i = 0; i < split->whole->view_count; i++)
        items -= split->whole->views[i].items == 0 && split->starts[i] >= from && split->starts[i] < to;
    return items;
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

static uint64_t distance(uint64_t a, uint64_t b)
{
    return a > b ? a - b : b - a;
}

// Whether a part may begin and end within blocks, of several. Not where blocks are what matters: what is too large goes as it is stored, what
// cannot be read is found block by block, and what was stored already is told by its blocks.
static bool mixes_blocks(const struct split *split)
{
    return split->whole->was_refused && split_total(split) <= SPLIT_FEW && !split->by_size && !split->repeated &&
           split->at >= split->one_by_one;
}

// A place to cut [from, to) near `wanted`; 0: there is none.
static int cut(struct split *split, uint64_t from, uint64_t to, uint64_t wanted, uint64_t *out)
{
    *out = 0;
    if (to - from < 2)
        return WEIR_OK;
    uint64_t between = nearest_block(split, from, to, wanted);
    uint64_t slack = (wanted - from < to - wanted ? wanted - from : to - wanted) / SPLIT_SLACK_PART;
    if (between > 0 && (!mixes_blocks(split) || distance(between, wanted) <= slack)) {
        *out = between;
        return WEIR_OK;
    }
    size_t index = split_block_of(split, wanted);
    uint64_t start = split->starts[index], end = split->starts[index + 1], place = 0;
    from = from > start ? from : start;
    to = to < end ? to : end;
    int rc = split_open_block(split, index, &split->err);
    if (rc == WEIR_OK)
        place = part_cut(&split->block, from - start, to - start, wanted - start);
    *out = place > 0 ? start + place : between;
    return rc == WEIR_E_CORRUPT && between > 0 ? WEIR_OK : rc; // it may not be the block at hand
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

// [at, to), of one block or of several.
static int make(struct split *split, uint64_t to, struct weir_slice *raw)
{
    size_t first = split_block_of(split, split->at), last = split_block_of(split, to - 1);
    int rc = WEIR_OK;
    split->joined.len = 0;
    for (size_t i = first; i <= last && rc == WEIR_OK; i++) {
        uint64_t start = split->starts[i], end = split->starts[i + 1];
        uint64_t from = split->at > start ? split->at - start : 0;
        rc = split_open_block(split, i, &split->err);
        if (rc == WEIR_OK)
            rc = part_make(&split->block, from, (to < end ? to : end) - start, raw, &split->err);
        if (rc == WEIR_OK && first < last && !weir_buf_append(&split->joined, raw->data, raw->len))
            rc = weir_fail(&split->err, WEIR_E_NOMEM, "out of memory");
    }
    if (first < last)
        *raw = (struct weir_slice){split->joined.data, split->joined.len};
    return rc;
}

// [at, *to), with less items when that is above `max_bytes`.
static int make_within(struct split *split, uint64_t max_bytes, uint64_t *to, struct weir_slice *raw)
{
    for (;;) {
        uint64_t items = *to - split->at, smaller = 0;
        int rc = make(split, *to, raw);
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

// Items from `at` on, up to `to` and what an export may have; of one block, unless it mixes.
static int take_items(struct replay_lane *lane, uint64_t to, struct export *part, struct weir_slice *raw)
{
    struct split *split = &lane->split;
    const struct block_view *views = split->whole->views;
    size_t first = split_block_of(split, split->at);
    uint64_t max_bytes = part_bytes_max(lane);
    if (!mixes_blocks(split) && to > split->starts[first + 1])
        to = split->starts[first + 1];
    uint64_t wanted = to;
    int rc = make_within(split, max_bytes, &to, raw);
    // Above the limit with one profile is the dictionary, which goes into every part: it is not to go once for each profile.
    if (rc == WEIR_OK && lane->signal == WEIR_PROFILES && raw->len > max_bytes && to < wanted) {
        to = wanted;
        rc = make_within(split, 2 * raw->len, &to, raw);
    }
    size_t last = split_block_of(split, to - 1);
    part->views[0] = views[first]; // for the head; there is no view to release
    part->views[1] = views[last];
    part->views[0].pin = part->views[1].pin = NULL;
    part->items = split_items(split, split->at, to);
    part->raw_bytes = raw->len;
    if (!split_at_block_start(split, split->at) || !split_at_block_start(split, to)) {
        part->item_from = (uint32_t)(split->at - split->starts[first]);
        part->item_to = (uint32_t)(to - split->starts[last]);
    }
    split->to = to;
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

// As split_choose. WEIR_E_CORRUPT: a block of the part, whose last one is not the one at hand when views[1] says so.
static int choose(struct replay_lane *lane, struct export *part, struct weir_slice *raw)
{
    struct split *split = &lane->split;
    uint64_t to;
    int rc = next_end(lane, &to);
    if (rc != WEIR_OK)
        return rc;
    bool within = mixes_blocks(split) && !split_at_block_start(split, to);
    if (within || !take_blocks(lane, to, part))
        return take_items(lane, to, part, raw);
    split->to = split->starts[split_block_of(split, split->at) + part->view_count];
    return WEIR_OK;
}

int split_choose(struct replay_lane *lane, struct export *part, struct weir_slice *raw)
{
    struct split *split = &lane->split;
    int rc = choose(lane, part, raw);
    if (rc != WEIR_E_CORRUPT || part->views[0].number == part->views[1].number)
        return rc;
    split->one_by_one = split->to; // to find the damaged one
    part->items = part->raw_bytes = part->item_from = part->item_to = 0;
    return choose(lane, part, raw);
}
