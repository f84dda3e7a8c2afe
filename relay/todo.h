// SPDX-License-Identifier: Apache-2.0
// Block numbers that a lane has still to take: the spool's intervals of that lane less what is under way. Pure; mostly taken
// from the front, oldest first; what was not delivered is put back. Bounded: what does not fit is left out from the far end and stays in the
// spool's lane, from which the set is filled again when it is empty.
#ifndef WEIR_RELAY_TODO_H
#define WEIR_RELAY_TODO_H

#include "storage/lane.h"

#define TODO_INTERVALS_MAX 256

struct todo { // ascending, not empty, not touching
    struct spool_interval at[TODO_INTERVALS_MAX];
    size_t count;
};

// Takes [first, end) out, as far as it is in.
void todo_take(struct todo *todo, uint64_t first, uint64_t end);
// The first stretch of one interval within [from, to). False: there is none.
bool todo_find(const struct todo *todo, uint64_t from, uint64_t to, struct spool_interval *out);
void todo_put_back(struct todo *todo, uint64_t first, uint64_t end);

#endif
