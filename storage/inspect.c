// SPDX-License-Identifier: Apache-2.0
// The directory: is it a spool, who holds it, what is in it.
#include "storage/inspect.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/file_read.h"
#include "storage/inspect_priv.h"
#include "storage/spool_dir.h"

const char *inspect_kind_name(enum inspect_kind kind)
{
    static const char *const names[INSPECT_KINDS] = {"lock",      "segment",   "state", "dead letters",
                                                     "temporary", "set aside", "other"};
    assert((unsigned)kind < INSPECT_KINDS);
    return names[kind];
}

int inspect_path(const struct inspect *inspect, const char *name, char out[INSPECT_PATH_MAX], struct weir_err *err)
{
    int n = snprintf(out, INSPECT_PATH_MAX, "%s/%s", inspect->directory, name);
    return n > 0 && (size_t)n < INSPECT_PATH_MAX ? WEIR_OK : weir_fail(err, WEIR_E_INVALID, "path too long: %s", name);
}

const struct inspect_file *inspect_file_of(const struct inspect *inspect, enum inspect_kind kind)
{
    for (size_t i = 0; i < inspect->files_n; i++)
        if (inspect->files[i].kind == kind)
            return &inspect->files[i];
    return NULL;
}

static bool ends_with(const char *name, const char *ending)
{
    size_t len = strlen(name), tail = strlen(ending);
    return len > tail && strcmp(name + len - tail, ending) == 0;
}

static void classify(struct inspect_file *file, bool regular)
{
    static const struct {
        const char *name;
        enum inspect_kind kind;
    } names[] = {{"LOCK", INSPECT_LOCK}, {"state.mdb", INSPECT_STATE}, {"deadletter.mdb", INSPECT_DEAD_LETTERS}};
    char segment[SPOOL_SEGMENT_NAME_BYTES + 1];
    snprintf(segment, sizeof(segment), "%.*s", (int)SPOOL_SEGMENT_NAME_BYTES, file->name);
    file->kind = INSPECT_OTHER;
    if (!regular)
        return;
    for (size_t i = 0; i < WEIR_COUNT(names); i++)
        if (strcmp(file->name, names[i].name) == 0)
            file->kind = names[i].kind;
    if (ends_with(file->name, ".tmp"))
        file->kind = INSPECT_TEMPORARY;
    if (ends_with(file->name, ".damaged"))
        file->kind = INSPECT_ASIDE;
    bool numbered = spool_segment_number(segment, &file->first);
    if (numbered && file->name[SPOOL_SEGMENT_NAME_BYTES] == '\0')
        file->kind = INSPECT_SEGMENT;
    // With the number of an aside that was made after another: "seg-N.mdb.1.damaged" would be one too.
    file->is_segment = numbered && (file->kind == INSPECT_SEGMENT || file->kind == INSPECT_ASIDE);
}

static int add_file(struct inspect *inspect, const char *name, struct weir_err *err)
{
    struct stat st;
    if (fstatat(inspect->directory_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? WEIR_OK : errno_fail(err, "stat", name);
    if (inspect->files_n == inspect->files_cap) {
        size_t cap = inspect->files_cap != 0 ? 2 * inspect->files_cap : 64;
        struct inspect_file *files = realloc(inspect->files, cap * sizeof(*files));
        if (files == NULL)
            return weir_fail(err, WEIR_E_NOMEM, "%s: out of memory", inspect->directory);
        inspect->files = files;
        inspect->files_cap = cap;
    }
    struct inspect_file *file = &inspect->files[inspect->files_n++];
    *file = (struct inspect_file){.bytes = (uint64_t)st.st_size, .disk_bytes = (uint64_t)st.st_blocks * 512};
    snprintf(file->name, sizeof(file->name), "%s", name);
    classify(file, S_ISREG(st.st_mode));
    return WEIR_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct inspect_file *)a)->name, ((const struct inspect_file *)b)->name);
}

