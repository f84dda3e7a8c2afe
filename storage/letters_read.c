// SPDX-License-Identifier: Apache-2.0
// Dead letters as a person or a worker sees them. A read takes the lock: without LMDB's own, none may be under way when a page is written.
#include "storage/letters_priv.h"
#include "storage/spool_priv.h"

struct letter {
    struct letter_info info;
    struct letter_view view;
    uint8_t remark[REMARK_BYTES_MAX];
    uint8_t value[];
};

struct letters_read {
    MDB_txn *txn;
    MDB_cursor *cursor;
};

// The cursor is of `dbi`. WEIR_E_NOT_FOUND: there is no file.
static int read_begin(struct spool *spool, bool remarks, struct letters_read *read, struct weir_err *err)
{
    struct dead_letters *d = spool->dead_letters;
    *read = (struct letters_read){0};
    int code = letters_ready(spool, err);
    if (code != WEIR_OK)
        return code;
    int rc = mdb_txn_begin(d->env, NULL, MDB_RDONLY, &read->txn);
    if (rc == 0)
        rc = mdb_cursor_open(read->txn, remarks ? d->remarks : d->letters, &read->cursor);
    if (rc == 0)
        return WEIR_OK;
    if (read->txn != NULL)
        mdb_txn_abort(read->txn);
    return lmdb_fail(err, rc, "dead letters");
}

static void read_end(struct letters_read *read)
{
    mdb_cursor_close(read->cursor);
    mdb_txn_abort(read->txn);
}

// To the first key behind `after` (NULL: the first of all).
static int seek(struct letters_read *read, const struct letter_id *after, MDB_val *k, MDB_val *v)
{
    if (after == NULL)
        return mdb_cursor_get(read->cursor, k, v, MDB_FIRST);
    struct letter_key key;
    letter_key_of(after, &key);
    *k = (MDB_val){key.len, key.bytes};
    int rc = mdb_cursor_get(read->cursor, k, v, MDB_SET_RANGE);
    bool same = rc == 0 && k->mv_size == key.len && memcmp(k->mv_data, key.bytes, key.len) == 0;
    return same ? mdb_cursor_get(read->cursor, k, v, MDB_NEXT) : rc;
}

static bool is_among(const char *name, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return names == NULL;
}

static bool matches(const struct letter_filter *filter, const struct letter_id *id, enum weir_signal signal)
{
    return is_among(id->upstream, filter->upstreams, filter->upstreams_n) &&
           (filter->upstream == NULL || strcmp(filter->upstream, id->upstream) == 0) &&
           (filter->signal < 0 || (int)signal == filter->signal);
}

static void info_make(const struct letter_id *id, const struct letter_view *view, const struct remark *remark,
                      struct letter_info *out)
{
    bool again = remark->redrives > 0;
    *out = (struct letter_info){.id = *id,
                                .signal = view->signal,
                                .code = again ? remark->code : view->code,
                                .message = again ? remark->message : view->message,
                                .envelope = view->envelope,
                                .attempts = view->attempts + remark->redrives,
                                .redrives = remark->redrives,
                                .items = view->items,
                                .raw_bytes = view->raw_bytes,
                                .received_ns = view->received_ns,
                                .stored_ns = view->stored_ns,
                                .time_min_ns = view->time_min_ns,
                                .time_max_ns = view->time_max_ns,
                                .redriven_ns = remark->redriven_ns,
                                .redrive = remark->redrive,
                                .settling = remark->settling};
}

int letters_walk(struct spool *spool, const struct letter_filter *filter, const struct letter_id *after, size_t limit,
                 letters_each_fn each, void *ctx, struct letters_walked *out, struct weir_err *err)
{
    struct letters_read read;
    MDB_val k, v;
    *out = (struct letters_walked){0};
    if (after != NULL)
        out->last = *after;
    int code = read_begin(spool, false, &read, err);
    if (code != WEIR_OK)
        return code == WEIR_E_NOT_FOUND ? WEIR_OK : code;
    unsigned looked = 0;
    int rc = seek(&read, after, &k, &v);
    for (; rc == 0 && looked < LETTERS_LOOK && out->letters < limit;
         rc = mdb_cursor_get(read.cursor, &k, &v, MDB_NEXT), looked++) {
        struct letter_key key;
        struct letter_view view;
        struct letter_info info;
        struct remark remark;
        uint8_t copy[REMARK_BYTES_MAX];
        if (!letter_key_get((struct weir_slice){k.mv_data, k.mv_size}, &out->last))
            continue;
        if (!letter_view_head((struct weir_slice){v.mv_data, v.mv_size}, &view) ||
            !matches(filter, &out->last, view.signal))
            continue;
        letter_key_of(&out->last, &key);
        letters_remark_read(read.txn, spool->dead_letters->remarks, &key, copy, &remark);
        info_make(&out->last, &view, &remark, &info);
        each(ctx, &info);
        out->letters++;
        out->items += view.items;
    }
    out->more = rc == 0;
    read_end(&read);
    return rc == 0 || rc == MDB_NOTFOUND ? WEIR_OK : lmdb_fail(err, rc, "dead letters");
}

