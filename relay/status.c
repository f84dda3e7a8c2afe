// SPDX-License-Identifier: Apache-2.0
// jansson's setters with _new take over what they are given and fail on NULL, so a member that could not be made makes its object fail,
// and that is looked at once: `put` remembers it.
#include "relay/status.h"

#include <stdio.h>

#include "relay/spool_events.h"

// An object under construction; `failed` sticks.
struct object {
    json_t *json;
    bool *failed;
};

static struct object object_new(bool *failed)
{
    struct object object = {json_object(), failed};
    if (object.json == NULL)
        *failed = true;
    return object;
}

static void put(struct object object, const char *name, json_t *value)
{
    if (json_object_set_new(object.json, name, value) != 0) // frees `value` when it fails
        *object.failed = true;
}

static void put_u64(struct object object, const char *name, uint64_t value)
{
    put(object, name, json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value));
}

// To a thousandth: more digits are noise.
static void put_real(struct object object, const char *name, double value)
{
    put(object, name, json_real((double)(int64_t)(value * 1000 + 0.5) / 1000));
}

// The path of a directory or the words of an upstream may hold bytes that JSON cannot: those become '?'.
static void put_text(struct object object, const char *name, const char *text)
{
    if (text == NULL) {
        put(object, name, json_null());
        return;
    }
    json_t *value = json_string(text);
    if (value == NULL) {
        char clean[1024];
        size_t n = 0;
        for (; text[n] != '\0' && n + 1 < sizeof(clean); n++)
            clean[n] = (unsigned char)text[n] < 0x80 ? text[n] : '?';
        clean[n] = '\0';
        value = json_string(clean);
    }
    put(object, name, value);
}

static void put_time(struct object object, const char *name, uint64_t unix_ns)
{
    char text[STATUS_TIME_LEN];
    if (unix_ns != 0)
        status_time_format(unix_ns, text);
    put_text(object, name, unix_ns != 0 ? text : NULL);
}

static void put_known(struct object object, const char *name, bool known, double value)
{
    if (known)
        put_real(object, name, value);
    else
        put(object, name, json_null());
}

static void put_age(struct object object, const char *name, uint64_t now_unix_ns, uint64_t then_unix_ns)
{
    double age = now_unix_ns > then_unix_ns ? (double)(now_unix_ns - then_unix_ns) / 1e9 : 0;
    put_known(object, name, then_unix_ns != 0, age);
}

void status_time_format(uint64_t unix_ns, char out[STATUS_TIME_LEN])
{
    time_t seconds = (time_t)(unix_ns / 1000000000u);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    size_t n = strftime(out, STATUS_TIME_LEN, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, STATUS_TIME_LEN - n, ".%03uZ", (unsigned)(unix_ns / 1000000u % 1000u));
}

// --- the parts, in the order they are shown ---------------------------------------------------------------------------

static json_t *weir_part(const struct snapshot *s, bool *failed)
{
    struct object weir = object_new(failed);
    put_text(weir, "version", s->version);
    put_text(weir, "instance", s->instance);
    put_time(weir, "started", s->started_unix_ns);
    put_real(weir, "uptime_seconds", s->uptime_seconds);
    put_text(weir, "phase", snapshot_phase_name(s->phase));
    put(weir, "ready", json_boolean(s->ready));
    put_text(weir, "reason", s->ready ? NULL : s->reason);
    return weir.json;
}

static json_t *received_part(const struct snapshot *s, size_t signal, bool *failed)
{
    uint64_t requests = 0, items = 0, bytes = 0, refused = 0, last = 0;
    for (size_t t = 0; t < INGEST_TRANSPORTS; t++) {
        const struct snapshot_received *received = &s->received[t][signal];
        requests += received->requests;
        items += received->items;
        bytes += received->bytes;
        if (received->last_received_unix_ns > last)
            last = received->last_received_unix_ns;
        for (size_t r = 0; r < REFUSALS; r++)
            refused += s->refused[t][signal][r];
    }
    struct object object = object_new(failed);
    put_u64(object, "requests", requests);
    put_u64(object, "items", items);
    put_u64(object, "bytes", bytes);
    put_u64(object, "refused_requests", refused);
    put_time(object, "last_received", last);
    return object.json;
}

