// SPDX-License-Identifier: Apache-2.0
// The table of keys. Parsing, defaults, bounds, print-config, the list of keys and the checks of README and example file all
// come from here: a new key is a new row and a new field. Rows of one section stand together, as print-config prints them.
#include <stdio.h>

#include "relay/config_table.h"

#define KiB (UINT64_C(1) << 10)
#define MiB (UINT64_C(1) << 20)
#define GiB (UINT64_C(1) << 30)
#define PiB (UINT64_C(1) << 50)
#define S   UINT64_C(1000) // in ms
#define H   (3600 * S)
#define D   (24 * H)

#define GLOBAL(key, type, field)   "" key, CONFIG_##type, offsetof(struct config, field)
#define UPSTREAM(key, type, field) CONFIG_UPSTREAM key, CONFIG_##type, offsetof(struct config_upstream, field)
// clang-format off
#define LISTEN_TLS(section, field)                                                                                     \
    {GLOBAL(section ".tls.cert_file", TEXT, field.cert_file), "", 0, 4096, NULL,                                       \
     "PEM file of its certificate and chain; empty: no TLS"},                                                          \
    {GLOBAL(section ".tls.key_file", TEXT, field.key_file), "", 0, 4096, NULL,                                         \
     "PEM file of the certificate's key"},                                                                             \
    {GLOBAL(section ".tls.client_ca_file", TEXT, field.client_ca_file), "", 0, 4096, NULL,                             \
     "PEM file of the authorities that clients' certificates must come from; empty: none is asked for"},               \
    {GLOBAL(section ".tls.min_version", ENUM, field.min_version), "1.2", 0, 0, tls_versions,                           \
     "oldest TLS version to speak"},                                                                                   \
    {GLOBAL(section ".tls.reload_interval", DURATION, field.reload_interval_ms), "1m", 100, D, NULL,                   \
     "how often the files are looked at for changes; SIGHUP does so at once"}
// clang-format on
#define ORDER_HELP(signal) "strict: one export at a time, oldest first, or relaxed; for " signal

const char *const config_type_names[] = {"text", "address", "bool", "duration", "size", "int",  "enum",
                                         "list", "map",     "text", "list",     "list", "share"};

static const char *const utf8s[] = {"refuse", "pass", NULL};
static const char *const protocols[] = {"auto", "grpc", "http/protobuf", NULL};
static const char *const signals[] = {"traces", "metrics", "logs", "profiles", NULL};
static const char *const compressions[] = {"auto", "zstd", "gzip", "none", NULL};
static const char *const tls_versions[] = {"1.2", "1.3", NULL};
static const char *const orders[] = {"strict", "relaxed", NULL};
static const char *const fulls[] = {"refuse", "evict_oldest", NULL};
static const char *const rejects[] = {"dead_letter", "drop", NULL};
static const char *const starts[] = {"now", "oldest", NULL};
static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
static const char *const formats[] = {"text", "json", NULL};

