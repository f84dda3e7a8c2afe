// SPDX-License-Identifier: Apache-2.0
// Notes: in memory, sorted by key, and made durable with the lanes' state. Copies go both ways under lanes_lock, which is also what makes
// a note and a settlement keep their order.
#include "storage/spool_priv.h"

#define RESERVE_STEP (256u * 1024u) // of the file, at least

// Where the key is, or would be.
static size_t find(const struct notes *notes, const char *key, bool *found)
{
    size_t low = 0, high = notes->n;
    *found = false;
    while (low < high && !*found) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(notes->at[middle].key, key);
        *found = order == 0;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return high;
}

static uint64_t bytes_of(const struct note *note)
{
    return note->removed ? 0 : strlen(note->key) + note->len;
}

// A new entry without a value, as removed and durable. NULL: no memory.
static struct note *insert(struct notes *notes, size_t at, const char *key)
{
    if (notes->n == notes->cap) {
        size_t cap = notes->cap == 0 ? 16 : notes->cap * 2;
        struct note *more = realloc(notes->at, cap * sizeof(*more));
        if (more == NULL)
            return NULL;
        notes->at = more;
        notes->cap = cap;
    }
    assert(notes->at != NULL);
    char *copy = strdup(key);
    if (copy == NULL)
        return NULL;
    memmove(notes->at + at + 1, notes->at + at, (notes->n++ - at) * sizeof(*notes->at));
    notes->at[at] = (struct note){.key = copy, .removed = true};
    return &notes->at[at];
}

static void drop(struct notes *notes, size_t at)
{
    free(notes->at[at].key);
    free(notes->at[at].value);
    memmove(notes->at + at, notes->at + at + 1, (--notes->n - at) * sizeof(*notes->at));
}

// Gives the entry a value, which it takes over.
static void set(struct notes *notes, struct note *note, uint8_t *value, size_t len, bool removed)
{
    notes->bytes -= bytes_of(note);
    free(note->value);
    note->value = value;
    note->len = len;
    note->removed = removed;
    note->dirty = true;
    notes->bytes += bytes_of(note);
}

// --- with the state -----------------------------------------------------------------------------------------------------

struct loading {
    struct spool *spool;
    uint32_t damaged;
};

static int load_one(void *ctx, const char *key, struct weir_slice value, const char *damage, struct weir_err *err)
{
    struct loading *l = ctx;
    struct notes *notes = &l->spool->notes;
    bool found;
    size_t at = find(notes, key, &found);
    l->damaged += damage != NULL;
    if (found || key[0] == '\0' || notes->n == SPOOL_NOTES_MAX) // a damaged key
        return WEIR_OK;
    struct note *note = insert(notes, at, key);
    uint8_t *copy = malloc(value.len + 1);
    if (note == NULL || copy == NULL) {
        free(copy);
        return weir_fail(err, WEIR_E_NOMEM, "notes: out of memory");
    }
    if (value.len > 0)
        memcpy(copy, value.data, value.len);
    set(notes, note, copy, value.len, damage != NULL); // what is damaged leaves the file with the next commit
    note->dirty = damage != NULL;
    return WEIR_OK;
}

int notes_load(struct spool *spool, struct state *state, uint32_t *damaged, struct weir_err *err)
{
    struct loading l = {.spool = spool};
    int code = state_load_notes(state, load_one, &l, err);
    spool->notes.reserved = state_bytes_for_notes(0);
    *damaged = l.damaged;
    return code;
}

void notes_clear(struct spool *spool)
{
    while (spool->notes.n > 0)
        drop(&spool->notes, spool->notes.n - 1);
    free(spool->notes.at);
    spool->notes = (struct notes){.reserved = state_bytes_for_notes(0)};
}

