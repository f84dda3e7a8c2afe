// SPDX-License-Identifier: Apache-2.0
// A replay worker between a real spool and a real upstream: a server on 127.0.0.1 whose answers the test decides, request by request.
//
// Requests in blocks are records {u64 id, u32 length, filling}, back to back as OTLP's are, so that what the upstream gets can be
// taken apart again: which ids, in which order, how often.
#ifndef WEIR_TESTS_REPLAY_RIG_H
#define WEIR_TESTS_REPLAY_RIG_H

#include "net/server.h"
#include "proto/encoding.h"
#include "proto/grpc.h"
#include "proto/otlp.h"
#include "relay/envelope.h"
#include "relay/replay.h"
#include "storage/stats.h"
#include "tests/unit/spool_kit.h"

#include <signal.h>
#include <stdatomic.h>

#define RIG_IDS_MAX  512
#define RIG_SEEN_MAX 512
#define RIG_HEAD     12 // bytes of a record before its filling

// One request as the upstream got it.
struct rig_seen {
    enum weir_signal signal;
    enum encoding encoding;
    size_t wire_bytes, raw_bytes;
    uint64_t ids[RIG_IDS_MAX];
    size_t id_count;
    char batch[128], handoff[128];
    char kept[128]; // "x-a=1 x-b=2 " of its headers x-…, in their order
    uint64_t at_ns;
    int index; // 0 for the first request of the test
};

struct rig_answer {
    int status; // gRPC's, or HTTP's for an HTTP upstream
    bool retry_info;
    uint64_t retry_ms;   // RetryInfo; HTTP: Retry-After, in whole seconds
    const char *message; // gRPC's, of a refusal; no characters that need escapes
    bool hold;           // no answer before rig_release
    bool close;          // HTTP: the connection too
    int64_t rejected;    // of a partial success
    const char *repeat;  // weir-repeat's value
    size_t talk;         // so many bytes of body instead
    bool gzip;           // gRPC: the message, compressed
    size_t bomb;         // gRPC: so many bytes of message behind what it says
};

struct rig_pending {
    struct rig_pending *next; // held
    struct replay_rig *rig;
    struct exchange *exchange;
    struct weir_buf body;
    struct rig_answer answer;
};

struct replay_rig {
    char *directory;
    struct spool *spool;
    struct config_upstream upstream;
    struct replay *_Atomic replay;
    bool started;
    struct loop *loop;
    pthread_t thread;
    struct server *server;
    atomic_bool server_done;
    // The test's answer, in the server's thread.
    struct rig_answer (*decide)(struct replay_rig *rig, const struct rig_seen *seen);
    // How ids are read from what arrives; NULL: from records as above.
    void (*read)(struct rig_seen *seen, struct weir_slice raw);
    pthread_mutex_t lock; // guards what follows
    struct rig_seen seen[RIG_SEEN_MAX];
    int seen_count;
    struct weir_buf last_body;       // as it came
    unsigned delivered[RIG_IDS_MAX]; // how often each id was accepted
    uint64_t order[4096];            // accepted ids as they came
    size_t order_count;
    // Of the loop's thread.
    struct rig_pending *held;
    atomic_uint held_count, gone_count;
    struct loop_message message;
    struct rig_answer release_with;
    atomic_bool busy;
    int poison;      // for decide
    uint64_t age_ns; // of blocks appended from now on
    struct rig_spool {
        uint64_t dead_letter_bytes, keep_delivered_ns, max_age_ns;
    } spool_wanted;
    atomic_int limit;
};

static inline bool rig_accepts(const struct replay_rig *rig, const struct rig_answer *answer)
{
    return rig->upstream.target.protocol == CONFIG_PROTOCOL_GRPC ? answer->status == 0 : answer->status / 100 == 2;
}

// --- the upstream ---------------------------------------------------------------------------------------------------

