// SPDX-License-Identifier: Apache-2.0
// What the admin port answers. Called in the admin thread alone.
#ifndef WEIR_RELAY_ADMIN_ROUTES_H
#define WEIR_RELAY_ADMIN_ROUTES_H

#include "relay/admin_auth.h"
#include "relay/snapshot.h"

// What the routes look at: the admin thread's own.
struct admin_view {
    struct relay *relay;
    struct admin_auth auth;
    struct snapshot_sampler sampler;
    struct snapshot snapshot; // scratch: filled anew by whoever shows it
};

struct st_h2o_req_t;
// Answers by the route table: unknown path 404, other method 405, a change that is not allowed 401 or 403, each with JSON {"error": "…"}.
void admin_route(struct admin_view *view, struct st_h2o_req_t *req);

#endif
