// SPDX-License-Identifier: Apache-2.0
// TLS files read again: by listeners under handshakes, and by both clients. What is bad changes nothing; connections live on.
#include "tests/unit/client_calls.h"
#include "tests/unit/server_rig.h"
#include "tests/unit/tls_certs.h"

#include <openssl/ssl.h>
#include <sys/stat.h>
#include <utime.h>

static void setup(void)
{
    signal(SIGPIPE, SIG_IGN);
    certs_open();
    make_ca("ca");
    make_ca("other-ca");
    make_cert("one", "ca", "DNS:localhost");
    make_cert("two", "ca", "DNS:localhost");
    make_cert("other", "other-ca", "DNS:localhost");
}

TestSuite(tls_reload, .timeout = 120, .init = setup, .fini = certs_close);

// NAME's files under the names of `as`, by a rename each; every file has the same time.
static void put(const char *name, const char *as)
{
    static const char *const suffixes[] = {"crt", "key"};
    for (size_t i = 0; i < WEIR_COUNT(suffixes); i++) {
        char text[8192];
        FILE *in = certs_file(name, suffixes[i], "r"), *out = certs_file("new", suffixes[i], "w");
        size_t n = fread(text, 1, sizeof(text), in);
        cr_assert_eq(fwrite(text, 1, n, out), n);
        fclose(in);
        fclose(out);
        char from[64], to[64];
        snprintf(from, sizeof(from), "new.%s", suffixes[i]);
        snprintf(to, sizeof(to), "%s.%s", as, suffixes[i]);
        cr_assert_eq(utime(in_dir(from), &(struct utimbuf){1, 1}), 0);
        cr_assert_eq(rename(in_dir(from), in_dir(to)), 0);
    }
}

static void put_text(const char *suffix, const char *text)
{
    FILE *out = certs_file("mine", suffix, "w");
    fputs(text, out);
    fclose(out);
}

static struct tls_listen *listen_new(const char *client_ca)
{
    struct tls_listen_options options = {.cert_file = in_dir("mine.crt"),
                                         .key_file = in_dir("mine.key"),
                                         .client_ca_file = client_ca != NULL ? in_dir(client_ca) : NULL,
                                         .http2 = true};
    struct tls_listen *tls;
    struct weir_err err = {0};
    cr_assert_eq(tls_listen_new(&options, &tls, &err), WEIR_OK, "%s", err.text);
    return tls;
}

static void expect_reload(struct tls_listen *tls, int code, bool want, const char *text)
{
    struct weir_err err = {0};
    bool changed = false;
    cr_expect_eq(tls_listen_reload(tls, &changed, &err), code, "%s", err.text);
    cr_expect_eq(changed, want);
    cr_expect(strstr(err.text, text) != NULL, "%s", err.text);
}

static bool shows(SSL_CTX *ctx, const char *name)
{
    char cn[64] = "";
    X509_NAME_get_text_by_NID(X509_get_subject_name(SSL_CTX_get0_certificate(ctx)), NID_commonName, cn, sizeof(cn));
    return strcmp(cn, name) == 0;
}

Test(tls_reload, a_listener_takes_what_is_good_alone)
{
    put("one", "mine");
    struct tls_listen *tls = listen_new(NULL);
    expect_reload(tls, WEIR_OK, false, "");
    put("two", "mine"); // of the same time and length
    SSL_CTX *before = tls_listen_context(tls);
    expect_reload(tls, WEIR_OK, true, "");
    SSL_CTX *after = tls_listen_context(tls);
    cr_expect(shows(before, "one") && shows(after, "two"), "who holds the old one goes on with it");
    SSL_CTX_free(before);
    put_text("crt", "");
    expect_reload(tls, WEIR_E_INVALID, false, "tls.cert_file");
    put_text("crt", "-----BEGIN CERTIFICATE-----\nMIIB\n");
    expect_reload(tls, WEIR_E_INVALID, false, "tls.cert_file");
    put("two", "mine");
    put_text("key", "-----BEGIN PRIVATE KEY-----\n");
    expect_reload(tls, WEIR_E_INVALID, false, "tls.key_file");
    put("two", "mine");
    unlink(in_dir("mine.key"));
    expect_reload(tls, WEIR_E_INVALID, false, "No such file");
    mkdir(in_dir("mine.key"), 0700);
    expect_reload(tls, WEIR_E_INVALID, false, "Is a directory");
    rmdir(in_dir("mine.key"));
    put("one", "mine");
    put_text("crt", "");
    FILE *in = certs_file("two", "crt", "r");
    char text[8192];
    text[fread(text, 1, sizeof(text) - 1, in)] = '\0';
    fclose(in);
    put_text("crt", text); // half rotated: the certificate is there, its key is not yet
    expect_reload(tls, WEIR_E_INVALID, false, "mismatch");
    SSL_CTX *still = tls_listen_context(tls);
    cr_expect(still == after);
    SSL_CTX_free(still);
    SSL_CTX_free(after);
    put("two", "mine");
    expect_reload(tls, WEIR_OK, false, "");
    put("one", "mine");
    expect_reload(tls, WEIR_OK, true, "");
    tls_listen_free(tls);
}

Test(tls_reload, tells_how_long_it_is_valid)
{
    certs_make("mine", "ca", "DNS:localhost", -100, 1000);
    struct tls_listen *tls = listen_new(NULL);
    int64_t now = (int64_t)(weir_now_unix_ns() / 1000000000);
    struct tls_validity validity = tls_listen_validity(tls);
    cr_expect(llabs(validity.not_before_unix - (now - 100)) <= 5 && llabs(validity.not_after_unix - (now + 1000)) <= 5);
    tls_listen_free(tls);
}

