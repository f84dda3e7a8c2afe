// SPDX-License-Identifier: Apache-2.0
// What is known of origins, read at a start when memory runs out at any allocation: all of it is known, or the start fails. Half of it would be
// stored twice without a word.
#include <criterion/criterion.h>

#include "relay/log.h"
#include "relay/origins.h"
#include "storage/note.h"
#include "tests/unit/fault_memory.h"
#include "tests/unit/spool_kit.h"

TestSuite(origins_memory, .timeout = 120);

#define SCOPES 5u

static long countdown; // the allocation that fails; 0: none
static long failures;

static int fault_ask(struct fault_at *at)
{
    if (at->call != FAULT_MEMORY || countdown == 0 || --countdown > 0)
        return 0;
    failures++;
    return ENOMEM;
}

// As origins.c writes it: all below block 10, and [20, 30).
static void put_scope(struct spool *spool, unsigned scope)
{
    char key[SPOOL_NOTE_KEY_BYTES];
    uint8_t value[1 + 3 * 12] = {1};
    snprintf(key, sizeof(key), "origin/%032x/%u/%016x", 7, (unsigned)WEIR_TRACES, scope);
    weir_put_u64(value + 1, 10);
    weir_put_u64(value + 13, 20);
    weir_put_u64(value + 25, 30);
    cr_assert_eq(spool_note_put(spool, key, (struct weir_slice){value, sizeof(value)}, true, NULL), WEIR_OK);
}

static void expect_all(struct origins *origins)
{
    for (unsigned scope = 0; scope < SCOPES; scope++) {
        struct handoff handoff = {
            .instance = {[15] = 7}, .signal = WEIR_TRACES, .scope = scope, .span = {{22, 0}, {30, 0}}};
        struct origin_claim claim = {0};
        struct position same_to;
        cr_expect_eq(origins_claim(origins, &handoff, &claim, &same_to), ORIGINS_HELD, "scope %u", scope);
        origins_release(origins, &claim);
    }
}

Test(origins_memory, all_is_known_or_the_start_fails)
{
    char *directory = kit_directory();
    struct spool *spool = kit_open(directory, 64, NULL);
    int failed = 0;
    log_to_fd(open("/dev/null", O_WRONLY | O_CLOEXEC));
    for (unsigned scope = 0; scope < SCOPES; scope++)
        put_scope(spool, scope);
    fault_thread_works = true; // so that its memory fails beneath a sanitizer, too
    for (long i = 1; i < 1000; i++) {
        struct origins *origins = NULL;
        struct weir_err err = {0};
        failures = 0;
        countdown = i;
        fault_memory_on = true;
        int rc = origins_open(spool, &origins, &err);
        fault_memory_on = false;
        cr_expect(rc == WEIR_OK || rc == WEIR_E_NOMEM, "allocation %ld: %s", i, err.text);
        failed += rc != WEIR_OK;
        if (rc == WEIR_OK)
            expect_all(origins);
        origins_close(rc == WEIR_OK ? origins : NULL);
        if (failures == 0)
            break;
    }
    cr_expect_eq(failures, 0, "not all allocations were made to fail");
    cr_expect(failed > 2 * (int)SCOPES || !FAULT_MEMORY_FAILS, "%d starts failed", failed);
    spool_close(spool);
    kit_remove_directory(directory);
}
