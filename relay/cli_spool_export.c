// SPDX-License-Identifier: Apache-2.0
// `weir spool export`: stored requests as OTLP/JSON lines, one request a line, which a collector's otlpjsonfile receiver reads. Lines of all
// signals may share a file: each pipeline of the receiver takes its own and passes over the others. Memory: the largest request.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/otlp_json.h"
#include "relay/cli_spool.h"
#include "relay/status_print.h"

#define LINE_BYTES_MAX      ((size_t)2 << 30) // of one request; JSON is two to three times the size of protobuf
#define OUTPUT_BUFFER_BYTES ((size_t)1 << 18)
#define RECEIVER_LINE_BYTES ((size_t)1 << 20) // max_log_size of the collector's file receivers when nobody sets it

struct export
{
    const struct cli *cli;
    struct cli_filter filter;
    struct inspect *inspect;
    FILE *out;
    struct weir_buf value, raw, line; // used again and again
    struct otlp_json_account json;
    struct {
        uint64_t requests, items[WEIR_SIGNALS], bytes;
        uint64_t longest_line;
        uint64_t damaged_blocks, damaged_items; // items: as far as a whole header tells
        uint64_t damaged_requests;
    } account;
    char damage[1024];  // the first one's text
    uint64_t expected;  // items that the lanes have pending; 0 when only a part was asked for
    uint64_t last_seen; // block: between two in one file, none is missing
    const struct inspect_file *last_file;
    uint64_t begin, stop; // of block numbers
    struct cli_progress progress;
    uint64_t done_bytes, total_bytes; // stored ones of blocks, raw ones of a lane and of dead letters
};

// --- words on stderr --------------------------------------------------------------------------------------------------
static void show_progress(struct export *e, uint64_t bytes)
{
    e->done_bytes += bytes;
    if (e->done_bytes <= e->total_bytes) // files that were set aside are not in the total
        cli_progress_show(&e->progress, e->done_bytes, e->total_bytes);
}

static void note_damage(struct export *e, const char *where, const char *text)
{
    if (e->damage[0] == '\0')
        snprintf(e->damage, sizeof(e->damage), "%.400s: %s", where, text);
}

static uint64_t missing_items(const struct export *e)
{
    uint64_t found = 0;
    for (int i = 0; i < WEIR_SIGNALS; i++)
        found += e->account.items[i];
    found += e->account.damaged_items; // told already
    return e->expected > found ? e->expected - found : 0;
}

static bool is_damaged(const struct export *e)
{
    return e->account.damaged_blocks > 0 || e->account.damaged_requests > 0 || missing_items(e) > 0;
}

static void print_account_json(const struct export *e)
{
    struct cli_json account = cli_json_new(), items = cli_json_new(), damaged = cli_json_new();
    cli_json_u64(&account, "requests", e->account.requests);
    for (int i = 0; i < WEIR_SIGNALS; i++)
        cli_json_u64(&items, weir_signal_name((enum weir_signal)i), e->account.items[i]);
    cli_json_object(&account, "items", &items);
    cli_json_u64(&account, "bytes", e->account.bytes);
    cli_json_u64(&account, "longest_line_bytes", e->account.longest_line);
    cli_json_u64(&damaged, "blocks", e->account.damaged_blocks);
    cli_json_u64(&damaged, "requests", e->account.damaged_requests);
    cli_json_u64(&damaged, "known_items", e->account.damaged_items);
    cli_json_text(&damaged, "first", e->damage[0] != '\0' ? e->damage : NULL);
    cli_json_object(&account, "damaged", &damaged);
    cli_json_u64(&account, "missing_items", missing_items(e));
    cli_json_u64(&account, "unknown_fields", e->json.unknown_fields);
    cli_json_u64(&account, "bad_utf8_bytes", e->json.bad_bytes);
    cli_json_print(&account, false, stderr);
}

