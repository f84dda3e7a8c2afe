// SPDX-License-Identifier: Apache-2.0
// Dead letters for tests: blocks that end as one, and that ledgers and letters agree. Header-only.
#ifndef TESTS_UNIT_LETTERS_KIT_H
#define TESTS_UNIT_LETTERS_KIT_H

#include "storage/letters.h"
#include "tests/unit/inspect_kit.h"

static const struct letter_filter letters_all = {.signal = -1};

__attribute__((unused)) static struct letter_id letters_id(uint64_t block, uint64_t item, const char *upstream)
{
    struct letter_id id = {.block = block, .item = item};
    snprintf(id.upstream, sizeof(id.upstream), "%s", upstream);
    return id;
}

// `items` of a block from `item` on.
__attribute__((unused)) static int letters_put(struct spool *spool, const char *upstream, enum weir_signal signal,
                                               uint64_t block, uint64_t item, uint64_t items)
{
    uint8_t raw[300];
    struct weir_err err = {0};
    kit_fill(raw, sizeof(raw), block * 100 + item);
    const struct spool_dead_letter letter = {.upstream = upstream,
                                             .signal = signal,
                                             .code = "INVALID_ARGUMENT",
                                             .message = "no",
                                             .attempts = 2,
                                             .block = block,
                                             .item = item,
                                             .items = items,
                                             .received_ns = 1000 + block,
                                             .time_min_ns = 5,
                                             .time_max_ns = 6,
                                             .envelope = {(const uint8_t *)"tenant", 6},
                                             .raw = {raw, sizeof(raw)}};
    int code = spool_dead_letter_put(spool, &letter, &err);
    cr_assert(code == WEIR_OK || err.text[0] != '\0');
    return code;
}

// A block of one lane of which `dead` items are refused and the rest delivered.
__attribute__((unused)) static void letters_block(struct spool *spool, struct spool_lane *lane, const char *upstream,
                                                  uint64_t block, uint64_t dead)
{
    cr_assert_eq(letters_put(spool, upstream, WEIR_TRACES, block, 0, dead), WEIR_OK);
    const struct spool_outcome outcome = {.delivered = kit_items(block) - dead, .dead_lettered = dead};
    spool_lane_settle(lane, block, block + 1, &outcome);
}

static void letters_count(void *ctx, const struct letter_info *info)
{
    uint64_t *items = ctx;
    *items += info->items;
}

// Of an upstream and signal, page by page.
__attribute__((unused)) static uint64_t letters_items(struct spool *spool, const char *upstream,
                                                      enum weir_signal signal)
{
    const struct letter_filter filter = {.upstream = upstream, .signal = (int)signal};
    struct letters_walked walked = {.more = true};
    uint64_t items = 0;
    struct letter_id after;
    for (bool first = true; walked.more; first = false) {
        after = walked.last;
        struct weir_err err = {0};
        cr_assert_eq(spool_letters_list(spool, &filter, first ? NULL : &after, 3, letters_count, &items, &walked, &err),
                     WEIR_OK, "%s", err.text);
        cr_assert_leq(walked.letters, 3);
    }
    return items;
}

// A file at rest: nothing is wrong with it, the ledgers against the letters included.
__attribute__((unused)) static void letters_verify(const char *dir)
{
    struct kit_findings found = kit_verify(dir);
    const struct verify_rule *rules;
    size_t n = verify_rules(&rules);
    for (size_t i = 0; i < n; i++)
        cr_assert(found.count[i] == 0 || rules[i].severity == VERIFY_NOTE, "%s: %s", rules[i].number, found.detail[i]);
}

#endif
