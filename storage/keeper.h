// SPDX-License-Identifier: Apache-2.0
// The two threads of a spool: the writer, and the keeper behind it. Private to storage.
#ifndef WEIR_STORAGE_KEEPER_H
#define WEIR_STORAGE_KEEPER_H

#include "storage/spool.h"

#define SPOOL_TXN_BYTES         (32u * 1024u * 1024u) // of values in one transaction
#define SPOOL_STATE_INTERVAL_NS 100000000u
#define SPOOL_STATE_BLOCKS      64u
#define SPOOL_PROBE_INTERVAL_NS 1000000000u
// The next segment is written with zeros ahead of its use, 4 MiB every 100 ms at most: acknowledgements are a fifth faster on a disk with
// room to spare, and a busy one is spared from writing everything twice.
#define SPOOL_AHEAD_STEP  (512u * 1024u)
#define SPOOL_AHEAD_STEPS 8u

void *writer_main(void *arg); // arg: the spool
void *keeper_main(void *arg);
void keeper_wake(struct spool *spool);
// Whether a file of that size may be made; when eviction is allowed the keeper makes room first. The writer. WEIR_OK, WEIR_E_FULL.
int keeper_ask_room(struct spool *spool, uint64_t bytes, struct weir_err *err);
bool keeper_is_awaited(struct spool *spool); // by the writer
void keeper_make_spare(struct spool *spool);
// Gives the spare up. False: there was none.
bool keeper_drop_spare(struct spool *spool);

#endif
