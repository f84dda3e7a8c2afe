// SPDX-License-Identifier: Apache-2.0
// The admin port: what it shows, its limits, its start and end, and `weir status`, which asks it.
#include "tests/unit/admin_rig.h"

TestSuite(admin, .init = set_up, .fini = tear_down, .timeout = 60);

// --- routes -----------------------------------------------------------------------------------------------------------

Test(admin, routes)
{
    static const struct {
        const char *path, *type, *contains;
    } rows[] = {
        {"/", "text/html; charset=utf-8", "<title>weir</title>"},
        {"/v1/status", "application/json", "\"phase\":\"delivering\""},
        {"/v1/status?pretty=1", "application/json", "\"phase\":\"delivering\""},
        {"/metrics", "text/plain; version=0.0.4; charset=utf-8", "\nweir_ready 1\n"},
        {"/healthz", "text/plain; charset=utf-8", "ok\n"},
        {"/readyz", "text/plain; charset=utf-8", "ok\n"},
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        ask("GET", rows[i].path, "");
        cr_expect_eq(reply.status, 200, "%s: %d", rows[i].path, reply.status);
        char type[128];
        snprintf(type, sizeof(type), "\r\ncontent-type: %s\r\n", rows[i].type);
        cr_expect(has_header(type), "%s: %s", rows[i].path, reply.head);
        cr_expect(has_header("\r\nserver: weir\r\n") && has_header("\r\ncache-control: no-store\r\n"), "%s",
                  reply.head);
        cr_expect_not_null(strstr(reply.body, rows[i].contains), "%s: %.200s", rows[i].path, reply.body);
    }
}

Test(admin, the_status_is_json_of_this_relay)
{
    ask("GET", "/v1/status", "");
    json_error_t why;
    json_t *status = json_loadb(reply.body, reply.body_len, 0, &why);
    cr_assert_not_null(status, "%s", why.text);
    json_t *weir = json_object_get(status, "weir"), *spool = json_object_get(status, "spool");
    cr_expect_str_eq(json_string_value(json_object_get(weir, "instance")), relay.instance);
    cr_expect(json_is_true(json_object_get(weir, "ready")));
    cr_expect_str_eq(json_string_value(json_object_get(spool, "directory")), directory);
    cr_expect_eq(json_integer_value(json_object_get(spool, "max_bytes")), 64 << 20);
    cr_expect_eq(json_array_size(json_object_get(status, "upstreams")), 0);
    json_decref(status);
}

Test(admin, metrics_are_negotiated)
{
    ask("GET", "/metrics", "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n");
    cr_assert_eq(reply.status, 200);
    cr_assert(has_header("\r\ncontent-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"), "%s",
              reply.head);
    cr_assert_str_eq(reply.body + reply.body_len - 6, "# EOF\n");
}

Test(admin, a_path_is_matched_whole)
{
    static const char *const paths[] = {"/healthz/", "/healthz/x",  "/healthzz",
                                        "/v1",       "/v1/",        "/v1/status/x",
                                        "/HEALTHZ",  "/index.html", "/v1/events/../status2"};
    for (size_t i = 0; i < WEIR_COUNT(paths); i++) {
        ask("GET", paths[i], "");
        cr_expect_eq(reply.status, 404, "%s: %d", paths[i], reply.status);
        json_t *error = json_loads(reply.body, 0, NULL);
        cr_expect(json_is_string(json_object_get(error, "error")), "%s: %s", paths[i], reply.body);
        json_decref(error);
    }
}

Test(admin, other_methods_are_refused)
{
    static const char *const methods[] = {"POST", "PUT", "DELETE", "OPTIONS", "get"};
    for (size_t i = 0; i < WEIR_COUNT(methods); i++) {
        ask(methods[i], "/readyz", "Content-Length: 0\r\n");
        cr_expect_eq(reply.status, 405, "%s: %d", methods[i], reply.status);
        cr_expect(has_header("\r\nallow: GET, HEAD\r\n"), "%s", reply.head);
        cr_expect_not_null(strstr(reply.body, "{\"error\":"));
    }
}

