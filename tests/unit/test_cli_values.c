// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>

#include "relay/cli_values.h"

#define S UINT64_C(1000000000)

Test(cli_values, times)
{
    static const struct {
        const char *text;
        uint64_t ns;
    } good[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-11-20T11:00:00Z", 1795172400 * S},
        {"2026-11-20 11:00:00z", 1795172400 * S},
        {"2026-11-20t12:30:00.25+01:30", 1795172400 * S + S / 4},
        {"2026-11-20T09:00:00.123456789123-02:00", 1795172400 * S + 123456789},
        {"2024-02-29T23:59:60Z", 1709251200 * S},
        {"-2h", (1000000 - 7200) * S},
        {"-1m30s", (1000000 - 90) * S},
        {"-0", 1000000 * S},
    };
    static const char *const bad[] = {
        "",
        "-",
        "now",
        "2h",
        "-2",
        "-2x",
        "-300d",
        "2026-11-20",
        "2026-11-20T11:00:00",
        "2026-11-20T11:00Z",
        "2026-02-29T11:00:00Z",
        "2026-13-20T11:00:00Z",
        "2026-11-20T24:00:00Z",
        "2026-11-20T11:00:00.Z",
        "2026-11-20T11:00:00Zx",
        "2026-11-20T11:00:00+1:00",
        "1970-01-01T00:00:00+01:00",
        "1969-12-31T00:00:00Z",
    };
    struct weir_err err;
    uint64_t ns;
    for (size_t i = 0; i < WEIR_COUNT(good); i++) {
        cr_assert_eq(cli_time_parse(good[i].text, 1000000 * S, &ns, &err), WEIR_OK, "%s", good[i].text);
        cr_assert_eq(ns, good[i].ns, "%s: %lu", good[i].text, ns);
    }
    for (size_t i = 0; i < WEIR_COUNT(bad); i++)
        cr_assert_eq(cli_time_parse(bad[i], 1000000 * S, &ns, &err), WEIR_E_INVALID, "%s", bad[i]);
}

Test(cli_values, blocks)
{
    static const struct {
        const char *text;
        uint64_t first, end;
    } good[] = {{"100-199", 100, 200}, {"7", 7, 8}, {"0-0", 0, 1}, {"5-", 5, UINT64_MAX}};
    static const char *const bad[] = {
        "", "-", "-5", "5-4", "a", "5-6-7", "5 - 6", "99999999999999999999", "18446744073709551615"};
    struct weir_err err;
    uint64_t first, end;
    for (size_t i = 0; i < WEIR_COUNT(good); i++) {
        cr_assert_eq(cli_blocks_parse(good[i].text, &first, &end, &err), WEIR_OK, "%s", good[i].text);
        cr_assert_eq(first, good[i].first);
        cr_assert_eq(end, good[i].end);
    }
    for (size_t i = 0; i < WEIR_COUNT(bad); i++)
        cr_assert_eq(cli_blocks_parse(bad[i], &first, &end, &err), WEIR_E_INVALID, "%s", bad[i]);
}

Test(cli_values, signals)
{
    enum weir_signal signal;
    struct weir_err err;
    for (int i = 0; i < WEIR_SIGNALS; i++) {
        cr_assert_eq(cli_signal_parse(weir_signal_name((enum weir_signal)i), &signal, &err), WEIR_OK);
        cr_assert_eq((int)signal, i);
    }
    cr_assert_eq(cli_signal_parse("trace", &signal, &err), WEIR_E_INVALID);
    cr_assert_str_eq(err.text, "'trace' is no signal: take traces, metrics, logs or profiles");
}
