// SPDX-License-Identifier: Apache-2.0
// What a person may order of a running relay: drain, pause, resume, and giving up what a removed upstream was still to get. Each may be sent
// again and answers the same; the order is durable when the answer is sent, or the answer warns that it is not yet.
//
//   POST /v1/drain                      {"cancel": true}                    the body may be empty
//   POST /v1/upstreams/NAME/pause       (no body, or {})
//   POST /v1/upstreams/NAME/resume
//   POST /v1/upstreams/NAME/discard     {"signal": "logs", "dry_run": true}  of lanes that no upstream in the configuration has
//
// In the admin thread: one commit of the state.
#ifndef WEIR_RELAY_ADMIN_ORDERS_H
#define WEIR_RELAY_ADMIN_ORDERS_H

#include <jansson.h>

#include "relay/relay.h"

// Each: the HTTP status, and the document in *out (a new reference, NULL when memory is out), {"error": "…"} when it is not 200.
int admin_drain(struct relay *relay, struct weir_slice body, json_t **out);
int admin_pause(struct relay *relay, const char *upstream, bool paused, struct weir_slice body, json_t **out);
int admin_discard(struct relay *relay, const char *upstream, struct weir_slice body, json_t **out);

#endif
