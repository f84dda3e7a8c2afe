// SPDX-License-Identifier: Apache-2.0
#include "tests/powercut/run.h"

#include <pthread.h>
#include <stdio.h>

#include "tests/powercut/clock.h"

#define APPENDERS 2u

// Of sixteen runs four have free threads, one has segments so large that they are removed in steps, four a spool without much room, two of
// these evict for room, one evicts by age, and five keep what was delivered and replay it.
struct profile run_profile(uint64_t seed)
{
    struct dice dice = {mix4(seed, 0, 0, 11)};
    struct profile p = {.max_mib = 64, .segment_mib = 1};
    p.free_threads = seed % 4 == 3;
    p.block_bytes_max = 20000 + (uint32_t)roll(&dice, 180000);
    if (seed % 16 == 5) {
        p.max_mib = 256;
        p.segment_mib = 20;
        p.block_bytes_min = 1500000;
        p.block_bytes_max = 500000;
    }
    p.evict = seed % 16 == 9 || seed % 16 == 13;
    p.small = p.evict || seed % 16 == 6 || seed % 16 == 10;
    if (p.small) {
        p.max_mib = 9 + roll(&dice, 4);
        p.block_bytes_max = 100000 + (uint32_t)roll(&dice, 300000);
    }
    if (seed % 16 >= 10 && seed % 16 <= 14)
        p.keep_ns = (1 + roll(&dice, 30)) * 1000000000ull;
    if (seed % 16 == 14)
        p.age_ns = (1 + roll(&dice, 3)) * 1000000000ull;
    p.saved =
        p.free_threads || p.age_ns != 0; // a segment that is begun for its age is begun by the writer in its own time
    return p;
}

static bool deliver_all(struct driver *d, struct dice *dice, char *why)
{
    for (unsigned lane = 0; lane < WORLD_LANES; lane++)
        if (!driver_deliver(d, lane, 1000, dice, why))
            return false;
    return true;
}

static bool reopen(struct driver *d, const char *directory, struct dice *dice, char *why)
{
    driver_close(d);
    world_promise(d->world, &(struct promise){.kind = PROMISE_SYNC});
    if (roll(dice, 3) == 0)
        d->absent ^= 2; // beta leaves the configuration, or comes back
    return driver_open(d, directory, why);
}

static bool step(struct driver *d, const char *directory, struct dice *dice, char *why)
{
    uint64_t what = roll(dice, 100);
    if (d->profile->block_bytes_min > 0) // nothing but filling and emptying, few blocks at a time
        what = what < 40 ? 0 : what < 60 ? 65 : what < 65 ? 71 : 95;
    if (what < 36) {
        if (!driver_append(d, dice, d->profile->block_bytes_min > 0 ? 2 : 1 + (unsigned)roll(dice, 4), 0) &&
            !d->profile->small)
            return snprintf(why, WHY_BYTES, "an append was refused"), false;
    } else if (what < 57) {
        unsigned lane = (unsigned)roll(dice, WORLD_LANES);
        return driver_deliver(d, lane, 1 + (unsigned)roll(dice, 20), dice, why);
    } else if (what < 66) {
        // Who delivers all has nothing to lose.
        return (d->profile->evict && roll(dice, 4) != 0) || deliver_all(d, dice, why);
    } else if (what < 72) {
        if (!driver_sync(d))
            return snprintf(why, WHY_BYTES, "the state could not be made durable"), false;
    } else if (what < 75 && (d->absent & 4)) { // gamma is new
        return driver_open_upstream(d, 2, roll(dice, 3) == 0 ? SPOOL_START_NOW : SPOOL_START_OLDEST, why);
    } else if (what < 85 && d->profile->keep_ns != 0) {
        return driver_replay(d, (unsigned)roll(dice, WORLD_LANES), dice, why);
    } else if (what < 88) {
        return driver_purge(d, dice, why);
    } else if (what < 96) {
        clock_tick(100 + roll(dice, 1000));
    } else {
        return reopen(d, directory, dice, why);
    }
    return true;
}

struct appender {
    pthread_t thread;
    struct driver *driver;
    struct dice dice;
    uint8_t stream;
    bool good;
};

