// SPDX-License-Identifier: Apache-2.0
// What is known of origins, in memory, and its way into the spool's notes and back:
//   "origin/until"                    u64: blocks below it are in the notes
//   "origin/INSTANCE/SIGNAL/SCOPE"    u8 version, low, spans (each position u64, u32); hex digits and a number in the key
#include "relay/origins.h"

#include "relay/envelope.h"
#include "relay/log.h"
#include "storage/note.h"
#include "storage/stats.h"

#include <inttypes.h>
#include <pthread.h>
#include <search.h>
#include <sys/queue.h>

#define NOTE_PREFIX    "origin/"
#define NOTE_UNTIL     "origin/until"
#define NOTE_VERSION   1u
#define POSITION_BYTES 12u
#define NOTE_BYTES_MAX (1 + POSITION_BYTES * (1 + 2 * POSITIONS_MAX))
#define READ_TRIES     16u  // of a segment that the disk refuses, until the reader takes it for damaged
#define TICK_BLOCKS    256u // so many may have to be read at a start

struct origin {
    TAILQ_ENTRY(origin) link;
    uint8_t instance[16];
    enum weir_signal signal;
    uint64_t scope;
    bool unsaved; // its note could not be put
    struct origin_claim *claims;
    struct position_set held;
};

struct origins {
    struct spool *spool;
    pthread_mutex_t lock;      // guards what follows
    TAILQ_HEAD(, origin) list; // the one that was not heard of for longest first
    void *tree;                // the same, for tfind
    size_t count;
    uint64_t until;
    bool behind; // a note could not be put: `until` stays
    struct origins_stats stats;
};

// --- the notes --------------------------------------------------------------------------------------------------------------

static void note_key(const struct origin *origin, char key[SPOOL_NOTE_KEY_BYTES])
{
    int n = snprintf(key, SPOOL_NOTE_KEY_BYTES, NOTE_PREFIX);
    for (size_t i = 0; i < sizeof(origin->instance); i++)
        n += snprintf(key + n, SPOOL_NOTE_KEY_BYTES - (size_t)n, "%02x", origin->instance[i]);
    snprintf(key + n, SPOOL_NOTE_KEY_BYTES - (size_t)n, "/%u/%016" PRIx64, (unsigned)origin->signal, origin->scope);
}

static uint8_t *put_position(uint8_t *p, struct position position)
{
    weir_put_u64(p, position.block);
    weir_put_u32(p + 8, position.item);
    return p + POSITION_BYTES;
}

static struct position get_position(const uint8_t *p)
{
    return (struct position){weir_get_u64(p), weir_get_u32(p + 8)};
}

static void tell_unsaved(const struct weir_err *err)
{
    static struct log_limit limit = LOG_LIMIT(10000);
    log_event_limited(
        &limit, LOG_WARN, "origin_unsaved",
        "what was stored of another weir's data cannot be noted: after a restart some may be stored twice",
        LOG_ERR(err));
}

static void save(struct origins *origins, struct origin *origin)
{
    char key[SPOOL_NOTE_KEY_BYTES];
    uint8_t value[NOTE_BYTES_MAX], *p = value;
    struct weir_err err = {0};
    *p++ = NOTE_VERSION;
    p = put_position(p, origin->held.low);
    for (uint32_t i = 0; i < origin->held.n; i++)
        p = put_position(put_position(p, origin->held.at[i].from), origin->held.at[i].to);
    note_key(origin, key);
    int rc = spool_note_put(origins->spool, key, (struct weir_slice){value, (size_t)(p - value)}, false, &err);
    origin->unsaved = rc != WEIR_OK;
    origins->behind = origins->behind || origin->unsaved;
    if (origin->unsaved)
        tell_unsaved(&err);
}

// After the notes of what lies below it.
static void save_until(struct origins *origins, uint64_t until)
{
    uint8_t value[8];
    weir_put_u64(value, until);
    if (until > origins->until && !origins->behind &&
        spool_note_put(origins->spool, NOTE_UNTIL, (struct weir_slice){value, sizeof(value)}, false, NULL) == WEIR_OK)
        origins->until = until;
}

