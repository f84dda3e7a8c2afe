// SPDX-License-Identifier: Apache-2.0
// Every page and block of every segment, in the order of the numbers: each block's counts must follow from those of the one before it.
#include "storage/verify_priv.h"

#define VERIFY_STEP_BYTES (8u * 1024u * 1024u)

// Where the walk through the blocks is.
struct walk {
    struct verify *v;
    struct inspect_source *source;
    uint64_t expected;          // number of the next block
    struct spool_counts counts; // before it
    bool known[WEIR_SIGNALS];   // of that signal
    bool all_known;             // stored bytes too
    struct weir_buf value;
    struct verify_finding damaged; // blocks in a row whose bodies are damaged; first == end: none
    char damaged_why[256];
};

// Whether counts have not gone back from where the walk is; *items is what lies between, of signals whose counts are known.
static bool counts_between(const struct walk *w, const struct spool_counts *to, uint64_t items[WEIR_SIGNALS])
{
    const struct spool_counts *from = &w->counts;
    bool forward = true;
    for (size_t i = 0; i < WEIR_SIGNALS; i++) {
        if (!w->known[i])
            continue;
        forward = forward && to->blocks[i] >= from->blocks[i] && to->items[i] >= from->items[i] &&
                  to->raw_bytes[i] >= from->raw_bytes[i];
        items[i] = to->items[i] > from->items[i] ? to->items[i] - from->items[i] : 0;
    }
    return forward;
}

static void know(struct walk *w, const struct spool_counts *counts)
{
    w->counts = *counts;
    for (size_t i = 0; i < WEIR_SIGNALS; i++)
        w->known[i] = true;
    w->all_known = true;
}

static void flush_damaged(struct walk *w)
{
    if (w->damaged.first < w->damaged.end)
        verify_report(w->v, "W203", w->damaged, SIZE_MAX, "%s", w->damaged_why);
    w->damaged.first = w->damaged.end = 0;
}

// Nothing whole holds [w->expected, number); the counts there are `counts`. `file`: that it is damaged is why; else no file has them.
static void missing(struct walk *w, uint64_t number, const struct spool_counts *counts, const char *file)
{
    struct verify_finding f = {.file = file, .first = w->expected, .end = number, .items_known = true};
    if (!counts_between(w, counts, f.items))
        verify_report(w->v, "W206", f, SIZE_MAX, "counts go back across the missing blocks");
    const char *rule = file != NULL ? "W203" : verify_needed(w->v, &f) ? "W204" : "W205";
    verify_report(w->v, rule, f, SIZE_MAX, "%s", "");
}

static void check_table(struct walk *w, const struct block_view *view)
{
    struct block_entry entry;
    uint64_t requests = 0, items = 0, raw = 0;
    size_t cursor = 0;
    int code;
    while ((code = block_table_next(view, &cursor, &entry)) == WEIR_OK) {
        requests++;
        items += entry.items;
        raw += entry.raw_bytes;
    }
    if (code != WEIR_E_AGAIN || requests != view->requests || items != view->items || raw != view->raw_bytes)
        verify_report(
            w->v, "W208",
            (struct verify_finding){.file = w->source->file->name, .first = view->number, .end = view->number + 1},
            SIZE_MAX, "%llu requests, %llu items, %llu bytes; its header says %u, %llu, %llu",
            (unsigned long long)requests, (unsigned long long)items, (unsigned long long)raw, view->requests,
            (unsigned long long)view->items, (unsigned long long)view->raw_bytes);
}

static int check_body(struct walk *w, const struct segment_block *block, const struct block_header *h,
                      struct weir_err *err)
{
    struct block_view view;
    struct weir_err why = {0};
    int code = inspect_value(w->v->inspect, w->source, block, &w->value, &view, &why);
    if (code == WEIR_E_NOMEM)
        return weir_fail(err, code, "%s", why.text);
    if (code == WEIR_OK) {
        flush_damaged(w);
        check_table(w, &view);
        w->v->result->blocks++;
        w->v->result->items[h->signal] += h->items;
        return WEIR_OK;
    }
    if (w->damaged.end != h->number || w->damaged.first == w->damaged.end) {
        flush_damaged(w);
        w->damaged = (struct verify_finding){
            .file = w->source->file->name, .first = h->number, .end = h->number, .items_known = true};
        snprintf(w->damaged_why, sizeof(w->damaged_why), "%.250s", why.text);
    }
    w->damaged.end++;
    w->damaged.items[h->signal] += h->items;
    return WEIR_OK;
}

