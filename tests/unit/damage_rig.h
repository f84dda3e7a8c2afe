// SPDX-License-Identifier: Apache-2.0
// A spool whose content is known block by block, copies of it with one file damaged, and the judgement: every block whose bytes are still
// where LMDB itself finds them is delivered with the right content; what is not delivered is evicted, to the item; nothing else is lost.
#ifndef TESTS_UNIT_DAMAGE_RIG_H
#define TESTS_UNIT_DAMAGE_RIG_H

#include <lmdb.h>

#include "spool_kit.h"
#include "storage/event.h"
#include "storage/format.h"
#include "storage/lane.h"
#include "storage/stats.h"

#define RIG_BLOCKS_MAX 4096u
#define RIG_PAGE       4096u
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RIG_SHARE 4u // a part of the damages is enough for a sanitizer
#else
#define RIG_SHARE 1u
#endif

struct rig {
    char *pristine, *dir;
    uint64_t segment_bytes;
    unsigned blocks;
    enum weir_signal signal[RIG_BLOCKS_MAX];
    uint64_t first, end; // of the segment that is damaged
    char name[64];
    uint8_t *data, *sound; // its content, and once more for comparison
    size_t len;
    size_t offset[RIG_BLOCKS_MAX], bytes[RIG_BLOCKS_MAX]; // of its blocks
    // of one case
    bool got[RIG_BLOCKS_MAX], whole[RIG_BLOCKS_MAX];
    uint64_t told_lost[WEIR_SIGNALS]; // items, by the reader
    uint64_t lost_at_start;           // block numbers that were entered before anybody read
    unsigned damaged_events;
    char event_text[1024];
    // of all
    unsigned cases, with_loss;
    uint64_t blocks_lost, blocks_checked;
};

static inline void rig_event(void *ctx, const struct spool_event *event)
{
    struct rig *rig = ctx;
    if (event->kind != SPOOL_EVENT_DAMAGED)
        return;
    rig->damaged_events++;
    cr_assert_not_null(event->text);
    snprintf(rig->event_text, sizeof(rig->event_text), "%s", event->text);
}

static inline struct spool *rig_open(struct rig *rig, const char *dir)
{
    struct weir_err err = {0};
    struct spool *spool;
    struct spool_report report;
    struct spool_options options = kit_options(dir, 256);
    options.segment_bytes = rig->segment_bytes;
    options.on_event = rig_event;
    options.ctx = rig;
    cr_assert_eq(spool_open(&options, &spool, &report, &err), WEIR_OK, "%s", err.text);
    rig->lost_at_start = report.lost_blocks;
    return spool;
}

static inline uint8_t *rig_read(const char *path, size_t *len)
{
    int fd = open(path, O_RDONLY);
    struct stat st;
    cr_assert(fd >= 0 && fstat(fd, &st) == 0, "%s", path);
    uint8_t *data = malloc((size_t)st.st_size + 1);
    *len = (size_t)st.st_size;
    cr_assert_eq(pread(fd, data, *len, 0), st.st_size);
    close(fd);
    return data;
}

static inline void rig_write(const char *path, const uint8_t *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    cr_assert_eq(write(fd, data, len), (ssize_t)len);
    close(fd);
}

// Every block's number is its seed. Raw lengths from `least` to `most`; one signal alone where `alone`.
static inline void rig_fill(struct rig *rig, uint64_t segment_mib, unsigned blocks, size_t least, size_t most,
                            bool alone)
{
    char *fast = kit_fast_directory(), *fast2 = kit_fast_directory();
    *rig = (struct rig){.segment_bytes = segment_mib * MIB, .blocks = blocks};
    rig->pristine = fast != NULL ? fast : kit_directory();
    rig->dir = fast2 != NULL ? fast2 : kit_directory();
    cr_assert_leq(blocks, RIG_BLOCKS_MAX);
    struct spool *spool = rig_open(rig, rig->pristine);
    for (unsigned s = 0; s < WEIR_SIGNALS; s++)
        kit_lane(spool, "a", (enum weir_signal)s, SPOOL_START_NOW);
    uint64_t x = 12345;
    for (unsigned n = 0; n < blocks;) {
        struct kit_wait wait = KIT_WAIT;
        struct block *chain = NULL, **tail = &chain;
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        for (unsigned together = 1 + x % 5; together > 0 && n < blocks; together--, n++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            rig->signal[n] = alone ? WEIR_LOGS : (enum weir_signal)((x >> 32) % WEIR_SIGNALS);
            *tail = kit_block(rig->signal[n], n, least + (x >> 8) % (most - least + 1));
            tail = &(*tail)->next;
        }
        kit_send(spool, &wait, chain);
        cr_assert_eq(kit_join(&wait), WEIR_OK);
    }
    spool_close(spool);
    spool_close(rig_open(rig, rig->pristine)); // cuts the last file to its length
}

static inline void rig_end(struct rig *rig, const char *what)
{
    printf("%s: %u damages, %u with loss; %llu blocks checked, %llu lost\n", what, rig->cases, rig->with_loss,
           (unsigned long long)rig->blocks_checked, (unsigned long long)rig->blocks_lost);
    kit_remove_directory(rig->pristine);
    kit_remove_directory(rig->dir);
    free(rig->data);
    free(rig->sound);
}

