// SPDX-License-Identifier: Apache-2.0
// Looking into a spool at rest: what is told is what the spool itself said, and nothing is written.
#include <sys/wait.h>

#include "inspect_kit.h"

Test(inspect, lanes_and_blocks_are_what_the_spool_said)
{
    char *dir = kit_directory();
    struct spool_lane_stats stats[4];
    kit_make(dir, stats);
    uint64_t before = kit_fingerprint(dir);
    struct inspect *inspect = kit_inspect(dir);
    struct inspect_lane lane;
    for (size_t i = 0; i < 4; i++) { // they come sorted by upstream and signal, as the kit has them
        cr_assert_eq(inspect_lane(inspect, i, &lane), WEIR_OK);
        cr_assert_str_eq(lane.upstream, kit_lanes[i].upstream);
        cr_assert_eq(lane.signal, kit_lanes[i].signal);
        cr_assert(memcmp(&lane.stats, &stats[i], sizeof(stats[i])) == 0,
                  "lane %zu: pending %llu of %llu, oldest %llu of %llu", i, (unsigned long long)lane.stats.pending,
                  (unsigned long long)stats[i].pending, (unsigned long long)lane.stats.oldest_received_ns,
                  (unsigned long long)stats[i].oldest_received_ns);
        cr_assert_gt(lane.intervals_n, 0);
        cr_assert_eq(lane.intervals[lane.intervals_n - 1].end, SPOOL_END);
    }
    cr_assert_eq(inspect_lane(inspect, 4, &lane), WEIR_E_NOT_FOUND);
    struct inspect_state state;
    inspect_state(inspect, &state);
    cr_assert_eq(state.code, WEIR_OK);
    cr_assert_eq(state.next_block, KIT_BLOCKS);
    cr_assert_eq(strlen(state.instance), 36);
    struct weir_buf value = {0};
    struct weir_err err = {0};
    uint64_t items = 0;
    for (uint64_t n = 0; n < KIT_BLOCKS; n++) {
        struct inspect_block block;
        struct block_view view;
        cr_assert_eq(inspect_block_next(inspect, INSPECT_ANY, n, UINT64_MAX, false, &block, &err), WEIR_OK, "%s",
                     err.text);
        cr_assert_eq(block.number, n);
        cr_assert_eq((uint64_t)block.signal, n % 3);
        cr_assert_eq(inspect_block_read(inspect, &block, &value, &view, &err), WEIR_OK, "%s", err.text);
        cr_assert_eq(kit_check_view(&view), n);
        cr_assert_eq(block.received_first_ns, 1000 + n);
        struct weir_buf envelope = {0};
        cr_assert_eq(inspect_block_envelope(inspect, &block, &envelope, &err), WEIR_OK);
        cr_assert(envelope.len == 6 && memcmp(envelope.data, "tenant", 6) == 0);
        weir_buf_free(&envelope);
        items += block.items;
        cr_assert_eq(inspect_block_next(inspect, WEIR_LOGS, n, KIT_BLOCKS, false, &block, &err),
                     n < KIT_BLOCKS ? WEIR_OK : WEIR_E_NOT_FOUND);
        cr_assert_eq(block.number, n + (2 - n % 3));
    }
    weir_buf_free(&value);
    struct inspect_segment s;
    uint64_t next = 0;
    for (size_t i = 0; inspect_segment(inspect, i, &s, &err) == WEIR_OK; i++) {
        cr_assert_eq(s.code, WEIR_OK);
        cr_assert_eq(s.first, next);
        next = s.end;
        for (size_t k = 0; k < WEIR_SIGNALS; k++)
            items -= s.items[k];
        cr_assert_eq(s.received_first_ns, s.end > s.first ? 1000 + s.first : 0);
        cr_assert_eq(s.received_last_ns, s.end > s.first ? 1000 + s.end - 1 : 0);
    }
    cr_assert_eq(next, KIT_BLOCKS);
    cr_assert_eq(items, 0);
    inspect_close(inspect);
    cr_assert_eq(kit_fingerprint(dir), before, "something was written");
    kit_remove_directory(dir);
}

