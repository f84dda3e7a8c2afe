// SPDX-License-Identifier: Apache-2.0
// The two faces of ingest: how gRPC and OTLP/HTTP say what they send, and how they want to be answered.
#include "relay/ingest_priv.h"

#include "proto/utf8.h"

#include <jansson.h>
#include <strings.h>

static struct weir_slice value_of(const struct exchange *exchange, const char *name)
{
    const struct exchange_header *header = exchange_header(exchange, name);
    return header == NULL ? (struct weir_slice){NULL, 0}
                          : (struct weir_slice){(const uint8_t *)header->value, header->value_len};
}

static bool equals(struct weir_slice value, const char *text)
{
    return value.len == strlen(text) && memcmp(value.data, text, value.len) == 0;
}

// The media type alone, without parameters and blanks (P3).
static struct weir_slice media_type(struct weir_slice value)
{
    const uint8_t *end = value.len > 0 ? memchr(value.data, ';', value.len) : NULL;
    if (end != NULL)
        value.len = (size_t)(end - value.data);
    while (value.len > 0 && (value.data[value.len - 1] == ' ' || value.data[value.len - 1] == '\t'))
        value.len--;
    return value;
}

static bool equals_any_case(struct weir_slice value, const char *text)
{
    return value.len == strlen(text) && strncasecmp((const char *)value.data, text, value.len) == 0;
}

static bool is_json(const struct exchange *exchange)
{
    return equals_any_case(media_type(value_of(exchange, "content-type")), "application/json");
}

// --- heads ----------------------------------------------------------------------------------------------------------------

static bool refuse(enum refusal *why, enum refusal value, struct weir_err *err, const char *what,
                   struct weir_slice given)
{
    *why = value;
    char shown[120] = ""; // in UTF-8, for it goes into a Status
    if (given.data != NULL)
        utf8_copy_text(shown, sizeof(shown), given.data, given.len);
    const char *before = given.data != NULL ? ": '" : "", *after = given.data != NULL ? "'" : "";
    weir_fail(err, WEIR_E_INVALID, "%s%s%s%s", what, before, shown, after);
    return false;
}

static bool read_head_grpc(const struct exchange *exchange, struct request *request, uint64_t *timeout_ns,
                           enum refusal *why, struct weir_err *err)
{
    if (!equals(exchange->method, "POST"))
        return refuse(why, REFUSAL_METHOD, err, "gRPC calls are POST", exchange->method);
    struct weir_slice type = value_of(exchange, "content-type");
    struct weir_slice media = media_type(type);
    if (!equals_any_case(media, "application/grpc") && !equals_any_case(media, "application/grpc+proto"))
        return refuse(why, REFUSAL_CONTENT_TYPE, err,
                      "this port speaks OTLP/gRPC: content-type must be application/grpc", type);
    if (!otlp_signal_by_grpc_path((const char *)exchange->path.data, exchange->path.len, &request->signal)) {
        request->signal = INGEST_NO_SIGNAL;
        return refuse(why, REFUSAL_UNKNOWN_PATH, err, "unknown service or method", exchange->path);
    }
    struct weir_slice encoding = value_of(exchange, "grpc-encoding");
    if (!encoding_by_name(ENCODING_OF_GRPC, (const char *)encoding.data, encoding.len, &request->encoding))
        return refuse(why, REFUSAL_ENCODING, err, "unsupported grpc-encoding", encoding);
    struct weir_slice timeout = value_of(exchange, "grpc-timeout");
    if (timeout.data != NULL && !grpc_timeout_parse((const char *)timeout.data, timeout.len, timeout_ns))
        return refuse(why, REFUSAL_FRAMING, err, "malformed grpc-timeout", timeout);
    return true;
}

// Path, then method, type and encoding, as RFC 9110 has them matter (P4).
static bool read_head_http(const struct exchange *exchange, struct request *request, uint64_t *timeout_ns,
                           enum refusal *why, struct weir_err *err)
{
    if (!otlp_signal_by_http_path((const char *)exchange->path.data, exchange->path.len, &request->signal)) {
        request->signal = INGEST_NO_SIGNAL;
        return refuse(why, REFUSAL_UNKNOWN_PATH, err,
                      "unknown path (POST to /v1/traces, /v1/metrics, /v1/logs or /v1development/profiles)",
                      exchange->path);
    }
    if (!equals(exchange->method, "POST"))
        return refuse(why, REFUSAL_METHOD, err, "only POST is allowed here", exchange->method);
    struct weir_slice type = value_of(exchange, "content-type");
    request->json = is_json(exchange);
    if (!request->json && !equals_any_case(media_type(type), "application/x-protobuf"))
        return refuse(why, REFUSAL_CONTENT_TYPE, err, "content-type must be application/x-protobuf or application/json",
                      type);
    struct weir_slice encoding = value_of(exchange, "content-encoding");
    if (!encoding_by_name(ENCODING_OF_HTTP, (const char *)encoding.data, encoding.len, &request->encoding))
        return refuse(why, REFUSAL_ENCODING, err, "unsupported content-encoding", encoding);
    return true;
}

