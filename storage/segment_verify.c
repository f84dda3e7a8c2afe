// SPDX-License-Identifier: Apache-2.0
// Going through a sealed segment as a whole, little by little, and giving back the memory it took.
#include <fcntl.h>

#include "storage/segment_read_priv.h"

#define CHUNK_BYTES (64u * 1024u)

// Meta pages, record, databases and last leaves, as they are on the disk now.
static int verify_head(struct segment_read *r, struct weir_err *err)
{
    struct segment_tree *tree = malloc(sizeof(*tree));
    if (tree == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "no memory to check it");
    int code = segment_tree_open(tree, &r->file, r->first, err);
    if (code == WEIR_OK && tree->end != segment_read_end(r))
        code = weir_fail(err, WEIR_E_CORRUPT, "its number of blocks has changed");
    free(tree);
    pthread_mutex_lock(&r->lock);
    segment_tree_forget(r->tree); // to be read again
    pthread_mutex_unlock(&r->lock);
    return code;
}

// The head of the pages that the block has for itself: LMDB's readers do not look at it, and nor do ours.
static int verify_overflow_head(struct segment_read *r, const struct segment_block *block, struct weir_err *err)
{
    uint8_t head[TREE_PAGE_HEAD];
    if (block->offset % TREE_PAGE != TREE_PAGE_HEAD)
        return WEIR_OK;
    uint64_t pgno = block->offset / TREE_PAGE;
    int code = file_read_at(&r->file, head, sizeof(head), pgno * TREE_PAGE, err);
    if (code == WEIR_OK &&
        (!tree_page_is_overflow(head, pgno) || weir_get_u32(head + 12) != tree_overflow_pages(block->bytes)))
        code = weir_fail(err, WEIR_E_CORRUPT, "page %llu: not the page that belongs here", (unsigned long long)pgno);
    return code;
}

static int verify_begin(struct segment_read *r, uint64_t number, struct weir_err *err)
{
    struct block_header h;
    r->verify.busy = false;
    int code = segment_read_find(r, SEGMENT_READ_ANY, number, &r->verify.block, err);
    if (code == WEIR_E_NOT_FOUND || (code == WEIR_OK && r->verify.block.number != number))
        code = weir_fail(err, WEIR_E_CORRUPT, "block %llu is missing", (unsigned long long)number);
    if (code == WEIR_OK)
        code = verify_overflow_head(r, &r->verify.block, err);
    if (code == WEIR_OK)
        code = segment_read_header_at(r, &r->verify.block, &h, err);
    if (code == WEIR_OK && r->verify.hash == NULL && (r->verify.hash = format_hash_new()) == NULL)
        code = weir_fail(err, WEIR_E_NOMEM, "no memory to check it");
    if (code != WEIR_OK)
        return code;
    format_hash_reset(r->verify.hash);
    r->verify.checksum = h.body_checksum;
    r->verify.at = BLOCK_HEADER_BYTES;
    r->verify.busy = true;
    return WEIR_OK;
}

// Goes on with one block's body. r->verify.busy: it is not through yet.
static int verify_body(struct segment_read *r, uint64_t *budget, struct weir_err *err)
{
    uint8_t *chunk = malloc(CHUNK_BYTES);
    int code = chunk != NULL ? WEIR_OK : weir_fail(err, WEIR_E_NOMEM, "no memory to check it");
    const struct segment_block *block = &r->verify.block;
    while (code == WEIR_OK && r->verify.at<block->bytes && * budget> 0) {
        uint64_t left = block->bytes - r->verify.at, len = left < CHUNK_BYTES ? left : CHUNK_BYTES;
        code = file_read_at(&r->file, chunk, len, block->offset + r->verify.at, err);
        if (code != WEIR_OK)
            break;
        format_hash_add(r->verify.hash, chunk, len);
        r->verify.at += len;
        r->verified_bytes += len;
        *budget -= len < *budget ? len : *budget;
    }
    free(chunk);
    if (code != WEIR_OK || r->verify.at < block->bytes)
        return code;
    r->verify.busy = false;
    r->verified_bytes += BLOCK_HEADER_BYTES;
    *budget -= BLOCK_HEADER_BYTES < *budget ? BLOCK_HEADER_BYTES : *budget;
    if (format_hash_sum(r->verify.hash) != r->verify.checksum)
        return weir_fail(err, WEIR_E_CORRUPT, "block %llu: checksum of its %llu bytes does not match",
                         (unsigned long long)block->number, (unsigned long long)block->bytes);
    return WEIR_OK;
}

