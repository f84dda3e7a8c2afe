// SPDX-License-Identifier: Apache-2.0
// The records of deadletter.mdb, as FORMAT.md has them, and the open file. Private to storage.
#ifndef WEIR_STORAGE_DEAD_LETTER_H
#define WEIR_STORAGE_DEAD_LETTER_H

#include <pthread.h>

#include "storage/inspect.h"
#include "storage/letters.h"
#include "storage/state.h"

#define LETTER_HEAD_V1_BYTES 88u
#define LETTER_HEAD_BYTES    112u
#define LETTER_TOTALS_BYTES  56u
#define LETTER_LANE_BYTES    128u
#define LETTER_KEY_BYTES     16u   // and the upstream's name
#define LETTER_TEXT_MAX      4096u // of code and message each: they come from an upstream
#define REMARK_HEAD_BYTES    32u
#define REMARK_TEXT_MAX      1024u // of code and message each
#define REMARK_BYTES_MAX     (REMARK_HEAD_BYTES + 2u * REMARK_TEXT_MAX + 8u)
#define LETTERS_DATABASES    3u

struct letter_totals {
    uint64_t requests, items, bytes; // bytes: of whole pages
    uint64_t file_id;                // 0: written by version 1
};
void letter_totals_put(uint8_t out[LETTER_TOTALS_BYTES], const struct letter_totals *totals);
int letter_totals_get(struct weir_slice value, struct letter_totals *out, struct weir_err *err);
// What a letter takes in the totals.
uint64_t letter_pages_bytes(size_t len);

struct letter_key {
    uint8_t bytes[LETTER_KEY_BYTES + STATE_UPSTREAM_BYTES];
    size_t len;
};
// Block and item, both big-endian, so that letters lie in the order of the blocks; then the upstream.
void letter_key_put(struct letter_key *out, uint64_t block, uint64_t item, const char *upstream, size_t upstream_bytes);
void letter_key_of(const struct letter_id *id, struct letter_key *out);
bool letter_key_get(struct weir_slice key, struct letter_id *out);

// A stored letter, parsed. Slices point into it; nothing ends in a zero.
struct letter_view {
    struct weir_slice upstream, code, message, envelope, frame;
    uint16_t version;
    enum weir_signal signal;
    uint8_t codec;
    uint32_t attempts;
    uint64_t block, item, items, received_ns, stored_ns, raw_bytes; // version 1: item is the index of the request
    uint64_t time_min_ns, time_max_ns;                              // 0: not known
};
// WEIR_E_CORRUPT, WEIR_E_FORMAT.
int letter_view_parse(struct weir_slice value, struct letter_view *out, struct weir_err *err);
// Its head alone, unchecked: what is in memory's reach of a letter of any size. False: it is none.
bool letter_view_head(struct weir_slice value, struct letter_view *out);
// Appends the request. WEIR_E_CORRUPT, WEIR_E_NOMEM.
int letter_view_decode(const struct letter_view *view, struct weir_buf *out, struct weir_err *err);
// One record: head, upstream, code, message, envelope, frame, checksum.
int letter_encode(const struct spool_dead_letter *letter, struct weir_buf *out, struct weir_err *err);

// What changes about a letter after it was put: none, and it is settled, unmarked, and never was sent again.
struct remark {
    bool settling, redrive;
    uint32_t redrives;
    uint64_t redriven_ns;
    struct weir_slice code, message; // of the last redrive
};
uint32_t remark_put(uint8_t out[REMARK_BYTES_MAX], const struct remark *remark);
int remark_get(struct weir_slice value, struct remark *out, struct weir_err *err);

// Around what was evicted.
struct letter_loss {
    uint64_t first, end, received_first_ns, received_last_ns;
};
// A lane's letters, and how they left since the file began.
struct letter_lane {
    enum weir_signal signal;
    char upstream[STATE_UPSTREAM_BYTES + 1];
    uint64_t requests, items, bytes, marked;
    uint64_t redriven_requests, purged_requests, evicted_requests;
    struct letter_moves moves;
    struct letter_loss loss; // not stored: what was evicted since the ledger was told
};
void letter_lane_put(uint8_t out[LETTER_LANE_BYTES], const struct letter_lane *lane);
int letter_lane_get(struct weir_slice key, struct weir_slice value, struct letter_lane *out, struct weir_err *err);
size_t letter_lane_key(uint8_t out[1 + STATE_UPSTREAM_BYTES], const struct letter_lane *lane);
// The lane of that name in a list that grows; NULL: no memory, or, without `make`, none.
struct letter_lanes {
    struct letter_lane *at;
    size_t n, cap;
};
int letter_lanes_load(MDB_txn *txn, MDB_dbi dbi, struct letter_lanes *out, struct weir_err *err);
struct letter_lane *letter_lane_find(struct letter_lanes *lanes, const char *upstream, size_t upstream_bytes,
                                     enum weir_signal signal, bool make);

// --- the open file --------------------------------------------------------------------------------------------------------

// A letter whose block is not settled, or whose settlement is not durable with it.
struct letter_settling {
    struct spool_lane *lane;
    uint64_t block, item, items;
    enum { SETTLING_WAITS, SETTLING_COUNTED, SETTLING_STALE } fate;
};

#define LETTERS_BUSY 64u

