// SPDX-License-Identifier: Apache-2.0
// Notes: part of what a crash goes back to, so they are always of the same moment as the lanes.
#include "storage/note.h"
#include "tests/model/rig.h"

static const unsigned sizes[] = {0, 10, 3000,
                                 SPOOL_NOTE_VALUE_BYTES}; // all eight of the longest need a longer state.mdb

static const char *key_of(unsigned note)
{
    static char key[SPOOL_NOTE_KEY_BYTES + 1];
    snprintf(key, sizeof(key), note % 2 == 0 ? "even/%u" : "odd/%u", note);
    return key;
}

static struct weir_slice value_of(unsigned version)
{
    static uint8_t value[SPOOL_NOTE_VALUE_BYTES];
    unsigned len = sizes[version % WEIR_COUNT(sizes)];
    for (unsigned i = 0; i < len; i++)
        value[i] = (uint8_t)(version * 31 + i * 7 + (i >> 8));
    return (struct weir_slice){value, len};
}

// arg: which, size, how (0, 1: put; 2: put durably; 3: remove, and durably when the size is odd).
void rig_play_note(struct rig *rig, const unsigned *arg)
{
    struct weir_err err = {0};
    unsigned note = arg[0] % MODEL_NOTES, how = arg[2] % 4, version = (unsigned)++rig->note_versions * 4 + arg[1] % 4;
    bool durable = how == 2 || (how == 3 && arg[1] % 2 != 0);
    bool dead = calls_dead();
    unsigned failed = calls_failed();
    uint64_t used = rig_directory_bytes(rig->directory);
    int code = how == 3 ? spool_note_remove(rig->spool, key_of(note), durable, &err)
                        : spool_note_put(rig->spool, key_of(note), value_of(version), durable, &err);
    bool broken = dead || calls_failed() != failed;
    uint64_t most = used + (2ull << 20) + rig->options.max_bytes / 32;
    RIG_CHECK(code == WEIR_OK || broken || (code == WEIR_E_FULL && most > rig->options.max_bytes),
              "note %u: %s, with %llu of %llu bytes in use", note, err.text, (unsigned long long)used,
              (unsigned long long)rig->options.max_bytes);
    struct weir_buf now = {0};
    bool there = spool_note_get(rig->spool, key_of(note), &now, NULL) == WEIR_OK;
    struct weir_slice wanted = value_of(version);
    bool put =
        there && how != 3 && now.len == wanted.len && (now.len == 0 || memcmp(now.data, wanted.data, now.len) == 0);
    weir_buf_free(&now);
    RIG_CHECK(code != WEIR_OK || (how == 3 ? !there : put), "note %u is not what was put", note);
    if (how == 3 && !there)
        rig->m.now.notes[note] = 0;
    else if (put)
        rig->m.now.notes[note] = version;
    if (code == WEIR_OK && durable)
        model_durable(&rig->m);
    else
        model_changed(&rig->m);
}

struct seen {
    struct rig *rig;
    const char *prefix;
    unsigned n;
};

static int see(void *ctx, const char *key, struct weir_slice value, struct weir_err *err)
{
    (void)err;
    struct seen *seen = ctx;
    for (unsigned i = 0; i < MODEL_NOTES; i++) {
        unsigned version = seen->rig->m.now.notes[i];
        if (strcmp(key, key_of(i)) != 0 || version == 0 || strncmp(key, seen->prefix, strlen(seen->prefix)) != 0)
            continue;
        struct weir_slice wanted = value_of(version);
        seen->n += value.len == wanted.len && (value.len == 0 || memcmp(value.data, wanted.data, value.len) == 0);
        return WEIR_OK;
    }
    seen->n += 1000; // nobody put it
    return WEIR_OK;
}

bool rig_notes_match(struct rig *rig, char *why, size_t cap)
{
    static const char *const prefixes[] = {"", "even/", "odd/"};
    for (size_t p = 0; p < WEIR_COUNT(prefixes); p++) {
        struct seen seen = {rig, prefixes[p], 0};
        unsigned expected = 0;
        for (unsigned i = 0; i < MODEL_NOTES; i++)
            expected += rig->m.now.notes[i] != 0 && (p == 0 || (i % 2 == 0) == (p == 1));
        RIG_CHECK(spool_notes_each(rig->spool, prefixes[p], see, &seen, NULL) == WEIR_OK, "out of memory");
        if (seen.n == expected)
            continue;
        snprintf(why, cap, "notes \"%s\": %u as they should be, of %u", prefixes[p], seen.n, expected);
        return false;
    }
    return true;
}
