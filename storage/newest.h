// SPDX-License-Identifier: Apache-2.0
// The newest committed blocks in memory, shared by reference: who follows live traffic never touches the file that is being
// written. Private to storage.
#ifndef WEIR_STORAGE_NEWEST_H
#define WEIR_STORAGE_NEWEST_H

#include <pthread.h>
#include <stdatomic.h>

#include "storage/format.h"

#define NEWEST_BLOCKS      1024u
#define NEWEST_BYTES       (8u * 1024u * 1024u)
#define NEWEST_VALUE_BYTES (NEWEST_BYTES / 4) // a larger value is not kept

// Bytes with owners, a view's for one. Frees itself with the last one.
struct blob {
    atomic_uint refs;
    struct weir_buf bytes;
};
// Takes the buffer over (empty afterwards), one reference. NULL: out of memory, buffer untouched.
struct blob *blob_new(struct weir_buf *bytes);
void blob_release(struct blob *blob);

struct newest {
    pthread_mutex_t lock;
    uint64_t first, end; // numbers kept: contiguous
    uint64_t bytes;
    struct {
        struct blob *blob; // NULL: too large or no memory; the block is in the segment
        enum weir_signal signal;
    } at[NEWEST_BLOCKS];
};
void newest_init(struct newest *newest);
void newest_destroy(struct newest *newest);
// Keeps block `number` and takes its value; forgets the oldest ones. The writer.
void newest_add(struct newest *newest, uint64_t number, struct block *block);
// Forgets all and goes on from `number`: numbers before it are not in memory.
void newest_restart(struct newest *newest, uint64_t number);
// The first block of `signal` in [*from, end). A blob with a reference for the caller and its number in *from; NULL with *from moved on to where
// the search must go on: `end`, or a number that only the segment has. *from below the first number kept: NULL, unmoved.
struct blob *newest_find(struct newest *newest, enum weir_signal signal, uint64_t *from, uint64_t end);
// The header of exactly that block.
bool newest_header(struct newest *newest, uint64_t number, struct block_header *out);

#endif
