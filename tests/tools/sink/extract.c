// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/sink/extract.h"

#include "opentelemetry/proto/collector/logs/v1/logs_service.pb-c.h"
#include "opentelemetry/proto/collector/metrics/v1/metrics_service.pb-c.h"
#include "opentelemetry/proto/collector/profiles/v1development/profiles_service.pb-c.h"
#include "opentelemetry/proto/collector/trace/v1/trace_service.pb-c.h"
#include "proto/walk.h"
#include "tests/tools/common/payload.h"

typedef Opentelemetry__Proto__Common__V1__KeyValue key_value;
typedef Opentelemetry__Proto__Common__V1__AnyValue any_value;
typedef Opentelemetry__Proto__Resource__V1__Resource resource_message;
typedef Opentelemetry__Proto__Collector__Trace__V1__ExportTraceServiceRequest traces_request;
typedef Opentelemetry__Proto__Collector__Metrics__V1__ExportMetricsServiceRequest metrics_request;
typedef Opentelemetry__Proto__Collector__Logs__V1__ExportLogsServiceRequest logs_request;
typedef Opentelemetry__Proto__Collector__Profiles__V1development__ExportProfilesServiceRequest profiles_request;
typedef Opentelemetry__Proto__Metrics__V1__Metric metric_message;

struct visit {
    extract_fn each;
    void *ctx;
    const char *stream;
};

static const any_value *attribute(key_value **attributes, size_t count, const char *key)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(attributes[i]->key, key) == 0)
            return attributes[i]->value;
    }
    return NULL;
}

static void visit_resource(struct visit *visit, const resource_message *resource)
{
    const any_value *stream =
        resource ? attribute(resource->attributes, resource->n_attributes, PAYLOAD_STREAM_KEY) : NULL;
    bool text = stream && stream->value_case == OPENTELEMETRY__PROTO__COMMON__V1__ANY_VALUE__VALUE_STRING_VALUE;
    visit->stream = text ? stream->string_value : "";
}

static void visit_item(const struct visit *visit, key_value **attributes, size_t count)
{
    const any_value *id = attribute(attributes, count, PAYLOAD_ID_KEY);
    bool number = id && id->value_case == OPENTELEMETRY__PROTO__COMMON__V1__ANY_VALUE__VALUE_INT_VALUE;
    visit->each(visit->ctx, visit->stream, number && id->int_value >= 0 ? id->int_value : -1);
}

static bool visit_traces(struct visit *visit, struct weir_slice bytes)
{
    traces_request *request =
        opentelemetry__proto__collector__trace__v1__export_trace_service_request__unpack(NULL, bytes.len, bytes.data);
    for (size_t r = 0; request && r < request->n_resource_spans; r++) {
        Opentelemetry__Proto__Trace__V1__ResourceSpans *in = request->resource_spans[r];
        visit_resource(visit, in->resource);
        for (size_t s = 0; s < in->n_scope_spans; s++) {
            for (size_t i = 0; i < in->scope_spans[s]->n_spans; i++)
                visit_item(visit, in->scope_spans[s]->spans[i]->attributes, in->scope_spans[s]->spans[i]->n_attributes);
        }
    }
    if (request)
        opentelemetry__proto__collector__trace__v1__export_trace_service_request__free_unpacked(request, NULL);
    return request != NULL;
}

static bool visit_logs(struct visit *visit, struct weir_slice bytes)
{
    logs_request *request =
        opentelemetry__proto__collector__logs__v1__export_logs_service_request__unpack(NULL, bytes.len, bytes.data);
    for (size_t r = 0; request && r < request->n_resource_logs; r++) {
        Opentelemetry__Proto__Logs__V1__ResourceLogs *in = request->resource_logs[r];
        visit_resource(visit, in->resource);
        for (size_t s = 0; s < in->n_scope_logs; s++) {
            Opentelemetry__Proto__Logs__V1__ScopeLogs *scope = in->scope_logs[s];
            for (size_t i = 0; i < scope->n_log_records; i++)
                visit_item(visit, scope->log_records[i]->attributes, scope->log_records[i]->n_attributes);
        }
    }
    if (request)
        opentelemetry__proto__collector__logs__v1__export_logs_service_request__free_unpacked(request, NULL);
    return request != NULL;
}

