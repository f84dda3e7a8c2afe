// SPDX-License-Identifier: Apache-2.0
// Exact texts by hand here; check_otlp_json.py compares random requests with protobuf's own JSON.
#include <criterion/criterion.h>
#include <jansson.h>

#include "proto/otlp_json.h"
#include "proto/otlp_schema.h"
#include "proto/walk.h"
#include "proto/wire.h"
#include "tests/unit/random_otlp.h"

#define ANY_SIZE ((size_t)1 << 30)

static struct weir_buf raw(const char *bytes, size_t len)
{
    struct weir_buf out = {0};
    cr_assert(weir_buf_append(&out, bytes, len));
    return out;
}
#define RAW(literal) raw(literal, sizeof(literal) - 1)

static struct weir_buf wrapped(uint32_t number, struct weir_buf inner) // takes inner
{
    struct weir_buf out = {0};
    cr_assert(wire_put_bytes(&out, number, inner.data, inner.len));
    weir_buf_free(&inner);
    return out;
}

// One item's bytes as a whole request: root 1, resource's 2, scope's 2 (M1).
static struct weir_buf request_of(struct weir_buf item)
{
    return wrapped(1, wrapped(2, wrapped(2, item)));
}

// From a copy of the exact size, so that a sanitizer sees any read beyond it.
static int write_json(enum weir_signal signal, struct weir_slice request, size_t max_bytes, struct weir_buf *out,
                      struct otlp_json_account *account, struct weir_err *err)
{
    uint8_t *copy = (uint8_t *)malloc(request.len ? request.len : 1);
    cr_assert_not_null(copy);
    if (request.len > 0)
        memcpy(copy, request.data, request.len);
    int code = otlp_json_write(signal, (struct weir_slice){copy, request.len}, max_bytes, out, account, err);
    free(copy);
    return code;
}

// Takes the request.
static char *json_of(enum weir_signal signal, struct weir_buf request, struct otlp_json_account *account)
{
    struct weir_buf out = {0};
    struct weir_err err = {0};
    *account = (struct otlp_json_account){0};
    int code = write_json(signal, (struct weir_slice){request.data, request.len}, ANY_SIZE, &out, account, &err);
    weir_buf_free(&request);
    cr_assert_eq(code, WEIR_OK, "%d: %s", code, err.text);
    cr_assert(weir_buf_append(&out, "", 1));
    return (char *)out.data;
}

static void expect_json(enum weir_signal signal, struct weir_buf request, const char *expected)
{
    struct otlp_json_account account;
    char *json = json_of(signal, request, &account);
    cr_assert_str_eq(json, expected);
    cr_assert_eq(account.unknown_fields, 0);
    cr_assert_eq(account.bad_bytes, 0);
    free(json);
}

#define IN_SPANS(json)   "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[" json "]}]}]}"
#define IN_METRICS(json) "{\"resourceMetrics\":[{\"scopeMetrics\":[{\"metrics\":[" json "]}]}]}"
#define IN_LOGS(json)    "{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[" json "]}]}]}"

// --- what OTLP's specification shows ----------------------------------------------------------------------------------
#define TRACE_ID "\x5b\x8e\xff\xf7\x98\x03\x81\x03\xd2\x69\xb6\x33\x81\x3f\xc6\x0c"
#define SPAN_ID  "\xee\xe1\x9b\x7e\xc3\xc1\xb1\x74"

// J21.
Test(otlp_json, a_span_as_the_specification_shows_it)
{
    struct weir_buf span = RAW("\x0a\x10" TRACE_ID "\x12\x08" SPAN_ID "\x22\x08\xee\xe1\x9b\x7e\xc3\xc1\xb1\x73"
                               "\x2a\x14I'm a server span\xe2\x9c\x93\x30\x02"
                               "\x39\x00\x48\x59\xe3\xfa\xeb\x6f\x15\x41\x00\x12\xf4\x1e\xfb\xeb\x6f\x15"
                               "\x4a\x18\x0a\x0cmy.span.attr\x12\x08\x0a\x06some v"
                               "\x7a\x02\x18\x02\x85\x01\x01\x01\x00\x00");
    expect_json(WEIR_TRACES, request_of(span),
                IN_SPANS("{\"traceId\":\"5b8efff798038103d269b633813fc60c\",\"spanId\":\"eee19b7ec3c1b174\","
                         "\"parentSpanId\":\"eee19b7ec3c1b173\",\"name\":\"I'm a server span\xe2\x9c\x93\",\"kind\":2,"
                         "\"startTimeUnixNano\":\"1544712660000000000\",\"endTimeUnixNano\":\"1544712661000000000\","
                         "\"attributes\":[{\"key\":\"my.span.attr\",\"value\":{\"stringValue\":\"some v\"}}],"
                         "\"status\":{\"code\":2},\"flags\":257}"));
}

