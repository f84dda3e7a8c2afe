// SPDX-License-Identifier: Apache-2.0
// A spool whose state and dead letters are not what they were: the offline tools look at all of it, and a relay's spool opens it or says why
// not. Input: changes of seven bytes each: which file, place u32, how many, value. Records get checksums that fit what is in them now,
// so that the readers behind the checksums are reached as well.
#include <fcntl.h>

#include "small_spool.h"
#include "storage/format.h"
#include "storage/inspect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define RECORDS_MAX 64

static struct file {
    const char *name;
    uint8_t *bytes;
    size_t len, whole; // up to the last byte that is not zero; of the file
    size_t record[RECORDS_MAX], records;
} files[] = {{.name = "state.mdb"}, {.name = "deadletter.mdb"}};
static const char *path_of(const struct file *file)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", directory, file->name);
    return path;
}

// Where records lay before anything was changed.
static void find_records(struct file *file)
{
    static const char magics[][5] = {"WLAN", "WSTA", "WDLT", "WDLS"};
    for (size_t at = 0; at + 24 <= file->len; at += 2)
        for (size_t i = file->bytes[at] == 'W' ? 0 : WEIR_COUNT(magics); i < WEIR_COUNT(magics); i++)
            if (memcmp(file->bytes + at, magics[i], 4) == 0 && file->records < RECORDS_MAX)
                file->record[file->records++] = at;
}

static void set_up(void)
{
    struct spool *spool;
    struct spool_lane *lane;
    struct weir_err err = {0};
    small_spool_make();
    CHECK(small_spool_open(&spool, &err) == WEIR_OK);
    static const char *const upstreams[] = {"a", "b"};
    for (size_t i = 0; i < WEIR_COUNT(upstreams); i++)
        for (int signal = 0; signal < 2; signal++)
            CHECK(spool_lane_open(spool, upstreams[i], (enum weir_signal)signal, SPOOL_START_NOW, &lane, &err) ==
                  WEIR_OK);
    small_spool_fill(spool);
    spool_close(spool);
    for (size_t i = 0; i < WEIR_COUNT(files); i++) {
        int fd = open(path_of(&files[i]), O_RDONLY);
        files[i].len = (size_t)lseek(fd, 0, SEEK_END);
        files[i].bytes = malloc(files[i].len);
        CHECK(fd >= 0 && pread(fd, files[i].bytes, files[i].len, 0) == (ssize_t)files[i].len);
        close(fd);
        files[i].whole = files[i].len;
        while (files[i].bytes[files[i].len - 1] == 0)
            files[i].len--;
        find_records(&files[i]);
        CHECK(files[i].records > 0);
    }
}

static void seal_records(const struct file *file, uint8_t *bytes)
{
    for (size_t i = 0; i < file->records; i++) {
        uint8_t *record = bytes + file->record[i];
        uint32_t n = weir_get_u32(record + 8);
        if (n >= 24 && n <= file->len - file->record[i])
            record_seal(record, n);
    }
}

static void change(const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < WEIR_COUNT(files); i++) {
        uint8_t *bytes = malloc(files[i].len);
        CHECK(bytes != NULL);
        memcpy(bytes, files[i].bytes, files[i].len);
        for (size_t at = 0; at + 7 <= len; at += 7) {
            const uint8_t *one = data + at;
            if (one[0] % WEIR_COUNT(files) != i)
                continue;
            size_t place = weir_get_u32(one + 1) % files[i].len, n = 1 + one[5] % 8;
            memset(bytes + place, one[6], n < files[i].len - place ? n : files[i].len - place);
        }
        seal_records(&files[i], bytes);
        int fd = open(path_of(&files[i]), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        CHECK(fd >= 0 && write(fd, bytes, files[i].len) == (ssize_t)files[i].len);
        CHECK(ftruncate(fd, (off_t)files[i].whole) == 0);
        close(fd);
        free(bytes);
    }
}

static int on_letter(void *ctx, const struct inspect_letter *letter, struct weir_err *err)
{
    CHECK((*(unsigned *)ctx)++ < 100000);
    return WEIR_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (files[0].bytes == NULL)
        set_up();
    change(data, len);
    struct inspect *inspect;
    struct weir_err err = {0};
    if (inspect_open(directory, &inspect, &err) != WEIR_OK)
        return 0;
    struct inspect_state state;
    inspect_state(inspect, &state);
    struct inspect_lane lane;
    for (size_t n = 0; inspect_lane(inspect, n, &lane) == WEIR_OK; n++)
        CHECK(n < 100000 && memchr(lane.upstream, '\0', sizeof(lane.upstream)) != NULL);
    struct inspect_letters letters;
    inspect_letters(inspect, &letters);
    unsigned seen = 0;
    inspect_letters_each(inspect, true, on_letter, &seen, &err);
    inspect_close(inspect);
    return 0;
}
