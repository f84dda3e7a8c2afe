// SPDX-License-Identifier: Apache-2.0
// The i-th call of each kind fails while dead letters are put, marked, redriven, refused again, purged and evicted. Whatever fails: nothing
// crashes or hangs, and afterwards each lane's ledger adds up and names what lies in deadletter.mdb.
//   WEIR_FAULTS=all   every i; else some of them, others each time. WEIR_FAULTS=fdatasync:EIO:3:1: that one alone
#include "faults_kit.h"
#include "letters_kit.h"
#include "storage/space.h"
#include "storage/spool_priv.h"

#define BLOCKS          10u
#define QUOTA           (6u * 4096u) // fewer than there are letters
#define QUICK           6
#define QUICK_SANITIZED 2

static const struct {
    const char *name;
    enum fault_call call;
    int code;
} failures[] = {
    {"write", FAULT_WRITE, EIO},     {"write", FAULT_WRITE, ENOSPC},   {"write", FAULT_WRITE, FAULTS_SHORT},
    {"meta write", FAULT_META, EIO}, {"fdatasync", FAULT_FLUSH, EIO},  {"fdatasync", FAULT_FLUSH, ENOSPC},
    {"fsync", FAULT_FSYNC, EIO},     {"rename", FAULT_RENAME, ENOSPC}, {"open", FAULT_OPEN, EMFILE},
    {"read", FAULT_READ, EIO},       {"mmap", FAULT_MAP, ENOMEM},      {"malloc", FAULT_MEMORY, ENOMEM},
};

// What the calls said happened: the ledger must have it, or more where a failing call was not answered.
struct told {
    uint64_t purged, redriven;
};

static struct spool *open_some(const char *dir)
{
    struct spool_options options = kit_options(dir, 64);
    struct spool *spool = NULL;
    struct weir_err err = {0};
    int code;
    options.dead_letter_bytes = QUOTA;
    FAULTS_IN(code = spool_open(&options, &spool, NULL, &err));
    cr_assert(code == WEIR_OK || err.text[0] != '\0');
    return spool;
}

static void bury(struct spool *spool, struct spool_lane *lane, uint64_t block)
{
    struct spool_outcome outcome = {.delivered = kit_items(block)};
    int code;
    FAULTS_IN(code = letters_put(spool, "a", WEIR_TRACES, block, 0, 1));
    if (code != WEIR_OK && code != WEIR_E_LIMIT)
        return; // the lane keeps the block
    outcome.delivered--;
    *(code == WEIR_OK ? &outcome.dead_lettered : &outcome.evicted) = 1;
    FAULTS_IN(spool_lane_settle(lane, block, block + 1, &outcome));
}

static void redrive(struct spool *spool, struct told *told, bool refuse)
{
    struct letter *letter = NULL;
    struct letter_id last;
    struct weir_err err = {0};
    int code;
    FAULTS_IN(code = spool_letter_take(spool, "a", NULL, &letter, &last, &err));
    if (code != WEIR_OK)
        return;
    letter_free(letter);
    if (refuse)
        FAULTS_IN(code = spool_letter_refused(spool, &last, "NO", "still not", &err));
    else
        FAULTS_IN(code = spool_letter_delivered(spool, &last, 0, &err));
    cr_assert(code == WEIR_OK || err.text[0] != '\0');
    told->redriven += code == WEIR_OK && !refuse;
}

