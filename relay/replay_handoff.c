// SPDX-License-Identifier: Apache-2.0
// Effectively once between two weirs, the origin's side: each export says what it covers (handoff.h), so that an upstream that is a weir can tell
// what it has stored already (origins.h has the argument). Every upstream gets the header; who does not know it does not look at it.
//
// A position must mean the same data for ever, within its scope. Block numbers alone do not: a spool that was set back to an old snapshot, or
// copied, uses numbers again. So each process that opens the spool names the blocks it will write by a new random number, which is durable, in
// a note of the lane, before the first of them is sent: a run of blocks. What was pending before keeps the names it had. A lane that is made anew
// has no note and begins with a run of its own.
// That note stays behind in a salvage: blocks that were lost, and passed over, may be back there and must not count as taken.
// A replay of the past is to be sent again, though the upstream has it: it gives all runs other names. What is under way then, and is not
// answered, may be delivered twice.
#include "relay/replay_priv.h"

#include "relay/lane_notes.h"
#include "relay/log.h"
#include "storage/note.h"
#include "storage/stats.h"

#include <sys/random.h>

#define NOTE_PREFIX ".handoff/"
#define RUN_BYTES   16u // of a note: first block, name

static void note_key(const char *upstream, enum weir_signal signal, char key[SPOOL_NOTE_KEY_BYTES + 1])
{
    // A long name is cut: then two lanes of one upstream's names may share a note, and with it the names of their runs.
    snprintf(key, SPOOL_NOTE_KEY_BYTES + 1, NOTE_PREFIX "%u/%s", (unsigned)signal, upstream);
    assert(key[0] == SPOOL_NOTE_LOCAL);
}

static void read_note(struct handoff_runs *runs, struct weir_slice note)
{
    size_t n = note.len / RUN_BYTES;
    const uint8_t *p = note.data;
    for (runs->count = 0; runs->count < n && runs->count < HANDOFF_RUNS_MAX; p += RUN_BYTES)
        runs->at[runs->count++] = (struct handoff_run){weir_get_u64(p), weir_get_u64(p + 8)};
    for (size_t i = 1; i < runs->count; i++)
        if (runs->at[i].first <= runs->at[i - 1].first)
            runs->count = 0;
}

static int write_note(struct spool *spool, const char *key, const struct handoff_runs *runs, struct weir_err *err)
{
    uint8_t note[HANDOFF_RUNS_MAX * RUN_BYTES];
    for (size_t i = 0; i < runs->count; i++) {
        weir_put_u64(note + i * RUN_BYTES, runs->at[i].first);
        weir_put_u64(note + i * RUN_BYTES + 8, runs->at[i].name);
    }
    return spool_note_put(spool, key, (struct weir_slice){note, runs->count * RUN_BYTES}, false, err);
}

static void drop_front(struct handoff_runs *runs, size_t n)
{
    runs->count -= n;
    memmove(runs->at, runs->at + n, runs->count * sizeof(runs->at[0]));
}

// Runs of which the spool holds nothing, and a run that no block was written of, are not needed. False: there was no room for all names, so that
// the oldest blocks go without.
static bool begin_run(struct handoff_runs *runs, uint64_t first_block, uint64_t next_block, uint64_t name)
{
    size_t gone = 0;
    while (runs->count > 0 && runs->at[runs->count - 1].first >= next_block)
        runs->count--;
    while (gone + 1 < runs->count && runs->at[gone + 1].first <= first_block)
        gone++;
    bool room = runs->count - gone < HANDOFF_RUNS_MAX;
    drop_front(runs, gone + !room);
    runs->at[runs->count] = (struct handoff_run){runs->count == 0 ? 0 : next_block, name};
    runs->count++;
    return room;
}

static void note_key_of(const struct spool_lane *lane, char key[SPOOL_NOTE_KEY_BYTES + 1])
{
    note_key(spool_lane_upstream(lane), spool_lane_signal(lane), key);
}

