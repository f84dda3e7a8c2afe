// SPDX-License-Identifier: Apache-2.0
// Segments and their blocks, in order. One segment is open at a time; files set aside stay open while blocks of their range are asked for.
#include "storage/inspect_priv.h"

int inspect_sources_make(struct inspect *inspect, struct weir_err *err)
{
    size_t n = 0;
    for (size_t i = 0; i < inspect->files_n; i++) {
        inspect->segments_n += inspect->files[i].kind == INSPECT_SEGMENT;
        n += inspect->files[i].is_segment;
    }
    inspect->asides_n = n - inspect->segments_n;
    inspect->sources = calloc(n + 1, sizeof(*inspect->sources));
    if (inspect->sources == NULL) {
        inspect->segments_n = inspect->asides_n = 0;
        return weir_fail(err, WEIR_E_NOMEM, "%s: out of memory", inspect->directory);
    }
    size_t segment = 0, aside = inspect->segments_n;
    for (size_t i = 0; i < inspect->files_n; i++) { // their names sort as their numbers do
        const struct inspect_file *file = &inspect->files[i];
        if (!file->is_segment)
            continue;
        size_t at = file->kind == INSPECT_SEGMENT ? segment++ : aside++;
        inspect->sources[at] = (struct inspect_source){.file = file, .limit = UINT64_MAX};
        if (file->kind == INSPECT_SEGMENT && at > 0)
            inspect->sources[at - 1].limit = file->first;
    }
    return WEIR_OK;
}

void inspect_source_close(struct inspect *inspect, struct inspect_source *source)
{
    segment_read_close(source->read);
    source->read = NULL;
    if (inspect->current == source)
        inspect->current = NULL;
}

static int source_code(const struct inspect_source *source, struct weir_err *err)
{
    return source->code == WEIR_OK
               ? WEIR_OK
               : weir_fail(err, source->code, "%s", source->text != NULL ? source->text : "damaged");
}

int inspect_source_open(struct inspect *inspect, struct inspect_source *source, struct weir_err *err)
{
    if (source->read != NULL || (source->tried && source->code != WEIR_OK))
        return source_code(source, err);
    char path[INSPECT_PATH_MAX];
    struct weir_err why = {0};
    int code = inspect_path(inspect, source->file->name, path, &why);
    if (source->file->kind == INSPECT_SEGMENT && inspect->current != NULL)
        inspect_source_close(inspect, inspect->current);
    if (code == WEIR_OK)
        code = segment_read_open(path, source->file->first, &source->read, &why);
    if (code == WEIR_E_NOMEM) // may be had later
        return weir_fail(err, code, "%s", why.text);
    source->tried = true;
    source->code = code;
    if (code != WEIR_OK) {
        free(source->text);
        source->text = strdup(why.text);
        return weir_fail(err, code, "%s", why.text);
    }
    uint64_t end = segment_read_end(source->read);
    source->end = end < source->limit ? end : source->limit;
    if (source->file->kind == INSPECT_SEGMENT)
        inspect->current = source;
    return WEIR_OK;
}

struct inspect_source *inspect_source_at(struct inspect *inspect, uint64_t number)
{
    size_t low = 0, high = inspect->segments_n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (inspect->sources[middle].file->first <= number)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? &inspect->sources[low - 1] : NULL;
}

int inspect_source_next(struct inspect *inspect, struct inspect_source *source, unsigned signal, uint64_t from,
                        uint64_t stop, struct segment_block *block, struct block_header *header, struct weir_err *err)
{
    int code = inspect_source_open(inspect, source, err);
    if (code == WEIR_E_NOMEM)
        return code;
    if (code != WEIR_OK)
        return WEIR_E_NOT_FOUND;
    if (from < source->file->first)
        from = source->file->first;
    if (stop > source->limit)
        stop = source->limit;
    for (; from < stop; from = block->number + 1) {
        code = segment_read_find(source->read, signal, from, block, err);
        if (code == WEIR_E_IO || code == WEIR_E_NOMEM)
            return code;
        if (code != WEIR_OK || block->number < from || block->number >= stop)
            return WEIR_E_NOT_FOUND;
        code = segment_read_header(source->read, block->number, header, err);
        if (code == WEIR_E_IO || code == WEIR_E_NOMEM)
            return code;
        if (code == WEIR_OK && header->number == block->number && header->signal == block->signal)
            return WEIR_OK;
    }
    return WEIR_E_NOT_FOUND;
}

// Whether a segment has that number, of whatever signal.
static bool segment_has(struct inspect *inspect, uint64_t number)
{
    struct segment_block block;
    struct block_header header;
    struct inspect_source *source = inspect_source_at(inspect, number);
    return source != NULL &&
           inspect_source_next(inspect, source, INSPECT_ANY, number, number + 1, &block, &header, NULL) == WEIR_OK;
}

