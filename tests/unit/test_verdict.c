// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>

#include "proto/verdict.h"

#define MIB    (1u << 20)
#define NOW_NS (UINT64_C(784111770) * 1000000000) // Sun, 06 Nov 1994 08:49:30 GMT

static struct weir_slice text(const char *s)
{
    return s == NULL ? (struct weir_slice){0} : (struct weir_slice){(const uint8_t *)s, strlen(s)};
}

// grpc-status-details-bin with a RetryInfo; freed with its buffer.
static struct weir_buf details_of(uint64_t delay_ms)
{
    struct rpc_status status = {.code = 8, .message = "slow down", .has_retry_info = true, .retry_delay_ms = delay_ms};
    struct weir_buf bytes = {0}, out = {0};
    cr_assert_eq(rpc_status_encode(&status, &bytes), WEIR_OK);
    cr_assert_eq(grpc_bin_encode((struct weir_slice){bytes.data, bytes.len}, &out), WEIR_OK);
    weir_buf_free(&bytes);
    return out;
}

Test(verdict, grpc_status_table_U1_U2_U17_U27)
{
    static const struct {
        int status;
        int64_t delay_ms; // of RetryInfo; -1: none
        uint64_t raw_bytes;
        enum verdict_kind kind;
        bool throttled;
    } cases[] = {
        {GRPC_OK, -1, 1, VERDICT_DELIVERED, false},
        {GRPC_CANCELLED, -1, 1, VERDICT_RETRY, false},
        {GRPC_UNKNOWN, -1, 1, VERDICT_REJECT, false},
        {GRPC_INVALID_ARGUMENT, -1, 1, VERDICT_REJECT, false},
        {GRPC_DEADLINE_EXCEEDED, -1, 1, VERDICT_RETRY, false},
        {GRPC_NOT_FOUND, -1, 1, VERDICT_REJECT, false},
        {GRPC_ALREADY_EXISTS, -1, 1, VERDICT_REJECT, false},
        {GRPC_PERMISSION_DENIED, -1, 1, VERDICT_HOLD, false},
        {GRPC_RESOURCE_EXHAUSTED, -1, 1, VERDICT_REJECT, true},
        {GRPC_RESOURCE_EXHAUSTED, -1, MIB, VERDICT_REJECT, true},
        {GRPC_RESOURCE_EXHAUSTED, -1, MIB + 1, VERDICT_SPLIT, true}, // U17
        {GRPC_RESOURCE_EXHAUSTED, 0, MIB + 1, VERDICT_RETRY, true},  // U2: presence is enough
        {GRPC_RESOURCE_EXHAUSTED, 2500, 1, VERDICT_RETRY, true},
        {GRPC_FAILED_PRECONDITION, -1, 1, VERDICT_REJECT, false},
        {GRPC_ABORTED, -1, 1, VERDICT_RETRY, false},
        {GRPC_OUT_OF_RANGE, -1, 1, VERDICT_SPLIT, false}, // U17: at any size
        {GRPC_OUT_OF_RANGE, -1, MIB + 1, VERDICT_SPLIT, false},
        {GRPC_OUT_OF_RANGE, 0, MIB + 1, VERDICT_RETRY, false},
        {GRPC_OUT_OF_RANGE, 2500, MIB + 1, VERDICT_RETRY, true},
        {GRPC_UNIMPLEMENTED, -1, 1, VERDICT_HOLD, false},
        {GRPC_INTERNAL, -1, 1, VERDICT_REJECT, false},
        {GRPC_UNAVAILABLE, -1, 1, VERDICT_RETRY, false},
        {GRPC_UNAVAILABLE, 0, 1, VERDICT_RETRY, false},
        {GRPC_UNAVAILABLE, 2500, 1, VERDICT_RETRY, true},
        {GRPC_INVALID_ARGUMENT, 2500, 1, VERDICT_REJECT, false},
        {GRPC_DATA_LOSS, -1, 1, VERDICT_SPLIT, false}, // U17
        {GRPC_UNAUTHENTICATED, -1, 1, VERDICT_HOLD, false},
        {77, -1, 1, VERDICT_REJECT, false},
    };
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        char number[16];
        snprintf(number, sizeof(number), "%d", cases[i].status);
        struct weir_buf details = {0};
        if (cases[i].delay_ms >= 0)
            details = details_of((uint64_t)cases[i].delay_ms);
        struct verdict_answer answer = {.http_status = 200,
                                        .grpc_status = text(number),
                                        .grpc_message = text("because"),
                                        .grpc_details = {details.data, details.len},
                                        .sent_raw_bytes = cases[i].raw_bytes};
        struct verdict out;
        verdict_grpc(&answer, &out);
        bool retry = cases[i].kind == VERDICT_RETRY;
        cr_expect_eq(out.kind, cases[i].kind, "case %zu, status %s: %d", i, number, out.kind);
        cr_expect_eq(out.throttled, cases[i].throttled, "case %zu, status %s", i, number);
        cr_expect_eq(out.retry_after_ms, retry && cases[i].delay_ms > 0 ? (uint64_t)cases[i].delay_ms : 0, "case %zu",
                     i);
        cr_expect_str_eq(out.code, grpc_status_name(cases[i].status));
        cr_expect_str_eq(out.message, cases[i].status == GRPC_OK ? "" : "because", "case %zu", i);
        cr_expect_not(out.refuses_encoding);
        bool passes = cases[i].status == GRPC_OUT_OF_RANGE || cases[i].status == GRPC_DATA_LOSS;
        cr_expect_eq(out.passes, passes, "case %zu", i);
        cr_expect_eq(out.unavailable, cases[i].status == GRPC_UNAVAILABLE && !cases[i].throttled, "case %zu", i);
        weir_buf_free(&details);
    }
}

