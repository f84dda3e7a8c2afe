// SPDX-License-Identifier: Apache-2.0
// One lock is held over each call and its entry in the record: the order of the record is the order in which they happened.
#include "tests/powercut/record.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/powercut/clock.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool on;
static struct trace *trace;
static char directory[256];
static ino_t directory_ino, parent_ino;
static dev_t device;
static struct {
    ino_t ino;
    char name[NAME_MAX_]; // "": no name any more
} files[DISK_FILES];
static uint32_t files_n;

static void add(struct event event)
{
    event.at_ns = clock_now();
    trace_add(trace, event);
}

void record_start(const char *path, struct disk *disk, struct trace *into)
{
    struct stat st;
    char full[512];
    pthread_mutex_lock(&lock);
    trace = into;
    files_n = disk->files_n;
    memset(files, 0, sizeof(files));
    snprintf(directory, sizeof(directory), "%s", path);
    directory_ino = stat(path, &st) == 0 ? st.st_ino : 0;
    for (size_t i = 0; i < disk->entries_n; i++) {
        uint32_t f = disk->entry[i].file;
        snprintf(files[f].name, sizeof(files[f].name), "%s", disk->entry[i].name);
        snprintf(full, sizeof(full), "%s/%s", path, disk->entry[i].name);
        files[f].ino = stat(full, &st) == 0 ? st.st_ino : 0;
    }
    int above = (int)(strrchr(path, '/') - path);
    snprintf(full, sizeof(full), "%.*s", above, path);
    if (stat(full, &st) != 0)
        abort();
    parent_ino = st.st_ino;
    device = st.st_dev;
    atomic_store(&on, true);
    pthread_mutex_unlock(&lock);
}

void record_stop(void)
{
    pthread_mutex_lock(&lock);
    atomic_store(&on, false);
    pthread_mutex_unlock(&lock);
}

bool record_is_on(void)
{
    return atomic_load(&on);
}

void record_promise(const struct promise *promise, void (*then)(void *ctx, const struct promise *promise), void *ctx)
{
    pthread_mutex_lock(&lock);
    if (atomic_load(&on))
        add((struct event){.kind = EVENT_PROMISE, .promise = *promise});
    then(ctx, promise);
    pthread_mutex_unlock(&lock);
}

// --- who is meant ----------------------------------------------------------------------------------------------------------

// The file's identity; UINT32_MAX: not one of the directory's.
static uint32_t file_by_ino(ino_t ino)
{
    for (uint32_t f = files_n; f-- > 0;)
        if (files[f].ino == ino)
            return f;
    return UINT32_MAX;
}

static uint32_t file_by_fd(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && st.st_dev == device && S_ISREG(st.st_mode) ? file_by_ino(st.st_ino) : UINT32_MAX;
}

static uint32_t file_by_name(const char *name)
{
    for (uint32_t f = files_n; f-- > 0;)
        if (name != NULL && strcmp(files[f].name, name) == 0)
            return f;
    return UINT32_MAX;
}

// The name in the directory that a path means; NULL: it is not in there.
static const char *name_of(int dirfd, const char *path)
{
    size_t n = strlen(directory);
    struct stat st;
    if (path[0] == '/')
        return strncmp(path, directory, n) == 0 && path[n] == '/' && strlen(path + n + 1) < NAME_MAX_ ? path + n + 1
                                                                                                      : NULL;
    bool here = dirfd != AT_FDCWD && directory_ino != 0 && fstat(dirfd, &st) == 0 && st.st_ino == directory_ino;
    return here && strchr(path, '/') == NULL && strcmp(path, "..") != 0 && strlen(path) < NAME_MAX_ ? path : NULL;
}

static void add_name(enum event_kind kind, uint32_t f, const char *name, const char *to)
{
    struct event e = {.kind = kind, .file = f};
    snprintf(e.name, sizeof(e.name), "%s", name);
    snprintf(e.to, sizeof(e.to), "%s", to);
    add(e);
}

