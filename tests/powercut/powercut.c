// SPDX-License-Identifier: Apache-2.0
// Cuts the power of a spool at any moment, and looks at what is left. tests/DURABILITY.md says how and what it proves.
//   powercut CUTS       so many cuts, of as many runs as they need
//   powercut --lies     each lie about durability must be found
//   WEIR_POWERCUT_SEED=S [WEIR_POWERCUT_CUT=K or K.J] powercut     one run, one cut; WEIR_POWERCUT_RECORD=FILE: from a record
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/powercut/clock.h"
#include "tests/powercut/record.h"
#include "tests/powercut/run.h"

#define CUTS_A_RUN   150u
#define NESTED_EVERY 10u
#define NESTED_CUTS  4u
#define LIE_CUTS     4000u

// What a child tells its parent, also when it dies.
struct shared {
    struct tally tally;
    uint32_t cut, nested; // under way; nested is 1 more than its number
    char why[WHY_BYTES];
    bool saved;
};

static struct shared *shared;
static char base[64];
static uint32_t only_cut = UINT32_MAX, only_nested = UINT32_MAX;

static double seconds_now(void)
{
    struct timespec ts; // the clock of this program stands still
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void remove_directory(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir != NULL)
        closedir(dir);
    rmdir(path);
}

// --- cuts --------------------------------------------------------------------------------------------------------------------

struct cut {
    uint32_t number;
    size_t at;        // so many events happened
    size_t under_way; // SIZE_MAX: none
    uint64_t seed;
};

static struct cut cut_of(const struct trace *trace, uint64_t seed, uint32_t number)
{
    struct dice dice = {mix4(seed, number, 0, 3)};
    struct cut cut = {.number = number, .under_way = SIZE_MAX};
    cut.at = roll(&dice, trace->n + 1);
    if (roll(&dice, 12) == 0) // a spool's first moments
        cut.at = roll(&dice, trace->n < 64 ? trace->n + 1 : 64);
    // Writes are many, what orders them few: half of the cuts are beside those, and some behind a name that came or went.
    uint64_t where = roll(&dice, 8);
    if (where < 4)
        for (unsigned i = 0; i < 8 && cut.at < trace->n && trace->at[cut.at].kind <= EVENT_SIZE; i++)
            cut.at++;
    if (where == 4) {
        while (cut.at < trace->n && trace->at[cut.at].kind != EVENT_RENAME && trace->at[cut.at].kind != EVENT_UNLINK)
            cut.at++;
        cut.at += roll(&dice, 6);
        cut.at = cut.at < trace->n ? cut.at : trace->n;
    }
    if (cut.at < trace->n && roll(&dice, 2) == 0)
        cut.under_way = cut.at;
    cut.seed = roll(&dice, UINT64_MAX);
    return cut;
}

static int by_place(const void *a, const void *b)
{
    const struct cut *x = a, *y = b;
    return x->at != y->at ? (x->at < y->at ? -1 : 1) : (x->number < y->number ? -1 : x->number > y->number);
}

// All cuts of a record; `nested` 0: of a run. False: one failed, and shared->why says how.
struct series {
    const struct profile *profile;
    struct trace *trace;
    struct disk *disk;   // before the record
    struct world *world; // before the record
    uint64_t seed;
    uint32_t cuts;
    bool nested;
};
static bool cut_all(struct series *s);

static bool judge_nested(struct series *s, const struct cut *cut, const char *image, struct world *world)
{
    struct disk *disk = calloc(1, sizeof(*disk));
    struct world *before = malloc(sizeof(*before));
    struct trace trace = {0};
    assert(disk != NULL && before != NULL);
    *before = *world;
    disk_load(disk, image);
    disk->trace = &trace;
    disk->lie = s->disk->lie;
    record_start(image, disk, &trace);
    bool good = judge(image, world, s->profile, cut->seed, &shared->tally, shared->why);
    record_stop();
    remove_directory(image);
    struct series inner = {s->profile, &trace, disk, before, cut->seed, NESTED_CUTS, true};
    good = good && cut_all(&inner);
    disk_free(disk);
    trace_free(&trace);
    free(disk);
    free(before);
    return good;
}

static bool judge_cut(struct series *s, const struct cut *cut, const struct world *now)
{
    char image[128];
    snprintf(image, sizeof(image), "%s/%s", base, s->nested ? "nested" : "image");
    struct world *world = malloc(sizeof(*world));
    assert(world != NULL);
    *world = *now;
    *(s->nested ? &shared->nested : &shared->cut) = cut->number + s->nested;
    disk_image(s->disk, cut->under_way, cut->seed, image);
    clock_set(cut->seed, cut->at > 0 ? s->trace->at[cut->at - 1].at_ns : CLOCK_BEGIN);
    *(s->nested ? &shared->tally.nested : &shared->tally.cuts) += 1;
    bool good;
    if (!s->nested && cut->number % NESTED_EVERY == 0)
        good = judge_nested(s, cut, image, world);
    else
        good = judge(image, world, s->profile, cut->seed, &shared->tally, shared->why);
    if (!s->nested)
        shared->nested = 0;
    if (getenv("WEIR_POWERCUT_KEEP") == NULL)
        remove_directory(image);
    free(world);
    return good;
}

