// SPDX-License-Identifier: Apache-2.0
// Damage under a spool that runs: files cut and overwritten while they are read, sectors that the disk does not give, and what the keeper's
// reading finds before the data is needed.
#include <errno.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "damage_rig.h"
#include "storage/file_read.h"
#include "storage/segment_read.h"

// --- a disk with bad places: pread of the file that is damaged -------------------------------------------------------------

static _Atomic ino_t bad_inode;
static atomic_long bad_from, bad_to; // bytes
static atomic_int fail_at = -1;      // the n-th read of it, once
static atomic_int reads, refusals;

ssize_t pread(int fd, void *out, size_t len, off_t offset)
{
    struct stat st;
    ino_t inode = atomic_load(&bad_inode);
    if (inode != 0 && fstat(fd, &st) == 0 && st.st_ino == inode) {
        bool bad = offset < atomic_load(&bad_to) && offset + (off_t)len > atomic_load(&bad_from);
        if (atomic_fetch_add(&reads, 1) == atomic_load(&fail_at) || bad) {
            atomic_fetch_add(&refusals, 1);
            errno = EIO;
            return -1;
        }
    }
    return syscall(SYS_pread64, fd, out, len, offset);
}
ssize_t pread64(int fd, void *out, size_t len, off64_t offset)
{
    return pread(fd, out, len, offset);
}

static void bad_place(struct rig *rig, long from, long to, int at)
{
    char path[900];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s", rig->dir, rig->name);
    cr_assert_eq(stat(path, &st), 0);
    atomic_store(&bad_from, from);
    atomic_store(&bad_to, to);
    atomic_store(&fail_at, at);
    atomic_store(&reads, 0);
    atomic_store(&refusals, 0);
    atomic_store(&bad_inode, st.st_ino);
}

static void drain_all(struct rig *rig, struct spool *spool, struct spool_lane **lanes)
{
    KIT_UNTIL(rig_drain(rig, spool, lanes, UINT32_MAX));
}

// Whatever read fails once: it is done again, and nothing is lost.
static unsigned fails_once(struct rig *rig)
{
    unsigned i = 0;
    for (bool more = true; more; i += (1 + i / 25) * RIG_SHARE) {
        char what[64];
        struct spool_lane *lanes[WEIR_SIGNALS];
        snprintf(what, sizeof(what), "read %u fails once", i);
        rig_lay_out(rig, rig->data, rig->len);
        rig_find_whole(rig, rig->data, rig->len);
        bad_place(rig, 0, 0, (int)i);
        struct spool *spool = rig_open(rig, rig->dir);
        drain_all(rig, spool, lanes);
        more = atomic_load(&refusals) > 0;
        rig_judge(rig, spool, lanes, what);
        cr_assert_eq(rig->damaged_events, 0, "%s", what);
        spool_close(spool);
        atomic_store(&bad_inode, 0);
    }
    return i;
}

// A page that is never read again: what lies in it is lost after a while, and nothing else.
static void stays_bad(struct rig *rig, size_t step)
{
    for (size_t page = 0; page < rig->len / RIG_PAGE; page += page < 8 ? 1 : step * RIG_SHARE) {
        char what[64];
        struct spool_lane *lanes[WEIR_SIGNALS];
        long from = (long)(page * RIG_PAGE), to = from + RIG_PAGE;
        snprintf(what, sizeof(what), "page %zu cannot be read", page);
        rig_lay_out(rig, rig->data, rig->len);
        for (uint64_t n = rig->first; n < rig->end; n++)
            rig->whole[n] = (long)rig->offset[n] >= to || (long)(rig->offset[n] + rig->bytes[n]) <= from;
        bad_place(rig, from, to, -1);
        struct spool *spool = rig_open(rig, rig->dir);
        drain_all(rig, spool, lanes);
        rig_judge(rig, spool, lanes, what);
        spool_close(spool);
        atomic_store(&bad_inode, 0);
    }
}

Test(damage_live, a_disk_that_refuses_reads, .timeout = 300)
{
    struct rig rig;
    file_read_patience = (struct file_read_patience){4, 3000000};
    rig_fill(&rig, 1, 700, 40, 3000, false);
    for (unsigned i = 0; i < 2; i++) {
        cr_assert(rig_choose(&rig, i));
        cr_assert_gt(fails_once(&rig), 20);
        stays_bad(&rig, 17);
    }
    rig_end(&rig, "reads refused");
    rig_fill(&rig, 4, 8, 700000, 1100000, false);
    cr_assert(rig_choose(&rig, 0));
    fails_once(&rig);
    stays_bad(&rig, 83);
    rig_end(&rig, "reads refused, large blocks");
}

