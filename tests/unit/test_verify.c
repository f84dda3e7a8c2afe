// SPDX-License-Identifier: Apache-2.0
// weir spool verify: every kind of damage has its number, with the blocks, items and lanes it touches.
#include <sys/wait.h>

#include "inspect_kit.h"
#include "storage/segment.h"
#include "storage/state.h"

static uint64_t items_between(uint64_t first, uint64_t end, enum weir_signal signal)
{
    uint64_t items = 0;
    for (uint64_t i = first; i < end; i++)
        items += i % 3 == (uint64_t)signal ? kit_items(i) : 0;
    return items;
}

// Numbers [first, end) of the n-th segment.
static void range_of(const char *dir, unsigned n, uint64_t *first, uint64_t *end)
{
    struct inspect *inspect = kit_inspect(dir);
    struct inspect_segment s;
    cr_assert_eq(inspect_segment(inspect, n, &s, NULL), WEIR_OK);
    *first = s.first;
    *end = s.end;
    inspect_close(inspect);
}

// --- ways to damage, each with what must be found -------------------------------------------------------------------------

static void leave_temporary(const char *dir)
{
    kit_write_file(kit_path(dir, "spare-3.tmp"), "x", 1);
}

static void add_foreign(const char *dir)
{
    kit_write_file(kit_path(dir, "notes.txt"), "x", 1);
}

static void set_aside(const char *dir)
{
    char aside[700];
    const char *path = kit_path(dir, kit_segment(dir, 1));
    snprintf(aside, sizeof(aside), "%s.damaged", path);
    cr_assert_eq(rename(path, aside), 0);
}

static void newer_segment(const char *dir)
{
    cr_assert_gt(kit_change_records(kit_path(dir, kit_segment(dir, 1)), "WSEG", kit_newer), 0);
}

static void no_lock(const char *dir)
{
    cr_assert_eq(unlink(kit_path(dir, "LOCK")), 0);
}

static void zero_segment(const char *dir)
{
    size_t len;
    const char *path = kit_path(dir, kit_segment(dir, 1));
    uint8_t *data = kit_read_file(path, &len);
    memset(data, 0, len);
    kit_write_file(path, data, len);
    free(data);
}

static void flip_meta(const char *dir)
{
    size_t len;
    const char *path = kit_path(dir, kit_segment(dir, 1));
    uint8_t *data = kit_read_file(path, &len);
    data[16] ^= 0xff;
    data[4096 + 16] ^= 0xff;
    kit_write_file(path, data, len);
    free(data);
}

static uint64_t flipped_block;
static void flip_body(const char *dir)
{
    struct inspect *inspect = kit_inspect(dir);
    struct inspect_block block;
    cr_assert_eq(inspect_block_next(inspect, WEIR_LOGS, 20, UINT64_MAX, false, &block, NULL), WEIR_OK);
    flipped_block = block.number;
    const char *path = kit_path(dir, block.file->name);
    int fd = open(path, O_RDWR);
    uint8_t byte;
    off_t at = (off_t)(block.offset + 10000);
    cr_assert_eq(pread(fd, &byte, 1, at), 1);
    byte ^= 4;
    cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
    close(fd);
    inspect_close(inspect);
}

static void remove_second_segment(const char *dir)
{
    cr_assert_eq(unlink(kit_path(dir, kit_segment(dir, 1))), 0);
}

// All lanes are through: what is missing then, nobody needs.
static void drain_and_remove(const char *dir)
{
    struct spool_options options = kit_options(dir, 64);
    options.keep_delivered_ns = 3600000000000ull;
    options.unix_ns = weir_now_unix_ns;
    struct spool *spool;
    struct weir_err err = {0};
    cr_assert_eq(spool_open(&options, &spool, NULL, &err), WEIR_OK, "%s", err.text);
    for (size_t i = 0; i < 4; i++)
        kit_drain(spool, kit_lane(spool, kit_lanes[i].upstream, kit_lanes[i].signal, SPOOL_START_NOW),
                  kit_lanes[i].signal, 1000, NULL, NULL);
    spool_close(spool);
    remove_second_segment(dir);
}