static void print_account(const struct export *e)
{
    char size[STATUS_WORD_LEN];
    uint64_t items = 0;
    for (int i = 0; i < WEIR_SIGNALS; i++)
        items += e->account.items[i];
    status_bytes_format((double)e->account.bytes, size);
    fprintf(stderr, "weir: exported %" PRIu64 " requests with %" PRIu64 " items, %s of JSON\n", e->account.requests,
            items, size);
    if (e->account.damaged_blocks > 0 || e->account.damaged_requests > 0)
        fprintf(stderr,
                "weir: skipped as damaged: %" PRIu64 " blocks, %" PRIu64 " requests (%" PRIu64
                " items are known of); the first: %s\n",
                e->account.damaged_blocks, e->account.damaged_requests, e->account.damaged_items, e->damage);
    if (missing_items(e) > 0)
        fprintf(stderr,
                "weir: %" PRIu64 " items that %s has still to get are not there: `weir spool verify` tells why\n",
                missing_items(e), e->cli->upstream);
    if (e->json.unknown_fields > 0)
        fprintf(stderr, "weir: left out: %" PRIu64 " fields of a newer OTLP, whose names in JSON are not known\n",
                e->json.unknown_fields);
    if (e->json.bad_bytes > 0)
        fprintf(stderr, "weir: replaced: %" PRIu64 " bytes of strings that are not UTF-8, each by U+FFFD\n",
                e->json.bad_bytes);
    if (e->account.longest_line > RECEIVER_LINE_BYTES)
        fprintf(stderr,
                "weir: the longest line has %" PRIu64
                " bytes: set max_log_size of the otlpjsonfile receiver above it\n",
                e->account.longest_line);
}

// --- requests and blocks ------------------------------------------------------------------------------------------------
// WEIR_E_IO, WEIR_E_NOMEM: no further. What is wrong with the request itself is counted.
static int put_request(struct export *e, enum weir_signal signal, struct weir_slice raw, uint64_t items,
                       struct weir_err *err)
{
    e->line.len = 0;
    int code = otlp_json_write(signal, raw, LINE_BYTES_MAX, &e->line, &e->json, err);
    if (code == WEIR_E_NOMEM || (code == WEIR_OK && !weir_buf_append(&e->line, "\n", 1)))
        return weir_fail(err, WEIR_E_NOMEM, "out of memory for a request of %zu bytes", raw.len);
    if (code != WEIR_OK) {
        note_damage(e, "a request", err->text);
        e->account.damaged_requests++;
        e->account.damaged_items += items;
        return WEIR_OK;
    }
    if (fwrite(e->line.data, 1, e->line.len, e->out) != e->line.len)
        return weir_fail(err, WEIR_E_IO, "write the output: %s", strerror(errno));
    e->account.requests++;
    e->account.items[signal] += items;
    e->account.bytes += e->line.len;
    if (e->line.len > e->account.longest_line)
        e->account.longest_line = e->line.len;
    return WEIR_OK;
}

static int put_requests(struct export *e, const struct block_view *view, struct weir_err *err)
{
    struct block_entry entry;
    size_t cursor = 0, at = 0;
    int code;
    while ((code = block_table_next(view, &cursor, &entry)) == WEIR_OK) {
        if (entry.raw_bytes > e->raw.len - at)
            break;
        code = put_request(e, view->signal, (struct weir_slice){e->raw.data + at, entry.raw_bytes}, entry.items, err);
        if (code != WEIR_OK)
            return code;
        at += entry.raw_bytes;
    }
    if (code == WEIR_E_AGAIN)
        return WEIR_OK;
    note_damage(e, "a block", "its table of requests is broken");
    e->account.damaged_blocks++;
    return WEIR_OK;
}

static int export_block(struct export *e, const struct inspect_block *block, struct weir_err *err)
{
    struct block_view view;
    if (!cli_filter_takes(&e->filter, block))
        return WEIR_OK;
    int code = inspect_block_read(e->inspect, block, &e->value, &view, err);
    e->raw.len = 0;
    if (code == WEIR_OK)
        code = block_view_decode(&view, &e->raw, err);
    if (code == WEIR_E_NOMEM)
        return code;
    if (code == WEIR_OK)
        return put_requests(e, &view, err);
    char where[300];
    snprintf(where, sizeof(where), "%s, block %" PRIu64, block->file->name, block->number);
    note_damage(e, where, err->text);
    e->account.damaged_blocks++;
    e->account.damaged_items += block->items;
    return WEIR_OK;
}

// Numbers that a file leaves out between its first and the one before this block: their blocks are damaged. (Between files they may
// have been delivered and unlinked.)
static void count_gap(struct export *e, const struct inspect_block *block, uint64_t from)
{
    bool same = block->file == e->last_file;
    uint64_t expected = same ? e->last_seen + 1 : block->file->is_segment ? block->file->first : block->number;
    if (expected < from)
        expected = from;
    if (expected < block->number) {
        char text[80];
        snprintf(text, sizeof(text), "blocks %" PRIu64 " to %" PRIu64 " cannot be found", expected, block->number - 1);
        note_damage(e, block->file->name, text);
        e->account.damaged_blocks += block->number - expected;
    }
    e->last_file = block->file;
    e->last_seen = block->number;
}

