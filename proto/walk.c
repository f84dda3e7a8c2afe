// SPDX-License-Identifier: Apache-2.0
// One loop over the tables of walk_tables.c, with a stack of frames of its own: nesting costs 32 bytes a level, and what is
// deeper than OTLP_DEPTH_MAX is refused. The loop is in the path of every byte that comes in, so the usual case of each
// kind (one-byte tag, one-byte length, ASCII) is decided first and the rest is left to functions.
#include "proto/walk.h"

#include "proto/utf8.h"
#include "proto/walk_path.h"

#define LIKELY(x)   __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

// What has been counted so far. A Metric whose oneof changes its member goes back to the tally it began with (M3).
struct tally {
    uint64_t items;
    uint64_t time_min_ns;
    uint64_t time_max_ns;
};

struct walker {
    struct walk_frame frames[OTLP_DEPTH_MAX + 1];
    unsigned depth;
    bool check_utf8;
    bool mergeable;
    bool first_time_wins; // logs: the second time only where the first is absent
    uint32_t member;      // of the Metric at hand: the oneof's field number, 0 before the first
    uint64_t resources;
    uint64_t item_time_ns[2]; // of the item at hand; entered into the tally when the next one begins (last wins)
    struct tally tally;
    struct tally metric_start;
    const char *fault;
    const uint8_t *window_end; // before it, UTF8_WINDOW bytes can be read
};

static int fault(struct walker *w, const uint8_t *at, const char *what)
{
    w->frames[w->depth].at = at;
    w->fault = what;
    return WEIR_E_INVALID;
}

// --- counting -------------------------------------------------------------------------------------------------------
static void tally_time(struct tally *tally, uint64_t time_ns)
{
    if (time_ns == 0)
        return;
    if (tally->time_min_ns == 0 || time_ns < tally->time_min_ns)
        tally->time_min_ns = time_ns;
    if (time_ns > tally->time_max_ns)
        tally->time_max_ns = time_ns;
}

static void finish_item(struct walker *w)
{
    tally_time(&w->tally, w->item_time_ns[0]);
    if (!w->first_time_wins || w->item_time_ns[0] == 0)
        tally_time(&w->tally, w->item_time_ns[1]);
    w->item_time_ns[0] = w->item_time_ns[1] = 0;
}

static void enter_role(struct walker *w, const struct walk_field *field)
{
    uint32_t number = field->tag >> 3;
    switch (field->role) {
    case WALK_RESOURCE:
        w->resources++;
        break;
    case WALK_ITEM:
        finish_item(w);
        w->tally.items++;
        break;
    case WALK_METRIC:
        finish_item(w);
        w->metric_start = w->tally;
        w->member = 0;
        break;
    case WALK_MEMBER:
        if (w->member != 0 && w->member != number) {
            w->item_time_ns[0] = 0;
            w->tally = w->metric_start;
        }
        w->member = number;
        break;
    default:
        break;
    }
}

// --- parts of a field -----------------------------------------------------------------------------------------------
static inline const uint8_t *read_length(const uint8_t *p, const uint8_t *end, size_t *len)
{
    if (LIKELY(p < end && *p < 0x80)) {
        *len = *p++;
        return LIKELY(*len <= (size_t)(end - p)) ? p : NULL;
    }
    return wire_length(p, end, len);
}

static inline const uint8_t *skip_varint(const uint8_t *p, const uint8_t *end)
{
    if (LIKELY(p < end && *p < 0x80))
        return p + 1;
    uint64_t ignored;
    return wire_varint(p, end, &ignored);
}

static bool packed_varints_are_valid(const uint8_t *p, size_t len)
{
    // Eight bytes a step while no varint can be longer than 9 bytes: `run` counts those of the one that is not yet ended.
    const uint8_t *start = p, *end = p + len;
    unsigned run = 0;
    for (; end - p >= 8; p += 8) {
        uint64_t ends = ~wire_load64(p) & WIRE_HIGH_BITS;
        if (ends == 0 || run + (unsigned)__builtin_ctzll(ends) / 8 > 8)
            break;
        run = (unsigned)__builtin_clzll(ends) / 8;
        start = p + 8 - run;
    }
    for (p = start; p != NULL && p < end;)
        p = skip_varint(p, end);
    return p != NULL;
}

static inline bool is_ascii(const struct walker *w, const uint8_t *p, size_t len)
{
    return LIKELY(len <= UTF8_WINDOW && p < w->window_end) ? utf8_window_is_ascii(p, len) : utf8_is_ascii(p, len);
}

