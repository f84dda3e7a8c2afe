// SPDX-License-Identifier: Apache-2.0
#include "storage/segment_tree.h"

static int bad(struct weir_err *err, uint64_t pgno, const char *why)
{
    return weir_fail(err, WEIR_E_CORRUPT, "page %llu: %s", (unsigned long long)pgno, why);
}

static int page_read(const struct segment_tree *tree, uint64_t pgno, enum tree_page_type type, uint8_t *page,
                     struct weir_err *err)
{
    if (pgno < 2 || pgno >= tree->pages)
        return bad(err, pgno, "page number out of the file");
    int code = file_read_at(tree->file, page, TREE_PAGE, pgno * TREE_PAGE, err);
    if (code != WEIR_OK)
        return code;
    const char *why = tree_page_check(page, pgno, type);
    if (why == NULL && !tree_page_packed(page, type))
        why = "a record is missing in it";
    return why == NULL ? WEIR_OK : bad(err, pgno, why);
}

static uint64_t leaf_key(const uint8_t *page, uint32_t i)
{
    struct tree_node node;
    tree_page_node(page, i, TREE_LEAF, &node);
    return weir_get_u64(node.key.data);
}

// Keys and places of a leaf of blocks.
static int leaf_check(const struct segment_tree *tree, const struct segment_page *leaf, uint64_t pgno,
                      struct weir_err *err)
{
    uint64_t least = leaf->low > tree->first ? leaf->low : tree->first;
    for (uint32_t i = 0; i < tree_page_nodes(leaf->page); i++) {
        struct tree_node node;
        tree_page_node(leaf->page, i, TREE_LEAF, &node);
        if (node.key.len != 8)
            return bad(err, pgno, "key length");
        uint64_t key = weir_get_u64(node.key.data);
        if (key < least || key >= leaf->high || key >= tree->end)
            return bad(err, pgno, "keys not in order");
        least = key + 1;
        if (node.bytes < BLOCK_HEADER_BYTES || node.bytes > BLOCK_VALUE_MAX ||
            (node.flags != 0 && node.flags != TREE_BIG))
            return bad(err, pgno, "not the record of a block");
        if (node.flags == TREE_BIG && (node.overflow_page < 2 || node.overflow_page >= tree->pages ||
                                       tree_overflow_pages(node.bytes) > tree->pages - node.overflow_page))
            return bad(err, pgno, "block out of the file");
    }
    return WEIR_OK;
}

static int branch_check(const struct segment_page *branch, uint64_t pgno, struct weir_err *err)
{
    uint64_t before = branch->low;
    for (uint32_t i = 1; i < tree_page_nodes(branch->page); i++) { // the first one's key is never looked at
        struct tree_node node;
        tree_page_node(branch->page, i, TREE_BRANCH, &node);
        uint64_t key = node.key.len == 8 ? weir_get_u64(node.key.data) : 0;
        if (key <= before || key >= branch->high)
            return bad(err, pgno, "branch keys not in order");
        before = key;
    }
    return WEIR_OK;
}

// The child of a checked branch that `key` belongs to, and what keys it may hold.
static uint64_t branch_child(const struct segment_page *branch, uint64_t key, uint64_t *child_low, uint64_t *child_high)
{
    struct tree_node node;
    uint32_t n = tree_page_nodes(branch->page), low = 1, high = n;
    while (low < high) { // the first key beyond it
        uint32_t middle = (low + high) / 2;
        tree_page_node(branch->page, middle, TREE_BRANCH, &node);
        if (weir_get_u64(node.key.data) <= key)
            low = middle + 1;
        else
            high = middle;
    }
    *child_low = branch->low;
    *child_high = branch->high;
    if (low < n) {
        tree_page_node(branch->page, low, TREE_BRANCH, &node);
        *child_high = weir_get_u64(node.key.data);
    }
    tree_page_node(branch->page, low - 1, TREE_BRANCH, &node);
    if (low > 1)
        *child_low = weir_get_u64(node.key.data);
    return node.child;
}

// Reads and checks a page of the given depth; 1: a leaf.
static int page_keep(struct segment_tree *tree, struct segment_page *kept, unsigned depth, uint64_t pgno,
                     struct weir_err *err)
{
    kept->valid = false;
    int code = page_read(tree, pgno, depth > 1 ? TREE_BRANCH : TREE_LEAF, kept->page, err);
    if (code == WEIR_OK)
        code = depth > 1 ? branch_check(kept, pgno, err) : leaf_check(tree, kept, pgno, err);
    kept->valid = code == WEIR_OK;
    return code;
}

