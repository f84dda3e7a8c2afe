// SPDX-License-Identifier: Apache-2.0
// Notes: put, removed, found again after a restart; their limits; what is damaged is forgotten alone.
#include "inspect_kit.h"
#include "storage/state.h"

static struct weir_slice value_of(uint64_t seed, size_t len)
{
    static uint8_t value[SPOOL_NOTE_VALUE_BYTES + 1];
    kit_fill(value, len, seed);
    return (struct weir_slice){value, len};
}

static void expect(struct spool *spool, const char *key, uint64_t seed, size_t len)
{
    struct weir_buf is = {0};
    struct weir_slice wanted = value_of(seed, len);
    cr_assert_eq(spool_note_get(spool, key, &is, NULL), WEIR_OK, "%s", key);
    cr_assert(is.len == len && (len == 0 || memcmp(is.data, wanted.data, len) == 0), "%s", key);
    weir_buf_free(&is);
}

static void put(struct spool *spool, const char *key, uint64_t seed, size_t len, bool durable)
{
    struct weir_err err = {0};
    cr_assert_eq(spool_note_put(spool, key, value_of(seed, len), durable, &err), WEIR_OK, "%s: %s", key, err.text);
}

struct keys {
    char text[256];
    unsigned left;
};

static int collect(void *ctx, const char *key, struct weir_slice value, struct weir_err *err)
{
    struct keys *keys = ctx;
    snprintf(keys->text + strlen(keys->text), sizeof(keys->text) - strlen(keys->text), "%s:%zu ", key, value.len);
    return --keys->left == 0 ? weir_fail(err, WEIR_E_LIMIT, "enough") : WEIR_OK;
}

static void expect_keys(struct spool *spool, const char *prefix, const char *expected)
{
    struct keys keys = {"", 100};
    cr_assert_eq(spool_notes_each(spool, prefix, collect, &keys, NULL), WEIR_OK);
    cr_assert_str_eq(keys.text, expected);
}

Test(spool_notes, are_found_again)
{
    char *dir = kit_directory();
    struct spool *spool = kit_open(dir, 64, NULL);
    struct weir_buf none = {0};
    expect_keys(spool, "", "");
    cr_assert_eq(spool_note_remove(spool, "b/1", true, NULL), WEIR_OK);
    put(spool, "b/2", 2, 20, false);
    put(spool, "a", 1, SPOOL_NOTE_VALUE_BYTES, true);
    put(spool, "b/1", 3, 0, false);
    put(spool, "b/2", 4, 9, false);
    put(spool, "c", 5, 2500, false);
    cr_assert_eq(spool_note_remove(spool, "c", false, NULL), WEIR_OK);
    cr_assert_eq(spool_note_get(spool, "c", &none, NULL), WEIR_E_NOT_FOUND);
    for (int i = 0; i < 2; i++) {
        expect_keys(spool, "", "a:16384 b/1:0 b/2:9 ");
        expect_keys(spool, "b/", "b/1:0 b/2:9 ");
        expect_keys(spool, "b/2", "b/2:9 ");
        expect_keys(spool, "bb", "");
        expect(spool, "a", 1, SPOOL_NOTE_VALUE_BYTES);
        expect(spool, "b/2", 4, 9);
        struct keys first = {"", 1};
        cr_assert_eq(spool_notes_each(spool, "", collect, &first, NULL), WEIR_E_LIMIT);
        cr_assert_str_eq(first.text, "a:16384 ");
        spool_close(spool);
        spool = kit_open(dir, 64, NULL);
    }
    spool_close(spool);
    kit_remove_directory(dir);
}

