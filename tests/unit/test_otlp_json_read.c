// SPDX-License-Identifier: Apache-2.0
// JSON that clients send: what is taken, as what, and what is refused (OTLP.md J1-J22). The writer tells what was read; random requests go
// there and back.
#include <criterion/criterion.h>

#include "proto/otlp_json.h"
#include "proto/walk.h"
#include "tests/unit/random_otlp.h"

#define ANY_SIZE ((size_t)1 << 30)

// From a copy of the exact size, so that a sanitizer sees any read beyond it.
static int read_json(enum weir_signal signal, const void *json, size_t len, size_t max_bytes, struct weir_buf *out,
                     struct weir_err *err)
{
    struct otlp_json_options options = {.max_bytes = max_bytes};
    uint8_t *copy = (uint8_t *)malloc(len ? len : 1);
    memcpy(copy, json, len);
    int code = otlp_json_read(signal, (struct weir_slice){copy, len}, &options, out, err);
    free(copy);
    return code;
}

static char *write_json(enum weir_signal signal, const struct weir_buf *request)
{
    struct otlp_json_account account = {0};
    struct weir_buf out = {0};
    struct weir_err err = {0};
    int code =
        otlp_json_write(signal, (struct weir_slice){request->data, request->len}, ANY_SIZE, &out, &account, &err);
    cr_assert_eq(code, WEIR_OK, "%d: %s", code, err.text);
    cr_assert(weir_buf_append(&out, "", 1));
    return (char *)out.data;
}

// Reads `json` and writes it again: what the writer makes of it, or NULL and why.
static char *there_and_back(enum weir_signal signal, const char *json, size_t len, struct weir_err *err)
{
    struct weir_buf wire = {0};
    struct otlp_summary summary;
    if (read_json(signal, json, len, ANY_SIZE, &wire, err) != WEIR_OK) {
        cr_expect_eq(wire.len, 0);
        weir_buf_free(&wire);
        return NULL;
    }
    int code = otlp_walk(signal, wire.data, wire.len, NULL, &summary, err);
    cr_assert_eq(code, WEIR_OK, "what was read is no request: %s", err->text);
    char *back = write_json(signal, &wire);
    weir_buf_free(&wire);
    return back;
}

// --- item by item ---------------------------------------------------------------------------------------------------------

#define SPAN(members)   "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{" members "}]}]}]}"
#define LOG(members)    "{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[{" members "}]}]}]}"
#define METRIC(members) "{\"resourceMetrics\":[{\"scopeMetrics\":[{\"metrics\":[{" members "}]}]}]}"
#define SUM(members)    METRIC("\"sum\":{\"dataPoints\":[{" members "}]}")
#define HISTO(members)  METRIC("\"histogram\":{\"dataPoints\":[{" members "}]}")
#define BODY(value)     LOG("\"body\":{" value "}")

struct taken {
    enum weir_signal signal;
    const char *json, *back; // back NULL: the same
};

