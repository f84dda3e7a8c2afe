// SPDX-License-Identifier: Apache-2.0
// TLS as the owners of servers and clients see it: a listener's files, and how long certificates are valid.
#ifndef WEIR_NET_TLS_H
#define WEIR_NET_TLS_H

#include "proto/base.h"
#include "proto/err.h"

struct tls_validity {
    int64_t not_before_unix, not_after_unix; // seconds; both 0: there is no certificate
};

struct tls_paths { // all may be NULL or empty
    const char *cert_file, *key_file;
    const char *ca_file;
    const char *ca_setting; // what users call ca_file: "tls.ca_file"
};
// Reads the files as a listener or a client would. WEIR_E_INVALID: "SETTING FILE: reason".
int tls_files_check(const struct tls_paths *paths, struct tls_validity *validity, struct weir_err *err);

struct tls_listen_options {           // the strings may be NULL or empty where that makes sense
    const char *cert_file, *key_file; // needed
    const char *client_ca_file;       // given: clients must show a certificate that it vouches for
    const char *min_version;          // "1.2" or "1.3"
    bool http2;                       // ALPN: h2, which clients must offer; else http/1.1, if they offer any
    bool quiet_shutdown;              // no close_notify
};

// The TLS side of one listener: its current context, and the files it came from.
struct tls_listen;
// WEIR_E_INVALID: which file or setting, and why. WEIR_E_NOMEM.
int tls_listen_new(const struct tls_listen_options *options, struct tls_listen **out, struct weir_err *err);
// After the server that uses it.
void tls_listen_free(struct tls_listen *tls);
// Reads the files again. When they have changed and are good, later handshakes use them, connections live on. WEIR_OK with *changed, or an
// error as of tls_listen_new: then everything stays as it was. Any thread, one at a time.
int tls_listen_reload(struct tls_listen *tls, bool *changed, struct weir_err *err);
// Of the certificate in use. Any thread.
struct tls_validity tls_listen_validity(struct tls_listen *tls);

// The context for a new handshake, to be freed with SSL_CTX_free; for those who link with OpenSSL themselves. Any thread.
struct ssl_ctx_st *tls_listen_context(struct tls_listen *tls);

#endif
