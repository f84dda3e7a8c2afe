// SPDX-License-Identifier: Apache-2.0
// One request to the upstream: its headers, its body, and what the answer means.
//
// Stored zstd frames go out as they lie on disk when the upstream takes zstd: concatenated frames are one valid stream and
// concatenated requests one valid request (C1, C6). Anything else is decoded and encoded anew as one member or one frame (Z6).
#include "relay/replay_priv.h"

#include <inttypes.h>

struct export *export_new(struct replay_lane *lane)
{
    struct replay *replay = lane->replay;
    struct export *export = replay->spare;
    struct weir_buf encoded = {0}, kept = {0};
    if (export != NULL) {
        replay->spare = export->next;
        encoded = export->encoded;
        kept = export->kept;
        encoded.len = kept.len = 0;
    } else if ((export = malloc(sizeof(*export))) == NULL) {
        return NULL;
    }
    memset(export, 0, sizeof(*export));
    export->replay = replay;
    export->lane = lane;
    export->encoded = encoded;
    export->kept = kept;
    return export;
}

// Nothing is under way: what large bodies took is given back. While something is, it is used again.
static void free_large(struct replay *replay)
{
    replay->keeps_large = false;
    for (struct export *export = replay->spare; export != NULL; export = export->next)
        if (export->encoded.cap > EXPORT_KEPT_BYTES)
            weir_buf_free(&export->encoded);
}

void export_free(struct export *export)
{
    struct replay *replay = export->replay;
    for (size_t i = 0; i < export->view_count; i++)
        block_view_release(&export->views[i]);
    export->view_count = 0;
    secret_release(export->token);
    export->token = NULL;
    export->next = replay->spare;
    replay->spare = export;
    replay->keeps_large = replay->keeps_large || export->encoded.cap > EXPORT_KEPT_BYTES;
    if (replay->keeps_large && replay->in_flight == 0)
        free_large(replay);
}

const struct block_view *export_last_block(const struct export *export)
{
    return &export->views[export->view_count > 0 ? export->view_count - 1 : export->part ? 1 : 0];
}

// --- body -----------------------------------------------------------------------------------------------------------------

static struct encoder *encoder_for(struct replay *replay, enum encoding encoding)
{
    struct encoder **slot = &replay->encoders[encoding];
    if (*slot == NULL)
        *slot = encoder_new(encoding, 0);
    else
        encoder_reset(*slot);
    return *slot;
}

// Encodes `raw`, or the decoded blocks one after the other, into export->encoded.
static int encode_body(struct export *export, const struct weir_slice *raw, struct weir_err *err)
{
    struct encoder *encoder = encoder_for(export->replay, export->encoding);
    if (encoder == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "out of memory");
    export->encoded.len = 0;
    int rc = raw != NULL ? encoder_feed(encoder, *raw, &export->encoded, err) : WEIR_OK;
    struct weir_buf decoded = {0};
    for (size_t i = 0; i < export->view_count && rc == WEIR_OK; i++) {
        decoded.len = 0;
        rc = block_view_decode(&export->views[i], &decoded, err);
        if (rc == WEIR_OK)
            rc = encoder_feed(encoder, (struct weir_slice){decoded.data, decoded.len}, &export->encoded, err);
    }
    weir_buf_free(&decoded);
    return rc == WEIR_OK ? encoder_finish(encoder, &export->encoded, err) : rc;
}

static int build_body(struct export *export, const struct weir_slice *raw, struct weir_err *err)
{
    bool grpc = export->replay->upstream->target.protocol == CONFIG_PROTOCOL_GRPC;
    size_t count = grpc ? 1 : 0; // the first range is gRPC's prefix
    bool as_stored = raw == NULL && export->encoding == ENCODING_ZSTD;
    for (size_t i = 0; i < export->view_count && as_stored; i++)
        as_stored = export->views[i].codec == BLOCK_CODEC_ZSTD;
    if (as_stored) {
        for (size_t i = 0; i < export->view_count; i++)
            export->ranges[count++] = export->views[i].frame;
    } else {
        int rc = encode_body(export, raw, err);
        if (rc != WEIR_OK)
            return rc;
        export->ranges[count++] = (struct weir_slice){export->encoded.data, export->encoded.len};
    }
    export->wire_bytes = 0;
    for (size_t i = grpc ? 1 : 0; i < count; i++)
        export->wire_bytes += export->ranges[i].len;
    if (grpc) {
        assert(export->wire_bytes <= UINT32_MAX);
        grpc_prefix_write(export->prefix, export->encoding != ENCODING_IDENTITY, (uint32_t) export->wire_bytes);
        export->ranges[0] = (struct weir_slice){export->prefix, GRPC_PREFIX_LEN};
    }
    export->call.body = export->ranges;
    export->call.body_count = count;
    return WEIR_OK;
}

