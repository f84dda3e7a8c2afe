// SPDX-License-Identifier: Apache-2.0
// What can be saved, and what is lost to whom.
#include "storage/salvage_priv.h"
#include "storage/segment.h"

#define SALVAGE_LETTER_ROOM 8192u // of the tree, for each letter beside its pages

// Blocks in a row that only files set aside hold.
struct run {
    uint64_t first, end;
    struct spool_counts before, after;
};

// The plan with what the writing needs beside.
struct plan {
    struct salvage_plan shown; // first: what the caller has is the same address
    size_t lost_cap;
    struct run *runs;
    size_t runs_n, runs_cap;
};

// Where the walk is.
struct making {
    struct inspect *inspect;
    struct plan *plan;
    uint64_t expected;
    struct spool_counts counts; // before it
    bool begun;                 // they are known
};

// --- the walk ---------------------------------------------------------------------------------------------------------------

struct steps {
    salvage_progress_fn progress;
    void *ctx;
    uint64_t done, total;
};

// A file of a newer version is no damage.
static int check_versions(struct inspect *inspect, struct weir_err *err)
{
    for (size_t i = 0; i < inspect->segments_n + inspect->asides_n; i++) {
        struct inspect_source *source = &inspect->sources[i];
        if (source->tried && source->code == WEIR_E_FORMAT)
            return weir_fail(err, WEIR_E_FORMAT, "%s: %s", source->file->name,
                             source->text != NULL ? source->text : "newer format");
    }
    return WEIR_OK;
}

static void tell(struct steps *steps, uint64_t bytes)
{
    steps->done += bytes;
    if (steps->progress != NULL)
        steps->progress(steps->ctx, steps->done < steps->total ? steps->done : steps->total, steps->total);
}

// The block that the tree leads to is not whole. WEIR_OK: another one of that number may be found now.
static int look_further(struct salvage_block *block, const char *why)
{
    return block->source->read != NULL ? segment_read_distrust(block->source->read, block->where.number, why, NULL)
                                       : WEIR_E_NOT_FOUND;
}

static bool counts_within(const struct spool_counts *low, const struct spool_counts *high)
{
    bool within = low->stored_bytes <= high->stored_bytes;
    for (size_t i = 0; i < WEIR_SIGNALS; i++)
        within = within && low->blocks[i] <= high->blocks[i] && low->items[i] <= high->items[i] &&
                 low->raw_bytes[i] <= high->raw_bytes[i];
    return within;
}

// A file that was set aside may be of numbers that were used again since: only what fits between the blocks that the lanes count is saved.
static bool belongs(const struct inspect *inspect, const struct salvage_block *block, struct spool_counts *last)
{
    struct spool_counts after = block->header.before;
    spool_counts_add(&after, &block->header);
    if (block->source->file->kind == INSPECT_ASIDE && inspect->state_code == WEIR_OK &&
        (block->where.number >= inspect->next_block || !counts_within(last, &block->header.before) ||
         !counts_within(&after, &inspect->counts)))
        return false;
    *last = after;
    return true;
}

int salvage_walk(struct inspect *inspect, salvage_progress_fn progress, void *ctx, salvage_block_fn each,
                 void *each_ctx, struct weir_err *err)
{
    struct steps steps = {.progress = progress, .ctx = ctx};
    struct salvage_block block = {0};
    struct spool_counts last = {0};
    int code = WEIR_OK;
    for (size_t i = 0; i < inspect->segments_n + inspect->asides_n; i++)
        steps.total += inspect->sources[i].file->bytes;
    for (uint64_t from = 0; code == WEIR_OK;) {
        struct block_view view;
        struct weir_err why = {0};
        code = inspect_header_next(inspect, INSPECT_ANY, from, UINT64_MAX, true, &block.where, &block.header,
                                   &block.source, err);
        if (code != WEIR_OK)
            break;
        int whole = inspect_value(inspect, block.source, &block.where, &block.value, &view, &why);
        from = block.where.number + 1;
        if (whole == WEIR_OK) {
            tell(&steps, block.where.bytes);
            code = belongs(inspect, &block, &last) ? each(each_ctx, &block, err) : WEIR_OK;
        } else if (whole == WEIR_E_NOMEM) {
            code = weir_fail(err, whole, "%s", why.text);
        } else if (look_further(&block, why.text) == WEIR_OK) {
            from = block.where.number;
        }
    }
    weir_buf_free(&block.value);
    return code == WEIR_E_NOT_FOUND ? check_versions(inspect, err) : code;
}

