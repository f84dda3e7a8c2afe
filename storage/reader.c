// SPDX-License-Identifier: Apache-2.0
// Reading: the newest blocks from memory, sealed segments by pread, and what is left of the active one by a copy in the readers' turn.
//
// Nothing is passed over silently. Each block says how many blocks of its signal came before it: where that is more than there were at the
// place the search began from, blocks in between are missing, and the caller is told so with the range up to the next block there is.
#include "storage/spool_priv.h"

struct spool_reader {
    struct spool *spool;
};

// Where a search is, and what it found.
struct search {
    struct spool *spool;
    enum weir_signal signal;
    uint64_t from, stop;
    struct block_view *view;
    struct spool_counts before; // of the block found
    uint64_t *skip_to;
    struct weir_err *err;
};

struct spool_reader *spool_reader_new(struct spool *spool)
{
    struct spool_reader *reader = calloc(1, sizeof(*reader));
    if (reader != NULL)
        reader->spool = spool;
    return reader;
}

void spool_reader_free(struct spool_reader *reader)
{
    free(reader);
}

void block_view_release(struct block_view *view)
{
    struct blob *blob = view->pin;
    view->pin = NULL;
    blob_release(blob);
}

// Checks the value of block `number` and makes the view of it, which takes the blob over if all is well.
static int found(struct search *s, uint64_t number, struct blob *blob)
{
    struct block_header h;
    struct weir_slice value = {blob->bytes.data, blob->bytes.len};
    int code = block_view_parse(value, s->view, s->err);
    if (code == WEIR_OK && (s->view->number != number || s->view->signal != s->signal))
        code = weir_fail(s->err, WEIR_E_CORRUPT, "block %llu: its header says %llu, %s", (unsigned long long)number,
                         (unsigned long long)s->view->number, weir_signal_name(s->view->signal));
    if (code != WEIR_OK) {
        *s->view = (struct block_view){.number = number, .signal = s->signal};
        *s->skip_to = number + 1;
        return code;
    }
    s->view->pin = blob;
    // Who reads a block soon settles it: from it, or up to its end.
    block_header_get(value, &h, NULL);
    s->before = h.before;
    spool_note_border(s->spool, number, &h.before);
    spool_counts_add(&h.before, &h);
    spool_note_border(s->spool, number + 1, &h.before);
    return WEIR_OK;
}

// Nothing can be read in [s->from, end). WEIR_E_NOT_FOUND: nobody needs it, s->from has moved on.
static int gap(struct search *s, uint64_t end)
{
    uint64_t needed = lanes_first_needed(s->spool, s->from, end);
    if (needed > s->from) { // removed because nobody needed it, or evicted and in the ledgers: nothing is missing
        s->from = needed;
        return WEIR_E_NOT_FOUND;
    }
    *s->view = (struct block_view){.number = s->from, .signal = s->signal};
    *s->skip_to = end;
    return weir_fail(s->err, WEIR_E_CORRUPT, "no file holds blocks %llu to %llu any more", (unsigned long long)s->from,
                     (unsigned long long)end - 1);
}

// --- sealed segments: WEIR_E_NOT_FOUND: look again, from s->from, which may have moved on --------------------------------

// Blocks of the signal before s->from. Where s->from is inside a stretch of lost blocks: those before the stretch.
static int blocks_before(struct search *s, struct segment_read *read, uint64_t *blocks)
{
    struct segment_counts counts;
    if (spool_border_get(s->spool, s->from, &counts.low)) {
        *blocks = counts.low.blocks[s->signal];
        return WEIR_OK;
    }
    int code = segment_read_counts_at(read, s->from, &counts, s->err);
    *blocks = counts.low.blocks[s->signal];
    return code == WEIR_E_NOT_FOUND ? WEIR_OK : code;
}

