// SPDX-License-Identifier: Apache-2.0
#include "storage/segment_read.h"

#include <fcntl.h>

#include "storage/segment_read_priv.h"

#define HEADER_READ_MAX 1024u // a newer version's header may be longer than ours

// --- headers ------------------------------------------------------------------------------------------------------------

int segment_read_header_at(struct segment_read *r, const struct segment_block *block, struct block_header *out,
                           struct weir_err *err)
{
    uint8_t bytes[HEADER_READ_MAX];
    uint64_t found;
    size_t len = block->bytes < sizeof(bytes) ? (size_t)block->bytes : sizeof(bytes);
    int code = file_read_at(&r->file, bytes, len, block->offset, err);
    if (code == WEIR_OK)
        code = block_header_find(bytes, len, out, &found, err);
    if (code == WEIR_OK && (out->number != block->number || out->signal != block->signal || found != block->bytes))
        code = weir_fail(err, WEIR_E_CORRUPT, "block %llu: its header says %llu, %s", (unsigned long long)block->number,
                         (unsigned long long)out->number, weir_signal_name(out->signal));
    return code;
}

static struct segment_block entry_block(const struct scan_entry *e)
{
    return (struct segment_block){e->number, (enum weir_signal)e->signal, e->offset, e->bytes};
}

// The nearest header at index i or further on in direction `step`. WEIR_E_NOT_FOUND: none that can be read any more.
static int scanned_header(struct segment_read *r, size_t i, int step, struct block_header *out, struct weir_err *err)
{
    for (; i < r->scan.n; i += (size_t)step) { // below 0 it is very large
        struct segment_block block = entry_block(&r->scan.at[i]);
        int code = segment_read_header_at(r, &block, out, err);
        if (code != WEIR_E_CORRUPT)
            return code;
    }
    return WEIR_E_NOT_FOUND;
}

// --- from the tree to the search --------------------------------------------------------------------------------------

// Counts and end after a search.
static int scanned_ends(struct segment_read *r, struct weir_err *err)
{
    struct block_header h;
    int code = WEIR_OK;
    if (r->scan.record_found) {
        r->before = r->scan.record.before;
    } else if (!r->end_sure && r->first > 0) { // before block 0 there was nothing
        code = scanned_header(r, 0, 1, &h, err);
        if (code == WEIR_OK)
            r->before = h.before;
    }
    uint64_t last_end = r->scan.n > 0 ? r->scan.at[r->scan.n - 1].number + 1 : r->first;
    struct spool_counts tree_after = r->after;
    r->after = r->before;
    if (code == WEIR_OK && r->scan.n > 0) {
        code = scanned_header(r, r->scan.n - 1, -1, &h, err);
        if (code == WEIR_OK) {
            r->after = h.before;
            spool_counts_add(&r->after, &h);
        }
    }
    if (r->end_sure && last_end < r->end) // how many are missing is known, of their items perhaps
        for (unsigned i = 0; i < WEIR_SIGNALS; i++) {
            r->after.blocks[i] = r->before.blocks[i] + r->tree->db[i].entries;
            if (tree_after.items[i] > r->after.items[i])
                r->after.items[i] = tree_after.items[i];
            if (tree_after.raw_bytes[i] > r->after.raw_bytes[i])
                r->after.raw_bytes[i] = tree_after.raw_bytes[i];
        }
    if (!r->end_sure)
        r->end = last_end;
    return code == WEIR_E_NOT_FOUND ? WEIR_OK : code;
}

// The tree is not used any more. A failure leaves all as it was, to be tried again.
static int search(struct segment_read *r, const char *why, struct weir_err *err)
{
    struct segment_scan scan;
    file_read_measure(&r->file); // it may have been cut since
    int code = segment_scan_file(&r->file, r->first, r->end_sure ? r->end : UINT64_MAX, atomic_load(&r->file.refused),
                                 &scan, err);
    if (code != WEIR_OK) {
        segment_scan_free(&scan);
        return code;
    }
    struct spool_counts before = r->before, after = r->after;
    r->scan = scan;
    code = scanned_ends(r, err);
    if (code != WEIR_OK) {
        r->before = before;
        r->after = after;
        segment_scan_free(&r->scan);
        return code;
    }
    r->scanned = true;
    snprintf(r->damage, sizeof(r->damage), "%.255s", why);
    return WEIR_OK;
}

