// SPDX-License-Identifier: Apache-2.0
// `weir spool stat`: what a spool holds, for whom, and in what state it is; from the state and a few pages of each segment.
#include "relay/cli_spool.h"
#include "relay/status.h"
#include "relay/status_print.h"
#include "storage/note.h"

#define LANE_ROW "  %-8s %13s %10s %7s %13s %12s %9s\n"

// All that is shown.
struct sum {
    struct inspect_state state;
    struct {
        uint64_t files, bytes, disk_bytes;
    } kinds[INSPECT_KINDS];
    uint64_t used_bytes, segments, damaged_files;
    uint64_t first_block, blocks[WEIR_SIGNALS], items[WEIR_SIGNALS], raw_bytes[WEIR_SIGNALS], stored_bytes;
    uint64_t kept_bytes; // on disk, of segments that every lane has passed
    uint64_t oldest_ns;  // of what a lane still needs
    struct inspect_letters letters;
    uint64_t now_ns;
};

static int sum_segments(struct inspect *inspect, struct sum *sum, struct weir_err *err)
{
    struct inspect_segment s;
    struct inspect_lane lane;
    uint64_t passed = sum->state.code == WEIR_OK ? sum->state.next_block : 0;
    for (size_t i = 0; inspect_lane(inspect, i, &lane) == WEIR_OK; i++) {
        if (lane.intervals_n > 0 && lane.intervals[0].first < passed)
            passed = lane.intervals[0].first;
        uint64_t oldest = lane.stats.oldest_received_ns;
        if (oldest != 0 && (sum->oldest_ns == 0 || oldest < sum->oldest_ns))
            sum->oldest_ns = oldest;
    }
    sum->first_block = sum->state.next_block;
    sum->segments = inspect_segments_count(inspect);
    for (size_t n = 0; n < sum->segments; n++) {
        if (inspect_segment(inspect, n, &s, err) != WEIR_OK)
            return WEIR_E_NOMEM;
        if (n == 0)
            sum->first_block = s.first;
        sum->damaged_files += s.code != WEIR_OK || s.text[0] != '\0';
        sum->stored_bytes += s.stored_bytes;
        if (s.code == WEIR_OK && s.end > s.first && s.end <= passed)
            sum->kept_bytes += s.file->disk_bytes;
        for (size_t i = 0; i < WEIR_SIGNALS; i++) {
            sum->blocks[i] += s.blocks[i];
            sum->items[i] += s.items[i];
            sum->raw_bytes[i] += s.raw_bytes[i];
        }
    }
    return WEIR_OK;
}

static int sum_up(struct inspect *inspect, struct sum *sum, struct weir_err *err)
{
    const struct inspect_file *files;
    size_t n = inspect_files(inspect, &files);
    *sum = (struct sum){.now_ns = weir_now_unix_ns()};
    inspect_state(inspect, &sum->state);
    inspect_letters(inspect, &sum->letters);
    for (size_t i = 0; i < n; i++) {
        sum->kinds[files[i].kind].files++;
        sum->kinds[files[i].kind].bytes += files[i].bytes;
        sum->kinds[files[i].kind].disk_bytes += files[i].disk_bytes;
        sum->used_bytes += files[i].disk_bytes;
        sum->damaged_files += files[i].kind == INSPECT_ASIDE;
    }
    sum->damaged_files += sum->state.code != WEIR_OK && sum->state.code != WEIR_E_NOT_FOUND;
    sum->damaged_files += sum->letters.code != WEIR_OK && sum->letters.code != WEIR_E_NOT_FOUND;
    return sum_segments(inspect, sum, err);
}

static uint64_t raw_bytes_of(const struct sum *sum)
{
    uint64_t raw = 0;
    for (size_t i = 0; i < WEIR_SIGNALS; i++)
        raw += sum->raw_bytes[i];
    return raw;
}

static double age_seconds(const struct sum *sum, uint64_t then_ns)
{
    return sum->now_ns > then_ns ? (double)(sum->now_ns - then_ns) / 1e9 : 0;
}

