// SPDX-License-Identifier: Apache-2.0
// What all that makes dead letters needs.
#include "proto/walk.h"
#include "relay/log.h"
#include "relay/replay_priv.h"

void letter_find_times(struct spool_dead_letter *letter)
{
    static const struct otlp_walk_options lenient = {.pass_bad_utf8 = true};
    struct otlp_summary summary;
    if (otlp_walk(letter->signal, letter->raw.data, letter->raw.len, &lenient, &summary, NULL) != WEIR_OK)
        return; // it was checked when it came in: not known is all that is lost
    letter->time_min_ns = summary.time_min_ns;
    letter->time_max_ns = summary.time_max_ns;
}

void lane_letter_lost(const struct replay_lane *lane, uint64_t items, const struct weir_err *err)
{
    static struct log_limit limit = LOG_LIMIT(1000);
    log_event_limited(&limit, LOG_ERROR, "dead_letter_lost",
                      "what the upstream will not get is too large for the dead letters: it is counted as evicted",
                      LOG_STR("upstream", lane->replay->upstream->name),
                      LOG_STR("signal", weir_signal_name(lane->signal)), LOG_U64("items", items), LOG_ERR(err));
}
