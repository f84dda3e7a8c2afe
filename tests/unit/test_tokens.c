// SPDX-License-Identifier: Apache-2.0
// Token files: who is let in while tokens are rotated, and that no token is ever told.
#include <criterion/criterion.h>
#include <stdio.h>
#include <unistd.h>

#include "relay/log.h"
#include "relay/tokens.h"

static char path[256];
static int log_fd;

static void set_up(void)
{
    const char *base = getenv("TMPDIR");
    char log[256];
    snprintf(log, sizeof(log), "%s/weir-log-XXXXXX", base != NULL ? base : "/tmp");
    snprintf(path, sizeof(path), "%s/weir-token-XXXXXX", base != NULL ? base : "/tmp");
    close(mkstemp(path));
    log_fd = mkstemp(log);
    unlink(log);
    log_to_fd(log_fd);
}

static void tear_down(void)
{
    unlink(path);
    close(log_fd);
}

TestSuite(tokens, .init = set_up, .fini = tear_down);

static void write_file(const char *text)
{
    char temporary[300];
    snprintf(temporary, sizeof(temporary), "%s.new", path);
    FILE *file = fopen(temporary, "w");
    fputs(text, file);
    fclose(file);
    cr_assert_eq(rename(temporary, path), 0);
}

static struct tokens *opened(const char *text)
{
    struct tokens *tokens;
    struct weir_err err = {0};
    write_file(text);
    cr_assert_eq(tokens_open("some.token_file", path, &tokens, &err), WEIR_OK, "%s", err.text);
    return tokens;
}

static bool admits(struct tokens *tokens, const char *authorization)
{
    return tokens_admit(tokens, (struct weir_slice){(const uint8_t *)authorization, strlen(authorization)});
}

// How many lines the log has, and that none holds a token.
static int log_lines(void)
{
    static char text[65536];
    ssize_t n = pread(log_fd, text, sizeof(text) - 1, 0);
    int lines = 0;
    text[n > 0 ? n : 0] = '\0';
    cr_expect_null(strstr(text, "secret"), "%s", text);
    for (const char *c = text; *c != '\0'; c++)
        lines += *c == '\n';
    return lines;
}

Test(tokens, each_line_is_one)
{
    struct tokens *tokens = opened("secret-1\n\n  secret-2 \r\nsecret-3");
    cr_expect(admits(tokens, "Bearer secret-1") && admits(tokens, "bearer  secret-2") &&
              admits(tokens, "BEARER secret-3"));
    static const char *const wrong[] = {"",
                                        "Bearer",
                                        "Bearer ",
                                        "Bearer secret",
                                        "Bearer secret-1\n",
                                        "Bearer secret-4",
                                        "secret-1",
                                        "Basic secret-1",
                                        "Bearer secret-1secret-2",
                                        "Bearersecret-1"};
    for (size_t i = 0; i < WEIR_COUNT(wrong); i++)
        cr_expect_not(admits(tokens, wrong[i]), "%s", wrong[i]);
    tokens_close(tokens);
    char one[TOKEN_BYTES_MAX + 1];
    struct weir_err err = {0};
    cr_expect_eq(token_read(path, one, &err), WEIR_OK);
    cr_expect_str_eq(one, "secret-1", "the first is the one to show");
}

Test(tokens, are_rotated)
{
    struct tokens *tokens = opened("secret-1");
    write_file("secret-1\nsecret-2\n");
    tokens_look(tokens);
    cr_expect(admits(tokens, "Bearer secret-1") && admits(tokens, "Bearer secret-2"));
    write_file("secret-2\n");
    tokens_look(tokens);
    cr_expect(!admits(tokens, "Bearer secret-1") && admits(tokens, "Bearer secret-2"));
    cr_expect_eq(log_lines(), 2);
    tokens_look(tokens);
    cr_expect_eq(log_lines(), 2, "nothing new, nothing told");
    tokens_close(tokens);
}

// Never open to everybody, and never closed to those who were let in.
Test(tokens, a_bad_file_changes_nothing_and_is_told_once)
{
    static const char *const bad[] = {"", " \n", "secret one", "secret-\x01", NULL};
    struct tokens *tokens = opened("secret-1");
    int lines = 0;
    for (size_t i = 0; i < WEIR_COUNT(bad); i++) {
        char error[256];
        if (bad[i] != NULL)
            write_file(bad[i]);
        else
            unlink(path);
        tokens_look(tokens);
        tokens_look(tokens);
        cr_expect(admits(tokens, "Bearer secret-1") && !admits(tokens, "Bearer ") && !admits(tokens, "Bearer one"));
        tokens_error(tokens, error, sizeof(error));
        cr_expect_neq(error[0], '\0');
        cr_expect_null(strstr(error, "secret"), "%s", error);
        lines += i != 1 && i != 3; // in the same words as the one before
        cr_expect_eq(log_lines(), lines, "case %zu: %d", i, log_lines());
    }
    write_file("secret-1");
    tokens_look(tokens);
    cr_expect_eq(log_lines(), lines + 1, "well again");
    tokens_close(tokens);
}

Test(tokens, are_limited)
{
    static char text[TOKENS_MAX * 16 + 32], longer[TOKEN_BYTES_MAX + 2];
    struct weir_err err = {0};
    struct tokens *tokens;
    for (int i = 0; i < TOKENS_MAX; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "secret-%d\n", i);
    tokens = opened(text);
    cr_expect(admits(tokens, "Bearer secret-63"));
    tokens_close(tokens);
    snprintf(text + strlen(text), sizeof(text) - strlen(text), "secret-64\n");
    write_file(text);
    cr_expect_eq(tokens_open("s", path, &tokens, &err), WEIR_E_INVALID);
    cr_expect_null(tokens);
    memset(longer, 'x', TOKEN_BYTES_MAX + 1);
    write_file(longer);
    cr_expect_eq(tokens_open("s", path, &tokens, &err), WEIR_E_INVALID);
    cr_expect_eq(tokens_open("s", "/dev/zero", &tokens, &err), WEIR_E_INVALID);
    cr_expect_eq(tokens_open("s", "/", &tokens, &err), WEIR_E_IO);
}