// clang-format off
const struct config_row config_rows[] = {
    {GLOBAL("receiver.grpc.endpoint", LISTEN, receiver.grpc_endpoint), "0.0.0.0:4317", 0, 255, NULL,
     "where OTLP/gRPC is taken; off: nowhere"},
    {GLOBAL("receiver.grpc.max_connection_age", DURATION, receiver.grpc_max_age_ms), "0s", 0, 365 * D, NULL,
     "a connection of that age, give or take a tenth, gets GOAWAY; 0s: no limit"},
    {GLOBAL("receiver.grpc.max_connection_age_grace", DURATION, receiver.grpc_max_age_grace_ms), "30s", 100, 365 * D, NULL,
     "so long its requests under way may take then"},
    LISTEN_TLS("receiver.grpc", receiver.grpc_tls),
    {GLOBAL("receiver.http.endpoint", LISTEN, receiver.http_endpoint), "0.0.0.0:4318", 0, 255, NULL,
     "where OTLP/HTTP is taken; off: nowhere"},
    {GLOBAL("receiver.http.max_connection_age", DURATION, receiver.http_max_age_ms), "0s", 0, 365 * D, NULL,
     "a connection of that age, give or take a tenth, ends with its next answer; 0s: no limit"},
    {GLOBAL("receiver.http.cors.allowed_origins", ORIGINS, receiver.cors_origins), "", 0, CONFIG_MAX_NAMES, NULL,
     "origins of web pages that may send, as https://app.example.com, https://*.example.com or *"},
    {GLOBAL("receiver.http.cors.max_age", DURATION, receiver.cors_max_age_ms), "2h", 0, D, NULL,
     "so long a browser need not ask again whether it may send"},
    LISTEN_TLS("receiver.http", receiver.http_tls),
    {GLOBAL("receiver.auth.bearer_token_file", TEXT, receiver.bearer_token_file), "", 0, 4096, NULL,
     "file of the bearer tokens, one a line, that let senders in; empty: everybody is"},
    {GLOBAL("receiver.max_request_size", SIZE, receiver.max_request_size_bytes), "64MiB", KiB, GiB, NULL,
     "of one request, before and after decompression"},
    {GLOBAL("receiver.keep_headers", NAMES, receiver.keep_headers), "", 0, CONFIG_MAX_NAMES, NULL,
     "request headers stored with the data and sent on, e.g. x-scope-orgid"},
    {GLOBAL("receiver.max_connections", INT, receiver.max_connections), "1024", 1, 1000000, NULL,
     "of both listeners together; for one more, those that do nothing make room"},
    {GLOBAL("receiver.workers", INT, receiver.workers), "1", 1, 64, NULL,
     "ingest event loops"},
    {GLOBAL("receiver.shutdown_delay", DURATION, receiver.shutdown_delay_ms), "0s", 0, H, NULL,
     "after SIGTERM: not ready, but still serving, for so long"},
    {GLOBAL("receiver.utf8", ENUM, receiver.utf8), "refuse", 0, 0, utf8s,
     "what to do with requests whose texts are not UTF-8"},

    {GLOBAL("spool.directory", TEXT, spool.directory), "/var/lib/weir", 1, 4096, NULL,
     "where data waits; made when missing, its parent must exist"},
    {GLOBAL("spool.max_size", SIZE, spool.max_size_bytes), "10GiB", 3 * MiB, PiB, NULL,
     "of disk, all files of the spool together"},
    {GLOBAL("spool.max_age", DURATION, spool.max_age_ms), "0s", 0, 3650 * D, NULL,
     "older data goes, delivered or not, and is counted as evicted; 0s: no limit"},
    {GLOBAL("spool.when_full", ENUM, spool.when_full), "refuse", 0, 0, fulls,
     "at max_size: refuse new data with a delay, or evict_oldest, delivered or not"},
    {GLOBAL("spool.keep_delivered", DURATION, spool.keep_delivered_ms), "0s", 0, 3650 * D, NULL,
     "how long delivered data stays for `weir replay`, as far as there is room"},
    {GLOBAL("spool.segment_size", SIZE, spool.segment_size_bytes), "64MiB", MiB, GiB, NULL,
     "of one spool file: a multiple of 1MiB, three of them and 4MiB fit into max_size"},
    {GLOBAL("spool.max_unwritten", SIZE, spool.max_unwritten_bytes), "64MiB", MiB, 64 * GiB, NULL,
     "memory promised to requests that are not yet durable"},
    {GLOBAL("spool.allow_network_filesystem", BOOL, spool.allow_network_filesystem), "false", 0, 0, NULL,
     "take a directory on NFS, CIFS and the like, whose durability weir cannot vouch for"},

    {UPSTREAM("name", TEXT, name), NULL, 1, CONFIG_MAX_NAME, NULL,
     "under which the spool keeps what is still to be delivered: a-z 0-9 . _ -"},
    {UPSTREAM("endpoint", URLS, endpoint), NULL, 1, 2048, NULL,
     "grpc://host:4317, grpcs://, http://host:4318[/base] or https://; a list is tried in order"},
    {UPSTREAM("protocol", ENUM, protocol), "auto", 0, 0, protocols,
     "auto: by the endpoint's scheme; http(s)://host:4317 without a path means grpc"},
    {UPSTREAM("signals", FLAGS, signals), "traces,metrics,logs,profiles", 0, 0, signals,
     "what this upstream gets"},
    {UPSTREAM("compression", ENUM, compression), "auto", 0, 0, compressions,
     "auto: zstd as it lies in the spool where the upstream takes it, else gzip"},
    {UPSTREAM("headers", MAP, headers), "", 0, CONFIG_MAX_HEADERS, NULL,
     "request headers added to every export"},
    {UPSTREAM("bearer_token_file", TEXT, bearer_token_file), "", 0, 4096, NULL,
     "file of the bearer token to show; read again when it changes"},
    {UPSTREAM("tls.ca_file", TEXT, tls.ca_file), "", 0, 4096, NULL,
     "PEM file of the authorities to trust; empty: the system's"},
    {UPSTREAM("tls.cert_file", TEXT, tls.cert_file), "", 0, 4096, NULL,
     "PEM file of the client certificate, for mutual TLS"},
    {UPSTREAM("tls.key_file", TEXT, tls.key_file), "", 0, 4096, NULL,
     "PEM file of the client certificate's key"},
    {UPSTREAM("tls.server_name", TEXT, tls.server_name), "", 0, 253, NULL,
     "name that the upstream's certificate must hold; empty: the endpoint's host"},
    {UPSTREAM("tls.insecure_skip_verify", BOOL, tls.insecure_skip_verify), "false", 0, 0, NULL,
     "do not check the upstream's certificate"},
    {UPSTREAM("tls.min_version", ENUM, tls.min_version), "1.2", 0, 0, tls_versions,
     "oldest TLS version to speak"},
    {UPSTREAM("timeout", DURATION, timeout_ms), "10s", 10, H, NULL,
     "of one export, connecting included"},
    {UPSTREAM("max_request_size", SIZE, max_request_size_bytes), "4MiB", KiB, GiB, NULL,
     "raw, of one export; stored requests are joined up to it"},
    {UPSTREAM("max_in_flight", INT, max_in_flight), "4", 1, 64, NULL,
     "exports at once on each relaxed lane"},
    {UPSTREAM("order.traces", ENUM, order[WEIR_TRACES]), "relaxed", 0, 0, orders, ORDER_HELP("traces")},
    {UPSTREAM("order.metrics", ENUM, order[WEIR_METRICS]), "strict", 0, 0, orders, ORDER_HELP("metrics")},
    {UPSTREAM("order.logs", ENUM, order[WEIR_LOGS]), "relaxed", 0, 0, orders, ORDER_HELP("logs")},
    {UPSTREAM("order.profiles", ENUM, order[WEIR_PROFILES]), "relaxed", 0, 0, orders, ORDER_HELP("profiles")},
    {UPSTREAM("fresh_share", SHARE, fresh_share), "0.5", 0, 1000, NULL,
     "of what a relaxed lane sends while its backlog drains: so much is the newest data, the rest the oldest"},
    {UPSTREAM("rate_limit", SIZE, rate_limit_bytes), "0B", 0, PiB, NULL,
     "raw, a second, of all lanes together; 0: none"},
    {UPSTREAM("retry.initial", DURATION, retry.initial_ms), "1s", 10, H, NULL,
     "wait after the first failure; it grows from there, with jitter"},
    {UPSTREAM("retry.max", DURATION, retry.max_ms), "30s", 10, 24 * H, NULL,
     "longest wait between two attempts; attempts never end"},
    {UPSTREAM("on_reject", ENUM, on_reject), "dead_letter", 0, 0, rejects,
     "items the upstream refuses for good: kept as dead letters, or dropped and counted"},
    {UPSTREAM("max_data_age", DURATION, max_data_age_ms), "0s", 0, 3650 * D, NULL,
     "data received longer ago goes to the dead letters instead of the upstream; 0s: no limit"},
    {UPSTREAM("start", ENUM, start), "now", 0, 0, starts,
     "a new upstream gets data from now on, or from the oldest in the spool"},

    {GLOBAL("dead_letters.max_size", SIZE, dead_letters.max_size_bytes), "1GiB", 64 * KiB, PiB, NULL,
     "of disk, part of spool.max_size; by default not more than an eighth of that"},

    {GLOBAL("admin.endpoint", LISTEN, admin.endpoint), "127.0.0.1:9464", 0, 255, NULL,
     "where status, metrics and health are served; off: nowhere"},
    {GLOBAL("admin.token_file", TEXT, admin.token_file), "", 0, 4096, NULL,
     "file of the bearer token that changes need; empty: they are taken from this machine alone"},
    LISTEN_TLS("admin", admin.tls),
    {GLOBAL("log.level", ENUM, log.level), "info", 0, 0, levels, "the least that is logged"},
    {GLOBAL("log.format", ENUM, log.format), "text", 0, 0, formats, "of log lines on stderr"},
};
// clang-format on
_Static_assert(WEIR_COUNT(config_rows) == CONFIG_ROWS, "CONFIG_ROWS counts the table");
_Static_assert(sizeof(enum config_order) == sizeof(unsigned), "ENUM fields are written as unsigned");

