// SPDX-License-Identifier: Apache-2.0
// The figures of a run, and the bounds they are held against.
#include "tests/sim/sim.h"

#include <math.h>

#define SETTLE_S 30 // after a return: from then on the capacity is to be used

// Whether a second counts for goodput: not while the upstream is away, nor soon after it came back.
static bool counts(const struct plan *plan, double second)
{
    double since_flap = second - plan->flap_at_s;
    double each_s = plan->flap_down_s + plan->flap_up_s;
    if (second < SETTLE_S)
        return false;
    return since_flap < 0 || plan->flaps == 0 || since_flap >= plan->flaps * each_s - plan->flap_up_s + SETTLE_S;
}

static double quantile(const double *sorted, uint32_t count, double part)
{
    return sorted[(uint32_t)(part * (count - 1) + 0.5)];
}

static double live_quantile(const struct result *result, double part)
{
    double all = 0, sum = 0;
    uint32_t last = 0;
    for (uint32_t i = 0; i < DELAY_BUCKETS; i++)
        all += result->live_buckets[i];
    for (; last < DELAY_BUCKETS - 1 && (sum += result->live_buckets[last]) < part * all; last++)
        ;
    return DELAY_LEAST_S * pow(10, last / DELAY_PER_TEN);
}

void figures_of(const struct plan *plan, struct result *result)
{
    result->done_p50_s = quantile(result->done_s, result->relays, 0.5);
    result->done_p99_s = quantile(result->done_s, result->relays, 0.99);
    result->done_last_s = result->done_s[result->relays - 1];
    double bytes = 0, seconds = 0, refused = 0, requests = 0;
    for (uint32_t i = 0; i < result->second_count && i < result->done_p50_s; i++) {
        if (!counts(plan, i))
            continue;
        bytes += result->seconds[i].accepted_bytes;
        refused += result->seconds[i].refused;
        requests += result->seconds[i].requests;
        seconds++;
    }
    result->goodput = seconds > 0 ? bytes / seconds / result->capacity_bytes_per_s : 0;
    result->refused_steady = requests > 0 ? refused / requests : 1;
    result->refused_part = (double)result->refused / (double)(result->requests - result->unreachable);
    result->live_p50_s = live_quantile(result, 0.5);
    result->live_p99_s = live_quantile(result, 0.99);
}

void figures_print(const struct result *results, size_t count, FILE *out)
{
    fprintf(out, "%-28s", "");
    for (size_t i = 0; i < count; i++)
        fprintf(out, " %12s", results[i].name);
#define ROW(label, format, value)                                                                                      \
    do {                                                                                                               \
        fprintf(out, "\n%-28s", label);                                                                                \
        for (size_t i = 0; i < count; i++)                                                                             \
            fprintf(out, " %12" format, value);                                                                        \
    } while (0)
    ROW("goodput, % of capacity", ".1f", 100 * results[i].goodput);
    ROW("refused, % of requests", ".2f", 100 * results[i].refused_part);
    ROW("  in the steady state", ".2f", 100 * results[i].refused_steady);
    ROW("drained, median, s", ".0f", results[i].done_p50_s);
    ROW("  99th percentile", ".0f", results[i].done_p99_s);
    ROW("  the last", ".0f", results[i].done_last_s);
    ROW("  99th / median", ".3f", results[i].done_p99_s / results[i].done_p50_s);
    ROW("live delay, median, s", ".2f", results[i].live_p50_s);
    ROW("  99th percentile", ".2f", results[i].live_p99_s);
    ROW("given up, GB", ".1f", results[i].lost_bytes / 1e9);
    ROW("lost without an answer", ".0f", (double)results[i].lost_exports);
    ROW("requests, millions", ".2f", (double)results[i].requests / 1e6);
    ROW("events, millions", ".1f", (double)results[i].events / 1e6);
    ROW("CPU, s", ".1f", results[i].cpu_s);
#undef ROW
    fprintf(out, "\n");
}

static bool holds(bool held, const char *what)
{
    if (!held)
        printf("sim: does not hold: %s\n", what);
    return held;
}

bool figures_hold(const struct result *weir, const struct result *collector, bool short_form)
{
    double spread = weir->done_p99_s / weir->done_p50_s, other_spread = collector->done_p99_s / collector->done_p50_s;
    bool held = holds(weir->goodput >= 0.9, "goodput >= 90 % of the capacity");
    held &= holds(weir->refused_part <= 0.05, "refused <= 5 %");
    held &= holds(weir->refused_steady <= 0.05, "refused <= 5 % in the steady state");
    held &= holds(isfinite(weir->done_last_s), "every relay finishes");
    held &= holds(spread <= 1.5, "p99 of the finish <= 1.5 x p50");
    held &= holds(weir->lost_bytes <= 0, "nothing is given up");
    held &= holds(weir->goodput > collector->goodput, "more goodput than the collector");
    held &= holds(weir->refused_part < collector->refused_part, "fewer refused than the collector's");
    held &= holds(weir->done_p50_s < collector->done_p50_s, "drained before the collector");
    held &= holds(weir->done_last_s < collector->done_last_s, "the last one, too");
    // Few relays and a short backlog: what chance does to each has no time to even out.
    held &= holds(short_form || spread < other_spread, "a smaller spread of finish times than the collector's");
    held &= holds(weir->live_p99_s < collector->live_p99_s, "live data less late than the collector's");
    return held;
}