// --- JSON -----------------------------------------------------------------------------------------------------------------

static struct cli_json spool_json(const struct inspect *inspect, const struct sum *sum)
{
    struct cli_json spool = cli_json_new(), files = cli_json_new(), signals = cli_json_new();
    uint64_t raw = raw_bytes_of(sum);
    cli_json_text(&spool, "directory", inspect_directory(inspect));
    cli_json_text(&spool, "instance", sum->state.instance[0] != '\0' ? sum->state.instance : NULL);
    cli_json_u64(&spool, "used_bytes", sum->used_bytes);
    cli_json_u64(&spool, "kept_bytes", sum->kept_bytes);
    cli_json_u64(&spool, "segments", sum->segments);
    cli_json_u64(&spool, "damaged_files", sum->damaged_files);
    cli_json_u64(&spool, "first_block", sum->first_block);
    cli_json_u64(&spool, "next_block", sum->state.next_block);
    cli_json_time(&spool, "oldest", sum->oldest_ns);
    cli_json_real(&spool, "compression_ratio", sum->stored_bytes > 0 ? (double)raw / (double)sum->stored_bytes : 0);
    cli_json_u64(&spool, "raw_bytes", raw);
    cli_json_u64(&spool, "stored_bytes", sum->stored_bytes);
    for (size_t i = 0; i < WEIR_SIGNALS; i++) {
        struct cli_json signal = cli_json_new();
        cli_json_u64(&signal, "blocks", sum->blocks[i]);
        cli_json_u64(&signal, "items", sum->items[i]);
        cli_json_u64(&signal, "raw_bytes", sum->raw_bytes[i]);
        cli_json_object(&signals, weir_signal_name((enum weir_signal)i), &signal);
    }
    cli_json_object(&spool, "signals", &signals);
    for (size_t i = 0; i < INSPECT_KINDS; i++) {
        struct cli_json kind = cli_json_new();
        cli_json_u64(&kind, "files", sum->kinds[i].files);
        cli_json_u64(&kind, "bytes", sum->kinds[i].bytes);
        cli_json_u64(&kind, "disk_bytes", sum->kinds[i].disk_bytes);
        cli_json_object(&files, inspect_kind_name((enum inspect_kind)i), &kind);
    }
    cli_json_object(&spool, "files", &files);
    cli_json_text(&spool, "state_damage", sum->state.code != WEIR_OK ? sum->state.text : NULL);
    return spool;
}

static struct cli_json lane_json(const struct inspect_lane *lane, const struct sum *sum)
{
    struct cli_json json = cli_json_new(), items = cli_json_new(), evicted = cli_spool_evicted(&lane->stats);
    cli_spool_ledger(&items, &lane->stats);
    cli_json_object(&json, "items", &items);
    cli_json_object(&json, "evicted", &evicted);
    cli_json_u64(&json, "pending_bytes", lane->stats.pending_bytes);
    cli_json_put(&json, "intervals", cli_spool_intervals(lane, sum->state.next_block));
    if (lane->stats.oldest_received_ns != 0)
        cli_json_real(&json, "oldest_age_seconds", age_seconds(sum, lane->stats.oldest_received_ns));
    else
        cli_json_text(&json, "oldest_age_seconds", NULL);
    return json;
}

