// SPDX-License-Identifier: Apache-2.0
#include "relay/size_limit.h"

void size_limit_taken(struct size_limit *limit, uint64_t bytes)
{
    if (bytes > limit->taken)
        limit->taken = bytes;
    if (limit->refused > 0 && bytes >= limit->refused) // it was refused for something else, or is taken now
        *limit = (struct size_limit){.bytes = limit->bytes, .taken = limit->taken};
    if (limit->bytes == 0 || bytes < limit->bytes - limit->bytes / 8)
        return;
    if (bytes > limit->bytes) // a single item, say
        limit->bytes = bytes;
    if (++limit->near_limit < SIZE_LIMIT_TRIES)
        return;
    limit->near_limit = 0;
    limit->bytes += limit->bytes / 8 + 1;
}

void size_limit_refused(struct size_limit *limit, uint64_t bytes)
{
    if (limit->taken >= bytes) { // it took as much: for this once, it may have been something else
        limit->taken = 0;
        return;
    }
    if (limit->refused == 0 || bytes < limit->refused)
        limit->refused = bytes;
    uint64_t most = limit->taken > bytes / 2 ? limit->taken : bytes / 2;
    if (limit->bytes == 0 || most < limit->bytes)
        limit->bytes = most > 0 ? most : 1;
    limit->near_limit = 0;
}