// The first in [from, stop) of all files that were set aside.
static int aside_next(struct inspect *inspect, unsigned signal, uint64_t from, uint64_t stop,
                      struct segment_block *block, struct block_header *header, struct inspect_source **found)
{
    *found = NULL;
    for (size_t i = inspect->segments_n; i < inspect->segments_n + inspect->asides_n; i++) {
        struct inspect_source *source = &inspect->sources[i];
        if (source->file->first >= stop || (source->tried && (source->code != WEIR_OK || source->end <= from))) {
            inspect_source_close(inspect, source);
            continue;
        }
        struct segment_block b;
        struct block_header h;
        uint64_t at = from;
        while (inspect_source_next(inspect, source, signal, at, stop, &b, &h, NULL) == WEIR_OK) {
            if (!segment_has(inspect, b.number)) { // else the number was used again: that one was acknowledged later
                *block = b;
                *header = h;
                *found = source;
                stop = b.number;
                break;
            }
            at = b.number + 1;
        }
    }
    return *found != NULL ? WEIR_OK : WEIR_E_NOT_FOUND;
}

int inspect_header_next(struct inspect *inspect, unsigned signal, uint64_t from, uint64_t end, bool aside,
                        struct segment_block *block, struct block_header *header, struct inspect_source **source,
                        struct weir_err *err)
{
    while (from < end) {
        struct inspect_source *at = inspect_source_at(inspect, from);
        uint64_t first = inspect->segments_n > 0 ? inspect->sources[0].file->first : UINT64_MAX;
        uint64_t stop = at != NULL ? at->limit : first;
        stop = stop < end ? stop : end;
        int code = WEIR_E_NOT_FOUND;
        if (at != NULL)
            code = inspect_source_next(inspect, at, signal, from, stop, block, header, err);
        if (code != WEIR_OK && code != WEIR_E_NOT_FOUND)
            return code;
        *source = at;
        struct inspect_source *other;
        if (aside && aside_next(inspect, signal, from, code == WEIR_OK ? block->number : stop, block, header, &other) ==
                         WEIR_OK) {
            *source = other;
            return WEIR_OK;
        }
        if (code == WEIR_OK)
            return WEIR_OK;
        from = stop;
    }
    return weir_fail(err, WEIR_E_NOT_FOUND, "no more blocks");
}

int inspect_block_next(struct inspect *inspect, unsigned signal, uint64_t from, uint64_t end, bool aside,
                       struct inspect_block *out, struct weir_err *err)
{
    struct segment_block block;
    struct block_header h;
    struct inspect_source *source;
    int code = inspect_header_next(inspect, signal, from, end, aside, &block, &h, &source, err);
    if (code != WEIR_OK)
        return code;
    *out = (struct inspect_block){
        .number = h.number,
        .signal = h.signal,
        .requests = h.requests,
        .items = h.items,
        .raw_bytes = h.raw_bytes,
        .stored_bytes = block.bytes,
        .received_first_ns = h.received_first_ns,
        .received_last_ns = h.received_last_ns,
        .time_min_ns = h.time_min_ns,
        .time_max_ns = h.time_max_ns,
        .envelope_bytes = h.envelope_bytes,
        .file = source->file,
        .offset = block.offset,
    };
    return WEIR_OK;
}

int inspect_value(struct inspect *inspect, struct inspect_source *source, const struct segment_block *block,
                  struct weir_buf *value, struct block_view *view, struct weir_err *err)
{
    value->len = 0;
    int code = inspect_source_open(inspect, source, err);
    if (code == WEIR_OK)
        code = segment_read_value(source->read, block, value, err);
    if (code == WEIR_OK)
        code = block_view_parse((struct weir_slice){value->data, value->len}, view, err);
    if (code == WEIR_OK && (view->number != block->number || view->signal != block->signal))
        code = weir_fail(err, WEIR_E_CORRUPT, "block %llu: its header says %llu, %s", (unsigned long long)block->number,
                         (unsigned long long)view->number, weir_signal_name(view->signal));
    return code;
}

static struct inspect_source *source_of(struct inspect *inspect, const struct inspect_file *file)
{
    for (size_t i = inspect->segments_n; i < inspect->segments_n + inspect->asides_n; i++)
        if (inspect->sources[i].file == file)
            return &inspect->sources[i];
    return inspect_source_at(inspect, file->first);
}

int inspect_block_read(struct inspect *inspect, const struct inspect_block *block, struct weir_buf *value,
                       struct block_view *view, struct weir_err *err)
{
    struct segment_block where = {block->number, block->signal, block->offset, block->stored_bytes};
    return inspect_value(inspect, source_of(inspect, block->file), &where, value, view, err);
}

