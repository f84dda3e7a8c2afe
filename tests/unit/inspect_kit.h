// SPDX-License-Identifier: Apache-2.0
// What the tests of the offline tools share: a spool with something of everything, ways to damage it, and proof that nobody wrote to it.
#ifndef TESTS_UNIT_INSPECT_KIT_H
#define TESTS_UNIT_INSPECT_KIT_H

#include "spool_kit.h"
#include "storage/format.h"
#include "storage/inspect.h"
#include "storage/note.h"
#include "storage/verify.h"

#define KIT_BLOCKS 60u // 40 KB each, signals in turn, in segments of 1 MiB; `a` has the first 10 of traces

// In every spool that kit_make makes.
static const struct {
    const char *key;
    struct weir_slice value;
} kit_notes[] = {{"paused/a", {(const uint8_t *)"", 0}}, {"origin/7", {(const uint8_t *)"some that is known", 18}}};

// Lanes a/traces, a/metrics, b/traces, b/logs; a has delivered ten blocks of traces; two dead letters. Stats of the lanes in `stats` (may be NULL).
static const struct {
    const char *upstream;
    enum weir_signal signal;
} kit_lanes[] = {{"a", WEIR_TRACES}, {"a", WEIR_METRICS}, {"b", WEIR_TRACES}, {"b", WEIR_LOGS}};

__attribute__((unused)) static void kit_make(const char *dir, struct spool_lane_stats stats[4])
{
    struct spool *spool = kit_open(dir, 64, NULL);
    struct spool_lane *lanes[4];
    for (size_t i = 0; i < 4; i++)
        lanes[i] = kit_lane(spool, kit_lanes[i].upstream, kit_lanes[i].signal, SPOOL_START_NOW);
    for (uint64_t i = 0; i < KIT_BLOCKS; i++)
        cr_assert_eq(kit_append(spool, (enum weir_signal)(i % 3), i, 40000), WEIR_OK);
    cr_assert_eq(kit_drain(spool, lanes[0], WEIR_TRACES, 10, NULL, NULL), 10);
    for (uint64_t i = 0; i < 2; i++) {
        uint8_t raw[5000];
        kit_fill(raw, sizeof(raw), 7 + i);
        struct spool_dead_letter letter = {.upstream = "a",
                                           .signal = WEIR_METRICS,
                                           .code = "INVALID_ARGUMENT",
                                           .message = "no",
                                           .attempts = 3,
                                           .block = 1 + 3 * i,
                                           .items = 2,
                                           .received_ns = 1001,
                                           .envelope = {(const uint8_t *)"tenant", 6},
                                           .raw = {raw, i == 0 ? sizeof(raw) : 100}};
        cr_assert_eq(spool_dead_letter_put(spool, &letter, NULL), WEIR_OK);
    }
    for (size_t i = 0; i < 4 && stats != NULL; i++)
        stats[i] = kit_ledger(lanes[i]);
    for (size_t i = 0; i < 2; i++)
        cr_assert_eq(spool_note_put(spool, kit_notes[i].key, kit_notes[i].value, false, NULL), WEIR_OK);
    spool_close(spool);
}

__attribute__((unused)) static char *kit_any_directory(void)
{
    char *fast = kit_fast_directory();
    char *dir = fast != NULL ? fast : kit_directory();
    cr_assert_not_null(dir);
    assert(dir != NULL);
    return dir;
}

__attribute__((unused)) static struct inspect *kit_inspect(const char *dir)
{
    struct inspect *inspect;
    struct weir_err err = {0};
    cr_assert_eq(inspect_open(dir, &inspect, &err), WEIR_OK, "%s", err.text);
    return inspect;
}

__attribute__((unused)) static const char *kit_path(const char *dir, const char *name)
{
    static char paths[4][700];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
    return path;
}

// The n-th segment's name.
__attribute__((unused)) static const char *kit_segment(const char *dir, unsigned n)
{
    static char names[4][64];
    static unsigned turn;
    char *name = names[turn++ % 4];
    struct dirent **list;
    int count = scandir(dir, &list, NULL, alphasort);
    name[0] = '\0';
    for (int i = 0; i < count; i++) {
        size_t len = strlen(list[i]->d_name);
        if (strncmp(list[i]->d_name, "seg-", 4) == 0 && len == 28 && n-- == 0)
            snprintf(name, sizeof(names[0]), "%s", list[i]->d_name);
        free(list[i]);
    }
    free(list);
    cr_assert_neq(name[0], '\0', "no such segment");
    return name;
}

