// SPDX-License-Identifier: Apache-2.0
// How stored spools are made: a spool with something of everything, and what is in it, as JSON. See README.md here.
//   make_stored_spool DIR >expected.json        DIR: empty or to be made
// It goes through five runs of a relay, on five days: a spool's last segment is sealed when the next run begins.
//   1  blocks 0 to 9 of all signals, for central, archive and gone
//   2  10 to 29: small and large ones, one of several requests; some settled, also in the middle; a dead letter
//   3  the data of run 1 has become too old: evicted; 30 to 39
//   4  40 to 49; then the file of run 3 is lost
//   5  what was lost is entered; gone is not configured any more; 50 to 59; a part of the past is replayed; dead letters are redriven,
//      one of them is marked for it; a note (from version 2 on)
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "proto/walk.h"
#include "storage/event.h"
#include "storage/format.h"
#include "storage/lane.h"
#include "storage/letters.h"
#include "storage/note.h"
#include "storage/past.h"
#include "storage/spool.h"
#include "storage/stats.h"
#include "tests/unit/random_otlp.h"

#define MIB      (1024ull * 1024)
#define SECOND   UINT64_C(1000000000)
#define HOUR     (3600 * SECOND)
#define DAY      (24 * HOUR)
#define T0       (UINT64_C(1767225600) * SECOND) // 2026-01-01T00:00:00Z
#define PER_RUN  10u
#define ALONE    "\x01" // an envelope, as the relay makes them: this request is not to be joined with others
#define LANES    7
#define MUST(ok) must((ok), #ok, __LINE__)

static void must(bool ok, const char *what, int line)
{
    if (!ok) {
        fprintf(stderr, "make_stored_spool: line %d: %s\n", line, what);
        exit(1);
    }
}

