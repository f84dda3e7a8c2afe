// SPDX-License-Identifier: Apache-2.0
// What is at a block number: the cumulative counts before it, its header, when it was received, or nothing any more. Private to storage.
#ifndef WEIR_STORAGE_POSITION_H
#define WEIR_STORAGE_POSITION_H

#include "storage/catalog.h"
#include "storage/intervals.h"
#include "storage/lane.h"

#define SPOOL_BORDERS 1024u

struct mark mark_of(const struct spool_counts *counts, enum weir_signal signal, uint64_t number);
struct mark spool_now(struct spool *spool, enum weir_signal signal);
void spool_note_border(struct spool *spool, uint64_t number, const struct spool_counts *counts);
bool spool_border_get(struct spool *spool, uint64_t number, struct spool_counts *out);
// The mark at `number`, or now if that is later. WEIR_E_IO, WEIR_E_NOMEM: a segment cannot be read now, and no guess will do: a mark that
// is too high makes a backlog look passed.
int spool_mark_at(struct spool *spool, enum weir_signal signal, uint64_t number, struct mark *out);
// The counts where a pinned sealed segment ends, and its end.
int segment_end(struct segment *segment, uint64_t limit, uint64_t *end, struct spool_counts *counts,
                struct weir_err *err);
// Whether no file holds block `number` (< next_block); *end is then the first number that one may hold.
bool spool_gap_at(struct spool *spool, uint64_t number, uint64_t *end);

// --- facts.c
// Header of exactly that block, wherever it is. WEIR_E_NOT_FOUND: no file has a whole one. WEIR_E_IO, WEIR_E_NOMEM: not now.
int spool_header_at(struct spool *spool, uint64_t number, struct block_header *out, struct weir_err *err);

// --- reader.c
// When the first block of `signal` in [from, end) was received; 0 when there is none that can be read.
uint64_t spool_received_at(struct spool *spool, enum weir_signal signal, uint64_t from, uint64_t end);

// --- past.c
// What files hold of [first, end), with the marks of the signal. WEIR_E_LIMIT: more than INTERVALS_MAX pieces. WEIR_E_IO, WEIR_E_NOMEM.
int past_pieces(struct spool *spool, enum weir_signal signal, struct spool_interval range,
                struct interval out[INTERVALS_MAX], size_t *n);

#endif
