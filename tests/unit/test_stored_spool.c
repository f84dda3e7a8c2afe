// SPDX-License-Identifier: Apache-2.0
// The stored spools of tests/data: what earlier versions wrote is read by this one, and what a newer one wrote is left alone.
#include <jansson.h>
#include <sys/wait.h>

#include "spool_kit.h"
#include "spool_records.h"
#include "storage/note.h"

#define STORED   "tests/data/spool-v" // unit tests run in the root of the sources
#define LANE_MAX 8

// --- the stored spool ---------------------------------------------------------------------------------------------------
struct stored {
    char base[400];      // a directory of its own
    char directory[512]; // the spool in it
    json_t *expected;
};

static bool run(const char *const argv[])
{
    pid_t pid = fork();
    if (pid == 0) {
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    int status;
    return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void stored_extract(struct stored *s, unsigned version)
{
    char path[64];
    json_error_t error;
    char *made = kit_directory();
    snprintf(s->base, sizeof(s->base), "%s", made);
    free(made);
    snprintf(path, sizeof(path), STORED "%u.tar.zst", version);
    bool extracted = run((const char *const[]){"tar", "--zstd", "--sparse", "-xf", path, "-C", s->base, NULL});
    cr_assert(extracted, "tar failed (are tar and zstd installed?)");
    snprintf(s->directory, sizeof(s->directory), "%s/spool", s->base);
    snprintf(path, sizeof(path), STORED "%u.json", version);
    s->expected = json_load_file(path, 0, &error);
    cr_assert_not_null(s->expected, "%s", error.text);
}

static void stored_remove(struct stored *s)
{
    kit_remove_directory(strdup(s->directory));
    kit_remove_directory(strdup(s->base));
    json_decref(s->expected);
}

static uint64_t number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    cr_assert(json_is_integer(value), "%s is not there", key);
    return (uint64_t)json_integer_value(value);
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    cr_assert_not_null(text, "%s is not there", key);
    return text;
}

static enum weir_signal signal_of(const json_t *object)
{
    for (int i = 0; i < WEIR_SIGNALS; i++)
        if (strcmp(text_of(object, "signal"), weir_signal_name((enum weir_signal)i)) == 0)
            return (enum weir_signal)i;
    cr_assert_fail("no signal");
    return WEIR_TRACES;
}

// --- what is in it ------------------------------------------------------------------------------------------------------
static void expect_lane(struct spool_lane *lane, const json_t *expected)
{
    struct spool_lane_stats s = kit_ledger(lane);
    const struct {
        const char *name;
        uint64_t value;
    } columns[] = {{"accepted", s.accepted},
                   {"delivered", s.delivered},
                   {"pending", s.pending},
                   {"dead_lettered", s.dead_lettered},
                   {"evicted", s.evicted},
                   {"discarded", s.discarded},
                   {"rejected_by_upstream", s.rejected_by_upstream},
                   {"evicted_full", s.evicted_by[SPOOL_LOSS_FULL]},
                   {"evicted_age", s.evicted_by[SPOOL_LOSS_AGE]},
                   {"evicted_damage", s.evicted_by[SPOOL_LOSS_DAMAGE]},
                   {"replayed", s.replayed},
                   {"pending_bytes", s.pending_bytes}};
    for (size_t i = 0; i < WEIR_COUNT(columns); i++)
        cr_assert_eq(columns[i].value, number_of(expected, columns[i].name), "%s %s: %s is %llu",
                     text_of(expected, "upstream"), text_of(expected, "signal"), columns[i].name,
                     (unsigned long long)columns[i].value);
    struct spool_interval at[16];
    const json_t *intervals = json_object_get(expected, "intervals");
    size_t n = spool_lane_intervals(lane, at, WEIR_COUNT(at));
    cr_assert_eq(n, json_array_size(intervals));
    for (size_t i = 0; i < n; i++) {
        const json_t *pair = json_array_get(intervals, i);
        json_int_t end = json_integer_value(json_array_get(pair, 1));
        cr_assert_eq(at[i].first, (uint64_t)json_integer_value(json_array_get(pair, 0)));
        cr_assert_eq(at[i].end, end < 0 ? SPOOL_END : (uint64_t)end);
    }
}

static void expect_block(const struct block_view *view, const json_t *expected)
{
    char text[64] = "";
    struct weir_buf raw = {0};
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {{"number", view->number},
                   {"requests", view->requests},
                   {"items", view->items},
                   {"raw_bytes", view->raw_bytes},
                   {"received_first_ns", view->received_first_ns},
                   {"received_last_ns", view->received_last_ns},
                   {"time_min_ns", view->time_min_ns},
                   {"time_max_ns", view->time_max_ns},
                   {"items_before", view->items_before},
                   {"raw_bytes_before", view->raw_bytes_before}};
    for (size_t i = 0; i < WEIR_COUNT(numbers); i++)
        cr_assert_eq(numbers[i].value, number_of(expected, numbers[i].name), "block %llu: %s is %llu",
                     (unsigned long long)view->number, numbers[i].name, (unsigned long long)numbers[i].value);
    cr_assert_eq(view->signal, signal_of(expected));
    for (size_t i = 0; i < view->envelope.len && i < 31; i++)
        snprintf(text + 2 * i, 3, "%02x", view->envelope.data[i]);
    cr_assert_str_eq(text, text_of(expected, "envelope"));
    cr_assert_eq(block_view_decode(view, &raw, NULL), WEIR_OK);
    snprintf(text, sizeof(text), "%016llx", (unsigned long long)format_checksum(raw.data, raw.len));
    cr_assert_str_eq(text, text_of(expected, "raw_xxh3"), "block %llu holds other bytes",
                     (unsigned long long)view->number);
    weir_buf_free(&raw);
}

// Delivered data is kept, as it was in the runs that wrote it.
static struct spool_options stored_options(const struct stored *s)
{
    struct spool_options options = kit_options(s->directory, 64);
    options.keep_delivered_ns = UINT64_C(3600000000000);
    return options;
}

static struct spool *stored_open(const struct stored *s, struct spool_report *report)
{
    struct spool_options options = stored_options(s);
    struct weir_err err = {0};
    struct spool *spool;
    cr_assert_eq(spool_open(&options, &spool, report, &err), WEIR_OK, "%s", err.text);
    return spool;
}

struct orphans {
    const json_t *expected;
    size_t seen;
};

static void expect_orphan(void *ctx, const char *upstream, enum weir_signal signal, uint64_t pending_items)
{
    struct orphans *o = ctx;
    const json_t *orphan = json_array_get(o->expected, o->seen++);
    cr_assert_str_eq(upstream, text_of(orphan, "upstream"));
    cr_assert_eq(signal, signal_of(orphan));
    cr_assert_eq(pending_items, number_of(orphan, "pending"));
}

static size_t open_lanes(struct spool *spool, const struct stored *s, struct spool_lane *lanes[LANE_MAX])
{
    const json_t *list = json_object_get(s->expected, "lanes"), *lane;
    size_t i;
    cr_assert_leq(json_array_size(list), LANE_MAX);
    json_array_foreach(list, i, lane)
    {
        lanes[i] = kit_lane(spool, text_of(lane, "upstream"), signal_of(lane), SPOOL_START_NOW);
        expect_lane(lanes[i], lane);
    }
    return json_array_size(list);
}

static void check_opens_with_the_ledgers_and_blocks_it_was_stored_with(unsigned version)
{
    struct stored s;
    stored_extract(&s, version);
    struct spool_report report;
    struct spool *spool = stored_open(&s, &report);
    struct spool_lane *lanes[LANE_MAX] = {NULL};
    struct spool_stats stats;
    cr_assert_eq(report.damaged, 0);
    cr_assert_eq(report.lost_blocks, 0);
    cr_assert_eq(report.next_block, number_of(s.expected, "next_block"));
    cr_assert_eq(report.first_block, number_of(s.expected, "first_block"));
    cr_assert_str_eq(spool_instance(spool), text_of(s.expected, "instance"));
    open_lanes(spool, &s, lanes);
    struct orphans orphans = {.expected = json_object_get(s.expected, "orphans")};
    spool_orphans(spool, expect_orphan, &orphans);
    cr_assert_eq(orphans.seen, json_array_size(orphans.expected));
    spool_stats_get(spool, &stats);
    cr_assert_eq(stats.dead_letter_requests, number_of(s.expected, "dead_letter_requests"));
    cr_assert_eq(stats.dead_letter_items, number_of(s.expected, "dead_letter_items"));

    struct spool_reader *reader = spool_reader_new(spool);
    const json_t *blocks = json_object_get(s.expected, "blocks"), *block;
    size_t i;
    cr_assert_eq(json_array_size(blocks), 40);
    json_array_foreach(blocks, i, block)
    {
        struct block_view view;
        struct weir_err err = {0};
        uint64_t skip_to, number = number_of(block, "number");
        cr_assert_eq(spool_reader_next(reader, signal_of(block), number, number + 1, &view, &skip_to, &err), WEIR_OK,
                     "%s", err.text);
        expect_block(&view, block);
        block_view_release(&view);
    }
    spool_reader_free(reader);
    spool_close(spool);
    stored_remove(&s);
}

struct drained {
    uint64_t delivered, lost; // items
    int code;                 // WEIR_E_AGAIN at the end, or what it came to a stop with
};

// Delivers all that the lane has, and enters what no file holds as lost.
static struct drained drain(struct spool *spool, struct spool_lane *lane, enum weir_signal signal)
{
    struct spool_reader *reader = spool_reader_new(spool);
    struct spool_interval in;
    struct drained d = {.code = WEIR_E_AGAIN};
    while (spool_lane_intervals(lane, &in, 1) > 0) {
        struct block_view view;
        struct weir_err err = {0};
        struct spool_outcome outcome = {0};
        uint64_t skip_to = in.first;
        d.code = spool_reader_next(reader, signal, in.first, in.end, &view, &skip_to, &err);
        if (d.code == WEIR_OK) {
            d.delivered += outcome.delivered = view.items;
            skip_to = view.number + 1;
            block_view_release(&view);
        }
        if (skip_to <= in.first || (d.code != WEIR_OK && d.code != WEIR_E_AGAIN && d.code != WEIR_E_CORRUPT))
            break;
        skip_to = skip_to < in.end ? skip_to : in.end;
        if (d.code == WEIR_E_CORRUPT)
            d.lost += spool_lane_lost(lane, in.first, skip_to);
        else
            spool_lane_settle(lane, in.first, skip_to, &outcome);
    }
    spool_reader_free(reader);
    return d;
}

// Items of the lane's pending blocks that there are. (The others were in the file that is gone, and no lane has come so far yet.)
static uint64_t items_there(const struct stored *s, const json_t *lane)
{
    const json_t *block, *interval;
    uint64_t items = 0;
    size_t i, k;
    json_array_foreach(json_object_get(s->expected, "blocks"), i, block)
        json_array_foreach(json_object_get(lane, "intervals"), k, interval)
    {
        json_int_t number = (json_int_t)number_of(block, "number"),
                   end = json_integer_value(json_array_get(interval, 1));
        if (signal_of(block) == signal_of(lane) && number >= json_integer_value(json_array_get(interval, 0)) &&
            (end < 0 || number < end))
            items += number_of(block, "items");
    }
    return items;
}

static void check_drains_to_the_last_item_and_goes_on(unsigned version)
{
    struct stored s;
    stored_extract(&s, version);
    struct spool *spool = stored_open(&s, NULL);
    struct spool_lane *lanes[LANE_MAX] = {NULL};
    size_t n = open_lanes(spool, &s, lanes);
    uint64_t lost = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *expected = json_array_get(json_object_get(s.expected, "lanes"), i);
        uint64_t before = kit_ledger(lanes[i]).delivered, evicted = kit_ledger(lanes[i]).evicted;
        struct drained d = drain(spool, lanes[i], signal_of(expected));
        cr_assert_eq(d.code, WEIR_E_AGAIN);
        cr_assert(d.delivered > 0 || number_of(expected, "pending") == 0);
        cr_assert_eq(d.delivered, items_there(&s, expected));
        cr_assert_eq(d.delivered + d.lost, number_of(expected, "pending"));
        cr_assert_eq(kit_ledger(lanes[i]).delivered, before + d.delivered);
        cr_assert_eq(kit_ledger(lanes[i]).evicted, evicted + d.lost);
        cr_assert_eq(kit_ledger(lanes[i]).pending, 0);
        lost += d.lost;
    }
    cr_assert_gt(lost, 0);
    lanes[n] = kit_lane(spool, "gone", WEIR_METRICS, SPOOL_START_NOW); // it is configured again
    struct drained d = drain(spool, lanes[n], WEIR_METRICS);
    cr_assert_eq(d.code, WEIR_E_AGAIN);
    cr_assert_eq(d.delivered + d.lost, number_of(json_array_get(json_object_get(s.expected, "orphans"), 0), "pending"));
    cr_assert_eq(kit_ledger(lanes[n]).pending, 0);
    cr_assert_eq(kit_append(spool, WEIR_METRICS, 7, 1000), WEIR_OK);
    cr_assert_eq(kit_ledger(lanes[n]).pending, kit_items(7));
    struct weir_buf note = {0}; // there was no place for notes in it
    cr_assert_eq(spool_note_get(spool, "k", &note, NULL), WEIR_E_NOT_FOUND);
    cr_assert_eq(spool_note_put(spool, "k", (struct weir_slice){(const uint8_t *)"v", 1}, true, NULL), WEIR_OK);
    spool_close(spool);
    spool = stored_open(&s, NULL);
    cr_assert_eq(spool_note_get(spool, "k", &note, NULL), WEIR_OK);
    cr_assert(note.len == 1 && note.data[0] == 'v');
    weir_buf_free(&note);
    cr_assert_eq(kit_ledger(kit_lane(spool, "gone", WEIR_METRICS, SPOOL_START_NOW)).pending, kit_items(7));
    cr_assert_eq(kit_ledger(kit_lane(spool, "central", WEIR_LOGS, SPOOL_START_NOW)).pending, 0);
    spool_close(spool);
    stored_remove(&s);
}

