// SPDX-License-Identifier: Apache-2.0
// Addresses: an upstream's endpoint taken apart (U18, U19), a listener's checked.
#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>

#include "relay/config_table.h"

#define SHOWN "'%.80s'"

struct scheme {
    const char *name;
    enum config_protocol protocol;
    bool use_tls;
    uint16_t port; // when none is written
};
static const struct scheme schemes[] = {
    {"grpc", CONFIG_PROTOCOL_GRPC, false, 4317},
    {"grpcs", CONFIG_PROTOCOL_GRPC, true, 4317},
    {"http", CONFIG_PROTOCOL_HTTP, false,
     80}, // as in every http URL: vendors' endpoints are https://host without a port
    {"https", CONFIG_PROTOCOL_HTTP, true, 443},
};
#define GRPC_PORT 4317

// The pieces of "host:port/path", pointing into the text.
struct pieces {
    const char *host, *port, *path;
    size_t host_len, port_len, path_len; // port_len 0: none was written; brackets are not part of the host
};

static bool host_is_name(const char *host, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)host[i]) && strchr(".-_", host[i]) == NULL)
            return false;
    return len <= 253;
}

static bool host_is_ipv6(const char *host, size_t len)
{
    char address[INET6_ADDRSTRLEN];
    struct in6_addr in;
    const char *zone = memchr(host, '%', len);
    size_t address_len = zone != NULL ? (size_t)(zone - host) : len;
    if (address_len >= sizeof(address) || len > 80)
        return false;
    if (zone != NULL && (zone + 1 == host + len || !host_is_name(zone + 1, (size_t)(host + len - zone - 1))))
        return false;
    memcpy(address, host, address_len);
    address[address_len] = '\0';
    return inet_pton(AF_INET6, address, &in) == 1;
}

// Cuts "host:port[/path]". What follows an IPv6 address in brackets or the last colon is the port.
static int pieces_cut(const char *whole, const char *authority, struct pieces *out, struct weir_err *err)
{
    *out = (struct pieces){.host = authority};
    size_t len = strcspn(authority, "/?#");
    out->path = authority + len;
    out->path_len = strlen(out->path);
    if (memchr(authority, '@', len) != NULL)
        return weir_fail(err, WEIR_E_INVALID, "an endpoint holds no user or password: put them into headers");
    const char *end = authority + len, *colon;
    if (authority[0] == '[') {
        const char *close = memchr(authority, ']', len);
        if (close == NULL || !host_is_ipv6(authority + 1, (size_t)(close - authority - 1)))
            return weir_fail(err, WEIR_E_INVALID, SHOWN " does not hold an IPv6 address in its brackets", whole);
        out->host = authority + 1;
        out->host_len = (size_t)(close - out->host);
        colon = close + 1;
        if (colon < end && *colon != ':')
            return weir_fail(err, WEIR_E_INVALID, SHOWN " has something other than a port behind its brackets", whole);
    } else {
        colon = memchr(authority, ':', len);
        out->host_len = colon != NULL ? (size_t)(colon - authority) : len;
        if (colon != NULL && memchr(colon + 1, ':', (size_t)(end - colon - 1)) != NULL)
            return weir_fail(err, WEIR_E_INVALID,
                             SHOWN " has several colons: an IPv6 address needs brackets, as in [::1]:4317", whole);
        if (!host_is_name(authority, out->host_len))
            return weir_fail(err, WEIR_E_INVALID, SHOWN " has a host that is neither a name nor an address", whole);
    }
    if (colon != NULL && colon < end) {
        out->port = colon + 1;
        out->port_len = (size_t)(end - out->port);
        if (out->port_len == 0)
            return weir_fail(err, WEIR_E_INVALID, SHOWN " has no port behind its colon", whole);
    }
    return WEIR_OK;
}

static int port_parse(const char *whole, const struct pieces *pieces, unsigned least, uint16_t *out,
                      struct weir_err *err)
{
    unsigned value = 0;
    for (size_t i = 0; i < pieces->port_len; i++) {
        if (!isdigit((unsigned char)pieces->port[i]) || pieces->port_len > 5)
            return weir_fail(err, WEIR_E_INVALID, SHOWN " has a port that is not a number from %u to 65535", whole,
                             least);
        value = value * 10 + (unsigned)(pieces->port[i] - '0');
    }
    if (value < least || value > 65535)
        return weir_fail(err, WEIR_E_INVALID, SHOWN " has a port that is not a number from %u to 65535", whole, least);
    *out = (uint16_t)value;
    return WEIR_OK;
}

int config_listen_check(const char *text, struct weir_err *err)
{
    struct pieces pieces;
    uint16_t port;
    if (strcmp(text, "off") == 0)
        return WEIR_OK;
    if (strstr(text, "://") != NULL)
        return weir_fail(err, WEIR_E_INVALID, SHOWN " has a scheme: a listener is host:port or off", text);
    int result = pieces_cut(text, text, &pieces, err);
    if (result != WEIR_OK)
        return result;
    if (pieces.port_len == 0 || pieces.path_len > 0)
        return weir_fail(err, WEIR_E_INVALID, SHOWN " is not host:port or off", text);
    return port_parse(text, &pieces, 0, &port, err); // 0: any free port
}

// --- upstreams -----------------------------------------------------------------------------------------------------------

static const struct scheme *scheme_find(const char *name, size_t len)
{
    for (size_t i = 0; i < WEIR_COUNT(schemes); i++)
        if (strlen(schemes[i].name) == len && strncasecmp(schemes[i].name, name, len) == 0)
            return &schemes[i];
    return NULL;
}

