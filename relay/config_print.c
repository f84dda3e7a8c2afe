// SPDX-License-Identifier: Apache-2.0
// The configuration as YAML, and the table of keys for people and for scripts.
#include <inttypes.h>
#include <stdio.h>

#include "relay/config_print.h"
#include "relay/config_table.h"
#include "relay/config_values.h"
#include "relay/header.h"
#include "relay/version.h"

// Double-quoted YAML. In values a dollar is doubled, as it would begin a substitution when read back; keys are not substituted.
static void print_quoted(FILE *out, const char *text, bool is_value)
{
    fputc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', out);
        if (*text == '$' && is_value)
            fputc('$', out);
        fputc(*text, out);
    }
    fputc('"', out);
}

static void print_map(FILE *out, const struct config_map *map, int indent)
{
    if (map->count == 0)
        fputs(" {}", out);
    for (size_t i = 0; i < map->count; i++) {
        fprintf(out, "\n%*s", indent + 2, "");
        print_quoted(out, map->items[i].name, false);
        fputs(": ", out);
        print_quoted(out, header_is_secret(map->items[i].name) ? HEADER_MASK : map->items[i].value, true);
    }
}

// One as it is, several as a list.
static void print_urls(FILE *out, const char *urls)
{
    bool several = strchr(urls, ',') != NULL;
    fputs(several ? " [" : " ", out);
    for (bool first = true; *urls != '\0' || first; first = false) {
        size_t len = strcspn(urls, ",");
        char *url = strndup(urls, len);
        if (!first)
            fputs(", ", out);
        print_quoted(out, url != NULL ? url : "", true);
        free(url);
        urls += len + (urls[len] == ',');
    }
    if (several)
        fputc(']', out);
}

static void print_names(FILE *out, const struct config_names *names)
{
    fputs(" [", out);
    for (size_t i = 0; i < names->count; i++) {
        fputs(i > 0 ? ", " : "", out);
        print_quoted(out, names->items[i], true);
    }
    fputc(']', out);
}

static void print_flags(FILE *out, const struct config_row *row, uint32_t flags)
{
    const char *separator = "";
    fputs(" [", out);
    for (size_t i = 0; row->choices[i] != NULL; i++) {
        if (!(flags & 1u << i))
            continue;
        fprintf(out, "%s%s", separator, row->choices[i]);
        separator = ", ";
    }
    fputc(']', out);
}

// Quoted where YAML would see a number.
static void print_choice(FILE *out, const char *choice)
{
    fputc(' ', out);
    if (choice[0] >= '0' && choice[0] <= '9')
        print_quoted(out, choice, true);
    else
        fputs(choice, out);
}

static void print_value(FILE *out, const struct config_row *row, const void *field, int indent)
{
    char text[CONFIG_NUMBER_TEXT];
    switch (row->type) {
    case CONFIG_TEXT:
    case CONFIG_LISTEN:
        fputc(' ', out);
        print_quoted(out, *(char *const *)field, true);
        break;
    case CONFIG_BOOL:
        fprintf(out, " %s", *(const bool *)field ? "true" : "false");
        break;
    case CONFIG_DURATION:
        fprintf(out, " %s", config_duration_format(*(const uint64_t *)field, text));
        break;
    case CONFIG_SIZE:
        fprintf(out, " %s", config_size_format(*(const uint64_t *)field, text));
        break;
    case CONFIG_INT:
        fprintf(out, " %" PRIu32, *(const uint32_t *)field);
        break;
    case CONFIG_SHARE:
        fprintf(out, " %s", config_share_format(*(const uint32_t *)field, text));
        break;
    case CONFIG_ENUM:
        print_choice(out, row->choices[*(const unsigned *)field]);
        break;
    case CONFIG_FLAGS:
        print_flags(out, row, *(const uint32_t *)field);
        break;
    case CONFIG_URLS:
        print_urls(out, *(char *const *)field);
        break;
    case CONFIG_NAMES:
    case CONFIG_ORIGINS:
        print_names(out, field);
        break;
    case CONFIG_MAP:
        print_map(out, field, indent);
        break;
    }
    fputc('\n', out);
}

