// SPDX-License-Identifier: Apache-2.0
#include "proto/json_scan.h"

#include <math.h>

#include "proto/wire.h"

#define ALL(byte) (UINT64_C(0x0101010101010101) * (byte))

bool json_take_word(struct json_scan *scan, const char *word)
{
    size_t len = strlen(word);
    json_peek(scan);
    if ((size_t)(scan->end - scan->p) < len || memcmp(scan->p, word, len) != 0)
        return false;
    scan->p += len;
    return true;
}

// --- strings ------------------------------------------------------------------------------------------------------------

// High bits where a byte of `word` is a quote, a backslash or below 0x20. Exact up to the first such byte, which is all that is asked.
static inline uint64_t stops_in(uint64_t word)
{
    uint64_t quote = word ^ ALL('"'), backslash = word ^ ALL('\\');
    return ((quote - ALL(1)) & ~quote) | ((backslash - ALL(1)) & ~backslash) | ((word - ALL(0x20)) & ~word);
}

static int hex_digit(uint8_t c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

// One escape, from the backslash on.
static bool take_escape(struct json_scan *scan)
{
    if (scan->end - scan->p < 2)
        return json_fault(scan, "a string is cut off");
    uint8_t kind = scan->p[1];
    if (kind != 'u' && (kind == 0 || strchr("\"\\/bfnrt", kind) == NULL))
        return json_fault(scan, "an unknown escape in a string");
    scan->p += 2;
    for (int i = 0; kind == 'u' && i < 4; i++, scan->p++)
        if (scan->p == scan->end || hex_digit(*scan->p) < 0)
            return json_fault(scan, "\\u without four hex digits");
    return true;
}

bool json_read_string(struct json_scan *scan, struct json_string *out)
{
    if (!json_take(scan, '"'))
        return json_fault(scan, "a string is needed");
    const uint8_t *begin = scan->p;
    uint64_t high = 0;
    out->escaped = false;
    for (;;) {
        while (scan->end - scan->p >= 8) {
            uint64_t word = wire_load64(scan->p), stops = stops_in(word) & WIRE_HIGH_BITS;
            if (stops != 0) {
                unsigned before = (unsigned)__builtin_ctzll(stops) / 8;
                high |= before > 0 ? word << (64 - 8 * before) : 0;
                scan->p += before;
                break;
            }
            high |= word;
            scan->p += 8;
        }
        if (scan->p == scan->end)
            return json_fault(scan, "a string is cut off");
        if (*scan->p == '"')
            break;
        if (*scan->p < 0x20)
            return json_fault(scan, "a control character in a string");
        if (*scan->p == '\\') {
            out->escaped = true;
            if (!take_escape(scan))
                return false;
            continue;
        }
        high |= *scan->p++;
    }
    out->raw = (struct weir_slice){begin, (size_t)(scan->p - begin)};
    out->ascii = (high & WIRE_HIGH_BITS) == 0;
    scan->p++;
    return true;
}

static uint32_t hex4(const uint8_t *p)
{
    return (uint32_t)(hex_digit(p[0]) << 12 | hex_digit(p[1]) << 8 | hex_digit(p[2]) << 4 | hex_digit(p[3]));
}

static size_t put_utf8(uint8_t *to, uint32_t c)
{
    if (c < 0x80) {
        to[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        to[0] = (uint8_t)(0xc0 | c >> 6);
        to[1] = (uint8_t)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        to[0] = (uint8_t)(0xe0 | c >> 12);
        to[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        to[2] = (uint8_t)(0x80 | (c & 0x3f));
        return 3;
    }
    to[0] = (uint8_t)(0xf0 | c >> 18);
    to[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
    to[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
    to[3] = (uint8_t)(0x80 | (c & 0x3f));
    return 4;
}

// \uXXXX at p, with its other half when it has one. Returns what is behind it.
static const uint8_t *unescape_unit(const uint8_t *p, const uint8_t *end, uint32_t *c)
{
    *c = hex4(p + 2);
    p += 6;
    if (*c < 0xd800 || *c > 0xdfff)
        return p;
    bool pair = *c < 0xdc00 && end - p >= 6 && p[0] == '\\' && p[1] == 'u';
    uint32_t low = pair ? hex4(p + 2) : 0;
    if (low < 0xdc00 || low > 0xdfff) {
        *c = 0xfffd;
        return p;
    }
    *c = 0x10000 + ((*c - 0xd800) << 10) + (low - 0xdc00);
    return p + 6;
}

size_t json_unescape(const struct json_string *string, uint8_t *to)
{
    static const char kinds[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
    const uint8_t *p = string->raw.data, *end = p + string->raw.len;
    uint8_t *begin = to;
    while (p < end) {
        const uint8_t *escape = (const uint8_t *)memchr(p, '\\', (size_t)(end - p));
        size_t plain = (size_t)((escape != NULL ? escape : end) - p);
        memcpy(to, p, plain);
        to += plain;
        if (escape == NULL)
            break;
        if (escape[1] == 'u') {
            uint32_t c;
            p = unescape_unit(escape, end, &c);
            to += put_utf8(to, c);
        } else {
            *to++ = (uint8_t)means[strchr(kinds, escape[1]) - kinds];
            p = escape + 2;
        }
    }
    return (size_t)(to - begin);
}

// --- numbers ------------------------------------------------------------------------------------------------------------

static bool is_digit(const struct json_scan *scan)
{
    return scan->p < scan->end && *scan->p >= '0' && *scan->p <= '9';
}

// A run of digits; false when there is none.
static bool take_digits(struct json_scan *scan, struct json_number *out, int per_digit)
{
    if (!is_digit(scan))
        return false;
    for (; is_digit(scan); scan->p++) {
        uint64_t more;
        if (out->exact && !__builtin_mul_overflow(out->digits, 10u, &more) &&
            !__builtin_add_overflow(more, (uint64_t)(*scan->p - '0'), &more)) {
            out->digits = more;
            out->exponent += per_digit;
        } else {
            out->exact = false;
        }
    }
    return true;
}

static bool take_exponent(struct json_scan *scan, struct json_number *out)
{
    bool negative = false;
    if (scan->p < scan->end && (*scan->p == '+' || *scan->p == '-'))
        negative = *scan->p++ == '-';
    if (!is_digit(scan))
        return false;
    int exponent = 0;
    for (; is_digit(scan); scan->p++)
        exponent = exponent < 100000 ? exponent * 10 + (*scan->p - '0') : exponent;
    out->exponent += negative ? -exponent : exponent;
    return true;
}

bool json_read_number(struct json_scan *scan, struct json_number *out)
{
    json_peek(scan);
    const uint8_t *begin = scan->p;
    *out = (struct json_number){.exact = true};
    if (scan->p < scan->end && *scan->p == '-') {
        out->negative = true;
        scan->p++;
    }
    const uint8_t *first = scan->p;
    if (!take_digits(scan, out, 0))
        return json_fault(scan, "a number is needed");
    if (*first == '0' && scan->p - first > 1)
        return json_fault(scan, "a number with a leading 0");
    if (scan->p < scan->end && *scan->p == '.') {
        scan->p++;
        if (!take_digits(scan, out, -1))
            return json_fault(scan, "no digit behind a decimal point");
    }
    if (scan->p < scan->end && (*scan->p | 0x20) == 'e') {
        scan->p++;
        if (!take_exponent(scan, out))
            return json_fault(scan, "an exponent without digits");
    }
    out->text = (struct weir_slice){begin, (size_t)(scan->p - begin)};
    return out->text.len <= JSON_NUMBER_MAX || json_fault(scan, "a number of more than 400 characters");
}

bool json_number_of(struct weir_slice text, struct json_number *out)
{
    struct json_scan scan = json_scan_of(text);
    // No blanks: they belong to the text around a number, not to a string.
    return text.len > 0 && text.data[0] > ' ' && json_read_number(&scan, out) && scan.p == scan.end;
}

bool json_number_u64(const struct json_number *number, uint64_t *out)
{
    uint64_t value = number->digits;
    int exponent = number->exponent;
    if (!number->exact)
        return false;
    for (; exponent > 0 && value != 0; exponent--)
        if (__builtin_mul_overflow(value, 10u, &value))
            return false;
    for (; exponent < 0 && value != 0; exponent++) {
        if (value % 10 != 0)
            return false;
        value /= 10;
    }
    *out = value;
    return !number->negative || value == 0;
}

bool json_number_i64(const struct json_number *number, int64_t *out)
{
    struct json_number positive = *number;
    uint64_t value;
    positive.negative = false;
    if (!json_number_u64(&positive, &value) || value > (uint64_t)INT64_MAX + number->negative)
        return false;
    *out = number->negative ? (int64_t)(~value + 1) : (int64_t)value;
    return true;
}

bool json_number_double(const struct json_number *number, double *out)
{
    static const double tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                  1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    int exponent = number->exponent;
    // Both exact as doubles: one operation rounds once, as it should.
    if (number->exact && number->digits <= UINT64_C(1) << 53 && exponent > -23 && exponent < 23) {
        double value = (double)number->digits;
        value = exponent < 0 ? value / tens[-exponent] : value * tens[exponent];
        *out = number->negative ? -value : value;
        return true;
    }
    char text[JSON_NUMBER_MAX + 1];
    memcpy(text, number->text.data, number->text.len);
    text[number->text.len] = '\0';
    *out = strtod(text, NULL); // the program never leaves the C locale
    return isfinite(*out);
}

// --- strings that hold something else --------------------------------------------------------------------------------

static int base64_value(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

bool json_decode_base64(struct weir_slice text, uint8_t *to, size_t *len)
{
    size_t n = text.len;
    while (n > 0 && text.data[n - 1] == '=' && text.len - n < 2)
        n--;
    if (n % 4 == 1 || (n < text.len && text.len % 4 != 0))
        return false;
    uint32_t bits = 0;
    unsigned have = 0;
    *len = 0;
    for (size_t i = 0; i < n; i++) {
        int value = base64_value(text.data[i]);
        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
        have += 6;
        if (have >= 8) {
            have -= 8;
            to[(*len)++] = (uint8_t)(bits >> have);
        }
    }
    return true;
}

bool json_decode_hex(struct weir_slice text, uint8_t *to)
{
    int wrong = 0;
    for (size_t i = 0; i + 1 < text.len; i += 2) {
        int high = hex_digit(text.data[i]), low = hex_digit(text.data[i + 1]);
        wrong |= high | low;
        to[i / 2] = (uint8_t)((unsigned)high << 4 | ((unsigned)low & 15));
    }
    return wrong >= 0 && text.len % 2 == 0;
}

bool json_special_double(struct weir_slice text, double *out)
{
    static const struct {
        const char *name;
        double value;
    } specials[] = {{"NaN", (double)NAN}, {"Infinity", (double)INFINITY}, {"-Infinity", -(double)INFINITY}};
    for (size_t i = 0; i < WEIR_COUNT(specials); i++) {
        if (text.len == strlen(specials[i].name) && memcmp(text.data, specials[i].name, text.len) == 0) {
            *out = specials[i].value;
            return true;
        }
    }
    return false;
}

// --- whatever ------------------------------------------------------------------------------------------------------------

// NOLINTBEGIN(misc-no-recursion): no deeper than JSON_SKIP_DEPTH
static bool skip(struct json_scan *scan, unsigned depth)
{
    struct json_string string;
    struct json_number number;
    uint8_t c = json_peek(scan);
    if (c == '"')
        return json_read_string(scan, &string);
    if (c != '{' && c != '[') {
        if (json_take_word(scan, "null") || json_take_word(scan, "true") || json_take_word(scan, "false"))
            return true;
        return c == '-' || (c >= '0' && c <= '9') ? json_read_number(scan, &number)
                                                  : json_fault(scan, "a value is needed");
    }
    if (depth == JSON_SKIP_DEPTH)
        return json_fault(scan, "an unknown field is nested too deep");
    uint8_t end = c == '{' ? '}' : ']';
    scan->p++;
    if (json_take(scan, end))
        return true;
    do {
        if (c == '{' && !json_read_string(scan, &string))
            return false;
        if (c == '{' && !json_take(scan, ':'))
            return json_fault(scan, "':' is needed");
        if (!skip(scan, depth + 1))
            return false;
    } while (json_take(scan, ','));
    return json_take(scan, end) || json_fault(scan, c == '{' ? "',' or '}' is needed" : "',' or ']' is needed");
}
// NOLINTEND(misc-no-recursion)

bool json_skip(struct json_scan *scan)
{
    return skip(scan, 0);
}
