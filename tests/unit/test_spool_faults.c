// SPDX-License-Identifier: Apache-2.0
// The disk says no at the i-th call, for every i of a short workload. The system calls below take over those inside liblmdb too.
// Whatever fails: nothing is acknowledged that is not found afterwards, nothing crashes, the ledger adds up.
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "spool_kit.h"

enum fault_kind { FAULT_EIO, FAULT_ENOSPC, FAULT_SHORT, FAULT_KINDS };

static atomic_bool armed;
static atomic_int calls;       // since armed
static atomic_int fail_at;     // the call to fail
static atomic_bool fail_on;    // and all behind it
static atomic_bool flush_only; // only fdatasync and the synchronous meta write count
static atomic_bool name_only;  // only the flush of a directory counts
static atomic_int kind;
static atomic_int failures;
static atomic_int flushes, synchronous_writes; // seen, armed or not

static bool counted_fault(void)
{
    if (!atomic_load(&armed))
        return false;
    int n = atomic_fetch_add(&calls, 1), at = atomic_load(&fail_at);
    bool now = n == at || (n > at && atomic_load(&fail_on));
    if (now)
        atomic_fetch_add(&failures, 1);
    return now;
}

static bool fault(void)
{
    return !atomic_load(&name_only) && counted_fault();
}

static int fault_errno(void)
{
    return atomic_load(&kind) == FAULT_ENOSPC ? ENOSPC : EIO;
}

static int failed(void)
{
    errno = fault_errno();
    return -1;
}

static ssize_t failed_write(size_t len, size_t *allowed)
{
    if (atomic_load(&kind) != FAULT_SHORT)
        return failed();
    *allowed = len / 2;
    return 0;
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
    if (fcntl(fd, F_GETFL) & O_DSYNC)
        atomic_fetch_add(&synchronous_writes, 1);
    if (!atomic_load(&flush_only) && fault() && failed_write(len, &len) < 0)
        return -1;
    return syscall(SYS_pwrite64, fd, data, len, offset);
}
ssize_t pwrite64(int fd, const void *data, size_t len, off64_t offset)
{
    return pwrite(fd, data, len, offset);
}
ssize_t writev(int fd, const struct iovec *iov, int n)
{
    size_t len = 0;
    if (!atomic_load(&flush_only) && fault()) {
        if (failed_write(iov[0].iov_len, &len) < 0)
            return -1;
        return syscall(SYS_write, fd, iov[0].iov_base, len);
    }
    return syscall(SYS_writev, fd, iov, n);
}
ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
    return !atomic_load(&flush_only) && fault() ? failed() : syscall(SYS_pwritev, fd, iov, n, offset, 0);
}
int fdatasync(int fd)
{
    atomic_fetch_add(&flushes, 1);
    return fault() ? failed() : (int)syscall(SYS_fdatasync, fd);
}
int fsync(int fd)
{
    return counted_fault() ? failed() : (int)syscall(SYS_fsync, fd);
}
int ftruncate(int fd, off_t len)
{
    return !atomic_load(&flush_only) && fault() ? failed() : (int)syscall(SYS_ftruncate, fd, len);
}
int ftruncate64(int fd, off64_t len)
{
    return ftruncate(fd, len);
}
int truncate(const char *path, off_t len)
{
    return !atomic_load(&flush_only) && fault() ? failed() : (int)syscall(SYS_truncate, path, len);
}
int posix_fallocate(int fd, off_t offset, off_t len)
{
    if (!atomic_load(&flush_only) && fault())
        return fault_errno();
    return syscall(SYS_fallocate, fd, 0, offset, len) == 0 ? 0 : errno;
}
int posix_fallocate64(int fd, off64_t offset, off64_t len)
{
    return posix_fallocate(fd, offset, len);
}
int rename(const char *from, const char *to)
{
    return !atomic_load(&flush_only) && fault() ? failed() : (int)syscall(SYS_rename, from, to);
}
int unlink(const char *path)
{
    return !atomic_load(&flush_only) && fault() ? failed() : (int)syscall(SYS_unlink, path);
}
int open(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    if (strstr(path, "weir-spool") != NULL && !atomic_load(&flush_only) && fault())
        return failed();
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return open(path, flags, mode);
}