// As a crash leaves it: the state is behind the blocks, and the last segment has all its room.
Test(inspect, a_state_that_is_behind_the_blocks)
{
    char *dir = kit_directory(), *copy = kit_directory();
    struct spool *spool = kit_open(dir, 64, NULL);
    struct spool_lane *lane = kit_lane(spool, "a", WEIR_LOGS, SPOOL_START_NOW);
    for (uint64_t i = 0; i < 40; i++)
        cr_assert_eq(kit_append(spool, WEIR_LOGS, i, 40000), WEIR_OK);
    struct spool_lane_stats stats = kit_ledger(lane);
    kit_copy_directory(dir, copy); // nothing was delivered: nothing made the state anew
    spool_close(spool);
    struct inspect *inspect = kit_inspect(copy);
    struct inspect_state state;
    struct inspect_lane told;
    inspect_state(inspect, &state);
    cr_assert_lt(state.next_in_state, 40);
    cr_assert_eq(state.next_block, 40);
    cr_assert_eq(inspect_lane(inspect, 0, &told), WEIR_OK);
    cr_assert(memcmp(&told.stats, &stats, sizeof(stats)) == 0);
    cr_assert_eq(told.pending_blocks, 40);
    inspect_close(inspect);
    struct kit_findings found = kit_verify(copy);
    cr_assert_eq(found.result.damage, 0);
    cr_assert_eq(found.result.blocks, 40);
    kit_remove_directory(copy);
    kit_remove_directory(dir);
}

static int look_at_letter(void *ctx, const struct inspect_letter *l, struct weir_err *err)
{
    (void)err;
    unsigned *n = ctx;
    uint8_t raw[5000];
    kit_fill(raw, sizeof(raw), 7 + *n);
    cr_assert_null(l->damage, "%s", l->damage);
    cr_assert_str_eq(l->letter.upstream, "a");
    cr_assert_str_eq(l->letter.code, "INVALID_ARGUMENT");
    cr_assert_str_eq(l->letter.message, "no");
    cr_assert_eq(l->letter.block, 1 + 3 * *n);
    cr_assert_eq(l->letter.attempts, 3);
    cr_assert_eq(l->letter.envelope.len, 6);
    cr_assert_eq(l->letter.raw.len, l->raw_bytes);
    cr_assert(l->letter.raw.len == (*n == 0 ? 5000 : 100) && memcmp(l->letter.raw.data, raw, l->letter.raw.len) == 0);
    ++*n;
    return WEIR_OK;
}

Test(inspect, dead_letters)
{
    char *dir = kit_directory();
    kit_make(dir, NULL);
    struct inspect *inspect = kit_inspect(dir);
    struct inspect_letters letters;
    inspect_letters(inspect, &letters);
    cr_assert_eq(letters.code, WEIR_OK);
    cr_assert_eq(letters.requests, 2);
    cr_assert_eq(letters.items, 4);
    unsigned n = 0;
    cr_assert_eq(inspect_letters_each(inspect, true, look_at_letter, &n, NULL), WEIR_OK);
    cr_assert_eq(n, 2);
    inspect_close(inspect);
    kit_remove_directory(dir);
}

Test(inspect, a_held_spool_names_its_holder_and_is_left_alone)
{
    char *dir = kit_directory();
    kit_make(dir, NULL);
    struct spool *spool = kit_open(dir, 64, NULL);
    struct inspect *inspect;
    struct weir_err err = {0};
    cr_assert_eq(inspect_open(dir, &inspect, &err), WEIR_E_HELD);
    cr_assert(strstr(err.text, "weir test") != NULL, "%s", err.text);
    spool_close(spool);
    inspect = kit_inspect(dir); // two may look at once, and no relay starts meanwhile
    struct inspect *second = kit_inspect(dir);
    struct spool_options options = kit_options(dir, 64);
    cr_assert_eq(spool_open(&options, &spool, NULL, &err), WEIR_E_HELD);
    inspect_close(second);
    inspect_close(inspect);
    kit_remove_directory(dir);
}

Test(inspect, what_is_no_spool)
{
    char *dir = kit_directory();
    struct inspect *inspect;
    struct weir_err err = {0};
    cr_assert_eq(inspect_open(dir, &inspect, &err), WEIR_E_INVALID);
    cr_assert(strstr(err.text, "empty") != NULL, "%s", err.text);
    cr_assert_eq(inspect_open(kit_path(dir, "missing"), &inspect, &err), WEIR_E_INVALID);
    kit_write_file(kit_path(dir, "notes.txt"), "x", 1);
    cr_assert_eq(inspect_open(dir, &inspect, &err), WEIR_E_INVALID);
    cr_assert(strstr(err.text, "notes.txt") != NULL, "%s", err.text);
    cr_assert_eq(inspect_open(kit_path(dir, "notes.txt"), &inspect, &err), WEIR_E_INVALID);
    // Neither a FIFO nor a link with a spool's name is opened: that would wait for ever.
    cr_assert_eq(mkfifo(kit_path(dir, "seg-00000000000000000000.mdb"), 0600), 0);
    cr_assert_eq(mkfifo(kit_path(dir, "state.mdb"), 0600), 0);
    cr_assert_eq(inspect_open(dir, &inspect, &err), WEIR_E_INVALID);
    kit_remove_directory(dir);
}

