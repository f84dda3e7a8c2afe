// SPDX-License-Identifier: Apache-2.0
#include "relay/admin_deadletters.h"

#include <stdio.h>

#include "proto/otlp_json.h"
#include "proto/utf8.h"
#include "relay/admin_answer.h"
#include "relay/admin_body.h"
#include "relay/cli_spool.h"
#include "relay/cli_values.h"
#include "relay/log.h"
#include "relay/status.h"
#include "storage/letters.h"

#define PAGE_LETTERS     100u
#define PAGE_LETTERS_MAX 1000u
#define IDS_MAX          100u // changed one by one, each durably
#define BATCHES_MAX      16u
#define WORK_NS          250000000ull // in one request, about
#define SHOW_BYTES_MAX   (4u * 1024u * 1024u)
#define SHOW_JSON_MAX    (8u * SHOW_BYTES_MAX)
#define TEXT_MAX         1200u

static int fail(const struct weir_err *err, int code, json_t **out)
{
    *out = admin_error_json(err->text);
    return code == WEIR_E_AGAIN ? 409 : admin_status_of(code);
}

static json_t *time_json(uint64_t unix_ns)
{
    char text[STATUS_TIME_LEN];
    status_time_format(unix_ns, text);
    return unix_ns != 0 ? json_string(text) : json_null();
}

static json_t *text_json(struct weir_slice text)
{
    char clean[TEXT_MAX];
    utf8_copy_text(clean, sizeof(clean), text.data, text.len);
    return json_string(clean);
}

static json_t *letter_json(const struct letter_info *l)
{
    char id[LETTER_ID_TEXT];
    letter_id_format(&l->id, id);
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:b, s:b}", "id", id,
                     "upstream", l->id.upstream, "signal", weir_signal_name(l->signal), "code", text_json(l->code),
                     "message", text_json(l->message), "attempts", (json_int_t)l->attempts, "redrives",
                     (json_int_t)l->redrives, "items", (json_int_t)l->items, "bytes", (json_int_t)l->raw_bytes,
                     "received", time_json(l->received_ns), "stored", time_json(l->stored_ns), "first_item_time",
                     time_json(l->time_min_ns), "last_item_time", time_json(l->time_max_ns), "redriven",
                     time_json(l->redriven_ns), "redrive", (int)l->redrive, "settling", (int)l->settling);
}

static json_t *after_json(const struct letters_walked *walked)
{
    char id[LETTER_ID_TEXT];
    return walked->more ? json_string(letter_id_format(&walked->last, id)) : json_null();
}

static int read_id(const char *text, struct letter_id *out, struct weir_err *err)
{
    if (letter_id_parse(text, out))
        return WEIR_OK;
    return weir_fail(err, WEIR_E_INVALID, "'%.100s' is no dead letter's id: they look like 48213-17.central", text);
}

static int read_signal(const char *text, int *out, struct weir_err *err)
{
    enum weir_signal signal;
    *out = -1;
    if (text == NULL || text[0] == '\0')
        return WEIR_OK;
    int code = cli_signal_parse(text, &signal, err);
    *out = (int)signal;
    return code;
}

// --- the query --------------------------------------------------------------------------------------------------------------

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

// Decodes up to `end` into out[cap]. False: too long, or no such encoding.
static bool decode(const char *text, const char *end, char *out, size_t cap)
{
    size_t n = 0;
    for (; text < end; text++) {
        int c = (uint8_t)*text;
        if (c == '%') {
            int high = end - text > 2 ? hex(text[1]) : -1, low = high >= 0 ? hex(text[2]) : -1;
            c = low >= 0 ? high * 16 + low : 0;
            text += 2;
        }
        if (c == 0 || n + 1 >= cap)
            return false;
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return true;
}

struct list_ask {
    char upstream[LETTER_UPSTREAM_BYTES + 1], signal[16], after[LETTER_ID_TEXT], limit[16];
};

static int read_query(struct weir_slice query, struct list_ask *ask, struct weir_err *err)
{
    const struct {
        const char *name;
        char *out;
        size_t cap;
    } known[] = {{"upstream", ask->upstream, sizeof(ask->upstream)},
                 {"signal", ask->signal, sizeof(ask->signal)},
                 {"after", ask->after, sizeof(ask->after)},
                 {"limit", ask->limit, sizeof(ask->limit)}};
    const char *at = (const char *)query.data, *end = at + query.len;
    while (query.len > 0 && at < end) {
        const char *stop = memchr(at, '&', (size_t)(end - at));
        stop = stop != NULL ? stop : end;
        const char *is = memchr(at, '=', (size_t)(stop - at));
        size_t i = 0, name = (size_t)((is != NULL ? is : stop) - at);
        while (i < WEIR_COUNT(known) && (strlen(known[i].name) != name || memcmp(known[i].name, at, name) != 0))
            i++;
        if (i == WEIR_COUNT(known) || is == NULL)
            return weir_fail(err, WEIR_E_INVALID,
                             "unknown parameter '%.*s': there are upstream, signal, after and limit",
                             name < 40 ? (int)name : 40, at);
        if (!decode(is + 1, stop, known[i].out, known[i].cap))
            return weir_fail(err, WEIR_E_INVALID, "'%s' is too long, or encoded wrongly", known[i].name);
        at = stop + 1;
    }
    return WEIR_OK;
}

static int read_limit(const char *text, size_t *out, struct weir_err *err)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    *out = text[0] != '\0' ? n : PAGE_LETTERS;
    if (text[0] != '\0' && (text[0] < '0' || text[0] > '9' || *end != '\0' || n < 1 || n > PAGE_LETTERS_MAX))
        return weir_fail(err, WEIR_E_INVALID, "'limit' must be 1 to %u", PAGE_LETTERS_MAX);
    return WEIR_OK;
}

