// SPDX-License-Identifier: Apache-2.0
// A listener's TLS context. Replaced as a whole when its files change; sessions hold the context they began with.
#include "net/tls_files.h"

#include <openssl/err.h>
#include <pthread.h>

// Forward secrecy and authenticated encryption only; TLS 1.3 has nothing else.
#define CIPHERS_1_2 "ECDHE+AESGCM:ECDHE+CHACHA20"
// OpenSSL's own list has finite-field groups up to 8192 bits, whose cost an anonymous client could choose to be ours.
#define GROUPS            "X25519:P-256:P-384"
#define READ_BUFFER_BYTES (64u * 1024)

struct tls_listen {
    struct tls_listen_options options; // the strings are ours
    pthread_mutex_t lock;              // guards what follows
    SSL_CTX *ctx;
    struct tls_validity validity;
    uint8_t digest[32];
};

static struct tls_paths paths_of(const struct tls_listen *tls)
{
    return (struct tls_paths){.cert_file = tls->options.cert_file,
                              .key_file = tls->options.key_file,
                              .ca_file = tls->options.client_ca_file,
                              .ca_setting = "tls.client_ca_file"};
}

// --- ALPN -----------------------------------------------------------------------------------------------------------

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                   unsigned in_len, void *ours)
{
    const unsigned char *want = ours;
    for (unsigned at = 0; at < in_len && in[at] < in_len - at; at += in[at] + 1u) {
        if (in[at] != want[0] || memcmp(in + at + 1, want + 1, want[0]) != 0)
            continue;
        *out = in + at + 1;
        *out_len = in[at];
        return SSL_TLSEXT_ERR_OK;
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL; // no_application_protocol: better told now than by bytes it does not understand
}

// Without the extension on_alpn is not asked. HTTP/2 over TLS needs it (RFC 9113, 3.3).
static int on_hello(SSL *ssl, int *alert, void *user)
{
    const unsigned char *extension;
    size_t len;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation, &extension, &len) == 1)
        return SSL_CLIENT_HELLO_SUCCESS;
    *alert = SSL_AD_NO_APPLICATION_PROTOCOL;
    return SSL_CLIENT_HELLO_ERROR;
}

// --- the context ----------------------------------------------------------------------------------------------------

static void set_policy(SSL_CTX *ctx, const struct tls_listen_options *options)
{
    // No resumption: clients connect seldom, and tickets would need keys that are rotated and shared.
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
                                 SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_num_tickets(ctx, 0);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS); // an idle connection holds no buffers
    SSL_CTX_set_read_ahead(ctx, 1);                      // one read() for several records; else two for each
    SSL_CTX_set_default_read_buffer_len(ctx, READ_BUFFER_BYTES);
    SSL_CTX_set_quiet_shutdown(ctx, options->quiet_shutdown);
    static const unsigned char h2[] = "\x02h2", http1[] = "\x08http/1.1";
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, (void *)(uintptr_t)(options->http2 ? h2 : http1));
    if (options->http2)
        SSL_CTX_set_client_hello_cb(ctx, on_hello, NULL);
}

static int context_set_up(const struct tls_listen *tls, struct tls_files *files, SSL_CTX *ctx, struct weir_err *err)
{
    struct tls_paths paths = paths_of(tls);
    set_policy(ctx, &tls->options);
    if (SSL_CTX_set_cipher_list(ctx, CIPHERS_1_2) != 1 || SSL_CTX_set1_groups_list(ctx, GROUPS) != 1) {
        ERR_clear_error();
        return weir_fail(err, WEIR_E_INVALID, "OpenSSL takes none of the ciphers or groups weir uses");
    }
    int code = tls_set_min_version(ctx, tls->options.min_version, err);
    if (code == WEIR_OK)
        code = tls_files_use(files, &paths, ctx, err);
    if (code != WEIR_OK || files->authorities == NULL)
        return code;
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_client_CA_list(ctx, files->ca_names); // which is its own from here on
    files->ca_names = NULL;
    return WEIR_OK;
}

int tls_listen_reload(struct tls_listen *tls, bool *changed, struct weir_err *err)
{
    struct tls_paths paths = paths_of(tls);
    struct tls_files files = {0};
    SSL_CTX *ctx = NULL;
    *changed = false;
    int code = tls_files_load(&paths, tls->ctx != NULL ? tls->digest : NULL, &files, err);
    if (code != WEIR_OK)
        return code;
    if (tls->ctx == NULL || memcmp(files.digest, tls->digest, sizeof(tls->digest)) != 0) {
        ctx = SSL_CTX_new(TLS_server_method());
        code = ctx != NULL ? context_set_up(tls, &files, ctx, err)
                           : weir_fail(err, WEIR_E_NOMEM, "new TLS context: out of memory");
    }
    if (code == WEIR_OK && ctx != NULL) {
        pthread_mutex_lock(&tls->lock);
        SSL_CTX *old = tls->ctx;
        tls->ctx = ctx;
        tls->validity = files.certificate;
        memcpy(tls->digest, files.digest, sizeof(tls->digest));
        pthread_mutex_unlock(&tls->lock);
        *changed = true;
        ctx = old;
    }
    SSL_CTX_free(ctx);
    tls_files_free(&files);
    return code;
}

// --- life -----------------------------------------------------------------------------------------------------------

static bool own_text(const char **text)
{
    if (*text == NULL)
        return true;
    *text = strdup(*text);
    return *text != NULL;
}

int tls_listen_new(const struct tls_listen_options *options, struct tls_listen **out, struct weir_err *err)
{
    *out = NULL;
    struct tls_listen *tls = calloc(1, sizeof(*tls));
    if (tls == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "new TLS listener: out of memory");
    pthread_mutex_init(&tls->lock, NULL);
    tls->options = *options;
    bool owned = own_text(&tls->options.cert_file);
    owned = own_text(&tls->options.key_file) && owned;
    owned = own_text(&tls->options.client_ca_file) && owned;
    owned = own_text(&tls->options.min_version) && owned;
    bool changed;
    int code = WEIR_OK;
    if (!owned)
        code = weir_fail(err, WEIR_E_NOMEM, "new TLS listener: out of memory");
    else if (options->cert_file == NULL || options->cert_file[0] == '\0')
        code = weir_fail(err, WEIR_E_INVALID, "tls.cert_file is missing");
    else
        code = tls_listen_reload(tls, &changed, err);
    if (code != WEIR_OK) {
        tls_listen_free(tls);
        return code;
    }
    *out = tls;
    return WEIR_OK;
}

void tls_listen_free(struct tls_listen *tls)
{
    if (tls == NULL)
        return;
    SSL_CTX_free(tls->ctx);
    pthread_mutex_destroy(&tls->lock);
    free((char *)(uintptr_t)tls->options.cert_file);
    free((char *)(uintptr_t)tls->options.key_file);
    free((char *)(uintptr_t)tls->options.client_ca_file);
    free((char *)(uintptr_t)tls->options.min_version);
    free(tls);
}

struct tls_validity tls_listen_validity(struct tls_listen *tls)
{
    pthread_mutex_lock(&tls->lock);
    struct tls_validity validity = tls->validity;
    pthread_mutex_unlock(&tls->lock);
    return validity;
}

SSL_CTX *tls_listen_context(struct tls_listen *tls)
{
    pthread_mutex_lock(&tls->lock);
    SSL_CTX *ctx = tls->ctx;
    SSL_CTX_up_ref(ctx);
    pthread_mutex_unlock(&tls->lock);
    return ctx;
}
