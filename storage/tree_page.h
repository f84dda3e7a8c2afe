// SPDX-License-Identifier: Apache-2.0
// LMDB's pages, looked at one by one without LMDB. Pure functions: nothing is read but the page given, and nothing in it is believed
// before it is checked. Private to storage.
//
// The format, data version 1, 64 bit, little-endian (mdb.c, "struct MDB_page", "MDB_node", "MDB_db", "MDB_meta"):
//   page  = pgno u64, pad u16, flags u16, then lower u16 + upper u16 (offsets), or the number of overflow pages u32; from 16 on the
//           offsets of the nodes, u16 each, up to `lower`; the nodes lie back to back from `upper` to the page's end
//   node  = lo u16, hi u16, flags u16, ksize u16, key, data. Branch: child = lo | hi<<16 | flags<<32. Leaf: lo | hi<<16 bytes of data,
//           or the number of its first overflow page
//   db    = pad u32, flags u16, depth u16, branch, leaf and overflow pages u64, entries u64, root u64
//   meta  = magic u32, version u32, address u64, mapsize u64, db free, db main, last page u64, transaction u64
#ifndef WEIR_STORAGE_TREE_PAGE_H
#define WEIR_STORAGE_TREE_PAGE_H

#include "proto/base.h"

#define TREE_PAGE      4096u
#define TREE_PAGE_HEAD 16u
#define TREE_DB_BYTES  48u
#define TREE_DEPTH_MAX 16u
#define TREE_KEY_MAX   511u
#define TREE_NO_PAGE   UINT64_MAX

enum tree_page_type { TREE_BRANCH = 0x01, TREE_LEAF = 0x02, TREE_OVERFLOW = 0x04, TREE_META = 0x08 };
enum tree_node_flags { TREE_BIG = 0x01, TREE_DB = 0x02 };
enum tree_db_flags { TREE_INTEGER_KEY = 0x08, TREE_NO_SUBDIR = 0x4000 };

struct tree_db {
    uint16_t flags, depth;
    uint64_t entries, root;
};
struct tree_meta {
    struct tree_db free, main;
    uint64_t last_page, txn;
};
struct tree_node {
    uint16_t flags;
    struct weir_slice key;
    uint64_t child;         // of a branch
    uint64_t bytes;         // of a leaf's data
    const uint8_t *data;    // in the page, or
    uint64_t overflow_page; // the first of its pages, with TREE_BIG
};

struct tree_db tree_db_get(const uint8_t *p);
// The state that the two meta pages give: that of the later transaction. NULL, or what is wrong.
const char *tree_metas_get(const uint8_t pages[2 * TREE_PAGE], struct tree_meta *out);
// Number, type and bounds of a branch or leaf page, and that every node lies in it. NULL, or what is wrong.
const char *tree_page_check(const uint8_t *page, uint64_t pgno, enum tree_page_type type);
// Whether the nodes of a checked page fill exactly the room that it says they take: a node that went missing leaves a hole.
bool tree_page_packed(const uint8_t *page, enum tree_page_type type);
bool tree_page_is_overflow(const uint8_t *page, uint64_t pgno);
uint32_t tree_page_nodes(const uint8_t *page);
// A node of a checked page.
void tree_page_node(const uint8_t *page, uint32_t i, enum tree_page_type type, struct tree_node *out);
// Pages that a value takes which has its own.
static inline uint64_t tree_overflow_pages(uint64_t bytes)
{
    return (bytes + TREE_PAGE_HEAD + TREE_PAGE - 1) / TREE_PAGE;
}

#endif
