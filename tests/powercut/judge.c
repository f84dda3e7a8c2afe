// SPDX-License-Identifier: Apache-2.0
#include "tests/powercut/judge.h"

#include <dirent.h>
#include <lmdb.h>
#include <stdio.h>
#include <zstd.h>

#include "storage/format.h"
#include "tests/powercut/clock.h"

// Items that ever were in dead letters: there, purged, or gone for newer ones.
static uint64_t letters_of(const struct spool_lane_stats *s)
{
    return s->dead_lettered + s->discarded + s->evicted_by[SPOOL_LOSS_LETTERS];
}

// The columns of the ledger against what was promised and what is there.
static bool check_ledger(const struct world *w, unsigned lane, const struct lane_found *f, char *why)
{
    const struct spool_lane_stats *s = &f->stats;
    uint64_t delivered = 0, buried = 0, replayed = 0;
    for (uint32_t i = 0; i < w->seeds; i++) {
        uint8_t state = w->in_lane[lane][i];
        replayed += (state & REPLAYED) != 0;
        if ((state & MAY_LACK) && !f->found[i])
            *(state & BURIED ? &buried : &delivered) += world_items(i);
    }
    if (s->accepted != s->delivered + s->pending + s->dead_lettered + s->evicted + s->discarded)
        FAIL("lane %u: the ledger does not add up", lane);
    if (s->pending != f->items)
        FAIL("lane %u: %llu items pending, %llu found", lane, (ull)s->pending, (ull)f->items);
    if (s->delivered < w->delivered_least[lane] || s->delivered > w->delivered_most[lane])
        FAIL("lane %u: %llu items delivered, %llu to %llu were", lane, (ull)s->delivered, (ull)w->delivered_least[lane],
             (ull)w->delivered_most[lane]);
    uint64_t letters = letters_of(s);
    if (letters < w->buried_least[lane] || letters > w->buried_most[lane])
        FAIL("lane %u: %llu items in dead letters, %llu to %llu were", lane, (ull)letters, (ull)w->buried_least[lane],
             (ull)w->buried_most[lane]);
    if (replayed == 0 && (s->delivered != delivered || letters != buried))
        FAIL("lane %u: %llu items delivered and %llu in dead letters, of what is gone %llu and %llu were", lane,
             (ull)s->delivered, (ull)letters, (ull)delivered, (ull)buried);
    return true;
}

// Every block that was promised to the lane is there, or was settled, or is in the ledger as evicted.
static bool check_blocks(const struct driver *d, unsigned lane, const struct lane_found *f, struct tally *tally,
                         char *why)
{
    const struct world *w = d->world;
    uint64_t missing = 0, maybe = 0;
    uint32_t last_gone = 0, first_found = UINT32_MAX;
    bool evicts = d->profile->evict || d->profile->age_ns != 0;
    for (uint32_t i = 0; i < w->seeds; i++) {
        uint8_t state = w->in_lane[lane][i];
        if (f->found[i] && !(state & (OWED | UNSURE)))
            FAIL("lane %u: block %u is not the lane's", lane, i);
        if (f->found[i] && (state & OWED) && !(state & MAY_HAVE))
            FAIL("lane %u: block %u was settled durably and is back", lane, i);
        if (!(state & OWED))
            continue;
        tally->checked += w->seed[i].acked;
        tally->repeated += f->found[i] && (state & MAY_LACK);
        if (f->found[i] || (state & MAY_LACK))
            continue;
        if (w->seed[i].acked && !evicts)
            FAIL("lane %u: block %u was acknowledged, was not settled, and is gone", lane, i);
        *(w->seed[i].acked ? &missing : &maybe) += world_items(i);
        last_gone = w->seed[i].acked ? i : last_gone;
    }
    for (uint32_t i = 0; i < w->seeds && first_found == UINT32_MAX; i++)
        if (f->found[i] && !(w->in_lane[lane][i] & REPLAYED)) // a replay brings back whatever there is
            first_found = i;
    // By age it goes by the clock, and that begins anew in a second life: what it received there is the older.
    if (d->profile->age_ns == 0 && last_gone > 0 && first_found < last_gone)
        FAIL("lane %u: block %u was evicted, and the older %u was not", lane, last_gone, first_found);
    tally->evicted += missing;
    missing += w->evicted_again[lane];
    uint64_t evicted = f->stats.evicted - f->stats.evicted_by[SPOOL_LOSS_LETTERS];
    if (evicted < missing || evicted > missing + maybe)
        FAIL("lane %u: %llu items evicted, %llu to %llu are gone", lane, (ull)evicted, (ull)missing,
             (ull)(missing + maybe));
    return true;
}