// --- head -----------------------------------------------------------------------------------------------------------------

static bool is_set(const struct client_header *headers, size_t count, struct weir_slice name)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(headers[i].name) == name.len && memcmp(headers[i].name, name.data, name.len) == 0)
            return true;
    return false;
}

static const char *keep_text(struct export *export, struct weir_slice text)
{
    char *at = (char *)export->kept.data + export->kept.len;
    memcpy(at, text.data, text.len);
    at[text.len] = '\0';
    export->kept.len += text.len + 1;
    return at;
}

// What came with the data goes on with it, but for what the configuration of this upstream has set already.
static int add_kept(struct export *export, size_t *count, struct weir_err *err)
{
    struct weir_slice bytes = export->views[0].envelope;
    struct envelope envelope;
    size_t set = *count;
    if (bytes.len == 0)
        return WEIR_OK;
    int rc = envelope_decode(bytes, &envelope, err);
    if (rc != WEIR_OK)
        return rc;
    export->kept.len = 0;
    if (!weir_buf_reserve(&export->kept, bytes.len)) // a length each is more than a NUL each
        return weir_fail(err, WEIR_E_NOMEM, "out of memory");
    for (size_t i = 0; i < envelope.count; i++) {
        const struct envelope_header *header = &envelope.headers[i];
        if (is_set(export->headers, set, header->name))
            continue;
        const char *name = keep_text(export, header->name);
        export->headers[(*count)++] = (struct client_header){name, keep_text(export, header->value)};
    }
    return WEIR_OK;
}

static int build_head(struct export *export, struct weir_err *err)
{
    const struct config_upstream *upstream = export->replay->upstream;
    bool grpc = upstream->target.protocol == CONFIG_PROTOCOL_GRPC;
    struct client_header *headers = export->headers;
    size_t count = 0;
    if (grpc) {
        grpc_timeout_format(upstream->timeout_ms * 1000000, export->timeout);
        headers[count++] = (struct client_header){"content-type", "application/grpc"};
        headers[count++] = (struct client_header){"grpc-timeout", export->timeout};
        headers[count++] = (struct client_header){"grpc-accept-encoding", "identity,gzip"};
        if (export->encoding != ENCODING_IDENTITY)
            headers[count++] = (struct client_header){"grpc-encoding", encoding_name(export->encoding)};
    } else {
        headers[count++] = (struct client_header){"content-type", "application/x-protobuf"}; // exactly so (U25)
        if (export->encoding != ENCODING_IDENTITY)
            headers[count++] = (struct client_header){"content-encoding", encoding_name(export->encoding)};
    }
    // The same for every attempt at the same data: a receiver can tell a repetition.
    int n =
        snprintf(export->batch_id, sizeof(export->batch_id), "%s/%s/%" PRIu64 "-%" PRIu64, export->replay->instance,
                 weir_signal_name(export->lane->signal), export->views[0].number, export_last_block(export)->number);
    if (export->letter)
        snprintf(export->batch_id + n, sizeof(export->batch_id) - (size_t)n, "/letter-%" PRIu64, export->letter_item);
    else if (export->item_to > 0)
        snprintf(export->batch_id + n, sizeof(export->batch_id) - (size_t)n, "/%" PRIu32 "-%" PRIu32, export->item_from,
                 export->item_to - 1);
    headers[count++] = (struct client_header){"weir-batch", export->batch_id};
    if (handoff_write(export, export->handoff))
        headers[count++] = (struct client_header){HANDOFF_HEADER, export->handoff};
    secret_release(export->token);
    export->token = secret_use(export->replay->secrets.token);
    if (export->token != NULL)
        headers[count++] = (struct client_header){"authorization", secret_text(export->token)};
    for (size_t i = 0; i < upstream->headers.count; i++)
        headers[count++] = (struct client_header){upstream->headers.items[i].name, upstream->headers.items[i].value};
    int rc = add_kept(export, &count, err);
    export->call.path = export->lane->paths[export->replay->endpoints.current];
    export->call.headers = headers;
    export->call.header_count = count;
    export->call.timeout_ns = upstream->timeout_ms * 1000000;
    return rc;
}

// --- answer ---------------------------------------------------------------------------------------------------------------

