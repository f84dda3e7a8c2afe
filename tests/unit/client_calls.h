// SPDX-License-Identifier: Apache-2.0
// Calls of the clients' tests: one record per call, polled until it is done.
#ifndef WEIR_TESTS_CLIENT_CALLS_H
#define WEIR_TESTS_CLIENT_CALLS_H

#include "net/client.h"

#include <criterion/criterion.h>
#include <stdio.h>

struct test_call {
    struct client_call call;
    struct weir_slice ranges[8];
    int done;
    char answer[64], grpc_status[16], grpc_message[64], hash[32];
    size_t answer_len;
    void (*then)(struct test_call *call);
    struct client *client;
};

static inline void copy_slice(char *out, size_t cap, struct weir_slice slice)
{
    snprintf(out, cap, "%.*s", (int)slice.len, (const char *)slice.data);
}

static inline void test_call_done(struct client_call *call)
{
    struct test_call *test = WEIR_CONTAINER_OF(call, struct test_call, call);
    test->done++;
    test->answer_len = call->response_body.len;
    copy_slice(test->answer, sizeof(test->answer), call->response_body);
    copy_slice(test->grpc_status, sizeof(test->grpc_status), client_call_header(call, "grpc-status"));
    copy_slice(test->grpc_message, sizeof(test->grpc_message), client_call_header(call, "grpc-message"));
    copy_slice(test->hash, sizeof(test->hash), client_call_header(call, "x-hash"));
    if (test->then != NULL)
        test->then(test);
}

static const struct client_header test_headers[] = {{"content-type", "application/grpc"},
                                                    {"x-scope-orgid", "tenant-1"}};

// A call with a body of one short range.
static inline void test_call_init(struct test_call *test, const char *path)
{
    memset(test, 0, sizeof(*test));
    test->ranges[0] = (struct weir_slice){.data = (const uint8_t *)"12345hello", .len = 10};
    test->call = (struct client_call){.path = path,
                                      .headers = test_headers,
                                      .header_count = WEIR_COUNT(test_headers),
                                      .body = test->ranges,
                                      .body_count = 1,
                                      .timeout_ns = 20000000000u,
                                      .done = test_call_done};
}

static inline void test_call_start(struct client *client, struct test_call *test, const char *path)
{
    test_call_init(test, path);
    test->client = client;
    client_start(client, &test->call);
    cr_assert_eq(test->done, 0, "done from client_start");
}

static inline void test_call_wait(struct client *client, struct test_call *test)
{
    while (test->done == 0)
        client_poll(client, 1000);
    cr_assert_eq(test->done, 1);
}

static inline void test_call_run(struct client *client, struct test_call *test, const char *path)
{
    test_call_start(client, test, path);
    test_call_wait(client, test);
}

#define cr_expect_error(test, expected)                                                                                \
    cr_expect_eq((test)->call.error, expected, "%s instead of %s: %s", client_error_name((test)->call.error),          \
                 client_error_name(expected), (test)->call.error_text)
#define cr_expect_text(test, part)                                                                                     \
    cr_expect(strstr((test)->call.error_text, part) != NULL, "\"%s\" lacks \"%s\"", (test)->call.error_text, part)

#endif