// From `*number` on as far as the budget goes.
static int verify_blocks(struct segment_read *r, uint64_t end, uint64_t budget, uint64_t *number, struct weir_err *err)
{
    int code = WEIR_OK;
    while (*number < end && budget > 0) {
        if (!r->verify.busy || r->verify.block.number != *number)
            code = verify_begin(r, *number, err);
        if (code == WEIR_OK)
            code = verify_body(r, &budget, err);
        if (code != WEIR_OK)
            return code;
        *number += !r->verify.busy;
    }
    return WEIR_OK;
}

int segment_read_verify(struct segment_read *r, uint64_t budget, uint64_t *cursor, struct weir_err *err)
{
    struct weir_err why = {0};
    uint64_t end = segment_read_end(r), number = r->first + (*cursor > 0 ? *cursor - 1 : 0);
    int code = WEIR_OK;
    if (segment_read_scanned(r)) { // all that is in it was looked at
        *cursor = UINT64_MAX;
        return WEIR_OK;
    }
    if (*cursor == 0) {
        r->verify.busy = false;
        code = verify_head(r, &why);
    }
    if (code == WEIR_OK)
        code = verify_blocks(r, end, budget, &number, &why);
    *cursor = number < end ? number - r->first + 1 : UINT64_MAX;
    if (code == WEIR_E_CORRUPT) {
        code = segment_read_distrust(r, number, why.text, err);
        if (code != WEIR_OK && code != WEIR_E_NOT_FOUND)
            return code;
    }
    if (segment_read_scanned(r)) // found here, or by somebody else meanwhile
        return weir_fail(err, WEIR_E_CORRUPT, "%s: %s", r->path, segment_read_damage(r));
    return code == WEIR_OK ? WEIR_OK : weir_fail(err, code, "%s", why.text);
}

uint64_t segment_read_verified_bytes(const struct segment_read *r)
{
    return r->verified_bytes;
}

void segment_read_drop(struct segment_read *r, uint64_t from, uint64_t to)
{
    from = from / TREE_PAGE * TREE_PAGE;
    to = to < r->file.bytes ? to / TREE_PAGE * TREE_PAGE : r->file.bytes;
    if (to > from)
        posix_fadvise(r->file.fd, (off_t)from, (off_t)(to - from), POSIX_FADV_DONTNEED);
}

void segment_read_passed(struct segment_read *r, const struct segment_block *block, uint64_t passed)
{
    size_t gone = 0;
    pthread_mutex_lock(&r->lock);
    uint64_t last = r->steps_n > 0 ? r->steps[r->steps_n - 1].offset : r->dropped;
    if (block->offset >= last + SEGMENT_DROP_STEP && r->steps_n < SEGMENT_DROP_STEPS_MAX) {
        r->steps[r->steps_n].number = block->number;
        r->steps[r->steps_n++].offset = block->offset;
    }
    while (gone < r->steps_n && r->steps[gone].number <= passed)
        gone++;
    if (gone > 0) {
        segment_read_drop(r, r->dropped, r->steps[gone - 1].offset);
        r->dropped = r->steps[gone - 1].offset;
        r->steps_n -= gone;
        memmove(r->steps, r->steps + gone, r->steps_n * sizeof(r->steps[0]));
    }
    pthread_mutex_unlock(&r->lock);
}
