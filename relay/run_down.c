// SPDX-License-Identifier: Apache-2.0
// Down: not ready, still serving for shutdown_delay -> the server ends gracefully, every request under way is answered -> what is open is
//       committed -> replay workers stop, undelivered data stays -> spool closes.
#include "relay/run_priv.h"

#include "relay/secrets.h"

#include <time.h>

#define REPLAY_GRACE_MS 1000

static void on_ended(void *ctx)
{
    sem_post(ctx);
}

static void await_ended(struct run *run)
{
    while (sem_wait(&run->ended) != 0)
        ;
}

static void serve_for_shutdown_delay(const struct run *run)
{
    uint64_t ms = run->relay.config->receiver.shutdown_delay_ms;
    struct timespec delay = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&delay, NULL); // no signal is handled in this thread
}

void run_stop_serving(struct run *run)
{
    struct relay *relay = &run->relay;
    atomic_store(&relay->stopping, true);
    serve_for_shutdown_delay(run);
    atomic_store(&relay->refusing, true);
    server_shutdown(relay->server, on_ended, &run->ended);
    await_ended(run);
    for (size_t i = 0; i < relay->workers; i++) {
        ingest_finish(relay->ingests[i], on_ended, &run->ended);
        await_ended(run);
    }
}

void run_take_down(struct run *run)
{
    struct relay *relay = &run->relay;
    if (run->admin != NULL)
        admin_stop(run->admin);
    pthread_mutex_lock(&run->wake_lock);
    run->wake = false;
    pthread_mutex_unlock(&run->wake_lock);
    for (size_t i = 0; i < relay->replay_count; i++)
        replay_ask_stop(relay->replays[i], REPLAY_GRACE_MS);
    for (size_t i = 0; i < relay->replay_count; i++)
        replay_stop(relay->replays[i]);
    for (size_t i = 0; i < relay->replay_count; i++)
        replay_free(relay->replays[i]);
    if (relay->spool != NULL)
        spool_close(relay->spool);
    if (run->events != NULL)
        spool_events_tell(run->events, weir_now_ns(), true);
    spool_events_free(run->events);
    for (size_t i = 0; i < run->threads_started; i++) {
        loop_stop(relay->loops[i]);
        pthread_join(run->threads[i], NULL);
    }
    server_free(relay->server);
    health_free(run->health);
    secrets_close(relay);
    for (size_t i = 0; i < relay->workers; i++) {
        ingest_free(relay->ingests[i]);
        loop_free(relay->loops[i]);
    }
    origins_close(relay->origins);
    free(relay->loops);
    free(relay->ingests);
    free(run->threads);
    sem_destroy(&run->ended);
    pthread_mutex_destroy(&run->wake_lock);
}
