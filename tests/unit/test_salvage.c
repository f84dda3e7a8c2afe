// SPDX-License-Identifier: Apache-2.0
// weir spool salvage: what is whole is saved, what is lost is told before and is in the ledger after, and the old spool is as it was.
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <sys/syscall.h>

#include "inspect_kit.h"
#include "storage/salvage.h"

// Takes libc's place: a crash at the n-th rename, or one that fails. -1: none.
static int renames_left = -1;
static bool rename_fails;

int rename(const char *from, const char *to)
{
    if (renames_left >= 0 && renames_left-- == 0) {
        if (!rename_fails)
            _exit(7);
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_rename, from, to);
}

static uint64_t accepted_of(enum weir_signal signal)
{
    uint64_t items = 0;
    for (uint64_t i = 0; i < KIT_BLOCKS; i++)
        items += i % 3 == (uint64_t)signal ? kit_items(i) : 0;
    return items;
}

static bool plan_has_state(const char *dir)
{
    struct inspect *inspect = kit_inspect(dir);
    struct inspect_state state;
    inspect_state(inspect, &state);
    inspect_close(inspect);
    return state.code == WEIR_OK;
}

static void expect_notes(const char *dir)
{
    struct inspect *inspect = kit_inspect(dir);
    const struct inspect_note *notes;
    cr_assert_eq(inspect_notes(inspect, &notes), 2);
    for (size_t i = 0; i < 2; i++) { // by key: the other way round
        cr_assert_null(notes[i].damage);
        cr_assert_str_eq(notes[i].key, kit_notes[1 - i].key);
        cr_assert_eq(notes[i].value.len, kit_notes[1 - i].value.len);
        cr_assert(notes[i].value.len == 0 ||
                  memcmp(notes[i].value.data, kit_notes[1 - i].value.data, notes[i].value.len) == 0);
    }
    inspect_close(inspect);
}

static struct salvage_plan *plan_of(struct inspect *inspect)
{
    struct salvage_plan *plan;
    struct weir_err err = {0};
    cr_assert_eq(salvage_plan_make(inspect, NULL, NULL, &plan, &err), WEIR_OK, "%s", err.text);
    return plan;
}

static uint64_t kit_disk_bytes(const char *dir)
{
    struct inspect *inspect = kit_inspect(dir);
    const struct inspect_file *files;
    uint64_t bytes = 0;
    for (size_t i = inspect_files(inspect, &files); i > 0; i--)
        bytes += files[i - 1].disk_bytes;
    inspect_close(inspect);
    return bytes;
}

