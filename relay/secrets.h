// SPDX-License-Identifier: Apache-2.0
// Keys, certificates and tokens of the running relay: read at the start, looked at again while it runs. What is bad or missing then changes
// nothing. All in the main thread.
#ifndef WEIR_RELAY_SECRETS_H
#define WEIR_RELAY_SECRETS_H

#include "relay/relay.h"

// Those of the receivers and the admin port. WEIR_E_INVALID, WEIR_E_IO: which setting, which file and why.
int secrets_open(struct relay *relay, struct weir_err *err);
// Looks at what is due, or `at_once` (SIGHUP) at everything, upstreams included, which else look after their own.
void secrets_look(struct relay *relay, bool at_once);
// SIGHUP's other duty: log.level, from where the configuration came from. All other keys are read at the start alone, and the log says so.
void secrets_reload_level(const struct config *config, const struct config_input *input);
void secrets_close(struct relay *relay);

#endif
