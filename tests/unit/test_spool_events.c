// SPDX-License-Identifier: Apache-2.0
// What was evicted and damaged, as lines of the log: each item once, equal ones in one line, and never many lines.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "relay/log.h"
#include "relay/spool_events.h"

#define SECOND 1000000000ull
#define NOON   1795176000000000000ull // 2026-11-20T12:00:00Z

static struct spool_events *events;
static int log_fd;
static json_t *lines[512];
static size_t line_count;

static void set_up(void)
{
    events = spool_events_new();
    log_fd = memfd_create("log", MFD_CLOEXEC);
    log_configure(LOG_INFO, LOG_JSON);
    log_to_fd(log_fd);
}

static void tear_down(void)
{
    for (size_t i = 0; i < line_count; i++)
        json_decref(lines[i]);
    spool_events_free(events);
    close(log_fd);
}

TestSuite(spool_events, .init = set_up, .fini = tear_down);

static void evict(const char *upstream, enum weir_signal signal, enum spool_loss loss, uint64_t items, uint64_t first)
{
    const struct spool_event event = {.kind = SPOOL_EVENT_EVICTED,
                                      .first = first,
                                      .end = first + 10,
                                      .upstream = upstream,
                                      .signal = signal,
                                      .loss = loss,
                                      .items = items,
                                      .received_first_ns = NOON + first * SECOND,
                                      .received_last_ns = NOON + (first + 10) * SECOND};
    spool_events_take(events, &event);
}

// Logs what is due and reads all lines there are.
static void tell(uint64_t now_ns, bool all)
{
    static off_t read_to;
    spool_events_tell(events, now_ns, all);
    FILE *log = fdopen(dup(log_fd), "r");
    char line[2048];
    fseek(log, line_count == 0 ? 0 : read_to, SEEK_SET);
    while (fgets(line, sizeof(line), log) != NULL) {
        cr_assert_lt(line_count, WEIR_COUNT(lines));
        lines[line_count] = json_loads(line, 0, NULL);
        cr_assert_not_null(lines[line_count], "%s", line);
        line_count++;
    }
    read_to = ftello(log);
    fclose(log);
    lseek(log_fd, 0, SEEK_END);
}

static const char *text(size_t line, const char *key)
{
    const char *value = json_string_value(json_object_get(lines[line], key));
    cr_assert_not_null(value, "line %zu: %s", line, key);
    return value;
}

static json_int_t number(size_t line, const char *key)
{
    json_t *value = json_object_get(lines[line], key);
    cr_assert(json_is_integer(value), "line %zu: %s", line, key);
    return json_integer_value(value);
}

Test(spool_events, equal_lanes_and_reasons_are_one_line)
{
    evict("a", WEIR_LOGS, SPOOL_LOSS_FULL, 5, 20);
    evict("a", WEIR_LOGS, SPOOL_LOSS_FULL, 7, 10);
    evict("a", WEIR_TRACES, SPOOL_LOSS_FULL, 1, 10);
    evict("a", WEIR_LOGS, SPOOL_LOSS_AGE, 2, 10);
    evict("b", WEIR_LOGS, SPOOL_LOSS_DAMAGE, 3, 10);
    tell(SECOND, false);
    cr_assert_eq(line_count, 4);
    cr_expect_str_eq(text(0, "event"), "spool_evicted");
    cr_expect_str_eq(text(0, "level"), "warn");
    cr_expect_str_eq(text(0, "upstream"), "a");
    cr_expect_str_eq(text(0, "signal"), "logs");
    cr_expect_str_eq(text(0, "reason"), "full");
    cr_expect_eq(number(0, "items"), 12);
    cr_expect_eq(number(0, "first_block"), 10);
    cr_expect_eq(number(0, "end_block"), 30);
    cr_expect_str_eq(text(0, "received_first"), "2026-11-20T12:00:10.000Z");
    cr_expect_str_eq(text(0, "received_last"), "2026-11-20T12:00:30.000Z");
    cr_expect_str_eq(text(1, "signal"), "traces");
    cr_expect_str_eq(text(2, "reason"), "age");
    cr_expect_str_eq(text(3, "upstream"), "b");
    cr_expect_str_eq(text(3, "reason"), "damage");
    cr_expect_str_eq(text(3, "level"), "error");
}

Test(spool_events, a_day_of_eviction_is_few_lines_that_add_up)
{
    uint64_t now_ns = SECOND, evicted = 0;
    for (unsigned i = 0; i < 4 * 86400; i++, now_ns += SECOND / 4) {
        if (i % 8 == 0) {
            evict("a", WEIR_LOGS, SPOOL_LOSS_FULL, 3, i);
            evicted += 3;
        }
        spool_events_tell(events, now_ns, false);
    }
    tell(now_ns, true);
    cr_assert_lt(line_count, 300);
    cr_assert_gt(line_count, 200);
    uint64_t told = 0;
    for (size_t i = 0; i < line_count; i++)
        told += (uint64_t)number(i, "items");
    cr_assert_eq(told, evicted);
}

