// SPDX-License-Identifier: Apache-2.0
// Values as people write them: durations, sizes, endpoints, substitutions, headers. Tables of text and result.
#include <criterion/criterion.h>
#include <stdio.h>
#include <unistd.h>

#include "relay/config_table.h"
#include "relay/config_values.h"

#define assert_text(actual, expected, what)                                                                            \
    cr_assert_str_eq(actual, expected, "%s: got \"%s\", expected \"%s\"", what, actual, expected)

Test(duration, reads_and_writes_back)
{
    static const struct {
        const char *text;
        uint64_t ms;
        const char *back;
    } rows[] = {
        {"250ms", 250, "250ms"},
        {"5s", 5000, "5s"},
        {"1m30s", 90000, "1m30s"},
        {"90s", 90000, "1m30s"},
        {"2h", 7200000, "2h"},
        {"3d", 259200000, "3d"},
        {"1d2h3m4s5ms", 93784005, "1d2h3m4s5ms"},
        {"0", 0, "0s"},
        {"0s", 0, "0s"},
        {"007s", 7000, "7s"},
        {"18446744073709551615ms", UINT64_MAX, "213503982334d14h25m51s615ms"},
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        uint64_t ms = 1;
        char back[CONFIG_NUMBER_TEXT];
        struct weir_err err = {0};
        cr_assert_eq(config_duration_parse(rows[i].text, &ms, &err), WEIR_OK, "%s: %s", rows[i].text, err.text);
        cr_assert_eq(ms, rows[i].ms, "%s", rows[i].text);
        assert_text(config_duration_format(ms, back), rows[i].back, rows[i].text);
    }
}

Test(duration, refuses)
{
    static const struct {
        const char *text, *error;
    } rows[] = {
        {"", "'' is not a duration, such as 250ms, 5s, 1m30s, 2h or 3d"},
        {"s", "'s' is not a duration, such as 250ms, 5s, 1m30s, 2h or 3d"},
        {"-1s", "'-1s' is not a duration, such as 250ms, 5s, 1m30s, 2h or 3d"},
        {"10", "'10' needs a unit (ms, s, m, h, d), as in 10s"},
        {"1m30", "'1m30' needs a unit (ms, s, m, h, d), as in 1m30s"},
        {"5 s", "'5 s' has an unknown unit ' s' (known are ms, s, m, h, d)"},
        {"1.5s", "'1.5s' has an unknown unit '.' (known are ms, s, m, h, d)"},
        {"5S", "'5S' has an unknown unit 'S' (known are ms, s, m, h, d)"},
        {"5us", "'5us' has an unknown unit 'us' (known are ms, s, m, h, d)"},
        {"30s1m", "'30s1m' names its units out of order or twice, not as in 1h30m"},
        {"1s1s", "'1s1s' names its units out of order or twice, not as in 1h30m"},
        {"18446744073709551616ms", "'18446744073709551616ms' is not a duration, such as 250ms, 5s, 1m30s, 2h or 3d"},
        {"213503982335d", "'213503982335d' is too long a duration"},
        {"213503982334d24h", "'213503982334d24h' is too long a duration"},
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        uint64_t ms = 1;
        struct weir_err err = {0};
        cr_assert_eq(config_duration_parse(rows[i].text, &ms, &err), WEIR_E_INVALID, "%s", rows[i].text);
        assert_text(err.text, rows[i].error, rows[i].text);
        cr_assert_eq(ms, 1, "%s: changed the result", rows[i].text);
    }
}

Test(size, reads_and_writes_back)
{
    static const struct {
        const char *text;
        uint64_t bytes;
        const char *back;
    } rows[] = {
        {"512KiB", 524288, "512KiB"},
        {"10GiB", 10737418240, "10GiB"},
        {"20MB", 20000000, "20MB"},
        {"1024KiB", 1048576, "1MiB"},
        {"1kB", 1000, "1kB"},
        {"1KB", 1000, "1kB"},
        {"1000001B", 1000001, "1000001B"},
        {"3TiB", 3298534883328, "3TiB"},
        {"2TB", 2000000000000, "2TB"},
        {"0", 0, "0B"},
        {"0B", 0, "0B"},
        {"16777215TiB", 18446742974197923840u, "16777215TiB"},
        {"18446744073709551615B", UINT64_MAX, "18446744073709551615B"},
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        uint64_t bytes = 1;
        char back[CONFIG_NUMBER_TEXT];
        struct weir_err err = {0};
        cr_assert_eq(config_size_parse(rows[i].text, &bytes, &err), WEIR_OK, "%s: %s", rows[i].text, err.text);
        cr_assert_eq(bytes, rows[i].bytes, "%s", rows[i].text);
        assert_text(config_size_format(bytes, back), rows[i].back, rows[i].text);
    }
}

