// SPDX-License-Identifier: Apache-2.0
// How much disk the spool takes, what it does with less of it, and settlements that must wait.
#include <errno.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "retention_rig.h"
#include "storage/dead_letter.h"

// Takes libc's place: a file system that became read-only.
static atomic_bool read_only;

static bool refuse(void)
{
    if (!atomic_load(&read_only))
        return false;
    errno = EROFS;
    return true;
}
ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
    return refuse() ? -1 : syscall(SYS_pwrite64, fd, data, len, offset);
}
ssize_t writev(int fd, const struct iovec *iov, int n)
{
    return refuse() ? -1 : syscall(SYS_writev, fd, iov, n);
}
ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
    return refuse() ? -1 : syscall(SYS_pwritev, fd, iov, n, offset, 0);
}

// A disk of so many bytes, 0: the real one.
static _Atomic uint64_t disk_bytes;
static const char *disk_directory;

int fstatvfs(int fd, struct statvfs *out)
{
    (void)fd;
    if (atomic_load(&disk_bytes) == 0)
        return statvfs("/tmp", out);
    uint64_t used = rig_disk_bytes(disk_directory), all = atomic_load(&disk_bytes);
    *out = (struct statvfs){.f_bsize = 4096, .f_frsize = 4096};
    out->f_bavail = used < all ? (all - used) / 4096 : 0;
    return 0;
}

static void count_anew(struct spool *spool)
{
    atomic_store(&spool->look_wanted, true);
    KIT_UNTIL(!atomic_load(&spool->look_wanted));
}

Test(spool_space, every_file_counts, .timeout = 60)
{
    char *dir = kit_directory(), path[600];
    struct spool_options options = rig_options(dir, 64);
    struct spool *spool = rig_open(&options);
    struct spool_lane *a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    rig_fill(spool, 0, 21);
    struct spool_dead_letter letter = {.upstream = "a", .code = "c", .message = "m", .items = 1};
    cr_assert_eq(spool_dead_letter_put(spool, &letter, NULL), WEIR_OK);
    KIT_UNTIL(rig_stats(spool).used_bytes == rig_disk_bytes(dir));
    // A person's file, and a damaged one: seen when the directory is looked at.
    snprintf(path, sizeof(path), "%s/seg-00000000000000000099.mdb.damaged", dir);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    cr_assert_eq(posix_fallocate(fd, 0, 3 * MIB), 0);
    close(fd);
    uint64_t before = rig_stats(spool).used_bytes;
    count_anew(spool);
    KIT_UNTIL(rig_stats(spool).used_bytes >= before + 3 * MIB && rig_stats(spool).used_bytes == rig_disk_bytes(dir));
    cr_expect_eq(rig_stats(spool).damaged_files, 1);
    unlink(path);
    count_anew(spool);
    // Segments that go count no more.
    rig_deliver(a, 0, 20);
    KIT_UNTIL(kit_files(dir, "seg-", NULL, 0) == 1 && rig_stats(spool).used_bytes == rig_disk_bytes(dir));
    cr_expect_eq(rig_stats(spool).damaged_files, 0);
    spool_close(spool);
    kit_remove_directory(dir);
}

static uint64_t fill_until_refused(struct spool *spool, uint64_t seed)
{
    while (kit_append(spool, WEIR_TRACES, seed, BLOCK_BYTES) == WEIR_OK)
        seed++;
    return seed;
}

Test(spool_space, a_smaller_limit_after_a_restart, .timeout = 120)
{
    char *dir = kit_directory();
    struct spool_options options = rig_options(dir, 24);
    struct spool *spool = rig_open(&options);
    kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    uint64_t end = fill_until_refused(spool, 0);
    cr_expect_gt(end, 25);
    cr_expect_leq(rig_disk_bytes(dir), 24 * MIB);
    KIT_UNTIL(rig_stats(spool).state == SPOOL_FULL);
    spool_close(spool);
    // Refuse: it starts, says so, loses nothing, and takes data again when enough was delivered.
    options.max_bytes = 12 * MIB;
    spool = rig_open(&options);
    struct spool_lane *a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    struct spool_stats stats = rig_stats(spool);
    cr_expect_eq(stats.state, SPOOL_FULL);
    cr_expect(strstr(stats.reason, "12582912") != NULL, "%s", stats.reason);
    cr_expect_eq(kit_append(spool, WEIR_TRACES, end, BLOCK_BYTES), WEIR_E_FULL);
    cr_expect_eq(kit_ledger(a).pending, rig_items(0, end));
    cr_expect_eq(kit_drain(spool, a, WEIR_TRACES, 2, NULL, NULL), 2);
    spool_close(spool);
    // Evict: it starts with what fits.
    options.evict_oldest = true;
    spool = rig_open(&options);
    a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    cr_expect_eq(rig_stats(spool).state, SPOOL_OK);
    cr_expect_leq(rig_disk_bytes(dir), 12 * MIB);
    cr_expect_gt(rig_event_count(), 3);
    cr_expect_eq(kit_ledger(a).evicted, rig_events.items[SPOOL_LOSS_FULL]);
    cr_expect_eq(kit_append(spool, WEIR_TRACES, end, BLOCK_BYTES), WEIR_OK);
    spool_close(spool);
    // More again.
    options = rig_options(dir, 64);
    spool = rig_open(&options);
    rig_fill(spool, end + 1, end + 30);
    spool_close(spool);
    kit_remove_directory(dir);
}

