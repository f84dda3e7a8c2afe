// SPDX-License-Identifier: Apache-2.0
// Request headers that the configuration adds to exports (U20), and names of those that are kept.
#include <ctype.h>
#include <stdio.h>

#include "relay/config_table.h"
#include "relay/header.h"

// What weir or its HTTP client sets itself; a second one would contradict it.
static const char *const reserved[] = {
    "accept-encoding",      "connection",    "content-encoding", "content-length", "content-type",
    "grpc-accept-encoding", "grpc-encoding", "grpc-timeout",     "host",           "te",
    "transfer-encoding",    "upgrade",       "user-agent",
};

static int header_check(const char *name, const char *value, struct weir_err *err)
{
    if (!header_name_is_token((struct weir_slice){(const uint8_t *)name, strlen(name)}, false))
        return weir_fail(err, WEIR_E_INVALID, "'%.60s' is not the name of a header", name);
    for (size_t i = 0; i < WEIR_COUNT(reserved); i++)
        if (strcasecmp(name, reserved[i]) == 0)
            return weir_fail(err, WEIR_E_INVALID, "weir sets the header '%s' itself", reserved[i]);
    if (strlen(value) > 8192)
        return weir_fail(err, WEIR_E_INVALID, "the value of '%s' is longer than 8192 characters", name);
    // A line break would let a value add headers of its own. Other bytes gRPC does not allow either.
    for (const char *p = value; *p != '\0'; p++)
        if (*p < 0x20 || *p > 0x7e)
            return weir_fail(err, WEIR_E_INVALID,
                             "the value of '%s' holds a character that headers cannot carry (0x%02x)", name,
                             (unsigned char)*p);
    return WEIR_OK;
}

// The place of `name` in the ascending list: where it is, or where it belongs.
static size_t map_place(const struct config_map *map, const char *name)
{
    size_t i = 0;
    while (i < map->count && strcmp(map->items[i].name, name) < 0)
        i++;
    return i;
}

static int map_insert(struct config_map *map, size_t at, struct config_header header, struct weir_err *err)
{
    if (map->count >= CONFIG_MAX_HEADERS)
        return weir_fail(err, WEIR_E_INVALID, "more than %d headers", CONFIG_MAX_HEADERS);
    struct config_header *items = reallocarray(map->items, map->count + 1, sizeof(*items));
    if (items == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "out of memory");
    map->items = items;
    memmove(items + at + 1, items + at, (map->count - at) * sizeof(*items));
    items[at] = header;
    map->count++;
    return WEIR_OK;
}

int config_map_set(struct config_map *map, const char *name, const char *value, struct weir_err *err)
{
    int result = header_check(name, value, err);
    if (result != WEIR_OK)
        return result;
    struct config_header header = {.name = strdup(name), .value = strdup(value)};
    if (header.name == NULL || header.value == NULL) {
        result = weir_fail(err, WEIR_E_NOMEM, "out of memory");
        goto err_header;
    }
    for (char *p = header.name; *p != '\0'; p++)
        *p = (char)tolower((unsigned char)*p);
    size_t at = map_place(map, header.name);
    if (at < map->count && strcmp(map->items[at].name, header.name) == 0) {
        struct config_header old = map->items[at];
        map->items[at] = header;
        free(old.name);
        free(old.value);
        return WEIR_OK;
    }
    result = map_insert(map, at, header, err);
    if (result == WEIR_OK)
        return WEIR_OK;
err_header:
    assert(result != WEIR_OK);
    free(header.name);
    free(header.value);
    return result;
}

int config_names_add(struct config_names *names, const char *word, struct weir_err *err)
{
    char name[HEADER_NAME_MAX + 1];
    struct weir_slice given = {(const uint8_t *)word, strlen(word)};
    if (!header_name_is_token(given, false))
        return weir_fail(err, WEIR_E_INVALID, "'%.60s' is not the name of a header", word);
    for (size_t i = 0; i <= given.len; i++)
        name[i] = (char)tolower((unsigned char)word[i]);
    if (!header_may_be_kept((struct weir_slice){(const uint8_t *)name, given.len}))
        return weir_fail(err, WEIR_E_INVALID, "'%s' belongs to one request or connection and cannot be sent on", name);
    return config_names_insert(names, name, err);
}

int config_names_insert(struct config_names *names, const char *name, struct weir_err *err)
{
    size_t at = 0;
    while (at < names->count && strcmp(names->items[at], name) < 0)
        at++;
    if (at < names->count && strcmp(names->items[at], name) == 0)
        return weir_fail(err, WEIR_E_INVALID, "'%s' is named twice", name);
    if (names->count == CONFIG_MAX_NAMES)
        return weir_fail(err, WEIR_E_INVALID, "more than %d names", CONFIG_MAX_NAMES);
    char *copy = strdup(name);
    if (copy == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "out of memory");
    memmove(names->items + at + 1, names->items + at, (names->count - at) * sizeof(names->items[0]));
    names->items[at] = copy;
    names->count++;
    return WEIR_OK;
}