// NULL, which is null: there is no TLS.
static json_t *tls_part(const struct snapshot *s, const struct certificate_state *tls, bool *failed)
{
    if (!tls->used)
        return json_null();
    struct object object = object_new(failed);
    bool known = tls->validity.not_after_unix > 0; // an upstream may be shown no certificate
    put_time(object, "not_before", known ? (uint64_t)tls->validity.not_before_unix * 1000000000u : 0);
    put_time(object, "not_after", known ? (uint64_t)tls->validity.not_after_unix * 1000000000u : 0);
    put_known(object, "expires_in_seconds", known, (double)tls->validity.not_after_unix - (double)s->unix_ns / 1e9);
    enum certificate_age age = certificate_age(tls->validity, (int64_t)(s->unix_ns / 1000000000u));
    put(object, "expires_soon", json_boolean(age == CERTIFICATE_EXPIRES_SOON || age == CERTIFICATE_EXPIRED));
    put_time(object, "loaded", tls->loaded_unix_ns);
    put_text(object, "error", tls->error[0] != '\0' ? tls->error : NULL);
    return object.json;
}

static json_t *receiver_part(const struct snapshot *s, bool *failed)
{
    struct object receiver = object_new(failed);
    put_text(receiver, "grpc", s->grpc_address);
    put_text(receiver, "http", s->http_address);
    struct object tls = object_new(failed);
    put(tls, "grpc", tls_part(s, &s->tls[CERTIFICATE_GRPC], failed));
    put(tls, "http", tls_part(s, &s->tls[CERTIFICATE_HTTP], failed));
    put(receiver, "tls", tls.json);
    put_text(receiver, "token_error", s->token_error[0] != '\0' ? s->token_error : NULL);
    put_u64(receiver, "connections", s->connections);
    put_u64(receiver, "unwritten_bytes", s->unwritten_bytes);
    struct object rates = object_new(failed);
    put_real(rates, "items", s->received_items_rate);
    put_real(rates, "bytes", s->received_bytes_rate);
    put(receiver, "rates", rates.json);
    struct object signals = object_new(failed);
    for (size_t i = 0; i < WEIR_SIGNALS; i++)
        put(signals, weir_signal_name((enum weir_signal)i), received_part(s, i, failed));
    put(receiver, "signals", signals.json);
    uint64_t unknown = 0;
    for (size_t cell = 0; cell < INGEST_TRANSPORTS * REFUSALS; cell++)
        unknown += s->refused[cell / REFUSALS][INGEST_NO_SIGNAL][cell % REFUSALS];
    put_u64(receiver, "refused_requests_of_no_signal", unknown);
    return receiver.json;
}

static json_t *spool_part(const struct snapshot *s, bool *failed)
{
    const struct spool_stats *stats = &s->spool;
    struct object spool = object_new(failed);
    put_text(spool, "state", snapshot_spool_state_name(stats->state));
    put_text(spool, "reason", stats->reason[0] != '\0' ? stats->reason : NULL);
    put_text(spool, "directory", s->directory);
    put_u64(spool, "used_bytes", stats->used_bytes);
    put_u64(spool, "max_bytes", stats->max_bytes);
    put_u64(spool, "disk_free_bytes", stats->disk_free_bytes);
    put_u64(spool, "kept_bytes", stats->kept_bytes);
    put_u64(spool, "segments", stats->segments);
    put_time(spool, "oldest", stats->oldest_received_ns);
    put_known(spool, "compression_ratio", stats->stored_bytes_total > 0,
              (double)stats->raw_bytes_total / (double)(stats->stored_bytes_total > 0 ? stats->stored_bytes_total : 1));
    put_u64(spool, "commits", stats->commits);
    put_u64(spool, "commit_failures", stats->commit_failures);
    put_u64(spool, "state_failures", stats->state_failures);
    put_u64(spool, "settlements_waiting", stats->settlements_waiting);
    put_u64(spool, "settlements_dropped", stats->settlements_dropped);
    put_known(spool, "requests_per_commit", stats->commits > 0,
              (double)stats->committed_requests / (double)(stats->commits > 0 ? stats->commits : 1));
    put_known(spool, "full_in_seconds", s->full_in_seconds != RATE_UNKNOWN, s->full_in_seconds);
    put_text(spool, "when_full", s->evict_oldest ? "evict_oldest" : "refuse");
    put_known(spool, "max_age_seconds", s->max_age_ms != 0, (double)s->max_age_ms / 1e3);
    put_real(spool, "keep_delivered_seconds", (double)s->keep_delivered_ms / 1e3);
    put_u64(spool, "damaged_files", stats->damaged_files);
    put_u64(spool, "scrubbed_bytes", stats->scrubbed_bytes_total);
    put_time(spool, "scrub_finished", stats->scrub_finished_ns);
    return spool.json;
}

