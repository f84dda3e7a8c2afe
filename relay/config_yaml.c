// SPDX-License-Identifier: Apache-2.0
// The YAML file, by libyaml's document API, whose nodes know their line and column. The document is walked along the table of keys, never
// deeper than keys go, so neither nesting nor aliases can make it expensive.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

#include "relay/config_table.h"

#define FILE_MAX    ((size_t)1 << 20)
#define MAPPING_MAX 256 // keys of one mapping
#define PATH_SIZE   128

struct binder {
    struct config_loader *loader;
    yaml_document_t *document;
};

static struct config_place place_at(const struct binder *binder, const yaml_mark_t *mark)
{
    struct config_place place = config_place_named(binder->loader->input->file);
    place.line = (unsigned)mark->line + 1;
    place.column = (unsigned)mark->column + 1;
    return place;
}

static const char *kind_name(const yaml_node_t *node)
{
    switch (node->type) {
    case YAML_SCALAR_NODE:
        return "a single value";
    case YAML_SEQUENCE_NODE:
        return "a list";
    default:
        return "a mapping";
    }
}

static const char *scalar_text(const yaml_node_t *node)
{
    return (const char *)node->data.scalar.value;
}

// `key:` with nothing behind it, or ~ or null.
static bool is_null(const yaml_node_t *node)
{
    if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    const char *text = scalar_text(node);
    return text[0] == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0;
}

// The scalar's text after substitution, the caller's; NULL when it is none, after a complaint.
static char *value_text(struct binder *binder, const struct config_row *row, size_t upstream, const yaml_node_t *node)
{
    struct config_place place = place_at(binder, &node->start_mark);
    struct weir_err err;
    char *text = NULL;
    if (node->type != YAML_SCALAR_NODE)
        weir_fail(&err, WEIR_E_INVALID, "expects %s %s, not %s",
                  strchr("aei", config_type_names[row->type][0]) != NULL ? "an" : "a", config_type_names[row->type],
                  kind_name(node));
    else if (is_null(node))
        weir_fail(&err, WEIR_E_INVALID, "has no value: write one, or leave the key out");
    else
        config_substitute(scalar_text(node), node->data.scalar.length, binder->loader->env, &text, &err);
    if (text == NULL)
        config_complain_row(binder->loader, row, upstream, &place, err.text);
    return text;
}

static void bind_scalar(struct binder *binder, const struct config_row *row, size_t upstream, const yaml_node_t *node)
{
    struct config_place place = place_at(binder, &node->start_mark);
    char *text = value_text(binder, row, upstream, node);
    if (text != NULL)
        config_assign(binder->loader, row, upstream, text, &place);
    free(text);
}

static void bind_flags(struct binder *binder, const struct config_row *row, size_t upstream, const yaml_node_t *node)
{
    struct config_place place = place_at(binder, &node->start_mark);
    uint32_t flags = 0;
    struct weir_err err;
    if (node->type != YAML_SEQUENCE_NODE) {
        weir_fail(&err, WEIR_E_INVALID, "expects a list, as in [%s], not %s", row->choices[0], kind_name(node));
        config_complain_row(binder->loader, row, upstream, &place, err.text);
        return;
    }
    yaml_node_item_t *item = node->data.sequence.items.start;
    // A word may stand there once: more words than choices end in a complaint anyway.
    for (size_t i = 0; item < node->data.sequence.items.top && i < 32; item++, i++) {
        const yaml_node_t *element = yaml_document_get_node(binder->document, *item);
        struct config_place at = place_at(binder, &element->start_mark);
        char *text = value_text(binder, row, upstream, element);
        if (text != NULL && config_flags_add(row, &flags, text, &err) != WEIR_OK)
            config_complain_row(binder->loader, row, upstream, &at, err.text);
        free(text);
    }
    if (node->data.sequence.items.start == node->data.sequence.items.top)
        config_complain_row(binder->loader, row, upstream, &place, "names nothing: leave the key out for all");
    *config_place_of(binder->loader, row, upstream) = place;
    *(uint32_t *)config_row_field(row, binder->loader->config, upstream) = flags;
}

// Adds ",text", or "text" when it is the first. False: no memory.
static bool join_url(struct weir_buf *joined, const char *text)
{
    return (joined->len == 0 || weir_buf_append(joined, ",", 1)) && weir_buf_append(joined, text, strlen(text));
}

