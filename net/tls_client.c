// SPDX-License-Identifier: Apache-2.0
#include "net/tls_client.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

static bool given(const char *text)
{
    return text != NULL && *text != '\0';
}

// Fails with what OpenSSL says about `file`, and empties its error queue.
static int fail_file(struct weir_err *err, const char *what, const char *file)
{
    unsigned long code = ERR_peek_error();
    const char *reason = NULL;
    if (code != 0)
        reason = ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code)) : ERR_reason_error_string(code);
    weir_fail(err, WEIR_E_INVALID, "%s %s: %s", what, file, reason != NULL ? reason : "cannot be read");
    ERR_clear_error();
    return WEIR_E_INVALID;
}

// A key with a passphrase is an error, never a question on the terminal.
static int no_passphrase(char *buf, int size, int writing, void *user)
{
    return -1;
}

static int load_files(SSL_CTX *ctx, const struct client_tls *tls, struct weir_err *err)
{
    ERR_clear_error();
    if (given(tls->ca_file)) {
        if (SSL_CTX_load_verify_file(ctx, tls->ca_file) != 1)
            return fail_file(err, "tls.ca_file", tls->ca_file);
    } else if (SSL_CTX_set_default_verify_paths(ctx) != 1) {
        return fail_file(err, "the system's", "CA certificates");
    }
    if (given(tls->cert_file) != given(tls->key_file))
        return weir_fail(err, WEIR_E_INVALID, "tls.cert_file and tls.key_file: one without the other");
    if (!given(tls->cert_file))
        return WEIR_OK;
    SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
    if (SSL_CTX_use_certificate_chain_file(ctx, tls->cert_file) != 1)
        return fail_file(err, "tls.cert_file", tls->cert_file);
    if (SSL_CTX_use_PrivateKey_file(ctx, tls->key_file, SSL_FILETYPE_PEM) != 1)
        return fail_file(err, "tls.key_file", tls->key_file);
    if (SSL_CTX_check_private_key(ctx) != 1)
        return fail_file(err, "tls.key_file", tls->key_file);
    return WEIR_OK;
}

static int set_min_version(SSL_CTX *ctx, const char *version, struct weir_err *err)
{
    int number;
    if (!given(version) || strcmp(version, "1.2") == 0)
        number = TLS1_2_VERSION;
    else if (strcmp(version, "1.3") == 0)
        number = TLS1_3_VERSION;
    else
        return weir_fail(err, WEIR_E_INVALID, "tls.min_version \"%s\": 1.2 or 1.3", version);
    SSL_CTX_set_min_proto_version(ctx, number);
    return WEIR_OK;
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
    int code = set_min_version(ctx, tls->min_version, err);
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