static bool parse_key(const char *key, struct origin *out)
{
    unsigned signal;
    int n = 0;
    key += strlen(NOTE_PREFIX);
    for (size_t i = 0; i < sizeof(out->instance); i++, key += 2) {
        unsigned byte;
        if (sscanf(key, "%2x%n", &byte, &n) != 1 || n != 2)
            return false;
        out->instance[i] = (uint8_t)byte;
    }
    if (sscanf(key, "/%u/%16" SCNx64 "%n", &signal, &out->scope, &n) != 2 || key[n] != '\0' || signal >= WEIR_SIGNALS)
        return false;
    out->signal = (enum weir_signal)signal;
    return true;
}

// --- records ----------------------------------------------------------------------------------------------------------------

static int compare(const void *left, const void *right)
{
    const struct origin *a = left, *b = right;
    if (a->scope != b->scope)
        return a->scope < b->scope ? -1 : 1;
    if (a->signal != b->signal)
        return a->signal < b->signal ? -1 : 1;
    return memcmp(a->instance, b->instance, sizeof(a->instance));
}

static void remove_one(struct origins *origins, struct origin *origin)
{
    assert(origin->claims == NULL);
    tdelete(origin, &origins->tree, compare);
    TAILQ_REMOVE(&origins->list, origin, link);
    origins->count--;
    positions_free(&origin->held);
    free(origin);
}

// One that is not there yet. Takes over what `from` has. NULL: no memory, and nothing was taken.
static struct origin *add_one(struct origins *origins, const struct origin *from)
{
    struct origin *origin = malloc(sizeof(*origin)), **place;
    if (origin == NULL)
        return NULL;
    *origin = *from;
    if ((place = tsearch(origin, &origins->tree, compare)) == NULL) {
        free(origin);
        return NULL;
    }
    assert(*place == origin);
    TAILQ_INSERT_TAIL(&origins->list, origin, link);
    origins->count++;
    return origin;
}

// Makes room for one more at the cost of the one that was not heard of for longest. False: all of them are busy.
static bool forget_one(struct origins *origins)
{
    char key[SPOOL_NOTE_KEY_BYTES];
    struct origin *oldest;
    TAILQ_FOREACH (oldest, &origins->list, link) {
        if (oldest->claims == NULL)
            break;
    }
    if (oldest == NULL)
        return false;
    note_key(oldest, key);
    spool_note_remove(origins->spool, key, false,
                      NULL); // one that stays is forgotten at the next start, or known again: both are sound
    remove_one(origins, oldest);
    origins->stats.forgotten++;
    return true;
}

// NULL: no room.
static struct origin *find_or_make(struct origins *origins, const struct handoff *handoff)
{
    struct origin wanted = {.signal = handoff->signal, .scope = handoff->scope};
    memcpy(wanted.instance, handoff->instance, sizeof(wanted.instance));
    struct origin **found = tfind(&wanted, &origins->tree, compare);
    if (found != NULL) {
        TAILQ_REMOVE(&origins->list, *found, link);
        TAILQ_INSERT_TAIL(&origins->list, *found, link);
        return *found;
    }
    return origins->count < ORIGINS_MAX || forget_one(origins) ? add_one(origins, &wanted) : NULL;
}

static void hold(struct origins *origins, struct origin *origin, const struct handoff *handoff)
{
    positions_pass(&origin->held, (struct position){handoff->low, 0});
    if (!positions_add(&origin->held, handoff->span))
        origins->stats.forgotten++;
}

// --- requests ---------------------------------------------------------------------------------------------------------------

static enum origins_answer judge(const struct origin *origin, const struct handoff *handoff)
{
    for (const struct origin_claim *claim = origin->claims; claim != NULL; claim = claim->next)
        if (position_spans_meet(&claim->handoff.span, &handoff->span))
            return ORIGINS_BUSY;
    switch (positions_look(&origin->held, handoff->span)) {
    case POSITIONS_ALL:
        return ORIGINS_HELD;
    case POSITIONS_PART:
        return ORIGINS_PART;
    case POSITIONS_NONE:
        break;
    }
    return ORIGINS_TAKE;
}

