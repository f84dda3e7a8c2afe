// SPDX-License-Identifier: Apache-2.0
// Each action, done to the spool and to the model.
#include <unistd.h>

#include "tests/model/rig.h"

// --- append -------------------------------------------------------------------------------------------------------------

struct sent {
    pthread_mutex_t lock;
    pthread_cond_t done;
    unsigned pending;
    size_t n, ok;
    struct model_block plan[RIG_CHAIN];
    int result[RIG_CHAIN];
    uint64_t first;     // where numbers stood
    uint64_t most_used; // bytes on disk, before or after
    unsigned failed;    // calls, before
};

struct sent_one {
    struct sent *sent;
    size_t index;
};

static void sent_done(struct block *block, int result)
{
    struct sent_one *one = block->owner;
    struct sent *sent = one->sent;
    block_free(block);
    pthread_mutex_lock(&sent->lock);
    sent->result[one->index] = result;
    sent->ok += result == WEIR_OK;
    sent->pending--;
    pthread_cond_signal(&sent->done);
    pthread_mutex_unlock(&sent->lock);
    free(one);
}

static uint64_t now_next(struct rig *rig)
{
    struct spool_stats stats;
    spool_stats_get(rig->spool, &stats);
    return stats.next_block;
}

static void send_chain(struct rig *rig, struct sent *sent)
{
    struct block *chain = NULL, **tail = &chain;
    for (size_t i = 0; i < sent->n; i++) {
        struct sent_one *one = malloc(sizeof(*one));
        RIG_CHECK(one != NULL, "out of memory");
        *one = (struct sent_one){sent, i};
        *tail = rig_block_make(&sent->plan[i]);
        (*tail)->owner = one;
        tail = &(*tail)->next;
    }
    sent->pending = (unsigned)sent->n;
    sent->failed = calls_failed();
    sent->most_used = rig_directory_bytes(rig->directory);
    spool_append(rig->spool, chain, sent_done);
    pthread_mutex_lock(&sent->lock);
    while (sent->pending > 0)
        pthread_cond_wait(&sent->done, &sent->lock);
    pthread_mutex_unlock(&sent->lock);
    uint64_t used = rig_directory_bytes(rig->directory);
    sent->most_used = used > sent->most_used ? used : sent->most_used;
}

// A refusal needs a reason.
static void check_refusal(struct rig *rig, const struct sent *sent, size_t i)
{
    bool fault = calls_failed() != sent->failed;
    int result = sent->result[i];
    RIG_CHECK(result == WEIR_E_FULL || result == WEIR_E_IO, "append ends with %d", result);
    if (fault)
        return;
    uint64_t need = (sent->plan[i].raw_bytes / RIG_SEGMENT_BYTES + 2) * RIG_SEGMENT_BYTES;
    uint64_t reserve = rig->options.max_bytes / 32;
    RIG_CHECK(result == WEIR_E_FULL && sent->most_used + need + reserve > rig->options.max_bytes,
              "a block of %llu bytes is refused (%d) with %llu of %llu bytes in use and a disk that works",
              (unsigned long long)sent->plan[i].raw_bytes, result, (unsigned long long)sent->most_used,
              (unsigned long long)rig->options.max_bytes);
}

// Which of the blocks sent is under a number, in a spool that refused some of them: found by when it was received.
static size_t find_sent(struct rig *rig, const struct sent *sent, uint64_t number, size_t from)
{
    for (unsigned s = 0; s < WEIR_SIGNALS; s++) {
        struct block_view view;
        uint64_t skip_to;
        if (spool_reader_next(rig->reader, (enum weir_signal)s, number, number + 1, &view, &skip_to, NULL) != WEIR_OK)
            continue;
        uint64_t received = view.received_first_ns;
        block_view_release(&view);
        for (size_t i = from; i < sent->n; i++)
            if (sent->plan[i].received_ns == received)
                return i;
        rig_fail("block %llu is none of those that were sent", (unsigned long long)number);
    }
    while (from < sent->n && sent->result[from] == WEIR_OK)
        from++; // it cannot be read: then it is one that was refused
    return from;
}

