// SPDX-License-Identifier: Apache-2.0
// The dead letters of a spool at rest: by LMDB, read only, after its tree was looked at.
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "storage/inspect_priv.h"
#include "storage/letters_priv.h"
#include "storage/segment.h"
#include "storage/tree_check.h"

// The file while it is read.
struct letters_file {
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi main, letters, lanes, remarks;
    struct letter_totals totals;
    bool totals_known;
};

// What a map would end the process over, a sector that cannot be read, is an error code here.
int inspect_read_through(const char *path, uint64_t *bytes, struct weir_err *err)
{
    uint8_t *chunk = malloc(INSPECT_CHUNK_BYTES);
    if (chunk == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "%s: out of memory", path);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : 1;
    for (*bytes = 0; n > 0; *bytes += n > 0 ? (uint64_t)n : 0)
        n = pread(fd, chunk, INSPECT_CHUNK_BYTES, (off_t)*bytes);
    int code = n < 0 ? errno_fail(err, "read", path) : WEIR_OK;
    if (fd >= 0)
        close(fd);
    free(chunk);
    return code;
}

static void letters_close(struct letters_file *f)
{
    if (f->txn != NULL)
        mdb_txn_abort(f->txn);
    if (f->env != NULL)
        mdb_env_close(f->env);
}

static int totals_read(struct letters_file *f, struct letter_totals *out, struct weir_err *err)
{
    MDB_val k = {4, (void *)(uintptr_t) "weir"}, v;
    int rc = mdb_get(f->txn, f->main, &k, &v);
    if (rc != 0)
        return weir_fail(err, WEIR_E_CORRUPT, "deadletter.mdb: totals: %s", mdb_strerror(rc));
    return letter_totals_get((struct weir_slice){v.mv_data, v.mv_size}, out, err);
}

