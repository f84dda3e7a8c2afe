// SPDX-License-Identifier: Apache-2.0
#include "net/tls_files.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <unistd.h>

static bool given(const char *text)
{
    return text != NULL && *text != '\0';
}

// Fails with what OpenSSL says about `file`, and empties its error queue.
static int fail_file(struct weir_err *err, const char *what, const char *file, const char *otherwise)
{
    unsigned long code = ERR_peek_error();
    const char *reason = NULL;
    if (code != 0)
        reason = ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code)) : ERR_reason_error_string(code);
    weir_fail(err, WEIR_E_INVALID, "%s %s: %s", what, file, reason != NULL ? reason : otherwise);
    ERR_clear_error();
    return WEIR_E_INVALID;
}

// --- bytes ----------------------------------------------------------------------------------------------------------

static void wipe(struct weir_buf *bytes)
{
    if (bytes->data != NULL)
        explicit_bzero(bytes->data, bytes->cap);
    weir_buf_free(bytes);
}

// Grows by copies of its own: a plain realloc would leave pieces of a key in freed memory.
static bool more_room(struct weir_buf *bytes)
{
    struct weir_buf larger = {0};
    if (!weir_buf_reserve(&larger, bytes->cap == 0 ? 16 * 1024 : 2 * bytes->cap))
        return false;
    weir_buf_append(&larger, bytes->data, bytes->len);
    wipe(bytes);
    *bytes = larger;
    return true;
}

static int read_all(int fd, struct weir_buf *bytes)
{
    for (;;) {
        if (bytes->len == bytes->cap && !more_room(bytes))
            return ENOMEM;
        ssize_t n = read(fd, bytes->data + bytes->len, bytes->cap - bytes->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0 ? 0 : errno;
        bytes->len += (size_t)n;
        if (bytes->len > TLS_FILE_BYTES_MAX)
            return EFBIG;
    }
}

static int read_file(const char *what, const char *file, struct weir_buf *bytes, struct weir_err *err)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    int error = fd < 0 ? errno : read_all(fd, bytes);
    if (fd >= 0)
        close(fd);
    return error == 0 ? WEIR_OK : weir_fail(err, WEIR_E_INVALID, "%s %s: %s", what, file, strerror(error));
}

// --- PEM ------------------------------------------------------------------------------------------------------------

// A key with a passphrase is an error, never a question on the terminal.
static int no_passphrase(char *buf, int size, int writing, void *user)
{
    return -1;
}

static BIO *bio_of(const struct weir_buf *bytes)
{
    return BIO_new_mem_buf(bytes->data != NULL ? (const void *)bytes->data : "", (int)bytes->len);
}

// Certificates until the end; anything else that is PEM ends it, too, and is an error. False: OpenSSL says why.
static bool read_chain(BIO *bio, STACK_OF(X509) * chain)
{
    X509 *cert;
    while ((cert = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)) != NULL)
        if (sk_X509_push(chain, cert) <= 0) {
            X509_free(cert);
            return false;
        }
    bool ended = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    if (ended)
        ERR_clear_error();
    return ended;
}

static int take_certificate(const struct weir_buf *bytes, const struct tls_paths *paths, struct tls_files *files,
                            struct weir_err *err)
{
    BIO *bio = bio_of(bytes);
    files->chain = sk_X509_new_null();
    files->cert = bio != NULL ? PEM_read_bio_X509_AUX(bio, NULL, no_passphrase, NULL) : NULL;
    bool good = files->cert != NULL && files->chain != NULL && read_chain(bio, files->chain);
    BIO_free(bio);
    return good ? WEIR_OK : fail_file(err, "tls.cert_file", paths->cert_file, "holds no certificate");
}

static int take_key(const struct weir_buf *bytes, const struct tls_paths *paths, struct tls_files *files,
                    struct weir_err *err)
{
    BIO *bio = bio_of(bytes);
    files->key = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
    BIO_free(bio);
    if (files->key == NULL || X509_check_private_key(files->cert, files->key) != 1)
        return fail_file(err, "tls.key_file", paths->key_file, "holds no key");
    ERR_clear_error();
    return WEIR_OK;
}

static bool add_authority(struct tls_files *files, X509 *cert)
{
    X509_NAME *name = X509_NAME_dup(X509_get_subject_name(cert));
    if (name == NULL || sk_X509_NAME_push(files->ca_names, name) <= 0) {
        X509_NAME_free(name);
        return false;
    }
    return X509_STORE_add_cert(files->authorities, cert) == 1;
}