static json_t *error_part(uint64_t unix_ns, const char *code, const char *message, bool *failed)
{
    struct object error = object_new(failed);
    put_time(error, "time", unix_ns);
    put_text(error, "code", unix_ns != 0 ? code : NULL);
    put_text(error, "message", unix_ns != 0 ? message : NULL);
    return error.json;
}

static json_t *evicted_part(const struct spool_lane_stats *ledger, bool *failed)
{
    struct object evicted = object_new(failed);
    for (int i = 0; i < SPOOL_LOSSES; i++)
        put_u64(evicted, spool_loss_name((enum spool_loss)i), ledger->evicted_by[i]);
    put_time(evicted, "received_first", ledger->evicted_received_first_ns);
    put_time(evicted, "received_last", ledger->evicted_received_last_ns);
    return evicted.json;
}

static json_t *items_part(const struct spool_lane_stats *ledger, bool *failed)
{
    struct object items = object_new(failed);
    put_u64(items, "accepted", ledger->accepted);
    put_u64(items, "delivered", ledger->delivered);
    put_u64(items, "pending", ledger->pending);
    put_u64(items, "dead_lettered", ledger->dead_lettered);
    put_u64(items, "evicted", ledger->evicted);
    put_u64(items, "discarded", ledger->discarded);
    put_u64(items, "rejected_by_upstream", ledger->rejected_by_upstream);
    put_u64(items, "replayed", ledger->replayed);
    return items.json;
}

static json_t *lane_part(const struct snapshot *s, const struct snapshot_lane *lane, bool *failed)
{
    const struct spool_lane_stats *ledger = &lane->ledger;
    struct object object = object_new(failed);
    put_text(object, "state", replay_state_name(lane->replay.state));
    put(object, "items", items_part(ledger, failed));
    put(object, "evicted", evicted_part(ledger, failed));
    put_u64(object, "pending_bytes", ledger->pending_bytes);
    json_t *intervals = json_array();
    for (size_t i = 0; i < lane->interval_count; i++) {
        // An open end follows new blocks: it is where the spool ends now.
        const struct spool_interval *interval = &lane->intervals[i];
        uint64_t end = interval->end == SPOOL_END ? s->spool.next_block : interval->end;
        if (json_array_append_new(intervals, json_pack("[I,I]", (json_int_t)interval->first, (json_int_t)end)) != 0)
            *failed = true;
    }
    put(object, "intervals", intervals);
    put_age(object, "oldest_age_seconds", s->unix_ns, ledger->oldest_received_ns);
    const struct replay_lane_stats *replay = &lane->replay;
    put_u64(object, "export_max_bytes", replay->export_max_bytes);
    put(object, "last_error", error_part(replay->error_unix_ns, replay->error_code, replay->error_message, failed));
    return object.json;
}

// All of a list, in the order in which they are tried.
static json_t *endpoints_part(const char *urls)
{
    json_t *array = json_array();
    for (size_t len; array != NULL && *urls != '\0'; urls += len + (urls[len] == ',')) {
        len = strcspn(urls, ",");
        json_array_append_new(array, json_stringn(urls, len));
    }
    return array;
}

static json_t *upstream_part(const struct snapshot *s, const struct snapshot_upstream *upstream, bool *failed)
{
    const struct replay_stats *replay = &upstream->replay;
    struct object object = object_new(failed);
    put_text(object, "name", upstream->name);
    put_text(object, "endpoint", replay->endpoint != NULL ? replay->endpoint : upstream->endpoint);
    put(object, "endpoints", endpoints_part(upstream->endpoint));
    put_text(object, "state", replay_state_name(replay->state));
    put_time(object, "since", replay->since_unix_ns);
    put_text(object, "encoding", replay->encoding);
    put_u64(object, "max_request_bytes", upstream->export_bytes);
    put(object, "tls", tls_part(s, &upstream->tls, failed));
    put_text(object, "token_error", replay->token_error[0] != '\0' ? replay->token_error : NULL);
    put(object, "last_error", error_part(replay->error_unix_ns, replay->error_code, replay->error_message, failed));
    uint64_t next = replay->next_attempt_ns;
    put_known(object, "next_attempt_seconds", next != 0, next > s->now_ns ? (double)(next - s->now_ns) / 1e9 : 0);
    put_known(object, "eta_seconds", upstream->eta_seconds != RATE_UNKNOWN, upstream->eta_seconds);
    struct object backlog = object_new(failed);
    put_u64(backlog, "items", upstream->backlog_items);
    put_u64(backlog, "bytes", upstream->backlog_bytes);
    put_age(backlog, "oldest_age_seconds", s->unix_ns, upstream->oldest_received_unix_ns);
    put(object, "backlog", backlog.json);
    struct object rates = object_new(failed);
    put_real(rates, "in_items", upstream->rates.in_items);
    put_real(rates, "out_items", upstream->rates.out_items);
    put_real(rates, "in_bytes", upstream->rates.in_bytes);
    put_real(rates, "out_bytes", upstream->rates.out_bytes);
    put(object, "rates", rates.json);
    struct object flow = object_new(failed);
    put_u64(flow, "window_bytes", replay->window_bytes);
    put_u64(flow, "in_flight_bytes", replay->in_flight_bytes);
    put_known(flow, "rate_bytes_per_second", replay->rate_bytes > 0, replay->rate_bytes);
    put(object, "flow", flow.json);
    struct object lanes = object_new(failed);
    for (size_t i = 0; i < WEIR_SIGNALS; i++)
        if (upstream->lanes[i].replay.open)
            put(lanes, weir_signal_name((enum weir_signal)i), lane_part(s, &upstream->lanes[i], failed));
    put(object, "lanes", lanes.json);
    return object.json;
}

