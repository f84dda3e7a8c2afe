// SPDX-License-Identifier: Apache-2.0
#include "relay/status_print.h"

#define BAR_WIDTH 30
#define LABEL     "%-10s "
#define INDENT    "  "
// Rows of the tables are at most 79 columns wide: a terminal that somebody opens at night.
#define LANE_ROW   INDENT "%-8s %-11s %13s %7s %13s %12s %7s\n"
#define SIGNAL_ROW INDENT "%-8s %13s %15s %11s %9s %10s\n"
#define YEAR_S     (365.0 * 86400)

// --- words ------------------------------------------------------------------------------------------------------------

void status_bytes_format(double bytes, char out[STATUS_WORD_LEN])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    size_t unit = 0;
    for (; bytes >= 1024 && unit + 1 < WEIR_COUNT(units); unit++)
        bytes /= 1024;
    snprintf(out, STATUS_WORD_LEN, "%.*f %s", unit > 0 && bytes < 100 ? 1 : 0, bytes, units[unit]);
}

void status_duration_format(double seconds, char out[STATUS_WORD_LEN])
{
    if (seconds < 9.95) {
        snprintf(out, STATUS_WORD_LEN, "%.1fs", seconds);
        return;
    }
    if (seconds > YEAR_S) { // an estimate that tells no more than this
        snprintf(out, STATUS_WORD_LEN, "> 1y");
        return;
    }
    unsigned long long s = (unsigned long long)(seconds + 0.5);
    if (s < 60)
        snprintf(out, STATUS_WORD_LEN, "%llus", s);
    else if (s < 3600)
        snprintf(out, STATUS_WORD_LEN, "%llum%02llus", s / 60, s % 60);
    else if (s < 86400)
        snprintf(out, STATUS_WORD_LEN, "%lluh%02llum", s / 3600, s % 3600 / 60);
    else
        snprintf(out, STATUS_WORD_LEN, "%llud%02lluh", s / 86400, s % 86400 / 3600);
}

void status_count_format(double count, char out[STATUS_WORD_LEN])
{
    char digits[STATUS_WORD_LEN];
    int len = snprintf(digits, sizeof(digits), "%.0f", count < 0 || count > 1e18 ? 0 : count);
    size_t n = 0;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            out[n++] = ',';
        out[n++] = digits[i];
    }
    out[n] = '\0';
}

void status_clean(const char *text, char *out, size_t cap)
{
    size_t n = 0;
    for (; *text != '\0' && n + 1 < cap; text++) {
        unsigned char c = (unsigned char)*text;
        bool c1 = c == 0xc2 && ((unsigned char)text[1] & 0xe0) == 0x80;
        out[n++] = c < 0x20 || c == 0x7f || c1 ? '?' : *text;
        text += c1;
    }
    out[n] = '\0';
}

// --- reading the answer -----------------------------------------------------------------------------------------------

// Follows "a.b.c"; NULL where there is nothing.
static const json_t *at(const json_t *json, const char *path)
{
    char name[64];
    while (json != NULL && *path != '\0') {
        size_t len = strcspn(path, ".");
        if (len >= sizeof(name))
            return NULL;
        memcpy(name, path, len);
        name[len] = '\0';
        json = json_object_get(json, name);
        path += len + (path[len] == '.');
    }
    return json;
}

// A cell of text; several live at once in one printf.
struct word {
    char text[256];
};

static struct word text_at(const json_t *json, const char *path)
{
    struct word word = {"-"};
    const char *text = json_string_value(at(json, path));
    if (text != NULL && text[0] != '\0')
        status_clean(text, word.text, sizeof(word.text));
    return word;
}

static struct word state_at(const json_t *json, const char *path)
{
    struct word word = text_at(json, path);
    for (char *c = word.text; *c != '\0'; c++)
        if (*c == '_')
            *c = ' ';
    return word;
}

static double number_at(const json_t *json, const char *path)
{
    return json_number_value(at(json, path));
}

static struct word formatted_at(const json_t *json, const char *path, void (*format)(double, char[STATUS_WORD_LEN]))
{
    struct word word = {"-"};
    const json_t *number = at(json, path);
    if (json_is_number(number))
        format(json_number_value(number), word.text);
    return word;
}
#define COUNT(json, path)    formatted_at(json, path, status_count_format).text
#define BYTES(json, path)    formatted_at(json, path, status_bytes_format).text
#define DURATION(json, path) formatted_at(json, path, status_duration_format).text
#define TEXT(json, path)     text_at(json, path).text
#define STATE(json, path)    state_at(json, path).text

