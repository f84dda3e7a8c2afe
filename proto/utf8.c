// SPDX-License-Identifier: Apache-2.0
#include "proto/utf8.h"

size_t utf8_character_len(const uint8_t *p, size_t left)
{
    uint8_t first = p[0];
    if (first < 0x80)
        return 1;
    size_t len = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (len == 0 || len > left)
        return 0;
    // The second byte alone excludes overlong forms, surrogates and what lies above U+10FFFF.
    uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    uint8_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

bool utf8_is_valid(const uint8_t *data, size_t len)
{
    size_t i = 0;
    while (i < len) {
        if (len - i >= 8 && (wire_load64(data + i) & WIRE_HIGH_BITS) == 0) {
            i += 8;
            continue;
        }
        size_t step = utf8_character_len(data + i, len - i);
        if (step == 0)
            return false;
        i += step;
    }
    return true;
}

void utf8_copy_text(char *out, size_t cap, const void *text, size_t len)
{
    assert(cap > 0);
    const uint8_t *from = (const uint8_t *)text;
    size_t used = 0;
    for (size_t i = 0; i < len;) {
        size_t step = utf8_character_len(from + i, len - i);
        if (used + (step ? step : 1) >= cap)
            break;
        if (step == 0)
            out[used++] = '?';
        else if (step == 1)
            out[used++] = from[i] < 0x20 || from[i] == 0x7f ? ' ' : (char)from[i];
        for (size_t k = 0; step > 1 && k < step; k++)
            out[used++] = (char)from[i + k];
        i += step ? step : 1;
    }
    out[used] = '\0';
}
