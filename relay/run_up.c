// SPDX-License-Identifier: Apache-2.0
// Up: spool (recovers) -> lanes and clients -> loops, server (binds) -> replay workers -> admin -> threads -> accepting.
#include "relay/run_priv.h"

#include "relay/log.h"
#include "relay/secrets.h"
#include "relay/version.h"
#include "storage/stats.h"

#include <unistd.h>

static void on_commit(void *ctx, unsigned signals)
{
    struct run *run = ctx;
    pthread_mutex_lock(&run->wake_lock);
    for (size_t i = 0; i < run->relay.replay_count && run->wake; i++)
        replay_wake(run->relay.replays[i], signals);
    pthread_mutex_unlock(&run->wake_lock);
}

// What was evicted must not be sent any more: it is counted as lost.
static void forget_evicted(struct run *run, const char *upstream)
{
    pthread_mutex_lock(&run->wake_lock);
    for (size_t i = 0; i < run->relay.replay_count && run->wake; i++)
        if (strcmp(replay_upstream(run->relay.replays[i])->name, upstream) == 0)
            replay_look_again(run->relay.replays[i]);
    pthread_mutex_unlock(&run->wake_lock);
}

static void on_event(void *ctx, const struct spool_event *event)
{
    struct run *run = ctx;
    if (event->kind == SPOOL_EVENT_FORGOTTEN) // in the log before it is done: nothing else has the counts then
        spool_events_tell_forgotten(event);
    else
        spool_events_take(run->events, event);
    if (event->kind == SPOOL_EVENT_EVICTED)
        forget_evicted(run, event->upstream);
}

// --- the parts --------------------------------------------------------------------------------------------------------------

static int open_secrets(struct run *run, struct weir_err *err)
{
    return secrets_open(&run->relay, err);
}

static int open_spool(struct run *run, struct weir_err *err)
{
    const struct config *config = run->relay.config;
    char host[128] = "?", holder[192];
    gethostname(host, sizeof(host) - 1);
    snprintf(holder, sizeof(holder), "weir %s, pid %ld on %s", weir_version, (long)getpid(), host);
    struct spool_options options = {.directory = config->spool.directory,
                                    .max_bytes = config->spool.max_size_bytes,
                                    .segment_bytes = config->spool.segment_size_bytes,
                                    .dead_letter_bytes = config->dead_letters.max_size_bytes,
                                    .allow_network_filesystem = config->spool.allow_network_filesystem,
                                    .evict_oldest = config->spool.when_full == CONFIG_FULL_EVICT_OLDEST,
                                    .max_age_ns = config->spool.max_age_ms * 1000000,
                                    .keep_delivered_ns = config->spool.keep_delivered_ms * 1000000,
                                    .holder = holder,
                                    .on_commit = on_commit,
                                    .on_event = on_event,
                                    .ctx = run};
    struct spool_report report = {0};
    if ((run->events = spool_events_new()) == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "out of memory");
    int rc = spool_open(&options, &run->relay.spool, &report, err);
    if (rc != WEIR_OK)
        return weir_wrap(err, "spool.directory");
    snprintf(run->relay.instance, sizeof(run->relay.instance), "%s", spool_instance(run->relay.spool));
    log_event(report.damaged > 0 || report.damaged_notes > 0 || report.lost_blocks > 0 ? LOG_ERROR : LOG_INFO,
              "spool_opened", "the spool is open", LOG_STR("directory", config->spool.directory),
              LOG_U64("first_block", report.first_block), LOG_U64("next_block", report.next_block),
              LOG_U64("segments", report.segments), LOG_U64("segments_opened", report.segments_opened),
              LOG_U64("temporaries_removed", report.temporaries_removed), LOG_U64("damaged", report.damaged),
              LOG_U64("damaged_notes", report.damaged_notes), LOG_U64("lost_blocks", report.lost_blocks));
    return WEIR_OK;
}

static void tell_orphan(void *ctx, const char *upstream, enum weir_signal signal, uint64_t pending_items)
{
    if (pending_items == 0)
        return;
    log_event(LOG_WARN, "orphan_lane",
              "the spool holds data for an upstream that is not configured: it is kept until one of that name is",
              LOG_STR("upstream", upstream), LOG_STR("signal", weir_signal_name(signal)),
              LOG_U64("pending_items", pending_items));
}

static void tell_upstream(struct replay *replay)
{
    const struct config_upstream *upstream = replay_upstream(replay);
    struct replay_stats stats;
    uint64_t items = 0;
    replay_stats_get(replay, &stats);
    for (int i = 0; i < WEIR_SIGNALS; i++) {
        struct spool_lane_stats ledger = {0};
        if (stats.lanes[i].open)
            spool_lane_stats_get(stats.lanes[i].lane, &ledger);
        items += ledger.pending;
    }
    log_event(LOG_INFO, "upstream",
              items > 0 ? "data goes to this upstream, beginning with what waits" : "data goes to this upstream",
              LOG_STR("upstream", upstream->name), LOG_STR("endpoint", upstream->endpoint),
              LOG_STR("protocol", upstream->target.protocol == CONFIG_PROTOCOL_GRPC ? "grpc" : "http/protobuf"),
              LOG_U64("pending_items", items));
}