enum origins_answer origins_claim(struct origins *origins, const struct handoff *handoff, struct origin_claim *claim,
                                  struct position *same_to)
{
    enum origins_answer answer = ORIGINS_TAKE;
    pthread_mutex_lock(&origins->lock);
    struct origin *origin = find_or_make(origins, handoff);
    if (origin != NULL) {
        positions_pass(&origin->held, (struct position){handoff->low, 0});
        answer = judge(origin, handoff);
        origins->stats.repeats += answer == ORIGINS_HELD;
        origins->stats.parts += answer == ORIGINS_PART;
        if (answer == ORIGINS_PART)
            *same_to = positions_change(&origin->held, handoff->span);
    }
    if (origin != NULL && answer == ORIGINS_TAKE) {
        *claim = (struct origin_claim){.origin = origin, .next = origin->claims, .link = &origin->claims};
        claim->handoff = *handoff;
        if (claim->next != NULL)
            claim->next->link = &claim->next;
        origin->claims = claim;
    }
    pthread_mutex_unlock(&origins->lock);
    return answer;
}

static void unlink_claim(struct origin_claim *claim)
{
    *claim->link = claim->next;
    if (claim->next != NULL)
        claim->next->link = claim->link;
    claim->origin = NULL;
}

void origins_stored(struct origins *origins, struct origin_claim *claim, uint64_t number)
{
    pthread_mutex_lock(&origins->lock);
    struct origin *origin = claim->origin;
    assert(origin != NULL);
    unlink_claim(claim);
    hold(origins, origin, &claim->handoff);
    save(origins, origin);
    save_until(origins, number + 1);
    pthread_mutex_unlock(&origins->lock);
}

void origins_release(struct origins *origins, struct origin_claim *claim)
{
    if (claim->origin == NULL)
        return;
    pthread_mutex_lock(&origins->lock);
    unlink_claim(claim);
    pthread_mutex_unlock(&origins->lock);
}

void origins_tick(struct origins *origins)
{
    struct spool_stats stats;
    spool_stats_get(origins->spool,
                    &stats); // before the notes are looked at: what is below is in them, or could not be put
    pthread_mutex_lock(&origins->lock);
    origins->behind = false;
    struct origin *origin;
    TAILQ_FOREACH (origin, &origins->list, link) {
        if (origin->unsaved)
            save(origins, origin);
    }
    if (stats.next_block >= origins->until + TICK_BLOCKS)
        save_until(origins, stats.next_block);
    pthread_mutex_unlock(&origins->lock);
}

void origins_stats_get(struct origins *origins, struct origins_stats *out)
{
    pthread_mutex_lock(&origins->lock);
    *out = origins->stats;
    out->scopes = origins->count;
    pthread_mutex_unlock(&origins->lock);
}

// --- life -------------------------------------------------------------------------------------------------------------------

static int load_note(void *ctx, const char *key, struct weir_slice value, struct weir_err *err)
{
    struct origins *origins = ctx;
    struct origin read = {0};
    struct position_span at[POSITIONS_MAX];
    if (strcmp(key, NOTE_UNTIL) == 0) {
        origins->until = value.len == 8 ? weir_get_u64(value.data) : 0;
        return WEIR_OK;
    }
    // One that cannot be read is as if it had been forgotten: a newer weir's, too.
    size_t spans = value.len < 1 + POSITION_BYTES ? 0 : (value.len - 1 - POSITION_BYTES) / (2 * POSITION_BYTES);
    if (!parse_key(key, &read) || value.len != 1 + POSITION_BYTES * (1 + 2 * spans) || spans > POSITIONS_MAX ||
        value.data[0] != NOTE_VERSION || origins->count == ORIGINS_MAX)
        return WEIR_OK;
    const uint8_t *p = value.data + 1;
    struct position low = get_position(p);
    p += POSITION_BYTES;
    for (size_t i = 0; i < spans; i++, p += 2 * POSITION_BYTES)
        at[i] = (struct position_span){get_position(p), get_position(p + POSITION_BYTES)};
    if (!positions_set(&read.held, low, at, (uint32_t)spans))
        return weir_fail(err, WEIR_E_NOMEM, "out of memory");
    bool wanted = positions_sane(&read.held) && tfind(&read, &origins->tree, compare) == NULL;
    if (wanted && add_one(origins, &read) != NULL)
        return WEIR_OK;
    positions_free(&read.held);
    return wanted ? weir_fail(err, WEIR_E_NOMEM, "out of memory") : WEIR_OK;
}

