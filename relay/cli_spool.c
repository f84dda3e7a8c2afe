// SPDX-License-Identifier: Apache-2.0
#include "relay/cli_spool.h"
#include "relay/envelope.h"
#include "relay/header.h"

#include <errno.h>
#include <unistd.h>

#include "relay/cli_values.h"
#include "relay/spool_events.h"
#include "relay/status.h"
#include "relay/status_print.h"

#define SHOW_EVERY_NS 200000000u

int cli_spool_open(const struct cli *cli, struct inspect **out)
{
    struct weir_err err = {0};
    int code = inspect_open(cli->directory, out, &err);
    if (code == WEIR_OK)
        return CLI_DONE;
    fprintf(stderr, "weir: %s\n", err.text);
    return code == WEIR_E_HELD ? CLI_HELD : code == WEIR_E_NOMEM ? CLI_FAILED : CLI_USAGE;
}

int cli_spool_fail(const struct weir_err *err)
{
    fprintf(stderr, "weir: %s\n", err->text);
    return CLI_FAILED;
}

int cli_spool_end(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    fprintf(stderr, "weir: write to stdout: %s\n", strerrordesc_np(errno));
    return CLI_FAILED;
}

bool cli_filter_parse(const struct cli *cli, struct cli_filter *out)
{
    struct weir_err err = {0};
    enum weir_signal signal = WEIR_TRACES;
    uint64_t now = weir_now_unix_ns();
    *out = (struct cli_filter){.signal = INSPECT_ANY, .until_ns = UINT64_MAX, .end = UINT64_MAX};
    int code = cli->signal != NULL ? cli_signal_parse(cli->signal, &signal, &err) : WEIR_OK;
    if (cli->signal != NULL)
        out->signal = signal;
    if (code == WEIR_OK && cli->since != NULL)
        code = cli_time_parse(cli->since, now, &out->since_ns, &err);
    if (code == WEIR_OK && cli->until != NULL)
        code = cli_time_parse(cli->until, now, &out->until_ns, &err);
    if (code == WEIR_OK && cli->blocks != NULL)
        code = cli_blocks_parse(cli->blocks, &out->first, &out->end, &err);
    if (code != WEIR_OK)
        fprintf(stderr, "weir: %s\n", err.text);
    return code == WEIR_OK;
}

bool cli_filter_takes(const struct cli_filter *filter, const struct inspect_block *block)
{
    return (filter->signal == INSPECT_ANY || filter->signal == block->signal) &&
           block->received_last_ns >= filter->since_ns && block->received_first_ns < filter->until_ns;
}

// --- JSON ---------------------------------------------------------------------------------------------------------------

struct cli_json cli_json_new(void)
{
    json_t *json = json_object();
    return (struct cli_json){json, json == NULL};
}

void cli_json_put(struct cli_json *object, const char *name, json_t *value)
{
    if (json_object_set_new(object->json, name, value) != 0) // frees `value` when it fails
        object->failed = true;
}

void cli_json_u64(struct cli_json *object, const char *name, uint64_t value)
{
    cli_json_put(object, name, json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value));
}

void cli_json_real(struct cli_json *object, const char *name, double value)
{
    cli_json_put(object, name, json_real((double)(int64_t)(value * 1000 + 0.5) / 1000));
}

void cli_json_bool(struct cli_json *object, const char *name, bool value)
{
    cli_json_put(object, name, json_boolean(value));
}

void cli_json_bytes(struct cli_json *object, const char *name, struct weir_slice text)
{
    json_t *value = json_stringn(text.len > 0 ? (const char *)text.data : "", text.len);
    if (value == NULL) { // no UTF-8
        struct weir_buf clean = {0};
        if (weir_buf_append(&clean, text.data, text.len))
            for (size_t i = 0; i < clean.len; i++)
                clean.data[i] = clean.data[i] < 0x80 ? clean.data[i] : '?';
        if (clean.data != NULL)
            value = json_stringn((const char *)clean.data, clean.len);
        weir_buf_free(&clean);
    }
    cli_json_put(object, name, value);
}

void cli_json_text(struct cli_json *object, const char *name, const char *text)
{
    if (text == NULL)
        cli_json_put(object, name, json_null());
    else
        cli_json_bytes(object, name, (struct weir_slice){(const uint8_t *)text, strlen(text)});
}

void cli_json_time(struct cli_json *object, const char *name, uint64_t unix_ns)
{
    char text[STATUS_TIME_LEN];
    if (unix_ns != 0)
        status_time_format(unix_ns, text);
    cli_json_text(object, name, unix_ns != 0 ? text : NULL);
}

void cli_json_object(struct cli_json *object, const char *name, struct cli_json *inner)
{
    object->failed = object->failed || inner->failed;
    cli_json_put(object, name, inner->json);
}

