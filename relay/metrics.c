// SPDX-License-Identifier: Apache-2.0
#include "relay/metrics.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#define OPENMETRICS_TYPE "application/openmetrics-text"

struct metrics_writer {
    struct weir_buf *out;
    enum metrics_format format;
    const struct metric_row *row;
    bool failed; // sticks
};

const char *metric_type_name(enum metric_type type)
{
    static const char *const names[] = {"counter", "gauge", "histogram"};
    assert((unsigned)type < WEIR_COUNT(names));
    return names[type];
}

const char *metrics_content_type(enum metrics_format format)
{
    return format == METRICS_OPENMETRICS ? OPENMETRICS_TYPE "; version=1.0.0; charset=utf-8"
                                         : "text/plain; version=0.0.4; charset=utf-8";
}

// --- which format -----------------------------------------------------------------------------------------------------

// "application/x;version=1.0.0;q=0.5": the type without blanks, and its q.
static double parse_range(const char *text, size_t len, const char **type, size_t *type_len)
{
    double q = 1;
    const char *end = text + len;
    const char *part = text;
    bool first = true;
    while (part <= end) {
        const char *next = memchr(part, ';', (size_t)(end - part));
        const char *stop = next != NULL ? next : end;
        while (part < stop && (*part == ' ' || *part == '\t'))
            part++;
        while (stop > part && (stop[-1] == ' ' || stop[-1] == '\t'))
            stop--;
        if (first) {
            *type = part;
            *type_len = (size_t)(stop - part);
        } else if (stop - part >= 2 && (part[0] == 'q' || part[0] == 'Q') && part[1] == '=') {
            char number[16] = {0};
            memcpy(number, part + 2, (size_t)(stop - part - 2) < 15 ? (size_t)(stop - part - 2) : 15);
            q = strtod(number, NULL);
        }
        if (next == NULL)
            break;
        part = next + 1;
        first = false;
    }
    return q;
}

static bool is_type(const char *type, size_t len, const char *name)
{
    return len == strlen(name) && strncasecmp(type, name, len) == 0;
}

enum metrics_format metrics_negotiate(const char *accept, size_t len)
{
    if (accept == NULL)
        return METRICS_PROMETHEUS;
    double openmetrics = 0, text = 0;
    const char *end = accept + len;
    while (accept < end) {
        const char *comma = memchr(accept, ',', (size_t)(end - accept));
        const char *stop = comma != NULL ? comma : end;
        const char *type = NULL;
        size_t type_len = 0;
        double q = parse_range(accept, (size_t)(stop - accept), &type, &type_len);
        if (is_type(type, type_len, OPENMETRICS_TYPE))
            openmetrics = q > openmetrics ? q : openmetrics;
        else if (is_type(type, type_len, "text/plain"))
            text = q > text ? q : text;
        accept = stop + 1;
    }
    return openmetrics > 0 && openmetrics >= text ? METRICS_OPENMETRICS : METRICS_PROMETHEUS;
}

// --- text -------------------------------------------------------------------------------------------------------------

static void write_bytes(struct metrics_writer *writer, const char *text, size_t len)
{
    if (!writer->failed && !weir_buf_append(writer->out, text, len))
        writer->failed = true;
}

static void write_string(struct metrics_writer *writer, const char *text)
{
    write_bytes(writer, text, strlen(text));
}

// Backslash, newline and quote are escaped (text formats, "Comments, help text, and type information").
static void write_escaped(struct metrics_writer *writer, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\n')
            write_string(writer, "\\n");
        else if (*text == '\\' || *text == '"')
            write_bytes(writer, (const char[]){'\\', *text}, 2);
        else
            write_bytes(writer, text, 1);
    }
}