// A passing failure is not damage, however often, as long as it passes in time; and many tries in no time are not patience.
Test(damage_live, both_tries_and_time_must_have_passed)
{
    struct rig rig;
    struct file_read file;
    struct weir_err err;
    char path[900];
    uint8_t byte;
    const long place = 5555; // where no other test reads
    file_read_patience = (struct file_read_patience){3, 30000000};
    rig_fill(&rig, 1, 5, 3000, 3000, false);
    cr_assert(rig_choose(&rig, 0));
    rig_lay_out(&rig, rig.data, rig.len);
    snprintf(path, sizeof(path), "%s/%s", rig.dir, rig.name);
    cr_assert_eq(file_read_open(&file, path, &err), WEIR_OK);
    bad_place(&rig, place, place + 1, -1);
    uint64_t begun = weir_now_ns();
    unsigned tries = 0;
    int code;
    while ((code = file_read_at(&file, &byte, 1, place, &err)) == WEIR_E_IO && weir_now_ns() - begun < 20000000000u)
        tries++;
    uint64_t took = weir_now_ns() - begun;
    cr_assert_eq(code, WEIR_E_CORRUPT);
    cr_assert(took >= 30000000 && tries >= 3);
    file_read_patience = (struct file_read_patience){3, 0};
    cr_assert_eq(file_read_at(&file, &byte, 1, place, &err), WEIR_E_CORRUPT, "other tries, the same place");
    bad_place(&rig, 0, 0, -1);
    cr_assert_eq(file_read_at(&file, &byte, 1, place, &err), WEIR_OK);
    bad_place(&rig, place, place + 1, -1);
    cr_assert_eq(file_read_at(&file, &byte, 1, place, &err), WEIR_E_IO, "it begins anew");
    cr_assert_eq(file_read_at(&file, &byte, 1, place, &err), WEIR_E_IO);
    cr_assert_eq(file_read_at(&file, &byte, 1, place, &err), WEIR_E_CORRUPT);
    atomic_store(&bad_inode, 0);
    file_read_close(&file);
    rig_end(&rig, "patience");
}

// --- overwritten and cut under a reader ---------------------------------------------------------------------------------

static void overwrite(struct rig *rig, const uint8_t *data, size_t len)
{
    char path[900];
    snprintf(path, sizeof(path), "%s/%s", rig->dir, rig->name);
    int fd = open(path, O_WRONLY);
    cr_assert_eq(pwrite(fd, data, len, 0), (ssize_t)len);
    cr_assert_eq(ftruncate(fd, (off_t)len), 0);
    close(fd);
}

// Every lane has read `before` blocks when the file changes.
static void changes_while_read(struct rig *rig, const uint8_t *data, size_t len, unsigned before)
{
    char what[100];
    struct spool_lane *lanes[WEIR_SIGNALS];
    snprintf(what, sizeof(what), "%zu of %zu bytes left after %u blocks", len, rig->len, before);
    rig_lay_out(rig, rig->data, rig->len);
    struct spool *spool = rig_open(rig, rig->dir);
    rig_drain(rig, spool, lanes, before);
    rig_find_whole(rig, data, len);
    overwrite(rig, data, len);
    rig_drain(rig, spool, lanes, UINT32_MAX);
    rig_judge(rig, spool, lanes, what);
    spool_close(spool);
}

Test(damage_live, files_that_change_under_a_reader, .timeout = 300)
{
    struct rig rig;
    uint64_t x = 31;
    rig_fill(&rig, 1, 700, 40, 3000, false);
    cr_assert(rig_choose(&rig, 0));
    uint8_t *data = malloc(rig.len);
    for (unsigned i = 0; i < 60 / RIG_SHARE; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        size_t page = (x >> 8) % (rig.len / RIG_PAGE), len = rig.len;
        memcpy(data, rig.data, rig.len);
        if (i % 4 == 0)
            len = page * RIG_PAGE + (x >> 40) % RIG_PAGE;
        else if (i % 4 == 1)
            memset(data + page * RIG_PAGE, 0, RIG_PAGE);
        else
            data[page * RIG_PAGE + (x >> 40) % (i % 4 == 2 ? 40 : RIG_PAGE)] ^= (uint8_t)(1u << (x >> 60) % 8);
        changes_while_read(&rig, data, len, (unsigned)(x >> 20) % 90);
    }
    free(data);
    rig_end(&rig, "changed under a reader");
}

// --- in the end, and in time ----------------------------------------------------------------------------------------------

static void append_segment(struct rig *rig, struct spool *spool)
{
    for (unsigned i = 0; i < 2; i++)
        cr_assert_eq(kit_append(spool, WEIR_LOGS, rig->blocks + i, rig->segment_bytes / 2), WEIR_OK);
}

