// SPDX-License-Identifier: Apache-2.0
// Values as people write them, one function a type, and back. Nothing is clamped or rounded: what cannot be taken exactly is an
// error that says what can.
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>

#include "relay/config_table.h"
#include "relay/config_values.h"

struct unit {
    const char *name;
    uint64_t factor;
};

// Largest first: a duration's parts come in this order.
static const struct unit duration_units[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1},
};
static const struct unit size_units[] = {
    {"TiB", UINT64_C(1) << 40},
    {"GiB", UINT64_C(1) << 30},
    {"MiB", UINT64_C(1) << 20},
    {"KiB", UINT64_C(1) << 10},
    {"TB", 1000000000000},
    {"GB", 1000000000},
    {"MB", 1000000},
    {"kB", 1000},
    {"KB", 1000},
    {"B", 1},
};

// Texts in messages are cut, so that a message stays readable whatever was written.
#define SHOWN "'%.60s'"

static const struct unit *unit_find(const struct unit *units, size_t count, const char *name, size_t len)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(units[i].name) == len && memcmp(units[i].name, name, len) == 0)
            return &units[i];
    return NULL;
}

// Reads digits at *p and moves behind them. False when there are none or they pass 64 bits.
static bool read_number(const char **p, uint64_t *out)
{
    const char *start = *p;
    uint64_t value = 0;
    for (; isdigit((unsigned char)**p); (*p)++)
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, (uint64_t)(**p - '0'), &value))
            return false;
    *out = value;
    return *p > start;
}

int config_duration_parse(const char *text, uint64_t *ms, struct weir_err *err)
{
    uint64_t total = 0;
    const struct unit *after = NULL; // the unit read last
    if (strcmp(text, "0") == 0) {
        *ms = 0;
        return WEIR_OK;
    }
    const char *p = text;
    do {
        uint64_t number, part;
        if (!read_number(&p, &number))
            return weir_fail(err, WEIR_E_INVALID, SHOWN " is not a duration, such as 250ms, 5s, 1m30s, 2h or 3d", text);
        size_t len = strcspn(p, "0123456789");
        if (len == 0)
            return weir_fail(err, WEIR_E_INVALID, SHOWN " needs a unit (ms, s, m, h, d), as in %.20ss", text, text);
        const struct unit *unit = unit_find(duration_units, WEIR_COUNT(duration_units), p, len);
        if (unit == NULL)
            return weir_fail(err, WEIR_E_INVALID, SHOWN " has an unknown unit '%.*s' (known are ms, s, m, h, d)", text,
                             (int)(len < 20 ? len : 20), p);
        if (after != NULL && unit <= after)
            return weir_fail(err, WEIR_E_INVALID, SHOWN " names its units out of order or twice, not as in 1h30m",
                             text);
        if (__builtin_mul_overflow(number, unit->factor, &part) || __builtin_add_overflow(total, part, &total))
            return weir_fail(err, WEIR_E_INVALID, SHOWN " is too long a duration", text);
        after = unit;
        p += len;
    } while (*p != '\0');
    *ms = total;
    return WEIR_OK;
}

int config_size_parse(const char *text, uint64_t *bytes, struct weir_err *err)
{
    uint64_t number;
    const char *p = text;
    if (!read_number(&p, &number))
        return weir_fail(err, WEIR_E_INVALID, SHOWN " is not a size, such as 512KiB, 20MB or 10GiB", text);
    if (*p == '.' || *p == ',')
        return weir_fail(err, WEIR_E_INVALID, SHOWN " is not a whole number: take the next smaller unit", text);
    if (*p == '\0' && number != 0)
        return weir_fail(err, WEIR_E_INVALID, SHOWN " needs a unit (B, KiB, MiB, GiB, TiB, kB, MB, GB, TB)", text);
    const struct unit *unit = unit_find(size_units, WEIR_COUNT(size_units), p, strlen(p));
    if (*p != '\0' && unit == NULL)
        return weir_fail(err, WEIR_E_INVALID,
                         SHOWN " has an unknown unit '%.20s' (known are B, KiB, MiB, GiB, TiB, kB, MB, GB, TB)", text,
                         p);
    if (__builtin_mul_overflow(number, unit != NULL ? unit->factor : 1, bytes))
        return weir_fail(err, WEIR_E_INVALID, SHOWN " is too large a size", text);
    return WEIR_OK;
}

