// SPDX-License-Identifier: Apache-2.0
// deadletter.mdb while the spool is open: made, opened, and made new when an earlier version wrote it.
#include <errno.h>
#include <sys/random.h>
#include <unistd.h>

#include "storage/letters_priv.h"
#include "storage/space.h"
#include "storage/spool_priv.h"
#include "storage/tree_check.h"

#define LETTERS_SLACK        (1024u * 1024u)
#define LETTERS_RESERVE_PART 32u // of max_bytes that segments leave to dead letters
#define REMOVAL_PAGES        64u // that a removal may take of the disk beyond the spool's limit, until it gives back more

void letters_drop_env(struct dead_letters *d)
{
    if (d->env != NULL)
        mdb_env_close(d->env);
    d->env = NULL;
}

// The quota, and room for the tree around it.
static uint64_t file_bytes_max(const struct spool *spool)
{
    return (spool->dead_letter_bytes + spool->dead_letter_bytes / 8 + LETTERS_SLACK) / SEGMENT_PAGE * SEGMENT_PAGE;
}

static int env_open(struct spool *spool, const char *path, struct weir_err *err)
{
    struct dead_letters *d = spool->dead_letters;
    int rc = mdb_env_create(&d->env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(d->env, file_bytes_max(spool));
    if (rc == 0)
        rc = mdb_env_set_maxdbs(d->env, LETTERS_DATABASES);
    if (rc == 0)
        rc = mdb_env_open(d->env, path, MDB_NOSUBDIR | MDB_NOLOCK, 0600);
    if (rc == 0)
        return WEIR_OK;
    letters_drop_env(d);
    return lmdb_open_fail(err, rc, path);
}

static int totals_load(MDB_txn *txn, struct dead_letters *d, struct weir_err *err)
{
    MDB_val k = {4, (void *)(uintptr_t) "weir"}, v;
    int rc = mdb_get(txn, d->main, &k, &v);
    if (rc != 0)
        return weir_fail(err, rc == MDB_NOTFOUND ? WEIR_E_CORRUPT : lmdb_code(rc), "totals: %s", mdb_strerror(rc));
    return letter_totals_get((struct weir_slice){v.mv_data, v.mv_size}, &d->totals, err);
}

// The databases that version 2 brought: both or none.
static int open_new_databases(MDB_txn *txn, struct dead_letters *d, unsigned flags)
{
    int rc = mdb_dbi_open(txn, "lanes", flags, &d->lanes_db);
    if (rc == 0)
        rc = mdb_dbi_open(txn, "remarks", flags, &d->remarks);
    return rc;
}

// Opens what is there; reads only. WEIR_E_NOT_FOUND.
static int file_open(struct spool *spool, struct weir_err *err)
{
    struct dead_letters *d = spool->dead_letters;
    char path[SPOOL_PATH_MAX];
    int code = spool_path(spool, "deadletter.mdb", path, err);
    if (code == WEIR_OK)
        code = tree_check_file(path, err);
    if (code == WEIR_OK)
        code = env_open(spool, path, err);
    if (code != WEIR_OK)
        return code;
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(d->env, NULL, MDB_RDONLY, &txn);
    if (rc == 0)
        rc = mdb_dbi_open(txn, NULL, 0, &d->main);
    if (rc == 0)
        rc = mdb_dbi_open(txn, "letters", 0, &d->letters);
    code = rc == 0 ? totals_load(txn, d, err) : WEIR_OK;
    d->old = code == WEIR_OK && d->totals.file_id == 0;
    if (rc == 0 && code == WEIR_OK && !d->old)
        rc = open_new_databases(txn, d, 0);
    if (rc != 0)
        code = weir_fail(err, rc == MDB_NOTFOUND ? WEIR_E_CORRUPT : lmdb_code(rc), "%s: %s", path, mdb_strerror(rc));
    else if (code == WEIR_OK && !d->old)
        code = letter_lanes_load(txn, d->lanes_db, &d->lanes, err);
    if (code == WEIR_OK)
        mdb_txn_commit(txn); // a read transaction: keeps the handles
    else
        mdb_txn_abort(txn);
    if (code != WEIR_OK)
        letters_drop_env(d);
    return code;
}

uint64_t letter_file_id(void)
{
    uint64_t id = 0;
    if (getrandom(&id, sizeof(id), 0) != (ssize_t)sizeof(id))
        id = weir_now_unix_ns();
    return id != 0 ? id : 1;
}

void letters_put_totals(struct lmdb_txn *t, const struct dead_letters *d, const struct letter_totals *totals)
{
    uint8_t record[LETTER_TOTALS_BYTES];
    letter_totals_put(record, totals);
    lmdb_put(t, d->main, (struct weir_slice){(const uint8_t *)"weir", 4}, (struct weir_slice){record, sizeof(record)},
             0);
}

void letters_put_lane(struct lmdb_txn *t, const struct dead_letters *d, const struct letter_lane *lane)
{
    uint8_t key[1 + STATE_UPSTREAM_BYTES], record[LETTER_LANE_BYTES];
    size_t len = letter_lane_key(key, lane);
    letter_lane_put(record, lane);
    lmdb_put(t, d->lanes_db, (struct weir_slice){key, len}, (struct weir_slice){record, sizeof(record)}, 0);
}

// Made under another name, so that a crash half-way leaves a temporary and no damaged file.
static int file_create(struct spool *spool, struct weir_err *err)
{
    struct dead_letters *d = spool->dead_letters;
    char path[SPOOL_PATH_MAX], temporary[SPOOL_PATH_MAX];
    int code = spool_path(spool, "deadletter.mdb", path, err);
    if (code == WEIR_OK)
        code = spool_path(spool, "deadletter.tmp", temporary, err);
    if (code == WEIR_OK && unlink(temporary) != 0 && errno != ENOENT)
        code = errno_fail(err, "remove", temporary);
    if (code == WEIR_OK)
        code = env_open(spool, temporary, err);
    if (code != WEIR_OK)
        return code;
    struct letter_totals totals = {.file_id = letter_file_id()};
    struct lmdb_txn t;
    lmdb_begin(&t, d->env);
    if (t.rc == 0)
        t.rc = mdb_dbi_open(t.txn, NULL, 0, &d->main);
    if (t.rc == 0)
        t.rc = mdb_dbi_open(t.txn, "letters", MDB_CREATE, &d->letters);
    if (t.rc == 0)
        t.rc = open_new_databases(t.txn, d, MDB_CREATE);
    letters_put_totals(&t, d, &totals);
    int rc = lmdb_commit(&t);
    if (rc != 0)
        code = lmdb_fail(err, rc, temporary);
    else if (rename(temporary, path) != 0)
        code = errno_fail(err, "rename to", path);
    else
        code = spool_sync_directory(spool, err);
    if (code != WEIR_OK) {
        letters_drop_env(d);
        return code;
    }
    d->old = false;
    d->totals = totals;
    d->lanes.n = 0;
    letters_enter_moves(spool, false);
    return code;
}

// Each lane's letters in a file of version 1, which did not count them.
static int count_lanes(struct lmdb_txn *t, struct dead_letters *d, struct weir_err *err)
{
    MDB_cursor *cursor;
    MDB_val k, v;
    int code = WEIR_OK, rc = mdb_cursor_open(t->txn, d->letters, &cursor);
    if (rc != 0)
        return lmdb_fail(err, rc, "dead letters");
    d->lanes.n = 0;
    for (rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST); rc == 0 && code == WEIR_OK;
         rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
        struct letter_view view;
        if (!letter_view_head((struct weir_slice){v.mv_data, v.mv_size}, &view))
            continue; // damaged: it counts in no lane
        struct letter_lane *lane =
            letter_lane_find(&d->lanes, (const char *)view.upstream.data, view.upstream.len, view.signal, true);
        if (lane == NULL)
            code = weir_fail(err, WEIR_E_NOMEM, "dead letters: out of memory");
        if (lane == NULL)
            break;
        lane->requests++;
        lane->items += view.items;
        lane->bytes += letter_pages_bytes(v.mv_size);
    }
    mdb_cursor_close(cursor);
    return code != WEIR_OK || rc == MDB_NOTFOUND ? code : lmdb_fail(err, rc, "dead letters");
}

