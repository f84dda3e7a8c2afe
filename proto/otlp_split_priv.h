// SPDX-License-Identifier: Apache-2.0
// What otlp_split.c (parts, boundaries) and otlp_split_index.c (the index) share.
#ifndef WEIR_PROTO_OTLP_SPLIT_PRIV_H
#define WEIR_PROTO_OTLP_SPLIT_PRIV_H

#include "proto/otlp_split.h"
#include "proto/wire.h"

// Which field of a message at each level holds its children. The children of the last level are items.
struct split_shape {
    unsigned levels;
    uint32_t child[5]; // 0: those of a metric, the members of a oneof (M3)
    unsigned bounds;   // at so many levels a child's begin is a boundary: down to the scopes, and the metrics
};

// A message that has marks: the request itself, and each one in it of at least a grain. Where it lies is what its marks say.
struct split_node {
    unsigned level;
    size_t marks, count; // the first one, and how many; one more stands behind them, for the end
    size_t begin, end;   // while the index is made
    uint64_t first, items;
    const uint8_t *run; // of a metric: split_member_run
};

// A stretch of a message's fields, up to the next mark: either one child that has marks itself, or some fields of about a grain together.
struct split_mark {
    size_t offset; // in the request
    uint64_t item; // ordinal of the first item in it or behind it
    uint32_t node; // the child's; 0: it is not one
    bool children; // there are some in it
    bool own;      // there are fields in it that are no children, which go into every part
};

struct otlp_split_index {
    enum weir_signal signal;
    struct weir_slice request;
    struct split_node *nodes;
    struct split_mark *marks;
    size_t node_count, node_cap, mark_count, mark_cap;
};

const struct split_shape *split_shape_of(enum weir_signal signal);
bool split_is_child(const struct split_shape *shape, unsigned level, const struct wire_field *field);
// Where the oneof's value begins: members before a member of another name are overwritten and hold nothing. NULL: broken.
const uint8_t *split_member_run(struct weir_slice metric);
// Adds the items in `message`, which is at that level. False: broken.
bool split_count(const struct split_shape *shape, unsigned level, struct weir_slice message, uint64_t *items);

#endif