// "2026-11-20T08:00:00.123Z" -> "08:00:00Z".
static struct word clock_at(const json_t *json, const char *path)
{
    struct word word = text_at(json, path);
    if (strlen(word.text) >= 20 && word.text[10] == 'T') {
        memmove(word.text, word.text + 11, 8);
        memcpy(word.text + 8, "Z", sizeof("Z"));
    }
    return word;
}

static void print_bar(FILE *out, double fraction)
{
    fraction = fraction < 0 ? 0 : fraction > 1 ? 1 : fraction;
    int filled = (int)(fraction * BAR_WIDTH + 0.5);
    fputc('[', out);
    for (int i = 0; i < BAR_WIDTH; i++)
        fputc(i < filled ? '#' : '.', out);
    fprintf(out, "] %3.0f %%", fraction * 100);
}

// --- the page ---------------------------------------------------------------------------------------------------------

static void print_weir(const json_t *status, FILE *out)
{
    bool ready = json_is_true(at(status, "weir.ready"));
    fprintf(out, LABEL "%s, %s%s%s%s  version %s  up %s\n", "weir", STATE(status, "weir.phase"),
            ready ? "ready" : "NOT READY", ready ? "" : " (", ready ? "" : TEXT(status, "weir.reason"),
            ready ? "" : ")", TEXT(status, "weir.version"), DURATION(status, "weir.uptime_seconds"));
}

// How long a certificate is good, where there is one; and what is wrong with its files.
static void print_tls(const json_t *tls, const char *whose, FILE *out)
{
    double left = number_at(tls, "expires_in_seconds");
    if (json_is_number(at(tls, "expires_in_seconds"))) {
        char text[STATUS_WORD_LEN];
        status_duration_format(left < 0 ? -left : left, text);
        const char *loud = left <= 0 ? "EXPIRED" : json_is_true(at(tls, "expires_soon")) ? "EXPIRES" : "expires";
        if (left > 0)
            fprintf(out, INDENT "%scertificate %s in %s, %s\n", whose, loud, text, TEXT(tls, "not_after"));
        else
            fprintf(out, INDENT "%scertificate %s %s ago\n", whose, loud, text);
    }
    if (json_is_string(at(tls, "error")))
        fprintf(out, INDENT "%scertificate not read again, the old one is in use: %s\n", whose, TEXT(tls, "error"));
}

static void print_receiver(const json_t *status, FILE *out)
{
    const json_t *receiver = at(status, "receiver");
    fprintf(out, "\n" LABEL "gRPC %s  HTTP %s  connections %s\n", "receiver", TEXT(receiver, "grpc"),
            TEXT(receiver, "http"), COUNT(receiver, "connections"));
    print_tls(at(receiver, "tls.grpc"), "gRPC ", out);
    print_tls(at(receiver, "tls.http"), "HTTP ", out);
    print_tls(at(status, "admin.tls"), "admin ", out);
    fprintf(out, INDENT "in %s items/s, %s/s  not yet durable %s\n", COUNT(receiver, "rates.items"),
            BYTES(receiver, "rates.bytes"), BYTES(receiver, "unwritten_bytes"));
    fprintf(out, SIGNAL_ROW, "signal", "requests", "items", "bytes", "refused", "last");
    const char *name;
    json_t *signal;
    json_object_foreach((json_t *)at(receiver, "signals"), name, signal)
    {
        char clean[16];
        status_clean(name, clean, sizeof(clean));
        fprintf(out, SIGNAL_ROW, clean, COUNT(signal, "requests"), COUNT(signal, "items"), BYTES(signal, "bytes"),
                COUNT(signal, "refused_requests"), clock_at(signal, "last_received").text);
    }
}

static bool evicts(const json_t *spool)
{
    const char *when_full = json_string_value(at(spool, "when_full"));
    return when_full != NULL && strcmp(when_full, "evict_oldest") == 0;
}

