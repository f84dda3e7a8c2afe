// SPDX-License-Identifier: Apache-2.0
// Lanes of upstreams that come and go: the state holds SPOOL_LANES_MAX, and one of which nothing is left makes room.
#include "faults_kit.h"
#include "letters_kit.h"

#define UPSTREAMS (SPOOL_LANES_MAX / WEIR_SIGNALS)

static struct {
    unsigned n;
    char upstream[64], text[256]; // of the last one
    enum weir_signal signal;
} forgotten;

static void note_forgotten(void *ctx, const struct spool_event *event)
{
    (void)ctx;
    if (event->kind != SPOOL_EVENT_FORGOTTEN)
        return;
    forgotten.n++;
    forgotten.signal = event->signal;
    snprintf(forgotten.upstream, sizeof(forgotten.upstream), "%s", event->upstream);
    snprintf(forgotten.text, sizeof(forgotten.text), "%s", event->text);
}

static struct spool *open_telling(const char *dir)
{
    struct spool_options options = kit_options(dir, 64);
    struct weir_err err = {0};
    struct spool *spool;
    options.on_event = note_forgotten;
    forgotten.n = 0;
    cr_assert_eq(spool_open(&options, &spool, NULL, &err), WEIR_OK, "%s", err.text);
    return spool;
}

static struct spool_lane *lane_of(struct spool *spool, unsigned upstream, enum weir_signal signal)
{
    char name[16];
    snprintf(name, sizeof(name), "u%02u", upstream);
    return kit_lane(spool, name, signal, SPOOL_START_NOW);
}

static struct spool_lane *orphan(struct spool *spool, const char *upstream, enum weir_signal signal)
{
    struct spool_lane *lanes[SPOOL_LANES_MAX];
    size_t n = spool_orphan_lanes(spool, lanes, SPOOL_LANES_MAX);
    for (size_t i = 0; i < n; i++)
        if (strcmp(spool_lane_upstream(lanes[i]), upstream) == 0 && spool_lane_signal(lanes[i]) == signal)
            return lanes[i];
    return NULL;
}

static int open_new(struct spool *spool, unsigned i, enum weir_signal signal)
{
    struct weir_err err = {0};
    struct spool_lane *lane;
    char name[16];
    snprintf(name, sizeof(name), "new%u", i);
    int code = spool_lane_open(spool, name, signal, SPOOL_START_OLDEST, &lane, &err);
    cr_assert(code == WEIR_OK || (code == WEIR_E_LIMIT && strstr(err.text, "192 lanes") != NULL), "%s", err.text);
    return code;
}

// All the lanes that there can be. Every one of traces got one block: u00 has it still to get, of u01 it is a dead letter, the others
// have it delivered.
static void fill(const char *dir)
{
    struct spool *spool = open_telling(dir);
    struct spool_lane *lanes[UPSTREAMS];
    for (unsigned i = 0; i < UPSTREAMS; i++)
        for (unsigned s = 0; s < WEIR_SIGNALS; s++) {
            struct spool_lane *lane = lane_of(spool, i, (enum weir_signal)s);
            lanes[i] = s == WEIR_TRACES ? lane : lanes[i];
        }
    cr_assert_eq(open_new(spool, 0, WEIR_TRACES), WEIR_E_LIMIT, "they are all open");
    cr_assert_eq(kit_append(spool, WEIR_TRACES, 0, 1000), WEIR_OK);
    letters_block(spool, lanes[1], "u01", 0, kit_items(0));
    for (unsigned i = 2; i < UPSTREAMS; i++)
        kit_drain(spool, lanes[i], WEIR_TRACES, 1, NULL, NULL);
    cr_assert_eq(forgotten.n, 0);
    spool_close(spool);
}

