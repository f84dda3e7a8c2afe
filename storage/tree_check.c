// SPDX-License-Identifier: Apache-2.0
#include "storage/tree_check.h"

#include "storage/file_read.h"
#include "storage/tree_page.h"

struct tree {
    struct file_read file;
    uint64_t pages; // of the file that belong to the last transaction
    uint8_t *claimed;
    uint8_t (*levels)[TREE_PAGE]; // the pages on the way down: of a database, and of one in another
    int code;                     // of the first thing found wrong
    struct weir_err *err;
};

// One tree while it is walked.
struct walk {
    struct tree_db db;
    uint64_t entries;
    uint64_t last_key;
    bool is_main, is_free;
};

static bool wrong(struct tree *t, uint64_t pgno, const char *why)
{
    if (t->code == WEIR_OK)
        t->code = weir_fail(t->err, WEIR_E_CORRUPT, "%s: page %llu: %s", t->file.path, (unsigned long long)pgno, why);
    return false;
}

static bool read_bytes(struct tree *t, void *out, size_t len, uint64_t offset)
{
    struct weir_err err = {0};
    int code = file_read_at(&t->file, out, len, offset, &err);
    if (code != WEIR_OK && t->code == WEIR_OK) {
        // A disk that does not answer is for a person, however often it was asked: the file may be whole, and must not be set aside for it.
        t->code = code == WEIR_E_IO || atomic_load(&t->file.refused)
                      ? weir_fail(t->err, WEIR_E_IO,
                                  "%s. If the disk stays like that, move this file out of the spool and start again",
                                  err.text)
                      : weir_fail(t->err, code, "%s: %s", t->file.path, err.text);
    }
    return code == WEIR_OK;
}

// Every page has one use: a second claim is a cycle, a cross link, or a used page in the free list.
static bool claim(struct tree *t, uint64_t pgno, uint64_t n)
{
    if (pgno < 2 || pgno >= t->pages || n > t->pages - pgno)
        return wrong(t, pgno, "page number out of the file");
    for (uint64_t i = pgno; i < pgno + n; i++) {
        if (t->claimed[i / 8] & 1u << i % 8)
            return wrong(t, i, "page used twice");
        t->claimed[i / 8] |= (uint8_t)(1u << i % 8);
    }
    return true;
}

// Databases, pages and records call each other: no deeper than DEPTH_MAX pages, of one database in another.
// NOLINTBEGIN(misc-no-recursion)
static bool check_db(struct tree *t, struct tree_db db, bool is_main, bool is_free);

// A value of the free list: how many, then that many page numbers, falling.
static bool check_free_list(struct tree *t, uint64_t pgno, const uint8_t *data, uint64_t len)
{
    uint64_t n = len >= 8 ? weir_get_u64(data) : UINT64_MAX;
    if (len % 8 != 0 || n > len / 8 - 1)
        return wrong(t, pgno, "free list longer than its record");
    for (uint64_t i = 1, before = UINT64_MAX; i <= n; i++) {
        uint64_t page = weir_get_u64(data + 8 * i);
        if (page >= before)
            return wrong(t, pgno, "free list not in order");
        if (!claim(t, page, 1))
            return false;
        before = page;
    }
    return true;
}

static bool check_overflow(struct tree *t, const struct walk *w, uint64_t pgno, uint64_t len)
{
    uint8_t head[TREE_PAGE_HEAD];
    uint64_t n = tree_overflow_pages(len);
    if (!claim(t, pgno, n) || !read_bytes(t, head, sizeof(head), pgno * TREE_PAGE))
        return false;
    if (!tree_page_is_overflow(head, pgno) || weir_get_u32(head + 12) != n)
        return wrong(t, pgno, "overflow page with a wrong header");
    if (!w->is_free)
        return true;
    uint8_t *data = malloc(len);
    if (data == NULL && t->code == WEIR_OK)
        t->code = weir_fail(t->err, WEIR_E_NOMEM, "%s: no memory to check it", t->file.path);
    bool good = data != NULL && read_bytes(t, data, len, pgno * TREE_PAGE + TREE_PAGE_HEAD) &&
                check_free_list(t, pgno, data, len);
    free(data);
    return good;
}

