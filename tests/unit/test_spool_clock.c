// SPDX-License-Identifier: Apache-2.0
// The system's clock is set while a spool with max_age runs: nothing goes before its time, and what comes after goes in its own.
#include <sys/syscall.h>
#include <time.h>

#include "retention_rig.h"

#define SECONDS 1000000000LL

// Takes libc's place: a wall clock that is set, and a time that passes.
static atomic_llong set_by_ns, passed_ns;
static atomic_int told;
static char told_text[200];

int clock_gettime(clockid_t id, struct timespec *out)
{
    int rc = (int)syscall(SYS_clock_gettime, id, out);
    if (id != CLOCK_REALTIME && id != CLOCK_BOOTTIME)
        return rc;
    long long more = atomic_load(&passed_ns) + (id == CLOCK_REALTIME ? atomic_load(&set_by_ns) : 0);
    long long ns = out->tv_sec * SECONDS + out->tv_nsec + more;
    *out = (struct timespec){ns / SECONDS, ns % SECONDS};
    return rc;
}

static void on_event(void *ctx, const struct spool_event *event)
{
    rig_on_event(ctx, event);
    if (event->kind != SPOOL_EVENT_CLOCK)
        return;
    snprintf(told_text, sizeof(told_text), "%s", event->text);
    atomic_fetch_add(&told, 1);
}

// Blocks that were received now.
static void fill_now(struct spool *spool, uint64_t first, uint64_t end)
{
    uint8_t *raw = malloc(BLOCK_BYTES);
    for (; first < end; first++) {
        struct kit_wait wait = KIT_WAIT;
        struct block_builder *builder =
            block_builder_new(WEIR_TRACES, (struct weir_slice){(const uint8_t *)"tenant", 6}, 1);
        kit_fill(raw, BLOCK_BYTES, first);
        struct block_request request = {.items = kit_items(first), .received_ns = weir_now_unix_ns()};
        cr_assert_eq(block_builder_add(builder, (struct weir_slice){raw, BLOCK_BYTES}, &request, NULL), WEIR_OK);
        struct block *block;
        cr_assert_eq(block_builder_seal(builder, &block, NULL), WEIR_OK);
        block_builder_free(builder);
        kit_send(spool, &wait, block);
        cr_assert_eq(kit_join(&wait), WEIR_OK);
    }
    free(raw);
}

Test(spool_clock, set_ahead_nothing_goes_before_its_time, .timeout = 60)
{
    char *dir = kit_directory();
    struct spool_options options = rig_options(dir, 64);
    options.unix_ns = NULL;
    options.on_event = on_event;
    options.max_age_ns = 3600 * SECONDS;
    struct spool *spool = rig_open(&options);
    struct spool_lane *a = kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    fill_now(spool, 0, 6);
    rig_keeper_round(spool);
    atomic_store(&set_by_ns, 365 * 86400 * SECONDS); // a year
    rig_keeper_round(spool);
    cr_expect_eq(kit_ledger(a).evicted, 0, "%llu items", (unsigned long long)kit_ledger(a).evicted);
    cr_expect_eq(atomic_load(&told), 1);
    cr_expect(strstr(told_text, "ahead by 3153") != NULL, "%s", told_text);
    fill_now(spool, 6, 10);
    // Right again a moment later, and ahead once more.
    atomic_store(&set_by_ns, 0);
    rig_keeper_round(spool);
    atomic_store(&set_by_ns, 86400 * SECONDS);
    rig_keeper_round(spool);
    cr_expect_eq(atomic_load(&told), 3);
    cr_expect_eq(kit_ledger(a).evicted, 0);
    // Time that passes is no jump: the machine slept. What is old goes, what came after does not.
    fill_now(spool, 10, 12);
    atomic_fetch_add(&passed_ns, 3000 * SECONDS);
    rig_keeper_round(spool);
    fill_now(spool, 12, 14);
    cr_expect_eq(kit_ledger(a).evicted, 0);
    atomic_fetch_add(&passed_ns, 700 * SECONDS);
    KIT_UNTIL(!rig_has(dir, 0) && !rig_has(dir, 4) && !rig_has(dir, 10));
    rig_keeper_round(spool);
    cr_expect(rig_has(dir, 12));
    cr_expect_eq(atomic_load(&told), 3);
    cr_expect_eq(kit_ledger(a).evicted, rig_events.items[SPOOL_LOSS_AGE]);
    spool_close(spool);
    kit_remove_directory(dir);
}
