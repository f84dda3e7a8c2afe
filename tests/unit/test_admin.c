// SPDX-License-Identifier: Apache-2.0
// The admin server on real sockets, over a relay with a real spool, one running ingest loop and no upstream.
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <ftw.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/admin.h"
#include "relay/cli.h"

#define ADMIN_CONNECTIONS 64

static struct relay relay; // large
static struct config config;
static struct admin *admin;
static pthread_t loop_thread;
static char directory[4096];

static void *run_loop(void *loop)
{
    loop_run(loop);
    return NULL;
}

static void set_up(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(directory, sizeof(directory), "%s/weir-test-admin-XXXXXX", base != NULL ? base : "/tmp");
    cr_assert_not_null(mkdtemp(directory));
    config.spool.directory = directory;
    static char endpoint[] = "127.0.0.1:0"; // a test may start again with it
    config.admin.endpoint = endpoint;
    relay.config = &config;
    snprintf(relay.instance, sizeof(relay.instance), "0b2c3d4e-0000-4000-8000-000000000001");
    relay.started_unix_ns = weir_now_unix_ns();
    relay.started_ns = weir_now_ns();
    relay.budget.max_bytes = 1 << 20;
    struct weir_err err = {0};
    struct spool_options spool = {
        .directory = directory, .max_bytes = 64u << 20, .segment_bytes = 1u << 20, .holder = "test"};
    struct spool_report report;
    cr_assert_eq(spool_open(&spool, &relay.spool, &report, &err), WEIR_OK, "%s", err.text);
    static struct loop *loop;
    static struct ingest *ingest;
    cr_assert_eq(loop_new(&loop, &err), WEIR_OK, "%s", err.text);
    struct ingest_options options = {.loop = loop,
                                     .spool = relay.spool,
                                     .budget = &relay.budget,
                                     .max_request_bytes = 1 << 20,
                                     .refusing = &relay.refusing};
    ingest = ingest_new(&options);
    cr_assert_not_null(ingest);
    relay.loops = &loop;
    relay.ingests = &ingest;
    relay.workers = 1;
    cr_assert_eq(pthread_create(&loop_thread, NULL, run_loop, loop), 0);
    cr_assert_eq(admin_start(&relay, &admin, &err), WEIR_OK, "%s", err.text);
}

static int remove_entry(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
    return remove(path);
}

