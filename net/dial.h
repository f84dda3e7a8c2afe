// SPDX-License-Identifier: Apache-2.0
// Dial: from a host and a port to a connected socket on a loop, TLS included. For net/ alone; loop thread only.
//
//   look-up (own thread, never blocks the loop) ──> connect ──> TLS handshake ──> done(socket)
//                                                     ^ next address │ refused, unreachable, its share of the time is over, TLS failed
//                                                     └──────────────┘ none left: done(NULL, why)
#ifndef WEIR_NET_DIAL_H
#define WEIR_NET_DIAL_H

#include "net/client.h"
#include "net/loop.h"

#include <netdb.h>
#include <openssl/ssl.h>

struct dial;
struct st_h2o_socket_t;
// On success `sock` is the caller's, and nothing of the dial is needed any longer. Else `sock` is NULL, and `error` and `text` say why.
typedef void (*dial_done)(struct dial *dial, struct st_h2o_socket_t *sock, enum client_error error, const char *text);

struct dial {
    // The caller fills in, and keeps it until done or dial_cancel.
    struct loop *loop;
    const char *host; // name, IPv4, or IPv6 without brackets
    uint16_t port;
    unsigned
        turn; // of several addresses the one at this place, modulo their number, is tried first, then those behind it
    const char *peer;     // how texts name it
    SSL_CTX *tls;         // NULL: plaintext
    const char *sni;      // with tls
    uint64_t deadline_ns; // the addresses share the time until then; when it has passed, the caller calls dial_cancel
    dial_done done;
    // Ours. Zero-initialise.
    struct dial_lookup *lookup;
    struct addrinfo *addresses, *current;
    unsigned left; // addresses that were not tried yet, the current one included
    struct st_h2o_socket_t *sock;
    struct loop_timer attempt;
    enum client_error error;
    char text[224];
    const char *stage; // "name look-up", "TCP", "TLS handshake"
};

// May call done before it returns.
void dial_start(struct dial *dial);
// Ends it without a call of done. Does nothing when it has ended already.
void dial_cancel(struct dial *dial);

#endif