// Replaces the message by itself and `bomb` zero bytes, gzipped.
static inline void rig_squeeze(struct weir_buf *message, size_t bomb)
{
    struct encoder *encoder = encoder_new(ENCODING_GZIP, 0);
    struct weir_buf out = {0};
    static const uint8_t zeros[65536];
    cr_assert_eq(encoder_feed(encoder, (struct weir_slice){message->data, message->len}, &out, NULL), WEIR_OK);
    for (; bomb > 0; bomb -= bomb < sizeof(zeros) ? bomb : sizeof(zeros))
        cr_assert_eq(
            encoder_feed(encoder, (struct weir_slice){zeros, bomb < sizeof(zeros) ? bomb : sizeof(zeros)}, &out, NULL),
            WEIR_OK);
    cr_assert_eq(encoder_finish(encoder, &out, NULL), WEIR_OK);
    encoder_free(encoder);
    weir_buf_free(message);
    *message = out;
}

static inline void rig_say(struct replay_rig *rig, struct exchange *exchange, const struct rig_answer *answer)
{
    char number[16], seconds[16];
    struct exchange_header headers[5], trailer;
    size_t count = 0;
    struct weir_buf body = {0}, status = {0}, details = {0};
    struct exchange_answer said = {.http_status = answer->status, .headers = headers, .close = answer->close};
    snprintf(number, sizeof(number), "%d", answer->status);
    bool grpc = exchange->transport == EXCHANGE_GRPC, ok = rig_accepts(rig, answer);
    const char *type = grpc ? "application/grpc" : "application/x-protobuf";
    headers[count++] = (struct exchange_header){"content-type", 12, type, strlen(type)};
    struct exchange_header state = {"grpc-status", 11, number, strlen(number)};
    if (grpc && ok) {
        uint8_t prefix[GRPC_PREFIX_LEN];
        struct otlp_partial_success partial = {.rejected = answer->rejected};
        otlp_response_encode(&partial, &status);
        if (answer->gzip) {
            rig_squeeze(&status, answer->bomb);
            headers[count++] = (struct exchange_header){"grpc-encoding", 13, "gzip", 4};
        }
        grpc_prefix_write(prefix, answer->gzip, (uint32_t)status.len);
        weir_buf_append(&body, prefix, sizeof(prefix));
        weir_buf_append(&body, status.data, status.len);
        trailer = state;
        said.trailers = &trailer;
        said.trailer_count = 1;
    } else if (grpc) {
        headers[count++] = state;
        if (answer->message != NULL)
            headers[count++] = (struct exchange_header){"grpc-message", 12, answer->message, strlen(answer->message)};
        if (answer->retry_info) {
            struct rpc_status rpc = {
                .code = answer->status, .has_retry_info = true, .retry_delay_ms = answer->retry_ms};
            rpc_status_encode(&rpc, &status);
            grpc_bin_encode((struct weir_slice){status.data, status.len}, &details);
            headers[count++] =
                (struct exchange_header){"grpc-status-details-bin", 23, (char *)details.data, details.len};
        }
    } else if (answer->retry_ms > 0) {
        snprintf(seconds, sizeof(seconds), "%u", (unsigned)(answer->retry_ms / 1000));
        headers[count++] = (struct exchange_header){"retry-after", 11, seconds, strlen(seconds)};
    }
    if (answer->repeat != NULL)
        headers[count++] = (struct exchange_header){"weir-repeat", 11, answer->repeat, strlen(answer->repeat)};
    if (grpc)
        said.http_status = 200;
    said.header_count = count;
    if (answer->talk > 0 && weir_buf_reserve(&body, answer->talk)) {
        memset(body.data, 'x', answer->talk);
        body.len = answer->talk;
    }
    said.body = (struct weir_slice){body.data, body.len};
    exchange_answer(exchange, &said);
    weir_buf_free(&body);
    weir_buf_free(&status);
    weir_buf_free(&details);
}

static inline void rig_count(struct replay_rig *rig, const struct rig_seen *seen)
{
    for (size_t i = 0; i < seen->id_count; i++) {
        rig->delivered[seen->ids[i] % RIG_IDS_MAX]++;
        cr_assert_lt(rig->order_count, WEIR_COUNT(rig->order));
        rig->order[rig->order_count++] = seen->ids[i];
    }
}

static inline void rig_begin(void *ctx, struct exchange *exchange)
{
    struct rig_pending *pending = calloc(1, sizeof(*pending));
    pending->rig = ctx;
    pending->exchange = exchange;
    exchange->user = pending;
}

