// SPDX-License-Identifier: Apache-2.0
// Where in a request the walker stopped, in words.
#ifndef WEIR_PROTO_WALK_PATH_H
#define WEIR_PROTO_WALK_PATH_H

#include "proto/walk_tables.h"

// A message the walker is inside of.
struct walk_frame {
    const struct walk_message *message;
    const uint8_t *begin;
    const uint8_t *end;
    const uint8_t *at; // tag of the field that the frame above this one is in; of the last frame: the field at fault
};

// Writes "resource_spans[3].scope_spans[0].spans[7].name", cut with "..." when `cap` (at least 8) is short. Everything
// before each frame's `at` has been walked and found sound: so the indices are counted only now, when one is needed.
void walk_path_write(const struct walk_frame *frames, unsigned depth, char *out, size_t cap);

#endif