// Plans and writes `dir` into a new directory beside it, which is returned. The old one must not change. The plan's lanes in `lanes`.
static char *salvage(const char *dir, struct salvage_lane lanes[4], struct salvage_saved *saved)
{
    static struct salvage_saved unused;
    saved = saved != NULL ? saved : &unused;
    char *to = malloc(600);
    snprintf(to, 600, "%s.new", dir);
    uint64_t before = kit_fingerprint(dir);
    struct inspect *inspect = kit_inspect(dir);
    struct salvage_plan *plan = plan_of(inspect);
    struct weir_err err = {0};
    cr_assert_eq(salvage_write(inspect, plan, to, NULL, NULL, saved, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(saved->blocks, plan->blocks);
    cr_assert_eq(saved->letters, plan->letters_saved);
    cr_assert(memcmp(saved->items, plan->items, sizeof(saved->items)) == 0);
    for (size_t i = 0; i < plan->lanes_n && i < 4 && lanes != NULL; i++)
        lanes[i] = plan->lanes[i];
    cr_assert_leq(kit_disk_bytes(to), plan->disk_bytes, "it took more room than was said");
    salvage_plan_free(plan);
    inspect_close(inspect);
    cr_assert_eq(kit_fingerprint(dir), before, "the old spool was written to");
    if (plan_has_state(dir))
        expect_notes(to);
    cr_assert_eq(kit_files(to, ".unfinished", NULL, 0), 0);
    return to;
}

// Opens and drains all lanes; each one's ledger is whole. What was evicted in `evicted`.
static void drain(const char *dir, uint64_t evicted[4], struct spool_lane_stats stats[4])
{
    struct spool *spool = kit_open(dir, 64, NULL);
    struct spool_lane *lanes[4];
    for (size_t i = 0; i < 4; i++)
        lanes[i] = kit_lane(spool, kit_lanes[i].upstream, kit_lanes[i].signal, SPOOL_START_NOW);
    for (size_t i = 0; i < 4; i++) {
        kit_drain(spool, lanes[i], kit_lanes[i].signal, 1000, NULL, NULL);
        stats[i] = kit_ledger(lanes[i]);
        cr_assert_eq(stats[i].pending, 0, "lane %zu", i);
        evicted[i] = stats[i].evicted;
    }
    spool_close(spool);
}

static void flip(const char *path, uint64_t at)
{
    int fd = open(path, O_RDWR);
    uint8_t byte;
    cr_assert_eq(pread(fd, &byte, 1, (off_t)at), 1);
    byte ^= 0x10;
    cr_assert_eq(pwrite(fd, &byte, 1, (off_t)at), 1);
    close(fd);
}

static void cleanup(char *dir, char *to)
{
    kit_remove_directory(dir);
    kit_remove_directory(to);
}

// --- kinds of damage -------------------------------------------------------------------------------------------------------

static void nothing(const char *dir)
{
    (void)dir;
}

// Whatever is changed: what is salvaged is sound but for what is missing, and the plan told how much that is.
Test(salvage, any_byte_changed, .timeout = 120)
{
    char *whole = kit_any_directory(), *dir = kit_any_directory();
    kit_make(whole, NULL);
    char first[64], second[64];
    snprintf(first, sizeof(first), "%s", kit_segment(whole, 0));
    snprintf(second, sizeof(second), "%s", kit_segment(whole, 1));
    const char *rounds_text = getenv("WEIR_TEST_ROUNDS");
    unsigned rounds = rounds_text != NULL ? (unsigned)atoi(rounds_text) : 24, lost_some = 0;
    uint64_t x = 5;
    for (unsigned round = 0; round < rounds; round++) {
        const char *files[] = {first, second, "state.mdb", "deadletter.mdb"}, *file = files[round % 4];
        kit_empty_directory(dir);
        kit_copy_directory(whole, dir);
        for (unsigned flips = 0; flips <= round % 3; flips++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            struct stat st;
            cr_assert_eq(stat(kit_path(dir, file), &st), 0);
            uint64_t used = round % 4 == 2 ? 12 * 4096 : (uint64_t)st.st_size;
            flip(kit_path(dir, file), round % 2 ? (x >> 8) % used : (x >> 8) % (used / 4096) * 4096 + (x >> 40) % 64);
        }
        struct salvage_lane lanes[4] = {0};
        uint64_t evicted[4];
        struct spool_lane_stats after[4];
        char *to = salvage(dir, lanes, NULL);
        struct kit_findings found = kit_verify(to);
        cr_assert_eq(found.result.damage, found.count[kit_rule("W204")] + found.count[kit_rule("W301")], "round %u",
                     round);
        bool known = found.count[kit_rule("W301")] == 0;
        drain(to, evicted, after);
        for (size_t i = 0; i < 4; i++) {
            cr_assert(!known || evicted[i] == lanes[i].lost_items, "round %u, lane %zu", round, i);
            // An older state knows nothing of letters that were put since: they count as accepted again, and their block is pending.
            uint64_t again = after[i].accepted - accepted_of(kit_lanes[i].signal);
            cr_assert(again == 0 || (file == files[2] && again == after[i].dead_lettered), "round %u, lane %zu: %llu",
                      round, i, (unsigned long long)again);
            lost_some += evicted[i] > 0;
        }
        kit_remove_directory(to);
    }
    cr_assert_gt(lost_some, 0);
    kit_remove_directory(dir);
    kit_remove_directory(whole);
}

static void a_segment_missing(const char *dir)
{
    cr_assert_eq(unlink(kit_path(dir, kit_segment(dir, 1))), 0);
}

static void the_first_segment_missing(const char *dir)
{
    cr_assert_eq(unlink(kit_path(dir, kit_segment(dir, 0))), 0);
}

static void the_last_segment_missing(const char *dir)
{
    char last[64] = "";
    struct dirent **names;
    int n = scandir(dir, &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        if (strncmp(names[i]->d_name, "seg-", 4) == 0)
            snprintf(last, sizeof(last), "%.63s", names[i]->d_name);
        free(names[i]);
    }
    free(names);
    cr_assert_eq(unlink(kit_path(dir, last)), 0);
}

static void some_blocks_flipped(const char *dir)
{
    struct inspect *inspect = kit_inspect(dir);
    static const uint64_t numbers[] = {5, 6, 31, 32, 40, 58};
    for (size_t i = 0; i < WEIR_COUNT(numbers); i++) {
        struct inspect_block block;
        cr_assert_eq(inspect_block_next(inspect, INSPECT_ANY, numbers[i], numbers[i] + 1, false, &block, NULL),
                     WEIR_OK);
        flip(kit_path(dir, block.file->name), block.offset + (i % 2 ? 60 : 20000)); // a header or a body
    }
    inspect_close(inspect);
}

static void a_tree_destroyed(const char *dir)
{
    const char *path = kit_path(dir, kit_segment(dir, 1));
    flip(path, 16);
    flip(path, 4096 + 16); // both meta pages' magics
}

static void a_segment_cut(const char *dir)
{
    cr_assert_eq(truncate(kit_path(dir, kit_segment(dir, 1)), 500000), 0);
}

Test(salvage, saves_what_is_whole_and_enters_the_rest, .timeout = 120)
{
    static void (*const damages[])(const char *dir) = {
        nothing,          a_segment_missing, the_first_segment_missing, the_last_segment_missing, some_blocks_flipped,
        a_tree_destroyed, a_segment_cut};
    static const bool loses[] = {false, true, true, true, true, false, true};
    for (size_t d = 0; d < WEIR_COUNT(damages); d++) {
        char *dir = kit_directory();
        struct salvage_lane lanes[4] = {0};
        struct salvage_saved saved;
        struct spool_lane_stats before[4], after[4];
        uint64_t evicted[4], lost = 0;
        kit_make(dir, before);
        damages[d](dir);
        char *to = salvage(dir, lanes, &saved);
        struct kit_findings found = kit_verify(to);
        cr_expect_eq(found.result.damage > 0, loses[d], "damage %zu", d);
        cr_expect_eq(found.count[kit_rule("W204")] + found.count[kit_rule("W205")] + found.count[kit_rule("W106")] > 1,
                     loses[d]);
        cr_expect_eq(found.result.damage, found.count[kit_rule("W204")], "damage %zu: more than missing blocks", d);
        cr_expect_eq(found.result.blocks, saved.blocks);
        struct inspect *a = kit_inspect(dir), *b = kit_inspect(to);
        struct inspect_state old, new;
        inspect_state(a, &old);
        inspect_state(b, &new);
        cr_expect_str_eq(old.instance, new.instance, "its batches keep their ids");
        inspect_close(a);
        inspect_close(b);
        drain(to, evicted, after);
        for (size_t i = 0; i < 4; i++) {
            // A dead letter whose block is lost stays, and is taken for accepted again.
            cr_expect_eq(after[i].accepted, before[i].accepted + after[i].dead_lettered, "damage %zu, lane %zu", d, i);
            cr_expect_eq(before[i].accepted, accepted_of(kit_lanes[i].signal));
            cr_expect_eq(evicted[i], lanes[i].lost_items, "damage %zu, lane %zu: evicted %llu, planned %llu", d, i,
                         (unsigned long long)evicted[i], (unsigned long long)lanes[i].lost_items);
            cr_expect_eq(after[i].delivered + after[i].evicted + after[i].dead_lettered, after[i].accepted);
            lost += evicted[i];
        }
        cr_expect_eq(lost > 0, loses[d], "damage %zu lost %llu", d, (unsigned long long)lost);
        cleanup(dir, to);
    }
}

Test(salvage, a_state_that_is_gone_starts_every_lane_at_the_oldest)
{
    char *dir = kit_directory();
    struct spool_lane_stats after[4];
    uint64_t evicted[4];
    kit_make(dir, NULL);
    cr_assert_eq(truncate(kit_path(dir, "state.mdb"), 5000), 0);
    char *to = salvage(dir, NULL, NULL);
    cr_assert_eq(access(kit_path(to, "state.mdb"), F_OK), -1, "one would begin every lane now");
    drain(to, evicted, after);
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(after[i].delivered, accepted_of(kit_lanes[i].signal), "lane %zu", i);
        cr_assert_eq(evicted[i], 0);
    }
    cleanup(dir, to);
}

// A file was set aside and its loss entered. Salvage brings its blocks back, and the lanes that lost them get them.
Test(salvage, blocks_of_files_set_aside_come_back)
{
    char *dir = kit_directory(), aside[700];
    struct spool_lane_stats before[4], after[4];
    struct salvage_lane lanes[4] = {0};
    uint64_t evicted[4];
    kit_make(dir, NULL);
    const char *path = kit_path(dir, kit_segment(dir, 1));
    snprintf(aside, sizeof(aside), "%s.damaged", path);
    cr_assert_eq(rename(path, aside), 0);
    struct spool_options options = kit_options(dir, 64);
    options.keep_delivered_ns = 3600000000000ull; // so that the others stay too
    options.unix_ns = weir_now_unix_ns;
    struct spool *spool;
    cr_assert_eq(spool_open(&options, &spool, NULL, NULL), WEIR_OK);
    for (size_t i = 0; i < 4; i++) {
        struct spool_lane *lane = kit_lane(spool, kit_lanes[i].upstream, kit_lanes[i].signal, SPOOL_START_NOW);
        kit_drain(spool, lane, kit_lanes[i].signal, 1000, NULL, NULL);
        before[i] = kit_ledger(lane);
        cr_assert_gt(before[i].evicted, 0);
    }
    spool_close(spool);
    char *to = salvage(dir, lanes, NULL);
    drain(to, evicted, after);
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(lanes[i].lost_items, 0);
        cr_assert_geq(lanes[i].again_items, before[i].evicted, "lane %zu", i);
        cr_assert_eq(after[i].delivered, before[i].delivered + lanes[i].again_items);
        cr_assert_eq(after[i].replayed, lanes[i].again_items);
        cr_assert_eq(evicted[i], before[i].evicted);
    }
    cleanup(dir, to);
}

