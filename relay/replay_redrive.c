// SPDX-License-Identifier: Apache-2.0
// Dead letters that a person wants sent again: one at a time, after what the lanes have to send in a turn, but before it when a letter has
// waited for a moment, so that live data does not keep them out for ever. The mark lies in the spool: a restart goes on with what is marked.
#include "relay/replay_priv.h"

#include "proto/otlp_split.h"
#include "relay/log.h"

#define LOOK_NS    1000000000ull // between two looks that find nothing to send
#define PATIENT_NS 1000000000ull // so long it lets the lanes go first

static void let_go(struct redrive *r, bool next)
{
    letter_free(r->letter);
    weir_buf_free(&r->raw);
    r->letter = NULL;
    r->progressed = r->progressed || next;
    r->tries = next ? 0 : r->tries;
}

// Nothing is marked behind `after`: from the beginning again.
static void wrap(struct replay *replay, uint64_t now_ns)
{
    struct redrive *r = &replay->redrive;
    r->look_ns = r->progressed ? now_ns : now_ns + LOOK_NS;
    r->progressed = r->has_after = false;
    r->some = spool_letters_marked(replay->spool, replay->upstream->name) > 0;
}

// One that cannot be read: it stays, and is not tried again before a person asks for it.
static void skip_damaged(struct replay *replay, const struct letter_id *id, const struct weir_err *err)
{
    char text[LETTER_ID_TEXT];
    static struct log_limit limit = LOG_LIMIT(1000);
    spool_letter_refused(replay->spool, id, "UNREADABLE", err->text, NULL);
    replay->redrive.after = *id;
    replay->redrive.has_after = true;
    log_event_limited(&limit, LOG_ERROR, "redrive_failed", "a dead letter is damaged: it stays",
                      LOG_STR("upstream", replay->upstream->name), LOG_STR("id", letter_id_format(id, text)),
                      LOG_ERR(err));
}

// Takes the next letter, but does not hold it: until it is sent it can be purged, or go for newer ones. False: there is none now.
static bool take(struct replay *replay, uint64_t now_ns)
{
    struct redrive *r = &replay->redrive;
    struct weir_err err = {0};
    if (r->letter != NULL)
        return true;
    if (atomic_exchange(&r->news, false)) {
        r->some = true;
        r->look_ns = 0;
    }
    if (!r->some || now_ns < r->look_ns)
        return false;
    struct letter_id last;
    int rc = spool_letter_take(replay->spool, replay->upstream->name, r->has_after ? &r->after : NULL, &r->letter,
                               &last, &err);
    if (rc == WEIR_E_NOT_FOUND) {
        wrap(replay, now_ns);
    } else if (rc == WEIR_OK || rc == WEIR_E_AGAIN) {
        r->after = last;
        r->has_after = true;
        r->taken_ns = now_ns;
        if (rc == WEIR_OK)
            spool_letter_back(replay->spool, &last);
    } else if (rc == WEIR_E_CORRUPT && last.upstream[0] != '\0') {
        skip_damaged(replay, &last, &err);
    } else {
        static struct log_limit limit = LOG_LIMIT(10000);
        log_event_limited(&limit, LOG_ERROR, "redrive_failed", "the dead letters cannot be read",
                          LOG_STR("upstream", replay->upstream->name), LOG_ERR(&err));
        r->look_ns = now_ns + LOOK_NS;
    }
    return rc == WEIR_OK;
}

static void fail_here(struct replay *replay)
{
    struct backoff_policy policy = replay_policy(replay);
    backoff_fail(&replay->redrive.backoff, &policy, 0, replay_random(replay), weir_now_ns());
}

