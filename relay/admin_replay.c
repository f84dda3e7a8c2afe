// SPDX-License-Identifier: Apache-2.0
#include "relay/admin_replay.h"

#include <stdio.h>

#include "relay/admin_answer.h"
#include "relay/admin_body.h"
#include "relay/cli_values.h"
#include "relay/config_values.h"
#include "relay/log.h"
#include "relay/status.h"
#include "storage/past.h"

#define TEXT_MAX 512

struct ask {
    struct replay *replay;
    const char *upstream; // the configuration's
    uint64_t max_data_age_ms;
    bool by_time;
    uint64_t since_ns, until_ns;
    uint64_t first, end;
    uint32_t signals; // bit mask
    bool dry_run;
};

// --- the question -----------------------------------------------------------------------------------------------------------

static const struct admin_member members[] = {
    {"upstream", JSON_STRING}, {"since", JSON_STRING},  {"until", JSON_STRING}, {"first", JSON_INTEGER},
    {"end", JSON_INTEGER},     {"signal", JSON_STRING}, {"dry_run", JSON_TRUE},
};

static int read_time(const json_t *json, const char *name, uint64_t now_ns, uint64_t *out, struct weir_err *err)
{
    int rc = cli_time_parse(json_string_value(json_object_get(json, name)), now_ns, out, err);
    return rc == WEIR_OK ? rc : weir_wrap(err, "'%s'", name);
}

static int read_range(const json_t *json, const struct relay *relay, struct ask *ask, struct weir_err *err)
{
    const json_t *since = json_object_get(json, "since"), *until = json_object_get(json, "until");
    const json_t *first = json_object_get(json, "first"), *end = json_object_get(json, "end");
    uint64_t now_ns = weir_now_unix_ns();
    ask->by_time = since != NULL;
    if ((since != NULL) == (first != NULL))
        return weir_fail(err, WEIR_E_INVALID, "say what to replay: either 'since', or 'first', a block number");
    if ((until != NULL && since == NULL) || (end != NULL && first == NULL))
        return weir_fail(err, WEIR_E_INVALID, "'until' goes with 'since', and 'end' with 'first'");
    if (since == NULL) {
        struct spool_stats stats;
        spool_stats_get(relay->spool, &stats);
        json_int_t from = json_integer_value(first), to = json_integer_value(end);
        if (from < 0 || (end != NULL && to <= from))
            return weir_fail(err, WEIR_E_INVALID, "'end' must be greater than 'first', which is not negative");
        ask->first = (uint64_t)from;
        ask->end = end != NULL && (uint64_t)to < stats.next_block ? (uint64_t)to : stats.next_block;
        return WEIR_OK;
    }
    ask->until_ns = now_ns;
    int rc = read_time(json, "since", now_ns, &ask->since_ns, err);
    if (rc == WEIR_OK && until != NULL)
        rc = read_time(json, "until", now_ns, &ask->until_ns, err);
    if (rc == WEIR_OK && ask->until_ns <= ask->since_ns)
        rc = weir_fail(err, WEIR_E_INVALID, "'until' must be after 'since'");
    return rc;
}

static int find_upstream(const json_t *json, const struct relay *relay, struct ask *ask, struct weir_err *err)
{
    const char *name = json_string_value(json_object_get(json, "upstream"));
    if (name == NULL)
        return weir_fail(err, WEIR_E_INVALID, "'upstream' is missing");
    int rc = admin_find_upstream(relay, name, &ask->replay, err);
    if (rc != WEIR_OK)
        return rc;
    const struct config_upstream *upstream = replay_upstream(ask->replay);
    ask->upstream = upstream->name;
    ask->max_data_age_ms = upstream->max_data_age_ms;
    ask->signals = upstream->signals;
    return WEIR_OK;
}

static int read_signal(const json_t *json, struct ask *ask, struct weir_err *err)
{
    const char *name = json_string_value(json_object_get(json, "signal"));
    enum weir_signal signal;
    if (name == NULL)
        return WEIR_OK;
    int rc = cli_signal_parse(name, &signal, err);
    if (rc != WEIR_OK)
        return rc;
    if ((ask->signals & (1u << signal)) == 0)
        return weir_fail(err, WEIR_E_NOT_FOUND, "upstream '%s' does not take %s", ask->upstream, name);
    ask->signals = 1u << signal;
    return WEIR_OK;
}

