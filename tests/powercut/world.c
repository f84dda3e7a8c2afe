// SPDX-License-Identifier: Apache-2.0
#include "tests/powercut/world.h"

#include <pthread.h>
#include <stdio.h>

#include "tests/powercut/record.h"

const char *const world_upstreams[WORLD_UPSTREAMS] = {"alpha", "beta", "gamma"};

uint64_t world_items(uint32_t seed)
{
    return 1 + seed % 5;
}

static void apply_append(struct world *w, const struct promise *p)
{
    assert(p->seed == w->seeds && w->seeds < WORLD_SEEDS);
    w->seed[p->seed].len = p->len;
    w->seed[p->seed].signal = p->signal;
    w->seed[p->seed].stream = p->stream;
    w->seeds++;
    for (unsigned lane = 0; lane < WORLD_LANES; lane++)
        if (lane % WEIR_SIGNALS == p->signal && w->lane_there[lane])
            w->in_lane[lane][p->seed] = OWED | MAY_HAVE;
}

static void apply_settle(struct world *w, const struct promise *p)
{
    uint8_t *state = &w->in_lane[p->lane][p->seed];
    *state = (uint8_t)(*state | MAY_LACK | (p->buried ? BURIED : 0));
    *(p->buried ? &w->buried_most[p->lane] : &w->delivered_most[p->lane]) += world_items(p->seed);
}

static void apply_sync(struct world *w)
{
    for (unsigned lane = 0; lane < WORLD_LANES; lane++) {
        for (uint32_t s = 0; s < w->seeds; s++)
            if (w->in_lane[lane][s] & MAY_LACK)
                w->in_lane[lane][s] &= (uint8_t)~MAY_HAVE;
        w->delivered_least[lane] = w->delivered_most[lane];
        w->buried_least[lane] = w->buried_most[lane];
    }
}

// Which blocks it was shows when the lane is read.
static void apply_replay(struct world *w, const struct promise *p)
{
    for (uint32_t s = 0; s < w->seeds; s++) {
        uint8_t *state = &w->in_lane[p->lane][s];
        if (w->seed[s].signal != p->lane % WEIR_SIGNALS)
            continue;
        if (*state == 0)
            *state = UNSURE;
        else if (*state & MAY_LACK)
            *state |= MAY_HAVE | REPLAYED;
    }
}

// A block that nobody was told of and that is not there now will never be. What was evicted stays owed: the ledger has it.
static void apply_seen(struct world *w, const struct promise *p)
{
    uint8_t *state = &w->in_lane[p->lane][p->seed];
    if (p->kind == PROMISE_FOUND && (*state & (UNSURE | GONE)))
        *state |= REPLAYED;
    *state &= (uint8_t)~UNSURE;
    if (p->kind == PROMISE_FOUND) {
        uint8_t *letter = &w->letter[p->lane / WEIR_SIGNALS][p->seed];
        *letter =
            *letter == 2 ? 1 : *letter; // of a block that is to be delivered again: forgotten, unless it was replayed
        w->acked += !w->seed[p->seed].acked;
        if (*state & GONE)
            w->evicted_again[p->lane] += world_items(p->seed);
        w->seed[p->seed].acked = true;
        *state = (uint8_t)((*state & ~(MAY_LACK | BURIED | GONE)) | OWED | MAY_HAVE);
    } else if (*state & MAY_LACK) {
        *state &= (uint8_t)~MAY_HAVE;
    } else if (!w->seed[p->seed].acked) {
        *state = 0;
    } else if (*state & OWED) {
        *state |= GONE;
    }
}

static void apply_unsure(struct world *w, const struct promise *p)
{
    for (uint32_t s = 0; s < w->seeds; s++) {
        uint8_t *state = &w->in_lane[p->lane][s];
        if (*state == 0 && w->seed[s].signal == p->lane % WEIR_SIGNALS)
            *state = UNSURE;
    }
}

