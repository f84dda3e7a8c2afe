// SPDX-License-Identifier: Apache-2.0
// `weir run` in its parts: run.c (signals, life), run_up.c (building the relay), run_down.c (taking it down). Private to these.
#ifndef WEIR_RELAY_RUN_PRIV_H
#define WEIR_RELAY_RUN_PRIV_H

#include "relay/admin.h"
#include "relay/cors.h"
#include "relay/health.h"
#include "relay/relay.h"
#include "relay/spool_events.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>

struct run {
    struct relay relay;
    struct ingest_set ingest_set;
    struct health *health;
    struct cors cors;
    struct admin *admin;
    struct spool_events *events;
    pthread_t *threads;
    size_t threads_started;
    sem_t ended; // the server, then each ingest
    // The writer's word that there are new blocks goes to the replay workers only while they live.
    pthread_mutex_t wake_lock;
    bool wake;
    sigset_t signals;
};

// Builds all of it and starts it. On failure what was made is for run_take_down. WEIR_E_HELD, WEIR_E_INVALID, ...
int run_up(struct run *run, struct weir_err *err);
// Not ready, serving for shutdown_delay, then every request under way is answered.
void run_stop_serving(struct run *run);
// Frees whatever was made. Undelivered data stays in the spool.
void run_take_down(struct run *run);

#endif