static void add_item(uint8_t *block, uint32_t bytes)
{
    (void)bytes;
    if (weir_get_u64(block + 88) == 12)
        weir_put_u64(block + 96 + 32, weir_get_u64(block + 96 + 32) + 1); // items of traces before it
}

static void wrong_counts(const char *dir)
{
    for (unsigned n = 0; n < 2; n++)
        kit_change_records(kit_path(dir, kit_segment(dir, n)), "WBLK", add_item);
}

static void fewer_requests(uint8_t *block, uint32_t bytes)
{
    (void)bytes;
    if (weir_get_u64(block + 88) == 12)
        weir_put_u32(block + 12, 2); // of one
}

static void wrong_table(const char *dir)
{
    // A header may not say more requests than half its table's bytes: the table of this spool has 4 or 5 bytes.
    for (unsigned n = 0; n < 2; n++)
        kit_change_records(kit_path(dir, kit_segment(dir, n)), "WBLK", fewer_requests);
}

// The first segment gets a block more than where the next begins: a commit that failed.
static void commit_done_again(const char *dir)
{
    uint64_t first, end;
    range_of(dir, 0, &first, &end);
    const char *second = kit_path(dir, kit_segment(dir, 1));
    char name[64];
    snprintf(name, sizeof(name), "seg-%020llu.mdb", (unsigned long long)end - 1);
    struct inspect *inspect = kit_inspect(dir);
    struct inspect_block block;
    struct block_view view;
    struct weir_buf value = {0};
    cr_assert_eq(inspect_block_next(inspect, INSPECT_ANY, end - 1, end, false, &block, NULL), WEIR_OK);
    cr_assert_eq(inspect_block_read(inspect, &block, &value, &view, NULL), WEIR_OK);
    struct block_header h;
    cr_assert_eq(block_header_get((struct weir_slice){value.data, value.len}, &h, NULL), WEIR_OK);
    inspect_close(inspect);
    struct segment_file *file;
    struct segment_record record = {.first = end - 1, .before = h.before};
    struct segment_value again = {end - 1, view.signal, {value.data, value.len}};
    const char *path = kit_path(dir, name);
    cr_assert_eq(segment_file_create(path, MIB, &file, NULL), WEIR_OK);
    cr_assert_eq(segment_file_start(file, &record, NULL), WEIR_OK);
    cr_assert_eq(segment_file_copy(file, &again, 1, NULL), WEIR_OK);
    segment_file_close(file, path);
    weir_buf_free(&value);
    cr_assert_eq(access(second, F_OK), 0);
}

static void no_state(const char *dir)
{
    cr_assert_eq(unlink(kit_path(dir, "state.mdb")), 0);
}

static void short_state(const char *dir)
{
    cr_assert_eq(truncate(kit_path(dir, "state.mdb"), 5000), 0);
}

static void delivered_more(uint8_t *lane, uint32_t bytes)
{
    (void)bytes;
    weir_put_u64(lane + 24, weir_get_u64(lane + 24) + 7);
}

static void wrong_ledger(const char *dir)
{
    cr_assert_gt(kit_change_records(kit_path(dir, "state.mdb"), "WLAN", delivered_more), 0);
}

// Both the mark and the column: the ledger adds up, the mark is wrong.
static int change_state(const char *dir, void (*change)(struct state_record *state, struct lane_record *lane));
static void move_mark(struct state_record *state, struct lane_record *lane)
{
    (void)state;
    lane->set.at[0].first.items++;
    lane->delivered++;
}

static void dead_letter_more(struct state_record *state, struct lane_record *lane)
{
    (void)state;
    lane->dead_lettered++;
    lane->accepted_before++;
}

static void wrong_dead_lettered(const char *dir)
{
    change_state(dir, dead_letter_more);
}

static void wrong_mark(const char *dir)
{
    change_state(dir, move_mark);
}

static void beyond(struct state_record *state, struct lane_record *lane)
{
    lane->set.at[0].end = lane->set.at[0].first;
    lane->set.at[0].end.number = state->next_block + 1000;
    lane->following = false;
}

static void wrong_interval(const char *dir)
{
    change_state(dir, beyond);
}

