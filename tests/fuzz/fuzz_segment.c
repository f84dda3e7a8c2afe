// SPDX-License-Identifier: Apache-2.0
// Reading a sealed segment that is not what it was. Input: one byte that says what is read, then either the file itself (0), or changes to a real
// segment (1: small blocks in leaves, 2: larger ones on pages of their own), six bytes each: what, place u32, value. Whatever it is: no
// crash, no endless loop, and no block that is not the one that was written.
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "storage/segment.h"
#include "storage/segment_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)
#define FIRST  100u
#define BLOCKS 60u
#define PAGE   4096u

static struct sample {
    uint8_t *file;
    size_t len;
    struct weir_buf value[BLOCKS];
} samples[2];
static char path[64];

static struct block *make_block(enum weir_signal signal, uint64_t seed, size_t len)
{
    struct block_builder *builder = block_builder_new(signal, (struct weir_slice){(const uint8_t *)"e", 1}, 1);
    struct block *block;
    uint8_t *raw = calloc(1, len + 8);
    CHECK(builder != NULL && raw != NULL);
    uint64_t x = seed * 0x9E3779B97F4A7C15ull + 1;
    for (size_t i = 0; i + 8 <= len; i += 8) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        weir_put_u64(raw + i, x);
    }
    struct block_request request = {.items = 1 + seed % 3, .received_ns = seed};
    CHECK(block_builder_add(builder, (struct weir_slice){raw, len}, &request, NULL) == WEIR_OK);
    CHECK(block_builder_seal(builder, &block, NULL) == WEIR_OK);
    block_builder_free(builder);
    free(raw);
    return block;
}

static void make_sample(struct sample *sample, size_t least)
{
    struct segment_file *file;
    struct segment_record record = {.first = FIRST, .created_ns = 5};
    struct spool_counts counts = {0};
    bool again;
    CHECK(segment_file_create(path, 1024 * 1024, &file, NULL) == WEIR_OK);
    CHECK(segment_file_start(file, &record, NULL) == WEIR_OK);
    for (uint64_t i = 0; i < BLOCKS; i++) {
        struct block *block = make_block((enum weir_signal)(i % 3), i, least + i * 7 % 500);
        CHECK(segment_file_append(file, block, 1, FIRST + i, &counts, &again, NULL) == WEIR_OK);
        sample->value[i] = block->value;
        block->value = (struct weir_buf){0};
        block_free(block);
    }
    segment_file_close(file, path);
    int fd = open(path, O_RDONLY);
    sample->len = (size_t)lseek(fd, 0, SEEK_END);
    sample->file = malloc(sample->len);
    CHECK(sample->file != NULL && pread(fd, sample->file, sample->len, 0) == (ssize_t)sample->len);
    close(fd);
}

static void remove_file(void)
{
    unlink(path);
}

static void set_up(void)
{
    snprintf(path, sizeof(path), "%s/weir-fuzz-%d.mdb", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp",
             (int)getpid());
    atexit(remove_file);
    make_sample(&samples[0], 20);
    make_sample(&samples[1], 3000);
}

// The sample with changes: a byte set, a bit flipped, a page zeroed, one page put over another, the end cut off.
static uint8_t *change(const struct sample *sample, const uint8_t *data, size_t len, size_t *out_len)
{
    uint8_t *file = malloc(sample->len);
    CHECK(file != NULL);
    memcpy(file, sample->file, sample->len);
    *out_len = sample->len;
    size_t pages = sample->len / PAGE;
    for (; len >= 6; data += 6, len -= 6) {
        uint32_t at = weir_get_u32(data + 1);
        size_t byte = at % sample->len, page = at % pages;
        if (data[0] % 8 < 3)
            file[byte] = data[5];
        else if (data[0] % 8 < 5)
            file[byte] ^= (uint8_t)(1u << data[5] % 8);
        else if (data[0] % 8 == 5)
            memset(file + page * PAGE, 0, PAGE);
        else if (data[0] % 8 == 6)
            memmove(file + page * PAGE, file + data[5] % pages * PAGE, PAGE);
        else
            *out_len = byte;
    }
    return file;
}

// As a reader does: what is found is read and checked; what is not whole is told, and looked for once more.
static unsigned read_all(struct segment_read *read, const struct sample *sample)
{
    struct segment_block block;
    struct weir_err err;
    unsigned found = 0, looks = 0;
    int code;
    for (uint64_t from = 0; (code = segment_read_find(read, SEGMENT_READ_ANY, from, &block, &err)) == WEIR_OK;) {
        struct weir_buf value = {0};
        struct block_view view;
        CHECK(block.number >= from && block.number >= FIRST && block.number < segment_read_end(read));
        code = segment_read_value(read, &block, &value, &err);
        if (code == WEIR_OK)
            code = block_view_parse((struct weir_slice){value.data, value.len}, &view, &err);
        if (code == WEIR_OK && sample != NULL && view.number == block.number) {
            const struct weir_buf *written = &sample->value[block.number - FIRST];
            CHECK(value.len == written->len && memcmp(value.data, written->data, value.len) == 0);
        }
        found += code == WEIR_OK;
        from = code == WEIR_OK ? block.number + 1 : from;
        weir_buf_free(&value);
        if (code == WEIR_E_FORMAT)
            return found;
        if (code != WEIR_OK)
            code = segment_read_distrust(read, block.number, err.text, &err);
        CHECK(code == WEIR_OK || code == WEIR_E_NOT_FOUND || code == WEIR_E_FORMAT);
        CHECK(looks++ < 100000);
    }
    CHECK(code == WEIR_E_NOT_FOUND || code == WEIR_E_FORMAT);
    return found;
}

static void look_at(const struct sample *sample)
{
    struct segment_read *read;
    struct weir_err err = {0};
    int code = segment_read_open(path, FIRST, &read, &err);
    if (code != WEIR_OK) {
        CHECK((code == WEIR_E_CORRUPT || code == WEIR_E_FORMAT) && err.text[0] != '\0');
        return;
    }
    uint64_t cursor = 0;
    for (unsigned i = 0; cursor != UINT64_MAX && i < 10000; i++) {
        code = segment_read_verify(read, 64 * 1024, &cursor, &err);
        CHECK(code == WEIR_OK || code == WEIR_E_CORRUPT || code == WEIR_E_FORMAT);
        if (code == WEIR_E_FORMAT)
            break;
    }
    bool sound = segment_read_damage(read)[0] == '\0';
    unsigned found = read_all(read, sample);
    CHECK(!sound || code == WEIR_E_FORMAT || sample == NULL || found == segment_read_end(read) - FIRST);
    struct spool_counts before, after;
    segment_read_counts(read, &before, &after);
    for (uint64_t n = FIRST - 1; n < FIRST + BLOCKS + 2; n++) {
        struct segment_counts counts;
        struct block_header h;
        segment_read_counts_at(read, n, &counts, &err);
        segment_read_header(read, n, &h, &err);
    }
    CHECK(segment_read_lost(read, segment_read_end(read)) <= segment_read_end(read) - FIRST);
    segment_read_close(read);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (samples[0].file == NULL)
        set_up();
    if (len == 0)
        return 0;
    const struct sample *sample = data[0] % 3 == 0 ? NULL : &samples[data[0] % 3 - 1];
    size_t n = len - 1;
    uint8_t *changed = sample != NULL ? change(sample, data + 1, len - 1, &n) : NULL;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && write(fd, changed != NULL ? changed : data + 1, n) == (ssize_t)n);
    close(fd);
    look_at(sample);
    free(changed);
    return 0;
}