static int take_block(struct origins *origins, const struct block_view *view, struct weir_err *err)
{
    struct envelope envelope;
    struct handoff handoff;
    if (view->envelope.len == 0 || envelope_decode(view->envelope, &envelope, NULL) != WEIR_OK ||
        !handoff_get(envelope.handoff, view->signal, &handoff))
        return WEIR_OK;
    struct origin *origin = find_or_make(origins, &handoff);
    if (origin == NULL)
        return weir_fail(err, WEIR_E_NOMEM, "out of memory");
    hold(origins, origin, &handoff);
    origin->unsaved = origins->behind = true;
    return WEIR_OK;
}

// What was stored since the notes were put.
static int catch_up(struct origins *origins, struct spool_reader *reader, enum weir_signal signal, struct weir_err *err)
{
    uint64_t from = origins->until, skip_to = 0;
    unsigned tries = READ_TRIES;
    struct weir_err why = {0};
    int rc = WEIR_OK;
    while (rc == WEIR_OK) {
        struct block_view view;
        rc = spool_reader_next(reader, signal, from, SPOOL_END, &view, &skip_to, &why);
        if (rc == WEIR_OK) {
            from = view.number + 1;
            rc = take_block(origins, &view, &why);
            block_view_release(&view);
        } else if (rc == WEIR_E_CORRUPT &&
                   skip_to > from) { // lost here with its data: what the origin sends of it again is stored
            from = skip_to;
            rc = WEIR_OK;
        } else if (rc == WEIR_E_IO && --tries > 0) {
            rc = WEIR_OK;
        }
    }
    if (rc == WEIR_E_NOMEM)
        return weir_fail(err, rc, "%.400s", why.text);
    if (rc != WEIR_E_AGAIN)
        log_event(LOG_WARN, "origins_unread",
                  "what other weirs sent last cannot be read: what they send of it again is stored again",
                  LOG_STR("signal", weir_signal_name(signal)), LOG_U64("from_block", from), LOG_ERR(&why));
    return WEIR_OK;
}

int origins_open(struct spool *spool, struct origins **out, struct weir_err *err)
{
    struct origins *origins = calloc(1, sizeof(*origins));
    struct spool_reader *reader = spool_reader_new(spool);
    struct spool_stats stats;
    struct weir_buf none = {0};
    int rc = origins == NULL || reader == NULL ? weir_fail(err, WEIR_E_NOMEM, "out of memory") : WEIR_OK;
    if (rc == WEIR_OK) {
        origins->spool = spool;
        pthread_mutex_init(&origins->lock, NULL);
        TAILQ_INIT(&origins->list);
        spool_stats_get(spool, &stats);
        // Nobody has put any yet: there is nothing of an origin in this spool, however much there is.
        if (spool_note_get(spool, NOTE_UNTIL, &none, NULL) == WEIR_E_NOT_FOUND)
            origins->until = stats.next_block;
        rc = spool_notes_each(spool, NOTE_PREFIX, load_note, origins, err);
        if (origins->until > stats.next_block) // the last segment was lost: its numbers come again
            origins->until = stats.next_block;
    }
    for (int signal = 0; signal < WEIR_SIGNALS && rc == WEIR_OK; signal++)
        rc = catch_up(origins, reader, (enum weir_signal)signal, err);
    if (rc == WEIR_OK) {
        uint8_t value[8];
        weir_put_u64(value, origins->until);
        // Durable before the first request is taken: see above.
        rc = spool_note_put(spool, NOTE_UNTIL, (struct weir_slice){value, sizeof(value)}, true, err);
        origins_tick(origins);
    }
    weir_buf_free(&none);
    spool_reader_free(reader);
    if (rc == WEIR_OK)
        *out = origins;
    else
        origins_close(origins);
    return rc == WEIR_OK ? WEIR_OK : weir_wrap(err, "origins");
}

void origins_close(struct origins *origins)
{
    if (origins == NULL)
        return;
    while (!TAILQ_EMPTY(&origins->list))
        remove_one(origins, TAILQ_FIRST(&origins->list));
    pthread_mutex_destroy(&origins->lock);
    free(origins);
}
