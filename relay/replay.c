// SPDX-License-Identifier: Apache-2.0
// The replay worker: its life and its turn.
#include "relay/replay_priv.h"

#include "relay/log.h"
#include "relay/version.h"

#include <math.h>
#include <signal.h>

#define POLL_MAX_MS 1000

const double replay_send_bounds[REPLAY_SEND_BUCKETS] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                                        0.5,   1,      2.5,   5,    10,    30,   60,  (double)INFINITY};

double replay_random(struct replay *replay)
{
    // xorshift64*, seeded by instance and upstream: replicas drift apart.
    uint64_t x = replay->random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    replay->random = x;
    return (double)((x * 0x2545F4914F6CDD1Dull) >> 11) / (double)(1ull << 53);
}

struct backoff_policy replay_policy(const struct replay *replay)
{
    return (struct backoff_policy){replay->upstream->retry.initial_ms, replay->upstream->retry.max_ms};
}

const struct config_upstream *replay_upstream(const struct replay *replay)
{
    return replay->upstream;
}

// --- the worker's turn ------------------------------------------------------------------------------------------------------

// One export of each lane in turn, so that none starves the others; where the governor stopped, the next turn goes on. `untried`: of those that
// no endpoint has turned away.
static void send_in_turn(struct replay *replay, uint64_t now_ns, bool untried)
{
    struct flow *flow = &replay->flow;
    for (uint32_t idle = 0; idle < WEIR_SIGNALS && !flow->blocked;) {
        struct replay_lane *lane = &replay->lanes[flow->next_lane];
        bool turn = !untried || lane->turned_away == 0;
        bool sent = turn && lane_may_send(lane, now_ns) && lane_send_next(lane);
        idle = sent ? 0 : idle + 1;
        if (!flow->blocked)
            flow->next_lane = (flow->next_lane + 1) % WEIR_SIGNALS;
    }
}

static void start_exports(struct replay *replay)
{
    uint64_t now_ns = weir_now_ns();
    replay->turn++;
    flow_turn(replay);
    if (replay_is_paused(replay) || !endpoint_turn(replay))
        return;
    redrive_turn(replay, true);
    if (endpoint_on_trial(replay))
        send_in_turn(replay, now_ns, true);
    send_in_turn(replay, now_ns, false);
    redrive_turn(replay, false);
}

static int poll_timeout_ms(const struct replay *replay)
{
    uint64_t now_ns = weir_now_ns(), due_ns = now_ns + POLL_MAX_MS * 1000000ull;
    if (replay->flow.blocked && replay->flow.wake_ns < due_ns)
        due_ns = replay->flow.wake_ns > now_ns ? replay->flow.wake_ns : now_ns;
    for (int i = 0; i < WEIR_SIGNALS; i++)
        if (replay->lanes[i].buried_turn == replay->turn)
            due_ns = now_ns; // there may be more of it
    if (backoff_waits(&replay->redrive.backoff, now_ns) && replay->redrive.backoff.until_ns < due_ns)
        due_ns = replay->redrive.backoff.until_ns;
    for (int i = 0; i < WEIR_SIGNALS; i++)
        if (backoff_waits(&replay->lanes[i].backoff, now_ns) && replay->lanes[i].backoff.until_ns < due_ns)
            due_ns = replay->lanes[i].backoff.until_ns;
    return (int)((due_ns - now_ns + 999999) / 1000000);
}

// The signals of which new blocks make no difference until something else happens (a wait is over, an export has ended): nobody needs to be
// woken for those. So an upstream that is away or paused costs nothing while data flows to the others.
static unsigned deaf_signals(const struct replay *replay)
{
    uint64_t now_ns = weir_now_ns();
    unsigned deaf = 0;
    if (replay_is_paused(replay) || replay->flow.blocked)
        return WEIR_ALL_SIGNALS;
    for (unsigned i = 0; i < WEIR_SIGNALS; i++)
        if (!lane_may_send(&replay->lanes[i], now_ns))
            deaf |= 1u << i;
    return deaf;
}

static void await(sem_t *sem)
{
    while (sem_wait(sem) != 0)
        ;
}

// What is left ends with CLIENT_E_CANCELLED. In the worker's thread when there is one: h2o keeps of each socket a pointer to what
// belongs to the thread that made it.
static void free_clients(struct replay *replay)
{
    for (size_t i = 0; i < replay->endpoints.count; i++)
        client_free(replay->endpoints.clients[i]);
    replay->endpoints.count = 0;
}

