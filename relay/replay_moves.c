// SPDX-License-Identifier: Apache-2.0
#include "relay/replay_moves.h"

#define TO(state) (1u << REPLAY_##state)

// After a failure nothing is delivered before a probe, and a probe comes only after a wait (or at the start of work, when what failed
// before was never answered).
static const struct {
    const char *name;
    unsigned to;
} states[REPLAY_STATES] = {
    [REPLAY_IDLE] = {"idle", TO(DELIVERING) | TO(REPLAYING) | TO(PROBING) | TO(BACKING_OFF) | TO(HELD) | TO(PAUSED)},
    [REPLAY_DELIVERING] = {"delivering", TO(IDLE) | TO(REPLAYING) | TO(BACKING_OFF) | TO(HELD) | TO(PAUSED)},
    [REPLAY_REPLAYING] = {"replaying", TO(IDLE) | TO(DELIVERING) | TO(BACKING_OFF) | TO(HELD) | TO(PAUSED)},
    [REPLAY_PROBING] = {"probing", TO(IDLE) | TO(DELIVERING) | TO(REPLAYING) | TO(BACKING_OFF) | TO(HELD) | TO(PAUSED)},
    [REPLAY_BACKING_OFF] = {"backing_off", TO(IDLE) | TO(PROBING) | TO(HELD) | TO(PAUSED)},
    [REPLAY_HELD] = {"held", TO(IDLE) | TO(PROBING) | TO(BACKING_OFF) | TO(PAUSED)},
    [REPLAY_PAUSED] = {"paused", TO(IDLE)},
};

const char *replay_state_name(enum replay_state state)
{
    assert((unsigned)state < REPLAY_STATES);
    return states[state].name;
}

bool replay_may_move(enum replay_state from, enum replay_state to)
{
    assert((unsigned)from < REPLAY_STATES && (unsigned)to < REPLAY_STATES);
    return from == to || (states[from].to & (1u << to)) != 0;
}

bool replay_move(enum replay_state *state, enum replay_state to)
{
    assert(replay_may_move(*state, to));
    bool changed = *state != to;
    *state = to;
    return changed;
}