// Lanes come sorted by upstream: each run of them is one.
static json_t *upstreams_json(struct inspect *inspect, const struct sum *sum, bool *failed)
{
    json_t *upstreams = json_array();
    struct inspect_lane lane;
    int more = inspect_lane(inspect, 0, &lane);
    for (size_t i = 0; more == WEIR_OK && upstreams != NULL;) {
        struct cli_json upstream = cli_json_new(), lanes = cli_json_new(), backlog = cli_json_new();
        uint64_t items = 0, bytes = 0, oldest = 0;
        char name[sizeof(lane.upstream)];
        memcpy(name, lane.upstream, sizeof(name));
        for (; more == WEIR_OK && strcmp(lane.upstream, name) == 0; more = inspect_lane(inspect, ++i, &lane)) {
            struct cli_json json = lane_json(&lane, sum);
            uint64_t then = lane.stats.oldest_received_ns;
            items += lane.stats.pending;
            bytes += lane.stats.pending_bytes;
            oldest = then != 0 && (oldest == 0 || then < oldest) ? then : oldest;
            cli_json_object(&lanes, weir_signal_name(lane.signal), &json);
        }
        cli_json_text(&upstream, "name", name);
        cli_json_u64(&backlog, "items", items);
        cli_json_u64(&backlog, "bytes", bytes);
        if (oldest != 0)
            cli_json_real(&backlog, "oldest_age_seconds", age_seconds(sum, oldest));
        else
            cli_json_text(&backlog, "oldest_age_seconds", NULL);
        cli_json_object(&upstream, "backlog", &backlog);
        cli_json_object(&upstream, "lanes", &lanes);
        *failed = *failed || upstream.failed || json_array_append_new(upstreams, upstream.json) != 0;
    }
    return upstreams;
}

// What the relay remembers, without the values, which are for itself.
static json_t *notes_json(struct inspect *inspect, bool *failed)
{
    const struct inspect_note *notes;
    json_t *list = json_array();
    size_t n = inspect_notes(inspect, &notes);
    for (size_t i = 0; i < n && list != NULL; i++) {
        struct cli_json note = cli_json_new();
        char key[3 * SPOOL_NOTE_KEY_BYTES];
        status_clean(notes[i].key, key, sizeof(key));
        cli_json_text(&note, "key", key);
        cli_json_u64(&note, "bytes", notes[i].value.len);
        cli_json_text(&note, "damage", notes[i].damage);
        *failed = *failed || note.failed || json_array_append_new(list, note.json) != 0;
    }
    return list;
}

static bool print_json(struct inspect *inspect, const struct sum *sum)
{
    struct cli_json stat = cli_json_new(), spool = spool_json(inspect, sum), dead = cli_json_new();
    cli_json_object(&stat, "spool", &spool);
    cli_json_put(&stat, "upstreams", upstreams_json(inspect, sum, &stat.failed));
    cli_json_put(&stat, "notes", notes_json(inspect, &stat.failed));
    cli_json_u64(&dead, "requests", sum->letters.requests);
    cli_json_u64(&dead, "items", sum->letters.items);
    cli_json_u64(&dead, "bytes", sum->letters.bytes);
    bool known = sum->letters.code == WEIR_OK || sum->letters.code == WEIR_E_NOT_FOUND;
    cli_json_text(&dead, "damage", known ? NULL : sum->letters.text);
    cli_json_object(&stat, "dead_letters", &dead);
    return cli_json_print(&stat, true, stdout);
}

// --- for people -----------------------------------------------------------------------------------------------------------

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

static struct cell age_cell(const struct sum *sum, uint64_t then_ns)
{
    struct cell cell = {"-"};
    if (then_ns != 0)
        status_duration_format(age_seconds(sum, then_ns), cell.text);
    return cell;
}

static void print_spool(const struct inspect *inspect, const struct sum *sum)
{
    uint64_t raw = raw_bytes_of(sum);
    printf("spool      %s  instance %s\n", inspect_directory(inspect),
           sum->state.instance[0] != '\0' ? sum->state.instance : "not known");
    printf("  on disk  %s:", bytes_cell(sum->used_bytes).text);
    const char *comma = "";
    for (size_t i = 0; i < INSPECT_KINDS; i++) {
        if (sum->kinds[i].disk_bytes == 0)
            continue;
        printf("%s %s in %llu %s file%s", comma, bytes_cell(sum->kinds[i].disk_bytes).text,
               (unsigned long long)sum->kinds[i].files, inspect_kind_name((enum inspect_kind)i),
               sum->kinds[i].files == 1 ? "" : "s");
        comma = ",";
    }
    printf("\n  blocks   %llu to %llu, %s raw, stored as %s", (unsigned long long)sum->first_block,
           (unsigned long long)(sum->state.next_block > 0 ? sum->state.next_block - 1 : 0), bytes_cell(raw).text,
           bytes_cell(sum->stored_bytes).text);
    if (sum->stored_bytes > 0)
        printf(" (%.1f to 1)", (double)raw / (double)sum->stored_bytes);
    printf("\n  kept     %s that every upstream has\n", bytes_cell(sum->kept_bytes).text);
    for (size_t i = 0; i < WEIR_SIGNALS; i++)
        if (sum->blocks[i] > 0)
            printf("  %-8s %s items in %s blocks, %s raw\n", weir_signal_name((enum weir_signal)i),
                   count_cell(sum->items[i]).text, count_cell(sum->blocks[i]).text, bytes_cell(sum->raw_bytes[i]).text);
    if (sum->damaged_files > 0)
        printf("  damaged  %llu files: `weir spool verify` says what\n", (unsigned long long)sum->damaged_files);
}

