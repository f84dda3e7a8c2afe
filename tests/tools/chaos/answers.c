// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/chaos/answers.h"

#define FRAME_HEADERS 1
#define END_STREAM    1

unsigned answers_count(struct answers *answers, const uint8_t *bytes, size_t len)
{
    unsigned count = 0;
    bool head = len >= 5 && memcmp(bytes, "HTTP/", 5) == 0;
    if (answers->protocol == ANSWERS_UNKNOWN && len > 0)
        answers->protocol = head ? ANSWERS_HTTP1 : ANSWERS_HTTP2;
    if (answers->protocol != ANSWERS_HTTP2)
        return head ? 1 : 0;
    while (len > 0) {
        size_t n = answers->skip < len ? answers->skip : len;
        answers->skip -= n;
        bytes += n;
        len -= n;
        for (; answers->skip == 0 && len > 0 && answers->have < sizeof(answers->frame); len--)
            answers->frame[answers->have++] = *bytes++;
        if (answers->have < sizeof(answers->frame))
            continue;
        const uint8_t *f = answers->frame;
        answers->skip = (size_t)f[0] << 16 | (size_t)f[1] << 8 | f[2];
        answers->have = 0;
        count += f[3] == FRAME_HEADERS && (f[4] & END_STREAM) != 0;
    }
    return count;
}