Test(otlp_json, an_empty_request_is_an_empty_object)
{
    for (int signal = 0; signal < WEIR_SIGNALS; signal++)
        expect_json((enum weir_signal)signal, (struct weir_buf){0}, "{}");
    expect_json(WEIR_TRACES, RAW("\x0a\x00\x0a\x00"), "{\"resourceSpans\":[{},{}]}");
}

// --- values -----------------------------------------------------------------------------------------------------------
// J20.
Test(otlp_json, defaults_are_left_out_unless_presence_counts)
{
    // Fields 1 to 3 of a KeyValue with an empty key and value; then dropped_attributes_count 0 and the time 0.
    expect_json(WEIR_LOGS,
                request_of(RAW("\x09\0\0\0\0\0\0\0\0\x10\x00\x1a\x00\x2a\x02\x10\x00\x32\x04\x0a\x00\x12\x00"
                               "\x38\x00\x4a\x00")),
                IN_LOGS("{\"body\":{\"boolValue\":false},\"attributes\":[{\"value\":{}}]}"));
    // A histogram's sum, min and max are there when they are 0 and not when they are absent; count is not.
    expect_json(WEIR_METRICS,
                request_of(RAW("\x4a\x21\x0a\x1d\x21\0\0\0\0\0\0\0\0\x29\0\0\0\0\0\0\0\0\x59\0\0\0\0\0\0\0\0\x50\x00"
                               "\x10\x00")),
                IN_METRICS("{\"histogram\":{\"dataPoints\":[{\"sum\":0,\"min\":0}]}}"));
}

Test(otlp_json, numbers_by_their_types)
{
    // severity 9, dropped 2^32-1 in ten bytes' varint, flags 2^32-1, body int -1.
    expect_json(WEIR_LOGS,
                request_of(RAW("\x10\x09\x38\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x45\xff\xff\xff\xff"
                               "\x2a\x0b\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")),
                IN_LOGS("{\"severityNumber\":9,\"body\":{\"intValue\":\"-1\"},\"droppedAttributesCount\":4294967295,"
                        "\"flags\":4294967295}"));
    // An exponential point: scale -1 (zigzag), offset -2, bucket counts as strings, zero_threshold NaN, sum -Infinity, min -0.0.
    expect_json(WEIR_METRICS,
                request_of(RAW("\x52\x31\x0a\x2f\x29\0\0\0\0\0\0\xf0\xff\x30\x01\x42\x07\x08\x03\x12\x03\x01\xac\x02"
                               "\x61\0\0\0\0\0\0\0\x80\x69\x9a\x99\x99\x99\x99\x99\xb9\x3f\x71\0\0\0\0\0\0\xf8\x7f")),
                IN_METRICS("{\"exponentialHistogram\":{\"dataPoints\":[{\"sum\":\"-Infinity\",\"scale\":-1,"
                           "\"positive\":{\"offset\":-2,\"bucketCounts\":[\"1\",\"300\"]},\"min\":-0.0,\"max\":0.1,"
                           "\"zeroThreshold\":\"NaN\"}]}}"));
    expect_json(WEIR_METRICS,
                request_of(RAW("\x3a\x18\x0a\x14\x19\xff\xff\xff\xff\xff\xff\xff\xff\x31\0\0\0\0\0\0\0\x80\x40\x01"
                               "\x18\x02")),
                IN_METRICS("{\"sum\":{\"dataPoints\":[{\"timeUnixNano\":\"18446744073709551615\","
                           "\"asInt\":\"-9223372036854775808\",\"flags\":1}],\"isMonotonic\":true}}"));
}

Test(otlp_json, base64_of_every_length)
{
    static const char *const expected[] = {"", "/w==", "//4=", "//79", "//79AA=="};
    for (size_t len = 0; len < WEIR_COUNT(expected); len++) {
        char json[160];
        struct weir_buf any = wrapped(7, raw("\xff\xfe\xfd\x00", len));
        snprintf(json, sizeof(json), IN_LOGS("{\"body\":{\"bytesValue\":\"%s\"}}"), expected[len]);
        expect_json(WEIR_LOGS, request_of(wrapped(5, any)), json);
    }
    // A profile's id is hex, its payload is not.
    struct weir_buf profile = RAW("\x3a\x10" TRACE_ID "\x52\x01\x7f");
    expect_json(WEIR_PROFILES, request_of(profile),
                "{\"resourceProfiles\":[{\"scopeProfiles\":[{\"profiles\":[{\"profileId\":"
                "\"5b8efff798038103d269b633813fc60c\",\"originalPayload\":\"fw==\"}]}]}]}");
}

