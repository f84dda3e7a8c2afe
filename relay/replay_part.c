// SPDX-License-Identifier: Apache-2.0
// One block, decoded, that is sent in parts: a part is a range of its items, counted in the order of its requests. Whole requests go as they
// are (concatenated they are one, C1), those on the range's edges are cut (otlp_split), with an index from the first time on.
#include "relay/replay_priv.h"

#include "proto/otlp_split.h"

void part_block_close(struct part_block *block)
{
    weir_buf_free(&block->raw);
    weir_buf_free(&block->made);
    for (uint32_t i = 0; i < block->count; i++)
        otlp_split_index_free(block->requests[i].index);
    free(block->requests);
    *block = (struct part_block){0};
}

// Reads the request table: where each request lies in the decoded bytes, and what its first item's ordinal is.
static int read_table(struct part_block *block, const struct block_view *view, struct weir_err *err)
{
    struct block_entry entry;
    size_t cursor = 0;
    uint64_t offset = 0, item = 0;
    for (uint32_t i = 0; i < view->requests; i++) {
        if (block_table_next(view, &cursor, &entry) != WEIR_OK)
            return weir_fail(err, WEIR_E_CORRUPT, "the request table ends after %u of %u requests", i, view->requests);
        block->requests[i] = (struct part_request){.offset = offset, .item = item};
        offset += entry.raw_bytes;
        item += entry.items;
    }
    block->requests[view->requests] = (struct part_request){.offset = offset, .item = item};
    if (offset != block->raw.len || item != view->items)
        return weir_fail(err, WEIR_E_CORRUPT, "the requests have %llu bytes and %llu items, the block %zu and %llu",
                         (unsigned long long)offset, (unsigned long long)item, block->raw.len,
                         (unsigned long long)view->items);
    return WEIR_OK;
}

int part_block_open(struct part_block *block, const struct block_view *view, struct weir_err *err)
{
    part_block_close(block);
    block->requests = calloc((size_t)view->requests + 1, sizeof(*block->requests));
    if (block->requests == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "out of memory");
    int rc = block_view_decode(view, &block->raw, err);
    if (rc == WEIR_OK)
        rc = read_table(block, view, err);
    if (rc != WEIR_OK) {
        part_block_close(block);
        return rc;
    }
    block->signal = view->signal;
    block->count = view->requests;
    block->open = true;
    return WEIR_OK;
}

static struct weir_slice request_bytes(const struct part_block *block, uint32_t i)
{
    const struct part_request *request = &block->requests[i];
    return (struct weir_slice){block->raw.data + request->offset, request[1].offset - request->offset};
}

static uint64_t request_items(const struct part_block *block, uint32_t i)
{
    return block->requests[i + 1].item - block->requests[i].item;
}

// NULL: it is broken, or memory is out. Then it is read as a whole each time.
static const struct otlp_split_index *index_of(struct part_block *block, uint32_t i)
{
    struct otlp_split_index **index = &block->requests[i].index;
    if (*index == NULL && otlp_split_index_new(block->signal, request_bytes(block, i), 0, index, NULL) != WEIR_OK)
        *index = NULL;
    return *index;
}

// What does not hold the items that it was accepted with is not cut: it stays whole.
static bool can_cut(struct part_block *block, uint32_t i)
{
    const struct otlp_split_index *index = index_of(block, i);
    uint64_t items;
    if (index != NULL)
        return otlp_split_index_items(index) == request_items(block, i);
    return otlp_split_count(block->signal, request_bytes(block, i), &items, NULL) == WEIR_OK &&
           items == request_items(block, i);
}

// As otlp_split_boundary, in the block's ordinals.
static uint64_t boundary(struct part_block *block, uint32_t i, uint64_t wanted, uint64_t slack)
{
    const struct otlp_split_index *index = index_of(block, i);
    uint64_t begin = block->requests[i].item;
    if (index != NULL)
        return begin + otlp_split_index_boundary(index, wanted - begin, slack);
    return begin + otlp_split_boundary(block->signal, request_bytes(block, i), wanted - begin, slack);
}

// The last request that begins at or before `item`.
static uint32_t find_request(const struct part_block *block, uint64_t item)
{
    uint32_t low = 0, high = block->count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (block->requests[middle].item <= item)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static uint64_t distance(uint64_t a, uint64_t b)
{
    return a > b ? a - b : b - a;
}

uint64_t part_cut(struct part_block *block, uint64_t from, uint64_t to, uint64_t wanted)
{
    assert(block->open && from < wanted && wanted < to);
    uint32_t i = find_request(block, wanted);
    uint64_t begin = block->requests[i].item, end = block->requests[i + 1].item;
    uint64_t near = distance(begin, wanted) <= distance(end, wanted) ? begin : end;
    uint64_t other = near == begin ? end : begin;
    uint64_t slack = (wanted - from < to - wanted ? wanted - from : to - wanted) / SPLIT_SLACK_PART;
    if (near > from && near < to && distance(near, wanted) <= slack)
        return near;
    if (can_cut(block, i))
        return boundary(block, i, wanted, slack);
    if (near > from && near < to)
        return near;
    return other > from && other < to ? other : 0;
}

// Appends what the request has of [from, to).
static int add_request(struct part_block *block, uint32_t i, uint64_t from, uint64_t to, struct weir_err *err)
{
    uint64_t begin = block->requests[i].item, end = block->requests[i + 1].item;
    from = from > begin ? from - begin : 0;
    to = (to < end ? to : end) - begin;
    const struct otlp_split_index *index = index_of(block, i);
    return index != NULL ? otlp_split_index_part(index, from, to, &block->made, err)
                         : otlp_split_part(block->signal, request_bytes(block, i), from, to, &block->made, err);
}

int part_make(struct part_block *block, uint64_t from, uint64_t to, struct weir_slice *out, struct weir_err *err)
{
    const struct part_request *requests = block->requests;
    uint32_t first = find_request(block, from), last = first;
    while (first > 0 && requests[first - 1].item == from) // those without items before it
        first--;
    while (last < block->count && requests[last].item < to)
        last++;
    if (to >= requests[block->count].item)
        last = block->count; // and those at the end
    bool whole = requests[first].item == from && requests[last].item <= to;
    if (whole) {
        *out = (struct weir_slice){block->raw.data + requests[first].offset,
                                   requests[last].offset - requests[first].offset};
        return WEIR_OK;
    }
    int rc = WEIR_OK;
    block->made.len = 0;
    for (uint32_t i = first; i < last && rc == WEIR_OK; i++) {
        struct weir_slice bytes = request_bytes(block, i);
        if (requests[i].item < from || requests[i + 1].item > to)
            rc = add_request(block, i, from, to, err);
        else if (!weir_buf_append(&block->made, bytes.data, bytes.len))
            rc = weir_fail(err, WEIR_E_NOMEM, "out of memory");
    }
    *out = (struct weir_slice){block->made.data, block->made.len};
    return rc;
}