// --- newer versions -----------------------------------------------------------------------------------------------------
static void check_of_a_newer_version_is_refused_and_not_touched(unsigned version)
{
    static const struct {
        const char *file, *magic;
    } cases[] = {
        {"state.mdb", "WSTA"},
        {"state.mdb", "WLAN"},
        {"deadletter.mdb", "WDLS"},
        {"seg-00000000000000000010.mdb", "WSEG"}, // a lane stands in it
        {"seg-00000000000000000050.mdb", "WSEG"}, // the last one
        {"seg-00000000000000000050.mdb", "WBLK"},
    };
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        struct stored s;
        stored_extract(&s, version);
        char path[700];
        snprintf(path, sizeof(path), "%s/left.tmp", s.directory);
        close(open(path, O_CREAT | O_WRONLY, 0600));
        snprintf(path, sizeof(path), "%s/%s", s.directory, cases[i].file);
        cr_assert_gt(records_make_newer(path, cases[i].magic, RECORDS_ALL), 0, "%s in %s", cases[i].magic,
                     cases[i].file);
        uint64_t before = records_fingerprint(s.directory);
        struct spool_options options = stored_options(&s);
        options.holder = "another";
        struct weir_err err = {0};
        struct spool *spool;
        cr_assert_eq(spool_open(&options, &spool, NULL, &err), WEIR_E_FORMAT, "%s in %s: %s", cases[i].magic,
                     cases[i].file, err.text);
        cr_assert_not_null(strstr(err.text, "has format 3, this weir knows up to 2"), "%s", err.text);
        cr_assert_not_null(strstr(err.text, cases[i].file), "%s", err.text);
        cr_assert_eq(records_fingerprint(s.directory), before, "%s in %s: something was touched", cases[i].magic,
                     cases[i].file);
        stored_remove(&s);
    }
}

