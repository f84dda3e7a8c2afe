// SPDX-License-Identifier: Apache-2.0
// The i-th call of some kinds fails, once or from then on; and blocks of which is known whether they were acknowledged, delivered, and
// delivered for good.
#ifndef TESTS_UNIT_FAULTS_KIT_H
#define TESTS_UNIT_FAULTS_KIT_H

#include <stdatomic.h>

#include "storage/lane.h"
#include "storage/note.h"
#include "storage/stats.h"
#include "tests/unit/fault_calls.h"
#include "tests/unit/fault_memory.h"
#include "tests/unit/spool_kit.h"

#define FAULTS(call) (1u << (call))
#define FAULTS_DISK  (FAULTS(FAULT_READ) - 1u) // all that may change the disk
#define FAULTS_SHORT (-1)                      // instead of an errno: half of the bytes
#define FAULTS_SEEDS 64u

static struct {
    atomic_bool on;
    atomic_int calls;  // of those kinds, since armed
    atomic_int at;     // the one that fails
    atomic_bool go_on; // and all behind it
    atomic_uint kinds; // FAULTS(...)
    atomic_int code;   // errno, or FAULTS_SHORT
    atomic_int failures;
    atomic_int flushes, metas; // seen, armed or not
} faults;

static int faults_get(const atomic_int *what)
{
    return atomic_load_explicit(what, memory_order_relaxed);
}

static int faults_count(atomic_int *what)
{
    return atomic_fetch_add_explicit(what, 1, memory_order_relaxed);
}

// Relaxed, all of it: what every thread counts in one order would hide their races from ThreadSanitizer.
static int fault_ask(struct fault_at *at)
{
    if (at->call == FAULT_FLUSH)
        faults_count(&faults.flushes);
    if (at->call == FAULT_META)
        faults_count(&faults.metas);
    if (!atomic_load_explicit(&faults.on, memory_order_acquire) ||
        (atomic_load_explicit(&faults.kinds, memory_order_relaxed) & FAULTS(at->call)) == 0)
        return 0;
    int n = faults_count(&faults.calls), fails = faults_get(&faults.at);
    if (n != fails && (n < fails || !atomic_load_explicit(&faults.go_on, memory_order_relaxed)))
        return 0;
    faults_count(&faults.failures);
    if (faults_get(&faults.code) != FAULTS_SHORT)
        return faults_get(&faults.code);
    at->len -= at->len / 2; // never none: that is the end of a file
    return 0;
}

static void faults_arm(unsigned kinds, int code, int at, bool go_on)
{
    fault_memory_on = fault_memory_spared = true; // this thread is the test's
    atomic_store(&faults.calls, 0);
    atomic_store(&faults.failures, 0);
    atomic_store(&faults.at, at);
    atomic_store(&faults.kinds, kinds);
    atomic_store(&faults.code, code);
    atomic_store(&faults.go_on, go_on);
    atomic_store(&faults.on, true);
}

static void faults_disarm(void)
{
    atomic_store(&faults.on, false);
}

// Whether calls of that kind can fail in this program: under ThreadSanitizer memory cannot.
__attribute__((unused)) static bool faults_can(enum fault_call call)
{
    if (call != FAULT_MEMORY || FAULT_MEMORY_FAILS)
        return true;
    fprintf(stderr, "malloc: left out, the sanitizer has taken it over\n");
    return false;
}

// A call of the test's thread into the spool: its memory counts.
#define FAULTS_IN(statement)                                                                                           \
    do {                                                                                                               \
        fault_memory_spared = false;                                                                                   \
        statement;                                                                                                     \
        fault_memory_spared = true;                                                                                    \
    } while (0)

// --- blocks ---------------------------------------------------------------------------------------------------------------

struct seeds {
    unsigned n; // handed over
    bool acked[FAULTS_SEEDS], delivered[FAULTS_SEEDS], for_good[FAULTS_SEEDS], found[FAULTS_SEEDS];
    uint64_t number[FAULTS_SEEDS]; // at which a seed was seen
    unsigned letters;              // dead letters that were acknowledged
    bool noted;                    // a note "life" is durable, its first byte 1 or 2
};

static enum weir_signal seeds_signal(uint64_t seed)
{
    return seed % 3 == 0 ? WEIR_METRICS : WEIR_TRACES;
}

static void seeds_seen(void *ctx, uint64_t number, uint64_t seed)
{
    struct seeds *seeds = ctx;
    cr_assert_lt(seed, seeds->n);
    cr_assert(!seeds->for_good[seed], "block %llu was delivered, that was durable, and it is pending again",
              (unsigned long long)seed);
    seeds->found[seed] = true;
    seeds->number[seed] = number;
}

struct sent {
    struct kit_wait *wait;
    struct seeds *seeds;
    uint64_t seed;
};

static void seeds_acked(struct block *block, int result)
{
    struct sent *sent = block->owner;
    cr_assert(result == WEIR_OK || result == WEIR_E_IO || result == WEIR_E_FULL);
    if (result == WEIR_OK)
        sent->seeds->acked[sent->seed] = true;
    block->owner = sent->wait;
    free(sent);
    kit_done(block, result);
}

