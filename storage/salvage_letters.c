// SPDX-License-Identifier: Apache-2.0
// Dead letters: every one that is whole. They change places in their file as others come and go, so a page-by-page search of a damaged
// file may also find one that was removed: rather one too many than one lost.
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "storage/dead_letter.h"
#include "storage/salvage_priv.h"
#include "storage/segment.h"

#define SCAN_PAGE    4096u
#define SCAN_ROUNDS  4u // of the file's length: no more is read, whatever lengths its letters name
#define LETTERS_ROOM (1024u * 1024u)

struct letters_walk {
    salvage_letter_fn each;
    void *ctx;
    uint64_t *lost;
};

static int give_whole(void *ctx, struct weir_slice key, struct weir_slice value, const struct letter_view *view,
                      const char *damage, struct weir_err *err)
{
    (void)key;
    struct letters_walk *walk = ctx;
    if (damage == NULL)
        return walk->each(walk->ctx, value, view, err);
    ++*walk->lost;
    return WEIR_OK;
}

// A letter begins with its magic, anywhere in a page of the tree or at the beginning of pages of its own.
static int scan_page(struct letters_walk *walk, int fd, const uint8_t *page, uint64_t offset, uint64_t *budget,
                     struct weir_err *err)
{
    struct weir_buf value = {0};
    int code = WEIR_OK;
    for (size_t at = 0; code == WEIR_OK && at + 12 <= SCAN_PAGE; at++) {
        if (memcmp(page + at, "WDLT", 4) != 0)
            continue;
        uint32_t len = weir_get_u32(page + at + 8);
        struct letter_view view;
        if (len < LETTER_HEAD_BYTES + 8 || len > *budget)
            continue;
        *budget -= len;
        value.len = 0;
        if (!weir_buf_reserve(&value, len))
            code = weir_fail(err, WEIR_E_NOMEM, "dead letters: out of memory");
        else if (pread(fd, value.data, len, (off_t)(offset + at)) == (ssize_t)len &&
                 letter_view_parse((struct weir_slice){value.data, len}, &view, NULL) == WEIR_OK)
            code = walk->each(walk->ctx, (struct weir_slice){value.data, len}, &view, err);
    }
    weir_buf_free(&value);
    return code;
}

static int scan(struct inspect *inspect, struct letters_walk *walk, struct weir_err *err)
{
    char path[INSPECT_PATH_MAX];
    uint8_t page[SCAN_PAGE];
    int code = inspect_path(inspect, "deadletter.mdb", path, err);
    if (code != WEIR_OK)
        return code;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return WEIR_OK; // nothing in it can be saved
    uint64_t bytes = inspect_file_of(inspect, INSPECT_DEAD_LETTERS)->bytes, budget = SCAN_ROUNDS * bytes;
    for (uint64_t offset = 0; code == WEIR_OK && offset < bytes; offset += SCAN_PAGE) {
        ssize_t n = pread(fd, page, sizeof(page), (off_t)offset);
        if (n <= 0) // a bad sector: the next page may be read
            continue;
        memset(page + n, 0, sizeof(page) - (size_t)n);
        code = scan_page(walk, fd, page, offset, &budget, err);
    }
    close(fd);
    return code;
}

int salvage_letters_walk(struct inspect *inspect, salvage_letter_fn each, void *ctx, uint64_t *lost, bool *scanned,
                         struct weir_err *err)
{
    struct letters_walk walk = {each, ctx, lost};
    struct inspect_letters told;
    *lost = 0;
    *scanned = false;
    inspect_letters(inspect, &told);
    if (told.code == WEIR_E_NOT_FOUND)
        return WEIR_OK;
    if (told.code == WEIR_E_FORMAT || told.code == WEIR_E_NOMEM)
        return weir_fail(err, told.code, "deadletter.mdb: %s", told.text);
    int code = inspect_letters_walk(inspect, give_whole, &walk, err);
    if (code != WEIR_E_CORRUPT && code != WEIR_E_IO)
        return code;
    *scanned = true;
    return scan(inspect, &walk, err);
}

// --- writing ------------------------------------------------------------------------------------------------------------------

struct letters_file {
    struct lmdb_txn t;
    MDB_dbi main, letters;
    struct letter_totals totals;
};

static int put_letter(void *ctx, struct weir_slice value, const struct letter_view *view, struct weir_err *err)
{
    struct letters_file *f = ctx;
    uint8_t key[LETTER_KEY_BYTES + STATE_UPSTREAM_BYTES];
    size_t len = letter_key_put(key, view->block, view->request, (const char *)view->upstream.data, view->upstream.len);
    MDB_val k = {len, key}, v;
    struct letter_view other;
    bool again = f->t.rc == 0 && mdb_get(f->t.txn, f->letters, &k, &v) == 0;
    if (again && letter_view_parse((struct weir_slice){v.mv_data, v.mv_size}, &other, NULL) == WEIR_OK) {
        if (other.stored_ns >= view->stored_ns)
            return WEIR_OK; // an older copy of the same
        f->totals.requests--;
        f->totals.items -= other.items;
        f->totals.bytes -= letter_pages_bytes(v.mv_size);
    }
    lmdb_put(&f->t, f->letters, (struct weir_slice){key, len}, value, 0);
    f->totals.requests++;
    f->totals.items += view->items;
    f->totals.bytes += letter_pages_bytes(value.len);
    return f->t.rc == 0 ? WEIR_OK : lmdb_fail(err, f->t.rc, "dead letters");
}

int salvage_letters_write(struct inspect *inspect, const char *path, uint64_t *saved, struct weir_err *err)
{
    const struct inspect_file *old = inspect_file_of(inspect, INSPECT_DEAD_LETTERS);
    struct letters_file f = {0};
    uint8_t totals[LETTER_TOTALS_BYTES];
    uint64_t lost;
    bool scanned;
    MDB_env *env = NULL;
    int rc = mdb_env_create(&env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(env, (2 * old->bytes + LETTERS_ROOM) / SEGMENT_PAGE * SEGMENT_PAGE);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(env, 1);
    if (rc == 0)
        rc = mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK, 0600);
    if (rc == 0) {
        lmdb_begin(&f.t, env);
        if (f.t.rc == 0)
            f.t.rc = mdb_dbi_open(f.t.txn, NULL, 0, &f.main);
        if (f.t.rc == 0)
            f.t.rc = mdb_dbi_open(f.t.txn, "letters", MDB_CREATE, &f.letters);
        rc = f.t.rc;
    }
    int code = rc == 0 ? salvage_letters_walk(inspect, put_letter, &f, &lost, &scanned, err) : lmdb_fail(err, rc, path);
    if (code == WEIR_OK) {
        letter_totals_put(totals, &f.totals);
        lmdb_put(&f.t, f.main, (struct weir_slice){(const uint8_t *)"weir", 4},
                 (struct weir_slice){totals, sizeof(totals)}, 0);
        rc = lmdb_commit(&f.t);
        code = rc == 0 ? WEIR_OK : lmdb_fail(err, rc, path);
    } else if (f.t.txn != NULL) {
        mdb_txn_abort(f.t.txn);
    }
    if (env != NULL)
        mdb_env_close(env);
    *saved = f.totals.requests;
    return code;
}
