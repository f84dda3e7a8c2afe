// SPDX-License-Identifier: Apache-2.0
// OpenTelemetry's variables (U20, U21). Those without a signal in their name describe one upstream, "default". A signal that any of its own
// variables (…_TRACES_…) tells apart gets an upstream of its own, "default-traces", for which they overrule the others.
#include <ctype.h>
#include <stdio.h>

#include "proto/otlp.h"
#include "relay/config_table.h"

#define OTEL     "OTEL_EXPORTER_OTLP_"
#define VARIANTS 4 // general, traces, metrics, logs: there are none for profiles
#define NAMES(value)                                                                                                   \
    {                                                                                                                  \
        OTEL value, OTEL "TRACES_" value, OTEL "METRICS_" value, OTEL "LOGS_" value                                    \
    }

static const struct {
    const char *upstream;
    enum weir_signal signal; // of all but the first
} variants[VARIANTS] = {
    {"default", 0}, {"default-traces", WEIR_TRACES}, {"default-metrics", WEIR_METRICS}, {"default-logs", WEIR_LOGS}};

// What a variable says to one upstream.
struct said {
    size_t upstream, variant;
    const char *name, *value; // of the variable, which may be the general one
};

// --- one variable --------------------------------------------------------------------------------------------------------

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

static void complain(struct config_loader *loader, const char *key, const struct said *said, const char *message)
{
    struct config_place place = config_place_named(said->name);
    config_complain_row(loader, config_row_find(key), said->upstream, &place, message);
}

static void assign(struct config_loader *loader, const char *key, const struct said *said, const char *value)
{
    struct config_place place = config_place_named(said->name);
    config_assign(loader, config_row_find(key), said->upstream, value, &place);
}

static void read_headers(struct config_loader *loader, const struct said *said)
{
    static const char key[] = CONFIG_UPSTREAM "headers";
    struct weir_err err = {.text = "out of memory"};
    char *copy = strdup(said->value);
    struct config_map *map = config_row_field(config_row_find(key), loader->config, said->upstream);
    if (copy == NULL || headers_parse(map, copy, &err) != WEIR_OK)
        complain(loader, key, said, err.text);
    free(copy);
}

// Milliseconds, without a unit.
static void read_timeout(struct config_loader *loader, const struct said *said)
{
    static const char key[] = CONFIG_UPSTREAM "timeout";
    char text[32];
    if (strspn(said->value, "0123456789") != strlen(said->value) || strlen(said->value) > 18) {
        complain(loader, key, said, "is not a number of milliseconds");
        return;
    }
    snprintf(text, sizeof(text), "%sms", said->value);
    assign(loader, key, said, text);
}

static void read_protocol(struct config_loader *loader, const struct said *said)
{
    static const char key[] = CONFIG_UPSTREAM "protocol";
    if (strcmp(said->value, "http/json") == 0)
        complain(loader, key, said, "weir does not send http/json: take http/protobuf or grpc");
    else
        assign(loader, key, said, said->value);
}

static const char *find(struct config_loader *loader, const char *const names[VARIANTS], size_t variant,
                        const char **name)
{
    for (size_t i = 0; i < 2; i++) {
        *name = names[i == 0 ? variant : 0];
        const char *value = loader->env(*name);
        if (value != NULL &&
            value[0] != '\0') // empty is the same as unset, as the specification of these variables says
            return value;
    }
    return NULL;
}

static bool wants_tls(struct config_loader *loader, const struct said *said)
{
    static const char *const names[VARIANTS] = NAMES("INSECURE");
    struct said insecure = *said;
    insecure.value = find(loader, names, said->variant, &insecure.name);
    if (insecure.value == NULL || strcasecmp(insecure.value, "false") == 0)
        return true;
    if (strcasecmp(insecure.value, "true") != 0)
        complain(loader, CONFIG_UPSTREAM "endpoint", &insecure, "is neither true nor false");
    return false;
}

// A signal's own URL is complete: for OTLP/HTTP it ends in the path that weir adds itself. True: `url` was cut there.
static bool cut_path(char *url, enum weir_signal signal)
{
    const char *path = otlp_services[signal].http_path;
    size_t len = strlen(url), tail = strlen(path);
    if (len <= tail || strcmp(url + len - tail, path) != 0)
        return false;
    url[len - tail] = '\0';
    return true;
}

static bool is_http(const struct config_loader *loader, const struct said *said, const char *url)
{
    struct config_target target;
    enum config_protocol wanted = loader->config->upstreams[said->upstream].protocol;
    if (config_target_parse(url, wanted, &target, NULL) != WEIR_OK)
        return false; // check_endpoint says why
    bool http = target.protocol == CONFIG_PROTOCOL_HTTP;
    config_target_free(&target);
    return http;
}

