// SPDX-License-Identifier: Apache-2.0
// What the replay worker's parts share: replay.c (life, the worker's turn, what is shown), replay_take.c (which blocks are next), replay_lane.c
// (when they are sent, what a verdict does to them), replay_export.c (one request to the upstream), replay_split.c (what was refused, part by
// part), replay_halve.c (which part is next), replay_part.c (parts of a block), replay_old.c (what is too old to be sent),
// replay_redrive.c (dead letters that are sent again).
// All of it belongs to the worker's thread but for what `lock` guards.
#ifndef WEIR_RELAY_REPLAY_PRIV_H
#define WEIR_RELAY_REPLAY_PRIV_H

#include "net/client.h"
#include "proto/encoding.h"
#include "proto/grpc.h"
#include "proto/otlp.h"
#include "proto/verdict.h"
#include "relay/backoff.h"
#include "relay/certificates.h"
#include "relay/envelope.h"
#include "relay/fresh.h"
#include "relay/governor.h"
#include "relay/replay.h"
#include "relay/size_limit.h"
#include "relay/todo.h"
#include "storage/letters.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#define BEHIND_NS          (2ull * 1000000000) // data older than this is a backlog
#define EXPORT_BLOCKS_MAX  64
#define EXPORT_HEADERS_MAX (CONFIG_MAX_HEADERS + ENVELOPE_HEADERS_MAX + 8)
#define EXPORT_BYTES_MIN   (64u * 1024) // an export that is not through in time is made smaller, down to this
#define SPLIT_FEW          64           // items of an export, up to which its parts may begin and end within blocks
#define SPLIT_SLACK_PART   8  // a cut may lie so much of the shorter side off the wanted place, for a better boundary
#define SPLIT_TRIES_MAX    10 // of one item whose refusal may pass (U17), before it counts as refused for good
#define SPLIT_ADJACENT     2  // given up side by side: then what is next to them goes by itself
#define SPLIT_SINGLES      16 // items given up one by one, before more are given up together
#define SPLIT_REACH        2  // from the second given up on: the next part goes so many times as far as they lay apart
#define SPLIT_REACH_GROWS  4  // times, with each part that is taken

// One request under way.
struct export
{
    struct export *next; // in the replay's list of spare ones
    struct replay *replay;
    struct replay_lane *lane;
    struct client_call call;
    uint64_t first, end; // block numbers taken from the lane
    enum fresh_cursor cursor;
    bool part; // of lane->split, which keeps the blocks
    uint32_t item_from,
        item_to;      // a part from this item of its first block up to before that one of its last; 0, 0: whole blocks
    bool taken_over;  // it has ended, and lane->split or lane->refused has it
    bool was_refused; // kept for that, and not because it is too large
    struct verdict refusal;
    struct position
        same_to;  // with a verdict that it was taken before in part: all up to there, or nothing; 0: not known
    bool too_old; // for this upstream: goes to the dead letters
    bool letter;  // a dead letter that is sent again
    uint64_t letter_item;
    bool lane_waits; // a RETRY is the lane's own failure: it backs off
    struct block_view views[EXPORT_BLOCKS_MAX];
    size_t view_count; // 0 of a part of items: then the first two are its first and its last block, for the head
    uint64_t items, raw_bytes, wire_bytes;
    uint64_t oldest_received_ns;
    enum encoding encoding;
    struct weir_buf encoded; // the body, unless stored frames are sent as they lie
    uint8_t prefix[GRPC_PREFIX_LEN];
    struct weir_slice ranges[EXPORT_BLOCKS_MAX + 1];
    struct client_header headers[EXPORT_HEADERS_MAX];
    struct weir_buf kept; // names and values of the kept headers, each ended by a NUL
    char timeout[16], batch_id[128], handoff[HANDOFF_TEXT_MAX];
    struct secret *token; // shown; NULL: none
    uint64_t started_ns;
    uint64_t flow_bytes; // as the governor was told
};

// A block that is sent in parts: decoded, with a table of its requests.
struct part_block {
    bool open;
    enum weir_signal signal;
    uint32_t count; // of requests
    struct part_request {
        uint64_t offset, item;          // in raw; ordinal of its first item in the block
        struct otlp_split_index *index; // once it was cut; NULL: not yet, or for want of memory
    } * requests;                       // and one more, for the end
    struct weir_buf raw, made;
};

