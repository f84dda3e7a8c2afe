// SPDX-License-Identifier: Apache-2.0
#include "relay/cli_values.h"

#include <ctype.h>

#include "relay/config.h"
#include "relay/config_table.h"
#include "relay/config_values.h"

#define SECOND_NS UINT64_C(1000000000)

// Reads exactly `digits` digits with a value in [low, high] and, when `after` is not 0, that character. NULL when they are not there.
static const char *take(const char *p, int digits, int low, int high, char after, int *out)
{
    if (p == NULL)
        return NULL;
    *out = 0;
    for (int i = 0; i < digits; i++, p++) {
        if (!isdigit((unsigned char)*p))
            return NULL;
        *out = *out * 10 + (*p - '0');
    }
    if (*out < low || *out > high || (after != 0 && *p != after))
        return NULL;
    return p + (after != 0);
}

static const char *take_fraction(const char *p, uint64_t *ns)
{
    *ns = 0;
    if (p == NULL || *p != '.')
        return p;
    uint64_t unit = SECOND_NS / 10;
    if (!isdigit((unsigned char)*++p))
        return NULL;
    for (; isdigit((unsigned char)*p); p++, unit /= 10)
        *ns += unit * (uint64_t)(*p - '0');
    return p;
}

static const char *take_offset(const char *p, int *seconds)
{
    *seconds = 0;
    if (p == NULL)
        return NULL;
    if (*p == 'Z' || *p == 'z')
        return p + 1;
    if (*p != '+' && *p != '-')
        return NULL;
    int hours, minutes, sign = *p == '-' ? -1 : 1;
    p = take(take(p + 1, 2, 0, 23, ':', &hours), 2, 0, 59, 0, &minutes);
    if (p != NULL)
        *seconds = sign * (hours * 3600 + minutes * 60);
    return p;
}

static bool parse_rfc3339(const char *text, uint64_t *unix_ns)
{
    int year, month, day, hour, minute, second, offset_seconds;
    uint64_t fraction_ns;
    const char *p = take(take(take(text, 4, 1970, 2500, '-', &year), 2, 1, 12, '-', &month), 2, 1, 31, 0, &day);
    if (p == NULL || (*p != 'T' && *p != 't' && *p != ' '))
        return false;
    p = take(take(take(p + 1, 2, 0, 23, ':', &hour), 2, 0, 59, ':', &minute), 2, 0, 60, 0, &second);
    p = take_offset(take_fraction(p, &fraction_ns), &offset_seconds);
    if (p == NULL || *p != '\0')
        return false;
    struct tm tm = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day};
    int64_t seconds = timegm(&tm);
    if (tm.tm_mday != day) // timegm makes 2 March of 30 February
        return false;
    seconds += hour * 3600 + minute * 60 + second - offset_seconds;
    if (seconds < 0)
        return false;
    *unix_ns = (uint64_t)seconds * SECOND_NS + fraction_ns;
    return true;
}

int cli_time_parse(const char *text, uint64_t now_ns, uint64_t *unix_ns, struct weir_err *err)
{
    uint64_t ago_ms;
    if (text[0] == '-') {
        if (config_duration_parse(text + 1, &ago_ms, err) != WEIR_OK)
            return WEIR_E_INVALID;
        if (ago_ms > now_ns / 1000000)
            return weir_fail(err, WEIR_E_INVALID, "'%.60s' is before 1970", text);
        *unix_ns = now_ns - ago_ms * 1000000;
        return WEIR_OK;
    }
    if (!parse_rfc3339(text, unix_ns))
        return weir_fail(err, WEIR_E_INVALID,
                         "'%.60s' is no time: take RFC 3339, such as 2026-11-20T11:00:00Z, or -2h for two hours ago",
                         text);
    return WEIR_OK;
}

static const char *take_number(const char *p, uint64_t *out)
{
    const char *start = p;
    for (*out = 0; isdigit((unsigned char)*p); p++)
        if (__builtin_mul_overflow(*out, 10, out) || __builtin_add_overflow(*out, (uint64_t)(*p - '0'), out))
            return NULL;
    return p > start ? p : NULL;
}

int cli_blocks_parse(const char *text, uint64_t *first, uint64_t *end, struct weir_err *err)
{
    uint64_t last = 0;
    const char *p = take_number(text, first);
    if (p != NULL && *p == '\0')
        last = *first;
    else if (p != NULL && *p == '-' && p[1] == '\0')
        last = UINT64_MAX - 1, p++;
    else
        p = p != NULL && *p == '-' ? take_number(p + 1, &last) : NULL;
    if (p == NULL || *p != '\0' || last < *first || last == UINT64_MAX)
        return weir_fail(err, WEIR_E_INVALID, "'%.60s' are no blocks: take 100-199 (both included), 100 or 100-", text);
    *end = last + 1;
    return WEIR_OK;
}

int cli_signal_parse(const char *text, enum weir_signal *signal, struct weir_err *err)
{
    for (int i = 0; i < WEIR_SIGNALS; i++)
        if (strcmp(text, weir_signal_name((enum weir_signal)i)) == 0) {
            *signal = (enum weir_signal)i;
            return WEIR_OK;
        }
    return weir_fail(err, WEIR_E_INVALID, "'%.60s' is no signal: take traces, metrics, logs or profiles", text);
}
