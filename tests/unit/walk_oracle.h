// SPDX-License-Identifier: Apache-2.0
// protobuf-c as the walker's oracle: what it sees in a request, and whether the two agree. Header-only: the unit test and the
// fuzz target share it.
#ifndef WEIR_TESTS_WALK_ORACLE_H
#define WEIR_TESTS_WALK_ORACLE_H

#include <stdio.h>

#include "proto/walk.h"
#include "proto/wire.h"
#include "tests/unit/random_otlp.h"

// --- what protobuf-c sees -------------------------------------------------------------------------------------------
struct seen {
    uint64_t resources, items, min_ns, max_ns;
};

static inline void see_time(struct seen *seen, uint64_t ns)
{
    if (ns != 0 && (seen->min_ns == 0 || ns < seen->min_ns))
        seen->min_ns = ns;
    if (ns > seen->max_ns)
        seen->max_ns = ns;
}

static inline void see_span(struct seen *seen, const Opentelemetry__Proto__Trace__V1__Span *span)
{
    seen->items++;
    see_time(seen, span->start_time_unix_nano);
    see_time(seen, span->end_time_unix_nano);
}

static inline void see_log(struct seen *seen, const Opentelemetry__Proto__Logs__V1__LogRecord *record)
{
    seen->items++;
    see_time(seen, record->time_unix_nano ? record->time_unix_nano : record->observed_time_unix_nano);
}

static inline void see_profile(struct seen *seen, const Opentelemetry__Proto__Profiles__V1development__Profile *profile)
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

static inline void see_metric(struct seen *seen, const Opentelemetry__Proto__Metrics__V1__Metric *metric)
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

static inline struct seen see(enum weir_signal signal, const ProtobufCMessage *message)
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
static inline bool repeats_a_member(struct weir_slice message, int level)
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
static inline bool merges_messages(struct weir_slice message, const ProtobufCMessageDescriptor *descriptor)
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

// --- the comparison -------------------------------------------------------------------------------------------------
// The walker refuses more than protobuf-c for these reasons alone.
static inline bool oracle_knows_reason(const char *text)
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

struct oracle {
    struct arena *arena;
    unsigned both, neither, walker_refused, merged_members, merge_failed;
    char complaint[600];
};

static inline bool oracle_complains(struct oracle *oracle, enum weir_signal signal, const char *what,
                                    const char *detail)
{
    snprintf(oracle->complaint, sizeof(oracle->complaint), "%s: %s%s", weir_signal_name(signal), what, detail);
    return false;
}

// Gives one request to both; false, with oracle->complaint, when they disagree in a way that is not known.
static inline bool oracle_agrees(struct oracle *oracle, enum weir_signal signal, const uint8_t *data, size_t len)
{
    struct otlp_summary summary;
    struct weir_err err = {0};
    int code = otlp_walk(signal, data, len, NULL, &summary, &err);
    if (code == WEIR_E_LIMIT) // protobuf-c would not refuse it: it would overflow its stack
        return true;
    const ProtobufCMessageDescriptor *descriptor = random_otlp_descriptors[signal];
    oracle->arena->used = 0;
    ProtobufCAllocator allocator = {arena_alloc, arena_free, oracle->arena};
    ProtobufCMessage *message = protobuf_c_message_unpack(descriptor, &allocator, len, data);
    if (code != WEIR_OK) {
        oracle->neither += message == NULL;
        oracle->walker_refused += message != NULL;
        return message == NULL || oracle_knows_reason(err.text) ||
               oracle_complains(oracle, signal, "only the walker refuses: ", err.text);
    }
    struct weir_slice bytes = {data, len};
    if (message == NULL) {
        oracle->merge_failed++;
        return merges_messages(bytes, descriptor) ||
               oracle_complains(oracle, signal, "the walker accepts what protobuf-c rejects", "");
    }
    oracle->both++;
    struct seen seen = see(signal, message);
    if (summary.resources != seen.resources)
        return oracle_complains(oracle, signal, "resources differ", "");
    if (signal == WEIR_METRICS && repeats_a_member(bytes, 0)) {
        oracle->merged_members++;
        return summary.items >= seen.items || oracle_complains(oracle, signal, "merging lost items", "");
    }
    if (summary.items != seen.items)
        return oracle_complains(oracle, signal, "items differ", "");
    if (summary.time_min_ns != seen.min_ns || summary.time_max_ns != seen.max_ns)
        return oracle_complains(oracle, signal, "times differ", "");
    return true;
}

#endif
