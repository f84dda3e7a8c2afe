// SPDX-License-Identifier: Apache-2.0
// deadletter.mdb: requests that an upstream will not take, kept for a person, within a quota of its own.
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include "storage/dead_letter.h"
#include "storage/spool_priv.h"
#include "storage/tree_check.h"

#define LETTER_TEXT_MAX      4096u // of code and message each: they come from an upstream
#define LETTERS_SLACK        (1024u * 1024u)
#define LETTERS_RESERVE_PART 32u // of max_bytes that segments leave to dead letters

struct dead_letters {
    pthread_mutex_t lock;
    MDB_env *env; // NULL: no file yet, or a commit failed
    MDB_dbi main, letters;
    struct letter_totals totals;
};

static int totals_get(MDB_txn *txn, struct dead_letters *d, struct letter_totals *out, struct weir_err *err)
{
    MDB_val k = {4, (void *)(uintptr_t) "weir"}, v;
    int rc = mdb_get(txn, d->main, &k, &v);
    if (rc != 0)
        return weir_fail(err, rc == MDB_NOTFOUND ? WEIR_E_CORRUPT : lmdb_code(rc), "totals: %s", mdb_strerror(rc));
    return letter_totals_get((struct weir_slice){v.mv_data, v.mv_size}, out, err);
}

static void letters_drop_env(struct dead_letters *d)
{
    if (d->env != NULL)
        mdb_env_close(d->env);
    d->env = NULL;
}