int notes_copy_changed(struct spool *spool, struct state_note **out, size_t *n, struct weir_err *err)
{
    struct notes *notes = &spool->notes;
    size_t bytes = 0, dirty = 0;
    *out = NULL;
    *n = 0;
    for (size_t i = 0; i < notes->n; i++) {
        dirty += notes->at[i].dirty;
        bytes += notes->at[i].dirty ? strlen(notes->at[i].key) + 1 + notes->at[i].len : 0;
    }
    if (dirty == 0)
        return WEIR_OK;
    struct state_note *list = malloc(dirty * sizeof(*list) + bytes);
    if (list == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "notes: out of memory");
    uint8_t *p = (uint8_t *)(list + dirty);
    for (size_t i = 0; i < notes->n; i++) {
        struct note *note = &notes->at[i];
        if (!note->dirty)
            continue;
        size_t key = strlen(note->key) + 1, len = note->removed ? 0 : note->len;
        memcpy(p, note->key, key);
        if (len > 0)
            memcpy(p + key, note->value, len);
        list[(*n)++] = (struct state_note){(const char *)p, {p + key, len}, note->removed};
        p += key + len;
        note->dirty = false;
        note->saving = true;
    }
    *out = list;
    return WEIR_OK;
}

void notes_saved(struct spool *spool, bool durable)
{
    struct notes *notes = &spool->notes;
    pthread_mutex_lock(&spool->lanes_lock);
    for (size_t i = notes->n; i > 0; i--) {
        struct note *note = &notes->at[i - 1];
        if (!note->saving)
            continue;
        note->saving = false;
        note->dirty = note->dirty || !durable;
        if (note->removed && !note->dirty)
            drop(notes, i - 1);
    }
    pthread_mutex_unlock(&spool->lanes_lock);
}

// --- for the relay ------------------------------------------------------------------------------------------------------

// Under lanes_lock. WEIR_E_AGAIN: the file must be longer first. *value is taken over when it is put; NULL: remove.
static int put(struct spool *spool, const char *key, uint8_t **value, size_t len, struct weir_err *err)
{
    struct notes *notes = &spool->notes;
    bool found;
    size_t at = find(notes, key, &found);
    struct note *note = found ? &notes->at[at] : NULL;
    if (*value == NULL && (note == NULL || note->removed))
        return WEIR_OK;
    if (*value == NULL) {
        set(notes, note, NULL, 0, true);
        spool->lanes_dirty = true;
        return WEIR_OK;
    }
    if (note != NULL && !note->removed && note->len == len && memcmp(note->value, *value, len) == 0)
        return WEIR_OK;
    uint64_t before = note != NULL ? bytes_of(note) : 0, after = notes->bytes - before + strlen(key) + len;
    if ((note == NULL && notes->n == SPOOL_NOTES_MAX) || after > SPOOL_NOTES_BYTES)
        return weir_fail(err, WEIR_E_LIMIT, "note %s: there are %zu notes of %llu bytes already", key, notes->n,
                         (unsigned long long)notes->bytes);
    if (after > notes->bytes && state_bytes_for_notes(after) > notes->reserved)
        return WEIR_E_AGAIN;
    if (note == NULL)
        note = insert(notes, at, key);
    if (note == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "note %s: out of memory", key);
    set(notes, note, *value, len, false);
    *value = NULL;
    spool->lanes_dirty = true;
    return WEIR_OK;
}

// Makes the file longer, so that one note of the greatest size fits in any case.
static int reserve(struct spool *spool, struct weir_err *err)
{
    pthread_mutex_lock(&spool->lanes_lock);
    uint64_t bytes = spool->notes.bytes + SPOOL_NOTE_KEY_BYTES + SPOOL_NOTE_VALUE_BYTES;
    uint64_t most = state_bytes_for_notes(SPOOL_NOTES_BYTES);
    pthread_mutex_unlock(&spool->lanes_lock);
    uint64_t wanted = state_bytes_for_notes(bytes) + RESERVE_STEP;
    wanted = wanted < most ? wanted : most;
    int code = state_make_longer(spool, wanted, err);
    if (code != WEIR_OK)
        return code;
    pthread_mutex_lock(&spool->lanes_lock);
    spool->notes.reserved = wanted > spool->notes.reserved ? wanted : spool->notes.reserved;
    pthread_mutex_unlock(&spool->lanes_lock);
    return WEIR_OK;
}