// The shortest text that reads back as the same number. OpenMetrics wants bounds as floats: "1.0".
static void number_text(double value, bool as_float, char out[32])
{
    if (isinf(value) || isnan(value)) {
        snprintf(out, 32, "%s", isnan(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf");
        return;
    }
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(out, 32, "%.*g", digits, value);
        if (strtod(out, NULL) == value)
            break;
    }
    if (as_float && strpbrk(out, ".e") == NULL)
        memcpy(out + strlen(out), ".0", sizeof(".0"));
}

static void write_sample(struct metrics_writer *writer, const char *suffix, const struct metric_label *labels,
                         size_t count, const char *value)
{
    write_string(writer, writer->row->name);
    write_string(writer, suffix);
    for (size_t i = 0; i < count; i++) {
        write_string(writer, i == 0 ? "{" : ",");
        write_string(writer, labels[i].name);
        write_string(writer, "=\"");
        write_escaped(writer, labels[i].value);
        write_string(writer, "\"");
    }
    write_string(writer, count > 0 ? "} " : " ");
    write_string(writer, value);
    write_string(writer, "\n");
}

static const char *value_suffix(const struct metrics_writer *writer)
{
    assert(writer->row->type != METRIC_HISTOGRAM);
    return writer->row->type == METRIC_COUNTER ? "_total" : "";
}

void metrics_put(struct metrics_writer *writer, const struct metric_label *labels, size_t count, double value)
{
    char text[32];
    number_text(value, false, text);
    write_sample(writer, value_suffix(writer), labels, count, text);
}

void metrics_put_u64(struct metrics_writer *writer, const struct metric_label *labels, size_t count, uint64_t value)
{
    char text[32];
    snprintf(text, sizeof(text), "%" PRIu64, value);
    write_sample(writer, value_suffix(writer), labels, count, text);
}

void metrics_put_histogram(struct metrics_writer *writer, const struct metric_label *labels, size_t count,
                           const struct metric_histogram *histogram)
{
    assert(writer->row->type == METRIC_HISTOGRAM && count <= METRIC_LABELS_MAX);
    assert(histogram->buckets > 0 && isinf(histogram->bounds[histogram->buckets - 1]));
    struct metric_label with_bound[METRIC_LABELS_MAX + 1];
    if (count > 0)
        memcpy(with_bound, labels, count * sizeof(labels[0]));
    uint64_t so_far = 0;
    char text[32];
    for (size_t i = 0; i < histogram->buckets; i++) {
        char bound[32];
        number_text(histogram->bounds[i], writer->format == METRICS_OPENMETRICS, bound);
        with_bound[count] = (struct metric_label){"le", bound};
        so_far += histogram->counts[i];
        snprintf(text, sizeof(text), "%" PRIu64, so_far);
        write_sample(writer, "_bucket", with_bound, count + 1, text);
    }
    char sum[32];
    number_text(histogram->sum, false, sum);
    write_sample(writer, "_sum", labels, count, sum);
    write_sample(writer, "_count", labels, count, text);
}

// OpenMetrics names a counter's family without "_total", the older format with it.
static void write_head(struct metrics_writer *writer, const char *keyword, const char *text)
{
    const struct metric_row *row = writer->row;
    write_string(writer, keyword);
    write_string(writer, row->name);
    if (row->type == METRIC_COUNTER && writer->format == METRICS_PROMETHEUS)
        write_string(writer, "_total");
    write_string(writer, " ");
    write_string(writer, text);
    write_string(writer, "\n");
}

bool metrics_text(const struct snapshot *snapshot, enum metrics_format format, struct weir_buf *out)
{
    struct metrics_writer writer = {.out = out, .format = format};
    for (size_t i = 0; i < metric_row_count; i++) {
        writer.row = &metric_rows[i];
        write_head(&writer, "# HELP ", writer.row->help);
        write_head(&writer, "# TYPE ", metric_type_name(writer.row->type));
        if (format == METRICS_OPENMETRICS && writer.row->unit[0] != '\0')
            write_head(&writer, "# UNIT ", writer.row->unit);
        writer.row->emit(&writer, writer.row, snapshot);
    }
    if (format == METRICS_OPENMETRICS)
        write_string(&writer, "# EOF\n");
    return !writer.failed;
}
