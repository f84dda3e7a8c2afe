// SPDX-License-Identifier: Apache-2.0
// What an upstream is shown and trusted by, while the relay runs. Private to the replay worker, in its thread.
#ifndef WEIR_RELAY_REPLAY_SECRETS_H
#define WEIR_RELAY_REPLAY_SECRETS_H

#include "proto/err.h"
#include "relay/certificates.h"
#include <stdatomic.h>

struct export;
struct replay;
struct secret;

struct secrets {
    struct secret *token; // to show; NULL: none
    uint64_t due_ns;      // when the files are looked at again
    uint64_t refused_ns;  // when the upstream last did not know us
    bool fresh;           // it refused a token that was replaced meanwhile
    atomic_bool at_once;  // look now
    struct certificate_watch watch;
};

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

#endif