const char *config_duration_format(uint64_t ms, char out[CONFIG_NUMBER_TEXT])
{
    size_t len = 0;
    snprintf(out, CONFIG_NUMBER_TEXT, "0s");
    for (size_t i = 0; i < WEIR_COUNT(duration_units); i++) {
        uint64_t part = ms / duration_units[i].factor;
        ms %= duration_units[i].factor;
        if (part > 0)
            len += (size_t)snprintf(out + len, CONFIG_NUMBER_TEXT - len, "%" PRIu64 "%s", part, duration_units[i].name);
    }
    return out;
}

const char *config_size_format(uint64_t bytes, char out[CONFIG_NUMBER_TEXT])
{
    const struct unit *unit = &size_units[WEIR_COUNT(size_units) - 1]; // bytes
    for (size_t i = 0; i < WEIR_COUNT(size_units) && bytes > 0; i++)
        if (bytes % size_units[i].factor == 0 && size_units[i].factor > unit->factor)
            unit = &size_units[i];
    snprintf(out, CONFIG_NUMBER_TEXT, "%" PRIu64 "%s", bytes / unit->factor, unit->name);
    return out;
}

const char *config_share_format(uint32_t thousandths, char out[CONFIG_NUMBER_TEXT])
{
    int len = snprintf(out, CONFIG_NUMBER_TEXT, "%" PRIu32 ".%03" PRIu32, thousandths / 1000, thousandths % 1000);
    while (out[len - 1] == '0')
        out[--len] = '\0';
    if (out[len - 1] == '.')
        out[--len] = '\0';
    return out;
}

static void number_format(const struct config_row *row, uint64_t value, char out[CONFIG_NUMBER_TEXT])
{
    if (row->type == CONFIG_DURATION)
        config_duration_format(value, out);
    else if (row->type == CONFIG_SIZE)
        config_size_format(value, out);
    else if (row->type == CONFIG_SHARE)
        config_share_format((uint32_t)value, out);
    else
        snprintf(out, CONFIG_NUMBER_TEXT, "%" PRIu64, value);
}

const char *config_row_bounds(const struct config_row *row, char *out, size_t out_size)
{
    char min[CONFIG_NUMBER_TEXT], max[CONFIG_NUMBER_TEXT];
    assert(out_size > 0);
    out[0] = '\0';
    if (row->type != CONFIG_DURATION && row->type != CONFIG_SIZE && row->type != CONFIG_INT &&
        row->type != CONFIG_SHARE)
        return out;
    number_format(row, row->min, min);
    number_format(row, row->max, max);
    snprintf(out, out_size, "%s to %s", min, max);
    return out;
}

// --- one function a type -------------------------------------------------------------------------------------------------

// Printable characters alone: what print-config can write as YAML and YAML reads back to the same.
static bool is_printable_utf8(const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0';) {
        uint32_t c = *p++;
        int more = c < 0x80                ? 0
                   : c >= 0xc2 && c < 0xe0 ? 1
                   : c >= 0xe0 && c < 0xf0 ? 2
                   : c >= 0xf0 && c < 0xf5 ? 3
                                           : -1;
        if (more < 0)
            return false;
        static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
        c &= more > 0 ? 0x3fu >> more : 0x7fu;
        for (int i = 0; i < more; i++, p++) {
            if ((*p & 0xc0) != 0x80)
                return false;
            c = c << 6 | (*p & 0x3f);
        }
        bool control = c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 || c == 0xfeff;
        if (control || c < least[more] || (c >= 0xd800 && c < 0xe000) || c == 0xfffe || c == 0xffff || c > 0x10ffff)
            return false;
    }
    return true;
}

static int text_parse(const struct config_row *row, void *field, const char *text, struct weir_err *err)
{
    size_t len = strlen(text);
    if (len < row->min)
        return weir_fail(err, WEIR_E_INVALID, "must not be empty");
    if (len > row->max)
        return weir_fail(err, WEIR_E_INVALID, SHOWN "… is longer than %" PRIu64 " characters", text, row->max);
    if (!is_printable_utf8(text))
        return weir_fail(err, WEIR_E_INVALID, "holds a control character, or bytes that are not UTF-8");
    if (row->type == CONFIG_LISTEN) {
        int result = config_listen_check(text, err);
        if (result != WEIR_OK)
            return result;
    }
    char *copy = strdup(text);
    if (copy == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "out of memory");
    free(*(char **)field);
    *(char **)field = copy;
    return WEIR_OK;
}

