// SPDX-License-Identifier: Apache-2.0
// The keeper thread: makes the next segment ahead of time, and room for it; makes the lanes' state durable every 100 ms or 64 blocks, lets
// segments go, counts the disk, and finds out when a full or failed spool can take data again.
#include <unistd.h>

#include "storage/evict.h"
#include "storage/keeper.h"
#include "storage/letters_priv.h"
#include "storage/space.h"
#include "storage/spool_priv.h"

void keeper_wake(struct spool *spool)
{
    pthread_mutex_lock(&spool->keeper_lock);
    spool->keeper_wake = true;
    pthread_cond_signal(&spool->keeper_woken);
    pthread_mutex_unlock(&spool->keeper_lock);
}

// Waits until somebody calls, or `ns` are over. False: the spool closes.
static bool keeper_wait(struct spool *spool, uint64_t ns)
{
    uint64_t at = weir_now_ns() + ns;
    struct timespec until = {(time_t)(at / 1000000000u), (long)(at % 1000000000u)};
    pthread_mutex_lock(&spool->keeper_lock);
    int rc = 0;
    while (!spool->keeper_wake && !spool->keeper_stop && spool->room_wanted == 0 && rc == 0)
        rc = pthread_cond_timedwait(&spool->keeper_woken, &spool->keeper_lock, &until);
    spool->keeper_wake = false;
    bool go_on = !spool->keeper_stop;
    pthread_mutex_unlock(&spool->keeper_lock);
    return go_on;
}

void keeper_make_spare(struct spool *spool)
{
    pthread_mutex_lock(&spool->spare_lock);
    bool there = spool->spare != NULL;
    unsigned long long temporary = spool->temporaries++;
    pthread_mutex_unlock(&spool->spare_lock);
    struct weir_err err = {0};
    char name[64], path[SPOOL_PATH_MAX];
    struct segment_file *file = NULL;
    snprintf(name, sizeof(name), "spare-%llu.tmp", temporary);
    int code = there ? WEIR_OK : spool_path(spool, name, path, &err);
    if (code == WEIR_OK && !there)
        code = evict_for_room(spool, spool->segment_bytes, &err);
    pthread_mutex_lock(&spool->spare_making);
    if (code == WEIR_OK && !there)
        code = space_claim(spool, spool->segment_bytes, &err);
    bool claimed = code == WEIR_OK && !there;
    if (claimed)
        code = segment_file_create(path, spool->segment_bytes, &file, &err);
    if (file != NULL) {
        pthread_mutex_lock(&spool->spare_lock);
        memcpy(spool->spare_path, path, SPOOL_PATH_MAX);
        spool->spare = file;
        pthread_mutex_unlock(&spool->spare_lock);
    }
    if (claimed) {
        space_made(spool, spool->segment_bytes);
        space_give(spool, spool->segment_bytes);
    }
    pthread_mutex_unlock(&spool->spare_making);
    if (code == WEIR_OK) {
        spool_set_state(spool, SPOOL_OK, "");
        return;
    }
    // Without a next segment, what is left of this one takes what is on its way. New data is refused in time, before its body.
    uint64_t room = atomic_load(&spool->active_room_pages) * SEGMENT_PAGE;
    if (room < spool->segment_bytes / 8)
        spool_set_state(spool, spool_state_of(code), err.text);
}

bool keeper_drop_spare(struct spool *spool)
{
    pthread_mutex_lock(&spool->spare_making); // one that is being made is waited for
    pthread_mutex_lock(&spool->spare_lock);
    bool there = spool->spare != NULL;
    segment_file_close(spool->spare, NULL);
    spool->spare = NULL;
    if (there)
        unlink(spool->spare_path);
    pthread_mutex_unlock(&spool->spare_lock);
    pthread_mutex_unlock(&spool->spare_making);
    return there;
}

// One tick's share of zeros for the spare. A failure throws it away: the next probe makes another or says what is wrong.
// Returns whether there is more to write.
static bool write_ahead(struct spool *spool)
{
    bool more = true;
    for (unsigned i = 0; i < SPOOL_AHEAD_STEPS && more; i++) {
        pthread_mutex_lock(&spool->spare_lock); // for each step: the writer may need the file
        more = spool->spare != NULL && spool->spare->written < spool->spare->bytes;
        if (more && segment_file_write_ahead(spool->spare, SPOOL_AHEAD_STEP, NULL) != WEIR_OK) {
            segment_file_close(spool->spare, NULL);
            spool->spare = NULL;
            unlink(spool->spare_path);
            more = false;
        }
        pthread_mutex_unlock(&spool->spare_lock);
    }
    return more;
}

int keeper_ask_room(struct spool *spool, uint64_t bytes, struct weir_err *err)
{
    int code = space_for(spool, bytes, err);
    pthread_mutex_lock(&spool->lock);
    bool can = spool->evict_oldest || spool->kept_bytes > 0;
    pthread_mutex_unlock(&spool->lock);
    if (code != WEIR_E_FULL || !can)
        return code;
    pthread_mutex_lock(&spool->keeper_lock);
    spool->room_wanted = bytes;
    pthread_cond_signal(&spool->keeper_woken);
    while (spool->room_wanted != 0)
        pthread_cond_wait(&spool->room_answered, &spool->keeper_lock);
    code = spool->room_code;
    pthread_mutex_unlock(&spool->keeper_lock);
    return code == WEIR_OK ? WEIR_OK : space_for(spool, bytes, err); // which says why not
}

