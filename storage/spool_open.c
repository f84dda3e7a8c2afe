// SPDX-License-Identifier: Apache-2.0
// Start-up from any crash state. First everything that decides whether this spool is ours to touch is only looked at: lock, format
// versions, the last segment and those that hold a lane's position. Then the directory is put in order:
//   leftover *.tmp         removed: nothing in them was ever acknowledged
//   damaged segment        set aside as *.damaged; what lanes needed of it is entered as evicted, with its items
//   damaged state          set aside; lanes start again at the oldest block: rather delivered twice than never
//   last segment           sealed and cut to its length: weir never writes to a file of another process's making
//   last segment missing   the state knows how far numbers were used: they are not used again
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "storage/file_read.h"
#include "storage/keeper.h"
#include "storage/letters_priv.h"
#include "storage/space.h"
#include "storage/spool_priv.h"

#define MIB (1024u * 1024u)

// What the first look found.
struct findings {
    struct spool *spool;
    uint32_t temporaries;
    bool state_missing, state_damaged, dead_letters_damaged;
    uint32_t damaged_notes;
    struct state_record state;
    size_t damaged_n;
    uint64_t damaged[STATE_LANES_MAX + 1];
};

uint64_t spool_bytes_min(uint64_t segment_bytes)
{
    return STATE_BYTES + 3 * segment_bytes;
}

static int check_options(const struct spool_options *o, struct weir_err *err)
{
    if (o->segment_bytes < MIB || o->segment_bytes > 1024ull * MIB || o->segment_bytes % MIB != 0)
        return weir_fail(err, WEIR_E_INVALID, "segment size %llu: 1 MiB to 1 GiB, a multiple of 1 MiB",
                         (unsigned long long)o->segment_bytes);
    if (sysconf(_SC_PAGESIZE) != SEGMENT_PAGE) // LMDB would make files of other pages than the format has
        return weir_fail(err, WEIR_E_INVALID, "this machine's memory pages have %ld bytes: the spool needs pages of %u",
                         sysconf(_SC_PAGESIZE), SEGMENT_PAGE);
    uint64_t least = spool_bytes_min(o->segment_bytes);
    if (o->max_bytes < least)
        return weir_fail(
            err, WEIR_E_INVALID, "spool size %llu: at least %llu with segments of %llu (three of them, and the state)",
            (unsigned long long)o->max_bytes, (unsigned long long)least, (unsigned long long)o->segment_bytes);
    return WEIR_OK;
}

static struct spool *spool_new(const struct spool_options *o)
{
    struct spool *spool = calloc(1, sizeof(*spool));
    if (spool == NULL)
        return NULL;
    spool->directory_fd = spool->lock_fd = -1;
    spool->directory = strdup(o->directory);
    spool->max_bytes = o->max_bytes;
    spool->segment_bytes = o->segment_bytes;
    spool->dead_letter_bytes = o->dead_letter_bytes != 0 ? o->dead_letter_bytes : o->max_bytes / 8;
    spool->on_commit = o->on_commit;
    spool->on_event = o->on_event;
    spool->evict_oldest = o->evict_oldest;
    spool->max_age_ns = o->max_age_ns;
    spool->keep_delivered_ns = o->keep_delivered_ns;
    spool->unix_ns = o->unix_ns;
    atomic_store(&spool->retention_due, true);
    spool->ctx = o->ctx;
    spool->queue_tail = &spool->queue_head;
    pthread_mutex_t *mutexes[] = {&spool->retention_lock, &spool->lock,        &spool->borders_lock, &spool->lanes_lock,
                                  &spool->state_lock,     &spool->queue_lock,  &spool->keeper_lock,  &spool->spare_lock,
                                  &spool->spare_making,   &spool->spare_making};
    for (size_t i = 0; i < WEIR_COUNT(mutexes); i++)
        pthread_mutex_init(mutexes[i], NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&spool->keeper_woken, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&spool->queue_filled, NULL);
    pthread_cond_init(&spool->room_answered, NULL);
    turn_init(&spool->turn);
    newest_init(&spool->newest);
    histograms_init(spool);
    return spool;
}

// --- looking ------------------------------------------------------------------------------------------------------------

static bool is_temporary(const char *name)
{
    size_t len = strlen(name);
    return len > 4 && strcmp(name + len - 4, ".tmp") == 0;
}