// It stays a dead letter, with that reason.
static void refuse(struct replay *replay, const char *code, const char *message)
{
    struct redrive *r = &replay->redrive;
    const struct letter_info *info = letter_info_of(r->letter);
    char id[LETTER_ID_TEXT];
    struct weir_err err = {0};
    static struct log_limit limit = LOG_LIMIT(1000);
    int rc = spool_letter_refused(replay->spool, &info->id, code, message, &err);
    if (rc == WEIR_OK || rc == WEIR_E_NOT_FOUND || rc == WEIR_E_AGAIN) {
        log_event_limited(&limit, LOG_WARN, "redrive_refused",
                          "a dead letter that was sent again was refused again: it stays",
                          LOG_STR("upstream", replay->upstream->name), LOG_STR("id", letter_id_format(&info->id, id)),
                          LOG_STR("code", code), LOG_STR("message", message));
    } else {
        log_event_limited(&limit, LOG_ERROR, "redrive_failed",
                          "the dead letters cannot be written: what was refused again is sent again",
                          LOG_STR("upstream", replay->upstream->name), LOG_ERR(&err));
        fail_here(replay);
    }
    let_go(r, true);
}

// Several items that were refused together: as two letters, so that those which the upstream takes get there. False: it stays as it is.
static bool halve(struct replay *replay, const struct verdict *verdict)
{
    struct redrive *r = &replay->redrive;
    const struct letter_info *info = letter_info_of(r->letter);
    struct weir_slice raw = {r->raw.data, r->raw.len};
    struct weir_buf halves[2] = {{0}};
    struct spool_dead_letter parts[2];
    uint64_t items;
    if (info->items < 2 || otlp_split_count(info->signal, raw, &items, NULL) != WEIR_OK || items != info->items)
        return false;
    uint64_t cut = otlp_split_boundary(info->signal, raw, items / 2, items / 4);
    cut = cut > 0 && cut < items ? cut : items / 2;
    bool good = true;
    for (unsigned i = 0; i < 2 && good; i++) {
        good = otlp_split_part(info->signal, raw, i * cut, i == 0 ? cut : items, &halves[i], NULL) == WEIR_OK;
        parts[i] = (struct spool_dead_letter){.upstream = info->id.upstream,
                                              .signal = info->signal,
                                              .code = verdict->code,
                                              .message = verdict->message,
                                              .attempts = info->attempts + 1,
                                              .block = info->id.block,
                                              .item = info->id.item + i * cut,
                                              .items = i == 0 ? cut : items - cut,
                                              .received_ns = info->received_ns,
                                              .envelope = info->envelope,
                                              .raw = {halves[i].data, halves[i].len}};
        letter_find_times(&parts[i]);
    }
    good = good && spool_letter_split(replay->spool, &info->id, parts, NULL) == WEIR_OK;
    weir_buf_free(&halves[0]);
    weir_buf_free(&halves[1]);
    if (good)
        let_go(r, true);
    r->has_after = r->has_after && !good; // the first of them is next
    return good;
}

static struct export *make_export(struct replay *replay, const struct letter_info *info)
{
    struct export *export = export_new(&replay->lanes[info->signal]);
    if (export == NULL)
        return NULL;
    export->letter = true;
    export->letter_item = info->id.item;
    export->items = info->items;
    export->raw_bytes = replay->redrive.raw.len;
    export->first = info->id.block;
    export->end = info->id.block + 1;
    export->oldest_received_ns = info->received_ns;
    export->views[0] = (struct block_view){.number = info->id.block, .envelope = info->envelope}; // nothing to release
    return export;
}

static void send_letter(struct replay *replay)
{
    struct redrive *r = &replay->redrive;
    const struct letter_info *info = letter_info_of(r->letter);
    struct weir_err err = {0};
    r->raw.len = 0;
    if (spool_letter_hold(replay->spool, r->letter, &err) != WEIR_OK) { // it went while it waited
        let_go(r, true);
        return;
    }
    int rc = letter_decode(r->letter, &r->raw, &err);
    struct export *export = rc == WEIR_OK ? make_export(replay, info) : NULL;
    if (rc == WEIR_OK && export == NULL)
        rc = weir_fail(&err, WEIR_E_NOMEM, "out of memory");
    if (rc == WEIR_OK)
        rc = export_send(export, &(struct weir_slice){r->raw.data, r->raw.len}, &err);
    r->under_way = rc == WEIR_OK;
    if (rc == WEIR_OK)
        return;
    if (export != NULL)
        export_free(export);
    if (rc != WEIR_E_NOMEM) {
        refuse(replay, "UNREADABLE", err.text);
        return;
    }
    spool_letter_back(replay->spool, &info->id);
    let_go(r, false);
    fail_here(replay);
}

