// SPDX-License-Identifier: Apache-2.0
// `weir status`: asks a running weir's admin port.
#include <errno.h>
#include <unistd.h>

#include "relay/admin_client.h"
#include "relay/cli.h"
#include "relay/status_print.h"

#define WATCH_SECONDS 1
#define CLEAR         "\033[H\033[2J" // home, clear

// WEIR_E_IO: no answer; WEIR_E_INVALID: an answer that is not weir's.
static int fetch(const struct cli *cli, struct admin_client *client, struct weir_err *err)
{
    int code = admin_client_ask(client, cli->admin_url, "/v1/status", NULL, err);
    if (code == WEIR_OK && client->http_status != 200)
        return weir_fail(err, WEIR_E_INVALID, "%s: answered HTTP %ld; is this weir's admin port? (--admin URL)",
                         client->url, client->http_status);
    return code;
}

static int show(const struct cli *cli, const struct admin_client *client, struct status_watch *watch,
                struct weir_err *err)
{
    const struct weir_buf *body = &client->body;
    if (cli->json) {
        fwrite(body->data, 1, body->len, stdout);
        return WEIR_OK;
    }
    json_error_t why;
    json_t *status = json_loadb((const char *)body->data, body->len, 0, &why);
    if (!json_is_object(status)) {
        json_decref(status);
        return weir_fail(err, WEIR_E_INVALID, "%s: not a status of weir: %s", client->url, why.text);
    }
    if (watch != NULL && isatty(STDOUT_FILENO))
        fputs(CLEAR, stdout);
    status_print(status, watch, stdout);
    if (watch != NULL && !isatty(STDOUT_FILENO))
        fputc('\n', stdout);
    json_decref(status);
    return WEIR_OK;
}

// What was shown is old.
static void show_nothing(void)
{
    fputs(CLEAR, stdout);
    fflush(stdout);
}

// Shows a page each second for as long as somebody watches. A relay that restarts meanwhile is waited for, but it must have
// answered once.
static int watch_on(const struct cli *cli, struct admin_client *client)
{
    struct status_watch watch = {0};
    for (bool seen = false;; seen = true) {
        struct weir_err err;
        int code = fetch(cli, client, &err);
        if (code == WEIR_OK)
            code = show(cli, client, &watch, &err);
        if (code != WEIR_OK && seen && isatty(STDOUT_FILENO))
            show_nothing();
        if (code != WEIR_OK)
            fprintf(stderr, "weir: %s\n", err.text);
        if (code != WEIR_OK && !seen)
            return CLI_FAILED;
        if (fflush(stdout) != 0)
            return CLI_FAILED; // nobody watches any more
        sleep(WATCH_SECONDS);
    }
}

static int show_once(const struct cli *cli, struct admin_client *client)
{
    struct weir_err err;
    int code = fetch(cli, client, &err);
    if (code == WEIR_OK)
        code = show(cli, client, NULL, &err);
    if (code == WEIR_OK && fflush(stdout) != 0)
        code = weir_fail(&err, WEIR_E_IO, "write the status: %s", strerrordesc_np(errno));
    if (code != WEIR_OK)
        fprintf(stderr, "weir: %s\n", err.text);
    return code == WEIR_OK ? CLI_DONE : CLI_FAILED;
}

int cmd_status(const struct cli *cli)
{
    struct admin_client client;
    struct weir_err err;
    int exit_code = CLI_FAILED;
    if (admin_client_open(&client, NULL, cli->ca_file, &err) != WEIR_OK)
        fprintf(stderr, "weir: %s\n", err.text);
    else
        exit_code = cli->watch ? watch_on(cli, &client) : show_once(cli, &client);
    admin_client_close(&client);
    return exit_code;
}
