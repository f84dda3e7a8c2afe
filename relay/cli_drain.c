// SPDX-License-Identifier: Apache-2.0
// `weir drain`: tells a running weir to take nothing more and to deliver all, and waits for it. The order is the relay's: it goes on when
// this program ends, and when weir restarts.
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "relay/cli_ask.h"
#include "relay/config_values.h"
#include "relay/status_print.h"

#define LOOK_MS    500
#define TELL_NS    UINT64_C(10000000000) // between lines where no terminal is
#define LINE_BYTES 1000

struct waiting {
    const struct cli *cli;
    struct admin_client client;
    uint64_t until_ns, told_ns;
    bool terminal, lost;   // no answer just now
    char line[LINE_BYTES]; // what is left
};

enum look { LOOK_DRAINED, LOOK_WAIT, LOOK_CANCELLED, LOOK_STRANGE };

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

static double number_of(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

// " (paused: weir resume central)"
static void why_of(const json_t *upstream, char *out, size_t cap)
{
    const char *state = text_of(upstream, "state"), *name = text_of(upstream, "name");
    const json_t *error = json_object_get(upstream, "last_error");
    char when[STATUS_WORD_LEN];
    if (strcmp(state, "paused") == 0) {
        snprintf(out, cap, " (paused: weir resume %s)", name);
    } else if (strcmp(state, "held") == 0) {
        snprintf(out, cap, " (held: %s: %s)", text_of(error, "code"), text_of(error, "message"));
    } else if (strcmp(state, "backing_off") == 0 || strcmp(state, "probing") == 0) {
        snprintf(out, cap, " (does not take data: %s: %s)", text_of(error, "code"), text_of(error, "message"));
    } else if (json_is_number(json_object_get(upstream, "eta_seconds"))) {
        status_duration_format(number_of(upstream, "eta_seconds"), when);
        snprintf(out, cap, " (gone in %s)", when);
    } else {
        out[0] = '\0';
    }
}

static void make_line(const json_t *status, char line[LINE_BYTES])
{
    char text[LINE_BYTES], items[STATUS_WORD_LEN], why[400];
    const char *between = ": ";
    size_t i;
    json_t *upstream;
    status_count_format(number_of(json_object_get(status, "drain"), "pending_items"), items);
    bool none = number_of(json_object_get(status, "drain"), "pending_items") == 0;
    size_t len = (size_t)snprintf(
        text, sizeof(text), none ? "nothing is left but what is just being made durable" : "%s items are left", items);
    json_array_foreach(json_object_get(status, "upstreams"), i, upstream)
    {
        double left = number_of(json_object_get(upstream, "backlog"), "items");
        if (left == 0 || len >= sizeof(text))
            continue;
        status_count_format(left, items);
        why_of(upstream, why, sizeof(why));
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s %s%s", between, text_of(upstream, "name"), items,
                                why);
        between = ", ";
    }
    status_clean(text, line, LINE_BYTES);
}

// What is left, where somebody looks at it each time, elsewhere now and then.
static void tell(struct waiting *w, bool at_once)
{
    uint64_t now_ns = weir_now_ns();
    if (w->terminal)
        fprintf(stderr, "\r\033[K%.*s", 160, w->line);
    else if (at_once || w->told_ns == 0 || now_ns - w->told_ns >= TELL_NS)
        fprintf(stderr, "weir: %s\n", w->line);
    else
        return;
    w->told_ns = now_ns;
}

static void end_line(const struct waiting *w)
{
    if (w->terminal && w->told_ns != 0)
        fputs("\r\033[K", stderr);
}

static enum look look(struct waiting *w)
{
    struct weir_err err = {0};
    int code = admin_client_ask(&w->client, w->cli->admin_url, "/v1/status", NULL, &err);
    if (code != WEIR_OK) { // it restarts: the order holds
        snprintf(w->line, sizeof(w->line), "no answer just now (%.300s)", err.text);
        w->lost = true;
        return LOOK_WAIT;
    }
    json_t *status = json_loadb((const char *)w->client.body.data, w->client.body.len, 0, NULL);
    const json_t *drain = json_object_get(status, "drain");
    enum look found = LOOK_STRANGE;
    if (w->client.http_status == 200 && json_is_object(drain)) {
        make_line(status, w->line);
        found = !json_is_true(json_object_get(drain, "draining")) ? LOOK_CANCELLED
                : json_is_true(json_object_get(drain, "drained")) ? LOOK_DRAINED
                                                                  : LOOK_WAIT;
        w->lost = false;
    }
    json_decref(status);
    return found;
}