static int bool_parse(const struct config_row *row, void *field, const char *text, struct weir_err *err)
{
    if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
        return weir_fail(err, WEIR_E_INVALID, SHOWN " is neither true nor false", text);
    *(bool *)field = text[0] == 't';
    return WEIR_OK;
}

static int share_parse(const char *text, uint64_t *thousandths, struct weir_err *err)
{
    const char *p = text;
    if (!read_number(&p, thousandths) || __builtin_mul_overflow(*thousandths, 1000, thousandths))
        return weir_fail(err, WEIR_E_INVALID, SHOWN " is not a share, such as 0, 0.25 or 1", text);
    if (*p == '.' && p[1] != '\0') {
        p++;
        for (uint64_t digit = 100; digit > 0 && *p >= '0' && *p <= '9'; digit /= 10)
            *thousandths += digit * (uint64_t)(*p++ - '0');
    }
    return *p == '\0'
               ? WEIR_OK
               : weir_fail(err, WEIR_E_INVALID,
                           SHOWN " is not a share with at most three digits behind the point, such as 0.25", text);
}

static int number_parse(const struct config_row *row, void *field, const char *text, struct weir_err *err)
{
    uint64_t value;
    const char *p = text;
    int result = WEIR_OK;
    if (row->type == CONFIG_DURATION)
        result = config_duration_parse(text, &value, err);
    else if (row->type == CONFIG_SIZE)
        result = config_size_parse(text, &value, err);
    else if (row->type == CONFIG_SHARE)
        result = share_parse(text, &value, err);
    else if (text[0] == '\0' || text[strspn(text, "0123456789")] != '\0')
        result = weir_fail(err, WEIR_E_INVALID, SHOWN " is not a whole number", text);
    else if (!read_number(&p, &value))
        value = UINT64_MAX; // too many digits: above every row's bounds
    if (result != WEIR_OK)
        return result;
    if (value < row->min || value > row->max) {
        char bounds[2 * CONFIG_NUMBER_TEXT + 8];
        return weir_fail(err, WEIR_E_INVALID, "%.60s is out of range (%s)", text,
                         config_row_bounds(row, bounds, sizeof(bounds)));
    }
    if (row->type == CONFIG_INT || row->type == CONFIG_SHARE)
        *(uint32_t *)field = (uint32_t)value;
    else
        *(uint64_t *)field = value;
    return WEIR_OK;
}

// Index of `word` among the row's choices; the error lists them all.
static int choice_find(const struct config_row *row, const char *word, unsigned *index, struct weir_err *err)
{
    char all[128] = "";
    size_t count = 0;
    for (; row->choices[count] != NULL; count++) {
        if (strcmp(word, row->choices[count]) == 0) {
            *index = (unsigned)count;
            return WEIR_OK;
        }
        size_t len = strlen(all);
        snprintf(all + len, sizeof(all) - len, "%s%s", count > 0 ? ", " : "", row->choices[count]);
    }
    const char *nearest = config_nearest(word, row->choices, count);
    if (nearest != NULL)
        return weir_fail(err, WEIR_E_INVALID, SHOWN " is none of %s (did you mean '%s'?)", word, all, nearest);
    return weir_fail(err, WEIR_E_INVALID, SHOWN " is none of %s", word, all);
}

static int enum_parse(const struct config_row *row, void *field, const char *text, struct weir_err *err)
{
    return choice_find(row, text, (unsigned *)field, err);
}

int config_flags_add(const struct config_row *row, uint32_t *flags, const char *word, struct weir_err *err)
{
    unsigned index = 0;
    int result = choice_find(row, word, &index, err);
    if (result != WEIR_OK)
        return result;
    if (*flags & 1u << index)
        return weir_fail(err, WEIR_E_INVALID, SHOWN " is named twice", word);
    *flags |= 1u << index;
    return WEIR_OK;
}