// --- opening ----------------------------------------------------------------------------------------------------------

// The counts behind the last block, and whether they agree with the databases' entries.
static int tree_ends(struct segment_read *r, struct weir_err *err)
{
    struct segment_block last;
    struct block_header h;
    r->before = r->after = r->tree->record.before;
    r->end = r->tree->end;
    r->end_sure = true;
    if (r->end == r->first)
        return WEIR_OK;
    int code = segment_tree_find(r->tree, SEGMENT_READ_ANY, r->end - 1, &last, err);
    if (code == WEIR_E_NOT_FOUND)
        code = weir_fail(err, WEIR_E_CORRUPT, "its last block is missing");
    if (code == WEIR_OK)
        code = segment_read_header_at(r, &last, &h, err);
    if (code != WEIR_OK)
        return code;
    r->after = h.before;
    spool_counts_add(&r->after, &h);
    for (unsigned i = 0; i < WEIR_SIGNALS; i++)
        if (r->after.blocks[i] - r->before.blocks[i] != r->tree->db[i].entries)
            return weir_fail(err, WEIR_E_CORRUPT, "its number of blocks of %s is not what its blocks say",
                             weir_signal_name((enum weir_signal)i));
    return WEIR_OK;
}

static int open_any(struct segment_read *r, struct weir_err *err)
{
    struct weir_err why = {0};
    int code = segment_tree_open(r->tree, &r->file, r->first, &why);
    if (code == WEIR_OK)
        code = tree_ends(r, &why);
    if (code == WEIR_E_CORRUPT) {
        code = search(r, why.text, err);
        if (code == WEIR_OK && r->scan.n == 0 && !r->scan.record_found && !r->end_sure)
            code = weir_fail(err, WEIR_E_CORRUPT, "%s; there is no whole block in it", r->damage);
        return code;
    }
    return code == WEIR_OK ? WEIR_OK : weir_fail(err, code, "%s", why.text);
}

int segment_read_open(const char *path, uint64_t first, struct segment_read **out, struct weir_err *err)
{
    *out = NULL;
    struct weir_err local = {0};
    err = err != NULL ? err : &local;
    struct segment_read *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "%s: out of memory", path);
    pthread_mutex_init(&r->lock, NULL);
    r->file.fd = -1;
    r->first = first;
    r->path = strdup(path);
    r->tree = calloc(1, sizeof(*r->tree));
    int code = r->path == NULL || r->tree == NULL ? weir_fail(err, WEIR_E_NOMEM, "out of memory")
                                                  : file_read_open(&r->file, r->path, err);
    if (code == WEIR_OK) {
        posix_fadvise(r->file.fd, 0, 0, POSIX_FADV_SEQUENTIAL); // 3300 MB/s instead of 720 on a cold file
        code = open_any(r, err);
    }
    if (code != WEIR_OK) {
        weir_wrap(err, "%s", path);
        segment_read_close(r);
        return code;
    }
    *out = r;
    return WEIR_OK;
}

void segment_read_close(struct segment_read *r)
{
    if (r == NULL)
        return;
    file_read_close(&r->file);
    segment_scan_free(&r->scan);
    format_hash_free(r->verify.hash);
    pthread_mutex_destroy(&r->lock);
    free(r->tree);
    free(r->path);
    free(r);
}

// --- what it is -------------------------------------------------------------------------------------------------------

uint64_t segment_read_end(struct segment_read *r)
{
    pthread_mutex_lock(&r->lock);
    uint64_t end = r->end;
    pthread_mutex_unlock(&r->lock);
    return end;
}

void segment_read_counts(struct segment_read *r, struct spool_counts *before, struct spool_counts *after)
{
    pthread_mutex_lock(&r->lock);
    if (before != NULL)
        *before = r->before;
    if (after != NULL)
        *after = r->after;
    pthread_mutex_unlock(&r->lock);
}

