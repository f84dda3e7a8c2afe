// SPDX-License-Identifier: Apache-2.0
// Block numbers that a lane has still to take: the spool's intervals of that lane less what is under way. Pure; taken from the
// front, oldest first; what was not delivered is put back. Bounded: what does not fit is left out from the far end and stays in the
// spool's lane, from which the set is filled again when it is empty.
#ifndef WEIR_RELAY_TODO_H
#define WEIR_RELAY_TODO_H

#include "storage/spool.h"

#define TODO_INTERVALS_MAX 256

struct todo { // ascending, not empty, not touching
    struct spool_interval at[TODO_INTERVALS_MAX];
    size_t count;
};

// Takes [at[0].first, end) off the front: end lies in the first interval or is its end.
void todo_take(struct todo *todo, uint64_t end);
void todo_put_back(struct todo *todo, uint64_t first, uint64_t end);

#endif