static void *worker(void *arg)
{
    struct replay *replay = arg;
    while (!atomic_load(&replay->stop)) {
        unsigned woken = atomic_exchange(&replay->woken, 0);
        for (unsigned i = 0; i < WEIR_SIGNALS; i++)
            if (woken & 1u << i)
                replay->lanes[i].dry = replay->lanes[i].fresh.dry = false;
        if (atomic_exchange(&replay->look_again, false))
            for (int i = 0; i < WEIR_SIGNALS; i++)
                replay->lanes[i].look_again = true;
        replay_secrets_turn(replay);
        start_exports(replay);
        replay_update_state(replay);
        unsigned deaf = deaf_signals(replay);
        atomic_store(&replay->deaf, deaf); // before `woken` is looked at: whoever sets it later sees this
        endpoints_poll(replay, atomic_load(&replay->woken) & ~deaf ? 0 : poll_timeout_ms(replay));
    }
    while (replay->in_flight > 0 && weir_now_ns() < replay->stop_deadline_ns)
        endpoints_poll(replay, 50);
    sem_post(&replay->ended);
    await(&replay->release); // until replay_free others may still wake the clients
    free_clients(replay);
    return NULL;
}

// All of them: which one it polls is the worker's own affair.
static void wake_worker(struct replay *replay)
{
    for (size_t i = 0; i < replay->endpoints.count; i++)
        client_wake(replay->endpoints.clients[i]);
}

void replay_wake(struct replay *replay, unsigned signals)
{
    unsigned news = signals & ~atomic_fetch_or(&replay->woken, signals);
    if (news & ~atomic_load(&replay->deaf))
        wake_worker(replay);
}

void replay_look_again(struct replay *replay)
{
    atomic_store(&replay->look_again, true);
    atomic_fetch_or(&replay->woken, WEIR_ALL_SIGNALS);
    wake_worker(replay);
}

void replay_redrive(struct replay *replay)
{
    atomic_store(&replay->redrive.news, true);
    if (replay->started)
        wake_worker(replay);
}

void replay_pause(struct replay *replay, bool paused)
{
    atomic_store(&replay->paused, paused);
    if (replay->started)
        wake_worker(replay);
    else
        replay_update_state(replay);
}

bool replay_is_paused(const struct replay *replay)
{
    return atomic_load(&replay->paused);
}

void replay_look_at_secrets(struct replay *replay)
{
    atomic_store(&replay->secrets.at_once, true);
    wake_worker(replay);
}

struct certificate_state replay_certificate(struct replay *replay)
{
    return certificate_watch_get(&replay->secrets.watch);
}

// --- life ----------------------------------------------------------------------------------------------------------------------

// libcurl reads http_proxy alone, in fear of CGI scripts; what everybody else calls it counts as well.
static const char *upper_case_proxy(void)
{
    const char *lower = getenv("http_proxy");
    return lower == NULL || lower[0] == '\0' ? getenv("HTTP_PROXY") : NULL;
}

static int make_client(struct replay *replay, const struct config_target *target, struct weir_err *err)
{
    const struct config_upstream *upstream = replay->upstream;
    struct client **client = &replay->endpoints.clients[replay->endpoints.count];
    struct client_options options = {
        .host = target->host,
        .port = target->port,
        .use_tls = target->use_tls,
        .tls = {.ca_file = upstream->tls.ca_file,
                .cert_file = upstream->tls.cert_file,
                .key_file = upstream->tls.key_file,
                .server_name = upstream->tls.server_name,
                .insecure_skip_verify = upstream->tls.insecure_skip_verify,
                .min_version = config_tls_version_name(upstream->tls.min_version)},
        .connect_timeout_ms = (uint32_t)upstream->timeout_ms,
        .max_in_flight = upstream->max_in_flight * WEIR_SIGNALS,
        .user_agent = weir_user_agent,
        .http_proxy = upper_case_proxy(),
    };
    int rc = target->protocol == CONFIG_PROTOCOL_GRPC ? client_grpc_new(&options, client, err)
                                                      : client_http_new(&options, client, err);
    replay->endpoints.count += rc == WEIR_OK;
    return rc;
}

enum encoding replay_first_encoding(enum config_compression compression)
{
    switch (compression) {
    case CONFIG_COMPRESSION_AUTO:
    case CONFIG_COMPRESSION_ZSTD:
        return ENCODING_ZSTD;
    case CONFIG_COMPRESSION_GZIP:
        return ENCODING_GZIP;
    case CONFIG_COMPRESSION_NONE:
        break;
    }
    return ENCODING_IDENTITY;
}

