// SPDX-License-Identifier: Apache-2.0
// `weir deadletter list|show|redrive|purge`: what the upstreams of a running weir refused for good. The relay gives and takes it page by page.
#include <stdio.h>

#include "relay/cli_ask.h"
#include "relay/cli_values.h"
#include "relay/status_print.h"

#define PATH_BYTES  2048u
#define IDS_AT_ONCE 100u // as many as the relay takes

static double number_of(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

static const char *text_of(const json_t *object, const char *name, char *out, size_t cap)
{
    const char *text = json_string_value(json_object_get(object, name));
    status_clean(text != NULL ? text : "-", out, cap);
    return out;
}

static bool check_signal(const struct cli *cli)
{
    enum weir_signal signal;
    struct weir_err err = {0};
    if (cli->signal == NULL || cli_signal_parse(cli->signal, &signal, &err) == WEIR_OK)
        return true;
    fprintf(stderr, "weir: --signal: %s\n", err.text);
    return false;
}

// GETs `path`. CLI_DONE: *answer is what a 200 held, for the caller to decref; what went wrong was said on stderr.
static int get(const struct cli *cli, const char *path, json_t **answer)
{
    struct weir_err err = {0};
    struct admin_client client;
    int rc = admin_client_open(&client, cli->token_file, cli->ca_file, &err);
    int exit_code = CLI_FAILED;
    *answer = NULL;
    if (rc == WEIR_OK)
        rc = admin_client_ask(&client, cli->admin_url, path, NULL, &err);
    if (rc == WEIR_OK)
        exit_code = cli_ask_take(cli, &client, answer);
    else
        fprintf(stderr, "weir: %s\n", err.text);
    admin_client_close(&client);
    return exit_code;
}

// Appends "&name=value", escaped. False: too long.
static bool add_parameter(char path[PATH_BYTES], const char *name, const char *value)
{
    size_t len = strlen(path);
    if (value == NULL)
        return true;
    char *escaped = curl_easy_escape(NULL, value, (int)strlen(value));
    int more = escaped != NULL ? snprintf(path + len, PATH_BYTES - len, "&%s=%s", name, escaped) : -1;
    curl_free(escaped);
    return more > 0 && (size_t)more < PATH_BYTES - len;
}

// "1 item", "1,234 items"
static const char *count_of(double n, const char *what, char out[STATUS_WORD_LEN + 16])
{
    char number[STATUS_WORD_LEN];
    status_count_format(n, number);
    snprintf(out, STATUS_WORD_LEN + 16, "%s %s%s", number, what, n == 1 ? "" : "s");
    return out;
}

// There is none of those that were asked for: no failure, but worth a word.
static void say_none(const struct cli *cli)
{
    char name[300] = "";
    if (cli->upstream != NULL)
        status_clean(cli->upstream, name, sizeof(name));
    fprintf(stderr, "weir: there are no dead letters%s%s%s%s%s\n", cli->signal != NULL ? " with " : "",
            cli->signal != NULL ? cli->signal : "", name[0] != '\0' ? " of '" : "", name, name[0] != '\0' ? "'" : "");
}

// --- list -------------------------------------------------------------------------------------------------------------------

static void print_letter(const json_t *letter)
{
    char id[300], signal[16], code[64], message[200], stored[40], bytes[STATUS_WORD_LEN];
    char items[STATUS_WORD_LEN + 16], attempts[STATUS_WORD_LEN + 16];
    status_bytes_format(number_of(letter, "bytes"), bytes);
    printf("%s  %s  %s  %s, %s, %s%s  %s: %s\n", text_of(letter, "id", id, sizeof(id)),
           text_of(letter, "signal", signal, sizeof(signal)), text_of(letter, "stored", stored, sizeof(stored)),
           count_of(number_of(letter, "items"), "item", items), bytes,
           count_of(number_of(letter, "attempts"), "attempt", attempts),
           json_is_true(json_object_get(letter, "redrive")) ? ", to be sent again" : "",
           text_of(letter, "code", code, sizeof(code)), text_of(letter, "message", message, sizeof(message)));
}

static void print_page(const struct cli *cli, const json_t *answer)
{
    size_t i;
    json_t *letter;
    json_array_foreach(json_object_get(answer, "letters"), i, letter)
    {
        if (cli->json)
            json_dumpf(letter, stdout, JSON_COMPACT);
        if (cli->json)
            fputc('\n', stdout);
        else
            print_letter(letter);
    }
}

int cmd_deadletter_list(const struct cli *cli)
{
    char after[600] = "";
    bool none = true;
    struct cli quiet = *cli;
    quiet.json = false; // an object a letter, not one a page
    if (!check_signal(cli))
        return CLI_USAGE;
    for (bool more = true; more;) {
        char path[PATH_BYTES] = "/v1/deadletters?limit=1000";
        json_t *answer;
        if (!add_parameter(path, "upstream", cli->upstream) || !add_parameter(path, "signal", cli->signal) ||
            !add_parameter(path, "after", after[0] != '\0' ? after : NULL)) {
            fprintf(stderr, "weir: no upstream has so long a name\n");
            return CLI_USAGE;
        }
        int exit_code = get(&quiet, path, &answer);
        if (exit_code != CLI_DONE)
            return exit_code;
        print_page(cli, answer);
        none = none && json_array_size(json_object_get(answer, "letters")) == 0;
        const char *next = json_string_value(json_object_get(answer, "after"));
        more = next != NULL && strlen(next) < sizeof(after) && strcmp(next, after) != 0;
        if (more)
            snprintf(after, sizeof(after), "%s", next);
        json_decref(answer);
    }
    if (none && !cli->json)
        say_none(cli);
    return fflush(stdout) == 0 ? CLI_DONE : CLI_FAILED;
}

int cmd_deadletter_show(const struct cli *cli)
{
    char path[PATH_BYTES];
    struct cli quiet = *cli;
    json_t *answer;
    quiet.json = false;
    if (cli->id_count != 1) {
        fprintf(stderr, "weir: name one dead letter: weir deadletter show ID (weir deadletter list has them)\n");
        return CLI_USAGE;
    }
    char *escaped = curl_easy_escape(NULL, cli->ids[0], (int)strlen(cli->ids[0]));
    int len = escaped != NULL ? snprintf(path, sizeof(path), "/v1/deadletters/%s", escaped) : -1;
    curl_free(escaped);
    if (len <= 0 || (size_t)len >= sizeof(path)) {
        fprintf(stderr, "weir: no dead letter has so long an id\n");
        return CLI_USAGE;
    }
    int exit_code = get(&quiet, path, &answer);
    if (exit_code != CLI_DONE)
        return exit_code;
    // For a person on lines of its own, with --json on one.
    json_dumpf(answer, stdout, cli->json ? JSON_COMPACT : JSON_INDENT(2));
    fputc('\n', stdout);
    json_decref(answer);
    return fflush(stdout) == 0 ? CLI_DONE : CLI_FAILED;
}

// --- redrive, purge ---------------------------------------------------------------------------------------------------------

struct done {
    double letters, items, skipped;
    bool failed; // for some
};

static void say_failed(const struct cli *cli, const json_t *answer, struct done *done)
{
    size_t i;
    json_t *row;
    char id[300], error[400];
    json_array_foreach(json_object_get(answer, "not_found"), i, row)
    {
        const char *text = json_string_value(row);
        status_clean(text != NULL ? text : "", id, sizeof(id));
        fprintf(stderr, "weir: there is no dead letter %s: weir deadletter list has them\n", id);
        done->failed = true;
    }
    json_array_foreach(json_object_get(answer, "errors"), i, row)
    {
        fprintf(stderr, "weir: %s: %s\n", text_of(row, "id", id, sizeof(id)),
                text_of(row, "error", error, sizeof(error)));
        done->failed = true;
    }
    if (!cli->json)
        cli_ask_warnings(answer);
}

// One question; *after gets where the next one goes on, "" when there is none.
static int ask(const struct cli *cli, bool purge, json_t *question, struct done *done, char *after, size_t cap)
{
    json_t *answer;
    int exit_code = cli_ask(cli, purge ? "/v1/deadletters/purge" : "/v1/deadletters/redrive", question, &answer);
    after[0] = '\0';
    if (exit_code != CLI_DONE)
        return exit_code;
    done->letters += number_of(answer, purge ? "purged" : "redrive");
    done->items += number_of(answer, "items");
    done->skipped += number_of(answer, "skipped");
    say_failed(cli, answer, done);
    const char *next = json_string_value(json_object_get(answer, "after"));
    if (next != NULL && strlen(next) < cap)
        snprintf(after, cap, "%s", next);
    json_decref(answer);
    return CLI_DONE;
}

static int change_all(const struct cli *cli, bool purge, struct done *done)
{
    char after[600] = "";
    int exit_code;
    do {
        json_t *question = json_pack("{s:b, s:s*, s:s*, s:s*}", "all", 1, "upstream", cli->upstream, "signal",
                                     cli->signal, "after", after[0] != '\0' ? after : NULL);
        exit_code = ask(cli, purge, question, done, after, sizeof(after));
    } while (exit_code == CLI_DONE && after[0] != '\0');
    return exit_code;
}

static int change_ids(const struct cli *cli, bool purge, struct done *done)
{
    char after[2];
    int exit_code = CLI_DONE;
    for (size_t i = 0; i < cli->id_count && exit_code == CLI_DONE;) {
        json_t *ids = json_array(), *question = json_pack("{s:o}", "ids", ids);
        for (size_t n = 0; n < IDS_AT_ONCE && i < cli->id_count && question != NULL; n++, i++)
            if (json_array_append_new(ids, json_string(cli->ids[i])) != 0) {
                json_decref(question);
                question = NULL;
            }
        exit_code = ask(cli, purge, question, done, after, sizeof(after));
    }
    return exit_code;
}

static void say_done(const struct cli *cli, bool purge, const struct done *done)
{
    char letters[STATUS_WORD_LEN + 16], items[STATUS_WORD_LEN + 16];
    count_of(done->letters, "dead letter", letters);
    count_of(done->items, "item", items);
    const char *are = done->letters == 1 ? "is" : "are";
    if (!cli->json && done->letters > 0 && purge)
        printf("%s (%s) %s gone\n", letters, items, are);
    else if (!cli->json && done->letters > 0)
        printf("%s (%s) will be sent again\n", letters, items);
    if (done->skipped > 0)
        fprintf(stderr, "weir: %s %s just being sent or stored, and stay%s: say it again later\n",
                count_of(done->skipped, "dead letter", letters), done->skipped == 1 ? "is" : "are",
                done->skipped == 1 ? "s" : "");
}

static int change(const struct cli *cli, bool purge)
{
    const char *verb = purge ? "purge" : "redrive";
    struct done done = {0};
    if (!check_signal(cli))
        return CLI_USAGE;
    if (cli->all == (cli->id_count > 0) || (!cli->all && (cli->upstream != NULL || cli->signal != NULL))) {
        fprintf(stderr, "weir: say which: weir deadletter %s ID..., or --all [--upstream NAME] [--signal NAME]\n",
                verb);
        return CLI_USAGE;
    }
    int exit_code = cli->all ? change_all(cli, purge, &done) : change_ids(cli, purge, &done);
    say_done(cli, purge, &done);
    if (exit_code == CLI_DONE && cli->all && done.letters == 0 && done.skipped == 0 && !cli->json)
        say_none(cli);
    done.failed = done.failed || (purge && done.skipped > 0);
    if (exit_code == CLI_DONE && (done.failed || fflush(stdout) != 0))
        exit_code = CLI_FAILED;
    return exit_code;
}

int cmd_deadletter_redrive(const struct cli *cli)
{
    return change(cli, false);
}

int cmd_deadletter_purge(const struct cli *cli)
{
    return change(cli, true);
}