static void count_more(struct state_record *state, struct lane_record *lane)
{
    (void)lane;
    state->counts.items[WEIR_PROFILES]++;
}

static void wrong_state_counts(const char *dir)
{
    change_state(dir, count_more);
}

struct loaded {
    struct lane_record lanes[8];
    size_t n;
};
static int keep(void *ctx, const struct lane_record *lane, struct weir_err *err)
{
    (void)err;
    struct loaded *loaded = ctx;
    loaded->lanes[loaded->n++] = *lane;
    return WEIR_OK;
}

static int change_state(const char *dir, void (*change)(struct state_record *state, struct lane_record *lane))
{
    static struct loaded loaded;
    const struct lane_record *list[8];
    struct state *state;
    struct state_record record;
    loaded.n = 0;
    cr_assert_eq(state_open(kit_path(dir, "state.mdb"), &state, NULL), WEIR_OK);
    cr_assert_eq(state_load(state, &record, keep, &loaded, NULL), WEIR_OK);
    change(&record, &loaded.lanes[0]);
    for (size_t i = 0; i < loaded.n; i++)
        list[i] = &loaded.lanes[i];
    cr_assert_eq(state_save(state, &record, list, loaded.n, NULL), WEIR_OK);
    state_close(state);
    return WEIR_OK;
}

static void flip_note(const char *dir)
{
    size_t len;
    const char *path = kit_path(dir, "state.mdb");
    uint8_t *data = kit_read_file(path, &len), *at = memmem(data, len, "that is known", 13);
    cr_assert_not_null(at);
    for (; at != NULL; at = memmem(at + 1, len - (size_t)(at + 1 - data), "that is known", 13))
        *at = 'T';
    kit_write_file(path, data, len);
    free(data);
}

static void flip_letters_tree(const char *dir)
{
    size_t len;
    const char *path = kit_path(dir, "deadletter.mdb");
    uint8_t *data = kit_read_file(path, &len);
    for (size_t at = 2 * 4096; at + 4096 <= len; at += 4096)
        data[at + 10] = 0x77; // what kind of page it is
    kit_write_file(path, data, len);
    free(data);
}

static void flip_letter(const char *dir)
{
    size_t len;
    const char *path = kit_path(dir, "deadletter.mdb");
    uint8_t *data = kit_read_file(path, &len), *at = memmem(data, len, "INVALID_ARGUMENT", 16);
    cr_assert_not_null(at);
    for (; at != NULL; at = memmem(at + 1, len - (size_t)(at + 1 - data), "INVALID_ARGUMENT", 16))
        *at = 'J';
    kit_write_file(path, data, len);
    free(data);
}

static void one_letter_more(uint8_t *totals, uint32_t bytes)
{
    (void)bytes;
    weir_put_u64(totals + 16, weir_get_u64(totals + 16) + 1);
}

static void wrong_totals(const char *dir)
{
    cr_assert_gt(kit_change_records(kit_path(dir, "deadletter.mdb"), "WDLS", one_letter_more), 0);
}

static const struct {
    const char *number; // must be found
    void (*damage)(const char *dir);
    const char *beside; // may be found beside it
    bool is_damage;
} cases[] = {
    {"W101", leave_temporary, "", false},
    {"W102", add_foreign, "", false},
    {"W103", set_aside, "W204", true}, // the aside itself is a note, what it held is missing
    {"W105", newer_segment, "W204", true},
    {"W106", no_lock, "", false},
    {"W201", zero_segment, "W204", true},
    {"W202", flip_meta, "", true},
    {"W203", flip_body, "W202", true},
    {"W204", remove_second_segment, "", true},
    {"W205", drain_and_remove, "", false},
    {"W206", wrong_counts, "W304 W202", true},
    {"W207", commit_done_again, "", false},
    {"W208", wrong_table, "", true},
    {"W301", no_state, "", true},
    {"W302", short_state, "", true},
    {"W303", wrong_ledger, "", true},
    {"W304", wrong_mark, "", true},
    {"W305", wrong_interval, "W303", true},
    {"W306", wrong_state_counts, "W206", true},
    {"W307", flip_note, "", true},
    {"W401", flip_letters_tree, "", true},
    {"W402", flip_letter, "", true},
    {"W403", wrong_totals, "", true},
    {"W404", wrong_dead_lettered, "", true},
};

