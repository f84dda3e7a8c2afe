// SPDX-License-Identifier: Apache-2.0
// UTF-8 as RFC 3629 has it: no surrogates, no overlong forms, nothing above U+10FFFF. Pure, any thread.
#ifndef WEIR_PROTO_UTF8_H
#define WEIR_PROTO_UTF8_H

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "proto/wire.h"

// Whether every byte is below 0x80. The last word is read a second time, overlapping, instead of byte by byte.
static inline bool utf8_is_ascii(const uint8_t *p, size_t len)
{
    if (len >= 8) {
        uint64_t seen = wire_load64(p + len - 8);
        for (size_t i = 0; i + 8 < len; i += 8)
            seen |= wire_load64(p + i);
        return (seen & WIRE_HIGH_BITS) == 0;
    }
    uint8_t seen = 0;
    for (size_t i = 0; i < len; i++)
        seen |= p[i];
    return seen < 0x80;
}

// The same for up to UTF8_WINDOW bytes of which UTF8_WINDOW can be read. Lengths of strings are random, and a loop over
// one ends with a mispredicted branch, which costs more than the string does: here there is no loop to end.
#define UTF8_WINDOW 64
static inline bool utf8_window_is_ascii(const uint8_t *p, size_t len)
{
#if defined(__SSE2__)
    uint64_t high = 0;
    for (int i = 0; i < 4; i++)
        high |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i)))
                << (16 * i);
    return len == 0 || high << (UTF8_WINDOW - len) == 0;
#else
    return utf8_is_ascii(p, len);
#endif
}

// Length of the character at p (1-4), or 0 when it is no UTF-8. `left` > 0: bytes that can be read.
size_t utf8_character_len(const uint8_t *p, size_t left);

bool utf8_is_valid(const uint8_t *data, size_t len);

// Copies text into out[cap], NUL-terminated: always valid UTF-8, cut at a whole character, with '?' for bytes that are no
// UTF-8 and a blank for control characters, so that a peer's words are safe to log and to show.
void utf8_copy_text(char *out, size_t cap, const void *text, size_t len);

#endif
