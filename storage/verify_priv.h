// SPDX-License-Identifier: Apache-2.0
// The inside of verify.h, shared by verify*. Private to storage.
#ifndef WEIR_STORAGE_VERIFY_PRIV_H
#define WEIR_STORAGE_VERIFY_PRIV_H

#include "storage/inspect_priv.h"
#include "storage/verify.h"

struct verify {
    struct inspect *inspect;
    const struct verify_options *options;
    struct verify_result *result;
    uint64_t done_bytes, total_bytes;
    size_t lanes[STATE_LANES_MAX]; // of the finding that is being reported
};

// Fills in rule and lanes. With blocks, the lanes are those that need some of [first, end) and have items in it; without, only `lane` (SIZE_MAX: none).
// `detail` is printf's.
__attribute__((format(printf, 5, 6))) void verify_report(struct verify *v, const char *number,
                                                         struct verify_finding finding, size_t lane, const char *detail,
                                                         ...);
// Whether any lane needs a block in [first, end) of a signal that has items there.
bool verify_needed(const struct verify *v, const struct verify_finding *finding);
void verify_progress(struct verify *v, uint64_t bytes);

int verify_blocks(struct verify *v, struct weir_err *err);  // segments, their blocks, and files set aside
int verify_state(struct verify *v, struct weir_err *err);   // state and lanes
int verify_letters(struct verify *v, struct weir_err *err); // dead letters

#endif
