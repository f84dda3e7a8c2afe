// SPDX-License-Identifier: Apache-2.0
// Loading: every kind of error once with its exact text, the sources and their order, and print-config read back.
#include <criterion/criterion.h>
#include <stdio.h>
#include <unistd.h>

#include "relay/config_table.h"

// The environment of a test: pairs of name and value.
static const char *const *test_variables;
static const char *test_env(const char *name)
{
    for (size_t i = 0; test_variables != NULL && test_variables[i] != NULL; i += 2)
        if (strcmp(test_variables[i], name) == 0)
            return test_variables[i + 1];
    return NULL;
}

static int load(struct config_input input, const char *yaml, struct config *config, struct config_errors *errors)
{
    struct weir_slice slice = {(const uint8_t *)yaml, yaml != NULL ? strlen(yaml) : 0};
    if (yaml != NULL) {
        input.file = "t.yaml";
        input.yaml = &slice;
    }
    input.env = test_env;
    *errors = (struct config_errors){0};
    return config_load(&input, config, errors);
}

// All errors as config_errors_print prints them; the caller frees.
static char *errors_text(const struct config_errors *errors)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    config_errors_print(errors, out);
    fclose(out);
    return text;
}

static void expect_errors(struct config_input input, const char *yaml, const char *expected)
{
    struct config config;
    struct config_errors errors;
    int result = load(input, yaml, &config, &errors);
    char *text = errors_text(&errors);
    cr_expect_str_eq(text, expected, "---\n%s\n--- got\n%s--- expected\n%s", yaml != NULL ? yaml : "", text, expected);
    cr_expect_eq(result, WEIR_E_INVALID);
    cr_expect_eq(config.upstream_count, 0, "a wrong configuration is left empty");
    free(text);
    config_errors_free(&errors);
}

static void expect_sound(struct config_input input, const char *yaml, struct config *config)
{
    struct config_errors errors;
    int result = load(input, yaml, config, &errors);
    char *text = errors_text(&errors);
    cr_assert_eq(result, WEIR_OK, "%s\n%s", yaml != NULL ? yaml : "", text);
    cr_assert_eq(errors.count, 0);
    free(text);
}

#define UP "upstreams: [{name: a, endpoint: 'grpc://c:4317'}]\n"