static const struct taken takens[] = {
    // J1: hex of either case, everywhere
    {WEIR_TRACES,
     SPAN("\"traceId\":\"5B8EFFF798038103D269B633813FC60C\",\"spanId\":\"eee19b7ec3c1b174\",\"parentSpanId\":"
          "\"EEE19B7EC3C1B173\""),
     SPAN("\"traceId\":\"5b8efff798038103d269b633813fc60c\",\"spanId\":\"eee19b7ec3c1b174\",\"parentSpanId\":"
          "\"eee19b7ec3c1b173\"")},
    {WEIR_TRACES,
     SPAN("\"links\":[{\"traceId\":\"5b8efff798038103d269b633813fc60c\",\"spanId\":\"eee19b7ec3c1b174\"}]"), NULL},
    {WEIR_LOGS, LOG("\"traceId\":\"5b8efff798038103d269b633813fc60c\",\"spanId\":\"eee19b7ec3c1b174\""), NULL},
    {WEIR_METRICS,
     SUM("\"exemplars\":[{\"spanId\":\"eee19b7ec3c1b174\",\"traceId\":\"5b8efff798038103d269b633813fc60c\"}]"), NULL},
    {WEIR_TRACES, SPAN("\"traceId\":\"\",\"spanId\":\"\",\"name\":\"x\""), SPAN("\"name\":\"x\"")}, // J4
    // J2: a profile's id in hex or base64
    {WEIR_PROFILES,
     "{\"resourceProfiles\":[{\"scopeProfiles\":[{\"profiles\":[{\"profileId\":\"W47/95gDgQPSabYzgT/GDA==\"}]}]}]}",
     "{\"resourceProfiles\":[{\"scopeProfiles\":[{\"profiles\":[{\"profileId\":\"5b8efff798038103d269b633813fc60c\"}]}]"
     "}]}"},
    {WEIR_PROFILES,
     "{\"resourceProfiles\":[{\"scopeProfiles\":[{\"profiles\":[{\"profileId\":\"5b8efff798038103d269b633813fc60c\"}]}]"
     "}]}",
     NULL},
    // J3: base64, standard or URL-safe, padded or not, with an escaped slash
    {WEIR_LOGS, BODY("\"bytesValue\":\"+/8=\""), NULL},
    {WEIR_LOGS, BODY("\"bytesValue\":\"-_8\""), BODY("\"bytesValue\":\"+/8=\"")},
    {WEIR_LOGS, BODY("\"bytesValue\":\"+\\/8=\""), BODY("\"bytesValue\":\"+/8=\"")},
    {WEIR_LOGS, BODY("\"bytesValue\":\"\""), NULL},
    // J5: enums by number, unknown ones too, and by name
    {WEIR_TRACES, SPAN("\"kind\":3"), NULL},
    {WEIR_TRACES, SPAN("\"kind\":99"), NULL},
    {WEIR_TRACES, SPAN("\"kind\":\"SPAN_KIND_SERVER\""), SPAN("\"kind\":2")},
    {WEIR_LOGS, LOG("\"severityNumber\":\"SEVERITY_NUMBER_FATAL4\""), LOG("\"severityNumber\":24")},
    {WEIR_TRACES, SPAN("\"kind\":0,\"name\":\"x\""), SPAN("\"name\":\"x\"")},
    // J6: unknown fields at every depth, whatever their value
    {WEIR_TRACES,
     "{\"x\":[1,{\"y\":null}],\"resourceSpans\":[{\"resource\":{\"schemaUrl\":\"s\"},\"scopeSpans\":[{\"a\":{\"b\":[]},"
     "\"spans\":[{\"name\":\"n\",\"z\":-1.5e3}]}]}]}",
     "{\"resourceSpans\":[{\"resource\":{},\"scopeSpans\":[{\"spans\":[{\"name\":\"n\"}]}]}]}"},
    // J7: both spellings
    {WEIR_TRACES,
     "{\"resource_spans\":[{\"scope_spans\":[{\"spans\":[{\"start_time_unix_nano\":\"7\",\"trace_state\":\"t\"}]}]}]}",
     SPAN("\"traceState\":\"t\",\"startTimeUnixNano\":\"7\"")},
    {WEIR_TRACES, SPAN("\"n\\u0061me\":\"x\""), SPAN("\"name\":\"x\"")},
    // J8, J9: integers as strings and numbers, also with a point or an exponent
    {WEIR_LOGS, BODY("\"intValue\":\"-9223372036854775808\""), NULL},
    {WEIR_LOGS, BODY("\"intValue\":9223372036854775807"), BODY("\"intValue\":\"9223372036854775807\"")},
    {WEIR_LOGS, BODY("\"intValue\":0"), BODY("\"intValue\":\"0\"")},
    {WEIR_LOGS, BODY("\"intValue\":1.0"), BODY("\"intValue\":\"1\"")},
    {WEIR_LOGS, BODY("\"intValue\":1e3"), BODY("\"intValue\":\"1000\"")},
    {WEIR_LOGS, BODY("\"intValue\":\"25e-1\"") "", "!"},
    {WEIR_LOGS, BODY("\"intValue\":2500E-2"), BODY("\"intValue\":\"25\"")},
    {WEIR_METRICS, HISTO("\"count\":18446744073709551615"), HISTO("\"count\":\"18446744073709551615\"")},
    {WEIR_TRACES, SPAN("\"droppedAttributesCount\":\"4294967295\""), SPAN("\"droppedAttributesCount\":4294967295")},
    {WEIR_METRICS,
     METRIC("\"exponentialHistogram\":{\"dataPoints\":[{\"scale\":-2,\"positive\":{\"offset\":\"-7\",\"bucketCounts\":["
            "1,\"2\",3]}}]}"),
     METRIC("\"exponentialHistogram\":{\"dataPoints\":[{\"scale\":-2,\"positive\":{\"offset\":-7,\"bucketCounts\":["
            "\"1\",\"2\",\"3\"]}}]}")},
    // J10: doubles
    {WEIR_LOGS, BODY("\"doubleValue\":\"NaN\""), NULL},
    {WEIR_LOGS, BODY("\"doubleValue\":\"-Infinity\""), NULL},
    {WEIR_LOGS, BODY("\"doubleValue\":\"0.1\""), BODY("\"doubleValue\":0.1")},
    {WEIR_LOGS, BODY("\"doubleValue\":0"), NULL},
    {WEIR_LOGS, BODY("\"doubleValue\":123456789012345678901234567890"), BODY("\"doubleValue\":1.2345678901234568e+29")},
    {WEIR_LOGS, BODY("\"doubleValue\":2.2250738585072014e-308"), NULL},
    {WEIR_METRICS, HISTO("\"sum\":0,\"bucketCounts\":[\"0\",\"0\"],\"explicitBounds\":[0],\"min\":0"), NULL},
    // J11: null is unset
    {WEIR_TRACES,
     SPAN("\"name\":null,\"kind\":null,\"traceId\":null,\"attributes\":null,\"status\":null,\"flags\":null,"
          "\"endTimeUnixNano\":null"),
     SPAN("")},
    {WEIR_LOGS, BODY("\"doubleValue\":null"), BODY("")},
    {WEIR_LOGS, BODY("\"boolValue\":false"), NULL},
    {WEIR_LOGS, BODY("\"stringValue\":\"\""), NULL},
    // J14: the last scalar counts, also when it is nothing; repeated fields go on; the last of a oneof
    {WEIR_TRACES, SPAN("\"name\":\"a\",\"name\":\"b\""), SPAN("\"name\":\"b\"")},
    {WEIR_TRACES, SPAN("\"name\":\"a\",\"kind\":3,\"name\":\"\",\"kind\":0"), SPAN("")},
    {WEIR_TRACES,
     SPAN("\"name\":\"a\",\"traceId\":\"5b8efff798038103d269b633813fc60c\",\"name\":null,\"traceId\":\"\""), SPAN("")},
    {WEIR_METRICS, HISTO("\"bucketCounts\":[1],\"bucketCounts\":[2]"), HISTO("\"bucketCounts\":[\"1\",\"2\"]")},
    {WEIR_LOGS, BODY("\"stringValue\":\"a\",\"intValue\":\"1\""), BODY("\"intValue\":\"1\"")},
    // J15: escapes, among them a NUL and half a pair
    {WEIR_LOGS, BODY("\"stringValue\":\"\\u0000\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u20ac\\ud83d\\ude00\""),
     BODY("\"stringValue\":\"\\u0000\\\"\\\\/\\b\\f\\n\\r\\té€😀\"")},
    {WEIR_LOGS, BODY("\"stringValue\":\"a\\ud800b\\udc00\\ud800\\ud800\\udc00\""),
     BODY("\"stringValue\":\"a\xef\xbf\xbd"
          "b\xef\xbf\xbd\xef\xbf\xbd\xf0\x90\x80\x80\"")},
    {WEIR_LOGS, BODY("\"stringValue\":\"é€😀\""), NULL},
    // blanks
    {WEIR_TRACES, " \r\n\t{ \"resourceSpans\" : [ { } , { } ] } \n", "{\"resourceSpans\":[{},{}]}"},
    {WEIR_TRACES, "{}", NULL},
    {WEIR_TRACES, "{\"resourceSpans\":[]}", "{}"},
    {WEIR_LOGS,
     BODY("\"arrayValue\":{\"values\":[{},{\"kvlistValue\":{\"values\":[{\"key\":\"k\",\"value\":{\"boolValue\":true}}]"
          "}}]}"),
     NULL},
};

