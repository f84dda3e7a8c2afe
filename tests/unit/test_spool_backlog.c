// SPDX-License-Identifier: Apache-2.0
// Start-up with a backlog of 2 GiB in segments of 64 MiB: ready in under a second from a cold cache, with only those segments opened
// that hold a position.
#include <sys/statvfs.h>

#include "spool_kit.h"

// A sanitizer makes the same many segments of an eighth of the size: building 2 GiB under it takes minutes and shows nothing more.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SEGMENT_MIB 8u
#else
#define SEGMENT_MIB 64u
#endif
#define BLOCKS (32u * SEGMENT_MIB)
#define DONE   (11u * SEGMENT_MIB) // by the lane that is ahead

static void forget_pages(const char *dir)
{
    struct dirent **names;
    int n = scandir(dir, &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char path[700];
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]->d_name);
        int fd = open(path, O_RDONLY);
        if (fd >= 0 && fdatasync(fd) == 0)
            posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        if (fd >= 0)
            close(fd);
        free(names[i]);
    }
    free(names);
}

static struct spool *open_backlog(const char *dir, struct spool_report *report)
{
    struct weir_err err = {0};
    struct spool_options options = {
        .directory = dir, .max_bytes = 8192 * MIB, .segment_bytes = SEGMENT_MIB * MIB, .holder = "test"};
    struct spool *spool;
    cr_assert_eq(spool_open(&options, &spool, report, &err), WEIR_OK, "%s", err.text);
    return spool;
}

Test(spool_backlog, two_gib_are_ready_in_under_a_second, .timeout = 300)
{
    char *dir = kit_directory();
    struct statvfs fs;
    cr_assert_eq(statvfs(dir, &fs), 0);
    if ((uint64_t)fs.f_bavail * fs.f_frsize < 4096 * MIB) {
        fprintf(stderr, "SKIPPED: %s has less than 4 GiB free, the start-up with 2 GiB of backlog was not measured\n",
                dir);
        kit_remove_directory(dir);
        return;
    }
    struct spool *spool = open_backlog(dir, NULL);
    struct spool_lane *ahead = kit_lane(spool, "ahead", WEIR_TRACES, SPOOL_START_NOW);
    kit_lane(spool, "behind", WEIR_TRACES, SPOOL_START_NOW);
    kit_lane(spool, "idle", WEIR_LOGS, SPOOL_START_NOW);
    struct kit_wait wait = KIT_WAIT;
    for (uint64_t i = 0; i < BLOCKS; i += 16) {
        struct block *chain = NULL, **tail = &chain;
        for (uint64_t j = i; j < i + 16; j++, tail = &(*tail)->next)
            *tail = kit_block(WEIR_TRACES, j, MIB);
        kit_send(spool, &wait, chain);
        kit_join(&wait);
    }
    cr_assert_eq(wait.failed, 0);
    cr_assert_eq(kit_drain(spool, ahead, WEIR_TRACES, DONE, NULL, NULL), DONE);
    spool_close(spool);
    forget_pages(dir);

    struct spool_report report;
    uint64_t begun_ns = weir_now_ns();
    spool = open_backlog(dir, &report);
    uint64_t took_ns = weir_now_ns() - begun_ns;
    fprintf(stderr, "start-up with %u segments, %u opened: %.1f ms\n", report.segments, report.segments_opened,
            (double)took_ns / 1e6);
    cr_assert_geq(report.segments, 32);
    cr_assert_leq(report.segments_opened, 4, "the last one and those of three lanes");
    cr_assert_eq(report.next_block, BLOCKS);
    cr_assert_lt(took_ns, 1000000000u);
    ahead = kit_lane(spool, "ahead", WEIR_TRACES, SPOOL_START_NOW);
    struct spool_lane *behind = kit_lane(spool, "behind", WEIR_TRACES, SPOOL_START_NOW);
    cr_assert_eq(kit_ledger(ahead).pending_bytes, (BLOCKS - DONE) * MIB);
    cr_assert_eq(kit_ledger(behind).pending_bytes, BLOCKS * MIB);
    cr_assert_eq(kit_drain(spool, behind, WEIR_TRACES, SEGMENT_MIB, NULL, NULL), SEGMENT_MIB);
    spool_close(spool);
    kit_remove_directory(dir);
}