Test(yaml, each_error_names_place_key_and_cure)
{
    static const struct {
        const char *yaml, *errors;
    } rows[] = {
        {UP "recever: {}", "t.yaml:2:1: unknown key 'recever' (did you mean 'receiver'?)\n"},
        {UP "receiver: {grpc: {endpiont: off}}",
         "t.yaml:2:19: unknown key 'endpiont' in receiver.grpc (did you mean 'endpoint'?)\n"},
        {"upstreams:\n  - name: a\n    endpoint: c:1\n    timeuot: 5s\n",
         "t.yaml:4:5: unknown key 'timeuot' in upstreams[0] (did you mean 'timeout'?)\n"},
        {UP "max_unwritten: 1GiB", "t.yaml:2:1: unknown key 'max_unwritten' (did you mean 'spool.max_unwritten'?)\n"},
        {UP "banana: 1", "t.yaml:2:1: unknown key 'banana' (`weir help config` lists all)\n"},
        {UP "log.level: debug", "t.yaml:2:1: unknown key 'log.level' (keys are nested: one line for each part)\n"},
        {UP "upstreams[]: {}", "t.yaml:2:1: unknown key 'upstreams[]' (did you mean 'upstreams'?)\n"},
        {UP "log: {level: info, format: text, level: warn}",
         "t.yaml:2:34: repeated key 'level' in log (first in line 2)\n"},
        {UP UP, "t.yaml:2:1: repeated key 'upstreams' (first in line 1)\n"},
        {UP "receiver: {shutdown_delay: 10}",
         "t.yaml:2:28: receiver.shutdown_delay: '10' needs a unit (ms, s, m, h, d), as in 10s\n"},
        {UP "receiver: {shutdown_delay: 2h}", "t.yaml:2:28: receiver.shutdown_delay: 2h is out of range (0s to 1h)\n"},
        {UP "receiver: {workers: 65}", "t.yaml:2:21: receiver.workers: 65 is out of range (1 to 64)\n"},
        {UP "receiver: {workers: 99999999999999999999999}",
         "t.yaml:2:21: receiver.workers: 99999999999999999999999 is out of range (1 to 64)\n"},
        {"upstreams: [{name: a, endpoint: 'http://a', fresh_share: 1.5}]\n",
         "t.yaml:1:58: upstreams[0].fresh_share: 1.5 is out of range (0 to 1)\n"},
        {UP "receiver: {workers: two}", "t.yaml:2:21: receiver.workers: 'two' is not a whole number\n"},
        {UP "receiver: {max_request_size: 2GiB}",
         "t.yaml:2:30: receiver.max_request_size: 2GiB is out of range (1KiB to 1GiB)\n"},
        {UP "receiver: {utf8: pas}",
         "t.yaml:2:18: receiver.utf8: 'pas' is none of refuse, pass (did you mean 'pass'?)\n"},
        {UP "spool: {allow_network_filesystem: yes}",
         "t.yaml:2:35: spool.allow_network_filesystem: 'yes' is neither true nor false\n"},
        {UP "spool: {directory: ''}", "t.yaml:2:20: spool.directory: must not be empty\n"},
        {UP "spool: {directory: \"a\\nb\"}",
         "t.yaml:2:20: spool.directory: holds a control character, or bytes that are not UTF-8\n"},
        {UP "spool: {directory: \"a\\0b\"}", "t.yaml:2:20: spool.directory: holds a zero byte\n"},
        {UP "spool: {directory: }", "t.yaml:2:20: spool.directory: has no value: write one, or leave the key out\n"},
        {UP "spool: {directory: [a]}", "t.yaml:2:20: spool.directory: expects a text, not a list\n"},
        {UP "receiver: {workers: {}}", "t.yaml:2:21: receiver.workers: expects an int, not a mapping\n"},
        {UP "spool: 3", "t.yaml:2:8: spool: expects keys and values, not a single value\n"},
        {"[a]", "t.yaml:1:1: expects keys and values, not a list\n"},
        {"upstreams: {a: b}", "t.yaml:1:12: upstreams: expects a list of upstreams, each '- name: …', not a mapping\n"},
        {"upstreams: [a]",
         "t.yaml:1:13: upstreams[0]: expects keys and values, not a single value\n"
         "t.yaml:1:13: upstreams[0].name: is missing\nt.yaml:1:13: upstreams[0].endpoint: is missing\n"},
        {UP "spool: &x {}\nlog: {<<: *x}",
         "t.yaml:3:7: merge keys (<<) are not supported; an alias for a whole value is\n"},
        {UP "? [a]\n: b", "t.yaml:2:3: a key must be a word\n"},
        {UP "---\n" UP, "t.yaml:2:1: a second YAML document: a configuration is one\n"},
        {"a: [", "t.yaml:2:1: not YAML: while parsing a flow node, did not find expected node content\n"},
        {"a:\n\tb: 1",
         "t.yaml:2:1: not YAML: while scanning for the next token, found character that cannot start any token "
         "(a tab: indent with spaces)\n"},
        {"a: 1\nb: \xff", "t.yaml:2:4: not YAML: invalid leading UTF-8 octet\n"},
        {UP "spool: {directory: '${env:NOT}'}",
         "t.yaml:2:20: spool.directory: environment variable NOT is not set (${env:NOT:-default} has a default)\n"},
        {UP "receiver: {keep_headers: x-a}",
         "t.yaml:2:26: receiver.keep_headers: expects a list, as in [name, name], not a single value\n"},
        {UP "receiver: {keep_headers: [x-a, Host, X-A, 'a b', content-type, [x]]}",
         "t.yaml:2:32: receiver.keep_headers: 'host' belongs to one request or connection and cannot be sent on\n"
         "t.yaml:2:38: receiver.keep_headers: 'x-a' is named twice\n"
         "t.yaml:2:43: receiver.keep_headers: 'a b' is not the name of a header\n"
         "t.yaml:2:50: receiver.keep_headers: 'content-type' belongs to one request or connection and cannot be sent "
         "on\n"
         "t.yaml:2:64: receiver.keep_headers: expects a list, not a list\n"},
        {UP "receiver: {keep_headers: [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r]}",
         "t.yaml:2:75: receiver.keep_headers: more than 16 names\n"},
#define NO_ORIGIN(at, text)                                                                                            \
    "t.yaml:2:" at ": receiver.http.cors.allowed_origins: '" text                                                      \
    "' is no origin, as https://app.example.com, https://*.example.com or *\n"
        {UP "receiver: {http: {cors: {allowed_origins: ['https://a.b/c', 'a.b', 'https://*', 'https://a.*.c', "
            "'https://*b.c']}}}",
         NO_ORIGIN("44", "https://a.b/c") NO_ORIGIN("61", "a.b") NO_ORIGIN("68", "https://*")
             NO_ORIGIN("81", "https://a.*.c") NO_ORIGIN("98", "https://*b.c")},
        {UP "receiver: {workers: '${env:NOT:-0}'}", "t.yaml:2:21: receiver.workers: 0 is out of range (1 to 64)\n"},
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++)
        expect_errors((struct config_input){0}, rows[i].yaml, rows[i].errors);
}