// J1, J2, J3, J5, J6, J7, J8, J9, J10, J11, J14.
Test(otlp_json_read, what_is_taken)
{
    for (size_t i = 0; i < WEIR_COUNT(takens); i++) {
        const struct taken *t = &takens[i];
        struct weir_err err = {0};
        char *back = there_and_back(t->signal, t->json, strlen(t->json), &err);
        if (t->back != NULL && strcmp(t->back, "!") == 0) {
            cr_expect_null(back, "%s was taken", t->json);
        } else {
            cr_expect(back != NULL && strcmp(back, t->back != NULL ? t->back : t->json) == 0, "%s\n  became %s %s",
                      t->json, back != NULL ? back : "(refused)", err.text);
        }
        free(back);
    }
}

static const struct {
    enum weir_signal signal;
    const char *json, *text;
} refuseds[] = {
    {WEIR_TRACES, "", "an object is needed (at byte 0)"}, // J13
    {WEIR_TRACES, "null", "an object is needed"},
    {WEIR_TRACES, "[]", "an object is needed"},
    {WEIR_TRACES, "1234", "an object is needed"},
    {WEIR_TRACES, "\xef\xbb\xbf{}", "an object is needed"},
    {WEIR_TRACES, "{} xyz", "something follows the object (at byte 3)"},
    {WEIR_TRACES, "{}{}", "something follows the object"},
    {WEIR_TRACES, "{", "a string is needed"},
    {WEIR_TRACES, "{\"a\"}", "':' is needed"},
    {WEIR_TRACES, "{\"a\":1,}", "a string is needed"},
    {WEIR_TRACES, "{\"a\":1 \"b\":2}", "',' or '}' is needed"},
    {WEIR_TRACES, "{'a':1}", "a string is needed"},
    {WEIR_TRACES, "{\"a\":tru}", "a value is needed"},
    {WEIR_TRACES, "{\"a\":[1,2}", "',' or ']' is needed"},
    {WEIR_TRACES, "{\"resourceSpans\":[{}", "',' or ']' is needed"},
    {WEIR_TRACES, SPAN("\"traceId\":\"5b8efff798038103d269b633813fc6\""),
     "resourceSpans[0].scopeSpans[0].spans[0].traceId: not 32 hex digits"},
    {WEIR_TRACES, SPAN("\"traceId\":\"5b8efff798038103d269b633813fc60\""), "not 32 hex digits"},
    {WEIR_TRACES, SPAN("\"traceId\":\"5b8efff798038103d269b633813fc60g\""), "not 32 hex digits"},
    {WEIR_TRACES, SPAN("\"traceId\":\"W47/95gDgQPSabYzgT/GDA==\""), "not 32 hex digits"},
    {WEIR_TRACES, SPAN("\"spanId\":\"5b8efff798038103d269b633813fc60c\""), "not 16 hex digits"},
    {WEIR_PROFILES,
     "{\"resourceProfiles\":[{\"scopeProfiles\":[{\"profiles\":[{\"profileId\":\"W47/95gDgQPSabYzgT/G\"}]}]}]}",
     "profileId: not 16 bytes"},
    {WEIR_LOGS, BODY("\"bytesValue\":\"+/8==\""), "body.bytesValue: not base64"},
    {WEIR_LOGS, BODY("\"bytesValue\":\"a\""), "not base64"},
    {WEIR_LOGS, BODY("\"bytesValue\":\"a b\""), "not base64"},
    {WEIR_TRACES, SPAN("\"kind\":\"SERVER\""), "no number, and no name of this enum"},
    {WEIR_TRACES, SPAN("\"kind\":2.5"), "out of range, or no integer"},
    {WEIR_TRACES, SPAN("\"kind\":4294967296"), "out of range, or no integer"},
    {WEIR_TRACES, SPAN("\"droppedEventsCount\":-1"), "out of range"},
    {WEIR_TRACES, SPAN("\"droppedEventsCount\":4294967296"), "out of range"},
    {WEIR_LOGS, BODY("\"intValue\":9223372036854775808"), "out of range"},
    {WEIR_LOGS, BODY("\"intValue\":1e+21"), "out of range"},
    {WEIR_LOGS, BODY("\"intValue\":\"\""), "no number"},
    {WEIR_LOGS, BODY("\"intValue\":\" 1\""), "no number"},
    {WEIR_LOGS, BODY("\"intValue\":\"1 \""), "no number"},
    {WEIR_LOGS, BODY("\"intValue\":true"), "a number is needed"},
    {WEIR_LOGS, BODY("\"intValue\":01"), "a number with a leading 0"},
    {WEIR_LOGS, BODY("\"intValue\":+1"), "a number is needed"},
    {WEIR_LOGS, BODY("\"doubleValue\":NaN"), "a number is needed"},
    {WEIR_LOGS, BODY("\"doubleValue\":1."), "no digit behind a decimal point"},
    {WEIR_LOGS, BODY("\"doubleValue\":.5"), "a number is needed"},
    {WEIR_LOGS, BODY("\"doubleValue\":1e"), "an exponent without digits"},
    {WEIR_LOGS, BODY("\"doubleValue\":1e999"), "out of range"},
    {WEIR_LOGS, BODY("\"doubleValue\":\"0x1p3\""), "no number"},
    {WEIR_LOGS, BODY("\"boolValue\":\"true\""), "not true or false"}, // J12
    {WEIR_LOGS, BODY("\"boolValue\":1"), "not true or false"},
    {WEIR_LOGS, BODY("\"stringValue\":1"), "a string is needed"},
    {WEIR_LOGS, LOG("\"attributes\":{\"a\":\"b\"}"), "attributes: an array is needed"},
    {WEIR_LOGS, LOG("\"attributes\":[null]"), "attributes[0]: an object is needed"},
    {WEIR_LOGS, LOG("\"body\":[]"), "body: an object is needed"},
    {WEIR_LOGS, BODY("\"stringValue\":\"a\nb\""), "a control character in a string"}, // J15
    {WEIR_LOGS, BODY("\"stringValue\":\"\\x\""), "an unknown escape"},
    {WEIR_LOGS, BODY("\"stringValue\":\"\\u12g4\""), "\\u without four hex digits"},
    {WEIR_LOGS, BODY("\"stringValue\":\"\xff\""), "body.stringValue: not UTF-8"},
    {WEIR_LOGS, BODY("\"stringValue\":\"\xed\xa0\x80\""), "not UTF-8"},
};

