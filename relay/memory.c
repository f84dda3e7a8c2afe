// SPDX-License-Identifier: Apache-2.0
#include "relay/memory.h"

#include <malloc.h>

bool memory_give_back(struct memory_watch *watch, uint64_t now_ns)
{
    if (now_ns < watch->due_ns)
        return false;
    watch->due_ns = now_ns + MEMORY_LOOK_MS * UINT64_C(1000000);
    return mallinfo2().fordblks > MEMORY_FREE_BYTES && malloc_trim(0) != 0;
}
