// SPDX-License-Identifier: Apache-2.0
// Blocks whose content follows from a number, the sequence's clock, and a look at the directory.
#include <dirent.h>
#include <sys/stat.h>

#include "tests/model/rig.h"

static _Atomic uint64_t clock_ns = 1700000000000000000u;

uint64_t rig_clock(void)
{
    return atomic_load(&clock_ns);
}

void rig_clock_add(uint64_t ns)
{
    atomic_fetch_add(&clock_ns, ns);
}

static void fill(uint8_t *p, size_t len, uint64_t seed)
{
    uint64_t x = seed * 0x9E3779B97F4A7C15ull + 1;
    for (size_t i = 0; i < len; i++) {
        if (i % 8 == 0)
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        p[i] = (uint8_t)(x >> 8 * (i % 8));
    }
}

struct model_block rig_block_plan(struct rig *rig, enum weir_signal signal, unsigned size)
{
    // Some in a page, in pages of their own, near a segment's size and beyond it.
    static const uint32_t bytes[] = {1, 60, 300, 900, 1700, 1990, 4050, 9000, 40000, 130000, 450000, 1010000};
    uint64_t seed = ++rig->seeds;
    uint64_t raw = bytes[size % WEIR_COUNT(bytes)] + seed * 37 % 64;
    rig_clock_add(1000000000u);
    if (size == WEIR_COUNT(bytes) - 1 && seed % 4 == 0)
        raw += RIG_SEGMENT_BYTES / 3;
    return (struct model_block){
        .signal = signal, .seed = seed, .items = 1 + seed % 7, .raw_bytes = raw, .received_ns = rig_clock()};
}

struct block *rig_block_make(const struct model_block *plan)
{
    struct weir_err err = {0};
    uint8_t *raw = malloc(plan->raw_bytes);
    struct block_builder *builder =
        block_builder_new(plan->signal, (struct weir_slice){(const uint8_t *)"tenant", 6}, 1);
    RIG_CHECK(raw != NULL && builder != NULL, "out of memory");
    fill(raw, plan->raw_bytes, plan->seed);
    // The bytes in one or three requests; the items with the last one.
    uint64_t parts = plan->signal == WEIR_PROFILES || plan->raw_bytes < 3 ? 1 : 1 + plan->seed % 3, at = 0;
    for (uint64_t i = 0; i < parts; i++) {
        uint64_t len = i + 1 < parts ? plan->raw_bytes / parts : plan->raw_bytes - at;
        struct block_request request = {.items = i + 1 < parts ? 0 : plan->items, .received_ns = plan->received_ns};
        RIG_CHECK(block_builder_add(builder, (struct weir_slice){raw + at, len}, &request, &err) == WEIR_OK, "%s",
                  err.text);
        at += len;
    }
    struct block *block;
    RIG_CHECK(block_builder_seal(builder, &block, &err) == WEIR_OK, "%s", err.text);
    block_builder_free(builder);
    free(raw);
    return block;
}

void rig_block_check(const struct block_view *view, const struct model_block *plan, const char *where)
{
    struct weir_err err = {0};
    struct weir_buf raw = {0};
    uint8_t *expected = malloc(plan->raw_bytes);
    RIG_CHECK(expected != NULL, "out of memory");
    fill(expected, plan->raw_bytes, plan->seed);
    RIG_CHECK(block_view_decode(view, &raw, &err) == WEIR_OK, "%s: block %llu: %s", where,
              (unsigned long long)view->number, err.text);
    RIG_CHECK(view->signal == plan->signal && view->items == plan->items && raw.len == plan->raw_bytes &&
                  view->received_first_ns == plan->received_ns && memcmp(raw.data, expected, raw.len) == 0,
              "%s: block %llu holds something else: %zu bytes, %llu items, not %llu and %llu", where,
              (unsigned long long)view->number, raw.len, (unsigned long long)view->items,
              (unsigned long long)plan->raw_bytes, (unsigned long long)plan->items);
    free(expected);
    weir_buf_free(&raw);
}

uint64_t rig_directory_bytes(const char *directory)
{
    uint64_t bytes = 0;
    DIR *dir = opendir(directory);
    struct dirent *entry;
    struct stat st;
    while (dir != NULL && (entry = readdir(dir)) != NULL)
        if (fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 && S_ISREG(st.st_mode))
            bytes += (uint64_t)st.st_blocks * 512;
    if (dir != NULL)
        closedir(dir);
    return bytes;
}

bool rig_has_spare(const char *directory)
{
    bool found = false;
    DIR *dir = opendir(directory);
    struct dirent *entry;
    while (dir != NULL && (entry = readdir(dir)) != NULL)
        found = found || strncmp(entry->d_name, "spare-", 6) == 0;
    if (dir != NULL)
        closedir(dir);
    return found;
}

size_t rig_segments(const char *directory, uint64_t *first, size_t max)
{
    struct dirent **names;
    size_t found = 0;
    int n = scandir(directory, &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        const char *name = names[i]->d_name;
        if (strncmp(name, "seg-", 4) == 0 && strlen(name) == 28 && strcmp(name + 24, ".mdb") == 0 && found < max)
            first[found++] = strtoull(name + 4, NULL, 10);
        free(names[i]);
    }
    if (n >= 0)
        free(names);
    return found;
}