// Where start-up does not look: found when it is read. It is no damage: the lane comes to a stop, nothing is lost or set aside, and with
// the version that knows the format all goes on.
static void check_a_newer_segment_in_the_middle_stops_the_lane_and_loses_nothing(unsigned version)
{
    static const char *const magics[] = {"WSEG", "WBLK"};
    for (size_t i = 0; i < WEIR_COUNT(magics); i++) {
        struct stored s;
        stored_extract(&s, version);
        char path[700];
        snprintf(path, sizeof(path), "%s/seg-00000000000000000040.mdb", s.directory);
        struct weir_buf was = records_read(path);
        cr_assert_gt(records_make_newer(path, magics[i], RECORDS_ALL), 0);
        struct weir_buf newer = records_read(path);
        struct spool_report report;
        struct spool *spool = stored_open(&s, &report);
        struct spool_lane *lanes[LANE_MAX] = {NULL};
        size_t n = open_lanes(spool, &s, lanes), stopped = 0;
        uint64_t delivered[LANE_MAX] = {0};
        for (size_t k = 0; k < n; k++) {
            const json_t *expected = json_array_get(json_object_get(s.expected, "lanes"), k);
            struct drained d = drain(spool, lanes[k], signal_of(expected));
            cr_assert(d.code == WEIR_E_FORMAT || d.code == WEIR_E_AGAIN, "%s %s: code %d",
                      text_of(expected, "upstream"), text_of(expected, "signal"), d.code);
            stopped += d.code == WEIR_E_FORMAT;
            cr_assert_eq(kit_ledger(lanes[k]).pending, number_of(expected, "pending") - d.delivered - d.lost);
            cr_assert_eq(kit_ledger(lanes[k]).evicted, number_of(expected, "evicted") + d.lost);
            delivered[k] = d.delivered;
        }
        cr_assert_geq(stopped, 4);
        cr_assert_eq(kit_append(spool, WEIR_LOGS, 7, 1000), WEIR_OK, "new data is still taken");
        spool_close(spool);
        cr_assert_eq(kit_files(s.directory, ".damaged", NULL, 0), 0);
        struct weir_buf after = records_read(path);
        cr_assert(after.len == newer.len && memcmp(after.data, newer.data, after.len) == 0, "the file was touched");

        records_write(path, &was);
        spool = stored_open(&s, &report);
        for (size_t k = 0; k < n; k++) {
            const json_t *expected = json_array_get(json_object_get(s.expected, "lanes"), k);
            struct spool_lane *lane =
                kit_lane(spool, text_of(expected, "upstream"), signal_of(expected), SPOOL_START_NOW);
            struct drained d = drain(spool, lane, signal_of(expected));
            uint64_t more = signal_of(expected) == WEIR_LOGS ? kit_items(7) : 0;
            cr_assert_eq(d.code, WEIR_E_AGAIN);
            cr_assert_eq(delivered[k] + d.delivered, items_there(&s, expected) + more);
            cr_assert_eq(kit_ledger(lane).pending, 0);
        }
        spool_close(spool);
        weir_buf_free(&was);
        weir_buf_free(&newer);
        weir_buf_free(&after);
        stored_remove(&s);
    }
}

// --- of every version ------------------------------------------------------------------------------------------------------

Test(stored_spool, opens_with_the_ledgers_and_blocks_it_was_stored_with)
{
    for (unsigned version = 1; version <= FORMAT_VERSION; version++)
        check_opens_with_the_ledgers_and_blocks_it_was_stored_with(version);
}

Test(stored_spool, drains_to_the_last_item_and_goes_on)
{
    for (unsigned version = 1; version <= FORMAT_VERSION; version++)
        check_drains_to_the_last_item_and_goes_on(version);
}

Test(stored_spool, of_a_newer_version_is_refused_and_not_touched)
{
    for (unsigned version = 1; version <= FORMAT_VERSION; version++)
        check_of_a_newer_version_is_refused_and_not_touched(version);
}

Test(stored_spool, a_newer_segment_in_the_middle_stops_the_lane_and_loses_nothing)
{
    for (unsigned version = 1; version <= FORMAT_VERSION; version++)
        check_a_newer_segment_in_the_middle_stops_the_lane_and_loses_nothing(version);
}
