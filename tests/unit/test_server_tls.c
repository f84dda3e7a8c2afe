// SPDX-License-Identifier: Apache-2.0
// TLS on both listeners, over real sockets, with OpenSSL as the client (and our own gRPC client where HTTP/2 is wanted).
#include "tests/unit/client_calls.h"
#include "tests/unit/server_rig.h"
#include "tests/unit/tls_certs.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

static void setup(void)
{
    signal(SIGPIPE, SIG_IGN);
    certs_open();
    make_ca("ca");
    make_ca("other-ca");
    make_cert("server", "ca", "DNS:localhost,IP:127.0.0.1");
    make_cert("client", "ca", "DNS:client");
}

TestSuite(server_tls, .timeout = 120, .init = setup, .fini = certs_close);

static struct tls_listen *listen_new(bool http2, const char *client_ca)
{
    struct tls_listen_options options = {.cert_file = in_dir("server.crt"),
                                         .key_file = in_dir("server.key"),
                                         .client_ca_file = client_ca != NULL ? in_dir(client_ca) : NULL,
                                         .http2 = http2};
    struct tls_listen *tls;
    struct weir_err err = {0};
    cr_assert_eq(tls_listen_new(&options, &tls, &err), WEIR_OK, "%s", err.text);
    return tls;
}

// A rig with TLS on both listeners.
struct tls_rig {
    struct rig *rig;
    struct tls_listen *grpc, *http;
};

static struct tls_rig tls_rig_new(const struct server_limits *limits, const char *client_ca)
{
    struct tls_rig it = {.grpc = listen_new(true, client_ca), .http = listen_new(false, client_ca)};
    it.rig = rig_new_tls(1, limits, it.grpc, it.http);
    return it;
}

static void tls_rig_free(struct tls_rig *it)
{
    rig_free(it->rig);
    tls_listen_free(it->grpc);
    tls_listen_free(it->http);
}

// --- an OpenSSL client ------------------------------------------------------------------------------------------------

struct peer_options {
    int version;      // 0: any
    const char *ca;   // "ca"
    const char *cert; // "client"; NULL: none
    const char *alpn; // "\x02h2"; NULL: none
    bool any_level;   // also what OpenSSL's security level forbids
};
struct tls_peer {
    int fd;
    SSL *ssl;
    int connected; // SSL_connect's result
    int reason;    // why not: of OpenSSL's error
    long verified; // of the server's certificate
};

static SSL *peer_session(const struct peer_options *options, int fd)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    char file[64];
    if (options->version != 0) {
        if (options->any_level)
            SSL_CTX_set_cipher_list(ctx, "ALL:@SECLEVEL=0");
        SSL_CTX_set_min_proto_version(ctx, options->version);
        SSL_CTX_set_max_proto_version(ctx, options->version);
    }
    snprintf(file, sizeof(file), "%s.crt", options->ca != NULL ? options->ca : "ca");
    cr_assert_eq(SSL_CTX_load_verify_file(ctx, in_dir(file)), 1);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    if (options->cert != NULL) {
        snprintf(file, sizeof(file), "%s.crt", options->cert);
        cr_assert_eq(SSL_CTX_use_certificate_chain_file(ctx, in_dir(file)), 1);
        snprintf(file, sizeof(file), "%s.key", options->cert);
        cr_assert_eq(SSL_CTX_use_PrivateKey_file(ctx, in_dir(file), SSL_FILETYPE_PEM), 1);
    }
    SSL *ssl = SSL_new(ctx);
    SSL_CTX_free(ctx);
    SSL_set_tlsext_host_name(ssl, "localhost");
    if (options->alpn != NULL)
        SSL_set_alpn_protos(ssl, (const unsigned char *)options->alpn, (unsigned)strlen(options->alpn));
    SSL_set_fd(ssl, fd);
    return ssl;
}