static int read_ask(const json_t *json, const struct relay *relay, struct ask *ask, struct weir_err *err)
{
    int rc = find_upstream(json, relay, ask, err);
    if (rc == WEIR_OK)
        rc = read_signal(json, ask, err);
    if (rc == WEIR_OK)
        rc = read_range(json, relay, ask, err);
    ask->dry_run = json_is_true(json_object_get(json, "dry_run"));
    return rc;
}

// --- doing it -----------------------------------------------------------------------------------------------------------------

static struct spool_lane *lane_of(const struct ask *ask, size_t signal)
{
    struct replay_stats stats;
    replay_stats_get(ask->replay, &stats);
    return stats.lanes[signal].lane;
}

// What each lane gets. WEIR_E_NOT_FOUND: none gets anything. When it fails half-way, what was added before stays and is in `added`.
static int add(struct spool *spool, const struct ask *ask, bool dry_run, struct spool_replay added[WEIR_SIGNALS],
               struct weir_err *err)
{
    bool found = false;
    for (size_t i = 0; i < WEIR_SIGNALS; i++) {
        added[i] = (struct spool_replay){0};
        if ((ask->signals & (1u << i)) == 0)
            continue;
        struct spool_lane *lane = lane_of(ask, i);
        int rc = dry_run ? WEIR_OK : replay_name_anew(spool, lane, err);
        if (rc == WEIR_OK)
            rc = spool_lane_replay(lane, ask->first, ask->end, dry_run, &added[i], err);
        if (rc == WEIR_E_NOT_FOUND)
            added[i] = (struct spool_replay){0};
        else if (rc != WEIR_OK)
            return weir_wrap(err, "%s", weir_signal_name((enum weir_signal)i));
        found = found || added[i].items > 0;
    }
    return found ? WEIR_OK : WEIR_E_NOT_FOUND;
}

// All are counted before one is added, so that what can be known to fail fails before anything was done.
static int run(struct relay *relay, struct ask *ask, struct spool_replay added[WEIR_SIGNALS], struct weir_err *err)
{
    int rc = WEIR_OK;
    if (ask->by_time)
        rc = spool_find_received(relay->spool, ask->since_ns, ask->until_ns, &ask->first, &ask->end, err);
    if (rc == WEIR_OK)
        rc = add(relay->spool, ask, true, added, err);
    if (rc != WEIR_OK || ask->dry_run)
        return rc;
    rc = add(relay->spool, ask, false, added, err);
    uint64_t items = 0;
    for (size_t i = 0; i < WEIR_SIGNALS; i++)
        items += added[i].items;
    return rc == WEIR_OK || items == 0 ? rc : weir_wrap(err, "%llu items were added, then", (unsigned long long)items);
}

static void say_nothing_there(struct relay *relay, const struct ask *ask, struct weir_err *err)
{
    char kept[CONFIG_NUMBER_TEXT], there[200] = "of its data that was delivered nothing is kept";
    struct spool_replay all[WEIR_SIGNALS];
    struct ask everything = *ask;
    uint64_t from_ns = UINT64_MAX, to_ns = 0;
    struct spool_stats stats;
    spool_stats_get(relay->spool, &stats);
    everything.first = stats.first_block;
    everything.end = stats.next_block;
    if (stats.next_block > stats.first_block && add(relay->spool, &everything, true, all, NULL) == WEIR_OK) {
        uint64_t first = UINT64_MAX, end = 0;
        for (size_t i = 0; i < WEIR_SIGNALS; i++) {
            if (all[i].items == 0)
                continue;
            first = all[i].first < first ? all[i].first : first;
            end = all[i].end > end ? all[i].end : end;
            from_ns = all[i].received_first_ns < from_ns ? all[i].received_first_ns : from_ns;
            to_ns = all[i].received_last_ns > to_ns ? all[i].received_last_ns : to_ns;
        }
        char from[STATUS_TIME_LEN], to[STATUS_TIME_LEN];
        status_time_format(from_ns, from);
        status_time_format(to_ns, to);
        snprintf(there, sizeof(there), "blocks %llu-%llu can be replayed, received %s to %s", (unsigned long long)first,
                 (unsigned long long)(end - 1), from, to);
    }
    weir_fail(err, WEIR_E_NOT_FOUND,
              "nothing there to replay to '%s': it is gone, was never there or still waits to be delivered; %s "
              "(spool.keep_delivered is %s)",
              ask->upstream, there, config_duration_format(relay->config->spool.keep_delivered_ms, kept));
}

