// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>

#include "relay/status.h"
#include "relay/status_print.h"
#include "snapshot_fixture.h"

static struct snapshot snap; // large

static char *print(const json_t *status, struct status_watch *watch)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    status_print(status, watch, out);
    fclose(out);
    return text;
}

static char *print_snapshot(struct status_watch *watch)
{
    json_t *status = status_json(&snap);
    char *text = print(status, watch);
    json_decref(status);
    return text;
}

static void expect_words(const char *text, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        cr_expect_not_null(strstr(text, words[i]), "'%s' is not in\n%s", words[i], text);
}

Test(status_print, page)
{
    fixture_fill(&snap);
    char *text = print_snapshot(NULL);
    static const char *const words[] = {
        "outage, ready  version 1.2.3  up 1m30s",
        "gRPC 127.0.0.1:4317  HTTP -  connections 12",
        "[############..................]  40 %  3.8 MiB of 9.5 MiB",
        "compression 8.0 : 1  dead letters 4 (180 items), 2 to be sent again",
        "central  backing off since 07:59:55Z  grpc://collector:4317",
        "backlog 900 items, 87.9 KiB, oldest 1m00s  gone in -\n",
        "in 10 items/s, out 40 items/s",
        "last error 07:59:59Z  UNAVAILABLE: connection refused  next attempt in 2.5s",
    };
    expect_words(text, words, WEIR_COUNT(words));
    cr_expect_null(strstr(text, "drained"), "only a watch knows how much there was");
    free(text);
}

Test(status_print, retention_and_what_it_cost)
{
    fixture_fill(&snap);
    snap.upstreams[0].lanes[WEIR_METRICS].ledger.evicted = 0;
    char *text = print_snapshot(NULL);
    static const char *const first[] = {
        "traces evicted  full 20  age 7  damage 3  received 2026-11-20T07:00:00.500Z to 2026-11-20T07:58:00.500Z\n",
        "traces: 4 items were added again by weir replay\n",
        "DAMAGED FILES 2: the log names them\n",
        "full in -",
    };
    expect_words(text, first, WEIR_COUNT(first));
    cr_expect_null(strstr(text, "metrics evicted"), "nothing of it was");
    cr_expect_null(strstr(text, "when full"), "the defaults");
    free(text);
    snap.evict_oldest = true;
    snap.max_age_ms = 3 * 86400000ull;
    snap.keep_delivered_ms = 7200000;
    snap.spool.kept_bytes = 1536;
    text = print_snapshot(NULL);
    static const char *const then[] = {
        "evicts in -", "when full evict oldest  at most 3d00h old  delivered is kept 2h00m (1.5 KiB)\n"};
    expect_words(text, then, WEIR_COUNT(then));
    free(text);
}

Test(status_print, a_learnt_limit_on_size)
{
    fixture_fill(&snap);
    snap.upstreams[0].lanes[WEIR_TRACES].replay.export_max_bytes = 1048576;
    snap.upstreams[0].lanes[WEIR_METRICS].replay.export_max_bytes = 4194304;
    char *text = print_snapshot(NULL);
    cr_expect_not_null(strstr(text, "traces: requests of at most 1.0 MiB, as the upstream did not take larger ones "
                                    "(max_request_size 4.0 MiB)\n"),
                       "%s", text);
    cr_expect_null(strstr(text, "metrics: requests"), "that is what is configured");
    free(text);
}

Test(status_print, orders_orphans_and_certificates)
{
    fixture_fill(&snap);
    snap.drain = (struct drain_state){true, false, false, FIXTURE_NOW, 900};
    snap.upstreams[0].replay.state = REPLAY_PAUSED;
    snap.upstreams[0].tls = (struct certificate_state){.used = true, .validity = {1, FIXTURE_NOW / 1000000000 + 86400}};
    snap.tls[CERTIFICATE_GRPC] =
        (struct certificate_state){.used = true, .validity = {1, FIXTURE_NOW / 1000000000 - 3600}};
    snprintf(snap.tls[CERTIFICATE_HTTP].error, sizeof(snap.tls[0].error), "no such file");
    snapshot_conclude(&snap, false);
    char *text = print_snapshot(NULL);
    static const char *const words[] = {
        "draining, NOT READY (draining, by command: 900 items are left; weir drain --cancel takes it back)",
        "central  paused since",
        "paused by command: weir resume central lets it go on\n",
        "  certificate EXPIRES in 1d00h, 2026-11-21T08:00:00.000Z\n",
        "  gRPC certificate EXPIRED 1h00m ago\n",
        "  HTTP certificate expires in 21d06h, 2026-12-11T14:40:00.000Z\n",
        "  HTTP certificate not read again, the old one is in use: no such file\n",
        "orphan     gone  not configured  logs: 40 items, 3.9 KiB, oldest 1m00s\n",
        "weir discard gone gives it up\n",
    };
    expect_words(text, words, WEIR_COUNT(words));
    free(text);
    snap.drain.drained = true;
    snapshot_conclude(&snap, false);
    snap.orphans[0].ledger.pending = 0;
    text = print_snapshot(NULL);
    cr_expect_not_null(strstr(text, "drained, NOT READY (drained, by command: weir drain --cancel takes it back)"));
    cr_expect_null(strstr(text, "orphan"), "nothing of it is left");
    free(text);
}

