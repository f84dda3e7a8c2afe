// SPDX-License-Identifier: Apache-2.0
#include "storage/format.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t format_checksum(const void *data, size_t len)
{
    return XXH3_64bits(data, len);
}

struct format_hash {
    XXH3_state_t xxh;
};

struct format_hash *format_hash_new(void)
{
    return aligned_alloc(_Alignof(struct format_hash), sizeof(struct format_hash));
}

void format_hash_free(struct format_hash *hash)
{
    free(hash);
}

void format_hash_reset(struct format_hash *hash)
{
    XXH3_64bits_reset(&hash->xxh);
}

void format_hash_add(struct format_hash *hash, const void *data, size_t len)
{
    XXH3_64bits_update(&hash->xxh, data, len);
}

uint64_t format_hash_sum(const struct format_hash *hash)
{
    return XXH3_64bits_digest(&hash->xxh);
}

void spool_counts_put(uint8_t *p, const struct spool_counts *counts)
{
    for (size_t i = 0; i < WEIR_SIGNALS; i++) {
        weir_put_u64(p + 8 * i, counts->blocks[i]);
        weir_put_u64(p + 8 * (WEIR_SIGNALS + i), counts->items[i]);
        weir_put_u64(p + 8 * (2 * WEIR_SIGNALS + i), counts->raw_bytes[i]);
    }
    weir_put_u64(p + 8 * 3 * WEIR_SIGNALS, counts->stored_bytes);
}

void spool_counts_get(const uint8_t *p, struct spool_counts *out)
{
    for (size_t i = 0; i < WEIR_SIGNALS; i++) {
        out->blocks[i] = weir_get_u64(p + 8 * i);
        out->items[i] = weir_get_u64(p + 8 * (WEIR_SIGNALS + i));
        out->raw_bytes[i] = weir_get_u64(p + 8 * (2 * WEIR_SIGNALS + i));
    }
    out->stored_bytes = weir_get_u64(p + 8 * 3 * WEIR_SIGNALS);
}

void spool_counts_add(struct spool_counts *counts, const struct block_header *header)
{
    counts->blocks[header->signal]++;
    counts->items[header->signal] += header->items;
    counts->raw_bytes[header->signal] += header->raw_bytes;
    counts->stored_bytes +=
        BLOCK_HEADER_BYTES + (uint64_t)header->envelope_bytes + header->table_bytes + header->frame_bytes;
}

void record_begin(uint8_t *record, const char magic[4], uint32_t bytes)
{
    memset(record, 0, bytes);
    memcpy(record, magic, 4);
    weir_put_u16(record + 4, FORMAT_VERSION);
    weir_put_u32(record + 8, bytes);
}

void record_seal(uint8_t *record, uint32_t bytes)
{
    weir_put_u64(record + bytes - 8, format_checksum(record, bytes - 8));
}

int record_check(struct weir_slice value, const char magic[4], uint32_t bytes_min, struct weir_err *err)
{
    if (value.len < 24 || memcmp(value.data, magic, 4) != 0)
        return weir_fail(err, WEIR_E_CORRUPT, "no %.4s record (%zu bytes)", magic, value.len);
    uint32_t bytes = weir_get_u32(value.data + 8);
    if (bytes < 24 || bytes > value.len)
        return weir_fail(err, WEIR_E_CORRUPT, "%.4s record says it has %u of %zu bytes", magic, bytes, value.len);
    if (weir_get_u64(value.data + bytes - 8) != format_checksum(value.data, bytes - 8))
        return weir_fail(err, WEIR_E_CORRUPT, "%.4s record: checksum does not match", magic);
    // Only now: damage must not pass for a newer version, nor a newer version for damage.
    uint16_t version = weir_get_u16(value.data + 4);
    if (version > FORMAT_VERSION)
        return weir_fail(err, WEIR_E_FORMAT, "%.4s record has format %u, this weir knows up to %u", magic, version,
                         FORMAT_VERSION);
    if (version == 0 || bytes < bytes_min)
        return weir_fail(err, WEIR_E_CORRUPT, "%.4s record: version %u with %u bytes", magic, version, bytes);
    return WEIR_OK;
}

// Offsets of a block's header. 0..11 are those of every record; version 1 uses the two flag bytes for signal and codec.
enum {
    AT_SIGNAL = 6,
    AT_CODEC = 7,
    AT_REQUESTS = 12,
    AT_ENVELOPE_BYTES = 16,
    AT_TABLE_BYTES = 20,
    AT_FRAME_BYTES = 24,
    AT_ITEMS = 32,
    AT_RAW_BYTES = 40,
    AT_RECEIVED_FIRST = 48,
    AT_RECEIVED_LAST = 56,
    AT_TIME_MIN = 64,
    AT_TIME_MAX = 72,
    AT_BODY_CHECKSUM = 80,
    AT_NUMBER = 88,
    AT_COUNTS = 96,
    AT_RESERVED = 200,
};
_Static_assert(AT_COUNTS + SPOOL_COUNTS_BYTES == AT_RESERVED, "counts fill their place");
_Static_assert(AT_RESERVED + 16 + 8 == BLOCK_HEADER_BYTES, "header size");