static int find_file(void *ctx, const char *name, struct weir_err *err)
{
    struct findings *f = ctx;
    uint64_t first;
    if (is_temporary(name))
        f->temporaries++;
    if (!spool_segment_number(name, &first))
        return WEIR_OK;
    struct segment *segment = segment_new(f->spool, first);
    if (segment != NULL && catalog_add(f->spool, segment))
        return WEIR_OK;
    segment_free(segment);
    return weir_fail(err, WEIR_E_NOMEM, "%s: out of memory", f->spool->directory);
}

// A place that the disk does not give is tried until it counts as damaged: weir would never start otherwise.
static int open_patiently(const char *path, uint64_t first, struct segment_read **out, struct weir_err *err)
{
    unsigned tries = 0;
    int code;
    do {
        code = segment_read_open(path, first, out, err);
    } while (code == WEIR_E_IO && file_read_try_again(&tries, 2 * file_read_patience.tries));
    return code;
}

// Opens the segment that `number` is in, unless it is open or known to be damaged.
static int look_at_segment(struct findings *f, uint64_t number, struct weir_err *err)
{
    struct spool *spool = f->spool;
    uint64_t limit;
    struct segment *segment = catalog_pin(spool, number, &limit);
    if (segment == NULL)
        return WEIR_OK;
    uint64_t first = segment->first;
    bool known = segment->read != NULL;
    for (size_t i = 0; i < f->damaged_n; i++)
        known = known || f->damaged[i] == first;
    int code = WEIR_OK;
    if (!known) {
        char path[SPOOL_PATH_MAX];
        code = spool_segment_path(spool, first, path, err);
        if (code == WEIR_OK)
            code = open_patiently(path, first, &segment->read, err);
        if (code == WEIR_OK)
            spool->files_opened++;
        if (code == WEIR_E_CORRUPT) {
            f->damaged[f->damaged_n++] = first;
            code = WEIR_OK;
        }
    }
    segment_unpin(segment);
    return code;
}

static int look_at_state(struct findings *f, struct weir_err *err)
{
    struct spool *spool = f->spool;
    char path[SPOOL_PATH_MAX];
    int code = spool_path(spool, "state.mdb", path, err);
    if (code == WEIR_OK)
        code = state_open(path, &spool->lane_state, err);
    if (code == WEIR_OK)
        code = state_load(spool->lane_state, &f->state, lane_load, spool, err);
    if (code == WEIR_OK)
        code = notes_load(spool, spool->lane_state, &f->damaged_notes, err);
    if (code != WEIR_E_NOT_FOUND && code != WEIR_E_CORRUPT)
        return code == WEIR_OK ? WEIR_OK : weir_wrap(err, "state.mdb");
    f->state_missing = true;
    f->state_damaged = code == WEIR_E_CORRUPT;
    f->state = (struct state_record){0};
    while (spool->lanes_n > 0)
        free(spool->lanes[--spool->lanes_n]);
    notes_clear(spool);
    f->damaged_notes = 0;
    state_close(spool->lane_state);
    spool->lane_state = NULL;
    return WEIR_OK;
}

static int look(struct findings *f, struct weir_err *err)
{
    struct spool *spool = f->spool;
    int code = spool_dir_each(spool, find_file, f, err);
    if (code == WEIR_OK)
        code = look_at_state(f, err);
    if (code == WEIR_OK)
        code = dead_letters_open(spool, &f->dead_letters_damaged, err);
    if (code == WEIR_OK)
        code = look_at_segment(f, UINT64_MAX - 1, err);
    for (size_t i = 0; i < spool->lanes_n && code == WEIR_OK; i++)
        if (spool->lanes[i]->record.set.n > 0)
            code = look_at_segment(f, spool->lanes[i]->record.set.at[0].first.number, err);
    return code;
}

// --- putting in order ---------------------------------------------------------------------------------------------------

static int remove_temporary(void *ctx, const char *name, struct weir_err *err)
{
    struct spool *spool = ctx;
    if (is_temporary(name) && unlinkat(spool->directory_fd, name, 0) != 0 && errno != ENOENT)
        return errno_fail(err, "remove", name);
    return WEIR_OK;
}

