// SPDX-License-Identifier: Apache-2.0
// kill -9 at random moments of append, settle and rotation. What was acknowledged is there or was delivered; start-up always succeeds.
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "spool_kit.h"

#define KILLS     120u
#define SEEDS_MAX 200000u
#define LANES     2u

// What the parent knows of a killed child: written by the child before and after each step.
struct shared {
    _Atomic uint64_t next_seed;
    _Atomic uint64_t acks;
    atomic_uchar acked[SEEDS_MAX];
    atomic_uchar delivered[LANES][SEEDS_MAX]; // set before it is settled
};

static struct shared *shared;
static const char *const upstreams[LANES] = {"a", "b"};

static enum weir_signal signal_of(uint64_t seed)
{
    return seed % 3 == 0 ? WEIR_METRICS : WEIR_TRACES;
}

struct seed_wait {
    struct kit_wait *wait;
    uint64_t seed;
};

static void mark_acked(struct block *block, int result)
{
    struct seed_wait *sent = block->owner;
    if (result == WEIR_OK) {
        atomic_store(&shared->acked[sent->seed], 1);
        atomic_fetch_add(&shared->acks, 1);
    }
    block->owner = sent->wait;
    free(sent);
    kit_done(block, result);
}

static void mark_delivered(void *ctx, uint64_t number, uint64_t seed)
{
    (void)number;
    atomic_store(&shared->delivered[*(unsigned *)ctx][seed], 1);
}

static void *child_drain(void *arg)
{
    struct spool *spool = arg;
    struct spool_lane *lanes[LANES][2];
    for (unsigned u = 0; u < LANES; u++)
        for (unsigned s = 0; s < 2; s++)
            lanes[u][s] = kit_lane(spool, upstreams[u], (enum weir_signal)s, SPOOL_START_NOW);
    for (unsigned i = 0;; i++) {
        unsigned u = i % 4 == 0; // b is slower
        for (unsigned s = 0; s < 2; s++)
            kit_drain(spool, lanes[u][s], (enum weir_signal)s, 3, mark_delivered, &u);
    }
    return NULL;
}

// Sends and delivers until it is killed.
static void child(const char *dir)
{
    struct spool *spool = kit_open(dir, 64, NULL);
    for (unsigned u = 0; u < LANES; u++)
        for (unsigned s = 0; s < 2; s++)
            kit_lane(spool, upstreams[u], (enum weir_signal)s, SPOOL_START_NOW);
    pthread_t drainer;
    pthread_create(&drainer, NULL, child_drain, spool);
    struct kit_wait wait = KIT_WAIT;
    while (atomic_load(&shared->next_seed) < SEEDS_MAX - 10) {
        struct block *chain = NULL, **tail = &chain;
        unsigned n = 1 + (unsigned)(atomic_load(&shared->next_seed) % 3);
        for (unsigned i = 0; i < n; i++) {
            struct seed_wait *sent = malloc(sizeof(*sent));
            *sent = (struct seed_wait){&wait, atomic_fetch_add(&shared->next_seed, 1)};
            *tail = kit_block(signal_of(sent->seed), sent->seed, 1000 + sent->seed * 7919 % 90000);
            (*tail)->owner = sent;
            tail = &(*tail)->next;
        }
        pthread_mutex_lock(&wait.lock);
        wait.pending += n;
        pthread_mutex_unlock(&wait.lock);
        spool_append(spool, chain, mark_acked);
        if (n != 2) // sometimes several are on their way
            kit_join(&wait);
    }
    _exit(3);
}

// Which seeds a lane still holds, each found whole.
static void mark_pending(struct spool *spool, struct spool_lane *lane, enum weir_signal signal, uint8_t *pending)
{
    struct spool_reader *reader = spool_reader_new(spool);
    struct spool_interval in[128];
    size_t n = spool_lane_intervals(lane, in, 128);
    for (size_t i = 0; i < n; i++) {
        uint64_t from = in[i].first, skip_to;
        struct block_view view;
        struct weir_err err = {0};
        int code;
        while ((code = spool_reader_next(reader, signal, from, in[i].end, &view, &skip_to, &err)) == WEIR_OK) {
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
    struct spool_report report;
    struct spool *spool = kit_open(dir, 64, &report);
    cr_assert_eq(report.damaged, 0, "round %u", round);
    cr_assert_eq(report.lost_blocks, 0, "round %u", round);
    uint64_t seeds = atomic_load(&shared->next_seed);
    for (unsigned u = 0; u < LANES; u++) {
        uint8_t *pending = calloc(1, SEEDS_MAX);
        for (unsigned s = 0; s < 2; s++) {
            struct spool_lane *lane = kit_lane(spool, upstreams[u], (enum weir_signal)s, SPOOL_START_NOW);
            struct spool_lane_stats stats = kit_ledger(lane);
            cr_assert_eq(stats.evicted, 0);
            mark_pending(spool, lane, (enum weir_signal)s, pending);
        }
        for (uint64_t i = 0; i < seeds; i++)
            cr_assert(!atomic_load(&shared->acked[i]) || pending[i] || atomic_load(&shared->delivered[u][i]),
                      "round %u: block %llu was acknowledged, was not delivered to %s and is gone", round,
                      (unsigned long long)i, upstreams[u]);
        free(pending);
    }
    spool_close(spool);
}

Test(spool_kill, nothing_acknowledged_is_lost, .timeout = 300)
{
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(shared, MAP_FAILED);
    char *dir = kit_directory();
    uint64_t x = weir_now_ns() | 1;
    for (unsigned round = 0; round < KILLS; round++) {
        uint64_t acks = atomic_load(&shared->acks);
        pid_t pid = fork();
        if (pid == 0)
            child(dir); // an assertion in here would wait for an answer that its parent gets
        cr_assert_gt(pid, 0);
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        // The moment is the test's input: every fourth one during start-up, the others some blocks, up to a rotation, later.
        if (round % 4 != 0)
            KIT_UNTIL(atomic_load(&shared->acks) > acks + x % 16);
        struct timespec moment = {0, (long)(x % (round % 4 == 0 ? 12000000 : 20000000))};
        nanosleep(&moment, NULL);
        kill(pid, SIGKILL);
        int status;
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "round %u: the child ended by itself: %x", round,
                  status);
        verify(dir, round);
    }
    kit_remove_directory(dir);
}
