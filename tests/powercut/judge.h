// SPDX-License-Identifier: Apache-2.0
// Opens a spool and says whether everything that was promised is kept.
#ifndef TESTS_POWERCUT_JUDGE_H
#define TESTS_POWERCUT_JUDGE_H

#include <stdio.h>

#include "storage/lane.h"
#include "storage/stats.h"
#include "tests/powercut/world.h"

#define WHY_BYTES 400u
#define FAIL(...)                                                                                                      \
    do {                                                                                                               \
        snprintf(why, WHY_BYTES, __VA_ARGS__);                                                                         \
        return false;                                                                                                  \
    } while (0)
typedef unsigned long long ull;

// How a spool is driven; each run draws one.
struct profile {
    uint64_t max_mib, segment_mib;
    uint32_t block_bytes_min, block_bytes_max; // not all are so large
    bool free_threads;
    bool patient;     // damage is looked through, to see what it cost
    bool small;       // there is not always room: appends may be refused
    bool evict;       // when_full: evict_oldest
    uint64_t keep_ns; // keep_delivered, and replays of it
    uint64_t age_ns;  // max_age
    bool saved;       // the run does not repeat by its seed: its record is kept
};

struct tally {
    uint64_t segments_made, segments_removed, letters, replays; // of the runs
    uint64_t cuts, nested, checked, evicted, repeated, losses, opens;
};

// A spool that is open, with all lanes. Driver's thread alone.
struct driver {
    struct world *world;
    const struct profile *profile;
    struct spool *spool;
    struct spool_lane *lane[WORLD_LANES]; // NULL: not open
    uint8_t absent;                       // bit u: upstream u is not in the configuration
    struct spool_reader *reader;
    char damage[200]; // what the spool told of, "": nothing
};
// False: `why` says what went wrong.
bool driver_open(struct driver *d, const char *directory, char *why);
void driver_close(struct driver *d);
// Opens an upstream's lanes.
bool driver_open_upstream(struct driver *d, unsigned upstream, enum spool_start start, char *why);

// What a lane shows.
struct lane_found {
    struct spool_lane_stats stats;
    bool found[WORLD_SEEDS];
    uint64_t items;
};
// Reads all that is pending in the lane: whole, known, each once, in the order in which it was appended. False: `why`.
bool driver_read_lane(struct driver *d, unsigned lane, struct lane_found *out, char *why);
// Appends `n` blocks as one chain, and waits for them. False: not all were taken; that is not expected.
bool driver_append(struct driver *d, struct dice *dice, unsigned n, uint8_t stream);
// Delivers up to `most` blocks of a lane, some of them to the dead letters.
bool driver_deliver(struct driver *d, unsigned lane, unsigned most, struct dice *dice, char *why);
bool driver_sync(struct driver *d);
// Purges a dead letter, if there is one.
bool driver_purge(struct driver *d, struct dice *dice, char *why);
// Gives a lane a part of its past again, if there is any. False: `why`.
bool driver_replay(struct driver *d, unsigned lane, struct dice *dice, char *why);

// Opens what is in `directory`, judges it, works on with it a little, closes, opens it again, judges again. False: `why`.
bool judge(const char *directory, struct world *world, const struct profile *profile, uint64_t seed,
           struct tally *tally, char *why);

#endif
