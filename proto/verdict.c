// SPDX-License-Identifier: Apache-2.0
// Two tables, one per protocol, say what a status means for the data; the functions below them add what depends on the rest
// of the answer. What is not about the data itself (a proxy's refusal, a wrong address, a missing token) never condemns it.
#include "proto/verdict.h"

#include <ctype.h>
#include <strings.h>

#include "proto/otlp.h"
#include "proto/utf8.h"

#define SPLIT_MIN_BYTES (1u << 20)                   // U17
#define RETRY_MAX_MS    (UINT64_C(24) * 3600 * 1000) // a longer delay is read as a day
#define DETAILS_MAX     (RPC_STATUS_MAX_BYTES / 3 * 4)

// --- gRPC -----------------------------------------------------------------------------------------------------------
static const enum verdict_kind grpc_kinds[GRPC_STATUSES] = {
    [GRPC_OK] = VERDICT_DELIVERED,
    [GRPC_CANCELLED] = VERDICT_RETRY,
    [GRPC_UNKNOWN] = VERDICT_REJECT,
    [GRPC_INVALID_ARGUMENT] = VERDICT_REJECT,
    [GRPC_DEADLINE_EXCEEDED] = VERDICT_RETRY,
    [GRPC_NOT_FOUND] = VERDICT_REJECT,
    [GRPC_ALREADY_EXISTS] = VERDICT_REJECT,
    [GRPC_PERMISSION_DENIED] = VERDICT_HOLD,
    [GRPC_RESOURCE_EXHAUSTED] = VERDICT_REJECT, // RETRY with RetryInfo (U2)
    [GRPC_FAILED_PRECONDITION] = VERDICT_REJECT,
    [GRPC_ABORTED] = VERDICT_RETRY,
    [GRPC_OUT_OF_RANGE] = VERDICT_SPLIT, // tonic's word for "too large", retryable by U1: U17
    [GRPC_UNIMPLEMENTED] = VERDICT_HOLD,
    [GRPC_INTERNAL] = VERDICT_REJECT,
    [GRPC_UNAVAILABLE] = VERDICT_RETRY,
    [GRPC_DATA_LOSS] = VERDICT_SPLIT, // U17
    [GRPC_UNAUTHENTICATED] = VERDICT_HOLD,
};

// --- HTTP -----------------------------------------------------------------------------------------------------------
struct http_row {
    int first, last; // statuses
    enum verdict_kind kind;
};

static enum verdict_kind http_kind(const struct http_row *rows, int status)
{
    while (status < rows->first || status > rows->last)
        rows++;
    return rows->kind;
}

// The first row that fits. OTLP/HTTP (U3, U26, U27, P18).
static const struct http_row otlp_http_rows[] = {
    {200, 299, VERDICT_DELIVERED},  {300, 399, VERDICT_HOLD},  // a redirect would lose the body: the address is wrong
    {401, 401, VERDICT_HOLD},       {403, 405, VERDICT_HOLD},  // 405: an address that is no OTLP receiver's
    {407, 407, VERDICT_HOLD},       {408, 408, VERDICT_RETRY}, // too slow, whatever was in it
    {413, 413, VERDICT_SPLIT},      {415, 415, VERDICT_HOLD},   {429, 429, VERDICT_RETRY},
    {502, 504, VERDICT_RETRY},      {400, 599, VERDICT_REJECT}, {0, INT32_MAX, VERDICT_RETRY}, // no HTTP at all
    {INT32_MIN, -1, VERDICT_RETRY},
};

// An HTTP answer to a gRPC call without any grpc-status: it comes from something before the gRPC server (U9). Only 400 is what
// its map makes a rejection of the data; where that map says UNKNOWN, nobody has judged the data (U10).
static const struct http_row proxy_rows[] = {
    {400, 400, VERDICT_REJECT},                               // INTERNAL
    {401, 401, VERDICT_HOLD},                                 // UNAUTHENTICATED
    {403, 404, VERDICT_HOLD},                                 // PERMISSION_DENIED, UNIMPLEMENTED
    {408, 408, VERDICT_RETRY},     {413, 413, VERDICT_SPLIT}, // a proxy's limit on bodies
    {429, 429, VERDICT_RETRY},                                // UNAVAILABLE
    {300, 499, VERDICT_HOLD},                                 // no gRPC server lives there
    {0, INT32_MAX, VERDICT_RETRY}, {INT32_MIN, -1, VERDICT_RETRY},
};

// --- parts of an answer ---------------------------------------------------------------------------------------------
static void set_message(struct verdict *out, const void *text, size_t len)
{
    if (text != NULL)
        utf8_copy_text(out->message, sizeof(out->message), text, len);
}

// U6, U7: whatever the body says, the upstream has taken the data.
static void read_partial_success(struct weir_slice body, struct verdict *out)
{
    struct otlp_partial_success partial;
    if (otlp_response_decode(body, &partial, NULL) != WEIR_OK) {
        static const char unread[] = "accepted, but the response is no export response";
        set_message(out, unread, sizeof(unread) - 1);
        return;
    }
    out->rejected_items = partial.rejected;
    set_message(out, partial.message, strlen(partial.message));
}

