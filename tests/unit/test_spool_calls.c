// SPDX-License-Identifier: Apache-2.0
// The i-th call of each kind fails, for every i that a spool's whole life has: made, filled across two segments' ends, delivered from,
// closed, opened again; and opened after a crash. Whatever fails, and in whatever way: nothing is acknowledged that is not found
// afterwards, nothing crashes or hangs or leaks, nothing is taken for damage, the ledger adds up, and it goes on when the calls do.
//   WEIR_FAULTS=all   every i; else some of them, others each time. WEIR_FAULTS=life:write:EIO:3:1: that one alone
#include "faults_kit.h"
#include "storage/dead_letter.h"
#include "storage/format.h"

#define QUICK           5 // of the calls of one kind
#define QUICK_SANITIZED 2 // under a sanitizer
#define QUICK_THREADS   1 // under ThreadSanitizer, which takes ten times as long

struct failure {
    const char *name;
    enum fault_call call;
    int code;
};
static const struct failure failures[] = {
    {"write", FAULT_WRITE, EIO},
    {"write", FAULT_WRITE, ENOSPC},
    {"write", FAULT_WRITE, FAULTS_SHORT},
    {"write", FAULT_WRITE, EINTR},
    {"meta write", FAULT_META, EIO},
    {"meta write", FAULT_META, FAULTS_SHORT},
    {"fdatasync", FAULT_FLUSH, EIO},
    {"fdatasync", FAULT_FLUSH, ENOSPC},
    {"fsync", FAULT_FSYNC, EIO},
    {"allocate", FAULT_ALLOCATE, ENOSPC},
    {"allocate", FAULT_ALLOCATE, EINTR},
    {"truncate", FAULT_TRUNCATE, EIO},
    {"rename", FAULT_RENAME, EIO},
    {"rename", FAULT_RENAME, ENOSPC},
    {"unlink", FAULT_UNLINK, EIO},
    {"open", FAULT_OPEN, EMFILE},
    {"open", FAULT_OPEN, EIO},
    {"mkdir", FAULT_MKDIR, ENOSPC},
    {"read", FAULT_READ, EIO},
    {"read", FAULT_READ, FAULTS_SHORT},
    {"read", FAULT_READ, EINTR},
    {"mmap", FAULT_MAP, ENOMEM},
    {"malloc", FAULT_MEMORY, ENOMEM},
};

static struct spool *open_faulty(const char *dir)
{
    struct spool_options options = kit_options(dir, 64);
    struct weir_err err = {0};
    struct spool *spool;
    int code;
    FAULTS_IN(code = spool_open(&options, &spool, NULL, &err));
    cr_assert_eq(code == WEIR_OK, spool != NULL);
    if (code == WEIR_OK)
        return spool;
    cr_assert_neq(err.text[0], '\0', "a failed start says why");
    cr_assert(code == WEIR_E_IO || code == WEIR_E_READ_ONLY || code == WEIR_E_FULL || code == WEIR_E_NOMEM,
              "a failing call makes it say %d: %s", code, err.text);
    return NULL;
}

static struct spool_lane *lane_faulty(struct spool *spool, enum weir_signal signal)
{
    struct weir_err err = {0};
    struct spool_lane *lane;
    int code;
    FAULTS_IN(code = spool_lane_open(spool, "a", signal, SPOOL_START_NOW, &lane, &err));
    cr_assert(code == WEIR_OK || err.text[0] != '\0');
    return code == WEIR_OK ? lane : NULL;
}

static void bury(struct spool *spool, struct seeds *seeds, uint64_t block)
{
    struct spool_dead_letter letter = {.upstream = "nobody", .code = "c", .message = "m", .items = 1, .block = block};
    struct weir_err err = {0};
    int code;
    FAULTS_IN(code = spool_dead_letter_put(spool, &letter, &err));
    seeds->letters += code == WEIR_OK;
    cr_assert(code == WEIR_OK || err.text[0] != '\0');
}

// A note that says how far the settlements before it go: it is durable with them. What was put and is durable is never gone.
static void note(struct spool *spool, struct seeds *seeds, uint64_t name)
{
    struct weir_err err = {0};
    uint8_t value[3000] = {(uint8_t)name};
    int code;
    FAULTS_IN(code = spool_note_put(spool, "life", (struct weir_slice){value, sizeof(value)}, name == 1, &err));
    cr_assert(code == WEIR_OK || err.text[0] != '\0');
    if (code == WEIR_OK && name == 1)
        seeds->noted = true;
}