// A name for what a lane of before had to send must not go on for another: what was passed over then may be sent now. And names that come and
// go would fill the notes.
int replay_forget_lanes(struct spool *spool, struct weir_err *err)
{
    return lane_notes_forget(spool, NOTE_PREFIX, note_key_of, err);
}

static void tell_off(const struct replay *replay, const struct weir_err *err)
{
    log_event(LOG_WARN, "handoff_off",
              "what is sent cannot be named durably: an upstream that is a weir may store some of it twice",
              LOG_STR("upstream", replay->upstream->name), LOG_ERR(err));
}

void handoffs_give_up(struct replay *replay, const struct weir_err *err)
{
    for (int i = 0; i < WEIR_SIGNALS; i++)
        replay->lanes[i].runs = (struct handoff_runs){0};
    tell_off(replay, err);
}

static void tell_forgotten(const struct replay_lane *lane)
{
    log_event(LOG_WARN, "handoff_forgotten",
              "more restarts with a backlog than can be named: an upstream that is a weir may store the oldest data "
              "twice",
              LOG_STR("upstream", lane->replay->upstream->name), LOG_STR("signal", weir_signal_name(lane->signal)),
              LOG_U64("runs", lane->runs.count));
}

static bool is_no_room(int code)
{
    return code == WEIR_E_FULL || code == WEIR_E_LIMIT;
}

int handoff_open(struct replay_lane *lane, struct weir_err *err)
{
    struct spool *spool = lane->replay->spool;
    struct spool_stats stats;
    char key[SPOOL_NOTE_KEY_BYTES + 1];
    struct weir_buf note = {0};
    uint64_t name;
    note_key(lane->replay->upstream->name, lane->signal, key);
    if (getrandom(&name, sizeof(name), 0) != (ssize_t)sizeof(name))
        return weir_fail(err, WEIR_E_IO, "no random numbers");
    int rc = spool_note_get(spool, key, &note, err);
    if (rc != WEIR_OK && rc != WEIR_E_NOT_FOUND)
        return rc;
    read_note(&lane->runs, (struct weir_slice){note.data, note.len});
    weir_buf_free(&note);
    spool_stats_get(spool, &stats);
    bool all = begin_run(&lane->runs, stats.first_block, stats.next_block, name);
    rc = write_note(spool, key, &lane->runs, err);
    if (is_no_room(rc) && lane->runs.count > 1) { // but there is for as many as before: no other run gets these blocks
        all = false;
        drop_front(&lane->runs, 1);
        rc = write_note(spool, key, &lane->runs, err);
    }
    if (!all)
        tell_forgotten(lane);
    lane->runs.named = rc == WEIR_OK;
    if (!is_no_room(rc))
        return rc;
    lane->runs.count = 0; // a start does not fail for want of room
    tell_off(lane->replay, err);
    return WEIR_OK;
}

int replay_name_anew(struct spool *spool, const struct spool_lane *lane, struct weir_err *err)
{
    char key[SPOOL_NOTE_KEY_BYTES + 1];
    struct weir_buf note = {0};
    struct handoff_runs runs;
    uint64_t other;
    note_key(spool_lane_upstream(lane), spool_lane_signal(lane), key);
    if (getrandom(&other, sizeof(other), 0) != (ssize_t)sizeof(other))
        return weir_fail(err, WEIR_E_IO, "no random numbers");
    int rc = spool_note_get(spool, key, &note, err);
    if (rc == WEIR_OK) {
        read_note(&runs, (struct weir_slice){note.data, note.len});
        for (size_t i = 0; i < runs.count; i++)
            runs.at[i].name ^= other;
        rc = write_note(spool, key, &runs, err); // as long as it was: there is room
    }
    weir_buf_free(&note);
    return rc == WEIR_E_NOT_FOUND ? WEIR_OK : rc; // nothing has a name
}

// --- exports ----------------------------------------------------------------------------------------------------------------