static struct tls_peer peer_connect(const char *address, const struct peer_options *options)
{
    struct tls_peer peer = {.fd = rig_connect(address)};
    peer.ssl = peer_session(options, peer.fd);
    ERR_clear_error();
    peer.connected = SSL_connect(peer.ssl);
    peer.reason = peer.connected == 1 ? 0 : ERR_GET_REASON(ERR_peek_error());
    peer.verified = SSL_get_verify_result(peer.ssl);
    return peer;
}

static void peer_close(struct tls_peer *peer)
{
    SSL_free(peer->ssl);
    close(peer->fd);
}

static void peer_say(struct tls_peer *peer, const void *data, size_t len)
{
    ERR_clear_error();
    cr_assert_eq(SSL_write(peer->ssl, data, (int)len), (int)len, "%s", ERR_reason_error_string(ERR_peek_error()));
}

// Reads one answer; its body's length.
static size_t peer_answer(struct tls_peer *peer, int *status, char *head, size_t size)
{
    size_t len = 0;
    while (len < size - 1) {
        ERR_clear_error();
        int n = SSL_read(peer->ssl, head + len, 1);
        cr_assert_eq(n, 1, "no answer: %d %s", SSL_get_error(peer->ssl, n), ERR_reason_error_string(ERR_peek_error()));
        len++;
        head[len] = '\0';
        if (len > 4 && memcmp(head + len - 4, "\r\n\r\n", 4) == 0)
            break;
    }
    *status = atoi(head + 9);
    const char *length = strstr(head, "content-length: ");
    size_t body = length != NULL ? strtoul(length + 16, NULL, 10) : 0, left = body;
    static char bytes[65536];
    while (left > 0) {
        int n = SSL_read(peer->ssl, bytes, (int)(left < sizeof(bytes) ? left : sizeof(bytes)));
        cr_assert_gt(n, 0, "body cut");
        if (body < 100 && (size_t)n == body)
            snprintf(head, size, "%.*s", n, bytes);
        left -= (size_t)n;
    }
    return body;
}

static void expect_sink(struct tls_peer *peer, const char *want)
{
    char head[4096];
    int status;
    peer_answer(peer, &status, head, sizeof(head));
    cr_expect_eq(status, 200);
    cr_expect_str_eq(head, want);
}

#define SINK "POST /sink HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
#define SUM  "3 294"

// Whether the server's last word is close_notify, and then the end of the stream.
static bool says_goodbye(struct tls_peer *peer)
{
    char byte;
    int n = SSL_read(peer->ssl, &byte, 1);
    return SSL_get_error(peer->ssl, n) == SSL_ERROR_ZERO_RETURN && recv(peer->fd, &byte, 1, 0) == 0;
}

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

// --- what works -------------------------------------------------------------------------------------------------------

Test(server_tls, serves_http)
{
    struct tls_rig it = tls_rig_new(NULL, NULL);
    for (int i = 0; i < 4; i++) {
        struct peer_options options = {.version = versions[i % 2], .alpn = i < 2 ? "\x02h2\x08http/1.1" : NULL};
        struct tls_peer peer = peer_connect(server_http_address(it.rig->server), &options);
        cr_assert_eq(peer.connected, 1);
        const unsigned char *chosen;
        unsigned len;
        SSL_get0_alpn_selected(peer.ssl, &chosen, &len);
        cr_expect_eq(len, i < 2 ? 8 : 0);
        for (int n = 0; n < 3; n++) {
            peer_say(&peer, SINK, strlen(SINK));
            expect_sink(&peer, SUM);
        }
        peer_say(&peer, SINK SINK, 2 * strlen(SINK)); // pipelined
        expect_sink(&peer, SUM);
        expect_sink(&peer, SUM);
        SSL_shutdown(peer.ssl);
        peer_close(&peer);
    }
    cr_expect_eq(atomic_load(&it.rig->handshakes_failed), 0);
    tls_rig_free(&it);
}

