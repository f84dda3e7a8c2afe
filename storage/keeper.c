// SPDX-License-Identifier: Apache-2.0
// The keeper thread: makes the next segment ahead of time, makes the lanes' state durable every 100 ms or 64 blocks, unlinks what every
// lane has passed, counts the disk, and finds out when a full or failed spool can take data again.
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

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
    while (!spool->keeper_wake && !spool->keeper_stop && rc == 0)
        rc = pthread_cond_timedwait(&spool->keeper_woken, &spool->keeper_lock, &until);
    spool->keeper_wake = false;
    bool go_on = !spool->keeper_stop;
    pthread_mutex_unlock(&spool->keeper_lock);
    return go_on;
}

void keeper_count_space(struct spool *spool)
{
    struct statvfs fs = {0};
    uint64_t used = spool_dir_used_bytes(spool);
    uint64_t free_bytes = fstatvfs(spool->directory_fd, &fs) == 0 ? (uint64_t)fs.f_bavail * fs.f_frsize : 0;
    pthread_mutex_lock(&spool->lock);
    for (size_t i = 0; i < spool->doomed_n; i++) { // unlinked, yet on the disk while it is mapped
        struct stat st;
        if (spool->doomed[i]->map != NULL && fstat(spool->doomed[i]->map->fd, &st) == 0 && st.st_nlink == 0)
            used += (uint64_t)st.st_blocks * 512;
    }
    spool->used_bytes = used;
    spool->disk_free_bytes = free_bytes;
    pthread_mutex_unlock(&spool->lock);
}

int keeper_room_for(struct spool *spool, uint64_t bytes, struct weir_err *err)
{
    keeper_count_space(spool);
    uint64_t reserve = dead_letters_reserve(spool);
    pthread_mutex_lock(&spool->lock);
    uint64_t used = spool->used_bytes, free_bytes = spool->disk_free_bytes;
    pthread_mutex_unlock(&spool->lock);
    if (used + bytes + reserve > spool->max_bytes)
        return weir_fail(err, WEIR_E_FULL, "the spool uses %llu of its %llu bytes: no room for a segment of %llu",
                         (unsigned long long)used, (unsigned long long)spool->max_bytes, (unsigned long long)bytes);
    if (free_bytes < bytes + SPOOL_DISK_RESERVE)
        return weir_fail(err, WEIR_E_FULL, "the disk of %s has %llu bytes left: no room for a segment of %llu",
                         spool->directory, (unsigned long long)free_bytes, (unsigned long long)bytes);
    return WEIR_OK;
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
        code = keeper_room_for(spool, spool->segment_bytes, &err);
    if (code == WEIR_OK && !there)
        code = segment_file_create(path, spool->segment_bytes, &file, &err);
    if (file != NULL) {
        pthread_mutex_lock(&spool->spare_lock);
        memcpy(spool->spare_path, path, SPOOL_PATH_MAX);
        spool->spare = file;
        pthread_mutex_unlock(&spool->spare_lock);
    }
    if (code == WEIR_OK) {
        spool_set_state(spool, SPOOL_OK, "");
        return;
    }
    // Without a next segment, what is left of this one takes what is on its way. New data is refused in time, before its body.
    uint64_t room = atomic_load(&spool->active_room_pages) * SEGMENT_PAGE;
    if (room < spool->segment_bytes / 8)
        spool_set_state(spool, spool_state_of(code), err.text);
}

// Frees the disk space of an unlinked file in steps: removing 64 MiB at once would hold up a commit for 10 ms.
static void truncate_in_steps(struct spool *spool, int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return;
    for (off_t left = st.st_size - SPOOL_TRUNCATE_STEP; left > 0; left -= SPOOL_TRUNCATE_STEP) {
        if (ftruncate(fd, left) != 0)
            return;
        struct timespec pause = {0, 5000000};
        pthread_mutex_lock(&spool->keeper_lock);
        bool stop = spool->keeper_stop;
        pthread_mutex_unlock(&spool->keeper_lock);
        if (!stop)
            nanosleep(&pause, NULL); // lets the file system's journal breathe
    }
}

