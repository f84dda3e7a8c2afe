// SPDX-License-Identifier: Apache-2.0
// What is done with dead letters: marked to be sent again, delivered, refused again, purged. Each call is one transaction.
#include "storage/letters_priv.h"
#include "storage/spool_priv.h"

static int begin(struct spool *spool, struct letters_txn *x, struct weir_err *err)
{
    int code = letters_ready(spool, err);
    if (code == WEIR_E_NOT_FOUND)
        return weir_fail(err, code, "there is no such dead letter");
    if (code != WEIR_OK)
        return code;
    letters_limit_file(spool, true);
    return letters_begin(spool, x, err);
}

// A letter that is there and settled, with its lane and remark. WEIR_E_NOT_FOUND, WEIR_E_AGAIN.
struct found {
    struct letter_key key;
    struct letter_lane *lane;
    struct remark remark;
    uint64_t items;
    uint8_t copy[REMARK_BYTES_MAX];
};

static int find(struct letters_txn *x, const struct letter_id *id, struct found *out, struct weir_err *err)
{
    struct weir_slice value;
    struct letter_view view;
    letter_key_of(id, &out->key);
    if (!letters_value(x, &out->key, &value))
        return x->t.rc != 0 ? lmdb_fail(err, x->t.rc, "dead letter")
                            : weir_fail(err, WEIR_E_NOT_FOUND, "there is no such dead letter");
    if (!letter_view_head(value, &view))
        return weir_fail(err, WEIR_E_CORRUPT, "the dead letter is damaged");
    out->items = view.items;
    out->lane = letters_lane_of(x, &view);
    letters_remark_get(x, &out->key, out->copy, &out->remark);
    if (out->remark.settling)
        return weir_fail(err, WEIR_E_AGAIN, "the dead letter is just being stored: try again");
    return WEIR_OK;
}

// Whether there was something to change.
static bool change_one(struct letters_txn *x, enum letters_change change, struct found *f)
{
    bool mark = change == LETTERS_REDRIVE;
    if (change == LETTERS_PURGE)
        return letters_remove(x, &f->key, LETTER_PURGED, 0);
    if (f->lane == NULL || f->remark.redrive == mark)
        return false;
    f->remark.redrive = mark;
    letters_remark_set(x, &f->key, f->lane, &f->remark);
    return true;
}

int spool_letter_change(struct spool *spool, enum letters_change change, const struct letter_id *id,
                        struct weir_err *err)
{
    struct dead_letters *d = spool->dead_letters;
    struct letters_txn x;
    struct found f;
    letters_flush(spool); // what was settled may be changed at once
    pthread_mutex_lock(&d->lock);
    int code = begin(spool, &x, err);
    if (code == WEIR_OK) {
        code = find(&x, id, &f, err);
        if (code == WEIR_OK && letters_is_busy(spool, &f.key) && change != LETTERS_REDRIVE)
            code = weir_fail(err, WEIR_E_AGAIN, "the dead letter is just being sent: try again");
        if (code == WEIR_OK && (change_one(&x, change, &f) || x.t.rc != 0))
            code = letters_commit(&x, err);
        else
            letters_abort(&x);
    }
    pthread_mutex_unlock(&d->lock);
    return code;
}

struct some {
    struct letter_id *ids;
    size_t n;
};

static void collect(void *ctx, const struct letter_info *info)
{
    struct some *some = ctx;
    some->ids[some->n++] = info->id;
}

static int change_some(struct spool *spool, enum letters_change change, const struct some *some,
                       struct letters_walked *out, struct weir_err *err)
{
    struct letters_txn x;
    struct found f;
    out->letters = out->items = 0;
    if (some->n == 0)
        return WEIR_OK;
    int code = begin(spool, &x, err);
    if (code != WEIR_OK)
        return code;
    for (size_t i = 0; i < some->n && x.t.rc == 0; i++) {
        code = find(&x, &some->ids[i], &f, NULL);
        bool free = code == WEIR_OK && (change == LETTERS_REDRIVE || !letters_is_busy(spool, &f.key));
        out->skipped += !free && code != WEIR_E_NOT_FOUND;
        if (!free || !change_one(&x, change, &f))
            continue;
        out->letters++;
        out->items += f.items;
    }
    code = letters_commit(&x, err);
    if (code != WEIR_OK)
        out->letters = out->items = 0;
    return code;
}

int spool_letters_change(struct spool *spool, enum letters_change change, const struct letter_filter *filter,
                         const struct letter_id *after, struct letters_walked *out, struct weir_err *err)
{
    struct dead_letters *d = spool->dead_letters;
    struct some some = {.ids = calloc(LETTERS_AT_ONCE, sizeof(*some.ids))};
    *out = (struct letters_walked){0};
    if (some.ids == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "dead letters: out of memory");
    letters_flush(spool);
    pthread_mutex_lock(&d->lock);
    int code = letters_walk(spool, filter, after, LETTERS_AT_ONCE, collect, &some, out, err);
    if (code == WEIR_OK)
        code = change_some(spool, change, &some, out, err);
    pthread_mutex_unlock(&d->lock);
    free(some.ids);
    return code;
}

