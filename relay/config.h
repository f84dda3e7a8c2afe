// SPDX-License-Identifier: Apache-2.0
// The configuration: a plain struct, filled from one table of keys (config_table.c) by the YAML file, the environment, the
// quick flags and `--set`. It is read-only once loaded: any thread may read it, nobody writes it.
#ifndef WEIR_RELAY_CONFIG_H
#define WEIR_RELAY_CONFIG_H

#include <stdio.h>

#include "proto/base.h"
#include "proto/err.h"
#include "relay/log.h"

#define CONFIG_MAX_UPSTREAMS 32
#define CONFIG_MAX_HEADERS   64
#define CONFIG_MAX_ENDPOINTS 8  // of one upstream
#define CONFIG_MAX_NAMES     16 // of headers to keep
#define CONFIG_MAX_NAME      64 // characters of an upstream's name
#define CONFIG_MAX_ERRORS    50 // reported at once

enum config_utf8 { CONFIG_UTF8_REFUSE = 0, CONFIG_UTF8_PASS };
enum config_protocol { CONFIG_PROTOCOL_AUTO = 0, CONFIG_PROTOCOL_GRPC, CONFIG_PROTOCOL_HTTP };
enum config_compression {
    CONFIG_COMPRESSION_AUTO = 0,
    CONFIG_COMPRESSION_ZSTD,
    CONFIG_COMPRESSION_GZIP,
    CONFIG_COMPRESSION_NONE
};
enum config_order { CONFIG_ORDER_STRICT = 0, CONFIG_ORDER_RELAXED };
enum config_full { CONFIG_FULL_REFUSE = 0, CONFIG_FULL_EVICT_OLDEST };
enum config_reject { CONFIG_REJECT_DEAD_LETTER = 0, CONFIG_REJECT_DROP };
enum config_start { CONFIG_START_NOW = 0, CONFIG_START_OLDEST };
enum config_tls_version { CONFIG_TLS_1_2 = 0, CONFIG_TLS_1_3 };

struct config_header {
    char *name; // lower case
    char *value;
};
struct config_map {
    struct config_header *items; // ascending by name, no name twice
    size_t count;
};

struct config_names {              // of headers, or origins
    char *items[CONFIG_MAX_NAMES]; // lower case, ascending, none twice
    size_t count;
};

// An upstream's endpoint, taken apart (U18, U19).
struct config_target {
    char *text; // as written
    char *host; // name, IPv4, or IPv6 without brackets
    uint16_t port;
    bool use_tls;
    enum config_protocol protocol; // GRPC or HTTP, never AUTO
    char *base_path; // HTTP: "" or "/base", no "/" at its end: a signal's path is base_path + "/v1/traces"; GRPC: ""
};

// Of a listener: plaintext unless cert_file is set.
struct config_listen_tls {
    char *cert_file, *key_file, *client_ca_file; // "": none
    enum config_tls_version min_version;
    uint64_t reload_interval_ms;
};

struct config_upstream {
    char *name;                    // [a-z0-9._-], unique
    char *endpoint;                // as written, several joined by commas; the targets are what to use
    enum config_protocol protocol; // as written; AUTO: by the endpoint's scheme and port
    struct config_target target;   // the first, or only one
    struct config_target
        alternates[CONFIG_MAX_ENDPOINTS - 1]; // tried in order when those before failed; same protocol, same use of TLS
    size_t alternate_count;
    uint32_t signals; // bit mask: 1u << enum weir_signal
    enum config_compression compression;
    struct config_map headers;
    char *bearer_token_file; // "": none
    struct {
        char *ca_file, *cert_file, *key_file; // "": none
        char *server_name;                    // "": the endpoint's host
        bool insecure_skip_verify;
        enum config_tls_version min_version;
    } tls;
    uint64_t timeout_ms;
    uint64_t max_request_size_bytes; // raw, of one export
    uint32_t max_in_flight;          // relaxed lanes; strict ones have 1
    enum config_order order[WEIR_SIGNALS];
    uint32_t fresh_share;      // of new data while a relaxed lane's backlog drains, in thousandths
    uint64_t rate_limit_bytes; // raw, a second; 0: none
    struct {
        uint64_t initial_ms, max_ms;
    } retry;
    enum config_reject on_reject; // what becomes of items that the upstream refuses for good
    uint64_t max_data_age_ms;     // since its receipt; older data becomes dead letters; 0: no limit
    enum config_start start;
};

