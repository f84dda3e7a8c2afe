// SPDX-License-Identifier: Apache-2.0
// What the configuration's own files share: the table of keys and the loader. Nobody else includes this.
#ifndef WEIR_RELAY_CONFIG_TABLE_H
#define WEIR_RELAY_CONFIG_TABLE_H

#include "relay/config.h"

// --- the table (config_table.c) ------------------------------------------------------------------------------------------

enum config_type {
    CONFIG_TEXT = 0, // char *
    CONFIG_LISTEN,   // char *: host:port or "off"
    CONFIG_BOOL,     // bool
    CONFIG_DURATION, // uint64_t, ms
    CONFIG_SIZE,     // uint64_t, bytes
    CONFIG_INT,      // uint32_t
    CONFIG_ENUM,     // an enum whose values index `choices`
    CONFIG_FLAGS,    // uint32_t, bit i is choices[i]; in YAML a list
    CONFIG_MAP,      // struct config_map
    CONFIG_URLS,     // char *, joined by commas; in YAML one, or a list
    CONFIG_NAMES,    // struct config_names: names of headers; in YAML a list
    CONFIG_ORIGINS,  // struct config_names: origins of web pages; in YAML a list
    CONFIG_SHARE,    // uint32_t, thousandths; written 0 to 1, with up to three digits behind the point
};

struct config_row {
    const char *key; // "spool.max_size"; below CONFIG_UPSTREAM one for each upstream
    enum config_type type;
    size_t offset;              // in struct config, or in struct config_upstream
    const char *def;            // as one would write it; NULL: required
    uint64_t min, max;          // of DURATION (ms), SIZE (bytes), INT, SHARE; of TEXT and LISTEN: characters
    const char *const *choices; // of ENUM and FLAGS, ended by NULL
    const char *help;           // one line
};
#define CONFIG_UPSTREAM "upstreams[]."

extern const struct config_row config_rows[];
#define CONFIG_ROWS 69
extern const char *const config_type_names[]; // "text", "duration", …

// Row of that full key ("upstreams[].retry.max"), or NULL.
const struct config_row *config_row_find(const char *key);
bool config_row_is_upstream(const struct config_row *row);
// Whether keys lie below `path`: "receiver", "receiver.grpc", "upstreams[].tls".
bool config_section_exists(const char *path);
// The key directly below section `path` ("" is the root) that `name` most likely means, written to out; false when none is near.
bool config_section_nearest(const char *path, const char *name, char *out, size_t out_size);
// Of `count` words the one nearest to `name` by edits and swaps of letters, if near enough to be meant; else NULL.
const char *config_nearest(const char *name, const char *const *words, size_t count);
// The field of that row: of upstream number `upstream`, or of the whole.
void *config_row_field(const struct config_row *row, struct config *config, size_t upstream);

// --- values (config_values.c) --------------------------------------------------------------------------------------------

// Replaces *field by what `text` says. FLAGS, NAMES and ORIGINS take "a,b", MAP "name=value,name=value". WEIR_E_INVALID with a text such as
// "'10' needs a unit (ms, s, m, h, d), as in 10s", WEIR_E_NOMEM; then *field is unchanged.
int config_value_parse(const struct config_row *row, void *field, const char *text, struct weir_err *err);
void config_value_free(const struct config_row *row, void *field);
// Adds one word to a FLAGS field.
int config_flags_add(const struct config_row *row, uint32_t *flags, const char *word, struct weir_err *err);
// Adds or replaces; the name is made lower case. WEIR_E_INVALID when HTTP does not allow name or value, or weir sets that header itself. (config_headers.c)
int config_map_set(struct config_map *map, const char *name, const char *value, struct weir_err *err);
// Adds one name, in lower case. WEIR_E_INVALID: no header's name, none that can be kept, named twice, too many. (config_headers.c)
int config_names_add(struct config_names *names, const char *word, struct weir_err *err);
// Adds one origin, in lower case: "https://app.example.com", "https://*.example.com", "null" or "*". WEIR_E_INVALID as above. (config_origins.c)
int config_origins_add(struct config_names *origins, const char *word, struct weir_err *err);
// Inserts a name at its place. WEIR_E_INVALID: there already, too many; WEIR_E_NOMEM.
int config_names_insert(struct config_names *names, const char *name, struct weir_err *err);
// What the row's type adds to a NAMES or ORIGINS field.
int config_list_add(const struct config_row *row, struct config_names *names, const char *word, struct weir_err *err);
// "off", or host:port whose port may be 0; the host may be missing. (config_target.c)
int config_listen_check(const char *text, struct weir_err *err);
// Takes an upstream's endpoints apart. WEIR_E_INVALID, WEIR_E_NOMEM; the targets are then the caller's to free all the same. (config_target.c)
int config_targets_parse(struct config_upstream *upstream, struct weir_err *err);
void config_targets_free(struct config_upstream *upstream);
// A row's bounds for people: "1 to 64", "10ms to 1h"; "" when it has none.
const char *config_row_bounds(const struct config_row *row, char *out, size_t out_size);

// Replaces ${env:NAME}, ${env:NAME:-default}, ${file:PATH} and $$ in text[0..len); *out is the caller's. (config_substitute.c)
typedef const char *(*config_env_fn)(const char *name);
int config_substitute(const char *text, size_t len, config_env_fn env, char **out, struct weir_err *err);

// --- loading (config.c) --------------------------------------------------------------------------------------------------

// Where a value was written: "weir.yaml:12:5", "--set spool.max_size", "OTEL_EXPORTER_OTLP_TIMEOUT".
struct config_place {
    const char *flag;   // "--set " before the source, or NULL
    const char *source; // not ended: source_len characters count
    int source_len;
    unsigned line, column; // from 1; 0: none
    bool given;            // otherwise the default holds
    bool wrong;            // it was complained about: comparing it with others would only confuse
};

struct config_loader {
    const struct config_input *input;
    struct config *config;
    struct config_errors *errors;
    config_env_fn env;
    int code; // of the first failure
    struct config_place (
        *places)[CONFIG_ROWS]; // [0..MAX_UPSTREAMS) of each upstream's rows, [MAX_UPSTREAMS] of the others
};
#define CONFIG_GLOBAL CONFIG_MAX_UPSTREAMS

struct config_place config_place_named(const char *source);
struct config_place *config_place_of(struct config_loader *loader, const struct config_row *row, size_t upstream);
// Adds one error: "PLACE: message".
__attribute__((format(printf, 3, 4))) void config_complain(struct config_loader *loader,
                                                           const struct config_place *place, const char *fmt, ...);
// The same about a row's value, "PLACE: KEY: message", where PLACE does not name the key already; marks the row as wrong.
void config_complain_row(struct config_loader *loader, const struct config_row *row, size_t upstream,
                         const struct config_place *place, const char *message);
// Parses `text` into the row's field and remembers the place; complains when it is wrong.
void config_assign(struct config_loader *loader, const struct config_row *row, size_t upstream, const char *text,
                   const struct config_place *place);
// A further upstream with all defaults; SIZE_MAX, with a complaint, when there are too many.
size_t config_upstream_add(struct config_loader *loader, const struct config_place *place);

void config_read_yaml(struct config_loader *loader);                 // config_yaml.c
void config_read_environment(struct config_loader *loader);          // config_env.c
void config_read_set(struct config_loader *loader, const char *set); // config_set.c
void config_check(struct config_loader *loader);                     // config_check.c: what concerns several keys
void config_check_files(struct config_loader *loader);               // config_files.c

#endif