Test(status_print, why_it_is_not_ready)
{
    fixture_fill(&snap);
    snap.spool.state = SPOOL_FULL;
    snapshot_conclude(&snap, false);
    char *text = print_snapshot(NULL);
    cr_expect_not_null(strstr(text, "outage, NOT READY (the spool is full)"), "%s", text);
    free(text);
}

Test(status_print, watch_shows_how_far_the_backlog_has_been_emptied)
{
    fixture_fill(&snap);
    struct status_watch watch = {0};
    free(print_snapshot(&watch));
    snap.upstreams[0].backlog_items = 225;
    char *text = print_snapshot(&watch);
    cr_expect_not_null(strstr(text, "drained [#######################.......]  75 % of 900 items"), "%s", text);
    free(text);
    snap.upstreams[0].backlog_items = 0;
    free(print_snapshot(&watch));
    snap.upstreams[0].backlog_items = 10; // live data again: the old peak is forgotten
    text = print_snapshot(&watch);
    cr_expect_null(strstr(text, "drained"), "%s", text);
    free(text);
}

Test(status_print, an_upstreams_words_do_not_reach_the_terminal_as_commands)
{
    fixture_fill(&snap);
    snprintf(snap.upstreams[0].replay.error_message, sizeof(snap.upstreams[0].replay.error_message), "%s",
             "\x1b[2Jgone\x07\xc2\x9b");
    char *text = print_snapshot(NULL);
    cr_expect_not_null(strstr(text, "UNAVAILABLE: ?[2Jgone??"), "%s", text);
    cr_expect_null(strchr(text, 0x1b));
    free(text);
}

Test(status_print, an_answer_without_members_is_printed_too)
{
    static const char *const answers[] = {
        "{}", "{\"weir\":1,\"receiver\":[],\"spool\":null,\"upstreams\":[{},3,{\"lanes\":{\"traces\":{}}}]}",
        "{\"upstreams\":{\"a\":1},\"receiver\":{\"signals\":{\"a-name-that-is-longer-than-any-column\":{}}}}"};
    for (size_t i = 0; i < WEIR_COUNT(answers); i++) {
        json_t *status = json_loads(answers[i], 0, NULL);
        struct status_watch watch = {0};
        char *text = print(status, &watch);
        cr_expect_not_null(strstr(text, "weir"));
        free(text);
        json_decref(status);
    }
}

Test(status_print, words)
{
    static const struct {
        void (*format)(double, char[STATUS_WORD_LEN]);
        double value;
        const char *expected;
    } rows[] = {
        {status_bytes_format, 0, "0 B"},
        {status_bytes_format, 1023, "1023 B"},
        {status_bytes_format, 1536, "1.5 KiB"},
        {status_bytes_format, 200.0 * 1024 * 1024, "200 MiB"},
        {status_bytes_format, 1e30, "888178419700125 PiB"},
        {status_duration_format, 0, "0.0s"},
        {status_duration_format, 9.94, "9.9s"},
        {status_duration_format, 9.96, "10s"},
        {status_duration_format, 125, "2m05s"},
        {status_duration_format, 3720, "1h02m"},
        {status_duration_format, 3 * 86400 + 4 * 3600, "3d04h"},
        {status_duration_format, 364 * 86400, "364d00h"},
        {status_duration_format, 4e17, "> 1y"},
        {status_count_format, 7, "7"},
        {status_count_format, 123456, "123,456"},
        {status_count_format, 1234567, "1,234,567"},
        {status_count_format, 1e18, "1,000,000,000,000,000,000"},
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        char word[STATUS_WORD_LEN];
        rows[i].format(rows[i].value, word);
        cr_expect_str_eq(word, rows[i].expected, "%s, not %s", word, rows[i].expected);
    }
}
