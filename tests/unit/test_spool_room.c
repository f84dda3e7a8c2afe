// SPDX-License-Identifier: Apache-2.0
// Room that eviction cannot make, and segments that cannot go: nothing is lost in vain, and one bad file does not hold up the rest.
#include <errno.h>
#include <stdarg.h>
#include <sys/syscall.h>

#include "retention_rig.h"
#include "storage/file_read.h"
#include "storage/space.h"

// Takes libc's place: a file that cannot be opened now, or that the disk cannot read.
static char closed_name[64];
static atomic_bool closed;
static _Atomic ino_t bad_inode;

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    unsigned mode = va_arg(args, unsigned);
    va_end(args);
    if (atomic_load(&closed) && strstr(path, closed_name) != NULL) {
        errno = EMFILE;
        return -1;
    }
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

ssize_t pread(int fd, void *out, size_t len, off_t offset)
{
    struct stat st;
    if (atomic_load(&bad_inode) != 0 && fstat(fd, &st) == 0 && st.st_ino == atomic_load(&bad_inode)) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_pread64, fd, out, len, offset);
}

static void segment_path(const char *dir, uint64_t first, char out[700])
{
    char name[64];
    snprintf(name, sizeof(name), SPOOL_SEGMENT_NAME, (unsigned long long)first);
    snprintf(out, 700, "%s/%s", dir, name);
}

static void count_anew(struct spool *spool)
{
    atomic_store(&spool->look_wanted, true);
    KIT_UNTIL(!atomic_load(&spool->look_wanted));
}

static uint64_t fill_until_refused(struct spool *spool, uint64_t seed, uint64_t most)
{
    for (most += seed; seed < most && kit_append(spool, WEIR_TRACES, seed, BLOCK_BYTES) == WEIR_OK;)
        seed++;
    return seed;
}

Test(spool_room, what_others_take_is_not_made_room_for, .timeout = 120)
{
    char *dir = kit_directory(), path[700];
    struct spool_options options = rig_options(dir, 24);
    options.evict_oldest = true;
    struct spool *spool = rig_open(&options);
    struct spool_lane *a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    rig_fill(spool, 0, 12);
    snprintf(path, sizeof(path), "%s/seg-00000000000000000099.mdb.damaged", dir);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    cr_assert_eq(posix_fallocate(fd, 0, 20 * MIB), 0);
    close(fd);
    count_anew(spool);
    uint64_t end = fill_until_refused(spool, 12, 40);
    cr_expect_lt(end, 20);
    KIT_UNTIL(rig_stats(spool).state == SPOOL_FULL);
    cr_expect_eq(kit_ledger(a).evicted, 0, "%llu items went, and made no room",
                 (unsigned long long)kit_ledger(a).evicted);
    // With the file away it goes on as it should.
    unlink(path);
    count_anew(spool);
    KIT_UNTIL(rig_stats(spool).state == SPOOL_OK);
    rig_fill(spool, end, end + 60);
    cr_expect_gt(kit_ledger(a).evicted_by[SPOOL_LOSS_FULL], 0);
    spool_close(spool);
    kit_remove_directory(dir);
}

Test(spool_room, a_damaged_segment_makes_none, .timeout = 120)
{
    char *dir = kit_directory(), path[700];
    struct spool_options options = rig_options(dir, 16);
    options.evict_oldest = true;
    struct spool *spool = rig_open(&options);
    kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    rig_fill(spool, 0, 10);
    spool_close(spool);
    for (uint64_t first = 0; first < 6; first += 2) { // in the middle of a block
        segment_path(dir, first, path);
        int fd = open(path, O_RDWR);
        cr_assert_eq(pwrite(fd, "damage", 6, 600000), 6);
        close(fd);
    }
    spool = rig_open(&options);
    struct spool_lane *a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    KIT_UNTIL(rig_stats(spool).damaged_files == 3); // the keeper finds it
    for (uint64_t i = 10; i < 80; i++) {
        rig_fill(spool, i, i + 1);
        cr_expect_leq(rig_disk_bytes(dir), 16 * MIB);
    }
    cr_expect_eq(kit_files(dir, ".damaged", NULL, 0), 0, "what is whole in one was given up for nothing");
    cr_expect_gt(kit_ledger(a).evicted_by[SPOOL_LOSS_FULL], 0);
    // When it was delivered it is set aside, and takes the same room.
    rig_deliver(a, 0, 6);
    KIT_UNTIL(kit_files(dir, ".damaged", NULL, 0) == 3);
    for (uint64_t i = 80; i < 120; i++) {
        rig_fill(spool, i, i + 1);
        cr_expect_leq(rig_disk_bytes(dir), 16 * MIB);
    }
    spool_close(spool);
    kit_remove_directory(dir);
}