static uint64_t seed(const char *instance, const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u ^ weir_now_ns();
    for (const char *texts[] = {instance, name}, **text = texts; text < texts + 2; text++)
        for (const char *c = *text; *c != '\0'; c++)
            hash = (hash ^ (uint8_t)*c) * 0x100000001b3u;
    return hash | 1;
}

int replay_new(struct spool *spool, const struct config_upstream *upstream, const char *instance, struct replay **out,
               struct weir_err *err)
{
    struct replay *replay = calloc(1, sizeof(*replay));
    if (replay == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "out of memory");
    replay->spool = spool;
    replay->upstream = upstream;
    snprintf(replay->instance, sizeof(replay->instance), "%s", instance);
    replay->encoding = replay_first_encoding(upstream->compression);
    replay->export_bytes = upstream->max_request_size_bytes;
    replay->random = seed(instance, upstream->name);
    replay->stats.since_unix_ns = weir_now_unix_ns();
    replay->backlog_news = true;
    atomic_store(&replay->redrive.news, true); // those of the run before
    pthread_mutex_init(&replay->lock, NULL);
    sem_init(&replay->ended, 0, 0);
    sem_init(&replay->release, 0, 0);
    replay->endpoints.home_wait_ms = ENDPOINT_HOME_MS;
    replay->stats.endpoint = upstream->target.text;
    int rc = WEIR_OK;
    for (size_t i = 0; i <= upstream->alternate_count && rc == WEIR_OK; i++)
        rc = make_client(replay, endpoint_target(replay, i), err);
    if (rc == WEIR_OK)
        rc = replay_secrets_open(replay, err);
    for (int i = 0; i < WEIR_SIGNALS && rc == WEIR_OK; i++) {
        rc = lane_open(replay, (enum weir_signal)i, err);
        replay->stats.lanes[i].open = replay->lanes[i].spool_lane != NULL;
        replay->stats.lanes[i].lane = replay->lanes[i].spool_lane;
    }
    if (rc == WEIR_OK && (replay->reader = spool_reader_new(spool)) == NULL)
        rc = weir_fail(err, WEIR_E_NOMEM, "out of memory");
    struct weir_err handoff_err = {0};
    if (rc == WEIR_OK && spool_sync_state(spool, &handoff_err) != WEIR_OK)
        handoffs_give_up(replay, &handoff_err);
    flow_open(replay);
    if (rc != WEIR_OK) {
        replay_free(replay);
        return weir_wrap(err, "upstream %s", upstream->name);
    }
    replay_update_state(replay);
    *out = replay;
    return WEIR_OK;
}

void replay_start(struct replay *replay)
{
    int rc = pthread_create(&replay->thread, NULL, worker, replay);
    assert(rc == 0);
    pthread_setname_np(replay->thread, "replay");
    replay->started = true;
}

void replay_ask_stop(struct replay *replay, uint32_t grace_ms)
{
    if (!replay->started)
        return;
    replay->stop_deadline_ns = weir_now_ns() + grace_ms * 1000000ull;
    atomic_store(&replay->stop, true);
    wake_worker(replay);
}

void replay_stop(struct replay *replay)
{
    if (!replay->started)
        return;
    assert(atomic_load(&replay->stop));
    await(&replay->ended);
    sem_post(&replay->ended); // for another replay_stop
}

void replay_free(struct replay *replay)
{
    if (replay == NULL)
        return;
    if (replay->started) {
        replay_stop(replay);
        sem_post(&replay->release);
        pthread_join(replay->thread, NULL);
    }
    free_clients(replay);
    sem_destroy(&replay->ended);
    sem_destroy(&replay->release);
    for (int i = 0; i < WEIR_SIGNALS; i++) {
        lane_drop_ready(&replay->lanes[i]);
        split_dispose(&replay->lanes[i]);
        for (size_t j = 0; j < CONFIG_MAX_ENDPOINTS; j++)
            free(replay->lanes[i].paths[j]);
    }
    while (replay->spare != NULL) {
        struct export *export = replay->spare;
        replay->spare = export->next;
        weir_buf_free(&export->encoded);
        weir_buf_free(&export->kept);
        free(export);
    }
    redrive_dispose(replay);
    replay_secrets_close(replay);
    spool_reader_free(replay->reader);
    for (int i = 0; i < ENCODINGS_SENT; i++)
        encoder_free(replay->encoders[i]);
    pthread_mutex_destroy(&replay->lock);
    free(replay);
}
