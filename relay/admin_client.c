// SPDX-License-Identifier: Apache-2.0
#include "relay/admin_client.h"

#include "relay/tokens.h"

#define ANSWER_BYTES_MAX (40u * 1024u * 1024u) // a dead letter of 4 MiB, as JSON
#define CONNECT_MS       3000L
#define ANSWER_MS        10000L

static size_t on_body(char *data, size_t size, size_t count, void *out)
{
    struct weir_buf *body = out;
    size_t len = size * count;
    if (len > ANSWER_BYTES_MAX - body->len || !weir_buf_append(body, data, len))
        return 0;
    return len;
}

static bool add_header(struct admin_client *client, const char *line)
{
    struct curl_slist *longer = curl_slist_append(client->headers, line);
    if (longer != NULL)
        client->headers = longer;
    return longer != NULL;
}

static int show_token(struct admin_client *client, const char *file, struct weir_err *err)
{
    char token[TOKEN_BYTES_MAX + 1], line[TOKEN_BYTES_MAX + 32];
    int rc = token_read(file, token, err);
    snprintf(line, sizeof(line), "Authorization: Bearer %s", token);
    if (rc == WEIR_OK && !add_header(client, line))
        rc = weir_fail(err, WEIR_E_NOMEM, "out of memory");
    explicit_bzero(token, sizeof(token));
    explicit_bzero(line, sizeof(line));
    return rc;
}

int admin_client_open(struct admin_client *client, const char *token_file, const char *ca_file, struct weir_err *err)
{
    *client = (struct admin_client){0};
    curl_global_init(CURL_GLOBAL_DEFAULT);
    CURL *curl = client->curl = curl_easy_init();
    if (curl == NULL || !add_header(client, "Content-Type: application/json"))
        return weir_fail(err, WEIR_E_NOMEM, "out of memory");
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_PROXY, ""); // an admin port is not behind the web's proxy
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, ANSWER_MS);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, client->error);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &client->body);
    if (ca_file != NULL)
        curl_easy_setopt(curl, CURLOPT_CAINFO, ca_file);
    if (ca_file != NULL)
        curl_easy_setopt(curl, CURLOPT_CAPATH, NULL); // that file alone
    int rc = token_file != NULL ? show_token(client, token_file, err) : WEIR_OK;
    return rc != WEIR_OK ? weir_wrap(err, "--token-file") : WEIR_OK;
}

void admin_client_close(struct admin_client *client)
{
    curl_easy_cleanup(client->curl);
    curl_slist_free_all(client->headers);
    weir_buf_free(&client->body);
    curl_global_cleanup();
}

int admin_client_ask(struct admin_client *client, const char *base, const char *path, const char *json,
                     struct weir_err *err)
{
    size_t len = strlen(base);
    while (len > 0 && base[len - 1] == '/')
        len--;
    if (snprintf(client->url, sizeof(client->url), "%.*s%s", (int)len, base, path) >= (int)sizeof(client->url))
        return weir_fail(err, WEIR_E_INVALID, "the URL of --admin is too long");
    client->body.len = 0;
    client->error[0] = '\0';
    curl_easy_setopt(client->curl, CURLOPT_URL, client->url);
    curl_easy_setopt(client->curl, CURLOPT_HTTPHEADER, client->headers);
    if (json != NULL)
        curl_easy_setopt(client->curl, CURLOPT_POSTFIELDS, json);
    CURLcode rc = curl_easy_perform(client->curl);
    if (rc != CURLE_OK)
        return weir_fail(err, WEIR_E_IO, "%s: %s; is weir running, and is its admin.endpoint there? (--admin URL)",
                         client->url, client->error[0] != '\0' ? client->error : curl_easy_strerror(rc));
    curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &client->http_status);
    return WEIR_OK;
}
