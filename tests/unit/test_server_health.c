// SPDX-License-Identifier: Apache-2.0
// grpc.health.v1 on the gRPC port (G42): what Check and Watch say, of what, and when.
#include "proto/encoding.h"
#include "proto/grpc.h"
#include "relay/health.h"
#include "server_peer.h"

TestSuite(server_health, .timeout = 60);

static atomic_bool serving;
static struct health *health;

static bool is_serving(void *ctx)
{
    return atomic_load(&serving);
}

static void put_in_front(void *ctx, struct server_options *options)
{
    struct health_options health_options = {
        .loops = options->loops, .loop_count = options->loop_count, .serving = is_serving, .next = options->grpc};
    cr_assert_eq(health_new(&health_options, &health, NULL), WEIR_OK);
    options->grpc = health_handler(health);
}

static struct rig *health_rig(size_t loops)
{
    atomic_store(&serving, true);
    return rig_new_changed(loops, NULL, put_in_front, NULL);
}

static void health_rig_free(struct rig *rig)
{
    rig_free(rig);
    health_free(health);
}

struct message {
    uint8_t bytes[512];
    size_t len;
};

// HealthCheckRequest{service}, framed.
static struct message question(const char *service)
{
    struct message message = {.len = GRPC_PREFIX_LEN};
    size_t len = strlen(service);
    if (len > 0) {
        message.bytes[message.len++] = 0x0a;
        message.bytes[message.len++] = (uint8_t)len;
        memcpy(message.bytes + message.len, service, len);
        message.len += len;
    }
    grpc_prefix_write(message.bytes, false, (uint32_t)(message.len - GRPC_PREFIX_LEN));
    return message;
}

static int32_t ask(struct peer *peer, const char *method, const struct message *message, const nghttp2_nv *extra)
{
    char path[64];
    snprintf(path, sizeof(path), "/grpc.health.v1.Health/%s", method);
    return submit_with(peer, path, (struct weir_slice){message->bytes, message->len}, false, extra);
}

#define SERVING         "\0\0\0\0\2\x08\1"
#define NOT_SERVING     "\0\0\0\0\2\x08\2"
#define SERVICE_UNKNOWN "\0\0\0\0\2\x08\3"
#define ANSWER_LEN      (GRPC_PREFIX_LEN + 2)

static void check(struct peer *peer, const char *service, const char *want)
{
    struct message message = question(service);
    int32_t id = ask(peer, "Check", &message, NULL);
    expect_ok(peer, id);
    cr_assert_eq(call_of(peer, id)->body_len, ANSWER_LEN);
    cr_assert_eq(memcmp(call_of(peer, id)->body, want, ANSWER_LEN), 0, "%s", service);
}

static void check_refused(struct peer *peer, const char *method, const struct message *message, const nghttp2_nv *extra,
                          const char *status)
{
    struct call *call = finish(peer, ask(peer, method, message, extra));
    cr_assert_str_eq(call->grpc_status, status, "%s: %s", method, call->grpc_status);
    cr_assert(call->in_headers && call->body_len == 0, "Trailers-Only (G20)");
}

static const char *const services[] = {"", "opentelemetry.proto.collector.trace.v1.TraceService",
                                       "opentelemetry.proto.collector.metrics.v1.MetricsService",
                                       "opentelemetry.proto.collector.logs.v1.LogsService",
                                       "opentelemetry.proto.collector.profiles.v1development.ProfilesService"};

Test(server_health, check_knows_weir_and_each_service_G42)
{
    struct rig *rig = health_rig(1);
    struct peer *peer = peer_new(rig);
    for (size_t i = 0; i < WEIR_COUNT(services); i++) {
        check(peer, services[i], SERVING);
        atomic_store(&serving, false);
        check(peer, services[i], NOT_SERVING);
        atomic_store(&serving, true);
    }
    static const char *const unknown[] = {"weir", "opentelemetry.proto.collector.trace.v1.TraceServic",
                                          "opentelemetry.proto.collector.trace.v1.TraceService/Export"};
    for (size_t i = 0; i < WEIR_COUNT(unknown); i++) {
        struct message message = question(unknown[i]);
        check_refused(peer, "Check", &message, NULL, "5");
    }
    expect_ok(peer, submit(peer, "/sink", "the others go on as ever"));
    peer_free(peer);
    health_rig_free(rig);
}

