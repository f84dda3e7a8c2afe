// SPDX-License-Identifier: Apache-2.0
// Changes by the admin port: which requests are one, who may send them, and what is told of those that are not understood.
#include "tests/unit/admin_rig.h"

TestSuite(admin_changes, .init = set_up, .fini = tear_down, .timeout = 60);

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

Test(admin_changes, a_change_is_a_post)
{
    ask("GET", "/v1/replay", "");
    cr_expect(has_header("\r\nallow: POST\r\n"), "%s", reply.head);
    expect_error(405, "use POST");
}

Test(admin_changes, what_is_no_question_is_told)
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
        {"{\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaä\":1}", 400,
         "unknown member 'a"}, // the quotation ends in the a-umlaut
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

Test(admin_changes, a_foreign_page_drives_nothing)
{
    static const char question[] = "{\"upstream\":\"a\",\"since\":\"-1h\"}";
    post("/v1/replay", "Origin: http://evil.example\r\n", question);
    expect_error(403, "another origin");
    post("/v1/replay", "Origin: http://127.0.0.1\r\n", question);
    expect_error(404, "unknown upstream");
}

Test(admin_changes, a_token_is_needed_when_there_is_one)
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
    expect_error(401, "needs the token of admin.token_file");
    post("/v1/replay", "Authorization: Bearer s3creT\r\n", question);
    expect_error(401, "not the token");
    post("/v1/replay", "Authorization: Bearer s3cret\r\n", question);
    expect_error(404, "unknown upstream");
    ask("GET", "/v1/status", "");
    cr_expect_eq(reply.status, 200, "only changes need it");
    cr_expect_null(strstr(reply.body, "s3cret"));
}