// Of a lie, a loss must be found: a damaged file or a refusal alone does not count.
static bool counts(const struct series *s)
{
    return s->disk->lie == LIE_NONE || strstr(shared->why, "gone") != NULL || strstr(shared->why, "lost") != NULL;
}

static bool cut_all(struct series *s)
{
    struct cut *cuts = malloc(s->cuts * sizeof(*cuts));
    struct world *now = malloc(sizeof(*now));
    assert(cuts != NULL && now != NULL);
    *now = *s->world;
    for (uint32_t i = 0; i < s->cuts; i++)
        cuts[i] = cut_of(s->trace, s->seed, i);
    qsort(cuts, s->cuts, sizeof(*cuts), by_place);
    size_t at = 0;
    bool good = true;
    for (uint32_t i = 0; i < s->cuts && good; i++) {
        uint32_t only = s->nested ? only_nested : only_cut;
        if (only != UINT32_MAX && cuts[i].number != only)
            continue;
        for (; at < cuts[i].at; at++) {
            disk_apply(s->disk, at);
            if (s->trace->at[at].kind == EVENT_PROMISE)
                world_apply(now, &s->trace->at[at].promise);
        }
        good = judge_cut(s, &cuts[i], now) || !counts(s);
    }
    free(cuts);
    free(now);
    return good;
}

// --- runs --------------------------------------------------------------------------------------------------------------------

// One run and its cuts, in a process of its own. Exit code 0: all promises were kept.
static int run_and_cut(uint64_t seed, uint32_t cuts, enum lie lie)
{
    struct trace trace = {0};
    struct disk *disk = calloc(1, sizeof(*disk));
    struct world *world = calloc(1, sizeof(*world));
    assert(disk != NULL && world != NULL);
    char directory[128], record[160];
    const char *from = getenv("WEIR_POWERCUT_RECORD");
    struct profile profile = run_profile(seed);
    profile.patient = lie != LIE_NONE;
    shared->saved = profile.saved;
    snprintf(directory, sizeof(directory), "%s/spool", base);
    snprintf(record, sizeof(record), "%s/record", base);
    disk->trace = &trace;
    disk->lie = lie;
    if (from != NULL) {
        if (!trace_load(&trace, from))
            return snprintf(shared->why, WHY_BYTES, "%s is no record", from), 1;
    } else {
        record_start(directory, disk, &trace);
        bool good = run_workload(&profile, seed, directory, world, shared->why);
        record_stop();
        if (good)
            run_compare(&trace, directory, shared->why);
        if (!good || shared->why[0] != '\0')
            return 1;
        if (profile.saved)
            trace_save(&trace, record);
    }
    for (size_t i = 0; i < trace.n; i++) {
        const struct event *e = &trace.at[i];
        shared->tally.segments_made += e->kind == EVENT_RENAME && strncmp(e->to, "seg-", 4) == 0;
        shared->tally.segments_removed += e->kind == EVENT_UNLINK && strncmp(e->name, "seg-", 4) == 0;
        shared->tally.letters += e->kind == EVENT_PROMISE && e->promise.kind == PROMISE_LETTER_OK;
        shared->tally.replays += e->kind == EVENT_PROMISE && e->promise.kind == PROMISE_REPLAY;
    }
    if (lie == LIE_UNLINK_FIRST)
        run_unlink_first(&trace);
    remove_directory(directory);
    *world = (struct world){0};
    // Large segments make large images.
    struct series all = {&profile, &trace, disk, world, seed, profile.segment_mib > 1 ? cuts / 10 : cuts, false};
    bool good = cut_all(&all);
    disk_free(disk);
    trace_free(&trace);
    free(disk);
    free(world);
    return good ? 0 : 1;
}

