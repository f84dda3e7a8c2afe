// SPDX-License-Identifier: Apache-2.0
// A word at start-up on upstreams whose host has no address: a typing error is found before the first data waits for it.
#ifndef WEIR_RELAY_LOOKUP_H
#define WEIR_RELAY_LOOKUP_H

#include "relay/config.h"

// Looks each upstream's host up once, in threads of their own that nothing waits for, and logs those that have no address. Nothing
// depends on it: every connection looks the host up anew.
void lookup_upstreams(const struct config *config);

#endif