// All blocks of `signal` (or INSPECT_ANY, files that were set aside too) in [from, end).
static int export_range(struct export *e, unsigned signal, uint64_t from, uint64_t end, struct weir_err *err)
{
    uint64_t begin = from;
    while (from < end) {
        struct inspect_block block = {0};
        int code = inspect_block_next(e->inspect, signal, from, end, signal == INSPECT_ANY, &block, err);
        if (code == WEIR_E_NOT_FOUND)
            return WEIR_OK;
        if (code == WEIR_OK) {
            if (signal == INSPECT_ANY)
                count_gap(e, &block, begin);
            from = block.number;
            code = export_block(e, &block, err);
        } else if (code == WEIR_E_IO) {
            note_damage(e, "read a block", err->text);
            e->account.damaged_blocks++;
            code = WEIR_OK;
        }
        if (code != WEIR_OK)
            return code;
        from++;
        show_progress(e, signal == INSPECT_ANY ? block.stored_bytes : block.raw_bytes);
    }
    return WEIR_OK;
}

// --- what to export -------------------------------------------------------------------------------------------------------
static uint64_t clamp(uint64_t value, uint64_t low, uint64_t high)
{
    return value < low ? low : value > high ? high : value;
}

static int export_lane(struct export *e, const struct inspect_lane *lane, struct weir_err *err)
{
    for (size_t i = 0; i < lane->intervals_n; i++) {
        uint64_t from = clamp(lane->intervals[i].first, e->begin, e->stop);
        int code = export_range(e, lane->signal, from, clamp(lane->intervals[i].end, from, e->stop), err);
        if (code != WEIR_OK)
            return code;
    }
    return WEIR_OK;
}

static int export_lanes(struct export *e, struct weir_err *err)
{
    const struct cli_filter *filter = &e->filter;
    bool whole =
        filter->since_ns == 0 && filter->until_ns == UINT64_MAX && filter->first == 0 && filter->end == UINT64_MAX;
    struct inspect_lane lane;
    bool known = false;
    char names[512] = "";
    for (size_t n = 0; inspect_lane(e->inspect, n, &lane) == WEIR_OK; n++) {
        if (strcmp(lane.upstream, e->cli->upstream) != 0) {
            size_t len = strlen(names);
            if (n == 0 || strstr(names, lane.upstream) == NULL)
                snprintf(names + len, sizeof(names) - len, "%s%.100s", len > 0 ? ", " : "", lane.upstream);
            continue;
        }
        known = true;
        if (filter->signal != INSPECT_ANY && filter->signal != lane.signal)
            continue;
        if (whole)
            e->expected += lane.stats.pending;
        e->total_bytes += lane.stats.pending_bytes;
        int code = export_lane(e, &lane, err);
        if (code != WEIR_OK)
            return code;
    }
    if (!known)
        return weir_fail(err, WEIR_E_NOT_FOUND, "no upstream '%.100s' is known to this spool%s%s", e->cli->upstream,
                         names[0] != '\0' ? ", but " : ": it has none", names);
    return WEIR_OK;
}

static int export_letter(void *ctx, const struct inspect_letter *stored, struct weir_err *err)
{
    struct export *e = ctx;
    const struct spool_dead_letter *letter = &stored->letter;
    const struct inspect_block as_block = {
        .signal = letter->signal, .received_first_ns = letter->received_ns, .received_last_ns = letter->received_ns};
    const char *upstream = e->cli->upstream;
    if (letter->block < e->filter.first || letter->block >= e->filter.end || !cli_filter_takes(&e->filter, &as_block) ||
        (upstream != NULL && (letter->upstream == NULL || strcmp(letter->upstream, upstream) != 0)))
        return WEIR_OK;
    if (stored->damage == NULL)
        return put_request(e, letter->signal, letter->raw, letter->items, err);
    note_damage(e, "a dead letter", stored->damage);
    e->account.damaged_requests++;
    return WEIR_OK;
}

static int export_letters(struct export *e, struct weir_err *err)
{
    struct inspect_letters letters;
    inspect_letters(e->inspect, &letters);
    if (letters.code == WEIR_E_NOT_FOUND)
        return WEIR_OK;
    if (letters.code != WEIR_OK && letters.code != WEIR_E_CORRUPT)
        return weir_fail(err, letters.code, "dead letters: %s", letters.text);
    e->total_bytes = letters.bytes;
    int code = inspect_letters_each(e->inspect, true, export_letter, e, err);
    if (code != WEIR_E_CORRUPT)
        return code;
    note_damage(e, "dead letters", err->text);
    e->account.damaged_requests++;
    return WEIR_OK;
}

