// SPDX-License-Identifier: Apache-2.0
// Cutting requests, with protobuf-c as the oracle. Input: one byte that chooses the signal, one that chooses where to cut, then a request.
#include "tests/unit/split_oracle.h"

#define ARENA_BYTES ((size_t)64 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

// What the walker refuses is cut or refused, and nothing worse.
static void cut_unchecked(enum weir_signal signal, struct weir_slice request, uint64_t items, uint64_t at)
{
    struct weir_buf out = {0};
    if (items > 0) {
        at %= items;
        uint64_t boundary = otlp_split_boundary(signal, request, at, 4);
        if (boundary > items || boundary > at + 4 || boundary + 4 < at)
            abort();
        if (otlp_split_part(signal, request, at, items, &out, NULL) == WEIR_OK && out.len > request.len + 64)
            abort();
    }
    weir_buf_free(&out);
}

// With an index, of several grains, the parts and the boundary are what they are without.
static const char *compare_index(enum weir_signal signal, struct weir_slice request, uint64_t items, uint8_t where)
{
    uint64_t from = items > 0 ? where % items : 0;
    const char *complaint = NULL;
    for (size_t grain = 1; grain < request.len + 16 && complaint == NULL; grain = grain * 5 + 1) {
        complaint = split_index_complaint(signal, request, grain, from, items, where % 7);
        if (complaint == NULL)
            complaint = split_index_complaint(signal, request, grain, from, from + 1, grain);
        if (complaint == NULL && from > 0)
            complaint = split_index_complaint(signal, request, grain, 0, from, where);
    }
    return complaint;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct arena arena;
    if (arena.data == NULL) {
        arena = (struct arena){.data = (uint8_t *)malloc(ARENA_BYTES), .cap = ARENA_BYTES};
        if (arena.data == NULL)
            abort();
    }
    if (len < 2)
        return 0;
    enum weir_signal signal = (enum weir_signal)(data[0] % WEIR_SIGNALS);
    struct weir_slice request = {data + 2, len - 2};
    struct otlp_summary summary;
    struct otlp_walk_options options = {.pass_bad_utf8 = true};
    uint64_t items = 0;
    int rc = otlp_split_count(signal, request, &items, NULL);
    const char *difference = compare_index(signal, request, items, data[1]);
    if (difference != NULL) {
        fprintf(stderr, "fuzz_otlp_split: %s\n", difference);
        abort();
    }
    if (rc != WEIR_OK) {
        if (otlp_walk(signal, request.data, request.len, &options, &summary, NULL) == WEIR_OK)
            abort();
        return 0;
    }
    cut_unchecked(signal, request, items, data[1]);
    if (otlp_walk(signal, request.data, request.len, &options, &summary, NULL) != WEIR_OK)
        return 0;
    if (summary.items != items)
        abort();
    if (items == 0)
        return 0;
    const uint64_t cuts[] = {0, data[1] % items, items};
    bool in_two = cuts[1] > 0;
    const char *complaint =
        split_complaint(&arena, signal, request.data, request.len, in_two ? cuts : cuts + 1, in_two ? 3 : 2);
    if (complaint != NULL) {
        fprintf(stderr, "fuzz_otlp_split: %s\n", complaint);
        abort();
    }
    return 0;
}