void world_apply(struct world *w, const struct promise *p)
{
    switch (p->kind) {
    case PROMISE_APPEND:
        apply_append(w, p);
        break;
    case PROMISE_ACK:
        w->seed[p->seed].acked = true;
        w->acked++;
        break;
    case PROMISE_LANE:
        w->lane_there[p->lane] = true;
        break;
    case PROMISE_LEAVE:
        w->lane_there[p->lane] = false;
        break;
    case PROMISE_MAYBE:
        apply_unsure(w, p);
        break;
    case PROMISE_SETTLE:
        apply_settle(w, p);
        break;
    case PROMISE_SYNC:
        apply_sync(w);
        break;
    case PROMISE_LETTER:
        if (w->letter[p->lane / WEIR_SIGNALS][p->seed] == 0)
            w->letter[p->lane / WEIR_SIGNALS][p->seed] = 1;
        break;
    case PROMISE_LETTER_OK:
        w->letter[p->lane / WEIR_SIGNALS][p->seed] = 2;
        break;
    case PROMISE_PURGE:
        w->letter[p->lane / WEIR_SIGNALS][p->seed] = 1;
        break;
    case PROMISE_REPLAY:
        apply_replay(w, p);
        break;
    case PROMISE_FOUND:
    case PROMISE_ABSENT:
        apply_seen(w, p);
        break;
    case PROMISE_LEDGER:
        w->delivered_least[p->lane] = w->delivered_most[p->lane] = p->number;
        w->buried_least[p->lane] = w->buried_most[p->lane] = p->end;
        break;
    default:
        abort();
    }
}

static void apply(void *ctx, const struct promise *promise)
{
    world_apply(ctx, promise);
}

void world_promise(struct world *world, const struct promise *promise)
{
    record_promise(promise, apply, world);
}

static pthread_mutex_t append_lock = PTHREAD_MUTEX_INITIALIZER;

uint32_t world_append(struct world *world, enum weir_signal signal, uint8_t stream, uint32_t len)
{
    pthread_mutex_lock(&append_lock);
    struct promise p = {.kind = PROMISE_APPEND, .signal = (uint8_t)signal, .stream = stream, .len = len};
    p.seed = world->seeds;
    world_promise(world, &p);
    pthread_mutex_unlock(&append_lock);
    return p.seed;
}

// --- contents: bytes that follow from the seed; half of them do not compress ---------------------------------------------------

void world_fill(uint8_t *p, size_t len, uint32_t seed)
{
    uint64_t x = mix(seed) | 1;
    for (size_t i = 0; i < len; i += 8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(p + i, &x, len - i < 8 ? len - i : 8);
    }
    weir_put_u32(p, seed);
}

struct block *world_block(enum weir_signal signal, uint32_t seed, uint32_t len)
{
    struct weir_err err = {0};
    struct block_builder *builder = block_builder_new(signal, (struct weir_slice){(const uint8_t *)"tenant", 6}, 1);
    uint8_t *raw = malloc(len);
    struct block *block = NULL;
    assert(raw != NULL && builder != NULL && len >= 4);
    world_fill(raw, len, seed);
    struct block_request request = {.items = world_items(seed), .received_ns = weir_now_unix_ns()};
    int code = block_builder_add(builder, (struct weir_slice){raw, len}, &request, &err);
    if (code == WEIR_OK)
        code = block_builder_seal(builder, &block, &err);
    assert(code == WEIR_OK);
    block_builder_free(builder);
    free(raw);
    return block;
}

uint32_t world_recognize(const struct world *world, const struct block_view *view, char *why, size_t cap)
{
    struct weir_err err = {0};
    struct weir_buf raw = {0};
    uint32_t seed = UINT32_MAX;
    unsigned long long number = view->number;
    if (block_view_decode(view, &raw, &err) != WEIR_OK || raw.len < 4) {
        snprintf(why, cap, "block %llu cannot be decoded: %s", number, err.text);
        weir_buf_free(&raw);
        return UINT32_MAX;
    }
    assert(raw.data != NULL);
    seed = weir_get_u32(raw.data);
    uint8_t *expected = malloc(raw.len);
    assert(expected != NULL);
    world_fill(expected, raw.len, seed);
    bool known = seed < world->seeds && world->seed[seed].len == raw.len && world->seed[seed].signal == view->signal &&
                 view->items == world_items(seed) && memcmp(expected, raw.data, raw.len) == 0;
    if (!known)
        snprintf(why, cap, "block %llu is not one that was appended (seed %u)", number, seed);
    free(expected);
    weir_buf_free(&raw);
    return known ? seed : UINT32_MAX;
}
