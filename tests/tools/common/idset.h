// SPDX-License-Identifier: Apache-2.0
// A set of item numbers as a bitmap that grows: the test tools number items from a common counter, so sets are dense.
#ifndef WEIR_TOOLS_IDSET_H
#define WEIR_TOOLS_IDSET_H

#include "proto/base.h"

#define IDSET_ID_MAX ((uint64_t)1 << 32) // a bitmap of 512 MiB: more than any run needs

struct idset { // zero-initialise
    uint64_t *words;
    size_t word_count;
    uint64_t count; // members
};

enum idset_added { IDSET_NEW, IDSET_DUPLICATE, IDSET_REFUSED }; // refused: above IDSET_ID_MAX, or out of memory
enum idset_added idset_add(struct idset *set, uint64_t id);
bool idset_has(const struct idset *set, uint64_t id);
// Appends "0-99,105,200-300" (nothing for the empty set). False: out of memory.
bool idset_print(const struct idset *set, struct weir_buf *out);
void idset_clear(struct idset *set);

#endif
