// SPDX-License-Identifier: Apache-2.0
// The walker, with protobuf-c as its oracle. Input: one byte that chooses the signal, then a request.
#include "tests/unit/walk_oracle.h"

#define ARENA_BYTES ((size_t)64 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

// Two requests in a row are one (C1): the counts double.
static void check_concatenation(enum weir_signal signal, const uint8_t *data, size_t len)
{
    struct otlp_summary one, two;
    if (otlp_walk(signal, data, len, NULL, &one, NULL) != WEIR_OK || !one.mergeable)
        return;
    uint8_t *twice = (uint8_t *)malloc(2 * len + 1);
    if (twice == NULL)
        abort();
    memcpy(twice, data, len);
    memcpy(twice + len, data, len);
    if (otlp_walk(signal, twice, 2 * len, NULL, &two, NULL) != WEIR_OK || !two.mergeable ||
        two.items != 2 * one.items || two.resources != 2 * one.resources || two.time_min_ns != one.time_min_ns ||
        two.time_max_ns != one.time_max_ns)
        abort();
    free(twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct arena arena;
    if (arena.data == NULL) {
        arena = (struct arena){.data = (uint8_t *)malloc(ARENA_BYTES), .cap = ARENA_BYTES};
        if (arena.data == NULL)
            abort();
    }
    if (len == 0)
        return 0;
    enum weir_signal signal = (enum weir_signal)(data[0] % WEIR_SIGNALS);
    struct oracle oracle = {.arena = &arena};
    if (!oracle_agrees(&oracle, signal, data + 1, len - 1)) {
        fprintf(stderr, "fuzz_walk: %s\n", oracle.complaint);
        abort();
    }
    check_concatenation(signal, data + 1, len - 1);
    struct otlp_walk_options options = {.pass_bad_utf8 = true};
    struct otlp_summary strict, lax;
    int code = otlp_walk(signal, data + 1, len - 1, NULL, &strict, NULL);
    if (code == WEIR_OK &&
        (otlp_walk(signal, data + 1, len - 1, &options, &lax, NULL) != WEIR_OK || lax.items != strict.items))
        abort();
    return 0;
}
