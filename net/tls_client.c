// SPDX-License-Identifier: Apache-2.0
#include "net/tls_client.h"
#include "net/tls_files.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

static bool given(const char *text)
{
    return text != NULL && *text != '\0';
}

static int load_files(SSL_CTX *ctx, const struct client_tls *tls, struct weir_err *err)
{
    struct tls_paths paths = {
        .cert_file = tls->cert_file, .key_file = tls->key_file, .ca_file = tls->ca_file, .ca_setting = "tls.ca_file"};
    struct tls_files files = {0};
    int code = tls_files_load(&paths, &files, err);
    if (code == WEIR_OK)
        code = tls_files_use(&files, &paths, ctx, err);
    tls_files_free(&files);
    if (code != WEIR_OK || given(tls->ca_file) || SSL_CTX_set_default_verify_paths(ctx) == 1)
        return code;
    ERR_clear_error();
    return weir_fail(err, WEIR_E_INVALID, "the system's CA certificates cannot be read");
}

static int set_name(SSL_CTX *ctx, const char *name, struct weir_err *err)
{
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1)
        return WEIR_OK;
    ERR_clear_error();
    if (X509_VERIFY_PARAM_set1_host(param, name, 0) == 1)
        return WEIR_OK;
    ERR_clear_error();
    return weir_fail(err, WEIR_E_INVALID, "server name \"%s\" cannot be checked", name);
}

int tls_client_new(const struct client_options *options, SSL_CTX **out, struct weir_err *err)
{
    const struct client_tls *tls = &options->tls;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (ctx == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "new TLS context: out of memory");
    // Without: closing waits for the peer's close_notify, with no time limit. What a request's end is, HTTP says, not TLS.
    SSL_CTX_set_quiet_shutdown(ctx, 1);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(ctx, tls->insecure_skip_verify ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    int code = tls_set_min_version(ctx, tls->min_version, err);
    if (code == WEIR_OK)
        code = load_files(ctx, tls, err);
    if (code == WEIR_OK && !tls->insecure_skip_verify)
        code = set_name(ctx, given(tls->server_name) ? tls->server_name : options->host, err);
    if (code != WEIR_OK) {
        SSL_CTX_free(ctx);
        return code;
    }
    *out = ctx;
    return WEIR_OK;
}