static void bind_urls(struct binder *binder, const struct config_row *row, size_t upstream, const yaml_node_t *node)
{
    struct config_place place = place_at(binder, &node->start_mark);
    struct weir_buf joined = {0};
    bool good = true;
    if (node->type != YAML_SEQUENCE_NODE) {
        bind_scalar(binder, row, upstream, node);
        return;
    }
    yaml_node_item_t *item = node->data.sequence.items.start;
    // The one too many is complained about when they are taken apart.
    for (size_t i = 0; item < node->data.sequence.items.top && i <= CONFIG_MAX_ENDPOINTS && good; item++, i++) {
        char *text = value_text(binder, row, upstream, yaml_document_get_node(binder->document, *item));
        good = text != NULL && join_url(&joined, text);
        free(text);
    }
    if (good && weir_buf_append(&joined, "", 1))
        config_assign(binder->loader, row, upstream, (const char *)joined.data, &place);
    weir_buf_free(&joined);
}

static void bind_names(struct binder *binder, const struct config_row *row, size_t upstream, const yaml_node_t *node)
{
    struct config_place place = place_at(binder, &node->start_mark);
    struct config_names *names = config_row_field(row, binder->loader->config, upstream);
    struct weir_err err;
    if (node->type != YAML_SEQUENCE_NODE) {
        weir_fail(&err, WEIR_E_INVALID, "expects a list, as in [name, name], not %s", kind_name(node));
        config_complain_row(binder->loader, row, upstream, &place, err.text);
        return;
    }
    *config_place_of(binder->loader, row, upstream) = place;
    yaml_node_item_t *item = node->data.sequence.items.start;
    // The one too many is complained about.
    for (size_t i = 0; item < node->data.sequence.items.top && i <= CONFIG_MAX_NAMES; item++, i++) {
        const yaml_node_t *element = yaml_document_get_node(binder->document, *item);
        struct config_place at = place_at(binder, &element->start_mark);
        char *text = value_text(binder, row, upstream, element);
        if (text != NULL && config_list_add(row, names, text, &err) != WEIR_OK)
            config_complain_row(binder->loader, row, upstream, &at, err.text);
        free(text);
    }
}

// The key of a pair, checked against those before it; NULL after a complaint. `where` names the mapping for messages.
static const char *pair_key(struct binder *binder, const yaml_node_t *mapping, const yaml_node_pair_t *pair,
                            const char *where)
{
    const yaml_node_t *key = yaml_document_get_node(binder->document, pair->key);
    struct config_place place = place_at(binder, &key->start_mark);
    if (key->type != YAML_SCALAR_NODE || strlen(scalar_text(key)) != key->data.scalar.length) {
        config_complain(binder->loader, &place, "a key must be a word");
        return NULL;
    }
    const char *text = scalar_text(key);
    if (strcmp(text, "<<") == 0) {
        config_complain(binder->loader, &place, "merge keys (<<) are not supported; an alias for a whole value is");
        return NULL;
    }
    for (const yaml_node_pair_t *before = mapping->data.mapping.pairs.start; before < pair; before++) {
        const yaml_node_t *other = yaml_document_get_node(binder->document, before->key);
        if (other->type == YAML_SCALAR_NODE && strcmp(scalar_text(other), text) == 0) {
            config_complain(binder->loader, &place, "repeated key '%.60s'%s (first in line %zu)", text, where,
                            other->start_mark.line + 1);
            return NULL;
        }
    }
    return text;
}

static bool mapping_too_large(struct binder *binder, const yaml_node_t *node)
{
    struct config_place place = place_at(binder, &node->start_mark);
    if (node->data.mapping.pairs.top - node->data.mapping.pairs.start <= MAPPING_MAX)
        return false;
    config_complain(binder->loader, &place, "a mapping of more than %d keys", MAPPING_MAX);
    return true;
}

static void bind_map(struct binder *binder, const struct config_row *row, size_t upstream, const yaml_node_t *node)
{
    struct config_place place = place_at(binder, &node->start_mark);
    struct config_map *map = config_row_field(row, binder->loader->config, upstream);
    struct weir_err err;
    if (node->type != YAML_MAPPING_NODE) {
        if (is_null(node))
            return;
        weir_fail(&err, WEIR_E_INVALID, "expects a mapping, as in {name: value}, not %s", kind_name(node));
        config_complain_row(binder->loader, row, upstream, &place, err.text);
        return;
    }
    if (mapping_too_large(binder, node))
        return;
    *config_place_of(binder->loader, row, upstream) = place;
    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
        const char *name = pair_key(binder, node, pair, " in headers");
        const yaml_node_t *value = yaml_document_get_node(binder->document, pair->value);
        struct config_place at = place_at(binder, &value->start_mark);
        char *text = NULL;
        if (name == NULL)
            continue;
        if (value->type != YAML_SCALAR_NODE)
            config_complain(binder->loader, &at, "the value of header '%.60s' is %s", name, kind_name(value));
        else if (config_substitute(scalar_text(value), value->data.scalar.length, binder->loader->env, &text, &err) !=
                     WEIR_OK ||
                 config_map_set(map, name, text, &err) != WEIR_OK)
            config_complain_row(binder->loader, row, upstream, &at, err.text);
        free(text);
    }
}