int spool_letters_list(struct spool *spool, const struct letter_filter *filter, const struct letter_id *after,
                       size_t limit, letters_each_fn each, void *ctx, struct letters_walked *out, struct weir_err *err)
{
    pthread_mutex_lock(&spool->dead_letters->lock);
    int code = letters_walk(spool, filter, after, limit, each, ctx, out, err);
    pthread_mutex_unlock(&spool->dead_letters->lock);
    return code;
}

// --- one -------------------------------------------------------------------------------------------------------------------

static int copy_one(struct spool *spool, MDB_txn *txn, const struct letter_id *id, struct letter **out,
                    struct weir_err *err)
{
    struct dead_letters *d = spool->dead_letters;
    struct letter_key key;
    struct remark remark;
    letter_key_of(id, &key);
    MDB_val k = {key.len, key.bytes}, v;
    int rc = mdb_get(txn, d->letters, &k, &v);
    if (rc != 0)
        return weir_fail(err, lmdb_code(rc), rc == MDB_NOTFOUND ? "there is no such dead letter" : "dead letter: %s",
                         mdb_strerror(rc));
    struct letter *letter = malloc(sizeof(*letter) + v.mv_size);
    if (letter == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "dead letter of %zu bytes: out of memory", v.mv_size);
    memcpy(letter->value, v.mv_data, v.mv_size);
    int code = letter_view_parse((struct weir_slice){letter->value, v.mv_size}, &letter->view, err);
    if (code != WEIR_OK) {
        free(letter);
        return code;
    }
    letters_remark_read(txn, d->remarks, &key, letter->remark, &remark);
    info_make(id, &letter->view, &remark, &letter->info);
    *out = letter;
    return WEIR_OK;
}

int spool_letter_get(struct spool *spool, const struct letter_id *id, struct letter **out, struct weir_err *err)
{
    struct letters_read read;
    *out = NULL;
    pthread_mutex_lock(&spool->dead_letters->lock);
    int code = read_begin(spool, false, &read, err);
    if (code == WEIR_OK) {
        code = copy_one(spool, read.txn, id, out, err);
        read_end(&read);
    } else if (code == WEIR_E_NOT_FOUND) {
        weir_fail(err, code, "there is no such dead letter");
    }
    pthread_mutex_unlock(&spool->dead_letters->lock);
    return code;
}

const struct letter_info *letter_info_of(const struct letter *letter)
{
    return &letter->info;
}

int letter_decode(const struct letter *letter, struct weir_buf *out, struct weir_err *err)
{
    return letter_view_decode(&letter->view, out, err);
}

void letter_free(struct letter *letter)
{
    free(letter);
}

// --- for the worker --------------------------------------------------------------------------------------------------------

uint64_t spool_letters_marked(struct spool *spool, const char *upstream)
{
    struct dead_letters *d = spool->dead_letters;
    uint64_t marked = 0;
    pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i < d->lanes.n; i++)
        marked += strcmp(d->lanes.at[i].upstream, upstream) == 0 ? d->lanes.at[i].marked : 0;
    pthread_mutex_unlock(&d->lock);
    return marked;
}

static int find_marked(struct spool *spool, struct letters_read *read, const char *upstream,
                       const struct letter_id *after, struct letter_id *last)
{
    MDB_val k, v;
    unsigned looked = 0;
    int rc = seek(read, after, &k, &v);
    for (; rc == 0 && looked < LETTERS_LOOK; rc = mdb_cursor_get(read->cursor, &k, &v, MDB_NEXT), looked++) {
        struct letter_key key;
        struct remark remark;
        if (!letter_key_get((struct weir_slice){k.mv_data, k.mv_size}, last) || strcmp(last->upstream, upstream) != 0)
            continue;
        letter_key_of(last, &key);
        if (remark_get((struct weir_slice){v.mv_data, v.mv_size}, &remark, NULL) == WEIR_OK && remark.redrive &&
            !remark.settling && !letters_is_busy(spool, &key))
            return WEIR_OK;
    }
    return rc == 0 ? WEIR_E_AGAIN : lmdb_code(rc);
}

