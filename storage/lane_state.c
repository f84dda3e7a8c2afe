// SPDX-License-Identifier: Apache-2.0
// Making the lanes' state durable: what changed, in one transaction with how far numbers are used.
#include "storage/space.h"
#include "storage/spool_priv.h"

// Copies what changed, and marks it as stored: whatever happens after the copy is for the next commit. Under lanes_lock.
static size_t copy_changed(struct spool *spool, struct lane_record *copies, struct spool_lane **from)
{
    size_t n = 0;
    for (size_t i = 0; i < spool->lanes_n; i++) {
        if (!spool->lanes[i]->dirty)
            continue;
        spool->lanes[i]->dirty = false;
        copies[n] = spool->lanes[i]->record;
        from[n++] = spool->lanes[i];
    }
    spool->lanes_dirty = false;
    return n;
}

// The same for those that are to be removed: their records do not change any more.
static size_t take_gone(struct spool *spool, const struct lane_record **out)
{
    size_t n = 0;
    for (struct spool_lane *lane = spool->forgotten; lane != NULL; lane = lane->forgotten_next) {
        if (!lane->dirty)
            continue;
        assert(n < STATE_LANES_MAX);
        lane->dirty = false;
        out[n++] = &lane->record;
    }
    return n;
}

// They are in the file still. Under lanes_lock.
static void give_back_gone(struct spool *spool, const struct lane_record *const *gone, size_t n)
{
    for (struct spool_lane *lane = spool->forgotten; lane != NULL; lane = lane->forgotten_next)
        for (size_t i = 0; i < n; i++)
            lane->dirty = lane->dirty || gone[i] == &lane->record;
}

static void lanes_saved(struct spool *spool, const struct lane_record *copies, struct spool_lane **from, size_t n)
{
    pthread_mutex_lock(&spool->lanes_lock);
    for (size_t i = 0; i < n; i++)
        if (copies[i].set.n > 0)
            from[i]->first_durable = copies[i].set.at[0].first.number;
    pthread_mutex_unlock(&spool->lanes_lock);
}

// An environment in which a commit failed is not used again. Under state_lock.
static int state_there(struct spool *spool, struct weir_err *err)
{
    char path[SPOOL_PATH_MAX];
    if (spool->lane_state != NULL)
        return WEIR_OK;
    int code = spool_path(spool, "state.mdb", path, err);
    return code == WEIR_OK ? state_open(path, &spool->lane_state, err) : code;
}

static int state_commit_locked(struct spool *spool, bool always, struct weir_err *err)
{
    int code = state_there(spool, err);
    if (code != WEIR_OK)
        return code;
    struct lane_record *copies = malloc(STATE_LANES_MAX * sizeof(*copies));
    if (copies == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "state: out of memory");
    struct spool_lane *from[STATE_LANES_MAX];
    const struct lane_record *list[STATE_LANES_MAX], *gone[STATE_LANES_MAX];
    struct state_record record = {0};
    struct state_note *notes = NULL;
    pthread_mutex_lock(&spool->lanes_lock);
    bool changed = spool->lanes_dirty;
    code = notes_copy_changed(spool, &notes, &record.notes_n, err);
    if (code != WEIR_OK) {
        pthread_mutex_unlock(&spool->lanes_lock);
        free(copies);
        return code;
    }
    record.notes = notes;
    size_t n = copy_changed(spool, copies, from);
    record.gone = gone;
    record.gone_n = take_gone(spool, gone);
    pthread_mutex_lock(&spool->lock);
    record.next_block = atomic_load(&spool->next_block);
    record.counts = spool->counts;
    memcpy(record.instance, spool->instance, sizeof(record.instance));
    pthread_mutex_unlock(&spool->lock);
    pthread_mutex_unlock(&spool->lanes_lock);
    for (size_t i = 0; i < n; i++)
        list[i] = &copies[i];
    if (changed || always)
        code = state_save(spool->lane_state, &record, list, n, err);
    if ((changed || always) && code == WEIR_OK)
        lanes_saved(spool, copies, from, n);
    free(copies);
    free(notes);
    if (changed || always)
        notes_saved(spool, code == WEIR_OK);
    if (code == WEIR_OK)
        return code;
    state_close(spool->lane_state);
    spool->lane_state = NULL;
    pthread_mutex_lock(&spool->lanes_lock);
    for (size_t i = 0; i < n; i++)
        lane_changed(from[i]);
    give_back_gone(spool, gone, record.gone_n);
    spool->lanes_dirty = true;
    pthread_mutex_unlock(&spool->lanes_lock);
    return code;
}

int state_commit(struct spool *spool, bool always, struct weir_err *err)
{
    pthread_mutex_lock(&spool->state_lock);
    int code = state_commit_locked(spool, always, err);
    pthread_mutex_unlock(&spool->state_lock);
    return code;
}

int state_make_longer(struct spool *spool, uint64_t file_bytes, struct weir_err *err)
{
    uint64_t missing = 0;
    pthread_mutex_lock(&spool->state_lock);
    int code = state_there(spool, err);
    if (code == WEIR_OK)
        code = state_missing(spool->lane_state, file_bytes, &missing, err);
    bool claimed = code == WEIR_OK && missing > 0 && (code = space_claim(spool, missing, err)) == WEIR_OK;
    if (claimed) {
        code = state_reserve(spool->lane_state, file_bytes, err);
        space_made(spool, missing);
        space_give(spool, missing);
    }
    pthread_mutex_unlock(&spool->state_lock);
    if (claimed)
        space_count(spool);
    return code;
}

int spool_sync_state(struct spool *spool, struct weir_err *err)
{
    return state_commit(spool, false, err);
}