const struct config_row *config_row_find(const char *key)
{
    for (size_t i = 0; i < CONFIG_ROWS; i++)
        if (strcmp(config_rows[i].key, key) == 0)
            return &config_rows[i];
    return NULL;
}

bool config_row_is_upstream(const struct config_row *row)
{
    return strncmp(row->key, CONFIG_UPSTREAM, strlen(CONFIG_UPSTREAM)) == 0;
}

void *config_row_field(const struct config_row *row, struct config *config, size_t upstream)
{
    if (!config_row_is_upstream(row))
        return (char *)config + row->offset;
    assert(upstream < CONFIG_MAX_UPSTREAMS);
    return (char *)&config->upstreams[upstream] + row->offset;
}

// The part of the row's key behind section `path`, or NULL when it does not lie there.
static const char *row_below(const struct config_row *row, const char *path)
{
    size_t len = strlen(path);
    if (len == 0)
        return row->key;
    return strncmp(row->key, path, len) == 0 && row->key[len] == '.' ? row->key + len + 1 : NULL;
}

bool config_section_exists(const char *path)
{
    for (size_t i = 0; i < CONFIG_ROWS; i++)
        if (row_below(&config_rows[i], path) != NULL)
            return true;
    return false;
}

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

#define WORD_MAX 64
// Insertions, deletions, changes and swaps of neighbours (a swap is what fingers do: "timeuot").
static size_t edit_distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    if (n > WORD_MAX || m > WORD_MAX)
        return SIZE_MAX;
    size_t d[WORD_MAX + 1][WORD_MAX + 1];
    for (size_t i = 0; i <= n; i++)
        d[i][0] = i;
    for (size_t j = 0; j <= m; j++)
        d[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        for (size_t j = 1; j <= m; j++) {
            d[i][j] = min_size(min_size(d[i - 1][j], d[i][j - 1]) + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d[i][j] = min_size(d[i][j], d[i - 2][j - 2] + 1);
        }
    }
    return d[n][m];
}