const char *segment_read_damage(struct segment_read *r)
{
    pthread_mutex_lock(&r->lock);
    const char *text = r->damage[0] != '\0' ? r->damage : "";
    pthread_mutex_unlock(&r->lock);
    return text;
}

uint64_t segment_read_lost(struct segment_read *r, uint64_t end)
{
    uint64_t lost = end > r->first ? end - r->first : 0;
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->scan.n && r->scan.at[i].number < end; i++)
        lost -= r->scan.at[i].whole;
    if (!r->scanned)
        lost = 0;
    pthread_mutex_unlock(&r->lock);
    return lost;
}

bool segment_read_scanned(struct segment_read *r)
{
    pthread_mutex_lock(&r->lock);
    bool scanned = r->scanned;
    pthread_mutex_unlock(&r->lock);
    return scanned;
}

uint64_t segment_read_created_ns(struct segment_read *r)
{
    pthread_mutex_lock(&r->lock);
    uint64_t ns = r->scanned && r->scan.record_found ? r->scan.record.created_ns : r->tree->record.created_ns;
    pthread_mutex_unlock(&r->lock);
    return ns;
}

uint64_t segment_read_bytes(struct segment_read *r)
{
    pthread_mutex_lock(&r->lock);
    uint64_t bytes = r->scanned ? 0 : r->tree->pages * TREE_PAGE;
    pthread_mutex_unlock(&r->lock);
    return bytes;
}

// --- finding ----------------------------------------------------------------------------------------------------------

static int find_scanned(const struct segment_read *r, unsigned signal, uint64_t from, struct segment_block *out)
{
    for (size_t i = segment_scan_at(&r->scan, from); i < r->scan.n; i++) {
        const struct scan_entry *e = &r->scan.at[i];
        if (!e->whole || (signal != SEGMENT_READ_ANY && e->signal != signal))
            continue;
        *out = entry_block(e);
        return WEIR_OK;
    }
    return WEIR_E_NOT_FOUND;
}

// Under the lock.
static int find(struct segment_read *r, unsigned signal, uint64_t from, struct segment_block *out, struct weir_err *err)
{
    struct weir_err why = {0};
    if (!r->scanned) {
        int code = segment_tree_find(r->tree, signal, from, out, &why);
        if (code == WEIR_E_CORRUPT)
            code = search(r, why.text, err);
        else if (code != WEIR_OK && code != WEIR_E_NOT_FOUND)
            weir_fail(err, code, "%s", why.text);
        if (!r->scanned)
            return code;
    }
    return find_scanned(r, signal, from, out);
}

int segment_read_find(struct segment_read *r, unsigned signal, uint64_t from, struct segment_block *out,
                      struct weir_err *err)
{
    pthread_mutex_lock(&r->lock);
    int code = find(r, signal, from, out, err);
    pthread_mutex_unlock(&r->lock);
    return code;
}

int segment_read_value(struct segment_read *r, const struct segment_block *block, struct weir_buf *out,
                       struct weir_err *err)
{
    if (block->offset > r->file.bytes || block->bytes > r->file.bytes - block->offset)
        return weir_fail(err, WEIR_E_CORRUPT, "block %llu: truncated", (unsigned long long)block->number);
    if (!weir_buf_reserve(out, block->bytes))
        return weir_fail(err, WEIR_E_NOMEM, "block %llu: no memory for %llu bytes", (unsigned long long)block->number,
                         (unsigned long long)block->bytes);
    pthread_mutex_lock(&r->lock);
    const uint8_t *kept = r->scanned ? NULL : segment_tree_value(r->tree, block);
    if (kept != NULL)
        memcpy(out->data + out->len, kept, block->bytes);
    pthread_mutex_unlock(&r->lock);
    int code = kept != NULL ? WEIR_OK : file_read_at(&r->file, out->data + out->len, block->bytes, block->offset, err);
    if (code == WEIR_OK)
        out->len += block->bytes;
    return code;
}