// What was set aside is of numbers that were used again since: they are another's.
Test(salvage, numbers_that_were_used_again)
{
    char *dir = kit_directory(), aside[700];
    kit_make(dir, NULL);
    const char *path = kit_path(dir, kit_segment(dir, 1));
    snprintf(aside, sizeof(aside), "%s.damaged", path);
    size_t len;
    uint8_t *data = kit_read_file(path, &len);
    kit_write_file(aside, data, len);
    free(data);
    struct inspect *inspect = kit_inspect(dir);
    struct salvage_plan *plan = plan_of(inspect);
    cr_assert_eq(plan->blocks, KIT_BLOCKS);
    cr_assert_eq(plan->aside_blocks, 0);
    cr_assert_eq(plan->lost_n, 0);
    salvage_plan_free(plan);
    inspect_close(inspect);
    kit_remove_directory(dir);
}

static int count_letter(void *ctx, const struct inspect_letter *l, struct weir_err *err)
{
    (void)err;
    cr_assert_null(l->damage, "%s", l->damage);
    ++*(unsigned *)ctx;
    return WEIR_OK;
}

Test(salvage, dead_letters_of_a_destroyed_file)
{
    char *dir = kit_directory();
    size_t len;
    unsigned n = 0;
    kit_make(dir, NULL);
    const char *path = kit_path(dir, "deadletter.mdb");
    uint8_t *data = kit_read_file(path, &len);
    for (size_t at = 0; at + 4096 <= len; at += 4096)
        if (weir_get_u64(data + at) == at / 4096)
            memset(data + at, 0x55, 12); // every page's head, but not the inside of a value
    kit_write_file(path, data, len);
    free(data);
    struct salvage_saved saved;
    char *to = salvage(dir, NULL, &saved);
    cr_assert_eq(saved.letters, 2);
    struct inspect *inspect = kit_inspect(to);
    struct inspect_letters letters;
    inspect_letters(inspect, &letters);
    cr_assert_eq(letters.code, WEIR_OK);
    cr_assert_eq(letters.requests, 2);
    cr_assert_eq(letters.items, 4);
    cr_assert_eq(inspect_letters_each(inspect, true, count_letter, &n, NULL), WEIR_OK);
    cr_assert_eq(n, 2);
    inspect_close(inspect);
    cr_assert_eq(kit_verify(to).result.damage, 0);
    cleanup(dir, to);
}