static void add_letter(void *ctx, const struct letter_info *info)
{
    json_array_append_new(ctx, letter_json(info));
}

int admin_deadletters_list(struct relay *relay, struct weir_slice query, json_t **out)
{
    struct list_ask ask = {.upstream = ""};
    struct letter_filter filter = {.signal = -1};
    struct letter_id after;
    struct letters_walked walked = {0};
    struct weir_err err = {0};
    size_t limit = 0;
    int code = read_query(query, &ask, &err);
    if (code == WEIR_OK)
        code = read_signal(ask.signal, &filter.signal, &err);
    if (code == WEIR_OK)
        code = read_limit(ask.limit, &limit, &err);
    if (code == WEIR_OK && ask.after[0] != '\0')
        code = read_id(ask.after, &after, &err);
    json_t *letters = json_array();
    filter.upstream = ask.upstream[0] != '\0' ? ask.upstream : NULL;
    if (code == WEIR_OK)
        code = spool_letters_list(relay->spool, &filter, ask.after[0] != '\0' ? &after : NULL, limit, add_letter,
                                  letters, &walked, &err);
    if (code != WEIR_OK) {
        json_decref(letters);
        return fail(&err, code, out);
    }
    *out = json_pack("{s:o, s:o}", "letters", letters, "after", after_json(&walked));
    return 200;
}

// --- one --------------------------------------------------------------------------------------------------------------------

// The document but for its end, which the request's JSON follows.
static bool begin_text(const struct letter_info *info, struct weir_buf *body)
{
    json_t *json = letter_json(info);
    if (json != NULL)
        json_object_set_new(json, "headers", cli_spool_headers(info->envelope));
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    bool good = text != NULL && weir_buf_append(body, text, strlen(text) - 1);
    free(text);
    json_decref(json);
    return good;
}

static bool put_text(struct weir_buf *body, const char *text)
{
    return weir_buf_append(body, text, strlen(text));
}

static int put_request(const struct letter *letter, struct weir_buf *body, struct weir_err *err)
{
    const struct letter_info *info = letter_info_of(letter);
    struct otlp_json_account account = {0};
    struct weir_buf raw = {0};
    char more[128];
    if (info->raw_bytes > SHOW_BYTES_MAX)
        return put_text(body, ",\"request\":null,\"omitted\":\"it is larger than 4 MiB: weir spool export "
                              "--dead-letters writes it\"}\n")
                   ? WEIR_OK
                   : WEIR_E_NOMEM;
    int code = put_text(body, ",\"request\":") ? letter_decode(letter, &raw, err) : WEIR_E_NOMEM;
    if (code == WEIR_OK)
        code =
            otlp_json_write(info->signal, (struct weir_slice){raw.data, raw.len}, SHOW_JSON_MAX, body, &account, err);
    weir_buf_free(&raw);
    snprintf(more, sizeof(more), ",\"unknown_fields\":%llu,\"bad_bytes\":%llu}\n",
             (unsigned long long)account.unknown_fields, (unsigned long long)account.bad_bytes);
    return code != WEIR_OK || put_text(body, more) ? code : WEIR_E_NOMEM;
}

