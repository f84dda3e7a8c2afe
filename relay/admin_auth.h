// SPDX-License-Identifier: Apache-2.0
// Who may change something through the admin port. Without a token file: peers on this machine. With one: who presents its token, from
// anywhere. In both cases a browser may do so only for a page that the admin port itself served: a foreign page must not drive it.
#ifndef WEIR_RELAY_ADMIN_AUTH_H
#define WEIR_RELAY_ADMIN_AUTH_H

#include <sys/socket.h>

#include "proto/base.h"
#include "proto/err.h"
#include "relay/tokens.h"

// One thread's. Zero-initialise.
struct admin_auth {
    struct tokens *tokens; // NULL: none is needed
};

// `file` "" or NULL: none. Errors as of tokens_open.
int admin_auth_open(struct admin_auth *auth, const char *file, struct weir_err *err);
void admin_auth_close(struct admin_auth *auth);

// What a request says of itself; absent headers have data NULL.
struct admin_claim {
    const struct sockaddr *peer;
    struct weir_slice authorization, origin, host;
};
enum admin_grant { ADMIN_GRANTED, ADMIN_WHO, ADMIN_NEVER }; // yes; 401: show a token; 403: not from there
// The file is read again when it has changed; if it cannot be, the last token holds and the log says so. `why` is a text for the
// answer, set when it is not granted.
enum admin_grant admin_auth_check(struct admin_auth *auth, const struct admin_claim *claim, const char **why);

#endif
