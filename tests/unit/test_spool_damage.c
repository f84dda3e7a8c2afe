// SPDX-License-Identifier: Apache-2.0
// Damage on the disk, one test a kind: whatever it is, nothing crashes, what can be read is delivered, what cannot is in the ledger.
#include "spool_kit.h"
#include "storage/format.h"
#include "storage/segment.h"
#include "storage/segment_read.h"

#define LANE "a"

static void fill(const char *dir, unsigned blocks, size_t len)
{
    struct spool *spool = kit_open(dir, 64, NULL);
    kit_lane(spool, LANE, WEIR_TRACES, SPOOL_START_NOW);
    for (uint64_t i = 0; i < blocks; i++)
        cr_assert_eq(kit_append(spool, WEIR_TRACES, i, len), WEIR_OK);
    spool_close(spool);
}

static uint64_t items_of(unsigned blocks)
{
    uint64_t items = 0;
    for (uint64_t i = 0; i < blocks; i++)
        items += kit_items(i);
    return items;
}

// Opens, drains all there is, and finds the ledger whole: what was not delivered is evicted. Returns the blocks delivered.
static unsigned drain_all(const char *dir, uint64_t accepted, struct spool_report *report)
{
    struct spool *spool = kit_open(dir, 64, report);
    struct spool_lane *lane = kit_lane(spool, LANE, WEIR_TRACES, SPOOL_START_NOW);
    unsigned n = kit_drain(spool, lane, WEIR_TRACES, 1000000, NULL, NULL);
    struct spool_lane_stats s = kit_ledger(lane);
    cr_assert_eq(s.pending, 0);
    if (accepted != 0) {
        cr_assert_eq(s.accepted, accepted);
        cr_assert_eq(s.delivered + s.evicted, accepted);
    }
    spool_close(spool);
    return n;
}

static uint8_t *read_file(const char *path, size_t *len)
{
    int fd = open(path, O_RDONLY);
    struct stat st;
    cr_assert(fd >= 0 && fstat(fd, &st) == 0);
    uint8_t *data = malloc((size_t)st.st_size + 1);
    *len = (size_t)st.st_size;
    cr_assert_eq(read(fd, data, *len), st.st_size);
    close(fd);
    return data;
}

static void write_file(const char *path, const uint8_t *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    cr_assert_eq(write(fd, data, len), (ssize_t)len);
    close(fd);
}

Test(spool_damage, a_missing_segment_in_the_middle)
{
    char *dir = kit_directory(), path[700];
    fill(dir, 100, 60000);
    struct spool_report report;
    snprintf(path, sizeof(path), "%s/seg-%020u.mdb", dir, 39);
    cr_assert_eq(access(path, F_OK), 0, "13 blocks a segment");
    unlink(path);
    cr_assert_eq(drain_all(dir, items_of(100), &report), 87);
    cr_assert_eq(report.next_block, 100);
    kit_remove_directory(dir);
}

Test(spool_damage, the_segments_at_the_lanes_position_are_missing)
{
    char *dir = kit_directory(), path[700];
    fill(dir, 100, 60000);
    struct spool_report report;
    for (unsigned first = 0; first <= 13; first += 13) {
        snprintf(path, sizeof(path), "%s/seg-%020u.mdb", dir, first);
        cr_assert_eq(unlink(path), 0);
    }
    cr_assert_eq(drain_all(dir, items_of(100), &report), 74);
    cr_assert_eq(report.lost_blocks, 26);
    cr_assert_eq(report.first_block, 26);
    kit_remove_directory(dir);
}

Test(spool_damage, the_last_segment_is_missing_and_no_number_is_used_twice)
{
    char *dir = kit_directory(), path[700];
    fill(dir, 100, 60000); // its state says how far numbers were used, though nothing was delivered
    snprintf(path, sizeof(path), "%s/seg-%020u.mdb", dir, 91);
    cr_assert_eq(unlink(path), 0);
    struct spool_report report;
    struct spool *spool = kit_open(dir, 64, &report);
    struct spool_lane *lane = kit_lane(spool, LANE, WEIR_TRACES, SPOOL_START_NOW);
    cr_assert_eq(report.next_block, 100);
    cr_assert_eq(kit_append(spool, WEIR_TRACES, 100, 60000), WEIR_OK);
    cr_assert_eq(kit_drain(spool, lane, WEIR_TRACES, 1000, NULL, NULL), 92);
    cr_assert_eq(kit_ledger(lane).accepted, items_of(101));
    cr_assert_eq(kit_ledger(lane).evicted, items_of(100) - items_of(91));
    spool_close(spool);
    kit_remove_directory(dir);
}

