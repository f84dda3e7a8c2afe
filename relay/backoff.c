// SPDX-License-Identifier: Apache-2.0
#include "relay/backoff.h"

uint64_t backoff_delay_ms(const struct backoff_policy *policy, uint32_t failures, uint64_t server_delay_ms,
                          double random)
{
    assert(failures > 0 && random >= 0 && random <= 1);
    uint64_t delay_ms = policy->initial_ms;
    for (uint32_t i = 1; i < failures && delay_ms < policy->max_ms; i++)
        delay_ms *= 2;
    if (delay_ms > policy->max_ms)
        delay_ms = policy->max_ms;
    delay_ms = (uint64_t)((double)delay_ms * (0.5 + random / 2));
    if (server_delay_ms > BACKOFF_SERVER_DELAY_MAX_MS)
        server_delay_ms = BACKOFF_SERVER_DELAY_MAX_MS;
    uint64_t asked_ms = (uint64_t)((double)server_delay_ms * (1 + random / 10));
    return asked_ms > delay_ms ? asked_ms : delay_ms;
}

void backoff_fail(struct backoff *backoff, const struct backoff_policy *policy, uint64_t server_delay_ms, double random,
                  uint64_t now_ns)
{
    if (backoff->failures < UINT32_MAX)
        backoff->failures++;
    backoff->failed_ns = now_ns;
    backoff->until_ns = now_ns + backoff_delay_ms(policy, backoff->failures, server_delay_ms, random) * 1000000;
}

void backoff_extend(struct backoff *backoff, uint64_t server_delay_ms, double random, uint64_t now_ns)
{
    const struct backoff_policy none = {0};
    uint64_t until_ns = now_ns + backoff_delay_ms(&none, 1, server_delay_ms, random) * 1000000;
    if (until_ns > backoff->until_ns)
        backoff->until_ns = until_ns;
}