// J12, J13.
Test(otlp_json_read, what_is_refused_names_the_field)
{
    for (size_t i = 0; i < WEIR_COUNT(refuseds); i++) {
        struct weir_buf out = {0};
        struct weir_err err = {0};
        int code = read_json(refuseds[i].signal, refuseds[i].json, strlen(refuseds[i].json), ANY_SIZE, &out, &err);
        cr_expect_eq(code, WEIR_E_INVALID, "%s: %d", refuseds[i].json, code);
        cr_expect(strstr(err.text, refuseds[i].text) != NULL, "%s\n  says %s", refuseds[i].json, err.text);
        weir_buf_free(&out);
    }
}

Test(otlp_json_read, what_is_cut_off_is_refused)
{
    static const char json[] =
        SPAN("\"traceId\":\"5b8efff798038103d269b633813fc60c\",\"name\":\"a\\u00e9\\n\",\"kind\":2,"
             "\"x\":{\"y\":[1,\"z\",null,true]},\"attributes\":[{\"key\":\"k\",\"value\":{\"doubleValue\":-1.5e-3}}]");
    struct weir_buf out = {0};
    cr_expect_eq(read_json(WEIR_TRACES, json, sizeof(json) - 1, ANY_SIZE, &out, NULL), WEIR_OK);
    out.len = 0;
    for (size_t len = 0; len < sizeof(json) - 1; len++)
        cr_expect_eq(read_json(WEIR_TRACES, json, len, ANY_SIZE, &out, NULL), WEIR_E_INVALID, "cut at %zu", len);
    for (size_t at = 0; at < sizeof(json) - 1; at++) { // a NUL anywhere is nothing that JSON has
        char copy[sizeof(json)];
        memcpy(copy, json, sizeof(json));
        copy[at] = '\0';
        cr_expect_eq(read_json(WEIR_TRACES, copy, sizeof(json) - 1, ANY_SIZE, &out, NULL), WEIR_E_INVALID, "NUL at %zu",
                     at);
    }
    weir_buf_free(&out);
}

