// SPDX-License-Identifier: Apache-2.0
// `weir status`: asks a running weir's admin port.
#include <curl/curl.h>
#include <errno.h>
#include <unistd.h>

#include "relay/cli.h"
#include "relay/status_print.h"

#define ANSWER_BYTES_MAX (16u * 1024u * 1024u)
#define CONNECT_MS       3000L
#define ANSWER_MS        10000L
#define WATCH_SECONDS    1
#define CLEAR            "\033[H\033[2J" // home, clear

static size_t on_body(char *data, size_t size, size_t count, void *out)
{
    struct weir_buf *body = out;
    size_t len = size * count;
    if (len > ANSWER_BYTES_MAX - body->len || !weir_buf_append(body, data, len))
        return 0;
    return len;
}

static CURL *new_request(const char *url, struct weir_buf *body, char *error)
{
    CURL *curl = curl_easy_init();
    if (curl == NULL)
        return NULL;
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_PROXY, ""); // an admin port is not behind the web's proxy
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, ANSWER_MS);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, body);
    return curl;
}

// One GET; *body is replaced. WEIR_E_IO: no answer; WEIR_E_INVALID: an answer that is not weir's.
static int fetch(CURL *curl, const char *url, struct weir_buf *body, const char *error, struct weir_err *err)
{
    body->len = 0;
    CURLcode rc = curl_easy_perform(curl);
    if (rc != CURLE_OK)
        return weir_fail(err, WEIR_E_IO,
                         "%s: %s; is weir running, and is its admin.endpoint there? (weir status --admin URL)", url,
                         error[0] != '\0' ? error : curl_easy_strerror(rc));
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200)
        return weir_fail(err, WEIR_E_INVALID, "%s: answered HTTP %ld; is this weir's admin port?", url, status);
    return WEIR_OK;
}

static int show(const struct cli *cli, const char *url, const struct weir_buf *body, struct status_watch *watch,
                struct weir_err *err)
{
    if (cli->json) {
        fwrite(body->data, 1, body->len, stdout);
        return WEIR_OK;
    }
    json_error_t why;
    json_t *status = json_loadb((const char *)body->data, body->len, 0, &why);
    if (!json_is_object(status)) {
        json_decref(status);
        return weir_fail(err, WEIR_E_INVALID, "%s: not a status of weir: %s", url, why.text);
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
static int watch_on(const struct cli *cli, CURL *curl, const char *url, struct weir_buf *body, const char *error)
{
    struct status_watch watch = {0};
    for (bool seen = false;; seen = true) {
        struct weir_err err;
        int code = fetch(curl, url, body, error, &err);
        if (code == WEIR_OK)
            code = show(cli, url, body, &watch, &err);
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

static int show_once(const struct cli *cli, CURL *curl, const char *url, struct weir_buf *body, const char *error)
{
    struct weir_err err;
    int code = fetch(curl, url, body, error, &err);
    if (code == WEIR_OK)
        code = show(cli, url, body, NULL, &err);
    if (code == WEIR_OK && fflush(stdout) != 0)
        code = weir_fail(&err, WEIR_E_IO, "write the status: %s", strerrordesc_np(errno));
    if (code != WEIR_OK)
        fprintf(stderr, "weir: %s\n", err.text);
    return code == WEIR_OK ? CLI_DONE : CLI_FAILED;
}

int cmd_status(const struct cli *cli)
{
    size_t len = strlen(cli->admin_url);
    while (len > 0 && cli->admin_url[len - 1] == '/')
        len--;
    char url[2048], error[CURL_ERROR_SIZE] = "";
    if (snprintf(url, sizeof(url), "%.*s/v1/status", (int)len, cli->admin_url) >= (int)sizeof(url)) {
        fprintf(stderr, "weir: the URL of --admin is too long\n");
        return CLI_USAGE;
    }
    curl_global_init(CURL_GLOBAL_DEFAULT);
    struct weir_buf body = {0};
    CURL *curl = new_request(url, &body, error);
    int exit_code = CLI_FAILED;
    if (curl == NULL)
        fprintf(stderr, "weir: out of memory\n");
    else
        exit_code = cli->watch ? watch_on(cli, curl, url, &body, error) : show_once(cli, curl, url, &body, error);
    curl_easy_cleanup(curl);
    weir_buf_free(&body);
    curl_global_cleanup();
    return exit_code;
}
