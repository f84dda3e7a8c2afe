// SPDX-License-Identifier: Apache-2.0
// One spool as a relay would use it, with each promise noted where it is made.
#include <pthread.h>
#include <stdio.h>

#include "storage/letters.h"
#include "storage/past.h"
#include "tests/powercut/clock.h"
#include "tests/powercut/judge.h"

#define MIB (1024ull * 1024)

// Reads what a lane has got, and notes it.
static bool note_lane(struct driver *d, unsigned lane, char *why)
{
    struct promise p = {.lane = (uint8_t)lane};
    struct lane_found *f = calloc(1, sizeof(*f));
    assert(f != NULL);
    bool good = driver_read_lane(d, lane, f, why);
    for (p.seed = 0; p.seed < d->world->seeds && good; p.seed++) {
        p.kind = f->found[p.seed] ? PROMISE_FOUND : PROMISE_ABSENT;
        if (d->world->in_lane[lane][p.seed] != 0)
            world_promise(d->world, &p);
    }
    free(f);
    return good;
}

static bool open_lane(struct driver *d, unsigned i, enum spool_start start, char *why)
{
    struct weir_err err = {0};
    struct promise p = {.kind = PROMISE_MAYBE, .lane = (uint8_t)i};
    if (start == SPOOL_START_OLDEST)
        world_promise(d->world, &p);
    if (spool_lane_open(d->spool, world_upstreams[i / WEIR_SIGNALS], (enum weir_signal)(i % WEIR_SIGNALS), start,
                        &d->lane[i], &err) != WEIR_OK)
        FAIL("lane cannot be opened: %.300s", err.text);
    p.kind = PROMISE_LANE;
    world_promise(d->world, &p);
    if (start != SPOOL_START_OLDEST)
        return true;
    return note_lane(d, i, why);
}

bool driver_open_upstream(struct driver *d, unsigned upstream, enum spool_start start, char *why)
{
    for (unsigned i = 0; i < WEIR_SIGNALS; i++)
        if (!open_lane(d, upstream * WEIR_SIGNALS + i, start, why))
            return false;
    d->absent &= (uint8_t) ~(1u << upstream);
    return true;
}

static void note_event(void *ctx, const struct spool_event *event)
{
    struct driver *d = ctx;
    if (event->kind == SPOOL_EVENT_DAMAGED)
        snprintf(d->damage, sizeof(d->damage), "%s", event->text);
}

bool driver_open(struct driver *d, const char *directory, char *why)
{
    const struct profile *p = d->profile;
    struct spool_options options = {.directory = directory,
                                    .max_bytes = p->max_mib * MIB,
                                    .segment_bytes = p->segment_mib * MIB,
                                    .evict_oldest = p->evict,
                                    .keep_delivered_ns = p->keep_ns,
                                    .max_age_ns = p->age_ns,
                                    .on_event = note_event,
                                    .ctx = d,
                                    .holder = "powercut"};
    struct weir_err err = {0};
    struct spool_report report;
    if (spool_open(&options, &d->spool, &report, &err) != WEIR_OK) {
        snprintf(why, WHY_BYTES, "cannot be opened: %.300s", err.text);
        return false;
    }
    clock_settle();
    d->reader = spool_reader_new(d->spool);
    for (unsigned u = 0; u < WORLD_UPSTREAMS; u++) {
        bool here = (d->absent >> u & 1) == 0;
        for (unsigned i = 0; i < WEIR_SIGNALS && !here; i++) {
            d->lane[u * WEIR_SIGNALS + i] = NULL;
            world_promise(d->world, &(struct promise){.kind = PROMISE_LEAVE, .lane = (uint8_t)(u * WEIR_SIGNALS + i)});
        }
        if (here && !driver_open_upstream(d, u, SPOOL_START_NOW, why)) {
            driver_close(d);
            return false;
        }
    }
    why[0] = '\0';
    if (p->patient)
        return true;
    if (report.damaged > 0)
        snprintf(why, WHY_BYTES, "%u damaged files", report.damaged);
    else if (report.lost_blocks > 0)
        snprintf(why, WHY_BYTES, "%llu numbers lost", (unsigned long long)report.lost_blocks);
    if (why[0] != '\0')
        driver_close(d);
    return why[0] == '\0';
}

void driver_close(struct driver *d)
{
    spool_reader_free(d->reader);
    spool_close(d->spool);
    d->spool = NULL;
}

// --- appending -------------------------------------------------------------------------------------------------------------

struct waiting {
    struct world *world;
    pthread_mutex_t lock;
    pthread_cond_t done;
    unsigned left, refused;
};

struct sent {
    struct waiting *waiting;
    uint32_t seed;
};