int admin_deadletters_show(struct relay *relay, const char *id, struct weir_buf *body, json_t **out)
{
    struct weir_err err = {.text = "out of memory"};
    struct letter_id wanted;
    struct letter *letter = NULL;
    *out = NULL;
    int code = read_id(id, &wanted, &err);
    if (code == WEIR_OK)
        code = spool_letter_get(relay->spool, &wanted, &letter, &err);
    if (code == WEIR_E_NOT_FOUND)
        weir_fail(&err, code, "there is no dead letter %.300s: weir deadletter list has them", id);
    if (code == WEIR_OK && !begin_text(letter_info_of(letter), body))
        code = WEIR_E_NOMEM;
    if (code == WEIR_OK)
        code = put_request(letter, body, &err);
    letter_free(letter);
    // What is stored cannot be said in JSON: that is nobody's mistake who asks.
    return code == WEIR_OK ? 200 : fail(&err, code == WEIR_E_INVALID && letter != NULL ? WEIR_E_CORRUPT : code, out);
}

// --- changes ----------------------------------------------------------------------------------------------------------------

static const struct admin_member members[] = {
    {"ids", JSON_ARRAY}, {"all", JSON_TRUE}, {"upstream", JSON_STRING}, {"signal", JSON_STRING}, {"after", JSON_STRING},
};

struct change {
    struct relay *relay;
    enum letters_change what;
    json_t *not_found, *errors, *warnings;
    const char *names[CONFIG_MAX_UPSTREAMS]; // configured
    uint64_t letters, items, skipped;
    struct letters_walked walked;
};

static bool is_configured(const struct change *c, const char *upstream)
{
    for (size_t i = 0; i < c->relay->replay_count; i++)
        if (strcmp(c->names[i], upstream) == 0)
            return true;
    return false;
}

static int not_configured(const char *upstream, struct weir_err *err)
{
    return weir_fail(
        err, WEIR_E_LIMIT,
        "upstream '%.64s' is not configured: its dead letters can be shown and purged, and redriven when it "
        "is configured again",
        upstream);
}

static void note_error(json_t *list, const char *id, const struct weir_err *err)
{
    char clean[sizeof(err->text)];
    utf8_copy_text(clean, sizeof(clean), err->text, strlen(err->text));
    json_array_append_new(list, json_pack("{s:s, s:s}", "id", id, "error", clean));
}

// How many items the letter has; 0 when it is not there.
static uint64_t items_of(struct relay *relay, const struct letter_id *id)
{
    struct letter *letter;
    uint64_t items = 0;
    if (spool_letter_get(relay->spool, id, &letter, NULL) == WEIR_OK) {
        items = letter_info_of(letter)->items;
        letter_free(letter);
    }
    return items;
}

static int change_ids(struct change *c, const json_t *ids, struct weir_err *err)
{
    size_t i;
    json_t *text;
    struct letter_id id;
    if (json_array_size(ids) > IDS_MAX)
        return weir_fail(err, WEIR_E_INVALID, "more than %u ids at once", IDS_MAX);
    json_array_foreach(ids, i, text)
    {
        int code = json_is_string(text) ? read_id(json_string_value(text), &id, err)
                                        : weir_fail(err, WEIR_E_INVALID, "'ids' must be a list of strings");
        if (code != WEIR_OK) // before anything is done
            return code;
    }
    json_array_foreach(ids, i, text)
    {
        struct weir_err why = {0};
        letter_id_parse(json_string_value(text), &id);
        uint64_t items = items_of(c->relay, &id);
        int code = c->what == LETTERS_REDRIVE && !is_configured(c, id.upstream)
                       ? not_configured(id.upstream, &why)
                       : spool_letter_change(c->relay->spool, c->what, &id, &why);
        if (code == WEIR_OK) {
            c->letters++;
            c->items += items;
        } else if (code == WEIR_E_NOT_FOUND) {
            json_array_append(c->not_found, text);
        } else {
            note_error(c->errors, json_string_value(text), &why);
        }
    }
    return WEIR_OK;
}

static int change_all(struct change *c, const json_t *json, struct weir_err *err)
{
    const char *after = json_string_value(json_object_get(json, "after"));
    struct letter_filter filter = {.upstream = json_string_value(json_object_get(json, "upstream"))};
    uint64_t began_ns = weir_now_ns();
    int code = read_signal(json_string_value(json_object_get(json, "signal")), &filter.signal, err);
    if (code == WEIR_OK && after != NULL)
        code = read_id(after, &c->walked.last, err);
    if (code == WEIR_OK && c->what == LETTERS_REDRIVE && filter.upstream != NULL && !is_configured(c, filter.upstream))
        code = not_configured(filter.upstream, err);
    if (c->what == LETTERS_REDRIVE) {
        filter.upstreams = c->names;
        filter.upstreams_n = c->relay->replay_count;
    }
    for (unsigned n = 0; code == WEIR_OK && n < BATCHES_MAX; n++) {
        struct letter_id from = c->walked.last;
        code = spool_letters_change(c->relay->spool, c->what, &filter, n > 0 || after != NULL ? &from : NULL,
                                    &c->walked, err);
        c->letters += c->walked.letters;
        c->items += c->walked.items;
        c->skipped += c->walked.skipped;
        if (!c->walked.more || weir_now_ns() - began_ns > WORK_NS)
            break;
    }
    return code;
}

