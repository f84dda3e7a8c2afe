// SPDX-License-Identifier: Apache-2.0
// Where a configuration comes from besides the file: quick flags, --set, OpenTelemetry's variables; and print-config read back.
#include <criterion/criterion.h>
#include <stdio.h>

#include "relay/config_print.h"
#include "relay/config_table.h"

static const char *const *test_variables; // pairs of name and value, ended by NULL
static const char *test_env(const char *name)
{
    for (size_t i = 0; test_variables != NULL && test_variables[i] != NULL; i += 2)
        if (strcmp(test_variables[i], name) == 0)
            return test_variables[i + 1];
    return NULL;
}

// Loads and returns all errors as one text, which the caller frees; "" when it is sound.
static char *load(struct config_input input, const char *yaml, struct config *config)
{
    struct weir_slice slice = {(const uint8_t *)yaml, yaml != NULL ? strlen(yaml) : 0};
    struct config_errors errors = {0};
    char *text = NULL;
    size_t size;
    if (yaml != NULL) {
        input.file = "t.yaml";
        input.yaml = &slice;
    }
    input.env = test_env;
    config_load(&input, config, &errors);
    FILE *out = open_memstream(&text, &size);
    config_errors_print(&errors, out);
    fclose(out);
    config_errors_free(&errors);
    return text;
}

#define assert_load(input, yaml, config, expected)                                                                     \
    do {                                                                                                               \
        char *loaded = load(input, yaml, config);                                                                      \
        cr_assert_str_eq(loaded, expected, "got\n%s", loaded);                                                         \
        free(loaded);                                                                                                  \
    } while (0)

#define UP "upstreams: [{name: a, endpoint: 'grpc://c:4317', timeout: 3s}, {name: b.tls, endpoint: d}]\n"

Test(flags, one_upstream_is_a_configuration)
{
    static const char *const urls[] = {"http://collector:4317"};
    struct config config;
    assert_load(((struct config_input){.upstreams = urls, .upstream_count = 1}), NULL, &config, "");
    cr_assert_eq(config.upstream_count, 1);
    cr_assert_str_eq(config.upstreams[0].name, "default");
    cr_assert_str_eq(config.upstreams[0].target.host, "collector");
    cr_assert_eq(config.upstreams[0].target.protocol, CONFIG_PROTOCOL_GRPC);
    config_free(&config);
}

Test(flags, overrule_the_file)
{
    static const char *const urls[] = {"grpc://one", "http://two:4318"};
    struct config config;
    assert_load(((struct config_input){.upstreams = urls,
                                       .upstream_count = 2,
                                       .spool = "/s",
                                       .grpc = "127.0.0.1:0",
                                       .http = "off",
                                       .admin = "off"}),
                UP "spool: {directory: /t}\nreceiver: {grpc: {endpoint: off}}\n", &config, "");
    cr_assert_eq(config.upstream_count, 2, "--upstream is instead of the file's upstreams");
    cr_assert_str_eq(config.upstreams[0].name, "default");
    cr_assert_eq(config.upstreams[0].timeout_ms, 10000);
    cr_assert_str_eq(config.upstreams[1].name, "default-2");
    cr_assert_str_eq(config.spool.directory, "/s");
    cr_assert_str_eq(config.receiver.grpc_endpoint, "127.0.0.1:0");
    cr_assert_str_eq(config.receiver.http_endpoint, "off");
    cr_assert_str_eq(config.admin.endpoint, "off");
    config_free(&config);
}

Test(flags, errors_name_the_flag)
{
    static const char *const urls[] = {"c:x"};
    struct config config;
    assert_load(((struct config_input){.upstreams = urls, .upstream_count = 1, .http = "http://a:1", .spool = ""}),
                NULL, &config,
                "--spool: must not be empty\n"
                "--http: 'http://a:1' has a scheme: a listener is host:port or off\n"
                "--upstream: 'c:x' has a port that is not a number from 1 to 65535\n");
    assert_load((struct config_input){0}, NULL, &config,
                "configuration: no upstream says where to deliver: add one, for example weir run --upstream "
                "http://collector:4317\n");
}