// Makes a file of version 1 one of today. Its letters stay as they are.
static int make_new(struct spool *spool, struct weir_err *err)
{
    struct dead_letters *d = spool->dead_letters;
    struct letter_totals totals = d->totals;
    struct lmdb_txn t;
    totals.file_id = letter_file_id();
    letters_limit_file(spool, true);
    lmdb_begin(&t, d->env);
    int code = t.rc == 0 ? count_lanes(&t, d, err) : WEIR_OK;
    if (t.rc == 0 && code == WEIR_OK)
        t.rc = open_new_databases(t.txn, d, MDB_CREATE);
    for (size_t i = 0; code == WEIR_OK && i < d->lanes.n; i++)
        letters_put_lane(&t, d, &d->lanes.at[i]);
    letters_put_totals(&t, d, &totals);
    if (code != WEIR_OK) {
        mdb_txn_abort(t.txn);
        return code;
    }
    int rc = lmdb_commit(&t);
    if (rc != 0) {
        letters_drop_env(d);
        return lmdb_fail(err, rc, "dead letters");
    }
    d->totals = totals;
    d->old = false;
    return WEIR_OK;
}

int letters_ready(struct spool *spool, struct weir_err *err)
{
    struct dead_letters *d = spool->dead_letters;
    int code = d->env == NULL ? file_open(spool, err) : WEIR_OK;
    if (code == WEIR_OK && d->old)
        code = make_new(spool, err);
    if (code == WEIR_OK && !d->started)
        code = letters_resolve(spool, err);
    if (code != WEIR_OK)
        return code;
    letters_enter_moves(spool, !d->started);
    d->started = true;
    return WEIR_OK;
}

