// SPDX-License-Identifier: Apache-2.0
// Log lines in both formats, escaping, levels, the limit on repetitions, and threads that write at once.
#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "relay/log.h"

#define NOON UINT64_C(1795176000123456789) // 2026-11-20T12:00:00.123456789Z

static char *format(enum log_format format, enum log_level level, const char *message, const struct log_field *fields,
                    size_t count)
{
    struct weir_buf out = {0};
    cr_assert(log_format_line(&out, format, NOON, level, "some_event", message, fields, count));
    cr_assert(weir_buf_append(&out, "", 1));
    return (char *)out.data;
}

Test(log, text_line)
{
    struct weir_err err = {.text = "open /x: No such file"};
    const struct log_field fields[] = {
        LOG_STR("word", "a/b:c"), LOG_STR("words", "a b"),  LOG_STR("empty", ""),    LOG_STR("null", NULL),
        LOG_STR("equals", "a=b"), LOG_U64("u", UINT64_MAX), LOG_I64("i", INT64_MIN), LOG_F64("f", 0.25),
        LOG_F64("nan", NAN),      LOG_BOOL("yes", true),    LOG_ERR(&err),           LOG_ERRNO(2)};
    char *line = format(LOG_TEXT, LOG_INFO, "it happened", fields, WEIR_COUNT(fields));
    cr_assert_str_eq(
        line,
        "2026-11-20T12:00:00.123Z INFO  it happened event=some_event word=a/b:c words=\"a b\" empty=\"\" null=\"\" "
        "equals=\"a=b\" u=18446744073709551615 i=-9223372036854775808 f=0.25 nan=null yes=true "
        "error=\"open /x: No such file\" error=\"No such file or directory\"");
    free(line);
    static const char *const levels[] = {"DEBUG", "INFO ", "WARN ", "ERROR"};
    for (int i = 0; i < 4; i++) {
        line = format(LOG_TEXT, (enum log_level)i, "m", NULL, 0);
        cr_assert_eq(strncmp(line + 25, levels[i], 5), 0, "%s", line);
        free(line);
    }
}

Test(log, json_line_is_json)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    const struct log_field fields[] = {LOG_STR("s", "a \"b\"\\\n\t\x01 \xc3\xa4 \xff."), LOG_U64("u", 7),
                                       LOG_F64("inf", INFINITY), LOG_BOOL("b", false)};
    for (int i = 0; i < 4; i++) {
        char *line = format(LOG_JSON, (enum log_level)i, "it \"happened\"", fields, WEIR_COUNT(fields));
        json_error_t error;
        json_t *json = json_loads(line, 0, &error);
        cr_assert_neq(json, NULL, "%s: %s", line, error.text);
        cr_assert_str_eq(json_string_value(json_object_get(json, "time")), "2026-11-20T12:00:00.123Z");
        cr_assert_str_eq(json_string_value(json_object_get(json, "level")), levels[i]);
        cr_assert_str_eq(json_string_value(json_object_get(json, "event")), "some_event");
        cr_assert_str_eq(json_string_value(json_object_get(json, "message")), "it \"happened\"");
        cr_assert_str_eq(json_string_value(json_object_get(json, "s")), "a \"b\"\\\n\t\x01 \xc3\xa4 \xef\xbf\xbd.");
        cr_assert_eq(json_integer_value(json_object_get(json, "u")), 7);
        cr_assert(json_is_null(json_object_get(json, "inf")));
        cr_assert(json_is_false(json_object_get(json, "b")));
        json_decref(json);
        free(line);
    }
}

// What came from a peer cannot begin a line, look like a field, or drive a terminal.
Test(log, values_cannot_forge_lines)
{
    static const struct {
        const char *value, *shown;
    } rows[] = {
        {"a\n2026 ERROR forged", "\"a\\n2026 ERROR forged\""},
        {"a\r\x1b[31m", "\"a\\u000d\\u001b[31m\""},
        {"\xc2\x9b"
         "31m",
         "\"\\u009b31m\""}, // a control sequence of one character
        {"x\" level=\"y", "\"x\\\" level=\\\"y\""},
        {"\xed\xa0\x80|\xc0\xaf|\xf5|\xe2\x82",
         "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd|\xef\xbf\xbd\xef\xbf\xbd|\xef\xbf\xbd|\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\x7f", "\"\\u007f\""},
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        const struct log_field field = LOG_STR("k", rows[i].value);
        char *line = format(LOG_TEXT, LOG_INFO, "m", &field, 1);
        const char *shown = strstr(line, " k=") + 3;
        cr_assert_str_eq(shown, rows[i].shown, "%zu: %s", i, shown);
        free(line);
    }
    char *line = format(LOG_TEXT, LOG_INFO, "a\nb", NULL, 0);
    cr_assert(strchr(line, '\n') == NULL);
    free(line);
}