// Part of a life: appends past a segment's end, delivers, buries, syncs. `name`: of its dead letter.
static void live(const char *dir, struct seeds *seeds, unsigned blocks, uint64_t name)
{
    struct spool *spool = open_faulty(dir);
    if (spool == NULL)
        return;
    struct spool_lane *traces = lane_faulty(spool, WEIR_TRACES), *metrics = lane_faulty(spool, WEIR_METRICS);
    for (unsigned i = 0; traces != NULL && metrics != NULL && i < blocks; i += 2) {
        seeds_send(spool, seeds, 2, 150000);
        if (i == 2) {
            seeds_deliver(spool, traces, WEIR_TRACES, 3, seeds);
            bury(spool, seeds, name);
            note(spool, seeds, name);
            seeds_sync(spool, seeds);
        }
        cr_assert_leq(kit_ledger(traces).evicted, seeds_unsure_items(seeds, WEIR_TRACES));
        cr_assert_leq(kit_ledger(metrics).evicted, seeds_unsure_items(seeds, WEIR_METRICS));
    }
    if (traces != NULL && metrics != NULL && name == 2) { // and at last it works again
        faults_disarm();
        cr_assert_eq(seeds_send(spool, seeds, 1, 1000), WEIR_OK, "it works again");
    }
    FAULTS_IN(spool_close(spool));
}

static void whole_life(const char *dir, struct seeds *seeds)
{
    live(dir, seeds, 10, 1);
    live(dir, seeds, 4, 2);
}

static void life_after_crash(const char *dir, struct seeds *seeds)
{
    live(dir, seeds, 4, 2);
}

// --- every call -------------------------------------------------------------------------------------------------------------

struct life {
    const char *name;
    void (*run)(const char *dir, struct seeds *seeds);
    const char *from; // a directory to begin with; NULL: none
    struct seeds seeds;
};

static char *fast_directory(void)
{
    char *dir = kit_fast_directory();
    return dir != NULL ? dir : kit_directory();
}

static void copy_file(const char *from, const char *to)
{
    static uint8_t bytes[16 * MIB];
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT, 0600);
    ssize_t n = read(in, bytes, sizeof(bytes));
    cr_assert(in >= 0 && out >= 0 && n >= 0 && (size_t)n < sizeof(bytes) && write(out, bytes, (size_t)n) == n);
    close(in);
    close(out);
}

static void copy_directory(const char *from, const char *to)
{
    struct dirent **names;
    char a[512], b[512];
    int n = scandir(from, &names, NULL, NULL);
    for (int i = 0; i < n; i++) {
        snprintf(a, sizeof(a), "%s/%s", from, names[i]->d_name);
        snprintf(b, sizeof(b), "%s/%s", to, names[i]->d_name);
        if (names[i]->d_name[0] != '.')
            copy_file(a, b);
        free(names[i]);
    }
    free(names);
}

// One life with the i-th call failing. Returns how many failed.
static int one_life(const struct life *life, const char *dir, const struct failure *f, int i, bool go_on)
{
    struct seeds seeds = life->seeds;
    if (life->from != NULL)
        copy_directory(life->from, dir);
    else
        rmdir(dir);
    faults_arm(FAULTS(f->call), f->code, i, go_on);
    life->run(dir, &seeds);
    faults_disarm();
    int failed = atomic_load(&faults.failures);
    mkdir(dir, 0700);
    seeds_verify(dir, &seeds);
    kit_empty_directory(dir);
    return failed;
}

static void every_call(struct life *life)
{
    char *dir = fast_directory();
    const char *how = getenv("WEIR_FAULTS");
    bool all = how != NULL; // every one, or one alone
    int some = !FAULT_MEMORY_FAILS ? QUICK_THREADS : __interceptor_malloc != NULL ? QUICK_SANITIZED : QUICK;
    unsigned lives = 0, failed = 0, offset = (unsigned)(weir_now_unix_ns() / 1000000000u);
    fault_memory_on = fault_memory_spared = true;
    for (size_t k = 0; k < WEIR_COUNT(failures) * 2; k++) {
        const struct failure *f = &failures[k / 2];
        if (f->code == EINTR && k % 2 != 0)
            continue; // a signal once; LMDB, rightly, tries again as often as it takes
        if (!faults_can(f->call))
            continue;
        if (some == QUICK_THREADS && !all && (k + k / 2 + offset) % 2 != 0)
            continue;                             // either once or from then on, another time the other
        one_life(life, dir, f, INT32_MAX, false); // how many there are
        int there = atomic_load(&faults.calls), step = all || there < some ? 1 : there / some;
        // The keeper's share differs from run to run: a little further than that.
        for (int i = step > 1 ? (int)(offset % (unsigned)step) : 0; i < there + there / 8 + 2; i += step) {
            char name[128];
            snprintf(name, sizeof(name), "%s:%s:%s:%d:%d", life->name, f->name,
                     f->code == FAULTS_SHORT ? "SHORT" : strerrorname_np(f->code), i, k % 2 != 0);
            if (all && strcmp(how, "all") != 0 && strcmp(how, name) != 0)
                continue;
            fprintf(stderr, "WEIR_FAULTS=%s\n", name);
            failed += (unsigned)one_life(life, dir, f, i, k % 2 != 0);
            lives++;
        }
    }
    fprintf(stderr, "%s: %u lives, %u calls failed (WEIR_FAULTS=all: every one)\n", life->name, lives, failed);
    cr_assert_geq(failed, lives / 2);
    kit_remove_directory(dir);
}

