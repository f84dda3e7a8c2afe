// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>

#include "proto/refusal.h"

Test(refusal, rows_are_those_of_the_error_table_E1_to_E18)
{
    static const struct {
        enum refusal refusal;
        int grpc, http;
        bool retry;
    } cases[] = {
        {REFUSAL_MALFORMED, GRPC_INVALID_ARGUMENT, 400, false},   // E1
        {REFUSAL_CORRUPT_ENCODING, GRPC_INTERNAL, 400, false},    // E3
        {REFUSAL_TOO_LARGE, GRPC_RESOURCE_EXHAUSTED, 413, false}, // E6
        {REFUSAL_ENCODING, GRPC_UNIMPLEMENTED, 415, false},       // E7
        {REFUSAL_UNKNOWN_PATH, GRPC_UNIMPLEMENTED, 404, false},   // E8
        {REFUSAL_SPOOL_FULL, GRPC_UNAVAILABLE, 503, true},        // E12
        {REFUSAL_BUSY, GRPC_UNAVAILABLE, 503, true},              // E13
        {REFUSAL_SHUTTING_DOWN, GRPC_UNAVAILABLE, 503, true},     // E14
        {REFUSAL_DISK_FAILED, GRPC_UNAVAILABLE, 503, true},       // E15
        {REFUSAL_INTERNAL, GRPC_UNAVAILABLE, 503, true},          // E16
        {REFUSAL_DEADLINE, GRPC_DEADLINE_EXCEEDED, 503, true},    // E17
        {REFUSAL_FRAMING, GRPC_INTERNAL, 400, false},             // E18
        {REFUSAL_DRAINING, GRPC_UNAVAILABLE, 503, true},
        {REFUSAL_HEADERS, GRPC_RESOURCE_EXHAUSTED, 431, false}, // E19
    };
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        const struct refusal_row *row = &refusal_rows[cases[i].refusal];
        cr_expect_eq(row->grpc_status, cases[i].grpc, "%s", row->reason);
        cr_expect_eq(row->grpc_http_status, 200, "%s", row->reason);
        cr_expect_eq(row->http_status, cases[i].http, "%s", row->reason);
        cr_expect_eq(row->retry_after_ms > 0, cases[i].retry, "%s", row->reason);
    }
    cr_expect_eq(refusal_rows[REFUSAL_CONTENT_TYPE].grpc_http_status, 415); // E4 G3
    cr_expect_eq(refusal_rows[REFUSAL_CONTENT_TYPE].http_status, 415);
    cr_expect_eq(refusal_rows[REFUSAL_METHOD].grpc_http_status, 405); // E9 G4
    cr_expect_eq(refusal_rows[REFUSAL_METHOD].http_status, 405);
}

// What is retryable must look so to every client: P18, U1, E27; and its delay is short: E26.
// P19, B2.
Test(refusal, every_row_keeps_the_rules_P18_E26_E27)
{
    for (int i = 0; i < REFUSALS; i++) {
        const struct refusal_row *row = &refusal_rows[i];
        cr_assert_not_null(row->reason, "row %d", i);
        for (int k = 0; k < i; k++)
            cr_assert_str_neq(row->reason, refusal_rows[k].reason);
        cr_expect(row->http_status >= 400 && row->http_status < 600, "%s redirects", row->reason); // P19
        bool retry = row->retry_after_ms > 0;
        bool http_retry = row->http_status == 503 || row->http_status == 429;
        bool grpc_retry = row->grpc_status == GRPC_UNAVAILABLE || row->grpc_status == GRPC_DEADLINE_EXCEEDED;
        cr_expect_eq(retry, http_retry, "%s", row->reason);
        cr_expect_eq(retry, grpc_retry, "%s", row->reason);
        cr_expect(!retry || (row->retry_after_ms >= 1000 && row->retry_after_ms <= 3000), "%s", row->reason);
        for (const char *p = row->reason; *p != '\0'; p++)
            cr_expect((*p >= 'a' && *p <= 'z') || *p == '_', "%s is a label's value", row->reason);
    }
}
