// SPDX-License-Identifier: Apache-2.0
// Names that fail, change, have several addresses, or take their time. The resolver is this file's: it answers for "collector.test" what the
// test says, and numeric hosts as they are.
#include "net/client.h"
#include "tests/unit/client_calls.h"
#include "tests/unit/client_peer_h1.h"
#include "tests/unit/client_peer_h2.h"

#include <netdb.h>

TestSuite(client_dns, .timeout = 60);

#define HOST "collector.test"

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int error;              // instead of addresses
    const char *answers[4]; // IPv4, in this order
    bool slow, waiting;     // look-ups wait while `slow`
    int asked;
} dns = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static struct addrinfo *make_address(const char *text, const char *port)
{
    struct addrinfo *out = calloc(1, sizeof(*out) + sizeof(struct sockaddr_in));
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)(out + 1);
    if (inet_pton(AF_INET, text, &in->sin_addr) != 1) {
        free(out);
        return NULL;
    }
    in->sin_family = AF_INET;
    in->sin_port = htons((uint16_t)(port != NULL ? strtoul(port, NULL, 10) : 0));
    *out = (struct addrinfo){.ai_family = AF_INET,
                             .ai_socktype = SOCK_STREAM,
                             .ai_protocol = IPPROTO_TCP,
                             .ai_addrlen = sizeof(*in),
                             .ai_addr = (struct sockaddr *)in};
    return out;
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
    struct addrinfo *numeric = node != NULL ? make_address(node, service) : NULL;
    *out = numeric;
    if (numeric != NULL)
        return 0;
    if (hints != NULL && (hints->ai_flags & AI_NUMERICHOST) != 0)
        return EAI_NONAME;
    pthread_mutex_lock(&dns.mutex);
    dns.asked++;
    dns.waiting = true;
    pthread_cond_broadcast(&dns.changed);
    while (dns.slow)
        pthread_cond_wait(&dns.changed, &dns.mutex);
    dns.waiting = false;
    int error = node == NULL || strcmp(node, HOST) != 0 ? EAI_NONAME : dns.error;
    for (size_t i = 0; i < WEIR_COUNT(dns.answers) && dns.answers[i] != NULL && error == 0; i++) {
        struct addrinfo *address = make_address(dns.answers[i], service);
        if (address == NULL)
            abort();
        *out = address;
        out = &address->ai_next;
    }
    pthread_mutex_unlock(&dns.mutex);
    return error;
}

void freeaddrinfo(struct addrinfo *list)
{
    while (list != NULL) {
        struct addrinfo *next = list->ai_next;
        free(list);
        list = next;
    }
}

static void dns_says(const char *first, const char *second)
{
    pthread_mutex_lock(&dns.mutex);
    dns.error = first == NULL ? EAI_AGAIN : 0;
    dns.answers[0] = first;
    dns.answers[1] = second;
    pthread_mutex_unlock(&dns.mutex);
}

static int dns_asked(void)
{
    pthread_mutex_lock(&dns.mutex);
    int asked = dns.asked;
    pthread_mutex_unlock(&dns.mutex);
    return asked;
}

static struct peer peer;
static struct client *client;
static uint32_t connect_timeout_ms = 5000;

static void with_peer(int http, void (*serve)(struct peer_conn *conn))
{
    peer = (struct peer){.serve = serve != NULL ? serve : http ? h1_serve : h2_serve};
    peer_start(&peer);
    struct client_options options = {
        .host = HOST, .port = peer.port, .connect_timeout_ms = connect_timeout_ms, .max_in_flight = 4};
    struct weir_err err = {0};
    cr_assert_eq((http ? client_http_new : client_grpc_new)(&options, &client, &err), WEIR_OK, "%s", err.text);
}

static void teardown(void)
{
    client_free(client);
    peer_stop(&peer);
}

static void run_for(struct test_call *test, uint64_t timeout_ms)
{
    test_call_init(test, "/ok");
    test->call.timeout_ns = timeout_ms * 1000000;
    client_start(client, &test->call);
    test_call_wait(client, test);
}

Test(client_dns, a_name_that_failed_is_asked_for_again)
{
    for (int http = 0; http < 2; http++) {
        with_peer(http, NULL);
        dns_says(NULL, NULL);
        struct test_call test;
        for (int i = 0; i < 2; i++) {
            test_call_run(client, &test, "/ok");
            cr_expect_error(&test, CLIENT_E_RESOLVE);
        }
        dns_says("127.0.0.1", NULL);
        test_call_run(client, &test, "/ok");
        cr_expect_error(&test, CLIENT_OK);
        teardown();
    }
}