static void life(const char *dir, struct told *told)
{
    struct spool *spool = open_some(dir);
    struct spool_lane *lane = NULL;
    struct letters_walked walked;
    if (spool == NULL)
        return;
    FAULTS_IN(spool_lane_open(spool, "a", WEIR_TRACES, SPOOL_START_NOW, &lane, NULL));
    for (uint64_t i = 0; lane != NULL && i < BLOCKS; i++) {
        struct kit_wait wait = KIT_WAIT;
        struct block *block = kit_block(WEIR_TRACES, i, 2000);
        block->owner = &wait;
        wait.pending = 1;
        FAULTS_IN(spool_append(spool, block, kit_done));
        if (kit_join(&wait) == WEIR_OK)
            bury(spool, lane, i);
        kit_ledger(lane);
        if (i == BLOCKS / 2)
            FAULTS_IN(spool_sync_state(spool, NULL));
    }
    FAULTS_IN(spool_letters_change(spool, LETTERS_REDRIVE, &letters_all, NULL, &walked, NULL));
    redrive(spool, told, false);
    redrive(spool, told, true);
    redrive(spool, told, false);
    for (uint64_t i = 0; i < BLOCKS; i += 3) {
        struct letter_id id = letters_id(i, 0, "a");
        int code;
        FAULTS_IN(code = spool_letter_change(spool, LETTERS_PURGE, &id, NULL));
        told->purged += code == WEIR_OK;
    }
    if (lane != NULL)
        kit_ledger(lane);
    FAULTS_IN(spool_close(spool));
}

static void judge(const char *dir, const struct told *told)
{
    struct spool *spool = open_some(dir);
    cr_assert_not_null(spool);
    struct spool_lane *lane = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    struct spool_lane_stats s = kit_ledger(lane);
    cr_assert_eq(s.dead_lettered, letters_items(spool, "a", WEIR_TRACES));
    cr_assert_geq(s.discarded, told->purged);
    cr_assert_geq(s.delivered, told->redriven);
    cr_assert_eq(kit_files(dir, ".damaged", NULL, 0), 0, "something was set aside");
    bury(spool, lane, 0); // and it goes on
    spool_close(spool);
    letters_verify(dir);
}

// One life with the i-th call failing. Returns how many failed.
static int one_life(const char *dir, size_t failure, int i, bool go_on)
{
    struct told told = {0};
    rmdir(dir);
    faults_arm(FAULTS(failures[failure].call), failures[failure].code, i, go_on);
    life(dir, &told);
    faults_disarm();
    int failed = atomic_load(&faults.failures);
    mkdir(dir, 0700);
    judge(dir, &told);
    kit_empty_directory(dir);
    return failed;
}

Test(letter_calls, whatever_fails_ledgers_and_letters_agree, .timeout = 3000)
{
    char *dir = kit_any_directory();
    const char *how = getenv("WEIR_FAULTS");
    int some = __interceptor_malloc != NULL ? QUICK_SANITIZED : QUICK;
    unsigned lives = 0, failed = 0, offset = (unsigned)(weir_now_unix_ns() / 1000000000u);
    for (size_t k = 0; k < WEIR_COUNT(failures) * 2; k++) {
        size_t f = k / 2;
        bool go_on = k % 2 != 0;
        if (!faults_can(failures[f].call))
            continue;
        one_life(dir, f, INT32_MAX, false); // how many there are
        int there = atomic_load(&faults.calls), step = how != NULL || there < some ? 1 : there / some;
        for (int i = step > 1 ? (int)(offset % (unsigned)step) : 0; i < there; i += step) {
            char name[128];
            snprintf(name, sizeof(name), "%s:%s:%d:%d", failures[f].name,
                     failures[f].code == FAULTS_SHORT ? "SHORT" : strerrorname_np(failures[f].code), i, go_on);
            if (how != NULL && strcmp(how, "all") != 0 && strcmp(how, name) != 0)
                continue;
            fprintf(stderr, "WEIR_FAULTS=%s\n", name);
            failed += (unsigned)one_life(dir, f, i, go_on);
            lives++;
        }
    }
    fprintf(stderr, "%u lives, %u calls failed (WEIR_FAULTS=all: every one)\n", lives, failed);
    cr_assert_geq(failed, how != NULL ? 1 : lives / 2);
    kit_remove_directory(dir);
}

