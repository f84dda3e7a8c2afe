// SPDX-License-Identifier: Apache-2.0
// Block: the unit of storage and of sending. The requests of one signal and one envelope that one commit takes, their
// bytes back to back in one zstd frame. FORMAT.md has every byte.
#ifndef WEIR_STORAGE_BLOCK_H
#define WEIR_STORAGE_BLOCK_H

#include "proto/base.h"
#include "proto/err.h"

#define BLOCK_RAW_BYTES_TARGET   (1024u * 1024u)         // a builder at or above it is sealed and not added to
#define BLOCK_RAW_BYTES_MAX      (1024u * 1024u * 1024u) // of all requests of one block
#define BLOCK_ENVELOPE_BYTES_MAX (64u * 1024u)
#define BLOCK_REQUESTS_MAX       (64u * 1024u)

// --- writing: an open block belongs to one ingest loop -------------------------------------------------------------

// What the spool keeps of one request besides its bytes.
struct block_request {
    uint64_t items;
    uint64_t time_min_ns; // of the items, Unix ns; 0 = none
    uint64_t time_max_ns;
    uint64_t received_ns; // Unix ns
};

struct block_builder;
// `envelope`: encoded kept headers, copied, at most 64 KiB; may be empty. `level`: zstd level. NULL: out of memory.
// A builder is reused: after block_builder_seal it is open and empty again, with its compression memory kept.
struct block_builder *block_builder_new(enum weir_signal signal, struct weir_slice envelope, int level);
void block_builder_free(struct block_builder *builder);
// Compresses one request into the frame: `raw` is not needed afterwards. WEIR_E_NOMEM leaves the builder unusable until
// it is discarded (block_builder_discard): a half-fed frame is never sealed. WEIR_E_LIMIT (more than BLOCK_RAW_BYTES_MAX or
// BLOCK_REQUESTS_MAX, or a second profiles request: those are not one request when they lie back to back) leaves it as it was.
int block_builder_add(struct block_builder *builder, struct weir_slice raw, const struct block_request *request,
                      struct weir_err *err);
void block_builder_discard(struct block_builder *builder);
// What the next block is of; nothing may have been added to it yet. WEIR_E_NOMEM: as it was.
int block_builder_set_envelope(struct block_builder *builder, struct weir_slice envelope, struct weir_err *err);
// Whether it should be sealed before the next request: the target is reached, or it holds a profiles request.
bool block_builder_full(const struct block_builder *builder);
size_t block_builder_raw_bytes(const struct block_builder *builder);
uint32_t block_builder_requests(const struct block_builder *builder);

// A sealed block on its way to the writer. Everything but number and cumulative counts is final, the body's checksum included.
struct block {
    struct block *next; // for the chain given to spool_append; the writer's while it has the block
    void *owner;        // the caller's; handed back by the completion
    void (*done)(struct block *block, int result); // the writer's: spool_append sets it
    // The owner's, may be NULL: called by the writer thread once the block is durable as that number, before anybody can read it: what it puts
    // into notes is durable before any settlement of the block. Must not block.
    void (*stored)(struct block *block, uint64_t number);
    enum weir_signal signal;
    uint32_t requests;
    uint64_t items;
    uint64_t raw_bytes;
    // header + envelope + frame + request table, as stored. The writer fills in the number, and takes the bytes away when it keeps
    // them for those who read the newest blocks: empty in a completion with WEIR_OK.
    struct weir_buf value;
};
// Finishes the frame; there must be a request in it. The block is the caller's until spool_append. WEIR_E_NOMEM: the builder must be discarded.
int block_builder_seal(struct block_builder *builder, struct block **out, struct weir_err *err);
void block_free(struct block *block);

// --- reading ---------------------------------------------------------------------------------------------------------

enum block_codec { BLOCK_CODEC_NONE = 0, BLOCK_CODEC_ZSTD = 1 };

// A stored block, parsed and checked. Slices point into a copy in memory, and stay valid until block_view_release.
struct block_view {
    uint64_t number;
    enum weir_signal signal;
    enum block_codec codec;
    uint32_t requests;
    uint64_t items;
    uint64_t raw_bytes;
    uint64_t received_first_ns, received_last_ns;
    uint64_t time_min_ns, time_max_ns;
    uint64_t items_before; // of this signal, in all blocks before this one since the spool began
    uint64_t raw_bytes_before;
    struct weir_slice envelope;
    struct weir_slice table; // per request: raw length and items, see block_table_next
    struct weir_slice frame; // the zstd frame, to be sent as it lies or decoded
    void *pin;               // what keeps the bytes alive; NULL when nothing does
};
// Parses and checks one stored value (magic, version, lengths, header and body checksums). WEIR_E_CORRUPT, WEIR_E_FORMAT.
int block_view_parse(struct weir_slice value, struct block_view *out, struct weir_err *err);

// Walks the request table: `cursor` starts at 0. WEIR_E_AGAIN at the end, WEIR_E_CORRUPT.
struct block_entry {
    uint64_t raw_bytes; // length of this request in the decoded frame
    uint64_t items;
};
int block_table_next(const struct block_view *view, size_t *cursor, struct block_entry *out);

// Appends the decoded requests (raw_bytes of them, never more) to `out`. Any thread. WEIR_E_CORRUPT, WEIR_E_NOMEM.
int block_view_decode(const struct block_view *view, struct weir_buf *out, struct weir_err *err);

#endif
