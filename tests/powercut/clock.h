// SPDX-License-Identifier: Apache-2.0
// Time that passes only when it is told to, and the keeper thread on a lead: a run is the same each time, and never waits.
#ifndef TESTS_POWERCUT_CLOCK_H
#define TESTS_POWERCUT_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

// From here on the keeper of each spool that is opened stands still between two ticks (false), or goes on by itself (true).
void clock_free_running(bool yes);
// After spool_open: waits until the keeper stands. Nothing with free threads.
void clock_settle(void);
// Lets the keeper work once, and `ms` pass. Nothing with free threads.
void clock_tick(uint64_t ms);
// Random numbers of the code under test follow from `seed` from here on, and it is `now` (ns since the machine's start).
void clock_set(uint64_t seed, uint64_t now);
uint64_t clock_now(void);
#define CLOCK_BEGIN 1000000000000ull

#endif
