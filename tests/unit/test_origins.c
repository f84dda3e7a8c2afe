// SPDX-License-Identifier: Apache-2.0
// What is known of another weir's data: judged at once, and known again after any end of the process.
#include "relay/envelope.h"
#include "relay/origins.h"
#include "storage/note.h"
#include "tests/unit/spool_kit.h"

#include <sys/wait.h>

TestSuite(origins, .timeout = 60);

static struct handoff handoff_of(uint64_t scope, uint64_t from, uint64_t to, uint64_t low)
{
    return (struct handoff){
        .instance = {7}, .signal = WEIR_TRACES, .scope = scope, .span = {{from, 0}, {to, 0}}, .low = low};
}

static struct origins *open_origins(struct spool *spool)
{
    struct origins *origins = NULL;
    struct weir_err err = {0};
    cr_assert_eq(origins_open(spool, &origins, &err), WEIR_OK, "%s", err.text);
    return origins;
}

struct store {
    struct kit_wait wait; // first: a block's owner
    struct spool *spool;
    struct origins *origins;
    struct origin_claim claim;
};

static void on_stored(struct block *block, uint64_t number)
{
    struct store *store = block->owner;
    // Nobody can have read, delivered and settled it yet: whatever is noted now is durable before that is.
    cr_assert_eq(spool_next_block(store->spool), number);
    origins_stored(store->origins, &store->claim, number);
}

static struct block *block_of(const struct handoff *handoff)
{
    struct weir_err err = {0};
    uint8_t bytes[HANDOFF_BYTES], raw[64] = {1};
    struct envelope envelope = {.handoff = {bytes, sizeof(bytes)}};
    struct weir_buf encoded = {0};
    struct block_request request = {.items = 1, .received_ns = 1000};
    struct block *block = NULL;
    handoff_put(handoff, bytes);
    cr_assert_eq(envelope_encode(&envelope, &encoded, &err), WEIR_OK, "%s", err.text);
    struct block_builder *builder =
        block_builder_new(handoff->signal, (struct weir_slice){encoded.data, encoded.len}, 1);
    cr_assert_eq(block_builder_add(builder, (struct weir_slice){raw, sizeof(raw)}, &request, &err), WEIR_OK);
    cr_assert_eq(block_builder_seal(builder, &block, &err), WEIR_OK);
    block_builder_free(builder);
    weir_buf_free(&encoded);
    return block;
}

static struct position same_to;

static enum origins_answer ask(struct origins *origins, struct handoff handoff)
{
    struct origin_claim claim = {0};
    enum origins_answer answer = origins_claim(origins, &handoff, &claim, &same_to);
    origins_release(origins, &claim);
    return answer;
}

static void store(struct spool *spool, struct origins *origins, struct handoff handoff)
{
    struct store s = {.wait = KIT_WAIT, .spool = spool, .origins = origins};
    cr_assert_eq(origins_claim(origins, &handoff, &s.claim, &same_to), ORIGINS_TAKE);
    struct block *block = block_of(&handoff);
    block->stored = on_stored;
    kit_send(spool, &s.wait, block);
    cr_assert_eq(kit_join(&s.wait), WEIR_OK);
    cr_assert_null(s.claim.origin);
}

Test(origins, one_copy_of_each_position)
{
    char *directory = kit_directory();
    struct spool_report report;
    struct spool *spool = kit_open(directory, 64, &report);
    struct origins *origins = open_origins(spool);
    struct origins_stats stats;
    store(spool, origins, handoff_of(1, 10, 20, 5));
    cr_expect_eq(ask(origins, handoff_of(1, 10, 20, 5)), ORIGINS_HELD);
    cr_expect_eq(ask(origins, handoff_of(1, 12, 13, 5)), ORIGINS_HELD, "split otherwise");
    cr_expect_eq(ask(origins, handoff_of(1, 12, 25, 5)), ORIGINS_PART, "joined otherwise");
    cr_expect_eq(ask(origins, handoff_of(1, 20, 25, 5)), ORIGINS_TAKE);
    cr_expect_eq(ask(origins, handoff_of(1, 2, 5, 3)), ORIGINS_TAKE, "given up, and the origin was set back");
    cr_expect_eq(ask(origins, handoff_of(2, 10, 20, 5)), ORIGINS_TAKE, "another scope");
    struct handoff other = handoff_of(1, 10, 20, 5);
    other.instance[15] = 1;
    cr_expect_eq(ask(origins, other), ORIGINS_TAKE, "another origin");
    other = handoff_of(1, 10, 20, 5);
    other.signal = WEIR_LOGS;
    cr_expect_eq(ask(origins, other), ORIGINS_TAKE, "another signal");
    // On its way to the disk: neither stored nor free.
    struct origin_claim claim = {0}, second = {0};
    struct handoff under_way = handoff_of(1, 30, 40, 5), next = handoff_of(1, 40, 41, 5);
    cr_expect_eq(origins_claim(origins, &under_way, &claim, &same_to), ORIGINS_TAKE);
    cr_expect_eq(origins_claim(origins, &next, &second, &same_to), ORIGINS_TAKE);
    cr_expect_eq(ask(origins, handoff_of(1, 30, 40, 5)), ORIGINS_BUSY);
    cr_expect_eq(ask(origins, handoff_of(1, 25, 31, 5)), ORIGINS_BUSY);
    cr_expect_eq(ask(origins, handoff_of(1, 25, 30, 5)), ORIGINS_TAKE);
    origins_release(origins, &claim);
    origins_release(origins, &claim);
    cr_expect_eq(ask(origins, handoff_of(1, 30, 40, 5)), ORIGINS_TAKE, "it failed");
    cr_expect_eq(ask(origins, handoff_of(1, 30, 41, 5)), ORIGINS_BUSY);
    origins_release(origins, &second);
    origins_stats_get(origins, &stats);
    cr_expect_eq(stats.repeats, 2);
    cr_expect_eq(stats.parts, 1);
    cr_expect_eq(stats.forgotten, 0);
    origins_close(origins);
    spool_close(spool);
    kit_remove_directory(directory);
}