bool cli_json_print(struct cli_json *object, bool indented, FILE *out)
{
    bool good =
        !object->failed &&
        json_dumpf(object->json, out, (indented ? JSON_INDENT(1) : JSON_COMPACT) | JSON_REAL_PRECISION(15)) == 0;
    json_decref(object->json);
    if (good)
        fputc('\n', out);
    else
        fputs("weir: out of memory\n", stderr);
    return good;
}

void cli_spool_ledger(struct cli_json *items, const struct spool_lane_stats *stats)
{
    cli_json_u64(items, "accepted", stats->accepted);
    cli_json_u64(items, "delivered", stats->delivered);
    cli_json_u64(items, "pending", stats->pending);
    cli_json_u64(items, "dead_lettered", stats->dead_lettered);
    cli_json_u64(items, "evicted", stats->evicted);
    cli_json_u64(items, "discarded", stats->discarded);
    cli_json_u64(items, "rejected_by_upstream", stats->rejected_by_upstream);
    cli_json_u64(items, "replayed", stats->replayed);
}

struct cli_json cli_spool_evicted(const struct spool_lane_stats *stats)
{
    struct cli_json evicted = cli_json_new();
    for (int i = 0; i < SPOOL_LOSSES; i++)
        cli_json_u64(&evicted, spool_loss_name((enum spool_loss)i), stats->evicted_by[i]);
    cli_json_time(&evicted, "received_first", stats->evicted_received_first_ns);
    cli_json_time(&evicted, "received_last", stats->evicted_received_last_ns);
    return evicted;
}

json_t *cli_spool_intervals(const struct inspect_lane *lane, uint64_t next_block)
{
    json_t *intervals = json_array();
    for (size_t i = 0; i < lane->intervals_n && intervals != NULL; i++) {
        uint64_t end = lane->intervals[i].end == SPOOL_END ? next_block : lane->intervals[i].end;
        if (json_array_append_new(intervals,
                                  json_pack("[I,I]", (json_int_t)lane->intervals[i].first, (json_int_t)end)) != 0) {
            json_decref(intervals);
            return NULL;
        }
    }
    return intervals;
}

// --- progress -------------------------------------------------------------------------------------------------------------

struct cli_progress cli_progress_new(const char *verb)
{
    return (struct cli_progress){.verb = verb, .began_ns = weir_now_ns(), .terminal = isatty(STDERR_FILENO) == 1};
}

void cli_progress_show(struct cli_progress *progress, uint64_t done_bytes, uint64_t total_bytes)
{
    uint64_t now = weir_now_ns();
    if (!progress->terminal ||
        now - (progress->shown_ns != 0 ? progress->shown_ns : progress->began_ns) < SHOW_EVERY_NS)
        return;
    progress->shown_ns = now;
    char done[STATUS_WORD_LEN], total[STATUS_WORD_LEN], rate[STATUS_WORD_LEN], left[STATUS_WORD_LEN] = "?";
    double seconds = (double)(now - progress->began_ns) / 1e9, per_second = (double)done_bytes / seconds;
    status_bytes_format((double)done_bytes, done);
    status_bytes_format((double)total_bytes, total);
    status_bytes_format(per_second, rate);
    if (done_bytes > 0)
        status_duration_format((double)(total_bytes - done_bytes) / per_second, left);
    fprintf(stderr, "\r\033[K%s: %s of %s, %s/s, %s left", progress->verb, done, total, rate, left);
    fflush(stderr);
}

void cli_progress_end(struct cli_progress *progress)
{
    if (progress->shown_ns != 0)
        fputs("\r\033[K", stderr);
}

static const char *shown_value(const struct envelope_header *header, size_t *len)
{
    char name[HEADER_NAME_MAX + 1] = "";
    memcpy(name, header->name.data, header->name.len);
    if (header_is_secret(name)) {
        *len = strlen(HEADER_MASK);
        return HEADER_MASK;
    }
    *len = header->value.len;
    return (const char *)header->value.data;
}

json_t *cli_spool_headers(struct weir_slice bytes)
{
    struct envelope envelope;
    if (envelope_decode(bytes, &envelope, NULL) != WEIR_OK)
        return json_null();
    json_t *list = json_array();
    for (size_t i = 0; i < envelope.count && list != NULL; i++) {
        const struct envelope_header *header = &envelope.headers[i];
        size_t len;
        const char *value = shown_value(header, &len);
        json_t *pair = json_pack("{s:s%, s:s%}", "name", header->name.data, header->name.len, "value", value, len);
        if (pair == NULL || json_array_append_new(list, pair) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

void cli_spool_headers_text(struct weir_slice bytes)
{
    struct envelope envelope;
    if (envelope_decode(bytes, &envelope, NULL) != WEIR_OK) {
        fputs("  (headers that cannot be read)", stdout);
        return;
    }
    for (size_t i = 0; i < envelope.count; i++) {
        const struct envelope_header *header = &envelope.headers[i];
        size_t len;
        const char *value = shown_value(header, &len);
        printf("  %.*s=%.*s", (int)header->name.len, (const char *)header->name.data, (int)len, value);
    }
}
