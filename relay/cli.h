// SPDX-License-Identifier: Apache-2.0
// The command line: `weir [COMMAND] [OPTION…]`, parsed by argp into one struct cli, then given to the command's function by the table
// in cli.c. A command is one row there and one function below; its exit code is one of enum cli_exit.
#ifndef WEIR_RELAY_CLI_H
#define WEIR_RELAY_CLI_H

#include "relay/config.h"

enum cli_exit {
    CLI_DONE = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,    // wrong command line or configuration
    CLI_NOT_DONE = 3, // not finished in time
    CLI_HELD = 4,     // the spool is held by another process
};

#define CLI_MAX_SETS   256
#define CLI_MAX_IDS    4096
#define CLI_DRAIN_WAIT "5m"

// What was on the command line. Strings belong to argv.
struct cli {
    struct config_input input; // --config, --upstream, --spool, --grpc, --http, --admin, --set
    const char *admin_url;     // what asks a running weir: --admin, or http://127.0.0.1:9464
    const char *ca_file;       // the same: --ca-file, or NULL
    bool json, watch;          // the same: --json; status: --watch
    const char *upstream;      // replay, pause, resume, discard: UPSTREAM; spool export: --upstream
    const char *output;        // spool export: --output, or NULL
    const char *since, *until, *blocks, *signal,
        *token_file;       // replay, spool list, spool export: the options of these names, or NULL
    bool dry_run;          // replay: --dry-run
    const char *wait;      // drain: --wait, or NULL
    bool cancel;           // drain: --cancel
    bool keys;             // print-config: --keys
    const char *directory; // spool VERB: DIR
    bool show_blocks, show_lanes, show_dead_letters; // spool list, export: --blocks, --lanes, --dead-letters
    const char *to;                                  // spool salvage: --to
    bool yes;                                        // spool salvage, discard: --yes
    const char *ids[CLI_MAX_IDS];                    // deadletter show, redrive, purge: ID…
    size_t id_count;
    bool all;          // the same: --all
    const char *topic; // help: what about, or NULL
    const char *upstreams[CONFIG_MAX_UPSTREAMS];
    const char *sets[CLI_MAX_SETS];
};

// The whole program. Returns the exit code.
int cli_main(int argc, char **argv);

// Loads the configuration that the command line asks for; when it is wrong, prints all errors to stderr and returns false.
bool cli_load_config(const struct cli *cli, struct config *config);

// The commands. cmd_run gets a configuration that is complete and correct, and where it came from; logging is configured already.
int cmd_run(const struct config *config, const struct config_input *input);
int cmd_check_config(const struct cli *cli);
int cmd_print_config(const struct cli *cli);
int cmd_status(const struct cli *cli); // uses admin_url, json, watch
int cmd_replay(const struct cli *cli); // uses upstream … dry_run, admin_url, json
int cmd_drain(const struct cli *cli);  // uses wait, cancel, admin_url, json
int cmd_pause(const struct cli *cli);  // uses upstream, admin_url, json
int cmd_resume(const struct cli *cli);
int cmd_discard(const struct cli *cli);         // uses upstream, signal, yes, admin_url, json
int cmd_deadletter_list(const struct cli *cli); // these use upstream, signal, ids, all, admin_url, json
int cmd_deadletter_show(const struct cli *cli);
int cmd_deadletter_redrive(const struct cli *cli);
int cmd_deadletter_purge(const struct cli *cli);
int cmd_version(const struct cli *cli);

#endif
