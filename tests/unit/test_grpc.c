// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>

#include "proto/grpc.h"

Test(grpc, status_names_and_numbers)
{
    for (int i = 0; i < GRPC_STATUSES; i++) {
        int status = -1;
        cr_assert(grpc_status_by_name(grpc_status_name(i), &status));
        cr_assert_eq(status, i);
    }
    int status;
    cr_assert_str_eq(grpc_status_name(8), "RESOURCE_EXHAUSTED");
    cr_assert_str_eq(grpc_status_name(17), "UNRECOGNIZED");
    cr_assert_str_eq(grpc_status_name(-1), "UNRECOGNIZED");
    cr_assert_not(grpc_status_by_name("unavailable", &status));
    static const struct {
        const char *text;
        int status; // -1: none
    } cases[] = {{"0", 0}, {"14", 14}, {"99", 99}, {"", -1}, {"-1", -1}, {"1x", -1}, {" 1", -1}, {"9999999999", -1}};
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        bool ok = grpc_status_parse(cases[i].text, strlen(cases[i].text), &status);
        cr_expect_eq(ok ? status : -1, cases[i].status, "\"%s\"", cases[i].text);
    }
}

// Feeds `bytes` in pieces; returns the first error, or that of the end. What came out is appended to `out`.
static int deframe(const uint8_t *bytes, size_t len, size_t piece, struct grpc_deframer *deframer, struct weir_buf *out)
{
    struct weir_err err = {0};
    *deframer = (struct grpc_deframer){0};
    for (size_t at = 0; at < len; at += piece) {
        struct weir_slice data = {bytes + at, len - at < piece ? len - at : piece};
        while (data.len > 0) {
            struct weir_slice payload;
            int code = grpc_deframer_feed(deframer, &data, &payload, &err);
            if (code != WEIR_OK)
                return code;
            cr_assert(weir_buf_append(out, payload.data, payload.len));
        }
    }
    return grpc_deframer_finish(deframer, &err);
}

Test(grpc, deframer_table_G8_G10_G16)
{
    static const struct {
        const char *what, *bytes;
        size_t len;
        int code;
        const char *payload;
        bool compressed;
    } cases[] = {
#define CASE(what, bytes, code, payload, compressed) {what, bytes, sizeof(bytes) - 1, code, payload, compressed}
        CASE("one message", "\0\0\0\0\5hello", WEIR_OK, "hello", false),
        CASE("compressed", "\1\0\0\0\5hello", WEIR_OK, "hello", true),
        CASE("G9 G18 empty message", "\0\0\0\0\0", WEIR_OK, "", false),
        CASE("G10 flag 2", "\2\0\0\0\0", WEIR_E_INVALID, "", false),
        CASE("G10 flag 2 alone", "\2", WEIR_E_INVALID, "", false),
        CASE("G16 no message", "", WEIR_E_INVALID, "", false),
        CASE("G16 cut prefix", "\0\0\0\0", WEIR_E_INVALID, "", false),
        CASE("G16 cut message", "\0\0\0\0\5hell", WEIR_E_INVALID, "hell", false),
        CASE("G16 two messages", "\0\0\0\0\1a\0\0\0\0\1b", WEIR_E_INVALID, "a", false),
        CASE("G16 two empty messages", "\0\0\0\0\0\0\0\0\0\0", WEIR_E_INVALID, "", false),
        CASE("G16 one byte behind", "\0\0\0\0\1ab", WEIR_E_INVALID, "a", false),
    };
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        for (size_t piece = 1; piece <= cases[i].len + 1; piece++) {
            struct weir_buf out = {0};
            struct grpc_deframer deframer;
            int code = deframe((const uint8_t *)cases[i].bytes, cases[i].len, piece, &deframer, &out);
            cr_expect_eq(code, cases[i].code, "%s in pieces of %zu: %d", cases[i].what, piece, code);
            cr_expect(out.len == strlen(cases[i].payload) &&
                          memcmp(out.data ? (char *)out.data : "", cases[i].payload, out.len) == 0,
                      "%s in pieces of %zu", cases[i].what, piece);
            cr_expect_eq(deframer.compressed, cases[i].compressed, "%s", cases[i].what);
            weir_buf_free(&out);
        }
    }
}

Test(grpc, declared_length_is_known_before_the_payload_G15)
{
    struct grpc_deframer deframer = {0};
    struct weir_slice data = {(const uint8_t *)"\0\xff\xff\xff\xff", 5}, payload;
    cr_assert_eq(grpc_deframer_feed(&deframer, &data, &payload, NULL), WEIR_OK);
    cr_assert_eq(deframer.length, UINT32_MAX);
    cr_assert_eq(payload.len, 0);
    uint8_t prefix[GRPC_PREFIX_LEN];
    grpc_prefix_write(prefix, true, 0x01020304);
    cr_assert_eq(memcmp(prefix, "\1\1\2\3\4", 5), 0);
}