int inspect_block_envelope(struct inspect *inspect, const struct inspect_block *block, struct weir_buf *out,
                           struct weir_err *err)
{
    uint64_t bytes = BLOCK_HEADER_BYTES + (uint64_t)block->envelope_bytes;
    struct segment_block where = {block->number, block->signal, block->offset,
                                  bytes < block->stored_bytes ? bytes : block->stored_bytes};
    struct inspect_source *source = source_of(inspect, block->file);
    int code = inspect_source_open(inspect, source, err);
    inspect->scratch.len = 0;
    if (code == WEIR_OK)
        code = segment_read_value(source->read, &where, &inspect->scratch, err);
    if (code == WEIR_OK && inspect->scratch.len < bytes)
        code = weir_fail(err, WEIR_E_CORRUPT, "block %llu: cut short", (unsigned long long)block->number);
    if (code == WEIR_OK &&
        !weir_buf_append(out, inspect->scratch.data + BLOCK_HEADER_BYTES, inspect->scratch.len - BLOCK_HEADER_BYTES))
        code = weir_fail(err, WEIR_E_NOMEM, "block %llu: out of memory", (unsigned long long)block->number);
    return code;
}

int inspect_counts_at(struct inspect *inspect, uint64_t number, struct spool_counts *out, struct weir_err *err)
{
    struct inspect_source *source = inspect_source_at(inspect, number);
    struct block_header h;
    struct spool_counts after;
    int code = source != NULL ? inspect_source_open(inspect, source, err) : WEIR_E_NOT_FOUND;
    if (code == WEIR_OK && number < source->limit) {
        if (segment_read_header(source->read, number, &h, err) == WEIR_OK) {
            *out = h.before;
            return WEIR_OK;
        }
        if (number == source->file->first && segment_read_damage(source->read)[0] == '\0') {
            segment_read_counts(source->read, out, &after); // of its record
            return WEIR_OK;
        }
    }
    source = number > 0 ? inspect_source_at(inspect, number - 1) : NULL;
    code = source != NULL ? inspect_source_open(inspect, source, err) : WEIR_E_NOT_FOUND;
    if (code == WEIR_OK)
        code = segment_read_header(source->read, number - 1, &h, err);
    if (code != WEIR_OK)
        return code == WEIR_E_IO || code == WEIR_E_NOMEM ? code : WEIR_E_NOT_FOUND;
    *out = h.before;
    spool_counts_add(out, &h);
    return WEIR_OK;
}

// --- segments -----------------------------------------------------------------------------------------------------------

size_t inspect_segments_count(const struct inspect *inspect)
{
    return inspect->segments_n;
}

static void add_range(struct inspect_segment *out, const struct spool_counts *before, const struct spool_counts *after)
{
    for (size_t i = 0; i < WEIR_SIGNALS; i++) {
        out->blocks[i] = after->blocks[i] > before->blocks[i] ? after->blocks[i] - before->blocks[i] : 0;
        out->items[i] = after->items[i] > before->items[i] ? after->items[i] - before->items[i] : 0;
        out->raw_bytes[i] = after->raw_bytes[i] > before->raw_bytes[i] ? after->raw_bytes[i] - before->raw_bytes[i] : 0;
    }
    if (after->stored_bytes > before->stored_bytes)
        out->stored_bytes = after->stored_bytes - before->stored_bytes;
}

int inspect_segment(struct inspect *inspect, size_t n, struct inspect_segment *out, struct weir_err *err)
{
    if (n >= inspect->segments_n)
        return weir_fail(err, WEIR_E_NOT_FOUND, "no more segments");
    struct inspect_source *source = &inspect->sources[n];
    struct weir_err why = {0};
    *out = (struct inspect_segment){.file = source->file, .first = source->file->first, .end = source->file->first};
    out->code = inspect_source_open(inspect, source, &why);
    if (out->code == WEIR_E_NOMEM)
        return weir_fail(err, WEIR_E_NOMEM, "%s", why.text);
    snprintf(out->text, sizeof(out->text), "%s", out->code != WEIR_OK ? why.text : segment_read_damage(source->read));
    if (out->code != WEIR_OK)
        return WEIR_OK;
    struct spool_counts before, after;
    struct block_header h;
    struct segment_block block;
    segment_read_counts(source->read, &before, &after);
    out->created_ns = segment_read_created_ns(source->read);
    out->end = source->end;
    if (segment_read_end(source->read) > source->limit) // what lies behind was never acknowledged
        inspect_counts_at(inspect, source->limit, &after, NULL);
    if (inspect_source_open(inspect, source, err) != WEIR_OK)
        return WEIR_OK;
    add_range(out, &before, &after);
    if (inspect_source_next(inspect, source, INSPECT_ANY, out->first, out->end, &block, &h, NULL) == WEIR_OK)
        out->received_first_ns = h.received_first_ns;
    if (out->end > out->first && segment_read_header(source->read, out->end - 1, &h, NULL) == WEIR_OK)
        out->received_last_ns = h.received_last_ns;
    return WEIR_OK;
}
