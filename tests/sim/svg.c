// SPDX-License-Identifier: Apache-2.0
// Line charts as SVG.
#include "tests/sim/sim.h"

#include <math.h>

#define WIDTH  860.0
#define HEIGHT 380.0
#define LEFT   72.0
#define RIGHT  50.0
#define TOP    64.0
#define BOTTOM 56.0

static double x_of(const struct svg_chart *chart, double x)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * x / chart->x_max;
}

static double y_of(const struct svg_chart *chart, double y)
{
    double part = y / chart->y_max;
    if (chart->log_y)
        part = y <= chart->y_min ? 0 : log(y / chart->y_min) / log(chart->y_max / chart->y_min);
    part = part < 0 ? 0 : part > 1 ? 1 : part;
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * part;
}

// 1, 2 or 5 times a power of ten, so that there are four to ten of them.
static double tick_step(double max)
{
    double step = pow(10, floor(log10(max / 4)));
    return max / step > 25 ? 5 * step : max / step > 10 ? 2 * step : step;
}

static void text(FILE *file, double x, double y, const char *anchor, const char *what)
{
    fprintf(file, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%s</text>\n", x, y, anchor, what);
}

static void line(FILE *file, double x1, double y1, double x2, double y2, const char *style)
{
    fprintf(file, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" %s/>\n", x1, y1, x2, y2, style);
}

static void write_axes(FILE *file, const struct svg_chart *chart)
{
    char label[64];
    double right = WIDTH - RIGHT, bottom = HEIGHT - BOTTOM;
    double step = tick_step(chart->x_max);
    for (uint32_t i = 0; i * step <= chart->x_max * 1.0001; i++) {
        double x = i * step;
        snprintf(label, sizeof(label), "%g", x);
        line(file, x_of(chart, x), bottom, x_of(chart, x), bottom + 5, "stroke=\"#444\"");
        text(file, x_of(chart, x), bottom + 19, "middle", label);
    }
    step = tick_step(chart->y_max);
    for (uint32_t i = 0; i < 100; i++) {
        double y = chart->log_y ? chart->y_min * pow(10, i) : i * step;
        if (y > chart->y_max * 1.0001)
            break;
        snprintf(label, sizeof(label), "%g", y);
        line(file, LEFT, y_of(chart, y), right, y_of(chart, y), "stroke=\"#ddd\"");
        text(file, LEFT - 8, y_of(chart, y) + 4, "end", label);
    }
    line(file, LEFT, bottom, right, bottom, "stroke=\"#444\"");
    line(file, LEFT, TOP, LEFT, bottom, "stroke=\"#444\"");
    text(file, (LEFT + right) / 2, HEIGHT - 14, "middle", chart->x_label);
    fprintf(file, "<text transform=\"translate(20 %.1f) rotate(-90)\" text-anchor=\"middle\">%s</text>\n",
            (TOP + bottom) / 2, chart->y_label);
    fprintf(file, "<text x=\"%.1f\" y=\"24\" font-size=\"16\" font-weight=\"bold\">%s</text>\n", LEFT, chart->title);
}

static void write_line(FILE *file, const struct svg_chart *chart, const struct svg_line *drawn)
{
    fprintf(file, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.8\" points=\"", drawn->colour);
    for (uint32_t i = 0; i < drawn->count; i++)
        if (isfinite(drawn->y[i]))
            fprintf(file, "%.1f,%.1f ", x_of(chart, drawn->x[i]), y_of(chart, drawn->y[i]));
    fprintf(file, "\"/>\n");
}

static void write_legend(FILE *file, const struct svg_chart *chart)
{
    double x = LEFT;
    char style[64];
    for (uint32_t i = 0; i < chart->line_count; i++) {
        snprintf(style, sizeof(style), "stroke=\"%s\" stroke-width=\"3\"", chart->lines[i].colour);
        line(file, x, 44, x + 26, 44, style);
        text(file, x + 32, 48, "start", chart->lines[i].name);
        x += 60 + 7.5 * (double)strlen(chart->lines[i].name);
    }
    if (chart->shade_count > 0) {
        fprintf(file, "<rect x=\"%.1f\" y=\"38\" width=\"26\" height=\"12\" fill=\"#bbb\" fill-opacity=\"0.6\"/>\n", x);
        text(file, x + 32, 48, "start", "upstream away");
    }
}

int svg_write(const char *path, const struct svg_chart *chart)
{
    FILE *file = fopen(path, "w");
    if (file == NULL)
        return -1;
    fprintf(file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" width=\"%g\" height=\"%g\" "
            "font-family=\"sans-serif\" font-size=\"13\" fill=\"#222\">\n"
            "<rect width=\"%g\" height=\"%g\" fill=\"#fff\"/>\n",
            WIDTH, HEIGHT, WIDTH, HEIGHT, WIDTH, HEIGHT);
    for (uint32_t i = 0; i + 1 < chart->shade_count; i += 2)
        fprintf(file, "<rect x=\"%.1f\" y=\"%g\" width=\"%.1f\" height=\"%g\" fill=\"#bbb\" fill-opacity=\"0.6\"/>\n",
                x_of(chart, chart->shade[i]), TOP, x_of(chart, chart->shade[i + 1]) - x_of(chart, chart->shade[i]),
                HEIGHT - TOP - BOTTOM);
    write_axes(file, chart);
    if (chart->mark_y > 0) {
        double y = y_of(chart, chart->mark_y);
        line(file, LEFT, y, WIDTH - RIGHT, y, "stroke=\"#c00\" stroke-dasharray=\"6 4\"");
        text(file, WIDTH - RIGHT + 6, y + 4, "start", chart->mark_label);
    }
    for (uint32_t i = 0; i < chart->line_count; i++)
        write_line(file, chart, &chart->lines[i]);
    write_legend(file, chart);
    fprintf(file, "</svg>\n");
    bool failed = ferror(file) != 0;
    return fclose(file) != 0 || failed ? -1 : 0;
}
