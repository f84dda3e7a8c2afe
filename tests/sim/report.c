// SPDX-License-Identifier: Apache-2.0
// What a run found, as pictures and as the table between the marks of RESULTS.md; the words around it are kept.
#include "tests/sim/sim.h"

#include <math.h>

#define BIN_S 10 // seconds that a point stands for

struct series {
    double *x, *y;
    uint32_t count;
};

enum figure { FIGURE_GOODPUT, FIGURE_REFUSED, FIGURE_DONE, FIGURE_DELAY, FIGURES };

static double value_of(const struct result *result, enum figure figure, const struct second *sum, double done)
{
    switch (figure) {
    case FIGURE_GOODPUT:
        return 100 * sum->accepted_bytes / BIN_S / result->capacity_bytes_per_s;
    case FIGURE_REFUSED:
        return sum->requests > 0 ? 100.0 * sum->refused / sum->requests : 0;
    case FIGURE_DONE:
        return 100 * done / result->relays;
    default:
        return sum->live_bytes > 0 ? sum->live_delay_s / sum->live_bytes : (double)NAN;
    }
}

static struct series series_of(const struct result *result, enum figure figure)
{
    uint32_t count = result->second_count / BIN_S;
    struct series series = {calloc(count + 1, sizeof(double)), calloc(count + 1, sizeof(double)), count};
    assert(series.x != NULL && series.y != NULL);
    double done = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct second sum = {0};
        for (uint32_t j = i * BIN_S; j < (i + 1) * BIN_S; j++) {
            const struct second *second = &result->seconds[j];
            sum.accepted_bytes += second->accepted_bytes;
            sum.requests += second->requests;
            sum.refused += second->refused;
            sum.live_delay_s += second->live_delay_s;
            sum.live_bytes += second->live_bytes;
            done += second->done;
        }
        series.x[i] = (i + 0.5) * BIN_S / 60;
        series.y[i] = value_of(result, figure, &sum, done);
    }
    return series;
}

static int draw(const char *directory, const struct plan *plan, const struct result *results, size_t count,
                enum figure figure)
{
    static const struct {
        const char *file, *title, *label, *mark;
        double max, min, mark_y;
        bool log;
    } kinds[FIGURES] = {
        [FIGURE_GOODPUT] = {"goodput", "Goodput", "% of the upstream's capacity", "90 %", 110, 0, 90, false},
        [FIGURE_REFUSED] = {"refused", "Refused requests", "% of the requests", "5 %", 100, 0, 5, false},
        [FIGURE_DONE] = {"drained", "Relays that have caught up", "% of the relays", "", 100, 0, 0, false},
        [FIGURE_DELAY] = {"live", "Delay of live data when it is delivered", "seconds (mean)", "", 10000, 0.01, 0,
                          true},
    };
    static const char *const colours[] = {"#0a6ebd", "#e07b00"};
    struct series series[2] = {{0}};
    struct svg_line lines[2];
    double shade[64], x_max = 0;
    assert(count <= 2 && plan->flaps <= 32);
    for (size_t i = 0; i < count; i++) {
        series[i] = series_of(&results[i], figure);
        lines[i] = (struct svg_line){results[i].name, colours[i], series[i].x, series[i].y, series[i].count};
        if (results[i].second_count / 60.0 > x_max)
            x_max = results[i].second_count / 60.0;
    }
    for (uint32_t i = 0; i < plan->flaps; i++) {
        shade[2 * i] = (plan->flap_at_s + i * (plan->flap_down_s + plan->flap_up_s)) / 60;
        shade[2 * i + 1] = shade[2 * i] + plan->flap_down_s / 60;
    }
    struct svg_chart chart = {.title = kinds[figure].title,
                              .x_label = "minutes since the upstream's return",
                              .y_label = kinds[figure].label,
                              .x_max = x_max,
                              .y_max = kinds[figure].max,
                              .y_min = kinds[figure].min,
                              .log_y = kinds[figure].log,
                              .lines = lines,
                              .line_count = (uint32_t)count,
                              .shade = shade,
                              .shade_count = 2 * plan->flaps,
                              .mark_y = kinds[figure].mark_y,
                              .mark_label = kinds[figure].mark};
    char path[512];
    snprintf(path, sizeof(path), "%s/%s.svg", directory, kinds[figure].file);
    int rc = svg_write(path, &chart);
    for (size_t i = 0; i < count; i++) {
        free(series[i].x);
        free(series[i].y);
    }
    return rc;
}

// --- the table in RESULTS.md -------------------------------------------------------------------------------------------------------

#define MARK_BEGIN "<!-- figures: written by make sim -->\n"
#define MARK_END   "<!-- end of figures -->\n"

static void write_table(const struct result *results, size_t count, FILE *file)
{
    fprintf(file, "| |");
    for (size_t i = 0; i < count; i++)
        fprintf(file, " %s |", results[i].name);
    fprintf(file, "\n|---|");
    for (size_t i = 0; i < count; i++)
        fprintf(file, "--:|");
#define ROW(label, format, value)                                                                                      \
    do {                                                                                                               \
        fprintf(file, "\n| %s |", label);                                                                              \
        for (size_t i = 0; i < count; i++)                                                                             \
            fprintf(file, " %" format " |", value);                                                                    \
    } while (0)
    ROW("goodput, % of the capacity, from 30 s after a return on", ".1f", 100 * results[i].goodput);
    ROW("refused, % of the requests that reached it, of the whole run", ".1f", 100 * results[i].refused_part);
    ROW("the same in the seconds that goodput is of", ".1f", 100 * results[i].refused_steady);
    ROW("caught up: half of the relays, s", ".0f", results[i].done_p50_s);
    ROW("99 %, s", ".0f", results[i].done_p99_s);
    ROW("all, s", ".0f", results[i].done_last_s);
    ROW("fairness: 99 % / half", ".3f", results[i].done_p99_s / results[i].done_p50_s);
    ROW("delay of live data, median, s", ".1f", results[i].live_p50_s);
    ROW("99th percentile, s", ".1f", results[i].live_p99_s);
    ROW("given up after the return, GB", ".1f", results[i].lost_bytes / 1e9);
    ROW("requests, millions", ".1f", (double)results[i].requests / 1e6);
#undef ROW
    fprintf(file, "\n");
}

static char *read_all(const char *path)
{
    FILE *file = fopen(path, "r");
    char *text = calloc(1, 1 << 16);
    assert(text != NULL);
    if (file != NULL) {
        (void)!fread(text, 1, (1 << 16) - 1, file);
        fclose(file);
    }
    return text;
}

static int write_results(const char *directory, const struct result *results, size_t count)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/RESULTS.md", directory);
    char *text = read_all(path), *begin = strstr(text, MARK_BEGIN), *end = strstr(text, MARK_END);
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        free(text);
        return -1;
    }
    fprintf(file, "%.*s" MARK_BEGIN, begin != NULL ? (int)(begin - text) : (int)strlen(text), text);
    write_table(results, count, file);
    fprintf(file, MARK_END "%s", end != NULL ? end + strlen(MARK_END) : "");
    free(text);
    return fclose(file);
}

int report_write(const char *directory, const struct plan *plan, const struct result *results, size_t count)
{
    for (int figure = 0; figure < FIGURES; figure++)
        if (draw(directory, plan, results, count, (enum figure)figure) != 0)
            return -1;
    return write_results(directory, results, count);
}