void block_header_put(uint8_t *value, const struct block_header *h)
{
    record_begin(value, "WBLK", BLOCK_HEADER_BYTES);
    value[AT_SIGNAL] = (uint8_t)h->signal;
    value[AT_CODEC] = h->codec;
    weir_put_u32(value + AT_REQUESTS, h->requests);
    weir_put_u32(value + AT_ENVELOPE_BYTES, h->envelope_bytes);
    weir_put_u32(value + AT_TABLE_BYTES, h->table_bytes);
    weir_put_u64(value + AT_FRAME_BYTES, h->frame_bytes);
    weir_put_u64(value + AT_ITEMS, h->items);
    weir_put_u64(value + AT_RAW_BYTES, h->raw_bytes);
    weir_put_u64(value + AT_RECEIVED_FIRST, h->received_first_ns);
    weir_put_u64(value + AT_RECEIVED_LAST, h->received_last_ns);
    weir_put_u64(value + AT_TIME_MIN, h->time_min_ns);
    weir_put_u64(value + AT_TIME_MAX, h->time_max_ns);
    weir_put_u64(value + AT_BODY_CHECKSUM, h->body_checksum);
}

void block_header_stamp(uint8_t *value, uint64_t number, const struct spool_counts *before)
{
    weir_put_u64(value + AT_NUMBER, number);
    spool_counts_put(value + AT_COUNTS, before);
    record_seal(value, BLOCK_HEADER_BYTES);
}

int block_header_get(struct weir_slice value, struct block_header *out, struct weir_err *err)
{
    int rc = record_check(value, "WBLK", BLOCK_HEADER_BYTES, err);
    if (rc != WEIR_OK)
        return rc;
    const uint8_t *p = value.data;
    *out = (struct block_header){
        .version = weir_get_u16(p + 4),
        .signal = (enum weir_signal)p[AT_SIGNAL],
        .codec = p[AT_CODEC],
        .requests = weir_get_u32(p + AT_REQUESTS),
        .envelope_bytes = weir_get_u32(p + AT_ENVELOPE_BYTES),
        .table_bytes = weir_get_u32(p + AT_TABLE_BYTES),
        .frame_bytes = weir_get_u64(p + AT_FRAME_BYTES),
        .items = weir_get_u64(p + AT_ITEMS),
        .raw_bytes = weir_get_u64(p + AT_RAW_BYTES),
        .received_first_ns = weir_get_u64(p + AT_RECEIVED_FIRST),
        .received_last_ns = weir_get_u64(p + AT_RECEIVED_LAST),
        .time_min_ns = weir_get_u64(p + AT_TIME_MIN),
        .time_max_ns = weir_get_u64(p + AT_TIME_MAX),
        .body_checksum = weir_get_u64(p + AT_BODY_CHECKSUM),
        .number = weir_get_u64(p + AT_NUMBER),
    };
    spool_counts_get(p + AT_COUNTS, &out->before);
    if (weir_get_u32(p + 8) != BLOCK_HEADER_BYTES || p[AT_SIGNAL] >= WEIR_SIGNALS || out->codec > BLOCK_CODEC_ZSTD)
        return weir_fail(err, WEIR_E_CORRUPT, "block %llu: signal %u, codec %u", (unsigned long long)out->number,
                         p[AT_SIGNAL], p[AT_CODEC]);
    // A reader makes room for the table: each request has at least two bytes in it.
    if (out->requests == 0 || out->requests > BLOCK_REQUESTS_MAX || out->requests > out->table_bytes / 2)
        return weir_fail(err, WEIR_E_CORRUPT, "block %llu: %u requests in a table of %u bytes",
                         (unsigned long long)out->number, out->requests, out->table_bytes);
    uint64_t rest = value.len - BLOCK_HEADER_BYTES;
    if (value.len > BLOCK_VALUE_MAX || out->frame_bytes > rest || out->raw_bytes > BLOCK_RAW_BYTES_MAX ||
        (uint64_t)out->envelope_bytes + out->table_bytes + out->frame_bytes != rest)
        return weir_fail(err, WEIR_E_CORRUPT, "block %llu: lengths do not add up to its %zu bytes",
                         (unsigned long long)out->number, value.len);
    return WEIR_OK;
}

int block_header_find(const uint8_t *p, size_t avail, struct block_header *out, uint64_t *bytes, struct weir_err *err)
{
    int rc = record_check((struct weir_slice){p, avail}, "WBLK", BLOCK_HEADER_BYTES, err);
    if (rc != WEIR_OK)
        return rc;
    uint64_t frame = weir_get_u64(p + AT_FRAME_BYTES);
    *bytes = BLOCK_HEADER_BYTES + (uint64_t)weir_get_u32(p + AT_ENVELOPE_BYTES) + weir_get_u32(p + AT_TABLE_BYTES) +
             (frame < BLOCK_VALUE_MAX ? frame : BLOCK_VALUE_MAX);
    // Only the header is looked at in there, and all of it is here.
    return block_header_get((struct weir_slice){p, *bytes}, out, err);
}

void segment_record_put(uint8_t out[SEGMENT_RECORD_BYTES], const struct segment_record *record)
{
    record_begin(out, "WSEG", SEGMENT_RECORD_BYTES);
    weir_put_u64(out + 16, record->first);
    weir_put_u64(out + 24, record->created_ns);
    spool_counts_put(out + 32, &record->before);
    record_seal(out, SEGMENT_RECORD_BYTES);
}

int segment_record_get(struct weir_slice value, struct segment_record *out, struct weir_err *err)
{
    int rc = record_check(value, "WSEG", SEGMENT_RECORD_BYTES, err);
    if (rc != WEIR_OK)
        return rc;
    out->first = weir_get_u64(value.data + 16);
    out->created_ns = weir_get_u64(value.data + 24);
    spool_counts_get(value.data + 32, &out->before);
    return WEIR_OK;
}