// A commit that a full disk ends leaves no open file, and older letters are to make room for this one: it is opened again for that.
Test(letter_calls, older_ones_make_room_on_a_full_disk)
{
    char *dir = kit_any_directory();
    for (int i = 0; i < 12; i++) {
        struct spool *spool = kit_open(dir, 64, NULL);
        struct spool_lane *lane = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
        for (uint64_t block = 0; block < 2; block++)
            cr_assert_eq(kit_append(spool, WEIR_TRACES, block, 2000), WEIR_OK);
        bury(spool, lane, 0);
        atomic_store(&spool->letter_room_denied, true); // so the keeper found
        faults_arm(FAULTS(FAULT_WRITE), ENOSPC, i / 2, i % 2 != 0);
        bury(spool, lane, 1);
        faults_disarm();
        spool_close(spool);
        letters_verify(dir);
        kit_empty_directory(dir);
    }
    kit_remove_directory(dir);
}

// Another letter of block 1 and item 0, larger than there is room for in the whole spool: nothing of it gets anywhere.
static void put_without_room(struct spool *spool, const char *dir)
{
    static uint8_t raw[MIB];
    char path[512];
    const struct spool_dead_letter letter = {.upstream = "a",
                                             .signal = WEIR_TRACES,
                                             .code = "c",
                                             .message = "m",
                                             .block = 1,
                                             .items = 2,
                                             .raw = {raw, sizeof(raw)}};
    struct weir_err err = {0};
    uint32_t random = 1;
    for (size_t i = 0; i < sizeof(raw); i++)
        raw[i] = (uint8_t)((random = random * 1664525u + 1013904223u) >> 24);
    snprintf(path, sizeof(path), "%s/others", dir);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    cr_assert(fd >= 0 && posix_fallocate(fd, 0, 64 * MIB) == 0);
    space_look(spool);
    cr_assert_eq(spool_dead_letter_put(spool, &letter, &err), WEIR_E_FULL, "%s", err.text);
    cr_assert(close(fd) == 0 && unlink(path) == 0);
    space_look(spool);
}

// A letter's put fails in the middle of its commit, and then its block turns out to be damaged: the block is lost, whole, and the letter is
// not counted beside it, whether it is there or not. One that was put before, and that nothing took the place of, stays.
Test(letter_calls, a_put_that_failed_counts_for_nothing)
{
    static const enum fault_call cases[] = {FAULT_WRITE, FAULT_FLUSH, FAULT_META, FAULT_CALLS};
    char *dir = kit_any_directory();
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        struct spool *spool = kit_open(dir, 64, NULL);
        struct spool_lane *lane = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
        bool before = cases[i] == FAULT_CALLS;
        for (uint64_t block = 0; block < 3; block++)
            cr_assert_eq(kit_append(spool, WEIR_TRACES, block, 2000), WEIR_OK);
        bury(spool, lane, 0); // the file is there
        cr_assert_eq(spool_sync_state(spool, NULL), WEIR_OK);
        struct spool_lane_stats s = kit_ledger(lane), now;
        if (before) {
            cr_assert_eq(letters_put(spool, "a", WEIR_TRACES, 1, 0, 1), WEIR_OK);
            put_without_room(spool, dir);
        } else {
            faults_arm(FAULTS(cases[i]), EIO, 0, true);
            cr_assert_neq(letters_put(spool, "a", WEIR_TRACES, 1, 0, 2), WEIR_OK);
            faults_disarm();
        }
        cr_assert_eq(spool_lane_lost(lane, 1, 2), kit_items(1));
        now = kit_ledger(lane);
        cr_assert_eq(now.evicted, kit_items(1));
        cr_assert_eq(now.accepted, s.accepted + before, "case %zu", i);
        cr_assert_eq(now.dead_lettered, s.dead_lettered + before);
        cr_assert_eq(spool_sync_state(spool, NULL), WEIR_OK);
        cr_assert_eq(letters_items(spool, "a", WEIR_TRACES), now.dead_lettered);
        spool_close(spool);
        letters_verify(dir);
        kit_empty_directory(dir);
    }
    kit_remove_directory(dir);
}
