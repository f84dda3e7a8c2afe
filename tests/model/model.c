// SPDX-License-Identifier: Apache-2.0
#include "tests/model/model.h"

struct model_lane *model_lane(struct model *m, uint64_t upstream, enum weir_signal signal)
{
    return &m->now.lanes[upstream * WEIR_SIGNALS + signal];
}

enum weir_signal model_signal(unsigned lane)
{
    return (enum weir_signal)(lane % WEIR_SIGNALS);
}

static void block_accepted(const struct model *m, struct model_ledger *ledger, unsigned number)
{
    for (unsigned i = 0; i < MODEL_LANES; i++) {
        struct model_lane *lane = &ledger->lanes[i];
        if (!lane->exists || !lane->follows || model_signal(i) != m->blocks[number].signal)
            continue;
        lane->pending[number] = true;
        lane->is.accepted += m->blocks[number].items;
    }
}

void model_append(struct model *m, const struct model_block *block)
{
    assert(m->now.n < MODEL_BLOCKS);
    m->blocks[m->now.n] = *block;
    block_accepted(m, &m->now, m->now.n++);
}

// Takes [first, end) out of the lane; returns the items.
static uint64_t take_out(struct model *m, unsigned lane, uint64_t first, uint64_t end)
{
    struct model_lane *l = &m->now.lanes[lane];
    uint64_t items = model_items(m, l, first, end);
    for (uint64_t i = first; i < end && i < m->now.n; i++)
        l->pending[i] = false;
    return items;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void model_settle(struct model *m, unsigned lane, uint64_t first, uint64_t end, const struct spool_outcome *outcome)
{
    struct spool_lane_stats *is = &m->now.lanes[lane].is;
    uint64_t left = take_out(m, lane, first, end);
    uint64_t dead = least(outcome->dead_lettered, left);
    uint64_t discarded = least(outcome->discarded, left -= dead);
    uint64_t delivered = least(outcome->delivered, left -= discarded);
    is->dead_lettered += dead;
    if (dead > 0)
        m->now.lanes[lane].dead[end - 1] = dead; // the last block is what was read
    is->discarded += discarded;
    is->delivered += delivered;
    is->rejected_by_upstream += least(outcome->rejected_by_upstream, delivered);
    is->evicted += left - delivered; // not named: lost to this lane
    is->evicted_by[SPOOL_LOSS_DAMAGE] += left - delivered;
}

void model_letter_gone(struct model *m, unsigned lane, uint64_t block, bool redriven)
{
    struct model_lane *l = &m->now.lanes[lane];
    l->is.dead_lettered -= l->dead[block];
    *(redriven ? &l->is.delivered : &l->is.discarded) += l->dead[block];
    l->dead[block] = 0;
}

void model_evict(struct model *m, unsigned lane, uint64_t first, uint64_t end, enum spool_loss loss)
{
    uint64_t items = take_out(m, lane, first, end);
    m->now.lanes[lane].is.evicted += items;
    m->now.lanes[lane].is.evicted_by[loss] += items;
}

void model_discard(struct model *m, unsigned lane)
{
    m->now.lanes[lane].is.discarded += take_out(m, lane, 0, m->now.n);
}

void model_replay(struct model *m, unsigned lane, uint64_t block)
{
    struct model_lane *l = &m->now.lanes[lane];
    assert(!l->pending[block] && m->blocks[block].signal == model_signal(lane));
    l->pending[block] = true;
    l->is.accepted += m->blocks[block].items;
    l->is.replayed += m->blocks[block].items;
}

void model_follow(struct model *m, unsigned lane)
{
    m->now.lanes[lane].exists = m->now.lanes[lane].follows = true;
}

void model_stop_following(struct model *m)
{
    for (unsigned i = 0; i < MODEL_LANES; i++)
        m->now.lanes[i].follows = false;
}

void model_changed(struct model *m)
{
    if (m->past_n == m->past_cap) {
        m->past_cap = m->past_cap != 0 ? m->past_cap * 2 : 16;
        m->past = realloc(m->past, m->past_cap * sizeof(*m->past));
        assert(m->past != NULL);
    }
    m->past[m->past_n++] = m->now;
}

void model_durable(struct model *m)
{
    m->past_n = 0;
    model_changed(m);
}

void model_reopened(struct model *m, const struct model_ledger *back, unsigned n, struct model_ledger *out)
{
    *out = *back;
    for (; out->n < n; out->n++)
        block_accepted(m, out, out->n);
}

uint64_t model_items(const struct model *m, const struct model_lane *lane, uint64_t first, uint64_t end)
{
    uint64_t items = 0;
    for (uint64_t i = first; i < end && i < m->now.n; i++)
        items += lane->pending[i] ? m->blocks[i].items : 0;
    return items;
}

uint64_t model_pending_bytes(const struct model *m, const struct model_lane *lane)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < m->now.n; i++)
        bytes += lane->pending[i] ? m->blocks[i].raw_bytes : 0;
    return bytes;
}

bool model_needed(const struct model *m, uint64_t block)
{
    for (unsigned i = 0; i < MODEL_LANES; i++)
        if (m->now.lanes[i].pending[block])
            return true;
    return false;
}