// `levels` array values within each other, as an attribute of the resource: three messages above the first, two a level.
static struct weir_buf nested(unsigned levels)
{
    static const char head[] = "{\"resourceLogs\":[{\"resource\":{\"attributes\":[{\"value\":", tail[] = "}]}}]}";
    struct weir_buf out = {0};
    cr_assert(weir_buf_append(&out, head, sizeof(head) - 1));
    for (unsigned i = 0; i < levels; i++)
        cr_assert(weir_buf_append(&out, "{\"arrayValue\":{\"values\":[", 25));
    cr_assert(weir_buf_append(&out, "{}", 2));
    for (unsigned i = 0; i < levels; i++)
        cr_assert(weir_buf_append(&out, "]}}", 3));
    cr_assert(weir_buf_append(&out, tail, sizeof(tail) - 1));
    return out;
}

Test(otlp_json_read, nesting_has_the_walker_s_limit_J16)
{
    for (unsigned levels = 28; levels < 34; levels++) {
        struct weir_buf json = nested(levels), wire = {0};
        struct otlp_summary summary;
        int code = read_json(WEIR_LOGS, json.data, json.len, ANY_SIZE, &wire, NULL);
        unsigned depth = 4 + 2 * levels;
        cr_expect_eq(code, depth <= OTLP_DEPTH_MAX ? WEIR_OK : WEIR_E_INVALID, "depth %u: %d", depth, code);
        if (code == WEIR_OK)
            cr_expect_eq(otlp_walk(WEIR_LOGS, wire.data, wire.len, NULL, &summary, NULL), WEIR_OK, "depth %u", depth);
        weir_buf_free(&json);
        weir_buf_free(&wire);
    }
    struct weir_buf bomb = {0}, wire = {0}; // of a field that nobody knows
    cr_assert(weir_buf_append(&bomb, "{\"x\":", 5));
    for (unsigned i = 0; i < 100000; i++)
        cr_assert(weir_buf_append(&bomb, "[", 1));
    cr_expect_eq(read_json(WEIR_LOGS, bomb.data, bomb.len, ANY_SIZE, &wire, NULL), WEIR_E_INVALID);
    weir_buf_free(&bomb);
    weir_buf_free(&wire);
}

