// SPDX-License-Identifier: Apache-2.0
// A sealed segment's file, from being opened to being taken away, and what a person is told when it is damaged. A damaged file keeps its
// name while lanes need what is whole in it; in the end it is set aside instead of being unlinked. Only one in which nothing can be
// read is set aside at once: its numbers are a gap from then on.
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/spool_priv.h"

static void segment_name(const struct segment *segment, char name[64])
{
    snprintf(name, 64, SPOOL_SEGMENT_NAME, (unsigned long long)segment->first);
}

// Where its numbers end as far as the spool knows: where the next segment begins, or before the next block.
static uint64_t segment_border(struct segment *segment)
{
    struct spool *spool = segment->spool;
    uint64_t limit;
    struct segment *same = catalog_pin(spool, segment->first, &limit);
    if (same != NULL)
        segment_unpin(same);
    uint64_t next = atomic_load(&spool->next_block);
    limit = limit < next ? limit : next;
    return limit > segment->first ? limit : segment->first;
}

static void tell(struct segment *segment, uint64_t end, const char *text)
{
    struct spool *spool = segment->spool;
    struct spool_event event = {.kind = SPOOL_EVENT_DAMAGED, .first = segment->first, .end = end, .text = text};
    if (spool->on_event != NULL)
        spool->on_event(spool->ctx, &event);
}

void segment_tell_damage(struct segment *segment)
{
    struct spool *spool = segment->spool;
    pthread_mutex_lock(&spool->lock);
    struct segment_read *read = segment->read; // stays while it is pinned
    pthread_mutex_unlock(&spool->lock);
    const char *damage = read != NULL ? segment_read_damage(read) : "";
    if (damage[0] == '\0')
        return;
    pthread_mutex_lock(&spool->lock);
    bool told = segment->damaged || segment->removed;
    segment->damaged = true;
    spool->damaged_known += !told;
    pthread_mutex_unlock(&spool->lock);
    if (told)
        return;
    char name[64], text[1024];
    segment_name(segment, name);
    uint64_t end = segment_border(segment), lost = segment_read_lost(read, end);
    snprintf(text, sizeof(text),
             "%s: %s. %llu of its %llu block numbers are lost. What is whole in it is delivered, then it is kept as "
             "%s.damaged for a person to look at",
             name, damage, (unsigned long long)lost, (unsigned long long)(end - segment->first), name);
    tell(segment, end, text);
}

// Nothing in it can be read, or it is gone.
static void segment_give_up(struct segment *segment, bool gone, const char *why)
{
    struct spool *spool = segment->spool;
    char name[64], text[1024];
    segment_name(segment, name);
    uint64_t end = segment_border(segment);
    // Two threads may find it at once; and one that was unlinked meanwhile is not missed.
    if (!catalog_remove(spool, segment))
        return;
    // Without a number of its own its name is given again, to a file that holds acknowledged data: that must not be set aside in its place.
    bool reused = spool->writer_started && segment->first >= atomic_load(&spool->next_block);
    bool aside = !gone && !reused && spool_set_aside(spool, name, NULL) == WEIR_OK;
    pthread_mutex_lock(&spool->lock);
    spool->set_aside += aside;
    spool->aside_files += aside;
    spool->other_bytes += aside ? segment->disk_bytes : 0; // until the next look at the directory
    pthread_mutex_unlock(&spool->lock);
    atomic_store(&spool->look_wanted, true);
    snprintf(text, sizeof(text), "%s: %.400s. All of its %llu block numbers are lost. %s%s%s", name, why,
             (unsigned long long)(end - segment->first), aside ? "It is kept as " : "The file ",
             aside ? name : "is not there", aside ? ".damaged for a person to look at" : "");
    tell(segment, end, text);
}

int segment_get_read(struct segment *segment, struct segment_read **out, struct weir_err *err)
{
    struct spool *spool = segment->spool;
    char path[SPOOL_PATH_MAX];
    struct weir_err local = {0};
    err = err != NULL ? err : &local;
    int code = spool_segment_path(spool, segment->first, path, err);
    if (code != WEIR_OK)
        return code;
    pthread_mutex_lock(&segment->open_lock);
    if (segment->read == NULL) {
        struct segment_read *read;
        code = segment_read_open(path, segment->first, &read, err);
        pthread_mutex_lock(&spool->lock);
        if (code == WEIR_OK) {
            segment->read = read;
            spool->files_opened++;
        }
        pthread_mutex_unlock(&spool->lock);
    }
    *out = segment->read;
    pthread_mutex_unlock(&segment->open_lock);
    if (code == WEIR_E_NOT_FOUND || code == WEIR_E_CORRUPT) {
        segment_give_up(segment, code == WEIR_E_NOT_FOUND, err->text);
        return WEIR_E_CORRUPT;
    }
    return code;
}

// Frees the disk space of an unlinked file in steps: removing 64 MiB at once would hold up a commit for 10 ms.
static void truncate_in_steps(struct spool *spool, int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return;
    // The name first: should it come back after a power cut, then with the whole file, not with one that looks damaged.
    if (st.st_size > SPOOL_TRUNCATE_STEP && spool_sync_directory(spool, NULL) != WEIR_OK)
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

void segment_remove_file(struct segment *segment)
{
    struct spool *spool = segment->spool;
    char path[SPOOL_PATH_MAX], name[64];
    if (spool_segment_path(spool, segment->first, path, NULL) != WEIR_OK)
        return;
    segment_tell_damage(segment);
    segment_name(segment, name);
    pthread_mutex_lock(&spool->lock);
    bool damaged = segment->damaged;
    pthread_mutex_unlock(&spool->lock);
    catalog_remove(spool, segment); // nobody new pins it
    if (damaged) {
        pthread_mutex_lock(&spool->lock);
        spool->other_bytes += segment->disk_bytes; // until the next look at the directory: no room was made
        pthread_mutex_unlock(&spool->lock);
        spool_set_aside(spool, name, NULL); // should that fail, it is found, and passed, at the next start
        atomic_store(&spool->look_wanted, true);
        return;
    }
    int fd = open(path, O_RDWR | O_CLOEXEC);
    bool unlinked = unlink(path) == 0;
    if (!unlinked && errno != ENOENT)
        atomic_store(&spool->look_wanted, true); // the same
    pthread_mutex_lock(&spool->lock);
    bool used = segment->refs > 1; // besides the caller's: who reads in it must not see it get shorter
    pthread_mutex_unlock(&spool->lock);
    if (fd >= 0 && unlinked && !used)
        truncate_in_steps(spool, fd);
    if (fd >= 0)
        close(fd);
}