__attribute__((unused)) static uint8_t *kit_read_file(const char *path, size_t *len)
{
    int fd = open(path, O_RDONLY);
    struct stat st;
    cr_assert(fd >= 0 && fstat(fd, &st) == 0, "%s", path);
    uint8_t *data = malloc((size_t)st.st_size + 1);
    *len = (size_t)st.st_size;
    cr_assert_eq(read(fd, data, *len), st.st_size);
    close(fd);
    return data;
}

__attribute__((unused)) static void kit_write_file(const char *path, const void *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    cr_assert(fd >= 0, "%s", path);
    cr_assert_eq(write(fd, data, len), (ssize_t)len);
    close(fd);
}

__attribute__((unused)) static void kit_copy_directory(const char *from, const char *to)
{
    DIR *dir = opendir(from);
    struct dirent *entry;
    assert(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        size_t len;
        if (entry->d_name[0] == '.')
            continue;
        uint8_t *data = kit_read_file(kit_path(from, entry->d_name), &len);
        kit_write_file(kit_path(to, entry->d_name), data, len);
        free(data);
    }
    closedir(dir);
}

// Names, content and times of everything in the directory.
__attribute__((unused)) static uint64_t kit_fingerprint(const char *dir)
{
    struct dirent **names;
    uint64_t sum = 0;
    int n = scandir(dir, &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        struct stat st;
        const char *path = kit_path(dir, names[i]->d_name);
        sum = sum * 31 + format_checksum(names[i]->d_name, strlen(names[i]->d_name));
        cr_assert_eq(stat(path, &st), 0);
        if (S_ISREG(st.st_mode)) {
            size_t len;
            uint8_t *data = kit_read_file(path, &len);
            sum = sum * 31 + format_checksum(data, len) + len + (uint64_t)st.st_mtim.tv_nsec;
            free(data);
        }
        free(names[i]);
    }
    free(names);
    return sum;
}

// Calls `change` for every record with that magic whose checksum is right, and seals it again. Returns how many there were.
__attribute__((unused)) static unsigned kit_change_records(const char *path, const char magic[4],
                                                           void (*change)(uint8_t *record, uint32_t bytes))
{
    size_t len;
    uint8_t *data = kit_read_file(path, &len);
    unsigned n = 0;
    for (size_t at = 0; at + 24 < len; at++) {
        if (memcmp(data + at, magic, 4) != 0)
            continue;
        uint32_t bytes = weir_get_u32(data + at + 8);
        if (bytes > len - at || bytes < 24 ||
            weir_get_u64(data + at + bytes - 8) != format_checksum(data + at, bytes - 8))
            continue; // what is left of one in another page's free space
        change(data + at, bytes);
        record_seal(data + at, bytes);
        n++;
    }
    kit_write_file(path, data, len);
    free(data);
    return n;
}

__attribute__((unused)) static void kit_newer(uint8_t *record, uint32_t bytes)
{
    (void)bytes;
    weir_put_u16(record + 4, FORMAT_VERSION + 1);
}

// The findings of one run of verify.
struct kit_findings {
    struct verify_result result;
    unsigned count[64];             // by rule
    struct verify_finding last[64]; // the same; pointers in it are not valid any more
    char lanes[64][64], detail[64][200];
};

__attribute__((unused)) static size_t kit_rule(const char *number)
{
    const struct verify_rule *rules;
    size_t n = verify_rules(&rules), i = 0;
    while (i < n && strcmp(rules[i].number, number) != 0)
        i++;
    cr_assert_lt(i, n, "%s", number);
    return i;
}

__attribute__((unused)) static void kit_on_finding(void *ctx, const struct verify_finding *finding)
{
    struct kit_findings *found = ctx;
    size_t rule = kit_rule(finding->rule->number), at = 0;
    found->count[rule]++;
    found->last[rule] = *finding;
    snprintf(found->detail[rule], sizeof(found->detail[0]), "%s %s", finding->file, finding->detail);
    found->lanes[rule][0] = '\0';
    for (size_t i = 0; i < finding->lanes_n; i++)
        at += (size_t)snprintf(found->lanes[rule] + at, sizeof(found->lanes[0]) - at, "%zu ", finding->lanes[i]);
}

__attribute__((unused)) static struct kit_findings kit_verify(const char *dir)
{
    static struct kit_findings found;
    memset(&found, 0, sizeof(found));
    struct inspect *inspect = kit_inspect(dir);
    const struct verify_options options = {.on_finding = kit_on_finding, .ctx = &found};
    struct weir_err err = {0};
    cr_assert_eq(verify_run(inspect, &options, &found.result, &err), WEIR_OK, "%s", err.text);
    inspect_close(inspect);
    return found;
}

#endif
