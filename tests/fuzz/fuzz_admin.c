// SPDX-License-Identifier: Apache-2.0
// The body of POST /v1/replay: an answer for anything, 200 or an error that says why, and never lanes that do not add up.
#include "relay/admin_replay.h"
#include "relay/log.h"
#include "relay/replay.h"
#include "small_spool.h"
#include "storage/stats.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct relay relay; // large
static struct config config;

static void set_up(void)
{
    static struct replay *replay;
    struct config_upstream *upstream = &config.upstreams[0];
    struct weir_err err = {0};
    small_spool_make();
    CHECK(small_spool_open(&relay.spool, &err) == WEIR_OK);
    const struct weir_slice yaml = {(const uint8_t *)"upstreams: [{name: up, endpoint: 'grpc://127.0.0.1:1'}]", 55};
    const struct config_input input = {.file = "fuzz.yaml", .yaml = &yaml};
    struct config_errors errors = {0};
    CHECK(config_load(&input, &config, &errors) == WEIR_OK);
    CHECK(replay_new(relay.spool, upstream, "0b2c3d4e-0000-4000-8000-000000000001", &replay, &err) == WEIR_OK);
    small_spool_fill(relay.spool);
    relay.config = &config;
    relay.replays[0] = replay;
    relay.replay_count = 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (relay.spool == NULL)
        set_up();
    json_t *answer = NULL;
    int status = admin_replay(&relay, (struct weir_slice){data, len}, &answer);
    CHECK(answer != NULL && (status == 200) == (json_object_get(answer, "error") == NULL));
    CHECK(status == 200 || status == 400 || status == 404 || status == 409);
    char *text = json_dumps(answer, 0);
    CHECK(text != NULL);
    free(text);
    json_decref(answer);
    struct replay_stats stats;
    replay_stats_get(relay.replays[0], &stats);
    for (int signal = 0; signal < WEIR_SIGNALS; signal++) {
        struct spool_lane_stats lane;
        spool_lane_stats_get(stats.lanes[signal].lane, &lane);
        CHECK(lane.pending <= 2 * BLOCKS);
    }
    return 0;
}
