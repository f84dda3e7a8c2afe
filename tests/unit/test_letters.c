// SPDX-License-Identifier: Apache-2.0
// What becomes of dead letters, and that `dead_lettered` in the ledger is what lies in the file: in one run, across restarts and kills.
#include <signal.h>
#include <sys/wait.h>

#include "letters_kit.h"
#include "storage/past.h"

#define BLOCKS 8u

struct home {
    char *dir;
    struct spool *spool;
    struct spool_lane *lane;
};

static void home_open(struct home *home)
{
    home->spool = kit_open(home->dir, 64, NULL);
    home->lane = kit_lane(home->spool, "a", WEIR_TRACES, SPOOL_START_NOW);
}

static void home_again(struct home *home)
{
    spool_close(home->spool);
    letters_verify(home->dir);
    home_open(home);
}

// A spool of BLOCKS blocks of traces.
static struct home home_new(void)
{
    struct home home = {.dir = kit_any_directory()};
    home_open(&home);
    for (uint64_t i = 0; i < BLOCKS; i++)
        cr_assert_eq(kit_append(home.spool, WEIR_TRACES, i, 5000), WEIR_OK);
    return home;
}

static void home_end(struct home *home)
{
    spool_close(home->spool);
    letters_verify(home->dir);
    kit_remove_directory(home->dir);
}

// The ledger, which must agree with the letters.
static struct spool_lane_stats agreed(struct home *home)
{
    struct spool_lane_stats s = kit_ledger(home->lane);
    cr_assert_eq(s.dead_lettered, letters_items(home->spool, "a", WEIR_TRACES));
    return s;
}

static void change(struct home *home, enum letters_change what, uint64_t block, int expected)
{
    struct weir_err err = {0};
    struct letter_id id = letters_id(block, 0, "a");
    cr_assert_eq(spool_letter_change(home->spool, what, &id, &err), expected, "%s", err.text);
}