static int check_block(struct walk *w, const struct segment_block *block, const struct block_header *h,
                       struct weir_err *err)
{
    struct verify_finding here = {.file = w->source->file->name, .first = h->number, .end = h->number + 1};
    if (h->number > w->expected) {
        flush_damaged(w);
        missing(w, h->number, &h->before, w->expected >= w->source->file->first ? w->source->file->name : NULL);
    } else if (w->all_known && memcmp(&w->counts, &h->before, sizeof(w->counts)) != 0) {
        verify_report(w->v, "W206", here, SIZE_MAX, "block %llu does not begin where the one before it ends",
                      (unsigned long long)h->number);
    }
    know(w, &h->before);
    spool_counts_add(&w->counts, h);
    w->expected = h->number + 1;
    return check_body(w, block, h, err);
}

// Every page, in steps.
static int check_pages(struct walk *w, struct weir_err *err)
{
    struct segment_read *read = w->source->read;
    uint64_t cursor = 0, before, done, told = 0, bytes = w->source->file->bytes;
    struct weir_err why = {0};
    int code;
    do {
        before = cursor;
        done = segment_read_verified_bytes(read);
        code = segment_read_verify(read, VERIFY_STEP_BYTES, &cursor, &why);
        if (code == WEIR_E_NOMEM)
            return weir_fail(err, code, "%s", why.text);
        done = segment_read_verified_bytes(read) - done;
        done = done < bytes - told ? done : bytes - told;
        told += done;
        verify_progress(w->v, done);
    } while (code != WEIR_E_IO && cursor != UINT64_MAX && (cursor != before || done > 0));
    verify_progress(w->v, bytes - told);
    if (code == WEIR_E_IO || code == WEIR_E_FORMAT)
        verify_report(w->v, code == WEIR_E_IO ? "W104" : "W105",
                      (struct verify_finding){
                          .file = w->source->file->name, .first = w->source->file->first, .end = w->source->end},
                      SIZE_MAX, "%s", why.text);
    return WEIR_OK;
}

static void cannot_open(struct walk *w, int code, const char *why)
{
    struct inspect_source *s = w->source;
    uint64_t end = s->limit != UINT64_MAX ? s->limit : w->v->inspect->next_block;
    struct verify_finding f = {.file = s->file->name, .first = s->file->first, .end = end};
    verify_report(w->v,
                  code == WEIR_E_FORMAT    ? "W105"
                  : code == WEIR_E_CORRUPT ? "W201"
                                           : "W104",
                  f, SIZE_MAX, "%s", why);
    verify_progress(w->v, s->file->bytes);
}

static int check_segment(struct walk *w, struct weir_err *err)
{
    struct inspect *inspect = w->v->inspect;
    struct inspect_source *s = w->source;
    struct weir_err why = {0};
    int code = inspect_source_open(inspect, s, &why);
    if (code == WEIR_E_NOMEM)
        return weir_fail(err, code, "%s", why.text);
    if (code != WEIR_OK) {
        cannot_open(w, code, why.text);
        return WEIR_OK;
    }
    w->v->result->segments++;
    code = check_pages(w, err);
    if (code != WEIR_OK)
        return code;
    if (s->file->first > w->expected) {
        struct spool_counts before, after;
        segment_read_counts(s->read, &before, &after);
        missing(w, s->file->first, &before, NULL);
        w->expected = s->file->first;
        know(w, &before);
    }
    struct segment_block block;
    struct block_header h;
    for (uint64_t from = s->file->first; code == WEIR_OK; from = h.number + 1) {
        code = inspect_source_next(inspect, s, INSPECT_ANY, from, UINT64_MAX, &block, &h, &why);
        if (code == WEIR_OK)
            code = check_block(w, &block, &h, err);
    }
    flush_damaged(w);
    if (code == WEIR_E_NOMEM)
        return code;
    struct verify_finding f = {.file = s->file->name, .first = s->file->first, .end = s->end};
    if (code == WEIR_E_IO)
        verify_report(w->v, "W104", f, SIZE_MAX, "%s", why.text);
    f.items_known = true; // those that are damaged have their own findings
    if (segment_read_damage(s->read)[0] != '\0')
        verify_report(w->v, "W202", f, SIZE_MAX, "%s", segment_read_damage(s->read));
    uint64_t end = segment_read_end(s->read);
    if (end > s->limit)
        verify_report(w->v, "W207", (struct verify_finding){.file = s->file->name}, SIZE_MAX,
                      "%llu blocks from %llu on", (unsigned long long)(end - s->limit), (unsigned long long)s->limit);
    return WEIR_OK;
}