Test(spool_calls, a_whole_life, .timeout = 3000)
{
    struct life life = {"life", whole_life, NULL, {0}};
    every_call(&life);
}

// The disk went away in the middle of a segment's end: what is there is what a killed process leaves.
Test(spool_calls, a_start_after_a_crash, .timeout = 3000)
{
    struct life life = {"crash", life_after_crash, NULL, {0}};
    char *dir = fast_directory();
    faults_arm(FAULTS_DISK, EIO, INT32_MAX, false);
    live(dir, &life.seeds, 10, 1);
    int calls = atomic_load(&faults.calls);
    kit_empty_directory(dir);
    life.seeds = (struct seeds){0};
    faults_arm(FAULTS_DISK, EIO, calls * 2 / 3, true);
    live(dir, &life.seeds, 10, 1);
    faults_disarm();
    life.from = dir;
    every_call(&life);
    kit_remove_directory(dir);
}

// --- a block ------------------------------------------------------------------------------------------------------------------

// One block of three requests. False: an error said so, and the builder is good again after a discard.
static bool build(struct block_builder *builder, struct block **out)
{
    static uint8_t raw[300000];
    struct weir_err err = {0};
    struct block_request request = {.items = 1, .received_ns = 5};
    int code = WEIR_OK;
    kit_fill(raw, sizeof(raw), 7);
    *out = NULL;
    for (unsigned i = 0; i < 3 && code == WEIR_OK; i++)
        FAULTS_IN(code = block_builder_add(builder, (struct weir_slice){raw, 1000 + i * 140000}, &request, &err));
    if (code == WEIR_OK)
        FAULTS_IN(code = block_builder_seal(builder, out, &err));
    if (code == WEIR_OK)
        return true;
    cr_assert_eq(code, WEIR_E_NOMEM, "%d: %s", code, err.text);
    cr_assert_null(*out);
    block_builder_discard(builder);
    return false;
}

static void check_built(struct block *block)
{
    struct block_view view;
    struct weir_buf raw = {0};
    struct weir_err err = {0};
    block_header_stamp(block->value.data, 3, &(struct spool_counts){0});
    cr_assert_eq(block_view_parse((struct weir_slice){block->value.data, block->value.len}, &view, &err), WEIR_OK, "%s",
                 err.text);
    cr_assert_eq(block_view_decode(&view, &raw, &err), WEIR_OK, "%s", err.text);
    cr_assert(view.items == 3 && view.requests == 3 && raw.len == 3 * 1000 + 3 * 140000);
    weir_buf_free(&raw);
    block_free(block);
}

// The i-th malloc of a block fails: an error, nothing of it is left, and the next block from the same builder is whole.
Test(spool_calls, a_block_without_memory)
{
    unsigned failed = 0;
    if (!faults_can(FAULT_MEMORY))
        return;
    for (int k = 0; k < 2; k++) {
        for (int i = 0;; i++) {
            struct block_builder *builder;
            struct block *block = NULL;
            faults_arm(FAULTS(FAULT_MEMORY), ENOMEM, i, k != 0);
            FAULTS_IN(builder = block_builder_new(WEIR_TRACES, (struct weir_slice){(const uint8_t *)"tenant", 6}, 1));
            bool built = builder != NULL && build(builder, &block);
            faults_disarm();
            int missed = atomic_load(&faults.failures);
            cr_assert_eq(built, missed == 0, "malloc %d", i);
            if (built)
                check_built(block);
            if (builder != NULL && build(builder, &block))
                check_built(block);
            block_builder_free(builder);
            failed += (unsigned)missed;
            if (missed == 0)
                break;
        }
    }
    cr_assert_gt(failed, 10);
}