// Found by the keeper, while nobody reads it; what is whole is delivered; then the file is kept aside, as it is.
Test(damage_live, the_keeper_finds_it_first, .timeout = 120)
{
    struct rig rig;
    struct spool_lane *lanes[WEIR_SIGNALS];
    struct spool_stats stats;
    char path[1000];
    rig_fill(&rig, 1, 700, 40, 3000, false);
    cr_assert(rig_choose(&rig, 1));
    rig.data[rig.offset[rig.first + 20] + BLOCK_HEADER_BYTES + 3] ^= 4;
    rig_find_whole(&rig, rig.data, rig.len);
    rig_lay_out(&rig, rig.data, rig.len);
    struct spool *spool = rig_open(&rig, rig.dir);
    KIT_UNTIL((spool_stats_get(spool, &stats), stats.scrub_finished_ns) != 0);
    cr_assert_eq(rig.damaged_events, 1);
    cr_assert_not_null(strstr(rig.event_text, rig.name));
    cr_assert_not_null(strstr(rig.event_text, " 1 of its "), "%s", rig.event_text);
    cr_assert_eq(stats.damaged_files, 1);
    cr_assert_gt(stats.scrubbed_bytes_total, MIB / 2, "at least the first segment");
    cr_assert_eq(kit_files(rig.dir, ".damaged", NULL, 0), 0, "as long as lanes need it");
    rig_drain(&rig, spool, lanes, UINT32_MAX);
    rig_judge(&rig, spool, lanes, "found by the keeper");
    append_segment(&rig, spool);
    KIT_UNTIL(kit_files(rig.dir, ".damaged", NULL, 0) == 1);
    snprintf(path, sizeof(path), "%s/%s.damaged", rig.dir, rig.name);
    size_t len;
    uint8_t *kept = rig_read(path, &len);
    cr_assert(len == rig.len && memcmp(kept, rig.data, len) == 0);
    free(kept);
    spool_stats_get(spool, &stats);
    cr_assert_eq(stats.damaged_files, 1);
    cr_assert_eq(rig.damaged_events, 1);
    spool_close(spool);
    rig_end(&rig, "found by the keeper");
}

// A file that is sound is gone through without a word, and unlinked.
Test(damage_live, a_sound_spool_is_scrubbed, .timeout = 120)
{
    struct rig rig;
    struct spool_lane *lanes[WEIR_SIGNALS];
    struct spool_stats stats;
    rig_fill(&rig, 1, 700, 40, 3000, false);
    cr_assert(rig_choose(&rig, 1));
    rig_lay_out(&rig, rig.data, rig.len);
    rig_find_whole(&rig, rig.data, rig.len);
    struct spool *spool = rig_open(&rig, rig.dir);
    KIT_UNTIL((spool_stats_get(spool, &stats), stats.scrub_finished_ns) != 0);
    uint64_t stored = stats.stored_bytes_total;
    cr_assert_eq(stats.scrubbed_bytes_total, stored, "%llu of %llu", (unsigned long long)stats.scrubbed_bytes_total,
                 (unsigned long long)stored);
    rig_drain(&rig, spool, lanes, UINT32_MAX);
    rig_judge(&rig, spool, lanes, "sound");
    cr_assert_eq(rig.damaged_events, 0);
    append_segment(&rig, spool);
    char name[64];
    snprintf(name, sizeof(name), "%s", rig.name);
    KIT_UNTIL(kit_files(rig.dir, name, NULL, 0) == 0);
    spool_close(spool);
    rig_end(&rig, "sound");
}

// --- versions -------------------------------------------------------------------------------------------------------------

// A block of a newer weir: never taken for damage, with a tree or without.
Test(damage_live, a_newer_block_is_no_damage)
{
    struct rig rig;
    char path[900];
    rig_fill(&rig, 1, 300, 40, 3000, false);
    cr_assert(rig_choose(&rig, 0));
    for (unsigned i = 0; i < 4; i++) {
        uint64_t number = i % 2 ? rig.end - 1 : rig.first + 7;
        uint8_t *header = rig.data + rig.offset[number];
        weir_put_u16(header + 4, FORMAT_VERSION + 1);
        record_seal(header, BLOCK_HEADER_BYTES);
        rig.data[0] ^= i < 2 ? 1 : 0; // no meta page
        rig_lay_out(&rig, rig.data, rig.len);
        snprintf(path, sizeof(path), "%s/%s", rig.dir, rig.name);
        struct segment_read *read;
        struct segment_block block;
        struct segment_counts counts;
        struct weir_err err = {0};
        int code = segment_read_open(path, rig.first, &read, &err);
        if (code == WEIR_OK) { // it has not been looked at yet
            cr_assert_eq(segment_read_find(read, SEGMENT_READ_ANY, number, &block, &err), WEIR_OK);
            cr_assert_eq(segment_read_damage(read)[0], '\0');
            code = segment_read_counts_at(read, number, &counts, &err);
            segment_read_close(read);
        }
        cr_assert_eq(code, WEIR_E_FORMAT, "%u: %s", i, err.text);
        memcpy(rig.data, rig.sound, rig.len);
    }
    rig_end(&rig, "newer blocks");
}