// The state that says so is durable. Pinned: the views keep their bytes, the space is free with the last of them.
static void remove_segment(struct spool *spool, struct segment *segment)
{
    char path[SPOOL_PATH_MAX];
    if (spool_segment_path(spool, segment->first, path, NULL) != WEIR_OK)
        return;
    catalog_remove(spool, segment); // nobody new pins it
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (unlink(path) != 0 && errno != ENOENT) {
        // It stays on the disk and is found, and passed, at the next start.
    }
    pthread_mutex_lock(&spool->lock);
    bool pinned = segment->refs > 1; // besides the caller's
    struct segment_map *map = pinned ? NULL : segment->map;
    if (!pinned)
        segment->map = NULL;
    pthread_mutex_unlock(&spool->lock);
    segment_map_close(map);
    if (fd >= 0 && !pinned)
        truncate_in_steps(spool, fd);
    if (fd >= 0)
        close(fd);
}

static void remove_passed(struct spool *spool)
{
    for (;;) {
        uint64_t limit = 0;
        pthread_mutex_lock(&spool->lock);
        // Never the last one, sealed or not: after a commit that failed in an empty segment, the writer gives its name to another file.
        struct segment *oldest = spool->segments_n > 1 ? spool->segments[0] : NULL;
        if (oldest != NULL) {
            oldest->refs++;
            limit = spool->segments[1]->first;
        }
        pthread_mutex_unlock(&spool->lock);
        if (oldest == NULL)
            return;
        bool gone = lanes_passed(spool, oldest, limit) && state_commit(spool, true, NULL) == WEIR_OK;
        if (gone)
            remove_segment(spool, oldest);
        segment_unpin(oldest);
        if (!gone)
            return;
    }
}

// Closes maps that nobody used for a second, and frees removed segments that nobody pins any more.
static void close_idle(struct spool *spool)
{
    uint64_t now = weir_now_ns();
    for (bool more = true; more;) {
        struct segment_map *map = NULL;
        struct segment *dead = NULL;
        pthread_mutex_lock(&spool->lock);
        for (size_t i = 0; i < spool->doomed_n && dead == NULL; i++) {
            if (spool->doomed[i]->refs > 0)
                continue;
            dead = spool->doomed[i];
            spool->doomed[i] = spool->doomed[--spool->doomed_n];
        }
        for (size_t i = 0; i < spool->segments_n && dead == NULL && map == NULL; i++) {
            struct segment *segment = spool->segments[i];
            if (segment->refs == 0 && segment->map != NULL && now - segment->used_ns > 1000000000u &&
                now > segment->used_ns) {
                map = segment->map; // refs is 0: no one is about to use it, and pinning needs this lock
                segment->map = NULL;
            }
        }
        pthread_mutex_unlock(&spool->lock);
        more = map != NULL || dead != NULL;
        segment_map_close(map);
        segment_free(dead);
    }
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
    keeper_make_spare(spool);
}

static void count_state_failure(struct spool *spool)
{
    pthread_mutex_lock(&spool->lock);
    spool->state_failures++;
    pthread_mutex_unlock(&spool->lock);
}

void *keeper_main(void *arg)
{
    struct spool *spool = arg;
    uint64_t probed_ns = 0, counted_ns = 0, told = 0;
    bool go_on = true, ahead = true;
    while (go_on) {
        pthread_mutex_lock(&spool->lanes_lock);
        bool dirty = spool->lanes_dirty;
        pthread_mutex_unlock(&spool->lanes_lock);
        go_on = keeper_wait(spool, dirty || ahead ? SPOOL_STATE_INTERVAL_NS : SPOOL_PROBE_INTERVAL_NS / 2);
        lanes_settle_again(spool);
        // How far numbers are used is told once a second and at the end, also when nothing was delivered: should the last segment be
        // lost, the ledger says what it held, and no number is used twice.
        bool second = weir_now_ns() - counted_ns >= SPOOL_PROBE_INTERVAL_NS;
        uint64_t next = atomic_load(&spool->next_block);
        // A failure leaves it dirty: deliveries may be repeated, and nothing is unlinked.
        if (state_commit(spool, next != told && (second || !go_on), NULL) != WEIR_OK)
            count_state_failure(spool);
        else if (second || !go_on)
            told = next;
        remove_passed(spool);
        close_idle(spool);
        if (go_on) {
            probe(spool, &probed_ns);
            ahead = write_ahead(spool);
        }
        if (second) {
            counted_ns = weir_now_ns();
            keeper_count_space(spool);
        }
    }
    return NULL;
}