Test(spool_room, one_that_cannot_be_read_is_passed_over, .timeout = 120)
{
    char *dir = kit_directory();
    struct spool_options options = rig_options(dir, 16);
    options.evict_oldest = true;
    struct spool *spool = rig_open(&options);
    kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    rig_fill(spool, 0, 12);
    spool_close(spool);
    snprintf(closed_name, sizeof(closed_name), "/" SPOOL_SEGMENT_NAME, 2ull);
    atomic_store(&closed, true);
    spool = rig_open(&options);
    struct spool_lane *a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    rig_fill(spool, 12, 60); // nobody is refused
    cr_expect(!rig_has(dir, 0) && rig_has(dir, 2) && !rig_has(dir, 4));
    struct spool_lane_stats before = kit_ledger(a);
    cr_expect_eq(before.evicted_by[SPOOL_LOSS_DAMAGE], 0);
    // Read again, it is the next to go.
    atomic_store(&closed, false);
    rig_fill(spool, 60, 70);
    cr_expect(!rig_has(dir, 2));
    struct spool_interval in[2];
    cr_assert_eq(spool_lane_intervals(a, in, 2), 1);
    cr_expect_eq(kit_ledger(a).evicted_by[SPOOL_LOSS_FULL], rig_items(0, in[0].first));
    spool_close(spool);
    kit_remove_directory(dir);
}

Test(spool_room, the_segment_that_is_written_counts_once, .timeout = 60)
{
    char *dir = kit_directory();
    struct spool_options options = rig_options(dir, 64);
    struct spool *spool = rig_open(&options);
    kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    rig_fill(spool, 0, 3);
    pthread_mutex_lock(&spool->lock); // as if it had been asked before it became the active one
    spool->active->disk_bytes = MIB;
    pthread_mutex_unlock(&spool->lock);
    KIT_UNTIL((space_count(spool), rig_stats(spool).used_bytes == rig_disk_bytes(dir)));
    rig_fill(spool, 3, 6); // sealed, it is smaller
    KIT_UNTIL((space_count(spool), rig_stats(spool).used_bytes == rig_disk_bytes(dir)));
    spool_close(spool);
    kit_remove_directory(dir);
}

// A new upstream that begins at the oldest block, or the one after the state was lost: each segment is opened.
Test(spool_room, a_bad_sector_does_not_keep_a_lane_from_its_past, .timeout = 60)
{
    char *dir = kit_directory(), path[700];
    struct spool_options options = rig_options(dir, 64);
    struct spool *spool = rig_open(&options);
    kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    rig_fill(spool, 0, 8);
    spool_close(spool);
    struct stat st;
    segment_path(dir, 2, path);
    cr_assert_eq(stat(path, &st), 0);
    file_read_patience = (struct file_read_patience){3, 100000000};
    atomic_store(&bad_inode, st.st_ino);
    spool = rig_open(&options);
    struct spool_lane *b;
    struct weir_err err = {0};
    cr_assert_eq(spool_lane_open(spool, "b", WEIR_TRACES, SPOOL_START_OLDEST, &b, &err), WEIR_OK, "%s", err.text);
    cr_expect_eq(kit_ledger(b).pending, rig_items(0, 2) + rig_items(4, 8));
    cr_expect_eq(kit_drain(spool, b, WEIR_TRACES, 100, NULL, NULL), 6);
    cr_expect_eq(kit_ledger(b).evicted, 0); // it never was its own
    spool_close(spool);
    kit_remove_directory(dir);
}

// A commit failed, its blocks show in the file all the same, and they are done again in the next segment: where the failed one ends must
// not be noted before that is decided, or evicting it would take the next one's blocks.
Test(spool_room, a_commit_that_is_not_decided, .timeout = 60)
{
    char *dir = kit_directory();
    struct spool_options options = rig_options(dir, 64);
    struct spool *spool = rig_open(&options);
    kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    rig_fill(spool, 0, 2);
    spool_close(spool);
    spool = rig_open(&options);
    uint64_t limit, end;
    struct spool_counts counts;
    struct segment *segment = catalog_pin(spool, 0, &limit);
    cr_assert_eq(limit, UINT64_MAX);
    cr_assert_eq(segment_learn(segment, limit, NULL), WEIR_OK); // the keeper does not look at it any more
    pthread_mutex_lock(&spool->lock);
    segment->end_known = false;
    pthread_mutex_unlock(&spool->lock);
    atomic_store(&spool->next_block, 1);
    cr_expect_eq(segment_end(segment, limit, &end, &counts, NULL), WEIR_E_IO);
    cr_expect(!segment->end_known);
    atomic_store(&spool->next_block, 2);
    cr_expect_eq(segment_end(segment, 1, &end, &counts, NULL), WEIR_OK); // done again: another begins at 1
    cr_expect_eq(end, 1);
    cr_expect_eq(counts.items[WEIR_TRACES], kit_items(0));
    segment_unpin(segment);
    spool_close(spool);
    kit_remove_directory(dir);
}
