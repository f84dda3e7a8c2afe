// SPDX-License-Identifier: Apache-2.0
#include "net/conn_tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

struct conn_tls *conn_tls_new(struct tls_listen *listen, int fd)
{
    struct conn_tls *tls = calloc(1, sizeof(*tls));
    if (tls == NULL)
        return NULL;
    SSL_CTX *ctx = tls_listen_context(listen);
    tls->ssl = SSL_new(ctx);
    SSL_CTX_free(ctx); // the session holds it
    if (tls->ssl == NULL || SSL_set_fd(tls->ssl, fd) != 1) {
        ERR_clear_error();
        conn_tls_free(tls);
        return NULL;
    }
    tls->handshaking = true;
    return tls;
}

void conn_tls_free(struct conn_tls *tls)
{
    if (tls == NULL)
        return;
    loop_timer_clear(&tls->again_timer);
    SSL_free(tls->ssl);
    free(tls);
}

static void failure_text(const struct conn_tls *tls, char *why, size_t size)
{
    unsigned long code = ERR_peek_error();
    long verify = SSL_get_verify_result(tls->ssl);
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
    if (code != 0 && ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED && verify != X509_V_OK)
        snprintf(why, size, "the client's certificate: %s", X509_verify_cert_error_string(verify));
    else
        snprintf(why, size, "%s", code == 0 ? "" : reason != NULL ? reason : "unknown");
}

int conn_tls_handshake(struct conn_tls *tls, bool *wants_write, char *why, size_t why_size)
{
    ERR_clear_error();
    int rc = SSL_accept(tls->ssl);
    if (rc == 1) {
        tls->handshaking = false;
        return 1;
    }
    int error = SSL_get_error(tls->ssl, rc);
    *wants_write = error == SSL_ERROR_WANT_WRITE;
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return 0;
    tls->broken = true;
    failure_text(tls, why, why_size);
    ERR_clear_error();
    return -1;
}

// -1 with errno for what an operation that failed means.
static ssize_t failed(struct conn_tls *tls, int error)
{
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        errno = EAGAIN;
        return -1;
    }
    tls->broken = true;
    ERR_clear_error();
    errno = EPROTO;
    return -1;
}

ssize_t conn_tls_read(struct conn_tls *tls, void *out, size_t size)
{
    size_t len = 0;
    ERR_clear_error();
    while (len < size) {
        size_t n = 0;
        int rc = SSL_read_ex(tls->ssl, (uint8_t *)out + len, size - len, &n);
        if (rc == 1) {
            len += n;
            continue;
        }
        int error = SSL_get_error(tls->ssl, rc);
        tls->drained = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
        if (len > 0) // what else it said it will say again
            return (ssize_t)len;
        tls->drained = true;
        return error == SSL_ERROR_ZERO_RETURN ? 0 : failed(tls, error);
    }
    tls->drained = false;
    return (ssize_t)len;
}

ssize_t conn_tls_write(struct conn_tls *tls, const void *data, size_t len)
{
    size_t n = 0;
    ERR_clear_error();
    int rc = SSL_write_ex(tls->ssl, data, len, &n);
    return rc == 1 ? (ssize_t)n : failed(tls, SSL_get_error(tls->ssl, rc));
}

void conn_tls_say_goodbye(struct conn_tls *tls)
{
    if (tls->broken || tls->handshaking || (SSL_get_shutdown(tls->ssl) & SSL_SENT_SHUTDOWN) != 0)
        return;
    ERR_clear_error();
    SSL_shutdown(tls->ssl);
    ERR_clear_error();
}