static void add_write(int fd, const void *data, size_t len, off_t offset)
{
    uint32_t f = file_by_fd(fd);
    if (f == UINT32_MAX || len == 0)
        return;
    struct event e = {.kind = EVENT_WRITE, .file = f, .offset = (uint64_t)offset, .len = len};
    e.through = (fcntl(fd, F_GETFL) & O_DSYNC) != 0;
    const uint8_t *p = data;
    if (p[0] != 0 || memcmp(p, p + 1, len - 1) != 0) {
        e.data = malloc(len);
        assert(e.data != NULL);
        memcpy(e.data, data, len);
    }
    add(e);
}

static void add_size(uint32_t f, const struct stat *st)
{
    if (f != UINT32_MAX)
        add((struct event){.kind = EVENT_SIZE, .file = f, .offset = (uint64_t)st->st_size});
}

#define RECORDED(type, call, condition, record)                                                                        \
    if (!atomic_load(&on))                                                                                             \
        return (type)(call);                                                                                           \
    pthread_mutex_lock(&lock);                                                                                         \
    type rc = (type)(call);                                                                                            \
    int saved = errno;                                                                                                 \
    if (atomic_load(&on) && (condition)) {                                                                             \
        record;                                                                                                        \
    }                                                                                                                  \
    errno = saved;                                                                                                     \
    pthread_mutex_unlock(&lock);                                                                                       \
    return rc

// --- contents --------------------------------------------------------------------------------------------------------------

ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
    RECORDED(ssize_t, syscall(SYS_pwrite64, fd, data, len, offset), rc > 0, add_write(fd, data, (size_t)rc, offset));
}
ssize_t pwrite64(int fd, const void *data, size_t len, off64_t offset)
{
    return pwrite(fd, data, len, offset);
}
ssize_t write(int fd, const void *data, size_t len)
{
    RECORDED(ssize_t, syscall(SYS_write, fd, data, len), rc > 0,
             add_write(fd, data, (size_t)rc, lseek(fd, 0, SEEK_CUR) - rc));
}

static void add_writev(int fd, const struct iovec *iov, int n, size_t left, off_t offset)
{
    for (int i = 0; i < n && left > 0; i++) {
        size_t len = iov[i].iov_len < left ? iov[i].iov_len : left;
        add_write(fd, iov[i].iov_base, len, offset);
        offset += (off_t)len;
        left -= len;
    }
}
ssize_t writev(int fd, const struct iovec *iov, int n)
{
    RECORDED(ssize_t, syscall(SYS_writev, fd, iov, n), rc > 0,
             add_writev(fd, iov, n, (size_t)rc, lseek(fd, 0, SEEK_CUR) - rc));
}
ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
    RECORDED(ssize_t, syscall(SYS_pwritev, fd, iov, n, offset, 0), rc > 0, add_writev(fd, iov, n, (size_t)rc, offset));
}
ssize_t pwritev64(int fd, const struct iovec *iov, int n, off64_t offset)
{
    return pwritev(fd, iov, n, offset);
}

int ftruncate(int fd, off_t len)
{
    struct stat st;
    RECORDED(int, syscall(SYS_ftruncate, fd, len), rc == 0 && fstat(fd, &st) == 0, add_size(file_by_fd(fd), &st));
}
int ftruncate64(int fd, off64_t len)
{
    return ftruncate(fd, len);
}
int truncate(const char *path, off_t len)
{
    struct stat st;
    RECORDED(int, syscall(SYS_truncate, path, len), rc == 0 && stat(path, &st) == 0,
             add_size(file_by_ino(st.st_ino), &st));
}
int truncate64(const char *path, off64_t len)
{
    return truncate(path, len);
}
int fallocate(int fd, int mode, off_t offset, off_t len)
{
    assert(mode == 0 || !atomic_load(&on)); // nothing of the spool punches holes
    struct stat st;
    RECORDED(int, syscall(SYS_fallocate, fd, mode, offset, len), rc == 0 && fstat(fd, &st) == 0,
             add_size(file_by_fd(fd), &st));
}
int fallocate64(int fd, int mode, off64_t offset, off64_t len)
{
    return fallocate(fd, mode, offset, len);
}
int posix_fallocate(int fd, off_t offset, off_t len)
{
    return fallocate(fd, 0, offset, len) == 0 ? 0 : errno;
}
int posix_fallocate64(int fd, off64_t offset, off64_t len)
{
    return posix_fallocate(fd, offset, len);
}

