// SPDX-License-Identifier: Apache-2.0
// Reading a sealed segment by pread alone: no map, so that a bad sector or a truncated file is an error code and never a signal, and no
// LMDB, which trusts its pages. Every page is checked when it is used. A page that is not what it should be makes the reader go
// through the whole file once, page by page, and find every block that is whole by the block's own header and checksums: what a
// damaged tree no longer leads to is delivered all the same. Private to storage.
#ifndef WEIR_STORAGE_SEGMENT_READ_H
#define WEIR_STORAGE_SEGMENT_READ_H

#include "storage/format.h"

#define SEGMENT_READ_ANY WEIR_SIGNALS // instead of a signal: blocks of all of them

// Where a block's value lies in the file.
struct segment_block {
    uint64_t number;
    enum weir_signal signal;
    uint64_t offset, bytes;
};

struct segment_read;
// Opens the file and finds where it begins and ends. Reads a few pages when it is sound. WEIR_E_CORRUPT: not one whole block and no record
// in it; WEIR_E_FORMAT: written by a newer version; WEIR_E_NOT_FOUND, WEIR_E_IO, WEIR_E_NOMEM.
int segment_read_open(const char *path, uint64_t first, struct segment_read **out, struct weir_err *err);
void segment_read_close(struct segment_read *read);

// The numbers it holds, [first, end), and the counts around them. Where it is damaged, `end` is behind the last whole block.
uint64_t segment_read_end(struct segment_read *read);
void segment_read_counts(struct segment_read *read, struct spool_counts *before, struct spool_counts *after);
// What is wrong with it, for a person; "" while nothing was found. Numbers between whole blocks that no block has are lost.
const char *segment_read_damage(struct segment_read *read);

// The first block of `signal` (or SEGMENT_READ_ANY) at or after `from`. WEIR_E_NOT_FOUND: none. WEIR_E_IO: not now (the disk); the
// caller tries again. Any thread; calls on one file take turns.
int segment_read_find(struct segment_read *read, unsigned signal, uint64_t from, struct segment_block *out,
                      struct weir_err *err);
// Appends the block's value to `out`. What it holds is not checked: block_view_parse does. WEIR_E_IO, WEIR_E_NOMEM, WEIR_E_CORRUPT: the
// file ends before it does.
int segment_read_value(struct segment_read *read, const struct segment_block *block, struct weir_buf *out,
                       struct weir_err *err);
// Header of exactly that block. WEIR_E_NOT_FOUND: no whole one.
int segment_read_header(struct segment_read *read, uint64_t number, struct block_header *out, struct weir_err *err);
// Goes through every page and block once, checksums included, `budget` bytes a call from *cursor (0: the beginning) on. WEIR_OK: *cursor has
// moved, UINT64_MAX at the end. WEIR_E_CORRUPT: found damage (segment_read_damage says which), and it can be called again.
int segment_read_verify(struct segment_read *read, uint64_t budget, uint64_t *cursor, struct weir_err *err);

#endif
