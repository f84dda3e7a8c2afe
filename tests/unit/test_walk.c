// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>

#include "proto/walk.h"
#include "proto/wire.h"
#include "tests/unit/random_otlp.h"

// --- small requests by hand -----------------------------------------------------------------------------------------
static struct weir_buf wrapped(uint32_t number, struct weir_buf inner) // takes inner
{
    struct weir_buf out = {0};
    cr_assert(wire_put_bytes(&out, number, inner.data, inner.len));
    weir_buf_free(&inner);
    return out;
}

static struct weir_buf raw(const char *bytes, size_t len)
{
    struct weir_buf out = {0};
    cr_assert(weir_buf_append(&out, bytes, len));
    return out;
}
#define RAW(literal) raw(literal, sizeof(literal) - 1)

// One item's bytes as a whole request: root 1, resource's 2, scope's 2 (M1).
static struct weir_buf request_of(struct weir_buf item)
{
    return wrapped(1, wrapped(2, wrapped(2, item)));
}

static int walk(enum weir_signal signal, struct weir_buf bytes, struct otlp_summary *summary, struct weir_err *err)
{
    *err = (struct weir_err){0};
    // A copy of the exact size, so that a sanitizer sees any read beyond it.
    uint8_t *copy = (uint8_t *)malloc(bytes.len ? bytes.len : 1);
    cr_assert_not_null(copy);
    if (bytes.len > 0)
        memcpy(copy, bytes.data, bytes.len);
    int code = otlp_walk(signal, copy, bytes.len, NULL, summary, err);
    free(copy);
    return code;
}

Test(walk, empty_request_is_sound_G30_P28)
{
    for (int signal = 0; signal < WEIR_SIGNALS; signal++) {
        struct otlp_summary summary;
        struct weir_err err;
        cr_assert_eq(walk((enum weir_signal)signal, (struct weir_buf){0}, &summary, &err), WEIR_OK);
        cr_assert_eq(summary.items, 0);
        cr_assert_eq(summary.resources, 0);
        cr_assert_eq(summary.time_min_ns, 0);
        cr_assert_eq(summary.time_max_ns, 0);
        cr_assert_eq(summary.mergeable, signal != WEIR_PROFILES);
    }
}

