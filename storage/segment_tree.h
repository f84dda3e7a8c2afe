// SPDX-License-Identifier: Apache-2.0
// The B+tree of a sealed segment, walked by pread. Every page is checked when it is used: number, type, bounds, the order of its keys,
// and that they are within what the path to it promises. Private to storage. Not thread-safe.
#ifndef WEIR_STORAGE_SEGMENT_TREE_H
#define WEIR_STORAGE_SEGMENT_TREE_H

#include "storage/file_read.h"
#include "storage/segment_read.h"
#include "storage/tree_page.h"

// A checked page. The leaf that was used last of each signal is kept, and the branches above it: who reads in order needs one page for
// many blocks, and no way down from the root to find the next.
struct segment_page {
    bool valid;
    uint64_t low, high; // the keys that belong here: [low, high)
    uint8_t page[TREE_PAGE];
};
#define SEGMENT_BRANCHES 3u // levels of a tree, more than any segment has
struct segment_tree {
    struct file_read *file;
    uint64_t first, end; // numbers; they follow each other, so that the end is the number of entries
    uint64_t pages;
    struct segment_record record;
    struct tree_db db[WEIR_SIGNALS];
    struct segment_page leaf[WEIR_SIGNALS];
    struct segment_page branch[WEIR_SIGNALS][SEGMENT_BRANCHES]; // from the leaves up
};

// Reads the meta pages, the record and the databases, and whether entries and last keys agree. WEIR_E_CORRUPT, WEIR_E_FORMAT, WEIR_E_IO.
int segment_tree_open(struct segment_tree *tree, struct file_read *file, uint64_t first, struct weir_err *err);
// WEIR_E_NOT_FOUND; WEIR_E_CORRUPT: the tree cannot be used any more; WEIR_E_IO.
int segment_tree_find(struct segment_tree *tree, unsigned signal, uint64_t from, struct segment_block *out,
                      struct weir_err *err);
// The block's value, when it lies in a leaf that is kept; else NULL.
const uint8_t *segment_tree_value(const struct segment_tree *tree, const struct segment_block *block);
// Forgets the pages that were kept.
void segment_tree_forget(struct segment_tree *tree);

#endif
