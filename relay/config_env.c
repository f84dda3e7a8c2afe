// SPDX-License-Identifier: Apache-2.0
// Values from outside the file: OpenTelemetry's variables (U20, U21) and --set.
#include <ctype.h>
#include <stdio.h>

#include "relay/config_table.h"

// --- OTEL_EXPORTER_OTLP_* ------------------------------------------------------------------------------------------------

#define OTEL "OTEL_EXPORTER_OTLP_"

static int hex_digit(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : isxdigit((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10 : -1;
}

// Percent-decodes in place, as W3C Baggage values are encoded. False when a percent sign begins nothing.
static bool percent_decode(char *text)
{
    char *out = text;
    for (; *text != '\0'; text++) {
        if (*text != '%') {
            *out++ = *text;
            continue;
        }
        int high = hex_digit(text[1]), low = high < 0 ? -1 : hex_digit(text[2]);
        if (low < 0 || high + low == 0)
            return false;
        *out++ = (char)(high << 4 | low);
        text += 2;
    }
    *out = '\0';
    return true;
}

// Cuts blanks off both ends, in place.
static char *trim(char *text)
{
    text += strspn(text, " \t");
    for (size_t len = strlen(text); len > 0 && strchr(" \t", text[len - 1]) != NULL; len--)
        text[len - 1] = '\0';
    return text;
}

static int headers_parse(struct config_map *map, char *text, struct weir_err *err)
{
    char *part;
    while ((part = strsep(&text, ",")) != NULL) {
        part = trim(part);
        char *equals = strchr(part, '=');
        if (part[0] == '\0')
            continue;
        if (equals == NULL)
            return weir_fail(err, WEIR_E_INVALID, "is not name=value,name=value"); // not shown: it may be a secret
        *equals = '\0';
        char *name = trim(part), *value = trim(equals + 1);
        if (!percent_decode(name) || !percent_decode(value))
            return weir_fail(err, WEIR_E_INVALID, "'%.60s' has a percent sign that encodes no character", name);
        int result = config_map_set(map, name, value, err);
        if (result != WEIR_OK)
            return result;
    }
    return WEIR_OK;
}

static void read_headers(struct config_loader *loader, size_t upstream, const char *value)
{
    static const char source[] = OTEL "HEADERS";
    struct config_place place = config_place_named(source);
    const struct config_row *row = config_row_find(CONFIG_UPSTREAM "headers");
    struct weir_err err = {.text = "out of memory"};
    char *copy = strdup(value);
    if (copy == NULL || headers_parse(config_row_field(row, loader->config, upstream), copy, &err) != WEIR_OK)
        config_complain_row(loader, row, upstream, &place, err.text);
    free(copy);
}

// Milliseconds, without a unit.
static void read_timeout(struct config_loader *loader, size_t upstream, const char *value)
{
    static const char source[] = OTEL "TIMEOUT";
    struct config_place place = config_place_named(source);
    const struct config_row *row = config_row_find(CONFIG_UPSTREAM "timeout");
    char text[32];
    if (strspn(value, "0123456789") != strlen(value) || strlen(value) > 18) {
        config_complain_row(loader, row, upstream, &place, "is not a number of milliseconds");
        return;
    }
    snprintf(text, sizeof(text), "%sms", value);
    config_assign(loader, row, upstream, text, &place);
}

static void read_protocol(struct config_loader *loader, size_t upstream, const char *value)
{
    static const char source[] = OTEL "PROTOCOL";
    struct config_place place = config_place_named(source);
    const struct config_row *row = config_row_find(CONFIG_UPSTREAM "protocol");
    if (strcmp(value, "http/json") == 0)
        config_complain_row(loader, row, upstream, &place, "weir does not send http/json: take http/protobuf or grpc");
    else
        config_assign(loader, row, upstream, value, &place);
}

void config_read_environment(struct config_loader *loader)
{
    static const struct {
        const char *name, *key;
        void (*read)(struct config_loader *loader, size_t upstream, const char *value); // instead of assigning it
    } variables[] = {
        {OTEL "ENDPOINT", CONFIG_UPSTREAM "endpoint", NULL},
        {OTEL "PROTOCOL", CONFIG_UPSTREAM "protocol", read_protocol},
        {OTEL "HEADERS", CONFIG_UPSTREAM "headers", read_headers},
        {OTEL "COMPRESSION", CONFIG_UPSTREAM "compression", NULL},
        {OTEL "CERTIFICATE", CONFIG_UPSTREAM "tls.ca_file", NULL},
        {OTEL "CLIENT_CERTIFICATE", CONFIG_UPSTREAM "tls.cert_file", NULL},
        {OTEL "CLIENT_KEY", CONFIG_UPSTREAM "tls.key_file", NULL},
        {OTEL "TIMEOUT", CONFIG_UPSTREAM "timeout", read_timeout},
    };
    const char *endpoint = loader->env(OTEL "ENDPOINT");
    if (endpoint == NULL ||
        endpoint[0] == '\0') // empty is the same as unset, as the specification of these variables says
        return;
    struct config_place place = config_place_named(OTEL "ENDPOINT");
    size_t upstream = config_upstream_add(loader, &place);
    if (upstream == SIZE_MAX)
        return;
    config_assign(loader, config_row_find(CONFIG_UPSTREAM "name"), upstream, "default", &place);
    for (size_t i = 0; i < WEIR_COUNT(variables); i++) {
        const char *value = loader->env(variables[i].name);
        if (value == NULL || value[0] == '\0')
            continue;
        place = config_place_named(variables[i].name);
        if (variables[i].read != NULL)
            variables[i].read(loader, upstream, value);
        else
            config_assign(loader, config_row_find(variables[i].key), upstream, value, &place);
    }
}

// --- --set ---------------------------------------------------------------------------------------------------------------

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
