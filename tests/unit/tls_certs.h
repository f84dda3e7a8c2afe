// SPDX-License-Identifier: Apache-2.0
// Certificates for tests, made for this run in a directory of its own: NAME.crt and NAME.key, P-256.
#ifndef WEIR_TESTS_TLS_CERTS_H
#define WEIR_TESTS_TLS_CERTS_H

#include "proto/base.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#define CERTS_DAY 86400L

static char certs_dir[128];

static inline const char *in_dir(const char *file)
{
    static _Thread_local char paths[16][512];
    static _Thread_local unsigned next;
    char *path = paths[next++ % 16];
    snprintf(path, sizeof(paths[0]), "%s/%s", certs_dir, file);
    return path;
}

static inline void certs_open(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(certs_dir, sizeof(certs_dir), "%s/weir-tls-XXXXXX", tmp != NULL ? tmp : "/tmp");
    cr_assert_not_null(mkdtemp(certs_dir));
}

static inline void certs_close(void)
{
    DIR *dir = opendir(certs_dir);
    assert(dir != NULL);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        unlink(in_dir(entry->d_name));
    closedir(dir);
    cr_assert_eq(rmdir(certs_dir), 0);
}

static inline FILE *certs_file(const char *name, const char *suffix, const char *mode)
{
    char file[96];
    snprintf(file, sizeof(file), "%s.%s", name, suffix);
    FILE *out = fopen(in_dir(file), mode);
    cr_assert_not_null(out, "%s", in_dir(file));
    return out;
}

static inline void certs_extension(X509 *cert, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    cr_assert_not_null(extension, "%s", value);
    X509_add_ext(cert, extension, -1);
    X509_EXTENSION_free(extension);
}

// Signed by CA (NULL: by itself, as a CA), valid from and until so many seconds from now, with subject alternative names `san`.
static inline void certs_make(const char *name, const char *ca, const char *san, long from, long until)
{
    static long serial = 1;
    EVP_PKEY *key = EVP_EC_gen("P-256"), *ca_key = key;
    X509 *cert = X509_new(), *ca_cert = cert;
    cr_assert(key != NULL && cert != NULL);
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), serial++);
    X509_gmtime_adj(X509_getm_notBefore(cert), from);
    X509_gmtime_adj(X509_getm_notAfter(cert), until);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_pubkey(cert, key);
    if (ca != NULL) {
        FILE *in = certs_file(ca, "crt", "r");
        ca_cert = PEM_read_X509(in, NULL, NULL, NULL);
        fclose(in);
        in = certs_file(ca, "key", "r");
        ca_key = PEM_read_PrivateKey(in, NULL, NULL, NULL);
        fclose(in);
        certs_extension(cert, NID_subject_alt_name, san);
    } else {
        certs_extension(cert, NID_basic_constraints, "critical,CA:TRUE");
    }
    X509_set_issuer_name(cert, X509_get_subject_name(ca_cert));
    cr_assert_gt(X509_sign(cert, ca_key, EVP_sha256()), 0);
    FILE *out = certs_file(name, "crt", "w");
    PEM_write_X509(out, cert);
    fclose(out);
    out = certs_file(name, "key", "w");
    PEM_write_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL);
    fclose(out);
    if (ca != NULL) {
        X509_free(ca_cert);
        EVP_PKEY_free(ca_key);
    }
    X509_free(cert);
    EVP_PKEY_free(key);
}

static inline void make_cert(const char *name, const char *ca, const char *san)
{
    certs_make(name, ca, san, -60, 2 * CERTS_DAY);
}

static inline void make_ca(const char *name)
{
    certs_make(name, NULL, NULL, -60, 2 * CERTS_DAY);
}

#endif