// The one message of a gRPC answer, decoded. Anything odd is an empty message: a status of OK has been said all the same, the
// data was taken (U7).
static struct weir_slice grpc_message(const struct client_call *call, struct weir_buf *decoded)
{
    struct grpc_deframer deframer = {0};
    struct weir_slice body = call->response_body, payload = {0};
    struct weir_slice none = {NULL, 0};
    while (body.len > 0 && payload.len == 0)
        if (grpc_deframer_feed(&deframer, &body, &payload, NULL) != WEIR_OK)
            return none;
    if (grpc_deframer_finish(&deframer, NULL) != WEIR_OK)
        return none;
    if (!deframer.compressed)
        return payload;
    struct weir_slice name = client_call_header(call, "grpc-encoding");
    enum encoding encoding;
    if (!encoding_by_name(ENCODING_OF_GRPC, (const char *)name.data, name.len, &encoding))
        return none;
    struct decoder *decoder = decoder_new(encoding, 4 * 1024 * 1024);
    bool good = decoder != NULL && decoder_feed(decoder, payload, decoded, NULL) == WEIR_OK &&
                decoder_finish(decoder, decoded, NULL) == WEIR_OK;
    decoder_free(decoder);
    return good ? (struct weir_slice){decoded->data, decoded->len} : none;
}

// One that is larger than we read is an answer, and would be the same the next time (U8).
static bool was_answered(const struct client_call *call)
{
    return call->error == CLIENT_OK || call->error == CLIENT_E_RESPONSE_TOO_LARGE;
}

static void judge(struct export *export, struct verdict *verdict)
{
    const struct client_call *call = &export->call;
    bool grpc = export->replay->upstream->target.protocol == CONFIG_PROTOCOL_GRPC;
    bool too_large = call->error == CLIENT_E_RESPONSE_TOO_LARGE;
    if (!was_answered(call) || (too_large && grpc)) {
        verdict_transport(client_error_name(call->error), call->error_text, verdict);
        if (too_large) // gRPC's status comes behind the message and was not read: permanent, as the specification has it
            verdict->kind = VERDICT_REJECT;
        return;
    }
    struct weir_buf decoded = {0};
    struct verdict_answer answer = {.http_status = call->http_status,
                                    .content_type = client_call_header(call, "content-type"),
                                    .grpc_status = client_call_header(call, "grpc-status"),
                                    .grpc_message = client_call_header(call, "grpc-message"),
                                    .grpc_details = client_call_header(call, "grpc-status-details-bin"),
                                    .retry_after = client_call_header(call, "retry-after"),
                                    .body = call->response_body,
                                    .sent_compressed = export->encoding != ENCODING_IDENTITY,
                                    .sent_raw_bytes = export->raw_bytes,
                                    .now_unix_ns = weir_now_unix_ns()};
    if (grpc) {
        answer.body = grpc_message(call, &decoded);
        verdict_grpc(&answer, verdict);
    } else {
        verdict_http(&answer, verdict);
    }
    weir_buf_free(&decoded);
    handoff_judge(export, verdict);
}

static void count_attempt(struct export *export, const struct verdict *verdict)
{
    struct replay *replay = export->replay;
    double seconds = (double)(weir_now_ns() - export->started_ns) / 1e9;
    size_t bucket = 0;
    while (seconds > replay_send_bounds[bucket])
        bucket++;
    pthread_mutex_lock(&replay->lock);
    struct replay_lane_stats *stats = &replay->stats.lanes[export->lane->signal];
    stats->exports++;
    stats->retries += verdict->kind == VERDICT_RETRY || verdict->kind == VERDICT_HOLD;
    stats->send_buckets[bucket]++;
    stats->send_seconds_sum += seconds;
    if (verdict->kind == VERDICT_DELIVERED) {
        stats->repeats += verdict->repeated;
        stats->sent_raw_bytes += export->raw_bytes;
        stats->sent_wire_bytes += export->wire_bytes;
    }
    pthread_mutex_unlock(&replay->lock);
}

// What is known of encodings is known of this connection.
static void learn_connection(const struct export *export)
{
    if (export->call.connection > export->replay->encoding_connection)
        export->replay->encoding_connection = export->call.connection;
}

// compression: auto. True: the upstream refuses this encoding; the next one is tried, and nothing has failed yet (U24).
static bool next_encoding(struct export *export, const struct verdict *verdict)
{
    struct replay *replay = export->replay;
    // The first proof may come over another connection than the refusal before it, which may have ended its own.
    if (verdict->kind == VERDICT_DELIVERED && export->encoding == replay->encoding && !replay->encoding_proven) {
        replay->encoding_proven = true;
        learn_connection(export);
    }
    if (!verdict->refuses_encoding || export->encoding == ENCODING_IDENTITY ||
        replay->upstream->compression != CONFIG_COMPRESSION_AUTO)
        return false;
    if (export->encoding == replay->encoding && replay->encoding_proven)
        return false; // it takes this encoding: something else is wrong
    learn_connection(export);
    if (export->encoding == replay->encoding)
        replay->encoding = replay->encoding == ENCODING_ZSTD ? ENCODING_GZIP : ENCODING_IDENTITY;
    return true;
}

