// SPDX-License-Identifier: Apache-2.0
// The spool's directory: what may be in it, who holds it, and the names of its files.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "storage/spool_priv.h"

int spool_path(const struct spool *spool, const char *name, char out[SPOOL_PATH_MAX], struct weir_err *err)
{
    int n = snprintf(out, SPOOL_PATH_MAX, "%s/%s", spool->directory, name);
    return n > 0 && (size_t)n < SPOOL_PATH_MAX ? WEIR_OK : weir_fail(err, WEIR_E_INVALID, "path too long: %s", name);
}

int spool_segment_path(const struct spool *spool, uint64_t first, char out[SPOOL_PATH_MAX], struct weir_err *err)
{
    char name[64];
    snprintf(name, sizeof(name), SPOOL_SEGMENT_NAME, (unsigned long long)first);
    return spool_path(spool, name, out, err);
}

bool spool_segment_number(const char *name, uint64_t *first)
{
    if (strlen(name) != SPOOL_SEGMENT_NAME_BYTES || strncmp(name, "seg-", 4) != 0 || strcmp(name + 24, ".mdb") != 0)
        return false;
    uint64_t n = 0;
    for (const char *p = name + 4; p < name + 24; p++) {
        if (*p < '0' || *p > '9' || n > (UINT64_MAX - 9) / 10)
            return false;
        n = n * 10 + (uint64_t)(*p - '0');
    }
    *first = n;
    return true;
}

int spool_sync_directory(struct spool *spool, struct weir_err *err)
{
    return fsync(spool->directory_fd) == 0 ? WEIR_OK : errno_fail(err, "fsync", spool->directory);
}

