// SPDX-License-Identifier: Apache-2.0
// google.rpc.Status with google.rpc.RetryInfo, and the base64 that carries them in headers. By hand over wire.h: peers
// send these, and a reader that allocates nothing has nothing to exhaust.
#include "proto/grpc.h"
#include "proto/utf8.h"
#include "proto/wire.h"

enum { STATUS_CODE = 1, STATUS_MESSAGE = 2, STATUS_DETAILS = 3 };
enum { ANY_TYPE_URL = 1, ANY_VALUE = 2 };
enum { RETRY_INFO_DELAY = 1 };
enum { DURATION_SECONDS = 1, DURATION_NANOS = 2 };

#define RETRY_INFO_NAME "/google.rpc.RetryInfo"
static const char retry_info_url[] = "type.googleapis.com" RETRY_INFO_NAME;

#define DURATION_MAX_S UINT64_C(315576000000) // google.protobuf.Duration's own limit: 10,000 years

// --- encoding -------------------------------------------------------------------------------------------------------
int rpc_retry_info_encode(uint64_t delay_ms, struct weir_buf *out)
{
    uint64_t seconds = delay_ms / 1000;
    if (seconds > DURATION_MAX_S)
        seconds = DURATION_MAX_S;
    struct weir_buf duration = {0};
    bool ok = wire_put_varint(&duration, DURATION_SECONDS, seconds) &&
              wire_put_varint(&duration, DURATION_NANOS, delay_ms % 1000 * 1000000) &&
              wire_put_bytes(out, RETRY_INFO_DELAY, duration.data, duration.len);
    weir_buf_free(&duration);
    return ok ? WEIR_OK : WEIR_E_NOMEM;
}

static bool put_retry_info(struct weir_buf *out, uint64_t delay_ms)
{
    struct weir_buf info = {0}, any = {0};
    bool ok = rpc_retry_info_encode(delay_ms, &info) == WEIR_OK &&
              wire_put_bytes(&any, ANY_TYPE_URL, retry_info_url, sizeof(retry_info_url) - 1) &&
              wire_put_bytes(&any, ANY_VALUE, info.data, info.len) &&
              wire_put_bytes(out, STATUS_DETAILS, any.data, any.len);
    weir_buf_free(&info);
    weir_buf_free(&any);
    return ok;
}

int rpc_status_encode(const struct rpc_status *status, struct weir_buf *out)
{
    size_t len = strnlen(status->message, sizeof(status->message));
    bool ok = wire_put_varint(out, STATUS_CODE, (uint64_t)(int64_t)status->code) &&
              (len == 0 || wire_put_bytes(out, STATUS_MESSAGE, status->message, len)) &&
              (!status->has_retry_info || put_retry_info(out, status->retry_delay_ms));
    return ok ? WEIR_OK : WEIR_E_NOMEM;
}

// --- decoding -------------------------------------------------------------------------------------------------------
// The last field `number` of a message that is of the given type: in found. False when the message is broken or the field
// has another type.
static bool find_field(struct weir_slice message, uint32_t number, enum wire_type type, struct wire_field *found)
{
    *found = (struct wire_field){0};
    struct wire_reader reader = wire_reader_of(message);
    struct wire_field field;
    int next;
    while ((next = wire_next(&reader, &field)) == 1) {
        if (field.number != number)
            continue;
        if (field.type != type)
            return false;
        *found = field;
    }
    return next == 0;
}

static bool decode_retry_info(struct weir_slice info, struct rpc_status *out)
{
    struct wire_field delay, seconds, nanos;
    if (!find_field(info, RETRY_INFO_DELAY, WIRE_LEN, &delay) ||
        !find_field(delay.bytes, DURATION_SECONDS, WIRE_VARINT, &seconds) ||
        !find_field(delay.bytes, DURATION_NANOS, WIRE_VARINT, &nanos))
        return false;
    int64_t s = (int64_t)seconds.value;
    int64_t ns = (int32_t)nanos.value;
    out->has_retry_info = true;
    out->retry_delay_ms = 0;
    if (s < 0 || ns < 0 || ns > 999999999) // negative or no Duration at all: presence alone counts
        return true;
    if ((uint64_t)s > DURATION_MAX_S)
        s = (int64_t)DURATION_MAX_S;
    out->retry_delay_ms = (uint64_t)s * 1000 + ((uint64_t)ns + 999999) / 1000000;
    return true;
}