Test(otlp_json, strings_are_escaped_and_bad_utf8_is_told)
{
    expect_json(WEIR_LOGS, request_of(wrapped(3, RAW("\"\\/\n\r\t\b\f\x01\x1f\x7f\0<\xe2\x80\xa8\xf0\x9f\x98\x80"))),
                IN_LOGS("{\"severityText\":\"\\\"\\\\/\\n\\r\\t\\b\\f\\u0001\\u001f\x7f\\u0000<\xe2\x80\xa8"
                        "\xf0\x9f\x98\x80\"}"));
    // A lone continuation, an overlong slash, a surrogate, a character that is cut off: each byte is one U+FFFD.
    struct otlp_json_account account;
    char *json = json_of(WEIR_LOGS,
                         request_of(wrapped(3, RAW("a\x80"
                                                   "b\xc0\xaf"
                                                   "c\xed\xa0\x80"
                                                   "d\xe2\x82"))),
                         &account);
#define BAD "\xef\xbf\xbd"
    cr_assert_str_eq(json, IN_LOGS("{\"severityText\":\"a" BAD "b" BAD BAD "c" BAD BAD BAD "d" BAD BAD "\"}"));
    cr_assert_eq(account.bad_bytes, 8);
    free(json);
}

// --- what protobuf allows ------------------------------------------------------------------------------------------------
Test(otlp_json, scattered_fields_become_one_array_and_the_last_scalar_counts)
{
    // Two spans, with the scope's schema_url twice between them.
    struct weir_buf scope = RAW("\x12\x03\x2a\x01"
                                "a\x1a\x01x\x12\x03\x2a\x01"
                                "b\x1a\x01y");
    expect_json(
        WEIR_TRACES, wrapped(1, wrapped(2, scope)),
        "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"name\":\"a\"},{\"name\":\"b\"}],\"schemaUrl\":\"y\"}]}]}");
    // Last wins, even when it is the default.
    expect_json(WEIR_LOGS, request_of(RAW("\x10\x09\x10\x00")), IN_LOGS("{}"));
}

// M9.
Test(otlp_json, repeated_numbers_packed_split_and_single)
{
    expect_json(
        WEIR_METRICS,
        request_of(RAW("\x4a\x27\x0a\x25\x32\x08\1\0\0\0\0\0\0\0\x31\2\0\0\0\0\0\0\0\x32\x00\x32\x08\3\0\0\0\0\0\0\0"
                       "\x3a\x00\x50\x00\x50\x00")),
        IN_METRICS("{\"histogram\":{\"dataPoints\":[{\"bucketCounts\":[\"1\",\"2\",\"3\"]}]}}"));
}

// M8.
Test(otlp_json, messages_in_parts_are_merged)
{
    // Two resources: an attribute a, a count; then an attribute b.
    expect_json(WEIR_TRACES,
                wrapped(1, RAW("\x0a\x07\x0a\x03\x0a\x01"
                               "a\x10\x01\x0a\x05\x0a\x03\x0a\x01"
                               "b")),
                "{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":\"a\"},{\"key\":\"b\"}],"
                "\"droppedAttributesCount\":1}}]}");
}

Test(otlp_json, of_a_oneof_the_last_member_counts)
{
    // array [1], array [2]: one array of both. array [1], string, array [2]: the second alone.
#define ARRAY(digit) "\x2a\x06\x0a\x04\x0a\x02s" digit
    expect_json(
        WEIR_LOGS, request_of(wrapped(5, RAW(ARRAY("1") ARRAY("2")))),
        IN_LOGS("{\"body\":{\"arrayValue\":{\"values\":[{\"stringValue\":\"s1\"},{\"stringValue\":\"s2\"}]}}}"));
    expect_json(WEIR_LOGS, request_of(wrapped(5, RAW(ARRAY("1") "\x0a\x01x" ARRAY("2")))),
                IN_LOGS("{\"body\":{\"arrayValue\":{\"values\":[{\"stringValue\":\"s2\"}]}}}"));
    expect_json(WEIR_LOGS, request_of(wrapped(5, RAW(ARRAY("1") "\x0a\x00"))),
                IN_LOGS("{\"body\":{\"stringValue\":\"\"}}"));
}