Test(inspect, a_newer_state_is_refused)
{
    char *dir = kit_directory();
    kit_make(dir, NULL);
    cr_assert_gt(kit_change_records(kit_path(dir, "state.mdb"), "WSTA", kit_newer), 0);
    uint64_t before = kit_fingerprint(dir);
    struct inspect *inspect;
    struct weir_err err = {0};
    cr_assert_eq(inspect_open(dir, &inspect, &err), WEIR_E_FORMAT);
    cr_assert_eq(kit_fingerprint(dir), before);
    kit_remove_directory(dir);
}

Test(inspect, blocks_of_files_set_aside)
{
    char *dir = kit_directory(), aside[700];
    kit_make(dir, NULL);
    const char *path = kit_path(dir, kit_segment(dir, 1));
    snprintf(aside, sizeof(aside), "%s.damaged", path);
    cr_assert_eq(rename(path, aside), 0);
    struct inspect *inspect = kit_inspect(dir);
    unsigned seen[2] = {0};
    for (unsigned with = 0; with < 2; with++) {
        struct inspect_block block;
        uint64_t from = 0;
        for (; inspect_block_next(inspect, INSPECT_ANY, from, UINT64_MAX, with, &block, NULL) == WEIR_OK;
             from = block.number + 1) {
            cr_assert(!with || block.number == from);
            seen[with]++;
        }
    }
    cr_assert_eq(seen[1], KIT_BLOCKS);
    cr_assert_lt(seen[0], KIT_BLOCKS);
    inspect_close(inspect);
    kit_remove_directory(dir);
}

// A file that was set aside has numbers that other blocks got since: those were acknowledged later, and only they count.
Test(inspect, numbers_that_were_used_again)
{
    char *dir = kit_directory(), *other = kit_directory();
    kit_make(dir, NULL);
    struct spool *spool = kit_open(other, 64, NULL);
    kit_lane(spool, "a", WEIR_PROFILES, SPOOL_START_NOW);
    for (uint64_t i = 0; i < 10; i++)
        cr_assert_eq(kit_append(spool, WEIR_PROFILES, i, 1000), WEIR_OK);
    spool_close(spool);
    size_t len;
    char aside[64];
    uint8_t *data = kit_read_file(kit_path(other, kit_segment(other, 0)), &len);
    snprintf(aside, sizeof(aside), "%s.damaged", kit_segment(other, 0));
    kit_write_file(kit_path(dir, aside), data, len);
    free(data);
    struct inspect *inspect = kit_inspect(dir);
    struct inspect_block block;
    cr_assert_eq(inspect_block_next(inspect, WEIR_PROFILES, 0, UINT64_MAX, true, &block, NULL), WEIR_E_NOT_FOUND);
    inspect_close(inspect);
    kit_remove_directory(other);
    kit_remove_directory(dir);
}

// A user who may only read; as root the mode does not matter, so another user looks.
Test(inspect, a_user_who_may_only_read)
{
    char *dir = kit_directory();
    kit_make(dir, NULL);
    DIR *d = opendir(dir);
    for (struct dirent *entry; (entry = readdir(d)) != NULL;)
        if (entry->d_name[0] != '.')
            cr_assert_eq(chmod(kit_path(dir, entry->d_name), 0444), 0);
    closedir(d);
    cr_assert_eq(chmod(dir, 0555), 0);
    uint64_t before = kit_fingerprint(dir);
    pid_t pid = fork();
    if (pid == 0) {
        if (geteuid() == 0 && setuid(65534) != 0)
            _exit(9);
        static struct kit_findings found;
        struct inspect *inspect;
        if (inspect_open(dir, &inspect, NULL) != WEIR_OK)
            _exit(1);
        const struct verify_options options = {.on_finding = kit_on_finding, .ctx = &found};
        int code = verify_run(inspect, &options, &found.result, NULL);
        _exit(code == WEIR_OK && found.result.damage == 0 && found.result.blocks == KIT_BLOCKS ? 0 : 2);
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
    cr_assert_eq(kit_fingerprint(dir), before);
    cr_assert_eq(chmod(dir, 0755), 0);
    kit_remove_directory(dir);
}
