// SPDX-License-Identifier: Apache-2.0
// Tells the log when the spool stops and begins again to take data. A spool at its limit goes to and fro between the two as segments are
// freed: only one that has taken data for a while has recovered.
#ifndef WEIR_RELAY_SPOOL_WATCH_H
#define WEIR_RELAY_SPOOL_WATCH_H

#include "storage/spool.h"

#define SPOOL_WATCH_WELL_NS 10000000000u

struct spool_watch { // zero: the spool was well so far
    enum spool_state told;
    uint64_t well_since_ns; // monotonic; 0: it is not well
};

// What is to be told of a spool that is in `state` at `now_ns`: true when `watch->told` has changed. Pure.
bool spool_watch_news(struct spool_watch *watch, enum spool_state state, uint64_t now_ns);
// Looks and logs.
void spool_watch_look(struct spool_watch *watch, struct spool *spool, uint64_t now_ns);

#endif
