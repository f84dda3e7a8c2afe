// SPDX-License-Identifier: Apache-2.0
// Sealed segments damaged in every way: cut, bits flipped in each region, pages zeroed, swapped, put back to an older copy. The quick form takes a
// sample; WEIR_TEST_DAMAGES=all takes every page and every byte of the tree.
#include "damage_rig.h"

static bool all_damages(void)
{
    const char *value = getenv("WEIR_TEST_DAMAGES");
    return value != NULL && strcmp(value, "all") == 0;
}

static uint64_t next_random(uint64_t *x)
{
    *x ^= *x << 13, *x ^= *x >> 7, *x ^= *x << 17;
    return *x >> 3;
}

enum kind { SMALL, DEEP, LARGE, KINDS };
static void make(struct rig *rig, enum kind kind)
{
    if (kind == SMALL)
        rig_fill(rig, 1, 900, 40, 3000, false);
    else if (kind == DEEP) // three records a leaf, so that a branch is full: a tree of depth 3
        rig_fill(rig, 2, 1600, 800, 800, true);
    else
        rig_fill(rig, 4, 10, 700000, 1100000, false);
}

// --- cut ----------------------------------------------------------------------------------------------------------------

static void truncations(struct rig *rig, size_t step)
{
    char what[200];
    for (size_t cut = 0; cut <= rig->len;
         cut += cut % RIG_PAGE == 0 && cut / RIG_PAGE % 5 == 0 ? 1234 : step - cut % RIG_PAGE) {
        snprintf(what, sizeof(what), "%s cut at %zu of %zu", rig->name, cut, rig->len);
        rig_case(rig, rig->data, cut, what);
    }
}

static void truncated(enum kind kind, const char *name, size_t quick_step)
{
    struct rig rig;
    make(&rig, kind);
    for (unsigned i = 0; rig_choose(&rig, i); i++)
        if (i == 1 || all_damages())
            truncations(&rig, all_damages() ? RIG_PAGE : quick_step * RIG_SHARE);
    rig_end(&rig, name);
}

Test(damage, small_blocks_cut, .timeout = 3000)
{
    truncated(SMALL, "small blocks, cut", 11 * RIG_PAGE);
}
Test(damage, deep_tree_cut, .timeout = 3000)
{
    truncated(DEEP, "deep tree, cut", 41 * RIG_PAGE);
}
Test(damage, large_blocks_cut, .timeout = 3000)
{
    truncated(LARGE, "large blocks, cut", 91 * RIG_PAGE);
}

// --- one bit ------------------------------------------------------------------------------------------------------------

static void flip(struct rig *rig, size_t at, unsigned bit)
{
    char what[200];
    snprintf(what, sizeof(what), "%s byte %zu (%zu of page %zu) bit %u", rig->name, at, at % RIG_PAGE, at / RIG_PAGE,
             bit);
    rig->data[at] ^= (uint8_t)(1u << bit);
    rig_case(rig, rig->data, rig->len, what);
    rig->data[at] ^= (uint8_t)(1u << bit);
}

// Whether all of the page belongs to the tree, or the first bytes of it.
static size_t tree_bytes(const uint8_t *page, size_t pgno)
{
    unsigned flags = weir_get_u16(page + 10);
    if (pgno < 2)
        return 16 + 136; // meta
    if (weir_get_u64(page) != pgno)
        return 0; // inside a block
    return flags == 0x01 || flags == 0x02 ? RIG_PAGE : flags == 0x04 ? 16 + BLOCK_HEADER_BYTES : 0;
}