#define A "upstreams:\n- name: a\n  endpoint: grpc://c:4317\n"

Test(yaml, each_error_of_an_upstream)
{
    static const struct {
        const char *yaml, *errors;
    } rows[] = {
        {"upstreams:\n- endpoint: c:1", "t.yaml:2:3: upstreams[0].name: is missing\n"},
        {"upstreams:\n- name: a", "t.yaml:2:3: upstreams[0].endpoint: is missing\n"},
        {"upstreams:\n- name: Central\n  endpoint: c:1",
         "t.yaml:2:9: upstreams[0].name: 'Central' may hold nothing but a-z, 0-9, '.', '_' and '-'\n"},
        {"upstreams:\n- name: aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggggg\n  endpoint: c:1",
         "t.yaml:2:9: upstreams[0].name: 'aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff'… is longer "
         "than 64 "
         "characters\n"},
        {A "- name: a\n  endpoint: c:1", "t.yaml:4:9: upstreams[1].name: 'a' is the name of upstreams[0] already\n"},
        {"upstreams:\n- name: a\n  endpoint: htp://c",
         "t.yaml:3:13: upstreams[0].endpoint: 'htp://' is an unknown scheme (known "
         "are grpc://, grpcs://, http://, https://)\n"},
        {"upstreams:\n- name: a\n  endpoint: [grpc://a, 'http://b:4318']",
         "t.yaml:3:13: upstreams[0].endpoint: 'http://b:4318' speaks another protocol than 'grpc://a': all of a list "
         "must have the same scheme\n"},
        {"upstreams:\n- name: a\n  endpoint: [https://a, 'http://b:4318']",
         "t.yaml:3:13: upstreams[0].endpoint: 'http://b:4318' speaks another protocol than 'https://a': all of a list "
         "must have the same scheme\n"},
        {"upstreams:\n- name: a\n  endpoint: []", "t.yaml:3:13: upstreams[0].endpoint: must not be empty\n"},
        {"upstreams:\n- name: a\n  endpoint: [a, '']", "t.yaml:3:13: upstreams[0].endpoint: '' names no host\n"},
        {"upstreams:\n- name: a\n  endpoint: [a, [b]]",
         "t.yaml:3:17: upstreams[0].endpoint: expects a text, not a list\n"},
        {"upstreams:\n- name: a\n  endpoint: {a: b}",
         "t.yaml:3:13: upstreams[0].endpoint: expects a text, not a mapping\n"},
        {"upstreams:\n- name: a\n  endpoint: [a, b, c, d, e, f, g, h, i]",
         "t.yaml:3:13: upstreams[0].endpoint: more than 8 endpoints\n"},
        {A "  signals: [traces, trace]",
         "t.yaml:4:21: upstreams[0].signals: 'trace' is none of traces, metrics, logs, profiles "
         "(did you mean 'traces'?)\n"},
        {A "  signals: [logs, logs]", "t.yaml:4:19: upstreams[0].signals: 'logs' is named twice\n"},
        {A "  signals: []", "t.yaml:4:12: upstreams[0].signals: names nothing: leave the key out for all\n"},
        {A "  signals: traces",
         "t.yaml:4:12: upstreams[0].signals: expects a list, as in [traces], not a single value\n"},
        {A "  headers: [a]", "t.yaml:4:12: upstreams[0].headers: expects a mapping, as in {name: value}, not a list\n"},
        {A "  headers: {Host: a}", "t.yaml:4:19: upstreams[0].headers: weir sets the header 'host' itself\n"},
        {A "  headers: {a: [b]}", "t.yaml:4:16: the value of header 'a' is a list\n"},
        {A "  order: {traces: strickt}",
         "t.yaml:4:19: upstreams[0].order.traces: 'strickt' is none of strict, relaxed (did you "
         "mean 'strict'?)\n"},
        {A "  retry: {initial: 1m}", "t.yaml:4:20: upstreams[0].retry.initial: 1m is more than retry.max (30s)\n"},
        {A "  retry: {max: 500ms}", "t.yaml:2:3: upstreams[0].retry.initial: 1s is more than retry.max (500ms)\n"},
        {A "  tls: {ca_file: x}",
         "t.yaml:4:18: upstreams[0].tls.ca_file: has no effect: 'grpc://c:4317' is not encrypted (use "
         "grpcs:// or https://)\n"},
        {"upstreams: [{name: a, endpoint: 'grpcs://c', tls: {cert_file: x}}]",
         "t.yaml:1:63: upstreams[0].tls.cert_file: needs tls.key_file\n"},
        {"upstreams: [{name: a, endpoint: 'grpcs://c', tls: {key_file: x}}]",
         "t.yaml:1:62: upstreams[0].tls.key_file: needs tls.cert_file\n"},
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++)
        expect_errors((struct config_input){0}, rows[i].yaml, rows[i].errors);
}