// --- the answer -------------------------------------------------------------------------------------------------------------

static json_t *time_json(uint64_t unix_ns)
{
    char text[STATUS_TIME_LEN];
    status_time_format(unix_ns, text);
    return unix_ns != 0 ? json_string(text) : json_null();
}

static json_t *signals_json(const struct ask *ask, const struct spool_replay added[WEIR_SIGNALS])
{
    json_t *signals = json_object();
    for (size_t i = 0; i < WEIR_SIGNALS; i++) {
        const struct spool_replay *a = &added[i];
        if ((ask->signals & (1u << i)) == 0)
            continue;
        json_object_set_new(signals, weir_signal_name((enum weir_signal)i),
                            json_pack("{s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "blocks", (json_int_t)a->blocks, "items",
                                      (json_int_t)a->items, "bytes", (json_int_t)a->raw_bytes, "first",
                                      (json_int_t)a->first, "end", (json_int_t)a->end, "received_first",
                                      time_json(a->received_first_ns), "received_last",
                                      time_json(a->received_last_ns)));
    }
    return signals;
}

static json_t *warnings_json(const struct relay *relay, const struct ask *ask,
                             const struct spool_replay added[WEIR_SIGNALS])
{
    json_t *warnings = json_array();
    char text[TEXT_MAX], age[CONFIG_NUMBER_TEXT];
    uint64_t oldest_ns = UINT64_MAX, limit_ns = ask->max_data_age_ms * 1000000;
    for (size_t i = 0; i < WEIR_SIGNALS; i++)
        if (added[i].items > 0 && added[i].received_first_ns < oldest_ns)
            oldest_ns = added[i].received_first_ns;
    if (limit_ns > 0 && oldest_ns < weir_now_unix_ns() - limit_ns) {
        snprintf(text, sizeof(text), "what is older than max_data_age of '%s' (%s) goes to the dead letters",
                 ask->upstream, config_duration_format(ask->max_data_age_ms, age));
        json_array_append_new(warnings, json_string(text));
    }
    char why[ADMIN_WORDS_MAX];
    if (admin_takes_nothing(ask->replay, why)) {
        snprintf(text, sizeof(text), "%s: what is added waits", why);
        json_array_append_new(warnings, json_string(text));
    }
    if (atomic_load(&relay->orders.draining))
        json_array_append_new(warnings, json_string("weir drains: it comes to an end when this is delivered, too"));
    return warnings;
}

static void log_added(const struct ask *ask, const struct spool_replay added[WEIR_SIGNALS])
{
    for (size_t i = 0; i < WEIR_SIGNALS; i++)
        if (added[i].items > 0)
            log_event(LOG_INFO, "replay_added", "delivered data goes to the upstream once more, by command",
                      LOG_STR("upstream", ask->upstream), LOG_STR("signal", weir_signal_name((enum weir_signal)i)),
                      LOG_U64("items", added[i].items), LOG_U64("first_block", added[i].first),
                      LOG_U64("end_block", added[i].end));
}

int admin_replay(struct relay *relay, struct weir_slice body, json_t **out)
{
    struct ask ask = {0};
    struct spool_replay added[WEIR_SIGNALS] = {0};
    struct weir_err err = {0};
    json_t *json = NULL;
    int rc = admin_body_read(body, false, members, WEIR_COUNT(members), &json, &err);
    if (rc == WEIR_OK)
        rc = read_ask(json, relay, &ask, &err);
    if (rc == WEIR_OK) {
        rc = run(relay, &ask, added, &err);
        if (rc == WEIR_E_NOT_FOUND)
            say_nothing_there(relay, &ask, &err);
    }
    json_decref(json);
    bool asked = ask.replay != NULL, done = !ask.dry_run && asked;
    if (done) {
        // Half of it may have been added when the disk failed.
        replay_look_again(ask.replay);
        if (rc == WEIR_OK)
            log_added(&ask, added);
    }
    if (rc != WEIR_OK)
        *out = admin_error_json(err.text);
    else
        *out = json_pack("{s:s, s:b, s:o, s:o}", "upstream", ask.upstream, "dry_run", ask.dry_run, "signals",
                         signals_json(&ask, added), "warnings", warnings_json(relay, &ask, added));
    return rc == WEIR_OK ? 200 : admin_status_of(rc);
}