static void set_delay(struct verdict *out, uint64_t delay_ms)
{
    out->retry_after_ms = delay_ms < RETRY_MAX_MS ? delay_ms : RETRY_MAX_MS;
    out->throttled = out->throttled || delay_ms > 0;
}

static struct rpc_status read_details(struct weir_slice details)
{
    struct rpc_status status = {0};
    struct weir_buf bytes = {0};
    if (details.data != NULL && details.len <= DETAILS_MAX &&
        grpc_bin_decode((const char *)details.data, details.len, &bytes, NULL) == WEIR_OK)
        rpc_status_decode((struct weir_slice){bytes.data, bytes.len}, &status, NULL);
    weir_buf_free(&bytes);
    return status;
}

// Whether a media type is `type`, parameters aside (P3).
static bool media_type_is(struct weir_slice value, const char *type)
{
    size_t len = strlen(type);
    if (value.data == NULL || value.len < len || strncasecmp((const char *)value.data, type, len) != 0)
        return false;
    return value.len == len || value.data[len] == ';' || value.data[len] == ' ';
}

// --- Retry-After (U4) -----------------------------------------------------------------------------------------------
static bool parse_seconds(const char *text, size_t len, uint64_t *delay_ms)
{
    uint64_t seconds = 0;
    for (size_t i = 0; i < len; i++) {
        if (!isdigit((unsigned char)text[i]))
            return false;
        if (seconds < RETRY_MAX_MS)
            seconds = seconds * 10 + (uint64_t)(text[i] - '0');
    }
    *delay_ms = seconds * 1000;
    return len > 0;
}

// Days from 1970-01-01 in the proleptic Gregorian calendar, month 1-12.
static int64_t days_from_date(int64_t year, int month, int day)
{
    static const int before[12] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    int64_t y = month > 2 ? year : year - 1; // leap days up to the date
    int64_t leaps = y / 4 - y / 100 + y / 400 - (1969 / 4 - 1969 / 100 + 1969 / 400);
    return (year - 1970) * 365 + leaps + before[month - 1] + day - 1;
}

static bool digits(const char *p, int count, int *value)
{
    *value = 0;
    for (int i = 0; i < count; i++) {
        if (!isdigit((unsigned char)p[i]))
            return false;
        *value = *value * 10 + (p[i] - '0');
    }
    return true;
}

// "Sun, 06 Nov 1994 08:49:37 GMT", without asking the process's locale.
static bool parse_imf_date(const char *text, size_t len, int64_t *unix_s)
{
    static const char pattern[] = "___, __ ___ ____ __:__:__ GMT";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    if (len != sizeof(pattern) - 1)
        return false;
    for (size_t i = 0; i < len; i++)
        if (pattern[i] != '_' && pattern[i] != text[i])
            return false;
    int day, year, hour, minute, second, month = 0;
    if (!digits(text + 5, 2, &day) || !digits(text + 12, 4, &year) || !digits(text + 17, 2, &hour) ||
        !digits(text + 20, 2, &minute) || !digits(text + 23, 2, &second))
        return false;
    while (month < 12 && memcmp(months + 3 * month, text + 8, 3) != 0)
        month++;
    if (month == 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60)
        return false;
    *unix_s = days_from_date(year, month + 1, day) * 86400 + hour * 3600 + minute * 60 + second;
    return true;
}

static uint64_t retry_after_ms(struct weir_slice value, uint64_t now_unix_ns)
{
    const char *text = (const char *)value.data;
    size_t len = text == NULL ? 0 : value.len;
    uint64_t delay_ms;
    if (parse_seconds(text, len, &delay_ms))
        return delay_ms;
    int64_t at_s, now_ms = (int64_t)(now_unix_ns / 1000000);
    if (!parse_imf_date(text, len, &at_s) || at_s * 1000 <= now_ms)
        return 0; // in the past, or no date: the ordinary backoff
    return (uint64_t)(at_s * 1000 - now_ms);
}

// --- verdicts -------------------------------------------------------------------------------------------------------
static void judge_proxy(const struct verdict_answer *answer, struct verdict *out)
{
    out->kind = http_kind(proxy_rows, answer->http_status);
    out->throttled = answer->http_status == 429;
    out->refuses_encoding = answer->sent_compressed && (answer->http_status == 400 || answer->http_status == 415);
    snprintf(out->code, sizeof(out->code), "HTTP %d", answer->http_status);
    if (out->kind == VERDICT_RETRY)
        set_delay(out, retry_after_ms(answer->retry_after, answer->now_unix_ns));
    out->unavailable = answer->http_status >= 502 && answer->http_status <= 504 && !out->throttled;
    static const char silent[] = "an answer without grpc-status";
    set_message(out, silent, sizeof(silent) - 1);
}