// There should be `blocks` blocks of the signal before number `end`, and there is none from s->from to there.
static int expect_before(struct search *s, struct segment_read *read, uint64_t end, uint64_t blocks)
{
    uint64_t before;
    int code = blocks_before(s, read, &before);
    if (code != WEIR_OK)
        return code;
    if (before >= blocks) {
        s->from = end;
        return WEIR_E_NOT_FOUND;
    }
    char why[100];
    snprintf(why, sizeof(why), "blocks of %s are missing between %llu and %llu", weir_signal_name(s->signal),
             (unsigned long long)s->from, (unsigned long long)end);
    if (segment_read_scanned(read))
        return gap(s, end);
    code = segment_read_distrust(read, s->from, why, s->err);
    return code == WEIR_OK ? WEIR_E_NOT_FOUND : code;
}

// No block of the signal is left in the file below `bound`.
static int none_left(struct search *s, struct segment_read *read, uint64_t bound)
{
    uint64_t end = segment_read_end(read), stop = end < bound ? end : bound;
    struct segment_counts counts;
    struct mark mark;
    int code;
    if (s->from >= stop) { // behind its last block, where another should begin
        code = spool_mark_at(s->spool, s->signal, bound, &mark);
        if (code != WEIR_OK)
            return code;
        uint64_t before;
        code = blocks_before(s, read, &before);
        if (code != WEIR_OK || before < mark.blocks)
            return code != WEIR_OK ? code : gap(s, bound);
        s->from = bound;
        return WEIR_E_NOT_FOUND;
    }
    if (stop == end) {
        segment_read_counts(read, NULL, &counts.high);
    } else {
        code = segment_read_counts_at(read, stop, &counts, s->err);
        if (code != WEIR_OK && code != WEIR_E_NOT_FOUND)
            return code;
    }
    return expect_before(s, read, stop, counts.high.blocks[s->signal]);
}

// Reads and checks a block that the tree or the search has found.
static int take_block(struct search *s, struct segment_read *read, const struct segment_block *block)
{
    struct weir_buf copy = {0};
    struct weir_err why = {0};
    struct blob *blob = NULL;
    int code = segment_read_value(read, block, &copy, &why);
    if (code == WEIR_OK && (blob = blob_new(&copy)) == NULL)
        code = weir_fail(&why, WEIR_E_NOMEM, "block %llu: out of memory", (unsigned long long)block->number);
    struct weir_err *err = s->err;
    s->err = &why;
    if (code == WEIR_OK)
        code = found(s, block->number, blob);
    s->err = err;
    if (code == WEIR_OK)
        return WEIR_OK;
    weir_buf_free(&copy);
    blob_release(blob);
    if (code != WEIR_E_CORRUPT)
        return weir_fail(err, code, "block %llu: %.400s", (unsigned long long)block->number, why.text);
    // Another copy may be whole; if none is, the block is not found any more.
    code = segment_read_distrust(read, block->number, why.text, err);
    return code == WEIR_OK ? WEIR_E_NOT_FOUND : code;
}

static int search_sealed(struct search *s, struct segment *segment, struct segment_read *read, uint64_t bound)
{
    struct segment_block block;
    int code = segment_read_find(read, s->signal, s->from, &block, s->err);
    if (code == WEIR_E_NOT_FOUND || (code == WEIR_OK && block.number >= bound))
        return none_left(s, read, bound);
    if (code == WEIR_OK)
        code = take_block(s, read, &block);
    if (code != WEIR_OK)
        return code;
    if (block.number > s->from) {
        struct block_view view = *s->view;
        *s->view = (struct block_view){.number = s->from, .signal = s->signal};
        code = expect_before(s, read, block.number, s->before.blocks[s->signal]);
        if (code != WEIR_E_NOT_FOUND || s->from != block.number) {
            block_view_release(&view);
            return code;
        }
        *s->view = view;
    }
    // Memory behind the slowest lane is given back; when that lane is segments behind, what it will need would not stay anyway.
    uint64_t passed = atomic_load(&s->spool->passed);
    segment_read_passed(read, &block, passed < segment->first ? block.number : passed);
    return WEIR_OK;
}

