// SPDX-License-Identifier: Apache-2.0
#include "net/http_server.h"

static const struct {
    int status;
    const char *reason;
} reasons[] = {
    {200, "OK"},
    {204, "No Content"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {411, "Length Required"},
    {413, "Content Too Large"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
};

static const char *reason_of(int status)
{
    for (size_t i = 0; i < WEIR_COUNT(reasons); i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Unknown";
}

static bool put(struct weir_buf *out, const char *text)
{
    return weir_buf_append(out, text, strlen(text));
}

static bool put_headers(struct weir_buf *out, const struct exchange_header *headers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct exchange_header *header = &headers[i];
        if (!weir_buf_append(out, header->name, header->name_len) || !put(out, ": ") ||
            !weir_buf_append(out, header->value, header->value_len) || !put(out, "\r\n"))
            return false;
    }
    return true;
}

static bool form(struct http_conn *http, const struct exchange_answer *answer)
{
    struct weir_buf *out = &http->answer;
    char line[64];
    out->len = 0;
    snprintf(line, sizeof(line), "HTTP/1.1 %d %s\r\n", answer->http_status, reason_of(answer->http_status));
    if (!put(out, line) || !put_headers(out, answer->headers, answer->header_count) ||
        !put_headers(out, http->exchange.extra, http->exchange.extra_count))
        return false;
    snprintf(line, sizeof(line), "content-length: %zu\r\n", answer->body.len);
    if (answer->http_status != 204 && !put(out, line)) // RFC 9110, 8.6
        return false;
    if (http->close_after && !put(out, "connection: close\r\n"))
        return false;
    if (!http->close_after && http->old && !put(out, "connection: keep-alive\r\n"))
        return false;
    if (!put(out, "\r\n"))
        return false;
    return http->no_body || answer->http_status == 204 || weir_buf_append(out, answer->body.data, answer->body.len);
}

void http_answer_send(struct http_conn *http, const struct exchange_answer *answer)
{
    assert(!http->answered && answer->http_status >= 200 && answer->http_status <= 599);
    http->answered = true;
    if (http->conn.home->draining || (http->expires_ns != 0 && weir_now_ns() >= http->expires_ns))
        http->close_after = true; // never in between: a request might cross the close (P12)
    if (!form(http, answer)) {
        conn_doom(&http->conn);
        return;
    }
    conn_schedule(&http->conn);
}
