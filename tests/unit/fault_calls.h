// SPDX-License-Identifier: Apache-2.0
// Takes over the system calls with which the spool and the packaged liblmdb inside it use the disk: a program that defines them is
// asked before each one. For one .c file of a program, which says in fault_ask what happens.
#ifndef TESTS_UNIT_FAULT_CALLS_H
#define TESTS_UNIT_FAULT_CALLS_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum fault_call {
    FAULT_WRITE,
    FAULT_META,  // a write through a descriptor opened with O_DSYNC: LMDB's meta page
    FAULT_FLUSH, // fdatasync
    FAULT_FSYNC, // of a directory
    FAULT_ALLOCATE,
    FAULT_TRUNCATE,
    FAULT_RENAME,
    FAULT_UNLINK,
    FAULT_OPEN, // of a path with "weir-" in it
    FAULT_MKDIR,
    FAULT_READ,
    FAULT_MAP, // of a file
    FAULT_MEMORY,
    FAULT_CALLS
};

struct fault_at {
    enum fault_call call;
    int fd;           // -1: none
    const char *path; // NULL: none
    int flags;        // OPEN
    off_t offset;     // WRITE, META, ALLOCATE; -1: where the file stands
    size_t len;       // WRITE, META, READ: may be made shorter
};

// Beneath are the kernel's calls, or a sanitizer's own where it must know of them: which memory a call writes or reads, and what is mapped.
// NOLINTBEGIN(bugprone-reserved-identifier): they are what they are called
ssize_t __interceptor_pwrite(int fd, const void *data, size_t len, off_t offset) __attribute__((weak));
ssize_t __interceptor_pread(int fd, void *data, size_t len, off_t offset) __attribute__((weak));
ssize_t __interceptor_writev(int fd, const struct iovec *iov, int n) __attribute__((weak));
void *__interceptor_mmap(void *address, size_t len, int protection, int flags, int fd, off_t offset)
    __attribute__((weak));
