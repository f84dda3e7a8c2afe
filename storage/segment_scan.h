// SPDX-License-Identifier: Apache-2.0
// Finding the blocks of a damaged segment without its tree: one pass over the file. Private to storage.
//
// Every block says by itself which one it is, and carries checksums of header and body; so does the segment's record. A page is taken as LMDB
// wrote it where its head is sound: then a block is at byte 16 of an overflow page, or where a leaf's nodes begin. Elsewhere the page is
// searched for blocks, and what is found counts only when its body is whole too and it does not lie inside another block: the bytes
// that clients sent are in there, and they could look like one.
//
// What the pass may show that the tree would not:
//   - Several copies of one number: a leaf is copied whenever it changes, and the old copies stay in the file. They are the same block,
//     since a file whose commit failed is never written again (writer.c) and its numbers only ascend. One whose body is whole is preferred.
//   - A block that was refused and whose number another one got, in the unused part of a page: LMDB writes what was in memory there. It is in
//     no page's records, so it does not count where the right one's header is found.
//   - Whole blocks of a transaction whose commit failed or was cut off by a crash. They have the numbers behind the last good commit. Either the
//     next segment begins there, then they lie behind the border (catalog.c); or those numbers were used up by just these blocks, which
//     count as stored (writer.c, 3); or the file is the last one after a crash, and then they are taken as stored as well: nobody was told
//     so, but they are what a client sent, and the next block gets a number behind them.
//   - When the end was known before the damage was found, nothing from there on is shown.
#ifndef WEIR_STORAGE_SEGMENT_SCAN_H
#define WEIR_STORAGE_SEGMENT_SCAN_H

#include "storage/file_read.h"
#include "storage/format.h"

struct scan_entry {
    uint64_t number, offset;
    uint64_t seal; // its header's checksum: equal in copies of one block
    uint32_t bytes;
    uint8_t signal;
    bool whole;  // its body's checksum holds; else only the header can be used
    bool strict; // in a page whose head is sound
};
struct segment_scan {
    struct scan_entry *at; // by number, each once
    size_t n;
    size_t whole_n;
    bool record_found;
    struct segment_record record;
    bool unreadable; // the disk did not give some of its pages
};
// Numbers outside [first, end) are left out. `impatient`: pages that the disk does not give are skipped at once. WEIR_E_FORMAT: a whole record or
// block of a newer version; WEIR_E_IO: again later; WEIR_E_NOMEM. `out` is to be freed in any case.
int segment_scan_file(struct file_read *file, uint64_t first, uint64_t end, bool impatient, struct segment_scan *out,
                      struct weir_err *err);
void segment_scan_free(struct segment_scan *scan);
// Index of the first entry at or after `number`.
size_t segment_scan_at(const struct segment_scan *scan, uint64_t number);

#endif
