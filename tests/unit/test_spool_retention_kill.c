// SPDX-License-Identifier: Apache-2.0
// kill -9 at random moments while segments are evicted, kept, removed anywhere and replayed. Every acknowledged item is in one column of
// each ledger, what is pending can be read, and nothing that went by a rule is told as damage.
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "retention_rig.h"
#include "storage/past.h"

#define KILLS     24u
#define SEEDS_MAX 100000u
#define LANES     2u

// Written by the child as things happen.
struct shared {
    _Atomic uint64_t next_seed, acks, rounds;
    atomic_uchar acked[SEEDS_MAX];
    atomic_uchar delivered[LANES][SEEDS_MAX]; // set before it is settled
    _Atomic uint64_t told_items[LANES];
};

static struct shared *shared;
static const char *const upstreams[LANES] = {"a", "b"};

static struct spool_options kill_options(const char *dir)
{
    struct spool_options options = kit_options(dir, 10);
    options.evict_oldest = true;
    options.keep_delivered_ns = 50000000; // some go in their time, some for room
    return options;
}

static void tell(void *ctx, const struct spool_event *event)
{
    (void)ctx;
    if (event->kind == SPOOL_EVENT_EVICTED)
        atomic_fetch_add(&shared->told_items[strcmp(event->upstream, "b") == 0], event->items);
}

static void mark_delivered(void *ctx, uint64_t number, uint64_t seed)
{
    (void)number;
    atomic_store(&shared->delivered[*(unsigned *)ctx][seed], 1);
}

// a keeps up and is given parts of the past again; b is too slow.
static void *child_drain(void *arg)
{
    struct spool *spool = arg;
    struct spool_lane *lanes[LANES];
    for (unsigned u = 0; u < LANES; u++)
        lanes[u] = kit_lane(spool, upstreams[u], WEIR_TRACES, SPOOL_START_NOW);
    for (unsigned i = 0;; i++) {
        for (unsigned u = 0; u < LANES; u++)
            kit_drain(spool, lanes[u], WEIR_TRACES, u == 0 ? 8 : i % 32 == 0, mark_delivered, &u);
        struct spool_stats stats = rig_stats(spool);
        struct spool_replay out;
        uint64_t first = stats.first_block + i % 7;
        if (i % 5 == 0)
            spool_lane_replay(lanes[i / 5 % 2], first, first + 4, false, &out, NULL);
        atomic_fetch_add(&shared->rounds, 1);
    }
    return NULL;
}

static void child(const char *dir)
{
    struct spool_options options = kill_options(dir);
    options.on_event = tell;
    struct spool *spool;
    pthread_t drainer;
    if (spool_open(&options, &spool, NULL, NULL) != WEIR_OK)
        _exit(4);
    for (unsigned u = 0; u < LANES; u++)
        kit_lane(spool, upstreams[u], WEIR_TRACES, SPOOL_START_NOW);
    pthread_create(&drainer, NULL, child_drain, spool);
    while (atomic_load(&shared->next_seed) < SEEDS_MAX) {
        uint64_t seed = atomic_fetch_add(&shared->next_seed, 1);
        if (kit_append(spool, WEIR_TRACES, seed, 20000 + seed * 7919 % 150000) != WEIR_OK)
            continue;
        atomic_store(&shared->acked[seed], 1);
        atomic_fetch_add(&shared->acks, 1);
    }
    _exit(3);
}

// Which seeds a lane still holds, each found whole.
static void mark_pending(struct spool *spool, struct spool_lane *lane, uint8_t *pending)
{
    struct spool_reader *reader = spool_reader_new(spool);
    struct spool_interval in[128];
    size_t n = spool_lane_intervals(lane, in, 128);
    for (size_t i = 0; i < n; i++) {
        uint64_t from = in[i].first, skip_to;
        struct block_view view;
        struct weir_err err = {0};
        int code;
        while ((code = spool_reader_next(reader, WEIR_TRACES, from, in[i].end, &view, &skip_to, &err)) == WEIR_OK) {
            pending[kit_check_view(&view)] = 1;
            from = view.number + 1;
            block_view_release(&view);
        }
        cr_assert_eq(code, WEIR_E_AGAIN, "%s", err.text);
    }
    spool_reader_free(reader);
}

