// SPDX-License-Identifier: Apache-2.0
#include "relay/handoff.h"

#include <criterion/criterion.h>
#include <stdio.h>

TestSuite(handoff, .timeout = 60);

#define INSTANCE "0f8fad5b-d9cb-469f-a165-70867728950e"

static struct weir_slice slice(const char *text)
{
    return (struct weir_slice){(const uint8_t *)text, strlen(text)};
}

Test(handoff, is_read_as_it_was_written)
{
    static const struct handoff cases[] = {
        {.instance = {1, 2, 3},
         .signal = WEIR_LOGS,
         .scope = 0xfedcba9876543210u,
         .span = {{17, 0}, {42, 0}},
         .low = 9},
        {.instance = {0xff}, .signal = WEIR_LOGS, .scope = 1, .span = {{17, 100}, {17, 4294967295u}}, .low = 0},
        {.signal = WEIR_LOGS, .scope = 0, .span = {{0, 0}, {INT64_MAX, 0}}, .low = INT64_MAX},
    };
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        char text[HANDOFF_TEXT_MAX], batch[100] = "";
        uint8_t bytes[HANDOFF_BYTES], again[HANDOFF_BYTES];
        struct handoff out = {0};
        for (int k = 0; k < 16; k++)
            sprintf(batch + strlen(batch), "%s%02x", k == 4 || k == 6 || k == 8 || k == 10 ? "-" : "",
                    cases[i].instance[k]);
        strcat(batch, "/logs/17-41");
        handoff_format(&cases[i], text);
        cr_assert(handoff_parse(slice(batch), slice(text), WEIR_LOGS, &out), "%s %s", batch, text);
        handoff_put(&cases[i], bytes);
        handoff_put(&out, again);
        cr_expect(out.signal == WEIR_LOGS && memcmp(bytes, again, sizeof(bytes)) == 0, "%s %s", batch, text);
        out = (struct handoff){0};
        cr_assert(handoff_get((struct weir_slice){bytes, sizeof(bytes)}, WEIR_LOGS, &out));
        handoff_put(&out, again);
        cr_expect(out.signal == WEIR_LOGS && memcmp(bytes, again, sizeof(bytes)) == 0, "case %zu", i);
        cr_expect_not(handoff_get((struct weir_slice){bytes, sizeof(bytes) - 1}, WEIR_LOGS, &out));
    }
}

Test(handoff, of_others_is_none)
{
    static const struct {
        const char *batch, *text;
        bool good;
    } cases[] = {
        {INSTANCE "/traces/17-41", "8f14e45fceea167a/17/42/9", true},
        {INSTANCE "/traces/17-41/0-9", "8f14e45fceea167a/17/17.10/9", true},
        {INSTANCE "/logs/17-41", "8f14e45fceea167a/17/42/9", false}, // another signal than the path's
        {INSTANCE "/traces", "8f14e45fceea167a/17/42/9", false},
        {INSTANCE "/traces/17-", "8f14e45fceea167a/17/42/9", false},
        {INSTANCE "/traces/17-41/", "8f14e45fceea167a/17/42/9", false},
        {INSTANCE "/traces/17-41x", "8f14e45fceea167a/17/42/9", false},
        {"0f8fad5bd9cb469fa16570867728950e/traces/17-41", "8f14e45fceea167a/17/42/9", false},
        {"0F8fad5b-d9cb-469f-a165-70867728950e/traces/17-41", "8f14e45fceea167a/17/42/9", false},
        {"", "8f14e45fceea167a/17/42/9", false},
        {INSTANCE "/traces/17-41", "", false},
        {INSTANCE "/traces/17-41", "8f14e45fceea167/17/42/9", false},
        {INSTANCE "/traces/17-41", "8f14e45fceea167A/17/42/9", false},
        {INSTANCE "/traces/17-41", "8f14e45fceea167a/42/42/9", false}, // nothing
        {INSTANCE "/traces/17-41", "8f14e45fceea167a/42/17/9", false},
        {INSTANCE "/traces/17-41", "8f14e45fceea167a/17.0/42/9", false},
        {INSTANCE "/traces/17-41", "8f14e45fceea167a/17./42/9", false},
        {INSTANCE "/traces/17-41", "8f14e45fceea167a/017/42/9", false},
        {INSTANCE "/traces/17-41", "8f14e45fceea167a/+17/42/9", false},
        {INSTANCE "/traces/17-41", "8f14e45fceea167a/17/42", false},
        {INSTANCE "/traces/17-41", "8f14e45fceea167a/17/42/9/", false},
        {INSTANCE "/traces/17-41", "8f14e45fceea167a/17/9223372036854775808/9", false},
        {INSTANCE "/traces/17-41", "8f14e45fceea167a/17/17.4294967296/9", false},
        {INSTANCE "/traces/17-41", "8f14e45fceea167a/17/99999999999999999999999/9", false},
    };
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        struct handoff out;
        cr_expect_eq(handoff_parse(slice(cases[i].batch), slice(cases[i].text), WEIR_TRACES, &out), cases[i].good,
                     "case %zu", i);
    }
}
