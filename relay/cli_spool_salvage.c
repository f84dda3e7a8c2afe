// SPDX-License-Identifier: Apache-2.0
// `weir spool salvage`: says what can be saved, asks, and writes a new spool. The old one is only read.
#include <unistd.h>

#include "relay/cli_spool.h"
#include "relay/status_print.h"
#include "storage/salvage.h"

struct salvaging {
    const struct cli *cli;
    struct inspect *inspect;
    struct cli_progress progress;
    struct salvage_plan *plan;
};

struct cell {
    char text[STATUS_WORD_LEN];
};

static struct cell count_cell(uint64_t count)
{
    struct cell cell;
    status_count_format((double)count, cell.text);
    return cell;
}

static struct cell bytes_cell(uint64_t bytes)
{
    struct cell cell;
    status_bytes_format((double)bytes, cell.text);
    return cell;
}

static void on_progress(void *ctx, uint64_t done, uint64_t total)
{
    cli_progress_show(ctx, done, total);
}

static void print_items(const uint64_t items[WEIR_SIGNALS])
{
    for (size_t i = 0; i < WEIR_SIGNALS; i++)
        if (items[i] > 0)
            printf(", %s items of %s", count_cell(items[i]).text, weir_signal_name((enum weir_signal)i));
    putchar('\n');
}

// --- the plan, for people ---------------------------------------------------------------------------------------------------

static void print_lanes(const struct salvaging *s)
{
    const struct salvage_plan *plan = s->plan;
    if (!plan->state_saved) {
        printf("lanes    not known (%s): a relay starts every lane of its upstreams at the oldest block, and the spool "
               "gets a new "
               "instance\n",
               plan->state_text);
        return;
    }
    printf("lanes    %zu with their ledgers; the spool stays the same instance, so that upstreams know its batches "
           "again\n",
           plan->lanes_n);
    for (size_t i = 0; i < plan->lanes_n; i++) {
        const struct salvage_lane *l = &plan->lanes[i];
        struct inspect_lane lane;
        char name[300];
        if ((l->lost_items == 0 && l->again_items == 0) || inspect_lane(s->inspect, i, &lane) != WEIR_OK)
            continue;
        status_clean(lane.upstream, name, sizeof(name));
        printf("         %s/%s", name, weir_signal_name(lane.signal));
        if (l->lost_items > 0)
            printf(" loses %s items in blocks %llu to %llu", count_cell(l->lost_items).text,
                   (unsigned long long)l->lost_first, (unsigned long long)l->lost_end - 1);
        if (l->again_items > 0)
            printf("%s gets %s items of files set aside after all", l->lost_items > 0 ? "," : "",
                   count_cell(l->again_items).text);
        putchar('\n');
    }
}

static void print_plan(const struct salvaging *s)
{
    const struct salvage_plan *plan = s->plan;
    printf("saved    %s blocks, %s", count_cell(plan->blocks).text, bytes_cell(plan->stored_bytes).text);
    print_items(plan->items);
    if (plan->aside_blocks > 0)
        printf("         %s of them from files that were set aside\n", count_cell(plan->aside_blocks).text);
    for (size_t i = 0; i < plan->lost_n; i++) {
        printf("lost     blocks %llu to %llu", (unsigned long long)plan->lost[i].first,
               (unsigned long long)plan->lost[i].end - 1);
        print_items(plan->lost[i].items);
    }
    if (plan->lost_n == 0)
        printf("lost     nothing\n");
    print_lanes(s);
    printf("letters  %s dead letters", count_cell(plan->letters_saved).text);
    if (plan->letters_lost > 0)
        printf(", %s are damaged and lost", count_cell(plan->letters_lost).text);
    printf("%s\n", plan->letters_scanned ? ", found page by page: some may be there that were removed once" : "");
    printf("room     up to %s\n", bytes_cell(plan->disk_bytes).text);
}

// --- the plan, for programs -----------------------------------------------------------------------------------------------------

static struct cli_json items_json(const uint64_t items[WEIR_SIGNALS])
{
    struct cli_json json = cli_json_new();
    for (size_t i = 0; i < WEIR_SIGNALS; i++)
        cli_json_u64(&json, weir_signal_name((enum weir_signal)i), items[i]);
    return json;
}

static json_t *lost_json(const struct salvage_plan *plan, bool *failed)
{
    json_t *array = json_array();
    for (size_t i = 0; i < plan->lost_n; i++) {
        struct cli_json json = cli_json_new(), items = items_json(plan->lost[i].items);
        cli_json_put(&json, "blocks",
                     json_pack("[I,I]", (json_int_t)plan->lost[i].first, (json_int_t)(plan->lost[i].end - 1)));
        cli_json_object(&json, "items", &items);
        *failed = *failed || json.failed || json_array_append_new(array, json.json) != 0;
    }
    return array;
}

static json_t *lanes_json(const struct salvaging *s, bool *failed)
{
    json_t *array = json_array();
    struct inspect_lane lane;
    for (size_t i = 0; i < s->plan->lanes_n && inspect_lane(s->inspect, i, &lane) == WEIR_OK; i++) {
        const struct salvage_lane *l = &s->plan->lanes[i];
        struct cli_json json = cli_json_new();
        cli_json_text(&json, "upstream", lane.upstream);
        cli_json_text(&json, "signal", weir_signal_name(lane.signal));
        cli_json_u64(&json, "lost_items", l->lost_items);
        cli_json_put(&json, "lost_blocks",
                     l->lost_items > 0 ? json_pack("[I,I]", (json_int_t)l->lost_first, (json_int_t)(l->lost_end - 1))
                                       : json_null());
        cli_json_u64(&json, "again_items", l->again_items);
        *failed = *failed || json.failed || json_array_append_new(array, json.json) != 0;
    }
    return array;
}