static void pause_ms(uint64_t ms)
{
    struct timespec time = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

static int finish(struct waiting *w, enum look found)
{
    static const struct {
        const char *text;
        int exit_code;
    } ends[] = {
        [LOOK_DRAINED] = {"drained: everything is delivered, and weir takes no data until weir drain --cancel",
                          CLI_DONE},
        [LOOK_WAIT] = {"time ran out, and the draining goes on", CLI_NOT_DONE},
        [LOOK_CANCELLED] = {"the draining was taken back meanwhile", CLI_FAILED},
        [LOOK_STRANGE] = {"the answer is not a status of weir's", CLI_FAILED},
    };
    end_line(w);
    if (found == LOOK_WAIT)
        fprintf(stderr, "weir: %s: %s; weir drain waits again, weir drain --cancel takes it back\n", ends[found].text,
                w->line);
    else if (found == LOOK_DRAINED && !w->cli->json)
        printf("%s\n", ends[found].text);
    else if (found != LOOK_DRAINED)
        fprintf(stderr, "weir: %s\n", ends[found].text);
    if (w->cli->json && !w->lost && found != LOOK_STRANGE)
        fwrite(w->client.body.data, 1, w->client.body.len, stdout);
    return fflush(stdout) == 0 ? ends[found].exit_code : CLI_FAILED;
}

static int wait_for_it(const struct cli *cli, uint64_t wait_ms)
{
    struct weir_err err = {0};
    struct waiting w = {.cli = cli, .terminal = isatty(STDERR_FILENO) == 1};
    enum look found = LOOK_WAIT;
    uint64_t now_ns = weir_now_ns();
    w.until_ns = wait_ms < (UINT64_MAX - now_ns) / 1000000 ? now_ns + wait_ms * 1000000 : UINT64_MAX;
    if (admin_client_open(&w.client, NULL, cli->ca_file, &err) != WEIR_OK) {
        fprintf(stderr, "weir: %s\n", err.text);
        admin_client_close(&w.client);
        return CLI_FAILED;
    }
    for (;;) {
        found = look(&w);
        now_ns = weir_now_ns();
        if (found != LOOK_WAIT || now_ns >= w.until_ns)
            break;
        tell(&w, false);
        uint64_t left_ms = (w.until_ns - now_ns + 999999) / 1000000;
        pause_ms(left_ms < LOOK_MS ? left_ms : LOOK_MS);
    }
    int exit_code = finish(&w, found);
    admin_client_close(&w.client);
    return exit_code;
}

int cmd_drain(const struct cli *cli)
{
    struct weir_err err = {0};
    uint64_t wait_ms = 0;
    struct cli quiet = *cli;
    json_t *answer;
    if (config_duration_parse(cli->wait != NULL ? cli->wait : CLI_DRAIN_WAIT, &wait_ms, &err) != WEIR_OK) {
        fprintf(stderr, "weir: --wait: %s\n", err.text);
        return CLI_USAGE;
    }
    quiet.json = cli->json && cli->cancel; // else the status at the end is what is printed
    int exit_code = cli_ask(&quiet, "/v1/drain", json_pack("{s:b}", "cancel", cli->cancel), &answer);
    if (exit_code != CLI_DONE)
        return exit_code;
    cli_ask_warnings(answer);
    bool changed = json_is_true(json_object_get(answer, "changed"));
    json_decref(answer);
    if (!cli->cancel)
        return wait_for_it(cli, wait_ms);
    if (!cli->json)
        puts(changed ? "the draining is taken back: weir takes data again"
                     : "weir does not drain: there was nothing to take back");
    return fflush(stdout) == 0 ? CLI_DONE : CLI_FAILED;
}