// Those that have a number now are in the model. Of those that were refused, the last ones may turn up after a crash.
static void enter_sent(struct rig *rig, const struct sent *sent, bool dying)
{
    uint64_t next = now_next(rig);
    size_t used = next - sent->first, at = 0, acked = 0;
    for (size_t i = 0; i < sent->n; i++)
        if (sent->result[i] != WEIR_OK)
            check_refusal(rig, sent, i);
    RIG_CHECK(next >= sent->first && used >= sent->ok && used <= sent->n,
              "%zu blocks of %zu were acknowledged, and %zu numbers are used", sent->ok, sent->n, used);
    for (uint64_t number = sent->first; number < next; number++, at++) {
        while (used == sent->ok && at < sent->n && sent->result[at] != WEIR_OK)
            at++; // none but those that were acknowledged
        if (used != sent->ok && used != sent->n)
            at = find_sent(rig, sent, number, at);
        RIG_CHECK(at < sent->n, "block %llu is none of those that were sent", (unsigned long long)number);
        struct model_block block = sent->plan[at];
        block.unsure = sent->result[at] != WEIR_OK;
        acked += !block.unsure;
        run_counts->blocks += !block.unsure;
        run_counts->items += block.unsure ? 0 : block.items;
        model_append(&rig->m, &block);
    }
    RIG_CHECK(acked == sent->ok, "%zu blocks were acknowledged, %zu are there", sent->ok, acked);
    for (; dying && at < sent->n; at++)
        rig->flying[rig->flying_n++] = sent->plan[at];
}

static void play_append(struct rig *rig, const unsigned *arg, bool dying)
{
    struct sent sent = {.lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER, .first = rig->m.now.n};
    sent.n = 1 + arg[2] % RIG_CHAIN;
    if (rig->m.now.n + sent.n > MODEL_BLOCKS)
        return;
    for (size_t i = 0; i < sent.n; i++)
        sent.plan[i] = rig_block_plan(rig, (enum weir_signal)((arg[0] + i * arg[3]) % WEIR_SIGNALS),
                                      i % 4 == 0 ? arg[1] : (unsigned)(arg[1] * (i + 1) % 9));
    send_chain(rig, &sent);
    enter_sent(rig, &sent, dying);
}

// --- lanes --------------------------------------------------------------------------------------------------------------

static unsigned open_lane(struct rig *rig, unsigned arg)
{
    unsigned n = 0, open[MODEL_LANES];
    for (unsigned i = 0; i < MODEL_LANES; i++)
        if (rig->lanes[i] != NULL)
            open[n++] = i;
    return n > 0 ? open[arg % n] : MODEL_LANES;
}

static void settle(struct rig *rig, unsigned lane, uint64_t first, uint64_t end, const struct spool_outcome *outcome)
{
    struct spool_outcome given = *outcome;
    if (run_plant == PLANT_WRONG_SUM && given.dead_lettered > 1)
        given.dead_lettered--;
    if (run_plant != PLANT_LOST_SETTLEMENT || end % 3 != 2)
        spool_lane_settle(rig->lanes[lane], first, end, &given);
    model_settle(&rig->m, lane, first, end, outcome);
    model_changed(&rig->m);
}

static void lose(struct rig *rig, unsigned lane, uint64_t first, uint64_t end)
{
    uint64_t expected = model_items(&rig->m, &rig->m.now.lanes[lane], first, end);
    uint64_t items = spool_lane_lost(rig->lanes[lane], first, end);
    RIG_CHECK(items == expected, "lost %llu items, not %llu", (unsigned long long)items, (unsigned long long)expected);
    model_evict(&rig->m, lane, first, end, SPOOL_LOSS_DAMAGE);
    model_changed(&rig->m);
    rig_take_events(rig);
}

