// SPDX-License-Identifier: Apache-2.0
// Stored records, with checksums that fit whatever is in them: a block's header, table and frame, a segment's record, a dead letter and
// the totals. Input: one byte that says which, then the record.
#include <stdio.h>

#include "storage/format.h"
#include "storage/letter_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)
#define RAW_MAX      (8u << 20) // of what a frame says it holds: more is only slow
#define AT_RAW_BYTES 40
#define AT_CHECKSUM  80

static void check_table(const struct block_view *view)
{
    struct block_entry entry;
    size_t cursor = 0;
    uint32_t requests = 0;
    int code;
    while ((code = block_table_next(view, &cursor, &entry)) == WEIR_OK)
        CHECK(requests++ < view->table.len);
    CHECK(code == WEIR_E_AGAIN || code == WEIR_E_CORRUPT);
}

static void check_block(struct weir_slice value, uint8_t *bytes)
{
    if (value.len < BLOCK_HEADER_BYTES)
        return;
    weir_put_u32(bytes + 8, BLOCK_HEADER_BYTES);
    weir_put_u64(bytes + AT_RAW_BYTES, weir_get_u64(bytes + AT_RAW_BYTES) % RAW_MAX);
    weir_put_u64(bytes + AT_CHECKSUM, format_checksum(bytes + BLOCK_HEADER_BYTES, value.len - BLOCK_HEADER_BYTES));
    record_seal(bytes, BLOCK_HEADER_BYTES);
    struct block_header header;
    uint64_t whole = 0;
    block_header_find(value.data, value.len, &header, &whole, NULL);
    struct block_view view;
    struct weir_err err = {0};
    int code = block_view_parse(value, &view, &err);
    CHECK(code == WEIR_OK || err.text[0] != '\0');
    if (code != WEIR_OK)
        return;
    CHECK(view.envelope.len + view.table.len + view.frame.len + BLOCK_HEADER_BYTES == value.len);
    check_table(&view);
    struct weir_buf out = {0};
    code = block_view_decode(&view, &out, &err);
    CHECK(code != WEIR_OK || out.len == view.raw_bytes);
    CHECK(code == WEIR_OK || code == WEIR_E_CORRUPT || code == WEIR_E_NOMEM);
    weir_buf_free(&out);
}

static void check_letter(struct weir_slice value)
{
    struct letter_view view;
    struct weir_buf out = {0};
    if (letter_view_parse(value, &view, NULL) != WEIR_OK || view.raw_bytes > RAW_MAX)
        return;
    int code = letter_view_decode(&view, &out, NULL);
    CHECK(code != WEIR_OK || out.len == view.raw_bytes);
    weir_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const char magics[4][5] = {"WBLK", "WSEG", "WDLT", "WDLS"};
    struct segment_record record;
    struct letter_totals totals;
    if (len < 25)
        return 0;
    size_t n = len - 1;
    uint8_t *bytes = malloc(n); // of its own, so that a byte past its end is seen
    CHECK(bytes != NULL);
    memcpy(bytes, data + 1, n);
    memcpy(bytes, magics[data[0] % 4], 4);
    struct weir_slice value = {bytes, n};
    if (data[0] % 4 == 0) {
        check_block(value, bytes);
    } else {
        weir_put_u32(bytes + 8, (uint32_t)n);
        record_seal(bytes, (uint32_t)n);
        if (data[0] % 4 == 1)
            segment_record_get(value, &record, NULL);
        else if (data[0] % 4 == 2)
            check_letter(value);
        else
            letter_totals_get(value, &totals, NULL);
    }
    free(bytes);
    return 0;
}
