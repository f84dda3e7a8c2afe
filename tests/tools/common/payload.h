// SPDX-License-Identifier: Apache-2.0
// Realistic numbered OTLP requests: a service's resource, one scope, and items that each carry the int attribute
// `weir.test.id`. The resource carries `weir.test.stream`: within one stream numbers and times ascend.
#ifndef WEIR_TOOLS_PAYLOAD_H
#define WEIR_TOOLS_PAYLOAD_H

#include "tests/tools/common/emit.h"

#define PAYLOAD_ID_KEY     "weir.test.id"
#define PAYLOAD_STREAM_KEY "weir.test.stream"

struct payload {
    enum weir_signal signal; // traces, metrics or logs
    const char *stream;
    uint64_t base_unix_ns; // the time of item 0; item i is i microseconds later
    uint64_t random;       // state of the generator: the seed at first
    size_t target_bytes;   // of one request; 0: no filling
    size_t fill_bytes;     // per item, found by payload_fit
    size_t last_bytes;     // size of the request built last
};

// Finds how much text each item must carry for a request of `items` items to have about target_bytes. False: out of memory.
bool payload_fit(struct payload *payload, uint64_t items);
// Replaces the content of `out` with the request of items [first_id, first_id + items).
bool payload_build(struct payload *payload, uint64_t first_id, uint64_t items, struct emitter *out);

#endif
