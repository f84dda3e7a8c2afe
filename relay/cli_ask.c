// SPDX-License-Identifier: Apache-2.0
#include "relay/cli_ask.h"

#include <stdio.h>
#include <unistd.h>

#include "relay/status_print.h"

int cli_ask_take(const struct cli *cli, const struct admin_client *client, json_t **answer)
{
    // What users send may have U+0000 in its texts.
    json_t *json = json_loadb((const char *)client->body.data, client->body.len, JSON_ALLOW_NUL, NULL);
    const char *error = json_string_value(json_object_get(json, "error"));
    int exit_code = CLI_FAILED;
    char clean[1024];
    if (client->http_status == 200 && json_is_object(json)) {
        exit_code = CLI_DONE;
    } else if (error != NULL) {
        status_clean(error, clean, sizeof(clean));
        fprintf(stderr, "weir: %s%s\n", clean, client->http_status == 401 ? " (--token-file FILE)" : "");
        exit_code = client->http_status == 400 ? CLI_USAGE : CLI_FAILED;
    } else {
        fprintf(stderr, "weir: %s: answered HTTP %ld; is this weir's admin port? (--admin URL)\n", client->url,
                client->http_status);
    }
    if (cli->json && json != NULL) {
        size_t len = client->body.len;
        fwrite(client->body.data, 1, len, stdout);
        if (client->body.data[len - 1] != '\n')
            fputc('\n', stdout);
    }
    if (exit_code == CLI_DONE && (cli->json ? fflush(stdout) : 0) == 0) {
        *answer = json;
        return CLI_DONE;
    }
    json_decref(json);
    return exit_code != CLI_DONE ? exit_code : CLI_FAILED;
}

int cli_ask(const struct cli *cli, const char *path, json_t *question, json_t **answer)
{
    struct weir_err err = {0};
    struct admin_client client;
    *answer = NULL;
    if (question == NULL) {
        fprintf(stderr, "weir: the names are not UTF-8\n");
        return CLI_USAGE;
    }
    char *body = json_dumps(question, JSON_COMPACT);
    json_decref(question);
    int rc = admin_client_open(&client, cli->token_file, cli->ca_file, &err);
    if (rc == WEIR_OK && body == NULL)
        rc = weir_fail(&err, WEIR_E_NOMEM, "out of memory");
    if (rc == WEIR_OK)
        rc = admin_client_ask(&client, cli->admin_url, path, body, &err);
    int exit_code = CLI_FAILED;
    if (rc == WEIR_OK)
        exit_code = cli_ask_take(cli, &client, answer);
    else
        fprintf(stderr, "weir: %s\n", err.text);
    free(body);
    admin_client_close(&client);
    return exit_code;
}

bool cli_ask_path(const char *name, const char *verb, char *out, size_t cap)
{
    char *escaped = curl_easy_escape(NULL, name, (int)strlen(name));
    int len = escaped != NULL ? snprintf(out, cap, "/v1/upstreams/%s/%s", escaped, verb) : -1;
    curl_free(escaped);
    return len > 0 && (size_t)len < cap;
}

void cli_ask_warnings(const json_t *answer)
{
    size_t i;
    json_t *warning;
    json_array_foreach(json_object_get(answer, "warnings"), i, warning)
    {
        char clean[512];
        status_clean(json_is_string(warning) ? json_string_value(warning) : "", clean, sizeof(clean));
        fprintf(stderr, "weir: %s\n", clean);
    }
}

bool cli_ask_confirmed(const struct cli *cli, const char *question)
{
    char line[16] = "";
    if (cli->yes)
        return true;
    if (cli->json || isatty(STDIN_FILENO) != 1 || isatty(STDOUT_FILENO) != 1) {
        fprintf(stderr, "weir: nothing was done: --yes does it\n");
        return false;
    }
    printf("%s? [y/N] ", question);
    fflush(stdout);
    return fgets(line, sizeof(line), stdin) != NULL && (line[0] == 'y' || line[0] == 'Y');
}