Test(server_health, what_is_no_question_is_refused)
{
    struct rig *rig = health_rig(1);
    struct peer *peer = peer_new(rig);
    struct message empty = question(""), wrong = empty, cut = question("a");
    check_refused(peer, "List", &empty, NULL, "12");
    check_refused(peer, "check", &empty, NULL, "12");
    wrong.bytes[0] = 2;
    check_refused(peer, "Check", &wrong, NULL, "13");
    wrong.bytes[0] = 1; // compressed, and nothing says by what
    check_refused(peer, "Watch", &wrong, NULL, "13");
    cut.bytes[6] = 9; // longer than the message
    check_refused(peer, "Check", &cut, NULL, "13");
    const nghttp2_nv encoding = NV("grpc-encoding", "br"), gzip = NV("grpc-encoding", "gzip");
    check_refused(peer, "Check", &empty, &encoding, "12");

    static uint8_t large[5 + 5000];
    grpc_prefix_write(large, false, 5000);
    struct call *call = finish(peer, submit_with(peer, "/grpc.health.v1.Health/Check",
                                                 (struct weir_slice){large, sizeof(large)}, false, NULL));
    cr_assert_str_eq(call->grpc_status, "8");

    // Clients whose every call is compressed compress this one, too.
    struct weir_buf body = {0};
    struct message packed = {.len = GRPC_PREFIX_LEN};
    struct encoder *encoder = encoder_new(ENCODING_GZIP, 0);
    struct message plain = question(services[1]);
    struct weir_slice in = {plain.bytes + GRPC_PREFIX_LEN, plain.len - GRPC_PREFIX_LEN};
    cr_assert_eq(encoder_feed(encoder, in, &body, NULL), WEIR_OK);
    cr_assert_eq(encoder_finish(encoder, &body, NULL), WEIR_OK);
    encoder_free(encoder);
    grpc_prefix_write(packed.bytes, true, (uint32_t)body.len);
    memcpy(packed.bytes + GRPC_PREFIX_LEN, body.data, body.len);
    packed.len += body.len;
    weir_buf_free(&body);
    expect_ok(peer, ask(peer, "Check", &packed, &gzip));
    packed.bytes[20] ^= 0x55;
    check_refused(peer, "Check", &packed, &gzip, "13");
    peer_free(peer);
    health_rig_free(rig);
}

static struct call *watch(struct peer *peer, const char *service)
{
    struct message message = question(service);
    struct call *call = call_of(peer, ask(peer, "Watch", &message, NULL));
    PEER_UNTIL(peer, call->body_len >= ANSWER_LEN);
    return call;
}

Test(server_health, watch_says_each_change_and_unknown_services_stay_unknown_G42)
{
    struct rig *rig = health_rig(2);
    struct peer *peers[3];
    struct call *calls[3], *unknown;
    for (int i = 0; i < 3; i++) {
        peers[i] = peer_new(rig);
        calls[i] = watch(peers[i], services[i]);
    }
    unknown = watch(peers[0], "weir");
    for (int round = 1; round <= 4; round++) {
        atomic_store(&serving, round % 2 == 0);
        for (int i = 0; i < 3; i++)
            PEER_UNTIL(peers[i], calls[i]->body_len >= (size_t)(round + 1) * ANSWER_LEN);
    }
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(calls[i]->body_len, 5 * ANSWER_LEN, "a change is said once");
        cr_assert_eq(memcmp(calls[i]->body, SERVING NOT_SERVING SERVING NOT_SERVING SERVING, 5 * ANSWER_LEN), 0);
        cr_assert_not(calls[i]->ended);
    }
    cr_assert_eq(unknown->body_len, ANSWER_LEN);
    cr_assert_eq(memcmp(unknown->body, SERVICE_UNKNOWN, ANSWER_LEN), 0);
    cr_assert_not(unknown->ended, "the service may come");
    for (int i = 0; i < 3; i++)
        peer_free(peers[i]);
    RIG_WAIT(server_connections(rig->server) == 0);
    health_rig_free(rig);
}

Test(server_health, watchers_are_bounded_and_leave_room_when_they_go)
{
    enum { EACH = 64 };
    struct rig *rig = health_rig(1);
    struct peer *peers[HEALTH_WATCHERS / EACH], *last = peer_new(rig);
    struct message message = question("");
    for (size_t i = 0; i < WEIR_COUNT(peers); i++) {
        peers[i] = peer_new(rig);
        struct call *calls[EACH];
        for (int k = 0; k < EACH; k++)
            calls[k] = call_of(peers[i], ask(peers[i], "Watch", &message, NULL));
        for (int k = 0; k < EACH; k++)
            PEER_UNTIL(peers[i], calls[k]->body_len >= ANSWER_LEN);
    }
    check_refused(last, "Watch", &message, NULL, "8");
    check(last, "", SERVING);
    peer_free(peers[0]);
    RIG_WAIT(server_connections(rig->server) == WEIR_COUNT(peers));
    watch(last, "");
    for (size_t i = 1; i < WEIR_COUNT(peers); i++)
        peer_free(peers[i]);
    peer_free(last);
    health_rig_free(rig);
}

Test(server_health, the_servers_end_ends_watchers)
{
    struct rig *rig = health_rig(2);
    struct peer *peer = peer_new(rig);
    struct call *call = watch(peer, "");
    server_shutdown(rig->server, rig_on_done, rig);
    PEER_UNTIL(peer, call->closed);
    cr_assert_str_eq(call->grpc_status, "14");
    RIG_WAIT(atomic_load(&rig->done) == 1);
    peer_free(peer);
    health_rig_free(rig);
}