Test(set, takes_every_kind_of_key)
{
    static const char *const sets[] = {"receiver.workers=2",
                                       "receiver.keep_headers=x-old",
                                       "receiver.keep_headers=X-Scope-OrgID, authorization",
                                       "receiver.workers=4",
                                       "upstreams.a.timeout=5s",
                                       "upstreams.a.signals=logs,metrics",
                                       "upstreams.a.headers=X-A=1,x-b=2",
                                       "upstreams.a.headers.X-C=${env:SECRET}",
                                       "upstreams.b.tls.max_in_flight=9",
                                       "upstreams.b.tls.tls.server_name=",
                                       "upstreams.new.endpoint=https://n",
                                       "upstreams.new.tls.ca_file=/a=b"};
    static const char *const variables[] = {"SECRET", "s=t", "OTEL_EXPORTER_OTLP_ENDPOINT", "http://env:1", NULL};
    struct config config;
    test_variables = variables;
    assert_load(((struct config_input){.sets = sets, .set_count = WEIR_COUNT(sets)}), UP, &config, "");
    cr_assert_eq(config.receiver.workers, 4, "the last one holds");
    cr_assert_eq(config.receiver.keep_headers.count, 2);
    cr_assert_str_eq(config.receiver.keep_headers.items[0], "authorization");
    cr_assert_str_eq(config.receiver.keep_headers.items[1], "x-scope-orgid");
    cr_assert_eq(config.upstream_count, 3);
    const struct config_upstream *a = &config.upstreams[0];
    cr_assert_eq(a->timeout_ms, 5000);
    cr_assert_eq(a->signals, 1u << WEIR_LOGS | 1u << WEIR_METRICS);
    cr_assert_eq(a->headers.count, 3);
    cr_assert_str_eq(a->headers.items[2].name, "x-c");
    cr_assert_str_eq(a->headers.items[2].value, "s=t");
    cr_assert_str_eq(config.upstreams[1].name, "b.tls");
    cr_assert_eq(config.upstreams[1].max_in_flight, 9, "names may hold dots");
    cr_assert_str_eq(config.upstreams[2].name, "new");
    cr_assert_str_eq(config.upstreams[2].tls.ca_file, "/a=b");
    config_free(&config);
    // An upstream by --set alone is one that is configured otherwise: the variables stay unused.
    assert_load(((struct config_input){.sets = sets + 10, .set_count = 2}), NULL, &config, "");
    cr_assert_eq(config.upstream_count, 1);
    cr_assert_str_eq(config.upstreams[0].name, "new");
    config_free(&config);
}

Test(set, repairs_what_the_file_lacks)
{
    static const char *const sets[] = {"upstreams.a.endpoint=d:1"};
    struct config config;
    assert_load(((struct config_input){.sets = sets, .set_count = 1}), "upstreams: [{name: a, timeout: 2s}]", &config,
                "");
    cr_assert_eq(config.upstream_count, 1);
    cr_assert_str_eq(config.upstreams[0].target.host, "d");
    cr_assert_eq(config.upstreams[0].timeout_ms, 2000);
    config_free(&config);
}

Test(set, errors_name_the_key_and_not_the_value)
{
    static const char *const sets[] = {"workers",
                                       "receiver.worker=1",
                                       "banana=1",
                                       "=s3cr3t",
                                       "receiver.workers=0",
                                       "upstreams.a.banana=1",
                                       "upstreams.z.timeout=1s",
                                       "upstreams.z.headers.x=1",
                                       "upstreams.a.headers.authorization=a\nb",
                                       "upstreams.Z.endpoint=d",
                                       "spool.directory=${env:NOT}"};
    struct config config;
    assert_load(((struct config_input){.sets = sets, .set_count = WEIR_COUNT(sets)}), UP, &config,
                "--set: 'workers' is not KEY=VALUE\n"
                "--set receiver.worker: unknown key (did you mean 'receiver.workers'?)\n"
                "--set banana: unknown key (`weir help config` lists all)\n"
                "--set: '=' is not KEY=VALUE\n"
                "--set receiver.workers: 0 is out of range (1 to 64)\n"
                "--set upstreams.a.banana: unknown key (upstreams.NAME.KEY; `weir help config` lists all)\n"
                "--set upstreams.z.timeout: there is no upstream 'z' (set its endpoint first to add one)\n"
                "--set upstreams.z.headers.x: there is no upstream 'z'\n"
                "--set upstreams.a.headers.authorization: the value of 'authorization' holds a character that headers "
                "cannot carry "
                "(0x0a)\n"
                "--set spool.directory: environment variable NOT is not set (${env:NOT:-default} has a default)\n"
                "--set upstreams.Z.endpoint: 'Z' may hold nothing but a-z, 0-9, '.', '_' and '-'\n");
}