// --- the end of a redrive --------------------------------------------------------------------------------------------------

int spool_letter_delivered(struct spool *spool, const struct letter_id *id, uint64_t rejected, struct weir_err *err)
{
    struct dead_letters *d = spool->dead_letters;
    struct letters_txn x;
    struct found f;
    pthread_mutex_lock(&d->lock);
    letters_unbusy(spool, id);
    int code = begin(spool, &x, err);
    if (code == WEIR_OK) {
        code = find(&x, id, &f, err); // one that is being settled is another, of the same block, which was replayed
        if (code == WEIR_OK) {
            letters_remove(&x, &f.key, LETTER_REDRIVEN, rejected);
            code = letters_commit(&x, err);
        } else {
            letters_abort(&x);
        }
    }
    pthread_mutex_unlock(&d->lock);
    return code;
}

int spool_letter_refused(struct spool *spool, const struct letter_id *id, const char *code_text, const char *message,
                         struct weir_err *err)
{
    struct dead_letters *d = spool->dead_letters;
    struct letters_txn x;
    struct found f;
    pthread_mutex_lock(&d->lock);
    letters_unbusy(spool, id);
    int code = begin(spool, &x, err);
    if (code == WEIR_OK) {
        code = find(&x, id, &f, err);
        if (code == WEIR_OK && f.lane != NULL) {
            const struct remark refused = {.redrives = f.remark.redrives + 1,
                                           .redriven_ns = weir_now_unix_ns(),
                                           .code = {(const uint8_t *)code_text, strlen(code_text)},
                                           .message = {(const uint8_t *)message, strlen(message)}};
            letters_remark_set(&x, &f.key, f.lane, &refused);
            code = letters_commit(&x, err);
        } else {
            letters_abort(&x);
        }
    }
    pthread_mutex_unlock(&d->lock);
    return code;
}

// --- parts -----------------------------------------------------------------------------------------------------------------

// Adds a letter that is marked. False: there is one under that key.
static bool add_marked(struct letters_txn *x, struct weir_slice value)
{
    static const struct remark marked = {.redrive = true};
    struct weir_slice there;
    struct letter_view view;
    struct letter_key key;
    bool is = letter_view_head(value, &view);
    assert(is); // made here
    letter_key_put(&key, view.block, view.item, (const char *)view.upstream.data, view.upstream.len);
    if (letters_value(x, &key, &there))
        return false;
    letters_add(x, &key, &view, value, &marked);
    return true;
}

// Two take more pages than one, and what they may become yet more: within the quota and the room there is, or not at all.
static int split_locked(struct spool *spool, const struct letter_id *id, const struct weir_buf values[2],
                        struct weir_err *err)
{
    struct dead_letters *d = spool->dead_letters;
    struct letters_txn x;
    struct found f;
    int code = letters_ready(spool, err);
    if (code != WEIR_OK)
        return code;
    letters_limit_file(spool, false);
    code = letters_begin(spool, &x, err);
    if (code != WEIR_OK)
        return code;
    code = find(&x, id, &f, err);
    if (code == WEIR_OK)
        letters_remove(&x, &f.key, LETTER_FORGOTTEN, 0);
    for (size_t i = 0; i < 2 && code == WEIR_OK; i++)
        if (!add_marked(&x, (struct weir_slice){values[i].data, values[i].len}) && x.t.rc == 0)
            code = weir_fail(err, WEIR_E_AGAIN, "there is a dead letter of the same items");
    if (code == WEIR_OK && x.totals.bytes > spool->dead_letter_bytes && x.totals.bytes > d->totals.bytes)
        code = weir_fail(err, WEIR_E_LIMIT, "dead_letters.max_size is reached");
    if (code == WEIR_OK)
        return letters_commit(&x, err);
    letters_abort(&x);
    return code;
}

int spool_letter_split(struct spool *spool, const struct letter_id *id, const struct spool_dead_letter parts[2],
                       struct weir_err *err)
{
    struct dead_letters *d = spool->dead_letters;
    struct weir_buf values[2] = {{0}};
    int code = letter_encode(&parts[0], &values[0], err);
    if (code == WEIR_OK)
        code = letter_encode(&parts[1], &values[1], err);
    pthread_mutex_lock(&d->lock);
    if (code == WEIR_OK)
        code = split_locked(spool, id, values, err);
    if (code == WEIR_OK)
        letters_unbusy(spool, id);
    pthread_mutex_unlock(&d->lock);
    weir_buf_free(&values[0]);
    weir_buf_free(&values[1]);
    return code;
}
