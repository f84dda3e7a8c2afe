// SPDX-License-Identifier: Apache-2.0
#include "storage/file_read.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "storage/lmdb_error.h"

struct file_read_patience file_read_patience = {FILE_READ_TRIES, FILE_READ_GIVE_UP_NS};

// The places that failed last, of all files: a file may be closed and opened again between two tries.
#define PLACES       32u
#define FORGOTTEN_NS 20000000000u // nobody asks for it any more
static struct place {
    dev_t device;
    ino_t inode;
    uint64_t offset;
    unsigned failures; // 0: free
    uint64_t first_ns, last_ns;
} places[PLACES];
static unsigned next_place;
static atomic_uint places_used;
static pthread_mutex_t places_lock = PTHREAD_MUTEX_INITIALIZER;

int file_read_open(struct file_read *file, const char *path, struct weir_err *err)
{
    struct stat st;
    file->path = path;
    atomic_init(&file->refused, false);
    file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file->fd < 0)
        return errno_fail(err, "open", path);
    int code = fstat(file->fd, &st) == 0 ? WEIR_OK : errno_fail(err, "stat", path);
    if (code == WEIR_OK && !S_ISREG(st.st_mode))
        code = weir_fail(err, WEIR_E_CORRUPT, "%s: not a regular file", path);
    if (code != WEIR_OK) {
        file_read_close(file);
        return code;
    }
    file->bytes = (uint64_t)st.st_size;
    file->device = st.st_dev;
    file->inode = st.st_ino;
    return WEIR_OK;
}

void file_read_close(struct file_read *file)
{
    if (file->fd >= 0)
        close(file->fd);
    file->fd = -1;
}

void file_read_measure(struct file_read *file)
{
    struct stat st;
    if (fstat(file->fd, &st) == 0)
        file->bytes = (uint64_t)st.st_size;
}

static bool is_place(const struct place *p, const struct file_read *file, uint64_t offset)
{
    return p->failures > 0 && p->inode == file->inode && p->device == file->device && p->offset == offset;
}

// Under places_lock. NULL: it has not failed lately.
static struct place *place_find(const struct file_read *file, uint64_t offset)
{
    for (unsigned i = 0; i < PLACES; i++)
        if (is_place(&places[i], file, offset))
            return &places[i];
    return NULL;
}

static void place_works(const struct file_read *file, uint64_t offset)
{
    if (atomic_load(&places_used) == 0)
        return;
    pthread_mutex_lock(&places_lock);
    struct place *place = place_find(file, offset);
    if (place != NULL) {
        place->failures = 0;
        atomic_fetch_sub(&places_used, 1);
    }
    pthread_mutex_unlock(&places_lock);
}

// Counts a failure. True: it was one too many.
static bool place_fails(const struct file_read *file, uint64_t offset)
{
    uint64_t now = weir_now_ns();
    pthread_mutex_lock(&places_lock);
    struct place *place = place_find(file, offset);
    if (place == NULL) {
        place = &places[next_place++ % PLACES];
        if (place->failures == 0)
            atomic_fetch_add(&places_used, 1);
        *place = (struct place){file->device, file->inode, offset, 0, now, now};
    }
    place->last_ns = now;
    place->failures += place->failures < UINT32_MAX;
    bool given_up = place->failures >= file_read_patience.tries && now - place->first_ns >= file_read_patience.ns;
    pthread_mutex_unlock(&places_lock);
    return given_up;
}

// Not given up yet, and somebody still tries it: what was in a file that went is never read again.
static bool place_waits(const struct place *p, uint64_t now)
{
    return p->failures > 0 && now - p->last_ns < FORGOTTEN_NS &&
           (p->failures < file_read_patience.tries || now - p->first_ns < file_read_patience.ns);
}

bool file_read_waits(void)
{
    if (atomic_load(&places_used) == 0)
        return false;
    bool waits = false;
    uint64_t now = weir_now_ns();
    pthread_mutex_lock(&places_lock);
    for (unsigned i = 0; i < PLACES; i++)
        waits = waits || place_waits(&places[i], now);
    pthread_mutex_unlock(&places_lock);
    return waits;
}

bool file_read_try_again(unsigned *tries, unsigned most)
{
    struct timespec pause = {0, (long)(file_read_patience.ns / file_read_patience.tries) + 1};
    if ((*tries)++ == most || !file_read_waits())
        return false;
    nanosleep(&pause, NULL);
    return true;
}

int file_read_at(struct file_read *file, void *out, size_t len, uint64_t offset, struct weir_err *err)
{
    size_t done = 0;
    if (offset > INT64_MAX || len > INT64_MAX - offset)
        return weir_fail(err, WEIR_E_CORRUPT, "no such place");
    while (done < len) {
        ssize_t n = pread(file->fd, (uint8_t *)out + done, len - done, (off_t)(offset + done));
        if (n > 0) {
            done += (size_t)n;
        } else if (n == 0) {
            return weir_fail(err, WEIR_E_CORRUPT, "truncated: it ends before byte %llu",
                             (unsigned long long)(offset + len));
        } else if (errno != EINTR) {
            int saved = errno;
            bool bad = saved == EIO || saved == EUCLEAN || saved == EBADMSG || saved == ENODATA;
            // Of the place asked for, so that who asks for the same again is counted, whatever part of it fails.
            if (bad && place_fails(file, offset)) {
                atomic_store(&file->refused, true);
                return weir_fail(err, WEIR_E_CORRUPT, "the disk cannot read %zu bytes at %llu (%s)", len,
                                 (unsigned long long)offset, strerror(saved));
            }
            return weir_fail(err, WEIR_E_IO, "read %s at %llu: %s", file->path, (unsigned long long)offset,
                             strerror(saved));
        }
    }
    place_works(file, offset);
    return WEIR_OK;
}