static int path_check(const char *whole, const struct pieces *pieces, struct weir_err *err)
{
    for (size_t i = 0; i < pieces->path_len; i++) {
        unsigned char c = (unsigned char)pieces->path[i];
        if (c == '?' || c == '#')
            return weir_fail(err, WEIR_E_INVALID, SHOWN " has a query or a fragment: an endpoint ends with its path",
                             whole);
        if (c <= 0x20 || c >= 0x7f)
            return weir_fail(err, WEIR_E_INVALID, SHOWN " has a path that holds a character URLs cannot (0x%02x)",
                             whole, c);
    }
    return WEIR_OK;
}

// A signal's own URL instead of the base is the most frequent slip: the export would go to /v1/traces/v1/traces (U18).
static int base_check(const char *whole, const char *base, struct weir_err *err)
{
    static const char *const tails[] = {"/v1/traces", "/v1/metrics", "/v1/logs", "/v1development/profiles"};
    size_t len = strlen(base);
    for (size_t i = 0; i < WEIR_COUNT(tails); i++) {
        size_t tail_len = strlen(tails[i]);
        if (len >= tail_len && strcmp(base + len - tail_len, tails[i]) == 0)
            return weir_fail(err, WEIR_E_INVALID, SHOWN " ends in %s, which weir adds itself: give the URL before it",
                             whole, tails[i]);
    }
    return WEIR_OK;
}

static enum config_protocol protocol_choose(enum config_protocol wanted, const struct scheme *scheme, uint16_t port,
                                            bool has_path)
{
    if (wanted != CONFIG_PROTOCOL_AUTO)
        return wanted;
    return port == GRPC_PORT && !has_path ? CONFIG_PROTOCOL_GRPC : scheme->protocol;
}

int config_target_parse(const char *endpoint, enum config_protocol protocol, struct config_target *out,
                        struct weir_err *err)
{
    struct pieces pieces;
    const struct scheme *scheme = &schemes[0];
    const char *authority = endpoint, *mark = strstr(endpoint, "://");
    *out = (struct config_target){0};
    if (mark != NULL) {
        authority = mark + 3;
        scheme = scheme_find(endpoint, (size_t)(mark - endpoint));
    }
    if (scheme == NULL)
        return weir_fail(err, WEIR_E_INVALID,
                         "'%.*s' is an unknown scheme (known are grpc://, grpcs://, http://, https://)",
                         (int)(mark + 3 - endpoint < 40 ? mark + 3 - endpoint : 40), endpoint);
    int result = pieces_cut(endpoint, authority, &pieces, err);
    if (result == WEIR_OK && pieces.host_len == 0)
        result = weir_fail(err, WEIR_E_INVALID, SHOWN " names no host", endpoint);
    uint16_t port = scheme->port;
    if (result == WEIR_OK && pieces.port_len > 0)
        result = port_parse(endpoint, &pieces, 1, &port, err);
    if (result == WEIR_OK)
        result = path_check(endpoint, &pieces, err);
    if (result != WEIR_OK)
        return result;

    while (pieces.path_len > 0 && pieces.path[pieces.path_len - 1] == '/')
        pieces.path_len--;
    struct config_target target = {
        .text = strdup(endpoint),
        .host = strndup(pieces.host, pieces.host_len),
        .port = port,
        .use_tls = scheme->use_tls,
        .protocol = protocol_choose(protocol, scheme, port, pieces.path_len > 0),
        .base_path = strndup(pieces.path, pieces.path_len),
    };
    if (target.text == NULL || target.host == NULL || target.base_path == NULL)
        result = weir_fail(err, WEIR_E_NOMEM, "out of memory");
    else if (target.protocol == CONFIG_PROTOCOL_GRPC && pieces.path_len > 0)
        result = weir_fail(err, WEIR_E_INVALID, SHOWN " has a path, but gRPC has none", endpoint);
    else
        result = base_check(endpoint, target.base_path, err);
    if (result != WEIR_OK) {
        config_target_free(&target);
        return result;
    }
    *out = target;
    return WEIR_OK;
}

void config_target_free(struct config_target *target)
{
    free(target->text);
    free(target->host);
    free(target->base_path);
    *target = (struct config_target){0};
}

// --- several -------------------------------------------------------------------------------------------------------------

void config_targets_free(struct config_upstream *upstream)
{
    config_target_free(&upstream->target);
    while (upstream->alternate_count > 0)
        config_target_free(&upstream->alternates[--upstream->alternate_count]);
}

static int add_target(struct config_upstream *upstream, const char *endpoint, struct weir_err *err)
{
    struct config_target *first = &upstream->target;
    if (first->host == NULL)
        return config_target_parse(endpoint, upstream->protocol, first, err);
    if (upstream->alternate_count + 1 == CONFIG_MAX_ENDPOINTS)
        return weir_fail(err, WEIR_E_INVALID, "more than %d endpoints", CONFIG_MAX_ENDPOINTS);
    struct config_target *target = &upstream->alternates[upstream->alternate_count];
    int result = config_target_parse(endpoint, upstream->protocol, target, err);
    if (result != WEIR_OK)
        return result;
    upstream->alternate_count++;
    if (target->protocol != first->protocol || target->use_tls != first->use_tls)
        return weir_fail(err, WEIR_E_INVALID,
                         SHOWN " speaks another protocol than '%.80s': all of a list must have the same scheme",
                         endpoint, first->text);
    return WEIR_OK;
}

int config_targets_parse(struct config_upstream *upstream, struct weir_err *err)
{
    char *copy = strdup(upstream->endpoint), *rest = copy, *part;
    if (copy == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "out of memory");
    int result = WEIR_OK;
    while (result == WEIR_OK && (part = strsep(&rest, ",")) != NULL) {
        part += strspn(part, " ");
        part[strcspn(part, " ")] = '\0';
        result = add_target(upstream, part, err);
    }
    free(copy);
    return result;
}
