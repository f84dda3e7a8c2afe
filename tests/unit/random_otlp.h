// SPDX-License-Identifier: Apache-2.0
// Random OTLP requests, built as protobuf-c trees from a seed: the same seed gives the same bytes. `wild` ones use every
// field, nest values and leave the ASCII range; tame ones look like what SDKs send. Header-only: tests and benches share it.
#ifndef WEIR_TESTS_RANDOM_OTLP_H
#define WEIR_TESTS_RANDOM_OTLP_H

#include "opentelemetry/proto/collector/logs/v1/logs_service.pb-c.h"
#include "opentelemetry/proto/collector/metrics/v1/metrics_service.pb-c.h"
#include "opentelemetry/proto/collector/profiles/v1development/profiles_service.pb-c.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.pb-c.h"
#include "proto/base.h"

// --- arena: memory for trees, given back all at once ----------------------------------------------------------------
struct arena {
    uint8_t *data;
    size_t used;
    size_t cap;
};

static inline void *arena_alloc(void *arena_, size_t len)
{
    struct arena *arena = (struct arena *)arena_;
    size_t at = (arena->used + 15) & ~(size_t)15;
    if (len > arena->cap || at > arena->cap - len)
        return NULL;
    arena->used = at + len;
    return arena->data + at;
}

static inline void arena_free(void *arena, void *data)
{
}

// --- numbers --------------------------------------------------------------------------------------------------------
struct random_otlp {
    uint64_t state;
    bool wild;
    struct arena arena;
};

static inline struct random_otlp random_otlp_new(uint64_t seed, bool wild)
{
    size_t cap = (size_t)16 << 20;
    struct random_otlp rnd = {.state = seed, .wild = wild, .arena = {.data = (uint8_t *)malloc(cap), .cap = cap}};
    assert(rnd.arena.data != NULL);
    return rnd;
}

static inline void random_otlp_free(struct random_otlp *rnd)
{
    free(rnd->arena.data);
}