bool ingest_read_head(const struct exchange *exchange, struct request *request, uint64_t *timeout_ns, enum refusal *why,
                      struct weir_err *err)
{
    return exchange->transport == EXCHANGE_GRPC ? read_head_grpc(exchange, request, timeout_ns, why, err)
                                                : read_head_http(exchange, request, timeout_ns, why, err);
}

// --- answers --------------------------------------------------------------------------------------------------------------

#define HEADER(n, v, l)                                                                                                \
    (struct exchange_header)                                                                                           \
    {                                                                                                                  \
        .name = (n), .name_len = strlen(n), .value = (v), .value_len = (l)                                             \
    }
#define HEADER_TEXT(n, v) HEADER(n, v, strlen(v))

#define REPEAT(value) HEADER_TEXT(HANDOFF_REPEAT_HEADER, value)

void ingest_answer_ok(struct exchange *exchange, bool repeated)
{
    static const uint8_t empty_message[GRPC_PREFIX_LEN] = {0}; // full success: partial_success unset (G18, G19)
    if (exchange->transport == EXCHANGE_GRPC) {
        const struct exchange_header headers[] = {HEADER_TEXT("content-type", "application/grpc"),
                                                  REPEAT(HANDOFF_REPEAT_ALL)};
        const struct exchange_header trailers[] = {HEADER_TEXT("grpc-status", "0")};
        exchange_answer(exchange, &(struct exchange_answer){.http_status = 200,
                                                            .headers = headers,
                                                            .header_count = repeated ? 2 : 1,
                                                            .body = {empty_message, sizeof(empty_message)},
                                                            .trailers = trailers,
                                                            .trailer_count = 1});
        return;
    }
    bool json = is_json(exchange); // the answer is of the request's kind (P16, J17)
    const struct exchange_header headers[] = {
        HEADER_TEXT("content-type", json ? "application/json" : "application/x-protobuf"), REPEAT(HANDOFF_REPEAT_ALL)};
    exchange_answer(exchange, &(struct exchange_answer){.http_status = 200,
                                                        .headers = headers,
                                                        .header_count = repeated ? 2 : 1,
                                                        .body = {(const uint8_t *)"{}", json ? 2 : 0}});
}

// Trailers-Only, with the delay in both trailers that clients look at (G20-G23).
static void answer_refusal_grpc(struct exchange *exchange, const struct refusal_row *row, enum refusal why,
                                const char *text, const char *repeat)
{
    struct exchange_header headers[8];
    size_t count = 0;
    char status[12], message[1024];
    struct weir_buf bytes = {0}, details = {0}, retry = {0};
    headers[count++] = HEADER_TEXT("content-type", "application/grpc");
    snprintf(status, sizeof(status), "%d", row->grpc_status);
    headers[count++] = HEADER_TEXT("grpc-status", status);
    grpc_message_encode(text, message, sizeof(message));
    headers[count++] = HEADER_TEXT("grpc-message", message);
    if (why == REFUSAL_ENCODING)
        headers[count++] = HEADER_TEXT("grpc-accept-encoding", encoding_accept(ENCODING_OF_GRPC));
    if (repeat != NULL)
        headers[count++] = REPEAT(repeat);
    if (row->retry_after_ms > 0) {
        struct rpc_status rpc = {
            .code = row->grpc_status, .has_retry_info = true, .retry_delay_ms = row->retry_after_ms};
        snprintf(rpc.message, sizeof(rpc.message), "%s", text);
        if (rpc_status_encode(&rpc, &bytes) == WEIR_OK &&
            grpc_bin_encode((struct weir_slice){bytes.data, bytes.len}, &details) == WEIR_OK)
            headers[count++] = HEADER("grpc-status-details-bin", (const char *)details.data, details.len);
        bytes.len = 0;
        if (rpc_retry_info_encode(row->retry_after_ms, &bytes) == WEIR_OK &&
            grpc_bin_encode((struct weir_slice){bytes.data, bytes.len}, &retry) == WEIR_OK)
            headers[count++] = HEADER("google.rpc.retryinfo-bin", (const char *)retry.data, retry.len);
    }
    exchange_answer(exchange, &(struct exchange_answer){
                                  .http_status = row->grpc_http_status, .headers = headers, .header_count = count});
    weir_buf_free(&bytes);
    weir_buf_free(&details);
    weir_buf_free(&retry);
}