Test(lanes, what_has_nothing_left_makes_room)
{
    char *dir = kit_any_directory();
    fill(dir);
    struct spool *spool = open_telling(dir);
    struct spool_lane *kept = lane_of(spool, 47, WEIR_LOGS); // with no item at all, but open
    unsigned none = SPOOL_LANES_MAX - UPSTREAMS - 1, some = UPSTREAMS - 2, n = 0;
    for (; n < none; n++) {
        cr_assert_eq(open_new(spool, n, WEIR_TRACES), WEIR_OK);
        cr_assert_eq(forgotten.n, n + 1);
        cr_assert_neq(forgotten.signal, WEIR_TRACES, "those that got items go last");
        cr_assert_null(orphan(spool, forgotten.upstream, forgotten.signal));
    }
    struct spool_lane *last = orphan(spool, "u02", WEIR_TRACES);
    for (; n < none + some; n++) {
        cr_assert_eq(open_new(spool, n, WEIR_TRACES), WEIR_OK);
        cr_assert(forgotten.n == n + 1 && forgotten.signal == WEIR_TRACES);
        cr_assert_neq(strstr(forgotten.text, "1 delivered, 0 evicted, 0 discarded"), NULL, "%s", forgotten.text);
    }
    cr_assert_eq(kit_ledger(last).delivered, kit_items(0), "whoever has one may go on looking at it");
    // What is left has a block to get, or a dead letter.
    cr_assert_eq(open_new(spool, n, WEIR_TRACES), WEIR_E_LIMIT);
    cr_assert_eq(kit_ledger(orphan(spool, "u00", WEIR_TRACES)).pending, kit_items(0));
    cr_assert_eq(kit_ledger(orphan(spool, "u01", WEIR_TRACES)).dead_lettered, kit_items(0));
    uint64_t items;
    cr_assert_eq(spool_lane_discard(orphan(spool, "u00", WEIR_TRACES), &items, NULL), WEIR_OK);
    cr_assert_eq(open_new(spool, n++, WEIR_TRACES), WEIR_OK);
    cr_assert(strcmp(forgotten.upstream, "u00") == 0 && strstr(forgotten.text, "1 discarded") != NULL);
    cr_assert_eq(open_new(spool, n, WEIR_TRACES), WEIR_E_LIMIT);
    struct letters_walked walked;
    cr_assert_eq(spool_letters_change(spool, LETTERS_PURGE, &letters_all, NULL, &walked, NULL), WEIR_OK);
    cr_assert_eq(open_new(spool, n++, WEIR_TRACES), WEIR_OK);
    cr_assert_str_eq(forgotten.upstream, "u01");
    cr_assert_eq(open_new(spool, n, WEIR_TRACES), WEIR_E_LIMIT);
    cr_assert_eq(kit_ledger(kept).accepted, 0);
    spool_close(spool);
    letters_verify(dir);
    kit_remove_directory(dir);
}

// What was forgotten is gone for good, what took its place is there; and that a name comes back makes a lane of its own.
Test(lanes, a_forgotten_name_is_a_new_one)
{
    char *dir = kit_any_directory();
    fill(dir);
    struct spool *spool = open_telling(dir);
    unsigned n = 0;
    for (; n < SPOOL_LANES_MAX - 2; n++)
        cr_assert_eq(open_new(spool, n, WEIR_TRACES), WEIR_OK);
    cr_assert_null(orphan(spool, "u05", WEIR_TRACES));
    spool_close(spool);
    spool = open_telling(dir);
    struct spool_lane *lanes[SPOOL_LANES_MAX];
    cr_assert_eq(spool_orphan_lanes(spool, lanes, SPOOL_LANES_MAX), SPOOL_LANES_MAX);
    cr_assert_null(orphan(spool, "u05", WEIR_TRACES));
    struct spool_lane *old = orphan(spool, "new7", WEIR_TRACES);
    cr_assert_eq(kit_ledger(old).pending, kit_items(0), "it began with the oldest");
    uint64_t items;
    cr_assert_eq(spool_lane_discard(old, &items, NULL), WEIR_OK);
    struct spool_lane *again = lane_of(spool, 5, WEIR_TRACES);
    cr_assert_eq(kit_ledger(again).accepted, 0);
    cr_assert_eq(orphan(spool, "new7", WEIR_TRACES), NULL);
    cr_assert_eq(kit_append(spool, WEIR_TRACES, 1, 1000), WEIR_OK);
    cr_assert_eq(kit_ledger(again).pending, kit_items(1));
    spool_close(spool);
    spool = open_telling(dir);
    cr_assert_eq(kit_ledger(lane_of(spool, 5, WEIR_TRACES)).pending, kit_items(1));
    cr_assert_eq(forgotten.n, 0);
    spool_close(spool);
    letters_verify(dir);
    kit_remove_directory(dir);
}

// The commit fails that would have made one of two: when it can be done there are not more than the state may hold, whatever came first.
Test(lanes, a_commit_that_failed_forgets_later)
{
    char *dir = kit_any_directory();
    for (int i = 0; i < 6; i++) {
        fill(dir);
        struct spool *spool = open_telling(dir);
        struct spool_lane *lane;
        faults_arm(i % 2 == 0 ? FAULTS(FAULT_FLUSH) : FAULTS(FAULT_WRITE) | FAULTS(FAULT_META), EIO, 0, true);
        for (int k = 0; k <= i; k++) {
            char name[16];
            snprintf(name, sizeof(name), "new%d", k);
            cr_assert_eq(spool_lane_open(spool, name, WEIR_TRACES, SPOOL_START_NOW, &lane, NULL), WEIR_E_IO);
        }
        char gone[64];
        enum weir_signal signal = forgotten.signal;
        memcpy(gone, forgotten.upstream, sizeof(gone));
        faults_disarm();
        cr_assert_eq(spool_sync_state(spool, NULL), WEIR_OK);
        spool_close(spool);
        spool = open_telling(dir);
        struct spool_lane *lanes[SPOOL_LANES_MAX];
        cr_assert_eq(spool_orphan_lanes(spool, lanes, SPOOL_LANES_MAX), SPOOL_LANES_MAX);
        cr_assert_null(orphan(spool, gone, signal));
        cr_assert_not_null(orphan(spool, "new0", WEIR_TRACES));
        cr_assert_eq(kit_files(dir, ".damaged", NULL, 0), 0, "something was set aside");
        spool_close(spool);
        kit_empty_directory(dir);
    }
    kit_remove_directory(dir);
}
