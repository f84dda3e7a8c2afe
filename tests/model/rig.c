// SPDX-License-Identifier: Apache-2.0
// The real spool's life: opened, closed, killed, opened again.
#include <errno.h>
#include <unistd.h>

#include "tests/model/rig.h"

#define WAIT_NS 20000000000ull

const char *const rig_upstreams[MODEL_UPSTREAMS] = {"a", "b", "upstream-c"};

void rig_fail(const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap); // NOLINT(clang-analyzer-valist.Uninitialized): va_start is above
    va_end(ap);
    fprintf(stderr, "%s\n", text);
    _exit(1);
}

static void on_event(void *ctx, const struct spool_event *event)
{
    struct rig *rig = ctx;
    pthread_mutex_lock(&rig->events_lock);
    RIG_CHECK(rig->events_n < RIG_EVENTS, "too many events");
    struct rig_event *e = &rig->events[rig->events_n++];
    *e = (struct rig_event){.event = *event};
    while (event->upstream != NULL && strcmp(event->upstream, rig_upstreams[e->upstream]) != 0)
        RIG_CHECK(++e->upstream < MODEL_UPSTREAMS, "an event of upstream %s", event->upstream);
    pthread_mutex_unlock(&rig->events_lock);
}

void rig_configure(struct rig *rig, const struct action *config)
{
    const uint64_t extra[] = {56, 1, 4}; // MiB beyond the least
    pthread_mutex_init(&rig->events_lock, NULL);
    rig->options = (struct spool_options){
        .directory = rig->directory,
        .max_bytes = spool_bytes_min(RIG_SEGMENT_BYTES) + extra[config->arg[0] % WEIR_COUNT(extra)] * 1024 * 1024,
        .segment_bytes = RIG_SEGMENT_BYTES,
        .evict_oldest = config->arg[1] == 1,
        .max_age_ns = config->arg[2] == 1 ? RIG_MAX_AGE_NS : 0,
        .keep_delivered_ns = config->arg[3] == 1 ? RIG_KEEP_NS : 0,
        .unix_ns = rig_clock,
        .holder = "model",
        .on_event = on_event,
        .ctx = rig,
    };
    rig->evicts = rig->options.evict_oldest || rig->options.max_age_ns != 0;
}

static int try_open(struct rig *rig, struct weir_err *err)
{
    struct spool_report report;
    int code = spool_open(&rig->options, &rig->spool, &report, err);
    if (code == WEIR_OK)
        RIG_CHECK(report.damaged == 0, "start found damage");
    else
        RIG_CHECK(err->text[0] != '\0' && rig->spool == NULL, "start failed without a word");
    return code;
}

static unsigned next_block(struct rig *rig)
{
    struct spool_stats stats;
    spool_stats_get(rig->spool, &stats);
    return (unsigned)stats.next_block;
}

void rig_open(struct rig *rig)
{
    struct weir_err err = {0};
    RIG_CHECK(try_open(rig, &err) == WEIR_OK, "start: %s", err.text);
    rig->reader = spool_reader_new(rig->spool);
    memset(rig->lanes, 0, sizeof(rig->lanes));
}

void rig_drop_views(struct rig *rig)
{
    for (size_t i = 0; i < RIG_VIEWS; i++) {
        if (!rig->views[i].held)
            continue;
        rig_block_check(&rig->views[i].view, &rig->views[i].block, "a view that was kept");
        block_view_release(&rig->views[i].view);
        rig->views[i].held = false;
    }
}

static void rig_close(struct rig *rig)
{
    if (rig->spool == NULL)
        return;
    rig_drop_views(rig);
    spool_reader_free(rig->reader);
    spool_close(rig->spool);
    rig->spool = NULL;
}

void rig_end(struct rig *rig)
{
    rig_close(rig);
    free(rig->m.past);
    pthread_mutex_destroy(&rig->events_lock);
}

static void follow_what_there_is(struct rig *rig, unsigned lane)
{
    bool pending[MODEL_BLOCKS];
    rig_look_pending(rig, lane, pending);
    model_follow(&rig->m, lane);
    for (unsigned b = 0; b < rig->m.now.n; b++) {
        RIG_CHECK(pending[b] || rig->m.blocks[b].signal != model_signal(lane) || !model_needed(&rig->m, b),
                  "a lane from the oldest block on lacks block %u", b);
        if (!pending[b])
            continue;
        rig->m.now.lanes[lane].pending[b] = true;
        rig->m.now.lanes[lane].is.accepted += rig->m.blocks[b].items;
    }
}