Test(salvage, where_it_must_not_write)
{
    char *dir = kit_directory(), path[700];
    kit_make(dir, NULL);
    uint64_t before = kit_fingerprint(dir);
    struct inspect *inspect = kit_inspect(dir);
    struct salvage_plan *plan = plan_of(inspect);
    struct salvage_saved saved;
    struct weir_err err = {0};
    const char *inside[] = {"", "/", "/new", "/../NAME/new"};
    for (size_t i = 0; i < WEIR_COUNT(inside); i++) {
        snprintf(path, sizeof(path), "%s%s", dir, inside[i]);
        if (strstr(path, "NAME") != NULL)
            snprintf(path, sizeof(path), "%s/../%s/new", dir, strrchr(dir, '/') + 1);
        cr_assert_eq(salvage_write(inspect, plan, path, NULL, NULL, &saved, &err), WEIR_E_INVALID, "%s", path);
    }
    snprintf(path, sizeof(path), "%s.missing/new", dir);
    cr_assert_eq(salvage_write(inspect, plan, path, NULL, NULL, &saved, &err), WEIR_E_INVALID);
    char *other = kit_directory();
    kit_write_file(kit_path(other, "notes.txt"), "x", 1);
    cr_assert_eq(salvage_write(inspect, plan, other, NULL, NULL, &saved, &err), WEIR_E_INVALID);
    cr_assert(strstr(err.text, "notes.txt") != NULL, "%s", err.text);
    cr_assert_eq(salvage_write(inspect, plan, kit_path(other, "notes.txt"), NULL, NULL, &saved, &err), WEIR_E_INVALID);
    plan->disk_bytes = UINT64_MAX / 2;
    unlink(kit_path(other, "notes.txt"));
    cr_assert_eq(salvage_write(inspect, plan, other, NULL, NULL, &saved, &err), WEIR_E_FULL);
    salvage_plan_free(plan);
    inspect_close(inspect);
    cr_assert_eq(kit_files(other, "", NULL, 0), 2, ". and .. alone");
    cr_assert_eq(kit_fingerprint(dir), before);
    kit_remove_directory(other);
    kit_remove_directory(dir);
}

