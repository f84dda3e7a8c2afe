// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/common/idset.h"

#include <inttypes.h>
#include <stdio.h>

static bool grow(struct idset *set, size_t word)
{
    if (word < set->word_count)
        return true;
    size_t count = set->word_count ? set->word_count * 2 : 1024;
    if (count <= word)
        count = word + 1;
    uint64_t *words = realloc(set->words, count * sizeof(*words));
    if (words == NULL)
        return false;
    memset(words + set->word_count, 0, (count - set->word_count) * sizeof(*words));
    set->words = words;
    set->word_count = count;
    return true;
}

enum idset_added idset_add(struct idset *set, uint64_t id)
{
    if (id > IDSET_ID_MAX || !grow(set, (size_t)(id / 64)))
        return IDSET_REFUSED;
    uint64_t bit = (uint64_t)1 << (id % 64);
    if (set->words[id / 64] & bit)
        return IDSET_DUPLICATE;
    set->words[id / 64] |= bit;
    set->count++;
    return IDSET_NEW;
}

bool idset_has(const struct idset *set, uint64_t id)
{
    return id / 64 < set->word_count && (set->words[id / 64] >> (id % 64) & 1) != 0;
}

// The first member (or, with `member` false, the first gap) at or after `from`; the bitmap's end when there is none.
static uint64_t find(const struct idset *set, uint64_t from, bool member)
{
    uint64_t end = (uint64_t)set->word_count * 64;
    while (from < end) {
        uint64_t word = member ? set->words[from / 64] : ~set->words[from / 64];
        word &= ~(uint64_t)0 << (from % 64);
        if (word != 0)
            return from / 64 * 64 + (uint64_t)__builtin_ctzll(word);
        from = (from / 64 + 1) * 64;
    }
    return end;
}

bool idset_print(const struct idset *set, struct weir_buf *out)
{
    uint64_t end = (uint64_t)set->word_count * 64;
    const char *comma = "";
    for (uint64_t first = find(set, 0, true); first < end;) {
        uint64_t gap = find(set, first, false);
        char text[64];
        int len = gap - first == 1 ? snprintf(text, sizeof(text), "%s%" PRIu64, comma, first)
                                   : snprintf(text, sizeof(text), "%s%" PRIu64 "-%" PRIu64, comma, first, gap - 1);
        if (!weir_buf_append(out, text, (size_t)len))
            return false;
        comma = ",";
        first = find(set, gap, true);
    }
    return true;
}

void idset_clear(struct idset *set)
{
    free(set->words);
    *set = (struct idset){0};
}
