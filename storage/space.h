// SPDX-License-Identifier: Apache-2.0
// How much of the disk the spool has, and who may have more of it. Private to storage.
#ifndef WEIR_STORAGE_SPACE_H
#define WEIR_STORAGE_SPACE_H

#include "storage/spool.h"

#define SPOOL_DISK_RESERVE (8u * 1024u * 1024u) // of the file system, never given to a segment
#define SPOOL_LOOK_INTERVAL_NS                                                                                         \
    15000000000u // between full looks at the directory: what a person added or removed counts by then

// Counts the disk: files that change each time, sealed segments once. Any thread.
void space_count(struct spool *spool);
// The full look, and whether it is time for one. The keeper, or the opener before there is one.
void space_look(struct spool *spool);
bool space_look_due(struct spool *spool);
// Whether a file of that size may be made, by the size limit and the file system's free space. WEIR_OK, WEIR_E_FULL.
int space_for(struct spool *spool, uint64_t bytes, struct weir_err *err);
// The same, and the room belongs to a file that the caller makes now, until space_give: the keeper and the writer may both be making one, and what has
// no name in the catalog yet is not counted. space_made follows when the disk knows of it, or it could not be made: else two that are made at once
// would both find the same free space. space_keep claims without asking, for a file that is there already.
int space_claim(struct spool *spool, uint64_t bytes, struct weir_err *err);
void space_made(struct spool *spool, uint64_t bytes);
void space_keep(struct spool *spool, uint64_t bytes);
void space_give(struct spool *spool, uint64_t bytes);
// Whether it might be made if segments went: what else lies in the directory, and on the disk, leaves so much.
bool space_can_be_made(struct spool *spool, uint64_t bytes);

#endif