void rig_open_lane(struct rig *rig, unsigned lane, bool oldest)
{
    struct weir_err err = {0};
    bool known = rig->m.now.lanes[lane].exists, was_dead = calls_dead();
    unsigned failed = calls_failed();
    int code = spool_lane_open(rig->spool, rig_upstreams[lane / WEIR_SIGNALS], model_signal(lane),
                               oldest ? SPOOL_START_OLDEST : SPOOL_START_NOW, &rig->lanes[lane], &err);
    RIG_CHECK(code == WEIR_OK || was_dead || calls_failed() != failed, "open a lane: %s", err.text);
    if (rig->lanes[lane] == NULL)
        return;
    // From the oldest block on: whatever files hold. What no lane needs may be gone, what one needs is not.
    if (oldest && !known)
        follow_what_there_is(rig, lane);
    else
        model_follow(&rig->m, lane);
    if (code == WEIR_OK)
        model_durable(&rig->m);
    else
        model_changed(&rig->m);
}

// Dead letters whose fate was open: the totals tell, once the file has been opened again.
static void resolve_letters(struct rig *rig)
{
    uint64_t there, there_items;
    unsigned unsure[8], n = 0;
    RIG_CHECK(rig_free_letters(rig, &there, &there_items), "dead letters cannot be read");
    uint64_t requests = 0, items = 0;
    for (unsigned i = 0; i < MODEL_LETTERS; i++) {
        const struct model_letter *l = &rig->m.letters[i];
        requests += l->there && !l->unsure;
        items += l->there && !l->unsure ? l->items : 0;
        if (l->unsure && n < WEIR_COUNT(unsure))
            unsure[n++] = i;
    }
    for (unsigned some = 0; some < 1u << n; some++) {
        uint64_t r = requests, t = items;
        for (unsigned i = 0; i < n; i++) {
            r += some >> i & 1;
            t += some >> i & 1 ? rig->m.letters[unsure[i]].items : 0;
        }
        if (r != there || t != there_items)
            continue;
        for (unsigned i = 0; i < n; i++) {
            rig->m.letters[unsure[i]].there = some >> i & 1;
            rig->m.letters[unsure[i]].unsure = false;
        }
        return;
    }
    rig_fail("%llu dead letters of %llu items: none of what there may be", (unsigned long long)there,
             (unsigned long long)there_items);
}

void rig_reopen(struct rig *rig, unsigned upstreams, bool oldest)
{
    rig_heal(rig);
    rig_close(rig);
    rig_open(rig);
    rig_take_events(rig);
    RIG_CHECK(next_block(rig) == rig->m.now.n, "after a clean end the next block is %u, not %u", next_block(rig),
              rig->m.now.n);
    model_stop_following(&rig->m);
    model_durable(&rig->m);
    resolve_letters(rig);
    for (unsigned i = 0; i < MODEL_LANES; i++)
        if (upstreams >> i / WEIR_SIGNALS & 1)
            rig_open_lane(rig, i, oldest);
}

void rig_heal(struct rig *rig)
{
    calls_heal();
    rig->faults = false;
}

static void open_existing(void *ctx, const char *upstream, enum weir_signal signal, uint64_t pending)
{
    bool *exists = ctx;
    for (unsigned u = 0; u < MODEL_UPSTREAMS; u++)
        if (strcmp(upstream, rig_upstreams[u]) == 0)
            exists[u * WEIR_SIGNALS + (unsigned)signal] = true;
}

// Which of the ledgers that a crash may go back to is it?
static void find_ledger(struct rig *rig, unsigned n)
{
    char why[512] = "", last[512] = "none fits";
    bool exists[MODEL_LANES] = {false};
    struct weir_err err = {0};
    spool_orphans(rig->spool, open_existing, exists);
    for (unsigned i = 0; i < MODEL_LANES; i++)
        if (exists[i])
            RIG_CHECK(spool_lane_open(rig->spool, rig_upstreams[i / WEIR_SIGNALS], model_signal(i), SPOOL_START_NOW,
                                      &rig->lanes[i], &err) == WEIR_OK,
                      "open a lane after a crash: %s", err.text);
    bool match = false;
    for (size_t i = rig->m.past_n; i > 0 && !match; i--) {
        if (rig->m.past[i - 1].n > n)
            continue;
        model_reopened(&rig->m, &rig->m.past[i - 1], n, &rig->m.now);
        match = rig_lanes_match(rig, true, why, sizeof(why));
        for (unsigned lane = 0; lane < MODEL_LANES; lane++)
            match = match && rig->m.now.lanes[lane].exists == exists[lane];
        if (!match && last[0] == 'n')
            memcpy(last, why, sizeof(last));
    }
    RIG_CHECK(match, "after a crash: none of the %zu ledgers since the last durable one; of the last one: %s",
              rig->m.past_n, last);
    for (unsigned i = 0; i < MODEL_LANES; i++)
        rig->m.now.lanes[i].follows = exists[i];
}

