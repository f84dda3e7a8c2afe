// SPDX-License-Identifier: Apache-2.0
// What is stored, field by field; private to storage. FORMAT.md is the description in prose, and has the rule for changes.
#ifndef WEIR_STORAGE_FORMAT_H
#define WEIR_STORAGE_FORMAT_H

#include "storage/block.h"

#define FORMAT_VERSION       2u
#define BLOCK_HEADER_BYTES   224u
#define BLOCK_VALUE_MAX      (1536u * 1024u * 1024u) // a longer length in a header is damage
#define SEGMENT_RECORD_BYTES 144u

// How much there has been of each signal since the spool began, up to a block number: the backlog between two numbers is
// one subtraction.
struct spool_counts {
    uint64_t blocks[WEIR_SIGNALS];
    uint64_t items[WEIR_SIGNALS];
    uint64_t raw_bytes[WEIR_SIGNALS];
    uint64_t stored_bytes; // of all signals: sum of the lengths of the stored values
};
#define SPOOL_COUNTS_BYTES ((3u * WEIR_SIGNALS + 1u) * 8u)
void spool_counts_put(uint8_t *p, const struct spool_counts *counts);
void spool_counts_get(const uint8_t *p, struct spool_counts *out);

struct block_header {
    uint16_t version;
    enum weir_signal signal;
    uint8_t codec;
    uint32_t requests, envelope_bytes, table_bytes;
    uint64_t frame_bytes, items, raw_bytes;
    uint64_t received_first_ns, received_last_ns, time_min_ns, time_max_ns;
    uint64_t body_checksum;
    uint64_t number;
    struct spool_counts before;
};
// Everything but number, before-counts and header checksum; the writer stamps those.
void block_header_put(uint8_t *value, const struct block_header *header);
void block_header_stamp(uint8_t *value, uint64_t number, const struct spool_counts *before);
// Checks magic, lengths against `value`, and the header's checksum, not the body. WEIR_E_CORRUPT, WEIR_E_FORMAT.
int block_header_get(struct weir_slice value, struct block_header *out, struct weir_err *err);
// The same where the length of the value is not known: it follows from the header, whose first `avail` bytes are at `p`; *bytes is the
// whole value's. The body need not be there.
int block_header_find(const uint8_t *p, size_t avail, struct block_header *out, uint64_t *bytes, struct weir_err *err);
// The counts after that block.
void spool_counts_add(struct spool_counts *counts, const struct block_header *header);

// The record under the key "weir" in a segment's main database: the segment's first number and the counts before it.
struct segment_record {
    uint64_t first;
    uint64_t created_ns;
    struct spool_counts before;
};
void segment_record_put(uint8_t out[SEGMENT_RECORD_BYTES], const struct segment_record *record);
int segment_record_get(struct weir_slice value, struct segment_record *out, struct weir_err *err);

// Common to every record: 4 bytes magic, u16 version, u16 flags, u32 length of the record at 8, and the XXH3-64 of all
// before it in the last 8 bytes. Readers of any version can tell damage from a newer format by these alone.
void record_begin(uint8_t *record, const char magic[4], uint32_t bytes);
void record_seal(uint8_t *record, uint32_t bytes);
int record_check(struct weir_slice value, const char magic[4], uint32_t bytes_min, struct weir_err *err);
uint64_t format_checksum(const void *data, size_t len);
// The same in pieces. Made with format_hash_new (NULL: out of memory), begun again by format_hash_reset.
struct format_hash;
struct format_hash *format_hash_new(void);
void format_hash_free(struct format_hash *hash);
void format_hash_reset(struct format_hash *hash);
void format_hash_add(struct format_hash *hash, const void *data, size_t len);
uint64_t format_hash_sum(const struct format_hash *hash);

#endif