int segment_read_header(struct segment_read *r, uint64_t number, struct block_header *out, struct weir_err *err)
{
    struct segment_counts counts;
    struct segment_block block;
    int code = segment_read_counts_at(r, number, &counts, err); // searches the file when the header there is not whole
    if (code != WEIR_OK)
        return code;
    pthread_mutex_lock(&r->lock);
    code = find(r, SEGMENT_READ_ANY, number, &block, err);
    if (code == WEIR_OK && block.number != number)
        code = WEIR_E_NOT_FOUND;
    if (code == WEIR_OK)
        code = segment_read_header_at(r, &block, out, err);
    pthread_mutex_unlock(&r->lock);
    return code == WEIR_E_CORRUPT ? WEIR_E_NOT_FOUND : code;
}

// --- counts -----------------------------------------------------------------------------------------------------------

// WEIR_E_CORRUPT: the tree has no whole block of that number, which it should.
static int counts_by_tree(struct segment_read *r, uint64_t number, struct segment_counts *out, struct weir_err *err)
{
    struct segment_block block;
    struct block_header h;
    int code = segment_tree_find(r->tree, SEGMENT_READ_ANY, number, &block, err);
    if (code == WEIR_E_NOT_FOUND || (code == WEIR_OK && block.number != number))
        return weir_fail(err, WEIR_E_CORRUPT, "block %llu is missing", (unsigned long long)number);
    if (code == WEIR_OK)
        code = segment_read_header_at(r, &block, &h, err);
    if (code == WEIR_OK)
        *out = (struct segment_counts){h.before, h.before, true};
    return code;
}

static int counts_by_search(struct segment_read *r, uint64_t number, struct segment_counts *out, struct weir_err *err)
{
    struct block_header h;
    size_t i = segment_scan_at(&r->scan, number);
    *out = (struct segment_counts){r->before, r->before, false};
    int code = scanned_header(r, i - 1, -1, &h, err);
    if (code == WEIR_OK) {
        out->low = h.before;
        spool_counts_add(&out->low, &h);
        out->exact = h.number + 1 == number;
    } else if (code != WEIR_E_NOT_FOUND) {
        return code;
    }
    code = scanned_header(r, i, 1, &h, err);
    if (code == WEIR_OK) {
        out->high = h.before;
        if (h.number == number) {
            out->low = h.before;
            out->exact = true;
        }
        return WEIR_OK;
    }
    out->high = out->low;
    return code == WEIR_E_NOT_FOUND && out->exact ? WEIR_OK : code;
}

int segment_read_counts_at(struct segment_read *r, uint64_t number, struct segment_counts *out, struct weir_err *err)
{
    struct weir_err why = {0};
    int code = WEIR_E_CORRUPT;
    pthread_mutex_lock(&r->lock);
    if (number <= r->first && (!r->scanned || r->scan.record_found || r->end_sure || r->first == 0)) {
        *out = (struct segment_counts){r->before, r->before, true};
        pthread_mutex_unlock(&r->lock);
        return WEIR_OK;
    }
    if (!r->scanned && number >= r->end) {
        *out = (struct segment_counts){r->after, r->after, number == r->end};
        pthread_mutex_unlock(&r->lock);
        return number == r->end ? WEIR_OK : WEIR_E_NOT_FOUND;
    }
    if (!r->scanned) {
        code = counts_by_tree(r, number, out, &why);
        if (code == WEIR_E_CORRUPT)
            code = search(r, why.text, err);
        else if (code != WEIR_OK)
            weir_fail(err, code, "%s", why.text);
    }
    if (r->scanned)
        code = counts_by_search(r, number, out, err);
    pthread_mutex_unlock(&r->lock);
    return code;
}

int segment_read_distrust(struct segment_read *r, uint64_t number, const char *why, struct weir_err *err)
{
    struct weir_err text = {0};
    int code = WEIR_E_NOT_FOUND;
    weir_fail(&text, WEIR_E_CORRUPT, "%s", why);
    pthread_mutex_lock(&r->lock);
    if (!r->scanned) {
        code = search(r, text.text, err);
    } else {
        size_t i = segment_scan_at(&r->scan, number);
        if (i < r->scan.n && r->scan.at[i].number == number && r->scan.at[i].whole) {
            r->scan.at[i].whole = false;
            r->scan.whole_n--;
        }
    }
    pthread_mutex_unlock(&r->lock);
    return code;
}