Test(yaml, checks_across_keys)
{
    static const struct {
        const char *yaml, *errors;
    } rows[] = {
        {"log: {level: debug}", "t.yaml: no upstream says where to deliver: add one, for example weir run --upstream "
                                "http://collector:4317\n"},
        {"",
         "t.yaml: no upstream says where to deliver: add one, for example weir run --upstream http://collector:4317\n"},
        {UP "receiver: {grpc: {endpoint: off}, http: {endpoint: off}}",
         "t.yaml:2:52: receiver.http.endpoint: receiver.grpc.endpoint is off, too: nothing could come in\n"},
        {UP "spool: {max_size: 100MiB}",
         "t.yaml: spool.segment_size: 64MiB needs a spool.max_size of 196MiB at least; it is 100MiB\n"},
        {UP "spool: {segment_size: 1500KiB}", "t.yaml:2:23: spool.segment_size: 1500KiB is not a multiple of 1MiB\n"},
        {UP "receiver: {max_request_size: 65MiB}", "t.yaml:2:30: receiver.max_request_size: 65MiB is more than "
                                                   "spool.max_unwritten (64MiB): such a request could never be "
                                                   "taken\n"},
        {UP "spool: {max_age: 3d, keep_delivered: 7d}",
         "t.yaml:2:38: spool.keep_delivered: 7d is more than spool.max_age (3d): nothing is kept that long\n"},
        {"upstreams: [{name: a, endpoint: grpc://a, max_data_age: 2d}]\nspool: {max_age: 1d}",
         "t.yaml:1:57: upstreams[0].max_data_age: 2d is more than spool.max_age (1d): data is evicted before it is as "
         "old\n"},
        {UP "spool: {max_size: 1GiB}\ndead_letters: {max_size: 1GiB}",
         "t.yaml:3:26: dead_letters.max_size: 1GiB leaves too little of spool.max_size (1GiB): the spool's other files "
         "need 196MiB\n"},
        {UP "dead_letters: {max_size: 11GiB}",
         "t.yaml:2:26: dead_letters.max_size: 11GiB leaves too little of spool.max_size (10GiB): the spool's other "
         "files need 196MiB\n"},
        {UP "spool: {when_full: evict}", "t.yaml:2:20: spool.when_full: 'evict' is none of refuse, evict_oldest\n"},
        // What was wrong already is not compared by its default.
        {UP "spool: {max_size: 100, segment_size: 1GiB}",
         "t.yaml:2:19: spool.max_size: '100' needs a unit (B, KiB, MiB, GiB, TiB, kB, MB, GB, TB)\n"},
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++)
        expect_errors((struct config_input){0}, rows[i].yaml, rows[i].errors);
}

