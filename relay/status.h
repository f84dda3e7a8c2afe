// SPDX-License-Identifier: Apache-2.0
// /v1/status: a snapshot as the JSON that the README documents. Base units; what is not known is null; times RFC 3339, UTC, with ms.
#ifndef WEIR_RELAY_STATUS_H
#define WEIR_RELAY_STATUS_H

#include <jansson.h>

#include "relay/snapshot.h"

// A new reference, or NULL when memory is out. Any thread.
json_t *status_json(const struct snapshot *snapshot);
// The same as text, ended by a newline. False when memory is out.
bool status_text(const struct snapshot *snapshot, struct weir_buf *out);

#define STATUS_TIME_LEN 32
// "2026-11-20T08:00:00.123Z".
void status_time_format(uint64_t unix_ns, char out[STATUS_TIME_LEN]);

#endif
