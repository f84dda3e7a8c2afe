// SPDX-License-Identifier: Apache-2.0
// What the commands `weir spool VERB DIR` share: opening, choosing blocks, JSON, progress.
#ifndef WEIR_RELAY_CLI_SPOOL_H
#define WEIR_RELAY_CLI_SPOOL_H

#include <jansson.h>
#include <stdio.h>

#include "relay/cli.h"
#include "storage/inspect.h"

// Opens cli->directory, or says on stderr why not. CLI_DONE, CLI_HELD, CLI_USAGE: no spool, or not one that can be looked at;
// CLI_FAILED: no memory.
int cli_spool_open(const struct cli *cli, struct inspect **out);
// Says it on stderr; returns CLI_FAILED.
int cli_spool_fail(const struct weir_err *err);
// Flushes stdout. CLI_FAILED, and says so, when what was printed did not get out.
int cli_spool_end(int code);

// Which blocks are meant: --signal, --since, --until, --blocks.
struct cli_filter {
    unsigned signal; // INSPECT_ANY: all
    uint64_t since_ns, until_ns;
    uint64_t first, end;
};
bool cli_filter_parse(const struct cli *cli, struct cli_filter *out); // false: said so on stderr
// Whether some of the block was received in [since, until) and its signal is meant.
bool cli_filter_takes(const struct cli_filter *filter, const struct inspect_block *block);

// --- JSON: an object under construction that remembers that it failed
struct cli_json {
    json_t *json;
    bool failed;
};
struct cli_json cli_json_new(void);
void cli_json_put(struct cli_json *object, const char *name, json_t *value); // takes `value` over; NULL is a failure
void cli_json_u64(struct cli_json *object, const char *name, uint64_t value);
void cli_json_real(struct cli_json *object, const char *name, double value); // to a thousandth
void cli_json_bool(struct cli_json *object, const char *name, bool value);
void cli_json_text(struct cli_json *object, const char *name,
                   const char *text); // NULL: null; what JSON cannot hold: '?'
void cli_json_bytes(struct cli_json *object, const char *name,
                    struct weir_slice text);                                     // the same of bytes without an end
void cli_json_time(struct cli_json *object, const char *name, uint64_t unix_ns); // 0: null
void cli_json_object(struct cli_json *object, const char *name, struct cli_json *inner);
// Prints it on one line (or indented) and frees it. False: out of memory.
bool cli_json_print(struct cli_json *object, bool indented, FILE *out);

// The columns of a lane's ledger and its intervals, as /v1/status has them.
void cli_spool_ledger(struct cli_json *items, const struct spool_lane_stats *stats);
struct cli_json cli_spool_evicted(const struct spool_lane_stats *stats); // by reason, and when it was received
// The kept headers of an envelope's bytes, [{"name", "value"}], values of secret ones masked; JSON null: it cannot be read.
json_t *cli_spool_headers(struct weir_slice bytes);
void cli_spool_headers_text(struct weir_slice bytes); // to stdout, each behind two blanks
json_t *cli_spool_intervals(const struct inspect_lane *lane, uint64_t next_block);

// --- progress on stderr, when that is a terminal
struct cli_progress {
    const char *verb;
    uint64_t began_ns, shown_ns; // 0: nothing was shown yet
    bool terminal;
};
struct cli_progress cli_progress_new(const char *verb);
void cli_progress_show(struct cli_progress *progress, uint64_t done_bytes, uint64_t total_bytes);
void cli_progress_end(struct cli_progress *progress); // wipes the line

// Every finding of `weir spool verify`, two lines each.
void cli_spool_findings_help(FILE *out);

// The verbs.
int cmd_spool_stat(const struct cli *cli);
int cmd_spool_list(const struct cli *cli);
int cmd_spool_verify(const struct cli *cli);
int cmd_spool_export(const struct cli *cli);
int cmd_spool_salvage(const struct cli *cli);

#endif
