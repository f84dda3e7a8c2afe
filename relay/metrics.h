// SPDX-License-Identifier: Apache-2.0
// /metrics: a snapshot in Prometheus' text format 0.0.4 or OpenMetrics 1.0.0. What is exposed is one table (metrics_table.c):
// name, type, labels and help stand there once, for the code and for the documentation.
#ifndef WEIR_RELAY_METRICS_H
#define WEIR_RELAY_METRICS_H

#include "relay/snapshot.h"

enum metrics_format { METRICS_PROMETHEUS, METRICS_OPENMETRICS };

// What the client prefers, by the Accept header's values (NULL: no header): OpenMetrics only when it is named and not liked
// less than text/plain.
enum metrics_format metrics_negotiate(const char *accept, size_t len);
const char *metrics_content_type(enum metrics_format format);
// Appends all metrics. False when memory is out. Any thread.
bool metrics_text(const struct snapshot *snapshot, enum metrics_format format, struct weir_buf *out);

// --- the table --------------------------------------------------------------------------------------------------------

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };
const char *metric_type_name(enum metric_type type);

struct metrics_writer; // the text so far
struct metric_row {
    const char *name; // a counter's without "_total"
    enum metric_type type;
    const char *unit;   // the end of the name ("seconds", "bytes"), or ""
    const char *labels; // "signal, transport"
    const char *help;   // one sentence
    void (*emit)(struct metrics_writer *writer, const struct metric_row *row, const struct snapshot *snapshot);
    size_t field; // which field `emit` shows: its offset in the snapshot, lane, … that it walks over
};
extern const struct metric_row metric_rows[];
extern const size_t metric_row_count;

// For emit: one sample of the row under way. Labels' values are escaped.
struct metric_label {
    const char *name, *value;
};
#define METRIC_LABELS_MAX 3
void metrics_put(struct metrics_writer *writer, const struct metric_label *labels, size_t count, double value);
void metrics_put_u64(struct metrics_writer *writer, const struct metric_label *labels, size_t count, uint64_t value);
// A histogram of `buckets` buckets, each counted alone; the last bound is infinite.
struct metric_histogram {
    const double *bounds;
    const uint64_t *counts;
    size_t buckets;
    double sum;
};
void metrics_put_histogram(struct metrics_writer *writer, const struct metric_label *labels, size_t count,
                           const struct metric_histogram *histogram);

#endif