int spool_sync_parent(struct spool *spool, struct weir_err *err)
{
    int fd = openat(spool->directory_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    // Not ours to read, or of another file system: then that of the spool is flushed as a whole.
    int rc = fd >= 0 ? fsync(fd) : syncfs(spool->directory_fd);
    if (rc != 0 && errno != EROFS && errno != EINVAL)
        rc = errno_fail(err, "fsync the directory above", spool->directory);
    else
        rc = WEIR_OK;
    if (fd >= 0)
        close(fd);
    return rc;
}

int spool_set_aside(struct spool *spool, const char *name, struct weir_err *err)
{
    char aside[256];
    snprintf(aside, sizeof(aside), "%s.damaged", name);
    if (renameat(spool->directory_fd, name, spool->directory_fd, aside) != 0)
        return errno_fail(err, "set aside", name);
    atomic_store(&spool->look_wanted, true);
    return spool_sync_directory(spool, err);
}

int spool_dir_each(const struct spool *spool, spool_file_fn each, void *ctx, struct weir_err *err)
{
    DIR *dir = opendir(spool->directory);
    if (dir == NULL)
        return errno_fail(err, "read", spool->directory);
    int code = WEIR_OK;
    struct dirent *entry;
    while (code == WEIR_OK && (errno = 0, entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.')
            code = each(ctx, entry->d_name, err);
    if (code == WEIR_OK && errno != 0)
        code = errno_fail(err, "read", spool->directory);
    closedir(dir);
    return code;
}

// f_type of file systems where a lock, a rename or a flush does not mean what it means on a disk of one's own.
static const struct {
    uint32_t magic;
    const char *name;
} network_filesystems[] = {
    {0x6969, "NFS"},       {0x517B, "SMB"},      {0xFF534D42, "CIFS"},   {0xFE534D42, "SMB2"},   {0x01021997, "9p"},
    {0x00C36400, "Ceph"},  {0x5346414F, "AFS"},  {0x6B414653, "kAFS"},   {0x0BD00BD0, "Lustre"}, {0x73757245, "Coda"},
    {0x7461636F, "OCFS2"}, {0x47504653, "GPFS"}, {0x19830326, "BeeGFS"},
};

// What a person can do about a directory that cannot be used. They know it as spool.directory.
static int unusable(struct weir_err *err, const struct spool *spool)
{
    const char *dir = spool->directory;
    switch (errno) {
    case EACCES:
    case EPERM:
        return weir_fail(
            err, WEIR_E_IO,
            "%s: permission denied: give it to the user that weir runs as (uid %u), or name another directory", dir,
            (unsigned)geteuid());
    case EROFS:
        return weir_fail(err, WEIR_E_READ_ONLY,
                         "%s is on a read-only file system: mount it for writing, or name another directory", dir);
    case ENOTDIR:
        return weir_fail(err, WEIR_E_INVALID, "%s is not a directory: name one", dir);
    case ENOENT:
        return weir_fail(err, WEIR_E_IO, "%s: its parent directory does not exist: make that first", dir);
    default:
        return errno_fail(err, "open", dir);
    }
}

static int check_filesystem(const struct spool *spool, bool allow_network, struct weir_err *err)
{
    struct statfs fs;
    if (fstatfs(spool->directory_fd, &fs) != 0)
        return errno_fail(err, "statfs", spool->directory);
    for (size_t i = 0; i < WEIR_COUNT(network_filesystems) && !allow_network; i++)
        if ((uint32_t)fs.f_type == network_filesystems[i].magic)
            return weir_fail(
                err, WEIR_E_INVALID,
                "%s is on a network file system (%s), where a flush may not reach a disk: use a local one, or say "
                "spool.allow_network_filesystem: true",
                spool->directory, network_filesystems[i].name);
    return WEIR_OK;
}

struct contents {
    const struct spool *spool;
    bool ours, others, unfinished;
    char other[256];
};

bool spool_name_unfinished(const char *name)
{
    size_t len = strlen(name), tail = strlen(SPOOL_UNFINISHED);
    return len > tail && strcmp(name + len - tail, SPOOL_UNFINISHED) == 0;
}

static int look_at(void *ctx, const char *name, struct weir_err *err)
{
    (void)err;
    struct contents *c = ctx;
    uint64_t first;
    c->unfinished = c->unfinished || spool_name_unfinished(name);
    if (strcmp(name, "LOCK") == 0 || strcmp(name, "state.mdb") == 0 || spool_segment_number(name, &first)) {
        c->ours = true;
    } else if (strcmp(name, "lost+found") != 0) {
        c->others = true;
        snprintf(c->other, sizeof(c->other), "%s", name);
    }
    return WEIR_OK;
}

static int take_lock(struct spool *spool, struct weir_err *err)
{
    char path[SPOOL_PATH_MAX];
    int code = spool_path(spool, "LOCK", path, err);
    if (code != WEIR_OK)
        return code;
    spool->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (spool->lock_fd < 0)
        return unusable(err, spool);
    if (flock(spool->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return WEIR_OK;
    if (errno != EWOULDBLOCK)
        return errno_fail(err, "lock", path);
    char holder[200];
    ssize_t n = pread(spool->lock_fd, holder, sizeof(holder) - 1, 0);
    holder[n > 0 ? n : 0] = '\0';
    holder[strcspn(holder, "\n")] = '\0';
    return weir_fail(err, WEIR_E_HELD, "%s is held by %s: stop that, or name another directory", spool->directory,
                     holder[0] != '\0' ? holder : "another process");
}

int spool_dir_open(struct spool *spool, const struct spool_options *options, struct weir_err *err)
{
    if (mkdir(spool->directory, 0750) != 0 && errno != EEXIST)
        return unusable(err, spool);
    spool->directory_fd = open(spool->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (spool->directory_fd < 0)
        return unusable(err, spool);
    int code = check_filesystem(spool, options->allow_network_filesystem, err);
    if (code != WEIR_OK)
        return code;
    struct contents contents = {.spool = spool};
    code = spool_dir_each(spool, look_at, &contents, err);
    if (code != WEIR_OK)
        return code;
    if (contents.unfinished) // it has some of its names, and what has not would be missing
        return weir_fail(err, WEIR_E_INVALID,
                         "%s is a spool that was not salvaged to the end: remove it and salvage again, or name another "
                         "directory",
                         spool->directory);
    if (contents.others && !contents.ours)
        return weir_fail(err, WEIR_E_INVALID, "%s is not empty and no spool (there is %s): name another directory",
                         spool->directory, contents.other);
    return take_lock(spool, err);
}

// 0 or an errno.
static int write_line(int fd, const char *line, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = pwrite(fd, line + at, len - at, (off_t)at);
        if (n < 0 && errno != EINTR)
            return errno;
        if (n == 0)
            return ENOSPC;
        at += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

int spool_dir_sign(struct spool *spool, const char *holder, struct weir_err *err)
{
    char line[256];
    int n = snprintf(line, sizeof(line), "%s\n", holder != NULL ? holder : "weir");
    if (n < 0 || (size_t)n >= sizeof(line))
        n = (int)sizeof(line) - 1;
    // For a person only: the lock is what holds. A full disk must not keep the spool from being drained.
    int rc = ftruncate(spool->lock_fd, 0) != 0 ? errno : write_line(spool->lock_fd, line, (size_t)n);
    if (rc == 0 || rc == ENOSPC || rc == EDQUOT)
        return WEIR_OK;
    errno = rc;
    return errno_fail(err, "write", "LOCK");
}
