// SPDX-License-Identifier: Apache-2.0
// Who may change something: where from, with which token, from which page.
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <unistd.h>

#include "relay/admin_auth.h"
#include "relay/log.h"

static struct admin_auth auth;
static char path[256];

static void set_up(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(path, sizeof(path), "%s/weir-token-XXXXXX", base != NULL ? base : "/tmp");
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    close(fd);
    log_to_fd(open("/dev/null", O_WRONLY | O_CLOEXEC));
}

static void tear_down(void)
{
    admin_auth_close(&auth);
    unlink(path);
}

TestSuite(admin_auth, .init = set_up, .fini = tear_down);

static void write_token(const char *text)
{
    char temporary[300];
    snprintf(temporary, sizeof(temporary), "%s.new", path);
    FILE *file = fopen(temporary, "w");
    fputs(text, file);
    fclose(file);
    cr_assert_eq(rename(temporary, path), 0); // as secrets are rotated
}

static struct weir_slice slice(const char *text)
{
    return (struct weir_slice){(const uint8_t *)text, text != NULL ? strlen(text) : 0};
}

static enum admin_grant check(const char *peer, const char *authorization, const char *origin, const char *host)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    bool is_v4 = inet_pton(AF_INET, peer, &v4.sin_addr) == 1;
    cr_assert(is_v4 || inet_pton(AF_INET6, peer, &v6.sin6_addr) == 1, "%s", peer);
    const struct admin_claim claim = {.peer = is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6,
                                      .authorization = slice(authorization),
                                      .origin = slice(origin),
                                      .host = slice(host)};
    const char *why = NULL;
    enum admin_grant grant = admin_auth_check(&auth, &claim, &why);
    cr_assert(grant == ADMIN_GRANTED || why != NULL);
    return grant;
}

Test(admin_auth, without_a_token_this_machine_alone)
{
    static const struct {
        const char *peer;
        enum admin_grant grant;
    } rows[] = {
        {"127.0.0.1", ADMIN_GRANTED},
        {"127.9.8.7", ADMIN_GRANTED},
        {"::1", ADMIN_GRANTED},
        {"::ffff:127.0.0.1", ADMIN_GRANTED},
        {"10.0.0.1", ADMIN_NEVER},
        {"128.0.0.1", ADMIN_NEVER},
        {"::ffff:10.0.0.1", ADMIN_NEVER},
        {"fe80::1", ADMIN_NEVER},
        {"::", ADMIN_NEVER},
        {"0.0.0.0", ADMIN_NEVER},
        {"::127.0.0.1", ADMIN_NEVER},
    };
    struct weir_err err;
    cr_assert_eq(admin_auth_open(&auth, "", &err), WEIR_OK);
    for (size_t i = 0; i < WEIR_COUNT(rows); i++)
        cr_expect_eq(check(rows[i].peer, NULL, NULL, "127.0.0.1:9464"), rows[i].grant, "%s", rows[i].peer);
    cr_expect_eq(check("10.0.0.1", "Bearer anything", NULL, "127.0.0.1:9464"), ADMIN_NEVER);
}

Test(admin_auth, a_page_of_another_origin_never)
{
    static const struct {
        const char *origin, *host;
        enum admin_grant open, with_token;
    } rows[] = {
        {"http://127.0.0.1:9464", "127.0.0.1:9464", ADMIN_GRANTED, ADMIN_GRANTED},
        {"http://localhost:9464", "localhost:9464", ADMIN_GRANTED, ADMIN_GRANTED},
        {"http://[::1]:9464", "[::1]:9464", ADMIN_GRANTED, ADMIN_GRANTED},
        {"https://LOCALHOST", "localhost", ADMIN_GRANTED, ADMIN_GRANTED},
        {"http://evil.example", "127.0.0.1:9464", ADMIN_NEVER, ADMIN_NEVER},
        {"http://127.0.0.1:80", "127.0.0.1:9464", ADMIN_NEVER, ADMIN_NEVER},
        {"http://127.0.0.1:9464.evil.example", "127.0.0.1:9464", ADMIN_NEVER, ADMIN_NEVER},
        {"null", "127.0.0.1:9464", ADMIN_NEVER, ADMIN_NEVER},
        {"", "127.0.0.1:9464", ADMIN_NEVER, ADMIN_NEVER},
        {"file://127.0.0.1:9464", "127.0.0.1:9464", ADMIN_NEVER, ADMIN_NEVER},
        {"http://127.0.0.1:9464", NULL, ADMIN_NEVER, ADMIN_NEVER},
        // A name that somebody's name server turned into this machine. With a token, which such a page has not, names are allowed.
        {"http://evil.example:9464", "evil.example:9464", ADMIN_NEVER, ADMIN_GRANTED},
        {"https://127.0.0.1.evil.example", "127.0.0.1.evil.example", ADMIN_NEVER, ADMIN_GRANTED},
        {"http://[::1", "[::1", ADMIN_NEVER, ADMIN_GRANTED},
    };
    struct weir_err err;
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        cr_assert_eq(admin_auth_open(&auth, NULL, &err), WEIR_OK);
        cr_expect_eq(check("127.0.0.1", NULL, rows[i].origin, rows[i].host), rows[i].open, "%s", rows[i].origin);
        admin_auth_close(&auth);
        write_token("t");
        cr_assert_eq(admin_auth_open(&auth, path, &err), WEIR_OK);
        cr_expect_eq(check("127.0.0.1", "Bearer t", rows[i].origin, rows[i].host), rows[i].with_token, "%s",
                     rows[i].origin);
        admin_auth_close(&auth);
    }
}

