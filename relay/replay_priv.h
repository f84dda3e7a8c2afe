// SPDX-License-Identifier: Apache-2.0
// The replay worker of an upstream and its lanes, as its parts share them: replay.c (life, the worker's turn), replay_state.c (what is shown),
// replay_take.c (which blocks are next), replay_lane.c (when they are sent, what a verdict does to them), replay_old.c (what is too old to be
// sent); and those with a header of their own, below.
// All of it belongs to the worker's thread but for what `lock` guards.
#ifndef WEIR_RELAY_REPLAY_PRIV_H
#define WEIR_RELAY_REPLAY_PRIV_H

#include "proto/otlp.h"
#include "relay/replay.h"
#include "relay/replay_endpoints.h"
#include "relay/replay_export.h"
#include "relay/replay_flow.h"
#include "relay/replay_handoff.h"
#include "relay/replay_redrive.h"
#include "relay/replay_secrets.h"
#include "relay/replay_split.h"
#include "relay/size_limit.h"
#include "relay/todo.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#define BEHIND_NS        (2ull * 1000000000) // data older than this is a backlog
#define EXPORT_BYTES_MIN (64u * 1024)        // an export that is not through in time is made smaller, down to this

struct replay_lane {
    struct replay *replay;
    enum weir_signal signal;
    struct spool_lane *spool_lane;
    char *paths[CONFIG_MAX_ENDPOINTS]; // of its exports, to each endpoint: its base path and the signal's
    struct todo todo;
    struct handoff_runs runs;
    struct fresh fresh;
    struct lane_cursor {
        uint64_t single_until; // below it, one block an export: something there is damaged
    } cursors[FRESH_CURSORS];
    bool look_again;      // the spool's lane has intervals that `todo` does not know
    bool dry;             // nothing to read until the next commit
    bool behind;          // what it sends is older than a moment
    struct export *ready; // taken, and waiting for the governor; NULL: none
    uint32_t in_flight;
    uint64_t delivered;  // exports
    uint64_t put_off_ns; // when the upstream last refused an export for now, and has not judged one since; 0: it has
    uint64_t put_off_others; // what other lanes had delivered by the first of them
    bool put_off_own;        // that was the lane's own trouble
    uint32_t turned_away;    // endpoints in a row that could not take its data
    bool alone_silent;       // one of these went on answering other lanes meanwhile
    uint64_t delivered_ns;   // when it last delivered
    bool held;
    bool failure_told;    // in the log, since it last went well
    bool cannot_keep;     // it waits because the dead letters take nothing
    uint64_t buried_turn; // the worker's turn in which it gave data to the dead letters instead of the upstream
    struct backoff backoff;
    struct split split;
    struct export *refused; // exports that wait for the split, the oldest first
    uint32_t refused_count;
    uint32_t refused_in_a_row; // times that something was given up since something was last taken
    struct size_limit size_limit;
};

struct replay {
    struct spool *spool;
    const struct config_upstream *upstream;
    char instance[37];
    struct endpoints endpoints;
    struct secrets secrets;
    struct spool_reader *reader;
    struct encoder *encoders[ENCODINGS_SENT];
    struct replay_lane lanes[WEIR_SIGNALS];
    struct export *spare;
    bool keeps_large; // one of these has the memory of a large body
    struct redrive redrive;
    uint32_t in_flight;
    struct flow flow;
    bool failure_told; // in the log, since it was last reached
    bool backlog_told; // the log has said that a backlog is being emptied, and owes its end
    bool backlog_news; // the next backlog is the first since the start or a failure: it is told
    // compression: auto finds out once a connection.
    enum encoding encoding;
    bool encoding_proven; // it was accepted over this connection
    uint64_t encoding_connection;
    uint64_t export_bytes; // raw, of one export: max_request_size, or less since one was not through in time
    uint64_t random;
    pthread_t thread;
    bool started;
    sem_t ended, release; // the worker has done its last export; it may free its clients and end
    uint64_t turn;        // of the worker, from 1
    atomic_bool stop, look_again, paused;
    atomic_uint woken; // bit mask of the signals of which new blocks were committed
    atomic_uint deaf;  // of those of which they would change nothing now
    uint64_t stop_deadline_ns;
    pthread_mutex_t lock; // guards stats
    struct replay_stats stats;
};