#define BAD_UTF8 "\xc0\xaf"
static const struct {
    const char *what;
    enum weir_signal signal;
    const char *item;
    size_t len;
    const char *text; // NULL: sound
} item_cases[] = {
#define CASE(what, signal, item, text)                                                                                 \
    {                                                                                                                  \
        what, signal, item, sizeof(item) - 1, text                                                                     \
    }
#define SPAN "resource_spans[0].scope_spans[0].spans[0]."
    CASE("M5 bad UTF-8 in a name", WEIR_TRACES, "\x2a\x02" BAD_UTF8, SPAN "name: not UTF-8"),
    CASE("M5 surrogate", WEIR_TRACES, "\x2a\x03\xed\xa0\x80", SPAN "name: not UTF-8"),
    CASE("M5 above U+10FFFF", WEIR_TRACES, "\x2a\x04\xf4\x90\x80\x80", SPAN "name: not UTF-8"),
    CASE("M5 cut character", WEIR_TRACES, "\x2a\x02\xe6\x97", SPAN "name: not UTF-8"),
    CASE("M5 good UTF-8", WEIR_TRACES, "\x2a\x09\xe6\x97\xa5\xc3\x9f\xf0\x9f\xa6\xab", NULL),
    CASE("M5 bad UTF-8 in an attribute", WEIR_TRACES, "\x4a\x05\x0a\x01\xff\x12\x00",
         SPAN "attributes[0].key: not UTF-8"),
    CASE("M5 bad UTF-8 in a plain attribute's value", WEIR_TRACES, "\x4a\x0a\x0a\x01k\x12\x05\x0a\x03\x61\xff\x61",
         SPAN "attributes[0].value.string_value: not UTF-8"),
    CASE("M5 the second attribute", WEIR_TRACES, "\x4a\x07\x0a\x01k\x12\x02\x10\x01\x4a\x05\x0a\x01\xff\x12\x00",
         SPAN "attributes[1].key: not UTF-8"),
    CASE("M5 bytes need not be UTF-8", WEIR_TRACES, "\x4a\x09\x0a\x01k\x12\x04\x3a\x02" BAD_UTF8, NULL),
    CASE("J4 trace_id of 15 bytes", WEIR_TRACES,
         "\x0a\x0f"
         "123456789012345",
         SPAN "trace_id: neither 0 nor 16 bytes"),
    CASE("J4 trace_id of 16 bytes", WEIR_TRACES,
         "\x0a\x10"
         "1234567890123456",
         NULL),
    CASE("J4 span_id of 0 bytes", WEIR_TRACES, "\x12\x00", NULL),
    CASE("J4 span_id of 9 bytes", WEIR_TRACES,
         "\x12\x09"
         "123456789",
         SPAN "span_id: neither 0 nor 8 bytes"),
    CASE("J4 parent_span_id of 16 bytes", WEIR_TRACES,
         "\x22\x10"
         "1234567890123456",
         SPAN "parent_span_id: neither 0 nor 8 bytes"),
    CASE("J4 link", WEIR_TRACES, "\x6a\x03\x0a\x01x", SPAN "links[0].trace_id: neither 0 nor 16 bytes"),
    CASE("J4 log record", WEIR_LOGS, "\x4a\x01x",
         "resource_logs[0].scope_logs[0].log_records[0].trace_id: neither 0 nor 16 bytes"),
    CASE("M4 wrong wire type", WEIR_TRACES, "\x28\x01", SPAN "name: wrong wire type"),
    CASE("M4 wrong wire type, two-byte tag", WEIR_TRACES, "\x80\x01\x01", SPAN "flags: wrong wire type"),
    CASE("M4 field number 0", WEIR_TRACES, "\x02\x00", SPAN "(tag at byte 0): no valid tag"),
    CASE("M4 field number 0 as a varint", WEIR_TRACES, "\x00\x05", SPAN "(tag at byte 0): no valid tag"),
    CASE("M4 wire type 6", WEIR_TRACES, "\xc6\x06", SPAN "(field 104): cut off"),
    CASE("M4 wire type 7 of a known field", WEIR_TRACES, "\x2f", SPAN "name: wrong wire type"),
    CASE("M6 group", WEIR_TRACES, "\xc3\x06\xc4\x06", SPAN "(field 104): groups are not taken"),
    CASE("M4 varint of 11 bytes", WEIR_TRACES, "\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
         SPAN "kind: cut off"),
    CASE("M4 varint of 65 bits", WEIR_TRACES, "\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", SPAN "kind: cut off"),
    CASE("a negative enum takes ten bytes", WEIR_TRACES, "\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", NULL),
    CASE("M4 truncated fixed64", WEIR_TRACES, "\x39\x01\x02", SPAN "start_time_unix_nano: cut off"),
    CASE("M4 truncated fixed32 behind a two-byte tag", WEIR_TRACES, "\x85\x01\x01", SPAN "(cut"),
    CASE("M4 length beyond the item", WEIR_TRACES, "\x2a\x02x", SPAN "name: longer than the message it is in"),
    CASE("M4 length in six bytes", WEIR_TRACES, "\x2a\x80\x80\x80\x80\x80\x00", SPAN "name: longer than"),
    CASE("M4 tag in six bytes", WEIR_TRACES, "\xa8\x80\x80\x80\x80\x00\x01", SPAN "(tag at byte 0): no valid tag"),
    CASE("unknown fields are skipped", WEIR_TRACES,
         "\xc0\x06\x05\xca\x06\x02\xff\xff\xc1\x06"
         "12345678"
         "\xc5\x06"
         "1234",
         NULL),
    CASE("packed and unpacked doubles", WEIR_LOGS, "", NULL),
#undef SPAN
};

