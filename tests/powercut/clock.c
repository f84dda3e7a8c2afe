// SPDX-License-Identifier: Apache-2.0
// The keeper is the one thread of storage that waits with a deadline. Its wait is taken over here: it stands until clock_tick, or until
// spool_close waits for its end. With that, and with the driver waiting for each append, one thread works at a time.
#include "tests/powercut/clock.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tests/powercut/trace.h"

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t moved = PTHREAD_COND_INITIALIZER;
static bool free_running, standing, released;
static pthread_t keeper;
static pthread_mutex_t *keeper_mutex; // what the keeper waits with; the writer waits with it for the keeper's answer
static _Atomic uint64_t now_ns = CLOCK_BEGIN;
static _Atomic uint64_t random_state;

int clock_gettime(clockid_t id, struct timespec *ts)
{
    uint64_t ns = atomic_fetch_add(&now_ns, 1000) + (id == CLOCK_REALTIME ? 1700000000000000000ull : 0);
    ts->tv_sec = (time_t)(ns / 1000000000u);
    ts->tv_nsec = (long)(ns % 1000000000u);
    return 0;
}

static void pass(const struct timespec *by)
{
    atomic_fetch_add(&now_ns, (uint64_t)by->tv_sec * 1000000000u + (uint64_t)by->tv_nsec);
}

int nanosleep(const struct timespec *by, struct timespec *left)
{
    (void)left;
    pass(by);
    return 0;
}

ssize_t getrandom(void *p, size_t len, unsigned flags)
{
    (void)flags;
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)p)[i] = (uint8_t)mix(atomic_fetch_add(&random_state, 1));
    return (ssize_t)len;
}

int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until)
{
    (void)cond;
    (void)until;
    pthread_mutex_unlock(mutex);
    pthread_mutex_lock(&gate);
    if (free_running) {
        pthread_mutex_unlock(&gate);
        struct timespec real = {0, 200000};
        syscall(SYS_nanosleep, &real, NULL);
        pass(&(struct timespec){0, 100000000});
    } else {
        keeper = pthread_self();
        keeper_mutex = mutex;
        standing = true;
        released = false;
        pthread_cond_broadcast(&moved);
        while (!released)
            pthread_cond_wait(&moved, &gate);
        standing = false;
        pthread_mutex_unlock(&gate);
    }
    pthread_mutex_lock(mutex);
    return ETIMEDOUT;
}

static void release(void)
{
    released = true;
    pthread_cond_broadcast(&moved);
}

// The writer waits for room that the keeper makes: the keeper works once, and the writer goes on when it stands again.
int pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
    struct timespec never = {INT32_MAX, 0};
    bool answer = false;
    if (mutex != &gate) {
        pthread_mutex_lock(&gate);
        answer = standing && mutex == keeper_mutex;
        if (answer)
            release();
        pthread_mutex_unlock(&gate);
    }
    int rc = pthread_cond_clockwait(cond, mutex, CLOCK_MONOTONIC, &never);
    if (answer) {
        pthread_mutex_unlock(mutex);
        clock_settle();
        pthread_mutex_lock(mutex);
    }
    return rc;
}

// spool_close joins the writer first and then tells the keeper to stop: when it comes to wait for the keeper, the keeper may go.
int pthread_join(pthread_t thread, void **result)
{
    static int (*real)(pthread_t, void **);
    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "pthread_join");
    pthread_mutex_lock(&gate);
    if (standing && pthread_equal(thread, keeper))
        release();
    pthread_mutex_unlock(&gate);
    return real(thread, result);
}

void clock_free_running(bool yes)
{
    free_running = yes;
}

void clock_settle(void)
{
    pthread_mutex_lock(&gate);
    while (!free_running && (!standing || released))
        pthread_cond_wait(&moved, &gate);
    pthread_mutex_unlock(&gate);
}

void clock_tick(uint64_t ms)
{
    atomic_fetch_add(&now_ns, ms * 1000000u);
    if (free_running)
        return;
    clock_settle();
    pthread_mutex_lock(&gate);
    release();
    pthread_mutex_unlock(&gate);
    clock_settle();
}

void clock_set(uint64_t seed, uint64_t now)
{
    atomic_store(&random_state, mix(seed));
    atomic_store(&now_ns, now);
}

uint64_t clock_now(void)
{
    return atomic_load(&now_ns);
}
