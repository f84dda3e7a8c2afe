// SPDX-License-Identifier: Apache-2.0
// --set KEY=VALUE.
#include <stdio.h>

#include "relay/config_table.h"

#define UPSTREAMS "upstreams."
#define HEADERS   ".headers."

// The number of the upstream of that name, or SIZE_MAX.
static size_t upstream_find(const struct config *config, const char *name, size_t len)
{
    for (size_t i = 0; i < config->upstream_count; i++)
        if (config->upstreams[i].name != NULL && strlen(config->upstreams[i].name) == len &&
            memcmp(config->upstreams[i].name, name, len) == 0)
            return i;
    return SIZE_MAX;
}

// Names may hold dots: "upstreams.a.b.tls.ca_file" is cut where its end is the longest that the table knows. Returns the row and the
// name's length, or NULL.
static const struct config_row *upstream_row(const char *rest, size_t *name_len)
{
    char key[256];
    for (const char *dot = strchr(rest, '.'); dot != NULL; dot = strchr(dot + 1, '.')) {
        snprintf(key, sizeof(key), CONFIG_UPSTREAM "%s", dot + 1);
        const struct config_row *row = config_row_find(key);
        if (row != NULL) {
            *name_len = (size_t)(dot - rest);
            return row;
        }
    }
    return NULL;
}

static void set_header(struct config_loader *loader, const char *rest, const char *value,
                       const struct config_place *place)
{
    const char *headers = strstr(rest, HEADERS);
    const struct config_row *row = config_row_find(CONFIG_UPSTREAM "headers");
    size_t upstream = upstream_find(loader->config, rest, (size_t)(headers - rest));
    struct weir_err err;
    if (upstream == SIZE_MAX)
        config_complain(loader, place, "there is no upstream '%.*s'", (int)(headers - rest), rest);
    else if (config_map_set(config_row_field(row, loader->config, upstream), headers + strlen(HEADERS), value, &err) !=
             WEIR_OK)
        config_complain_row(loader, row, upstream, place, err.text);
}

// Upstreams are named, not numbered. Setting the endpoint of a name that nobody has makes a new upstream.
static void set_upstream(struct config_loader *loader, const char *rest, const char *value,
                         const struct config_place *place)
{
    size_t name_len = 0;
    const struct config_row *row = upstream_row(rest, &name_len);
    if (row == NULL && strstr(rest, HEADERS) != NULL) {
        set_header(loader, rest, value, place);
        return;
    }
    if (row == NULL) {
        config_complain(loader, place, "unknown key (upstreams.NAME.KEY; `weir help config` lists all)");
        return;
    }
    size_t upstream = upstream_find(loader->config, rest, name_len);
    if (upstream == SIZE_MAX && strcmp(row->key, CONFIG_UPSTREAM "endpoint") == 0) {
        char name[256];
        upstream = config_upstream_add(loader, place);
        if (upstream == SIZE_MAX)
            return;
        snprintf(name, sizeof(name), "%.*s", (int)name_len, rest);
        config_assign(loader, config_row_find(CONFIG_UPSTREAM "name"), upstream, name, place);
    }
    if (upstream == SIZE_MAX)
        config_complain(loader, place, "there is no upstream '%.*s' (set its endpoint first to add one)", (int)name_len,
                        rest);
    else
        config_assign(loader, row, upstream, value, place);
}

static void set_global(struct config_loader *loader, const char *key, const char *value,
                       const struct config_place *place)
{
    const char *keys[CONFIG_ROWS];
    const struct config_row *row = config_row_find(key);
    if (row != NULL) {
        config_assign(loader, row, 0, value, place);
        return;
    }
    for (size_t i = 0; i < CONFIG_ROWS; i++)
        keys[i] = config_rows[i].key;
    const char *nearest = config_nearest(key, keys, CONFIG_ROWS);
    if (nearest != NULL)
        config_complain(loader, place, "unknown key (did you mean '%s'?)", nearest);
    else
        config_complain(loader, place, "unknown key (`weir help config` lists all)");
}

void config_read_set(struct config_loader *loader, const char *set)
{
    const char *equals = strchr(set, '=');
    char *value = NULL;
    struct weir_err err;
    if (equals == NULL || equals == set) {
        struct config_place place = config_place_named("--set");
        config_complain(loader, &place, "'%.60s' is not KEY=VALUE", equals == NULL ? set : "=");
        return;
    }
    // The key alone names the place: the value may be a secret.
    struct config_place place = {.source = set, .source_len = (int)(equals - set), .flag = "--set ", .given = true};
    char *key = strndup(set, (size_t)(equals - set));
    if (key == NULL || config_substitute(equals + 1, strlen(equals + 1), loader->env, &value, &err) != WEIR_OK)
        config_complain(loader, &place, "%s", key == NULL ? "out of memory" : err.text);
    else if (strncmp(key, UPSTREAMS, strlen(UPSTREAMS)) == 0)
        set_upstream(loader, key + strlen(UPSTREAMS), value, &place);
    else
        set_global(loader, key, value, &place);
    free(key);
    free(value);
}