struct dead_letters {
    pthread_mutex_t lock;
    MDB_env *env; // NULL: no file yet, or a commit failed
    MDB_dbi main, letters, lanes_db, remarks;
    bool old;     // a file of version 1, which is made new before it is written
    bool started; // lanes and letters agree
    struct letter_totals totals;
    struct letter_lanes lanes;
    struct letter_key busy[LETTERS_BUSY]; // being sent; len 0: none

    pthread_mutex_t settling_lock; // a leaf: settlements are entered under lanes_lock
    struct letter_settling *settling;
    size_t settling_n, settling_cap, decided_n;
    pthread_mutex_t flush_lock; // before lock
};

// One change: letters, remarks, each lane's totals and the file's, in one transaction. Under lock.
struct letters_txn {
    struct spool *spool;
    struct lmdb_txn t;
    struct letter_totals totals;
    struct letter_lanes lanes; // a copy
};

// --- letters_file.c
uint64_t letter_file_id(void); // a new one, never 0
// Opens the file if it is not, and makes lanes and letters agree the first time. WEIR_E_NOT_FOUND: there is none.
int letters_ready(struct spool *spool, struct weir_err *err);
int letters_make(struct spool *spool, struct weir_err *err); // letters_ready, or a new file
// Within the quota the file grows as far as there is room in the whole, and no further; to remove something it may take a little more.
// Returns that room.
uint64_t letters_limit_file(struct spool *spool, bool removal);
void letters_drop_env(struct dead_letters *d);
void letters_put_lane(struct lmdb_txn *t, const struct dead_letters *d, const struct letter_lane *lane);
void letters_put_totals(struct lmdb_txn *t, const struct dead_letters *d, const struct letter_totals *totals);

// --- letters_ledger.c
int letters_begin(struct spool *spool, struct letters_txn *x, struct weir_err *err);
// Consumes it. On success the ledgers follow; on failure nothing was changed, or that shows when the file is opened again.
int letters_commit(struct letters_txn *x, struct weir_err *err);
void letters_abort(struct letters_txn *x);
// Within a transaction; what fails is kept in it.
bool letters_value(struct letters_txn *x, const struct letter_key *key, struct weir_slice *out);
// The remark's texts lie in `copy`.
void letters_remark_read(MDB_txn *txn, MDB_dbi remarks, const struct letter_key *key, uint8_t copy[REMARK_BYTES_MAX],
                         struct remark *out);
void letters_remark_get(struct letters_txn *x, const struct letter_key *key, uint8_t copy[REMARK_BYTES_MAX],
                        struct remark *out);
void letters_remark_set(struct letters_txn *x, const struct letter_key *key, struct letter_lane *lane,
                        const struct remark *remark);
struct letter_lane *letters_lane_of(struct letters_txn *x, const struct letter_view *view); // NULL: no memory
enum letter_end { LETTER_FORGOTTEN, LETTER_REDRIVEN, LETTER_PURGED, LETTER_EVICTED };
// Takes a letter out; the lane's totals say how it ended. False: there is none.
bool letters_remove(struct letters_txn *x, const struct letter_key *key, enum letter_end end, uint64_t rejected);
// Puts one in; there is none under that key.
void letters_add(struct letters_txn *x, const struct letter_key *key, const struct letter_view *view,
                 struct weir_slice value, const struct remark *remark);
bool letters_is_busy(const struct spool *spool, const struct letter_key *key);
// Whether that file's moves, beyond those entered, are the record's; enters them. Returns the items that were evicted, for their column.
bool letters_record_knows(const struct lane_record *record, uint64_t file_id, const struct letter_moves *moves);
uint64_t letters_enter_record(struct lane_record *record, const struct letter_moves *to);
// Makes dead-lettered what the file has. Returns the items that are lost.
uint64_t letters_adopt_record(struct lane_record *record, uint64_t items);
// Enters what letters did into the lanes' ledgers, as far as it is not there. `adopt`: what the file has and the ledger has not, and the
// other way round, is entered too. Under lock.
void letters_enter_moves(struct spool *spool, bool adopt);
// A lane was made: what letters it has of before.
void letters_lane_begin(struct spool_lane *lane);

// --- letters_read.c
// spool_letters_list, under lock.
int letters_walk(struct spool *spool, const struct letter_filter *filter, const struct letter_id *after, size_t limit,
                 letters_each_fn each, void *ctx, struct letters_walked *out, struct weir_err *err);
void letters_unbusy(struct spool *spool, const struct letter_id *id); // under lock

// --- letters_settle.c
// Under lanes_lock, when a settlement was entered: its letters are those put last, together `items`; what else was put there is of an
// attempt that was given up. Returns the items of those that are.
uint64_t letters_settled(struct spool_lane *lane, uint64_t first, uint64_t end, uint64_t items);
// A letter is about to be put; *again: it was put before, and is not settled yet. False: no memory.
bool letters_settling_add(struct spool *spool, struct spool_lane *lane, const struct spool_dead_letter *letter,
                          bool *again);
// It was not put. Whether it had been added.
bool letters_settling_drop(struct spool *spool, const struct spool_lane *lane, const struct spool_dead_letter *letter);
// What was settled is durable as settled. Neither lock may be held.
void letters_flush(struct spool *spool);
// At start: forgets letters of blocks that are not settled. Under lock.
int letters_resolve(struct spool *spool, struct weir_err *err);

#endif