Test(spool_space, draining_makes_room_by_itself, .timeout = 120)
{
    char *dir = kit_directory();
    struct spool_options options = rig_options(dir, 12);
    struct spool *spool = rig_open(&options);
    struct spool_lane *a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    uint64_t end = fill_until_refused(spool, 0);
    KIT_UNTIL(rig_stats(spool).state == SPOOL_FULL);
    kit_drain(spool, a, WEIR_TRACES, 4, NULL, NULL);
    KIT_UNTIL(rig_stats(spool).state == SPOOL_OK);
    rig_fill(spool, end, end + 2);
    cr_expect_eq(kit_ledger(a).evicted, 0);
    spool_close(spool);
    kit_remove_directory(dir);
}

Test(spool_space, a_full_disk_refuses_and_a_grown_one_is_used, .timeout = 120)
{
    char *dir = kit_directory();
    disk_directory = dir;
    atomic_store(&disk_bytes, 24 * MIB); // 8 of them are never touched
    struct spool_options options = rig_options(dir, 1000);
    struct spool *spool = rig_open(&options);
    struct spool_lane *a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    uint64_t end = fill_until_refused(spool, 0);
    cr_expect_leq(rig_disk_bytes(dir), 16 * MIB);
    KIT_UNTIL(rig_stats(spool).state == SPOOL_FULL);
    cr_expect(strstr(rig_stats(spool).reason, "the disk of") != NULL, "%s", rig_stats(spool).reason);
    cr_expect_eq(kit_drain(spool, a, WEIR_TRACES, 1, NULL, NULL), 1);
    cr_expect_eq(spool_sync_state(spool, NULL), WEIR_OK); // deliveries are recorded
    atomic_store(&disk_bytes, 28 * MIB);
    KIT_UNTIL(rig_stats(spool).state == SPOOL_OK);
    uint64_t more = fill_until_refused(spool, end + 1);
    cr_expect_gt(more, end + 4);
    spool_close(spool);
    // The same disk, and the oldest may go: nobody is refused.
    options.evict_oldest = true;
    spool = rig_open(&options);
    a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    rig_fill(spool, more + 1, more + 30);
    // File by file, while one goes and another one is made: a single reading may count both.
    KIT_UNTIL(rig_disk_bytes(dir) <= 20 * MIB);
    cr_expect_gt(kit_ledger(a).evicted_by[SPOOL_LOSS_FULL], 0);
    spool_close(spool);
    kit_remove_directory(dir);
}

Test(spool_space, kept_data_makes_room_for_dead_letters, .timeout = 120)
{
    char *dir = kit_directory();
    struct spool_options options = rig_options(dir, 32);
    options.dead_letter_bytes = 16 * MIB;
    options.keep_delivered_ns = UINT64_MAX;
    struct spool *spool = rig_open(&options);
    struct spool_lane *a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    for (uint64_t i = 0; i < 60; i++) {
        rig_fill(spool, i, i + 1);
        rig_deliver(a, i, i + 1);
    }
    uint8_t *raw = malloc(MIB);
    for (unsigned i = 0; i < 12; i++) { // far beyond their reserve of 1 MiB
        kit_fill(raw, MIB, i);
        struct spool_dead_letter letter = {
            .upstream = "a", .code = "c", .message = "m", .items = 1, .block = i, .raw = {raw, MIB}};
        KIT_UNTIL(spool_dead_letter_put(spool, &letter, NULL) == WEIR_OK); // tried again, as the relay does
        cr_assert_leq(rig_disk_bytes(dir), 32 * MIB);
    }
    free(raw);
    cr_expect_eq(rig_stats(spool).dead_letter_requests, 12);
    rig_fill(spool, 60, 64);
    spool_close(spool);
    cr_expect_eq(rig_event_count(), 0);
    kit_remove_directory(dir);
}

