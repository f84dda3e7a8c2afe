// SPDX-License-Identifier: Apache-2.0
// How large a request an upstream takes in one lane, learnt from what it took and what it refused for its size. Pure.
//
// A refusal for size is believed when the same data was taken in smaller parts: then exports are made smaller. Where as much was taken
// before, only the second in a row is: who is short of something else says the same words now and then. After a good many exports
// near the limit one that is an eighth larger tries whether it still holds; when it does, that costs two exports more. What was learnt is
// forgotten (zeroed) when the upstream was away or another endpoint is used: that may be another peer, or a changed setting.
#ifndef WEIR_RELAY_SIZE_LIMIT_H
#define WEIR_RELAY_SIZE_LIMIT_H

#include "proto/base.h"

#define SIZE_LIMIT_TRIES 64 // exports near the limit before a larger one

struct size_limit {      // raw bytes of one export; zero-initialise: nothing is known
    uint64_t bytes;      // no more than this; 0: no limit is known
    uint64_t taken;      // the largest that was taken
    uint64_t refused;    // the smallest that was refused for its size; 0: none
    uint32_t near_limit; // exports near the limit since it last changed
};

void size_limit_taken(struct size_limit *limit, uint64_t bytes);
void size_limit_refused(struct size_limit *limit, uint64_t bytes);

#endif