// One document at the end: the plan, and what was written of it.
static bool print_json(const struct salvaging *s, const struct salvage_saved *saved)
{
    const struct salvage_plan *plan = s->plan;
    struct cli_json json = cli_json_new(), items = items_json(plan->items), letters = cli_json_new();
    cli_json_u64(&json, "blocks", plan->blocks);
    cli_json_u64(&json, "aside_blocks", plan->aside_blocks);
    cli_json_object(&json, "items", &items);
    cli_json_u64(&json, "stored_bytes", plan->stored_bytes);
    cli_json_put(&json, "lost", lost_json(plan, &json.failed));
    cli_json_put(&json, "lanes", plan->state_saved ? lanes_json(s, &json.failed) : json_null());
    cli_json_text(&json, "state_damage", plan->state_saved ? NULL : plan->state_text);
    cli_json_u64(&letters, "saved", plan->letters_saved);
    cli_json_u64(&letters, "lost", plan->letters_lost);
    cli_json_bool(&letters, "scanned", plan->letters_scanned);
    cli_json_object(&json, "dead_letters", &letters);
    cli_json_u64(&json, "disk_bytes", plan->disk_bytes);
    cli_json_text(&json, "to", s->cli->to);
    if (saved != NULL) {
        struct cli_json done = cli_json_new(), written = items_json(saved->items);
        cli_json_u64(&done, "blocks", saved->blocks);
        cli_json_object(&done, "items", &written);
        cli_json_u64(&done, "segments", saved->segments);
        cli_json_u64(&done, "dead_letters", saved->letters);
        cli_json_object(&json, "written", &done);
    } else {
        cli_json_text(&json, "written", NULL);
    }
    return cli_json_print(&json, true, stdout);
}

// --- doing it -----------------------------------------------------------------------------------------------------------------------

// Whether to go on: --yes, or a person says so at the terminal.
static bool confirmed(const struct cli *cli)
{
    if (cli->yes)
        return true;
    if (cli->to == NULL || cli->json || isatty(STDIN_FILENO) != 1 || isatty(STDOUT_FILENO) != 1) {
        fprintf(stderr, "weir: nothing was written: --to NEWDIR --yes does it\n");
        return false;
    }
    char answer[16] = "";
    printf("Write it to %s? [y/N] ", cli->to);
    fflush(stdout);
    if (fgets(answer, sizeof(answer), stdin) == NULL)
        return false;
    return answer[0] == 'y' || answer[0] == 'Y';
}

static int write_it(struct salvaging *s)
{
    struct salvage_saved saved;
    struct weir_err err = {0};
    s->progress = cli_progress_new("salvage");
    int code = salvage_write(s->inspect, s->plan, s->cli->to, on_progress, &s->progress, &saved, &err);
    cli_progress_end(&s->progress);
    if (code != WEIR_OK) {
        cli_spool_fail(&err);
        return code == WEIR_E_INVALID ? CLI_USAGE : CLI_FAILED;
    }
    if (s->cli->json)
        return print_json(s, &saved) ? CLI_DONE : CLI_FAILED;
    printf("written  %s blocks in %llu segments, %s dead letters to %s", count_cell(saved.blocks).text,
           (unsigned long long)saved.segments, count_cell(saved.letters).text, s->cli->to);
    print_items(saved.items);
    if (saved.blocks != s->plan->blocks || saved.letters != s->plan->letters_saved) {
        fprintf(stderr, "weir: that is not what the plan says: the old spool has changed, or its disk fails\n");
        return CLI_FAILED;
    }
    printf("Start weir with --spool %s; never again with the old directory, which is as it was.\n", s->cli->to);
    return CLI_DONE;
}

static int plan_and_write(struct salvaging *s)
{
    struct weir_err err = {0};
    int code = salvage_plan_make(s->inspect, on_progress, &s->progress, &s->plan, &err);
    cli_progress_end(&s->progress);
    if (code != WEIR_OK) {
        cli_spool_fail(&err);
        return code == WEIR_E_FORMAT ? CLI_USAGE : CLI_FAILED;
    }
    if (!s->cli->json)
        print_plan(s);
    code = s->cli->to != NULL ? salvage_check(s->inspect, s->plan, s->cli->to, &err) : WEIR_OK;
    if (code != WEIR_OK) {
        cli_spool_fail(&err);
        return code == WEIR_E_INVALID ? CLI_USAGE : CLI_FAILED;
    }
    if (confirmed(s->cli))
        return write_it(s);
    return !s->cli->json || print_json(s, NULL) ? CLI_DONE : CLI_FAILED;
}

int cmd_spool_salvage(const struct cli *cli)
{
    struct salvaging s = {.cli = cli, .progress = cli_progress_new("salvage: look")};
    if (cli->yes && cli->to == NULL) {
        fprintf(stderr, "weir: --yes: where to? add --to NEWDIR\n");
        return CLI_USAGE;
    }
    int code = cli_spool_open(cli, &s.inspect);
    if (code != CLI_DONE)
        return code;
    code = plan_and_write(&s);
    salvage_plan_free(s.plan);
    inspect_close(s.inspect);
    return cli_spool_end(code);
}