// Prints the line `key:` for each section that `key` lies in and `before` did not; returns the last part of `key` and its indentation.
static const char *print_sections(FILE *out, const char *key, const char *before, int *indent)
{
    const char *part = key;
    bool same = true; // as `before`, up to here
    for (const char *dot; (dot = strchr(part, '.')) != NULL; part = dot + 1) {
        size_t len = (size_t)(dot + 1 - key);
        same = same && strncmp(before, key, len) == 0;
        if (!same)
            fprintf(out, "%*s%.*s:\n", *indent, "", (int)(dot - part), part);
        *indent += 2;
    }
    return part;
}

static void print_upstream(FILE *out, const struct config_upstream *upstream)
{
    const char *before = "";
    bool first = true;
    for (size_t i = 0; i < CONFIG_ROWS; i++) {
        const struct config_row *row = &config_rows[i];
        int indent = 4;
        if (!config_row_is_upstream(row))
            continue;
        const char *key = row->key + strlen(CONFIG_UPSTREAM);
        const char *name = print_sections(out, key, before, &indent);
        if (first) // the dash of the list stands in the place of its first key's indentation
            fprintf(out, "  - %s:", name);
        else
            fprintf(out, "%*s%s:", indent, "", name);
        print_value(out, row, (const char *)upstream + row->offset, indent);
        before = key;
        first = false;
    }
}

static bool holds_secrets(const struct config *config)
{
    for (size_t i = 0; i < config->upstream_count; i++)
        for (size_t j = 0; j < config->upstreams[i].headers.count; j++)
            if (header_is_secret(config->upstreams[i].headers.items[j].name))
                return true;
    return false;
}

bool config_print(const struct config *config, FILE *out)
{
    const char *before = "";
    bool upstreams_printed = false;
    fprintf(out, "# The effective configuration of weir %s, defaults included.\n", weir_version);
    if (holds_secrets(config))
        fputs("# Values shown as " HEADER_MASK
              " are secrets: put the real ones back before you use this as a configuration.\n",
              out);
    for (size_t i = 0; i < CONFIG_ROWS; i++) {
        const struct config_row *row = &config_rows[i];
        int indent = 0;
        if (!config_row_is_upstream(row)) {
            const char *name = print_sections(out, row->key, before, &indent);
            fprintf(out, "%*s%s:", indent, "", name);
            print_value(out, row, (const char *)config + row->offset, indent);
        } else if (!upstreams_printed) {
            fputs("upstreams:\n", out);
            for (size_t j = 0; j < config->upstream_count; j++)
                print_upstream(out, &config->upstreams[j]);
            upstreams_printed = true;
        }
        before = row->key;
    }
    return fflush(out) == 0 && !ferror(out);
}

void config_print_keys(FILE *out)
{
    for (size_t i = 0; i < CONFIG_ROWS; i++) {
        const struct config_row *row = &config_rows[i];
        fprintf(out, "%s\t%s\t%s\t%s\n", row->key, config_type_names[row->type], row->def != NULL ? row->def : "",
                row->help);
    }
}

void config_print_help(FILE *out)
{
    fputs("Keys of the YAML file, nested at the dots; --set KEY=VALUE takes the same, with upstreams by name:\n"
          "--set upstreams.central.timeout=5s, --set upstreams.central.headers.x-scope-orgid=a. Durations: 250ms 5s "
          "1m30s\n"
          "2h 3d, sizes: 512KiB 10GiB 20MB. In values ${env:NAME}, ${env:NAME:-default} and ${file:PATH} are replaced, "
          "$$ is\n"
          "a dollar.\n\n",
          out);
    for (size_t i = 0; i < CONFIG_ROWS; i++) {
        const struct config_row *row = &config_rows[i];
        char bounds[2 * CONFIG_NUMBER_TEXT + 8];
        config_row_bounds(row, bounds, sizeof(bounds));
        fprintf(out, "%s: %s", row->key, row->def == NULL ? "(required)" : row->def[0] == '\0' ? "(empty)" : row->def);
        for (size_t j = 0; row->choices != NULL && row->choices[j] != NULL; j++)
            fprintf(out, "%s%s", j == 0 ? "  [" : " | ", row->choices[j]);
        fprintf(out, "%s%s%s%s\n    %s\n", row->choices != NULL ? "]" : "", bounds[0] != '\0' ? "  [" : "", bounds,
                bounds[0] != '\0' ? "]" : "", row->help);
    }
}
