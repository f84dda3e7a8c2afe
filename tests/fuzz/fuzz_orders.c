// SPDX-License-Identifier: Apache-2.0
// The orders of the admin port: a line that says which one and about whom, then the body. An answer for anything, 200 or an error that says
// why; lanes that add up; lanes that are in use are never given up; and the order that is in force is the one that was answered.
//   d                  drain        p NAME  pause        r NAME  resume        x NAME  discard
#include "relay/admin_orders.h"
#include "relay/log.h"
#include "relay/replay.h"
#include "small_spool.h"
#include "storage/note.h"
#include "storage/stats.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct relay relay; // large
static struct config config;

static void set_up(void)
{
    static struct replay *replay;
    struct weir_err err = {0};
    struct spool_lane *lane;
    log_configure(LOG_ERROR, LOG_TEXT);
    small_spool_make();
    CHECK(small_spool_open(&relay.spool, &err) == WEIR_OK);
    CHECK(spool_lane_open(relay.spool, "gone", WEIR_LOGS, SPOOL_START_NOW, &lane, &err) == WEIR_OK);
    small_spool_fill(relay.spool);
    spool_close(relay.spool);
    CHECK(small_spool_open(&relay.spool, &err) == WEIR_OK); // now it is nobody's
    const struct weir_slice yaml = {(const uint8_t *)"upstreams: [{name: up, endpoint: 'grpc://127.0.0.1:1'}]", 55};
    const struct config_input input = {.file = "fuzz.yaml", .yaml = &yaml};
    struct config_errors errors = {0};
    CHECK(config_load(&input, &config, &errors) == WEIR_OK);
    CHECK(replay_new(relay.spool, &config.upstreams[0], "0b2c3d4e-0000-4000-8000-000000000001", &replay, &err) ==
          WEIR_OK);
    relay.config = &config;
    relay.replays[0] = replay;
    relay.replay_count = 1;
}

static int ask(uint8_t verb, const char *name, struct weir_slice body, json_t **answer)
{
    switch (verb) {
    case 'd':
        return admin_drain(&relay, body, answer);
    case 'p':
        return admin_pause(&relay, name, true, body, answer);
    case 'r':
        return admin_pause(&relay, name, false, body, answer);
    default:
        return admin_discard(&relay, name, body, answer);
    }
}

static void check_in_force(uint8_t verb, const json_t *answer)
{
    if (verb == 'd')
        CHECK(json_is_true(json_object_get(answer, "draining")) == atomic_load(&relay.orders.draining));
    if (verb == 'p' || verb == 'r')
        CHECK(json_is_true(json_object_get(answer, "paused")) == (verb == 'p') &&
              replay_is_paused(relay.replays[0]) == (verb == 'p'));
    CHECK(json_object_get(answer, "durable") == json_true());
    struct weir_buf note = {0};
    CHECK((spool_note_get(relay.spool, "draining", &note, NULL) == WEIR_OK) == atomic_load(&relay.orders.draining));
    CHECK((spool_note_get(relay.spool, "paused/up", &note, NULL) == WEIR_OK) == replay_is_paused(relay.replays[0]));
    weir_buf_free(&note);
}

static void check_lanes(void)
{
    struct replay_stats stats;
    struct spool_lane *orphan;
    struct spool_lane_stats lane;
    replay_stats_get(relay.replays[0], &stats);
    for (int signal = 0; signal < WEIR_SIGNALS; signal++) {
        spool_lane_stats_get(stats.lanes[signal].lane, &lane);
        CHECK(lane.discarded == 0 && lane.accepted == lane.pending);
    }
    CHECK(spool_orphan_lanes(relay.spool, &orphan, 1) == 1);
    spool_lane_stats_get(orphan, &lane);
    CHECK(lane.accepted == lane.pending + lane.discarded && lane.accepted > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (relay.spool == NULL)
        set_up();
    const uint8_t *line_end = len > 2 ? memchr(data, '\n', len) : NULL;
    if (line_end == NULL || line_end - data < 2 || memchr(data, 0, (size_t)(line_end - data)) != NULL)
        return 0; // the path's name never holds a 0
    char name[256];
    snprintf(name, sizeof(name), "%.*s", (int)(line_end - data - 2), (const char *)data + 2);
    json_t *answer = NULL;
    struct weir_slice body = {line_end + 1, (size_t)(data + len - line_end - 1)};
    int status = ask(data[0], name, body, &answer);
    CHECK(answer != NULL && (status == 200) == (json_object_get(answer, "error") == NULL));
    CHECK(status == 200 || status == 400 || status == 404 || status == 409);
    if (status == 200)
        check_in_force(data[0], answer);
    check_lanes();
    char *text = json_dumps(answer, 0);
    CHECK(text != NULL);
    free(text);
    json_decref(answer);
    return 0;
}