Test(server_tls, takes_a_byte_at_a_time)
{
    struct tls_rig it = tls_rig_new(NULL, NULL);
    for (int i = 0; i < 2; i++) {
        struct tls_peer peer =
            peer_connect(server_http_address(it.rig->server), &(struct peer_options){.version = versions[i]});
        cr_assert_eq(peer.connected, 1);
        for (size_t n = 0; n < strlen(SINK); n++) // a record each
            peer_say(&peer, &SINK[n], 1);
        expect_sink(&peer, SUM);
        peer_close(&peer);
    }
    tls_rig_free(&it);
}

// The peer's own record layer cut into single bytes, handshake included: a memory BIO between OpenSSL and the socket.
Test(server_tls, takes_records_a_byte_at_a_time)
{
    struct tls_rig it = tls_rig_new(NULL, NULL);
    int fd = rig_connect(server_http_address(it.rig->server));
    SSL *ssl = peer_session(&(struct peer_options){.version = 0}, fd);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(in, -1);
    SSL_set_bio(ssl, in, out);
    SSL_set_connect_state(ssl);
    char answer[4096] = "";
    size_t answered = 0;
    bool said = false;
    while (strstr(answer, SUM) == NULL) {
        int n = SSL_do_handshake(ssl);
        if (n == 1 && !said) {
            said = true;
            cr_assert_eq(SSL_write(ssl, SINK, (int)strlen(SINK)), (int)strlen(SINK));
        }
        char byte;
        while (BIO_read(out, &byte, 1) == 1)
            rig_send(fd, &byte, 1);
        char bytes[2048];
        ssize_t got = recv(fd, bytes, sizeof(bytes), 0);
        cr_assert_gt(got, 0);
        BIO_write(in, bytes, (int)got);
        if (said && (n = SSL_read(ssl, answer + answered, (int)(sizeof(answer) - answered - 1))) > 0)
            answered += (size_t)n;
    }
    SSL_free(ssl);
    close(fd);
    tls_rig_free(&it);
}

Test(server_tls, answers_a_peer_that_has_said_goodbye)
{
    struct tls_rig it = tls_rig_new(NULL, NULL);
    for (int i = 0; i < 4; i++) {
        struct tls_peer peer =
            peer_connect(server_http_address(it.rig->server), &(struct peer_options){.version = versions[i % 2]});
        peer_say(&peer, SINK, strlen(SINK));
        if (i < 2)
            SSL_shutdown(peer.ssl); // close_notify
        else
            shutdown(peer.fd, SHUT_WR); // without it
        expect_sink(&peer, SUM);
        peer_close(&peer);
    }
    tls_rig_free(&it);
}

static size_t big_request(char **out, size_t len)
{
    char head[200];
    int n = snprintf(head, sizeof(head), "POST /big HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", len);
    *out = calloc(1, (size_t)n + len);
    memcpy(*out, head, (size_t)n);
    return (size_t)n + len;
}

Test(server_tls, carries_large_bodies_both_ways)
{
    struct tls_rig it = tls_rig_new(NULL, NULL);
    for (int i = 0; i < 2; i++) {
        struct tls_peer peer =
            peer_connect(server_http_address(it.rig->server), &(struct peer_options){.version = versions[i]});
        char *request, head[4096];
        size_t len = big_request(&request, 20u << 20);
        int status;
        for (int n = 0; n < 2; n++) {
            peer_say(&peer, request, len);
            cr_expect_eq(peer_answer(&peer, &status, head, sizeof(head)), RIG_BIG_BYTES);
        }
        free(request);
        peer_close(&peer);
    }
    cr_expect_eq(atomic_load(&it.rig->bytes), 4ull * (20u << 20));
    tls_rig_free(&it);
}