static int letters_open(const struct inspect *inspect, struct letters_file *f, struct weir_err *err)
{
    char path[INSPECT_PATH_MAX];
    uint64_t bytes;
    *f = (struct letters_file){0};
    if (inspect_file_of(inspect, INSPECT_DEAD_LETTERS) == NULL)
        return weir_fail(err, WEIR_E_NOT_FOUND, "there is no deadletter.mdb");
    int code = inspect_path(inspect, "deadletter.mdb", path, err);
    if (code == WEIR_OK)
        code = inspect_read_through(path, &bytes, err);
    if (code == WEIR_OK)
        code = tree_check_file(path, err);
    if (code != WEIR_OK)
        return code;
    int rc = mdb_env_create(&f->env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(f->env, bytes / SEGMENT_PAGE * SEGMENT_PAGE);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(f->env, LETTERS_DATABASES);
    if (rc == 0)
        rc = mdb_env_open(f->env, path, MDB_RDONLY | MDB_NOSUBDIR | MDB_NOLOCK, 0600);
    if (rc == 0)
        rc = mdb_txn_begin(f->env, NULL, MDB_RDONLY, &f->txn);
    if (rc == 0)
        rc = mdb_dbi_open(f->txn, NULL, 0, &f->main);
    if (rc == 0)
        rc = mdb_dbi_open(f->txn, "letters", 0, &f->letters);
    // Totals that are damaged are found by who asks for them; version 1 has the letters alone.
    f->totals_known = rc == 0 && totals_read(f, &f->totals, NULL) == WEIR_OK;
    if (rc == 0 && f->totals_known && f->totals.file_id != 0)
        rc = mdb_dbi_open(f->txn, "lanes", 0, &f->lanes);
    if (rc == 0 && f->totals_known && f->totals.file_id != 0)
        rc = mdb_dbi_open(f->txn, "remarks", 0, &f->remarks);
    if (rc == 0)
        return WEIR_OK;
    letters_close(f);
    return weir_fail(err, rc == MDB_NOTFOUND ? WEIR_E_CORRUPT : lmdb_code(rc), "%s: %s", path, mdb_strerror(rc));
}

void inspect_letters(struct inspect *inspect, struct inspect_letters *out)
{
    struct letters_file f;
    struct letter_totals totals = {0};
    struct weir_err why = {0};
    int code = letters_open(inspect, &f, &why);
    if (code == WEIR_OK) {
        code = totals_read(&f, &totals, &why);
        letters_close(&f);
    }
    *out = (struct inspect_letters){.code = code,
                                    .requests = totals.requests,
                                    .items = totals.items,
                                    .bytes = totals.bytes,
                                    .counted = totals.file_id != 0};
    snprintf(out->text, sizeof(out->text), "%s", why.text);
}

int inspect_letters_walk(struct inspect *inspect, inspect_letter_walk_fn each, void *ctx, struct weir_err *err)
{
    struct letters_file f;
    int code = letters_open(inspect, &f, err);
    if (code != WEIR_OK)
        return code;
    MDB_cursor *cursor = NULL;
    MDB_val k, v;
    int rc = mdb_cursor_open(f.txn, f.letters, &cursor);
    if (rc == 0)
        rc = mdb_cursor_get(cursor, &k, &v, MDB_FIRST);
    for (; rc == 0 && code == WEIR_OK; rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
        struct weir_slice key = {k.mv_data, k.mv_size}, value = {v.mv_data, v.mv_size};
        struct letter_view view = {0};
        struct remark remark = {0};
        uint8_t copy[REMARK_BYTES_MAX];
        struct weir_err why = {0};
        int parsed = letter_view_parse(value, &view, &why);
        struct letter_key expected;
        if (parsed == WEIR_OK)
            letter_key_put(&expected, view.block, view.item, (const char *)view.upstream.data, view.upstream.len);
        if (parsed == WEIR_OK && (expected.len != key.len || memcmp(expected.bytes, key.data, key.len) != 0))
            parsed = weir_fail(&why, WEIR_E_CORRUPT, "dead letter of block %llu: it lies under another's key",
                               (unsigned long long)view.block);
        if (parsed == WEIR_OK && f.totals_known && f.totals.file_id != 0)
            letters_remark_read(f.txn, f.remarks, &expected, copy, &remark);
        code = each(ctx, key, value, &view, &remark, parsed == WEIR_OK ? NULL : why.text, err);
    }
    if (code == WEIR_OK && rc != MDB_NOTFOUND)
        code = weir_fail(err, WEIR_E_CORRUPT, "deadletter.mdb: %s", mdb_strerror(rc));
    if (cursor != NULL)
        mdb_cursor_close(cursor);
    letters_close(&f);
    return code;
}

struct letters_walk {
    inspect_letter_fn each;
    void *ctx;
    bool decode;
    struct weir_buf raw;
};

static const char *text_of(struct weir_slice slice, char *out, size_t cap)
{
    snprintf(out, cap, "%.*s", (int)slice.len, slice.data != NULL ? (const char *)slice.data : "");
    return out;
}

static int give_letter(void *ctx, struct weir_slice key, struct weir_slice value, const struct letter_view *view,
                       const struct remark *remark, const char *damage, struct weir_err *err)
{
    struct letters_walk *walk = ctx;
    char upstream[STATE_UPSTREAM_BYTES + 1], code[4097], message[4097];
    struct weir_err why = {0};
    walk->raw.len = 0;
    if (damage == NULL && walk->decode) {
        int decoded = letter_view_decode(view, &walk->raw, &why);
        if (decoded == WEIR_E_NOMEM)
            return weir_fail(err, decoded, "%s", why.text);
        damage = decoded == WEIR_OK ? NULL : why.text;
    }
    const struct inspect_letter letter = {
        .letter = {.upstream = text_of(view->upstream, upstream, sizeof(upstream)),
                   .signal = view->signal,
                   .code = text_of(view->code, code, sizeof(code)),
                   .message = text_of(view->message, message, sizeof(message)),
                   .attempts = view->attempts,
                   .block = view->block,
                   .item = view->item,
                   .items = view->items,
                   .received_ns = view->received_ns,
                   .time_min_ns = view->time_min_ns,
                   .time_max_ns = view->time_max_ns,
                   .envelope = view->envelope,
                   .raw = {walk->raw.data, walk->raw.len}},
        .raw_bytes = view->raw_bytes,
        .stored_ns = view->stored_ns,
        .redrives = remark->redrives,
        .redriven_ns = remark->redriven_ns,
        .redrive = remark->redrive,
        .settling = remark->settling,
        .damage = damage,
    };
    return walk->each(walk->ctx, &letter, err);
}

int inspect_letters_each(struct inspect *inspect, bool decode, inspect_letter_fn each, void *ctx, struct weir_err *err)
{
    struct letters_walk walk = {.each = each, .ctx = ctx, .decode = decode};
    int code = inspect_letters_walk(inspect, give_letter, &walk, err);
    weir_buf_free(&walk.raw);
    return code == WEIR_E_NOT_FOUND ? WEIR_OK : code;
}

int inspect_letter_lanes(struct inspect *inspect, struct letter_totals *totals, struct letter_lanes *out,
                         struct weir_err *err)
{
    struct letters_file f;
    *out = (struct letter_lanes){0};
    *totals = (struct letter_totals){0};
    int code = letters_open(inspect, &f, err);
    if (code != WEIR_OK)
        return code;
    code = totals_read(&f, totals, err);
    if (code == WEIR_OK && totals->file_id != 0)
        code = letter_lanes_load(f.txn, f.lanes, out, err);
    letters_close(&f);
    return code;
}
