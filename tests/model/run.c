// SPDX-License-Identifier: Apache-2.0
#include "tests/model/run.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/model/rig.h"

#define RUN_SECONDS 120u // then it hangs
#define SHRINK_NS   120000000000ull

enum run_plant run_plant;
struct run_counts *run_counts;

bool run_setup(void)
{
    run_counts = mmap(NULL, sizeof(*run_counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return run_counts != MAP_FAILED;
}

static void play_all(const char *directory, const struct sequence *sequence, bool drain)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    RIG_CHECK(rig != NULL, "out of memory");
    snprintf(rig->directory, sizeof(rig->directory), "%s", directory);
    rig_configure(rig, &sequence->at[0]);
    rig_open(rig);
    model_durable(&rig->m);
    rig_reopen(rig, 1, false);
    for (size_t i = 1; i < sequence->n; i++) {
        rig_play(rig, &sequence->at[i]);
        rig_compare(rig);
    }
    rig_reopen(rig, 3, true);
    rig_compare(rig);
    rig_read_all(rig);
    if (drain)
        rig_drain_all(rig);
    rig_compare(rig);
    rig_end(rig);
    run_counts->actions += sequence->n;
    run_counts->failed_calls += calls_failed();
    free(rig);
}

static void empty_directory(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir != NULL)
        closedir(dir);
}

void run_start(struct run *run, const struct sequence *sequence, bool drain)
{
    int pipes[2];
    // In memory where there is such a place: no disk is needed for what is tested here.
    snprintf(run->directory, sizeof(run->directory), "/dev/shm/weir-model-XXXXXX");
    if (mkdtemp(run->directory) == NULL) {
        snprintf(run->directory, sizeof(run->directory), "/tmp/weir-model-XXXXXX");
        RIG_CHECK(mkdtemp(run->directory) != NULL, "no temporary directory");
    }
    RIG_CHECK(pipe2(pipes, O_CLOEXEC) == 0, "no pipe");
    fflush(NULL);
    run->pid = fork();
    RIG_CHECK(run->pid >= 0, "no process");
    if (run->pid == 0) {
        dup2(pipes[1], STDERR_FILENO);
        alarm(RUN_SECONDS);
        calls_lie(run_plant == PLANT_LYING_FLUSH);
        calls_skip_flushes(run_plant == PLANT_NO_FLUSH);
        play_all(run->directory, sequence, drain);
        exit(0);
    }
    close(pipes[1]);
    run->log = pipes[0];
}

void run_join(struct run *run, char *why, size_t cap)
{
    int status;
    size_t len = 0;
    char rest[4096];
    for (ssize_t n = 1; n > 0;) {
        bool room = len + 1 < cap;
        n = read(run->log, room ? why + len : rest, room ? cap - 1 - len : sizeof(rest));
        len += room && n > 0 ? (size_t)n : 0;
    }
    why[len] = '\0';
    why[strcspn(why, "\n")] = strstr(why, "ERROR: ") != NULL ? ' ' : '\0'; // of a sanitizer's report, more
    close(run->log);
    RIG_CHECK(waitpid(run->pid, &status, 0) == run->pid, "waitpid");
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        snprintf(why, cap, "it hangs");
    else if (WIFSIGNALED(status))
        snprintf(why + strlen(why), cap - strlen(why), " (signal %d)", WTERMSIG(status));
    else if (WEXITSTATUS(status) == 0)
        why[0] = '\0';
    else if (why[0] == '\0')
        snprintf(why, cap, "exit code %d", WEXITSTATUS(status));
    empty_directory(run->directory);
    rmdir(run->directory);
}

bool run_fails(const struct sequence *sequence, char *why, size_t cap)
{
    struct run run;
    run_start(&run, sequence, true);
    run_join(&run, why, cap);
    return why[0] != '\0';
}

// --- smaller --------------------------------------------------------------------------------------------------------------

struct shrink {
    struct sequence *best;
    char *why;
    size_t cap;
    unsigned tries, runs; // runs of each: of a failure that depends on the moment, more
    uint64_t deadline_ns;
};

static bool still_fails(struct shrink *s, const struct sequence *candidate)
{
    char why[1024];
    for (unsigned i = 0; i < s->runs && weir_now_ns() < s->deadline_ns; i++) {
        s->tries++;
        if (!run_fails(candidate, why, sizeof(why)))
            continue;
        *s->best = *candidate;
        snprintf(s->why, s->cap, "%s", why);
        return true;
    }
    return false;
}

static bool remove_some(struct shrink *s, size_t n)
{
    bool any = false;
    for (size_t at = s->best->n; at > 1;) {
        size_t from = at > n + 1 ? at - n : 1;
        struct sequence candidate = *s->best;
        memmove(&candidate.at[from], &candidate.at[at], (candidate.n - at) * sizeof(candidate.at[0]));
        candidate.n -= at - from;
        any = still_fails(s, &candidate) || any;
        at = from < s->best->n ? from : s->best->n;
    }
    return any;
}

static bool simplify(struct shrink *s)
{
    bool any = false;
    for (size_t i = 0; i < s->best->n; i++) {
        for (unsigned j = 0; j < ACTION_ARGS; j++) {
            unsigned arg = s->best->at[i].arg[j];
            const unsigned smaller[] = {0, arg / 2, arg - 1};
            for (size_t k = 0; k < WEIR_COUNT(smaller) && arg > 0; k++) {
                struct sequence candidate = *s->best;
                candidate.at[i].arg[j] = smaller[k];
                if (smaller[k] >= arg || !still_fails(s, &candidate))
                    continue;
                any = true;
                break;
            }
        }
    }
    return any;
}

// NOLINTNEXTLINE(readability-non-const-parameter): written through the struct
unsigned run_shrink(struct sequence *sequence, char *why, size_t cap)
{
    struct shrink s = {sequence, why, cap, 0, 1, weir_now_ns() + SHRINK_NS};
    char again[1024];
    for (unsigned i = 0; i < 4; i++)
        s.runs += run_fails(sequence, again, sizeof(again)) ? 0 : 2;
    for (bool more = true; more && weir_now_ns() < s.deadline_ns;) {
        more = false;
        for (size_t n = sequence->n / 2; n > 0; n /= 2)
            more = remove_some(&s, n) || more;
        more = simplify(&s) || more;
    }
    return s.tries;
}