// In a process that is killed when it is done.
static void killed(struct home *home, void (*run)(struct home *home))
{
    pid_t pid = fork();
    if (pid == 0) {
        home_open(home);
        run(home);
        raise(SIGKILL);
    }
    int status;
    cr_assert(pid > 0 && waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
    letters_verify(home->dir);
    home_open(home);
}

Test(letters, ids_are_what_a_person_types)
{
    char text[LETTER_ID_TEXT];
    struct letter_id id;
    cr_assert(letter_id_parse("48213-17.central.eu", &id));
    cr_expect(id.block == 48213 && id.item == 17 && strcmp(id.upstream, "central.eu") == 0);
    cr_expect_str_eq(letter_id_format(&id, text), "48213-17.central.eu");
    static const char *const wrong[] = {
        "", "1", "1-", "1-2", "1-2.", "-2.a", "1.2.a", "x-2.a", "18446744073709551616-0.a", "1--2.a", " 1-2.a"};
    for (size_t i = 0; i < WEIR_COUNT(wrong); i++)
        cr_expect_not(letter_id_parse(wrong[i], &id), "%s", wrong[i]);
    cr_expect(letter_id_parse("18446744073709551615-0.a", &id));
}

static void see(void *ctx, const struct letter_info *info)
{
    *(struct letter_info *)ctx = *info;
}

Test(letters, one_is_listed_and_read)
{
    struct home home = home_new();
    letters_block(home.spool, home.lane, "a", 3, 2);
    struct letters_walked walked;
    struct letter_info info = {0};
    cr_assert_eq(spool_letters_list(home.spool, &letters_all, NULL, 10, see, &info, &walked, NULL), WEIR_OK);
    cr_expect(walked.letters == 1 && walked.items == 2 && !walked.more);
    struct letter *letter;
    struct letter_id id = letters_id(3, 0, "a");
    cr_assert_eq(spool_letter_get(home.spool, &id, &letter, NULL), WEIR_OK);
    info = *letter_info_of(letter);
    cr_expect(info.id.block == 3 && info.items == 2 && info.signal == WEIR_TRACES && info.attempts == 2);
    cr_expect(info.received_ns == 1003 && info.time_min_ns == 5 && info.time_max_ns == 6 && info.redrives == 0);
    cr_expect(info.code.len == 16 && memcmp(info.code.data, "INVALID_ARGUMENT", 16) == 0 && info.message.len == 2);
    cr_expect(info.envelope.len == 6 && info.raw_bytes == 300);
    struct weir_buf raw = {0};
    uint8_t expected[300];
    kit_fill(expected, sizeof(expected), 300);
    cr_assert_eq(letter_decode(letter, &raw, NULL), WEIR_OK);
    cr_expect(raw.len == 300 && memcmp(raw.data, expected, 300) == 0);
    weir_buf_free(&raw);
    letter_free(letter);
    id = letters_id(3, 1, "a");
    cr_expect_eq(spool_letter_get(home.spool, &id, &letter, NULL), WEIR_E_NOT_FOUND);
    static const struct letter_filter none[] = {{.upstream = "b", .signal = -1},
                                                {.upstream = "a", .signal = WEIR_LOGS}};
    for (size_t i = 0; i < 2; i++) {
        cr_assert_eq(spool_letters_list(home.spool, &none[i], NULL, 10, see, &info, &walked, NULL), WEIR_OK);
        cr_expect_eq(walked.letters, 0);
    }
    home_end(&home);
}

Test(letters, redrive_purge_and_refusal_move_the_ledger)
{
    struct home home = home_new();
    for (uint64_t i = 0; i < BLOCKS; i++)
        letters_block(home.spool, home.lane, "a", i, 2);
    uint64_t rest = agreed(&home).delivered;
    change(&home, LETTERS_PURGE, 1, WEIR_OK);
    change(&home, LETTERS_PURGE, 1, WEIR_E_NOT_FOUND);
    change(&home, LETTERS_REDRIVE, 4, WEIR_OK);
    change(&home, LETTERS_REDRIVE, 4, WEIR_OK);
    change(&home, LETTERS_REDRIVE, 5, WEIR_OK);
    change(&home, LETTERS_REDRIVE, 6, WEIR_OK);
    change(&home, LETTERS_UNREDRIVE, 6, WEIR_OK);
    home_again(&home); // marks stay
    cr_assert_eq(spool_letters_marked(home.spool, "a"), 2);
    cr_assert_eq(spool_letters_marked(home.spool, "b"), 0);
    struct letter *letter;
    struct letter_id last;
    cr_assert_eq(spool_letter_take(home.spool, "a", NULL, &letter, &last, NULL), WEIR_OK);
    cr_expect_eq(last.block, 4);
    letter_free(letter);
    change(&home, LETTERS_PURGE, 4, WEIR_E_AGAIN); // it is being sent
    cr_assert_eq(spool_letter_take(home.spool, "a", NULL, &letter, &last, NULL), WEIR_OK);
    cr_expect_eq(last.block, 5);
    letter_free(letter);
    cr_assert_eq(spool_letter_take(home.spool, "a", &last, &letter, &last, NULL), WEIR_E_NOT_FOUND);
    struct letter_id id = letters_id(4, 0, "a");
    cr_assert_eq(spool_letter_delivered(home.spool, &id, 1, NULL), WEIR_OK);
    id = letters_id(5, 0, "a");
    cr_assert_eq(spool_letter_refused(home.spool, &id, "NOT_FOUND", "gone", NULL), WEIR_OK);
    for (unsigned again = 0; again < 2; again++) {
        struct spool_lane_stats s = agreed(&home);
        cr_expect(s.dead_lettered == 12 && s.discarded == 2 && s.delivered == rest + 2 && s.rejected_by_upstream == 1);
        cr_assert_eq(spool_letter_get(home.spool, &id, &letter, NULL), WEIR_OK);
        const struct letter_info *info = letter_info_of(letter);
        cr_expect(info->attempts == 3 && info->redrives == 1 && !info->redrive && info->redriven_ns != 0);
        cr_expect(info->code.len == 9 && memcmp(info->code.data, "NOT_FOUND", 9) == 0);
        letter_free(letter);
        home_again(&home);
    }
    home_end(&home);
}

Test(letters, a_refused_one_may_become_two)
{
    struct home home = home_new();
    uint8_t raw[10] = {0};
    struct letter_id id = letters_id(4, 0, "a"), last;
    struct letter *letter;
    struct spool_dead_letter parts[2];
    letters_block(home.spool, home.lane, "a", 4, 5);
    change(&home, LETTERS_REDRIVE, 4, WEIR_OK);
    cr_assert_eq(spool_letter_take(home.spool, "a", NULL, &letter, &last, NULL), WEIR_OK);
    letter_free(letter);
    for (unsigned i = 0; i < 2; i++)
        parts[i] = (struct spool_dead_letter){.upstream = "a",
                                              .code = "c",
                                              .message = "m",
                                              .block = 4,
                                              .item = i * 2,
                                              .items = i == 0 ? 2 : 3,
                                              .raw = {raw, sizeof(raw)}};
    cr_assert_eq(spool_letter_split(home.spool, &id, parts, NULL), WEIR_OK);
    cr_expect_eq(agreed(&home).dead_lettered, 5);
    home_again(&home);
    cr_expect_eq(agreed(&home).dead_lettered, 5);
    cr_expect_eq(spool_letters_marked(home.spool, "a"), 2);
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(spool_letter_take(home.spool, "a", NULL, &letter, &last, NULL), WEIR_OK);
        cr_expect_eq(letter_info_of(letter)->items, i == 0 ? 2 : 3);
        letter_free(letter);
        cr_assert_eq(spool_letter_delivered(home.spool, &last, 0, NULL), WEIR_OK);
    }
    cr_expect_eq(agreed(&home).dead_lettered, 0);
    // A part that would take another's place: nothing is changed.
    letters_block(home.spool, home.lane, "a", 3, 2);
    id = letters_id(3, 0, "a");
    parts[0].block = parts[1].block = 3;
    parts[1].item = 0;
    change(&home, LETTERS_REDRIVE, 3, WEIR_OK);
    cr_expect_eq(spool_letter_split(home.spool, &id, parts, NULL), WEIR_E_AGAIN);
    cr_expect_eq(agreed(&home).dead_lettered, 2);
    home_end(&home);
}