Test(config_values, shares_are_read_as_thousandths_and_written_back)
{
    static const struct {
        const char *text;
        uint32_t thousandths;
        const char *back; // NULL: refused
    } rows[] = {
        {"0", 0, "0"},
        {"1", 1000, "1"},
        {"0.5", 500, "0.5"},
        {"0.125", 125, "0.125"},
        {"0.050", 50, "0.05"},
        {"1.000", 1000, "1"},
        {"0.001", 1, "0.001"},
        {"1.001", 0, NULL},
        {"2", 0, NULL},
        {"-0.5", 0, NULL},
        {"0.", 0, NULL},
        {".5", 0, NULL},
        {"0.1234", 0, NULL},
        {"50%", 0, NULL},
        {"", 0, NULL},
        {"0,5", 0, NULL},
        {"99999999999999999999", 0, NULL},
        {"18446744073709551", 0, NULL},
    };
    const struct config_row *row = config_row_find("upstreams[].fresh_share");
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        uint32_t thousandths = 7;
        char back[CONFIG_NUMBER_TEXT];
        int rc = config_value_parse(row, &thousandths, rows[i].text, NULL);
        cr_assert_eq(rc, rows[i].back != NULL ? WEIR_OK : WEIR_E_INVALID, "%s", rows[i].text);
        cr_assert_eq(thousandths, rows[i].back != NULL ? rows[i].thousandths : 7, "%s", rows[i].text);
        if (rows[i].back != NULL)
            assert_text(config_share_format(thousandths, back), rows[i].back, rows[i].text);
    }
}

Test(size, refuses)
{
    static const struct {
        const char *text, *error;
    } rows[] = {
        {"", "'' is not a size, such as 512KiB, 20MB or 10GiB"},
        {"MiB", "'MiB' is not a size, such as 512KiB, 20MB or 10GiB"},
        {"-1MiB", "'-1MiB' is not a size, such as 512KiB, 20MB or 10GiB"},
        {"1.5GiB", "'1.5GiB' is not a whole number: take the next smaller unit"},
        {"64", "'64' needs a unit (B, KiB, MiB, GiB, TiB, kB, MB, GB, TB)"},
        {"10Gi", "'10Gi' has an unknown unit 'Gi' (known are B, KiB, MiB, GiB, TiB, kB, MB, GB, TB)"},
        {"10 GiB", "'10 GiB' has an unknown unit ' GiB' (known are B, KiB, MiB, GiB, TiB, kB, MB, GB, TB)"},
        {"5s", "'5s' has an unknown unit 's' (known are B, KiB, MiB, GiB, TiB, kB, MB, GB, TB)"},
        {"16777216TiB", "'16777216TiB' is too large a size"},
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        uint64_t bytes;
        struct weir_err err = {0};
        cr_assert_eq(config_size_parse(rows[i].text, &bytes, &err), WEIR_E_INVALID, "%s", rows[i].text);
        assert_text(err.text, rows[i].error, rows[i].text);
    }
}

// --- endpoints -----------------------------------------------------------------------------------------------------------

