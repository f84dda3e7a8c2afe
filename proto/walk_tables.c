// SPDX-License-Identifier: Apache-2.0
// The rows follow OTLP's message definitions, file by file; the schema next door is the same in protobuf's language,
// and a test compares the two.
#include "proto/walk_tables.h"

#include "proto/wire.h"

#define ROW(n, type, ...)   [n] = {.tag = WIRE_TAG(n, type), __VA_ARGS__}
#define VARINT(n, s)        ROW(n, WIRE_VARINT, .name = s, .kind = WALK_VARINT)
#define FIXED32(n, s)       ROW(n, WIRE_FIXED32, .name = s, .kind = WALK_FIXED32)
#define FIXED64(n, s)       ROW(n, WIRE_FIXED64, .name = s, .kind = WALK_FIXED64)
#define TIME(n, s, slot)    ROW(n, WIRE_FIXED64, .name = s, .kind = WALK_TIME, .size = slot)
#define STRING(n, s)        ROW(n, WIRE_LEN, .name = s, .kind = WALK_STRING)
#define STRINGS(n, s)       ROW(n, WIRE_LEN, .name = s, .kind = WALK_STRING, .repeated = true)
#define BYTES(n, s, len)    ROW(n, WIRE_LEN, .name = s, .kind = WALK_BYTES, .size = len)
#define VARINTS(n, s)       ROW(n, WIRE_LEN, .name = s, .kind = WALK_PACKED_VARINT, .repeated = true)
#define FIXED64S(n, s)      ROW(n, WIRE_LEN, .name = s, .kind = WALK_PACKED_FIXED64, .repeated = true)
#define ONE(n, s, m)        ROW(n, WIRE_LEN, .name = s, .kind = WALK_MESSAGE, .child = &m)
#define MANY(n, s, m)       ROW(n, WIRE_LEN, .name = s, .kind = WALK_MESSAGE, .child = &m, .repeated = true)
#define COUNTED(n, s, m, r) ROW(n, WIRE_LEN, .name = s, .kind = WALK_MESSAGE, .child = &m, .role = r, .repeated = true)
#define MEMBER(n, s, m)     ROW(n, WIRE_LEN, .name = s, .kind = WALK_MESSAGE, .child = &m, .role = WALK_MEMBER)
#define ATTRIBUTES(n, s)    ROW(n, WIRE_LEN, .name = s, .kind = WALK_ATTRIBUTE, .child = &key_value, .repeated = true)
#define MESSAGE(name, ...)  static const struct walk_message name = {.fields = {[0] = {.tag = WALK_NO_TAG}, __VA_ARGS__}}
#define TRACE_ID_LEN        16
#define SPAN_ID_LEN         8

// common and resource
static const struct walk_message any_value;
static const struct walk_message key_value;
MESSAGE(array_value, MANY(1, "values", any_value));
MESSAGE(key_value_list, ATTRIBUTES(1, "values"));
MESSAGE(any_value, STRING(1, "string_value"), VARINT(2, "bool_value"), VARINT(3, "int_value"),
        FIXED64(4, "double_value"), ONE(5, "array_value", array_value), ONE(6, "kvlist_value", key_value_list),
        BYTES(7, "bytes_value", 0), VARINT(8, "string_value_strindex"));
MESSAGE(key_value, STRING(1, "key"), ONE(2, "value", any_value), VARINT(3, "key_strindex"));
MESSAGE(scope, STRING(1, "name"), STRING(2, "version"), ATTRIBUTES(3, "attributes"),
        VARINT(4, "dropped_attributes_count"));
MESSAGE(entity_ref, STRING(1, "schema_url"), STRING(2, "type"), STRINGS(3, "id_keys"), STRINGS(4, "description_keys"));
MESSAGE(resource, ATTRIBUTES(1, "attributes"), VARINT(2, "dropped_attributes_count"),
        MANY(3, "entity_refs", entity_ref));

// trace
MESSAGE(event, FIXED64(1, "time_unix_nano"), STRING(2, "name"), ATTRIBUTES(3, "attributes"),
        VARINT(4, "dropped_attributes_count"));
MESSAGE(span_link, BYTES(1, "trace_id", TRACE_ID_LEN), BYTES(2, "span_id", SPAN_ID_LEN), STRING(3, "trace_state"),
        ATTRIBUTES(4, "attributes"), VARINT(5, "dropped_attributes_count"), FIXED32(6, "flags"));