// Loads the leaf that `key` belongs to, from the lowest branch kept that it is under.
static int descend(struct segment_tree *tree, unsigned signal, uint64_t key, struct weir_err *err)
{
    const struct tree_db *db = &tree->db[signal];
    struct segment_page *branches = tree->branch[signal], *leaf = &tree->leaf[signal];
    uint64_t pgno = db->root, low = 0, high = UINT64_MAX;
    unsigned depth = db->depth;
    if (depth > SEGMENT_BRANCHES + 1)
        return bad(err, pgno, "tree too deep");
    for (unsigned i = 0; i + 1 < db->depth; i++) {
        if (branches[i].valid && key >= branches[i].low && key < branches[i].high) {
            pgno = branch_child(&branches[i], key, &low, &high);
            depth = i + 1;
            break;
        }
    }
    for (; depth > 1; depth--) {
        struct segment_page *branch = &branches[depth - 2];
        branch->low = low;
        branch->high = high;
        int code = page_keep(tree, branch, depth, pgno, err);
        if (code != WEIR_OK)
            return code;
        pgno = branch_child(branch, key, &low, &high);
    }
    leaf->low = low;
    leaf->high = high;
    return page_keep(tree, leaf, 1, pgno, err);
}

// Index of the first key at or after `from`; may be the number of nodes.
static uint32_t leaf_at(const uint8_t *page, uint64_t from)
{
    uint32_t low = 0, high = tree_page_nodes(page);
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (leaf_key(page, middle) < from)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void leaf_block(const struct segment_page *leaf, uint32_t i, enum weir_signal signal, struct segment_block *out)
{
    struct tree_node node;
    tree_page_node(leaf->page, i, TREE_LEAF, &node);
    *out = (struct segment_block){.number = weir_get_u64(node.key.data), .signal = signal, .bytes = node.bytes};
    out->offset = node.flags & TREE_BIG ? node.overflow_page * TREE_PAGE + TREE_PAGE_HEAD
                                        : weir_get_u64(leaf->page) * TREE_PAGE + (uint64_t)(node.data - leaf->page);
}

static int find_one(struct segment_tree *tree, unsigned signal, uint64_t from, struct segment_block *out,
                    struct weir_err *err)
{
    struct segment_page *leaf = &tree->leaf[signal];
    if (tree->db[signal].root == TREE_NO_PAGE)
        return WEIR_E_NOT_FOUND;
    for (;;) {
        if (!leaf->valid || from < leaf->low || from >= leaf->high) {
            int code = descend(tree, signal, from, err);
            if (code != WEIR_OK)
                return code;
        }
        uint32_t i = leaf_at(leaf->page, from);
        if (i < tree_page_nodes(leaf->page)) {
            leaf_block(leaf, i, (enum weir_signal)signal, out);
            return WEIR_OK;
        }
        if (leaf->high == UINT64_MAX)
            return WEIR_E_NOT_FOUND;
        from = leaf->high; // ascends with each leaf
    }
}

int segment_tree_find(struct segment_tree *tree, unsigned signal, uint64_t from, struct segment_block *out,
                      struct weir_err *err)
{
    if (signal != SEGMENT_READ_ANY)
        return find_one(tree, signal, from, out, err);
    int found = WEIR_E_NOT_FOUND;
    for (unsigned i = 0; i < WEIR_SIGNALS; i++) {
        struct segment_block block;
        int code = find_one(tree, i, from, &block, err);
        if (code != WEIR_OK && code != WEIR_E_NOT_FOUND)
            return code;
        if (code == WEIR_OK && (found != WEIR_OK || block.number < out->number)) {
            *out = block;
            found = WEIR_OK;
        }
    }
    return found;
}

const uint8_t *segment_tree_value(const struct segment_tree *tree, const struct segment_block *block)
{
    const struct segment_page *leaf = &tree->leaf[block->signal];
    uint64_t in = block->offset % TREE_PAGE;
    if (!leaf->valid || in == TREE_PAGE_HEAD || weir_get_u64(leaf->page) != block->offset / TREE_PAGE ||
        block->bytes > TREE_PAGE - in)
        return NULL;
    return leaf->page + in;
}

void segment_tree_forget(struct segment_tree *tree)
{
    for (unsigned i = 0; i < WEIR_SIGNALS; i++) {
        tree->leaf[i].valid = false;
        for (unsigned j = 0; j < SEGMENT_BRANCHES; j++)
            tree->branch[i][j].valid = false;
    }
}

// --- opening ------------------------------------------------------------------------------------------------------------

static int signal_of(struct weir_slice name)
{
    for (unsigned i = 0; i < WEIR_SIGNALS; i++) {
        const char *known = weir_signal_name((enum weir_signal)i);
        if (name.len == strlen(known) && memcmp(name.data, known, name.len) == 0)
            return (int)i;
    }
    return -1;
}

static int db_check(const struct segment_tree *tree, const struct tree_db *db, uint64_t pgno, struct weir_err *err)
{
    bool empty = db->root == TREE_NO_PAGE;
    if (db->flags != TREE_INTEGER_KEY || empty != (db->entries == 0) || (!empty && db->depth == 0) ||
        db->depth > TREE_DEPTH_MAX || db->entries > tree->pages * TREE_PAGE / BLOCK_HEADER_BYTES)
        return bad(err, pgno, "record of a database");
    return WEIR_OK;
}

// The main database: five entries, in one leaf.
static int main_read(struct segment_tree *tree, const struct tree_db *main, struct weir_err *err)
{
    uint8_t page[TREE_PAGE];
    unsigned databases = 0;
    bool record = false;
    if (main->depth != 1 || main->flags != 0 || main->entries != WEIR_SIGNALS + 1)
        return bad(err, main->root, "not the main database of a segment");
    int code = page_read(tree, main->root, TREE_LEAF, page, err);
    for (uint32_t i = 0; code == WEIR_OK && i < tree_page_nodes(page); i++) {
        struct tree_node node;
        tree_page_node(page, i, TREE_LEAF, &node);
        int signal = signal_of(node.key);
        if (node.flags == TREE_DB && node.bytes == TREE_DB_BYTES && signal >= 0 && !(databases >> signal & 1)) {
            tree->db[signal] = tree_db_get(node.data);
            databases |= 1u << signal;
            code = db_check(tree, &tree->db[signal], main->root, err);
        } else if (node.flags == 0 && node.key.len == 4 && memcmp(node.key.data, "weir", 4) == 0 && !record) {
            code = segment_record_get((struct weir_slice){node.data, node.bytes}, &tree->record, err);
            record = true;
        } else {
            code = bad(err, main->root, "unknown record");
        }
    }
    if (code == WEIR_OK && (databases != (1u << WEIR_SIGNALS) - 1 || !record))
        code = bad(err, main->root, "a record is missing");
    return code;
}

// The numbers of all signals together are [first, end): the highest of their last keys says whether the entries are right.
static int ends_check(struct segment_tree *tree, struct weir_err *err)
{
    uint64_t end = tree->first, last_end = tree->first;
    for (unsigned i = 0; i < WEIR_SIGNALS; i++)
        end += tree->db[i].entries;
    if (end < tree->first)
        return bad(err, 0, "number of entries");
    tree->end = end;
    for (unsigned i = 0; i < WEIR_SIGNALS; i++) {
        if (tree->db[i].entries == 0)
            continue;
        int code = descend(tree, i, UINT64_MAX - 1, err);
        if (code != WEIR_OK)
            return code;
        uint64_t key = leaf_key(tree->leaf[i].page, tree_page_nodes(tree->leaf[i].page) - 1);
        last_end = key + 1 > last_end ? key + 1 : last_end;
    }
    return last_end == end ? WEIR_OK : bad(err, 0, "number of entries");
}

int segment_tree_open(struct segment_tree *tree, struct file_read *file, uint64_t first, struct weir_err *err)
{
    struct tree_meta meta;
    uint8_t pages[2 * TREE_PAGE];
    *tree = (struct segment_tree){.file = file, .first = first, .end = UINT64_MAX, .pages = 2};
    int code = file_read_at(file, pages, sizeof(pages), 0, err);
    if (code != WEIR_OK)
        return code;
    const char *why = tree_metas_get(pages, &meta);
    if (why != NULL)
        return bad(err, 0, why);
    if (meta.last_page >= file->bytes / TREE_PAGE)
        return bad(err, meta.last_page, "file is shorter than its last page");
    tree->pages = meta.last_page + 1;
    code = main_read(tree, &meta.main, err);
    if (code == WEIR_OK && tree->record.first != first)
        code = weir_fail(err, WEIR_E_CORRUPT, "its record says it begins at block %llu",
                         (unsigned long long)tree->record.first);
    return code == WEIR_OK ? ends_check(tree, err) : code;
}