Test(environment, describes_one_upstream)
{
    static const char *const variables[] = {"OTEL_EXPORTER_OTLP_ENDPOINT",
                                            "https://collector:4317/",
                                            "OTEL_EXPORTER_OTLP_HEADERS",
                                            " Authorization = Bearer%20x%3D , x-scope-orgid=a,",
                                            "OTEL_EXPORTER_OTLP_PROTOCOL",
                                            "http/protobuf",
                                            "OTEL_EXPORTER_OTLP_COMPRESSION",
                                            "gzip",
                                            "OTEL_EXPORTER_OTLP_CERTIFICATE",
                                            "/ca",
                                            "OTEL_EXPORTER_OTLP_CLIENT_KEY",
                                            "/key",
                                            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
                                            "/cert",
                                            "OTEL_EXPORTER_OTLP_TIMEOUT",
                                            "2500",
                                            NULL};
    struct config config;
    test_variables = variables;
    assert_load((struct config_input){0}, "log: {level: debug}", &config, "");
    const struct config_upstream *up = &config.upstreams[0];
    cr_assert_eq(config.upstream_count, 1);
    cr_assert_str_eq(up->name, "default");
    cr_assert_str_eq(up->target.host, "collector");
    cr_assert(up->target.use_tls);
    cr_assert_eq(up->target.protocol, CONFIG_PROTOCOL_HTTP);
    cr_assert_eq(up->headers.count, 2);
    cr_assert_str_eq(up->headers.items[0].name, "authorization");
    cr_assert_str_eq(up->headers.items[0].value, "Bearer x=");
    cr_assert_eq(up->compression, CONFIG_COMPRESSION_GZIP);
    cr_assert_str_eq(up->tls.ca_file, "/ca");
    cr_assert_str_eq(up->tls.cert_file, "/cert");
    cr_assert_str_eq(up->tls.key_file, "/key");
    cr_assert_eq(up->timeout_ms, 2500);
    config_free(&config);

    assert_load((struct config_input){0}, UP, &config, "");
    cr_assert_eq(config.upstream_count, 2, "the file says where to deliver: the variables stay unused");
    config_free(&config);
}

Test(environment, names_grpc_by_http_and_port)
{
    static const char *const variables[] = {"OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317",
                                            "OTEL_EXPORTER_OTLP_PROTOCOL", "", NULL};
    struct config config;
    test_variables = variables;
    assert_load((struct config_input){0}, NULL, &config, "");
    cr_assert_eq(config.upstreams[0].target.protocol, CONFIG_PROTOCOL_GRPC);
    config_free(&config);
}