static void clear_base(void)
{
    static const char *const names[] = {"spool", "image", "nested"};
    char path[128];
    for (size_t i = 0; i < WEIR_COUNT(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", base, names[i]);
        remove_directory(path);
    }
}

static void report_failure(uint64_t seed, int status)
{
    char record[160], kept[64], which[32] = "";
    if (WIFSIGNALED(status))
        snprintf(shared->why, WHY_BYTES, "the code under test ended by signal %d", WTERMSIG(status));
    snprintf(record, sizeof(record), "%s/record", base);
    snprintf(kept, sizeof(kept), "powercut-%llu.record", (ull)seed);
    if (shared->nested > 0)
        snprintf(which, sizeof(which), ".%u", shared->nested - 1);
    printf("powercut: seed %llu, cut %u%s: %s\n", (ull)seed, shared->cut, which, shared->why);
    printf("  again: ");
    if (shared->saved) { // threads do not repeat by a seed: by their record
        struct trace trace = {0};
        if (getenv("WEIR_POWERCUT_RECORD") == NULL && trace_load(&trace, record) && trace_save(&trace, kept))
            printf("WEIR_POWERCUT_RECORD=%s ", kept);
    }
    printf("WEIR_POWERCUT_SEED=%llu WEIR_POWERCUT_CUT=%u%s build/tests/powercut/powercut\n", (ull)seed, shared->cut,
           which);
}

// False: a promise was not kept.
static bool run_child(uint64_t seed, uint32_t cuts, enum lie lie, bool tell)
{
    shared->why[0] = '\0';
    shared->cut = shared->nested = 0;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        _exit(run_and_cut(seed, cuts, lie));
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        abort();
    clear_base();
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    shared->tally.losses += !good;
    if (!good && (tell || WIFSIGNALED(status)))
        report_failure(seed, status);
    return good;
}

static void print_tally(uint64_t seed, unsigned runs, double began)
{
    const struct tally *t = &shared->tally;
    printf(
        "powercut: %u runs from seed %llu on: %llu segments made and %llu removed, %llu dead letters, %llu replays\n",
        runs, (ull)seed, (ull)t->segments_made, (ull)t->segments_removed, (ull)t->letters, (ull)t->replays);
    printf("powercut: %llu cuts and %llu while it recovered (%llu opens), %.0f s\n", (ull)t->cuts, (ull)t->nested,
           (ull)t->opens, seconds_now() - began);
    printf(
        "powercut: %llu acknowledged blocks checked in their lanes, %llu delivered twice, %llu items evicted and told, "
        "%llu faults\n",
        (ull)t->checked, (ull)t->repeated, (ull)t->evicted, (ull)t->losses);
}

static bool run_cuts(uint64_t cuts, uint64_t seed, bool one)
{
    double began = seconds_now();
    unsigned runs = 0, bad = 0;
    while ((shared->tally.cuts < cuts || (one && runs == 0)) && bad < 5 && !(one && runs > 0)) {
        bad += !run_child(seed + runs++, CUTS_A_RUN, LIE_NONE, true);
        if (runs % 32 == 0)
            print_tally(seed, runs, began);
    }
    print_tally(seed, runs, began);
    if (runs >= 4 && (shared->tally.segments_removed == 0 || shared->tally.letters == 0)) {
        printf("powercut: the runs do too little to prove anything\n");
        return false;
    }
    return bad == 0;
}

// Each lie must cost something within LIE_CUTS cuts.
static bool run_lies(uint64_t seed)
{
    bool all = true;
    for (unsigned lie = LIE_NONE + 1; lie < LIES; lie++) {
        shared->tally = (struct tally){0};
        bool found = false;
        for (uint64_t i = 0; !found && shared->tally.cuts < LIE_CUTS; i++)
            found = !run_child(seed + i, CUTS_A_RUN, (enum lie)lie, false);
        printf("powercut: %-13s %s after %llu cuts%s%s\n", lie_names[lie], found ? "found" : "NOT FOUND",
               (ull)(shared->tally.cuts + shared->tally.nested), found ? ": " : "", found ? shared->why : "");
        all = all && found;
    }
    return all;
}

int main(int argc, char **argv)
{
    const char *seed_text = getenv("WEIR_POWERCUT_SEED"), *cut_text = getenv("WEIR_POWERCUT_CUT");
    uint64_t seed = seed_text != NULL ? strtoull(seed_text, NULL, 10) : (uint64_t)(seconds_now() * 1000) % 1000000000;
    bool lies = argc > 1 && strcmp(argv[1], "--lies") == 0;
    uint64_t cuts = argc > 1 && !lies ? strtoull(argv[1], NULL, 10) : CUTS_A_RUN;
    if (cut_text != NULL) {
        char *end;
        only_cut = (uint32_t)strtoul(cut_text, &end, 10);
        if (*end == '.')
            only_nested = (uint32_t)strtoul(end + 1, NULL, 10);
    }
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    snprintf(base, sizeof(base), "%s/weir-powercut-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (shared == MAP_FAILED || mkdtemp(base) == NULL) {
        perror("powercut");
        return 2;
    }
    bool good = lies ? run_lies(seed) : run_cuts(cuts, seed, cut_text != NULL || argc < 2);
    char record[160];
    snprintf(record, sizeof(record), "%s/record", base);
    unlink(record);
    if (getenv("WEIR_POWERCUT_KEEP") == NULL)
        rmdir(base);
    return good ? 0 : 1;
}
