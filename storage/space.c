// SPDX-License-Identifier: Apache-2.0
// How much of the disk the spool takes: blocks, not lengths. What changes all the time (the state, the dead letters, the segment that is
// written, the spare) is asked each time; a sealed segment once; everything else in the directory with a full look now and then.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "storage/keeper.h"
#include "storage/letters_priv.h"
#include "storage/space.h"
#include "storage/spool_priv.h"

#define ASK_AT_ONCE 16u // segments whose size is not known yet

static uint64_t disk_bytes_of(const struct spool *spool, const char *name)
{
    struct stat st;
    if (fstatat(spool->directory_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
        return 0;
    return (uint64_t)st.st_blocks * 512;
}

static uint64_t segment_disk_bytes(const struct spool *spool, uint64_t first)
{
    char name[64];
    snprintf(name, sizeof(name), SPOOL_SEGMENT_NAME, (unsigned long long)first);
    return disk_bytes_of(spool, name);
}

static void spare_name(struct spool *spool, char out[64])
{
    pthread_mutex_lock(&spool->spare_lock);
    const char *slash = spool->spare != NULL ? strrchr(spool->spare_path, '/') : NULL;
    snprintf(out, 64, "%.63s", slash != NULL ? slash + 1 : "");
    pthread_mutex_unlock(&spool->spare_lock);
}

// --- the full look --------------------------------------------------------------------------------------------------------

struct look {
    struct spool *spool;
    char spare[64];
    uint64_t other_bytes;
    uint32_t aside;
};

static bool ends_with(const char *name, const char *end)
{
    size_t len = strlen(name), end_len = strlen(end);
    return len >= end_len && strcmp(name + len - end_len, end) == 0;
}

// Notes the size of a sealed segment. False: no segment of the catalog.
static bool note_segment(struct spool *spool, uint64_t first, const char *name)
{
    uint64_t limit;
    struct segment *segment = catalog_pin(spool, first, &limit);
    bool is = segment != NULL && segment->first == first;
    if (is && !segment_is_active(segment)) {
        uint64_t bytes = disk_bytes_of(spool, name);
        pthread_mutex_lock(&spool->lock);
        segment->disk_bytes = bytes;
        pthread_mutex_unlock(&spool->lock);
    }
    if (segment != NULL)
        segment_unpin(segment);
    return is;
}

static int look_at(void *ctx, const char *name, struct weir_err *err)
{
    (void)err;
    struct look *look = ctx;
    uint64_t first;
    look->aside += ends_with(name, ".damaged");
    bool asked_each_time = strcmp(name, "state.mdb") == 0 || strcmp(name, "deadletter.mdb") == 0 ||
                           strcmp(name, look->spare) == 0 || strncmp(name, "next-", 5) == 0;
    if (asked_each_time || (spool_segment_number(name, &first) && note_segment(look->spool, first, name)))
        return WEIR_OK;
    look->other_bytes += disk_bytes_of(look->spool, name);
    return WEIR_OK;
}

void space_look(struct spool *spool)
{
    struct look look = {.spool = spool};
    atomic_store(&spool->look_wanted, false);
    spare_name(spool, look.spare);
    if (spool_dir_each(spool, look_at, &look, NULL) != WEIR_OK)
        return; // what was seen last holds
    pthread_mutex_lock(&spool->lock);
    spool->other_bytes = look.other_bytes;
    spool->aside_files = look.aside;
    spool->looked_ns = weir_now_ns();
    pthread_mutex_unlock(&spool->lock);
}

bool space_look_due(struct spool *spool)
{
    pthread_mutex_lock(&spool->lock);
    uint64_t since_ns = weir_now_ns() - spool->looked_ns;
    pthread_mutex_unlock(&spool->lock);
    // A person who makes room does not wait for it to be seen.
    uint64_t interval_ns = spool_state_now(spool) == SPOOL_OK ? SPOOL_LOOK_INTERVAL_NS : SPOOL_PROBE_INTERVAL_NS;
    return atomic_load(&spool->look_wanted) || since_ns >= interval_ns;
}

// --- counting ---------------------------------------------------------------------------------------------------------------

// Asks for the sizes of segments that are not known, and adds that of the one that is written.
static uint64_t ask_segments(struct spool *spool)
{
    struct segment *ask[ASK_AT_ONCE];
    size_t n = 0;
    uint64_t active_bytes = 0;
    pthread_mutex_lock(&spool->lock);
    for (size_t i = spool->segments_n; i > 0 && n < ASK_AT_ONCE; i--) { // the newest were sealed last
        struct segment *segment = spool->segments[i - 1];
        if (segment->disk_bytes != 0 && segment != spool->active)
            continue;
        segment->refs++;
        ask[n++] = segment;
    }
    struct segment *active = spool->active;
    pthread_mutex_unlock(&spool->lock);
    for (size_t i = 0; i < n; i++) {
        uint64_t bytes = segment_disk_bytes(spool, ask[i]->first);
        if (ask[i] == active) {
            active_bytes = bytes;
        } else { // sealed, and its rest given back, before it ceased to be the active one
            pthread_mutex_lock(&spool->lock);
            ask[i]->disk_bytes = bytes;
            pthread_mutex_unlock(&spool->lock);
        }
        segment_unpin(ask[i]);
    }
    if (n == ASK_AT_ONCE)
        atomic_store(&spool->look_wanted, true);
    return active_bytes;
}

void space_count(struct spool *spool)
{
    struct statvfs fs = {0};
    char spare[64];
    spare_name(spool, spare);
    uint64_t used = ask_segments(spool) + disk_bytes_of(spool, "state.mdb") + disk_bytes_of(spool, "deadletter.mdb");
    if (spare[0] != '\0')
        used += disk_bytes_of(spool, spare);
    uint64_t free_bytes = fstatvfs(spool->directory_fd, &fs) == 0 ? (uint64_t)fs.f_bavail * fs.f_frsize : 0;
    pthread_mutex_lock(&spool->lock);
    used += spool->other_bytes;
    for (size_t i = 0; i < spool->segments_n; i++)
        used += spool->segments[i] != spool->active ? spool->segments[i]->disk_bytes : 0; // it was asked just now
    spool->used_bytes = used;
    spool->disk_free_bytes = free_bytes;
    pthread_mutex_unlock(&spool->lock);
}

static int room_for(struct spool *spool, uint64_t bytes, bool claim, struct weir_err *err)
{
    uint64_t reserve = dead_letters_reserve(spool), made;
    pthread_mutex_lock(&spool->lock);
    do { // a file that was made while it was counted may be neither in there nor unmade
        made = spool->files_made;
        pthread_mutex_unlock(&spool->lock);
        space_count(spool);
        pthread_mutex_lock(&spool->lock);
    } while (made != spool->files_made);
    uint64_t used = spool->used_bytes + spool->claimed_bytes, free_bytes = spool->disk_free_bytes;
    free_bytes -=
        free_bytes < spool->unmade_bytes ? free_bytes : spool->unmade_bytes; // the disk does not know of them yet
    bool within = used + bytes + reserve <= spool->max_bytes;
    if (claim && within && free_bytes >= bytes + SPOOL_DISK_RESERVE) {
        spool->claimed_bytes += bytes;
        spool->unmade_bytes += bytes;
    }
    pthread_mutex_unlock(&spool->lock);
    if (!within)
        return weir_fail(err, WEIR_E_FULL, "the spool uses %llu of its %llu bytes: no room for a segment of %llu",
                         (unsigned long long)used, (unsigned long long)spool->max_bytes, (unsigned long long)bytes);
    if (free_bytes < bytes + SPOOL_DISK_RESERVE)
        return weir_fail(err, WEIR_E_FULL, "the disk of %s has %llu bytes left: no room for a segment of %llu",
                         spool->directory, (unsigned long long)free_bytes, (unsigned long long)bytes);
    return WEIR_OK;
}

int space_for(struct spool *spool, uint64_t bytes, struct weir_err *err)
{
    return room_for(spool, bytes, false, err);
}

int space_claim(struct spool *spool, uint64_t bytes, struct weir_err *err)
{
    return room_for(spool, bytes, true, err);
}

void space_made(struct spool *spool, uint64_t bytes)
{
    pthread_mutex_lock(&spool->lock);
    assert(spool->unmade_bytes >= bytes);
    spool->unmade_bytes -= bytes;
    spool->files_made++;
    pthread_mutex_unlock(&spool->lock);
}

void space_keep(struct spool *spool, uint64_t bytes)
{
    pthread_mutex_lock(&spool->lock);
    spool->claimed_bytes += bytes;
    pthread_mutex_unlock(&spool->lock);
}

void space_give(struct spool *spool, uint64_t bytes)
{
    pthread_mutex_lock(&spool->lock);
    assert(spool->claimed_bytes >= bytes);
    spool->claimed_bytes -= bytes;
    pthread_mutex_unlock(&spool->lock);
}

bool space_can_be_made(struct spool *spool, uint64_t bytes)
{
    uint64_t reserve = dead_letters_reserve(spool), segments_bytes = 0;
    pthread_mutex_lock(&spool->lock);
    for (size_t i = 0; i + 1 < spool->segments_n; i++) // the last one never goes, and a damaged one stays on the disk
        segments_bytes += spool->segments[i]->damaged ? 0 : spool->segments[i]->disk_bytes;
    bool can = spool->used_bytes + spool->claimed_bytes + bytes + reserve <= spool->max_bytes + segments_bytes &&
               spool->disk_free_bytes + segments_bytes >= bytes + SPOOL_DISK_RESERVE;
    pthread_mutex_unlock(&spool->lock);
    return can;
}
