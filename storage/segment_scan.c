// SPDX-License-Identifier: Apache-2.0
#include "storage/segment_scan.h"

#include "storage/tree_page.h"

#define WINDOW_PAGES 64u
#define MAGIC_BYTES  4u

// Pages that a leaf says belong to one block: nothing begins inside.
struct range {
    uint64_t first, end;
};

struct scanner {
    struct file_read *file;
    struct segment_scan *out;
    struct weir_err *err;
    uint64_t first, end;
    uint64_t pages;
    bool impatient;
    size_t cap;
    struct range *ranges;
    size_t ranges_n, ranges_cap;
    struct format_hash *hash;
    uint8_t *window; // pages [window_first, window_end)
    uint64_t window_first, window_end;
    uint64_t unreadable; // bit i: page window_first + i
};

// Makes room for one more.
static bool grow(void **list, size_t n, size_t *cap, size_t bytes)
{
    if (n < *cap)
        return true;
    size_t more = *cap ? *cap * 2 : 256;
    void *grown = realloc(*list, more * bytes);
    if (grown == NULL)
        return false;
    *list = grown;
    *cap = more;
    return true;
}

static int no_memory(struct scanner *s)
{
    return weir_fail(s->err, WEIR_E_NOMEM, "no memory to search it for blocks");
}

// Reads pages [first, end) into the window; behind the end of the file there are zeros.
static int read_pages(struct scanner *s, uint64_t first, uint64_t end)
{
    uint8_t *to = s->window + (first - s->window_first) * TREE_PAGE;
    uint64_t from = first * TREE_PAGE, stop = end * TREE_PAGE < s->file->bytes ? end * TREE_PAGE : s->file->bytes;
    memset(to, 0, (end - first) * TREE_PAGE);
    return from < stop ? file_read_at(s->file, to, stop - from, from, s->err) : WEIR_OK;
}

static int window_load(struct scanner *s, uint64_t pgno)
{
    s->window_first = pgno;
    s->window_end = pgno + WINDOW_PAGES < s->pages ? pgno + WINDOW_PAGES : s->pages;
    s->unreadable = 0;
    if (read_pages(s, pgno, s->window_end) == WEIR_OK)
        return WEIR_OK;
    for (uint64_t page = pgno; page < s->window_end; page++) {
        int code = read_pages(s, page, page + 1);
        if (code == WEIR_OK)
            continue;
        if (code == WEIR_E_IO && !s->impatient) {
            s->window_end = s->window_first;
            return code;
        }
        // Where one page is lost for good, no time is spent on each of its neighbours.
        s->impatient = true;
        s->unreadable |= 1ull << (page - pgno);
        s->out->unreadable = true;
        memset(s->window + (page - pgno) * TREE_PAGE, 0, TREE_PAGE);
    }
    return WEIR_OK;
}

// *page NULL: the disk does not give it. Valid until the next call.
static int page_get(struct scanner *s, uint64_t pgno, const uint8_t **page)
{
    *page = NULL;
    if (pgno >= s->pages)
        return WEIR_OK;
    if (pgno < s->window_first || pgno >= s->window_end) {
        int code = window_load(s, pgno);
        if (code != WEIR_OK)
            return code;
    }
    if (!(s->unreadable >> (pgno - s->window_first) & 1))
        *page = s->window + (pgno - s->window_first) * TREE_PAGE;
    return WEIR_OK;
}

// Whether the body of the block whose value begins at `offset` is what its header says.
static int body_check(struct scanner *s, uint64_t offset, uint64_t bytes, uint64_t checksum, bool *whole)
{
    *whole = false;
    if (offset + bytes > s->file->bytes)
        return WEIR_OK;
    format_hash_reset(s->hash);
    for (uint64_t at = offset + BLOCK_HEADER_BYTES, end = offset + bytes; at < end;) {
        const uint8_t *page;
        uint64_t in = at % TREE_PAGE, len = TREE_PAGE - in < end - at ? TREE_PAGE - in : end - at;
        int code = page_get(s, at / TREE_PAGE, &page);
        if (code != WEIR_OK || page == NULL)
            return code;
        format_hash_add(s->hash, page + in, len);
        at += len;
    }
    *whole = format_hash_sum(s->hash) == checksum;
    return WEIR_OK;
}