Test(verdict, what_tonic_says_is_too_large_does_not_pass_U17)
{
    struct verdict_answer answer = {.http_status = 200,
                                    .grpc_status = text("11"),
                                    .grpc_message =
                                        text("Error, decoded message length too large: found 4200000 bytes, "
                                             "the limit is: 4194304 bytes")};
    struct verdict out;
    verdict_grpc(&answer, &out);
    cr_expect_eq(out.kind, VERDICT_SPLIT);
    cr_expect_not(out.passes);
}

Test(verdict, grpc_messages_are_decoded_and_made_safe)
{
    struct weir_buf details = details_of(0);
    struct verdict_answer answer = {
        .http_status = 200, .grpc_status = text("8"), .grpc_message = text("gr%C3%B6%C3%9Fe%0A%FF")};
    struct verdict out;
    verdict_grpc(&answer, &out);
    cr_assert_str_eq(out.message, "größe ?");
    answer.grpc_message = text("");
    answer.grpc_details = (struct weir_slice){details.data, details.len};
    verdict_grpc(&answer, &out);
    cr_assert_str_eq(out.message, "slow down");
    answer.grpc_details = text("!!! no base64 !!!");
    verdict_grpc(&answer, &out);
    cr_assert_eq(out.kind, VERDICT_REJECT);
    weir_buf_free(&details);
}

Test(verdict, partial_success_is_delivered_U6_U7)
{
    static const struct {
        const char *what, *body;
        size_t len;
        int64_t rejected;
        const char *message;
    } cases[] = {
        {"G19 empty", "", 0, 0, ""},
        {"P14 present and empty", "\x0a\x00", 2, 0, ""},
        {"U6 rejected", "\x0a\x07\x08\x05\x12\x03old", 9, 5, "old"},
        {"U7 no response message", "OK\n", 3, 0, "accepted, but the response is no export response"},
    };
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        struct verdict_answer answer = {.http_status = 200,
                                        .grpc_status = text("0"),
                                        .content_type = text("Application/X-Protobuf; charset=x"),
                                        .body = {(const uint8_t *)cases[i].body, cases[i].len}};
        for (int http = 0; http < 2; http++) {
            struct verdict out;
            (http ? verdict_http : verdict_grpc)(&answer, &out);
            cr_expect_eq(out.kind, VERDICT_DELIVERED, "%s", cases[i].what);
            cr_expect_eq(out.rejected_items, cases[i].rejected, "%s", cases[i].what);
            cr_expect_str_eq(out.message, cases[i].message, "%s", cases[i].what);
        }
    }
    struct verdict_answer json = {
        .http_status = 200, .content_type = text("application/json"), .body = text("\x0a\x02\x08\x05")};
    struct verdict out;
    verdict_http(&json, &out);
    cr_assert_eq(out.kind, VERDICT_DELIVERED);
    cr_assert_eq(out.rejected_items, 0);
}