Test(origins, are_known_after_a_restart)
{
    char *directory = kit_directory();
    struct spool_report report;
    for (uint64_t run = 0; run < 3; run++) {
        struct spool *spool = kit_open(directory, 64, &report);
        struct origins *origins = open_origins(spool);
        for (uint64_t i = 0; i < run; i++)
            cr_expect_eq(ask(origins, handoff_of(1, 100 * i, 100 * i + 10, 0)), ORIGINS_HELD);
        store(spool, origins, handoff_of(1, 100 * run, 100 * run + 10, 0));
        origins_close(origins);
        spool_close(spool);
    }
    kit_remove_directory(directory);
}

// The process dies after each number of stored exports, whatever of the notes was durable by then; once before it, delivered data's settlements
// are durable, so that the notes must be.
Test(origins, are_known_after_a_crash)
{
    char *directory = kit_directory();
    struct spool_report report;
    for (uint64_t run = 0; run < 12; run++) {
        pid_t child = fork();
        if (child == 0) {
            struct spool *spool = kit_open(directory, 64, &report);
            struct spool_lane *lane = kit_lane(spool, "u", WEIR_TRACES, SPOOL_START_OLDEST);
            struct origins *origins = open_origins(spool);
            for (uint64_t i = 0; i < run % 4; i++) {
                store(spool, origins, handoff_of(1, 1000 * run + 100 * i, 1000 * run + 100 * i + 10, 0));
                if (run % 3 == 0) {
                    struct spool_outcome outcome = {.delivered = 1};
                    struct spool_stats stats;
                    spool_stats_get(spool, &stats);
                    spool_lane_settle(lane, 0, stats.next_block, &outcome);
                    if (spool_sync_state(spool, NULL) != WEIR_OK)
                        _exit(1);
                }
            }
            _exit(0);
        }
        int status;
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert_eq(status, 0);
        struct spool *spool = kit_open(directory, 64, &report);
        struct origins *origins = open_origins(spool);
        for (uint64_t r = 0; r <= run; r++)
            for (uint64_t i = 0; i < r % 4; i++)
                cr_expect_eq(ask(origins, handoff_of(1, 1000 * r + 100 * i, 1000 * r + 100 * i + 10, 0)), ORIGINS_HELD,
                             "run %d, of run %d export %d", (int)run, (int)r, (int)i);
        cr_expect_eq(ask(origins, handoff_of(1, 1000 * run + 500, 1000 * run + 510, 0)), ORIGINS_TAKE);
        origins_close(origins);
        spool_close(spool);
    }
    kit_remove_directory(directory);
}

// Ordinary data between exports does not make a start slow: what is below the notes is not read.
Test(origins, notes_keep_up_with_other_data)
{
    char *directory = kit_directory();
    struct spool_report report;
    struct spool *spool = kit_open(directory, 64, &report);
    struct origins *origins = open_origins(spool);
    struct weir_buf until = {0};
    for (unsigned i = 0; i < 300; i++)
        kit_append(spool, WEIR_LOGS, i, 64);
    origins_tick(origins);
    cr_assert_eq(spool_note_get(spool, "origin/until", &until, NULL), WEIR_OK);
    cr_expect_eq(weir_get_u64(until.data), 300);
    weir_buf_free(&until);
    origins_close(origins);
    spool_close(spool);
    kit_remove_directory(directory);
}

Test(origins, the_one_not_heard_of_for_longest_is_forgotten)
{
    char *directory = kit_fast_directory();
    if (directory == NULL)
        directory = kit_directory();
    struct spool_report report;
    struct spool *spool = kit_open(directory, 64, &report);
    struct origins *origins = open_origins(spool);
    struct origins_stats stats;
    store(spool, origins, handoff_of(1, 10, 20, 0));
    store(spool, origins, handoff_of(2, 10, 20, 0));
    for (uint64_t scope = 3; scope <= ORIGINS_MAX; scope++)
        cr_assert_eq(ask(origins, handoff_of(scope, 1, 2, 0)), ORIGINS_TAKE);
    cr_expect_eq(ask(origins, handoff_of(1, 10, 20, 0)), ORIGINS_HELD);
    cr_expect_eq(ask(origins, handoff_of(ORIGINS_MAX + 1, 1, 2, 0)), ORIGINS_TAKE);
    origins_stats_get(origins, &stats);
    cr_expect_eq(stats.scopes, ORIGINS_MAX);
    cr_expect_eq(stats.forgotten, 1);
    cr_expect_eq(ask(origins, handoff_of(1, 10, 20, 0)), ORIGINS_HELD);
    cr_expect_eq(ask(origins, handoff_of(2, 10, 20, 0)), ORIGINS_TAKE, "may come twice");
    origins_close(origins);
    spool_close(spool);
    kit_remove_directory(directory);
}
