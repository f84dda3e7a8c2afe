// SPDX-License-Identifier: Apache-2.0
// `weir spool list`: files and segments, or blocks, lanes, dead letters; for people, or one JSON object a line.
#include "relay/cli_spool.h"
#include "relay/status.h"
#include "relay/status_print.h"
#include "storage/letters.h"

static const char *time_text(uint64_t unix_ns, char out[STATUS_TIME_LEN])
{
    if (unix_ns != 0)
        status_time_format(unix_ns, out);
    else
        snprintf(out, STATUS_TIME_LEN, "-");
    return out;
}

// --- files and segments ------------------------------------------------------------------------------------------------

static void segment_json(struct cli_json *json, const struct inspect_segment *s)
{
    cli_json_u64(json, "first", s->first);
    cli_json_u64(json, "end", s->end);
    cli_json_time(json, "created", s->created_ns);
    struct cli_json signals = cli_json_new();
    for (size_t i = 0; i < WEIR_SIGNALS; i++) {
        struct cli_json signal = cli_json_new();
        if (s->blocks[i] == 0) {
            json_decref(signal.json);
            continue;
        }
        cli_json_u64(&signal, "blocks", s->blocks[i]);
        cli_json_u64(&signal, "items", s->items[i]);
        cli_json_u64(&signal, "raw_bytes", s->raw_bytes[i]);
        cli_json_object(&signals, weir_signal_name((enum weir_signal)i), &signal);
    }
    cli_json_object(json, "signals", &signals);
    cli_json_u64(json, "stored_bytes", s->stored_bytes);
    cli_json_time(json, "received_first", s->received_first_ns);
    cli_json_time(json, "received_last", s->received_last_ns);
    cli_json_text(json, "damage", s->code != WEIR_OK || s->text[0] != '\0' ? s->text : NULL);
}

static void segment_text(const struct inspect_segment *s)
{
    char first[STATUS_TIME_LEN], last[STATUS_TIME_LEN];
    uint64_t items = 0;
    for (size_t i = 0; i < WEIR_SIGNALS; i++)
        items += s->items[i];
    if (s->end > s->first)
        printf("  blocks %llu to %llu, %llu items, received %s to %s", (unsigned long long)s->first,
               (unsigned long long)s->end - 1, (unsigned long long)items, time_text(s->received_first_ns, first),
               time_text(s->received_last_ns, last));
    else
        printf("  no blocks");
    if (s->text[0] != '\0')
        printf("; damaged: %s", s->text);
}

static int list_files(const struct cli *cli, struct inspect *inspect, const struct cli_filter *filter,
                      struct weir_err *err)
{
    (void)filter;
    const struct inspect_file *files;
    size_t n = inspect_files(inspect, &files), segment = 0;
    bool good = true;
    for (size_t i = 0; i < n && good; i++) {
        struct inspect_segment s;
        bool is_segment = files[i].kind == INSPECT_SEGMENT;
        if (is_segment && inspect_segment(inspect, segment++, &s, err) != WEIR_OK)
            return WEIR_E_NOMEM;
        if (cli->json) {
            struct cli_json json = cli_json_new();
            cli_json_text(&json, "file", files[i].name);
            cli_json_text(&json, "kind", inspect_kind_name(files[i].kind));
            cli_json_u64(&json, "bytes", files[i].bytes);
            cli_json_u64(&json, "disk_bytes", files[i].disk_bytes);
            if (is_segment)
                segment_json(&json, &s);
            good = cli_json_print(&json, false, stdout);
            continue;
        }
        char name[sizeof(files[i].name)], bytes[STATUS_WORD_LEN], disk[STATUS_WORD_LEN];
        status_clean(files[i].name, name, sizeof(name));
        status_bytes_format((double)files[i].bytes, bytes);
        status_bytes_format((double)files[i].disk_bytes, disk);
        printf("%-28s  %-12s %9s %9s", name, inspect_kind_name(files[i].kind), bytes, disk);
        if (is_segment)
            segment_text(&s);
        putchar('\n');
    }
    return good ? WEIR_OK : WEIR_E_NOMEM;
}

// --- blocks -----------------------------------------------------------------------------------------------------------------

static bool block_json(const struct inspect_block *b, struct weir_slice envelope)
{
    struct cli_json json = cli_json_new();
    cli_json_u64(&json, "block", b->number);
    cli_json_text(&json, "signal", weir_signal_name(b->signal));
    cli_json_u64(&json, "requests", b->requests);
    cli_json_u64(&json, "items", b->items);
    cli_json_u64(&json, "raw_bytes", b->raw_bytes);
    cli_json_u64(&json, "stored_bytes", b->stored_bytes);
    cli_json_time(&json, "received_first", b->received_first_ns);
    cli_json_time(&json, "received_last", b->received_last_ns);
    cli_json_time(&json, "time_min", b->time_min_ns);
    cli_json_time(&json, "time_max", b->time_max_ns);
    cli_json_u64(&json, "envelope_bytes", b->envelope_bytes);
    cli_json_put(&json, "headers", cli_spool_headers(envelope));
    cli_json_text(&json, "file", b->file->name);
    cli_json_u64(&json, "offset", b->offset);
    return cli_json_print(&json, false, stdout);
}