// U7 with its one exception: nobody has the data when a page for people says that it was accepted.
Test(verdict, web_pages_are_no_acceptance_U7)
{
    static const struct {
        int status;
        const char *type, *body;
        enum verdict_kind kind;
    } cases[] = {
        {200, "text/html", "Welcome to the hotel", VERDICT_HOLD},
        {200, "Text/HTML; charset=utf-8", "", VERDICT_HOLD},
        {200, "application/xhtml+xml", "<?xml?>", VERDICT_HOLD},
        {202, "application/octet-stream", " \r\n<!DocType HTML><title>", VERDICT_HOLD},
        {200, NULL, "<HTML><body>", VERDICT_HOLD},
        {200, "application/x-protobuf", "<html>", VERDICT_HOLD},
        {200, NULL, "", VERDICT_DELIVERED}, // Prometheus
        {200, "text/plain", "OK", VERDICT_DELIVERED},
        {200, "text/htmlx", "<htm", VERDICT_DELIVERED},
        {200, "application/json", "{}", VERDICT_DELIVERED},
        {200, "application/xml", "<ok/>", VERDICT_DELIVERED},
        {503, "text/html", "<html>", VERDICT_RETRY}, // a proxy's page: the status says it
        {400, "text/html", "<html>", VERDICT_REJECT},
    };
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        struct verdict_answer answer = {
            .http_status = cases[i].status, .content_type = text(cases[i].type), .body = text(cases[i].body)};
        struct verdict out;
        verdict_http(&answer, &out);
        cr_expect_eq(out.kind, cases[i].kind, "case %zu: %d", i, out.kind);
        cr_expect_eq(out.unavailable, cases[i].status == 503);
        if (out.kind == VERDICT_HOLD)
            cr_expect_eq(strncmp(out.message, "a web page", 10), 0, "%s", out.message);
    }
}

Test(verdict, answers_without_grpc_status_U9_U10)
{
    static const struct {
        int http;
        enum verdict_kind kind;
    } cases[] = {{400, VERDICT_REJECT}, {401, VERDICT_HOLD},  {403, VERDICT_HOLD},  {404, VERDICT_HOLD},
                 {408, VERDICT_RETRY},  {413, VERDICT_SPLIT}, {415, VERDICT_HOLD},  {429, VERDICT_RETRY},
                 {431, VERDICT_HOLD},   {502, VERDICT_RETRY}, {503, VERDICT_RETRY}, {504, VERDICT_RETRY},
                 {500, VERDICT_RETRY},  {200, VERDICT_RETRY}, {302, VERDICT_HOLD},  {0, VERDICT_RETRY},
                 {-1, VERDICT_RETRY},   {999, VERDICT_RETRY}};
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        struct verdict_answer answer = {.http_status = cases[i].http};
        struct verdict out;
        verdict_grpc(&answer, &out);
        cr_expect_eq(out.kind, cases[i].kind, "HTTP %d: %d", cases[i].http, out.kind);
    }
    struct verdict out;
    struct verdict_answer answer = {.http_status = 503,
                                    .grpc_status = text("3")}; // never by HTTP when grpc-status is there
    verdict_grpc(&answer, &out);
    cr_assert_eq(out.kind, VERDICT_REJECT);
    answer.grpc_status = text("three");
    verdict_grpc(&answer, &out);
    cr_assert_eq(out.kind, VERDICT_RETRY);
    // A proxy that says how long is there: no other endpoint is asked, and the delay is honoured.
    for (int delay = 0; delay < 2; delay++) {
        answer = (struct verdict_answer){.http_status = 503, .retry_after = text(delay ? "3600" : "")};
        verdict_grpc(&answer, &out);
        cr_expect_eq(out.unavailable, !delay);
        cr_expect(out.throttled == delay && (out.retry_after_ms > 0) == delay);
    }
}

Test(verdict, http_status_table_U3_U26_U27_P18)
{
    static const struct {
        int http;
        enum verdict_kind kind;
    } cases[] = {{200, VERDICT_DELIVERED}, {202, VERDICT_DELIVERED}, {204, VERDICT_DELIVERED}, {299, VERDICT_DELIVERED},
                 {301, VERDICT_HOLD},      {307, VERDICT_HOLD},      {400, VERDICT_REJECT},    {401, VERDICT_HOLD},
                 {403, VERDICT_HOLD},      {404, VERDICT_HOLD},      {405, VERDICT_HOLD},      {407, VERDICT_HOLD},
                 {408, VERDICT_RETRY},     {413, VERDICT_SPLIT},     {415, VERDICT_HOLD},      {422, VERDICT_REJECT},
                 {429, VERDICT_RETRY},     {500, VERDICT_REJECT},    {501, VERDICT_REJECT},    {502, VERDICT_RETRY},
                 {503, VERDICT_RETRY},     {504, VERDICT_RETRY},     {507, VERDICT_REJECT},    {0, VERDICT_RETRY},
                 {100, VERDICT_RETRY},     {600, VERDICT_RETRY},     {-5, VERDICT_RETRY}};
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        struct verdict_answer answer = {.http_status = cases[i].http};
        struct verdict out;
        verdict_http(&answer, &out);
        cr_expect_eq(out.kind, cases[i].kind, "HTTP %d: %d", cases[i].http, out.kind);
        cr_expect_eq(out.throttled, cases[i].http == 429, "HTTP %d", cases[i].http);
        char code[32];
        snprintf(code, sizeof(code), "HTTP %d", cases[i].http);
        cr_expect_str_eq(out.code, code);
    }
}