// An export that was refused, or a block that is larger than an export may be, which is sent in parts. Places in it are ordinals of items, over
// all its blocks.
struct split {
    bool active, under_way;
    struct export *whole;
    uint64_t starts[EXPORT_BLOCKS_MAX + 1]; // ordinal of each block's first item, and one more
    uint64_t at;                            // everything before has an end
    uint64_t bad_end;    // [at, bad_end) holds something that is refused; at or below `at`: nothing is known
    uint64_t same_end;   // [at, same_end) was taken before, or not: as a whole; at or below `at`: nothing is known
    uint64_t to;         // the part under way is [at, to)
    uint64_t one_by_one; // below it, one block a part: one of them is damaged
    bool by_size;        // bad for its size
    bool repeated;       // some of it was taken before
    uint64_t max_bytes;  // of a part: less was refused for its size
    uint64_t given_up;   // end of what was given up last; 0: nothing yet
    uint64_t reach;      // items of a part of which nothing is known; 0: all that is left
    uint64_t lesson_end, lesson_bytes; // refused for its size; true when all up to lesson_end is taken in parts
    uint64_t settled;                  // block numbers below it are settled
    struct spool_outcome outcome;      // of what lies between there and `at`
    uint32_t attempts;                 // refusals of what [at, bad_end) lies in
    uint32_t tries;                    // in a row, of the single item under way, that came to a SPLIT which may pass
    struct part_block block;
    size_t block_index;
    struct weir_buf joined; // a part of several blocks
    struct weir_err err;
};

#define HANDOFF_RUNS_MAX 1024 // as many as a note has room for
// How its blocks are named to an upstream that is a weir, see replay_handoff.c.
struct handoff_runs {
    struct handoff_run {
        uint64_t first; // block; up to the next one's
        uint64_t name;
    } at[HANDOFF_RUNS_MAX];
    size_t count;
    uint64_t replayed; // items, of the ledger, when `todo` was filled
    struct spool_interval
        empty[4]; // stretches without a block of the lane's, found lately: what comes behind covers them
    size_t empty_next;
};

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
    struct endpoints {
        struct client *clients[CONFIG_MAX_ENDPOINTS];
        uint32_t count, current;
        uint32_t failed;                // in a row, since one answered
        bool leave;                     // for the next one, as soon as nothing is under way
        bool turned_away;               // that is since it said so; else it may yet answer
        bool go_home;                   // to the first one
        bool trial;                     // nothing is known of it: one small export at a time until it has answered
        uint64_t home_ns, home_wait_ms; // when the first is tried again; after such a wait
    } endpoints;
    struct secrets {
        struct secret *token; // to show; NULL: none
        uint64_t due_ns;      // when the files are looked at again
        uint64_t refused_ns;  // when the upstream last did not know us
        bool fresh;           // it refused a token that was replaced meanwhile
        atomic_bool at_once;  // look now
        struct certificate_watch watch;
    } secrets;
    struct spool_reader *reader;
    struct encoder *encoders[ENCODINGS_SENT];
    struct replay_lane lanes[WEIR_SIGNALS];
    struct export *spare;
    struct redrive {
        atomic_bool news;      // letters were marked
        bool some;             // there may be marked ones
        bool under_way;        // `letter` is
        bool progressed;       // since the first of them was looked for
        bool has_after;        // the next one is behind `after`
        struct letter *letter; // taken; NULL: none
        struct letter_id after;
        struct weir_buf raw;
        uint64_t look_ns, taken_ns;
        uint32_t tries; // in a row that came to a SPLIT which may pass
        struct backoff backoff;
    } redrive;
    uint32_t in_flight;
    struct flow {
        struct governor governor;
        bool blocked;            // in this turn it let nothing more start
        uint64_t wake_ns;        // when it may; UINT64_MAX: when something has ended
        uint32_t next_lane;      // whose turn it is, so that none starves the others
        uint64_t delivered;      // exports
        uint64_t unreachable_ns; // when the way to the upstream last broke
        bool not_processed;      // an export was certainly not processed, and nothing was answered since
    } flow;
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