static void block_text(const struct inspect_block *b, struct weir_slice envelope)
{
    char first[STATUS_TIME_LEN], raw[STATUS_WORD_LEN], stored[STATUS_WORD_LEN];
    status_bytes_format((double)b->raw_bytes, raw);
    status_bytes_format((double)b->stored_bytes, stored);
    printf("%12llu  %-8s %6u requests %8llu items  %9s as %9s  %s  %s", (unsigned long long)b->number,
           weir_signal_name(b->signal), b->requests, (unsigned long long)b->items, raw, stored,
           time_text(b->received_first_ns, first), b->file->name);
    cli_spool_headers_text(envelope);
    putchar('\n');
}

static int list_blocks(const struct cli *cli, struct inspect *inspect, const struct cli_filter *filter,
                       struct weir_err *err)
{
    struct inspect_block block;
    struct weir_buf envelope = {0};
    uint64_t from = filter->first;
    int code;
    while ((code = inspect_block_next(inspect, filter->signal, from, filter->end, true, &block, err)) == WEIR_OK) {
        from = block.number + 1;
        if (!cli_filter_takes(filter, &block))
            continue;
        envelope.len = 0;
        if (block.envelope_bytes > 0 && inspect_block_envelope(inspect, &block, &envelope, err) == WEIR_E_NOMEM)
            break;
        struct weir_slice bytes = {envelope.data, envelope.len};
        if (!cli->json)
            block_text(&block, bytes);
        else if (!block_json(&block, bytes))
            break;
    }
    weir_buf_free(&envelope);
    return code == WEIR_E_NOT_FOUND ? WEIR_OK : code == WEIR_OK ? WEIR_E_NOMEM : code;
}

// --- lanes ------------------------------------------------------------------------------------------------------------------

static bool lane_json(const struct inspect_lane *lane, uint64_t next_block)
{
    const struct spool_lane_stats *s = &lane->stats;
    struct cli_json json = cli_json_new(), items = cli_json_new(), evicted = cli_spool_evicted(s);
    cli_json_text(&json, "upstream", lane->upstream);
    cli_json_text(&json, "signal", weir_signal_name(lane->signal));
    cli_json_bool(&json, "following", lane->following);
    cli_spool_ledger(&items, s);
    cli_json_object(&json, "items", &items);
    cli_json_object(&json, "evicted", &evicted);
    cli_json_u64(&json, "pending_bytes", s->pending_bytes);
    cli_json_u64(&json, "pending_blocks", lane->pending_blocks);
    cli_json_put(&json, "intervals", cli_spool_intervals(lane, next_block));
    cli_json_time(&json, "oldest", s->oldest_received_ns);
    return cli_json_print(&json, false, stdout);
}

static void lane_text(const struct inspect_lane *lane)
{
    char upstream[256], pending[STATUS_WORD_LEN], delivered[STATUS_WORD_LEN], oldest[STATUS_TIME_LEN];
    status_clean(lane->upstream, upstream, sizeof(upstream));
    status_count_format((double)lane->stats.pending, pending);
    status_count_format((double)lane->stats.delivered, delivered);
    printf("%s/%s: %s items pending, oldest %s, %s delivered, %llu dead-lettered, %llu evicted\n", upstream,
           weir_signal_name(lane->signal), pending, time_text(lane->stats.oldest_received_ns, oldest), delivered,
           (unsigned long long)lane->stats.dead_lettered, (unsigned long long)lane->stats.evicted);
    for (size_t i = 0; i < lane->intervals_n; i++) {
        if (lane->intervals[i].end == SPOOL_END)
            printf("  blocks from %llu on\n", (unsigned long long)lane->intervals[i].first);
        else
            printf("  blocks %llu to %llu\n", (unsigned long long)lane->intervals[i].first,
                   (unsigned long long)lane->intervals[i].end - 1);
    }
}

static int list_lanes(const struct cli *cli, struct inspect *inspect, const struct cli_filter *filter,
                      struct weir_err *err)
{
    (void)err;
    struct inspect_state state;
    struct inspect_lane lane;
    inspect_state(inspect, &state);
    if (state.code != WEIR_OK)
        fprintf(stderr, "weir: the lanes are not known: %s\n", state.text);
    for (size_t i = 0; inspect_lane(inspect, i, &lane) == WEIR_OK; i++) {
        if (filter->signal != INSPECT_ANY && filter->signal != lane.signal)
            continue;
        if (!cli->json)
            lane_text(&lane);
        else if (!lane_json(&lane, state.next_block))
            return WEIR_E_NOMEM;
    }
    return WEIR_OK;
}