// The five kinds of data points are different C types with the same members.
#define VISIT_POINTS(visit, data)                                                                                      \
    do {                                                                                                               \
        for (size_t p = 0; p < (data)->n_data_points; p++)                                                             \
            visit_item((visit), (data)->data_points[p]->attributes, (data)->data_points[p]->n_attributes);             \
    } while (0)

static void visit_metric(const struct visit *visit, const metric_message *metric)
{
    switch (metric->data_case) {
    case OPENTELEMETRY__PROTO__METRICS__V1__METRIC__DATA_GAUGE:
        VISIT_POINTS(visit, metric->gauge);
        break;
    case OPENTELEMETRY__PROTO__METRICS__V1__METRIC__DATA_SUM:
        VISIT_POINTS(visit, metric->sum);
        break;
    case OPENTELEMETRY__PROTO__METRICS__V1__METRIC__DATA_HISTOGRAM:
        VISIT_POINTS(visit, metric->histogram);
        break;
    case OPENTELEMETRY__PROTO__METRICS__V1__METRIC__DATA_EXPONENTIAL_HISTOGRAM:
        VISIT_POINTS(visit, metric->exponential_histogram);
        break;
    case OPENTELEMETRY__PROTO__METRICS__V1__METRIC__DATA_SUMMARY:
        VISIT_POINTS(visit, metric->summary);
        break;
    default: // no data: no item
        break;
    }
}

static bool visit_metrics(struct visit *visit, struct weir_slice bytes)
{
    metrics_request *request = opentelemetry__proto__collector__metrics__v1__export_metrics_service_request__unpack(
        NULL, bytes.len, bytes.data);
    for (size_t r = 0; request && r < request->n_resource_metrics; r++) {
        Opentelemetry__Proto__Metrics__V1__ResourceMetrics *in = request->resource_metrics[r];
        visit_resource(visit, in->resource);
        for (size_t s = 0; s < in->n_scope_metrics; s++) {
            for (size_t i = 0; i < in->scope_metrics[s]->n_metrics; i++)
                visit_metric(visit, in->scope_metrics[s]->metrics[i]);
        }
    }
    if (request)
        opentelemetry__proto__collector__metrics__v1__export_metrics_service_request__free_unpacked(request, NULL);
    return request != NULL;
}

// Profiles keep their attributes in the dictionary: counted, not numbered.
static bool visit_profiles(struct visit *visit, struct weir_slice bytes)
{
    profiles_request *request =
        opentelemetry__proto__collector__profiles__v1development__export_profiles_service_request__unpack(
            NULL, bytes.len, bytes.data);
    for (size_t r = 0; request && r < request->n_resource_profiles; r++) {
        Opentelemetry__Proto__Profiles__V1development__ResourceProfiles *in = request->resource_profiles[r];
        for (size_t s = 0; s < in->n_scope_profiles; s++) {
            for (size_t i = 0; i < in->scope_profiles[s]->n_profiles; i++)
                visit_item(visit, NULL, 0);
        }
    }
    if (request)
        opentelemetry__proto__collector__profiles__v1development__export_profiles_service_request__free_unpacked(
            request, NULL);
    return request != NULL;
}

int extract_items(enum weir_signal signal, struct weir_slice request, extract_fn each, void *ctx, struct weir_err *err)
{
    static bool (*const visitors[WEIR_SIGNALS])(struct visit *, struct weir_slice) = {[WEIR_TRACES] = visit_traces,
                                                                                      [WEIR_METRICS] = visit_metrics,
                                                                                      [WEIR_LOGS] = visit_logs,
                                                                                      [WEIR_PROFILES] = visit_profiles};
    struct otlp_walk_options options = {.pass_bad_utf8 = true};
    struct otlp_summary summary;
    int code = otlp_walk(signal, request.data, request.len, &options, &summary, err);
    if (code != WEIR_OK)
        return code;
    struct visit visit = {.each = each, .ctx = ctx, .stream = ""};
    if (!visitors[signal](&visit, request))
        return weir_fail(err, WEIR_E_INVALID, "protobuf-c cannot decode the request (%zu bytes)", request.len);
    return WEIR_OK;
}