// What a file that was set aside would give back.
static int check_aside(struct walk *w, struct weir_err *err)
{
    struct inspect_source *s = w->source;
    struct weir_err why = {0};
    int code = inspect_source_open(w->v->inspect, s, &why);
    if (code == WEIR_E_NOMEM)
        return weir_fail(err, code, "%s", why.text);
    struct verify_finding f = {.file = s->file->name};
    if (code != WEIR_OK) {
        verify_report(w->v, code == WEIR_E_FORMAT ? "W105" : "W103", f, SIZE_MAX, "%s", why.text);
        return WEIR_OK;
    }
    struct segment_block block;
    struct block_header h;
    struct block_view view;
    uint64_t blocks = 0, items = 0;
    for (uint64_t from = s->file->first; code == WEIR_OK; from = h.number + 1) {
        struct inspect_source *source;
        code = inspect_header_next(w->v->inspect, INSPECT_ANY, from, s->end, true, &block, &h, &source, NULL);
        if (code != WEIR_OK || source != s ||
            inspect_value(w->v->inspect, s, &block, &w->value, &view, NULL) != WEIR_OK)
            continue;
        blocks++;
        items += h.items;
    }
    if (code == WEIR_E_NOMEM)
        return weir_fail(err, code, "out of memory");
    verify_report(w->v, "W103", f, SIZE_MAX, "%llu whole blocks in it with %llu items that no segment has",
                  (unsigned long long)blocks, (unsigned long long)items);
    verify_progress(w->v, s->file->bytes);
    return WEIR_OK;
}

// The walk begins where the first lane stands: with that lane's counts, when a file is missing there already.
static void begin(struct walk *w)
{
    const struct inspect *inspect = w->v->inspect;
    w->expected = inspect->segments_n > 0 ? inspect->sources[0].file->first : inspect->next_block;
    for (size_t i = 0; i < inspect->lanes_n; i++) {
        const struct interval_set *set = &inspect->lanes[i].set;
        if (set->n > 0 && set->at[0].first.number < w->expected)
            w->expected = set->at[0].first.number;
    }
    for (size_t i = 0; i < inspect->lanes_n; i++) {
        const struct interval_set *set = &inspect->lanes[i].set;
        enum weir_signal signal = inspect->lanes[i].signal;
        if (set->n == 0 || (w->known[signal] && set->at[0].first.items >= w->counts.items[signal]))
            continue;
        w->known[signal] = true;
        w->counts.blocks[signal] = set->at[0].first.blocks;
        w->counts.items[signal] = set->at[0].first.items;
        w->counts.raw_bytes[signal] = set->at[0].first.raw_bytes;
    }
}

int verify_blocks(struct verify *v, struct weir_err *err)
{
    struct inspect *inspect = v->inspect;
    struct walk w = {.v = v};
    int code = WEIR_OK;
    begin(&w);
    for (size_t i = 0; i < inspect->segments_n + inspect->asides_n && code == WEIR_OK; i++) {
        w.source = &inspect->sources[i];
        if (i == inspect->segments_n && w.expected < inspect->next_block)
            missing(&w, inspect->next_block, &inspect->counts, NULL);
        code = i < inspect->segments_n ? check_segment(&w, err) : check_aside(&w, err);
    }
    if (inspect->asides_n == 0 && code == WEIR_OK && w.expected < inspect->next_block)
        missing(&w, inspect->next_block, &inspect->counts, NULL);
    for (size_t i = 0; i < inspect->files_n; i++)
        if (inspect->files[i].kind == INSPECT_ASIDE && !inspect->files[i].is_segment)
            verify_report(v, "W103", (struct verify_finding){.file = inspect->files[i].name}, SIZE_MAX, "%s", "");
    weir_buf_free(&w.value);
    return code;
}