// A block that nobody was told of is in all lanes or in none, but for those that settled it.
static bool check_alike(const struct world *w, const struct lane_found *f, char *why)
{
    for (uint32_t i = 0; i < w->seeds; i++) {
        bool found = false, lacks = false;
        for (unsigned lane = w->seed[i].signal; lane < WORLD_LANES && !w->seed[i].acked; lane += WEIR_SIGNALS) {
            found = found || f[lane].found[i];
            lacks = lacks || ((w->in_lane[lane][i] & (OWED | MAY_LACK)) == OWED && !f[lane].found[i]);
        }
        if (found && lacks)
            FAIL("block %u is in one lane and not in another", i);
    }
    return true;
}

static void note_seen(struct driver *d, const struct lane_found *f)
{
    for (unsigned lane = 0; lane < WORLD_LANES; lane++) {
        for (uint32_t i = 0; i < d->world->seeds; i++)
            if (d->world->in_lane[lane][i] & (OWED | UNSURE))
                world_promise(d->world, &(struct promise){.kind = f[lane].found[i] ? PROMISE_FOUND : PROMISE_ABSENT,
                                                          .lane = (uint8_t)lane,
                                                          .seed = i});
        world_promise(d->world, &(struct promise){.kind = PROMISE_LEDGER,
                                                  .lane = (uint8_t)lane,
                                                  .number = f[lane].stats.delivered,
                                                  .end = (uint32_t)letters_of(&f[lane].stats)});
    }
}

static bool check(struct driver *d, struct tally *tally, char *why)
{
    struct lane_found *f = calloc(WORLD_LANES, sizeof(*f));
    assert(f != NULL);
    bool good = true;
    for (unsigned lane = 0; lane < WORLD_LANES && good; lane++) {
        spool_lane_stats_get(d->lane[lane], &f[lane].stats);
        good = driver_read_lane(d, lane, &f[lane], why) && check_blocks(d, lane, &f[lane], tally, why) &&
               check_ledger(d->world, lane, &f[lane], why);
    }
    good = good && (d->profile->evict || d->profile->age_ns != 0 || check_alike(d->world, f, why));
    if (good)
        note_seen(d, f);
    free(f);
    return good;
}

// --- dead letters: read by their description in FORMAT.md, not by the code that wrote them ------------------------------------

struct letters_found {
    bool found[WORLD_UPSTREAMS][WORLD_SEEDS];
    uint64_t items[WORLD_LANES];
};

static bool check_letter(const struct world *w, struct weir_slice v, struct letters_found *out, char *why)
{
    const uint8_t *p = v.data;
    uint8_t raw[4];
    if (v.len < 120 || memcmp(p, "WDLT", 4) != 0 || weir_get_u32(p + 8) != v.len ||
        weir_get_u64(p + v.len - 8) != format_checksum(p, v.len - 8))
        FAIL("a dead letter of %zu bytes is damaged", v.len);
    uint64_t frame = weir_get_u64(p + 64), raw_len = weir_get_u64(p + 56);
    size_t head = weir_get_u16(p + 4) == 1 ? 88 : 112;
    size_t name = weir_get_u16(p + 76),
           skip = name + weir_get_u16(p + 78) + weir_get_u16(p + 80) + weir_get_u32(p + 72);
    uint8_t *content = malloc(raw_len + 1), *expected = malloc(raw_len + 1);
    assert(content != NULL && expected != NULL && raw_len >= sizeof(raw));
    bool good = ZSTD_decompress(content, raw_len, p + head + skip, frame) == raw_len;
    uint32_t seed = good ? weir_get_u32(content) : 0;
    unsigned u = 0;
    while (u < WORLD_UPSTREAMS &&
           (strlen(world_upstreams[u]) != name || memcmp(world_upstreams[u], p + head, name) != 0))
        u++;
    good = good && seed < w->seeds && u < WORLD_UPSTREAMS && w->letter[u][seed] > 0 && w->seed[seed].len == raw_len;
    if (good) {
        world_fill(expected, raw_len, seed);
        good = memcmp(expected, content, raw_len) == 0;
        out->found[u][seed] = true;
        out->items[u * WEIR_SIGNALS + p[82]] += weir_get_u64(p + 32);
    }
    free(content);
    free(expected);
    if (!good)
        FAIL("a dead letter is not one that was put there (block %u)", seed);
    return true;
}