Test(yaml, collects_all_errors_up_to_fifty)
{
    expect_errors((struct config_input){0}, "a: 1\nlog: {level: x}\nupstreams: [{name: A}]\nspool: 1\n",
                  "t.yaml:1:1: unknown key 'a' (`weir help config` lists all)\n"
                  "t.yaml:2:14: log.level: 'x' is none of debug, info, warn, error\n"
                  "t.yaml:4:8: spool: expects keys and values, not a single value\n"
                  "t.yaml:3:20: upstreams[0].name: 'A' may hold nothing but a-z, 0-9, '.', '_' and '-'\n"
                  "t.yaml:3:13: upstreams[0].endpoint: is missing\n");
    char yaml[2000] = UP;
    for (int i = 0; i < 60; i++)
        snprintf(yaml + strlen(yaml), sizeof(yaml) - strlen(yaml), "k%d: 1\n", i);
    struct config config;
    struct config_errors errors;
    cr_assert_eq(load((struct config_input){0}, yaml, &config, &errors), WEIR_E_INVALID);
    char *text = errors_text(&errors);
    cr_assert_eq(errors.count, 60);
    cr_assert(strstr(text, "\nand 10 errors more\n") != NULL);
    free(text);
    config_errors_free(&errors);
}

Test(yaml, has_limits)
{
    struct weir_slice big = {calloc(1, (1 << 20) + 1), (1 << 20) + 1};
    struct config config;
    struct config_errors errors = {0};
    memset((void *)big.data, '#', big.len);
    struct config_input input = {.file = "big.yaml", .yaml = &big, .env = test_env};
    cr_assert_eq(config_load(&input, &config, &errors), WEIR_E_INVALID);
    cr_assert_str_eq(errors.texts[0], "big.yaml: larger than 1MiB");
    config_errors_free(&errors);

    char *text = (char *)big.data; // lists within lists, as deep as the file is long
    memset(text, '[', big.len - 1);
    big.len = 100000;
    cr_assert_eq(config_load(&input, &config, &errors), WEIR_E_INVALID);
    config_errors_free(&errors);

    size_t len = (size_t)snprintf(text, 64, "upstreams:\n");
    for (int i = 0; i < CONFIG_MAX_UPSTREAMS + 1; i++)
        len += (size_t)snprintf(text + len, 64, "- {name: u%d, endpoint: c}\n", i);
    big.len = len;
    cr_assert_eq(config_load(&input, &config, &errors), WEIR_E_INVALID);
    cr_assert_str_eq(errors.texts[0], "big.yaml:34:3: more than 32 upstreams");
    config_errors_free(&errors);

    len = 0;
    for (int i = 0; i < 257; i++)
        len += (size_t)snprintf(text + len, 64, "k%d: 1\n", i);
    big.len = len;
    cr_assert_eq(config_load(&input, &config, &errors), WEIR_E_INVALID);
    cr_assert_str_eq(errors.texts[0], "big.yaml:1:1: a mapping of more than 256 keys");
    config_errors_free(&errors);
    free(text);

    // An alias that contains itself ends where keys end.
    expect_errors((struct config_input){0}, UP "spool: &x {directory: *x}",
                  "t.yaml:2:8: spool.directory: expects a text, not a mapping\n");
}

