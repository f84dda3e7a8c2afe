// SPDX-License-Identifier: Apache-2.0
// The state against itself and against the blocks; the dead letters against their totals.
#include "storage/lane_priv.h"
#include "storage/verify_priv.h"

// A mark in the state, with whose it is.
struct claim {
    struct mark mark;
    size_t lane;
    const char *what;
};

static int by_number(const void *a, const void *b)
{
    uint64_t x = ((const struct claim *)a)->mark.number, y = ((const struct claim *)b)->mark.number;
    return x < y ? -1 : x > y;
}

static void check_ledger(struct verify *v, size_t n)
{
    const struct inspect *inspect = v->inspect;
    const struct lane_record *r = &inspect->lanes[n];
    struct mark now = {inspect->next_block, inspect->counts.blocks[r->signal], inspect->counts.items[r->signal],
                       inspect->counts.raw_bytes[r->signal]};
    struct spool_lane_stats s;
    lane_record_stats(r, &now, &s);
    uint64_t sum = s.delivered + s.pending + s.dead_lettered + s.evicted + s.discarded;
    if (s.accepted != sum)
        verify_report(v, "W303", (struct verify_finding){.file = "state.mdb"}, n,
                      "%llu accepted, but %llu delivered + %llu pending + %llu dead-lettered + %llu evicted + %llu "
                      "discarded",
                      (unsigned long long)s.accepted, (unsigned long long)s.delivered, (unsigned long long)s.pending,
                      (unsigned long long)s.dead_lettered, (unsigned long long)s.evicted,
                      (unsigned long long)s.discarded);
}

// Collects a lane's marks; reports those beyond what was ever used.
static size_t collect(struct verify *v, size_t n, struct claim *out)
{
    const struct lane_record *r = &v->inspect->lanes[n];
    size_t count = 0;
    if (r->following)
        out[count++] = (struct claim){r->follow_from, n, "follow from"};
    for (size_t i = 0; i < r->set.n; i++) {
        out[count++] = (struct claim){r->set.at[i].first, n, "beginning"};
        if (r->set.at[i].end.number != SPOOL_END)
            out[count++] = (struct claim){r->set.at[i].end, n, "end"};
        else if (!r->following)
            verify_report(v, "W305", (struct verify_finding){.file = "state.mdb"}, n,
                          "an interval follows new blocks, the lane does not");
    }
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (out[i].mark.number <= v->inspect->next_block)
            out[kept++] = out[i];
        else
            verify_report(v, "W305", (struct verify_finding){.file = "state.mdb"}, n,
                          "%s at block %llu, but the next one will be %llu", out[i].what,
                          (unsigned long long)out[i].mark.number, (unsigned long long)v->inspect->next_block);
    }
    return kept;
}

static bool agrees(const struct mark *mark, const struct spool_counts *counts, enum weir_signal signal)
{
    return mark->blocks == counts->blocks[signal] && mark->items == counts->items[signal] &&
           mark->raw_bytes == counts->raw_bytes[signal];
}

static int check_claim(struct verify *v, const struct claim *claim, struct weir_err *err)
{
    struct inspect *inspect = v->inspect;
    enum weir_signal signal = inspect->lanes[claim->lane].signal;
    struct spool_counts counts = inspect->counts;
    int code = WEIR_OK;
    if (claim->mark.number < inspect->next_block)
        code = inspect_counts_at(inspect, claim->mark.number, &counts, err);
    if (code == WEIR_E_NOMEM)
        return code;
    if (code == WEIR_OK && !agrees(&claim->mark, &counts, signal))
        verify_report(v, "W304", (struct verify_finding){.file = "state.mdb"}, claim->lane,
                      "%s at block %llu: %llu blocks and %llu items before it, but the blocks say %llu and %llu",
                      claim->what, (unsigned long long)claim->mark.number, (unsigned long long)claim->mark.blocks,
                      (unsigned long long)claim->mark.items, (unsigned long long)counts.blocks[signal],
                      (unsigned long long)counts.items[signal]);
    return WEIR_OK; // where no block is left, nothing can be said
}

static int check_lanes(struct verify *v, struct weir_err *err)
{
    size_t lanes = v->inspect->lanes_n, count = 0;
    struct claim *claims = calloc(lanes * (2 * INTERVALS_MAX + 1) + 1, sizeof(*claims));
    if (claims == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "state.mdb: out of memory");
    for (size_t i = 0; i < lanes; i++) {
        check_ledger(v, i);
        count += collect(v, i, claims + count);
    }
    qsort(claims, count, sizeof(*claims), by_number); // so that each segment is opened once
    int code = WEIR_OK;
    for (size_t i = 0; i < count && code == WEIR_OK; i++)
        code = check_claim(v, &claims[i], err);
    free(claims);
    return code;
}