// replay_endpoints.c --------------------------------------------------------------------------------------------------------
#define ENDPOINT_HOME_MS     60000                  // so long another endpoint is used before the first is tried again
#define ENDPOINT_HOME_MAX_MS (UINT64_C(16) * 60000) // it doubles up to this each time the first fails again
const struct config_target *endpoint_target(const struct replay *replay, size_t index);
struct client *endpoint_client(const struct replay *replay); // of the one in use
// It did not answer, or not with anything but that it is away. True: another one is to be tried at once.
bool endpoint_failed(struct replay *replay, bool turned_away);
void endpoint_answered(struct replay *replay);
// At the beginning of a turn: moves to the next one, or back to the first, when that is due and nothing is under way. False: nothing may be
// started, since it waits for that.
bool endpoint_turn(struct replay *replay);
void endpoints_poll(struct replay *replay, int timeout_ms);
// Whether the next export of a list goes to one that has not answered yet: alone, and small.
bool endpoint_on_trial(const struct replay *replay);

// replay_secrets.c ----------------------------------------------------------------------------------------------------------
int replay_secrets_open(struct replay *replay, struct weir_err *err); // WEIR_E_INVALID, WEIR_E_IO, WEIR_E_NOMEM
void replay_secrets_close(struct replay *replay);
// Once a turn: looks at the files when it is time.
void replay_secrets_turn(struct replay *replay);
void replay_secrets_look(struct replay *replay);
// The upstream does not know us by what the export showed.
void replay_secrets_refused(struct replay *replay, const struct export *export);
struct secret *secret_use(struct secret *secret); // NULL is none
void secret_release(struct secret *secret);
const char *secret_text(const struct secret *secret); // "Bearer …"
// Overwrites it in a text that came from the peer.
void secret_mask(const struct secret *secret, char *text);

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

// replay_flow.c -------------------------------------------------------------------------------------------------------------
void flow_open(struct replay *replay); // the lanes are open
void flow_turn(struct replay *replay); // at the beginning of a turn
// A wait for the whole upstream is under way.
bool flow_waits(const struct replay *replay, uint64_t now_ns);
// It is worth an attempt now: what was in the way may be gone.
void flow_hurry(struct replay *replay);
// Whether an export of so many raw bytes, which is at hand, may start now.
bool flow_may_start(struct replay *replay, uint64_t bytes);
uint64_t flow_export_bytes(const struct replay *replay); // raw, of the next export at most, where blocks allow it
void flow_started(struct export *export);
// How it ended: without an answer (`counts`: that says something of the upstream), answered, by our own doing.
void flow_unanswered(struct export *export, bool counts);
void flow_answered(struct export *export,
                   const struct verdict *verdict); // a lane that need not wait itself: lane_waits is false
void flow_dropped(struct export *export);
// One more endpoint did not take an export of the lane. True: that was the last of them.
bool flow_turned_away(struct replay_lane *lane);
// One more endpoint did not answer it, `round_over`: nor did any other one. True: that is this lane's own trouble.
bool flow_own_silence(const struct export *export, bool round_over);
// The endpoint says that it can take no data now: whether that is as good as no answer, so that the next one is asked at once.
bool flow_asks_another(struct export *export);
void flow_show(struct replay *replay, enum replay_state shown); // what all lanes come to

// replay_take.c -------------------------------------------------------------------------------------------------------------
bool lane_is_strict(const struct replay_lane *lane); // one export at a time, oldest first
// Fills the export with the blocks that come next. False: there is nothing to send now.
bool lane_take(struct export *export);
// A stretch that nobody can read any more: entered in the ledger, and the lane goes on behind it. What was evicted meanwhile is in the ledger
// already. The spool tells how much it was; here the log says why.
void lane_lose(struct replay_lane *lane, uint64_t first, uint64_t end, const struct weir_err *err);