static void completed(struct block *block, int result)
{
    struct sent *sent = block->owner;
    struct waiting *w = sent->waiting;
    if (result == WEIR_OK)
        world_promise(w->world, &(struct promise){.kind = PROMISE_ACK, .seed = sent->seed});
    free(sent);
    block_free(block);
    pthread_mutex_lock(&w->lock);
    w->left--;
    w->refused += result != WEIR_OK;
    pthread_cond_signal(&w->done);
    pthread_mutex_unlock(&w->lock);
}

bool driver_append(struct driver *d, struct dice *dice, unsigned n, uint8_t stream)
{
    struct waiting waiting = {.world = d->world, .left = n};
    struct block *chain = NULL, **tail = &chain;
    if (d->world->seeds + n + 8 > WORLD_SEEDS)
        return true;
    pthread_mutex_init(&waiting.lock, NULL);
    pthread_cond_init(&waiting.done, NULL);
    for (unsigned i = 0; i < n; i++) {
        enum weir_signal signal = (enum weir_signal)roll(dice, WEIR_SIGNALS);
        uint32_t len = 8 + (uint32_t)roll(dice, roll(dice, 3) == 0 ? d->profile->block_bytes_max : 3000);
        len += d->profile->block_bytes_min;
        struct sent *sent = malloc(sizeof(*sent));
        assert(sent != NULL);
        *sent = (struct sent){&waiting, world_append(d->world, signal, stream, len)};
        *tail = world_block(signal, sent->seed, len);
        (*tail)->owner = sent;
        tail = &(*tail)->next;
    }
    spool_append(d->spool, chain, completed);
    pthread_mutex_lock(&waiting.lock);
    while (waiting.left > 0)
        pthread_cond_wait(&waiting.done, &waiting.lock);
    pthread_mutex_unlock(&waiting.lock);
    pthread_cond_destroy(&waiting.done);
    pthread_mutex_destroy(&waiting.lock);
    return waiting.refused == 0;
}

// --- reading and delivering ------------------------------------------------------------------------------------------------------------

bool driver_read_lane(struct driver *d, unsigned lane, struct lane_found *out, char *why)
{
    struct spool_interval in[128];
    size_t n = spool_lane_intervals(d->lane[lane], in, WEIR_COUNT(in));
    uint32_t last[256];
    memset(last, 0xff, sizeof(last));
    for (size_t i = 0; i < n; i++) {
        uint64_t from = in[i].first, skip_to;
        struct block_view view;
        struct weir_err err = {0};
        int code;
        while ((code = spool_reader_next(d->reader, (enum weir_signal)(lane % WEIR_SIGNALS), from, in[i].end, &view,
                                         &skip_to, &err)) == WEIR_OK) {
            uint32_t seed = world_recognize(d->world, &view, why, WHY_BYTES);
            uint64_t number = view.number;
            block_view_release(&view);
            if (seed == UINT32_MAX)
                return false;
            uint8_t stream = d->world->seed[seed].stream;
            if (out->found[seed])
                FAIL("block %u is there twice", seed);
            if (last[stream] != UINT32_MAX && last[stream] > seed)
                FAIL("block %u comes after block %u", seed, last[stream]);
            last[stream] = seed;
            out->found[seed] = true;
            out->items += world_items(seed);
            from = number + 1;
        }
        if (code != WEIR_E_AGAIN)
            FAIL("lane %u: block %llu on cannot be read: %.300s", lane, (ull)from, err.text);
    }
    return true;
}

static bool bury(struct driver *d, unsigned lane, uint32_t seed, uint64_t number)
{
    uint32_t len = d->world->seed[seed].len;
    uint8_t *raw = malloc(len);
    assert(raw != NULL);
    world_fill(raw, len, seed);
    struct promise p = {.kind = PROMISE_LETTER, .lane = (uint8_t)lane, .seed = seed, .number = number};
    struct spool_dead_letter letter = {.upstream = world_upstreams[lane / WEIR_SIGNALS],
                                       .signal = (enum weir_signal)(lane % WEIR_SIGNALS),
                                       .code = "INVALID_ARGUMENT",
                                       .message = "no",
                                       .attempts = 1,
                                       .block = number,
                                       .items = world_items(seed),
                                       .raw = {raw, len}};
    world_promise(d->world, &p);
    bool ok = spool_dead_letter_put(d->spool, &letter, NULL) == WEIR_OK;
    p.kind = PROMISE_LETTER_OK;
    if (ok)
        world_promise(d->world, &p);
    free(raw);
    return ok;
}

