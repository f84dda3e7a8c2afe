// SPDX-License-Identifier: Apache-2.0
// Commands that need no running weir: check-config, print-config, version.
#include <stdio.h>

#include "relay/cli.h"
#include "relay/config_print.h"
#include "relay/header.h"
#include "relay/version.h"

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

int cmd_check_config(const struct cli *cli)
{
    struct config config;
    struct cli with_files = *cli;
    with_files.input.check_files = true;
    if (!cli_load_config(&with_files, &config))
        return CLI_FAILED;
    warn(cli, &config);
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