MESSAGE(span_status, STRING(2, "message"), VARINT(3, "code"));
MESSAGE(span, BYTES(1, "trace_id", TRACE_ID_LEN), BYTES(2, "span_id", SPAN_ID_LEN), STRING(3, "trace_state"),
        BYTES(4, "parent_span_id", SPAN_ID_LEN), STRING(5, "name"), VARINT(6, "kind"),
        TIME(7, "start_time_unix_nano", 0), TIME(8, "end_time_unix_nano", 1), ATTRIBUTES(9, "attributes"),
        VARINT(10, "dropped_attributes_count"), MANY(11, "events", event), VARINT(12, "dropped_events_count"),
        MANY(13, "links", span_link), VARINT(14, "dropped_links_count"), ONE(15, "status", span_status),
        FIXED32(16, "flags"));
MESSAGE(scope_spans, ONE(1, "scope", scope), COUNTED(2, "spans", span, WALK_ITEM), STRING(3, "schema_url"));
MESSAGE(resource_spans, ONE(1, "resource", resource), MANY(2, "scope_spans", scope_spans), STRING(3, "schema_url"));
MESSAGE(traces_request, COUNTED(1, "resource_spans", resource_spans, WALK_RESOURCE));

// metrics
MESSAGE(exemplar, FIXED64(2, "time_unix_nano"), FIXED64(3, "as_double"), BYTES(4, "span_id", SPAN_ID_LEN),
        BYTES(5, "trace_id", TRACE_ID_LEN), FIXED64(6, "as_int"), ATTRIBUTES(7, "filtered_attributes"));
MESSAGE(number_point, FIXED64(2, "start_time_unix_nano"), TIME(3, "time_unix_nano", 0), FIXED64(4, "as_double"),
        MANY(5, "exemplars", exemplar), FIXED64(6, "as_int"), ATTRIBUTES(7, "attributes"), VARINT(8, "flags"));
MESSAGE(histogram_point, FIXED64(2, "start_time_unix_nano"), TIME(3, "time_unix_nano", 0), FIXED64(4, "count"),
        FIXED64(5, "sum"), FIXED64S(6, "bucket_counts"), FIXED64S(7, "explicit_bounds"), MANY(8, "exemplars", exemplar),
        ATTRIBUTES(9, "attributes"), VARINT(10, "flags"), FIXED64(11, "min"), FIXED64(12, "max"));
MESSAGE(buckets, VARINT(1, "offset"), VARINTS(2, "bucket_counts"));
MESSAGE(exponential_point, ATTRIBUTES(1, "attributes"), FIXED64(2, "start_time_unix_nano"),
        TIME(3, "time_unix_nano", 0), FIXED64(4, "count"), FIXED64(5, "sum"), VARINT(6, "scale"),
        FIXED64(7, "zero_count"), ONE(8, "positive", buckets), ONE(9, "negative", buckets), VARINT(10, "flags"),
        MANY(11, "exemplars", exemplar), FIXED64(12, "min"), FIXED64(13, "max"), FIXED64(14, "zero_threshold"));
MESSAGE(value_at_quantile, FIXED64(1, "quantile"), FIXED64(2, "value"));
MESSAGE(summary_point, FIXED64(2, "start_time_unix_nano"), TIME(3, "time_unix_nano", 0), FIXED64(4, "count"),
        FIXED64(5, "sum"), MANY(6, "quantile_values", value_at_quantile), ATTRIBUTES(7, "attributes"),
        VARINT(8, "flags"));
MESSAGE(gauge, COUNTED(1, "data_points", number_point, WALK_ITEM));
MESSAGE(sum, COUNTED(1, "data_points", number_point, WALK_ITEM), VARINT(2, "aggregation_temporality"),
        VARINT(3, "is_monotonic"));
MESSAGE(histogram, COUNTED(1, "data_points", histogram_point, WALK_ITEM), VARINT(2, "aggregation_temporality"));
MESSAGE(exponential, COUNTED(1, "data_points", exponential_point, WALK_ITEM), VARINT(2, "aggregation_temporality"));
MESSAGE(summary, COUNTED(1, "data_points", summary_point, WALK_ITEM));
MESSAGE(metric, STRING(1, "name"), STRING(2, "description"), STRING(3, "unit"), MEMBER(5, "gauge", gauge),
        MEMBER(7, "sum", sum), MEMBER(9, "histogram", histogram), MEMBER(10, "exponential_histogram", exponential),
        MEMBER(11, "summary", summary), ATTRIBUTES(12, "metadata"));