Test(verdict, refused_encodings_U24)
{
    static const struct {
        bool http;
        int http_status;
        const char *grpc_status;
        bool refuses;
    } cases[] = {{false, 200, "12", true}, {false, 200, "13", false}, {false, 200, "14", false},
                 {false, 415, NULL, true}, {true, 400, NULL, true},   {true, 415, NULL, true},
                 {true, 404, NULL, false}, {true, 500, NULL, false}};
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        for (int compressed = 0; compressed < 2; compressed++) {
            struct verdict_answer answer = {.http_status = cases[i].http_status,
                                            .grpc_status = text(cases[i].grpc_status),
                                            .sent_compressed = compressed};
            struct verdict out;
            (cases[i].http ? verdict_http : verdict_grpc)(&answer, &out);
            cr_expect_eq(out.refuses_encoding, cases[i].refuses && compressed, "case %zu", i);
        }
    }
}

Test(verdict, retry_after_table_U4)
{
    static const struct {
        const char *value;
        uint64_t delay_ms;
    } cases[] = {{NULL, 0},
                 {"", 0},
                 {"0", 0},
                 {"7", 7000},
                 {"3600", 3600000},
                 {"99999999999999999999999999", 86400000},
                 {"7 s", 0},
                 {"-7", 0},
                 {"1.5", 0},
                 {"soon", 0},
                 {"Sun, 06 Nov 1994 08:49:37 GMT", 7000},
                 {"Sun, 06 Nov 1994 08:49:30 GMT", 0}, // now
                 {"Sun, 06 Nov 1994 08:49:29 GMT", 0}, // past
                 {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
                 {"Mon, 07 Nov 1994 08:49:29 GMT", 86399000},
                 {"Wed, 01 Mar 2000 00:00:00 GMT", 86400000}, // a day at most
                 {"Sun, 06 Nox 1994 08:49:37 GMT", 0},
                 {"Sun, 06 Nov 1994 24:49:37 GMT", 0},
                 {"Sun, 06 Nov 1994 08:49:37 CET", 0},
                 {"Sunday, 06-Nov-94 08:49:37 GMT", 0}};
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        struct verdict_answer answer = {.http_status = 503, .retry_after = text(cases[i].value), .now_unix_ns = NOW_NS};
        struct verdict out;
        verdict_http(&answer, &out);
        cr_expect_eq(out.retry_after_ms, cases[i].delay_ms, "\"%s\": %lu", cases[i].value ? cases[i].value : "",
                     out.retry_after_ms);
        cr_expect_eq(out.throttled, cases[i].delay_ms > 0, "case %zu", i);
    }
}

// Leap days, by libc: every 11th day of 1970-2110 as a Retry-After, one second before it.
Test(verdict, dates_agree_with_timegm)
{
    for (time_t day = 1; day < 140 * 365; day += 11) {
        time_t at = day * 86400 + 3723;
        struct tm tm;
        char value[64];
        gmtime_r(&at, &tm);
        strftime(value, sizeof(value), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        struct verdict_answer answer = {
            .http_status = 503, .retry_after = text(value), .now_unix_ns = ((uint64_t)at - 1) * 1000000000};
        struct verdict out;
        verdict_http(&answer, &out);
        cr_assert_eq(out.retry_after_ms, 1000, "%s: %lu", value, out.retry_after_ms);
    }
}

Test(verdict, http_errors_keep_the_upstreams_words_P15)
{
    struct rpc_status status = {.code = 3, .message = "no such tenant"};
    struct weir_buf body = {0};
    cr_assert_eq(rpc_status_encode(&status, &body), WEIR_OK);
    struct verdict_answer answer = {
        .http_status = 400, .content_type = text("application/x-protobuf"), .body = {body.data, body.len}};
    struct verdict out;
    verdict_http(&answer, &out);
    cr_expect_str_eq(out.message, "no such tenant");
    answer.content_type = text("text/plain");
    answer.body = text("out of order\nsample \xff");
    verdict_http(&answer, &out);
    cr_expect_str_eq(out.message, "out of order sample ?");
    weir_buf_free(&body);
}

Test(verdict, no_answer_is_always_a_retry_U10_U13)
{
    struct verdict out;
    verdict_transport("timeout", "no answer within 10s", &out);
    cr_assert_eq(out.kind, VERDICT_RETRY);
    cr_assert_str_eq(out.code, "timeout");
    cr_assert_str_eq(out.message, "no answer within 10s");
    verdict_transport("a code that is a good deal longer than its field", NULL, &out);
    cr_assert_eq(strlen(out.code), sizeof(out.code) - 1);
}