// --- lost -------------------------------------------------------------------------------------------------------------------

// What of [first, end), with the counts around it, the lane still had to get.
static uint64_t lane_lost(const struct lane_record *lane, const struct salvage_range *range,
                          const struct spool_counts *before, const struct spool_counts *after)
{
    uint64_t items = 0;
    for (size_t i = 0; i < lane->set.n; i++) {
        const struct interval *in = &lane->set.at[i];
        if (in->first.number >= range->end || in->end.number <= range->first)
            continue;
        uint64_t from =
            in->first.number >= range->first || before == NULL ? in->first.items : before->items[lane->signal];
        uint64_t to = in->end.number <= range->end ? in->end.items : after->items[lane->signal];
        items += to > from ? to - from : 0;
    }
    return items;
}

// Nothing whole holds [m->expected, number); `after` are the counts there.
static int add_lost(struct making *m, uint64_t number, const struct spool_counts *after, struct weir_err *err)
{
    struct plan *plan = m->plan;
    struct salvage_range range = {.first = m->expected, .end = number, .items_known = m->begun};
    bool needed = !plan->shown.state_saved; // then nobody knows
    for (size_t i = 0; i < m->inspect->lanes_n; i++) {
        const struct lane_record *lane = &m->inspect->lanes[i];
        struct salvage_lane *out = &plan->shown.lanes[i];
        if (!inspect_lane_needs(lane, range.first, range.end))
            continue;
        uint64_t items = lane_lost(lane, &range, m->begun ? &m->counts : NULL, after);
        if (!m->begun && items > range.items[lane->signal])
            range.items[lane->signal] = items;
        if (items == 0)
            continue;
        needed = true;
        out->lost_first = out->lost_items == 0 ? range.first : out->lost_first;
        out->lost_items += items;
        out->lost_end = range.end;
    }
    for (size_t i = 0; m->begun && i < WEIR_SIGNALS; i++)
        range.items[i] = after->items[i] > m->counts.items[i] ? after->items[i] - m->counts.items[i] : 0;
    if (!needed)
        return WEIR_OK;
    if (plan->shown.lost_n == plan->lost_cap) {
        size_t cap = plan->lost_cap != 0 ? 2 * plan->lost_cap : 16;
        struct salvage_range *lost = realloc(plan->shown.lost, cap * sizeof(*lost));
        if (lost == NULL)
            return weir_fail(err, WEIR_E_NOMEM, "salvage: out of memory");
        plan->shown.lost = lost;
        plan->lost_cap = cap;
    }
    plan->shown.lost[plan->shown.lost_n++] = range;
    return WEIR_OK;
}

static int add_run(struct plan *plan, const struct block_header *h, struct weir_err *err)
{
    struct run *last = plan->runs_n > 0 ? &plan->runs[plan->runs_n - 1] : NULL;
    if (last == NULL || last->end != h->number) {
        if (plan->runs_n == plan->runs_cap) {
            size_t cap = plan->runs_cap != 0 ? 2 * plan->runs_cap : 16;
            struct run *runs = realloc(plan->runs, cap * sizeof(*runs));
            if (runs == NULL)
                return weir_fail(err, WEIR_E_NOMEM, "salvage: out of memory");
            plan->runs = runs;
            plan->runs_cap = cap;
        }
        assert(plan->runs != NULL); // room for one more
        last = &plan->runs[plan->runs_n++];
        *last = (struct run){.first = h->number, .before = h->before};
    }
    last->end = h->number + 1;
    last->after = h->before;
    spool_counts_add(&last->after, h);
    return WEIR_OK;
}

static int add_block(void *ctx, struct salvage_block *block, struct weir_err *err)
{
    struct making *m = ctx;
    struct salvage_plan *shown = &m->plan->shown;
    const struct block_header *h = &block->header;
    int code = WEIR_OK;
    if (h->number > m->expected && (m->begun || shown->state_saved))
        code = add_lost(m, h->number, &h->before, err);
    if (code == WEIR_OK && block->source->file->kind == INSPECT_ASIDE) {
        shown->aside_blocks++;
        code = add_run(m->plan, h, err);
    }
    shown->blocks++;
    shown->items[h->signal] += h->items;
    shown->stored_bytes += block->where.bytes;
    shown->disk_bytes += salvage_pages_bytes(block->where.bytes);
    if (!m->begun || h->number != m->expected) // begins a segment
        shown->disk_bytes += (uint64_t)SEGMENT_PAGES_SPARE * SEGMENT_PAGE;
    m->expected = h->number + 1;
    m->counts = h->before;
    spool_counts_add(&m->counts, h);
    m->begun = true;
    return code;
}