// Many megabytes each way at once, over HTTP/2.
Test(server_tls, serves_grpc)
{
    struct tls_rig it = tls_rig_new(NULL, "ca.crt");
    const char *address = server_grpc_address(it.rig->server);
    size_t len = 3000000;
    uint8_t *body = calloc(1, len);
    for (int i = 0; i < 2; i++) {
        struct client_options options = {
            .host = i == 0 ? "localhost" : "127.0.0.1",
            .port = (uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10),
            .use_tls = true,
            .tls = {.ca_file = in_dir("ca.crt"), .cert_file = in_dir("client.crt"), .key_file = in_dir("client.key")},
            .max_in_flight = 8,
            .max_response_bytes = 2 * RIG_BIG_BYTES};
        struct client *client = NULL;
        struct weir_err err = {0};
        cr_assert_eq(client_grpc_new(&options, &client, &err), WEIR_OK, "%s", err.text);
        struct test_call tests[8];
        for (size_t n = 0; n < WEIR_COUNT(tests); n++) {
            test_call_init(&tests[n], n % 2 ? "/big" : "/sink");
            tests[n].ranges[0] = (struct weir_slice){.data = body, .len = len};
            tests[n].call.body_count = 1;
            client_start(client, &tests[n].call);
        }
        for (size_t n = 0; n < WEIR_COUNT(tests); n++) {
            test_call_wait(client, &tests[n]);
            cr_expect_error(&tests[n], CLIENT_OK);
        }
        client_free(client);
    }
    cr_expect_eq(atomic_load(&it.rig->bytes), 16ull * len);
    free(body);
    tls_rig_free(&it);
}

// --- what is refused ----------------------------------------------------------------------------------------------------

Test(server_tls, is_refused_by_clients_that_cannot_trust_it)
{
    const struct {
        const char *ca;
        long from, until;
        long verify;
    } cases[] = {
        {"other-ca", -60, CERTS_DAY, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY},
        {"ca", -2 * CERTS_DAY, -60, X509_V_ERR_CERT_HAS_EXPIRED},
        {"ca", CERTS_DAY, 2 * CERTS_DAY, X509_V_ERR_CERT_NOT_YET_VALID},
    };
    for (size_t i = 0; i < 2 * WEIR_COUNT(cases); i++) {
        certs_make("server", "ca", "DNS:localhost", cases[i / 2].from, cases[i / 2].until);
        struct tls_rig it = tls_rig_new(NULL, NULL); // an expired one is served: told, not an outage
        struct tls_peer peer = peer_connect(server_http_address(it.rig->server),
                                            &(struct peer_options){.version = versions[i % 2], .ca = cases[i / 2].ca});
        cr_expect_neq(peer.connected, 1);
        cr_expect_eq(peer.verified, cases[i / 2].verify, "%ld", peer.verified);
        RIG_WAIT(atomic_load(&it.rig->handshakes_failed) == 1);
        cr_expect_neq(it.rig->handshake_why[0], '\0');
        peer_close(&peer);
        tls_rig_free(&it);
    }
}

// Under TLS 1.3 a client hears of it after its own handshake is done.
static bool is_served(struct tls_peer *peer)
{
    char byte;
    return peer->connected == 1 && SSL_write(peer->ssl, SINK, (int)strlen(SINK)) > 0 &&
           SSL_read(peer->ssl, &byte, 1) == 1;
}

Test(server_tls, wants_a_certificate_that_its_ca_vouches_for)
{
    make_cert("stranger", "other-ca", "DNS:stranger");
    certs_make("late", "ca", "DNS:late", -2 * CERTS_DAY, -60);
    const struct {
        const char *cert, *why;
    } cases[] = {
        {"client", NULL},
        {NULL, "peer did not return a certificate"},
        {"stranger", "unable to get local issuer certificate"},
        {"late", "certificate has expired"},
    };
    struct tls_rig it = tls_rig_new(NULL, "ca.crt");
    unsigned failed = 0;
    for (size_t i = 0; i < 2 * WEIR_COUNT(cases); i++) {
        struct tls_peer peer =
            peer_connect(server_http_address(it.rig->server),
                         &(struct peer_options){.version = versions[i % 2], .cert = cases[i / 2].cert});
        cr_expect_eq(is_served(&peer), cases[i / 2].why == NULL, "case %zu", i);
        failed += cases[i / 2].why != NULL;
        RIG_WAIT(atomic_load(&it.rig->handshakes_failed) == failed);
        cr_expect(failed == 0 || strstr(it.rig->handshake_why, cases[i / 2].why) != NULL, "%s", it.rig->handshake_why);
        peer_close(&peer);
    }
    cr_expect_eq(atomic_load(&it.rig->begins), 2);
    tls_rig_free(&it);
}