// A scheme decides about TLS, else _INSECURE, which is false unless it is true.
Test(environment, insecure_counts_without_a_scheme_U21)
{
    static const struct {
        const char *endpoint, *insecure, *protocol;
        bool tls;
        enum config_protocol speaks;
        uint16_t port;
    } rows[] = {
        {"collector:4317", "", "", true, CONFIG_PROTOCOL_GRPC, 4317},
        {"collector:4317", "false", "", true, CONFIG_PROTOCOL_GRPC, 4317},
        {"collector:4317", "TRUE", "", false, CONFIG_PROTOCOL_GRPC, 4317},
        {"collector", "true", "grpc", false, CONFIG_PROTOCOL_GRPC, 4317},
        {"collector:1", "true", "http/protobuf", false, CONFIG_PROTOCOL_HTTP, 1},
        {"collector:1", "", "http/protobuf", true, CONFIG_PROTOCOL_HTTP, 1},
        {"http://collector:4317", "false", "", false, CONFIG_PROTOCOL_GRPC, 4317},
        {"https://collector:4318", "true", "", true, CONFIG_PROTOCOL_HTTP, 4318},
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        const char *const variables[] = {"OTEL_EXPORTER_OTLP_ENDPOINT",
                                         rows[i].endpoint,
                                         "OTEL_EXPORTER_OTLP_INSECURE",
                                         rows[i].insecure,
                                         "OTEL_EXPORTER_OTLP_PROTOCOL",
                                         rows[i].protocol,
                                         NULL};
        struct config config;
        test_variables = variables;
        assert_load((struct config_input){0}, NULL, &config, "");
        cr_expect_eq(config.upstreams[0].target.use_tls, rows[i].tls, "row %zu", i);
        cr_expect_eq(config.upstreams[0].target.protocol, rows[i].speaks, "row %zu", i);
        cr_expect_eq(config.upstreams[0].target.port, rows[i].port, "row %zu", i);
        config_free(&config);
    }
}

Test(environment, a_signal_may_have_its_own_upstream_U18_U21)
{
    static const char *const variables[] = {"OTEL_EXPORTER_OTLP_ENDPOINT",
                                            "http://all:4318/base",
                                            "OTEL_EXPORTER_OTLP_HEADERS",
                                            "a=1",
                                            "OTEL_EXPORTER_OTLP_TIMEOUT",
                                            "1500",
                                            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                                            "https://traces:4317/x/v1/traces",
                                            "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
                                            "b=2%2C3",
                                            "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION",
                                            "none",
                                            NULL};
    struct config config;
    test_variables = variables;
    assert_load((struct config_input){0}, NULL, &config, "");
    cr_assert_eq(config.upstream_count, 3);
    const struct config_upstream *rest = &config.upstreams[0], *traces = &config.upstreams[1],
                                 *metrics = &config.upstreams[2];
    cr_expect_str_eq(rest->name, "default");
    cr_expect_eq(rest->signals, 1u << WEIR_LOGS | 1u << WEIR_PROFILES);
    cr_expect_str_eq(traces->name, "default-traces");
    cr_expect_eq(traces->signals, 1u << WEIR_TRACES);
    cr_expect_str_eq(traces->target.host, "traces");
    cr_expect_str_eq(traces->target.base_path, "/x");
    cr_expect_eq(traces->target.protocol, CONFIG_PROTOCOL_HTTP, "it has a path");
    cr_expect_eq(traces->timeout_ms, 1500);
    cr_expect_eq(traces->headers.count, 1);
    cr_expect_str_eq(traces->headers.items[0].value, "2,3");
    cr_expect_str_eq(metrics->name, "default-metrics");
    cr_expect_eq(metrics->signals, 1u << WEIR_METRICS);
    cr_expect_str_eq(metrics->target.base_path, "/base");
    cr_expect_eq(metrics->compression, CONFIG_COMPRESSION_NONE);
    cr_expect_eq(rest->compression, CONFIG_COMPRESSION_AUTO);
    config_free(&config);

    static const char *const alone[] = {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://logs:4317",
                                        "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a=1", NULL};
    test_variables = alone;
    assert_load((struct config_input){0}, NULL, &config, "");
    cr_assert_eq(config.upstream_count, 1);
    cr_expect_str_eq(config.upstreams[0].name, "default-logs");
    cr_expect_eq(config.upstreams[0].target.protocol, CONFIG_PROTOCOL_GRPC);
    config_free(&config);

    static const char *const wrong[] = {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
                                        "http://logs:4318/in",
                                        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                                        "traces:4317",
                                        "OTEL_EXPORTER_OTLP_TRACES_INSECURE",
                                        "yes",
                                        NULL};
    test_variables = wrong;
    assert_load((struct config_input){0}, NULL, &config,
                "OTEL_EXPORTER_OTLP_TRACES_INSECURE: is neither true nor false\n"
                "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT: does not end in /v1/logs, the only path that weir sends this signal "
                "to\n");
}