// Calls `each` for every part of a "a,b,c" list, blanks around parts removed.
typedef int (*part_fn)(const struct config_row *row, void *target, char *part, struct weir_err *err);
static int each_part(const struct config_row *row, void *target, const char *text, part_fn each, struct weir_err *err)
{
    char *copy = strdup(text), *rest = copy, *part;
    if (copy == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "out of memory");
    int result = WEIR_OK;
    while (result == WEIR_OK && *text != '\0' && (part = strsep(&rest, ",")) != NULL) {
        part += strspn(part, " \t");
        for (size_t len = strlen(part); len > 0 && strchr(" \t", part[len - 1]) != NULL; len--)
            part[len - 1] = '\0';
        result = each(row, target, part, err);
    }
    free(copy);
    return result;
}

static int flags_part(const struct config_row *row, void *target, char *part, struct weir_err *err)
{
    return config_flags_add(row, target, part, err);
}

static int flags_parse(const struct config_row *row, void *field, const char *text, struct weir_err *err)
{
    uint32_t flags = 0;
    int result = each_part(row, &flags, text, flags_part, err);
    if (result == WEIR_OK && flags == 0)
        result = weir_fail(err, WEIR_E_INVALID, "names nothing: leave the key out for all");
    if (result == WEIR_OK)
        *(uint32_t *)field = flags;
    return result;
}

static int map_part(const struct config_row *row, void *target, char *part, struct weir_err *err)
{
    char *equals = strchr(part, '=');
    if (equals == NULL)
        return weir_fail(err, WEIR_E_INVALID, "is not name=value,name=value"); // not shown: it may be a secret
    *equals = '\0';
    return config_map_set(target, part, equals + 1, err);
}

static int map_parse(const struct config_row *row, void *field, const char *text, struct weir_err *err)
{
    struct config_map map = {0};
    int result = each_part(row, &map, text, map_part, err);
    if (result != WEIR_OK) {
        config_value_free(row, &map);
        return result;
    }
    config_value_free(row, field);
    *(struct config_map *)field = map;
    return WEIR_OK;
}

static int names_part(const struct config_row *row, void *target, char *part, struct weir_err *err)
{
    return config_list_add(row, target, part, err);
}

static int names_parse(const struct config_row *row, void *field, const char *text, struct weir_err *err)
{
    struct config_names names = {0};
    int result = each_part(row, &names, text, names_part, err);
    config_value_free(row, result == WEIR_OK ? field : &names);
    if (result == WEIR_OK)
        *(struct config_names *)field = names;
    return result;
}

int config_value_parse(const struct config_row *row, void *field, const char *text, struct weir_err *err)
{
    static int (*const parsers[])(const struct config_row *, void *, const char *, struct weir_err *) = {
        [CONFIG_TEXT] = text_parse,       [CONFIG_LISTEN] = text_parse, [CONFIG_BOOL] = bool_parse,
        [CONFIG_DURATION] = number_parse, [CONFIG_SIZE] = number_parse, [CONFIG_INT] = number_parse,
        [CONFIG_ENUM] = enum_parse,       [CONFIG_FLAGS] = flags_parse, [CONFIG_MAP] = map_parse,
        [CONFIG_URLS] = text_parse,       [CONFIG_NAMES] = names_parse, [CONFIG_ORIGINS] = names_parse,
        [CONFIG_SHARE] = number_parse,
    };
    assert((size_t)row->type < WEIR_COUNT(parsers));
    return parsers[row->type](row, field, text, err);
}

void config_value_free(const struct config_row *row, void *field)
{
    if (row->type == CONFIG_TEXT || row->type == CONFIG_LISTEN || row->type == CONFIG_URLS) {
        free(*(char **)field);
        *(char **)field = NULL;
    } else if (row->type == CONFIG_MAP) {
        struct config_map *map = field;
        for (size_t i = 0; i < map->count; i++) {
            free(map->items[i].name);
            free(map->items[i].value);
        }
        free(map->items);
        *map = (struct config_map){0};
    } else if (row->type == CONFIG_NAMES || row->type == CONFIG_ORIGINS) {
        struct config_names *names = field;
        while (names->count > 0)
            free(names->items[--names->count]);
    }
}