Test(otlp_json_read, the_limit_is_on_the_protobuf)
{
    static const char json[] = HISTO("\"explicitBounds\":[0,1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9]");
    struct weir_buf wire = {0}, tight = {0};
    struct weir_err err = {0};
    cr_assert_eq(read_json(WEIR_METRICS, json, sizeof(json) - 1, ANY_SIZE, &wire, NULL), WEIR_OK);
    for (size_t max = 0; max < wire.len; max++) {
        cr_expect_eq(read_json(WEIR_METRICS, json, sizeof(json) - 1, max, &tight, &err), WEIR_E_LIMIT, "%zu", max);
        cr_expect_eq(tight.len, 0);
    }
    cr_expect(strstr(err.text, "the request has more than") != NULL, "%s", err.text);
    weir_buf_free(&wire);
    weir_buf_free(&tight);
}

Test(otlp_json_read, utf8_passes_when_it_is_to)
{
    static const char json[] = BODY("\"stringValue\":\"a\xff"
                                    "b\"");
    struct otlp_json_options options = {.max_bytes = ANY_SIZE, .pass_bad_utf8 = true};
    struct weir_buf wire = {0};
    struct weir_slice text = {(const uint8_t *)json, sizeof(json) - 1};
    cr_assert_eq(otlp_json_read(WEIR_LOGS, text, &options, &wire, NULL), WEIR_OK);
    cr_expect_not_null(memmem(wire.data, wire.len,
                              "a\xff"
                              "b",
                              3));
    weir_buf_free(&wire);
}

