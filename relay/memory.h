// SPDX-License-Identifier: Apache-2.0
// Memory that was freed, given back to the machine: malloc keeps pages that lie between others in use, so that a relay that once had two
// thousand TLS connections would keep 40 MiB for them for good.
#ifndef WEIR_RELAY_MEMORY_H
#define WEIR_RELAY_MEMORY_H

#include "proto/base.h"

#define MEMORY_LOOK_MS    10000              // so often it is looked at
#define MEMORY_FREE_BYTES (8u * 1024 * 1024) // of malloc's, and unused: less is left to it

struct memory_watch { // zero: not looked yet
    uint64_t due_ns;
};
// To be called now and then with the monotonic time, by one thread. True: memory was given back. While that goes on, other threads'
// allocations from the same arena wait: some milliseconds for hundreds of MiB.
bool memory_give_back(struct memory_watch *watch, uint64_t now_ns);

#endif
