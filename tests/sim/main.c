// SPDX-License-Identifier: Apache-2.0
// Ten thousand relays, each with hours of backlog and with live traffic, in front of one upstream that comes back and then flaps: weir's
// governor beside the OpenTelemetry Collector's defaults, in virtual time.
//   sim [--short] [--out DIRECTORY] [NAME=NUMBER ...]      exit 1: a bound does not hold
#include "tests/sim/sim.h"

#include <errno.h>

static struct plan plan = {
    .relays = 10000,
    .live_bytes_per_s = 50000,
    .backlog_s = 2 * 3600,
    .before_s = 60,
    .down_s = 600,
    .export_bytes = 512 * 1024,
    .live_every_s = 3,
    .workers = 400,
    .fixed_s = 0.004,
    .full_s = 0.096,
    .idle_part = 0.7,
    .queue_s = 0.25,
    .refuse_part = 0.1,
    .flap_at_s = 1200,
    .flap_down_s = 10,
    .flap_up_s = 20,
    .flaps = 5,
    .limit_s = 5 * 3600,
    .consumers = 10,
    .max_elapsed_s = 300,
    .seed = 20240229,
};

static const struct {
    const char *name;
    double *number;
    uint32_t *count;
} settings[] = {
    {"relays", NULL, &plan.relays},  {"workers", NULL, &plan.workers},       {"flaps", NULL, &plan.flaps},
    {"seed", NULL, &plan.seed},      {"live", &plan.live_bytes_per_s, NULL}, {"backlog", &plan.backlog_s, NULL},
    {"queue", &plan.queue_s, NULL},  {"refuse", &plan.refuse_part, NULL},    {"flap_at", &plan.flap_at_s, NULL},
    {"limit", &plan.limit_s, NULL},  {"before", &plan.before_s, NULL},       {"elapsed", &plan.max_elapsed_s, NULL},
    {"idle", &plan.idle_part, NULL},
};

static bool set(const char *word)
{
    const char *equals = strchr(word, '=');
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]) && equals != NULL; i++) {
        if (strlen(settings[i].name) != (size_t)(equals - word) ||
            strncmp(settings[i].name, word, (size_t)(equals - word)) != 0)
            continue;
        char *end;
        double value = strtod(equals + 1, &end);
        if (*end != '\0' || value < 0)
            return false;
        if (settings[i].number != NULL)
            *settings[i].number = value;
        else
            *settings[i].count = (uint32_t)value;
        return true;
    }
    return false;
}

static void make_short(void)
{
    plan.relays = 1000;
    plan.workers = 40;
    plan.backlog_s = 1200;
    plan.down_s = 300;
    plan.flap_at_s = 150;
    plan.flaps = 3;
    plan.limit_s = 3600;
}

int main(int argc, char **argv)
{
    const char *directory = NULL;
    bool check = true, short_form = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--short") == 0) {
            make_short();
            short_form = true;
        } else if (strcmp(argv[i], "--out") == 0 && i + 1 < argc) {
            directory = argv[++i];
        } else if (set(argv[i])) {
            check = false; // the bounds are those of the plans above
        } else {
            fprintf(stderr, "usage: sim [--short] [--out DIRECTORY] [NAME=NUMBER ...]\n");
            return 2;
        }
    }
    struct result results[2];
    sim_run(&plan, &system_weir, &results[0]);
    sim_run(&plan, &system_collector, &results[1]);
    figures_print(results, 2, stdout);
    bool held = !check || figures_hold(&results[0], &results[1], short_form);
    if (directory != NULL && report_write(directory, &plan, results, 2) != 0) {
        fprintf(stderr, "sim: cannot write to %s: %s\n", directory, strerror(errno));
        held = false;
    }
    for (size_t i = 0; i < 2; i++) {
        free(results[i].seconds);
        free(results[i].done_s);
    }
    return held ? 0 : 1;
}
