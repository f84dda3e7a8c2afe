// SPDX-License-Identifier: Apache-2.0
// What the disk does to the spool under test: it dies, is full, or cannot flush.
#ifndef TESTS_MODEL_CALLS_H
#define TESTS_MODEL_CALLS_H

#include <stdbool.h>

// After `calls` more calls that change the disk, nothing does any more: what is there then is what a process that was killed at that moment
// leaves. `torn`: half of the write it died in is there.
void calls_die_after(unsigned calls, bool torn);
void calls_die_now(void);
bool calls_dead(void);
// A full disk: nothing is allocated, and no file grows.
void calls_no_space(bool on);
// The next `n` flushes (`meta`: writes of LMDB's meta page) fail with EIO.
void calls_fail_flushes(int n, bool meta);
// Writes of a segment's meta page, which carry O_DSYNC, are not durable though they say so: a crash takes the last one of each back.
void calls_lie(bool on);
// Flushes do nothing though they say that all went well: a cut of the power takes back what they were for.
void calls_skip_flushes(bool on);
// When the disk has died, the power is cut, too: see power.h. `seed` is not 0.
void calls_cut_power(unsigned seed);
// Everything works again.
void calls_heal(void);
// How many calls failed so far, for whatever reason.
unsigned calls_failed(void);

#endif