Test(letters, all_are_changed_in_batches)
{
    struct home home = home_new();
    uint64_t expected = 0, marked = 0, purged = 0;
    for (uint64_t i = 0; i < 3 * LETTERS_AT_ONCE; i++) {
        cr_assert_eq(letters_put(home.spool, i % 3 == 0 ? "b" : "c", WEIR_LOGS, i, 0, 1), WEIR_OK);
        expected += i % 3 == 0;
    }
    static const struct letter_filter b = {.upstream = "b", .signal = -1};
    for (unsigned what = 0; what < 2; what++) {
        struct letters_walked walked = {.more = true};
        struct letter_id after;
        for (bool first = true; walked.more; first = false) {
            after = walked.last;
            cr_assert_eq(spool_letters_change(home.spool, what == 0 ? LETTERS_REDRIVE : LETTERS_PURGE, &b,
                                              first ? NULL : &after, &walked, NULL),
                         WEIR_OK);
            cr_expect_leq(walked.letters, LETTERS_AT_ONCE);
            *(what == 0 ? &marked : &purged) += walked.letters;
        }
        cr_expect_eq(spool_letters_marked(home.spool, "b"), what == 0 ? expected : 0);
    }
    cr_expect(marked == expected && purged == expected);
    cr_expect_eq(letters_items(home.spool, "c", WEIR_LOGS), 3 * LETTERS_AT_ONCE - expected);
    cr_expect_eq(letters_items(home.spool, "b", WEIR_LOGS), 0);
    home_end(&home);
}

// --- between two files -------------------------------------------------------------------------------------------------------

static void put_only(struct home *home)
{
    cr_assert_eq(letters_put(home->spool, "a", WEIR_TRACES, 2, 0, 1), WEIR_OK);
    cr_assert_eq(letters_put(home->spool, "a", WEIR_TRACES, 2, 3, 1), WEIR_OK);
}

Test(letters, of_a_block_that_was_not_settled_are_forgotten)
{
    struct home home = home_new();
    spool_close(home.spool);
    killed(&home, put_only);
    struct spool_lane_stats s = agreed(&home);
    cr_expect(s.dead_lettered == 0 && s.pending == s.accepted);
    home_end(&home);
}