static void arm(int at, enum fault_kind what, bool on)
{
    atomic_store(&calls, 0);
    atomic_store(&failures, 0);
    atomic_store(&fail_at, at);
    atomic_store(&kind, (int)what);
    atomic_store(&fail_on, on);
    atomic_store(&armed, true);
}

#define BLOCKS 10u

struct seeds {
    bool acked[BLOCKS * 4], found[BLOCKS * 4];
    uint64_t number[BLOCKS * 4]; // at which a seed was seen
};

static void seen(void *ctx, uint64_t number, uint64_t seed)
{
    struct seeds *seeds = ctx;
    cr_assert_lt(seed, WEIR_COUNT(seeds->found));
    seeds->found[seed] = true;
    seeds->number[seed] = number;
}

struct sent {
    struct kit_wait *wait;
    struct seeds *seeds;
    uint64_t seed;
};

static void acked(struct block *block, int result)
{
    struct sent *sent = block->owner;
    cr_assert(result == WEIR_OK || result == WEIR_E_IO || result == WEIR_E_FULL);
    if (result == WEIR_OK)
        sent->seeds->acked[sent->seed] = true;
    block->owner = sent->wait;
    free(sent);
    kit_done(block, result);
}

static void send_blocks(struct spool *spool, struct kit_wait *wait, struct seeds *seeds, uint64_t first, unsigned n,
                        size_t len)
{
    struct block *chain = NULL, **tail = &chain;
    for (unsigned i = 0; i < n; i++) {
        struct sent *sent = malloc(sizeof(*sent));
        *sent = (struct sent){wait, seeds, first + i};
        *tail = kit_block((first + i) % 3 == 0 ? WEIR_METRICS : WEIR_TRACES, first + i, len);
        (*tail)->owner = sent;
        tail = &(*tail)->next;
    }
    pthread_mutex_lock(&wait->lock);
    wait->pending += n;
    pthread_mutex_unlock(&wait->lock);
    spool_append(spool, chain, acked);
}

// Opens, appends across two rotations, delivers some, buries one, closes. Everything may fail and nothing may break.
static void workload(const char *dir, struct seeds *seeds)
{
    struct kit_wait wait = KIT_WAIT;
    struct spool_options options = kit_options(dir, 64);
    struct weir_err err = {0};
    struct spool *spool;
    struct spool_lane *traces = NULL, *metrics = NULL;
    if (spool_open(&options, &spool, NULL, &err) != WEIR_OK) {
        cr_assert_neq(err.text[0], '\0');
        return;
    }
    bool lanes = spool_lane_open(spool, "a", WEIR_TRACES, SPOOL_START_NOW, &traces, &err) == WEIR_OK &&
                 spool_lane_open(spool, "a", WEIR_METRICS, SPOOL_START_NOW, &metrics, &err) == WEIR_OK;
    for (unsigned i = 0; lanes && i < BLOCKS; i += 2) {
        send_blocks(spool, &wait, seeds, i, 2, 150000);
        kit_join(&wait);
        if (i == 4) {
            kit_drain(spool, traces, WEIR_TRACES, 2, seen, seeds);
            struct spool_dead_letter letter = {.upstream = "a", .code = "c", .message = "m", .items = 1};
            spool_dead_letter_put(spool, &letter, &err);
            spool_sync_state(spool, &err);
        }
        kit_ledger(traces);
        kit_ledger(metrics);
    }
    spool_close(spool);
}