Test(grpc, timeout_parse_table_G6)
{
    static const struct {
        const char *text;
        bool ok;
        uint64_t ns;
    } cases[] = {
        {"10S", true, 10000000000},
        {"1H", true, 3600000000000},
        {"2M", true, 120000000000},
        {"10000m", true, 10000000000},
        {"7u", true, 7000},
        {"99999999n", true, 99999999},
        {"0m", true, 0},
        {"99999999H", true, INT64_MAX}, // saturates
        {"2562047H", true, UINT64_C(2562047) * 3600000000000},
        {"100000000n", false, 0},
        {"S", false, 0},
        {"10", false, 0},
        {"", false, 0},
        {"10s", false, 0},
        {"-1S", false, 0},
        {" 1S", false, 0},
        {"1.5S", false, 0},
    };
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        uint64_t ns = 0;
        cr_expect_eq(grpc_timeout_parse(cases[i].text, strlen(cases[i].text), &ns), cases[i].ok, "\"%s\"",
                     cases[i].text);
        cr_expect_eq(ns, cases[i].ns, "\"%s\": %lu", cases[i].text, ns);
    }
}

Test(grpc, timeout_format_reads_back_and_never_shrinks)
{
    static const struct {
        uint64_t ns;
        const char *text;
    } cases[] = {{10000000000, "10000m"},
                 {0, "0m"},
                 {1, "1m"},
                 {UINT64_C(99999999000000), "99999999m"},
                 {UINT64_C(99999999000001), "100000S"}};
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        char buf[16];
        grpc_timeout_format(cases[i].ns, buf);
        cr_expect_str_eq(buf, cases[i].text);
    }
    for (uint64_t ns = 1; ns < UINT64_MAX / 3; ns *= 3) {
        char buf[16];
        uint64_t back;
        grpc_timeout_format(ns, buf);
        cr_assert(grpc_timeout_parse(buf, strlen(buf), &back), "%s", buf);
        cr_assert(back >= ns || back == INT64_MAX, "%lu became %s", ns, buf);
    }
}

Test(grpc, message_escapes_G21)
{
    static const struct {
        const char *text, *wire;
    } cases[] = {{"plain text ~", "plain text ~"}, {"100%", "100%25"}, {"a\nb", "a%0Ab"},
                 {"größe", "gr%C3%B6%C3%9Fe"},     {"\x7f", "%7F"},    {"", ""}};
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        char wire[64], back[64];
        grpc_message_encode(cases[i].text, wire, sizeof(wire));
        cr_expect_str_eq(wire, cases[i].wire);
        grpc_message_decode(wire, strlen(wire), back, sizeof(back));
        cr_expect_str_eq(back, cases[i].text);
    }
    char out[8];
    grpc_message_encode("abcdef%", out, sizeof(out)); // no half escape
    cr_assert_str_eq(out, "abcdef");
    grpc_message_encode("abcdefghij", out, sizeof(out));
    cr_assert_str_eq(out, "abcdefg");
    static const struct {
        const char *wire, *text;
    } lenient[] = {{"%", "%"},     {"%4", "%4"},    {"%zz", "%zz"},
                   {"a%2", "a%2"}, {"%c3%b6", "ö"}, {"0123456789", "0123456"}};
    for (size_t i = 0; i < WEIR_COUNT(lenient); i++) {
        grpc_message_decode(lenient[i].wire, strlen(lenient[i].wire), out, sizeof(out));
        cr_expect_str_eq(out, lenient[i].text);
    }
}

Test(grpc, bin_headers_G7_G22)
{
    static const struct {
        const char *plain, *unpadded, *padded;
    } cases[] = {{"", "", ""},
                 {"f", "Zg", "Zg=="},
                 {"fo", "Zm8", "Zm8="},
                 {"foo", "Zm9v", "Zm9v"},
                 {"foob", "Zm9vYg", "Zm9vYg=="},
                 {"fooba", "Zm9vYmE", "Zm9vYmE="},
                 {"foobar", "Zm9vYmFy", "Zm9vYmFy"},
                 {"\xfb\xff\xbf", "+/+/", "+/+/"}};
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        struct weir_buf out = {0};
        size_t len = strlen(cases[i].plain);
        cr_assert_eq(grpc_bin_encode((struct weir_slice){(const uint8_t *)cases[i].plain, len}, &out), WEIR_OK);
        cr_expect(out.len == strlen(cases[i].unpadded) && memcmp(out.data, cases[i].unpadded, out.len) == 0, "%s",
                  cases[i].plain);
        const char *forms[] = {cases[i].unpadded, cases[i].padded};
        for (size_t k = 0; k < WEIR_COUNT(forms); k++) {
            out.len = 0;
            cr_assert_eq(grpc_bin_decode(forms[k], strlen(forms[k]), &out, NULL), WEIR_OK);
            cr_expect(out.len == len && memcmp(out.data, cases[i].plain, len) == 0, "%s", forms[k]);
        }
        weir_buf_free(&out);
    }
    static const char *const bad[] = {"A",   "AAAAA", "Zg=",   "Zg===",    "====", "=",
                                      "Z g", "Zm8-",  "Zm9v=", "Zm9v====", "AA=A"};
    for (size_t i = 0; i < WEIR_COUNT(bad); i++) {
        struct weir_buf out = {0};
        cr_expect_eq(grpc_bin_decode(bad[i], strlen(bad[i]), &out, NULL), WEIR_E_INVALID, "%s", bad[i]);
        cr_expect_eq(out.len, 0, "%s", bad[i]);
        weir_buf_free(&out);
    }
}