// google.rpc.Status in the request's encoding (P15, P16).
static void status_body(const struct exchange *exchange, const struct refusal_row *row, const char *text,
                        struct weir_buf *body)
{
    if (is_json(exchange)) {
        char delay[24];
        snprintf(delay, sizeof(delay), "%u.%03us", row->retry_after_ms / 1000, row->retry_after_ms % 1000);
        json_t *details = row->retry_after_ms == 0
                              ? json_array()
                              : json_pack("[{s:s, s:s}]", "@type", "type.googleapis.com/google.rpc.RetryInfo",
                                          "retryDelay", delay); // J18
        json_t *object = json_pack("{s:i, s:s, s:o}", "code", row->grpc_status, "message", text, "details", details);
        char *json = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
        if (json != NULL)
            weir_buf_append(body, json, strlen(json));
        free(json);
        json_decref(object);
        return;
    }
    struct rpc_status rpc = {
        .code = row->grpc_status, .has_retry_info = row->retry_after_ms > 0, .retry_delay_ms = row->retry_after_ms};
    snprintf(rpc.message, sizeof(rpc.message), "%s", text);
    rpc_status_encode(&rpc, body);
}

static void answer_refusal_http(struct exchange *exchange, const struct refusal_row *row, enum refusal why,
                                const char *text, const char *repeat)
{
    struct exchange_header headers[4];
    size_t count = 0;
    char retry_after[16];
    struct weir_buf body = {0};
    status_body(exchange, row, text, &body);
    headers[count++] = HEADER_TEXT("content-type", is_json(exchange) ? "application/json" : "application/x-protobuf");
    if (row->retry_after_ms > 0) { // whole seconds, at least 1 (P17)
        snprintf(retry_after, sizeof(retry_after), "%u", (row->retry_after_ms + 999) / 1000);
        headers[count++] = HEADER_TEXT("retry-after", retry_after);
    }
    if (why == REFUSAL_UNAUTHENTICATED)
        headers[count++] = HEADER_TEXT("www-authenticate", "Bearer");
    if (why == REFUSAL_METHOD)
        headers[count++] = HEADER_TEXT("allow", "POST");
    if (why == REFUSAL_ENCODING)
        headers[count++] = HEADER_TEXT("accept-encoding", encoding_accept(ENCODING_OF_HTTP));
    if (repeat != NULL)
        headers[count++] = REPEAT(repeat);
    exchange_answer(exchange, &(struct exchange_answer){.http_status = row->http_status,
                                                        .headers = headers,
                                                        .header_count = count,
                                                        .body = {body.data, body.len},
                                                        .close = why == REFUSAL_SHUTTING_DOWN});
    weir_buf_free(&body);
}

static void answer_refusal(struct exchange *exchange, enum refusal why, const char *text, const char *repeat)
{
    const struct refusal_row *row = &refusal_rows[why];
    if (exchange->transport == EXCHANGE_GRPC)
        answer_refusal_grpc(exchange, row, why, text, repeat);
    else
        answer_refusal_http(exchange, row, why, text, repeat);
}

void ingest_answer_refusal(struct exchange *exchange, enum refusal why, const char *text)
{
    answer_refusal(exchange, why, text, NULL);
}

void ingest_answer_part(struct exchange *exchange, const char *repeat)
{
    answer_refusal(exchange, REFUSAL_REPEATED_PART, "some of this was stored before: it is to be sent in parts",
                   repeat);
}

// What the HTTP/1.1 codec itself refuses: no exchange exists, so the Status body is built here, in static memory as the server asks.
void ingest_bad_request(int http_status, const char *why, struct exchange_answer *answer)
{
    static _Thread_local uint8_t status[4 + 120];
    static const struct exchange_header headers[] = {{"content-type", 12, "application/x-protobuf", 22}};
    // google.rpc.Status {code = INVALID_ARGUMENT, message = why}
    size_t len = strnlen(why, sizeof(status) - 4);
    memcpy(status, (const uint8_t[]){0x08, GRPC_INVALID_ARGUMENT, 0x12, (uint8_t)len}, 4);
    memcpy(status + 4, why, len);
    *answer = (struct exchange_answer){
        .http_status = http_status, .headers = headers, .header_count = 1, .body = {status, 4 + len}};
}
