// SPDX-License-Identifier: Apache-2.0
// The part of Criterion that our unit tests use, for SANITIZE=thread alone: Criterion shares memory with its tests at a fixed address
// (0x600000000000 and above) at which ThreadSanitizer keeps its own, and ends before the first test ("Could not initialize inheritable
// arena"). Here, too, each test is a process of its own; one whose threads race ends with ThreadSanitizer's exit code, and failed.
#ifndef WEIR_TSAN_CRITERION_H
#define WEIR_TSAN_CRITERION_H

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct cr_options {
    void (*init)(void);
    void (*fini)(void);
    double timeout; // seconds
    int exit_code, signal;
    bool disabled;
    const char *description;
};
struct cr_test {
    const char *suite, *name;
    void (*run)(void);
    struct cr_options options;
    struct cr_test *next;
};

static struct cr_test *cr_tests, **cr_last = &cr_tests;
static struct cr_test *cr_suites; // run == NULL
static _Atomic int cr_failures;   // of the test that this process runs

#define Test(suite_, name_, ...)                                                                                       \
    static void suite_##_##name_##_run(void);                                                                          \
    __attribute__((constructor)) static void suite_##_##name_##_add(void)                                              \
    {                                                                                                                  \
        static struct cr_test test = {#suite_, #name_, suite_##_##name_##_run, {__VA_ARGS__}, NULL};                   \
        *cr_last = &test;                                                                                              \
        cr_last = &test.next;                                                                                          \
    }                                                                                                                  \
    static void suite_##_##name_##_run(void)
#define TestSuite(suite_, ...)                                                                                         \
    __attribute__((constructor)) static void suite_##_suite_add(void)                                                  \
    {                                                                                                                  \
        static struct cr_test suite = {#suite_, "", NULL, {__VA_ARGS__}, NULL};                                        \
        suite.next = cr_suites;                                                                                        \
        cr_suites = &suite;                                                                                            \
    }                                                                                                                  \
    struct cr_test

// The message is the optional format and its arguments behind the condition.
#define cr_check_(fatal, condition, text, ...)                                                                         \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s:", __FILE__, __LINE__, text);                                                   \
            fprintf(stderr, " " __VA_ARGS__);                                                                          \
            fputc('\n', stderr);                                                                                       \
            cr_failures++;                                                                                             \
            if (fatal)                                                                                                 \
                _exit(1);                                                                                              \
        }                                                                                                              \
    } while (0)