// Hands over the next `n` blocks and waits. The result of the last one.
static int seeds_send(struct spool *spool, struct seeds *seeds, unsigned n, size_t len)
{
    struct kit_wait wait = KIT_WAIT;
    struct block *chain = NULL, **tail = &chain;
    cr_assert_leq(seeds->n + n, FAULTS_SEEDS);
    for (unsigned i = 0; i < n; i++, seeds->n++) {
        struct sent *sent = malloc(sizeof(*sent));
        *sent = (struct sent){&wait, seeds, seeds->n};
        *tail = kit_block(seeds_signal(seeds->n), seeds->n, len);
        (*tail)->owner = sent;
        tail = &(*tail)->next;
    }
    wait.pending = n;
    FAULTS_IN(spool_append(spool, chain, seeds_acked));
    return kit_join(&wait);
}

// Delivers some of what is pending, as far as it can be read and counted.
__attribute__((unused)) static void seeds_deliver(struct spool *spool, struct spool_lane *lane, enum weir_signal signal,
                                                  unsigned most, struct seeds *seeds)
{
    struct spool_reader *reader;
    struct spool_interval in;
    FAULTS_IN(reader = spool_reader_new(spool));
    for (unsigned n = 0; reader != NULL && n < most && spool_lane_intervals(lane, &in, 1) > 0; n++) {
        struct block_view view;
        struct weir_err err = {0};
        uint64_t skip_to;
        int code;
        FAULTS_IN(code = spool_reader_next(reader, signal, in.first, in.end, &view, &skip_to, &err));
        cr_assert_neq(code, WEIR_E_CORRUPT, "a failing call is taken for damage: %s", err.text);
        if (code != WEIR_OK) {
            cr_assert(code == WEIR_E_AGAIN || err.text[0] != '\0');
            break;
        }
        uint64_t seed = kit_check_view(&view), number = view.number;
        cr_assert_lt(seed, seeds->n);
        seeds->delivered[seed] = true;
        struct spool_outcome outcome = {.delivered = view.items};
        block_view_release(&view);
        FAULTS_IN(spool_lane_settle(lane, in.first, number + 1, &outcome));
    }
    spool_reader_free(reader);
}

// What was delivered is so for good, if the state says OK.
__attribute__((unused)) static void seeds_sync(struct spool *spool, struct seeds *seeds)
{
    int code;
    struct weir_err err = {0};
    FAULTS_IN(code = spool_sync_state(spool, &err));
    cr_assert(code == WEIR_OK || err.text[0] != '\0');
    // Out of memory, or a segment that cannot be read: a settlement may still wait for its turn.
    for (unsigned i = 0; code == WEIR_OK && atomic_load(&faults.failures) == 0 && i < seeds->n; i++)
        seeds->for_good[i] = seeds->delivered[i];
}

// Items of blocks that nobody was told are stored: when their file cannot be read they may use up their numbers, and count as lost.
__attribute__((unused)) static uint64_t seeds_unsure_items(const struct seeds *seeds, enum weir_signal signal)
{
    uint64_t items = 0;
    for (unsigned i = 0; i < seeds->n; i++)
        items += !seeds->acked[i] && seeds_signal(i) == signal ? kit_items(i) : 0;
    return items;
}

// With a disk that works again: what was acknowledged is there, each under one number, nothing is set aside, and the ledger adds up.
__attribute__((unused)) static void seeds_verify(const char *dir, struct seeds *seeds)
{
    struct spool *spool = kit_open(dir, 64, NULL);
    struct spool_lane *lanes[2] = {kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW),
                                   kit_lane(spool, "a", WEIR_METRICS, SPOOL_START_NOW)};
    cr_assert_eq(seeds_send(spool, seeds, 2, 1000), WEIR_OK, "it goes on");
    cr_assert(seeds->acked[seeds->n - 2]);
    for (unsigned i = 0; i < 2; i++) {
        kit_ledger(lanes[i]);
        enum weir_signal signal = i == 0 ? WEIR_TRACES : WEIR_METRICS;
        kit_drain(spool, lanes[i], signal, 1000, seeds_seen, seeds);
        struct spool_lane_stats s = kit_ledger(lanes[i]);
        cr_assert_eq(s.pending, 0);
        cr_assert_leq(s.evicted, seeds_unsure_items(seeds, signal));
    }
    struct spool_stats stats;
    spool_stats_get(spool, &stats);
    cr_assert_geq(stats.dead_letter_requests, seeds->letters);
    struct weir_buf note = {0};
    bool there = spool_note_get(spool, "life", &note, NULL) == WEIR_OK;
    cr_assert(there || !seeds->noted, "a note was durable and is not there");
    cr_assert(!there || (note.len == 3000 && (note.data[0] == 1 || note.data[0] == 2)));
    weir_buf_free(&note);
    for (unsigned i = 0; i < seeds->n; i++) {
        cr_assert(!seeds->acked[i] || seeds->found[i] || seeds->delivered[i],
                  "block %u was acknowledged and is not there", i);
        for (unsigned j = 0; j < i; j++)
            cr_assert(!seeds->found[i] || !seeds->found[j] || seeds->number[i] != seeds->number[j],
                      "blocks %u and %u under one number", i, j);
    }
    cr_assert_eq(kit_files(dir, ".damaged", NULL, 0), 0, "something was set aside");
    spool_close(spool);
}

#endif
