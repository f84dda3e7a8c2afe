// SPDX-License-Identifier: Apache-2.0
#include "relay/rates.h"

#define MIN_GAP_NS      1000000u // two samples closer than this say nothing about speed
#define NOISE_FRACTION  0.05
#define HORIZON_SECONDS (10 * 365.25 * 86400) // what lies further away is the noise of a rate near zero
#define MIN_SPEED       1e-3 // below one in a quarter of an hour an old burst has faded, not slowed down

void rate_sample(struct rate *rate, uint64_t value, uint64_t now_ns)
{
    if (!rate->started) {
        rate->started = true;
        rate->last_value = value;
        rate->last_ns = now_ns;
        return;
    }
    if (now_ns < rate->last_ns + MIN_GAP_NS)
        return;
    double seconds = (double)(now_ns - rate->last_ns) / 1e9;
    double grown = value >= rate->last_value ? (double)(value - rate->last_value) : 0;
    double share = seconds / (RATE_WINDOW_SECONDS + seconds); // 1 - exp(-t/w) to first order, without libm
    rate->weighted_sum = rate->weighted_sum * (1 - share) + share * grown / seconds;
    rate->weight = rate->weight * (1 - share) + share;
    rate->last_value = value;
    rate->last_ns = now_ns;
}

double rate_per_second(const struct rate *rate)
{
    if (rate->weight <= 0)
        return 0;
    double speed = rate->weighted_sum / rate->weight;
    return speed < MIN_SPEED ? 0 : speed;
}

static double foreseeable(double seconds)
{
    return seconds <= HORIZON_SECONDS ? seconds : RATE_UNKNOWN;
}

double rate_eta_seconds(uint64_t backlog, double in_per_second, double out_per_second)
{
    if (backlog == 0)
        return 0;
    double shrinking = out_per_second - in_per_second;
    return shrinking > 0 ? foreseeable((double)backlog / shrinking) : RATE_UNKNOWN;
}

double rate_full_in_seconds(uint64_t free_bytes, double growth_per_second, double in_per_second)
{
    if (growth_per_second <= 0 || growth_per_second < in_per_second * NOISE_FRACTION)
        return RATE_UNKNOWN;
    return foreseeable((double)free_bytes / growth_per_second);
}
