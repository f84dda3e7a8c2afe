// SPDX-License-Identifier: Apache-2.0
// Values on the command line that choose a part of the stored data.
#ifndef WEIR_RELAY_CLI_VALUES_H
#define WEIR_RELAY_CLI_VALUES_H

#include "proto/base.h"
#include "proto/err.h"

// A moment, Unix ns: RFC 3339 ("2026-11-20T11:00:00Z", "2026-11-20 12:00:00.25+01:00"), or so long before `now_ns` ("-2h", "-1h30m").
// WEIR_E_INVALID.
int cli_time_parse(const char *text, uint64_t now_ns, uint64_t *unix_ns, struct weir_err *err);
// Block numbers, the last one included: "100-199", "100" (that one), "100-" (and all behind), as [first, end). WEIR_E_INVALID.
int cli_blocks_parse(const char *text, uint64_t *first, uint64_t *end, struct weir_err *err);
// "traces", "metrics", "logs", "profiles". WEIR_E_INVALID.
int cli_signal_parse(const char *text, enum weir_signal *signal, struct weir_err *err);

#endif