void handoff_filled(struct replay_lane *lane)
{
    char key[SPOOL_NOTE_KEY_BYTES + 1];
    struct weir_buf note = {0};
    if (!lane->runs.named)
        return;
    note_key(lane->replay->upstream->name, lane->signal, key);
    lane->runs.count = 0; // without memory it goes without names until the next time
    if (spool_note_get(lane->replay->spool, key, &note, NULL) == WEIR_OK)
        read_note(&lane->runs, (struct weir_slice){note.data, note.len});
    weir_buf_free(&note);
}

// NULL: it has no name.
static const struct handoff_run *run_of(const struct replay_lane *lane, uint64_t block)
{
    const struct handoff_run *run = NULL;
    for (size_t i = 0; i < lane->runs.count && lane->runs.at[i].first <= block; i++)
        run = &lane->runs.at[i];
    return run;
}

bool handoff_joins(const struct replay_lane *lane, uint64_t block, uint64_t other)
{
    return run_of(lane, block) == run_of(lane, other);
}

void handoff_skipped(struct replay_lane *lane, uint64_t first, uint64_t end)
{
    struct handoff_runs *runs = &lane->runs;
    for (size_t i = 0; i < WEIR_COUNT(runs->empty); i++)
        if (runs->empty[i].end == first) {
            runs->empty[i].end = end;
            return;
        }
    runs->empty[runs->empty_next++ % WEIR_COUNT(runs->empty)] = (struct spool_interval){first, end};
}

static uint64_t with_empty(const struct replay_lane *lane, uint64_t first)
{
    for (size_t i = 0; i < WEIR_COUNT(lane->runs.empty); i++)
        if (lane->runs.empty[i].end == first)
            return lane->runs.empty[i].first;
    return first;
}

// What lies before a block and holds nothing of the lane's is covered with it, so that the other side's set has few holes. Not when it was
// found out that some of it was taken before: an earlier attempt may have covered less of the emptiness, and then even a single item would be
// there in part for ever.
static struct position_span span_of(const struct export *export)
{
    const struct replay_lane *lane = export->lane;
    const struct block_view *first = &export->views[0], *last = export_last_block(export);
    bool exact = export->part && lane->split.repeated;
    uint64_t from = export->part ? lane->split.settled : export->first;
    from = exact ? first->number : with_empty(lane, from);
    if (export->item_to == 0)
        return (struct position_span){{from, 0}, {last->number + 1, 0}};
    struct position_span span = {{first->number, export->item_from}, {last->number, export->item_to}};
    if (span.from.item == 0)
        span.from.block = from;
    if (span.to.item >= last->items)
        span.to = (struct position){last->number + 1, 0};
    return span;
}

bool handoff_write(const struct export *export, char out[HANDOFF_TEXT_MAX])
{
    const struct replay_lane *lane = export->lane;
    const struct handoff_run *run = run_of(lane, export->views[0].number);
    if (run == NULL || export->letter) // it was passed long ago
        return false;
    struct handoff handoff = {.scope = run->name, .span = span_of(export)};
    if (handoff.span.from.block < run->first)
        handoff.span.from = (struct position){run->first, 0};
    // Durably: what was given up (dead letters, evicted, dropped), and not taken there, is pending again after a crash. What is under way is
    // pending, too; when it is not, it was evicted meanwhile.
    uint64_t passed = spool_lane_passed(lane->spool_lane);
    handoff.low = passed < handoff.span.from.block ? passed : handoff.span.from.block;
    handoff.low = with_empty(lane, handoff.low); // as what is under way has it
    handoff_format(&handoff, out);
    return true;
}

void handoff_judge(struct export *export, struct verdict *verdict)
{
    struct weir_slice repeat = client_call_header(&export->call, HANDOFF_REPEAT_HEADER);
    bool delivered = verdict->kind == VERDICT_DELIVERED;
    if (delivered ? repeat.len != strlen(HANDOFF_REPEAT_ALL) || memcmp(repeat.data, HANDOFF_REPEAT_ALL, repeat.len) != 0
                  : !handoff_parse_part(repeat, &export->same_to))
        return;
    verdict->repeated = true;
    verdict->kind = delivered ? VERDICT_DELIVERED : VERDICT_SPLIT;
    verdict->passes = false;
}