Test(log, long_values_are_cut_and_counted)
{
    char value[3001];
    memset(value, 'a', 3000);
    value[3000] = '\0';
    memcpy(value + 1022, "\xe2\x82\xac", 3); // the cut would go through this character
    const struct log_field field = LOG_STR("k", value);
    char *line = format(LOG_TEXT, LOG_INFO, "m", &field, 1);
    cr_assert(strstr(line, "aa... (1978 bytes more)\"") != NULL, "%s", line + 1000);
    free(line);
}

Test(log, limit_passes_one_an_interval_and_counts_the_rest)
{
    struct log_limit limit = LOG_LIMIT(10);
    uint64_t repeated = 99, start = 1000000000;
    cr_assert(log_limit_pass(&limit, start, &repeated));
    cr_assert_eq(repeated, 0);
    for (int i = 0; i < 37; i++)
        cr_assert_not(log_limit_pass(&limit, start + 9999999, &repeated));
    cr_assert(log_limit_pass(&limit, start + 10000000, &repeated));
    cr_assert_eq(repeated, 37);
    cr_assert(log_limit_pass(&limit, start + 20000000, &repeated));
    cr_assert_eq(repeated, 0);
}

// Everything that was written to the pipe so far.
static size_t drain(int fd, char *out, size_t size)
{
    size_t len = 0;
    ssize_t n;
    while (len < size - 1 && (n = read(fd, out + len, size - 1 - len)) > 0)
        len += (size_t)n;
    out[len] = '\0';
    return len;
}

Test(log, levels_and_repetitions)
{
    static struct log_limit limit = LOG_LIMIT(3600000);
    int fds[2];
    char text[4096];
    cr_assert_eq(pipe(fds), 0);
    log_to_fd(fds[1]);
    log_configure(LOG_WARN, LOG_TEXT);
    cr_assert_not(log_wanted(LOG_INFO));
    cr_assert(log_wanted(LOG_ERROR));
    log_event(LOG_INFO, "unwanted", "unwanted");
    log_event(LOG_WARN, "wanted", "wanted", LOG_U64("n", 1));
    log_event_limited(&limit, LOG_ERROR, "often", "often");
    log_event_limited(&limit, LOG_ERROR, "often", "often");
    atomic_store(&limit.next_ns, 0);
    log_event_limited(&limit, LOG_ERROR, "often", "often", LOG_STR("k", "v"));
    log_configure(LOG_DEBUG, LOG_JSON);
    log_event(LOG_DEBUG, "last", "last");
    close(fds[1]);
    drain(fds[0], text, sizeof(text));
    close(fds[0]);
    log_to_fd(2);
    static const char *const ends[] = {" WARN  wanted event=wanted n=1", " ERROR often event=often",
                                       " ERROR often event=often k=v repeated=1",
                                       ",\"level\":\"debug\",\"event\":\"last\",\"message\":\"last\"}"};
    char *rest = text, *line;
    for (size_t i = 0; i < WEIR_COUNT(ends); i++) {
        line = strsep(&rest, "\n");
        cr_assert(rest != NULL && strlen(line) > strlen(ends[i]), "line %zu is missing", i);
        cr_assert_str_eq(line + strlen(line) - strlen(ends[i]), ends[i]);
    }
    cr_assert_str_eq(rest, "");
}

#define THREADS 4
#define LINES   500
static void *log_lines(void *arg)
{
    static struct log_limit limit = LOG_LIMIT(3600000); // shared: its counts must add up over threads
    for (int i = 0; i < LINES; i++) {
        log_event(LOG_INFO, "line", "line", LOG_U64("thread", (uint64_t)(uintptr_t)arg), LOG_U64("i", (uint64_t)i));
        log_event_limited(&limit, LOG_INFO, "once", "once");
    }
    return &limit;
}

Test(log, lines_of_threads_do_not_mix)
{
    FILE *file = tmpfile();
    pthread_t threads[THREADS];
    void *limit = NULL;
    cr_assert_neq(file, NULL);
    log_to_fd(fileno(file));
    for (uintptr_t i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, log_lines, (void *)i), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], &limit);
    log_to_fd(2);
    rewind(file);
    char line[256];
    int next[THREADS] = {0}, once = 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        unsigned thread;
        int i;
        if (strcmp(line + 24, " INFO  once event=once\n") == 0)
            once++;
        else {
            cr_assert_eq(sscanf(line + 24, " INFO  line event=line thread=%u i=%d", &thread, &i), 2, "%s", line);
            cr_assert_lt(thread, THREADS);
            cr_assert_eq(next[thread]++, i);
        }
    }
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(next[i], LINES);
    cr_assert_eq(once, 1);
    cr_assert_eq(atomic_load(&((struct log_limit *)limit)->suppressed), THREADS * LINES - 1);
    fclose(file);
}