static void verify(const char *dir, unsigned round)
{
    struct spool_options options = kill_options(dir);
    struct spool_report report;
    struct spool *spool;
    struct weir_err err = {0};
    options.evict_oldest = false; // nothing more goes while it is looked at
    options.keep_delivered_ns = UINT64_MAX;
    cr_assert_eq(spool_open(&options, &spool, &report, &err), WEIR_OK, "%s", err.text);
    cr_assert(report.damaged == 0 && report.lost_blocks == 0, "round %u", round);
    uint64_t seeds = atomic_load(&shared->next_seed);
    for (unsigned u = 0; u < LANES; u++) {
        uint8_t *pending = calloc(1, SEEDS_MAX);
        struct spool_lane *lane = kit_lane(spool, upstreams[u], WEIR_TRACES, SPOOL_START_NOW);
        struct spool_lane_stats s = kit_ledger(lane);
        uint64_t items = 0, gone = 0;
        mark_pending(spool, lane, pending);
        for (uint64_t i = 0; i < seeds; i++) {
            items += pending[i] ? kit_items(i) : 0;
            gone += atomic_load(&shared->acked[i]) && !pending[i] && !atomic_load(&shared->delivered[u][i])
                        ? kit_items(i)
                        : 0;
        }
        cr_assert_eq(s.pending, items, "round %u: %s", round, upstreams[u]);
        cr_assert_leq(gone, s.evicted_by[SPOOL_LOSS_FULL], "round %u: %s: %llu items are gone", round, upstreams[u],
                      (unsigned long long)gone);
        cr_assert_eq(s.evicted, s.evicted_by[SPOOL_LOSS_FULL], "round %u", round);
        cr_assert_leq(atomic_load(&shared->told_items[u]), s.evicted, "round %u: told, and not durable", round);
        free(pending);
    }
    spool_close(spool);
}

Test(spool_retention_kill, every_item_in_one_column, .timeout = 300)
{
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(shared, MAP_FAILED);
    char *dir = kit_directory();
    uint64_t x = weir_now_ns() | 1, seed = x;
    for (unsigned round = 0; round < KILLS; round++) {
        uint64_t acks = atomic_load(&shared->acks);
        pid_t pid = fork();
        if (pid == 0)
            child(dir);
        cr_assert_gt(pid, 0);
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        KIT_UNTIL(atomic_load(&shared->acks) > acks + x % 60); // the moment is the test's input
        struct timespec moment = {0, (long)(x % 20000000)};
        nanosleep(&moment, NULL);
        kill(pid, SIGKILL);
        int status;
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "round %u: the child ended by itself: %x", round,
                  status);
        verify(dir, round);
    }
    struct spool *spool = kit_open(dir, 64, NULL);
    uint64_t replayed = 0, evicted = 0;
    for (unsigned u = 0; u < LANES; u++) {
        struct spool_lane_stats s = kit_ledger(kit_lane(spool, upstreams[u], WEIR_TRACES, SPOOL_START_NOW));
        replayed += s.replayed;
        evicted += s.evicted;
    }
    spool_close(spool);
    printf("seed %llu: %llu blocks, %llu items evicted, %llu replayed\n", (unsigned long long)seed,
           (unsigned long long)atomic_load(&shared->acks), (unsigned long long)evicted, (unsigned long long)replayed);
    cr_expect(evicted > 0 && replayed > 0, "%llu, %llu", (unsigned long long)evicted, (unsigned long long)replayed);
    kit_remove_directory(dir);
}
