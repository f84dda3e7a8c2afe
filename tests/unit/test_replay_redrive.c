// SPDX-License-Identifier: Apache-2.0
// Dead letters that are sent again: delivered, refused again, put off, across restarts of the worker.
#include "relay/envelope.h"
#include "storage/letters.h"
#include "tests/unit/replay_rig.h"

#include <sys/mman.h>

#define MINUTE_MS 60000u
#define HOUR_NS   UINT64_C(3600000000000)

static const struct letter_filter everything = {.signal = -1};

static atomic_int status_now;       // of every answer
static atomic_long service_time_ns; // it takes

static struct rig_answer answer_now(struct replay_rig *rig, const struct rig_seen *seen)
{
    (void)rig;
    (void)seen;
    const struct timespec service = {.tv_nsec = atomic_load(&service_time_ns)};
    nanosleep(&service, NULL);
    return (struct rig_answer){.status = atomic_load(&status_now), .message = "because"};
}

// `n` requests of one id each that were too old: n letters of two items, in traces and metrics by turns.
static struct replay_rig *with_letters(unsigned n, const char *headers)
{
    struct replay_rig *rig =
        rig_new((struct config_upstream){.max_data_age_ms = MINUTE_MS, .max_request_size_bytes = 1000});
    struct weir_slice envelope = {(const uint8_t *)headers, headers != NULL ? strlen(headers) : 0};
    atomic_store(&status_now, 0);
    rig->decide = answer_now;
    rig->age_ns = HOUR_NS;
    for (unsigned i = 0; i < n; i++)
        rig_append_in(rig, i % 2 == 0 ? WEIR_TRACES : WEIR_METRICS, envelope, i, 1, 600);
    rig->age_ns = 0;
    rig_start(rig);
    RIG_DRAINED(rig, WEIR_TRACES);
    RIG_DRAINED(rig, WEIR_METRICS);
    cr_assert_eq(rig_seen_count(rig), 0);
    return rig;
}

static void mark_all(struct replay_rig *rig, uint64_t expected)
{
    struct letters_walked walked;
    cr_assert_eq(spool_letters_change(rig->spool, LETTERS_REDRIVE, &everything, NULL, &walked, NULL), WEIR_OK);
    cr_assert_eq(walked.letters, expected);
    cr_assert_eq(walked.more, false);
    replay_redrive(atomic_load(&rig->replay));
}

static uint64_t sum_of(struct replay_rig *rig, size_t column)
{
    struct spool_lane_stats a = rig_ledger(rig, WEIR_TRACES), b = rig_ledger(rig, WEIR_METRICS);
    return *(uint64_t *)((char *)&a + column) + *(uint64_t *)((char *)&b + column);
}
#define SUM(rig, column) sum_of(rig, offsetof(struct spool_lane_stats, column))

Test(replay_redrive, delivers_exactly_what_is_marked)
{
    struct replay_rig *rig = with_letters(20, "\x02\x03x-t\x03one");
    cr_expect_eq(SUM(rig, dead_lettered), 40);
    mark_all(rig, 20);
    KIT_UNTIL(SUM(rig, dead_lettered) == 0);
    cr_expect_eq(SUM(rig, delivered), 40);
    rig_expect_each_once(rig, 20);
    pthread_mutex_lock(&rig->lock);
    for (int i = 0; i < rig->seen_count; i++) {
        cr_expect_str_eq(rig->seen[i].kept, "x-t=one ");
        cr_expect_not_null(strstr(rig->seen[i].batch, "/letter-0"), "%s", rig->seen[i].batch);
    }
    pthread_mutex_unlock(&rig->lock);
    struct spool_stats stats;
    spool_stats_get(rig->spool, &stats);
    cr_expect_eq(stats.dead_letter_requests, 0);
    rig_append(rig, WEIR_LOGS, 400, 1, 100); // and live data goes on
    RIG_DRAINED(rig, WEIR_LOGS);
    rig_free(rig);
}

static void see(void *ctx, const struct letter_info *info)
{
    struct letter_info *out = ctx;
    *out = *info;
    cr_expect(info->code.len == 16 && memcmp(info->code.data, "INVALID_ARGUMENT", 16) == 0);
    cr_expect_eq(info->redrives, 1);
    cr_expect_not(info->redrive);
}

Test(replay_redrive, what_is_refused_again_stays_with_the_new_reason)
{
    struct replay_rig *rig = with_letters(5, NULL);
    atomic_store(&status_now, 3);
    mark_all(rig, 5);
    KIT_UNTIL(rig_seen_count(rig) == 5 && spool_letters_marked(rig->spool, "up") == 0);
    cr_expect_eq(SUM(rig, dead_lettered), 10);
    cr_expect_eq(SUM(rig, delivered), 0);
    struct letters_walked walked;
    struct letter_info info;
    cr_assert_eq(spool_letters_list(rig->spool, &everything, NULL, 10, see, &info, &walked, NULL), WEIR_OK);
    cr_expect_eq(walked.letters, 5);
    atomic_store(&status_now, 0); // mended
    mark_all(rig, 5);
    KIT_UNTIL(SUM(rig, dead_lettered) == 0);
    cr_expect_eq(SUM(rig, delivered), 10);
    rig_expect_each_once(rig, 5);
    rig_free(rig);
}

