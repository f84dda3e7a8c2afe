// SPDX-License-Identifier: Apache-2.0
// What the commands that change a running weir have in common: one question to its admin port, and what is told when it says no.
#ifndef WEIR_RELAY_CLI_ASK_H
#define WEIR_RELAY_CLI_ASK_H

#include <jansson.h>

#include "relay/admin_client.h"
#include "relay/cli.h"

// POSTs `question` (taken over; NULL is an error: its texts are not UTF-8) to `path` with the token of --token-file. CLI_DONE: *answer is
// what a 200 held, for the caller to decref. Else what went wrong was said on stderr: CLI_USAGE when the relay did not understand the
// question, CLI_FAILED. With --json the answer's document is on stdout in any case.
int cli_ask(const struct cli *cli, const char *path, json_t *question, json_t **answer);
// What is at `client` after an admin_client_ask, in the same way.
int cli_ask_take(const struct cli *cli, const struct admin_client *client, json_t **answer);
// "/v1/upstreams/NAME/VERB" with NAME escaped. False: too long.
bool cli_ask_path(const char *name, const char *verb, char *out, size_t cap);
// The answer's "warnings" on stderr, a line each.
void cli_ask_warnings(const json_t *answer);
// --yes, or a person at the terminal says so. `question` ends without a question mark.
bool cli_ask_confirmed(const struct cli *cli, const char *question);

#endif