Test(admin_auth, with_a_token_from_anywhere_but_never_without_it)
{
    static const struct {
        const char *authorization;
        enum admin_grant grant;
    } rows[] = {
        {"Bearer s3cret", ADMIN_GRANTED},
        {"bearer s3cret", ADMIN_GRANTED},
        {NULL, ADMIN_WHO},
        {"", ADMIN_WHO},
        {"Bearer ", ADMIN_WHO},
        {"Bearer", ADMIN_WHO},
        {"s3cret", ADMIN_WHO},
        {"Basic s3cret", ADMIN_WHO},
        {"Bearer s3cre", ADMIN_WHO},
        {"Bearer s3crets", ADMIN_WHO},
        {"Bearer S3cret", ADMIN_WHO},
        {"Bearer s3cret ", ADMIN_WHO},
        {"Bearer s3crets3cret", ADMIN_WHO},
    };
    struct weir_err err;
    write_token("s3cret \r\n\n");
    cr_assert_eq(admin_auth_open(&auth, path, &err), WEIR_OK, "%s", err.text);
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        cr_expect_eq(check("127.0.0.1", rows[i].authorization, NULL, "h"), rows[i].grant, "%s", rows[i].authorization);
        cr_expect_eq(check("10.1.2.3", rows[i].authorization, NULL, "h"), rows[i].grant, "%s", rows[i].authorization);
    }
}

Test(admin_auth, the_file_is_followed)
{
    struct weir_err err;
    write_token("first");
    cr_assert_eq(admin_auth_open(&auth, path, &err), WEIR_OK);
    cr_expect_eq(check("127.0.0.1", "Bearer first", NULL, "h"), ADMIN_GRANTED);
    write_token("other"); // as long as the first, perhaps in the same moment
    cr_expect_eq(check("127.0.0.1", "Bearer first", NULL, "h"), ADMIN_WHO);
    cr_expect_eq(check("127.0.0.1", "Bearer other", NULL, "h"), ADMIN_GRANTED);
    write_token("");
    cr_expect_eq(check("127.0.0.1", "Bearer ", NULL, "h"), ADMIN_WHO);
    cr_expect_eq(check("127.0.0.1", "Bearer other", NULL, "h"), ADMIN_GRANTED,
                 "a file that is no token changes nothing");
    unlink(path);
    cr_expect_eq(check("127.0.0.1", "Bearer other", NULL, "h"), ADMIN_GRANTED);
    write_token("third");
    cr_expect_eq(check("127.0.0.1", "Bearer third", NULL, "h"), ADMIN_GRANTED);
    cr_expect_eq(check("127.0.0.1", "Bearer other", NULL, "h"), ADMIN_WHO);
}

Test(admin_auth, files_that_hold_no_token)
{
    struct weir_err err;
    static char longer[TOKEN_BYTES_MAX + 2];
    memset(longer, 'x', TOKEN_BYTES_MAX + 1);
    static const struct {
        const char *text, *error;
    } rows[] = {
        {"", "is empty"},
        {"\n\n", "is empty"},
        {"two words", "one word"},
        {"\xc3\xa4", "printable"},
        {longer, "longer than 4096 bytes"},
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        write_token(rows[i].text);
        cr_expect_eq(admin_auth_open(&auth, path, &err), WEIR_E_INVALID);
        cr_expect(strstr(err.text, path) != NULL && strstr(err.text, rows[i].error) != NULL, "%s", err.text);
        cr_expect(rows[i].text[0] < 'a' || strstr(err.text, rows[i].text) == NULL, "the token is told: %s", err.text);
    }
    longer[TOKEN_BYTES_MAX] = '\0';
    write_token(longer);
    cr_expect_eq(admin_auth_open(&auth, path, &err), WEIR_OK);
    admin_auth_close(&auth);
    unlink(path);
    cr_expect_eq(admin_auth_open(&auth, path, &err), WEIR_E_IO);
    cr_expect_not_null(strstr(err.text, "No such file"), "%s", err.text);
    cr_expect_eq(admin_auth_open(&auth, "/", &err), WEIR_E_IO);
}
