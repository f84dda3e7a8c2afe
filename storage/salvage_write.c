// SPDX-License-Identifier: Apache-2.0
// Writing the new spool. Until the end its files have names of their own ("*.unfinished"), and a relay refuses a directory with one of
// those. When all is durable they are renamed: whenever that ends early, one is left, and the part that has its names is not taken for the whole.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "storage/letters_priv.h"
#include "storage/note.h"
#include "storage/salvage_priv.h"
#include "storage/segment.h"
#include "storage/spool_dir.h"

#define BATCH_BYTES     (16u * 1024u * 1024u) // of values in one transaction
#define BATCH_BLOCKS    1024u
#define DIRECTORY_SLACK (1024u * 1024u)

struct writing {
    struct inspect *inspect;
    const char *to;
    struct salvage_saved *saved;
    bool made; // the directory is ours
    struct segment_file *file;
    char path[INSPECT_PATH_MAX];
    uint64_t pages;    // that the batch takes
    uint64_t expected; // number behind the last block
    struct weir_buf values[BATCH_BLOCKS];
    struct segment_value batch[BATCH_BLOCKS];
    size_t batch_n;
    uint64_t batch_bytes;
};

// --- where to ---------------------------------------------------------------------------------------------------------------

// The directory that `path` is or would be in, without links.
static int real_parent(const char *path, char out[PATH_MAX], struct weir_err *err)
{
    char above[INSPECT_PATH_MAX];
    if (realpath(path, out) != NULL)
        return WEIR_OK;
    if (errno != ENOENT || (size_t)snprintf(above, sizeof(above), "%s", path) >= sizeof(above))
        return errno_fail(err, "find", path);
    size_t len = strlen(above);
    while (len > 1 && above[len - 1] == '/')
        above[--len] = '\0';
    char *slash = strrchr(above, '/');
    if (slash != NULL)
        slash[slash == above] = '\0';
    if (realpath(slash != NULL ? above : ".", out) == NULL)
        return weir_fail(err, WEIR_E_INVALID, "%s: its parent directory does not exist: make it first", path);
    return WEIR_OK;
}

static int check_outside(const struct inspect *inspect, const char *place, const char *to, struct weir_err *err)
{
    char old[PATH_MAX];
    if (realpath(inspect->directory, old) == NULL)
        return errno_fail(err, "find", inspect->directory);
    size_t len = strlen(old);
    if (strncmp(place, old, len) == 0 && (place[len] == '\0' || place[len] == '/'))
        return weir_fail(err, WEIR_E_INVALID, "%s is in the old spool, which is not touched: name another directory",
                         to);
    return WEIR_OK;
}

