// SPDX-License-Identifier: Apache-2.0
// The commands' side of the admin port: one request at a time to a running weir.
#ifndef WEIR_RELAY_ADMIN_CLIENT_H
#define WEIR_RELAY_ADMIN_CLIENT_H

#include <curl/curl.h>

#include "proto/base.h"
#include "proto/err.h"

struct admin_client {
    CURL *curl;
    char url[2048]; // of the last request
    char error[CURL_ERROR_SIZE];
    struct curl_slist *headers;
    long http_status; // of the last answer
    struct weir_buf body;
};

// `token_file` NULL: no token is shown; `ca_file` NULL: the system's authorities. WEIR_E_IO (it cannot be read), WEIR_E_NOMEM. Close it either way.
int admin_client_open(struct admin_client *client, const char *token_file, const char *ca_file, struct weir_err *err);
void admin_client_close(struct admin_client *client);
// To the URL `base` + `path`, with `json` as a POST's body, or a GET when it is NULL. WEIR_OK: there is an answer, whatever it says.
// WEIR_E_INVALID (the URL is too long), WEIR_E_IO.
int admin_client_ask(struct admin_client *client, const char *base, const char *path, const char *json,
                     struct weir_err *err);

#endif
