// SPDX-License-Identifier: Apache-2.0
// The TCP proxy of weir-chaos: one thread that polls; its modes may be changed by another at any time.
#ifndef WEIR_CHAOS_PROXY_H
#define WEIR_CHAOS_PROXY_H

#include "proto/base.h"
#include "proto/err.h"

#include <netinet/in.h>

struct proxy_modes {
    uint64_t hold;     // 1: nothing is read, so that senders stall
    uint64_t delay_ms; // every byte arrives so much later
    uint64_t throttle; // bytes a second, of each direction of each connection; 0: none
    uint64_t swallow;  // 1: everything is acknowledged and thrown away: peers that have vanished
    uint64_t refuse;   // 1: new connections are reset
    uint64_t cut_up;   // new connections are closed when so many bytes went to the upstream; 0: never
    uint64_t cut_down; // the same, bytes from the upstream
    uint64_t
        cut_answers; // each so manieth answer of the upstream is not passed on, its connection is reset instead; 0: never
    uint64_t flap_ms; // all connections are reset so often; 0: never
};
enum proxy_action {
    PROXY_CUT,     // closes all connections
    PROXY_RESET,   // resets them
    PROXY_SWALLOW, // those there are now have vanished peers from here on, new ones are sound
};
struct proxy_stats {
    uint64_t connections, accepted, cuts, bytes_up, bytes_down, swallowed, answers, cut_answers;
};

struct proxy;
// Listens; `to` gets a connection for each that comes. WEIR_E_IO, WEIR_E_NOMEM.
int proxy_new(const struct sockaddr_storage *listen, const struct sockaddr_storage *to, struct proxy **out,
              struct weir_err *err);
uint16_t proxy_port(const struct proxy *proxy);
void proxy_run(struct proxy *proxy); // never returns
// From any thread.
void proxy_modes_get(struct proxy *proxy, struct proxy_modes *out);
void proxy_modes_set(struct proxy *proxy, const struct proxy_modes *modes);
void proxy_do(struct proxy *proxy, enum proxy_action action);
void proxy_stats_get(struct proxy *proxy, struct proxy_stats *out);

#endif
