// SPDX-License-Identifier: Apache-2.0
// The body of a request that changes something: a JSON object with members that are known and of the right type.
#ifndef WEIR_RELAY_ADMIN_BODY_H
#define WEIR_RELAY_ADMIN_BODY_H

#include <jansson.h>

#include "proto/base.h"
#include "proto/err.h"
#include "relay/relay.h"

#define ADMIN_WORDS_MAX 256

struct admin_member {
    const char *name;
    json_type type; // JSON_STRING, JSON_INTEGER, JSON_ARRAY, or JSON_TRUE for a boolean
};
// *out (for the caller to decref; NULL when it fails) is an object of those members. An empty body is an empty object when `may_be_empty`.
// WEIR_E_INVALID.
int admin_body_read(struct weir_slice body, bool may_be_empty, const struct admin_member *members, size_t count,
                    json_t **out, struct weir_err *err);

// The upstream of that name in the configuration. WEIR_E_NOT_FOUND: the text names those that there are.
int admin_find_upstream(const struct relay *relay, const char *name, struct replay **out, struct weir_err *err);

// Whether it gets nothing now, in words: "'central' does not take data now (paused: weir resume central)".
bool admin_takes_nothing(struct replay *replay, char out[ADMIN_WORDS_MAX]);

#endif
