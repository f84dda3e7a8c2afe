// SPDX-License-Identifier: Apache-2.0
// Cutting requests between items, with protobuf-c as the oracle.
#include <criterion/criterion.h>

#include "proto/otlp_json.h"
#include "proto/wire.h"
#include "tests/unit/split_oracle.h"

#define SEED     UINT64_C(20261120)
#define REQUESTS 3000
#define CUTS_MAX 12

TestSuite(otlp_split, .timeout = 120);

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

// The first 0, the last `items`, no two alike.
static size_t random_cuts(struct random_otlp *rnd, uint64_t items, uint64_t cuts[CUTS_MAX])
{
    size_t count = rnd_below(rnd, CUTS_MAX - 1), kept = 1;
    cuts[0] = 0;
    for (size_t i = 1; i <= count; i++)
        cuts[i] = rnd_below(rnd, items);
    cuts[count + 1] = items;
    qsort(cuts, count + 2, sizeof(*cuts), by_size);
    for (size_t i = 1; i < count + 2; i++)
        if (cuts[i] != cuts[kept - 1])
            cuts[kept++] = cuts[i];
    return kept;
}

// An unknown field at the end of the request, and the request twice: what a sender may do.
static void embellish(struct random_otlp *rnd, struct weir_buf *request)
{
    if (rnd_below(rnd, 3) == 0)
        wire_put_bytes(request, 77, "newer", 5);
    if (rnd_below(rnd, 3) == 0) {
        cr_assert(weir_buf_reserve(request, request->len));
        cr_assert(weir_buf_append(request, request->data, request->len));
    }
}

Test(otlp_split, parts_hold_what_the_whole_did_by_protobuf_c_C7)
{
    const char *seed_text = getenv("WEIR_TEST_SEED");
    uint64_t seed = seed_text != NULL ? strtoull(seed_text, NULL, 0) : SEED;
    printf("otlp_split: WEIR_TEST_SEED=%llu\n", (unsigned long long)seed);
    unsigned cut_in_two = 0;
    for (int wild = 0; wild < 2; wild++) {
        struct random_otlp rnd = random_otlp_new(seed + (uint64_t)wild, wild == 1);
        for (int i = 0; i < REQUESTS; i++) {
            enum weir_signal signal = (enum weir_signal)(i % WEIR_SIGNALS);
            struct weir_buf request = {0};
            request.data = random_otlp_request(&rnd, signal, &request.len);
            request.cap = request.len;
            embellish(&rnd, &request);
            uint64_t items, cuts[CUTS_MAX];
            cr_assert_eq(otlp_split_count(signal, (struct weir_slice){request.data, request.len}, &items, NULL),
                         WEIR_OK);
            if (items > 0) {
                size_t count = random_cuts(&rnd, items, cuts);
                const char *complaint = split_complaint(&rnd.arena, signal, request.data, request.len, cuts, count);
                cr_assert_null(complaint, "seed %llu, request %d (%s, %llu items): %s", (unsigned long long)seed, i,
                               weir_signal_name(signal), (unsigned long long)items, complaint);
                cut_in_two += count > 2;
            }
            weir_buf_free(&request);
        }
        random_otlp_free(&rnd);
    }
    cr_expect_gt(cut_in_two, REQUESTS / 2);
}

// --- with an index ----------------------------------------------------------------------------------------------------------

// A resource, scope or metric without items here and there, and some twice: joined, cut off, and bytes that changed.
static void distort(struct random_otlp *rnd, struct weir_buf *request)
{
    static const uint8_t empty[] = {0x0a, 0x00, 0x0a, 0x02, 0x12, 0x00, 0x0a, 0x04, 0x12, 0x02, 0x12, 0x00};
    embellish(rnd, request);
    if (rnd_below(rnd, 3) == 0)
        cr_assert(weir_buf_append(request, empty, sizeof(empty)));
    if (rnd_below(rnd, 3) == 0) {
        struct weir_buf front = {0};
        cr_assert(weir_buf_append(&front, empty, sizeof(empty)));
        cr_assert(weir_buf_append(&front, request->data, request->len));
        weir_buf_free(request);
        *request = front;
    }
    if (rnd_below(rnd, 8) == 0 && request->len > 0)
        request->len -= rnd_below(rnd, request->len);
    for (uint64_t i = rnd_below(rnd, 8) == 0 ? 3 : 0; i > 0 && request->len > 0; i--)
        request->data[rnd_below(rnd, request->len)] ^= (uint8_t)(1u << rnd_below(rnd, 8));
}