// U19.
Test(target, is_taken_apart)
{
    enum { AUTO = CONFIG_PROTOCOL_AUTO, GRPC = CONFIG_PROTOCOL_GRPC, HTTP = CONFIG_PROTOCOL_HTTP };
    static const struct {
        const char *endpoint;
        int wanted;
        const char *host;
        unsigned port;
        bool tls;
        int protocol;
        const char *base;
    } rows[] = {
        {"grpc://collector:4317", AUTO, "collector", 4317, false, GRPC, ""},
        {"grpcs://collector:443", AUTO, "collector", 443, true, GRPC, ""},
        {"grpc://collector", AUTO, "collector", 4317, false, GRPC, ""},
        {"collector:4317", AUTO, "collector", 4317, false, GRPC, ""},
        {"collector:4318", AUTO, "collector", 4318, false, GRPC, ""},
        {"collector", AUTO, "collector", 4317, false, GRPC, ""},
        {"127.0.0.1:5", AUTO, "127.0.0.1", 5, false, GRPC, ""},
        {"[::1]:4317", AUTO, "::1", 4317, false, GRPC, ""},
        {"http://[fe80::1%eth0]:4318", AUTO, "fe80::1%eth0", 4318, false, HTTP, ""},
        {"http://collector:4318", AUTO, "collector", 4318, false, HTTP, ""},
        {"http://collector:4318/", AUTO, "collector", 4318, false, HTTP, ""},
        {"https://otlp.example.com", AUTO, "otlp.example.com", 443, true, HTTP, ""},
        {"http://prometheus:9090/api/v1/otlp", AUTO, "prometheus", 9090, false, HTTP, "/api/v1/otlp"},
        {"http://prometheus:9090/api/v1/otlp//", AUTO, "prometheus", 9090, false, HTTP, "/api/v1/otlp"},
        // OpenTelemetry's variables name gRPC by http(s) and the port.
        {"http://collector:4317", AUTO, "collector", 4317, false, GRPC, ""},
        {"http://collector:4317/", AUTO, "collector", 4317, false, GRPC, ""},
        {"https://collector:4317", AUTO, "collector", 4317, true, GRPC, ""},
        {"https://collector:4317/otlp", AUTO, "collector", 4317, true, HTTP, "/otlp"},
        // protocol overrules.
        {"http://collector:4317", HTTP, "collector", 4317, false, HTTP, ""},
        {"https://collector:443", GRPC, "collector", 443, true, GRPC, ""},
        {"grpc://collector:4318", HTTP, "collector", 4318, false, HTTP, ""},
        {"collector:4318/x", HTTP, "collector", 4318, false, HTTP, "/x"},
        {"HTTPS://collector:1", AUTO, "collector", 1, true, HTTP, ""},
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        struct config_target target;
        struct weir_err err = {0};
        const char *what = rows[i].endpoint;
        cr_assert_eq(config_target_parse(what, rows[i].wanted, &target, &err), WEIR_OK, "%s: %s", what, err.text);
        assert_text(target.host, rows[i].host, what);
        cr_assert_eq(target.port, rows[i].port, "%s: port %u", what, target.port);
        cr_assert_eq(target.use_tls, rows[i].tls, "%s: tls", what);
        cr_assert_eq((int)target.protocol, rows[i].protocol, "%s: protocol %d", what, (int)target.protocol);
        assert_text(target.base_path, rows[i].base, what);
        config_target_free(&target);
    }
}

Test(target, refuses)
{
    static const struct {
        const char *endpoint, *error;
    } rows[] = {
        {"htps://c:1", "'htps://' is an unknown scheme (known are grpc://, grpcs://, http://, https://)"},
        {"://c:1", "'://' is an unknown scheme (known are grpc://, grpcs://, http://, https://)"},
        {"http://", "'http://' names no host"},
        {":4317", "':4317' names no host"},
        {"grpc://c:0", "'grpc://c:0' has a port that is not a number from 1 to 65535"},
        {"grpc://c:65536", "'grpc://c:65536' has a port that is not a number from 1 to 65535"},
        {"grpc://c:otlp", "'grpc://c:otlp' has a port that is not a number from 1 to 65535"},
        {"grpc://c:000001", "'grpc://c:000001' has a port that is not a number from 1 to 65535"},
        {"grpc://c:", "'grpc://c:' has no port behind its colon"},
        {"::1:4317", "'::1:4317' has several colons: an IPv6 address needs brackets, as in [::1]:4317"},
        {"[::x]:4317", "'[::x]:4317' does not hold an IPv6 address in its brackets"},
        {"[::1:4317", "'[::1:4317' does not hold an IPv6 address in its brackets"},
        {"[::1]4317", "'[::1]4317' has something other than a port behind its brackets"},
        {"a b:4317", "'a b:4317' has a host that is neither a name nor an address"},
        {"http://u:p@c:1", "an endpoint holds no user or password: put them into headers"},
        {"grpc://c:1/x", "'grpc://c:1/x' has a path, but gRPC has none"},
        {"http://c:1/x?y=z", "'http://c:1/x?y=z' has a query or a fragment: an endpoint ends with its path"},
        {"http://c:1/x y", "'http://c:1/x y' has a path that holds a character URLs cannot (0x20)"},
        {"http://c:4318/v1/traces",
         "'http://c:4318/v1/traces' ends in /v1/traces, which weir adds itself: give the URL before it"},
        {"http://c:1/a/v1/logs/",
         "'http://c:1/a/v1/logs/' ends in /v1/logs, which weir adds itself: give the URL before it"},
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        struct config_target target;
        struct weir_err err = {0};
        cr_assert_eq(config_target_parse(rows[i].endpoint, CONFIG_PROTOCOL_AUTO, &target, &err), WEIR_E_INVALID, "%s",
                     rows[i].endpoint);
        assert_text(err.text, rows[i].error, rows[i].endpoint);
        cr_assert_null(target.host);
    }
}