Test(salvage, a_newer_format_is_left_alone)
{
    static const struct {
        const char *file, *magic;
    } newer[] = {{NULL, "WSEG"}, {"deadletter.mdb", "WDLS"}};
    for (size_t i = 0; i < WEIR_COUNT(newer); i++) {
        char *dir = kit_directory();
        kit_make(dir, NULL);
        const char *file = newer[i].file != NULL ? newer[i].file : kit_segment(dir, 1);
        cr_assert_gt(kit_change_records(kit_path(dir, file), newer[i].magic, kit_newer), 0);
        struct inspect *inspect = kit_inspect(dir);
        struct salvage_plan *plan;
        struct weir_err err = {0};
        cr_assert_eq(salvage_plan_make(inspect, NULL, NULL, &plan, &err), WEIR_E_FORMAT, "%s: %s", file, err.text);
        inspect_close(inspect);
        kit_remove_directory(dir);
    }
}

// It ends in the middle, for want of room: what it made is gone, and no relay could take it for a spool meanwhile.
Test(salvage, a_disk_that_gets_full)
{
    char *dir = kit_directory(), to[700];
    kit_make(dir, NULL);
    snprintf(to, sizeof(to), "%s.new", dir);
    pid_t pid = fork();
    if (pid == 0) {
        struct inspect *inspect;
        struct salvage_plan *plan;
        struct salvage_saved saved;
        struct rlimit limit = {5000000, 5000000}; // no file may be longer
        if (inspect_open(dir, &inspect, NULL) != WEIR_OK ||
            salvage_plan_make(inspect, NULL, NULL, &plan, NULL) != WEIR_OK)
            _exit(99);
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        _exit(salvage_write(inspect, plan, to, NULL, NULL, &saved, NULL));
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == WEIR_E_FULL, "status %x", status);
    cr_assert_eq(access(to, F_OK), -1, "the directory stayed");
    kit_remove_directory(dir);
}