static void warn_left(void *ctx, const struct letters_lane *lane)
{
    struct change *c = ctx;
    char text[400];
    if (lane->requests == 0 || is_configured(c, lane->upstream))
        return;
    snprintf(text, sizeof(text), "%llu dead letters of %s stay: '%.64s' is not configured",
             (unsigned long long)lane->requests, weir_signal_name(lane->signal), lane->upstream);
    json_array_append_new(c->warnings, json_string(text));
}

// Marked ones of an upstream that gets nothing now.
static void warn_waiting(void *ctx, const struct letters_lane *lane)
{
    struct change *c = ctx;
    struct replay *replay;
    char text[400], why[ADMIN_WORDS_MAX];
    if (lane->marked == 0 || admin_find_upstream(c->relay, lane->upstream, &replay, NULL) != WEIR_OK ||
        !admin_takes_nothing(replay, why))
        return;
    snprintf(text, sizeof(text), "%llu dead letters of %s wait: %s", (unsigned long long)lane->marked,
             weir_signal_name(lane->signal), why);
    json_array_append_new(c->warnings, json_string(text));
}

static void wake(struct change *c)
{
    for (size_t i = 0; i < c->relay->replay_count; i++)
        replay_redrive(c->relay->replays[i]);
}

static int change(struct change *c, const json_t *json, struct weir_err *err)
{
    const json_t *ids = json_object_get(json, "ids");
    bool all = json_is_true(json_object_get(json, "all"));
    bool more = json_object_get(json, "upstream") != NULL || json_object_get(json, "signal") != NULL ||
                json_object_get(json, "after") != NULL;
    if (all == (ids != NULL) || (more && !all))
        return weir_fail(err, WEIR_E_INVALID,
                         "say which: either 'ids', a list, or 'all': true, which may have 'upstream' and 'signal'");
    return all ? change_all(c, json, err) : change_ids(c, ids, err);
}

static int run(struct relay *relay, enum letters_change what, struct weir_slice body, json_t **out)
{
    struct change c = {
        .relay = relay, .what = what, .not_found = json_array(), .errors = json_array(), .warnings = json_array()};
    struct weir_err err = {0};
    json_t *json = NULL;
    for (size_t i = 0; i < relay->replay_count; i++)
        c.names[i] = replay_upstream(relay->replays[i])->name;
    int code = admin_body_read(body, false, members, WEIR_COUNT(members), &json, &err);
    if (code == WEIR_OK)
        code = change(&c, json, &err);
    bool redrive = what == LETTERS_REDRIVE;
    if (c.letters > 0)
        log_event(LOG_INFO, redrive ? "dead_letters_redrive" : "dead_letters_purged",
                  redrive ? "dead letters are to be sent again, by command"
                          : "dead letters were removed, by command: they are counted as discarded",
                  LOG_U64("letters", c.letters), LOG_U64("items", c.items));
    if (redrive)
        wake(&c);
    if (code == WEIR_OK && redrive && json_is_true(json_object_get(json, "all")) &&
        json_object_get(json, "upstream") == NULL && !c.walked.more)
        spool_letters_lanes(relay->spool, warn_left, &c);
    if (redrive && c.letters > 0 && !c.walked.more)
        spool_letters_lanes(relay->spool, warn_waiting, &c);
    json_decref(json);
    if (code == WEIR_OK) {
        *out = json_pack("{s:I, s:I, s:I, s:o, s:o, s:o, s:o}", redrive ? "redrive" : "purged", (json_int_t)c.letters,
                         "items", (json_int_t)c.items, "skipped", (json_int_t)c.skipped, "not_found", c.not_found,
                         "errors", c.errors, "warnings", c.warnings, "after", after_json(&c.walked));
        return 200;
    }
    json_decref(c.not_found);
    json_decref(c.errors);
    json_decref(c.warnings);
    return fail(&err, code, out);
}

int admin_deadletters_redrive(struct relay *relay, struct weir_slice body, json_t **out)
{
    return run(relay, LETTERS_REDRIVE, body, out);
}

int admin_deadletters_purge(struct relay *relay, struct weir_slice body, json_t **out)
{
    return run(relay, LETTERS_PURGE, body, out);
}