int verify_state(struct verify *v, struct weir_err *err)
{
    struct inspect *inspect = v->inspect;
    struct verify_finding f = {.file = "state.mdb"};
    if (inspect->state_code == WEIR_E_NOT_FOUND) {
        if (inspect->segments_n > 0)
            verify_report(v, "W301", f, SIZE_MAX, "%s", "");
        return WEIR_OK;
    }
    verify_progress(v, inspect_file_of(inspect, INSPECT_STATE)->bytes);
    if (inspect->state_code != WEIR_OK) {
        verify_report(v, inspect->state_code == WEIR_E_CORRUPT ? "W302" : "W104", f, SIZE_MAX, "%s",
                      inspect->state_text);
        return WEIR_OK;
    }
    struct spool_counts counts;
    int code = inspect_counts_at(inspect, inspect->state.next_block, &counts, err);
    if (code == WEIR_E_NOMEM)
        return code;
    if (code == WEIR_OK && memcmp(&counts, &inspect->state.counts, sizeof(counts)) != 0)
        verify_report(v, "W306", f, SIZE_MAX, "before block %llu", (unsigned long long)inspect->state.next_block);
    for (size_t i = 0; i < inspect->notes_n; i++)
        if (inspect->notes[i].damage != NULL)
            verify_report(v, "W307", f, SIZE_MAX, "%s: %s", inspect->notes[i].key, inspect->notes[i].damage);
    return check_lanes(v, err);
}

// --- dead letters ---------------------------------------------------------------------------------------------------------

struct letters {
    struct verify *v;
    struct letter_totals totals;
    struct letter_lanes lanes; // what lies there of each
    bool damaged;              // one of them: its items are not known
    struct weir_buf raw;
};

static bool count_letter(struct letters *l, const struct letter_view *view, const struct remark *remark)
{
    struct letter_lane *lane =
        letter_lane_find(&l->lanes, (const char *)view->upstream.data, view->upstream.len, view->signal, true);
    if (lane == NULL)
        return false;
    lane->requests++;
    lane->items += remark->settling && inspect_letter_pending(l->v->inspect, view) ? 0 : view->items;
    return true;
}

// The ledger of each lane against the letters there are.
static void check_dead_lettered(struct verify *v, struct letters *l)
{
    for (size_t i = 0; i < v->inspect->lanes_n; i++) {
        const struct lane_record *r = &v->inspect->lanes[i];
        const struct letter_lane *is = letter_lane_find(&l->lanes, r->upstream, strlen(r->upstream), r->signal, false);
        uint64_t items = is != NULL ? is->items : 0;
        if (items != r->dead_lettered)
            verify_report(v, "W404", (struct verify_finding){.file = "deadletter.mdb"}, i,
                          "%llu items are dead-lettered, the dead letters there are have %llu",
                          (unsigned long long)r->dead_lettered, (unsigned long long)items);
    }
}

static int check_letter(void *ctx, struct weir_slice key, struct weir_slice value, const struct letter_view *view,
                        const struct remark *remark, const char *damage, struct weir_err *err)
{
    (void)key;
    struct letters *l = ctx;
    struct weir_err why = {0};
    l->raw.len = 0;
    if (damage == NULL) {
        int code = letter_view_decode(view, &l->raw, &why);
        if (code == WEIR_E_NOMEM)
            return weir_fail(err, code, "%s", why.text);
        damage = code == WEIR_OK ? NULL : why.text;
    }
    l->totals.requests++;
    l->totals.items += view->items;
    l->totals.bytes += letter_pages_bytes(value.len);
    l->damaged = l->damaged || damage != NULL;
    if (damage == NULL && !count_letter(l, view, remark))
        return weir_fail(err, WEIR_E_NOMEM, "dead letters: out of memory");
    if (damage != NULL)
        verify_report(l->v, "W402", (struct verify_finding){.file = "deadletter.mdb"}, SIZE_MAX, "%s", damage);
    else
        l->v->result->dead_letters++;
    return WEIR_OK;
}

int verify_letters(struct verify *v, struct weir_err *err)
{
    const struct inspect_file *file = inspect_file_of(v->inspect, INSPECT_DEAD_LETTERS);
    struct verify_finding f = {.file = "deadletter.mdb"};
    struct inspect_letters told;
    struct letters l = {.v = v};
    struct weir_err why = {0};
    if (file == NULL) {
        if (v->inspect->state_code == WEIR_OK)
            check_dead_lettered(v, &l);
        return WEIR_OK;
    }
    inspect_letters(v->inspect, &told);
    int code = inspect_letters_walk(v->inspect, check_letter, &l, &why);
    weir_buf_free(&l.raw);
    verify_progress(v, file->bytes);
    bool compare =
        code == WEIR_OK && told.code == WEIR_OK && told.counted && !l.damaged && v->inspect->state_code == WEIR_OK;
    if (compare)
        check_dead_lettered(v, &l);
    free(l.lanes.at);
    if (code == WEIR_E_NOMEM)
        return weir_fail(err, code, "%s", why.text);
    if (code != WEIR_OK)
        verify_report(v, code == WEIR_E_IO ? "W104" : "W401", f, SIZE_MAX, "%s", why.text);
    else if (told.code == WEIR_E_FORMAT)
        verify_report(v, "W105", f, SIZE_MAX, "%s", told.text);
    else if (told.code != WEIR_OK)
        verify_report(v, "W403", f, SIZE_MAX, "%s", told.text);
    else if (told.requests != l.totals.requests || (told.items != l.totals.items && !l.damaged) ||
             told.bytes != l.totals.bytes)
        verify_report(v, "W403", f, SIZE_MAX, "%llu requests, %llu items, %llu bytes; there are %llu, %llu, %llu",
                      (unsigned long long)told.requests, (unsigned long long)told.items, (unsigned long long)told.bytes,
                      (unsigned long long)l.totals.requests, (unsigned long long)l.totals.items,
                      (unsigned long long)l.totals.bytes);
    return WEIR_OK;
}
