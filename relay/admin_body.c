// SPDX-License-Identifier: Apache-2.0
#include "relay/admin_body.h"

#include <stdio.h>

#include "storage/stats.h"

static const char *type_text(json_type type)
{
    switch (type) {
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "a number";
    case JSON_ARRAY:
        return "a list";
    default:
        return "true or false";
    }
}

// "a, b and c"
static void list_names(const struct admin_member *members, size_t count, char *out, size_t cap)
{
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < count && len < cap; i++)
        len += (size_t)snprintf(out + len, cap - len, "%s%s",
                                i == 0           ? ""
                                : i + 1 == count ? " and "
                                                 : ", ",
                                members[i].name);
}

static int check_members(json_t *json, const struct admin_member *members, size_t count, struct weir_err *err)
{
    const char *name;
    json_t *value;
    json_object_foreach(json, name, value)
    {
        char known[200];
        size_t i = 0;
        while (i < count && strcmp(name, members[i].name) != 0)
            i++;
        list_names(members, count, known, sizeof(known));
        if (i == count)
            return weir_fail(err, WEIR_E_INVALID, "unknown member '%.40s': there %s %s", name,
                             count == 1 ? "is" : "are", count == 0 ? "none" : known);
        if (json_typeof(value) != members[i].type && !(json_is_boolean(value) && members[i].type == JSON_TRUE))
            return weir_fail(err, WEIR_E_INVALID, "'%s' must be %s", name, type_text(members[i].type));
    }
    return WEIR_OK;
}

int admin_body_read(struct weir_slice body, bool may_be_empty, const struct admin_member *members, size_t count,
                    json_t **out, struct weir_err *err)
{
    json_error_t why = {0};
    bool empty = body.len == 0 && may_be_empty;
    json_t *json = empty ? json_object() : json_loadb((const char *)body.data, body.len, JSON_REJECT_DUPLICATES, &why);
    int code = json_is_object(json) ? check_members(json, members, count, err)
                                    : weir_fail(err, WEIR_E_INVALID, "the body must be a JSON object%s%s",
                                                json == NULL ? ": " : "", json == NULL ? why.text : "");
    if (code != WEIR_OK) {
        json_decref(json);
        json = NULL;
    }
    *out = json;
    return code;
}

// What the spool still keeps for an upstream that left the configuration.
static uint64_t left_behind(const struct relay *relay, const char *name)
{
    struct spool_lane *orphans[SPOOL_LANES_MAX];
    uint64_t items = 0;
    size_t n = relay->spool != NULL ? spool_orphan_lanes(relay->spool, orphans, SPOOL_LANES_MAX) : 0;
    for (size_t i = 0; i < n && i < SPOOL_LANES_MAX; i++) {
        struct spool_lane_stats ledger = {0};
        if (strcmp(spool_lane_upstream(orphans[i]), name) == 0)
            spool_lane_stats_get(orphans[i], &ledger);
        items += ledger.pending;
    }
    return items;
}

int admin_find_upstream(const struct relay *relay, const char *name, struct replay **out, struct weir_err *err)
{
    char known[400] = "";
    *out = NULL;
    for (size_t i = 0; i < relay->replay_count; i++) {
        const struct config_upstream *upstream = replay_upstream(relay->replays[i]);
        if (strcmp(upstream->name, name) == 0) {
            *out = relay->replays[i];
            return WEIR_OK;
        }
        size_t len = strlen(known);
        snprintf(known + len, sizeof(known) - len, "%s%s", i > 0 ? ", " : "", upstream->name);
    }
    const char *there = relay->replay_count > 0 ? known : "none";
    uint64_t items = err != NULL ? left_behind(relay, name) : 0;
    if (items == 0)
        return weir_fail(err, WEIR_E_NOT_FOUND, "unknown upstream '%.64s': there are %s", name, there);
    return weir_fail(
        err, WEIR_E_NOT_FOUND,
        "unknown upstream '%.64s': there are %s; the spool keeps %llu items for it: configure it again, or "
        "weir discard %.64s",
        name, there, (unsigned long long)items, name);
}

bool admin_takes_nothing(struct replay *replay, char out[ADMIN_WORDS_MAX])
{
    const char *name = replay_upstream(replay)->name;
    struct replay_stats stats;
    replay_stats_get(replay, &stats);
    bool paused = stats.state == REPLAY_PAUSED;
    snprintf(out, ADMIN_WORDS_MAX, "'%.64s' does not take data now (%s%s%.64s)", name, replay_state_name(stats.state),
             paused ? ": weir resume " : "", paused ? name : "");
    return stats.state >= REPLAY_PROBING;
}