Test(environment, errors_name_the_variable)
{
    static const char *const variables[] = {"OTEL_EXPORTER_OTLP_ENDPOINT",
                                            "http://collector:4318",
                                            "OTEL_EXPORTER_OTLP_HEADERS",
                                            "a=%zz",
                                            "OTEL_EXPORTER_OTLP_PROTOCOL",
                                            "http/json",
                                            "OTEL_EXPORTER_OTLP_COMPRESSION",
                                            "snappy",
                                            "OTEL_EXPORTER_OTLP_TIMEOUT",
                                            "10s",
                                            NULL};
    static const char *const secret[] = {"OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/v1/traces",
                                         "OTEL_EXPORTER_OTLP_HEADERS", "topsecret", NULL};
    struct config config;
    test_variables = variables;
    assert_load((struct config_input){0}, NULL, &config,
                "OTEL_EXPORTER_OTLP_PROTOCOL: weir does not send http/json: take http/protobuf or grpc\n"
                "OTEL_EXPORTER_OTLP_HEADERS: 'a' has a percent sign that encodes no character\n"
                "OTEL_EXPORTER_OTLP_COMPRESSION: 'snappy' is none of auto, zstd, gzip, none\n"
                "OTEL_EXPORTER_OTLP_TIMEOUT: is not a number of milliseconds\n");
    test_variables = secret;
    assert_load((struct config_input){0}, NULL, &config,
                "OTEL_EXPORTER_OTLP_HEADERS: is not name=value,name=value\n"
                "OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318/v1/traces' ends in /v1/traces, which weir adds "
                "itself: give the "
                "URL before it\n");
}

// --- print-config --------------------------------------------------------------------------------------------------------

static char *print(const struct config *config)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    cr_assert(config_print(config, out));
    fclose(out);
    return text;
}

Test(print, the_room_of_dead_letters_follows_a_small_spool)
{
    static const struct {
        const char *size;
        uint64_t bytes;
    } rows[] = {{"spool.max_size=10GiB", 1u << 30},
                {"spool.max_size=1GiB", 128u << 20},
                {"spool.max_size=999999999B", 124999999}};
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        struct config first, second;
        assert_load(((struct config_input){.sets = &rows[i].size, .set_count = 1}), UP, &first, "");
        cr_assert_eq(first.dead_letters.max_size_bytes, rows[i].bytes, "%s", rows[i].size);
        char *printed = print(&first);
        assert_load((struct config_input){0}, printed, &second, ""); // given now, and right
        cr_assert_eq(second.dead_letters.max_size_bytes, rows[i].bytes, "%s", rows[i].size);
        free(printed);
        config_free(&first);
        config_free(&second);
    }
}