// With a disk that works again: what was acknowledged is there, each under one number, and the ledger adds up.
static void verify(const char *dir, struct seeds *seeds, int at)
{
    struct spool *spool = kit_open(dir, 64, NULL);
    struct spool_lane *lanes[2] = {kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW),
                                   kit_lane(spool, "a", WEIR_METRICS, SPOOL_START_NOW)};
    struct kit_wait wait = KIT_WAIT;
    send_blocks(spool, &wait, seeds, BLOCKS, 2, 1000); // and it goes on
    kit_join(&wait);
    cr_assert_eq(wait.failed, 0);
    for (unsigned i = 0; i < 2; i++) {
        kit_ledger(lanes[i]);
        kit_drain(spool, lanes[i], i == 0 ? WEIR_TRACES : WEIR_METRICS, 1000, seen, seeds);
        struct spool_lane_stats s = kit_ledger(lanes[i]);
        cr_assert_eq(s.pending, 0);
    }
    for (unsigned i = 0; i < BLOCKS + 2; i++) {
        cr_assert(!seeds->acked[i] || seeds->found[i], "call %d: block %u was acknowledged and is not there", at, i);
        for (unsigned j = 0; j < i; j++)
            cr_assert(!seeds->found[i] || !seeds->found[j] || seeds->number[i] != seeds->number[j],
                      "call %d: blocks %u and %u under one number", at, i, j);
    }
    spool_close(spool);
}

static void every_call(enum fault_kind what, bool on)
{
    char *dir = kit_fast_directory();
    if (dir == NULL)
        dir = kit_directory();
    int last = 0;
    for (int i = 0;; i++) {
        struct seeds seeds = {0};
        arm(i, what, on);
        workload(dir, &seeds);
        atomic_store(&armed, false);
        last = i;
        if (atomic_load(&failures) == 0)
            break;
        verify(dir, &seeds, i);
        kit_empty_directory(dir);
    }
    cr_assert_gt(last, 60, "the workload makes calls: %d", last);
    kit_remove_directory(dir);
}

Test(spool_faults, eio_once, .timeout = 300)
{
    every_call(FAULT_EIO, false);
}
Test(spool_faults, eio_from_then_on, .timeout = 300)
{
    every_call(FAULT_EIO, true);
}
Test(spool_faults, enospc_once, .timeout = 300)
{
    every_call(FAULT_ENOSPC, false);
}
Test(spool_faults, enospc_from_then_on, .timeout = 300)
{
    every_call(FAULT_ENOSPC, true);
}
Test(spool_faults, short_write_once, .timeout = 300)
{
    every_call(FAULT_SHORT, false);
}

// Flushes fail for a while: refused and failed, then by itself well again.
Test(spool_faults, heals_when_the_disk_does)
{
    char *dir = kit_directory();
    struct seeds seeds = {0};
    struct kit_wait wait = KIT_WAIT;
    struct spool *spool = kit_open(dir, 64, NULL);
    struct spool_lane *traces = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    kit_lane(spool, "a", WEIR_METRICS, SPOOL_START_NOW);
    send_blocks(spool, &wait, &seeds, 0, 2, 1000);
    cr_assert_eq(kit_join(&wait), WEIR_OK);
    atomic_store(&flush_only, true);
    arm(0, FAULT_EIO, true);
    send_blocks(spool, &wait, &seeds, 2, 3, 1000);
    cr_assert_eq(kit_join(&wait), WEIR_E_IO);
    cr_assert_eq(spool_state_now(spool), SPOOL_FAILED);
    struct spool_stats stats;
    spool_stats_get(spool, &stats);
    cr_assert_neq(stats.reason[0], '\0');
    cr_assert_geq(stats.commit_failures, 1);
    send_blocks(spool, &wait, &seeds, 5, 1, 1000);
    cr_assert_eq(kit_join(&wait), WEIR_E_IO);
    kit_ledger(traces);
    // A delivery that cannot be recorded is counted and recorded later.
    uint64_t first = 0;
    spool_lane_settle(traces, first, first + 1, &(struct spool_outcome){.delivered = 1});
    cr_assert_neq(spool_sync_state(spool, NULL), WEIR_OK);
    KIT_UNTIL((spool_stats_get(spool, &stats), stats.state_failures) > 0);
    atomic_store(&armed, false);
    KIT_UNTIL(spool_sync_state(spool, NULL) == WEIR_OK);
    KIT_UNTIL(spool_state_now(spool) == SPOOL_OK);
    send_blocks(spool, &wait, &seeds, 6, 2, 1000);
    cr_assert_eq(kit_join(&wait), WEIR_OK);
    spool_close(spool);
    atomic_store(&flush_only, false);
    verify(dir, &seeds, -1);
    cr_assert(seeds.acked[6] && seeds.acked[7]);
    kit_remove_directory(dir);
}