static void print_lanes(struct inspect *inspect, const struct sum *sum)
{
    struct inspect_lane lane;
    char before[sizeof(lane.upstream)] = "", name[sizeof(lane.upstream)];
    if (sum->state.code != WEIR_OK)
        printf("\nupstreams  not known (%s): a relay delivers everything to everyone from the oldest block on\n",
               sum->state.text);
    for (size_t i = 0; inspect_lane(inspect, i, &lane) == WEIR_OK; i++) {
        if (strcmp(before, lane.upstream) != 0) {
            memcpy(before, lane.upstream, sizeof(before));
            status_clean(lane.upstream, name, sizeof(name));
            printf("\nupstream   %s\n", name);
            printf(LANE_ROW, "signal", "pending", "bytes", "oldest", "delivered", "dead letters", "evicted");
        }
        printf(LANE_ROW, weir_signal_name(lane.signal), count_cell(lane.stats.pending).text,
               bytes_cell(lane.stats.pending_bytes).text, age_cell(sum, lane.stats.oldest_received_ns).text,
               count_cell(lane.stats.delivered).text, count_cell(lane.stats.dead_lettered).text,
               count_cell(lane.stats.evicted).text);
    }
}

static void print_notes(struct inspect *inspect)
{
    const struct inspect_note *notes;
    char key[3 * SPOOL_NOTE_KEY_BYTES];
    size_t n = inspect_notes(inspect, &notes);
    if (n > 0)
        printf("\nnotes\n");
    for (size_t i = 0; i < n; i++) {
        status_clean(notes[i].key, key, sizeof(key));
        printf("  %s, %zu bytes%s%s\n", key, notes[i].value.len, notes[i].damage != NULL ? ": " : "",
               notes[i].damage != NULL ? notes[i].damage : "");
    }
}

static void print_text(struct inspect *inspect, const struct sum *sum)
{
    print_spool(inspect, sum);
    print_lanes(inspect, sum);
    print_notes(inspect);
    if (sum->letters.code == WEIR_OK)
        printf("\ndead letters  %s requests, %s items, %s\n", count_cell(sum->letters.requests).text,
               count_cell(sum->letters.items).text, bytes_cell(sum->letters.bytes).text);
    else if (sum->letters.code != WEIR_E_NOT_FOUND)
        printf("\ndead letters  not known: %s\n", sum->letters.text);
}

int cmd_spool_stat(const struct cli *cli)
{
    struct inspect *inspect;
    struct weir_err err = {0};
    struct sum sum;
    int exit_code = cli_spool_open(cli, &inspect);
    if (exit_code != CLI_DONE)
        return exit_code;
    int code = sum_up(inspect, &sum, &err);
    bool printed = true;
    if (code == WEIR_OK && cli->json)
        printed = print_json(inspect, &sum);
    else if (code == WEIR_OK)
        print_text(inspect, &sum);
    inspect_close(inspect);
    if (code != WEIR_OK)
        return cli_spool_fail(&err);
    return cli_spool_end(printed ? CLI_DONE : CLI_FAILED);
}
