// SPDX-License-Identifier: Apache-2.0
// Both clients over TLS 1.2 and 1.3, with certificates made for this run: a wrong name, a wrong CA and a missing client
// certificate must be refused, with either version (h2o 2.2.5 alone would take a wrong name under 1.3).
#include "tests/unit/client_calls.h"
#include "tests/unit/client_peer_h1.h"
#include "tests/unit/client_peer_h2.h"
#include "tests/unit/tls_certs.h"

#include <openssl/err.h>
#include <sys/wait.h>

TestSuite(client_tls, .timeout = 120);

// In the directory, by the shell.
static void run(const char *command)
{
    pid_t pid = fork();
    if (pid == 0) {
        if (chdir(certs_dir) == 0 && freopen("log", "w", stdout) != NULL && dup2(STDOUT_FILENO, STDERR_FILENO) >= 0)
            execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    int status = -1;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert_eq(status, 0, "%s", command);
}

static void setup(void)
{
    certs_open();
    make_ca("ca");
    make_ca("other-ca");
    make_cert("name", "ca", "DNS:localhost,DNS:collector.test");
    make_cert("ip", "ca", "IP:127.0.0.1");
    make_cert("wrong", "ca", "DNS:*.example.com");
    make_cert("client", "ca", "DNS:client");
}

static void teardown(void)
{
    certs_close();
}

static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                       unsigned in_len, void *user)
{
    const char *ours = user;
    if (SSL_select_next_proto((unsigned char **)(uintptr_t)out, out_len, (const unsigned char *)ours,
                              (unsigned)strlen(ours), in, in_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    return SSL_TLSEXT_ERR_OK;
}

struct peer_setup {
    const char *cert; // "name"
    int version;      // TLS1_2_VERSION, …
    bool ask;         // for a client certificate
    bool no_alpn;
};

static void start_peer(struct peer *peer, bool grpc, const struct peer_setup *setup)
{
    char file[64];
    *peer = (struct peer){.serve = grpc ? h2_serve : h1_serve, .tls = SSL_CTX_new(TLS_server_method())};
    snprintf(file, sizeof(file), "%s.crt", setup->cert);
    cr_assert_eq(SSL_CTX_use_certificate_chain_file(peer->tls, in_dir(file)), 1);
    snprintf(file, sizeof(file), "%s.key", setup->cert);
    cr_assert_eq(SSL_CTX_use_PrivateKey_file(peer->tls, in_dir(file), SSL_FILETYPE_PEM), 1);
    SSL_CTX_set_min_proto_version(peer->tls, setup->version);
    SSL_CTX_set_max_proto_version(peer->tls, setup->version);
    if (!setup->no_alpn)
        SSL_CTX_set_alpn_select_cb(peer->tls, choose_alpn, (void *)(uintptr_t)(grpc ? "\x02h2" : "\x08http/1.1"));
    if (setup->ask) {
        cr_assert_eq(SSL_CTX_load_verify_file(peer->tls, in_dir("ca.crt")), 1);
        SSL_CTX_set_verify(peer->tls, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    }
    peer_start(peer);
}

// One call to a peer of that setup.
static void call_once(struct test_call *test, bool grpc, const struct peer_setup *setup, const char *host,
                      const struct client_tls *tls)
{
    struct peer peer;
    start_peer(&peer, grpc, setup);
    struct client_options options = {.host = host,
                                     .port = peer.port,
                                     .use_tls = true,
                                     .tls = *tls,
                                     .connect_timeout_ms = 20000,
                                     .max_in_flight = 2,
                                     .user_agent = "weir/test"};
    struct client *client = NULL;
    struct weir_err err = {0};
    int code = grpc ? client_grpc_new(&options, &client, &err) : client_http_new(&options, &client, &err);
    cr_assert_eq(code, WEIR_OK, "%s", err.text);
    test_call_run(client, test, "/ok");
    client_free(client);
    peer_stop(&peer);
    SSL_CTX_free(peer.tls);
}

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

static void check_names(bool grpc)
{
    const struct {
        const char *cert, *host, *server_name, *ca;
        enum client_error error;
    } cases[] = {
        {"name", "localhost", NULL, "ca.crt", CLIENT_OK},
        {"ip", "127.0.0.1", NULL, "ca.crt", CLIENT_OK},
        {"name", "127.0.0.1", "collector.test", "ca.crt", CLIENT_OK},
        {"wrong", "localhost", NULL, "ca.crt", CLIENT_E_TLS},
        {"wrong", "127.0.0.1", NULL, "ca.crt", CLIENT_E_TLS},
        {"name", "127.0.0.1", NULL, "ca.crt", CLIENT_E_TLS},
        {"ip", "localhost", NULL, "ca.crt", CLIENT_E_TLS},
        {"name", "localhost", "other.test", "ca.crt", CLIENT_E_TLS},
        {"name", "localhost", NULL, "other-ca.crt", CLIENT_E_TLS},
        {"name", "localhost", NULL, NULL, CLIENT_E_TLS}, // the system's CAs
    };
    for (size_t i = 0; i < 2 * WEIR_COUNT(cases); i++) {
        size_t n = i / 2;
        struct client_tls tls = {.ca_file = cases[n].ca != NULL ? in_dir(cases[n].ca) : NULL,
                                 .server_name = cases[n].server_name};
        struct test_call test;
        call_once(&test, grpc, &(struct peer_setup){.cert = cases[n].cert, .version = versions[i % 2]}, cases[n].host,
                  &tls);
        cr_expect_eq(test.call.error, cases[n].error, "case %zu, TLS %s: %s (%s)", n, i % 2 ? "1.3" : "1.2",
                     client_error_name(test.call.error), test.call.error_text);
        cr_expect(test.call.error == CLIENT_OK ? strcmp(test.answer, "hello") == 0 : !test.call.bytes_sent);
    }
}

Test(client_tls, grpc_checks_name_and_chain, .init = setup, .fini = teardown)
{
    check_names(true);
}

Test(client_tls, http_checks_name_and_chain, .init = setup, .fini = teardown)
{
    check_names(false);
}

Test(client_tls, skips_the_check_on_demand, .init = setup, .fini = teardown)
{
    for (int i = 0; i < 4; i++) {
        struct test_call test;
        call_once(&test, i < 2, &(struct peer_setup){.cert = "wrong", .version = versions[i % 2]}, "localhost",
                  &(struct client_tls){.insecure_skip_verify = true});
        cr_expect_error(&test, CLIENT_OK);
        cr_expect_str_eq(test.answer, "hello");
    }
}

Test(client_tls, shows_its_certificate, .init = setup, .fini = teardown)
{
    for (int i = 0; i < 4; i++) {
        struct peer_setup peer = {.cert = "name", .version = versions[i % 2], .ask = true};
        struct client_tls tls = {.ca_file = in_dir("ca.crt")};
        struct test_call test;
        call_once(&test, i < 2, &peer, "localhost", &tls);
        // Under 1.3 the peer's alert races with the end of its connection.
        cr_expect(test.call.error == CLIENT_E_TLS || (i % 2 == 1 && test.call.error != CLIENT_OK), "%s: %s",
                  client_error_name(test.call.error), test.call.error_text);
        tls.cert_file = in_dir("client.crt");
        tls.key_file = in_dir("client.key");
        call_once(&test, i < 2, &peer, "localhost", &tls);
        cr_expect_error(&test, CLIENT_OK);
        cr_expect_str_eq(test.answer, "hello");
    }
}

Test(client_tls, keeps_to_the_minimum_version, .init = setup, .fini = teardown)
{
    for (int i = 0; i < 4; i++) {
        struct test_call test;
        call_once(&test, i < 2, &(struct peer_setup){.cert = "name", .version = versions[i % 2]}, "localhost",
                  &(struct client_tls){.ca_file = in_dir("ca.crt"), .min_version = "1.3"});
        cr_expect_error(&test, i % 2 == 1 ? CLIENT_OK : CLIENT_E_TLS);
    }
}

Test(client_tls, grpc_needs_alpn, .init = setup, .fini = teardown)
{
    for (int i = 0; i < 2; i++) {
        struct test_call test;
        call_once(&test, true, &(struct peer_setup){.cert = "name", .version = versions[i], .no_alpn = true},
                  "localhost", &(struct client_tls){.ca_file = in_dir("ca.crt")});
        cr_expect_error(&test, CLIENT_E_PROTOCOL);
        cr_expect_text(&test, "ALPN");
    }
}

// Several bodies of megabytes at once: writes that are cut into TLS records and get stuck half-way.
Test(client_tls, sends_big_bodies, .init = setup, .fini = teardown)
{
    size_t len = 3000000;
    uint8_t *body = malloc(len);
    cr_assert_not_null(body);
    for (size_t i = 0; i < len; i++)
        body[i] = (uint8_t)(i * 2654435761u >> 13);
    char hash[64];
    snprintf(hash, sizeof(hash), "%016llx/%zu", (unsigned long long)peer_hash(PEER_HASH_START, body, len), len);
    for (int i = 0; i < 4; i++) {
        struct peer peer;
        start_peer(&peer, i < 2, &(struct peer_setup){.cert = "name", .version = versions[i % 2]});
        struct client_options options = {.host = "localhost",
                                         .port = peer.port,
                                         .use_tls = true,
                                         .tls = {.ca_file = in_dir("ca.crt")},
                                         .max_in_flight = 4};
        struct client *client = NULL;
        cr_assert_eq(i < 2 ? client_grpc_new(&options, &client, NULL) : client_http_new(&options, &client, NULL),
                     WEIR_OK);
        struct test_call tests[4];
        for (size_t n = 0; n < WEIR_COUNT(tests); n++) {
            test_call_init(&tests[n], "/ok");
            tests[n].ranges[0] = (struct weir_slice){.data = body, .len = 1000};
            tests[n].ranges[1] = (struct weir_slice){.data = body + 1000, .len = len - 1000};
            tests[n].call.body_count = 2;
            client_start(client, &tests[n].call);
        }
        for (size_t n = 0; n < WEIR_COUNT(tests); n++) {
            test_call_wait(client, &tests[n]);
            cr_expect_error(&tests[n], CLIENT_OK);
            cr_expect_str_eq(tests[n].hash, hash);
        }
        client_free(client);
        peer_stop(&peer);
        SSL_CTX_free(peer.tls);
    }
    free(body);
}

Test(client_tls, names_what_is_wrong_with_its_files, .init = setup, .fini = teardown)
{
    run("echo junk >junk.pem && cp client.crt mine.crt && "
        "openssl ec -in client.key -aes256 -passout pass:secret -out locked.key");
    const struct {
        struct client_tls tls;
        const char *text;
    } cases[] = {
        {{.ca_file = "/nowhere/ca.pem"}, "tls.ca_file /nowhere/ca.pem: No such file"},
        {{.ca_file = in_dir("junk.pem")}, "junk.pem"},
        {{.cert_file = in_dir("mine.crt")}, "one without the other"},
        {{.key_file = in_dir("client.key")}, "one without the other"},
        {{.cert_file = "/nowhere/c", .key_file = in_dir("client.key")}, "tls.cert_file /nowhere/c: No such file"},
        {{.cert_file = in_dir("mine.crt"), .key_file = in_dir("junk.pem")}, "junk.pem"},
        {{.cert_file = in_dir("mine.crt"), .key_file = in_dir("ca.key")}, "mismatch"},
        {{.cert_file = in_dir("mine.crt"), .key_file = in_dir("locked.key")}, "locked.key"},
        {{.min_version = "1.1"}, "tls.min_version \"1.1\""},
    };
    for (size_t i = 0; i < 2 * WEIR_COUNT(cases); i++) {
        struct client_options options = {.host = "localhost", .port = 4317, .use_tls = true, .tls = cases[i / 2].tls};
        struct client *client = NULL;
        struct weir_err err = {0};
        int code = i % 2 ? client_grpc_new(&options, &client, &err) : client_http_new(&options, &client, &err);
        cr_expect_eq(code, WEIR_E_INVALID);
        cr_expect(strstr(err.text, cases[i / 2].text) != NULL, "case %zu: %s", i / 2, err.text);
        cr_expect_null(client);
    }
}