// replay_handoff.c ----------------------------------------------------------------------------------------------------------
// Names the blocks that this process will write, in a note that is durable with the next state. Without room for it none is used. WEIR_E_NOMEM,
// WEIR_E_IO: no random numbers.
int handoff_open(struct replay_lane *lane, struct weir_err *err);
// The names are not durable: none is used.
void handoffs_give_up(struct replay *replay, const struct weir_err *err);
void handoff_filled(struct replay_lane *lane); // `todo` has just been filled from the spool's intervals
// Whether two blocks may travel in one request.
bool handoff_joins(const struct replay_lane *lane, uint64_t block, uint64_t other);
// There is no block of the lane's in there.
void handoff_skipped(struct replay_lane *lane, uint64_t first, uint64_t end);
// The header's value. False: there is none for this export.
bool handoff_write(const struct export *export, char out[HANDOFF_TEXT_MAX]);
// What a weir adds to its answer.
void handoff_judge(struct export *export, struct verdict *verdict);

// replay_export.c -------------------------------------------------------------------------------------------------------------
struct export *export_new(struct replay_lane *lane); // NULL: out of memory
void export_free(struct export *export);             // releases its views, keeps the record
const struct block_view *export_last_block(const struct export *export);
// Sends what views hold (or, for a part, `raw`). WEIR_E_CORRUPT, WEIR_E_NOMEM: nothing was sent, the export is still the caller's.
int export_send(struct export *export, const struct weir_slice *raw, struct weir_err *err);

// replay_old.c --------------------------------------------------------------------------------------------------------------------
#define OLD_LETTER_BYTES_MAX (4u * 1024u * 1024u) // raw, of blocks joined into one letter
bool lane_too_old(const struct replay_lane *lane, const struct block_view *view);
// Gives what the export holds to the dead letters, or puts it back for later. The export is spent.
void lane_bury_old(struct export *export);

// replay_redrive.c --------------------------------------------------------------------------------------------------------------
// Sends the next dead letter that is marked, if it may. `first`: before the lanes, which it does only after a wait.
void redrive_turn(struct replay *replay, bool first);
void redrive_done(struct export *export, const struct verdict *verdict);
void redrive_dispose(struct replay *replay);

// replay_split.c ----------------------------------------------------------------------------------------------------------------
// Takes over an export that has ended, or was not sent, with its views: what is in it goes in parts, after what the split has already.
// `refusal`: the upstream's, NULL: it is too large.
void split_take_over(struct export *export, const struct verdict *refusal);
bool split_has_work(const struct replay_lane *lane);
// Where it has work and nothing under way. False: it cannot send now.
bool split_send_next(struct replay_lane *lane);
// The lane's intervals changed: forgets blocks that were evicted since, while nothing of the split is under way.
void split_drop_gone(struct replay_lane *lane);
void split_part_done(struct export *export, const struct verdict *verdict);
void split_dispose(struct replay_lane *lane);

// replay_halve.c ----------------------------------------------------------------------------------------------------------------
uint64_t split_total(const struct split *split);
uint64_t split_items(const struct split *split, uint64_t from, uint64_t to); // there is none in a block without items
size_t split_block_of(const struct split *split, uint64_t at);
uint64_t split_ordinal_of(const struct split *split, struct position position); // of the first item behind it
bool split_at_block_start(const struct split *split, uint64_t at);
bool split_may_cut(struct split *split, uint64_t at); // there, and not just near it
// Decodes the block; the one before it is forgotten. As part_block_open.
int split_open_block(struct split *split, size_t index, struct weir_err *err);
// Where the next part of [from, to), which is known to be bad, ends: its half, or all of it when it is not divided further.
int split_halve(struct replay_lane *lane, uint64_t from, uint64_t to, uint64_t *out);
// Fills the part with what goes next: blocks, or `raw`. Sets split->to.
int split_choose(struct replay_lane *lane, struct export *part, struct weir_slice *raw);

// replay_part.c -----------------------------------------------------------------------------------------------------------------
// Decodes the block; what was open before is closed. WEIR_E_CORRUPT, WEIR_E_NOMEM.
int part_block_open(struct part_block *block, const struct block_view *view, struct weir_err *err);
void part_block_close(struct part_block *block);
// A place to cut [from, to), at `wanted` or, where that makes better parts, near it. 0: it cannot be cut.
uint64_t part_cut(struct part_block *block, uint64_t from, uint64_t to, uint64_t wanted);
// A request with the items [from, to), valid until the next one or the close. WEIR_E_NOMEM.
int part_make(struct part_block *block, uint64_t from, uint64_t to, struct weir_slice *out, struct weir_err *err);

#endif
