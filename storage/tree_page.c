// SPDX-License-Identifier: Apache-2.0
#include "storage/tree_page.h"

#define NODE_HEAD  8u
#define TYPES      0x6fu
#define META_MAGIC 0xBEEFC0DEu

struct tree_db tree_db_get(const uint8_t *p)
{
    return (struct tree_db){weir_get_u16(p + 4), weir_get_u16(p + 6), weir_get_u64(p + 32), weir_get_u64(p + 40)};
}

static bool meta_good(const uint8_t *page, uint64_t pgno)
{
    const uint8_t *m = page + TREE_PAGE_HEAD;
    return weir_get_u64(page) == pgno && (weir_get_u16(page + 10) & TYPES) == TREE_META &&
           weir_get_u32(m) == META_MAGIC && weir_get_u32(m + 4) == 1 && weir_get_u32(m + 24) == TREE_PAGE;
}

const char *tree_metas_get(const uint8_t pages[2 * TREE_PAGE], struct tree_meta *out)
{
    const uint8_t *a = pages + TREE_PAGE_HEAD, *b = a + TREE_PAGE;
    if (!meta_good(pages, 0) || !meta_good(pages + TREE_PAGE, 1))
        return "meta page";
    // LMDB takes the one of the later transaction, and has no checksum to tell whether it is. Transactions write the two in turn, so
    // their numbers are neighbours, the even one first: a flipped bit must not bring back an older state as if nothing had happened since.
    // Nor is there a way back to the other meta page: its tree's pages may have been used again.
    uint64_t txn_a = weir_get_u64(a + 128), txn_b = weir_get_u64(b + 128);
    bool turns = txn_a % 2 == 0 && txn_b % 2 == 1 && (txn_a + 1 == txn_b || txn_b + 1 == txn_a);
    if (!turns && (txn_a != 0 || txn_b != 0))
        return "meta pages are not of one transaction and the next";
    const uint8_t *m = txn_a < txn_b ? b : a;
    *out = (struct tree_meta){.free = tree_db_get(m + 24),
                              .main = tree_db_get(m + 24 + TREE_DB_BYTES),
                              .last_page = weir_get_u64(m + 120),
                              .txn = weir_get_u64(m + 128)};
    return NULL;
}

uint32_t tree_page_nodes(const uint8_t *page)
{
    return (weir_get_u16(page + 12) - TREE_PAGE_HEAD) / 2;
}

// Bytes of the node in its page; more than a page when it says nonsense.
static uint64_t node_bytes(const uint8_t *node, enum tree_page_type type)
{
    uint64_t data = weir_get_u16(node) | (uint64_t)weir_get_u16(node + 2) << 16;
    if (type == TREE_BRANCH)
        data = 0;
    else if (weir_get_u16(node + 4) & TREE_BIG)
        data = 8;
    return NODE_HEAD + weir_get_u16(node + 6) + data;
}

const char *tree_page_check(const uint8_t *page, uint64_t pgno, enum tree_page_type type)
{
    uint32_t lower = weir_get_u16(page + 12), upper = weir_get_u16(page + 14);
    if (weir_get_u64(page) != pgno || (weir_get_u16(page + 10) & TYPES) != type)
        return "not the page that belongs here";
    if (lower < TREE_PAGE_HEAD + 2 || lower > upper || upper > TREE_PAGE || lower % 2 != 0 ||
        (type == TREE_BRANCH && lower < TREE_PAGE_HEAD + 4))
        return "page bounds";
    for (uint32_t at = TREE_PAGE_HEAD; at < lower; at += 2) {
        uint32_t offset = weir_get_u16(page + at);
        if (offset < upper || offset % 2 != 0 || offset + NODE_HEAD > TREE_PAGE)
            return "record outside its page";
        if (node_bytes(page + offset, type) > TREE_PAGE - offset)
            return "record reaches out of its page";
        uint32_t key = weir_get_u16(page + offset + 6);
        bool leftmost = type == TREE_BRANCH && at == TREE_PAGE_HEAD; // its key is never looked at
        if (key > TREE_KEY_MAX || (key == 0 && !leftmost))
            return "key length";
    }
    return NULL;
}

bool tree_page_packed(const uint8_t *page, enum tree_page_type type)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < tree_page_nodes(page); i++) {
        uint64_t node = node_bytes(page + weir_get_u16(page + TREE_PAGE_HEAD + 2 * i), type);
        bytes += node + node % 2;
    }
    return bytes == TREE_PAGE - weir_get_u16(page + 14);
}

bool tree_page_is_overflow(const uint8_t *page, uint64_t pgno)
{
    return weir_get_u64(page) == pgno && (weir_get_u16(page + 10) & TYPES) == TREE_OVERFLOW;
}

void tree_page_node(const uint8_t *page, uint32_t i, enum tree_page_type type, struct tree_node *out)
{
    const uint8_t *node = page + weir_get_u16(page + TREE_PAGE_HEAD + 2 * i);
    uint64_t low = weir_get_u16(node) | (uint64_t)weir_get_u16(node + 2) << 16;
    uint16_t flags = weir_get_u16(node + 4), ksize = weir_get_u16(node + 6);
    *out = (struct tree_node){.key = {node + NODE_HEAD, ksize}};
    if (type == TREE_BRANCH) {
        out->child = low | (uint64_t)flags << 32;
        return;
    }
    out->flags = flags;
    out->bytes = low;
    out->data = node + NODE_HEAD + ksize;
    if (flags & TREE_BIG)
        out->overflow_page = weir_get_u64(out->data);
}