static int letters_env(struct spool *spool, const char *path, struct weir_err *err)
{
    struct dead_letters *d = spool->dead_letters;
    int rc = mdb_env_create(&d->env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(d->env, (spool->dead_letter_bytes + LETTERS_SLACK) / SEGMENT_PAGE * SEGMENT_PAGE);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(d->env, 1);
    if (rc == 0)
        rc = mdb_env_open(d->env, path, MDB_NOSUBDIR | MDB_NOLOCK, 0600);
    if (rc == 0)
        return WEIR_OK;
    letters_drop_env(d);
    return lmdb_open_fail(err, rc, path);
}

// Opens what is there; reads only. WEIR_E_NOT_FOUND.
static int letters_open(struct spool *spool, struct weir_err *err)
{
    struct dead_letters *d = spool->dead_letters;
    char path[SPOOL_PATH_MAX];
    int code = spool_path(spool, "deadletter.mdb", path, err);
    if (code == WEIR_OK)
        code = tree_check_file(path, err);
    if (code == WEIR_OK)
        code = letters_env(spool, path, err);
    if (code != WEIR_OK)
        return code;
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(d->env, NULL, MDB_RDONLY, &txn);
    if (rc == 0)
        rc = mdb_dbi_open(txn, NULL, 0, &d->main);
    if (rc == 0)
        rc = mdb_dbi_open(txn, "letters", 0, &d->letters);
    code = rc == 0
               ? totals_get(txn, d, &d->totals, err)
               : weir_fail(err, rc == MDB_NOTFOUND ? WEIR_E_CORRUPT : lmdb_code(rc), "%s: %s", path, mdb_strerror(rc));
    if (code == WEIR_OK)
        mdb_txn_commit(txn); // a read transaction: keeps the handles
    else
        mdb_txn_abort(txn);
    if (code != WEIR_OK)
        letters_drop_env(d);
    return code;
}

// Made under another name, so that a crash half-way leaves a temporary and no damaged file.
static int letters_create(struct spool *spool, struct weir_err *err)
{
    struct dead_letters *d = spool->dead_letters;
    char path[SPOOL_PATH_MAX], temporary[SPOOL_PATH_MAX];
    int code = spool_path(spool, "deadletter.mdb", path, err);
    if (code == WEIR_OK)
        code = spool_path(spool, "deadletter.tmp", temporary, err);
    if (code == WEIR_OK && unlink(temporary) != 0 && errno != ENOENT)
        code = errno_fail(err, "remove", temporary);
    if (code == WEIR_OK)
        code = letters_env(spool, temporary, err);
    if (code != WEIR_OK)
        return code;
    uint8_t none[LETTER_TOTALS_BYTES];
    d->totals = (struct letter_totals){0};
    letter_totals_put(none, &d->totals);
    struct lmdb_txn t;
    lmdb_begin(&t, d->env);
    if (t.rc == 0)
        t.rc = mdb_dbi_open(t.txn, NULL, 0, &d->main);
    if (t.rc == 0)
        t.rc = mdb_dbi_open(t.txn, "letters", MDB_CREATE, &d->letters);
    lmdb_put(&t, d->main, (struct weir_slice){(const uint8_t *)"weir", 4}, (struct weir_slice){none, sizeof(none)}, 0);
    int rc = lmdb_commit(&t);
    if (rc != 0)
        code = lmdb_fail(err, rc, temporary);
    else if (rename(temporary, path) != 0)
        code = errno_fail(err, "rename to", path);
    else
        code = spool_sync_directory(spool, err);
    if (code != WEIR_OK)
        letters_drop_env(d);
    return code;
}

int dead_letters_open(struct spool *spool, bool *damaged, struct weir_err *err)
{
    *damaged = false;
    spool->dead_letters = calloc(1, sizeof(*spool->dead_letters));
    if (spool->dead_letters == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "dead letters: out of memory");
    pthread_mutex_init(&spool->dead_letters->lock, NULL);
    int code = letters_open(spool, err);
    *damaged = code == WEIR_E_CORRUPT;
    if (code == WEIR_OK || code == WEIR_E_NOT_FOUND || code == WEIR_E_CORRUPT)
        return WEIR_OK;
    return weir_wrap(err, "deadletter.mdb");
}

void dead_letters_close(struct spool *spool)
{
    if (spool->dead_letters == NULL)
        return;
    letters_drop_env(spool->dead_letters);
    pthread_mutex_destroy(&spool->dead_letters->lock);
    free(spool->dead_letters);
    spool->dead_letters = NULL;
}

void dead_letters_stats(struct spool *spool, struct spool_stats *out)
{
    pthread_mutex_lock(&spool->dead_letters->lock);
    struct letter_totals totals = spool->dead_letters->totals;
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

// One record: head, upstream, code, message, envelope, frame, checksum.
static int letter_encode(const struct spool_dead_letter *letter, struct weir_buf *out, struct weir_err *err)
{
    size_t upstream = strlen(letter->upstream);
    size_t code = strnlen(letter->code, LETTER_TEXT_MAX), message = strnlen(letter->message, LETTER_TEXT_MAX);
    size_t text = upstream + code + message + letter->envelope.len;
    if (upstream == 0 || upstream > STATE_UPSTREAM_BYTES || letter->envelope.len > BLOCK_ENVELOPE_BYTES_MAX ||
        letter->raw.len > BLOCK_RAW_BYTES_MAX)
        return weir_fail(err, WEIR_E_LIMIT, "dead letter of %zu bytes for %.64s", letter->raw.len, letter->upstream);
    size_t bound = ZSTD_compressBound(letter->raw.len);
    if (!weir_buf_reserve(out, LETTER_HEAD_BYTES + text + bound + 8))
        return weir_fail(err, WEIR_E_NOMEM, "dead letter of %zu bytes: out of memory", letter->raw.len);
    size_t frame = ZSTD_compress(out->data + LETTER_HEAD_BYTES + text, bound, letter->raw.data, letter->raw.len, 1);
    if (ZSTD_isError(frame))
        return weir_fail(err, WEIR_E_NOMEM, "dead letter: zstd: %s", ZSTD_getErrorName(frame));
    uint32_t bytes = (uint32_t)(LETTER_HEAD_BYTES + text + frame + 8);
    uint8_t *p = out->data;
    assert(p != NULL);                          // room was reserved
    record_begin(p, "WDLT", LETTER_HEAD_BYTES); // zeroes the head alone
    weir_put_u32(p + 8, bytes);
    weir_put_u32(p + 12, letter->attempts);
    weir_put_u64(p + 16, letter->block);
    weir_put_u64(p + 24, letter->request);
    weir_put_u64(p + 32, letter->items);
    weir_put_u64(p + 40, letter->received_ns);
    weir_put_u64(p + 48, weir_now_unix_ns());
    weir_put_u64(p + 56, letter->raw.len);
    weir_put_u64(p + 64, frame);
    weir_put_u32(p + 72, (uint32_t)letter->envelope.len);
    weir_put_u16(p + 76, (uint16_t)upstream);
    weir_put_u16(p + 78, (uint16_t)code);
    weir_put_u16(p + 80, (uint16_t)message);
    p[82] = (uint8_t)letter->signal;
    p[83] = BLOCK_CODEC_ZSTD;
    out->len = LETTER_HEAD_BYTES;
    weir_buf_append(out, letter->upstream, upstream); // room is reserved
    weir_buf_append(out, letter->code, code);
    weir_buf_append(out, letter->message, message);
    weir_buf_append(out, letter->envelope.data, letter->envelope.len);
    out->len = bytes;
    record_seal(out->data, bytes);
    return WEIR_OK;
}

// What a letter under the same key took: it is replaced.
static void subtract_old(struct lmdb_txn *t, MDB_dbi letters, struct weir_slice key, struct letter_totals *totals)
{
    MDB_val k = {key.len, (void *)(uintptr_t)key.data}, v;
    if (t->rc != 0 || mdb_get(t->txn, letters, &k, &v) != 0)
        return;
    struct weir_slice old = {v.mv_data, v.mv_size};
    totals->requests -= totals->requests > 0;
    totals->bytes -= letter_pages_bytes(old.len) < totals->bytes ? letter_pages_bytes(old.len) : totals->bytes;
    if (record_check(old, "WDLT", LETTER_HEAD_BYTES + 8, NULL) == WEIR_OK) {
        uint64_t items = weir_get_u64(old.data + 32);
        totals->items -= items < totals->items ? items : totals->items;
    }
}

// Within the quota the file grows as far as there is room in the whole, and no further. Returns that room.
static uint64_t limit_file(struct spool *spool, struct dead_letters *d)
{
    MDB_envinfo info;
    space_count(spool);
    pthread_mutex_lock(&spool->lock);
    uint64_t room = spool->max_bytes > spool->used_bytes ? spool->max_bytes - spool->used_bytes : 0;
    pthread_mutex_unlock(&spool->lock);
    if (mdb_env_info(d->env, &info) != 0)
        return room;
    uint64_t most = spool->dead_letter_bytes + LETTERS_SLACK, now = (info.me_last_pgno + 1) * SEGMENT_PAGE;
    if (most > now && most - now > room)
        most = now + room;
    most = most / SEGMENT_PAGE * SEGMENT_PAGE;
    if (most != info.me_mapsize)
        mdb_env_set_mapsize(d->env, most); // no transaction is open; never below what is used
    return room;
}

static int letter_store(struct spool *spool, struct weir_slice key, struct weir_slice value, uint64_t items,
                        struct weir_err *err)
{
    struct dead_letters *d = spool->dead_letters;
    struct letter_totals after = d->totals;
    uint64_t room = limit_file(spool, d);
    uint8_t totals[LETTER_TOTALS_BYTES];
    struct lmdb_txn t;
    lmdb_begin(&t, d->env);
    subtract_old(&t, d->letters, key, &after);
    after.requests++;
    after.items += items;
    after.bytes += letter_pages_bytes(value.len);
    if (after.bytes > spool->dead_letter_bytes && t.rc == 0)
        t.rc = MDB_MAP_FULL;
    letter_totals_put(totals, &after);
    lmdb_put(&t, d->letters, key, value, 0);
    lmdb_put(&t, d->main, (struct weir_slice){(const uint8_t *)"weir", 4}, (struct weir_slice){totals, sizeof(totals)},
             0);
    bool aborted = t.rc != 0;
    int rc = lmdb_commit(&t);
    if (rc == 0) {
        d->totals = after;
        return WEIR_OK;
    }
    if (!aborted)
        letters_drop_env(d); // whether the commit is there shows when it is opened again
    if (rc == MDB_MAP_FULL && after.bytes <= spool->dead_letter_bytes) {
        atomic_store(&spool->letter_room_wanted, value.len + SEGMENT_PAGE * SEGMENT_PAGES_SPARE);
        keeper_wake(spool);
        return weir_fail(err, WEIR_E_FULL, "dead letter of %zu bytes: the spool has room for %llu", value.len,
                         (unsigned long long)room);
    }
    int code = lmdb_fail(err, rc, "dead letter");
    space_count(spool); // an I/O error is also what a full disk looks like from a commit
    pthread_mutex_lock(&spool->lock);
    uint64_t free_bytes = spool->disk_free_bytes;
    pthread_mutex_unlock(&spool->lock);
    if (code == WEIR_E_IO && free_bytes < value.len + SEGMENT_PAGE * SEGMENT_PAGES_SPARE)
        return weir_fail(err, WEIR_E_FULL, "dead letter of %zu bytes: the disk has %llu left", value.len,
                         (unsigned long long)free_bytes);
    return code;
}

int spool_dead_letter_put(struct spool *spool, const struct spool_dead_letter *letter, struct weir_err *err)
{
    struct dead_letters *d = spool->dead_letters;
    struct weir_buf value = {0};
    int code = letter_encode(letter, &value, err);
    if (code != WEIR_OK) {
        weir_buf_free(&value);
        return code;
    }
    uint8_t key[LETTER_KEY_BYTES + STATE_UPSTREAM_BYTES];
    size_t key_bytes = letter_key_put(key, letter->block, letter->request, letter->upstream, strlen(letter->upstream));
    pthread_mutex_lock(&d->lock);
    if (d->env == NULL)
        code = letters_open(spool, err);
    bool make = code == WEIR_E_NOT_FOUND;
    if (code == WEIR_E_CORRUPT) {
        code = spool_set_aside(spool, "deadletter.mdb", err);
        make = code == WEIR_OK;
    }
    if (make)
        code = letters_create(spool, err);
    if (code == WEIR_OK)
        code = letter_store(spool, (struct weir_slice){key, key_bytes}, (struct weir_slice){value.data, value.len},
                            letter->items, err);
    pthread_mutex_unlock(&d->lock);
    weir_buf_free(&value);
    return code;
}