// 127.0.0.2 refuses: the peer listens on 127.0.0.1 alone.
Test(client_dns, every_address_is_tried)
{
    for (int http = 0; http < 2; http++) {
        with_peer(http, NULL);
        dns_says("127.0.0.2", "127.0.0.1");
        struct test_call test;
        test_call_run(client, &test, "/ok");
        cr_expect_error(&test, CLIENT_OK);
        teardown();
    }
}

Test(client_dns, a_name_that_moved_is_followed_when_its_connection_ends)
{
    for (int http = 0; http < 2; http++) {
        struct test_call test;
        with_peer(http, NULL);
        dns_says("127.0.0.1", NULL);
        test_call_run(client, &test, "/ok");
        cr_expect_error(&test, CLIENT_OK);
        int asked = dns_asked();
        test_call_run(client, &test, "/ok");
        cr_expect_error(&test, CLIENT_OK);
        cr_expect_eq(dns_asked(), asked, "a good connection asks nobody");
        dns_says("127.0.0.2", NULL);
        test_call_run(client, &test, "/cut-answer"); // ends the connection
        test_call_run(client, &test, "/ok");
        cr_expect_error(&test, CLIENT_E_CONNECT);
        cr_expect_gt(dns_asked(), asked);
        dns_says("127.0.0.1", NULL);
        test_call_run(client, &test, "/ok");
        cr_expect_error(&test, CLIENT_OK);
        teardown();
    }
}

// The one at 127.0.0.2 takes connections and says nothing, as behind a balancer whose backend hangs.
Test(client_dns, a_silent_address_gives_way_to_the_next)
{
    connect_timeout_ms = 200;
    for (int http = 0; http < 2; http++) {
        with_peer(http, NULL);
        int silent = socket(AF_INET, SOCK_STREAM, 0);
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(peer.port)};
        inet_pton(AF_INET, "127.0.0.2", &address.sin_addr);
        cr_assert_eq(bind(silent, (struct sockaddr *)&address, sizeof(address)), 0);
        cr_assert_eq(listen(silent, 16), 0);
        dns_says("127.0.0.2", "127.0.0.1");
        struct test_call test;
        int tries = 0;
        do {
            run_for(&test, 200);
        } while (test.call.error != CLIENT_OK && ++tries < 30);
        cr_expect_error(&test, CLIENT_OK);
        cr_expect_geq(tries, http ? 0 : 1); // libcurl shuffles once one has failed
        if (!http)
            cr_expect_leq(tries, 2);
        close(silent);
        teardown();
    }
}

// The thread that sends has four lanes to look after: a resolver that hangs must not hold it up.
Test(client_dns, a_slow_resolver_blocks_nobody)
{
    for (int http = 0; http < 2; http++) {
        with_peer(http, NULL);
        dns_says("127.0.0.1", NULL);
        pthread_mutex_lock(&dns.mutex);
        dns.slow = true;
        pthread_mutex_unlock(&dns.mutex);
        struct test_call test;
        test_call_init(&test, "/ok");
        test.call.timeout_ns = 100000000;
        client_start(client, &test.call);
        uint64_t longest_ns = 0;
        while (test.done == 0) {
            uint64_t before_ns = weir_now_ns();
            client_poll(client, 10);
            uint64_t took_ns = weir_now_ns() - before_ns;
            longest_ns = took_ns > longest_ns ? took_ns : longest_ns;
        }
        cr_expect(test.call.error == CLIENT_E_TIMEOUT || test.call.error == CLIENT_E_RESOLVE ||
                  test.call.error == CLIENT_E_CONNECT);
        cr_expect_not(test.call.bytes_sent);
        cr_expect_lt(longest_ns, 5000000000u, "a poll took %llu ms", (unsigned long long)(longest_ns / 1000000));
        pthread_mutex_lock(&dns.mutex);
        cr_expect(dns.waiting, "the look-up has not ended yet");
        dns.slow = false;
        pthread_cond_broadcast(&dns.changed);
        pthread_mutex_unlock(&dns.mutex);
        test_call_run(client, &test, "/ok");
        cr_expect_error(&test, CLIENT_OK);
        teardown();
    }
}
