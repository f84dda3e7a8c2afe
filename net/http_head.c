// SPDX-License-Identifier: Apache-2.0
#include "net/http_head.h"

#include "net/picohttpparser.h"

#include <strings.h>

static ssize_t refuse(struct http_head *head, int status, const char *why)
{
    head->refuse_status = status;
    head->refuse_why = why;
    return HTTP_HEAD_REFUSED;
}

static bool value_is(const struct exchange_header *header, const char *text)
{
    return header->value_len == strlen(text) && strncasecmp(header->value, text, header->value_len) == 0;
}

// --- headers with a meaning for the codec ---------------------------------------------------------------------------
// Each returns 0 or HTTP_HEAD_REFUSED.

static ssize_t read_host(struct http_head *head, const struct exchange_header *header)
{
    head->hosts++;
    return 0;
}

// Differing lengths are how requests are smuggled past a proxy (RFC 9112, 6.3): equal repetitions alone are let through.
static ssize_t read_length(struct http_head *head, const struct exchange_header *header)
{
    uint64_t length = 0;
    for (size_t i = 0; i < header->value_len; i++) {
        char c = header->value[i];
        if (c < '0' || c > '9' || __builtin_mul_overflow(length, 10u, &length) ||
            __builtin_add_overflow(length, (uint64_t)(c - '0'), &length))
            return refuse(head, 400, "malformed Content-Length");
    }
    if (header->value_len == 0 || length == UINT64_MAX)
        return refuse(head, 400, "malformed Content-Length");
    if (head->has_length && head->content_length != length)
        return refuse(head, 400, "several different Content-Length");
    head->has_length = true;
    head->content_length = length;
    return 0;
}

static ssize_t read_encoding(struct http_head *head, const struct exchange_header *header)
{
    if (head->has_encoding)
        return refuse(head, 400, "several Transfer-Encoding");
    head->has_encoding = true;
    if (!value_is(header, "chunked"))
        return refuse(head, 501, "Transfer-Encoding other than chunked");
    head->chunked = true;
    return 0;
}

static ssize_t read_expect(struct http_head *head, const struct exchange_header *header)
{
    if (head->old)
        return 0; // HTTP/1.0 does not know it (RFC 9110, 10.1.1)
    if (!value_is(header, "100-continue"))
        return refuse(head, 417, "unknown Expect");
    head->expect_continue = true;
    return 0;
}

static ssize_t read_connection(struct http_head *head, const struct exchange_header *header)
{
    const char *at = header->value, *end = at + header->value_len;
    while (at < end) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma != NULL ? comma : end;
        while (at < stop && (*at == ' ' || *at == '\t'))
            at++;
        const char *last = stop;
        while (last > at && (last[-1] == ' ' || last[-1] == '\t'))
            last--;
        struct exchange_header token = {.value = at, .value_len = (size_t)(last - at)};
        if (value_is(&token, "close"))
            head->keep_alive = false;
        else if (head->old && value_is(&token, "keep-alive"))
            head->keep_alive = true;
        at = stop + 1;
    }
    return 0; // "Upgrade" is not heard: h2c is not spoken here (P11)
}

static const struct {
    const char *name;
    ssize_t (*read)(struct http_head *head, const struct exchange_header *header);
} known_headers[] = {
    {"host", read_host},     {"content-length", read_length}, {"transfer-encoding", read_encoding},
    {"expect", read_expect}, {"connection", read_connection},
};

static ssize_t read_known(struct http_head *head, const struct exchange_header *header)
{
    for (size_t i = 0; i < WEIR_COUNT(known_headers); i++)
        if (header->name_len == strlen(known_headers[i].name) &&
            memcmp(header->name, known_headers[i].name, header->name_len) == 0)
            return known_headers[i].read(head, header);
    return 0;
}

// --- the whole ------------------------------------------------------------------------------------------------------

// RFC 9110, 5.6.2. Also lowers it in place.
static bool name_lower(char *name, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        if (c >= 'A' && c <= 'Z')
            name[i] = (char)(c + 'a' - 'A');
        else if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c))))
            return false;
    }
    return len > 0;
}

static void read_target(struct http_head *head, const char *target, size_t len)
{
    size_t scheme = len >= 7 && strncasecmp(target, "http://", 7) == 0    ? 7
                    : len >= 8 && strncasecmp(target, "https://", 8) == 0 ? 8
                                                                          : 0;
    if (scheme > 0) {
        const char *path = memchr(target + scheme, '/', len - scheme);
        len = path != NULL ? (size_t)(target + len - path) : 0;
        target = path != NULL ? path : target;
    }
    const char *query = memchr(target, '?', len);
    if (query != NULL) {
        head->query = (struct weir_slice){(const uint8_t *)query + 1, (size_t)(target + len - query - 1)};
        len = (size_t)(query - target);
    }
    head->path = (struct weir_slice){(const uint8_t *)target, len};
}

static ssize_t read_headers(struct http_head *head, const struct phr_header *parsed, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (parsed[i].name == NULL)
            return refuse(head, 400, "folded header line");
        if (!name_lower((char *)parsed[i].name, parsed[i].name_len))
            return refuse(head, 400, "malformed header name");
        struct exchange_header *header = &head->headers[head->header_count++];
        *header = (struct exchange_header){parsed[i].name, parsed[i].name_len, parsed[i].value, parsed[i].value_len};
        while (header->value_len > 0 && strchr(" \t", header->value[header->value_len - 1]) != NULL)
            header->value_len--;
        if (read_known(head, header) < 0)
            return HTTP_HEAD_REFUSED;
    }
    return 0;
}

// RFC 9112, 3.2 and 6.1 to 6.3.
static ssize_t check_framing(struct http_head *head)
{
    if (head->hosts > 1 || (head->hosts == 0 && !head->old))
        return refuse(head, 400, "needs exactly one Host");
    if (head->has_encoding && head->has_length)
        return refuse(head, 400, "both Content-Length and Transfer-Encoding");
    if (head->has_encoding && head->old)
        return refuse(head, 400, "Transfer-Encoding in HTTP/1.0");
    return 0;
}

ssize_t http_head_parse(struct http_head *head, char *buf, size_t len, size_t seen)
{
    struct phr_header parsed[HTTP_HEADERS_MAX];
    size_t count = HTTP_HEADERS_MAX, method_len = 0, target_len = 0;
    const char *method = NULL, *target = NULL;
    int minor = -1;
    int n = phr_parse_request(buf, len, &method, &method_len, &target, &target_len, &minor, parsed, &count, seen);
    if (n == -2)
        return HTTP_HEAD_INCOMPLETE;
    memset(head, 0, offsetof(struct http_head, headers));
    if (n < 0)
        return count == HTTP_HEADERS_MAX ? refuse(head, 431, "too many headers")
                                         : refuse(head, 400, "not an HTTP/1.1 request");
    head->method = (struct weir_slice){(const uint8_t *)method, method_len};
    head->old = minor == 0;
    head->keep_alive = !head->old;
    read_target(head, target, target_len);
    if (read_headers(head, parsed, count) < 0 || check_framing(head) < 0)
        return HTTP_HEAD_REFUSED;
    return n;
}
