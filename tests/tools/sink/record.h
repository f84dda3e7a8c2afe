// SPDX-License-Identifier: Apache-2.0
// What arrived, per signal. One thread.
#ifndef WEIR_SINK_RECORD_H
#define WEIR_SINK_RECORD_H

#include <jansson.h>
#include <stdio.h>

#include "proto/encoding.h"
#include "tests/tools/common/idset.h"

struct record_stream {
    char *name;
    int64_t last_id; // highest so far
};

struct record {
    struct idset ids;
    uint64_t items, without_id, duplicates, refused_ids;
    uint64_t order_violations; // first arrivals with a number below one that their stream had sent already
    struct record_stream *streams;
    size_t stream_count;
    uint64_t misplaced; // items whose stream was not what the request's header (--stream-header) said
    uint64_t requests, refused_requests, rejected_items;
    uint64_t raw_bytes, wire_bytes, max_raw_bytes;
    uint64_t max_frames; // zstd frames in one request: how many stored blocks were joined without being decoded
    uint64_t encodings[ENCODINGS];
    uint64_t first_unix_ns, last_unix_ns;
};

// Takes one item. `ctx` is a struct record: matches extract_fn.
void record_item(void *ctx, const char *stream, int64_t id);
struct record_request {
    enum encoding encoding;
    size_t raw_bytes, wire_bytes, frames;
};
void record_request(struct record *record, const struct record_request *request);
json_t *record_json(const struct record *record); // NULL: out of memory
void record_clear(struct record *record);

#endif
