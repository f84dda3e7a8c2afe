// SPDX-License-Identifier: Apache-2.0
// Everything that can be wrong with a spool at rest, found and named by a number that stays. Reads each file once from its beginning to its end,
// and writes nothing.
#ifndef WEIR_STORAGE_VERIFY_H
#define WEIR_STORAGE_VERIFY_H

#include "storage/inspect.h"

enum verify_severity { VERIFY_NOTE, VERIFY_DAMAGE };

// What can be found. Numbers are never used again for something else.
struct verify_rule {
    const char *number; // "W204"
    enum verify_severity severity;
    const char *text; // what it is
    const char *todo; // what a person does about it
};
size_t verify_rules(const struct verify_rule **out);

// Valid during the call.
struct verify_finding {
    const struct verify_rule *rule;
    const char *file;    // its name; "": none in particular
    const char *detail;  // what exactly; may be ""
    uint64_t first, end; // block numbers [first, end); equal: none
    bool items_known;
    uint64_t items[WEIR_SIGNALS]; // in those blocks, as far as they are affected
    const size_t *lanes;          // that still have to get some of it, or that it is about: for inspect_lane
    size_t lanes_n;
};

struct verify_options {
    void (*on_finding)(void *ctx, const struct verify_finding *finding);
    void (*on_progress)(void *ctx, uint64_t done_bytes, uint64_t total_bytes); // may be NULL
    void *ctx;
};
struct verify_result {
    uint64_t damage, notes; // findings
    uint64_t segments, blocks, dead_letters;
    uint64_t items[WEIR_SIGNALS]; // in whole blocks
    uint64_t bytes;               // of files that were read
};
// WEIR_OK: it was looked at as a whole, whatever was found. WEIR_E_NOMEM.
int verify_run(struct inspect *inspect, const struct verify_options *options, struct verify_result *out,
               struct weir_err *err);

#endif