Test(admin, head_is_get_without_a_body)
{
    int fd = dial();
    ask_on(fd, "HEAD", "/healthz", "");
    cr_assert_eq(reply.status, 200);
    cr_assert(has_header("\r\ncontent-length: 3\r\n"), "%s", reply.head);
    ask_on(fd, "GET", "/healthz", ""); // the same connection: a body would stand before this answer
    cr_assert_eq(reply.status, 200);
    cr_assert_str_eq(reply.body, "ok\n");
    close(fd);
}

Test(admin, stopping_is_not_ready_but_healthy)
{
    atomic_store(&relay.stopping, true);
    ask("GET", "/readyz", "");
    cr_expect_eq(reply.status, 503);
    cr_expect_str_eq(reply.body, "stopping\n");
    ask("GET", "/healthz", "");
    cr_expect_eq(reply.status, 200);
    ask("GET", "/v1/status", "");
    cr_expect_not_null(strstr(reply.body, "\"phase\":\"stopping\",\"ready\":false,\"reason\":\"stopping\""), "%s",
                       reply.body);
}

// --- limits -----------------------------------------------------------------------------------------------------------

Test(admin, a_large_body_is_refused_unread)
{
    ask("POST", "/v1/status", "Content-Length: 1000000\r\n");
    cr_assert_eq(reply.status, 413);
}

Test(admin, http2_is_off)
{
    int fd = dial();
    say(fd, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    hear(fd, false);
    cr_expect_eq(reply.status, 400, "%s", reply.head);
    close(fd);
    ask("GET", "/healthz",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n");
    cr_expect_eq(reply.status, 200, "%s", reply.head);
}

Test(admin, past_the_limit_the_oldest_connection_makes_room)
{
    int fds[ADMIN_CONNECTIONS];
    for (size_t i = 0; i < ADMIN_CONNECTIONS; i++) {
        fds[i] = dial();
        ask_on(fds[i], "GET", "/healthz", "");
        cr_assert_eq(reply.status, 200);
    }
    int newcomer = dial();
    ask_on(newcomer, "GET", "/readyz", "");
    cr_assert_eq(reply.status, 200);
    char byte;
    cr_expect_eq(recv(fds[0], &byte, 1, 0), 0, "the oldest was let go");
    for (size_t i = 1; i < ADMIN_CONNECTIONS; i++) {
        ask_on(fds[i], "GET", "/healthz", "");
        cr_assert_eq(reply.status, 200, "and none but the oldest");
    }
    close(newcomer);
    for (size_t i = 0; i < ADMIN_CONNECTIONS; i++)
        close(fds[i]);
}

// Before, all of them were answered in one turn of the loop, and nobody else meanwhile.
Test(admin, a_pipeline_has_an_end)
{
    enum { REQUESTS = 100 };
    static const char one[] = "GET /healthz HTTP/1.1\r\nHost: weir\r\n\r\n";
    char all[REQUESTS * sizeof(one)] = "";
    for (size_t i = 0; i < REQUESTS; i++)
        memcpy(all + i * (sizeof(one) - 1), one, sizeof(one));
    int fd = dial();
    say(fd, all);
    int answers = 0;
    for (hear(fd, false); reply.status == 200; hear(fd, false))
        answers++;
    cr_expect_eq(answers, 16, "%d", answers);
    close(fd);
}

Test(admin, stop_ends_idle_connections)
{
    int idle = dial(), half = dial();
    ask_on(idle, "GET", "/healthz", "");
    say(half, "GET /healthz HTT");
    ask("GET", "/healthz", ""); // both others have been accepted by now
    admin_stop(admin);
    admin = NULL; // for tear_down
    char byte;
    cr_expect_eq(recv(idle, &byte, 1, 0), 0);
    cr_expect_leq(recv(half, &byte, 1, 0), 0);
    close(idle);
    close(half);
}

// --- weir status, the command -----------------------------------------------------------------------------------------

// Runs the command with stdout and stderr going into files; their texts are in `out` and `err` afterwards.
static char out[65536], err_out[4096];

static void read_back(FILE *file, char *text, size_t cap)
{
    rewind(file);
    text[fread(text, 1, cap - 1, file)] = '\0';
    fclose(file);
}

static int command(struct cli *cli)
{
    FILE *files[2] = {tmpfile(), tmpfile()};
    int kept[2] = {dup(1), dup(2)};
    fflush(stdout);
    dup2(fileno(files[0]), 1);
    dup2(fileno(files[1]), 2);
    int code = cmd_status(cli);
    fflush(stdout);
    for (int i = 0; i < 2; i++) {
        dup2(kept[i], i + 1);
        close(kept[i]);
    }
    read_back(files[0], out, sizeof(out));
    read_back(files[1], err_out, sizeof(err_out));
    return code;
}

Test(admin, command_shows_the_page_and_the_json)
{
    char url[128];
    snprintf(url, sizeof(url), "http://%s/", admin_address(admin));
    cr_assert_eq(command(&(struct cli){.admin_url = url}), CLI_DONE, "%s", err_out);
    cr_expect_eq(strncmp(out, "weir       delivering, ready  version ", 38), 0, "%s", out);
    cr_expect_not_null(strstr(out, directory));
    cr_assert_eq(command(&(struct cli){.admin_url = url, .json = true}), CLI_DONE, "%s", err_out);
    json_t *status = json_loads(out, 0, NULL);
    cr_expect(json_is_object(json_object_get(status, "weir")), "%s", out);
    json_decref(status);
    cr_expect_str_eq(err_out, "");
}

Test(admin, command_says_what_to_look_at_when_nobody_answers)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); // bound and not listening: refused for sure
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, len), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    char url[64];
    snprintf(url, sizeof(url), "http://127.0.0.1:%d", ntohs(address.sin_port));
    for (int watch = 0; watch < 2; watch++) {
        cr_assert_eq(command(&(struct cli){.admin_url = url, .watch = watch}), CLI_FAILED);
        cr_expect_str_eq(out, "");
        cr_expect_not_null(strstr(err_out, url), "%s", err_out);
        cr_expect_not_null(strstr(err_out, "is weir running"), "%s", err_out);
    }
    close(fd);
}

