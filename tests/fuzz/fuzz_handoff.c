// SPDX-License-Identifier: Apache-2.0
// What a peer says of its export (weir-batch and weir-handoff, one line each), and the same as it is stored: what is read is sound, written
// again it is the same, and a set that takes it stays sound.
#include "relay/handoff.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

// What an answer says of where a repetition changes.
static void check_part(struct weir_slice text)
{
    struct position position;
    char again[HANDOFF_REPEAT_MAX];
    if (!handoff_parse_part(text, &position))
        return;
    handoff_format_part(position, again);
    CHECK(strlen(again) == text.len && memcmp(again, text.data, text.len) == 0);
}

static void check(const struct handoff *handoff, struct position_set *set)
{
    char text[HANDOFF_TEXT_MAX];
    uint8_t bytes[HANDOFF_BYTES], again[HANDOFF_BYTES];
    struct handoff out;
    CHECK(position_before(handoff->span.from, handoff->span.to));
    handoff_put(handoff, bytes);
    CHECK(handoff_get((struct weir_slice){bytes, sizeof(bytes)}, handoff->signal, &out));
    handoff_put(&out, again);
    CHECK(memcmp(bytes, again, sizeof(bytes)) == 0);
    handoff_format(handoff, text);
    if (positions_look(set, handoff->span) == POSITIONS_PART) {
        struct position change = positions_change(set, handoff->span);
        CHECK(position_before(handoff->span.from, change) && position_before(change, handoff->span.to));
        CHECK(positions_look(set, (struct position_span){handoff->span.from, change}) != POSITIONS_PART);
    }
    positions_pass(set, (struct position){handoff->low, 0});
    CHECK(positions_add(set, handoff->span) || set->n == POSITIONS_MAX);
    CHECK(positions_sane(set));
    CHECK(set->n == POSITIONS_MAX || positions_look(set, handoff->span) == POSITIONS_ALL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct position_set set = {0};
    struct handoff handoff;
    while (len > 0) {
        const uint8_t *end = memchr(data, '\n', len),
                      *middle = end != NULL ? memchr(data, ' ', (size_t)(end - data)) : NULL;
        if (middle != NULL) {
            struct weir_slice batch = {data, (size_t)(middle - data)}, text = {middle + 1, (size_t)(end - middle - 1)};
            for (int signal = 0; signal < WEIR_SIGNALS; signal++)
                if (handoff_parse(batch, text, (enum weir_signal)signal, &handoff)) {
                    char again[HANDOFF_TEXT_MAX];
                    handoff_format(&handoff, again);
                    CHECK(strlen(again) == text.len && memcmp(again, text.data, text.len) == 0);
                    check(&handoff, &set);
                }
        }
        if (end != NULL)
            check_part((struct weir_slice){data, (size_t)(end - data)});
        size_t line = end != NULL ? (size_t)(end - data) + 1 : len;
        struct weir_slice stored = {data, line};
        if (handoff_get(stored, WEIR_LOGS, &handoff) && handoff.span.to.block <= INT64_MAX && handoff.low <= INT64_MAX)
            check(&handoff, &set);
        data += line;
        len -= line;
    }
    positions_free(&set);
    return 0;
}