Test(server_tls, refuses_old_versions_and_other_protocols)
{
    struct tls_rig it = tls_rig_new(NULL, NULL);
    const struct {
        bool grpc;
        struct peer_options options;
        bool good;
        int reason; // as the client reads the alert
    } cases[] = {
        {true, {.alpn = "\x02h2"}, true, 0},
        {true, {.alpn = "\x08http/1.1\x02h2"}, true, 0},
        {true, {.alpn = NULL}, false, SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL},
        {true, {.alpn = NULL, .version = TLS1_2_VERSION}, false, SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL},
        {true, {.alpn = "\x08http/1.1"}, false, SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL},
        {true, {.alpn = "\x03h2c\x01h"}, false, SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL},
        {false, {.alpn = "\x02h2"}, false, SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL},
        {false, {.version = TLS1_1_VERSION, .any_level = true}, false, SSL_R_TLSV1_ALERT_PROTOCOL_VERSION},
        {true,
         {.version = TLS1_1_VERSION, .any_level = true, .alpn = "\x02h2"},
         false,
         SSL_R_TLSV1_ALERT_PROTOCOL_VERSION},
    };
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        const char *address = cases[i].grpc ? server_grpc_address(it.rig->server) : server_http_address(it.rig->server);
        struct tls_peer peer = peer_connect(address, &cases[i].options);
        cr_expect_eq(peer.connected == 1, cases[i].good, "case %zu", i);
        cr_expect_eq(peer.reason, cases[i].reason, "case %zu: %d", i, peer.reason);
        peer_close(&peer);
    }
    tls_rig_free(&it);
}

Test(server_tls, closes_what_is_not_tls)
{
    struct tls_rig it = tls_rig_new(NULL, NULL);
    const char *const words[] = {SINK, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01\xff\xff garbage",
                                 "\x16\x03\x01\x02\x10\x01\x01\x02\x03\x04\x05"};
    for (size_t i = 0; i < 2 * WEIR_COUNT(words); i++) {
        int fd = rig_connect(i % 2 ? server_http_address(it.rig->server) : server_grpc_address(it.rig->server));
        rig_send(fd, words[i / 2], strlen(words[i / 2]));
        shutdown(fd, SHUT_WR);
        char bytes[256];
        ssize_t n;
        while ((n = recv(fd, bytes, sizeof(bytes), 0)) > 0) // at most an alert, in the clear
            cr_expect_leq(n, 7);
        cr_expect_eq(n, 0, "%s", strerror(errno));
        close(fd);
    }
    RIG_WAIT(server_connections(it.rig->server) == 0);
    cr_expect_eq(atomic_load(&it.rig->handshakes_failed), 8);
    cr_expect_eq(atomic_load(&it.rig->begins), 0);
    tls_rig_free(&it);
}

// --- stalls -------------------------------------------------------------------------------------------------------------

Test(server_tls, gives_handshakes_a_time_limit)
{
    struct tls_rig it = tls_rig_new(&(struct server_limits){.handshake_timeout_ms = 200}, NULL);
    int fds[2] = {rig_connect(server_http_address(it.rig->server)), rig_connect(server_grpc_address(it.rig->server))};
    rig_send(fds[1], "\x16\x03\x01", 3);
    char byte;
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(recv(fds[i], &byte, 1, 0), 0);
        close(fds[i]);
    }
    RIG_WAIT(server_connections(it.rig->server) == 0);
    cr_expect_eq(atomic_load(&it.rig->handshakes_failed), 2);
    cr_expect_str_eq(it.rig->handshake_why, "timed out");
    tls_rig_free(&it);
}

