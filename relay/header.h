// SPDX-License-Identifier: Apache-2.0
// Rules for names and values of request headers, for the configuration, for what is kept of a request and for what is shown.
#ifndef WEIR_RELAY_HEADER_H
#define WEIR_RELAY_HEADER_H

#include "proto/base.h"

#define HEADER_NAME_MAX 128

// RFC 9110's token of at most HEADER_NAME_MAX characters; `lower`: in lower case alone, as HTTP/2 wants it.
bool header_name_is_token(struct weir_slice name, bool lower);
// Whether a request's header of that name (lower case) can be stored and sent on: not what describes one request's body, transport
// or connection, nor what weir or its HTTP client sets itself. A name that may be kept once must be for ever: stored data has it.
bool header_may_be_kept(struct weir_slice name);
// Visible characters and blanks between them, as gRPC has it: nothing that could add headers of its own, and nothing that makes a peer
// end the connection instead of answering.
bool header_value_is_sound(struct weir_slice value);
// Headers whose values let somebody in: shown masked. Better one too many.
bool header_is_secret(const char *name);
#define HEADER_MASK "********"

#endif
