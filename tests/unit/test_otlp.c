// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>

#include "opentelemetry/proto/collector/logs/v1/logs_service.pb-c.h"
#include "proto/otlp.h"

Test(otlp, paths_are_exact_G2_P1_P27)
{
    static const struct {
        const char *path;
        int grpc, http; // signal, -1: none
    } cases[] = {
        {"/opentelemetry.proto.collector.trace.v1.TraceService/Export", WEIR_TRACES, -1},
        {"/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", WEIR_METRICS, -1},
        {"/opentelemetry.proto.collector.logs.v1.LogsService/Export", WEIR_LOGS, -1},
        {"/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export", WEIR_PROFILES, -1},
        {"/opentelemetry.proto.collector.logs.v1.LogsService/export", -1, -1},
        {"/opentelemetry.proto.collector.logs.v1.LogsService/", -1, -1},
        {"/v1/traces", -1, WEIR_TRACES},
        {"/v1/metrics", -1, WEIR_METRICS},
        {"/v1/logs", -1, WEIR_LOGS},
        {"/v1development/profiles", -1, WEIR_PROFILES},
        {"/v1/profiles", -1, -1},
        {"/v1/traces/", -1, -1},
        {"/V1/traces", -1, -1},
        {"/v1/trace", -1, -1},
        {"", -1, -1},
    };
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        enum weir_signal signal;
        size_t len = strlen(cases[i].path);
        int grpc = otlp_signal_by_grpc_path(cases[i].path, len, &signal) ? (int)signal : -1;
        int http = otlp_signal_by_http_path(cases[i].path, len, &signal) ? (int)signal : -1;
        cr_expect_eq(grpc, cases[i].grpc, "%s", cases[i].path);
        cr_expect_eq(http, cases[i].http, "%s", cases[i].path);
    }
}

Test(otlp, response_decode_table_P14_U6)
{
    static const struct {
        const char *what, *body;
        size_t len;
        int code;
        int64_t rejected;
        const char *message;
    } cases[] = {
#define CASE(what, body, code, rejected, message) {what, body, sizeof(body) - 1, code, rejected, message}
        CASE("G19 empty", "", WEIR_OK, 0, ""),
        CASE("P14 present and empty", "\x0a\x00", WEIR_OK, 0, ""),
        CASE("G29 rejected", "\x0a\x07\x08\x05\x12\x03old", WEIR_OK, 5, "old"),
        CASE("G29 a warning", "\x0a\x05\x12\x03old", WEIR_OK, 0, "old"),
        CASE("unknown fields", "\x18\x01\x0a\x06\x1a\x02xx\x08\x05\x22\x00", WEIR_OK, 5, ""),
        CASE("twice: merged", "\x0a\x02\x08\x05\x0a\x05\x12\x03old", WEIR_OK, 5, "old"),
        CASE("bad UTF-8",
             "\x0a\x05\x12\x03o\xff"
             "d",
             WEIR_OK, 0, "o?d"),
        CASE("negative", "\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", WEIR_OK, -1, ""),
        CASE("wrong wire type", "\x08\x01", WEIR_E_INVALID, 0, ""),
        CASE("wrong wire type within", "\x0a\x02\x0a\x00", WEIR_E_INVALID, 0, ""),
        CASE("cut", "\x0a\x05\x08", WEIR_E_INVALID, 0, ""),
        CASE("cut within", "\x0a\x01\x08", WEIR_E_INVALID, 0, ""),
        CASE("text", "OK\n", WEIR_E_INVALID, 0, ""),
    };
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        struct otlp_partial_success out;
        struct weir_err err = {0};
        int code = otlp_response_decode((struct weir_slice){(const uint8_t *)cases[i].body, cases[i].len}, &out, &err);
        cr_expect_eq(code, cases[i].code, "%s: %d %s", cases[i].what, code, err.text);
        cr_expect_eq(out.rejected, cases[i].rejected, "%s: %ld", cases[i].what, out.rejected);
        cr_expect_str_eq(out.message, cases[i].message, "%s", cases[i].what);
        cr_expect(code == WEIR_OK || err.text[0] != '\0', "%s", cases[i].what);
    }
}

Test(otlp, response_above_its_limit_is_refused_U8)
{
    size_t len = OTLP_RESPONSE_MAX_BYTES + 1;
    uint8_t *zeros = (uint8_t *)calloc(1, len);
    struct otlp_partial_success out;
    cr_assert_eq(otlp_response_decode((struct weir_slice){zeros, len}, &out, NULL), WEIR_E_LIMIT);
    free(zeros);
}

Test(otlp, long_message_is_cut_at_a_character)
{
    struct weir_buf body = {0};
    uint8_t head[] = {0x0a, 0xdb, 0x04, 0x12, 0xd8, 0x04}; // 603, 600
    cr_assert(weir_buf_append(&body, head, sizeof(head)));
    for (int i = 0; i < 200; i++)
        cr_assert(weir_buf_append(&body, "日", 3));
    struct otlp_partial_success out;
    cr_assert_eq(otlp_response_decode((struct weir_slice){body.data, body.len}, &out, NULL), WEIR_OK);
    cr_assert_eq(strlen(out.message), 255);
    cr_assert_eq(memcmp(out.message + 252, "日", 3), 0);
    weir_buf_free(&body);
}

Test(otlp, response_encode_reads_back_G19_P13)
{
    struct weir_buf out = {0};
    struct otlp_partial_success partial = {0}, back;
    cr_assert_eq(otlp_response_encode(NULL, &out), WEIR_OK);
    cr_assert_eq(otlp_response_encode(&partial, &out), WEIR_OK);
    cr_assert_eq(out.len, 0);
    partial.rejected = 7;
    snprintf(partial.message, sizeof(partial.message), "too old");
    cr_assert_eq(otlp_response_encode(&partial, &out), WEIR_OK);
    cr_assert_eq(otlp_response_decode((struct weir_slice){out.data, out.len}, &back, NULL), WEIR_OK);
    cr_assert_eq(back.rejected, 7);
    cr_assert_str_eq(back.message, "too old");

    Opentelemetry__Proto__Collector__Logs__V1__ExportLogsServiceResponse *seen =
        opentelemetry__proto__collector__logs__v1__export_logs_service_response__unpack(NULL, out.len, out.data);
    cr_assert_not_null(seen);
    cr_assert_eq(seen->partial_success->rejected_log_records, 7);
    cr_assert_str_eq(seen->partial_success->error_message, "too old");
    opentelemetry__proto__collector__logs__v1__export_logs_service_response__free_unpacked(seen, NULL);
    weir_buf_free(&out);
}