Test(otlp_json, unknown_fields_are_left_out_and_counted)
{
    // 4 (reserved), 1000, and one inside of a value.
    struct otlp_json_account account;
    char *json =
        json_of(WEIR_LOGS, request_of(RAW("\x10\x01\x20\x05\xc2\x3e\x01x\x2a\x05\x7a\x01\x00\x10\x01")), &account);
    cr_assert_str_eq(json, IN_LOGS("{\"severityNumber\":1,\"body\":{\"boolValue\":true}}"));
    cr_assert_eq(account.unknown_fields, 3);
    free(json);
}

// --- limits and bad input ------------------------------------------------------------------------------------------------
// A log record whose body is `arrays` array values in each other: 3 + 1 + 2 * arrays messages below the request.
static struct weir_buf nested(unsigned arrays)
{
    struct weir_buf any = {0};
    for (unsigned i = 0; i < arrays; i++)
        any = wrapped(5, wrapped(1, any));
    return request_of(wrapped(5, any));
}

Test(otlp_json, nesting_stops_at_the_limit)
{
    struct otlp_json_account account = {0};
    struct weir_buf out = {0};
    struct weir_err err;
    struct weir_buf deepest = nested((OTLP_DEPTH_MAX - 4) / 2), deeper = nested((OTLP_DEPTH_MAX - 4) / 2 + 1);
    cr_assert_eq(write_json(WEIR_LOGS, (struct weir_slice){deepest.data, deepest.len}, ANY_SIZE, &out, &account, &err),
                 WEIR_OK);
    json_t *parsed = json_loadb((const char *)out.data, out.len, JSON_REJECT_DUPLICATES, NULL);
    cr_assert_not_null(parsed);
    json_decref(parsed);
    size_t before = out.len;
    cr_assert_eq(write_json(WEIR_LOGS, (struct weir_slice){deeper.data, deeper.len}, ANY_SIZE, &out, &account, &err),
                 WEIR_E_LIMIT);
    cr_assert_eq(out.len, before, "a refused request leaves nothing behind");
    weir_buf_free(&deepest);
    weir_buf_free(&deeper);
    weir_buf_free(&out);
}

Test(otlp_json, output_stops_at_the_limit)
{
    struct random_otlp rnd = random_otlp_new(7, true);
    for (int signal = 0; signal < WEIR_SIGNALS; signal++) {
        size_t len;
        uint8_t *bytes = random_otlp_request(&rnd, (enum weir_signal)signal, &len);
        struct weir_slice request = {bytes, len};
        struct otlp_json_account account = {0};
        struct weir_buf whole = {0}, out = {0};
        struct weir_err err;
        cr_assert_eq(write_json(signal, request, ANY_SIZE, &whole, &account, &err), WEIR_OK);
        cr_assert(weir_buf_append(&out, "kept", 4));
        size_t step = whole.len / 50 + 1;
        for (size_t max = 0; max < whole.len; max += step) {
            cr_assert_eq(write_json(signal, request, max, &out, &account, &err), WEIR_E_LIMIT);
            cr_assert_eq(out.len, 4);
        }
        cr_assert_eq(write_json(signal, request, whole.len - 1, &out, &account, &err), WEIR_E_LIMIT);
        cr_assert_eq(write_json(signal, request, whole.len, &out, &account, &err), WEIR_OK);
        cr_assert_eq(out.len, 4 + whole.len);
        cr_assert_arr_eq(out.data, "kept", 4);
        cr_assert_arr_eq(out.data + 4, whole.data, whole.len);
        weir_buf_free(&whole);
        weir_buf_free(&out);
        free(bytes);
    }
    random_otlp_free(&rnd);
}

// Each level is there twice, once empty: each would be copied.
Test(otlp_json, copies_of_merged_messages_are_bounded)
{
    struct weir_buf any = wrapped(1, raw("0123456789012345678901234567890123456789", 40));
    for (unsigned i = 0; i < 20; i++) {
        any = wrapped(5, wrapped(1, any));
        cr_assert(weir_buf_append(&any, "\x2a\x00", 2));
    }
    struct weir_buf request = request_of(wrapped(5, any)), out = {0};
    struct otlp_json_account account = {0};
    struct otlp_summary summary;
    struct weir_err err;
    cr_assert_eq(otlp_walk(WEIR_LOGS, request.data, request.len, NULL, &summary, &err), WEIR_OK);
    cr_assert_eq(write_json(WEIR_LOGS, (struct weir_slice){request.data, request.len}, ANY_SIZE, &out, &account, &err),
                 WEIR_E_LIMIT);
    cr_assert_str_eq(err.text, "AnyValue.array_value: no memory for messages that come twice within each other");
    weir_buf_free(&request);
    weir_buf_free(&out);
}

