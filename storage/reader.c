// SPDX-License-Identifier: Apache-2.0
// Reading: the newest blocks from memory, sealed segments straight from the map, and what is left of the active one by a copy in
// the readers' turn.
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
    struct pin *pin = view->pin;
    view->pin = NULL;
    if (pin != NULL)
        pin->release(pin);
}

// Checks the value of block `number` and makes the view of it, which takes the pin over if all is well.
static int found(struct search *s, uint64_t number, struct weir_slice value, struct pin *pin)
{
    struct block_header h;
    int code = block_view_parse(value, s->view, s->err);
    if (code == WEIR_OK && (s->view->number != number || s->view->signal != s->signal))
        code = weir_fail(s->err, WEIR_E_CORRUPT, "block %llu: its header says %llu, %s", (unsigned long long)number,
                         (unsigned long long)s->view->number, weir_signal_name(s->view->signal));
    if (code != WEIR_OK) {
        *s->view = (struct block_view){.number = number, .signal = s->signal};
        *s->skip_to = number + 1;
        return code;
    }
    s->view->pin = pin;
    // Who reads a block soon settles it: from it, or up to its end.
    block_header_get(value, &h, NULL);
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

// WEIR_E_NOT_FOUND: none in this segment, s->from has moved on.
static int search_map(struct search *s, struct segment *segment, struct segment_map *map, uint64_t bound)
{
    if (s->from >= map->end)
        return gap(s, bound);
    MDB_txn *txn = segment_db_begin(&map->db);
    if (txn == NULL)
        return weir_fail(s->err, WEIR_E_NOMEM, "segment %llu: no transaction", (unsigned long long)segment->first);
    uint64_t number;
    struct weir_slice value;
    int code = segment_db_find(&map->db, txn, s->signal, s->from, &number, &value);
    segment_db_end(txn); // the file is sealed: the value stays where it is while the segment is pinned
    if (code == WEIR_OK && number >= map->end) // a damaged key
        return gap(s, map->end < bound ? map->end : bound);
    if (code == WEIR_E_NOT_FOUND || (code == WEIR_OK && number >= bound)) {
        s->from = map->end < bound ? map->end : bound;
        return WEIR_E_NOT_FOUND;
    }
    if (code != WEIR_OK)
        return weir_fail(s->err, code, "segment %llu: block %llu", (unsigned long long)segment->first,
                         (unsigned long long)s->from);
    code = found(s, number, value, &segment->pin);
    if (code != WEIR_OK)
        return code;
    segment_pin(segment); // the view's own
    // Memory behind the slowest lane is given back; when that lane is segments behind, what it will need would not stay anyway.
    uint64_t passed = atomic_load(&s->spool->passed);
    pthread_mutex_lock(&segment->open_lock);
    segment_map_passed(map, value.data, number, passed < segment->first ? number : passed);
    pthread_mutex_unlock(&segment->open_lock);
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
    code = found(s, number, (struct weir_slice){blob->bytes.data, blob->bytes.len}, &blob->pin);
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
    struct segment_map *map;
    int code = active ? search_active(s, segment, bound) : segment_get_map(segment, &map, s->err);
    if (!active && code == WEIR_OK)
        code = search_map(s, segment, map, bound);
    else if (!active && code == WEIR_E_CORRUPT)
        code = gap(s, bound);
    segment_unpin(segment);
    return code;
}

int spool_reader_next(struct spool_reader *reader, enum weir_signal signal, uint64_t from, uint64_t end,
                      struct block_view *view, uint64_t *skip_to, struct weir_err *err)
{
    struct spool *spool = reader->spool;
    uint64_t next = atomic_load(&spool->next_block);
    struct search s = {spool, signal, from, end < next ? end : next, view, skip_to, err};
    *view = (struct block_view){.number = from, .signal = signal};
    *skip_to = from;
    while (s.from < s.stop) {
        struct blob *blob = newest_find(&spool->newest, signal, &s.from, s.stop);
        if (blob != NULL) {
            int code = found(&s, s.from, (struct weir_slice){blob->bytes.data, blob->bytes.len}, &blob->pin);
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
