// SPDX-License-Identifier: Apache-2.0
#include "proto/json_text.h"

#include <math.h>
#include <stdio.h>

#include "proto/utf8.h"

#define NUMBER_BYTES 32   // "-1.7976931348623157e+308" and the longest integers fit
#define EXACT_MAX    1e15 // whole doubles up to here are all different decimals, written without an exponent

// Room for `len` more bytes, or NULL.
static uint8_t *reserve(struct json_text *text, size_t len)
{
    struct weir_buf *out = text->out;
    if (text->code != WEIR_OK)
        return NULL;
    if (out->len > text->limit || len > text->limit - out->len)
        text->code = WEIR_E_LIMIT;
    else if (!weir_buf_reserve(out, len))
        text->code = WEIR_E_NOMEM;
    return text->code == WEIR_OK ? out->data + out->len : NULL;
}

void json_put(struct json_text *text, const void *data, size_t len)
{
    uint8_t *to = reserve(text, len);
    if (to == NULL || len == 0)
        return;
    memcpy(to, data, len);
    text->out->len += len;
}

void json_put_char(struct json_text *text, char c)
{
    json_put(text, &c, 1);
}

// Bytes from p on that stand in JSON as they are: printable ASCII but for the quote and the backslash.
static size_t plain_run(const uint8_t *p, size_t len)
{
    size_t n = 0;
    while (n < len && p[n] >= 0x20 && p[n] < 0x80 && p[n] != '"' && p[n] != '\\')
        n++;
    return n;
}

static void put_escape(struct json_text *text, uint8_t byte)
{
    static const char shorts[][2] = {{'"', '"'},  {'\\', '\\'}, {'\n', 'n'}, {'\r', 'r'},
                                     {'\t', 't'}, {'\b', 'b'},  {'\f', 'f'}};
    for (size_t i = 0; i < WEIR_COUNT(shorts); i++)
        if (shorts[i][0] == (char)byte) {
            json_put(text, (char[]){'\\', shorts[i][1]}, 2);
            return;
        }
    char escape[8];
    snprintf(escape, sizeof(escape), "\\u%04x", byte);
    json_put(text, escape, 6);
}

uint64_t json_put_string(struct json_text *text, struct weir_slice string)
{
    uint64_t replaced = 0;
    json_put_char(text, '"');
    for (size_t i = 0; i < string.len && text->code == WEIR_OK;) {
        const uint8_t *p = string.data + i;
        size_t left = string.len - i, len = plain_run(p, left);
        if (len == 0 && *p >= 0x80)
            len = utf8_character_len(p, left);
        if (len > 0) {
            json_put(text, p, len);
        } else if (*p < 0x80) {
            put_escape(text, *p);
            len = 1;
        } else {
            json_put(text, "\xef\xbf\xbd", 3);
            replaced++;
            len = 1;
        }
        i += len;
    }
    json_put_char(text, '"');
    return replaced;
}

void json_put_base64(struct json_text *text, struct weir_slice bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (bytes.len > (SIZE_MAX - 2) / 4 * 3 - 3) {
        text->code = text->code == WEIR_OK ? WEIR_E_LIMIT : text->code;
        return;
    }
    size_t len = (bytes.len + 2) / 3 * 4 + 2;
    uint8_t *to = reserve(text, len);
    if (to == NULL)
        return;
    *to++ = '"';
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t left = bytes.len - i;
        uint32_t three = (uint32_t)bytes.data[i] << 16 | (left > 1 ? (uint32_t)bytes.data[i + 1] << 8 : 0) |
                         (left > 2 ? bytes.data[i + 2] : 0);
        *to++ = (uint8_t)digits[three >> 18];
        *to++ = (uint8_t)digits[three >> 12 & 63];
        *to++ = left > 1 ? (uint8_t)digits[three >> 6 & 63] : '=';
        *to++ = left > 2 ? (uint8_t)digits[three & 63] : '=';
    }
    *to = '"';
    text->out->len += len;
}

void json_put_hex(struct json_text *text, struct weir_slice bytes)
{
    static const char digits[] = "0123456789abcdef";
    json_put_char(text, '"');
    for (size_t i = 0; i < bytes.len && text->code == WEIR_OK; i++)
        json_put(text, (char[]){digits[bytes.data[i] >> 4], digits[bytes.data[i] & 15]}, 2);
    json_put_char(text, '"');
}

void json_put_double(struct json_text *text, double value)
{
    char number[NUMBER_BYTES];
    if (isnan(value)) {
        json_put(text, "\"NaN\"", 5);
        return;
    }
    if (isinf(value)) {
        json_put(text, value < 0 ? "\"-Infinity\"" : "\"Infinity\"", value < 0 ? 11 : 10);
        return;
    }
    if (value == 0 && signbit(value)) { // "-0" is an integer to many readers, and those have no negative zero
        json_put(text, "-0.0", 4);
        return;
    }
    if (fabs(value) < EXACT_MAX && value == (double)(int64_t)value) {
        json_put_i64(text, (int64_t)value);
        return;
    }
    int len = 0;
    for (int digits = 15; digits <= 17; digits++) {
        len = snprintf(number, sizeof(number), "%.*g", digits, value);
        if (strtod(number, NULL) == value)
            break;
    }
    json_put(text, number, (size_t)len);
}

void json_put_u64(struct json_text *text, uint64_t value)
{
    char number[NUMBER_BYTES], *p = number + sizeof(number);
    do
        *--p = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    json_put(text, p, (size_t)(number + sizeof(number) - p));
}

void json_put_i64(struct json_text *text, int64_t value)
{
    if (value < 0)
        json_put_char(text, '-');
    json_put_u64(text, value < 0 ? -(uint64_t)value : (uint64_t)value);
}