static int change(struct spool *spool, const char *key, uint8_t **value, size_t len, struct weir_err *err)
{
    int code = WEIR_E_AGAIN;
    while (code == WEIR_E_AGAIN) {
        pthread_mutex_lock(&spool->lanes_lock);
        code = put(spool, key, value, len, err);
        pthread_mutex_unlock(&spool->lanes_lock);
        if (code != WEIR_E_AGAIN)
            break;
        code = reserve(spool, err);
        code = code == WEIR_OK ? WEIR_E_AGAIN : code;
    }
    return code;
}

static int check_key(const char *key, struct weir_err *err)
{
    size_t len = strlen(key);
    return len >= 1 && len <= SPOOL_NOTE_KEY_BYTES
               ? WEIR_OK
               : weir_fail(err, WEIR_E_INVALID, "note: a key has 1 to %u bytes, not %zu", SPOOL_NOTE_KEY_BYTES, len);
}

int spool_note_put(struct spool *spool, const char *key, struct weir_slice value, bool durable_now,
                   struct weir_err *err)
{
    int code = check_key(key, err);
    if (code != WEIR_OK)
        return code;
    if (value.len > SPOOL_NOTE_VALUE_BYTES)
        return weir_fail(err, WEIR_E_INVALID, "note %s: %zu bytes, and %u at most", key, value.len,
                         SPOOL_NOTE_VALUE_BYTES);
    uint8_t *copy = malloc(value.len + 1);
    if (copy == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "note %s: out of memory", key);
    if (value.len > 0)
        memcpy(copy, value.data, value.len);
    code = change(spool, key, &copy, value.len, err);
    free(copy);
    return code == WEIR_OK && durable_now ? state_commit(spool, false, err) : code;
}

int spool_note_remove(struct spool *spool, const char *key, bool durable_now, struct weir_err *err)
{
    uint8_t *none = NULL;
    int code = check_key(key, err);
    if (code == WEIR_OK)
        code = change(spool, key, &none, 0, err);
    return code == WEIR_OK && durable_now ? state_commit(spool, false, err) : code;
}

int spool_note_get(struct spool *spool, const char *key, struct weir_buf *out, struct weir_err *err)
{
    bool found;
    pthread_mutex_lock(&spool->lanes_lock);
    size_t at = find(&spool->notes, key, &found);
    const struct note *note = found && !spool->notes.at[at].removed ? &spool->notes.at[at] : NULL;
    bool copied = note != NULL && weir_buf_append(out, note->value, note->len);
    pthread_mutex_unlock(&spool->lanes_lock);
    if (note == NULL)
        return weir_fail(err, WEIR_E_NOT_FOUND, "there is no note %s", key);
    return copied ? WEIR_OK : weir_fail(err, WEIR_E_NOMEM, "note %s: out of memory", key);
}

// A copy of them: key with its 0, u32 length, value, back to back.
static bool copy_all(struct spool *spool, const char *prefix, struct weir_buf *out)
{
    bool good = true, found;
    size_t len = strlen(prefix);
    pthread_mutex_lock(&spool->lanes_lock);
    for (size_t i = find(&spool->notes, prefix, &found); i < spool->notes.n && good; i++) {
        const struct note *note = &spool->notes.at[i];
        uint8_t bytes[4];
        if (strncmp(note->key, prefix, len) != 0)
            break;
        if (note->removed)
            continue;
        weir_put_u32(bytes, (uint32_t)note->len);
        good = weir_buf_append(out, note->key, strlen(note->key) + 1) && weir_buf_append(out, bytes, sizeof(bytes)) &&
               weir_buf_append(out, note->value, note->len);
    }
    pthread_mutex_unlock(&spool->lanes_lock);
    return good;
}

int spool_notes_each(struct spool *spool, const char *prefix, spool_note_fn each, void *ctx, struct weir_err *err)
{
    struct weir_buf all = {0};
    int code = copy_all(spool, prefix, &all) ? WEIR_OK : weir_fail(err, WEIR_E_NOMEM, "notes: out of memory");
    for (size_t at = 0; code == WEIR_OK && at < all.len;) {
        const char *key = (const char *)all.data + at;
        at += strlen(key) + 1;
        struct weir_slice value = {all.data + at + 4, weir_get_u32(all.data + at)};
        at += 4 + value.len;
        code = each(ctx, key, value, err);
    }
    weir_buf_free(&all);
    return code;
}
