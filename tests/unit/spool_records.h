// SPDX-License-Identifier: Apache-2.0
// Spool files as bytes: reading, writing, records with another version, and whether anything in a directory has changed. Header-only.
#ifndef TESTS_UNIT_SPOOL_RECORDS_H
#define TESTS_UNIT_SPOOL_RECORDS_H

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/format.h"

// The caller frees it.
__attribute__((unused)) static struct weir_buf records_read(const char *path)
{
    struct weir_buf out = {0};
    struct stat st;
    int fd = open(path, O_RDONLY);
    cr_assert(fd >= 0 && fstat(fd, &st) == 0, "%s", path);
    cr_assert(weir_buf_reserve(&out, (size_t)st.st_size + 1));
    while (out.len < (size_t)st.st_size) {
        ssize_t n = read(fd, out.data + out.len, (size_t)st.st_size - out.len);
        cr_assert_gt(n, 0, "%s", path);
        out.len += (size_t)n;
    }
    close(fd);
    return out;
}

__attribute__((unused)) static void records_write(const char *path, const struct weir_buf *bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    size_t done = 0;
    for (ssize_t n; fd >= 0 && done < bytes->len; done += (size_t)n)
        if ((n = write(fd, bytes->data + done, bytes->len - done)) <= 0)
            break;
    cr_assert_eq(done, bytes->len, "%s", path);
    close(fd);
}

#define RECORDS_ALL          UINT64_MAX
#define RECORDS_BLOCK_NUMBER 88 // where a block's header has it
// Sets the version of every record with that magic, or of the block of that number alone, to a newer one, checksum and all. Returns how many there were.
__attribute__((unused)) static unsigned records_make_newer(const char *path, const char magic[4], uint64_t number)
{
    struct weir_buf file = records_read(path);
    unsigned n = 0;
    for (size_t at = 0; at + 24 < file.len; at++) {
        uint8_t *record = file.data + at;
        uint32_t bytes = weir_get_u32(record + 8);
        if (memcmp(record, magic, 4) != 0 || bytes > file.len - at || bytes < 24 ||
            weir_get_u64(record + bytes - 8) != format_checksum(record, bytes - 8))
            continue; // what is left of one in another page's free space
        if (number != RECORDS_ALL && weir_get_u64(record + RECORDS_BLOCK_NUMBER) != number)
            continue;
        weir_put_u16(record + 4, FORMAT_VERSION + 1);
        record_seal(record, bytes);
        n++;
    }
    records_write(path, &file);
    weir_buf_free(&file);
    return n;
}

static uint64_t records_mix(uint64_t sum, uint64_t value)
{
    return (sum ^ value) * UINT64_C(0x9e3779b97f4a7c15);
}

// Names, kinds, sizes, times of change and content of all that is in the directory, and its own times.
__attribute__((unused)) static uint64_t records_fingerprint(const char *path)
{
    struct dirent **names;
    struct stat st;
    uint64_t sum = 0;
    int n = scandir(path, &names, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char name[700];
        snprintf(name, sizeof(name), "%s/%s", path, names[i]->d_name);
        sum = records_mix(sum, format_checksum(names[i]->d_name, strlen(names[i]->d_name)));
        bool above = strcmp(names[i]->d_name, "..") == 0;
        free(names[i]);
        if (above || lstat(name, &st) != 0)
            continue;
        sum = records_mix(records_mix(sum, st.st_mode), (uint64_t)st.st_size);
        sum = records_mix(records_mix(sum, (uint64_t)st.st_mtim.tv_sec), (uint64_t)st.st_mtim.tv_nsec);
        sum = records_mix(records_mix(sum, (uint64_t)st.st_ctim.tv_sec), (uint64_t)st.st_ctim.tv_nsec);
        if (S_ISREG(st.st_mode) && access(name, R_OK) == 0) {
            struct weir_buf content = records_read(name);
            sum = records_mix(sum, format_checksum(content.data, content.len));
            weir_buf_free(&content);
        }
    }
    if (n >= 0)
        free(names);
    return sum;
}

#endif