void redrive_turn(struct replay *replay, bool first)
{
    struct redrive *r = &replay->redrive;
    uint64_t now_ns = weir_now_ns();
    if (r->under_way || replay->flow.blocked || backoff_waits(&r->backoff, now_ns) || !take(replay, now_ns))
        return;
    const struct governor *governor = &replay->flow.governor;
    if (governor_probes(governor) && !governor->keep_window) // it was away: as soon as it is back the lanes go first
        r->taken_ns = now_ns;
    if (first && now_ns - r->taken_ns < PATIENT_NS)
        return;
    const struct letter_info *info = letter_info_of(r->letter);
    const struct replay_lane *lane = &replay->lanes[info->signal];
    if (lane->spool_lane == NULL) { // a signal that it does not take any more
        refuse(replay, "NOT_TAKEN", "the upstream is not configured for this signal");
        return;
    }
    if (lane_may_send(lane, now_ns) && flow_may_start(replay, info->raw_bytes))
        send_letter(replay);
}

static void delivered(struct replay *replay, const struct letter_info *info, int64_t rejected)
{
    char id[LETTER_ID_TEXT];
    struct weir_err err = {0};
    static struct log_limit limit = LOG_LIMIT(1000);
    int rc = spool_letter_delivered(replay->spool, &info->id, rejected > 0 ? (uint64_t)rejected : 0, &err);
    if (rc == WEIR_OK) {
        backoff_reset(&replay->redrive.backoff);
        log_event_limited(&limit, LOG_INFO, "redriven", "a dead letter was delivered",
                          LOG_STR("upstream", replay->upstream->name), LOG_STR("id", letter_id_format(&info->id, id)),
                          LOG_U64("items", info->items));
    } else if (rc != WEIR_E_NOT_FOUND && rc != WEIR_E_AGAIN) { // else another has taken its place meanwhile
        log_event_limited(&limit, LOG_ERROR, "redrive_failed",
                          "the dead letters cannot be written: what was delivered is sent again",
                          LOG_STR("upstream", replay->upstream->name), LOG_ERR(&err));
        fail_here(replay);
    }
}

// Refused for now, or not answered. Another letter goes before it is tried again.
static void put_off(struct replay *replay, const struct export *export, const struct verdict *verdict)
{
    struct backoff_policy policy = replay_policy(replay);
    const struct client_call *call = &export->call;
    bool fatal = call->error != CLIENT_OK && call->bytes_sent; // it may be what the upstream does not survive
    spool_letter_back(replay->spool, &letter_info_of(replay->redrive.letter)->id);
    let_go(&replay->redrive, false);
    if (!export->lane_waits && !fatal) // the way there, or how it was encoded
        return;
    if (verdict->kind == VERDICT_HOLD)
        policy.initial_ms = policy.max_ms;
    backoff_fail(&replay->redrive.backoff, &policy, verdict->retry_after_ms, replay_random(replay), weir_now_ns());
}

void redrive_done(struct export *export, const struct verdict *verdict)
{
    struct replay *replay = export->replay;
    struct redrive *r = &replay->redrive;
    r->under_way = false;
    // U17, as for an item of a lane: not without an end.
    bool may_pass = verdict->kind == VERDICT_SPLIT && verdict->passes && ++r->tries < SPLIT_TRIES_MAX;
    if (verdict->kind == VERDICT_DELIVERED) {
        delivered(replay, letter_info_of(r->letter), verdict->rejected_items);
        let_go(r, true);
    } else if (verdict->kind == VERDICT_RETRY || verdict->kind == VERDICT_HOLD || may_pass) {
        put_off(replay, export, verdict);
    } else {
        backoff_reset(&r->backoff);
        if (!halve(replay, verdict))
            refuse(replay, verdict->code, verdict->message);
    }
}

void redrive_dispose(struct replay *replay)
{
    struct redrive *r = &replay->redrive;
    if (r->letter != NULL)
        spool_letter_back(replay->spool, &letter_info_of(r->letter)->id);
    let_go(r, false);
}