Test(spool_space, dead_letters_stay_within_the_whole, .timeout = 120)
{
    char *dir = kit_directory();
    struct spool_options options = rig_options(dir, 32);
    options.dead_letter_bytes = 16 * MIB; // more than there will be room for
    struct spool *spool = rig_open(&options);
    struct spool_lane *a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    fill_until_refused(spool, 0);
    uint8_t *raw = malloc(100000);
    unsigned stored = 0;
    for (int code = WEIR_OK; code == WEIR_OK && stored < 200; stored += code == WEIR_OK) {
        kit_fill(raw, 100000, stored);
        struct spool_dead_letter letter = {
            .upstream = "nobody", .code = "c", .message = "m", .items = 1, .block = stored, .raw = {raw, 100000}};
        code = spool_dead_letter_put(spool, &letter, NULL);
        cr_assert(code == WEIR_OK || code == WEIR_E_FULL);
        cr_assert_leq(rig_disk_bytes(dir), 32 * MIB);
    }
    cr_expect(stored >= 8 && stored < 150, "%u", stored); // their reserve, a 32nd of all, and what else there was
    cr_expect_eq(rig_stats(spool).dead_letter_requests, stored);
    // Nothing else can give them room, and what comes next is newer: the oldest of them go.
    for (unsigned i = 0; i < 3; i++) {
        struct spool_dead_letter letter = {
            .upstream = "nobody", .code = "c", .message = "m", .items = 1, .block = 500 + i, .raw = {raw, 100000}};
        KIT_UNTIL(spool_dead_letter_put(spool, &letter, NULL) == WEIR_OK); // tried again, as the relay does
        cr_assert_leq(rig_disk_bytes(dir), 33 * MIB);
    }
    cr_expect_gt(rig_stats(spool).dead_letters_evicted, 0);
    // When there is room again they get it.
    kit_drain(spool, a, WEIR_TRACES, 1000, NULL, NULL);
    KIT_UNTIL(kit_files(dir, "seg-", NULL, 0) == 1);
    struct spool_dead_letter letter = {
        .upstream = "nobody", .code = "c", .message = "m", .items = 1, .block = 999, .raw = {raw, 100000}};
    cr_expect_eq(spool_dead_letter_put(spool, &letter, NULL), WEIR_OK);
    free(raw);
    spool_close(spool);
    kit_remove_directory(dir);
}

Test(spool_space, a_read_only_disk_is_named_and_heals, .timeout = 60)
{
    char *dir = kit_directory();
    struct spool_options options = rig_options(dir, 64);
    struct spool *spool = rig_open(&options);
    struct spool_lane *a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    rig_fill(spool, 0, 3);
    atomic_store(&read_only, true);
    rig_deliver(a, 0, 1); // the state cannot be written: nobody needs to append for this to be seen
    KIT_UNTIL(spool_state_now(spool) == SPOOL_READ_ONLY);
    cr_expect(strstr(rig_stats(spool).reason, "Read-only") != NULL, "%s", rig_stats(spool).reason);
    cr_expect_neq(kit_append(spool, WEIR_TRACES, 3, BLOCK_BYTES), WEIR_OK);
    cr_expect_eq(spool_state_now(spool), SPOOL_READ_ONLY);
    cr_expect_eq(kit_drain(spool, a, WEIR_TRACES, 1, NULL, NULL), 1); // reading goes on
    atomic_store(&read_only, false);
    KIT_UNTIL(spool_state_now(spool) == SPOOL_OK);
    rig_fill(spool, 4, 6);
    kit_ledger(a);
    spool_close(spool);
    kit_remove_directory(dir);
}

Test(spool_space, settlements_of_too_many_intervals_wait, .timeout = 60)
{
    char *dir = kit_directory();
    struct spool_options options = rig_options(dir, 64);
    struct spool *spool = rig_open(&options);
    struct spool_lane *a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    struct kit_wait wait = KIT_WAIT;
    for (uint64_t i = 0; i < 400; i++)
        kit_send(spool, &wait, kit_block(WEIR_TRACES, i, 100));
    cr_assert_eq(kit_join(&wait), WEIR_OK);
    uint64_t delivered = 0;
    for (uint64_t i = 1; i < 300; i += 2) { // every other one: the 128th hole is one too many
        rig_deliver(a, i, i + 1);
        delivered += kit_items(i);
        kit_ledger(a);
    }
    cr_expect_eq(spool_lane_intervals(a, NULL, 0), 128);
    cr_expect_eq(rig_stats(spool).settlements_waiting, 150 - 127);
    cr_expect_lt(kit_ledger(a).delivered, delivered);
    rig_deliver(a, 301, 320); // neighbours of nothing
    rig_deliver(a, 320, 330); // of that: no room of its own
    cr_expect_eq(rig_stats(spool).settlements_waiting, 150 - 127 + 1);
    delivered += rig_items(301, 330);
    for (uint64_t i = 0; i < 100; i += 2) { // holes close
        rig_deliver(a, i, i + 1);
        delivered += kit_items(i);
    }
    KIT_UNTIL(rig_stats(spool).settlements_waiting == 0);
    cr_expect_eq(kit_ledger(a).delivered, delivered);
    cr_expect_eq(rig_stats(spool).settlements_dropped, 0);
    spool_close(spool);
    spool = rig_open(&options);
    cr_expect_eq(kit_ledger(kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW)).delivered, delivered);
    spool_close(spool);
    kit_remove_directory(dir);
}
