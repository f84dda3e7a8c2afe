// SPDX-License-Identifier: Apache-2.0
// Who may use the segment that is being written: the writer for a transaction, or a reader for one copy. First come, first
// served, so that a waiting reader goes before the writer's next transaction, and the writer before a reader's next
// copy. A plain mutex would let the writer take it again before anyone woke up. Private to storage.
#ifndef WEIR_STORAGE_TURN_H
#define WEIR_STORAGE_TURN_H

#include <pthread.h>
#include <stdint.h>

struct turn {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    uint64_t next, serving;
};

static inline void turn_init(struct turn *turn)
{
    pthread_mutex_init(&turn->lock, NULL);
    pthread_cond_init(&turn->moved, NULL);
    turn->next = turn->serving = 0;
}

static inline void turn_destroy(struct turn *turn)
{
    pthread_cond_destroy(&turn->moved);
    pthread_mutex_destroy(&turn->lock);
}

static inline void turn_take(struct turn *turn)
{
    pthread_mutex_lock(&turn->lock);
    uint64_t mine = turn->next++;
    while (turn->serving != mine)
        pthread_cond_wait(&turn->moved, &turn->lock);
    pthread_mutex_unlock(&turn->lock);
}

static inline void turn_give(struct turn *turn)
{
    pthread_mutex_lock(&turn->lock);
    turn->serving++;
    if (turn->serving != turn->next)
        pthread_cond_broadcast(&turn->moved);
    pthread_mutex_unlock(&turn->lock);
}

#endif
