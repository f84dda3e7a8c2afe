// SPDX-License-Identifier: Apache-2.0
// protobuf-c as the oracle: real requests of all signals and tens of thousands of mutations of them.
#include <criterion/criterion.h>
#include <stdio.h>

#include "proto/walk.h"
#include "proto/wire.h"
#include "tests/unit/random_otlp.h"

#define SEED      UINT64_C(20240607)
#define MUTATIONS 160000

// --- what protobuf-c sees -------------------------------------------------------------------------------------------
struct seen {
    uint64_t resources, items, min_ns, max_ns;
};

static void see_time(struct seen *seen, uint64_t ns)
{
    if (ns != 0 && (seen->min_ns == 0 || ns < seen->min_ns))
        seen->min_ns = ns;
    if (ns > seen->max_ns)
        seen->max_ns = ns;
}

static void see_span(struct seen *seen, const Opentelemetry__Proto__Trace__V1__Span *span)
{
    seen->items++;
    see_time(seen, span->start_time_unix_nano);
    see_time(seen, span->end_time_unix_nano);
}

static void see_log(struct seen *seen, const Opentelemetry__Proto__Logs__V1__LogRecord *record)
{
    seen->items++;
    see_time(seen, record->time_unix_nano ? record->time_unix_nano : record->observed_time_unix_nano);
}

static void see_profile(struct seen *seen, const Opentelemetry__Proto__Profiles__V1development__Profile *profile)
{
    seen->items++;
    see_time(seen, profile->time_unix_nano);
}

#define SEE_POINTS(data)                                                                                               \
    do {                                                                                                               \
        seen->items += (data)->n_data_points;                                                                          \
        for (size_t i = 0; i < (data)->n_data_points; i++)                                                             \
            see_time(seen, (data)->data_points[i]->time_unix_nano);                                                    \
    } while (0)

static void see_metric(struct seen *seen, const Opentelemetry__Proto__Metrics__V1__Metric *metric)
{
    switch ((int)metric->data_case) {
    case MEMBER(GAUGE):
        SEE_POINTS(metric->gauge);
        break;
    case MEMBER(SUM):
        SEE_POINTS(metric->sum);
        break;
    case MEMBER(HISTOGRAM):
        SEE_POINTS(metric->histogram);
        break;
    case MEMBER(EXPONENTIAL_HISTOGRAM):
        SEE_POINTS(metric->exponential_histogram);
        break;
    case MEMBER(SUMMARY):
        SEE_POINTS(metric->summary);
        break;
    default:
        break;
    }
}

