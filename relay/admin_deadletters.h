// SPDX-License-Identifier: Apache-2.0
// The dead letters by the admin port.
//
//   GET /v1/deadletters?upstream=central&signal=logs&after=ID&limit=100      a page of them, without their content; anyone may
//   GET /v1/deadletters/48213-17.central       one, with the request as OTLP/JSON: users' data, for those alone who may change something
//   POST /v1/deadletters/redrive, /v1/deadletters/purge
//        {"ids": ["48213-17.central"]}, or {"all": true, "upstream": "central", "signal": "logs", "after": ID}
//
// Runs in the admin thread. Each call does a bounded part of the work: an answer with "after" has more behind it.
#ifndef WEIR_RELAY_ADMIN_DEADLETTERS_H
#define WEIR_RELAY_ADMIN_DEADLETTERS_H

#include <jansson.h>

#include "relay/relay.h"

// What to answer: the HTTP status, and the document in *out (a new reference, NULL when memory is out), {"error": "…"} when it is not 200.
// `query` is what stands behind the question mark.
int admin_deadletters_list(struct relay *relay, struct weir_slice query, json_t **out);
int admin_deadletters_redrive(struct relay *relay, struct weir_slice body, json_t **out);
int admin_deadletters_purge(struct relay *relay, struct weir_slice body, json_t **out);
// The same, but with 200 the document is text in `body`.
int admin_deadletters_show(struct relay *relay, const char *id, struct weir_buf *body, json_t **out);

#endif