Test(admin, command_knows_a_port_that_is_not_weirs)
{
    char url[128];
    snprintf(url, sizeof(url), "http://%s/healthz", admin_address(admin)); // /healthz/v1/status: 404
    cr_assert_eq(command(&(struct cli){.admin_url = url}), CLI_FAILED);
    cr_expect_not_null(strstr(err_out, "answered HTTP 404; is this weir's admin port?"), "%s", err_out);
}

// --- start ------------------------------------------------------------------------------------------------------------

Test(admin, off)
{
    struct admin *none = admin;
    struct weir_err err = {0};
    config.admin.endpoint = (char[]){"off"};
    cr_assert_eq(admin_start(&relay, &none, &err), WEIR_OK);
    cr_assert_null(none);
    cr_assert_null(admin_address(none));
    admin_stop(none);
}

Test(admin, an_endpoint_in_use_is_named)
{
    char endpoint[64];
    snprintf(endpoint, sizeof(endpoint), "%s", admin_address(admin));
    config.admin.endpoint = endpoint;
    struct admin *second = NULL;
    struct weir_err err = {0};
    cr_assert_eq(admin_start(&relay, &second, &err), WEIR_E_IO);
    cr_assert_null(second);
    cr_assert_eq(strncmp(err.text, "admin.endpoint: listen on ", 26), 0, "%s", err.text);
    cr_assert_not_null(strstr(err.text, endpoint), "%s", err.text);
    cr_assert_not_null(strstr(err.text, "Address already in use"), "%s", err.text);
}

Test(admin, a_malformed_endpoint_is_named)
{
    config.admin.endpoint = (char[]){"127.0.0.1"};
    struct admin *second = NULL;
    struct weir_err err = {0};
    cr_assert_eq(admin_start(&relay, &second, &err), WEIR_E_INVALID);
    cr_assert_not_null(strstr(err.text, "127.0.0.1"), "%s", err.text);
}
