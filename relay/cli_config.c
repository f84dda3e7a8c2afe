// SPDX-License-Identifier: Apache-2.0
// Commands that need no running weir: check-config, print-config, version.
#include <stdio.h>

#include "relay/cli.h"
#include "relay/config_print.h"
#include "relay/header.h"
#include "relay/version.h"
#include "storage/inspect.h"

bool cli_load_config(const struct cli *cli, struct config *config)
{
    struct config_errors errors = {0};
    int result = config_load(&cli->input, config, &errors);
    config_errors_print(&errors, stderr);
    config_errors_free(&errors);
    return result == WEIR_OK;
}

// Nothing is wrong with it, but somebody should have meant it.
static void warn(const struct cli *cli, const struct config *config)
{
    const struct config_names *kept = &config->receiver.keep_headers;
    for (size_t i = 0; i < kept->count; i++)
        if (header_is_secret(kept->items[i]))
            fprintf(
                stderr,
                "%s: receiver.keep_headers: warning: values of '%s' look like secrets; they are stored in the spool's "
                "files as they come\n",
                cli->input.file != NULL ? cli->input.file : "configuration", kept->items[i]);
    config_files_warn(config, cli->input.file != NULL ? cli->input.file : "configuration", stderr);
}

static bool is_taken(const struct config *config, const struct inspect_lane *lane)
{
    for (size_t i = 0; i < config->upstream_count; i++)
        if (strcmp(config->upstreams[i].name, lane->upstream) == 0)
            return (config->upstreams[i].signals & (1u << lane->signal)) != 0;
    return false;
}

// A name that was mistyped, or left out, keeps its data waiting. A spool that is in use, or not to be read, is not looked into: the running
// weir's status says the same.
static void warn_orphans(const struct cli *cli, const struct config *config)
{
    struct inspect *inspect;
    struct inspect_lane lane;
    struct weir_err err;
    if (inspect_open(config->spool.directory, &inspect, &err) != WEIR_OK)
        return;
    for (size_t i = 0; inspect_lane(inspect, i, &lane) == WEIR_OK; i++)
        if (lane.stats.pending > 0 && !is_taken(config, &lane))
            fprintf(
                stderr,
                "%s: upstreams: warning: the spool keeps %llu items (%s) for '%s', which is not configured for them; "
                "with this configuration they wait until weir discard %s gives them up\n",
                cli->input.file != NULL ? cli->input.file : "configuration", (unsigned long long)lane.stats.pending,
                weir_signal_name(lane.signal), lane.upstream, lane.upstream);
    inspect_close(inspect);
}

int cmd_check_config(const struct cli *cli)
{
    struct config config;
    struct cli with_files = *cli;
    with_files.input.check_files = true;
    if (!cli_load_config(&with_files, &config))
        return CLI_FAILED;
    warn(cli, &config);
    warn_orphans(cli, &config);
    printf("%s: sound, %zu upstream%s\n", cli->input.file != NULL ? cli->input.file : "configuration",
           config.upstream_count, config.upstream_count == 1 ? "" : "s");
    config_free(&config);
    return CLI_DONE;
}

int cmd_print_config(const struct cli *cli)
{
    struct config config;
    if (cli->keys) {
        config_print_keys(stdout);
        return fflush(stdout) == 0 ? CLI_DONE : CLI_FAILED;
    }
    if (!cli_load_config(cli, &config))
        return CLI_USAGE;
    bool printed = config_print(&config, stdout);
    config_free(&config);
    return printed ? CLI_DONE : CLI_FAILED;
}

int cmd_version(const struct cli *cli)
{
    printf("weir %s\n", weir_version);
    return CLI_DONE;
}