// Whether an Any's type URL names RetryInfo: what counts is behind its last slash.
static bool url_is_retry_info(struct weir_slice url)
{
    size_t len = sizeof(RETRY_INFO_NAME) - 1;
    return url.len >= len && memcmp(url.data + url.len - len, RETRY_INFO_NAME, len) == 0;
}

static bool decode_detail(struct weir_slice any, struct rpc_status *out)
{
    struct wire_field url, value;
    if (!find_field(any, ANY_TYPE_URL, WIRE_LEN, &url) || !find_field(any, ANY_VALUE, WIRE_LEN, &value))
        return false;
    return !url_is_retry_info(url.bytes) || decode_retry_info(value.bytes, out);
}

static bool decode_field(const struct wire_field *field, struct rpc_status *out)
{
    switch (field->number) {
    case STATUS_CODE:
        out->code = (int)(int32_t)field->value;
        return field->type == WIRE_VARINT;
    case STATUS_MESSAGE:
        if (field->type != WIRE_LEN)
            return false;
        utf8_copy_text(out->message, sizeof(out->message), field->bytes.data, field->bytes.len);
        return true;
    case STATUS_DETAILS:
        return field->type == WIRE_LEN && decode_detail(field->bytes, out);
    default:
        return true;
    }
}

int rpc_status_decode(struct weir_slice body, struct rpc_status *out, struct weir_err *err)
{
    *out = (struct rpc_status){0};
    if (body.len > RPC_STATUS_MAX_BYTES)
        return weir_fail(err, WEIR_E_LIMIT, "google.rpc.Status: %zu bytes, above %u", body.len, RPC_STATUS_MAX_BYTES);
    struct rpc_status status = {0};
    struct wire_reader reader = wire_reader_of(body);
    struct wire_field field;
    int found;
    while ((found = wire_next(&reader, &field)) == 1)
        if (!decode_field(&field, &status))
            return weir_fail(err, WEIR_E_INVALID, "google.rpc.Status: field %u is broken", field.number);
    if (found != 0)
        return weir_fail(err, WEIR_E_INVALID, "google.rpc.Status: broken field");
    *out = status;
    return WEIR_OK;
}

// --- base64 ---------------------------------------------------------------------------------------------------------
static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int grpc_bin_encode(struct weir_slice data, struct weir_buf *out)
{
    if (data.len > SIZE_MAX / 4 || !weir_buf_reserve(out, data.len / 3 * 4 + 4))
        return WEIR_E_NOMEM;
    for (size_t i = 0; i < data.len; i += 3) {
        size_t some = data.len - i < 3 ? data.len - i : 3;
        uint32_t bits = 0;
        for (size_t k = 0; k < 3; k++)
            bits = bits << 8 | (k < some ? data.data[i + k] : 0);
        for (size_t k = 0; k <= some; k++)
            out->data[out->len++] = (uint8_t)base64_digits[bits >> (18 - 6 * k) & 63];
    }
    return WEIR_OK;
}

int grpc_bin_decode(const char *text, size_t len, struct weir_buf *out, struct weir_err *err)
{
    if (len > 0 && len % 4 == 0 && text[len - 1] == '=')
        len -= text[len - 2] == '=' ? 2 : 1;
    if (len % 4 == 1)
        return weir_fail(err, WEIR_E_INVALID, "base64: %zu digits cannot be", len);
    if (!weir_buf_reserve(out, len / 4 * 3 + 3))
        return weir_fail(err, WEIR_E_NOMEM, "base64: out of memory for %zu bytes", len);
    size_t before = out->len;
    uint32_t bits = 0;
    for (size_t i = 0; i < len; i++) {
        const char *digit = text[i] == '\0' ? NULL : strchr(base64_digits, text[i]);
        if (digit == NULL) {
            out->len = before;
            return weir_fail(err, WEIR_E_INVALID, "base64: no digit at %zu", i);
        }
        bits = bits << 6 | (uint32_t)(digit - base64_digits);
        // Digits 2, 3 and 4 of a group each complete a byte.
        if (i % 4 != 0)
            out->data[out->len++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
    }
    return WEIR_OK;
}
