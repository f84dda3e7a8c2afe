// SPDX-License-Identifier: Apache-2.0
// Admin: the HTTP/1.1 port for people, probes and scrapers. Its own thread and loop, so that it answers while ingest is busy.
//
//   GET /            status page          GET /v1/status   JSON
//   GET /metrics     Prometheus text or OpenMetrics
//   GET /healthz     200 while every ingest loop turns, else 503: restart me
//   GET /readyz      200 while data can be taken durably, else 503 with the reason
//   POST /v1/drain, /v1/upstreams/NAME/pause|resume|discard   orders (relay/admin_orders.h)
//   GET /v1/deadletters, /v1/deadletters/ID; POST /v1/deadletters/redrive|purge   (relay/admin_deadletters.h)
//   POST /v1/replay  adds stored data to an upstream's lanes once more (relay/admin_replay.h)
#ifndef WEIR_RELAY_ADMIN_H
#define WEIR_RELAY_ADMIN_H

#include "relay/relay.h"

struct admin;

// Listens on config->admin.endpoint and starts the thread; *out is NULL when the endpoint is "off". The relay must be complete and outlive
// admin_stop. WEIR_E_INVALID, WEIR_E_IO (the text names the setting), WEIR_E_NOMEM.
int admin_start(struct relay *relay, struct admin **out, struct weir_err *err);
// "127.0.0.1:9464": the address really bound; NULL for NULL.
const char *admin_address(const struct admin *admin);
// Answers under way are finished (for a second at most), then the thread ends and everything is freed. NULL is fine.
void admin_stop(struct admin *admin);

#endif