// A delivery in a segment that cannot be opened just now: it counts later, and nothing that is pending looks passed meanwhile.
Test(spool_faults, a_delivery_is_entered_when_its_segment_can_be_read)
{
    char *dir = kit_directory();
    struct seeds seeds = {0};
    struct kit_wait wait = KIT_WAIT;
    struct spool *spool = kit_open(dir, 64, NULL);
    kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    send_blocks(spool, &wait, &seeds, 0, 20, 150000);
    cr_assert_eq(kit_join(&wait), WEIR_OK);
    spool_close(spool);
    spool = kit_open(dir, 64, NULL);
    struct spool_lane *lane = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    struct spool_lane_stats before = kit_ledger(lane);
    arm(0, FAULT_EIO, true);
    spool_lane_settle(lane, 7, 8, &(struct spool_outcome){.delivered = kit_items(7)});
    struct spool_lane_stats s = kit_ledger(lane);
    atomic_store(&armed, false);
    cr_assert_eq(s.evicted, 0);
    cr_assert_eq(s.pending, before.pending);
    KIT_UNTIL(kit_ledger(lane).delivered == kit_items(7));
    s = kit_ledger(lane);
    cr_assert_eq(s.evicted, 0);
    cr_assert_eq(s.pending, before.pending - kit_items(7));
    spool_close(spool);
    kit_remove_directory(dir);
}

// The next segment has its name already when the flush of the directory fails. What the segment before it still had room for would lie
// behind that name after a restart: nothing may be acknowledged there.
Test(spool_faults, the_flush_of_a_name_fails)
{
    char *dir = kit_directory();
    struct seeds seeds = {0};
    struct kit_wait wait = KIT_WAIT;
    struct spool *spool = kit_open(dir, 64, NULL);
    kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    kit_lane(spool, "a", WEIR_METRICS, SPOOL_START_NOW);
    send_blocks(spool, &wait, &seeds, 0, 5, 150000);
    cr_assert_eq(kit_join(&wait), WEIR_OK);
    atomic_store(&name_only, true);
    arm(0, FAULT_EIO, false);
    send_blocks(spool, &wait, &seeds, 5, 1, 150000);
    cr_assert_eq(kit_join(&wait), WEIR_E_IO);
    cr_assert_eq(atomic_load(&failures), 1);
    atomic_store(&armed, false);
    atomic_store(&name_only, false);
    send_blocks(spool, &wait, &seeds, 6, 1, 1000);
    cr_assert_eq(kit_join(&wait), WEIR_OK);
    send_blocks(spool, &wait, &seeds, 7, 1, 150000);
    cr_assert_eq(kit_join(&wait), WEIR_OK);
    spool_close(spool);
    verify(dir, &seeds, 0);
    kit_remove_directory(dir);
}

// Default durability: the data is flushed, then the meta page is written through, before the acknowledgement.
Test(spool_faults, an_acknowledgement_comes_after_the_flushes)
{
    char *dir = kit_directory();
    struct spool *spool = kit_open(dir, 64, NULL);
    cr_assert_eq(kit_append(spool, WEIR_TRACES, 0, 1000), WEIR_OK);
    // The keeper writes the next segment ahead, and flushes too: wait until it has done so.
    struct spool_stats stats;
    KIT_UNTIL((spool_stats_get(spool, &stats), atomic_load(&flushes) >= 8));
    for (uint64_t i = 1; i < 20; i++) {
        int flushed = atomic_load(&flushes), written = atomic_load(&synchronous_writes);
        cr_assert_eq(kit_append(spool, WEIR_TRACES, i, 1000), WEIR_OK);
        cr_assert_geq(atomic_load(&flushes), flushed + 1);
        cr_assert_geq(atomic_load(&synchronous_writes), written + 1);
    }
    spool_close(spool);
    kit_remove_directory(dir);
}
