// SPDX-License-Identifier: Apache-2.0
// Segments go here, and only here. Private to storage.
#ifndef WEIR_STORAGE_EVICT_H
#define WEIR_STORAGE_EVICT_H

#include "storage/spool.h"

// Removes what retention says must go. The keeper, or the opener before there is one.
void evict_due(struct spool *spool);
// Removes segments until `bytes` more fit, if that is allowed. WEIR_OK: they fit. WEIR_E_FULL. Nothing is lost in vain: when even all of
// them would not be enough, what somebody needs stays.
int evict_for_room(struct spool *spool, uint64_t bytes, struct weir_err *err);
// Asks the writer to begin a new segment when the last one has grown too old to be evicted in time.
void evict_begin_new(struct spool *spool);

#endif
