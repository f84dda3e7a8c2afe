// SPDX-License-Identifier: Apache-2.0
// Data that is older than the upstream's max_data_age when its turn comes: kept as dead letters, not sent. Consecutive blocks that may travel in
// one request become one letter, since each letter is a commit: a large backlog passes as fast as the disk takes it. After each letter the
// worker looks at its other lanes and at the network.
#include "relay/replay_priv.h"

#include "relay/config_values.h"
#include "relay/log.h"
#include "relay/status.h"

#define TEXT_MAX 256

bool lane_too_old(const struct replay_lane *lane, const struct block_view *view)
{
    uint64_t max_age_ns = lane->replay->upstream->max_data_age_ms * 1000000, now_ns = weir_now_unix_ns();
    return max_age_ns > 0 && now_ns > max_age_ns && view->received_last_ns < now_ns - max_age_ns;
}

static int decode(const struct export *export, struct weir_buf *raw, struct weir_err *err)
{
    int rc = WEIR_OK;
    for (size_t i = 0; i < export->view_count && rc == WEIR_OK; i++)
        rc = block_view_decode(&export->views[i], raw, err);
    return rc;
}

static void say_why(const struct export *export, char text[TEXT_MAX])
{
    const struct block_view *first = &export->views[0], *last = &export->views[export->view_count - 1];
    char from[STATUS_TIME_LEN], to[STATUS_TIME_LEN], age[CONFIG_NUMBER_TEXT];
    uint64_t requests = 0;
    for (size_t i = 0; i < export->view_count; i++)
        requests += export->views[i].requests;
    status_time_format(first->received_first_ns, from);
    status_time_format(last->received_last_ns, to);
    snprintf(text, TEXT_MAX, "not sent: %llu request%s received %s to %s, older than max_data_age (%s)",
             (unsigned long long)requests, requests == 1 ? "" : "s", from, to,
             config_duration_format(export->replay->upstream->max_data_age_ms, age));
}

static int put_letter(const struct export *export, const struct weir_buf *raw, struct weir_err *err)
{
    const struct replay_lane *lane = export->lane;
    char why[TEXT_MAX];
    uint64_t time_min_ns = 0, time_max_ns = 0;
    for (size_t i = 0; i < export->view_count; i++) {
        const struct block_view *view = &export->views[i];
        if (view->time_min_ns != 0 && (time_min_ns == 0 || view->time_min_ns < time_min_ns))
            time_min_ns = view->time_min_ns;
        time_max_ns = view->time_max_ns > time_max_ns ? view->time_max_ns : time_max_ns;
    }
    say_why(export, why);
    const struct spool_dead_letter letter = {
        .upstream = lane->replay->upstream->name,
        .signal = lane->signal,
        .code = "TOO_OLD",
        .message = why,
        .block = export->views[0].number,
        .items = export->items,
        .received_ns = export->views[0].received_first_ns,
        .time_min_ns = time_min_ns,
        .time_max_ns = time_max_ns,
        .envelope = export->views[0].envelope,
        .raw = {raw->data, raw->len},
    };
    int rc = spool_dead_letter_put(lane->replay->spool, &letter, err);
    static struct log_limit limit = LOG_LIMIT(10000);
    if (rc == WEIR_OK)
        log_event_limited(
            &limit, LOG_WARN, "dead_letter", "data was too old for the upstream: it is kept as a dead letter",
            LOG_STR("upstream", letter.upstream), LOG_STR("signal", weir_signal_name(lane->signal)),
            LOG_U64("items", letter.items), LOG_STR("code", letter.code), LOG_STR("message", letter.message));
    return rc;
}

static void settle(const struct export *export, const struct spool_outcome *outcome)
{
    struct replay_lane *lane = export->lane;
    spool_lane_settle(lane->spool_lane, export->first, export->end, outcome);
    if (lane->cannot_keep) // that was in the way, and no longer is
        backoff_reset(&lane->backoff);
    lane->cannot_keep = false;
    lane->behind = true;
    pthread_mutex_lock(&lane->replay->lock);
    lane->replay->stats.lanes[lane->signal].dead_letter_requests += outcome->dead_lettered > 0;
    pthread_mutex_unlock(&lane->replay->lock);
}

void lane_bury_old(struct export *export)
{
    struct replay_lane *lane = export->lane;
    struct weir_buf raw = {0};
    struct weir_err err = {0};
    int rc = decode(export, &raw, &err);
    bool damaged = rc == WEIR_E_CORRUPT;
    if (rc == WEIR_OK)
        rc = put_letter(export, &raw, &err);
    weir_buf_free(&raw);
    lane->buried_turn = lane->replay->turn;
    if (rc == WEIR_OK) {
        settle(export, &(struct spool_outcome){.dead_lettered = export->items});
    } else if (rc == WEIR_E_LIMIT) {
        lane_letter_lost(lane, export->items, &err);
        settle(export, &(struct spool_outcome){.evicted = export->items});
    } else {
        lane_put_back(lane, export->first, export->end);
        if (damaged)
            lane_damaged(lane, export, &err);
        else
            lane_cannot_keep(lane, &err);
    }
    export_free(export);
}
