// SPDX-License-Identifier: Apache-2.0
// The sending side: one upstream endpoint, over HTTP/2 (nghttp2 on h2o sockets, for gRPC) or HTTP/1.1 (libcurl multi), behind one
// interface. It knows requests and answers, not what they mean. All functions but client_wake belong to one thread. The program must ignore
// SIGPIPE: a peer that left is an error of a write.
#ifndef WEIR_NET_CLIENT_H
#define WEIR_NET_CLIENT_H

#include "net/tls.h"
#include "proto/base.h"
#include "proto/err.h"

struct client_header {
    const char *name; // lower case
    const char *value;
};

struct client_tls {        // all strings may be NULL or empty
    const char *ca_file;   // none: the system's
    const char *cert_file; // mutual TLS
    const char *key_file;
    const char *server_name; // instead of the host
    bool insecure_skip_verify;
    const char *min_version; // "1.2" or "1.3"
};

struct client_options {
    const char *host; // name, IPv4, or IPv6 without brackets
    uint16_t port;
    bool use_tls;
    struct client_tls tls;
    uint32_t connect_timeout_ms; // [10 s] name look-up, TCP, TLS and HTTP/2 settings together
    uint32_t max_in_flight;      // calls at once
    size_t max_response_bytes;   // [4 MiB] larger answers end the call with CLIENT_E_RESPONSE_TOO_LARGE (U8)
    const char *user_agent;      // "weir/1.0"
    const char *
        http_proxy; // for plaintext HTTP/1.1, where the environment has no http_proxy, which alone libcurl reads; NULL: none
};

enum client_error {
    CLIENT_OK = 0, // an HTTP answer came, whatever its status
    CLIENT_E_RESOLVE,
    CLIENT_E_CONNECT,
    CLIENT_E_TLS,
    CLIENT_E_TIMEOUT,       // the call's deadline passed: the outcome is unknown
    CLIENT_E_RESET,         // the stream or the connection broke after sending began: unknown
    CLIENT_E_NOT_PROCESSED, // REFUSED_STREAM, or above GOAWAY's last id: certainly not processed, may go again at once (U11)
    CLIENT_E_PROTOCOL,      // the peer does not speak it (HTTP/1 answer on an HTTP/2 port, no "h2" by ALPN, …)
    CLIENT_E_RESPONSE_TOO_LARGE,
    CLIENT_E_CANCELLED, // client_cancel or client_free
};
const char *client_error_name(enum client_error error); // "connect", "timeout", …

struct client_call {
    // The caller fills in; all of it must stay until done was called.
    const char *path; // ":path" / request target
    const struct client_header *headers;
    size_t header_count;           // content-type and so on; host, content-length, te and user-agent are the client's
    const struct weir_slice *body; // ranges, sent without a copy where the transport allows
    size_t body_count;
    uint64_t timeout_ns;                    // for the whole call, queueing for a connection included
    void (*done)(struct client_call *call); // exactly once, from client_poll or client_free, never from client_start
    void *user;
    // The answer, valid during done.
    enum client_error error;
    char error_text[256]; // "connect to 127.0.0.1:4317: Connection refused"
    int http_status;
    struct weir_slice response_body;
    uint64_t connection; // number of the connection it went over, from 1; 0: none
    bool bytes_sent;     // any byte of it may have reached the peer
    void *internal;
};
// Response header or trailer (trailers first) of that lower-case name; data == NULL when absent. In done only.
struct weir_slice client_call_header(const struct client_call *call, const char *name);

struct client;
// Over HTTP/2 with prior knowledge, or ALPN h2 under TLS. Nothing is connected yet. WEIR_E_INVALID (bad TLS files: which and why), WEIR_E_NOMEM.
int client_grpc_new(const struct client_options *options, struct client **out, struct weir_err *err);
// Over HTTP/1.1 by libcurl, through a proxy where the process's environment names one (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY, and the
// same in lower case), but never to a loopback address.
int client_http_new(const struct client_options *options, struct client **out, struct weir_err *err);
void client_free(struct client *client); // ends calls under way with CLIENT_E_CANCELLED

// Sends, or queues until there is a connection. Never fails at once: errors come through done.
void client_start(struct client *client, struct client_call *call);
void client_cancel(struct client *client,
                   struct client_call *call); // done is called with CLIENT_E_CANCELLED by the next poll
// Waits at most timeout_ms for something to happen, does the I/O, calls done of what has ended. Returns at once after client_wake.
void client_poll(struct client *client, int timeout_ms);
void client_wake(struct client *client); // any thread, also from a signal-free callback of another library
// Reads the TLS files again. When they have changed and are good, later connections use them; those that are there live on. Else an error as of
// client_grpc_new, and everything stays as it was.
int client_reload(struct client *client, bool *changed, struct weir_err *err);
// Of the certificate that we show; zeros when we show none.
struct tls_validity client_certificate(const struct client *client);
// Number of the connection that the next call would most likely use, 0 when there is none: tells when to find out anew what the peer takes.
uint64_t client_connection(const struct client *client);

#endif