static inline void rig_data(void *ctx, struct exchange *exchange, struct weir_slice data)
{
    struct rig_pending *pending = exchange->user;
    cr_assert(weir_buf_append(&pending->body, data.data, data.len));
}

static inline void rig_parse(const struct replay_rig *rig, struct rig_seen *seen, struct weir_slice wire)
{
    struct weir_buf raw = {0};
    struct weir_err err = {0};
    struct decoder *decoder = decoder_new(seen->encoding, 64u << 20);
    cr_assert_eq(decoder_feed(decoder, wire, &raw, &err), WEIR_OK, "%s", err.text);
    cr_assert_eq(decoder_finish(decoder, &raw, &err), WEIR_OK, "%s", err.text);
    decoder_free(decoder);
    seen->wire_bytes = wire.len;
    seen->raw_bytes = raw.len;
    if (rig->read != NULL)
        rig->read(seen, (struct weir_slice){raw.data, raw.len});
    size_t at = rig->read != NULL ? raw.len : 0;
    while (at < raw.len) {
        cr_assert_leq(at + RIG_HEAD, raw.len, "a cut request");
        cr_assert_lt(seen->id_count, RIG_IDS_MAX);
        seen->ids[seen->id_count++] = weir_get_u64(raw.data + at);
        at += RIG_HEAD + weir_get_u32(raw.data + at + 8);
    }
    cr_assert_eq(at, raw.len, "a cut request");
    weir_buf_free(&raw);
}

static inline void rig_copy_header(char *out, size_t cap, const struct exchange *exchange, const char *name)
{
    const struct exchange_header *header = exchange_header(exchange, name);
    snprintf(out, cap, "%.*s", header != NULL ? (int)header->value_len : 0, header != NULL ? header->value : "");
}

static inline void rig_copy_kept(char *out, size_t cap, const struct exchange *exchange)
{
    for (size_t i = 0; i < exchange->header_count; i++) {
        const struct exchange_header *h = &exchange->headers[i];
        size_t len = strlen(out);
        if (h->name_len > 2 && memcmp(h->name, "x-", 2) == 0)
            snprintf(out + len, cap - len, "%.*s=%.*s ", (int)h->name_len, h->name, (int)h->value_len, h->value);
    }
}

static inline void rig_end(void *ctx, struct exchange *exchange)
{
    struct replay_rig *rig = ctx;
    struct rig_pending *pending = exchange->user;
    struct rig_seen seen = {.at_ns = weir_now_ns()};
    struct weir_slice wire = {pending->body.data, pending->body.len};
    bool grpc = exchange->transport == EXCHANGE_GRPC;
    char encoding[32];
    const char *path = (const char *)exchange->path.data;
    size_t base = strlen(rig->upstream.target.base_path);
    cr_assert(exchange->path.len > base && memcmp(path, rig->upstream.target.base_path, base) == 0);
    cr_assert(grpc ? otlp_signal_by_grpc_path(path, exchange->path.len, &seen.signal)
                   : otlp_signal_by_http_path(path + base, exchange->path.len - base, &seen.signal));
    rig_copy_header(encoding, sizeof(encoding), exchange, grpc ? "grpc-encoding" : "content-encoding");
    rig_copy_header(seen.batch, sizeof(seen.batch), exchange, "weir-batch");
    rig_copy_header(seen.handoff, sizeof(seen.handoff), exchange, "weir-handoff");
    rig_copy_kept(seen.kept, sizeof(seen.kept), exchange);
    cr_assert(encoding_by_name(ENCODING_OF_HTTP, encoding, strlen(encoding), &seen.encoding));
    if (grpc) {
        cr_assert_geq(wire.len, GRPC_PREFIX_LEN);
        cr_assert_eq(wire.data[0], seen.encoding != ENCODING_IDENTITY);
        wire.data += GRPC_PREFIX_LEN;
        wire.len -= GRPC_PREFIX_LEN;
    }
    rig_parse(rig, &seen, wire);
    pthread_mutex_lock(&rig->lock);
    seen.index = rig->seen_count;
    struct rig_answer answer =
        rig->decide != NULL ? rig->decide(rig, &seen) : (struct rig_answer){.status = grpc ? 0 : 200};
    rig->last_body.len = 0;
    weir_buf_append(&rig->last_body, wire.data, wire.len);
    if (rig->seen_count < RIG_SEEN_MAX)
        rig->seen[rig->seen_count++] = seen;
    if (!answer.hold && rig_accepts(rig, &answer))
        rig_count(rig, &seen);
    pthread_mutex_unlock(&rig->lock);
    pending->answer = answer;
    if (answer.hold) {
        struct rig_pending **last = &rig->held;
        while (*last != NULL)
            last = &(*last)->next;
        *last = pending;
        atomic_fetch_add(&rig->held_count, 1);
        return;
    }
    rig_say(rig, exchange, &answer);
    weir_buf_free(&pending->body);
    free(pending);
}