Test(spool_damage, the_state_is_missing_or_damaged)
{
    for (unsigned damaged = 0; damaged < 2; damaged++) {
        char *dir = kit_directory(), path[700];
        fill(dir, 50, 60000);
        snprintf(path, sizeof(path), "%s/state.mdb", dir);
        cr_assert_eq(damaged ? truncate(path, 5000) : unlink(path), 0);
        struct spool_report report;
        cr_assert_eq(drain_all(dir, items_of(50), &report), 50, "rather twice than never");
        cr_assert_eq(report.damaged, damaged);
        cr_assert_eq(kit_files(dir, "state.mdb.damaged", NULL, 0), damaged);
        kit_remove_directory(dir);
    }
}

Test(spool_damage, leftover_temporaries_and_an_empty_last_segment)
{
    char *dir = kit_directory(), path[700], old[700];
    fill(dir, 20, 1000);
    struct segment_file *file;
    struct segment_record record = {.first = 20};
    snprintf(path, sizeof(path), "%s/spare-7.tmp", dir);
    cr_assert_eq(segment_file_create(path, MIB, &file, NULL), WEIR_OK);
    segment_file_close(file, NULL);
    // An empty segment, as a crash between its name and its first block leaves it. It carries the counts before it.
    snprintf(old, sizeof(old), "%s/seg-%020u.mdb", dir, 0);
    struct segment_read *read;
    cr_assert_eq(segment_read_open(old, 0, &read, NULL), WEIR_OK);
    segment_read_counts(read, NULL, &record.before);
    segment_read_close(read);
    snprintf(path, sizeof(path), "%s/seg-%020u.mdb", dir, 20);
    cr_assert_eq(segment_file_create(path, MIB, &file, NULL), WEIR_OK);
    cr_assert_eq(segment_file_start(file, &record, NULL), WEIR_OK);
    segment_file_close(file, NULL);
    struct spool_report report;
    struct spool *spool = kit_open(dir, 64, &report);
    struct spool_lane *lane = kit_lane(spool, LANE, WEIR_TRACES, SPOOL_START_NOW);
    cr_assert_eq(report.temporaries_removed, 1);
    cr_assert_eq(report.next_block, 20);
    cr_assert_eq(report.damaged + report.lost_blocks, 0);
    cr_assert_eq(kit_append(spool, WEIR_TRACES, 20, 1000), WEIR_OK);
    cr_assert_eq(kit_drain(spool, lane, WEIR_TRACES, 100, NULL, NULL), 21);
    cr_assert_eq(kit_ledger(lane).delivered, items_of(21));
    spool_close(spool);
    kit_remove_directory(dir);
}

// The blocks of a file by their headers alone: each number once, with the highest byte that any copy of it needs at least.
static unsigned whole_blocks(const uint8_t *data, size_t len, size_t cut)
{
    bool seen[64] = {false};
    unsigned n = 0;
    for (size_t at = 0; at + BLOCK_HEADER_BYTES <= len; at += 2) {
        struct block_header h;
        uint64_t bytes;
        if (memcmp(data + at, "WBLK", 4) != 0 || block_header_find(data + at, len - at, &h, &bytes, NULL) != WEIR_OK)
            continue;
        cr_assert_lt(h.number, WEIR_COUNT(seen));
        if (at + bytes <= cut && !seen[h.number]) {
            seen[h.number] = true;
            n++;
        }
    }
    return n;
}

// Every length of a small segment in steps of a page, and some between: never SIGBUS, and all that is in front of the cut is delivered.
Test(spool_damage, a_segment_truncated_anywhere)
{
    char *dir = kit_directory(), path[700], state[700];
    fill(dir, 12, 9000);
    snprintf(path, sizeof(path), "%s/seg-%020u.mdb", dir, 0);
    snprintf(state, sizeof(state), "%s/state.mdb", dir);
    spool_close(kit_open(dir, 64, NULL)); // trims it
    size_t len, state_len;
    uint8_t *data = read_file(path, &len), *kept = read_file(state, &state_len);
    for (size_t cut = 0; cut <= len; cut += cut % 4096 == 0 ? 100 : 3996) {
        kit_empty_directory(dir);
        write_file(path, data, cut);
        write_file(state, kept, state_len);
        struct spool_report report;
        unsigned n = drain_all(dir, items_of(12), &report), whole = whole_blocks(data, len, cut);
        cr_assert_eq(n, whole, "cut at %zu: %u of %u", cut, n, whole);
        cr_assert(report.damaged == 0 || n == 0, "set aside at once with %u blocks in it", n);
    }
    free(data);
    free(kept);
    kit_remove_directory(dir);
}