void rig_recover(struct rig *rig, unsigned calls_before_next)
{
    struct weir_err err = {0};
    run_counts->crashes++;
    calls_die_now();
    rig_close(rig);
    rig_heal(rig);
    if (calls_before_next > 0) { // and killed again while it starts
        calls_die_after(calls_before_next - 1, false);
        if (try_open(rig, &err) == WEIR_OK) {
            calls_die_now();
            spool_close(rig->spool);
            rig->spool = NULL;
        }
        rig_heal(rig);
    }
    pthread_mutex_lock(&rig->events_lock);
    rig->events_n = 0; // the ledgers tell
    pthread_mutex_unlock(&rig->events_lock);
    rig_open(rig);
    unsigned n = next_block(rig), known = rig->m.now.n;
    RIG_CHECK(n <= known + rig->flying_n, "after a crash the next block is %u: %u and %zu were handed over", n, known,
              rig->flying_n);
    for (unsigned i = known; i < n; i++)
        rig->m.blocks[i] = rig->flying[i - known];
    for (unsigned i = n; i < known; i++)
        RIG_CHECK(rig->m.blocks[i].unsure, "after a crash the next block is %u: %u was acknowledged", n, i);
    rig->flying_n = 0;
    find_ledger(rig, n);
    model_durable(&rig->m);
    resolve_letters(rig);
    rig_read_all(rig);
}

void rig_read_all(struct rig *rig)
{
    for (unsigned i = 0; i < MODEL_LANES; i++) {
        uint64_t skip_to, b = 0;
        while (b < rig->m.now.n) {
            if (!rig->m.now.lanes[i].pending[b]) {
                b++;
                continue;
            }
            int code = rig_read(rig, model_signal(i), b, SPOOL_END, NULL, &skip_to);
            b = code == WEIR_OK ? skip_to + 1 : skip_to;
        }
    }
}

void rig_wait_removed(struct rig *rig)
{
    bool lanes = false;
    for (unsigned i = 0; i < MODEL_LANES; i++)
        lanes = lanes || rig->m.now.lanes[i].exists;
    uint64_t deadline = weir_now_ns() + WAIT_NS;
    // What is kept goes when its time has come, and not before: that is seen by what can be replayed.
    for (bool done = !lanes || rig->faults || rig->options.keep_delivered_ns != 0; !done;) {
        rig_take_events(rig);
        uint64_t first[128];
        size_t n = rig_segments(rig->directory, first, 128);
        done = n < 2;
        for (uint64_t b = n < 2 ? 0 : first[0]; n >= 2 && b < first[1]; b++)
            done = done || model_needed(&rig->m, b);
        RIG_CHECK(weir_now_ns() < deadline, "a segment that nobody needs stays: %llu to %llu",
                  (unsigned long long)first[0], (unsigned long long)first[1]);
        nanosleep(&(struct timespec){0, 2000000}, NULL);
    }
}

void rig_drain_all(struct rig *rig)
{
    rig_heal(rig);
    rig_wait_quiet(rig);
    rig_drop_views(rig);
    for (unsigned i = 0; i < MODEL_LANES; i++) {
        if (rig->lanes[i] == NULL)
            continue;
        struct spool_outcome all = {.delivered = model_items(&rig->m, &rig->m.now.lanes[i], 0, SPOOL_END)};
        spool_lane_settle(rig->lanes[i], 0, rig->m.now.n, &all);
        model_settle(&rig->m, i, 0, rig->m.now.n, &all);
        model_changed(&rig->m);
    }
    struct weir_err err = {0};
    RIG_CHECK(spool_sync_state(rig->spool, &err) == WEIR_OK, "sync of a healthy spool: %s", err.text);
    model_durable(&rig->m);
    rig_wait_removed(rig);
    uint64_t deadline = weir_now_ns() + WAIT_NS;
    bool orphans = false; // whose data fills the spool
    for (unsigned i = 0; i < MODEL_LANES; i++)
        orphans = orphans || (rig->lanes[i] == NULL && model_items(&rig->m, &rig->m.now.lanes[i], 0, SPOOL_END) > 0);
    while (!orphans && spool_state_now(rig->spool) != SPOOL_OK) {
        RIG_CHECK(weir_now_ns() < deadline, "the spool does not recover");
        nanosleep(&(struct timespec){0, 2000000}, NULL);
    }
}