static void *append_many(void *arg)
{
    struct appender *a = arg;
    a->good = true;
    for (unsigned i = 0; i < 20 && a->good; i++)
        a->good = driver_append(a->driver, &a->dice, 1 + (unsigned)roll(&a->dice, 3), a->stream);
    return NULL;
}

// Appending, delivering and the keeper's work at the same time.
static bool work_freely(struct driver *d, struct dice *dice, char *why)
{
    struct appender appenders[APPENDERS];
    bool good = true;
    for (unsigned i = 0; i < APPENDERS; i++) {
        appenders[i] = (struct appender){.driver = d, .dice = {roll(dice, UINT64_MAX)}, .stream = (uint8_t)i};
        int rc = pthread_create(&appenders[i].thread, NULL, append_many, &appenders[i]);
        assert(rc == 0);
    }
    for (unsigned i = 0; i < 60 && good; i++) {
        good = driver_deliver(d, (unsigned)roll(dice, WORLD_LANES), 6, dice, why);
        if (good && i % 8 == 0)
            good = deliver_all(d, dice, why);
        if (good && i % 5 == 0)
            good = driver_sync(d);
    }
    for (unsigned i = 0; i < APPENDERS; i++) {
        pthread_join(appenders[i].thread, NULL);
        good = good && appenders[i].good;
    }
    if (!good && why[0] == '\0')
        snprintf(why, WHY_BYTES, "an append or a commit of the state failed");
    return good;
}

bool run_workload(const struct profile *profile, uint64_t seed, const char *directory, struct world *world, char *why)
{
    struct driver d = {.world = world, .profile = profile};
    struct dice dice = {mix4(seed, 0, 0, 12)};
    d.absent = roll(&dice, 2) == 0 ? 4 : 0;
    clock_set(seed, CLOCK_BEGIN);
    clock_free_running(profile->free_threads);
    if (!driver_open(&d, directory, why))
        return false;
    bool good = true;
    if (profile->free_threads)
        good = work_freely(&d, &dice, why) && reopen(&d, directory, &dice, why) && work_freely(&d, &dice, why);
    uint64_t steps = (40 + roll(&dice, 80)) * (profile->small ? 3 : 1);
    for (uint64_t i = 0; i < steps && good && !profile->free_threads; i++)
        good = step(&d, directory, &dice, why);
    if (d.spool != NULL)
        driver_close(&d);
    return good;
}

void run_compare(const struct trace *trace, const char *directory, char *why)
{
    struct disk *disk = calloc(1, sizeof(*disk));
    assert(disk != NULL);
    disk->trace = trace;
    for (size_t i = 0; i < trace->n; i++)
        disk_apply(disk, i);
    disk_compare(disk, directory, why, WHY_BYTES);
    disk_free(disk);
    free(disk);
}

// The commit of the state before event `i`: the first of its writes. SIZE_MAX: none.
static size_t commit_before(const struct trace *trace, size_t i, uint32_t state)
{
    while (i > 0 &&
           !(trace->at[i - 1].kind == EVENT_WRITE && trace->at[i - 1].file == state && trace->at[i - 1].through))
        i--;
    if (i == 0)
        return SIZE_MAX;
    for (i--; i > 0 && trace->at[i - 1].file == state && !trace->at[i - 1].through;)
        i--;
    return i;
}

void run_unlink_first(struct trace *trace)
{
    uint32_t state = UINT32_MAX;
    for (size_t i = 0; i < trace->n; i++) {
        struct event e = trace->at[i];
        if (e.kind == EVENT_RENAME && strcmp(e.to, "state.mdb") == 0)
            state = e.file;
        if (e.kind != EVENT_UNLINK || strncmp(e.name, "seg-", 4) != 0)
            continue;
        size_t to = i;
        for (unsigned n = 0; n < 3 && to != SIZE_MAX; n++) // the keeper commits twice before it removes
            to = commit_before(trace, to, state);
        if (to == SIZE_MAX)
            continue;
        memmove(trace->at + to + 1, trace->at + to, (i - to) * sizeof(e));
        trace->at[to] = e;
    }
}