static void bind_value(struct binder *binder, const struct config_row *row, size_t upstream, const yaml_node_t *node)
{
    if (row->type == CONFIG_FLAGS)
        bind_flags(binder, row, upstream, node);
    else if (row->type == CONFIG_URLS)
        bind_urls(binder, row, upstream, node);
    else if (row->type == CONFIG_NAMES || row->type == CONFIG_ORIGINS)
        bind_names(binder, row, upstream, node);
    else if (row->type == CONFIG_MAP)
        bind_map(binder, row, upstream, node);
    else
        bind_scalar(binder, row, upstream, node);
}

static void bind_section(struct binder *binder, const char *path, size_t upstream, const yaml_node_t *node);

// NOLINTNEXTLINE(misc-no-recursion): bind_section calls it at the root alone
static void bind_upstreams(struct binder *binder, const yaml_node_t *node)
{
    struct config_place place = place_at(binder, &node->start_mark);
    if (is_null(node))
        return;
    if (node->type != YAML_SEQUENCE_NODE) {
        config_complain(binder->loader, &place, "upstreams: expects a list of upstreams, each '- name: …', not %s",
                        kind_name(node));
        return;
    }
    for (yaml_node_item_t *item = node->data.sequence.items.start; item < node->data.sequence.items.top; item++) {
        const yaml_node_t *element = yaml_document_get_node(binder->document, *item);
        place = place_at(binder, &element->start_mark);
        size_t upstream = config_upstream_add(binder->loader, &place);
        if (upstream == SIZE_MAX)
            return;
        bind_section(binder, "upstreams[]", upstream, element);
    }
}

// "receiver.grpc" stays, "upstreams[].tls" becomes "upstreams[1].tls".
static void path_shown(const char *path, size_t upstream, char *out, size_t out_size)
{
    if (strncmp(path, "upstreams[]", 11) == 0)
        snprintf(out, out_size, "upstreams[%zu]%s", upstream, path + 11);
    else
        snprintf(out, out_size, "%s", path);
}

static void complain_unknown(struct binder *binder, const char *path, const char *where, const yaml_node_t *key)
{
    struct config_place place = place_at(binder, &key->start_mark);
    const char *name = scalar_text(key);
    char nearest[PATH_SIZE];
    if (config_row_find(name) != NULL && strchr(name, '.') != NULL)
        config_complain(binder->loader, &place, "unknown key '%.60s'%s (keys are nested: one line for each part)", name,
                        where);
    else if (config_section_nearest(path, name, nearest, sizeof(nearest)))
        config_complain(binder->loader, &place, "unknown key '%.60s'%s (did you mean '%s'?)", name, where, nearest);
    else
        config_complain(binder->loader, &place, "unknown key '%.60s'%s (`weir help config` lists all)", name, where);
}

// Binds the mapping that lies at `path` ("" is the root).
// NOLINTNEXTLINE(misc-no-recursion): as deep as the table's keys, whatever the document holds
static void bind_section(struct binder *binder, const char *path, size_t upstream, const yaml_node_t *node)
{
    char shown[PATH_SIZE], where[PATH_SIZE + 8] = "";
    path_shown(path, upstream, shown, sizeof(shown));
    if (path[0] != '\0')
        snprintf(where, sizeof(where), " in %s", shown);
    if (node->type != YAML_MAPPING_NODE) {
        struct config_place place = place_at(binder, &node->start_mark);
        if (!is_null(node))
            config_complain(binder->loader, &place, "%s%sexpects keys and values, not %s", shown,
                            path[0] != '\0' ? ": " : "", kind_name(node));
        return;
    }
    if (mapping_too_large(binder, node))
        return;
    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
        const char *name = pair_key(binder, node, pair, where);
        const yaml_node_t *value = yaml_document_get_node(binder->document, pair->value);
        char full[PATH_SIZE];
        if (name == NULL)
            continue;
        int len = snprintf(full, sizeof(full), "%s%s%s", path, path[0] != '\0' ? "." : "", name);
        bool plain = (size_t)len < sizeof(full) && strpbrk(name, ".[]") == NULL;
        const struct config_row *row = plain ? config_row_find(full) : NULL;
        if (row != NULL)
            bind_value(binder, row, upstream, value);
        else if (strcmp(full, "upstreams") == 0)
            bind_upstreams(binder, value);
        else if (plain && name[0] != '\0' && config_section_exists(full))
            bind_section(binder, full, upstream, value);
        else
            complain_unknown(binder, path, where, yaml_document_get_node(binder->document, pair->key));
    }
}