static int take_authorities(const struct weir_buf *bytes, const struct tls_paths *paths, struct tls_files *files,
                            struct weir_err *err)
{
    BIO *bio = bio_of(bytes);
    files->authorities = X509_STORE_new();
    files->ca_names = sk_X509_NAME_new_null();
    STACK_OF(X509_INFO) *infos = bio != NULL ? PEM_X509_INFO_read_bio(bio, NULL, no_passphrase, NULL) : NULL;
    // Whatever the file holds is trusted, as other programs have it: a server's own certificate, or an authority below another.
    if (files->authorities != NULL)
        X509_STORE_set_flags(files->authorities, X509_V_FLAG_PARTIAL_CHAIN);
    bool good = infos != NULL && files->authorities != NULL && files->ca_names != NULL;
    int count = 0;
    for (int i = 0; good && i < sk_X509_INFO_num(infos); i++) {
        X509 *cert = sk_X509_INFO_value(infos, i)->x509;
        if (cert != NULL)
            good = add_authority(files, cert);
        count += cert != NULL;
    }
    sk_X509_INFO_pop_free(infos, X509_INFO_free);
    BIO_free(bio);
    return good && count > 0 ? WEIR_OK : fail_file(err, paths->ca_setting, paths->ca_file, "holds no certificate");
}

static int64_t unix_seconds(const ASN1_TIME *time)
{
    int days = 0, seconds = 0;
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    bool good = epoch != NULL && ASN1_TIME_diff(&days, &seconds, epoch, time) == 1;
    ASN1_TIME_free(epoch);
    ERR_clear_error();
    return good ? (int64_t)days * 86400 + seconds : 0;
}

// --- all of them ----------------------------------------------------------------------------------------------------

static void digest_files(const struct weir_buf bytes[3], uint8_t digest[32])
{
    uint8_t one[3][SHA256_DIGEST_LENGTH];
    for (size_t i = 0; i < 3; i++)
        SHA256(bytes[i].data != NULL ? bytes[i].data : (const uint8_t *)"", bytes[i].len, one[i]);
    SHA256(one[0], sizeof(one), digest);
}

static int read_files(const struct tls_paths *paths, struct weir_buf bytes[3], struct weir_err *err)
{
    const char *names[3] = {paths->cert_file, paths->key_file, paths->ca_file};
    const char *settings[3] = {"tls.cert_file", "tls.key_file", paths->ca_setting};
    int code = WEIR_OK;
    for (size_t i = 0; i < 3 && code == WEIR_OK; i++)
        if (given(names[i]))
            code = read_file(settings[i], names[i], &bytes[i], err);
    return code;
}

static int take_all(const struct tls_paths *paths, const struct weir_buf bytes[3], struct tls_files *files,
                    struct weir_err *err)
{
    int code = WEIR_OK;
    if (given(paths->cert_file)) {
        code = take_certificate(&bytes[0], paths, files, err);
        if (code == WEIR_OK)
            code = take_key(&bytes[1], paths, files, err);
        if (code == WEIR_OK)
            files->certificate = (struct tls_validity){unix_seconds(X509_get0_notBefore(files->cert)),
                                                       unix_seconds(X509_get0_notAfter(files->cert))};
    }
    if (code == WEIR_OK && given(paths->ca_file))
        code = take_authorities(&bytes[2], paths, files, err);
    return code;
}

int tls_files_load(const struct tls_paths *paths, const uint8_t *known, struct tls_files *out, struct weir_err *err)
{
    if (given(paths->cert_file) != given(paths->key_file))
        return weir_fail(err, WEIR_E_INVALID, "tls.cert_file and tls.key_file: one without the other");
    struct weir_buf bytes[3] = {0};
    struct tls_files files = {0};
    ERR_clear_error();
    int code = read_files(paths, bytes, err);
    if (code == WEIR_OK)
        digest_files(bytes, files.digest);
    if (code == WEIR_OK && (known == NULL || memcmp(known, files.digest, sizeof(files.digest)) != 0))
        code = take_all(paths, bytes, &files, err);
    for (size_t i = 0; i < 3; i++)
        wipe(&bytes[i]);
    if (code == WEIR_OK)
        *out = files;
    else
        tls_files_free(&files);
    return code;
}

int tls_files_use(const struct tls_files *files, const struct tls_paths *paths, SSL_CTX *ctx, struct weir_err *err)
{
    ERR_clear_error();
    if (files->cert != NULL && SSL_CTX_use_cert_and_key(ctx, files->cert, files->key, files->chain, 1) != 1)
        return fail_file(err, "tls.cert_file", paths->cert_file, "cannot be used");
    if (files->authorities != NULL)
        SSL_CTX_set1_cert_store(ctx, files->authorities);
    return WEIR_OK;
}

void tls_files_free(struct tls_files *files)
{
    X509_free(files->cert);
    sk_X509_pop_free(files->chain, X509_free);
    EVP_PKEY_free(files->key);
    X509_STORE_free(files->authorities);
    sk_X509_NAME_pop_free(files->ca_names, X509_NAME_free);
    *files = (struct tls_files){0};
}

int tls_set_min_version(SSL_CTX *ctx, const char *version, struct weir_err *err)
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

int tls_files_check(const struct tls_paths *paths, struct tls_validity *validity, struct weir_err *err)
{
    struct tls_files files = {0};
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    int code = ctx == NULL ? weir_fail(err, WEIR_E_NOMEM, "out of memory") : tls_files_load(paths, NULL, &files, err);
    if (code == WEIR_OK)
        code = tls_files_use(&files, paths, ctx, err);
    *validity = files.certificate;
    tls_files_free(&files);
    SSL_CTX_free(ctx);
    return code;
}
