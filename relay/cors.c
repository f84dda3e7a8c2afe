// SPDX-License-Identifier: Apache-2.0
#include "relay/cors.h"

#include <inttypes.h>

#define HEADER(n, v)                                                                                                   \
    (struct exchange_header)                                                                                           \
    {                                                                                                                  \
        .name = (n), .name_len = sizeof(n) - 1, .value = (v), .value_len = strlen(v)                                   \
    }

// --- origins --------------------------------------------------------------------------------------------------------------

static bool is_host_part(const uint8_t *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        uint8_t c = text[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.'))
            return false;
    }
    return len > 0 && text[0] != '.';
}

// The star stands for one label or more: nothing that could end the host early fits into it.
static bool matches(const char *pattern, struct weir_slice origin)
{
    const char *star = strchr(pattern, '*');
    size_t before = star != NULL ? (size_t)(star - pattern) : strlen(pattern);
    size_t behind = star != NULL ? strlen(star + 1) : 0;
    if (origin.len < before + behind || memcmp(origin.data, pattern, before) != 0)
        return false;
    if (star == NULL)
        return origin.len == before;
    size_t middle = origin.len - before - behind;
    return memcmp(origin.data + before + middle, star + 1, behind) == 0 && is_host_part(origin.data + before, middle);
}

bool cors_allows(const struct cors *cors, struct weir_slice origin, bool *any)
{
    *any = false;
    for (size_t i = 0; i < cors->origin_count; i++)
        if (strcmp(cors->origins[i], "*") == 0)
            *any = true;
    for (size_t i = 0; i < cors->origin_count && !*any; i++)
        if (matches(cors->origins[i], origin))
            return true;
    return *any;
}

// --- answers --------------------------------------------------------------------------------------------------------------

// What both a preflight's answer and that to the request itself say. 0: the origin is not allowed.
static size_t put_origin(const struct cors *cors, const struct exchange_header *origin, struct exchange_header out[2])
{
    bool any;
    if (!cors_allows(cors, (struct weir_slice){(const uint8_t *)origin->value, origin->value_len}, &any))
        return 0;
    if (any) { // whoever asks gets the same, and no credentials of the browser's own
        out[0] = HEADER("access-control-allow-origin", "*");
        return 1;
    }
    out[0] = (struct exchange_header){"access-control-allow-origin", 27, origin->value, origin->value_len};
    out[1] = HEADER("access-control-allow-credentials", "true"); // sendBeacon insists
    return 2;
}

static bool is_preflight(const struct exchange *exchange)
{
    return exchange->method.len == 7 && memcmp(exchange->method.data, "OPTIONS", 7) == 0 &&
           exchange_header(exchange, "access-control-request-method") != NULL;
}

// Whatever headers a page sends are allowed: which ones an exporter has is its user's matter, and none has power here but credentials,
// which the page would have to know.
static void answer_preflight(const struct cors *cors, struct exchange *exchange, const struct exchange_header *origin)
{
    struct exchange_header headers[8];
    size_t count = put_origin(cors, origin, headers);
    const struct exchange_header *asked = exchange_header(exchange, "access-control-request-headers");
    headers[count++] = HEADER("access-control-allow-methods", "POST");
    if (asked != NULL)
        headers[count++] = (struct exchange_header){"access-control-allow-headers", 28, asked->value, asked->value_len};
    if (cors->max_age_s > 0)
        headers[count++] = HEADER("access-control-max-age", cors->max_age);
    headers[count++] = HEADER("vary", "origin, access-control-request-method, access-control-request-headers");
    exchange_answer(exchange, &(struct exchange_answer){.http_status = 204, .headers = headers, .header_count = count});
}

// --- the handler ----------------------------------------------------------------------------------------------------------

static void on_begin(void *ctx, struct exchange *exchange)
{
    const struct cors *cors = ctx;
    const struct exchange_header *origin = exchange_header(exchange, "origin");
    struct exchange_header *extra = exchange->extra;
    size_t allowed = origin != NULL ? put_origin(cors, origin, extra) : 0;
    if (allowed > 0 && is_preflight(exchange)) {
        answer_preflight(cors, exchange, origin);
        return;
    }
    exchange->extra_count = allowed;
    if (allowed > 0)
        extra[exchange->extra_count++] = HEADER("access-control-expose-headers", "retry-after");
    extra[exchange->extra_count++] = HEADER("vary", "origin"); // whoever asks, lest a cache mixes the answers up
    assert(exchange->extra_count <= EXCHANGE_EXTRA);
    cors->next.begin(cors->next.ctx, exchange);
}

static void on_data(void *ctx, struct exchange *exchange, struct weir_slice data)
{
    const struct cors *cors = ctx;
    cors->next.data(cors->next.ctx, exchange, data);
}

static void on_end(void *ctx, struct exchange *exchange)
{
    const struct cors *cors = ctx;
    cors->next.end(cors->next.ctx, exchange);
}

static void on_gone(void *ctx, struct exchange *exchange)
{
    const struct cors *cors = ctx;
    cors->next.gone(cors->next.ctx, exchange);
}

struct exchange_handler cors_handler(struct cors *cors)
{
    snprintf(cors->max_age, sizeof(cors->max_age), "%" PRIu64, cors->max_age_s);
    return (struct exchange_handler){.ctx = cors, .begin = on_begin, .data = on_data, .end = on_end, .gone = on_gone};
}
