// SPDX-License-Identifier: Apache-2.0
// `weir pause`, `weir resume`, `weir discard`: orders about one upstream of a running weir.
#include <stdio.h>

#include "relay/cli_ask.h"
#include "relay/cli_values.h"
#include "relay/status_print.h"

#define PATH_BYTES 1024

static int path_of(const struct cli *cli, const char *verb, char path[PATH_BYTES])
{
    if (cli->upstream == NULL || cli->upstream[0] == '\0') {
        fprintf(stderr, "weir: name the upstream: weir %s UPSTREAM (weir status lists them)\n", verb);
        return CLI_USAGE;
    }
    if (!cli_ask_path(cli->upstream, verb, path, PATH_BYTES)) {
        fprintf(stderr, "weir: no upstream has so long a name\n");
        return CLI_USAGE;
    }
    return CLI_DONE;
}

static double number_of(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

static int set_paused(const struct cli *cli, bool paused)
{
    char path[PATH_BYTES], name[300], items[STATUS_WORD_LEN];
    json_t *answer;
    int exit_code = path_of(cli, paused ? "pause" : "resume", path);
    if (exit_code == CLI_DONE)
        exit_code = cli_ask(cli, path, json_object(), &answer);
    if (exit_code != CLI_DONE)
        return exit_code;
    bool changed = json_is_true(json_object_get(answer, "changed"));
    status_count_format(number_of(answer, "pending_items"), items);
    status_clean(cli->upstream, name, sizeof(name));
    const char *now = paused ? (changed ? "is paused" : "was paused already")
                             : (changed ? "is not paused any more" : "was not paused");
    if (!cli->json)
        printf("%s %s; %s items wait for it%s%s\n", name, now, items, paused ? "; it goes on with weir resume " : "",
               paused ? name : "");
    cli_ask_warnings(answer);
    json_decref(answer);
    return fflush(stdout) == 0 ? CLI_DONE : CLI_FAILED;
}

int cmd_pause(const struct cli *cli)
{
    return set_paused(cli, true);
}

int cmd_resume(const struct cli *cli)
{
    return set_paused(cli, false);
}

// --- discard ----------------------------------------------------------------------------------------------------------------

static void print_discard(const struct cli *cli, const json_t *answer, bool done)
{
    const char *signal;
    json_t *lane;
    char name[300];
    status_clean(cli->upstream, name, sizeof(name));
    if (number_of(answer, "items") == 0) {
        printf("%s is to get nothing any more: there is nothing to give up\n", name);
        return;
    }
    printf(done ? "given up, of what %s was still to get:\n" : "what %s is still to get, and would be given up:\n",
           name);
    json_object_foreach(json_object_get(answer, "signals"), signal, lane)
    {
        char items[STATUS_WORD_LEN], bytes[STATUS_WORD_LEN], clean[16];
        status_clean(signal, clean, sizeof(clean));
        status_count_format(number_of(lane, "items"), items);
        status_bytes_format(number_of(lane, "bytes"), bytes);
        printf("  %-8s %s items, %s\n", clean, items, bytes);
    }
}

static int ask_discard(const struct cli *cli, bool dry_run, json_t **answer)
{
    char path[PATH_BYTES];
    int exit_code = path_of(cli, "discard", path);
    if (exit_code != CLI_DONE)
        return exit_code;
    return cli_ask(cli, path, json_pack("{s:b, s:s*}", "dry_run", dry_run, "signal", cli->signal), answer);
}

int cmd_discard(const struct cli *cli)
{
    struct weir_err err = {0};
    enum weir_signal signal;
    struct cli first = *cli;
    json_t *answer;
    if (cli->signal != NULL && cli_signal_parse(cli->signal, &signal, &err) != WEIR_OK) {
        fprintf(stderr, "weir: --signal: %s\n", err.text);
        return CLI_USAGE;
    }
    first.json = cli->json && !cli->yes;
    int exit_code = ask_discard(&first, true, &answer);
    if (exit_code != CLI_DONE)
        return exit_code;
    bool nothing = number_of(answer, "items") == 0;
    if (!cli->json && !cli->yes)
        print_discard(cli, answer, false);
    json_decref(answer);
    if (nothing && !cli->yes)
        return fflush(stdout) == 0 ? CLI_DONE : CLI_FAILED;
    if (!cli_ask_confirmed(cli, "Give it up"))
        return CLI_FAILED;
    exit_code = ask_discard(cli, false, &answer);
    if (exit_code != CLI_DONE)
        return exit_code;
    if (!cli->json)
        print_discard(cli, answer, true);
    cli_ask_warnings(answer);
    json_decref(answer);
    return fflush(stdout) == 0 ? CLI_DONE : CLI_FAILED;
}
