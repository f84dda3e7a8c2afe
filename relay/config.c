// SPDX-License-Identifier: Apache-2.0
// Loading: defaults, the file, the quick flags, OpenTelemetry's variables, --set, then the checks across keys. Each step goes on after
// an error, so that one run reports everything that is wrong.
#include <stdarg.h>
#include <stdio.h>

#include "relay/config_table.h"

// --- errors --------------------------------------------------------------------------------------------------------------

static void errors_add(struct config_errors *errors, char *text)
{
    if (errors->count < CONFIG_MAX_ERRORS)
        errors->texts[errors->count] = text;
    else
        free(text);
    errors->count++;
}

void config_errors_print(const struct config_errors *errors, FILE *out)
{
    for (size_t i = 0; i < errors->count && i < CONFIG_MAX_ERRORS; i++)
        fprintf(out, "%s\n", errors->texts[i] != NULL ? errors->texts[i] : "out of memory");
    if (errors->count > CONFIG_MAX_ERRORS)
        fprintf(out, "and %zu errors more\n", errors->count - CONFIG_MAX_ERRORS);
}

void config_errors_free(struct config_errors *errors)
{
    for (size_t i = 0; i < errors->count && i < CONFIG_MAX_ERRORS; i++)
        free(errors->texts[i]);
    *errors = (struct config_errors){0};
}

struct config_place config_place_named(const char *source)
{
    return (struct config_place){.source = source, .source_len = (int)strlen(source), .given = true};
}

struct config_place *config_place_of(struct config_loader *loader, const struct config_row *row, size_t upstream)
{
    size_t group = config_row_is_upstream(row) ? upstream : CONFIG_GLOBAL;
    assert(group <= CONFIG_GLOBAL);
    return &loader->places[group][row - config_rows];
}

void config_complain(struct config_loader *loader, const struct config_place *place, const char *fmt, ...)
{
    char *message = NULL, *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(&message, fmt, ap) < 0)
        message = NULL;
    va_end(ap);
    int n = -1;
    if (message != NULL && place->source_len == 0)
        n = asprintf(&text, "%s", message);
    else if (message != NULL && place->line == 0)
        n = asprintf(&text, "%s%.*s: %s", place->flag != NULL ? place->flag : "", place->source_len, place->source,
                     message);
    else if (message != NULL)
        n = asprintf(&text, "%.*s:%u:%u: %s", place->source_len, place->source, place->line, place->column, message);
    errors_add(loader->errors, n < 0 ? NULL : text);
    free(message);
    if (loader->code == WEIR_OK)
        loader->code = WEIR_E_INVALID;
}

// "upstreams[0].timeout"
static void row_name(const struct config_row *row, size_t upstream, char *out, size_t out_size)
{
    if (config_row_is_upstream(row))
        snprintf(out, out_size, "upstreams[%zu].%s", upstream, row->key + strlen(CONFIG_UPSTREAM));
    else
        snprintf(out, out_size, "%s", row->key);
}

void config_complain_row(struct config_loader *loader, const struct config_row *row, size_t upstream,
                         const struct config_place *place, const char *message)
{
    char name[96];
    row_name(row, upstream, name, sizeof(name));
    config_place_of(loader, row, upstream)->wrong = true;
    if (place->given && place->line == 0) // a flag or a variable: its name says it
        config_complain(loader, place, "%s", message);
    else
        config_complain(loader, place, "%s: %s", name, message);
}

// --- values --------------------------------------------------------------------------------------------------------------

void config_assign(struct config_loader *loader, const struct config_row *row, size_t upstream, const char *text,
                   const struct config_place *place)
{
    struct weir_err err;
    struct config_place *mine = config_place_of(loader, row, upstream);
    *mine = *place;
    int result = config_value_parse(row, config_row_field(row, loader->config, upstream), text, &err);
    if (result == WEIR_E_NOMEM)
        loader->code = result;
    if (result != WEIR_OK)
        config_complain_row(loader, row, upstream, place, err.text);
}

static void assign_named(struct config_loader *loader, const char *key, size_t upstream, const char *text,
                         const char *source)
{
    struct config_place place = config_place_named(source);
    if (text != NULL)
        config_assign(loader, config_row_find(key), upstream, text, &place);
}

static void assign_defaults(struct config_loader *loader, bool of_upstream, size_t upstream)
{
    struct weir_err err;
    for (size_t i = 0; i < CONFIG_ROWS; i++) {
        const struct config_row *row = &config_rows[i];
        if (config_row_is_upstream(row) != of_upstream || row->def == NULL)
            continue;
        int result = config_value_parse(row, config_row_field(row, loader->config, upstream), row->def, &err);
        assert(result == WEIR_OK || result == WEIR_E_NOMEM); // the table's defaults obey the table
        if (result == WEIR_E_NOMEM) {
            config_complain(loader, &(struct config_place){0}, "out of memory");
            loader->code = WEIR_E_NOMEM;
        }
    }
}