// Where LMDB has the blocks of that file. Each of its pages begins with its own number.
static inline void rig_locate(struct rig *rig, const char *path)
{
    MDB_env *env;
    MDB_txn *txn;
    cr_assert(mdb_env_create(&env) == 0 && mdb_env_set_maxdbs(env, WEIR_SIGNALS) == 0 &&
              mdb_env_set_mapsize(env, rig->len) == 0 &&
              mdb_env_open(env, path, MDB_RDONLY | MDB_NOSUBDIR | MDB_NOLOCK, 0600) == 0 &&
              mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) == 0);
    for (unsigned s = 0; s < WEIR_SIGNALS; s++) {
        MDB_dbi dbi;
        MDB_cursor *cursor;
        MDB_val k, v;
        cr_assert(mdb_dbi_open(txn, weir_signal_name((enum weir_signal)s), MDB_INTEGERKEY, &dbi) == 0 &&
                  mdb_cursor_open(txn, dbi, &cursor) == 0);
        while (mdb_cursor_get(cursor, &k, &v, MDB_NEXT) == 0) {
            uint64_t number;
            memcpy(&number, k.mv_data, sizeof(number));
            cr_assert(number >= rig->first && number < rig->end && rig->signal[number] == s);
            const uint8_t *value = v.mv_data, *page = value - (uintptr_t)value % RIG_PAGE;
            rig->offset[number] = weir_get_u64(page) * RIG_PAGE + (size_t)(value - page);
            rig->bytes[number] = v.mv_size;
            cr_assert(memcmp(rig->data + rig->offset[number], value, v.mv_size) == 0);
        }
        mdb_cursor_close(cursor);
    }
    mdb_txn_abort(txn);
    mdb_env_close(env);
}

// The i-th segment is the one to be damaged. False: there are fewer.
static inline bool rig_choose(struct rig *rig, unsigned i)
{
    struct dirent **names;
    unsigned segments = 0;
    bool found = false;
    int n = scandir(rig->pristine, &names, NULL, alphasort);
    rig->end = rig->blocks;
    for (int k = 0; k < n; k++) {
        if (strncmp(names[k]->d_name, "seg-", 4) == 0 && strstr(names[k]->d_name, ".mdb") != NULL) {
            uint64_t first = strtoull(names[k]->d_name + 4, NULL, 10);
            if (segments == i) {
                snprintf(rig->name, sizeof(rig->name), "%.60s", names[k]->d_name);
                rig->first = first;
                found = true;
            } else if (segments == i + 1) {
                rig->end = first;
            }
            segments++;
        }
        free(names[k]);
    }
    free(names);
    if (found) {
        char path[700];
        snprintf(path, sizeof(path), "%s/%s", rig->pristine, rig->name);
        free(rig->data);
        free(rig->sound);
        rig->data = rig_read(path, &rig->len);
        rig->sound = rig_read(path, &rig->len);
        rig_locate(rig, path);
    }
    return found;
}

// Which of its blocks are still as they were, in a file of that content.
static inline void rig_find_whole(struct rig *rig, const uint8_t *data, size_t len)
{
    memset(rig->whole, 0, sizeof(rig->whole));
    for (uint64_t n = rig->first; n < rig->end; n++)
        rig->whole[n] = rig->offset[n] + rig->bytes[n] <= len &&
                        memcmp(data + rig->offset[n], rig->sound + rig->offset[n], rig->bytes[n]) == 0;
}

static inline void rig_seen(void *ctx, uint64_t number, uint64_t seed)
{
    struct rig *rig = ctx;
    cr_assert_eq(seed, number, "block %llu holds what block %llu should", (unsigned long long)number,
                 (unsigned long long)seed);
    cr_assert_lt(number, rig->blocks);
    cr_assert_not(rig->got[number], "block %llu twice", (unsigned long long)number);
    rig->got[number] = true;
}

// A fresh copy of the spool in rig->dir, with `data` as the damaged file's content.
static inline void rig_lay_out(struct rig *rig, const uint8_t *data, size_t len)
{
    char from[900], to[900];
    DIR *dir = opendir(rig->pristine);
    struct dirent *entry;
    assert(dir != NULL);
    kit_empty_directory(rig->dir);
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.' || strcmp(entry->d_name, "LOCK") == 0)
            continue;
        snprintf(from, sizeof(from), "%s/%s", rig->pristine, entry->d_name);
        snprintf(to, sizeof(to), "%s/%s", rig->dir, entry->d_name);
        if (strcmp(entry->d_name, rig->name) == 0) {
            rig_write(to, data, len);
        } else { // files that are written are copied; sealed segments never are
            size_t n;
            uint8_t *bytes = rig_read(from, &n);
            rig_write(to, bytes, n);
            free(bytes);
        }
    }
    closedir(dir);
    memset(rig->got, 0, sizeof(rig->got));
    memset(rig->told_lost, 0, sizeof(rig->told_lost));
    rig->damaged_events = 0;
    rig->event_text[0] = '\0';
}