Test(file, that_cannot_be_read)
{
    struct config config;
    struct config_errors errors = {0};
    struct config_input input = {.file = "/nonexistent/weir.yaml", .env = test_env};
    cr_assert_eq(config_load(&input, &config, &errors), WEIR_E_IO);
    cr_assert_eq(errors.count, 1);
    cr_assert_str_eq(errors.texts[0], "/nonexistent/weir.yaml: No such file or directory");
    config_errors_free(&errors);
    input.file = "/";
    cr_assert_eq(config_load(&input, &config, &errors), WEIR_E_IO);
    cr_assert_str_eq(errors.texts[0], "/: Is a directory");
    config_errors_free(&errors);
}

Test(yaml, takes_a_list_of_endpoints)
{
    struct config config;
    expect_sound((struct config_input){0},
                 "upstreams:\n- name: a\n  endpoint: ['http://one:4318/x', '${env:NOT:-http://two}', http://three:1]\n"
                 "- {name: b, endpoint: 'one:1, two:2'}\n",
                 &config);
    const struct config_upstream *a = &config.upstreams[0], *b = &config.upstreams[1];
    cr_assert_eq(a->alternate_count, 2);
    cr_assert_str_eq(a->target.base_path, "/x");
    cr_assert_str_eq(a->alternates[0].host, "two");
    cr_assert_eq(a->alternates[0].port, 80);
    cr_assert_str_eq(a->alternates[0].base_path, "");
    cr_assert_str_eq(a->alternates[1].text, "http://three:1");
    cr_assert_eq(b->alternate_count, 1);
    cr_assert_str_eq(b->alternates[0].text, "two:2");
    config_free(&config);
}