// Copies the block out of the segment that is being written. WEIR_E_AGAIN: it was sealed meanwhile.
static int copy_active(struct search *s, struct segment *segment, uint64_t bound, uint64_t *number,
                       struct weir_buf *copy)
{
    int code = WEIR_E_AGAIN;
    turn_take(&s->spool->turn);
    if (segment->file != NULL) {
        MDB_txn *txn = segment_db_begin(&segment->file->db);
        struct weir_slice value;
        code = txn == NULL ? WEIR_E_IO : segment_db_find(&segment->file->db, txn, s->signal, s->from, number, &value);
        if (code == WEIR_OK && *number >= bound)
            code = WEIR_E_NOT_FOUND;
        if (code == WEIR_OK && !weir_buf_append(copy, value.data, value.len))
            code = WEIR_E_NOMEM;
        segment_db_end(txn);
    }
    turn_give(&s->spool->turn);
    return code;
}

static int search_active(struct search *s, struct segment *segment, uint64_t bound)
{
    uint64_t number = 0;
    struct weir_buf copy = {0};
    int code = copy_active(s, segment, bound, &number, &copy);
    if (code == WEIR_E_NOT_FOUND)
        s->from = bound;
    if (code == WEIR_E_NOT_FOUND || code == WEIR_E_AGAIN)
        return code;
    struct blob *blob = code == WEIR_OK ? blob_new(&copy) : NULL;
    if (blob == NULL) {
        weir_buf_free(&copy);
        return weir_fail(s->err, code == WEIR_OK ? WEIR_E_NOMEM : code, "segment %llu: copy block %llu",
                         (unsigned long long)segment->first, (unsigned long long)s->from);
    }
    code = found(s, number, blob);
    if (code != WEIR_OK)
        blob_release(blob);
    return code;
}

static int search_segment(struct search *s)
{
    uint64_t limit;
    struct segment *segment = catalog_pin(s->spool, s->from, &limit);
    uint64_t bound = limit < s->stop ? limit : s->stop;
    if (segment == NULL)
        return gap(s, bound);
    pthread_mutex_lock(&s->spool->lock);
    bool active = segment == s->spool->active;
    pthread_mutex_unlock(&s->spool->lock);
    struct segment_read *read;
    int code = active ? search_active(s, segment, bound) : segment_get_read(segment, &read, s->err);
    if (!active && code == WEIR_OK) {
        code = search_sealed(s, segment, read, bound);
        segment_tell_damage(segment);
    } else if (!active && code == WEIR_E_CORRUPT) {
        code = gap(s, bound);
    }
    segment_unpin(segment);
    return code;
}

int spool_reader_next(struct spool_reader *reader, enum weir_signal signal, uint64_t from, uint64_t end,
                      struct block_view *view, uint64_t *skip_to, struct weir_err *err)
{
    struct spool *spool = reader->spool;
    uint64_t next = atomic_load(&spool->next_block);
    struct search s = {.spool = spool, .signal = signal, .from = from, .stop = end < next ? end : next};
    s.view = view;
    s.skip_to = skip_to;
    s.err = err;
    *view = (struct block_view){.number = from, .signal = signal};
    *skip_to = from;
    while (s.from < s.stop) {
        struct blob *blob = newest_find(&spool->newest, signal, &s.from, s.stop);
        if (blob != NULL) {
            int code = found(&s, s.from, blob);
            if (code != WEIR_OK)
                blob_release(blob);
            return code;
        }
        if (s.from >= s.stop)
            break;
        int code = search_segment(&s);
        if (code != WEIR_E_NOT_FOUND && code != WEIR_E_AGAIN)
            return code;
    }
    *skip_to = s.from;
    return WEIR_E_AGAIN;
}

uint64_t spool_received_at(struct spool *spool, enum weir_signal signal, uint64_t from, uint64_t end)
{
    struct spool_reader reader = {spool};
    struct block_view view;
    uint64_t skip_to;
    if (spool_reader_next(&reader, signal, from, end, &view, &skip_to, NULL) != WEIR_OK)
        return 0;
    uint64_t received_ns = view.received_first_ns;
    block_view_release(&view);
    return received_ns;
}
