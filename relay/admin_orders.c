// SPDX-License-Identifier: Apache-2.0
#include "relay/admin_orders.h"

#include <stdio.h>

#include "relay/admin_answer.h"
#include "relay/admin_body.h"
#include "relay/cli_values.h"
#include "relay/log.h"
#include "relay/status.h"

#define TEXT_MAX 400

static int fail(const struct weir_err *err, int code, json_t **out)
{
    *out = admin_error_json(err->text);
    return admin_status_of(code);
}

__attribute__((format(printf, 2, 3))) static void warn(json_t *warnings, const char *fmt, ...)
{
    char text[TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    json_array_append_new(warnings, json_string(text));
}

// It is in force, but a restart would not know of it.
static void warn_not_durable(json_t *warnings, int code, const struct weir_err *err)
{
    if (code != WEIR_OK)
        warn(warnings, "this is in force, but could not be made durable: a restart may forget it (%s)", err->text);
}

static uint64_t pending_of(struct replay *replay)
{
    struct replay_stats stats;
    uint64_t items = 0;
    replay_stats_get(replay, &stats);
    for (int i = 0; i < WEIR_SIGNALS; i++) {
        struct spool_lane_stats ledger = {0};
        if (stats.lanes[i].lane != NULL)
            spool_lane_stats_get(stats.lanes[i].lane, &ledger);
        items += ledger.pending;
    }
    return items;
}

// --- drain ------------------------------------------------------------------------------------------------------------------

// What keeps it from coming to an end, or stays behind when it has.
static void warn_of_drain(struct relay *relay, json_t *warnings)
{
    for (size_t i = 0; i < relay->replay_count; i++) {
        const char *name = replay_upstream(relay->replays[i])->name;
        struct replay_stats stats;
        uint64_t items = pending_of(relay->replays[i]);
        replay_stats_get(relay->replays[i], &stats);
        if (items == 0)
            continue;
        if (replay_is_paused(relay->replays[i]))
            warn(warnings, "'%s' is paused, and %llu items wait for it: weir resume %s", name,
                 (unsigned long long)items, name);
        else if (stats.state == REPLAY_HELD)
            warn(warnings, "'%s' refuses by a setting (%s: %s), and %llu items wait for it", name, stats.error_code,
                 stats.error_message, (unsigned long long)items);
    }
    struct spool_lane *orphans[SPOOL_LANES_MAX];
    size_t n = spool_orphan_lanes(relay->spool, orphans, SPOOL_LANES_MAX);
    for (size_t i = 0; i < n && i < SPOOL_LANES_MAX; i++) {
        struct spool_lane_stats ledger;
        spool_lane_stats_get(orphans[i], &ledger);
        if (ledger.pending > 0)
            warn(warnings,
                 "%llu items (%s) are for '%s', which is not configured: they stay, and do not hold the end up",
                 (unsigned long long)ledger.pending, weir_signal_name(spool_lane_signal(orphans[i])),
                 spool_lane_upstream(orphans[i]));
    }
}

int admin_drain(struct relay *relay, struct weir_slice body, json_t **out)
{
    static const struct admin_member members[] = {{"cancel", JSON_TRUE}};
    struct weir_err err = {0};
    struct drain_state state;
    char since[STATUS_TIME_LEN];
    json_t *json;
    bool changed;
    int code = admin_body_read(body, true, members, WEIR_COUNT(members), &json, &err);
    if (code != WEIR_OK)
        return fail(&err, code, out);
    bool on = !json_is_true(json_object_get(json, "cancel"));
    json_decref(json);
    json_t *warnings = json_array();
    code = orders_drain(relay, on, &changed, &err);
    warn_not_durable(warnings, code, &err);
    orders_drain_state(relay, &state);
    if (on)
        warn_of_drain(relay, warnings);
    status_time_format(state.since_unix_ns, since);
    *out = json_pack("{s:b, s:b, s:s?, s:I, s:b, s:b, s:o}", "draining", state.draining, "drained", state.drained,
                     "since", state.since_unix_ns != 0 ? since : NULL, "pending_items", (json_int_t)state.pending_items,
                     "changed", changed, "durable", code == WEIR_OK, "warnings", warnings);
    return 200;
}

// --- pause and resume -------------------------------------------------------------------------------------------------------

int admin_pause(struct relay *relay, const char *upstream, bool paused, struct weir_slice body, json_t **out)
{
    struct weir_err err = {0};
    struct replay *replay;
    json_t *json;
    bool changed;
    int code = admin_body_read(body, true, NULL, 0, &json, &err);
    json_decref(json);
    if (code == WEIR_OK)
        code = admin_find_upstream(relay, upstream, &replay, &err);
    if (code != WEIR_OK)
        return fail(&err, code, out);
    json_t *warnings = json_array();
    code = orders_pause(relay, replay, paused, &changed, &err);
    warn_not_durable(warnings, code, &err);
    struct drain_state drain;
    orders_drain_state(relay, &drain);
    if (paused && drain.draining && !drain.drained)
        warn(warnings, "weir drains: it does not come to an end while data waits for '%s'", upstream);
    *out = json_pack("{s:s, s:b, s:I, s:b, s:b, s:o}", "upstream", replay_upstream(replay)->name, "paused",
                     replay_is_paused(replay), "pending_items", (json_int_t)pending_of(replay), "changed", changed,
                     "durable", code == WEIR_OK, "warnings", warnings);
    return 200;
}

// --- discard ------------------------------------------------------------------------------------------------------------------

struct discard {
    struct spool_lane *lanes[WEIR_SIGNALS]; // of that name, that are not in use
    struct spool_lane_stats before[WEIR_SIGNALS];
    bool dry_run;
};

// Lanes that are in use are never among them.
static int find_lanes(struct relay *relay, const char *upstream, const char *signal, struct discard *d,
                      struct weir_err *err)
{
    struct spool_lane *orphans[SPOOL_LANES_MAX];
    char known[TEXT_MAX / 2] = "";
    bool found = false;
    size_t n = spool_orphan_lanes(relay->spool, orphans, SPOOL_LANES_MAX);
    for (size_t i = 0; i < n && i < SPOOL_LANES_MAX; i++) {
        const char *name = spool_lane_upstream(orphans[i]);
        enum weir_signal s = spool_lane_signal(orphans[i]);
        size_t len = strlen(known);
        snprintf(known + len, sizeof(known) - len, "%s%s/%s", len > 0 ? ", " : "", name, weir_signal_name(s));
        if (strcmp(name, upstream) != 0 || (signal != NULL && strcmp(signal, weir_signal_name(s)) != 0))
            continue;
        d->lanes[s] = orphans[i];
        spool_lane_stats_get(orphans[i], &d->before[s]);
        found = true;
    }
    if (found)
        return WEIR_OK;
    struct replay *replay;
    bool configured = admin_find_upstream(relay, upstream, &replay, NULL) == WEIR_OK;
    if (configured)
        return weir_fail(err, WEIR_E_LIMIT,
                         "upstream '%.64s' is configured%s: its data is given up when it is taken out of the "
                         "configuration first; `weir pause` keeps it from being sent meanwhile",
                         upstream, signal != NULL ? " for that signal" : "");
    return weir_fail(err, WEIR_E_NOT_FOUND,
                     "the spool has no lane of an upstream '%.64s'%s; of those that left the configuration it has: %s",
                     upstream, signal != NULL ? " for that signal" : "", known[0] != '\0' ? known : "none");
}

static int discard_lane(struct spool_lane *lane, struct weir_err *err)
{
    uint64_t items;
    int code = spool_lane_discard(lane, &items, err);
    log_event(LOG_WARN, "lane_discarded", "what a removed upstream was still to get is given up, by command",
              LOG_STR("upstream", spool_lane_upstream(lane)),
              LOG_STR("signal", weir_signal_name(spool_lane_signal(lane))), LOG_U64("items", items));
    return code;
}

static json_t *discarded_json(const struct discard *d, uint64_t *items)
{
    json_t *signals = json_object();
    *items = 0;
    for (size_t i = 0; i < WEIR_SIGNALS; i++) {
        if (d->lanes[i] == NULL)
            continue;
        *items += d->before[i].pending;
        json_object_set_new(signals, weir_signal_name((enum weir_signal)i),
                            json_pack("{s:I, s:I}", "items", (json_int_t)d->before[i].pending, "bytes",
                                      (json_int_t)d->before[i].pending_bytes));
    }
    return signals;
}

int admin_discard(struct relay *relay, const char *upstream, struct weir_slice body, json_t **out)
{
    static const struct admin_member members[] = {{"signal", JSON_STRING}, {"dry_run", JSON_TRUE}};
    struct discard d = {.dry_run = false};
    struct weir_err err = {0};
    enum weir_signal one;
    json_t *json;
    int code = admin_body_read(body, true, members, WEIR_COUNT(members), &json, &err);
    const char *signal = json_string_value(json_object_get(json, "signal"));
    d.dry_run = json_is_true(json_object_get(json, "dry_run"));
    if (code == WEIR_OK && signal != NULL)
        code = cli_signal_parse(signal, &one, &err);
    if (code == WEIR_OK)
        code = find_lanes(relay, upstream, signal, &d, &err);
    json_decref(json);
    if (code != WEIR_OK)
        return fail(&err, code, out);
    json_t *warnings = json_array();
    for (size_t i = 0; i < WEIR_SIGNALS && !d.dry_run; i++)
        if (d.lanes[i] != NULL)
            code = code == WEIR_OK ? discard_lane(d.lanes[i], &err) : discard_lane(d.lanes[i], NULL);
    struct replay *configured;
    if (!d.dry_run && admin_find_upstream(relay, upstream, &configured, NULL) != WEIR_OK)
        orders_forget(relay, upstream, NULL);
    warn_not_durable(warnings, code, &err);
    uint64_t items;
    json_t *signals = discarded_json(&d, &items);
    *out = json_pack("{s:s, s:b, s:I, s:o, s:b, s:o}", "upstream", upstream, "dry_run", d.dry_run, "items",
                     (json_int_t)items, "signals", signals, "durable", code == WEIR_OK, "warnings", warnings);
    return 200;
}