// Those who stall take all the room there is for handshakes; an honest one waits until theirs are over, and no longer.
Test(server_tls, limits_the_handshakes_under_way)
{
    struct server_limits limits = {.handshakes = 4, .handshake_timeout_ms = 1000};
    struct tls_rig it = tls_rig_new(&limits, NULL);
    int fds[12];
    for (size_t i = 0; i < WEIR_COUNT(fds); i++)
        fds[i] = rig_connect(server_http_address(it.rig->server));
    RIG_WAIT(server_connections(it.rig->server) == 4);
    rig_turn(it.rig);
    cr_expect_eq(server_connections(it.rig->server), 4);
    struct tls_peer peer = peer_connect(server_http_address(it.rig->server), &(struct peer_options){.version = 0});
    cr_assert_eq(peer.connected, 1);
    cr_expect_eq(atomic_load(&it.rig->handshakes_failed) >= 9, true, "the room went round");
    peer_say(&peer, SINK, strlen(SINK));
    expect_sink(&peer, SUM);
    peer_close(&peer);
    for (size_t i = 0; i < WEIR_COUNT(fds); i++)
        close(fds[i]);
    tls_rig_free(&it);
}

Test(server_tls, stops_reading_while_it_is_paused)
{
    struct tls_rig it = tls_rig_new(NULL, NULL);
    struct tls_peer peer = peer_connect(server_http_address(it.rig->server), &(struct peer_options){.version = 0});
    char *request;
    size_t len = big_request(&request, 6u << 20), sent = 0;
    peer_say(&peer, request, 1000);
    sent = 1000;
    RIG_WAIT(atomic_load(&it.rig->begins) == 1);
    rig_pause(it.rig);
    uint64_t bytes = atomic_load(&it.rig->bytes);
    // A handshake is no data, and goes on all the same.
    struct tls_peer other = peer_connect(server_http_address(it.rig->server), &(struct peer_options){.version = 0});
    cr_expect_eq(other.connected, 1);
    peer_say(&other, SINK, strlen(SINK));
    struct timeval soon = {.tv_usec = 200000};
    setsockopt(peer.fd, SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof(soon));
    SSL_set_mode(peer.ssl, SSL_MODE_ENABLE_PARTIAL_WRITE);
    int n;
    while (sent < len && (n = SSL_write(peer.ssl, request + sent, (int)(len - sent))) > 0)
        sent += (size_t)n;
    cr_expect_lt(sent, len, "the socket is full, for nobody reads");
    rig_turn(it.rig);
    cr_expect_eq(atomic_load(&it.rig->bytes), bytes);
    cr_expect_eq(atomic_load(&it.rig->begins), 1);
    rig_resume(it.rig);
    struct timeval patient = {.tv_sec = 20};
    setsockopt(peer.fd, SOL_SOCKET, SO_SNDTIMEO, &patient, sizeof(patient));
    while (sent < len) {
        n = SSL_write(peer.ssl, request + sent, (int)(len - sent));
        cr_assert_gt(n, 0);
        sent += (size_t)n;
    }
    char head[4096];
    int status;
    cr_expect_eq(peer_answer(&peer, &status, head, sizeof(head)), RIG_BIG_BYTES);
    expect_sink(&other, SUM);
    free(request);
    peer_close(&peer);
    peer_close(&other);
    tls_rig_free(&it);
}