// What the walker takes is written; what is written is JSON. Cut off anywhere, or with a bit flipped.
Test(otlp_json, whatever_the_walker_takes_is_written)
{
    struct otlp_walk_options lax = {.pass_bad_utf8 = true};
    struct weir_buf out = {0};
    unsigned taken = 0, refused = 0;
    for (uint64_t seed = 0; seed < 2000; seed++) {
        struct random_otlp rnd = random_otlp_new(seed, true);
        enum weir_signal signal = (enum weir_signal)(seed % WEIR_SIGNALS);
        size_t len;
        uint8_t *bytes = random_otlp_request(&rnd, signal, &len);
        if (len > 0 && rnd_below(&rnd, 2) == 0)
            len = rnd_below(&rnd, len);
        else if (len > 0)
            bytes[rnd_below(&rnd, len)] ^= (uint8_t)(1u << rnd_below(&rnd, 8));
        struct otlp_json_account account = {0};
        struct otlp_summary summary;
        struct weir_err err = {0};
        bool sound = otlp_walk(signal, bytes, len, &lax, &summary, NULL) == WEIR_OK;
        out.len = 0;
        int code = write_json(signal, (struct weir_slice){bytes, len}, ANY_SIZE, &out, &account, &err);
        cr_assert(code == WEIR_OK || (!sound && code == WEIR_E_INVALID), "seed %lu: %d: %s", seed, code, err.text);
        if (code == WEIR_OK) {
            json_t *parsed = json_loadb((const char *)out.data, out.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
            cr_assert_not_null(parsed, "seed %lu", seed);
            json_decref(parsed);
        }
        taken += sound;
        refused += !sound;
        free(bytes);
        random_otlp_free(&rnd);
    }
    weir_buf_free(&out);
    cr_assert_gt(taken, 100);
    cr_assert_gt(refused, 100);
}

// --- the schema ----------------------------------------------------------------------------------------------------------
static void check_message(const ProtobufCMessageDescriptor *message, unsigned depth)
{
    static const ProtobufCType types[] = {
        PROTOBUF_C_TYPE_BOOL,    PROTOBUF_C_TYPE_INT32,   PROTOBUF_C_TYPE_ENUM,     PROTOBUF_C_TYPE_SINT32,
        PROTOBUF_C_TYPE_UINT32,  PROTOBUF_C_TYPE_INT64,   PROTOBUF_C_TYPE_SFIXED64, PROTOBUF_C_TYPE_UINT64,
        PROTOBUF_C_TYPE_FIXED32, PROTOBUF_C_TYPE_DOUBLE,  PROTOBUF_C_TYPE_FIXED64,  PROTOBUF_C_TYPE_STRING,
        PROTOBUF_C_TYPE_BYTES,   PROTOBUF_C_TYPE_MESSAGE,
    };
    cr_assert_leq(message->n_fields, OTLP_FIELDS_MAX, "%s", message->name);
    for (unsigned i = 0; i < message->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->fields[i];
        bool known = false;
        for (size_t t = 0; t < WEIR_COUNT(types); t++)
            known |= types[t] == field->type;
        cr_assert(known, "%s.%s has a type that no other field has", message->name, field->name);
        cr_assert_eq(otlp_field_index(message, field->id), (int)i);
        if (field->type == PROTOBUF_C_TYPE_MESSAGE && depth < 9)
            check_message(field->descriptor, depth + 1);
    }
    cr_assert_eq(otlp_field_index(message, 1000), -1);
    cr_assert_eq(otlp_field_index(message, UINT32_MAX), -1);
    for (uint32_t number = 0; number < 20; number++) {
        int index = otlp_field_index(message, number);
        cr_assert(index == -1 || message->fields[index].id == number);
    }
}

Test(otlp_json, every_field_of_the_schema_is_of_a_known_type)
{
    for (int signal = 0; signal < WEIR_SIGNALS; signal++)
        check_message(otlp_requests[signal], 0);
}
