// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <ctype.h>

#include "relay/metrics.h"
#include "snapshot_fixture.h"

static struct snapshot snap; // large

static char *text_of(enum metrics_format format)
{
    struct weir_buf out = {0};
    cr_assert(metrics_text(&snap, format, &out));
    cr_assert(weir_buf_append(&out, "", 1));
    return (char *)out.data;
}

// "name{labels} value": the value of the line that starts so, or NAN.
static double value_of(const char *text, const char *series)
{
    size_t len = strlen(series);
    for (const char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n'), line += line != NULL)
        if (strncmp(line, series, len) == 0 && line[len] == ' ')
            return strtod(line + len, NULL);
    return NAN;
}

Test(metrics, table_names_follow_the_rules)
{
    for (size_t i = 0; i < metric_row_count; i++) {
        const struct metric_row *row = &metric_rows[i];
        cr_expect(strncmp(row->name, "weir_", 5) == 0 || strncmp(row->name, "process_", 8) == 0, "%s", row->name);
        for (const char *c = row->name; *c != '\0'; c++)
            cr_expect(islower((unsigned char)*c) || *c == '_', "%s", row->name);
        size_t unit = strlen(row->unit), len = strlen(row->name);
        cr_expect(unit == 0 || (len > unit && strcmp(row->name + len - unit, row->unit) == 0 &&
                                row->name[len - unit - 1] == '_'),
                  "%s does not end in its unit %s", row->name, row->unit);
        cr_expect_null(strstr(row->name, "_total"), "%s: the writer adds it", row->name);
        cr_expect(row->help[0] != '\0' && strpbrk(row->help, "\n\\") == NULL, "%s", row->name);
        cr_expect_eq(row->help[strlen(row->help) - 1], '.', "%s: help is a sentence", row->name);
        for (size_t j = 0; j < i; j++)
            cr_expect_str_neq(row->name, metric_rows[j].name);
    }
}

Test(metrics, every_family_has_its_help_and_type_once_and_its_samples_behind_them)
{
    fixture_fill(&snap);
    for (int format = METRICS_PROMETHEUS; format <= METRICS_OPENMETRICS; format++) {
        char *text = text_of((enum metrics_format)format);
        char family[128] = "", type[32] = "";
        size_t families = 0, samples = 0;
        for (char *save = NULL, *line = strtok_r(text, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
            char name[128];
            if (sscanf(line, "# HELP %127s", name) == 1) {
                cr_expect(families == 0 || samples > 0, "%s has no sample", family);
                snprintf(family, sizeof(family), "%s", name);
                families++;
                samples = 0;
            } else if (sscanf(line, "# TYPE %127s %31s", name, type) == 2) {
                cr_expect_str_eq(name, family);
            } else if (line[0] != '#') {
                cr_expect_eq(strncmp(line, family, strlen(family)), 0, "%s is not of %s", line, family);
                bool counter = strcmp(type, "counter") == 0, om = format == METRICS_OPENMETRICS;
                cr_expect_eq(strncmp(line + strlen(family), "_total", 6) == 0, counter && om, "%s", line);
                samples++;
            }
        }
        cr_assert_eq(families, metric_row_count);
        free(text);
    }
}

Test(metrics, openmetrics_names_units_and_ends)
{
    fixture_fill(&snap);
    char *text = text_of(METRICS_OPENMETRICS);
    cr_assert_str_eq(text + strlen(text) - 6, "# EOF\n");
    cr_assert_not_null(strstr(
        text, "# TYPE weir_receiver_bytes counter\n# UNIT weir_receiver_bytes bytes\nweir_receiver_bytes_total{"));
    cr_assert_not_null(strstr(text, "le=\"1.0\""), "bounds are floats");
    free(text);
    text = text_of(METRICS_PROMETHEUS);
    cr_assert_null(strstr(text, "# EOF"));
    cr_assert_null(strstr(text, "# UNIT"));
    cr_assert_not_null(strstr(text, "# TYPE weir_receiver_bytes_total counter\nweir_receiver_bytes_total{"));
    free(text);
}

Test(metrics, shows_the_numbers)
{
    fixture_fill(&snap);
    char *text = text_of(METRICS_PROMETHEUS);
    static const struct {
        const char *series;
        double value;
    } rows[] = {
        {"weir_build_info{version=\"1.2.3\"}", 1},
        {"weir_ready", 1},
        {"weir_phase{phase=\"outage\"}", 1},
        {"weir_phase{phase=\"delivering\"}", 0},
        {"weir_receiver_requests_total{signal=\"traces\",transport=\"grpc\"}", 3},
        {"weir_receiver_items_total{signal=\"traces\",transport=\"http\"}", 40},
        {"weir_receiver_bytes_total{signal=\"logs\",transport=\"http\"}", 0},
        {"weir_receiver_refused_requests_total{signal=\"traces\",transport=\"grpc\",reason=\"spool_full\"}", 2},
        {"weir_receiver_refused_requests_total{signal=\"unknown\",transport=\"http\",reason=\"unknown_path\"}", 6},
        {"weir_receiver_connections", 12},
        {"weir_receiver_unwritten_bytes", 777},
        {"weir_receiver_last_received_timestamp_seconds{signal=\"traces\"}", 1795161600.5},
        {"weir_spool_bytes", 4000000},
        {"weir_spool_limit_bytes", 10000000},
        {"weir_spool_segments", 3},
        {"weir_spool_oldest_age_seconds", 60},
        {"weir_spool_commits_total", 50},
        {"weir_spool_state{state=\"ok\"}", 1},
        {"weir_spool_state{state=\"failed\"}", 0},
        {"weir_lane_pending_items{upstream=\"central\",signal=\"traces\"}", 300},
        {"weir_lane_pending_items{upstream=\"central\",signal=\"metrics\"}", 600},
        {"weir_lane_oldest_age_seconds{upstream=\"central\",signal=\"metrics\"}", 60},
        {"weir_lane_delivered_items_total{upstream=\"central\",signal=\"metrics\"}", 1200},
        {"weir_lane_retries_total{upstream=\"central\",signal=\"metrics\"}", 4},
        {"weir_lane_sent_wire_bytes_total{upstream=\"central\",signal=\"traces\"}", 700},
        {"weir_upstream_state{upstream=\"central\",state=\"backing_off\"}", 1},
        {"weir_upstream_state{upstream=\"central\",state=\"idle\"}", 0},
        {"weir_dead_letter_items", 180},
        {"weir_dead_letter_limit_bytes", 1250000},
        {"weir_dead_letter_marked_requests", 2},
        {"weir_dead_letter_redriven_requests_total", 7},
        {"weir_dead_letter_purged_requests_total", 8},
        {"weir_dead_letter_evicted_requests_total", 9},
        {"weir_lane_evicted_items_total{upstream=\"central\",signal=\"metrics\",reason=\"full\"}", 40},
        {"weir_lane_evicted_items_total{upstream=\"central\",signal=\"metrics\",reason=\"age\"}", 14},
        {"weir_lane_evicted_items_total{upstream=\"central\",signal=\"traces\",reason=\"damage\"}", 3},
        {"weir_lane_replayed_items_total{upstream=\"central\",signal=\"metrics\"}", 8},
        {"weir_spool_kept_bytes", 0},
        {"weir_spool_damaged_files", 2},
        {"weir_spool_scrubbed_bytes_total", 123456},
        {"weir_spool_scrub_finished_timestamp_seconds", 1795161540.5},
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        double value = value_of(text, rows[i].series);
        cr_expect_float_eq(value, rows[i].value, 1e-6, "%s is %f", rows[i].series, value);
    }
    cr_expect_null(strstr(text, "upstream=\"central\",signal=\"logs\""), "a lane that the upstream does not have");
    free(text);
}

Test(metrics, histograms_are_cumulative_and_end_in_their_count)
{
    fixture_fill(&snap);
    char *text = text_of(METRICS_PROMETHEUS);
    uint64_t last = 0;
    size_t buckets = 0;
    for (const char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n'), line += line != NULL) {
        if (strncmp(line, "weir_spool_commit_duration_seconds_bucket{le=", 45) != 0)
            continue;
        uint64_t value = strtoull(strchr(line, ' ') + 1, NULL, 10);
        cr_expect_geq(value, last);
        last = value;
        buckets++;
    }
    cr_assert_eq(buckets, SPOOL_HISTOGRAM_BUCKETS);
    cr_assert_eq(last, 15); // as the fixture's last bucket
    cr_assert_float_eq(value_of(text, "weir_spool_commit_duration_seconds_bucket{le=\"3\"}"), 3, 1e-9);
    cr_assert_float_eq(value_of(text, "weir_spool_commit_duration_seconds_bucket{le=\"+Inf\"}"), 15, 1e-9);
    cr_assert_float_eq(value_of(text, "weir_spool_commit_duration_seconds_count"), 15, 1e-9);
    cr_assert_float_eq(value_of(text, "weir_lane_send_duration_seconds_sum{upstream=\"central\",signal=\"traces\"}"),
                       12.5, 1e-9);
    cr_assert_float_eq(value_of(text, "weir_lane_send_duration_seconds_count{upstream=\"central\",signal=\"traces\"}"),
                       4, 1e-9);
    cr_assert_float_eq(value_of(text, "weir_receiver_ack_duration_seconds_count{signal=\"traces\",transport=\"grpc\"}"),
                       3, 1e-9);
    free(text);
}

Test(metrics, labels_are_escaped)
{
    fixture_fill(&snap);
    snap.version = "a\"b\\c\nd";
    char *text = text_of(METRICS_PROMETHEUS);
    cr_assert_not_null(strstr(text, "weir_build_info{version=\"a\\\"b\\\\c\\nd\"} 1\n"));
    free(text);
}

Test(metrics, numbers_read_back_exactly)
{
    fixture_fill(&snap);
    snap.process.cpu_seconds = 0.1 + 0.2;
    snap.process.start_unix_seconds = 1795161600.25;
    snap.spool.raw_bytes_total = UINT64_MAX;
    char *text = text_of(METRICS_PROMETHEUS);
    cr_assert_eq(value_of(text, "process_cpu_seconds_total"), 0.1 + 0.2);
    cr_assert_eq(value_of(text, "process_start_time_seconds"), 1795161600.25);
    cr_assert_not_null(strstr(text, "\nweir_spool_raw_bytes_total 18446744073709551615\n"));
    free(text);
}

Test(metrics, negotiation)
{
    static const struct {
        const char *accept;
        enum metrics_format format;
    } rows[] = {
        {"", METRICS_PROMETHEUS},
        {"*/*", METRICS_PROMETHEUS},
        {"text/plain", METRICS_PROMETHEUS},
        {"text/html,application/xhtml+xml,*/*;q=0.8", METRICS_PROMETHEUS},
        {"application/openmetrics-text", METRICS_OPENMETRICS},
        {"Application/OpenMetrics-Text; version=1.0.0", METRICS_OPENMETRICS},
        // Prometheus 2.42 and 3
        {"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/"
         "plain;version=0.0.4;q=0.5,*/*;q=0.1",
         METRICS_OPENMETRICS},
        {"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=1.0.0;q=0.5,*/"
         "*;q=0.2",
         METRICS_OPENMETRICS},
        {"text/plain;version=0.0.4;q=1,application/openmetrics-text;q=0.5", METRICS_PROMETHEUS},
        {"application/openmetrics-text;q=0", METRICS_PROMETHEUS},
        {" application/openmetrics-text ; q=0.9 , text/plain ; q=0.2", METRICS_OPENMETRICS},
        {"application/openmetrics-textual", METRICS_PROMETHEUS},
        {",,;;q=,", METRICS_PROMETHEUS},
    };
    cr_assert_eq(metrics_negotiate(NULL, 0), METRICS_PROMETHEUS);
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        // Not NUL-terminated, as headers are not: AddressSanitizer sees a read behind it.
        size_t len = strlen(rows[i].accept);
        char *accept = malloc(len > 0 ? len : 1);
        memcpy(accept, rows[i].accept, len);
        cr_expect_eq(metrics_negotiate(accept, len), rows[i].format, "%s", rows[i].accept);
        free(accept);
    }
}