Test(otlp_split, an_index_cuts_the_same_bytes_at_the_same_places_whatever_its_grain)
{
    const char *seed_text = getenv("WEIR_TEST_SEED"), *rounds_text = getenv("WEIR_TEST_ROUNDS");
    uint64_t seed = seed_text != NULL ? strtoull(seed_text, NULL, 0) : SEED;
    int rounds = rounds_text != NULL ? atoi(rounds_text) : REQUESTS;
    unsigned broken = 0, compared = 0;
    for (int wild = 0; wild < 2; wild++) {
        struct random_otlp rnd = random_otlp_new(seed + 10 + (uint64_t)wild, wild == 1);
        for (int i = 0; i < rounds; i++) {
            enum weir_signal signal = (enum weir_signal)(i % WEIR_SIGNALS);
            struct weir_buf request = {0};
            request.data = random_otlp_request(&rnd, signal, &request.len);
            request.cap = request.len;
            distort(&rnd, &request);
            struct weir_slice bytes = {request.data, request.len};
            uint64_t items = 0, cuts[CUTS_MAX] = {0};
            broken += otlp_split_count(signal, bytes, &items, NULL) != WEIR_OK;
            size_t count = items > 0 ? random_cuts(&rnd, items, cuts) : 2;
            for (size_t c = 0; c + 1 < count; c++) {
                size_t grain = (size_t)1 << rnd_below(&rnd, 12);
                uint64_t slack = rnd_below(&rnd, 1 + items / 2);
                const char *complaint = split_index_complaint(signal, bytes, grain, cuts[c], cuts[c + 1], slack);
                cr_assert_null(complaint, "seed %llu, request %d (%s, %llu items), grain %zu, [%llu, %llu): %s",
                               (unsigned long long)seed, i, weir_signal_name(signal), (unsigned long long)items, grain,
                               (unsigned long long)cuts[c], (unsigned long long)cuts[c + 1], complaint);
                compared++;
            }
            weir_buf_free(&request);
        }
        random_otlp_free(&rnd);
    }
    cr_expect_gt(broken, (unsigned)rounds / 20);
    cr_expect_gt(compared, (unsigned)rounds);
}

// --- by hand -------------------------------------------------------------------------------------------------------------

static void put_message(struct weir_buf *out, uint32_t number, struct weir_buf *content)
{
    cr_assert(wire_put_bytes(out, number, content->data, content->len));
    weir_buf_free(content);
}

// Points with flags 1, 2, 3 … from `flag` on, in a member with a temporality.
static void put_member(struct weir_buf *metric, uint32_t member, unsigned points, unsigned flag)
{
    struct weir_buf data = {0};
    for (unsigned i = 0; i < points; i++) {
        struct weir_buf point = {0};
        cr_assert(wire_put_varint(&point, 8, flag + i));
        put_message(&data, 1, &point);
    }
    cr_assert(wire_put_varint(&data, 2, 1 + flag % 2));
    cr_assert(wire_put_bytes(&data, 99, "odd", 3));
    put_message(metric, member, &data);
}

static void wrap_metric(struct weir_buf *request, struct weir_buf *metric)
{
    struct weir_buf scope = {0}, resource = {0};
    put_message(&scope, 2, metric);
    cr_assert(wire_put_bytes(&scope, 3, "scope-url", 9));
    put_message(&resource, 2, &scope);
    cr_assert(wire_put_bytes(&resource, 3, "url", 3));
    put_message(request, 1, &resource);
}

