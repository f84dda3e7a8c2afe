// SPDX-License-Identifier: Apache-2.0
// Reading a sealed segment by pread alone: no map, so that a bad sector or a truncated file is an error code and never a signal, and no
// LMDB, which trusts its pages. Every page is checked when it is used. A page that is not what it should be makes the reader go
// through the whole file once, page by page, and find every block that is whole by the block's own header and checksums: what a
// damaged tree no longer leads to is delivered all the same. Private to storage.
#ifndef WEIR_STORAGE_SEGMENT_READ_H
#define WEIR_STORAGE_SEGMENT_READ_H

#include "storage/format.h"

#define SEGMENT_DROP_STEP (8u * 1024u * 1024u)
#define SEGMENT_READ_ANY  WEIR_SIGNALS // instead of a signal: blocks of all of them

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

// The numbers it holds, [first, end), and the counts around them. Where its tree cannot be used, `end` is behind the last whole block.
uint64_t segment_read_end(struct segment_read *read);
void segment_read_counts(struct segment_read *read, struct spool_counts *before, struct spool_counts *after);
// What is wrong with it, for a person; "" while nothing was found. Numbers between whole blocks that no block has are lost. The text stays
// where it is until close, and does not change once it is not empty.
const char *segment_read_damage(struct segment_read *read);
// How many numbers of [first, end) have no whole block, as far as found out; 0 while nothing is wrong.
uint64_t segment_read_lost(struct segment_read *read, uint64_t end);
// Whether its blocks were searched for page by page. Finding that out again would take a whole pass: it had better stay open.
bool segment_read_scanned(struct segment_read *read);
// When it was made, Unix ns; 0: its record is gone.
uint64_t segment_read_created_ns(struct segment_read *read);
// Length of the file that its tree uses; 0: not known. What lies behind was allocated and not used.
uint64_t segment_read_bytes(struct segment_read *read);

// The first block of `signal` (or SEGMENT_READ_ANY) at or after `from`. WEIR_E_NOT_FOUND: none. WEIR_E_IO: not now (the disk); the
// caller tries again. WEIR_E_FORMAT, WEIR_E_NOMEM. Any thread; calls on one file take turns.
int segment_read_find(struct segment_read *read, unsigned signal, uint64_t from, struct segment_block *out,
                      struct weir_err *err);
// Appends the block's value to `out`. What it holds is not checked: block_view_parse does. WEIR_E_IO, WEIR_E_NOMEM, WEIR_E_CORRUPT: the
// file ends before it does, or the disk does not give it: segment_read_distrust.
int segment_read_value(struct segment_read *read, const struct segment_block *block, struct weir_buf *out,
                       struct weir_err *err);
// Header of exactly that block. WEIR_E_NOT_FOUND: no whole one.
int segment_read_header(struct segment_read *read, uint64_t number, struct block_header *out, struct weir_err *err);
// The counts before `number`: `low` what the last header before it says, `high` what the first one at or after it says. They differ where
// something is missing. `exact`: low is what there was (the block of that number or the one before it is there, or it is a border of the
// file). WEIR_E_NOT_FOUND: nothing at or after it, and `low` is not exact; high is low then. WEIR_E_IO, WEIR_E_NOMEM, WEIR_E_FORMAT.
struct segment_counts {
    struct spool_counts low, high;
    bool exact;
};
int segment_read_counts_at(struct segment_read *read, uint64_t number, struct segment_counts *out,
                           struct weir_err *err);
// The caller found something wrong that the tree did not show: the value of block `number` is not whole, or numbers are missing. WEIR_OK: the
// file was searched now, look again. WEIR_E_NOT_FOUND: that was done before, and the block is not found from now on. WEIR_E_IO,
// WEIR_E_NOMEM, WEIR_E_FORMAT.
int segment_read_distrust(struct segment_read *read, uint64_t number, const char *why, struct weir_err *err);
// A reader has `block`. Gives back the memory of what lies before `passed`, 8 MiB at a time.
void segment_read_passed(struct segment_read *read, const struct segment_block *block, uint64_t passed);
// Gives back the memory of [from, to) bytes of it.
void segment_read_drop(struct segment_read *read, uint64_t from, uint64_t to);
// Goes through every page and block once, checksums included, about `budget` bytes a call, from *cursor (0: the beginning) on. WEIR_OK: *cursor
// has moved, UINT64_MAX at the end. WEIR_E_CORRUPT: found damage (segment_read_damage says which), and it can be called again. What
// was searched page by page is not gone through once more. WEIR_E_IO: not now. One caller at a time.
int segment_read_verify(struct segment_read *read, uint64_t budget, uint64_t *cursor, struct weir_err *err);
uint64_t segment_read_verified_bytes(const struct segment_read *read); // by those calls

#endif