static bool is_configured(const struct config *config, const struct spool_lane *lane)
{
    for (size_t i = 0; i < config->upstream_count; i++)
        if (strcmp(config->upstreams[i].name, spool_lane_upstream(lane)) == 0)
            return (config->upstreams[i].signals & (1u << spool_lane_signal(lane))) != 0;
    return false;
}

// The lanes that there are, before new ones: those may take the place of one that nobody has open.
static int open_known_lanes(struct relay *relay, struct weir_err *err)
{
    struct spool_lane *known[SPOOL_LANES_MAX], *lane;
    size_t n = spool_orphan_lanes(relay->spool, known, SPOOL_LANES_MAX);
    int rc = replay_forget_lanes(relay->spool, err);
    if (rc == WEIR_OK)
        rc = orders_forget_removed(relay->spool, err);
    for (size_t i = 0; i < n && rc == WEIR_OK; i++)
        if (is_configured(relay->config, known[i]))
            rc = spool_lane_open(relay->spool, spool_lane_upstream(known[i]), spool_lane_signal(known[i]),
                                 SPOOL_START_NOW, &lane, err);
    return rc;
}

static int make_replays(struct run *run, struct weir_err *err)
{
    struct relay *relay = &run->relay;
    int rc = open_known_lanes(relay, err);
    for (size_t i = 0; i < relay->config->upstream_count && rc == WEIR_OK; i++) {
        rc = replay_new(relay->spool, &relay->config->upstreams[i], relay->instance, &relay->replays[i], err);
        relay->replay_count += rc == WEIR_OK;
    }
    if (rc == WEIR_OK)
        rc = orders_restore(relay, err);
    if (rc != WEIR_OK)
        return rc;
    for (size_t i = 0; i < relay->replay_count; i++)
        tell_upstream(relay->replays[i]);
    spool_orphans(relay->spool, tell_orphan, NULL);
    return WEIR_OK;
}

static int open_origins(struct run *run, struct weir_err *err)
{
    return origins_open(run->relay.spool, &run->relay.origins, err);
}

static int make_ingests(struct run *run, struct weir_err *err)
{
    struct relay *relay = &run->relay;
    size_t count = relay->config->receiver.workers;
    const struct config_names *kept = &relay->config->receiver.keep_headers;
    relay->loops = calloc(count, sizeof(struct loop *));
    relay->ingests = calloc(count, sizeof(struct ingest *));
    run->threads = calloc(count, sizeof(*run->threads));
    if (relay->loops == NULL || relay->ingests == NULL || run->threads == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "out of memory");
    relay->budget.max_bytes = relay->config->spool.max_unwritten_bytes;
    for (; relay->workers < count; relay->workers++) {
        struct loop **loop = &relay->loops[relay->workers];
        int rc = loop_new(loop, err);
        if (rc != WEIR_OK)
            return rc;
        struct ingest_options options = {.loop = *loop,
                                         .spool = relay->spool,
                                         .budget = &relay->budget,
                                         .max_request_bytes = relay->config->receiver.max_request_size_bytes,
                                         .pass_bad_utf8 = relay->config->receiver.utf8 == CONFIG_UTF8_PASS,
                                         .keep_headers = (const char *const *)kept->items,
                                         .keep_header_count = kept->count,
                                         .refusing = &relay->refusing,
                                         .draining = &relay->orders.draining,
                                         .origins = relay->origins,
                                         .tokens = relay->tokens};
        if ((relay->ingests[relay->workers] = ingest_new(&options)) == NULL) {
            loop_free(*loop);
            return weir_fail(err, WEIR_E_NOMEM, "out of memory");
        }
    }
    run->ingest_set = (struct ingest_set){.ingests = relay->ingests, .loops = relay->loops, .count = count};
    return WEIR_OK;
}

static void tell_handshake_failed(void *ctx, enum exchange_transport transport, const char *peer, const char *why)
{
    static struct log_limit limit = LOG_LIMIT(10000);
    bool left = why[0] == '\0'; // as health checks of load balancers do
    log_event_limited(left ? NULL : &limit, left ? LOG_DEBUG : LOG_WARN, "tls_handshake_failed",
                      "a TLS handshake failed", LOG_STR("transport", transport == EXCHANGE_GRPC ? "grpc" : "http"),
                      LOG_STR("peer", peer), LOG_STR("error", left ? "the peer closed the connection" : why));
}

