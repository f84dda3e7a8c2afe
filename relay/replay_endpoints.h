// SPDX-License-Identifier: Apache-2.0
// Which endpoint of an upstream's list is used. Private to the replay worker, in its thread.
#ifndef WEIR_RELAY_REPLAY_ENDPOINTS_H
#define WEIR_RELAY_REPLAY_ENDPOINTS_H

#include "net/client.h"
#include "relay/config.h"

struct replay;

#define ENDPOINT_HOME_MS     60000                  // so long another endpoint is used before the first is tried again
#define ENDPOINT_HOME_MAX_MS (UINT64_C(16) * 60000) // it doubles up to this each time the first fails again

struct endpoints {
    struct client *clients[CONFIG_MAX_ENDPOINTS];
    uint32_t count, current;
    uint32_t failed;                // in a row, since one answered
    bool leave;                     // for the next one, as soon as nothing is under way
    bool turned_away;               // that is since it said so; else it may yet answer
    bool go_home;                   // to the first one
    bool trial;                     // nothing is known of it: one small export at a time until it has answered
    uint64_t home_ns, home_wait_ms; // when the first is tried again; after such a wait
};

const struct config_target *endpoint_target(const struct replay *replay, size_t index);
struct client *endpoint_client(const struct replay *replay); // of the one in use
// It did not answer, or not with anything but that it is away. True: another one is to be tried at once.
bool endpoint_failed(struct replay *replay, bool turned_away);
void endpoint_answered(struct replay *replay);
// At the beginning of a turn: moves to the next one, or back to the first, when that is due and nothing is under way. False: nothing may be
// started, since it waits for that.
bool endpoint_turn(struct replay *replay);
void endpoints_poll(struct replay *replay, int timeout_ms);
// Whether the next export of a list goes to one that has not answered yet: alone, and small. Lanes that none has turned away come first, and
// do not wait for one that has been.
bool endpoint_on_trial(const struct replay *replay);

#endif
