// SPDX-License-Identifier: Apache-2.0
#include "relay/spool_events.h"

#include "relay/log.h"
#include "relay/status.h"

#include <pthread.h>
#include <stdio.h>

#define KINDS_MAX      1024 // of lanes × reasons, and files; what is beyond is only counted
#define SUM_NAME_BYTES 256

// The sum of equal events since the last line about them.
struct sum {
    struct sum *next;
    enum spool_event_kind kind;
    char name[SUM_NAME_BYTES]; // the upstream, or the file
    enum weir_signal signal;
    enum spool_loss loss;
    uint64_t events, items; // events 0: told, kept for its gap
    uint64_t first, end;
    uint64_t received_first_ns, received_last_ns;
    char text[512];
    uint64_t due_ns, gap_ns; // no line before due_ns
};

struct spool_events {
    pthread_mutex_t lock; // never held while something is written
    struct sum *sums;
    size_t count;
    uint64_t untold; // events that found no place
};

const char *spool_loss_name(enum spool_loss loss)
{
    static const char *const names[SPOOL_LOSSES] = {"full", "age", "damage", "dead_letters_full"};
    assert((unsigned)loss < SPOOL_LOSSES);
    return names[loss];
}

struct spool_events *spool_events_new(void)
{
    struct spool_events *events = calloc(1, sizeof(*events));
    if (events != NULL)
        pthread_mutex_init(&events->lock, NULL);
    return events;
}

void spool_events_free(struct spool_events *events)
{
    if (events == NULL)
        return;
    for (struct sum *sum = events->sums, *next; sum != NULL; sum = next) {
        next = sum->next;
        free(sum);
    }
    pthread_mutex_destroy(&events->lock);
    free(events);
}

// --- taking -----------------------------------------------------------------------------------------------------------------

static struct sum key_of(const struct spool_event *event)
{
    struct sum key = {.kind = event->kind};
    if (event->kind == SPOOL_EVENT_EVICTED) {
        snprintf(key.name, sizeof(key.name), "%s", event->upstream != NULL ? event->upstream : "");
        key.signal = event->signal;
        key.loss = event->loss;
        return key;
    }
    // A damaged file is told by its name, which begins the text.
    const char *text = event->text != NULL ? event->text : "";
    if (event->kind == SPOOL_EVENT_DAMAGED)
        snprintf(key.name, sizeof(key.name), "%.*s", (int)strcspn(text, ": "), text);
    snprintf(key.text, sizeof(key.text), "%s", text);
    return key;
}

