// SPDX-License-Identifier: Apache-2.0
// `weir spool verify`: every page and checksum, and whether it all fits together.
#include "relay/cli_spool.h"
#include "relay/status_print.h"
#include "storage/verify.h"

struct report {
    const struct cli *cli;
    struct inspect *inspect;
    struct cli_progress progress;
    bool failed;
};

static json_t *lane_names(struct inspect *inspect, const struct verify_finding *f)
{
    json_t *names = json_array();
    for (size_t i = 0; i < f->lanes_n && names != NULL; i++) {
        struct inspect_lane lane;
        char name[300], clean[300];
        if (inspect_lane(inspect, f->lanes[i], &lane) != WEIR_OK)
            continue;
        snprintf(name, sizeof(name), "%s/%s", lane.upstream, weir_signal_name(lane.signal));
        status_clean(name, clean, sizeof(clean));
        json_t *value = json_string(clean);
        if (json_array_append_new(names, value != NULL ? value : json_string("?")) != 0) {
            json_decref(names);
            return NULL;
        }
    }
    return names;
}

static struct cli_json items_json(const uint64_t items[WEIR_SIGNALS])
{
    struct cli_json json = cli_json_new();
    for (size_t i = 0; i < WEIR_SIGNALS; i++)
        if (items[i] > 0)
            cli_json_u64(&json, weir_signal_name((enum weir_signal)i), items[i]);
    return json;
}

static void finding_json(struct report *r, const struct verify_finding *f)
{
    struct cli_json json = cli_json_new();
    cli_json_text(&json, "finding", f->rule->number);
    cli_json_text(&json, "severity", f->rule->severity == VERIFY_DAMAGE ? "damage" : "note");
    cli_json_text(&json, "text", f->rule->text);
    cli_json_text(&json, "detail", f->detail[0] != '\0' ? f->detail : NULL);
    cli_json_text(&json, "file", f->file[0] != '\0' ? f->file : NULL);
    bool blocks = f->first < f->end;
    cli_json_put(&json, "blocks", // both included, as --blocks takes them
                 blocks ? json_pack("[I,I]", (json_int_t)f->first, (json_int_t)(f->end - 1)) : json_null());
    if (blocks && f->items_known) {
        struct cli_json items = items_json(f->items);
        cli_json_object(&json, "items", &items);
    } else {
        cli_json_text(&json, "items", NULL);
    }
    cli_json_put(&json, "lanes", lane_names(r->inspect, f));
    cli_json_text(&json, "todo", f->rule->todo);
    r->failed = !cli_json_print(&json, false, stdout) || r->failed;
}

static void finding_text(struct report *r, const struct verify_finding *f)
{
    char count[STATUS_WORD_LEN], clean[600];
    printf("%s  %-6s  %s", f->rule->number, f->rule->severity == VERIFY_DAMAGE ? "damage" : "note", f->rule->text);
    status_clean(f->file, clean, sizeof(clean));
    if (clean[0] != '\0')
        printf(": %s", clean);
    status_clean(f->detail, clean, sizeof(clean));
    if (clean[0] != '\0')
        printf(": %s", clean);
    putchar('\n');
    if (f->first < f->end)
        printf("              blocks %llu to %llu", (unsigned long long)f->first, (unsigned long long)f->end - 1);
    for (size_t i = 0; f->first < f->end && f->items_known && i < WEIR_SIGNALS; i++) {
        status_count_format((double)f->items[i], count);
        if (f->items[i] > 0)
            printf(", %s items of %s", count, weir_signal_name((enum weir_signal)i));
    }
    if (f->first < f->end)
        putchar('\n');
    json_t *lanes = lane_names(r->inspect, f);
    for (size_t i = 0; i < json_array_size(lanes); i++)
        printf("%s%s", i == 0 ? "              lanes " : ", ", json_string_value(json_array_get(lanes, i)));
    if (json_array_size(lanes) > 0)
        putchar('\n');
    json_decref(lanes);
    printf("              -> %s\n", f->rule->todo);
}

static void on_finding(void *ctx, const struct verify_finding *finding)
{
    struct report *r = ctx;
    cli_progress_end(&r->progress);
    if (r->cli->json)
        finding_json(r, finding);
    else
        finding_text(r, finding);
}

static void on_progress(void *ctx, uint64_t done, uint64_t total)
{
    cli_progress_show(&((struct report *)ctx)->progress, done, total);
}

static void summary(struct report *r, const struct verify_result *result, double seconds)
{
    if (r->cli->json) {
        struct cli_json json = cli_json_new(), items = items_json(result->items);
        cli_json_text(&json, "verdict", result->damage > 0 ? "damaged" : "sound");
        cli_json_u64(&json, "damage", result->damage);
        cli_json_u64(&json, "notes", result->notes);
        cli_json_u64(&json, "segments", result->segments);
        cli_json_u64(&json, "blocks", result->blocks);
        cli_json_object(&json, "items", &items);
        cli_json_u64(&json, "dead_letters", result->dead_letters);
        cli_json_u64(&json, "bytes", result->bytes);
        cli_json_real(&json, "seconds", seconds);
        r->failed = !cli_json_print(&json, false, stdout) || r->failed;
        return;
    }
    char bytes[STATUS_WORD_LEN], rate[STATUS_WORD_LEN], blocks[STATUS_WORD_LEN];
    status_bytes_format((double)result->bytes, bytes);
    status_bytes_format(seconds > 0 ? (double)result->bytes / seconds : 0, rate);
    status_count_format((double)result->blocks, blocks);
    printf(
        "%s: %llu damages, %llu notes; %s whole blocks in %llu segments, %llu dead letters; read %s in %.1f s (%s/s)\n",
        result->damage > 0 ? "damaged" : "sound", (unsigned long long)result->damage, (unsigned long long)result->notes,
        blocks, (unsigned long long)result->segments, (unsigned long long)result->dead_letters, bytes, seconds, rate);
}

void cli_spool_findings_help(FILE *out)
{
    const struct verify_rule *rules;
    size_t n = verify_rules(&rules);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "%s  %-6s  %s\n              -> %s\n", rules[i].number,
                rules[i].severity == VERIFY_DAMAGE ? "damage" : "note", rules[i].text, rules[i].todo);
}

int cmd_spool_verify(const struct cli *cli)
{
    struct report r = {.cli = cli, .progress = cli_progress_new("verify")};
    int code = cli_spool_open(cli, &r.inspect);
    if (code != CLI_DONE)
        return code;
    const struct verify_options options = {on_finding, on_progress, &r};
    struct verify_result result;
    struct weir_err err = {0};
    uint64_t began = weir_now_ns();
    int rc = verify_run(r.inspect, &options, &result, &err);
    cli_progress_end(&r.progress);
    if (rc == WEIR_OK)
        summary(&r, &result, (double)(weir_now_ns() - began) / 1e9);
    inspect_close(r.inspect);
    if (rc != WEIR_OK)
        return cli_spool_fail(&err);
    return cli_spool_end(r.failed || result.damage > 0 ? CLI_FAILED : CLI_DONE);
}
