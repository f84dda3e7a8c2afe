// SPDX-License-Identifier: Apache-2.0
// An upstream's endpoints: the first is used as long as it answers, then the next one that does. They are the same upstream under several
// addresses, so that what one has taken is delivered, and nothing goes to two.
//
//   first ──no answer, "unavailable"──> next ──…──> last ──> first …      a whole round without an answer is backed off from: one export
//                                                                         to each, then a wait
//   another one for ENDPOINT_HOME_MS ──> first                            again and again, ever more seldom while it fails
#include "relay/replay_priv.h"

#include "relay/log.h"

const struct config_target *endpoint_target(const struct replay *replay, size_t index)
{
    return index == 0 ? &replay->upstream->target : &replay->upstream->alternates[index - 1];
}

struct client *endpoint_client(const struct replay *replay)
{
    return replay->endpoints.clients[replay->endpoints.current];
}

bool endpoint_failed(struct replay *replay, bool turned_away)
{
    struct endpoints *endpoints = &replay->endpoints;
    if (endpoints->count == 1)
        return false;
    endpoints->leave = endpoints->trial = true;
    endpoints->turned_away = endpoints->turned_away || turned_away;
    if (++endpoints->failed < endpoints->count)
        return true;
    endpoints->failed = 0; // all of them: a pause before the next round
    return false;
}

void endpoint_answered(struct replay *replay)
{
    struct endpoints *endpoints = &replay->endpoints;
    endpoints->failed = 0;
    endpoints->leave = endpoints->trial = endpoints->turned_away;
    if (endpoints->current == 0)
        endpoints->home_wait_ms = ENDPOINT_HOME_MS;
}

static void use(struct replay *replay, uint32_t index, const char *why)
{
    struct endpoints *endpoints = &replay->endpoints;
    const struct config_target *before = endpoint_target(replay, endpoints->current);
    const struct config_target *now = endpoint_target(replay, index);
    uint64_t wait_ms = endpoints->home_wait_ms;
    // What was known was known of the other one.
    replay->encoding = replay_first_encoding(replay->upstream->compression);
    replay->encoding_proven = false;
    replay->encoding_connection = 0;
    governor_moved(&replay->flow.governor);
    lanes_forget_limits(replay);
    if (endpoints->go_home)
        endpoints->home_wait_ms = wait_ms * 2 < ENDPOINT_HOME_MAX_MS ? wait_ms * 2 : ENDPOINT_HOME_MAX_MS;
    else if (endpoints->current == 0)
        endpoints->home_ns = weir_now_ns() + wait_ms * 1000000;
    endpoints->current = index;
    endpoints->leave = endpoints->turned_away = endpoints->go_home = false;
    endpoints->trial = true;
    pthread_mutex_lock(&replay->lock);
    replay->stats.endpoint = now->text;
    pthread_mutex_unlock(&replay->lock);
    log_event(LOG_INFO, "endpoint_changed", why, LOG_STR("upstream", replay->upstream->name),
              LOG_STR("from", before->text), LOG_STR("to", now->text));
}

bool endpoint_turn(struct replay *replay)
{
    struct endpoints *endpoints = &replay->endpoints;
    if (endpoints->count == 1)
        return true;
    if (endpoints->current != 0 && !endpoints->leave && weir_now_ns() >= endpoints->home_ns)
        endpoints->go_home = true;
    if (!endpoints->leave && !endpoints->go_home)
        return true;
    if (replay->in_flight > 0)
        return false;
    if (endpoints->leave) {
        endpoints->go_home = false;
        use(replay, (endpoints->current + 1) % endpoints->count, "an endpoint does not answer: the next one is tried");
    } else {
        use(replay, 0, "the upstream's first endpoint is tried again");
    }
    return true;
}

bool endpoint_on_trial(const struct replay *replay)
{
    return replay->endpoints.trial;
}

void endpoints_poll(struct replay *replay, int timeout_ms)
{
    struct endpoints *endpoints = &replay->endpoints;
    for (uint32_t i = 0; i < endpoints->count; i++) // the others' idle connections hear what their peers say
        if (i != endpoints->current)
            client_poll(endpoints->clients[i], 0);
    client_poll(endpoint_client(replay), timeout_ms);
}
