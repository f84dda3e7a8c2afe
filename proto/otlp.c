// SPDX-License-Identifier: Apache-2.0
#include "proto/otlp.h"

#include "proto/utf8.h"
#include "proto/wire.h"

const struct otlp_service otlp_services[WEIR_SIGNALS] = {
    [WEIR_TRACES] = {"/opentelemetry.proto.collector.trace.v1.TraceService/Export", "/v1/traces", "span"},
    [WEIR_METRICS] = {"/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", "/v1/metrics", "data point"},
    [WEIR_LOGS] = {"/opentelemetry.proto.collector.logs.v1.LogsService/Export", "/v1/logs", "log record"},
    [WEIR_PROFILES] = {"/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
                       "/v1development/profiles", "profile"},
};

// Field numbers of Export*ServiceResponse and Export*PartialSuccess, the same in all signals.
enum { RESPONSE_PARTIAL_SUCCESS = 1, PARTIAL_REJECTED = 1, PARTIAL_ERROR_MESSAGE = 2 };

static bool path_is(const char *path, size_t len, const char *known)
{
    return len == strlen(known) && memcmp(path, known, len) == 0;
}

bool otlp_signal_by_grpc_path(const char *path, size_t len, enum weir_signal *signal)
{
    for (int i = 0; i < WEIR_SIGNALS; i++) {
        if (path_is(path, len, otlp_services[i].grpc_path)) {
            *signal = (enum weir_signal)i;
            return true;
        }
    }
    return false;
}

bool otlp_signal_by_http_path(const char *path, size_t len, enum weir_signal *signal)
{
    for (int i = 0; i < WEIR_SIGNALS; i++) {
        if (path_is(path, len, otlp_services[i].http_path)) {
            *signal = (enum weir_signal)i;
            return true;
        }
    }
    return false;
}

static int broken(struct weir_err *err, const char *what)
{
    return weir_fail(err, WEIR_E_INVALID, "export response: %s", what);
}

static int decode_partial(struct weir_slice bytes, struct otlp_partial_success *out, struct weir_err *err)
{
    struct wire_reader reader = wire_reader_of(bytes);
    struct wire_field field;
    int found;
    while ((found = wire_next(&reader, &field)) == 1) {
        if (field.number == PARTIAL_REJECTED) {
            if (field.type != WIRE_VARINT)
                return broken(err, "partial_success.rejected: wrong wire type");
            out->rejected = (int64_t)field.value;
        } else if (field.number == PARTIAL_ERROR_MESSAGE) {
            if (field.type != WIRE_LEN)
                return broken(err, "partial_success.error_message: wrong wire type");
            utf8_copy_text(out->message, sizeof(out->message), field.bytes.data, field.bytes.len);
        }
    }
    return found == 0 ? WEIR_OK : broken(err, "partial_success: broken field");
}

int otlp_response_decode(struct weir_slice body, struct otlp_partial_success *out, struct weir_err *err)
{
    struct otlp_partial_success partial = {0};
    *out = partial;
    if (body.len > OTLP_RESPONSE_MAX_BYTES)
        return weir_fail(err, WEIR_E_LIMIT, "export response: %zu bytes, above %u", body.len, OTLP_RESPONSE_MAX_BYTES);
    struct wire_reader reader = wire_reader_of(body);
    struct wire_field field;
    int found;
    while ((found = wire_next(&reader, &field)) == 1) {
        if (field.number != RESPONSE_PARTIAL_SUCCESS)
            continue;
        if (field.type != WIRE_LEN)
            return broken(err, "partial_success: wrong wire type");
        // A second partial_success is merged into the first, as protobuf has it.
        int code = decode_partial(field.bytes, &partial, err);
        if (code != WEIR_OK)
            return code;
    }
    if (found != 0)
        return broken(err, "broken field");
    *out = partial;
    return WEIR_OK;
}

int otlp_response_encode(const struct otlp_partial_success *partial, struct weir_buf *out)
{
    if (partial == NULL || (partial->rejected == 0 && partial->message[0] == '\0'))
        return WEIR_OK;
    struct weir_buf inner = {0};
    size_t message_len = strlen(partial->message);
    bool ok = wire_put_varint(&inner, PARTIAL_REJECTED, (uint64_t)partial->rejected) &&
              (message_len == 0 || wire_put_bytes(&inner, PARTIAL_ERROR_MESSAGE, partial->message, message_len)) &&
              wire_put_bytes(out, RESPONSE_PARTIAL_SUCCESS, inner.data, inner.len);
    weir_buf_free(&inner);
    return ok ? WEIR_OK : WEIR_E_NOMEM;
}
