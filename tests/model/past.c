// SPDX-License-Identifier: Apache-2.0
// What goes with time, and what of it can be had again.
#include "storage/past.h"
#include "tests/model/rig.h"

#define SEGMENTS 256u

// --- quiet ----------------------------------------------------------------------------------------------------------------------

static bool old(const struct rig *rig, uint64_t block, uint64_t age_ns)
{
    return rig->m.blocks[block].received_ns + age_ns < rig_clock();
}

// A segment that is too old is there, or the last one is so old that another is to be begun, for which there is room.
static bool age_is_due(const struct rig *rig)
{
    uint64_t first[SEGMENTS];
    size_t n = rig_segments(rig->directory, first, SEGMENTS);
    for (size_t i = 0; i + 1 < n; i++) {
        bool all = first[i] < first[i + 1];
        for (uint64_t b = first[i]; b < first[i + 1] && b < rig->m.now.n; b++)
            all = all && old(rig, b, RIG_MAX_AGE_NS);
        if (all)
            return true;
    }
    bool room = rig_has_spare(rig->directory) ||
                rig_directory_bytes(rig->directory) + 3 * RIG_SEGMENT_BYTES < rig->options.max_bytes;
    return room && n > 0 && first[n - 1] < rig->m.now.n && old(rig, first[n - 1], RIG_MAX_AGE_NS / 8);
}

void rig_wait_quiet(struct rig *rig)
{
    uint64_t deadline = weir_now_ns() + 20000000000ull;
    while (rig->options.max_age_ns != 0 && age_is_due(rig)) {
        RIG_CHECK(weir_now_ns() < deadline, "what is too old stays");
        rig_take_events(rig);
        nanosleep(&(struct timespec){0, 2000000}, NULL);
    }
    // With a spare there is room, until somebody appends.
    while (rig->options.evict_oldest && !rig_has_spare(rig->directory)) {
        RIG_CHECK(weir_now_ns() < deadline, "no segment is made ahead, and none evicted for it");
        nanosleep(&(struct timespec){0, 2000000}, NULL);
    }
    if (rig->evicts)
        rig_compare(rig);
}

struct held {
    bool may[MODEL_BLOCKS], must[MODEL_BLOCKS];
    uint64_t most, least; // items
};

// --- replay ---------------------------------------------------------------------------------------------------------------------

// Whether a file must hold the block: a lane needs it, or did not long ago, and there is room for all.
static bool must_be_held(const struct rig *rig, uint64_t block)
{
    if (rig->m.blocks[block].unsure)
        return false;
    if (model_needed(&rig->m, block))
        return true;
    bool room = rig_directory_bytes(rig->directory) + 8 * RIG_SEGMENT_BYTES < rig->options.max_bytes;
    return room && !rig->evicts && rig->needed_ns[block] != 0 &&
           rig_clock() < rig->needed_ns[block] + rig->options.keep_delivered_ns;
}

void rig_note_needed(struct rig *rig)
{
    for (unsigned b = 0; b < rig->m.now.n; b++)
        if (model_needed(&rig->m, b))
            rig->needed_ns[b] = rig_clock();
}

// What a replay may give and what it must: of the lane's signal, in there and not pending.
static void held(struct rig *rig, unsigned lane, uint64_t first, uint64_t end, struct held *out)
{
    const struct model_lane *l = &rig->m.now.lanes[lane];
    *out = (struct held){0};
    for (uint64_t b = first; b < end && b < rig->m.now.n; b++) {
        if (l->pending[b] || rig->m.blocks[b].signal != model_signal(lane))
            continue;
        out->may[b] = true;
        out->must[b] = must_be_held(rig, b);
        out->most += rig->m.blocks[b].items;
        out->least += out->must[b] ? rig->m.blocks[b].items : 0;
    }
}

// Its state could not be written: it says that nothing was added, yet a crash may show it.
static void replay_failed(struct rig *rig, unsigned lane, const struct held *held)
{
    struct model_ledger before = rig->m.now;
    for (unsigned b = 0; b < rig->m.now.n; b++)
        if (held->may[b])
            model_replay(&rig->m, lane, b);
    model_changed(&rig->m);
    rig->m.now = before;
    model_changed(&rig->m);
}

static void enter_replay(struct rig *rig, unsigned lane, const struct held *held)
{
    bool pending[MODEL_BLOCKS];
    rig_look_pending(rig, lane, pending);
    for (unsigned b = 0; b < rig->m.now.n; b++) {
        RIG_CHECK(!held->must[b] || pending[b], "block %u was not replayed", b);
        if (!pending[b] || rig->m.now.lanes[lane].pending[b])
            continue;
        RIG_CHECK(held->may[b], "block %u was replayed, which no file holds", b);
        model_replay(&rig->m, lane, b);
    }
    model_durable(&rig->m);
}

void rig_play_replay(struct rig *rig, const unsigned *arg)
{
    unsigned lane = arg[0] % MODEL_LANES;
    if (rig->lanes[lane] == NULL)
        return;
    uint64_t first = arg[1] % (rig->m.now.n + 1), end = arg[2] == 0 ? SPOOL_END : first + arg[2];
    bool dry = arg[3] != 0;
    struct held there;
    struct spool_replay out;
    struct weir_err err = {0};
    unsigned failed = calls_failed();
    held(rig, lane, first, end, &there);
    int code = spool_lane_replay(rig->lanes[lane], first, end, dry, &out, &err);
    if (code != WEIR_OK && code != WEIR_E_NOT_FOUND) {
        RIG_CHECK(calls_failed() != failed, "replay: %s", err.text);
        replay_failed(rig, lane, &there);
        return;
    }
    RIG_CHECK((code == WEIR_OK) == (out.items > 0) && out.items <= there.most && out.items >= there.least,
              "replay finds %llu items, of at most %llu and at least %llu that there are",
              (unsigned long long)out.items, (unsigned long long)there.most, (unsigned long long)there.least);
    if (code == WEIR_OK && !dry)
        enter_replay(rig, lane, &there);
}

// --- times ----------------------------------------------------------------------------------------------------------------------

void rig_play_find(struct rig *rig, const unsigned *arg)
{
    if (rig->m.now.n == 0)
        return;
    uint64_t a = arg[0] % rig->m.now.n, b = a + arg[1], first, end, n = rig->m.now.n;
    uint64_t since = rig->m.blocks[a].received_ns, until = b < n ? rig->m.blocks[b].received_ns : UINT64_MAX;
    struct spool_stats stats;
    struct weir_err err = {0};
    int code = spool_find_received(rig->spool, since, until, &first, &end, &err);
    spool_stats_get(rig->spool, &stats);
    RIG_CHECK(code == WEIR_OK || code == WEIR_E_NOT_FOUND, "find: %s", err.text);
    uint64_t stop = b < n ? b : n;
    // Blocks are received one after the other here: numbers and times have the same order.
    if (code == WEIR_OK)
        RIG_CHECK(first >= a && end <= stop && first < end, "received from %llu to %llu: found %llu to %llu",
                  (unsigned long long)a, (unsigned long long)stop, (unsigned long long)first, (unsigned long long)end);
    for (uint64_t i = a; i < stop; i++) // what a lane needs is there
        RIG_CHECK(!model_needed(&rig->m, i) || rig->m.blocks[i].unsure || (code == WEIR_OK && i >= first && i < end),
                  "block %llu was received then, and is not found", (unsigned long long)i);
}