Test(verify, a_sound_spool)
{
    char *dir = kit_directory();
    kit_make(dir, NULL);
    struct kit_findings found = kit_verify(dir);
    for (size_t i = 0; i < 64; i++)
        cr_expect_eq(found.count[i], 0, "finding %zu: %s", i, found.detail[i]);
    cr_assert_eq(found.result.blocks, KIT_BLOCKS);
    cr_assert_eq(found.result.dead_letters, 2);
    for (unsigned s = 0; s < 3; s++)
        cr_assert_eq(found.result.items[s], items_between(0, KIT_BLOCKS, s));
    kit_remove_directory(dir);
}

Test(verify, each_damage_has_its_number, .timeout = 120)
{
    const struct verify_rule *rules;
    size_t n = verify_rules(&rules);
    char *whole = kit_directory(), *dir = kit_directory();
    bool tried[64] = {0};
    kit_make(whole, NULL);
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        kit_empty_directory(dir);
        kit_copy_directory(whole, dir);
        cases[i].damage(dir);
        uint64_t before = kit_fingerprint(dir);
        struct kit_findings found = kit_verify(dir);
        cr_expect_eq(kit_fingerprint(dir), before, "%s: something was written", cases[i].number);
        tried[kit_rule(cases[i].number)] = true;
        cr_expect_gt(found.count[kit_rule(cases[i].number)], 0, "%s was not found", cases[i].number);
        cr_expect_eq(found.result.damage > 0, cases[i].is_damage, "%s: %llu damages", cases[i].number,
                     (unsigned long long)found.result.damage);
        for (size_t k = 0; k < n; k++)
            cr_expect(found.count[k] == 0 || strcmp(rules[k].number, cases[i].number) == 0 ||
                          strstr(cases[i].beside, rules[k].number) != NULL,
                      "%s: %s was found too: %s", cases[i].number, rules[k].number, found.detail[k]);
    }
    for (size_t k = 0; k < n; k++) // W104: below
        cr_expect(tried[k] || strcmp(rules[k].number, "W104") == 0, "%s is not tried", rules[k].number);
    kit_remove_directory(dir);
    kit_remove_directory(whole);
}

Test(verify, a_finding_names_blocks_items_and_lanes)
{
    char *dir = kit_directory();
    uint64_t first, end;
    kit_make(dir, NULL);
    range_of(dir, 1, &first, &end);
    remove_second_segment(dir);
    struct kit_findings found = kit_verify(dir);
    size_t rule = kit_rule("W204");
    const struct verify_finding *f = &found.last[rule];
    cr_assert_eq(found.count[rule], 1);
    cr_assert_eq(f->first, first);
    cr_assert_eq(f->end, end);
    cr_assert(f->items_known);
    for (unsigned s = 0; s < 3; s++)
        cr_assert_eq(f->items[s], items_between(first, end, s), "signal %u", s);
    // a/traces has delivered ten blocks, 0 to 27; the second segment begins at or before.
    cr_assert_str_eq(found.lanes[rule], end > 30 ? "0 1 2 3 " : "1 2 3 ");
    kit_remove_directory(dir);

    dir = kit_directory();
    kit_make(dir, NULL);
    flip_body(dir);
    found = kit_verify(dir);
    rule = kit_rule("W203");
    f = &found.last[rule];
    cr_assert_eq(found.count[rule], 1);
    cr_assert(f->first == flipped_block && f->end == flipped_block + 1);
    cr_assert_eq(f->items[WEIR_LOGS], kit_items(flipped_block));
    cr_assert_str_eq(found.lanes[rule], "3 ", "b/logs alone");
    cr_assert_eq(found.result.blocks, KIT_BLOCKS - 1);
    kit_remove_directory(dir);
}