static void settle_and_redrive(struct home *home)
{
    struct letter_id id = letters_id(2, 0, "a");
    letters_block(home->spool, home->lane, "a", 2, 2);
    letters_block(home->spool, home->lane, "a", 3, 2);
    cr_assert_eq(spool_letter_change(home->spool, LETTERS_REDRIVE, &id, NULL), WEIR_OK);
    cr_assert_eq(spool_letter_delivered(home->spool, &id, 0, NULL), WEIR_OK); // in the file; the state may be behind
}

Test(letters, the_ledger_follows_after_a_kill)
{
    struct home home = home_new();
    spool_close(home.spool);
    for (unsigned i = 0; i < 5; i++) {
        home_open(&home);
        struct spool_lane_stats before = agreed(&home);
        cr_assert_eq(before.dead_lettered, i > 0 ? 2 : 0);
        spool_close(home.spool);
        killed(&home, settle_and_redrive);
        struct spool_lane_stats s = agreed(&home);
        cr_expect_eq(s.dead_lettered, 2);
        if (i == 0) // later the blocks are settled already, and what is put is accepted again
            cr_expect_eq(s.delivered, kit_items(2) + kit_items(3) - 2);
        spool_close(home.spool);
    }
    home_open(&home);
    home_end(&home);
}

// An attempt that was given up put a letter; the next one delivered the item, and another was refused.
Test(letters, of_an_attempt_that_was_given_up_go)
{
    struct home home = home_new();
    cr_assert_eq(letters_put(home.spool, "a", WEIR_TRACES, 1, 0, 2), WEIR_OK);
    cr_assert_eq(letters_put(home.spool, "a", WEIR_TRACES, 1, 2, 1), WEIR_OK);
    const struct spool_outcome outcome = {.delivered = kit_items(1) - 1, .dead_lettered = 1};
    spool_lane_settle(home.lane, 0, 1, &(struct spool_outcome){.delivered = kit_items(0)});
    spool_lane_settle(home.lane, 1, 2, &outcome);
    KIT_UNTIL(letters_items(home.spool, "a", WEIR_TRACES) == 1); // the keeper takes the other one out
    cr_expect_eq(agreed(&home).dead_lettered, 1);
    home_end(&home);
}