Test(yaml, fills_the_struct)
{
    struct config config;
    expect_sound(
        (struct config_input){0},
        "receiver:\n  grpc: {endpoint: 127.0.0.1:0}\n  http: {endpoint: off}\n  max_request_size: 1MiB\n  workers: 3\n"
        "  shutdown_delay: 1m30s\n  utf8: pass\n  keep_headers: [X-Scope-OrgID, a-first, '${env:NOT:-b}']\n"
        "spool: {directory: /x y, max_size: 20MB, segment_size: 2MiB, allow_network_filesystem: true,\n"
        "  max_age: 7d, when_full: evict_oldest, keep_delivered: 36h}\ndead_letters: {max_size: 1MiB}\n"
        "upstreams:\n"
        "- name: a.b_c-1\n  endpoint: https://c:9/base\n  signals: [logs, traces]\n  compression: gzip\n"
        "  headers: {X-B: '${env:NOT:-2}', x-a: '1'}\n  tls: &tls {ca_file: /ca, min_version: 1.3}\n"
        "  order: {traces: strict, metrics: relaxed}\n  retry: {initial: 10ms, max: 1d}\n  start: oldest\n  "
        "max_data_age: 2h\n"
        "- {name: b, endpoint: 'http://c:4317', protocol: http/protobuf, max_in_flight: 64, headers: , fresh_share: "
        "0.25, on_reject: drop}\n"
        "- {name: c, endpoint: 'grpcs://c', tls: *tls}\n"
        "admin: {token_file: /run/token}\nlog: {level: warn, format: json}\n",
        &config);
    const struct config_upstream *a = &config.upstreams[0], *b = &config.upstreams[1], *c = &config.upstreams[2];
    cr_assert_str_eq(config.receiver.grpc_endpoint, "127.0.0.1:0");
    cr_assert_str_eq(config.receiver.http_endpoint, "off");
    cr_assert_eq(config.receiver.max_request_size_bytes, 1 << 20);
    cr_assert_eq(config.receiver.max_connections, 1024);
    cr_assert_eq(config.receiver.workers, 3);
    cr_assert_eq(config.receiver.shutdown_delay_ms, 90000);
    cr_assert_eq(config.receiver.utf8, CONFIG_UTF8_PASS);
    cr_assert_eq(config.receiver.keep_headers.count, 3);
    cr_assert_str_eq(config.receiver.keep_headers.items[0], "a-first");
    cr_assert_str_eq(config.receiver.keep_headers.items[1], "b");
    cr_assert_str_eq(config.receiver.keep_headers.items[2], "x-scope-orgid");
    cr_assert_str_eq(config.spool.directory, "/x y");
    cr_assert_eq(config.spool.max_size_bytes, 20000000);
    cr_assert(config.spool.allow_network_filesystem);
    cr_assert_eq(config.spool.max_age_ms, 7 * 86400000ull);
    cr_assert_eq(config.spool.when_full, CONFIG_FULL_EVICT_OLDEST);
    cr_assert_eq(config.spool.keep_delivered_ms, 36 * 3600000ull);
    cr_assert_eq(config.dead_letters.max_size_bytes, 1 << 20);
    cr_assert_eq(a->max_data_age_ms, 7200000);
    cr_assert_str_eq(config.admin.token_file, "/run/token");
    cr_assert_eq(config.upstream_count, 3);
    cr_assert_str_eq(a->name, "a.b_c-1");
    cr_assert_str_eq(a->target.base_path, "/base");
    cr_assert_eq(a->signals, 1u << WEIR_TRACES | 1u << WEIR_LOGS);
    cr_assert_eq(a->compression, CONFIG_COMPRESSION_GZIP);
    cr_assert_eq(a->headers.count, 2);
    cr_assert_str_eq(a->headers.items[1].name, "x-b");
    cr_assert_str_eq(a->headers.items[1].value, "2");
    cr_assert_str_eq(config_tls_version_name(a->tls.min_version), "1.3");
    cr_assert_eq(a->order[WEIR_TRACES], CONFIG_ORDER_STRICT);
    cr_assert_eq(a->order[WEIR_METRICS], CONFIG_ORDER_RELAXED);
    cr_assert_eq(a->order[WEIR_LOGS], CONFIG_ORDER_RELAXED);
    cr_assert_eq(a->retry.initial_ms, 10);
    cr_assert_eq(a->retry.max_ms, 86400000);
    cr_assert_eq(a->start, CONFIG_START_OLDEST);
    cr_assert_eq(b->target.protocol, CONFIG_PROTOCOL_HTTP);
    cr_assert_eq(b->order[WEIR_METRICS], CONFIG_ORDER_STRICT);
    cr_assert_eq(b->timeout_ms, 10000);
    cr_assert_eq(b->max_in_flight, 64);
    cr_assert_eq(b->fresh_share, 250);
    cr_assert_eq(c->fresh_share, 500);
    cr_assert_eq(b->on_reject, CONFIG_REJECT_DROP);
    cr_assert_eq(c->on_reject, CONFIG_REJECT_DEAD_LETTER);
    cr_assert_str_eq(c->tls.ca_file, "/ca");
    cr_assert_str_eq(config.admin.endpoint, "127.0.0.1:9464");
    cr_assert_eq(config.log.level, LOG_WARN);
    cr_assert_eq(config.log.format, LOG_JSON);
    config_free(&config);
    config_free(&config); // once more does no harm
}