Test(spool_events, after_a_pause_the_next_one_is_told_at_once)
{
    evict("a", WEIR_LOGS, SPOOL_LOSS_FULL, 1, 1);
    tell(SECOND, false);
    evict("a", WEIR_LOGS, SPOOL_LOSS_FULL, 2, 2);
    tell(5 * SECOND, false);
    cr_assert_eq(line_count, 1, "not before its gap is over");
    tell(6 * SECOND, false);
    cr_assert_eq(line_count, 2);
    cr_expect_eq(number(1, "items"), 2);
    cr_expect_eq(number(1, "first_block"), 2, "the line before it is another story");
    evict("a", WEIR_LOGS, SPOOL_LOSS_FULL, 4, 3);
    tell(15 * SECOND, false);
    cr_assert_eq(line_count, 2, "the gap has doubled");
    tell(16 * SECOND, false);
    cr_assert_eq(line_count, 3);
    tell(36 * SECOND, false); // quiet for its gap: forgotten
    evict("a", WEIR_LOGS, SPOOL_LOSS_FULL, 8, 4);
    tell(37 * SECOND, false);
    cr_assert_eq(line_count, 4);
    evict("a", WEIR_LOGS, SPOOL_LOSS_FULL, 16, 5);
    tell(42 * SECOND, false);
    cr_assert_eq(line_count, 5, "the gap is short again");
}

Test(spool_events, the_end_tells_what_is_left)
{
    evict("a", WEIR_LOGS, SPOOL_LOSS_FULL, 1, 1);
    tell(SECOND, false);
    evict("a", WEIR_LOGS, SPOOL_LOSS_FULL, 2, 1);
    tell(SECOND, true);
    cr_assert_eq(line_count, 2);
    cr_expect_eq(number(1, "items"), 2);
    tell(SECOND, true);
    cr_assert_eq(line_count, 2, "nothing twice");
}

Test(spool_events, damage_is_told_by_its_file)
{
    char words[] = "seg-000000000000042.mdb: page 7 has a wrong checksum: it is kept aside";
    struct spool_event event = {.kind = SPOOL_EVENT_DAMAGED, .first = 42, .end = 50, .text = words};
    spool_events_take(events, &event);
    event.first = 60;
    event.end = 61;
    spool_events_take(events, &event);
    event.text = "state.mdb: gone";
    spool_events_take(events, &event);
    memset(words, 'x', sizeof(words) - 1); // its text was valid during the call only
    tell(SECOND, false);
    cr_assert_eq(line_count, 2);
    cr_expect_str_eq(text(0, "event"), "spool_damaged");
    cr_expect_str_eq(text(0, "level"), "error");
    cr_expect_str_eq(text(0, "file"), "seg-000000000000042.mdb");
    cr_expect_str_eq(text(0, "error"), "seg-000000000000042.mdb: page 7 has a wrong checksum: it is kept aside");
    cr_expect_eq(number(0, "found"), 2);
    cr_expect_eq(number(0, "first_block"), 42);
    cr_expect_eq(number(0, "end_block"), 61);
    cr_expect_str_eq(text(1, "file"), "state.mdb");
}

Test(spool_events, a_clock_that_was_set)
{
    struct spool_event event = {.kind = SPOOL_EVENT_CLOCK, .text = "the clock was set ahead by 3600 seconds: words"};
    spool_events_take(events, &event);
    event.text = "the clock was set back by 20 seconds";
    spool_events_take(events, &event);
    tell(SECOND, false);
    cr_assert_eq(line_count, 1);
    cr_expect_str_eq(text(0, "event"), "clock_set");
    cr_expect_str_eq(text(0, "level"), "warn");
    cr_expect_str_eq(text(0, "reason"), "the clock was set ahead by 3600 seconds: words");
    cr_expect_eq(number(0, "found"), 2);
}

Test(spool_events, more_kinds_than_there_is_room_for_are_counted)
{
    char name[32];
    for (int i = 0; i < 1100; i++) {
        snprintf(name, sizeof(name), "up%d", i);
        evict(name, WEIR_LOGS, SPOOL_LOSS_FULL, 1, 1);
    }
    spool_events_tell(events, SECOND, false);
    line_count = 0;
    lseek(log_fd, 0, SEEK_SET);
    FILE *log = fdopen(dup(log_fd), "r");
    char line[2048], last[2048] = "";
    size_t count = 0;
    for (; fgets(line, sizeof(line), log) != NULL; count++)
        memcpy(last, line, sizeof(last));
    fclose(log);
    cr_assert_eq(count, 1025);
    cr_assert_not_null(strstr(last, "\"event\":\"spool_events_untold\""), "%s", last);
    cr_assert_not_null(strstr(last, "\"events\":76"), "%s", last);
}

#define TAKERS 4
#define TAKES  20000

static void *take_many(void *name)
{
    for (int i = 0; i < TAKES; i++)
        evict(name, WEIR_LOGS, SPOOL_LOSS_FULL, 1, (uint64_t)i);
    return NULL;
}

Test(spool_events, threads_take_while_one_tells)
{
    static char names[2][4] = {"a", "b"};
    pthread_t threads[TAKERS];
    uint64_t now_ns = SECOND;
    for (int i = 0; i < TAKERS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, take_many, names[i % 2]), 0);
    for (int i = 0; i < 20; i++, now_ns += 400 * SECOND)
        spool_events_tell(events, now_ns, false);
    for (int i = 0; i < TAKERS; i++)
        pthread_join(threads[i], NULL);
    tell(now_ns, true);
    uint64_t told = 0;
    for (size_t i = 0; i < line_count; i++)
        told += (uint64_t)number(i, "items");
    cr_assert_eq(told, TAKERS * TAKES);
}