// Nearly all of a request is attributes, and nearly all attributes are an ASCII key with a string, int, double or bool, in
// this order and with one-byte lengths. True: p[0..len) is one of those, sound in every respect. False: look closer.
static inline bool attribute_is_plain(const struct walker *w, const uint8_t *p, size_t len)
{
    if (len < 6 || p[0] != WIRE_TAG(1, WIRE_LEN) || p[1] + 6u > len)
        return false;
    size_t key_len = p[1]; // 0x80 and more never passes as ASCII below
    const uint8_t *value = p + 2 + key_len;
    size_t left = len - 2 - key_len;
    if (value[0] != WIRE_TAG(2, WIRE_LEN) || value[1] + 2u != left || p[1] >= 0x80 || value[1] >= 0x80)
        return false;
    left -= 4; // behind the tags and lengths: the value itself, or the string's
    const uint8_t *content = value + 3;
    switch (value[2]) {
    case WIRE_TAG(1, WIRE_LEN): // every byte, lengths and tags included, lies below 0x80: one pass over all of it
        return content[0] == left && is_ascii(w, p, len);
    case WIRE_TAG(2, WIRE_VARINT):
    case WIRE_TAG(3, WIRE_VARINT):
        return skip_varint(content, content + left + 1) == content + left + 1 && is_ascii(w, p + 2, key_len);
    case WIRE_TAG(4, WIRE_FIXED64):
        return left + 1 == 8 && is_ascii(w, p + 2, key_len);
    default:
        return false;
    }
}

// --- fields off the beaten track ------------------------------------------------------------------------------------
// A repeated scalar may come unpacked, whatever the writer's habit: one element a field.
static const uint8_t *skip_unpacked(const struct walk_field *field, uint8_t type, const uint8_t *p, const uint8_t *end)
{
    if (field->kind == WALK_PACKED_VARINT && type == WIRE_VARINT)
        return skip_varint(p, end);
    if (field->kind == WALK_PACKED_FIXED64 && type == WIRE_FIXED64)
        return end - p >= 8 ? p + 8 : NULL;
    return NULL;
}

// A field whose tag is not the one that its message's table holds in one byte. Returns the byte behind it, or NULL
// with the fault entered.
static const uint8_t *walk_other(struct walker *w, const struct walk_message *message, const uint8_t *at,
                                 const uint8_t *end)
{
    uint32_t tag;
    const uint8_t *p = wire_tag(at, end, &tag);
    if (p == NULL)
        return fault(w, at, "no valid tag"), NULL;
    uint32_t number = tag >> 3;
    const struct walk_field *field = number < WALK_FIELDS ? &message->fields[number] : NULL;
    if (field != NULL && field->tag != 0 && field->tag != tag) {
        p = skip_unpacked(field, tag & 7, p, end);
        return p != NULL ? p : (fault(w, at, "wrong wire type, or cut off"), NULL);
    }
    // Unknown ones, and those known ones whose tag takes two bytes or an overlong form: of these none is a message.
    if (field != NULL && field->tag == tag && field->kind >= WALK_STRING)
        return fault(w, at, "overlong tag"), NULL;
    struct wire_reader reader = {at, end};
    struct wire_field skipped;
    if (wire_next(&reader, &skipped) != 1) {
        bool group = (tag & 7) == 3 || (tag & 7) == 4;
        return fault(w, at, group ? "groups are not taken" : "cut off, overlong or of no wire type"), NULL;
    }
    if (w->depth == 0)
        w->mergeable = false;
    if (field != NULL && field->kind == WALK_TIME)
        w->item_time_ns[field->size] = skipped.value;
    return reader.p;
}

// --- the loop -------------------------------------------------------------------------------------------------------
// What is wrong with the content of a string, bytes or packed field; NULL: nothing.
static inline const char *content_fault(const struct walker *w, const struct walk_field *field, const uint8_t *p,
                                        size_t len)
{
    switch (field->kind) {
    case WALK_STRING:
        return LIKELY(is_ascii(w, p, len)) || !w->check_utf8 || utf8_is_valid(p, len) ? NULL : "not UTF-8";
    case WALK_BYTES:
        if (LIKELY(field->size == 0 || len == field->size || len == 0))
            return NULL;
        return field->size == 16 ? "neither 0 nor 16 bytes" : "neither 0 nor 8 bytes";
    case WALK_PACKED_VARINT:
        return packed_varints_are_valid(p, len) ? NULL : "packed varint cut off or above 64 bits";
    case WALK_PACKED_FIXED64:
        return len % 8 == 0 ? NULL : "packed length is no multiple of 8";
    default:
        return NULL; // a plain attribute: seen whole
    }
}

