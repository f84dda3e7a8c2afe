// SPDX-License-Identifier: Apache-2.0
// The inside of segment_read.h, for segment_read.c and segment_verify.c.
#ifndef WEIR_STORAGE_SEGMENT_READ_PRIV_H
#define WEIR_STORAGE_SEGMENT_READ_PRIV_H

#include <pthread.h>

#include "storage/segment_scan.h"
#include "storage/segment_tree.h"

#define SEGMENT_DROP_STEPS_MAX 128u

struct segment_read {
    pthread_mutex_t lock; // over all below
    struct file_read file;
    char *path;
    uint64_t first, end;
    bool end_sure; // the tree said so before anything was wrong with it
    struct spool_counts before, after;
    bool scanned;
    struct segment_tree *tree;
    struct segment_scan scan;
    char damage[256];
    // Places 8 MiB apart that a reader has passed, to be dropped once every lane is beyond `number`.
    struct {
        uint64_t number, offset;
    } steps[SEGMENT_DROP_STEPS_MAX];
    size_t steps_n;
    uint64_t dropped;
    // How far the verification has come in one block: by one caller at a time, without the lock.
    struct {
        bool busy;
        struct segment_block block;
        uint64_t at, checksum;
        struct format_hash *hash;
    } verify;
    uint64_t verified_bytes;
};

// The header that lies there. WEIR_E_CORRUPT: not a whole one of that block.
int segment_read_header_at(struct segment_read *r, const struct segment_block *block, struct block_header *out,
                           struct weir_err *err);

#endif