// Behind PROTOCOL, which it reads. Without a scheme _INSECURE decides about TLS, and false is its default.
static void read_endpoint(struct config_loader *loader, const struct said *said)
{
    static const char key[] = CONFIG_UPSTREAM "endpoint";
    const struct config_upstream *upstream = &loader->config->upstreams[said->upstream];
    bool own = said->variant > 0 && strncmp(said->name, OTEL "ENDPOINT", sizeof(OTEL "ENDPOINT")) != 0;
    bool bare = strstr(said->value, "://") == NULL && strchr(said->value, ',') == NULL;
    bool http = upstream->protocol == CONFIG_PROTOCOL_HTTP;
    char *url = NULL, message[128];
    const char *scheme = !bare                     ? ""
                         : wants_tls(loader, said) ? (http ? "https://" : "grpcs://")
                                                   : (http ? "http://" : "grpc://");
    if (asprintf(&url, "%s%s", scheme, said->value) < 0) {
        complain(loader, key, said, "out of memory");
        return;
    }
    enum weir_signal signal = variants[said->variant].signal;
    if (own && cut_path(url, signal)) {
        if (upstream->protocol == CONFIG_PROTOCOL_AUTO)
            assign(loader, CONFIG_UPSTREAM "protocol", said, "http/protobuf");
    } else if (own && is_http(loader, said, url)) {
        snprintf(message, sizeof(message), "does not end in %s, the only path that weir sends this signal to",
                 otlp_services[signal].http_path);
        complain(loader, key, said, message);
    }
    assign(loader, key, said, url);
    free(url);
}

// --- all of them ---------------------------------------------------------------------------------------------------------

static const struct variable {
    const char *names[VARIANTS];
    const char *key;
    void (*read)(struct config_loader *loader, const struct said *said); // instead of assigning it
} variables[] = {
    {NAMES("PROTOCOL"), CONFIG_UPSTREAM "protocol", read_protocol},
    {NAMES("ENDPOINT"), CONFIG_UPSTREAM "endpoint", read_endpoint},
    {NAMES("HEADERS"), CONFIG_UPSTREAM "headers", read_headers},
    {NAMES("COMPRESSION"), CONFIG_UPSTREAM "compression", NULL},
    {NAMES("CERTIFICATE"), CONFIG_UPSTREAM "tls.ca_file", NULL},
    {NAMES("CLIENT_CERTIFICATE"), CONFIG_UPSTREAM "tls.cert_file", NULL},
    {NAMES("CLIENT_KEY"), CONFIG_UPSTREAM "tls.key_file", NULL},
    {NAMES("TIMEOUT"), CONFIG_UPSTREAM "timeout", read_timeout},
    {NAMES("INSECURE"), NULL, NULL}, // read with the endpoint
};
#define ENDPOINT 1

static bool is_set(struct config_loader *loader, const char *name)
{
    const char *value = loader->env(name);
    return value != NULL && value[0] != '\0';
}

static bool has_its_own(struct config_loader *loader, size_t variant)
{
    for (size_t i = 0; i < WEIR_COUNT(variables); i++)
        if (is_set(loader, variables[i].names[variant]))
            return true;
    return false;
}

static void describe(struct config_loader *loader, size_t variant, const char *signals)
{
    struct said said = {.variant = variant};
    if (find(loader, variables[ENDPOINT].names, variant, &said.name) == NULL)
        return;
    struct config_place place = config_place_named(said.name);
    said.upstream = config_upstream_add(loader, &place);
    if (said.upstream == SIZE_MAX)
        return;
    assign(loader, CONFIG_UPSTREAM "name", &said, variants[variant].upstream);
    assign(loader, CONFIG_UPSTREAM "signals", &said, signals);
    for (size_t i = 0; i < WEIR_COUNT(variables); i++) {
        said.value = find(loader, variables[i].names, variant, &said.name);
        if (said.value == NULL || variables[i].key == NULL)
            continue;
        if (variables[i].read != NULL)
            variables[i].read(loader, &said);
        else
            assign(loader, variables[i].key, &said, said.value);
    }
}

void config_read_environment(struct config_loader *loader)
{
    char rest[64] = "profiles";
    for (size_t i = 1; i < VARIANTS; i++) {
        size_t len = strlen(rest);
        if (!has_its_own(loader, i))
            snprintf(rest + len, sizeof(rest) - len, ",%s", weir_signal_name(variants[i].signal));
    }
    describe(loader, 0, rest);
    for (size_t i = 1; i < VARIANTS; i++)
        if (has_its_own(loader, i))
            describe(loader, i, weir_signal_name(variants[i].signal));
}