static int count_letter(void *ctx, struct weir_slice value, const struct letter_view *view, const struct remark *remark,
                        struct weir_err *err)
{
    (void)view;
    (void)remark;
    (void)err;
    struct salvage_plan *shown = ctx;
    shown->letters_saved++;
    shown->disk_bytes += letter_pages_bytes(value.len) + SALVAGE_LETTER_ROOM;
    return WEIR_OK;
}

// --- the whole ----------------------------------------------------------------------------------------------------------------

uint64_t salvage_lane_give(const struct inspect *inspect, const struct salvage_plan *shown, struct lane_record *lane)
{
    const struct plan *plan = (const struct plan *)shown;
    enum weir_signal s = lane->signal;
    struct mark now = {inspect->next_block, inspect->counts.blocks[s], inspect->counts.items[s],
                       inspect->counts.raw_bytes[s]};
    struct interval_sum added = {0};
    for (size_t i = 0; i < plan->runs_n && lane->evicted_by[SPOOL_LOSS_DAMAGE] > 0; i++) {
        const struct run *r = &plan->runs[i];
        // No room for one more interval: that part stays lost, as it was.
        intervals_add(
            &lane->set, (struct mark){r->first, r->before.blocks[s], r->before.items[s], r->before.raw_bytes[s]},
            (struct mark){r->end, r->after.blocks[s], r->after.items[s], r->after.raw_bytes[s]}, &now, &added);
    }
    lane->accepted_before += added.items;
    lane->replayed += added.items;
    return added.items;
}

static void finish(struct making *m)
{
    struct salvage_plan *shown = &m->plan->shown;
    for (size_t i = 0; i < shown->lanes_n; i++) {
        struct lane_record lane = m->inspect->lanes[i];
        shown->lanes[i].again_items = salvage_lane_give(m->inspect, shown, &lane);
    }
    // Segments are made whole and cut to their length when they are full: one of them has all its room.
    shown->disk_bytes += SALVAGE_SEGMENT_BYTES + state_bytes_for_notes(m->inspect->notes_text.len);
}

int salvage_plan_make(struct inspect *inspect, salvage_progress_fn progress, void *ctx, struct salvage_plan **out,
                      struct weir_err *err)
{
    *out = NULL;
    struct plan *plan = calloc(1, sizeof(*plan));
    struct salvage_lane *lanes = calloc(inspect->lanes_n + 1, sizeof(*lanes));
    if (plan == NULL || lanes == NULL) {
        free(plan);
        free(lanes);
        return weir_fail(err, WEIR_E_NOMEM, "salvage: out of memory");
    }
    plan->shown.lanes = lanes;
    plan->shown.lanes_n = inspect->lanes_n;
    plan->shown.state_saved = inspect->state_code == WEIR_OK;
    memcpy(plan->shown.state_text, inspect->state_text, sizeof(plan->shown.state_text));
    struct making m = {.inspect = inspect, .plan = plan, .expected = inspect->next_block};
    for (size_t i = 0; i < inspect->lanes_n; i++)
        if (inspect->lanes[i].set.n > 0 && inspect->lanes[i].set.at[0].first.number < m.expected)
            m.expected = inspect->lanes[i].set.at[0].first.number;
    int code = salvage_walk(inspect, progress, ctx, add_block, &m, err);
    if (code == WEIR_OK && m.expected < inspect->next_block)
        code = add_lost(&m, inspect->next_block, &inspect->counts, err);
    if (code == WEIR_OK)
        code = salvage_letters_walk(inspect, count_letter, &plan->shown, &plan->shown.letters_lost,
                                    &plan->shown.letters_scanned, err);
    finish(&m);
    *out = &plan->shown;
    if (code != WEIR_OK) {
        salvage_plan_free(*out);
        *out = NULL;
    }
    return code;
}

void salvage_plan_free(struct salvage_plan *shown)
{
    struct plan *plan = (struct plan *)shown;
    if (plan == NULL)
        return;
    free(plan->runs);
    free(shown->lanes);
    free(shown->lost);
    free(plan);
}
