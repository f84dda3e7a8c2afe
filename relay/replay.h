// SPDX-License-Identifier: Apache-2.0
// Replay worker: the thread that empties one upstream's lanes, for as long as it takes.
//
// A lane takes the next blocks of its intervals (while a backlog drains the newest, too: fresh.h), joins them up to max_request_size, sends them
// as far as the governor lets it (governor.h), and settles them by the verdict: DELIVERED shrinks the interval; RETRY puts the blocks back and
// waits (no time limit, ever); REJECT and SPLIT try parts singly, down to the item, which alone goes to the dead letters; HOLD keeps
// everything and tries slowly. What says something of the upstream as a whole (it cannot be reached, it throttles) makes all lanes wait,
// what is a lane's own that lane alone. After a wait one small export goes first.
#ifndef WEIR_RELAY_REPLAY_H
#define WEIR_RELAY_REPLAY_H

#include "relay/certificates.h"
#include "relay/config.h"
#include "relay/replay_moves.h"
#include "storage/lane.h"
#include "storage/spool.h"

#define REPLAY_SEND_BUCKETS 16
extern const double replay_send_bounds[REPLAY_SEND_BUCKETS]; // seconds, the last is infinite

struct replay_lane_stats {
    bool open; // this upstream takes this signal
    enum replay_state state;
    struct spool_lane *lane;   // for spool_lane_stats_get and spool_lane_intervals
    uint64_t exports, retries; // attempts that ended, and those of them that go again
    uint64_t repeats;          // exports that the upstream, a weir, had stored before
    uint64_t dead_letter_requests;
    uint64_t dropped_items;
    uint64_t export_max_bytes;                // raw, of one export: max_request_size, or less since more was not taken
    uint64_t sent_raw_bytes, sent_wire_bytes; // delivered
    uint64_t send_buckets[REPLAY_SEND_BUCKETS];
    double send_seconds_sum;
    uint64_t error_unix_ns; // of the last answer that refused or put off an export of this lane; 0: none yet
    char error_code[32], error_message[256];
};
struct replay_stats {
    enum replay_state state;
    uint64_t since_unix_ns;
    uint64_t error_unix_ns; // of the last error; 0: none yet
    char error_code[32], error_message[256];
    uint64_t window_bytes, in_flight_bytes; // raw: what may be under way at once now, and what is
    double rate_bytes;                      // raw, a second, that may be sent now; 0: no limit is known
    uint64_t next_attempt_ns;               // monotonic; 0: no wait under way
    const char *endpoint;                   // in use
    char token_error[256]; // what is wrong with bearer_token_file now, so that the last token holds; "": nothing
    const char *encoding;  // what exports are sent with now: "zstd"
    struct replay_lane_stats lanes[WEIR_SIGNALS];
};

struct replay;
// Opens its lanes in the spool; nothing is sent before replay_start. WEIR_E_INVALID (TLS files), WEIR_E_IO, WEIR_E_NOMEM.
int replay_new(struct spool *spool, const struct config_upstream *upstream, const char *instance, struct replay **out,
               struct weir_err *err);
// Before any lane is opened: whatever was remembered of lanes that the spool does not have (any more) goes: they will be made anew, if at all.
int replay_forget_lanes(struct spool *spool, struct weir_err *err);
// Before the past is added to the lane: what it sends from then on is no repetition of what it sent. Durable with what is added, or before. WEIR_E_IO,
// WEIR_E_NOMEM.
int replay_name_anew(struct spool *spool, const struct spool_lane *lane, struct weir_err *err);
void replay_start(struct replay *replay); // starts its thread
// New blocks of these signals (a bit mask) were committed. Any thread, cheap; nothing when they cannot go out now anyway.
void replay_wake(struct replay *replay, unsigned signals);
// The intervals of its lanes changed (spool_lane_replay, eviction): it looks at them when what is under way has ended. Any thread, cheap.
void replay_look_again(struct replay *replay);
// Dead letters of this upstream were marked to be sent again (storage/letters.h). Any thread, cheap.
void replay_redrive(struct replay *replay);
// Starts no further export while it is paused; what is under way ends as it does, and the lanes keep everything. Before
// replay_start by the thread that starts it, after it by any. Cheap; lasts as long as this worker.
void replay_pause(struct replay *replay, bool paused);
bool replay_is_paused(const struct replay *replay); // any thread
// Looks at its token and TLS files now, not only when it is time. Any thread.
void replay_look_at_secrets(struct replay *replay);
// Its TLS: `used` when it has any. Any thread.
struct certificate_state replay_certificate(struct replay *replay);
// No further export is started, and those under way have `grace_ms` left. The data stays in the spool. Does not wait, so that
// several workers end in the time of one.
void replay_ask_stop(struct replay *replay, uint32_t grace_ms);
void replay_stop(struct replay *replay); // after replay_ask_stop: waits until the worker delivers nothing more
void replay_free(struct replay *replay); // gives up what is still under way; nobody may wake it any more
void replay_stats_get(struct replay *replay, struct replay_stats *out); // any thread
const struct config_upstream *replay_upstream(const struct replay *replay);

#endif