static inline uint64_t rnd_u64(struct random_otlp *rnd) // splitmix64
{
    uint64_t z = rnd->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static inline size_t rnd_below(struct random_otlp *rnd, size_t n)
{
    return rnd_u64(rnd) % n;
}

static inline bool rnd_wild(struct random_otlp *rnd, unsigned one_in)
{
    return rnd->wild && rnd_below(rnd, one_in) == 0;
}

// Of any magnitude: varints of every length. (Two draws in one expression would have no fixed order.)
static inline uint64_t rnd_skewed(struct random_otlp *rnd)
{
    uint64_t value = rnd_u64(rnd);
    return value >> rnd_below(rnd, 64);
}

static inline uint64_t rnd_time(struct random_otlp *rnd)
{
    return rnd_wild(rnd, 6) ? 0 : UINT64_C(1732085549000000000) + rnd_below(rnd, 1000000000);
}

static inline void *rnd_alloc(struct random_otlp *rnd, size_t len)
{
    void *data = arena_alloc(&rnd->arena, len ? len : 1);
    assert(data != NULL);
    return data;
}

static inline char *rnd_text(struct random_otlp *rnd, const char *const *list, size_t count)
{
    return (char *)(uintptr_t)list[rnd_below(rnd, count)];
}

static inline char *rnd_key(struct random_otlp *rnd)
{
    static const char *const keys[] = {"http.request.method",
                                       "url.full",
                                       "http.response.status_code",
                                       "server.address",
                                       "network.protocol.version",
                                       "thread.id",
                                       "user_agent.original",
                                       "db.system",
                                       "k8s.pod.name",
                                       "weir.test.id"};
    static const char *const odd[] = {"", "größe", "鍵", "a", "emoji.🦫"};
    return rnd_wild(rnd, 8) ? rnd_text(rnd, odd, WEIR_COUNT(odd)) : rnd_text(rnd, keys, WEIR_COUNT(keys));
}

// Its length takes two bytes on the wire.
#define RND_LONG                                                                                                       \
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789 and on and " \
    "on and on"
static inline char *rnd_string(struct random_otlp *rnd)
{
    static const char *const words[] = {"GET",
                                        "https://shop.example.com/api/v1/cart/items?id=4711&currency=EUR",
                                        "checkout-7d9f8b6c5-x2x9v",
                                        "1.1",
                                        "postgresql",
                                        "Mozilla/5.0 (X11; Linux)",
                                        "SELECT * FROM carts WHERE id = $1",
                                        "eu-central-1",
                                        "10.42.0.17"};
    static const char *const odd[] = {"", "Straße 7, München", "日本語のログ", "\x7f", "🦫🦫🦫🦫", RND_LONG};
    return rnd_wild(rnd, 4) ? rnd_text(rnd, odd, WEIR_COUNT(odd)) : rnd_text(rnd, words, WEIR_COUNT(words));
}

static inline ProtobufCBinaryData rnd_bytes(struct random_otlp *rnd, size_t len)
{
    ProtobufCBinaryData bytes = {len, (uint8_t *)rnd_alloc(rnd, len)};
    for (size_t i = 0; i < len; i++)
        bytes.data[i] = (uint8_t)rnd_u64(rnd);
    return bytes;
}

static inline ProtobufCBinaryData rnd_id(struct random_otlp *rnd, size_t len)
{
    return rnd_wild(rnd, 6) ? (ProtobufCBinaryData){0} : rnd_bytes(rnd, len);
}

#define RND_NEW(var, Type, init)                                                                                       \
    Type *var = (Type *)rnd_alloc(rnd, sizeof(Type));                                                                  \
    init(var)
// Fills a repeated message field with `count` results of `make`.
#define RND_FILL(message, field, count, make)                                                                          \
    do {                                                                                                               \
        (message)->n_##field = (count);                                                                                \
        (message)->field = rnd_alloc(rnd, (message)->n_##field * sizeof(*(message)->field));                           \
        for (size_t i_ = 0; i_ < (message)->n_##field; i_++)                                                           \
            (message)->field[i_] = (make);                                                                             \
    } while (0)

// --- common ---------------------------------------------------------------------------------------------------------
typedef Opentelemetry__Proto__Common__V1__KeyValue RndKeyValue;
typedef Opentelemetry__Proto__Common__V1__AnyValue RndAnyValue;
#define COMMON(name) opentelemetry__proto__common__v1__##name
#define VALUE(name)  OPENTELEMETRY__PROTO__COMMON__V1__ANY_VALUE__VALUE_##name

static inline RndKeyValue *rnd_attribute(struct random_otlp *rnd, unsigned depth);
static inline RndAnyValue *rnd_value(struct random_otlp *rnd, unsigned depth)
{
    RND_NEW(value, RndAnyValue, COMMON(any_value__init));
    size_t kind = rnd_below(rnd, rnd->wild ? (depth < 6 ? 9 : 6) : 10);
    if (!rnd->wild)
        kind = kind < 7 ? 0 : kind - 6;
    switch (kind) {
    case 0:
        value->value_case = VALUE(STRING_VALUE);
        value->string_value = rnd_string(rnd);
        break;
    case 1:
        value->value_case = VALUE(INT_VALUE);
        value->int_value = (int64_t)(rnd_skewed(rnd));
        break;
    case 2:
        value->value_case = VALUE(BOOL_VALUE);
        value->bool_value = rnd_below(rnd, 2);
        break;
    case 3:
        value->value_case = VALUE(DOUBLE_VALUE);
        value->double_value = (double)rnd_below(rnd, 1000000) / 7;
        break;
    case 4:
        value->value_case = VALUE(BYTES_VALUE);
        value->bytes_value = rnd_bytes(rnd, rnd_below(rnd, 200));
        break;
    case 5:
        break;
    case 6:
        value->value_case = VALUE(STRING_VALUE_STRINDEX);
        value->string_value_strindex = -1;
        break;
    case 7: {
        RND_NEW(array, Opentelemetry__Proto__Common__V1__ArrayValue, COMMON(array_value__init));
        value->value_case = VALUE(ARRAY_VALUE);
        value->array_value = array;
        RND_FILL(array, values, rnd_below(rnd, 3), rnd_value(rnd, depth + 1));
        break;
    }
    default: {
        RND_NEW(list, Opentelemetry__Proto__Common__V1__KeyValueList, COMMON(key_value_list__init));
        value->value_case = VALUE(KVLIST_VALUE);
        value->kvlist_value = list;
        RND_FILL(list, values, rnd_below(rnd, 3), rnd_attribute(rnd, depth + 1));
        break;
    }
    }
    return value;
}

static inline RndKeyValue *rnd_attribute(struct random_otlp *rnd, unsigned depth)
{
    RND_NEW(attribute, RndKeyValue, COMMON(key_value__init));
    attribute->key = rnd_key(rnd);
    if (!rnd_wild(rnd, 10))
        attribute->value = rnd_value(rnd, depth);
    return attribute;
}
#define RND_ATTRIBUTES(message, field, tame)                                                                           \
    RND_FILL(message, field, rnd->wild ? rnd_below(rnd, 3) : (tame), rnd_attribute(rnd, 0))

static inline Opentelemetry__Proto__Resource__V1__Resource *rnd_resource(struct random_otlp *rnd)
{
    RND_NEW(resource, Opentelemetry__Proto__Resource__V1__Resource, opentelemetry__proto__resource__v1__resource__init);
    RND_ATTRIBUTES(resource, attributes, 12);
    return resource;
}

static inline Opentelemetry__Proto__Common__V1__InstrumentationScope *rnd_scope(struct random_otlp *rnd)
{
    RND_NEW(scope, Opentelemetry__Proto__Common__V1__InstrumentationScope, COMMON(instrumentation_scope__init));
    scope->name = (char *)(uintptr_t) "@opentelemetry/instrumentation-http";
    scope->version = (char *)(uintptr_t) "0.52.1";
    RND_ATTRIBUTES(scope, attributes, 0);
    return scope;
}

// --- traces ---------------------------------------------------------------------------------------------------------
#define TRACE(name) opentelemetry__proto__trace__v1__##name
static inline Opentelemetry__Proto__Trace__V1__Span__Event *rnd_event(struct random_otlp *rnd)
{
    RND_NEW(event, Opentelemetry__Proto__Trace__V1__Span__Event, TRACE(span__event__init));
    event->time_unix_nano = rnd_time(rnd);
    event->name = rnd_key(rnd);
    RND_ATTRIBUTES(event, attributes, 2);
    return event;
}

static inline Opentelemetry__Proto__Trace__V1__Span__Link *rnd_link(struct random_otlp *rnd)
{
    RND_NEW(link, Opentelemetry__Proto__Trace__V1__Span__Link, TRACE(span__link__init));
    link->trace_id = rnd_id(rnd, 16);
    link->span_id = rnd_id(rnd, 8);
    link->flags = 257;
    RND_ATTRIBUTES(link, attributes, 1);
    return link;
}

static inline Opentelemetry__Proto__Trace__V1__Span *rnd_span(struct random_otlp *rnd)
{
    RND_NEW(span, Opentelemetry__Proto__Trace__V1__Span, TRACE(span__init));
    span->trace_id = rnd_id(rnd, 16);
    span->span_id = rnd_id(rnd, 8);
    span->parent_span_id = rnd_id(rnd, 8);
    span->name = rnd_string(rnd);
    span->kind = (Opentelemetry__Proto__Trace__V1__Span__SpanKind)rnd_below(rnd, 6);
    span->start_time_unix_nano = rnd_time(rnd);
    span->end_time_unix_nano = rnd_time(rnd);
    span->flags = rnd_below(rnd, 2) ? 257 : 0;
    RND_ATTRIBUTES(span, attributes, 8);
    RND_FILL(span, events, rnd_below(rnd, 2), rnd_event(rnd));
    RND_FILL(span, links, rnd_wild(rnd, 3), rnd_link(rnd));
    RND_NEW(status, Opentelemetry__Proto__Trace__V1__Status, TRACE(status__init));
    status->code = (Opentelemetry__Proto__Trace__V1__Status__StatusCode)rnd_below(rnd, 3);
    span->status = status;
    return span;
}

// --- metrics --------------------------------------------------------------------------------------------------------
#define METRICS(name) opentelemetry__proto__metrics__v1__##name
#define MEMBER(name)  OPENTELEMETRY__PROTO__METRICS__V1__METRIC__DATA_##name

static inline Opentelemetry__Proto__Metrics__V1__Exemplar *rnd_exemplar(struct random_otlp *rnd)
{
    RND_NEW(exemplar, Opentelemetry__Proto__Metrics__V1__Exemplar, METRICS(exemplar__init));
    exemplar->time_unix_nano = rnd_time(rnd);
    exemplar->trace_id = rnd_id(rnd, 16);
    exemplar->span_id = rnd_id(rnd, 8);
    RND_ATTRIBUTES(exemplar, filtered_attributes, 0);
    return exemplar;
}

static inline Opentelemetry__Proto__Metrics__V1__NumberDataPoint *rnd_number(struct random_otlp *rnd)
{
    RND_NEW(point, Opentelemetry__Proto__Metrics__V1__NumberDataPoint, METRICS(number_data_point__init));
    point->start_time_unix_nano = rnd_time(rnd);
    point->time_unix_nano = rnd_time(rnd);
    point->value_case = OPENTELEMETRY__PROTO__METRICS__V1__NUMBER_DATA_POINT__VALUE_AS_INT;
    point->as_int = (int64_t)rnd_below(rnd, 100000);
    RND_ATTRIBUTES(point, attributes, 4);
    RND_FILL(point, exemplars, rnd_wild(rnd, 3), rnd_exemplar(rnd));
    return point;
}

static inline Opentelemetry__Proto__Metrics__V1__HistogramDataPoint *rnd_histogram(struct random_otlp *rnd)
{
    RND_NEW(point, Opentelemetry__Proto__Metrics__V1__HistogramDataPoint, METRICS(histogram_data_point__init));
    point->start_time_unix_nano = rnd_time(rnd);
    point->time_unix_nano = rnd_time(rnd);
    point->count = rnd_below(rnd, 1000);
    point->_sum_case = OPENTELEMETRY__PROTO__METRICS__V1__HISTOGRAM_DATA_POINT___SUM_SUM;
    point->sum = 12.5;
    RND_ATTRIBUTES(point, attributes, 4);
    RND_FILL(point, bucket_counts, 15, rnd_below(rnd, 99));
    RND_FILL(point, explicit_bounds, 14, 5.0 * (double)i_);
    RND_FILL(point, exemplars, rnd_wild(rnd, 3), rnd_exemplar(rnd));
    return point;
}

static inline Opentelemetry__Proto__Metrics__V1__ExponentialHistogramDataPoint *rnd_exponential(struct random_otlp *rnd)
{
    RND_NEW(point, Opentelemetry__Proto__Metrics__V1__ExponentialHistogramDataPoint,
            METRICS(exponential_histogram_data_point__init));
    RND_NEW(buckets, Opentelemetry__Proto__Metrics__V1__ExponentialHistogramDataPoint__Buckets,
            METRICS(exponential_histogram_data_point__buckets__init));
    point->time_unix_nano = rnd_time(rnd);
    point->scale = -3;
    point->zero_threshold = 1e-9;
    point->positive = buckets;
    buckets->offset = -17;
    RND_FILL(buckets, bucket_counts, 40, rnd->wild ? rnd_skewed(rnd) : rnd_below(rnd, 300));
    RND_ATTRIBUTES(point, attributes, 4);
    return point;
}

static inline Opentelemetry__Proto__Metrics__V1__SummaryDataPoint__ValueAtQuantile *
rnd_quantile(struct random_otlp *rnd)
{
    RND_NEW(at, Opentelemetry__Proto__Metrics__V1__SummaryDataPoint__ValueAtQuantile,
            METRICS(summary_data_point__value_at_quantile__init));
    at->quantile = 0.99;
    at->value = (double)rnd_below(rnd, 500);
    return at;
}

static inline Opentelemetry__Proto__Metrics__V1__SummaryDataPoint *rnd_summary(struct random_otlp *rnd)
{
    RND_NEW(point, Opentelemetry__Proto__Metrics__V1__SummaryDataPoint, METRICS(summary_data_point__init));
    point->time_unix_nano = rnd_time(rnd);
    RND_FILL(point, quantile_values, 4, rnd_quantile(rnd));
    RND_ATTRIBUTES(point, attributes, 4);
    return point;
}

#define RND_MEMBER(metric, field, CASE, Type, init, make)                                                              \
    do {                                                                                                               \
        RND_NEW(data, Type, init);                                                                                     \
        (metric)->data_case = MEMBER(CASE);                                                                            \
        (metric)->field = data;                                                                                        \
        RND_FILL(data, data_points, rnd_below(rnd, 8), make(rnd));                                                     \
    } while (0)

static inline Opentelemetry__Proto__Metrics__V1__Metric *rnd_metric(struct random_otlp *rnd)
{
    RND_NEW(metric, Opentelemetry__Proto__Metrics__V1__Metric, METRICS(metric__init));
    metric->name = rnd_key(rnd);
    metric->description = rnd_string(rnd);
    metric->unit = (char *)(uintptr_t) "ms";
    switch (rnd_below(rnd, rnd->wild ? 6 : 5)) {
    case 0:
        RND_MEMBER(metric, gauge, GAUGE, Opentelemetry__Proto__Metrics__V1__Gauge, METRICS(gauge__init), rnd_number);
        break;
    case 1:
        RND_MEMBER(metric, sum, SUM, Opentelemetry__Proto__Metrics__V1__Sum, METRICS(sum__init), rnd_number);
        metric->sum->is_monotonic = 1;
        break;
    case 2:
        RND_MEMBER(metric, histogram, HISTOGRAM, Opentelemetry__Proto__Metrics__V1__Histogram, METRICS(histogram__init),
                   rnd_histogram);
        break;
    case 3:
        RND_MEMBER(metric, exponential_histogram, EXPONENTIAL_HISTOGRAM,
                   Opentelemetry__Proto__Metrics__V1__ExponentialHistogram, METRICS(exponential_histogram__init),
                   rnd_exponential);
        break;
    case 4:
        RND_MEMBER(metric, summary, SUMMARY, Opentelemetry__Proto__Metrics__V1__Summary, METRICS(summary__init),
                   rnd_summary);
        break;
    default:
        break;
    }
    return metric;
}

// --- logs -----------------------------------------------------------------------------------------------------------
#define LOGS(name) opentelemetry__proto__logs__v1__##name
static inline Opentelemetry__Proto__Logs__V1__LogRecord *rnd_log(struct random_otlp *rnd)
{
    RND_NEW(record, Opentelemetry__Proto__Logs__V1__LogRecord, LOGS(log_record__init));
    record->time_unix_nano = rnd_time(rnd);
    record->observed_time_unix_nano = rnd_time(rnd);
    record->severity_number = (Opentelemetry__Proto__Logs__V1__SeverityNumber)rnd_below(rnd, 25);
    record->severity_text = (char *)(uintptr_t) "INFO";
    record->body = rnd_value(rnd, 0);
    record->trace_id = rnd_id(rnd, 16);
    record->span_id = rnd_id(rnd, 8);
    RND_ATTRIBUTES(record, attributes, 6);
    return record;
}

// --- profiles -------------------------------------------------------------------------------------------------------
#define PROFILES(name) opentelemetry__proto__profiles__v1development__##name
static inline Opentelemetry__Proto__Profiles__V1development__Sample *rnd_sample(struct random_otlp *rnd)
{
    RND_NEW(sample, Opentelemetry__Proto__Profiles__V1development__Sample, PROFILES(sample__init));
    sample->stack_index = (int32_t)rnd_below(rnd, 5);
    RND_FILL(sample, attribute_indices, 2, (int32_t)rnd_below(rnd, 300));
    RND_FILL(sample, values, 3, (int64_t)(rnd_skewed(rnd)));
    RND_FILL(sample, timestamps_unix_nano, rnd_below(rnd, 4), rnd_time(rnd));
    return sample;
}

static inline Opentelemetry__Proto__Profiles__V1development__Profile *rnd_profile(struct random_otlp *rnd)
{
    RND_NEW(profile, Opentelemetry__Proto__Profiles__V1development__Profile, PROFILES(profile__init));
    profile->time_unix_nano = rnd_time(rnd);
    profile->duration_nano = 1000000;
    profile->profile_id = rnd_id(rnd, 16);
    profile->original_payload = rnd_bytes(rnd, rnd_below(rnd, 30));
    RND_FILL(profile, samples, rnd_below(rnd, 4), rnd_sample(rnd));
    return profile;
}

static inline Opentelemetry__Proto__Profiles__V1development__Link *rnd_profile_link(struct random_otlp *rnd)
{
    RND_NEW(link, Opentelemetry__Proto__Profiles__V1development__Link, PROFILES(link__init));
    link->trace_id = rnd_id(rnd, 16);
    link->span_id = rnd_id(rnd, 8);
    return link;
}

static inline Opentelemetry__Proto__Profiles__V1development__ProfilesDictionary *rnd_dictionary(struct random_otlp *rnd)
{
    RND_NEW(dictionary, Opentelemetry__Proto__Profiles__V1development__ProfilesDictionary,
            PROFILES(profiles_dictionary__init));
    RND_FILL(dictionary, string_table, 5, rnd_string(rnd));
    RND_FILL(dictionary, link_table, 2, rnd_profile_link(rnd));
    return dictionary;
}

// --- requests -------------------------------------------------------------------------------------------------------
// Resource and scope levels have the same shape in all signals.
#define RND_SIGNAL(Signal, NS, Scopes, scopes_, scopes, Resources, resources_, items, tame, make)                      \
    static inline Scopes *rnd_##scopes(struct random_otlp *rnd)                                                        \
    {                                                                                                                  \
        RND_NEW(message, Scopes, NS(scopes_##__init));                                                                 \
        message->scope = rnd_scope(rnd);                                                                               \
        RND_FILL(message, items, rnd->wild ? rnd_below(rnd, 4) : (tame), make(rnd));                                   \
        return message;                                                                                                \
    }                                                                                                                  \
    static inline Resources *rnd_##resources_(struct random_otlp *rnd)                                                 \
    {                                                                                                                  \
        RND_NEW(message, Resources, NS(resources_##__init));                                                           \
        message->resource = rnd_resource(rnd);                                                                         \
        RND_FILL(message, scopes, rnd->wild ? rnd_below(rnd, 3) : 1, rnd_##scopes(rnd));                               \
        return message;                                                                                                \
    }

RND_SIGNAL(traces, TRACE, Opentelemetry__Proto__Trace__V1__ScopeSpans, scope_spans, scope_spans,
           Opentelemetry__Proto__Trace__V1__ResourceSpans, resource_spans, spans, 50, rnd_span)
RND_SIGNAL(metrics, METRICS, Opentelemetry__Proto__Metrics__V1__ScopeMetrics, scope_metrics, scope_metrics,
           Opentelemetry__Proto__Metrics__V1__ResourceMetrics, resource_metrics, metrics, 20, rnd_metric)
RND_SIGNAL(logs, LOGS, Opentelemetry__Proto__Logs__V1__ScopeLogs, scope_logs, scope_logs,
           Opentelemetry__Proto__Logs__V1__ResourceLogs, resource_logs, log_records, 50, rnd_log)
RND_SIGNAL(profiles, PROFILES, Opentelemetry__Proto__Profiles__V1development__ScopeProfiles, scope_profiles,
           scope_profiles, Opentelemetry__Proto__Profiles__V1development__ResourceProfiles, resource_profiles, profiles,
           5, rnd_profile)

static const ProtobufCMessageDescriptor *const random_otlp_descriptors[WEIR_SIGNALS] = {
    &opentelemetry__proto__collector__trace__v1__export_trace_service_request__descriptor,
    &opentelemetry__proto__collector__metrics__v1__export_metrics_service_request__descriptor,
    &opentelemetry__proto__collector__logs__v1__export_logs_service_request__descriptor,
    &opentelemetry__proto__collector__profiles__v1development__export_profiles_service_request__descriptor,
};

// One serialized request, malloc'ed; the caller frees it.
static inline uint8_t *random_otlp_request(struct random_otlp *rnd, enum weir_signal signal, size_t *len)
{
    union {
        ProtobufCMessage base;
        Opentelemetry__Proto__Collector__Trace__V1__ExportTraceServiceRequest traces;
        Opentelemetry__Proto__Collector__Metrics__V1__ExportMetricsServiceRequest metrics;
        Opentelemetry__Proto__Collector__Logs__V1__ExportLogsServiceRequest logs;
        Opentelemetry__Proto__Collector__Profiles__V1development__ExportProfilesServiceRequest profiles;
    } request;
    rnd->arena.used = 0;
    protobuf_c_message_init(random_otlp_descriptors[signal], &request.base);
    size_t count = rnd->wild ? rnd_below(rnd, 4) : 1;
    if (signal == WEIR_TRACES)
        RND_FILL(&request.traces, resource_spans, count, rnd_resource_spans(rnd));
    else if (signal == WEIR_METRICS)
        RND_FILL(&request.metrics, resource_metrics, count, rnd_resource_metrics(rnd));
    else if (signal == WEIR_LOGS)
        RND_FILL(&request.logs, resource_logs, count, rnd_resource_logs(rnd));
    else {
        RND_FILL(&request.profiles, resource_profiles, count, rnd_resource_profiles(rnd));
        request.profiles.dictionary = rnd_dictionary(rnd);
    }
    *len = protobuf_c_message_get_packed_size(&request.base);
    uint8_t *bytes = (uint8_t *)malloc(*len ? *len : 1);
    assert(bytes != NULL);
    protobuf_c_message_pack(&request.base, bytes);
    return bytes;
}

#endif