// --- dead letters -------------------------------------------------------------------------------------------------------------

struct letters {
    const struct cli *cli;
    const struct cli_filter *filter;
};

static const char *id_of(const struct inspect_letter *l, char out[LETTER_ID_TEXT])
{
    struct letter_id id = {.block = l->letter.block, .item = l->letter.item};
    snprintf(id.upstream, sizeof(id.upstream), "%s", l->letter.upstream);
    return letter_id_format(&id, out);
}

static bool letter_json(const struct inspect_letter *l)
{
    struct cli_json json = cli_json_new();
    char id[LETTER_ID_TEXT];
    cli_json_text(&json, "id", id_of(l, id));
    cli_json_text(&json, "upstream", l->letter.upstream);
    cli_json_text(&json, "signal", weir_signal_name(l->letter.signal));
    cli_json_u64(&json, "block", l->letter.block);
    cli_json_u64(&json, "item", l->letter.item);
    cli_json_text(&json, "code", l->letter.code);
    cli_json_text(&json, "message", l->letter.message);
    cli_json_put(&json, "headers", cli_spool_headers(l->letter.envelope));
    cli_json_u64(&json, "attempts", l->letter.attempts);
    cli_json_u64(&json, "items", l->letter.items);
    cli_json_u64(&json, "raw_bytes", l->raw_bytes);
    cli_json_time(&json, "received", l->letter.received_ns);
    cli_json_time(&json, "stored", l->stored_ns);
    cli_json_time(&json, "first_item_time", l->letter.time_min_ns);
    cli_json_time(&json, "last_item_time", l->letter.time_max_ns);
    cli_json_u64(&json, "redrives", l->redrives);
    cli_json_time(&json, "redriven", l->redriven_ns);
    cli_json_bool(&json, "redrive", l->redrive);
    cli_json_text(&json, "damage", l->damage);
    return cli_json_print(&json, false, stdout);
}

static int print_letter(void *ctx, const struct inspect_letter *l, struct weir_err *err)
{
    const struct letters *letters = ctx;
    const struct cli_filter *f = letters->filter;
    if (l->damage == NULL &&
        ((f->signal != INSPECT_ANY && f->signal != l->letter.signal) || l->letter.received_ns < f->since_ns ||
         l->letter.received_ns >= f->until_ns || l->letter.block < f->first || l->letter.block >= f->end))
        return WEIR_OK;
    if (letters->cli->json)
        return letter_json(l) ? WEIR_OK : weir_fail(err, WEIR_E_NOMEM, "out of memory");
    char id[LETTER_ID_TEXT], clean[LETTER_ID_TEXT], code[200], message[400], stored[STATUS_TIME_LEN];
    status_clean(id_of(l, id), clean, sizeof(clean));
    status_clean(l->letter.code, code, sizeof(code));
    status_clean(l->letter.message, message, sizeof(message));
    if (l->damage != NULL)
        printf("damaged: %s\n", l->damage);
    else
        printf("%s  %s  %llu items, %llu bytes  %s  %s: %s", clean, weir_signal_name(l->letter.signal),
               (unsigned long long)l->letter.items, (unsigned long long)l->raw_bytes, time_text(l->stored_ns, stored),
               code, message);
    if (l->damage == NULL) {
        cli_spool_headers_text(l->letter.envelope);
        putchar('\n');
    }
    return WEIR_OK;
}

static int list_letters(const struct cli *cli, struct inspect *inspect, const struct cli_filter *filter,
                        struct weir_err *err)
{
    struct letters letters = {cli, filter};
    return inspect_letters_each(inspect, false, print_letter, &letters, err);
}

int cmd_spool_list(const struct cli *cli)
{
    struct cli_filter filter;
    struct inspect *inspect;
    struct weir_err err = {.text = "out of memory"};
    const struct {
        bool wanted;
        int (*call)(const struct cli *cli, struct inspect *inspect, const struct cli_filter *filter,
                    struct weir_err *err);
    } parts[] = {{!cli->show_blocks && !cli->show_lanes && !cli->show_dead_letters, list_files},
                 {cli->show_blocks, list_blocks},
                 {cli->show_lanes, list_lanes},
                 {cli->show_dead_letters, list_letters}};
    if (!cli_filter_parse(cli, &filter))
        return CLI_USAGE;
    int exit_code = cli_spool_open(cli, &inspect);
    if (exit_code != CLI_DONE)
        return exit_code;
    int code = WEIR_OK;
    for (size_t i = 0; i < WEIR_COUNT(parts) && code == WEIR_OK; i++)
        if (parts[i].wanted)
            code = parts[i].call(cli, inspect, &filter, &err);
    inspect_close(inspect);
    return code == WEIR_OK ? cli_spool_end(CLI_DONE) : cli_spool_fail(&err);
}