Test(walk, one_item_table_M4_M5_M6_J4)
{
    for (size_t i = 0; i < WEIR_COUNT(item_cases); i++) {
        struct weir_buf bytes = request_of(raw(item_cases[i].item, item_cases[i].len));
        struct otlp_summary summary;
        struct weir_err err;
        int code = walk(item_cases[i].signal, bytes, &summary, &err);
        const char *text = item_cases[i].text;
        cr_expect_eq(code, text == NULL ? WEIR_OK : WEIR_E_INVALID, "%s: code %d, %s", item_cases[i].what, code,
                     err.text);
        if (text != NULL && strstr(text, "(cut") == NULL)
            cr_expect_eq(strncmp(err.text, text, strlen(text)), 0, "%s: %s", item_cases[i].what, err.text);
        else if (code == WEIR_OK)
            cr_expect_eq(summary.items, 1, "%s", item_cases[i].what);
        weir_buf_free(&bytes);
    }
}

Test(walk, index_in_path_counts_siblings)
{
    struct weir_buf bytes = {0};
    for (int i = 0; i < 3; i++) {
        struct weir_buf good = request_of(RAW("\x2a\x01x"));
        cr_assert(weir_buf_append(&bytes, good.data, good.len));
        weir_buf_free(&good);
    }
    struct weir_buf spans = {0};
    for (int i = 0; i < 7; i++)
        cr_assert(wire_put_bytes(&spans, 2, "\x2a\x01x", 3));
    cr_assert(wire_put_bytes(&spans, 2, "\x2a\x01\xff", 3));
    struct weir_buf bad = wrapped(1, wrapped(2, spans));
    cr_assert(weir_buf_append(&bytes, bad.data, bad.len));
    weir_buf_free(&bad);
    struct otlp_summary summary;
    struct weir_err err;
    cr_assert_eq(walk(WEIR_TRACES, bytes, &summary, &err), WEIR_E_INVALID);
    cr_assert_str_eq(err.text, "resource_spans[3].scope_spans[0].spans[7].name: not UTF-8");
    weir_buf_free(&bytes);
}

Test(walk, bad_utf8_passes_where_asked)
{
    struct weir_buf bytes = request_of(RAW("\x2a\x02" BAD_UTF8 "\x4a\x0a\x0a\x01k\x12\x05\x0a\x03\x61\xff\x61"));
    struct otlp_summary summary;
    struct otlp_walk_options options = {.pass_bad_utf8 = true};
    cr_assert_eq(otlp_walk(WEIR_TRACES, bytes.data, bytes.len, &options, &summary, NULL), WEIR_OK);
    cr_assert_eq(summary.items, 1);
    weir_buf_free(&bytes);
}

Test(walk, only_field_1_at_the_root_is_mergeable_C3)
{
    static const struct {
        const char *tail;
        size_t len;
        bool mergeable;
    } cases[] = {{"", 0, true}, {"\x0a\x00", 2, true}, {"\x12\x00", 2, false}, {"\x18\x01", 2, false}};
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        struct weir_buf bytes = request_of(RAW(""));
        cr_assert(weir_buf_append(&bytes, cases[i].tail, cases[i].len));
        struct otlp_summary summary;
        struct weir_err err;
        cr_assert_eq(walk(WEIR_LOGS, bytes, &summary, &err), WEIR_OK);
        cr_assert_eq(summary.mergeable, cases[i].mergeable, "case %zu", i);
        weir_buf_free(&bytes);
    }
}