// What a replay worker does with one block: true, it has one.
static bool deliver_one(struct rig *rig, unsigned lane, unsigned how, unsigned skip)
{
    const struct model_lane *l = &rig->m.now.lanes[lane];
    struct spool_interval in;
    struct block_view view;
    uint64_t skip_to;
    if (spool_lane_intervals(rig->lanes[lane], &in, 1) == 0)
        return false;
    uint64_t from = in.first, end = in.end;
    for (unsigned b = 0; skip > 0 && b < rig->m.now.n; b++)
        if (l->pending[b] && skip-- == 1)
            from = b, end = SPOOL_END;
    int code = rig_read(rig, model_signal(lane), from, end, &view, &skip_to);
    if (code == WEIR_E_CORRUPT) {
        lose(rig, lane, from, skip_to);
        return true;
    }
    if (code != WEIR_OK)
        return false;
    uint64_t number = view.number, items = view.items;
    block_view_release(&view);
    struct spool_outcome outcomes[] = {
        {.delivered = items},
        {.delivered = items, .rejected_by_upstream = items / 2},
        {.dead_lettered = items},
        {.discarded = items},
        {.delivered = items - items / 2, .dead_lettered = items / 2},
        {.delivered = items, .rejected_by_upstream = items},
    };
    if (how == 6) {
        lose(rig, lane, from, number + 1);
        return true;
    }
    if (outcomes[how].dead_lettered > 0 && !rig_bury(rig, lane, number, outcomes[how].dead_lettered))
        return false;
    settle(rig, lane, from, number + 1, &outcomes[how]);
    return true;
}

static void play_deliver(struct rig *rig, const unsigned *arg)
{
    unsigned lane = open_lane(rig, arg[0]);
    for (unsigned i = 0; lane < MODEL_LANES && i <= arg[1]; i++)
        if (!deliver_one(rig, lane, arg[2] % 7, arg[3]))
            return;
}

// Any range, settled or not; named right, too high, too low, or as lost.
static void play_settle(struct rig *rig, const unsigned *arg)
{
    unsigned lane = open_lane(rig, arg[0]);
    if (lane == MODEL_LANES)
        return;
    uint64_t first = arg[1] % (rig->m.now.n + 1), end = first + 1 + arg[2];
    uint64_t items = model_items(&rig->m, &rig->m.now.lanes[lane], first, end);
    const struct spool_outcome outcomes[] = {
        {.delivered = items},
        {.delivered = items + 5, .rejected_by_upstream = items + 3, .discarded = 1},
        {.delivered = items / 2, .discarded = items / 4},
        {.discarded = items},
    };
    if (arg[3] % 5 == 4)
        lose(rig, lane, first, end);
    else
        settle(rig, lane, first, end, &outcomes[arg[3] % 5]);
    rig_take_events(rig);
}

static void play_read(struct rig *rig, const unsigned *arg)
{
    uint64_t from = arg[1] % (rig->m.now.n + 1), end = arg[2] == 0 ? SPOOL_END : from + arg[2], skip_to;
    struct block_view view;
    if (rig_read(rig, (enum weir_signal)(arg[0] % WEIR_SIGNALS), from, end, &view, &skip_to) != WEIR_OK)
        return;
    struct rig_view *free_one = NULL;
    for (size_t i = 0; arg[3] != 0 && i < RIG_VIEWS; i++)
        if (!rig->views[i].held)
            free_one = &rig->views[i];
    if (free_one != NULL)
        *free_one = (struct rig_view){view, true, rig->m.blocks[view.number]};
    else
        block_view_release(&view);
}

// --- the disk -------------------------------------------------------------------------------------------------------------