// As /readyz says it.
static bool can_take(void *ctx)
{
    const struct relay *relay = ctx;
    return !atomic_load_explicit(&relay->stopping, memory_order_relaxed) && !atomic_load(&relay->orders.draining) &&
           spool_state_now(relay->spool) == SPOOL_OK;
}

static int make_health(struct run *run, struct exchange_handler next, struct exchange_handler *grpc,
                       struct weir_err *err)
{
    struct relay *relay = &run->relay;
    struct health_options options = {
        .loops = relay->loops, .loop_count = relay->workers, .serving = can_take, .ctx = relay, .next = next};
    int rc = health_new(&options, &run->health, err);
    if (rc == WEIR_OK)
        *grpc = health_handler(run->health);
    return rc;
}

static struct exchange_handler cors_in_front(struct run *run, struct exchange_handler next)
{
    const struct config *config = run->relay.config;
    run->cors = (struct cors){.origins = (const char *const *)config->receiver.cors_origins.items,
                              .origin_count = config->receiver.cors_origins.count,
                              .max_age_s = config->receiver.cors_max_age_ms / 1000,
                              .next = next};
    return run->cors.origin_count > 0 ? cors_handler(&run->cors) : next;
}

static int make_server(struct run *run, struct weir_err *err)
{
    struct relay *relay = &run->relay;
    const struct config *config = relay->config;
    struct server_options options = {.loops = relay->loops,
                                     .loop_count = relay->workers,
                                     .grpc_endpoint = config->receiver.grpc_endpoint,
                                     .http_endpoint = config->receiver.http_endpoint,
                                     .grpc_tls = certificates_of(relay->certificates, CERTIFICATE_GRPC),
                                     .http_tls = certificates_of(relay->certificates, CERTIFICATE_HTTP),
                                     .handshake_failed = tell_handshake_failed,
                                     .grpc_setting = "receiver.grpc.endpoint",
                                     .http_setting = "receiver.http.endpoint",
                                     .limits = {.connections = config->receiver.max_connections,
                                                .body_bytes = UINT64_MAX, // ingest has the limit
                                                .grpc_max_age_ms = config->receiver.grpc_max_age_ms,
                                                .grpc_max_age_grace_ms = config->receiver.grpc_max_age_grace_ms,
                                                .http_max_age_ms = config->receiver.http_max_age_ms},
                                     .grpc = ingest_grpc_handler,
                                     .http = ingest_http_handler,
                                     .bad_request = ingest_bad_request};
    options.grpc.ctx = options.http.ctx = &run->ingest_set;
    options.http = cors_in_front(run, options.http);
    int rc = make_health(run, options.grpc, &options.grpc, err);
    if (rc == WEIR_OK)
        rc = server_new(&options, &relay->server, err);
    for (size_t i = 0; i < relay->workers && rc == WEIR_OK; i++)
        ingest_set_server(relay->ingests[i], relay->server);
    return rc;
}

static void *loop_thread(void *arg)
{
    loop_run(arg);
    return NULL;
}

static int start(struct run *run, struct weir_err *err)
{
    struct relay *relay = &run->relay;
    // Before the admin port: whoever pauses or wakes a worker meets one that has begun.
    pthread_mutex_lock(&run->wake_lock);
    for (size_t i = 0; i < relay->replay_count; i++)
        replay_start(relay->replays[i]);
    run->wake = true;
    pthread_mutex_unlock(&run->wake_lock);
    int rc = admin_start(relay, &run->admin, err);
    if (rc != WEIR_OK)
        return rc;
    for (; run->threads_started < relay->workers; run->threads_started++) {
        if (pthread_create(&run->threads[run->threads_started], NULL, loop_thread,
                           relay->loops[run->threads_started]) != 0)
            return weir_fail(err, WEIR_E_NOMEM, "cannot start a thread");
        pthread_setname_np(run->threads[run->threads_started], "ingest");
    }
    server_start(relay->server);
    const char *grpc = server_grpc_address(relay->server), *http = server_http_address(relay->server);
    const char *admin = run->admin != NULL ? admin_address(run->admin) : "off";
    log_event(LOG_INFO, "listening", atomic_load(&relay->orders.draining) ? "up, and draining" : "ready to take data",
              LOG_STR("grpc", grpc != NULL ? grpc : "off"), LOG_STR("http", http != NULL ? http : "off"),
              LOG_STR("admin", admin), LOG_STR("version", weir_version), LOG_STR("instance", relay->instance));
    return WEIR_OK;
}

int run_up(struct run *run, struct weir_err *err)
{
    static int (*const steps[])(struct run * run, struct weir_err * err) = {
        open_secrets, open_spool, make_replays, open_origins, make_ingests, make_server, start};
    int rc = WEIR_OK;
    for (size_t i = 0; i < WEIR_COUNT(steps) && rc == WEIR_OK; i++)
        rc = steps[i](run, err);
    return rc;
}