Test(replay_redrive, what_is_put_off_goes_later_across_restarts)
{
    struct replay_rig *rig = with_letters(6, NULL);
    atomic_store(&status_now, 14);
    mark_all(rig, 6);
    KIT_UNTIL(rig_seen_count(rig) >= 3);
    for (unsigned i = 0; i < 3; i++) {
        int seen = rig_seen_count(rig);
        rig_end_replay(rig);
        cr_expect_eq(spool_letters_marked(rig->spool, "up"), 6);
        rig_new_replay(rig);
        rig_start(rig);
        KIT_UNTIL(rig_seen_count(rig) > seen);
    }
    cr_expect_eq(SUM(rig, dead_lettered), 12);
    atomic_store(&status_now, 0);
    KIT_UNTIL(SUM(rig, dead_lettered) == 0);
    cr_expect_eq(SUM(rig, delivered), 12);
    rig_expect_each_once(rig, 6);
    rig_free(rig);
}

// What is said of a letter in the spool's file, of whichever version of its page.
static void damage_letter(struct replay_rig *rig, uint64_t block)
{
    char path[256];
    uint8_t number[8];
    struct stat st;
    snprintf(path, sizeof(path), "%s/deadletter.mdb", rig->directory);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    cr_assert(fd >= 0 && fstat(fd, &st) == 0);
    uint8_t *file = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *at = file;
    cr_assert_neq(file, MAP_FAILED);
    weir_put_u64(number, block);
    unsigned damaged = 0;
    for (size_t left = (size_t)st.st_size; (at = memmem(at, left, "WDLT", 4)) != NULL; at++) {
        left = (size_t)(file + st.st_size - at) - 1;
        if (left < 200 || memcmp(at + 16, number, 8) != 0)
            continue;
        at[150] ^= 1; // in its texts
        damaged++;
    }
    munmap(file, (size_t)st.st_size);
    close(fd);
    cr_assert_gt(damaged, 0);
}

Test(replay_redrive, a_damaged_one_does_not_keep_the_others_out)
{
    struct replay_rig *rig = with_letters(4, NULL);
    damage_letter(rig, 1);
    mark_all(rig, 4);
    KIT_UNTIL(SUM(rig, dead_lettered) == 2);
    cr_expect_eq(SUM(rig, delivered), 6);
    KIT_UNTIL(spool_letters_marked(rig->spool, "up") == 0);
    cr_expect_eq(rig_seen_count(rig), 3);
    rig_free(rig);
}

// A letter that waits for an upstream which is away is not being sent: it can be given up.
Test(replay_redrive, what_waits_can_be_purged)
{
    struct replay_rig *rig = with_letters(4, NULL);
    struct letters_walked walked;
    rig_end_replay(rig);
    rig->upstream.retry.initial_ms = rig->upstream.retry.max_ms = 10 * MINUTE_MS;
    rig_new_replay(rig);
    rig_start(rig);
    atomic_store(&status_now, 14);
    mark_all(rig, 4);
    KIT_UNTIL(rig_seen_count(rig) >= 1);
    KIT_UNTIL(spool_letters_change(rig->spool, LETTERS_PURGE, &everything, NULL, &walked, NULL) == WEIR_OK &&
              SUM(rig, dead_lettered) == 0);
    cr_expect_eq(SUM(rig, discarded), 8);
    rig_free(rig);
}

static struct rig_answer answer_but_one(struct replay_rig *rig, const struct rig_seen *seen)
{
    (void)rig;
    return (struct rig_answer){.hold = strstr(seen->batch, "/0-0/letter-0") != NULL};
}

// After a letter that an upstream does not survive others go first, live data before all.
Test(replay_redrive, one_without_an_answer_does_not_keep_others_out)
{
    struct replay_rig *rig = with_letters(2, NULL);
    rig_end_replay(rig);
    rig->decide = answer_but_one;
    rig->upstream.timeout_ms = 50;
    rig->upstream.retry.initial_ms = rig->upstream.retry.max_ms = 2500;
    rig_new_replay(rig);
    rig_start(rig);
    mark_all(rig, 2);
    KIT_UNTIL(rig_seen_count(rig) >= 1);
    rig_append(rig, WEIR_LOGS, 400, 1, 100);
    RIG_DRAINED(rig, WEIR_LOGS);
    KIT_UNTIL(SUM(rig, dead_lettered) == 2);
    pthread_mutex_lock(&rig->lock);
    cr_expect_eq(rig->seen[0].signal, WEIR_TRACES);
    cr_expect_eq(rig->seen[1].signal, WEIR_LOGS);
    cr_expect_eq(rig->seen[2].signal, WEIR_METRICS);
    pthread_mutex_unlock(&rig->lock);
    rig_free(rig);
}

// While live data never ends, a letter gets its turn.
Test(replay_redrive, live_data_does_not_keep_letters_out)
{
    struct replay_rig *rig = with_letters(1, NULL);
    unsigned id = 1;
    atomic_store(&service_time_ns, 5 * 1000000); // so that data does not run out before the letter's patience does
    for (; id < 16; id++)
        rig_append(rig, WEIR_TRACES, id, 1, 900);
    mark_all(rig, 1);
    for (; SUM(rig, dead_lettered) > 0; id++) {
        cr_assert_lt(id, RIG_IDS_MAX);
        KIT_UNTIL(rig_ledger(rig, WEIR_TRACES).pending < 16);
        rig_append(rig, WEIR_TRACES, id, 1, 900);
    }
    RIG_DRAINED(rig, WEIR_TRACES);
    rig_expect_each_once(rig, id);
    rig_free(rig);
}