// A byte changed anywhere: no crash, nothing wrong delivered (kit_drain compares content), and the ledger whole.
Test(spool_damage, a_segment_with_flipped_bytes, .timeout = 120)
{
    char *dir = kit_fast_directory(), path[700], state[700];
    dir = dir != NULL ? dir : kit_directory();
    fill(dir, 30, 3000);
    snprintf(path, sizeof(path), "%s/seg-%020u.mdb", dir, 0);
    snprintf(state, sizeof(state), "%s/state.mdb", dir);
    spool_close(kit_open(dir, 64, NULL));
    size_t len, state_len;
    uint8_t *data = read_file(path, &len), *kept = read_file(state, &state_len);
    uint64_t x = 7;
    unsigned harmless = 0, some = 0;
    for (unsigned round = 0; round < 100; round++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        // Half of them in the head of a page, where the tree is.
        size_t at = round % 2 ? (x >> 8) % (len / 4096) * 4096 + (x >> 40) % 40 : (x >> 8) % len;
        kit_empty_directory(dir);
        uint8_t was = data[at];
        data[at] = (uint8_t)(was ^ (1u << (x >> 60) % 8));
        write_file(path, data, len);
        write_file(state, kept, state_len);
        data[at] = was;
        struct spool_report report;
        unsigned n = drain_all(dir, items_of(30), &report);
        harmless += n == 30;
        some += n == 29;
    }
    cr_assert_gt(some, 0, "a damaged block leaves the others");
    cr_assert_eq(harmless + some, 100, "a byte is in one block");
    free(data);
    free(kept);
    kit_remove_directory(dir);
}

// The tree pages carry no checksum: the last block's key may say anything. All are delivered, and nobody counts up to it.
Test(spool_damage, a_key_far_beyond_the_others)
{
    static const uint8_t node[12] = {1, 0, 8, 0, 9}; // a large value, a key of 8 bytes, block 9
    char *dir = kit_directory(), path[700];
    fill(dir, 10, 3000);
    snprintf(path, sizeof(path), "%s/seg-%020u.mdb", dir, 0);
    size_t len;
    unsigned changed = 0;
    uint8_t *data = read_file(path, &len);
    for (size_t at = 0; at + sizeof(node) < len; at += 2)
        if (memcmp(data + at, node, sizeof(node)) == 0)
            data[at + 10] = 0x40, changed++;
    cr_assert_gt(changed, 0);
    write_file(path, data, len);
    struct spool_report report;
    cr_assert_eq(drain_all(dir, items_of(10), &report), 10);
    cr_assert_eq(report.next_block, 10);
    free(data);
    kit_remove_directory(dir);
}

Test(spool_damage, a_state_with_flipped_bytes, .timeout = 120)
{
    char *dir = kit_directory(), path[700], state[700];
    fill(dir, 10, 500);
    snprintf(path, sizeof(path), "%s/seg-%020u.mdb", dir, 0);
    snprintf(state, sizeof(state), "%s/state.mdb", dir);
    size_t len, state_len;
    uint8_t *data = read_file(path, &len), *kept = read_file(state, &state_len);
    uint64_t x = 99;
    for (unsigned round = 0; round < 250; round++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        size_t at = round % 2 ? (x >> 8) % 12 * 4096 + (x >> 40) % 200 : (x >> 8) % (12 * 4096);
        kit_empty_directory(dir);
        uint8_t was = kept[at];
        kept[at] = (uint8_t)(was ^ (1u << (x >> 60) % 8));
        write_file(path, data, len);
        write_file(state, kept, state_len);
        kept[at] = was;
        cr_assert_eq(drain_all(dir, 0, NULL), 10, "byte %zu", at);
    }
    free(data);
    free(kept);
    kit_remove_directory(dir);
}