static void flips(struct rig *rig, unsigned quick)
{
    uint64_t x = 99;
    size_t pages = rig->len / RIG_PAGE;
    if (!all_damages()) {
        for (unsigned i = 0; i < quick / RIG_SHARE; i++) {
            size_t page = i % 4 == 0 ? next_random(&x) % 12 : next_random(&x) % pages;
            size_t span = tree_bytes(rig->data + page * RIG_PAGE, page);
            size_t in = i % 3 == 0 && span > 0 ? next_random(&x) % 40 : next_random(&x) % (span > 0 ? span : RIG_PAGE);
            flip(rig, page * RIG_PAGE + in, next_random(&x) % 8);
        }
        return;
    }
    for (size_t page = 0; page < pages; page++) {
        size_t span = tree_bytes(rig->data + page * RIG_PAGE, page);
        // Every byte of the first pages' heads, and of the others about forty a page.
        for (size_t in = 0; in < span; in += in >= 64    ? 1 + next_random(&x) % 255
                                             : page < 24 ? 1
                                                         : 1 + next_random(&x) % 16)
            flip(rig, page * RIG_PAGE + in, next_random(&x) % 8);
        if (page % 7 == 0)
            flip(rig, page * RIG_PAGE + next_random(&x) % RIG_PAGE, next_random(&x) % 8);
    }
}

static void flipped(enum kind kind, const char *name, unsigned quick)
{
    struct rig rig;
    make(&rig, kind);
    for (unsigned i = 0; rig_choose(&rig, i); i++)
        if (i == 1 || (all_damages() && i < 1))
            flips(&rig, quick);
    rig_end(&rig, name);
}

Test(damage, small_blocks_with_a_flipped_bit, .timeout = 30000)
{
    flipped(SMALL, "small blocks, one bit", 60);
}
Test(damage, deep_tree_with_a_flipped_bit, .timeout = 30000)
{
    flipped(DEEP, "deep tree, one bit", 30);
}
Test(damage, large_blocks_with_a_flipped_bit, .timeout = 30000)
{
    flipped(LARGE, "large blocks, one bit", 30);
}

// --- whole pages --------------------------------------------------------------------------------------------------------

enum page_damage { ZEROED, SWAPPED, COPIED, PAGE_DAMAGES };

static void page_damage(struct rig *rig, enum page_damage how, size_t a, size_t b)
{
    static const char *const names[] = {"zeroed", "swapped with", "overwritten with"};
    char what[200];
    uint8_t *data = malloc(rig->len);
    memcpy(data, rig->data, rig->len);
    snprintf(what, sizeof(what), "%s page %zu %s %zu", rig->name, a, names[how], b);
    if (how == ZEROED)
        memset(data + a * RIG_PAGE, 0, RIG_PAGE);
    else
        memcpy(data + a * RIG_PAGE, rig->data + b * RIG_PAGE, RIG_PAGE);
    if (how == SWAPPED)
        memcpy(data + b * RIG_PAGE, rig->data + a * RIG_PAGE, RIG_PAGE);
    rig_case(rig, data, rig->len, what);
    free(data);
}

static void damaged_pages(enum kind kind, const char *name, unsigned quick)
{
    struct rig rig;
    uint64_t x = 4711;
    make(&rig, kind);
    cr_assert(rig_choose(&rig, 1));
    size_t pages = rig.len / RIG_PAGE;
    for (size_t i = 0; i < (all_damages() ? pages : quick / RIG_SHARE); i++)
        for (int how = ZEROED; how < PAGE_DAMAGES; how++) {
            size_t a = all_damages() ? i : i % 3 == 0 ? next_random(&x) % 12 : next_random(&x) % pages;
            page_damage(&rig, (enum page_damage)how, a, next_random(&x) % pages);
        }
    rig_end(&rig, name);
}

Test(damage, small_blocks_with_wrong_pages, .timeout = 3000)
{
    damaged_pages(SMALL, "small blocks, wrong pages", 20);
}
Test(damage, deep_tree_with_wrong_pages, .timeout = 3000)
{
    damaged_pages(DEEP, "deep tree, wrong pages", 10);
}
Test(damage, large_blocks_with_wrong_pages, .timeout = 3000)
{
    damaged_pages(LARGE, "large blocks, wrong pages", 10);
}