struct config {
    struct {
        char *grpc_endpoint, *http_endpoint; // "0.0.0.0:4317", "[::1]:0", ":4317"; "off": none
        uint64_t grpc_max_age_ms, grpc_max_age_grace_ms, http_max_age_ms; // of connections; age 0: no limit
        struct config_names cors_origins;                                 // none: no CORS
        uint64_t cors_max_age_ms;                                         // of a preflight's answer
        struct config_listen_tls grpc_tls, http_tls;
        char *bearer_token_file;          // "": open to everybody
        uint64_t max_request_size_bytes;  // on the wire and decompressed
        struct config_names keep_headers; // stored with the data and sent on
        uint32_t max_connections;
        uint32_t workers; // ingest event loops
        uint64_t shutdown_delay_ms;
        enum config_utf8 utf8;
    } receiver;
    struct {
        char *directory;
        uint64_t max_size_bytes; // of disk, all files together
        uint64_t max_age_ms;     // 0: no limit
        enum config_full when_full;
        uint64_t keep_delivered_ms;
        uint64_t segment_size_bytes;
        uint64_t max_unwritten_bytes; // memory promised to requests that are not yet durable
        bool allow_network_filesystem;
    } spool;
    struct config_upstream upstreams[CONFIG_MAX_UPSTREAMS];
    size_t upstream_count; // at least 1 after config_load
    struct {
        uint64_t max_size_bytes; // of disk, part of spool.max_size
    } dead_letters;
    struct {
        char *endpoint;   // "off": none
        char *token_file; // "": none
        struct config_listen_tls tls;
    } admin;
    struct {
        enum log_level level;
        enum log_format format;
    } log;
};

// "1.2", "1.3", as TLS libraries' wrappers take it.
const char *config_tls_version_name(enum config_tls_version version);
// "info"
const char *config_log_level_name(enum log_level level);

// --- loading -----------------------------------------------------------------------------------------------------------

// Everything that was wrong, in the order it was found; beyond CONFIG_MAX_ERRORS they are only counted. Zero-initialise.
struct config_errors {
    char *texts[CONFIG_MAX_ERRORS]; // "weir.yaml:12:5: unknown key 'timeuot' (did you mean 'timeout'?)"
    size_t count;                   // may pass CONFIG_MAX_ERRORS
};
void config_errors_print(const struct config_errors *errors, FILE *out); // one a line, and how many more there were
void config_errors_free(struct config_errors *errors);

// Where a configuration comes from; later ones overrule earlier ones: defaults, OTEL_EXPORTER_OTLP_* (only when there is no
// upstream otherwise), the file, the quick flags, --set. All strings are the caller's and may be NULL.
struct config_input {
    const char *file;              // path of the YAML file
    const struct weir_slice *yaml; // instead of reading `file`, which is then only its name in errors
    const char *const *upstreams;  // --upstream URL: instead of the file's upstreams
    size_t upstream_count;
    const char *spool, *grpc, *http, *admin;
    bool check_files;        // open the files that are named, and complain about what is wrong with them
    const char *const *sets; // --set KEY=VALUE
    size_t set_count;
    const char *(*env)(const char *name); // NULL: getenv
};

// Fills *config completely. WEIR_OK; else WEIR_E_INVALID (wrong configuration), WEIR_E_IO (the file cannot be read) or WEIR_E_NOMEM with at
// least one text in *errors and *config empty. config_free either way does no harm.
int config_load(const struct config_input *input, struct config *config, struct config_errors *errors);
void config_free(struct config *config);

// Takes an endpoint apart: grpc://, grpcs://, http://, https://, or bare host:port (gRPC, plaintext). http(s)://host:4317
// without a path means gRPC, as OpenTelemetry's own variables use it (U19); `protocol` other than AUTO overrules. Without a
// port: 4317 for grpc, grpcs and bare hosts, 80 and 443 for http and https. WEIR_E_INVALID, WEIR_E_NOMEM: *out is empty then.
int config_target_parse(const char *endpoint, enum config_protocol protocol, struct config_target *out,
                        struct weir_err *err);
void config_target_free(struct config_target *target);

#endif