// --- flushes ---------------------------------------------------------------------------------------------------------------

static void add_sync(int fd)
{
    struct stat st;
    uint32_t f = file_by_fd(fd);
    if (f != UINT32_MAX)
        add((struct event){.kind = EVENT_SYNC, .file = f});
    else if (fstat(fd, &st) == 0 && st.st_dev == device && st.st_ino == directory_ino)
        add((struct event){.kind = EVENT_SYNC_NAMES});
    else if (fstat(fd, &st) == 0 && st.st_dev == device && st.st_ino == parent_ino)
        add((struct event){.kind = EVENT_SYNC_PARENT});
}
int fsync(int fd)
{
    RECORDED(int, syscall(SYS_fsync, fd), rc == 0, add_sync(fd));
}
int fdatasync(int fd)
{
    RECORDED(int, syscall(SYS_fdatasync, fd), rc == 0, add_sync(fd));
}
int syncfs(int fd)
{
    RECORDED(int, syscall(SYS_syncfs, fd), rc == 0, add((struct event){.kind = EVENT_SYNC_ALL}));
}
// No flush of the caches below and no part of the promise: a map that is written would not be seen by this recorder.
int msync(void *p, size_t len, int flags)
{
    assert(!atomic_load(&on));
    return (int)syscall(SYS_msync, p, len, flags);
}

// --- names -----------------------------------------------------------------------------------------------------------------

static void add_made(const char *path)
{
    struct stat st;
    if (strcmp(path, directory) != 0 || stat(path, &st) != 0)
        return;
    directory_ino = st.st_ino;
    add((struct event){.kind = EVENT_MKDIR});
}
int mkdir(const char *path, mode_t mode)
{
    RECORDED(int, syscall(SYS_mkdirat, AT_FDCWD, path, mode), rc == 0, add_made(path));
}

static void add_open(int fd, int dirfd, const char *path, int flags)
{
    const char *name = name_of(dirfd, path);
    struct stat st;
    if (name == NULL || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return;
    uint32_t f = file_by_ino(st.st_ino);
    if (f == UINT32_MAX) {
        f = files_n++;
        assert(f < DISK_FILES);
        files[f].ino = st.st_ino;
        snprintf(files[f].name, sizeof(files[f].name), "%s", name);
        add_name(EVENT_CREATE, f, name, "");
    } else if (flags & O_TRUNC) {
        add_size(f, &st);
    }
}
int openat(int dirfd, const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    RECORDED(int, syscall(SYS_openat, dirfd, path, flags, mode), rc >= 0 && (flags & (O_CREAT | O_TRUNC)),
             add_open(rc, dirfd, path, flags));
}
int openat64(int dirfd, const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return openat(dirfd, path, flags, mode);
}
int open(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return openat(AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return openat(AT_FDCWD, path, flags, mode);
}

static void add_rename(const char *from, const char *to)
{
    uint32_t f = file_by_name(from), over = file_by_name(to);
    if (f == UINT32_MAX || to == NULL)
        abort(); // in or out of the directory: nothing of the spool does that
    if (over != UINT32_MAX)
        files[over].name[0] = '\0';
    add_name(EVENT_RENAME, f, from, to);
    snprintf(files[f].name, sizeof(files[f].name), "%s", to);
}
int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    RECORDED(int, syscall(SYS_renameat, from_dir, from, to_dir, to), rc == 0 && name_of(from_dir, from) != NULL,
             add_rename(name_of(from_dir, from), name_of(to_dir, to)));
}
int rename(const char *from, const char *to)
{
    return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

static void add_unlink(const char *name)
{
    uint32_t f = file_by_name(name);
    assert(f != UINT32_MAX);
    add_name(EVENT_UNLINK, f, name, "");
    files[f].name[0] = '\0';
}
int unlinkat(int dirfd, const char *path, int flags)
{
    RECORDED(int, syscall(SYS_unlinkat, dirfd, path, flags), rc == 0 && name_of(dirfd, path) != NULL,
             add_unlink(name_of(dirfd, path)));
}
int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}
