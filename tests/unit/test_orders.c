// SPDX-License-Identifier: Apache-2.0
// Orders while the disk takes no writes: in force at once, said to be not durable, and durable as soon as it does.
#include "faults_kit.h"
#include "relay/admin_orders.h"
#include "relay/relay.h"

static struct relay relay; // large
static struct config config;
static char *dir;

static void open_relay(void)
{
    static const char text[] = "upstreams: [{name: up, endpoint: 'grpc://127.0.0.1:1'},"
                               " {name: other, endpoint: 'grpc://127.0.0.1:1'}]";
    const struct weir_slice yaml = {(const uint8_t *)text, sizeof(text) - 1};
    const struct config_input input = {.file = "test.yaml", .yaml = &yaml};
    struct config_errors errors = {0};
    struct weir_err err = {0};
    relay = (struct relay){.config = &config, .spool = kit_open(dir, 64, NULL)};
    cr_assert_eq(config_load(&input, &config, &errors), WEIR_OK, "%s", errors.texts[0]);
    for (size_t i = 0; i < config.upstream_count; i++) {
        cr_assert_eq(
            replay_new(relay.spool, &config.upstreams[i], spool_instance(relay.spool), &relay.replays[i], &err),
            WEIR_OK, "%s", err.text);
        relay.replay_count++;
    }
    cr_assert_eq(orders_restore(&relay, &err), WEIR_OK);
}

static void close_relay(void)
{
    for (size_t i = 0; i < relay.replay_count; i++)
        replay_free(relay.replays[i]);
    spool_close(relay.spool);
    config_free(&config);
}

// The answer is 200; whether it says durable, and whether it warns.
static bool durable(int status, json_t *answer)
{
    cr_assert_eq(status, 200);
    bool is = json_is_true(json_object_get(answer, "durable"));
    const char *first = json_string_value(json_array_get(json_object_get(answer, "warnings"), 0));
    cr_assert_eq(first != NULL && strstr(first, "could not be made durable") != NULL, !is);
    json_decref(answer);
    return is;
}

Test(orders, while_the_disk_takes_no_writes)
{
    static const struct weir_slice nothing = {NULL, 0};
    json_t *answer;
    dir = kit_directory();
    open_relay();
    faults_arm(FAULTS(FAULT_FLUSH), EIO, 0, true);
    int status = admin_drain(&relay, nothing, &answer);
    cr_expect(!durable(status, answer));
    status = admin_pause(&relay, "other", true, nothing, &answer);
    cr_expect(!durable(status, answer));
    status = admin_pause(&relay, "other", true, nothing, &answer);
    cr_expect(!durable(status, answer), "it is asked again, and still is not");
    cr_expect(atomic_load(&relay.orders.draining) && replay_is_paused(relay.replays[1]), "in force all the same");
    faults_disarm();
    status = admin_pause(&relay, "other", true, nothing, &answer);
    cr_expect(durable(status, answer));
    close_relay();

    open_relay();
    cr_expect(atomic_load(&relay.orders.draining));
    cr_expect(!replay_is_paused(relay.replays[0]));
    cr_expect(replay_is_paused(relay.replays[1]));
    status = admin_pause(&relay, "other", false, nothing, &answer);
    cr_expect(durable(status, answer));
    close_relay();
    open_relay();
    cr_expect(!replay_is_paused(relay.replays[1]) && atomic_load(&relay.orders.draining));
    close_relay();
    kit_remove_directory(dir);
}

Test(orders, for_which_there_is_no_room)
{
    static const struct weir_slice nothing = {NULL, 0};
    json_t *answer;
    dir = kit_directory();
    open_relay();
    int code = WEIR_OK;
    for (unsigned i = 0; code == WEIR_OK; i++) {
        char key[16];
        snprintf(key, sizeof(key), "z%u", i);
        code = spool_note_put(relay.spool, key, nothing, false, NULL);
    }
    cr_assert_eq(code, WEIR_E_LIMIT);
    for (int times = 0; times < 2; times++) {
        int status = admin_drain(&relay, nothing, &answer);
        cr_expect(!durable(status, answer), "%d", times);
        status = admin_pause(&relay, "other", true, nothing, &answer);
        cr_expect(!durable(status, answer), "%d", times);
    }
    cr_assert_eq(spool_note_remove(relay.spool, "z0", false, NULL), WEIR_OK);
    cr_assert_eq(spool_note_remove(relay.spool, "z1", true, NULL), WEIR_OK);
    int status = admin_drain(&relay, nothing, &answer);
    cr_expect(durable(status, answer));
    status = admin_pause(&relay, "other", true, nothing, &answer);
    cr_expect(durable(status, answer));
    close_relay();
    open_relay();
    cr_expect(atomic_load(&relay.orders.draining));
    cr_expect(replay_is_paused(relay.replays[1]));
    close_relay();
    kit_remove_directory(dir);
}

static bool has_note(const char *key)
{
    struct weir_buf value = {0};
    bool has = spool_note_get(relay.spool, key, &value, NULL) == WEIR_OK;
    weir_buf_free(&value);
    return has;
}

// Names that come and go fill nothing up, and one that comes back when its lanes were forgotten is a new one: neither paused, nor does it go on
// with the names of what it sent.
Test(orders, are_forgotten_with_the_lanes)
{
    static const struct weir_slice nothing = {NULL, 0};
    static const char *const gone[] = {"paused/gone", "paused/u", ".handoff/0/gone", ".handoff/9/up", ".handoff/0/u"};
    static const char *const stay[] = {"paused/up", "paused/other", ".handoff/0/up", ".handoff/3/other", "z"};
    dir = kit_directory();
    open_relay();
    for (size_t i = 0; i < WEIR_COUNT(gone); i++) {
        cr_assert_eq(spool_note_put(relay.spool, gone[i], nothing, false, NULL), WEIR_OK);
        if (!has_note(stay[i]))
            cr_assert_eq(spool_note_put(relay.spool, stay[i], nothing, false, NULL), WEIR_OK);
    }
    close_relay();
    relay.spool = kit_open(dir, 64, NULL); // no lane is open
    cr_assert_eq(orders_forget_removed(relay.spool, NULL), WEIR_OK);
    cr_assert_eq(replay_forget_lanes(relay.spool, NULL), WEIR_OK);
    for (size_t i = 0; i < WEIR_COUNT(gone); i++)
        cr_expect(!has_note(gone[i]) && has_note(stay[i]), "%s, %s", gone[i], stay[i]);
    spool_close(relay.spool);
    kit_remove_directory(dir);
}