static inline void rig_gone(void *ctx, struct exchange *exchange)
{
    struct replay_rig *rig = ctx;
    struct rig_pending *pending = exchange->user;
    for (struct rig_pending **at = &rig->held; *at != NULL; at = &(*at)->next)
        if (*at == pending) {
            *at = pending->next;
            atomic_fetch_sub(&rig->held_count, 1);
            break;
        }
    weir_buf_free(&pending->body);
    free(pending);
    atomic_fetch_add(&rig->gone_count, 1);
}

static inline void rig_on_release(struct loop_message *message)
{
    struct replay_rig *rig = WEIR_CONTAINER_OF(message, struct replay_rig, message);
    while (rig->held != NULL) {
        struct rig_pending *pending = rig->held;
        struct rig_answer answer = rig->release_with;
        rig->held = pending->next;
        atomic_fetch_sub(&rig->held_count, 1);
        if (answer.status == -1) // each as its decide said
            answer = pending->answer;
        if (rig_accepts(rig, &answer)) {
            struct rig_seen seen = {0};
            bool grpc = pending->exchange->transport == EXCHANGE_GRPC;
            char encoding[32];
            rig_copy_header(encoding, sizeof(encoding), pending->exchange, grpc ? "grpc-encoding" : "content-encoding");
            encoding_by_name(ENCODING_OF_HTTP, encoding, strlen(encoding), &seen.encoding);
            size_t skip = grpc ? GRPC_PREFIX_LEN : 0;
            rig_parse(rig, &seen, (struct weir_slice){pending->body.data + skip, pending->body.len - skip});
            pthread_mutex_lock(&rig->lock);
            rig_count(rig, &seen);
            pthread_mutex_unlock(&rig->lock);
        }
        rig_say(rig, pending->exchange, &answer);
        weir_buf_free(&pending->body);
        free(pending);
    }
    atomic_store(&rig->busy, false);
}

// Answers everything that is held, in order of arrival; status -1: each as decide said.
__attribute__((unused)) static void rig_release(struct replay_rig *rig, struct rig_answer answer)
{
    rig->message.run = rig_on_release;
    rig->release_with = answer;
    atomic_store(&rig->busy, true);
    loop_send(rig->loop, &rig->message);
    KIT_UNTIL(!atomic_load(&rig->busy));
}

// --- life -----------------------------------------------------------------------------------------------------------

static inline void *rig_thread(void *loop)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    loop_run(loop);
    return NULL;
}

static inline void rig_on_commit(void *ctx, unsigned signals)
{
    struct replay *replay = atomic_load(&((struct replay_rig *)ctx)->replay);
    if (replay != NULL)
        replay_wake(replay, signals);
}