// How many slips a word of that length may hold: with more of them it is another word.
static size_t slips_max(size_t len)
{
    if (len < 6)
        return len < 3 ? 0 : 1;
    return min_size((len - 1) / 2, len / 3 + 1);
}

const char *config_nearest(const char *name, const char *const *words, size_t count)
{
    const char *best = NULL;
    size_t best_distance = slips_max(strlen(name)) + 1;
    for (size_t i = 0; i < count; i++) {
        size_t distance = edit_distance(name, words[i]);
        if (distance < best_distance && distance < strlen(words[i])) {
            best = words[i];
            best_distance = distance;
        }
    }
    return best;
}

// Copies the first component of a key, without the "[]" of a list.
static void first_component(const char *key, char *out, size_t out_size)
{
    snprintf(out, out_size, "%.*s", (int)strcspn(key, ".["), key);
}

bool config_section_nearest(const char *path, const char *name, char *out, size_t out_size)
{
    char words[CONFIG_ROWS][WORD_MAX];
    const char *pointers[CONFIG_ROWS];
    size_t count = 0;
    for (size_t i = 0; i < CONFIG_ROWS; i++) {
        const char *below = row_below(&config_rows[i], path);
        if (below == NULL)
            continue;
        first_component(below, words[count], sizeof(words[count]));
        pointers[count] = words[count];
        count++;
    }
    const char *nearest = config_nearest(name, pointers, count);
    for (size_t i = 0; nearest == NULL && i < CONFIG_ROWS; i++) {
        // A right key in the wrong section.
        const char *leaf = strrchr(config_rows[i].key, '.');
        if (strcmp(leaf + 1, name) == 0)
            nearest = config_rows[i].key;
    }
    if (nearest != NULL)
        snprintf(out, out_size, "%s", nearest);
    return nearest != NULL;
}

const char *config_tls_version_name(enum config_tls_version version)
{
    assert((unsigned)version < WEIR_COUNT(tls_versions) - 1);
    return tls_versions[version];
}

const char *config_log_level_name(enum log_level level)
{
    assert((unsigned)level < WEIR_COUNT(levels) - 1);
    return levels[level];
}