#define cr_assert(c, ...)                 cr_check_(1, c, #c, ##__VA_ARGS__)
#define cr_expect(c, ...)                 cr_check_(0, c, #c, ##__VA_ARGS__)
#define cr_assert_not(c, ...)             cr_check_(1, !(c), "not " #c, ##__VA_ARGS__)
#define cr_expect_not(c, ...)             cr_check_(0, !(c), "not " #c, ##__VA_ARGS__)
#define cr_assert_eq(a, b, ...)           cr_check_(1, (a) == (b), #a " == " #b, ##__VA_ARGS__)
#define cr_expect_eq(a, b, ...)           cr_check_(0, (a) == (b), #a " == " #b, ##__VA_ARGS__)
#define cr_assert_neq(a, b, ...)          cr_check_(1, (a) != (b), #a " != " #b, ##__VA_ARGS__)
#define cr_expect_neq(a, b, ...)          cr_check_(0, (a) != (b), #a " != " #b, ##__VA_ARGS__)
#define cr_assert_lt(a, b, ...)           cr_check_(1, (a) < (b), #a " < " #b, ##__VA_ARGS__)
#define cr_expect_lt(a, b, ...)           cr_check_(0, (a) < (b), #a " < " #b, ##__VA_ARGS__)
#define cr_assert_leq(a, b, ...)          cr_check_(1, (a) <= (b), #a " <= " #b, ##__VA_ARGS__)
#define cr_expect_leq(a, b, ...)          cr_check_(0, (a) <= (b), #a " <= " #b, ##__VA_ARGS__)
#define cr_assert_gt(a, b, ...)           cr_check_(1, (a) > (b), #a " > " #b, ##__VA_ARGS__)
#define cr_expect_gt(a, b, ...)           cr_check_(0, (a) > (b), #a " > " #b, ##__VA_ARGS__)
#define cr_assert_geq(a, b, ...)          cr_check_(1, (a) >= (b), #a " >= " #b, ##__VA_ARGS__)
#define cr_expect_geq(a, b, ...)          cr_check_(0, (a) >= (b), #a " >= " #b, ##__VA_ARGS__)
#define cr_assert_null(a, ...)            cr_check_(1, (a) == NULL, #a " is NULL", ##__VA_ARGS__)
#define cr_expect_null(a, ...)            cr_check_(0, (a) == NULL, #a " is NULL", ##__VA_ARGS__)
#define cr_assert_not_null(a, ...)        cr_check_(1, (a) != NULL, #a " is not NULL", ##__VA_ARGS__)
#define cr_expect_not_null(a, ...)        cr_check_(0, (a) != NULL, #a " is not NULL", ##__VA_ARGS__)
#define cr_assert_str_eq(a, b, ...)       cr_check_(1, strcmp(a, b) == 0, #a " is " #b, ##__VA_ARGS__)
#define cr_expect_str_eq(a, b, ...)       cr_check_(0, strcmp(a, b) == 0, #a " is " #b, ##__VA_ARGS__)
#define cr_assert_str_neq(a, b, ...)      cr_check_(1, strcmp(a, b) != 0, #a " is not " #b, ##__VA_ARGS__)
#define cr_expect_str_neq(a, b, ...)      cr_check_(0, strcmp(a, b) != 0, #a " is not " #b, ##__VA_ARGS__)
#define cr_assert_arr_eq(a, b, size, ...) cr_check_(1, memcmp(a, b, size) == 0, #a " is " #b, ##__VA_ARGS__)
#define cr_expect_arr_eq(a, b, size, ...) cr_check_(0, memcmp(a, b, size) == 0, #a " is " #b, ##__VA_ARGS__)
#define cr_assert_float_eq(a, b, epsilon, ...)                                                                         \
    cr_check_(1, fabs((a) - (b)) <= (epsilon), #a " is about " #b, ##__VA_ARGS__)
#define cr_expect_float_eq(a, b, epsilon, ...)                                                                         \
    cr_check_(0, fabs((a) - (b)) <= (epsilon), #a " is about " #b, ##__VA_ARGS__)
#define cr_assert_fail(...) cr_check_(1, 0, "fails", ##__VA_ARGS__)

static inline void cr_run_here(const struct cr_test *test, const struct cr_options *suite)
{
    double timeout = test->options.timeout > 0 ? test->options.timeout : suite->timeout;
    alarm(timeout > 0 ? (unsigned)timeout * 5 : 600); // ThreadSanitizer slows down by so much
    if (suite->init != NULL)
        suite->init();
    if (test->options.init != NULL)
        test->options.init();
    test->run();
    if (test->options.fini != NULL)
        test->options.fini();
    if (suite->fini != NULL)
        suite->fini();
    exit(cr_failures != 0);
}

int main(void)
{
    int tested = 0, failing = 0, crashing = 0;
    for (const struct cr_test *test = cr_tests; test != NULL; test = test->next) {
        struct cr_options none = {0};
        const struct cr_options *suite = &none;
        int status = 0;
        for (const struct cr_test *s = cr_suites; s != NULL; s = s->next)
            if (strcmp(s->suite, test->suite) == 0)
                suite = &s->options;
        if (test->options.disabled || suite->disabled)
            continue;
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0)
            cr_run_here(test, suite);
        if (pid < 0 || waitpid(pid, &status, 0) != pid)
            return 2;
        bool crashed = WIFSIGNALED(status) && WTERMSIG(status) != test->options.signal;
        bool failed =
            WIFSIGNALED(status) ? crashed : test->options.signal != 0 || WEXITSTATUS(status) != test->options.exit_code;
        tested++;
        failing += failed && !crashed;
        crashing += crashed;
        if (failed)
            fprintf(stderr, "[FAIL] %s::%s (%s %d)\n", test->suite, test->name,
                    WIFSIGNALED(status) ? "signal" : "exit code",
                    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
    fprintf(stderr, "[====] Synthesis: Tested: %d | Passing: %d | Failing: %d | Crashing: %d\n", tested,
            tested - failing - crashing, failing, crashing);
    return failing + crashing > 0 || tested == 0;
}

#endif