// --- a Metric's oneof (M3) ------------------------------------------------------------------------------------------
#define POINT(time) "\x0a\x09\x19" time "\0\0\0\0\0\0\0" // a data point with time_unix_nano
Test(walk, last_member_of_a_metric_wins_and_the_same_merges_M3)
{
    static const struct {
        const char *metric;
        size_t len;
        unsigned items, min_ns, max_ns;
    } cases[] = {
#define CASE_M3(metric, items, min, max) {metric, sizeof(metric) - 1, items, min, max}
        CASE_M3("\x2a\x0b" POINT("\x05"), 1, 5, 5),
        CASE_M3("\x2a\x0b" POINT("\x05") "\x2a\x16" POINT("\x06") POINT("\x07"), 3, 5, 7),            // gauge, gauge
        CASE_M3("\x2a\x16" POINT("\x05") POINT("\x09") "\x3a\x0b" POINT("\x06"), 1, 6, 6),            // gauge, sum
        CASE_M3("\x2a\x0b" POINT("\x05") "\x3a\x0b" POINT("\x06") "\x2a\x0b" POINT("\x07"), 1, 7, 7), // and back
        CASE_M3("\x2a\x0b" POINT("\x05") "\x5a\x00", 0, 0, 0), // gauge, empty summary
        CASE_M3("", 0, 0, 0),
    };
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        struct weir_buf bytes = request_of(raw(cases[i].metric, cases[i].len));
        struct otlp_summary summary;
        struct weir_err err;
        cr_assert_eq(walk(WEIR_METRICS, bytes, &summary, &err), WEIR_OK, "case %zu: %s", i, err.text);
        cr_expect_eq(summary.items, cases[i].items, "case %zu: %lu items", i, summary.items);
        cr_expect_eq(summary.time_min_ns, cases[i].min_ns, "case %zu: min %lu", i, summary.time_min_ns);
        cr_expect_eq(summary.time_max_ns, cases[i].max_ns, "case %zu: max %lu", i, summary.time_max_ns);
        weir_buf_free(&bytes);
    }
}

Test(walk, log_time_falls_back_to_observed_time)
{
    struct weir_buf both = request_of(RAW("\x59\x09\0\0\0\0\0\0\0\x09\x05\0\0\0\0\0\0\0"));
    struct weir_buf observed = request_of(RAW("\x59\x03\0\0\0\0\0\0\0"));
    cr_assert(weir_buf_append(&both, observed.data, observed.len));
    struct otlp_summary summary;
    struct weir_err err;
    cr_assert_eq(walk(WEIR_LOGS, both, &summary, &err), WEIR_OK);
    cr_assert_eq(summary.items, 2);
    cr_assert_eq(summary.resources, 2);
    cr_assert_eq(summary.time_min_ns, 3);
    cr_assert_eq(summary.time_max_ns, 5);
    weir_buf_free(&both);
    weir_buf_free(&observed);
}

// --- packed fields --------------------------------------------------------------------------------------------------
Test(walk, packed_fields_table)
{
    static const struct {
        const char *what;
        uint32_t member, point; // Metric's oneof, field of its data point
        const char *bytes;      // the field, tag included
        size_t len;
        bool sound;
    } cases[] = {
#define CASE_P(what, member, bytes, sound) {what, member, 1, bytes, sizeof(bytes) - 1, sound}
        CASE_P("fixed64 packed", 9,
               "\x32\x10"
               "1234567812345678",
               true),
        CASE_P("fixed64 packed, length 9", 9,
               "\x32\x09"
               "123456781",
               false),
        CASE_P("fixed64 unpacked", 9,
               "\x31"
               "12345678",
               true),
        CASE_P("fixed64 as fixed32", 9,
               "\x35"
               "1234",
               false),
        CASE_P("double packed, length 12", 9,
               "\x3a\x0c"
               "123456781234",
               false),
        // of an exponential histogram: positive {bucket_counts}
        CASE_P("varints packed", 10, "\x42\x05\x12\x03\x01\x80\x01", true),
        CASE_P("varints unpacked", 10, "\x42\x04\x10\x01\x10\x02", true),
        CASE_P("varint cut off", 10, "\x42\x04\x12\x02\x01\x80", false),
        CASE_P("varint of ten bytes among others", 10,
               "\x42\x13\x12\x11\x01\x01\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01\x01\x01\x01", true),
        CASE_P("varint of eleven bytes among others", 10,
               "\x42\x13\x12\x11\x01\x01\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01\x01\x01", false),
        CASE_P("varint of 65 bits among others", 10,
               "\x42\x13\x12\x11\x01\x01\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02\x01\x01\x01\x01", false),
        CASE_P("last varint cut off behind eight bytes", 10, "\x42\x0b\x12\x09\x01\x01\x01\x01\x01\x01\x01\x01\x80",
               false),
    };
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        struct weir_buf point = wrapped(cases[i].point, raw(cases[i].bytes, cases[i].len));
        struct weir_buf bytes = request_of(wrapped(cases[i].member, point));
        struct otlp_summary summary;
        struct weir_err err;
        int code = walk(WEIR_METRICS, bytes, &summary, &err);
        cr_expect_eq(code, cases[i].sound ? WEIR_OK : WEIR_E_INVALID, "%s: %d %s", cases[i].what, code, err.text);
        weir_buf_free(&bytes);
    }
}