static int make_state(struct spool *spool, struct weir_err *err)
{
    char path[SPOOL_PATH_MAX], temporary[SPOOL_PATH_MAX];
    int code = spool_path(spool, "state.mdb", path, err);
    if (code == WEIR_OK)
        code = spool_path(spool, "state.tmp", temporary, err);
    if (code == WEIR_OK)
        code = spool_sync_parent(spool, err);
    if (code ==
        WEIR_OK) // the name LOCK comes first: a directory with a temporary alone would be taken for somebody else's
        code = spool_sync_directory(spool, err);
    if (code == WEIR_OK)
        code = state_create(temporary, &spool->lane_state, err);
    if (code == WEIR_OK && rename(temporary, path) != 0)
        code = errno_fail(err, "rename to", path);
    return code == WEIR_OK ? spool_sync_directory(spool, err) : code;
}

// Nothing in it can be read, as was found when it was looked at: so it is found again, and set aside.
static int set_aside_segment(struct spool *spool, uint64_t first, struct weir_err *err)
{
    uint64_t limit;
    struct segment_read *read;
    struct segment *segment = catalog_pin(spool, first, &limit);
    uint32_t before = spool->set_aside;
    int code = segment != NULL && segment->first == first ? segment_get_read(segment, &read, err) : WEIR_OK;
    if (segment != NULL)
        segment_unpin(segment);
    if (code == WEIR_E_CORRUPT && spool->set_aside == before)
        return weir_fail(err, WEIR_E_IO, "the segment that begins at block %llu is damaged and cannot be renamed",
                         (unsigned long long)first);
    return code == WEIR_E_CORRUPT ? WEIR_OK : code;
}

// Numbers go on after the last block there is, or after the last the state knows of when its segment is gone.
static int find_position(struct spool *spool, const struct state_record *state, struct weir_err *err)
{
    spool->counts = state->counts;
    atomic_store(&spool->next_block, state->next_block);
    while (spool->segments_n > 0) {
        struct segment *last = spool->segments[spool->segments_n - 1];
        struct segment_read *read;
        last->refs++;
        int code = segment_get_read(last, &read, err);
        // Equal: the state's counts do not depend on the last block's header. Nor do they go back, whatever headers are damaged: lanes
        // subtract from them.
        if (code == WEIR_OK && segment_read_end(read) > state->next_block) {
            struct spool_counts after;
            segment_read_counts(read, NULL, &after);
            if (after.stored_bytes > state->counts.stored_bytes)
                spool->counts = after;
            atomic_store(&spool->next_block, segment_read_end(read));
        }
        char path[SPOOL_PATH_MAX];
        uint64_t used = code == WEIR_OK ? segment_read_bytes(read) : 0;
        // The space that was allocated and not used. It does not matter when it fails.
        if (used > 0 && spool_segment_path(spool, last->first, path, NULL) == WEIR_OK &&
            truncate(path, (off_t)used) != 0)
            errno = 0;
        segment_unpin(last);
        if (code != WEIR_E_CORRUPT) // else it was set aside, and the one before it is the last
            return code;
    }
    return WEIR_OK;
}

// Enters what lanes need at their positions and no file holds. Returns how many block numbers that is, each counted once.
static uint64_t enter_losses(struct spool *spool)
{
    struct interval_set *lost = calloc(1, sizeof(*lost));
    uint64_t numbers = 0, end;
    for (size_t i = 0; i < spool->lanes_n; i++) {
        struct spool_lane *lane = spool->lanes[i];
        const struct interval_set *set = &lane->record.set;
        while (set->n > 0 && spool_gap_at(spool, set->at[0].first.number, &end)) {
            uint64_t first = set->at[0].first.number;
            uint64_t stop = end < set->at[0].end.number ? end : set->at[0].end.number;
            struct interval_sum sum = {0};
            struct mark zero = {0};
            if (lost != NULL)
                intervals_add(lost, (struct mark){.number = first}, (struct mark){.number = stop}, &zero, &sum);
            spool_lane_lost(lane, first, stop);
            if (set->n > 0 && set->at[0].first.number == first)
                break; // not known now how much it is: the keeper enters it later
        }
    }
    for (size_t i = 0; lost != NULL && i < lost->n; i++)
        numbers += lost->at[i].end.number - lost->at[i].first.number;
    free(lost);
    return numbers;
}