static bool check_leaf_node(struct tree *t, struct walk *w, uint64_t pgno, const struct tree_node *node)
{
    if (w->db.flags & TREE_INTEGER_KEY) {
        uint64_t key = node->key.len == 8 ? weir_get_u64(node->key.data) : 0;
        if (node->key.len != 8 || (w->entries > 0 && key <= w->last_key))
            return wrong(t, pgno, "keys not in order");
        w->last_key = key;
    }
    w->entries++;
    if (node->flags == TREE_BIG)
        return check_overflow(t, w, node->overflow_page, node->bytes);
    if (node->flags == TREE_DB)
        return w->is_main && node->bytes == TREE_DB_BYTES ? check_db(t, tree_db_get(node->data), false, false)
                                                          : wrong(t, pgno, "database record in the wrong place");
    if (node->flags != 0)
        return wrong(t, pgno, "unknown kind of record");
    return !w->is_free || check_free_list(t, pgno, node->data, node->bytes);
}

static bool check_page(struct tree *t, struct walk *w, uint64_t pgno, unsigned depth)
{
    enum tree_page_type type = depth == 1 ? TREE_LEAF : TREE_BRANCH;
    if (depth == 0 || !claim(t, pgno, 1))
        return wrong(t, pgno, "tree deeper than its record says");
    uint8_t *page = t->levels[(w->is_main ? TREE_DEPTH_MAX : 0) + depth - 1];
    if (!read_bytes(t, page, TREE_PAGE, pgno * TREE_PAGE))
        return false;
    const char *why = tree_page_check(page, pgno, type);
    if (why != NULL)
        return wrong(t, pgno, why);
    for (uint32_t i = 0; i < tree_page_nodes(page); i++) {
        struct tree_node node;
        tree_page_node(page, i, type, &node);
        if (depth == 1) {
            if (!check_leaf_node(t, w, pgno, &node))
                return false;
            continue;
        }
        // The keys to the left of a branch's key are smaller than it, those to its right are not. The first key is never looked at.
        if (i > 0 && w->db.flags & TREE_INTEGER_KEY) {
            uint64_t key = node.key.len == 8 ? weir_get_u64(node.key.data) : 0;
            if (key <= w->last_key)
                return wrong(t, pgno, "branch keys not in order");
            if (key > 1)
                w->last_key = key - 1;
        }
        if (!check_page(t, w, node.child, depth - 1))
            return false;
    }
    return true;
}

static bool check_db(struct tree *t, struct tree_db db, bool is_main, bool is_free)
{
    // The free list's record also carries the flags that the environment was made with.
    if (is_free ? db.flags != (TREE_INTEGER_KEY | TREE_NO_SUBDIR) : (db.flags & ~TREE_INTEGER_KEY) != 0)
        return wrong(t, 0, "unknown kind of database");
    if (db.root == TREE_NO_PAGE)
        return db.entries == 0 ? true : wrong(t, 0, "entries without a tree");
    if (db.depth == 0 || db.depth > TREE_DEPTH_MAX)
        return wrong(t, db.root, "depth");
    struct walk w = {.db = db, .is_main = is_main, .is_free = is_free};
    if (!check_page(t, &w, db.root, db.depth))
        return false;
    return w.entries == db.entries ? true : wrong(t, db.root, "number of entries");
}

// NOLINTEND(misc-no-recursion)

static bool check_tree(struct tree *t)
{
    struct tree_meta meta;
    uint8_t pages[2 * TREE_PAGE];
    if (!read_bytes(t, pages, sizeof(pages), 0))
        return false;
    const char *why = tree_metas_get(pages, &meta);
    if (why != NULL)
        return wrong(t, 0, why);
    if (meta.last_page >= t->file.bytes / TREE_PAGE)
        return wrong(t, meta.last_page, "file is shorter than its last page");
    t->pages = meta.last_page + 1;
    t->claimed = calloc(t->pages / 8 + 1, 1);
    t->levels = calloc(2 * TREE_DEPTH_MAX, TREE_PAGE);
    if (t->claimed == NULL || t->levels == NULL) {
        t->code = weir_fail(t->err, WEIR_E_NOMEM, "%s: no memory to check it", t->file.path);
        return false;
    }
    return check_db(t, meta.free, false, true) && check_db(t, meta.main, true, false);
}

int tree_check_file(const char *path, struct weir_err *err)
{
    struct tree t = {.pages = 2, .err = err};
    int code = file_read_open(&t.file, path, err);
    if (code != WEIR_OK)
        return code;
    if (!check_tree(&t))
        assert(t.code != WEIR_OK);
    file_read_close(&t.file);
    free(t.claimed);
    free(t.levels);
    return t.code;
}
