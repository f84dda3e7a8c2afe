// SPDX-License-Identifier: Apache-2.0
//   SIZE ──> (SPACE ─> EXTENSION) ──> SIZE_LF ──> DATA ──> DATA_CR ──> DATA_LF ──> SIZE …
//                                        └─ size 0 ─> LINE ──> LAST_LF ──> the end
//                                                     ^  └> TRAILER ─> TRAILER_LF ┐
//                                                     └──────────────────────────┘
#include "net/http_chunks.h"

#define DIGITS_MAX 16

enum { SIZE, SPACE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, LINE, TRAILER, TRAILER_LF, LAST_LF, END, MALFORMED };

static int digit_of(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int expect(uint8_t c, uint8_t wanted, int next)
{
    return c == wanted ? next : MALFORMED;
}

// In extensions and trailers, which mean nothing here.
static int skip(uint8_t c, int same, int at_cr)
{
    if (c == '\r')
        return at_cr;
    return (c >= 0x20 && c != 0x7f) || c == '\t' ? same : MALFORMED;
}

static int behind_size(uint8_t c)
{
    if (c == ' ' || c == '\t') // some pad the size (RFC 9112, 7.1.1: bad whitespace)
        return SPACE;
    return c == ';' ? EXTENSION : expect(c, '\r', SIZE_LF);
}

static int take_size(struct http_chunks *chunks, uint8_t c)
{
    int digit = digit_of(c);
    if (digit < 0)
        return chunks->digits > 0 ? behind_size(c) : MALFORMED;
    if (chunks->digits == DIGITS_MAX)
        return MALFORMED;
    chunks->digits++;
    chunks->left = chunks->left << 4 | (unsigned)digit;
    return SIZE;
}

static int take(struct http_chunks *chunks, uint8_t c)
{
    switch (chunks->state) {
    case SIZE:
        return take_size(chunks, c);
    case SPACE:
        return behind_size(c);
    case EXTENSION:
        return skip(c, EXTENSION, SIZE_LF);
    case SIZE_LF:
        return expect(c, '\n', chunks->left > 0 ? DATA : LINE);
    case DATA_CR:
        return expect(c, '\r', DATA_LF);
    case DATA_LF:
        chunks->digits = 0;
        return expect(c, '\n', SIZE);
    case LINE:
        return skip(c, TRAILER, LAST_LF);
    case TRAILER:
        return skip(c, TRAILER, TRAILER_LF);
    case TRAILER_LF:
        return expect(c, '\n', LINE);
    case LAST_LF:
        return expect(c, '\n', END);
    default:
        return MALFORMED;
    }
}

ssize_t http_chunks_decode(struct http_chunks *chunks, uint8_t *data, size_t *len)
{
    size_t at = 0, out = 0, end = *len;
    while (at < end && chunks->state < END) {
        if (chunks->state != DATA) {
            chunks->state = (uint8_t)take(chunks, data[at++]);
            continue;
        }
        size_t some = end - at < chunks->left ? end - at : (size_t)chunks->left;
        memmove(data + out, data + at, some);
        at += some;
        out += some;
        chunks->left -= some;
        if (chunks->left == 0)
            chunks->state = DATA_CR;
    }
    *len = out;
    if (chunks->state == MALFORMED)
        return HTTP_CHUNKS_MALFORMED;
    return chunks->state == END ? (ssize_t)(end - at) : HTTP_CHUNKS_MORE;
}