// Only what was asked for: most spools have no limit of age and keep nothing.
static void print_retention(const json_t *spool, FILE *out)
{
    bool aged = json_is_number(at(spool, "max_age_seconds")), keeps = number_at(spool, "keep_delivered_seconds") > 0;
    if (!aged && !keeps && !evicts(spool))
        return;
    fprintf(out, INDENT "when full %s", STATE(spool, "when_full"));
    if (aged)
        fprintf(out, "  at most %s old", DURATION(spool, "max_age_seconds"));
    if (keeps)
        fprintf(out, "  delivered is kept %s (%s)", DURATION(spool, "keep_delivered_seconds"),
                BYTES(spool, "kept_bytes"));
    fputc('\n', out);
}

static void print_spool(const json_t *status, FILE *out)
{
    const json_t *spool = at(status, "spool");
    double max = number_at(spool, "max_bytes");
    fprintf(out, "\n" LABEL "%s  ", "spool", STATE(spool, "state"));
    print_bar(out, max > 0 ? number_at(spool, "used_bytes") / max : 0);
    fprintf(out, "  %s of %s\n", BYTES(spool, "used_bytes"), BYTES(spool, "max_bytes"));
    if (json_is_string(at(spool, "reason")))
        fprintf(out, INDENT "%s\n", TEXT(spool, "reason"));
    fprintf(out, INDENT "%s %s  disk free %s  segments %s  in %s\n", evicts(spool) ? "evicts in" : "full in",
            DURATION(spool, "full_in_seconds"), BYTES(spool, "disk_free_bytes"), COUNT(spool, "segments"),
            TEXT(spool, "directory"));
    fprintf(out, INDENT "compression ");
    if (json_is_number(at(spool, "compression_ratio")))
        fprintf(out, "%.1f : 1", number_at(spool, "compression_ratio"));
    else
        fputc('-', out);
    fprintf(out, "  dead letters %s (%s items)", COUNT(status, "dead_letters.requests"),
            COUNT(status, "dead_letters.items"));
    if (number_at(status, "dead_letters.to_redrive") > 0)
        fprintf(out, ", %s to be sent again", COUNT(status, "dead_letters.to_redrive"));
    fputc('\n', out);
    print_retention(spool, out);
    if (number_at(spool, "damaged_files") > 0)
        fprintf(out, INDENT "DAMAGED FILES %s: the log names them\n", COUNT(spool, "damaged_files"));
}

static bool is_held(const json_t *lane)
{
    const char *state = json_string_value(at(lane, "state"));
    return state != NULL && strcmp(state, "held") == 0 && json_is_string(at(lane, "last_error.time"));
}

// Why and when what was evicted had come.
static void print_evicted(const char *signal, const json_t *lane, FILE *out)
{
    static const char *const reasons[] = {"full", "age", "damage"};
    const json_t *evicted = at(lane, "evicted");
    if (number_at(lane, "items.evicted") <= 0 || evicted == NULL)
        return;
    fprintf(out, INDENT "%s evicted", signal);
    for (size_t i = 0; i < WEIR_COUNT(reasons); i++)
        if (number_at(evicted, reasons[i]) > 0)
            fprintf(out, "  %s %s", reasons[i], COUNT(evicted, reasons[i]));
    if (json_is_string(at(evicted, "received_first")))
        fprintf(out, "  received %s to %s", TEXT(evicted, "received_first"), TEXT(evicted, "received_last"));
    fputc('\n', out);
}

// Where less goes in one request than may: the upstream did not take more, or not in time.
static void print_learnt(const char *signal, const json_t *upstream, const json_t *lane, FILE *out)
{
    double learnt = number_at(lane, "export_max_bytes");
    if (learnt > 0 && learnt < number_at(upstream, "max_request_bytes"))
        fprintf(out,
                INDENT "%s: requests of at most %s, as the upstream did not take larger ones (max_request_size %s)\n",
                signal, BYTES(lane, "export_max_bytes"), BYTES(upstream, "max_request_bytes"));
}

static void print_lanes(const json_t *upstream, FILE *out)
{
    const char *name;
    json_t *lane;
    char clean[16];
    fprintf(out, LANE_ROW, "signal", "state", "pending", "oldest", "delivered", "dead letters", "evicted");
    json_object_foreach((json_t *)at(upstream, "lanes"), name, lane)
    {
        status_clean(name, clean, sizeof(clean));
        fprintf(out, LANE_ROW, clean, STATE(lane, "state"), COUNT(lane, "items.pending"),
                DURATION(lane, "oldest_age_seconds"), COUNT(lane, "items.delivered"),
                COUNT(lane, "items.dead_lettered"), COUNT(lane, "items.evicted"));
    }
    json_object_foreach((json_t *)at(upstream, "lanes"), name, lane)
    {
        status_clean(name, clean, sizeof(clean));
        print_evicted(clean, lane, out);
        print_learnt(clean, upstream, lane, out);
        if (number_at(lane, "items.replayed") > 0)
            fprintf(out, INDENT "%s: %s items were added again by weir replay\n", clean, COUNT(lane, "items.replayed"));
        if (is_held(lane))
            fprintf(out, INDENT "%s is held  %s  %s: %s\n", clean, clock_at(lane, "last_error.time").text,
                    TEXT(lane, "last_error.code"), TEXT(lane, "last_error.message"));
    }
}