// NOLINTEND(bugprone-reserved-identifier)
#define FAULT_BENEATH(call, number, ...)                                                                               \
    (__interceptor_##call != NULL ? __interceptor_##call(__VA_ARGS__)                                                  \
                                  : (__typeof__(__interceptor_##call(__VA_ARGS__)))syscall(number, __VA_ARGS__))

// 0: the call is made, with at->len bytes. Else it fails with that errno. Any thread.
static int fault_ask(struct fault_at *at);

static __thread bool fault_thread_works; // it has used the disk

// Not static: glibc declares some of the calls below as inline functions, and those may not use static ones.
bool fault_fails(struct fault_at *at);
bool fault_of_fd(enum fault_call call, int fd);
bool fault_of_path(enum fault_call call, const char *path);

bool fault_fails(struct fault_at *at)
{
    fault_thread_works = fault_thread_works || at->call != FAULT_MEMORY;
    int saved = errno;
    int code = fault_ask(at);
    errno = code != 0 ? code : saved;
    return code != 0;
}

bool fault_of_fd(enum fault_call call, int fd)
{
    return fault_fails(&(struct fault_at){.call = call, .fd = fd});
}

bool fault_of_path(enum fault_call call, const char *path)
{
    return fault_fails(&(struct fault_at){.call = call, .fd = -1, .path = path});
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
    bool through = (fcntl(fd, F_GETFL) & O_DSYNC) != 0;
    struct fault_at at = {.call = through ? FAULT_META : FAULT_WRITE, .fd = fd, .offset = offset, .len = len};
    return fault_fails(&at) ? -1 : FAULT_BENEATH(pwrite, SYS_pwrite64, fd, data, at.len, offset);
}
ssize_t pwrite64(int fd, const void *data, size_t len, off64_t offset)
{
    return pwrite(fd, data, len, offset);
}
// LMDB writes a lone first page, and a run at a new place, by writev after lseek.
ssize_t writev(int fd, const struct iovec *iov, int n)
{
    size_t len = 0;
    for (int i = 0; i < n; i++)
        len += iov[i].iov_len;
    struct fault_at at = {.call = FAULT_WRITE, .fd = fd, .offset = lseek(fd, 0, SEEK_CUR), .len = len};
    if (fault_fails(&at))
        return -1;
    if (at.len == len)
        return FAULT_BENEATH(writev, SYS_writev, fd, iov, n);
    return syscall(SYS_write, fd, iov[0].iov_base, at.len < iov[0].iov_len ? at.len : iov[0].iov_len);
}
ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
    size_t len = 0;
    for (int i = 0; i < n; i++)
        len += iov[i].iov_len;
    struct fault_at at = {.call = FAULT_WRITE, .fd = fd, .offset = offset, .len = len};
    if (fault_fails(&at))
        return -1;
    if (at.len == len)
        return syscall(SYS_pwritev, fd, iov, n, offset, 0);
    return syscall(SYS_pwrite64, fd, iov[0].iov_base, at.len < iov[0].iov_len ? at.len : iov[0].iov_len, offset);
}
ssize_t pread(int fd, void *data, size_t len, off_t offset)
{
    struct fault_at at = {.call = FAULT_READ, .fd = fd, .offset = offset, .len = len};
    return fault_fails(&at) ? -1 : FAULT_BENEATH(pread, SYS_pread64, fd, data, at.len, offset);
}
ssize_t pread64(int fd, void *data, size_t len, off64_t offset)
{
    return pread(fd, data, len, offset);
}
// ThreadSanitizer maps memory for itself with it before it can follow what is called.
__attribute__((no_sanitize("thread"))) void *mmap(void *address, size_t len, int protection, int flags, int fd,
                                                  off_t offset)
{
    if (fd >= 0 && fault_of_fd(FAULT_MAP, fd))
        return MAP_FAILED;
    return FAULT_BENEATH(mmap, SYS_mmap, address, len, protection, flags, fd, offset);
}
void *mmap64(void *address, size_t len, int protection, int flags, int fd, off64_t offset)
{
    return mmap(address, len, protection, flags, fd, offset);
}
int fdatasync(int fd)
{
    return fault_of_fd(FAULT_FLUSH, fd) ? -1 : (int)syscall(SYS_fdatasync, fd);
}
int fsync(int fd)
{
    return fault_of_fd(FAULT_FSYNC, fd) ? -1 : (int)syscall(SYS_fsync, fd);
}
int ftruncate(int fd, off_t len)
{
    return fault_of_fd(FAULT_TRUNCATE, fd) ? -1 : (int)syscall(SYS_ftruncate, fd, len);
}
int ftruncate64(int fd, off64_t len)
{
    return ftruncate(fd, len);
}
int truncate(const char *path, off_t len)
{
    return fault_of_path(FAULT_TRUNCATE, path) ? -1 : (int)syscall(SYS_truncate, path, len);
}
int truncate64(const char *path, off64_t len)
{
    return truncate(path, len);
}
int posix_fallocate(int fd, off_t offset, off_t len)
{
    int saved = errno;
    struct fault_at at = {.call = FAULT_ALLOCATE, .fd = fd, .offset = offset, .len = (size_t)len};
    int code = fault_ask(&at);
    if (code == 0 && syscall(SYS_fallocate, fd, 0, offset, len) != 0)
        code = errno;
    errno = saved;
    return code;
}
int posix_fallocate64(int fd, off64_t offset, off64_t len)
{
    return posix_fallocate(fd, offset, len);
}
int rename(const char *from, const char *to)
{
    return fault_of_path(FAULT_RENAME, from) ? -1 : (int)syscall(SYS_rename, from, to);
}
int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    return fault_of_path(FAULT_RENAME, from) ? -1 : (int)syscall(SYS_renameat, from_fd, from, to_fd, to);
}
int unlink(const char *path)
{
    return fault_of_path(FAULT_UNLINK, path) ? -1 : (int)syscall(SYS_unlink, path);
}
int unlinkat(int fd, const char *path, int flags)
{
    return fault_of_path(FAULT_UNLINK, path) ? -1 : (int)syscall(SYS_unlinkat, fd, path, flags);
}
int mkdir(const char *path, mode_t mode)
{
    return fault_of_path(FAULT_MKDIR, path) ? -1 : (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}
int open(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    struct fault_at at = {.call = FAULT_OPEN, .fd = -1, .path = path, .flags = flags};
    if (strstr(path, "weir-") != NULL && fault_fails(&at))
        return -1;
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return open(path, flags, mode);
}

#endif