static inline void rig_serve(struct replay_rig *rig)
{
    struct weir_err err = {0};
    struct exchange_handler handler = {rig, rig_begin, rig_data, rig_end, rig_gone};
    cr_assert_eq(loop_new(&rig->loop, &err), WEIR_OK, "%s", err.text);
    bool grpc = rig->upstream.target.protocol == CONFIG_PROTOCOL_GRPC;
    struct server_options options = {.loops = &rig->loop,
                                     .loop_count = 1,
                                     .grpc_endpoint = grpc ? "127.0.0.1:0" : NULL,
                                     .http_endpoint = grpc ? NULL : "127.0.0.1:0",
                                     .limits = {.body_bytes = UINT64_MAX},
                                     .grpc = handler,
                                     .http = handler};
    cr_assert_eq(server_new(&options, &rig->server, &err), WEIR_OK, "%s", err.text);
    const char *address = grpc ? server_grpc_address(rig->server) : server_http_address(rig->server);
    rig->upstream.target.port = (uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10);
    cr_assert_eq(pthread_create(&rig->thread, NULL, rig_thread, rig->loop), 0);
    server_start(rig->server);
}

static inline void rig_open_spool(struct replay_rig *rig)
{
    struct weir_err err = {0};
    struct spool_report report = {0};
    const struct rig_spool *wanted = &rig->spool_wanted;
    struct spool_options options = kit_options(rig->directory, 256);
    options.on_commit = rig_on_commit;
    options.dead_letter_bytes = wanted->dead_letter_bytes;
    options.keep_delivered_ns = wanted->keep_delivered_ns;
    options.max_age_ns = wanted->max_age_ns;
    options.ctx = rig;
    cr_assert_eq(spool_open(&options, &rig->spool, &report, &err), WEIR_OK, "%s", err.text);
}

static inline void rig_new_replay(struct replay_rig *rig)
{
    struct weir_err err = {0};
    struct replay *replay = NULL;
    cr_assert_eq(replay_new(rig->spool, &rig->upstream, "0123-instance", &replay, &err), WEIR_OK, "%s", err.text);
    atomic_store(&rig->replay, replay);
}

#define rig_new(...) rig_new_on((struct rig_spool){0}, __VA_ARGS__)

// A rig whose replay has its lanes and is not started yet. What the test wants otherwise it sets in `upstream` before.
static inline struct replay_rig *rig_new_on(struct rig_spool spool, struct config_upstream upstream)
{
    static char name[] = "up", empty[] = "", host[] = "127.0.0.1";
    struct replay_rig *rig = calloc(1, sizeof(*rig));
    signal(SIGPIPE, SIG_IGN);
    log_to_fd(open("/dev/null", O_WRONLY | O_CLOEXEC));
    pthread_mutex_init(&rig->lock, NULL);
    rig->upstream = upstream;
    rig->spool_wanted = spool;
    struct config_upstream *up = &rig->upstream;
    up->name = name;
    if (up->target.base_path == NULL)
        up->target.base_path = empty;
    up->endpoint = up->tls.ca_file = up->tls.cert_file = up->tls.key_file = up->tls.server_name = empty;
    up->target.host = host;
    up->start = CONFIG_START_OLDEST;
    if (up->target.protocol == CONFIG_PROTOCOL_AUTO)
        up->target.protocol = CONFIG_PROTOCOL_GRPC;
    if (up->signals == 0)
        up->signals = 0xf;
    if (up->timeout_ms == 0)
        up->timeout_ms = 10000;
    if (up->max_request_size_bytes == 0)
        up->max_request_size_bytes = 4u << 20;
    if (up->max_in_flight == 0)
        up->max_in_flight = 4;
    if (up->retry.initial_ms == 0)
        up->retry.initial_ms = 10;
    if (up->retry.max_ms == 0)
        up->retry.max_ms = 40;
    rig->directory = kit_fast_directory();
    if (rig->directory == NULL)
        rig->directory = kit_directory();
    rig_open_spool(rig);
    rig_serve(rig);
    rig_new_replay(rig);
    return rig;
}

static inline void rig_start(struct replay_rig *rig)
{
    replay_start(atomic_load(&rig->replay));
    rig->started = true;
}

static inline void rig_end_replay(struct replay_rig *rig)
{
    struct replay *replay = atomic_exchange(&rig->replay, NULL); // nothing is appended meanwhile
    replay_ask_stop(replay, 0);
    replay_stop(replay);
    replay_free(replay);
}

static inline void rig_on_server_done(void *ctx)
{
    atomic_store(&((struct replay_rig *)ctx)->server_done, true);
}