bool keeper_is_awaited(struct spool *spool)
{
    pthread_mutex_lock(&spool->keeper_lock);
    bool awaited = spool->room_wanted != 0;
    pthread_mutex_unlock(&spool->keeper_lock);
    return awaited;
}

// Makes the room that the writer waits for, and what a dead letter did not find.
static void answer_room(struct spool *spool)
{
    pthread_mutex_lock(&spool->keeper_lock);
    uint64_t bytes = spool->room_wanted;
    pthread_mutex_unlock(&spool->keeper_lock);
    uint64_t letter_bytes = atomic_exchange(&spool->letter_room_wanted, 0);
    if (letter_bytes > 0)
        atomic_store(&spool->letter_room_denied, evict_for_room(spool, letter_bytes, NULL) != WEIR_OK);
    if (bytes == 0)
        return;
    int code = evict_for_room(spool, bytes, NULL);
    pthread_mutex_lock(&spool->keeper_lock);
    spool->room_wanted = 0;
    spool->room_code = code;
    pthread_cond_signal(&spool->room_answered);
    pthread_mutex_unlock(&spool->keeper_lock);
}

// Whether a disk that failed takes writes again: the state is written, which is due anyway.
static bool disk_works(struct spool *spool, enum spool_state state)
{
    struct weir_err err = {0};
    if (state != SPOOL_FAILED && state != SPOOL_READ_ONLY)
        return true;
    int code = state_commit(spool, true, &err);
    if (code != WEIR_OK)
        spool_set_state(spool, spool_state_of(code), err.text);
    return code == WEIR_OK;
}

// Makes the next segment when there is none, and finds out whether a full or failed spool works again.
static void probe(struct spool *spool, uint64_t *probed_ns)
{
    uint64_t now = weir_now_ns();
    enum spool_state state = spool_state_now(spool);
    pthread_mutex_lock(&spool->spare_lock);
    bool need_spare = spool->spare == NULL;
    pthread_mutex_unlock(&spool->spare_lock);
    if (!need_spare && state == SPOOL_OK)
        return;
    // A full spool is looked at each time something may have been freed; a failing disk once a second.
    if ((state == SPOOL_FAILED || state == SPOOL_READ_ONLY) && now - *probed_ns < SPOOL_PROBE_INTERVAL_NS)
        return;
    *probed_ns = now;
    if (disk_works(spool, state))
        keeper_make_spare(spool);
}

// A failure leaves it dirty: deliveries may be repeated, and nothing is unlinked.
static bool commit_state(struct spool *spool, bool always)
{
    struct weir_err err = {0};
    int code = state_commit(spool, always, &err);
    if (code == WEIR_OK) {
        lanes_tell_losses(spool);
        letters_flush(spool);
        return true;
    }
    if (code == WEIR_E_READ_ONLY)
        spool_set_state(spool, SPOOL_READ_ONLY, err.text);
    pthread_mutex_lock(&spool->lock);
    spool->state_failures++;
    pthread_mutex_unlock(&spool->lock);
    return false;
}

static void each_second(struct spool *spool)
{
    if (space_look_due(spool))
        space_look(spool);
    space_count(spool);
    evict_begin_new(spool);
    atomic_store(&spool->retention_due, true); // time alone makes segments go
}

void *keeper_main(void *arg)
{
    struct spool *spool = arg;
    uint64_t probed_ns = 0, second_ns = 0, told = 0;
    bool go_on = true, ahead = true;
    while (go_on) {
        pthread_mutex_lock(&spool->lanes_lock);
        bool dirty = spool->lanes_dirty;
        pthread_mutex_unlock(&spool->lanes_lock);
        go_on = keeper_wait(spool, dirty || ahead ? SPOOL_STATE_INTERVAL_NS : SPOOL_PROBE_INTERVAL_NS / 2);
        lanes_settle_again(spool); // before anything goes: what was delivered must not be counted as evicted
        answer_room(spool);
        // How far numbers are used is told once a second and at the end, also when nothing was delivered: should the last segment be
        // lost, the ledger says what it held, and no number is used twice.
        bool second = weir_now_ns() - second_ns >= SPOOL_PROBE_INTERVAL_NS;
        uint64_t next = atomic_load(&spool->next_block);
        if (commit_state(spool, next != told && (second || !go_on)) && (second || !go_on))
            told = next;
        if (second) {
            second_ns = weir_now_ns();
            each_second(spool);
        }
        if (atomic_exchange(&spool->retention_due, false))
            evict_due(spool);
        catalog_close_idle(spool);
        if (go_on) {
            probe(spool, &probed_ns);
            ahead = write_ahead(spool);
            scrub_tick(spool);
        }
    }
    return NULL;
}