// --- the file ------------------------------------------------------------------------------------------------------------

// Whether the line's indentation holds a tab, which libyaml's own words do not say clearly.
static bool tab_indents(struct weir_slice yaml, size_t line)
{
    const uint8_t *p = yaml.data, *end = yaml.data + yaml.len;
    for (; line > 0 && p != NULL && p < end; line--) {
        p = memchr(p, '\n', (size_t)(end - p));
        p = p != NULL ? p + 1 : end;
    }
    while (p != NULL && p < end && *p == ' ')
        p++;
    return p != NULL && p < end && *p == '\t';
}

static void complain_syntax(struct config_loader *loader, const yaml_parser_t *parser, struct weir_slice yaml)
{
    struct config_place place = config_place_named(loader->input->file);
    yaml_mark_t mark = parser->problem_mark;
    const char *problem = parser->problem != NULL ? parser->problem : "cannot be read";
    if (parser->error == YAML_MEMORY_ERROR)
        problem = "out of memory";
    if (parser->error == YAML_READER_ERROR) { // bytes that are no text: libyaml gives their offset alone
        mark = (yaml_mark_t){0};
        for (size_t i = 0; i < parser->problem_offset && i < yaml.len; i++) {
            mark.column = yaml.data[i] == '\n' ? 0 : mark.column + 1;
            mark.line += yaml.data[i] == '\n';
        }
    }
    place.line = (unsigned)mark.line + 1;
    place.column = (unsigned)mark.column + 1;
    config_complain(loader, &place, "not YAML: %s%s%s%s", parser->context != NULL ? parser->context : "",
                    parser->context != NULL ? ", " : "", problem,
                    tab_indents(yaml, mark.line) ? " (a tab: indent with spaces)" : "");
}

static void bind_document(struct config_loader *loader, yaml_document_t *document)
{
    struct binder binder = {.loader = loader, .document = document};
    const yaml_node_t *root = yaml_document_get_root_node(document);
    if (root != NULL)
        bind_section(&binder, "", 0, root);
}

static void read_documents(struct config_loader *loader, struct weir_slice yaml)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        struct config_place place = config_place_named(loader->input->file);
        config_complain(loader, &place, "out of memory");
        return;
    }
    yaml_parser_set_input_string(&parser, yaml.data, yaml.len);
    for (int number = 1; number <= 2; number++) {
        yaml_document_t document;
        if (!yaml_parser_load(&parser, &document)) {
            complain_syntax(loader, &parser, yaml);
            break;
        }
        bool empty = yaml_document_get_root_node(&document) == NULL;
        if (number == 1) {
            bind_document(loader, &document);
        } else if (!empty) {
            struct binder binder = {.loader = loader, .document = &document};
            struct config_place place = place_at(&binder, &document.start_mark);
            config_complain(loader, &place, "a second YAML document: a configuration is one");
        }
        yaml_document_delete(&document);
        if (empty)
            break;
    }
    yaml_parser_delete(&parser);
}

// Reads at most FILE_MAX bytes and one more; 0 or an errno.
static int read_file(const char *path, struct weir_buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), failed = 0;
    ssize_t n = 1;
    if (fd < 0)
        return errno;
    while (failed == 0 && n > 0 && out->len <= FILE_MAX) {
        if (!weir_buf_reserve(out, 65536)) {
            failed = ENOMEM;
            break;
        }
        n = read(fd, out->data + out->len, 65536);
        if (n > 0)
            out->len += (size_t)n;
        else if (n < 0 && errno != EINTR)
            failed = errno;
        else if (n < 0)
            n = 1;
    }
    close(fd);
    return failed;
}

void config_read_yaml(struct config_loader *loader)
{
    struct config_place place = config_place_named(loader->input->file);
    struct weir_buf content = {0};
    struct weir_slice yaml;
    int failed = 0;
    if (loader->input->yaml == NULL)
        failed = read_file(loader->input->file, &content);
    yaml = loader->input->yaml != NULL ? *loader->input->yaml : (struct weir_slice){content.data, content.len};
    if (failed != 0) {
        config_complain(loader, &place, "%s", strerror(failed));
        loader->code = WEIR_E_IO;
    } else if (yaml.len > FILE_MAX) {
        config_complain(loader, &place, "larger than 1MiB");
    } else {
        read_documents(loader, yaml);
    }
    weir_buf_free(&content);
}