// Skips a field of one value. NULL: it is cut off.
static inline const uint8_t *walk_scalar(struct walker *w, const struct walk_field *field, const uint8_t *p,
                                         const uint8_t *end)
{
    if (field->kind == WALK_VARINT)
        return skip_varint(p, end);
    size_t len = field->kind == WALK_FIXED32 ? 4 : 8;
    if (UNLIKELY((size_t)(end - p) < len))
        return NULL;
    if (field->kind == WALK_TIME)
        w->item_time_ns[field->size] = wire_load64(p);
    return p + len;
}

static int walk_all(struct walker *w)
{
    struct walk_frame *frame = &w->frames[0];
    const uint8_t *p = frame->begin, *end = frame->end;
    for (;;) {
        while (p == end) {
            if (w->depth == 0)
                return WEIR_OK;
            frame = &w->frames[--w->depth];
            end = frame->end;
        }
        const uint8_t *at = p;
        const struct walk_field *field = &frame->message->fields[*p >> 3 & 15];
        if (UNLIKELY(field->tag != *p)) { // no table holds a tag of 0x80 and more below row 16
            p = walk_other(w, frame->message, at, end);
            if (p == NULL)
                return WEIR_E_INVALID;
            continue;
        }
        p++;
        if (field->kind <= WALK_TIME) {
            p = walk_scalar(w, field, p, end);
            if (UNLIKELY(p == NULL))
                return fault(w, at, "cut off, or a varint above 64 bits");
            continue;
        }
        size_t len;
        p = read_length(p, end, &len);
        if (UNLIKELY(p == NULL))
            return fault(w, at, "longer than the message it is in");
        if (field->kind < WALK_MESSAGE ||
            (field->kind == WALK_ATTRIBUTE && w->depth + 2 <= OTLP_DEPTH_MAX && attribute_is_plain(w, p, len))) {
            w->fault = content_fault(w, field, p, len);
            if (UNLIKELY(w->fault != NULL))
                return fault(w, at, w->fault);
            p += len;
            continue;
        }
        frame->at = at;
        if (UNLIKELY(w->depth == OTLP_DEPTH_MAX))
            return WEIR_E_LIMIT;
        if (field->role != WALK_PLAIN)
            enter_role(w, field);
        frame = &w->frames[++w->depth];
        frame->message = field->child;
        frame->begin = p;
        frame->end = end = p + len;
    }
}

int otlp_walk(enum weir_signal signal, const uint8_t *data, size_t len, const struct otlp_walk_options *options,
              struct otlp_summary *out, struct weir_err *err)
{
    assert((unsigned)signal < WEIR_SIGNALS);
    static const uint8_t nothing[1];
    struct walker w; // the frames are left as they are: only those below `depth` are ever read
    w.depth = 0;
    w.check_utf8 = options == NULL || !options->pass_bad_utf8;
    w.mergeable = signal != WEIR_PROFILES;
    w.first_time_wins = signal == WEIR_LOGS;
    w.member = 0;
    w.resources = 0;
    w.item_time_ns[0] = w.item_time_ns[1] = 0;
    w.tally = w.metric_start = (struct tally){0};
    w.fault = "";
    const uint8_t *begin = len > 0 ? data : nothing;
    w.window_end = len >= UTF8_WINDOW ? begin + len - UTF8_WINDOW + 1 : begin;
    w.frames[0] = (struct walk_frame){.message = walk_requests[signal], .begin = begin, .end = begin + len};

    int code = walk_all(&w);
    if (code != WEIR_OK) {
        char path[400];
        walk_path_write(w.frames, w.depth, path, sizeof(path));
        if (code == WEIR_E_LIMIT)
            return weir_fail(err, code, "%s: nested deeper than %d messages", path, OTLP_DEPTH_MAX);
        return weir_fail(err, code, "%s: %s", path, w.fault);
    }
    finish_item(&w);
    *out = (struct otlp_summary){
        .items = w.tally.items,
        .resources = w.resources,
        .time_min_ns = w.tally.time_min_ns,
        .time_max_ns = w.tally.time_max_ns,
        .mergeable = w.mergeable,
    };
    return WEIR_OK;
}