static inline void rig_free(struct replay_rig *rig)
{
    rig_end_replay(rig);
    spool_close(rig->spool);
    if (atomic_load(&rig->held_count) > 0) // HTTP/1.1: a client that only stops sending still gets its answer
        rig_release(rig,
                    (struct rig_answer){.status = rig->upstream.target.protocol == CONFIG_PROTOCOL_GRPC ? 14 : 503});
    server_shutdown(rig->server, rig_on_server_done, rig);
    KIT_UNTIL(atomic_load(&rig->server_done));
    loop_stop(rig->loop);
    pthread_join(rig->thread, NULL);
    server_free(rig->server);
    loop_free(rig->loop);
    weir_buf_free(&rig->last_body);
    kit_remove_directory(rig->directory);
    pthread_mutex_destroy(&rig->lock);
    free(rig);
}

// --- data -----------------------------------------------------------------------------------------------------------

// One durable block of requests [id, id + count), each of `bytes` and with two items.
__attribute__((unused)) static void rig_append_in(struct replay_rig *rig, enum weir_signal signal,
                                                  struct weir_slice envelope, uint64_t id, unsigned count, size_t bytes)
{
    struct weir_err err = {0};
    struct block_builder *builder = block_builder_new(signal, envelope, 1);
    uint8_t *raw = malloc(bytes);
    cr_assert_geq(bytes, RIG_HEAD);
    for (uint64_t i = id; i < id + count; i++) {
        kit_fill(raw, bytes, i);
        weir_put_u64(raw, i);
        weir_put_u32(raw + 8, (uint32_t)(bytes - RIG_HEAD));
        struct block_request request = {.items = 2, .received_ns = weir_now_unix_ns() - rig->age_ns};
        cr_assert_eq(block_builder_add(builder, (struct weir_slice){raw, bytes}, &request, &err), WEIR_OK, "%s",
                     err.text);
    }
    struct block *block;
    struct kit_wait wait = KIT_WAIT;
    cr_assert_eq(block_builder_seal(builder, &block, &err), WEIR_OK, "%s", err.text);
    kit_send(rig->spool, &wait, block);
    cr_assert_eq(kit_join(&wait), WEIR_OK);
    block_builder_free(builder);
    free(raw);
}

__attribute__((unused)) static void rig_append(struct replay_rig *rig, enum weir_signal signal, uint64_t id,
                                               unsigned count, size_t bytes)
{
    rig_append_in(rig, signal, (struct weir_slice){NULL, 0}, id, count, bytes);
}

// Each of `count` requests in a block of its own that joins no other: an export each, all of which the window has room for.
__attribute__((unused)) static void rig_append_apart(struct replay_rig *rig, enum weir_signal signal, uint64_t id,
                                                     unsigned count, size_t bytes)
{
    static const uint8_t alone = ENVELOPE_ALONE;
    for (uint64_t i = id; i < id + count; i++)
        rig_append_in(rig, signal, (struct weir_slice){&alone, 1}, i, 1, bytes);
}

static inline struct replay_stats rig_stats(struct replay_rig *rig)
{
    struct replay_stats stats;
    replay_stats_get(atomic_load(&rig->replay), &stats);
    return stats;
}

static inline struct spool_lane_stats rig_ledger(struct replay_rig *rig, enum weir_signal signal)
{
    return kit_ledger(rig_stats(rig).lanes[signal].lane);
}

__attribute__((unused)) static int rig_seen_count(struct replay_rig *rig)
{
    pthread_mutex_lock(&rig->lock);
    int count = rig->seen_count;
    pthread_mutex_unlock(&rig->lock);
    return count;
}

#define RIG_DRAINED(rig, signal) KIT_UNTIL(rig_ledger(rig, signal).pending == 0)

// Each of the ids [0, count) was accepted exactly once.
__attribute__((unused)) static void rig_expect_each_once(struct replay_rig *rig, unsigned count)
{
    pthread_mutex_lock(&rig->lock);
    for (unsigned i = 0; i < count; i++)
        cr_expect_eq(rig->delivered[i], 1, "request %u was accepted %u times", i, rig->delivered[i]);
    cr_expect_eq(rig->order_count, count);
    pthread_mutex_unlock(&rig->lock);
}

#endif