static json_t *dead_letters_part(const struct snapshot *s, bool *failed)
{
    struct object dead = object_new(failed);
    put_u64(dead, "requests", s->spool.dead_letter_requests);
    put_u64(dead, "items", s->spool.dead_letter_items);
    put_u64(dead, "bytes", s->spool.dead_letter_bytes);
    put_u64(dead, "max_bytes", s->dead_letter_max_bytes);
    put_u64(dead, "to_redrive", s->spool.dead_letters_marked);
    put_u64(dead, "redriven", s->spool.dead_letters_redriven);
    put_u64(dead, "purged", s->spool.dead_letters_purged);
    put_u64(dead, "evicted", s->spool.dead_letters_evicted);
    return dead.json;
}

static json_t *drain_part(const struct snapshot *s, bool *failed)
{
    struct object drain = object_new(failed);
    put(drain, "draining", json_boolean(s->drain.draining));
    put(drain, "drained", json_boolean(s->drain.drained));
    put_time(drain, "since", s->drain.since_unix_ns);
    put_u64(drain, "pending_items", s->drain.pending_items);
    return drain.json;
}

// Lanes of upstreams that are not configured, one an entry.
static json_t *orphans_part(const struct snapshot *s, bool *failed)
{
    json_t *orphans = json_array();
    for (size_t i = 0; i < s->orphan_count; i++) {
        const struct snapshot_orphan *orphan = &s->orphans[i];
        struct object object = object_new(failed);
        put_text(object, "name", orphan->upstream);
        put_text(object, "signal", weir_signal_name(orphan->signal));
        put(object, "items", items_part(&orphan->ledger, failed));
        put_u64(object, "pending_bytes", orphan->ledger.pending_bytes);
        put_age(object, "oldest_age_seconds", s->unix_ns, orphan->ledger.oldest_received_ns);
        if (json_array_append_new(orphans, object.json) != 0)
            *failed = true;
    }
    return orphans;
}

json_t *status_json(const struct snapshot *snapshot)
{
    bool failed = false;
    struct object status = object_new(&failed);
    put(status, "weir", weir_part(snapshot, &failed));
    put(status, "receiver", receiver_part(snapshot, &failed));
    put(status, "spool", spool_part(snapshot, &failed));
    json_t *upstreams = json_array();
    for (size_t i = 0; i < snapshot->upstream_count; i++)
        if (json_array_append_new(upstreams, upstream_part(snapshot, &snapshot->upstreams[i], &failed)) != 0)
            failed = true;
    put(status, "upstreams", upstreams);
    put(status, "orphans", orphans_part(snapshot, &failed));
    put(status, "drain", drain_part(snapshot, &failed));
    put(status, "dead_letters", dead_letters_part(snapshot, &failed));
    struct object admin = object_new(&failed);
    put(admin, "tls", tls_part(snapshot, &snapshot->tls[CERTIFICATE_ADMIN], &failed));
    put(status, "admin", admin.json);
    if (!failed)
        return status.json;
    json_decref(status.json);
    return NULL;
}

static int append(const char *text, size_t len, void *out)
{
    return weir_buf_append(out, text, len) ? 0 : -1;
}

bool status_text(const struct snapshot *snapshot, struct weir_buf *out)
{
    json_t *json = status_json(snapshot);
    if (json == NULL)
        return false;
    // A real of 0.1 is to be read as 0.1, not as 0.10000000000000001.
    int result = json_dump_callback(json, append, out, JSON_COMPACT | JSON_REAL_PRECISION(15));
    json_decref(json);
    return result == 0 && weir_buf_append(out, "\n", 1);
}