Test(spool_notes, have_limits)
{
    char *dir = kit_directory(), key[SPOOL_NOTE_KEY_BYTES + 2] = {0};
    struct spool *spool = kit_open(dir, 64, NULL);
    struct weir_err err = {0};
    memset(key, 'k', SPOOL_NOTE_KEY_BYTES + 1);
    cr_assert_eq(spool_note_put(spool, key, value_of(1, 1), false, &err), WEIR_E_INVALID);
    cr_assert_eq(spool_note_put(spool, "", value_of(1, 1), false, &err), WEIR_E_INVALID);
    cr_assert_eq(spool_note_put(spool, "k", value_of(1, SPOOL_NOTE_VALUE_BYTES + 1), false, &err), WEIR_E_INVALID);
    key[SPOOL_NOTE_KEY_BYTES] = '\0';
    put(spool, key, 7, 3, false);
    // As many bytes as there may be, all rewritten in one commit; and again, on a file of that length.
    unsigned n = SPOOL_NOTES_BYTES / (SPOOL_NOTE_VALUE_BYTES + 5);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < n; i++) {
            snprintf(key, sizeof(key), "n%04u", i);
            put(spool, key, i + round, SPOOL_NOTE_VALUE_BYTES - 200, false);
        }
        cr_assert_eq(spool_sync_state(spool, &err), WEIR_OK, "%s", err.text);
    }
    int code = WEIR_OK;
    for (unsigned i = n; code == WEIR_OK && i < 2 * n; i++) {
        snprintf(key, sizeof(key), "n%04u", i);
        code = spool_note_put(spool, key, value_of(i, SPOOL_NOTE_VALUE_BYTES), false, &err);
    }
    cr_assert_eq(code, WEIR_E_LIMIT);
    struct stat st;
    cr_assert_eq(stat(kit_path(dir, "state.mdb"), &st), 0);
    cr_assert_leq((uint64_t)st.st_size, state_bytes_for_notes(SPOOL_NOTES_BYTES));
    spool_close(spool);
    spool = kit_open(dir, 64, NULL);
    expect(spool, "n0003", 5, SPOOL_NOTE_VALUE_BYTES - 200);
    for (unsigned i = 0; i < 2 * n; i++) {
        snprintf(key, sizeof(key), "n%04u", i);
        cr_assert_eq(spool_note_remove(spool, key, false, NULL), WEIR_OK);
    }
    cr_assert_eq(spool_sync_state(spool, &err), WEIR_OK);
    for (unsigned i = 0; i < SPOOL_NOTES_MAX - 1; i++) {
        snprintf(key, sizeof(key), "m%04u", i);
        put(spool, key, i, 8, false);
    }
    cr_assert_eq(spool_note_put(spool, "o", value_of(1, 8), false, &err), WEIR_E_LIMIT);
    put(spool, "m0007", 1, 9, true);
    spool_close(spool);
    kit_remove_directory(dir);
}

// Few notes find their room in what every spool has; many are refused when there is none, and what is there can still be changed.
Test(spool_notes, a_full_spool)
{
    char *dir = kit_directory(), key[32];
    struct spool *spool = kit_open(dir, 8, NULL);
    kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW);
    uint64_t seed = 0;
    while (kit_append(spool, WEIR_TRACES, seed++, 200000) == WEIR_OK)
        cr_assert_lt(seed, 100);
    put(spool, "drain", 1, 100, true);
    int code = WEIR_OK;
    struct weir_err err = {0};
    for (unsigned i = 0; code == WEIR_OK && i < 100; i++) {
        snprintf(key, sizeof(key), "n%04u", i);
        code = spool_note_put(spool, key, value_of(i, SPOOL_NOTE_VALUE_BYTES), false, &err);
    }
    cr_assert_eq(code, WEIR_E_FULL);
    put(spool, "n0001", 77, SPOOL_NOTE_VALUE_BYTES, true);
    cr_assert_eq(spool_note_remove(spool, "drain", true, NULL), WEIR_OK);
    spool_close(spool);
    kit_remove_directory(dir);
}

static void break_one(uint8_t *record, uint32_t bytes)
{
    if (weir_get_u16(record + 12) == 8 && memcmp(record + 16, "origin/7", 8) == 0)
        record[bytes - 9] ^= 1;
}

static unsigned damage(const char *dir, void (*change)(uint8_t *record, uint32_t bytes), bool seal)
{
    size_t len;
    unsigned n = 0;
    uint8_t *data = kit_read_file(kit_path(dir, "state.mdb"), &len);
    for (size_t at = 0; at + 24 < len; at++) {
        if (memcmp(data + at, "WNOT", 4) != 0)
            continue;
        uint32_t bytes = weir_get_u32(data + at + 8);
        change(data + at, bytes);
        if (seal)
            record_seal(data + at, bytes);
        n++;
    }
    kit_write_file(kit_path(dir, "state.mdb"), data, len);
    free(data);
    return n;
}

Test(spool_notes, a_damaged_one_is_forgotten_alone)
{
    char *dir = kit_directory();
    struct spool_lane_stats stats[4];
    struct spool_report report;
    kit_make(dir, stats);
    cr_assert_geq(damage(dir, break_one, false), 2);
    for (int i = 0; i < 2; i++) {
        struct spool *spool = kit_open(dir, 64, &report);
        cr_assert_eq(report.damaged_notes, i == 0 ? 1 : 0, "it is told once");
        cr_assert_eq(report.damaged, 0);
        expect_keys(spool, "", "paused/a:0 ");
        cr_assert_eq(kit_ledger(kit_lane(spool, "a", WEIR_TRACES, SPOOL_START_NOW)).delivered, stats[0].delivered);
        spool_close(spool);
    }
    kit_remove_directory(dir);
}

Test(spool_notes, of_a_newer_version_are_not_touched)
{
    char *dir = kit_directory();
    struct spool_options options = kit_options(dir, 64);
    struct spool *spool;
    struct weir_err err = {0};
    kit_make(dir, NULL);
    cr_assert_geq(damage(dir, kit_newer, true), 2);
    uint64_t before = kit_fingerprint(dir);
    cr_assert_eq(spool_open(&options, &spool, NULL, &err), WEIR_E_FORMAT, "%s", err.text);
    cr_assert_eq(kit_fingerprint(dir), before);
    kit_remove_directory(dir);
}