// Files that could not be looked into are damage too, when all blocks are asked for.
static int export_blocks(struct export *e, struct weir_err *err)
{
    struct inspect_segment segment;
    int code;
    for (size_t n = 0; (code = inspect_segment(e->inspect, n, &segment, err)) == WEIR_OK; n++) {
        if (segment.first >= e->stop || (segment.code == WEIR_OK && segment.end <= e->begin))
            continue;
        e->total_bytes += segment.stored_bytes;
        if (segment.code != WEIR_OK && segment.first >= e->begin) {
            note_damage(e, segment.file->name, segment.text);
            e->account.damaged_blocks++;
        }
    }
    return code == WEIR_E_NOT_FOUND ? export_range(e, INSPECT_ANY, e->begin, e->stop, err) : code;
}

static int export_all(struct export *e, struct weir_err *err)
{
    struct inspect_state state;
    inspect_state(e->inspect, &state);
    e->begin = e->filter.first;
    e->stop = clamp(e->filter.end, e->begin, state.next_block > e->begin ? state.next_block : e->begin);
    if (e->cli->show_dead_letters)
        return export_letters(e, err);
    return e->cli->upstream != NULL ? export_lanes(e, err) : export_blocks(e, err);
}

// --- the output -----------------------------------------------------------------------------------------------------------
static bool is_in_spool(const char *file, const char *directory)
{
    char parent[4096];
    struct stat a, b;
    const char *slash = strrchr(file, '/');
    int len = slash == NULL ? snprintf(parent, sizeof(parent), ".")
                            : snprintf(parent, sizeof(parent), "%.*s", (int)(slash - file + 1), file);
    return len > 0 && (size_t)len < sizeof(parent) && stat(parent, &a) == 0 && stat(directory, &b) == 0 &&
           a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static int open_output(struct export *e, struct weir_err *err)
{
    const char *path = e->cli->output;
    e->out = stdout;
    if (path == NULL || strcmp(path, "-") == 0)
        return WEIR_OK;
    if (is_in_spool(path, e->cli->directory))
        return weir_fail(err, WEIR_E_INVALID, "%s lies in the spool, where nothing else may be: choose another place",
                         path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600); // others' data: for nobody else's eyes
    e->out = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (e->out == NULL) {
        if (fd >= 0)
            close(fd);
        return weir_fail(err, WEIR_E_IO, "open %s: %s", path, strerror(errno));
    }
    return WEIR_OK;
}

static int close_output(struct export *e, struct weir_err *err)
{
    bool is_file = e->out != stdout, flushed = fflush(e->out) == 0;
    bool synced = !is_file || fsync(fileno(e->out)) == 0 || errno == EINVAL; // EINVAL: a pipe or a terminal
    bool closed = !is_file || fclose(e->out) == 0;
    if (!flushed || !synced || !closed)
        return weir_fail(err, WEIR_E_IO, "write the output: %s", strerror(errno));
    return WEIR_OK;
}

static int export_to(struct export *e)
{
    struct weir_err err = {0}, close_err = {0};
    int code = open_output(e, &err);
    if (code == WEIR_OK) {
        setvbuf(e->out, NULL, _IOFBF, OUTPUT_BUFFER_BYTES);
        e->progress = cli_progress_new("export");
        code = export_all(e, &err);
        cli_progress_end(&e->progress);
        if (close_output(e, &close_err) != WEIR_OK && code == WEIR_OK) {
            code = close_err.code;
            err = close_err;
        }
        if (e->cli->json)
            print_account_json(e);
        else
            print_account(e);
    }
    if (code != WEIR_OK)
        fprintf(stderr, "weir: %s\n", err.text);
    if (code == WEIR_E_INVALID || code == WEIR_E_NOT_FOUND)
        return CLI_USAGE;
    return code != WEIR_OK || is_damaged(e) ? CLI_FAILED : CLI_DONE;
}

int cmd_spool_export(const struct cli *cli)
{
    struct export e = {.cli = cli};
    if (!cli_filter_parse(cli, &e.filter))
        return CLI_USAGE;
    int code = cli_spool_open(cli, &e.inspect);
    if (code != CLI_DONE)
        return code;
    code = export_to(&e);
    inspect_close(e.inspect);
    weir_buf_free(&e.value);
    weir_buf_free(&e.raw);
    weir_buf_free(&e.line);
    return code;
}
