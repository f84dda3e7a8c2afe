// SPDX-License-Identifier: Apache-2.0
// The states of delivery, of an upstream and of a lane alike, and the moves between them. Pure.
#ifndef WEIR_RELAY_REPLAY_MOVES_H
#define WEIR_RELAY_REPLAY_MOVES_H

#include "proto/base.h"

//          ┌──────────────► delivering ◄──► replaying        any of them ──► idle: nothing is left to deliver
//   idle ──┤                   │  ▲            │  ▲          any of them ──► paused ──► idle
//          │          failure  ▼  └─ answered ─┼──┘
//          └─► probing ◄──── backing_off ◄─────┘             held is a wait like backing_off, which a person must end
enum replay_state {     // CONTRACT: upstreams[].state and lanes.*.state. In the order of how much they need a person
    REPLAY_IDLE,        // nothing to deliver
    REPLAY_DELIVERING,  // following live data
    REPLAY_REPLAYING,   // emptying a backlog
    REPLAY_PROBING,     // one export to see whether the upstream is back
    REPLAY_BACKING_OFF, // waiting for the next attempt
    REPLAY_HELD,        // refused by a setting: slow attempts, a person is needed
    REPLAY_PAUSED,      // by a person
};
#define REPLAY_STATES 7

const char *replay_state_name(enum replay_state state); // "backing_off"
// Whether the one may follow the other; staying is no move, and always allowed.
bool replay_may_move(enum replay_state from, enum replay_state to);
// Asserts that it is allowed. True: the state has changed.
bool replay_move(enum replay_state *state, enum replay_state to);

#endif
