// SPDX-License-Identifier: Apache-2.0
// What concerns several keys at once, or the sense of a text: names, endpoints, sizes that must fit each other. A value that was
// complained about before is not compared: its default would only produce a second, misleading error.
#include <stdio.h>

#include "relay/config_table.h"
#include "relay/config_values.h"
#include "storage/spool.h"

#define MiB (UINT64_C(1) << 20)

static bool is_right(struct config_loader *loader, const char *key, size_t upstream)
{
    return !config_place_of(loader, config_row_find(key), upstream)->wrong;
}

__attribute__((format(printf, 4, 5))) static void complain(struct config_loader *loader, const char *key,
                                                           size_t upstream, const char *fmt, ...)
{
    const struct config_row *row = config_row_find(key);
    struct weir_err err;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err.text, sizeof(err.text), fmt, ap);
    va_end(ap);
    // A default that does not fit has no place of its own: the message names the other key, too.
    struct config_place place = *config_place_of(loader, row, upstream);
    if (place.source_len == 0 && loader->input->file != NULL) {
        place = config_place_named(loader->input->file);
        place.given = false;
    }
    config_complain_row(loader, row, upstream, &place, err.text);
}

static void check_receiver(struct config_loader *loader)
{
    const struct config *config = loader->config;
    char size[CONFIG_NUMBER_TEXT], unwritten[CONFIG_NUMBER_TEXT];
    if (is_right(loader, "receiver.grpc.endpoint", 0) && is_right(loader, "receiver.http.endpoint", 0) &&
        strcmp(config->receiver.grpc_endpoint, "off") == 0 && strcmp(config->receiver.http_endpoint, "off") == 0)
        complain(loader, "receiver.http.endpoint", 0, "receiver.grpc.endpoint is off, too: nothing could come in");
    if (is_right(loader, "receiver.max_request_size", 0) && is_right(loader, "spool.max_unwritten", 0) &&
        config->receiver.max_request_size_bytes > config->spool.max_unwritten_bytes)
        complain(loader, "receiver.max_request_size", 0,
                 "%s is more than spool.max_unwritten (%s): such a request could never be taken",
                 config_size_format(config->receiver.max_request_size_bytes, size),
                 config_size_format(config->spool.max_unwritten_bytes, unwritten));
}

static void check_spool(struct config_loader *loader)
{
    const struct config *config = loader->config;
    uint64_t segment = config->spool.segment_size_bytes;
    char size[CONFIG_NUMBER_TEXT], min[CONFIG_NUMBER_TEXT], max[CONFIG_NUMBER_TEXT];
    if (!is_right(loader, "spool.segment_size", 0))
        return;
    config_size_format(segment, size);
    if (segment % MiB != 0)
        complain(loader, "spool.segment_size", 0, "%s is not a multiple of 1MiB", size);
    else if (is_right(loader, "spool.max_size", 0) && spool_bytes_min(segment) > config->spool.max_size_bytes)
        complain(loader, "spool.segment_size", 0, "%s needs a spool.max_size of %s at least; it is %s", size,
                 config_size_format(spool_bytes_min(segment), min),
                 config_size_format(config->spool.max_size_bytes, max));
}

static void check_retention(struct config_loader *loader)
{
    const struct config *config = loader->config;
    char kept[CONFIG_NUMBER_TEXT], age[CONFIG_NUMBER_TEXT];
    uint64_t max_age_ms = config->spool.max_age_ms;
    if (max_age_ms == 0 || !is_right(loader, "spool.max_age", 0))
        return;
    config_duration_format(max_age_ms, age);
    if (is_right(loader, "spool.keep_delivered", 0) && config->spool.keep_delivered_ms > max_age_ms)
        complain(loader, "spool.keep_delivered", 0, "%s is more than spool.max_age (%s): nothing is kept that long",
                 config_duration_format(config->spool.keep_delivered_ms, kept), age);
    for (size_t i = 0; i < config->upstream_count; i++) {
        static const char key[] = CONFIG_UPSTREAM "max_data_age";
        if (is_right(loader, key, i) && config->upstreams[i].max_data_age_ms > max_age_ms)
            complain(loader, key, i, "%s is more than spool.max_age (%s): data is evicted before it is as old",
                     config_duration_format(config->upstreams[i].max_data_age_ms, kept), age);
    }
}

