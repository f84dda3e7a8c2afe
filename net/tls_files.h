// SPDX-License-Identifier: Apache-2.0
// PEM files as OpenSSL objects, for both sides. Files are read whole and judged as a whole, before anything is replaced by them: what is
// half-written or does not fit together changes nothing. For net/ alone; any thread.
#ifndef WEIR_NET_TLS_FILES_H
#define WEIR_NET_TLS_FILES_H

#include "net/tls.h"

#include <openssl/ssl.h>

#define TLS_FILE_BYTES_MAX (4u << 20) // a bundle of authorities has some 200 KiB

// What the files held when they were last good.
struct tls_files {
    X509 *cert;
    STACK_OF(X509) * chain;
    EVP_PKEY *key;
    X509_STORE *authorities;         // NULL: no ca_file
    STACK_OF(X509_NAME) * ca_names;  // of the authorities
    struct tls_validity certificate; // of cert; zeros without
    uint8_t digest[32];              // of all the files' bytes
};

// Reads the files; *out must be empty. When their digest is the `known` one (NULL: none is) nothing but that is set. WEIR_E_INVALID: which file, and why (unreadable, no PEM, a passphrase, the key of another
// certificate, one of the two alone). An expired certificate is taken: that is the caller's to tell. WEIR_E_NOMEM.
int tls_files_load(const struct tls_paths *paths, const uint8_t *known, struct tls_files *out, struct weir_err *err);
// Gives them to a context: certificate, chain, key, and the authorities to verify peers by. WEIR_E_INVALID: OpenSSL's security level refuses them.
int tls_files_use(const struct tls_files *files, const struct tls_paths *paths, SSL_CTX *ctx, struct weir_err *err);
void tls_files_free(struct tls_files *files);

// "1.2", "1.3"; NULL or empty: 1.2. WEIR_E_INVALID.
int tls_set_min_version(SSL_CTX *ctx, const char *version, struct weir_err *err);

#endif
