// SPDX-License-Identifier: Apache-2.0
// What the spool tells while it works (data evicted, files damaged) as lines of the log. The spool's threads hand it over and go on; the main
// thread logs it. Equal lanes and reasons, and equal files, are summed into one line: the first comes at once, further ones after
// 5 s, 10 s, 20 s … 5 min, for as long as it goes on.
#ifndef WEIR_RELAY_SPOOL_EVENTS_H
#define WEIR_RELAY_SPOOL_EVENTS_H

#include "storage/event.h"

#define SPOOL_EVENTS_GAP_MIN_NS 5000000000u
#define SPOOL_EVENTS_GAP_MAX_NS 300000000000u

const char *spool_loss_name(enum spool_loss loss); // "full", "age", "damage"

struct spool_events;
struct spool_events *spool_events_new(void); // NULL: out of memory
void spool_events_free(struct spool_events *events);
// Logs it at once.
void spool_events_tell_forgotten(const struct spool_event *event);
// Takes a copy of any other. Any thread, never waits for the log.
void spool_events_take(struct spool_events *events, const struct spool_event *event);
// Logs what is due at `now_ns` (monotonic), or all there is. One thread.
void spool_events_tell(struct spool_events *events, uint64_t now_ns, bool all);

#endif