static void put_in_the_way(void *ctx, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    mkdir(ctx, 0700);
}

// It fails at the end, when the blocks are written already.
Test(salvage, what_was_made_is_removed_again)
{
    char *dir = kit_directory(), to[650], obstacle[700];
    kit_make(dir, NULL);
    snprintf(to, sizeof(to), "%s.new", dir);
    snprintf(obstacle, sizeof(obstacle), "%s/state.mdb.unfinished", to);
    struct inspect *inspect = kit_inspect(dir);
    struct salvage_plan *plan = plan_of(inspect);
    struct salvage_saved saved;
    struct weir_err err = {0};
    cr_assert_neq(salvage_write(inspect, plan, to, put_in_the_way, obstacle, &saved, &err), WEIR_OK);
    cr_assert_eq(saved.blocks, KIT_BLOCKS);
    cr_assert_eq(kit_files(to, "seg-", NULL, 0) + kit_files(to, "deadletter", NULL, 0), 0);
    struct spool *spool;
    struct spool_options options = kit_options(to, 64);
    cr_assert_eq(spool_open(&options, &spool, NULL, &err), WEIR_E_INVALID, "no relay takes it for a spool");
    cr_assert_eq(rmdir(obstacle), 0);
    cr_assert_eq(rmdir(to), 0);
    salvage_plan_free(plan);
    inspect_close(inspect);
    kit_remove_directory(dir);
}

static int salvage_until_rename(const char *dir, const char *to, int n, bool fails)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct inspect *inspect;
        struct salvage_plan *plan;
        struct salvage_saved saved;
        if (inspect_open(dir, &inspect, NULL) != WEIR_OK ||
            salvage_plan_make(inspect, NULL, NULL, &plan, NULL) != WEIR_OK)
            _exit(99);
        renames_left = n;
        rename_fails = fails;
        _exit(salvage_write(inspect, plan, to, NULL, NULL, &saved, NULL));
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

// It ends among the renames, when part of the files have their names: nobody takes that part for the whole.
Test(salvage, ended_at_any_rename)
{
    char *dir = kit_directory(), to[650];
    kit_make(dir, NULL);
    snprintf(to, sizeof(to), "%s.new", dir);
    struct spool_options options = kit_options(to, 64);
    struct spool *spool;
    struct weir_err err = {0};
    int n = 0;
    for (; salvage_until_rename(dir, to, n, true) != WEIR_OK; n++) {
        cr_assert_eq(access(to, F_OK), -1, "rename %d failed, and something stayed", n);
        cr_assert_eq(salvage_until_rename(dir, to, n, false), 7);
        cr_assert_eq(spool_open(&options, &spool, NULL, &err), WEIR_E_INVALID, "cut at rename %d", n);
        cr_assert(n == 0 || strstr(err.text, "not salvaged to the end") != NULL, "%s", err.text);
        kit_remove_directory(strdup(to));
    }
    cr_assert_gt(n, 2); // a segment, dead letters, state
    cr_assert_eq(spool_open(&options, &spool, NULL, &err), WEIR_OK, "%s", err.text);
    spool_close(spool);
    kit_remove_directory(strdup(to));
    kit_remove_directory(dir);
}
