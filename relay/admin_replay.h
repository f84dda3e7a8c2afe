// SPDX-License-Identifier: Apache-2.0
// POST /v1/replay: adds what was received in a time, or has certain block numbers, to an upstream's lanes once more.
//
//   {"upstream": "central", "since": "-2h", "until": "2026-11-20T11:00:00Z", "signal": "logs", "dry_run": true}
//   {"upstream": "central", "first": 120, "end": 180}                                    blocks [120, 180), of all its signals
//
// Runs in the admin thread: a time is found by a few page reads, and what is added is one commit of the lanes' state; no data is read.
#ifndef WEIR_RELAY_ADMIN_REPLAY_H
#define WEIR_RELAY_ADMIN_REPLAY_H

#include <jansson.h>

#include "relay/relay.h"

// What to answer: the HTTP status, and the document in *out (a new reference, NULL when memory is out), {"error": "…"} when it is not 200.
int admin_replay(struct relay *relay, struct weir_slice body, json_t **out);

#endif