void verdict_grpc(const struct verdict_answer *answer, struct verdict *out)
{
    *out = (struct verdict){0};
    int status;
    if (answer->grpc_status.data == NULL) {
        judge_proxy(answer, out);
        return;
    }
    if (!grpc_status_parse((const char *)answer->grpc_status.data, answer->grpc_status.len, &status)) {
        static const char unreadable[] = "grpc-status is no number";
        verdict_transport("grpc-status", unreadable, out);
        return;
    }
    // A number that gRPC does not know is UNKNOWN by its rules.
    out->kind = grpc_kinds[status < GRPC_STATUSES ? status : GRPC_UNKNOWN];
    snprintf(out->code, sizeof(out->code), "%s", grpc_status_name(status));
    if (status == GRPC_OK) {
        read_partial_success(answer->body, out);
        return;
    }
    struct rpc_status details = read_details(answer->grpc_details);
    bool large = answer->sent_raw_bytes > SPLIT_MIN_BYTES;
    if (status == GRPC_RESOURCE_EXHAUSTED) {
        out->throttled = true;
        out->kind = details.has_retry_info ? VERDICT_RETRY : large ? VERDICT_SPLIT : VERDICT_REJECT;
    } else if (out->kind == VERDICT_SPLIT) {
        out->passes = true;
        if (details.has_retry_info) // who means "too large" does not ask to come again
            out->kind = VERDICT_RETRY;
    }
    if (out->kind == VERDICT_RETRY)
        set_delay(out, details.retry_delay_ms);
    out->unavailable = status == GRPC_UNAVAILABLE && !out->throttled;
    out->refuses_encoding = status == GRPC_UNIMPLEMENTED && answer->sent_compressed;

    char text[3 * sizeof(out->message)]; // escapes take three bytes each
    if (answer->grpc_message.data != NULL) {
        grpc_message_decode((const char *)answer->grpc_message.data, answer->grpc_message.len, text, sizeof(text));
        set_message(out, text, strlen(text));
    }
    if (out->message[0] == '\0')
        set_message(out, details.message, strlen(details.message));
    if (strstr(out->message, "message length too large") != NULL) // tonic's words (U17): that does not pass
        out->passes = false;
}

// The upstream's words: of a google.rpc.Status where it sent one (P15), else the first bytes of whatever text it sent.
static void read_http_error(const struct verdict_answer *answer, struct verdict *out)
{
    struct rpc_status status;
    if (!media_type_is(answer->content_type, "application/x-protobuf"))
        set_message(out, answer->body.data, answer->body.len);
    else if (rpc_status_decode(answer->body, &status, NULL) == WEIR_OK)
        set_message(out, status.message, strlen(status.message));
}

// A body that begins as web pages do, whatever its type is said to be.
static bool begins_as_page(struct weir_slice body)
{
    static const char *const beginnings[] = {"<!doctype html", "<html"};
    while (body.len > 0 && isspace(*body.data)) {
        body.data++;
        body.len--;
    }
    for (size_t i = 0; i < WEIR_COUNT(beginnings); i++) {
        size_t len = strlen(beginnings[i]);
        if (body.len >= len && strncasecmp((const char *)body.data, beginnings[i], len) == 0)
            return true;
    }
    return false;
}

// "Accepted", says a page for people: no OTLP receiver does. U7 holds for other bodies; what stands in the way here is between us and
// the receiver, and believing it would lose everything that is sent meanwhile.
static bool is_web_page(const struct verdict_answer *answer)
{
    return media_type_is(answer->content_type, "text/html") ||
           media_type_is(answer->content_type, "application/xhtml+xml") || begins_as_page(answer->body);
}

void verdict_http(const struct verdict_answer *answer, struct verdict *out)
{
    int status = answer->http_status;
    *out = (struct verdict){.kind = http_kind(otlp_http_rows, status)};
    snprintf(out->code, sizeof(out->code), "HTTP %d", status);
    if (out->kind == VERDICT_DELIVERED && is_web_page(answer)) {
        static const char page[] = "a web page, not an OTLP receiver's answer: a captive portal, or the wrong address";
        out->kind = VERDICT_HOLD;
        set_message(out, page, sizeof(page) - 1);
        return;
    }
    if (out->kind == VERDICT_DELIVERED) {
        // Other types are no export response, and no reason to doubt the status (U7: Prometheus sends an empty body).
        if (media_type_is(answer->content_type, "application/x-protobuf"))
            read_partial_success(answer->body, out);
        return;
    }
    out->throttled = status == 429;
    out->refuses_encoding = answer->sent_compressed && (status == 400 || status == 415);
    if (out->kind == VERDICT_RETRY)
        set_delay(out, retry_after_ms(answer->retry_after, answer->now_unix_ns));
    out->unavailable = status >= 502 && status <= 504 && !out->throttled;
    read_http_error(answer, out);
}

void verdict_transport(const char *code, const char *message, struct verdict *out)
{
    *out = (struct verdict){.kind = VERDICT_RETRY};
    utf8_copy_text(out->code, sizeof(out->code), code, strlen(code));
    if (message != NULL)
        set_message(out, message, strlen(message));
}