// Values that YAML, or the substitution, would take for something else.
Test(print, reads_back_to_the_same)
{
    static const char *const sets[] = {"spool.directory=/a $${env:X} \"q\" \\ : # 'x' \xc3\xa4 ",
                                       "spool.max_size=999999999B",
                                       "receiver.shutdown_delay=1m0s5ms",
                                       "receiver.grpc.endpoint=off",
                                       "receiver.keep_headers=x-b,*,~",
                                       "upstreams.a.headers=*x=&y,a=null,%b={},~=$$$$,x=",
                                       "upstreams.a.tls.min_version=1.3",
                                       "upstreams.a.signals=profiles",
                                       "upstreams.b.tls.endpoint=https://[::1]:9/x",
                                       "upstreams.b.tls.tls.server_name=true",
                                       "upstreams.b.tls.protocol=http/protobuf",
                                       "upstreams.a.order.logs=strict",
                                       "upstreams.c.endpoint=grpc://one,grpc://two:5",
                                       "upstreams.a.retry.max=23h59m",
                                       "log.format=json"};
    struct config first, second;
    assert_load(((struct config_input){.sets = sets, .set_count = WEIR_COUNT(sets)}), UP, &first, "");
    cr_assert_str_eq(first.spool.directory, "/a ${env:X} \"q\" \\ : # 'x' \xc3\xa4 ");
    char *printed = print(&first);
    assert_load((struct config_input){0}, printed, &second, "");
    char *again = print(&second);
    cr_assert_str_eq(again, printed);
    cr_assert_str_eq(second.spool.directory, first.spool.directory);
    cr_assert_eq(second.spool.max_size_bytes, 999999999);
    cr_assert_eq(second.receiver.shutdown_delay_ms, 60005);
    cr_assert_eq(second.receiver.keep_headers.count, 3);
    cr_assert_eq(second.upstreams[0].headers.count, 5);
    for (size_t i = 0; i < 5; i++) {
        cr_assert_str_eq(second.upstreams[0].headers.items[i].name, first.upstreams[0].headers.items[i].name);
        cr_assert_str_eq(second.upstreams[0].headers.items[i].value, first.upstreams[0].headers.items[i].value);
    }
    cr_assert_str_eq(second.upstreams[1].target.host, "::1");
    cr_assert_str_eq(second.upstreams[2].alternates[0].host, "two");
    cr_assert(strstr(printed, "********") == NULL, "nothing is secret here");
    free(printed);
    free(again);
    config_free(&first);
    config_free(&second);
}

Test(print, masks_secrets_and_says_so)
{
    static const char *const sets[] = {
        "upstreams.a.headers=authorization=s3cr3t,x-api-key=s3cr3t,x-scope-orgid=tenant,dd-token=s3cr3t"};
    struct config config, back;
    assert_load(((struct config_input){.sets = sets, .set_count = 1}), UP, &config, "");
    char *printed = print(&config);
    cr_assert(strstr(printed, "s3cr3t") == NULL);
    cr_assert(strstr(printed, "\"x-scope-orgid\": \"tenant\"") != NULL);
    cr_assert(strstr(printed, "# Values shown as ******** are secrets") != NULL);
    assert_load((struct config_input){0}, printed, &back, "");
    cr_assert_str_eq(back.upstreams[0].headers.items[0].value, "********");
    free(printed);
    config_free(&config);
    config_free(&back);
}

// The example file holds every key with its default; README is checked against --keys elsewhere.
// G1.
Test(print, example_file_is_complete_and_holds_the_defaults)
{
    static const char *const urls[] = {"grpc://collector:4317"};
    static const char *const sets[] = {"upstreams.default.name=central"};
    struct config example, defaults;
    assert_load((struct config_input){.file = "relay/weir.example.yaml"}, NULL, &example, "");
    assert_load(((struct config_input){.upstreams = urls, .upstream_count = 1, .sets = sets, .set_count = 1}), NULL,
                &defaults, "");
    char *printed = print(&example), *expected = print(&defaults);
    cr_assert_str_eq(printed, expected);
    free(printed);
    free(expected);
    config_free(&example);
    config_free(&defaults);

    FILE *file = fopen("relay/weir.example.yaml", "r");
    static char text[65536];
    cr_assert_neq(file, NULL);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    for (size_t i = 0; i < CONFIG_ROWS; i++) {
        char help[300];
        snprintf(help, sizeof(help), "# %s\n", config_rows[i].help);
        cr_assert(strstr(text, help) != NULL, "weir.example.yaml explains %s otherwise than the table",
                  config_rows[i].key);
    }
}

Test(print, keys_for_scripts)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    config_print_keys(out);
    fclose(out);
    size_t lines = 0, tabs = 0;
    for (const char *p = text; *p != '\0'; p++) {
        lines += *p == '\n';
        tabs += *p == '\t';
    }
    cr_assert_eq(lines, CONFIG_ROWS);
    cr_assert_eq(tabs, 3 * CONFIG_ROWS);
    cr_assert(strstr(text, "upstreams[].timeout\tduration\t10s\tof one export") != NULL);
    free(text);
}