static int put_in_order(struct findings *f, const char *holder, struct spool_report *report, struct weir_err *err)
{
    struct spool *spool = f->spool;
    int code = spool_dir_sign(spool, holder, err);
    if (code == WEIR_OK)
        code = spool_dir_each(spool, remove_temporary, spool, err);
    if (code == WEIR_OK && f->state_damaged)
        code = spool_set_aside(spool, "state.mdb", err);
    if (code == WEIR_OK && f->dead_letters_damaged)
        code = spool_set_aside(spool, "deadletter.mdb", err);
    spool->state_was_lost = f->state_missing && spool->segments_n > 0;
    for (size_t i = 0; i < f->damaged_n && code == WEIR_OK; i++)
        code = set_aside_segment(spool, f->damaged[i], err);
    if (code == WEIR_OK && f->state_missing)
        code = make_state(spool, err);
    if (code == WEIR_OK && f->state_missing) // for its instance
        code = state_load(spool->lane_state, &f->state, lane_load, spool, err);
    if (code == WEIR_OK) {
        memcpy(spool->instance, f->state.instance, sizeof(spool->instance));
        state_instance_format(spool->instance, spool->instance_text);
    }
    if (code == WEIR_OK)
        code = find_position(spool, &f->state, err);
    if (code != WEIR_OK)
        return code;
    newest_restart(&spool->newest, atomic_load(&spool->next_block));
    lanes_stop_following(spool);
    report->lost_blocks = enter_losses(spool);
    lanes_update_passed(spool);
    code = state_commit(spool, true, err);
    if (code == WEIR_OK)
        dead_letters_start(spool);
    report->temporaries_removed = f->temporaries;
    report->damaged_notes = f->damaged_notes;
    report->damaged = spool->set_aside + f->state_damaged + f->dead_letters_damaged;
    return code == WEIR_OK ? state_commit(spool, false, err) : code;
}

// What was found damaged so far.
static void tell_damage(struct spool *spool)
{
    uint64_t limit = 0;
    while (limit != UINT64_MAX) {
        struct segment *segment = catalog_pin(spool, limit, &limit);
        if (segment == NULL)
            continue;
        segment_tell_damage(segment);
        segment_unpin(segment);
    }
}

static int start_threads(struct spool *spool, struct weir_err *err)
{
    int rc = pthread_create(&spool->writer, NULL, writer_main, spool);
    spool->writer_started = rc == 0;
    if (rc == 0)
        rc = pthread_create(&spool->keeper, NULL, keeper_main, spool);
    spool->keeper_started = rc == 0 && spool->writer_started;
    return rc == 0 ? WEIR_OK : weir_fail(err, WEIR_E_NOMEM, "start a thread: %s", strerror(rc));
}

int spool_open(const struct spool_options *options, struct spool **out, struct spool_report *report,
               struct weir_err *err)
{
    struct weir_err local = {0};
    struct spool_report found = {0};
    err = err != NULL ? err : &local;
    *out = NULL;
    int code = check_options(options, err);
    if (code != WEIR_OK)
        return code;
    struct spool *spool = spool_new(options);
    struct findings *f = calloc(1, sizeof(*f));
    if (spool == NULL || f == NULL || spool->directory == NULL) {
        free(f);
        if (spool != NULL)
            spool_destroy(spool);
        return weir_fail(err, WEIR_E_NOMEM, "open spool %s: out of memory", options->directory);
    }
    f->spool = spool;
    code = spool_dir_open(spool, options, err);
    if (code == WEIR_OK)
        code = look(f, err);
    if (code == WEIR_OK)
        code = put_in_order(f, options->holder, &found, err);
    free(f);
    if (code == WEIR_OK) {
        found.segments = (uint32_t)spool->segments_n;
        found.segments_opened = (uint32_t)spool->files_opened;
        found.next_block = atomic_load(&spool->next_block);
        found.first_block = spool->segments_n > 0 ? spool->segments[0]->first : found.next_block;
        tell_damage(spool);
        space_look(spool);
        keeper_make_spare(spool); // so that the state is known before the first request
        lanes_tell_losses(spool);
        code = start_threads(spool, err);
    }
    if (code != WEIR_OK) {
        weir_wrap(err, "open spool %s", options->directory);
        spool_close(spool);
        return code;
    }
    if (report != NULL)
        *report = found;
    *err = (struct weir_err){0}; // what was not there is no failure
    *out = spool;
    return WEIR_OK;
}