Test(listener, address)
{
    static const struct {
        const char *text, *error; // NULL: fine
    } rows[] = {
        {"off", NULL},
        {"0.0.0.0:4317", NULL},
        {":4317", NULL},
        {"[::]:0", NULL},
        {"localhost:65535", NULL},
        {"http://0.0.0.0:1", "'http://0.0.0.0:1' has a scheme: a listener is host:port or off"},
        {"4317", "'4317' is not host:port or off"},
        {"localhost", "'localhost' is not host:port or off"},
        {"a:1/x", "'a:1/x' is not host:port or off"},
        {"a:65536", "'a:65536' has a port that is not a number from 0 to 65535"},
        {"", "'' is not host:port or off"},
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        struct weir_err err = {0};
        int result = config_listen_check(rows[i].text, &err);
        cr_assert_eq(result, rows[i].error == NULL ? WEIR_OK : WEIR_E_INVALID, "%s: %s", rows[i].text, err.text);
        if (rows[i].error != NULL)
            assert_text(err.text, rows[i].error, rows[i].text);
    }
}

// --- substitution --------------------------------------------------------------------------------------------------------

static const char *test_env(const char *name)
{
    return strcmp(name, "SET") == 0     ? "value"
           : strcmp(name, "EMPTY") == 0 ? ""
           : strcmp(name, "YAML") == 0  ? "${env:SET}"
                                        : NULL;
}

Test(substitute, replaces)
{
    static const struct {
        const char *text, *result;
    } rows[] = {
        {"", ""},
        {"plain", "plain"},
        {"a${env:SET}b", "avalueb"},
        {"${env:SET}${env:SET}", "valuevalue"},
        {"${env:NOT:-x y}", "x y"},
        {"${env:NOT:-}", ""},
        {"${env:EMPTY}", ""},
        {"${env:EMPTY:-x}", "x"},
        {"${env:SET:-x}", "value"},
        {"$$", "$"},
        {"$${env:SET}", "${env:SET}"},
        {"$$$$", "$$"},
        {"a$", "a$"},
        {"$a", "$a"},
        {"${env:YAML}", "${env:SET}"}, // what came in is not looked at again
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        char *out;
        struct weir_err err = {0};
        cr_assert_eq(config_substitute(rows[i].text, strlen(rows[i].text), test_env, &out, &err), WEIR_OK, "%s: %s",
                     rows[i].text, err.text);
        assert_text(out, rows[i].result, rows[i].text);
        free(out);
    }
}

Test(substitute, refuses)
{
    static const struct {
        const char *text, *error;
    } rows[] = {
        {"${env:NOT}", "environment variable NOT is not set (${env:NOT:-default} has a default)"},
        {"${env:a b}", "'a b' is not the name of an environment variable"},
        {"${env:}", "'' is not the name of an environment variable"},
        {"${SET}", "'${SET}' is neither ${env:NAME} nor ${file:PATH} ($$ is a dollar)"},
        {"x${env:SET", "'${env:SET' has no closing brace ($$ is a dollar)"},
        {"${file:/nonexistent/weir}", "/nonexistent/weir: No such file or directory"},
        {"${file:/dev/zero}", "/dev/zero: not a regular file"},
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        char *out;
        struct weir_err err = {0};
        cr_assert_eq(config_substitute(rows[i].text, strlen(rows[i].text), test_env, &out, &err), WEIR_E_INVALID);
        assert_text(err.text, rows[i].error, rows[i].text);
        cr_assert_null(out);
    }
}

Test(substitute, reads_files)
{
    const char *dir = getenv("TMPDIR");
    char path[512], text[600], *out;
    struct weir_err err = {0};
    snprintf(path, sizeof(path), "%s/weir-test-XXXXXX", dir != NULL ? dir : "/tmp");
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    snprintf(text, sizeof(text), "Bearer ${file:%s}", path);

    cr_assert_eq(write(fd, "secret $$x\r\n\n", 13), 13);
    cr_assert_eq(config_substitute(text, strlen(text), test_env, &out, &err), WEIR_OK, "%s", err.text);
    cr_assert_str_eq(out, "Bearer secret $$x"); // the content is taken as it is, its line ends go
    free(out);

    cr_assert_eq(write(fd, "\0", 1), 1);
    cr_assert_eq(config_substitute(text, strlen(text), test_env, &out, &err), WEIR_E_INVALID);
    cr_assert(strstr(err.text, ": holds a zero byte") != NULL, "%s", err.text);
    cr_assert_eq(ftruncate(fd, (64 << 10) + 1), 0);
    cr_assert_eq(config_substitute(text, strlen(text), test_env, &out, &err), WEIR_E_INVALID);
    cr_assert(strstr(err.text, ": larger than 64KiB") != NULL, "%s", err.text);
    close(fd);
    unlink(path);
}