size_t config_upstream_add(struct config_loader *loader, const struct config_place *place)
{
    size_t upstream = loader->config->upstream_count;
    if (upstream >= CONFIG_MAX_UPSTREAMS) {
        config_complain(loader, place, "more than %d upstreams", CONFIG_MAX_UPSTREAMS);
        return SIZE_MAX;
    }
    loader->config->upstream_count++;
    for (size_t i = 0; i < CONFIG_ROWS; i++) {
        loader->places[upstream][i] = *place;
        loader->places[upstream][i].given = false;
    }
    assign_defaults(loader, true, upstream);
    return upstream;
}

// --- quick flags ---------------------------------------------------------------------------------------------------------

static void upstream_free(struct config_upstream *upstream)
{
    for (size_t i = 0; i < CONFIG_ROWS; i++)
        if (config_row_is_upstream(&config_rows[i]))
            config_value_free(&config_rows[i], (char *)upstream + config_rows[i].offset);
    config_targets_free(upstream);
    *upstream = (struct config_upstream){0};
}

// --upstream URL says where to deliver instead of the file. The first is "default", so that a second flag behind it does not change
// the name under which the spool keeps the first one's backlog.
static void read_quick_upstreams(struct config_loader *loader)
{
    const struct config_input *input = loader->input;
    if (input->upstream_count > 0) {
        for (size_t i = 0; i < loader->config->upstream_count; i++)
            upstream_free(&loader->config->upstreams[i]);
        loader->config->upstream_count = 0;
    }
    for (size_t i = 0; i < input->upstream_count; i++) {
        char name[32] = "default";
        if (i > 0)
            snprintf(name, sizeof(name), "default-%zu", i + 1);
        struct config_place place = config_place_named("--upstream");
        size_t upstream = config_upstream_add(loader, &place);
        if (upstream == SIZE_MAX)
            return;
        assign_named(loader, CONFIG_UPSTREAM "name", upstream, name, "--upstream");
        assign_named(loader, CONFIG_UPSTREAM "endpoint", upstream, input->upstreams[i], "--upstream");
    }
}

static void read_quick_flags(struct config_loader *loader)
{
    read_quick_upstreams(loader);
    assign_named(loader, "spool.directory", 0, loader->input->spool, "--spool");
    assign_named(loader, "receiver.grpc.endpoint", 0, loader->input->grpc, "--grpc");
    assign_named(loader, "receiver.http.endpoint", 0, loader->input->http, "--http");
    assign_named(loader, "admin.endpoint", 0, loader->input->admin, "--admin");
}

// Whether a --set configures an upstream of its own, so that OpenTelemetry's variables do not.
static bool sets_hold_an_endpoint(const struct config_input *input)
{
    static const char head[] = "upstreams.", tail[] = ".endpoint";
    for (size_t i = 0; i < input->set_count; i++) {
        size_t len = strcspn(input->sets[i], "=");
        if (strncmp(input->sets[i], head, strlen(head)) == 0 && len > strlen(tail) &&
            memcmp(input->sets[i] + len - strlen(tail), tail, strlen(tail)) == 0)
            return true;
    }
    return false;
}

// --- all of it -----------------------------------------------------------------------------------------------------------

static const char *env_of_process(const char *name)
{
    return getenv(name);
}

int config_load(const struct config_input *input, struct config *config, struct config_errors *errors)
{
    struct config_loader loader = {
        .input = input,
        .config = config,
        .errors = errors,
        .env = input->env != NULL ? input->env : env_of_process,
        .places = calloc(CONFIG_MAX_UPSTREAMS + 1, sizeof(*loader.places)),
    };
    memset(config, 0, sizeof(*config));
    if (loader.places == NULL) {
        errors_add(errors, NULL);
        return WEIR_E_NOMEM;
    }
    assign_defaults(&loader, false, 0);
    if (input->file != NULL)
        config_read_yaml(&loader);
    // Without the file's content the rest would only complain about what the file may hold.
    if (loader.code != WEIR_E_IO && loader.code != WEIR_E_NOMEM) {
        read_quick_flags(&loader);
        if (config->upstream_count == 0 && !sets_hold_an_endpoint(input))
            config_read_environment(&loader);
        for (size_t i = 0; i < input->set_count; i++)
            config_read_set(&loader, input->sets[i]);
        config_check(&loader);
        if (input->check_files && loader.code == WEIR_OK)
            config_check_files(&loader);
    }
    free(loader.places);
    if (loader.code != WEIR_OK)
        config_free(config);
    assert((loader.code == WEIR_OK) == (errors->count == 0));
    return loader.code;
}

void config_free(struct config *config)
{
    for (size_t i = 0; i < CONFIG_MAX_UPSTREAMS; i++)
        upstream_free(&config->upstreams[i]);
    for (size_t i = 0; i < CONFIG_ROWS; i++)
        if (!config_row_is_upstream(&config_rows[i]))
            config_value_free(&config_rows[i], config_row_field(&config_rows[i], config, 0));
    memset(config, 0, sizeof(*config));
}