// The default gives way to a small spool; what somebody asks for must fit. An eighth always does: that is what the default becomes.
static void check_dead_letters(struct config_loader *loader)
{
    static const char key[] = "dead_letters.max_size";
    struct config *config = loader->config;
    uint64_t *letters = &config->dead_letters.max_size_bytes, max = config->spool.max_size_bytes;
    uint64_t segments = spool_bytes_min(config->spool.segment_size_bytes);
    char size[CONFIG_NUMBER_TEXT], need[CONFIG_NUMBER_TEXT], room[CONFIG_NUMBER_TEXT];
    if (!is_right(loader, key, 0) || !is_right(loader, "spool.max_size", 0) ||
        !is_right(loader, "spool.segment_size", 0) || *letters <= max / 8)
        return;
    if (!config_place_of(loader, config_row_find(key), CONFIG_GLOBAL)->given)
        *letters = max / 8;
    else if (*letters > max || segments > max - *letters)
        complain(loader, key, 0, "%s leaves too little of spool.max_size (%s): the spool's other files need %s",
                 config_size_format(*letters, size), config_size_format(max, room), config_size_format(segments, need));
}

static void check_name(struct config_loader *loader, size_t upstream)
{
    static const char key[] = CONFIG_UPSTREAM "name";
    const char *name = loader->config->upstreams[upstream].name;
    if (!is_right(loader, key, upstream))
        return;
    if (name == NULL) {
        complain(loader, key, upstream, "is missing");
        return;
    }
    if (name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-")] != '\0') {
        complain(loader, key, upstream, "'%.64s' may hold nothing but a-z, 0-9, '.', '_' and '-'", name);
        return;
    }
    for (size_t i = 0; i < upstream; i++) {
        const char *other = loader->config->upstreams[i].name;
        if (other != NULL && strcmp(other, name) == 0) {
            complain(loader, key, upstream, "'%s' is the name of upstreams[%zu] already", name, i);
            return;
        }
    }
}

static void check_endpoint(struct config_loader *loader, size_t upstream)
{
    static const char key[] = CONFIG_UPSTREAM "endpoint";
    struct config_upstream *up = &loader->config->upstreams[upstream];
    struct weir_err err;
    if (!is_right(loader, key, upstream) || !is_right(loader, CONFIG_UPSTREAM "protocol", upstream))
        return;
    if (up->endpoint == NULL)
        complain(loader, key, upstream, "is missing");
    else if (config_targets_parse(up, &err) != WEIR_OK)
        complain(loader, key, upstream, "%s", err.text);
}

static void check_tls(struct config_loader *loader, size_t upstream)
{
    static const char *const keys[] = {CONFIG_UPSTREAM "tls.ca_file", CONFIG_UPSTREAM "tls.cert_file",
                                       CONFIG_UPSTREAM "tls.key_file", CONFIG_UPSTREAM "tls.server_name",
                                       CONFIG_UPSTREAM "tls.insecure_skip_verify"};
    const struct config_upstream *up = &loader->config->upstreams[upstream];
    // Someone who names certificates expects encryption: never send in the clear what was meant to be protected.
    for (size_t i = 0; i < WEIR_COUNT(keys) && up->target.host != NULL && !up->target.use_tls; i++) {
        const struct config_row *row = config_row_find(keys[i]);
        const void *field = config_row_field(row, loader->config, upstream);
        bool set = row->type == CONFIG_BOOL ? *(const bool *)field : (*(char *const *)field)[0] != '\0';
        if (set && is_right(loader, keys[i], upstream)) {
            complain(loader, keys[i], upstream, "has no effect: '%.80s' is not encrypted (use grpcs:// or https://)",
                     up->endpoint);
            break;
        }
    }
    if (!is_right(loader, keys[1], upstream) || !is_right(loader, keys[2], upstream))
        return;
    if (up->tls.cert_file[0] != '\0' && up->tls.key_file[0] == '\0')
        complain(loader, keys[1], upstream, "needs tls.key_file");
    if (up->tls.key_file[0] != '\0' && up->tls.cert_file[0] == '\0')
        complain(loader, keys[2], upstream, "needs tls.cert_file");
}

