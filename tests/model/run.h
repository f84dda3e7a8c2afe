// SPDX-License-Identifier: Apache-2.0
// A sequence in a process of its own, so that a crash or a hang is a result like another; and the smallest that still fails.
#ifndef TESTS_MODEL_RUN_H
#define TESTS_MODEL_RUN_H

#include <stdbool.h>
#include <sys/types.h>

#include "tests/model/action.h"

// Faults planted to see that they are found.
enum run_plant { PLANT_NONE, PLANT_LOST_SETTLEMENT, PLANT_LYING_FLUSH, PLANT_NO_FLUSH, PLANT_WRONG_SUM, PLANTS };
extern enum run_plant run_plant; // of the processes that are started from now on

// What all sequences did, counted in shared memory.
struct run_counts {
    _Atomic unsigned long long actions, blocks, items, reads, crashes, failed_calls;
};
extern struct run_counts *run_counts;

struct run {
    pid_t pid;
    int log;
    char directory[64];
};

bool run_setup(void);
void run_start(struct run *run, const struct sequence *sequence, bool drain);
// How it ended, in words; "" when well.
void run_join(struct run *run, char *why, size_t cap);
bool run_fails(const struct sequence *sequence, char *why, size_t cap);
// Makes it smaller as long as it fails. Returns how many were tried.
unsigned run_shrink(struct sequence *sequence, char *why, size_t cap);

#endif