bool driver_deliver(struct driver *d, unsigned lane, unsigned most, struct dice *dice, char *why)
{
    struct spool_interval in;
    for (unsigned n = 0; d->lane[lane] != NULL && n < most && spool_lane_intervals(d->lane[lane], &in, 1) > 0; n++) {
        struct block_view view;
        struct weir_err err = {0};
        uint64_t skip_to = 0;
        int code = spool_reader_next(d->reader, (enum weir_signal)(lane % WEIR_SIGNALS), in.first, in.end, &view,
                                     &skip_to, &err);
        if (code == WEIR_E_AGAIN) {
            if (skip_to > in.first) // a lane without data does not hold a segment
                spool_lane_settle(d->lane[lane], in.first, skip_to, &(struct spool_outcome){0});
            return true;
        }
        if (code == WEIR_E_CORRUPT && d->profile->evict && spool_lane_intervals(d->lane[lane], &in, 1) > 0 &&
            in.first >= skip_to)
            continue; // evicted between the two calls
        if (code != WEIR_OK) {
            snprintf(why, WHY_BYTES, "block %llu cannot be read: %.300s", (unsigned long long)in.first, err.text);
            return false;
        }
        uint32_t seed = world_recognize(d->world, &view, why, WHY_BYTES);
        uint64_t number = view.number;
        block_view_release(&view);
        if (seed == UINT32_MAX)
            return false;
        // Once: a replayed block's letter would take the place of the first.
        bool buried =
            roll(dice, 12) == 0 && d->world->letter[lane / WEIR_SIGNALS][seed] == 0 && bury(d, lane, seed, number);
        struct promise p = {.kind = PROMISE_SETTLE, .lane = (uint8_t)lane, .buried = buried, .seed = seed};
        p.number = number;
        world_promise(d->world, &p);
        uint64_t items = world_items(seed);
        spool_lane_settle(
            d->lane[lane], in.first, number + 1,
            &(struct spool_outcome){.delivered = buried ? 0 : items, .dead_lettered = buried ? items : 0});
    }
    return true;
}

static void pick(void *ctx, const struct letter_info *info)
{
    *(struct letter_id *)ctx = info->id;
}

bool driver_purge(struct driver *d, struct dice *dice, char *why)
{
    static const struct letter_filter all = {.signal = -1};
    struct letters_walked walked;
    struct letter_id id;
    struct letter *letter;
    struct weir_buf raw = {0};
    struct weir_err err = {0};
    if (spool_letters_list(d->spool, &all, NULL, 1 + roll(dice, 8), pick, &id, &walked, &err) != WEIR_OK)
        FAIL("the dead letters cannot be read: %.200s", err.text);
    if (walked.letters == 0 || spool_letter_get(d->spool, &id, &letter, &err) != WEIR_OK)
        return true;
    bool good = letter_decode(letter, &raw, &err) == WEIR_OK && raw.len >= 4;
    struct promise p = {.kind = PROMISE_PURGE,
                        .lane = (uint8_t)letter_info_of(letter)->signal,
                        .seed = good ? weir_get_u32(raw.data) : 0,
                        .number = id.block};
    while (strcmp(world_upstreams[p.lane / WEIR_SIGNALS], id.upstream) != 0)
        p.lane = (uint8_t)(p.lane + WEIR_SIGNALS);
    letter_free(letter);
    weir_buf_free(&raw);
    if (!good)
        FAIL("a dead letter cannot be read: %.200s", err.text);
    world_promise(d->world, &p);
    int code = spool_letter_change(d->spool, LETTERS_PURGE, &id, &err);
    if (code != WEIR_OK && code != WEIR_E_AGAIN)
        FAIL("a dead letter cannot be purged: %.200s", err.text);
    return true;
}

bool driver_sync(struct driver *d)
{
    bool ok = spool_sync_state(d->spool, NULL) == WEIR_OK;
    if (ok)
        world_promise(d->world, &(struct promise){.kind = PROMISE_SYNC});
    return ok;
}

bool driver_replay(struct driver *d, unsigned lane, struct dice *dice, char *why)
{
    struct spool_stats stats;
    struct spool_replay out;
    struct weir_err err = {0};
    spool_stats_get(d->spool, &stats);
    uint64_t first = roll(dice, stats.next_block), end = first + 1 + roll(dice, stats.next_block - first);
    if (d->lane[lane] == NULL || spool_lane_replay(d->lane[lane], first, end, true, &out, NULL) != WEIR_OK)
        return true;
    world_promise(d->world, &(struct promise){.kind = PROMISE_REPLAY, .lane = (uint8_t)lane});
    int code = spool_lane_replay(d->lane[lane], first, end, false, &out, &err);
    if (code == WEIR_E_LIMIT)
        return true;
    if (code != WEIR_OK)
        FAIL("replay: %.300s", err.text);
    return note_lane(d, lane, why);
}
