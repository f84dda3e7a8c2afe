// SPDX-License-Identifier: Apache-2.0
// LMDB's file format, data version 1, 64 bit, little-endian (mdb.c, "struct MDB_page", "MDB_node", "MDB_db", "MDB_meta"):
//   page  = pgno u64, pad u16, flags u16, then lower u16 + upper u16 (offsets), or the number of overflow pages u32; from 16 on the
//           offsets of the nodes, u16 each, up to `lower`
//   node  = lo u16, hi u16, flags u16, ksize u16, key, data. Branch: child = lo | hi<<16 | flags<<32. Leaf: lo | hi<<16 bytes of data,
//           or the number of its first overflow page
//   db    = pad u32, flags u16, depth u16, branch, leaf and overflow pages u64, entries u64, root u64
//   meta  = magic u32, version u32, address u64, mapsize u64, db free, db main, last page u64, transaction u64
#include "storage/tree_check.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/lmdb_error.h"

#define PAGE        4096u
#define PAGE_HEAD   16u
#define NODE_HEAD   8u
#define DB_BYTES    48u
#define DEPTH_MAX   16u
#define KEY_MAX     511u
#define NO_PAGE     UINT64_MAX
#define META_MAGIC  0xBEEFC0DEu
#define INTEGER_KEY 0x08u
#define NO_SUBDIR   0x4000u

enum page_flags { P_BRANCH = 0x01, P_LEAF = 0x02, P_OVERFLOW = 0x04, P_META = 0x08, P_TYPES = 0x6f };
enum node_flags { F_BIGDATA = 0x01, F_SUBDATA = 0x02 };

struct tree {
    const uint8_t *map;
    uint64_t pages; // of the file that belong to the last transaction
    uint8_t *claimed;
    unsigned flags;
    const char *why; // of the first thing found wrong, with the page it is in
    uint64_t where;
};

struct db {
    uint16_t flags, depth;
    uint64_t entries, root;
};

// One tree while it is walked.
struct walk {
    struct db db;
    uint64_t entries;
    uint64_t last_key;
    bool is_main, is_free;
};

