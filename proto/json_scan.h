// SPDX-License-Identifier: Apache-2.0
// The atoms of JSON text (RFC 8259), read from a slice. The first failure sticks in `fault`; what is returned then means nothing. Pure,
// any thread.
#ifndef WEIR_PROTO_JSON_SCAN_H
#define WEIR_PROTO_JSON_SCAN_H

#include "proto/base.h"

#define JSON_NUMBER_MAX 400 // characters of one number
#define JSON_SKIP_DEPTH 64  // of a value that nobody wants

struct json_scan {
    const uint8_t *begin, *p, *end;
    const char *fault; // what is wrong at p, for a person; NULL: nothing so far
};

static inline struct json_scan json_scan_of(struct weir_slice text)
{
    return (struct json_scan){text.data, text.data, text.data + text.len, NULL};
}
// Always false.
static inline bool json_fault(struct json_scan *scan, const char *fault)
{
    if (scan->fault == NULL)
        scan->fault = fault;
    return false;
}

// The next byte that is no blank, without taking it; 0 at the end (no token begins with a 0).
static inline uint8_t json_peek(struct json_scan *scan)
{
    while (scan->p < scan->end && (*scan->p == ' ' || *scan->p == '\n' || *scan->p == '\r' || *scan->p == '\t'))
        scan->p++;
    return scan->p < scan->end ? *scan->p : 0;
}
// Takes that byte when it is `c`.
static inline bool json_take(struct json_scan *scan, uint8_t c)
{
    if (json_peek(scan) != c)
        return false;
    scan->p++;
    return true;
}
// Takes `word` (true, false, null) when it is next.
bool json_take_word(struct json_scan *scan, const char *word);

// What lies between the quotes, as it is written.
struct json_string {
    struct weir_slice raw;
    bool escaped; // has backslashes
    bool ascii;
};
bool json_read_string(struct json_scan *scan, struct json_string *out);
// Decodes the escapes to `to`, which has room for raw.len bytes; returns how many it wrote. The string must be sound (json_read_string looks at
// each escape). A surrogate without its other half becomes U+FFFD (OTLP.md J15).
size_t json_unescape(const struct json_string *string, uint8_t *to);

struct json_number {
    bool negative;
    uint64_t digits; // of all digits, without the point
    int exponent;    // of ten
    bool exact;      // `digits` has them all
    struct weir_slice text;
};
bool json_read_number(struct json_scan *scan, struct json_number *out);
// The whole of `text` as a number, as protobuf's JSON has 64-bit integers in strings. False: it is none.
bool json_number_of(struct weir_slice text, struct json_number *out);
// Its value. False: not an integer (1.0 and 1e3 are: OTLP.md J9), or out of range. -0 is 0.
bool json_number_u64(const struct json_number *number, uint64_t *out);
bool json_number_i64(const struct json_number *number, int64_t *out);
bool json_number_double(const struct json_number *number, double *out);

// What protobuf's JSON has in strings. Hex of either case. Base64 standard or URL-safe, padded or not (OTLP.md J3); `to` has room for
// as many bytes as the text. "NaN", "Infinity", "-Infinity". False: it is none.
bool json_decode_hex(struct weir_slice text, uint8_t *to);
bool json_decode_base64(struct weir_slice text, uint8_t *to, size_t *len);
bool json_special_double(struct weir_slice text, double *out);

// Takes any one value.
bool json_skip(struct json_scan *scan);

#endif
