// SPDX-License-Identifier: Apache-2.0
#include "proto/grpc.h"

#include <ctype.h>

static const char *const status_names[GRPC_STATUSES] = {
    [GRPC_OK] = "OK",
    [GRPC_CANCELLED] = "CANCELLED",
    [GRPC_UNKNOWN] = "UNKNOWN",
    [GRPC_INVALID_ARGUMENT] = "INVALID_ARGUMENT",
    [GRPC_DEADLINE_EXCEEDED] = "DEADLINE_EXCEEDED",
    [GRPC_NOT_FOUND] = "NOT_FOUND",
    [GRPC_ALREADY_EXISTS] = "ALREADY_EXISTS",
    [GRPC_PERMISSION_DENIED] = "PERMISSION_DENIED",
    [GRPC_RESOURCE_EXHAUSTED] = "RESOURCE_EXHAUSTED",
    [GRPC_FAILED_PRECONDITION] = "FAILED_PRECONDITION",
    [GRPC_ABORTED] = "ABORTED",
    [GRPC_OUT_OF_RANGE] = "OUT_OF_RANGE",
    [GRPC_UNIMPLEMENTED] = "UNIMPLEMENTED",
    [GRPC_INTERNAL] = "INTERNAL",
    [GRPC_UNAVAILABLE] = "UNAVAILABLE",
    [GRPC_DATA_LOSS] = "DATA_LOSS",
    [GRPC_UNAUTHENTICATED] = "UNAUTHENTICATED",
};

const char *grpc_status_name(int status)
{
    return status >= 0 && status < GRPC_STATUSES ? status_names[status] : "UNRECOGNIZED";
}

bool grpc_status_parse(const char *text, size_t len, int *status)
{
    if (len == 0 || len > 9) // nine digits fit an int
        return false;
    int value = 0;
    for (size_t i = 0; i < len; i++) {
        if (!isdigit((unsigned char)text[i]))
            return false;
        value = value * 10 + (text[i] - '0');
    }
    *status = value;
    return true;
}

bool grpc_status_by_name(const char *name, int *status)
{
    for (int i = 0; i < GRPC_STATUSES; i++) {
        if (strcmp(name, status_names[i]) == 0) {
            *status = i;
            return true;
        }
    }
    return false;
}

// --- messages -------------------------------------------------------------------------------------------------------
void grpc_prefix_write(uint8_t prefix[GRPC_PREFIX_LEN], bool compressed, uint32_t len)
{
    prefix[0] = compressed;
    for (int i = 0; i < 4; i++)
        prefix[1 + i] = (uint8_t)(len >> (24 - 8 * i));
}

int grpc_deframer_feed(struct grpc_deframer *deframer, struct weir_slice *data, struct weir_slice *payload,
                       struct weir_err *err)
{
    *payload = (struct weir_slice){data->data, 0};
    while (deframer->prefix_len < GRPC_PREFIX_LEN && data->len > 0) {
        if (deframer->prefix_len == 0 && data->data[0] > 1)
            return weir_fail(err, WEIR_E_INVALID, "gRPC message: flag %u is neither 0 nor 1", data->data[0]);
        deframer->prefix[deframer->prefix_len++] = *data->data++;
        data->len--;
        if (deframer->prefix_len == GRPC_PREFIX_LEN) {
            const uint8_t *p = deframer->prefix;
            deframer->compressed = p[0] == 1;
            deframer->length = (uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | p[4];
        }
    }
    if (data->len == 0)
        return WEIR_OK;
    uint32_t left = deframer->length - deframer->got;
    if (left == 0)
        return weir_fail(err, WEIR_E_INVALID, "gRPC message: more bytes behind the only message of the call");
    *payload = (struct weir_slice){data->data, data->len < left ? data->len : left};
    deframer->got += (uint32_t)payload->len;
    data->data += payload->len;
    data->len -= payload->len;
    return WEIR_OK;
}

int grpc_deframer_finish(const struct grpc_deframer *deframer, struct weir_err *err)
{
    if (deframer->prefix_len == 0)
        return weir_fail(err, WEIR_E_INVALID, "gRPC message: the call ended without one");
    if (deframer->prefix_len < GRPC_PREFIX_LEN)
        return weir_fail(err, WEIR_E_INVALID, "gRPC message: the call ended inside the prefix");
    if (deframer->got < deframer->length)
        return weir_fail(err, WEIR_E_INVALID, "gRPC message: the call ended after %u of %u bytes", deframer->got,
                         deframer->length);
    return WEIR_OK;
}

// --- timeouts -------------------------------------------------------------------------------------------------------
static const struct {
    char unit;
    uint64_t ns;
} timeout_units[] = {{'n', 1},
                     {'u', 1000},
                     {'m', 1000000},
                     {'S', 1000000000},
                     {'M', UINT64_C(60000000000)},
                     {'H', UINT64_C(3600000000000)}};
#define TIMEOUT_DIGITS 8
#define TIMEOUT_MAX    99999999u

bool grpc_timeout_parse(const char *text, size_t len, uint64_t *timeout_ns)
{
    if (len < 2 || len > TIMEOUT_DIGITS + 1)
        return false;
    uint64_t value = 0;
    for (size_t i = 0; i + 1 < len; i++) {
        if (!isdigit((unsigned char)text[i]))
            return false;
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    for (size_t i = 0; i < WEIR_COUNT(timeout_units); i++) {
        if (timeout_units[i].unit != text[len - 1])
            continue;
        uint64_t unit_ns = timeout_units[i].ns;
        *timeout_ns = value > INT64_MAX / unit_ns ? INT64_MAX : value * unit_ns;
        return true;
    }
    return false;
}

void grpc_timeout_format(uint64_t timeout_ns, char buf[16])
{
    // Milliseconds are what people read; a coarser unit only where they do not fit. 2^64 ns are 5.2 million hours.
    size_t i = 2;
    uint64_t count;
    for (;; i++) {
        uint64_t unit_ns = timeout_units[i].ns;
        count = timeout_ns / unit_ns + (timeout_ns % unit_ns != 0);
        if (count <= TIMEOUT_MAX)
            break;
    }
    snprintf(buf, 16, "%u%c", (unsigned)count, timeout_units[i].unit);
}

// --- grpc-message ---------------------------------------------------------------------------------------------------
void grpc_message_encode(const char *text, char *out, size_t cap)
{
    static const char hex[] = "0123456789ABCDEF";
    assert(cap > 0);
    size_t used = 0;
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        bool escape = *p < 0x20 || *p > 0x7e || *p == '%';
        if (used + (escape ? 3 : 1) >= cap)
            break;
        if (escape) {
            out[used++] = '%';
            out[used++] = hex[*p >> 4];
            out[used++] = hex[*p & 15];
        } else {
            out[used++] = (char)*p;
        }
    }
    out[used] = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

void grpc_message_decode(const char *text, size_t len, char *out, size_t cap)
{
    assert(cap > 0);
    size_t used = 0;
    for (size_t i = 0; i < len && used + 1 < cap; i++) {
        bool escape = text[i] == '%' && len - i > 2 && hex_value(text[i + 1]) >= 0 && hex_value(text[i + 2]) >= 0;
        out[used++] = escape ? (char)(hex_value(text[i + 1]) << 4 | hex_value(text[i + 2])) : text[i];
        i += escape ? 2 : 0;
    }
    out[used] = '\0';
}