// --- headers -------------------------------------------------------------------------------------------------------------

Test(headers, are_sorted_lower_case_and_unique)
{
    struct config_map map = {0};
    const struct config_row *row = config_row_find(CONFIG_UPSTREAM "headers");
    struct weir_err err = {0};
    cr_assert_eq(config_map_set(&map, "X-Scope-OrgID", "a", &err), WEIR_OK);
    cr_assert_eq(config_map_set(&map, "Authorization", "Bearer x", &err), WEIR_OK);
    cr_assert_eq(config_map_set(&map, "x-scope-orgid", "b", &err), WEIR_OK);
    cr_assert_eq(map.count, 2);
    cr_assert_str_eq(map.items[0].name, "authorization");
    cr_assert_str_eq(map.items[1].name, "x-scope-orgid");
    cr_assert_str_eq(map.items[1].value, "b");
    cr_assert_eq(config_value_parse(row, &map, "a=1, b = 2 ,c=x=y", &err), WEIR_E_INVALID);
    cr_assert_str_eq(err.text, "'b ' is not the name of a header");
    cr_assert_eq(map.count, 2, "a failed parse changes nothing");
    cr_assert_eq(config_value_parse(row, &map, "a=1, c=x=y", &err), WEIR_OK);
    cr_assert_eq(map.count, 2);
    cr_assert_str_eq(map.items[1].value, "x=y");
    config_value_free(row, &map);
}

Test(headers, refuses)
{
    static const struct {
        const char *name, *value, *error;
    } rows[] = {
        {"", "x", "'' is not the name of a header"},
        {"a:b", "x", "'a:b' is not the name of a header"},
        {":path", "x", "':path' is not the name of a header"},
        {"Content-Type", "x", "weir sets the header 'content-type' itself"},
        {"grpc-timeout", "x", "weir sets the header 'grpc-timeout' itself"},
        {"a", "x\r\nb: c", "the value of 'a' holds a character that headers cannot carry (0x0d)"},
        {"a", "\xc3\xa4", "the value of 'a' holds a character that headers cannot carry (0xc3)"},
    };
    struct config_map map = {0};
    struct weir_err err = {0};
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        cr_assert_eq(config_map_set(&map, rows[i].name, rows[i].value, &err), WEIR_E_INVALID, "%s", rows[i].name);
        assert_text(err.text, rows[i].error, rows[i].name);
    }
    cr_assert_eq(map.count, 0);
    for (int i = 0; i < CONFIG_MAX_HEADERS; i++) {
        char name[16];
        snprintf(name, sizeof(name), "h%d", i);
        cr_assert_eq(config_map_set(&map, name, "", &err), WEIR_OK);
    }
    cr_assert_eq(config_map_set(&map, "one-more", "", &err), WEIR_E_INVALID);
    cr_assert_str_eq(err.text, "more than 64 headers");
    config_value_free(config_row_find(CONFIG_UPSTREAM "headers"), &map);
}

// --- the table -----------------------------------------------------------------------------------------------------------

Test(table, rows_are_sound)
{
    for (size_t i = 0; i < CONFIG_ROWS; i++) {
        const struct config_row *row = &config_rows[i];
        cr_assert_eq(config_row_find(row->key), row, "%s stands twice", row->key);
        cr_assert(row->help != NULL && strlen(row->help) > 3 && strpbrk(row->help, "\t\n") == NULL, "%s: help",
                  row->key);
        cr_assert_eq(row->choices != NULL, row->type == CONFIG_ENUM || row->type == CONFIG_FLAGS, "%s: choices",
                     row->key);
        cr_assert_leq(row->min, row->max, "%s: bounds", row->key);
    }
}

Test(table, nearest_word)
{
    static const char *const words[] = {"timeout", "endpoint", "name", "retry"};
    static const struct {
        const char *name, *nearest;
    } rows[] = {
        {"timeuot", "timeout"},
        {"time_out", "timeout"},
        {"endpiont", "endpoint"},
        {"nmae", "name"},
        {"retries", "retry"},
        {"x", NULL},
        {"banana", NULL},
        {"", NULL},
        {"tr", NULL},
        {"mane", NULL},
        {"nome", "name"},
        {"entry", NULL},
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        const char *nearest = config_nearest(rows[i].name, words, WEIR_COUNT(words));
        if (rows[i].nearest == NULL)
            cr_assert_null(nearest, "%s: %s", rows[i].name, nearest);
        else
            cr_assert(nearest != NULL && strcmp(nearest, rows[i].nearest) == 0, "%s: %s", rows[i].name, nearest);
    }
}
