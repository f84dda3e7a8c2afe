// SPDX-License-Identifier: Apache-2.0
// Between the worker and the governor. Private to the replay worker, in its thread.
#ifndef WEIR_RELAY_REPLAY_FLOW_H
#define WEIR_RELAY_REPLAY_FLOW_H

#include "proto/verdict.h"
#include "relay/governor.h"

struct export;
struct replay;
struct replay_lane;

struct flow {
    struct governor governor;
    bool blocked;            // in this turn it let nothing more start
    uint64_t wake_ns;        // when it may; UINT64_MAX: when something has ended
    uint32_t next_lane;      // whose turn it is, so that none starves the others
    uint64_t delivered;      // exports
    uint64_t unreachable_ns; // when the way to the upstream last broke
    bool not_processed;      // an export was certainly not processed, and nothing was answered since
};

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

#endif
