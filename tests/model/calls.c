// SPDX-License-Identifier: Apache-2.0
#include "tests/model/calls.h"

#include <pthread.h>
#include <stdatomic.h>

#include "tests/model/power.h"
#include "tests/unit/fault_calls.h"

static atomic_bool dying, dead, torn_write, no_space;
static atomic_int calls_left, flushes_left, metas_left;
static atomic_uint failed;

static bool changes_disk(const struct fault_at *at)
{
    return at->call < FAULT_READ && (at->call != FAULT_OPEN || (at->flags & (O_CREAT | O_TRUNC)) != 0);
}

static bool grows(const struct fault_at *at)
{
    struct stat st;
    return at->call == FAULT_WRITE && fstat(at->fd, &st) == 0 && at->offset + (off_t)at->len > st.st_size;
}

static bool one_of(atomic_int *left)
{
    return atomic_load(left) > 0 && atomic_fetch_sub(left, 1) > 0;
}

// --- a disk that lies -----------------------------------------------------------------------------------------------------

static struct lie {
    ino_t inode;
    int fd; // of our own: LMDB closes its
    off_t offset;
    size_t len;
    char before[512];
} lies[64];
static size_t lies_n;
static bool lying;
static pthread_mutex_t lies_lock = PTHREAD_MUTEX_INITIALIZER;

void calls_lie(bool on)
{
    lying = on;
}

static void note_lie(const struct fault_at *at)
{
    struct stat st;
    char path[64], name[256] = "";
    if (!lying || at->call != FAULT_META || at->len > sizeof(lies[0].before) || fstat(at->fd, &st) != 0)
        return;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", at->fd); // which is open for writing alone
    if (readlink(path, name, sizeof(name) - 1) < 0 || strstr(name, "/state.") != NULL)
        return;
    pthread_mutex_lock(&lies_lock);
    size_t i = 0;
    while (i < lies_n && lies[i].inode != st.st_ino)
        i++;
    if (i == lies_n && lies_n < sizeof(lies) / sizeof(lies[0]))
        lies[lies_n++] = (struct lie){.inode = st.st_ino, .fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR)};
    if (i < lies_n) {
        lies[i].offset = at->offset;
        lies[i].len = at->len;
        if (syscall(SYS_pread64, lies[i].fd, lies[i].before, at->len, at->offset) != (long)at->len)
            lies[i].len = 0;
    }
    pthread_mutex_unlock(&lies_lock);
}

static void tell_truth(void)
{
    for (size_t i = 0; i < lies_n; i++) {
        if (syscall(SYS_pwrite64, lies[i].fd, lies[i].before, lies[i].len, lies[i].offset) < 0)
            errno = 0; // a file that is gone
        close(lies[i].fd);
    }
    lies_n = 0;
}

static bool skipping;
static unsigned power_seed; // 0: the power stays

void calls_skip_flushes(bool on)
{
    skipping = on;
}

void calls_cut_power(unsigned seed)
{
    power_seed = seed;
}

static int decide(struct fault_at *at)
{
    if (atomic_load(&dead) && changes_disk(at))
        return EIO;
    if (atomic_load(&dying) && changes_disk(at) && atomic_fetch_sub(&calls_left, 1) <= 0) {
        atomic_store(&dead, true);
        if (!atomic_load(&torn_write) || (at->call != FAULT_WRITE && at->call != FAULT_META))
            return EIO;
        atomic_fetch_add(&failed, 1);
        at->len /= 2;
        return 0;
    }
    if (atomic_load(&no_space) && (at->call == FAULT_ALLOCATE || grows(at)))
        return ENOSPC;
    if ((at->call == FAULT_FLUSH && one_of(&flushes_left)) || (at->call == FAULT_META && one_of(&metas_left)))
        return EIO;
    return 0;
}

static int fault_ask(struct fault_at *at)
{
    int code = decide(at);
    if (code != 0) {
        atomic_fetch_add(&failed, 1);
        return code;
    }
    note_lie(at);
    if (at->call == FAULT_WRITE)
        power_note(at->fd, at->offset, at->len);
    else if (at->call == FAULT_FLUSH && !skipping)
        power_flushed(at->fd);
    return 0;
}

void calls_die_after(unsigned calls, bool torn)
{
    atomic_store(&calls_left, (int)calls);
    atomic_store(&torn_write, torn);
    atomic_store(&dying, true);
}

void calls_die_now(void)
{
    atomic_store(&dead, true);
}

bool calls_dead(void)
{
    return atomic_load(&dead);
}

void calls_no_space(bool on)
{
    atomic_store(&no_space, on);
}

void calls_fail_flushes(int n, bool meta)
{
    atomic_store(meta ? &metas_left : &flushes_left, n);
}

void calls_heal(void)
{
    if (atomic_load(&dead)) {
        tell_truth();
        if (power_seed != 0)
            power_cut(power_seed);
        power_seed = 0;
    }
    atomic_store(&dying, false);
    atomic_store(&dead, false);
    atomic_store(&no_space, false);
    atomic_store(&flushes_left, 0);
    atomic_store(&metas_left, 0);
}

unsigned calls_failed(void)
{
    return atomic_load(&failed);
}
