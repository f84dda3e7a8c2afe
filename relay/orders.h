// SPDX-License-Identifier: Apache-2.0
// What a person has ordered of the relay and a restart keeps to: that it drains, which upstreams are paused. Each order is a note of the
// spool, so it is durable before it is acknowledged and never behind what was delivered under it.
//
// Draining: nothing new is taken, everything goes out. It is over ("drained") when nothing that was taken waits for an answer and the lanes
// of all configured upstreams are empty, durably. Lanes of removed upstreams and dead letters do not keep it from that.
#ifndef WEIR_RELAY_ORDERS_H
#define WEIR_RELAY_ORDERS_H

#include "proto/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct relay;
struct replay;
struct spool;

struct orders {
    atomic_bool draining;          // ingest looks at it
    atomic_uint_fast64_t since_ns; // Unix ns, when the draining began; 0: not known
    atomic_bool synced;            // all is delivered, and the state that says so is durable
    bool told_drained;             // orders_look's
};

// Before any lane is opened: an upstream of which the spool has no lane (any more) is a new one, whatever was ordered of one of that name.
int orders_forget_removed(struct spool *spool, struct weir_err *err);
// Takes up what was ordered before. After the replay workers were made, before they start. WEIR_E_NOMEM.
int orders_restore(struct relay *relay, struct weir_err *err);

// Both are in force when they return, whatever they return. *changed: they were not before. Any code but WEIR_OK: it is not durable yet, and
// goes on being tried. WEIR_E_IO, WEIR_E_FULL, ... One thread: the admin's.
int orders_drain(struct relay *relay, bool on, bool *changed, struct weir_err *err);
int orders_pause(struct relay *relay, struct replay *replay, bool paused, bool *changed, struct weir_err *err);
// Forgets that an upstream which is not configured is paused.
int orders_forget(struct relay *relay, const char *upstream, struct weir_err *err);

struct drain_state {
    bool draining, drained;
    bool empty; // drained, but that may not be durable yet
    uint64_t since_unix_ns;
    uint64_t pending_items; // of configured upstreams
};
void orders_drain_state(struct relay *relay, struct drain_state *out); // any thread, cheap
// Makes what was delivered durable when all is, which is then drained, and logs that once. One thread, now and then.
void orders_look(struct relay *relay);

#endif