static void tear_down(void)
{
    admin_stop(admin);
    loop_stop(relay.loops[0]);
    pthread_join(loop_thread, NULL);
    spool_close(relay.spool);
    ingest_free(relay.ingests[0]);
    loop_free(relay.loops[0]);
    nftw(directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

TestSuite(admin, .init = set_up, .fini = tear_down, .timeout = 60);

// --- a small client ---------------------------------------------------------------------------------------------------

static int dial(void)
{
    const char *address = admin_address(admin);
    cr_assert_eq(strncmp(address, "127.0.0.1:", 10), 0, "%s", address);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(address + 10))};
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

struct reply {
    int status; // 0: closed without an answer
    char head[2048];
    char body[262144];
    size_t body_len;
};
static struct reply reply; // of the last hear()

// Reads one answer and no byte further. `bodiless`: to a HEAD, whose Content-Length announces what is not sent.
static void hear(int fd, bool bodiless)
{
    memset(&reply, 0, sizeof(reply));
    size_t len = 0;
    while (strstr(reply.head, "\r\n\r\n") == NULL) {
        cr_assert_lt(len, sizeof(reply.head) - 1);
        if (recv(fd, reply.head + len, 1, 0) != 1)
            return;
        len++;
    }
    cr_assert_eq(sscanf(reply.head, "HTTP/1.%*d %d ", &reply.status), 1, "%s", reply.head);
    const char *length = strcasestr(reply.head, "\r\ncontent-length:");
    cr_assert_not_null(length, "%s", reply.head);
    reply.body_len = bodiless ? 0 : strtoul(length + 17, NULL, 10);
    cr_assert_lt(reply.body_len, sizeof(reply.body));
    if (reply.body_len > 0)
        cr_assert_eq(recv(fd, reply.body, reply.body_len, MSG_WAITALL), (ssize_t)reply.body_len);
}

static void ask_on(int fd, const char *method, const char *path, const char *headers)
{
    char request[1024];
    snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\nHost: weir\r\n%s\r\n", method, path, headers);
    say(fd, request);
    hear(fd, strcmp(method, "HEAD") == 0);
}

static void ask(const char *method, const char *path, const char *headers)
{
    int fd = dial();
    ask_on(fd, method, path, headers);
    close(fd);
}

static bool has_header(const char *line)
{
    return strcasestr(reply.head, line) != NULL;
}

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

// --- changes ----------------------------------------------------------------------------------------------------------

static void post(const char *path, const char *headers, const char *body)
{
    char request[2048];
    int fd = dial();
    snprintf(request, sizeof(request), "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%sContent-Length: %zu\r\n\r\n%s", path,
             headers, strlen(body), body);
    say(fd, request);
    hear(fd, false);
    close(fd);
}

static void expect_error(int status, const char *part)
{
    cr_expect_eq(reply.status, status, "%d: %s", reply.status, reply.body);
    json_t *answer = json_loads(reply.body, 0, NULL);
    const char *error = json_string_value(json_object_get(answer, "error"));
    cr_expect(error != NULL && strstr(error, part) != NULL, "'%s' is not in %s", part, reply.body);
    json_decref(answer);
}

Test(admin, a_change_is_a_post)
{
    ask("GET", "/v1/replay", "");
    cr_expect(has_header("\r\nallow: POST\r\n"), "%s", reply.head);
    expect_error(405, "use POST");
}

Test(admin, what_is_no_question_is_told)
{
    static const struct {
        const char *body;
        int status;
        const char *error;
    } rows[] = {
        {"", 400, "the body must be a JSON object"},
        {"[]", 400, "the body must be a JSON object"},
        {"{\"upstream\":\"a\",\"upstream\":\"b\"}", 400, "duplicate"},
        {"{\"upstraem\":\"a\"}", 400, "unknown member 'upstraem'"},
        {"{\"upstream\":1}", 400, "'upstream' must be a string"},
        {"{\"dry_run\":\"yes\"}", 400, "'dry_run' must be true or false"},
        {"{\"first\":\"1\"}", 400, "'first' must be a number"},
        {"{\"since\":\"-1h\"}", 400, "'upstream' is missing"},
        {"{\"upstream\":\"a\",\"since\":\"-1h\"}", 404, "unknown upstream 'a'"},
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        post("/v1/replay", "", rows[i].body);
        expect_error(rows[i].status, rows[i].error);
    }
}

Test(admin, a_foreign_page_drives_nothing)
{
    static const char question[] = "{\"upstream\":\"a\",\"since\":\"-1h\"}";
    post("/v1/replay", "Origin: http://evil.example\r\n", question);
    expect_error(403, "another origin");
    post("/v1/replay", "Origin: http://127.0.0.1\r\n", question);
    expect_error(404, "unknown upstream");
}

Test(admin, a_token_is_needed_when_there_is_one)
{
    static const char question[] = "{\"upstream\":\"a\",\"since\":\"-1h\"}";
    char path[4200];
    struct weir_err err;
    snprintf(path, sizeof(path), "%s/token", directory);
    config.admin.token_file = path;
    admin_stop(admin);
    cr_assert_eq(admin_start(&relay, &admin, &err), WEIR_E_IO);
    cr_expect(strstr(err.text, "admin.token_file: ") == err.text && strstr(err.text, path) != NULL, "%s", err.text);
    FILE *file = fopen(path, "w");
    fputs("s3cret\n", file);
    fclose(file);
    cr_assert_eq(admin_start(&relay, &admin, &err), WEIR_OK, "%s", err.text);
    post("/v1/replay", "", question);
    cr_expect(has_header("\r\nwww-authenticate: Bearer\r\n"), "%s", reply.head);
    expect_error(401, "need the token of admin.token_file");
    post("/v1/replay", "Authorization: Bearer s3creT\r\n", question);
    expect_error(401, "not the token");
    post("/v1/replay", "Authorization: Bearer s3cret\r\n", question);
    expect_error(404, "unknown upstream");
    ask("GET", "/v1/status", "");
    cr_expect_eq(reply.status, 200, "only changes need it");
    cr_expect_null(strstr(reply.body, "s3cret"));
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

Test(admin, connections_past_the_limit_wait_for_a_place)
{
    int fds[ADMIN_CONNECTIONS];
    for (size_t i = 0; i < ADMIN_CONNECTIONS; i++) {
        fds[i] = dial();
        ask_on(fds[i], "GET", "/healthz", "");
        cr_assert_eq(reply.status, 200);
    }
    int waiting = dial(); // in the kernel's backlog
    say(waiting, "GET /readyz HTTP/1.1\r\nHost: weir\r\n\r\n");
    for (int turn = 0; turn < 3; turn++) // each answer is a turn of the loop in which it could have been accepted
        ask_on(fds[1], "GET", "/healthz", "");
    struct pollfd readable = {.fd = waiting, .events = POLLIN};
    cr_assert_eq(poll(&readable, 1, 0), 0, "it was served past the limit");
    close(fds[0]);
    hear(waiting, false);
    cr_assert_eq(reply.status, 200);
    close(waiting);
    for (size_t i = 1; i < ADMIN_CONNECTIONS; i++)
        close(fds[i]);
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