// Looks at what may be a block, `in` bytes into a page. *bytes: of the value when there is one that counts, else 0.
static int candidate(struct scanner *s, uint64_t pgno, const uint8_t *page, uint32_t in, bool strict, uint64_t *bytes)
{
    struct block_header h;
    struct weir_err err = {0};
    uint64_t len, offset = pgno * TREE_PAGE + in;
    *bytes = 0;
    int code = block_header_find(page + in, TREE_PAGE - in, &h, &len, &err);
    if (code == WEIR_E_FORMAT && strict)
        return weir_fail(s->err, code, "%s", err.text);
    if (code != WEIR_OK || (in != TREE_PAGE_HEAD && len > TREE_PAGE - in))
        return WEIR_OK;
    bool whole;
    code = body_check(s, offset, len, h.body_checksum, &whole);
    if (code != WEIR_OK || (!whole && !strict))
        return code;
    *bytes = len;
    if (h.number < s->first || h.number >= s->end)
        return WEIR_OK;
    if (!grow((void **)&s->out->at, s->out->n, &s->cap, sizeof(s->out->at[0])))
        return no_memory(s);
    s->out->at[s->out->n++] = (struct scan_entry){.number = h.number,
                                                  .offset = offset,
                                                  .seal = weir_get_u64(page + in + BLOCK_HEADER_BYTES - 8),
                                                  .bytes = (uint32_t)len,
                                                  .signal = (uint8_t)h.signal,
                                                  .whole = whole,
                                                  .strict = strict};
    return WEIR_OK;
}

static int record_candidate(struct scanner *s, struct weir_slice value, bool strict)
{
    struct segment_record record;
    struct weir_err err = {0};
    int code = segment_record_get(value, &record, &err);
    if (code == WEIR_E_FORMAT && strict)
        return weir_fail(s->err, code, "%s", err.text);
    if (code == WEIR_OK && record.first == s->first) {
        s->out->record = record;
        s->out->record_found = true;
    }
    return WEIR_OK;
}

static int leaf_node(struct scanner *s, uint64_t pgno, const uint8_t *page, const struct tree_node *node)
{
    uint64_t bytes, n = tree_overflow_pages(node->bytes);
    if (node->flags & TREE_BIG) {
        if (node->overflow_page >= s->pages || n > s->pages - node->overflow_page)
            return WEIR_OK;
        if (!grow((void **)&s->ranges, s->ranges_n, &s->ranges_cap, sizeof(s->ranges[0])))
            return no_memory(s);
        s->ranges[s->ranges_n++] = (struct range){node->overflow_page, node->overflow_page + n};
        return WEIR_OK;
    }
    if (node->bytes >= MAGIC_BYTES && memcmp(node->data, "WSEG", MAGIC_BYTES) == 0)
        return record_candidate(s, (struct weir_slice){node->data, node->bytes}, true);
    return candidate(s, pgno, page, (uint32_t)(node->data - page), true, &bytes);
}

static int leaf_page(struct scanner *s, uint64_t pgno, const uint8_t page[TREE_PAGE])
{
    int code = WEIR_OK;
    for (uint32_t i = 0; i < tree_page_nodes(page) && code == WEIR_OK; i++) {
        struct tree_node node;
        tree_page_node(page, i, TREE_LEAF, &node);
        code = leaf_node(s, pgno, page, &node);
    }
    return code;
}

static int loose_page(struct scanner *s, uint64_t pgno, const uint8_t page[TREE_PAGE])
{
    int code = WEIR_OK;
    for (uint32_t at = TREE_PAGE_HEAD; at + 24 <= TREE_PAGE && code == WEIR_OK;) {
        uint64_t bytes = 0;
        const uint8_t *w = memchr(page + at, 'W', TREE_PAGE - MAGIC_BYTES - at);
        if (w == NULL)
            break;
        at = (uint32_t)(w - page);
        if (at % 2 == 0 && memcmp(w, "WBLK", MAGIC_BYTES) == 0)
            code = candidate(s, pgno, page, at, false, &bytes);
        else if (at % 2 == 0 && memcmp(w, "WSEG", MAGIC_BYTES) == 0)
            code = record_candidate(s, (struct weir_slice){w, TREE_PAGE - at}, false);
        at += bytes > 0 && bytes < TREE_PAGE ? (uint32_t)bytes : 1;
    }
    return code;
}