static void print_draining(const json_t *upstream, double *peak, FILE *out)
{
    double backlog = number_at(upstream, "backlog.items");
    *peak = backlog <= 0 ? 0 : backlog > *peak ? backlog : *peak;
    if (*peak <= backlog)
        return;
    char text[STATUS_WORD_LEN];
    status_count_format(*peak, text);
    fprintf(out, INDENT "drained ");
    print_bar(out, 1 - backlog / *peak);
    fprintf(out, " of %s items\n", text);
}

static void print_upstream(const json_t *upstream, double *peak, FILE *out)
{
    fprintf(out, "\n" LABEL "%s  %s since %s  %s\n", "upstream", TEXT(upstream, "name"), STATE(upstream, "state"),
            clock_at(upstream, "since").text, TEXT(upstream, "endpoint"));
    if (json_is_number(at(upstream, "backlog.items")) && number_at(upstream, "backlog.items") == 0)
        fprintf(out, INDENT "no backlog\n");
    else
        fprintf(out, INDENT "backlog %s items, %s, oldest %s  gone in %s\n", COUNT(upstream, "backlog.items"),
                BYTES(upstream, "backlog.bytes"), DURATION(upstream, "backlog.oldest_age_seconds"),
                DURATION(upstream, "eta_seconds"));
    if (peak != NULL)
        print_draining(upstream, peak, out);
    fprintf(out, INDENT "in %s items/s, out %s items/s, %s/s\n", COUNT(upstream, "rates.in_items"),
            COUNT(upstream, "rates.out_items"), BYTES(upstream, "rates.out_bytes"));
    if (json_is_string(at(upstream, "last_error.time"))) {
        fprintf(out, INDENT "last error %s  %s: %s", clock_at(upstream, "last_error.time").text,
                TEXT(upstream, "last_error.code"), TEXT(upstream, "last_error.message"));
        if (json_is_number(at(upstream, "next_attempt_seconds")))
            fprintf(out, "  next attempt in %s", DURATION(upstream, "next_attempt_seconds"));
        fputc('\n', out);
    }
    if (json_is_string(at(upstream, "state")) && strcmp(json_string_value(at(upstream, "state")), "paused") == 0)
        fprintf(out, INDENT "paused by command: weir resume %s lets it go on\n", TEXT(upstream, "name"));
    print_tls(at(upstream, "tls"), "", out);
    print_lanes(upstream, out);
}

static void print_orphans(const json_t *orphans, FILE *out)
{
    for (size_t i = 0; i < json_array_size(orphans); i++) {
        const json_t *orphan = json_array_get(orphans, i);
        if (number_at(orphan, "items.pending") == 0)
            continue;
        fprintf(out, "\n" LABEL "%s  not configured  %s: %s items, %s, oldest %s\n", "orphan", TEXT(orphan, "name"),
                TEXT(orphan, "signal"), COUNT(orphan, "items.pending"), BYTES(orphan, "pending_bytes"),
                DURATION(orphan, "oldest_age_seconds"));
        fprintf(out, INDENT "kept until an upstream of that name is configured; weir discard %s gives it up\n",
                TEXT(orphan, "name"));
    }
}

void status_print(const json_t *status, struct status_watch *watch, FILE *out)
{
    print_weir(status, out);
    const json_t *upstreams = at(status, "upstreams");
    for (size_t i = 0; i < json_array_size(upstreams); i++) {
        bool watched = watch != NULL && i < WEIR_COUNT(watch->peak_items);
        print_upstream(json_array_get(upstreams, i), watched ? &watch->peak_items[i] : NULL, out);
    }
    print_orphans(at(status, "orphans"), out);
    print_spool(status, out);
    print_receiver(status, out);
}
