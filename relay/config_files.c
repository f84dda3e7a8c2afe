// SPDX-License-Identifier: Apache-2.0
// `weir check-config` opens the files that a configuration names, as `weir run` would: what is wrong with one is told at the line of its key.
#include "net/tls.h"
#include "relay/config_table.h"
#include "relay/tokens.h"

static void complain(struct config_loader *loader, const char *key, size_t upstream, const char *message)
{
    const struct config_row *row = config_row_find(key);
    struct config_place place = *config_place_of(loader, row, upstream);
    config_complain_row(loader, row, upstream, &place, message);
}

// `section` is "receiver.grpc." or "upstreams[].": the error begins with the setting below it that it is about.
static void check_tls(struct config_loader *loader, const char *section, size_t upstream, const struct tls_paths *paths)
{
    struct weir_err err = {0};
    struct tls_validity validity;
    char key[96];
    if (tls_files_check(paths, &validity, &err) == WEIR_OK)
        return;
    int setting = (int)strcspn(err.text, " ");
    snprintf(key, sizeof(key), "%s%.*s", section, setting, err.text);
    if (config_row_find(key) == NULL) // about none of the files alone
        snprintf(key, sizeof(key), "%stls.cert_file", section);
    else
        memmove(err.text, err.text + setting + 1, strlen(err.text + setting + 1) + 1);
    complain(loader, key, upstream, err.text);
}

static void check_listener(struct config_loader *loader, const char *section, const char *endpoint,
                           const struct config_listen_tls *tls)
{
    if (tls->cert_file[0] != '\0' && strcmp(endpoint, "off") != 0)
        check_tls(loader, section, CONFIG_GLOBAL,
                  &(struct tls_paths){tls->cert_file, tls->key_file, tls->client_ca_file, "tls.client_ca_file"});
}

static void check_token(struct config_loader *loader, const char *key, size_t upstream, const char *file)
{
    char token[TOKEN_BYTES_MAX + 1];
    struct weir_err err = {0};
    if (file[0] != '\0' && token_read(file, token, &err) != WEIR_OK)
        complain(loader, key, upstream, err.text);
    explicit_bzero(token, sizeof(token));
}

void config_check_files(struct config_loader *loader)
{
    const struct config *config = loader->config;
    check_listener(loader, "receiver.grpc.", config->receiver.grpc_endpoint, &config->receiver.grpc_tls);
    check_listener(loader, "receiver.http.", config->receiver.http_endpoint, &config->receiver.http_tls);
    check_listener(loader, "admin.", config->admin.endpoint, &config->admin.tls);
    check_token(loader, "receiver.auth.bearer_token_file", CONFIG_GLOBAL, config->receiver.bearer_token_file);
    check_token(loader, "admin.token_file", CONFIG_GLOBAL, config->admin.token_file);
    for (size_t i = 0; i < config->upstream_count; i++) {
        const struct config_upstream *up = &config->upstreams[i];
        if (up->target.use_tls)
            check_tls(loader, CONFIG_UPSTREAM, i,
                      &(struct tls_paths){up->tls.cert_file, up->tls.key_file, up->tls.ca_file, "tls.ca_file"});
        check_token(loader, CONFIG_UPSTREAM "bearer_token_file", i, up->bearer_token_file);
    }
}
