// SPDX-License-Identifier: Apache-2.0
#include "relay/version.h"

#ifndef WEIR_VERSION // a checker that does not know the Makefile
#define WEIR_VERSION "unknown"
#endif

// The only file that is compiled again when the version changes (see the Makefile).
const char weir_version[] = WEIR_VERSION;
const char weir_user_agent[] = "weir/" WEIR_VERSION;
