// SPDX-License-Identifier: Apache-2.0
// TLS settings of the sending side as an OpenSSL context. For net/ alone.
#ifndef WEIR_NET_TLS_CLIENT_H
#define WEIR_NET_TLS_CLIENT_H

#include "net/client.h"

#include <openssl/ssl.h>

// A context for this one host: chain, name (DNS or IP) and minimum version are checked by OpenSSL itself, because h2o 2.2.5 does not check
// the name under TLS 1.3. WEIR_E_INVALID names the file and the reason; WEIR_E_NOMEM. Free with SSL_CTX_free.
int tls_client_new(const struct client_options *options, SSL_CTX **out, struct weir_err *err);

#endif