// --- depth (J16) ----------------------------------------------------------------------------------------------------
// A log body of `levels` AnyValues, each but the innermost an array of one.
static struct weir_buf nested_body(int levels)
{
    struct weir_buf value = RAW("\x10\x01");
    for (int i = 1; i < levels; i++)
        value = wrapped(5, wrapped(1, value));
    return request_of(wrapped(5, value));
}

Test(walk, nesting_above_64_messages_is_a_limit_J16)
{
    // resource_logs, scope_logs, log_records, body make 4; each array two more.
    static const struct {
        int levels, code;
    } cases[] = {{1, WEIR_OK}, {31, WEIR_OK}, {32, WEIR_E_LIMIT}, {5000, WEIR_E_LIMIT}};
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        struct weir_buf bytes = nested_body(cases[i].levels);
        struct otlp_summary summary;
        struct weir_err err;
        int code = walk(WEIR_LOGS, bytes, &summary, &err);
        cr_expect_eq(code, cases[i].code, "%d levels: %d %s", cases[i].levels, code, err.text);
        if (code == WEIR_E_LIMIT)
            cr_expect_not_null(strstr(err.text, "nested deeper than 64 messages"), "%s", err.text);
        weir_buf_free(&bytes);
    }
}

Test(walk, short_cut_for_attributes_keeps_the_depth_limit_J16)
{
    // kvlists: KeyValue and AnyValue, KeyValueList: three messages a level, the innermost KeyValue plain.
    for (int levels = 18; levels <= 22; levels++) {
        struct weir_buf attribute = RAW("\x0a\x01k\x12\x02\x10\x01");
        for (int i = 0; i < levels; i++)
            attribute = wrapped(2, wrapped(6, wrapped(1, attribute)));
        struct weir_buf bytes = request_of(wrapped(6, attribute));
        int depth = 3 + 1 + 3 * levels + 1;
        struct otlp_summary summary;
        struct weir_err err;
        int code = walk(WEIR_LOGS, bytes, &summary, &err);
        cr_expect_eq(code, depth <= OTLP_DEPTH_MAX ? WEIR_OK : WEIR_E_LIMIT, "%d messages: %d %s", depth, code,
                     err.text);
        weir_buf_free(&bytes);
    }
}

Test(walk, every_truncation_of_a_request_is_refused_or_counts_less)
{
    struct random_otlp rnd = random_otlp_new(5, true);
    for (int signal = 0; signal < WEIR_SIGNALS; signal++) {
        size_t len;
        uint8_t *bytes = random_otlp_request(&rnd, (enum weir_signal)signal, &len);
        struct otlp_summary whole, part;
        struct weir_err err;
        cr_assert_eq(walk((enum weir_signal)signal, (struct weir_buf){bytes, len, len}, &whole, &err), WEIR_OK);
        for (size_t cut = 0; cut < len; cut++)
            if (walk((enum weir_signal)signal, (struct weir_buf){bytes, cut, cut}, &part, &err) == WEIR_OK)
                cr_assert_leq(part.items, whole.items);
        free(bytes);
    }
    random_otlp_free(&rnd);
}