// --- random requests ------------------------------------------------------------------------------------------------------

Test(otlp_json_read, random_requests_come_back_the_same)
{
    for (uint64_t seed = 0; seed < 800; seed++) {
        enum weir_signal signal = (enum weir_signal)(seed % WEIR_SIGNALS);
        struct random_otlp rnd = random_otlp_new(seed, seed % 8 < 4);
        struct weir_buf request = {0}, wire = {0};
        request.data = random_otlp_request(&rnd, signal, &request.len);
        char *json = write_json(signal, &request);
        struct weir_err err = {0};
        struct otlp_summary before, after;
        int code = read_json(signal, json, strlen(json), ANY_SIZE, &wire, &err);
        cr_assert_eq(code, WEIR_OK, "seed %llu: %s", (unsigned long long)seed, err.text);
        char *again = write_json(signal, &wire);
        cr_expect_str_eq(again, json, "seed %llu", (unsigned long long)seed);
        cr_assert_eq(otlp_walk(signal, request.data, request.len, NULL, &before, NULL), WEIR_OK);
        cr_assert_eq(otlp_walk(signal, wire.data, wire.len, NULL, &after, NULL), WEIR_OK);
        cr_expect(before.items == after.items && before.time_min_ns == after.time_min_ns &&
                  before.time_max_ns == after.time_max_ns);
        free(json);
        free(again);
        free(request.data);
        weir_buf_free(&wire);
        random_otlp_free(&rnd);
    }
}

Test(otlp_json_read, mutated_json_is_taken_as_a_sound_request_or_refused)
{
    unsigned taken = 0;
    for (uint64_t seed = 0; seed < 20000; seed++) {
        enum weir_signal signal = (enum weir_signal)(seed % WEIR_SIGNALS);
        static char *jsons[WEIR_SIGNALS];
        if (jsons[signal] == NULL) {
            struct random_otlp rnd = random_otlp_new(seed, true);
            struct weir_buf request = {0};
            request.data = random_otlp_request(&rnd, signal, &request.len);
            jsons[signal] = write_json(signal, &request);
            free(request.data);
            random_otlp_free(&rnd);
        }
        size_t len = strlen(jsons[signal]);
        char *copy = strdup(jsons[signal]);
        struct random_otlp rnd = {.state = seed};
        for (uint64_t n = 1 + rnd_u64(&rnd) % 3; n > 0; n--) {
            static const char bytes[] = "\"\\{}[]:,0-.eu\0 nN";
            copy[rnd_u64(&rnd) % len] =
                rnd_u64(&rnd) % 2 ? bytes[rnd_u64(&rnd) % (sizeof(bytes) - 1)] : (char)rnd_u64(&rnd);
        }
        struct weir_err err = {0};
        char *back = there_and_back(signal, copy, len, &err); // asserts that the walker takes it
        taken += back != NULL;
        free(back);
        free(copy);
        if (seed % 1000 == 999)
            for (int i = 0; i < WEIR_SIGNALS; i++) {
                free(jsons[i]);
                jsons[i] = NULL;
            }
    }
    cr_expect_gt(taken, 100);
}
