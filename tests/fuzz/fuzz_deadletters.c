// SPDX-License-Identifier: Apache-2.0
// The dead letters by the admin port: a byte that says what is asked, then the query, the id or the body. An answer for anything, 200 or an
// error that says why, all of it JSON; and ledgers that name what lies there.
//   l  list (query)        s  show (id)        r  redrive (body)        p  purge (body)
#include "relay/admin_deadletters.h"
#include "relay/log.h"
#include "relay/replay.h"
#include "small_spool.h"
#include "storage/letters.h"
#include "storage/stats.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct relay relay; // large
static struct config config;

// One of an upstream that is configured and one of another, besides those of small_spool_fill.
static void put_letters(void)
{
    static const uint8_t raw[] = {0x0a, 0x06, 0x12, 0x04, 0x12, 0x02, 0x2a, 0x00};
    for (unsigned i = 0; i < 2; i++) {
        struct spool_dead_letter letter = {.upstream = i == 0 ? "up" : "gone",
                                           .signal = WEIR_TRACES,
                                           .code = "X\xff",
                                           .message = "no\x01",
                                           .block = 3 * i,
                                           .items = 1,
                                           .received_ns = 1000,
                                           .envelope = {(const uint8_t *)"\x02\x03x-t\x01"
                                                                         "a",
                                                        7},
                                           .raw = {raw, sizeof(raw)}};
        CHECK(spool_dead_letter_put(relay.spool, &letter, NULL) == WEIR_OK);
    }
    struct replay_stats stats;
    replay_stats_get(relay.replays[0], &stats);
    spool_lane_settle(stats.lanes[WEIR_TRACES].lane, 0, 1, &(struct spool_outcome){.dead_lettered = 1});
}

// The letters of the lane against its ledger.
static void check_ledger(void)
{
    struct replay_stats stats;
    struct spool_lane_stats lane;
    struct letters_walked walked;
    static const struct letter_filter mine = {.upstream = "up", .signal = WEIR_TRACES};
    replay_stats_get(relay.replays[0], &stats);
    spool_lane_stats_get(stats.lanes[WEIR_TRACES].lane, &lane);
    CHECK(spool_letters_change(relay.spool, LETTERS_UNREDRIVE, &mine, NULL, &walked, NULL) == WEIR_OK);
    struct letter *letter;
    struct letter_id id = {.upstream = "up"};
    bool there = spool_letter_get(relay.spool, &id, &letter, NULL) == WEIR_OK;
    letter_free(there ? letter : NULL);
    CHECK(lane.dead_lettered == there);
    CHECK(lane.accepted == lane.delivered + lane.pending + lane.dead_lettered + lane.evicted + lane.discarded);
    if (!there)
        put_letters();
}

static void set_up(void)
{
    static struct replay *replay;
    struct weir_err err = {0};
    log_configure(LOG_ERROR, LOG_TEXT);
    small_spool_make();
    CHECK(small_spool_open(&relay.spool, &err) == WEIR_OK);
    const struct weir_slice yaml = {(const uint8_t *)"upstreams: [{name: up, endpoint: 'grpc://127.0.0.1:1'}]", 55};
    const struct config_input input = {.file = "fuzz.yaml", .yaml = &yaml};
    struct config_errors errors = {0};
    CHECK(config_load(&input, &config, &errors) == WEIR_OK);
    small_spool_fill(relay.spool);
    CHECK(replay_new(relay.spool, &config.upstreams[0], "0b2c3d4e-0000-4000-8000-000000000001", &replay, &err) ==
          WEIR_OK);
    relay.config = &config;
    relay.replays[0] = replay;
    relay.replay_count = 1;
}

static int ask(uint8_t verb, struct weir_slice text, struct weir_buf *body, json_t **answer)
{
    char id[512] = "";
    switch (verb) {
    case 'l':
        return admin_deadletters_list(&relay, text, answer);
    case 's':
        memcpy(id, text.data, text.len < sizeof(id) - 1 ? text.len : sizeof(id) - 1);
        return admin_deadletters_show(&relay, id, body, answer);
    case 'r':
        return admin_deadletters_redrive(&relay, text, answer);
    default:
        return admin_deadletters_purge(&relay, text, answer);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (relay.spool == NULL)
        set_up();
    if (len == 0 || strchr("lsrp", data[0]) == NULL)
        return 0;
    check_ledger();
    struct weir_buf body = {0};
    json_t *answer = NULL;
    int status = ask(data[0], (struct weir_slice){data + 1, len - 1}, &body, &answer);
    if (status == 200 && data[0] == 's')
        answer = json_loadb((const char *)body.data, body.len, 0, NULL);
    CHECK(answer != NULL && (status == 200) == (json_object_get(answer, "error") == NULL));
    CHECK(status == 200 || status == 400 || status == 404 || status == 409 || (status == 500 && data[0] == 's'));
    char *text = json_dumps(answer, 0);
    CHECK(text != NULL);
    free(text);
    json_decref(answer);
    weir_buf_free(&body);
    return 0;
}
