// SPDX-License-Identifier: Apache-2.0
// Random sequences of actions against the real spool and against a model of it, compared after each one.
//   usage: model [self-test]
//   MODEL_SEQUENCES=300 MODEL_LENGTH=40   how many, and actions in each
//   WEIR_MODEL_SEED=N                     begins at seed N, of which the first sequence is made (alone when MODEL_SEQUENCES is not set)
//   WEIR_MODEL_ACTIONS='config; append 1' plays this one
#include <unistd.h>

#include "tests/model/rig.h"
#include "tests/model/run.h"

#define AT_ONCE 20u // they wait for the spool's keeper more than they work

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text != NULL && text[0] != '\0' ? strtoull(text, NULL, 10) : otherwise;
}

static void report(const struct sequence *sequence, uint64_t seed, const char *why)
{
    struct sequence small = *sequence;
    char text[1024];
    snprintf(text, sizeof(text), "%s", why);
    printf("model: seed %llu: %s\n", (unsigned long long)seed, why);
    fflush(stdout);
    unsigned tries = run_shrink(&small, text, sizeof(text));
    printf("  %zu actions, made %zu in %u tries: %s\n  WEIR_MODEL_SEED=%llu or WEIR_MODEL_ACTIONS='", sequence->n,
           small.n, tries, text, (unsigned long long)seed);
    sequence_print(&small, stdout);
    printf("'\n");
    fflush(stdout);
}

static void make(struct sequence *sequence, uint64_t seed)
{
    sequence_random(sequence, seed, number_of("MODEL_LENGTH", 40));
}

// Plays the sequences of seeds [seed, seed + n). Returns how many failed; up to `most` of them are made smaller.
static unsigned play_seeds(uint64_t seed, uint64_t n, unsigned most)
{
    struct {
        struct run run;
        struct sequence sequence;
        uint64_t seed;
    } slots[AT_ONCE];
    unsigned failed = 0;
    for (uint64_t i = 0; i < n + AT_ONCE; i++) {
        size_t at = i % AT_ONCE;
        char why[1024];
        if (i >= AT_ONCE && i - AT_ONCE < n) {
            run_join(&slots[at].run, why, sizeof(why));
            if (why[0] != '\0' && failed++ < most)
                report(&slots[at].sequence, slots[at].seed, why);
        }
        if (i >= n)
            continue;
        slots[at].seed = seed + i;
        make(&slots[at].sequence, slots[at].seed);
        run_start(&slots[at].run, &slots[at].sequence, slots[at].seed % 4 == 0);
    }
    return failed;
}

// A planted fault is found and made small, and without the fault the same actions are fine.
static bool self_test(enum run_plant plant, const char *name, size_t small)
{
    struct sequence sequence;
    char why[1024];
    uint64_t seed = 1;
    run_plant = plant;
    do
        make(&sequence, seed);
    while (!run_fails(&sequence, why, sizeof(why)) && ++seed < 200);
    unsigned tries = why[0] != '\0' ? run_shrink(&sequence, why, sizeof(why)) : 0;
    printf("self-test: %-16s ", name);
    if (tries == 0) {
        printf("NOT FOUND in %llu sequences\n", (unsigned long long)seed);
        return false;
    }
    run_plant = PLANT_NONE;
    char without[1024];
    bool good = sequence.n <= small && !run_fails(&sequence, without, sizeof(without));
    printf("%s with seed %llu, %zu actions after %u tries: %s\n  ", good ? "found" : "FAILED", (unsigned long long)seed,
           sequence.n, tries, why);
    sequence_print(&sequence, stdout);
    printf("\n");
    fflush(stdout);
    return good;
}

static int play_given(const char *text)
{
    struct sequence sequence;
    char why[1024];
    if (!sequence_parse(&sequence, text)) {
        fprintf(stderr, "model: WEIR_MODEL_ACTIONS is no list of actions\n");
        return 2;
    }
    bool failed = run_fails(&sequence, why, sizeof(why));
    printf("model: %zu actions: %s\n", sequence.n, failed ? why : "ok");
    return failed;
}

int main(int argc, char **argv)
{
    const char *given = getenv("WEIR_MODEL_ACTIONS");
    if (!run_setup())
        return 2;
    if (argc > 1 && strcmp(argv[1], "self-test") == 0) {
        bool ok = self_test(PLANT_LOST_SETTLEMENT, "lost settlement", 4);
        ok = self_test(PLANT_LYING_FLUSH, "lying flush", 4) && ok;
        ok = self_test(PLANT_NO_FLUSH, "no flush", 4) && ok;
        ok = self_test(PLANT_WRONG_SUM, "wrong sum", 4) && ok;
        return !ok;
    }
    if (given != NULL)
        return play_given(given);
    bool one = getenv("WEIR_MODEL_SEED") != NULL;
    uint64_t seed = number_of("WEIR_MODEL_SEED", weir_now_unix_ns() / 1000 % 1000000000 * 1000);
    uint64_t n = number_of("MODEL_SEQUENCES", one ? 1 : 300), begun_ns = weir_now_ns();
    printf("model: %llu sequences from WEIR_MODEL_SEED=%llu\n", (unsigned long long)n, (unsigned long long)seed);
    unsigned failed = play_seeds(seed, n, 3);
    printf("model: %llu sequences, %llu actions, %llu blocks and %llu items acknowledged, %llu blocks read, %llu "
           "crashes, %llu failed "
           "calls, %u sequences FAILED, %.1f s\n",
           (unsigned long long)n, run_counts->actions, run_counts->blocks, run_counts->items, run_counts->reads,
           run_counts->crashes, run_counts->failed_calls, failed, (double)(weir_now_ns() - begun_ns) / 1e9);
    return failed != 0;
}