// What OpenSSL has read ahead when reading stops is not told of by the socket when it goes on.
Test(server_tls, goes_on_with_what_was_read_ahead)
{
    struct tls_rig it = tls_rig_new(NULL, NULL);
    for (int i = 0; i < 2; i++) {
        struct tls_peer peer =
            peer_connect(server_http_address(it.rig->server), &(struct peer_options){.version = versions[i]});
        rig_pause(it.rig); // so that all of it lies in the socket when reading begins
        static const char hold[] = "POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
        // Four full records behind a small one: one read takes them all, and hands out all but the end of the last.
        static char request[65536], sum[32];
        static const char head[] = "POST /sink HTTP/1.1\r\nHost: x\r\nContent-Length: ";
        size_t body = sizeof(request) - (sizeof(head) - 1) - strlen("12345\r\n\r\n");
        memset(request, 1, sizeof(request));
        request[snprintf(request, sizeof(request), "%s%zu\r\n\r\n", head, body)] = 1; // where the text's end was
        snprintf(sum, sizeof(sum), "%zu %zu", body, body);
        peer_say(&peer, hold, strlen(hold));
        peer_say(&peer, request, sizeof(request));
        rig_resume(it.rig);
        RIG_WAIT(atomic_load(&it.rig->held) == 1);
        rig_release(it.rig);
        expect_sink(&peer, "0 0");
        expect_sink(&peer, sum);
        peer_close(&peer);
    }
    tls_rig_free(&it);
}

Test(server_tls, cuts_a_peer_that_does_not_read)
{
    struct tls_rig it = tls_rig_new(&(struct server_limits){.write_stall_ms = 300}, NULL);
    struct tls_peer peer = peer_connect(server_http_address(it.rig->server), &(struct peer_options){.version = 0});
    static const char request[] = "POST /big HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    peer_say(&peer, request, strlen(request));
    RIG_WAIT(server_connections(it.rig->server) == 0);
    peer_close(&peer);
    tls_rig_free(&it);
}

// --- the end ------------------------------------------------------------------------------------------------------------

static void *free_rig(void *it)
{
    tls_rig_free(it);
    return NULL;
}

// Requests under way are answered, what idles is told goodbye, and who is in the middle of a handshake does not hold it up.
Test(server_tls, ends_gracefully)
{
    struct tls_rig it = tls_rig_new(&(struct server_limits){.shutdown_ms = 15000}, NULL);
    struct rig *rig = it.rig;
    struct tls_peer busy = peer_connect(server_http_address(rig->server), &(struct peer_options){.version = 0});
    struct tls_peer idle = peer_connect(server_http_address(rig->server), &(struct peer_options){.version = 0});
    struct tls_peer idle_grpc =
        peer_connect(server_grpc_address(rig->server), &(struct peer_options){.alpn = "\x02h2"});
    int stalled = rig_connect(server_http_address(rig->server));
    static const char request[] = "POST /hold HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    peer_say(&busy, request, strlen(request));
    RIG_WAIT(atomic_load(&rig->held) == 1 && server_connections(rig->server) == 4);
    uint64_t began_ns = weir_now_ns();
    pthread_t thread;
    pthread_create(&thread, NULL, free_rig, &it);
    cr_expect(says_goodbye(&idle));
    char bytes[512];
    int n, goaways = 0;
    while ((n = SSL_read(idle_grpc.ssl, bytes, sizeof(bytes))) > 0)
        for (int i = 0; i + 9 <= n; i += 9 + (uint8_t)bytes[i + 2])
            goaways += bytes[i + 3] == 7;
    cr_expect_eq(goaways, 2);
    cr_expect_eq(recv(stalled, bytes, 1, 0), 0);
    rig_release(rig);
    char head[4096];
    int status;
    peer_answer(&busy, &status, head, sizeof(head));
    cr_expect_eq(status, 200);
    cr_expect(says_goodbye(&busy));
    peer_close(&busy);
    peer_close(&idle);
    peer_close(&idle_grpc);
    close(stalled);
    pthread_join(thread, NULL);
    cr_expect_lt(weir_now_ns() - began_ns, 10000000000u);
}