// One page, and those of the block that begins in it: *next is the page to go on with.
static int scan_page(struct scanner *s, uint64_t pgno, uint64_t *next)
{
    const uint8_t *at;
    uint8_t page[TREE_PAGE]; // a copy: looking at a block's body moves the window
    uint64_t bytes = 0;
    *next = pgno + 1;
    int code = page_get(s, pgno, &at);
    if (code != WEIR_OK || at == NULL)
        return code;
    memcpy(page, at, TREE_PAGE);
    // A leaf that is sound in itself and has no hole where a node was: then its nodes are all there is in it.
    if (tree_page_check(page, pgno, TREE_LEAF) == NULL && tree_page_packed(page, TREE_LEAF))
        return leaf_page(s, pgno, page);
    if (!tree_page_is_overflow(page, pgno))
        return loose_page(s, pgno, page);
    code = candidate(s, pgno, page, TREE_PAGE_HEAD, true, &bytes);
    if (bytes > 0)
        *next = pgno + tree_overflow_pages(bytes);
    // With a damaged header, how far it reaches is not known for sure: its pages are looked at one by one.
    return code;
}

static int by_range(const void *a, const void *b)
{
    const struct range *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

static int by_number(const void *a, const void *b)
{
    const struct scan_entry *x = a, *y = b;
    if (x->number != y->number)
        return x->number < y->number ? -1 : 1;
    if (x->whole != y->whole)
        return x->whole ? -1 : 1;
    if (x->strict != y->strict)
        return x->strict ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

// Whether a page lies inside a block, behind its first page.
static bool inside(const struct scanner *s, uint64_t page)
{
    size_t low = 0, high = s->ranges_n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (s->ranges[middle].first < page)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && page < s->ranges[low - 1].end;
}

// Sorts, leaves out what lies inside other blocks, and keeps the best copy of each number.
static void settle(struct scanner *s)
{
    struct segment_scan *out = s->out;
    size_t n = 0;
    if (s->ranges_n > 0)
        qsort(s->ranges, s->ranges_n, sizeof(s->ranges[0]), by_range);
    for (size_t i = 0; i < out->n; i++)
        if (out->at[i].strict || !inside(s, out->at[i].offset / TREE_PAGE))
            out->at[n++] = out->at[i];
    out->n = n;
    if (n > 0)
        qsort(out->at, n, sizeof(out->at[0]), by_number);
    n = 0;
    for (size_t i = 0; i < out->n; i++) {
        const struct scan_entry *e = &out->at[i];
        if (n == 0 || out->at[n - 1].number != e->number)
            out->at[n++] = *e;
        else if (e->strict && !out->at[n - 1].strict && e->seal != out->at[n - 1].seal)
            out->at[n - 1] = *e; // another block of that number is in its place
    }
    out->n = n;
    for (size_t i = 0; i < n; i++)
        out->whole_n += out->at[i].whole;
}

int segment_scan_file(struct file_read *file, uint64_t first, uint64_t end, bool impatient, struct segment_scan *out,
                      struct weir_err *err)
{
    *out = (struct segment_scan){0};
    struct scanner s = {.file = file, .out = out, .err = err, .first = first, .end = end, .impatient = impatient};
    s.pages = (file->bytes + TREE_PAGE - 1) / TREE_PAGE;
    s.window = malloc((size_t)WINDOW_PAGES * TREE_PAGE);
    s.hash = format_hash_new();
    int code = s.window == NULL || s.hash == NULL ? no_memory(&s) : WEIR_OK;
    for (uint64_t pgno = 0; pgno < s.pages && code == WEIR_OK;)
        code = scan_page(&s, pgno, &pgno);
    if (code == WEIR_OK)
        settle(&s);
    format_hash_free(s.hash);
    free(s.window);
    free(s.ranges);
    return code;
}

void segment_scan_free(struct segment_scan *scan)
{
    free(scan->at);
    *scan = (struct segment_scan){0};
}

size_t segment_scan_at(const struct segment_scan *scan, uint64_t number)
{
    size_t low = 0, high = scan->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (scan->at[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}