static int check_empty(const char *to, struct weir_err *err)
{
    DIR *dir = opendir(to);
    if (dir == NULL)
        return errno == ENOENT ? WEIR_OK : weir_fail(err, WEIR_E_INVALID, "%s: %s", to, strerror(errno));
    struct dirent *entry;
    int code = WEIR_OK;
    while (code == WEIR_OK && (entry = readdir(dir)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            strcmp(entry->d_name, "lost+found") != 0)
            code = weir_fail(err, WEIR_E_INVALID, "%s is not empty (there is %s): name a new directory", to,
                             entry->d_name);
    closedir(dir);
    return code;
}

int salvage_check(const struct inspect *inspect, const struct salvage_plan *plan, const char *to, struct weir_err *err)
{
    char place[PATH_MAX];
    struct statvfs fs;
    int code = real_parent(to, place, err);
    if (code == WEIR_OK)
        code = check_outside(inspect, place, to, err);
    if (code == WEIR_OK)
        code = check_empty(to, err);
    if (code != WEIR_OK)
        return code;
    if (statvfs(place, &fs) != 0)
        return errno_fail(err, "statvfs", place);
    uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (room < plan->disk_bytes + DIRECTORY_SLACK)
        return weir_fail(err, WEIR_E_FULL, "%s has %llu MiB left, and the new spool takes up to %llu MiB", place,
                         (unsigned long long)(room >> 20), (unsigned long long)((plan->disk_bytes >> 20) + 1));
    return WEIR_OK;
}

// --- blocks -------------------------------------------------------------------------------------------------------------------

static int path_in(const char *to, const char *name, const char *ending, char out[INSPECT_PATH_MAX],
                   struct weir_err *err)
{
    int n = snprintf(out, INSPECT_PATH_MAX, "%s/%s%s", to, name, ending);
    return n > 0 && (size_t)n < INSPECT_PATH_MAX ? WEIR_OK : weir_fail(err, WEIR_E_INVALID, "path too long: %s", to);
}

static int flush_batch(struct writing *w, struct weir_err *err)
{
    if (w->batch_n == 0)
        return WEIR_OK;
    int code = segment_file_copy(w->file, w->batch, w->batch_n, err);
    for (size_t i = 0; i < w->batch_n; i++)
        weir_buf_free(&w->values[i]);
    w->batch_n = 0;
    w->batch_bytes = 0;
    w->pages = 0;
    return code;
}

static int end_segment(struct writing *w, struct weir_err *err)
{
    int code = w->file != NULL ? flush_batch(w, err) : WEIR_OK;
    segment_file_close(w->file, w->path);
    w->file = NULL;
    return code;
}

static int begin_segment(struct writing *w, const struct salvage_block *block, struct weir_err *err)
{
    char name[64];
    uint64_t least = segment_bytes_for(block->where.bytes);
    snprintf(name, sizeof(name), SPOOL_SEGMENT_NAME, (unsigned long long)block->where.number);
    int code = end_segment(w, err);
    if (code == WEIR_OK)
        code = path_in(w->to, name, SPOOL_UNFINISHED, w->path, err);
    if (code == WEIR_OK)
        code =
            segment_file_create(w->path, least > SALVAGE_SEGMENT_BYTES ? least : SALVAGE_SEGMENT_BYTES, &w->file, err);
    if (code != WEIR_OK)
        return code;
    const struct segment_record record = {
        .first = block->where.number, .created_ns = weir_now_unix_ns(), .before = block->header.before};
    w->saved->segments++;
    return segment_file_start(w->file, &record, err);
}

static int copy_block(void *ctx, struct salvage_block *block, struct weir_err *err)
{
    struct writing *w = ctx;
    int code = WEIR_OK;
    // Numbers in a segment follow each other: a new one behind each gap.
    bool fits = w->file != NULL && segment_file_fits(w->file, block->where.bytes, &w->pages);
    if (!fits || block->where.number != w->expected)
        code = begin_segment(w, block, err);
    if (code == WEIR_OK && w->pages == 0 && !segment_file_fits(w->file, block->where.bytes, &w->pages))
        code = weir_fail(err, WEIR_E_LIMIT, "block %llu has %llu bytes: no segment takes it",
                         (unsigned long long)block->where.number, (unsigned long long)block->where.bytes);
    if (code != WEIR_OK)
        return code;
    w->values[w->batch_n] = block->value; // taken over
    block->value = (struct weir_buf){0};
    w->batch[w->batch_n] = (struct segment_value){
        block->where.number, block->where.signal, {w->values[w->batch_n].data, w->values[w->batch_n].len}};
    w->batch_bytes += w->values[w->batch_n++].len;
    w->expected = block->where.number + 1;
    w->saved->blocks++;
    w->saved->items[block->where.signal] += block->header.items;
    return w->batch_n == BATCH_BLOCKS || w->batch_bytes >= BATCH_BYTES ? flush_batch(w, err) : WEIR_OK;
}

// --- state ----------------------------------------------------------------------------------------------------------------------

// Under the same instance: blocks keep their numbers, so that an upstream which knows a batch's id knows it again. Nobody may go on
// using the old spool beside it. A new state would begin every lane now, and not at the oldest block: without the old one there is none.
static int write_state(struct writing *w, const struct salvage_plan *plan, const struct salvage_letters *letters,
                       struct weir_err *err)
{
    const struct inspect *inspect = w->inspect;
    char path[INSPECT_PATH_MAX];
    struct state *state = NULL;
    if (!plan->state_saved)
        return WEIR_OK;
    struct lane_record *lanes = calloc(inspect->lanes_n + 1, sizeof(*lanes));
    struct state_note *notes = calloc(inspect->notes_n + 1, sizeof(*notes));
    const struct lane_record *list[STATE_LANES_MAX];
    int code = lanes != NULL && notes != NULL ? path_in(w->to, "state.mdb", SPOOL_UNFINISHED, path, err)
                                              : weir_fail(err, WEIR_E_NOMEM, "state: out of memory");
    if (code == WEIR_OK)
        code = state_create(path, &state, err);
    struct state_record record = inspect->state;
    record.next_block = inspect->next_block > w->expected ? inspect->next_block : w->expected;
    record.counts = inspect->counts;
    for (size_t i = 0; code == WEIR_OK && i < inspect->lanes_n; i++) {
        lanes[i] = inspect->lanes[i];
        salvage_lane_give(inspect, plan, &lanes[i]);
        const struct letter_lane *is =
            letter_lane_find((struct letter_lanes *)(uintptr_t)&letters->lanes, lanes[i].upstream,
                             strlen(lanes[i].upstream), lanes[i].signal, false);
        lanes[i].letters_file_id = letters->file_id;
        lanes[i].letters_entered = (struct letter_moves){0};
        lanes[i].evicted_by[SPOOL_LOSS_DAMAGE] += letters_adopt_record(&lanes[i], is != NULL ? is->items : 0);
        list[i] = &lanes[i];
    }
    for (size_t i = 0; code == WEIR_OK && i < inspect->notes_n; i++)
        if (inspect->notes[i].damage == NULL && inspect->notes[i].key[0] != SPOOL_NOTE_LOCAL)
            notes[record.notes_n++] = (struct state_note){inspect->notes[i].key, inspect->notes[i].value, false};
    record.notes = notes;
    if (code == WEIR_OK)
        code = state_reserve(state, state_bytes_for_notes(inspect->notes_text.len), err);
    if (code == WEIR_OK)
        code = state_save(state, &record, list, inspect->lanes_n, err);
    state_close(state);
    free(lanes);
    free(notes);
    return code;
}

// --- the whole --------------------------------------------------------------------------------------------------------------------

typedef int (*name_fn)(const char *path, struct weir_err *err);

static int finish_name(const char *path, struct weir_err *err)
{
    char done[INSPECT_PATH_MAX];
    snprintf(done, sizeof(done), "%.*s", (int)(strlen(path) - strlen(SPOOL_UNFINISHED)), path);
    return rename(path, done) == 0 ? WEIR_OK : errno_fail(err, "rename to", done);
}

static int remove_name(const char *path, struct weir_err *err)
{
    return unlink(path) == 0 ? WEIR_OK : errno_fail(err, "remove", path);
}

static int is_finished(const struct dirent *entry)
{
    uint64_t first;
    return strcmp(entry->d_name, "state.mdb") == 0 || strcmp(entry->d_name, "deadletter.mdb") == 0 ||
           spool_segment_number(entry->d_name, &first);
}

static int is_unfinished(const struct dirent *entry)
{
    return spool_name_unfinished(entry->d_name);
}

static int each_name(const char *to, int (*which)(const struct dirent *), name_fn call, struct weir_err *err)
{
    struct dirent **names;
    char path[INSPECT_PATH_MAX];
    int n = scandir(to, &names, which, alphasort);
    if (n < 0)
        return errno_fail(err, "read", to);
    int code = WEIR_OK;
    for (int i = 0; i < n; i++) {
        if (code == WEIR_OK)
            code = path_in(to, names[i]->d_name, "", path, err);
        if (code == WEIR_OK)
            code = call(path, err);
        free(names[i]);
    }
    free(names);
    return code;
}

static int sync_directory(const char *path, struct weir_err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int code = fd >= 0 && fsync(fd) == 0 ? WEIR_OK : errno_fail(err, "fsync", path);
    if (fd >= 0)
        close(fd);
    return code;
}

static int write_all(struct writing *w, const struct salvage_plan *plan, salvage_progress_fn progress, void *ctx,
                     struct weir_err *err)
{
    char path[INSPECT_PATH_MAX], place[PATH_MAX];
    struct salvage_letters letters = {0};
    int code = salvage_walk(w->inspect, progress, ctx, copy_block, w, err);
    int ended = end_segment(w, code == WEIR_OK ? err : NULL);
    code = code == WEIR_OK ? ended : code;
    if (code == WEIR_OK && plan->letters_saved > 0)
        code = path_in(w->to, "deadletter.mdb", SPOOL_UNFINISHED, path, err);
    if (code == WEIR_OK && plan->letters_saved > 0)
        code = salvage_letters_write(w->inspect, path, &w->saved->letters, &letters, err);
    if (code == WEIR_OK)
        code = write_state(w, plan, &letters, err);
    free(letters.lanes.at);
    if (code == WEIR_OK)
        code = sync_directory(w->to, err);
    if (code == WEIR_OK)
        code = each_name(w->to, is_unfinished, finish_name, err);
    if (code == WEIR_OK)
        code = sync_directory(w->to, err);
    if (code == WEIR_OK && path_in(w->to, "..", "", path, err) == WEIR_OK && realpath(path, place) != NULL)
        code = sync_directory(place, err);
    return code;
}

int salvage_write(struct inspect *inspect, const struct salvage_plan *plan, const char *to,
                  salvage_progress_fn progress, void *ctx, struct salvage_saved *saved, struct weir_err *err)
{
    *saved = (struct salvage_saved){0};
    int code = salvage_check(inspect, plan, to, err);
    struct writing *w = code == WEIR_OK ? calloc(1, sizeof(*w)) : NULL;
    if (code != WEIR_OK || w == NULL)
        return code != WEIR_OK ? code : weir_fail(err, WEIR_E_NOMEM, "salvage: out of memory");
    w->inspect = inspect;
    w->to = to;
    w->saved = saved;
    w->made = mkdir(to, 0750) == 0;
    code = w->made || errno == EEXIST ? write_all(w, plan, progress, ctx, err) : errno_fail(err, "make", to);
    if (code != WEIR_OK) {
        // Those that have their names first: as long as another is there, no relay takes them for a spool.
        each_name(to, is_finished, remove_name, NULL);
        each_name(to, is_unfinished, remove_name, NULL);
        if (w->made)
            rmdir(to);
    }
    assert(w->batch_n == 0); // given up with its segment
    free(w);
    return code;
}