static bool busy_set(struct spool *spool, const struct letter_id *id, bool busy)
{
    struct dead_letters *d = spool->dead_letters;
    struct letter_key key;
    letter_key_of(id, &key);
    for (size_t i = 0; i < LETTERS_BUSY; i++) {
        struct letter_key *at = &d->busy[i];
        if (busy ? at->len != 0 : at->len != key.len || memcmp(at->bytes, key.bytes, key.len) != 0)
            continue;
        *at = busy ? key : (struct letter_key){.len = 0};
        return true;
    }
    return false;
}

void letters_unbusy(struct spool *spool, const struct letter_id *id)
{
    busy_set(spool, id, false);
}

int spool_letter_take(struct spool *spool, const char *upstream, const struct letter_id *after, struct letter **out,
                      struct letter_id *last, struct weir_err *err)
{
    struct letters_read read;
    *out = NULL;
    *last = (struct letter_id){0};
    pthread_mutex_lock(&spool->dead_letters->lock);
    int code = read_begin(spool, true, &read, err);
    if (code == WEIR_OK) {
        code = find_marked(spool, &read, upstream, after, last);
        bool found = code == WEIR_OK;
        if (found)
            code = copy_one(spool, read.txn, last, out, err);
        if (found && code == WEIR_E_NOT_FOUND)
            code = weir_fail(err, WEIR_E_CORRUPT, "there is a mark, and no dead letter");
        if (!found && code != WEIR_E_AGAIN)
            *last = (struct letter_id){0};
        read_end(&read);
        if (code == WEIR_OK && !busy_set(spool, last, true)) {
            letter_free(*out);
            *out = NULL;
            code = weir_fail(err, WEIR_E_LIMIT, "more than %u dead letters are being sent", LETTERS_BUSY);
        }
    }
    pthread_mutex_unlock(&spool->dead_letters->lock);
    return code;
}

// Whether it is there as it was taken, and still to be sent. A replay may have put another in its place.
static bool is_as_taken(struct spool *spool, MDB_txn *txn, const struct letter *letter)
{
    struct letter_key key;
    struct letter_view now;
    struct remark remark;
    uint8_t copy[REMARK_BYTES_MAX];
    letter_key_of(&letter->info.id, &key);
    MDB_val k = {key.len, key.bytes}, v;
    letters_remark_read(txn, spool->dead_letters->remarks, &key, copy, &remark);
    return remark.redrive && !remark.settling && mdb_get(txn, spool->dead_letters->letters, &k, &v) == 0 &&
           letter_view_head((struct weir_slice){v.mv_data, v.mv_size}, &now) &&
           now.stored_ns == letter->view.stored_ns && now.items == letter->view.items && !letters_is_busy(spool, &key);
}

int spool_letter_hold(struct spool *spool, const struct letter *letter, struct weir_err *err)
{
    struct letters_read read;
    pthread_mutex_lock(&spool->dead_letters->lock);
    int code = read_begin(spool, true, &read, err);
    if (code == WEIR_OK) {
        bool is = is_as_taken(spool, read.txn, letter);
        read_end(&read);
        if (!is)
            code = weir_fail(err, WEIR_E_NOT_FOUND, "the dead letter is not to be sent any more");
        else if (!busy_set(spool, &letter->info.id, true))
            code = weir_fail(err, WEIR_E_LIMIT, "more than %u dead letters are being sent", LETTERS_BUSY);
    }
    pthread_mutex_unlock(&spool->dead_letters->lock);
    return code;
}

void spool_letter_back(struct spool *spool, const struct letter_id *id)
{
    pthread_mutex_lock(&spool->dead_letters->lock);
    letters_unbusy(spool, id);
    pthread_mutex_unlock(&spool->dead_letters->lock);
}

void spool_letters_lanes(struct spool *spool, void (*each)(void *ctx, const struct letters_lane *lane), void *ctx)
{
    struct dead_letters *d = spool->dead_letters;
    pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i < d->lanes.n; i++) {
        const struct letter_lane *l = &d->lanes.at[i];
        const struct letters_lane lane = {.upstream = l->upstream,
                                          .signal = l->signal,
                                          .requests = l->requests,
                                          .items = l->items,
                                          .bytes = l->bytes,
                                          .marked = l->marked,
                                          .redriven_requests = l->redriven_requests,
                                          .purged_requests = l->purged_requests,
                                          .evicted_requests = l->evicted_requests,
                                          .redriven_items = l->moves.delivered,
                                          .rejected_items = l->moves.rejected,
                                          .purged_items = l->moves.discarded,
                                          .evicted_items = l->moves.evicted};
        each(ctx, &lane);
    }
    pthread_mutex_unlock(&d->lock);
}
