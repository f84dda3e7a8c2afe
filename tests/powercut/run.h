// SPDX-License-Identifier: Apache-2.0
// One life of a spool, drawn from a seed.
#ifndef TESTS_POWERCUT_RUN_H
#define TESTS_POWERCUT_RUN_H

#include "tests/powercut/disk.h"
#include "tests/powercut/judge.h"

struct profile run_profile(uint64_t seed);
bool run_workload(const struct profile *profile, uint64_t seed, const char *directory, struct world *world, char *why);
// Whether the record, done in full, makes the directory that there is: `why` says what the recorder has missed.
void run_compare(const struct trace *trace, const char *directory, char *why);
// The lie about order: moves each removal of a segment before the commit of the state that allows it.
void run_unlink_first(struct trace *trace);

#endif
