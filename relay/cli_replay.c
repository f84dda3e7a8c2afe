// SPDX-License-Identifier: Apache-2.0
// `weir replay`: asks a running weir to deliver once more what it has kept. Mistakes on the command line are found here, so that they are told in
// its words; the rest is the relay's.
#include <jansson.h>

#include "relay/cli_ask.h"
#include "relay/cli_values.h"
#include "relay/status_print.h"

static int check_times(const struct cli *cli, struct weir_err *err)
{
    uint64_t now_ns = weir_now_unix_ns(), since_ns, until_ns = now_ns;
    if (cli_time_parse(cli->since, now_ns, &since_ns, err) != WEIR_OK)
        return weir_wrap(err, "--since");
    if (cli->until != NULL && cli_time_parse(cli->until, now_ns, &until_ns, err) != WEIR_OK)
        return weir_wrap(err, "--until");
    return until_ns > since_ns ? WEIR_OK : weir_fail(err, WEIR_E_INVALID, "--until must be after --since");
}

// The request's body, or NULL with an error.
static json_t *question(const struct cli *cli, struct weir_err *err)
{
    uint64_t first = 0, end = 0;
    enum weir_signal signal;
    if (cli->upstream == NULL)
        return weir_fail(err, WEIR_E_INVALID, "name the upstream: weir replay UPSTREAM --since -2h"), NULL;
    if ((cli->since != NULL) == (cli->blocks != NULL) || (cli->until != NULL && cli->since == NULL))
        return weir_fail(err, WEIR_E_INVALID, "say what to replay: --since T [--until T], or --blocks A-B"), NULL;
    if (cli->since != NULL && check_times(cli, err) != WEIR_OK)
        return NULL;
    if (cli->blocks != NULL && cli_blocks_parse(cli->blocks, &first, &end, err) != WEIR_OK)
        return weir_wrap(err, "--blocks"), NULL;
    if (cli->signal != NULL && cli_signal_parse(cli->signal, &signal, err) != WEIR_OK)
        return weir_wrap(err, "--signal"), NULL;
    json_t *json = json_pack("{s:s, s:b, s:s*, s:s*, s:s*}", "upstream", cli->upstream, "dry_run", cli->dry_run,
                             "since", cli->since, "until", cli->until, "signal", cli->signal);
    if (cli->blocks != NULL && json != NULL) {
        json_object_set_new(json, "first", json_integer((json_int_t)(first > INT64_MAX ? INT64_MAX : first)));
        if (end <= INT64_MAX) // "100-": to the last one
            json_object_set_new(json, "end", json_integer((json_int_t)end));
    }
    if (json == NULL)
        weir_fail(err, WEIR_E_INVALID, "the names are not UTF-8");
    return json;
}

static double number(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

static void print_signal(const char *name, const json_t *lane)
{
    char items[STATUS_WORD_LEN], blocks[STATUS_WORD_LEN], bytes[STATUS_WORD_LEN];
    status_count_format(number(lane, "items"), items);
    status_count_format(number(lane, "blocks"), blocks);
    status_bytes_format(number(lane, "bytes"), bytes);
    if (number(lane, "items") == 0) {
        printf("  %-8s nothing\n", name);
        return;
    }
    const char *from = json_string_value(json_object_get(lane, "received_first"));
    const char *to = json_string_value(json_object_get(lane, "received_last"));
    printf("  %-8s %s items, %s, in %s blocks of %.0f-%.0f, received %s to %s\n", name, items, bytes, blocks,
           number(lane, "first"), number(lane, "end") - 1, from != NULL ? from : "-", to != NULL ? to : "-");
}

static int print_answer(const struct cli *cli, const json_t *answer)
{
    const char *name;
    json_t *lane;
    printf("%s to %s:\n", cli->dry_run ? "would be delivered once more" : "is delivered once more", cli->upstream);
    json_object_foreach(json_object_get(answer, "signals"), name, lane)
    {
        char clean[16];
        status_clean(name, clean, sizeof(clean));
        print_signal(clean, lane);
    }
    cli_ask_warnings(answer);
    return fflush(stdout) == 0 ? CLI_DONE : CLI_FAILED;
}

int cmd_replay(const struct cli *cli)
{
    struct weir_err err = {0};
    json_t *json = question(cli, &err);
    if (json == NULL) {
        fprintf(stderr, "weir: %s\n", err.text);
        return CLI_USAGE;
    }
    json_t *answer = NULL;
    int exit_code = cli_ask(cli, "/v1/replay", json, &answer);
    if (exit_code == CLI_DONE && !cli->json)
        exit_code = print_answer(cli, answer);
    json_decref(answer);
    return exit_code;
}