// Under the lock.
static struct sum *find_or_add(struct spool_events *events, const struct sum *key)
{
    struct sum **at = &events->sums;
    for (; *at != NULL; at = &(*at)->next) {
        const struct sum *sum = *at;
        if (sum->kind == key->kind && sum->signal == key->signal && sum->loss == key->loss &&
            strcmp(sum->name, key->name) == 0)
            return *at;
    }
    if (events->count == KINDS_MAX || (*at = malloc(sizeof(**at))) == NULL)
        return NULL;
    **at = *key;
    events->count++;
    return *at;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

void spool_events_take(struct spool_events *events, const struct spool_event *event)
{
    struct sum key = key_of(event);
    pthread_mutex_lock(&events->lock);
    struct sum *sum = find_or_add(events, &key);
    if (sum == NULL) {
        events->untold++;
    } else {
        if (sum->events++ == 0) { // the first since the last line
            sum->first = event->first;
            memcpy(sum->text, key.text, sizeof(sum->text));
        }
        sum->items += event->items;
        sum->first = event->first < sum->first ? event->first : sum->first;
        sum->end = event->end > sum->end ? event->end : sum->end;
        sum->received_first_ns = earlier(sum->received_first_ns, event->received_first_ns);
        if (event->received_last_ns > sum->received_last_ns)
            sum->received_last_ns = event->received_last_ns;
    }
    pthread_mutex_unlock(&events->lock);
}

// --- telling ----------------------------------------------------------------------------------------------------------------

static void grow_gap(struct sum *sum, uint64_t now_ns)
{
    sum->gap_ns = sum->gap_ns == 0 ? SPOOL_EVENTS_GAP_MIN_NS : 2 * sum->gap_ns;
    if (sum->gap_ns > SPOOL_EVENTS_GAP_MAX_NS)
        sum->gap_ns = SPOOL_EVENTS_GAP_MAX_NS;
    sum->due_ns = now_ns + sum->gap_ns;
}

// Copies the first sum that is due, which is empty then; forgets those that nothing was added to for their gap. False: none.
static bool next_due(struct spool_events *events, uint64_t now_ns, bool all, struct sum *out)
{
    bool found = false;
    pthread_mutex_lock(&events->lock);
    for (struct sum **at = &events->sums; *at != NULL && !found;) {
        struct sum *sum = *at;
        bool due = now_ns >= sum->due_ns || all;
        if (due && sum->events > 0) {
            *out = *sum;
            found = true;
            sum->events = sum->items = sum->end = 0;
            sum->received_first_ns = sum->received_last_ns = 0;
            grow_gap(sum, now_ns);
        } else if (due && now_ns >= sum->due_ns) {
            *at = sum->next;
            events->count--;
            free(sum);
            continue;
        }
        at = &sum->next;
    }
    pthread_mutex_unlock(&events->lock);
    return found;
}

static void tell_evicted(const struct sum *sum)
{
    static const char *const messages[SPOOL_LOSSES] = {
        [SPOOL_LOSS_FULL] = "undelivered data went to make room: it is counted as evicted",
        [SPOOL_LOSS_AGE] = "undelivered data was older than spool.max_age and went: it is counted as evicted",
        [SPOOL_LOSS_DAMAGE] = "stored data cannot be read any more: it is counted as evicted",
        [SPOOL_LOSS_LETTERS] =
            "dead letters went to make room for newer ones (dead_letters.max_size): they are counted as evicted",
    };
    char from[STATUS_TIME_LEN] = "", to[STATUS_TIME_LEN] = "";
    if (sum->received_first_ns != 0)
        status_time_format(sum->received_first_ns, from);
    if (sum->received_last_ns != 0)
        status_time_format(sum->received_last_ns, to);
    log_event(sum->loss == SPOOL_LOSS_DAMAGE ? LOG_ERROR : LOG_WARN, "spool_evicted", messages[sum->loss],
              LOG_STR("upstream", sum->name), LOG_STR("signal", weir_signal_name(sum->signal)),
              LOG_STR("reason", spool_loss_name(sum->loss)), LOG_U64("items", sum->items),
              LOG_U64("first_block", sum->first), LOG_U64("end_block", sum->end), LOG_STR("received_first", from),
              LOG_STR("received_last", to));
}

static void tell_damaged(const struct sum *sum)
{
    log_event(LOG_ERROR, "spool_damaged", "a file of the spool is damaged", LOG_STR("file", sum->name),
              LOG_STR("error", sum->text), LOG_U64("first_block", sum->first), LOG_U64("end_block", sum->end),
              LOG_U64("found", sum->events));
}

void spool_events_tell_forgotten(const struct spool_event *event)
{
    log_event(LOG_WARN, "lane_forgotten",
              "a removed upstream of which nothing is left made room for another: its counts end here",
              LOG_STR("upstream", event->upstream), LOG_STR("signal", weir_signal_name(event->signal)),
              LOG_STR("counts", event->text));
}

void spool_events_tell(struct spool_events *events, uint64_t now_ns, bool all)
{
    struct sum sum;
    while (next_due(events, now_ns, all, &sum)) {
        if (sum.kind == SPOOL_EVENT_EVICTED)
            tell_evicted(&sum);
        else if (sum.kind == SPOOL_EVENT_DAMAGED)
            tell_damaged(&sum);
        else
            log_event(LOG_WARN, "clock_set", "spool.max_age goes by a clock that was set", LOG_STR("reason", sum.text),
                      LOG_U64("found", sum.events));
    }
    pthread_mutex_lock(&events->lock);
    uint64_t untold = events->untold;
    events->untold = 0;
    pthread_mutex_unlock(&events->lock);
    if (untold > 0)
        log_event(LOG_ERROR, "spool_events_untold", "more was evicted or damaged than could be told one by one",
                  LOG_U64("events", untold));
}