// No answer: the way to the upstream is broken, for all lanes. Exports that were under way together and break together are one failure. True: it
// is the lane's own, which waits.
static bool unreachable(struct export *export, const struct verdict *verdict)
{
    struct replay *replay = export->replay;
    struct flow *flow = &replay->flow;
    enum client_error error = export->call.error;
    if (error == CLIENT_E_CANCELLED && atomic_load(&replay->stop)) { // our own doing
        flow_dropped(export);
        return false;
    }
    bool older = export->started_ns < flow->unreachable_ns;
    // Certainly not processed: at once again, once (U11); a peer that does nothing else is backed off from like any other.
    bool at_once = error == CLIENT_E_NOT_PROCESSED && (older || !flow->not_processed);
    bool counts = !at_once && !older, silent = counts && !was_answered(&export->call) && replay->endpoints.count > 1;
    bool another = counts && endpoint_failed(replay, was_answered(&export->call));
    bool own = silent && flow_own_silence(export, !another);
    flow_unanswered(export, counts && !another && !own);
    if (at_once)
        flow->not_processed = true;
    if (!older)
        flow->unreachable_ns = weir_now_ns();
    if (!at_once)
        replay_note_unreachable(replay, verdict);
    return own;
}

// A link on which a whole export takes longer than its timeout would get the same one again and again, and deliver nothing.
static void adapt_size(const struct export *export, const struct verdict *verdict)
{
    struct replay *replay = export->replay;
    uint64_t max = replay->upstream->max_request_size_bytes, size = replay->export_bytes;
    bool late = (export->call.error == CLIENT_E_TIMEOUT && export->call.bytes_sent) ||
                (verdict->kind == VERDICT_RETRY &&
                 (strcmp(verdict->code, "DEADLINE_EXCEEDED") == 0 || strcmp(verdict->code, "HTTP 408") == 0));
    if (late && export->raw_bytes / 2 < size)
        size = export->raw_bytes / 2 > EXPORT_BYTES_MIN ? export->raw_bytes / 2 : EXPORT_BYTES_MIN;
    else if (verdict->kind == VERDICT_DELIVERED && export->raw_bytes > size / 2)
        size += size / 16;
    replay->export_bytes = size < max ? size : max;
}

static void on_done(struct client_call *call)
{
    struct export *export = call->user;
    struct replay *replay = export->replay;
    struct replay_lane *lane = export->lane;
    struct verdict verdict = {0};
    judge(export, &verdict);
    secret_mask(export->token, verdict.message);
    if (call->http_status == 401 || strcmp(verdict.code, "UNAUTHENTICATED") == 0)
        replay_secrets_refused(replay, export);
    adapt_size(export, &verdict);
    replay->in_flight--;
    lane->in_flight--;
    count_attempt(export, &verdict);
    // That nobody there can take data is as good as no answer, where there is another to ask.
    if (!was_answered(call) || (verdict.unavailable && flow_asks_another(export))) {
        export->lane_waits = unreachable(export, &verdict);
    } else {
        if (governor_probes(&replay->flow.governor) &&
            replay->flow.governor.backoff.failures > 1) // it was away: what it takes may be another matter now
            lanes_forget_limits(replay);
        replay->flow.not_processed = false;
        endpoint_answered(replay);
        replay->failure_told = false;
        export->lane_waits = !next_encoding(export, &verdict);
        if (!export->lane_waits)
            verdict.kind = VERDICT_RETRY;
        else if (verdict.kind != VERDICT_DELIVERED && !verdict.repeated && !export->letter)
            replay_note_refusal(lane, &verdict);
        flow_answered(export, &verdict);
    }
    if (export->letter)
        redrive_done(export, &verdict);
    else if (export->part)
        split_part_done(export, &verdict);
    else
        lane_export_done(export, &verdict);
    if (!export->taken_over)
        export_free(export);
    replay_update_state(replay);
}

int export_send(struct export *export, const struct weir_slice *raw, struct weir_err *err)
{
    struct replay *replay = export->replay;
    // A new connection may lead to another peer: find out anew what it takes.
    uint64_t connection = client_connection(endpoint_client(replay));
    if (connection > replay->encoding_connection && replay->upstream->compression == CONFIG_COMPRESSION_AUTO) {
        replay->encoding_connection = connection;
        replay->encoding_proven = false;
        replay->encoding = ENCODING_ZSTD;
    }
    export->encoding = replay->encoding;
    int rc = build_body(export, raw, err);
    if (rc == WEIR_OK)
        rc = build_head(export, err);
    if (rc != WEIR_OK)
        return rc;
    export->call.done = on_done;
    export->call.user = export;
    flow_started(export);
    replay->in_flight++;
    export->lane->in_flight++;
    client_start(endpoint_client(replay), &export->call);
    return WEIR_OK;
}