// As another user than root, to whom modes mean nothing.
Test(verify, a_file_that_cannot_be_read)
{
    char *dir = kit_directory();
    kit_make(dir, NULL);
    cr_assert_eq(chmod(dir, 0755), 0);
    const char *files[] = {"LOCK", kit_segment(dir, 0), kit_segment(dir, 1), kit_segment(dir, 2)};
    for (size_t i = 0; i < WEIR_COUNT(files); i++)
        cr_assert_eq(chmod(kit_path(dir, files[i]), i == 2 ? 0 : 0444), 0);
    cr_assert_eq(chmod(kit_path(dir, "state.mdb"), 0), 0);
    cr_assert_eq(chmod(kit_path(dir, "deadletter.mdb"), 0), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (geteuid() == 0 && setuid(65534) != 0)
            _exit(99);
        static struct kit_findings found;
        struct inspect *inspect;
        if (inspect_open(dir, &inspect, NULL) != WEIR_OK)
            _exit(98);
        const struct verify_options options = {.on_finding = kit_on_finding, .ctx = &found};
        _exit(verify_run(inspect, &options, &found.result, NULL) == WEIR_OK ? (int)found.count[kit_rule("W104")] : 97);
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 3, "status %x", status);
    kit_remove_directory(dir);
}

// The first segment is gone, and with it the counts before the lanes' positions: their own marks tell what is lost.
Test(verify, a_gap_at_the_beginning)
{
    char *dir = kit_directory();
    uint64_t first, end;
    kit_make(dir, NULL);
    range_of(dir, 0, &first, &end);
    cr_assert_eq(unlink(kit_path(dir, kit_segment(dir, 0))), 0);
    struct kit_findings found = kit_verify(dir);
    size_t rule = kit_rule("W204");
    cr_assert_eq(found.count[rule], 1);
    cr_assert_eq(found.last[rule].items[WEIR_TRACES], items_between(0, end, WEIR_TRACES), "b has them all to get");
    cr_assert_eq(found.last[rule].items[WEIR_METRICS], items_between(0, end, WEIR_METRICS));
    cr_assert_eq(found.last[rule].items[WEIR_LOGS], items_between(0, end, WEIR_LOGS));
    cr_assert_eq(found.result.damage, 1, "%s", found.detail[kit_rule("W206")]);
    kit_remove_directory(dir);
}

// Whatever is in the files: no crash and no hang.
Test(verify, any_file_truncated_or_flipped_anywhere, .timeout = 120)
{
    char *whole = kit_any_directory(), *dir = kit_any_directory();
    kit_make(whole, NULL);
    const char *files[] = {"state.mdb", "deadletter.mdb", kit_segment(whole, 0), kit_segment(whole, 1)};
    uint64_t x = 11;
    const char *rounds_text = getenv("WEIR_TEST_ROUNDS");
    unsigned rounds = rounds_text != NULL ? (unsigned)atoi(rounds_text) : 240, found_some = 0;
    kit_copy_directory(whole, dir);
    for (unsigned round = 0; round < rounds; round++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        size_t len;
        const char *file = files[round % 4], *path = kit_path(dir, file);
        uint8_t *data = kit_read_file(kit_path(whole, file), &len);
        size_t used = strcmp(file, "state.mdb") == 0 ? 12 * 4096 : len, at = (x >> 8) % used;
        if (round % 3 == 0)
            at = (x >> 8) % (used / 4096) * 4096 + (x >> 40) % 64; // where the tree is
        if (round % 5 == 0)
            kit_write_file(path, data, at / (round % 2 ? 4096 : 1) * (round % 2 ? 4096 : 1));
        else {
            data[at] = (uint8_t)(data[at] ^ (1u << (x >> 60) % 8));
            kit_write_file(path, data, len);
        }
        struct inspect *inspect;
        struct weir_err err = {0};
        int code = inspect_open(dir, &inspect, &err);
        cr_assert_eq(code, WEIR_OK, "round %u, %s: %s", round, file, err.text);
        inspect_close(inspect);
        struct kit_findings found = kit_verify(dir);
        found_some += found.result.damage > 0;
        data = realloc(data, 1);
        free(data);
        data = kit_read_file(kit_path(whole, file), &len);
        kit_write_file(path, data, len);
        free(data);
    }
    cr_assert_gt(found_some, rounds / 3);
    kit_remove_directory(dir);
    kit_remove_directory(whole);
}
