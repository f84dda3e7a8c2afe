// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>

#include "google/rpc/error_details.pb-c.h"
#include "google/rpc/status.pb-c.h"
#include "proto/grpc.h"

Test(rpc_status, encode_is_what_protobuf_reads_G22_P15)
{
    struct rpc_status status = {
        .code = GRPC_UNAVAILABLE, .message = "spool full", .has_retry_info = true, .retry_delay_ms = 1500};
    struct weir_buf out = {0};
    cr_assert_eq(rpc_status_encode(&status, &out), WEIR_OK);
    Google__Rpc__Status *seen = google__rpc__status__unpack(NULL, out.len, out.data);
    cr_assert_not_null(seen);
    cr_assert_eq(seen->code, 14);
    cr_assert_str_eq(seen->message, "spool full");
    cr_assert_eq(seen->n_details, 1);
    cr_assert_str_eq(seen->details[0]->type_url, "type.googleapis.com/google.rpc.RetryInfo");
    Google__Rpc__RetryInfo *info =
        google__rpc__retry_info__unpack(NULL, seen->details[0]->value.len, seen->details[0]->value.data);
    cr_assert_not_null(info);
    cr_assert_eq(info->retry_delay->seconds, 1);
    cr_assert_eq(info->retry_delay->nanos, 500000000);

    // G23: the same RetryInfo by itself.
    struct weir_buf alone = {0};
    cr_assert_eq(rpc_retry_info_encode(1500, &alone), WEIR_OK);
    cr_assert_eq(alone.len, seen->details[0]->value.len);
    cr_assert_eq(memcmp(alone.data, seen->details[0]->value.data, alone.len), 0);
    google__rpc__retry_info__free_unpacked(info, NULL);
    google__rpc__status__free_unpacked(seen, NULL);
    weir_buf_free(&alone);
    weir_buf_free(&out);
}

Test(rpc_status, reads_back_what_it_wrote)
{
    static const struct rpc_status cases[] = {
        {.code = 0},
        {.code = 3, .message = "resource_spans[0]: größe"},
        {.code = 8, .has_retry_info = true},
        {.code = 14, .has_retry_info = true, .retry_delay_ms = 1},
        {.code = 14, .has_retry_info = true, .retry_delay_ms = 86400000},
        {.code = -1},
    };
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        struct weir_buf out = {0};
        struct rpc_status back;
        cr_assert_eq(rpc_status_encode(&cases[i], &out), WEIR_OK);
        cr_assert_eq(rpc_status_decode((struct weir_slice){out.data, out.len}, &back, NULL), WEIR_OK, "case %zu", i);
        cr_expect_eq(back.code, cases[i].code);
        cr_expect_str_eq(back.message, cases[i].message);
        cr_expect_eq(back.has_retry_info, cases[i].has_retry_info);
        cr_expect_eq(back.retry_delay_ms, cases[i].retry_delay_ms);
        weir_buf_free(&out);
    }
}

#define URL "\x0a\x28type.googleapis.com/google.rpc.RetryInfo"
Test(rpc_status, decode_table_U2)
{
    static const struct {
        const char *what, *body;
        size_t len;
        int code;
        bool retry_info;
        uint64_t delay_ms;
    } cases[] = {
#define CASE(what, body, code, retry_info, delay_ms) {what, body, sizeof(body) - 1, code, retry_info, delay_ms}
        CASE("empty", "", WEIR_OK, false, 0),
        CASE("RetryInfo without a delay", "\x08\x08\x1a\x2a" URL, WEIR_OK, true, 0),
        CASE("RetryInfo with an empty delay", "\x1a\x2e" URL "\x12\x02\x0a\x00", WEIR_OK, true, 0),
        CASE("2 s", "\x1a\x30" URL "\x12\x04\x0a\x02\x08\x02", WEIR_OK, true, 2000),
        CASE("1 ns is rounded up", "\x1a\x30" URL "\x12\x04\x0a\x02\x10\x01", WEIR_OK, true, 1),
        CASE("negative", "\x1a\x39" URL "\x12\x0d\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", WEIR_OK, true,
             0),
        CASE("2^62 s is cut to 10,000 years", "\x1a\x38" URL "\x12\x0c\x0a\x0a\x08\x80\x80\x80\x80\x80\x80\x80\x80\x40",
             WEIR_OK, true, UINT64_C(315576000000000)),
        CASE("another detail", "\x1a\x10\x0a\x0ex/y.BadRequest", WEIR_OK, false, 0),
        CASE("another, then RetryInfo", "\x1a\x02\x0a\x00\x1a\x2a" URL, WEIR_OK, true, 0),
        CASE("another domain", "\x1a\x18\x0a\x16x/google.rpc.RetryInfo", WEIR_OK, true, 0),
        CASE("a longer name", "\x1a\x18\x0a\x16/xgoogle.rpc.RetryInfo", WEIR_OK, false, 0),
        CASE("code as bytes", "\x0a\x00", WEIR_E_INVALID, false, 0),
        CASE("message as varint", "\x10\x01", WEIR_E_INVALID, false, 0),
        CASE("broken RetryInfo", "\x1a\x2d" URL "\x12\x01\x0a", WEIR_E_INVALID, false, 0),
        CASE("cut", "\x12\x05x", WEIR_E_INVALID, false, 0),
        CASE("JSON", "{\"code\":3}", WEIR_E_INVALID, false, 0),
    };
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        struct rpc_status out;
        struct weir_err err = {0};
        int code = rpc_status_decode((struct weir_slice){(const uint8_t *)cases[i].body, cases[i].len}, &out, &err);
        cr_expect_eq(code, cases[i].code, "%s: %d %s", cases[i].what, code, err.text);
        cr_expect_eq(out.has_retry_info, cases[i].retry_info, "%s", cases[i].what);
        cr_expect_eq(out.retry_delay_ms, cases[i].delay_ms, "%s: %lu", cases[i].what, out.retry_delay_ms);
    }
}

Test(rpc_status, a_huge_status_is_refused)
{
    size_t len = RPC_STATUS_MAX_BYTES + 1;
    uint8_t *zeros = (uint8_t *)calloc(1, len);
    struct rpc_status out;
    cr_assert_eq(rpc_status_decode((struct weir_slice){zeros, len}, &out, NULL), WEIR_E_LIMIT);
    free(zeros);
}
