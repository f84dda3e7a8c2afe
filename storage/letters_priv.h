// SPDX-License-Identifier: Apache-2.0
// deadletter.mdb while the spool is open. Private to storage.
#ifndef WEIR_STORAGE_LETTERS_PRIV_H
#define WEIR_STORAGE_LETTERS_PRIV_H

#include <pthread.h>

#include "storage/letter_format.h"
#include "storage/letters.h"
#include "storage/state.h"
#include "storage/stats.h"

// A letter whose block is not settled, or whose settlement is not durable with it.
struct letter_settling {
    struct spool_lane *lane;
    uint64_t block, item, items;
    bool unsure; // putting it failed, and nobody knows whether it is there
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
int dead_letters_open(struct spool *spool, bool *damaged, struct weir_err *err);
// Makes letters and ledgers agree: when the lanes and where they stand are known, and the state says that this version writes here.
void dead_letters_start(struct spool *spool);
void dead_letters_close(struct spool *spool);
void dead_letters_stats(struct spool *spool, struct spool_stats *out);
uint64_t dead_letters_reserve(struct spool *spool); // bytes of the quota that segments leave free
uint64_t letter_file_id(void);                      // a new one, never 0
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
// A letter is about to be put. *before: as which it was put before, if it is not settled yet; else its lane is NULL. False: no memory.
bool letters_settling_add(struct spool *spool, struct spool_lane *lane, const struct spool_dead_letter *letter,
                          struct letter_settling *before);
// That failed. `nothing`: the file is as it was.
void letters_settling_failed(struct spool *spool, struct spool_lane *lane, const struct spool_dead_letter *letter,
                             const struct letter_settling *before, bool nothing);
// What was settled is durable as settled. Neither lock may be held.
void letters_flush(struct spool *spool);
// At start: forgets letters of blocks that are not settled. Under lock.
int letters_resolve(struct spool *spool, struct weir_err *err);

#endif