// --- under load -------------------------------------------------------------------------------------------------------

struct rotation {
    struct tls_listen *tls;
    atomic_bool stop;
    atomic_uint changes;
};

static void *rotate(void *arg)
{
    struct rotation *rotation = arg;
    for (unsigned i = 0; !atomic_load(&rotation->stop); i++) {
        struct weir_err err = {0};
        bool changed = false;
        put(i % 2 ? "one" : "two", "mine");
        cr_assert_eq(tls_listen_reload(rotation->tls, &changed, &err), WEIR_OK, "%s", err.text);
        atomic_fetch_add(&rotation->changes, changed);
    }
    return NULL;
}

static struct client *client_new(const char *address, const char *cert)
{
    static char crt[64], key[64];
    snprintf(crt, sizeof(crt), "%s.crt", cert);
    snprintf(key, sizeof(key), "%s.key", cert);
    struct client_options options = {
        .host = "localhost",
        .port = (uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10),
        .use_tls = true,
        .tls = {.ca_file = in_dir("ca.crt"), .cert_file = in_dir(crt), .key_file = in_dir(key)},
        .connect_timeout_ms = 20000,
        .max_in_flight = 4};
    struct client *client = NULL;
    struct weir_err err = {0};
    cr_assert_eq(client_grpc_new(&options, &client, &err), WEIR_OK, "%s", err.text);
    return client;
}

// Handshakes in two loops' threads while a third swaps the context: every one succeeds, and a connection from before lives on.
Test(tls_reload, handshakes_go_on_while_certificates_change)
{
    put("one", "mine");
    struct rotation rotation = {.tls = listen_new("ca.crt")};
    struct rig *rig = rig_new_tls(2, NULL, rotation.tls, NULL);
    const char *address = server_grpc_address(rig->server);
    struct client *steady = client_new(address, "one");
    struct test_call test;
    test_call_run(steady, &test, "/sink");
    cr_assert_eq(test.call.error, CLIENT_OK, "%s", test.call.error_text);
    uint64_t connection = test.call.connection;
    pthread_t thread;
    pthread_create(&thread, NULL, rotate, &rotation);
    unsigned done = 0;
    for (; done < 60 || atomic_load(&rotation.changes) < 20; done++) {
        struct client *client = client_new(address, done % 2 ? "one" : "two");
        test_call_run(client, &test, "/sink");
        cr_assert_eq(test.call.error, CLIENT_OK, "%u: %s", done, test.call.error_text);
        client_free(client);
    }
    atomic_store(&rotation.stop, true);
    pthread_join(thread, NULL);
    test_call_run(steady, &test, "/sink");
    cr_expect_eq(test.call.error, CLIENT_OK);
    cr_expect_eq(test.call.connection, connection, "the same connection");
    client_free(steady);
    cr_expect_eq(atomic_load(&rig->handshakes_failed), 0);
    rig_free(rig);
    tls_listen_free(rotation.tls);
}

// --- clients ----------------------------------------------------------------------------------------------------------

static void check_client(bool grpc)
{
    put("one", "mine");
    struct tls_listen_options options = {.cert_file = in_dir("one.crt"),
                                         .key_file = in_dir("one.key"),
                                         .client_ca_file = in_dir("ca.crt"),
                                         .http2 = grpc};
    struct tls_listen *tls;
    cr_assert_eq(tls_listen_new(&options, &tls, NULL), WEIR_OK);
    struct rig *rig = rig_new_tls(1, NULL, grpc ? tls : NULL, grpc ? NULL : tls);
    const char *address = grpc ? server_grpc_address(rig->server) : server_http_address(rig->server);
    struct client_options mine = {
        .host = "localhost",
        .port = (uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10),
        .use_tls = true,
        .tls = {.ca_file = in_dir("ca.crt"), .cert_file = in_dir("mine.crt"), .key_file = in_dir("mine.key")},
        .connect_timeout_ms = 20000,
        .max_in_flight = 4};
    put("other", "mine"); // which the server does not take
    struct client *client = NULL;
    struct weir_err err = {0};
    cr_assert_eq((grpc ? client_grpc_new : client_http_new)(&mine, &client, &err), WEIR_OK, "%s", err.text);
    struct test_call test;
    bool changed;
    test_call_run(client, &test, "/sink");
    cr_expect_neq(test.call.error, CLIENT_OK);
    put("two", "mine");
    test_call_run(client, &test, "/sink");
    cr_expect_neq(test.call.error, CLIENT_OK, "the files are not read unless they are asked for");
    cr_expect_eq(client_reload(client, &changed, &err), WEIR_OK, "%s", err.text);
    cr_expect(changed);
    test_call_run(client, &test, "/sink");
    cr_expect_eq(test.call.error, CLIENT_OK, "%s", test.call.error_text);
    uint64_t connection = test.call.connection;
    put_text("key", "");
    cr_expect_eq(client_reload(client, &changed, &err), WEIR_E_INVALID);
    cr_expect(!changed && strstr(err.text, "tls.key_file") != NULL, "%s", err.text);
    put("one", "mine");
    cr_expect_eq(client_reload(client, &changed, &err), WEIR_OK, "%s", err.text);
    cr_expect(changed);
    test_call_run(client, &test, "/sink");
    cr_expect_eq(test.call.error, CLIENT_OK, "%s", test.call.error_text);
    cr_expect_eq(test.call.connection, connection, "the connection lives on");
    cr_expect_neq(client_certificate(client).not_after_unix, 0);
    client_free(client);
    rig_free(rig);
    tls_listen_free(tls);
}

Test(tls_reload, grpc_clients_read_their_files_again)
{
    check_client(true);
}

Test(tls_reload, http_clients_read_their_files_again)
{
    check_client(false);
}
