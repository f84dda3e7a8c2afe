// SPDX-License-Identifier: Apache-2.0
// The running relay: who is there, and what everyone may read of it. Built and taken down by run.c; immutable in between
// but for the atomics.
#ifndef WEIR_RELAY_H
#define WEIR_RELAY_H

#include "net/server.h"
#include "relay/certificates.h"
#include "relay/config.h"
#include "relay/ingest.h"
#include "relay/orders.h"
#include "relay/replay.h"
#include "storage/spool.h"

#include <stdatomic.h>

struct relay {
    const struct config *config;
    struct spool *spool;
    char instance[37];                    // UUID of this spool, the same across restarts
    uint64_t started_unix_ns, started_ns; // wall clock, monotonic
    struct loop **loops;                  // one an ingest worker
    struct ingest **ingests;
    size_t workers;
    struct ingest_budget budget;
    struct origins *origins; // other weirs that send here
    struct certificates *certificates;
    struct tokens *tokens;  // of receiver.auth; NULL: none
    uint64_t tokens_due_ns; // when their file is looked at again
    struct server *server;
    struct replay *replays[CONFIG_MAX_UPSTREAMS]; // one a configured upstream, in the configuration's order
    size_t replay_count;
    struct orders orders;
    atomic_bool stopping; // SIGTERM came: not ready any more, but still serving for receiver.shutdown_delay
    atomic_bool refusing; // the delay is over: new requests are refused
};

#endif