// --- the clock and the commits ------------------------------------------------------------------------------------------
static uint64_t today_ns;
static uint64_t clock_ns(void)
{
    return today_ns + HOUR;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned open_blocks, evictions;

static void on_done(struct block *block, int result)
{
    block_free(block);
    pthread_mutex_lock(&lock);
    MUST(result == WEIR_OK);
    open_blocks--;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

static void on_event(void *ctx, const struct spool_event *event)
{
    (void)ctx;
    pthread_mutex_lock(&lock);
    evictions += event->kind == SPOOL_EVENT_EVICTED;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

static void wait_for(const unsigned *value, unsigned wanted)
{
    pthread_mutex_lock(&lock);
    while (*value != wanted)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

// --- data ---------------------------------------------------------------------------------------------------------------
static void add_request(struct block_builder *builder, enum weir_signal signal, struct weir_slice raw,
                        uint64_t received_ns)
{
    struct otlp_summary summary;
    struct weir_err err;
    MUST(otlp_walk(signal, raw.data, raw.len, NULL, &summary, &err) == WEIR_OK);
    struct block_request request = {.items = summary.items,
                                    .time_min_ns = summary.time_min_ns,
                                    .time_max_ns = summary.time_max_ns,
                                    .received_ns = received_ns};
    MUST(block_builder_add(builder, raw, &request, &err) == WEIR_OK);
}

// Block n has signal n % 4. Most need LMDB's overflow pages, those of profiles do not. Some have
// three requests; each tenth goes alone; each twelfth is tiny.
static void append(struct spool *spool, uint64_t number)
{
    enum weir_signal signal = (enum weir_signal)(number % WEIR_SIGNALS);
    struct weir_slice envelope = {(const uint8_t *)ALONE, number % 10 == 0 ? 1 : 0};
    struct block_builder *builder = block_builder_new(signal, envelope, 3);
    struct random_otlp rnd = random_otlp_new(number, false);
    unsigned requests = number % 16 == 10 ? 3 : 1;
    for (unsigned i = 0; i < requests; i++) {
        static const uint8_t tiny[] = {0x0a, 0x06, 0x12, 0x04,
                                       0x12, 0x02, 0x2a, 0x00}; // one item without a field to speak of
        size_t len = sizeof(tiny);
        uint8_t *bytes = random_otlp_request(&rnd, signal, &len);
        struct weir_slice raw = {bytes, len};
        if (number % 12 == 4)
            raw = (struct weir_slice){tiny, sizeof(tiny)};
        add_request(builder, signal, raw, today_ns + (number % PER_RUN) * SECOND + i);
        free(bytes);
    }
    struct block *block;
    struct weir_err err;
    MUST(block_builder_seal(builder, &block, &err) == WEIR_OK);
    block_builder_free(builder);
    random_otlp_free(&rnd);
    pthread_mutex_lock(&lock);
    open_blocks++;
    pthread_mutex_unlock(&lock);
    spool_append(spool, block, on_done);
    wait_for(&open_blocks, 0);
}

// --- runs ---------------------------------------------------------------------------------------------------------------
struct lane_name {
    const char *upstream;
    enum weir_signal signal;
};
static const struct lane_name lane_names[LANES] = {
    {"central", WEIR_TRACES}, {"central", WEIR_METRICS}, {"central", WEIR_LOGS}, {"central", WEIR_PROFILES},
    {"archive", WEIR_TRACES}, {"archive", WEIR_LOGS},    {"gone", WEIR_METRICS},
};
enum { CENTRAL_TRACES, CENTRAL_METRICS, CENTRAL_LOGS, CENTRAL_PROFILES, ARCHIVE_TRACES, ARCHIVE_LOGS, GONE_METRICS };

struct run {
    struct spool *spool;
    struct spool_lane *lanes[LANES];
};

static struct run begin(const char *directory, unsigned day, uint64_t max_age_ns, size_t lanes)
{
    struct run run = {0};
    struct weir_err err = {0};
    today_ns = T0 + day * DAY;
    struct spool_options options = {.directory = directory,
                                    .max_bytes = 64 * MIB,
                                    .segment_bytes = MIB,
                                    .max_age_ns = max_age_ns,
                                    .keep_delivered_ns = 3650 * DAY,
                                    .unix_ns = clock_ns,
                                    .on_event = on_event,
                                    .holder = "weir make_stored_spool"};
    if (spool_open(&options, &run.spool, NULL, &err) != WEIR_OK)
        fprintf(stderr, "%s\n", err.text);
    MUST(run.spool != NULL);
    for (size_t i = 0; i < lanes; i++)
        MUST(spool_lane_open(run.spool, lane_names[i].upstream, lane_names[i].signal, SPOOL_START_NOW, &run.lanes[i],
                             &err) == WEIR_OK);
    return run;
}

static void fill(struct run *run, uint64_t first, uint64_t end)
{
    for (uint64_t number = first; number < end; number++)
        append(run->spool, number);
}

// Delivers what a lane has in [first, end), and enters what is not there as lost.
static void deliver(struct run *run, size_t lane, uint64_t first, uint64_t end)
{
    struct spool_reader *reader = spool_reader_new(run->spool);
    while (first < end) {
        struct block_view view;
        struct weir_err err;
        uint64_t skip_to;
        int code = spool_reader_next(reader, lane_names[lane].signal, first, end, &view, &skip_to, &err);
        struct spool_outcome outcome = {0};
        if (code == WEIR_E_CORRUPT) {
            spool_lane_lost(run->lanes[lane], first, skip_to);
        } else if (code == WEIR_E_AGAIN) {
            spool_lane_settle(run->lanes[lane], first, skip_to, &outcome);
        } else {
            MUST(code == WEIR_OK);
            outcome.delivered = view.items;
            outcome.rejected_by_upstream = view.items > 3;
            skip_to = view.number + 1;
            block_view_release(&view);
            spool_lane_settle(run->lanes[lane], first, skip_to, &outcome);
        }
        first = skip_to;
    }
    spool_reader_free(reader);
    MUST(spool_sync_state(run->spool, NULL) == WEIR_OK);
}

// The upstream will not take the first request of that block; the rest of it is discarded.
static void reject(struct run *run, size_t lane, uint64_t number)
{
    struct spool_reader *reader = spool_reader_new(run->spool);
    struct block_view view;
    struct weir_err err;
    struct weir_buf raw = {0};
    struct block_entry entry;
    uint64_t skip_to;
    size_t cursor = 0;
    MUST(spool_reader_next(reader, lane_names[lane].signal, number, number + 1, &view, &skip_to, &err) == WEIR_OK);
    MUST(block_view_decode(&view, &raw, &err) == WEIR_OK && block_table_next(&view, &cursor, &entry) == WEIR_OK);
    struct spool_dead_letter letter = {.upstream = lane_names[lane].upstream,
                                       .signal = view.signal,
                                       .code = "INVALID_ARGUMENT",
                                       .message = "m\xc3\xa4\xc3\x9fig",
                                       .attempts = 3,
                                       .block = number,
                                       .items = entry.items,
                                       .received_ns = view.received_first_ns,
                                       .time_min_ns = view.time_min_ns,
                                       .time_max_ns = view.time_max_ns,
                                       .envelope = view.envelope,
                                       .raw = {raw.data, entry.raw_bytes}};
    MUST(spool_dead_letter_put(run->spool, &letter, &err) == WEIR_OK);
    struct spool_outcome outcome = {.dead_lettered = entry.items, .discarded = view.items - entry.items};
    block_view_release(&view);
    spool_lane_settle(run->lanes[lane], number, number + 1, &outcome);
    MUST(spool_sync_state(run->spool, NULL) == WEIR_OK);
    spool_reader_free(reader);
    weir_buf_free(&raw);
}

// A dead letter of central is sent again, and delivered or refused.
static void redrive(struct run *run, uint64_t number, bool delivered)
{
    struct letter_id id = {.block = number, .upstream = "central"}, last;
    struct letter *letter;
    MUST(spool_letter_change(run->spool, LETTERS_REDRIVE, &id, NULL) == WEIR_OK);
    MUST(spool_letter_take(run->spool, "central", NULL, &letter, &last, NULL) == WEIR_OK && last.block == number);
    letter_free(letter);
    int code = delivered ? spool_letter_delivered(run->spool, &id, 1, NULL)
                         : spool_letter_refused(run->spool, &id, "NOT_FOUND", "gone", NULL);
    MUST(code == WEIR_OK);
}

// --- what is in it ------------------------------------------------------------------------------------------------------
static json_t *hex(struct weir_slice bytes)
{
    char text[64] = "";
    MUST(bytes.len < sizeof(text) / 2);
    for (size_t i = 0; i < bytes.len; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes.data[i]);
    return json_string(text);
}

static json_t *checksum(struct weir_slice bytes)
{
    char text[17];
    snprintf(text, sizeof(text), "%016llx", (unsigned long long)format_checksum(bytes.data, bytes.len));
    return json_string(text);
}

static json_t *dump_block(const struct block_view *view)
{
    struct weir_buf raw = {0};
    MUST(block_view_decode(view, &raw, NULL) == WEIR_OK);
    json_t *block = json_pack(
        "{s:I, s:s, s:i, s:I, s:I, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I}", "number", (json_int_t)view->number,
        "signal", weir_signal_name(view->signal), "requests", (int)view->requests, "items", (json_int_t)view->items,
        "raw_bytes", (json_int_t)view->raw_bytes, "envelope", hex(view->envelope), "raw_xxh3",
        checksum((struct weir_slice){raw.data, raw.len}), "received_first_ns", (json_int_t)view->received_first_ns,
        "received_last_ns", (json_int_t)view->received_last_ns, "time_min_ns", (json_int_t)view->time_min_ns,
        "time_max_ns", (json_int_t)view->time_max_ns, "items_before", (json_int_t)view->items_before,
        "raw_bytes_before", (json_int_t)view->raw_bytes_before);
    weir_buf_free(&raw);
    MUST(block != NULL);
    return block;
}

static json_t *dump_blocks(struct spool *spool, uint64_t next)
{
    json_t *blocks = json_array();
    for (uint64_t number = 0; number < next; number++) {
        struct spool_reader *reader = spool_reader_new(spool);
        struct block_view view;
        uint64_t skip_to;
        enum weir_signal signal = (enum weir_signal)(number % WEIR_SIGNALS);
        if (spool_reader_next(reader, signal, number, number + 1, &view, &skip_to, NULL) == WEIR_OK) {
            json_array_append_new(blocks, dump_block(&view));
            block_view_release(&view);
        }
        spool_reader_free(reader);
    }
    return blocks;
}

static json_t *dump_lane(struct spool_lane *lane, const struct lane_name *name)
{
    struct spool_lane_stats s;
    struct spool_interval at[16];
    json_t *intervals = json_array();
    spool_lane_stats_get(lane, &s);
    MUST(s.accepted == s.delivered + s.pending + s.dead_lettered + s.evicted + s.discarded);
    size_t n = spool_lane_intervals(lane, at, WEIR_COUNT(at));
    MUST(n <= WEIR_COUNT(at));
    for (size_t i = 0; i < n; i++)
        json_array_append_new(intervals, json_pack("[I, I]", (json_int_t)at[i].first,
                                                   at[i].end == SPOOL_END ? (json_int_t)-1 : (json_int_t)at[i].end));
    json_t *out = json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "upstream", name->upstream,
        "signal", weir_signal_name(name->signal), "accepted", (json_int_t)s.accepted, "delivered",
        (json_int_t)s.delivered, "pending", (json_int_t)s.pending, "dead_lettered", (json_int_t)s.dead_lettered,
        "evicted", (json_int_t)s.evicted, "discarded", (json_int_t)s.discarded, "rejected_by_upstream",
        (json_int_t)s.rejected_by_upstream, "evicted_full", (json_int_t)s.evicted_by[SPOOL_LOSS_FULL], "evicted_age",
        (json_int_t)s.evicted_by[SPOOL_LOSS_AGE], "evicted_damage", (json_int_t)s.evicted_by[SPOOL_LOSS_DAMAGE],
        "replayed", (json_int_t)s.replayed, "pending_bytes", (json_int_t)s.pending_bytes, "intervals", intervals);
    MUST(out != NULL);
    return out;
}

static void dump_orphan(void *ctx, const char *upstream, enum weir_signal signal, uint64_t pending_items)
{
    json_array_append_new(ctx, json_pack("{s:s, s:s, s:I}", "upstream", upstream, "signal", weir_signal_name(signal),
                                         "pending", (json_int_t)pending_items));
}

static void dump(struct run *run, size_t lanes, uint64_t next)
{
    struct spool_stats stats;
    json_t *list = json_array(), *orphans = json_array();
    spool_stats_get(run->spool, &stats);
    for (size_t i = 0; i < lanes; i++)
        json_array_append_new(list, dump_lane(run->lanes[i], &lane_names[i]));
    spool_orphans(run->spool, dump_orphan, orphans);
    json_t *root =
        json_pack("{s:s, s:I, s:I, s:I, s:I, s:o, s:o, s:o}", "instance", spool_instance(run->spool), "first_block",
                  (json_int_t)stats.first_block, "next_block", (json_int_t)stats.next_block, "dead_letter_requests",
                  (json_int_t)stats.dead_letter_requests, "dead_letter_items", (json_int_t)stats.dead_letter_items,
                  "lanes", list, "orphans", orphans, "blocks", dump_blocks(run->spool, next));
    MUST(root != NULL && json_dumpf(root, stdout, JSON_INDENT(1)) == 0 && putchar('\n') == '\n' && fflush(stdout) == 0);
    json_decref(root);
}

int main(int argc, char **argv)
{
    MUST(argc == 2);
    const char *directory = argv[1];
    char lost[4096];

    struct run run = begin(directory, 0, 0, LANES);
    fill(&run, 0, 10);
    spool_close(run.spool);

    run = begin(directory, 1, 0, LANES);
    fill(&run, 10, 30);
    deliver(&run, CENTRAL_LOGS, 14, 23); // in the middle: two intervals stay
    reject(&run, CENTRAL_LOGS, 10);
    spool_close(run.spool);

    run = begin(directory, 2, 36 * HOUR, LANES); // younger than run 2, older than run 1
    wait_for(&evictions, LANES);
    fill(&run, 30, 40);
    deliver(&run, ARCHIVE_TRACES, 0, 20);
    spool_close(run.spool);

    run = begin(directory, 3, 0, LANES);
    fill(&run, 40, 50);
    spool_close(run.spool);
    snprintf(lost, sizeof(lost), "%s/seg-%020u.mdb", directory, 30u);
    MUST(unlink(lost) == 0);

    run = begin(directory, 4, 0, LANES - 1);
    fill(&run, 50, 60);
    deliver(&run, CENTRAL_TRACES, 10, 50); // so that no lane stands in the file of run 4
    deliver(&run, ARCHIVE_LOGS, 0, 60);
    reject(&run, CENTRAL_TRACES, 56);
    reject(&run, CENTRAL_TRACES, 52);
    redrive(&run, 52, true);
    redrive(&run, 10, false);
    struct letter_id marked = {.block = 56, .upstream = "central"};
    MUST(spool_letter_change(run.spool, LETTERS_REDRIVE, &marked, NULL) == WEIR_OK);
    MUST(spool_note_put(run.spool, "stored", (struct weir_slice){(const uint8_t *)"a note", 6}, true, NULL) == WEIR_OK);
    struct spool_replay replay;
    MUST(spool_lane_replay(run.lanes[ARCHIVE_LOGS], 10, 20, false, &replay, NULL) == WEIR_OK && replay.items > 0);
    MUST(spool_sync_state(run.spool, NULL) == WEIR_OK);
    dump(&run, LANES - 1, 60);
    spool_close(run.spool);
    return 0;
}