static bool walk_letters(const struct world *w, MDB_txn *txn, struct letters_found *found, char *why)
{
    MDB_dbi letters;
    MDB_cursor *cursor;
    MDB_val k, v;
    if (mdb_dbi_open(txn, "letters", 0, &letters) != 0 || mdb_cursor_open(txn, letters, &cursor) != 0)
        FAIL("dead letters cannot be read");
    bool good = true;
    while (good && mdb_cursor_get(cursor, &k, &v, MDB_NEXT) == 0)
        good = check_letter(w, (struct weir_slice){v.mv_data, v.mv_size}, found, why);
    mdb_cursor_close(cursor);
    return good;
}

// `stats`: each lane's, before the spool was closed.
static bool check_letters(const struct world *w, const char *directory,
                          const struct spool_lane_stats stats[WORLD_LANES], char *why)
{
    static struct letters_found found;
    found = (struct letters_found){0};
    char path[300];
    snprintf(path, sizeof(path), "%s/deadletter.mdb", directory);
    MDB_env *env;
    MDB_txn *txn = NULL;
    if (mdb_env_create(&env) != 0 || mdb_env_set_maxdbs(env, 1) != 0)
        abort();
    bool good = true;
    if (mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_RDONLY, 0) == 0 &&
        mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) == 0) {
        good = walk_letters(w, txn, &found, why);
        mdb_txn_abort(txn);
    }
    mdb_env_close(env);
    for (unsigned u = 0; u < WORLD_UPSTREAMS; u++)
        for (uint32_t s = 0; s < w->seeds && good; s++)
            if (w->letter[u][s] == 2 && !found.found[u][s] &&
                stats[u * WEIR_SIGNALS + w->seed[s].signal].evicted_by[SPOOL_LOSS_LETTERS] == 0)
                FAIL("the dead letter of block %u for %s was acknowledged and is gone", s, world_upstreams[u]);
    for (unsigned lane = 0; lane < WORLD_LANES && good; lane++)
        if (found.items[lane] != stats[lane].dead_lettered)
            FAIL("lane %u: %llu items are dead-lettered, %llu lie there", lane, (ull)stats[lane].dead_lettered,
                 (ull)found.items[lane]);
    return good;
}

// Nothing was damaged by a power cut, so nothing is set aside.
static bool check_names(const char *directory, char *why)
{
    DIR *dir = opendir(directory);
    struct dirent *entry;
    bool good = dir != NULL;
    while (good && (entry = readdir(dir)) != NULL)
        if (strstr(entry->d_name, ".damaged") != NULL)
            good = snprintf(why, WHY_BYTES, "there is a file %.100s", entry->d_name) < 0;
    if (dir != NULL)
        closedir(dir);
    return good;
}

// --- the whole ---------------------------------------------------------------------------------------------------------------

static bool work_on(struct driver *d, struct dice *dice, char *why)
{
    for (unsigned i = 0; i < 4; i++) {
        unsigned lane = (unsigned)roll(dice, WORLD_LANES);
        if (roll(dice, 3) != 0 && !driver_append(d, dice, 1 + (unsigned)roll(dice, 3), 0) && !d->profile->small)
            FAIL("an append was refused");
        if (roll(dice, 2) == 0 && !driver_deliver(d, lane, 3, dice, why))
            return false;
        if (roll(dice, 4) == 0 && !driver_purge(d, dice, why))
            return false;
        if (roll(dice, 3) == 0 && !driver_sync(d))
            FAIL("the state could not be made durable");
        if (d->profile->keep_ns != 0 && roll(dice, 3) == 0 && !driver_replay(d, lane, dice, why))
            return false;
        if (roll(dice, 3) == 0)
            clock_tick(100 + roll(dice, 1000));
    }
    return true;
}

bool judge(const char *directory, struct world *world, const struct profile *profile, uint64_t seed,
           struct tally *tally, char *why)
{
    struct profile quiet = *profile;
    struct dice dice = {mix(seed)};
    quiet.free_threads = false;
    clock_free_running(false);
    struct driver d = {.world = world, .profile = &quiet};
    for (unsigned turn = 0; turn < 2; turn++) {
        if (!driver_open(&d, directory, why))
            return false;
        tally->opens++;
        bool good = check(&d, tally, why) && (turn > 0 || work_on(&d, &dice, why));
        struct spool_lane_stats stats[WORLD_LANES] = {0};
        for (unsigned lane = 0; lane < WORLD_LANES && good; lane++)
            spool_lane_stats_get(d.lane[lane], &stats[lane]);
        driver_close(&d);
        if (good && d.damage[0] != '\0' && !profile->patient)
            FAIL("told of damage: %.190s", d.damage);
        if (good)
            good = check_letters(world, directory, stats, why) && (profile->patient || check_names(directory, why));
        if (!good)
            return false;
        // Closing makes the state durable.
        world_promise(world, &(struct promise){.kind = PROMISE_SYNC});
    }
    return true;
}