MESSAGE(scope_metrics, ONE(1, "scope", scope), COUNTED(2, "metrics", metric, WALK_METRIC), STRING(3, "schema_url"));
MESSAGE(resource_metrics, ONE(1, "resource", resource), MANY(2, "scope_metrics", scope_metrics),
        STRING(3, "schema_url"));
MESSAGE(metrics_request, COUNTED(1, "resource_metrics", resource_metrics, WALK_RESOURCE));

// logs
MESSAGE(log_record, TIME(1, "time_unix_nano", 0), VARINT(2, "severity_number"), STRING(3, "severity_text"),
        ONE(5, "body", any_value), ATTRIBUTES(6, "attributes"), VARINT(7, "dropped_attributes_count"),
        FIXED32(8, "flags"), BYTES(9, "trace_id", TRACE_ID_LEN), BYTES(10, "span_id", SPAN_ID_LEN),
        TIME(11, "observed_time_unix_nano", 1), STRING(12, "event_name"));
MESSAGE(scope_logs, ONE(1, "scope", scope), COUNTED(2, "log_records", log_record, WALK_ITEM), STRING(3, "schema_url"));
MESSAGE(resource_logs, ONE(1, "resource", resource), MANY(2, "scope_logs", scope_logs), STRING(3, "schema_url"));
MESSAGE(logs_request, COUNTED(1, "resource_logs", resource_logs, WALK_RESOURCE));

// profiles (v1development: may still change)
MESSAGE(value_type, VARINT(1, "type_strindex"), VARINT(2, "unit_strindex"));
MESSAGE(sample, VARINT(1, "stack_index"), VARINTS(2, "attribute_indices"), VARINT(3, "link_index"),
        VARINTS(4, "values"), FIXED64S(5, "timestamps_unix_nano"));
MESSAGE(profile, ONE(1, "sample_type", value_type), MANY(2, "samples", sample), TIME(3, "time_unix_nano", 0),
        VARINT(4, "duration_nano"), ONE(5, "period_type", value_type), VARINT(6, "period"), BYTES(7, "profile_id", 0),
        VARINT(8, "dropped_attributes_count"), STRING(9, "original_payload_format"), BYTES(10, "original_payload", 0),
        VARINTS(11, "attribute_indices"));
MESSAGE(scope_profiles, ONE(1, "scope", scope), COUNTED(2, "profiles", profile, WALK_ITEM), STRING(3, "schema_url"));
MESSAGE(resource_profiles, ONE(1, "resource", resource), MANY(2, "scope_profiles", scope_profiles),
        STRING(3, "schema_url"));
MESSAGE(mapping, VARINT(1, "memory_start"), VARINT(2, "memory_limit"), VARINT(3, "file_offset"),
        VARINT(4, "filename_strindex"), VARINTS(5, "attribute_indices"));
MESSAGE(line, VARINT(1, "function_index"), VARINT(2, "line"), VARINT(3, "column"));
MESSAGE(location, VARINT(1, "mapping_index"), VARINT(2, "address"), MANY(3, "lines", line),
        VARINTS(4, "attribute_indices"));
MESSAGE(function, VARINT(1, "name_strindex"), VARINT(2, "system_name_strindex"), VARINT(3, "filename_strindex"),
        VARINT(4, "start_line"));
MESSAGE(profile_link, BYTES(1, "trace_id", TRACE_ID_LEN), BYTES(2, "span_id", SPAN_ID_LEN));
MESSAGE(key_value_and_unit, VARINT(1, "key_strindex"), ONE(2, "value", any_value), VARINT(3, "unit_strindex"));
MESSAGE(stack, VARINTS(1, "location_indices"));
MESSAGE(dictionary, MANY(1, "mapping_table", mapping), MANY(2, "location_table", location),
        MANY(3, "function_table", function), MANY(4, "link_table", profile_link), STRINGS(5, "string_table"),
        MANY(6, "attribute_table", key_value_and_unit), MANY(7, "stack_table", stack));
MESSAGE(profiles_request, COUNTED(1, "resource_profiles", resource_profiles, WALK_RESOURCE),
        ONE(2, "dictionary", dictionary));

const struct walk_message *const walk_requests[WEIR_SIGNALS] = {
    [WEIR_TRACES] = &traces_request,
    [WEIR_METRICS] = &metrics_request,
    [WEIR_LOGS] = &logs_request,
    [WEIR_PROFILES] = &profiles_request,
};
