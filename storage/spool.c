// SPDX-License-Identifier: Apache-2.0
// The spool's published state, and its end.
#include <unistd.h>

#include "storage/letters_priv.h"
#include "storage/spool_priv.h"

enum spool_state spool_state_now(const struct spool *spool)
{
    return (enum spool_state)atomic_load(&spool->state);
}

int spool_state_of(int code)
{
    if (code == WEIR_E_READ_ONLY)
        return SPOOL_READ_ONLY;
    return code == WEIR_E_FULL ? SPOOL_FULL : SPOOL_FAILED;
}

void spool_set_state(struct spool *spool, enum spool_state state, const char *reason)
{
    pthread_mutex_lock(&spool->lock);
    atomic_store(&spool->state, state);
    snprintf(spool->reason, sizeof(spool->reason), "%s", reason);
    pthread_mutex_unlock(&spool->lock);
}

void spool_destroy(struct spool *spool)
{
    if (spool->active != NULL) {
        segment_file_close(spool->active->file, NULL);
        spool->active->file = NULL;
    }
    if (spool->spare != NULL) {
        segment_file_close(spool->spare, NULL);
        unlink(spool->spare_path);
    }
    for (size_t i = 0; i < spool->segments_n; i++)
        segment_free(spool->segments[i]);
    free(spool->segments);
    for (size_t i = 0; i < spool->lanes_n; i++)
        free(spool->lanes[i]);
    for (struct spool_lane *lane = spool->forgotten, *next; lane != NULL; lane = next) {
        next = lane->forgotten_next;
        free(lane);
    }
    notes_clear(spool);
    state_close(spool->lane_state);
    dead_letters_close(spool);
    newest_destroy(&spool->newest);
    if (spool->lock_fd >= 0)
        close(spool->lock_fd); // lets the next holder in
    if (spool->directory_fd >= 0)
        close(spool->directory_fd);
    turn_destroy(&spool->turn);
    pthread_mutex_t *mutexes[] = {&spool->retention_lock, &spool->lock,        &spool->borders_lock, &spool->lanes_lock,
                                  &spool->state_lock,     &spool->queue_lock,  &spool->keeper_lock,  &spool->spare_lock,
                                  &spool->spare_making,   &spool->spare_making};
    for (size_t i = 0; i < WEIR_COUNT(mutexes); i++)
        pthread_mutex_destroy(mutexes[i]);
    pthread_cond_destroy(&spool->queue_filled);
    pthread_cond_destroy(&spool->keeper_woken);
    pthread_cond_destroy(&spool->room_answered);
    free(spool->directory);
    free(spool);
}

void spool_close(struct spool *spool)
{
    pthread_mutex_lock(&spool->queue_lock);
    spool->queue_closed = true;
    pthread_cond_signal(&spool->queue_filled);
    pthread_mutex_unlock(&spool->queue_lock);
    if (spool->writer_started)
        pthread_join(spool->writer, NULL); // after everything that was appended
    pthread_mutex_lock(&spool->keeper_lock);
    spool->keeper_stop = true;
    pthread_cond_signal(&spool->keeper_woken);
    pthread_mutex_unlock(&spool->keeper_lock);
    if (spool->keeper_started)
        pthread_join(spool->keeper, NULL); // after a last commit of the state
    spool_destroy(spool);
}

const char *spool_instance(const struct spool *spool)
{
    return spool->instance_text;
}