// A metric whose oneof changes its member holds the last member's points alone, and one that comes in pieces is merged (M3, M8).
Test(otlp_split, a_metric_is_cut_between_points_whatever_its_oneof_went_through_M3)
{
    struct weir_buf metric = {0}, request = {0};
    cr_assert(wire_put_bytes(&metric, 1, "requests", 8));
    put_member(&metric, 7, 3, 1); // a sum that a gauge overwrites
    put_member(&metric, 5, 2, 10);
    cr_assert(wire_put_bytes(&metric, 98, "between", 7));
    put_member(&metric, 7, 2, 20); // and a sum again, in two pieces
    cr_assert(wire_put_bytes(&metric, 3, "ms", 2));
    put_member(&metric, 7, 4, 30);
    wrap_metric(&request, &metric);
    uint64_t items;
    struct weir_slice whole = {request.data, request.len};
    cr_assert_eq(otlp_split_count(WEIR_METRICS, whole, &items, NULL), WEIR_OK);
    cr_assert_eq(items, 6);
    // Its points by their flags, and the last temporality. protobuf-c would not merge the pieces, the JSON writer does.
    static const char *const points[6] = {"20", "21", "30", "31", "32", "33"};
    for (uint64_t from = 0; from < 6; from++)
        for (uint64_t to = from + 1; to <= 6; to++) {
            struct weir_buf part = {0}, json = {0};
            struct otlp_json_account account = {0};
            char expected[600];
            int n = snprintf(
                expected, sizeof(expected),
                "{\"resourceMetrics\":[{\"scopeMetrics\":[{\"metrics\":[{\"name\":\"requests\",\"unit\":\"ms\","
                "\"sum\":{\"dataPoints\":[");
            for (uint64_t i = from; i < to; i++)
                n += snprintf(expected + n, sizeof(expected) - (size_t)n, "%s{\"flags\":%s}", i > from ? "," : "",
                              points[i]);
            snprintf(expected + n, sizeof(expected) - (size_t)n,
                     "],\"aggregationTemporality\":1}}],\"schemaUrl\":\"scope-url\"}],\"schemaUrl\":\"url\"}]}");
            cr_assert_eq(otlp_split_part(WEIR_METRICS, whole, from, to, &part, NULL), WEIR_OK);
            for (size_t grain = 1; grain < 100; grain += 3)
                cr_assert_null(split_index_complaint(WEIR_METRICS, whole, grain, from, to, 3));
            cr_assert_eq(
                otlp_json_write(WEIR_METRICS, (struct weir_slice){part.data, part.len}, 4096, &json, &account, NULL),
                WEIR_OK);
            cr_expect(json.len == strlen(expected) && memcmp(json.data, expected, json.len) == 0, "%.*s\nand not\n%s",
                      (int)json.len, json.data, expected);
            cr_expect_eq(account.unknown_fields, 3, "one between the members, one in each of the last two");
            weir_buf_free(&part);
            weir_buf_free(&json);
        }
    weir_buf_free(&request);
}

Test(otlp_split, broken_requests_are_an_error_and_leave_nothing)
{
    const uint8_t cut_off[] = {0x0a, 0x05, 0x12, 0x01};
    const uint8_t cut_inside[] = {0x0a, 0x04, 0x12, 0x02, 0x12, 0x07};
    struct weir_buf out = {0};
    uint64_t items;
    cr_expect_eq(otlp_split_count(WEIR_LOGS, (struct weir_slice){cut_off, sizeof(cut_off)}, &items, NULL),
                 WEIR_E_INVALID);
    cr_expect_eq(otlp_split_part(WEIR_LOGS, (struct weir_slice){cut_inside, sizeof(cut_inside)}, 0, 1, &out, NULL),
                 WEIR_E_INVALID);
    cr_expect_eq(out.len, 0);
    weir_buf_free(&out);
}

// `resources` of 2 scopes of 10 log records each.
static struct weir_buf logs_request(unsigned resources)
{
    struct weir_buf request = {0};
    for (unsigned r = 0; r < resources; r++) {
        struct weir_buf resource = {0};
        for (int s = 0; s < 2; s++) {
            struct weir_buf scope = {0};
            for (int i = 0; i < 10; i++)
                cr_assert(wire_put_bytes(&scope, 2, "\x10\x01", 2));
            put_message(&resource, 2, &scope);
        }
        put_message(&request, 1, &resource);
    }
    return request;
}

Test(otlp_split, the_coarsest_boundary_near_the_wanted_place_is_taken)
{
    struct weir_buf logs = logs_request(4);
    struct weir_slice request = {logs.data, logs.len};
    cr_expect_eq(otlp_split_boundary(WEIR_LOGS, request, 37, 5), 40, "a resource");
    cr_expect_eq(otlp_split_boundary(WEIR_LOGS, request, 33, 3), 30, "a scope");
    cr_expect_eq(otlp_split_boundary(WEIR_LOGS, request, 33, 10), 40, "a resource though a scope is nearer");
    cr_expect_eq(otlp_split_boundary(WEIR_LOGS, request, 35, 2), 35, "neither");
    weir_buf_free(&logs);
    struct weir_buf metrics = {0}, scope = {0}, resource = {0};
    for (int m = 0; m < 5; m++) {
        struct weir_buf metric = {0};
        put_member(&metric, 5, 4, 1);
        put_message(&scope, 2, &metric);
    }
    put_message(&resource, 2, &scope);
    put_message(&metrics, 1, &resource);
    cr_expect_eq(otlp_split_boundary(WEIR_METRICS, (struct weir_slice){metrics.data, metrics.len}, 10, 2), 8,
                 "a metric");
    weir_buf_free(&metrics);
}