static bool play_sync(struct rig *rig)
{
    struct weir_err err = {0};
    unsigned failed = calls_failed();
    int code = spool_sync_state(rig->spool, &err);
    RIG_CHECK(code == WEIR_OK || calls_failed() != failed, "sync: %s", err.text);
    if (code == WEIR_OK)
        model_durable(&rig->m);
    return code == WEIR_OK;
}

static void play_crash(struct rig *rig, const unsigned *arg)
{
    static const unsigned few[] = {0, 3, 3, 1}, large[] = {1, 10, 3, 1};
    rig_heal(rig);
    calls_die_after(arg[0], arg[2] == 1);
    if (arg[2] == 2)
        calls_cut_power(1 + arg[0] + 64 * arg[1] + 512 * arg[3]);
    switch (arg[1] % 6) {
    case 0:
        play_append(rig, few, true);
        break;
    case 1:
        play_append(rig, large, true);
        break;
    case 2:
        rig_play_note(rig, (const unsigned[]){arg[3], arg[3] / 2, arg[0]});
        play_deliver(rig, (const unsigned[]){arg[0], 3, 0, 0});
        play_sync(rig);
        break;
    case 3:
        rig_play_letter(rig, 1, arg[0], 0, 1);
        break;
    case 4:
        rig_drop_views(rig);
        spool_reader_free(rig->reader);
        spool_close(rig->spool);
        rig->spool = NULL;
        break;
    default:
        if (rig->lanes[arg[0] % MODEL_LANES] == NULL)
            rig_open_lane(rig, arg[0] % MODEL_LANES, true);
    }
    rig_recover(rig, arg[3]);
}

static void play_fault(struct rig *rig, const struct action *a)
{
    if (rig->evicts) // what goes when is then not determined
        return;
    if (a->kind == ACTION_NO_SPACE)
        calls_no_space(a->arg[0] == 0);
    else
        calls_fail_flushes(a->arg[2] != 0 ? 0 : (int)a->arg[0] + 1, a->arg[1] != 0);
    rig->faults = true;
}

void rig_play(struct rig *rig, const struct action *a)
{
    rig_wait_quiet(rig);
    switch (a->kind) {
    case ACTION_APPEND:
        play_append(rig, a->arg, false);
        break;
    case ACTION_DELIVER:
        play_deliver(rig, a->arg);
        break;
    case ACTION_SETTLE:
        play_settle(rig, a->arg);
        break;
    case ACTION_READ:
        play_read(rig, a->arg);
        break;
    case ACTION_DROP:
        rig_drop_views(rig);
        break;
    case ACTION_LETTER:
        rig_play_letter(rig, a->arg[0] % MODEL_UPSTREAMS, a->arg[1], a->arg[2], a->arg[3]);
        break;
    case ACTION_LETTERS:
        rig_play_letters(rig, a->arg);
        break;
    case ACTION_SYNC:
        play_sync(rig);
        break;
    case ACTION_OPEN:
        if (rig->lanes[a->arg[0] % MODEL_LANES] == NULL)
            rig_open_lane(rig, a->arg[0] % MODEL_LANES, a->arg[1] != 0);
        break;
    case ACTION_REOPEN:
        rig_reopen(rig, a->arg[0], a->arg[1] != 0);
        break;
    case ACTION_CRASH:
        play_crash(rig, a->arg);
        break;
    case ACTION_NO_SPACE:
    case ACTION_FAIL_FLUSH:
        play_fault(rig, a);
        break;
    case ACTION_CLOCK:
        rig_clock_add(a->arg[0] * 60000000000ull);
        break;
    case ACTION_REPLAY:
        rig_play_replay(rig, a->arg);
        break;
    case ACTION_FIND:
        rig_play_find(rig, a->arg);
        break;
    case ACTION_NOTE:
        rig_play_note(rig, a->arg);
        break;
    case ACTION_DISCARD:
        rig_play_discard(rig, a->arg);
        break;
    case ACTION_IDLE:
        rig_wait_removed(rig);
        break;
    default:
        break;
    }
}
