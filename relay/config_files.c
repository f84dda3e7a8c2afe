// SPDX-License-Identifier: Apache-2.0
// `weir check-config` opens the files that a configuration names, as `weir run` would: what is wrong with one is told at the line of its key.
#include <time.h>

#include "relay/certificates.h"
#include "relay/config_print.h"
#include "relay/config_table.h"
#include "relay/tokens.h"

static void complain(struct config_loader *loader, const char *key, size_t upstream, const char *message)
{
    const struct config_row *row = config_row_find(key);
    struct config_place place = *config_place_of(loader, row, upstream);
    config_complain_row(loader, row, upstream, &place, message);
}

// `section` is "receiver.grpc." or "upstreams[].": the error begins with the setting below it that it is about.
static void check_tls(void *ctx, const char *section, size_t upstream, const struct tls_paths *paths)
{
    struct config_loader *loader = ctx;
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

// Calls `each` for what shows or trusts certificates. `section` ends with its dot.
typedef void (*tls_fn)(void *ctx, const char *section, size_t upstream, const struct tls_paths *paths);
static void each_listener(const struct config *config, tls_fn each, void *ctx)
{
    const struct {
        const char *section, *endpoint;
        const struct config_listen_tls *tls;
    } listeners[] = {{"receiver.grpc.", config->receiver.grpc_endpoint, &config->receiver.grpc_tls},
                     {"receiver.http.", config->receiver.http_endpoint, &config->receiver.http_tls},
                     {"admin.", config->admin.endpoint, &config->admin.tls}};
    for (size_t i = 0; i < WEIR_COUNT(listeners); i++) {
        const struct config_listen_tls *tls = listeners[i].tls;
        if (tls->cert_file[0] != '\0' && strcmp(listeners[i].endpoint, "off") != 0)
            each(ctx, listeners[i].section, CONFIG_GLOBAL,
                 &(struct tls_paths){tls->cert_file, tls->key_file, tls->client_ca_file, "tls.client_ca_file"});
    }
}

static void of_upstream(const struct config *config, size_t i, tls_fn each, void *ctx)
{
    const struct config_upstream *up = &config->upstreams[i];
    if (up->target.use_tls)
        each(ctx, CONFIG_UPSTREAM, i,
             &(struct tls_paths){up->tls.cert_file, up->tls.key_file, up->tls.ca_file, "tls.ca_file"});
}

struct warning {
    const struct config *config;
    const char *file;
    FILE *out;
};

static void warn_of_expiry(void *ctx, const char *section, size_t upstream, const struct tls_paths *paths)
{
    static const char *const words[] = {[CERTIFICATE_EXPIRES_SOON] = "the certificate expires soon, on",
                                        [CERTIFICATE_EXPIRED] =
                                            "the certificate has expired: peers will refuse it since",
                                        [CERTIFICATE_TOO_EARLY] = "the certificate is not valid yet, but from"};
    const struct warning *w = ctx;
    struct tls_validity validity = {0};
    char date[32] = "";
    if (tls_files_check(paths, &validity, NULL) != WEIR_OK)
        return; // that was told
    enum certificate_age age = certificate_age(validity, (int64_t)(weir_now_unix_ns() / 1000000000u));
    if (age == CERTIFICATE_GOOD)
        return;
    time_t time = (time_t)(age == CERTIFICATE_TOO_EARLY ? validity.not_before_unix : validity.not_after_unix);
    struct tm utc;
    if (gmtime_r(&time, &utc) != NULL)
        strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &utc);
    fprintf(w->out, "%s: %stls.cert_file: warning: %s %s", w->file, section, words[age], date);
    if (upstream != CONFIG_GLOBAL)
        fprintf(w->out, " (upstream %s)", w->config->upstreams[upstream].name);
    fputc('\n', w->out);
}

void config_files_warn(const struct config *config, const char *file, FILE *out)
{
    struct warning warning = {config, file, out};
    each_listener(config, warn_of_expiry, &warning);
    for (size_t i = 0; i < config->upstream_count; i++)
        of_upstream(config, i, warn_of_expiry, &warning);
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
    each_listener(config, check_tls, loader);
    check_token(loader, "receiver.auth.bearer_token_file", CONFIG_GLOBAL, config->receiver.bearer_token_file);
    check_token(loader, "admin.token_file", CONFIG_GLOBAL, config->admin.token_file);
    for (size_t i = 0; i < config->upstream_count; i++) {
        const struct config_upstream *up = &config->upstreams[i];
        of_upstream(config, i, check_tls, loader);
        check_token(loader, CONFIG_UPSTREAM "bearer_token_file", i, up->bearer_token_file);
    }
}
