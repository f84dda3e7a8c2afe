// SPDX-License-Identifier: Apache-2.0
// What all requests that change something answer when they cannot.
#ifndef WEIR_RELAY_ADMIN_ANSWER_H
#define WEIR_RELAY_ADMIN_ANSWER_H

#include <jansson.h>

// {"error": text}, for the caller to decref; NULL only without memory. The text may quote what came from the network, cut in the
// middle of a character: it is made valid UTF-8 here, since jansson makes no string of anything else.
json_t *admin_error_json(const char *text);

// The HTTP status for a WEIR_E_… code.
int admin_status_of(int code);

#endif
