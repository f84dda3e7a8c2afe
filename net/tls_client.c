// SPDX-License-Identifier: Apache-2.0
#include "net/tls_client.h"
#include "net/tls_files.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

static bool given(const char *text)
{
    return text != NULL && *text != '\0';
}

static struct tls_paths paths_of(const struct client_tls *tls)
{
    return (struct tls_paths){
        .cert_file = tls->cert_file, .key_file = tls->key_file, .ca_file = tls->ca_file, .ca_setting = "tls.ca_file"};
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

static int use_files(SSL_CTX *ctx, const struct client_tls *tls, const struct tls_files *files, struct weir_err *err)
{
    struct tls_paths paths = paths_of(tls);
    int code = tls_files_use(files, &paths, ctx, err);
    if (code != WEIR_OK || given(tls->ca_file) || SSL_CTX_set_default_verify_paths(ctx) == 1)
        return code;
    ERR_clear_error();
    return weir_fail(err, WEIR_E_INVALID, "the system's CA certificates cannot be read");
}

static int context_new(const struct client_options *options, const struct tls_files *files, SSL_CTX **out,
                       struct weir_err *err)
{
    const struct client_tls *tls = &options->tls;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (ctx == NULL || SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)"\x02h2", 3) != 0) {
        SSL_CTX_free(ctx);
        return weir_fail(err, WEIR_E_NOMEM, "new TLS context: out of memory");
    }
    // Without: closing waits for the peer's close_notify, with no time limit. What a request's end is, HTTP says, not TLS.
    SSL_CTX_set_quiet_shutdown(ctx, 1);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(ctx, tls->insecure_skip_verify ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    int code = tls_set_min_version(ctx, tls->min_version, err);
    if (code == WEIR_OK)
        code = use_files(ctx, tls, files, err);
    if (code == WEIR_OK && !tls->insecure_skip_verify)
        code = set_name(ctx, given(tls->server_name) ? tls->server_name : options->host, err);
    if (code != WEIR_OK) {
        SSL_CTX_free(ctx);
        return code;
    }
    *out = ctx;
    return WEIR_OK;
}

int tls_client_load(struct client *client, bool *changed, struct weir_err *err)
{
    struct tls_paths paths = paths_of(&client->options.tls);
    struct tls_files files = {0};
    SSL_CTX *ctx = NULL;
    *changed = false;
    int code = tls_files_load(&paths, client->tls != NULL ? client->tls_digest : NULL, &files, err);
    if (code == WEIR_OK &&
        (client->tls == NULL || memcmp(files.digest, client->tls_digest, sizeof(files.digest)) != 0)) {
        code = context_new(&client->options, &files, &ctx, err);
        *changed = code == WEIR_OK;
    }
    if (*changed) {
        SSL_CTX_free(client->tls);
        client->tls = ctx;
        client->certificate = files.certificate;
        memcpy(client->tls_digest, files.digest, sizeof(files.digest));
    }
    tls_files_free(&files);
    return code;
}

bool tls_client_share(const struct client *client, SSL_CTX *ctx)
{
    X509 *cert = SSL_CTX_get0_certificate(client->tls);
    STACK_OF(X509) *chain = NULL;
    ERR_clear_error();
    SSL_CTX_get0_chain_certs(client->tls, &chain);
    if (cert != NULL && SSL_CTX_use_cert_and_key(ctx, cert, SSL_CTX_get0_privatekey(client->tls), chain, 1) != 1)
        return false;
    if (given(client->options.tls.ca_file))
        SSL_CTX_set1_cert_store(ctx, SSL_CTX_get_cert_store(client->tls));
    return true;
}