static bool wrong(struct tree *t, uint64_t pgno, const char *why)
{
    if (t->why == NULL) {
        t->why = why;
        t->where = pgno;
    }
    return false;
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

static struct db db_get(const uint8_t *p)
{
    return (struct db){weir_get_u16(p + 4), weir_get_u16(p + 6), weir_get_u64(p + 32), weir_get_u64(p + 40)};
}

// Databases, pages and records call each other: no deeper than DEPTH_MAX pages, of one database in another.
// NOLINTBEGIN(misc-no-recursion)
static bool check_db(struct tree *t, struct db db, bool is_main, bool is_free);

// A value of the free list: how many, then that many page numbers, falling.
static bool check_free_list(struct tree *t, uint64_t pgno, const uint8_t *data, uint64_t len)
{
    if (!(t->flags & TREE_CHECK_FOR_WRITING))
        return true;
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
    uint64_t n = (len + PAGE_HEAD + PAGE - 1) / PAGE;
    if (!claim(t, pgno, n))
        return false;
    const uint8_t *page = t->map + pgno * PAGE;
    // Readers never look at this header, and in a segment it would cost a page fault for every block.
    if (t->flags & TREE_CHECK_FOR_WRITING &&
        (weir_get_u64(page) != pgno || !(weir_get_u16(page + 10) & P_OVERFLOW) || weir_get_u32(page + 12) != n))
        return wrong(t, pgno, "overflow page with a wrong header");
    return !w->is_free || check_free_list(t, pgno, page + PAGE_HEAD, len);
}

static bool check_leaf_node(struct tree *t, struct walk *w, uint64_t pgno, const uint8_t *node, uint32_t room)
{
    uint16_t flags = weir_get_u16(node + 4), ksize = weir_get_u16(node + 6);
    uint64_t len = weir_get_u16(node) | (uint64_t)weir_get_u16(node + 2) << 16;
    const uint8_t *data = node + NODE_HEAD + ksize;
    uint64_t here = flags & F_BIGDATA ? 8 : len;
    if (NODE_HEAD + ksize + here > room)
        return wrong(t, pgno, "record reaches out of its page");
    if (w->db.flags & INTEGER_KEY) {
        uint64_t key = ksize == 8 ? weir_get_u64(node + NODE_HEAD) : 0;
        if (ksize != 8 || (w->entries > 0 && key <= w->last_key))
            return wrong(t, pgno, "keys not in order");
        w->last_key = key;
    } else if (ksize == 0 || ksize > KEY_MAX) {
        return wrong(t, pgno, "key length");
    }
    w->entries++;
    if (flags == F_BIGDATA)
        return check_overflow(t, w, weir_get_u64(data), len);
    if (flags == F_SUBDATA)
        return w->is_main && len == DB_BYTES ? check_db(t, db_get(data), false, false)
                                             : wrong(t, pgno, "database record in the wrong place");
    if (flags != 0)
        return wrong(t, pgno, "unknown kind of record");
    return !w->is_free || check_free_list(t, pgno, data, len);
}

static bool check_page(struct tree *t, struct walk *w, uint64_t pgno, unsigned depth)
{
    if (depth == 0 || !claim(t, pgno, 1))
        return wrong(t, pgno, "tree deeper than its record says");
    const uint8_t *page = t->map + pgno * PAGE;
    unsigned type = weir_get_u16(page + 10) & P_TYPES;
    uint32_t lower = weir_get_u16(page + 12), upper = weir_get_u16(page + 14);
    if (weir_get_u64(page) != pgno || type != (depth == 1 ? P_LEAF : P_BRANCH))
        return wrong(t, pgno, "not the page that belongs here");
    if (lower < PAGE_HEAD + 2 || lower > upper || upper > PAGE || lower % 2 != 0 ||
        (depth > 1 && lower < PAGE_HEAD + 4))
        return wrong(t, pgno, "page bounds");
    for (uint32_t at = PAGE_HEAD; at < lower; at += 2) {
        uint32_t offset = weir_get_u16(page + at);
        if (offset < upper || offset % 2 != 0 || offset + NODE_HEAD > PAGE)
            return wrong(t, pgno, "record outside its page");
        const uint8_t *node = page + offset;
        if (depth == 1) {
            if (!check_leaf_node(t, w, pgno, node, PAGE - offset))
                return false;
            continue;
        }
        uint16_t ksize = weir_get_u16(node + 6);
        bool first = at == PAGE_HEAD; // its key is never looked at
        bool sized = w->db.flags & INTEGER_KEY ? ksize == 8 : ksize > 0 && ksize <= KEY_MAX;
        if ((!sized && !(first && ksize == 0)) || offset + NODE_HEAD + ksize > PAGE)
            return wrong(t, pgno, "branch key length");
        uint64_t child =
            weir_get_u16(node) | (uint64_t)weir_get_u16(node + 2) << 16 | (uint64_t)weir_get_u16(node + 4) << 32;
        // The keys to the left of a branch's key are smaller than it, those to its right are not.
        if (!first && w->db.flags & INTEGER_KEY && weir_get_u64(node + NODE_HEAD) <= w->last_key)
            return wrong(t, pgno, "branch keys not in order");
        uint64_t floor = !first && w->db.flags & INTEGER_KEY ? weir_get_u64(node + NODE_HEAD) - 1 : 0;
        if (floor > 0)
            w->last_key = floor;
        if (!check_page(t, w, child, depth - 1))
            return false;
    }
    return true;
}

static bool check_db(struct tree *t, struct db db, bool is_main, bool is_free)
{
    // The free list's record also carries the flags that the environment was made with.
    if (is_free ? db.flags != (INTEGER_KEY | NO_SUBDIR) : (db.flags & ~INTEGER_KEY) != 0)
        return wrong(t, 0, "unknown kind of database");
    if (db.root == NO_PAGE)
        return db.entries == 0 ? true : wrong(t, 0, "entries without a tree");
    if (db.depth == 0 || db.depth > DEPTH_MAX)
        return wrong(t, db.root, "depth");
    struct walk w = {.db = db, .is_main = is_main, .is_free = is_free};
    if (!check_page(t, &w, db.root, db.depth))
        return false;
    return w.entries == db.entries ? true : wrong(t, db.root, "number of entries");
}

// NOLINTEND(misc-no-recursion)

static bool meta_good(const uint8_t *page, uint64_t pgno)
{
    const uint8_t *m = page + PAGE_HEAD;
    return weir_get_u64(page) == pgno && (weir_get_u16(page + 10) & P_TYPES) == P_META &&
           weir_get_u32(m) == META_MAGIC && weir_get_u32(m + 4) == 1 && weir_get_u32(m + 24) == PAGE;
}

static bool check_tree(struct tree *t, uint64_t file_bytes)
{
    const uint8_t *a = t->map + PAGE_HEAD, *b = a + PAGE;
    if (!meta_good(t->map, 0) || !meta_good(t->map + PAGE, 1))
        return wrong(t, 0, "meta page");
    // LMDB takes the one of the later transaction, and has no checksum to tell whether it is. Transactions write the two in turn, so
    // their numbers are neighbours, the even one first: a flipped bit must not bring back an older state as if nothing had happened since.
    // Nor is there a way back to the other meta page: its tree's pages may have been used again.
    uint64_t txn_a = weir_get_u64(a + 128), txn_b = weir_get_u64(b + 128);
    bool turns = txn_a % 2 == 0 && txn_b % 2 == 1 && (txn_a + 1 == txn_b || txn_b + 1 == txn_a);
    if (!turns && (txn_a != 0 || txn_b != 0))
        return wrong(t, 0, "meta pages are not of one transaction and the next");
    const uint8_t *m = txn_a < txn_b ? b : a;
    uint64_t last = weir_get_u64(m + 120);
    if (last >= file_bytes / PAGE)
        return wrong(t, last, "file is shorter than its last page");
    t->pages = last + 1;
    t->claimed = calloc(t->pages / 8 + 1, 1);
    if (t->claimed == NULL)
        return wrong(t, 0, "out of memory");
    return check_db(t, db_get(m + 24), false, true) && check_db(t, db_get(m + 24 + DB_BYTES), true, false);
}

int tree_check_file(const char *path, unsigned flags, struct weir_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno_fail(err, "open", path);
    struct stat st;
    if (fstat(fd, &st) != 0) {
        errno_fail(err, "stat", path);
        close(fd);
        return WEIR_E_IO;
    }
    uint64_t bytes = (uint64_t)st.st_size;
    if (!S_ISREG(st.st_mode) || bytes < 2 * PAGE) {
        close(fd);
        return weir_fail(err, WEIR_E_CORRUPT, "%s: truncated to %llu bytes", path, (unsigned long long)bytes);
    }
    void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED)
        return errno_fail(err, "map", path);
    struct tree t = {.map = map, .pages = 2, .flags = flags};
    bool good = check_tree(&t, bytes);
    bool no_memory = !good && t.claimed == NULL && t.pages > 2;
    munmap(map, bytes);
    free(t.claimed);
    if (no_memory)
        return weir_fail(err, WEIR_E_NOMEM, "%s: no memory to check it", path);
    return good ? WEIR_OK
                : weir_fail(err, WEIR_E_CORRUPT, "%s: page %llu: %s", path, (unsigned long long)t.where, t.why);
}