Test(letters, of_a_block_that_is_replayed_are_replaced)
{
    struct home home = {.dir = kit_any_directory()};
    struct spool_options options = kit_options(home.dir, 64);
    options.keep_delivered_ns = UINT64_MAX;
    cr_assert_eq(spool_open(&options, &home.spool, NULL, NULL), WEIR_OK);
    home.lane = kit_lane(home.spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    for (uint64_t i = 0; i < BLOCKS; i++)
        cr_assert_eq(kit_append(home.spool, WEIR_TRACES, i, 5000), WEIR_OK);
    letters_block(home.spool, home.lane, "a", 6, 2);
    struct spool_replay replay;
    cr_assert_eq(spool_lane_replay(home.lane, 6, 7, false, &replay, NULL), WEIR_OK);
    cr_expect_eq(agreed(&home).dead_lettered, 2);
    letters_block(home.spool, home.lane, "a", 6, 2);
    struct spool_lane_stats s = agreed(&home);
    cr_expect(s.dead_lettered == 2 && s.discarded == 2 && s.replayed == kit_items(6));
    home_end(&home);
}

Test(letters, without_their_file_are_lost_and_told)
{
    struct home home = home_new();
    letters_block(home.spool, home.lane, "a", 0, 2);
    cr_expect_eq(agreed(&home).dead_lettered, 2);
    spool_close(home.spool);
    cr_assert_eq(unlink(kit_path(home.dir, "deadletter.mdb")), 0);
    home_open(&home);
    struct spool_lane_stats s = agreed(&home);
    cr_expect(s.dead_lettered == 0 && s.evicted_by[SPOOL_LOSS_DAMAGE] == 2);
    home_end(&home);
}

// --- the quota ----------------------------------------------------------------------------------------------------------------

Test(letters, the_oldest_go_when_the_quota_is_full)
{
    struct home home = {.dir = kit_any_directory()};
    struct spool_options options = kit_options(home.dir, 64);
    options.dead_letter_bytes = 3 * 4096;
    cr_assert_eq(spool_open(&options, &home.spool, NULL, NULL), WEIR_OK);
    home.lane = kit_lane(home.spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    for (uint64_t i = 0; i < 20; i++) {
        cr_assert_eq(kit_append(home.spool, WEIR_TRACES, i, 1000), WEIR_OK);
        letters_block(home.spool, home.lane, "a", i, 1);
        struct spool_stats stats;
        spool_stats_get(home.spool, &stats);
        cr_assert_leq(stats.dead_letter_bytes, options.dead_letter_bytes);
        cr_assert_eq(agreed(&home).evicted_by[SPOOL_LOSS_LETTERS], i < 3 ? 0 : i - 2);
    }
    struct letters_walked walked;
    struct letter_info info;
    cr_assert_eq(spool_letters_list(home.spool, &letters_all, NULL, 1, see, &info, &walked, NULL), WEIR_OK);
    cr_expect_eq(walked.last.block, 17, "the newest three are there");
    // Letters of one block are not settled: nothing may go, and the one too many is told to its caller.
    cr_assert_eq(kit_append(home.spool, WEIR_TRACES, 4, 1000), WEIR_OK);
    for (uint64_t item = 0; item < 4; item++)
        cr_expect_eq(letters_put(home.spool, "a", WEIR_TRACES, 20, item, 1), item < 3 ? WEIR_OK : WEIR_E_LIMIT);
    const struct spool_outcome outcome = {.delivered = kit_items(4) - 4, .dead_lettered = 3, .evicted = 1};
    spool_lane_settle(home.lane, 20, 21, &outcome);
    struct spool_lane_stats s = agreed(&home);
    cr_expect(s.dead_lettered == 3 && s.evicted_by[SPOOL_LOSS_LETTERS] == 21);
    home_end(&home);
}

// Two halves take more pages than the whole: redriven over and over, a full file would grow past its quota.
Test(letters, what_is_halved_stays_within_the_quota)
{
    struct home home = {.dir = kit_any_directory()};
    struct spool_options options = kit_options(home.dir, 64);
    options.dead_letter_bytes = 4 * 4096;
    cr_assert_eq(spool_open(&options, &home.spool, NULL, NULL), WEIR_OK);
    home.lane = kit_lane(home.spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    uint8_t raw[10] = {0};
    unsigned halved = 0;
    for (uint64_t i = 0; i < 3; i++) {
        cr_assert_eq(kit_append(home.spool, WEIR_TRACES, 5, 1000), WEIR_OK);
        letters_block(home.spool, home.lane, "a", i, 4);
        change(&home, LETTERS_REDRIVE, i, WEIR_OK);
    }
    for (uint64_t i = 0; i < 3; i++) {
        struct letter_id id = letters_id(i, 0, "a"), last;
        struct letter *letter;
        struct spool_dead_letter parts[2];
        struct spool_stats stats;
        for (unsigned n = 0; n < 2; n++)
            parts[n] = (struct spool_dead_letter){.upstream = "a",
                                                  .code = "c",
                                                  .message = "m",
                                                  .block = i,
                                                  .item = 2u * n,
                                                  .items = 2,
                                                  .raw = {raw, sizeof(raw)}};
        struct letter_id before = letters_id(i, 0, "");
        cr_assert_eq(spool_letter_take(home.spool, "a", &before, &letter, &last, NULL), WEIR_OK);
        cr_assert(last.block == i && last.item == 0);
        letter_free(letter);
        int code = spool_letter_split(home.spool, &id, parts, NULL);
        cr_assert(code == WEIR_OK || code == WEIR_E_LIMIT);
        halved += code == WEIR_OK;
        spool_letter_back(home.spool, &id);
        spool_stats_get(home.spool, &stats);
        cr_assert_leq(stats.dead_letter_bytes, options.dead_letter_bytes);
        cr_assert_eq(agreed(&home).dead_lettered, 12);
    }
    cr_expect_eq(halved, 1);
    home_end(&home);
}
