// SPDX-License-Identifier: Apache-2.0
// TLS of the sending side: a client's files as an OpenSSL context. For net/ alone.
#ifndef WEIR_NET_TLS_CLIENT_H
#define WEIR_NET_TLS_CLIENT_H

#include "net/client_priv.h"

#include <openssl/ssl.h>

// Sets client->tls from the files of its options, unless they are as they were: a context for this one host. Chain, name (DNS or IP) and minimum
// version are checked by OpenSSL itself, because h2o 2.2.5 does not check the name under TLS 1.3. WEIR_E_INVALID names the file and the reason;
// WEIR_E_NOMEM. The old context is freed: who uses one beyond this call holds a reference.
int tls_client_load(struct client *client, bool *changed, struct weir_err *err);
// For libcurl, which makes contexts of its own: gives `ctx` what client->tls shows and trusts. False: OpenSSL does not take it.
bool tls_client_share(const struct client *client, SSL_CTX *ctx);

#endif