#define SEE_REQUEST(Type, resources_, scopes, items_, see)                                                             \
    do {                                                                                                               \
        const Type *request = (const Type *)message;                                                                   \
        seen.resources = request->n_##resources_;                                                                      \
        for (size_t r = 0; r < request->n_##resources_; r++)                                                           \
            for (size_t s = 0; s < request->resources_[r]->n_##scopes; s++)                                            \
                for (size_t k = 0; k < request->resources_[r]->scopes[s]->n_##items_; k++)                             \
                    see(&seen, request->resources_[r]->scopes[s]->items_[k]);                                          \
    } while (0)

static struct seen see(enum weir_signal signal, const ProtobufCMessage *message)
{
    struct seen seen = {0};
    switch (signal) {
    case WEIR_TRACES:
        SEE_REQUEST(Opentelemetry__Proto__Collector__Trace__V1__ExportTraceServiceRequest, resource_spans, scope_spans,
                    spans, see_span);
        break;
    case WEIR_METRICS:
        SEE_REQUEST(Opentelemetry__Proto__Collector__Metrics__V1__ExportMetricsServiceRequest, resource_metrics,
                    scope_metrics, metrics, see_metric);
        break;
    case WEIR_LOGS:
        SEE_REQUEST(Opentelemetry__Proto__Collector__Logs__V1__ExportLogsServiceRequest, resource_logs, scope_logs,
                    log_records, see_log);
        break;
    case WEIR_PROFILES:
        SEE_REQUEST(Opentelemetry__Proto__Collector__Profiles__V1development__ExportProfilesServiceRequest,
                    resource_profiles, scope_profiles, profiles, see_profile);
        break;
    }
    return seen;
}

// Whether a Metric holds one member of its oneof twice: protobuf merges the two (M3), protobuf-c 1.4 keeps the last alone.
static bool repeats_a_member(struct weir_slice message, int level)
{
    static const uint32_t path[] = {1, 2, 2};
    struct wire_reader reader = wire_reader_of(message);
    struct wire_field field;
    unsigned seen = 0;
    while (wire_next(&reader, &field) == 1) {
        if (level < 3 && field.number == path[level] && repeats_a_member(field.bytes, level + 1))
            return true;
        if (level == 3 && field.number <= 11 && field.number >= 5 && seen & 1u << field.number)
            return true;
        if (level == 3 && field.number <= 11)
            seen |= 1u << field.number;
    }
    return false;
}

// Whether a singular message field comes twice anywhere. protobuf merges the two (M8), and so does protobuf-c 1.4, but for a
// bug: where a oneof is unset in both (an AnyValue without a value, twice), its merge fails and it rejects the request.
static bool merges_messages(struct weir_slice message, const ProtobufCMessageDescriptor *descriptor)
{
    struct wire_reader reader = wire_reader_of(message);
    struct wire_field field;
    uint64_t seen = 0;
    while (wire_next(&reader, &field) == 1) {
        const ProtobufCFieldDescriptor *known = protobuf_c_message_descriptor_get_field(descriptor, field.number);
        if (known == NULL || known->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        uint64_t bit = UINT64_C(1) << field.number;
        if (known->label != PROTOBUF_C_LABEL_REPEATED && seen & bit)
            return true;
        seen |= bit;
        if (merges_messages(field.bytes, (const ProtobufCMessageDescriptor *)known->descriptor))
            return true;
    }
    return false;
}

// --- mutation -------------------------------------------------------------------------------------------------------
static void mutate_once(struct random_otlp *rnd, struct weir_buf *bytes)
{
    static const uint8_t telling[] = {0x00, 0x01, 0x02, 0x7f, 0x80, 0xff, 0x0a, 0x12, 0x1a, 0x2a, 0x3a, 0x4a};
    if (bytes->len == 0)
        return;
    size_t at = rnd_below(rnd, bytes->len), len = 1 + rnd_below(rnd, 24);
    if (len > bytes->len - at)
        len = bytes->len - at;
    uint8_t *p = bytes->data + at;
    switch (rnd_below(rnd, 8)) {
    case 0:
        *p ^= (uint8_t)(1u << rnd_below(rnd, 8));
        break;
    case 1:
        *p = (uint8_t)rnd_u64(rnd);
        break;
    case 2:
        *p = telling[rnd_below(rnd, WEIR_COUNT(telling))];
        break;
    case 3:
        bytes->len = at;
        break;
    case 4: // cut out
        memmove(p, p + len, bytes->len - at - len);
        bytes->len -= len;
        break;
    case 5: // repeat
        cr_assert(weir_buf_reserve(bytes, len));
        p = bytes->data + at;
        memmove(p + len, p, bytes->len - at);
        bytes->len += len;
        break;
    case 6: // copy elsewhere
        memmove(bytes->data + rnd_below(rnd, bytes->len - len + 1), p, len);
        break;
    default:
        *p = (uint8_t)(*p + (rnd_below(rnd, 2) ? 1 : -1));
        break;
    }
}

// The walker refuses more than protobuf-c for these reasons alone.
static bool reason_is_known(const char *text)
{
    static const char *const reasons[] = {": not UTF-8", ": neither 0 nor ", ": overlong tag", ": no valid tag",
                                          "a varint above 64 bits", "varint cut off or above 64 bits",
                                          ": packed length is no multiple of 8", ": cut off, overlong",
                                          // protobuf-c 1.4 reads a bool out of any wire type
                                          "bool_value: wrong wire type", "is_monotonic: wrong wire type"};
    for (size_t i = 0; i < WEIR_COUNT(reasons); i++)
        if (strstr(text, reasons[i]) != NULL)
            return true;
    return false;
}

struct outcome {
    unsigned both, neither, walker_refused, merged_members, merge_failed;
};

static void compare(enum weir_signal signal, struct weir_buf bytes, struct arena *arena, struct outcome *outcome)
{
    struct otlp_summary summary;
    struct weir_err err = {0};
    uint8_t *copy = (uint8_t *)malloc(bytes.len ? bytes.len : 1); // exact size, for the sanitizers
    cr_assert_not_null(copy);
    if (bytes.len > 0)
        memcpy(copy, bytes.data, bytes.len);
    int code = otlp_walk(signal, copy, bytes.len, NULL, &summary, &err);
    free(copy);
    if (code == WEIR_E_LIMIT) // would not only be refused by protobuf-c: it overflows its stack
        return;
    arena->used = 0;
    ProtobufCAllocator allocator = {arena_alloc, arena_free, arena};
    ProtobufCMessage *message =
        protobuf_c_message_unpack(random_otlp_descriptors[signal], &allocator, bytes.len, bytes.data);
    if (code != WEIR_OK) {
        cr_assert(message == NULL || reason_is_known(err.text), "%s: only the walker refuses: %s",
                  weir_signal_name(signal), err.text);
        outcome->neither += message == NULL;
        outcome->walker_refused += message != NULL;
        return;
    }
    struct weir_slice slice = {bytes.data, bytes.len};
    if (message == NULL && merges_messages(slice, random_otlp_descriptors[signal])) {
        outcome->merge_failed++;
        return;
    }
    cr_assert_not_null(message, "%s: the walker accepts what protobuf-c rejects", weir_signal_name(signal));
    outcome->both++;
    struct seen seen = see(signal, message);
    cr_assert_eq(summary.resources, seen.resources);
    if (signal == WEIR_METRICS && repeats_a_member(slice, 0)) {
        cr_assert_geq(summary.items, seen.items);
        outcome->merged_members++;
        return;
    }
    cr_assert_eq(summary.items, seen.items, "%s: %lu items, protobuf-c %lu", weir_signal_name(signal), summary.items,
                 seen.items);
    cr_assert_eq(summary.time_min_ns, seen.min_ns);
    cr_assert_eq(summary.time_max_ns, seen.max_ns);
}

Test(walk_oracle, agrees_with_protobuf_c_on_mutated_requests_M1_M2_M3)
{
    const char *seed_text = getenv("WEIR_TEST_SEED");
    uint64_t seed = seed_text != NULL ? strtoull(seed_text, NULL, 0) : SEED;
    printf("walk_oracle: WEIR_TEST_SEED=%llu\n", (unsigned long long)seed);
    struct random_otlp rnd = random_otlp_new(seed, true);
    struct outcome outcome = {0};
    struct weir_buf bytes = {0};
    for (int i = 0; i < MUTATIONS / 8; i++) {
        enum weir_signal signal = (enum weir_signal)(i % WEIR_SIGNALS);
        size_t len;
        uint8_t *request = random_otlp_request(&rnd, signal, &len);
        unsigned both = outcome.both;
        compare(signal, (struct weir_buf){request, len, len}, &rnd.arena, &outcome);
        cr_assert_eq(outcome.both, both + 1, "an unchanged request is accepted");
        for (int k = 0; k < 8; k++) {
            bytes.len = 0;
            cr_assert(weir_buf_append(&bytes, request, len));
            for (size_t n = 1 + rnd_below(&rnd, 3); n > 0; n--)
                mutate_once(&rnd, &bytes);
            compare(signal, bytes, &rnd.arena, &outcome);
        }
        free(request);
    }
    printf("walk_oracle: %u accepted by both, %u by neither, %u refused by the walker alone, %u with merged members, "
           "%u that protobuf-c cannot merge\n",
           outcome.both, outcome.neither, outcome.walker_refused, outcome.merged_members, outcome.merge_failed);
    cr_assert_gt(outcome.both, MUTATIONS / 4);
    cr_assert_lt(outcome.merge_failed, MUTATIONS / 1000);
    cr_assert_gt(outcome.neither, MUTATIONS / 8);
    weir_buf_free(&bytes);
    random_otlp_free(&rnd);
}

// --- the walker's tables against the schema -------------------------------------------------------------------------
#include "proto/walk_tables.h"

static enum walk_kind expected_kind(const ProtobufCFieldDescriptor *field)
{
    bool repeated = field->label == PROTOBUF_C_LABEL_REPEATED;
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
        return WALK_STRING;
    case PROTOBUF_C_TYPE_BYTES:
        return WALK_BYTES;
    case PROTOBUF_C_TYPE_MESSAGE:
        return strstr(((const ProtobufCMessageDescriptor *)field->descriptor)->name, ".KeyValue") != NULL &&
                       strstr(((const ProtobufCMessageDescriptor *)field->descriptor)->name, ".KeyValueList") == NULL &&
                       strstr(((const ProtobufCMessageDescriptor *)field->descriptor)->name, "AndUnit") == NULL
                   ? WALK_ATTRIBUTE
                   : WALK_MESSAGE;
    case PROTOBUF_C_TYPE_FIXED32:
        return WALK_FIXED32;
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return repeated ? WALK_PACKED_FIXED64 : WALK_FIXED64;
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return WALK_UNKNOWN; // OTLP has none, and the tables no kind for them
    default:
        return repeated ? WALK_PACKED_VARINT : WALK_VARINT;
    }
}

static void compare_table(const struct walk_message *table, const ProtobufCMessageDescriptor *descriptor, int depth)
{
    unsigned rows = 0;
    for (uint32_t n = 1; n < WALK_FIELDS; n++)
        rows += table->fields[n].tag != 0;
    cr_expect_eq(rows, descriptor->n_fields, "%s: %u rows, %u fields", descriptor->name, rows, descriptor->n_fields);
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        cr_assert_lt(field->id, WALK_FIELDS, "%s.%s", descriptor->name, field->name);
        const struct walk_field *row = &table->fields[field->id];
        enum walk_kind kind = row->kind == WALK_TIME ? WALK_FIXED64 : (enum walk_kind)row->kind;
        cr_expect_eq(row->tag >> 3, field->id, "%s.%s", descriptor->name, field->name);
        cr_assert_not_null(row->name, "%s.%s", descriptor->name, field->name);
        cr_expect_str_eq(row->name, field->name, "%s", descriptor->name);
        cr_expect_eq(kind, expected_kind(field), "%s.%s: kind %d", descriptor->name, field->name, kind);
        cr_expect_eq(row->repeated, field->label == PROTOBUF_C_LABEL_REPEATED, "%s.%s", descriptor->name, field->name);
        bool id = strstr(field->name, "trace_id") != NULL || strstr(field->name, "span_id") != NULL;
        if (kind == WALK_BYTES)
            cr_expect_eq(row->size,
                         !id                               ? 0
                         : strstr(field->name, "trace_id") ? 16
                                                           : 8,
                         "%s.%s", descriptor->name, field->name);
        if (field->type == PROTOBUF_C_TYPE_MESSAGE && depth > 0)
            compare_table(row->child, (const ProtobufCMessageDescriptor *)field->descriptor, depth - 1);
    }
}

Test(walk_oracle, tables_hold_what_the_schema_says)
{
    for (int signal = 0; signal < WEIR_SIGNALS; signal++)
        compare_table(walk_requests[signal], random_otlp_descriptors[signal], 10);
}
