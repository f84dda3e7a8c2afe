// SPDX-License-Identifier: Apache-2.0
// Bearer tokens in files, the same everywhere: one word a line, white space around it does not count. Those who come show one of a file's
// tokens (several lines: while they are rotated); we show the first one of ours. A token is never printed, logged or copied into an error.
#ifndef WEIR_RELAY_TOKENS_H
#define WEIR_RELAY_TOKENS_H

#include "proto/base.h"
#include "proto/err.h"

#define TOKEN_BYTES_MAX 4096
#define TOKENS_MAX      64 // of one file

// Those that let somebody in.
struct tokens;
// `setting` names the file for people: "receiver.auth.bearer_token_file"; both strings must stay. WEIR_E_INVALID (no token, too long or too
// many, not printable), WEIR_E_IO, WEIR_E_NOMEM.
int tokens_open(const char *setting, const char *file, struct tokens **out, struct weir_err *err);
void tokens_close(struct tokens *tokens);
// Reads the file again; if that fails the last tokens hold, and the log says so once. One thread at a time.
void tokens_look(struct tokens *tokens);
// "Bearer TOKEN", the value of an Authorization header. Takes as long for a wrong token as for a right one. Any thread.
bool tokens_admit(struct tokens *tokens, struct weir_slice authorization);
// What was wrong with the file when it was last read, else "". Any thread.
void tokens_error(struct tokens *tokens, char *out, size_t size);

// The one to show: the file's first. WEIR_E_INVALID, WEIR_E_IO; *out is empty then. Wipe it with explicit_bzero.
int token_read(const char *file, char out[TOKEN_BYTES_MAX + 1], struct weir_err *err);

#endif