int letters_make(struct spool *spool, struct weir_err *err)
{
    int code = letters_ready(spool, err);
    bool aside = code == WEIR_E_CORRUPT && spool_set_aside(spool, "deadletter.mdb", err) == WEIR_OK;
    if (code != WEIR_E_NOT_FOUND && !aside)
        return code;
    code = file_create(spool, err);
    if (code == WEIR_OK && aside)
        letters_enter_moves(spool, true); // what was in it is lost
    return code;
}

uint64_t letters_limit_file(struct spool *spool, bool removal)
{
    struct dead_letters *d = spool->dead_letters;
    MDB_envinfo info;
    space_count(spool);
    pthread_mutex_lock(&spool->lock);
    uint64_t room = spool->max_bytes > spool->used_bytes ? spool->max_bytes - spool->used_bytes : 0;
    pthread_mutex_unlock(&spool->lock);
    if (mdb_env_info(d->env, &info) != 0)
        return room;
    uint64_t most = file_bytes_max(spool), now = (info.me_last_pgno + 1) * SEGMENT_PAGE;
    if (most > now && most - now > room)
        most = now + room;
    if (removal && most < now + (uint64_t)REMOVAL_PAGES * SEGMENT_PAGE)
        most = now + (uint64_t)REMOVAL_PAGES * SEGMENT_PAGE;
    most = most / SEGMENT_PAGE * SEGMENT_PAGE;
    if (most != info.me_mapsize)
        mdb_env_set_mapsize(d->env, most); // no transaction is open; never below what is used
    return room;
}

// --- life ------------------------------------------------------------------------------------------------------------------

int dead_letters_open(struct spool *spool, bool *damaged, struct weir_err *err)
{
    *damaged = false;
    struct dead_letters *d = spool->dead_letters = calloc(1, sizeof(*spool->dead_letters));
    if (d == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "dead letters: out of memory");
    pthread_mutex_init(&d->lock, NULL);
    pthread_mutex_init(&d->settling_lock, NULL);
    pthread_mutex_init(&d->flush_lock, NULL);
    int code = file_open(spool, err);
    *damaged = code == WEIR_E_CORRUPT;
    if (code == WEIR_OK || code == WEIR_E_NOT_FOUND || code == WEIR_E_CORRUPT)
        return WEIR_OK;
    return weir_wrap(err, "deadletter.mdb");
}

void dead_letters_start(struct spool *spool)
{
    struct dead_letters *d = spool->dead_letters;
    pthread_mutex_lock(&d->lock);
    int code = letters_ready(spool, NULL); // when it cannot now, as on a full disk, then with the first letter
    if (code == WEIR_E_NOT_FOUND) {
        letters_enter_moves(spool, true);
        d->started = true;
    }
    pthread_mutex_unlock(&d->lock);
}

void dead_letters_close(struct spool *spool)
{
    struct dead_letters *d = spool->dead_letters;
    if (d == NULL)
        return;
    letters_drop_env(d);
    free(d->lanes.at);
    free(d->settling);
    pthread_mutex_destroy(&d->lock);
    pthread_mutex_destroy(&d->settling_lock);
    pthread_mutex_destroy(&d->flush_lock);
    free(d);
    spool->dead_letters = NULL;
}

void dead_letters_stats(struct spool *spool, struct spool_stats *out)
{
    pthread_mutex_lock(&spool->dead_letters->lock);
    struct letter_totals totals = spool->dead_letters->totals;
    const struct letter_lanes *lanes = &spool->dead_letters->lanes;
    for (size_t i = 0; i < lanes->n; i++) {
        out->dead_letters_marked += lanes->at[i].marked;
        out->dead_letters_redriven += lanes->at[i].redriven_requests;
        out->dead_letters_purged += lanes->at[i].purged_requests;
        out->dead_letters_evicted += lanes->at[i].evicted_requests;
    }
    pthread_mutex_unlock(&spool->dead_letters->lock);
    out->dead_letter_requests = totals.requests;
    out->dead_letter_items = totals.items;
    out->dead_letter_bytes = totals.bytes;
}

uint64_t dead_letters_reserve(struct spool *spool)
{
    uint64_t reserve = spool->max_bytes / LETTERS_RESERVE_PART;
    if (reserve > spool->dead_letter_bytes)
        reserve = spool->dead_letter_bytes;
    pthread_mutex_lock(&spool->dead_letters->lock);
    uint64_t used = spool->dead_letters->totals.bytes;
    pthread_mutex_unlock(&spool->dead_letters->lock);
    return used < reserve ? reserve - used : 0;
}