// Two of them, and which one holds would be the upstream's choice.
static void check_token(struct config_loader *loader, size_t upstream)
{
    const struct config_upstream *up = &loader->config->upstreams[upstream];
    static const char key[] = CONFIG_UPSTREAM "bearer_token_file";
    if (up->bearer_token_file[0] == '\0' || !is_right(loader, key, upstream))
        return;
    for (size_t i = 0; i < up->headers.count; i++)
        if (strcmp(up->headers.items[i].name, "authorization") == 0)
            complain(loader, key, upstream, "headers.authorization is set, too: one of the two");
}

static void check_listen_tls(struct config_loader *loader, const char *section, const struct config_listen_tls *tls)
{
    char cert[64], key[64], ca[64];
    snprintf(cert, sizeof(cert), "%s.tls.cert_file", section);
    snprintf(key, sizeof(key), "%s.tls.key_file", section);
    snprintf(ca, sizeof(ca), "%s.tls.client_ca_file", section);
    if (!is_right(loader, cert, CONFIG_GLOBAL) || !is_right(loader, key, CONFIG_GLOBAL))
        return;
    if (tls->cert_file[0] != '\0' && tls->key_file[0] == '\0')
        complain(loader, cert, CONFIG_GLOBAL, "needs tls.key_file");
    else if (tls->key_file[0] != '\0' && tls->cert_file[0] == '\0')
        complain(loader, key, CONFIG_GLOBAL, "needs tls.cert_file");
    else if (tls->client_ca_file[0] != '\0' && tls->cert_file[0] == '\0' && is_right(loader, ca, CONFIG_GLOBAL))
        complain(loader, ca, CONFIG_GLOBAL, "needs tls.cert_file: without TLS nobody shows a certificate");
}

static void check_retry(struct config_loader *loader, size_t upstream)
{
    const struct config_upstream *up = &loader->config->upstreams[upstream];
    char initial[CONFIG_NUMBER_TEXT], max[CONFIG_NUMBER_TEXT];
    if (is_right(loader, CONFIG_UPSTREAM "retry.initial", upstream) &&
        is_right(loader, CONFIG_UPSTREAM "retry.max", upstream) && up->retry.initial_ms > up->retry.max_ms)
        complain(loader, CONFIG_UPSTREAM "retry.initial", upstream, "%s is more than retry.max (%s)",
                 config_duration_format(up->retry.initial_ms, initial), config_duration_format(up->retry.max_ms, max));
}

void config_check(struct config_loader *loader)
{
    if (loader->code == WEIR_E_NOMEM)
        return;
    check_receiver(loader);
    check_listen_tls(loader, "receiver.grpc", &loader->config->receiver.grpc_tls);
    check_listen_tls(loader, "receiver.http", &loader->config->receiver.http_tls);
    check_listen_tls(loader, "admin", &loader->config->admin.tls);
    check_spool(loader);
    check_retention(loader);
    check_dead_letters(loader);
    for (size_t i = 0; i < loader->config->upstream_count; i++) {
        check_name(loader, i);
        check_endpoint(loader, i);
        check_tls(loader, i);
        check_token(loader, i);
        check_retry(loader, i);
    }
    // With other errors there may well be one that was not understood.
    if (loader->config->upstream_count == 0 && loader->code == WEIR_OK) {
        struct config_place place =
            config_place_named(loader->input->file != NULL ? loader->input->file : "configuration");
        config_complain(
            loader, &place,
            "no upstream says where to deliver: add one, for example weir run --upstream http://collector:4317");
    }
}