// Delivers up to `most` blocks of each lane. Counts the items that the reader says are lost. Returns false when the disk failed.
static inline bool rig_drain_lane(struct rig *rig, struct spool *spool, struct spool_lane *lane,
                                  enum weir_signal signal, unsigned most)
{
    struct spool_reader *reader = spool_reader_new(spool);
    struct spool_interval in;
    int rc = WEIR_OK;
    while (most > 0 && rc != WEIR_E_IO && spool_lane_intervals(lane, &in, 1) > 0) {
        struct block_view view;
        struct weir_err err = {0};
        struct spool_outcome outcome = {0};
        uint64_t skip_to;
        rc = spool_reader_next(reader, signal, in.first, in.end, &view, &skip_to, &err);
        if (rc == WEIR_E_AGAIN && skip_to <= in.first)
            break;
        cr_assert(rc == WEIR_OK || rc == WEIR_E_AGAIN || rc == WEIR_E_CORRUPT || rc == WEIR_E_IO, "%d: %s", rc,
                  err.text);
        if (rc == WEIR_E_CORRUPT) {
            cr_assert(view.number >= in.first && skip_to > view.number && skip_to <= rig->end);
            rig->told_lost[signal] += spool_lane_lost(lane, in.first, skip_to);
        } else if (rc == WEIR_E_AGAIN) {
            spool_lane_settle(lane, in.first, skip_to, &outcome);
        } else if (rc == WEIR_OK) {
            rig_seen(rig, view.number, kit_check_view(&view));
            outcome.delivered = view.items;
            uint64_t end = view.number + 1;
            block_view_release(&view);
            spool_lane_settle(lane, in.first, end, &outcome);
            most--;
        }
    }
    spool_reader_free(reader);
    return rc != WEIR_E_IO;
}

static inline bool rig_drain(struct rig *rig, struct spool *spool, struct spool_lane **lanes, unsigned most)
{
    bool worked = true;
    for (unsigned s = 0; s < WEIR_SIGNALS; s++) {
        lanes[s] = kit_lane(spool, "a", (enum weir_signal)s, SPOOL_START_NOW);
        worked = rig_drain_lane(rig, spool, lanes[s], (enum weir_signal)s, most) && worked;
    }
    return worked;
}

// After all was drained.
static inline void rig_judge(struct rig *rig, struct spool *spool, struct spool_lane **lanes, const char *what)
{
    uint64_t missing[WEIR_SIGNALS] = {0}, all[WEIR_SIGNALS] = {0};
    unsigned lost = 0;
    for (unsigned n = 0; n < rig->blocks; n++) {
        bool inside = n >= rig->first && n < rig->end;
        cr_assert(rig->got[n] || inside, "%s: block %u of another file is lost", what, n);
        cr_assert(rig->got[n] || !rig->whole[n], "%s: block %u is whole and was not delivered (%s)", what, n,
                  rig->event_text);
        all[rig->signal[n]] += kit_items(n);
        missing[rig->signal[n]] += rig->got[n] ? 0 : kit_items(n);
        lost += !rig->got[n];
    }
    for (unsigned s = 0; s < WEIR_SIGNALS; s++) {
        struct spool_lane_stats stats = kit_ledger(lanes[s]);
        cr_assert_eq(stats.pending, 0, "%s: %llu items pending", what, (unsigned long long)stats.pending);
        cr_assert_eq(stats.accepted, all[s], "%s: %llu accepted", what, (unsigned long long)stats.accepted);
        cr_assert(rig->lost_at_start > 0 || rig->told_lost[s] == missing[s],
                  "%s: the reader told of %llu lost items, not of %llu", what, (unsigned long long)rig->told_lost[s],
                  (unsigned long long)missing[s]);
        cr_assert_eq(stats.evicted, missing[s], "%s: %s: %llu evicted, %llu are lost (%s)", what,
                     weir_signal_name((enum weir_signal)s), (unsigned long long)stats.evicted,
                     (unsigned long long)missing[s], rig->event_text);
    }
    struct spool_stats stats;
    KIT_UNTIL((spool_stats_get(spool, &stats), stats.damaged_files) == rig->damaged_events); // not while it is renamed
    cr_assert_leq(rig->damaged_events, 1, "%s: told %u times", what, rig->damaged_events);
    cr_assert(lost == 0 || rig->damaged_events == 1, "%s: %u blocks lost and nobody was told", what, lost);
    rig->cases++;
    rig->with_loss += lost > 0;
    rig->blocks_lost += lost;
    rig->blocks_checked += rig->blocks;
}

// A start with that content of the file: open, drain, judge, close.
static inline void rig_case(struct rig *rig, const uint8_t *data, size_t len, const char *what)
{
    struct spool_lane *lanes[WEIR_SIGNALS];
    rig_find_whole(rig, data, len);
    rig_lay_out(rig, data, len);
    struct spool *spool = rig_open(rig, rig->dir);
    rig_drain(rig, spool, lanes, UINT32_MAX);
    rig_judge(rig, spool, lanes, what);
    spool_close(spool);
}

#endif