// replay.c ------------------------------------------------------------------------------------------------------------------
double replay_random(struct replay *replay); // 0 … 1
struct backoff_policy replay_policy(const struct replay *replay);
enum encoding replay_first_encoding(enum config_compression compression);

// replay_state.c ------------------------------------------------------------------------------------------------------------
// What went wrong, for the status, and for the log when it is news: once until it went well again, or when the words change.
void replay_note_unreachable(struct replay *replay, const struct verdict *verdict);
void replay_note_refusal(struct replay_lane *lane, const struct verdict *verdict);
// The spool, not the upstream, is why the lane waits: for the status.
void replay_note_here(struct replay_lane *lane, const char *code, const char *message);
void replay_update_state(struct replay *replay);

// replay_lane.c -------------------------------------------------------------------------------------------------------------
int lane_open(struct replay *replay, enum weir_signal signal, struct weir_err *err);
bool lane_may_send(const struct replay_lane *lane, uint64_t now_ns);
// What was learnt of the sizes that the upstream takes does not hold any more.
void lanes_forget_limits(struct replay *replay);
// Raw bytes that an export of the lane may have.
uint64_t lane_bytes_max(const struct replay_lane *lane);
// Takes the next blocks and sends them. False: there is nothing to send now.
bool lane_send_next(struct replay_lane *lane);
// [first, end) is not delivered and not under way any more: it comes next again.
void lane_put_back(struct replay_lane *lane, uint64_t first, uint64_t end);
// The upstream's answer to an export of the lane was a failure that passes.
void lane_fail(struct replay_lane *lane, const struct export *export, const struct verdict *verdict);
// Memory or the disk, not the upstream, is in the way: waits a little.
void lane_fail_here(struct replay_lane *lane);
// The dead letters do not take what the lane gives up: told, and tried again later.
void lane_cannot_keep(struct replay_lane *lane, const struct weir_err *err);
// Of its items, from the request in it.
void letter_find_times(struct spool_dead_letter *letter);
// A dead letter that does not fit into their quota whatever goes: told; its items count as evicted.
void lane_letter_lost(const struct replay_lane *lane, uint64_t items, const struct weir_err *err);
// The export, which was put back, holds damaged blocks: finds out which, and passes them.
void lane_damaged(struct replay_lane *lane, const struct export *export, const struct weir_err *err);
// The upstream has judged an export of the lane: what failed before that was sent is over.
void lane_recover(struct replay_lane *lane, const struct export *export);
// An export of whole blocks has ended.
void lane_export_done(struct export *export, const struct verdict *verdict);

// An export that waits for the governor is put back.
void lane_drop_ready(struct replay_lane *lane);

// replay_take.c -------------------------------------------------------------------------------------------------------------
bool lane_is_strict(const struct replay_lane *lane); // one export at a time, oldest first
// Fills the export with the blocks that come next. False: there is nothing to send now.
bool lane_take(struct export *export);
// A stretch that nobody can read any more: entered in the ledger, and the lane goes on behind it. What was evicted meanwhile is in the ledger
// already. The spool tells how much it was; here the log says why.
void lane_lose(struct replay_lane *lane, uint64_t first, uint64_t end, const struct weir_err *err);

// replay_old.c --------------------------------------------------------------------------------------------------------------------
#define OLD_LETTER_BYTES_MAX (4u * 1024u * 1024u) // raw, of blocks joined into one letter
bool lane_too_old(const struct replay_lane *lane, const struct block_view *view);
// Gives what the export holds to the dead letters, or puts it back for later. The export is spent.
void lane_bury_old(struct export *export);

#endif