static int read_directory(struct inspect *inspect, struct weir_err *err)
{
    DIR *dir = opendir(inspect->directory);
    if (dir == NULL)
        return errno_fail(err, "read", inspect->directory);
    int code = WEIR_OK;
    struct dirent *entry;
    while (code == WEIR_OK && (errno = 0, entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.')
            code = add_file(inspect, entry->d_name, err);
    if (code == WEIR_OK && errno != 0)
        code = errno_fail(err, "read", inspect->directory);
    closedir(dir);
    if (inspect->files_n > 0)
        qsort(inspect->files, inspect->files_n, sizeof(*inspect->files), by_name);
    return code;
}

// Beside the relay's exclusive lock there is no shared one. Many may look at once.
static int take_lock(struct inspect *inspect, struct weir_err *err)
{
    inspect->lock_fd = openat(inspect->directory_fd, "LOCK", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (inspect->lock_fd < 0 && errno == ENOENT)
        return WEIR_OK;
    if (inspect->lock_fd < 0)
        return errno_fail(err, "open", "LOCK");
    if (flock(inspect->lock_fd, LOCK_SH | LOCK_NB) == 0)
        return WEIR_OK;
    if (errno != EWOULDBLOCK)
        return errno_fail(err, "lock", "LOCK");
    char holder[200];
    ssize_t n = pread(inspect->lock_fd, holder, sizeof(holder) - 1, 0);
    holder[n > 0 ? n : 0] = '\0';
    holder[strcspn(holder, "\n")] = '\0';
    return weir_fail(err, WEIR_E_HELD, "%s is held by %s: stop it first, or work on a copy", inspect->directory,
                     holder[0] != '\0' ? holder : "another process");
}

static int check_spool(const struct inspect *inspect, struct weir_err *err)
{
    const char *other = NULL;
    for (size_t i = 0; i < inspect->files_n; i++) {
        const struct inspect_file *file = &inspect->files[i];
        if (file->kind == INSPECT_LOCK || file->kind == INSPECT_STATE || file->is_segment)
            return WEIR_OK;
        other = file->name;
    }
    if (other == NULL)
        return weir_fail(err, WEIR_E_INVALID, "%s is empty: no spool", inspect->directory);
    return weir_fail(err, WEIR_E_INVALID, "%s is no spool: there is %s, and neither LOCK, state.mdb nor a segment",
                     inspect->directory, other);
}

static int open_locked(struct inspect *inspect, struct weir_err *err)
{
    inspect->directory_fd = open(inspect->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (inspect->directory_fd < 0)
        return weir_fail(err, errno == ENOTDIR || errno == ENOENT ? WEIR_E_INVALID : WEIR_E_IO, "%s: %s",
                         inspect->directory, strerror(errno));
    // A relay goes on trying for a while what the disk does not give. Somebody who looks wants to know it now.
    file_read_patience = (struct file_read_patience){.tries = 1, .ns = 0};
    int code = take_lock(inspect, err); // first: what is looked at stays as it is
    if (code == WEIR_OK)
        code = read_directory(inspect, err);
    if (code == WEIR_OK)
        code = check_spool(inspect, err);
    if (code == WEIR_OK)
        code = inspect_sources_make(inspect, err);
    return code == WEIR_OK ? inspect_state_load(inspect, err) : code;
}

int inspect_open(const char *directory, struct inspect **out, struct weir_err *err)
{
    *out = NULL;
    struct inspect *inspect = calloc(1, sizeof(*inspect));
    if (inspect == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "%s: out of memory", directory);
    inspect->directory_fd = inspect->lock_fd = -1;
    inspect->directory = strdup(directory);
    int code = inspect->directory != NULL ? open_locked(inspect, err)
                                          : weir_fail(err, WEIR_E_NOMEM, "%s: out of memory", directory);
    if (code == WEIR_OK)
        *out = inspect;
    else
        inspect_close(inspect);
    return code;
}

void inspect_close(struct inspect *inspect)
{
    if (inspect == NULL)
        return;
    for (size_t i = 0; i < inspect->segments_n + inspect->asides_n; i++) {
        segment_read_close(inspect->sources[i].read);
        free(inspect->sources[i].text);
    }
    free(inspect->sources);
    inspect_state_free(inspect);
    weir_buf_free(&inspect->scratch);
    if (inspect->lock_fd >= 0)
        close(inspect->lock_fd);
    if (inspect->directory_fd >= 0)
        close(inspect->directory_fd);
    free(inspect->files);
    free(inspect->directory);
    free(inspect);
}

const char *inspect_directory(const struct inspect *inspect)
{
    return inspect->directory;
}

size_t inspect_files(const struct inspect *inspect, const struct inspect_file **out)
{
    *out = inspect->files;
    return inspect->files_n;
}
